import {h, attr} from './dom.js';

let lists = 0;

// VList shows those of many rows of one height that are in view. While it follows, it
// stays at the end; otherwise rows don't move. make() makes a row, fill(row, i) fills
// it for the index i.
export class VList {
  constructor({height, label, make, fill, onselect, onrange, onfollow}) {
    Object.assign(this, {height, make, fill, onselect, onrange, onfollow, n: 0, selected: -1, follow: true, rows: [], own: 0, painted: 0});
    this.id = 'list' + ++lists;
    this.space = h('div', {className: 'vspace', role: 'rowgroup'});
    this.el = h('div', {className: 'vlist', tabIndex: 0, role: 'grid', 'aria-label': label}, this.space);
    this.el.addEventListener('scroll', () => this.scrolled(), {passive: true});
    this.el.addEventListener('click', e => {
      const row = e.target.closest('.row');
      if (row) this.select(row.index);
    });
    new ResizeObserver(() => this.draw()).observe(this.el);
  }

  // scrolled follows at the end and stays elsewhere, unless the list itself scrolled.
  scrolled() {
    const atEnd = this.el.scrollTop + this.el.clientHeight >= this.n * this.height - this.height;
    if (Math.abs(this.el.scrollTop - this.own) > 1) this.setFollow(atEnd);
    this.own = this.el.scrollTop;
    this.draw();
  }

  setFollow(on) {
    if (this.follow === on) return;
    this.follow = on;
    this.onfollow?.(on);
    if (on) this.draw();
  }

  // setCount sets the number of rows. If the list has lost rows, those from the index at,
  // the rows in view stay in view.
  setCount(n, lost = 0, at = 0) {
    const above = this.el.scrollTop - at * this.height;
    if (lost && above > 0 && !this.follow) this.scrollTo(this.el.scrollTop - Math.min(above, lost * this.height));
    this.n = n;
    const height = n * this.height + 'px';
    if (this.space.style.height !== height) this.space.style.height = height;
    attr(this.el, 'aria-rowcount', String(n));
    this.draw();
  }

  scrollTo(y) {
    const before = this.el.scrollTop;
    if (Math.abs(before - y) <= 1) return;
    this.el.scrollTop = y;
    this.own = this.el.scrollTop; // an event follows, if it differs
  }

  // select selects a row. It stops following, unless quiet.
  select(i, quiet) {
    if (this.n === 0) return;
    this.selected = Math.max(0, Math.min(this.n - 1, i));
    if (!quiet) {
      this.setFollow(false);
      this.reveal(this.selected);
    }
    this.draw();
    this.onselect?.(this.selected);
  }

  reveal(i) {
    const y = i * this.height, top = this.el.scrollTop, room = this.el.clientHeight;
    if (y < top) this.scrollTo(y);
    else if (y + this.height > top + room) this.scrollTo(y + this.height - room);
  }

  draw() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = undefined;
      this.paint();
    });
  }

  paint() {
    const room = this.el.clientHeight, top = this.el.scrollTop;
    // Its event may come only after this. A list that is shorter or shown again has moved by itself.
    if (this.follow && top > 0 && top < this.own - 1 && this.n >= this.painted) this.setFollow(false);
    this.painted = this.n;
    if (this.follow) this.scrollTo(Math.max(0, this.n * this.height - room));
    const first = Math.max(0, Math.floor(this.el.scrollTop / this.height) - 4);
    const last = Math.min(this.n, Math.ceil((this.el.scrollTop + room) / this.height) + 4);
    this.onrange?.(first, last);
    while (this.rows.length < last - first) this.rows.push(this.add());
    const used = new Set();
    for (let i = first; i < last; i++) {
      const row = this.rows[i % this.rows.length];
      used.add(row);
      this.place(row, i);
      this.fill(row, i);
    }
    for (const row of this.rows) {
      if (used.has(row)) continue;
      row.hidden = true;
      row.index = -1;
    }
    const active = this.selected >= first && this.selected < last;
    attr(this.el, 'aria-activedescendant', active ? `${this.id}-${this.selected}` : null);
  }

  add() {
    const row = this.make();
    row.classList.add('row');
    row.setAttribute('role', 'row');
    for (const cell of row.children) cell.setAttribute('role', 'gridcell');
    this.space.append(row);
    return row;
  }

  place(row, i) {
    if (row.index !== i) {
      row.index = i;
      row.style.transform = `translateY(${i * this.height}px)`;
      row.id = `${this.id}-${i}`;
      attr(row, 'aria-rowindex', String(i + 1));
    }
    row.hidden = false;
    row.classList.toggle('odd', i % 2 === 1);
    row.classList.toggle('sel', i === this.selected);
    attr(row, 'aria-selected', i === this.selected ? 'true' : null);
  }

  // key handles a key and reports whether it was one of the list's.
  key(e) {
    const page = Math.max(1, Math.floor(this.el.clientHeight / this.height) - 1);
    const step = {j: 1, ArrowDown: 1, k: -1, ArrowUp: -1, PageDown: page, PageUp: -page}[e.key];
    if (step) this.select(this.selected < 0 ? this.n - 1 : this.selected + step);
    else if (e.key === 'g' || e.key === 'Home') this.select(0);
    else if (e.key === 'G' || e.key === 'End') {
      this.select(this.n - 1, true);
      this.setFollow(true);
    } else return false;
    return true;
  }
}

// newerButton shows how many rows came since the list stopped following, and follows.
export function newerButton(list) {
  let seen = 0;
  const button = h('button', {className: 'newer', hidden: true, onclick: () => list.setFollow(true)});
  return {
    button,
    reset() { seen = list.n; },
    lost(n) { seen -= n; },
    update() {
      if (list.follow) seen = list.n;
      button.hidden = list.n <= seen;
      if (!button.hidden) button.textContent = `${list.n - seen} newer ↓`;
    },
  };
}
