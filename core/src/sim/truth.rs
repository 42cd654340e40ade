//! What went through the ring, read by an auditor of its own, and what the shards themselves say they did.
//!
//! [`Truth`] knows each lane's messages in their order, hence their positions and numbers, and the topics' settings: from these
//! alone it says which messages a subscriber may be passed over for. All accounts here go by positions; numbers are looked up where
//! they come in. The [`Ledger`] holds the shards' notes of where each cursor
//! began and what it lost. A broken rule panics: the run's seed is printed by who runs it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;

use super::matches::matches;
use super::payload::{Stamp, TINY};
use crate::config::{Retention, SlowPolicy, TopicConfig};
use crate::ingest::Head;
use crate::proto::server_message::GapReason;
use crate::shard::trace::{Linked, Lost, Note};
use crate::topic::key_number;
use crate::types::{ConnectionId, Kind, Priority, TopicId};

/// The topic in the stamps of messages between the host and one connection, past all topics.
pub const DIRECT: &str = "$direct";

/// A message's identity, whatever its number in the lane: topic, priority, publisher and the publisher's own count.
type Message = (String, Priority, u32, u64);

/// A topic and a priority.
pub type Lane = (TopicId, Priority);

/// A message that was accepted.
#[derive(Debug)]
pub struct Sent {
    /// What it says it is.
    pub stamp: Stamp,
    /// All of it.
    pub payload: Rc<[u8]>,
    /// Its number.
    pub seq: u64,
    /// When it was published.
    pub time_ns: u64,
    /// When it is worth nothing any more; 0: never.
    pub expiry_ns: u64,
    /// Its conflation key as the engine sees it.
    pub key: u64,
    /// It does not share a batch with others.
    pub travels_alone: bool,
    /// Length of its raw frame.
    frame_bytes: u64,
}

/// What a subscriber asked for that lets messages be passed over.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wishes {
    /// The subscriber's name as a publisher, if it does not want its own messages back.
    pub not_from: Option<u32>,
    /// Nanoseconds between two messages of a lane; 0: no limit.
    pub interval_ns: u64,
}

/// What went through the ring.
#[derive(Default)]
pub struct Truth {
    lanes: HashMap<Lane, Vec<Sent>>,
    places: HashMap<Message, (TopicId, u64)>,
    newest: HashMap<(Lane, u64), u64>,
    /// Topics that exist, by name.
    pub topics: BTreeMap<String, TopicId>,
    names: HashMap<TopicId, String>,
    settings_by_id: HashMap<TopicId, TopicConfig>,
    /// The engine's own.
    pub settings: Vec<TopicConfig>,
    /// Which topic has an epoch.
    pub epochs: BTreeMap<u64, TopicId>,
    /// Which epoch a topic has.
    pub epoch_by_id: BTreeMap<TopicId, u64>,
    /// Messages that have a place in their lane.
    pub messages: u64,
    /// Messages whose number came too late.
    pub out_of_order: u64,
    /// Numbers that no message has, between two that have.
    pub jumps: u64,
    /// Messages by publisher.
    pub by_publisher: BTreeMap<u32, u64>,
    tiny: u64,
    /// Messages that gap notices announced as lost.
    pub announced: [u64; 4],
    /// Messages that raw clients found missing.
    pub raw_holes: [u64; 4],
    /// Messages received, over all clients.
    pub deliveries: u64,
    /// Messages that somebody's wish or a topic's policy passed over.
    pub passed_over: u64,
    /// Cursors that were placed by a `since`.
    pub resumed: u64,
    /// Compressed messages received.
    pub compressed: u64,
    /// Batches received that held more than one message.
    pub batches: u64,
    /// Some frames found no log memory at all.
    pub memory_ran_out: bool,
    /// The engine agrees to permessage-deflate.
    pub deflate: bool,
    /// Who goes on sending too fast is closed.
    pub limits_senders: bool,
    /// An address has so many connections and no more.
    pub limits_addresses: bool,
    /// The host is asked about each who comes.
    pub asks_host: bool,
    /// The engine is ending: nobody is paced any more.
    pub is_ending: bool,
    /// Derived logs built again, by shard.
    pub rebuilt: Vec<u64>,
    /// What the shards say they did.
    pub ledger: Ledger,
}

