// Job: drawing on canvases: scrolling strips, the map, bars, a spark line.
// Knows: pixels, colours by name. Must never know: where numbers come from.

let colours = {};

/** Reads the style sheet's colours; to be called when the theme changes. */
export function readColours() {
  const style = getComputedStyle(document.documentElement);
  const names = ['card', 'line', 'grid', 'text', 'soft', 'faint', 'rover-1', 'rover-2', 'rover-3', 'critical', 'high', 'normal', 'normal-back'];
  colours = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

const FONT = '11px system-ui, "Segoe UI", Roboto, "Noto Sans", sans-serif';

/** The canvas cleared, in CSS pixels, sharp on every screen. */
function begin(canvas) {
  const width = canvas.clientWidth, height = canvas.clientHeight, scale = Math.min(devicePixelRatio || 1, 2);
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

/** The latest values of one reading with their times; fixed size, no allocation per sample. */
export class Ring {
  constructor(size, columns) {
    this.size = size;
    this.times = new Float64Array(size);
    this.columns = Array.from({ length: columns }, () => new Float32Array(size));
    this.count = 0;
  }
  push(timeUs, values) {
    const at = this.count++ % this.size;
    this.times[at] = timeUs;
    for (let i = 0; i < this.columns.length; i++) this.columns[i][at] = values[i];
  }
  get last() {
    return this.count === 0 ? -1 : (this.count - 1) % this.size;
  }
}

/** A step of 1, 2 or 5 times a power of ten that divides `span` into about `parts`. */
function niceStep(span, parts) {
  const raw = span / parts, power = 10 ** Math.floor(Math.log10(raw));
  return [1, 2, 5, 10].find((n) => n * power >= raw) * power;
}

/** Range that follows the values: grows at once, shrinks slowly. */
export class Range {
  constructor(least) {
    this.least = least;
    this.low = Infinity;
    this.high = -Infinity;
  }
  follow(low, high) {
    const middle = (low + high) / 2, half = Math.max((high - low) / 2 * 1.12, this.least / 2);
    const [to0, to1] = [middle - half, middle + half];
    if (!Number.isFinite(this.low)) [this.low, this.high] = [to0, to1];
    this.low = to0 < this.low ? to0 : this.low + (to0 - this.low) * 0.02;
    this.high = to1 > this.high ? to1 : this.high + (to1 - this.high) * 0.02;
  }
}

/** One strip: the last `windowUs` of a column, scrolling to the left, `endUs` at the right edge. */
export function strip(canvas, { ring, column, range, colour, endUs, windowUs, isLowest }) {
  const { g, width, height } = begin(canvas);
  const left = 44, right = width - 2, top = 4, bottom = height - (isLowest ? 18 : 6);
  const values = ring.columns[column], startUs = endUs - windowUs;
  let low = Infinity, high = -Infinity;
  const n = Math.min(ring.count, ring.size);
  for (let k = 0; k < n; k++) {
    const at = (ring.count - 1 - k) % ring.size;
    if (ring.times[at] < startUs) break;
    const v = values[at];
    if (v < low) low = v;
    if (v > high) high = v;
  }
  if (low > high) [low, high] = [-range.least / 2, range.least / 2];
  range.follow(low, high);
  const y = (v) => bottom - ((v - range.low) / (range.high - range.low)) * (bottom - top);
  const x = (t) => left + ((t - startUs) / windowUs) * (right - left);

  g.lineWidth = 1;
  g.textAlign = 'right';
  const step = niceStep(range.high - range.low, 5);
  for (let v = Math.ceil(range.low / step) * step; v <= range.high; v += step) {
    const py = Math.round(y(v)) + 0.5;
    g.strokeStyle = Math.abs(v) < step / 100 ? colours.line : colours.grid;
    g.beginPath();
    g.moveTo(left, py);
    g.lineTo(right, py);
    g.stroke();
    g.fillStyle = colours.faint;
    if (py > top + 5 && py < bottom - 3) g.fillText(Number(v.toFixed(6)).toString().replace('-', '−'), left - 6, py);
  }
  // Whole seconds move with the data: what makes the scrolling visible.
  g.textAlign = 'center';
  g.strokeStyle = colours.grid;
  for (let t = Math.ceil(startUs / 1e6) * 1e6; t < endUs; t += 1e6) {
    const px = Math.round(x(t)) + 0.5;
    if (px < left) continue;
    g.beginPath();
    g.moveTo(px, top);
    g.lineTo(px, bottom);
    g.stroke();
    if (isLowest && (t / 1e6) % 2 === 0 && px > left + 12 && px < right - 14) {
      g.fillStyle = colours.faint;
      g.fillText(new Date(t / 1000).toTimeString().slice(3, 8), px, height - 7);
    }
  }

  // One column of pixels shows the least and greatest of its samples: nothing is lost and little is drawn.
  g.save();
  g.beginPath();
  g.rect(left, 0, right - left, height);
  g.clip();
  g.strokeStyle = colours[colour];
  g.lineWidth = 1.4;
  g.lineJoin = 'round';
  g.beginPath();
  let pixel = NaN, least = 0, most = 0, first = 0, isDown = false, before = NaN;
  const flush = () => {
    if (Number.isNaN(pixel)) return;
    if (isDown) g.lineTo(pixel, y(first)); else g.moveTo(pixel, y(first));
    isDown = true;
    if (least !== most) {
      g.lineTo(pixel, y(least));
      g.lineTo(pixel, y(most));
    }
  };
  for (let k = 0; k < n; k++) {
    const at = (ring.count - 1 - k) % ring.size, t = ring.times[at];
    const px = Math.round(x(t) * 2) / 2, v = values[at];
    if (px !== pixel) {
      flush();
      // Silence is a gap in the line, not a straight one.
      if (before - t > 250_000) isDown = false;
      pixel = px;
      least = most = first = v;
    } else {
      if (v < least) least = v;
      if (v > most) most = v;
    }
    before = t;
    if (t < startUs) break;
  }
  flush();
  g.stroke();
  g.restore();
}

/** Tracks: each {colour, label, points: [[east, north], …], heading, hasFix}. */
export function map(canvas, tracks, view) {
  const { g, width, height } = begin(canvas);
  let box = [Infinity, Infinity, -Infinity, -Infinity];
  for (const track of tracks)
    for (const [e, n] of track.points) box = [Math.min(box[0], e), Math.min(box[1], n), Math.max(box[2], e), Math.max(box[3], n)];
  if (box[0] > box[2]) box = [-40, -40, 40, 40];
  const span = Math.max((box[2] - box[0]) / Math.max(width - 60, 50), (box[3] - box[1]) / Math.max(height - 60, 50), 30 / width);
  const centre = [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2];
  // The view glides: a map that jumps cannot be read.
  if (view.span === undefined) Object.assign(view, { span, centre });
  view.span += (span - view.span) * 0.06;
  view.centre = view.centre.map((c, i) => c + (centre[i] - c) * 0.06);
  const x = (e) => width / 2 + (e - view.centre[0]) / view.span, y = (n) => height / 2 - (n - view.centre[1]) / view.span;

  const step = niceStep(view.span * Math.min(width, height), 5);
  g.strokeStyle = colours.grid;
  g.lineWidth = 1;
  for (let e = Math.ceil((view.centre[0] - (width / 2) * view.span) / step) * step; x(e) < width; e += step) line(g, Math.round(x(e)) + 0.5, 0, Math.round(x(e)) + 0.5, height);
  for (let n = Math.ceil((view.centre[1] - (height / 2) * view.span) / step) * step; y(n) > 0; n += step) line(g, 0, Math.round(y(n)) + 0.5, width, Math.round(y(n)) + 0.5);

  for (const track of tracks) {
    const { points } = track, colour = colours[track.colour];
    if (points.length === 0) continue;
    g.strokeStyle = colour;
    g.lineJoin = g.lineCap = 'round';
    // Older parts are paler and thinner.
    const parts = 6, part = Math.ceil(points.length / parts);
    for (let p = 0; p < parts; p++) {
      const from = p * part, to = Math.min(points.length - 1, from + part);
      if (from >= to) continue;
      g.globalAlpha = 0.16 + (0.84 * (p + 1)) / parts;
      g.lineWidth = 1 + (1.4 * (p + 1)) / parts;
      g.beginPath();
      for (let i = from; i <= to; i++) g.lineTo(x(points[i][0]), y(points[i][1]));
      g.stroke();
    }
    g.globalAlpha = 1;
  }
  for (const track of tracks) {
    if (track.points.length === 0) continue;
    const [e, n] = track.points.at(-1), px = x(e), py = y(n), colour = colours[track.colour];
    g.save();
    g.translate(px, py);
    g.rotate((track.heading * Math.PI) / 180);
    g.beginPath();
    g.moveTo(0, -10);
    g.lineTo(7, 8);
    g.lineTo(0, 4);
    g.lineTo(-7, 8);
    g.closePath();
    g.lineWidth = 2;
    g.strokeStyle = colours.card;
    g.stroke();
    g.fillStyle = track.hasFix ? colour : colours.card;
    g.fill();
    g.strokeStyle = colour;
    if (!track.hasFix) g.stroke();
    g.restore();
    const label = track.hasFix ? track.label : `${track.label} · no fix`;
    g.font = `600 ${FONT}`;
    g.textAlign = px > width - 90 ? 'right' : 'left';
    g.lineWidth = 3;
    g.strokeStyle = colours.card;
    g.lineJoin = 'round';
    const lx = px + (px > width - 90 ? -13 : 13);
    g.strokeText(label, lx, py - 9);
    g.fillStyle = track.hasFix ? colours.text : colours.high;
    g.fillText(label, lx, py - 9);
    g.font = FONT;
  }
  // Scale and north.
  const long = step / view.span;
  g.strokeStyle = colours.soft;
  g.lineWidth = 1.5;
  g.beginPath();
  g.moveTo(10.5, height - 16);
  g.lineTo(10.5, height - 11);
  g.lineTo(10.5 + long, height - 11);
  g.lineTo(10.5 + long, height - 16);
  g.stroke();
  g.fillStyle = colours.soft;
  g.textAlign = 'left';
  g.fillText(`${step} m`, 16, height - 20);
  g.textAlign = 'center';
  g.fillText('N', width - 14, 22);
  g.beginPath();
  g.moveTo(width - 14, 4);
  g.lineTo(width - 10, 13);
  g.lineTo(width - 18, 13);
  g.closePath();
  g.fill();
}

/** Groups of bars with a limit: each {colour, label, values}. */
export function bars(canvas, groups, limit, unit) {
  const { g, width, height } = begin(canvas);
  const left = 34, top = 8, bottom = height - 34, most = limit * 1.4;
  const y = (v) => bottom - (Math.min(v, most) / most) * (bottom - top);
  g.textAlign = 'right';
  g.lineWidth = 1;
  const step = niceStep(most, 4);
  for (let v = 0; v <= most; v += step) {
    g.strokeStyle = v === 0 ? colours.line : colours.grid;
    line(g, left, Math.round(y(v)) + 0.5, width, Math.round(y(v)) + 0.5);
    g.fillStyle = colours.faint;
    g.fillText(`${v} ${unit}`, left - 6, y(v));
  }
  const room = (width - left) / groups.length;
  groups.forEach((group, n) => {
    const gap = 3, pad = Math.min(16, room * 0.09);
    const wide = (room - 2 * pad) / group.values.length;
    group.values.forEach((value, i) => {
      const x0 = left + n * room + pad + i * wide + gap / 2, w = Math.max(3, wide - gap), y0 = y(value);
      const isOver = value > limit;
      g.fillStyle = colours[isOver ? 'critical' : group.colour];
      g.beginPath();
      g.roundRect(x0, y0, w, Math.max(1, bottom - y0), [Math.min(3, w / 2), Math.min(3, w / 2), 0, 0]);
      g.fill();
      g.textAlign = 'center';
      g.fillStyle = colours.faint;
      g.fillText(String(i + 1), x0 + w / 2, bottom + 9);
      if (isOver) {
        g.fillStyle = colours.critical;
        g.font = `600 ${FONT}`;
        g.fillText(value.toFixed(1), x0 + w / 2, Math.max(7, y0 - 8));
        g.font = FONT;
      }
    });
    g.textAlign = 'center';
    g.fillStyle = colours.soft;
    g.fillText(group.label, left + (n + 0.5) * room, height - 8);
  });
  g.strokeStyle = colours.critical;
  g.setLineDash([4, 4]);
  line(g, left, Math.round(y(limit)) + 0.5, width, Math.round(y(limit)) + 0.5);
  g.setLineDash([]);
}

/** A small line without axes. */
export function spark(canvas, values, colour) {
  const { g, width, height } = begin(canvas);
  const most = Math.max(...values, 1) * 1.15;
  g.beginPath();
  values.forEach((v, i) => g.lineTo((i / (values.length - 1)) * width, height - (v / most) * (height - 2)));
  g.strokeStyle = colours[colour];
  g.lineWidth = 1.3;
  g.stroke();
  g.lineTo(width, height);
  g.lineTo(0, height);
  g.globalAlpha = 0.12;
  g.fillStyle = colours[colour];
  g.fill();
  g.globalAlpha = 1;
}

function line(g, x0, y0, x1, y1) {
  g.beginPath();
  g.moveTo(x0, y0);
  g.lineTo(x1, y1);
  g.stroke();
}
