// Job: what the `$sys` topics have said: the latest, and what is kept of before, all bounded.
// Knows: docs/reference/sys-topics.md. Must never know: sockets, elements.

import { Series, Trail } from './series.js';

/** Gaps kept one by one; their sums are kept for a day. */
export const GAPS_MAX = 400;
/** Clients and topics with a trail of their own; those unseen for longest go first. */
export const TRAILS_MAX = 256;

/** Counters of `total` whose rates are kept. */
const RATES = [
  'accepted',
  'closed',
  'compressed',
  'compressed_from_bytes',
  'compressed_to_bytes',
  'compression_saved_bytes',
  'deliveries',
  'dropped_critical',
  'dropped_high',
  'dropped_low',
  'dropped_normal',
  'encoded',
  'evicted',
  'messages',
  'passed_over',
  'sends_short',
  'sent_bytes',
  'syscalls',
];
const LATENCIES = ['publish_to_first_send_us', 'publish_to_last_send_us', 'turn_us'];
export const DROPPED = ['critical', 'high', 'normal', 'low'];

const number = (value) => (Number.isFinite(value) ? value : 0);
const list = (value) => (Array.isArray(value) ? value : []);

export class Model {
  constructor() {
    this.shards = null;
    /** When the first figures were of. */
    this.firstMs = null;
    this.topics = null;
    this.clients = null;
    this.gaps = [];
    this.gapCount = 0;
    this.gapsLeftOut = 0;
    /** Per second, from the last two messages; `null` before there are two. */
    this.rates = null;
    this.latency = {};
    const means = Object.fromEntries(RATES.map((name) => [name, 'mean']));
    const peaks = Object.fromEntries(
      LATENCIES.flatMap((name) => ['p50', 'p99'].map((part) => [`${name}.${part}`, 'max'])),
    );
    this.series = new Series({ connections: 'mean', behind: 'max', utilisation: 'mean', ...means, ...peaks });
    /** @type {Map<string, {trail: Trail, seenMs: number}>} */
    this.clientTrails = new Map();
    this.topicTrails = new Map();
  }

  /** Takes a message of a `$sys` topic. What is not as it should be is passed over: a newer server may say more. */
  take(topic, said) {
    if (typeof said !== 'object' || said === null || !Number.isFinite(said.at_ms)) return;
    if (topic === '$sys/shards') this.takeShards(said);
    else if (topic === '$sys/topics') this.takeTopics(said);
    else if (topic === '$sys/clients') this.takeClients(said);
    else if (topic === '$sys/gaps') this.takeGaps(said);
  }

  takeShards(said) {
    const before = this.shards;
    this.shards = said;
    this.firstMs ??= said.at_ms;
    const total = said.total ?? {};
    const seconds = before ? (said.at_ms - before.at_ms) / 1000 : 0;
    // Totals that shrink are another run's.
    const isRun = before && seconds > 0 && number(said.uptime_s) >= number(before.uptime_s);
    const perSecond = (name) => Math.max(0, number(total[name]) - number(before.total?.[name])) / seconds;
    this.rates = isRun ? Object.fromEntries(RATES.map((name) => [name, perSecond(name)])) : null;
    this.latency = said.latency ?? {};
    const shards = list(said.shards);
    const utilisation = shards.reduce((most, shard) => Math.max(most, number(shard.utilisation)), 0);
    const latencies = Object.fromEntries(
      LATENCIES.flatMap((name) =>
        ['p50', 'p99'].map((part) => [`${name}.${part}`, number(this.latency[name]?.[part])]),
      ),
    );
    const behind = number(this.clients?.behind);
    this.series.add(said.at_ms, {
      connections: number(total.connections),
      behind,
      utilisation,
      ...this.rates,
      ...latencies,
    });
  }

  takeTopics(said) {
    this.topics = { ...said, topics: list(said.topics) };
    for (const { topic, published_per_s: rate } of this.topics.topics)
      note(this.topicTrails, topic, number(rate), said.at_ms);
  }

  takeClients(said) {
    this.clients = { ...said, by_lag: list(said.by_lag), by_work: list(said.by_work) };
    const seen = new Map([...this.clients.by_work, ...this.clients.by_lag].map((client) => [client.id, client]));
    for (const [id, client] of seen) note(this.clientTrails, id, number(client.used), said.at_ms);
  }

  takeGaps(said) {
    this.gapsLeftOut += number(said.left_out);
    for (const gap of list(said.gaps)) {
      this.gapCount++;
      this.gaps.unshift({ ...gap, lost: Math.max(0, number(gap.to) - number(gap.from) + 1), number: this.gapCount });
    }
    this.gaps.length = Math.min(this.gaps.length, GAPS_MAX);
  }

  /** Clients in the order asked for. */
  clientsBy(sort) {
    if (!this.clients) return [];
    return sort === 'work' ? this.clients.by_work : this.clients.by_lag;
  }

  clientOf(id) {
    return [...this.clientsBy('lag'), ...this.clientsBy('work')].find((client) => client.id === id) ?? null;
  }

  /** Lanes, the one whose slowest subscriber is furthest behind first. */
  get lanes() {
    const lanes = (this.topics?.topics ?? []).flatMap((topic) =>
      list(topic.lanes).map((lane) => ({ topic: topic.topic, ...lane })),
    );
    return lanes.sort((a, b) => number(b.behind) - number(a.behind) || number(b.used) - number(a.used));
  }

  get lostPerSecond() {
    return this.rates ? DROPPED.reduce((sum, priority) => sum + this.rates[`dropped_${priority}`], 0) : 0;
  }

  get lostTotal() {
    return DROPPED.reduce((sum, priority) => sum + number(this.shards?.total?.[`dropped_${priority}`]), 0);
  }

  /** Lost by those who take nothing, so that they could not be told yet: of the clients that are told of. */
  get lostUntold() {
    const clients = new Map([...this.clientsBy('work'), ...this.clientsBy('lag')].map((client) => [client.id, client]));
    return [...clients.values()].reduce((sum, client) => sum + number(client.lost_untold), 0);
  }

  /** What is held, for a test of a day. */
  get held() {
    return { bytes: this.series.bytes, gaps: this.gaps.length, trails: this.clientTrails.size + this.topicTrails.size };
  }
}

function note(trails, key, value, atMs) {
  let held = trails.get(key);
  // Put behind the others: the first is the one unseen for longest.
  if (held) trails.delete(key);
  else held = { trail: new Trail() };
  held.trail.add(value);
  held.seenMs = atMs;
  trails.set(key, held);
  if (trails.size > TRAILS_MAX) trails.delete(trails.keys().next().value);
}
