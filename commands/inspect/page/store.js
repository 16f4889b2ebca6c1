import {ApiError, get, lines, request} from './api.js';

// The store holds the sessions and calls that the server keeps. The server sends those
// that have changed, up to ten times a second.
export const store = {
  info: {calls: false, role: '', addresses: [], source: 'live'},
  sessions: new Map(), calls: [], byID: new Map(), open: [],
  counts: {shown: 0, open: 0, failed: 0, infrastructure: 0}, dropped: 0, skew: 0, end: 0,
  infrastructure: false, // whether calls of reflection, health and channelz are shown
  connected: false, problem: '',
};

export const isFile = () => store.info.source === 'file';

// hasEnded reports whether there will be no more events: of a recording, or of a process
// that has ended.
export const hasEnded = () => store.info.source !== 'live';

// now is the server's clock, or the time of the last event.
export const now = () => hasEnded() ? store.end : Date.now() + store.skew;

// isInfrastructure reports whether a peer called one of gRPC's own services, as tools do
// besides their other calls.
const isInfrastructure = c => !!c.infrastructure && c.origin !== 'page';

export const isHidden = c => !store.infrastructure && isInfrastructure(c);

export function toggleInfrastructure() {
  store.infrastructure = !store.infrastructure;
  count();
  notify();
}

const listeners = new Set();

// onchange calls f after each change with {added, changed, removed, reset}: the calls
// that are new, those that have changed, those that are dropped, and whether all are.
// It returns a function that ends this.
export function onchange(f) {
  listeners.add(f);
  return () => listeners.delete(f);
}

const notify = what => listeners.forEach(f => f({added: [], changed: new Set(), removed: [], ...what}));

let rev = 0, boot, queue = [], frame, stop;

// connect follows the server while the page is visible: a stream takes one of the six
// connections that a browser allows a host.
export function connect() {
  document.addEventListener('visibilitychange', () => document.hidden ? stop?.abort() : follow());
  setInterval(() => {
    if (store.connected && !document.hidden) askInfo();
  }, 5000);
  follow();
}

async function follow() {
  stop?.abort();
  const mine = stop = new AbortController();
  for (let wait = 250; !mine.signal.aborted; wait = Math.min(4000, wait * 2)) {
    try {
      const r = await request(`changes?since=${rev}&boot=${boot ?? ''}`, {signal: mine.signal});
      Object.assign(store, {connected: true, problem: ''});
      await lines(r, line => {
        wait = 250;
        if (!mine.signal.aborted) receive(line);
      });
    } catch (e) {
      if (mine.signal.aborted) return;
      store.problem = e instanceof ApiError ? e.message : '';
    }
    store.connected = false;
    notify();
    await new Promise(done => setTimeout(done, wait));
  }
}

function receive(line) {
  switch (line.type) {
    case 'hello':
      boot = line.boot;
      askInfo();
      break;
    case 'reset':
      clear();
      break;
    case 'batch':
      rev = line.rev;
      queue.push(line);
      frame ??= requestAnimationFrame(apply);
  }
}

async function askInfo() {
  try {
    store.info = await get('');
    notify();
  } catch { /* the stream shows that the server is gone */ }
}

function clear() {
  queue = [];
  Object.assign(store, {calls: [], open: [], dropped: 0, end: 0});
  store.sessions.clear();
  store.byID.clear();
  count();
  notify({reset: true});
}

function apply() {
  frame = undefined;
  const added = [], changed = new Set(), removed = [];
  for (const batch of queue) {
    store.skew = batch.now - Date.now();
    store.dropped = batch.gone.calls;
    for (const s of batch.sessions) {
      // Only the first batch has the rates.
      store.sessions.set(s.id, {rates: store.sessions.get(s.id)?.rates, ...s});
    }
    for (const c of batch.calls) put(c, added, changed);
    for (const id of batch.gone.ids ?? []) {
      if (store.byID.has(id)) removed.push(store.byID.get(id));
      store.byID.delete(id);
    }
  }
  queue = [];
  if (removed.length) store.calls = store.calls.filter(c => store.byID.has(c.id));
  count();
  notify({added: added.filter(c => store.byID.has(c.id)), changed, removed});
}

// count counts the calls that are shown, those of them that are open or have failed, and
// those of gRPC's own services.
function count() {
  store.open = store.calls.filter(c => !c.end);
  const counts = store.counts = {shown: 0, open: 0, failed: 0, infrastructure: 0};
  for (const c of store.calls) {
    counts.infrastructure += isInfrastructure(c);
    if (isHidden(c)) continue;
    counts.shown++;
    counts.open += !c.end;
    counts.failed += failed(c);
  }
}

const failed = c => !!c.code && c.code !== 'OK';

function put(c, added, changed) {
  const old = store.byID.get(c.id);
  store.end = Math.max(store.end, c.end ?? c.last ?? c.start);
  c.sampled = !!c.rates;
  if (old) {
    Object.assign(old, {end: undefined, ...c});
    changed.add(old);
    return;
  }
  store.byID.set(c.id, c);
  store.calls.push(c);
  added.push(c);
}
