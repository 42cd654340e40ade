//! What an engine is made with. Every limit is here, with its default; nothing is unbounded.

use std::path::PathBuf;
use std::time::Duration;

use crate::access::AskHost;

pub use crate::driver::probe::DriverChoice;
use crate::ingest::{POOL_BYTES_DEFAULT, RING_BYTES_DEFAULT};
use crate::listen::{Listener, TrustedProxy};

/// Everything [`crate::Engine::start`] needs. `Config::default()` runs; change what matters.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen; every shard listens on each address (`SO_REUSEPORT`). Port 0 takes a free one.
    pub listen: Vec<Listener>,
    /// Number of shards (threads), 1 to 64. `None`: as many CPUs as affinity and the cgroup quota allow.
    pub shards: Option<usize>,
    /// CPUs to pin the shards to, in turn. `None`: the CPUs this process may use. An empty list pins nothing.
    pub cpus: Option<Vec<usize>>,
    /// Which kernel interface to use.
    pub driver: DriverChoice,
    /// Connections of the whole engine, spread over the shards. One more is answered with 503. 0 (the default): 10,000, or as
    /// many as the limit on open files allows if that is less. A number that the limit does not allow is refused at start
    /// (with io_uring the limit holds for each shard by itself).
    pub connections_max: u32,
    /// Cursors (a connection's place in one lane) of the whole engine, 1 to 2^30, spread over the shards. The last
    /// eighth of each shard's is for connections with fewer than 1,024: so who subscribes to everything leaves some to
    /// others.
    pub cursors_max: u32,
    /// Topics of the whole engine, 1 to 1,000,000. The last eighth is for publishers: who subscribes to a name makes no
    /// topic there.
    pub topics_max: u32,
    /// Memory budgets.
    pub memory: MemoryConfig,
    /// Protocol limits and time-outs.
    pub limits: LimitsConfig,
    /// Settings for topics whose name matches a pattern; the first match holds.
    pub topics: Vec<TopicConfig>,
    /// Compression of what is sent.
    pub compression: CompressionConfig,
    /// What the host wants to hear.
    pub events: EventsConfig,
    /// What the engine says of itself on `$sys` topics.
    pub sys: SysConfig,
    /// Who may connect and publish.
    pub access: AccessConfig,
    /// TLS.
    pub tls: TlsConfig,
    /// How the engine names itself in `welcome`: at most 255 bytes.
    pub server_name: String,
    /// For tests of conformance: receive buffers of 1 KiB, a completion queue of 64 entries, and sends of which the kernel is handed
    /// 1 to 7 bytes, seven times of eight.
    #[cfg(feature = "test-knobs")]
    pub is_tiny: bool,
    /// For tests of faults: so many receive buffers a shard.
    #[cfg(feature = "test-knobs")]
    pub recv_buffers: Option<u16>,
    /// For tests of faults: `SO_SNDBUF` of every connection; the kernel has a least one (4,608 bytes).
    #[cfg(feature = "test-knobs")]
    pub send_buffer: Option<u32>,
    /// For tests of failing shards: called before each turn with the shard's number. An error is taken for its driver's.
    #[cfg(feature = "test-knobs")]
    pub planted_fault: Option<fn(usize) -> std::io::Result<()>>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec![Listener::plain(([127, 0, 0, 1], 9001))],
            shards: None,
            cpus: None,
            driver: DriverChoice::Auto,
            connections_max: 0,
            cursors_max: 1_000_000,
            topics_max: 65_536,
            memory: MemoryConfig::default(),
            limits: LimitsConfig::default(),
            topics: Vec::new(),
            compression: CompressionConfig::default(),
            events: EventsConfig::default(),
            sys: SysConfig::default(),
            access: AccessConfig::default(),
            tls: TlsConfig::default(),
            server_name: concat!("fanwire/", env!("CARGO_PKG_VERSION")).to_owned(),
            #[cfg(feature = "test-knobs")]
            is_tiny: false,
            #[cfg(feature = "test-knobs")]
            recv_buffers: None,
            #[cfg(feature = "test-knobs")]
            send_buffer: None,
            #[cfg(feature = "test-knobs")]
            planted_fault: None,
        }
    }
}

