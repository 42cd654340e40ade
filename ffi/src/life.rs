//! Starting and ending an engine, with everything that belongs to it.
//!
//! # Contract of the unsafe code
//! The object of an engine's handle is one owned count of an `Arc<Host>`.

use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

use crate::buffer;
use crate::config::{self, fw_config};
use crate::engine::{fw_engine, host};
use crate::guard::guard;
use crate::host::Host;
use crate::reference::is_releasing;
use crate::registry::{self, Handle, Kind as HandleKind};
use crate::status::fw_status;
use crate::text::out;
use crate::topic;

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
