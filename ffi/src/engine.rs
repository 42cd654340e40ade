//! Starting, ending and asking an engine.
//!
//! # Contract of the unsafe code
//! The object of an engine's handle is one owned count of an `Arc<Host>`.

use std::ffi::{c_char, c_void};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

use fanwire::{ConnectionId, Kind};

use crate::buffer;
use crate::config::{self, fw_config, milliseconds};
use crate::guard::{guard, guard_value};
use crate::host::Host;
use crate::publish;
use crate::reference::{Offer, fw_release_fn, is_releasing};
use crate::registry::{self, Handle, Kind as HandleKind};
use crate::status::{Failure, Outcome, fw_status};
use crate::text::{bytes, copy_text, out, text};
use crate::topic;

/// A running engine, until fw_engine_free. A handle: never look behind the pointer. May be used from any thread, by any
/// number of them at once.
pub struct fw_engine {
    _not_for_looking_at: PhantomData<*mut u8>,
}

impl fw_engine {
    pub fn handle(engine: *const fw_engine) -> Handle {
        Handle(engine.addr() as u64)
    }
}

#[cfg(not(target_pointer_width = "64"))]
compile_error!("a handle has 64 bits, and so must a pointer");

/// The engine's host, kept while the caller has it.
pub fn host(engine: *const fw_engine) -> Outcome<Arc<Host>> {
    let handle = fw_engine::handle(engine);
    registry::with(
        handle,
        HandleKind::Engine,
        |registry| &registry.engines,
        |object| {
            let host = object.cast::<Host>().as_ptr().cast_const();
            // SAFETY: the slot owns one count, and the handle is pinned.
            unsafe { Arc::increment_strong_count(host) };
            // SAFETY: the count just added.
            Ok(unsafe { Arc::from_raw(host) })
        },
    )
}

/// Starts an engine: its threads run and its addresses are listened on when this returns. Installs no signal handler, changes
/// no signal mask but in its own threads, where all signals are blocked.
///
/// Frees: fw_engine_free frees what `*engine` is set to. Retains: nothing of `config`. Threads: any. Blocks: for milliseconds.
/// Fails: FW_NULL, FW_ABI_MISMATCH, FW_NOT_UTF8, FW_BAD_CONFIG, FW_NO_URING, FW_CANNOT_LISTEN, FW_SYSTEM, FW_TOO_MANY;
/// then `*engine` is NULL and nothing is left running. Works in a forked child, for an engine of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fw_start(config: *const fw_config, engine: *mut *mut fw_engine) -> fw_status {
    guard("fw_start", || {
        let out = out(engine)?;
        out.put(ptr::null_mut());
        let registry = registry::ready()?;
        let host = Arc::new(Host::start(config::read(config)?)?);
        let object = NonNull::from(&*host).cast();
        let handle = registry.engines.insert(HandleKind::Engine, registry.tag(), object, Handle(0))?;
        // The slot's count.
        std::mem::forget(host);
        out.put(ptr::without_provenance_mut(handle.0 as usize));
        Ok(())
    })
}

/// Ends an engine in good order: takes no more connections and messages, delivers what was published, closes every client
/// with 1001. What is not done after `deadline_ms` is cut off. Runs the release callbacks of all messages by reference. The
/// handle stays: fw_poll_events has the last events, fw_read_stats the last numbers, and all else answers FW_STOPPED.
///
/// Frees: nothing; fw_engine_free does. Threads: any, but not inside a release callback. Blocks: up to about `deadline_ms`.
/// Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED, FW_BUSY (inside a callback); FW_TIMED_OUT if something was cut off; FW_STOPPED
/// if it was stopped before (waits for another thread that is about it).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fw_shutdown(engine: *mut fw_engine, deadline_ms: u32) -> fw_status {
    guard("fw_shutdown", || host(engine)?.end(Some(Duration::from_millis(deadline_ms.into()))))
}

/// Ends an engine at once: connections are reset, what was not delivered is lost. All else as fw_shutdown.
///
/// Frees: nothing; fw_engine_free does. Threads: any, but not inside a release callback. Blocks: for milliseconds.
/// Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED, FW_BUSY (inside a callback), FW_STOPPED if it was stopped before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fw_stop(engine: *mut fw_engine) -> fw_status {
    guard("fw_stop", || host(engine)?.end(None))
}

