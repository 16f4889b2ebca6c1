import {get} from './api.js';
import {callRow, fillCallRow} from './callrow.js';
import {$, empty, h, spark, text} from './dom.js';
import {parse} from './filter.js';
import {clock, duration} from './format.js';
import {isFile, now, onchange, store} from './store.js';
import {VList, newerButton} from './vlist.js';

// Calls that have been open for this long are pinned, but not too many.
const pinnedAfter = 5000, maxPinned = 8;

// callTable is the table of calls: those that have been open for some time on top, all
// in the order in which they began. onselect is called with the selected call.
export function callTable(onselect, onopen) {
  const root = $('#calls'), began = h('span');
  const columns = ['Method', 'Status', 'Time', '↑', '↓', 'Size'];
  const head = h('div', {className: 'thead row', 'aria-hidden': 'true'}, columns.map((c, i) => h('span', {className: 'c' + (i + 1)}, c)), h('span', {className: 'c7'}, began));
  const note = h('div', {className: 'note'});
  const list = new VList({height: 26, label: 'Calls', make: callRow, fill: (row, i) => fillCallRow(row, view[i], span), onselect: i => pick(view[i]), onrange: fitAxis, onfollow: () => newer.update()});
  const newer = newerButton(list);
  const pins = pinnedCalls(c => {
    list.selected = -1;
    list.draw();
    pick(c);
  });
  root.append(pins.el, head, h('div', {className: 'listbox'}, list.el, note, newer.button));
  list.el.addEventListener('dblclick', onopen);
  // The columns end where those of the list do, whose scrollbar has another width in each browser.
  new ResizeObserver(() => { head.style.paddingRight = `${12 + list.el.offsetWidth - list.el.clientWidth}px`; }).observe(list.el);

  let view = [], span = [0, 1], filter = parse(''), range, chosen, paused = false, missed = 0, matching, soon;
  const test = c => filter.test(c) && (!matching || matching.has(c.id)) &&
    (!range || (c.start <= range[1] && (c.end || Infinity) >= range[0]));

  function pick(c) {
    chosen = c;
    pins.draw(test, chosen);
    onselect(c);
  }

  // fitAxis fits the waterfall's axis to the rows in view.
  function fitAxis(first, last) {
    let t0 = Infinity, t1 = 0;
    for (const c of view.slice(first, last)) {
      if (pins.has(c)) continue;
      t0 = Math.min(t0, c.start);
      t1 = Math.max(t1, c.end || c.start);
    }
    if (t0 === Infinity) return;
    span = [t0, Math.max(t1, t0 + 50)];
    text(began, `${clock(t0).slice(0, 8)} + ${duration(span[1] - t0)}`);
  }

  function rebuild() {
    const before = list.n;
    view = store.calls.filter(test);
    list.selected = chosen ? view.indexOf(chosen) : -1;
    if (before === 0) list.setFollow(true);
    list.setCount(view.length);
    newer.reset();
    if (list.selected >= 0 && !list.follow) list.reveal(list.selected);
    explain();
  }

  // replace updates the view after calls were dropped. The rows in view stay, if they
  // aren't dropped.
  function replace(removed) {
    const lost = removed.filter(test).length;
    const top = Math.min(Math.floor(list.el.scrollTop / list.height), view.length - 1), anchor = view[top];
    view = store.calls.filter(test);
    const at = view.indexOf(anchor);
    list.setCount(view.length, at < 0 ? lost : Math.max(0, top - at));
    newer.lost(lost);
    list.selected = chosen ? view.indexOf(chosen) : -1;
  }

  function explain() {
    note.hidden = view.length > 0;
    if (view.length || note.reason === whyEmpty()) return;
    note.reason = whyEmpty();
    note.replaceChildren(empty(...note.reason.split('\n')));
  }

  // askServer looks for the calls whose messages fulfil the filter's remote terms.
  async function askServer() {
    const of = filter;
    if (!of.remote) return;
    const r = await get(`calls?limit=10000&q=${encodeURIComponent(of.remote)}`).catch(e => ({problem: e.message}));
    if (of !== filter) return;
    note.problem = r.problem;
    matching = new Set((r.calls ?? []).map(c => c.id));
    rebuild();
  }
  setInterval(() => {
    if (filter.remote && !paused && !document.hidden) askServer();
  }, 2000);

  const whyEmpty = () => store.problem ? `wstun refuses the page\n${store.problem}`
    : note.problem ? `The filter isn't valid\n${note.problem}`
    : store.counts.shown ? 'No call matches\nEsc clears the filter.'
    : isFile() ? 'No calls\nThe recording has none.'
    : store.info.sessions === false && store.info.calls ? 'No calls yet\nPress Call beside a method under Services.'
    : store.sessions.size ? 'No calls yet\nCalls through the tunnel appear here. Make one, such as:\n' + exampleCommand()
    : 'No session\nwstun waits for one, and shows its calls as they pass. To see what fails on the way:\nwstun check TARGET';

  onchange(({added, removed, reset}) => {
    pins.draw(test, chosen);
    if (reset) {
      chosen = undefined;
      rebuild();
    } else if (paused) missed += added.length;
    else if (removed.length) replace(removed);
    else if (added.length) {
      view.push(...added.filter(test));
      list.setCount(view.length);
    } else list.draw();
    explain();
    newer.update();
  });
  return {
    list,
    get missed() { return missed; },
    setFilter(q) {
      filter = parse(q);
      note.problem = undefined;
      matching = filter.remote ? new Set() : undefined;
      clearTimeout(soon);
      soon = setTimeout(askServer, 200);
      rebuild();
      pins.draw(test, chosen);
    },
    setRange(r) {
      range = r;
      rebuild();
    },
    pause(on) {
      paused = on;
      missed = 0;
      if (!on) rebuild();
    },
    // pinned selects the next or previous pinned call.
    pinned: step => pins.step(chosen, step),
    select(c) {
      list.select(view.indexOf(c));
    },
  };
}

