//! Where the last block of a DEFLATE stream begins and ends, to the bit, without decompressing.
//!
//! Knows RFC 1951 as a reader: block headers, code lengths, canonical Huffman codes. Decodes only how long each symbol
//! is, never what it means, so that nothing is copied and no window is kept. Made for streams that our own compressor
//! has just written: what does not follow the format gives `None`, never a panic. Knows nothing of WebSocket.

/// Bytes that must be readable after the stream, so that eight bytes can be loaded at any of its bits. Their values do
/// not matter.
pub(super) const SLACK: usize = 8;

/// Codes up to this length are decoded with one look-up, short ones several at once; longer ones, rare by construction, bit
/// by bit.
const TABLE_BITS: u32 = 11;
/// Joining short codes costs some 2 µs for a block: worth it in streams from this many bytes on.
const JOIN_FROM: usize = 4 << 10;
/// The longest code of RFC 1951 (section 3.2.7).
const CODE_BITS_MAX: usize = 15;
const LITLEN_SYMBOLS: usize = 288;
const OFFSET_SYMBOLS: usize = 32;
const END_OF_BLOCK: usize = 256;
/// In what order the lengths of the precode stand (RFC 1951 section 3.2.7).
const PRECODE_ORDER: [u8; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// The last block of a stream, in bits from the stream's first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LastBlock {
    /// Where its header begins: the bit is BFINAL, and set.
    header: usize,
    /// One past its last bit.
    end: usize,
}

/// What the last byte of a stream has left behind the stream's last bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Padding {
    /// Three zero bits or more: they are the header of an empty stored block already.
    Long,
    /// Less: an empty stored block's header needs another byte, 0x00.
    Short,
}

/// The walker's tables: about 7 KiB, reused from stream to stream; allocates nothing.
#[derive(Default)]
pub(super) struct Blocks {
    litlen: Code<LITLEN_SYMBOLS>,
    offset: Code<OFFSET_SYMBOLS>,
    lengths: Lengths,
}

/// The code lengths of one block.
struct Lengths {
    all: [u8; LITLEN_SYMBOLS + OFFSET_SYMBOLS],
    litlen_count: usize,
    offset_count: usize,
    /// How many literal and length symbols have codes of each length.
    litlen_counts: [u16; 16],
}

impl Default for Lengths {
    fn default() -> Self {
        Self { all: [0; _], litlen_count: 0, offset_count: 0, litlen_counts: [0; _] }
    }
}

impl Lengths {
    fn litlen(&self) -> &[u8] {
        &self.all[..self.litlen_count]
    }

    fn offset(&self) -> &[u8] {
        &self.all[self.litlen_count..self.litlen_count + self.offset_count]
    }

    /// The code of the end-of-block symbol (RFC 1951 section 3.2.2).
    fn end_of_block_code(&self) -> Option<u32> {
        let len = self.all[END_OF_BLOCK];
        if len == 0 {
            return None;
        }
        let first = self.litlen_counts[1..usize::from(len)].iter().fold(0, |code, &n| (code + u32::from(n)) << 1);
        let before: u32 = self.all[..END_OF_BLOCK].iter().map(|&other| u32::from(other == len)).sum();
        Some(first + before)
    }
}

/// How a block's symbols are coded (RFC 1951 section 3.2.3).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Coding {
    Stored,
    Fixed,
    Dynamic,
}

impl Blocks {
    /// Clears BFINAL in the last block of the stream that is all of `padded` but its last [`SLACK`] bytes, and says what an
    /// empty stored block behind it would begin with. `None`, and nothing changed, when that is no whole stream.
    ///
    /// O(compressed length) for streams of several blocks; O(1), that is the code lengths alone, for nearly every stream of
    /// one.
    pub fn open_end(&mut self, padded: &mut [u8]) -> Option<Padding> {
        let last = self.last(padded)?;
        padded[last.header / 8] &= !(1 << (last.header % 8));
        Some(if matches!(last.end % 8, 1..=5) { Padding::Long } else { Padding::Short })
    }

