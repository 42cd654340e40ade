// What follows each end of a connection, and what silence means: in virtual time.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Connection } from '../../src/page/client/connection.js';
import { afterClose } from '../../src/page/client/policy.js';
import { World, pongs } from './world.mjs';

function started(answer = pongs) {
  const world = new World();
  world.answer = answer;
  const states = [];
  const connection = new Connection({
    url: 'ws://a/',
    world: world.functions,
    onState: (state) => states.push({ ...state, at: world.nowMs }),
    onOpen: () => {},
    onObject: () => {},
    onLost: () => {},
  });
  connection.open();
  return { world, connection, states, last: () => states.at(-1) };
}

test('each close code is followed by what section 9 of the protocol says', () => {
  const next = (code, more = {}) => afterClose({ code, attempt: 0, isAnnounced: false, chance: 0.5, ...more });
  assert.deepEqual(next(1000), { do: 'ended' });
  for (const code of [1002, 1003, 1007, 1008, 1009]) assert.deepEqual(next(code), { do: 'refused' }, code);
  assert.deepEqual(next(4401), { do: 'unauthorized' });
  assert.deepEqual(next(1012), { do: 'retry', afterMs: 1000 });
  assert.deepEqual(next(1012, { isAnnounced: true }), { do: 'retry', afterMs: 0 });
  for (const code of [1001, 1005, 1006, 1011, 1013, 4000])
    assert.deepEqual(next(code), { do: 'retry', afterMs: 375 }, code);
});

test('pauses grow to half a minute, with chance in them', () => {
  const pause = (attempt, chance) => afterClose({ code: 1006, attempt, isAnnounced: false, chance }).afterMs;
  assert.deepEqual([pause(0, 0), pause(0, 1), pause(1, 0), pause(3, 0.5)], [250, 500, 500, 3000]);
  assert.deepEqual([pause(20, 0), pause(1e6, 1)], [15_000, 30_000]);
  // After an announced end that led to nobody, and after a restart that takes long, they grow as well.
  assert.equal(afterClose({ code: 1012, attempt: 2, isAnnounced: false, chance: 0 }).afterMs, 1000);
});

test('a refusal is not tried again by itself, and is by hand', () => {
  for (const [code, name] of [
    [1008, 'refused'],
    [4401, 'unauthorized'],
    [1000, 'ended'],
  ]) {
    const { world, connection, last } = started();
    world.socket.open();
    world.socket.end(code, 'no\u0007thing');
    world.pass(3_600_000);
    assert.equal(world.sockets.length, 1, `${code}`);
    assert.equal(last().name, name);
    assert.match(last().text, /: no thing$/);
    connection.open();
    assert.equal(world.sockets.length, 2);
  }
});

test('migrate: at once after the close that was announced, and elsewhere if it says so', () => {
  const { world } = started();
  world.socket.open();
  world.socket.say({ type: 'migrate', after_ms: 5000, url: 'ws://b/', reason: 'maintenance' });
  world.pass(5000);
  world.socket.end(1012);
  world.pass(0);
  assert.deepEqual(
    world.sockets.map(({ url }) => url),
    ['ws://a/', 'ws://b/'],
  );
  // Nobody there: where it was is tried next, after a pause.
  world.socket.end(1006);
  world.pass(1000);
  assert.equal(world.socket.url, 'ws://a/');
});

test('migrate: a close that does not come is not waited for', () => {
  const { world } = started();
  world.socket.open();
  world.socket.say({ type: 'migrate', after_ms: 2000, reason: 'maintenance' });
  world.pass(6999);
  assert.equal(world.sockets.length, 1);
  world.pass(2);
  assert.equal(world.sockets.length, 2);
});

test('a link that answers pings and carries nothing else is kept', () => {
  const { world, last } = started();
  world.socket.open();
  world.pass(3_600_000);
  assert.equal(world.sockets.length, 1);
  assert.equal(last().name, 'open');
});

test('a link that falls silent is known as silent within two seconds, whenever that happens', () => {
  for (let offset = 0; offset < 500; offset += 10) {
    let isCut = false;
    const { world, states, last } = started((socket, object) => !isCut && pongs(socket, object));
    world.socket.open();
    world.pass(10_000 + offset);
    isCut = true;
    const cutAt = world.nowMs;
    world.pass(2000);
    assert.equal(last().name, 'silent', `cut ${offset} ms after a ping`);
    assert.ok(states.find(({ name }) => name === 'silent').at - cutAt <= 2000);
    assert.equal(world.sockets.length, 1, 'it may come back');
    world.pass(5000);
    assert.ok(world.sockets.length >= 2, 'it is given up after five seconds');
    isCut = false;
    world.socket.open();
    assert.equal(last().name, 'open');
  }
});

test('a silent link that speaks again is live again', () => {
  let isCut = false;
  const { world, last } = started((socket, object) => !isCut && pongs(socket, object));
  world.socket.open();
  isCut = true;
  world.pass(3000);
  assert.equal(last().name, 'silent');
  world.socket.say({ type: 'message' });
  assert.equal(last().name, 'open');
  assert.equal(world.sockets.length, 1);
});

test('messages are a sign of life, also where pongs come late', () => {
  const { world, last } = started(() => {});
  world.socket.open();
  for (let n = 0; n < 100; n++) {
    world.pass(1000);
    world.socket.say({ type: 'message' });
  }
  assert.equal(world.sockets.length, 1);
  assert.equal(last().name, 'open');
});

test('a connection that is never made is tried again, and pings stay bounded', () => {
  const { world, connection } = started(() => {});
  world.pass(20_000);
  assert.ok(world.sockets.length >= 2);
  world.socket.open();
  world.pass(3000);
  assert.ok(connection.pings.size <= 16);
});

test('a server that accepts and closes at once is not hammered', () => {
  const { world } = started(() => {});
  for (let n = 0; n < 1000 && world.nowMs < 600_000; n++) {
    if (world.socket.readyState === 0) {
      world.socket.open();
      world.socket.say({ type: 'welcome' });
      world.socket.end(1013);
    }
    world.pass(250);
  }
  assert.ok(world.sockets.length < 40, `${world.sockets.length} connections in ten minutes`);
});