impl Truth {
    /// The truth of an engine with these settings of topics.
    pub fn new(settings: Vec<TopicConfig>, shards: usize) -> Self {
        Truth { settings, rebuilt: vec![0; shards], ..Truth::default() }
    }

    /// A topic begins.
    pub fn on_created(&mut self, id: TopicId, name: &str, epoch: u64) {
        assert_eq!(self.epochs.insert(epoch, id), None, "epoch {epoch} given twice");
        self.epoch_by_id.insert(id, epoch);
        assert!(self.names.insert(id, name.to_owned()).is_none(), "topic number {id:?} given twice");
        assert!(self.topics.insert(name.to_owned(), id).is_none(), "topic {name} made twice");
        let settings = self.settings.iter().find(|t| matches(&t.pattern, name)).cloned().unwrap_or_default();
        self.settings_by_id.insert(id, settings);
    }

    /// A topic ends.
    pub fn on_removed(&mut self, id: TopicId) {
        let name = self.names.get(&id).expect("a topic was made before it is removed");
        assert_eq!(self.topics.remove(name), Some(id), "topic {name} is not there to be removed");
    }

    /// A message is accepted.
    pub fn on_message(&mut self, head: &Head, attributes: &[u8], payload: &[u8]) {
        let (id, priority) = (head.topic, head.priority);
        let name = self.names.get(&id).expect("a topic's record comes before its messages");
        let stamp = if name == TINY {
            self.tiny += 1;
            let stamp = Stamp::tiny(self.tiny);
            assert!(stamp.render() == payload, "corrupt in the ring: {stamp:?}");
            stamp
        } else {
            Stamp::parse(payload).unwrap_or_else(|error| panic!("corrupt in the ring: {error}"))
        };
        assert_eq!(attributes, stamp.attributes(), "{stamp:?}: its attributes");
        if self.topics.get(name) != Some(&id) {
            // Too late: the topic was removed just before. Nobody gets this.
            return;
        }
        assert_eq!(
            (&stamp.topic, stamp.priority, stamp.kind()),
            (name, priority, head.payload_kind),
            "{stamp:?} is in the wrong lane"
        );
        let key = stamp.key_name().map_or(0, |name| key_number(&name));
        assert_eq!((key, stamp.ttl_ms), (head.key, head.ttl_ms), "{stamp:?}: key and time to live");
        let message = (stamp.topic.clone(), stamp.priority, stamp.publisher, stamp.number);
        *self.by_publisher.entry(stamp.publisher).or_default() += 1;
        let lane = self.lanes.entry((id, priority)).or_default();
        let last = lane.last().map_or(0, |sent| sent.seq);
        let seq = if head.seq == 0 { last + 1 } else { head.seq };
        if seq <= last {
            self.out_of_order += 1;
            return;
        }
        self.messages += 1;
        self.jumps += seq - last - 1;
        let expiry_ns = if head.ttl_ms == 0 { 0 } else { head.time_ns + u64::from(head.ttl_ms) * 1_000_000 };
        let len = payload.len() as u64;
        let header = if len < 126 {
            2
        } else if len < 65_536 {
            4
        } else {
            10
        };
        lane.push(Sent {
            stamp,
            payload: payload.into(),
            seq,
            time_ns: head.time_ns,
            expiry_ns,
            key,
            travels_alone: key != 0 || head.ttl_ms != 0 || head.flags != 0,
            frame_bytes: len + header,
        });
        let position = lane.len() as u64;
        self.newest.insert(((id, priority), key), position);
        let before = self.places.insert(message, (id, position));
        assert_eq!(before, None, "a message went through the ring twice");
    }

