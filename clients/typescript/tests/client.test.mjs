// The client with a socket that a test plays: promises, callbacks, options, tokens.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { batch } from '../dist/batch.js';
import { connect } from '../dist/index.js';
import { OptimizedTelemetryClient } from '../dist/telemetry.js';

/** A constructor of sockets that are kept, in order, in `made`. */
function sockets() {
  const made = [];
  class Played {
    bufferedAmount = 0;
    sent = [];
    constructor(url, protocols) {
      Object.assign(this, { url, protocols });
      made.push(this);
    }
    send(data) {
      this.sent.push(JSON.parse(data));
    }
    close() {
      this.isClosed = true;
    }
    open(protocol = 'fanwire.json.v1') {
      this.protocol = protocol;
      this.onopen({});
      this.give({ type: 'welcome', session: '0.0.1', time_us: 1, limits: { message_bytes_max: 100 } });
    }
    give(object) {
      this.onmessage({ data: JSON.stringify(object) });
    }
  }
  return { made, WebSocket: Played };
}

function opened(options = {}) {
  const { made, WebSocket } = sockets();
  const client = connect('ws://server.example/', { WebSocket, pingEveryMs: 0, ...options });
  made[0].open();
  // The round trip is measured at the start.
  made[0].sent.length = 0;
  return { client, socket: made[0], made };
}

test('wrong options are refused at once, with the reason', () => {
  const { WebSocket } = sockets();
  const refused = (url, options, why) =>
    assert.throws(
      () => connect(url, { WebSocket, ...options }),
      (error) => error.code === 'bad_option' && why.test(error.message),
    );
  refused('no address', {}, /no address/);
  refused('ftp://a/', {}, /ws: or wss:/);
  refused('ws://a/', { protocol: 'batch' }, /import \{ batch \} from 'fanwire\/batch'/);
  refused('ws://a/', { protocol: 'carrier pigeon' }, /carrier pigeon/);
  refused('ws://a/', { maxHz: 0 }, /maxHz/);
  refused('ws://a/', { maxHz: 1e6 + 1 }, /maxHz/);
  refused('ws://a/', { queueMax: 0 }, /queueMax/);
  refused('ws://a/', { maxDelayMs: 1001 }, /maxDelayMs/);
  refused('ws://a/', { silentMs: Number.NaN }, /silentMs/);
  connect('http://a/', { WebSocket, maxHz: 1e6 }).close();
  assert.throws(() => opened().client.subscribe([]), { code: 'bad_option' });
});

test('options of a subscription go out with it, and those of the client where it has none', () => {
  const { client, socket } = opened({ maxHz: 50, maxDelayMs: 1000 });
  const sent = (options) => {
    client.subscribe('a', options);
    const { type, id, ...rest } = socket.sent.at(-1);
    assert.equal(`${type} ${typeof id}`, 'subscribe number');
    return rest;
  };
  assert.deepEqual(sent({}), { topics: ['a'], max_hz: 50, max_delay_ms: 1000 });
  const own = { maxHz: 2.5, maxDelayMs: 0, from: 'oldest', echo: false };
  assert.deepEqual(sent(own), { topics: ['a'], max_hz: 2.5, max_delay_ms: 0, from: 'oldest', echo: false });
  client.close();
});

test('what is offered is what was passed, the best first', () => {
  const offered = (options) => {
    const { made, WebSocket } = sockets();
    connect('https://a/', { WebSocket, ...options }).close();
    return [made[0].url, ...made[0].protocols];
  };
  assert.deepEqual(offered({}), ['wss://a/', 'fanwire.json.v1']);
  assert.deepEqual(offered({ batch, token: 'abc' }), [
    'wss://a/',
    'fanwire.batch.v1+lz4',
    'fanwire.batch.v1',
    'fanwire.json.v1',
    'fanwire.token.abc',
  ]);
  assert.deepEqual(offered({ batch, compression: 'none', protocol: 'batch' }), ['wss://a/', 'fanwire.batch.v1']);
});

