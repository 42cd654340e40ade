// Job: rates, delays and the difference of two clocks, in fixed memory.
// Knows: numbers. Must never know: what they measure.

/** Something per second, over the last two seconds in quarters. */
export class Meter {
  constructor() {
    this.slots = new Float64Array(9);
    this.at = 0;
  }
  add(n) {
    this.slots[this.at] += n;
  }
  /** Ends a quarter of a second. */
  turn() {
    this.at = (this.at + 1) % this.slots.length;
    this.slots[this.at] = 0;
  }
  get perSecond() {
    let sum = 0;
    for (let i = 0; i < this.slots.length; i++) if (i !== this.at) sum += this.slots[i];
    return sum / 2;
  }
}

/** The latest delays, so many and no older than that. */
export class Delays {
  constructor(most, recentMs) {
    this.delays = new Float64Array(most);
    this.arrivals = new Float64Array(most);
    this.recentMs = recentMs;
    this.count = 0;
  }
  take(delayMs, nowMs) {
    const at = this.count++ % this.delays.length;
    this.delays[at] = delayMs;
    this.arrivals[at] = nowMs;
  }
  /** Median, 99th percentile, and the newest: freed of the clocks' difference. `null` where nothing is recent. */
  figures(nowMs, offsetMs) {
    const recent = [];
    for (let i = 0; i < Math.min(this.count, this.delays.length); i++)
      if (nowMs - this.arrivals[i] < this.recentMs) recent.push(Math.max(0, this.delays[i] - offsetMs));
    recent.sort((a, b) => a - b);
    const at = (part) => (recent.length ? recent[Math.round((recent.length - 1) * part)] : null);
    const newest = this.count ? (this.count - 1) % this.delays.length : null;
    const lastMs = newest === null ? null : Math.max(0, this.delays[newest] - offsetMs);
    const silentMs = newest === null ? null : nowMs - this.arrivals[newest];
    return { p50: at(0.5), p99: at(0.99), lastMs, silentMs };
  }
}

/** How far this machine's clock is ahead of the server's, from the fastest messages. */
export class ClockOffset {
  constructor(windowMs) {
    this.windowMs = windowMs;
    // The least by halves of the window, so that it can also grow again.
    this.least = [Infinity, Infinity];
    this.since = 0;
  }
  take(apartMs, nowMs) {
    this.least[1] = Math.min(this.least[1], apartMs);
    if (nowMs - this.since <= this.windowMs / 2) return;
    this.least = [this.least[1], Infinity];
    this.since = nowMs;
  }
  /** Milliseconds to take off (our clock - stamp): 0 where both clocks plainly agree, else an estimate. */
  ms(leastRttMs) {
    const least = Math.min(...this.least);
    if (!Number.isFinite(least) || (least >= -0.5 && least < 20)) return 0;
    return least - (Number.isFinite(leastRttMs) ? leastRttMs / 2 : 0);
  }
}
