//! Simulated clients: what they speak, how they read, what they do wrong on purpose, and how their connections end.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::frames::{Incoming, Wire};
use super::nature::{Fate, Nature, Pace};
use super::raw::RawView;
use super::speech::{self, Said};
use super::truth::{Truth, Wishes};
use super::view::{Moment, Since, Subscriber, View};
use crate::driver::sim::{Rng, SimSocket};
use crate::event::Protocol;
use crate::proto::header::Opcode;
use crate::proto::server_message::ServerMessage;
use crate::types::{Kind, Priority};

/// Names that nobody ever subscribes to begin so.
pub(super) const NEVER_HAD: &str = "never had/";

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Not at all yet.
    Alive,
    /// Another status than 101.
    Refused(u16),
    /// The server sent a close frame with this code (first, if `by_server`), then FIN or RST.
    Closed {
        /// The code; 1005 for none.
        code: u16,
        /// The client had not sent a close frame before.
        by_server: bool,
    },
    /// FIN or RST without a close frame.
    Broken,
    /// The client itself broke it off.
    Left,
}

/// One client and its account of what it got.
pub struct Client {
    /// Number, and its name as a publisher.
    pub number: u32,
    /// What it is like.
    pub nature: Nature,
    /// How it ended.
    pub outcome: Outcome,
    /// Account of what it gets in a subprotocol.
    pub view: View,
    /// Raw account.
    pub raw: RawView,
    /// Messages queued for publishing that are wholly with the kernel or will be.
    pub handed: u64,
    /// It did something that the server may close it for.
    pub misbehaved: bool,
    /// It was frozen at some time.
    pub was_frozen: bool,
    /// Upgraded at some time.
    pub upgraded: bool,
    /// Errors the server told it of, by code.
    pub errors: Vec<String>,
    pub(super) wire: Wire,
    pub(super) rng: Rng,
    welcomed: bool,
    pub(super) sent_close: bool,
    close_code: Option<Option<u16>>,
    stalled_until: u64,
    /// When it connected, and when it ended.
    pub lived_ns: (u64, u64),
    pub(super) next_id: u64,
    /// Pings (WebSocket) out; the server may answer only the newest.
    pub(super) pings: VecDeque<Vec<u8>>,
    /// Pings of the subprotocol out; each is answered, in order.
    pub(super) said_pings: VecDeque<u64>,
    /// Unsubscribes out.
    pub(super) unsubscribing: VecDeque<String>,
    /// Names given back that it never had, of which it is still to be told so, and has been.
    pub unknown: u64,
    /// See above.
    pub unknown_told: u64,
    /// It was told when to connect anew.
    migrates: bool,
    pub(super) numbers: BTreeMap<(String, Priority), u64>,
    settled: bool,
}

