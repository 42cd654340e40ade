// Job: canvases that are sharp on every screen, in the style sheet's colours.
// Knows: pixels, colours by name. Must never know: what is drawn.

export let colours = {};
export const FONT = '11px system-ui, "Segoe UI", Roboto, "Noto Sans", sans-serif';

const NAMES = [
  'card',
  'sunk',
  'line',
  'grid',
  'text',
  'soft',
  'faint',
  'accent',
  'good',
  'critical',
  'high',
  'normal',
  'low',
  'outage',
];
const SERIES = Array.from({ length: 8 }, (_, n) => `series-${n + 1}`);

/** Reads the style sheet's colours; to be called when the theme changes. */
export function readColours() {
  const style = getComputedStyle(document.documentElement);
  colours = Object.fromEntries([...NAMES, ...SERIES].map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

/** The canvas cleared, in CSS pixels. */
export function begin(canvas) {
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  const scale = Math.min(devicePixelRatio || 1, 2);
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const g = canvas.getContext('2d');
  g.setTransform(scale, 0, 0, scale, 0, 0);
  g.clearRect(0, 0, width, height);
  g.font = FONT;
  g.textBaseline = 'middle';
  return { g, width, height };
}

/** A step of 1, 2 or 5 times a power of ten that divides `span` into about `parts`. */
export function niceStep(span, parts) {
  const raw = span / parts;
  const power = 10 ** Math.floor(Math.log10(raw));
  return [1, 2, 5, 10].find((n) => n * power >= raw) * power;
}

export function line(g, x0, y0, x1, y1) {
  g.beginPath();
  g.moveTo(x0, y0);
  g.lineTo(x1, y1);
  g.stroke();
}

/** A small line without axes; `null` is a hole in it. */
export function spark(canvas, values, colour) {
  const { g, width, height } = begin(canvas);
  const most = Math.max(...values.map((v) => v ?? 0), 1e-9) * 1.15;
  const x = (i) => (i / Math.max(1, values.length - 1)) * width;
  const y = (v) => height - 1 - (v / most) * (height - 3);
  g.strokeStyle = g.fillStyle = colours[colour];
  g.lineWidth = 1.3;
  g.lineJoin = 'round';
  let from = null;
  const end = (to) => {
    if (from === null || to <= from) return;
    g.beginPath();
    for (let i = from; i <= to; i++) g.lineTo(x(i), y(values[i]));
    g.stroke();
    g.lineTo(x(to), height);
    g.lineTo(x(from), height);
    g.globalAlpha = 0.12;
    g.fill();
    g.globalAlpha = 1;
  };
  for (let i = 0; i <= values.length; i++) {
    const isHole = i === values.length || values[i] === null;
    if (isHole) {
      end(i - 1);
      from = null;
    } else from ??= i;
  }
}