/// Frees an engine, with all its topics and claimed buffers; stops it first if it runs (fw_stop). Waits for the calls that
/// other threads are making with it, and makes those that wait return. Every handle of it is FW_BAD_HANDLE from now on,
/// and what fw_poll_events lent is gone. In a forked child: does nothing.
///
/// Frees: the engine. Threads: any, but not inside a release callback. Blocks: until other threads' calls have returned.
/// Fails: FW_NULL, FW_BAD_HANDLE (freed before), FW_FORKED, FW_BUSY (inside a callback).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fw_engine_free(engine: *mut fw_engine) -> fw_status {
    guard("fw_engine_free", || {
        if is_releasing() {
            return Err(fw_status::FW_BUSY.into());
        }
        let handle = fw_engine::handle(engine);
        let kind = HandleKind::Engine;
        let taken = registry::existing().and_then(|registry| Some((registry, registry.engines.take(handle, kind)?)));
        let Some((registry, taken)) = taken else { return Err(registry::refusal(handle, kind)) };
        registry.wait_unused(&[handle]);
        // SAFETY: the slot's count, which is ours since it was taken.
        let mut host = unsafe { Arc::from_raw(taken.object.cast::<Host>().as_ptr().cast_const()) };
        registry.engines.free(handle);
        // That it has stopped before is fine.
        let _ = host.end(None);
        let host = loop {
            topic::free_all_of(registry, handle);
            buffer::free_all_of(registry, handle);
            // Calls of other threads hold it: they find it stopped, and return.
            match Arc::try_unwrap(host) {
                Ok(host) => break host,
                Err(shared) => host = shared,
            }
            host.releases.ring();
            std::thread::sleep(Duration::from_micros(200));
        };
        let releases = host.releases.clone();
        releases.run(|| drop(host));
        Ok(())
    })
}

/// Sets `*is_running`: false after a shutdown, or when a shard has failed: see fw_failure.
///
/// Threads: any. Blocks: never. Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED, FW_INTERNAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fw_is_running(engine: *const fw_engine, is_running: *mut bool) -> fw_status {
    guard("fw_is_running", || {
        let host = host(engine)?;
        let out = out(is_running)?;
        match host.engine() {
            Ok(engine) => out.put(engine.is_running()),
            Err(failure) if failure.status == fw_status::FW_STOPPED => out.put(false),
            Err(failure) => return Err(failure),
        }
        Ok(())
    })
}

/// Which shard has failed and why, as text for a log: "shard 1 has ended: …"; "" if none has. The engine has then ended: it takes
/// no messages and no connections, the other shards deliver what was published and close their clients, and those of the shard
/// that failed are cut off. Stop it, and start another one or end. Buffer and length as in fw_address.
///
/// Threads: any. Blocks: never. Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED, FW_STOPPED while it is being stopped.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fw_failure(
    engine: *const fw_engine,
    buffer: *mut c_char,
    size: usize,
    length: *mut usize,
) -> fw_status {
    guard("fw_failure", || {
        let host = host(engine)?;
        let text = host.engine()?.failure().map(ToString::to_string).unwrap_or_default();
        copy_text(&text, buffer, size, length)
    })
}

/// The address number `index` that is listened on, as text with its port: "127.0.0.1:9001". `*length` (which may be NULL) is
/// set to the text's length; at most `size` bytes are written to `buffer`, with a NUL.
///
/// Threads: any. Blocks: never. Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED, FW_STOPPED while it is being stopped; FW_GONE if
/// there is no such address.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fw_address(
    engine: *const fw_engine,
    index: usize,
    buffer: *mut c_char,
    size: usize,
    length: *mut usize,
) -> fw_status {
    guard("fw_address", || {
        let host = host(engine)?;
        let engine = host.engine()?;
        let address = engine.local_addrs().get(index).ok_or(fw_status::FW_GONE)?;
        copy_text(&address.to_string(), buffer, size, length)
    })
}

/// The port of the first address, or 0 after an error.
///
/// Threads: any. Blocks: never. Fails (fw_last_error): as fw_address.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fw_port(engine: *const fw_engine) -> u16 {
    guard_value("fw_port", 0, || {
        let host = host(engine)?;
        let engine = host.engine()?;
        Ok(engine.local_addrs().first().map_or(0, std::net::SocketAddr::port))
    })
}

/// The kernel interface that runs, "uring" or "epoll". Buffer and length as in fw_address.
///
/// Threads: any. Blocks: never. Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED, FW_STOPPED while it is being stopped.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fw_driver_name(
    engine: *const fw_engine,
    buffer: *mut c_char,
    size: usize,
    length: *mut usize,
) -> fw_status {
    guard("fw_driver_name", || copy_text(host(engine)?.engine()?.driver(), buffer, size, length))
}

