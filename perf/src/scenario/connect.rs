//! Everybody connects at once: how long until all are there, and what a connection costs the engine.

use anyhow::Result;

use super::{Bench, Scenario, crowd_spec, report};
use crate::crowd::{Crowd, Spec};
use crate::host::{Host, HostSpec};
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
    ],
    run,
};

fn run(bench: &Bench, outcome: &mut Outcome) -> Result<()> {
    let parameters = &bench.parameters;
    let n: usize = parameters.parse("n")?;
    let processes: usize = parameters.parse("crowds")?;
    let (mut seconds, mut cpu_us) = (Vec::new(), Vec::new());
    for _ in 0..parameters.parse::<usize>("rounds")? {
        let host = Host::start(&HostSpec {
            kind: "engine".into(),
            cpus: parameters.list("cpus").iter().map(|cpu| Ok(cpu.parse()?)).collect::<Result<_>>()?,
            shards: parameters.parse("shards")?,
            driver: parameters.text("driver").into(),
            connections_max: n + 16,
            lane_bytes: 8 << 20,
        })?;
        let cpu = host.cpu_ns()?;
        let mut crowds: Vec<Crowd> = (0..processes)
            .map(|i| {
                let (first, end) = (n * i / processes, n * (i + 1) / processes);
                Crowd::start(&Spec {
                    first_member: first,
                    cpu: parameters.optional("crowd_cpu")?,
                    connecting_max: parameters.parse("connecting")?,
                    ..crowd_spec(host.addr(), parameters.text("form"), "t0", end - first)
                })
            })
            .collect::<Result<_>>()?;
        let mut slowest = 0.0f64;
        for crowd in &crowds {
            slowest = slowest.max(crowd.ready()?.as_secs_f64());
        }
        seconds.push(slowest);
        cpu_us.push((host.cpu_ns()? - cpu) as f64 / n as f64 / 1e3);
        outcome.exactly("connected", report(&mut crowds, false)?.healthy.open, n as u64);
    }
    outcome.repeated("engine: all connected after", &seconds, "s", true);
    outcome.repeated("engine: CPU per connection", &cpu_us, "us", true);
    Ok(())
}
