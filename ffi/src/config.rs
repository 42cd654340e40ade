//! `fw_config`: what an engine is made with, as C has it.
//!
//! # Contract of the unsafe code
//! A configuration is read as far as its `struct_size` says, during `fw_start`, and nothing of it is kept.

use std::ffi::c_char;
use std::mem::offset_of;
use std::ptr;
use std::time::Duration;

use fanwire::{
    AccessConfig, CompressionConfig, Config, DriverChoice, EventsConfig, LimitsConfig, Listener, ListenerError,
    MemoryConfig, PublishAccess, Retention, SlowPolicy, SysConfig, TlsConfig, TopicConfig,
};

use fanwire_access::{TokenSettings, is_token_setting};

use crate::guard::guard;
use crate::status::{Failure, Outcome, fw_status};
use crate::text;

/// Which kernel interface an engine uses.
#[repr(u32)]
pub enum fw_driver {
    /// io_uring, else epoll; fw_driver_notice then says why.
    FW_DRIVER_AUTO = 0,
    /// io_uring, or do not start.
    FW_DRIVER_URING = 1,
    /// epoll.
    FW_DRIVER_EPOLL = 2,
}

/// Where an engine's threads run.
#[repr(u32)]
pub enum fw_pinning {
    /// One on each CPU that this process may use.
    FW_PIN_AUTO = 0,
    /// Anywhere.
    FW_PIN_NONE = 1,
    /// On the CPUs of the list, in turn.
    FW_PIN_LIST = 2,
}

/// What a topic keeps for those who come, or come back.
#[repr(u32)]
pub enum fw_retention {
    /// Nothing: a subscriber gets only what is published from now on.
    FW_RETENTION_NONE = 0,
    /// A new subscriber gets the last message of each priority first; one that comes back gets what it missed, as far as
    /// the log still has it.
    FW_RETENTION_LAST_VALUE = 1,
    /// The same, within retention_messages, retention_bytes and retention_age_ms.
    FW_RETENTION_LAST = 2,
}

/// What happens to a subscriber that lags behind by 90 % of lane_bytes. Critical messages are never dropped whatever the
/// policy: their subscriber is closed with 1013.
#[repr(u32)]
pub enum fw_slow_policy {
    /// The oldest messages are dropped, and the subscriber is told.
    FW_SLOW_DROP_OLDEST = 0,
    /// It gets only the newest message (of each key).
    FW_SLOW_LATEST = 1,
    /// It is closed with 1013.
    FW_SLOW_DISCONNECT = 2,
}

/// Who may publish over the socket.
#[repr(u32)]
pub enum fw_publish_access {
    /// Only the host. The default.
    FW_PUBLISH_NOBODY = 2,
    /// Peers on this machine, unless a browser or a proxy speaks for them. A TLS terminator or a tunnel on this machine that
    /// adds no forwarding header makes everybody who comes through it such a peer.
    FW_PUBLISH_LOOPBACK = 0,
    /// Everyone who may connect.
    FW_PUBLISH_EVERYONE = 1,
}

/// Settings for the topics whose name matches a pattern. Zero it, set struct_size and pattern, then what matters.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct fw_topic_config {
    /// sizeof(fw_topic_config).
    pub struct_size: u32,
    /// A fw_retention.
    pub retention: u32,
    /// A topic name, or a pattern with * for one level and a final ** for the rest.
    pub pattern: *const c_char,
    /// Instead of the engine's lane_bytes; 0: the engine's.
    pub lane_bytes: u64,
    /// FW_RETENTION_LAST: most messages; 0: any number.
    pub retention_messages: u64,
    /// FW_RETENTION_LAST: most bytes; 0: any number.
    pub retention_bytes: u64,
    /// FW_RETENTION_LAST: greatest age in milliseconds; 0: any.
    pub retention_age_ms: u64,
    /// A fw_slow_policy.
    pub policy: u32,
    /// Not zero: batch_window_us holds, instead of 5 milliseconds.
    pub has_batch_window: u32,
    /// Microseconds that a batch of fanwire.batch.v1 may stay open; 0: as short as can be.
    pub batch_window_us: u64,
}

/// A setting by its name: docs/reference/settings.md and token-settings.md list them.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct fw_setting {
    /// Its name: "limits.ping_every".
    pub name: *const c_char,
    /// Its value as text: "64MiB", "5s", "true", "epoll". A list is written with commas, topics one a line.
    pub value: *const c_char,
}

