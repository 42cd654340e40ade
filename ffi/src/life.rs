//! Starting and ending an engine, with everything that belongs to it.
//!
//! # Contract of the unsafe code
//! The object of an engine's handle is one owned count of an `Arc<Host>`.

use std::ffi::c_char;
use std::os::fd::IntoRawFd as _;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

use fanwire::{HandOver, InheritedSocket, binding};

use crate::buffer;
use crate::config::{self, fw_config};
use crate::engine::{fw_engine, host};
use crate::guard::guard;
use crate::host::Host;
use crate::reference::is_releasing;
use crate::registry::{self, Handle, Kind as HandleKind};
use crate::status::{Failure, Outcome, fw_status};
use crate::text::{Out, array, copy_text, out, text};
use crate::topic;

/// Starts an engine: its threads run and its addresses are listened on when this returns. Installs no signal handler, changes
/// no signal mask but in its own threads, where all signals are blocked.
///
/// Frees: fw_engine_free frees what `*engine` is set to. Retains: nothing of `config`. Threads: any. Blocks: for milliseconds; with token.jwks_url up to
/// ten seconds.
/// Fails: FW_NULL, FW_ABI_MISMATCH, FW_NOT_UTF8, FW_BAD_CONFIG, FW_NO_URING, FW_CANNOT_LISTEN, FW_SYSTEM, FW_TOO_MANY;
/// then `*engine` is NULL and nothing is left running. Works in a forked child, for an engine of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fw_start(config: *const fw_config, engine: *mut *mut fw_engine) -> fw_status {
    guard("fw_start", || {
        let out = out(engine)?;
        out.put(ptr::null_mut());
        start(config, &[], &out)
    })
}

fn start(config: *const fw_config, sockets: &[InheritedSocket], out: &Out<*mut fw_engine>) -> Outcome {
    let registry = registry::ready()?;
    let host = Arc::new(Host::start(config::read(config)?, sockets)?);
    let object = NonNull::from(&*host).cast();
    let handle = registry.engines.insert(HandleKind::Engine, registry.tag(), object, Handle(0))?;
    // The slot's count.
    std::mem::forget(host);
    out.put(ptr::without_provenance_mut(handle.0 as usize));
    Ok(())
}

/// A socket that listens already.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct fw_socket {
    /// Its name: what a listener "fd:NAME" says, or what fw_listening_socket of another process has said.
    pub name: *const c_char,
    /// Its descriptor.
    pub fd: i32,
}

/// fw_start with sockets that listen already: the process was started with them (systemd's socket activation), or another
/// process has handed them over. Listeners of the configuration take them by their names; those that none takes are left alone.
///
/// Retains: nothing; descriptors stay the caller's, the engine has its own of the same sockets. All else as fw_start; fails also:
/// FW_BAD_ARGUMENT for a descriptor that is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fw_start_with(
    config: *const fw_config,
    sockets: *const fw_socket,
    count: usize,
    engine: *mut *mut fw_engine,
) -> fw_status {
    guard("fw_start_with", || {
        let out = out(engine)?;
        out.put(ptr::null_mut());
        let sockets = array(sockets, count)?.iter().map(inherited).collect::<Outcome<Vec<_>>>()?;
        start(config, &sockets, &out)
    })
}

fn inherited(given: &fw_socket) -> Outcome<InheritedSocket> {
    let name = text("the name of a socket", given.name)?.to_owned();
    let wrong = |error| Failure::new(fw_status::FW_BAD_ARGUMENT, format!("{name}: descriptor {}: {error}", given.fd));
    let socket = binding::duplicate(given.fd).map_err(wrong)?;
    Ok(InheritedSocket { name, socket })
}

