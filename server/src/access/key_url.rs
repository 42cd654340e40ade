//! Job: a JWK set by its URL, read anew from time to time.
//! Knows: HTTPS, whom this machine trusts, when to ask again. Must never know: tokens, who decides on them.
//!
//! The URL is the configuration's alone: nothing that a token says is ever looked up, and no token has anything looked up.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, sync_channel};
use std::time::{Duration, Instant};

use fanwire_token::{Fingerprint, JWKS_BYTES_MAX, Keys};
use rustls::crypto::ring;
use ureq::http::Uri;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::Order;
use crate::clock;
use crate::signals::StopRequests;
use crate::tls;

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
    pub keys: Keys,
    /// Of the bytes.
    pub fingerprint: Fingerprint,
}

impl KeySource {
    /// Reads the keys, within ten seconds.
    ///
    /// # Errors
    /// Why not, for a person.
    pub fn fetch(&self) -> Result<Fetched, String> {
        self.fetch_within(WITHIN)
    }

    fn fetch_within(&self, within: Duration) -> Result<Fetched, String> {
        let bytes = read(&self.url, within)?;
        let keys = Keys::from_jwks(bytes.trim_ascii()).map_err(|error| error.to_string())?;
        if keys.are_secrets() {
            return Err("these are secrets (HS256), which have no place behind a URL".into());
        }
        Ok(Fetched { keys, fingerprint: Fingerprint::of(&bytes) })
    }
}

