import {callPath, get} from './api.js';
import {h, text} from './dom.js';
import {count} from './format.js';
import {onTheme} from './layout.js';

const spans = 160;

// density makes a strip of the numbers of messages over the time of a call. A click on
// it calls onjump with the share of messages before that place.
export function density(onjump) {
  const canvas = h('canvas', {'aria-hidden': 'true'}), peak = h('span');
  const el = h('div', {className: 'dens', title: 'Messages over the time of the call. Click to go there.'}, canvas, peak);
  let counts = [], length = 1, drawn = 0;
  onTheme(draw);

  canvas.addEventListener('click', e => {
    const i = Math.floor(e.offsetX / canvas.clientWidth * counts.length);
    const sum = n => counts.slice(0, n).reduce((a, b) => a + b, 0);
    onjump(sum(i) / Math.max(1, sum(counts.length)));
  });

  function draw() {
    const w = canvas.clientWidth, height = canvas.clientHeight, k = devicePixelRatio, ctx = canvas.getContext('2d');
    const max = Math.max(...counts, 1), width = w / counts.length;
    Object.assign(canvas, {width: w * k, height: height * k});
    ctx.scale(k, k);
    ctx.fillStyle = getComputedStyle(canvas).getPropertyValue('--downc');
    ctx.globalAlpha = .55;
    counts.forEach((n, i) => {
      const bar = n ? Math.max(1.5, (height - 6) * n / max) : 0;
      ctx.fillRect(i * width, height - bar, Math.max(1, width - 1), bar);
    });
    text(peak, `peak ${count(Math.ceil(max / Math.max(.001, length / 1000)))}/s`);
  }

  return {
    el,
    reset() { drawn = 0; },
    // update draws the strip of a call, at most once a second.
    async update(call) {
      if (Date.now() - drawn < 1000 || !el.isConnected) return;
      drawn = Date.now();
      try {
        const r = await get(callPath(call, `rate?n=${spans}`));
        counts = r.counts;
        length = r.ms;
        draw();
      } catch { /* the call isn't kept any more, or the server is gone */ }
    },
  };
}
