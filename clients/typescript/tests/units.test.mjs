// The parts by themselves: at their limits and one past them, and with damaged input.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { batchWith } from '../dist/batch.js';
import { Delays } from '../dist/delay.js';
import { bytesOf, json } from '../dist/json.js';
import { Link } from '../dist/link.js';
import { Session } from '../dist/session.js';
import { Ledger, PAST_MAX, TOPICS_MAX } from '../dist/ledger.js';
import { inflate } from '../dist/lz4.js';
import { msgpack, pack, unpack } from '../dist/msgpack.js';
import { matches } from '../dist/pattern.js';
import { afterClose, PAUSE_MAX_MS } from '../dist/policy.js';
import { Publishes, WAITING_BYTES_MAX, WAITING_MAX } from '../dist/publishes.js';
import { Queue } from '../dist/queue.js';
import { CAPACITY, pickOf, Rings } from '../dist/rings.js';
import { Requests } from '../dist/requests.js';
import { lifetimeMs } from '../dist/token.js';

/** Numbers by chance, the same in every run. */
function chance(seed) {
  let state = seed;
  return (most) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * most);
  };
}

const message = (seq, priority = 'normal', topic = 'a', epoch = 1) => ({
  type: 'message',
  topic,
  priority,
  seq,
  timeUs: 1000 * seq,
  kind: 'json',
  data: { v: seq },
  epoch,
});

test('patterns match as the protocol has it', () => {
  const yes = [
    ['a', 'a'],
    ['a/*', 'a/b'],
    ['*/b', 'a/b'],
    ['a/**', 'a/b'],
    ['a/**', 'a/b/c'],
    ['**', 'a'],
    ['*/**', 'a/b'],
  ];
  const no = [
    ['a', 'b'],
    ['a/*', 'a'],
    ['a/*', 'a/b/c'],
    ['a/**', 'a'],
    ['*', 'a/b'],
    ['**', '$sys/x'],
    ['*/**', 'a'],
    ['$sys/*', '$sys/x'],
  ];
  for (const [pattern, topic] of yes) assert.ok(matches(pattern, topic), `${pattern} ${topic}`);
  for (const [pattern, topic] of no) assert.ok(!matches(pattern, topic), `${pattern} ${topic}`);
  assert.ok(matches('$sys/shards', '$sys/shards'));
});

test('MessagePack: every form goes there and back', () => {
  const values = [
    0,
    127,
    128,
    255,
    256,
    65535,
    65536,
    2 ** 32 - 1,
    2 ** 32,
    Number.MAX_SAFE_INTEGER,
    -1,
    -32,
    -33,
    -(2 ** 40),
    0.5,
    -1e300,
    '',
    'x'.repeat(31),
    'x'.repeat(32),
    'ö'.repeat(200),
    'y'.repeat(70_000),
    true,
    false,
    null,
    Array.from({ length: 15 }, (_, n) => n),
    Array.from({ length: 16 }, (_, n) => n),
    Array.from({ length: 70_000 }, () => 1),
    Object.fromEntries(Array.from({ length: 20 }, (_, n) => [`k${n}`, n])),
  ];
  for (const value of values) assert.deepEqual(unpack(pack(value)), value);
  for (const size of [0, 255, 256, 65_535, 65_536])
    assert.deepEqual(unpack(pack(new Uint8Array(size).fill(9))), new Uint8Array(size).fill(9));
  const hex = (text) => unpack(new Uint8Array(Buffer.from(text, 'hex')));
  assert.deepEqual(
    [hex('d0ff'), hex('d1ff00'), hex('d2ffffff00'), hex('d3ffffffffffffff00'), hex('ca3f000000')],
    [-1, -256, -256, -256, 0.5],
  );
  assert.deepEqual(
    [hex('d40500'), hex('c70205aabb'), hex('91d80500000000000000000000000000000000')],
    [null, null, [null]],
  );
  assert.deepEqual(unpack(pack({ a: undefined, b: 1 })), { b: 1 });
});

test('MessagePack: 128 levels are taken, 129 are not', () => {
  const nested = (levels) => new Uint8Array([...Array(levels).fill(0x91), 0xc0]);
  assert.ok(unpack(nested(128)));
  assert.throws(() => unpack(nested(129)), /nested/);
  assert.throws(() => unpack(nested(100_000)), /nested/);
  let deep = null;
  for (let level = 0; level < 129; level++) deep = [deep];
  assert.throws(() => pack(deep), /nested/);
});

