import {$, text} from './dom.js';
import {bytes, clock, count} from './format.js';
import {onTheme} from './layout.js';
import {hasEnded, isHidden, now, onchange, store} from './store.js';

const bars = 120, minutes = 3;

// overview draws the calls of the last three minutes, or of a recording, by when they
// began, errors on top in another colour, and the sessions' bytes as a line. Dragging
// picks a span of time and calls onrange with its ends, or with undefined.
export function overview(onrange) {
  const root = $('#overview'), canvas = root.querySelector('canvas'), tip = $('#tip'), sum = $('#sum');
  const flows = []; // [time, bytes a second] of each second
  let from, range, frozen, dirty = true, shown = [];
  let t0 = 0, t1 = 1;
  const timeAt = x => t0 + (t1 - t0) * x / canvas.clientWidth, place = t => (t - t0) / (t1 - t0);

  function sample() {
    dirty = true;
    if (!store.sessions.size) return;
    if (!flows.length) flows.push(...history());
    if (now() - (flows.at(-1)?.[0] ?? 0) < 1000) return;
    let rate = 0;
    for (const s of store.sessions.values()) if (s.state !== 'down') rate += (s.rate?.in ?? 0) + (s.rate?.out ?? 0);
    flows.push([now(), rate]);
    if (flows.length > minutes * 60) flows.shift();
  }

  function paint() {
    dirty = false;
    t1 = frozen ?? now();
    t0 = hasEnded() ? Math.min(store.calls[0]?.start ?? t1, t1 - 1000) : t1 - minutes * 60000;
    shown = counts(t0, (t1 - t0) / bars);
    text(sum, hasEnded() ? `${count(store.counts.shown)} calls, ${count(store.counts.failed)} failed` : newest());
    draw(canvas, shown, flows.map(([t, rate]) => [place(t), rate]), range?.map(place), labels(t0, t1));
  }

  // newest describes the last ten seconds.
  function newest() {
    const seconds = 10, [b] = counts(t1 - seconds * 1000, seconds * 1000, 1);
    const rate = n => n < 100 ? (n / seconds).toFixed(1) : count(Math.round(n / seconds));
    return `${rate(b.ok + b.failed)} calls/s${b.failed ? `, ${rate(b.failed)} failed/s` : ''} · ${bytes(Math.round(flows.at(-1)?.[1] ?? 0))}/s`;
  }

  canvas.addEventListener('pointerdown', e => {
    from = timeAt(e.offsetX);
    canvas.setPointerCapture(e.pointerId);
  });
  canvas.addEventListener('pointermove', e => {
    const t = timeAt(e.offsetX), b = shown[Math.floor(e.offsetX / canvas.clientWidth * bars)] ?? {ok: 0, failed: 0};
    tip.hidden = false;
    text(tip, `${clock(t).slice(0, 8)}  ${b.ok + b.failed} calls${b.failed ? `, ${b.failed} failed` : ''}`);
    tip.style.left = Math.max(0, Math.min(e.offsetX + 12, canvas.clientWidth - 170)) + 'px';
    if (from !== undefined) range = [Math.min(from, t), Math.max(from, t)];
    dirty = true;
  });
  canvas.addEventListener('pointerleave', () => { tip.hidden = true; });
  canvas.addEventListener('pointerup', e => {
    const t = timeAt(e.offsetX);
    range = Math.abs(t - from) < (t1 - t0) / bars ? undefined : [Math.min(from, t), Math.max(from, t)];
    from = undefined;
    dirty = true;
    onrange(range);
  });
  new ResizeObserver(() => { dirty = true; }).observe(canvas);
  onTheme(() => { dirty = true; });
  onchange(sample);
  setInterval(() => {
    if (dirty && !document.hidden) requestAnimationFrame(paint);
  }, 250);
  return {
    freeze(on) {
      frozen = on ? now() : undefined;
      dirty = true;
    },
    clear() {
      range = undefined;
      dirty = true;
    },
  };
}

// history returns the sessions' bytes of the last half minute.
function history() {
  const sums = new Array(60).fill(0);
  for (const s of store.sessions.values()) {
    for (const [i, n] of (s.rates ?? []).entries()) sums[60 - s.rates.length + i] += n * 2;
  }
  return sums.map((rate, i) => [now() - 30000 + 500 * i, rate]);
}

// counts counts the calls that began in each of n spans after t0, each of span
// milliseconds.
function counts(t0, span, n = bars) {
  const all = Array.from({length: n}, () => ({ok: 0, failed: 0}));
  for (let i = store.calls.length - 1; i >= 0; i--) {
    const c = store.calls[i];
    if (c.start < t0) {
      if (c.end) break;
      continue;
    }
    if (isHidden(c)) continue;
    const b = all[Math.min(n - 1, Math.floor((c.start - t0) / span))];
    if (c.code && c.code !== 'OK') b.failed++;
    else b.ok++;
  }
  return all;
}

function draw(canvas, all, flows, range, ticks) {
  const w = canvas.clientWidth, height = canvas.clientHeight, k = devicePixelRatio, ctx = canvas.getContext('2d');
  if (canvas.width !== w * k || canvas.height !== height * k) Object.assign(canvas, {width: w * k, height: height * k});
  const css = getComputedStyle(canvas), colour = name => css.getPropertyValue(name);
  const base = height - 14, top = 20, room = base - top;
  ctx.setTransform(k, 0, 0, k, 0, 0);
  ctx.clearRect(0, 0, w, height);
  axis(ctx, w, top, base, ticks, css, colour);
  const max = Math.max(8, ...all.map(b => b.ok + b.failed)), width = w / all.length;
  all.forEach((b, i) => {
    const ok = Math.round(room * b.ok / max), failed = b.failed ? Math.max(3, Math.round(room * b.failed / max)) : 0;
    ctx.fillStyle = colour('--bar');
    ctx.fillRect(i * width + .5, base - ok, width - 1.5, ok);
    ctx.fillStyle = colour('--err');
    ctx.fillRect(i * width + .5, base - ok - failed, width - 1.5, failed);
  });
  const most = Math.max(1, ...flows.map(f => f[1]));
  ctx.strokeStyle = colour('--downc');
  ctx.beginPath();
  for (const [x, rate] of flows) ctx.lineTo(x * w, base - 1 - (room - 2) * rate / most);
  ctx.stroke();
  if (!range) return;
  ctx.fillStyle = colour('--pick');
  ctx.fillRect(range[0] * w, top, Math.max(2, (range[1] - range[0]) * w), room);
}

// labels returns the labels of seven evenly spaced ticks.
function labels(t0, t1) {
  return Array.from({length: 7}, (_, i) => {
    const s = Math.round((t1 - t0) * (6 - i) / 6000);
    if (hasEnded()) return clock(t1 - s * 1000).slice(0, 8);
    return s === 0 ? 'now' : `−${s < 60 ? `${s} s` : `${s / 60} min`}`;
  });
}

function axis(ctx, w, top, base, ticks, css, colour) {
  ctx.font = '10px ' + css.fontFamily;
  ctx.fillStyle = colour('--faint');
  ctx.strokeStyle = colour('--line');
  ticks.forEach((label, i) => {
    const x = w * i / (ticks.length - 1), edge = i === 0 ? 4 : i === ticks.length - 1 ? -4 : 0;
    ctx.beginPath();
    ctx.moveTo(Math.round(x) + .5, top);
    ctx.lineTo(Math.round(x) + .5, base);
    ctx.stroke();
    ctx.textAlign = edge < 0 ? 'right' : edge > 0 ? 'left' : 'center';
    ctx.fillText(label, x + edge, base + 11);
  });
}
