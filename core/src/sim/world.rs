//! One simulated world: an engine, a network, clients and a host, stepped in a seeded order under virtual time.
//!
//! A sleeping shard really sleeps here: its driver's wait runs the rest of the world (clients, publishers, time, the other
//! shards) until something is due for it. So a wake that is not given shows, as it would in production.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;

use super::client::{Client, Outcome};
use super::engine::{Engine, Scenario, Summary, Way};
use super::nature::{BROKERED, CLIENT_TOPICS, CROWDED, Fate, Nature, TOPICS, WIDE, laggard, random_nature};
use super::payload::{Stamp, TINY};
use super::settings::{HANDSHAKE_NS, MESSAGE_NS, wall_of};
use super::truth::Truth;
use super::vandal::Vandal;
use super::view::Since;
use crate::driver::sim::{Rng, SimNet, SimSocket};
use crate::types::Priority;

/// Time that an orderly end gets.
const DRAIN_NS: u64 = 30_000_000_000;

#[derive(Clone, Copy, Debug)]
struct Sleeper {
    shard: usize,
    until: u64,
    /// Ring records when it fell asleep: it has read them all.
    records: u64,
}

struct State {
    rng: Rng,
    clients: Vec<Client>,
    vandals: Vec<Vandal>,
    truth: Truth,
    records: u64,
    numbers: BTreeMap<(String, Priority), u64>,
    /// The last number that the broker gave in each of its lanes.
    brokered: BTreeMap<(String, Priority), u64>,
    peers: u32,
    leapt: bool,
    /// What clients whose connection is over would go on from.
    legacies: Vec<BTreeMap<String, Since>>,
}

/// See the module's head.
pub struct World {
    net: SimNet,
    engine: Rc<dyn Engine>,
    scenario: Scenario,
    state: RefCell<State>,
    asleep: RefCell<Vec<Sleeper>>,
    /// Ring records at the end of each shard's last turn.
    seen: RefCell<Vec<u64>>,
    ended: RefCell<Vec<bool>>,
    steps_left: Cell<u64>,
    settling: Cell<bool>,
}

impl World {
    /// A world around `engine`, whose drivers are on `net`. The drivers' sleep hooks must call [`World::on_sleep`].
    pub fn new(net: SimNet, engine: Rc<dyn Engine>, scenario: Scenario, truth: Truth, rng: Rng) -> Rc<World> {
        let shards = engine.shards();
        Rc::new(World {
            net,
            engine,
            state: RefCell::new(State {
                rng,
                clients: Vec::new(),
                vandals: Vec::new(),
                truth,
                records: 0,
                numbers: BTreeMap::new(),
                brokered: BTreeMap::new(),
                peers: 0,
                leapt: false,
                legacies: Vec::new(),
            }),
            asleep: RefCell::new(Vec::new()),
            seen: RefCell::new(vec![0; shards]),
            ended: RefCell::new(vec![false; shards]),
            steps_left: Cell::new(scenario.steps),
            settling: Cell::new(false),
            scenario,
        })
    }

    /// The whole run. Panics where a rule is broken.
    pub fn run(&self) -> Summary {
        for shard in 0..self.engine.shards() {
            self.connect_witness(shard);
        }
        while self.steps_left.get() > 0 {
            self.step();
        }
        self.settle();
        self.check_settled();
        self.end()
    }

    /// To be called by a driver that would sleep.
    pub fn on_sleep(&self, shard: usize, until: u64) {
        if self.settling.get() {
            return;
        }
        self.audit();
        let records = self.state.borrow().records;
        let seen = self.seen.borrow()[shard];
        assert_eq!(seen, records, "shard {shard} falls asleep over records that came after its last turn");
        assert!(!self.engine.has_commands(shard), "shard {shard} falls asleep over commands");
        self.asleep.borrow_mut().push(Sleeper { shard, until, records });
        while self.steps_left.get() > 0 && !self.is_due(shard, until) {
            let others: Vec<Sleeper> = self.asleep.borrow().clone();
            let other_is_due = others.iter().any(|s| s.shard != shard && self.is_due(s.shard, s.until));
            // Whoever lies deeper in the stack must be let out; that ends this sleep early, which a driver may do.
            if other_is_due && self.state.borrow_mut().rng.chance(700) {
                break;
            }
            self.step();
        }
        self.asleep.borrow_mut().retain(|s| s.shard != shard);
    }

