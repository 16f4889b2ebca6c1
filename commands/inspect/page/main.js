import {watchActivity} from './activity.js';
import {request, waiting} from './api.js';
import {callTable} from './calls.js';
import {detailPane} from './detail.js';
import {$, attr, say, text} from './dom.js';
import {forServer} from './filter.js';
import {bytes, count, plural} from './format.js';
import {helpDialog} from './keys.js';
import {movableSplit, themeToggle} from './layout.js';
import {overview} from './overview.js';
import {serviceBrowser} from './services.js';
import {sessionStrip, sessionTable} from './sessions.js';
import {connect, hasEnded, isFile, onchange, store, toggleInfrastructure} from './store.js';

watchActivity();
const filter = $('#filter');
let only = '', session, paused = false;

const detail = detailPane(showCall);
const table = callTable(c => {
  attr($('#services'), 'aria-pressed', 'false');
  detail.open(c);
}, enterMessages);
const over = overview(range => table.setRange(range));
const strip = sessionStrip(pickSession, () => detail.instead(sessionTable(pickSession)));
const help = helpDialog(), toggleTheme = themeToggle();
movableSplit();

function showCall(c) {
  clearFilter();
  table.select(c);
  detail.open(c);
}

// The filter's terms, the buttons and the picked session all hold.
const query = () => [filter.value.trim(), only, session ? 's' + session : ''].filter(Boolean).join(' ');
const refilter = () => table.setFilter(query());

function choose(which) {
  only = {all: '', errors: 'status!=OK', open: 'is:open'}[which];
  for (const id of ['all', 'errors', 'open']) attr($('#' + id), 'aria-pressed', String(id === which));
  refilter();
}

function pickSession(id) {
  session = session === id ? undefined : id;
  strip.pick(session);
  refilter();
}

function clearFilter() {
  filter.value = '';
  session = undefined;
  strip.pick();
  over.clear();
  table.setRange();
  choose('all');
}

function pause() {
  paused = !paused;
  $('#pause').classList.toggle('paused', paused);
  text($('#pause span'), paused ? 'Paused' : 'Live');
  attr($('#pause'), 'aria-pressed', String(paused));
  table.pause(paused);
  detail.pause(paused);
  over.freeze(paused);
  footer();
}

function infrastructure() {
  toggleInfrastructure();
  refilter();
}

function browse(on = $('#services').getAttribute('aria-pressed') !== 'true') {
  attr($('#services'), 'aria-pressed', String(on));
  detail.instead(on ? serviceBrowser(q => {
    filter.value = q;
    refilter();
  }, method => {
    browse(false);
    detail.callMethod(method);
  }) : undefined);
}

// save saves the calls that the filter shows as a recording.
async function save() {
  say('Exporting…');
  try {
    const r = await request('export?q=' + encodeURIComponent(forServer(query(), store.infrastructure))), url = URL.createObjectURL(await r.blob());
    const a = document.createElement('a');
    Object.assign(a, {href: url, download: 'calls.ndjson'}).click();
    URL.revokeObjectURL(url);
    say('Exported: see wstun trace, replay and serve --stub');
  } catch (e) {
    say(e.message);
  }
}

function enterMessages() {
  if (!detail.call) return;
  detail.show(0);
  const list = detail.msgs.list;
  list.el.focus();
  if (list.selected < 0) list.select(list.n - 1, true);
}

const inDetails = () => $('#detail').contains(document.activeElement);
const inMessages = () => detail.tab === 0 && inDetails();

const actions = {
  '/': () => (inMessages() ? detail.msgs.find : filter).focus(),
  f: () => activeList().setFollow(!activeList().follow),
  p: pause,
  e: () => choose(only === 'status!=OK' ? 'all' : 'errors'),
  o: () => choose(only === 'is:open' ? 'all' : 'open'),
  a: () => choose('all'),
  Enter: enterMessages,
  l: enterMessages,
  h: () => table.list.el.focus(),
  c: () => detail.copyAs('grpcurl'),
  C: () => detail.copyAs('wstun'),
  d: () => detail.msgs.body.toggle(),
  r: () => detail.show(3),
  s: () => browse(),
  t: toggleTheme,
  x: save,
  i: infrastructure,
  J: () => table.pinned(1),
  K: () => table.pinned(-1),
  '?': help,
};
for (let i = 1; i <= 5; i++) actions[i] = () => detail.show(i - 1);

