// Job: hooks. What changes often is throttled in the store (store.ts), so that React is never behind.

import { useCallback, useSyncExternalStore } from 'react';
import type { Client } from './client.js';
import type { Latest, LatestOptions, Store } from './store.js';
import { latest } from './store.js';
import type { Message, State } from './types.js';

export type { Latest, LatestOptions, Store } from './store.js';
export { latest } from './store.js';

/** By client, what its components look at: one subscription for all that ask for the same. */
const stores = new WeakMap<Client, Map<string, Store>>();

function storeOf(client: Client, topics: string | readonly string[], options: LatestOptions): Store {
  const known = stores.get(client) ?? new Map<string, Store>();
  stores.set(client, known);
  const key = JSON.stringify([topics, Object.entries(options).sort()]);
  const store = known.get(key) ?? latest(client, topics, options, () => known.delete(key));
  known.set(key, store);
  return store;
}

/** How the connection stands. */
export function useConnection(client: Client): State {
  const subscribe = useCallback((listener: () => void) => client.onState(listener), [client]);
  const state = (): State => client.state;
  return useSyncExternalStore(subscribe, state, state);
}

/** The newest message of each topic that some names and patterns match, at most `hz` times a second. */
export function useLatest(client: Client, topics: string | readonly string[], options: LatestOptions = {}): Latest {
  const { subscribe, getSnapshot } = storeOf(client, topics, options);
  return useSyncExternalStore(subscribe, getSnapshot, getSnapshot);
}

/** The newest message of one topic; `undefined` before there is one. */
export function useTopic(client: Client, topic: string, options: LatestOptions = {}): Message | undefined {
  return useLatest(client, topic, options).byTopic.get(topic);
}
