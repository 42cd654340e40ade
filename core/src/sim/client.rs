//! Simulated clients: what they speak, how they read, what they do wrong on purpose, and how their connections end.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::checks::{DIRECT, JsonView, RawView, Truth};
use super::frames::{Incoming, Wire};
use super::nature::{Nature, Pace};
use super::payload::Stamp;
use crate::driver::sim::{Rng, SimSocket};
use crate::proto::header::Opcode;
use crate::proto::json::{self, PROTOCOL};
use crate::proto::server_message::ServerMessage;
use crate::proto::subscribe::Content;
use crate::types::{Kind, Priority};

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
    /// JSON account.
    pub json: JsonView,
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
    wire: Wire,
    rng: Rng,
    welcomed: bool,
    sent_close: bool,
    close_code: Option<Option<u16>>,
    stalled_until: u64,
    /// When it first had a go, and when it ended.
    pub lived_ns: (u64, u64),
    next_id: u64,
    /// Pings (WebSocket) out; the server may answer only the newest.
    pings: VecDeque<Vec<u8>>,
    /// Pings (JSON) out; each is answered, in order.
    json_pings: VecDeque<u64>,
    /// Unsubscribes out.
    unsubscribing: VecDeque<String>,
    numbers: BTreeMap<(String, Priority), u64>,
    settled: bool,
}

