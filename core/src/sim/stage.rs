//! A small stage: one shard on a calm network, and clients that do just what a test says.
//!
//! For what the simulation has found: each defect has its shortest play here. And for what is promised
//! to the byte, the turn or the number: a module for each noun.

mod addresses;
mod authorize;
mod census;
mod clock;
mod cuts;
mod deadlines;
mod derived;
mod drain;
mod ends;
mod events;
mod gauges;
mod handover;
mod lag;
mod lanes;
mod leaving;
mod lives;
mod long;
mod numbers;
mod pace;
mod picks;
mod proxies;
mod renew;
mod requests;
mod search;
mod senders;
mod sends;
mod shares;
mod standstill;
mod subjects;
mod waiters;

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use super::frames::{Incoming, Wire};
use super::payload::Stamp;
use super::settings::wall_of;
use super::speech::{self, Said};
use crate::config::{AccessConfig, Config, PublishAccess};
use crate::driver::Driver;
use crate::driver::proxied::Proxied;
use crate::driver::sim::{Rng, SimDriver, SimNet, SimOptions};
use crate::epoch::Epochs;
use crate::event::{Event, Protocol};
use crate::failure::FailureRecord;
use crate::ingest::{Head, INLINE_MAX, PayloadPool, Ring};
use crate::proto::header::Opcode;
use crate::proto::server_message::{GapReason, Missing, ServerMessage};
use crate::registry::{Registry, User};
use crate::rules::Rules;
use crate::shard::trace::Note;
use crate::shard::{Command, Counted, Mailbox, REFUSAL_SLOTS, Shard, ShardStats, Shared};
use crate::telemetry::Telemetry;
use crate::topic::key_number;
use crate::types::{ConnectionId, Kind, Priority, TopicId};

/// The epoch of the first topic.
pub const EPOCH: u64 = EPOCHS.of(0);
const EPOCHS: Epochs = Epochs::from_random(76);

/// A shard as it is on a stage.
pub type StageShard = Shard<Proxied<SimDriver>>;

/// See the module's head.
pub struct Stage {
    /// The network.
    pub net: SimNet,
    /// The shard.
    pub shard: StageShard,
    shared: Arc<Shared>,
    /// Until when the shard would have slept, the last time that it could.
    slept_until: Rc<Cell<u64>>,
}

/// One client.
pub struct Player {
    /// Its connection.
    pub wire: Wire,
    /// What the engine calls it.
    pub connection: ConnectionId,
    protocol: Protocol,
    rng: Rng,
}

impl Stage {
    /// A stage for an engine with this configuration, of one shard; the kernel holds so much towards each client.
    pub fn new(config: Config, send_capacity: usize) -> Self {
        Stage::with_wall_clock(config, send_capacity, wall_of)
    }

    /// The same with a wall clock of its own: what it shows at an instant of virtual time.
    pub fn with_wall_clock(
        config: Config,
        send_capacity: usize,
        wall_of: impl Fn(u64) -> u64 + Send + Sync + 'static,
    ) -> Self {
        Stage::with_shards(config, send_capacity, 1, wall_of).0
    }

