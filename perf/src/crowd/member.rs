//! One subscriber of a crowd: what it waits for and what it has seen. Never knows epoll.

use std::os::fd::OwnedFd;

use rustix::net::SendFlags;

use super::lane::{LaneNames, LaneState, Step};
use super::tls::Tls;
use crate::envelope::{Envelope, payload_of};
use crate::form::{Encoding, Form};
use crate::frames::{self, Frame};
use crate::latency::Latency;
use crate::packed::{self, Inflater, Unpacked};
use crate::payload::Checker;
use crate::rivals::{self, Nats};
use crate::{batch, msgpack};

/// How far a member has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The upgrade's answer is awaited.
    Upgrading,
    /// So many answers are awaited: `subscribed` of each plain topic, and a `pong`.
    Subscribing(usize),
    /// At work.
    Open,
    /// Over.
    Closed,
}

/// One subscriber.
pub struct Member {
    /// Its socket, until it is closed.
    pub socket: Option<OwnedFd>,
    /// Where TLS is spoken over it.
    pub tls: Option<Box<Tls>>,
    /// How far it is.
    pub stage: Stage,
    /// The beginning of a frame whose rest has not arrived: from the pool, only while needed.
    pub tail: Vec<u8>,
    /// The beginning of a fragmented message.
    pub fragments: Vec<u8>,
    /// Whether it is compressed.
    pub is_compressed: bool,
    /// The beginning of a rival's operation.
    pub carry: Vec<u8>,
    /// Its lanes: one for a raw member.
    pub lanes: Vec<LaneState>,
    /// Messages delivered.
    pub deliveries: u64,
    /// Messages announced as lost.
    pub announced: u64,
    /// Number in the last stamped payload.
    pub last_stamp: u64,
    /// The close code, once there is one.
    pub close: Option<u16>,
}

impl Default for Member {
    fn default() -> Self {
        Member {
            socket: None,
            tls: None,
            stage: Stage::Upgrading,
            tail: Vec::new(),
            fragments: Vec::new(),
            is_compressed: false,
            carry: Vec::new(),
            lanes: Vec::new(),
            deliveries: 0,
            announced: 0,
            last_stamp: 0,
            close: None,
        }
    }
}

/// What all members of a crowd share while they check.
pub struct Ledger {
    /// What members speak.
    pub form: Form,
    /// The topic that members of a rival's crowd want.
    pub topic: String,
    /// Whether payloads are this tool's own.
    pub stamped: bool,
    /// Whether messages are fresh: their latency counts.
    pub is_live: bool,
    /// Checks payloads.
    pub checker: Checker,
    /// Inflates messages.
    inflater: Inflater,
    /// Inflated messages; lent out while one is looked at.
    inflated: Option<Box<Unpacked>>,
    /// Unpacked blocks; lent out likewise.
    blocks: Option<Box<Unpacked>>,
    /// Numbers of lanes.
    pub names: LaneNames,
    /// Topics that the server has named: id, epoch, name.
    pub topics: Vec<(u64, u64, Vec<u8>)>,
    /// The lane of the last batch: topic, priority, number.
    batch_lane: Option<(u32, u8, u32)>,
    /// Latencies of the window.
    pub latency: Latency,
    /// Of each message, that of the first delivery to any member: how long until its first byte is through.
    pub first: Latency,
    /// Intended moment of the newest message seen.
    newest_ns: u64,
    /// Messages of the window.
    pub window_deliveries: u64,
    /// Messages since ever.
    pub deliveries: u64,
    /// Counts of the group whose member is being served (0 healthy, 1 apart).
    pub counts: [Counts; 2],
    /// First words of trouble.
    pub trouble: Vec<String>,
    /// What has to be sent to the server for the current member.
    pub reply: Vec<u8>,
}

/// Running counts of a group.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// See [`super::Group::gap_notices`].
    pub gap_notices: u64,
    /// See [`super::Group::holes`].
    pub holes: u64,
    /// See [`super::Group::misordered`].
    pub misordered: u64,
    /// See [`super::Group::corrupt`].
    pub corrupt: u64,
}

impl Ledger {
    /// An empty one.
    pub fn new(form: Form, stamped: bool) -> Self {
        Ledger {
            form,
            topic: String::new(),
            stamped,
            is_live: true,
            checker: Checker::default(),
            inflater: Inflater::default(),
            inflated: Some(Box::default()),
            blocks: Some(Box::default()),
            names: LaneNames::default(),
            topics: Vec::new(),
            batch_lane: None,
            latency: Latency::default(),
            first: Latency::default(),
            newest_ns: 0,
            window_deliveries: 0,
            deliveries: 0,
            counts: [Counts::default(); 2],
            trouble: Vec::new(),
            reply: Vec::new(),
        }
    }

