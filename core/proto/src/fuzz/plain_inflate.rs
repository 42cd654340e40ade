//! DEFLATE read bit by bit, as RFC 1951 tells it: slow, and short enough to be seen to be right.
//!
//! Knows what RFC 7692 section 7.2 makes of it: final blocks may be followed by more, the message's last four bytes are left out.

/// What came out of a message.
pub(super) struct Inflated {
    pub(super) bytes: Vec<u8>,
    /// Blocks with BFINAL set that the message itself has.
    pub(super) final_blocks: usize,
    /// The furthest that a match reaches back.
    pub(super) distance_max: usize,
}

/// There is no message of at most so many bytes in it.
#[derive(Debug)]
pub(super) struct Refused;

/// What the sender left out, and an empty final block: read behind a whole message they make nothing but an end.
const BEHIND: [u8; 9] = [0x00, 0x00, 0xFF, 0xFF, 0x01, 0x00, 0x00, 0xFF, 0xFF];

const LENGTHS: [(usize, usize); 29] = [
    (3, 0),
    (4, 0),
    (5, 0),
    (6, 0),
    (7, 0),
    (8, 0),
    (9, 0),
    (10, 0),
    (11, 1),
    (13, 1),
    (15, 1),
    (17, 1),
    (19, 2),
    (23, 2),
    (27, 2),
    (31, 2),
    (35, 3),
    (43, 3),
    (51, 3),
    (59, 3),
    (67, 4),
    (83, 4),
    (99, 4),
    (115, 4),
    (131, 5),
    (163, 5),
    (195, 5),
    (227, 5),
    (258, 0),
];

/// The order in which a block tells the lengths of the codes for lengths.
const LENGTHS_ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// Inflates a message without context takeover.
pub(super) fn inflate(message: &[u8], max: usize) -> Result<Inflated, Refused> {
    let mut out = Inflated { bytes: Vec::new(), final_blocks: 0, distance_max: 0 };
    if message.is_empty() {
        return Ok(out);
    }
    let bytes = [message, &BEHIND].concat();
    let mut bits = Bits { bytes: &bytes, at: 0, own: message.len() * 8, max };
    loop {
        let is_final = bits.number(1)? == 1;
        match bits.number(2)? {
            0 => bits.stored(&mut out)?,
            1 => {
                let literals: Vec<u8> = (0..288)
                    .map(|symbol| match symbol {
                        0..144 => 8,
                        144..256 => 9,
                        256..280 => 7,
                        _ => 8,
                    })
                    .collect();
                bits.coded(&Codes::of(&literals)?, &Codes::of(&[5; 32])?, &mut out)?;
            }
            2 => {
                let (literals, distances) = bits.dynamic()?;
                bits.coded(&literals, &distances, &mut out)?;
            }
            _ => return Err(Refused),
        }
        if is_final {
            bits.at = bits.at.next_multiple_of(8);
            if bits.at == bytes.len() * 8 {
                return Ok(out);
            }
            out.final_blocks += 1;
        }
    }
}

struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    /// How many bits are the message's own.
    own: usize,
    max: usize,
}

