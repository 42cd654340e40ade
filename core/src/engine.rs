//! The engine: starts the shards, holds them, stops them.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use crossbeam_utils::CachePadded;

use crate::access::Decision;
use crate::config::{Config, nanoseconds};
use crate::counters;
use crate::decider::{self, DecideError, Decider};
use crate::driver::probe::{self, DriverChoice, Unavailable};
use crate::epoch::Epochs;
use crate::events::Events;
use crate::failure::{FailureRecord, ShardFailure};
use crate::ingest::{Payload, PayloadPool, Reader, Ring, RingError};
use crate::interest::{Interest, InterestError};
use crate::listen::{
    Held, Inherited, InheritedSocket, Listener, Listeners, Place, SocketFile, is_dual_stack, listen_all, resolve,
};
use crate::outlet::{
    OUTLET_MESSAGES_MAX, OUTLET_PATTERNS_MAX, OUTLET_SHARD, Outflow, Outlet, OutletConfig, OutletError,
};
use crate::plan::{ConfigError, MemoryPlan};
use crate::registry::{Registry, TopicError, User};
use crate::rules::{Reconfigured, Rules};
use crate::shard::{Command, Counted, Mailbox, ShardStats, Shared, Wanted};
use crate::shard_thread::ShardThread;
use crate::sys::wake::EventFd;
use crate::sys::{clock, cpu, memory, random, signal};
use crate::telemetry::{self, Instruments, Sources, SysTopic, Telemetry, is_sys};
use crate::tls;
use crate::topic::Topic;
use crate::traces::{TRACE_EVENTS_MAX, TraceFlow, Traces, TracesConfig};
use crate::types::{ConnectionId, Kind};

/// How long after a shutdown's deadline its shards have cut off what was left, unless they stand still.
const CUT_OFF: Duration = Duration::from_secs(1);
/// How long shards may take to end at once.
const STOP: Duration = Duration::from_secs(5);
/// How often it is looked whether they have.
const JOIN_LOOK: Duration = Duration::from_millis(1);
/// How old a snapshot may be…
const SNAPSHOT_AGE_NS: u64 = 1_000_000_000;
/// …and how often it is looked for.
const SNAPSHOT_LOOK: Duration = Duration::from_millis(1);
/// Commands that may wait for one shard.
const COMMANDS: usize = 4_096;

/// Why an engine did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration is wrong, or does not fit this machine.
    #[error("the configuration cannot be used:{}", list(.0))]
    Config(Vec<ConfigError>),
    /// io_uring was asked for and is not to be had.
    #[error("{0}")]
    Uring(Unavailable),
    /// A place cannot be listened at.
    #[error("cannot listen on {listener}: {error}")]
    Listen {
        /// The place.
        listener: Listener,
        /// What the kernel said.
        error: io::Error,
    },
    /// Something else that the system refused.
    #[error("cannot {what}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// The ring cannot be made.
    #[error("{0}")]
    Ring(#[from] RingError),
}

impl StartError {
    /// The exit code that a binary should end with (sysexits.h): 78 for configuration, 71 for the system.
    pub fn exit_code(&self) -> i32 {
        match self {
            StartError::Config(_) | StartError::Uring(_) => 78,
            StartError::Listen { .. } | StartError::System { .. } | StartError::Ring(_) => 71,
        }
    }
}

fn list(errors: &[ConfigError]) -> String {
    errors.iter().map(|e| format!("\n  {e}")).collect()
}

/// Why a message to one connection was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The shard's queue or the payload pool is full: try again.
    #[error("the shard's queue or the payload pool is full: try again")]
    WouldBlock,
    /// Larger than [`crate::LimitsConfig::message_bytes_max`].
    #[error("a message of {bytes} bytes is larger than the {max} allowed (limits.message_bytes_max)")]
    TooLarge {
        /// The message.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// Text, but not UTF-8.
    #[error("a text or JSON message must be UTF-8")]
    NotUtf8,
    /// No such connection was ever made by this engine.
    #[error("no such connection")]
    Gone,
    /// The engine has stopped.
    #[error("the engine has stopped")]
    Stopped,
}

/// Why there is nothing to be had of what the engine says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// `$sys/gaps` is told as it happens, or `sys.top` is 0.
    #[error("this is not gathered (sys.top = 0), or it is told as it happens ($sys/gaps)")]
    NotGathered,
    /// The shards did not answer in time.
    #[error("the shards have not answered in time")]
    TimedOut,
    /// The engine has stopped.
    #[error("the engine has stopped")]
    Stopped,
}

