//! Publishing: by copy, many at once, waiting, by reference.
//!
//! # Contract of the unsafe code
//! Only the exported names need it; the host's bytes are read through [`crate::text`].

use std::ffi::{c_char, c_void};
use std::mem::{MaybeUninit, offset_of};
use std::time::Instant;

use fanwire::{Kind, Message, Priority};

use crate::config::{check_size, wait_ms};
use crate::guard::{guard, planted};
use crate::reference::{Offer, fw_release_fn};
use crate::status::{Failure, Outcome, fw_status};
use crate::text::{array, bytes, out, put, text};
use crate::topic::{fw_topic, with_topic};

/// Importance of a message. More important ones are sent first; within one topic and priority the order is kept.
#[repr(u32)]
pub enum fw_priority {
    /// Never dropped: a subscriber that cannot take it is closed with 1013.
    FW_PRIORITY_CRITICAL = 0,
    /// Dropped after normal and low.
    FW_PRIORITY_HIGH = 1,
    /// The usual.
    FW_PRIORITY_NORMAL = 2,
    /// Dropped first.
    FW_PRIORITY_LOW = 3,
}

/// What a message is, as its publisher states it.
#[repr(u32)]
pub enum fw_kind {
    /// UTF-8 text.
    FW_KIND_TEXT = 0,
    /// Any bytes.
    FW_KIND_BINARY = 1,
    /// One JSON value: embedded as it is in what fanwire.json.v1 subscribers get. That it is well-formed is not checked.
    FW_KIND_JSON = 2,
}

/// A message's bytes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct fw_slice {
    /// May be NULL if there are none.
    pub data: *const c_void,
    /// How many.
    pub len: usize,
}

/// A message with all that may be said of it. Zero it, set struct_size, then what matters.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct fw_message {
    /// sizeof(fw_message).
    pub struct_size: u32,
    /// A fw_priority.
    pub priority: u32,
    /// A fw_kind.
    pub kind: u32,
    /// Milliseconds after which it is worth nothing: a subscriber that lags does not get it any more. 0: never.
    pub ttl_ms: u32,
    /// The message.
    pub data: *const c_void,
    /// Its length.
    pub len: usize,
    /// Where a topic's policy keeps only the newest message of each key: which one it replaces. May be NULL.
    pub key: *const c_char,
    /// What is to be said of it beyond the payload, at most 1,024 bytes: kept beside it and handed to what the engine feeds besides
    /// clients, whatever they mean; no client is sent them. May be NULL if there are none.
    pub attributes: *const c_void,
    /// Their length.
    pub attributes_len: usize,
}

/// The first version ended before the attributes.
const MESSAGE_BYTES_FIRST: usize = offset_of!(fw_message, attributes);

#[inline]
pub fn priority(priority: u32) -> Outcome<Priority> {
    match u8::try_from(priority).ok().and_then(Priority::from_u8) {
        Some(priority) => Ok(priority),
        None => Err(unknown("priority", priority)),
    }
}

#[inline]
pub fn kind(kind: u32) -> Outcome<Kind> {
    match u8::try_from(kind).ok().and_then(Kind::from_u8) {
        Some(kind) => Ok(kind),
        None => Err(unknown("kind", kind)),
    }
}

#[cold]
fn unknown(what: &str, value: u32) -> Failure {
    Failure::new(fw_status::FW_BAD_ARGUMENT, format!("{value} is no fw_{what}"))
}

/// Publishes one message: copies it, once. `*position` (which may be NULL) is set to its place in the order of its priority's messages
/// of the engine.
///
/// Frees: nothing. Retains: nothing. Threads: any. Blocks: never.
/// Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED, FW_BAD_ARGUMENT (priority or kind), FW_TOO_LARGE, FW_NOT_UTF8, FW_WOULD_BLOCK, FW_REMOVED,
/// FW_STOPPED; then nothing was published.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fw_publish(
    topic: *mut fw_topic,
    priority: u32,
    kind: u32,
    data: *const c_void,
    len: usize,
    position: *mut u64,
) -> fw_status {
    guard("fw_publish", || {
        let (priority, kind, message) = (self::priority(priority)?, self::kind(kind)?, bytes(data, len)?);
        let at = with_topic(topic, |open| {
            open.host.guarded(|| {
                planted("fw_publish.inside");
                Ok(open.topic.publish(priority, kind, message)?)
            })
        })?;
        put(position, at.0);
        Ok(())
    })
}

