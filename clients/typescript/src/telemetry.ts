// Job: telemetry in bundles with a measured delay: a thin class over `connect`.

import { batch } from './batch.js';
import { connect } from './index.js';
import type { Client, Delay, Message, Subscription } from './index.js';

/** How long messages are on their way. */
export interface Latency {
  /** Milliseconds; `null` where nothing was measured yet. */
  readonly p50: number | null;
  readonly p99: number | null;
  /** How far this clock is ahead of the server's, in milliseconds. */
  readonly offset: number;
  readonly isEstimated: boolean;
  /** `p99` is above `maxLatency`: of each lane only the newest message is passed on, but for critical ones. */
  readonly isLate: boolean;
  /** Messages that were not passed on for that, since the start. */
  readonly skipped: number;
}

export interface TelemetryOptions {
  readonly url: string;
  /** Calls of `onTelemetry` a second, at most. Default: 200. */
  readonly targetFrequency?: number;
  /** The delay that is wanted, in milliseconds. Default: 50. */
  readonly maxLatency?: number;
  /** Whether LZ4 is offered. Default: yes. */
  readonly enableCompression?: boolean;
  /** Whether a batch protocol is offered. Default: yes. */
  readonly enableBatching?: boolean;
  /** More options of `connect`. */
  readonly connect?: Parameters<typeof connect>[1];
}

export class OptimizedTelemetryClient {
  readonly #options: Required<Omit<TelemetryOptions, 'connect'>> & Pick<TelemetryOptions, 'connect'>;
  #client: Client | undefined;
  #messages: Message[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;
  #skipped = 0;

  constructor(options: TelemetryOptions) {
    const { targetFrequency = 200, maxLatency = 50, enableCompression = true, enableBatching = true } = options;
    this.#options = { ...options, targetFrequency, maxLatency, enableCompression, enableBatching };
  }

  /**
   * Set this, or override it: what came since the last call, when that is (milliseconds since 1970), and how long
   * messages are on their way.
   */
  onTelemetry: (messages: readonly Message[], timestamp: number, latency: Latency) => void = () => undefined;

  /** Connects, and stays connected. Resolves when the server is there. */
  async connect(): Promise<void> {
    await this.client.ready;
  }

  /** The client underneath: gaps, states and accounts are its. */
  get client(): Client {
    const { url, maxLatency, enableCompression, enableBatching, connect: more } = this.#options;
    this.#client ??= connect(url, {
      ...more,
      targetDelayMs: maxLatency,
      compression: enableCompression ? 'auto' : 'none',
      ...(enableBatching && { batch }),
    });
    return this.#client;
  }

  /** Subscribes; what comes goes to `onTelemetry`. */
  subscribe(topics: string | readonly string[]): Subscription {
    return this.client.subscribe(topics, { onMessage: (message) => this.#take(message) });
  }

  disconnect(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#client?.close();
    this.#client = undefined;
  }

  #take(message: Message): void {
    this.#messages.push(message);
    this.#timer ??= setTimeout(() => this.#give(), 1000 / this.#options.targetFrequency);
  }

  #give(): void {
    this.#timer = undefined;
    const { p50Ms, p99Ms, offsetMs, isEstimated, isLate }: Delay & { isLate: boolean } = this.client.delay;
    const all = this.#messages;
    this.#messages = [];
    const messages = isLate ? newest(all) : all;
    this.#skipped += all.length - messages.length;
    this.onTelemetry(messages, Date.now(), {
      p50: p50Ms,
      p99: p99Ms,
      offset: offsetMs,
      isEstimated,
      isLate,
      skipped: this.#skipped,
    });
  }
}

/** Of each lane the newest, in the order of their arrival; all that is critical. */
function newest(messages: readonly Message[]): Message[] {
  const last = new Map(messages.map((message) => [`${message.priority} ${message.topic}`, message]));
  const kept = new Set(last.values());
  return messages.filter((message) => message.priority === 'critical' || kept.has(message));
}
