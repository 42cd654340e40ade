// Job: one client's conversation with a server over all its connections: what to send, when to come back, what to tell.
// Knows: objects of the protocol, the order of things, times as arguments. Must never know: sockets, clocks, promises.

import { Link } from './link.js';
import { Ledger } from './ledger.js';
import { afterClose } from './policy.js';
import type { Outgoing } from './publishes.js';
import { Publishes } from './publishes.js';
import { Requests } from './requests.js';
import type { Ask, Asked } from './requests.js';
import { Renewal } from './renewal.js';
import { lifetimeMs } from './token.js';
import type { Codec, Decoder, Delivery, Priority, Received, Request, State, Welcome } from './types.js';

/** After so long without a handshake an attempt to connect is given up, in milliseconds. */
const CONNECT_MS = 10_000;
/** How long after the moment that `migrate` named the client leaves by itself, in milliseconds. */
const CLOSE_PATIENCE_MS = 5_000;
/** A connection on which only pings are answered counts as one that works after so long, in milliseconds. */
const LASTING_MS = 10_000;

export interface SessionOptions {
  readonly url: string;
  /** What is offered, the best first. */
  readonly codecs: readonly Codec[];
  /** A token, or `true`: it is asked for, with the action `token`. */
  readonly token?: string | true | undefined;
  /** Asks a server that has said nothing for so long, in milliseconds; 0: never. */
  readonly pingEveryMs: number;
  /** Gives up so long after that if nothing comes, in milliseconds. */
  readonly silentMs: number;
  /** From 0 to 1, by chance. */
  readonly random: () => number;
}

/** What is to be told: a delivery (for the subscriptions that match its topic), or something of the session itself. */
export type Telling =
  | { readonly tell: 'delivery'; readonly delivery: Delivery; /** only for this one */ readonly key?: number }
  /** A subscription has ended, for its names are not to be had. */
  | { readonly tell: 'failed'; readonly key: number; readonly code: string; readonly message: string }
  | {
      readonly tell: 'published' | 'unpublished';
      readonly key: number;
      readonly code: string;
      readonly message: string;
    }
  | { readonly tell: 'pong'; readonly key: number; readonly rttMs: number }
  | { readonly tell: 'authorized'; readonly code: string | null }
  | { readonly tell: 'welcome'; readonly welcome: Welcome }
  | { readonly tell: 'state'; readonly state: State };

export type Action =
  | { readonly do: 'connect'; readonly url: string; readonly protocols: readonly string[] }
  | { readonly do: 'send'; readonly data: string | Uint8Array<ArrayBuffer>; readonly request: Request }
  | { readonly do: 'disconnect' }
  /** Get a token: `onToken`. */
  | { readonly do: 'token' }
  | ({ readonly do: 'tell' } & Telling);

type Phase = 'idle' | 'token' | 'connecting' | 'open' | 'waiting' | 'ended';

export class Session {
  readonly ledger = new Ledger();
  readonly #options: SessionOptions;
  readonly #requests: Requests;
  readonly #publishes: Publishes;
  readonly #link: Link;
  readonly #renewal = new Renewal();
  #actions: Action[] = [];
  #taken = 0;
  #phase: Phase = 'idle';
  #codec: Codec | undefined;
  #decoder: Decoder | undefined;
  #token: string | undefined;
  #elsewhere: string | undefined;
  #attempt = 0;
  #isAnnounced = false;
  #retryAtMs = Infinity;
  #nowMs = 0;
  #openedMs = 0;
  #id = 0;

  constructor(options: SessionOptions) {
    this.#options = options;
    if (typeof options.token === 'string') this.#token = options.token;
    const send = (request: Request) => this.#send(request);
    const tell = (telling: Telling) => this.#tell(telling);
    const nextId = () => ++this.#id;
    this.#link = new Link(options.pingEveryMs, options.silentMs, nextId, send);
    this.#requests = new Requests(this.ledger, nextId, send);
    this.#publishes = new Publishes(nextId, send, tell);
  }

  // ---- what the user wants ----

