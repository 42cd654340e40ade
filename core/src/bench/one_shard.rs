//! One shard with its ring, registry and mailbox as in production, on the `null` driver, turned by hand.
//!
//! Knows how a shard is made. Nothing here depends on time or chance, so the same calls take the same instructions.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use crate::config::Config;
use crate::driver::null::{NullDriver, NullNet};
use crate::driver::{Driver, Slot};
use crate::epoch::Epochs;
use crate::failure::FailureRecord;
use crate::ingest::{PayloadPool, Ring};
use crate::registry::{Registry, User};
use crate::rules::Rules;
use crate::shard::{Command, Counted, Mailbox, REFUSAL_SLOTS, Shard, ShardStats, Shared, Turned};
use crate::telemetry::Telemetry;
use crate::topic::Topic;
use crate::traces::{TRACE_EVENTS_MAX, TraceFlow, TracesConfig};

/// The wall clock of whatever needs one: nanoseconds since the Unix epoch.
const WALL_NS: u64 = 1_700_000_000_000_000_000;

/// See the module's head.
pub struct OneShard {
    shared: Arc<Shared>,
    shard: Shard<NullDriver>,
    net: NullNet,
}

impl OneShard {
    /// An engine of one shard without threads and sockets. `config.shards` and what concerns sockets is ignored.
    ///
    /// # Panics
    /// If the configuration could not be started with one shard.
    pub fn new(config: Config) -> Self {
        if let Err(errors) = config.plan_for(1, None) {
            panic!("not a legal configuration: {errors:?}");
        }
        let (ring, readers) = Ring::new(config.memory.ring_bytes, 1).expect("the plan has checked the ring's size");
        let reader = readers.into_iter().next().expect("one reader was asked for");
        let slots = config.connections_max + REFUSAL_SLOTS;
        let shared = Arc::new(Shared {
            rules: Rules::new(&config),
            listening: config.listen.clone(),
            epochs: Epochs::from_random(0),
            payloads: Arc::new(PayloadPool::new(config.memory.payload_bytes)),
            registry: Registry::new(config.topics_max),
            mailboxes: vec![Mailbox::new(64, config.events.capacity).into()],
            open: AtomicU32::new(0),
            counted: Counted::of(&config, 1),
            tls: None,
            telemetry: Telemetry::new(&config, 0),
            failure: FailureRecord::default(),
            wall_ns: Box::new(|| WALL_NS),
            bell: Box::new(|| {}),
            ring,
            config,
        });
        let net = NullNet::default();
        let driver = net.driver();
        let waker = driver.waker();
        reader.set_waker(Arc::new(move || waker.wake()));
        Self { shard: Shard::new(0, driver, shared.clone(), reader, slots), shared, net }
    }

    /// The topic called `name`, made if need be; the shard knows it after its next turn.
    ///
    /// # Panics
    /// If the name is not legal, or the ring or the table of topics is full.
    pub fn topic(&self, name: &str) -> Topic {
        let shared = &self.shared;
        let opened = shared.registry.open(name, User::Handle, shared.to_ring(), true).expect("a legal name, and room");
        Topic::new(self.shared.clone(), opened, name)
    }

    /// Removes a topic; the shard knows it after its next turn.
    ///
    /// # Panics
    /// If there is no such topic, or the ring is full.
    pub fn remove_topic(&self, name: &str) {
        let removed = self.shared.registry.remove(name, self.shared.to_ring());
        assert_eq!(removed, Ok(true), "no topic {name} to remove");
    }

    /// Has the shard tell what befalls a part of the messages, from its next turn on. Nobody hears it.
    ///
    /// # Panics
    /// If there is no descriptor.
    pub fn trace(&mut self, sample: f64) {
        let config = TracesConfig { sample, events_max: TRACE_EVENTS_MAX };
        let flow = Arc::new(TraceFlow::new(&config).expect("a descriptor"));
        assert!(self.shared.mailboxes[0].commands.push(Command::Trace(flow)).is_ok(), "room for a command");
        self.turn();
    }

    /// A new connection. It has said nothing yet.
    pub fn connect(&mut self) -> Slot {
        let slot = self.net.connect();
        self.turn();
        slot
    }

    /// Lets the shard receive `bytes` from a connection: an upgrade request, or masked frames.
    pub fn receive(&mut self, slot: Slot, bytes: &[u8]) {
        self.net.receive(slot, bytes);
        self.turn();
    }

    /// From now on keeps what this connection is sent, instead of any other's.
    pub fn listen_in(&self, slot: Slot) {
        self.net.listen_in(slot);
    }

    /// Ends listening in, and returns what was heard.
    pub fn heard(&self) -> Vec<u8> {
        self.net.heard()
    }

    /// One turn, that does not wait.
    ///
    /// # Panics
    /// If the shard has ended, which nobody told it to.
    pub fn turn(&mut self) {
        let turned = self.shard.turn(false);
        assert!(matches!(turned, Ok(Turned::Going)), "the shard has ended");
    }

    /// What the shard has counted, up to its last turn.
    pub fn stats(&self) -> ShardStats {
        self.shared.mailboxes[0].counters.read()
    }
}
