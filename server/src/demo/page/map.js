// Job: drawing the map: tracks, where each rover is, and how old that is.
// Knows: pixels, metres. Must never know: where positions come from.

import { FONT, begin, colours, line, niceStep } from '../../page/ui/canvas.js';
import { plain } from '../../page/ui/dom.js';

const HOLE_US = 2e6;

/**
 * Tracks: each {colour, label, points: [[east, north, timeUs], …], heading, hasFix, age}; `age` is a text where it is
 * old.
 */
export function map(canvas, tracks, view) {
  const { g, width, height } = begin(canvas);
  glide(view, boxOf(tracks), width, height);
  const x = (e) => width / 2 + (e - view.centre[0]) / view.span;
  const y = (n) => height / 2 - (n - view.centre[1]) / view.span;
  const step = niceStep(view.span * Math.min(width, height), 5);
  g.strokeStyle = colours.grid;
  g.lineWidth = 1;
  const first = (axis, size) => Math.ceil((view.centre[axis] - (size / 2) * view.span) / step) * step;
  for (let e = first(0, width); x(e) < width; e += step)
    line(g, Math.round(x(e)) + 0.5, 0, Math.round(x(e)) + 0.5, height);
  for (let n = first(1, height); y(n) > 0; n += step) line(g, 0, Math.round(y(n)) + 0.5, width, Math.round(y(n)) + 0.5);
  for (const one of tracks) track(g, one, x, y);
  for (const one of tracks) if (one.points.length > 0) marker(g, one, x, y, width);
  frame(g, step, step / view.span, width, height);
}

function boxOf(tracks) {
  const box = [Infinity, Infinity, -Infinity, -Infinity];
  for (const { points } of tracks)
    for (const [e, n] of points) {
      box[0] = Math.min(box[0], e);
      box[1] = Math.min(box[1], n);
      box[2] = Math.max(box[2], e);
      box[3] = Math.max(box[3], n);
    }
  return box[0] > box[2] ? [-40, -40, 40, 40] : box;
}

/** The view glides: a map that jumps cannot be read. */
function glide(view, box, width, height) {
  const fit = (size, from, to) => (to - from) / Math.max(size - 60, 50);
  const span = Math.max(fit(width, box[0], box[2]), fit(height, box[1], box[3]), 30 / width);
  const centre = [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2];
  if (view.span === undefined) Object.assign(view, { span, centre });
  view.span += (span - view.span) * 0.06;
  view.centre = view.centre.map((c, i) => c + (centre[i] - c) * 0.06);
}

/** Older parts are paler and thinner. */
function track(g, { points, colour, age }, x, y) {
  if (points.length === 0) return;
  g.strokeStyle = age ? colours.faint : colours[colour];
  g.lineJoin = g.lineCap = 'round';
  const parts = 6;
  const part = Math.ceil(points.length / parts);
  for (let p = 0; p < parts; p++) {
    const from = p * part;
    const to = Math.min(points.length - 1, from + part);
    if (from >= to) continue;
    g.globalAlpha = 0.16 + (0.84 * (p + 1)) / parts;
    g.lineWidth = 1 + (1.4 * (p + 1)) / parts;
    g.beginPath();
    for (let i = from; i <= to; i++) {
      // Where nothing came nobody knows the way.
      const isHole = i > 0 && points[i][2] - points[i - 1][2] > HOLE_US;
      g[isHole ? 'moveTo' : 'lineTo'](x(points[i][0]), y(points[i][1]));
    }
    g.stroke();
  }
  g.globalAlpha = 1;
}

function marker(g, { points, colour, label, heading, hasFix, age }, x, y, width) {
  const [e, n] = points.at(-1);
  const [px, py] = [x(e), y(n)];
  const ink = age ? colours.faint : colours[colour];
  g.save();
  g.translate(px, py);
  g.rotate((heading * Math.PI) / 180);
  g.beginPath();
  g.moveTo(0, -10);
  g.lineTo(7, 8);
  g.lineTo(0, 4);
  g.lineTo(-7, 8);
  g.closePath();
  g.lineWidth = 2;
  g.strokeStyle = colours.card;
  g.stroke();
  const isHollow = !hasFix || age;
  g.fillStyle = isHollow ? colours.card : ink;
  g.fill();
  g.strokeStyle = ink;
  if (isHollow) g.stroke();
  g.restore();
  const text = plain(age ? `${label} · ${age}` : hasFix ? label : `${label} · no fix`);
  g.font = `600 ${FONT}`;
  const isRight = px > width - 120;
  g.textAlign = isRight ? 'right' : 'left';
  g.lineWidth = 3;
  g.strokeStyle = colours.card;
  g.lineJoin = 'round';
  const lx = px + (isRight ? -13 : 13);
  g.strokeText(text, lx, py - 9);
  g.fillStyle = hasFix && !age ? colours.text : colours.high;
  g.fillText(text, lx, py - 9);
  g.font = FONT;
}

/** Scale and north. */
function frame(g, step, long, width, height) {
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
