// Job: what was lost: a chart over time by priority, and the latest gaps one by one.
// Knows: the model's sums and gaps. Must never know: sockets.

import { $, clockFine, count, element, keepRows, rate, setText, short } from '../../page/ui/dom.js';
import { Chart } from './charts.js';
import { DROPPED } from './model.js';

const SHOWN = 60;
const COLOURS = { critical: 'critical', high: 'high', normal: 'series-1', low: 'faint' };

export class Gaps {
  /** @param {(client: string) => void} onSelect */
  constructor(onSelect) {
    this.onSelect = onSelect;
    this.chart = new Chart($('gaps-chart'), { isStacked: true, format: (v) => short(v), most: 5 });
  }

  show(model, { endMs, spanMs, words }) {
    const read = DROPPED.map((priority) => [priority, model.series.read(`dropped_${priority}`, endMs, spanMs)]);
    const [, { startMs, stepMs }] = read[0];
    // Sums, not rates: a bar is what was lost in its time.
    const lines = read.map(([priority, { values }]) => ({
      label: priority,
      colour: COLOURS[priority],
      values: values.map((v) => (v === null ? null : (v * stepMs) / 1000)),
    }));
    this.chart.draw({ lines, startMs, stepMs });
    setText($('gaps-sum'), `${count(model.lostTotal)} lost since the start · ${rate(model.lostPerSecond)}/s`);
    const meant = model.gaps.filter(
      (gap) => !words || `${gap.client} ${gap.topic} ${gap.peer}`.toLowerCase().includes(words.toLowerCase()),
    );
    keepRows(
      $('gaps-rows'),
      meant.slice(0, SHOWN),
      ({ number }) => String(number),
      (gap) => this.make(gap),
      () => {},
    );
    $('gaps-empty').hidden = meant.length > 0;
    setText(
      $('gaps-left-out'),
      model.gapsLeftOut ? `${count(model.gapsLeftOut)} more were too many to be told one by one` : '',
    );
  }

  make({ at_ms: atMs, client, topic, priority, from, to, lost, reason }) {
    return element(
      'tr',
      {},
      element('td', { class: 'when' }, clockFine(atMs)),
      element(
        'td',
        { class: 'left' },
        element('button', { type: 'button', class: 'plain mono', onclick: () => this.onSelect(client) }, client),
      ),
      element('td', { class: 'left' }, element('span', { class: `chip ${priority}` }, priority)),
      element('td', { class: 'left topic' }, topic),
      element('td', { class: 'mono' }, `${from}–${to}`),
      element('td', { class: 'is-lost' }, `−${count(lost)}`),
      element('td', { class: 'left' }, reason),
    );
  }
}