    /// Messages of a lane.
    pub fn count(&self, lane: Lane) -> u64 {
        self.lanes.get(&lane).map_or(0, |lane| lane.len() as u64)
    }

    /// The first message of a lane behind a number: its position, or that of the next one to come.
    pub fn behind(&self, lane: Lane, seq: u64) -> u64 {
        1 + self.lanes.get(&lane).map_or(0, |lane| lane.partition_point(|sent| sent.seq <= seq) as u64)
    }

    /// The position of the message that has a number.
    pub fn at(&self, lane: Lane, seq: u64) -> u64 {
        let position = self.behind(lane, seq) - 1;
        assert!(position > 0 && self.sent(lane, position).seq == seq, "there is no message {seq} in {lane:?}");
        position
    }

    /// The number of the message before a position; 0: there is none.
    pub fn seq_before(&self, lane: Lane, position: u64) -> u64 {
        if position > 1 { self.sent(lane, position - 1).seq } else { 0 }
    }

    /// Which positions lost numbers stand for, both included. The count, if there is one, is true.
    fn positions_of(&self, lane: Lane, lost: &Lost) -> (u64, u64) {
        assert!(lost.from <= lost.to, "{lane:?}: {lost:?}");
        let (from, to) = (self.behind(lane, lost.from.before().0), self.behind(lane, lost.to.0) - 1);
        assert!(lost.to.0 <= self.seq_before(lane, self.count(lane) + 1), "{lane:?}: {lost:?} is beyond all");
        match lost.count {
            Some(count) => assert_eq!(count, to + 1 - from, "{lane:?}: {lost:?}, which are {from} to {to}"),
            None => assert!(to >= from && lost.to.0 - lost.from.0 >= to - from, "{lane:?}: {lost:?} are none"),
        }
        (from, to)
    }

    /// Notes of one turn of a shard; `sockets` are those accepted in it.
    pub fn on_notes(&mut self, shard: u8, turn: u64, notes: Vec<Note>, sockets: Vec<usize>) {
        let mut ledger = std::mem::take(&mut self.ledger);
        ledger.on_notes(shard, turn, notes, sockets, |lane, lost| self.positions_of(lane, lost));
        self.ledger = ledger;
    }

    /// A topic's name.
    pub fn name(&self, id: TopicId) -> Option<&str> {
        self.names.get(&id).map(|n| &**n)
    }

    /// The numbers that a topic has had, in order.
    pub fn lives(&self, name: &str) -> Vec<TopicId> {
        let mut ids: Vec<TopicId> = self.names.iter().filter(|(_, n)| *n == name).map(|(id, _)| *id).collect();
        ids.sort();
        ids
    }

    /// A topic's settings.
    pub fn settings_of(&self, id: TopicId) -> &TopicConfig {
        &self.settings_by_id[&id]
    }

    /// The message at a position of a lane.
    pub fn sent(&self, lane: Lane, position: u64) -> &Sent {
        let sent = self.lanes.get(&lane).and_then(|l| l.get((position as usize).checked_sub(1)?));
        sent.unwrap_or_else(|| panic!("there is no message at {position} in {lane:?}, only {}", self.count(lane)))
    }

    /// Where a message stands.
    pub fn place(&self, stamp: &Stamp) -> (TopicId, u64) {
        let key = (stamp.topic.clone(), stamp.priority, stamp.publisher, stamp.number);
        *self.places.get(&key).unwrap_or_else(|| panic!("{stamp:?} was never published"))
    }

