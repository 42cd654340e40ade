//! `fanwire.msgpack.v1`, server to client: the objects of `fanwire.json.v1` as MessagePack maps.
//!
//! Knows how the objects look in MessagePack, byte for byte. Every function appends to a `Vec<u8>` and allocates nothing
//! but what that needs to grow; integers and lengths take their shortest form. Never knows WebSocket frames.
//!
//! The keys and their order are those of the JSON objects, but `data` is the last key of a `message`, so that a payload of any
//! kind can be sent from where it lies: [`message_prefix`], then the payload itself, and no suffix. A payload is
//! - `str` without `encoding`: JSON text, published as JSON;
//! - `str` with `encoding` `"text"`: text;
//! - `bin`: bytes.

pub mod reader;
pub mod request;
pub mod server;
pub(crate) mod skip;

use super::json::Body;
use super::server_message::{
    Authorized, ErrorMessage, Gap, LaneSeqs, Migrate, Missing, Pong, Subscribed, Unsubscribed, Welcome,
};
use super::subscribe::{ControlError, Id};
use crate::{Kind, Priority};

/// The subprotocol's name.
pub const PROTOCOL: &str = "fanwire.msgpack.v1";

/// What stands for nothing.
const NIL: u8 = 0xc0;

/// Largest payload, in bytes: lengths are 32 bits.
pub const PAYLOAD_BYTES_MAX: usize = u32::MAX as usize;

/// Appends a `message` up to its payload, which must follow as it is and has at most [`PAYLOAD_BYTES_MAX`] bytes.
pub fn message_prefix(out: &mut Vec<u8>, topic: &str, priority: Priority, seq: u64, time_us: u64, body: &Body<'_>) {
    prefix(out, |out| string(out, topic), priority, seq, time_us, (body.kind(), body.payload().len()));
}

/// The same for a payload of so many bytes that is known to be of that kind.
pub fn message_prefix_of(
    out: &mut Vec<u8>,
    topic: &str,
    priority: Priority,
    seq: u64,
    time_us: u64,
    payload: (Kind, usize),
) {
    prefix(out, |out| string(out, topic), priority, seq, time_us, payload);
}

#[inline(always)]
fn prefix(
    out: &mut Vec<u8>,
    topic: impl FnOnce(&mut Vec<u8>),
    priority: Priority,
    seq: u64,
    time_us: u64,
    (kind, bytes): (Kind, usize),
) {
    let text = kind == Kind::Text;
    map(out, if text { 7 } else { 6 });
    pair(out, "type", "message");
    string(out, "topic");
    topic(out);
    pair(out, "priority", priority.name());
    unsigned_pair(out, "seq", seq);
    unsigned_pair(out, "time_us", time_us);
    if text {
        pair(out, "encoding", "text");
    }
    string(out, "data");
    match kind {
        Kind::Json | Kind::Text => string_head(out, bytes),
        Kind::Binary => binary_head(out, bytes),
    }
}

/// Appends a whole `message`. `topic_packed` is what [`pack_topic`] gave.
pub fn message(out: &mut Vec<u8>, topic_packed: &[u8], priority: Priority, seq: u64, time_us: u64, body: &Body<'_>) {
    let payload = (body.kind(), body.payload().len());
    prefix(out, |out| out.extend_from_slice(topic_packed), priority, seq, time_us, payload);
    out.extend_from_slice(body.payload());
}

/// Appends `name` as it stands in an object: to be kept for each topic.
pub fn pack_topic(name: &str, out: &mut Vec<u8>) {
    string(out, name);
}

/// Appends a `welcome`.
pub fn welcome(out: &mut Vec<u8>, welcome: &Welcome<'_>) {
    map(out, 6);
    pair(out, "type", "welcome");
    pair(out, "session", &welcome.session);
    pair(out, "server", &welcome.server);
    pair(out, "protocol", &welcome.protocol);
    unsigned_pair(out, "time_us", welcome.time_us);
    string(out, "limits");
    map(out, 4);
    unsigned_pair(out, "message_bytes_max", welcome.limits.message_bytes_max);
    unsigned_pair(out, "topics_max", welcome.limits.topics_max.into());
    unsigned_pair(out, "subscriptions_max", welcome.limits.subscriptions_max.into());
    unsigned_pair(out, "topics_per_connection_max", welcome.limits.topics_per_connection_max.into());
}

/// Appends a `subscribed`.
pub fn subscribed(out: &mut Vec<u8>, subscribed: &Subscribed<'_>) {
    let id = echo(subscribed.id);
    map(out, 5 + u8::from(id.is_some()));
    pair(out, "type", "subscribed");
    id_pair(out, id);
    pair(out, "topic", &subscribed.topic);
    unsigned_pair(out, "topic_id", subscribed.topic_id.into());
    unsigned_pair(out, "epoch", subscribed.epoch);
    string(out, "seq");
    lane_seqs(out, &subscribed.seq);
}

/// Appends an `unsubscribed`.
pub fn unsubscribed(out: &mut Vec<u8>, unsubscribed: &Unsubscribed<'_>) {
    let id = echo(unsubscribed.id);
    map(out, 2 + u8::from(id.is_some()));
    pair(out, "type", "unsubscribed");
    id_pair(out, id);
    pair(out, "topic", &unsubscribed.topic);
}

