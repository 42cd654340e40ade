// A subscription over several connections: nothing is counted twice, and what an outage cost is known exactly.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Client } from '../../src/page/client/client.js';
import { decode } from '../../src/page/client/decode.js';
import { Ledger, TOPICS_MAX } from '../../src/page/client/ledger.js';
import { World, pongs } from './world.mjs';

/** A server with one topic, whose lane keeps the last `kept` messages; it speaks as PROTOCOL.md, section 7.5, says. */
class Server {
  constructor(kept) {
    Object.assign(this, { kept, epoch: 7, head: 0, world: new World() });
    this.world.answer = (socket, object) => {
      pongs(socket, object);
      if (object.type === 'subscribe') this.asked = object;
    };
  }
  subscribe(socket, { since, from }) {
    const known = since?.a;
    const isKnown = known !== undefined || from === 'oldest';
    const after = known?.epoch === this.epoch ? (known.seq.low ?? 0) : isKnown ? 0 : Math.max(0, this.head - 1);
    const floor = Math.max(after, this.head - this.kept);
    socket.say({ type: 'subscribed', id: 1, topic: 'a', topic_id: 0, epoch: this.epoch, seq: { low: floor } });
    const reason = known && known.epoch !== this.epoch ? 'epoch' : 'retention';
    if (floor > after) socket.say({ type: 'gap', topic: 'a', priority: 'low', from: after + 1, to: floor, reason });
    for (let seq = floor + 1; seq <= this.head; seq++) this.say(socket, seq);
    this.live = socket;
  }
  say(socket, seq) {
    socket.say({ type: 'message', topic: 'a', priority: 'low', seq, time_us: this.times[seq], data: seq });
  }
  times = {};
  publish(n) {
    for (let i = 0; i < n; i++) {
      this.times[++this.head] = this.world.nowMs * 1000;
      if (this.live?.readyState === 1) this.say(this.live, this.head);
    }
  }
  accept() {
    // The page may be between two attempts.
    while (this.world.socket.readyState !== 0) this.world.pass(100);
    this.world.socket.open();
    this.world.socket.say({ type: 'welcome', session: 's', server: 'x', time_us: this.world.nowMs * 1000 + 1 });
    this.subscribe(this.world.socket, this.asked);
    this.world.pass(1);
  }
}

function started(server) {
  const got = [];
  const gaps = [];
  const client = new Client({
    url: 'ws://a/',
    topics: ['**'],
    world: server.world.functions,
    on: { message: (message) => got.push(message), gap: (gap) => gaps.push(gap) },
  });
  return { client, got, gaps };
}

test('after an outage nothing comes twice, and delivered + missed is what was published', () => {
  const server = new Server(30);
  const { client, got } = started(server);
  server.accept();
  server.publish(10);
  server.world.socket.end(1006);
  server.world.pass(5);
  server.publish(50);
  server.world.pass(1000);
  server.accept();
  server.publish(5);
  assert.deepEqual(server.world.socket.heard.find(({ type }) => type === 'subscribe').since, {
    a: { epoch: 7, seq: { low: 10 } },
  });
  const [outage] = client.outages;
  assert.equal(outage.missed, 20);
  assert.equal(outage.recovered, 30);
  assert.ok(outage.toMs > outage.fromMs);
  assert.equal(got.length + client.lost, 65);
  assert.equal(new Set(got.map(({ seq }) => seq)).size, got.length);
});

test('two outages are counted apart', () => {
  const server = new Server(10);
  const { client, got } = started(server);
  server.accept();
  server.publish(1);
  for (const away of [15, 40]) {
    server.world.socket.end(1013);
    server.world.pass(1);
    server.publish(away);
    server.world.pass(60_000);
    server.accept();
    server.publish(1);
  }
  assert.deepEqual(
    client.outages.map(({ missed, recovered }) => [missed, recovered]),
    [
      [30, 10],
      [5, 10],
    ],
  );
  assert.equal(got.length + client.lost, 58);
});

test('a server that began anew is said to have, and its gap counts in the new numbering', () => {
  const server = new Server(10);
  const { client, got } = started(server);
  server.accept();
  server.publish(100);
  server.world.socket.end(1001);
  Object.assign(server, { epoch: 9, head: 0, live: null });
  server.publish(25);
  server.world.pass(1000);
  server.accept();
  server.publish(1);
  const [outage] = client.outages;
  assert.ok(outage.isAnew);
  assert.equal(outage.missed, 15);
  assert.equal(got.length, 100 + 10 + 1);
});

test('a link that breaks again before the gap came is told of it once', () => {
  const server = new Server(10);
  const { client, got } = started(server);
  server.accept();
  server.publish(10);
  server.world.socket.end(1006);
  server.publish(50);
  server.world.pass(1000);
  const { subscribe } = server;
  server.subscribe = (socket) =>
    socket.say({ type: 'subscribed', topic: 'a', topic_id: 0, epoch: 7, seq: { low: 50 } });
  server.accept();
  server.world.socket.end(1006);
  server.subscribe = subscribe;
  server.world.pass(5000);
  server.accept();
  assert.equal(client.lost, 40);
  assert.equal(got.length, 20);
  assert.equal(
    client.outages.reduce((sum, { missed }) => sum + missed, 0),
    40,
  );
});

test('a gap by lag is no outage, and a jump without a gap was asked for', () => {
  const server = new Server(100);
  const { client, gaps } = started(server);
  server.accept();
  server.publish(2);
  const { socket } = server.world;
  socket.say({ type: 'gap', topic: 'a', priority: 'low', from: 3, to: 9, reason: 'lag' });
  server.times[12] = 5;
  server.say(socket, 12);
  assert.deepEqual([client.lost, client.omitted, gaps[0].isOutage, client.outages.length], [7, 2, false, 0]);
});

test('a silence counts as an outage from when something last came', () => {
  const server = new Server(10);
  const { client } = started(server);
  server.accept();
  server.publish(1);
  server.world.answer = () => {};
  const fromMs = server.world.functions.wallMs();
  server.world.pass(2000);
  assert.equal(client.outage.fromMs, fromMs);
});

test('more topics than a request can name are not tracked, and said so', () => {
  const ledger = new Ledger();
  for (let n = 0; n < TOPICS_MAX + 3; n++) ledger.onSubscribed({ topic: `t${n}`, epoch: 1, seq: {} });
  assert.equal(ledger.topics.size, TOPICS_MAX);
  assert.equal(ledger.untracked, 3);
  assert.deepEqual(ledger.onMessage({ topic: `t${TOPICS_MAX}`, priority: 'low', seq: 9 }), { isNew: true, omitted: 0 });
});

test('payloads are decoded as they were published', () => {
  const message = { topic: 't', priority: 'low', seq: 1, time_us: 2 };
  assert.equal(decode({ ...message, data: { a: 1 } }).data.a, 1);
  assert.deepEqual(decode({ ...message, data: 'x', encoding: 'text' }).kind, 'text');
  assert.deepEqual([...decode({ ...message, data: 'AAECAw==', encoding: 'base64' }).data], [0, 1, 2, 3]);
});
