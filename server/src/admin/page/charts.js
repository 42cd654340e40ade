// Job: charts over time: lines, and bars one on the other, each with the values under the pointer.
// Knows: pixels, colours by name. Must never know: what is measured.

import { begin, colours, line, niceStep } from '../../page/ui/canvas.js';
import { clock } from '../../page/ui/dom.js';

const LEFT = 46;
const BOTTOM = 17;
const TOP = 6;

/**
 * A chart on a canvas. `draw` is called with what is to be seen, and again by itself when the pointer moves.
 * @typedef {{label: string, colour: string, values: (number|null)[]}} Line
 */
export class Chart {
  /**
   * @param {HTMLCanvasElement} canvas @param {{isStacked?: boolean, format: (number) => string, most?: number}} options
   */
  constructor(canvas, { isStacked = false, format, most = 0 }) {
    Object.assign(this, { canvas, isStacked, format, most });
    this.pointer = null;
    this.data = null;
    canvas.addEventListener('pointermove', (event) => this.point(event.offsetX));
    canvas.addEventListener('pointerdown', (event) => this.point(event.offsetX));
    canvas.addEventListener('pointerleave', () => this.point(null));
    canvas.addEventListener('keydown', (event) => this.onKey(event));
    canvas.addEventListener('blur', () => this.point(null));
    // With the keyboard: the arrows move through the values.
    canvas.tabIndex = 0;
  }

  point(x) {
    this.pointer = x;
    if (this.data) this.draw(this.data);
  }

  onKey(event) {
    const by = { ArrowLeft: -1, ArrowRight: 1, Home: -1e6, End: 1e6 }[event.key];
    if (by === undefined || !this.data) return;
    event.preventDefault();
    const count = this.data.lines[0].values.length;
    const step = (this.canvas.clientWidth - LEFT) / count;
    const at = this.pointer === null ? count - 1 : Math.floor((this.pointer - LEFT) / step) + by;
    this.point(LEFT + (Math.min(count - 1, Math.max(0, at)) + 0.5) * step);
  }

  /** @param {{lines: Line[], startMs: number, stepMs: number}} data */
  draw(data) {
    this.data = data;
    const { lines, stepMs } = data;
    const { g, width, height } = begin(this.canvas);
    if (width <= LEFT) return;
    const count = lines[0].values.length;
    const sums = Array.from({ length: count }, (_, i) => lines.reduce((sum, { values }) => sum + (values[i] ?? 0), 0));
    const all = this.isStacked ? sums : lines.flatMap(({ values }) => values.map((v) => v ?? 0));
    const most = Math.max(this.most, Math.max(...all) * 1.08, 1e-9);
    const place = { left: LEFT, right: width, top: TOP, bottom: height - BOTTOM, height };
    const x = (i) => LEFT + (i / count) * (width - LEFT);
    const y = (v) => place.bottom - (v / most) * (place.bottom - TOP);
    this.grid(g, most, y, place);
    timeLabels(g, data, count, x, place);
    if (this.isStacked) bars(g, lines, count, x, y);
    else lines.forEach((one) => curve(g, one, x, y));
    const at = this.pointer === null ? null : Math.floor(((this.pointer - LEFT) / (width - LEFT)) * count);
    if (at !== null && at >= 0 && at < count) this.readOut(g, data, at, x(at + 0.5), place, stepMs);
    this.describe(lines);
  }

  grid(g, most, y, { left, right, bottom }) {
    g.lineWidth = 1;
    g.textAlign = 'right';
    const step = niceStep(most, 4);
    for (let v = 0; v <= most; v += step) {
      const py = Math.round(y(v)) + 0.5;
      g.strokeStyle = v === 0 ? colours.line : colours.grid;
      line(g, left, py, right, py);
      g.fillStyle = colours.faint;
      if (py > 5 && py <= bottom + 1) g.fillText(this.format(v), left - 6, py);
    }
  }

