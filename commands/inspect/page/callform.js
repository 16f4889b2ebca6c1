import {callPath, get, post, remove} from './api.js';
import {attr, h, say, text, visible} from './dom.js';
import {messageForm} from './form.js';
import {duration, plural, state, took} from './format.js';
import {tree} from './json.js';
import {scalar} from './scalar.js';
import {now, onchange, store} from './store.js';

// Metadata that belongs to the transport, or can't be sent again.
const own = /^(:|grpc-|content-type$|user-agent$|te$)/;

// callForm makes a form that calls a method, "pkg.Service/Method", maybe with the
// requests and metadata of an earlier call. onshow is called with a call to show.
export function callForm(method, {call, onshow}) {
  const box = h('div', {className: 'scroll pad callform'}, h('p', {className: 'muted'}, 'Asking for the method’s types…'));
  load(method, call).then(m => {
    const form = new Form(m, onshow);
    box.replaceChildren(form.el);
    form.watch();
    form.send.focus();
  }, e => box.replaceChildren(h('p', {className: 'why'}, e.message)));
  return box;
}

async function load(method, call) {
  const [m, info, sent] = await Promise.all([get(`services/${method}`), call && get(callPath(call)), call && get(callPath(call, 'messages?dir=up&from=0&n=100'))]);
  const metadata = (info?.request ?? []).filter(([k, v]) => !own.test(k) && v !== '[redacted]');
  const requests = (sent?.messages ?? []).map(r => r.json).filter(Boolean);
  const masked = new Set((sent?.messages ?? []).flatMap(r => r.redacted ?? []));
  return {...m, method, metadata, masked, requests: requests.length ? requests : [first(m)]};
}

const isMessage = m => !!m.types[m.request] || !m.hint || m.request === 'google.protobuf.Empty';

// first is the request at the beginning: an empty one. That of a well-known type may be
// no JSON object.
const first = m => isMessage(m) ? {} : structuredClone(m.template ?? null);

class Form {
  constructor(m, onshow) {
    Object.assign(this, {m, onshow, requests: structuredClone(m.requests), at: 0});
    this.stream = m.kind === 'client' || m.kind === 'bidi';
    this.fields = h('div');
    this.steps = h('div', {className: 'steps', role: 'group', 'aria-label': 'Request'});
    this.json = h('textarea', {className: 'mono', spellcheck: false, rows: 10, 'aria-label': 'Request as JSON', oninput: () => this.readJSON()});
    this.deadline = h('input', {type: 'text', value: '30s', size: 5, spellcheck: false});
    this.metadata = h('textarea', {className: 'mono', spellcheck: false, rows: 3, placeholder: 'name: value', 'aria-label': 'Metadata, a line each', value: m.metadata.map(kv => kv.join(': ')).join('\n')});
    this.session = h('select', {}, [...store.sessions.values()].filter(s => s.state === 'up').map(s => h('option', {value: s.id}, `s${s.id}`)));
    this.problem = h('p', {className: 'why', role: 'alert', hidden: true});
    this.result = h('div', {className: 'result'});
    this.answer = answerLine(() => onshow(store.byID.get(this.id)));
    const button = (name, label, title, f) => this[name] = h('button', {type: 'button', className: 'btn', title, onclick: f}, label);
    button('send', this.stream ? 'Begin' : 'Send', 'Make the call', () => this.begin());
    this.send.classList.add('primary');
    const live = this.stream ? [button('next', 'Send message', 'Send the request below', () => this.act('messages', {messages: [this.value]})),
      button('close', 'Half-close', 'No more requests', () => this.act('half-close'))] : [];
    button('cancel', 'Cancel', 'Cancel the call', () => this.act());
    this.el = h('form', {onsubmit: e => e.preventDefault(), onkeydown: e => this.key(e)},
      h('div', {className: 'callbar'}, this.send, live, this.cancel, h('label', {}, 'Deadline ', this.deadline), this.session.options.length > 1 && h('label', {}, 'Session ', this.session)),
      m.comment && h('p', {className: 'fnote'}, m.comment), m.masked.size > 0 && h('p', {className: 'mnote'}, `Masked in the recorded requests, fill in: ${[...m.masked].join(', ')}`), this.problem, this.result,
      h('div', {className: 'two'},
        h('section', {}, h('h3', {}, m.request), this.stream && this.steps, this.fields),
        h('section', {}, h('h3', {}, 'As JSON ', m.template && m.types[m.request]?.fields.length > 0 && this.example()), this.json, h('h3', {}, 'Metadata'), this.metadata)));
    this.fill();
    this.buttons();
  }

  get value() { return this.requests[this.at]; }
  get open() { return this.id !== undefined && !store.byID.get(this.id)?.end; }