    /// The same with so many shards. The others than the first are turned by hand.
    pub fn with_shards(
        config: Config,
        send_capacity: usize,
        count: usize,
        wall_of: impl Fn(u64) -> u64 + Send + Sync + 'static,
    ) -> (Self, Vec<StageShard>) {
        let mut options = SimOptions { send_capacity, ..SimOptions::calm() };
        let connections_max = config.connections_max.max(8);
        let access = AccessConfig { publish: PublishAccess::Loopback, ..config.access.clone() };
        let config = Config { connections_max, access, ..config };
        let slots = connections_max + REFUSAL_SLOTS;
        options.limits.slots = slots;
        options.limits.recv_bytes = crate::plan::RECV_BYTES;
        let net = SimNet::new(1, options);
        let (ring, mut readers) = Ring::new(config.memory.ring_bytes, count).expect("a legal ring");
        let (clock, looks) = (net.clock(), net.clock());
        ring.watch_standstill(Box::new(move || looks.load(Ordering::Relaxed)));
        let shared = Arc::new(Shared {
            rules: Rules::new(&config),
            listening: config.listen.clone(),
            epochs: EPOCHS,
            payloads: Arc::new(PayloadPool::new(config.memory.payload_bytes)),
            registry: Registry::new(config.topics_max),
            mailboxes: (0..count).map(|_| Mailbox::new(256, config.events.capacity).into()).collect(),
            open: AtomicU32::new(0),
            counted: Counted::of(&config, count as u32),
            tls: None,
            telemetry: Telemetry::new(&config, 0),
            failure: FailureRecord::default(),
            wall_ns: Box::new(move || wall_of(clock.load(Ordering::Relaxed))),
            bell: Box::new(|| {}),
            config,
            ring,
        });
        let (mut driver, reader) = (net.driver(0), readers.remove(0));
        let slept_until = Rc::new(Cell::new(0));
        let until = slept_until.clone();
        driver.on_sleep(Box::new(move |at| until.set(at)));
        let waker = driver.waker();
        reader.set_waker(Arc::new(move || waker.wake()));
        let proxied = |driver| {
            let rules = shared.clone();
            let trusts = Arc::new(move |peer| rules.rules.current().trusts_proxy(peer));
            Proxied::new(driver, shared.config.proxy_options(&shared.listening, count, trusts))
        };
        let shard = Shard::new(0, proxied(driver), shared.clone(), reader, slots);
        let others = readers.into_iter().zip(1..).map(|(reader, number)| {
            let driver = net.driver(number);
            let waker = driver.waker();
            reader.set_waker(Arc::new(move || waker.wake()));
            Shard::new(number as u8, proxied(driver), shared.clone(), reader, slots)
        });
        let others = others.collect();
        (Stage { net, shard, shared, slept_until }, others)
    }

    /// A client that has connected and subscribed to topic `t`, and reads nothing by itself.
    pub fn player(&mut self, protocol: Protocol, subscribe: &Value) -> Player {
        let mut player = self.connects("/", protocol);
        player.asks(subscribe);
        self.turns(1, &mut player);
        player
    }

    /// A raw client of the topics that the target names.
    pub fn raw(&mut self, target: &str) -> Player {
        self.connects(target, Protocol::Raw)
    }

    /// A raw client of topics `a` and `b`. As `b` has had a message, it has several cursors and is looked at by itself.
    pub fn gathered(&mut self) -> Player {
        let mut player = self.raw("/t/a?topic=b");
        self.says("b", "begun", |_| {});
        self.turns(2, &mut player);
        assert_eq!(player.reads(), ["begun"]);
        self.losses();
        player
    }

    fn connects(&mut self, target: &str, protocol: Protocol) -> Player {
        let mut player = self.knocks(target, protocol);
        let heard = player.wire.read_some(usize::MAX);
        assert!(matches!(heard[..], [Incoming::Upgraded(..), ..]), "{heard:?}");
        player
    }

    /// A client whose request is there, whatever comes of it.
    pub fn knocks(&mut self, target: &str, protocol: Protocol) -> Player {
        self.knocks_from(SocketAddr::from(([127, 0, 0, 1], 1_024)), target, protocol)
    }

    /// The same from another address.
    pub fn knocks_from(&mut self, peer: SocketAddr, target: &str, protocol: Protocol) -> Player {
        self.knocks_with(peer, target, protocol, &[])
    }

    /// The same with more headers.
    pub fn knocks_with(
        &mut self,
        peer: SocketAddr,
        target: &str,
        protocol: Protocol,
        headers: &[(&str, &str)],
    ) -> Player {
        let mut rng = Rng::new(5);
        let protocols: Vec<_> = Some(protocol.name()).filter(|name| !name.is_empty()).into_iter().collect();
        let wire = Wire::new(self.net.connect_from(0, peer), target, &protocols, headers, &mut rng);
        let mut player = Player { wire, connection: ConnectionId::HOST, protocol, rng };
        self.shard.take_notes();
        self.turns(4, &mut player);
        let accepted = self.shard.take_notes().into_iter().find_map(|note| match note {
            Note::Accepted(connection) => Some(connection),
            _ => None,
        });
        player.connection = accepted.expect("the engine takes the connection");
        player
    }

