//! The binary `fanwire`: serve, pub, sub, replay, demo, top, doctor, report, tune, config, token, reload, drain, restart,
//! revoke, status, completions, manual.
//!
//! Job: arguments in, exit code out. Knows the commands. Must never know what they do.
// `core/fuzz` builds this program with another entry: a program has no library that could be asked.
#![cfg_attr(fuzzing, no_main, allow(dead_code, reason = "of all commands, only the reader of settings runs"))]

mod admin;
mod args;
mod bearer;
mod client;
mod clock;
mod cluster;
mod config;
mod console;
mod control;
mod demo;
mod dial;
mod doctor;
mod engine;
mod exit;
mod feed;
mod follow;
mod host;
mod ledger;
mod liveness;
mod logging;
mod manual;
mod ndjson;
mod notices;
mod operate;
mod output;
mod pace;
mod page;
mod patience;
mod plain;
mod printer;
mod progress;
mod publish;
mod recent;
#[cfg(feature = "mcap")]
mod record;
mod redact;
mod replay;
mod report;
mod requests;
mod retry;
mod serve;
mod settings;
mod signals;
mod slow_turns;
mod socket;
mod spans;
mod state;
mod stats;
mod stderr;
mod strangers;
mod subscribe;
mod systemd;
mod takeover;
mod tls;
mod token;
mod top;
mod topics;
mod tune;
mod units;
mod upgrade;
mod uplink;
mod url;
mod window;
mod wire;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use fanwire_access::Meant;

use crate::args::{Args, Command, LogFormat};
use crate::config::Loaded;
use crate::control::Asked;
use crate::exit::{Exit, Failure, Outcome};

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| config::fuzz::configuration(data));

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // A huge page for every arena of the allocator is 20 MiB that nobody uses; where this is refused, it only costs memory.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    let started = console::start();
    let code = run(started);
    console::flush();
    code
}

fn run(started: io::Result<()>) -> ExitCode {
    if let Err(error) = started {
        return end(Err(Failure::message(
            Exit::Software,
            format!("cannot start the thread that writes to stderr: {error}"),
        )));
    }
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return explain(&error),
    };
    end(execute(args))
}

fn execute(args: Args) -> Outcome {
    let Args { command, log, log_format } = args;
    // What `serve` is to log, and how, may stand in its configuration.
    let start_logging = |loaded: Option<&Loaded>| {
        let level = log.clone().or_else(|| loaded.and_then(Loaded::log_level));
        let format = log_format.or_else(|| loaded.map(Loaded::log_format));
        logging::start(level.as_deref(), format.unwrap_or(LogFormat::Text))
    };
    if !matches!(command, Command::Serve(_)) {
        start_logging(None)?;
    }
    match &command {
        Command::Serve(args) => {
            let loaded = config::load(args)?;
            start_logging(Some(&loaded))?;
            serve::run(args, &loaded)
        }
        Command::Pub(args) => publish::run(args),
        Command::Sub(args) => subscribe::run(args),
        #[cfg(feature = "mcap")]
        Command::Record(args) => record::run(args),
        Command::Replay(args) => replay::run(args),
        Command::Demo(args) => demo::run(args),
        Command::Top(args) => top::run(args),
        Command::Doctor(args) => doctor::run(args).and_then(|code| engine::unsaid().map(|()| code)),
        Command::Report(args) => report::run(args),
        Command::Tune(args) => tune::run(args).and_then(|code| engine::unsaid().map(|()| code)),
        Command::Config(args) => config::run(args, log.as_deref(), log_format),
        Command::Token(args) => token::run(args),
        Command::Reload(args) => control::run(&args.control, &Asked::Reload {}),
        Command::Revoke(args) => {
            let meant = Meant { sub: args.sub.clone(), jti: args.jti.clone(), before: args.before };
            control::run(&args.control, &Asked::Revoke(meant))
        }
        Command::Completions(args) => manual::completions(args),
        Command::Manual(args) => manual::run(args),
        Command::Status(args) => control::run(&args.control, &Asked::Status {}),
        Command::Drain(args) => control::run(&args.control, &Asked::Drain { within_ms: milliseconds(args.within.0) }),
        Command::Restart(args) => {
            control::run(&args.control, &Asked::Restart { within_ms: milliseconds(args.within.0) })
        }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
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
