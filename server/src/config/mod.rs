//! Job: what `fanwire serve` is to do, out of four layers: options, the environment, a file, defaults; the first that says something
//! holds.
//! Knows: where each value came from. Must never know: what a setting does.

mod command;
mod environment;
mod file;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod key;
mod options;
mod place;
mod topics;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use fanwire::proto::topic::Pattern;
use fanwire::settings::Span;
use fanwire::{Config, ConfigError};
use fanwire_access::{DoorConfig, RevocationsConfig, TokenSettings, is_token_setting};

use self::key::Key;
use crate::admin::{AdminConfig, Wanted};
use crate::args::{LogFormat, ServeArgs};
use crate::cluster::ClusterConfig;
use crate::control;
use crate::exit::{Exit, Failure};
use crate::redact::redacted;
use crate::spans::SpansConfig;

pub use command::{run, shown};
pub use file::on_stdin;
pub use key::{JWKS_URL, SHUTDOWN_TIMEOUT, own_settings};
pub use options::OwnArgs;

/// Faults that are told one by one.
const FAULTS_SHOWN: usize = 100;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    /// A place in a file, as `fanwire.toml:3:1`.
    File(String),
    /// A variable of the environment.
    Environment(String),
    /// An option of the command line.
    Option(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Origin::File(text) | Origin::Environment(text) | Origin::Option(text)) = self;
        f.write_str(text)
    }
}

/// A value that was given, known to be one of its setting's.
#[derive(Clone, Debug)]
struct Given {
    key: Key,
    text: String,
    origin: Origin,
}

/// What is wrong, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Fault {
    at: String,
    problem: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.problem)
    }
}

/// What one layer says, and what is wrong with it.
#[derive(Debug, Default)]
struct Layer {
    given: Vec<Given>,
    faults: Vec<Fault>,
}

impl Layer {
    /// Takes a value, if it is one of its setting's.
    fn give(&mut self, key: Key, text: String, origin: Origin) {
        match key.check(&text) {
            Ok(()) => self.given.push(Given { key, text, origin }),
            Err(problem) => {
                let text = if key.is_secret() { "(secret)" } else { &text };
                self.fault(origin.to_string(), format!("{} = {text}: {problem}", key.name()));
            }
        }
    }

    fn fault(&mut self, at: String, problem: String) {
        self.faults.push(Fault { at, problem });
    }
}

/// Everything that `fanwire serve` was told.
#[derive(Debug)]
pub struct Loaded {
    /// The engine's part.
    pub config: Config,
    /// What was given, of each setting by who goes before the others.
    given: BTreeMap<&'static str, Given>,
}

impl Loaded {
    /// Where an operator's requests are taken; `None`: nowhere.
    pub fn control_socket(&self) -> Option<PathBuf> {
        match &self.text(key::CONTROL_SOCKET)[..] {
            "" => control::default_path(),
            "none" => None,
            path => Some(PathBuf::from(path)),
        }
    }

    /// Takes what the command line, or FANWIRE_LOG, says of the log: it goes before the file and before FANWIRE__LOG__LEVEL.
    pub fn take_log(&mut self, level: Option<&str>, format: Option<LogFormat>) {
        #[allow(clippy::disallowed_methods, reason = "the arguments do not tell by which of the two they were given")]
        let is_variable = level.is_some() && std::env::var("FANWIRE_LOG").ok().as_deref() == level;
        let format = format.and_then(|format| Some(format.to_possible_value()?.get_name().to_owned()));
        let of_level =
            if is_variable { Origin::Environment("FANWIRE_LOG".into()) } else { Origin::Option("--log".into()) };
        for (name, text, origin) in [
            (key::LOG_LEVEL, level.map(str::to_owned), of_level),
            (key::LOG_FORMAT, format, Origin::Option("--log-format".into())),
        ] {
            if let (Some(text), Ok(key)) = (text, Key::find(name)) {
                self.given.insert(key.name(), Given { key, text, origin });
            }
        }
    }

    /// What is logged. `None`: nothing was said.
    pub fn log_level(&self) -> Option<String> {
        Some(self.text(key::LOG_LEVEL)).filter(|text| !text.is_empty())
    }

    /// How it is logged.
    pub fn log_format(&self) -> LogFormat {
        LogFormat::from_str(&self.text(key::LOG_FORMAT), false).unwrap_or(LogFormat::Text)
    }

    /// What the settings below `token` say.
    pub fn door(&self) -> DoorConfig {
        self.tokens().door()
    }

    /// What the settings say of revoked tokens.
    pub fn revocations(&self) -> RevocationsConfig {
        self.tokens().revocations()
    }

