//! Job: a client connection that publishes: it waits where the server is busy, reports what the server refuses, comes back where
//! that is wanted, and ends with the certainty that everything was taken.
//! Knows: `publish`, `ping`, `error`, the close handshake. Must never know: where the messages come from.

use std::hash::{BuildHasher, RandomState};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use fanwire::proto::close::CloseCode;
use fanwire::proto::msgpack::{self, server};
use fanwire::proto::server_message::ServerMessage;
use rustix::event::PollFlags;

use crate::bearer::{self, Bearer};
use crate::client::{Client, Closed, Incoming, Watched};
use crate::clock;
use crate::dial::{Interrupts, Waited};
use crate::exit::{Exit, Failure, OrExit};
use crate::feed;
use crate::plain;
use crate::requests::{self, Outgoing};
use crate::retry;
use crate::signals::StopRequests;
use crate::tls::Trust;
use crate::upgrade::Offer;
use crate::url::Url;
use crate::window::Window;

/// Bytes queued here before it waits for the kernel to take them: large enough to fill a socket in one call.
const QUEUE_BYTES: usize = 256 << 10;
/// Refusals shown one by one; the rest is only counted.
const ERRORS_SHOWN: u64 = 10;
/// As good as for ever between two looks at everything.
const LONG: Duration = Duration::from_secs(3600);

/// Where it publishes, and how.
#[derive(Clone, Debug)]
pub struct Target {
    /// The server.
    pub url: Url,
    /// Time to connect in, and without any progress at the end.
    pub timeout: Duration,
    /// Silence after which the server is pinged.
    pub ping_every: Duration,
    /// Who this is.
    pub bearer: Option<Bearer>,
    /// Whom to trust, for `wss://`.
    pub trust: Option<Trust>,
    /// Whether it comes back where the connection breaks.
    pub reconnects: bool,
    /// What the messages come from: refusals name its lines.
    pub source: String,
}

/// The connection and what has become of the messages.
pub struct Uplink {
    client: Client,
    target: Target,
    stop: StopRequests,
    /// What may have to be sent again.
    window: Option<Window>,
    /// Largest message taken, with what stands around its payload.
    message_bytes_max: usize,
    message: Vec<u8>,
    published: u64,
    payload_bytes: u64,
    refused: u64,
    is_forbidden: bool,
    /// Attempts to connect again since the server last confirmed anything.
    attempt: u32,
    /// The server has named a moment to connect anew, which is this client's own.
    is_awaited: bool,
}

/// What was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Messages handed to the server.
    pub messages: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// Messages that the server refused.
    pub refused: u64,
    /// One of them because publishing is not allowed.
    pub is_forbidden: bool,
}

impl Published {
    /// What is said where messages were refused.
    pub fn refusals(&self) -> String {
        let hint = match self.is_forbidden {
            true => {
                "; a server with tokens allows what the token says (--token-file), another one what its --publish says: loopback (from \
                 its own machine), or everyone"
            }
            false => "",
        };
        format!("the server refused {} of {} messages{hint}", self.refused, self.messages)
    }
}

/// What the server said, as far as it matters.
enum Heard {
    Closed(Closed),
    /// It cannot take a message now.
    NotNow(String),
}

