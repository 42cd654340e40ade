//! Job: the engine's settings as options of a command, out of the engine's own table.
//! Knows: how the command line spells a row of the table. Must never know: what a setting does.

use std::path::PathBuf;

use clap::builder::{NonEmptyStringValueParser, TypedValueParser, ValueParser};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};
use fanwire::settings::{Setting, SettingError, Unit, settings};
use fanwire::{Config, TopicConfig};

use crate::exit::Failure;
use crate::topics;

/// What options were called before they had their setting's name, or are called for short.
const ALIASES: [(&str, &str); 9] = [
    ("connections_max", "max-connections"),
    ("cursors_max", "max-cursors"),
    ("topics_max", "max-topics"),
    ("limits.message_bytes_max", "max-message-bytes"),
    ("limits.unsent_bytes_max", "max-unsent-bytes"),
    ("compression.threshold_bytes", "deflate-from"),
    ("access.publish", "publish"),
    ("access.allowed_origins", "allow-origin"),
    ("topics", "topic"),
];

/// Options that are no row of the table.
const NO_DEFLATE: &str = "no-deflate";
const TOPICS_FILE: &str = "topics-file";

/// What every command that runs an engine takes.
#[derive(Clone, Debug, Default)]
pub struct EngineArgs {
    /// The settings that were given, each with its value as text.
    given: Vec<(&'static Setting, String)>,
    topics_file: Option<PathBuf>,
}

impl EngineArgs {
    /// The configuration that the arguments ask for; the rest of it is as by default.
    ///
    /// # Errors
    /// Where a file that they name cannot be read, or is wrong.
    pub fn config(&self) -> Result<Config, Failure> {
        let mut config = Config::default();
        for (setting, text) in &self.given {
            // Seen to be one of its values when the arguments were read.
            setting.set(&mut config, text).map_err(|error| Failure::new(crate::exit::Exit::Usage, error))?;
        }
        self.add_topics_file(&mut config)?;
        Ok(config)
    }

    /// Topics out of the file that the arguments name stand behind all others.
    ///
    /// # Errors
    /// Where it cannot be read, or is wrong.
    pub fn add_topics_file(&self, config: &mut Config) -> Result<(), Failure> {
        if let Some(path) = &self.topics_file {
            config.topics.extend::<Vec<TopicConfig>>(topics::read(path)?);
        }
        Ok(())
    }

    /// The settings that were given: each with its option and its value.
    pub fn given(&self) -> impl Iterator<Item = (&'static Setting, String, &str)> {
        self.given.iter().map(|(setting, text)| (*setting, format!("--{}", long(setting)), text.as_str()))
    }
}

/// The rows that are options of every command with an engine: each command says itself where it listens, and no
/// command has a program that would take events.
pub fn options() -> impl Iterator<Item = &'static Setting> {
    settings().filter(|setting| setting.name != "listen" && !setting.is_for_hosts)
}

/// The option that sets a setting, by the setting's name; the name itself where there is none.
pub fn option_of(name: &str) -> String {
    match name {
        "topics.pattern" => "--topics".into(),
        "topics.lane_bytes" => "--topics lane-bytes".into(),
        _ => Setting::find(name).map_or_else(|_| name.to_owned(), |setting| format!("--{}", long(setting))),
    }
}

fn long(setting: &Setting) -> String {
    setting.keyword.replace('_', "-")
}

