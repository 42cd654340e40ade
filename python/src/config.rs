//! An engine's settings, from Python's keywords.
//!
//! Knows the core's configuration and how Python spells it. Must never know what a setting does.

use std::fmt::Display;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use fanwire::settings::{Span, Unit};
use fanwire::{
    AskHost, ClientCertificates, Config, DriverChoice, Listener, PublishAccess, Retention, Setting, SettingError,
    SlowPolicy, TlsVersion, TopicConfig, TrustedProxy, TrustedProxyError,
};
use fanwire_access::{TokenSetting, TokenSettings, is_token_setting};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyFloat, PyInt, PyMapping, PyString, PyTuple};

use crate::error::{Class, Failure, Outcome};
use crate::wait;

/// Where the host asks for messages from clients, or decides on them, and names no capacity.
const EVENTS_CAPACITY: usize = 4_096;

/// Addresses to listen on: `"127.0.0.1:9001"`, `("127.0.0.1", 9001)`, `"wss://127.0.0.1:9443"`, or several of them.
pub struct Addresses(Vec<Listener>);

impl<'a, 'py> FromPyObject<'a, 'py> for Addresses {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(text) = object.cast::<PyString>() {
            return addresses(text.to_str()?).map(Addresses);
        }
        if let Ok(pair) = object.cast::<PyTuple>()
            && let Ok((host, port)) = pair.extract::<(String, u16)>()
        {
            let no_ip = |_| no_address(&format!("{host}:{port}"), &"an IP address and a port are needed");
            let ip: IpAddr = host.parse().map_err(no_ip)?;
            return Ok(Addresses(vec![Listener::plain((ip, port))]));
        }
        let Ok(several) = object.try_iter() else {
            return Err(PyTypeError::new_err(
                "listen: \"127.0.0.1:9001\", (\"127.0.0.1\", 9001), or a list of either is needed",
            ));
        };
        let mut all = Vec::new();
        for one in several {
            all.extend(one?.extract::<Addresses>()?.0);
        }
        Ok(Addresses(all))
    }
}

fn addresses(list: &str) -> PyResult<Vec<Listener>> {
    let parts = list.split(',').map(str::trim).filter(|address| !address.is_empty());
    parts.map(|address| address.parse().map_err(|error| no_address(address, &error))).collect()
}

fn trusted_proxies(list: Vec<String>) -> PyResult<Vec<TrustedProxy>> {
    let parse = |text: &String| {
        text.parse().map_err(|error: TrustedProxyError| {
            Failure::new(Class::ConfigError, format!("trusted_proxies = {text}: {error}")).into()
        })
    };
    list.iter().map(parse).collect()
}

fn no_address(text: &str, problem: &dyn Display) -> PyErr {
    Failure::new(Class::ConfigError, format!("listen = {text}: {problem}")).into()
}

/// A choice by name.
macro_rules! choice {
    ($name:ident, $field:literal, $type:ty, $($word:literal => $value:expr),*) => {
        #[doc = concat!("`", $field, "`, by its name.")]
        pub struct $name($type);

        impl<'a, 'py> FromPyObject<'a, 'py> for $name {
            type Error = PyErr;

            fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
                let name = object.cast::<PyString>().map_err(|_| PyTypeError::new_err(concat!($field, ": a str is needed")))?;
                match name.to_str()? {
                    $($word => Ok(Self($value)),)*
                    other => {
                        let words = [$($word),*].map(|word| format!("\"{word}\"")).join(", ");
                        Err(Failure::new(Class::ConfigError, format!("{} = {other:?}: one of {words} is needed", $field)).into())
                    }
                }
            }
        }
    };
}

choice!(Driver, "driver", DriverChoice, "auto" => DriverChoice::Auto, "uring" => DriverChoice::Uring, "epoll" => DriverChoice::Epoll);
choice!(Access, "publish_access", PublishAccess,
    "loopback" => PublishAccess::Loopback, "everyone" => PublishAccess::Everyone, "nobody" => PublishAccess::Nobody);
choice!(ClientCertificatesName, "tls_client_certificates", ClientCertificates, "ignored" => ClientCertificates::Ignored,
    "optional" => ClientCertificates::Optional, "required" => ClientCertificates::Required);
