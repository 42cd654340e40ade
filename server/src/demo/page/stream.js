// Job: one connection to fanwire over fanwire.json.v1: subscribe, count, notice what is missing, measure delays, connect again.
// Knows: the protocol. Must never know: what a reading means, how anything looks.
//
// Runs as a worker, so that a delay measured here is the stream's and not that of drawing. In: {url, topics}. Out, each
// with one of these: `messages` (a batch of [topic, priority, data, time_us]), `state`, `welcome`, `figures`.

const PROTOCOL = 'fanwire.json.v1';
const PING_EVERY_MS = 1000;
const DELAYS_KEPT = 4096;
const OFFSET_WINDOW_MS = 30_000;
const HAND_OVER_MS = 16;
const FIGURES_MS = 250;

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

class Stream {
  constructor(url, topics) {
    Object.assign(this, { url, topics });
    this.pending = [];
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
    this.connect();
    setInterval(() => this.handOver(), HAND_OVER_MS);
    setInterval(() => this.quarter(), FIGURES_MS);
    setInterval(() => this.ping(), PING_EVERY_MS);
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
    socket.onopen = () => {
      this.attempt = 0;
      for (const lane of this.lanes.values()) lane.next = null;
      this.send({ type: 'subscribe', id: 1, topics: this.topics });
      this.tell('open', 'live');
      this.ping();
    };
    socket.onmessage = (event) => this.take(event.data);
    socket.onclose = (event) => {
      this.pings.clear();
      this.tell('closed', event.code === 1001 ? 'server stopped' : 'disconnected');
      // Full jitter, so that many pages do not come back in one moment.
      const most = Math.min(8000, 500 * 2 ** this.attempt++);
      setTimeout(() => this.connect(), 250 + Math.random() * most);
    };
  }

  tell(state, text) {
    postMessage({ state, text });
  }

  handOver() {
    if (this.pending.length === 0) return;
    postMessage({ messages: this.pending });
    this.pending = [];
  }

  send(object) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(object));
  }

  ping() {
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
    this.measure((nowUs() - message.time_us) / 1000);
  }

  miss(gap) {
    const lane = this.lane(gap.topic, gap.priority);
    const lost = gap.to - gap.from + 1;
    lane.lost += lost;
    lane.next = gap.to + 1;
    this.lost += lost;
    this.gaps++;
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
    const { messages, bytes, lost, gaps, unannounced, rttMs, latency, offsetMs } = this;
    const [rate, byteRate] = [this.rate.perSecond, this.byteRate.perSecond];
    postMessage({ figures: { messages, bytes, lost, gaps, unannounced, rttMs, latency, offsetMs, rate, byteRate, lanes } });
  }
}

onmessage = ({ data }) => {
  onmessage = null;
  new Stream(data.url, data.topics);
};