impl Uplink {
    /// Connects. `None`: a signal came first.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub fn connect(target: Target, stop: StopRequests) -> Result<Option<Self>, Failure> {
        let mut attempt = 0;
        let Some((client, message_bytes_max)) = connect(&target, &stop, &mut attempt)? else { return Ok(None) };
        let window = target.reconnects.then(Window::default);
        let (message, published, payload_bytes, refused) = (Vec::new(), 0, 0, 0);
        let uplink = Uplink {
            client,
            target,
            stop,
            window,
            message_bytes_max,
            message,
            published,
            payload_bytes,
            refused,
            is_forbidden: false,
            attempt,
            is_awaited: false,
        };
        Ok(Some(uplink))
    }

    /// True once the process was asked to stop.
    pub fn is_stopped(&self) -> bool {
        self.stop.is_asked()
    }

    /// Publishes what stands in a line of the source, waiting while too much is under way. False: the process was asked to stop, and
    /// the message was not sent.
    ///
    /// # Errors
    /// Where the message is larger than the server takes (65), or the server ended the connection.
    pub fn publish(&mut self, message: &Outgoing<'_>, line: u64) -> Result<bool, Failure> {
        let mut encoded = std::mem::take(&mut self.message);
        requests::write_publish(&mut encoded, line, message);
        // Said here, with its line: the server would close the connection, and what was sent before might be lost.
        if encoded.len() > self.message_bytes_max {
            let (bytes, around) = (message.payload.len(), encoded.len() - message.payload.len());
            let max = self.message_bytes_max;
            let what = format!("{bytes} bytes and {around} around them are more than the {max} that the server takes");
            return Err(Failure::message(Exit::Data, what));
        }
        if self.client.queued_bytes() >= QUEUE_BYTES {
            self.client.send_queued();
        }
        while self.client.queued_bytes() >= QUEUE_BYTES || self.window.as_ref().is_some_and(Window::is_full) {
            if self.is_stopped() {
                return Ok(false);
            }
            self.ask_for_confirmation(true);
            self.step(None, None)?;
        }
        self.client.send_binary(&encoded);
        if let Some(window) = &mut self.window {
            window.push(line, &encoded);
        }
        self.message = encoded;
        self.ask_for_confirmation(false);
        self.published += 1;
        self.payload_bytes += message.payload.len() as u64;
        Ok(true)
    }

    /// A ping behind what was sent: its pong says that all of it was taken.
    fn ask_for_confirmation(&mut self, at_once: bool) {
        if let Some(ping) = self.window.as_mut().and_then(|window| window.ping(at_once)) {
            let mut encoded = Vec::new();
            requests::write_packed_ping(&mut encoded, ping);
            self.client.send_binary(&encoded);
        }
    }

    /// Goes on sending until `due`. False: the process was asked to stop.
    ///
    /// # Errors
    /// Where the server ended the connection.
    pub fn wait_until(&mut self, due: Instant) -> Result<bool, Failure> {
        loop {
            if self.is_stopped() {
                return Ok(false);
            }
            if clock::now() >= due {
                return Ok(true);
            }
            self.ask_for_confirmation(true);
            self.step(Some(due), None)?;
        }
    }

    /// Goes on sending until `other` can be read. False: the process was asked to stop.
    ///
    /// # Errors
    /// Where the server ended the connection.
    pub fn wait_readable(&mut self, other: BorrowedFd<'_>) -> Result<bool, Failure> {
        loop {
            if self.is_stopped() {
                return Ok(false);
            }
            self.ask_for_confirmation(true);
            if self.step(None, Some(other))? {
                return Ok(true);
            }
        }
    }

    /// Sends what is queued and closes. The server answers a close after everything that came before it: then
    /// all was taken. It may take the time-out for each further step.
    ///
    /// # Errors
    /// Where the server did not answer the close, or refused messages.
    pub fn finish(mut self) -> Result<Published, Failure> {
        loop {
            let heard = self.close_in_order()?;
            let broken = match heard {
                None => "the end was not confirmed".to_owned(),
                Some(Heard::Closed(closed)) if closed.code == CloseCode::NORMAL.to_u16() => {
                    let Uplink { published, payload_bytes, refused, is_forbidden, .. } = self;
                    return Ok(Published { messages: published, bytes: payload_bytes, refused, is_forbidden });
                }
                Some(Heard::Closed(closed)) => {
                    if !self.may_come_back(&closed) {
                        return Err(self.ended(&closed, Exit::Failed));
                    }
                    closed.to_string()
                }
                Some(Heard::NotNow(why)) => why,
            };
            if self.window.is_none() || self.is_stopped() {
                return Err(self.lost(Exit::Failed, &broken));
            }
            self.come_back(&broken)?;
        }
    }

    /// The close handshake; `None`: nothing moved for as long as it may take.
    fn close_in_order(&mut self) -> Result<Option<Heard>, Failure> {
        self.client.close(CloseCode::NORMAL, "");
        let mut queued = self.client.queued_bytes();
        let mut deadline = clock::after(clock::now(), self.target.timeout);
        loop {
            self.client.step(deadline, true, &mut [])?;
            if let Some(heard) = self.drain() {
                return Ok(Some(heard));
            }
            if self.client.queued_bytes() < queued {
                queued = self.client.queued_bytes();
                deadline = clock::after(clock::now(), self.target.timeout);
            }
            if clock::now() >= deadline {
                return Ok(None);
            }
        }
    }

    fn may_come_back(&self, closed: &Closed) -> bool {
        retry::is_passing(closed) || retry::is_renewed(closed, self.target.bearer.as_ref())
    }

    /// An end that is not come back from; `exit` where it says nothing better.
    fn ended(&self, closed: &Closed, exit: Exit) -> Failure {
        match closed {
            _ if closed.is_unauthorized() => self.lost(Exit::Permission, &format!("{closed}; {}", bearer::IS_OVER)),
            Closed { is_violation: true, .. } if exit == Exit::Io => self.lost(Exit::Protocol, &closed.to_string()),
            _ => self.lost(exit, &closed.to_string()),
        }
    }

    fn lost(&self, exit: Exit, what: &str) -> Failure {
        let uncertain = self.window.as_ref().map_or(self.published, |window| window.len() as u64);
        let of = format!("some of the last {uncertain} of {} messages may be lost", self.published);
        Failure::message(exit, format!("{}: {what}: {of}", self.target.url))
    }

    /// Lets bytes move. True: the other descriptor can be read.
    fn step(&mut self, until: Option<Instant>, other: Option<BorrowedFd<'_>>) -> Result<bool, Failure> {
        let until = until.unwrap_or_else(|| clock::after(clock::now(), LONG));
        let stop = self.stop.clone();
        let mut watched = vec![Watched::new(stop.as_fd(), PollFlags::IN)];
        watched.extend(other.map(|other| Watched::new(other, PollFlags::IN)));
        self.client.step(until, true, &mut watched)?;
        let is_readable = watched.get(1).is_some_and(|other| !other.seen.is_empty());
        let broken = match self.drain() {
            None => return Ok(is_readable),
            Some(Heard::Closed(closed)) if self.window.is_none() || !self.may_come_back(&closed) => {
                return Err(self.ended(&closed, Exit::Io));
            }
            Some(Heard::Closed(closed)) => closed.to_string(),
            Some(Heard::NotNow(why)) => why,
        };
        self.come_back(&broken)?;
        Ok(is_readable)
    }

    /// Connects again, and sends again what nobody has confirmed.
    fn come_back(&mut self, broken: &str) -> Result<(), Failure> {
        tracing::warn!("{}: {broken}", self.target.url);
        // Nothing has to keep those apart whom the server has told when to come.
        self.attempt += u32::from(!std::mem::take(&mut self.is_awaited));
        let connected = connect(&self.target, &self.stop, &mut self.attempt)?;
        let Some((client, message_bytes_max)) = connected else {
            return Err(Failure {
                code: self.stop.exit_code().into(),
                error: self.lost(Exit::Failed, self.stop.name()).error,
            });
        };
        (self.client, self.message_bytes_max) = (client, message_bytes_max);
        if let Some(window) = &mut self.window {
            window.again().for_each(|message| self.client.send_binary(message));
        }
        self.ask_for_confirmation(true);
        Ok(())
    }

    /// Reads what the server says, up to what ends the connection.
    fn drain(&mut self) -> Option<Heard> {
        while let Some(incoming) = self.client.next() {
            let bytes = match incoming {
                Incoming::Closed(closed) => return Some(Heard::Closed(closed)),
                Incoming::Text(_) => continue,
                Incoming::Binary(bytes) => bytes,
            };
            match server::parse(bytes) {
                Ok(ServerMessage::Pong(pong)) => {
                    let id = pong.id.and_then(|id| unsigned(id.as_bytes()));
                    if let (Some(window), Some(id)) = (&mut self.window, id) {
                        window.on_pong(id);
                        self.attempt = 0;
                    }
                }
                Ok(ServerMessage::Migrate(_)) => self.is_awaited = true,
                Ok(ServerMessage::Error(error)) => {
                    let text = plain::text(&format!("{} ({})", error.message, error.code)).into_owned();
                    let line = error.id.and_then(|id| unsigned(id.as_bytes()));
                    if self.window.is_some() && feed::is_passing(&error.code) {
                        return Some(Heard::NotNow(text));
                    }
                    self.is_forbidden |= error.code == fanwire::proto::subscribe::code::NOT_ALLOWED;
                    self.on_refused(line, &text);
                }
                _ => {}
            }
        }
        None
    }

    fn on_refused(&mut self, line: Option<u64>, text: &str) {
        if let (Some(window), Some(line)) = (&mut self.window, line) {
            window.on_refused(line);
        }
        self.refused += 1;
        if self.refused <= ERRORS_SHOWN {
            let line = line.map_or(String::new(), |line| format!("{line}:"));
            tracing::error!("{}:{line} the server refused a message: {text}", self.target.source);
        } else if self.refused == ERRORS_SHOWN + 1 {
            tracing::error!("further refusals are only counted");
        }
    }
}