impl Client {
    /// A client that connects now to `shard`, with what it has from an earlier connection.
    pub fn new(
        number: u32,
        nature: Nature,
        (socket, shard): (SimSocket, usize),
        since: BTreeMap<String, Since>,
        now_ns: u64,
        mut rng: Rng,
    ) -> Self {
        let mut headers = vec![(Fate::HEADER, nature.fate.word())];
        headers.extend(nature.offer.iter().map(|(offer, _)| ("Sec-WebSocket-Extensions", *offer)));
        let named = if nature.is_raw() { &nature.topics } else { &nature.target };
        let target = target_of(named, nature.echo, nature.max_delay_ms);
        let protocols: &[&str] = if nature.is_raw() { &[] } else { &["other", nature.protocol.name()] };
        let wire = Wire::new(socket, &target, protocols, &headers, &mut rng);
        let subscriber = Subscriber {
            socket: wire.socket(),
            shard,
            wishes: Wishes {
                not_from: (!nature.echo).then_some(number),
                interval_ns: nature.max_hz.map_or(0, |hz| (1e6 / hz) as u64 * 1_000),
            },
            is_derived: !nature.is_raw() || nature.offer.is_some(),
        };
        let raw = RawView::new(subscriber, if nature.is_raw() { nature.topics.clone() } else { Vec::new() });
        let mut view = View::new(subscriber);
        // Of those who come back, so that no draw of chance is another than before.
        view.from_oldest = !since.is_empty() && number.is_multiple_of(2);
        view.since = since;
        view.asked.extend(nature.target.iter().cloned());
        let mut client = Client {
            number,
            nature,
            outcome: Outcome::Alive,
            view,
            raw,
            handed: 0,
            misbehaved: false,
            was_frozen: false,
            upgraded: false,
            errors: Vec::new(),
            wire,
            rng,
            welcomed: false,
            sent_close: false,
            close_code: None,
            stalled_until: 0,
            lived_ns: (now_ns, now_ns),
            next_id: 1,
            pings: VecDeque::new(),
            said_pings: VecDeque::new(),
            unsubscribing: VecDeque::new(),
            unknown: 0,
            unknown_told: 0,
            migrates: false,
            numbers: BTreeMap::new(),
            settled: false,
        };
        // Pipelined before the 101 came, in half of the cases.
        if !client.nature.is_raw() && client.rng.chance(500) {
            client.subscribe_at_first();
        }
        client
    }

    /// True while its connection lives.
    pub fn is_alive(&self) -> bool {
        self.outcome == Outcome::Alive
    }

    /// True if it is upgraded, alive, and has neither sent nor got a close frame.
    pub fn is_open(&self) -> bool {
        self.is_alive() && self.wire.is_open() && !self.sent_close
    }

    /// True if nothing is under way in either direction.
    pub fn is_quiet(&self) -> bool {
        self.wire.is_quiet()
    }

    /// Reads eagerly from now on, and does nothing of its own any more.
    pub fn settle(&mut self) {
        self.nature.pace = Pace::Eager;
        self.settled = true;
        self.stalled_until = 0;
    }

    /// Neither reads nor writes until it settles again.
    pub fn freeze(&mut self) {
        self.was_frozen = true;
        self.stalled_until = u64::MAX;
    }

    /// What it is waiting for, for a failure's message.
    pub fn describe(&self) -> String {
        let Client { outcome, upgraded, misbehaved, sent_close, close_code, .. } = self;
        let (pings, queued) = (self.pings.len() + self.said_pings.len(), self.wire.queued());
        format!(
            "{outcome:?} upgraded {upgraded} misbehaved {misbehaved} sent_close {sent_close} close {close_code:?} pings {pings} queued {queued}"
        )
    }

    /// Leaves without ceremony.
    pub fn leave(&mut self) {
        if self.is_alive() {
            self.wire.close();
            self.outcome = Outcome::Left;
        }
    }

    /// One go: write some, read some, perhaps do something.
    pub fn act(&mut self, now_ns: u64, truth: &mut Truth) {
        if !self.is_alive() || self.stalled_until == u64::MAX {
            return;
        }
        self.lived_ns.1 = now_ns;
        self.wire.write_some(&mut self.rng);
        if now_ns >= self.stalled_until {
            let max = match self.nature.pace {
                Pace::Eager => usize::MAX,
                Pace::Slow(bytes) => bytes,
                Pace::Stalling(pause) => {
                    if self.rng.chance(100) {
                        self.stalled_until = now_ns + self.rng.skewed(pause);
                    }
                    usize::MAX
                }
            };
            for incoming in self.wire.read_some(max) {
                let checked = catch_unwind(AssertUnwindSafe(|| self.on_incoming(incoming, truth)));
                if let Err(panic) = checked {
                    eprintln!("at client {}, {:?}: {}", self.number, self.nature, self.describe());
                    let View { subscriber, since, was_refused, .. } = &self.view;
                    eprintln!("{subscriber:?}, since {since:?}, was refused: {was_refused}");
                    resume_unwind(panic);
                }
            }
            self.wire.check_silence();
        }
        if self.is_alive() && !self.settled && self.rng.chance(200) {
            self.do_something();
        }
    }

