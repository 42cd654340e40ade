//! What a completion is about, packed into its 64 bits of user data: operation (8), generation (24), slot (32).

/// What was asked of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Op {
    /// The multishot poll that watches a connection for bytes and hangups.
    Watch = 1,
    /// The one-shot poll that waits for room to send.
    Room,
    /// A cancellation of one of the two.
    Cancel,
    /// The close of a connection's direct descriptor.
    Close,
    /// A shutdown of a connection's sending side.
    Shutdown,
    /// The multishot poll of a listener; the slot is its index.
    Listener,
    /// Its cancellation.
    CancelListener,
    /// The multishot poll of the waker.
    Waker,
    /// One operation of the batch that is being waited for: the generation is the batch's, the slot the index in it.
    Batch,
}

const OPS: [Op; 9] =
    [Op::Watch, Op::Room, Op::Cancel, Op::Close, Op::Shutdown, Op::Listener, Op::CancelListener, Op::Waker, Op::Batch];

/// Generations are counted modulo this.
pub const GENERATIONS: u32 = 1 << 24;

/// User data, unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// What was asked.
    pub op: Op,
    /// Which use of the slot (or which batch) asked.
    pub generation: u32,
    /// The connection's slot, the listener's index, or the index in the batch.
    pub slot: u32,
}

impl Token {
    /// A token; `generation` is taken modulo [`GENERATIONS`].
    pub const fn new(op: Op, generation: u32, slot: u32) -> Self {
        Token { op, generation: generation % GENERATIONS, slot }
    }

    /// As user data.
    pub const fn pack(self) -> u64 {
        (self.op as u64) << 56 | (self.generation as u64) << 32 | self.slot as u64
    }

    /// From user data; `None` for what [`Token::pack`] never made.
    pub fn unpack(user_data: u64) -> Option<Self> {
        let op = OPS.into_iter().nth(((user_data >> 56) as usize).checked_sub(1)?)?;
        Some(Token { op, generation: (user_data >> 32) as u32 % GENERATIONS, slot: user_data as u32 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_packing() {
        for op in OPS {
            for (generation, slot) in [(0, 0), (1, u32::MAX), (GENERATIONS - 1, 7)] {
                let token = Token::new(op, generation, slot);
                assert_eq!(Token::unpack(token.pack()), Some(token));
            }
        }
        assert_eq!(Token::new(Op::Watch, GENERATIONS, 1), Token::new(Op::Watch, 0, 1));
        assert_eq!(Token::unpack(0), None);
        assert_eq!(Token::unpack(u64::MAX), None);
    }
}