    fn is_due(&self, shard: usize, until: u64) -> bool {
        self.net.now_ns() >= until || self.net.is_due(shard)
    }

    /// One step of whatever may happen now.
    fn step(&self) {
        let is_over = self.state.borrow().rng.is_at_end();
        self.steps_left.set(if is_over { 0 } else { self.steps_left.get() - 1 });
        let awake = self.awake();
        let dice = self.state.borrow_mut().rng.below(1000);
        match dice {
            0..400 if !awake.is_empty() => {
                let (shard, may_wait) = {
                    let rng = &mut self.state.borrow_mut().rng;
                    (*rng.pick(&awake), rng.chance(900))
                };
                self.turn(shard, may_wait);
            }
            0..400 => self.pass_time(),
            400..800 => self.client_acts(),
            800..850 => self.host_publishes(),
            850..860 => self.newcomers(),
            860..870 => self.vandal_acts(),
            870..880 => {
                let mut rng = self.state.borrow_mut().rng.fork();
                self.engine.host_act(&mut rng, false);
            }
            880..883 if self.scenario.removes => self.host_removes(),
            _ => self.pass_time(),
        }
        if self.state.borrow_mut().rng.chance(self.scenario.drops_derived) {
            self.drop_derived();
        }
        self.audit();
        self.check_wakes();
        self.engine.check_memory();
    }

    fn awake(&self) -> Vec<usize> {
        let asleep = self.asleep.borrow();
        let ended = self.ended.borrow();
        (0..self.engine.shards()).filter(|s| !ended[*s] && asleep.iter().all(|a| a.shard != *s)).collect()
    }

    fn turn(&self, shard: usize, may_wait: bool) {
        if !self.ended.borrow()[shard] {
            let ended = self.engine.turn(shard, may_wait);
            self.ended.borrow_mut()[shard] = ended;
            self.audit();
            self.seen.borrow_mut()[shard] = self.state.borrow().records;
            self.take_notes(shard);
        }
    }

    /// Asks a shard what it has done.
    fn take_notes(&self, shard: usize) {
        let notes = self.engine.take_notes(shard);
        let totals = self.engine.totals();
        let truth = &mut self.state.borrow_mut().truth;
        truth.on_notes(shard as u8, self.net.turns(shard), notes, self.net.take_accepted(shard));
        truth.memory_ran_out |= totals.unlogged > 0;
        truth.rebuilt[shard] = totals.derived.2;
    }

    /// Derived logs may be dropped at any moment: they are built again, and nobody notices.
    fn drop_derived(&self) {
        let shard = self.state.borrow_mut().rng.index(self.engine.shards());
        if !self.ended.borrow()[shard] && self.asleep.borrow().iter().all(|a| a.shard != shard) {
            let mut rng = self.state.borrow_mut().rng.fork();
            self.engine.drop_derived(shard, &mut rng);
            self.take_notes(shard);
        }
    }

    fn audit(&self) {
        let mut state = self.state.borrow_mut();
        let State { truth, records, .. } = &mut *state;
        *records += self.engine.audit(truth);
    }

    /// A record that came while a shard sleeps must have woken it.
    fn check_wakes(&self) {
        let records = self.state.borrow().records;
        for sleeper in self.asleep.borrow().iter() {
            let has_news = records > sleeper.records || self.engine.has_commands(sleeper.shard);
            assert!(
                !has_news || self.net.is_woken(sleeper.shard),
                "lost wake-up: shard {} sleeps with {} unread records, or commands",
                sleeper.shard,
                records - sleeper.records
            );
        }
    }