/// What an engine is made with. Fill it with FW_CONFIG_INIT, then change what matters. fw_start copies all of it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct fw_config {
    /// Set by fw_config_init.
    pub struct_size: u32,
    /// A fw_driver.
    pub driver: u32,
    /// Addresses with ports to listen on, separated by commas: `127.0.0.1:9001,[::1]:9001`; `wss://IP:PORT`
    /// speaks TLS. Port 0 takes a free one.
    pub listen: *const c_char,
    /// Threads that serve clients, 1 to 64; 0: as many as there are CPUs to use.
    pub shards: u32,
    /// A fw_pinning.
    pub pinning: u32,
    /// The CPUs for FW_PIN_LIST.
    pub cpus: *const u32,
    /// How many.
    pub cpus_count: usize,
    /// Connections at most; 0: 10,000, or as many as the limit on open files allows.
    pub connections_max: u32,
    /// Subscriptions of all connections at most, one for each topic and priority.
    pub cursors_max: u32,
    /// Topics at most.
    pub topics_max: u32,
    /// Topics and patterns that one connection may subscribe to.
    pub subscriptions_per_connection_max: u32,
    /// The ingest ring: a power of two from 64 KiB on.
    pub ring_bytes: u64,
    /// Logs of all topics.
    pub pool_bytes: u64,
    /// What one topic and priority may hold, on each shard.
    pub lane_bytes: u64,
    /// Claimed buffers, messages by reference, messages being received, messages to single connections. Past it:
    /// FW_WOULD_BLOCK.
    pub payload_bytes: u64,
    /// Copies of half-sent messages.
    pub remainder_bytes: u64,
    /// Largest message, up to 64 MiB.
    pub message_bytes_max: u64,
    /// Largest HTTP request of a client that connects.
    pub request_bytes_max: u64,
    /// Milliseconds from a connection to its complete HTTP request.
    pub handshake_timeout_ms: u64,
    /// Milliseconds of silence after which a client is sent a ping, and closed after as many again; 0: never.
    pub ping_every_ms: u64,
    /// Milliseconds without a message from a client after which it is closed; 0: never.
    pub idle_timeout_ms: u64,
    /// Milliseconds that a closing connection gets for its close handshake.
    pub close_timeout_ms: u64,
    /// Settings for some topics; the first pattern that matches holds.
    pub topics: *const fw_topic_config,
    /// How many.
    pub topics_count: usize,
    /// Origins of web pages that may connect, such as `https://example.org`; none: all.
    pub allowed_origins: *const *const c_char,
    /// How many.
    pub allowed_origins_count: usize,
    /// How the engine names itself to clients.
    pub server_name: *const c_char,
    /// A fw_publish_access.
    pub publish_access: u32,
    /// Not zero: compress for clients that offer permessage-deflate.
    pub deflate: u32,
    /// Smaller messages are not compressed.
    pub compression_threshold_bytes: u32,
    /// Not zero: lock all memory of the process (mlockall).
    pub lock_memory: u32,
    /// Events that may wait for fw_poll_events on each shard, up to 1,048,576; 0: no events.
    pub events_capacity: u32,
    /// Not zero: clients may connect to "/" without a topic, and their messages come as events.
    pub events_messages: u32,
    /// Milliseconds over which fw_engine_shutdown spreads its closes (with 1012), so that clients do not all come back at once; at
    /// most half of the time that the shutdown has. 0: each is closed (with 1001) as soon as it has everything.
    pub close_window_ms: u64,
    /// Bytes that the kernel may hold unsent for one connection, about: what a critical message may have to wait behind on a
    /// thin link.
    pub unsent_bytes_max: u64,
    /// Any settings by their names: they hold instead of what the fields above say, a later one instead of an earlier one.
    pub settings: *const fw_setting,
    /// How many.
    pub settings_count: usize,
}

/// Bytes of the first version's struct: what every header has at least.
const FIRST_BYTES: usize = offset_of!(fw_config, events_messages) + size_of::<u32>();

/// Settings by name, at most: beyond it is a number that was never set.
const SETTINGS_MAX: usize = 1 << 20;

const LISTEN: &std::ffi::CStr = c"127.0.0.1:9001";