    /// True if `payload` is that of message `seq`.
    pub fn check_payload(&self, lane: Lane, seq: u64, payload: &[u8]) -> &Sent {
        let sent = self.sent(lane, seq);
        if *sent.payload != *payload {
            let at = sent.payload.iter().zip(payload).position(|(a, b)| a != b);
            let at = at.unwrap_or(payload.len().min(sent.payload.len()));
            let (len, expected) = (payload.len(), sent.payload.len());
            panic!(
                "message {seq} of {lane:?} is corrupt: {len} bytes instead of {expected}, first difference at {at}: it is {:?}, and {:?} came",
                sent.stamp,
                Stamp::parse_claim(payload)
            );
        }
        sent
    }

    /// Whether a subscriber with these wishes may be passed over for message `seq`, by the rules of section 7.4 of the protocol:
    /// at `wall_ns`, and with later messages still to come (or, `is_last`, without).
    pub fn may_be_passed_over(&self, lane: Lane, seq: u64, wishes: Wishes, wall_ns: u64, is_last: bool) -> bool {
        if lane.1 == Priority::Critical {
            return false;
        }
        let sent = self.sent(lane, seq);
        let is_own = wishes.not_from == Some(sent.stamp.publisher);
        let is_expired = sent.expiry_ns != 0 && sent.expiry_ns <= wall_ns;
        let is_superseded = self.settings_of(lane.0).policy == SlowPolicy::Latest
            && self.newest.get(&(lane, sent.key)).is_some_and(|newest| *newest > seq);
        // At the end only if it stood back for a newer one whose time was over before its turn came.
        let newer_expired = || (seq + 1..=self.count(lane)).any(|s| self.sent(lane, s).expiry_ns != 0);
        let is_paced = wishes.interval_ns > 0 && (!is_last || self.memory_ran_out || newer_expired());
        is_own || is_expired || is_superseded || is_paced
    }

    /// Where a cursor must begin, given what the shard held at that moment: the first message that it should get, the first that there
    /// is, and why those between are lost. `since`: epoch equal, and the number.
    pub fn expected_start(&self, lane: Lane, linked: &Linked, since: Option<(bool, u64)>) -> (u64, u64, GapReason) {
        let head = linked.head;
        if linked.is_first {
            return (1, linked.log_floor.max(1), GapReason::Lag);
        }
        let retention = self.settings_of(lane.0).retention;
        let last_value = match (retention, linked.last) {
            (Retention::None, _) | (_, None) => head,
            (_, Some(last)) => last,
        };
        if !self.memory_ran_out && head > 1 {
            assert_eq!(linked.last, Some(head - 1), "{lane:?} has lost its newest message");
        }
        let floor = match retention {
            Retention::None => head,
            Retention::LastValue => linked.log_floor,
            Retention::Last { messages, bytes, age } => {
                let newest = linked.last.unwrap_or(head);
                let mut floor = linked.log_floor;
                if let Some(n) = messages {
                    floor = floor.max(head.saturating_sub(n));
                }
                if let Some(n) = bytes {
                    let mut sum = 0;
                    let mut first = newest;
                    for seq in (linked.log_floor..head).rev() {
                        sum += self.sent(lane, seq).frame_bytes;
                        if sum > n {
                            break;
                        }
                        first = seq;
                    }
                    floor = floor.max(first.min(newest));
                }
                if let Some(age) = age {
                    let oldest = linked.wall_ns.saturating_sub(age.as_nanos() as u64);
                    let young = (floor..head).find(|seq| self.sent(lane, *seq).time_ns >= oldest);
                    floor = floor.max(young.unwrap_or(head));
                }
                floor.min(head)
            }
        };
        match since {
            Some((true, seq)) => {
                let wanted = self.behind(lane, seq).min(head);
                (wanted, floor.max(wanted), GapReason::Retention)
            }
            Some((false, _)) => (1, floor, GapReason::Epoch),
            None => (last_value, last_value, GapReason::Lag),
        }
    }
}

/// One beginning of a cursor, and what it lost since.
#[derive(Debug)]
pub struct Page {
    /// Where it began.
    pub linked: Linked,
    /// The first message that it should get, and the first that there was for it.
    pub first: u64,
    /// See above.
    pub floor: u64,
    /// What it lost, by positions and in order.
    pub lost: Vec<(u64, u64, GapReason)>,
}