    /// The lane of a batch, once the server has named its topic.
    fn lane_of_batch(&mut self, head: &batch::Head) -> Option<u32> {
        if let Some((topic, priority, lane)) = self.batch_lane
            && (topic, priority) == (head.topic_id, head.priority)
        {
            return Some(lane);
        }
        let (_, _, name) = self.topics.iter().find(|(id, _, _)| *id == u64::from(head.topic_id))?;
        let lane = self.names.number(name, batch::priority_name(head.priority));
        self.batch_lane = Some((head.topic_id, head.priority, lane));
        Some(lane)
    }

    /// Notes what the server calls a topic; another server, or the same started anew, calls it otherwise.
    fn name_topic(&mut self, id: u64, epoch: u64, name: &[u8]) {
        let is_known = |topic: &(u64, u64, Vec<u8>)| topic.0 == id && topic.1 == epoch && topic.2 == name;
        if self.topics.iter().any(is_known) {
            return;
        }
        self.topics.retain(|topic| topic.0 != id && topic.2 != name);
        self.topics.push((id, epoch, name.to_vec()));
        self.batch_lane = None;
    }

    /// The numbering of a topic that the server has named.
    fn epoch(&self, name: &[u8]) -> u64 {
        self.topics.iter().find(|topic| topic.2 == name).map_or(0, |topic| topic.1)
    }

    /// Notes the first few troubles in words.
    pub fn trouble(&mut self, words: impl FnOnce() -> String) {
        if self.trouble.len() < 8 {
            self.trouble.push(words());
        }
    }

    fn corrupt(&mut self, group: usize, words: impl FnOnce() -> String) {
        self.counts[group].corrupt += 1;
        self.trouble(words);
    }

    fn step(&mut self, group: usize, step: Step, words: impl FnOnce() -> String) {
        match step {
            Step::Next => {}
            Step::Hole(missing) => {
                self.counts[group].holes += missing;
                self.trouble(|| format!("{missing} missing before {}", words()));
            }
            Step::Misordered => {
                self.counts[group].misordered += 1;
                self.trouble(|| format!("out of order: {}", words()));
            }
        }
    }
}

impl Member {
    /// Takes one frame. `group` is 0 for healthy members, 1 for those apart.
    #[inline]
    pub fn on_frame(&mut self, frame: Frame<'_>, now_ns: u64, group: usize, ledger: &mut Ledger) {
        match frame.opcode {
            frames::TEXT | frames::BINARY if frame.is_final => {
                self.on_packed(frame.payload, frame.is_compressed, now_ns, group, ledger)
            }
            0..=2 => {
                self.is_compressed = frame.is_compressed || (frame.opcode == 0 && self.is_compressed);
                self.fragments.extend_from_slice(frame.payload);
                if frame.is_final {
                    let whole = std::mem::take(&mut self.fragments);
                    self.on_packed(&whole, self.is_compressed, now_ns, group, ledger);
                }
            }
            frames::PING => frames::write_masked(&mut ledger.reply, frames::PONG, frame.payload),
            frames::CLOSE => {
                let code = frame.payload.get(..2).map_or(1005, |code| u16::from_be_bytes([code[0], code[1]]));
                self.close = Some(code);
                frames::write_masked(&mut ledger.reply, frames::CLOSE, frame.payload.get(..2).unwrap_or_default());
            }
            _ => {}
        }
    }

    fn on_packed(&mut self, message: &[u8], is_compressed: bool, now_ns: u64, group: usize, ledger: &mut Ledger) {
        if !is_compressed {
            return self.on_message(message, now_ns, group, ledger);
        }
        if !ledger.form.deflate {
            return ledger.corrupt(group, || "a compressed message without agreement".into());
        }
        let Some(mut inflated) = ledger.inflated.take() else { return };
        match inflated.of(message, |packed, out| ledger.inflater.inflate(packed, out)) {
            Some(plain) => self.on_message(plain, now_ns, group, ledger),
            None => ledger.corrupt(group, || "a message that does not inflate".into()),
        }
        ledger.inflated = Some(inflated);
    }

