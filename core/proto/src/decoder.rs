//! The frame decoder: bytes in any pieces in, message parts and control frames out.
//!
//! Knows RFC 6455 section 5, the state of one connection's inbound stream, and UTF-8. Owns no buffer: data is unmasked
//! where it lies and handed on as it arrives, whatever the frame's length says, so a declared length costs nothing.
//! Must never know what a message means or what a connection is.
//!
//! The same bytes cut at any places give the same messages, the same control frames and the same violation. (Of the
//! message that a violation breaks off, how much was handed out before depends on the cuts.)

use super::close::{CloseCode, Violation};
use super::header::{CONTROL_PAYLOAD_BYTES_MAX, HEADER_BYTES_MAX, Header, Opcode, check_first};
use super::mask;
use super::utf8::Utf8;

/// The most that [`Decoder::next`] leaves unconsumed: one byte less than a whole masked control frame.
pub const TAIL_BYTES_MAX: usize = 2 + 4 + CONTROL_PAYLOAD_BYTES_MAX - 1;
const _: () = assert!(TAIL_BYTES_MAX >= HEADER_BYTES_MAX - 1);

/// Empty fragments that may follow each other within a message: they carry nothing but work.
pub const EMPTY_FRAGMENTS_MAX: u16 = 1024;

/// Which end of the connection decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Frames come from a client and must be masked.
    Server,
    /// Frames come from a server and must not be masked.
    Client,
}

/// One thing that arrived. Borrows the input.
#[derive(Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// A piece of a message, unmasked; as much as was there.
    Data {
        /// Text (checked to be UTF-8 up to here, unless compressed) or binary: the same for all pieces of a message.
        text: bool,
        /// RSV1: the message is to be inflated, and its text to be checked, by the caller.
        compressed: bool,
        /// The first piece of its message.
        first: bool,
        /// The last piece of its message.
        last: bool,
        /// The piece; empty only if it is the first or the last one.
        bytes: &'a mut [u8],
    },
    /// A ping, to be answered with a pong of the same payload (at most 125 bytes).
    Ping(&'a [u8]),
    /// A pong (at most 125 bytes).
    Pong(&'a [u8]),
    /// The peer closes. Nothing is reported after it.
    Close {
        /// The code, legal; `None` if the frame was empty.
        code: Option<CloseCode>,
        /// The reason, at most 123 bytes.
        reason: &'a str,
    },
}

/// What one call of [`Decoder::next`] did.
#[derive(Debug, PartialEq, Eq)]
pub struct Step<'a> {
    /// Bytes of the input's front that are done with.
    pub consumed: usize,
    /// What they gave; `None` means that more input is needed to go on.
    pub part: Option<Part<'a>>,
}

/// The state of one inbound stream of frames: at most 64 bytes, no heap.
#[derive(Debug)]
pub struct Decoder {
    role: Role,
    deflate: bool,
    state: State,
    message: Option<Message>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// A frame's header comes next.
    Header,
    /// A data frame's payload comes next; `remaining` is above 0.
    Payload { remaining: u64, key: Option<[u8; 4]>, fin: bool },
    /// After a close frame or a violation: the rest is swallowed.
    Ended,
}

/// The message whose frames are arriving.
#[derive(Clone, Copy, Debug)]
struct Message {
    /// Payload bytes of all its frames so far, as declared.
    bytes: u64,
    /// Empty fragments since the last one with a payload.
    empty_fragments: u16,
    utf8: Utf8,
    text: bool,
    compressed: bool,
    /// A piece was handed out already.
    is_begun: bool,
}

impl Decoder {
    /// At the start of the stream. `deflate`: permessage-deflate was agreed, so RSV1 may stand on a message's first
    /// frame.
    pub const fn new(role: Role, deflate: bool) -> Self {
        Self { role, deflate, state: State::Header, message: None }
    }

    /// Whether a close frame or a violation has ended the stream: further input is swallowed.
    pub const fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// Whether the stream stands between two messages: a decoder made anew would go on just as well.
    pub const fn is_between_messages(&self) -> bool {
        matches!(self.state, State::Header) && self.message.is_none()
    }