/// Why FW_DRIVER_AUTO did not take io_uring, with cause and fix; "" if it did. Log it at start. Buffer and length as in
/// fw_address.
///
/// Threads: any. Blocks: never. Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED, FW_STOPPED while it is being stopped.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fw_driver_notice(
    engine: *const fw_engine,
    buffer: *mut c_char,
    size: usize,
    length: *mut usize,
) -> fw_status {
    guard("fw_driver_notice", || {
        copy_text(host(engine)?.engine()?.driver_notice().unwrap_or_default(), buffer, size, length)
    })
}

/// The sum of all memory that the engine may use, as a table for a log. Buffer and length as in fw_address.
///
/// Threads: any. Blocks: never. Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED, FW_STOPPED while it is being stopped.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fw_memory_plan(
    engine: *const fw_engine,
    buffer: *mut c_char,
    size: usize,
    length: *mut usize,
) -> fw_status {
    guard("fw_memory_plan", || copy_text(&host(engine)?.engine()?.plan().to_string(), buffer, size, length))
}

/// Sends a message to one connection, past all topics: the `connection` of an event. Copies it. A connection that is gone by
/// the time its shard looks is no error.
///
/// Frees: nothing. Retains: nothing. Threads: any. Blocks: never.
/// Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED, FW_BAD_ARGUMENT (`kind` is no fw_kind), FW_TOO_LARGE, FW_NOT_UTF8, FW_WOULD_BLOCK,
/// FW_GONE (no such connection was ever made), FW_STOPPED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fw_send_to(
    engine: *mut fw_engine,
    connection: u64,
    kind: u32,
    data: *const c_void,
    len: usize,
) -> fw_status {
    guard("fw_send_to", || {
        let host = host(engine)?;
        let engine = host.engine()?;
        let (kind, message) = (publish::kind(kind)?, bytes(data, len)?);
        host.guarded(|| Ok(engine.send_copy_to(ConnectionId::from_u64(connection), kind, message)?))
    })
}

/// fw_send_to without a copy: see fw_publish_ref for what is retained and when it is released.
///
/// Frees: `release` is called once if this returns FW_OK, and never otherwise. Threads: any. Blocks: never.
/// Fails: as fw_send_to; FW_NULL if `release` is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fw_send_ref_to(
    engine: *mut fw_engine,
    connection: u64,
    kind: u32,
    data: *const c_void,
    len: usize,
    release: fw_release_fn,
    context: *mut c_void,
) -> fw_status {
    guard("fw_send_ref_to", || {
        let host = host(engine)?;
        let engine = host.engine()?;
        let kind: Kind = publish::kind(kind)?;
        let message = bytes(data, len)?;
        let release = release.ok_or(fw_status::FW_NULL)?;
        let (offer, message) = Offer::new(message, release, context, &host.releases);
        host.guarded(|| Ok(engine.send_to(ConnectionId::from_u64(connection), kind, message)?))?;
        offer.accept();
        Ok(())
    })
}

/// Closes one connection: with this code (1000 to 1003, 1007 to 1014, or 3000 to 4999) and reason (text, at most 123 bytes
/// of which are sent; may be NULL).
///
/// Frees: nothing. Retains: nothing. Threads: any. Blocks: never.
/// Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED, FW_BAD_ARGUMENT (the code), FW_NOT_UTF8, FW_WOULD_BLOCK, FW_GONE, FW_STOPPED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fw_close(
    engine: *mut fw_engine,
    connection: u64,
    code: u32,
    reason: *const c_char,
) -> fw_status {
    guard("fw_close", || {
        let host = host(engine)?;
        let engine = host.engine()?;
        let code = match code {
            1000..=1003 | 1007..=1014 | 3000..=4999 => code as u16,
            _ => {
                return Err(Failure::new(
                    fw_status::FW_BAD_ARGUMENT,
                    format!("{code} is no close code that may be sent"),
                ));
            }
        };
        let reason = if reason.is_null() { "" } else { text("reason", reason)? };
        host.guarded(|| Ok(engine.close(ConnectionId::from_u64(connection), code, reason)?))
    })
}

/// Sets how long times are at most, for those who wait.
pub fn wait_ms(ms: u32) -> Duration {
    milliseconds(ms.into())
}