    fn on_message(&mut self, message: &[u8], now_ns: u64, group: usize, ledger: &mut Ledger) {
        match ledger.form.encoding {
            Encoding::Raw => self.on_raw(message, now_ns, group, ledger),
            Encoding::Json => self.on_object(Envelope::read(message), now_ns, group, ledger),
            Encoding::Msgpack => self.on_object(msgpack::read(message), now_ns, group, ledger),
            Encoding::Batch => self.on_batch(message, now_ns, group, ledger),
            Encoding::Nats => self.on_nats(message, now_ns, group, ledger),
            Encoding::Foxglove => self.on_foxglove(message, now_ns, group, ledger),
        }
    }

    fn on_raw(&mut self, message: &[u8], now_ns: u64, group: usize, ledger: &mut Ledger) {
        self.deliveries += 1;
        ledger.window_deliveries += 1;
        ledger.deliveries += 1;
        if ledger.stamped {
            let Some(seq) = self.on_payload(message, now_ns, group, ledger) else { return };
            if self.lanes.is_empty() {
                self.lanes.push(LaneState::default());
            }
            let step = self.lanes[0].on_message(seq);
            ledger.step(group, step, || format!("message {seq} of a raw member"));
        }
    }

    fn on_nats(&mut self, message: &[u8], now_ns: u64, group: usize, ledger: &mut Ledger) {
        // Operations may be cut by messages.
        let mut carried = std::mem::take(&mut self.carry);
        if !carried.is_empty() {
            carried.extend_from_slice(message);
        }
        let bytes = if carried.is_empty() { message } else { &carried };
        let mut at = 0;
        loop {
            match rivals::nats_next(&bytes[at..]) {
                Ok(Some((operation, taken))) => {
                    at += taken;
                    match operation {
                        Nats::Message(payload) => self.on_raw(payload, now_ns, group, ledger),
                        Nats::Ping => frames::write_masked(&mut ledger.reply, frames::BINARY, b"PONG\r\n"),
                        Nats::Pong => self.stage = Stage::Open,
                        Nats::Other => {}
                    }
                }
                Ok(None) => break,
                Err(words) => return ledger.corrupt(group, || words.into()),
            }
        }
        if carried.is_empty() {
            carried.extend_from_slice(&message[at..]);
        } else {
            carried.drain(..at);
        }
        self.carry = carried;
    }

    fn on_foxglove(&mut self, message: &[u8], now_ns: u64, group: usize, ledger: &mut Ledger) {
        if let Some(payload) = rivals::foxglove_payload(message) {
            return self.on_raw(payload, now_ns, group, ledger);
        }
        if self.stage != Stage::Open
            && let Some(request) = rivals::foxglove_subscribe(message, &ledger.topic)
        {
            frames::write_masked(&mut ledger.reply, frames::TEXT, request.as_bytes());
            self.stage = Stage::Open;
        }
    }

    fn on_batch(&mut self, frame: &[u8], now_ns: u64, group: usize, ledger: &mut Ledger) {
        let Some((head, block)) = batch::split(frame) else {
            return ledger.corrupt(group, || format!("no batch: {}", shown(frame)));
        };
        if head.is_control {
            return self.on_object(Envelope::read(block), now_ns, group, ledger);
        }
        if !head.is_lz4 {
            return self.on_messages(&head, block, now_ns, group, ledger);
        }
        let Some(mut blocks) = ledger.blocks.take() else { return };
        match blocks.of(block, |packed, out| packed::unpack_lz4(packed, head.raw_size, out)) {
            Some(plain) if ledger.form.lz4 => self.on_messages(&head, plain, now_ns, group, ledger),
            _ => ledger.corrupt(group, || "an LZ4 block that does not unpack, or was not asked for".into()),
        }
        ledger.blocks = Some(blocks);
    }

    fn on_messages(&mut self, head: &batch::Head, block: &[u8], now_ns: u64, group: usize, ledger: &mut Ledger) {
        let Some(lane) = ledger.lane_of_batch(head) else {
            return ledger.corrupt(group, || format!("a batch of topic {}, which was never named", head.topic_id));
        };
        let lane = self.lane(lane, ledger);
        let known = self.lanes[lane].on_batch(head.first_seq);
        let mut seq = head.first_seq;
        let count = batch::messages(head, block, |payload| {
            if seq > known {
                self.deliver(lane, seq, payload, now_ns, group, ledger);
            }
            seq += 1;
        });
        if count.is_none() {
            ledger.corrupt(group, || format!("a malformed batch of {} bytes", block.len()));
        }
    }

    /// One message of a lane.
    fn deliver(&mut self, lane: usize, seq: u64, payload: &[u8], now_ns: u64, group: usize, ledger: &mut Ledger) {
        self.deliveries += 1;
        ledger.window_deliveries += 1;
        ledger.deliveries += 1;
        let state = &mut self.lanes[lane];
        state.is_resumed = false;
        let step = state.on_message(seq);
        let number = state.lane;
        if step != Step::Next {
            let topic = shown(ledger.names.name(number).0);
            ledger.step(group, step, || format!("message {seq} of {topic}"));
        }
        if ledger.stamped {
            self.on_payload(payload, now_ns, group, ledger);
        }
    }

