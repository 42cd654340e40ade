// Job: one connection to fanwire over fanwire.json.v1: subscribe, count, notice what is missing, measure delays, connect again.
// Knows: the protocol. Must never know: what a reading means, how anything looks.
//
// Runs as a worker, so that a delay measured here is the stream's and not that of drawing. In: {url, topics, isSlow}, and again
// {url, isSlow} to go on by another way. Out, each with one of these: `messages` (a batch of [topic, priority, data, time_us]),
// `gaps` (a batch of gap notices with the time of arrival), `state`, `welcome`, `figures`.

const PROTOCOL = 'fanwire.json.v1';
const PING_EVERY_MS = 1000;
// Nothing came for so long, no answer to a ping either: nobody is there, whatever the browser believes. The same for connecting.
const SILENCE_MS = 5000;
// How long after the moment that the server has named for its close.
const CLOSE_PATIENCE_MS = 5000;
const DELAYS_KEPT = 4096;
const OFFSET_WINDOW_MS = 30_000;
const HAND_OVER_MS = 16;
const FIGURES_MS = 250;
const PRIORITIES = ['critical', 'high', 'normal', 'low'];
// Delays of one priority that count: so many, and no older than this.
const PRIORITY_DELAYS_KEPT = 1024;
const PRIORITY_DELAYS_MS = 10_000;

/** Microseconds since 1970 by this machine's clock, finer than Date.now(). */
const nowUs = () => (performance.timeOrigin + performance.now()) * 1000;

/** Counts of one topic and priority. */
class Lane {
  constructor(topic, priority) {
    this.topic = topic;
    this.priority = priority;
    this.messages = 0;
    this.bytes = 0;
    this.lost = 0;
    this.next = null; // the sequence number that has to come
    this.rate = new Meter();
    this.byteRate = new Meter();
  }
}

/** Something per second, over the last two seconds in quarters. */
class Meter {
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

/** Counts and delays of all lanes of one priority, since the link was chosen. */
class PriorityFigures {
  constructor(priority) {
    this.priority = priority;
    this.messages = 0;
    this.lost = 0;
    this.gaps = 0;
    this.rate = new Meter();
    this.lostRate = new Meter();
    this.delays = new Float64Array(PRIORITY_DELAYS_KEPT);
    this.arrivals = new Float64Array(PRIORITY_DELAYS_KEPT);
  }
  take(delayMs, nowMs) {
    const at = this.messages++ % PRIORITY_DELAYS_KEPT;
    this.delays[at] = delayMs;
    this.arrivals[at] = nowMs;
    this.rate.add(1);
  }
  miss(lost) {
    this.gaps++;
    this.lost += lost;
    this.lostRate.add(lost);
  }
  /** Figures for the page; delays are freed of the clocks' difference. */
  figures(nowMs, offsetMs) {
    const kept = Math.min(this.messages, PRIORITY_DELAYS_KEPT);
    const recent = [];
    for (let i = 0; i < kept; i++) if (nowMs - this.arrivals[i] < PRIORITY_DELAYS_MS) recent.push(Math.max(0, this.delays[i] - offsetMs));
    recent.sort((a, b) => a - b);
    const at = (part) => (recent.length ? recent[Math.round((recent.length - 1) * part)] : null);
    const newest = this.messages ? (this.messages - 1) % PRIORITY_DELAYS_KEPT : null;
    // How far behind the newest that has come is by now: what has not come counts too.
    const behindMs = newest === null ? null : Math.max(0, this.delays[newest] - offsetMs);
    const silentMs = newest === null ? null : nowMs - this.arrivals[newest];
    const { priority, messages, lost, gaps } = this;
    return { priority, messages, lost, gaps, rate: this.rate.perSecond, lostRate: this.lostRate.perSecond, p50: at(0.5), p99: at(0.99), behindMs, silentMs };
  }
}

class Stream {
  constructor({ url, topics, isSlow }) {
    Object.assign(this, { url, topics, isSlow });
    this.pending = [];
    this.pendingGaps = [];
    this.priorities = PRIORITIES.map((priority) => new PriorityFigures(priority));
    this.retry = null;
    this.lanes = new Map();
    this.rate = new Meter();
    this.byteRate = new Meter();
    this.messages = 0;
    this.bytes = 0;
    this.lost = 0;
    this.gaps = 0;
    this.unannounced = 0;
    this.delays = new Float64Array(DELAYS_KEPT);
    this.delayCount = 0;
    this.rttMs = null;
    this.rttLeastMs = Infinity;
    // Least (our clock - the server's clock), by halves of the window, so that it can also grow again.
    this.least = [Infinity, Infinity];
    this.leastSince = performance.now();
    this.attempt = 0;
    this.pings = new Map();
    this.pingId = 0;
    // When the connection was begun, or last heard of.
    this.heard = performance.now();
    this.connect();
    setInterval(() => this.handOver(), HAND_OVER_MS);
    setInterval(() => this.quarter(), FIGURES_MS);
    setInterval(() => this.ping(), PING_EVERY_MS);
  }

