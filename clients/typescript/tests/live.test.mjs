// The client against the real server: kills, restarts, silence, slow readers. Without a binary these skip themselves.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, connect as dial } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import WebSocket from 'ws';
import { batch } from '../dist/batch.js';
import { connect } from '../dist/index.js';
import { msgpack } from '../dist/msgpack.js';
import { binary, Server, until } from './server.mjs';

const skip = binary() === undefined && process.env.CI !== 'true' ? 'there is no binary of the server' : false;
const kinds = { json: {}, msgpack: { msgpack }, 'batch+lz4': { batch }, batch: { batch, compression: 'none' } };
/** How often the server is killed under load. */
const KILLS = Number(process.env.FANWIRE_KILLS ?? 5);
let server;

before(async () => {
  if (!skip) server = await Server.start('--lane-bytes', '8MiB', '--pool-bytes', '256MiB');
});
after(() => server?.kill());

/** A client that a test ends even where it fails. */
function client(context, options = {}, url = server.url) {
  const made = connect(url, { WebSocket, ...options });
  context.after(() => made.close());
  return made;
}

/** What was asked for has been taken. */
async function settled(one) {
  await one.ready;
  await one.ping();
}

/** Every lane whose numbers have no holes is balanced. */
function balanced(stats) {
  for (const { published, delivered, lost, leftOut, ...lane } of stats.lanes)
    assert.equal(delivered + lost + leftOut, published, JSON.stringify(lane));
}

for (const [name, options] of Object.entries(kinds)) {
  test(`${name}: payloads of every kind come as they were published`, { skip }, async (context) => {
    const one = client(context, options);
    const topic = `kinds/${name}`;
    const sent = [
      [{ ax: 0.5, n: [-1, 2 ** 40, null, 'größer'] }, {}],
      ['text "quoted"\n', { kind: 'text' }],
      [new Uint8Array([0, 1, 254, 255]), {}],
      [null, {}],
      ['x'.repeat(5000), { kind: 'text', priority: 'low' }],
      [new Uint8Array(70_000).fill(7), { priority: 'critical' }],
    ];
    const subscription = one.subscribe(topic);
    await Promise.all(sent.map(([data, more]) => one.publish(topic, data, more)));
    const got = [];
    for await (const delivery of subscription) {
      assert.equal(delivery.type, 'message');
      got.push(delivery);
      if (got.length === sent.length) break;
    }
    const order = ({ priority }) => ['normal', 'low', 'critical'].indexOf(priority);
    got.sort((a, b) => order(a) - order(b));
    assert.deepEqual(
      got.map(({ data }) => data),
      sent.map(([data]) => data),
    );
    assert.deepEqual(
      got.map(({ kind }) => kind),
      ['json', 'text', 'binary', 'json', 'text', 'binary'],
    );
    balanced(one.stats());
  });
}

test('what may not be published is refused with its code, and the connection goes on', { skip }, async (context) => {
  const one = client(context);
  await assert.rejects(one.publish('$sys/x', 1), { name: 'FanwireError', code: 'not_allowed' });
  await assert.rejects(one.publish('a*', 1), { code: 'bad_topic' });
  await one.publish('a', 1);
  assert.equal(one.stats().connections, 1);
});

test('a pattern that is none ends its subscription, and no other', { skip }, async (context) => {
  const one = client(context);
  const good = one.subscribe('fine/x');
  await assert.rejects(one.subscribe('a*').next(), { code: 'bad_topic' });
  await one.publish('fine/x', 5);
  assert.equal((await good.next()).value.data, 5);
});

test('a pause loses nothing', { skip }, async (context) => {
  const publisher = client(context);
  const one = client(context);
  const subscription = one.subscribe('paused/x');
  await settled(one);
  await publisher.publish('paused/x', 0);
  assert.equal((await subscription.next()).value.data, 0);
  subscription.pause();
  await one.ping();
  for (let n = 1; n <= 50; n++) await publisher.publish('paused/x', n);
  await one.ping();
  assert.equal(one.stats().messages, 1);
  subscription.resume();
  for (let n = 1; n <= 50; n++) assert.equal((await subscription.next()).value.data, n);
  balanced(one.stats());
});

