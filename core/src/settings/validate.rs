//! What is wrong with a configuration: each setting by the table, then what settings have to do with each other.
//!
//! Knows numbers. Must never know how much the machine has: that is `plan`.

use super::list::show_paths;
use super::settings;
use super::table::LANE_BYTES_MIN;
use super::units::{ByteSize, Span};
use crate::access::ASKED_HEADERS_MAX;
use crate::config::{ClientCertificates, Config, TopicConfig};
use crate::listen::TRUSTED_PROXIES_MAX;
use crate::origin;
use crate::plan::{ConfigError, SHARDS_MAX};
use crate::proto::topic::Pattern;

/// Most certificates: each greeting may look at all of them.
const CERTIFICATES_MAX: usize = 64;

impl Config {
    /// Checks every setting against its range, and those that have to do with each other; not whether this machine has
    /// as much memory and as many descriptors, which [`Config::plan`] and the start see to.
    ///
    /// # Errors
    /// Everything that is wrong, one by one.
    pub fn validate(&self) -> Result<(), Vec<ConfigError>> {
        self.validate_for(self.shard_count())
    }

    /// [`Config::validate`], with so many shards.
    pub(crate) fn validate_for(&self, shards: usize) -> Result<(), Vec<ConfigError>> {
        let mut faults = Faults(Vec::new());
        // Its number is `shards`, which may be the machine's.
        for setting in settings().filter(|setting| setting.name != "shards") {
            if let Some(problem) = setting.kind.fault(self) {
                faults.add(setting.name, setting.show(self), problem);
            }
        }
        if !(1..=SHARDS_MAX).contains(&shards) {
            faults.add("shards", shards, format!("must be from 1 to {SHARDS_MAX}"));
        }
        if self.listen.is_empty() {
            faults.add("listen", "[]", "at least one address is needed");
        }
        self.check_memory(shards, &mut faults);
        if self.events.messages && self.events.capacity == 0 {
            faults.add("events.messages", true, "needs events.capacity above zero");
        }
        self.check_topics(shards, &mut faults);
        self.check_access(&mut faults);
        self.check_tls(&mut faults);
        if faults.0.is_empty() { Ok(()) } else { Err(faults.0) }
    }

    fn check_memory(&self, shards: usize, faults: &mut Faults) {
        let memory = &self.memory;
        if memory.pool_bytes / shards.max(1) < memory.lane_bytes {
            let lane = ByteSize(memory.lane_bytes as u64);
            let problem = format!("one shard's part must hold at least one lane (memory.lane_bytes = {lane})");
            faults.add("memory.pool_bytes", ByteSize(memory.pool_bytes as u64), problem);
        }
        if memory.payload_bytes / 2 < self.limits.message_bytes_max {
            let message = ByteSize(self.limits.message_bytes_max as u64);
            let problem = format!("must hold two of the largest messages (limits.message_bytes_max = {message})");
            faults.add("memory.payload_bytes", ByteSize(memory.payload_bytes as u64), problem);
        }
    }

    fn check_access(&self, faults: &mut Faults) {
        if self.limits.handshakes_max > self.connections_max && self.connections_max > 0 {
            let problem =
                format!("must be at most connections_max ({}); 0 leaves it to the engine", self.connections_max);
            faults.add("limits.handshakes_max", self.limits.handshakes_max, problem);
        }
        if let Some(asks) = &self.access.ask_host {
            let mut wrong = |value: String, problem: String| faults.add("access.ask_host_within", value, problem);
            if self.events.capacity == 0 {
                wrong(format!("{:?}", asks.within), "needs events.capacity above zero".into());
            }
            if asks.within.is_zero() || asks.within >= self.limits.handshake_timeout {
                let most = self.limits.handshake_timeout;
                wrong(
                    format!("{:?}", asks.within),
                    format!("must be above 0 and below limits.handshake_timeout ({most:?})"),
                );
            }
            if asks.headers.len() > ASKED_HEADERS_MAX {
                let problem = format!("must name at most {ASKED_HEADERS_MAX} headers");
                faults.add("access.ask_host_headers", asks.headers.join(","), problem);
            }
        }
        let proxies = &self.access.trusted_proxies;
        if proxies.len() > TRUSTED_PROXIES_MAX {
            let problem = format!("must be at most {TRUSTED_PROXIES_MAX}");
            faults.add("access.trusted_proxies", proxies.len(), problem);
        }
        if proxies.is_empty()
            && let Some(listener) = self.listen.iter().find(|listener| listener.is_proxied)
        {
            let problem = "takes connections from access.trusted_proxies alone, and there are none";
            faults.add("listen", listener, problem);
        }
        for text in &self.access.allowed_origins {
            if let Err(error) = origin::allowed(text) {
                faults.add("access.allowed_origins", format!("{text:?}"), error.to_string());
            }
        }
    }

    fn check_tls(&self, faults: &mut Faults) {
        let (tls, certificates) = (&self.tls, self.tls.certificate_files.len());
        if certificates != tls.key_files.len() {
            let problem = format!("must be as many as tls.certificate_files ({certificates})");
            faults.add("tls.key_files", show_paths(&tls.key_files), problem);
        }
        if certificates > CERTIFICATES_MAX {
            faults.add("tls.certificate_files", certificates, format!("must be at most {CERTIFICATES_MAX}"));
        }
        if self.listen.iter().any(|listener| listener.is_tls) && certificates == 0 {
            faults.add("tls.certificate_files", "", "is needed by the listeners with TLS");
        }
        if tls.client_certificates != ClientCertificates::Ignored && tls.client_ca_file.is_none() {
            faults.add("tls.client_ca_file", "", "is needed where clients show certificates");
        }
    }

    fn check_topics(&self, shards: usize, faults: &mut Faults) {
        let most = self.memory.pool_bytes / shards.max(1);
        for topic in &self.topics {
            if let Err(error) = Pattern::check(&topic.pattern) {
                faults.add("topics.pattern", &topic.pattern, error.to_string());
            }
            if let Some(bytes) = topic.lane_bytes
                && !(LANE_BYTES_MIN..=most).contains(&bytes)
            {
                let least = ByteSize(LANE_BYTES_MIN as u64);
                let problem = format!("must be from {least} to one shard's part of memory.pool_bytes");
                faults.add("topics.lane_bytes", ByteSize(bytes as u64), problem);
            }
            let (within, most) = (topic.deliver_within, TopicConfig::DELIVER_WITHIN_MAX);
            if within > most || within.subsec_nanos() % 1_000_000 != 0 {
                let problem = format!("must be whole milliseconds up to {}", Span(most));
                faults.add("topics.deliver_within", Span(within), problem);
            }
        }
    }
}

/// What was found so far.
struct Faults(Vec<ConfigError>);

impl Faults {
    fn add(&mut self, field: &'static str, value: impl ToString, problem: impl Into<String>) {
        self.0.push(ConfigError { field, value: value.to_string(), problem: problem.into() });
    }
}
