//! A target's choices, taken from the front of its input.

/// What is left of the input. At its end every choice is 0.
pub(super) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Input(bytes)
    }

    pub(super) fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    pub(super) fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// One of `items`.
    pub(super) fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[usize::from(self.byte()) % items.len()]
    }

    /// At most so many bytes.
    pub(super) fn take(&mut self, bytes: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(bytes.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn rest(self) -> &'a [u8] {
        self.0
    }
}

/// Lengths of pieces, drawn from one byte: 0 cuts behind every byte, 255 nowhere, the others into pieces of uneven lengths up to a
/// quarter of their value.
#[derive(Clone)]
pub(super) struct Cuts {
    choice: u8,
    state: u32,
}

impl Cuts {
    pub(super) fn new(choice: u8) -> Self {
        Cuts { choice, state: u32::from(choice) }
    }

    /// Not cut at all.
    pub(super) fn none() -> Self {
        Cuts::new(255)
    }

    /// The next piece's length, at least 1.
    pub(super) fn piece(&mut self) -> usize {
        self.state = self.state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        match self.choice {
            0 => 1,
            255 => usize::MAX,
            choice => 1 + (self.state >> 16) as usize % (1 + usize::from(choice) / 4),
        }
    }

    /// `bytes` in pieces.
    pub(super) fn of(mut self, bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
        let mut rest = bytes;
        std::iter::from_fn(move || {
            let (piece, more) = rest.split_at(self.piece().min(rest.len()));
            rest = more;
            (!piece.is_empty()).then_some(piece)
        })
    }
}
