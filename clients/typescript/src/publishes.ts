// Job: what was published and is not confirmed: each message is sent at most once, and told to be taken, or not.
// Knows: `publish`, `error`, `pong`. Must never know: sockets, promises, topics' numbers.

import type { Telling } from './session.js';
import type { Kind, Priority, Request } from './types.js';

/** Messages that wait for a connection or their confirmation, at most. */
export const WAITING_MAX = 10_000;
/** Bytes of text and binary payloads that wait for a connection, at most. */
export const WAITING_BYTES_MAX = 64 << 20;

export interface Outgoing {
  readonly topic: string;
  readonly kind: Kind;
  readonly data: unknown;
  readonly priority?: Priority | undefined;
  readonly key?: string | undefined;
  readonly ttlMs?: number | undefined;
  readonly traceparent?: string | undefined;
}

export class Publishes {
  /** Largest message that the server takes, in bytes. */
  bytesMax = Infinity;
  /** Not sent yet. */
  #waiting: { key: number; message: Outgoing }[] = [];
  /** Sent and not confirmed, by `id`, in this order. */
  readonly #sent = new Map<number, number>();
  #needsPing = false;
  /** Of payloads that wait. */
  #bytes = 0;

  constructor(
    private readonly nextId: () => number,
    private readonly send: (request: Request) => void,
    private readonly tell: (telling: Telling) => void,
  ) {}

  add(key: number, message: Outgoing, isOpen: boolean): void {
    if (this.#waiting.length + this.#sent.size >= WAITING_MAX)
      return this.refuse(key, 'overflow', `${WAITING_MAX} messages wait to be confirmed`);
    if (isOpen) return this.#send(key, message);
    const bytes = this.#bytes + sizeOf(message.data);
    if (bytes > WAITING_BYTES_MAX)
      return this.refuse(key, 'overflow', `${WAITING_BYTES_MAX} bytes wait for a connection`);
    this.#bytes = bytes;
    this.#waiting.push({ key, message });
  }

  /** Whether this message's fate is open. */
  has(key: number): boolean {
    return this.#waiting.some((one) => one.key === key) || [...this.#sent.values()].includes(key);
  }

  refuse(key: number, code: string, message: string): void {
    this.tell({ tell: 'unpublished', key, code, message });
  }

  sendAll(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    this.#bytes = 0;
    for (const { key, message } of waiting) this.#send(key, message);
  }

  /** Asks once for all that was sent since it was asked last. */
  confirm(): void {
    if (!this.#needsPing) return;
    this.#needsPing = false;
    this.send({ type: 'ping', id: this.nextId() });
  }

  /** Answers come in order: what was sent before that ping has been taken. */
  onPong(id: number): void {
    for (const [sent, key] of this.#sent) {
      if (sent > id) break;
      this.#sent.delete(sent);
      this.tell({ tell: 'published', key, code: '', message: '' });
    }
  }

  onError(id: number, code: string, message: string): boolean {
    const key = this.#sent.get(id);
    if (key === undefined) return false;
    this.#sent.delete(id);
    this.refuse(key, code, message);
    return true;
  }

  /** The connection has ended: whether what was sent has come, nobody knows. */
  onLost(): void {
    this.#needsPing = false;
    for (const key of this.#sent.values())
      this.refuse(key, 'unconfirmed', 'the connection ended before the server said whether it had taken the message');
    this.#sent.clear();
  }

  end(): void {
    this.onLost();
    for (const { key } of this.#waiting) this.refuse(key, 'closed', 'the client is closed; the message was not sent');
    this.#waiting = [];
  }

  #send(key: number, { topic, kind, data, priority, key: replaces, ttlMs, traceparent }: Outgoing): void {
    const size = sizeOf(data);
    if (size > this.bytesMax)
      return this.refuse(
        key,
        'too_large',
        `the server takes at most ${this.bytesMax} bytes, this message has ${size}`,
      );
    const id = this.nextId();
    try {
      // What is undefined is not sent.
      this.send({ type: 'publish', id, topic, kind, data, priority, key: replaces, ttl_ms: ttlMs, traceparent });
    } catch (error) {
      return this.refuse(key, 'bad_data', `the data cannot be written: ${(error as Error).message}`);
    }
    this.#sent.set(id, key);
    this.#needsPing = true;
  }
}

/** Of text and bytes, at least so many bytes; of JSON nobody knows yet. */
function sizeOf(data: unknown): number {
  return typeof data === 'string' || data instanceof Uint8Array ? data.length : 0;
}
