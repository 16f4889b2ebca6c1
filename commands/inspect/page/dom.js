// Peers may send control characters and marks that change the direction of text.
// visible shows them as escapes, so that text can't pretend to be other text.
const hidden = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;

export function visible(s) {
  return s.replace(hidden, c => '\\u' + c.charCodeAt(0).toString(16).padStart(4, '0'));
}

const node = c => typeof c === 'object' ? c : visible(String(c));

const isNothing = c => c === undefined || c === null || c === false;

// h makes an element. Children that aren't nodes become text: a peer's text never
// becomes markup.
export function h(tag, props, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(props ?? {})) {
    if (isNothing(v)) continue;
    if (k.startsWith('on')) e.addEventListener(k.slice(2), v);
    else if (k === 'title' || k.startsWith('aria-')) e.setAttribute(k, visible(String(v)));
    else if (k in e && k !== 'role') e[k] = v;
    else e.setAttribute(k, v);
  }
  e.append(...children.flat(2).filter(c => !isNothing(c)).map(node));
  return e;
}

export const $ = selector => document.querySelector(selector);

// text sets an element's text if it differs, which spares a layout.
export function text(e, s) {
  s = visible(s);
  if (e.textContent !== s) e.textContent = s;
}

// attr sets an attribute if it differs, or removes it.
export function attr(e, name, value) {
  if (isNothing(value)) e.removeAttribute(name);
  else if (e.getAttribute(name) !== value) e.setAttribute(name, value);
}

// say shows the result of an action for a moment, also to screen readers.
let timer;
export function say(s) {
  const e = $('#say');
  text(e, s);
  e.classList.add('shown');
  clearTimeout(timer);
  timer = setTimeout(() => e.classList.remove('shown'), 2500);
}

export async function copy(s, name) {
  try {
    await navigator.clipboard.writeText(s);
    say(name + ' copied');
  } catch {
    say('The browser allows no copying here');
  }
}

// empty is an empty state: what is missing, what to do next, and maybe a command.
export function empty(title, next, command) {
  return h('div', {className: 'empty'}, h('b', {}, title), h('span', {}, next), command && h('code', {}, command));
}

const svgNS = 'http://www.w3.org/2000/svg';

// spark makes a line of up to 60 values, the newest at the right.
export function spark() {
  const svg = document.createElementNS(svgNS, 'svg'), line = document.createElementNS(svgNS, 'path');
  const attributes = {viewBox: '0 0 60 20', preserveAspectRatio: 'none', class: 'spark', 'aria-hidden': 'true'};
  for (const [k, v] of Object.entries(attributes)) svg.setAttribute(k, v);
  svg.append(line);
  const draw = values => {
    const max = Math.max(...values, 1), x0 = 60 - values.length;
    const points = values.map((v, i) => `${(x0 + i).toFixed(1)} ${(19 - 17 * v / max).toFixed(1)}`);
    attr(line, 'd', points.length > 1 ? 'M' + points.join('L') : null);
  };
  return {svg, draw};
}
