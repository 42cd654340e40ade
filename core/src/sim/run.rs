//! Runs of the real engine: shards, ring, registry and mailboxes as in production, on the `sim` driver.
//!
//! The only file that knows how a shard is made and stepped.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;

use super::engine::{Engine, Scenario, Summary, Totals, Way};
use super::nature::{Fate, KEYS_FEW};
use super::payload::{Stamp, TINY};
use super::settings::{random_config, wall_of};
use super::traced::Heard;
use super::truth::{DIRECT, Truth};
use super::world::World;
use crate::access::{Allowed, Decision, Grants};
use crate::config::nanoseconds;
use crate::driver::Driver;
use crate::driver::sim::{Rng, SimDriver, SimNet, SimOptions};
use crate::epoch::Epochs;
use crate::event::{Event, Protocol};
use crate::failure::FailureRecord;
use crate::ingest::{Head, INLINE_MAX, PayloadPool, Reader, RecordKind, Ring};
use crate::outlet::{OUTLET_SHARD, Outflow, Outlet, OutletMessage};
use crate::proto::topic::Pattern;
use crate::registry::{Registry, User};
use crate::rules::Rules;
use crate::shard::trace::Note;
use crate::shard::{Command, Counted, Mailbox, REFUSAL_SLOTS, Shard, ShardStats, Shared, Turned, Wanted};
use crate::telemetry::Telemetry;
use crate::topic::key_number;
use crate::traces::{TraceFlow, Traces, TracesConfig};
use crate::types::{ConnectionId, Priority};

/// Random steps of one run.
pub const STEPS: u64 = 10_000;

/// The engine's parts without its threads.
struct Rig {
    shards: Vec<RefCell<Shard<SimDriver>>>,
    shared: Arc<Shared>,
    /// One more reader of the ring: sees what every shard sees.
    auditor: RefCell<Reader>,
    host: RefCell<Host>,
    closes: bool,
    /// See [`Engine::steps`].
    steps: Cell<(u64, [u32; 8])>,
}

/// What the host knows from its events.
#[derive(Default)]
struct Host {
    open: Vec<Open>,
    /// Where it gets everything that the first shard reads, in most runs.
    outlet: Option<Account>,
    /// What it hears of all messages, in some runs.
    traced: Option<Heard>,
    /// Those that it is asked about, and what they say of their fate.
    undecided: Vec<(ConnectionId, String)>,
    /// Messages by client.
    heard: BTreeMap<u32, u64>,
}

/// What came by an outlet.
struct Account {
    outlet: Outlet,
    /// Messages that came, and the last of each lane.
    came: u64,
    last: BTreeMap<(u64, String, Priority), u64>,
    /// Those of which the numbers are still to be looked at: epoch, topic, lane, number, and how many are missed before it.
    unseen: Vec<(u64, String, Priority, u64, u64)>,
}

impl Account {
    fn take(&mut self, most: u64) {
        for _ in 0..most {
            let Some(message) = self.outlet.next() else { return };
            let OutletMessage { topic, epoch, priority, seq, missed, kind, attributes, payload, .. } = message;
            if &*topic != TINY {
                let stamp =
                    Stamp::parse_claim(&payload).unwrap_or_else(|error| panic!("corrupt by the outlet: {error}"));
                assert_eq!((&*stamp.topic, stamp.priority, stamp.kind()), (&*topic, priority, kind), "{stamp:?}");
                let said = attributes.as_deref().unwrap_or_default();
                assert_eq!(said, stamp.attributes(), "{stamp:?}: attributes by the outlet");
            }
            self.unseen.push((epoch, topic.to_string(), priority, seq, missed));
            self.came += 1;
        }
    }

