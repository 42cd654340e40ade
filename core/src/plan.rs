//! The memory sum: every maximum, added up before anything is reserved.

use std::fmt;

use crate::config::Config;
use crate::driver::proxied::HEADING_BYTES;
use crate::event::Event;
use crate::ingest::Ring;
use crate::log::BlockPool;
use crate::origin;
use crate::proto::subscribe::TOKEN_BYTES_MAX;
use crate::registry;
use crate::shard;
use crate::tls;

/// Receive buffers of one shard.
pub(crate) const RECV_BUFFERS: u16 = 64;
/// Usable bytes of one receive buffer.
pub(crate) const RECV_BYTES: u32 = 16 << 10;
/// Largest message that can be configured.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Connections where the configuration names no number.
const CONNECTIONS_DEFAULT: u32 = 10_000;
/// Connections before their upgrade that a shard has room for where the configuration names no number: two turns' accepts.
const HANDSHAKES_LEAST: usize = 256;
/// Descriptors kept for the engine and its host.
const OWN_FILES: u64 = 128;
/// Most shards.
pub const SHARDS_MAX: usize = 64;

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} = {value}: {problem}")]
pub struct ConfigError {
    /// The setting, as a path: `memory.ring_bytes`.
    pub field: &'static str,
    /// What it is set to.
    pub value: String,
    /// What is wrong with that, and what to do.
    pub problem: String,
}

/// One line of the memory sum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanLine {
    /// What the memory is for.
    pub what: &'static str,
    /// Most bytes.
    pub bytes: u64,
    /// The setting that decides it.
    pub field: &'static str,
}

/// The memory sum of a configuration. Its `Display` is a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// What memory goes where.
    pub lines: Vec<PlanLine>,
    /// Number of shards that it was made for.
    pub shards: usize,
    /// What the machine (or the cgroup) can give, if known.
    pub available: Option<u64>,
}

impl MemoryPlan {
    /// The sum.
    pub fn total_bytes(&self) -> u64 {
        self.lines.iter().fold(0, |sum, line| sum.saturating_add(line.bytes))
    }
}

impl fmt::Display for MemoryPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "memory, at most ({} shard{}):", self.shards, if self.shards == 1 { "" } else { "s" })?;
        for line in &self.lines {
            writeln!(f, "  {:>9}  {:<44} {}", mib(line.bytes), line.what, line.field)?;
        }
        write!(f, "  {:>9}  in all", mib(self.total_bytes()))?;
        if let Some(available) = self.available {
            write!(f, ", of {} available", mib(available).trim_start())?;
        }
        Ok(())
    }
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1u64 << 20) as f64)
}

impl Config {
    /// The shards that this configuration comes to on this machine.
    pub(crate) fn shard_count(&self) -> usize {
        self.shards.unwrap_or_else(|| crate::sys::cpu::shards_by_default().min(SHARDS_MAX))
    }

    /// Fills in what is left to the machine (the number of connections), and gives origins their normal form.
    pub(crate) fn resolved(mut self) -> Self {
        for text in &mut self.access.allowed_origins {
            if let Ok(origin) = origin::allowed(text) {
                *text = origin;
            }
        }
        if self.connections_max == 0 {
            let (open_files, _) = crate::sys::limits::open_files();
            self.connections_max = CONNECTIONS_DEFAULT.min(open_files.saturating_sub(OWN_FILES).max(1) as u32);
        }
        self
    }

    /// Connections before their upgrade that each of so many shards may hold.
    pub(crate) fn handshakes_per_shard(&self, shards: usize) -> usize {
        let shards = shards.max(1);
        let most = self.connections_max as usize;
        match self.limits.handshakes_max {
            // The kernel spreads connections as it likes: all may come to one shard.
            0 => (most / 8).div_ceil(shards).max(HANDSHAKES_LEAST).min(most).max(1),
            wanted => (wanted as usize).div_ceil(shards),
        }
    }

    /// Open files (`RLIMIT_NOFILE`) that `connections_max` connections over `shards` shards need: with epoll one each and some for the
    /// process; with io_uring each shard has a table of its own that the limit bounds.
    pub fn open_files_needed(&self, shards: usize, is_uring: bool) -> u64 {
        let connections = u64::from(self.connections_max);
        match is_uring {
            true => connections.div_ceil(shards.max(1) as u64) + u64::from(shard::REFUSAL_SLOTS),
            false => connections + OWN_FILES,
        }
    }