    fn on_incoming(&mut self, incoming: Incoming, truth: &mut Truth) {
        match incoming {
            Incoming::Upgraded(protocol, extensions) => {
                let is_raw = self.nature.is_raw();
                assert_eq!(protocol.as_deref(), (!is_raw).then_some(self.nature.protocol.name()));
                self.check_extensions(extensions.as_deref(), truth);
                let fate = self.nature.fate;
                assert!(
                    !truth.asks_host || fate == Fate::Allowed,
                    "let in, though the host has not allowed it: {fate:?}"
                );
                self.upgraded = true;
                if !is_raw && self.next_id == 1 {
                    self.subscribe_at_first();
                }
            }
            Incoming::Refused(status) => {
                self.outcome = Outcome::Refused(status);
                self.wire.close();
            }
            Incoming::Message { is_text, was_compressed, bytes, sent } => {
                let may_be = self.nature.protocol != Protocol::BatchV1Lz4
                    && self.nature.offer.is_some_and(|(_, window)| window == Some(15));
                assert!(may_be || !was_compressed, "compressed for a window of {:?}", self.nature.offer);
                truth.compressed += u64::from(was_compressed);
                if self.nature.is_raw() {
                    self.raw.on_message(&bytes, is_text, sent, truth);
                } else {
                    let protocol = self.nature.protocol;
                    speech::listen(protocol, is_text, &bytes, |said| self.on_said(said, sent, truth));
                }
            }
            Incoming::Ping(payload) => {
                if !self.sent_close {
                    self.wire.send_frame(Opcode::Pong, true, &payload, &mut self.rng);
                }
            }
            Incoming::Pong(payload) => {
                while let Some(ping) = self.pings.pop_front() {
                    if ping == payload {
                        return;
                    }
                }
                assert!(self.misbehaved, "a pong that answers no ping (or one answered before): {payload:?}");
            }
            Incoming::Close(code) => {
                self.close_code = Some(code);
                if !self.sent_close {
                    self.wire.send_close(code, &mut self.rng);
                }
                self.wire.finish();
            }
            Incoming::End | Incoming::Reset => self.on_end(),
        }
    }

    fn on_end(&mut self) {
        if self.outcome != Outcome::Alive {
            return;
        }
        self.outcome = match self.close_code {
            Some(code) => Outcome::Closed { code: code.unwrap_or(1005), by_server: !self.sent_close },
            None => Outcome::Broken,
        };
        self.wire.close();
    }

    fn check_extensions(&self, agreed: Option<&str>, truth: &Truth) {
        let Some((offer, window)) = self.nature.offer.filter(|_| truth.deflate) else {
            assert_eq!(agreed, None, "an extension that was not offered");
            return;
        };
        assert_eq!(agreed.is_some(), window.is_some(), "{offer}: {agreed:?}");
        if let (Some(agreed), Some(window)) = (agreed, window) {
            let told = agreed.split(';').find_map(|p| p.trim().strip_prefix("server_max_window_bits="));
            assert!(agreed.contains("server_no_context_takeover") && agreed.contains("client_no_context_takeover"));
            assert!(told.map_or(window == 15, |told| told.parse() == Ok(window)), "{offer}: {agreed}");
        }
    }

