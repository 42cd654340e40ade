//! Job: every name that a configuration can give a value to: the engine's settings, and the process's own.
//! Knows: names, and which values are allowed. Must never know: where a value comes from.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use clap::ValueEnum;
use fanwire::Config;
use fanwire::proto::topic::Pattern;
use fanwire::settings::{Setting, Span, Unit, settings};
use fanwire_access::{SECTION, TokenSetting, token_settings};

use crate::args::LogFormat;
use crate::control::PATH_BYTES_MAX;
use crate::logging;
use crate::settings::problem;
use crate::spans::CollectorUrl;

pub const SHUTDOWN_TIMEOUT: &str = "shutdown_timeout";
pub const LOG_LEVEL: &str = "log.level";
pub const LOG_FORMAT: &str = "log.format";
pub const CONTROL_SOCKET: &str = "control.socket";
pub const JWKS_URL: &str = "token.jwks_url";
pub const ADMIN_LISTEN: &str = "admin.listen";
pub const ADMIN_HOSTS: &str = "admin.hosts";
pub const ADMIN_TOKEN_FILE: &str = "admin.token_file";
pub const ADMIN_CERTIFICATE_FILE: &str = "admin.certificate_file";
pub const ADMIN_KEY_FILE: &str = "admin.key_file";
pub const ADMIN_CLIENT_CA_FILE: &str = "admin.client_ca_file";
pub const BENCHMARK_EVERY: &str = "benchmark.every";
pub const OTLP_ENDPOINT: &str = "tracing.otlp_endpoint";
pub const SAMPLE: &str = "tracing.sample";
pub const CLUSTER_NATS: &str = "cluster.nats";
pub const CLUSTER_NAME: &str = "cluster.name";
pub const CLUSTER_CREDENTIALS_FILE: &str = "cluster.credentials_file";
pub const CLUSTER_CA_FILE: &str = "cluster.ca_file";
pub const CLUSTER_CERTIFICATE_FILE: &str = "cluster.certificate_file";
pub const CLUSTER_KEY_FILE: &str = "cluster.key_file";
pub const CLUSTER_KEEP: &str = "cluster.keep";
pub const CLUSTER_FOREIGN: &str = "cluster.foreign";

/// Stands for no place at all.
const NOWHERE: &str = "none";
/// Names of the admin port.
const HOSTS_MAX: usize = 64;

/// What is less like a name than this is no misspelling of it, by Jaro and Winkler.
const LEAST_LIKENESS: f64 = 0.85;

/// A setting of the process, which the engine does not know.
#[derive(Clone, Copy, Debug)]
pub struct Own {
    pub name: &'static str,
    pub help: &'static str,
    /// The values that are allowed, in a few words.
    pub values: &'static str,
    pub unit: Unit,
    pub default: &'static str,
    /// What stands between the values of a list.
    pub separator: Option<char>,
    check: fn(&str) -> Result<(), String>,
}

impl Own {
    /// Whether a running process takes another value.
    pub fn is_reloadable(&self) -> bool {
        !FIXED.contains(&self.name) && TokenSetting::find(self.name).map_or(true, |setting| setting.is_reloadable)
    }

    fn of_tokens(setting: &TokenSetting) -> Self {
        let TokenSetting { name, help, values, unit, default, separator, check, .. } = *setting;
        Own { name, help, values, unit, default, separator, check }
    }

    const fn text(name: &'static str, values: &'static str, help: &'static str) -> Self {
        Own { name, help, values, unit: Unit::Text, default: "", separator: None, check: check_text }
    }
}

/// What holds for the whole life of the process.
const FIXED: [&str; 20] = [
    LOG_LEVEL,
    LOG_FORMAT,
    CONTROL_SOCKET,
    ADMIN_LISTEN,
    ADMIN_HOSTS,
    ADMIN_TOKEN_FILE,
    ADMIN_CERTIFICATE_FILE,
    ADMIN_KEY_FILE,
    ADMIN_CLIENT_CA_FILE,
    BENCHMARK_EVERY,
    OTLP_ENDPOINT,
    SAMPLE,
    CLUSTER_NATS,
    CLUSTER_NAME,
    CLUSTER_CREDENTIALS_FILE,
    CLUSTER_CA_FILE,
    CLUSTER_CERTIFICATE_FILE,
    CLUSTER_KEY_FILE,
    CLUSTER_KEEP,
    CLUSTER_FOREIGN,
];

/// All settings of the process: those of tokens are hosts', too.
static OWN: LazyLock<Vec<Own>> = LazyLock::new(|| {
    BEFORE.iter().copied().chain(token_settings().map(Own::of_tokens)).chain(AFTER.iter().copied()).collect()
});