/// Memory budgets in bytes. Reserved at start, touched when used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryConfig {
    /// The ingest ring: a power of two from 64 KiB to 4 GiB.
    pub ring_bytes: usize,
    /// Log blocks of the whole engine, split evenly over the shards.
    pub pool_bytes: usize,
    /// What one lane (topic and priority) may hold on each shard in one encoding.
    pub lane_bytes: usize,
    /// Claims, payloads by reference, messages being received and messages to single connections.
    pub payload_bytes: usize,
    /// Copies of half-sent frames whose log memory was needed, whole engine.
    pub remainder_bytes: usize,
    /// Input and answers that wait, and what clients asked for (patterns, names that are no topics yet), whole engine. Who asks for
    /// more than is left is closed with 1013.
    pub client_bytes: usize,
    /// Where there are listeners with TLS: handshakes, records that are not whole, what is left of half-sent records, whole
    /// engine. Who needs more than is left is cut off.
    pub tls_bytes: usize,
    /// Lock all memory (`mlockall`), so that nothing is ever paged out. Refused where `RLIMIT_MEMLOCK` is below the memory sum
    /// and the process lacks `CAP_IPC_LOCK`.
    pub lock_memory: bool,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self {
            ring_bytes: RING_BYTES_DEFAULT,
            pool_bytes: 256 << 20,
            lane_bytes: 8 << 20,
            payload_bytes: POOL_BYTES_DEFAULT,
            remainder_bytes: 16 << 20,
            client_bytes: 64 << 20,
            tls_bytes: 32 << 20,
            lock_memory: false,
        }
    }
}

/// TLS, of the listeners that speak it ([`Listener::is_tls`]): 1.3 and 1.2, with AES-GCM and ChaCha20-Poly1305. Files are read
/// at the start, and by [`crate::Engine::reconfigure`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// Certificates in PEM, each with its chain behind it, 64 at most. A client gets the first that is for the name it wants
    /// (SNI), or the first of all.
    pub certificate_files: Vec<PathBuf>,
    /// Their private keys in PEM, in the same order.
    pub key_files: Vec<PathBuf>,
    /// Certificates in PEM of those that sign clients' certificates.
    pub client_ca_file: Option<PathBuf>,
    /// Whether clients have to show certificates.
    pub client_certificates: ClientCertificates,
    /// The oldest version that is spoken.
    pub version_min: TlsVersion,
}

/// Whether clients have to show certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificates {
    /// They are not asked.
    #[default]
    Ignored,
    /// They are asked. Who shows none comes in; who shows one that is not signed as it should be stays out.
    Optional,
    /// Who shows none stays out, too.
    Required,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersion {
    /// 1.2 (RFC 5246).
    #[default]
    V12,
    /// 1.3 (RFC 8446).
    V13,
}

