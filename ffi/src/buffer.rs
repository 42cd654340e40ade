//! Claimed buffers: the engine's memory, written by the host and published in place.
//!
//! # Contract of the unsafe code
//! The object of a buffer's handle is a `Box<OpenBuffer>` that the slot owns; whoever takes the handle has it alone. The
//! host writes through the pointer it was given, which stays valid until commit or abort, because neither the box nor
//! anybody else touches the bytes before.

use std::ffi::c_void;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use fanwire::{Claim, Payload, RefusedPayload, Topic};

use crate::guard::guard;
use crate::host::Host;
use crate::publish;
use crate::registry::{self, Handle, Kind, Registry, Taken};
use crate::status::{Failure, Outcome, fw_status};
use crate::text::{out, put};
use crate::topic::{fw_topic, with_topic};

/// A claimed buffer, until fw_commit, fw_abort or fw_engine_free. A handle: never look behind the pointer. One thread at a
/// time, any thread.
pub struct fw_buffer {
    _not_for_looking_at: PhantomData<*mut u8>,
}

/// What a buffer's handle stands for.
struct OpenBuffer {
    state: State,
    topic: Topic,
    host: Arc<Host>,
    engine: Handle,
}

enum State {
    /// The host writes.
    Claimed(Claim),
    /// Committed, but there was no room: it waits to be committed again.
    Refused(Payload),
    /// Published.
    Gone,
}

/// Claims memory for a message of up to `len` bytes on this topic, all zero. Write it through `*data`, then publish it with
/// fw_commit, or give it back with fw_abort.
///
/// Frees: fw_commit, fw_abort or fw_engine_free frees what `*buffer` is set to. Threads: any. Blocks: never.
/// Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED, FW_TOO_LARGE, FW_WOULD_BLOCK (payload_bytes are in use), FW_TOO_MANY, FW_STOPPED; then
/// `*buffer` and `*data` are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fw_claim(
    topic: *mut fw_topic,
    len: usize,
    buffer: *mut *mut fw_buffer,
    data: *mut *mut c_void,
) -> fw_status {
    guard("fw_claim", || {
        let (buffer, data) = (out(buffer)?, out(data)?);
        buffer.put(ptr::null_mut());
        data.put(ptr::null_mut());
        let mut open = with_topic(topic, |open| {
            let claim = open.host.guarded(|| Ok(open.topic.claim(len)?))?;
            let (topic, host) = (open.topic.clone(), open.host.clone());
            Ok(Box::new(OpenBuffer { state: State::Claimed(claim), topic, host, engine: open.engine }))
        })?;
        let start = match &mut open.state {
            State::Claimed(claim) => claim.as_mut_ptr(),
            _ => return Err(fw_status::FW_INTERNAL.into()),
        };
        let engine = open.engine;
        let registry = registry::ready()?;
        let object = NonNull::from(Box::leak(open)).cast();
        let inserted = registry.buffers.insert(Kind::Buffer, registry.tag(), object, engine);
        let handle = inserted.inspect_err(|_| {
            // SAFETY: leaked above, and not in any slot.
            drop(unsafe { Box::from_raw(object.cast::<OpenBuffer>().as_ptr()) });
        })?;
        // As in fw_topic_open.
        if registry.engines.find(engine).is_none() {
            drop(take(registry, handle)?);
            return Err(fw_status::FW_STOPPED.into());
        }
        data.put(start.cast());
        buffer.put(ptr::without_provenance_mut(handle.0 as usize));
        Ok(())
    })
}

/// Makes a claimed buffer `len` bytes long, the new bytes zero: `*data` is where it is from now on. The old address is gone. A
/// buffer that is as long already does not change.
///
/// Frees: nothing. Threads: any. Blocks: never (but it may copy what the buffer has so far).
/// Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED, FW_BAD_ARGUMENT (after a commit that gave FW_WOULD_BLOCK), FW_WOULD_BLOCK (payload_bytes are
/// in use, or `len` is more than message_bytes_max); then the buffer is as it was.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fw_grow(buffer: *mut fw_buffer, len: usize, data: *mut *mut c_void) -> fw_status {
    guard("fw_grow", || {
        let data = out(data)?;
        let handle = Handle(buffer.addr() as u64);
        let Some(registry) = registry::existing() else { return Err(registry::refusal(handle, Kind::Buffer)) };
        let mut open = take(registry, handle)?;
        let result = match &mut open.buffer.state {
            State::Claimed(claim) => {
                let is_grown = claim.grow(len);
                if is_grown {
                    data.put(claim.as_mut_ptr().cast());
                }
                if is_grown { Ok(()) } else { Err(fw_status::FW_WOULD_BLOCK.into()) }
            }
            _ => Err(Failure::new(fw_status::FW_BAD_ARGUMENT, "the buffer was committed before")),
        };
        open.put_back();
        result
    })
}

