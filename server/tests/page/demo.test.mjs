// What the demo page holds: alarms as a state, ages of readings, bounded pasts, figures by source.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ACTIVE_MAX, Alarms, PAST_MAX } from '../../src/demo/page/alarms.js';
import { Figures, sourceOf } from '../../src/demo/page/figures.js';
import { Fleet, ROVERS_MAX, STALE_MS } from '../../src/demo/page/fleet.js';
import { History, SAMPLES_MAX, STEPS_MAX } from '../../src/demo/page/history.js';
import { Others, TOPICS_MAX, lineOf, numbersOf } from '../../src/demo/page/others.js';
import { Stream } from '../../src/demo/page/stream.js';
import { World, pongs } from './world.mjs';

const alarm = (code, state, more = {}) => ({ code, state, text: `${code} ${state}`, ...more });

test('an alarm holds until it is cleared, and is acknowledged by somebody', () => {
  const alarms = new Alarms();
  assert.ok(alarms.take('rover/1', alarm('stall', 'raised', { part: 3 }), 10, 'critical'), 'worth a sound');
  assert.ok(
    alarms.take('rover/1', alarm('stall', 'raised', { part: 4 }), 11, 'critical'),
    'another wheel is another alarm',
  );
  alarms.acknowledge('rover/1 stall 3');
  assert.deepEqual([alarms.counts.critical, alarms.counts.open], [2, 1]);
  assert.ok(
    !alarms.take('rover/1', alarm('stall', 'raised', { part: 3 }), 12, 'critical'),
    'the same once more is no news',
  );
  assert.ok(alarms.active.get('rover/1 stall 3').isAcknowledged);
  alarms.take('rover/1', alarm('stall', 'cleared', { part: 3 }), 13, 'normal');
  assert.deepEqual(
    alarms.list().map(({ key }) => key),
    ['rover/1 stall 4'],
  );
});

test('an alarm that grows worse is to be seen again', () => {
  const alarms = new Alarms();
  alarms.take('rover/1', alarm('charge', 'raised'), 1, 'high');
  alarms.acknowledgeAll();
  assert.ok(alarms.take('rover/1', alarm('charge', 'raised'), 2, 'critical'));
  assert.deepEqual(
    alarms.list().map(({ priority, isAcknowledged, sinceUs }) => [priority, isAcknowledged, sinceUs]),
    [['critical', false, 1]],
  );
});

test('priorities overtake each other: what is older changes nothing', () => {
  const alarms = new Alarms();
  alarms.take('r', alarm('tilt', 'raised'), 20, 'critical');
  alarms.take('r', alarm('tilt', 'cleared'), 10, 'normal');
  assert.equal(alarms.active.size, 1, 'that was the end of an earlier one');
  alarms.take('r', alarm('fix', 'cleared'), 30, 'normal');
  alarms.take('r', alarm('fix', 'raised'), 25, 'critical');
  assert.equal(alarms.active.size, 1, 'its end came first');
});

test('alarms are filtered, doubted after a loss, and bounded', () => {
  const alarms = new Alarms();
  for (let n = 0; n < ACTIVE_MAX + 50; n++)
    alarms.take(`rover/${n}`, alarm('a', 'raised'), n, n % 2 ? 'critical' : 'high');
  assert.equal(alarms.active.size, ACTIVE_MAX);
  assert.equal(alarms.leftOut, 50);
  for (let n = 0; n < 2000; n++) alarms.take('rover/1', alarm('a', n % 2 ? 'raised' : 'cleared'), 1000 + n, 'critical');
  assert.equal(alarms.past.length, PAST_MAX);
  assert.ok(alarms.list({ priorities: ['critical'] }).every(({ priority }) => priority === 'critical'));
  assert.deepEqual(
    alarms.list({ words: 'ROVER/12 ' }).map(({ source }) => source),
    ['rover/12'],
  );
  alarms.doubt('lost', ({ source }) => source === 'rover/3');
  assert.deepEqual(
    alarms
      .list()
      .filter(({ doubt }) => doubt)
      .map(({ source }) => source),
    ['rover/3'],
  );
  alarms.take('rover/3', alarm('a', 'raised'), 1e6, 'critical');
  assert.equal(alarms.active.get('rover/3 a ').doubt, null, 'said again, it holds');
});

