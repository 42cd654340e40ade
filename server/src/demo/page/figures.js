// Job: counts, rates and delays: of the whole stream, by lane, by priority, by source (`rover/1` of `rover/1/imu`).
// Knows: topics as names. Must never know: the protocol, how anything looks.

import { ClockOffset, Delays, Meter } from '../../page/client/meters.js';

export const PRIORITIES = ['critical', 'high', 'normal', 'low'];
/** Lanes and sources that have figures of their own; the sums count all. */
const LANES_MAX = 2000;
const SOURCES_MAX = 64;
const RECENT_MS = 10_000;
const CLOCK_WINDOW_MS = 30_000;

/** What sends a topic: its first two levels, so that every rover is one; of a shorter name the first. */
export function sourceOf(topic) {
  const levels = topic.split('/');
  return levels.slice(0, Math.max(1, Math.min(2, levels.length - 1))).join('/');
}

class Count {
  constructor(delaysKept) {
    Object.assign(this, { messages: 0, bytes: 0, lost: 0, gaps: 0 });
    this.rate = new Meter();
    this.byteRate = new Meter();
    this.lostRate = new Meter();
    this.delays = delaysKept ? new Delays(delaysKept, RECENT_MS) : null;
    this.lastMs = null;
  }
  take(size, apartMs, nowMs) {
    this.messages++;
    this.bytes += size;
    this.rate.add(1);
    this.byteRate.add(size);
    this.lastMs = nowMs;
    if (apartMs !== null) this.delays?.take(apartMs, nowMs);
  }
  miss(lost) {
    this.gaps++;
    this.lost += lost;
    this.lostRate.add(lost);
  }
  turn(nowMs, offsetMs) {
    [this.rate, this.byteRate, this.lostRate].forEach((meter) => meter.turn());
    const { messages, bytes, lost, gaps, lastMs } = this;
    const [rate, byteRate, lostRate] = [this.rate, this.byteRate, this.lostRate].map((meter) => meter.perSecond);
    const delays = this.delays ? this.delays.figures(nowMs, offsetMs) : {};
    return {
      messages,
      bytes,
      lost,
      gaps,
      rate,
      byteRate,
      lostRate,
      silentForMs: lastMs === null ? null : nowMs - lastMs,
      ...delays,
    };
  }
}

export class Figures {
  constructor() {
    this.total = new Count(4096);
    this.lanes = new Map();
    this.sources = new Map();
    this.clock = new ClockOffset(CLOCK_WINDOW_MS);
    this.offsetKept = null;
    this.begin(false);
  }

  /** Delays and priorities begin anew. `isSlow`: what comes now says nothing about the clocks. */
  begin(isSlow, leastRttMs = Infinity) {
    this.offsetKept = isSlow ? (this.offsetKept ?? this.clock.ms(leastRttMs)) : null;
    if (!isSlow) this.clock = new ClockOffset(CLOCK_WINDOW_MS);
    this.total.delays = new Delays(4096, RECENT_MS);
    for (const source of this.sources.values()) source.delays = new Delays(1024, RECENT_MS);
    this.priorities = new Map(PRIORITIES.map((priority) => [priority, new Count(1024)]));
  }

  take({ topic, priority, size, apartMs, nowMs }) {
    if (apartMs !== null && this.offsetKept === null) this.clock.take(apartMs, nowMs);
    for (const count of this.countsOf(topic, priority)) count.take(size, apartMs, nowMs);
  }

  miss({ topic, priority, lost }) {
    for (const count of this.countsOf(topic, priority)) count.miss(lost);
  }

  /** Ends a quarter of a second: all figures. */
  turn(nowMs, rtt) {
    const offsetMs = this.offsetKept ?? this.clock.ms(rtt.leastMs);
    const each = (map, name) => [...map].map(([key, count]) => ({ [name]: key, ...count.turn(nowMs, offsetMs) }));
    const lanes = [...this.lanes.values()].map(({ topic, priority, count }) => ({
      topic,
      priority,
      ...count.turn(nowMs, offsetMs),
    }));
    return {
      total: this.total.turn(nowMs, offsetMs),
      lanes,
      sources: each(this.sources, 'source'),
      priorities: each(this.priorities, 'priority'),
      offsetMs,
    };
  }

  countsOf(topic, priority) {
    const key = `${topic} ${priority}`;
    let lane = this.lanes.get(key);
    if (!lane && this.lanes.size < LANES_MAX) this.lanes.set(key, (lane = { topic, priority, count: new Count(0) }));
    const name = sourceOf(topic);
    let source = this.sources.get(name);
    if (!source && this.sources.size < SOURCES_MAX) this.sources.set(name, (source = new Count(1024)));
    return [this.total, lane?.count, source, this.priorities.get(priority)].filter(Boolean);
  }
}
