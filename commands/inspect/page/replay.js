import {callPath, post} from './api.js';
import {diff} from './diff.js';
import {h} from './dom.js';
import {duration, plural} from './format.js';

const verdicts = {
  same: ['ok', 'Same', 'The server answered as it did then.'],
  differs: ['err', 'Differs', ''],
  skipped: ['open', 'Skipped', ''],
  failed: ['err', 'Failed', ''],
};

// replayPane makes a call again and shows how the answers differ. session() returns the
// number of the session to use.
export function replayPane(call, session) {
  const result = h('div', {'aria-live': 'polite'});
  const button = h('button', {className: 'btn primary', disabled: !call.end, onclick: run}, 'Replay');
  async function run() {
    button.disabled = true;
    result.replaceChildren(h('p', {className: 'muted'}, 'Calling…'));
    try {
      result.replaceChildren(...report(await post(callPath(call, 'replay'), {session: session()})));
    } catch (e) {
      result.replaceChildren(h('p', {className: 'why'}, e.message));
    } finally {
      button.disabled = false;
    }
  }
  return h('div', {className: 'scroll pad', tabIndex: 0}, h('div', {className: 'callbar'}, button,
    h('span', {className: 'muted'}, call.end ? 'Sends the recorded requests again, and compares status, metadata and responses.' : 'A call can be replayed once it has ended.')), result);
}

function report(r) {
  const [state, name, text] = verdicts[r.result] ?? ['err', r.result, ''];
  const times = r.ms === undefined ? '' : `${duration(r.ms)}, recorded ${duration(r.recorded_ms ?? 0)}`;
  return [
    h('p', {}, h('span', {className: 'badge', 'data-st': state}, name), ' ', r.reason || text, ' ', h('span', {className: 'muted num'}, times)),
    r.differences.length > 0 && h('p', {className: 'muted'}, h('span', {className: 'minus'}, '−'), ' recorded, ', h('span', {className: 'plus'}, '+'), ' now'),
    ...r.differences.map(d => h('section', {}, h('h3', {className: 'mono'}, (d.response ? `response ${d.response} ` : '') + (d.path ?? '')),
      diff(d.recorded, d.replayed), d.more ? h('p', {className: 'muted'}, `and so in ${plural(d.more, 'more response')}`) : '')),
    r.more && h('p', {className: 'muted'}, 'There are more differences.'),
  ].filter(Boolean);
}
