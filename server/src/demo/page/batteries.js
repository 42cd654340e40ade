// Job: the card of batteries: a gauge for each rover, grey where the reading is old.
// Knows: a battery's reading. Must never know: the protocol.

import { $, element, keepRows, setText, span, svg } from '../../page/ui/dom.js';

export class Batteries {
  constructor({ charge_low: low, charge_critical: critical }) {
    this.limits = { low, critical };
  }

  make(rover) {
    const gauge = svg('svg', {
      class: 'gauge',
      viewBox: '0 0 100 10',
      preserveAspectRatio: 'none',
      'aria-hidden': 'true',
    });
    const row = element('div', { class: 'cell' });
    row.fill = svg('rect', { class: 'fill', width: 0, height: 10 });
    gauge.append(svg('rect', { class: 'back', width: 100, height: 10 }), row.fill);
    for (const at of Object.values(this.limits))
      gauge.append(
        svg('line', { class: 'mark', x1: at, x2: at, y1: 0, y2: 10, 'vector-effect': 'non-scaling-stroke' }),
      );
    row.percent = element('b');
    row.detail = element('small');
    const name = element('div', { class: 'row' }, element('i', { class: `swatch s${rover.colour.slice(-1)}` }));
    name.append(element('span', {}, rover.label), row.percent);
    row.append(name, gauge, row.detail);
    return row;
  }

  show(rovers, nowMs) {
    const known = rovers.filter(({ battery }) => battery !== null);
    keepRows(
      $('batteries'),
      known,
      ({ source }) => source,
      (rover) => this.make(rover),
      (row, rover) => this.update(row, rover, nowMs),
    );
  }

  update(row, rover, nowMs) {
    const { percent, volts, amperes, celsius } = rover.battery;
    const isLate = rover.isLate('battery', nowMs);
    row.dataset.level = percent < this.limits.critical ? 'critical' : percent < this.limits.low ? 'low' : 'good';
    row.classList.toggle('is-late', isLate);
    row.fill.setAttribute('width', Math.min(100, Math.max(0, percent)));
    setText(row.percent, `${percent.toFixed(0)} %`);
    const parts = [
      [volts, 'V', 1],
      [amperes, 'A', 1],
      [celsius, '°C', 0],
    ].filter(([value]) => Number.isFinite(value));
    const last = rover.rhythms.battery?.lastMs ?? rover.lastMs;
    const age = isLate ? [`as of ${span((nowMs - last) / 1000)} ago`] : [];
    setText(
      row.detail,
      [...age, ...parts.map(([value, unit, digits]) => `${value.toFixed(digits)} ${unit}`)].join(' · '),
    );
  }
}
