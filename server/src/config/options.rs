//! Job: the process's own settings as options of `fanwire serve`.
//! Knows: how the command line spells them. Must never know: what a setting does.

use clap::builder::{StringValueParser, TypedValueParser};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use fanwire::settings::Unit;

use super::key::{ADMIN_HOSTS, ADMIN_LISTEN, CLUSTER_FOREIGN, CLUSTER_NATS, CONTROL_SOCKET, Key, Own, own_options};

/// What was given of them.
#[derive(Clone, Debug, Default)]
pub struct OwnArgs(Vec<(&'static Own, String)>);

impl OwnArgs {
    /// Each with its option and its value.
    pub fn given(&self) -> impl Iterator<Item = (Key, String, &str)> {
        self.0.iter().map(|(own, text)| (Key::Process(own), format!("--{}", long(own)), text.as_str()))
    }
}

fn long(own: &Own) -> String {
    match own.name {
        CLUSTER_NATS => "nats".to_owned(),
        name => name.replace(['.', '_'], "-"),
    }
}

fn value_name(own: &Own) -> &'static str {
    match own.unit {
        _ if own.name == ADMIN_LISTEN => "ADDR",
        _ if own.name == ADMIN_HOSTS => "NAME",
        _ if own.name == CLUSTER_NATS => "URL",
        _ if own.name == CLUSTER_FOREIGN => "PREFIX",
        _ if own.name.ends_with("_file") => "FILE",
        Unit::List => "PATTERN",
        Unit::Time => "TIME",
        Unit::Count => "N",
        _ if own.name == CONTROL_SOCKET => "PATH",
        _ => "TEXT",
    }
}

fn heading(own: &Own) -> &'static str {
    match own.name.split_once('.') {
        Some(("token", _)) => "Tokens",
        Some(("admin" | "benchmark", _)) => "Admin port",
        Some(("cluster", _)) => "Cluster",
        _ => "Control",
    }
}

impl Args for OwnArgs {
    fn augment_args(command: Command) -> Command {
        own_options().fold(command, |command, own| {
            let check = move |text: String| Key::Process(own).check(&text).map(|()| text);
            let default = if own.default.is_empty() { String::new() } else { format!(" [default: {}]", own.default) };
            let arg = Arg::new(own.name)
                .long(long(own))
                .value_name(value_name(own))
                .value_parser(StringValueParser::new().try_map(check))
                .help_heading(heading(own))
                .help(format!("{}{default}", own.help));
            command.arg(if own.unit == Unit::List { arg.action(ArgAction::Append) } else { arg })
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for OwnArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = own_options().filter_map(|own| {
            let values: Vec<&str> = matches.get_many::<String>(own.name)?.map(String::as_str).collect();
            Some((own, values.join(&own.separator.map(String::from).unwrap_or_default())))
        });
        Ok(OwnArgs(given.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
