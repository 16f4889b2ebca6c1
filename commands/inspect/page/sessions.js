import {$, attr, empty, h, spark, text} from './dom.js';
import {bytes, count, duration} from './format.js';
import {now, onchange, store} from './store.js';

const maxCards = 8;

// sessionStrip shows a card for each of the newest sessions. A click on one calls
// onpick with its number.
export function sessionStrip(onpick, onall) {
  const root = $('#sessions'), cards = new Map();
  const all = h('button', {className: 'btn all', hidden: true, onclick: onall});
  const none = h('p', {className: 'muted none'}, 'No session yet. This line shows them once they are up.');
  root.append(none, all);
  let picked, order;
  onchange(() => {
    const shown = choose();
    none.hidden = shown.length > 0;
    for (const [id, c] of cards) {
      if (shown.some(s => s.id === id)) continue;
      c.el.remove();
      cards.delete(id);
    }
    for (const s of shown) {
      if (!cards.has(s.id)) cards.set(s.id, card(s, () => onpick(s.id)));
      cards.get(s.id).update(s);
      attr(cards.get(s.id).el, 'aria-pressed', String(s.id === picked));
    }
    if (order !== shown.map(s => s.id).join()) {
      order = shown.map(s => s.id).join();
      const focused = document.activeElement;
      for (const s of shown) root.insertBefore(cards.get(s.id).el, all);
      focused?.focus();
    }
    all.hidden = store.sessions.size <= maxCards;
    text(all, `All ${store.sessions.size}`);
  });
  return {
    pick(id) {
      picked = id;
      for (const [n, c] of cards) attr(c.el, 'aria-pressed', String(n === id));
    },
  };
}

// choose returns the newest sessions: those that are up, in the order in which they
// began, and then those that have ended, the newest first.
function choose() {
  const all = [...store.sessions.values()].sort((a, b) => a.id - b.id), isUp = s => s.state !== 'down';
  return [...all.filter(isUp).slice(-maxCards), ...all.filter(s => !isUp(s)).reverse()].slice(0, maxCards);
}

// hostOf splits a session's remote address for display: the first label of a host name
// and the rest.
function hostOf(remote = '') {
  let host = remote;
  try { host = new URL(remote).host; } catch { /* an address without a scheme */ }
  if (/^[\d.:[\]a-f]+$/i.test(host)) return [host, ''];
  const i = host.indexOf('.');
  return i < 0 ? [host, ''] : [host.slice(0, i), host.slice(i)];
}

const rtt = s => s.rtt_ms === undefined ? '–' : s.rtt_ms < 10 ? s.rtt_ms.toFixed(1) + ' ms' : Math.round(s.rtt_ms) + ' ms';
const reason = s => `${s.reason || 'ended'}, ${duration(now() - s.ended)} ago`;

function card(s, onclick) {
  const stat = (name, title) => {
    const value = h('b', {className: 'num'});
    return {value, el: h('span', {className: `stat ${name}`, title}, h('span', {}, name), value)};
  };
  const up = stat('up', 'For how long'), trip = stat('rtt', 'Round trip of the newest Ping'), open = stat('open', 'Calls that are open');
  const received = stat('↓', 'Bytes received'), sent = stat('↑', 'Bytes sent');
  const line = spark(), tail = h('span', {className: 'tail'});
  const [host, domain] = hostOf(s.remote);
  const el = h('button', {className: 'session', title: s.remote, 'aria-pressed': 'false', onclick},
    h('span', {className: 'sname'}, h('i', {className: 'dot'}), h('span', {className: 'mono'}, host), h('span', {className: 'muted mono host'}, domain),
      h('span', {className: 'sid'}, 's' + s.id)),
    h('span', {className: 'stats'}, [up, trip, open, received, sent].map(x => x.el), line.svg, tail));
  const rates = [];
  let sampled = 0;
  return {
    el,
    update(s) {
      attr(el, 'data-state', s.state);
      const down = s.state === 'down';
      text(up.value, duration((s.ended || now()) - s.since));
      text(trip.value, down ? '–' : rtt(s));
      text(open.value, String(s.open ?? 0));
      text(received.value, bytes(s.bytes?.in ?? 0));
      text(sent.value, bytes(s.bytes?.out ?? 0));
      text(tail, down ? reason(s) : s.state === 'draining' ? 'draining' : '');
      if (down || now() - sampled < 500) return;
      sampled = now();
      if (!rates.length) rates.push(...s.rates ?? []);
      rates.push(((s.rate?.in ?? 0) + (s.rate?.out ?? 0)) / 2);
      if (rates.length > 60) rates.shift();
      line.draw(rates);
    },
  };
}

// sessionTable lists all sessions.
export function sessionTable(onpick) {
  if (!store.sessions.size) return empty('No session', 'wstun waits for one, or dials again.');
  const columns = ['Session', 'Remote', 'State', 'Up for', 'Round trip', 'Open', '↓', '↑', 'Certificate'];
  const number = s => h('td', {className: 'r num'}, s);
  return h('div', {className: 'scroll pad', tabIndex: 0, role: 'region', 'aria-label': 'All sessions'}, h('table', {className: 'list sessions'},
    h('thead', {}, h('tr', {}, columns.map((c, i) => h('th', {scope: 'col', className: i > 2 ? 'r' : ''}, c)))),
    h('tbody', {}, [...store.sessions.values()].reverse().map(s => h('tr', {},
      h('th', {scope: 'row'}, h('button', {className: 'link', onclick: () => onpick(s.id)}, 's' + s.id)),
      h('td', {className: 'mono', title: s.remote}, hostOf(s.remote).join('')),
      h('td', {className: s.state === 'down' ? 'bad' : '', title: s.reason ?? ''}, s.state === 'down' ? reason(s) : s.state),
      number(duration((s.ended || now()) - s.since)), number(rtt(s)), number(count(s.open ?? 0)),
      number(bytes(s.bytes?.in ?? 0)), number(bytes(s.bytes?.out ?? 0)),
      number(s.certificate_expires ? `until ${new Date(s.certificate_expires).toLocaleDateString()}` : '–'))))));
}