const activeList = () => inMessages() ? detail.msgs.list : table.list;

document.addEventListener('keydown', e => {
  if (e.ctrlKey || e.metaKey || e.altKey || (document.querySelector('dialog[open]') && e.key !== '?')) return;
  const typing = e.target.matches('textarea, select, input:not([type=checkbox], [type=radio])');
  if (e.key === 'Escape') back(e, typing);
  else if (e.target === filter && (e.key === 'Enter' || e.key === 'ArrowDown')) {
    table.list.el.focus();
    if (table.list.selected < 0) table.list.select(table.list.n - 1);
  } else if (typing || (e.key === 'Enter' && e.target.matches('button, summary'))) return;
  else if (Object.hasOwn(actions, e.key)) actions[e.key]();
  else if (e.target.matches('.scroll, .body') || !activeList().key(e)) return;
  e.preventDefault();
});

// back leaves an input, then the services or the like, then the details, and then clears
// the filter.
function back(e, typing) {
  if (e.target === filter && filter.value) {
    filter.value = '';
    refilter();
  } else if (typing) e.target.blur();
  else if (detail.isOther) browse(false);
  else if (!inDetails()) {
    clearFilter();
    return;
  }
  table.list.el.focus();
}

filter.addEventListener('input', refilter);
for (const id of ['all', 'errors', 'open']) $('#' + id).addEventListener('click', () => choose(id));
$('#pause').addEventListener('click', pause);
$('#services').addEventListener('click', () => browse());
$('#export').addEventListener('click', save);
$('#infra').addEventListener('click', infrastructure);

let downSince;
function footer() {
  downSince = store.connected ? undefined : downSince ?? Date.now();
  const offline = downSince !== undefined && Date.now() - downSince > 1500;
  document.body.classList.toggle('offline', offline);
  text($('#kept'), offline ? store.problem || 'wstun doesn’t answer. Trying again.' : waiting ? 'Waiting for a connection: close other tabs with this page.' : kept());
}

// kept describes what the server keeps, and what it had to drop or missed.
function kept() {
  const {used, limits, dropped, source} = store.info, parts = [...source === 'ended' ? ['The process has ended'] : [], `${plural(store.calls.length, 'call')} kept`];
  if (used?.memory && limits?.memory) parts.push(`${bytes(used.memory)} of ${bytes(limits.memory)}`);
  if (store.dropped) parts.push(`${plural(store.dropped, 'older call')} dropped`);
  if (dropped?.messages) parts.push(`${plural(dropped.messages, 'message')} dropped`);
  if (dropped?.lost) parts.push(`${plural(dropped.lost, 'event')} missed under load`);
  if (dropped?.encrypted) parts.push(plural(dropped.encrypted, 'encrypted connection'));
  if (paused) parts.push(`${count(table.missed)} since the pause`);
  return parts.join(' · ');
}

// begin shows the services if there will be no other calls than those of the page.
let begun = false;
function begin() {
  begun = true;
  if (store.info.sessions === false && store.info.calls && !isFile()) browse(true);
}

onchange(() => {
  const {role, addresses = [], source} = store.info;
  text($('#role'), source === 'file' ? 'recording' : role ?? '');
  text($('#where'), addresses.join('  '));
  $('#sessions').hidden = store.info.sessions === false;
  if (!begun && store.info.boot) begin();
  document.title = ['wstun', role, addresses[0]].filter(Boolean).join(' ');
  $('#pause').hidden = hasEnded();
  const {open, failed, infrastructure} = store.counts;
  text($('#nerr'), count(failed));
  $('#nerr').classList.toggle('zero', failed === 0);
  text($('#nopen'), count(open));
  $('#infra').hidden = infrastructure === 0;
  text($('#infra'), `${store.infrastructure ? 'Hide' : 'Show'} ${plural(infrastructure, 'call')} of reflection and health`);
  attr($('#infra'), 'aria-pressed', String(store.infrastructure));
  footer();
});
setInterval(() => {
  footer();
  if (!paused && !document.hidden) table.list.draw();
}, 500);

window.inspector = {store, table, detail}; // for tests, and for the browser's console
connect();
table.list.el.focus();