    /// Holds numbers and what was missed against what went through the ring.
    fn check(&mut self, truth: &Truth) {
        for (epoch, topic, priority, seq, missed) in self.unseen.drain(..) {
            let id = *truth.epochs.get(&epoch).unwrap_or_else(|| panic!("{epoch} by the outlet is no epoch"));
            let position = truth.at((id, priority), seq);
            let last = self.last.insert((epoch, topic.clone(), priority), position).unwrap_or(0);
            assert_eq!(position, last + 1 + missed, "{topic} {priority} {seq}: after {last}, and {missed} are missed");
        }
    }
}

struct Open {
    connection: ConnectionId,
    protocol: Protocol,
    /// Messages sent to it.
    sent: u64,
    /// The client behind it, and its last message.
    heard: Option<(u32, u64)>,
}

impl Host {
    fn hear(&mut self, event: Event) {
        let place = |open: &[Open], connection| {
            let place = open.iter().position(|o| o.connection == connection);
            place.unwrap_or_else(|| panic!("an event of {connection}, which is not open"))
        };
        match event {
            Event::Authorize { connection, headers, listener, .. } => {
                assert_eq!(listener, 0);
                assert!(headers.len() <= 1 && headers.iter().all(|(name, _)| name == Fate::HEADER), "{headers:?}");
                let fate = headers.first().map_or("denied".into(), |(_, value)| String::from_utf8_lossy(value));
                self.undecided.push((connection, fate.into_owned()));
            }
            Event::Opened { connection, protocol, .. } => {
                assert!(self.open.iter().all(|o| o.connection != connection), "{connection} opened twice");
                self.open.push(Open { connection, protocol, sent: 0, heard: None });
            }
            Event::Closed { connection, .. } => {
                let at = place(&self.open, connection);
                self.open.swap_remove(at);
            }
            Event::Message { connection, kind, payload } => {
                let at = place(&self.open, connection);
                let stamp = Stamp::parse(&payload).unwrap_or_else(|error| panic!("corrupt for the host: {error}"));
                assert_eq!((&*stamp.topic, stamp.kind()), (DIRECT, kind), "{stamp:?}");
                let (client, last) = self.open[at].heard.unwrap_or((stamp.publisher, 0));
                assert_eq!((stamp.publisher, stamp.number), (client, last + 1), "messages to the host come in order");
                self.open[at].heard = Some((client, stamp.number));
                *self.heard.entry(client).or_default() += 1;
            }
            Event::Subscribed { connection, .. } | Event::Unsubscribed { connection, .. } => {
                place(&self.open, connection);
            }
            _ => {}
        }
    }
}

impl Rig {
    /// Everything that the first shard reads from now on comes to the host, as far as there is room.
    fn open_outlet(&self, messages_max: usize, bytes_max: usize) {
        let outflow = Arc::new(Outflow::new(messages_max, bytes_max).expect("an eventfd"));
        let topics = vec![Pattern::parse("**").expect("a pattern")];
        let wanted = Wanted { topics, outflow: outflow.clone(), leaves_out_forwarded: false };
        let pushed = self.shared.mailboxes[OUTLET_SHARD].commands.push(Command::Outlet(Box::new(wanted)));
        assert!(pushed.is_ok(), "the first command");
        self.shared.ring.wake_reader(OUTLET_SHARD);
        let outlet = Outlet::new(outflow, &Arc::default()).expect("the first outlet");
        self.host.borrow_mut().outlet = Some(Account { outlet, came: 0, last: BTreeMap::new(), unseen: Vec::new() });
    }

    /// The host hears what befalls every message.
    fn trace(&self) {
        let flow = Arc::new(TraceFlow::new(&TracesConfig { sample: 1.0, events_max: 10_000 }).expect("an eventfd"));
        for (shard, mailbox) in self.shared.mailboxes.iter().enumerate() {
            assert!(mailbox.commands.push(Command::Trace(flow.clone())).is_ok(), "one of the first commands");
            self.shared.ring.wake_reader(shard);
        }
        let traces = Traces::new(flow, &Arc::default()).expect("the first");
        self.host.borrow_mut().traced = Some(Heard::new(traces));
    }

