// Job: what a user says to `connect`, checked, as what the session wants.

import { json } from './json.js';
import type { Codec } from './types.js';
import { FanwireError } from './types.js';

/** As much of a WebSocket as is used. */
export interface Socket {
  binaryType: string;
  readonly bufferedAmount: number;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  readonly protocol: string;
  send(data: string | Uint8Array<ArrayBuffer>): void;
  close(): void;
}

export type SocketConstructor = new (url: string, protocols: string[]) => Socket;

export interface ConnectOptions {
  /** A JSON Web Token, or who gives one: asked for each connection, and before the token expires. */
  readonly token?: string | (() => string | Promise<string>);
  /** What is spoken. `auto`: the best of what was passed, a batch protocol before MessagePack before JSON. */
  readonly protocol?: 'auto' | 'json' | 'msgpack' | 'batch';
  /** The codec of `fanwire/batch`. */
  readonly batch?: Codec;
  /** The codec of `fanwire/msgpack`. */
  readonly msgpack?: Codec;
  /** `none`: LZ4 is not offered. What the platform itself compresses (permessage-deflate) is its own affair. */
  readonly compression?: 'auto' | 'none';
  /** Messages a second of each lane, at most, for subscriptions that do not say. */
  readonly maxHz?: number;
  /** Messages may wait so long on the server, to be sent together, where a subscription does not say: 0 to 1,000 ms. */
  readonly maxDelayMs?: number;
  /** A delay that is wanted, in milliseconds: `stats().delay.isLate` says whether it is kept. Not sent. */
  readonly targetDelayMs?: number;
  /** Ends the client. */
  readonly signal?: AbortSignal;
  /** Default: the platform's own. Node 20 has none: pass that of `ws` or `undici`. */
  readonly WebSocket?: SocketConstructor;
  /** A server that says nothing for so long is asked, in milliseconds. 0: never. Default: 10,000. */
  readonly pingEveryMs?: number;
  /** It is given up if nothing comes for so long after that, in milliseconds. Default: 5,000. */
  readonly silentMs?: number;
  /** Deliveries that wait for the reader of a subscription, at most. Default: 10,000. */
  readonly queueMax?: number;
}

function bad(message: string): FanwireError {
  return new FanwireError('bad_option', message);
}

/** Checks that an option is a number within bounds. */
export function checkNumber(name: string, value: number | undefined, least: number, most: number): void {
  if (value !== undefined && !(typeof value === 'number' && value >= least && value <= most))
    throw bad(`${name} is a number from ${least} to ${most}, not ${String(value)}`);
}

/** Checks what holds for a subscription, said for it or for all. */
export function checkSubscription(options: { queueMax?: number; maxHz?: number; maxDelayMs?: number }): void {
  checkNumber('queueMax', options.queueMax, 1, 2 ** 31 - 1);
  checkNumber('maxHz', options.maxHz, Number.MIN_VALUE, 1e6);
  checkNumber('maxDelayMs', options.maxDelayMs, 0, 1_000);
}

/** What is offered, the best first. */
export function codecsOf({ protocol = 'auto', batch, msgpack, compression }: ConnectOptions): Codec[] {
  const plain = (codec: Codec): Codec => ({
    ...codec,
    protocols: codec.protocols.filter((name) => !name.endsWith('+lz4')),
  });
  const known = { batch: batch && (compression === 'none' ? plain(batch) : batch), msgpack, json };
  if (protocol === 'auto') return Object.values(known).filter((codec) => codec !== undefined);
  const codec = known[protocol];
  if (codec) return [codec];
  if (!(protocol in known)) throw bad(`there is no protocol ${String(protocol)}`);
  throw bad(
    `the protocol ${protocol} wants its codec: import { ${protocol} } from 'fanwire/${protocol}', and pass it`,
  );
}

/** A `ws:` or `wss:` address; a page's relative one, and `http:`, are made such. */
export function addressOf(url: string | URL): string {
  const base = (globalThis as { location?: { href?: string } }).location?.href;
  let address: URL;
  try {
    address = new URL(url, base);
  } catch {
    throw bad(`no address: ${String(url)}`);
  }
  const text = address.href.replace(/^http/, 'ws');
  if (!/^wss?:/.test(text)) throw bad(`an address of a server begins with ws: or wss:, not ${address.protocol}`);
  return text.replace(/#.*$/, '');
}

/** Who makes sockets. */
export function socketOf({ WebSocket }: ConnectOptions): SocketConstructor {
  const found = WebSocket ?? (globalThis as { WebSocket?: SocketConstructor }).WebSocket;
  if (!found)
    throw bad('there is no WebSocket here (Node has one from 22 on): pass one, such as that of the package ws');
  return found;
}
