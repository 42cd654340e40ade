//! What the engine has counted.
//!
//! # Contract of the unsafe code
//! The host's struct is as large as its first field says.

use std::ffi::c_char;
use std::mem::offset_of;
use std::ptr;
use std::time::Duration;

use fanwire::{ShardStats, SysTopic};

use crate::config::check_size;
use crate::engine::{fw_engine, host};
use crate::guard::guard;
use crate::host::Host;
use crate::status::{Failure, Outcome, fw_status};
use crate::text::{copy_text, text};
use crate::topic::{fw_topic, with_topic};

/// What an engine, or one of its shards, has counted. Set struct_size to sizeof(fw_stats) before each call: later versions add
/// numbers at the end.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct fw_stats {
    /// sizeof(fw_stats).
    pub struct_size: u32,
    /// Shards of the engine.
    pub shards: u32,
    /// Bytes queued in the ingest ring, between publishers and the slowest shard.
    pub ring_bytes: u64,
    /// Payload memory in use.
    pub payload_bytes: u64,
    /// Messages by reference whose release callback has not run yet.
    pub references: u64,
    /// Their bytes.
    pub reference_bytes: u64,
    /// Connections open now, handshakes included.
    pub connections: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections refused with 503, or 429, because a limit was reached.
    pub refused: u64,
    /// Upgrades completed.
    pub upgraded: u64,
    /// Upgrades refused.
    pub upgrades_refused: u64,
    /// Connections closed, for whatever reason.
    pub closed: u64,
    /// Connections closed for breaking the protocol.
    pub violations: u64,
    /// Connections closed because they were too slow for their critical messages.
    pub evicted: u64,
    /// Connections closed because they did not answer a ping.
    pub pongs_missed: u64,
    /// Connections cut off by a shutdown that ran out of time.
    pub cut_off: u64,
    /// Topics known.
    pub topics: u64,
    /// Subscriptions, one for each topic and priority.
    pub cursors: u64,
    /// Messages read from the ring.
    pub messages: u64,
    /// Their bytes.
    pub message_bytes: u64,
    /// Messages received from clients.
    pub received: u64,
    /// Messages delivered, one for each subscriber.
    pub deliveries: u64,
    /// Messages rendered into another encoding.
    pub encoded: u64,
    /// Compressions done.
    pub compressed: u64,
    /// Logs of an encoding that were built again for a subscriber that came back.
    pub rebuilt: u64,
    /// Subscriptions that fell behind by more than 70 % of lane_bytes.
    pub lagging: u64,
    /// Messages passed over by FW_SLOW_LATEST, max_hz, expiry and exclusions.
    pub passed_over: u64,
    /// Bytes given to the kernel.
    pub sent_bytes: u64,
    /// Sends submitted.
    pub sends: u64,
    /// Sends that the socket did not take whole.
    pub sends_short: u64,
    /// System calls.
    pub syscalls: u64,
    /// Runs of messages that one subscription lost.
    pub gaps: u64,
    /// Critical messages that subscriptions lost.
    pub dropped_critical: u64,
    /// High messages that subscriptions lost.
    pub dropped_high: u64,
    /// Normal messages that subscriptions lost.
    pub dropped_normal: u64,
    /// Low messages that subscriptions lost.
    pub dropped_low: u64,
    /// Messages for which no log memory was left.
    pub unlogged: u64,
    /// Log memory in use.
    pub log_bytes: u64,
    /// Copies of half-sent messages.
    pub remainder_bytes: u64,
    /// Events that wait because the host does not take them.
    pub events_waiting: u64,
    /// Turns of the shards' loops.
    pub turns: u64,
    /// Turns that slept.
    pub sleeps: u64,
    /// Times that no receive buffer was free.
    pub recv_buffers_exhausted: u64,
    /// Completion-queue overflows.
    pub cq_overflows: u64,
    /// Times that accept failed for want of descriptors.
    pub accept_exhausted: u64,
    /// The most work in one turn, in steps; of several shards, the highest.
    pub turn_steps_max: u64,
    /// The longest turn by its thread's CPU clock, in nanoseconds; of several shards, the highest.
    pub turn_ns_max: u64,
    /// Input and answers that wait, and what clients asked for, in bytes.
    pub client_bytes: u64,
    /// Connections closed with 1012 at the end of their lifetime.
    pub lifetimes_ended: u64,
    /// Of those refused: with 429, because their address came too often.
    pub refused_too_often: u64,
    /// Of those refused: with 429, because upgrades of their address failed.
    pub refused_failing: u64,
    /// Times an address began to be refused because its upgrades failed.
    pub addresses_failing: u64,
    /// Connections and requests refused for what their subject has already.
    pub refused_for_subject: u64,
    /// Times a client sent faster than it may, and was not read for a while.
    pub input_paused: u64,
    /// Clients that are not read just now, for they sent faster than they may.
    pub senders_paused: u64,
    /// Connections closed with 1008 for going on so.
    pub too_fast: u64,
    /// Connections that a shutdown has closed in good order.
    pub drained: u64,
    /// Closed at a ?proxy listener: not a trusted proxy's, or no header.
    pub proxy_refused: u64,
    /// Of those refused: with 503, because connections_max was reached.
    pub refused_full: u64,
    /// Of those refused: with 429, because of connections_per_address_max.
    pub refused_for_address: u64,
    /// Of those refused: with 503, to make room for a newer upgrade.
    pub refused_waiting: u64,
    /// Requests refused for a maximum of subscriptions, patterns or cursors.
    pub subscriptions_refused: u64,
    /// Requests refused because no more topics can be made, or not for them.
    pub topics_refused: u64,
    /// Connections closed with 1009 for a message beyond the largest.
    pub messages_too_large: u64,
    /// Bytes of messages that were compressed, before.
    pub compressed_from_bytes: u64,
    /// Bytes of messages that were compressed, after.
    pub compressed_to_bytes: u64,
    /// Bytes that subscribers were not sent because messages were compressed.
    pub compression_saved_bytes: u64,
    /// Time in turns, waiting left out, in nanoseconds.
    pub busy_ns: u64,
    /// Tokens of open connections that were taken.
    pub renewed: u64,
    /// Tokens of open connections that were refused; those went on as before.
    pub renewals_refused: u64,
    /// TLS handshakes completed.
    pub tls_handshakes: u64,
    /// Connections given up for what came over TLS, or for want of memory for it.
    pub tls_failed: u64,
    /// TLS: what handshakes, records that are not whole and rests of records hold.
    pub tls_bytes: u64,
    /// The most that was held so at once.
    pub tls_bytes_max: u64,
    /// Messages refused: their number was not above those before it in its lane.
    pub out_of_order: u64,
    /// Connections given up because their upgrade request was not whole in time.
    pub handshakes_late: u64,
    /// Connections closed with 1001 for idle_timeout without a message.
    pub closed_idle: u64,
}