    fn pass_time(&self) {
        let now = self.net.now_ns();
        let mut next = u64::MAX;
        for sleeper in self.asleep.borrow().iter() {
            next = next.min(sleeper.until).min(self.net.next_due(sleeper.shard).unwrap_or(u64::MAX));
        }
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let by = if self.scenario.leaps && state.rng.chance(5) {
            state.leapt = true;
            state.rng.skewed(120_000_000_000)
        } else if next != u64::MAX && state.rng.chance(100) {
            next.saturating_sub(now).min(1_000_000_000)
        } else {
            state.rng.skewed(2_000_000)
        };
        self.net.advance_to(now + by);
    }

    fn client_acts(&self) {
        let now = self.net.now_ns();
        let mut state = self.state.borrow_mut();
        let State { rng, clients, truth, legacies, .. } = &mut *state;
        for _ in 0..rng.between(1, 8) {
            if !clients.is_empty() {
                let client = rng.index(clients.len());
                let client = &mut clients[client];
                let was_alive = client.is_alive();
                client.act(now, truth);
                if was_alive && !client.is_alive() && client.upgraded && !client.nature.is_raw() {
                    legacies.push(client.view.legacy(truth));
                }
            }
        }
    }

    fn host_publishes(&self) {
        let mut state = self.state.borrow_mut();
        let State { rng, numbers, brokered, .. } = &mut *state;
        let mut topic = *rng.pick(&TOPICS);
        let mut priority = *rng.pick(&Priority::ALL);
        if self.scenario.is_crowded && rng.chance(400) {
            (topic, priority) = (CROWDED, Priority::Critical);
        }
        let wide;
        if self.scenario.wide > 0 && rng.chance(400) {
            wide = format!("{WIDE}{}", rng.below(self.scenario.wide));
            topic = &wide;
        }
        let count = if rng.chance(50) { rng.skewed(self.scenario.burst_max) } else { rng.skewed(8) };
        for _ in 0..count {
            let priority = if topic == TINY {
                Priority::Normal
            } else if rng.chance(200) {
                *rng.pick(&Priority::ALL)
            } else {
                priority
            };
            let number = numbers.entry((topic.to_owned(), priority)).or_default();
            let mut stamp = if topic == TINY {
                Stamp::tiny(*number + 1)
            } else {
                let (kind, filling) = (rng.below(3) as u8, rng.skewed(self.scenario.filling_max) as u32);
                Stamp::new(topic, priority, 0, *number + 1, kind, filling)
            };
            if topic != TINY {
                if rng.chance(30) {
                    stamp.fill_to_an_edge(rng, self.scenario.filling_max as u32);
                }
                stamp.season(self.scenario.keys, rng);
                stamp.is_broken = stamp.kind == 2 && rng.chance(50);
            }
            let way = *rng.pick(&[Way::Copy, Way::Copy, Way::Claim, Way::Reference]);
            let is_brokered = self.scenario.numbers && BROKERED.contains(&topic);
            let seq = if is_brokered {
                next_of_broker(brokered.entry((topic.to_owned(), priority)).or_default(), rng)
            } else {
                0
            };
            if !self.engine.publish(&stamp, seq, way) {
                break;
            }
            *number += 1;
        }
    }

    fn host_removes(&self) {
        let topic = *self.state.borrow_mut().rng.pick(&TOPICS[..TOPICS.len() - CLIENT_TOPICS.len()]);
        self.engine.remove(topic);
    }

    fn newcomers(&self) {
        let (count, vandal) = {
            let rng = &mut self.state.borrow_mut().rng;
            (if rng.chance(200) { rng.skewed(8) } else { 1 }, rng.chance(150))
        };
        for _ in 0..count {
            if vandal {
                self.connect_vandal();
                continue;
            }
            let alive = self.state.borrow().clients.iter().filter(|c| c.is_alive()).count();
            if alive < self.scenario.clients {
                self.connect_client();
            }
        }
    }

