import {h} from './dom.js';

const kind = v => typeof v === 'string' ? 'js' : typeof v === 'number' ? 'jn' : 'jb';

// oneLine returns the nodes of a value on one line, cut after max characters.
export function oneLine(v, max = 400) {
  const out = [];
  let left = max;
  const put = (s, className) => {
    if (left <= 0) return;
    if (s.length > left) s = s.slice(0, left) + '…';
    left -= s.length;
    out.push(h('span', {className}, s));
  };
  const all = (list, open, close, item) => {
    put(open, 'jp');
    for (let i = 0; i < list.length && left > 0; i++) {
      if (i) put(', ', 'jp');
      item(list[i]);
    }
    put(close, 'jp');
  };
  const go = v => {
    if (Array.isArray(v)) all(v, '[', ']', go);
    else if (v && typeof v === 'object') {
      all(Object.entries(v), '{', '}', ([k, x]) => {
        put(k, 'jk');
        put(': ', 'jp');
        go(x);
      });
    } else put(JSON.stringify(v), kind(v));
  };
  go(v);
  return out;
}

const maxItems = 200;

// tree returns a value as a tree that folds. Levels below open are made when they are
// opened, and long lists in parts, so that a large message costs little. The title of a
// field is its path.
export function tree(v, {key, path = '$', last = true, open = 3} = {}) {
  const label = key === undefined ? [] : [h('span', {className: 'jk', title: path}, key), ': '], comma = last ? '' : ',';
  if (v === null || typeof v !== 'object') return h('div', {className: 'jl'}, label, h('span', {className: kind(v)}, JSON.stringify(v)), comma);
  const list = Array.isArray(v), [a, z] = list ? '[]' : '{}', n = list ? v.length : Object.keys(v).length;
  if (!n) return h('div', {className: 'jl'}, label, a + z, comma);
  const inside = h('div', {className: 'jc'}), item = ([k, x], i) => tree(x, list ? {path: `${path}[${k}]`, last: i === n - 1, open: open - 1} : {key: k, path: `${path}.${k}`, last: i === n - 1, open: open - 1});
  const fill = from => {
    if (from) inside.lastElementChild.remove();
    const entries = Object.entries(v).slice(from, from + maxItems);
    inside.append(...entries.map((e, i) => item(e, from + i)));
    if (from + maxItems < n) inside.append(h('button', {className: 'link', onclick: () => fill(from + maxItems)}, `${n - from - maxItems} more`));
  };
  const fold = h('details', {open: open > 0},
    h('summary', {className: 'jl'}, label, a, h('span', {className: 'fold'}, ` ${n} ${list ? 'item' : 'field'}${n === 1 ? '' : 's'} ${z}${comma}`)),
    inside, h('div', {className: 'jl'}, z, comma));
  const make = () => {
    if (fold.open && !inside.hasChildNodes()) fill(0);
  };
  fold.addEventListener('toggle', make);
  make();
  return fold;
}