  /** Goes on by another way. The difference of the clocks is kept: a slow link's delays say nothing about it. */
  go({ url, isSlow }) {
    if (isSlow && !this.isSlow) this.offsetKept = this.offsetMs;
    Object.assign(this, { url, isSlow });
    this.priorities = PRIORITIES.map((priority) => new PriorityFigures(priority));
    this.delayCount = 0;
    this.least = [Infinity, Infinity];
    this.leastSince = performance.now();
    this.rttMs = null;
    this.rttLeastMs = Infinity;
    this.attempt = 0;
    clearTimeout(this.retry);
    this.leave();
    this.connect();
  }

  /** Gives the connection up, without waiting for how it ends. */
  leave() {
    const left = this.socket;
    this.socket = null;
    if (left) {
      left.onopen = left.onmessage = left.onclose = null;
      left.close();
    }
    this.pings.clear();
  }

  /** Connects again after a while; at once where the server has named the moment. */
  lose(text) {
    this.leave();
    this.tell('closed', text);
    const isAwaited = this.isAwaited;
    this.isAwaited = false;
    // Full jitter, so that many pages do not come back in one moment.
    const most = Math.min(8000, 500 * 2 ** this.attempt++);
    this.retry = setTimeout(() => this.connect(), isAwaited ? 0 : 250 + Math.random() * most);
  }

  connect() {
    this.tell('connecting', this.attempt ? 'connecting again' : 'connecting');
    let socket;
    try {
      socket = new WebSocket(this.url, PROTOCOL);
    } catch (error) {
      this.tell('closed', String(error.message ?? error));
      return;
    }
    this.socket = socket;
    this.heard = performance.now();
    socket.onopen = () => {
      this.heard = performance.now();
      for (const lane of this.lanes.values()) lane.next = null;
      this.send({ type: 'subscribe', id: 1, topics: this.topics });
      this.tell('open', this.isSlow ? 'slow link' : 'live');
      this.ping();
    };
    socket.onmessage = (event) => {
      this.heard = performance.now();
      this.attempt = 0;
      this.take(event.data);
    };
    socket.onclose = (event) => this.lose(event.code === 1001 ? 'server stopped' : 'disconnected');
  }

  tell(state, text) {
    postMessage({ state, text });
  }

  handOver() {
    if (this.pending.length > 0) {
      postMessage({ messages: this.pending });
      this.pending = [];
    }
    if (this.pendingGaps.length > 0) {
      postMessage({ gaps: this.pendingGaps });
      this.pendingGaps = [];
    }
  }