    /// The host decides on some that it is asked about, in any order, at times twice and of those that are gone.
    fn decide(&self, host: &mut Host, rng: &mut Rng, settling: bool) {
        let most = if settling { host.undecided.len() } else { rng.below(4) as usize };
        for _ in 0..most.min(host.undecided.len()) {
            let at = rng.index(host.undecided.len());
            let (connection, fate) = host.undecided.swap_remove(at);
            let all = Allowed::Everything;
            let subject = (connection.slot() % 3 > 0).then(|| format!("u{}", connection.slot() % 3));
            let everything = Grants { subscribe: all.clone(), publish: all, lifetime: None, subject };
            let decisions = match &*fate {
                "allowed" => vec![Decision::Allow(everything), Decision::Forbidden],
                "denied" => vec![Decision::Forbidden, Decision::Allow(everything)],
                _ => vec![],
            };
            let count = if rng.chance(300) { 2 } else { 1 };
            for decision in decisions.into_iter().take(count) {
                let command = Command::Decide { connection, decision: Box::new(decision) };
                if self.shared.mailboxes[connection.shard() as usize].commands.push(command).is_err() {
                    break;
                }
                self.shared.ring.wake_reader(connection.shard() as usize);
            }
        }
    }

    /// As the engine does it.
    fn order(&self, command: impl Fn() -> Command) {
        self.shared.ring.close();
        for (shard, mailbox) in self.shared.mailboxes.iter().enumerate() {
            mailbox.commands.force_push(command());
            self.shared.ring.wake_reader(shard);
        }
    }
}

impl Engine for Rig {
    fn shards(&self) -> usize {
        self.shards.len()
    }

    fn turn(&self, shard: usize, may_wait: bool) -> bool {
        let mut shard = self.shards[shard].borrow_mut();
        let turned = shard.turn(may_wait).expect("the sim driver never fails");
        shard.check_budgets();
        let (mut most, mut over) = self.steps.get();
        let work = shard.last_work();
        most = most.max(work.steps());
        over.iter_mut().zip(work.overshoots()).for_each(|(most, steps)| *most = (*most).max(steps));
        self.steps.set((most, over));
        shard.check_nothing_is_forgotten();
        turned == Turned::Ended
    }

    fn take_notes(&self, shard: usize) -> Vec<Note> {
        self.shards[shard].borrow_mut().take_notes()
    }

    fn drop_derived(&self, shard: usize, rng: &mut Rng) {
        if let Ok(mut shard) = self.shards[shard].try_borrow_mut() {
            let at_once = rng.chance(500);
            shard.drop_derived(at_once, || rng.chance(300));
        }
    }

    fn publish(&self, stamp: &Stamp, seq: u64, way: Way) -> bool {
        let Shared { ring, payloads, registry, .. } = &*self.shared;
        let time_ns = (self.shared.wall_ns)();
        let opened = registry.open(&stamp.topic, User::Publisher, self.shared.to_ring(), true);
        let Ok(topic) = opened.map(|opened| opened.id) else { return false };
        let key = stamp.key_name().map_or(0, |name| key_number(&name));
        let ttl_ms = stamp.ttl_ms;
        let head = Head { time_ns, key, ttl_ms, seq, ..Head::message(topic, stamp.priority, stamp.kind()) };
        let (payload, attributes) = (&stamp.render()[..], &stamp.attributes()[..]);
        let by_reference = match way {
            Way::Copy if attributes.is_empty() && payload.len() <= INLINE_MAX => {
                return ring.try_publish(&head, payload).is_ok();
            }
            Way::Copy if attributes.len() + payload.len() <= INLINE_MAX => {
                return ring.try_publish_with(&head, attributes, payload).is_ok();
            }
            Way::Copy => payloads.copy_from(payload),
            Way::Claim => payloads.claim(payload.len()).map(|mut claim| {
                claim.copy_from_slice(payload);
                claim.freeze()
            }),
            Way::Reference => payloads.adopt(Bytes::copy_from_slice(payload)).ok(),
        };
        by_reference.is_some_and(|payload| ring.try_publish_shared_with(&head, attributes, payload).is_ok())
    }

