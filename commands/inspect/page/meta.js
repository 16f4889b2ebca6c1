import {h} from './dom.js';
import {clock, duration} from './format.js';
import {tree} from './json.js';

const table = (name, rows, none) => h('section', {}, h('h3', {}, name), rows?.length
  ? h('table', {className: 'kv'}, h('tbody', {}, rows.map(([k, v]) => h('tr', {}, h('th', {scope: 'row'}, k), h('td', {className: v === '[redacted]' ? 'redacted' : ''}, v)))))
  : h('p', {className: 'muted'}, none));

const pane = (...children) => h('div', {className: 'scroll pad', tabIndex: 0}, children);

// metadataPane shows a call's metadata, and the details of its error first.
export function metadataPane(call, info) {
  const details = info.details.length > 0 && h('section', {}, h('h3', {}, 'Error details'), h('div', {className: 'mono box'}, info.details.map(d => tree(d))));
  const facts = [['method', call.method], ['authority', info.authority], ['deadline', info.timeout_ms && duration(info.timeout_ms)], ['encoding', info.encoding],
    ['peer', call.peer], ['session', call.session && `s${call.session}, stream ${call.stream}`], ['origin', {page: 'this page', record: 'a recording'}[call.origin]]];
  const open = call.end ? 'none' : 'not yet: the call is open';
  return pane(details, info.details_note && h('p', {className: 'muted'}, info.details_note),
    table('Request metadata', info.request, 'none'), table('Response metadata', info.response, open), table('Trailers', info.trailers, open),
    info.omitted && h('p', {className: 'muted'}, 'There was more metadata than is kept.'),
    table('Call', facts.filter(f => f[1]), ''));
}

const phases = {
  begin: 'Begin', request: 'First request', 'half-close': 'Half-close', headers: 'Response headers', first: 'First response', last: 'Last response', end: 'End',
};

// timingPane shows when the parts of a call passed: each bar is the time since the part
// before it.
export function timingPane(call, info) {
  const marks = info.timing, total = Math.max(0.001, marks.at(-1)?.ms ?? 0);
  const rows = marks.map((mark, i) => {
    const from = i ? marks[i - 1].ms : 0, bar = h('i', {className: 'wfbar', 'data-phase': mark.phase});
    bar.style.left = `${100 * from / total}%`;
    bar.style.width = `${100 * (mark.ms - from) / total}%`;
    return h('tr', {}, h('th', {scope: 'row'}, phases[mark.phase] ?? mark.phase), h('td', {className: 'wftrack'}, h('div', {}, bar)),
      h('td', {className: 'r num'}, at(mark.ms)), h('td', {className: 'r num muted'}, i ? `+${at(mark.ms - from)}` : ''));
  });
  return pane(h('section', {}, h('h3', {}, 'Timing'), h('table', {className: 'timing'}, h('tbody', {}, rows)),
    h('p', {className: 'muted'}, `Began ${clock(call.start)}${call.end ? `, took ${duration(call.ms)}` : ', is open'}${info.timeout_ms ? `, deadline ${duration(info.timeout_ms)}` : ''}. Seen where wstun is, between client and server.`)));
}

const at = ms => ms < 1 ? `${ms && ms.toFixed(2)} ms` : duration(ms);
