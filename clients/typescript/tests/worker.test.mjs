// Both ends of the Worker over a MessageChannel, with a socket that the test plays.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connectInWorker } from '../dist/worker.js';
import { serve } from '../dist/worker-thread.js';

class Played {
  static made = [];
  bufferedAmount = 0;
  sent = [];
  constructor(url, protocols) {
    Object.assign(this, { url, protocols });
    Played.made.push(this);
  }
  send(data) {
    this.sent.push(JSON.parse(data));
  }
  close() {}
  give(object) {
    this.onmessage({ data: JSON.stringify(object) });
  }
}

async function until(holds) {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 1));
}

async function opened(context, options) {
  const { port1, port2 } = new MessageChannel();
  context.after(() => port1.close());
  serve(port2, { WebSocket: Played });
  const before = Played.made.length;
  const client = connectInWorker('ws://server.example/', { worker: port1, pingEveryMs: 0, ...options });
  await until(() => Played.made.length > before);
  const socket = Played.made.at(-1);
  socket.protocol = 'fanwire.json.v1';
  socket.onopen({});
  socket.give({ type: 'welcome', time_us: 1 });
  return { client, socket };
}

test('messages become columns, and gaps are told', async (context) => {
  const series = [
    { topics: 'rover/*/imu', columns: { ax: 'ax', lat: 'gps.0' }, capacity: 3, maxHz: 50 },
    { topics: ['battery'], columns: { v: '' } },
  ];
  const { client, socket } = await opened(context, { series, token: () => 'abc' });
  assert.deepEqual(socket.protocols, [
    'fanwire.batch.v1+lz4',
    'fanwire.batch.v1',
    'fanwire.json.v1',
    'fanwire.token.abc',
  ]);
  assert.deepEqual(
    socket.sent.slice(0, 2).map(({ topics, max_hz }) => [topics, max_hz]),
    [
      [['rover/*/imu'], 50],
      [['battery'], undefined],
    ],
  );
  socket.give({ type: 'subscribed', topic: 'rover/1/imu', topic_id: 0, epoch: 7, seq: {} });
  socket.give({ type: 'subscribed', topic: 'battery', topic_id: 1, epoch: 8, seq: {} });
  for (let seq = 1; seq <= 5; seq++)
    socket.give({
      type: 'message',
      topic: 'rover/1/imu',
      priority: 'normal',
      seq,
      time_us: seq * 1000,
      data: { ax: seq / 2, gps: [seq] },
    });
  socket.give({ type: 'gap', topic: 'battery', priority: 'low', from: 1, to: 9, reason: 'lag' });
  socket.give({ type: 'message', topic: 'battery', priority: 'low', seq: 10, time_us: 5, data: 24.5 });
  const [imu, battery] = await client.fetch();
  assert.deepEqual(imu.rows, [
    {
      topic: 'rover/1/imu',
      priority: 'normal',
      epoch: 7,
      seq: new Float64Array([3, 4, 5]),
      timeMs: new Float64Array([3, 4, 5]),
      columns: { ax: new Float64Array([1.5, 2, 2.5]), lat: new Float64Array([3, 4, 5]) },
    },
  ]);
  assert.deepEqual(
    imu.gaps.map(({ from, to, count, reason }) => [from, to, count, reason]),
    [[1, 2, 2, 'local']],
  );
  assert.deepEqual([battery.rows[0].columns.v[0], battery.gaps[0].count], [24.5, 9]);
  assert.equal(client.stats.messages, 6);
  assert.equal(client.state.name, 'open');
  assert.deepEqual(await client.fetch(), [
    { rows: [], gaps: [] },
    { rows: [], gaps: [] },
  ]);
  client.close();
  await assert.rejects(client.fetch(), { code: 'closed' });
});

test('what is refused is told', async (context) => {
  const refused = [];
  const series = [{ topics: 'a*', columns: {} }];
  const { client, socket } = await opened(context, { series, onRefused: (one) => refused.push(one.code) });
  socket.give({ type: 'error', code: 'bad_topic', message: 'no', id: socket.sent[0].id });
  await until(() => refused.length > 0);
  assert.deepEqual(refused, ['bad_topic']);
  client.close();
});

test('wrong options fail in the Worker, and are told to the page', async (context) => {
  const { port1, port2 } = new MessageChannel();
  context.after(() => port1.close());
  serve(port2, { WebSocket: Played });
  const refused = [];
  const client = connectInWorker('ftp://a/', {
    worker: port1,
    series: [],
    onRefused: (one) => refused.push(one.message),
  });
  await until(() => refused.length > 0);
  assert.match(refused[0], /ws: or wss:/);
  await assert.rejects(client.fetch(), { code: 'closed' });
});
