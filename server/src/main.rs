//! The binary `fanwire`: serve, pub, sub, replay, demo, doctor, tune.
//!
//! Job: arguments in, exit code out. Knows the commands. Must never know what they do.

mod args;
mod client;
mod clock;
mod demo;
mod dial;
mod doctor;
mod engine;
mod exit;
mod feed;
mod host;
mod ledger;
mod liveness;
mod logging;
mod ndjson;
mod output;
mod pace;
mod plain;
mod printer;
mod progress;
mod publish;
mod replay;
mod requests;
mod retry;
mod serve;
mod settings;
mod signals;
mod state;
mod stats;
mod stderr;
mod subscribe;
mod topics;
mod tune;
mod units;
mod upgrade;
mod uplink;
mod url;
mod window;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::args::{Args, Command};
use crate::exit::{Failure, Outcome};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // A huge page for every arena of the allocator is 20 MiB that nobody uses; where this is refused, it only costs memory.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return explain(&error),
    };
    let outcome = logging::start(args.log.as_deref(), args.log_format).and_then(|()| match &args.command {
        Command::Serve(args) => serve::run(args),
        Command::Pub(args) => publish::run(args),
        Command::Sub(args) => subscribe::run(args),
        Command::Replay(args) => replay::run(args),
        Command::Demo(args) => demo::run(args),
        Command::Doctor(args) => doctor::run(args).and_then(|code| engine::unsaid().map(|()| code)),
        Command::Tune(args) => tune::run(args).and_then(|code| engine::unsaid().map(|()| code)),
    });
    end(outcome)
}

fn end(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(code) => code,
        Err(failure) => {
            report(&failure);
            failure.exit_code()
        }
    }
}

/// What was asked for instead of a command (help, the version), or what is wrong with the arguments.
fn explain(error: &clap::Error) -> ExitCode {
    let text = error.render();
    if error.use_stderr() {
        let text = if io::stderr().is_terminal() { text.ansi().to_string() } else { text.to_string() };
        let _ = stderr::Stderr.write_all(text.as_bytes());
        return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
    }
    let text = if io::stdout().is_terminal() { text.ansi().to_string() } else { text.to_string() };
    engine::say(text.trim_end());
    end(engine::unsaid().map(|()| ExitCode::SUCCESS))
}

/// What went wrong, and of what: on stderr whatever the log level.
fn report(failure: &Failure) {
    stderr::say("ERROR", &format!("fanwire: {:#}", failure.error));
}
