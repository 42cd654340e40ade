//! The frame decoder against a plain one, against itself cut elsewhere, and against the encoders.

use super::input::{Cuts, Input};
use crate::client::encode_frame;
use crate::close::{CloseCode, Violation};
use crate::decoder::{Decoder, EMPTY_FRAGMENTS_MAX, Part, Role, Step, TAIL_BYTES_MAX};
use crate::encoder::{self, CLOSE_REASON_BYTES_MAX};
use crate::header::{CONTROL_PAYLOAD_BYTES_MAX, HEADER_BYTES_MAX, Header, Opcode};

/// Maxima of a message.
const MAXIMA: [u64; 8] = [0, 1, 125, 126, 1000, 65_535, 65_536, u64::MAX];

/// One byte: role, permessage-deflate, the maximum. One byte: the cuts. Then a peer's bytes.
pub fn frame(data: &[u8]) {
    let mut input = Input::new(data);
    let choices = input.byte();
    let cuts = input.byte();
    let stream = Stream {
        role: if choices & 1 == 0 { Role::Server } else { Role::Client },
        deflate: choices & 2 != 0,
        maximum: MAXIMA[usize::from(choices >> 2 & 7)],
        wire: input.rest(),
    };
    if let Ok(Some((header, len))) = Header::parse(stream.wire) {
        let mut again = [0; HEADER_BYTES_MAX];
        assert_eq!(header.encode(&mut again), len, "another length for {header:?}");
        assert_eq!(again[..len], stream.wire[..len], "another form for {header:?}");
    }
    let whole = stream.decode(Cuts::none());
    assert_eq!(whole, stream.decode(Cuts::new(cuts)), "the cuts matter");
    assert_eq!(whole, stream.decode_plainly(), "left: decoder, right: plain decoder");

    let wire = encoded(&whole.items, stream.role, [cuts, 0x80, 0, choices]);
    let again = Stream { deflate: true, maximum: u64::MAX, wire: &wire, ..stream }.decode(Cuts::new(cuts));
    let expected = Heard { items: whole.items, ..Heard::default() };
    assert_eq!(again, expected, "left: what was encoded again and decoded");
}

/// What a peer has said.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    items: Vec<Item>,
    /// The message under way, if there is something of it; none after a violation (how much was handed out depends on the cuts).
    pending: Option<Message>,
    is_in_message: bool,
    violation: Option<u16>,
}

#[derive(Debug, PartialEq, Eq)]
enum Item {
    Message(Message),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Message {
    text: bool,
    compressed: bool,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Stream<'a> {
    role: Role,
    deflate: bool,
    maximum: u64,
    wire: &'a [u8],
}

impl Stream<'_> {
    /// As a shard does it: what is left over stays in front of the next piece.
    fn decode(&self, cuts: Cuts) -> Heard {
        let mut decoder = Decoder::new(self.role, self.deflate);
        let mut heard = Heard::default();
        let mut pending: Option<Message> = None;
        let mut buffer = Vec::new();
        for piece in cuts.of(self.wire) {
            buffer.extend_from_slice(piece);
            let mut done = 0;
            loop {
                let there = buffer.len() - done;
                let step = match decoder.next(&mut buffer[done..], self.maximum) {
                    Ok(step) => step,
                    Err(violation) => {
                        heard.violation = Some(checked(violation));
                        assert!(decoder.is_ended() && !decoder.is_in_message());
                        let swallowed = Step { consumed: there, part: None };
                        assert_eq!(decoder.next(&mut buffer[done..], self.maximum), Ok(swallowed));
                        return heard;
                    }
                };
                assert!(step.consumed <= there, "more is consumed than is there");
                let Some(part) = step.part else {
                    let left = there - step.consumed;
                    assert!(left <= TAIL_BYTES_MAX, "{left} bytes are left over");
                    done += step.consumed;
                    break;
                };
                assert!(step.consumed > 0, "a part out of nothing");
                match part {
                    Part::Data { text, compressed, first, last, bytes } => {
                        assert_eq!(first, pending.is_none(), "the first piece of a message is marked");
                        assert!(first || last || !bytes.is_empty(), "an empty piece inside a message");
                        let message = pending.get_or_insert_with(|| Message { text, compressed, ..Message::default() });
                        assert_eq!((message.text, message.compressed), (text, compressed), "within a message");
                        message.bytes.extend_from_slice(bytes);
                        assert!(message.bytes.len() as u64 <= self.maximum, "beyond the maximum");
                        assert_eq!(decoder.is_in_message(), !last);
                        if last {
                            heard.items.extend(pending.take().map(Item::Message));
                        }
                    }
                    Part::Ping(payload) => {
                        assert!(payload.len() <= CONTROL_PAYLOAD_BYTES_MAX);
                        heard.items.push(Item::Ping(payload.to_vec()));
                    }
                    Part::Pong(payload) => {
                        assert!(payload.len() <= CONTROL_PAYLOAD_BYTES_MAX);
                        heard.items.push(Item::Pong(payload.to_vec()));
                    }
                    Part::Close { code, reason } => {
                        assert!(code.is_none_or(CloseCode::is_legal) && reason.len() <= CLOSE_REASON_BYTES_MAX);
                        heard.items.push(Item::Close(code.map(CloseCode::to_u16), reason.to_owned()));
                        assert!(decoder.is_ended());
                        pending = None;
                    }
                }
                done += step.consumed;
            }
            buffer.drain(..done);
        }
        heard.pending = pending.filter(|message| !message.bytes.is_empty());
        heard.is_in_message = decoder.is_in_message();
        heard
    }