choice!(TlsVersionName, "tls_version_min", TlsVersion, "1.2" => TlsVersion::V12, "1.3" => TlsVersion::V13);
choice!(Policy, "policy", SlowPolicy,
    "drop_oldest" => SlowPolicy::DropOldest, "latest" => SlowPolicy::Latest, "disconnect" => SlowPolicy::Disconnect);

/// Settings of some topics: an object with the attributes of `fanwire.TopicSettings`.
pub struct TopicSettings(TopicConfig);

impl<'a, 'py> FromPyObject<'a, 'py> for TopicSettings {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if !object.hasattr("pattern")? {
            return Err(PyTypeError::new_err("topics: a list of fanwire.TopicSettings is needed"));
        }
        let messages: Option<u64> = object.getattr("messages")?.extract()?;
        let bytes: Option<u64> = object.getattr("bytes")?.extract()?;
        let age: Option<f64> = object.getattr("seconds")?.extract()?;
        let age = age.map(|age| wait::duration("seconds", age)).transpose()?;
        let retention: String = object.getattr("retention")?.extract()?;
        let is_bounded = messages.is_some() || bytes.is_some() || age.is_some();
        let retention = match retention.as_str() {
            "last_value" if !is_bounded => Retention::LastValue,
            "none" if !is_bounded => Retention::None,
            "last" => Retention::Last { messages, bytes, age },
            "none" | "last_value" => {
                let text = format!("retention = {retention:?} knows no messages, bytes and seconds: \"last\" does");
                return Err(Failure::new(Class::ConfigError, text).into());
            }
            other => {
                let text = format!("retention = {other:?}: one of \"none\", \"last_value\", \"last\" is needed");
                return Err(Failure::new(Class::ConfigError, text).into());
            }
        };
        let window: Option<f64> = object.getattr("batch_window")?.extract()?;
        Ok(TopicSettings(TopicConfig {
            pattern: object.getattr("pattern")?.extract()?,
            retention,
            policy: object.getattr("policy")?.extract::<Policy>()?.0,
            lane_bytes: object.getattr("lane_bytes")?.extract()?,
            batch_window: window.map(|window| wait::duration("batch_window", window)).transpose()?,
            deliver_within: wait::duration("deliver_within", object.getattr("deliver_within")?.extract()?)?,
        }))
    }
}

/// What Python gave: all of it optional, the core's defaults otherwise.
#[derive(Default)]
pub struct Settings {
    pub listen: Option<Addresses>,
    pub shards: Option<usize>,
    pub cpus: Option<Vec<usize>>,
    pub driver: Option<Driver>,
    pub connections_max: Option<u32>,
    pub cursors_max: Option<u32>,
    pub topics_max: Option<u32>,
    pub subscriptions_per_connection_max: Option<u32>,
    pub ring_bytes: Option<usize>,
    pub pool_bytes: Option<usize>,
    pub lane_bytes: Option<usize>,
    pub payload_bytes: Option<usize>,
    pub remainder_bytes: Option<usize>,
    pub client_bytes: Option<usize>,
    pub handshakes_max: Option<u32>,
    pub connections_per_address_max: Option<u32>,
    pub upgrades_per_address_per_minute_max: Option<u32>,
    pub failures_per_address_per_minute_max: Option<u32>,
    pub inbound_messages_per_second_max: Option<u32>,
    pub inbound_bytes_per_second_max: Option<usize>,
    pub message_timeout: Option<f64>,
    pub connection_lifetime: Option<f64>,
    pub connections_per_subject_max: Option<u32>,
    pub subscriptions_per_subject_max: Option<u32>,
    pub patterns_per_subject_max: Option<u32>,
    pub topics_per_subject_max: Option<u32>,
    pub topics_per_connection_max: Option<u32>,
    pub lock_memory: bool,
    pub message_bytes_max: Option<usize>,
    pub request_bytes_max: Option<usize>,
    pub unsent_bytes_max: Option<usize>,
    pub handshake_timeout: Option<f64>,
    pub ping_every: Option<f64>,
    pub idle_timeout: Option<f64>,
    pub close_timeout: Option<f64>,
    pub close_window: Option<f64>,
    pub topics: Option<Vec<TopicSettings>>,
    pub deflate: Option<bool>,
    pub compression_threshold_bytes: Option<usize>,
    pub publish_access: Option<Access>,
    pub allowed_origins: Option<Vec<String>>,
    pub tls_bytes: Option<usize>,
    pub tls_certificate_files: Option<Vec<PathBuf>>,
    pub tls_key_files: Option<Vec<PathBuf>>,
    pub tls_client_ca_file: Option<PathBuf>,
    pub tls_client_certificates: Option<ClientCertificatesName>,
    pub tls_version_min: Option<TlsVersionName>,
    pub trusted_proxies: Option<Vec<String>>,
    pub sys_top: Option<u32>,
    pub sys_public: Option<bool>,
    pub ask_host_within: Option<f64>,
    pub ask_host_headers: Option<Vec<String>>,
    pub server_name: Option<String>,
    pub events: Option<usize>,
    pub messages: bool,
}

