//! The one table of what is counted: name, gauge or counter, unit, help.
//!
//! [`ShardStats`], the C struct `fw_stats`, Python's `Stats` and the documentation come out of it or are checked against it.
//! Knows numbers. Must never know who counts.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Whether a number only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CounterKind {
    /// What is now: it goes up and down.
    Gauge,
    /// What has been since the start: it only grows.
    Total,
    /// The most that there has been at once: of several shards, the highest.
    Peak,
}

impl CounterKind {
    const fn sum(self, a: u64, b: u64) -> u64 {
        match self {
            CounterKind::Gauge | CounterKind::Total => a + b,
            CounterKind::Peak if a > b => a,
            CounterKind::Peak => b,
        }
    }
}

/// One number that an engine keeps of itself: a row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counter {
    /// Its name in [`ShardStats`] (or [`crate::Stats`]), `fw_stats` and Python's `Stats`.
    pub name: &'static str,
    /// Whether it only grows.
    pub kind: CounterKind,
    /// What is counted.
    pub unit: &'static str,
    /// What it says, for a person.
    pub help: &'static str,
    /// There is one for the whole engine, instead of one for each shard.
    pub is_of_engine: bool,
}

/// All numbers: the engine's, then those of each shard.
pub fn counters() -> impl Iterator<Item = &'static Counter> + Clone {
    OF_ENGINE.iter().chain(OF_SHARD)
}

const fn of_engine(name: &'static str, unit: &'static str, help: &'static str) -> Counter {
    Counter { name, kind: CounterKind::Gauge, unit, help, is_of_engine: true }
}

static OF_ENGINE: &[Counter] = &[
    of_engine("shards", "threads", "Shards of the engine."),
    of_engine("ring_bytes", "bytes", "Queued in the ingest ring, between publishers and the slowest shard."),
    of_engine("payload_bytes", "bytes", "Payload memory in use."),
];

/// The sum over shards. What every shard sees (messages and topics) is counted once.
pub fn total(shards: &[ShardStats]) -> ShardStats {
    let mut total = ShardStats::default();
    for shard in shards {
        total += *shard;
    }
    let highest = |of: fn(&ShardStats) -> u64| shards.iter().map(of).max().unwrap_or(0);
    total.messages = highest(|shard| shard.messages);
    total.message_bytes = highest(|shard| shard.message_bytes);
    total.topics = highest(|shard| shard.topics);
    total
}

