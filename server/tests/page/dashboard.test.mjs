// What the dashboard holds of the `$sys` topics: bounded over a day, and true to what was said.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Feed } from '../../src/admin/page/feed.js';
import { STALE_MS, described } from '../../src/admin/page/link-state.js';
import { compressedTo } from '../../src/admin/page/vitals.js';
import { EXPLAIN } from '../../src/admin/page/explain.js';
import { GAPS_MAX, Model, TRAILS_MAX } from '../../src/admin/page/model.js';
import { LEVELS, Series, Trail } from '../../src/admin/page/series.js';
import { LINES_MAX, Tail, textOf } from '../../src/admin/page/tail.js';
import { rowsOf } from '../../src/admin/page/tree.js';
import { World, pongs } from './world.mjs';
import { readFileSync, readdirSync } from 'node:fs';

const START = 1_796_040_000_000;

function shards(n, more = {}) {
  const total = {
    connections: 1000,
    deliveries: n * 200,
    messages: n * 10,
    dropped_normal: n * 3,
    dropped_low: n,
    sent_bytes: n * 1e6,
  };
  const latency = { publish_to_last_send_us: { count: 200, p50: 100, p95: 200, p99: 300 + (n % 7), max: 400 } };
  return { at_ms: START + n * 1000, uptime_s: n, total, shards: [{ shard: 0, utilisation: 0.5 }], latency, ...more };
}

const client = (n, used = 0.5) => ({ id: `0.${n}.1`, used, lanes: [], lost: [], lost_total: 0 });

test('a day of figures is held in as much memory as an hour of them', () => {
  const model = new Model();
  let afterAnHour = null;
  for (let n = 1; n <= 86_400; n++) {
    model.take('$sys/shards', shards(n));
    const by_lag = Array.from({ length: 8 }, (_, i) => client(n * 8 + i));
    model.take('$sys/clients', { at_ms: START + n * 1000, total: 1000, behind: 8, by_lag, by_work: [] });
    model.take('$sys/topics', {
      at_ms: START + n * 1000,
      total: 1,
      topics: [{ topic: `t/${n}`, published_per_s: 5, lanes: [] }],
    });
    const gap = { at_ms: START, client: 'c', topic: 't', priority: 'low', from: n, to: n + 1, reason: 'lag' };
    model.take('$sys/gaps', { at_ms: START, shard: 0, gaps: [gap, gap], left_out: 1 });
    if (n === 3600) afterAnHour = JSON.stringify(model.held);
  }
  assert.equal(JSON.stringify(model.held), afterAnHour);
  assert.ok(model.held.bytes < 1_000_000, `${model.held.bytes} bytes`);
  assert.equal(model.held.gaps, GAPS_MAX);
  assert.equal(model.held.trails, 2 * TRAILS_MAX);
  assert.deepEqual([model.gapCount, model.gapsLeftOut], [172_800, 86_400]);
  // And the day is there to be seen, in minutes.
  const { values, stepMs } = model.series.read('deliveries', START + 86_400_000, 86_400_000);
  assert.equal(stepMs, 60_000);
  assert.equal(values.length, 1440);
  assert.ok(values.slice(5, -1).every((value) => Math.abs(value - 200) < 1e-6));
});

test("rates are differences by the server's time; another run begins anew", () => {
  const model = new Model();
  model.take('$sys/shards', shards(10));
  assert.equal(model.rates, null);
  model.take('$sys/shards', shards(14));
  assert.equal(model.rates.deliveries, 200);
  assert.equal(model.lostPerSecond, 4);
  assert.equal(model.lostTotal, 56);
  model.take('$sys/shards', shards(1, { at_ms: START + 20_000, uptime_s: 1 }));
  assert.equal(model.rates, null);
});

test('what cannot be told yet to who takes nothing is counted once for each client', () => {
  const model = new Model();
  assert.equal(model.lostUntold, 0);
  const slow = { ...client(1), lost_untold: 700 };
  const by_work = [slow, client(2)];
  model.take('$sys/clients', { at_ms: START, total: 3, behind: 2, by_lag: [slow, { ...client(3), lost_untold: 5 }], by_work });
  assert.equal(model.lostUntold, 705);
});

test('what is not as it should be is passed over', () => {
  const model = new Model();
  for (const said of [null, 7, 'x', {}, { at_ms: 'x' }, { at_ms: 1 }])
    for (const topic of ['shards', 'topics', 'clients', 'gaps']) model.take(`$sys/${topic}`, said);
  model.take('$sys/else', shards(1));
  model.take('$sys/clients', { at_ms: 1, by_lag: 7 });
  assert.deepEqual([model.clientsBy('lag'), model.clientsBy('work'), model.lanes, model.gaps], [[], [], [], []]);
});