/// What stands before the settings of tokens.
static BEFORE: [Own; 4] = [
    Own {
        name: SHUTDOWN_TIMEOUT,
        help: "Time that subscribers get, after a request to stop, to take what is queued for them",
        values: "any time, or 0",
        unit: Unit::Time,
        default: "10s",
        separator: None,
        check: |text| text.parse::<Span>().map(|_| ()),
    },
    Own {
        name: LOG_LEVEL,
        help: "What is logged; without it RUST_LOG holds, then info; --log and FANWIRE_LOG go before it",
        values: "error, warn, info, debug, trace, or a filter such as warn,fanwire=debug",
        unit: Unit::Text,
        default: "",
        separator: None,
        check: logging::check_filter,
    },
    Own {
        name: LOG_FORMAT,
        help: "How it is logged",
        values: "text, json",
        unit: Unit::Word,
        default: "text",
        separator: None,
        check: |text| match LogFormat::from_str(text, false) {
            Ok(_) => Ok(()),
            Err(_) => Err("must be one of text, json".into()),
        },
    },
    Own {
        name: CONTROL_SOCKET,
        help: "Unix socket where fanwire reload, drain and status ask this server, of this user and root alone; not set: \
               fanwire.sock in the service's runtime directory (systemd: RuntimeDirectory=), if there is one",
        values: "a path, or none",
        unit: Unit::Text,
        default: "",
        separator: None,
        check: check_socket,
    },
];

/// What stands behind the settings of tokens.
static AFTER: [Own; 17] = [
    Own {
        name: ADMIN_LISTEN,
        help: "Where metrics, an operator's page and its orders are served by HTTP; at an address that other machines reach only with \
               admin.token_file or admin.client_ca_file; where the default is taken, the server goes on without",
        values: "IP:PORT, or none",
        unit: Unit::Text,
        default: "127.0.0.1:9002",
        separator: None,
        check: check_admin_listen,
    },
    Own {
        name: ADMIN_HOSTS,
        help: "Names that the admin port is asked for by, besides addresses and localhost; requests for any other name are refused",
        values: "host names, several with commas",
        unit: Unit::List,
        default: "",
        separator: Some(','),
        check: check_hosts,
    },
    Own::text(
        ADMIN_TOKEN_FILE,
        "a path",
        "Tokens, one a line: who asks the admin port for anything but /livez and /readyz has to have one, as a bearer's or as a password",
    ),
    Own::text(
        ADMIN_CERTIFICATE_FILE,
        "a PEM file",
        "The admin port's certificate with its chain; with it, TLS is spoken there",
    ),
    Own::text(ADMIN_KEY_FILE, "a PEM file", "The certificate's private key"),
    Own::text(
        ADMIN_CLIENT_CA_FILE,
        "a PEM file",
        "Certificates of those that sign clients' certificates: who has none is not let in at the admin port",
    ),
    Own {
        name: BENCHMARK_EVERY,
        help: "How often the server measures how long its messages take, and compares that with the times before; not set: only when \
               somebody asks the admin port for it",
        values: "1m or more",
        unit: Unit::Time,
        default: "",
        separator: None,
        check: check_benchmark,
    },
    Own {
        name: OTLP_ENDPOINT,
        help: "Where an OpenTelemetry collector takes spans of a sample of the messages and connections, by OTLP over HTTP (JSON); \
               /v1/traces is added to it; not set: nothing is traced",
        values: "http://... or https://...",
        unit: Unit::Text,
        default: "",
        separator: None,
        check: |text| text.parse::<CollectorUrl>().map(|_| ()),
    },
    Own {
        name: SAMPLE,
        help: "The part of the messages, and of the connections, that is traced; whether a message is that has a traceparent is said \
               there",
        values: "0 to 1",
        unit: Unit::Text,
        default: "0.01",
        separator: None,
        check: check_sample,
    },
    Own {
        name: CLUSTER_NATS,
        help: "NATS servers of one cluster, by which this node and others of the same cluster.name share their topics; not set: this \
               node is alone",
        values: "nats://HOST:PORT or tls://HOST:PORT, several with commas",
        unit: Unit::List,
        default: "",
        separator: Some(','),
        check: check_nats,
    },
    Own {
        name: CLUSTER_NAME,
        help: "Nodes of this name share their topics",
        values: "1 to 32 letters, digits, - and _",
        unit: Unit::Text,
        default: "main",
        separator: None,
        check: check_cluster_name,
    },
    Own::text(CLUSTER_CREDENTIALS_FILE, "a path", "NATS credentials (a .creds file) for cluster.nats"),
    Own::text(
        CLUSTER_CA_FILE,
        "a PEM file",
        "Certificates of those that sign the NATS servers', besides the system's; for tls://",
    ),
    Own::text(CLUSTER_CERTIFICATE_FILE, "a PEM file", "This node's certificate, for NATS servers that ask for one"),
    Own::text(CLUSTER_KEY_FILE, "a PEM file", "Its private key"),
    Own {
        name: CLUSTER_KEEP,
        help: "What this node hears of the cluster even while nobody here has subscribed to it, so that it has last values",
        values: "patterns of topics, several with commas",
        unit: Unit::List,
        default: "",
        separator: Some(','),
        check: check_keep,
    },
    Own {
        name: CLUSTER_FOREIGN,
        help: "Prefixes of plain NATS subjects that are topics here: plant.line1 stands for what is below plant/line1, in and out; the \
               same on all nodes",
        values: "prefixes of subjects, several with commas",
        unit: Unit::List,
        default: "",
        separator: Some(','),
        check: check_foreign,
    },
];