    /// Refuses settings of tokens that would do nothing.
    ///
    /// # Errors
    /// 78, with the place of each.
    pub fn check_tokens(&self) -> Result<(), Failure> {
        let fault = |(name, problem): (&str, String)| Fault { at: self.place_of(name), problem };
        let faults: Vec<Fault> = self.tokens().faults().into_iter().map(fault).collect();
        if faults.is_empty() { Ok(()) } else { Err(wrong("token", &faults)) }
    }

    fn tokens(&self) -> TokenSettings {
        let mut tokens = TokenSettings::default();
        for given in self.given.values().filter(|given| is_token_setting(given.key.name())) {
            // Seen to be one of its values when the layer was read.
            let _ = tokens.set(given.key.name(), &given.text);
        }
        tokens
    }

    /// What the settings below `admin` say.
    pub fn admin(&self) -> AdminConfig {
        let path = |name: &str| Some(self.text(name)).filter(|text| !text.is_empty()).map(PathBuf::from);
        AdminConfig {
            // Seen to be one when it was read.
            listen: key::admin_address(&self.text(key::ADMIN_LISTEN)).unwrap_or_default(),
            wanted: if self.says(key::ADMIN_LISTEN) { Wanted::ByName } else { Wanted::ByDefault },
            hosts: key::patterns(&self.text(key::ADMIN_HOSTS)).map(str::to_owned).collect(),
            token_file: path(key::ADMIN_TOKEN_FILE),
            certificate_file: path(key::ADMIN_CERTIFICATE_FILE),
            key_file: path(key::ADMIN_KEY_FILE),
            client_ca_file: path(key::ADMIN_CLIENT_CA_FILE),
            benchmark_every: Some(self.text(key::BENCHMARK_EVERY))
                .and_then(|text| text.parse().ok())
                .map(|Span(time)| time),
            has_door: self.door().is_wanted(),
        }
    }

    /// What the settings below `tracing` say. `None`: nothing is to be traced.
    pub fn spans(&self) -> Option<SpansConfig> {
        let url = self.text(key::OTLP_ENDPOINT).parse().ok()?;
        Some(SpansConfig { url, sample: self.text(key::SAMPLE).parse().unwrap_or_default() })
    }

    /// What the settings below `cluster` say. `None`: this node is alone.
    ///
    /// # Errors
    /// 78: something of it is said, and no server, with the place of each.
    pub fn cluster(&self) -> Result<Option<ClusterConfig>, Failure> {
        if key::patterns(&self.text(key::CLUSTER_NATS)).next().is_none() {
            // As in a file that `config init` has written.
            let is_said = |own: &&key::Own| self.says(own.name) && own.default != self.text(own.name);
            let idle = own_settings().filter(is_said).map(|own| own.name).filter(|name| name.starts_with("cluster."));
            let problem = format!("means nothing without {}", key::CLUSTER_NATS);
            let faults: Vec<Fault> =
                idle.map(|name| Fault { at: self.place_of(name), problem: problem.clone() }).collect();
            return if faults.is_empty() { Ok(None) } else { Err(wrong("cluster", &faults)) };
        }
        let texts = |name: &str| key::patterns(&self.text(name)).map(str::to_owned).collect::<Vec<_>>();
        let path = |name: &str| Some(self.text(name)).filter(|text| !text.is_empty()).map(PathBuf::from);
        Ok(Some(ClusterConfig {
            urls: texts(key::CLUSTER_NATS),
            name: self.text(key::CLUSTER_NAME),
            credentials_file: path(key::CLUSTER_CREDENTIALS_FILE),
            ca_file: path(key::CLUSTER_CA_FILE),
            certificate_file: path(key::CLUSTER_CERTIFICATE_FILE),
            key_file: path(key::CLUSTER_KEY_FILE),
            keep: texts(key::CLUSTER_KEEP).iter().filter_map(|text| Pattern::parse(text).ok()).collect(),
            foreign: texts(key::CLUSTER_FOREIGN),
        }))
    }

    /// The value of a setting, as text; hidden if it is a secret.
    pub fn value(&self, name: &str) -> String {
        match name {
            key::CLUSTER_NATS => redacted(&self.text(name)),
            _ => self.text(name),
        }
    }

    /// Where the value of a setting came from, for a person.
    pub fn told_by(&self, name: &str) -> String {
        self.origin(name).map_or_else(|| "default".to_owned(), ToString::to_string)
    }

    fn text(&self, name: &str) -> String {
        match (self.given.get(name), Key::find(name)) {
            (_, Ok(Key::Engine(setting))) => setting.show(&self.config),
            (Some(given), _) => given.text.clone(),
            (None, Ok(Key::Process(own))) => own.default.to_owned(),
            (None, Err(_)) => String::new(),
        }
    }