test('clients come in both orders, lanes by how far somebody is behind', () => {
  const model = new Model();
  model.take('$sys/clients', { at_ms: START, by_lag: [client(1)], by_work: [client(2), client(1)] });
  assert.deepEqual(
    model.clientsBy('lag').map(({ id }) => id),
    ['0.1.1'],
  );
  assert.deepEqual(
    model.clientsBy('work').map(({ id }) => id),
    ['0.2.1', '0.1.1'],
  );
  assert.equal(model.clientOf('0.2.1').id, '0.2.1');
  assert.equal(model.clientOf('9.9.9'), null);
  const lane = (priority, behind) => ({ priority, behind, used: 1 });
  const topics = [
    { topic: 'a', lanes: [lane('low', 0.1), lane('high', 0.95)] },
    { topic: 'b', lanes: [lane('normal', 0.4)] },
  ];
  model.take('$sys/topics', { at_ms: START, topics });
  assert.deepEqual(
    model.lanes.map(({ topic, priority }) => `${topic} ${priority}`),
    ['a high', 'b normal', 'a low'],
  );
});

test('series have holes where nothing came, and are not overwritten by a clock that was set back', () => {
  const series = new Series({ a: 'mean', b: 'max', c: 'sum' });
  series.add(START, { a: 1, b: 1, c: 1 });
  series.add(START + 400, { a: 3, b: 7, c: 2 });
  series.add(START + 3000, { a: 5 });
  assert.deepEqual(series.read('a', START + 3000, 4000).values, [2, null, null, 5]);
  assert.deepEqual(series.read('b', START + 3000, 4000).values, [7, null, null, 0]);
  assert.deepEqual(series.read('c', START + 3000, 4000).values, [3, null, null, 0]);
  series.add(START - LEVELS[0].kept * 1000, { a: 99 });
  assert.equal(series.read('a', START + 3000, 4000).values[0], 2);
  const trail = new Trail(3);
  for (let n = 1; n <= 5; n++) trail.add(n);
  assert.deepEqual(trail.list, [3, 4, 5]);
});

test('the tree sums up branches and folds them; chains are one row', () => {
  const topic = (name, rate, behind = 0) => ({ topic: name, published_per_s: rate, lanes: [{ behind }] });
  const topics = [
    topic('rover/2/imu', 200),
    topic('rover/10/imu', 100, 0.8),
    topic('rover/10/gps', 10),
    topic('a/b/c', 1),
    topic('chat', 2),
  ];
  const rows = rowsOf(topics, new Set(['rover/10']));
  assert.deepEqual(
    rows.map(({ depth, name }) => `${depth} ${name}`),
    ['0 a/b/c', '0 chat', '0 rover', '1 2/imu', '1 10'],
  );
  const ten = rows.at(-1);
  assert.deepEqual([ten.topics, ten.rate, ten.behind, ten.isOpen, ten.topic], [2, 110, 0.8, false, null]);
  assert.equal(rowsOf(topics, new Set()).length, 7);
});

test('the tail is bounded, held still, and shows what a payload cannot do', () => {
  const tail = new Tail();
  const message = (seq) => ({
    topic: 't',
    priority: 'low',
    seq,
    timeUs: seq,
    kind: 'text',
    data: 'x'.repeat(10_000),
    size: 10_000,
  });
  for (let n = 1; n <= LINES_MAX + 10; n++) tail.take(message(n));
  assert.equal(tail.lines.length, LINES_MAX);
  assert.ok(tail.lines[0].text.length <= 2001);
  tail.hold(true);
  tail.take(message(999));
  assert.deepEqual([tail.lines[0].seq, tail.heldBack], [LINES_MAX + 10, 1]);
  tail.hold(false);
  tail.takeGap({ topic: 't', priority: 'low', from: 5, to: 9, reason: 'lag', lost: 5, timeMs: 1 });
  assert.deepEqual([tail.lost, tail.lines[0].isGap], [5, true]);
  assert.equal(textOf('text', '\u001b[2J\u202e<b>'), '·[2J·<b>');
});

