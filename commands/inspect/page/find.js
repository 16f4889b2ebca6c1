import {callPath, get} from './api.js';

const maxHits = 5000;

// Find looks for text in a call's messages, on the server. It has the same rows as
// Pages, which are the matches, and goes on as messages are added.
export class Find {
  constructor(call, q, onload) {
    Object.assign(this, {call, q, onload, hits: [], next: 0, total: 0, searching: false, ended: false, problem: ''});
  }

  get rows() { return this.hits.length; }
  isHole() { return false; }
  at(row) { return this.hits[row]; }
  position(row) { return this.hits[row] ? this.hits[row].seq - 1 : -1; }
  row(position) { return this.hits.findIndex(m => m.seq === position + 1); }
  async need() { /* all matches are here */ }

  stop() { this.ended = true; }

  // search searches the messages that it hasn't searched.
  async search(total) {
    this.total = total;
    if (this.searching || this.ended) return;
    this.searching = true;
    try {
      while (this.next < this.total && this.hits.length < maxHits && !this.ended) {
        const from = this.next;
        const r = await get(callPath(this.call, `messages?from=${from}&n=500&q=${encodeURIComponent(this.q)}`));
        if (this.ended) return;
        this.hits.push(...r.messages);
        this.total = Math.max(this.total, r.total);
        this.next = r.next ?? r.total;
        this.onload();
        if (this.next <= from) break;
      }
    } catch (e) {
      this.problem = e.message;
    } finally {
      this.searching = false;
      this.onload();
    }
  }

  get summary() {
    if (this.problem) return this.problem;
    const n = this.hits.length, all = `${n} of ${this.total} match`;
    if (n >= maxHits) return `the first ${n} matches`;
    return this.next < this.total ? `${all}, searching ${Math.floor(100 * this.next / this.total)} %` : all;
  }
}