test('all that is published in one turn is confirmed by one ping', async () => {
  const { client, socket } = opened();
  const published = [1, 2, 3].map((n) => client.publish('a', n));
  await turn();
  assert.deepEqual(
    socket.sent.map(({ type }) => type),
    ['publish', 'publish', 'publish', 'ping'],
  );
  socket.give({ type: 'error', code: 'not_allowed', message: 'no', id: socket.sent[1].id });
  socket.give({ type: 'pong', id: socket.sent[3].id });
  const results = await Promise.allSettled(published);
  assert.deepEqual(
    results.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled'],
  );
  assert.equal(results[1].reason.code, 'not_allowed');
  client.close();
});

test('data that is not of its kind, too large or too much is refused and not sent', async () => {
  const { client, socket } = opened();
  await assert.rejects(client.publish('a', 5, { kind: 'text' }), { code: 'bad_option' });
  await assert.rejects(client.publish('a', 'x', { kind: 'binary' }), { code: 'bad_option' });
  await assert.rejects(client.publish('a', 'x'.repeat(101), { kind: 'text' }), { code: 'too_large' });
  socket.bufferedAmount = (64 << 20) + 1;
  await assert.rejects(client.publish('a', 1), { code: 'overflow' });
  assert.deepEqual(socket.sent, []);
  client.close();
});

test('pings are measured, and fail with their connection', async () => {
  const { client, socket } = opened();
  const ping = client.ping();
  await turn();
  const { id } = socket.sent.at(-1);
  socket.give({ type: 'pong', id });
  assert.ok((await ping) >= 0);
  const lost = client.ping();
  await turn();
  socket.onclose({ code: 1006, reason: '' });
  await assert.rejects(lost, { code: 'closed' });
  await assert.rejects(client.ping(), { code: 'closed' });
  client.close();
});

test("what a callback throws is reported as nobody's, and the next message comes", async () => {
  const { client, socket } = opened();
  const got = [];
  const errors = [];
  const before = process.listeners('uncaughtException');
  process.removeAllListeners('uncaughtException');
  process.on('uncaughtException', (error) => errors.push(error.message));
  client.subscribe('a', {
    onMessage: ({ data }) => {
      got.push(data);
      if (data === 1) throw new Error('of the user');
    },
  });
  socket.give({ type: 'subscribed', topic: 'a', topic_id: 0, epoch: 1, seq: {} });
  for (const seq of [1, 2])
    socket.give({ type: 'message', topic: 'a', priority: 'normal', seq, time_us: 5, data: seq });
  await turn();
  process.removeAllListeners('uncaughtException');
  for (const listener of before) process.on('uncaughtException', listener);
  assert.deepEqual(got, [1, 2]);
  assert.deepEqual(errors, ['of the user']);
  client.close();
});

test('subscriptions that overlap get each message once each, and the topic once over the wire', async () => {
  const { client, socket } = opened();
  const got = { a: 0, b: 0 };
  const one = client.subscribe('a/*', { onMessage: () => got.a++ });
  client.subscribe(['a/x', 'b'], { onMessage: () => got.b++ });
  socket.give({ type: 'subscribed', topic: 'a/x', topic_id: 0, epoch: 1, seq: {} });
  const give = (seq) =>
    socket.give({ type: 'message', topic: 'a/x', priority: 'normal', seq, time_us: 5, data: seq });
  give(1);
  one.unsubscribe();
  give(2);
  assert.deepEqual(got, { a: 1, b: 2 });
  assert.deepEqual(socket.sent.at(-1).topics, ['a/*']);
  client.close();
});

