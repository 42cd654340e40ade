// Job: when a connection that stays needs another token (PROTOCOL.md, `auth`).
// Knows: times as arguments. Must never know: where tokens come from, sockets, clocks.

/** Part of a token's life after which another one is brought. */
const RENEW_AT = 0.8;
/** No token is brought sooner than this after another, in milliseconds; also the pause after one that was refused. */
const RENEW_MIN_MS = 5_000;

export class Renewal {
  /** When a token is to be asked for. */
  deadlineMs = Infinity;
  #isAsked = false;
  #id = 0;

  /** A token has come to hold that lives so long. */
  begin(nowMs: number, lifeMs: number): void {
    this.#isAsked = false;
    this.deadlineMs = nowMs + Math.max(RENEW_MIN_MS, lifeMs * RENEW_AT);
  }

  /** Whether a token is to be asked for now. */
  onTime(nowMs: number): boolean {
    if (nowMs < this.deadlineMs) return false;
    this.deadlineMs = Infinity;
    this.#isAsked = true;
    return true;
  }

  /** A token was given. Whether it is to be brought, in a request with this `id`. */
  onToken(id: number): boolean {
    if (this.#isAsked) this.#id = id;
    return this.#isAsked;
  }

  /** None was given, or it was refused: later again. */
  onFailed(nowMs: number): void {
    this.#isAsked = false;
    this.deadlineMs = nowMs + RENEW_MIN_MS;
  }

  /** Whether an error speaks of what was brought. */
  isOwn(id: unknown): boolean {
    return this.#id > 0 && id === this.#id;
  }

  onLost(): void {
    this.deadlineMs = Infinity;
    this.#isAsked = false;
    this.#id = 0;
  }
}
