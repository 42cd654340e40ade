// Job: whether one connection still lives: pings, silence, the moment after which it is left.
// Knows: times as arguments. Must never know: topics, sockets, clocks.

import type { Request } from './types.js';

/** So late, in milliseconds, a call of `onTime` says that this program itself stood still. */
const ASLEEP_MS = 1_000;

export class Link {
  #pings = new Map<number, { key: number; sentMs: number }>();
  #heardMs = 0;
  /** When silence was noticed and asked about. */
  #askedMs = Infinity;
  /** It was waited once more, for this program had stood still. */
  #isPatient = false;
  #connectByMs = Infinity;
  #leaveAtMs = Infinity;

  constructor(
    private readonly pingEveryMs: number,
    private readonly silentMs: number,
    private readonly nextId: () => number,
    private readonly send: (request: Request) => void,
  ) {}

  onConnect(nowMs: number, withinMs: number): void {
    this.onLost();
    this.#connectByMs = nowMs + withinMs;
  }

  onOpen(nowMs: number): void {
    this.#connectByMs = Infinity;
    this.onHeard(nowMs);
  }

  onHeard(nowMs: number): void {
    this.#heardMs = nowMs;
    this.#askedMs = Infinity;
    this.#isPatient = false;
  }

  onMigrate(leaveAtMs: number): void {
    this.#leaveAtMs = leaveAtMs;
  }

  onLost(): void {
    this.#pings.clear();
    this.#heardMs = Infinity;
    this.#askedMs = this.#connectByMs = this.#leaveAtMs = Infinity;
  }

  /** Asks for a `pong`. `key` 0: for nobody. */
  ping(nowMs: number, key: number): void {
    const id = this.nextId();
    this.#pings.set(id, { key, sentMs: nowMs });
    this.send({ type: 'ping', id });
  }

  /** Whose ping this answers, and after how long. */
  onPong(id: number, nowMs: number): { key: number; rttMs: number } | undefined {
    const ping = this.#pings.get(id);
    this.#pings.delete(id);
    return ping && { key: ping.key, rttMs: nowMs - ping.sentMs };
  }

  get deadlineMs(): number {
    return Math.min(this.#connectByMs, this.#leaveAtMs, this.#lookAtMs);
  }

  /** Why the connection is to be left, if it is. */
  onTime(nowMs: number): 'silent' | 'migrate' | undefined {
    if (nowMs >= this.#leaveAtMs) return 'migrate';
    if (nowMs >= this.#connectByMs) return 'silent';
    const lookAtMs = this.#lookAtMs;
    if (nowMs < lookAtMs) return undefined;
    const isAsked = this.#askedMs !== Infinity;
    // A program that stood still has heard nobody meanwhile: what came since is taken first, once.
    const wasAsleep = nowMs - lookAtMs >= ASLEEP_MS && !this.#isPatient;
    if (isAsked && !wasAsleep) return 'silent';
    this.#isPatient = isAsked;
    this.#askedMs = nowMs;
    if (!isAsked) this.ping(nowMs, 0);
    return undefined;
  }

  get #lookAtMs(): number {
    if (this.pingEveryMs <= 0) return Infinity;
    return this.#askedMs === Infinity ? this.#heardMs + this.pingEveryMs : this.#askedMs + this.silentMs;
  }
}