    /// The last block; `None` also when something follows it.
    fn last(&mut self, padded: &[u8]) -> Option<LastBlock> {
        let len = padded.len().checked_sub(SLACK)?;
        let mut bits = Bits { padded, at: 0 };
        loop {
            let header = bits.at;
            if header >= len * 8 {
                return None;
            }
            let word = bits.peek()?;
            bits.at += 3;
            let coding = match (word >> 1) & 3 {
                0 => Coding::Stored,
                1 => Coding::Fixed,
                2 => Coding::Dynamic,
                _ => return None,
            };
            if coding == Coding::Dynamic {
                self.lengths.read(&mut bits)?;
            }
            let is_last = word & 1 == 1;
            let known_end =
                if is_last && coding == Coding::Dynamic { end_by_padding(&self.lengths, &padded[..len]) } else { None };
            match known_end {
                Some(end) => bits.at = end,
                None => self.skip(coding, &mut bits)?,
            }
            if is_last {
                // Also the proof that nothing went astray: the last bit lies in the last byte.
                return (bits.at.div_ceil(8) == len).then_some(LastBlock { header, end: bits.at });
            }
        }
    }

    /// Moves over the rest of a block whose header has been read.
    fn skip(&mut self, coding: Coding, bits: &mut Bits<'_>) -> Option<()> {
        match coding {
            Coding::Stored => {
                bits.at = bits.at.next_multiple_of(8);
                let word = bits.peek()?;
                let (len, complement) = (word as u16, (word >> 16) as u16);
                bits.at += 32 + 8 * usize::from(len);
                return (len == !complement).then_some(());
            }
            Coding::Fixed => {
                let mut lengths = [8; LITLEN_SYMBOLS];
                lengths[144..256].fill(9);
                lengths[256..280].fill(7);
                self.litlen.build(&lengths, litlen_entry)?;
                self.offset.build(&[5; OFFSET_SYMBOLS], offset_entry)?;
            }
            Coding::Dynamic => {
                self.litlen.build(self.lengths.litlen(), litlen_entry)?;
                if bits.padded.len() >= JOIN_FROM {
                    self.litlen.join_literals();
                }
                self.offset.build(self.lengths.offset(), offset_entry)?;
            }
        }
        self.skip_symbols(bits)
    }

    fn skip_symbols(&self, bits: &mut Bits<'_>) -> Option<()> {
        loop {
            // A length and its offset take at most 20 + 28 bits, so a peek's 57 hold both.
            let word = bits.peek()?;
            let symbol = self.litlen.entry(word)?;
            bits.at += symbol.bits();
            match symbol.kind() {
                Entry::LITERAL => {}
                Entry::LENGTH => bits.at += self.offset.entry(word >> symbol.bits())?.bits(),
                _ => return Some(()),
            }
        }
    }
}

/// The end of the last block, told from the last 1 bit of the stream.
///
/// A stream ends in its end-of-block code and then in padding, all zeros. The last 1 bit is therefore the last 1 bit of
/// that code, and the code's own trailing zeros say how far behind it the block ends. Codes stand with their highest bit
/// first (RFC 1951 section 3.1.1), so these are the code's lowest bits. `None` for a code of zeros alone.
fn end_by_padding(lengths: &Lengths, stream: &[u8]) -> Option<usize> {
    let code = lengths.end_of_block_code()?;
    if code == 0 {
        return None;
    }
    let last = stream.iter().rposition(|&byte| byte != 0)?;
    let last_one = last * 8 + stream[last].ilog2() as usize;
    Some(last_one + 1 + code.trailing_zeros() as usize)
}

/// A place in a stream.
struct Bits<'a> {
    padded: &'a [u8],
    /// In bits.
    at: usize,
}

impl Bits<'_> {
    /// The next 57 bits at least, lowest first; `None` past the stream.
    #[inline]
    fn peek(&self) -> Option<u64> {
        let byte = self.at / 8;
        let word = self.padded.get(byte..byte + 8)?.first_chunk()?;
        Some(u64::from_le_bytes(*word) >> (self.at % 8))
    }
}

