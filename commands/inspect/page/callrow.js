import {activity, isQuiet} from './activity.js';
import {attr, h, text, visible} from './dom.js';
import {bytes, count, duration, kindMark, split, state, took} from './format.js';
import {now} from './store.js';

// callRow makes a row of the table of calls.
export function callRow() {
  const row = h('div'), cell = n => h('span', {className: `c${n}${n > 2 ? ' num' : ''}`});
  const mark = h('i', {className: 'mark'}), name = h('span', {className: 'name'}), service = h('span', {className: 'svc'}), kind = h('span', {className: 'kind'});
  const code = cell(2), time = cell(3), up = cell(4), down = cell(5), size = cell(6), bar = h('i', {className: 'bar'});
  row.cells = {name, service, kind, code, time, up, down, size, bar};
  row.append(h('span', {className: 'c1'}, mark, h('span', {className: 'meth'}, name, service), kind), code, time, up, down, size, h('span', {className: 'c7'}, bar));
  return row;
}

// fillCallRow shows a call in a row. span has the ends of the waterfall's axis.
export function fillCallRow(row, c, span) {
  const e = row.cells, [, service, name] = split(c.method), end = c.end || now();
  row.call = c;
  attr(row, 'data-st', state(c));
  attr(row, 'title', visible((c.message ? `${c.method}: ${c.message}` : c.method).slice(0, 500)));
  text(e.name, name);
  text(e.service, service);
  text(e.kind, kindMark[c.kind] ?? '');
  text(e.code, c.end ? c.code : activity(c));
  row.classList.toggle('quiet', isQuiet(c));
  text(e.time, duration(took(c, end)));
  text(e.up, c.up.n ? count(c.up.n) : '');
  text(e.down, c.down.n ? count(c.down.n) : '');
  text(e.size, bytes(c.up.b + c.down.b));
  const width = Math.max(1, span[1] - span[0]), left = Math.max(0, (c.start - span[0]) / width), right = Math.min(1, (end - span[0]) / width);
  e.bar.style.left = (100 * left).toFixed(2) + '%';
  e.bar.style.width = (100 * Math.max(0, right - left)).toFixed(2) + '%';
}