fn read(url: &KeyUrl, within: Duration) -> Result<Vec<u8>, String> {
    let is_tls = url.0.starts_with("https:");
    let mut config = ureq::Agent::config_builder()
        .https_only(is_tls)
        .timeout_global(Some(within))
        // Elsewhere is not where the configuration says.
        .max_redirects(0)
        .http_status_as_error(false)
        .max_idle_connections(0)
        .user_agent(concat!("fanwire/", env!("CARGO_PKG_VERSION")))
        .accept("application/jwk-set+json, application/json");
    if is_tls {
        let trusted = tls::of_the_system().map_err(|failure| failure.error.to_string())?;
        let roots: RootCerts = trusted.iter().map(|der| Certificate::from_der(der).to_owned()).into();
        let provider = Arc::new(ring::default_provider());
        let tls = TlsConfig::builder().root_certs(roots).unversioned_rustls_crypto_provider(provider).build();
        config = config.tls_config(tls);
    } else {
        config = config.proxy(None);
    }
    let mut answer = config.build().new_agent().get(&url.0).call().map_err(|error| error.to_string())?;
    if answer.status() != 200 {
        return Err(format!("the answer is HTTP {}, and 200 is needed", answer.status().as_u16()));
    }
    let body = answer.body_mut().with_config().limit(JWKS_BYTES_MAX as u64);
    body.read_to_vec().map_err(|error| match error {
        ureq::Error::BodyExceedsLimit(_) => format!("more than the {JWKS_BYTES_MAX} bytes that a set may have"),
        error => error.to_string(),
    })
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
    fn look(&mut self) -> Option<Keys> {
        let fetched = self.source.fetch();
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
    pub source: Option<KeySource>,
    pub fingerprint: Option<Fingerprint>,
}

/// Reads the keys anew from time to time and has those that are new count, until the process is asked to stop.
pub fn keep(moved: &Receiver<Moved>, orders: &Sender<Order>, stop: &StopRequests) {
    let mut known: Option<Known> = None;
    while !stop.is_asked() {
        match moved.recv_timeout(LOOK_EVERY) {
            Ok(Moved { source, fingerprint }) => {
                let is_same = |known: &Known| source.as_ref().is_some_and(|source| source.url == known.source.url);
                let before = known.take().filter(is_same).and_then(|known| known.fingerprint);
                known = source.map(|source| Known::of(source, fingerprint, before));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let Some(known) = known.as_mut().filter(|known| clock::now() >= known.next) else { continue };
        if let Some(keys) = known.look() {
            let said = super::door::in_words(&known.source.url, &keys);
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
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    const KEY: &str = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

    /// A server that answers each of its requests with the next of these.
    fn answering(answers: Vec<Vec<u8>>) -> KeySource {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap()).parse().unwrap();
        std::thread::spawn(move || {
            for answer in answers {
                let (mut client, _) = listener.accept().unwrap();
                let mut head = [0; 2_048];
                let _ = client.read(&mut head);
                // Who has heard enough closes.
                let _ = client.write_all(&answer);
                if answer.is_empty() {
                    // It says nothing, and stays.
                    let _ = client.read(&mut head);
                }
            }
        });
        KeySource { url, every: Duration::from_secs(60) }
    }

    fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
        [head.as_bytes(), body].concat()
    }

    fn set(keys: &str) -> Vec<u8> {
        format!(r#"{{"keys":[{keys}]}}"#).into_bytes()
    }

    #[test]
    fn only_a_url_that_nobody_can_come_between_is_taken() {
        for good in [
            "https://id.example/keys",
            "https://id.example:8443/a?b=c",
            "http://127.0.0.1:1/",
            "http://[::1]/k",
            "http://localhost:80/",
        ] {
            assert!(good.parse::<KeyUrl>().is_ok(), "{good}");
        }
        for (wrong, expected) in [
            ("http://id.example/keys", "https://"),
            ("http://127.0.0.1.example/keys", "https://"),
            ("http://localhost.example/keys", "https://"),
            ("ftp://id.example/keys", "https://"),
            ("file:///etc/keys", "URL"),
            ("/etc/keys", "https://"),
            ("id.example", "https://"),
            ("https://u:p@id.example/", "no password"),
            ("http://127.0.0.1@id.example/", "no password"),
            ("", "URL"),
            ("https://", "URL"),
        ] {
            let problem = wrong.parse::<KeyUrl>().unwrap_err();
            assert!(problem.contains(expected), "{wrong}: {problem}");
        }
    }

    #[test]
    fn what_is_no_set_of_public_keys_is_refused_and_said_so() {
        let secret = r#"{"kty":"oct","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#;
        let elsewhere = answering(vec![answer("200 OK", "", &set(KEY))]);
        let answers = vec![
            answer("500 Internal Server Error", "", &set(KEY)),
            answer("404 Not Found", "", b""),
            answer("204 No Content", "", b""),
            answer("302 Found", &format!("Location: {}\r\n", elsewhere.url), &set(KEY)),
            answer("301 Moved Permanently", "Location: https://id.example/\r\n", b""),
            answer("200 OK", "", b"<html>garbage</html>"),
            answer("200 OK", "", &set("")),
            answer("200 OK", "", &set(secret)),
            answer("200 OK", "", &vec![b' '; 10 << 20]),
            answer("200 OK", "", &vec![b' '; JWKS_BYTES_MAX + 1]),
            b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"keys\":[".to_vec(),
            b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(),
        ];
        let expected = [
            "500",
            "404",
            "204",
            "302",
            "301",
            "no JSON",
            "no key that can be used",
            "secrets",
            "bytes",
            "bytes",
            "",
            "",
        ];
        assert_eq!(answers.len(), expected.len());
        let source = answering(answers);
        for expected in expected {
            let problem = source.fetch().err().unwrap();
            assert!(problem.contains(expected), "{expected}: {problem}");
        }
    }

    #[test]
    fn a_set_at_the_limit_is_taken_and_who_does_not_answer_is_not_waited_for() {
        let mut longest = set(KEY);
        longest.resize(JWKS_BYTES_MAX, b' ');
        let source = answering(vec![answer("200 OK", "", &longest), answer("200 OK", "", &set(KEY)), Vec::new()]);
        assert_eq!(source.fetch().unwrap().keys.len(), 1);
        let again = source.fetch().unwrap();
        assert_eq!(again.fingerprint, source_of(&set(KEY)));
        let problem = source.fetch_within(Duration::from_millis(50)).err().unwrap();
        assert!(problem.contains("timeout"), "{problem}");
        // Nobody is there any more.
        assert!(source.fetch().is_err());
    }

    fn source_of(bytes: &[u8]) -> Fingerprint {
        Fingerprint::of(bytes)
    }

    #[test]
    fn after_failures_it_is_tried_sooner_and_never_later_than_usual() {
        let every = Duration::from_secs(300);
        let seconds = |failures| pause(every, failures, 500).as_secs_f64().round();
        assert_eq!([0, 1, 2, 3, 4].map(seconds), [300.0, 5.0, 10.0, 20.0, 40.0]);
        assert_eq!([7, 40, u32::MAX].map(seconds), [300.0; 3]);
        assert_eq!(pause(every, 0, 0).as_secs(), 270);
        assert!(pause(every, 0, 999).as_secs() == 329);
        assert_eq!(pause(Duration::from_secs(1), 9, 500).as_secs_f64().round(), 1.0, "never later than usual");
    }
}