    /// Refuses more connections than descriptors: with epoll the process's limit counts, with io_uring each shard has its own
    /// table of that size.
    pub(crate) fn check_descriptors(&self, shards: usize, is_uring: bool) -> Result<(), Vec<ConfigError>> {
        let (open_files, _) = crate::sys::limits::open_files();
        let room = match is_uring {
            true => (open_files.saturating_sub(u64::from(shard::REFUSAL_SLOTS))) * shards as u64,
            false => open_files.saturating_sub(OWN_FILES),
        };
        if u64::from(self.connections_max) <= room {
            return Ok(());
        }
        Err(vec![ConfigError {
            field: "connections_max",
            value: self.connections_max.to_string(),
            problem: format!(
                "the limit on open files ({open_files}, RLIMIT_NOFILE) leaves room for {room}: raise it, or add shards"
            ),
        }])
    }

    /// Refuses to lock more memory than the process may: else it would die where it needs more, instead of here.
    pub(crate) fn check_lockable(&self, plan: &MemoryPlan) -> Result<(), Vec<ConfigError>> {
        let (limit, needed) = (crate::sys::limits::locked_memory(), plan.total_bytes());
        if limit >= needed || crate::sys::limits::may_lock_any() {
            return Ok(());
        }
        Err(vec![ConfigError {
            field: "memory.lock_memory",
            value: "true".into(),
            problem: format!(
                "RLIMIT_MEMLOCK is {limit} bytes, less than the {} that this configuration may use: raise it \
                 (ulimit -l; systemd: LimitMEMLOCK=), or lower the budgets",
                mib(needed)
            ),
        }])
    }

    /// Checks the configuration and adds up what it may use at most, without starting anything.
    ///
    /// # Errors
    /// Everything that is wrong with it, one by one; if it does not fit in the machine's memory, every line of the sum.
    pub fn plan(&self) -> Result<MemoryPlan, Vec<ConfigError>> {
        self.plan_for(self.shard_count(), crate::sys::limits::memory_available())
    }

    /// Adds up what this configuration may use at most, with `shards` shards, where `available` bytes of memory can be had
    /// (`None`: however many).
    ///
    /// # Errors
    /// As [`Config::plan`].
    pub fn plan_for(&self, shards: usize, available: Option<u64>) -> Result<MemoryPlan, Vec<ConfigError>> {
        let config = self.clone().resolved();
        config.validate_for(shards)?;
        let plan = config.sum(shards, available);
        match available {
            Some(available) if plan.total_bytes() > available => Err(does_not_fit(&plan, available)),
            _ => Ok(plan),
        }
    }