test('a reader that is too slow is told what its queue has dropped', { skip }, async (context) => {
  const publisher = client(context);
  const one = client(context);
  const subscription = one.subscribe('slow/x', { queueMax: 10 });
  await settled(one);
  await Promise.all(Array.from({ length: 100 }, (_, n) => publisher.publish('slow/x', n)));
  await until(() => one.stats().messages === 100, 'all have come');
  const { value: gap } = await subscription.next();
  assert.deepEqual([gap.type, gap.reason, gap.from, gap.to, gap.count], ['gap', 'local', 1, 90, 90]);
  assert.equal((await subscription.next()).value.data, 90);
  assert.equal(subscription.dropped, 90);
  const [lane] = one.stats().lanes;
  assert.deepEqual([lane.delivered, lane.lost, lane.published], [10, 90, 100]);
});

test('an abort ends subscriptions and clients', { skip }, async (context) => {
  const one = client(context);
  const aborting = new AbortController();
  const subscription = one.subscribe('abort/x', { signal: aborting.signal });
  const next = subscription.next();
  aborting.abort();
  assert.equal((await next).done, true);
  const all = new AbortController();
  const other = client(context, { signal: all.signal });
  await other.ready;
  all.abort();
  assert.equal(other.state.name, 'ended');
  await assert.rejects(other.publish('a', 1), { code: 'closed' });
});

test('after kills nothing comes twice, and every epoch is balanced', { skip }, async (context) => {
  const own = await Server.start('--lane-bytes', '8MiB');
  context.after(() => own.kill());
  const publisher = client(context, {}, own.url);
  const seen = new Set();
  const readers = Object.values(kinds).map((options) => client(context, options, own.url));
  let doubled = 0;
  let epochs = 0;
  readers.forEach((reader, at) =>
    reader.subscribe('kill/*', {
      onMessage: ({ topic, epoch, seq }) => {
        const name = `${at} ${topic} ${epoch} ${seq}`;
        if (seen.has(name)) doubled++;
        seen.add(name);
      },
      onEpoch: () => epochs++,
    }),
  );
  let isOn = true;
  let taken = 0;
  const publishing = (async () => {
    for (let n = 0; isOn; n++) {
      const burst = Array.from({ length: 20 }, (_, at) => publisher.publish(`kill/${at % 3}`, { n }));
      for (const { status } of await Promise.allSettled(burst)) if (status === 'fulfilled') taken++;
    }
  })();
  for (let round = 0; round < KILLS; round++) {
    const before = taken;
    await until(() => taken > before + 200, 'messages are taken');
    await own.kill();
    await own.again();
    await until(() => readers.every((reader) => reader.stats().connections >= round + 2), 'all are back');
  }
  const before = taken;
  await until(() => taken > before + 200, 'messages are taken after the last');
  isOn = false;
  await publishing;
  const last = (stats) => stats.lanes.at(-1).epoch;
  await until(() => new Set(readers.map((reader) => last(reader.stats()))).size === 1, 'all know the last epoch');
  assert.equal(doubled, 0);
  assert.ok(epochs >= KILLS, `${epochs} changes of epoch were told`);
  for (const reader of readers) {
    const stats = reader.stats();
    balanced(stats);
    assert.ok(stats.connections > KILLS, `${stats.connections} connections`);
    assert.ok(stats.lanes.some(({ delivered }) => delivered > 100));
  }
});

test('a shutdown that spreads its closes is followed by a resume', { skip }, async (context) => {
  const own = await Server.start('--close-window', '500ms');
  context.after(() => own.kill());
  const one = client(context, {}, own.url);
  const states = [];
  one.onState((state) => states.push(state));
  const subscription = one.subscribe('again/x');
  await one.publish('again/x', 1);
  assert.equal((await subscription.next()).value.data, 1);
  await own.stop();
  await until(() => states.some(({ name }) => name === 'waiting'), 'it waits');
  const { code, retryInMs } = states.find(({ name }) => name === 'waiting');
  // At once: the server has said before that it would close.
  assert.deepEqual([code, retryInMs], [1012, 0]);
  await own.again();
  await one.publish('again/x', 2);
  const rest = [];
  for await (const delivery of subscription) {
    rest.push(delivery.type);
    if (delivery.type === 'message') break;
  }
  assert.deepEqual(rest, ['epoch', 'message']);
});