    fn connect(&self, is_local: bool) -> ((SimSocket, usize), u32) {
        let (shard, number) = {
            let mut state = self.state.borrow_mut();
            state.peers += 1;
            (state.rng.index(self.engine.shards()), state.peers)
        };
        ((self.connect_to(shard, is_local, number), shard), number)
    }

    fn connect_to(&self, shard: usize, is_local: bool, number: u32) -> SimSocket {
        let ip = if is_local { Ipv4Addr::LOCALHOST } else { Ipv4Addr::new(10, 0, 0, 1) };
        self.net.connect_from(shard, SocketAddr::new(IpAddr::V4(ip), 1024 + (number % 60_000) as u16))
    }

    fn connect_witness(&self, shard: usize) {
        let number = {
            let mut state = self.state.borrow_mut();
            state.peers += 1;
            state.peers
        };
        let socket = self.connect_to(shard, true, number);
        socket.protect();
        let mut state = self.state.borrow_mut();
        let rng = &mut state.rng;
        let (nature, rng) = (Nature::witness(rng), rng.fork());
        let now_ns = self.net.now_ns();
        state.clients.push(Client::new(number, nature, (socket, shard), BTreeMap::new(), now_ns, rng));
    }

    fn connect_client(&self) {
        let mut nature = {
            let rng = &mut self.state.borrow_mut().rng;
            match self.scenario.is_crowded && rng.chance(600) {
                true => laggard(rng),
                false => random_nature(rng, self.scenario.host_listens),
            }
        };
        let (socket, number) = self.connect(!nature.hostile);
        let mut state = self.state.borrow_mut();
        let State { rng, legacies, .. } = &mut *state;
        let mut since = BTreeMap::new();
        if !nature.is_raw() && !legacies.is_empty() && rng.chance(700) {
            let legacy = rng.index(legacies.len());
            since = legacies.swap_remove(legacy);
            since.values_mut().for_each(|since| misremember(since, rng));
            // Whatever it asks for, that is the beginning of; and nothing was asked for before.
            nature.churns = 0;
            nature.target.clear();
        }
        let rng = rng.fork();
        let now_ns = self.net.now_ns();
        state.clients.push(Client::new(number, nature, socket, since, now_ns, rng));
    }

    fn connect_vandal(&self) {
        let ((socket, _), _) = self.connect(true);
        let mut state = self.state.borrow_mut();
        let vandal = Vandal::new(socket, &mut state.rng);
        state.vandals.push(vandal);
    }

    fn vandal_acts(&self) {
        let mut state = self.state.borrow_mut();
        let State { rng, vandals, .. } = &mut *state;
        if !vandals.is_empty() {
            let i = rng.index(vandals.len());
            vandals[i].act(rng, 200);
        }
    }

    /// No more news, no more faults; everybody reads; until nothing moves any more.
    fn settle(&self) {
        self.settling.set(true);
        self.net.with_options(|options| options.calm_down());
        for client in &mut self.state.borrow_mut().clients {
            client.settle();
        }
        self.come_to_rest();
        // Connections that linger after their close frame are given up after five seconds; paced cursors wait for their time.
        let until = self.net.now_ns() + 6_000_000_000;
        while self.net.now_ns() < until || (!self.is_tidy() && self.net.now_ns() < until + 1_000_000_000) {
            self.net.advance_to(self.net.now_ns() + 50_000_000);
            self.round();
        }
        self.come_to_rest();
    }