/// A variable that is empty by mistake must not open the door.
fn check_text(text: &str) -> Result<(), String> {
    if text.trim().is_empty() { Err("must not be empty; leave it out instead".into()) } else { Ok(()) }
}

fn check_benchmark(text: &str) -> Result<(), String> {
    match text.parse::<Span>()? {
        Span(time) if time < Duration::from_secs(60) => Err("must be at least 1m; leave it out for never".into()),
        _ => Ok(()),
    }
}

fn check_sample(text: &str) -> Result<(), String> {
    match text.parse::<f64>() {
        Ok(sample) if (0.0..=1.0).contains(&sample) => Ok(()),
        _ => Err("must be from 0 to 1, such as 0.01 for one in a hundred".into()),
    }
}

fn check_nats(text: &str) -> Result<(), String> {
    let is_server = |url: &str| {
        let rest = url.strip_prefix("nats://").or_else(|| url.strip_prefix("tls://"));
        rest.is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_ascii_graphic()))
    };
    match patterns(text).find(|url| !is_server(url)) {
        // It may have a password in it.
        Some(_) => Err("must be nats://HOST:PORT or tls://HOST:PORT, several with commas".into()),
        None => Ok(()),
    }
}

fn check_cluster_name(text: &str) -> Result<(), String> {
    let is_sound = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    match is_sound && (1..=32).contains(&text.len()) {
        true => Ok(()),
        false => Err("must be 1 to 32 letters, digits, - and _".into()),
    }
}

fn check_keep(text: &str) -> Result<(), String> {
    patterns(text).try_for_each(|text| Pattern::check(text).map_err(|error| format!("`{text}`: {error}")))
}

fn check_foreign(text: &str) -> Result<(), String> {
    let is_prefix = |text: &str| text.split('.').all(|token| !token.is_empty() && !token.contains(['*', '>', '/']));
    match patterns(text).find(|text| !is_prefix(text)) {
        Some(text) => Err(format!("`{text}` is no prefix of subjects, such as plant.line1")),
        None => Ok(()),
    }
}

/// An empty text is none, too.
pub fn admin_address(text: &str) -> Result<Option<SocketAddr>, String> {
    match text.trim() {
        "" | NOWHERE => Ok(None),
        text => match text.parse() {
            Ok(address) => Ok(Some(address)),
            Err(_) => Err("must be an IP address and a port, such as 127.0.0.1:9002 or [::1]:9002, or none".into()),
        },
    }
}

fn check_admin_listen(text: &str) -> Result<(), String> {
    admin_address(text).map(|_| ())
}

fn check_hosts(text: &str) -> Result<(), String> {
    let is_name =
        |name: &str| name.len() <= 255 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b));
    match patterns(text).find(|name| !is_name(name)) {
        Some(name) => Err(format!("`{name}` is no host name; it is written without a port")),
        None if patterns(text).count() > HOSTS_MAX => Err(format!("must be at most {HOSTS_MAX} names")),
        None => Ok(()),
    }
}

fn check_socket(text: &str) -> Result<(), String> {
    check_text(text)?;
    match text.len() > PATH_BYTES_MAX {
        true => Err(format!("must have at most {PATH_BYTES_MAX} bytes: a socket's path is no longer")),
        false => Ok(()),
    }
}