impl Args for EngineArgs {
    fn augment_args(command: Command) -> Command {
        let command = options().fold(command, |command, setting| command.arg(option(setting)));
        command
            .arg(
                Arg::new(TOPICS_FILE)
                    .long(TOPICS_FILE)
                    .value_name("FILE")
                    .value_parser(value_parser!(PathBuf))
                    .help_heading("Topics")
                    .help("More topics out of a file, one a line, after the command line's; # begins a comment line"),
            )
            .arg(
                Arg::new(NO_DEFLATE)
                    .long(NO_DEFLATE)
                    .action(ArgAction::SetTrue)
                    .conflicts_with("compression.deflate")
                    .help_heading("Compression")
                    .help("The same as --deflate=false: do not compress WebSocket messages, whatever clients offer"),
            )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for EngineArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut args = EngineArgs { given: Vec::new(), topics_file: matches.get_one(TOPICS_FILE).cloned() };
        for setting in options() {
            let Some(values) = matches.get_many::<String>(setting.name) else { continue };
            let separator = setting.separator().map_or_else(String::new, String::from);
            let text = values.map(String::as_str).collect::<Vec<_>>().join(&separator);
            // Each is sound; together they may not be.
            setting.set(&mut Config::default(), &text).map_err(|error| {
                clap::Error::raw(ErrorKind::ValueValidation, format!("--{}: {}\n", long(setting), problem(error)))
            })?;
            args.given.push((setting, text));
        }
        if matches.get_flag(NO_DEFLATE) {
            args.given
                .extend(options().find(|setting| setting.name == "compression.deflate").map(|s| (s, "false".into())));
        }
        Ok(args)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The option of a row.
fn option(setting: &'static Setting) -> Arg {
    let arg = Arg::new(setting.name)
        .long(long(setting))
        .value_name(value_name(setting))
        .value_parser(parser(setting))
        .help_heading(heading(setting))
        .help(help(setting));
    let arg = match ALIASES.iter().find(|(name, _)| *name == setting.name) {
        Some((_, alias)) => arg.visible_alias(alias),
        None => arg,
    };
    match setting.unit() {
        Unit::Flag => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
        Unit::List => arg.action(ArgAction::Append),
        _ => arg,
    }
}

/// Takes what the setting takes, and says what it takes otherwise.
fn parser(setting: &'static Setting) -> ValueParser {
    let check = |text: String| match setting.set(&mut Config::default(), &text) {
        Ok(()) => Ok(text),
        Err(error) => Err(problem(error)),
    };
    match setting.unit() {
        // An empty list is what there is without the option: a value that is empty by mistake must not mean "any".
        Unit::List => NonEmptyStringValueParser::new().try_map(check).into(),
        _ => clap::builder::StringValueParser::new().try_map(check).into(),
    }
}

/// What is wrong, without the name and the value, which somebody else says.
pub fn problem(error: SettingError) -> String {
    match error {
        SettingError::Refused { problem, .. } => problem,
        other => other.to_string(),
    }
}

fn value_name(setting: &Setting) -> &'static str {
    match (setting.name, setting.unit()) {
        ("topics", _) => "SETTING",
        ("access.allowed_origins", _) => "ORIGIN",
        ("access.publish", _) => "WHO",
        (_, Unit::Bytes) => "SIZE",
        (_, Unit::Count) => "N",
        (_, Unit::Time) => "TIME",
        (_, Unit::Flag) => "BOOL",
        (_, Unit::Word) => "WORD",
        (_, Unit::Text) => "TEXT",
        _ => "LIST",
    }
}

fn heading(setting: &Setting) -> &'static str {
    match setting.name.split_once('.') {
        Some(("memory", _)) => "Memory",
        Some(("limits", _)) => "Limits",
        Some(("compression", _)) => "Compression",
        Some(("access", _)) => "Access",
        _ if setting.name == "topics" => "Topics",
        _ if setting.name.ends_with("_max") => "Limits",
        _ => "Engine",
    }
}

fn help(setting: &Setting) -> String {
    let mut help = setting.help.to_owned();
    if matches!(setting.unit(), Unit::Bytes | Unit::Count | Unit::Word) {
        help.push_str(&format!(" [{}]", setting.range()));
    }
    // One file is a list of one at most.
    let is_one = setting.name.ends_with("_file") || setting.name == "cpus";
    if setting.unit() == Unit::List && !is_one {
        help.push_str("; may be repeated");
    }
    match setting.default() {
        default if default.is_empty() => help,
        default => help + &format!(" [default: {default}]"),
    }
}

#[cfg(test)]
mod tests;