test('MessagePack and batches: damaged bytes throw or are something, and nothing else happens', () => {
  const random = chance(7);
  const packed = pack({
    type: 'message',
    topic: 'a/b',
    priority: 'low',
    seq: 7,
    time_us: 2 ** 50,
    data: 'ö',
    encoding: 'text',
    n: [1, -5, 0.25],
  });
  const frame = Buffer.from(
    '0101040203000000290000000000000030000000000000000200000028000000' +
      '00002a36fe9c971702070000007b2276223a317d404b7636fe9c971702070000007b2276223a327d',
    'hex',
  );
  const lz4 = Buffer.from(
    '01010100030000002b000000000000006d02000000000000ff070100000065020000' +
      '8096c236fe9c971700580200006101 00ffff4060616161616161'.replace(' ', ''),
    'hex',
  );
  let threw = 0;
  for (let round = 0; round < 20_000; round++) {
    const [bytes, codec] = [
      [packed, msgpack],
      [frame, batchWith({})],
      [lz4, batchWith({ blockBytesMax: 4096 })],
    ][round % 3];
    const cut = new Uint8Array(bytes).slice(0, bytes.length - random(4) * random(8));
    for (let flips = random(4); flips > 0; flips--) cut[random(cut.length)] ^= 1 << random(8);
    const decoder = codec.decoder();
    const control = new TextEncoder().encode('{"type":"subscribed","topic":"a","topic_id":3,"epoch":1,"seq":{}}');
    if (codec !== msgpack)
      decoder.decode(new Uint8Array([1, 2, 4, ...new Array(21).fill(0), ...control]), () => undefined);
    try {
      decoder.decode(cut, (object) => assert.equal(typeof object.type, 'string'));
    } catch (error) {
      threw++;
      assert.ok(error instanceof Error && error.name !== 'AssertionError', String(error));
    }
  }
  assert.ok(threw > 1000, `${threw} threw`);
});

test('LZ4: what a simple compressor writes is read back', () => {
  const random = chance(3);
  for (let round = 0; round < 200; round++) {
    const plain = Uint8Array.from({ length: random(3000) }, () => 97 + random(1 + (round % 5)));
    assert.deepEqual(inflate(deflate(plain), plain.length), plain);
    assert.throws(() => inflate(deflate(plain), plain.length + 1));
  }
});

test('a block at the largest size is taken, one byte more is not', () => {
  const frame = (size) => {
    const bytes = new Uint8Array(24 + size);
    bytes.set([1, 1, 2, 2, 3]);
    const view = new DataView(bytes.buffer);
    view.setUint32(16, size, true);
    view.setUint32(24, 1, true);
    view.setUint32(24 + 8 + 9, size - 21, true);
    return bytes;
  };
  const decoder = batchWith({ blockBytesMax: 100 }).decoder();
  decoder.decode(frame(100), () => undefined);
  assert.throws(() => decoder.decode(frame(101), () => undefined), /at most 100/);
});

test('JSON: payloads of every size are base64 and back', () => {
  for (const size of [0, 1, 2, 3, 8191, 8192, 8193, 100_000]) {
    const data = Uint8Array.from({ length: size }, (_, at) => (at * 7) & 255);
    const sent = JSON.parse(json.encode({ type: 'publish', topic: 'a', kind: 'binary', data }));
    assert.equal(sent.data, Buffer.from(data).toString('base64'));
    assert.deepEqual(bytesOf(sent.data), data);
  }
});

test('no pause is longer than 30 s, whatever the attempt', () => {
  const next = (attempt) => afterClose({ code: 1006, attempt, isAnnounced: false, canAsk: false, chance: 1 }).afterMs;
  assert.deepEqual([0, 1, 5, 6, 7, 1e9].map(next), [500, 1000, 16_000, PAUSE_MAX_MS, PAUSE_MAX_MS, PAUSE_MAX_MS]);
});