    /// RFC 6455 section 5 read from top to bottom, over the whole input at once.
    fn decode_plainly(&self) -> Heard {
        let mut heard = Heard::default();
        match self.read_plainly(&mut heard) {
            Ok(()) => {}
            Err(code) => {
                heard.violation = Some(code);
                heard.pending = None;
                heard.is_in_message = false;
            }
        }
        heard.pending = heard.pending.filter(|message| !message.bytes.is_empty());
        heard
    }

    fn read_plainly(&self, heard: &mut Heard) -> Result<(), u16> {
        let mut wire = self.wire;
        let (mut declared, mut empties) = (0u64, 0);
        loop {
            let Some(&first) = wire.first() else { return Ok(()) };
            let (fin, rsv1, opcode) = (first & 0x80 != 0, first & 0x40 != 0, first & 0x0F);
            let control = opcode >= 8;
            if first & 0x30 != 0 || ![0, 1, 2, 8, 9, 10].contains(&opcode) || control && (!fin || rsv1) {
                return Err(1002);
            }
            if !control && (rsv1 && (!self.deflate || opcode == 0) || (opcode == 0) != heard.is_in_message) {
                return Err(1002);
            }
            let Some(&second) = wire.get(1) else { return Ok(()) };
            let masked = second & 0x80 != 0;
            if masked != (self.role == Role::Server) || control && second & 0x7F > 125 {
                return Err(1002);
            }
            let wide = match second & 0x7F {
                126 => 2,
                127 => 8,
                _ => 0,
            };
            let header_len = 2 + wide + if masked { 4 } else { 0 };
            if wire.len() < header_len {
                return Ok(());
            }
            let length = match wide {
                0 => u64::from(second & 0x7F),
                _ => wire[2..2 + wide].iter().fold(0, |n, &byte| n << 8 | u64::from(byte)),
            };
            if wide == 2 && length < 126 || wide == 8 && !(1 << 16..1 << 63).contains(&length) {
                return Err(1002);
            }
            let key = if masked { &wire[header_len - 4..header_len] } else { &[0; 4] };
            let there = wire[header_len..].len().min(usize::try_from(length).unwrap_or(usize::MAX));
            let is_whole = there as u64 == length;
            let payload: Vec<u8> =
                wire[header_len..][..there].iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
            wire = &wire[header_len + there..];
            if control {
                if !is_whole {
                    return Ok(());
                }
                match opcode {
                    9 => heard.items.push(Item::Ping(payload)),
                    10 => heard.items.push(Item::Pong(payload)),
                    _ => {
                        heard.items.push(close_plainly(&payload)?);
                        (heard.pending, heard.is_in_message) = (None, false);
                        return Ok(());
                    }
                }
                continue;
            }
            if opcode != 0 {
                (declared, empties) = (0, 0);
                heard.pending = Some(Message { text: opcode == 1, compressed: rsv1, bytes: Vec::new() });
            }
            heard.is_in_message = true;
            declared = declared.saturating_add(length);
            if declared > self.maximum {
                return Err(1009);
            }
            empties = if length > 0 || fin { 0 } else { empties + 1 };
            if empties > EMPTY_FRAGMENTS_MAX {
                return Err(1008);
            }
            let Some(message) = &mut heard.pending else { unreachable!("it was begun") };
            message.bytes.extend_from_slice(&payload);
            if message.text && !message.compressed {
                let is_end = fin && is_whole;
                match std::str::from_utf8(&message.bytes) {
                    Err(error) if error.error_len().is_some() || is_end => return Err(1007),
                    _ => {}
                }
            }
            if !is_whole {
                return Ok(());
            }
            if fin {
                heard.is_in_message = false;
                heard.items.extend(heard.pending.take().map(Item::Message));
            }
        }
    }
}