/// Why there are no traces.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TracesError {
    /// No part of anything.
    #[error("a sample is from 0 to 1 of all, not {0}")]
    Sample(f64),
    /// None, or more than [`TRACE_EVENTS_MAX`].
    #[error("from 1 to {TRACE_EVENTS_MAX} events may wait, not {0}")]
    Events(usize),
    /// The system gave no descriptor.
    #[error("there is no descriptor for traces")]
    NoDescriptor,
    /// Somebody has them.
    #[error("traces are told to one at a time")]
    Taken,
    /// A shard does not take orders now.
    #[error(transparent)]
    Send(#[from] SendError),
}

/// What the engine has counted.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stats {
    /// Sum over the shards. (Messages and topics are seen by every shard: here they are counted once.)
    pub total: ShardStats,
    /// Each shard's own.
    pub shards: Vec<ShardStats>,
    /// Bytes queued in the ingest ring.
    pub ring_bytes: u64,
    /// Bytes of payload memory in use.
    pub payload_bytes: u64,
}

/// How a shutdown went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Everybody got everything and was closed in good order, within the time.
    pub is_clean: bool,
    /// Connections that were closed in good order; who had gone before is not among them.
    pub closed: u64,
    /// Connections that had not taken everything in time.
    pub cut_off: u64,
}

/// How an engine ends in favour of another one, which listens on the same sockets in another process and serves already.
///
/// Nobody is accepted any more, and what waits to be accepted is the other's. Who is connected goes on, may subscribe and publish, and
/// is closed with 1012 at a moment of its own: those that have published in the first quarter of the window, the others in the rest of
/// it, each when it has everything that was published before that. Those that speak a subprotocol are told before. After the window
/// publishing is over, and who has not taken everything at the deadline is cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandOver {
    /// Time over which the closes are spread.
    pub window: Duration,
    /// When all is over: longer than the window by what the slowest subscriber may need.
    pub deadline: Duration,
    /// Names of the sockets that the other has taken: [`Engine::taken_over`] there. The others are closed when what waits in them
    /// has been taken.
    pub sockets: Vec<String>,
}

/// A running engine. Dropping it stops it at once; [`Engine::shutdown`] does so in good order.
pub struct Engine {
    shared: Arc<Shared>,
    listeners: Vec<Listener>,
    addresses: Vec<SocketAddr>,
    files: Vec<SocketFile>,
    held: Held,
    /// What was handed over and is listened on.
    taken: Vec<String>,
    /// When an end that has begun is over at the latest; 0: none has.
    ends_by_ns: AtomicU64,
    driver: &'static str,
    notice: Option<String>,
    plan: MemoryPlan,
    threads: Vec<JoinHandle<()>>,
    events: Option<Events>,
    /// Outlets that are open.
    outlets: Arc<AtomicUsize>,
    /// Somebody is told of a sample of messages and connections.
    is_traced: Arc<AtomicBool>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("addresses", &self.addresses).field("driver", &self.driver).finish()
    }
}

impl Engine {
    /// Starts the shards and listens. Returns when connections are accepted. Installs no signal handler and touches nothing
    /// outside its own threads (but for `mlockall`, where [`crate::MemoryConfig::lock_memory`] asks for it).
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left running.
    pub fn start(config: Config) -> Result<Engine, StartError> {
        Self::start_with(config, &[])
    }

    /// [`Engine::start`] with sockets that listen already, which listeners of [`Config::listen`] name. Those that none names are
    /// left alone.
    ///
    /// # Errors
    /// As [`Engine::start`]; a name that no socket has.
    pub fn start_with(config: Config, sockets: &[InheritedSocket]) -> Result<Engine, StartError> {
        let config = config.resolved();
        let shards = config.shard_count();
        let plan = config.plan().map_err(StartError::Config)?;
        let (choice, notice) = choose_driver(config.driver)?;
        match Engine::start_on(choice, notice, config.clone(), plan.clone(), shards, sockets) {
            // The probe's ring could be had, but not those of the shards (the limit on locked memory may be in between).
            Err(StartError::Uring(why)) if config.driver == DriverChoice::Auto => {
                Engine::start_on(DriverChoice::Epoll, Some(on_epoll(&why)), config, plan, shards, sockets)
            }
            other => other,
        }
    }

