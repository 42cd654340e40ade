// Job: what one call of `subscribe` brings, as callbacks or as an async iterator over a bounded queue.
// Knows: deliveries, promises. Must never know: sockets, the protocol.

import { Queue } from './queue.js';
import type { Delivery, EpochChange, FanwireError, Gap, Message, Refused, SubscribeOptions } from './types.js';
import { FanwireError as Failure } from './types.js';

/** Called at once as something comes. With any of them, nothing waits in a queue. */
export interface Callbacks {
  readonly onMessage?: (message: Message) => void;
  readonly onGap?: (gap: Gap) => void;
  readonly onEpoch?: (change: EpochChange) => void;
  readonly onRefused?: (refused: Refused) => void;
  /** The subscription has ended; with an error if that was not asked for. */
  readonly onEnd?: (error: FanwireError | null) => void;
}

export interface SubscriptionOptions extends SubscribeOptions, Callbacks {
  /** Deliveries that wait for the iterator, at most. Default: that of the client. */
  readonly queueMax?: number;
  /** Ends the subscription. */
  readonly signal?: AbortSignal;
}

/** What a subscription asks of its client. */
export interface Owner {
  unsubscribe(): void;
  pause(): void;
  resume(): void;
  onDropped(message: Message): void;
}

export class Subscription implements AsyncIterableIterator<Delivery, undefined, undefined> {
  readonly topics: readonly string[];
  readonly #owner: Owner;
  readonly #callbacks: Callbacks | undefined;
  readonly #queue: Queue;
  #waiters: { resolve: (result: IteratorResult<Delivery, undefined>) => void; reject: (error: Error) => void }[] = [];
  #end: { error: FanwireError | null } | undefined;

  /** @internal */
  constructor(topics: readonly string[], options: SubscriptionOptions, queueMax: number, owner: Owner) {
    this.topics = topics;
    this.#owner = owner;
    const { onMessage, onGap, onEpoch, onRefused, onEnd } = options;
    if (onMessage ?? onGap ?? onEpoch ?? onRefused ?? onEnd) this.#callbacks = options;
    this.#queue = new Queue(options.queueMax ?? queueMax, (message) => owner.onDropped(message));
  }

  /** Messages that this subscription's queue has dropped: its reader was too slow. They are told as gaps (`local`). */
  get dropped(): number {
    return this.#queue.dropped;
  }

  /** Deliveries that wait for the iterator. */
  get queued(): number {
    return this.#queue.size;
  }

  /** Ends it. What waits in the queue can still be read. */
  unsubscribe(): void {
    if (this.#end) return;
    this.finish(null);
    this.#owner.unsubscribe();
  }

  /**
   * Stops what comes, and loses nothing that the server keeps: `resume` goes on behind the last message. (A WebSocket
   * cannot be told to wait; so this unsubscribes, and later subscribes with `since`.)
   */
  pause(): void {
    if (!this.#end) this.#owner.pause();
  }

  resume(): void {
    if (!this.#end) this.#owner.resume();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** The next delivery. */
  next(): Promise<IteratorResult<Delivery, undefined>> {
    if (this.#callbacks) throw new Failure('bad_option', 'a subscription with callbacks is not iterated');
    const value = this.#queue.shift();
    if (value) return Promise.resolve({ value, done: false });
    if (this.#end?.error) return Promise.reject(this.#end.error);
    if (this.#end) return Promise.resolve({ value: undefined, done: true });
    return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
  }

  /** Leaving a loop ends the subscription. */
  return(): Promise<IteratorResult<Delivery, undefined>> {
    this.unsubscribe();
    return Promise.resolve({ value: undefined, done: true });
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.unsubscribe();
    return Promise.resolve();
  }

  /** @internal */
  deliver(delivery: Delivery): void {
    if (this.#end) return;
    if (this.#callbacks) return this.#call(this.#callbacks, delivery);
    const waiter = this.#waiters.shift();
    if (waiter) return waiter.resolve({ value: delivery, done: false });
    if (this.#queue.push(delivery)) return;
    this.finish(new Failure('overflow', 'the reader is too slow for critical messages, which are never dropped'));
    this.#owner.unsubscribe();
  }

  /** @internal */
  finish(error: FanwireError | null): void {
    if (this.#end) return;
    this.#end = { error };
    const onEnd = this.#callbacks?.onEnd;
    if (onEnd) guarded(() => onEnd(error));
    for (const { resolve, reject } of this.#waiters)
      error ? reject(error) : resolve({ value: undefined, done: true });
    this.#waiters = [];
  }

  #call({ onMessage, onGap, onEpoch, onRefused }: Callbacks, delivery: Delivery): void {
    if (delivery.type === 'message') guarded(() => onMessage?.(delivery));
    else if (delivery.type === 'gap') guarded(() => onGap?.(delivery));
    else if (delivery.type === 'epoch') guarded(() => onEpoch?.(delivery));
    else guarded(() => onRefused?.(delivery));
  }
}

/** Calls what is not ours: what it throws is reported as nobody's, and nothing of ours is left half done. */
export function guarded(call: () => void): void {
  try {
    call();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
