//! The figures: who listens in which form, what is published, how much of it a turn.
//!
//! Knows the engine through `fanwire::bench::OneShard`; never knows how instructions are counted.

use fanwire::bench::{OneShard, Slot};
use fanwire::proto::client::{UpgradeRequest, encode_frame};
use fanwire::proto::header::Opcode;
use fanwire::{Config, Kind, MemoryConfig, Priority, ShardStats};

use crate::check;
use crate::payload::payload;

/// The topic of all figures.
pub const TOPIC: &str = "rover/1/imu";
/// Messages before anything counts: more than a log's budget holds, so that logs are full and forget as in a long run.
const FILL: u32 = 1_024;
/// Turns whose frames are checked before anything counts.
const CHECKED_TURNS: u32 = 3;

/// What a figure is divided by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// One message to one subscriber.
    Delivery,
    /// One message, however many get it.
    Message,
}

impl Unit {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Unit::Delivery => "delivery",
            Unit::Message => "message",
        }
    }
}

/// How subscribers are sent messages.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Verbatim.
    Raw,
    /// Verbatim, with permessage-deflate.
    RawDeflate,
    /// `fanwire.json.v1`.
    Json,
    /// `fanwire.batch.v1`.
    Batch,
}

/// One figure.
pub struct Figure {
    /// What it is called.
    pub name: &'static str,
    /// The same for people.
    pub what: &'static str,
    /// What it is divided by.
    pub unit: Unit,
    /// Messages of the two runs whose difference counts; multiples of `per_turn`.
    pub sizes: [u32; 2],
    subscribers: u32,
    form: Form,
    payload_bytes: usize,
    /// Messages published before each turn; 0: all of them, and no turn at all.
    per_turn: u32,
    /// The part of the messages that is traced; 0: none, and nobody looks.
    traced: f64,
}

const fn figure(name: &'static str, what: &'static str) -> Figure {
    Figure {
        name,
        what,
        unit: Unit::Delivery,
        sizes: [64, 320],
        subscribers: 1_000,
        form: Form::Raw,
        payload_bytes: 512,
        per_turn: 1,
        traced: 0.0,
    }
}

/// All of them.
pub const FIGURES: &[Figure] = &[
    figure("raw", "512 B verbatim to 1,000 subscribers, one message a turn"),
    Figure {
        sizes: [256, 2_304],
        per_turn: 16,
        ..figure("coalesced", "512 B verbatim to 1,000 subscribers, 16 messages a turn")
    },
    Figure { form: Form::Json, ..figure("json", "512 B in fanwire.json.v1 to 1,000 subscribers, one message a turn") },
    Figure {
        form: Form::RawDeflate,
        payload_bytes: 1_200,
        ..figure("deflate", "1,200 B JSON with permessage-deflate to 1,000 subscribers, one message a turn")
    },
    Figure {
        unit: Unit::Message,
        sizes: [256, 1_280],
        subscribers: 0,
        per_turn: 0,
        ..figure("publish", "publishing 512 B, on the publisher's thread")
    },
    Figure {
        unit: Unit::Message,
        sizes: [512, 4_608],
        subscribers: 0,
        per_turn: 16,
        ..figure("message", "publishing 512 B and taking it into the log, no subscriber, 16 messages a turn")
    },
    Figure {
        unit: Unit::Message,
        sizes: [512, 8_704],
        subscribers: 1,
        per_turn: 16,
        ..figure("untraced", "the same, sent to one subscriber")
    },
    Figure {
        unit: Unit::Message,
        sizes: [512, 8_704],
        subscribers: 1,
        per_turn: 16,
        traced: 0.01,
        ..figure("traced", "the same, one message in a hundred traced: at most 2 % above `untraced`")
    },
    Figure {
        unit: Unit::Message,
        sizes: [512, 2_560],
        subscribers: 1,
        form: Form::Json,
        per_turn: 16,
        ..figure("json-form", "publishing 512 B, rendered for one subscriber of fanwire.json.v1, 16 a turn")
    },
    Figure {
        unit: Unit::Message,
        sizes: [128, 640],
        subscribers: 1,
        form: Form::RawDeflate,
        payload_bytes: 1_200,
        per_turn: 16,
        ..figure("deflate-form", "1,200 B JSON, compressed for one subscriber, 16 messages a turn")
    },
    Figure {
        unit: Unit::Message,
        sizes: [512, 4_608],
        subscribers: 1,
        form: Form::Batch,
        per_turn: 64,
        ..figure("batch-form", "512 B, into batches for one subscriber of fanwire.batch.v1, 64 messages a turn")
    },
];

impl Figure {
    /// Sets up, checks, publishes `messages` messages, and returns the units that they are.
    ///
    /// # Panics
    /// If anything is not as it should be: a figure of an engine that does not deliver is none.
    pub fn run(&self, messages: u32) -> u64 {
        let mut shard = OneShard::new(self.config());
        let topic = shard.topic(TOPIC);
        shard.turn();
        if self.traced > 0.0 {
            shard.trace(self.traced);
        }
        let last = (0..self.subscribers).map(|_| self.subscribe(&mut shard)).last();
        let payload = payload(self.payload_bytes);
        let publish = || topic.publish(Priority::Normal, Kind::Json, &payload).expect("the ring has room");
        for _ in 0..FILL / 64 {
            (0..64).for_each(|_| _ = publish());
            // So many are rendered and sent in pieces.
            (0..8).for_each(|_| shard.turn());
        }
        if let Some(last) = last {
            self.check(&mut shard, last, &payload, &publish);
        }
        let before = shard.stats();
        let per_turn = if self.per_turn == 0 { messages } else { self.per_turn };
        for _ in 0..messages / per_turn {
            (0..per_turn).for_each(|_| _ = publish());
            if self.per_turn > 0 {
                shard.turn();
            }
        }
        let counted = shard.stats();
        self.check_counts(u64::from(messages), &before, &counted);
        // What its end takes belongs to no figure, and is not the same twice: where a name stands in its table is chance.
        std::mem::forget(shard);
        match self.unit {
            Unit::Delivery => u64::from(messages) * u64::from(self.subscribers),
            Unit::Message => u64::from(messages),
        }
    }