test('the feed asks for the $sys topics by name, limits its tail, and changes last values in place', () => {
  const world = new World();
  world.answer = pongs;
  const heard = [];
  const on = {
    sys: (topic) => heard.push(topic),
    state() {},
    welcome() {},
    refused() {},
    tail() {},
    tailGap() {},
    value() {},
  };
  const feed = new Feed({ url: 'ws://a/ws', on, world: world.functions });
  const asked = (socket, type) => socket.heard.filter((object) => object.type === type);
  world.socket.open();
  assert.deepEqual(asked(world.socket, 'subscribe')[0].topics, [
    '$sys/shards',
    '$sys/topics',
    '$sys/clients',
    '$sys/gaps',
  ]);
  world.socket.say({ type: 'message', topic: '$sys/shards', priority: 'normal', seq: 1, time_us: 1, data: {} });
  assert.deepEqual(heard, ['$sys/shards']);
  feed.follow('rover/**', 20);
  world.socket.open();
  assert.deepEqual(asked(world.socket, 'subscribe')[0], { type: 'subscribe', id: 1, topics: ['rover/**'], max_hz: 20 });
  const first = world.socket;
  feed.follow('', 20);
  assert.equal(first.readyState, 3);
  feed.want(['a', 'b']);
  world.socket.open();
  feed.want(['b', 'c']);
  feed.want(['b', 'c']);
  assert.deepEqual(
    asked(world.socket, 'subscribe').map(({ topics }) => topics),
    [['a', 'b'], ['c']],
  );
  assert.deepEqual(
    asked(world.socket, 'unsubscribe').map(({ topics }) => topics),
    [['a']],
  );
  assert.equal(world.sockets.length, 3);
});

test('every figure that says it explains itself does', () => {
  const folder = new URL('../../src/admin/page/', import.meta.url);
  const wanted = new Set();
  for (const name of readdirSync(folder).filter((name) => /\.(js|html)$/.test(name))) {
    const text = readFileSync(new URL(name, folder), 'utf8');
    for (const [, key] of text.matchAll(/data-explain(?:="|': ')([a-z_]+)/g)) wanted.add(key);
  }
  assert.ok(wanted.size > 20, `${wanted.size}`);
  for (const key of wanted) assert.ok(EXPLAIN[key], `${key} is not explained`);
});

test('pages hold nothing inline, and name nothing elsewhere', () => {
  for (const page of ['admin', 'demo']) {
    const folder = new URL(`../../src/${page}/page/`, import.meta.url);
    for (const name of readdirSync(folder)) {
      const text = readFileSync(new URL(name, folder), 'utf8');
      assert.ok(!/https:\/\//.test(text), `${name} names a place elsewhere`);
      if (!name.endsWith('.html')) continue;
      assert.ok(!/<style|\sstyle=|\son[a-z]+=|<script(?![^>]*src=)/.test(text), `${name} has something inline`);
    }
  }
});

test('what is shown of the link is true, and says why where the server has said it', () => {
  const of = (name, more = {}) =>
    described({ state: { name, text: 'the connection broke', code: 1006 }, forMs: 0, ageMs: 500, refusal: '', said: {}, ...more });
  assert.deepEqual(of('open'), { name: 'open', what: null, next: '' });
  assert.deepEqual(of('connecting', { ageMs: null }).what, null);
  // Pongs come, and figures do not: what is shown is not live.
  assert.equal(of('open', { ageMs: STALE_MS }).name, 'open');
  assert.match(of('open', { ageMs: STALE_MS + 1 }).what, /No figures come/);
  assert.equal(of('open', { ageMs: null, forMs: STALE_MS + 1 }).name, 'stale');
  assert.match(of('open', { said: { isDraining: true } }).what, /drains/);
  // A browser tells a page no more than 1006.
  assert.match(of('waiting').what, /^Disconnected: the connection broke \(1006\)$/);
  const refused = of('waiting', { ageMs: null, said: { refused: 'set admin.token_file' } });
  assert.equal(refused.name, 'refused');
  assert.match(refused.what, /does not let this page in: set admin\.token_file/);
  assert.match(of('waiting', { said: { isDraining: true } }).what, /The server drains/);
  assert.match(of('waiting', { said: { isDraining: true, hasEnded: true } }).what, /has been drained, and has ended/);
  assert.match(of('open', { refusal: 'not granted' }).what, /not granted/);
  assert.match(of('refused').next, /would not help/);
});

test('compression is told by what it makes of the size, and by whom it served', () => {
  assert.equal(compressedTo(null), 'none');
  assert.equal(compressedTo({ compressed_from_bytes: 0, compressed_to_bytes: 0, compression_saved_bytes: 0 }), 'none');
  const rates = { compressed_from_bytes: 1000, compressed_to_bytes: 250, compression_saved_bytes: 750 };
  assert.equal(compressedTo(rates), 'to 25 % · 1 delivery each');
  assert.equal(compressedTo({ ...rates, compression_saved_bytes: 750 * 400 }), 'to 25 % · 400 deliveries each');
  // What grows saves nobody anything.
  assert.equal(compressedTo({ ...rates, compressed_to_bytes: 1100, compression_saved_bytes: 0 }), 'to 110 %');
});