    /// Whether a message is under way: its last frame has not been seen in full.
    pub const fn is_in_message(&self) -> bool {
        self.message.is_some()
    }

    /// Takes the next part off the front of `input`.
    ///
    /// Data of a partly received frame is handed out at once; headers and control frames are consumed only when whole.
    /// So when `part` is `None`, what is not consumed is at most [`TAIL_BYTES_MAX`] bytes: keep it, put the next bytes
    /// behind it, and call again. `message_bytes_max` bounds the sum of a message's payloads as they are on the wire.
    ///
    /// Cost: one pass to unmask, and one to check UTF-8 for text that is not compressed. Allocates nothing.
    ///
    /// # Errors
    /// The peer broke RFC 6455 (1002), sent text that is not UTF-8 (1007), a message beyond the maximum (1009, as
    /// soon as a header says so), or more than [`EMPTY_FRAGMENTS_MAX`] empty fragments in a row (1008). The stream
    /// has then ended.
    pub fn next<'b>(&mut self, input: &'b mut [u8], message_bytes_max: u64) -> Result<Step<'b>, Violation> {
        let step = self.advance(input, message_bytes_max);
        if step.is_err() {
            self.state = State::Ended;
            self.message = None;
        }
        step
    }

    fn advance<'b>(&mut self, input: &'b mut [u8], message_bytes_max: u64) -> Result<Step<'b>, Violation> {
        let mut at = 0;
        loop {
            match self.state {
                State::Ended => {
                    return Ok(Step { consumed: input.len(), part: None });
                }
                State::Payload { remaining, key, fin } => return self.payload(input, at, remaining, key, fin),
                State::Header => {}
            }
            let front = &input[at..];
            if let Some(&first) = front.first() {
                self.check_order(first)?;
            }
            if let Some(&second) = front.get(1) {
                self.check_mask_bit(second)?;
            }
            let Some((header, header_len)) = Header::parse(front)? else {
                return Ok(Step { consumed: at, part: None });
            };
            if header.opcode.is_control() {
                return self.control(input, at, header, header_len);
            }
            at += header_len;
            if self.begin_frame(header, message_bytes_max)? {
                return self.data(&mut input[at..at], at, header.fin);
            }
        }
    }

    /// Whether a frame that begins with this byte may stand here.
    fn check_order(&self, first: u8) -> Result<(), Violation> {
        let opcode = check_first(first)?;
        if opcode.is_control() {
            return Ok(());
        }
        let is_first_frame = opcode != Opcode::Continuation;
        if first & 0x40 != 0 && !(self.deflate && is_first_frame) {
            return Err(Violation::protocol("reserved bit RSV1 is set"));
        }
        match (is_first_frame, self.message.is_some()) {
            (true, true) => Err(Violation::protocol("new message inside a fragmented one")),
            (false, false) => Err(Violation::protocol("continuation without a message to continue")),
            _ => Ok(()),
        }
    }

    /// RFC 6455 section 5.1: a client masks, a server does not.
    fn check_mask_bit(&self, second: u8) -> Result<(), Violation> {
        match (self.role, second & 0x80 != 0) {
            (Role::Server, false) => Err(Violation::protocol("frame from a client is not masked")),
            (Role::Client, true) => Err(Violation::protocol("frame from a server is masked")),
            _ => Ok(()),
        }
    }

    /// Enters a data frame. True if it has no payload and yet must be reported, being the first or the last.
    fn begin_frame(&mut self, header: Header, message_bytes_max: u64) -> Result<bool, Violation> {
        let message = self.message.get_or_insert(Message {
            bytes: 0,
            empty_fragments: 0,
            utf8: Utf8::new(),
            text: header.opcode == Opcode::Text,
            compressed: header.rsv1,
            is_begun: false,
        });
        message.bytes = message.bytes.saturating_add(header.payload_bytes);
        if message.bytes > message_bytes_max {
            return Err(Violation { code: CloseCode::TOO_BIG, reason: "message is beyond the maximum" });
        }
        if header.payload_bytes > 0 {
            message.empty_fragments = 0;
            self.state = State::Payload { remaining: header.payload_bytes, key: header.mask, fin: header.fin };
            return Ok(false);
        }
        if header.fin {
            return Ok(true);
        }
        message.empty_fragments += 1;
        if message.empty_fragments > EMPTY_FRAGMENTS_MAX {
            return Err(Violation { code: CloseCode::POLICY, reason: "too many empty fragments" });
        }
        Ok(!message.is_begun)
    }

    /// Takes what is there of a data frame's payload.
    fn payload<'b>(
        &mut self,
        input: &'b mut [u8],
        at: usize,
        remaining: u64,
        key: Option<[u8; 4]>,
        fin: bool,
    ) -> Result<Step<'b>, Violation> {
        let there = input.len() - at;
        if there == 0 {
            return Ok(Step { consumed: at, part: None });
        }
        let len = usize::try_from(remaining).map_or(there, |remaining| remaining.min(there));
        let bytes = &mut input[at..at + len];
        let key = key.map(|key| mask::apply(bytes, key));
        let remaining = remaining - len as u64;
        self.state = match remaining {
            0 => State::Header,
            _ => State::Payload { remaining, key, fin },
        };
        self.data(bytes, at + len, fin && remaining == 0)
    }

    /// Hands out a piece of the message, checked if it is text.
    fn data<'b>(&mut self, bytes: &'b mut [u8], consumed: usize, last: bool) -> Result<Step<'b>, Violation> {
        // A frame without a message was refused by `check_order`.
        let Some(message) = &mut self.message else {
            return Ok(Step { consumed, part: None });
        };
        let Message { text, compressed, is_begun, .. } = *message;
        if text && !compressed {
            let checked = message.utf8.push(bytes);
            if checked.is_err() || (last && !message.utf8.is_complete()) {
                return Err(Violation::payload("text message is not UTF-8"));
            }
        }
        message.is_begun = true;
        if last {
            self.message = None;
        }
        let part = Part::Data { text, compressed, first: !is_begun, last, bytes };
        Ok(Step { consumed, part: Some(part) })
    }

    /// Takes a control frame if it is whole.
    fn control<'b>(
        &mut self,
        input: &'b mut [u8],
        at: usize,
        header: Header,
        header_len: usize,
    ) -> Result<Step<'b>, Violation> {
        let start = at + header_len;
        // At most 125: `Header::parse` saw to it.
        let end = start + header.payload_bytes as usize;
        let Some(payload) = input.get_mut(start..end) else {
            return Ok(Step { consumed: at, part: None });
        };
        if let Some(key) = header.mask {
            mask::apply(payload, key);
        }
        let part = match header.opcode {
            Opcode::Ping => Part::Ping(payload),
            Opcode::Pong => Part::Pong(payload),
            _ => {
                let part = close_part(payload)?;
                self.state = State::Ended;
                self.message = None;
                part
            }
        };
        Ok(Step { consumed: end, part: Some(part) })
    }
}

/// Reads a close frame's payload (RFC 6455 sections 5.5.1 and 7.4).
fn close_part(payload: &[u8]) -> Result<Part<'_>, Violation> {
    let (code, reason) = match payload {
        [] => return Ok(Part::Close { code: None, reason: "" }),
        [_] => return Err(Violation::protocol("close frame with half a code")),
        [a, b, reason @ ..] => (CloseCode::new(u16::from_be_bytes([*a, *b])), reason),
    };
    if !code.is_legal() {
        return Err(Violation::protocol("close code that must not be sent"));
    }
    match simdutf8::basic::from_utf8(reason) {
        Ok(reason) => Ok(Part::Close { code: Some(code), reason }),
        Err(_) => Err(Violation::payload("close reason is not UTF-8")),
    }
}

#[cfg(test)]
#[path = "decoder_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "decoder_cut_tests.rs"]
mod cut_tests;

#[cfg(test)]
#[path = "decoder_oracle_tests.rs"]
mod oracle_tests;