/// fw_publish that waits up to `timeout_ms` for room.
///
/// Frees: nothing. Retains: nothing. Threads: any. Blocks: up to `timeout_ms`, or until the engine is stopped.
/// Fails: as fw_publish; FW_WOULD_BLOCK once the time is over.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fw_publish_wait(
    topic: *mut fw_topic,
    priority: u32,
    kind: u32,
    data: *const c_void,
    len: usize,
    timeout_ms: u32,
    position: *mut u64,
) -> fw_status {
    guard("fw_publish_wait", || {
        let (priority, kind, message) = (self::priority(priority)?, self::kind(kind)?, bytes(data, len)?);
        // It may wait, so it must not pin the handle: it holds the topic itself.
        let (topic, host) = with_topic(topic, |open| Ok((open.topic.clone(), open.host.clone())))?;
        let at = host.guarded(|| Ok(topic.publish_timeout(priority, kind, message, wait_ms(timeout_ms))?))?;
        put(position, at.0);
        Ok(())
    })
}

/// Publishes one message with a key, an expiry or attributes: copies it, once. `*position` (which may be NULL) as in fw_publish.
///
/// Frees: nothing. Retains: nothing. Threads: any. Blocks: never.
/// Fails: as fw_publish; FW_TOO_LARGE, too, of attributes; FW_ABI_MISMATCH (struct_size).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fw_publish_message(
    topic: *mut fw_topic,
    message: *const fw_message,
    position: *mut u64,
) -> fw_status {
    guard("fw_publish_message", || {
        let message = read(message)?;
        let at = with_topic(topic, |open| open.host.guarded(|| Ok(open.topic.publish_message(&message)?)))?;
        put(position, at.0);
        Ok(())
    })
}

/// Reads a message of any known version: what its header did not have is not said.
fn read<'a>(message: *const fw_message) -> Outcome<Message<'a>> {
    if message.is_null() {
        return Err(fw_status::FW_NULL.into());
    }
    // SAFETY: the host promises that every version begins with its size.
    let size = unsafe { message.cast::<u32>().read_unaligned() };
    let known = check_size("fw_message", size, MESSAGE_BYTES_FIRST, size_of::<fw_message>())?;
    let mut whole = MaybeUninit::<fw_message>::zeroed();
    // SAFETY: `known` is what the host has, and at most what `whole` has.
    unsafe { whole.as_mut_ptr().cast::<u8>().copy_from_nonoverlapping(message.cast::<u8>(), known) };
    // SAFETY: zeros are numbers and null pointers; all else came from the host's.
    let message = unsafe { whole.assume_init() };
    Ok(Message {
        priority: priority(message.priority)?,
        kind: kind(message.kind)?,
        payload: bytes(message.data, message.len)?,
        key: if message.key.is_null() { None } else { Some(text("key", message.key)?) },
        ttl: (message.ttl_ms != 0).then(|| wait_ms(message.ttl_ms)),
        attributes: bytes(message.attributes, message.attributes_len)?,
        ..Message::default()
    })
}

/// Slices that are handed on at a time.
const MANY: usize = 64;

/// Publishes messages of one priority and kind in their order, as many as there is room for: much cheaper than one by
/// one. `*accepted` is set to how many were published, always from the first on.
///
/// Frees: nothing. Retains: nothing. Threads: any. Blocks: never.
/// Fails: as fw_publish, about the message number `*accepted`, which was not published; the `*accepted` before it were.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fw_publish_many(
    topic: *mut fw_topic,
    priority: u32,
    kind: u32,
    messages: *const fw_slice,
    count: usize,
    accepted: *mut usize,
) -> fw_status {
    guard("fw_publish_many", || {
        let out = out(accepted)?;
        out.put(0);
        let (priority, kind, messages) = (self::priority(priority)?, self::kind(kind)?, array(messages, count)?);
        let mut done = 0;
        let result = with_topic(topic, |open| {
            in_chunks(messages, &mut done, |chunk| {
                open.host.guarded(|| Ok(open.topic.publish_many(priority, kind, chunk)?))
            })
        });
        out.put(done);
        result
    })
}

/// fw_publish_many that waits up to `timeout_ms` for room for all of them.
///
/// Frees: nothing. Retains: nothing. Threads: any. Blocks: up to `timeout_ms`, or until the engine is stopped.
/// Fails: as fw_publish_many; FW_WOULD_BLOCK once the time is over.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fw_publish_many_wait(
    topic: *mut fw_topic,
    priority: u32,
    kind: u32,
    messages: *const fw_slice,
    count: usize,
    timeout_ms: u32,
    accepted: *mut usize,
) -> fw_status {
    guard("fw_publish_many_wait", || {
        let out = out(accepted)?;
        out.put(0);
        let (priority, kind, messages) = (self::priority(priority)?, self::kind(kind)?, array(messages, count)?);
        // As in fw_publish_wait.
        let (topic, host) = with_topic(topic, |open| Ok((open.topic.clone(), open.host.clone())))?;
        let until = Instant::now() + wait_ms(timeout_ms);
        let mut done = 0;
        let result = in_chunks(messages, &mut done, |chunk| {
            let rest = until.saturating_duration_since(Instant::now());
            host.guarded(|| Ok(topic.publish_many_timeout(priority, kind, chunk, rest)?))
        });
        out.put(done);
        result
    })
}

