import {h} from './dom.js';

// Longer texts are compared line by line without looking for moves.
const maxLines = 600;

// diffLines compares two texts and returns [mark, line] pairs: ' ' in both, '-' only in
// a, '+' only in b.
export function diffLines(a, b) {
  const x = a.split('\n'), y = b.split('\n');
  if (x.length > maxLines || y.length > maxLines) return plain(x, y);
  // length[i][j] is the length of the longest common subsequence of x[i:] and y[j:].
  const length = Array.from({length: x.length + 1}, () => new Uint16Array(y.length + 1));
  for (let i = x.length - 1; i >= 0; i--) {
    for (let j = y.length - 1; j >= 0; j--) length[i][j] = x[i] === y[j] ? length[i + 1][j + 1] + 1 : Math.max(length[i + 1][j], length[i][j + 1]);
  }
  const out = [];
  for (let i = 0, j = 0; i < x.length || j < y.length;) {
    if (i < x.length && j < y.length && x[i] === y[j]) {
      out.push([' ', x[i++]]);
      j++;
    } else if (j >= y.length || (i < x.length && length[i + 1][j] >= length[i][j + 1])) out.push(['-', x[i++]]);
    else out.push(['+', y[j++]]);
  }
  return out;
}

function plain(x, y) {
  const out = [];
  for (let i = 0; i < Math.max(x.length, y.length); i++) {
    if (x[i] === y[i]) out.push([' ', x[i]]);
    else {
      if (i < x.length) out.push(['-', x[i]]);
      if (i < y.length) out.push(['+', y[i]]);
    }
  }
  return out;
}

// diff shows how two values differ.
export function diff(a, b) {
  const show = v => v === undefined ? '' : JSON.stringify(v, null, 2);
  const lines = diffLines(show(a), show(b));
  if (lines.every(([mark]) => mark === ' ')) return h('p', {className: 'muted'}, 'No difference.');
  return h('div', {className: 'diff'}, lines.map(([mark, line]) => h('div', {className: {'+': 'plus', '-': 'minus'}[mark] ?? ''}, `${mark} ${line}`)));
}