    fn remove(&self, topic: &str) -> bool {
        self.shared.registry.remove(topic, self.shared.to_ring()).is_ok_and(|was_there| was_there)
    }

    fn audit(&self, truth: &mut Truth) -> u64 {
        let mut auditor = self.auditor.borrow_mut();
        let mut records = 0;
        while let Some(record) = auditor.next() {
            records += 1;
            let topic = record.head.topic;
            match record.head.kind {
                RecordKind::Message => truth.on_message(&record.head, record.attributes, record.body.bytes()),
                RecordKind::TopicCreated => {
                    let name = std::str::from_utf8(record.body.bytes()).expect("a topic's name is UTF-8");
                    truth.on_created(topic, name, record.head.seq);
                }
                RecordKind::TopicRemoved => truth.on_removed(topic),
                RecordKind::TopicPolicy | RecordKind::Epoch => {}
            }
        }
        auditor.release();
        if let Some(account) = &mut self.host.borrow_mut().outlet {
            account.check(truth);
        }
        records
    }

    fn host_act(&self, rng: &mut Rng, settling: bool) {
        let mut host = self.host.borrow_mut();
        for mailbox in &self.shared.mailboxes {
            for _ in 0..if settling { 1_000 } else { rng.below(20) } {
                let Some(event) = mailbox.events.pop() else { break };
                host.hear(event);
            }
        }
        self.decide(&mut host, rng, settling);
        if let Some(account) = &mut host.outlet {
            account.take(if settling { u64::MAX } else { rng.skewed(40) });
        }
        if let Some(traced) = &mut host.traced {
            traced.take();
        }
        if settling || host.open.is_empty() {
            return;
        }
        let at = rng.index(host.open.len());
        let Open { connection, protocol, sent, .. } = &mut host.open[at];
        let connection = *connection;
        let mailbox = &self.shared.mailboxes[connection.shard() as usize];
        let command = if *protocol == Protocol::Raw && rng.chance(700) {
            let (kind, filling) = (rng.below(3) as u8, rng.skewed(20_000) as u32);
            let stamp = Stamp::new(DIRECT, Priority::Normal, 0, *sent + 1, kind, filling);
            let Some(payload) = self.shared.payloads.copy_from(&stamp.render()) else { return };
            *sent += 1;
            Command::Send { connection, kind: stamp.kind(), payload }
        } else if self.closes {
            Command::Close { connection, code: 4321, reason: "the host's wish".into() }
        } else {
            return;
        };
        match mailbox.commands.push(command) {
            Ok(()) => self.shared.ring.wake_reader(connection.shard() as usize),
            Err(Command::Send { .. }) => *sent -= 1,
            Err(_) => {}
        }
    }

    fn check_traces(&self, messages: u64) {
        if let Some(traced) = &mut self.host.borrow_mut().traced {
            traced.check(messages);
        }
    }

    fn by_outlet(&self) -> Option<u64> {
        let mut host = self.host.borrow_mut();
        let account = host.outlet.as_mut()?;
        account.take(u64::MAX);
        Some(account.came + account.outlet.lost())
    }

    fn heard(&self, client: u32) -> u64 {
        self.host.borrow().heard.get(&client).copied().unwrap_or(0)
    }

    fn has_commands(&self, shard: usize) -> bool {
        !self.shared.mailboxes[shard].commands.is_empty()
    }

    fn drain(&self, within_ns: u64) {
        let window_ns = nanoseconds(self.shared.config.limits.close_window).min(within_ns / 2);
        self.order(|| Command::Drain { within_ns, window_ns });
    }

