//! Job: a JWK set by its URL, read anew from time to time.
//! Knows: HTTPS, whom this machine trusts, when to ask again. Must never know: tokens, who decides on them.
//!
//! The URL is the configuration's alone: nothing that a token says is ever looked up, and no token has anything looked up.

use std::fmt;
use std::str::FromStr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use fanwire_token::{Fingerprint, JWKS_BYTES_MAX, Keys};
use ureq::http::Uri;

use crate::attendant::Order;
use crate::clock;
use crate::key_health::{KeyHealth, NotRead, Reason};
use crate::web;

/// Time for all of it: name, connection, head, body.
const WITHIN: Duration = Duration::from_secs(10);
/// The first pause after a failure; it doubles, up to the usual one.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// How often the thread looks whether the process is to stop.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Where a JWK set is: `https://`, or `http://` on this machine. Neither a user nor a password stands in it, for it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyUrl(String);

impl fmt::Display for KeyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for KeyUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|error| format!("is no URL: {error}"))?;
        let authority = uri.authority().ok_or("must begin with https://")?;
        if authority.as_str().contains('@') {
            return Err("must have no user and no password in it: it is shown".into());
        }
        match uri.scheme_str() {
            Some("https") => {}
            Some("http") if is_loopback(authority.host()) => {}
            Some("http") => {
                return Err("must be https://: with http:// anybody on the way could bring his own keys".into());
            }
            _ => return Err("must begin with https://".into()),
        }
        Ok(KeyUrl(text.to_owned()))
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

/// Where keys come from, and how often they are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySource {
    /// Where they are.
    pub url: KeyUrl,
    /// How often they are read; chance makes it up to a tenth less or more.
    pub every: Duration,
}

/// Keys as they were found.
pub struct Fetched {
    /// The set.
    pub keys: Keys,
    /// Of the bytes.
    pub fingerprint: Fingerprint,
}

impl KeySource {
    /// Reads the keys, within ten seconds, unless it is over before: nobody waits for them who is to stop.
    ///
    /// # Errors
    /// Why not, for a person.
    pub fn fetch(&self, is_over: impl Fn() -> bool) -> Result<Fetched, NotRead> {
        let (source, (fetched, comes)) = (self.clone(), channel());
        // Left alone, it ends by itself.
        let reads = thread::Builder::new().name("keys".into()).spawn(move || fetched.send(source.fetch_within(WITHIN)));
        reads.map_err(|error| own(format!("cannot start a thread: {error}")))?;
        loop {
            match comes.recv_timeout(LOOK_EVERY) {
                Ok(fetched) => return fetched,
                Err(RecvTimeoutError::Timeout) if !is_over() => {}
                Err(RecvTimeoutError::Timeout) => return Err(own("this process is to stop".into())),
                Err(RecvTimeoutError::Disconnected) => return Err(own("who was to read it has failed".into())),
            }
        }
    }

    fn fetch_within(&self, within: Duration) -> Result<Fetched, NotRead> {
        let bytes = read(&self.url, within)?;
        let no_keys = |text: String| NotRead { reason: Reason::NotKeys, text };
        let keys = Keys::from_jwks(bytes.trim_ascii()).map_err(|error| no_keys(error.to_string()))?;
        if keys.are_secrets() {
            return Err(no_keys("these are secrets (HS256), which have no place behind a URL".into()));
        }
        Ok(Fetched { keys, fingerprint: Fingerprint::of(&bytes) })
    }
}

fn read(url: &KeyUrl, within: Duration) -> Result<Vec<u8>, NotRead> {
    let config = web::agent(&url.0, within).map_err(|text| NotRead { reason: Reason::Tls, text })?;
    let config = config.max_idle_connections(0).accept("application/jwk-set+json, application/json");
    let mut answer = config.build().new_agent().get(&url.0).call().map_err(|error| not_answered(&error))?;
    if answer.status() != 200 {
        let text = format!("the answer is HTTP {}, and 200 is needed", answer.status().as_u16());
        return Err(NotRead { reason: Reason::Status, text });
    }
    let body = answer.body_mut().with_config().limit(JWKS_BYTES_MAX as u64);
    body.read_to_vec().map_err(|error| not_answered(&error))
}

/// Why there is no answer, or not the whole of it.
fn not_answered(error: &ureq::Error) -> NotRead {
    let (reason, text) = match error {
        ureq::Error::BodyExceedsLimit(_) => {
            (Reason::TooLarge, format!("more than the {JWKS_BYTES_MAX} bytes that a set may have"))
        }
        ureq::Error::Timeout(_) => (Reason::Timeout, error.to_string()),
        ureq::Error::Rustls(_) | ureq::Error::Tls(_) => (Reason::Tls, error.to_string()),
        // A handshake that fails comes as an error of the socket.
        ureq::Error::Io(io) if io.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => {
            (Reason::Tls, error.to_string())
        }
        _ => (Reason::Connection, error.to_string()),
    };
    NotRead { reason, text }
}

