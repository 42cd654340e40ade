// Job: what the user has subscribed to, and how it is asked for: at first, and again after a break with `since`.
// Knows: `subscribe`, `unsubscribe`, patterns. Must never know: sockets, payloads, times.

import type { Ledger, Since } from './ledger.js';
import { matches } from './pattern.js';
import type { Request, SubscribeOptions } from './types.js';

/** Options of a subscription, each of which may be left open. */
export type Asked = { readonly [Name in keyof SubscribeOptions]?: SubscribeOptions[Name] | undefined };

/** Names and patterns in one request, at most (PROTOCOL.md, section 10). */
const TOPICS_MAX = 1_024;
/** Bytes of `since` in one request, at most: the request has 524,288. */
const SINCE_BYTES_MAX = 250_000;
/** Bytes of an entry of `since` without its name: an epoch and four numbers. */
const SINCE_ENTRY_BYTES = 160;

/** One call of `subscribe`. */
export interface Ask {
  readonly key: number;
  topics: readonly string[];
  readonly options: Asked;
  /** The server has answered it: what it brings is resumed. */
  isTaken: boolean;
  /** What it began on this connection begins with the oldest. */
  isOldest: boolean;
  isPaused: boolean;
  /** It is not to be had. */
  isOver: boolean;
  /** The first and the last `id` that it was sent with on this connection. */
  ids: [number, number];
}

export class Requests {
  readonly #asks = new Map<number, Ask>();
  /** The subscriptions that a topic belongs to: made anew when subscriptions change. */
  readonly #routes = new Map<string, readonly number[]>();

  constructor(
    private readonly ledger: Ledger,
    private readonly nextId: () => number,
    private readonly send: (request: Request) => void,
  ) {}

  add(key: number, topics: readonly string[], options: Asked, isOpen: boolean): void {
    const ask: Ask = {
      key,
      topics,
      options,
      isTaken: false,
      isOldest: false,
      isPaused: false,
      isOver: false,
      ids: [0, 0],
    };
    this.#asks.set(key, ask);
    this.#routes.clear();
    if (isOpen) this.#send(ask, new Set());
  }

  remove(key: number, isOpen: boolean): void {
    const ask = this.#asks.get(key);
    if (!ask) return;
    this.#asks.delete(key);
    if (isOpen && !ask.isPaused) this.#end(ask);
    this.#forget();
  }

  pause(key: number, isOpen: boolean): void {
    const ask = this.#asks.get(key);
    if (!ask || ask.isPaused) return;
    ask.isPaused = true;
    if (isOpen) this.#end(ask);
  }

  resume(key: number, isOpen: boolean): void {
    const ask = this.#asks.get(key);
    if (!ask?.isPaused) return;
    ask.isPaused = false;
    if (isOpen) this.#send(ask, new Set());
  }

  /** On a new connection. A topic of several is resumed with the first. */
  sendAll(): void {
    const named = new Set<string>();
    for (const ask of this.#asks.values()) {
      ask.ids = [0, 0];
      if (!ask.isPaused) this.#send(ask, named);
    }
  }

  keysOf(topic: string): readonly number[] {
    let keys = this.#routes.get(topic);
    if (!keys) {
      keys = [...this.#asks.values()]
        .filter(({ topics }) => topics.some((one) => matches(one, topic)))
        .map(({ key }) => key);
      this.#routes.set(topic, keys);
    }
    return keys;
  }

  /** Whether the topic was asked for from the oldest. */
  onSubscribed(topic: string): boolean {
    let isOldest: boolean | undefined;
    for (const key of this.keysOf(topic)) {
      const ask = this.#asks.get(key)!;
      if (ask.ids[1] === 0) continue;
      ask.isTaken = true;
      isOldest ??= ask.isOldest;
    }
    return isOldest ?? false;
  }

  /** What was asked before a ping that is answered has been taken. */
  onPong(id: number): void {
    for (const ask of this.#asks.values()) if (ask.ids[1] > 0 && ask.ids[1] < id) ask.isTaken = true;
  }

  /** Whose request was refused. What can never be had is not asked for again. */
  onError(id: number, code: string): Ask | undefined {
    for (const ask of this.#asks.values()) {
      if (!(id >= ask.ids[0] && id <= ask.ids[1])) continue;
      ask.isOver = code.startsWith('bad_') || code === 'not_allowed';
      if (ask.isOver) this.#drop(ask);
      return ask;
    }
    return undefined;
  }

  /** The server has ended a name or pattern by itself: of which subscriptions, and whether anything is left of them. */
  onWithdrawn(topic: string): { key: number; isEmpty: boolean }[] {
    const hit = [...this.#asks.values()].filter(({ topics }) => topics.includes(topic));
    for (const ask of hit) {
      ask.topics = ask.topics.filter((one) => one !== topic);
      if (ask.topics.length === 0) this.#drop(ask);
    }
    this.#forget();
    return hit.map(({ key, topics }) => ({ key, isEmpty: topics.length === 0 }));
  }

  #drop(ask: Ask): void {
    this.#asks.delete(ask.key);
    this.#forget();
  }

  /** Forgets the numbers of topics that nobody wants any more. */
  #forget(): void {
    this.#routes.clear();
    for (const topic of this.ledger.topics.keys()) if (this.keysOf(topic).length === 0) this.ledger.forget(topic);
  }

  #send(ask: Ask, named: Set<string>): void {
    const { options } = ask;
    ask.isOldest = ask.isTaken || options.from === 'oldest';
    const known = ask.isTaken ? [...this.ledger.topics.keys()].filter((topic) => this.#isFor(ask, topic, named)) : [];
    known.forEach((topic) => named.add(topic));
    const first = this.nextId();
    for (let at = 0, id = first; at < ask.topics.length; at += TOPICS_MAX) {
      if (at > 0) id = this.nextId();
      const topics = ask.topics.slice(at, at + TOPICS_MAX);
      // What is undefined is not sent.
      this.send({
        type: 'subscribe',
        id,
        topics,
        since: known.length > 0 ? this.#since(known, topics) : undefined,
        from: ask.isOldest ? 'oldest' : undefined,
        max_hz: options.maxHz,
        max_delay_ms: options.maxDelayMs,
        echo: options.echo,
      });
      ask.ids = [first, id];
    }
  }

  #isFor(ask: Ask, topic: string, named: Set<string>): boolean {
    return !named.has(topic) && ask.topics.some((pattern) => matches(pattern, topic));
  }

  /** Where to go on. What does not fit is not named: it comes from the oldest, and what was had is discarded. */
  #since(known: readonly string[], topics: readonly string[]): Since {
    const since: Since = {};
    let bytes = 0;
    for (const topic of known) {
      // A character has at most three bytes for each of its units.
      bytes += topic.length * 3 + SINCE_ENTRY_BYTES;
      if (bytes > SINCE_BYTES_MAX) break;
      if (topics.some((pattern) => matches(pattern, topic))) since[topic] = this.ledger.sinceOf(topic)!;
    }
    return since;
  }

  /** Ends the names that no other subscription has asked for. */
  #end(ask: Ask): void {
    const kept = new Set(
      [...this.#asks.values()].filter((one) => one !== ask && !one.isPaused).flatMap((one) => one.topics),
    );
    const topics = ask.topics.filter((topic) => !kept.has(topic));
    for (let at = 0; at < topics.length; at += TOPICS_MAX)
      this.send({ type: 'unsubscribe', id: this.nextId(), topics: topics.slice(at, at + TOPICS_MAX) });
  }
}