    /// Publishes on topic `t` by the host.
    pub fn publish(&self, stamp: &Stamp) {
        let Shared { ring, registry, .. } = &*self.shared;
        let time_ns = (self.shared.wall_ns)();
        let opened = registry.open(&stamp.topic, User::Publisher, self.shared.to_ring(), true);
        let topic = opened.expect("room in the ring").id;
        let key = stamp.key_name().map_or(0, |name| key_number(&name));
        let head = Head { time_ns, key, ttl_ms: stamp.ttl_ms, ..Head::message(topic, stamp.priority, stamp.kind()) };
        ring.try_publish(&head, &stamp.render()).expect("room in the ring");
    }

    /// Publishes a text by the host, with the head as `change` makes it; what is too long for the ring goes by reference.
    pub fn says(&self, topic: &str, text: &str, change: impl FnOnce(&mut Head)) {
        let Shared { ring, payloads, .. } = &*self.shared;
        let time_ns = (self.shared.wall_ns)();
        let mut head = Head { time_ns, ..Head::message(self.topic(topic), Priority::Normal, Kind::Text) };
        change(&mut head);
        if text.len() <= INLINE_MAX {
            ring.try_publish(&head, text.as_bytes()).expect("room in the ring");
        } else {
            let payload = payloads.copy_from(text.as_bytes()).expect("room for payloads");
            assert!(ring.try_publish_shared(&head, payload).is_ok(), "room in the ring");
        }
    }

    /// The number of a topic, which is made if there is none of this name.
    pub fn topic(&self, name: &str) -> TopicId {
        let opened = self.shared.registry.open(name, User::Publisher, self.shared.to_ring(), true);
        opened.expect("room in the ring").id
    }

    /// Tells the shard something, as the host does.
    pub fn commands(&self, command: Command) {
        assert!(self.shared.mailboxes[0].commands.push(command).is_ok(), "room for commands");
    }

    /// Sends a text to one client alone.
    pub fn sends_to(&self, player: &Player, text: &str) {
        let payload = self.shared.payloads.copy_from(text.as_bytes()).expect("room for payloads");
        self.commands(Command::Send { connection: player.connection, kind: Kind::Text, payload });
    }

    /// What the host is told.
    pub fn events(&self) -> Vec<Event> {
        std::iter::from_fn(|| self.shared.mailboxes[0].events.pop()).collect()
    }

    /// What clients have lost since this was asked last: first, last, why.
    pub fn losses(&mut self) -> Vec<(u64, u64, GapReason)> {
        let notes = self.shard.take_notes().into_iter();
        let told = notes.filter_map(|note| if let Note::Lost(.., lost) = note { Some(lost) } else { None });
        told.map(|lost| (lost.from.0, lost.to.0, lost.reason)).collect()
    }

    /// How much the kernel holds towards each client from now on. Nothing may be unread.
    pub fn send_capacity(&self, bytes: usize) {
        self.net.with_options(|options| options.send_capacity = bytes);
    }

    /// The kernel takes nothing more of what is sent to this client, until [`Stage::lets_go`].
    pub fn holds(&mut self, player: &mut Player) {
        self.send_capacity(1);
        self.sends_to(player, "held");
        self.turns(1, player);
    }

    /// The kernel has room for everything again: first for what was half sent.
    pub fn lets_go(&mut self, player: &mut Player) {
        assert_eq!(player.reads(), [""; 0]);
        self.send_capacity(4 << 20);
    }

    /// One turn at this instant that sleeps if there is nothing to do: until when it would have slept.
    pub fn sleeps(&mut self) -> Option<u64> {
        self.slept_until.set(0);
        self.shard.turn(true).expect("the sim driver never fails");
        Some(self.slept_until.get()).filter(|&until| until > 0)
    }

    /// How many times the kernel was called to send, each time for many clients.
    pub fn batches(&self) -> u64 {
        let stats = self.stats();
        stats.syscalls - stats.turns
    }

