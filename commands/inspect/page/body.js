import {callPath, get} from './api.js';
import {attr, copy, h, say} from './dom.js';
import {bytes, clock, plural} from './format.js';
import {diff} from './diff.js';
import {tree} from './json.js';

const value = m => m.json ?? m.fields;

// messageBody shows one message as a tree, or how it differs from the one before it in
// the same direction. before(message) finds that one.
export function messageBody(before) {
  const top = h('div', {className: 'bhead'}), body = h('div', {className: 'body mono', tabIndex: 0, role: 'region', 'aria-label': 'Message'});
  const el = h('div', {className: 'inspect'}, top, body);
  const changes = h('button', {className: 'link', title: 'Compare with the message before it (d)', 'aria-pressed': 'false', onclick: () => toggle()}, 'Changes');
  let call, shown, whole, comparing = false;

  function toggle() {
    comparing = !comparing;
    attr(changes, 'aria-pressed', String(comparing));
    draw();
  }

  function draw() {
    if (!shown) return;
    const m = whole ?? shown;
    top.replaceChildren(h('span', {className: 'dir', 'data-dir': m.dir}, m.dir === 'up' ? '↑ request' : '↓ response'), h('b', {className: 'num'}, '#' + m.seq),
      h('span', {className: 'muted num'}, clock(m.t / 1000)), h('span', {className: 'muted num'}, bytes(m.size) + (m.wire ? ` (${bytes(m.wire)} ${m.encoding ?? 'compressed'})` : '')),
      h('span', {className: 'grow'}), changes, h('button', {className: 'link', disabled: value(m) === undefined, onclick: () => copy(JSON.stringify(value(m), null, 2), 'Message')}, 'Copy JSON'));
    body.replaceChildren(...notes(m), content(m));
  }

  function content(m) {
    if (value(m) === undefined) return h('p', {className: 'muted'}, 'The content isn’t here.');
    if (!comparing) return tree(value(m), {open: m.size < 2000 ? 9 : 3});
    const other = before(m);
    if (!other) return h('p', {className: 'muted'}, 'There is no earlier message in this direction here.');
    return h('div', {}, h('p', {className: 'muted'}, `From #${other.seq} to #${m.seq}:`), diff(value(other), value(m)));
  }

  function notes(m) {
    const all = [];
    if (m.note) all.push(m.note);
    if (!m.json && m.fields) all.push('no schema: field numbers instead of names');
    if (m.unknown) all.push(`${plural(m.unknown, 'field')} unknown to the schema`);
    if (m.redacted?.length) all.push(`masked: ${m.redacted.join(', ')}`);
    if (m.cut) all.push(whole ? 'only the beginning is kept' : 'only the beginning is shown');
    return all.map(s => h('p', {className: 'mnote'}, s, m.cut && !whole && h('button', {className: 'link', onclick: loadWhole}, 'Load all')));
  }

  async function loadWhole() {
    const m = shown;
    try {
      const r = await get(callPath(call, `messages/${m.seq}`));
      if (shown !== m) return;
      whole = r;
      draw();
    } catch (e) {
      say(e.message);
    }
  }

  return {
    el, toggle,
    get shown() { return shown; },
    clear(c) {
      call = c;
      shown = whole = undefined;
      top.replaceChildren();
      body.replaceChildren();
    },
    show(m) {
      if (m === shown) return;
      shown = m;
      whole = undefined;
      draw();
      body.scrollTop = 0;
    },
  };
}