function exampleCommand() {
  const address = store.info.addresses?.find(a => typeof a === 'string' && !a.includes('://')) ?? '127.0.0.1:50051';
  return `grpcurl -plaintext ${address} list`;
}

// pinnedCalls shows the oldest open calls.
function pinnedCalls(onpick) {
  const el = h('div', {className: 'pins', hidden: true, role: 'group', 'aria-label': 'Open calls'}, h('div', {className: 'pinhead'}, 'Open'));
  const rows = [];
  let pinned = [];
  const add = () => {
    const row = callRow();
    row.className = 'row pin';
    row.spark = spark();
    row.setAttribute('role', 'button');
    row.tabIndex = 0;
    row.lastElementChild.append(row.spark.svg);
    row.addEventListener('click', () => onpick(row.call));
    row.addEventListener('keydown', e => {
      if (e.key !== ' ' && e.key !== 'Enter') return;
      onpick(row.call);
      if (e.key === ' ') e.preventDefault(); // Enter goes on to the messages
    });
    rows.push(row);
    el.append(row);
  };
  return {
    el,
    has: c => pinned.includes(c),
    draw(test, chosen) {
      pinned = store.open.filter(c => now() - c.start > pinnedAfter && test(c)).sort((a, b) => a.start - b.start).slice(0, maxPinned);
      while (rows.length < pinned.length) add();
      rows.forEach((row, i) => {
        row.hidden = i >= pinned.length;
        if (row.hidden) return;
        fillCallRow(row, pinned[i], [0, 1]);
        row.spark.draw((pinned[i].rates ?? []).slice(0, -1)); // the last second isn't over
        row.classList.toggle('sel', pinned[i] === chosen);
      });
      el.hidden = !pinned.length;
    },
    step(chosen, step) {
      const i = pinned.indexOf(chosen);
      const c = pinned[i < 0 ? (step > 0 ? 0 : pinned.length - 1) : i + step];
      if (c) onpick(c);
    },
  };
}