test('an iterator ends with its subscription, and fails with its client', async () => {
  const { client, socket } = opened();
  const subscription = client.subscribe('a');
  socket.give({ type: 'subscribed', topic: 'a', topic_id: 0, epoch: 1, seq: {} });
  socket.give({ type: 'message', topic: 'a', priority: 'normal', seq: 1, time_us: 5, data: 'x' });
  subscription.unsubscribe();
  assert.equal((await subscription.next()).value.data, 'x');
  assert.equal((await subscription.next()).done, true);
  const other = client.subscribe('b');
  const next = other.next();
  socket.onclose({ code: 1008, reason: 'too fast' });
  await assert.rejects(next, { code: 'refused', message: 'too fast (1008)' });
  await assert.rejects(client.subscribe('c').next(), { code: 'refused' });
  const callbacks = opened().client.subscribe('a', { onMessage: () => undefined });
  assert.throws(() => callbacks.next(), { code: 'bad_option' });
});

test('a reader that is too slow for critical messages fails, and the others go on', async () => {
  const { client, socket } = opened();
  const slow = client.subscribe('a', { queueMax: 2 });
  socket.give({ type: 'subscribed', topic: 'a', topic_id: 0, epoch: 1, seq: {} });
  for (const seq of [1, 2, 3])
    socket.give({ type: 'message', topic: 'a', priority: 'critical', seq, time_us: 5, data: seq });
  await turn();
  for (const seq of [1, 2, 3]) assert.equal((await slow.next()).value.data, seq);
  await assert.rejects(slow.next(), { code: 'overflow' });
  assert.equal(socket.sent.at(-1).type, 'unsubscribe');
  client.close();
});

test('`ready` resolves with the welcome, and rejects where the client ends before', async () => {
  assert.equal((await opened().client.ready).session, '0.0.1');
  const { made, WebSocket } = sockets();
  const client = connect('ws://a/', { WebSocket });
  made[0].onclose({ code: 1008, reason: '' });
  await assert.rejects(client.ready, { code: 'refused' });
});

test('a function gives the token for each connection; where it fails, it is asked again', async () => {
  const { made, WebSocket } = sockets();
  let asked = 0;
  const token = async () => {
    asked++;
    if (asked === 2) throw new Error('not now');
    return `t${asked}`;
  };
  const client = connect('ws://a/', { WebSocket, token, pingEveryMs: 0 });
  await turn();
  assert.equal(made[0].protocols.at(-1), 'fanwire.token.t1');
  made[0].open();
  made[0].give({ type: 'pong', id: 0 });
  made[0].onclose({ code: 4401, reason: '' });
  while (made.length < 2) await turn();
  assert.equal(asked, 3);
  assert.equal(made[1].protocols.at(-1), 'fanwire.token.t3');
  client.close();
});

test('OptimizedTelemetryClient gives what has come in bundles, with the delay', async () => {
  const { made, WebSocket } = sockets();
  const client = new OptimizedTelemetryClient({
    url: 'ws://a/',
    connect: { WebSocket, pingEveryMs: 0 },
    enableCompression: false,
  });
  const bundles = [];
  client.onTelemetry = (...bundle) => bundles.push(bundle);
  const ready = client.connect();
  client.subscribe('a');
  assert.deepEqual(made[0].protocols, ['fanwire.batch.v1', 'fanwire.json.v1']);
  made[0].open();
  await ready;
  made[0].give({ type: 'subscribed', topic: 'a', topic_id: 0, epoch: 1, seq: {} });
  // Published three hours ago by a clock that is right.
  const time_us = (Date.now() - 3 * 3_600_000) * 1000;
  for (let seq = 1; seq <= 3; seq++)
    made[0].give({ type: 'message', topic: 'a', priority: 'normal', seq, time_us, data: seq });
  while (bundles.length === 0) await turn();
  const [messages, timestamp, latency] = bundles[0];
  assert.deepEqual(
    messages.map(({ data }) => data),
    [1, 2, 3],
  );
  assert.ok(Math.abs(timestamp - Date.now()) < 60_000);
  assert.deepEqual([latency.isEstimated, latency.isLate, latency.skipped], [true, false, 0]);
  client.disconnect();
  assert.ok(made[0].isClosed);
});

