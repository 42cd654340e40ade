//! Events: what happens to the connections, and the moment for release callbacks.
//!
//! # Contract of the unsafe code
//! The host's array has as many places as it says. What an event points to lies in the engine's [`Inbox`] until the next
//! call.

use std::ffi::{c_char, c_int, c_void};
use std::ptr;
use std::time::{Duration, Instant};

use fanwire::Event;

use crate::engine::{fw_engine, host};
use crate::guard::{guard, guard_value};
use crate::host::{Host, Inbox};
use crate::reference::is_releasing;
use crate::status::{Failure, Outcome, fw_status};
use crate::text::out;

/// A time-out that never ends.
pub const FW_FOREVER: u32 = u32::MAX;

/// What happened. Later versions may add some: ignore those that you do not know.
#[repr(u32)]
pub enum fw_event_type {
    /// A client has connected: connection, text (the request's path), peer, protocol.
    FW_EVENT_OPENED = 1,
    /// A connection now gets a topic: connection, text (the topic's name).
    FW_EVENT_SUBSCRIBED = 2,
    /// A connection no longer gets a topic: connection, text (the topic's name).
    FW_EVENT_UNSUBSCRIBED = 3,
    /// A client without a topic has sent a message (events_messages): connection, kind, data, len.
    FW_EVENT_MESSAGE = 4,
    /// The engine gives up a client: connection, text (why). FW_EVENT_CLOSED follows.
    FW_EVENT_EVICTED = 5,
    /// A connection is gone: connection, code (1006 where it just broke).
    FW_EVENT_CLOSED = 6,
    /// A connection has fallen behind by more than 70 % of lane_bytes: connection, text (the topic's name), priority.
    FW_EVENT_LAGGING = 7,
    /// A shard has failed, and the engine has ended: code (the shard's number, from 0), text (why). Connections of that shard
    /// get no more events. Stop the engine, and start another one or end. See fw_failure.
    FW_EVENT_FAILED = 8,
    /// A client asks to be let in (the setting access.ask_host_within): connection, text (the request's target, with its query), peer,
    /// certificate, data, len (those headers that access.ask_host_headers names, each as `name: value` and a CR and LF), code (which of the
    /// listening addresses it came by, from 0). Answer with fw_allow or fw_refuse. If it is let in, FW_EVENT_OPENED follows; if it goes
    /// away before, nothing does.
    FW_EVENT_AUTHORIZE = 9,
    /// A connection brings another token: connection, text (the token). Answer with fw_allow or fw_refuse: the new patterns and time take
    /// the place of the old ones, if `subject` is the one that it was let in with; refused, or of another subject, the client is told so
    /// and the old ones hold. It is asked once at a time and at most once a second; there is no deadline but the old time.
    FW_EVENT_REAUTHORIZE = 10,
}

/// One event. The events of one connection come in order, from FW_EVENT_OPENED (or FW_EVENT_AUTHORIZE) to FW_EVENT_CLOSED. No pointer is ever NULL
/// but `data`, of an empty message or an event without one.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct fw_event {
    /// A fw_event_type.
    pub r#type: u32,
    /// A fw_kind.
    pub kind: u32,
    /// Names the connection for fw_send_to, fw_close, fw_allow and fw_refuse; never used again after FW_EVENT_CLOSED.
    pub connection: u64,
    /// A message, or headers.
    pub data: *const c_void,
    /// Its length.
    pub len: usize,
    /// Path, topic, token or reason; with a NUL.
    pub text: *const c_char,
    /// The client's address and port; "" where it is not known.
    pub peer: *const c_char,
    /// The subprotocol; "" if none.
    pub protocol: *const c_char,
    /// A close code, or the number of a shard or of a listening address.
    pub code: u32,
    /// A fw_priority.
    pub priority: u32,
    /// Of FW_EVENT_AUTHORIZE: the subject of the client's certificate, which was verified, as RFC 4514 writes it: "CN=rover-1,O=Example".
    /// "" where it has shown none.
    pub certificate: *const c_char,
    /// Zero. The struct never grows.
    pub reserved: [u64; 3],
}

/// Takes up to `capacity` events, waiting up to `timeout_ms` (FW_FOREVER: for ever; 0: not at all) for the first one, and
/// sets `*count`. Before it returns it runs the release callbacks that are due. It may return early without an event: after
/// a callback, a signal, or a stop. With `capacity` 0 (then `events` may be NULL) it only runs callbacks and does not wait.
///
/// Frees: what `events` point to is the engine's, and valid until the next fw_poll_events or fw_engine_free of this engine.
/// Threads: any, one at a time for each engine; not inside a release callback. Blocks: up to `timeout_ms`.
/// Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED, FW_BUSY; FW_STOPPED once the engine has stopped, or a shard has failed
/// (fw_last_error says which and why), and its last event was taken.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fw_poll_events(
    engine: *mut fw_engine,
    events: *mut fw_event,
    capacity: usize,
    timeout_ms: u32,
    count: *mut usize,
) -> fw_status {
    guard("fw_poll_events", || {
        let out = out(count)?;
        out.put(0);
        if is_releasing() {
            return Err(fw_status::FW_BUSY.into());
        }
        let host = host(engine)?;
        if capacity > 0 && events.is_null() {
            return Err(fw_status::FW_NULL.into());
        }
        if capacity > 0 && !events.is_aligned() {
            return Err(fw_status::FW_BAD_ARGUMENT.into());
        }
        let mut inbox = host.inbox()?;
        poll(&host, &mut inbox, capacity, timeout_ms)?;
        inbox.lend(events);
        out.put(inbox.lent.len());
        Ok(())
    })
}