const SERVER_NAME: &std::ffi::CStr =
    match std::ffi::CStr::from_bytes_with_nul(concat!("fanwire/", env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(name) => name,
        Err(_) => c"fanwire",
    };

impl Default for fw_config {
    fn default() -> Self {
        let config = Config::default();
        let Config { memory, limits, events, .. } = &config;
        Self {
            struct_size: size_of::<Self>() as u32,
            driver: fw_driver::FW_DRIVER_AUTO as u32,
            listen: LISTEN.as_ptr(),
            shards: 0,
            pinning: fw_pinning::FW_PIN_AUTO as u32,
            cpus: ptr::null(),
            cpus_count: 0,
            connections_max: config.connections_max,
            cursors_max: config.cursors_max,
            topics_max: config.topics_max,
            subscriptions_per_connection_max: limits.subscriptions_per_connection_max,
            ring_bytes: memory.ring_bytes as u64,
            pool_bytes: memory.pool_bytes as u64,
            lane_bytes: memory.lane_bytes as u64,
            payload_bytes: memory.payload_bytes as u64,
            remainder_bytes: memory.remainder_bytes as u64,
            message_bytes_max: limits.message_bytes_max as u64,
            request_bytes_max: limits.request_bytes_max as u64,
            handshake_timeout_ms: limits.handshake_timeout.as_millis() as u64,
            ping_every_ms: limits.ping_every.as_millis() as u64,
            idle_timeout_ms: limits.idle_timeout.as_millis() as u64,
            close_timeout_ms: limits.close_timeout.as_millis() as u64,
            topics: ptr::null(),
            topics_count: 0,
            allowed_origins: ptr::null(),
            allowed_origins_count: 0,
            server_name: SERVER_NAME.as_ptr(),
            publish_access: fw_publish_access::FW_PUBLISH_NOBODY as u32,
            deflate: u32::from(config.compression.deflate),
            compression_threshold_bytes: config.compression.threshold_bytes as u32,
            lock_memory: u32::from(memory.lock_memory),
            events_capacity: events.capacity as u32,
            events_messages: u32::from(events.messages),
            close_window_ms: limits.close_window.as_millis() as u64,
            unsent_bytes_max: limits.unsent_bytes_max as u64,
            settings: ptr::null(),
            settings_count: 0,
        }
    }
}

/// Fills a configuration with the defaults. `struct_size` is sizeof(fw_config) as the host's compiler has it: the macro
/// FW_CONFIG_INIT(&config) passes it.
///
/// Frees: nothing. Retains: nothing. Threads: any. Blocks: never.
/// Fails: FW_NULL; FW_ABI_MISMATCH if the header is of a version that this library does not know.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fw_config_init(config: *mut fw_config, struct_size: u32) -> fw_status {
    guard("fw_config_init", || {
        if config.is_null() {
            return Err(fw_status::FW_NULL.into());
        }
        let bytes = check_size("fw_config", struct_size, FIRST_BYTES, size_of::<fw_config>())?;
        let defaults = fw_config { struct_size, ..fw_config::default() };
        let from = ptr::from_ref(&defaults).cast::<u8>();
        // SAFETY: `bytes` is at most the size of either.
        unsafe { config.cast::<u8>().copy_from_nonoverlapping(from, bytes) };
        Ok(())
    })
}

/// A size that a header of some version gives its struct, as far as this library knows it.
pub fn check_size(name: &str, size: u32, first: usize, now: usize) -> Outcome<usize> {
    let size = size as usize;
    if size < first || size > now {
        let text = format!("struct_size {size} of {name}: this library knows {first} to {now} (see fw_config_init)");
        return Err(Failure::new(fw_status::FW_ABI_MISMATCH, text));
    }
    Ok(size)
}

/// Reads a configuration of any known version: what its header did not have is as by default.
pub fn read(config: *const fw_config) -> Outcome<(Config, TokenSettings)> {
    if config.is_null() {
        return Err(Failure::new(fw_status::FW_NULL, "config is NULL"));
    }
    // SAFETY: the host promises that there is a configuration, and every version begins with its size.
    let size = unsafe { config.cast::<u32>().read_unaligned() };
    let bytes = check_size("fw_config", size, FIRST_BYTES, size_of::<fw_config>())?;
    let mut whole = fw_config::default();
    let to = ptr::from_mut(&mut whole).cast::<u8>();
    // SAFETY: `bytes` is what the host has, and at most what `whole` has.
    unsafe { to.copy_from_nonoverlapping(config.cast::<u8>(), bytes) };
    let (mut read, mut tokens) = (whole.read()?, TokenSettings::default());
    whole.apply_settings(&mut read, &mut tokens)?;
    Ok((read, tokens))
}