    /// So many turns, a millisecond each, in which a client's requests arrive.
    pub fn turns(&mut self, count: usize, player: &mut Player) {
        for _ in 0..count {
            while player.wire.queued() > 0 {
                player.wire.write_some(&mut player.rng);
            }
            self.net.advance_to(self.net.now_ns() + 1_000_000);
            self.shard.turn(false).expect("the sim driver never fails");
            self.shard.check_budgets();
        }
    }

    /// What a client has queued goes out, as far as there is room for it.
    pub fn hands_over(&mut self, player: &mut Player) {
        for _ in 0..8 {
            player.wire.write_some(&mut player.rng);
        }
    }

    /// One turn, a millisecond later, in which these clients' requests arrive: its steps.
    pub fn turn_of(&mut self, players: &mut [Player]) -> u64 {
        for player in players {
            self.hands_over(player);
        }
        self.net.advance_to(self.net.now_ns() + 1_000_000);
        self.shard.turn(false).expect("the sim driver never fails");
        self.shard.check_budgets();
        self.shard.last_work().steps()
    }

    /// Makes topics, and gives the shard the turns that it needs to hear of them.
    pub fn topics(&mut self, names: impl Iterator<Item = String>) {
        for (number, name) in names.enumerate() {
            self.topic(&name);
            if number % 100 == 0 {
                self.turn_of(&mut []);
            }
        }
        (0..20).for_each(|_| _ = self.turn_of(&mut []));
    }

    /// So many turns, after each of which the client reads: what it was told.
    pub fn plays(&mut self, count: usize, player: &mut Player) -> Vec<String> {
        let mut heard = Vec::new();
        for _ in 0..count {
            self.turns(1, player);
            heard.append(&mut player.reads());
        }
        heard
    }

    /// The shard's counters.
    pub fn stats(&self) -> ShardStats {
        self.shared.mailboxes[0].counters.read()
    }
}

/// A text of so many bytes that begins with a name.
pub fn text(name: &str, len: usize) -> String {
    format!("{name}{}", ".".repeat(len - name.len()))
}

/// A request for these topics.
pub fn topics(names: &[&str]) -> Value {
    json!({"type": "subscribe", "topics": names})
}

impl Player {
    /// Sends a ping.
    pub fn pings(&mut self, payload: &str) {
        self.wire.send_frame(Opcode::Ping, true, payload.as_bytes(), &mut self.rng);
    }

    /// Sends a text as it is.
    pub fn says(&mut self, text: &str) {
        self.wire.send_message(Opcode::Text, text.as_bytes(), 1, &mut self.rng);
    }

    /// Asks for something.
    pub fn asks(&mut self, object: &Value) {
        let (opcode, bytes) = speech::request(self.protocol, object, &mut self.rng);
        self.wire.send_message(opcode, &bytes, 1, &mut self.rng);
    }

    /// Reads all there is: in words, without the welcome.
    pub fn reads(&mut self) -> Vec<String> {
        let protocol = self.protocol;
        let mut heard = Vec::new();
        for incoming in self.wire.read_some(usize::MAX) {
            match incoming {
                Incoming::Message { bytes, .. } if self.is_plain(&bytes) => heard.push(words_of(&bytes)),
                Incoming::Message { is_text, bytes, .. } => speech::listen(protocol, is_text, &bytes, |said| {
                    heard.extend(in_words(said));
                }),
                other => heard.push(format!("{other:?}")),
            }
        }
        heard
    }

    /// A payload as it is, not an object of the subprotocol.
    fn is_plain(&self, bytes: &[u8]) -> bool {
        self.protocol == Protocol::Raw || bytes.first().is_some_and(u8::is_ascii_alphanumeric)
    }
}

/// A [`text`]'s name.
fn words_of(bytes: &[u8]) -> String {
    let text = std::str::from_utf8(bytes).expect("UTF-8");
    let name = text.trim_end_matches('.');
    assert!(!name.contains('.'), "a broken text: {text}");
    name.to_owned()
}