    /// The sum of a legal configuration.
    fn sum(&self, shards: usize, available: Option<u64>) -> MemoryPlan {
        let memory = &self.memory;
        let shards_u64 = shards as u64;
        let slots = u64::from(self.connections_max) + shards_u64 * u64::from(shard::REFUSAL_SLOTS);
        let handshakes = shards_u64 * self.handshakes_per_shard(shards) as u64;
        let line = |what, bytes: u64, field| PlanLine { what, bytes, field };
        let mut plan = MemoryPlan {
            lines: vec![
                line("ingest ring", Ring::footprint(memory.ring_bytes, shards) as u64, "memory.ring_bytes"),
                line(
                    "ingest ring, critical messages",
                    Ring::critical_footprint(memory.ring_bytes, shards, self.topics_max as usize) as u64,
                    "memory.ring_bytes",
                ),
                line("log blocks", memory.pool_bytes as u64, "memory.pool_bytes"),
                line("log index", BlockPool::index_limit_bytes(memory.pool_bytes) as u64, "memory.pool_bytes"),
                line("claims, references, messages in transit", memory.payload_bytes as u64, "memory.payload_bytes"),
                line("copies of half-sent frames", memory.remainder_bytes as u64, "memory.remainder_bytes"),
                line("what waits of clients", memory.client_bytes as u64, "memory.client_bytes"),
                line(
                    "receive buffers",
                    shards_u64 * u64::from(RECV_BUFFERS) * u64::from(RECV_BYTES + crate::driver::RECV_HEADROOM as u32),
                    "shards",
                ),
                line("long messages that are inflated", shards_u64 * shard::LONG_BYTES as u64, "shards"),
                line("connections", slots * shard::CONNECTION_BYTES as u64, "connections_max"),
                line("connections that are not idle", slots * shard::BUSY_BYTES as u64, "connections_max"),
                line(
                    "upgrade requests that are not whole",
                    handshakes * (self.limits.request_bytes_max + RECV_BYTES as usize + shard::HANDSHAKE_BYTES) as u64,
                    "limits.handshakes_max",
                ),
                line(
                    "topics",
                    u64::from(self.topics_max)
                        * (shards_u64 * shard::TOPIC_BYTES as u64 + registry::ENTRY_BYTES as u64),
                    "topics_max",
                ),
                line("cursors", self.cursors_bytes(shards_u64), "cursors_max"),
            ],
            shards,
            available,
        };
        plan.lines.extend(self.counted(slots));
        if self.sys.top > 0 {
            let topics = shards_u64 * u64::from(self.topics_max) * shard::WATCHED_TOPIC_BYTES as u64;
            plan.lines.push(line("what $sys topics tell", slots * shard::WATCHED_BYTES as u64 + topics, "sys.top"));
        }
        if self.limits.limits_senders() {
            let field = match self.limits.inbound_messages_per_second_max {
                0 => "limits.inbound_bytes_per_second_max",
                _ => "limits.inbound_messages_per_second_max",
            };
            plan.lines.push(line("how fast each client sends", slots * shard::SENDER_BYTES as u64, field));
        }
        if self.listen.iter().any(|listener| listener.is_proxied) {
            let bytes = handshakes * HEADING_BYTES as u64;
            plan.lines.push(line("PROXY headers that are not whole", bytes, "limits.handshakes_max"));
        }
        let has_tls = self.listen.iter().any(|listener| listener.is_tls);
        if has_tls {
            let scratch = shards_u64 * tls::SCRATCH_BYTES as u64;
            plan.lines.push(line("TLS: keys", slots * tls::SESSION_BYTES as u64 + scratch, "connections_max"));
            plan.lines.push(line("TLS: handshakes, partial records", memory.tls_bytes as u64, "memory.tls_bytes"));
        }
        if self.events.capacity > 0 {
            let mut event_bytes = (size_of::<Event>() + size_of::<usize>()) as u64;
            if self.access.ask_host.is_some() {
                // Any may be of a request: what the host is told of it is a part of it.
                event_bytes += self.limits.request_bytes_max.max(TOKEN_BYTES_MAX) as u64;
                event_bytes += if has_tls { tls::SUBJECT_BYTES_MAX as u64 } else { 0 };
                let bytes = slots * shard::QUESTION_BYTES as u64;
                plan.lines.push(line("questions to the host", bytes, "access.ask_host_within"));
            }
            let bytes = shards_u64 * self.events.capacity as u64 * event_bytes;
            plan.lines.push(line("events that wait for the host", bytes, "events.capacity"));
        }
        plan
    }

    /// Cursors, and by what they are found.
    fn cursors_bytes(&self, shards: u64) -> u64 {
        u64::from(self.cursors_max) * shard::CURSOR_BYTES as u64 + shards * shard::PIECES_BYTES as u64
    }

    /// What is kept of connections where a limit asks for it.
    fn counted(&self, slots: u64) -> Vec<PlanLine> {
        let line = |what, bytes: u64, field| PlanLine { what, bytes, field };
        let mut lines = Vec::new();
        if let Some(field) = self.limits.counts_addresses() {
            let remembered = if self.limits.remembers_addresses() { u64::from(shard::REMEMBERED_MAX) } else { 0 };
            let bytes = (slots + remembered) * shard::COUNTED_BYTES as u64;
            lines.push(line("connections by address", bytes, field));
        }
        if let Some(field) = self.limits.counts_subjects() {
            lines.push(line("what subjects have", slots * shard::SUBJECT_BYTES as u64, field));
        }
        if !self.limits.connection_lifetime.is_zero() {
            let bytes = slots * shard::LIFETIME_BYTES as u64;
            lines.push(line("how long each connection is open", bytes, "limits.connection_lifetime"));
        }
        lines
    }
}

/// Every line of a sum that is too large.
fn does_not_fit(plan: &MemoryPlan, available: u64) -> Vec<ConfigError> {
    let (total, available) = (mib(plan.total_bytes()), mib(available));
    let error = |line: &PlanLine| ConfigError {
        field: line.field,
        value: mib(line.bytes),
        problem: format!("part of {total} for {} that do not fit in {available}", line.what),
    };
    plan.lines.iter().map(error).collect()
}