    fn on_said(&mut self, said: Said<'_>, sent: Moment, truth: &mut Truth) {
        let message = match said {
            Said::Batch(batch) => {
                assert!(self.welcomed, "`welcome` comes first");
                let head = batch.head;
                let name =
                    truth.name(head.topic_id).unwrap_or_else(|| panic!("a batch of no topic: {head:?}")).to_owned();
                let messages: Vec<(u64, Kind, u64, &[u8])> =
                    batch.messages().map(|m| (m.seq, head.kind, m.timestamp_ns, m.payload)).collect();
                return self.view.on_frame(&name, head.priority, &messages, true, sent, truth);
            }
            Said::Object(message) => message,
        };
        let is_welcome = matches!(message, ServerMessage::Welcome(_));
        assert_eq!(is_welcome, !self.welcomed, "`welcome` comes first and once, not {message:?}");
        match message {
            ServerMessage::Welcome(welcome) => {
                assert_eq!(welcome.protocol, self.nature.protocol.name());
                self.welcomed = true;
            }
            ServerMessage::Subscribed(m) => {
                self.view.on_subscribed(&m.topic, m.topic_id, m.epoch, m.seq, truth);
                self.view.on_answer(&m.topic, speech::number_of(self.nature.protocol, m.id));
            }
            ServerMessage::Unsubscribed(m) => {
                let expected = self.unsubscribing.pop_front();
                assert_eq!(expected.as_deref(), Some(&*m.topic), "`unsubscribed` out of order");
                self.view.on_unsubscribed(&m.topic, truth);
            }
            ServerMessage::Message(m) => {
                let is_batch = matches!(self.nature.protocol, Protocol::BatchV1 | Protocol::BatchV1Lz4);
                assert!(!is_batch, "a message that is no batch");
                let mut payload = Vec::new();
                let kind = m.content.decode(&mut payload).expect("base64");
                let messages = [(m.seq, kind, m.time_us, &payload[..])];
                self.view.on_frame(&m.topic, m.priority, &messages, false, sent, truth);
            }
            ServerMessage::Gap(m) => {
                self.view.on_gap(&m.topic, m.priority, (m.from, m.to, m.missing, m.reason), sent, truth);
            }
            ServerMessage::Error(m) => {
                self.view.was_refused |= m.code.starts_with("too_many_");
                if m.code == "not_subscribed" && m.message.contains(NEVER_HAD) {
                    self.unknown = self.unknown.checked_sub(1).expect("told of a name that it did not give back");
                    self.unknown_told += 1;
                } else if m.code == "not_subscribed" {
                    assert!(self.view.was_refused, "{}", m.message);
                    let refused = self.unsubscribing.pop_front().expect("an unsubscribe is under way");
                    self.view.asked.remove(&refused);
                }
                self.errors.push(m.code.into_owned());
            }
            ServerMessage::Pong(m) => {
                let id = speech::number_of(self.nature.protocol, m.id);
                let mut next = self.said_pings.pop_front();
                while self.misbehaved && next.is_some() && next != id {
                    // Noise may have begun a frame that the pings behind it were the payload of.
                    next = self.said_pings.pop_front();
                }
                assert_eq!(id, next, "pongs come in order");
                assert!(id.is_some(), "a pong without a ping");
            }
            ServerMessage::Migrate(_) => {
                assert!(!std::mem::replace(&mut self.migrates, true), "it is told once when to connect anew");
            }
            ServerMessage::Authorized(_) | ServerMessage::Unknown => panic!("unexpected: {message:?}"),
        }
    }
}

/// `/t/TOPIC?topic=…&echo=…`, percent-encoded; `/` without a topic.
fn target_of(topics: &[String], echo: bool, max_delay_ms: Option<u16>) -> String {
    let encode = |topic: &str, keep_slash: bool| -> String {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~*".contains(&b) || (keep_slash && b == b'/');
        topic.bytes().map(|b| if plain(b) { (b as char).to_string() } else { format!("%{b:02X}") }).collect()
    };
    let [first, others @ ..] = topics else { return "/".to_owned() };
    let mut target = format!("/t/{}", encode(first, true));
    let mut parameters: Vec<String> = others.iter().map(|t| format!("topic={}", encode(t, false))).collect();
    if !echo {
        parameters.push("echo=0".to_owned());
    }
    parameters.extend(max_delay_ms.map(|ms| format!("max_delay_ms={ms}")));
    if !parameters.is_empty() {
        target.push('?');
        target.push_str(&parameters.join("&"));
    }
    target
}