fn close_plainly(payload: &[u8]) -> Result<Item, u16> {
    let (code, reason) = match payload {
        [] => return Ok(Item::Close(None, String::new())),
        [_] => return Err(1002),
        [high, low, reason @ ..] => (u16::from(*high) << 8 | u16::from(*low), reason),
    };
    match code {
        1000..=1003 | 1007..=1014 | 3000..=4999 => {}
        _ => return Err(1002),
    }
    let reason = std::str::from_utf8(reason).map_err(|_| 1007u16)?;
    Ok(Item::Close(Some(code), reason.to_owned()))
}

/// A violation's code, which can be sent together with its reason.
fn checked(violation: Violation) -> u16 {
    assert!(violation.code.is_legal() && violation.reason.len() <= CLOSE_REASON_BYTES_MAX, "{violation:?}");
    let code = violation.code.to_u16();
    assert!([1002, 1007, 1008, 1009].contains(&code), "{violation:?}");
    code
}

/// The same items in frames of ours: a client's for a server that reads, a server's for a client.
fn encoded(items: &[Item], reader: Role, key: [u8; 4]) -> Vec<u8> {
    let mut out = Vec::new();
    for item in items {
        let (opcode, rsv1, payload) = match item {
            Item::Message(message) => {
                let opcode = if message.text { Opcode::Text } else { Opcode::Binary };
                (opcode, message.compressed, message.bytes.clone())
            }
            Item::Ping(payload) => (Opcode::Ping, false, payload.clone()),
            Item::Pong(payload) => (Opcode::Pong, false, payload.clone()),
            Item::Close(code, reason) => {
                let code = code.map(u16::to_be_bytes);
                (Opcode::Close, false, [code.as_ref().map_or(&[][..], |c| &c[..]), reason.as_bytes()].concat())
            }
        };
        if reader == Role::Server {
            encode_frame(&mut out, opcode, true, rsv1, key, &payload);
            continue;
        }
        match item {
            Item::Message(_) => {
                let mut header = [0; HEADER_BYTES_MAX];
                let len = encoder::header(&mut header, opcode, payload.len() as u64, rsv1);
                assert_eq!(len, encoder::header_len(payload.len() as u64));
                out.extend_from_slice(&header[..len]);
                out.extend_from_slice(&payload);
            }
            Item::Ping(payload) => out.extend_from_slice(&encoder::ping(payload)),
            Item::Pong(payload) => out.extend_from_slice(&encoder::pong(payload)),
            Item::Close(code, reason) => {
                out.extend_from_slice(&encoder::close(code.map(CloseCode::new), reason));
            }
        }
    }
    out
}
