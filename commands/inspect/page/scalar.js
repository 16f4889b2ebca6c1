import {h, say} from './dom.js';

const integer = /^(u|s)?int32$|^s?fixed32$/, float = /^(double|float)$/, long = /64$/;

// The well-known types by how their JSON form is edited.
const wellKnown = {
  BoolValue: 'bool', Int32Value: 'int32', UInt32Value: 'uint32', Int64Value: 'int64', UInt64Value: 'uint64',
  FloatValue: 'float', DoubleValue: 'double', BytesValue: 'bytes', StringValue: 'string',
  Timestamp: 'string', Duration: 'string', FieldMask: 'string', Struct: 'json', Value: 'json', ListValue: 'json', Any: 'json', Empty: 'empty',
};

function editedAs(f) {
  if (f.type !== 'message') return f.type;
  return wellKnown[f.ref?.replace(/^google\.protobuf\./, '')] ?? 'json';
}

// scalar makes an input for a value without fields of its own. It calls set with the
// value, or with undefined if there is none.
export function scalar(f, id, v, set) {
  const type = editedAs(f);
  switch (type) {
    case 'bool': return f.optional || f.type === 'message' ? choice(id, v, set) : h('input', {id, type: 'checkbox', checked: !!v, onchange: e => set(e.target.checked || undefined)});
    case 'enum': return h('select', {id, onchange: e => set(e.target.value || undefined)},
      h('option', {value: ''}, '—'), (f.values ?? []).map(x => h('option', {value: x, selected: x === v}, x)));
    case 'empty': return h('input', {id, type: 'checkbox', checked: v !== undefined, onchange: e => set(e.target.checked ? {} : undefined)});
    case 'json': return json(f, id, v, set);
    case 'bytes': return bytesInput(f, id, v, set);
    default: return line(f, type, id, v, set);
  }
}

const choice = (id, v, set) => h('select', {id, onchange: e => set({true: true, false: false}[e.target.value])},
  [['', '—'], ['true', 'true'], ['false', 'false']].map(([value, label]) => h('option', {value, selected: String(v ?? '') === value}, label)));

// read returns the value of an input of a type, or a complaint.
function read(type, s) {
  if (integer.test(type)) return Number.isInteger(+s) ? {value: +s} : {problem: 'not an integer'};
  if (long.test(type)) return /^-?\d+$/.test(s) ? {value: s} : {problem: 'not an integer'};
  if (float.test(type)) return /^(NaN|-?Infinity)$/.test(s) ? {value: s} : Number.isNaN(+s) ? {problem: 'not a number'} : {value: +s};
  return {value: s};
}

// hint is an example of a value, without the quotes of JSON.
const hint = f => f.hint?.replace(/^"(.*)"$/, '$1') ?? '';

function line(f, type, id, v, set) {
  return h('input', {id, type: f.secret ? 'password' : 'text', value: v ?? '', placeholder: hint(f), spellcheck: false, autocomplete: 'off', oninput: e => {
    const s = e.target.value, {value, problem} = read(type, s);
    e.target.setCustomValidity(s === '' ? '' : problem ?? '');
    set(s === '' ? undefined : value ?? s);
  }});
}

function json(f, id, v, set) {
  return h('textarea', {id, className: 'mono', rows: 2, value: v === undefined ? '' : JSON.stringify(v), placeholder: f.hint ?? 'JSON', spellcheck: false, oninput: e => {
    const s = e.target.value.trim();
    try {
      set(s === '' ? undefined : JSON.parse(s));
      e.target.setCustomValidity('');
    } catch (error) {
      e.target.setCustomValidity(error.message);
    }
  }});
}

// bytesInput edits base64, with a button that takes it from a file.
function bytesInput(f, id, v, set) {
  const input = h('input', {id, type: 'text', value: v ?? '', placeholder: f.hint ?? 'base64', spellcheck: false, autocomplete: 'off', oninput: e => set(e.target.value || undefined)});
  const file = h('input', {type: 'file', hidden: true, onchange: async () => {
    if (!file.files.length) return;
    if (file.files[0].size > 512 * 1024) {
      say('The file is longer than 512 kB');
      return;
    }
    const data = new Uint8Array(await file.files[0].arrayBuffer());
    input.value = btoa(data.reduce((s, b) => s + String.fromCharCode(b), ''));
    set(input.value);
  }});
  return h('div', {className: 'item'}, input, file, h('button', {type: 'button', className: 'link', onclick: () => file.click()}, 'file'));
}