  // fill shows the request that is edited.
  fill() {
    this.fillFields();
    this.writeJSON();
    const button = (label, title, disabled, f) => h('button', {type: 'button', className: 'link', title, 'aria-label': title, disabled, onclick: () => {
      f();
      this.fill();
    }}, label);
    const n = this.requests.length;
    this.steps.replaceChildren(
      button('‹', 'Previous request', this.at === 0, () => this.at--),
      h('span', {className: 'num'}, `request ${this.at + 1} of ${n}`),
      button('›', 'Next request', this.at === n - 1, () => this.at++),
      button('+ add', 'Add a request', false, () => { this.at = this.requests.push(first(this.m)) - 1; }),
      button('− remove', 'Remove this request', n === 1, () => {
        this.requests.splice(this.at, 1);
        this.at = Math.max(0, this.at - 1);
      }));
  }

  fillFields() {
    const {m} = this;
    this.fields.replaceChildren(isMessage(m) ? messageForm(m.types, m.request, this.value, () => this.writeJSON())
      : scalar({type: 'message', ref: m.request, hint: m.hint}, 'field', this.value, v => {
        this.requests[this.at] = v ?? first(m);
        this.writeJSON();
      }));
  }

  writeJSON() {
    this.json.value = visible(JSON.stringify(this.value, null, 2)); // \u escapes are JSON too
    this.json.setCustomValidity('');
  }

  readJSON() {
    try {
      const v = JSON.parse(this.json.value);
      if (isMessage(this.m) && (v === null || typeof v !== 'object' || Array.isArray(v))) throw new Error('not an object');
      this.requests[this.at] = v;
      this.json.setCustomValidity('');
      this.fillFields();
    } catch (e) {
      this.json.setCustomValidity(e.message);
    }
  }

  // example makes a button that sets every field.
  example() {
    return h('button', {type: 'button', className: 'link', title: 'Set every field', onclick: () => {
      this.requests[this.at] = structuredClone(this.m.template);
      this.fill();
    }}, 'Example');
  }

  buttons() {
    this.send.disabled = this.open;
    for (const b of [this.next, this.close, this.cancel]) if (b) b.hidden = !this.open;
  }

  async begin() {
    const bad = this.el.querySelector(':invalid');
    if (bad) {
      bad.reportValidity();
      return;
    }
    const metadata = {};
    for (const line of this.metadata.value.split('\n').filter(l => l.trim())) {
      const i = line.indexOf(':'), name = line.slice(0, i).trim();
      if (i < 1) return this.fail(`metadata ${JSON.stringify(line)}: want name: value`);
      (metadata[name] ??= []).push(line.slice(i + 1).trim());
    }
    this.send.disabled = true;
    this.fail('');
    try {
      const r = await post('calls', {session: Number(this.session.value) || undefined, method: this.m.method, metadata, deadline: this.deadline.value.trim() || undefined, messages: this.requests});
      this.id = r.id;
      this.shown = undefined;
      this.result.replaceChildren(h('p', {className: 'muted'}, 'Sent.'));
    } catch (e) {
      this.fail(e.message);
    }
    this.update();
  }

  // key sends by Ctrl and Enter.
  key(e) {
    if (e.key !== 'Enter' || !(e.ctrlKey || e.metaKey)) return;
    (this.open && this.next ? this.next : this.send).click();
    e.preventDefault();
  }

  fail(message) {
    this.problem.hidden = !message;
    text(this.problem, message);
  }

  // act sends a message, half-closes, or cancels the open call.
  async act(what, body) {
    this.fail('');
    try {
      if (what) await post(`calls/${this.id}/${what}`, body);
      else await remove(`calls/${this.id}`);
      say({messages: 'Sent', 'half-close': 'Half-closed'}[what] ?? 'Cancelled');
    } catch (e) {
      this.fail(e.message);
    }
  }

  // watch shows the state of the call while the form is there.
  watch() {
    const stop = onchange(() => this.el.isConnected ? this.update() : stop());
  }

  update() {
    this.buttons();
    const c = this.id !== undefined && store.byID.get(this.id);
    if (!c) return;
    const {head, badge, time, count, message} = this.answer;
    attr(badge, 'data-st', state(c));
    text(badge, c.code ?? 'open');
    text(time, duration(took(c, now())));
    text(count, plural(c.down.n, 'response'));
    text(message, c.message ?? '');
    if (head.parentNode !== this.result) this.result.replaceChildren(head);
    if (this.shown !== `${c.id} ${c.down.n}` && c.down.n) this.showNewest(c);
  }

  // showNewest shows the newest response.
  async showNewest(c) {
    this.shown = `${c.id} ${c.down.n}`;
    try {
      const r = await get(callPath(c, 'messages?from=-20&n=20')), m = r.messages.findLast(m => m.dir === 'down');
      if (!m || c.id !== this.id) return;
      const value = m.json ?? m.fields;
      this.result.replaceChildren(this.answer.head, h('div', {className: 'mono box'}, value === undefined ? m.note ?? '' : tree(value)));
    } catch { /* the call isn't kept any more */ }
  }
}

// answerLine makes the line about the call that the form has made.
function answerLine(onshow) {
  const cell = className => h('span', {className}), a = {badge: cell('badge'), time: cell('num'), count: cell('num'), message: cell('red')};
  a.head = h('p', {className: 'rhead'}, Object.values(a), cell('grow'), h('button', {type: 'button', className: 'link', onclick: onshow}, 'Show the call'));
  return a;
}