/// Says whether a setting can have this value, without an engine: for a host that reads settings from a file or its users.
/// What settings have to do with each other, and with the machine, is seen by fw_start. fw_last_error names the values that
/// are allowed, or the setting whose name is nearest.
///
/// Frees: nothing. Retains: nothing. Threads: any. Blocks: never. Fails: FW_NULL, FW_NOT_UTF8, FW_BAD_CONFIG.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fw_setting_check(name: *const c_char, value: *const c_char) -> fw_status {
    guard("fw_setting_check", || {
        fw_setting { name, value }.apply(&mut Config::default(), &mut TokenSettings::default())
    })
}

impl fw_setting {
    fn apply(&self, config: &mut Config, tokens: &mut TokenSettings) -> Outcome {
        let (name, value) = (text::text("name", self.name)?, text::text("value", self.value)?);
        let set = if is_token_setting(name) { tokens.set(name, value) } else { config.set(name, value) };
        set.map_err(|error| Failure::new(fw_status::FW_BAD_CONFIG, error.to_string()))
    }
}

impl fw_config {
    fn apply_settings(&self, config: &mut Config, tokens: &mut TokenSettings) -> Outcome {
        if self.settings_count > SETTINGS_MAX {
            return Err(wrong("settings_count", self.settings_count));
        }
        let mut settings = text::array(self.settings, self.settings_count)?.iter();
        settings.try_for_each(|setting| setting.apply(config, tokens))
    }

    fn read(&self) -> Outcome<Config> {
        Ok(Config {
            listen: listeners(text::text("listen", self.listen)?)?,
            shards: (self.shards != 0).then_some(self.shards as usize),
            cpus: self.cpus()?,
            driver: match self.driver {
                0 => DriverChoice::Auto,
                1 => DriverChoice::Uring,
                2 => DriverChoice::Epoll,
                other => return Err(wrong("driver", other)),
            },
            connections_max: self.connections_max,
            cursors_max: self.cursors_max,
            topics_max: self.topics_max,
            memory: MemoryConfig {
                ring_bytes: self.ring_bytes as usize,
                pool_bytes: self.pool_bytes as usize,
                lane_bytes: self.lane_bytes as usize,
                payload_bytes: self.payload_bytes as usize,
                remainder_bytes: self.remainder_bytes as usize,
                client_bytes: MemoryConfig::default().client_bytes,
                tls_bytes: MemoryConfig::default().tls_bytes,
                lock_memory: self.lock_memory != 0,
            },
            limits: LimitsConfig {
                message_bytes_max: self.message_bytes_max as usize,
                request_bytes_max: self.request_bytes_max as usize,
                handshake_timeout: milliseconds(self.handshake_timeout_ms),
                ping_every: milliseconds(self.ping_every_ms),
                idle_timeout: milliseconds(self.idle_timeout_ms),
                close_timeout: milliseconds(self.close_timeout_ms),
                close_window: milliseconds(self.close_window_ms),
                subscriptions_per_connection_max: self.subscriptions_per_connection_max,
                unsent_bytes_max: self.unsent_bytes_max as usize,
                // The others by their names: settings.
                ..LimitsConfig::default()
            },
            topics: self.topics()?,
            events: EventsConfig { capacity: self.events_capacity as usize, messages: self.events_messages != 0 },
            compression: CompressionConfig {
                deflate: self.deflate != 0,
                threshold_bytes: self.compression_threshold_bytes as usize,
            },
            access: AccessConfig {
                // By their names: settings.
                ask_host: None,
                trusted_proxies: Vec::new(),
                publish: match self.publish_access {
                    0 => PublishAccess::Loopback,
                    1 => PublishAccess::Everyone,
                    2 => PublishAccess::Nobody,
                    other => return Err(wrong("publish_access", other)),
                },
                allowed_origins: text::array(self.allowed_origins, self.allowed_origins_count)?
                    .iter()
                    .map(|&origin| Ok(text::text("allowed_origins", origin)?.to_owned()))
                    .collect::<Outcome<_>>()?,
            },
            server_name: text::text("server_name", self.server_name)?.to_owned(),
            tls: TlsConfig::default(),
            sys: SysConfig::default(),
        })
    }