/// The shards' notes.
#[derive(Default)]
pub struct Ledger {
    /// By the client's socket.
    connections: HashMap<usize, ConnectionId>,
    /// Sockets that each shard's kernel has accepted, of which the shard has not noted anything yet.
    accepted: HashMap<u8, VecDeque<usize>>,
    pages: HashMap<(ConnectionId, TopicId, Priority), Vec<Page>>,
    read_in_turn: HashMap<(u8, TopicId, Priority, u64), u64>,
    /// Messages lost for lag, by priority.
    pub lost: [u64; 4],
}

impl Ledger {
    /// See [`Truth::on_notes`].
    fn on_notes(
        &mut self,
        shard: u8,
        turn: u64,
        notes: Vec<Note>,
        sockets: Vec<usize>,
        positions_of: impl Fn(Lane, &Lost) -> (u64, u64),
    ) {
        let accepted = self.accepted.entry(shard).or_default();
        accepted.extend(sockets);
        for note in notes {
            match note {
                Note::Accepted(id) => {
                    let socket = accepted.pop_front().expect("a shard takes only what was offered");
                    self.connections.insert(socket, id);
                }
                Note::Linked(connection, topic, priority, linked) => {
                    let floor = linked.start.floor.0;
                    let lost = linked.start.lost.map(|lost| positions_of((topic, priority), &lost));
                    assert!(lost.is_none_or(|(_, to)| to + 1 == floor), "{linked:?} has lost {lost:?}");
                    let first = lost.map_or(floor, |(from, _)| from);
                    let page = Page { linked, first, floor, lost: Vec::new() };
                    self.pages.entry((connection, topic, priority)).or_default().push(page);
                }
                Note::Lost(connection, topic, priority, lost) => {
                    let (from, to) = positions_of((topic, priority), &lost);
                    let lost = (from, to, lost.reason);
                    assert!(from <= to, "{connection} {topic:?} {priority}: lost {lost:?}");
                    let pages = self.pages.get_mut(&(connection, topic, priority));
                    let page = pages.and_then(|p| p.last_mut()).expect("who loses something had a cursor");
                    let after = page.lost.last().map_or(page.first, |(_, to, _)| to + 1);
                    assert!(lost.0 >= after, "{connection} {topic:?} {priority}: {lost:?} is accounted for twice");
                    page.lost.push(lost);
                    if lost.2 == GapReason::Lag {
                        self.lost[priority as usize] += lost.1 - lost.0 + 1;
                    }
                }
                Note::ReadExpiring(topic, priority, seq) => {
                    self.read_in_turn.insert((shard, topic, priority, seq), turn);
                }
            }
        }
    }

    /// True once shards have noted all connections that were accepted.
    pub fn knows_all(&self) -> bool {
        self.accepted.values().all(VecDeque::is_empty)
    }

    /// The connection of a client's socket.
    pub fn connection(&self, socket: usize) -> Option<ConnectionId> {
        self.connections.get(&socket).copied()
    }

    /// The cursors that a socket's connection had in a lane, in order.
    pub fn pages(&self, socket: usize, lane: Lane) -> &[Page] {
        let pages = self.connection(socket).and_then(|id| self.pages.get(&(id, lane.0, lane.1)));
        pages.map_or(&[], |pages| pages)
    }

    /// In which turn of the shard an expiring message was read there.
    pub fn read_in_turn(&self, shard: usize, lane: Lane, seq: u64) -> Option<u64> {
        self.read_in_turn.get(&(shard as u8, lane.0, lane.1, seq)).copied()
    }
}

/// The kind of message that a raw subscriber gets: text, or not.
pub fn is_text(kind: Kind) -> bool {
    kind != Kind::Binary
}
