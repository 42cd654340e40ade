// Job: the worker: hands messages, gaps and figures of the stream to the page in batches.
// Knows: figures by lane, priority and source. Must never know: the protocol (client/), what a reading means, how it
// looks.
//
// A worker, so that a delay measured here is the stream's and not that of drawing, and so that a hidden page goes on
// counting.
// In: {url, topics, isSlow} to begin, {url, isSlow} to go on by another way, {again: true} to try once more by hand.
// Out, each with one of these: `messages`, `gaps`, `state`, `welcome`, `outages`, `figures`.

import { Client } from '../../page/client/client.js';
import { Figures } from './figures.js';

const HAND_OVER_MS = 16;
const FIGURES_MS = 250;
/** Handed over at once at most: what more came while the page stood still is counted, and the oldest is not drawn. */
const PENDING_MAX = 20_000;

/** Microseconds since 1970 by this machine's clock, finer than Date.now(). */
const nowUs = () => (performance.timeOrigin + performance.now()) * 1000;

export class Stream {
  constructor({ url, topics, isSlow, world, post }) {
    this.post = post;
    this.isSlow = isSlow;
    this.figures = new Figures();
    this.pending = [];
    this.pendingGaps = [];
    this.client = new Client({
      url,
      topics,
      world,
      on: {
        message: (message) => this.onMessage(message),
        gap: (gap) => this.onGap(gap),
        state: (state) => this.post({ state: { ...state, isSlow: this.isSlow } }),
        welcome: (welcome) => this.post({ welcome }),
        outage: () => this.post({ outages: this.client.outages }),
        refused: ({ code, message }) => this.post({ refused: `${message} (${code})` }),
      },
    });
  }

  /** Goes on by another way. The difference of the clocks is kept: a slow link's delays say nothing about it. */
  go({ url, isSlow }) {
    this.figures.begin(isSlow, this.client.rtt.leastMs);
    this.isSlow = isSlow;
    this.client.open(url);
  }

  onMessage({ topic, priority, kind, data, timeUs, size, isHistory }) {
    const apartMs = isHistory ? null : (nowUs() - timeUs) / 1000;
    this.figures.take({ topic, priority, size, apartMs, nowMs: performance.now() });
    this.pending.push([topic, priority, kind, data, timeUs, isHistory]);
    if (this.pending.length > PENDING_MAX) this.pending.splice(0, PENDING_MAX / 2);
  }

  onGap(gap) {
    this.figures.miss(gap);
    this.pendingGaps.push(gap);
  }

  handOver() {
    if (this.pending.length > 0) this.post({ messages: this.pending.splice(0) });
    if (this.pendingGaps.length > 0) this.post({ gaps: this.pendingGaps.splice(0) });
  }

  quarter() {
    const { client, isSlow } = this;
    const figures = this.figures.turn(performance.now(), client.rtt);
    const { lost, omitted, outages } = client;
    const { untracked } = client.ledger;
    const recovered = outages.reduce((sum, outage) => sum + outage.recovered, 0);
    const missed = outages.reduce((sum, outage) => sum + outage.missed, 0);
    this.post({
      figures: { ...figures, lost, omitted, untracked, recovered, missed, isSlow, rttMs: client.rtt.lastMs },
    });
    if (outages.length > 0 && outages[0].toMs !== null) this.post({ outages });
  }
}

// In a worker alone: a test makes its own stream.
if (typeof WorkerGlobalScope !== 'undefined') {
  let stream = null;
  globalThis.onmessage = ({ data }) => {
    if (stream === null) {
      stream = new Stream({ ...data, post: (message) => globalThis.postMessage(message) });
      setInterval(() => stream.handOver(), HAND_OVER_MS);
      setInterval(() => stream.quarter(), FIGURES_MS);
    } else if (data.again) stream.client.open();
    else stream.go(data);
  };
}