test('a ledger has room for so many topics, and for no more', () => {
  const ledger = new Ledger();
  const subscribed = (topic) => ledger.onSubscribed({ topic, epoch: 1, seq: {} }, false);
  for (let n = 0; n < TOPICS_MAX; n++) assert.equal(subscribed(`t/${n}`), null);
  assert.equal(subscribed('one/more'), false);
  assert.equal(subscribed('t/0'), null);
  assert.equal(ledger.onMessage('one/more', 'normal', 1), 0);
});

test('accounts of former epochs are kept up to a maximum', () => {
  const ledger = new Ledger();
  for (let epoch = 1; epoch <= PAST_MAX + 2; epoch++) {
    ledger.onSubscribed({ topic: 'a', epoch, seq: {} }, false);
    ledger.onMessage('a', 'normal', 1);
  }
  assert.equal(ledger.accounts().length, PAST_MAX + 1);
  assert.equal(ledger.forgotten, 1);
});

test('a queue is never longer than its maximum, and accounts for all that it takes', () => {
  const random = chance(11);
  const priorities = ['critical', 'high', 'normal', 'low'];
  for (let round = 0; round < 300; round++) {
    const max = 1 + random(20);
    let dropped = 0;
    const queue = new Queue(max, () => dropped++);
    const next = Object.fromEntries(priorities.map((priority) => [priority, 1]));
    const told = Object.fromEntries(priorities.map((priority) => [priority, 0]));
    let isFull = false;
    const read = () => {
      const one = queue.shift();
      if (!one) return;
      const [from, to] = one.type === 'gap' ? [one.from, one.to] : [one.seq, one.seq];
      assert.equal(from, told[one.priority] + 1, 'a lane is told in order, without a hole');
      if (one.type === 'gap') assert.equal(one.count, to - from + 1);
      told[one.priority] = to;
    };
    for (let step = 0; step < 200 && !isFull; step++) {
      if (random(3) > 0) {
        const priority = priorities[random(4)];
        isFull = !queue.push(message(next[priority]++, priority));
      } else read();
    }
    while (queue.size > 0) read();
    assert.deepEqual(told, Object.fromEntries(priorities.map((priority) => [priority, next[priority] - 1])));
    assert.equal(queue.dropped, dropped);
  }
});

test('a queue that is full of critical messages says so, and drops none', () => {
  const queue = new Queue(2, () => assert.fail('nothing is dropped'));
  assert.deepEqual(
    [1, 2, 3].map((seq) => queue.push(message(seq, 'critical'))),
    [true, true, false],
  );
});

test('publishes that wait are bounded: at the limit, and one past it', () => {
  const told = [];
  const publishes = new Publishes(
    () => 1,
    () => assert.fail('nothing is sent'),
    (telling) => told.push(telling),
  );
  for (let key = 0; key <= WAITING_MAX; key++) publishes.add(key, { topic: 'a', kind: 'json', data: 1 }, false);
  assert.deepEqual(
    told.map(({ key, code }) => [key, code]),
    [[WAITING_MAX, 'overflow']],
  );
});

test('payloads that wait for a connection are bounded in bytes', () => {
  const told = [];
  const publishes = new Publishes(
    () => 1,
    () => undefined,
    (telling) => told.push(telling),
  );
  const half = 'x'.repeat(WAITING_BYTES_MAX / 2);
  const add = (key, data) => publishes.add(key, { topic: 'a', kind: 'text', data }, false);
  add(1, half);
  add(2, half);
  add(3, 'x');
  assert.deepEqual(
    told.map(({ key, code }) => [key, code]),
    [[3, 'overflow']],
  );
  publishes.sendAll();
  add(4, half);
  assert.equal(told.length, 1);
});

test('a program that stood still gives its server one more chance, and no third', () => {
  const asked = [];
  const link = new Link(
    10_000,
    5_000,
    () => 1,
    ({ type }) => asked.push(type),
  );
  link.onConnect(0, 10_000);
  link.onOpen(0);
  assert.equal(link.onTime(10_000), undefined);
  assert.deepEqual(asked, ['ping']);
  // It slept for an hour behind its question, and then a page in the background is called once a minute.
  assert.equal(link.onTime(3_600_000), undefined);
  assert.equal(link.onTime(3_660_000), 'silent');
  link.onOpen(4_000_000);
  link.onTime(4_010_000);
  assert.equal(link.onTime(4_014_999), undefined);
  assert.equal(link.onTime(4_015_000), 'silent');
});

