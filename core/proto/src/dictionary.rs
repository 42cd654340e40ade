//! `fanwire.dict.v1+lz4` and `+deflate`: messages of one lane, compressed against earlier messages of that lane.
//!
//! Knows the bytes of PROTOCOL.md 5.6, which messages make a dictionary, and how to read frames without trust. Never knows
//! WebSocket frames, cursors or a clock. A frame hangs on its dictionary and on no other frame.
//!
//! What one end holds of a lane: a dictionary and a tail, each of at most [`TAIL_MESSAGES_MAX`] messages and
//! [`TAIL_BYTES_MAX`] bytes. What compresses and decompresses is shared by all lanes of a thread.

mod decoder;
mod encoder;
mod number;
mod pack;
mod renewal;
mod tail;
#[cfg(test)]
mod tests;

pub use decoder::{Decoder, Frame, Limits};
pub use encoder::LaneEncoder;
pub use number::NUMBER_MAX;
pub use pack::{Codec, Packer, Unpacker};

use crate::{Kind, Priority, TopicId};
use thiserror::Error;

/// The subprotocol's name with LZ4.
pub const PROTOCOL_LZ4: &str = "fanwire.dict.v1+lz4";
/// The subprotocol's name with deflate.
pub const PROTOCOL_DEFLATE: &str = "fanwire.dict.v1+deflate";
/// Most messages of a tail, and of a dictionary.
pub const TAIL_MESSAGES_MAX: usize = 64;
/// Most bytes of payload in a tail, and in a dictionary: within the 32 KiB that deflate reaches back.
pub const TAIL_BYTES_MAX: usize = 16 << 10;

const KIND: u8 = 0b11;
const KIND_CONTROL: u8 = 0;
const KIND_DATA: u8 = 1;
const KIND_EARLIER: u8 = 2;
const PAYLOAD_SHIFT: u8 = 2;
const WITH: u8 = 1 << 4;
const COMPRESSED: u8 = 1 << 5;
const SEVERAL: u8 = 1 << 6;
const BEGINS: u8 = 1 << 7;

/// A lane, as a frame names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lane {
    /// The topic.
    pub topic_id: TopicId,
    /// The priority.
    pub priority: Priority,
}

impl Lane {
    fn to_wire(self) -> u64 {
        u64::from(self.topic_id.0) << 2 | self.priority as u64
    }

    fn of_wire(lane: u64) -> Option<Self> {
        let topic_id = TopicId(u32::try_from(lane >> 2).ok()?);
        Some(Lane { topic_id, priority: Priority::ALL[(lane & 3) as usize] })
    }
}

/// A message of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Its number in the lane, at most [`NUMBER_MAX`].
    pub seq: u64,
    /// When it was published, microseconds since 1970, at most [`NUMBER_MAX`].
    pub time_us: u64,
    /// The payload, as it was published.
    pub payload: &'a [u8],
}

/// Why a frame cannot be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DictionaryError {
    /// The frame ends too early, or a number in it is too large.
    #[error("a number or a payload is cut short or too large")]
    Short,
    /// Bits that are not allowed together, or payload kind 3.
    #[error("the head {0:#04x} is not allowed")]
    Head(u8),
    /// The topic's number has more than 32 bits.
    #[error("the lane {0} cannot be")]
    Lane(u64),
    /// More lanes than the reader permits.
    #[error("more than {0} lanes")]
    Lanes(usize),
    /// A control frame that is not text.
    #[error("the control frame is not text")]
    Control,
    /// A dictionary that is empty or too large.
    #[error("a dictionary has 1 to {TAIL_MESSAGES_MAX} messages and 1 to {TAIL_BYTES_MAX} bytes")]
    Size,
    /// The dictionary is to be made of messages that are not there.
    #[error("message {0} of the dictionary is missing")]
    Missing(u64),
    /// The dictionary is not the sender's.
    #[error("the dictionary is another than the sender's")]
    Check,
    /// A dictionary that is not there.
    #[error("dictionary {0} is not there")]
    Unknown(u8),
    /// The block is not of its codec, or larger than the reader permits.
    #[error("the block cannot be decompressed, or is too large")]
    Block,
    /// Numbers or times that are too large or do not grow, or no message at all.
    #[error("numbers must grow and stay within 2^53 - 1")]
    Sequence,
}

fn head_of(frame_kind: u8, kind: Kind) -> u8 {
    frame_kind | (kind as u8) << PAYLOAD_SHIFT
}

/// Appends a control frame around `object`, one JSON object of `fanwire.json.v1`.
pub fn control(out: &mut Vec<u8>, object: &[u8]) {
    out.push(KIND_CONTROL);
    out.extend_from_slice(object);
}
