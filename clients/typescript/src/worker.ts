// Job: the page's end of a client in a Worker: what came is fetched as columns, once a frame or when it is wanted.
// Knows: Workers, frames. Must never know: the protocol.

import type { ConnectOptions, Gap, Refused, State, Stats, SubscribeOptions } from './index.js';
import { FanwireError } from './types.js';
import type { Rows } from './rings.js';

export type { Rows } from './rings.js';

/** A Worker, or a `MessagePort`. */
export interface Port {
  postMessage(message: unknown, transfer: ArrayBuffer[]): void;
  // What comes is told apart by who has sent it: `ToWorker`, `FromWorker`.
  onmessage: ((event: { readonly data: any }) => void) | null;
}

/** Topics whose messages become rows. */
export interface SeriesOptions extends SubscribeOptions {
  readonly topics: string | readonly string[];
  /** Paths into the payloads (`gps.lat`), by the names of the columns. */
  readonly columns: Readonly<Record<string, string>>;
  /** Rows of a lane that wait to be fetched, at most; older ones are dropped, and told as gaps. Default: 16,384. */
  readonly capacity?: number;
}

export interface WorkerOptions extends Omit<ConnectOptions, 'WebSocket' | 'batch' | 'msgpack' | 'signal'> {
  readonly series: readonly SeriesOptions[];
  /** Default: a module Worker of `fanwire/worker-thread`, whose address bundlers find. */
  readonly worker?: Port & { terminate?: () => void };
  readonly onState?: (state: State) => void;
  readonly onRefused?: (refused: Refused) => void;
}

/** What came of one series since it was fetched last. */
export interface Fetched {
  readonly rows: Rows[];
  readonly gaps: Gap[];
}

/** @internal */
export type ToWorker =
  | {
      do: 'open';
      url: string;
      options: ConnectOptions;
      asksToken: boolean;
      series: readonly SeriesOptions[];
    }
  | { do: 'drain'; id: number }
  | { do: 'token'; token: string | null }
  | { do: 'close' };

/** @internal */
export type FromWorker =
  | { state: State }
  | { refused: Refused }
  | { ask: 'token' }
  | { drained: number; series: Fetched[]; stats: Stats | null }
  | { failed: string };

interface Waiting {
  resolve(series: Fetched[]): void;
  reject(error: FanwireError): void;
}

export class WorkerClient {
  readonly #port: NonNullable<WorkerOptions['worker']>;
  readonly #options: WorkerOptions;
  readonly #waiting = new Map<number, Waiting>();
  #id = 0;
  #isClosed = false;
  /** How the Worker's connection stands. */
  state: State = { name: 'connecting' };
  /** As of the last `fetch`. */
  stats: Stats | null = null;

  /** @internal Use `connectInWorker`. */
  constructor(url: string | URL, options: WorkerOptions) {
    const { series, worker, onState, onRefused, token, ...rest } = options;
    this.#options = options;
    const base = (globalThis as { location?: { href?: string } }).location?.href;
    this.#port =
      worker ?? (new Worker(new URL('./worker-thread.js', import.meta.url), { type: 'module' }) as unknown as Port);
    this.#port.onmessage = ({ data }: { data: FromWorker }) => this.#hear(data);
    const plain = typeof token === 'string' ? { ...rest, token } : rest;
    const address = String(new URL(url, base));
    this.#say({ do: 'open', url: address, options: plain, asksToken: typeof token === 'function', series });
  }

  /** What came since the last time, for each series. The arrays are the page's own: nothing is copied on the way. */
  fetch(): Promise<Fetched[]> {
    return new Promise((resolve, reject) => {
      if (this.#isClosed) return reject(new FanwireError('closed', 'the client is closed'));
      this.#waiting.set(++this.#id, { resolve, reject });
      this.#say({ do: 'drain', id: this.#id });
    });
  }

  /** Calls back once a frame with what came, if anything did. Returns how to end that. */
  eachFrame(draw: (series: Fetched[]) => void): () => void {
    let isOn = true;
    const step = (): void => {
      if (!isOn || this.#isClosed) return;
      this.fetch().then(
        (series) => {
          if (!isOn) return;
          if (series.some(({ rows, gaps }) => rows.length + gaps.length > 0)) draw(series);
          requestAnimationFrame(step);
        },
        () => undefined,
      );
    };
    requestAnimationFrame(step);
    return () => void (isOn = false);
  }

  /** Ends the connection and the Worker. */
  close(): void {
    if (this.#isClosed) return;
    this.#say({ do: 'close' });
    this.#end('the client is closed');
    this.#port.terminate?.();
  }

  #say(message: ToWorker): void {
    this.#port.postMessage(message, []);
  }

  #end(message: string): void {
    this.#isClosed = true;
    for (const { reject } of this.#waiting.values()) reject(new FanwireError('closed', message));
    this.#waiting.clear();
  }

  #hear(message: FromWorker): void {
    if ('state' in message) {
      this.state = message.state;
      this.#options.onState?.(message.state);
    } else if ('refused' in message) this.#options.onRefused?.(message.refused);
    else if ('drained' in message) {
      this.stats = message.stats;
      this.#waiting.get(message.drained)?.resolve(message.series);
      this.#waiting.delete(message.drained);
    } else if ('ask' in message) this.#giveToken();
    else {
      this.#options.onRefused?.({ type: 'refused', code: 'bad_option', message: message.failed });
      this.#end(message.failed);
    }
  }

  #giveToken(): void {
    const ask = async (): Promise<string> => (this.#options.token as () => string | Promise<string>)();
    ask().then(
      (token) => this.#say({ do: 'token', token }),
      () => this.#say({ do: 'token', token: null }),
    );
  }
}

/** Connects in a Worker: the page's thread decodes nothing. Batches are offered first. */
export function connectInWorker(url: string | URL, options: WorkerOptions): WorkerClient {
  return new WorkerClient(url, options);
}
