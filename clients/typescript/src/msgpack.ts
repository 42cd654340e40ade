// Job: objects of fanwire.msgpack.v1 as MessagePack. Pass `msgpack` to `connect`.
// Knows: MessagePack, and how payloads stand in it (PROTOCOL.md, section 4). Must never know: topics, numbers, sockets.

import type { Codec, Received, Request } from './types.js';

/** Nesting that is read and written, at most. */
const DEPTH_MAX = 128;
const utf8 = new TextEncoder();
const strict = new TextDecoder('utf-8', { fatal: true });

class Writer {
  #bytes = new Uint8Array(256);
  #view = new DataView(this.#bytes.buffer);
  #at = 0;

  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice(0, this.#at);
  }

  value(value: unknown, depth = 0): void {
    if (depth > DEPTH_MAX) throw new Error(`nested more than ${DEPTH_MAX} levels deep`);
    if (value === null || value === undefined) this.#head(1, 0xc0);
    else if (typeof value === 'boolean') this.#head(1, value ? 0xc3 : 0xc2);
    else if (typeof value === 'number') this.#number(value);
    else if (typeof value === 'string') this.#raw(utf8.encode(value), 0xa0, 32, 0xd9);
    else if (value instanceof Uint8Array) this.#raw(value, 0, 0, 0xc4);
    else if (Array.isArray(value)) {
      this.#count(value.length, 0x90, 0xdc);
      for (const item of value) this.value(item, depth + 1);
    } else {
      const entries = Object.entries(value).filter(([, item]) => item !== undefined);
      this.#count(entries.length, 0x80, 0xde);
      for (const [key, item] of entries) {
        this.value(key, depth + 1);
        this.value(item, depth + 1);
      }
    }
  }

  #number(value: number): void {
    if (Number.isInteger(value) && value >= 0 && value < 128) this.#head(1, value);
    else if (Number.isInteger(value) && value >= 0 && value < 2 ** 32)
      this.#view.setUint32(this.#head(5, 0xce), value);
    else if (Number.isSafeInteger(value) && value >= 0) this.#view.setBigUint64(this.#head(9, 0xcf), BigInt(value));
    else if (Number.isSafeInteger(value)) this.#view.setBigInt64(this.#head(9, 0xd3), BigInt(value));
    else this.#view.setFloat64(this.#head(9, 0xcb), value);
  }

  #raw(bytes: Uint8Array, short: number, shortMax: number, first: number): void {
    const { length } = bytes;
    if (length < shortMax) this.#head(1, short + length);
    else if (length < 256) this.#view.setUint8(this.#head(2, first), length);
    else if (length < 65536) this.#view.setUint16(this.#head(3, first + 1), length);
    else this.#view.setUint32(this.#head(5, first + 2), length);
    this.#room(length);
    this.#bytes.set(bytes, this.#at);
    this.#at += length;
  }

  #count(count: number, short: number, first: number): void {
    if (count < 16) this.#head(1, short + count);
    else if (count < 65536) this.#view.setUint16(this.#head(3, first), count);
    else this.#view.setUint32(this.#head(5, first + 1), count);
  }

  /** Makes room for a head of so many bytes, writes its first, and returns where the others are. */
  #head(size: number, first: number): number {
    this.#room(size);
    const at = this.#at;
    this.#bytes[at] = first;
    this.#at += size;
    return at + 1;
  }

  #room(size: number): void {
    if (this.#at + size <= this.#bytes.length) return;
    const bytes = new Uint8Array(Math.max(this.#bytes.length * 2, this.#at + size));
    bytes.set(this.#bytes);
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer);
  }
}

class Reader {
  #at = 0;
  readonly #view: DataView;

  constructor(private readonly bytes: Uint8Array) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  get isAtEnd(): boolean {
    return this.#at === this.bytes.length;
  }

  value(depth = 0): unknown {
    if (depth > DEPTH_MAX) throw new Error(`nested more than ${DEPTH_MAX} levels deep`);
    const first = this.#uint(1);
    if (first < 0x80) return first;
    if (first < 0x90) return this.#map(first & 15, depth);
    if (first < 0xa0) return this.#array(first & 15, depth);
    if (first < 0xc0) return this.#text(first & 31);
    if (first >= 0xe0) return first - 256;
    switch (first) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xc4:
      case 0xc5:
      case 0xc6:
        return this.#take(this.#uint(1 << (first - 0xc4))).slice();
      case 0xc7:
      case 0xc8:
      case 0xc9:
        return this.#extension(this.#uint(1 << (first - 0xc7)));
      case 0xca:
        return this.#view.getFloat32(this.#skip(4));
      case 0xcb:
        return this.#view.getFloat64(this.#skip(8));
      case 0xcc:
      case 0xcd:
      case 0xce:
      case 0xcf:
        return this.#uint(1 << (first - 0xcc));
      case 0xd0:
        return this.#view.getInt8(this.#skip(1));
      case 0xd1:
        return this.#view.getInt16(this.#skip(2));
      case 0xd2:
        return this.#view.getInt32(this.#skip(4));
      case 0xd3:
        return Number(this.#view.getBigInt64(this.#skip(8)));
      case 0xd4:
      case 0xd5:
      case 0xd6:
      case 0xd7:
      case 0xd8:
        return this.#extension(1 << (first - 0xd4));
      case 0xd9:
      case 0xda:
      case 0xdb:
        return this.#text(this.#uint(1 << (first - 0xd9)));
      case 0xdc:
      case 0xdd:
        return this.#array(this.#uint(first === 0xdc ? 2 : 4), depth);
      case 0xde:
      case 0xdf:
        return this.#map(this.#uint(first === 0xde ? 2 : 4), depth);
      default:
        throw new Error(`no MessagePack: the byte ${first} at ${this.#at - 1}`);
    }
  }

  #map(count: number, depth: number): Record<string, unknown> {
    const entries: [string, unknown][] = [];
    for (let left = count; left > 0; left--) entries.push([String(this.value(depth + 1)), this.value(depth + 1)]);
    return Object.fromEntries(entries);
  }

  #array(count: number, depth: number): unknown[] {
    const items: unknown[] = [];
    for (let left = count; left > 0; left--) items.push(this.value(depth + 1));
    return items;
  }

  /** Extension types stand only where they are ignored. */
  #extension(size: number): null {
    this.#skip(size + 1);
    return null;
  }

  #text(size: number): string {
    return strict.decode(this.#take(size));
  }

  #take(size: number): Uint8Array {
    const at = this.#skip(size);
    return this.bytes.subarray(at, at + size);
  }

  #uint(size: number): number {
    const at = this.#skip(size);
    if (size === 1) return this.bytes[at]!;
    if (size === 2) return this.#view.getUint16(at);
    return size === 4 ? this.#view.getUint32(at) : Number(this.#view.getBigUint64(at));
  }

  #skip(size: number): number {
    const at = this.#at;
    if (at + size > this.bytes.length)
      throw new Error(`no MessagePack: it ends at ${this.bytes.length}, within a value`);
    this.#at = at + size;
    return at;
  }
}

