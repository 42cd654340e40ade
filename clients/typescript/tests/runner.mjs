// Job: one session of clients/conformance, run step by step: see its README.

import assert from 'node:assert/strict';
import { batchWith } from '../dist/batch.js';
import { bytesOf, json } from '../dist/json.js';
import { msgpack, pack, unpack } from '../dist/msgpack.js';
import { Queue } from '../dist/queue.js';
import { Session } from '../dist/session.js';

const URL = 'ws://server.example/';
const CODECS = {
  'fanwire.json.v1': json,
  'fanwire.msgpack.v1': msgpack,
  'fanwire.batch.v1': batchWith({ lz4: false }),
  'fanwire.batch.v1+lz4': { ...batchWith({}), protocols: ['fanwire.batch.v1+lz4'] },
};
/** Steps that expect something. */
const EXPECTING = new Set(['connects', 'pauses', 'sends', 'closes', 'reports', 'account', 'ends', 'token']);

export class Runner {
  constructor({ protocol, options = {}, steps }, chance) {
    Object.assign(this, { protocol, steps, nowMs: 1000, did: [], ids: new Map(), ended: null, names: new Map() });
    this.session = new Session({
      url: options.url ?? URL,
      codecs: (options.protocols ?? [protocol]).map((name) => CODECS[name]),
      token: options.token === 'ask' ? true : options.token,
      pingEveryMs: options.ping_every_ms ?? 0,
      silentMs: options.silent_ms ?? 5000,
      random: () => chance,
    });
    this.queue = new Queue(options.queue_max ?? 1000, (message) => this.session.ledger.onDropped(message));
    this.told = [];
    this.keys = 0;
    this.asked = [];
  }

  run() {
    this.isStarted = false;
    this.steps.forEach((step, at) => {
      const [[name, value]] = Object.entries(step);
      try {
        if (!EXPECTING.has(name)) this.nothingIsLeft();
        assert.ok(typeof this[name] === 'function', `no such step: ${name}`);
        this[name](value);
        // What the user asks for before is there when it connects.
        if (name !== 'subscribe' && name !== 'publish' && !this.isStarted) this.begin();
        this.drain();
      } catch (error) {
        error.message = `step ${at}, ${JSON.stringify(step)}:\n${error.message}`;
        throw error;
      }
    });
    this.nothingIsLeft();
  }

  begin() {
    if (this.isStarted) return;
    this.isStarted = true;
    this.session.start(this.nowMs);
    this.drain();
  }

  drain() {
    for (let action; (action = this.session.next());) {
      if (action.do === 'tell') this.tell(action);
      else this.did.push(action);
    }
  }

  tell(action) {
    const { tell } = action;
    if (tell === 'delivery') this.queue.push(action.delivery);
    else if (tell === 'failed') this.told.push({ refused: action.code });
    else if (tell === 'published') this.told.push({ published: this.names.get(action.key) });
    else if (tell === 'unpublished')
      this.told.push({ unpublished: { as: this.names.get(action.key), code: action.code } });
    else if (tell === 'state' && action.state.name === 'ended') this.did.push({ do: 'end', how: action.state.how });
  }

  nothingIsLeft() {
    assert.deepEqual(this.did, [], 'what nothing was said of');
  }

  take(what) {
    this.begin();
    const action = this.did.shift();
    assert.equal(action?.do, what, `expected ${what}, but: ${JSON.stringify(action)}`);
    return action;
  }

  // ---- the user ----

  subscribe({ topics, max_hz: maxHz, max_delay_ms: maxDelayMs, ...rest }) {
    this.asked.push({ key: ++this.keys, topics: JSON.stringify(topics) });
    this.session.subscribe(this.nowMs, this.keys, topics, { ...rest, maxHz, maxDelayMs });
  }

  unsubscribe({ topics }) {
    const at = this.asked.findIndex((one) => one.topics === JSON.stringify(topics));
    const [{ key }] = this.asked.splice(at, 1);
    this.session.unsubscribe(this.nowMs, key);
  }

  publish({ as, base64, data, ttl_ms: ttlMs, ...rest }) {
    this.names.set(++this.keys, as);
    const payload = base64 === undefined ? data : bytesOf(base64);
    this.session.publish(this.nowMs, this.keys, { kind: 'json', ...rest, ttlMs, data: payload });
  }

  close() {
    this.session.close(this.nowMs);
  }

  // ---- the server ----

  opens(protocol) {
    this.session.onOpen(this.nowMs, protocol);
  }

  receives(object) {
    this.session.onData(this.nowMs, this.wire(this.bound(object)));
  }

  receives_text(text) {
    this.session.onData(this.nowMs, text);
  }

  receives_hex(hex) {
    this.session.onData(this.nowMs, bytesOfHex([hex].flat().join('')));
  }

  lost(code) {
    this.session.onClose(this.nowMs, code, '');
  }

  passes(ms) {
    const end = this.nowMs + ms;
    for (let at; (at = Math.max(this.session.deadlineMs, this.nowMs)) <= end; this.drain()) {
      this.nowMs = at;
      this.session.onTime(at);
      assert.ok(this.session.deadlineMs > at, 'a deadline that does not move');
    }
    this.nowMs = end;
  }