/// Hands the host's messages to `publish`, which says how many it took, until all are taken or one is refused. Counts them
/// in `done`.
#[inline]
fn in_chunks(messages: &[fw_slice], done: &mut usize, mut publish: impl FnMut(&[&[u8]]) -> Outcome<usize>) -> Outcome {
    let mut chunk = [&[][..]; MANY];
    while *done < messages.len() {
        let mut ready = 0;
        let mut wrong = Ok(());
        for (place, message) in chunk.iter_mut().zip(&messages[*done..]) {
            match bytes(message.data, message.len) {
                Ok(message) => *place = message,
                Err(failure) => {
                    wrong = Err(failure);
                    break;
                }
            }
            ready += 1;
        }
        if ready == 0 {
            return wrong;
        }
        *done += publish(&chunk[..ready])?;
    }
    Ok(())
}

/// Publishes one message by reference: the engine keeps `data` and reads it until every subscriber has it or has lost it.
/// Then, inside a later fw_poll_events, fw_shutdown, fw_stop or fw_engine_free, `release` is called with `context`, once. Until
/// then the bytes must neither change nor be freed. The bytes referred to are bounded by payload_bytes: past it,
/// FW_WOULD_BLOCK. Small messages (up to 1,024 bytes) are copied all the same, and released at the next opportunity. A topic
/// keeps its newest messages up to lane_bytes, whether or not somebody reads them: whoever has few buffers sets
/// fw_topic_config.lane_bytes to less than they hold together, or never gets one back.
///
/// Frees: `release` is called once if this returns FW_OK, and never otherwise. Threads: any. Blocks: never (but it reads all of
/// a text message, to check that it is UTF-8).
/// Fails: as fw_publish; FW_NULL if `release` is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fw_publish_ref(
    topic: *mut fw_topic,
    priority: u32,
    kind: u32,
    data: *const c_void,
    len: usize,
    release: fw_release_fn,
    context: *mut c_void,
    position: *mut u64,
) -> fw_status {
    guard("fw_publish_ref", || {
        let (priority, kind, message) = (self::priority(priority)?, self::kind(kind)?, bytes(data, len)?);
        let release = release.ok_or(fw_status::FW_NULL)?;
        let at = with_topic(topic, |open| {
            let (offer, message) = Offer::new(message, release, context, &open.host.releases);
            let at = open.host.guarded(|| Ok(open.topic.publish_bytes(priority, kind, message)?))?;
            offer.accept();
            Ok(at)
        })?;
        put(position, at.0);
        Ok(())
    })
}

/// Keeps the chunk on the stack small enough to be there at no cost.
const _: () = assert!(size_of::<[MaybeUninit<&[u8]>; MANY]>() <= 1_024);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_the_first_version_has_no_attributes_whatever_lies_behind_it() {
        let whole = fw_message {
            struct_size: size_of::<fw_message>() as u32,
            priority: 1,
            kind: 2,
            ttl_ms: 3,
            data: b"{}".as_ptr().cast(),
            len: 2,
            key: c"k".as_ptr(),
            attributes: b"a=1".as_ptr().cast(),
            attributes_len: 3,
        };
        let expected = Message {
            priority: Priority::High,
            kind: Kind::Json,
            payload: b"{}",
            key: Some("k"),
            ttl: Some(wait_ms(3)),
            attributes: b"a=1",
            ..Message::default()
        };
        assert_eq!(read(&raw const whole).unwrap(), expected);
        for (size, is_known) in [(39, false), (40, true), (48, true), (56, true), (57, false)] {
            let message = fw_message { struct_size: size, attributes_len: if size == 48 { 9 } else { 3 }, ..whole };
            let result = read(&raw const message);
            assert_eq!(
                result.as_ref().err().map(|failure| failure.status),
                (!is_known).then_some(fw_status::FW_ABI_MISMATCH)
            );
            if let Ok(message) = result {
                let attributes: &[u8] = if size == 56 { b"a=1" } else { b"" };
                assert_eq!(message, Message { attributes, ..expected }, "{size}");
            }
        }
        let without = fw_message { attributes: std::ptr::null(), ..whole };
        assert_eq!(read(&raw const without).unwrap_err().status, fw_status::FW_NULL);
    }
}
