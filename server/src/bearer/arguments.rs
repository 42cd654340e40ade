//! Job: the options that say which token a client says who it is with.
//! Knows: names, and which of them goes before another. Must never know: what is in the file.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, FromArgMatches};

use super::{Bearer, Token};
use crate::exit::Failure;

/// Options of the clients. The file goes before the variable of the environment, as every option does.
#[derive(Clone, Debug, Default)]
pub struct BearerArgs {
    token: Option<Token>,
    token_file: Option<PathBuf>,
}

/// As they are given.
#[derive(Debug, Args)]
struct Given {
    /// Token to say who this is with, in the header Authorization: Bearer. Everybody on this machine sees options (ps): better
    /// by its variable, or by --token-file
    #[arg(long, value_name = "TOKEN", env = "FANWIRE_TOKEN", hide_env_values = true)]
    token: Option<Token>,

    /// File with that token in its first line, read anew for each connection
    #[arg(long, value_name = "FILE", value_parser = regular)]
    token_file: Option<PathBuf>,
}

/// stdin is for messages, and can be read once.
fn regular(text: &str) -> Result<PathBuf, &'static str> {
    match text {
        "" => Err("the name of a file is needed"),
        "-" => Err("a token is read from a file, not from stdin: it is needed for each connection anew"),
        path => Ok(PathBuf::from(path)),
    }
}

impl BearerArgs {
    /// Who this says it is, if it says that. A file is looked at once: what is wrong with it is told before anything is done.
    ///
    /// # Errors
    /// 66 where the file cannot be read, 65 where it has no token.
    pub fn bearer(&self) -> Result<Option<Bearer>, Failure> {
        match (&self.token_file, &self.token) {
            (Some(path), _) => Bearer::of_file(path.clone()).map(Some),
            (None, token) => Ok(token.clone().map(Bearer::of)),
        }
    }
}

impl Args for BearerArgs {
    fn augment_args(command: Command) -> Command {
        Given::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Given::augment_args_for_update(command)
    }
}

impl FromArgMatches for BearerArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let Given { token, token_file } = Given::from_arg_matches(matches)?;
        if token_file.is_some() && matches.value_source("token") == Some(ValueSource::CommandLine) {
            let what = "--token and --token-file: one of the two says who this is\n";
            return Err(clap::Error::raw(ErrorKind::ArgumentConflict, what));
        }
        Ok(BearerArgs { token, token_file })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