    /// Until nothing has moved for a while.
    fn come_to_rest(&self) {
        let mut quiet = 0;
        for _ in 0..200_000 {
            let before = self.progress();
            self.round();
            let totals = self.engine.totals();
            let is_quiet = totals.events_waiting == 0
                && totals.senders_paused == 0
                && self.state.borrow().clients.iter().all(|c| !c.is_alive() || c.is_quiet());
            quiet = if is_quiet && self.progress() == before { quiet + 1 } else { 0 };
            if quiet > 30 {
                return;
            }
        }
        panic!("the world never settles: {:?}", self.stragglers());
    }

    fn progress(&self) -> (u64, u64, u64) {
        (self.net.bytes_moved(), self.state.borrow().records, self.engine.totals().heard)
    }

    /// Every shard and every client once; a little time passes.
    fn round(&self) {
        for shard in 0..self.engine.shards() {
            self.turn(shard, true);
        }
        self.audit();
        let mut host_rng = self.state.borrow_mut().rng.fork();
        self.engine.host_act(&mut host_rng, true);
        let now = self.net.now_ns();
        let mut state = self.state.borrow_mut();
        let State { rng, clients, vandals, truth, .. } = &mut *state;
        for client in clients.iter_mut() {
            client.act(now, truth);
        }
        for vandal in vandals.iter_mut() {
            vandal.act(rng, 0);
        }
        // What was delayed before the faults ended becomes due: time goes from one such moment to the next.
        let due = (0..self.engine.shards()).filter_map(|shard| self.net.next_due(shard)).filter(|due| *due > now).min();
        self.net.advance_to(due.unwrap_or(now + 5_000_000).clamp(now + 100_000, now + 50_000_000));
    }

    fn stragglers(&self) -> Vec<String> {
        let state = self.state.borrow();
        let alive = state.clients.iter().filter(|c| c.is_alive());
        alive.map(|c| format!("client {} {:?}: {}", c.number, c.nature, c.describe())).collect()
    }

    fn check_settled(&self) {
        let state = self.state.borrow();
        let truth = &state.truth;
        for client in &state.clients {
            self.check_outcome(client, &state);
            if client.is_open() && !client.misbehaved {
                self.check_complete(client, truth);
            }
        }
        let totals = self.engine.totals();
        let messages = truth.messages;
        assert_eq!(totals.messages, (messages, messages), "messages read by the shards");
        let late = truth.out_of_order;
        assert_eq!(totals.out_of_order, (late, late), "messages whose number came too late");
        self.engine.check_attributes(truth);
        self.engine.check_traces(messages);
        let by_outlet = self.engine.by_outlet();
        assert!(by_outlet.is_none_or(|count| count == messages), "{by_outlet:?} of {messages} by the outlet");
        assert_eq!(truth.ledger.lost, totals.dropped, "messages lost: in notes, and in the counters");
        for priority in Priority::ALL {
            let p = priority as usize;
            let told = truth.announced[p] + truth.raw_holes[p];
            assert!(told <= totals.dropped[p], "{priority}: {told} messages missing, {} counted", totals.dropped[p]);
        }
        drop(state);
        assert!(self.is_tidy(), "{} connections are more than those whose clients live", totals.connections);
    }

    /// Whether the engine has just the connections that are not over.
    fn is_tidy(&self) -> bool {
        let state = self.state.borrow();
        let clients = state.clients.iter().filter(|c| c.is_alive()).count() as u64;
        let vandals = state.vandals.iter().filter(|v| !v.ended).count() as u64;
        (clients..=clients + vandals).contains(&self.engine.totals().connections)
    }