/// Appends a `gap`.
pub fn gap(out: &mut Vec<u8>, gap: &Gap<'_>) {
    map(out, 6 + u8::from(gap.missing != Missing::All));
    pair(out, "type", "gap");
    pair(out, "topic", &gap.topic);
    pair(out, "priority", gap.priority.name());
    unsigned_pair(out, "from", gap.from);
    unsigned_pair(out, "to", gap.to);
    pair(out, "reason", gap.reason.name());
    match gap.missing {
        Missing::All => {}
        Missing::Some(count) => unsigned_pair(out, "count", count),
        Missing::Unknown => {
            string(out, "count");
            out.push(NIL);
        }
    }
}

/// Appends an `error`.
pub fn error(out: &mut Vec<u8>, error: &ErrorMessage<'_>) {
    error_parts(out, &error.code, &error.message, error.id);
}

/// Appends the `error` for a request that was refused.
pub fn control_error(out: &mut Vec<u8>, error: &ControlError<'_>) {
    error_parts(out, error.code, &error.message, error.id);
}

fn error_parts(out: &mut Vec<u8>, code: &str, message: &str, id: Option<Id<'_>>) {
    let id = echo(id);
    map(out, 3 + u8::from(id.is_some()));
    pair(out, "type", "error");
    pair(out, "code", code);
    pair(out, "message", message);
    id_pair(out, id);
}

/// Appends a `pong`.
pub fn pong(out: &mut Vec<u8>, pong: &Pong<'_>) {
    let id = echo(pong.id);
    map(out, 1 + u8::from(id.is_some()));
    pair(out, "type", "pong");
    id_pair(out, id);
}

/// Appends a `migrate`.
pub fn migrate(out: &mut Vec<u8>, migrate: &Migrate<'_>) {
    map(out, 3 + u8::from(migrate.url.is_some()));
    pair(out, "type", "migrate");
    unsigned_pair(out, "after_ms", migrate.after_ms);
    if let Some(url) = &migrate.url {
        pair(out, "url", url);
    }
    pair(out, "reason", &migrate.reason);
}

/// Appends an `authorized`.
pub fn authorized(out: &mut Vec<u8>, authorized: &Authorized<'_>) {
    let id = echo(authorized.id);
    map(out, 1 + u8::from(id.is_some()) + u8::from(authorized.expires_in_ms.is_some()));
    pair(out, "type", "authorized");
    id_pair(out, id);
    if let Some(ms) = authorized.expires_in_ms {
        unsigned_pair(out, "expires_in_ms", ms);
    }
}

/// An id is echoed as it was written; one that came in another encoding cannot be, and is left out.
fn echo(id: Option<Id<'_>>) -> Option<&[u8]> {
    id.as_ref().and_then(Id::as_msgpack)
}

fn id_pair(out: &mut Vec<u8>, id: Option<&[u8]>) {
    if let Some(raw) = id {
        string(out, "id");
        out.extend_from_slice(raw);
    }
}

/// A `seq` map: only the lanes that exist.
fn lane_seqs(out: &mut Vec<u8>, seqs: &LaneSeqs) {
    map(out, seqs.iter().flatten().count() as u8);
    for (priority, seq) in Priority::ALL.into_iter().zip(seqs) {
        if let Some(seq) = seq {
            unsigned_pair(out, priority.name(), *seq);
        }
    }
}

fn pair(out: &mut Vec<u8>, key: &str, value: &str) {
    string(out, key);
    string(out, value);
}

fn unsigned_pair(out: &mut Vec<u8>, key: &str, value: u64) {
    string(out, key);
    unsigned(out, value);
}

/// The head of a map of at most 15 pairs: no object of ours has more.
fn map(out: &mut Vec<u8>, pairs: u8) {
    debug_assert!(pairs <= 15);
    out.push(0x80 | pairs);
}

fn string(out: &mut Vec<u8>, text: &str) {
    string_head(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn string_head(out: &mut Vec<u8>, bytes: usize) {
    match bytes {
        0..=31 => out.push(0xa0 | bytes as u8),
        32..=0xff => out.extend_from_slice(&[0xd9, bytes as u8]),
        0x100..=0xffff => sized_head(out, 0xda, &(bytes as u16).to_be_bytes()),
        _ => sized_head(out, 0xdb, &(bytes as u32).to_be_bytes()),
    }
}

fn binary_head(out: &mut Vec<u8>, bytes: usize) {
    match bytes {
        0..=0xff => out.extend_from_slice(&[0xc4, bytes as u8]),
        0x100..=0xffff => sized_head(out, 0xc5, &(bytes as u16).to_be_bytes()),
        _ => sized_head(out, 0xc6, &(bytes as u32).to_be_bytes()),
    }
}

fn unsigned(out: &mut Vec<u8>, number: u64) {
    match number {
        0..=0x7f => out.push(number as u8),
        0x80..=0xff => out.extend_from_slice(&[0xcc, number as u8]),
        0x100..=0xffff => sized_head(out, 0xcd, &(number as u16).to_be_bytes()),
        0x1_0000..=0xffff_ffff => sized_head(out, 0xce, &(number as u32).to_be_bytes()),
        _ => sized_head(out, 0xcf, &number.to_be_bytes()),
    }
}

fn sized_head(out: &mut Vec<u8>, first: u8, rest: &[u8]) {
    out.push(first);
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests;