    fn start_on(
        choice: DriverChoice,
        notice: Option<String>,
        config: Config,
        plan: MemoryPlan,
        shards: usize,
        sockets: &[InheritedSocket],
    ) -> Result<Engine, StartError> {
        config.check_descriptors(shards, choice != DriverChoice::Epoll).map_err(StartError::Config)?;
        if let Some(notice) = &notice {
            tracing::warn!("{notice}");
        }
        lock_memory(&config, &plan)?;
        let cpus = match &config.cpus {
            Some(cpus) => cpus.clone(),
            None => cpu::affinity().unwrap_or_default(),
        };
        let tls = tls::acceptors(&config).map_err(StartError::Config)?;
        let mut listening = listen(&config, shards, sockets)?;
        let addresses = listening.all.iter().filter_map(Listener::address).collect();
        let (ring, readers) = Ring::new(config.memory.ring_bytes, shards)?;
        ring.watch_standstill(Box::new(clock::monotonic_ns));
        let system = |what| move |error| StartError::System { what, error };
        let bell = Arc::new(EventFd::new().map_err(system("make an event descriptor"))?);
        let ringer = bell.clone();
        let events = config.events.capacity;
        let random = random::bits().map_err(system("draw random bits"))?;
        let shared = Arc::new(Shared {
            rules: Rules::new(&config),
            listening: std::mem::take(&mut listening.by_number),
            epochs: Epochs::from_random(random),
            payloads: Arc::new(PayloadPool::new(config.memory.payload_bytes)),
            registry: Registry::new(config.topics_max),
            mailboxes: (0..shards).map(|_| CachePadded::new(Mailbox::new(COMMANDS, events))).collect(),
            open: AtomicU32::new(0),
            counted: Counted::of(&config, shards as u32),
            tls,
            wall_ns: Box::new(clock::realtime_ns),
            bell: Box::new(move || ringer.signal()),
            telemetry: Telemetry::new(&config, clock::realtime_ns()),
            failure: FailureRecord::default(),
            ring,
            config,
        });
        let mut engine = Engine {
            outlets: Arc::default(),
            is_traced: Arc::default(),
            events: (events > 0).then(|| Events::new(shared.clone(), bell)),
            shared,
            listeners: std::mem::take(&mut listening.all),
            addresses,
            files: std::mem::take(&mut listening.files),
            held: Held::new(std::mem::take(&mut listening.held)),
            taken: std::mem::take(&mut listening.taken),
            ends_by_ns: AtomicU64::new(0),
            driver: "",
            notice,
            plan,
            threads: Vec::new(),
        };
        engine.start_shards(choice, &cpus, readers, std::mem::take(&mut listening.by_shard))?;
        // What was handed over has been the other process's so far.
        engine.files.iter().for_each(SocketFile::keep);
        listening.settle().map_err(system("set the options of a listening socket"))?;
        Ok(engine)
    }

    /// Starts the shards' threads, and waits until each has begun.
    fn start_shards(
        &mut self,
        choice: DriverChoice,
        cpus: &[usize],
        readers: Vec<Reader>,
        listeners: Vec<Vec<OwnedFd>>,
    ) -> Result<(), StartError> {
        let system = |what| move |error| StartError::System { what, error };
        let shards = readers.len();
        let (ready, started) = mpsc::channel();
        // A shard's thread must have no signal open for even a moment, or the host's handler may run there.
        let signals = signal::AllBlocked::new().map_err(system("block signals in the shards' threads"))?;
        for (number, (reader, listeners)) in readers.into_iter().zip(listeners).enumerate() {
            let start = ShardThread {
                number,
                choice,
                cpu: (!cpus.is_empty()).then(|| cpus[number % cpus.len()]),
                listeners,
                shared: self.shared.clone(),
                ready: ready.clone(),
            };
            let thread = std::thread::Builder::new()
                .name(format!("fw-shard-{number}"))
                .spawn(move || start.run(reader))
                .map_err(system("start a shard's thread"))?;
            self.threads.push(thread);
        }
        drop(signals);
        drop(ready);
        self.await_shards(choice, shards, &started)
    }

    /// Waits until each shard has said how it began.
    fn await_shards(
        &mut self,
        choice: DriverChoice,
        shards: usize,
        started: &mpsc::Receiver<io::Result<&'static str>>,
    ) -> Result<(), StartError> {
        for _ in 0..shards {
            match started.recv() {
                Ok(Ok(name)) => self.driver = name,
                Ok(Err(error)) if choice == DriverChoice::Epoll => {
                    return Err(StartError::System { what: "set up a shard's driver", error });
                }
                Ok(Err(error)) => return Err(StartError::Uring(probe::explain("a shard's ring", &error))),
                Err(_) => {
                    let failure = self.failure().map(ToString::to_string);
                    let error = io::Error::other(failure.unwrap_or("a shard has ended while it started".into()));
                    return Err(StartError::System { what: "start a shard", error });
                }
            }
        }
        Ok(())
    }

