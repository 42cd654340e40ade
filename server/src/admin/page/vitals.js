// Job: the figures at the top; shards, latencies, throughput, compression, connections.
// Knows: the model. Must never know: sockets.

import { spark } from '../../page/ui/canvas.js';
import { $, bytes, count, element, keepRows, ms, percent, rate, setText, short, some } from '../../page/ui/dom.js';
import { Chart, setBar } from './charts.js';

const TRAIL_MS = 120_000;

/** A tile: figure, unit, note, and the series behind its line. */
const TILES = {
  clients: ({ shards, clients, rates }) => ({
    value: count(clients?.total ?? shards?.total?.connections ?? 0),
    unit: 'connected',
    note: `of ${short(shards?.connections_max ?? 0)} · +${rate(rates?.accepted ?? 0)} −${rate(rates?.closed ?? 0)}/s`,
    series: 'connections',
  }),
  behind: ({ clients, shards }) => ({
    value: count(clients?.behind ?? 0),
    unit: 'clients behind',
    note: `${count(shards?.total?.evicted ?? 0)} evicted so far`,
    series: 'behind',
    isWarned: (clients?.by_lag?.[0]?.used ?? 0) >= 0.7,
  }),
  lost: (model) => ({
    value: rate(model.lostPerSecond),
    unit: 'messages/s',
    // A tile has room for one of them; the sum stands above the gaps, too.
    note: model.lostUntold > 0 ? `${short(model.lostUntold)} not told yet` : `${short(model.lostTotal)} since the start`,
    series: 'dropped_normal',
    isBad: model.lostPerSecond > 0 || model.lostUntold > 0,
  }),
  deliveries: ({ rates }) => ({
    value: short(Math.round(rates?.deliveries ?? 0)),
    unit: 'per second',
    note: `of ${short(Math.round(rates?.messages ?? 0))} published`,
    series: 'deliveries',
  }),
  sent: ({ rates }) => ({
    ...split(bytes(rates?.sent_bytes ?? 0)),
    note: `${rate(rates?.sends_short ?? 0)} full sockets/s`,
    series: 'sent_bytes',
  }),
  latency: ({ latency }) => {
    const { count: n, p50, p99 } = latency.publish_to_last_send_us ?? {};
    const isKnown = n > 0;
    return {
      ...split(isKnown ? ms(p99 / 1000) : '–'),
      note: isKnown ? `99 %; median ${ms(p50 / 1000)}` : 'nothing was published',
      series: 'publish_to_last_send_us.p99',
    };
  },
};

function split(text) {
  const [value, unit = ''] = text.split(' ');
  return { value, unit };
}

export class Vitals {
  constructor() {
    const us = (v) => (v >= 1000 ? `${(v / 1000).toFixed(v >= 10_000 ? 0 : 1)} ms` : `${v.toFixed(0)} µs`);
    this.charts = {
      latency: new Chart($('latency-chart'), { format: us, most: 100 }),
      throughput: new Chart($('throughput-chart'), { format: short, most: 10 }),
      shards: new Chart($('shards-chart'), { format: (v) => `${(v * 100).toFixed(0)} %`, most: 1 }),
      connections: new Chart($('connections-chart'), { format: short, most: 10 }),
    };
  }

  show(model, { endMs, spanMs }) {
    // Nothing is known yet: that is no 0.
    const unknown = { value: '–', unit: '', note: 'not known yet' };
    for (const [name, of] of Object.entries(TILES))
      this.tile(name, model.shards ? of(model) : { ...of(model), ...unknown }, model.series, endMs);
    this.line('latency', model, endMs, spanMs, [
      ['last send, 99 %', 'publish_to_last_send_us.p99', 'series-1'],
      ['first send, 99 %', 'publish_to_first_send_us.p99', 'series-3'],
      ['turn, 99 %', 'turn_us.p99', 'series-4'],
    ]);
    this.line('throughput', model, endMs, spanMs, [
      ['deliveries/s', 'deliveries', 'series-1'],
      ['messages/s', 'messages', 'series-3'],
    ]);
    this.line('shards', model, endMs, spanMs, [['busiest shard', 'utilisation', 'series-5']]);
    this.line('connections', model, endMs, spanMs, [
      ['connections', 'connections', 'series-6'],
      ['behind', 'behind', 'series-4'],
    ]);
    showShards(model);
    showLatencies(model);
    showSharing(model);
  }

  tile(name, { value, unit, note, series, isBad, isWarned }, all, endMs) {
    const tile = $(`tile-${name}`);
    setText(tile.querySelector('b'), value);
    setText(tile.querySelector('p small'), unit);
    setText(tile.querySelector('.note'), note);
    tile.classList.toggle('is-bad', isBad === true);
    tile.classList.toggle('is-warned', isWarned === true);
    spark(tile.querySelector('canvas'), all.read(series, endMs, TRAIL_MS).values, 'accent');
  }

