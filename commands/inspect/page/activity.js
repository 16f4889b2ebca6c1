import {age} from './format.js';
import {now, onchange, store} from './store.js';

// An open call without messages for this long is quiet.
const quietAfter = 10000;

const lastMessage = c => c.last ?? c.start;

// isQuiet reports whether a call is open, but has had no message for some time.
export const isQuiet = c => !c.end && now() - lastMessage(c) > quietAfter;

// activity describes an open call.
export function activity(c) {
  if (isQuiet(c)) return 'quiet ' + age(now() - lastMessage(c));
  const newest = c.rates?.slice(-4, -1) ?? []; // the last second isn't over
  const rate = newest.reduce((a, b) => a + b, 0) / Math.max(1, newest.length);
  return rate >= 0.5 ? `open, ${Math.round(rate)}/s` : 'open';
}

// watchActivity moves the rates of open calls on, each second: the server sends those
// of calls with new messages only. Add it before the listeners that draw.
export function watchActivity() {
  let moved = 0;
  onchange(() => {
    if (now() - moved < 1000) return;
    moved = now();
    for (const c of store.open) {
      if (c.rates && !c.sampled) c.rates = [...c.rates.slice(1), 0];
      c.sampled = false;
    }
  });
}
