import {activity, isQuiet} from './activity.js';
import {callPath, get, getText} from './api.js';
import {callForm} from './callform.js';
import {$, attr, copy, h, say, text, visible} from './dom.js';
import {bytes, clock, count, duration, kindMark, kindName, split, state, took} from './format.js';
import {messages} from './messages.js';
import {metadataPane, timingPane} from './meta.js';
import {replayPane} from './replay.js';
import {isFile, now, onchange, store} from './store.js';

const tabs = ['Messages', 'Metadata', 'Timing', 'Call', 'Replay'];
const callsOff = () => isFile() ? 'A recording takes no calls: see wstun replay' : 'Calls from the page are off: start wstun dial with --admin-calls';

// detailPane shows one call: its messages, metadata and times, and forms to make it
// again. onshow is called with a call to show.
export function detailPane(onshow) {
  const root = $('#detail'), msgs = messages(), total = h('span', {className: 'n num'});
  const title = h('h2'), kind = h('span', {className: 'kindname'}), status = h('span', {className: 'badge'}), why = h('div', {className: 'why', hidden: true});
  const fact = () => h('span', {className: 'num'});
  const facts = {time: fact(), up: fact(), down: fact(), session: fact(), began: fact(), note: fact()};
  const buttons = tabs.map((name, i) => h('button', {role: 'tab', id: `tab${i}`, 'aria-controls': 'pane', 'aria-selected': 'false', onclick: () => show(i)}, name, i === 0 && total));
  const bar = h('div', {className: 'tabs', role: 'tablist', 'aria-label': 'Details', onkeydown: moveTab}, buttons);
  const pane = h('div', {className: 'pane', id: 'pane', role: 'tabpanel'});
  const menu = copyMenu(copyAs);
  const again = h('button', {className: 'btn', title: 'Call again (r)', onclick: () => show(3)}, 'Call again');
  const view = h('div', {className: 'dview', hidden: true},
    h('div', {className: 'dhead'}, h('div', {className: 'dtop'}, title, kind, h('span', {className: 'grow'}), menu, again), h('div', {className: 'facts'}, status, Object.values(facts)), why), bar, pane);
  const none = h('div', {className: 'empty'}, h('b', {}, 'No call selected'), h('span', {}, 'Pick one on the left, or press ', h('kbd', {}, 'j'), '.'));
  root.append(none, view);
  let call, info, other, tab = 0, paused = false, form;

  // instead shows another pane, or the call again if there is none.
  function instead(el) {
    other?.remove();
    other = el;
    none.hidden = !!el || !!call;
    view.hidden = !!el || !call;
    if (el) root.append(el);
  }

  function head() {
    const [, service, name] = split(call.method), st = state(call);
    if (title.title !== visible(call.method)) {
      title.title = visible(call.method);
      title.replaceChildren(h('span', {className: 'muted'}, service + '/'), h('b', {}, name));
    }
    text(kind, call.kind in kindName ? `${kindMark[call.kind]} ${kindName[call.kind]}` : '');
    attr(status, 'data-st', st);
    text(status, call.code ?? activity(call));
    attr(status, 'data-quiet', isQuiet(call) ? '' : null);
    text(facts.time, duration(took(call, now())));
    text(facts.up, `↑ ${count(call.up.n)} · ${bytes(call.up.b)}`);
    text(facts.down, `↓ ${count(call.down.n)} · ${bytes(call.down.b)}`);
    text(facts.session, call.session ? `s${call.session}, stream ${call.stream ?? '–'}` : '');
    text(facts.began, 'began ' + clock(call.start));
    text(facts.note, call.origin === 'page' ? 'called from this page' : '');
    why.hidden = st !== 'err' || !(call.message || call.note);
    text(why, [call.message, call.note].filter(Boolean).join(' · '));
    text(total, count(call.up.n + call.down.n));
    again.hidden = buttons[3].hidden = buttons[4].hidden = !store.info.calls;
  }

  async function open(c) {
    if (c === call && !other) return;
    instead();
    const same = c === call;
    call = c;
    none.hidden = true;
    view.hidden = false;
    head();
    if (same) return;
    info = form = undefined;
    msgs.open(c);
    show(tab < 3 ? tab : 0);
    await load();
  }

  // load loads the parts of a call that its summary lacks.
  async function load() {
    const of = call;
    try {
      const r = await get(callPath(of));
      if (of !== call) return;
      info = r;
    } catch (e) {
      if (of !== call) return;
      info = undefined;
      say(e.status === 404 ? 'The call isn’t kept any more' : e.message);
    }
    if (tab === 1 || tab === 2) show(tab);
  }

  function show(i) {
    if (i > 2 && !store.info.calls) {
      say(callsOff());
      return;
    }
    if (!call) return;
    if (other) instead();
    tab = i;
    buttons.forEach((b, n) => {
      attr(b, 'aria-selected', String(n === i));
      b.tabIndex = n === i ? 0 : -1;
    });
    attr(pane, 'aria-labelledby', `tab${i}`);
    const method = call.method.slice(1), panes = [
      () => msgs.el, () => info && metadataPane(call, info), () => info && timingPane(call, info),
      () => form ??= callForm(method, {call, onshow}), () => replayPane(call, () => store.sessions.get(call.session)?.state === 'up' ? call.session : undefined),
    ];
    pane.replaceChildren(panes[i]() ?? '');
    if (i !== 0) return;
    msgs.update(call);
    msgs.list.draw();
  }

  function moveTab(e) {
    const step = {ArrowLeft: -1, ArrowRight: 1}[e.key];
    if (!step) return;
    const shown = buttons.filter(b => !b.hidden), next = shown[(shown.indexOf(buttons[tab]) + step + shown.length) % shown.length];
    show(buttons.indexOf(next));
    next.focus();
    e.stopPropagation();
    e.preventDefault();
  }

  async function copyAs(as) {
    menu.open = false;
    if (!call) return;
    try {
      if (as === 'json') await copy(await messagesAsJSON(call), 'Messages');
      else await copy(await getText(callPath(call, `command?as=${as}`)), `${as} command`);
    } catch (e) {
      say(e.message);
    }
  }

  onchange(({changed, reset}) => {
    if (reset) {
      call = undefined;
      instead(other);
    }
    if (!call || paused) return;
    if (call.end && !changed.has(call)) return;
    head();
    if (tab === 0) msgs.update(call);
    else if (changed.has(call) && tab < 3) load();
  });
  return {
    open, show, instead, copyAs, msgs,
    // callMethod shows a form for a method without a call.
    callMethod: method => instead(h('div', {className: 'dview'}, h('div', {className: 'dhead'}, h('div', {className: 'dtop'}, h('h2', {}, h('span', {className: 'muted'}, 'Call '), h('b', {}, method)))), h('div', {className: 'pane'}, callForm(method, {onshow})))),
    pause(on) {
      paused = on;
      msgs.pause(on);
      if (!on && call) {
        head();
        if (tab === 0) msgs.update(call);
      }
    },
    get call() { return call; },
    get isOther() { return !!other; },
    get tab() { return tab; },
  };
}

function copyMenu(copyAs) {
  const item = (as, ...label) => h('button', {onclick: () => copyAs(as)}, label);
  const menu = h('details', {className: 'menu'}, h('summary', {className: 'btn'}, 'Copy'), h('div', {className: 'pop'},
    item('grpcurl', 'as grpcurl', h('kbd', {}, 'c')), item('wstun', 'as wstun call', h('kbd', {}, 'C')), item('json', 'messages as JSON lines')));
  document.addEventListener('pointerdown', e => {
    if (!menu.contains(e.target)) menu.open = false;
  });
  menu.addEventListener('keydown', e => {
    if (e.key !== 'Escape' || !menu.open) return;
    menu.open = false;
    menu.firstElementChild.focus();
    e.stopPropagation();
  });
  return menu;
}

async function messagesAsJSON(call) {
  const r = await get(callPath(call, 'messages?from=0&n=500'));
  return r.messages.map(m => JSON.stringify(m)).join('\n');
}