    fn cpus(&self) -> Outcome<Option<Vec<usize>>> {
        match self.pinning {
            0 => Ok(None),
            1 => Ok(Some(Vec::new())),
            2 if self.cpus_count == 0 => {
                Err(Failure::new(fw_status::FW_BAD_CONFIG, "cpus_count = 0: FW_PIN_LIST needs a list"))
            }
            2 => Ok(Some(text::array(self.cpus, self.cpus_count)?.iter().map(|&cpu| cpu as usize).collect())),
            other => Err(wrong("pinning", other)),
        }
    }

    fn topics(&self) -> Outcome<Vec<TopicConfig>> {
        if self.topics_count == 0 {
            return Ok(Vec::new());
        }
        if self.topics.is_null() {
            return Err(Failure::new(fw_status::FW_NULL, "topics is NULL"));
        }
        if self.topics_count > 1 << 20 {
            return Err(wrong("topics_count", self.topics_count));
        }
        // SAFETY: the host promises that there is one at least; the first field is its size.
        let size = unsafe { self.topics.cast::<u32>().read_unaligned() };
        // There is one version so far.
        check_size("fw_topic_config", size, size_of::<fw_topic_config>(), size_of::<fw_topic_config>())?;
        text::array(self.topics, self.topics_count)?.iter().map(fw_topic_config::read).collect()
    }
}

impl fw_topic_config {
    fn read(&self) -> Outcome<TopicConfig> {
        Ok(TopicConfig {
            pattern: text::text("topics.pattern", self.pattern)?.to_owned(),
            retention: match self.retention {
                0 => Retention::None,
                1 => Retention::LastValue,
                2 => Retention::Last {
                    messages: bound(self.retention_messages),
                    bytes: bound(self.retention_bytes),
                    age: bound(self.retention_age_ms).map(milliseconds),
                },
                other => return Err(wrong("topics.retention", other)),
            },
            policy: match self.policy {
                0 => SlowPolicy::DropOldest,
                1 => SlowPolicy::Latest,
                2 => SlowPolicy::Disconnect,
                other => return Err(wrong("topics.policy", other)),
            },
            lane_bytes: bound(self.lane_bytes).map(|bytes| bytes as usize),
            batch_window: match self.has_batch_window {
                0 => None,
                _ => Some(Duration::from_micros(self.batch_window_us).min(milliseconds(u64::MAX))),
            },
            // The structure has no room for it: `topics` among the settings by name has.
            deliver_within: Duration::ZERO,
        })
    }
}

/// Zero stands for none.
fn bound(value: u64) -> Option<u64> {
    (value != 0).then_some(value)
}

/// A year and "for ever" are the same to an engine.
pub fn milliseconds(ms: u64) -> Duration {
    Duration::from_millis(ms.min(365 * 24 * 3_600_000))
}

fn wrong(field: &str, value: impl std::fmt::Display) -> Failure {
    Failure::new(fw_status::FW_BAD_CONFIG, format!("{field} = {value}: out of range"))
}

fn listeners(list: &str) -> Outcome<Vec<Listener>> {
    list.split(',')
        .map(str::trim)
        .filter(|address| !address.is_empty())
        .map(|address| {
            let wrong =
                |error: ListenerError| Failure::new(fw_status::FW_BAD_CONFIG, format!("listen = {address}: {error}"));
            address.parse().map_err(wrong)
        })
        .collect()
}