/// How the subscribers of a topic stand. Set struct_size to sizeof(fw_pressure) before each call: later versions add numbers at
/// the end.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct fw_pressure {
    /// sizeof(fw_pressure).
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// Subscribers now.
    pub subscribers: u64,
    /// The largest lag of any subscriber in any priority, as a share of the lane's budget in bytes: 0 for none; at 0.9 the
    /// oldest messages are dropped, or, in the critical lane, at 1 the subscriber is closed.
    pub fullest: f64,
    /// Nanoseconds since the oldest message was published that some subscriber has still to get; 0 if there is none.
    pub oldest_ns: u64,
    /// Messages lost so far by subscribers that were too slow, by FW_PRIORITY_…: critical (none, ever), high, normal, low.
    pub dropped: [u64; 4],
}

/// The first version's struct.
const FIRST_PRESSURE_BYTES: usize = offset_of!(fw_pressure, dropped) + size_of::<[u64; 4]>();

/// Reads how the subscribers of a topic stand, some ten milliseconds ago at most (a hundred at 100,000 subscribers). Subscribers
/// that asked for less (max_hz) are not behind for that.
///
/// Frees: nothing. Retains: nothing. Threads: any.
/// Blocks: the first call for a topic until every shard has answered, 100 ms at most; later calls never.
/// Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED, FW_ABI_MISMATCH (struct_size), FW_REMOVED, FW_STOPPED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fw_topic_pressure(topic: *const fw_topic, pressure: *mut fw_pressure) -> fw_status {
    guard("fw_topic_pressure", || {
        // The wait must not keep the handle pinned.
        let topic = with_topic(topic, |open| Ok(open.topic.clone()))?;
        let size = size_of_host_struct("fw_pressure", pressure, FIRST_PRESSURE_BYTES)?;
        let now = topic.pressure()?;
        let all = fw_pressure {
            struct_size: size as u32,
            reserved: 0,
            subscribers: now.subscribers,
            fullest: now.fullest,
            oldest_ns: now.oldest.as_nanos() as u64,
            dropped: now.dropped,
        };
        write(pressure, size, &all);
        Ok(())
    })
}

/// The first version's struct.
const FIRST_BYTES: usize = offset_of!(fw_stats, accept_exhausted) + size_of::<u64>();

/// Reads the numbers of the whole engine: at most a second old while a shard sleeps. Works after fw_shutdown too.
///
/// Frees: nothing. Retains: nothing. Threads: any. Blocks: never.
/// Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED, FW_ABI_MISMATCH (struct_size), FW_STOPPED while it is being stopped.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fw_read_stats(engine: *const fw_engine, stats: *mut fw_stats) -> fw_status {
    guard("fw_read_stats", || {
        let host = host(engine)?;
        let size = size_of_host_struct("fw_stats", stats, FIRST_BYTES)?;
        let now = host.engine()?.stats();
        let base = base(&host, now.shards.len(), now.ring_bytes, now.payload_bytes);
        write(stats, size, &fw_stats { struct_size: size as u32, ..with_shard(base, &now.total) });
        Ok(())
    })
}

