// Job: drawing what the demo shows: scrolling strips with outages and a cursor, and bars.
// Knows: pixels, colours by name. Must never know: where numbers come from.

import { FONT, begin, colours, line, niceStep } from '../../page/ui/canvas.js';
import { plain } from '../../page/ui/dom.js';

export const STRIP_LEFT = 44;
const STRIP_RIGHT = 2;

/** Range that follows the values: grows at once, shrinks slowly. */
export class Range {
  constructor(least) {
    this.least = least;
    this.low = Infinity;
    this.high = -Infinity;
  }
  follow(low, high) {
    const middle = (low + high) / 2;
    const half = Math.max(((high - low) / 2) * 1.12, this.least / 2);
    const [to0, to1] = [middle - half, middle + half];
    if (!Number.isFinite(this.low)) [this.low, this.high] = [to0, to1];
    this.low = to0 < this.low ? to0 : this.low + (to0 - this.low) * 0.02;
    this.high = to1 > this.high ? to1 : this.high + (to1 - this.high) * 0.02;
  }
}

/**
 * One strip: a column of a history from `endUs - windowUs` to `endUs`.
 * @param {HTMLCanvasElement} canvas
 * @param {object} what
 * @param {{fromUs: number, toUs: number}[]} what.outages bands in which nothing could come
 * @param {number|null} what.cursorUs
 * @param {number|null} what.staleUs from when on nothing has come
 */
export function strip(
  canvas,
  { history, column, range, colour, endUs, windowUs, outages, cursorUs, staleUs, isLowest },
) {
  const { g, width, height } = begin(canvas);
  const place = { left: STRIP_LEFT, right: width - STRIP_RIGHT, top: 4, bottom: height - (isLowest ? 18 : 6), height };
  const startUs = endUs - windowUs;
  const x = (t) => place.left + ((t - startUs) / windowUs) * (place.right - place.left);
  const pixels = pixelsOf(history, column, startUs, endUs, x);
  range.follow(pixels.low, pixels.high);
  const y = (v) => place.bottom - ((v - range.low) / (range.high - range.low)) * (place.bottom - place.top);

  g.save();
  g.beginPath();
  g.rect(place.left, 0, place.right - place.left, height);
  g.clip();
  for (const { fromUs, toUs } of outages) band(g, x(fromUs), x(Math.min(toUs, endUs)), place, true);
  if (staleUs !== null && staleUs < endUs) band(g, x(staleUs), x(endUs), place, false);
  g.restore();
  valueGrid(g, range, y, place, width);
  timeGrid(g, startUs, endUs, windowUs, x, place, isLowest);
  g.save();
  g.beginPath();
  g.rect(place.left, 0, place.right - place.left, height);
  g.clip();
  curve(g, pixels.list, y, colours[colour]);
  if (cursorUs !== null) {
    g.strokeStyle = colours.soft;
    g.lineWidth = 1;
    line(g, Math.round(x(cursorUs)) + 0.5, place.top, Math.round(x(cursorUs)) + 0.5, place.bottom);
  }
  g.restore();
}

/** Least and greatest by columns of pixels, newest first: nothing is lost and little is drawn. */
function pixelsOf(history, column, startUs, endUs, x) {
  const list = [];
  let low = Infinity;
  let high = -Infinity;
  // Silence is a hole in the line, not a straight one.
  const holeUs = Math.max(300_000, (endUs - startUs) / 100);
  let pixel = null;
  history.each(column, startUs, endUs, (t, least, most) => {
    const at = Math.round(x(t) * 2) / 2;
    if (pixel && pixel.at === at) {
      pixel.least = Math.min(pixel.least, least);
      pixel.most = Math.max(pixel.most, most);
    } else {
      pixel = { at, least, most, isAfterHole: pixel !== null && pixel.timeUs - t > holeUs };
      list.push(pixel);
    }
    pixel.timeUs = t;
    low = Math.min(low, least);
    high = Math.max(high, most);
  });
  return low > high ? { list, low: -1, high: 1 } : { list, low, high };
}

function curve(g, list, y, colour) {
  g.strokeStyle = colour;
  g.lineWidth = 1.4;
  g.lineJoin = 'round';
  g.beginPath();
  let last = 0;
  list.forEach(({ at, least, most, isAfterHole }, n) => {
    // The nearer end first: what several samples have in common is a thick line, not a saw.
    const [first, second] = Math.abs(least - last) <= Math.abs(most - last) ? [least, most] : [most, least];
    g[n === 0 || isAfterHole ? 'moveTo' : 'lineTo'](at, y(first));
    if (first !== second) g.lineTo(at, y(second));
    last = second;
  });
  g.stroke();
}