/// Sets how long times are at most, for those who wait.
pub fn wait_ms(ms: u32) -> Duration {
    milliseconds(ms.into())
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;

    use fanwire::settings::settings;

    use super::*;
    use crate::fields::fields_of;

    #[test]
    fn the_fields_are_the_settings_that_say_so() {
        let mut fields = fields_of(include_str!("config.rs"), "fw_config");
        fields.retain(|field| !field.ends_with("_count") && !["struct_size", "settings", "pinning"].contains(field));
        let mut expected: Vec<String> = settings().filter_map(fanwire::Setting::field).collect();
        fields.sort_unstable();
        expected.sort_unstable();
        assert_eq!(fields, expected);
    }

    fn read_with(pairs: &[(&str, &str)]) -> Outcome<Config> {
        read_both(pairs).map(|(config, _)| config)
    }

    fn read_both(pairs: &[(&str, &str)]) -> Outcome<(Config, TokenSettings)> {
        let texts: Vec<_> = pairs.iter().map(|(n, v)| (CString::new(*n).unwrap(), CString::new(*v).unwrap())).collect();
        let settings: Vec<_> =
            texts.iter().map(|(name, value)| fw_setting { name: name.as_ptr(), value: value.as_ptr() }).collect();
        let config = fw_config { settings: settings.as_ptr(), settings_count: settings.len(), ..fw_config::default() };
        read(&raw const config)
    }

    #[test]
    fn every_setting_can_be_given_by_its_name() {
        for setting in settings() {
            let default = setting.default();
            let config =
                read_with(&[(setting.name, &default)]).unwrap_or_else(|failure| panic!("{setting:?}: {failure:?}"));
            assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
        }
        let later =
            read_with(&[("limits.ping_every", "5s"), ("driver", "epoll"), ("limits.ping_every", "7s")]).unwrap();
        assert_eq!((later.limits.ping_every, later.driver), (Duration::from_secs(7), DriverChoice::Epoll));
        for (name, value) in [("limits.ping_evry", "5s"), ("limits.ping_every", "5")] {
            assert_eq!(read_with(&[(name, value)]).unwrap_err().status, fw_status::FW_BAD_CONFIG);
        }
        let many = fw_config { settings_count: SETTINGS_MAX + 1, ..fw_config::default() };
        assert_eq!(read(&raw const many).unwrap_err().status, fw_status::FW_BAD_CONFIG);
        let null = fw_config { settings_count: 1, ..fw_config::default() };
        assert_eq!(read(&raw const null).unwrap_err().status, fw_status::FW_NULL);
    }

    #[test]
    fn every_setting_of_tokens_can_be_given_by_its_name() {
        for setting in fanwire_access::token_settings() {
            let value = match setting.name {
                "token.jwks_url" => "https://id.example/keys",
                "token.lifetime_max" => "1h",
                _ if setting.default.is_empty() => "a",
                _ => setting.default,
            };
            let (_, tokens) = read_both(&[(setting.name, value)]).unwrap_or_else(|f| panic!("{setting:?}: {f:?}"));
            assert_eq!(tokens.text(setting.name), value);
        }
        for (name, value) in [("token.isuer", "a"), ("token.issuer", ""), ("token.jwks_url", "http://id.example/")] {
            assert_eq!(read_both(&[(name, value)]).unwrap_err().status, fw_status::FW_BAD_CONFIG, "{name}");
        }
    }

    #[test]
    fn a_header_that_knew_less_is_read_as_far_as_it_goes() {
        let mut config = fw_config { unsent_bytes_max: 1, settings_count: 9, ..fw_config::default() };
        config.struct_size = offset_of!(fw_config, unsent_bytes_max) as u32;
        assert_eq!(format!("{:?}", read(&raw const config).unwrap().0), format!("{:?}", Config::default()));
    }

    #[test]
    fn the_defaults_are_those_of_the_rust_interface() {
        let mut config = std::mem::MaybeUninit::<fw_config>::uninit();
        // SAFETY: room for a configuration.
        let status = unsafe { fw_config_init(config.as_mut_ptr(), size_of::<fw_config>() as u32) };
        assert_eq!(status, fw_status::FW_OK);
        assert_eq!(format!("{:?}", read(config.as_ptr()).unwrap().0), format!("{:?}", Config::default()));
    }

    #[test]
    fn an_unknown_version_is_refused() {
        let mut config = fw_config::default();
        for size in [0, 4, FIRST_BYTES as u32 - 1, size_of::<fw_config>() as u32 + 1, u32::MAX] {
            // SAFETY: a configuration.
            assert_eq!(unsafe { fw_config_init(&raw mut config, size) }, fw_status::FW_ABI_MISMATCH);
            config.struct_size = size;
            assert_eq!(read(&raw const config).unwrap_err().status, fw_status::FW_ABI_MISMATCH);
        }
    }

    #[test]
    fn lists_of_addresses_are_read() {
        assert_eq!(listeners("127.0.0.1:1, [::1]:2,").unwrap().len(), 2);
        assert_eq!(listeners("localhost:1").unwrap_err().status, fw_status::FW_BAD_CONFIG);
    }
}