macro_rules! counters {
    (($dollar:tt) $($(#[doc = $help:literal])* $kind:ident $name:ident in $unit:literal),* $(,)?) => {
        /// What a shard counts: written by the shard alone, read by anyone, each value exact, together only roughly so.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[doc = $help])* pub $name: AtomicU64,)*
        }

        /// What the shards count at one moment, or the sum over shards.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct ShardStats {
            $($(#[doc = $help])* pub $name: u64,)*
        }

        static OF_SHARD: &[Counter] = &[$(Counter {
            name: stringify!($name),
            kind: CounterKind::$kind,
            unit: $unit,
            help: concat!($($help),*).trim_ascii(),
            is_of_engine: false,
        },)*];

        impl Counters {
            /// Reads all of them.
            pub fn read(&self) -> ShardStats {
                ShardStats { $($name: self.$name.load(Relaxed),)* }
            }

            /// Stores `now` over all of them.
            pub fn store(&self, now: &ShardStats) {
                $(self.$name.store(now.$name, Relaxed);)*
            }
        }

        impl ShardStats {
            /// All numbers, with their rows of the table, in its order.
            pub fn values(&self) -> impl Iterator<Item = (&'static Counter, u64)> {
                OF_SHARD.iter().zip([$(self.$name),*])
            }
        }

        impl std::ops::AddAssign for ShardStats {
            fn add_assign(&mut self, other: Self) {
                $(self.$name = CounterKind::$kind.sum(self.$name, other.$name);)*
            }
        }

        /// Calls a macro with what it is given, and then the names of all numbers that each shard keeps: for bindings that
        /// have a field for each.
        #[doc(hidden)]
        #[macro_export]
        macro_rules! for_each_counter {
            ($dollar callback:ident $dollar($dollar given:tt)*) => {
                $dollar callback! { $dollar($dollar given)* $($name)* }
            };
        }
    };
}

counters! { ($)
    /// Connections open now, handshakes included.
    Gauge connections in "connections",
    /// Connections accepted.
    Total accepted in "connections",
    /// Connections refused with 503, or 429, because a limit was reached.
    Total refused in "connections",
    /// Upgrades completed.
    Total upgraded in "connections",
    /// Upgrades refused (4xx).
    Total upgrades_refused in "connections",
    /// Connections closed, for whatever reason.
    Total closed in "connections",
    /// Connections closed for breaking the protocol (1002, 1007, 1009, 1008).
    Total violations in "connections",
    /// Connections closed: too slow for critical messages, or no room for their rest.
    Total evicted in "connections",
    /// Connections closed because they did not answer a ping.
    Total pongs_missed in "connections",
    /// Connections cut off by a shutdown that ran out of time.
    Total cut_off in "connections",
    /// Topics known.
    Gauge topics in "topics",
    /// Cursors in use: one for each subscription, topic and priority.
    Gauge cursors in "cursors",
    /// Messages read from the ring.
    Total messages in "messages",
    /// Payload bytes read from the ring.
    Total message_bytes in "bytes",
    /// Messages received from clients.
    Total received in "messages",
    /// Frames delivered from logs: one for each message and subscriber.
    Total deliveries in "messages",
    /// Messages rendered into derived logs.
    Total encoded in "messages",
    /// Compressions done.
    Total compressed in "messages",
    /// Derived logs built again for a subscriber that came back.
    Total rebuilt in "logs",
    /// Cursors that passed 70 % of their lane's budget.
    Total lagging in "cursors",
    /// Messages passed over by `latest`, `max_hz`, expiry and exclusions.
    Total passed_over in "messages",
    /// Bytes given to the kernel.
    Total sent_bytes in "bytes",
    /// Sends submitted.
    Total sends in "sends",
    /// Sends that the socket did not take whole.
    Total sends_short in "sends",
    /// System calls.
    Total syscalls in "calls",
    /// Gaps: runs of messages lost by one cursor.
    Total gaps in "gaps",
    /// Critical messages lost by cursors (never, while their connection lives).
    Total dropped_critical in "messages",
    /// High messages lost by cursors.
    Total dropped_high in "messages",
    /// Normal messages lost by cursors.
    Total dropped_normal in "messages",
    /// Low messages lost by cursors.
    Total dropped_low in "messages",
    /// Frames that found no log memory at all.
    Total unlogged in "messages",
    /// Log memory in use.
    Gauge log_bytes in "bytes",
    /// Copies of half-sent frames.
    Gauge remainder_bytes in "bytes",
    /// Events that the host was too slow to take and that wait on their connection.
    Gauge events_waiting in "events",
    /// Turns of the loop.
    Total turns in "turns",
    /// Turns that slept.
    Total sleeps in "turns",
    /// Times no receive buffer was free.
    Total recv_buffers_exhausted in "times",
    /// Completion-queue overflows.
    Total cq_overflows in "times",
    /// Times accept failed for want of descriptors.
    Total accept_exhausted in "times",
    /// The most work in one turn.
    Peak turn_steps_max in "steps",
    /// The longest turn by the thread's CPU clock.
    Peak turn_ns_max in "nanoseconds",
    /// Input and answers that wait, and what clients asked for.
    Gauge client_bytes in "bytes",
    /// Connections closed with 1012 at the end of their lifetime.
    Total lifetimes_ended in "connections",
    /// Of those refused: with 429, because their address came too often.
    Total refused_too_often in "connections",
    /// Of those refused: with 429, because upgrades of their address failed.
    Total refused_failing in "connections",
    /// Times an address began to be refused because its upgrades failed.
    Total addresses_failing in "times",
    /// Connections and requests refused for what their subject has already.
    Total refused_for_subject in "times",
    /// Times a client sent faster than it may, and was not read for a while.
    Total input_paused in "times",
    /// Clients that are not read just now, for they sent faster than they may.
    Gauge senders_paused in "connections",
    /// Connections closed with 1008 for going on so.
    Total too_fast in "connections",
    /// Connections that a shutdown has closed in good order.
    Total drained in "connections",
    /// Closed at a ?proxy listener: not a trusted proxy's, or no header.
    Total proxy_refused in "connections",
    /// Of those refused: with 503, because connections_max was reached.
    Total refused_full in "connections",
    /// Of those refused: with 429, because of connections_per_address_max.
    Total refused_for_address in "connections",
    /// Of those refused: with 503, to make room for a newer upgrade.
    Total refused_waiting in "connections",
    /// Requests refused for a maximum of subscriptions, patterns or cursors.
    Total subscriptions_refused in "requests",
    /// Requests refused because no more topics can be made, or not for them.
    Total topics_refused in "requests",
    /// Connections closed with 1009 for a message beyond the largest.
    Total messages_too_large in "messages",
    /// Bytes of messages that were compressed, before.
    Total compressed_from_bytes in "bytes",
    /// Bytes of messages that were compressed, after.
    Total compressed_to_bytes in "bytes",
    /// Bytes that subscribers were not sent because messages were compressed.
    Total compression_saved_bytes in "bytes",
    /// Time in turns, waiting left out.
    Total busy_ns in "nanoseconds",
    /// Tokens of open connections that were taken.
    Total renewed in "tokens",
    /// Tokens of open connections that were refused; those went on as before.
    Total renewals_refused in "tokens",
    /// TLS handshakes completed.
    Total tls_handshakes in "handshakes",
    /// Connections given up for what came over TLS, or for want of memory for it.
    Total tls_failed in "connections",
    /// TLS: what handshakes, records that are not whole and rests of records hold.
    Gauge tls_bytes in "bytes",
    /// The most that was held so at once.
    Peak tls_bytes_max in "bytes",
    /// Messages refused: their number was not above those before it in its lane.
    Total out_of_order in "messages",
    /// Connections given up because their upgrade request was not whole in time.
    Total handshakes_late in "connections",
    /// Connections closed with 1001 for idle_timeout without a message.
    Total closed_idle in "connections",
}