const imu = { acc: [1, 2, 3], gyro: [4, 5, 6] };
const reading = (topic, data, nowMs, more = {}) => ({
  topic,
  kind: 'json',
  data,
  timeUs: nowMs * 1000,
  nowMs,
  isHistory: false,
  ...more,
});

test('a rover appears by itself, and its silence shows within two seconds', () => {
  const fleet = new Fleet();
  assert.equal(fleet.take(reading('rover/9/imu', imu, 100)).rover.label, 'Rover 9');
  assert.ok(!fleet.list[0].isStale(100 + STALE_MS));
  assert.ok(fleet.list[0].isStale(2000));
});

test('each kind of reading is late by its own rhythm; alarms never are', () => {
  const fleet = new Fleet();
  for (let n = 0; n < 60; n++) {
    fleet.take(reading('rover/1/battery', { percent: 50 }, n * 1000));
    for (let i = 0; i < 5; i++) fleet.take(reading('rover/1/imu', imu, n * 1000 + i * 200));
  }
  fleet.take(reading('rover/1/alarm', alarm('a', 'raised'), 59_000));
  const [rover] = fleet.list;
  for (let at = 59_900; at < 75_000; at += 100) fleet.take(reading('rover/1/imu', imu, at));
  assert.ok(!rover.isLate('battery', 60_600), 'one second is its rhythm');
  assert.ok(rover.isLate('battery', 61_000));
  assert.ok(!rover.isLate('imu', 75_000));
  assert.ok(!rover.isLate('alarm', 75_000));
});

test('what was kept from before makes no rover live, and bad readings make none', () => {
  const fleet = new Fleet();
  fleet.take(reading('rover/1/imu', imu, 5000, { isHistory: true }));
  assert.ok(fleet.list[0].isStale(5000));
  for (const [topic, data] of [
    ['rover/2/imu', { acc: [1] }],
    ['rover/2/imu', null],
    ['rover/2/imu', 7],
    ['rover/2/x', {}],
    ['x/2/imu', imu],
  ])
    assert.equal(fleet.take(reading(topic, data, 1)), null, topic);
});

test('rovers are bounded: a silent one makes room, a live one does not', () => {
  const fleet = new Fleet();
  for (let n = 1; n <= ROVERS_MAX; n++) fleet.take(reading(`rover/${n}/imu`, imu, n));
  assert.equal(fleet.take(reading('rover/99/imu', imu, 20)), null);
  assert.ok(fleet.take(reading('rover/99/imu', imu, 5000)));
  assert.equal(fleet.rovers.size, ROVERS_MAX);
  assert.ok(!fleet.rovers.has('rover/1'));
});

test('the past is bounded over a day, fine for minutes and whole for an hour', () => {
  const history = new History(6);
  const values = new Float32Array(6);
  let most = 0;
  for (let n = 0; n < 86_400 * 20; n++) {
    values.fill(n % 1000);
    history.push(n * 50_000, values);
    if (n % 100_000 === 0) most = Math.max(most, history.bytes);
  }
  assert.equal(history.fine.size, SAMPLES_MAX);
  assert.equal(history.coarse.size, STEPS_MAX);
  assert.ok(most <= history.bytes && history.bytes < 2_000_000, `${history.bytes} bytes`);
  const end = history.lastUs;
  let n = 0;
  history.each(0, end - 10e6, end, () => n++);
  assert.equal(n, 201);
  const steps = [];
  history.each(0, end - 3500e6, end, (timeUs, low, high) => steps.push([timeUs, low, high]));
  assert.ok(steps.length >= 13_990 && steps.length <= 14_010, `${steps.length}`);
  assert.ok(steps.every(([, low, high]) => low <= high));
  assert.equal(history.near(0, end), (86_400 * 20 - 1) % 1000);
  history.push(end - 1, values);
  assert.equal(history.lastUs, end, 'what is older than the newest has no place');
});