fn in_words(said: Said<'_>) -> Option<String> {
    let lane = |priority: Priority| priority.name();
    Some(match said {
        Said::Batch(batch) => {
            let first = batch.head.first_seq;
            format!("{} {first} to {}", lane(batch.head.priority), first + u64::from(batch.message_count()) - 1)
        }
        Said::Object(ServerMessage::Welcome(_)) => return None,
        Said::Object(ServerMessage::Message(m)) => format!("{} {}", lane(m.priority), m.seq),
        Said::Object(ServerMessage::Gap(m)) => {
            let count = match m.missing {
                Missing::All => String::new(),
                Missing::Some(count) => format!(", {count} messages"),
                Missing::Unknown => ", some messages".to_owned(),
            };
            format!("{} lost {} to {}{count}: {}", lane(m.priority), m.from, m.to, m.reason.name())
        }
        Said::Object(ServerMessage::Subscribed(m)) => {
            let seqs = Priority::ALL.into_iter().zip(m.seq).filter_map(|(p, seq)| Some(format!(" {p} {}", seq?)));
            let id = speech::number_of(Protocol::JsonV1, m.id).map(|id| format!(", request {id}"));
            format!("subscribed{}{}", seqs.collect::<String>(), id.unwrap_or_default())
        }
        Said::Object(ServerMessage::Migrate(m)) => format!("migrate {}", m.after_ms),
        Said::Object(ServerMessage::Unsubscribed(m)) => format!("unsubscribed {}", m.topic),
        Said::Object(ServerMessage::Authorized(m)) => format!("authorized {:?}", m.expires_in_ms),
        Said::Object(other) => format!("{other:?}"),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::config::{MemoryConfig, Retention, SlowPolicy, TopicConfig};
    use crate::driver::sim::Read;

    /// Batches that close with each turn.
    fn config() -> Config {
        let topic = TopicConfig { batch_window: Some(Duration::ZERO), ..TopicConfig::default() };
        Config { shards: Some(1), topics: vec![topic], ..Config::default() }
    }

    fn stamp(number: u64, filling: u32) -> Stamp {
        Stamp::new("t", Priority::Normal, 0, number, 0, filling)
    }

    fn subscribe() -> Value {
        json!({"type": "subscribe", "topics": ["t"]})
    }

    /// Virtual milliseconds after which each of seven clients is closed by a shutdown that has 20 s, and the code.
    fn closes(window: Duration) -> Vec<(u64, String)> {
        let mut config = config();
        config.limits.ping_every = Duration::ZERO;
        let mut stage = Stage::new(config, 64 << 10);
        let mut players: Vec<Player> = (0..7).map(|_| stage.player(Protocol::JsonV1, &subscribe())).collect();
        stage.publish(&stamp(1, 5));
        let drain = Command::Drain { within_ns: 20_000_000_000, window_ns: window.as_nanos() as u64 };
        stage.shared.mailboxes[0].commands.push(drain).expect("an empty queue");
        let mut closes = vec![(0, String::new()); players.len()];
        for ms in 1..=20_000 {
            stage.turns(1, &mut players[0]);
            for (close, player) in closes.iter_mut().zip(&mut players) {
                for said in player.reads() {
                    assert!(close.1.is_empty() || said == "End", "{said} after the close");
                    if said.starts_with("Close") {
                        *close = (ms, said);
                    }
                }
            }
        }
        closes
    }

    #[test]
    fn a_shutdown_closes_each_at_a_moment_of_its_own_within_the_window() {
        for within_s in [8, 10] {
            let closes = closes(Duration::from_secs(within_s));
            assert!(closes.iter().all(|(_, said)| said.contains("1012")), "{closes:?}");
            assert!(closes.iter().all(|(ms, _)| *ms <= within_s * 1_000 + 10), "beyond {within_s} s: {closes:?}");
            let mut moments: Vec<u64> = closes.iter().map(|(ms, _)| *ms).collect();
            moments.sort_unstable();
            moments.dedup();
            assert_eq!(moments.len(), closes.len(), "two at once: {closes:?}");
            let spread_ms = moments[moments.len() - 1] - moments[0];
            assert!(spread_ms > within_s * 500, "{spread_ms} ms apart: {closes:?}");
        }
    }

    #[test]
    fn a_shutdown_without_a_window_closes_everybody_at_once() {
        let closes = closes(Duration::ZERO);
        assert!(closes.iter().all(|(ms, said)| *ms <= 5 && said.contains("1001")), "{closes:?}");
    }

    #[test]
    fn the_highest_number_as_since_is_just_a_number_of_the_future() {
        let mut stage = Stage::new(config(), 64 << 10);
        (1..=3).for_each(|number| stage.publish(&stamp(number, 5)));
        let max = u64::MAX;
        let since = json!({"t": {"epoch": EPOCH, "seq": {"normal": max}}});
        let mut object = subscribe();
        object["since"] = since;
        let mut player = stage.player(Protocol::JsonV1, &object);
        assert_eq!(stage.plays(3, &mut player), ["subscribed normal 3"]);
        stage.publish(&stamp(4, 5));
        assert_eq!(stage.plays(3, &mut player), ["normal 4"]);
    }

    #[test]
    fn behind_a_half_sent_batch_is_behind_all_its_messages() {
        let mut stage = Stage::new(config(), 2_048);
        let mut player = stage.player(Protocol::BatchV1, &subscribe());
        assert_eq!(stage.plays(2, &mut player), ["subscribed"]);
        (1..=3).for_each(|number| stage.publish(&stamp(number, 1_500)));
        stage.turns(1, &mut player);
        // The memory of the frame that is half sent goes away under it.
        stage.shard.drop_derived(true, || true);
        stage.turns(1, &mut player);
        assert_eq!(stage.plays(9, &mut player), ["normal 1 to 3"]);
        stage.publish(&stamp(4, 5));
        assert_eq!(stage.plays(2, &mut player), ["normal 4 to 4"]);
    }

    #[test]
    fn a_picking_cursor_inside_a_batch_goes_on_behind_it() {
        let mut stage = Stage::new(config(), 2_048);
        let mut player = stage.player(Protocol::BatchV1, &subscribe());
        // From the first message that expires on, the lane's cursors look at each frame.
        stage.publish(&Stamp { ttl_ms: 1_000_000, ..stamp(1, 5) });
        assert_eq!(stage.plays(3, &mut player), ["subscribed", "normal 1 to 1"]);
        (2..=4).for_each(|number| stage.publish(&stamp(number, 1_500)));
        stage.turns(1, &mut player);
        stage.publish(&stamp(5, 5));
        stage.turns(1, &mut player);
        assert_eq!(stage.plays(9, &mut player), ["normal 2 to 4", "normal 5 to 5"]);
    }

    #[test]
    fn subscribed_inside_a_batch_speaks_of_its_last_message() {
        let mut stage = Stage::new(config(), 2_048);
        let mut player = stage.player(Protocol::BatchV1, &subscribe());
        assert_eq!(stage.plays(2, &mut player), ["subscribed"]);
        (1..=3).for_each(|number| stage.publish(&stamp(number, 1_500)));
        stage.turns(1, &mut player);
        player.asks(&subscribe());
        assert_eq!(stage.plays(9, &mut player), ["normal 1 to 3", "subscribed normal 3"]);
    }

    #[test]
    fn a_paced_cursor_does_not_go_back_to_the_beginning_of_a_batch() {
        let mut stage = Stage::new(config(), 64 << 10);
        let mut player =
            stage.player(Protocol::BatchV1, &json!({"type": "subscribe", "topics": ["t"], "max_hz": 1000}));
        stage.publish(&stamp(1, 5));
        assert_eq!(stage.plays(2, &mut player), ["subscribed", "normal 1 to 1"]);
        stage.publish(&stamp(2, 5));
        assert_eq!(stage.plays(2, &mut player), ["normal 2 to 2"]);
        // Built again, all three share a batch; and the socket takes nothing for a while.
        stage.publish(&stamp(3, 5));
        stage.shard.drop_derived(true, || true);
        stage.net.with_options(|options| options.blocked_send = 1_000);
        stage.turns(2, &mut player);
        player.asks(&subscribe());
        stage.net.with_options(|options| options.blocked_send = 0);
        assert_eq!(stage.plays(5, &mut player), ["subscribed normal 2", "normal 1 to 3"]);
    }

    #[test]
    fn a_paced_cursor_waits_in_one_place_however_much_is_published() {
        let mut stage = Stage::new(config(), 64 << 10);
        let mut player = stage.player(Protocol::JsonV1, &json!({"type": "subscribe", "topics": ["t"], "max_hz": 0.1}));
        for number in 1..=500 {
            stage.publish(&stamp(number, 5));
            stage.turns(1, &mut player);
            player.reads();
        }
        assert_eq!(stage.shard.paced_cursors(), 1);
    }

    #[test]
    fn a_paced_message_that_found_no_room_does_not_wait_for_another_interval() {
        let mut stage = Stage::new(config(), 2_048);
        let mut player = stage.player(Protocol::JsonV1, &json!({"type": "subscribe", "topics": ["t"], "max_hz": 0.01}));
        stage.publish(&stamp(1, 3_000));
        stage.publish(&Stamp { priority: Priority::High, ..stamp(1, 3_000) });
        stage.publish(&Stamp { priority: Priority::Low, ..stamp(1, 3_000) });
        assert_eq!(stage.plays(20, &mut player), ["subscribed", "high 1", "normal 1", "low 1"]);
    }

    #[test]
    fn the_newest_of_a_key_that_leaves_the_log_is_told_as_lost() {
        let mut config = config();
        config.topics[0].policy = SlowPolicy::Latest;
        config.topics[0].lane_bytes = Some(16 << 10);
        let mut stage = Stage::new(config, 2_048);
        let mut player = stage.player(Protocol::JsonV1, &subscribe());
        stage.publish(&Stamp { key: 3, ..stamp(1, 4_000) });
        stage.publish(&Stamp { key: 1, ..stamp(2, 5) });
        for number in 3..=60 {
            stage.publish(&Stamp { key: 2, ..stamp(number, 1_000) });
            stage.turns(1, &mut player);
        }
        let heard = stage.plays(20, &mut player);
        let [subscribed, first, lost, newest] = &heard[..] else { panic!("{heard:?}") };
        assert_eq!((&**subscribed, &**first, &**newest), ("subscribed", "normal 1", "normal 60"));
        let to: u64 =
            lost.strip_prefix("normal lost 2 to ").and_then(|l| l.strip_suffix(": lag")).unwrap().parse().unwrap();
        assert_eq!(stage.stats().dropped_normal, to - 1);
    }

    #[test]
    fn a_batch_may_take_the_memory_of_the_message_that_comes_next() {
        let memory = MemoryConfig { pool_bytes: 32 << 10, lane_bytes: 32 << 10, ..MemoryConfig::default() };
        let mut stage = Stage::new(Config { memory, ..config() }, 64 << 10);
        let mut player = stage.player(Protocol::BatchV1, &subscribe());
        assert_eq!(stage.plays(2, &mut player), ["subscribed"]);
        // Most of the memory is held by something more important, for nobody.
        (1..=22).for_each(|number| stage.publish(&Stamp::new("u", Priority::High, 0, number, 0, 1_000)));
        for round in 0..30 {
            for number in 1..=10 {
                // Batches end where the kind changes, in the midst of deriving.
                let kind = (number / (1 + round % 4) % 2) as u8;
                stage.publish(&Stamp { kind, ..stamp(10 * round + number, 500 + 50 * (round as u32 % 8)) });
            }
            let mut next = 0;
            for said in stage.plays(6, &mut player) {
                let words: Vec<&str> =
                    said.split([' ', ':']).filter(|w| !["normal", "lost", "to"].contains(w)).collect();
                let (from, to): (u64, u64) = (words[0].parse().unwrap(), words[1].parse().unwrap());
                assert!(next == 0 || from == next, "{said} where {next} is next");
                next = to + 1;
            }
            assert_eq!(next, 10 * round + 11, "everything came, or was told lost");
        }
        assert!(stage.stats().dropped_normal > 0, "too much memory for this test");
    }

    /// What clients are told, by the millisecond: messages, some of which expire, a ping that nobody answers, the close for it, and
    /// the end of a connection that says nothing.
    fn timeline(wall_clock: impl Fn(u64) -> u64 + Send + Sync + 'static) -> Vec<String> {
        let mut config = config();
        config.limits.ping_every = Duration::from_secs(2);
        config.limits.handshake_timeout = Duration::from_secs(3);
        config.topics[0].retention =
            Retention::Last { messages: None, bytes: None, age: Some(Duration::from_secs(1_000_000_000)) };
        let mut stage = Stage::with_wall_clock(config, 64 << 10, wall_clock);
        let silent = stage.net.connect(0);
        let mut player = stage.player(Protocol::BatchV1, &subscribe());
        let (mut timeline, mut is_over) = (Vec::new(), false);
        for ms in 0..9_000u32 {
            if ms % 700 == 0 {
                stage.publish(&Stamp { ttl_ms: ms / 700 % 2 * 500, ..stamp(u64::from(ms) / 700 + 1, 5) });
            }
            timeline.extend(stage.plays(1, &mut player).into_iter().map(|said| format!("{ms}: {said}")));
            let read = silent.read(100, &mut Vec::new());
            if !is_over && read != Read::Nothing {
                timeline.push(format!("{ms}: silent: {read:?}"));
                is_over = true;
            }
        }
        timeline
    }

    #[test]
    fn steps_of_the_wall_clock_move_no_deadline() {
        const HOUR_NS: u64 = 3_600_000_000_000;
        // When it is 2 s, between the ping and the close for it.
        const STEP_NS: u64 = 2_500_000_000;
        let straight = timeline(wall_of);
        for happening in ["normal 1 to 1", "Ping", "silent: End", "Close(Some(1011))"] {
            assert!(straight.iter().any(|line| line.contains(happening)), "{happening}: {straight:#?}");
        }
        let stepped = |by: fn(u64) -> u64| move |now: u64| if now < STEP_NS { wall_of(now) } else { by(wall_of(now)) };
        assert_eq!(straight, timeline(stepped(|wall| wall - HOUR_NS)), "back");
        assert_eq!(straight, timeline(stepped(|wall| wall + HOUR_NS)), "forward");
        assert_eq!(straight, timeline(stepped(|_| 0)), "no clock at all");
        assert_eq!(straight, timeline(|_| wall_of(0)), "a clock that stands still");
        // What 32 bits of seconds hold, signed and unsigned, and 63 bits of nanoseconds, runs out at the step.
        for last in [i32::MAX as u64 * 1_000_000_000, u64::from(u32::MAX) * 1_000_000_000, i64::MAX as u64] {
            let wall = move |now: u64| (last - STEP_NS).saturating_add(now);
            assert_eq!(straight, timeline(wall), "{last} ns");
        }
    }

    #[test]
    fn who_subscribes_while_memory_is_used_up_loses_nothing_that_can_be_rendered_again() {
        let memory = MemoryConfig { pool_bytes: 32 << 10, lane_bytes: 32 << 10, ..MemoryConfig::default() };
        let mut stage = Stage::new(Config { memory, ..config() }, 2_048);
        let critical = |topic, number, filling| Stamp::new(topic, Priority::Critical, 0, number, 2, filling);
        stage.publish(&critical("u", 1, 5));
        let mut player = stage.player(Protocol::JsonV1, &subscribe());
        assert_eq!(stage.plays(2, &mut player), ["subscribed"]);
        (1..=11).for_each(|number| stage.publish(&critical("t", number, 1_000)));
        stage.turns(2, &mut player);
        assert_eq!((stage.stats().log_bytes, stage.stats().evicted), (32 << 10, 0), "memory is used up, just");
        // The log that this needs takes its memory from the rendered one that the client lags in, which is rendered again.
        player.asks(&json!({"type": "subscribe", "topics": ["u"]}));
        let heard = stage.plays(9, &mut player);
        let all: Vec<String> = (1..=11).map(|number| format!("critical {number}")).collect();
        assert!(all.iter().all(|said| heard.contains(said)), "{heard:?}");
        assert_eq!(heard.iter().filter(|said| *said == "critical 1").count(), 2, "of both topics: {heard:?}");
        assert_eq!(stage.stats().evicted, 0);
        player.wire.close();
        stage.turns(3, &mut player);
        assert_eq!((stage.stats().connections, stage.stats().cursors), (0, 0));
        stage.publish(&critical("u", 2, 5));
        stage.turns(2, &mut player);
    }
}