  /** Connects. */
  start(nowMs: number): void {
    this.#nowMs = nowMs;
    if (this.#phase === 'idle') this.#seek();
  }

  subscribe(nowMs: number, key: number, topics: readonly string[], options: Asked): void {
    this.#nowMs = nowMs;
    this.#requests.add(key, topics, options, this.#isOpen);
  }

  unsubscribe(nowMs: number, key: number): void {
    this.#nowMs = nowMs;
    this.#requests.remove(key, this.#isOpen);
  }

  /** Stops what comes for a subscription, and keeps its place: `resume` loses nothing that the server keeps. */
  pause(nowMs: number, key: number): void {
    this.#nowMs = nowMs;
    this.#requests.pause(key, this.#isOpen);
  }

  resume(nowMs: number, key: number): void {
    this.#nowMs = nowMs;
    this.#requests.resume(key, this.#isOpen);
  }

  publish(nowMs: number, key: number, message: Outgoing): void {
    this.#nowMs = nowMs;
    if (this.#phase === 'ended') this.#publishes.refuse(key, 'closed', 'the client is closed');
    else this.#publishes.add(key, message, this.#isOpen);
  }

  /** Asks for a `pong`; without a connection nothing happens, and `false` is returned. */
  ping(nowMs: number, key: number): boolean {
    this.#nowMs = nowMs;
    if (this.#isOpen) this.#link.ping(nowMs, key);
    return this.#isOpen;
  }

  /** Ends it. */
  close(nowMs: number): void {
    this.#nowMs = nowMs;
    if (this.#phase === 'ended') return;
    if (this.#phase === 'open' || this.#phase === 'connecting') this.#act({ do: 'disconnect' });
    this.#leave();
    this.#end('normal', 1000, 'closed by this client');
  }

  /** Whether it is not decided yet what becomes of this message. */
  isPublishing(key: number): boolean {
    return this.#publishes.has(key);
  }

  /** Topic by topic, which subscriptions it belongs to. */
  keysOf(topic: string): readonly number[] {
    return this.#requests.keysOf(topic);
  }

  // ---- what the connection does ----

  onOpen(nowMs: number, protocol: string): void {
    this.#nowMs = nowMs;
    if (this.#phase !== 'connecting') return;
    this.#codec = this.#options.codecs.find(({ protocols }) => protocols.includes(protocol));
    if (!this.#codec) {
      this.#act({ do: 'disconnect' });
      this.#leave();
      this.#end(
        'refused',
        1010,
        `the server speaks none of the subprotocols that were offered: ${protocol || 'raw'}`,
      );
      return;
    }
    this.#decoder = this.#codec.decoder();
    this.#phase = 'open';
    this.#openedMs = nowMs;
    this.#link.onOpen(nowMs);
    this.#tell({ tell: 'state', state: { name: 'open', protocol } });
    this.#requests.sendAll();
    this.#publishes.sendAll();
  }

  onData(nowMs: number, data: string | Uint8Array): void {
    this.#nowMs = nowMs;
    const decoder = this.#decoder;
    if (!decoder || !this.#isOpen) return;
    this.#link.onHeard(nowMs);
    try {
      decoder.decode(data, (object) => {
        if (this.#decoder === decoder) this.#onObject(object);
      });
    } catch (error) {
      this.#lose(1006, `what the server sent cannot be read: ${(error as Error).message}`);
    }
  }

  onClose(nowMs: number, code: number, reason: string): void {
    this.#nowMs = nowMs;
    if (this.#phase !== 'open' && this.#phase !== 'connecting') return;
    this.#leave();
    this.#afterEnd(code, reason);
  }

  onToken(nowMs: number, token: string): void {
    this.#nowMs = nowMs;
    this.#token = token;
    if (this.#phase === 'token') this.#connect();
    else if (this.#isOpen && this.#renewal.onToken(++this.#id)) this.#send({ type: 'auth', id: this.#id, token });
  }

  /** There is no token now: it is asked for again later, as after a connection that failed. */
  onTokenFailed(nowMs: number, reason: string): void {
    this.#nowMs = nowMs;
    if (this.#phase === 'token') this.#retry(1006, `no token: ${reason}`);
    if (this.#isOpen) this.#renewal.onFailed(nowMs);
  }

  /** The moment at which `onTime` is to be called. */
  get deadlineMs(): number {
    const connection = this.#phase === 'connecting' || this.#isOpen ? this.#link.deadlineMs : Infinity;
    return Math.min(this.#retryAtMs, this.#renewal.deadlineMs, connection);
  }

  onTime(nowMs: number): void {
    this.#nowMs = nowMs;
    if (nowMs >= this.#retryAtMs) {
      this.#retryAtMs = Infinity;
      this.#seek();
    }
    if (this.#renewal.onTime(nowMs)) this.#act({ do: 'token' });
    if (this.#phase !== 'connecting' && !this.#isOpen) return;
    const end = this.#link.onTime(nowMs);
    if (end === 'migrate') this.#lose(1012, 'the server asked for it');
    else if (end === 'silent') this.#lose(1006, this.#isOpen ? 'the server is silent' : 'nobody answers');
  }

  /** What is to be done next, in this order. */
  next(): Action | undefined {
    if (this.#taken < this.#actions.length) return this.#actions[this.#taken++];
    this.#actions = [];
    this.#taken = 0;
    if (this.#isOpen) this.#publishes.confirm();
    return this.#actions[this.#taken] && this.#actions[this.#taken++];
  }

  // ---- inside ----

  get #isOpen(): boolean {
    return this.#phase === 'open';
  }

  #act(action: Action): void {
    this.#actions.push(action);
  }

  #tell(telling: Telling): void {
    this.#act({ do: 'tell', ...telling });
  }

  #send(request: Request): void {
    this.#act({ do: 'send', data: this.#codec!.encode(request), request });
  }

  /** Gets a token if there is somebody to ask, and connects. */
  #seek(): void {
    if (this.#options.token !== true) return this.#connect();
    this.#phase = 'token';
    this.#act({ do: 'token' });
  }

  #connect(): void {
    this.#phase = 'connecting';
    this.#link.onConnect(this.#nowMs, CONNECT_MS);
    const protocols = this.#options.codecs.flatMap((codec) => codec.protocols);
    if (this.#token !== undefined) protocols.push(`fanwire.token.${this.#token}`);
    this.#tell({ tell: 'state', state: { name: 'connecting' } });
    this.#act({ do: 'connect', url: this.#elsewhere ?? this.#options.url, protocols });
    this.#elsewhere = undefined;
  }

  #lose(code: number, reason: string): void {
    this.#act({ do: 'disconnect' });
    this.#leave();
    this.#afterEnd(code, reason);
  }

  /** Forgets what belongs to the connection. */
  #leave(): void {
    this.#phase = 'idle';
    this.#decoder = undefined;
    this.#retryAtMs = Infinity;
    this.#renewal.onLost();
    this.#publishes.onLost();
    this.#link.onLost();
  }

  #afterEnd(code: number, reason: string): void {
    const { token, random } = this.#options;
    const isAnnounced = this.#isAnnounced;
    this.#isAnnounced = false;
    const next = afterClose({ code, attempt: this.#attempt, isAnnounced, canAsk: token === true, chance: random() });
    if (next.do === 'end') return this.#end(next.how, code, reason);
    this.#attempt++;
    this.#wait(code, reason, next.do === 'token' ? 0 : next.afterMs);
  }

  #retry(code: number, reason: string): void {
    this.#phase = 'idle';
    this.#afterEnd(code, reason);
  }

  #wait(code: number, reason: string, afterMs: number): void {
    this.#phase = 'waiting';
    this.#tell({ tell: 'state', state: { name: 'waiting', code, reason, retryInMs: afterMs } });
    if (afterMs <= 0) this.#seek();
    else this.#retryAtMs = this.#nowMs + afterMs;
  }

  #end(how: 'normal' | 'refused' | 'unauthorized', code: number, reason: string): void {
    this.#phase = 'ended';
    this.#publishes.end();
    this.#tell({ tell: 'state', state: { name: 'ended', how, code, reason } });
  }

  #onObject(object: Received): void {
    const { type } = object;
    if (type === 'welcome') return this.#onWelcome(object as unknown as Welcome);
    // Who answers a ping may still have no room: only what lasts counts.
    if (type !== 'pong' || this.#nowMs - this.#openedMs >= LASTING_MS) this.#attempt = 0;
    if (type === 'message') this.#onMessage(object);
    else if (type === 'gap') this.#deliver(this.ledger.onGap(object));
    else if (type === 'subscribed') this.#onSubscribed(object);
    else if (type === 'unsubscribed') this.#onUnsubscribed(object);
    else if (type === 'pong') this.#onPong(object.id as number);
    else if (type === 'error') this.#onError(object);
    else if (type === 'authorized') this.#onAuthorized(object);
    else if (type === 'migrate') this.#onMigrate(object);
  }

  #onWelcome(welcome: Welcome): void {
    this.#publishes.bytesMax = welcome.limits?.message_bytes_max ?? Infinity;
    if (this.#token !== undefined) this.#renewAfter(lifetimeMs(this.#token, welcome.time_us / 1000));
    this.#tell({ tell: 'welcome', welcome });
  }

  #onMessage(object: Received): void {
    const epoch = this.ledger.onMessage(object.topic as string, object.priority as Priority, object.seq as number);
    if (epoch > 0) this.#deliver({ ...object, epoch } as unknown as Delivery);
  }

  #deliver(delivery: Delivery | null): void {
    if (delivery) this.#tell({ tell: 'delivery', delivery });
  }

  #onSubscribed(object: Received): void {
    // What is no such object says nothing.
    if (typeof object.topic !== 'string' || typeof object.epoch !== 'number') return;
    const change = this.ledger.onSubscribed(object, this.#requests.onSubscribed(object.topic));
    if (change === false) {
      const message = `more topics than a client counts: ${String(object.topic)} is not delivered`;
      this.#deliver({ type: 'refused', code: 'too_many_topics', message });
    } else this.#deliver(change);
  }

  #onUnsubscribed({ topic, id }: Received): void {
    if (id !== undefined && id !== null) return;
    for (const { key, isEmpty } of this.#requests.onWithdrawn(topic as string)) {
      const message = `the server has ended the subscription to ${String(topic)}`;
      if (isEmpty) this.#tell({ tell: 'failed', key, code: 'not_allowed', message });
      else this.#tell({ tell: 'delivery', delivery: { type: 'refused', code: 'unsubscribed', message }, key });
    }
  }

  #onPong(id: number): void {
    this.#requests.onPong(id);
    this.#publishes.onPong(id);
    const asked = this.#link.onPong(id, this.#nowMs);
    if (asked) this.#tell({ tell: 'pong', ...asked });
  }

  #onError({ id, code, message }: Received): void {
    const said = { code: String(code), message: String(message ?? code) };
    if (this.#renewal.isOwn(id)) {
      this.#renewal.onFailed(this.#nowMs);
      return this.#tell({ tell: 'authorized', code: said.code });
    }
    if (this.#publishes.onError(id as number, said.code, said.message)) return;
    const ask: Ask | undefined = this.#requests.onError(id as number, said.code);
    if (ask?.isOver) this.#tell({ tell: 'failed', key: ask.key, ...said });
    else this.#tell({ tell: 'delivery', delivery: { type: 'refused', ...said }, ...(ask && { key: ask.key }) });
  }

  #onAuthorized({ expires_in_ms: ms }: Received): void {
    this.#renewAfter(typeof ms === 'number' ? ms : Infinity);
    this.#tell({ tell: 'authorized', code: null });
  }

  #renewAfter(lifeMs: number): void {
    if (this.#options.token === true) this.#renewal.begin(this.#nowMs, lifeMs);
  }

  #onMigrate({ after_ms: afterMs, url }: Received): void {
    this.#isAnnounced = true;
    const isSafe =
      typeof url === 'string' && (/^wss:/i.test(url) || (/^ws:/i.test(url) && /^ws:/i.test(this.#options.url)));
    if (isSafe) this.#elsewhere = url as string;
    this.#link.onMigrate(this.#nowMs + (afterMs as number) + CLOSE_PATIENCE_MS);
  }
}