/// A descriptor that is readable when fw_poll_events has something to do, for poll, epoll, select or an event loop; -1
/// after an error. Call fw_poll_events with time-out 0 until it gives no more events. Neither read nor close it.
///
/// Frees: fw_engine_free closes it. Threads: any. Blocks: never. Fails (fw_last_error): FW_NULL, FW_BAD_HANDLE, FW_FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fw_event_fd(engine: *const fw_engine) -> c_int {
    guard_value("fw_event_fd", -1, || Ok(host(engine)?.fd()))
}

fn poll(host: &Host, inbox: &mut Inbox, capacity: usize, timeout_ms: u32) -> Outcome {
    inbox.lent.clear();
    let until = (timeout_ms != FW_FOREVER).then(|| Instant::now() + Duration::from_millis(timeout_ms.into()));
    loop {
        // Read first: what came before the end is taken before the end is told.
        let is_stopped = host.is_stopped();
        inbox.take(capacity, host);
        let released = host.run_releases();
        if !inbox.lent.is_empty() || released > 0 {
            return Ok(());
        }
        if is_stopped {
            return Err(fw_status::FW_STOPPED.into());
        }
        if capacity == 0 {
            return Ok(());
        }
        if host.engine().is_ok_and(|engine| !engine.is_running()) && !host.is_stopped() {
            return Err(Failure::new(fw_status::FW_STOPPED, host.failure_text()));
        }
        let rest = match until {
            None => -1,
            Some(until) => match until.saturating_duration_since(Instant::now()) {
                Duration::ZERO => return Ok(()),
                // Up, so as not to spin through the last millisecond.
                rest => c_int::try_from(rest.as_micros().div_ceil(1_000)).unwrap_or(c_int::MAX),
            },
        };
        let mut fds = libc::pollfd { fd: host.fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one descriptor, which the host holds open.
        let ready = unsafe { libc::poll(&raw mut fds, 1, rest) };
        if ready < 0 {
            // A signal: the program may want to look at what its handler did.
            return Ok(());
        }
    }
}

/// What an event says in text: offsets into the inbox's text.
#[derive(Clone, Copy, Default)]
struct Spans {
    text: usize,
    peer: usize,
    protocol: usize,
    certificate: usize,
    /// Of a request's headers.
    data: Option<usize>,
}

impl Inbox {
    fn take(&mut self, capacity: usize, host: &Host) {
        let Some(events) = &mut self.events else {
            host.releases.silence();
            return;
        };
        while self.lent.len() < capacity
            && let Some(event) = events.next()
        {
            self.lent.push(event);
        }
    }

    /// Describes the events taken in the host's array, which has room for them.
    fn lend(&mut self, to: *mut fw_event) {
        self.text.clear();
        // The empty text.
        self.text.push(0);
        for (place, event) in self.lent.iter().enumerate() {
            let (described, spans) = describe(event, &mut self.text);
            // As offsets for now: the text may still move.
            let described = fw_event {
                text: ptr::without_provenance(spans.text),
                peer: ptr::without_provenance(spans.peer),
                protocol: ptr::without_provenance(spans.protocol),
                certificate: ptr::without_provenance(spans.certificate),
                data: spans.data.map_or(described.data, ptr::without_provenance),
                ..described
            };
            // SAFETY: no more events than the array has places.
            let place = unsafe { to.add(place) };
            // SAFETY: as above.
            unsafe { place.write(described) };
        }
        let start = self.text.as_ptr();
        for place in 0..self.lent.len() {
            // SAFETY: as above.
            let place = unsafe { to.add(place) };
            // SAFETY: written above.
            let event = unsafe { &mut *place };
            for text in [&mut event.text, &mut event.peer, &mut event.protocol, &mut event.certificate] {
                *text = start.wrapping_add(text.addr()).cast();
            }
            if event.r#type == fw_event_type::FW_EVENT_AUTHORIZE as u32 {
                event.data = start.wrapping_add(event.data.addr()).cast();
            }
        }
    }
}