    fn stop(&self) {
        self.order(|| Command::Stop);
    }

    fn check_memory(&self) {
        let memory = &self.shared.config.memory;
        let shards = self.shards.len();
        for mailbox in &self.shared.mailboxes {
            let stats = mailbox.counters.read();
            assert!(stats.log_bytes as usize <= memory.pool_bytes / shards, "{} bytes of log memory", stats.log_bytes);
            let remainders = stats.remainder_bytes as usize;
            assert!(remainders <= memory.remainder_bytes / shards, "{remainders} bytes of half-sent frames");
        }
        let addresses = self.shared.counted.addresses.len();
        assert!(addresses <= 2, "{addresses} addresses, where clients come from two");
        for mailbox in &self.shared.mailboxes {
            // What may still be said: of each connection its opening, its end, and what one request brought it.
            let config = &self.shared.config;
            let most = config.events.capacity as u64 + 40 * u64::from(config.connections_max + REFUSAL_SLOTS);
            let waiting = mailbox.counters.read().events_waiting;
            assert!(waiting <= most, "{waiting} events wait for the host, more than {most}");
        }
        let payloads = &self.shared.payloads;
        assert!(payloads.used_bytes() <= payloads.limit_bytes(), "{} bytes of payloads", payloads.used_bytes());
    }

    fn check_attributes(&self, truth: &Truth) {
        for shard in &self.shards {
            let said = |lane, position| truth.sent(lane, position).stamp.attributes();
            shard.borrow().check_attributes(said);
        }
    }

    fn steps(&self) -> (u64, [u32; 8]) {
        self.steps.get()
    }

    fn totals(&self) -> Totals {
        let stats: Vec<ShardStats> = self.shared.mailboxes.iter().map(|m| m.counters.read()).collect();
        let sum = |count: fn(&ShardStats) -> u64| stats.iter().map(count).sum();
        Totals {
            connections: sum(|s| s.connections),
            dropped: [
                sum(|s| s.dropped_critical),
                sum(|s| s.dropped_high),
                sum(|s| s.dropped_normal),
                sum(|s| s.dropped_low),
            ],
            heard: self.host.borrow().heard.values().sum(),
            events_waiting: sum(|s| s.events_waiting),
            senders_paused: sum(|s| s.senders_paused),
            cursors: sum(|s| s.cursors),
            remainder_bytes: sum(|s| s.remainder_bytes),
            evicted: sum(|s| s.evicted),
            unlogged: sum(|s| s.unlogged),
            derived: (sum(|s| s.encoded), sum(|s| s.compressed), sum(|s| s.rebuilt)),
            messages: (
                stats.iter().map(|s| s.messages).min().unwrap_or(0),
                stats.iter().map(|s| s.messages).max().unwrap_or(0),
            ),
            out_of_order: (
                stats.iter().map(|s| s.out_of_order).min().unwrap_or(0),
                stats.iter().map(|s| s.out_of_order).max().unwrap_or(0),
            ),
        }
    }
}

/// One run of the whole engine. Panics where a rule is broken.
pub fn run_seed(seed: u64, steps: u64) -> Summary {
    run(Rng::new(seed), steps)
}

/// Any bytes at all are a run: they decide what would be chance, until they end. Panics where a rule is broken.
pub fn from_bytes(bytes: &[u8]) -> Summary {
    run(Rng::on_tape(bytes), STEPS)
}

