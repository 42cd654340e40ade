// Job: blocks that were compressed with a preset dictionary, LZ4 and raw deflate, within a maximum.
// Knows: both formats. The LZ4 block format: https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md; RFC 1951.
// Must never know: frames, lanes.

export function wrong(what: string): never {
  throw new Error(`a frame with a dictionary: ${what}`);
}

/** A place in bytes. */
export class Cut {
  at = 0;
  readonly data: Uint8Array;

  constructor(data: Uint8Array) {
    this.data = data;
  }

  byte(): number {
    return this.data[this.at++] ?? wrong('cut short');
  }

  number(): number {
    let number = 0;
    for (let unit = 1; unit < 2 ** 56; unit *= 128) {
      const byte = this.byte();
      number += (byte & 127) * unit;
      if (byte < 128) return number <= Number.MAX_SAFE_INTEGER ? number : wrong('a number above 2^53 - 1');
    }
    return wrong('a number of more than 8 bytes');
  }

  take(count: number): Uint8Array {
    if (count > this.data.length - this.at) wrong('cut short');
    this.at += count;
    return this.data.subarray(this.at - count, this.at);
  }

  difference(): number {
    const folded = this.number();
    return folded % 2 ? -(folded + 1) / 2 : folded / 2;
  }
}

/** What comes out, behind the dictionary that it may reach back into. */
class Output {
  #bytes: Uint8Array;
  #at: number;
  readonly #from: number;
  readonly #max: number;

  constructor(dictionary: Uint8Array, max: number) {
    this.#bytes = new Uint8Array(dictionary.length + 1024);
    this.#bytes.set(dictionary);
    this.#at = this.#from = dictionary.length;
    this.#max = dictionary.length + max;
  }

  #room(count: number): void {
    const end = this.#at + count;
    if (end > this.#max) wrong('a block that is too large');
    if (end <= this.#bytes.length) return;
    const more = new Uint8Array(2 * end);
    more.set(this.#bytes);
    this.#bytes = more;
  }

  put(bytes: ArrayLike<number>): void {
    this.#room(bytes.length);
    this.#bytes.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  copy(back: number, count: number): void {
    if (!back || back > this.#at) wrong('a match out of bounds');
    this.#room(count);
    for (const end = this.#at + count; this.#at < end; this.#at++)
      this.#bytes[this.#at] = this.#bytes[this.#at - back]!;
  }

  end(): Uint8Array {
    return this.#bytes.slice(this.#from, this.#at);
  }
}

export function lz4(dictionary: Uint8Array, block: Uint8Array, max: number): Uint8Array {
  const out = new Output(dictionary, max);
  const cut = new Cut(block);
  const long = (length: number): number => {
    if (length === 15)
      for (let more = 255; more === 255; length += more) more = cut.byte();
    return length;
  };
  for (;;) {
    const token = cut.byte();
    out.put(cut.take(long(token >> 4)));
    if (cut.at === block.length) return out.end();
    const back = cut.byte() + 256 * cut.byte();
    out.copy(back, 4 + long(token & 15));
  }
}

/** Codes of one length after the other: how many, and the symbols in order. */
interface Code {
  readonly counts: number[];
  readonly symbols: number[];
}

function codeOf(lengths: readonly number[]): Code {
  const counts = new Array<number>(16).fill(0);
  const symbols: number[] = [];
  for (const length of lengths) counts[length]!++;
  counts[0] = 0;
  let left = 1;
  for (let length = 1; length < 16; length++) {
    left = 2 * left - counts[length]!;
    if (left < 0) wrong('a code with too many symbols');
    lengths.forEach((one, symbol) => one === length && symbols.push(symbol));
  }
  return { counts, symbols };
}

/** The last of `count` steps of a table: every `each` symbols one bit more. */
function table(first: number, each: number, free: number, count: number): [base: number, bits: number][] {
  const rows: [number, number][] = [];
  for (let n = 0, base = first; n < count; n++) {
    const bits = n < free ? 0 : Math.floor((n - free) / each);
    rows.push([base, bits]);
    base += 2 ** bits;
  }
  return rows;
}

const LENGTHS = table(3, 4, 4, 28);
LENGTHS.push([258, 0]);
const DISTANCES = table(1, 2, 2, 30);
const ORDER = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/** RFC 1951: one stream, up to the block's last byte. */
export function deflate(dictionary: Uint8Array, block: Uint8Array, max: number): Uint8Array {
  const out = new Output(dictionary, max);
  const cut = new Cut(block);
  let held = 0;
  let count = 0;
  const bits = (wanted: number): number => {
    for (; count < wanted; count += 8) held |= cut.byte() << count;
    const got = held & ((1 << wanted) - 1);
    held >>>= wanted;
    count -= wanted;
    return got;
  };
  const symbol = ({ counts, symbols }: Code): number => {
    for (let length = 1, code = 0, first = 0, index = 0; length < 16; length++) {
      code |= bits(1);
      const here = counts[length]!;
      if (code < first + here) return symbols[index + code - first]!;
      index += here;
      first = (first + here) << 1;
      code <<= 1;
    }
    return wrong('no such code');
  };
  const codes = (kind: number): [Code, Code] => {
    const lengths: number[] = [];
    if (kind === 1) {
      for (let n = 0; n < 288; n++) lengths.push(n < 144 ? 8 : n < 256 ? 9 : n < 280 ? 7 : 8);
      return [codeOf(lengths), codeOf(new Array<number>(30).fill(5))];
    }
    const [literals, distances, names] = [bits(5) + 257, bits(5) + 1, bits(4) + 4];
    const named = new Array<number>(19).fill(0);
    for (let n = 0; n < names; n++) named[ORDER[n]!] = bits(3);
    const name = codeOf(named);
    while (lengths.length < literals + distances) {
      const what = symbol(name);
      if (what < 16) lengths.push(what);
      else {
        const one = what === 16 ? (lengths.at(-1) ?? wrong('nothing to repeat')) : 0;
        for (let n = what === 16 ? 3 + bits(2) : what === 17 ? 3 + bits(3) : 11 + bits(7); n; n--) lengths.push(one);
      }
    }
    if (lengths.length > literals + distances) wrong('too many lengths');
    return [codeOf(lengths.slice(0, literals)), codeOf(lengths.slice(literals))];
  };
  for (let isLast = 0; !isLast; ) {
    isLast = bits(1);
    const kind = bits(2);
    if (kind === 3) wrong('no such block');
    if (!kind) {
      held = count = 0;
      const size = cut.byte() + 256 * cut.byte();
      if (cut.byte() + 256 * cut.byte() !== 65535 - size) wrong('a size that is none');
      out.put(cut.take(size));
      continue;
    }
    const [literals, distances] = codes(kind);
    for (let what; (what = symbol(literals)) !== 256; ) {
      if (what < 256) {
        out.put([what]);
        continue;
      }
      const [length, more] = LENGTHS[what - 257] ?? wrong('no such length');
      const size = length + bits(more);
      const [distance, further] = DISTANCES[symbol(distances)] ?? wrong('no such distance');
      out.copy(distance + bits(further), size);
    }
  }
  if (cut.at !== block.length) wrong('bytes behind the end');
  return out.end();
}