  token(token) {
    this.take('token');
    this.session.onToken(this.nowMs, token);
  }

  // ---- what must follow ----

  connects({ url, protocols }) {
    const action = this.take('connect');
    if (url !== undefined) assert.equal(action.url, url);
    if (protocols !== undefined) assert.deepEqual(action.protocols, protocols);
  }

  pauses([least, most]) {
    this.begin();
    assert.deepEqual(this.did, [], 'it does not pause');
    const at = this.session.deadlineMs;
    const ms = at - this.nowMs;
    assert.ok(ms >= least && ms <= most, `a pause of ${ms} ms, not ${least} to ${most}`);
    this.nowMs = at;
    this.session.onTime(at);
    this.drain();
    assert.ok(['connect', 'token'].includes(this.did[0]?.do), 'it does not connect after the pause');
  }

  sends(expected) {
    const { data } = this.take('send');
    const sent = this.protocol === 'fanwire.msgpack.v1' ? unpack(data) : JSON.parse(data);
    const { id, ...rest } = expected;
    if (typeof id === 'string' && id.startsWith('$') && !this.ids.has(id)) this.ids.set(id, sent.id);
    if (id !== undefined) assert.equal(sent.id, this.ids.get(id) ?? id);
    delete sent.id;
    assert.deepEqual(plain(sent), rest);
  }

  closes() {
    this.take('disconnect');
  }

  ends(how) {
    assert.equal(this.take('end').how, how);
  }

  reports(expected) {
    const reports = [];
    for (let one; (one = this.queue.shift());) reports.push(reportOf(one));
    assert.deepEqual([...reports, ...this.told], expected.map(written));
    this.told = [];
  }

  account(expected) {
    const lanes = this.session.ledger
      .accounts()
      .filter(({ published, delivered, lost }) => published !== 0 || delivered !== 0 || lost !== 0)
      .map(({ topic, epoch, priority, published, delivered, lost, leftOut }) => ({
        topic,
        epoch,
        priority,
        published,
        delivered,
        lost,
        left_out: leftOut,
      }));
    const order = (list) => list.map((lane) => JSON.stringify(lane)).sort();
    const keyed = expected.map(({ topic, epoch, priority, published, delivered, lost, left_out }) => ({
      topic,
      epoch,
      priority,
      published,
      delivered,
      lost,
      left_out,
    }));
    assert.deepEqual(order(lanes), order(keyed));
    for (const { published, delivered, lost, left_out: leftOut } of lanes)
      if (published !== null) assert.equal(delivered + lost + leftOut, published);
  }

  // ---- forms ----

  bound(object) {
    return typeof object.id === 'string' && this.ids.has(object.id)
      ? { ...object, id: this.ids.get(object.id) }
      : object;
  }

  wire(object) {
    if (this.protocol === 'fanwire.json.v1') return JSON.stringify(object);
    if (this.protocol !== 'fanwire.msgpack.v1') return controlFrame(object);
    if (object.type !== 'message') return pack(object);
    const { data, encoding, ...rest } = object;
    if (encoding === 'base64') return pack({ ...rest, data: bytesOf(data) });
    return pack(encoding === 'text' ? { ...rest, encoding, data } : { ...rest, data: JSON.stringify(data) });
  }
}

function bytesOfHex(hex) {
  const digits = hex.replace(/\s/g, '');
  assert.ok(digits.length % 2 === 0, 'half a byte');
  return Uint8Array.from(digits.match(/../g), (pair) => parseInt(pair, 16));
}

function base64Of(bytes) {
  return btoa(String.fromCharCode(...bytes));
}

function controlFrame(object) {
  const text = new TextEncoder().encode(JSON.stringify(object));
  const frame = new Uint8Array(24 + text.length);
  frame.set([1, 2, 4]);
  new DataView(frame.buffer).setUint32(16, text.length, true);
  frame.set(text, 24);
  return frame;
}

/** Without what MessagePack and JSON tell apart: bytes as base64. */
function plain(value) {
  if (value instanceof Uint8Array) return { base64: base64Of(value) };
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item)]));
}

/** A report with its text written out. */
function written({ message, ...rest }) {
  if (!message?.repeated) return message ? { message } : rest;
  const {
    repeated: [text, times],
    ...head
  } = message;
  return { message: { ...head, data: text.repeat(times) } };
}

function reportOf(delivery) {
  if (delivery.type === 'message') {
    const { topic, priority, seq, timeUs: time_us, kind, data } = delivery;
    const head = { topic, priority, seq, time_us, kind };
    return { message: kind === 'binary' ? { ...head, base64: base64Of(data) } : { ...head, data } };
  }
  if (delivery.type === 'gap') {
    const { topic, priority, from, to, reason, count } = delivery;
    return { gap: { topic, priority, from, to, reason, count } };
  }
  if (delivery.type === 'refused') return { refused: delivery.code };
  const { topic, before, after } = delivery;
  return { epoch: { topic, before, after } };
}