impl Lengths {
    /// Reads the code lengths of a dynamic block (RFC 1951 section 3.2.7).
    fn read(&mut self, bits: &mut Bits<'_>) -> Option<()> {
        let word = bits.peek()?;
        self.litlen_count = (word & 31) as usize + 257;
        self.offset_count = (word >> 5 & 31) as usize + 1;
        let precode_count = (word >> 10 & 15) as usize + 4;
        bits.at += 14;
        let total = self.litlen_count + self.offset_count;

        let mut precode = [0u8; 19];
        let mut word = bits.peek()?;
        for (i, &symbol) in PRECODE_ORDER[..precode_count].iter().enumerate() {
            if i == 16 {
                bits.at += 48;
                word = bits.peek()?;
            }
            precode[usize::from(symbol)] = (word & 7) as u8;
            word >>= 3;
        }
        bits.at += 3 * if precode_count > 16 { precode_count - 16 } else { precode_count };
        let table = precode_table(&precode)?;

        self.litlen_counts = [0; _];
        let mut filled = 0;
        while filled < total {
            let mut word = bits.peek()?;
            // Each takes at most 7 + 7 bits: four fit a peek.
            for _ in 0..4 {
                let (symbol, len) = table[(word & 127) as usize];
                if len == 0 {
                    return None;
                }
                let extra = word >> len;
                let (value, repeat, extra_bits) = match symbol {
                    16 => (*self.all[..filled].last()?, 3 + (extra & 3) as usize, 2),
                    17 => (0, 3 + (extra & 7) as usize, 3),
                    18 => (0, 11 + (extra & 127) as usize, 7),
                    length => (length, 1, 0),
                };
                let end = filled + repeat;
                if end > total {
                    return None;
                }
                self.all[filled..end].fill(value);
                self.litlen_counts[usize::from(value)] += end.min(self.litlen_count).saturating_sub(filled) as u16;
                filled = end;
                bits.at += usize::from(len) + extra_bits;
                if filled == total {
                    break;
                }
                word = extra >> extra_bits;
            }
        }
        Some(())
    }
}

/// (symbol, code length) for each of the next seven bits; length 0 where no code is.
fn precode_table(lengths: &[u8; 19]) -> Option<[(u8, u8); 128]> {
    let mut table = [(0, 0); 128];
    let mut code = 0u32;
    for len in 1..=7u8 {
        for (symbol, _) in lengths.iter().enumerate().filter(|&(_, &l)| l == len) {
            if code >> len != 0 {
                return None;
            }
            let reversed = code.reverse_bits() >> (32 - u32::from(len));
            for slot in table.iter_mut().skip(reversed as usize).step_by(1 << len) {
                *slot = (symbol as u8, len);
            }
            code += 1;
        }
        code <<= 1;
    }
    Some(table)
}

/// What a symbol costs and is: its code's bits and extra bits together in the low five, its kind above.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Entry(u8);

impl Entry {
    const LITERAL: u8 = 0;
    const LENGTH: u8 = 1;
    const END: u8 = 2;
    /// Only in tables: the code is longer than the table's index.
    const LONG: Entry = Entry(3 << 5);
    /// Only in tables: no code begins so. A symbol of no bits.
    const NONE: Entry = Entry(0);

    const fn new(bits: u8, kind: u8) -> Self {
        Self(bits | kind << 5)
    }

    const fn bits(self) -> usize {
        (self.0 & 31) as usize
    }

    const fn kind(self) -> u8 {
        self.0 >> 5
    }
}

/// Literals, the end of the block, lengths (RFC 1951 section 3.2.5).
fn litlen_entry(symbol: usize, len: u8) -> Entry {
    match symbol {
        0..=255 => Entry::new(len, Entry::LITERAL),
        256 => Entry::new(len, Entry::END),
        257..=264 | 285.. => Entry::new(len, Entry::LENGTH),
        _ => Entry::new(len + ((symbol - 261) / 4) as u8, Entry::LENGTH),
    }
}

