import {split, took} from './format.js';
import {isHidden} from './store.js';

const units = {us: 1e-3, 'µs': 1e-3, ms: 1, s: 1000, m: 60000, h: 3600000};

// parse reads a filter: the terms of --filter, all of which must hold, such as
//   Watch !Health status!=OK >500ms s1 is:open
// A word that is no other term is looked for in the method and the status message.
// test decides by a call's summary; remote has the terms that need messages, which
// only the server can decide. As with wstun trace, calls of gRPC's own services are
// hidden unless a term names methods.
export function parse(q) {
  const terms = q.trim().split(/\s+/).filter(Boolean);
  const remote = terms.filter(t => /^!?(\$\.|size[<>])/.test(t));
  const tests = terms.filter(t => !remote.includes(t)).map(term);
  const named = terms.some(isMethod);
  return {test: c => (named || !isHidden(c)) && tests.every(t => t(c)), remote: remote.join(' ')};
}

function term(t) {
  if (t.length > 1 && t[0] === '!') {
    const not = term(t.slice(1));
    return c => !not(c);
  }
  let m = /^status(!?=)(.*)$/i.exec(t);
  if (m) {
    const want = letters(m[2]);
    return c => !!c.code && letters(c.code).startsWith(want) === (m[1] === '=');
  }
  m = /^([<>])([\d.]+)(us|µs|ms|s|m|h)$/.exec(t);
  if (m) {
    const limit = m[2] * units[m[3]];
    return c => {
      const d = took(c, Date.now());
      return m[1] === '<' ? d < limit : d > limit;
    };
  }
  m = /^s(\d+)$/.exec(t);
  if (m) return c => String(c.session) === m[1];
  m = /^is:(\w+)$/.exec(t);
  if (m) return c => m[1] === 'open' ? !c.end : c.kind === m[1] || c.origin === m[1];
  return method(t);
}

// isMethod reports whether a term is a pattern or a word that a method must have.
const isMethod = t => !/^(!|status!?=|[<>]|s\d+$|is:|size[<>]|\$\.)/i.test(t);

const infrastructure = ['reflection', 'health', 'channelz'].map(s => `!grpc.${s}.*/*`);

// forServer returns a filter in the server's grammar, which lacks is: and words. Calls
// of gRPC's own services are left out, unless all is set or a term names methods.
export function forServer(q, all) {
  const terms = q.trim().split(/\s+/).filter(t => t && !/^!?is:/.test(t));
  const words = terms.map(t => t.replace(/^(!?)([\w./-]+)$/, (term, not, word) => /^s\d+$/.test(word) ? term : `${not}*${word}*`));
  return [...words, ...all || terms.some(isMethod) ? [] : infrastructure].join(' ');
}

const letters = s => s.replaceAll('_', '').toUpperCase();

function method(t) {
  const word = t.toLowerCase();
  if (!/[*?]/.test(t)) return c => c.method.toLowerCase().includes(word) || (c.message ?? '').toLowerCase().includes(word);
  const pattern = word.replace(/[.+^${}()|[\]\\]/g, '\\$&').replaceAll('*', '[^/]*').replaceAll('?', '[^/]');
  const re = new RegExp(`^/?${pattern}$`, 'i');
  return c => {
    const [service, short, name] = split(c.method);
    return [name, service, short, `${short}/${name}`, `${service}/${name}`].some(s => re.test(s));
  };
}