/// Protocol limits and time-outs. Spans are kept to a year: one that is longer may never end anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Largest message published or received, up to 64 MiB. A client's larger one is answered with close 1009.
    pub message_bytes_max: usize,
    /// Largest upgrade request, up to 64 KiB; a larger one is answered with 431.
    pub request_bytes_max: usize,
    /// Time from accept to a complete upgrade request.
    pub handshake_timeout: Duration,
    /// Connections before their upgrade, of the whole engine, spread over the shards; at most [`Config::connections_max`]. Where there
    /// would be more, the oldest of the address (IPv6: the /64) that holds most is answered with 503: so nobody who connects and says
    /// nothing shuts others out. 0 (the default): an eighth of the connections, or 256 on each shard if that is more.
    pub handshakes_max: u32,
    /// Connections of one address (IPv6: the /64), over all shards, upgraded or not; one more is answered with 429.
    /// Behind a proxy that hides its clients' addresses they share one. Peers without an address are not counted. 0
    /// (the default): no limit.
    pub connections_per_address_max: u32,
    /// Upgrades that one address may ask for in a minute, over all shards: so many at once, then one each time that its
    /// share of the minute has passed; more are answered with 429, before anything is read. 0 (the default): no limit.
    pub upgrades_per_address_per_minute_max: u32,
    /// Upgrades of one address that may fail in a minute (a malformed or unfinished request, 401, 403 or another 4xx).
    /// One more, and the address is answered with 429 for 30 s; then one may try, and if that fails too, the time
    /// doubles, up to 10 min. Connections that are upgraded stay. 0 (the default): no limit.
    pub failures_per_address_per_minute_max: u32,
    /// Messages that a client may send in a second, pings and pongs included: so many at once, then as the second goes
    /// on. Beyond that nothing is read of it for a while, so it is slowed down and nothing is lost; who goes on for
    /// about a minute is closed with 1008. 0 (the default): no limit.
    pub inbound_messages_per_second_max: u32,
    /// The same for the bytes of an upgraded connection. 0 (the default): no limit.
    pub inbound_bytes_per_second_max: usize,
    /// Time from the first byte of a client's message to its last; who takes longer is closed with 1008, for an unfinished message
    /// takes memory. The clock stands while nothing is read of the client. Zero: as long as it likes.
    pub message_timeout: Duration,
    /// Age at which an upgraded connection is closed with 1012, so that it comes back (elsewhere, or with a new token);
    /// each has up to a tenth more, drawn evenly, so that not all come back at once. Zero: never.
    pub connection_lifetime: Duration,
    /// Connections of one subject ([`crate::Grants::subject`]), over all shards; one more is answered with 429. 0 (the
    /// default): no limit.
    pub connections_per_subject_max: u32,
    /// Topics and patterns that all connections of one subject may subscribe to together; more are refused with
    /// `too_many_subscriptions`. 0 (the default): no limit.
    pub subscriptions_per_subject_max: u32,
    /// Patterns among them. 0 (the default): no limit.
    pub patterns_per_subject_max: u32,
    /// Topics that come to be by the connections of one subject, by subscribing or by publishing, until the last of them
    /// is closed; more are refused with `too_many_topics`. 0 (the default): no limit.
    pub topics_per_subject_max: u32,
    /// Silence after which a connection is sent a ping; closed after as long again without an answer. Zero: never.
    pub ping_every: Duration,
    /// Time without a message from the client after which it is closed. Zero: never.
    pub idle_timeout: Duration,
    /// Time a closing connection gets to finish its close handshake. Zero: it is cut off at once, perhaps before its close frame.
    pub close_timeout: Duration,
    /// Time over which an orderly shutdown spreads its closes, so that those who come back do not all come at once: each connection
    /// is closed with 1012 at a moment of its own, drawn evenly. At most half of the time that the shutdown has. Zero: each is
    /// closed with 1001 as soon as it has everything.
    pub close_window: Duration,
    /// Topics and patterns that one connection may subscribe to; 0: none.
    pub subscriptions_per_connection_max: u32,
    /// Topics that may be there for one connection alone: those that it was the first to name, and that nobody has published to or
    /// subscribed to since. More are refused (`too_many_topics`); 0: none.
    pub topics_per_connection_max: u32,
    /// Bytes that the kernel may hold unsent for one connection, about (`TCP_NOTSENT_LOWAT`): what a critical message may have
    /// to wait behind on a thin link. What does not fit stays in the shared logs, where priorities still count. Less is
    /// better on thin links, and costs fast but distant clients throughput.
    pub unsent_bytes_max: usize,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            message_bytes_max: 64 << 20,
            request_bytes_max: 16 << 10,
            handshake_timeout: Duration::from_secs(10),
            handshakes_max: 0,
            connections_per_address_max: 0,
            upgrades_per_address_per_minute_max: 0,
            failures_per_address_per_minute_max: 0,
            inbound_messages_per_second_max: 0,
            inbound_bytes_per_second_max: 0,
            message_timeout: Duration::from_secs(120),
            connection_lifetime: Duration::ZERO,
            connections_per_subject_max: 0,
            subscriptions_per_subject_max: 0,
            patterns_per_subject_max: 0,
            topics_per_subject_max: 0,
            ping_every: Duration::from_secs(30),
            idle_timeout: Duration::ZERO,
            close_timeout: Duration::from_secs(5),
            close_window: Duration::ZERO,
            subscriptions_per_connection_max: 1_024,
            topics_per_connection_max: 256,
            unsent_bytes_max: 16 << 10,
        }
    }
}