/// The patterns of a list.
pub fn patterns(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

/// What a value can be given to.
#[derive(Clone, Copy, Debug)]
pub enum Key {
    /// A row of the engine's table.
    Engine(&'static Setting),
    /// A setting of the process.
    Process(&'static Own),
}

/// Settings of the process that are options by the name that their own name gives: `--token-keys-file`.
pub fn own_options() -> impl Iterator<Item = &'static Own> {
    let has_option = |own: &&Own| {
        own.name == CONTROL_SOCKET
            || [SECTION, "admin.", "benchmark.", "tracing.", "cluster."]
                .iter()
                .any(|section| own.name.starts_with(section))
    };
    OWN.iter().filter(has_option)
}

/// All settings of the process.
pub fn own_settings() -> impl Iterator<Item = &'static Own> {
    OWN.iter()
}

/// All of them, in the order in which a person would read them.
pub fn all() -> impl Iterator<Item = Key> {
    settings().filter(|setting| !setting.is_for_hosts).map(Key::Engine).chain(OWN.iter().map(Key::Process))
}

/// Names below which there are settings, those of programs that have the engine inside themselves included.
fn sections() -> impl Iterator<Item = &'static str> {
    let names = settings().map(|setting| setting.name).chain(OWN.iter().map(|own| own.name));
    names.filter_map(|name| name.rsplit_once('.').map(|(section, _)| section))
}

/// Whether there are settings below this name.
pub fn is_section(name: &str) -> bool {
    sections().any(|section| section == name)
}

/// What is wrong with a section that is none.
pub fn no_section(name: &str) -> String {
    let written = name.to_ascii_lowercase();
    let nearest = most_like(sections(), |section| strsim::jaro_winkler(section, &written));
    let nearest = nearest.map_or_else(String::new, |section| format!("; did you mean [{section}]?"));
    format!("{name}: there is no such section{nearest}")
}

impl Key {
    /// The setting of this name.
    ///
    /// # Errors
    /// That there is none, with the nearest name.
    pub fn find(name: &str) -> Result<Key, String> {
        Self::named(name).ok_or_else(|| Self::unknown(name))
    }

    /// The setting of this name, if there is one.
    pub fn named(name: &str) -> Option<Key> {
        all().find(|key| key.name() == name)
    }

    /// What is wrong with a name that is none, with the nearest one.
    pub fn unknown(name: &str) -> String {
        if Setting::find(name).is_ok_and(|setting| setting.is_for_hosts) {
            return format!("{name} is for programs that have the engine inside themselves");
        }
        let nearest = nearest(name).map_or_else(String::new, |name| format!("; did you mean {name}?"));
        format!("{name}: there is no such setting{nearest}")
    }

    pub fn name(self) -> &'static str {
        match self {
            Key::Engine(setting) => setting.name,
            Key::Process(own) => own.name,
        }
    }

    pub fn help(self) -> &'static str {
        match self {
            Key::Engine(setting) => setting.help,
            Key::Process(own) => own.help,
        }
    }

    pub fn values(self) -> String {
        match self {
            Key::Engine(setting) => setting.range(),
            Key::Process(own) => own.values.to_owned(),
        }
    }

    pub fn unit(self) -> Unit {
        match self {
            Key::Engine(setting) => setting.unit(),
            Key::Process(own) => own.unit,
        }
    }

    /// What stands between the values of a list; `None`: it is no list.
    pub fn separator(self) -> Option<char> {
        match self {
            Key::Engine(setting) => setting.separator(),
            Key::Process(own) => own.separator,
        }
    }

    pub fn default(self) -> String {
        match self {
            Key::Engine(setting) => setting.default(),
            Key::Process(own) => own.default.to_owned(),
        }
    }

    pub fn is_secret(self) -> bool {
        match self {
            Key::Engine(setting) => setting.is_secret,
            // There may be a password in it.
            Key::Process(own) => own.name == CLUSTER_NATS,
        }
    }

    /// Whether a text is one of its values.
    ///
    /// # Errors
    /// What is wrong with it, and what is allowed.
    pub fn check(self, text: &str) -> Result<(), String> {
        match self {
            Key::Engine(setting) => setting.set(&mut Config::default(), text).map_err(problem),
            Key::Process(own) => (own.check)(text),
        }
    }
}

/// The setting whose name is most like `name`, or whose last part is like its last part, unless none is.
fn nearest(name: &str) -> Option<&'static str> {
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let written = name.to_ascii_lowercase().replace('-', "_");
    most_like(all().map(Key::name), |name| {
        let whole = strsim::jaro_winkler(name, &written);
        whole.max(strsim::jaro_winkler(&last(name), &last(&written)))
    })
}

/// The name that is most like something, unless none is a misspelling of it.
fn most_like(
    names: impl Iterator<Item = &'static str>,
    likeness: impl Fn(&'static str) -> f64,
) -> Option<&'static str> {
    let rated = names.map(|name| (likeness(name), name)).max_by(|a, b| a.0.total_cmp(&b.0));
    rated.filter(|(likeness, _)| *likeness >= LEAST_LIKENESS).map(|(_, name)| name)
}
