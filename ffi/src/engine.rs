//! An engine's handle, and what can be asked of an engine.
//!
//! # Contract of the unsafe code
//! The object of an engine's handle is one owned count of an `Arc<Host>`.

use std::ffi::c_char;
use std::marker::PhantomData;
use std::sync::Arc;

use fanwire_access::Meant;

use crate::config::{self, fw_config};
use crate::guard::{guard, guard_value};
use crate::host::Host;
use crate::registry::{self, Handle, Kind as HandleKind};
use crate::status::{Outcome, fw_status};
use crate::text::{copy_text, out, text};

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
        let listener = engine.listeners().get(index).ok_or(fw_status::FW_GONE)?;
        copy_text(&listener.place.to_string(), buffer, size, length)
    })
}

/// Reads certificates and keys anew, from the same files: connections that come from now on get them, those that are there keep
/// theirs. *count (may be NULL): how many certificates there are; 0 where no listener speaks TLS. Where a file cannot be read or
/// used, everything is as it was, and fw_last_error says which.
///
/// Threads: any. Blocks: while files are read. Fails: FW_NULL, FW_BAD_HANDLE, FW_STOPPED, FW_BAD_CONFIG.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fw_reload_certificates(engine: *const fw_engine, count: *mut usize) -> fw_status {
    guard("fw_reload_certificates", || {
        let host = host(engine)?;
        let read = host.engine()?.reload_certificates().map_err(fanwire::StartError::Config)?;
        if !count.is_null() {
            // SAFETY: the caller says that it points to a size_t.
            unsafe { count.write(read) };
        }
        Ok(())
    })
}

/// Gives the engine another configuration while it runs: settings that can be changed so (docs/reference/settings.md says which)
/// hold from now on, for whoever connects after this has returned; certificates and keys are read anew, where a listener speaks
/// TLS, and those that tokens are verified with. `buffer` gets a line for each setting that is different, as text for a log: "changed: limits.ping_every", or "needs a
/// restart: memory.pool_bytes" for one that keeps its value, and one for the keys of tokens: who came in by one that is gone is closed
/// with 4401. "" if there is nothing to say. Buffer and length as in fw_address. Where something is
/// wrong, everything is as it was, and fw_last_error says what.
///
/// Retains: nothing of `config`. Threads: any. Blocks: while files and token.jwks_url are read. Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED, FW_STOPPED,
/// FW_ABI_MISMATCH, FW_NOT_UTF8, FW_BAD_CONFIG.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fw_reconfigure(
    engine: *const fw_engine,
    config: *const fw_config,
    buffer: *mut c_char,
    size: usize,
    length: *mut usize,
) -> fw_status {
    guard("fw_reconfigure", || {
        let host = host(engine)?;
        let lines = host.reconfigure(config::read(config)?)?;
        copy_text(&lines.join("\n"), buffer, size, length)
    })
}

/// Refuses tokens from now on, and closes with 4401 who came in by them: those of the subject `sub`, the one of the name `jti`, those
/// made before `before` (seconds since 1970, 0: whenever; a token that does not say when counts as older). All that is said has to
/// hold; NULL says nothing, and something has to be said. `*closed` (may be NULL): connections that are closed. They are remembered as
/// long as the engine lives, and longer with token.revocations_file.
///
/// Retains: nothing. Threads: any. Blocks: while token.revocations_file is written. Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED,
/// FW_STOPPED, FW_NOT_UTF8; FW_BAD_ARGUMENT where nothing is said or a name has more than 1,024 bytes; FW_BAD_CONFIG where this engine
/// asks for no tokens; FW_TOO_MANY beyond token.revocations_max; FW_SYSTEM where the file cannot be written: they are refused until the
/// engine ends.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fw_revoke(
    engine: *const fw_engine,
    sub: *const c_char,
    jti: *const c_char,
    before: u64,
    closed: *mut usize,
) -> fw_status {
    guard("fw_revoke", || {
        let host = host(engine)?;
        let name = |what, name: *const c_char| {
            if name.is_null() { Ok(None) } else { text(what, name).map(|name| Some(name.to_owned())) }
        };
        let meant = Meant { sub: name("sub", sub)?, jti: name("jti", jti)?, before: (before != 0).then_some(before) };
        meant.check()?;
        let revoked = host.revoke(meant)?;
        if !closed.is_null() {
            // SAFETY: the caller says that it points to a size_t.
            unsafe { closed.write(revoked.closed) };
        }
        Ok(())
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
    guard("fw_memory_plan", || copy_text(&host(engine)?.memory()?, buffer, size, length))
}