impl Client {
    /// A client that has just connected.
    pub fn new(number: u32, nature: Nature, socket: SimSocket, mut rng: Rng) -> Self {
        let wire = if nature.json {
            Wire::new(socket, "/", &["other", PROTOCOL], &[], &mut rng)
        } else {
            Wire::new(socket, &raw_target(&nature.topics), &[], &[], &mut rng)
        };
        let raw = RawView::new(if nature.json { Vec::new() } else { nature.topics.clone() });
        let mut client = Client {
            number,
            nature,
            outcome: Outcome::Alive,
            json: JsonView::default(),
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
            lived_ns: (0, 0),
            next_id: 1,
            pings: VecDeque::new(),
            json_pings: VecDeque::new(),
            unsubscribing: VecDeque::new(),
            numbers: BTreeMap::new(),
            settled: false,
        };
        // Pipelined before the 101 came, in half of the cases.
        if client.nature.json && client.rng.chance(500) {
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
        let (pings, queued) = (self.pings.len() + self.json_pings.len(), self.wire.queued());
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
        if self.lived_ns.0 == 0 {
            self.lived_ns.0 = now_ns;
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
            Incoming::Upgraded(protocol) => {
                assert_eq!(protocol.as_deref(), self.nature.json.then_some(PROTOCOL));
                self.upgraded = true;
                if self.nature.json && self.next_id == 1 {
                    self.subscribe_at_first();
                }
            }
            Incoming::Refused(status) => self.outcome = Outcome::Refused(status),
            Incoming::Text(message) if self.nature.json => {
                let text = std::str::from_utf8(&message).expect("the decoder checks UTF-8");
                self.on_json(text, truth);
            }
            Incoming::Text(message) => self.on_raw(&message, true, truth),
            Incoming::Binary(message) => {
                assert!(!self.nature.json, "a binary message on {PROTOCOL}");
                self.on_raw(&message, false, truth);
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

    fn on_raw(&mut self, message: &[u8], is_text: bool, truth: &mut Truth) {
        let stamp = Stamp::parse(message).unwrap_or_else(|error| panic!("corrupt: {error}"));
        assert_eq!(stamp.kind() != Kind::Binary, is_text, "{stamp:?} came as the wrong kind of message");
        self.raw.on_message(&stamp, truth);
    }

    fn on_json(&mut self, text: &str, truth: &mut Truth) {
        let shown = &text[..text.floor_char_boundary(300)];
        let message = json::server::parse(text).unwrap_or_else(|error| panic!("{error}: {shown}"));
        let is_welcome = matches!(message, ServerMessage::Welcome(_));
        assert_eq!(is_welcome, !self.welcomed, "`welcome` comes first and once, not {shown}");
        match message {
            ServerMessage::Welcome(welcome) => {
                assert_eq!(welcome.protocol, PROTOCOL);
                self.welcomed = true;
            }
            ServerMessage::Subscribed(m) => self.json.on_subscribed(&m.topic, m.topic_id, m.epoch, m.seq, truth),
            ServerMessage::Unsubscribed(m) => {
                let expected = self.unsubscribing.pop_front();
                assert_eq!(expected.as_deref(), Some(&*m.topic), "`unsubscribed` out of order");
                self.json.on_unsubscribed(&m.topic);
            }
            ServerMessage::Message(m) => {
                let mut payload = Vec::new();
                let kind = match m.content {
                    Content::Binary(_) => panic!("no JSON form: {shown}"),
                    content => content.decode(&mut payload).expect("base64"),
                };
                let stamp = Stamp::parse(&payload).unwrap_or_else(|error| panic!("corrupt: {error}"));
                assert_eq!(stamp.kind(), kind, "{stamp:?} came in another encoding");
                self.json.on_message(&m.topic, m.priority, m.seq, &stamp, truth);
            }
            ServerMessage::Gap(m) => self.json.on_gap(&m.topic, m.priority, m.from, m.to, truth),
            ServerMessage::Error(m) => {
                self.json.was_refused |= m.code == "too_many_subscriptions";
                if m.code == "not_subscribed" {
                    assert!(self.json.was_refused, "{}", m.message);
                    let refused = self.unsubscribing.pop_front().expect("an unsubscribe is under way");
                    self.json.asked.remove(&refused);
                }
                self.errors.push(m.code.into_owned());
            }
            ServerMessage::Pong(m) => {
                let id = m.id.and_then(|id| std::str::from_utf8(id.as_json()?).ok()?.parse().ok());
                assert_eq!(id, self.json_pings.pop_front(), "JSON pongs come in order");
                assert!(id.is_some(), "a JSON pong without a ping");
            }
            ServerMessage::Migrate(_) | ServerMessage::Unknown => panic!("unexpected: {shown}"),
        }
    }

    fn do_something(&mut self) {
        if !self.is_open() || self.wire.queued() > 100_000 {
            return;
        }
        if self.nature.hostile && self.rng.chance(50) {
            return self.break_rules();
        }
        if self.rng.chance(self.nature.leaves) {
            return self.begin_leaving();
        }
        if !self.nature.publishes.is_empty() && self.rng.chance(500) {
            return self.publish();
        }
        if self.nature.json && self.rng.chance(self.nature.churns) {
            return self.churn();
        }
        match self.rng.below(20) {
            0 => {
                let payload = vec![b'p'; self.rng.below(126) as usize];
                let payload = [self.next_id().to_le_bytes().to_vec(), payload].concat();
                let payload = payload[..payload.len().min(125)].to_vec();
                self.wire.send_frame(Opcode::Ping, true, &payload, &mut self.rng);
                self.pings.push_back(payload);
            }
            1 if self.nature.json => {
                let id = self.next_id();
                self.send_json(&format!(r#"{{"type":"ping","id":{id}}}"#));
                self.json_pings.push_back(id);
            }
            2 if self.nature.json => {
                let wrong = *self.rng.pick(&[
                    r#"{"type":"#,
                    "[]",
                    r#"{"type":"subscribe","topics":["a//b"]}"#,
                    "\u{1}",
                    "",
                    "null",
                ]);
                self.send_json(wrong);
            }
            3 => self.wire.send_frame(Opcode::Pong, true, b"unasked", &mut self.rng),
            _ => {}
        }
    }

    fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn send_json(&mut self, text: &str) {
        let fragments = if self.rng.chance(100) { 5 } else { 1 };
        self.wire.send_message(Opcode::Text, text.as_bytes(), fragments, &mut self.rng);
    }

    fn subscribe_at_first(&mut self) {
        let topics = self.nature.topics.clone();
        self.subscribe(&topics);
    }

    fn subscribe(&mut self, topics: &[String]) {
        let id = self.next_id();
        let list = serde_json::to_string(topics).expect("strings");
        self.send_json(&format!(r#"{{"type":"subscribe","id":{id},"topics":{list},"unknown":[1,{{}}]}}"#));
        self.json.asked.extend(topics.iter().cloned());
    }

    fn churn(&mut self) {
        let wanted = self.rng.pick(&self.nature.topics).clone();
        if self.rng.chance(500) {
            // Nothing is asked for while an `unsubscribed` is awaited: else nobody could say what that one ended.
            if self.unsubscribing.is_empty() {
                self.subscribe(&[wanted]);
            }
        } else if self.json.asked.contains(&wanted) && !self.unsubscribing.contains(&wanted) {
            let list = serde_json::to_string(&[&wanted]).expect("strings");
            let id = self.next_id();
            self.send_json(&format!(r#"{{"type":"unsubscribe","id":{id},"topics":{list}}}"#));
            self.unsubscribing.push_back(wanted);
        }
    }

    fn publish(&mut self) {
        let topic = match self.nature.topics.first() {
            _ if self.nature.json => self.rng.pick(&self.nature.publishes).clone(),
            Some(topic) => topic.clone(),
            None => DIRECT.to_owned(),
        };
        let priority = if self.nature.json { *self.rng.pick(&Priority::ALL) } else { Priority::Normal };
        let kind = match self.rng.below(3) {
            // A raw client cannot say that its text is JSON.
            2 if !self.nature.json => 0,
            kind => kind as u8,
        };
        let number = self.numbers.entry((topic.clone(), priority)).or_default();
        *number += 1;
        let filling = if self.rng.chance(30) { self.rng.skewed(70_000) } else { self.rng.skewed(300) } as u32;
        let stamp = Stamp { topic, priority, publisher: self.number, number: *number, kind, filling };
        let payload = stamp.render();
        let fragments = if self.rng.chance(300) { 4 } else { 1 };
        if self.nature.json {
            let (data, encoding) = match stamp.kind() {
                Kind::Json => (String::from_utf8(payload).expect("JSON"), ""),
                Kind::Text => (
                    serde_json::to_string(std::str::from_utf8(&payload).expect("text")).expect("a string"),
                    r#","encoding":"text""#,
                ),
                Kind::Binary => (format!("\"{}\"", STANDARD.encode(&payload)), r#","encoding":"base64""#),
            };
            let (topic, priority) = (&stamp.topic, stamp.priority.name());
            let text =
                format!(r#"{{"type":"publish","topic":"{topic}","priority":"{priority}","data":{data}{encoding}}}"#);
            self.wire.send_message(Opcode::Text, text.as_bytes(), fragments, &mut self.rng);
        } else {
            let opcode = if stamp.kind() == Kind::Binary { Opcode::Binary } else { Opcode::Text };
            self.wire.send_message(opcode, &payload, fragments, &mut self.rng);
        }
        self.handed += 1;
    }

    fn begin_leaving(&mut self) {
        match self.rng.below(5) {
            0 => {
                self.wire.reset();
                self.outcome = Outcome::Left;
            }
            1 => self.leave(),
            2 => {
                // FIN without a close frame.
                self.misbehaved = true;
                self.wire.finish();
            }
            _ => {
                let code = *self.rng.pick(&[None, Some(1000), Some(1001), Some(4000)]);
                self.wire.send_close(code, &mut self.rng);
                self.sent_close = true;
            }
        }
    }

    fn break_rules(&mut self) {
        self.misbehaved = true;
        self.nature.publishes.clear();
        let rng = &mut self.rng;
        match rng.below(9) {
            0 => {
                let noise: Vec<u8> = (0..rng.skewed(2000)).map(|_| rng.next_u64() as u8).collect();
                self.wire.send_bytes(&noise);
            }
            // Unmasked, reserved bits, reserved opcode, long control frame, lengths of 2^63 and in the wrong form.
            1 => self.wire.send_bytes(&[0x81, 0x03, b'a', b'b', b'c']),
            2 => self.wire.send_bytes(&[0xF1, 0x80, 0, 0, 0, 0]),
            3 => self.wire.send_bytes(&[0x83, 0x80, 0, 0, 0, 0]),
            4 => self.wire.send_bytes(&[0x89, 0xFE, 0, 126, 0, 0, 0, 0]),
            5 => self.wire.send_bytes(&[0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]),
            6 => self.wire.send_bytes(&[0x82, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1, 2, 3, 4, 5]),
            7 => self.wire.send_frame(Opcode::Text, true, &[b'x', 0xC3, 0x28], rng),
            // Half a frame, and then nothing for ever.
            _ => self.wire.send_bytes(&[0x82, 0xFE, 0x10]),
        }
    }
}

/// `/t/TOPIC?topic=…`, percent-encoded; `/` without a topic.
fn raw_target(topics: &[String]) -> String {
    let encode = |topic: &str, keep_slash: bool| -> String {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~*".contains(&b) || (keep_slash && b == b'/');
        topic.bytes().map(|b| if plain(b) { (b as char).to_string() } else { format!("%{b:02X}") }).collect()
    };
    let [first, others @ ..] = topics else { return "/".to_owned() };
    let mut target = format!("/t/{}", encode(first, true));
    for (i, topic) in others.iter().enumerate() {
        target.push(if i == 0 { '?' } else { '&' });
        target.push_str("topic=");
        target.push_str(&encode(topic, false));
    }
    target
}