impl Bits<'_> {
    fn number(&mut self, bits: usize) -> Result<usize, Refused> {
        let mut number = 0;
        for n in 0..bits {
            let byte = self.bytes.get(self.at / 8).ok_or(Refused)?;
            number |= usize::from(byte >> (self.at % 8) & 1) << n;
            self.at += 1;
        }
        Ok(number)
    }

    fn symbol(&mut self, codes: &Codes) -> Result<usize, Refused> {
        let (mut code, mut first, mut index) = (0, 0, 0);
        for count in codes.counts {
            code |= self.number(1)?;
            if code < first + count {
                return Ok(codes.symbols[index + code - first]);
            }
            index += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        Err(Refused)
    }

    /// Something comes out: of the message's own bits, within the maximum.
    fn check(&self, out: &Inflated) -> Result<(), Refused> {
        if self.at > self.own || out.bytes.len() > self.max { Err(Refused) } else { Ok(()) }
    }

    fn stored(&mut self, out: &mut Inflated) -> Result<(), Refused> {
        self.at = self.at.next_multiple_of(8);
        let (length, complement) = (self.number(16)?, self.number(16)?);
        if length ^ complement != 0xFFFF {
            return Err(Refused);
        }
        for _ in 0..length {
            let byte = self.number(8)? as u8;
            out.bytes.push(byte);
            self.check(out)?;
        }
        Ok(())
    }

    fn dynamic(&mut self) -> Result<(Codes, Codes), Refused> {
        let (literals, distances) = (self.number(5)? + 257, self.number(5)? + 1);
        let told = self.number(4)? + 4;
        if literals > 286 || distances > 30 {
            return Err(Refused);
        }
        let mut of_lengths = [0; 19];
        for &symbol in &LENGTHS_ORDER[..told] {
            of_lengths[symbol] = self.number(3)? as u8;
        }
        let of_lengths = Codes::of(&of_lengths)?;
        if !of_lengths.is_complete {
            return Err(Refused);
        }
        let mut lengths: Vec<u8> = Vec::new();
        while lengths.len() < literals + distances {
            let (length, times) = match self.symbol(&of_lengths)? {
                16 => (*lengths.last().ok_or(Refused)?, 3 + self.number(2)?),
                17 => (0, 3 + self.number(3)?),
                18 => (0, 11 + self.number(7)?),
                length => (length as u8, 1),
            };
            lengths.extend(std::iter::repeat_n(length, times));
        }
        if lengths.len() > literals + distances || lengths[256] == 0 {
            return Err(Refused);
        }
        let (literals, distances) = (Codes::of(&lengths[..literals])?, Codes::of(&lengths[literals..])?);
        // RFC 1951 section 3.2.7 lets a code with one symbol be incomplete; zlib, whose word is law here, no other.
        let is_usable = |codes: &Codes| codes.is_complete || codes.longest <= 1;
        if is_usable(&literals) && is_usable(&distances) { Ok((literals, distances)) } else { Err(Refused) }
    }

    fn coded(&mut self, literals: &Codes, distances: &Codes, out: &mut Inflated) -> Result<(), Refused> {
        loop {
            match self.symbol(literals)? {
                literal @ 0..=255 => out.bytes.push(literal as u8),
                256 => return Ok(()),
                symbol => {
                    let (length, extra) = *LENGTHS.get(symbol - 257).ok_or(Refused)?;
                    let length = length + self.number(extra)?;
                    let distance = match self.symbol(distances)? {
                        symbol @ 0..4 => 1 + symbol,
                        symbol @ 4..30 => {
                            let extra = symbol / 2 - 1;
                            1 + ((2 + symbol % 2) << extra) + self.number(extra)?
                        }
                        _ => return Err(Refused),
                    };
                    if distance > out.bytes.len() {
                        return Err(Refused);
                    }
                    out.distance_max = out.distance_max.max(distance);
                    for _ in 0..length {
                        out.bytes.push(out.bytes[out.bytes.len() - distance]);
                    }
                }
            }
            self.check(out)?;
        }
    }
}

/// Canonical Huffman codes (RFC 1951 section 3.2.2).
struct Codes {
    /// How many codes there are of 1 to 15 bits.
    counts: [usize; 15],
    /// The symbols in the order of their codes.
    symbols: Vec<usize>,
    is_complete: bool,
    longest: usize,
}

impl Codes {
    fn of(lengths: &[u8]) -> Result<Self, Refused> {
        let mut counts = [0; 15];
        let mut symbols = Vec::new();
        let (mut left, mut longest) = (1, 0);
        for length in 1..=15 {
            let before = symbols.len();
            symbols.extend((0..lengths.len()).filter(|symbol| usize::from(lengths[*symbol]) == length));
            counts[length - 1] = symbols.len() - before;
            left = (left * 2usize).checked_sub(counts[length - 1]).ok_or(Refused)?;
            if symbols.len() > before {
                longest = length;
            }
        }
        Ok(Codes { counts, symbols, is_complete: left == 0, longest })
    }
}
