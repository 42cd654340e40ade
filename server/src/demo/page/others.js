// Job: topics that are no rover's: their last value, and the past of the numbers in it, found without being told.
// Knows: JSON values. Must never know: the protocol, pixels.

import { History } from './history.js';

export const TOPICS_MAX = 48;
const FIELDS_MAX = 4;
const VALUE_CHARACTERS = 160;
const DEPTH_MAX = 3;

/** The numbers of a value as [path, number], the first ones. */
export function numbersOf(value, most = FIELDS_MAX) {
  const found = [];
  const visit = (at, path, depth) => {
    if (found.length >= most) return;
    if (typeof at === 'number' && Number.isFinite(at)) found.push([path || 'value', at]);
    else if (typeof at === 'boolean') found.push([path || 'value', Number(at)]);
    else if (at && typeof at === 'object' && depth < DEPTH_MAX)
      for (const [key, inner] of Object.entries(at).slice(0, 32)) {
        // A time grows evenly: a plot of it tells nothing.
        if (!/^(t|time|timestamp|ts)(_(us|ms|ns|s))?$/i.test(key))
          visit(inner, path ? `${path}.${key}` : key, depth + 1);
      }
  };
  visit(value, '', 0);
  return found;
}

/** A value in a line. */
export function lineOf(kind, data) {
  if (kind === 'binary') {
    const hex = [...data.subarray(0, 24)].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
    return `${data.length} bytes: ${hex}${data.length > 24 ? ' …' : ''}`;
  }
  const text = kind === 'text' ? String(data) : JSON.stringify(data);
  const line = text.slice(0, VALUE_CHARACTERS * 2).replace(/\p{C}/gu, '·');
  return line.length > VALUE_CHARACTERS ? `${line.slice(0, VALUE_CHARACTERS)}…` : line;
}

export class Others {
  constructor() {
    this.topics = new Map();
    this.revision = 0;
    this.leftOut = 0;
  }

  take({ topic, kind, data, timeUs, nowMs, isHistory }) {
    let held = this.topics.get(topic);
    if (!held) {
      if (this.topics.size >= TOPICS_MAX) {
        this.leftOut++;
        return;
      }
      held = { topic, fields: new Map(), count: 0, line: '', lastMs: 0, lastUs: 0 };
      this.topics.set(topic, held);
      this.revision++;
    }
    held.count++;
    held.line = lineOf(kind, data);
    held.lastUs = timeUs;
    if (!isHistory) held.lastMs = nowMs;
    if (kind !== 'json') return;
    for (const [path, value] of numbersOf(data)) {
      let history = held.fields.get(path);
      if (!history && held.fields.size < FIELDS_MAX) held.fields.set(path, (history = new History(1)));
      history?.push(timeUs, [value]);
    }
  }
}