impl LimitsConfig {
    /// The setting by which something is counted for each subject, if there is one.
    pub(crate) fn counts_subjects(&self) -> Option<&'static str> {
        let limits = [
            (self.connections_per_subject_max, "limits.connections_per_subject_max"),
            (self.subscriptions_per_subject_max, "limits.subscriptions_per_subject_max"),
            (self.patterns_per_subject_max, "limits.patterns_per_subject_max"),
            (self.topics_per_subject_max, "limits.topics_per_subject_max"),
        ];
        limits.into_iter().find(|(most, _)| *most > 0).map(|(_, field)| field)
    }

    /// The setting by which something is counted for each address, if there is one.
    pub(crate) fn counts_addresses(&self) -> Option<&'static str> {
        match (self.connections_per_address_max, self.upgrades_per_address_per_minute_max) {
            (1.., _) => Some("limits.connections_per_address_max"),
            (_, 1..) => Some("limits.upgrades_per_address_per_minute_max"),
            _ if self.failures_per_address_per_minute_max > 0 => Some("limits.failures_per_address_per_minute_max"),
            _ => None,
        }
    }

    /// True if something is remembered of addresses without connections.
    pub(crate) fn remembers_addresses(&self) -> bool {
        self.upgrades_per_address_per_minute_max > 0 || self.failures_per_address_per_minute_max > 0
    }

    /// True if there is a limit on how fast clients may send.
    pub(crate) fn limits_senders(&self) -> bool {
        self.inbound_messages_per_second_max > 0 || self.inbound_bytes_per_second_max > 0
    }
}

/// What a topic keeps for those who come, or come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Retention {
    /// Nothing: a subscriber gets only what is published from now on.
    None,
    /// A new subscriber gets the last message of each lane first. One that comes back (`since`) gets what it missed as far as
    /// the log still has it.
    #[default]
    LastValue,
    /// A new subscriber gets the last message of each lane first. One that comes back gets what it missed within these
    /// bounds, all of which hold; whatever is older is announced as a gap.
    Last {
        /// Most messages.
        messages: Option<u64>,
        /// Most bytes of frames.
        bytes: Option<u64>,
        /// Greatest age.
        age: Option<Duration>,
    },
}

/// What happens to a subscriber whose lag exceeds 90 % of a lane's budget. Critical lanes lose nothing whatever the policy:
/// their subscriber is closed with 1013.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SlowPolicy {
    /// The oldest messages are dropped, and the subscriber is told.
    #[default]
    DropOldest,
    /// A subscriber that lags gets only the newest message (of each key). What is passed over shows as a jump of the sequence
    /// number.
    Latest,
    /// The subscriber is closed with 1013.
    Disconnect,
}

/// Settings for the topics that match `pattern`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicConfig {
    /// A topic name or a pattern with `*` and `**`.
    pub pattern: String,
    /// What a new subscriber gets first.
    pub retention: Retention,
    /// What happens to a subscriber that is too slow.
    pub policy: SlowPolicy,
    /// Overrides [`MemoryConfig::lane_bytes`].
    pub lane_bytes: Option<usize>,
    /// How long a batch of `fanwire.batch.v1` may stay open: 0 closes it at each turn of the shard's loop. `None`: 5 ms.
    pub batch_window: Option<Duration>,
    /// Latency budget, in whole milliseconds up to [`TopicConfig::DELIVER_WITHIN_MAX`]: a subscriber is sent to once in that time, and
    /// gets all that has come since. Critical messages do not wait. 0: nothing waits.
    pub deliver_within: Duration,
}

