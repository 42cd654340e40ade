//! `fanwire-perf`: measures a fanwire server from outside, with clients that check everything they get.
//!
//! The measured server, every crowd of subscribers and every publisher is a process of its own, so nobody's cost is
//! booked on another. What measures never calls the engine: only `host` does, a process of its own.

mod batch;
mod clock;
mod crowd;
mod envelope;
mod form;
mod frames;
mod host;
mod latency;
mod msgpack;
mod packed;
mod parameters;
mod payload;
mod procfs;
mod publisher;
mod scenario;
mod server;
mod stats;
mod table;
mod telemetry;
mod upgrade;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use parameters::Parameters;
use scenario::Bench;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures a fanwire server: starts it, loads it, checks every delivery, prints a table.
#[derive(Parser)]
#[command(
    name = "fanwire-perf",
    version,
    max_term_width = 110,
    after_help = "\
Examples:
  cargo build --release --workspace
  target/release/fanwire-perf list
  target/release/fanwire-perf run memory
  target/release/fanwire-perf run px4 --set file=flight.ndjson.gz --set clients=100
  target/release/fanwire-perf run memory fanout-10k slow-crowd --json results.json

Exit codes: 0 every bound holds, 1 one does not, 2 wrong usage or a scenario could not be run."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run scenarios
    Run {
        /// Their names, see `list`
        #[arg(required = true)]
        scenarios: Vec<String>,
        /// A parameter, see `list`; must be known to each of the scenarios
        #[arg(long = "set", value_name = "NAME=VALUE")]
        settings: Vec<String>,
        /// The server's binary [default: `fanwire` beside this one]
        #[arg(long, value_name = "PATH")]
        server: Option<PathBuf>,
        /// Also write the results here
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Show the scenarios, their parameters and defaults
    List,
    /// A crowd of subscribers, driven over stdin (started by scenarios)
    #[command(hide = true)]
    Crowd,
    /// A server with its publisher inside, driven over stdin (started by scenarios)
    #[command(hide = true)]
    Host {
        /// What it is, as JSON
        spec: String,
    },
    /// A publisher, driven over stdin (started by scenarios)
    #[command(hide = true)]
    Publisher,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Run { scenarios, settings, server, json } => run(&scenarios, &settings, server, json),
        Command::List => {
            list();
            Ok(true)
        }
        Command::Crowd => crowd::run().map(|()| true),
        Command::Host { spec } => host::run(&spec).map(|()| true),
        Command::Publisher => publisher::run().map(|()| true),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("fanwire-perf: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(names: &[String], settings: &[String], server: Option<PathBuf>, json: Option<PathBuf>) -> Result<bool> {
    let chosen: Vec<&scenario::Scenario> = names
        .iter()
        .map(|name| {
            scenario::ALL.iter().find(|s| s.name == name).with_context(|| format!("no scenario `{name}`; see `list`"))
        })
        .collect::<Result<_>>()?;
    let benches: Vec<Bench> = chosen
        .iter()
        .map(|scenario| {
            Ok(Bench {
                binary: server::find_binary(server.as_deref())?,
                parameters: Parameters::new(scenario.parameters, settings)?,
            })
        })
        .collect::<Result<_>>()?;
    let mut outcomes = Vec::new();
    for (scenario, bench) in chosen.iter().zip(&benches) {
        let mut outcome = table::Outcome::new(scenario.name, bench.parameters.to_json());
        (scenario.run)(bench, &mut outcome).with_context(|| scenario.name)?;
        outcome.print();
        outcomes.push(outcome);
    }
    if let Some(path) = json {
        table::write_json(&path, &outcomes)?;
    }
    Ok(outcomes.iter().all(table::Outcome::passed))
}

fn list() {
    for scenario in scenario::ALL {
        println!("{}\n  {}", scenario.name, scenario.about);
        for (name, value, about) in scenario.parameters {
            println!("    {:<28} {about}", format!("{name}={value}"));
        }
    }
}
