import {$, attr} from './dom.js';

const drawers = [];

// onTheme calls draw, which draws a canvas, after each change of the theme.
export const onTheme = draw => drawers.push(draw);

// themeToggle sets the theme that was chosen before, and returns a function that changes
// between light and dark. Without a choice it is the system's.
export function themeToggle() {
  const root = document.documentElement;
  if (localStorage.theme) root.style.colorScheme = localStorage.theme;
  const isDark = () => (localStorage.theme ?? (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light')) === 'dark';
  const redraw = () => drawers.forEach(draw => draw());
  const toggle = () => {
    root.style.colorScheme = localStorage.theme = isDark() ? 'light' : 'dark';
    redraw();
  };
  $('#theme').addEventListener('click', toggle);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
  return toggle;
}

// movableSplit lets the line between the calls and the details be moved.
export function movableSplit() {
  const line = $('#split');
  const set = x => {
    const percent = Math.max(25, Math.min(75, x));
    document.documentElement.style.setProperty('--left', percent + '%');
    localStorage.split = percent;
    attr(line, 'aria-valuenow', String(Math.round(percent)));
  };
  set(Number(localStorage.split ?? 54));
  const move = e => set(100 * e.clientX / innerWidth);
  line.addEventListener('pointerdown', e => {
    line.setPointerCapture(e.pointerId);
    line.addEventListener('pointermove', move);
  });
  line.addEventListener('pointerup', () => line.removeEventListener('pointermove', move));
  line.addEventListener('keydown', e => {
    const step = {ArrowLeft: -2, ArrowRight: 2}[e.key];
    if (!step) return;
    set(Number(localStorage.split) + step);
    e.stopPropagation();
    e.preventDefault();
  });
}
