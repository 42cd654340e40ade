// Job: a session with a socket, a clock and promises.
// Knows: WebSockets, timers. Must never know: the protocol (session.ts).

import { Delays } from './delay.js';
import type { Delay } from './delay.js';
import type { ConnectOptions, Socket, SocketConstructor } from './options.js';
import { addressOf, checkNumber, checkSubscription, codecsOf, socketOf } from './options.js';
import { Session } from './session.js';
import type { Action, Telling } from './session.js';
import { guarded, Subscription } from './subscription.js';
import type { SubscriptionOptions } from './subscription.js';
import type { Delivery, LaneAccount, Message, PublishOptions, State, Welcome } from './types.js';
import { FanwireError, PRIORITIES } from './types.js';

/** Bytes that wait in the socket, at most, before a publish is refused. */
const BUFFERED_MAX = 64 << 20;
/** How often the round trip is measured, in milliseconds. */
const RTT_EVERY_MS = 30_000;

export interface Stats {
  readonly state: State;
  /** The server's name for this connection, if there is one. */
  readonly session: string | null;
  /** Handshakes that succeeded. */
  readonly connections: number;
  readonly messages: number;
  /** Of the data, as the platform gave it: inflated, without frames. */
  readonly bytes: number;
  /** Every lane that is known, and those of former epochs. It counts what reached the first subscription of a topic. */
  readonly lanes: LaneAccount[];
  /** Lanes of former epochs that are not listed any more, for there were too many. */
  readonly lanesForgotten: number;
  readonly delay: Delay & { /** The 99th percentile is above `targetDelayMs`. */ readonly isLate: boolean };
}

interface Promised {
  resolve(ms: number): void;
  reject(error: FanwireError): void;
}

export class Client {
  /** The first `welcome`. Rejects if the client ends before. */
  readonly ready: Promise<Welcome>;
  readonly #options: ConnectOptions;
  readonly #session: Session;
  readonly #Socket: SocketConstructor;
  readonly #delays = new Delays();
  readonly #subscriptions = new Map<number, Subscription>();
  readonly #promises = new Map<number, Promised>();
  readonly #listeners = new Set<(state: State) => void>();
  #ready!: { resolve(welcome: Welcome): void; reject(error: FanwireError): void };
  #socket: Socket | undefined;
  #state: State = { name: 'connecting' };
  #welcome: Welcome | undefined;
  #timer: { readonly atMs: number; readonly id: ReturnType<typeof setTimeout> } | undefined;
  #isDraining = false;
  #isScheduled = false;
  #key = 0;
  #counts = { connections: 0, messages: 0, bytes: 0 };
  #rttAtMs = 0;

