//! `fanwire-perf`: measures a fanwire server from outside, with clients that check everything they get.
//!
//! The measured server, every crowd of subscribers and every publisher is a process of its own, so nobody's cost is
//! booked on another. What measures never calls the engine: only `host` does, a process of its own.

mod ahead;
mod batch;
mod cgroup;
mod clock;
mod compare;
mod crowd;
mod envelope;
mod form;
mod frames;
mod host;
mod identity;
mod latency;
mod msgpack;
mod netns;
mod packed;
mod parameters;
mod payload;
mod plot;
mod procfs;
mod progress;
mod publisher;
mod recipe;
mod report;
mod rivals;
mod scenario;
mod scraper;
mod server;
mod stats;
mod table;
mod telemetry;
mod upgrade;
mod visitor;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use parameters::Parameters;
use recipe::Recipe;
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
  target/release/fanwire-perf run telemetry slow-crowd --json results.json --html results.html
  target/release/fanwire-perf run px4 --set file=flight.ndjson.gz --set clients=100
  target/release/fanwire-perf floor
  target/release/fanwire-perf peers peers-saturated --set targets=engine,uws,ws
  target/release/fanwire-perf compare before.json after.json

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
        /// Their names, see `list`; or files like those in perf/scenarios
        #[arg(required = true)]
        scenarios: Vec<String>,
        #[command(flatten)]
        how: How,
    },
    /// What the bare kernel does here, beside the engine: a prebuilt frame, sent in a plain loop and by a bare io_uring, 1, 4, 16 and
    /// 64 messages to a send
    Floor {
        #[command(flatten)]
        how: How,
    },
    /// The engine beside other servers, alternating
    Peers {
        /// Scenarios that begin with `peers-` [default: all of them]
        scenarios: Vec<String>,
        #[command(flatten)]
        how: How,
    },
    /// What has become slower between two runs; exits with 1 if anything surely has
    Compare {
        /// Written by --json before
        old: PathBuf,
        /// Written by --json after
        new: PathBuf,
        /// What may be lost, in percent
        #[arg(long, value_name = "PERCENT", default_value_t = 3.0)]
        tolerance: f64,
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

/// How scenarios are run.
#[derive(clap::Args)]
struct How {
    /// A parameter, see `list`; must be known to each of the scenarios
    #[arg(long = "set", value_name = "NAME=VALUE")]
    settings: Vec<String>,
    /// The server's binary [default: `fanwire` beside this one]
    #[arg(long, value_name = "PATH")]
    server: Option<PathBuf>,
    /// Also write the results here
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also write a report with plots here
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Run { scenarios, how } => run(&scenarios, &how),
        Command::Floor { how } => run(&["floor".into()], &how),
        Command::Peers { scenarios, how } => {
            let all = || recipe::names().filter(|name| name.starts_with("peers-")).map(str::to_string).collect();
            run(&if scenarios.is_empty() { all() } else { scenarios }, &how)
        }
        Command::Compare { old, new, tolerance } => compare::run(&old, &new, tolerance / 100.0),
        Command::List => list().map(|()| true),
        Command::Crowd => crowd::run().map(|()| true),
        Command::Host { spec } => host::run(&spec).map(|()| true),
        Command::Publisher => publisher::run().map(|()| true),
    };
    identity::remove();
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("fanwire-perf: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(names: &[String], how: &How) -> Result<bool> {
    let recipes: Vec<Recipe> = names.iter().map(|name| Recipe::find(name)).collect::<Result<_>>()?;
    let benches: Vec<Bench> = recipes
        .iter()
        .map(|recipe| {
            let settings: Vec<String> = recipe.settings.iter().chain(&how.settings).cloned().collect();
            Ok(Bench {
                binary: server::find_binary(how.server.as_deref())?,
                parameters: Parameters::new(&recipe.kind.parameters(), &settings)
                    .with_context(|| recipe.name.clone())?,
            })
        })
        .collect::<Result<_>>()?;
    let mut recorded = table::Recorded { host: procfs::host(), deliveries: 0, outcomes: Vec::new() };
    let mut broken = None;
    for (recipe, bench) in recipes.iter().zip(&benches) {
        let mut outcome = table::Outcome::new(&recipe.name, bench.parameters.to_json());
        let ran = (recipe.kind.run)(bench, &mut outcome).with_context(|| recipe.name.clone());
        progress::show("", 1, 1);
        if let Err(error) = ran {
            // What the others found is not lost for it.
            broken = Some(error);
            break;
        }
        outcome.print();
        recorded.outcomes.push(outcome);
    }
    recorded.deliveries = crowd::deliveries();
    if let Some(path) = &how.json {
        table::write_json(path, &recorded)?;
    }
    if let Some(path) = &how.html {
        report::write(path, &recorded)?;
    }
    match broken {
        Some(error) => Err(error),
        None => Ok(recorded.outcomes.iter().all(table::Outcome::passed)),
    }
}

/// Names the scenarios. A reader who has seen enough (`| head`) is no fault.
fn list() -> Result<()> {
    let mut out = String::new();
    for name in recipe::names() {
        let recipe = Recipe::find(name)?;
        let kind =
            if recipe.kind.name == name { String::new() } else { format!(" (of the kind {})", recipe.kind.name) };
        writeln!(out, "{name}{kind}\n  {}", recipe.about)?;
        for setting in &recipe.settings {
            writeln!(out, "    {setting}")?;
        }
    }
    writeln!(out, "\nKinds, and what can be set:")?;
    for kind in scenario::ALL {
        writeln!(out, "{}\n  {}", kind.name, kind.about)?;
        for (name, value, about) in kind.parameters() {
            writeln!(out, "    {:<28} {about}", format!("{name}={value}"))?;
        }
    }
    match std::io::Write::write_all(&mut std::io::stdout(), out.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}