  readOut(g, { lines, startMs }, at, px, { top, bottom, right }, stepMs) {
    g.strokeStyle = colours.soft;
    g.lineWidth = 1;
    line(g, Math.round(px) + 0.5, top, Math.round(px) + 0.5, bottom);
    const texts = lines.map(({ label, values }) => `${label} ${values[at] === null ? '–' : this.format(values[at])}`);
    const rows = [clock(startMs + at * stepMs), ...texts];
    const wide = Math.max(...rows.map((text) => g.measureText(text).width)) + 28;
    const left = px + 10 + wide > right ? px - 10 - wide : px + 10;
    g.fillStyle = colours.card;
    g.strokeStyle = colours.line;
    g.beginPath();
    g.roundRect(left, top, wide, rows.length * 15 + 8, 5);
    g.fill();
    g.stroke();
    g.textAlign = 'left';
    rows.forEach((text, n) => {
      const py = top + 12 + n * 15;
      g.fillStyle = n === 0 ? colours.soft : colours.text;
      g.fillText(text, left + (n === 0 ? 8 : 20), py);
      if (n === 0) return;
      g.fillStyle = colours[lines[n - 1].colour];
      g.fillRect(left + 8, py - 4, 7, 7);
    });
  }

  /** The same for who does not see: the newest values. */
  describe(lines) {
    const text = lines
      .map(({ label, values }) => `${label} ${values.at(-1) === null ? 'unknown' : this.format(values.at(-1) ?? 0)}`)
      .join(', ');
    const said = `${this.canvas.dataset.label ?? 'Chart'}: now ${text}`;
    if (this.canvas.getAttribute('aria-label') !== said) this.canvas.setAttribute('aria-label', said);
  }
}

/** Values at even times: a hole where nothing came. */
function curve(g, { values, colour }, x, y) {
  g.strokeStyle = colours[colour];
  g.lineWidth = 1.4;
  g.lineJoin = 'round';
  g.beginPath();
  let isDown = false;
  values.forEach((value, i) => {
    if (value !== null) g[isDown ? 'lineTo' : 'moveTo'](x(i + 0.5), y(value));
    isDown = value !== null;
  });
  g.stroke();
}

function bars(g, lines, count, x, y) {
  const wide = Math.max(1, x(1) - x(0) - (x(1) - x(0) > 4 ? 1 : 0));
  for (let i = 0; i < count; i++) {
    let base = 0;
    for (const { values, colour } of lines) {
      const value = values[i] ?? 0;
      if (value <= 0) continue;
      g.fillStyle = colours[colour];
      const top = y(base + value);
      // What is not nothing is seen.
      g.fillRect(x(i), Math.min(top, y(base) - 1), wide, Math.max(1, y(base) - top));
      base += value;
    }
  }
}

const STEPS_S = [60, 120, 300, 600, 1800, 3600, 7200, 10_800, 21_600];

function timeLabels(g, { startMs, stepMs }, count, x, { bottom, height, left, right }) {
  const spanS = (count * stepMs) / 1000;
  const step = (STEPS_S.find((s) => spanS / s <= Math.max(2, (right - left) / 70)) ?? 21_600) * 1000;
  g.textAlign = 'center';
  g.fillStyle = colours.faint;
  // By the hours of the clock on the wall.
  const shift = new Date(startMs).getTimezoneOffset() * 60_000;
  for (let t = Math.ceil((startMs - shift) / step) * step + shift; t < startMs + count * stepMs; t += step) {
    const px = x((t - startMs) / stepMs);
    if (px > left + 14 && px < right - 14) g.fillText(clock(t).slice(0, 5), px, height - 6);
    g.strokeStyle = colours.grid;
    line(g, Math.round(px) + 0.5, TOP, Math.round(px) + 0.5, bottom);
  }
}

/** How full something is, with marks: an element, so that it is read and pointed at like text. */
export function setBar(bar, share) {
  const level = share >= 0.9 ? 'bad' : share >= 0.7 ? 'warn' : 'good';
  bar.dataset.level = level;
  bar.firstElementChild.style.width = `${Math.min(100, Math.max(0, share * 100))}%`;
}