impl Settings {
    /// The core's configuration.
    ///
    /// # Errors
    /// `ConfigError` for what only Python knows to be wrong; the core sees to the rest.
    pub fn read(self) -> Outcome<Config> {
        let mut config = Config::default();
        put(&mut config.listen, self.listen.map(|listen| listen.0));
        config.shards = self.shards;
        config.cpus = self.cpus;
        put(&mut config.driver, self.driver.map(|driver| driver.0));
        put(&mut config.connections_max, self.connections_max);
        put(&mut config.cursors_max, self.cursors_max);
        put(&mut config.topics_max, self.topics_max);
        put(&mut config.memory.ring_bytes, self.ring_bytes);
        put(&mut config.memory.pool_bytes, self.pool_bytes);
        put(&mut config.memory.lane_bytes, self.lane_bytes);
        put(&mut config.memory.payload_bytes, self.payload_bytes);
        put(&mut config.memory.remainder_bytes, self.remainder_bytes);
        put(&mut config.memory.client_bytes, self.client_bytes);
        put(&mut config.limits.handshakes_max, self.handshakes_max);
        put(&mut config.limits.connections_per_address_max, self.connections_per_address_max);
        put(&mut config.limits.upgrades_per_address_per_minute_max, self.upgrades_per_address_per_minute_max);
        put(&mut config.limits.failures_per_address_per_minute_max, self.failures_per_address_per_minute_max);
        put(&mut config.limits.inbound_messages_per_second_max, self.inbound_messages_per_second_max);
        put(&mut config.limits.inbound_bytes_per_second_max, self.inbound_bytes_per_second_max);
        put(&mut config.limits.connections_per_subject_max, self.connections_per_subject_max);
        put(&mut config.limits.subscriptions_per_subject_max, self.subscriptions_per_subject_max);
        put(&mut config.limits.patterns_per_subject_max, self.patterns_per_subject_max);
        put(&mut config.limits.topics_per_subject_max, self.topics_per_subject_max);
        put(&mut config.limits.topics_per_connection_max, self.topics_per_connection_max);
        config.memory.lock_memory = self.lock_memory;
        let limits = &mut config.limits;
        put(&mut limits.subscriptions_per_connection_max, self.subscriptions_per_connection_max);
        put(&mut limits.message_bytes_max, self.message_bytes_max);
        put(&mut limits.request_bytes_max, self.request_bytes_max);
        put(&mut limits.unsent_bytes_max, self.unsent_bytes_max);
        put(&mut limits.handshake_timeout, seconds("handshake_timeout", self.handshake_timeout)?);
        put(&mut limits.message_timeout, seconds("message_timeout", self.message_timeout)?);
        put(&mut limits.connection_lifetime, seconds("connection_lifetime", self.connection_lifetime)?);
        put(&mut limits.ping_every, seconds("ping_every", self.ping_every)?);
        put(&mut limits.idle_timeout, seconds("idle_timeout", self.idle_timeout)?);
        put(&mut limits.close_timeout, seconds("close_timeout", self.close_timeout)?);
        put(&mut limits.close_window, seconds("close_window", self.close_window)?);
        config.topics = self.topics.unwrap_or_default().into_iter().map(|topic| topic.0).collect();
        put(&mut config.compression.deflate, self.deflate);
        put(&mut config.compression.threshold_bytes, self.compression_threshold_bytes);
        put(&mut config.access.publish, self.publish_access.map(|access| access.0));
        put(&mut config.access.allowed_origins, self.allowed_origins);
        put(&mut config.access.trusted_proxies, self.trusted_proxies.map(trusted_proxies).transpose()?);
        put(&mut config.sys.top, self.sys_top);
        put(&mut config.sys.public, self.sys_public);
        put(&mut config.server_name, self.server_name);
        put(&mut config.memory.tls_bytes, self.tls_bytes);
        put(&mut config.tls.certificate_files, self.tls_certificate_files);
        put(&mut config.tls.key_files, self.tls_key_files);
        config.tls.client_ca_file = self.tls_client_ca_file;
        put(&mut config.tls.client_certificates, self.tls_client_certificates.map(|name| name.0));
        put(&mut config.tls.version_min, self.tls_version_min.map(|name| name.0));
        let within = seconds("ask_host_within", self.ask_host_within)?.unwrap_or_default();
        config.access.ask_host = AskHost::of(within, self.ask_host_headers.unwrap_or_default());
        let needs_events = self.messages || config.access.ask_host.is_some();
        let capacity = self.events.unwrap_or(if needs_events { EVENTS_CAPACITY } else { 0 });
        if self.messages && capacity == 0 {
            let text = "events = 0, but messages = True: there must be room for messages to wait";
            return Err(Failure::new(Class::ConfigError, text));
        }
        config.events.capacity = capacity;
        config.events.messages = self.messages;
        Ok(config)
    }
}