test('a server that answers pings and closes again and again is asked less and less', () => {
  const session = new Session({ url: 'ws://a/', codecs: [json], pingEveryMs: 0, silentMs: 1, random: () => 1 });
  const drain = () => {
    for (let action; (action = session.next()););
  };
  let nowMs = 0;
  session.start(0);
  const pauses = [0, 0, 0, 20_000, 0].map((lastsMs) => {
    session.onOpen(nowMs, 'fanwire.json.v1');
    session.onData(nowMs, '{"type":"welcome","time_us":1}');
    nowMs += lastsMs;
    session.onData(nowMs, '{"type":"pong","id":1}');
    session.onClose(nowMs, 1013, '');
    drain();
    const pause = session.deadlineMs - nowMs;
    nowMs = session.deadlineMs;
    session.onTime(nowMs);
    drain();
    return pause;
  });
  assert.deepEqual(pauses, [500, 1000, 2000, 500, 1000]);
});

test('a payload larger than the server takes is not sent', () => {
  const [told, sent] = [[], []];
  const publishes = new Publishes(
    () => 1,
    (request) => sent.push(request),
    (telling) => told.push(telling),
  );
  publishes.bytesMax = 10;
  publishes.add(1, { topic: 'a', kind: 'binary', data: new Uint8Array(10) }, true);
  publishes.add(2, { topic: 'a', kind: 'binary', data: new Uint8Array(11) }, true);
  assert.equal(sent.length, 1);
  assert.deepEqual(
    told.map(({ key, code }) => [key, code]),
    [[2, 'too_large']],
  );
});

test('more than 1,024 names are asked for in several requests, each with its own since', () => {
  const ledger = new Ledger();
  const sent = [];
  let id = 0;
  const requests = new Requests(
    ledger,
    () => ++id,
    (request) => sent.push(request),
  );
  const topics = Array.from({ length: 1025 }, (_, n) => `t/${n}`);
  requests.add(1, topics, {}, true);
  assert.deepEqual(
    sent.map((request) => request.topics.length),
    [1024, 1],
  );
  for (const topic of topics) {
    requests.onSubscribed(topic);
    ledger.onSubscribed({ topic, epoch: 1, seq: { normal: 5 } }, false);
  }
  sent.length = 0;
  requests.sendAll();
  assert.deepEqual(
    sent.map((request) => Object.keys(request.since).length),
    [1024, 1],
  );
  requests.remove(1, true);
  assert.deepEqual(
    sent.slice(2).map((request) => request.topics.length),
    [1024, 1],
  );
  assert.equal(ledger.topics.size, 0);
});

test('a resume of very many topics fits a request; what is not named comes again, and is discarded', () => {
  const ledger = new Ledger();
  const sent = [];
  const requests = new Requests(
    ledger,
    () => 1,
    (request) => sent.push(request),
  );
  requests.add(1, ['**'], {}, true);
  for (let n = 0; n < 20_000; n++) {
    requests.onSubscribed(`${'long'.repeat(10)}/${n}`);
    ledger.onSubscribed(
      { topic: `${'long'.repeat(10)}/${n}`, epoch: 2 ** 52, seq: { critical: 1, high: 2, normal: 2 ** 50, low: 4 } },
      false,
    );
  }
  requests.sendAll();
  const text = JSON.stringify(sent.at(-1));
  assert.ok(Buffer.byteLength(text) < 524_288, `${text.length} bytes`);
  assert.ok(Object.keys(sent.at(-1).since).length > 500);
  assert.equal(sent.at(-1).from, 'oldest');
  const last = `${'long'.repeat(10)}/19999`;
  assert.equal(ledger.onSubscribed({ topic: last, epoch: 2 ** 52, seq: { low: 0 } }, true), null);
  assert.equal(ledger.onMessage(last, 'low', 4), 0);
  assert.equal(ledger.onMessage(last, 'low', 5), 2 ** 52);
});

