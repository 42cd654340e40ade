//! How a client writes its requests and reads what the server says, in each subprotocol.
//!
//! Requests are written here, apart from anything of the engine's.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::payload::Stamp;
use crate::driver::sim::Rng;
use crate::event::Protocol;
use crate::proto::batch::{self, Batch, Frame};
use crate::proto::header::Opcode;
use crate::proto::server_message::ServerMessage;
use crate::proto::subscribe::Id;
use crate::proto::{json, lz4, msgpack};
use crate::types::Kind;

/// Most bytes that a client takes in one block.
const BLOCK_BYTES_MAX: usize = 64 << 20;

/// What the server says.
pub enum Said<'a> {
    /// An object.
    Object(ServerMessage<'a>),
    /// Messages of `fanwire.batch.v1`.
    Batch(Batch<'a>),
}

/// Writes a request.
pub fn request(protocol: Protocol, object: &Value, rng: &mut Rng) -> (Opcode, Vec<u8>) {
    if protocol == Protocol::MsgpackV1 {
        let mut out = Vec::new();
        pack(&mut out, object);
        return (Opcode::Binary, out);
    }
    text(protocol, object.to_string(), rng)
}

/// A batch client may write control frames, or plain text.
fn text(protocol: Protocol, text: String, rng: &mut Rng) -> (Opcode, Vec<u8>) {
    let is_batch = matches!(protocol, Protocol::BatchV1 | Protocol::BatchV1Lz4);
    if is_batch && rng.chance(500) {
        let mut out = vec![0; 24];
        (out[0], out[1], out[2]) = (1, 2, 4);
        out[16..20].copy_from_slice(&(text.len() as u32).to_le_bytes());
        out.extend_from_slice(text.as_bytes());
        return (Opcode::Binary, out);
    }
    (Opcode::Text, text.into_bytes())
}

/// Writes a `publish`.
pub fn publish(protocol: Protocol, stamp: &Stamp, rng: &mut Rng) -> (Opcode, Vec<u8>) {
    let payload = stamp.render();
    if protocol == Protocol::MsgpackV1 {
        let mut out = Vec::new();
        let fields = 4 + u8::from(stamp.kind() == Kind::Text) + u8::from(stamp.key > 0) + u8::from(stamp.ttl_ms > 0);
        out.push(0x80 | fields);
        let pair = |out: &mut Vec<u8>, key: &str, value: &str| {
            pack_text(out, key);
            pack_text(out, value);
        };
        pair(&mut out, "type", "publish");
        pair(&mut out, "topic", &stamp.topic);
        pair(&mut out, "priority", stamp.priority.name());
        if let Some(key) = stamp.key_name() {
            pair(&mut out, "key", &key);
        }
        if stamp.ttl_ms > 0 {
            pack_text(&mut out, "ttl_ms");
            pack(&mut out, &stamp.ttl_ms.into());
        }
        if stamp.kind() == Kind::Text {
            pair(&mut out, "encoding", "text");
        }
        pack_text(&mut out, "data");
        match stamp.kind() {
            Kind::Binary => {
                out.push(0xc6);
                out.extend_from_slice(&(payload.len() as u32).to_be_bytes());
                out.extend_from_slice(&payload);
            }
            _ => pack_text(&mut out, std::str::from_utf8(&payload).expect("text")),
        }
        return (Opcode::Binary, out);
    }
    let (data, encoding) = match stamp.kind() {
        Kind::Json => (String::from_utf8(payload).expect("JSON"), ""),
        Kind::Text => (
            serde_json::to_string(std::str::from_utf8(&payload).expect("text")).expect("a string"),
            r#","encoding":"text""#,
        ),
        Kind::Binary => (format!("\"{}\"", STANDARD.encode(&payload)), r#","encoding":"base64""#),
    };
    let key = stamp.key_name().map_or(String::new(), |key| format!(r#","key":"{key}""#));
    let ttl = if stamp.ttl_ms > 0 { format!(r#","ttl_ms":{}"#, stamp.ttl_ms) } else { String::new() };
    let (topic, priority) = (&stamp.topic, stamp.priority.name());
    let object =
        format!(r#"{{"type":"publish","topic":"{topic}","priority":"{priority}","data":{data}{encoding}{key}{ttl}}}"#);
    text(protocol, object, rng)
}

/// Reads what came, and hands it to `hear`.
pub fn listen(protocol: Protocol, is_text: bool, message: &[u8], hear: impl FnOnce(Said<'_>)) {
    let shown = || String::from_utf8_lossy(&message[..message.len().min(300)]).into_owned();
    match protocol {
        Protocol::Raw => unreachable!("raw clients read payloads"),
        Protocol::JsonV1 => {
            assert!(is_text, "a binary message on {}", json::PROTOCOL);
            let text = std::str::from_utf8(message).expect("the decoder checks UTF-8, and so must compressed text be");
            let object = json::server::parse(text).unwrap_or_else(|error| panic!("{error}: {}", shown()));
            hear(Said::Object(object));
        }
        Protocol::MsgpackV1 => {
            assert!(!is_text, "a text message on {}", msgpack::PROTOCOL);
            let object = msgpack::server::parse(message).unwrap_or_else(|error| panic!("{error}: {}", shown()));
            hear(Said::Object(object));
        }
        Protocol::BatchV1 | Protocol::BatchV1Lz4 => {
            assert!(!is_text, "a text message on {}", batch::PROTOCOL);
            let mut scratch = Vec::new();
            let frame = batch::decode(message, BLOCK_BYTES_MAX, &mut scratch, |block, size, out| {
                assert!(protocol == Protocol::BatchV1Lz4, "LZ4 that was not asked for");
                lz4::decompress(block, size, BLOCK_BYTES_MAX, out).is_ok()
            });
            match frame.unwrap_or_else(|error| panic!("{error}: {}", shown())) {
                Frame::Control(text) => {
                    let object = json::server::parse(text).unwrap_or_else(|error| panic!("{error}: {text}"));
                    assert!(!matches!(object, ServerMessage::Message(_)), "a message in a control frame");
                    hear(Said::Object(object));
                }
                Frame::Data(batch) => {
                    assert!(batch.message_count() <= 50);
                    hear(Said::Batch(batch));
                }
                Frame::Unknown => panic!("a frame of an unknown kind: {}", shown()),
            }
        }
    }
}

/// The number that an `id` is.
pub fn number_of(protocol: Protocol, id: Option<Id<'_>>) -> Option<u64> {
    let id = id?;
    if protocol == Protocol::MsgpackV1 {
        let raw = id.as_msgpack()?;
        let (first, rest) = raw.split_first()?;
        return match rest.len() {
            0 => Some(u64::from(*first)),
            n => {
                let mut bytes = [0; 8];
                bytes[8 - n..].copy_from_slice(rest);
                Some(u64::from_be_bytes(bytes))
            }
        };
    }
    std::str::from_utf8(id.as_json()?).ok()?.parse().ok()
}

fn pack_text(out: &mut Vec<u8>, text: &str) {
    match text.len() {
        n @ 0..32 => out.push(0xa0 | n as u8),
        n => {
            out.push(0xdb);
            out.extend_from_slice(&(n as u32).to_be_bytes());
        }
    }
    out.extend_from_slice(text.as_bytes());
}

/// MessagePack, in forms of its own choice: any legal one must do.
fn pack(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.push(0xc0),
        Value::Bool(value) => out.push(0xc2 | u8::from(*value)),
        Value::Number(number) => match number.as_u64() {
            Some(n @ 0..128) => out.push(n as u8),
            Some(n) => {
                out.push(0xcf);
                out.extend_from_slice(&n.to_be_bytes());
            }
            None => {
                out.push(0xcb);
                out.extend_from_slice(&number.as_f64().expect("a number").to_be_bytes());
            }
        },
        Value::String(text) => pack_text(out, text),
        Value::Array(items) => {
            out.push(0xdd);
            out.extend_from_slice(&(items.len() as u32).to_be_bytes());
            items.iter().for_each(|item| pack(out, item));
        }
        Value::Object(fields) => {
            out.push(0xdf);
            out.extend_from_slice(&(fields.len() as u32).to_be_bytes());
            for (key, value) in fields {
                pack_text(out, key);
                pack(out, value);
            }
        }
    }
}