  send(object) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(object));
  }

  ping() {
    const isSilent = performance.now() - this.heard > SILENCE_MS;
    const [asked] = this.pings.values();
    // A page that stood still has asked nobody meanwhile: what waits to be read comes first.
    if (isSilent && (this.socket?.readyState === WebSocket.CONNECTING || performance.now() - asked > SILENCE_MS)) {
      this.lose('no answer');
      return;
    }
    if (this.socket?.readyState !== WebSocket.OPEN || this.pings.size > 8) return;
    const id = ++this.pingId;
    this.pings.set(id, performance.now());
    this.send({ type: 'ping', id });
  }

  take(text) {
    const object = JSON.parse(text);
    switch (object.type) {
      case 'message':
        this.count(object, text.length);
        this.pending.push([object.topic, object.priority, object.data, object.time_us]);
        break;
      case 'gap':
        this.miss(object);
        break;
      case 'pong': {
        const sent = this.pings.get(object.id);
        this.pings.delete(object.id);
        if (sent !== undefined) {
          this.rttMs = performance.now() - sent;
          this.rttLeastMs = Math.min(this.rttLeastMs, this.rttMs);
        }
        break;
      }
      case 'welcome':
        postMessage({ welcome: object });
        break;
      case 'migrate': {
        // The server closes at a moment that is this page's own; should it not, it is not waited for much longer.
        const { socket } = this;
        this.isAwaited = true;
        setTimeout(() => this.socket === socket && this.lose('asked to connect anew'), object.after_ms + CLOSE_PATIENCE_MS);
        break;
      }
      case 'error':
        console.warn('fanwire:', object.code, object.message);
        break;
    }
  }

  lane(topic, priority) {
    const key = `${topic} ${priority}`;
    let lane = this.lanes.get(key);
    if (!lane) this.lanes.set(key, (lane = new Lane(topic, priority)));
    return lane;
  }

  count(message, bytes) {
    const lane = this.lane(message.topic, message.priority);
    // The first one of a lane is its last value: how old that is says nothing about the stream.
    const isFirst = lane.next === null;
    // What no gap announced and still did not come: must stay 0.
    if (lane.next !== null && message.seq > lane.next) this.unannounced += message.seq - lane.next;
    lane.next = message.seq + 1;
    lane.messages++;
    lane.bytes += bytes;
    lane.rate.add(1);
    lane.byteRate.add(bytes);
    this.messages++;
    this.bytes += bytes;
    this.rate.add(1);
    this.byteRate.add(bytes);
    if (isFirst) return;
    const apartMs = (nowUs() - message.time_us) / 1000;
    this.measure(apartMs);
    this.priorities[PRIORITIES.indexOf(message.priority)]?.take(apartMs, performance.now());
  }

  miss(gap) {
    const lane = this.lane(gap.topic, gap.priority);
    const lost = gap.to - gap.from + 1;
    lane.lost += lost;
    lane.next = gap.to + 1;
    this.lost += lost;
    this.gaps++;
    this.priorities[PRIORITIES.indexOf(gap.priority)]?.miss(lost);
    const { topic, priority, from, to, reason } = gap;
    this.pendingGaps.push({ topic, priority, from, to, reason, timeMs: Date.now() });
  }

  measure(apartMs) {
    this.delays[this.delayCount++ % DELAYS_KEPT] = apartMs;
    this.least[1] = Math.min(this.least[1], apartMs);
    const now = performance.now();
    if (now - this.leastSince > OFFSET_WINDOW_MS / 2) {
      this.least = [this.least[1], Infinity];
      this.leastSince = now;
    }
  }

  /** Milliseconds to take off (our clock - stamp): 0 where both clocks plainly agree, else estimated from the fastest message. */
  get offsetMs() {
    if (this.isSlow) return this.offsetKept ?? 0;
    const least = Math.min(...this.least);
    if (!Number.isFinite(least) || (least >= -0.5 && least < 20)) return 0;
    return least - (Number.isFinite(this.rttLeastMs) ? this.rttLeastMs / 2 : 0);
  }

  /** Median and 99th percentile of the latest delays, in milliseconds. */
  get latency() {
    const n = Math.min(this.delayCount, DELAYS_KEPT);
    if (n === 0) return null;
    const sorted = this.delays.slice(0, n).sort();
    const offset = this.offsetMs;
    const at = (part) => Math.max(0, sorted[Math.round((n - 1) * part)] - offset);
    return { p50: at(0.5), p99: at(0.99), isEstimated: offset !== 0 };
  }

  quarter() {
    this.rate.turn();
    this.byteRate.turn();
    const lanes = [];
    for (const lane of this.lanes.values()) {
      lane.rate.turn();
      lane.byteRate.turn();
      const { topic, priority, messages, bytes, lost } = lane;
      lanes.push({ topic, priority, messages, bytes, lost, rate: lane.rate.perSecond, byteRate: lane.byteRate.perSecond });
    }
    const { messages, bytes, lost, gaps, unannounced, rttMs, latency, offsetMs, isSlow } = this;
    const nowMs = performance.now();
    const priorities = this.priorities.map((figures) => {
      figures.rate.turn();
      figures.lostRate.turn();
      return figures.figures(nowMs, offsetMs);
    });
    const [rate, byteRate] = [this.rate.perSecond, this.byteRate.perSecond];
    postMessage({ figures: { messages, bytes, lost, gaps, unannounced, rttMs, latency, offsetMs, rate, byteRate, lanes, priorities, isSlow } });
  }
}

let stream = null;
onmessage = ({ data }) => {
  if (stream) stream.go(data);
  else stream = new Stream(data);
};
