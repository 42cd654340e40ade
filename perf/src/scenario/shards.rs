//! Two shards against one: how long a burst takes until the kernel has it for everybody, while the clients sleep and cost nothing.

use std::time::Duration;

use anyhow::Result;

use super::{Bench, Scenario, add_faults, await_deliveries, crowd_spec, report};
use crate::crowd::{Crowd, Spec};
use crate::host::{Host, HostSpec};
use crate::table::Outcome;

pub const SCENARIO: Scenario = Scenario {
    name: "shards",
    about: "a burst into sleeping clients' receive buffers, two shards against one: wall time and CPU per delivery",
    parameters: &[
        ("n", "8000", "subscribers of each"),
        ("messages", "1", "messages to a burst"),
        ("bytes", "512", "bytes of a payload"),
        ("bursts", "10", "bursts to a round, all into the same sleep: they must fit the receive buffers"),
        ("rounds", "9", "rounds: 6 and more give 95 % bounds"),
        ("cpus", "0,1", "CPUs of the shards; the single shard has the first"),
        ("driver", "auto", "the engine's driver"),
        ("least_speedup", "1.8", "bound on the wall time of one by that of two"),
        ("most_cpu_ratio", "1.1", "bound on CPU per delivery, two by one"),
    ],
    run,
};

struct Rig {
    host: Host,
    crowds: Vec<Crowd>,
    deliveries: u64,
    wall_ms: Vec<f64>,
    cpu_ns: Vec<f64>,
}

fn run(bench: &Bench, outcome: &mut Outcome) -> Result<()> {
    let parameters = &bench.parameters;
    let cpus: Vec<usize> = parameters.list("cpus").iter().map(|cpu| Ok(cpu.parse()?)).collect::<Result<_>>()?;
    let n: usize = parameters.parse("n")?;
    let mut rigs = Vec::new();
    for shards in [1usize, 2] {
        let host = Host::start(&HostSpec {
            kind: "engine".into(),
            cpus: cpus.iter().copied().take(shards).collect(),
            shards,
            driver: parameters.text("driver").into(),
            connections_max: n + 16,
            lane_bytes: 8 << 20,
        })?;
        let crowd = Crowd::start(&Spec { apart: n, ..crowd_spec(host.addr(), "raw", "t0", n) })?;
        crowd.ready()?;
        rigs.push(Rig { host, crowds: vec![crowd], deliveries: 0, wall_ms: Vec::new(), cpu_ns: Vec::new() });
    }
    // The first round warms up.
    for round in 0..=parameters.parse::<usize>("rounds")? {
        for at in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
            rigs[at].round(bench, n, round > 0)?;
        }
    }
    let [one, two] = &rigs[..] else { unreachable!("two rigs") };
    outcome.repeated("1 shard: wall time of a burst", &one.wall_ms, "ms", true);
    outcome.repeated("2 shards: wall time of a burst", &two.wall_ms, "ms", true);
    outcome.repeated("1 shard: CPU per delivery", &one.cpu_ns, "ns", true);
    outcome.repeated("2 shards: CPU per delivery", &two.cpu_ns, "ns", true);
    let speedups = crate::stats::ratios(&one.wall_ms, &two.wall_ms);
    let least: f64 = parameters.parse("least_speedup")?;
    outcome.at_least("wall time, 1 shard by 2", crate::stats::median(&speedups).value, least, "x");
    outcome.ratio("wall time, 1 shard by 2", &one.wall_ms, &two.wall_ms, None, None);
    outcome.ratio(
        "CPU per delivery, 2 shards by 1",
        &two.cpu_ns,
        &one.cpu_ns,
        parameters.optional("most_cpu_ratio")?,
        None,
    );
    for (name, rig) in ["1 shard: ", "2 shards: "].into_iter().zip(&mut rigs) {
        let all = report(&mut rig.crowds, false)?;
        outcome.exactly(format!("{name}connected"), all.apart.open, n as u64);
        outcome.exactly(format!("{name}missing"), all.apart.holes + all.apart.announced, 0);
        outcome.exactly(format!("{name}delivered"), all.apart.deliveries, rig.deliveries);
        add_faults(outcome, name, &all.apart);
    }
    Ok(())
}

impl Rig {
    fn round(&mut self, bench: &Bench, n: usize, is_counted: bool) -> Result<()> {
        let parameters = &bench.parameters;
        let (messages, bytes) = (parameters.parse("messages")?, parameters.parse("bytes")?);
        self.crowds[0].stall()?;
        report(&mut self.crowds, true)?;
        let cpu = self.host.cpu_ns()?;
        let bursts: usize = parameters.parse("bursts")?;
        let mut ns = 0;
        for _ in 0..bursts {
            ns += self.host.burst(messages, bytes, n)?.ns;
            std::thread::sleep(Duration::from_millis(5));
        }
        let cpu = (self.host.cpu_ns()? - cpu) as f64;
        let deliveries = (bursts * messages * n) as u64;
        self.deliveries += deliveries;
        self.crowds[0].wake()?;
        await_deliveries(&mut self.crowds, self.deliveries, Duration::from_secs(5))?;
        if is_counted {
            self.wall_ms.push(ns as f64 / 1e6 / bursts as f64);
            self.cpu_ns.push(cpu / deliveries as f64);
        }
        Ok(())
    }
}
