//! What is done to one connection, past all topics.
//!
//! # Contract of the unsafe code
//! Only the exported names need it; the host's bytes are read through [`crate::text`].

use std::ffi::{c_char, c_void};
use std::time::Duration;

use fanwire::proto::topic::Pattern;
use fanwire::{Allowed, ConnectionId, Decision, Grants, Kind};

use crate::engine::{fw_engine, host};
use crate::guard::guard;
use crate::publish;
use crate::reference::{Offer, fw_release_fn};
use crate::status::{Failure, Outcome, fw_status};
use crate::text::{bytes, text};

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

/// Lets in a client that asks: the `connection` of an FW_EVENT_AUTHORIZE, or lets one that is in stay: of an FW_EVENT_REAUTHORIZE. It may subscribe to what one of the patterns `subscribe` covers,
/// and publish on topics that one of `publish` matches: texts with one pattern a line, at most 256; NULL or "": nothing. After
/// `lifetime_ms` it is closed with 4401; 0: never. `subject` says who it is (at most 255 bytes), for the limits that count by it;
/// NULL: nobody in particular. The first decision counts; one for a client that is gone, or was answered 503 for want of one,
/// does nothing.
///
/// Frees: nothing. Retains: nothing. Threads: any. Blocks: never.
/// Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED, FW_NOT_UTF8, FW_BAD_NAME (a pattern), FW_TOO_MANY, FW_BAD_ARGUMENT (the subject),
/// FW_WOULD_BLOCK, FW_GONE, FW_STOPPED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fw_allow(
    engine: *mut fw_engine,
    connection: u64,
    subscribe: *const c_char,
    publish: *const c_char,
    lifetime_ms: u64,
    subject: *const c_char,
) -> fw_status {
    guard("fw_allow", || {
        let host = host(engine)?;
        let engine = host.engine()?;
        let grants = Grants {
            subscribe: allowed("subscribe", subscribe)?,
            publish: allowed("publish", publish)?,
            lifetime: (lifetime_ms > 0).then(|| Duration::from_millis(lifetime_ms)),
            subject: if subject.is_null() { None } else { Some(text("subject", subject)?.to_owned()) },
        };
        host.guarded(|| Ok(engine.decide(ConnectionId::from_u64(connection), Decision::Allow(grants))?))
    })
}

/// Refuses a client that asks, with the HTTP status 401 (it has not said who it is), 403 (it may not) or 503 (that cannot be told
/// now); one that is in stays in, and is told with the error `not_authorized`, `not_allowed` or `unavailable`. See fw_allow.
///
/// Frees: nothing. Retains: nothing. Threads: any. Blocks: never.
/// Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED, FW_BAD_ARGUMENT (the status), FW_WOULD_BLOCK, FW_GONE, FW_STOPPED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fw_refuse(engine: *mut fw_engine, connection: u64, status: u32) -> fw_status {
    guard("fw_refuse", || {
        let host = host(engine)?;
        let engine = host.engine()?;
        let decision = match status {
            401 => Decision::Unauthorized,
            403 => Decision::Forbidden,
            503 => Decision::Unavailable,
            _ => {
                let problem = format!("{status} is no refusal: 401, 403 or 503 is needed");
                return Err(Failure::new(fw_status::FW_BAD_ARGUMENT, problem));
            }
        };
        host.guarded(|| Ok(engine.decide(ConnectionId::from_u64(connection), decision)?))
    })
}

/// Topics by their patterns, one a line.
fn allowed(what: &str, patterns: *const c_char) -> Outcome<Allowed> {
    let patterns = if patterns.is_null() { "" } else { text(what, patterns)? };
    let parse = |line: &str| {
        let wrong = |error| Failure::new(fw_status::FW_BAD_NAME, format!("{what}: {line:?}: {error}"));
        Pattern::parse(line).map_err(wrong)
    };
    Ok(patterns.lines().map(parse).collect::<Outcome<Vec<Pattern>>>()?.into())
}