/// Distances (RFC 1951 section 3.2.5). Symbols 30 and 31 never occur; what is said of them does not matter.
fn offset_entry(symbol: usize, len: u8) -> Entry {
    Entry::new(len + (symbol.saturating_sub(2) / 2) as u8, Entry::LITERAL)
}

/// A canonical Huffman code that tells how long symbols are.
struct Code<const SYMBOLS: usize> {
    table: [Entry; 1 << TABLE_BITS],
    /// Symbols by length, for codes that are longer than the table's index.
    counts: [u16; CODE_BITS_MAX + 1],
    /// What stands for each symbol, in the order of the codes.
    entries: [Entry; SYMBOLS],
}

impl<const SYMBOLS: usize> Default for Code<SYMBOLS> {
    fn default() -> Self {
        Self { table: [Entry::NONE; _], counts: [0; _], entries: [Entry::NONE; _] }
    }
}

impl<const SYMBOLS: usize> Code<SYMBOLS> {
    /// Builds the code from its lengths, at most `SYMBOLS` of them. `None` when they are no prefix code; a code that is
    /// incomplete is one.
    fn build(&mut self, lengths: &[u8], entry: fn(usize, u8) -> Entry) -> Option<()> {
        self.counts = [0; _];
        for &len in lengths {
            *self.counts.get_mut(usize::from(len))? += 1;
        }
        self.counts[0] = 0;
        let mut next_code = [0u32; CODE_BITS_MAX + 2];
        let mut next_index = [0usize; CODE_BITS_MAX + 2];
        for len in 1..=CODE_BITS_MAX {
            let end = next_code[len] + u32::from(self.counts[len]);
            if end > 1 << len {
                return None;
            }
            next_code[len + 1] = end << 1;
            next_index[len + 1] = next_index[len] + usize::from(self.counts[len]);
        }
        self.table.fill(Entry::NONE);
        for (symbol, &len) in lengths.iter().enumerate().filter(|&(_, &len)| len != 0) {
            let (bits, entry) = (u32::from(len), entry(symbol, len));
            let len = usize::from(len);
            *self.entries.get_mut(next_index[len])? = entry;
            next_index[len] += 1;
            let reversed = (next_code[len].reverse_bits() >> (32 - bits)) as usize;
            next_code[len] += 1;
            if bits <= TABLE_BITS {
                for slot in self.table[reversed..].iter_mut().step_by(1 << bits) {
                    *slot = entry;
                }
            } else {
                self.table[reversed & ((1 << TABLE_BITS) - 1)] = Entry::LONG;
            }
        }
        Some(())
    }

    /// Makes one entry of literals that fit the table's index together, and of what follows them.
    fn join_literals(&mut self) {
        for index in 1..self.table.len() {
            let first = self.table[index];
            if first.kind() != Entry::LITERAL || first == Entry::NONE {
                continue;
            }
            // What stands there may have been joined already. It counts if all its bits are bits of this index.
            let next = self.table[index >> first.bits()];
            let bits = first.bits() + next.bits();
            if next != Entry::LONG && next != Entry::NONE && bits <= TABLE_BITS as usize {
                self.table[index] = Entry::new(bits as u8, next.kind());
            }
        }
    }

    /// The symbol, or joined symbols, that these bits begin with.
    #[inline]
    fn entry(&self, word: u64) -> Option<Entry> {
        let entry = self.table[word as usize & ((1 << TABLE_BITS) - 1)];
        if entry == Entry::LONG {
            return self.long_entry(word);
        }
        (entry.bits() != 0).then_some(entry)
    }

    #[cold]
    fn long_entry(&self, mut word: u64) -> Option<Entry> {
        let (mut code, mut first, mut index) = (0usize, 0usize, 0usize);
        for &count in &self.counts[1..] {
            code |= (word & 1) as usize;
            word >>= 1;
            let count = usize::from(count);
            if code < first + count {
                return self.entries.get(index + code - first).copied();
            }
            index += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        None
    }
}

#[cfg(test)]
#[path = "blocks_tests.rs"]
mod tests;