/// Gives settings the values that a mapping has for their names: `{"limits.ping_every": "5s"}`. `None` leaves one as it is.
///
/// # Errors
/// `ConfigError` for a name that is none and a value that it cannot have; `TypeError` for what is no value at all.
pub fn apply_options(config: &mut Config, tokens: &mut TokenSettings, options: &Bound<'_, PyMapping>) -> PyResult<()> {
    for pair in options.items()? {
        let (name, value) = pair.extract::<(String, Bound<'_, PyAny>)>()?;
        let row = match is_token_setting(&name) {
            true => TokenSetting::find(&name).map(|setting| (setting.name, setting.unit, setting.separator)),
            false => Setting::find(&name).map(|setting| (setting.name, setting.unit(), setting.separator())),
        };
        let row = row.map_err(refused)?;
        if value.is_none() {
            continue;
        }
        let text = text_of(row, &value)?;
        let set = if is_token_setting(&name) { tokens.set(&name, &text) } else { config.set(&name, &text) };
        set.map_err(refused)?;
    }
    Ok(())
}

/// A value as the table of settings reads it: of a setting's name, unit and separator.
fn text_of(row: (&str, Unit, Option<char>), value: &Bound<'_, PyAny>) -> PyResult<String> {
    let (name, unit, separator) = row;
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(text.to_str()?.to_owned());
    }
    if let Ok(is_on) = value.cast::<PyBool>() {
        return Ok(is_on.is_true().to_string());
    }
    let is_number = value.is_instance_of::<PyInt>() || value.is_instance_of::<PyFloat>();
    // Seconds, as everywhere in Python.
    if unit == Unit::Time && is_number {
        return Ok(Span(wait::duration(name, value.extract()?)?).to_string());
    }
    if value.is_instance_of::<PyInt>() {
        return Ok(value.str()?.to_str()?.to_owned());
    }
    if let Some(separator) = separator
        && let Ok(several) = value.try_iter()
    {
        let texts = several.map(|one| Ok(one?.str()?.to_str()?.to_owned())).collect::<PyResult<Vec<String>>>()?;
        return Ok(texts.join(&separator.to_string()));
    }
    let text = format!(
        "options[{name:?}]: a str, bool, int{} is needed",
        match unit {
            Unit::Time => ", float",
            Unit::List => ", or a list of str",
            _ => "",
        }
    );
    Err(PyTypeError::new_err(text))
}

fn refused(error: SettingError) -> PyErr {
    Failure::new(Class::ConfigError, error.to_string()).into()
}

fn put<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

fn seconds(name: &str, value: Option<f64>) -> PyResult<Option<Duration>> {
    let read = value.map(|value| wait::duration(name, value)).transpose();
    read.map_err(|error| Python::attach(|py| PyValueError::new_err(error.value(py).to_string())))
}
