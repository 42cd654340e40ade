// Job: a bare LZ4 block as what it was. The format: https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md

/** Inflates a block to exactly `size` bytes. Throws where it is damaged, or of another size. */
export function inflate(block: Uint8Array, size: number): Uint8Array {
  const out = new Uint8Array(size);
  let from = 0;
  let to = 0;
  const long = (length: number): number => {
    if (length < 15) return length;
    for (let more = 255; more === 255; length += more) {
      more = block[from++]!;
      // Undefined at the end: no number is 255 then, and the sum is none.
      if (more === undefined) throw new Error('LZ4: the block ends within a length');
    }
    return length;
  };
  while (from < block.length) {
    const token = block[from++]!;
    const literals = long(token >> 4);
    if (from + literals > block.length || to + literals > size) throw new Error('LZ4: literals beyond the end');
    out.set(block.subarray(from, from + literals), to);
    from += literals;
    to += literals;
    // The last sequence has no match.
    if (from === block.length) break;
    const back = block[from]! | (block[from + 1]! << 8);
    from += 2;
    const match = 4 + long(token & 15);
    if (from > block.length || back === 0 || back > to || to + match > size)
      throw new Error('LZ4: a match out of bounds');
    if (back >= match) out.copyWithin(to, to - back, to - back + match);
    else for (let at = to; at < to + match; at++) out[at] = out[at - back]!;
    to += match;
  }
  if (to !== size) throw new Error(`LZ4: ${to} bytes, not ${size}`);
  return out;
}