test('delays are freed of the difference of the clocks', () => {
  const delays = new Delays();
  assert.deepEqual(delays.figures, { p50Ms: null, p99Ms: null, offsetMs: 0, isEstimated: false, rttMs: null });
  for (let n = 0; n < 100; n++) delays.take(3 + (n % 2), n);
  assert.deepEqual([delays.figures.p50Ms, delays.figures.isEstimated], [4, false]);
  delays.reset();
  delays.onRtt(4);
  for (let n = 0; n < 100; n++) delays.take(5000 + n, n);
  const { offsetMs, isEstimated, p50Ms, rttMs } = delays.figures;
  assert.deepEqual([offsetMs, isEstimated, p50Ms, rttMs], [4998, true, 52, 4]);
});

test('a token tells its end, or nothing', () => {
  const token = (claims) => `h.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.s`;
  assert.equal(lifetimeMs(token({ exp: 100, sub: 'ü' }), 40_000), 60_000);
  for (const none of [token({}), token({ exp: 'x' }), 'secret', '', 'a.%%.b'])
    assert.equal(lifetimeMs(none, 0), Infinity);
});

test('paths find numbers in payloads', () => {
  const data = { ax: 0.5, gps: [1, { lat: 2 }], isOn: true, text: 'x' };
  const found = ['ax', 'gps.0', 'gps.1.lat', 'isOn'].map((path) => pickOf(path)(data));
  assert.deepEqual(found, [0.5, 1, 2, 1]);
  for (const path of ['text', 'none', 'ax.b.c', 'gps']) assert.ok(Number.isNaN(pickOf(path)(data)), path);
  assert.deepEqual([pickOf('')(7), pickOf('a')(null)], [7, NaN]);
});

test('a ring is full at its capacity, and tells what it overwrites after that', () => {
  const rings = new Rings({ v: 'v' }, 100);
  for (let seq = 1; seq <= 100; seq++) rings.push(message(seq));
  const full = rings.drain();
  assert.deepEqual([full.rows[0].seq.length, full.gaps.length, rings.dropped], [100, 0, 0]);
  for (let seq = 101; seq <= 203; seq++) rings.push(message(seq));
  const { rows, gaps } = rings.drain();
  assert.deepEqual(
    [...rows[0].seq],
    Array.from({ length: 100 }, (_, n) => 104 + n),
  );
  assert.deepEqual([...rows[0].columns.v], [...rows[0].seq]);
  assert.deepEqual(
    gaps.map(({ from, to, count, reason }) => [from, to, count, reason]),
    [[101, 103, 3, 'local']],
  );
  assert.deepEqual(rings.drain(), { rows: [], gaps: [] });
});

test('rings grow to what is wanted, and keep lanes and epochs apart', () => {
  const rings = new Rings({ v: 'v' });
  for (let seq = 1; seq <= CAPACITY; seq++) rings.push(message(seq));
  rings.push(message(1, 'low', 'a topic/with blanks'));
  rings.push(message(1, 'normal', 'a', 2));
  const { rows, gaps } = rings.drain();
  assert.deepEqual(
    rows.map(({ topic, priority, epoch, seq }) => [topic, priority, epoch, seq.length]),
    [
      ['a', 'normal', 1, CAPACITY],
      ['a topic/with blanks', 'low', 1, 1],
      ['a', 'normal', 2, 1],
    ],
  );
  assert.equal(gaps.length, 0);
});

/** The plainest compressor: matches of at least four bytes, found by searching. */
function deflate(plain) {
  const out = [];
  const length = (value) => {
    for (value -= 15; value >= 255; value -= 255) out.push(255);
    if (value >= 0) out.push(value);
  };
  let begin = 0;
  const emit = (end, back, match) => {
    const literals = end - begin;
    out.push((Math.min(literals, 15) << 4) | (match ? Math.min(match - 4, 15) : 0));
    length(literals);
    out.push(...plain.subarray(begin, end));
    if (match) {
      out.push(back & 255, back >> 8);
      length(match - 4);
    }
    begin = end + match;
  };
  for (let at = 1; at + 12 < plain.length; at++) {
    const back = [1, 2, 3, 7].find(
      (one) => one <= at && [0, 1, 2, 3].every((n) => plain[at + n] === plain[at + n - one]),
    );
    if (back === undefined || at < begin) continue;
    let match = 4;
    while (at + match < plain.length - 5 && plain[at + match] === plain[at + match - back]) match++;
    emit(at, back, match);
    at = begin - 1;
  }
  emit(plain.length, 0, 0);
  return Uint8Array.from(out);
}