    /// The addresses listened on, ports filled in; Unix sockets have none.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What is listened on, in the order of the configuration, ports filled in.
    pub fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// What it listens on, once more, for another process to take over: by `SCM_RIGHTS`, or inherited by a child. That one gives
    /// them to [`Engine::start_with`]; then this one is told by [`Engine::hand_over`]. Empty once an end has begun.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub fn listening_sockets(&self) -> io::Result<Vec<InheritedSocket>> {
        self.held.duplicates()
    }

    /// Names of what [`Engine::listening_sockets`] of another process has given and this engine listens on:
    /// [`HandOver::sockets`] for that one.
    pub fn taken_over(&self) -> &[String] {
        &self.taken
    }

    /// Which driver runs: `uring` or `epoll`.
    pub fn driver(&self) -> &str {
        self.driver
    }

    /// Why it is not io_uring, where it might have been: errno, likely cause, fix.
    pub fn driver_notice(&self) -> Option<&str> {
        self.notice.as_deref()
    }

    /// The memory sum.
    pub fn plan(&self) -> &MemoryPlan {
        &self.plan
    }

    /// The configuration it was started with.
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// Gives it another configuration while it runs: each setting that is [reloadable](crate::Setting::is_reloadable) holds from now
    /// on, for whoever connects after this has returned; the others keep their values, and are named. `topics` holds for topics that
    /// are made later, `access`, `compression.deflate` and the limits of a connection's begin for connections that are. Where any
    /// listener speaks TLS, certificates and keys are read anew: connections that come from now on get them, those that are there
    /// keep theirs. From any thread, also from several at once; takes as long as [`Config::validate`], and reading those files.
    ///
    /// # Errors
    /// Everything that is wrong with the configuration, one by one, or with a certificate; nothing has changed then.
    pub fn reconfigure(&self, config: &Config) -> Result<Reconfigured, Vec<ConfigError>> {
        let shards = self.shared.mailboxes.len();
        let certificates = tls::read_anew(&self.shared.tls, &config.tls)?;
        let mut told = self.shared.rules.replace(config, shards)?;
        told.certificates = certificates.map_or(0, |certificates| certificates.take_effect());
        (0..shards).for_each(|number| self.shared.ring.wake_reader(number));
        Ok(told)
    }

    /// [`Engine::reconfigure`] with the configuration that holds now: certificates and keys are read anew. How many certificates
    /// there are; 0 where no listener speaks TLS.
    ///
    /// # Errors
    /// Each file that cannot be read, or what is wrong with it; the certificates are then as they were.
    pub fn reload_certificates(&self) -> Result<usize, Vec<ConfigError>> {
        Ok(self.reconfigure(&self.current_config())?.certificates)
    }

    /// The configuration that holds now: the one it was started with, and what [`Engine::reconfigure`] has changed since.
    pub fn current_config(&self) -> Arc<Config> {
        self.shared.rules.current()
    }

    /// The topic called `name`, made if need be. Waits up to a second for room in the ring. A topic lives while there is a handle
    /// of it, or subscribers by its name, or once it was published to, until it is removed.
    ///
    /// # Errors
    /// See [`TopicError`].
    pub fn topic(&self, name: &str) -> Result<Topic, TopicError> {
        self.open_topic(name, None)
    }

    /// As [`Engine::topic`], of a topic whose sequence numbers count in `epoch`, from 1 to 2^53 − 1: one that several servers agree on,
    /// for messages with numbers of their own ([`crate::Message::seq`]).
    ///
    /// # Errors
    /// See [`TopicError`]: also where there is a topic of this name in another epoch.
    pub fn topic_in_epoch(&self, name: &str, epoch: u64) -> Result<Topic, TopicError> {
        self.open_topic(name, Some(epoch))
    }

    fn open_topic(&self, name: &str, epoch: Option<u64>) -> Result<Topic, TopicError> {
        if is_sys(name) {
            return Err(TopicError::Reserved);
        }
        let shared = &self.shared;
        let open = || match shared.registry.open_in(name, epoch, User::Handle, shared.to_ring(), true) {
            Err(TopicError::WouldBlock) => None,
            other => Some(other),
        };
        let opened = shared.ring.retry_timeout(Duration::from_secs(1), open).unwrap_or(Err(TopicError::WouldBlock))?;
        Ok(Topic::new(shared.clone(), opened, name))
    }

    /// Removes a topic: its logs are freed, its subscribers get no more, publishing to it is refused. `Ok(false)`: there is
    /// none of this name.
    ///
    /// # Errors
    /// `WouldBlock` or `Stopped`.
    pub fn remove_topic(&self, name: &str) -> Result<bool, TopicError> {
        if is_sys(name) {
            return Err(TopicError::Reserved);
        }
        self.shared.registry.remove(name, self.shared.to_ring())
    }

    /// The event queue, once. `None` if it was taken before, or the configuration asks for no events.
    pub fn events(&mut self) -> Option<Events> {
        self.events.take()
    }

    /// Sends a message to one connection, past all topics. Keeps `message` by reference until it is sent.
    ///
    /// # Errors
    /// See [`SendError`]. A connection that is gone by the time its shard looks is no error.
    pub fn send_to(&self, connection: ConnectionId, kind: Kind, message: Bytes) -> Result<(), SendError> {
        self.check_message(kind, &message)?;
        let payload = if message.len() <= 1_024 {
            self.shared.payloads.copy_from(&message).ok_or(SendError::WouldBlock)?
        } else {
            self.shared.payloads.adopt(message).map_err(|_| SendError::WouldBlock)?
        };
        self.command(connection, Command::Send { connection, kind, payload })
    }

    /// [`Engine::send_to`] for memory that the caller keeps: one copy, whatever the size.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send_copy_to(&self, connection: ConnectionId, kind: Kind, message: &[u8]) -> Result<(), SendError> {
        self.check_message(kind, message)?;
        let payload = self.shared.payloads.copy_from(message).ok_or(SendError::WouldBlock)?;
        self.command(connection, Command::Send { connection, kind, payload })
    }

    /// [`Engine::send_to`] for memory that is the engine's already, such as a received message: no copy at all.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send_payload_to(&self, connection: ConnectionId, kind: Kind, payload: Payload) -> Result<(), SendError> {
        self.check_message(kind, &payload)?;
        self.command(connection, Command::Send { connection, kind, payload })
    }

    fn check_message(&self, kind: Kind, message: &[u8]) -> Result<(), SendError> {
        let max = self.shared.config.limits.message_bytes_max;
        if message.len() > max {
            return Err(SendError::TooLarge { bytes: message.len(), max });
        }
        if kind != Kind::Binary && simdutf8::basic::from_utf8(message).is_err() {
            return Err(SendError::NotUtf8);
        }
        Ok(())
    }

    /// What the engine says of itself on a `$sys` topic, as JSON (docs/reference/sys-topics.md): the next message of it, or one that is
    /// less than a second old. Waits up to `within` for it; who asks once in five seconds or more often is answered at once.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn snapshot(&self, topic: SysTopic, within: Duration) -> Result<Arc<str>, SnapshotError> {
        let watchers = &self.shared.telemetry.watchers;
        if topic == SysTopic::Gaps || self.current_config().sys.top == 0 {
            return Err(SnapshotError::NotGathered);
        }
        let asked_ns = clock::monotonic_ns();
        let until_ns = asked_ns.saturating_add(nanoseconds(within));
        watchers.ask(topic, asked_ns);
        (0..self.shared.mailboxes.len()).for_each(|number| self.shared.ring.wake_reader(number));
        loop {
            if !self.is_running() {
                return Err(SnapshotError::Stopped);
            }
            if let Some(said) = watchers.said(topic, asked_ns.saturating_sub(SNAPSHOT_AGE_NS)) {
                return Ok(said);
            }
            if clock::monotonic_ns() >= until_ns {
                return Err(SnapshotError::TimedOut);
            }
            std::thread::park_timeout(SNAPSHOT_LOOK);
        }
    }

    /// Closes one connection with this code and reason (at most 123 bytes are sent of it), after the messages that were sent to
    /// it alone before; they get [`crate::LimitsConfig::close_timeout`].
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn close(&self, connection: ConnectionId, code: u16, reason: &str) -> Result<(), SendError> {
        decider::close(&self.shared, connection, code, reason)
    }

    /// Decides on an upgrade request, or on the new token of an open connection: see [`crate::Event::Authorize`] and
    /// [`crate::Event::Reauthorize`]. From any thread; the first decision counts, and one for a connection
    /// that is gone, or has been answered 503 for want of one, does nothing.
    ///
    /// # Errors
    /// See [`DecideError`].
    pub fn decide(&self, connection: ConnectionId, decision: Decision) -> Result<(), DecideError> {
        decider::decide(&self.shared, connection, decision)
    }

    /// What decides from a thread of its own, without the engine.
    pub fn decider(&self) -> Decider {
        Decider::new(self.shared.clone())
    }

    /// Opens an outlet: what is published on these topics from soon on comes to the host too. See [`Outlet`].
    ///
    /// # Errors
    /// See [`OutletError`].
    pub fn outlet(&self, config: OutletConfig) -> Result<Outlet, OutletError> {
        let OutletConfig { topics, messages_max, bytes_max, leaves_out_forwarded } = config;
        let most = self.shared.config.memory.payload_bytes / 8;
        if topics.is_empty() || topics.len() > OUTLET_PATTERNS_MAX {
            return Err(OutletError::Patterns { patterns: topics.len() });
        }
        if !(1..=OUTLET_MESSAGES_MAX).contains(&messages_max) {
            return Err(OutletError::Messages { messages: messages_max });
        }
        if bytes_max > most {
            return Err(OutletError::Bytes { bytes: bytes_max, max: most });
        }
        let outflow = Outflow::new(messages_max, bytes_max).map_err(|_| OutletError::NoDescriptor)?;
        let outlet = Outlet::new(Arc::new(outflow), &self.outlets).ok_or(OutletError::TooMany)?;
        let wanted = Wanted { topics, outflow: outlet.outflow(), leaves_out_forwarded };
        self.command_shard(OUTLET_SHARD, Command::Outlet(Box::new(wanted)))?;
        Ok(outlet)
    }

    /// Has the host told which names and patterns have subscribers, those of now included: for a host that fetches what is wanted
    /// from elsewhere. One at a time; to be asked for early, for a shard goes through all of its patterns at once. What a topic's
    /// removal ends is told as not wanted, though subscribers wait for the name.
    ///
    /// # Errors
    /// See [`InterestError`].
    pub fn interest(&self) -> Result<Interest, InterestError> {
        Interest::begin(&self.shared)
    }

    /// Has what befalls a sample of the messages and connections told, from soon on. One at a time. See [`Traces`].
    ///
    /// # Errors
    /// See [`TracesError`].
    pub fn traces(&self, config: TracesConfig) -> Result<Traces, TracesError> {
        let TracesConfig { sample, events_max } = config;
        if !(0.0..=1.0).contains(&sample) {
            return Err(TracesError::Sample(sample));
        }
        if !(1..=TRACE_EVENTS_MAX).contains(&events_max) {
            return Err(TracesError::Events(events_max));
        }
        let flow = Arc::new(TraceFlow::new(&config).map_err(|_| TracesError::NoDescriptor)?);
        let traces = Traces::new(flow.clone(), &self.is_traced).ok_or(TracesError::Taken)?;
        for shard in 0..self.shared.mailboxes.len() {
            self.command_shard(shard, Command::Trace(flow.clone()))?;
        }
        Ok(traces)
    }

    fn command(&self, connection: ConnectionId, command: Command) -> Result<(), SendError> {
        self.command_shard(connection.shard() as usize, command)
    }

    fn command_shard(&self, number: usize, command: Command) -> Result<(), SendError> {
        decider::command_shard(&self.shared, number, command)
    }

    /// What was counted so far; at most a second old while a shard sleeps.
    pub fn stats(&self) -> Stats {
        let shards: Vec<ShardStats> = self.shared.mailboxes.iter().map(|m| m.counters.read()).collect();
        Stats {
            total: counters::total(&shards),
            shards,
            ring_bytes: self.shared.ring.used_bytes(),
            payload_bytes: self.shared.payloads.used_bytes() as u64,
        }
    }

    /// All that there is to know in numbers, in the text format of OpenMetrics 1.0 (it ends in `# EOF`): counters of each shard, gauges,
    /// histograms; [`crate::metrics`] lists them. Numbers are at most a second old while a shard sleeps. Some 100 µs and 100 KiB; takes
    /// nothing from the shards. To be served as `application/openmetrics-text; version=1.0.0; charset=utf-8`.
    pub fn metrics(&self) -> String {
        let stats = self.stats();
        let Shared { config, mailboxes, .. } = &*self.shared;
        let instruments: Vec<&Instruments> = mailboxes.iter().map(|mailbox| &mailbox.instruments).collect();
        let files = &self.current_config().tls.certificate_files;
        let ends = tls::ends_s(&self.shared.tls);
        let certificates: Vec<_> = files.iter().map(|file| file.display().to_string()).zip(ends).collect();
        telemetry::render(&Sources {
            shards: &stats.shards,
            instruments: &instruments,
            telemetry: &self.shared.telemetry,
            plan: &self.plan,
            of_engine: &[
                ("shards", stats.shards.len() as u64),
                ("ring_bytes", stats.ring_bytes),
                ("payload_bytes", stats.payload_bytes),
            ],
            most: &[
                ("connections_limit", config.connections_max.into()),
                ("topics_limit", config.topics_max.into()),
                ("cursors_limit", config.cursors_max.into()),
                ("ring_limit_bytes", config.memory.ring_bytes as u64),
                ("payload_limit_bytes", config.memory.payload_bytes as u64),
                ("log_limit_bytes", config.memory.pool_bytes as u64),
            ],
            driver: self.driver,
            is_running: self.is_running(),
            certificates: &certificates,
        })
    }

    /// True once every shard has ended.
    pub fn has_ended(&self) -> bool {
        self.shared.mailboxes.iter().all(|m| m.is_stopped.load(Relaxed))
    }

    /// True while every shard runs. False after a shutdown, or when a shard has failed: see [`Engine::failure`].
    pub fn is_running(&self) -> bool {
        self.failure().is_none() && !self.shared.mailboxes.iter().any(|m| m.is_stopped.load(Relaxed))
    }

    /// The shard that has failed, if one has: its driver, or fanwire itself by a bug. The engine has then ended: it takes no
    /// messages and no connections, the other shards deliver what was published and close their clients (within
    /// [`crate::LimitsConfig::close_timeout`]), and those of the shard that failed are cut off. A host stops it and starts
    /// another one, or ends. [`crate::Event::Failed`] says the same.
    pub fn failure(&self) -> Option<&ShardFailure> {
        self.shared.failure.first()
    }

    /// Calls `bell` when [`Engine::failure`] has something to say: on the shard that failed, so it must neither block nor run
    /// the host's code; at once if it has already. The first one set stays.
    pub fn set_failure_bell(&self, bell: impl Fn() + Send + Sync + 'static) {
        self.shared.failure.set_bell(Box::new(bell));
    }

    /// True if IPv4 clients come in at the IPv6 address `address` too. `[::]` takes both, unless an IPv4 address with the same
    /// port is listened on besides.
    pub fn is_dual_stack(&self, address: SocketAddr) -> bool {
        is_dual_stack(address, &self.addresses)
    }

    /// Ends in good order: takes no more connections and messages, delivers all that was published, closes everybody with
    /// 1001. What is not done after `deadline` is cut off. Blocks up to about `deadline`.
    pub fn shutdown(mut self, deadline: Duration) -> ShutdownReport {
        self.drain(deadline)
    }

    /// [`Engine::shutdown`] for a host that keeps the engine, to read [`Engine::stats`] and the last events. Everything that
    /// was published by reference is released, or retired for [`Engine::reclaim`], when it returns; but for what a shard holds that stands
    /// still, which is not waited for.
    pub fn drain(&mut self, deadline: Duration) -> ShutdownReport {
        let window = self.current_config().limits.close_window.min(deadline / 2);
        self.drain_over(window, deadline)
    }

    /// [`Engine::drain`] with the closes spread over `window`, whatever [`crate::LimitsConfig::close_window`] says: each connection is
    /// closed with 1012 at a moment of its own, drawn evenly. What is not done after `deadline` is cut off: it is to be longer than the
    /// window by what the slowest subscriber may need. A window of zero closes each with 1001 as soon as it has everything.
    pub fn drain_over(&mut self, window: Duration, deadline: Duration) -> ShutdownReport {
        self.begin_drain(window, deadline);
        self.finish()
    }

    /// Begins what [`Engine::drain_over`] does, and returns at once: meanwhile events are taken and decisions made, as before.
    /// [`Engine::finish`] waits for the end. Where an end has begun already, this does nothing.
    pub fn begin_drain(&self, window: Duration, deadline: Duration) {
        if !self.begin_end(deadline) {
            return;
        }
        self.shared.ring.close();
        let (within_ns, window_ns) = (nanoseconds(deadline), nanoseconds(window));
        self.order(|| Command::Drain { within_ns, window_ns });
    }

    /// Ends in favour of another process that listens on the same sockets, without a client noticing more than one close: see
    /// [`HandOver`]. Blocks up to about its deadline.
    pub fn hand_over(&mut self, to: &HandOver) -> ShutdownReport {
        self.begin_hand_over(to);
        self.finish()
    }

    /// Begins what [`Engine::hand_over`] does, and returns at once; publishing goes on, too. [`Engine::finish`] waits for the end.
    /// Where an end has begun already, this does nothing.
    pub fn begin_hand_over(&self, to: &HandOver) {
        if !self.begin_end(to.deadline) {
            return;
        }
        let left: Arc<[u16]> = self.held.numbers_of(&to.sockets).into();
        let is_left = |file: &&SocketFile| to.sockets.contains(&Place::Path(file.path().to_owned()).to_string());
        self.files.iter().filter(is_left).for_each(SocketFile::leave);
        let (within_ns, window_ns) = (nanoseconds(to.deadline), nanoseconds(to.window));
        self.order(|| Command::HandOver { within_ns, window_ns, left: left.clone() });
    }

    /// True for the first who ends it.
    fn begin_end(&self, deadline: Duration) -> bool {
        let by_ns = clock::monotonic_ns().saturating_add(nanoseconds(deadline));
        let is_first = self.ends_by_ns.compare_exchange(0, by_ns, Relaxed, Relaxed).is_ok();
        if is_first {
            self.held.let_go();
        }
        is_first
    }

    /// Waits for the end that [`Engine::begin_drain`] or [`Engine::begin_hand_over`] has begun; where none has, ends at once.
    pub fn finish(&mut self) -> ShutdownReport {
        let until = self.ends_by_ns.load(Relaxed);
        if until == 0 {
            self.stop();
        }
        let within = Duration::from_nanos(until.saturating_sub(clock::monotonic_ns()));
        self.join(within.saturating_add(CUT_OFF));
        let is_in_time = until == 0 || clock::monotonic_ns() <= until;
        let total = self.stats().total;
        ShutdownReport {
            is_clean: is_in_time && total.connections == 0 && total.cut_off == 0 && self.failure().is_none(),
            closed: total.drained,
            cut_off: total.cut_off,
        }
    }

    /// Ends at once.
    pub fn shutdown_now(mut self) {
        self.stop();
    }

    /// [`Engine::shutdown_now`] for a host that keeps the engine.
    pub fn stop(&mut self) {
        self.held.let_go();
        self.shared.ring.close();
        self.order(|| Command::Stop);
        self.join(STOP);
    }

    /// Drops, on this thread, the bytes published by reference that no shard needs any more. Publishing by reference does
    /// the same in passing; a host that wants its memory back when it says so calls this. One load when there are none.
    pub fn reclaim(&self) {
        self.shared.payloads.reclaim();
    }

    /// Calls `bell` whenever [`Engine::reclaim`] has something to do again: on the thread that was done last, mostly a
    /// shard, so it must neither block nor run the host's code. The first one set stays.
    pub fn set_reclaim_bell(&self, bell: impl Fn() + Send + Sync + 'static) {
        self.shared.payloads.set_bell(Box::new(bell));
    }

    /// Gives every shard a command, whatever else is queued.
    fn order(&self, command: impl Fn() -> Command) {
        for (number, mailbox) in self.shared.mailboxes.iter().enumerate() {
            // What a full queue loses is a message to one connection, of an engine that ends.
            mailbox.commands.force_push(command());
            self.shared.ring.wake_reader(number);
        }
    }

    /// Waits for the shards' threads, at most so long. One that stands still is left behind: it ends when it goes on.
    fn join(&mut self, within: Duration) {
        let until = clock::monotonic_ns().saturating_add(nanoseconds(within));
        for (number, thread) in self.threads.drain(..).enumerate() {
            while !thread.is_finished() && clock::monotonic_ns() < until {
                std::thread::park_timeout(JOIN_LOOK);
            }
            if thread.is_finished() {
                // A shard catches its own panics.
                let _ = thread.join();
            } else {
                tracing::error!("shard {number} stands still: its thread is left behind");
            }
        }
        self.files.clear();
        // What no shard will take any more must not keep its bytes.
        for mailbox in &self.shared.mailboxes {
            while mailbox.commands.pop().is_some() {}
        }
        self.shared.payloads.reclaim();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if !self.threads.is_empty() {
            self.stop();
        }
    }
}

