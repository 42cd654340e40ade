//! Publishing: by copy, many at once, waiting, by reference.
//!
//! # Contract of the unsafe code
//! Only the exported names need it; the host's bytes are read through [`crate::text`].

use std::ffi::c_void;
use std::mem::MaybeUninit;

use fanwire::{Kind, Priority};

use crate::engine::wait_ms;
use crate::guard::{guard, planted};
use crate::reference::{Offer, fw_release_fn};
use crate::status::{Failure, Outcome, fw_status};
use crate::text::{array, bytes, out, put};
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

/// Publishes one message: copies it, once. `*position` (which may be NULL) is set to its place in the order of all messages
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
            let mut chunk = [&[][..]; MANY];
            while done < messages.len() {
                let rest = &messages[done..];
                let mut ready = 0;
                let mut wrong = Ok(());
                for (place, message) in chunk.iter_mut().zip(rest) {
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
                done += open.host.guarded(|| Ok(open.topic.publish_many(priority, kind, &chunk[..ready])?))?;
            }
            Ok(())
        });
        out.put(done);
        result
    })
}

/// Publishes one message by reference: the engine keeps `data` and reads it until every subscriber has it or has lost it.
/// Then, inside a later fw_poll_events, fw_shutdown, fw_stop or fw_engine_free, `release` is called with `context`, once. Until
/// then the bytes must neither change nor be freed. The bytes referred to are bounded by payload_bytes: past it,
/// FW_WOULD_BLOCK. Small messages (up to 1,024 bytes) are copied all the same, and released at the next opportunity. While
/// it is the last value of its topic a message is in use: it is released when a newer one has replaced it.
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
