// Job: frames of fanwire.batch.v1 and fanwire.batch.v1+lz4 as objects. Pass `batch` to `connect`.
// Knows: frames (PROTOCOL.md, section 5), the topics' numbers of one connection.
// Must never know: what is due, sockets.

import { inflate } from './lz4.js';
import { objectOf, textOf } from './json.js';
import type { Codec, Decoder, Kind, Received } from './types.js';
import { PRIORITIES } from './types.js';

const HEAD_BYTES = 24;
const BLOCK_HEAD_BYTES = 8;
const MESSAGE_HEAD_BYTES = 13;
const KINDS: readonly (Kind | undefined)[] = ['text', 'binary', 'json'];
const utf8 = new TextDecoder('utf-8', { fatal: true });

export interface BatchOptions {
  /** Whether LZ4 is offered. Default: yes. */
  readonly lz4?: boolean;
  /** Largest block that is inflated, in bytes. Default: 128 MiB. */
  readonly blockBytesMax?: number;
}

/** A batch codec with other settings than `batch`. */
export function batchWith({ lz4 = true, blockBytesMax = 128 << 20 }: BatchOptions): Codec {
  return {
    protocols: lz4 ? ['fanwire.batch.v1+lz4', 'fanwire.batch.v1'] : ['fanwire.batch.v1'],
    encode: textOf,
    decoder: () => new Frames(blockBytesMax),
  };
}

/** `fanwire.batch.v1+lz4`, and without LZ4 where the server has none. */
export const batch: Codec = batchWith({});

class Frames implements Decoder {
  readonly #topics = new Map<number, string>();
  readonly #max: number;

  constructor(blockBytesMax: number) {
    this.#max = blockBytesMax;
  }

  decode(data: string | Uint8Array, take: (object: Received) => void): void {
    if (typeof data === 'string' || data.length < HEAD_BYTES) throw new Error('no batch frame: it is too short');
    const view = new DataView(data.buffer, data.byteOffset, data.length);
    if (view.getUint8(0) !== 1) throw new Error(`a batch frame of version ${view.getUint8(0)}`);
    const kind = view.getUint8(1);
    if (kind === 2) this.#control(data, take);
    else if (kind === 1) this.#data(data, view, take);
  }

  #control(data: Uint8Array, take: (object: Received) => void): void {
    const object = objectOf(utf8.decode(data.subarray(HEAD_BYTES)));
    if (object.type === 'subscribed') this.#topics.set(object.topic_id as number, object.topic as string);
    take(object);
  }

  #data(data: Uint8Array, head: DataView, take: (object: Received) => void): void {
    const flags = head.getUint8(2);
    const kind = KINDS[(flags >> 1) & 3];
    const priority = PRIORITIES[head.getUint8(3)];
    const size = head.getUint32(16, true);
    if (flags > 7 || !kind || !priority)
      throw new Error(`a batch frame with flags ${flags}, priority ${head.getUint8(3)}`);
    if (size > this.#max) throw new Error(`a block of ${size} bytes, at most ${this.#max} are taken`);
    const sent = data.subarray(HEAD_BYTES);
    const block = flags & 1 ? inflate(sent, size) : sent;
    if (block.length !== size || size < BLOCK_HEAD_BYTES)
      throw new Error(`a block of ${block.length} bytes, not ${size}`);
    const topic = this.#topics.get(head.getUint32(4, true));
    const seq = Number(head.getBigUint64(8, true));
    if (topic === undefined) return;
    for (const one of messagesOf(block, seq))
      take({ type: 'message', topic, priority, ...one, ...payloadOf(kind, one.data) });
  }
}

interface One {
  readonly seq: number;
  readonly timeUs: number;
  readonly data: Uint8Array;
}

function messagesOf(block: Uint8Array, firstSeq: number): One[] {
  const view = new DataView(block.buffer, block.byteOffset, block.length);
  const count = view.getUint32(0, true);
  const found: One[] = [];
  let at = BLOCK_HEAD_BYTES;
  for (let index = 0; index < count; index++) {
    if (at + MESSAGE_HEAD_BYTES > block.length) throw new Error('a batch with fewer messages than it says');
    const end = at + MESSAGE_HEAD_BYTES + view.getUint32(at + 9, true);
    if (end > block.length) throw new Error('a batch with a message that is cut short');
    const timeUs = Number(view.getBigUint64(at, true) / 1000n);
    found.push({ seq: firstSeq + index, timeUs, data: block.subarray(at + MESSAGE_HEAD_BYTES, end) });
    at = end;
  }
  if (at !== block.length) throw new Error('a batch with more bytes than messages');
  return found;
}

/** What was published as JSON and is none comes as text, as it does in the other subprotocols. */
function payloadOf(kind: Kind, bytes: Uint8Array): { kind: Kind; data: unknown } {
  // A copy: a view would keep the whole frame.
  if (kind === 'binary') return { kind, data: bytes.slice() };
  const text = utf8.decode(bytes);
  if (kind === 'text') return { kind, data: text };
  try {
    return { kind, data: JSON.parse(text) };
  } catch {
    return { kind: 'text', data: text };
  }
}