/// fw_read_stats of one shard, 0 to shards - 1; ring, payload memory and references are the engine's.
///
/// Frees: nothing. Retains: nothing. Threads: any. Blocks: never.
/// Fails: as fw_read_stats; FW_BAD_ARGUMENT if there is no such shard.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fw_read_shard_stats(engine: *const fw_engine, shard: u32, stats: *mut fw_stats) -> fw_status {
    guard("fw_read_shard_stats", || {
        let host = host(engine)?;
        let size = size_of_host_struct("fw_stats", stats, FIRST_BYTES)?;
        let now = host.engine()?.stats();
        let base = base(&host, now.shards.len(), now.ring_bytes, now.payload_bytes);
        let shard = now.shards.get(shard as usize).ok_or(fw_status::FW_BAD_ARGUMENT)?;
        write(stats, size, &fw_stats { struct_size: size as u32, ..with_shard(base, shard) });
        Ok(())
    })
}

/// All that there is to know in numbers, in the text format of OpenMetrics 1.0 (it ends in "# EOF"): what fw_read_stats reads of each shard,
/// limits, histograms. `*length` (which may be NULL) is set to the text's length; at most `size` bytes are written to `buffer`, with a
/// NUL. Some 100 KiB: with a `size` of 0 (and then a `buffer` of NULL) it tells the length alone; the text of the next call may be a
/// little longer. To be served as "application/openmetrics-text; version=1.0.0; charset=utf-8". Works after fw_shutdown too.
///
/// Frees: nothing. Retains: nothing. Threads: any. Blocks: never.
/// Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED, FW_STOPPED while it is being stopped.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fw_metrics(
    engine: *const fw_engine,
    buffer: *mut c_char,
    size: usize,
    length: *mut usize,
) -> fw_status {
    guard("fw_metrics", || copy_text(&host(engine)?.metrics()?, buffer, size, length))
}

/// What the engine says of itself on one of its topics "$sys/shards", "$sys/topics", "$sys/clients", as JSON: the next message of it, or
/// one that is less than a second old. Who asks once in five seconds or more often is answered at once. Buffer and length as in
/// fw_metrics; where the text does not fit, one with more room gets the same or a newer one.
///
/// Frees: nothing. Retains: nothing. Threads: any. Blocks: up to `timeout_ms`.
/// Fails: FW_NULL, FW_BAD_HANDLE, FW_FORKED, FW_NOT_UTF8, FW_BAD_NAME (no such topic, or one that is not to be had so), FW_TIMED_OUT,
/// FW_STOPPED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fw_snapshot(
    engine: *const fw_engine,
    topic: *const c_char,
    timeout_ms: u32,
    buffer: *mut c_char,
    size: usize,
    length: *mut usize,
) -> fw_status {
    guard("fw_snapshot", || {
        let host = host(engine)?;
        let engine = host.engine()?;
        let name = text("topic", topic)?;
        let topic = SysTopic::from_name(name)
            .ok_or_else(|| Failure::new(fw_status::FW_BAD_NAME, format!("{name:?} is no topic of the engine's")))?;
        let within = Duration::from_millis(timeout_ms.into());
        copy_text(&engine.snapshot(topic, within)?, buffer, size, length)
    })
}

fn size_of_host_struct<T>(name: &str, host_struct: *const T, least: usize) -> Outcome<usize> {
    if host_struct.is_null() {
        return Err(fw_status::FW_NULL.into());
    }
    // SAFETY: the host promises that every version begins with its size.
    let size = unsafe { host_struct.cast::<u32>().read_unaligned() };
    check_size(name, size, least, size_of::<T>())
}

fn write<T>(to: *mut T, bytes: usize, from: &T) {
    let from = ptr::from_ref(from).cast::<u8>();
    // SAFETY: as many bytes as the host's struct has, and ours.
    unsafe { to.cast::<u8>().copy_from_nonoverlapping(from, bytes) };
}

fn base(host: &Host, shards: usize, ring_bytes: u64, payload_bytes: u64) -> fw_stats {
    let (references, reference_bytes) = host.releases.outstanding();
    fw_stats { shards: shards as u32, ring_bytes, payload_bytes, references, reference_bytes, ..fw_stats::default() }
}

/// The host's struct with the numbers of a shard: a number that the engine keeps and the struct lacks does not compile.
macro_rules! filled {
    ($base:ident, $shard:ident; $($name:ident)*) => {
        fw_stats { $($name: $shard.$name,)* ..$base }
    };
}

fn with_shard(base: fw_stats, shard: &ShardStats) -> fw_stats {
    fanwire::for_each_counter!(filled base, shard;)
}

#[cfg(test)]
mod tests {
    use crate::fields::fields_of;

    #[test]
    fn every_number_of_the_struct_is_one_of_the_table() {
        let mut fields = fields_of(include_str!("stats.rs"), "fw_stats");
        // What belongs to this interface alone.
        fields.retain(|field| !["struct_size", "references", "reference_bytes"].contains(field));
        let table: Vec<&str> = fanwire::counters().map(|counter| counter.name).collect();
        assert_eq!(fields, table);
    }
}