test('unknown topics: their numbers are found, their values are one harmless line, both bounded', () => {
  assert.deepEqual(numbersOf({ t_us: 5, a: { b: 2, c: 'x' }, d: [3, true], e: 4, f: 5 }), [
    ['a.b', 2],
    ['d.0', 3],
    ['d.1', 1],
    ['e', 4],
  ]);
  assert.deepEqual(numbersOf(7), [['value', 7]]);
  assert.ok(lineOf('json', { text: 'x'.repeat(1000) }).length < 200);
  assert.equal(lineOf('text', 'a\u001b[31m\nb'), 'a·[31m·b');
  assert.equal(lineOf('binary', new Uint8Array([0, 255])), '2 bytes: 00 ff');
  const others = new Others();
  for (let n = 0; n < TOPICS_MAX + 5; n++)
    others.take({ topic: `x/${n}`, kind: 'json', data: { v: n }, timeUs: n, nowMs: n });
  assert.equal(others.topics.size, TOPICS_MAX);
  assert.equal(others.leftOut, 5);
});

test('delays are told by source, rates by lane, and clocks that differ are allowed for', () => {
  const figures = new Figures();
  for (let n = 0; n < 200; n++) {
    figures.take({ topic: 'rover/1/imu', priority: 'low', size: 10, apartMs: 5000 + (n % 10), nowMs: n * 10 });
    figures.take({ topic: 'rover/2/imu', priority: 'low', size: 10, apartMs: 5050, nowMs: n * 10 });
  }
  figures.miss({ topic: 'rover/2/imu', priority: 'low', lost: 7 });
  const turned = figures.turn(2000, { leastMs: 2 });
  const [one, two] = turned.sources;
  assert.deepEqual([one.source, two.source, two.lost], ['rover/1', 'rover/2', 7]);
  assert.equal(turned.offsetMs, 4999);
  assert.ok(one.p50 < 10 && two.p50 > 45, `${one.p50} ${two.p50}`);
  assert.equal(sourceOf('a'), 'a');
  assert.equal(sourceOf('a/b'), 'a');
  assert.equal(sourceOf('a/b/c/d'), 'a/b');
});

test('the worker goes on by another way, and tells what an outage cost', () => {
  const world = new World();
  world.answer = pongs;
  const said = [];
  const stream = new Stream({
    url: 'ws://a/',
    topics: ['**'],
    isSlow: false,
    world: world.functions,
    post: (what) => said.push(what),
  });
  world.socket.open();
  world.socket.say({ type: 'welcome', server: 's', time_us: 1 });
  world.socket.say({ type: 'subscribed', topic: 'rover/1/imu', topic_id: 0, epoch: 1, seq: {} });
  world.socket.say({ type: 'message', topic: 'rover/1/imu', priority: 'low', seq: 1, time_us: 2, data: imu });
  stream.handOver();
  stream.go({ url: 'ws://slow/', isSlow: true });
  assert.equal(world.socket.url, 'ws://slow/');
  world.socket.open();
  world.socket.say({ type: 'welcome', server: 's', time_us: 10 });
  assert.deepEqual(world.socket.heard.find(({ type }) => type === 'subscribe').since, {
    'rover/1/imu': { epoch: 1, seq: { low: 1 } },
  });
  world.socket.say({ type: 'subscribed', topic: 'rover/1/imu', topic_id: 0, epoch: 1, seq: { low: 4 } });
  world.socket.say({ type: 'gap', topic: 'rover/1/imu', priority: 'low', from: 2, to: 4, reason: 'retention' });
  stream.quarter();
  const { figures } = said.find(({ figures }) => figures);
  assert.deepEqual([figures.lost, figures.missed, figures.isSlow], [3, 3, true]);
  assert.equal(said.filter(({ messages }) => messages).length, 1);
});
