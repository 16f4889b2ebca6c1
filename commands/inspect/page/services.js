import {get} from './api.js';
import {empty, h} from './dom.js';
import {count, duration} from './format.js';
import {store} from './store.js';

const short = name => name?.slice(name.lastIndexOf('.') + 1) ?? '';

// serviceBrowser shows the services of the peer, and how the calls of their methods
// went. onfilter is called with a filter, oncall with the name of a method.
export function serviceBrowser(onfilter, oncall) {
  const box = h('div', {className: 'scroll pad services', tabIndex: 0, role: 'region', 'aria-label': 'Services'}, h('p', {className: 'muted'}, 'Asking for the services…'));
  let shown = '';
  async function refresh() {
    try {
      const r = await get('services'), now = JSON.stringify(r);
      if (now === shown) return;
      shown = now;
      box.replaceChildren(r.note ? h('p', {className: 'muted'}, r.note) : '', r.services.length ? table(r.services) : empty('No services', 'The peer has none, or has no reflection: see', 'wstun list --help'));
    } catch (e) {
      shown = '';
      box.replaceChildren(h('p', {className: 'why'}, e.message));
    }
  }
  refresh();
  const timer = setInterval(() => {
    if (!box.isConnected) clearInterval(timer);
    else if (!document.hidden && !box.contains(document.activeElement)) refresh();
  }, 2000);

  const table = services => h('table', {className: 'list meths'},
    h('thead', {}, h('tr', {}, ['Method', 'Request → response', 'Calls', 'Failed', 'p50', 'p95', ''].map((t, i) => h('th', {scope: 'col', className: i > 1 ? 'r' : ''}, t || h('span', {className: 'sr'}, 'Call'))))),
    services.map(s => h('tbody', {}, h('tr', {}, h('th', {scope: 'rowgroup', colSpan: 7, className: 'mono svcname', title: s.comment}, s.name)), s.methods.map(m => row(s, m)))));

  function row(s, m) {
    const o = m.observed, time = ms => ms === undefined ? '' : duration(ms), number = (v, className = '') => h('td', {className: 'r num ' + className}, v);
    const described = m.described !== false, name = `${s.name}/${m.name}`;
    return h('tr', {},
      h('th', {scope: 'row'}, h('button', {title: m.comment || 'Show only its calls', onclick: () => onfilter(`${short(s.name)}/${m.name}`)}, m.name)),
      h('td', {className: 'mono muted', title: described ? `${m.request} → ${m.response}` : ''},
        described ? `${m.up ? 'stream ' : ''}${short(m.request)} → ${m.down ? 'stream ' : ''}${short(m.response)}` : 'not in the schema'),
      number(o.calls ? count(o.calls) : '', ''), number(o.failed ? count(o.failed) : '', 'bad'), number(time(o.p50_ms)), number(time(o.p95_ms)),
      h('td', {className: 'r'}, store.info.calls && described && h('button', {className: 'link', 'aria-label': `Call ${m.name}`, onclick: () => oncall(name)}, 'Call')));
  }
  return box;
}
