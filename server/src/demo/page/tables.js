// Job: the tables: rovers with their age and latency, outages and what they cost, lanes, topics that are no rover's.
// Knows: figures. Must never know: the protocol, how figures are made.

import { spark } from '../../page/ui/canvas.js';
import { $, clock, count, element, keepRows, ms, plain, rate, setLabel, setText, span } from '../../page/ui/dom.js';

const cells = (n, classes = []) => Array.from({ length: n }, (_, i) => element('td', { class: classes[i] ?? null }));
const POINTS = 60;

function rowOf(n, classes) {
  const row = element('tr');
  row.parts = cells(n, classes);
  row.append(...row.parts);
  return row;
}

/** Rovers: how old what is shown is, and how long it took. */
export function showRovers(rovers, sources, nowMs) {
  const figures = new Map(sources.map((source) => [source.source, source]));
  const make = (rover) => {
    const row = rowOf(7);
    row.dot = element('i', { class: `swatch s${rover.colour.slice(-1)}` });
    row.parts[0].append(row.dot, plain(` ${rover.label}`));
    return row;
  };
  keepRows(
    $('rovers'),
    rovers,
    ({ source }) => source,
    make,
    (row, rover) => {
      const of = figures.get(rover.source);
      const isStale = rover.isStale(nowMs);
      row.classList.toggle('is-stale', isStale);
      const [, state, per, p50, p99, lost, battery] = row.parts;
      setText(state, isStale ? `silent ${span((nowMs - rover.lastMs) / 1000)}` : 'live');
      state.title = rover.lastUs ? `last reading of ${clock(rover.lastUs / 1000)}` : '';
      setText(per, of ? rate(of.rate) : '–');
      setText(p50, isStale ? '–' : ms(of?.p50));
      setText(p99, isStale ? '–' : ms(of?.p99));
      setText(lost, count(of?.lost ?? 0));
      lost.classList.toggle('is-lost', (of?.lost ?? 0) > 0);
      setText(battery, rover.battery ? `${rover.battery.percent.toFixed(0)} %` : '–');
    },
  );
}

/** Outages, the newest first. */
export function showOutages(outages) {
  $('outages-empty').hidden = outages.length > 0;
  const make = () => {
    const row = element('li');
    row.parts = [element('time'), element('span', { class: 'what' }), element('b')];
    row.append(...row.parts);
    return row;
  };
  keepRows(
    $('outages'),
    outages,
    ({ fromMs }) => String(fromMs),
    make,
    (row, outage) => {
      const { fromMs, toMs, text, recovered, missed, isAnew } = outage;
      const [time, what, cost] = row.parts;
      setText(time, clock(fromMs));
      const lasted = toMs === null ? 'still' : span((toMs - fromMs) / 1000);
      const anew = isAnew ? '; the server began to count anew: what it published before that is not known' : '';
      setText(what, `${lasted}: ${text}${anew}`);
      what.title = what.textContent;
      setText(cost, toMs === null ? 'not connected' : `+${count(recovered)} came later, −${count(missed)}`);
      cost.classList.toggle('is-lost', missed > 0);
    },
  );
}

const ORDER = { critical: 0, high: 1, normal: 2, low: 3 };

/** Lanes as this page receives them. */
export function showLanes(lanes) {
  const sorted = lanes.sort(
    (a, b) => a.topic.localeCompare(b.topic, 'en', { numeric: true }) || ORDER[a.priority] - ORDER[b.priority],
  );
  const make = ({ topic, priority }) => {
    const row = rowOf(6, ['topic', 'left']);
    setText(row.parts[0], topic);
    row.parts[1].append(element('span', { class: `chip ${priority}` }, priority));
    return row;
  };
  keepRows(
    $('topics'),
    sorted,
    ({ topic, priority }) => `${topic} ${priority}`,
    make,
    (row, lane) => {
      const [, , per, bytes, received, lost] = row.parts;
      setText(per, rate(lane.rate));
      setText(bytes, (lane.byteRate / 1e3).toFixed(1));
      setText(received, count(lane.messages));
      setText(lost, count(lane.lost));
      lost.classList.toggle('is-lost', lane.lost > 0);
    },
  );
}

/** Topics that are no rover's: the last value and a line for each of its numbers. */
export function showOthers(others, nowMs) {
  const topics = [...others.topics.values()];
  $('others-card').hidden = topics.length === 0;
  setText($('others-count'), others.leftOut ? `the first ${topics.length}` : `${topics.length}`);
  const make = ({ topic }) => {
    const row = element('li', { class: 'other' });
    row.age = element('small');
    row.line = element('code');
    row.lines = element('div', { class: 'lines' });
    row.append(
      element('div', { class: 'row' }, element('span', { class: 'mono' }, topic), row.age),
      row.line,
      row.lines,
    );
    return row;
  };
  keepRows(
    $('others'),
    topics,
    ({ topic }) => topic,
    make,
    (row, held) => {
      const age = held.lastMs === 0 ? `from ${clock(held.lastUs / 1000)}` : `${span((nowMs - held.lastMs) / 1000)} ago`;
      setText(row.age, `${age} · ${count(held.count)}`);
      setText(row.line, held.line);
      setLabel(row.line, 'title', held.line);
      keepRows(row.lines, [...held.fields], ([path]) => path, fieldRow, showField);
    },
  );
}

function fieldRow([path]) {
  const row = element('div', { class: 'field' });
  row.canvas = element('canvas', { 'aria-hidden': 'true' });
  row.now = element('b');
  row.append(element('small', {}, path), row.canvas, row.now);
  return row;
}

function showField(row, [, history]) {
  const values = [];
  history.each(0, history.lastUs - 60e6, history.lastUs, (_, low, high) => values.push((low + high) / 2));
  const step = Math.max(1, Math.ceil(values.length / POINTS));
  const least = Math.min(...values);
  const shown = values
    .filter((_, i) => i % step === 0)
    .reverse()
    .map((v) => v - Math.min(0, least));
  setText(row.now, Number(history.last(0).toPrecision(5)).toString());
  requestAnimationFrame(() => spark(row.canvas, shown.length > 1 ? shown : [0, ...shown], 'accent'));
}