    fn check_complete(&self, client: &Client, truth: &Truth) {
        let wall_ns = wall_of(self.net.now_ns());
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            if !client.nature.is_raw() && client.upgraded {
                client.view.check_complete(truth, wall_ns);
            } else if client.upgraded && !self.scenario.removes {
                client.raw.check_complete(truth, wall_ns);
            }
            let published = match client.nature.topics.is_empty() {
                true => self.engine.heard(client.number),
                false => truth.by_publisher.get(&client.number).copied().unwrap_or(0),
            };
            assert_eq!(client.unknown, 0, "names that it never had, of which it is still to be told so");
            if !client.errors.iter().any(|code| code == "not_allowed" || code == "too_many_topics") {
                assert_eq!(published, client.handed, "messages published by this client");
            }
        }));
        if let Err(panic) = checked {
            eprintln!(
                "in the account of client {}, {:?}: {}, errors {:?}",
                client.number,
                client.nature,
                client.describe(),
                client.errors
            );
            std::panic::resume_unwind(panic);
        }
    }

    /// A well-behaved client is turned away only for a reason.
    fn check_outcome(&self, client: &Client, state: &State) {
        let wrong = |what: &str| panic!("client {} {:?}: {:?}: {what}", client.number, client.nature, client.outcome);
        for code in &client.errors {
            let known = [
                "bad_json",
                "bad_msgpack",
                "bad_message",
                "bad_topic",
                "not_allowed",
                "not_subscribed",
                "too_many_subscriptions",
                "too_many_topics",
            ];
            assert!(known.contains(&&**code), "error {code}");
        }
        if client.misbehaved {
            return;
        }
        match client.outcome {
            Outcome::Alive | Outcome::Left | Outcome::Refused(503) => {}
            // Only what was too slow.
            Outcome::Refused(408) if client.lived_ns.1 - client.lived_ns.0 >= HANDSHAKE_NS => {}
            Outcome::Refused(403) if state.truth.asks_host && client.nature.fate == Fate::Denied => {}
            Outcome::Refused(429) if state.truth.limits_addresses => {}
            Outcome::Refused(_) => wrong("the request was good"),
            Outcome::Closed { code: 1013, by_server: true } => {}
            Outcome::Closed { code: 1011, by_server: true } if self.scenario.pings => {}
            Outcome::Closed { code: 1008, by_server: true } if state.truth.limits_senders => {}
            // Time has leapt while it was sending a message, or its link is as slow as that.
            Outcome::Closed { code: 1008, by_server: true }
                if state.leapt || client.lived_ns.1 - client.lived_ns.0 >= MESSAGE_NS => {}
            Outcome::Closed { code: 4321, by_server: true } => {}
            Outcome::Closed { code: 1008, by_server: true }
                if client.nature.is_raw() && client.handed > 0 && !client.nature.topics.is_empty() => {}
            Outcome::Closed { by_server: false, .. } => {}
            Outcome::Closed { .. } => wrong("there is no reason for this"),
            Outcome::Broken => {
                // Also where the rest of a half-sent frame could not be kept; that is counted.
                let was_late = !client.upgraded && client.lived_ns.1 - client.lived_ns.0 >= HANDSHAKE_NS;
                let excused = was_late
                    || self.engine.totals().evicted > 0
                    || state.leapt
                    || self.net.has_resets()
                    || self.net.has_delays();
                if client.nature.witness && !excused {
                    wrong("a witness is never broken off");
                }
            }
        }
    }

    /// An orderly end right after some last messages: everybody gets them, then 1001.
    fn end(&self) -> Summary {
        // Sometimes more than a shard reads in one turn.
        let rounds = if self.state.borrow_mut().rng.chance(200) { 2_000 } else { 10 };
        for _ in 0..rounds {
            self.host_publishes();
        }
        self.audit();
        let open: Vec<bool> = self.state.borrow().clients.iter().map(Client::is_open).collect();
        let (at_once, stubborn) = {
            let rng = &mut self.state.borrow_mut().rng;
            (rng.chance(100), rng.chance(200))
        };
        if stubborn {
            // Some never read again: the deadline ends them.
            let mut state = self.state.borrow_mut();
            let State { rng, clients, .. } = &mut *state;
            clients.iter_mut().filter(|_| rng.chance(300)).for_each(Client::freeze);
        }
        let began_ns = self.net.now_ns();
        self.state.borrow_mut().truth.is_ending = true;
        let evicted_before = self.engine.totals().evicted;
        if at_once {
            self.engine.stop();
        } else {
            self.engine.drain(DRAIN_NS);
        }
        for _ in 0..100_000 {
            self.round();
            if self.ended.borrow().iter().all(|ended| *ended) {
                break;
            }
        }
        assert!(self.ended.borrow().iter().all(|ended| *ended), "a shard does not end: {:?}", self.stragglers());
        let took_ns = self.net.now_ns() - began_ns;
        assert!(took_ns < DRAIN_NS + 1_000_000_000, "the end took {took_ns} ns");
        for client in &mut self.state.borrow_mut().clients {
            client.settle();
        }
        for _ in 0..3 {
            self.round();
        }
        let totals = self.engine.totals();
        let state = self.state.borrow();
        assert!(state.truth.ledger.knows_all(), "an accepted connection was not heard of");
        for (client, was_open) in state.clients.iter().zip(open) {
            assert!(!client.is_alive(), "client {} was never told of the end", client.number);
            if !was_open || client.misbehaved || at_once || client.was_frozen {
                continue;
            }
            match client.outcome {
                Outcome::Closed { code: 1001 | 1012, by_server: true } => self.check_complete(client, &state.truth),
                Outcome::Closed { code: 1013, by_server: true } => {}
                // The rest of a half-sent frame could not be kept; that is counted.
                Outcome::Broken if totals.evicted > evicted_before => {}
                other => panic!("client {} {:?} ended with {other:?}", client.number, client.nature),
            }
        }
        for shard in 0..self.engine.shards() {
            assert_eq!(self.net.open_slots(shard), 0, "shard {shard} ended with open connections");
            assert_eq!(self.net.buffers_lent(shard), 0);
        }
        assert_eq!((totals.connections, totals.cursors, totals.remainder_bytes), (0, 0, 0), "left over at the end");
        let truth = &state.truth;
        Summary {
            clients: state.clients.len(),
            upgraded: state.clients.iter().filter(|c| c.upgraded).count(),
            messages: truth.messages,
            jumps: truth.jumps,
            out_of_order: truth.out_of_order,
            deliveries: truth.deliveries,
            gaps: truth.announced.iter().sum(),
            holes: truth.raw_holes.iter().sum(),
            evicted: state.clients.iter().filter(|c| matches!(c.outcome, Outcome::Closed { code: 1013, .. })).count(),
            passed_over: truth.passed_over,
            resumed: truth.resumed,
            compressed: truth.compressed,
            batches: truth.batches,
            rebuilt: totals.derived.2,
            unknown: state.clients.iter().map(|c| c.unknown_told).sum(),
            steps_max: self.engine.steps().0,
            over: self.engine.steps().1,
        }
    }
}

/// The number that a broker gives the next message of a lane: mostly the next one, at times a later one, seldom one that it gave before.
fn next_of_broker(last: &mut u64, rng: &mut Rng) -> u64 {
    let step = match rng.below(20) {
        0 => return (*last).max(1) - rng.below((*last).max(1)),
        1..5 => 1 + rng.skewed(50),
        5 => 1 + rng.skewed(1 << 40),
        _ => 1,
    };
    *last += step;
    *last
}

/// What a client may send as `since` besides the truth.
fn misremember(since: &mut Since, rng: &mut Rng) {
    match rng.below(12) {
        0 => since.0 += 1 + rng.below(5),
        1 => since.0 = since.0.saturating_sub(1 + rng.below(5)),
        2 => since.1 = [Some(u64::MAX); 4],
        3 => since.1.iter_mut().flatten().for_each(|seq| *seq += rng.skewed(1_000)),
        4 | 5 => since.1.iter_mut().flatten().for_each(|seq| *seq = seq.saturating_sub(rng.skewed(200))),
        6 => since.1[rng.index(4)] = None,
        _ => {}
    }
}