test('a token is renewed on the open connection, and its end is not the end', { skip }, async (context) => {
  const folder = mkdtempSync(join(tmpdir(), 'fanwire-token-'));
  const key = join(folder, 'secret');
  writeFileSync(key, 'a-secret-of-the-tests,-long-enough\n');
  const own = await Server.start('--token-keys-file', key);
  context.after(async () => {
    await own.kill();
    rmSync(folder, { recursive: true });
  });
  const mint = (life) => {
    const grants = ['--subscribe', 'mine/**', '--publish', 'mine/**'];
    const options = ['token', 'mint', '--key', key, '--sub', 'u1', '--expires-in', life, ...grants];
    return execFileSync(binary(), options, { encoding: 'utf8' }).trim();
  };
  let asked = 0;
  const one = client(context, { token: () => mint(asked++ === 0 ? '8s' : '1h') }, own.url);
  const subscription = one.subscribe('mine/x');
  await assert.rejects(one.publish('yours/x', 1), { code: 'not_allowed' });
  await until(() => asked === 2, 'another token is asked for');
  // Behind the end of the first and the 5 s that clocks may differ: a server without the other would have closed.
  await new Promise((resolve) => setTimeout(resolve, 8_000));
  await one.publish('mine/x', 2);
  assert.equal((await subscription.next()).value.data, 2);
  assert.equal(one.stats().connections, 1);
});

test('a token that ends is followed by another one, and by a resume', { skip }, async (context) => {
  const folder = mkdtempSync(join(tmpdir(), 'fanwire-token-'));
  const key = join(folder, 'secret');
  writeFileSync(key, 'a-secret-of-the-tests,-long-enough\n');
  const own = await Server.start('--token-keys-file', key);
  context.after(async () => {
    await own.kill();
    rmSync(folder, { recursive: true });
  });
  const mint = (life) =>
    execFileSync(
      binary(),
      ['token', 'mint', '--key', key, '--sub', 'u1', '--expires-in', life, '--subscribe', '**'],
      {
        encoding: 'utf8',
      },
    ).trim();
  const states = [];
  let asked = 0;
  const token = () => {
    asked++;
    if (asked === 2) throw new Error('not now');
    return mint(asked === 1 ? '1s' : '1h');
  };
  const one = client(context, { token }, own.url);
  one.onState((state) => states.push(state));
  one.subscribe('x');
  await until(() => one.stats().connections === 2, 'it has come back');
  const { code, retryInMs } = states.find(({ name }) => name === 'waiting');
  assert.deepEqual([code, retryInMs, asked], [4401, 0, 3]);
  const string = client(context, { token: mint('1s') }, own.url);
  await until(() => string.state.name === 'ended', 'a string has no other');
  assert.equal(string.state.how, 'unauthorized');
});

test('a link that falls silent is given up, and what was missed comes after all', { skip }, async (context) => {
  const relay = await Relay.start(server.port);
  context.after(() => relay.stop());
  const publisher = client(context);
  const one = client(context, { pingEveryMs: 300, silentMs: 1_500 }, relay.url);
  const subscription = one.subscribe('silent/x');
  await settled(one);
  await publisher.publish('silent/x', 0);
  assert.equal((await subscription.next()).value.data, 0);
  relay.isDeaf = true;
  for (let n = 1; n <= 20; n++) await publisher.publish('silent/x', n);
  await until(() => one.state.name !== 'open', 'the silence is noticed');
  relay.isDeaf = false;
  for (let n = 1; n <= 20; n++) assert.equal((await subscription.next()).value.data, n);
  balanced(one.stats());
});

/** A TCP relay that can fall silent without an end. */
class Relay {
  static async start(port) {
    const relay = new Relay();
    relay.sockets = new Set();
    relay.server = createServer((near) => {
      const far = dial(port, '127.0.0.1');
      for (const [from, to] of [
        [near, far],
        [far, near],
      ]) {
        relay.sockets.add(from);
        let isCut = false;
        from.on('data', (data) => {
          isCut ||= relay.isDeaf;
          if (!isCut) to.write(data);
        });
        from.on('error', () => to.destroy());
        from.on('close', () => (isCut || relay.isDeaf ? undefined : to.destroy()));
      }
    });
    await new Promise((resolve) => relay.server.listen(0, '127.0.0.1', resolve));
    relay.url = `ws://127.0.0.1:${relay.server.address().port}/`;
    return relay;
  }

  stop() {
    for (const socket of this.sockets) socket.destroy();
    this.server.close();
  }
}
