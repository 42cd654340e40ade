//! The binary `fanwire`: serve, pub, sub, replay, demo, doctor, tune.
//!
//! Job: arguments in, exit code out. Knows the commands. Must never know what they do.

mod args;
mod client;
mod clock;
mod console;
mod demo;
mod doctor;
mod engine;
mod exit;
mod feed;
mod host;
mod ledger;
mod logging;
mod ndjson;
mod notices;
mod pace;
mod progress;
mod publish;
mod replay;
mod requests;
mod serve;
mod signals;
mod stats;
mod subscribe;
mod topics;
mod tune;
mod units;
mod uplink;
mod url;

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::Parser;

use crate::args::{Args, Command};
use crate::console::tell;
use crate::exit::{Exit, Failure, OrExit, Outcome};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // A huge page for every arena of the allocator is 20 MiB that nobody uses; where this is refused, it only costs memory.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    let started = console::start();
    let code = match Args::try_parse() {
        Ok(args) => started
            .or_exit(Exit::Software, || "cannot start the thread that writes to stderr".into())
            .and_then(|()| run(&args))
            .unwrap_or_else(|failure| {
                report(&failure);
                failure.exit_code()
            }),
        Err(usage) => explain(&usage),
    };
    console::flush();
    code
}

/// Shows what clap has to say: the help on stdout, what is wrong with the arguments on stderr.
fn explain(usage: &clap::Error) -> ExitCode {
    let text = usage.render();
    if !usage.use_stderr() {
        // Whoever asked for the help may have closed it.
        let _ = usage.print();
    } else if io::stderr().is_terminal() {
        tell!("{}", text.ansi().to_string().trim_end());
    } else {
        tell!("{}", text.to_string().trim_end());
    }
    ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2))
}

fn run(args: &Args) -> Outcome {
    logging::start(args.log.as_deref(), args.log_format)?;
    match &args.command {
        Command::Serve(args) => serve::run(args),
        Command::Pub(args) => publish::run(args),
        Command::Sub(args) => subscribe::run(args),
        Command::Replay(args) => replay::run(args),
        Command::Demo(args) => demo::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Tune(args) => tune::run(args),
    }
}

/// What went wrong, and of what: on stderr whatever the log level.
fn report(failure: &Failure) {
    tell!("fanwire: {:#}", failure.error);
}
