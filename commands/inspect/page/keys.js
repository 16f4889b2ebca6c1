import {$, h} from './dom.js';

const all = [
  ['/', 'filter the calls, or find in the messages'], ['j k ↑ ↓', 'next, previous'], ['PgUp PgDn', 'a page'], ['g G', 'first; last, and follow'], ['↵ l', 'into the messages'],
  ['Esc h', 'back, or clear the filter'], ['J K', 'next, previous open call'], ['f', 'follow the newest'], ['p', 'pause, go on'], ['e o a', 'errors, open, all'],
  ['1 … 5', 'messages, metadata, timing, call, replay'], ['d', 'changes since the message before'], ['s', 'services'], ['c C', 'copy as grpcurl, as wstun call'],
  ['r', 'call again'], ['Ctrl ↵', 'send, in a form'], ['x', 'export the calls'], ['i', 'calls of reflection, health and channelz'], ['t', 'light or dark'], ['?', 'these keys'],
];

// helpDialog fills the dialog of the keys, and returns a function that opens or closes it.
export function helpDialog() {
  const dialog = $('#keys');
  const keys = k => k.split(' ').map(x => x === '…' ? ' … ' : h('kbd', {}, x));
  dialog.append(h('h2', {id: 'keyshead'}, 'Keys'), h('dl', {}, all.flatMap(([k, v]) => [h('dt', {}, keys(k)), h('dd', {}, v)])));
  dialog.setAttribute('aria-labelledby', 'keyshead');
  const toggle = () => dialog.open ? dialog.close() : dialog.showModal();
  $('#help').addEventListener('click', toggle);
  dialog.addEventListener('click', e => {
    if (e.target === dialog) dialog.close();
  });
  return toggle;
}