  /** @internal Use `connect`. */
  constructor(url: string | URL, options: ConnectOptions) {
    const { token, pingEveryMs = 10_000, silentMs = 5_000, signal } = options;
    checkNumber('pingEveryMs', pingEveryMs, 0, 2 ** 31 - 1);
    checkNumber('silentMs', silentMs, 1, 2 ** 31 - 1);
    checkNumber('targetDelayMs', options.targetDelayMs, 0, 2 ** 31 - 1);
    checkSubscription(options);
    this.#options = options;
    this.#Socket = socketOf(options);
    this.#session = new Session({
      url: addressOf(url),
      codecs: codecsOf(options),
      token: typeof token === 'function' ? true : token,
      pingEveryMs,
      silentMs,
      random: Math.random,
    });
    this.ready = new Promise((resolve, reject) => (this.#ready = { resolve, reject }));
    this.ready.catch(() => undefined);
    signal?.addEventListener('abort', () => this.close(), { once: true });
    if (signal?.aborted) this.#session.close(now());
    else this.#session.start(now());
    this.#drain();
  }

  /** How the connection stands. */
  get state(): State {
    return this.#state;
  }

  /** Calls back at each change of `state`. Returns how to end that. */
  onState(listener: (state: State) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /**
   * Subscribes to names and patterns. Iterate over what it returns, or pass callbacks.
   *
   * A topic that another subscription of this client has brought already goes on for both, with the options of the
   * first, and its last message does not come again.
   */
  subscribe(topics: string | readonly string[], options: SubscriptionOptions = {}): Subscription {
    const names = typeof topics === 'string' ? [topics] : [...topics];
    if (names.length === 0) throw new FanwireError('bad_option', 'a subscription names at least one topic');
    checkSubscription(options);
    const key = ++this.#key;
    const subscription = new Subscription(names, options, this.#options.queueMax ?? 10_000, {
      unsubscribe: () => {
        this.#subscriptions.delete(key);
        this.#do(() => this.#session.unsubscribe(now(), key));
      },
      pause: () => this.#do(() => this.#session.pause(now(), key)),
      resume: () => this.#do(() => this.#session.resume(now(), key)),
      onDropped: (message) => this.#onDropped(key, message),
    });
    if (this.#state.name === 'ended' || options.signal?.aborted) {
      subscription.finish(this.#state.name === 'ended' ? endError(this.#state) : null);
      return subscription;
    }
    options.signal?.addEventListener('abort', () => subscription.unsubscribe(), { once: true });
    this.#subscriptions.set(key, subscription);
    const { maxHz = this.#options.maxHz, maxDelayMs = this.#options.maxDelayMs, from, echo } = options;
    const asked = { maxHz, maxDelayMs, from, echo };
    this.#do(() => this.#session.subscribe(now(), key, names, asked));
    return subscription;
  }

  /**
   * Publishes one message. Resolves when the server has taken it. Without a connection it waits for one.
   *
   * Rejects with a `FanwireError`: the server's code, `unconfirmed` (it may have been taken; it is never sent twice),
   * `overflow`, `too_large` or `closed`.
   */
  publish(topic: string, data: unknown, options: PublishOptions = {}): Promise<void> {
    const kind = options.kind ?? (data instanceof Uint8Array ? 'binary' : 'json');
    const fits = kind === 'json' || (kind === 'text' ? typeof data === 'string' : data instanceof Uint8Array);
    if (!fits) return Promise.reject(new FanwireError('bad_option', `the data is not ${kind}`));
    if ((this.#socket?.bufferedAmount ?? 0) > BUFFERED_MAX)
      return Promise.reject(new FanwireError('overflow', `${BUFFERED_MAX} bytes wait to be sent`));
    return this.#promise((key) => this.#session.publish(now(), key, { ...options, topic, kind, data })).then(
      () => undefined,
    );
  }

  /** Asks whether the server is there, and has taken all that was sent before: how long that took, in milliseconds. */
  ping(): Promise<number> {
    return this.#promise((key) => {
      if (!this.#session.ping(now(), key)) this.#settle(key, new FanwireError('closed', 'there is no connection'));
    });
  }

  stats(): Stats {
    return {
      state: this.#state,
      session: (this.#state.name === 'open' && this.#welcome?.session) || null,
      ...this.#counts,
      lanes: this.#session.ledger.accounts(),
      lanesForgotten: this.#session.ledger.forgotten,
      delay: this.delay,
    };
  }

  /** How long the latest messages were on their way. */
  get delay(): Stats['delay'] {
    const delay = this.#delays.figures;
    return { ...delay, isLate: (delay.p99Ms ?? 0) > (this.#options.targetDelayMs ?? Infinity) };
  }

  /** Ends the client and all its subscriptions; what was published and not confirmed is rejected. */
  close(): void {
    this.#do(() => this.#session.close(now()));
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.close();
    return Promise.resolve();
  }

  // ---- inside ----

  /** The account counts what reaches the subscription that was made first. */
  #onDropped(key: number, message: Message): void {
    if (this.#session.keysOf(message.topic)[0] === key) this.#session.ledger.onDropped(message);
  }

  #promise(begin: (key: number) => void): Promise<number> {
    const key = ++this.#key;
    return new Promise((resolve, reject) => {
      this.#promises.set(key, { resolve, reject });
      begin(key);
      // One confirmation for all that is published in a turn of the event loop.
      this.#schedule();
    });
  }

  #settle(key: number, result: number | FanwireError): void {
    const promised = this.#promises.get(key);
    this.#promises.delete(key);
    if (typeof result === 'number') promised?.resolve(result);
    else promised?.reject(result);
  }

  #do(step: () => void): void {
    step();
    this.#drain();
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    queueMicrotask(() => {
      this.#isScheduled = false;
      this.#drain();
    });
  }

  #drain(): void {
    if (this.#isDraining) return;
    this.#isDraining = true;
    try {
      for (let action; (action = this.#session.next());) this.#perform(action);
    } finally {
      this.#isDraining = false;
    }
    this.#wake();
  }

  /** One timer: one that is early asks again. */
  #wake(): void {
    const atMs = this.#session.deadlineMs;
    if (this.#timer && this.#timer.atMs <= atMs) return;
    clearTimeout(this.#timer?.id);
    this.#timer = undefined;
    if (atMs === Infinity) return;
    const id = setTimeout(
      () => {
        this.#timer = undefined;
        if (now() >= this.#session.deadlineMs) this.#session.onTime(now());
        this.#drain();
      },
      Math.min(Math.max(0, Math.ceil(atMs - now())), 2 ** 31 - 1),
    );
    this.#timer = { atMs, id };
  }

  #perform(action: Action): void {
    if (action.do === 'tell') this.#hear(action);
    else if (action.do === 'send') this.#socket?.send(action.data);
    else if (action.do === 'connect') this.#connect(action.url, [...action.protocols]);
    else if (action.do === 'token') this.#askToken();
    else this.#disconnect();
  }

  #connect(url: string, protocols: string[]): void {
    let socket: Socket;
    try {
      socket = new this.#Socket(url, protocols);
    } catch (error) {
      return this.#session.onClose(now(), 1010, String((error as Error).message ?? error));
    }
    this.#socket = socket;
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => this.#do(() => this.#session.onOpen(now(), socket.protocol));
    socket.onmessage = ({ data }: { data: string | ArrayBuffer }) => {
      this.#counts.bytes += typeof data === 'string' ? data.length : data.byteLength;
      this.#do(() => this.#session.onData(now(), typeof data === 'string' ? data : new Uint8Array(data)));
    };
    socket.onerror = () => undefined;
    socket.onclose = ({ code, reason }: { code: number; reason: string }) =>
      this.#do(() => this.#session.onClose(now(), code || 1006, reason || ''));
  }

  /** Gives the socket up, without waiting for how it ends. */
  #disconnect(): void {
    const socket = this.#socket;
    this.#socket = undefined;
    if (!socket) return;
    // An error after that is nobody's; a package may throw what nobody listens to.
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  #askToken(): void {
    const { token } = this.#options;
    const ask = async (): Promise<string> => (token as () => string | Promise<string>)();
    ask().then(
      (text) => this.#do(() => this.#session.onToken(now(), text)),
      (error: unknown) =>
        this.#do(() => this.#session.onTokenFailed(now(), String((error as Error)?.message ?? error))),
    );
  }

  #hear(telling: Telling): void {
    switch (telling.tell) {
      case 'delivery':
        return this.#deliver(telling.delivery, telling.key);
      case 'failed': {
        const subscription = this.#subscriptions.get(telling.key);
        this.#subscriptions.delete(telling.key);
        return subscription?.finish(new FanwireError(telling.code, telling.message));
      }
      case 'published':
        return this.#settle(telling.key, 0);
      case 'unpublished':
        return this.#settle(telling.key, new FanwireError(telling.code, telling.message));
      case 'pong':
        this.#delays.onRtt(telling.rttMs);
        return this.#settle(telling.key, telling.rttMs);
      case 'welcome':
        return this.#onWelcome(telling.welcome);
      case 'state':
        return this.#onState(telling.state);
    }
  }

  #onWelcome(welcome: Welcome): void {
    this.#welcome = welcome;
    this.#counts.connections++;
    this.#delays.reset();
    this.#measure();
    this.#ready.resolve(welcome);
  }

  /** Measures the round trip: clocks are compared with it. */
  #measure(): void {
    this.#rttAtMs = now() + RTT_EVERY_MS;
    this.#session.ping(now(), 0);
  }

  #deliver(delivery: Delivery, only: number | undefined): void {
    if (delivery.type === 'message') this.#onMessage(delivery);
    const topic = 'topic' in delivery ? delivery.topic : undefined;
    const keys =
      only !== undefined ? [only] : topic === undefined ? this.#subscriptions.keys() : this.#session.keysOf(topic);
    for (const key of keys) this.#subscriptions.get(key)?.deliver(delivery);
  }

  #onMessage({ timeUs, priority }: Message): void {
    this.#counts.messages++;
    // What was published before this connection was made is history, whose age says nothing about the way here.
    if (timeUs <= this.#welcome!.time_us || !PRIORITIES.includes(priority)) return;
    this.#delays.take(performance.timeOrigin + now() - timeUs / 1000, now());
    if (now() >= this.#rttAtMs) this.#measure();
  }

  #onState(state: State): void {
    this.#state = state;
    if (state.name !== 'open') this.#rttAtMs = Infinity;
    if (state.name === 'ended') this.#onEnded(endError(state));
    for (const listener of this.#listeners) guarded(() => listener(state));
    if (state.name !== 'open') for (const key of [...this.#promises.keys()]) this.#failPing(key);
  }

  /** Pings of a connection that is gone; what is published has its own word. */
  #failPing(key: number): void {
    if (!this.#session.isPublishing(key)) this.#settle(key, new FanwireError('closed', 'the connection has ended'));
  }

  #onEnded(error: FanwireError | null): void {
    this.#ready.reject(error ?? new FanwireError('closed', 'the client is closed'));
    for (const subscription of this.#subscriptions.values()) subscription.finish(error);
    this.#subscriptions.clear();
  }
}

/** Milliseconds of a clock that only grows. */
function now(): number {
  return performance.now();
}

function endError(state: State): FanwireError | null {
  if (state.name !== 'ended' || state.how === 'normal') return null;
  return new FanwireError(state.how, `${state.reason || 'the server has ended the connection'} (${state.code})`);
}

/**
 * Connects to a server, and stays connected: after a break it resumes where it was. Subscribe and publish at once;
 * there is no need to wait.
 *
 * Throws a `FanwireError` (`bad_option`) where an option is wrong; everything later is a `State` or a rejection.
 */
export function connect(url: string | URL, options: ConnectOptions = {}): Client {
  return new Client(url, options);
}
