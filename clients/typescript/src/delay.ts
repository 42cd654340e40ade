// Job: how long messages are on their way, freed of the difference of two clocks, in fixed memory.
// Knows: numbers. Must never know: topics, sockets, clocks.

/** Delays that are kept. */
const KEPT = 512;
/** The difference of the clocks is estimated anew in this time, in milliseconds. */
const WINDOW_MS = 60_000;
/** Where nothing is apart by more than this, in milliseconds, both clocks agree. */
const AGREED_MS = 20;

export interface Delay {
  /** Median and 99th percentile of the latest messages, in milliseconds; `null` where there are none. */
  readonly p50Ms: number | null;
  readonly p99Ms: number | null;
  /** How far this clock is ahead of the server's, in milliseconds. */
  readonly offsetMs: number;
  /** The offset is a guess: the fastest message is taken to need half a round trip. */
  readonly isEstimated: boolean;
  /** The least round trip, in milliseconds; `null` where none was measured. */
  readonly rttMs: number | null;
}

export class Delays {
  readonly #apart = new Float64Array(KEPT);
  #count = 0;
  /** The least by halves of the window, so that it can grow again. */
  #least: [number, number] = [Infinity, Infinity];
  #sinceMs = 0;
  #rttMs = Infinity;

  /** A message came whose stamp is `apartMs` before this clock. */
  take(apartMs: number, nowMs: number): void {
    this.#apart[this.#count++ % KEPT] = apartMs;
    this.#least[1] = Math.min(this.#least[1], apartMs);
    if (nowMs - this.#sinceMs <= WINDOW_MS / 2) return;
    this.#least = [this.#least[1], Infinity];
    this.#sinceMs = nowMs;
  }

  onRtt(ms: number): void {
    this.#rttMs = Math.min(this.#rttMs, ms);
  }

  /** Another connection may be to another server. */
  reset(): void {
    this.#count = 0;
    this.#least = [Infinity, Infinity];
    this.#rttMs = Infinity;
  }

  get figures(): Delay {
    const least = Math.min(...this.#least);
    const rttMs = this.#rttMs === Infinity ? null : this.#rttMs;
    const isEstimated = this.#count > 0 && !(least >= -0.5 && least < AGREED_MS);
    const offsetMs = isEstimated ? least - (rttMs ?? 0) / 2 : 0;
    const sorted = this.#apart.slice(0, Math.min(this.#count, KEPT)).sort();
    const at = (part: number): number | null =>
      sorted.length ? Math.max(0, sorted[Math.round((sorted.length - 1) * part)]! - offsetMs) : null;
    return { p50Ms: at(0.5), p99Ms: at(0.99), offsetMs, isEstimated, rttMs };
  }
}
