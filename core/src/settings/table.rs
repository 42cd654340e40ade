//! The table of settings itself.
//!
//! Knows each setting's name, unit, range and help; the default is `Config::default`'s. What one setting has to do
//! with another is in `validate`.

use std::time::Duration;

use super::Setting;
use super::kind::{Choice, Kind};
use super::list::{
    List, parse_paths, parts, set_cpus, set_listen, set_topics, set_trusted_proxies, show_cpus, show_paths,
    show_topics, show_trusted_proxies,
};
use super::number::Number;
use crate::access::AskHost;
use crate::config::{ClientCertificates, DriverChoice, PublishAccess, TlsVersion};
use crate::ingest::{RING_BYTES_MAX, RING_BYTES_MIN};
use crate::plan::{MESSAGE_BYTES_MAX, SHARDS_MAX};

/// Most cursors.
const CURSORS_MAX: u64 = 1 << 30;
/// Most connections.
const CONNECTIONS_MAX: u64 = 16_000_000;
/// Most things in a second, or a minute: each has at least a nanosecond.
const RATE_MAX: u64 = 1_000_000_000;
/// Most bytes of a client in a second.
const INBOUND_BYTES_MAX: u64 = 1 << 40;
/// Most topics.
const TOPICS_MAX: u64 = 1_000_000;
/// Most events that may wait on one shard: their places are taken from the system at once.
const EVENTS_MAX: u64 = 1 << 20;
/// Longest name of a server: it must fit in `welcome`.
const SERVER_NAME_MAX: usize = 255;
/// Most clients and topics in a list of `$sys` topics.
const SYS_TOP_MAX: u64 = 128;
/// Least that a lane may hold.
pub(super) const LANE_BYTES_MIN: usize = 16 << 10;
/// More memory than any machine has: sums of such numbers do not overflow.
const BYTES_MAX: u64 = 1 << 50;

macro_rules! number {
    ($($field:ident).+, $type:ty, $least:expr, $most:expr) => {
        Number {
            get: |config| config.$($field).+ as u64,
            set: |config, value| config.$($field).+ = value as $type,
            least: $least as u64,
            most: $most as u64,
            has_auto: false,
            is_power_of_two: false,
        }
    };
}
macro_rules! bytes {
    ($($field:ident).+, $least:expr, $most:expr) => { Kind::Bytes(number!($($field).+, usize, $least, $most)) };
}
macro_rules! count {
    ($($field:ident).+, $least:expr, $most:expr) => { Kind::Count(number!($($field).+, u32, $least, $most)) };
}
macro_rules! time {
    ($($field:ident).+, above_zero: $is_above_zero:literal) => {
        Kind::Time {
            get: |config| config.$($field).+,
            set: |config, span| config.$($field).+ = span,
            is_above_zero: $is_above_zero,
        }
    };
}
macro_rules! flag {
    ($($field:ident).+) => {
        Kind::Flag { get: |config| config.$($field).+, set: |config, is_on| config.$($field).+ = is_on }
    };
}

const fn row(name: &'static str, keyword: &'static str, kind: Kind, help: &'static str) -> Setting {
    Setting {
        name,
        keyword,
        help,
        is_reloadable: false,
        is_sized: false,
        is_secret: false,
        is_for_hosts: false,
        has_field: true,
        kind,
    }
}

const fn reloadable(setting: Setting) -> Setting {
    Setting { is_reloadable: true, ..setting }
}

/// Reloadable where it is on.
const fn sized(setting: Setting) -> Setting {
    Setting { is_sized: true, ..reloadable(setting) }
}

/// Of use only to a program that has the engine inside itself.
const fn for_hosts(setting: Setting) -> Setting {
    Setting { is_for_hosts: true, ..setting }
}

/// Given to C by its name alone.
const fn by_name(setting: Setting) -> Setting {
    Setting { has_field: false, ..setting }
}