fn run(mut rng: Rng, steps: u64) -> Summary {
    let shards = rng.between(1, 3) as usize;
    let config = random_config(&mut rng, shards);
    let scenario = Scenario {
        steps,
        clients: *rng.pick(&[3, 10, 30]),
        leaps: rng.chance(200),
        removes: rng.chance(200),
        burst_max: *rng.pick(&[8, 30, 200]),
        filling_max: *rng.pick(&[100, 2_000, 2_000, 40_000]),
        keys: *rng.pick(&[KEYS_FEW, KEYS_FEW, 300]),
        wide: *rng.pick(&[0, 0, 0, 300]),
        is_crowded: rng.chance(200),
        // Drawn already, so that no draw of chance is another than before.
        numbers: config.topics_max == 1_000,
        host_listens: config.events.messages,
        drops_derived: *rng.pick(&[0, 0, 5, 50]),
        pings: !config.limits.ping_every.is_zero(),
    };
    let mut options = SimOptions::seeded(&mut rng);
    options.limits.slots = config.connections_max + REFUSAL_SLOTS;
    let net = SimNet::new(rng.next_u64(), options);

    let (ring, mut readers) = Ring::new(config.memory.ring_bytes, shards + 1).expect("a legal ring");
    let auditor = readers.pop().expect("one reader more than shards");
    let clock = net.clock();
    let connections_max = config.connections_max;
    let shared = Arc::new(Shared {
        rules: Rules::new(&config),
        listening: config.listen.clone(),
        epochs: Epochs::from_random(rng.next_u64()),
        payloads: Arc::new(PayloadPool::new(config.memory.payload_bytes)),
        registry: Registry::new(config.topics_max),
        mailboxes: (0..shards).map(|_| Mailbox::new(64, config.events.capacity).into()).collect(),
        open: AtomicU32::new(0),
        counted: Counted::of(&config, shards as u32),
        tls: None,
        telemetry: Telemetry::new(&config, 0),
        failure: FailureRecord::default(),
        wall_ns: Box::new(move || wall_of(clock.load(Ordering::Relaxed))),
        bell: Box::new(|| {}),
        config,
        ring,
    });

    let world: Rc<RefCell<Weak<World>>> = Rc::new(RefCell::new(Weak::new()));
    let shards = readers
        .into_iter()
        .enumerate()
        .map(|(number, reader)| {
            let mut driver = net.driver(number);
            let world = world.clone();
            driver.on_sleep(Box::new(move |until| {
                let world = world.borrow().upgrade();
                world.expect("the world outlives its shards' turns").on_sleep(number, until);
            }));
            let waker = driver.waker();
            reader.set_waker(Arc::new(move || waker.wake()));
            RefCell::new(Shard::new(
                number as u8,
                driver,
                shared.clone(),
                reader,
                connections_max + crate::shard::REFUSAL_SLOTS,
            ))
        })
        .collect();
    let rig = Rig {
        shards,
        shared: shared.clone(),
        auditor: RefCell::new(auditor),
        host: RefCell::default(),
        closes: rng.chance(200),
        steps: Cell::default(),
    };
    if rng.chance(600) {
        rig.open_outlet(*rng.pick(&[1, 8, 1_000]), *rng.pick(&[1_000, 80_000]));
    }
    // Without a draw, so that none of chance is another than before.
    if rig.shards.len() != 2 {
        rig.trace();
    }
    let mut truth = Truth::new(shared.config.topics.clone(), shared.mailboxes.len());
    truth.deflate = shared.config.compression.deflate;
    truth.limits_addresses = shared.config.limits.connections_per_address_max > 0;
    truth.limits_senders = shared.config.limits.limits_senders();
    truth.asks_host = shared.config.access.ask_host.is_some();
    let whole = World::new(net, Rc::new(rig), scenario, truth, rng.fork());
    *world.borrow_mut() = Rc::downgrade(&whole);
    let summary = whole.run();
    drop(whole);
    assert_eq!(
        shared.counted.addresses.connected(),
        0,
        "connections are counted for an address that has none any more"
    );
    assert_eq!(shared.counted.subjects.len(), 0, "connections are counted for a subject that has none any more");
    let payloads = shared.payloads.clone();
    drop(shared);
    payloads.reclaim();
    let kept = payloads.used_bytes();
    assert_eq!(kept, 0, "{kept} bytes of payloads outlive their engine");
    summary
}