    /// Where the value of a setting came from; `None`: it is the default.
    fn origin(&self, name: &str) -> Option<&Origin> {
        self.given.get(name).map(|given| &given.origin)
    }

    /// Whether somebody has given this setting a value.
    pub fn says(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    /// How a person would find what the engine refuses: the place where it was set, else the option that sets it.
    pub fn place_of(&self, name: &str) -> String {
        // `topics.lane_bytes` is a part of `topics`.
        let known = [name, name.split('.').next().unwrap_or_default()].into_iter().find_map(|name| self.origin(name));
        match known {
            Some(Origin::File(place)) => format!("{place}: {name}"),
            Some(Origin::Environment(_) | Origin::Option(_)) if name.starts_with("topics.") => {
                crate::settings::option_of(name)
            }
            Some(Origin::Environment(text) | Origin::Option(text)) => text.clone(),
            None => crate::settings::option_of(name),
        }
    }
}

/// What the options, this process's environment and the file that they name say together.
///
/// # Errors
/// 66 where a file cannot be read; 78 with everything that is wrong in it or in the environment, one a line.
pub fn load(args: &ServeArgs) -> Result<Loaded, Failure> {
    load_with(args, std::env::vars_os())
}

/// [`load`], and what settings have to do with each other.
///
/// # Errors
/// As [`load`].
pub fn load_checked(args: &ServeArgs) -> Result<Loaded, Failure> {
    let loaded = load(args)?;
    let faults = validate(&loaded);
    if faults.is_empty() { Ok(loaded) } else { Err(failure(args.config.as_deref(), &faults)) }
}

/// [`load`] in another environment.
pub fn load_with(args: &ServeArgs, environment: impl Iterator<Item = (OsString, OsString)>) -> Result<Loaded, Failure> {
    let file = args.config.as_deref().map(file::read).transpose()?.unwrap_or_default();
    let environment = environment::read(environment);
    let faults: Vec<Fault> = file.faults.into_iter().chain(environment.faults).collect();
    if !faults.is_empty() {
        return Err(failure(args.config.as_deref(), &faults));
    }
    let layers = [file.given, environment.given, options(args)];
    let given = layers.into_iter().flatten().map(|given| (given.key.name(), given)).collect();
    let mut loaded = Loaded { config: Config::default(), given };
    for given in loaded.given.values() {
        if let Key::Engine(setting) = given.key {
            // Seen to be one of its values when the layer was read.
            setting.set(&mut loaded.config, &given.text).map_err(|error| Failure::new(Exit::Config, error))?;
        }
    }
    args.engine.add_topics_file(&mut loaded.config)?;
    Ok(loaded)
}

fn options(args: &ServeArgs) -> Vec<Given> {
    let mut layer = Layer::default();
    for (setting, option, text) in args.engine.given() {
        layer.given.push(Given { key: Key::Engine(setting), text: text.to_owned(), origin: Origin::Option(option) });
    }
    let listen: Vec<String> = args.listen.iter().map(ToString::to_string).collect();
    let own = [
        ("listen", (!listen.is_empty()).then(|| listen.join(",")), "--listen"),
        (key::SHUTDOWN_TIMEOUT, args.shutdown_timeout.map(|time| time.to_string()), "--shutdown-timeout"),
    ];
    for (key, option, text) in args.own.given() {
        layer.give(key, text.to_owned(), Origin::Option(option));
    }
    for (name, text, option) in own {
        if let (Some(text), Ok(key)) = (text, Key::find(name)) {
            layer.give(key, text, Origin::Option(option.to_owned()));
        }
    }
    layer.given
}

/// What settings have to do with each other, each fault with the place where its setting was set.
fn validate(loaded: &Loaded) -> Vec<Fault> {
    let in_words = |error: ConfigError| Fault {
        at: loaded.place_of(error.field),
        problem: format!("{}: {}", error.value, error.problem),
    };
    loaded.config.validate().err().unwrap_or_default().into_iter().map(in_words).collect()
}

fn failure(file: Option<&Path>, faults: &[Fault]) -> Failure {
    let what = file.map_or_else(|| "options and environment".to_owned(), |path| path.display().to_string());
    wrong(&what, faults)
}

fn wrong(what: &str, faults: &[Fault]) -> Failure {
    let mut lines: Vec<String> = faults.iter().take(FAULTS_SHOWN).map(|fault| format!("\n  {fault}")).collect();
    if faults.len() > FAULTS_SHOWN {
        lines.push(format!("\n  and {} more", faults.len() - FAULTS_SHOWN));
    }
    Failure::message(Exit::Config, format!("the configuration is wrong ({what}):{}", lines.concat()))
}

#[cfg(test)]
mod tests;