/// A descriptor of socket number `index` that the engine listens on, for another process to take over (SCM_RIGHTS, or inherited by
/// a child), which gives it to fw_start_with under the same name. There may be several of one name. Buffer and length, for the
/// name, as in fw_address.
///
/// Frees: close `*fd`. Threads: any. Blocks: never. Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED, FW_STOPPED while it is being
/// stopped, FW_SYSTEM where there is no descriptor left; FW_GONE if there is no such socket, as once an end has begun. Then `*fd` is -1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fw_listening_socket(
    engine: *const fw_engine,
    index: usize,
    fd: *mut i32,
    buffer: *mut c_char,
    size: usize,
    length: *mut usize,
) -> fw_status {
    guard("fw_listening_socket", || {
        let to = out(fd)?;
        to.put(-1);
        let host = host(engine)?;
        let cannot = |error: std::io::Error| Failure::new(fw_status::FW_SYSTEM, error.to_string());
        let mut all = host.engine()?.listening_sockets().map_err(cannot)?;
        if index >= all.len() {
            return Err(fw_status::FW_GONE.into());
        }
        let InheritedSocket { name, socket } = all.swap_remove(index);
        copy_text(&name, buffer, size, length)?;
        to.put(socket.into_raw_fd());
        Ok(())
    })
}

/// Name number `index` of the sockets given to fw_start_with that fw_listening_socket of another process has named and this engine
/// listens on: what that one's fw_hand_over is to be told. Buffer and length as in fw_address.
///
/// Threads: any. Blocks: never. Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED, FW_STOPPED while it is being stopped; FW_GONE if there
/// is no such name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fw_taken_over(
    engine: *const fw_engine,
    index: usize,
    buffer: *mut c_char,
    size: usize,
    length: *mut usize,
) -> fw_status {
    guard("fw_taken_over", || {
        let host = host(engine)?;
        let engine = host.engine()?;
        let name = engine.taken_over().get(index).ok_or(fw_status::FW_GONE)?;
        copy_text(name, buffer, size, length)
    })
}

/// Ends an engine in favour of another process, which listens on the sockets with these names and serves already. Nobody is refused:
/// what waits to be accepted is the other's. Each connection goes on, may subscribe and publish, and is closed with 1012 at a moment of
/// its own within `window_ms`, when it has everything that was published before; those that have published go first. Publishing goes on
/// meanwhile. What is not done after `deadline_ms`, which is to be longer, is cut off. All else as fw_shutdown.
///
/// Frees: nothing; fw_engine_free does. Threads: any, but not inside a release callback. Blocks: up to about `deadline_ms`.
/// Fails: as fw_shutdown; FW_NOT_UTF8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fw_hand_over(
    engine: *mut fw_engine,
    names: *const *const c_char,
    count: usize,
    window_ms: u32,
    deadline_ms: u32,
) -> fw_status {
    guard("fw_hand_over", || {
        let host = host(engine)?;
        let name = |name: &*const c_char| Ok(text("the name of a socket", *name)?.to_owned());
        let sockets = array(names, count)?.iter().map(name).collect::<Outcome<Vec<_>>>()?;
        let ms = |ms: u32| Duration::from_millis(ms.into());
        host.hand_over(&HandOver { window: ms(window_ms), deadline: ms(deadline_ms), sockets })
    })
}

/// fw_shutdown with the closes spread over `window_ms`, whatever close_window_ms of its configuration says: each connection is closed with
/// 1012 at a moment of its own. `deadline_ms` is to be longer by what the slowest subscriber may need. With a window of 0 each is
/// closed with 1001 as soon as it has everything.
///
/// Frees: nothing; fw_engine_free does. Threads: any, but not inside a release callback. Blocks: up to about `deadline_ms`.
/// Fails: as fw_shutdown.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fw_shutdown_over(engine: *mut fw_engine, window_ms: u32, deadline_ms: u32) -> fw_status {
    guard("fw_shutdown_over", || {
        let ms = |ms: u32| Duration::from_millis(ms.into());
        host(engine)?.end_over(ms(window_ms), ms(deadline_ms))
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