/** A time in which nothing came: hatched where the page had no connection, plain where the source was silent. */
function band(g, from, to, { top, bottom }, isHatched) {
  g.fillStyle = colours.outage;
  g.globalAlpha = isHatched ? 0.35 : 0.28;
  g.fillRect(from, top, Math.max(1, to - from), bottom - top);
  g.globalAlpha = 1;
  if (!isHatched) return;
  g.save();
  g.beginPath();
  g.rect(from, top, Math.max(1, to - from), bottom - top);
  g.clip();
  g.strokeStyle = colours.faint;
  g.globalAlpha = 0.45;
  g.lineWidth = 1;
  const tall = bottom - top;
  for (let at = from - tall - (from % 8); at < to; at += 8) line(g, at, bottom, at + tall, top);
  g.restore();
}

function valueGrid(g, range, y, { left, top, bottom }, width) {
  g.lineWidth = 1;
  g.textAlign = 'right';
  const step = niceStep(range.high - range.low, 5);
  for (let v = Math.ceil(range.low / step) * step; v <= range.high; v += step) {
    const py = Math.round(y(v)) + 0.5;
    g.strokeStyle = Math.abs(v) < step / 100 ? colours.line : colours.grid;
    line(g, left, py, width - STRIP_RIGHT, py);
    g.fillStyle = colours.faint;
    if (py > top + 5 && py < bottom - 3) g.fillText(Number(v.toFixed(6)).toString().replace('-', '−'), left - 6, py);
  }
}

const TIME_STEPS_S = [1, 2, 5, 10, 30, 60, 120, 300, 600, 1200];

/** Whole seconds move with the data: what makes the scrolling visible. */
function timeGrid(g, startUs, endUs, windowUs, x, { left, top, bottom, height, right }, isLowest) {
  const step = (TIME_STEPS_S.find((s) => windowUs / 1e6 / s <= 10) ?? 1200) * 1e6;
  g.textAlign = 'center';
  g.strokeStyle = colours.grid;
  for (let t = Math.ceil(startUs / step) * step; t < endUs; t += step) {
    const px = Math.round(x(t)) + 0.5;
    if (px < left) continue;
    line(g, px, top, px, bottom);
    const isNamed = (t / step) % 2 === 0 && px > left + 16 && px < right - 24;
    if (!isLowest || !isNamed) continue;
    g.fillStyle = colours.faint;
    g.fillText(
      new Date(t / 1000).toTimeString().slice(windowUs > 120e6 ? 0 : 3, windowUs > 120e6 ? 5 : 8),
      px,
      height - 7,
    );
  }
}

/** Groups of bars with a limit: each {colour, label, values, isLate}. */
export function bars(canvas, groups, limit, unit) {
  const { g, width, height } = begin(canvas);
  const left = 34;
  const top = 8;
  const bottom = height - 34;
  const most = limit * 1.4;
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
  const room = (width - left) / Math.max(1, groups.length);
  groups.forEach((group, n) => barGroup(g, group, { from: left + n * room, room, bottom, height, limit, y }));
  g.strokeStyle = colours.critical;
  g.setLineDash([4, 4]);
  line(g, left, Math.round(y(limit)) + 0.5, width, Math.round(y(limit)) + 0.5);
  g.setLineDash([]);
}

function barGroup(g, group, { from, room, bottom, height, limit, y }) {
  const pad = Math.min(16, room * 0.09);
  const wide = (room - 2 * pad) / Math.max(1, group.values.length);
  const gap = wide > 9 ? 3 : 1;
  g.textAlign = 'center';
  group.values.forEach((value, i) => {
    const x0 = from + pad + i * wide + gap / 2;
    const w = Math.max(2, wide - gap);
    const isOver = value > limit && !group.isLate;
    g.fillStyle = group.isLate ? colours.outage : colours[isOver ? 'critical' : group.colour];
    g.beginPath();
    g.roundRect(x0, y(value), w, Math.max(1, bottom - y(value)), [Math.min(3, w / 2), Math.min(3, w / 2), 0, 0]);
    g.fill();
    g.fillStyle = colours.faint;
    if (wide > 12) g.fillText(String(i + 1), x0 + w / 2, bottom + 9);
    if (!isOver) return;
    g.fillStyle = colours.critical;
    g.font = `600 ${FONT}`;
    g.fillText(value.toFixed(1), x0 + w / 2, Math.max(7, y(value) - 8));
    g.font = FONT;
  });
  g.fillStyle = group.isLate ? colours.high : colours.soft;
  const label = plain(group.label);
  g.fillText(group.isLate ? `${label} · silent` : label, from + room / 2, height - 8);
}
