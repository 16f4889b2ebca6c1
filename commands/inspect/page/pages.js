import {callPath, get} from './api.js';

const size = 200, maxPages = 24;

// The server never drops these first messages of a call.
const head = 16;

// Pages holds those messages of a call that are in view, and a few more, so that a call
// may have any number of them. It numbers messages by position, from 0, and rows without
// those that the server has dropped: they are one row, after the first 16.
export class Pages {
  constructor(call, onload) {
    Object.assign(this, {call, onload, pages: new Map(), total: 0, dropped: 0, loading: new Map()});
  }

  get rows() { return this.dropped ? this.total - this.dropped + 1 : this.total; }

  // firstLost is the row from which on rows are lost.
  get firstLost() { return head + 1; }

  // isHole reports whether the row is of the dropped messages.
  isHole(row) { return this.dropped > 0 && row === head; }

  position(row) { return this.dropped && row > head ? row - 1 + this.dropped : row; }

  // row returns the row of a position, that of the hole if it was dropped.
  row(position) {
    if (!this.dropped || position < head) return position;
    return Math.max(head, position + 1 - this.dropped);
  }

  at(row) {
    const p = this.position(row);
    return this.pages.get(Math.floor(p / size))?.[p % size];
  }

  // grow sets the numbers of messages. It returns how many rows are lost after the first.
  grow(total, dropped) {
    const before = this.dropped ? this.dropped - 1 : 0;
    this.total = total;
    this.dropped = dropped;
    return (dropped ? dropped - 1 : 0) - before;
  }

  // need loads the messages of rows that aren't here, and resolves when they are.
  async need(first, last) {
    const from = Math.floor(this.position(first) / size), to = Math.floor(this.position(Math.max(first, last - 1)) / size);
    const wanted = [];
    for (let p = from; p <= to && wanted.length < 4; p++) wanted.push(this.load(p));
    await Promise.all(wanted);
  }

  // load loads what is missing of a page.
  load(p) {
    const page = this.pages.get(p) ?? [], missing = this.missing(p, page);
    this.pages.delete(p); // the newest used page is the last
    this.pages.set(p, page);
    if (missing < 0) return undefined;
    if (!this.loading.has(p)) this.loading.set(p, this.fetch(p, missing).finally(() => this.loading.delete(p)));
    return this.loading.get(p);
  }

  // missing returns the first position of a page that should be here, or -1.
  missing(p, page) {
    const end = Math.min(size, this.total - p * size);
    for (let i = 0; i < end; i++) {
      const position = p * size + i;
      if (!page[i] && !(this.dropped && position >= head && position < head + this.dropped)) return position;
    }
    return -1;
  }

  async fetch(p, from) {
    const r = await get(callPath(this.call, `messages?from=${from}&n=${(p + 1) * size - from}`));
    for (const m of r.messages) this.put(m);
    while (this.pages.size > maxPages) this.pages.delete(this.pages.keys().next().value);
    // The server may have dropped more by now.
    const lost = r.dropped > this.dropped && r.dropped < this.total ? this.grow(this.total, r.dropped) : 0;
    if (r.messages.length || lost) this.onload(lost);
  }

  put(m) {
    const p = Math.floor((m.seq - 1) / size);
    if (!this.pages.has(p)) this.pages.set(p, []);
    this.pages.get(p)[(m.seq - 1) % size] = m;
  }
}