/// An id that is a number, from its MessagePack.
fn unsigned(raw: &[u8]) -> Option<u64> {
    match msgpack::reader::Reader::new(raw).value() {
        Ok(msgpack::reader::Value::Unsigned(number)) => Some(number),
        _ => None,
    }
}

/// Connects and hears the welcome, as often as it takes where it may come back. With the largest message that the server takes.
fn connect(target: &Target, stop: &StopRequests, attempt: &mut u32) -> Result<Option<(Client, usize)>, Failure> {
    let chance = RandomState::new();
    loop {
        let interrupts = Interrupts { stop, output: None };
        if *attempt > 0 {
            let pause = retry::pause_before(*attempt - 1, chance.hash_one(*attempt));
            tracing::warn!("{}: connecting again in {:.1} s", target.url, pause.as_secs_f64());
            let until = clock::after(clock::now(), pause);
            let waited = interrupts.wait(stop.as_fd(), PollFlags::empty(), until);
            if waited.or_exit(Exit::Io, || "cannot wait".into())? == Waited::Interrupted {
                return Ok(None);
            }
        }
        match connect_once(target, &interrupts) {
            Err(failure) if target.reconnects && failure.code == Exit::Unavailable as i32 => {
                tracing::warn!("{:#}", failure.error);
                *attempt += 1;
            }
            other => return other,
        }
    }
}

