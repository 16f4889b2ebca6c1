export function bytes(n) {
  if (n < 1000) return n + ' B';
  for (const unit of ['kB', 'MB', 'GB', 'TB']) {
    n /= 1000;
    if (n < 1000 || unit === 'TB') return (n < 10 ? n.toFixed(1) : Math.round(n)) + ' ' + unit;
  }
}

export function count(n) {
  if (n < 10000) return String(n);
  if (n < 1e6) return (n / 1e3).toFixed(n < 1e5 ? 1 : 0) + 'k';
  return (n / 1e6).toFixed(1) + 'M';
}

// plural writes a number with its noun.
export const plural = (n, noun) => `${count(n)} ${noun}${n === 1 ? '' : 's'}`;

const two = n => String(Math.floor(n)).padStart(2, '0');

// duration writes milliseconds.
export function duration(ms) {
  if (ms < 0.1) return '<0.1 ms';
  if (ms < 9.95) return ms.toFixed(1) + ' ms';
  if (ms < 999.5) return Math.round(ms) + ' ms';
  const s = ms / 1000;
  if (s < 9.995) return s.toFixed(2) + ' s';
  if (s < 59.95) return s.toFixed(1) + ' s';
  if (s < 60) return '1m 00s';
  if (s < 3600) return `${Math.floor(s / 60)}m ${two(s % 60)}s`;
  if (s < 86400) return `${Math.floor(s / 3600)}h ${two(s / 60 % 60)}m`;
  return `${Math.floor(s / 86400)}d ${Math.floor(s / 3600 % 24)}h`;
}

// age is duration without fractions, for what is minutes old or less.
export const age = ms => ms < 59500 ? Math.max(0, Math.round(ms / 1000)) + ' s' : duration(ms);

// clock writes the local time of milliseconds since 1970.
export function clock(ms) {
  const d = new Date(ms);
  return `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}.${String(d.getMilliseconds()).padStart(3, '0')}`;
}

// split returns the service, its short name and the method of "/pkg.Service/Method".
export function split(method) {
  const i = method.lastIndexOf('/'), service = method.slice(1, Math.max(1, i));
  return [service, service.slice(service.lastIndexOf('.') + 1), method.slice(i + 1)];
}

export const kindMark = {server: '↓↓', client: '↑↑', bidi: '⇅'};
export const kindName = {server: 'server stream', client: 'client stream', bidi: 'bidirectional stream'};

// took is how long a call took, or has been open.
export const took = (c, now) => c.ms ?? (c.end || now) - c.start;

// state is a call's: open, ok or err.
export const state = c => !c.end ? 'open' : c.code === 'OK' ? 'ok' : 'err';
