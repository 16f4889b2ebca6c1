import {h} from './dom.js';
import {scalar} from './scalar.js';

// messageForm makes a form for the fields of a message type. types has the message
// types by name. It edits value, the message as protojson, and calls onchange after
// each change. Forms of messages inside are made once their field is set, so types may
// contain themselves.
export function messageForm(types, name, value, onchange, path = '') {
  const fields = types[name]?.fields ?? [];
  if (!fields.length) return h('p', {className: 'muted'}, 'No fields.');
  const form = {types, onchange, path}, choices = new Set();
  return h('div', {className: 'fields'}, fields.map(f => {
    if (!f.oneof) return field(form, f, value);
    if (choices.has(f.oneof)) return null;
    choices.add(f.oneof);
    return oneof(form, f.oneof, fields.filter(x => x.oneof === f.oneof), value);
  }));
}

const isGroup = (form, f) => f.type === 'message' && !!form.types[f.ref];

function typeName(f) {
  const name = t => t.ref ? t.ref.slice(t.ref.lastIndexOf('.') + 1) : t.type;
  if (f.type === 'map') return `map of ${f.key} to ${name(f.value)}`;
  return (f.repeated ? 'repeated ' : f.optional && !f.ref ? 'optional ' : '') + name(f);
}

function field(form, f, value) {
  const id = `field${form.path}.${f.name}`;
  const head = h('label', {htmlFor: id, className: 'fname'}, h('span', {className: 'mono'}, f.name), h('span', {className: 'ftype', title: f.ref}, typeName(f)));
  const note = f.comment && h('p', {className: 'fnote'}, f.comment);
  const set = v => {
    if (v === undefined) delete value[f.name];
    else value[f.name] = v;
    form.onchange();
  };
  const inside = {...form, path: `${form.path}.${f.name}`};
  const edit = f.type === 'map' ? map(inside, f, value, set, id)
    : f.repeated ? repeated(inside, f, value, set, id)
    : isGroup(form, f) ? group(inside, f, value, set, id)
    : scalar(f, id, value[f.name], set);
  return h('div', {className: 'field'}, head, note, edit);
}

// group is the form of a message inside, with a button that sets or removes it.
function group(form, f, value, set, id) {
  const box = h('div', {className: 'sub'});
  const fill = () => {
    const is = value[f.name] !== undefined && value[f.name] !== null;
    const toggle = h('button', {type: 'button', id, className: 'link', onclick: () => {
      set(is ? undefined : {});
      fill();
    }}, is ? '− remove' : '+ set');
    box.replaceChildren(is ? messageForm(form.types, f.ref, value[f.name], form.onchange, form.path) : '', toggle);
  };
  fill();
  return box;
}

// item edits one value of a list or map.
const item = (form, f, v, set, id) => isGroup(form, f) ? messageForm(form.types, f.ref, v, form.onchange, `${form.path}.${id}`)
  : scalar(f, `${form.path}.${id}`, v, set);

const emptyValue = (form, f) => isGroup(form, f) ? {} : f.type === 'bool' ? false : f.type === 'enum' ? f.values?.[0] ?? 0
  : /int32|fixed32|float|double/.test(f.type) ? 0 : '';

const removeButton = (label, onclick) => h('button', {type: 'button', className: 'icon', title: label, 'aria-label': label, onclick}, '×');

function repeated(form, f, value, set, id) {
  const box = h('div', {className: 'rep'}), one = {...f, repeated: false};
  const fill = () => {
    const items = value[f.name] ?? [];
    const change = list => {
      set(list.length ? list : undefined);
      fill();
    };
    box.replaceChildren(...items.map((v, i) => h('div', {className: 'item'},
      item(form, one, v, x => {
        items[i] = x ?? emptyValue(form, one);
        form.onchange();
      }, i),
      removeButton(`Remove ${f.name} ${i + 1}`, () => change(items.toSpliced(i, 1))))),
    h('button', {type: 'button', className: 'link', id, onclick: () => change([...items, emptyValue(form, one)])}, '+ add'));
  };
  fill();
  return box;
}

function map(form, f, value, set, id) {
  const box = h('div', {className: 'rep'}), one = {...f.value, name: f.name};
  const fill = () => {
    const entries = Object.entries(value[f.name] ?? {});
    const change = list => {
      set(list.length ? Object.fromEntries(list) : undefined);
      fill();
    };
    const rename = (i, e) => {
      if (entries.some(([k], n) => n !== i && k === e.target.value)) return;
      change(entries.with(i, [e.target.value, entries[i][1]]));
    };
    box.replaceChildren(...entries.map(([k, v], i) => h('div', {className: 'item'},
      h('input', {type: 'text', className: 'mapkey', value: k, spellcheck: false, 'aria-label': `Key ${i + 1} of ${f.name}`, onchange: e => rename(i, e)}),
      item(form, one, v, x => {
        value[f.name][k] = x ?? emptyValue(form, one);
        form.onchange();
      }, i),
      removeButton(`Remove ${k}`, () => change(entries.toSpliced(i, 1))))),
    h('button', {type: 'button', className: 'link', id, onclick: () => change([...entries, [newKey(f, entries), emptyValue(form, one)]])}, '+ add'));
  };
  fill();
  return box;
}

function newKey(f, entries) {
  const used = new Set(entries.map(e => e[0]));
  if (f.key === 'bool') return used.has('false') ? 'true' : 'false';
  for (let i = 0; ; i++) {
    const key = f.key === 'string' ? `key${i || ''}` : String(i);
    if (!used.has(key)) return key;
  }
}

// oneof shows the field of a oneof that is set.
function oneof(form, name, fields, value) {
  const box = h('div', {className: 'sub'});
  const show = f => box.replaceChildren(f ? field(form, f, value) : '');
  const choose = f => {
    for (const x of fields) delete value[x.name];
    if (f && isGroup(form, f)) value[f.name] = {};
    form.onchange();
    show(f);
  };
  const is = fields.find(f => value[f.name] !== undefined);
  const option = (f, label) => h('label', {}, h('input', {type: 'radio', name: `${form.path}.${name}`, checked: f === is, onchange: () => choose(f)}), label);
  show(is);
  return h('fieldset', {className: 'field oneof'}, h('legend', {}, 'one of ', h('span', {className: 'mono'}, name)),
    h('div', {className: 'choices'}, option(undefined, 'none'), fields.map(f => option(f, f.name))), box);
}