  line(name, model, endMs, spanMs, lines) {
    const read = lines.map(([label, series, colour]) => ({
      label,
      colour,
      ...model.series.read(series, endMs, spanMs),
    }));
    this.charts[name].draw({ lines: read, startMs: read[0].startMs, stepMs: read[0].stepMs });
  }
}

function showShards({ shards }) {
  const make = () => {
    const row = element('li', { class: 'shard-row' });
    row.bar = element('span', { class: 'level', role: 'img', 'data-explain': 'shard' }, element('i'));
    row.name = element('span');
    row.text = element('small');
    row.append(row.name, row.bar, row.text);
    return row;
  };
  const show = (row, { shard, utilisation, connections }) => {
    setText(row.name, `Shard ${shard}`);
    setBar(row.bar, utilisation ?? 0);
    row.bar.setAttribute('aria-label', `${percent(utilisation ?? 0)} busy`);
    setText(row.text, `${percent(utilisation ?? 0)} · ${some(connections ?? 0, 'connection')}`);
  };
  keepRows($('shards'), Array.isArray(shards?.shards) ? shards.shards : [], ({ shard }) => String(shard), make, show);
}

const LATENCIES = [
  ['First send', 'publish_to_first_send_us', 'first_send'],
  ['Last send', 'publish_to_last_send_us', 'last_send'],
  ['Turn', 'turn_us', 'turn'],
];

function showLatencies({ latency }) {
  const make = ([name, , explain]) => {
    const row = element('tr', { 'data-explain': explain });
    row.parts = Array.from({ length: 5 }, () => element('td'));
    row.append(element('td', {}, name), ...row.parts);
    return row;
  };
  const show = (row, [, key]) => {
    const of = latency[key] ?? {};
    const values = ['p50', 'p95', 'p99', 'max'].map((part) => (of.count > 0 ? ms(of[part] / 1000) : '–'));
    [...values, short(of.count ?? 0)].forEach((text, n) => setText(row.parts[n], text));
  };
  keepRows($('latencies'), LATENCIES, ([, key]) => key, make, show);
}

/** What sharing one rendered message among many saves, and where memory stands. */
function showSharing({ shards, rates, clients }) {
  const { total = {} } = shards ?? {};
  const per = (n, of) => (of > 0 ? `${deliveries(Math.round(n / of))} each` : 'none');
  const forms = new Map();
  for (const { form } of [...(clients?.by_lag ?? []), ...(clients?.by_work ?? [])])
    forms.set(form, (forms.get(form) ?? 0) + 1);
  const facts = [
    ['Rendered', `${rate(rates?.encoded ?? 0)}/s · ${per(rates?.deliveries ?? 0, rates?.encoded ?? 0)}`, 'reuse'],
    ['Compressed', `${rate(rates?.compressed ?? 0)}/s · ${compressedTo(rates)}`, 'compressed'],
    [
      'Saved by that',
      `${bytes(rates?.compression_saved_bytes ?? 0)}/s · ${bytes(total.compression_saved_bytes ?? 0)} so far`,
      'saved',
    ],
    ['Passed over', `${rate(rates?.passed_over ?? 0)}/s`, 'passed_over'],
    ['Ring', share(shards?.ring_bytes, shards?.ring_capacity_bytes), 'ring'],
    ['Logs', share(total.log_bytes, shards?.pool_capacity_bytes), 'pool'],
    ['Payloads', share(shards?.payload_bytes, shards?.payload_capacity_bytes), 'pool'],
    ['System calls', `${short(Math.round(rates?.syscalls ?? 0))}/s`, 'deliveries'],
    ['Forms seen', [...forms.keys()].sort().join(', ') || '–', 'compressed'],
  ];
  const make = ([name, , explain]) => {
    const row = element('div', { class: 'fact', 'data-explain': explain });
    row.value = element('dd');
    row.append(element('dt', {}, name), row.value);
    return row;
  };
  keepRows(
    $('sharing'),
    facts,
    ([name]) => name,
    make,
    (row, [, value]) => setText(row.value, value),
  );
}

/** How small compression makes messages, and how many deliveries one compression served: each saves the difference. */
export function compressedTo(rates) {
  const { compressed_from_bytes: from = 0, compressed_to_bytes: to = 0, compression_saved_bytes: saved = 0 } = rates ?? {};
  if (!(from > 0)) return 'none';
  const each = from > to ? Math.round(saved / (from - to)) : 0;
  return `to ${percent(to / from)}${each > 0 ? ` · ${deliveries(each)} each` : ''}`;
}

const deliveries = (n) => `${short(n)} ${n === 1 ? 'delivery' : 'deliveries'}`;

const share = (n, of) => (Number.isFinite(of) && of > 0 ? `${bytes(n ?? 0)} of ${bytes(of)}` : bytes(n ?? 0));