fn choose_driver(choice: DriverChoice) -> Result<(DriverChoice, Option<String>), StartError> {
    if choice == DriverChoice::Epoll {
        return Ok((choice, None));
    }
    match (probe_apart()?, choice) {
        (Ok(_), _) => Ok((DriverChoice::Uring, None)),
        (Err(why), DriverChoice::Uring) => Err(StartError::Uring(why)),
        (Err(why), _) => Ok((DriverChoice::Epoll, Some(on_epoll(&why)))),
    }
}

/// Tries io_uring as [`Engine::start`] does: one connection over a local socket, through the real driver. About a millisecond, on a
/// thread of its own.
///
/// # Errors
/// [`StartError::Uring`] with the diagnosis; [`StartError::System`] where the thread cannot be had.
pub fn try_io_uring() -> Result<(), StartError> {
    probe_apart()?.map_err(StartError::Uring)
}

fn on_epoll(why: &Unavailable) -> String {
    format!("running on epoll: {why} (choosing epoll, `--driver epoll`, silences this)")
}

/// The probe, on a thread of its own: the kernel goes on interrupting the thread that a ring was made on (its system calls end
/// with `EINTR`) until the ring is gone, and this thread is the host's.
fn probe_apart() -> Result<Result<(), Unavailable>, StartError> {
    let failed = |error| StartError::System { what: "start the io_uring probe", error };
    // Signals are the host's business: none is open in the thread for even a moment.
    let signals = signal::AllBlocked::new().map_err(failed)?;
    let probe = std::thread::Builder::new().name("fw-probe".to_owned()).spawn(|| probe::probe().map(drop));
    drop(signals);
    probe.map_err(failed)?.join().map_err(|_| failed(io::Error::other("it ended with a panic")))
}

/// Where that is asked for.
fn lock_memory(config: &Config, plan: &MemoryPlan) -> Result<(), StartError> {
    if !config.memory.lock_memory {
        return Ok(());
    }
    config.check_lockable(plan).map_err(StartError::Config)?;
    memory::lock_all().map_err(|error| StartError::System { what: "lock memory", error })
}

fn listen(config: &Config, shards: usize, sockets: &[InheritedSocket]) -> Result<Listeners, StartError> {
    #[cfg(feature = "test-knobs")]
    let send_buffer = config.send_buffer;
    #[cfg(not(feature = "test-knobs"))]
    let send_buffer = None;
    let inherited = Inherited { unsent_bytes_max: config.limits.unsent_bytes_max, send_buffer };
    let wanted = resolve(&config.listen, sockets).map_err(|error| StartError::Config(vec![error]))?;
    listen_all(wanted, shards, inherited).map_err(|(listener, error)| StartError::Listen { listener, error })
}
