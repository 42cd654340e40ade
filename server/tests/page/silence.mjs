// The demo page's connection in virtual time: a link that falls silent is given up and made again, one that answers is kept.
// Called with the path of stream.js. Prints nothing where all is well.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import vm from 'node:vm';

const source = readFileSync(process.argv[2], 'utf8');

/** The worker with a clock, timers and sockets of ours. `answers(socket, object)` hears what the page sends. */
function world(answers) {
  let now = 0;
  const timers = [];
  const add = (run, after, every) => timers.push({ run, at: now + after, every });
  const sockets = [];
  class WebSocket {
    static CONNECTING = 0;
    static OPEN = 1;
    constructor() {
      this.readyState = WebSocket.CONNECTING;
      sockets.push(this);
    }
    open() {
      this.readyState = WebSocket.OPEN;
      this.onopen();
    }
    send(text) {
      answers(this, JSON.parse(text));
    }
    say(object) {
      this.onmessage?.({ data: JSON.stringify(object) });
    }
    close() {
      this.readyState = 3;
    }
  }
  const states = [];
  const context = vm.createContext({
    WebSocket,
    Math,
    console,
    performance: { now: () => now, timeOrigin: 0 },
    setInterval: (run, every) => add(run, every, every),
    setTimeout: (run, after) => add(run, after, 0),
    clearTimeout: () => {},
    postMessage: (message) => message.state && states.push([now, message.state, message.text]),
  });
  vm.runInContext(source, context);
  vm.runInContext("onmessage({ data: { url: 'ws://x', topics: ['**'], isSlow: false } })", context);
  const pass = (ms) => {
    const end = now + ms;
    for (;;) {
      const next = timers.filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at)[0];
      if (!next) break;
      now = next.at;
      if (next.every) next.at += next.every;
      else timers.splice(timers.indexOf(next), 1);
      next.run();
    }
    now = end;
  };
  return { pass, sockets, states, last: () => states.at(-1) };
}

const pong = (socket, object) => object.type === 'ping' && socket.say({ type: 'pong', id: object.id });

// A link that answers pings and carries nothing else is kept for as long as it likes.
{
  const { pass, sockets, last } = world(pong);
  sockets[0].open();
  pass(3_600_000);
  assert.equal(sockets.length, 1);
  assert.equal(last()[1], 'open');
}

// One that says nothing any more is not called live, and another one is made.
{
  let isHeld = false;
  const { pass, sockets, last } = world((socket, object) => !isHeld && pong(socket, object));
  sockets[0].open();
  pass(60_000);
  isHeld = true;
  pass(7_500);
  assert.equal(sockets[0].readyState, 3, 'the silent connection was given up');
  assert.notEqual(last()[1], 'open', last());
  pass(10_000);
  assert.ok(sockets.length >= 2);
  isHeld = false;
  sockets.at(-1).open();
  pass(60_000);
  assert.equal(last()[1], 'open');
}

// Messages are a sign of life, also where pongs come late.
{
  const { pass, sockets, last } = world(() => {});
  sockets[0].open();
  for (let n = 1; n <= 100; n++) {
    pass(1_000);
    sockets[0].say({ type: 'message', topic: 'a', priority: 'low', seq: n, time_us: n, data: n });
  }
  assert.equal(sockets.length, 1);
  assert.equal(last()[1], 'open');
}

// A connection that is never made is tried again.
{
  const { pass, sockets } = world(() => {});
  pass(20_000);
  assert.ok(sockets.length >= 2);
}