impl TopicConfig {
    /// Largest [`TopicConfig::deliver_within`].
    pub const DELIVER_WITHIN_MAX: Duration = Duration::from_millis(crate::proto::subscribe::DELAY_MS_MAX as u64);
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self {
            pattern: "**".to_owned(),
            retention: Retention::default(),
            policy: SlowPolicy::default(),
            lane_bytes: None,
            batch_window: None,
            deliver_within: Duration::ZERO,
        }
    }
}

/// Compression of what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompressionConfig {
    /// Agree to permessage-deflate when a client offers it.
    pub deflate: bool,
    /// Smaller messages are not compressed; `usize::MAX`: none is.
    pub threshold_bytes: usize,
}

impl Default for CompressionConfig {
    fn default() -> Self {
        Self { deflate: true, threshold_bytes: 1 << 10 }
    }
}

/// What the host wants to hear through [`crate::Events`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct EventsConfig {
    /// Events that may wait per shard, up to 2^20; 0: the host takes none.
    pub capacity: usize,
    /// Raw connections without a topic (`ws://host/`) are accepted, and their messages come as events: needs a capacity.
    pub messages: bool,
}

/// What the engine says of itself on `$sys` topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SysConfig {
    /// Clients and topics told at most in each list, up to 128; 0: nothing is gathered, and nobody may subscribe.
    pub top: u32,
    /// Who comes without grants may subscribe to `$sys` topics.
    pub public: bool,
}

impl Default for SysConfig {
    fn default() -> Self {
        Self { top: 64, public: false }
    }
}

/// Who may publish over the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum PublishAccess {
    /// Only the host.
    #[default]
    Nobody,
    /// Peers on this machine, unless a browser or a proxy speaks for them (no `Origin`, no forwarding header). A TLS terminator
    /// or a tunnel on this machine that adds no header makes everybody who comes through it such a peer: see the README.
    Loopback,
    /// Everyone who may connect.
    Everyone,
}

/// Who may connect and publish.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct AccessConfig {
    /// Who may publish over the socket.
    pub publish: PublishAccess,
    /// Origins that may connect, such as `https://example.org` or `http://localhost:3000`; empty: any. Compared in the normal form of
    /// RFC 6454 (scheme and host in lower case, no port that is the scheme's own); what no page can have is refused at start.
    /// `null` lets in every page without an origin, such as sandboxed frames. A request without `Origin` is no browser's and may.
    pub allowed_origins: Vec<String>,
    /// The host decides on each upgrade, by [`crate::Event::Authorize`] and [`crate::Engine::decide`]: needs a capacity of events.
    /// What it grants takes the place of `publish`.
    pub ask_host: Option<AskHost>,
    /// Proxies that are believed when they say whom they speak for, 64 at most. A listener that is
    /// [proxied](Listener::is_proxied) takes headers of the PROXY protocol from these alone. `X-Forwarded-For` is looked at
    /// where the peer is one of these, from its right end to the first address that is not one: that is the client, for
    /// limits, events and lines of the log. It never makes a client one on this machine ([`PublishAccess::Loopback`]).
    pub trusted_proxies: Vec<TrustedProxy>,
}

/// A span in nanoseconds, for sums with instants: none overflows, because a longer one is taken for 2^62 (146 years).
pub(crate) const fn nanoseconds(span: Duration) -> u64 {
    const LONGEST: u128 = 1 << 62;
    let ns = span.as_nanos();
    if ns < LONGEST { ns as u64 } else { LONGEST as u64 }
}
