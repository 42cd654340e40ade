// Job: the strips of the inertial units, one for each rover, and the value under the cursor.
// Knows: rovers, which reading is chosen. Must never know: the protocol, pixels (plots.js).

import { $, element, keepRows, setText } from '../../page/ui/dom.js';
import * as plots from './plots.js';

export const SIGNALS = [
  { name: 'up', title: 'Vertical acceleration', unit: 'm/s²', column: 2, least: 6 },
  { name: 'forward', title: 'Forward acceleration', unit: 'm/s²', column: 0, least: 3 },
  { name: 'left', title: 'Lateral acceleration', unit: 'm/s²', column: 1, least: 3 },
  { name: 'pitch', title: 'Pitch rate', unit: '°/s', column: 4, least: 20 },
  { name: 'yaw', title: 'Yaw rate', unit: '°/s', column: 5, least: 20 },
];

export class Strips {
  constructor(address) {
    this.address = address;
    this.buttons = SIGNALS.map(({ name, title, unit }) =>
      element(
        'button',
        { type: 'button', title: `${title}, ${unit}`, onclick: () => address.set({ signal: name }) },
        name,
      ),
    );
    $('signal').append(...this.buttons);
  }

  get signal() {
    return SIGNALS.find(({ name }) => name === this.address.get('signal')) ?? SIGNALS[0];
  }

  /** Rows for these rovers; to be called when they change. */
  arrange(rovers) {
    const shown = rovers.filter(({ imu }) => imu.lastUs !== null);
    const make = (rover) => {
      const row = element('div', { class: 'strip' });
      row.canvas = element('canvas', { role: 'img', 'aria-label': `${rover.label}: inertial unit` });
      row.value = element('span', { class: 'now' });
      row.ranges = new Map();
      const name = element(
        'span',
        { class: 'name' },
        element('i', { class: `swatch s${rover.colour.slice(-1)}` }),
        rover.label,
      );
      row.append(row.canvas, name, row.value);
      return row;
    };
    keepRows(
      $('strips'),
      shown,
      ({ source }) => source,
      make,
      (row, rover) => (row.rover = rover),
    );
    this.rows = [...$('strips').children];
  }

  draw(timeline, outages, nowMs) {
    const { signal } = this;
    this.buttons.forEach((button, n) => button.setAttribute('aria-pressed', String(SIGNALS[n] === signal)));
    for (const row of this.rows ?? []) {
      const { rover } = row;
      const isLate = rover.isLate('imu', nowMs);
      const key = `${signal.name} ${timeline.windowUs}`;
      if (!row.ranges.has(key)) row.ranges.set(key, new plots.Range(signal.least));
      plots.strip(row.canvas, {
        history: rover.imu,
        column: signal.column,
        range: row.ranges.get(key),
        colour: rover.colour,
        endUs: timeline.endUs,
        windowUs: timeline.windowUs,
        outages,
        cursorUs: timeline.cursorUs,
        staleUs: isLate ? rover.imu.lastUs : null,
        isLowest: row === this.rows.at(-1),
      });
      row.classList.toggle('is-late', isLate);
      setText(row.value, this.textOf(rover, timeline, isLate, nowMs));
    }
  }

  textOf(rover, timeline, isLate, nowMs) {
    const { column, unit } = this.signal;
    const { cursorUs } = timeline;
    const value =
      cursorUs === null && !timeline.isPaused
        ? rover.imu.last(column)
        : rover.imu.near(column, cursorUs ?? timeline.endUs);
    if (cursorUs === null && !timeline.isPaused && isLate)
      return `silent for ${((nowMs - rover.lastMs) / 1000).toFixed(0)} s`;
    return value === null ? 'nothing came' : `${value.toFixed(1)} ${unit}`;
  }
}