/// The event, but for its texts, which go behind `text`.
fn describe(event: &Event, text: &mut Vec<u8>) -> (fw_event, Spans) {
    let mut described = fw_event {
        r#type: 0,
        kind: 0,
        connection: 0,
        data: ptr::null(),
        len: 0,
        text: ptr::null(),
        peer: ptr::null(),
        protocol: ptr::null(),
        code: 0,
        priority: 0,
        certificate: ptr::null(),
        reserved: [0; 3],
    };
    let mut spans = Spans::default();
    let mut keep = |line: &str| {
        let at = text.len();
        // A NUL cannot be in a path, a topic or a reason; in the message of a panic it could.
        text.extend(line.bytes().filter(|byte| *byte != 0));
        text.push(0);
        at
    };
    match event {
        Event::Authorize { connection, peer, listener, target, headers, certificate } => {
            described.r#type = fw_event_type::FW_EVENT_AUTHORIZE as u32;
            described.connection = connection.to_u64();
            described.code = *listener as u32;
            spans.text = keep(target);
            spans.peer = peer.map_or(0, |peer| keep(&peer.to_string()));
            spans.certificate = certificate.as_deref().map_or(0, &mut keep);
            spans.data = Some(text.len());
            for (name, value) in headers {
                text.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
            }
            described.len = text.len() - spans.data.unwrap_or_default();
            text.push(0);
        }
        Event::Reauthorize { connection, token } => {
            described.r#type = fw_event_type::FW_EVENT_REAUTHORIZE as u32;
            described.connection = connection.to_u64();
            spans.text = keep(token);
        }
        Event::Opened { connection, peer, protocol, path } => {
            described.r#type = fw_event_type::FW_EVENT_OPENED as u32;
            described.connection = connection.to_u64();
            spans.text = keep(path);
            spans.protocol = keep(protocol.name());
            spans.peer = peer.map_or(0, |peer| keep(&peer.to_string()));
        }
        Event::Subscribed { connection, topic } => {
            described.r#type = fw_event_type::FW_EVENT_SUBSCRIBED as u32;
            described.connection = connection.to_u64();
            spans.text = keep(topic);
        }
        Event::Unsubscribed { connection, topic } => {
            described.r#type = fw_event_type::FW_EVENT_UNSUBSCRIBED as u32;
            described.connection = connection.to_u64();
            spans.text = keep(topic);
        }
        Event::Message { connection, kind, payload } => {
            described.r#type = fw_event_type::FW_EVENT_MESSAGE as u32;
            described.connection = connection.to_u64();
            described.kind = *kind as u32;
            described.len = payload.len();
            if !payload.is_empty() {
                described.data = payload.as_ptr().cast();
            }
        }
        Event::Evicted { connection, reason } => {
            described.r#type = fw_event_type::FW_EVENT_EVICTED as u32;
            described.connection = connection.to_u64();
            spans.text = keep(reason);
        }
        Event::Closed { connection, code } => {
            described.r#type = fw_event_type::FW_EVENT_CLOSED as u32;
            described.connection = connection.to_u64();
            described.code = (*code).into();
        }
        Event::Lagging { connection, topic, priority } => {
            described.r#type = fw_event_type::FW_EVENT_LAGGING as u32;
            described.connection = connection.to_u64();
            described.priority = *priority as u32;
            spans.text = keep(topic);
        }
        Event::Failed { shard, reason } => {
            described.r#type = fw_event_type::FW_EVENT_FAILED as u32;
            described.code = *shard as u32;
            spans.text = keep(reason);
        }
        // One that this version does not know: type 0, to be ignored.
        _ => {}
    }
    (described, spans)
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    #[test]
    fn who_asks_to_come_in_is_told_with_what_its_certificate_says() {
        let asks = |certificate: Option<&str>| Event::Authorize {
            connection: fanwire::ConnectionId::new(0, 1, 2),
            peer: None,
            listener: 0,
            target: "/t/a".into(),
            headers: vec![("cookie".into(), b"a=b".to_vec())],
            certificate: certificate.map(str::to_owned),
        };
        let lent = vec![asks(Some("CN=rover-1")), asks(None)];
        let mut inbox = Inbox { events: None, lent, text: Vec::new() };
        let mut places = [const { std::mem::MaybeUninit::<fw_event>::uninit() }; 2];
        inbox.lend(places.as_mut_ptr().cast());
        for (place, expected) in places.iter().zip(["CN=rover-1", ""]) {
            // SAFETY: lent above.
            let told = unsafe { place.assume_init() };
            // SAFETY: the inbox lives, and its texts end with a NUL.
            let text = unsafe { CStr::from_ptr(told.certificate) };
            assert_eq!((text.to_str(), told.len, told.reserved), (Ok(expected), 13, [0; 3]));
        }
    }

    #[test]
    fn a_failed_shard_is_told_with_its_number_and_its_reason() {
        let event = Event::Failed { shard: 3, reason: "its epoll driver has failed\0: EBADF".into() };
        let mut inbox = Inbox { events: None, lent: vec![event], text: Vec::new() };
        let mut place = std::mem::MaybeUninit::<fw_event>::uninit();
        inbox.lend(place.as_mut_ptr());
        // SAFETY: lent above.
        let told = unsafe { place.assume_init() };
        assert_eq!((told.r#type, told.code, told.connection), (fw_event_type::FW_EVENT_FAILED as u32, 3, 0));
        // SAFETY: the inbox lives, and its texts end with a NUL.
        let text = unsafe { CStr::from_ptr(told.text) };
        assert_eq!(text.to_str(), Ok("its epoll driver has failed: EBADF"));
    }
}
