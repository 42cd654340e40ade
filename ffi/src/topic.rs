//! Topic handles.
//!
//! # Contract of the unsafe code
//! The object of a topic's handle is a `Box<OpenTopic>` that the slot owns.

use std::ffi::c_char;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use fanwire::Topic;

use crate::engine::{fw_engine, host};
use crate::guard::guard;
use crate::host::Host;
use crate::registry::{self, Handle, Kind, Registry, Taken};
use crate::status::{Outcome, fw_status};
use crate::text::{copy_text, out, text};

/// A topic to publish on, until fw_topic_free or fw_engine_free. A handle: never look behind the pointer. May be used from any
/// thread, by any number of them at once.
pub struct fw_topic {
    _not_for_looking_at: PhantomData<*mut u8>,
}

/// What a topic's handle stands for.
pub struct OpenTopic {
    pub topic: Topic,
    pub host: Arc<Host>,
    pub engine: Handle,
}

/// Lets `f` use the topic: it must neither wait nor run the host's code.
#[inline]
pub fn with_topic<T>(topic: *const fw_topic, f: impl FnOnce(&OpenTopic) -> Outcome<T>) -> Outcome<T> {
    let handle = Handle(topic.addr() as u64);
    registry::with(
        handle,
        Kind::Topic,
        |registry| &registry.topics,
        |object| {
            // SAFETY: the slot owns it, and the handle is pinned.
            let open = unsafe { object.cast::<OpenTopic>().as_ref() };
            open.host.check_poison()?;
            f(open)
        },
    )
}

/// Opens the topic of this name, which is made if need be: levels of UTF-8 separated by "/", at most 255 bytes. Opening it
/// twice gives two handles.
///
/// Frees: fw_topic_free, or fw_engine_free, frees what `*topic` is set to. Retains: nothing. Threads: any. Blocks: up to a
/// second while the ring is full.
/// Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED, FW_BAD_NAME, FW_NOT_UTF8, FW_TOO_MANY, FW_WOULD_BLOCK, FW_STOPPED; then `*topic` is
/// NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fw_topic_open(
    engine: *mut fw_engine,
    name: *const c_char,
    topic: *mut *mut fw_topic,
) -> fw_status {
    guard("fw_topic_open", || {
        let out = out(topic)?;
        out.put(ptr::null_mut());
        let host = host(engine)?;
        let engine = fw_engine::handle(engine);
        let topic = host.engine()?.topic(text("name", name)?)?;
        let registry = registry::ready()?;
        let open = Box::new(OpenTopic { topic, host, engine });
        let object = NonNull::from(Box::leak(open)).cast();
        let inserted = registry.topics.insert(Kind::Topic, registry.tag(), object, engine);
        let handle = inserted.inspect_err(|_| {
            // SAFETY: leaked above, and not in any slot.
            drop(unsafe { Box::from_raw(object.cast::<OpenTopic>().as_ptr()) });
        })?;
        // Whoever frees the engine looks for its topics after its handle is closed: either it has seen this one, or we
        // see that.
        if registry.engines.find(engine).is_none() {
            let _ = close(registry, handle);
            return Err(fw_status::FW_STOPPED.into());
        }
        out.put(ptr::without_provenance_mut(handle.0 as usize));
        Ok(())
    })
}

/// Frees a topic's handle. The topic itself stays, with its messages and subscribers.
///
/// Frees: the handle. Threads: any; other threads' calls with it end first. Blocks: never for long.
/// Fails: FW_NULL, FW_BAD_HANDLE (freed before), FW_FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fw_topic_free(topic: *mut fw_topic) -> fw_status {
    guard("fw_topic_free", || {
        let handle = Handle(topic.addr() as u64);
        match registry::existing() {
            Some(registry) => close(registry, handle),
            None => Err(registry::refusal(handle, Kind::Topic)),
        }
    })
}

/// Removes a topic from the engine: its messages are freed, its subscribers get no more, and publishing with a handle of
/// it is FW_REMOVED. The handles are still to be freed.
///
/// Frees: no handle. Retains: nothing. Threads: any. Blocks: never.
/// Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED, FW_NOT_UTF8, FW_GONE (none of this name), FW_WOULD_BLOCK, FW_STOPPED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fw_topic_remove(engine: *mut fw_engine, name: *const c_char) -> fw_status {
    guard("fw_topic_remove", || {
        let host = host(engine)?;
        if host.engine()?.remove_topic(text("name", name)?)? { Ok(()) } else { Err(fw_status::FW_GONE.into()) }
    })
}

/// The topic's name. `*length` (which may be NULL) is set to its length; at most `size` bytes are written to `buffer`, with a
/// NUL.
///
/// Threads: any. Blocks: never. Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fw_topic_name(
    topic: *const fw_topic,
    buffer: *mut c_char,
    size: usize,
    length: *mut usize,
) -> fw_status {
    guard("fw_topic_name", || with_topic(topic, |open| copy_text(open.topic.name(), buffer, size, length)))
}

/// The topic's number, and the epoch in which its sequence numbers count: another one after each start of an engine. Either
/// pointer may be NULL.
///
/// Threads: any. Blocks: never. Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fw_topic_id(topic: *const fw_topic, id: *mut u32, epoch: *mut u64) -> fw_status {
    guard("fw_topic_id", || {
        with_topic(topic, |open| {
            crate::text::put(id, open.topic.id().0);
            crate::text::put(epoch, open.topic.epoch());
            Ok(())
        })
    })
}

/// Frees all topics of an engine.
pub fn free_all_of(registry: &'static Registry, engine: Handle) {
    free(registry, registry.topics.take_all_of(engine, Kind::Topic));
}

fn close(registry: &'static Registry, handle: Handle) -> Outcome {
    let taken = registry.topics.take(handle, Kind::Topic).ok_or_else(|| registry::refusal(handle, Kind::Topic))?;
    free(registry, vec![taken]);
    Ok(())
}

fn free(registry: &'static Registry, taken: Vec<Taken>) {
    let handles: Vec<Handle> = taken.iter().map(|taken| taken.handle).collect();
    registry.wait_unused(&handles);
    for Taken { handle, object } in taken {
        // SAFETY: the slot's box, taken once, used by nobody any more.
        drop(unsafe { Box::from_raw(object.cast::<OpenTopic>().as_ptr()) });
        registry.topics.free(handle);
    }
}