    /// Small memory, so that it is full soon; all else as usual.
    fn config(&self) -> Config {
        Config {
            connections_max: 1_024,
            memory: MemoryConfig {
                ring_bytes: 1 << 20,
                pool_bytes: 16 << 20,
                lane_bytes: 512 << 10,
                ..MemoryConfig::default()
            },
            ..Config::default()
        }
    }

    /// A subscriber, and its slot: everything that it says and is told before messages come.
    fn subscribe(&self, shard: &mut OneShard) -> Slot {
        let path = format!("/t/{TOPIC}");
        let (target, protocols): (&str, &[&str]) = match self.form {
            Form::Raw | Form::RawDeflate => (&path, &[]),
            Form::Json => ("/", &["fanwire.json.v1"]),
            Form::Batch => ("/", &["fanwire.batch.v1"]),
        };
        let headers: &[(&str, &str)] = match self.form {
            Form::RawDeflate => &[("Sec-WebSocket-Extensions", "permessage-deflate")],
            _ => &[],
        };
        let slot = shard.connect();
        let mut request = Vec::new();
        let upgrade = UpgradeRequest { host: "localhost", target, key: *b"the sample nonce", protocols, headers };
        let mut connecting = upgrade.write(&mut request).expect("a legal request");
        shard.listen_in(slot);
        shard.receive(slot, &request);
        shard.turn();
        let response = connecting.response(&shard.heard()).expect("the upgrade").expect("a whole response");
        assert_eq!(response.extensions.is_some(), self.form == Form::RawDeflate, "permessage-deflate");
        let mut said = Vec::new();
        let subscribe = format!(r#"{{"type":"subscribe","id":1,"topics":["{TOPIC}"]}}"#);
        match self.form {
            Form::Raw | Form::RawDeflate => return slot,
            Form::Json => encode_frame(&mut said, Opcode::Text, true, false, [1, 2, 3, 4], subscribe.as_bytes()),
            Form::Batch => {
                let mut control = Vec::new();
                fanwire::proto::batch::control(&mut control, subscribe.as_bytes());
                encode_frame(&mut said, Opcode::Binary, true, false, [1, 2, 3, 4], &control);
            }
        }
        shard.receive(slot, &said);
        shard.turn();
        slot
    }

    /// Listens in on one subscriber for some turns, and reads what it is sent.
    fn check(&self, shard: &mut OneShard, slot: Slot, payload: &[u8], publish: &dyn Fn() -> fanwire::Position) {
        // Batches that were open are closed by what comes next: 1,024 messages are not a multiple of 50.
        shard.listen_in(slot);
        for _ in 0..CHECKED_TURNS {
            (0..self.per_turn).for_each(|_| _ = publish());
            shard.turn();
        }
        let messages = check::messages(self.form, &shard.heard(), payload);
        let published = self.per_turn * CHECKED_TURNS;
        if self.form == Form::Batch {
            assert!(messages.abs_diff(published) < 50, "{messages} messages of {published} in batches");
        } else {
            assert_eq!(messages, published, "messages to a subscriber");
        }
    }

    fn check_counts(&self, messages: u64, before: &ShardStats, after: &ShardStats) {
        if self.per_turn == 0 {
            // Every publish was accepted, or we were not here.
            assert_eq!(after.turns, before.turns, "the shard has turned while only publishing was counted");
            return;
        }
        assert_eq!(after.messages - before.messages, messages, "messages taken from the ring");
        assert_eq!((after.closed, after.unlogged), (0, 0), "nobody is closed, nothing is left out");
        let lost = after.gaps + after.dropped_normal + after.passed_over;
        assert_eq!(lost, 0, "nothing is lost");
        assert_eq!(after.connections, u64::from(self.subscribers), "connections");
        let deliveries = after.deliveries - before.deliveries;
        let expected = messages * u64::from(self.subscribers);
        let encoded = after.encoded - before.encoded;
        let compressed = after.compressed - before.compressed;
        match self.form {
            Form::Batch => assert!(deliveries.abs_diff(expected) < 50, "{deliveries} deliveries of {expected}"),
            _ => assert_eq!(deliveries, expected, "deliveries"),
        }
        let is_derived = self.form != Form::Raw && self.subscribers > 0;
        assert_eq!(encoded, if is_derived { messages } else { 0 }, "each message is rendered once");
        let is_packed = self.form == Form::RawDeflate;
        assert_eq!(compressed, if is_packed { messages } else { 0 }, "each message is compressed once");
        if self.form == Form::Raw && self.subscribers > 0 {
            let frame = self.payload_bytes as u64 + 4;
            assert_eq!(after.sent_bytes - before.sent_bytes, frame * expected, "bytes");
            let turns = messages / u64::from(self.per_turn);
            assert_eq!(
                after.sends - before.sends,
                turns * u64::from(self.subscribers),
                "one send a turn and subscriber"
            );
        }
    }
}