/// What is this process's own doing.
fn own(text: String) -> NotRead {
    NotRead { reason: Reason::Connection, text }
}

/// The pause before keys are read again, after so many failures; `chance` makes it a tenth less or more.
fn pause(every: Duration, failures: u32, chance: u64) -> Duration {
    let usual = match failures.checked_sub(1) {
        None => every,
        Some(before) => FIRST_PAUSE.saturating_mul(1 << before.min(16)).min(every),
    };
    usual.mul_f64(0.9 + 0.2 * (chance % 1_000) as f64 / 1_000.0)
}

/// What the thread knows of the set that counts.
struct Known {
    source: KeySource,
    fingerprint: Option<Fingerprint>,
    failures: u32,
    next: Instant,
}

impl Known {
    /// `moved` has just been read, or could not be; `before`: what is known of the set that counts.
    fn of(source: KeySource, moved: Option<Fingerprint>, before: Option<Fingerprint>) -> Self {
        let (failures, fingerprint) = (u32::from(moved.is_none()), moved.or(before));
        let next = clock::now() + pause(source.every, failures, chance());
        Known { source, fingerprint, failures, next }
    }

    /// Reads the set. `None`: it is as it was, or cannot be had.
    fn look(&mut self, health: &KeyHealth, is_over: &dyn Fn() -> bool) -> Option<Keys> {
        let fetched = self.source.fetch(is_over);
        health.note(fetched.as_ref().map(drop).map_err(|error| error.reason), clock::now());
        self.failures = if fetched.is_ok() { 0 } else { self.failures.saturating_add(1) };
        let fetched = match fetched {
            Ok(fetched) => Some(fetched),
            Err(problem) => {
                let problem = format!("{}: {problem}", self.source.url);
                tracing::error!("tokens: {}", not_read(&problem, self.fingerprint.is_some()));
                None
            }
        };
        self.next = clock::now() + pause(self.source.every, self.failures, chance());
        let Fetched { keys, fingerprint } = fetched?;
        (self.fingerprint.replace(fingerprint) != Some(fingerprint)).then_some(keys)
    }
}

/// That keys could not be read, for a person.
pub fn not_read(problem: &str, are_there: bool) -> String {
    let stays = match are_there {
        true => "the keys that were read last stay",
        false => "there are none yet, and every token is answered with 503",
    };
    format!("cannot read {problem}; {stays}")
}

fn chance() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}

/// What a reload says: keys come from there from now on, and were these.
pub struct Moved {
    /// From where, if now and then.
    pub source: Option<KeySource>,
    /// Which these are, if they were had.
    pub fingerprint: Option<Fingerprint>,
    /// Why there are none.
    pub problem: Option<Reason>,
}

impl Moved {
    /// For who watches.
    fn note(&self, is_same: bool, health: &KeyHealth) {
        if !is_same {
            health.begin_anew();
        }
        if self.source.is_some() {
            health.note(self.problem.map_or(Ok(()), Err), clock::now());
        }
    }
}

/// Reads the keys anew from time to time and has those that are new count, until it is over.
pub fn keep(moved: &Receiver<Moved>, orders: &Sender<Order>, health: &KeyHealth, is_over: &dyn Fn() -> bool) {
    let mut known: Option<Known> = None;
    while !is_over() {
        match moved.recv_timeout(LOOK_EVERY) {
            Ok(moved) => {
                let url = moved.source.as_ref().map(|source| &source.url);
                let before = known.take().filter(|known| Some(&known.source.url) == url);
                moved.note(before.is_some(), health);
                let before = before.and_then(|known| known.fingerprint);
                let Moved { source, fingerprint, .. } = moved;
                known = source.map(|source| Known::of(source, fingerprint, before));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let Some(known) = known.as_mut().filter(|known| clock::now() >= known.next) else { continue };
        if let Some(keys) = known.look(health, is_over) {
            let said = crate::door::in_words(&known.source.url, &keys);
            let (done, is_done) = sync_channel(1);
            if orders.send(Order::Keys { keys, done }).is_err() {
                return;
            }
            let closed = is_done.recv().unwrap_or_default();
            let s = if closed == 1 { "" } else { "s" };
            tracing::info!("tokens: {said}; {closed} connection{s} closed, whose key is gone");
        }
    }
}

#[cfg(test)]
#[path = "key_url_tests.rs"]
mod tests;