fn connect_once(target: &Target, interrupts: &Interrupts<'_>) -> Result<Option<(Client, usize)>, Failure> {
    let token = target.bearer.as_ref().map(Bearer::token).transpose()?;
    let offer = Offer {
        protocol: Some(msgpack::PROTOCOL),
        deflate: false,
        timeout: target.timeout,
        ping_every: target.ping_every,
        token: token.as_ref(),
        trust: target.trust.as_ref(),
    };
    let deadline = clock::after(clock::now(), target.timeout);
    let Some(mut client) = Client::connect(&target.url, &offer, interrupts)? else { return Ok(None) };
    let unavailable = |what: String| Err(Failure::message(Exit::Unavailable, format!("{}: {what}", target.url)));
    loop {
        match client.next() {
            Some(Incoming::Binary(bytes)) => match server::parse(bytes) {
                Ok(ServerMessage::Welcome(welcome)) => {
                    let max = usize::try_from(welcome.limits.message_bytes_max).unwrap_or(usize::MAX);
                    return Ok(Some((client, max)));
                }
                _ => continue,
            },
            Some(Incoming::Closed(closed)) => return unavailable(closed.to_string()),
            Some(Incoming::Text(_)) => continue,
            None => {}
        }
        let mut watched = [Watched::new(interrupts.stop.as_fd(), PollFlags::IN)];
        client.step(deadline, true, &mut watched)?;
        if interrupts.stop.is_asked() {
            return Ok(None);
        }
        if clock::now() >= deadline {
            return unavailable("no welcome in time".into());
        }
    }
}
