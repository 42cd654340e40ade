//! Job: how the process ends: exit codes after sysexits.h, and errors that carry theirs.
//! Knows: the codes. Must never know: any command.

use std::process::ExitCode;

use fanwire_access::{AccessError, ErrorKind};

/// Why the process ends with something else than 0. Most wrong usage is clap's own 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It ran, but not everything went well (a server refused a message, a count was not reached).
    Failed = 1,
    /// The arguments name something that there is not (clap ends with the same for the rest).
    Usage = 2,
    /// The input is not what it should be (`EX_DATAERR`).
    Data = 65,
    /// The input cannot be opened (`EX_NOINPUT`).
    NoInput = 66,
    /// Nobody to talk to: cannot connect (`EX_UNAVAILABLE`).
    Unavailable = 69,
    /// Our own bug (`EX_SOFTWARE`).
    Software = 70,
    /// An address to listen on cannot be had (`EX_OSERR`).
    Address = 71,
    /// Reading or writing failed half-way (`EX_IOERR`).
    Io = 74,
    /// The other side does not speak the protocol (`EX_PROTOCOL`).
    Protocol = 76,
    /// The user may not do that (`EX_NOPERM`).
    Permission = 77,
    /// The configuration cannot be had on this machine (`EX_CONFIG`).
    Config = 78,
}

/// An error with the exit code it ends the process with.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub code: i32,
    /// What the person reads on stderr.
    pub error: anyhow::Error,
}

impl Failure {
    /// An error that ends the process with `exit`.
    pub fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Failure { code: exit as i32, error: error.into() }
    }

    /// The same from a message alone.
    pub fn message(exit: Exit, message: impl Into<String>) -> Self {
        Failure { code: exit as i32, error: anyhow::Error::msg(message.into()) }
    }

    /// The code as the process hands it over.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(u8::try_from(self.code).unwrap_or(1))
    }
}

impl From<AccessError> for Failure {
    fn from(error: AccessError) -> Self {
        let exit = match error.kind {
            ErrorKind::NotReadable => Exit::NoInput,
            ErrorKind::NotUsable => Exit::Config,
            ErrorKind::NotKept => Exit::Io,
            ErrorKind::NotMeant => Exit::Usage,
            ErrorKind::Ended => Exit::Unavailable,
            // There are as many as there may be, and whatever comes to be.
            _ => Exit::Failed,
        };
        Failure::new(exit, error)
    }
}

/// What a command hands back: how the process ends where it did not fail.
pub type Outcome = Result<ExitCode, Failure>;

/// Attaches an exit code to an error.
pub trait OrExit<T> {
    /// Turns the error into one that ends the process with `exit`, saying `what` was being done.
    ///
    /// # Errors
    /// The error it was called on.
    fn or_exit(self, exit: Exit, what: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: Into<anyhow::Error>> OrExit<T> for Result<T, E> {
    fn or_exit(self, exit: Exit, what: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(exit, error.into().context(what())))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    const ALL: [Exit; 11] = [
        Exit::Failed,
        Exit::Usage,
        Exit::Data,
        Exit::NoInput,
        Exit::Unavailable,
        Exit::Software,
        Exit::Address,
        Exit::Io,
        Exit::Protocol,
        Exit::Permission,
        Exit::Config,
    ];

    #[test]
    fn every_status_stands_in_the_table_and_in_the_help() {
        let page = include_str!("../../docs/reference/exit-status.md");
        let help = crate::args::Args::command().render_long_help().to_string();
        for exit in ALL {
            let code = exit as i32;
            assert!(page.contains(&format!("\n| {code} | ")), "{exit:?}");
            assert!(help.contains(&format!("  {code} ")), "{exit:?}: {help}");
        }
    }
}
