import {messageBody} from './body.js';
import {density} from './density.js';
import {attr, empty, h, say, text} from './dom.js';
import {Find} from './find.js';
import {bytes, clock, duration, plural} from './format.js';
import {oneLine} from './json.js';
import {Pages} from './pages.js';
import {VList, newerButton} from './vlist.js';

// messages shows the messages of one call: a list, and the selected or newest message.
export function messages() {
  const find = h('input', {type: 'search', placeholder: 'Find in messages', 'aria-label': 'Find in messages', spellcheck: false, autocomplete: 'off'});
  const follow = h('button', {className: 'toggle', title: 'Follow (f)', onclick: () => list.setFollow(!list.follow)}, 'Follow');
  const sum = h('span', {className: 'muted num'});
  const strip = density(share => {
    list.setFollow(false);
    list.scrollTo(share * list.n * list.height);
    list.draw();
  });
  const body = messageBody(m => {
    for (let p = m.seq - 2; p >= 0 && p > m.seq - 400; p--) {
      const other = pages.at(pages.row(p));
      if (other?.dir === m.dir && other.seq < m.seq) return other;
    }
    return undefined;
  });
  const note = h('div', {className: 'note', hidden: true});
  const list = new VList({
    height: 24, label: 'Messages', make: messageRow, fill,
    onselect: row => {
      if (source?.isHole(row)) return;
      selected = source.position(row);
      show(source.at(row));
    },
    onrange: load,
    onfollow: on => {
      attr(follow, 'aria-pressed', String(on));
      newer.update();
    },
  });
  const newer = newerButton(list);
  const el = h('div', {className: 'messages'},
    h('div', {className: 'mbar'}, find, sum, h('span', {className: 'grow'}), follow), strip.el,
    h('div', {className: 'listbox'}, list.el, note, newer.button), body.el);

  // pages has all messages. source is pages, or the matches. selected is a position,
  // or -1: then the newest message is shown.
  let call, pages, source, selected = -1, near = 0, soon, growing = false, paused = false, typing;

  function fill(row, i) {
    const m = source.at(i), e = row.cells;
    if (m && row.message === m) return;
    row.message = m;
    attr(row, 'data-dir', m?.dir);
    text(e.dir, m ? (m.dir === 'up' ? '↑' : '↓') : '');
    text(e.seq, m ? String(m.seq) : '');
    text(e.time, m ? clock(m.t / 1000) : '');
    text(e.gap, m?.dt !== undefined ? gap(m.dt / 1000) : '');
    text(e.size, m ? bytes(m.size) : '');
    if (!m) text(e.json, source.isHole(i) ? `${plural(source.dropped, 'message')} dropped: the memory was needed for newer ones` : '…');
    else if (m.json !== undefined || m.fields !== undefined) e.json.replaceChildren(...oneLine(m.json ?? m.fields, 260));
    else text(e.json, m.note ?? 'not kept');
    e.json.classList.toggle('muted', !m || (m.json === undefined && m.fields === undefined));
  }

  // load loads the rows in view, but nothing while they fly past.
  function load(first, last) {
    clearTimeout(soon);
    const of = source, go = () => of?.need(first, last)?.catch(failed);
    if (Math.abs(first - near) < 200) go();
    else soon = setTimeout(go, 60);
    near = first;
  }

  const failed = e => say(e.message);

  // loaded shows messages that have been loaded. As many rows are lost since.
  function loaded(lostRows = 0) {
    if (source !== pages || lostRows) setRows(lostRows);
    list.draw();
    showCurrent();
  }

  function showCurrent() {
    const m = selected >= 0 ? source.at(source.row(selected)) : source.at(list.n - 1) ?? body.shown;
    if (m) show(m);
  }

  function show(m) {
    if (m) body.show(m);
  }

  function explain() {
    text(sum, source === pages ? `${plural(call.up.n, 'request')}, ${plural(call.down.n, 'response')}` + lost() : source.summary);
    note.hidden = source.rows > 0;
    if (note.hidden) return;
    const none = source !== pages ? (source.searching ? undefined : empty('No message has this text', 'Esc clears the search.'))
      : empty('No messages', call.note ?? (call.end ? 'The call ended without any.' : 'They appear here as they pass.'));
    note.replaceChildren(none ?? '');
  }

  const lost = () => call.lost ? ` · ${plural(call.lost, 'message')} missed under load` : '';

  // update takes the call's newest counts. While following, rows are added once their
  // messages are here, so that they are never empty. While paused, it does nothing unless
  // once is set.
  async function update(c, once) {
    if (c !== call || (paused && !once)) return;
    const total = c.up.n + c.down.n;
    strip.el.hidden = total < 50 || source !== pages;
    if (!strip.el.hidden) strip.update(c);
    explain();
    if (source !== pages) {
      source.search(total);
      return;
    }
    const dropped = c.dropped ?? 0;
    if (growing || (total === pages.total && dropped === pages.dropped)) return;
    growing = true;
    const of = pages, from = pages.rows, lostRows = pages.grow(total, dropped);
    try {
      if (list.follow) await of.need(Math.max(0, Math.min(from, of.rows - 60)), of.rows);
    } catch (e) {
      failed(e);
    } finally {
      growing = false;
    }
    if (of !== pages) return;
    if (source === pages) setRows(lostRows);
    update(c); // there may be more by now
  }

  function setRows(lostRows = 0) {
    list.setCount(source.rows, lostRows, source.firstLost);
    list.selected = selected >= 0 ? source.row(selected) : -1;
    newer.lost(lostRows);
    newer.update();
    explain();
    showCurrent();
  }

  // search shows the messages that have the text, or all.
  function search(q) {
    if (source !== pages) source.stop();
    source = q ? new Find(call, q, () => source?.q === q && loaded()) : pages;
    list.selected = -1;
    selected = -1;
    for (const row of list.rows) row.message = undefined;
    list.setFollow(true);
    setRows();
    update(call, true);
  }
  find.addEventListener('input', () => {
    clearTimeout(typing);
    typing = setTimeout(() => search(find.value.trim()), 200);
  });
  find.addEventListener('keydown', e => {
    if (e.key === 'Escape') {
      if (find.value) search(find.value = '');
      list.el.focus();
      e.stopPropagation();
    } else if (e.key === 'Enter' || e.key === 'ArrowDown') {
      list.el.focus();
      e.preventDefault();
    }
  });
  attr(follow, 'aria-pressed', 'true');

  return {
    el, list, find, body, update,
    pause(on) { paused = on; },
    open(c) {
      if (source !== pages) source?.stop();
      call = c;
      growing = false;
      pages = source = new Pages(c, lostRows => pages.call === c && source === pages && loaded(lostRows));
      find.value = '';
      body.clear(c);
      strip.reset();
      near = 0;
      search('');
      newer.reset();
    },
  };
}

const gap = ms => ms < 0.1 ? '<0.1 ms' : '+' + duration(ms);

function messageRow() {
  const row = h('div'), cell = className => h('span', {className});
  row.cells = {dir: cell('dir'), seq: cell('seq num'), time: cell('t num'), gap: cell('gap num'), json: cell('json mono'), size: cell('size num')};
  row.append(...Object.values(row.cells));
  return row;
}