test('while it is late, OptimizedTelemetryClient gives the newest of each lane, and all that is critical', async () => {
  const { made, WebSocket } = sockets();
  const client = new OptimizedTelemetryClient({
    url: 'ws://a/',
    connect: { WebSocket, pingEveryMs: 0 },
    maxLatency: 50,
  });
  const bundles = [];
  client.onTelemetry = (messages, _, latency) => bundles.push([messages.map(({ data }) => data), latency]);
  client.subscribe('a');
  made[0].open();
  made[0].give({ type: 'subscribed', topic: 'a', topic_id: 0, epoch: 1, seq: {} });
  const give = (seq, priority, ageMs) =>
    made[0].give({
      type: 'message',
      topic: 'a',
      priority,
      seq,
      time_us: (Date.now() - ageMs) * 1000,
      data: `${priority} ${seq}`,
    });
  give(1, 'normal', 5_000);
  give(1, 'critical', 65_000);
  give(2, 'normal', 65_000);
  give(2, 'critical', 65_000);
  give(3, 'normal', 65_000);
  while (bundles.length === 0) await turn();
  const [messages, { isLate, skipped, p99, offset }] = bundles[0];
  assert.deepEqual(messages, ['critical 1', 'critical 2', 'normal 3']);
  assert.deepEqual([isLate, skipped], [true, 2]);
  assert.ok(p99 > 50 && offset > 1000, `${p99} ${offset}`);
  client.disconnect();
});

test('data that cannot be written is refused, at once and when it has waited', async () => {
  const { made, WebSocket } = sockets();
  const client = connect('ws://a/', { WebSocket, pingEveryMs: 0 });
  const circular = {};
  circular.self = circular;
  const waiting = [client.publish('a', circular), client.publish('a', 10n), client.publish('a', 1)];
  made[0].open();
  await assert.rejects(waiting[0], { code: 'bad_data' });
  await assert.rejects(waiting[1], { code: 'bad_data' });
  await assert.rejects(client.publish('a', circular), { code: 'bad_data' });
  await turn();
  const published = made[0].sent.filter(({ type }) => type === 'publish');
  assert.deepEqual(
    published.map(({ data }) => data),
    [1],
  );
  client.close();
  await assert.rejects(waiting[2], { code: 'unconfirmed' });
});

test('objects with fields that are no such thing change nothing', async () => {
  const { client, socket } = opened();
  const subscription = client.subscribe('a');
  const given = [
    { type: 'subscribed' },
    { type: 'subscribed', topic: 'a', epoch: 'x', seq: 5 },
    { type: 'subscribed', topic: 'a', topic_id: 0, epoch: 1, seq: { normal: 'x', low: null } },
    { type: 'message', topic: 'a', priority: 'urgent', seq: 1, time_us: 5, data: 1 },
    { type: 'message', topic: 'a', priority: 'normal', time_us: 5, data: 1 },
    { type: 'message', topic: 'a', priority: 'normal', seq: 'x', time_us: 5, data: 1 },
    { type: 'message' },
    { type: 'gap', topic: 'a', priority: 'normal', reason: 'lag' },
    { type: 'gap', topic: 'a', priority: 'normal', to: 9, reason: 'lag' },
    { type: 'pong' },
    { type: 'unsubscribed', topic: 5 },
    { type: 'authorized' },
    { type: 'message', topic: 'a', priority: 'normal', seq: 1, time_us: 5, data: 'right' },
  ];
  for (const object of given) socket.give(object);
  const { value } = await subscription.next();
  assert.deepEqual([value.type, value.data], ['message', 'right']);
  const [{ published, delivered, lost, leftOut }] = client.stats().lanes;
  assert.deepEqual([published, delivered, lost, leftOut], [1, 1, 0, 0]);
  assert.equal(client.state.name, 'open');
  client.close();
});
