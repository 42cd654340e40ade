//! Everybody connects at once: how long until all are there, and what a connection costs the engine.

use anyhow::Result;

use super::{Bench, Scenario, gather, in_shares, report};
use crate::crowd::Spec;
use crate::host::Host;
use crate::table::Outcome;

pub const SCENARIO: Scenario = Scenario {
    name: "connect-storm",
    about: "10,000 clients connect at once: time until all are subscribed, CPU for each",
    parameters: &[
        ("n", "10000", "clients"),
        ("form", "raw", "what they speak"),
        ("crowds", "1", "client processes that share them"),
        ("connecting", "400", "upgrades that each process has under way at once"),
        ("rounds", "7", "storms: each against a new engine"),
        ("shards", "1", "shards of the engine"),
        ("cpus", "0", "CPUs to pin the shards to; empty: not pinned"),
        ("crowd_cpu", "1", "CPU of the clients; empty: not pinned"),
        ("driver", "auto", "the engine's driver"),
        super::TLS,
    ],
    common: &[],
    run,
};

fn run(bench: &Bench, outcome: &mut Outcome) -> Result<()> {
    let parameters = &bench.parameters;
    let n: usize = parameters.parse("n")?;
    let forms = vec![parameters.text("form").to_string(); parameters.parse("crowds")?];
    let (crowd_cpu, connecting_max) = (parameters.optional("crowd_cpu")?, parameters.parse("connecting")?);
    let (mut seconds, mut cpu_us) = (Vec::new(), Vec::new());
    for _ in 0..parameters.parse::<usize>("rounds")? {
        let host = Host::start(&bench.host("engine", n)?)?;
        let cpu = host.cpu_ns()?;
        let crowds = in_shares(host.addr(), &forms, "t0", n)
            .map(|spec| host.door(Spec { cpu: crowd_cpu, connecting_max, ..spec }));
        let (mut crowds, slowest) = gather(crowds)?;
        seconds.push(slowest.as_secs_f64());
        cpu_us.push((host.cpu_ns()? - cpu) as f64 / n as f64 / 1e3);
        outcome.exactly("connected", report(&mut crowds, false)?.healthy.open, n as u64);
    }
    outcome.repeated("engine: all connected after", &seconds, "s", true);
    outcome.repeated("engine: CPU per connection", &cpu_us, "us", true);
    Ok(())
}