/// Publishes the first `len` bytes of a claimed buffer, without a copy. After FW_OK the buffer is the engine's: do not touch its
/// memory. After FW_WOULD_BLOCK it is still claimed, with its first `len` bytes: commit it again with the same `len` (and
/// without writing to it) or abort it. `*position` (which may be NULL) as in fw_publish.
///
/// Frees: the buffer, but for FW_WOULD_BLOCK, FW_BAD_ARGUMENT and FW_NOT_UTF8. Threads: any. Blocks: never.
/// Fails: FW_NULL, FW_BAD_HANDLE (committed or aborted before), FW_FORKED, FW_BAD_ARGUMENT (priority, kind, or `len` is more than
/// was claimed), FW_NOT_UTF8, FW_WOULD_BLOCK, FW_REMOVED, FW_STOPPED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fw_commit(
    buffer: *mut fw_buffer,
    len: usize,
    priority: u32,
    kind: u32,
    position: *mut u64,
) -> fw_status {
    guard("fw_commit", || {
        let (priority, kind) = (publish::priority(priority)?, publish::kind(kind)?);
        let handle = Handle(buffer.addr() as u64);
        let Some(registry) = registry::existing() else { return Err(registry::refusal(handle, Kind::Buffer)) };
        let mut open = take(registry, handle)?;
        let OpenBuffer { state, topic, host, .. } = &mut **open.buffer;
        host.check_poison()?;
        let payload = match std::mem::replace(state, State::Gone) {
            State::Claimed(claim) if len > claim.len() => {
                let text = format!("len {len} is more than the {} bytes claimed", claim.len());
                *state = State::Claimed(claim);
                open.put_back();
                return Err(Failure::new(fw_status::FW_BAD_ARGUMENT, text));
            }
            State::Claimed(mut claim) => {
                claim.truncate(len);
                host.guarded(|| Ok(claim.commit(priority, kind)))?
            }
            State::Refused(payload) if len != payload.len() => {
                let text = format!("len {len}, but {} bytes were committed before", payload.len());
                *state = State::Refused(payload);
                open.put_back();
                return Err(Failure::new(fw_status::FW_BAD_ARGUMENT, text));
            }
            State::Refused(payload) => host.guarded(|| Ok(topic.publish_payload(priority, kind, payload)))?,
            State::Gone => return Err(fw_status::FW_BAD_HANDLE.into()),
        };
        match payload {
            Ok(at) => {
                put(position, at.0);
                Ok(())
            }
            Err(RefusedPayload { error, payload, .. }) => {
                let failure = Failure::from(error);
                if matches!(failure.status, fw_status::FW_WOULD_BLOCK | fw_status::FW_NOT_UTF8) {
                    *state = State::Refused(payload);
                    open.put_back();
                }
                Err(failure)
            }
        }
    })
}

/// Gives a claimed buffer back, unpublished.
///
/// Frees: the buffer. Threads: any. Blocks: never. Fails: FW_NULL, FW_BAD_HANDLE (committed or aborted before), FW_FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fw_abort(buffer: *mut fw_buffer) -> fw_status {
    guard("fw_abort", || {
        let handle = Handle(buffer.addr() as u64);
        let Some(registry) = registry::existing() else { return Err(registry::refusal(handle, Kind::Buffer)) };
        take(registry, handle).map(drop)
    })
}

/// Frees all claimed buffers of an engine.
pub fn free_all_of(registry: &'static Registry, engine: Handle) {
    for taken in registry.buffers.take_all_of(engine, Kind::Buffer) {
        drop(Mine::new(registry, taken));
    }
}

fn take(registry: &'static Registry, handle: Handle) -> Outcome<Mine> {
    let taken = registry.buffers.take(handle, Kind::Buffer);
    Ok(Mine::new(registry, taken.ok_or_else(|| registry::refusal(handle, Kind::Buffer))?))
}

/// A buffer whose handle is closed: freed when dropped, unless it is put back.
struct Mine {
    registry: &'static Registry,
    handle: Handle,
    buffer: std::mem::ManuallyDrop<Box<OpenBuffer>>,
}

impl Mine {
    fn new(registry: &'static Registry, taken: Taken) -> Self {
        // SAFETY: the slot's box, ours since it was taken.
        let buffer = unsafe { Box::from_raw(taken.object.cast::<OpenBuffer>().as_ptr()) };
        Self { registry, handle: taken.handle, buffer: std::mem::ManuallyDrop::new(buffer) }
    }

    /// Opens the handle again.
    fn put_back(self) {
        let mut this = std::mem::ManuallyDrop::new(self);
        let engine = this.buffer.engine;
        let object = NonNull::from(&mut **this.buffer).cast();
        let (registry, handle) = (this.registry, this.handle);
        registry.buffers.put_back(Taken { handle, object });
        // As in fw_topic_open.
        if registry.engines.find(engine).is_none()
            && let Ok(mine) = take(registry, handle)
        {
            drop(mine);
        }
    }
}

impl Drop for Mine {
    fn drop(&mut self) {
        // SAFETY: dropped here and nowhere else; `put_back` does not come here.
        unsafe { std::mem::ManuallyDrop::drop(&mut self.buffer) };
        self.registry.buffers.free(self.handle);
    }
}