pub(super) static TABLE: &[Setting] = &[
    row(
        "listen",
        "listen",
        Kind::List(List {
            separator: ',',
            show: |config| config.listen.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
            set: set_listen,
            values: "IP:PORT, wss://IP:PORT, unix:PATH, fd:NAME, systemd; several with commas",
        }),
        "Where to listen; port 0 takes a free one; wss:// speaks TLS; unix: is a Unix socket for proxies on this machine; fd: and \
         systemd take sockets that the process was started with; ?proxy at the end: connections begin with the PROXY \
         protocol, from access.trusted_proxies alone",
    ),
    row(
        "shards",
        "shards",
        Kind::Count(Number {
            get: |config| config.shards.unwrap_or(0) as u64,
            set: |config, value| config.shards = (value > 0).then_some(value as usize),
            least: 1,
            most: SHARDS_MAX as u64,
            has_auto: true,
            is_power_of_two: false,
        }),
        "Threads that serve clients; auto takes as many as CPU affinity and the cgroup's quota allow",
    ),
    row(
        "cpus",
        "cpus",
        Kind::List(List {
            separator: ',',
            show: show_cpus,
            set: set_cpus,
            values: "CPUs such as 0,1 or 2-5; none; auto",
        }),
        "CPUs to pin the shards to, in this order; auto takes those this process may use; none pins nothing, which \
         is better where other programs keep all CPUs busy",
    ),
    row(
        "driver",
        "driver",
        Kind::Word(Choice {
            get: |config| match config.driver {
                DriverChoice::Auto => "auto",
                DriverChoice::Uring => "uring",
                DriverChoice::Epoll => "epoll",
            },
            words: &[
                ("auto", |config| config.driver = DriverChoice::Auto),
                ("uring", |config| config.driver = DriverChoice::Uring),
                ("epoll", |config| config.driver = DriverChoice::Epoll),
            ],
        }),
        "How to talk to the kernel; auto takes io_uring, or epoll (and says so) where io_uring is refused; uring \
         refuses to start there",
    ),
    row(
        "server_name",
        "server_name",
        Kind::Text {
            get: |config| &config.server_name,
            set: |config, name| config.server_name = name,
            bytes_max: SERVER_NAME_MAX,
        },
        "How the engine names itself to clients",
    ),
    row(
        "connections_max",
        "connections_max",
        Kind::Count(Number { has_auto: true, ..number!(connections_max, u32, 1, CONNECTIONS_MAX) }),
        "Connections at once; one more is answered with 503; auto: 10000, or what the limit on open files allows",
    ),
    row(
        "cursors_max",
        "cursors_max",
        count!(cursors_max, 1, CURSORS_MAX),
        "Subscriptions at once, counted by topic and priority in use, over all connections; the last eighth is for \
         connections with fewer than 1,024",
    ),
    row(
        "topics_max",
        "topics_max",
        count!(topics_max, 1, TOPICS_MAX),
        "Topics at once; the last eighth is for publishers",
    ),
    row(
        "memory.ring_bytes",
        "ring_bytes",
        Kind::Bytes(Number {
            is_power_of_two: true,
            ..number!(memory.ring_bytes, usize, RING_BYTES_MIN, RING_BYTES_MAX)
        }),
        "Messages published and not yet taken by every shard (a power of two)",
    ),
    row(
        "memory.pool_bytes",
        "pool_bytes",
        bytes!(memory.pool_bytes, 0, BYTES_MAX),
        "Messages kept for all subscribers together, over all shards; each shard's part must hold a lane",
    ),
    row(
        "memory.lane_bytes",
        "lane_bytes",
        bytes!(memory.lane_bytes, LANE_BYTES_MIN, BYTES_MAX),
        "How far behind a subscriber may be in one topic and priority before it skips, and is told the gap",
    ),
    row(
        "memory.payload_bytes",
        "payload_bytes",
        bytes!(memory.payload_bytes, 0, BYTES_MAX),
        "Large messages, and messages being received; room for two of the largest at least",
    ),
    row(
        "memory.remainder_bytes",
        "remainder_bytes",
        bytes!(memory.remainder_bytes, 0, BYTES_MAX),
        "Copies of half-sent messages whose log memory was needed",
    ),
    by_name(row(
        "memory.client_bytes",
        "client_bytes",
        bytes!(memory.client_bytes, 64 << 10, BYTES_MAX),
        "Input and answers that wait, and what clients asked for; who asks for more is closed with 1013",
    )),
    by_name(row(
        "memory.tls_bytes",
        "tls_bytes",
        bytes!(memory.tls_bytes, 64 << 10, BYTES_MAX),
        "Where TLS is spoken: handshakes, records that are not whole, rests of half-sent ones; who needs more is cut off",
    )),
    row(
        "memory.lock_memory",
        "lock_memory",
        flag!(memory.lock_memory),
        "Lock all memory of the process, so that nothing is ever paged out",
    ),
    row(
        "limits.message_bytes_max",
        "message_bytes_max",
        bytes!(limits.message_bytes_max, 1, MESSAGE_BYTES_MAX),
        "Largest message, published or received; a client's larger one is answered with close 1009",
    ),
    reloadable(row(
        "limits.request_bytes_max",
        "request_bytes_max",
        bytes!(limits.request_bytes_max, 512, 64 << 10),
        "Largest HTTP request of a client that connects; a larger one is answered with 431",
    )),
    row(
        "limits.unsent_bytes_max",
        "unsent_bytes_max",
        bytes!(limits.unsent_bytes_max, 1 << 10, 64 << 20),
        "Bytes that the kernel may hold unsent for one subscriber: what a critical message may have to wait behind; \
         less is better for thin links (4KiB), more for fast ones over long distances",
    ),
    reloadable(row(
        "limits.handshake_timeout",
        "handshake_timeout",
        time!(limits.handshake_timeout, above_zero: true),
        "Time that a connection gets to send its whole upgrade request",
    )),
    by_name(row(
        "limits.handshakes_max",
        "handshakes_max",
        count!(limits.handshakes_max, 0, CONNECTIONS_MAX),
        "Connections before their upgrade; beyond, the oldest of the address with most gets 503; 0: an eighth of all",
    )),
    reloadable(by_name(row(
        "limits.message_timeout",
        "message_timeout",
        time!(limits.message_timeout, above_zero: false),
        "Time from the first byte of a client's message to its last; who takes longer is closed with 1008; 0: no limit",
    ))),
    sized(by_name(row(
        "limits.connections_per_address_max",
        "connections_per_address_max",
        count!(limits.connections_per_address_max, 0, CONNECTIONS_MAX),
        "Connections of one address (IPv6: the /64) at once; one more is answered with 429; 0: no limit",
    ))),
    sized(by_name(row(
        "limits.upgrades_per_address_per_minute_max",
        "upgrades_per_address_per_minute_max",
        count!(limits.upgrades_per_address_per_minute_max, 0, RATE_MAX),
        "Upgrades that one address (IPv6: the /64) may ask for in a minute; more are answered with 429; 0: no limit",
    ))),
    sized(by_name(row(
        "limits.failures_per_address_per_minute_max",
        "failures_per_address_per_minute_max",
        count!(limits.failures_per_address_per_minute_max, 0, RATE_MAX),
        "Upgrades of one address that may fail in a minute; after one more it is answered with 429 for 30 s, twice as \
         long each time that it fails again, 10 min at most; 0: no limit",
    ))),
    sized(by_name(row(
        "limits.inbound_messages_per_second_max",
        "inbound_messages_per_second_max",
        count!(limits.inbound_messages_per_second_max, 0, RATE_MAX),
        "Messages, pings and pongs that a client may send in a second; beyond that nothing is read of it for a while, \
         and who goes on for about a minute is closed with 1008; 0: no limit",
    ))),
    sized(by_name(row(
        "limits.inbound_bytes_per_second_max",
        "inbound_bytes_per_second_max",
        bytes!(limits.inbound_bytes_per_second_max, 0, INBOUND_BYTES_MAX),
        "Bytes that a client may send in a second, likewise; 0: no limit",
    ))),
    sized(by_name(row(
        "limits.connection_lifetime",
        "connection_lifetime",
        time!(limits.connection_lifetime, above_zero: false),
        "Age, and up to a tenth more, at which a connection is closed with 1012 so that it comes back; 0: never",
    ))),
    sized(by_name(row(
        "limits.connections_per_subject_max",
        "connections_per_subject_max",
        count!(limits.connections_per_subject_max, 0, CONNECTIONS_MAX),
        "Connections of one subject (a token's sub) at once; one more is answered with 429; 0: no limit",
    ))),
    sized(by_name(row(
        "limits.subscriptions_per_subject_max",
        "subscriptions_per_subject_max",
        count!(limits.subscriptions_per_subject_max, 0, u32::MAX),
        "Topics and patterns that all connections of one subject may subscribe to together; 0: no limit",
    ))),
    sized(by_name(row(
        "limits.patterns_per_subject_max",
        "patterns_per_subject_max",
        count!(limits.patterns_per_subject_max, 0, u32::MAX),
        "Patterns that all connections of one subject may subscribe to together; 0: no limit",
    ))),
    sized(by_name(row(
        "limits.topics_per_subject_max",
        "topics_per_subject_max",
        count!(limits.topics_per_subject_max, 0, TOPICS_MAX),
        "Topics that come to be by all connections of one subject, until the last of them is closed; more are refused \
         with too_many_topics; 0: no limit",
    ))),
    reloadable(row(
        "limits.ping_every",
        "ping_every",
        time!(limits.ping_every, above_zero: false),
        "Silence after which a client is pinged; without an answer for as long again it is closed; 0 never pings",
    )),
    reloadable(row(
        "limits.idle_timeout",
        "idle_timeout",
        time!(limits.idle_timeout, above_zero: false),
        "Time without a message from a client after which it is closed; 0 never does",
    )),
    reloadable(row(
        "limits.close_timeout",
        "close_timeout",
        time!(limits.close_timeout, above_zero: false),
        "Time that a closing connection gets for its close handshake; 0 cuts it off at once, perhaps before its close frame",
    )),
    reloadable(row(
        "limits.close_window",
        "close_window",
        time!(limits.close_window, above_zero: false),
        "Time over which a shutdown spreads its closes (with 1012), so that clients do not all come back at once; at \
         most half of the time that the shutdown has; 0 closes each (with 1001) as soon as it has everything",
    )),
    reloadable(row(
        "limits.subscriptions_per_connection_max",
        "subscriptions_per_connection_max",
        count!(limits.subscriptions_per_connection_max, 0, u32::MAX),
        "Topics and patterns that one connection may subscribe to",
    )),
    reloadable(by_name(row(
        "limits.topics_per_connection_max",
        "topics_per_connection_max",
        count!(limits.topics_per_connection_max, 0, u32::MAX),
        "Topics that may be there for one connection alone: it was the first to name them, and nobody has published to them or \
         subscribed to them since; more are refused with too_many_topics",
    ))),
    reloadable(row(
        "topics",
        "topics",
        Kind::List(List {
            separator: '\n',
            show: show_topics,
            set: set_topics,
            values: "PATTERN=WORD[,WORD…], one a line",
        }),
        "How topics that match a pattern are treated; the first match holds. Words: for slow subscribers \
         drop-oldest, latest (only the newest of each key), disconnect; for those who come later keep-nothing, \
         keep-last, keep-messages=N, keep-bytes=SIZE, keep-for=TIME; lane-bytes=SIZE; batch-window=TIME",
    )),
    reloadable(row(
        "compression.deflate",
        "deflate",
        flag!(compression.deflate),
        "Compress WebSocket messages for clients that offer permessage-deflate",
    )),
    reloadable(row(
        "compression.threshold_bytes",
        "compression_threshold_bytes",
        bytes!(compression.threshold_bytes, 0, usize::MAX),
        "Messages from this size on are compressed for clients that agreed to it",
    )),
    reloadable(row(
        "access.publish",
        "publish_access",
        Kind::Word(Choice {
            get: |config| match config.access.publish {
                PublishAccess::Loopback => "loopback",
                PublishAccess::Everyone => "everyone",
                PublishAccess::Nobody => "nobody",
            },
            words: &[
                ("loopback", |config| config.access.publish = PublishAccess::Loopback),
                ("everyone", |config| config.access.publish = PublishAccess::Everyone),
                ("nobody", |config| config.access.publish = PublishAccess::Nobody),
            ],
        }),
        "Who may publish over the socket; loopback: programs on this machine that are no browser and no proxy",
    )),
    reloadable(row(
        "access.allowed_origins",
        "allowed_origins",
        Kind::List(List {
            separator: ',',
            show: |config| config.access.allowed_origins.join(","),
            set: |config, text| {
                config.access.allowed_origins = parts(text).map(str::to_owned).collect();
                Ok(())
            },
            values: "origins, several with commas",
        }),
        "Origins that browsers may connect from, such as https://example.org, compared exactly; none given: any",
    )),
    reloadable(by_name(row(
        "access.trusted_proxies",
        "trusted_proxies",
        Kind::List(List {
            separator: ',',
            show: show_trusted_proxies,
            set: set_trusted_proxies,
            values: "addresses, blocks such as 10.0.0.0/8, unix; several with commas",
        }),
        "Proxies that are believed when they say whom they speak for, by X-Forwarded-For or, at a listener with ?proxy, by the \
         PROXY protocol; unix: those that come by a Unix socket; 64 at most",
    ))),
    reloadable(by_name(row(
        "tls.certificate_files",
        "tls_certificate_files",
        Kind::List(List {
            separator: ',',
            show: |config| show_paths(&config.tls.certificate_files),
            set: |config, text| {
                config.tls.certificate_files = parse_paths(text);
                Ok(())
            },
            values: "PEM files, several with commas",
        }),
        "Certificates, each with its chain; a client gets the first that is for the name it wants, or the first of all",
    ))),
    reloadable(by_name(row(
        "tls.key_files",
        "tls_key_files",
        Kind::List(List {
            separator: ',',
            show: |config| show_paths(&config.tls.key_files),
            set: |config, text| {
                config.tls.key_files = parse_paths(text);
                Ok(())
            },
            values: "PEM files, several with commas",
        }),
        "The certificates' private keys, in the same order",
    ))),
    reloadable(by_name(row(
        "tls.client_ca_file",
        "tls_client_ca_file",
        Kind::List(List {
            separator: ',',
            show: |config| show_paths(config.tls.client_ca_file.as_slice()),
            set: |config, text| {
                config.tls.client_ca_file = (!text.trim().is_empty()).then(|| text.trim().into());
                Ok(())
            },
            values: "a PEM file",
        }),
        "Certificates of those that sign clients' certificates",
    ))),
    reloadable(by_name(row(
        "tls.client_certificates",
        "tls_client_certificates",
        Kind::Word(Choice {
            get: |config| match config.tls.client_certificates {
                ClientCertificates::Ignored => "ignored",
                ClientCertificates::Optional => "optional",
                ClientCertificates::Required => "required",
            },
            words: &[
                ("ignored", |config| config.tls.client_certificates = ClientCertificates::Ignored),
                ("optional", |config| config.tls.client_certificates = ClientCertificates::Optional),
                ("required", |config| config.tls.client_certificates = ClientCertificates::Required),
            ],
        }),
        "Whether clients have to show certificates that tls.client_ca_file has signed",
    ))),
    reloadable(by_name(row(
        "tls.version_min",
        "tls_version_min",
        Kind::Word(Choice {
            get: |config| match config.tls.version_min {
                TlsVersion::V12 => "1.2",
                TlsVersion::V13 => "1.3",
            },
            words: &[
                ("1.2", |config| config.tls.version_min = TlsVersion::V12),
                ("1.3", |config| config.tls.version_min = TlsVersion::V13),
            ],
        }),
        "The oldest version of TLS that is spoken",
    ))),
    reloadable(for_hosts(by_name(row(
        "access.ask_host_within",
        "ask_host_within",
        Kind::Time {
            get: |config| config.access.ask_host.as_ref().map_or(Duration::ZERO, |asks| asks.within),
            set: |config, within| {
                let headers = config.access.ask_host.take().map(|asks| asks.headers).unwrap_or_default();
                config.access.ask_host = AskHost::of(within, headers);
            },
            is_above_zero: false,
        },
        "The program decides on each upgrade, within this time, else the client gets 503; below limits.handshake_timeout; needs \
         events.capacity; 0: it is not asked",
    )))),
    reloadable(for_hosts(by_name(row(
        "access.ask_host_headers",
        "ask_host_headers",
        Kind::List(List {
            separator: ',',
            show: |config| config.access.ask_host.as_ref().map_or(String::new(), |asks| asks.headers.join(",")),
            set: |config, text| {
                let within = config.access.ask_host.take().map_or(Duration::ZERO, |asks| asks.within);
                config.access.ask_host = AskHost::of(within, parts(text).map(str::to_owned).collect());
                Ok(())
            },
            values: "names of headers, several with commas",
        }),
        "Headers of the upgrade request that the program is told when it is asked, such as cookie; 16 at most",
    )))),
    by_name(row(
        "sys.top",
        "sys_top",
        count!(sys.top, 0, SYS_TOP_MAX),
        "Clients and topics told at most in each list of $sys topics and snapshots; 0: nothing is gathered, and nobody may subscribe",
    )),
    reloadable(by_name(row(
        "sys.public",
        "sys_public",
        flag!(sys.public),
        "Who comes without grants may subscribe to $sys topics, which say who is connected and what is published",
    ))),
    for_hosts(row(
        "events.capacity",
        "events",
        Kind::Count(number!(events.capacity, usize, 0, EVENTS_MAX)),
        "Events that may wait on each shard for the program; 0: none are made",
    )),
    for_hosts(row(
        "events.messages",
        "messages",
        flag!(events.messages),
        "Clients may connect to / without a topic, and their messages come as events; needs events.capacity",
    )),
];
