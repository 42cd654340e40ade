// Job: frames of fanwire.dict.v1+lz4 and +deflate (PROTOCOL.md, 5.6) as messages, in plain JavaScript.
// Knows: bytes, and of each lane a dictionary and a tail. No server offers the format yet.
// Must never know: what is due, sockets.

import { Cut, deflate, lz4, wrong } from './preset.js';

const TAIL_MESSAGES_MAX = 64;
const TAIL_BYTES_MAX = 16384;
const WITH = 16;
const COMPRESSED = 32;
const SEVERAL = 64;
const BEGINS = 128;
const none = new Uint8Array(0);

export interface DictionaryOptions {
  readonly codec: 'lz4' | 'deflate';
  /** Largest block that is inflated, in bytes. Default: 16 MiB. */
  readonly blockBytesMax?: number;
  /** Most lanes; each takes some 40 kB. Default: 1,024. */
  readonly lanesMax?: number;
}

/** A message of a lane: topic_id · 4 + priority. `kind` is 0 for text, 1 for binary, 2 for JSON. */
export interface Told {
  readonly lane: number;
  readonly kind: number;
  readonly seq: number;
  readonly timeUs: number;
  readonly payload: Uint8Array;
}

interface Kept {
  readonly seq: number;
  readonly timeUs: number;
  readonly payload: Uint8Array;
}

interface Lane {
  tail: Kept[];
  number: number;
  dictionary: Uint8Array;
  last: Kept;
}

/** Reads the frames of one connection. Throws for what is no such frame: connect anew then. */
export class DictionaryReader {
  readonly #lanes = new Map<number, Lane>();
  readonly #inflate: typeof lz4;
  readonly #bytesMax: number;
  readonly #lanesMax: number;

  constructor({ codec, blockBytesMax = 16 << 20, lanesMax = 1024 }: DictionaryOptions) {
    this.#inflate = codec === 'lz4' ? lz4 : deflate;
    this.#bytesMax = blockBytesMax;
    this.#lanesMax = lanesMax;
  }

  /** The messages of a frame to deliver: none for control frames and earlier messages. */
  read(frame: Uint8Array): Told[] {
    const cut = new Cut(frame);
    const head = cut.byte();
    const isData = (head & 3) === 1;
    const kind = (head >> 2) & 3;
    if ((head & 3) === 3 || head === 0) return [];
    const has = (head & WITH) > 0;
    const begins = (head & BEGINS) > 0;
    if (!(head & 3) || kind === 3 || (isData ? begins && !has : has)) wrong(`head ${head}`);
    const name = cut.number();
    let lane = this.#lanes.get(name);
    if (!lane) {
      if (name >= 2 ** 34 || this.#lanes.size >= this.#lanesMax) wrong(`lane ${name}`);
      lane = { tail: [], number: -1, dictionary: none, last: { seq: 0, timeUs: 0, payload: none } };
      this.#lanes.set(name, lane);
    }
    const number = has || begins ? cut.byte() : -1;
    if (isData && begins) begin(lane, number, defined(cut, lane.tail));
    if (has && lane.number !== number) wrong(`no dictionary ${number}`);
    const seq = cut.number() + (has ? lane.last.seq : 0);
    const timeUs = has ? lane.last.timeUs + cut.difference() : cut.number();
    let block = frame.subarray(cut.at);
    if (head & COMPRESSED) block = this.#inflate(has ? lane.dictionary : none, block, this.#bytesMax);
    if (block.length > this.#bytesMax) wrong(`a block of ${block.length} bytes`);
    const messages = head & SEVERAL ? messagesOf(block, seq, timeUs) : [{ seq, timeUs, payload: block.slice() }];
    const { seq: last } = messages.at(-1)!;
    if (last > Number.MAX_SAFE_INTEGER || messages.some((one) => !(one.timeUs >= 0 && one.timeUs < 2 ** 53)))
      wrong('a number above 2^53 - 1, or a time before 0');
    if (!isData) {
      if (!fits(messages)) wrong('more earlier messages than a tail has');
      if (begins) begin(lane, number, messages);
      lane.tail = messages;
      return [];
    }
    for (const one of messages) {
      while (lane.tail.length && lane.tail.at(-1)!.seq >= one.seq) lane.tail.pop();
      lane.tail.push(one);
      while (!fits(lane.tail)) lane.tail.shift();
    }
    return messages.map((one) => ({ lane: name, kind, ...one }));
  }
}

function fits(messages: readonly Kept[]): boolean {
  let bytes = 0;
  for (const one of messages) bytes += one.payload.length;
  return messages.length <= TAIL_MESSAGES_MAX && bytes <= TAIL_BYTES_MAX;
}

function joined(messages: readonly Kept[]): Uint8Array {
  const all: number[] = [];
  for (const one of messages) for (const byte of one.payload) all.push(byte);
  return Uint8Array.from(all);
}

function begin(lane: Lane, number: number, messages: readonly Kept[]): void {
  lane.dictionary = fits(messages) ? joined(messages) : none;
  if (!lane.dictionary.length) wrong('a dictionary that is empty or too large');
  lane.number = number;
  lane.last = messages.at(-1)!;
}

function messagesOf(block: Uint8Array, seq: number, timeUs: number): Kept[] {
  const cut = new Cut(block);
  const messages = [{ seq, timeUs, payload: cut.take(cut.number()).slice() }];
  while (cut.at < block.length) {
    seq += 1 + cut.number();
    timeUs += cut.difference();
    messages.push({ seq, timeUs, payload: cut.take(cut.number()).slice() });
  }
  return messages;
}

/** The messages of which a data frame makes a dictionary. */
function defined(cut: Cut, tail: readonly Kept[]): Kept[] {
  let end = cut.number();
  const made: Kept[] = [];
  const ranges = cut.number();
  for (let n = 0; n < ranges; n++) {
    const skip = cut.number();
    const count = cut.number();
    if ((n > 0) !== skip > 0 || !count || made.length + count > TAIL_MESSAGES_MAX) wrong('ranges that cannot be');
    end += skip + count;
    for (let seq = end - count; seq < end; seq++)
      made.push(tail.find((one) => one.seq === seq) ?? wrong(`message ${seq} is missing`));
  }
  let [a, b] = [1, 0];
  for (const byte of joined(made)) {
    a = (a + byte) % 65521;
    b = (b + a) % 65521;
  }
  for (const sum of [a, b]) if (cut.byte() + 256 * cut.byte() !== sum) wrong('another dictionary');
  return made;
}