    fn on_object(&mut self, object: Option<Envelope<'_>>, now_ns: u64, group: usize, ledger: &mut Ledger) {
        let Some(object) = object else {
            return ledger.corrupt(group, || "a message that is no object".into());
        };
        match object.kind {
            b"message" => {
                let number = ledger.names.number(object.topic, object.priority);
                let lane = self.lane(number, ledger);
                self.deliver(lane, object.seq, payload_of(object.data), now_ns, group, ledger);
            }
            b"gap" => {
                ledger.counts[group].gap_notices += 1;
                self.announced += (object.to + 1).saturating_sub(object.from);
                let number = ledger.names.number(object.topic, object.priority);
                let lane = self.lane(number, ledger);
                let step = self.lanes[lane].on_gap(object.from, object.to);
                ledger.step(group, step, || format!("gap {} to {}", object.from, object.to));
            }
            b"subscribed" | b"pong" => {
                if object.kind == b"subscribed" {
                    ledger.name_topic(object.topic_id, object.epoch, object.topic);
                    for lane in &mut self.lanes {
                        if ledger.names.name(lane.lane).0 == object.topic {
                            lane.on_epoch(object.epoch);
                        }
                    }
                }
                if let Stage::Subscribing(awaited) = self.stage {
                    self.stage = if awaited <= 1 { Stage::Open } else { Stage::Subscribing(awaited - 1) };
                }
            }
            b"error" => ledger.trouble(|| format!("the server says {}: {}", shown(object.code), shown(object.message))),
            _ => {}
        }
    }

    fn on_payload(&mut self, payload: &[u8], now_ns: u64, group: usize, ledger: &mut Ledger) -> Option<u64> {
        let Some(stamp) = ledger.checker.check(payload) else {
            ledger.corrupt(group, || format!("a payload that was never sent: {}", shown(payload)));
            return None;
        };
        self.last_stamp = stamp.seq;
        if group == 0 && ledger.is_live {
            let latency = now_ns.saturating_sub(stamp.intended_ns);
            ledger.latency.record(latency);
            if stamp.intended_ns > ledger.newest_ns {
                ledger.newest_ns = stamp.intended_ns;
                ledger.first.record(latency);
            }
        }
        Some(stamp.seq)
    }

    /// The place of a lane among this member's.
    #[inline]
    fn lane(&mut self, lane: u32, ledger: &Ledger) -> usize {
        match self.lanes.iter().position(|state| state.lane == lane) {
            Some(at) => at,
            None => {
                let epoch = ledger.epoch(ledger.names.name(lane).0);
                self.lanes.push(LaneState { lane, epoch, ..LaneState::default() });
                self.lanes.len() - 1
            }
        }
    }

    /// What a member that comes back says of the lanes that it had, as the value of `since`.
    pub fn since(&self, ledger: &Ledger) -> serde_json::Value {
        let mut since = serde_json::Map::new();
        for state in &self.lanes {
            let (topic, priority) = ledger.names.name(state.lane);
            if state.epoch == 0 {
                continue;
            }
            let entry = since
                .entry(String::from_utf8_lossy(topic))
                .or_insert_with(|| serde_json::json!({"epoch": state.epoch, "seq": {}}));
            entry["seq"][String::from_utf8_lossy(priority).as_ref()] = state.last.into();
        }
        since.into()
    }

    /// Sends some bytes. A client whose socket does not take a few of them has bigger trouble, which the server will tell.
    pub fn send(&mut self, bytes: &[u8]) {
        match (&self.socket, &mut self.tls) {
            (Some(socket), Some(tls)) => tls.send(socket, bytes),
            (Some(socket), None) => {
                let _ = rustix::net::send(socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
            }
            (None, _) => {}
        }
    }

    /// Forgets the connection, not what it brought.
    pub fn leave(&mut self) {
        self.socket = None;
        self.tls = None;
        self.tail.clear();
        self.fragments.clear();
        self.close = None;
        self.stage = Stage::Upgrading;
        self.lanes.iter_mut().for_each(|lane| lane.is_resumed = true);
    }
}

/// The beginning of some bytes, for people.
fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(120)]).into_owned();
    if bytes.len() > 120 { format!("{text}… ({} bytes)", bytes.len()) } else { text }
}