/** A value as MessagePack: whole numbers as integers. */
export function pack(value: unknown): Uint8Array<ArrayBuffer> {
  const writer = new Writer();
  writer.value(value);
  return writer.bytes;
}

/** The one value that the bytes are. Throws where they are none, or more. Extensions are `null`. */
export function unpack(bytes: Uint8Array): unknown {
  const reader = new Reader(bytes);
  const value = reader.value();
  if (!reader.isAtEnd) throw new Error('no MessagePack: there is something behind the value');
  return value;
}

function encode(request: Request): Uint8Array<ArrayBuffer> {
  if (request.type !== 'publish') return pack(request);
  const { kind, data, ...rest } = request;
  if (kind === 'json') return pack({ ...rest, data: JSON.stringify(data ?? null) });
  return pack(kind === 'text' ? { ...rest, data, encoding: 'text' } : { ...rest, data });
}

function objectOf(bytes: Uint8Array): Received {
  const object = unpack(bytes) as Received;
  if (typeof object?.type !== 'string') throw new Error('an object without a type');
  if (object.type !== 'message') return object;
  const { topic, priority, seq, time_us: timeUs, data, encoding } = object;
  const head = { type: 'message', topic, priority, seq, timeUs };
  if (data instanceof Uint8Array) return { ...head, kind: 'binary', data };
  if (encoding === 'text') return { ...head, kind: 'text', data };
  return { ...head, kind: 'json', data: JSON.parse(data as string) };
}

/** `fanwire.msgpack.v1`: binary payloads as they are. */
export const msgpack: Codec = {
  protocols: ['fanwire.msgpack.v1'],
  encode,
  decoder: () => ({ decode: (data, take) => take(objectOf(data as Uint8Array)) }),
};
