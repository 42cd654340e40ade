//! `fanwire.json.v1`, server to client: objects written into a reusable buffer, and read back by clients.
//!
//! Knows how the objects of the subscriber protocol look in JSON. Every function appends to a `Vec<u8>` and allocates
//! nothing but what that needs to grow; what it appends is valid UTF-8 and valid JSON whatever it is given. Never knows
//! WebSocket frames or who the object is for.
//!
//! A `message` is written in three parts, so that a topic's escaped name can be kept and a large JSON payload be sent from
//! where it lies: [`message_prefix`], the payload ([`message_data`]), [`message_suffix`].

pub mod check;
pub mod reader;
pub(crate) mod request;
pub mod server;
pub(crate) mod skip;
pub(crate) mod unescape;

pub use check::{JsonCheck, JsonPieces, JsonText};

use super::server_message::{
    Authorized, ErrorMessage, Gap, LaneSeqs, Migrate, Missing, Pong, Subscribed, Unsubscribed, Welcome,
};
use super::subscribe::{ControlError, Id};
use crate::{Kind, Priority};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The subprotocol's name.
pub const PROTOCOL: &str = "fanwire.json.v1";

/// A payload and the form it takes in a `message` object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// Embedded verbatim.
    Json(JsonText<'a>),
    /// A string, `"encoding":"text"`.
    Text(&'a str),
    /// A string, `"encoding":"base64"`.
    Binary(&'a [u8]),
}

impl<'a> Body<'a> {
    /// The form for a payload that was published as `kind`: what is not JSON falls back to text, and what is not UTF-8 to
    /// base64, so that a publisher's mistake costs its subscribers nothing. O(length).
    pub fn of(kind: Kind, payload: &'a [u8], check: &mut JsonCheck) -> Self {
        if kind == Kind::Binary {
            return Body::Binary(payload);
        }
        let Ok(text) = simdutf8::basic::from_utf8(payload) else {
            return Body::Binary(payload);
        };
        match kind {
            Kind::Json => check.check_text(text).map_or(Body::Text(text), Body::Json),
            _ => Body::Text(text),
        }
    }

    /// The form's kind: what a client will decode the payload as.
    pub fn kind(&self) -> Kind {
        match self {
            Body::Json(_) => Kind::Json,
            Body::Text(_) => Kind::Text,
            Body::Binary(_) => Kind::Binary,
        }
    }

    /// The payload as it was published.
    pub fn payload(&self) -> &'a [u8] {
        match self {
            Body::Json(text) => text.as_str().as_bytes(),
            Body::Text(text) => text.as_bytes(),
            Body::Binary(bytes) => bytes,
        }
    }

    /// Most bytes that [`message_data`] can append; a text of control characters alone takes six times its length.
    pub fn rendered_bytes_max(&self) -> usize {
        match self {
            Body::Json(text) => text.as_str().len(),
            Body::Text(text) => text.len() * 6 + 2,
            Body::Binary(bytes) => bytes.len().div_ceil(3) * 4 + 2,
        }
    }
}

/// Appends the beginning of a `message` object, up to the payload. `topic_escaped` is what [`escape_topic`] gave.
pub fn message_prefix(out: &mut Vec<u8>, topic_escaped: &[u8], priority: Priority, seq: u64, time_us: u64) {
    prefix(out, |out| out.extend_from_slice(topic_escaped), priority, seq, time_us);
}

/// The same for a topic's name as it is. `is_plain`: it needs no escape.
pub fn message_prefix_of(
    out: &mut Vec<u8>,
    (topic, is_plain): (&str, bool),
    priority: Priority,
    seq: u64,
    time_us: u64,
) {
    match is_plain {
        true => message_prefix(out, topic.as_bytes(), priority, seq, time_us),
        false => prefix(out, |out| escape(out, topic), priority, seq, time_us),
    }
}

#[inline(always)]
fn prefix(out: &mut Vec<u8>, topic: impl FnOnce(&mut Vec<u8>), priority: Priority, seq: u64, time_us: u64) {
    out.extend_from_slice(br#"{"type":"message","topic":""#);
    topic(out);
    out.extend_from_slice(br#"","priority":""#);
    out.extend_from_slice(priority.name().as_bytes());
    out.extend_from_slice(br#"","seq":"#);
    decimal(out, seq);
    out.extend_from_slice(br#","time_us":"#);
    decimal(out, time_us);
    out.extend_from_slice(br#","data":"#);
}

/// Appends a `message` object's payload. For [`Body::Json`] that is the payload as it is, and need not be copied at all.
pub fn message_data(out: &mut Vec<u8>, body: &Body<'_>) {
    match body {
        Body::Json(_) => out.extend_from_slice(body.payload()),
        Body::Text(text) => string(out, text),
        Body::Binary(bytes) => base64_string(out, bytes),
    }
}

/// The end of a `message` object after its payload.
pub fn message_suffix(kind: Kind) -> &'static [u8] {
    match kind {
        Kind::Json => b"}",
        Kind::Text => br#","encoding":"text"}"#,
        Kind::Binary => br#","encoding":"base64"}"#,
    }
}

/// Appends a whole `message` object.
pub fn message(out: &mut Vec<u8>, topic_escaped: &[u8], priority: Priority, seq: u64, time_us: u64, body: &Body<'_>) {
    message_prefix(out, topic_escaped, priority, seq, time_us);
    message_data(out, body);
    out.extend_from_slice(message_suffix(body.kind()));
}

/// Appends `name` as it stands between the quotes of a JSON string: to be kept for each topic.
pub fn escape_topic(name: &str, out: &mut Vec<u8>) {
    escape(out, name);
}

/// Appends a `welcome` object.
pub fn welcome(out: &mut Vec<u8>, welcome: &Welcome<'_>) {
    out.extend_from_slice(br#"{"type":"welcome","session":"#);
    string(out, &welcome.session);
    out.extend_from_slice(br#","server":"#);
    string(out, &welcome.server);
    out.extend_from_slice(br#","protocol":"#);
    string(out, &welcome.protocol);
    out.extend_from_slice(br#","time_us":"#);
    decimal(out, welcome.time_us);
    out.extend_from_slice(br#","limits":{"message_bytes_max":"#);
    decimal(out, welcome.limits.message_bytes_max);
    out.extend_from_slice(br#","topics_max":"#);
    decimal(out, welcome.limits.topics_max.into());
    out.extend_from_slice(br#","subscriptions_max":"#);
    decimal(out, welcome.limits.subscriptions_max.into());
    out.extend_from_slice(br#","topics_per_connection_max":"#);
    decimal(out, welcome.limits.topics_per_connection_max.into());
    out.extend_from_slice(b"}}");
}

/// Appends a `subscribed` object.
pub fn subscribed(out: &mut Vec<u8>, subscribed: &Subscribed<'_>) {
    out.extend_from_slice(br#"{"type":"subscribed""#);
    id_field(out, subscribed.id);
    topic_field(out, &subscribed.topic);
    out.extend_from_slice(br#","topic_id":"#);
    decimal(out, subscribed.topic_id.into());
    out.extend_from_slice(br#","epoch":"#);
    decimal(out, subscribed.epoch);
    out.extend_from_slice(br#","seq":{"#);
    lane_seqs(out, &subscribed.seq);
    out.extend_from_slice(b"}}");
}

/// Appends an `unsubscribed` object.
pub fn unsubscribed(out: &mut Vec<u8>, unsubscribed: &Unsubscribed<'_>) {
    out.extend_from_slice(br#"{"type":"unsubscribed""#);
    id_field(out, unsubscribed.id);
    topic_field(out, &unsubscribed.topic);
    out.push(b'}');
}

/// Appends a `gap` object.
pub fn gap(out: &mut Vec<u8>, gap: &Gap<'_>) {
    out.extend_from_slice(br#"{"type":"gap""#);
    topic_field(out, &gap.topic);
    out.extend_from_slice(br#","priority":""#);
    out.extend_from_slice(gap.priority.name().as_bytes());
    out.extend_from_slice(br#"","from":"#);
    decimal(out, gap.from);
    out.extend_from_slice(br#","to":"#);
    decimal(out, gap.to);
    out.extend_from_slice(br#","reason":""#);
    out.extend_from_slice(gap.reason.name().as_bytes());
    out.push(b'"');
    match gap.missing {
        Missing::All => {}
        Missing::Some(count) => {
            out.extend_from_slice(br#","count":"#);
            decimal(out, count);
        }
        Missing::Unknown => out.extend_from_slice(br#","count":null"#),
    }
    out.push(b'}');
}

/// Appends an `error` object.
pub fn error(out: &mut Vec<u8>, error: &ErrorMessage<'_>) {
    error_parts(out, &error.code, &error.message, error.id);
}

/// Appends the `error` object for a request that was refused.
pub fn control_error(out: &mut Vec<u8>, error: &ControlError<'_>) {
    error_parts(out, error.code, &error.message, error.id);
}

fn error_parts(out: &mut Vec<u8>, code: &str, message: &str, id: Option<Id<'_>>) {
    out.extend_from_slice(br#"{"type":"error","code":"#);
    string(out, code);
    out.extend_from_slice(br#","message":"#);
    string(out, message);
    id_field(out, id);
    out.push(b'}');
}

/// Appends a `pong` object.
pub fn pong(out: &mut Vec<u8>, pong: &Pong<'_>) {
    out.extend_from_slice(br#"{"type":"pong""#);
    id_field(out, pong.id);
    out.push(b'}');
}

/// Appends a `migrate` object.
pub fn migrate(out: &mut Vec<u8>, migrate: &Migrate<'_>) {
    out.extend_from_slice(br#"{"type":"migrate","after_ms":"#);
    decimal(out, migrate.after_ms);
    if let Some(url) = &migrate.url {
        out.extend_from_slice(br#","url":"#);
        string(out, url);
    }
    out.extend_from_slice(br#","reason":"#);
    string(out, &migrate.reason);
    out.push(b'}');
}

/// Appends an `authorized` object.
pub fn authorized(out: &mut Vec<u8>, authorized: &Authorized<'_>) {
    out.extend_from_slice(br#"{"type":"authorized""#);
    id_field(out, authorized.id);
    if let Some(ms) = authorized.expires_in_ms {
        out.extend_from_slice(br#","expires_in_ms":"#);
        decimal(out, ms);
    }
    out.push(b'}');
}

/// An id is echoed as it was written; one that came in another encoding cannot be, and is left out.
fn id_field(out: &mut Vec<u8>, id: Option<Id<'_>>) {
    if let Some(raw) = id.as_ref().and_then(Id::as_json) {
        out.extend_from_slice(br#","id":"#);
        out.extend_from_slice(raw);
    }
}

fn topic_field(out: &mut Vec<u8>, topic: &str) {
    out.extend_from_slice(br#","topic":"#);
    string(out, topic);
}

/// The members of a `seq` object: only the lanes that exist.
fn lane_seqs(out: &mut Vec<u8>, seqs: &LaneSeqs) {
    let mut separator: &[u8] = b"\"";
    for (priority, seq) in Priority::ALL.into_iter().zip(seqs) {
        if let Some(seq) = seq {
            out.extend_from_slice(separator);
            out.extend_from_slice(priority.name().as_bytes());
            out.extend_from_slice(b"\":");
            decimal(out, *seq);
            separator = b",\"";
        }
    }
}

/// Appends `text` as a JSON string.
pub fn string(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    escape(out, text);
    out.push(b'"');
}

fn base64_string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    base64_piece(out, bytes);
    out.push(b'"');
}

/// Appends `text` as it stands between quotes.
fn escape(out: &mut Vec<u8>, text: &str) {
    escape_piece(out, text.as_bytes());
}

/// Appends a piece of a text, cut anywhere, as it stands between quotes: runs that need no escape are copied whole.
pub fn escape_piece(out: &mut Vec<u8>, piece: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut rest = piece;
    loop {
        let (plain, more) = rest.split_at(plain_bytes(rest));
        out.extend_from_slice(plain);
        let Some((&byte, more)) = more.split_first() else { return };
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\x08' => out.extend_from_slice(b"\\b"),
            b'\x0c' => out.extend_from_slice(b"\\f"),
            _ => out.extend_from_slice(&[
                b'\\',
                b'u',
                b'0',
                b'0',
                HEX[usize::from(byte >> 4)],
                HEX[usize::from(byte & 15)],
            ]),
        }
        rest = more;
    }
}

/// How many bytes [`escape_piece`] appends.
pub fn escaped_len(piece: &[u8]) -> usize {
    let escaped = |byte: &u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..0x20 => 6,
        _ => 1,
    };
    piece.iter().map(escaped).sum()
}

/// Appends a piece of bytes in base64. All but the last have a multiple of three bytes.
pub fn base64_piece(out: &mut Vec<u8>, piece: &[u8]) {
    let start = out.len();
    out.resize(start + piece.len().div_ceil(3) * 4, b'=');
    // The space is exact, so this cannot fail.
    let _ = STANDARD.encode_slice(piece, &mut out[start..]);
}

/// How many bytes at the start of `bytes` may stand in a JSON string as they are.
fn plain_bytes(bytes: &[u8]) -> usize {
    const CHUNK: usize = 16;
    const SPECIAL: [bool; 256] = {
        let mut special = [false; 256];
        let mut byte = 0;
        while byte < 0x20 {
            special[byte] = true;
            byte += 1;
        }
        special[b'"' as usize] = true;
        special[b'\\' as usize] = true;
        special
    };
    let scan = |bytes: &[u8]| bytes.iter().position(|&b| SPECIAL[usize::from(b)]);
    // Most names and many strings end soon.
    let (first, more) = bytes.split_at(bytes.len().min(CHUNK));
    if let Some(at) = scan(first) {
        return at;
    }
    let mut at = first.len();
    // Without a branch in it, the inner loop becomes vector instructions.
    for chunk in more.chunks_exact(CHUNK) {
        if chunk.iter().fold(false, |any, &b| any | (b < 0x20) | (b == b'"') | (b == b'\\')) {
            break;
        }
        at += CHUNK;
    }
    at + scan(&bytes[at..]).unwrap_or(bytes.len() - at)
}

/// Appends `number` in decimal, two digits a division.
pub fn decimal(out: &mut Vec<u8>, mut number: u64) {
    const PAIRS: &[u8; 200] = b"0001020304050607080910111213141516171819\
        2021222324252627282930313233343536373839\
        4041424344454647484950515253545556575859\
        6061626364656667686970717273747576777879\
        8081828384858687888990919293949596979899";
    // 2^64 has 20 digits.
    let mut digits = [0; 20];
    let mut at = digits.len();
    while number >= 100 {
        let pair = (number % 100) as usize * 2;
        number /= 100;
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    }
    if number >= 10 {
        let pair = number as usize * 2;
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    } else {
        at -= 1;
        digits[at] = b'0' + number as u8;
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests;
