//! Two shards against one. A burst into sleeping clients' receive buffers: how long it takes until the kernel has it for everybody,
//! beside a plain loop of sends on one thread and on two, which shows what two CPUs are worth to the kernel here. And the same
//! offered load to clients that read: what a delivery costs.

use std::time::Duration;

use anyhow::Result;

use super::{Bench, Scenario, add_faults, await_deliveries, crowd_spec, report, settle};
use crate::crowd::{Crowd, Spec};
use crate::host::{Host, HostSpec, Load};
use crate::payload::Look;
use crate::stats::{median, ratios};
use crate::table::Outcome;

pub const SCENARIO: Scenario = Scenario {
    name: "shards",
    about: "two shards against one: wall time of a burst into sleeping clients' receive buffers, CPU per delivery at one offered load",
    parameters: &[
        ("n", "8000", "subscribers of each"),
        ("messages", "1", "messages to a burst"),
        ("bytes", "512", "bytes of a payload"),
        ("bursts", "10", "bursts to a round, all into the same sleep: they must fit the receive buffers"),
        ("rate", "10", "offered load to clients that read, messages a second"),
        ("seconds", "1", "how long that lasts in a round"),
        ("rounds", "9", "rounds: 6 and more give 95 % bounds"),
        ("cpus", "0,1", "CPUs of the shards; the single shard has the first"),
        ("driver", "auto", "the engine's driver"),
        ("least_speedup", "1.8", "bound on the wall time of one by that of two"),
        ("most_cpu_ratio", "1.1", "bound on CPU per delivery at the offered load, two by one"),
    ],
    common: &[],
    run,
};

struct Rig {
    name: &'static str,
    host: Host,
    crowds: Vec<Crowd>,
    deliveries: u64,
    wall_ms: Vec<f64>,
    /// Of the engine: the floor's threads live as long as their burst, and nobody books them.
    burst_cpu_ns: Vec<f64>,
    cpu_ns: Vec<f64>,
}

fn run(bench: &Bench, outcome: &mut Outcome) -> Result<()> {
    let parameters = &bench.parameters;
    let n: usize = parameters.parse("n")?;
    let mut rigs = vec![
        Rig::start(bench, "1 shard", "engine", 1)?,
        Rig::start(bench, "2 shards", "engine", 2)?,
        Rig::start(bench, "send on 1 thread", "send", 1)?,
        Rig::start(bench, "send on 2 threads", "send", 2)?,
    ];
    // The first round warms up.
    for round in 0..=parameters.parse::<usize>("rounds")? {
        for at in if round % 2 == 0 { [0, 1, 2, 3] } else { [3, 2, 1, 0] } {
            rigs[at].burst(bench, n, round > 0)?;
            // The floor publishes on one thread only.
            if at < 2 {
                rigs[at].offer(bench, n, round > 0)?;
            }
        }
    }
    let [one, two, send_one, send_two] = &rigs[..] else { unreachable!("four rigs") };
    for rig in &rigs {
        outcome.repeated(format!("{}: wall time of a burst", rig.name), &rig.wall_ms, "ms", true);
    }
    for rig in [one, two] {
        outcome.repeated(format!("{}: CPU per delivery of a burst", rig.name), &rig.burst_cpu_ns, "ns", true);
        outcome.repeated(format!("{}: CPU per delivery at the offered load", rig.name), &rig.cpu_ns, "ns", true);
    }
    let least: f64 = parameters.parse("least_speedup")?;
    outcome.at_least("wall time, 1 shard by 2", median(&ratios(&one.wall_ms, &two.wall_ms)).value, least, "x");
    outcome.ratio("wall time, 1 shard by 2", &one.wall_ms, &two.wall_ms, None, None);
    outcome.ratio("wall time, send on 1 thread by 2", &send_one.wall_ms, &send_two.wall_ms, None, None);
    outcome.ratio("CPU per delivery of a burst, 2 shards by 1", &two.burst_cpu_ns, &one.burst_cpu_ns, None, None);
    outcome.ratio(
        "CPU per delivery at the offered load, 2 shards by 1",
        &two.cpu_ns,
        &one.cpu_ns,
        parameters.optional("most_cpu_ratio")?,
        None,
    );
    for rig in &mut rigs {
        let name = format!("{}: ", rig.name);
        let all = report(&mut rig.crowds, false)?;
        outcome.exactly(format!("{name}connected"), all.apart.open, n as u64);
        outcome.exactly(format!("{name}missing"), all.apart.holes + all.apart.announced, 0);
        outcome.exactly(format!("{name}delivered"), all.apart.deliveries, rig.deliveries);
        add_faults(outcome, &name, &all.apart);
    }
    Ok(())
}

impl Rig {
    fn start(bench: &Bench, name: &'static str, kind: &str, shards: usize) -> Result<Rig> {
        let parameters = &bench.parameters;
        let n: usize = parameters.parse("n")?;
        let mut spec = HostSpec { shards, ..bench.host(kind, n)? };
        spec.cpus.truncate(shards);
        let host = Host::start(&spec)?;
        let crowd = settle(&Spec { apart: n, ..crowd_spec(host.addr(), "raw", "t0", n) })?;
        Ok(Rig {
            name,
            host,
            crowds: vec![crowd],
            deliveries: 0,
            wall_ms: Vec::new(),
            burst_cpu_ns: Vec::new(),
            cpu_ns: Vec::new(),
        })
    }

    /// Bursts into the buffers of clients that sleep.
    fn burst(&mut self, bench: &Bench, n: usize, is_counted: bool) -> Result<()> {
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
            self.burst_cpu_ns.push(cpu / deliveries as f64);
        }
        Ok(())
    }

    /// A fixed rate to clients that read.
    fn offer(&mut self, bench: &Bench, n: usize, is_counted: bool) -> Result<()> {
        let parameters = &bench.parameters;
        let load = Load {
            rate: parameters.parse("rate")?,
            bytes: parameters.parse("bytes")?,
            burst: 1,
            topics: 1,
            seconds: parameters.parse("seconds")?,
            look: Look::Text,
            subscribers: n,
            ahead: 4,
            progress: None,
        };
        let cpu = self.host.cpu_ns()?;
        let sent = self.host.publish(&load)?.sent;
        self.deliveries += sent * n as u64;
        await_deliveries(&mut self.crowds, self.deliveries, Duration::from_secs(5))?;
        let cpu = (self.host.cpu_ns()? - cpu) as f64;
        if is_counted {
            self.cpu_ns.push(cpu / (sent * n as u64).max(1) as f64);
        }
        Ok(())
    }
}
