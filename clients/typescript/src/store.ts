// Job: the newest message of each topic, told of at most so many times a second: what user interfaces want.
// Knows: clients, timers. Must never know: React.

import type { Client } from './client.js';
import type { Message, SubscribeOptions } from './types.js';

export interface LatestOptions extends SubscribeOptions {
  /** Changes a second, at most. Default: 10. */
  readonly hz?: number;
}

/** What a store holds: never changed, only replaced. */
export interface Latest {
  readonly byTopic: ReadonlyMap<string, Message>;
  /** Messages lost since the store began, as far as anybody knows. */
  readonly lost: number;
  /** Topics that the server refused, if any. */
  readonly refused: string | null;
}

export interface Store {
  subscribe(listener: () => void): () => void;
  getSnapshot(): Latest;
}

const NOTHING: Latest = { byTopic: new Map(), lost: 0, refused: null };
/** A store that nobody looks at is given up after so long, in milliseconds: what is mounted anew at once goes on. */
const LINGER_MS = 1_000;

/** The newest messages of some topics. It subscribes while somebody listens; `onOver`: nobody does any more. */
export function latest(
  client: Client,
  topics: string | readonly string[],
  options: LatestOptions = {},
  onOver?: () => void,
): Store {
  const { hz = 10, ...rest } = options;
  const listeners = new Set<() => void>();
  let shown = NOTHING;
  let byTopic = new Map<string, Message>();
  let lost = 0;
  let refused: string | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let shownMs = -Infinity;
  let end: (() => void) | undefined;
  let lingering: ReturnType<typeof setTimeout> | undefined;

  const show = (): void => {
    timer = undefined;
    shownMs = performance.now();
    shown = { byTopic: new Map(byTopic), lost, refused };
    for (const listener of listeners) listener();
  };
  const changed = (): void => {
    timer ??= setTimeout(show, Math.max(0, shownMs + 1000 / hz - performance.now()));
  };
  const begin = (): void => {
    const subscription = client.subscribe(topics, {
      ...rest,
      onMessage: (message) => {
        byTopic.set(message.topic, message);
        changed();
      },
      onGap: ({ count }) => {
        lost += count ?? 1;
        changed();
      },
      onEnd: (error) => {
        if (!error) return;
        refused = error.message;
        changed();
      },
    });
    end = () => {
      subscription.unsubscribe();
      clearTimeout(timer);
      timer = end = undefined;
      byTopic = new Map();
    };
  };
  const over = (): void => {
    end?.();
    onOver?.();
  };
  return {
    subscribe(listener) {
      clearTimeout(lingering);
      listeners.add(listener);
      if (!end) begin();
      return () => {
        listeners.delete(listener);
        if (listeners.size === 0) lingering = setTimeout(over, LINGER_MS);
      };
    },
    getSnapshot: () => shown,
  };
}
