// The hooks in a real React, with a client that a test plays.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { act, createElement, StrictMode } from 'react';
import { create } from 'react-test-renderer';
import { latest, useConnection, useLatest, useTopic } from '../dist/react.js';

globalThis.IS_REACT_ACT_ENVIRONMENT = true;

/** As much of a client as the hooks use. */
function played() {
  const client = {
    state: { name: 'connecting' },
    listeners: new Set(),
    subscriptions: [],
    onState(listener) {
      client.listeners.add(listener);
      return () => client.listeners.delete(listener);
    },
    subscribe(topics, options) {
      const subscription = { topics, options, isOver: false, unsubscribe: () => (subscription.isOver = true) };
      client.subscriptions.push(subscription);
      return subscription;
    },
  };
  return client;
}
const message = (topic, data) => ({ type: 'message', topic, data });
/** So long, in milliseconds, that a store has shown what it was told: it counts no time, it waits for the change. */
const settle = (holds) =>
  act(async () => {
    while (!holds()) await new Promise((resolve) => setTimeout(resolve, 1));
  });

test('a component shows the connection, and the newest message of its topic', async () => {
  const client = played();
  const shown = [];
  const One = () => {
    const state = useConnection(client);
    const value = useTopic(client, 'a/x', { hz: 1000 })?.data;
    shown.push(`${state.name} ${value}`);
    return `${state.name} ${value}`;
  };
  let root;
  await act(() => (root = create(createElement(StrictMode, null, createElement(One)))));
  assert.equal(root.toJSON(), 'connecting undefined');
  assert.equal(client.subscriptions.length, 1);
  await act(() => {
    client.state = { name: 'open' };
    for (const listener of client.listeners) listener(client.state);
  });
  for (let n = 1; n <= 100; n++) client.subscriptions[0].options.onMessage(message('a/x', n));
  await settle(() => root.toJSON() === 'open 100');
  assert.ok(shown.length < 50, `${shown.length} renders for 100 messages`);
  await act(() => root.unmount());
  assert.equal(client.listeners.size, 0);
  while (!client.subscriptions[0].isOver) await new Promise((resolve) => setTimeout(resolve, 10));
});

test('components that ask for the same share a subscription, and are told what is lost', async () => {
  const client = played();
  const One = () => {
    const { byTopic, lost, refused } = useLatest(client, ['a/*'], { hz: 1000 });
    return `${[...byTopic.keys()].join()} ${lost} ${refused}`;
  };
  let root;
  await act(() => (root = create(createElement('div', null, createElement(One), createElement(One)))));
  assert.equal(client.subscriptions.length, 1);
  const { options } = client.subscriptions[0];
  options.onMessage(message('a/1', 1));
  options.onMessage(message('a/2', 1));
  options.onGap({ count: 5 });
  await settle(() => root.toJSON().children[0] !== ' 0 null');
  assert.deepEqual(root.toJSON().children, ['a/1,a/2 5 null', 'a/1,a/2 5 null']);
  options.onEnd(new Error('not allowed'));
  await settle(() => root.toJSON().children[0].endsWith('not allowed'));
  await act(() => root.unmount());
});

test('a store shows at most so many changes a second', () => {
  const timers = [];
  const { setTimeout: real } = globalThis;
  globalThis.setTimeout = (call, ms) => timers.push({ call, ms });
  try {
    const client = played();
    const store = latest(client, 'a', { hz: 5 });
    let told = 0;
    const stop = store.subscribe(() => told++);
    const { onMessage } = client.subscriptions[0].options;
    for (let n = 0; n < 10; n++) onMessage(message('a', n));
    assert.deepEqual([timers.length, told], [1, 0]);
    const before = store.getSnapshot();
    assert.equal(store.getSnapshot(), before);
    timers.shift().call();
    assert.deepEqual([told, store.getSnapshot().byTopic.get('a').data], [1, 9]);
    onMessage(message('a', 10));
    assert.ok(timers[0].ms > 100 && timers[0].ms <= 200, `${timers[0].ms} ms`);
    stop();
  } finally {
    globalThis.setTimeout = real;
  }
});
