//! One topic to many connections at a steady rate: all get all, what it costs, how long it takes.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Bench, CpuMeter, Scenario, add_faults, add_latency, await_all, gather, in_shares, report};
use crate::crowd::Spec;
use crate::publisher::{Publisher, PublisherSpec};
use crate::table::Outcome;

pub const SCENARIO: Scenario = Scenario {
    name: "fanout",
    about: "one topic to many connections at a steady rate: all get all",
    parameters: &[
        ("n", "10000", "connections; several with commas, one after the other"),
        ("crowds", "1", "client processes that share them (more than 19,900 need several)"),
        ("protocol", "raw", "raw or json"),
        ("rate", "1", "messages a second; 0 as fast as the server takes them"),
        ("seconds", "20", "how long"),
        ("count", "", "messages, instead of rate times seconds"),
        ("bytes", "512", "bytes of a payload"),
        ("crowd_cpu", "", "CPU to pin crowds and publisher to"),
        super::TLS,
    ],
    common: super::PINNED,
    run,
};

fn run(bench: &Bench, outcome: &mut Outcome) -> Result<()> {
    let steps = bench.parameters.list("n");
    for n in &steps {
        let prefix = if steps.len() > 1 { format!("{n}: ") } else { String::new() };
        step(bench, n.parse()?, &prefix, outcome)?;
    }
    Ok(())
}

fn step(bench: &Bench, n: usize, prefix: &str, outcome: &mut Outcome) -> Result<()> {
    let parameters = &bench.parameters;
    let rate: f64 = parameters.parse("rate")?;
    let seconds: f64 = parameters.parse("seconds")?;
    let count = parameters.optional("count")?.unwrap_or((rate * seconds) as u64);
    let cpu = parameters.optional("crowd_cpu")?;
    let server = bench.serve(n, &[])?;
    let began = Instant::now();
    let forms = vec![parameters.text("protocol").to_string(); parameters.parse("crowds")?];
    let (mut crowds, _) =
        gather(in_shares(server.addr(), &forms, "fanout", n).map(|spec| server.door(Spec { cpu, ..spec })))?;
    outcome.figure(format!("{prefix}all connected after"), began.elapsed().as_secs_f64() * 1e3, "ms");
    // What connecting has left to do shall not be booked on the deliveries.
    std::thread::sleep(Duration::from_millis(500));
    report(&mut crowds, true)?;

    let meter = CpuMeter::start(&server)?;
    let load = PublisherSpec::new(server.addr(), "fanout", rate, parameters.parse("bytes")?, count);
    let published = Publisher::start(&PublisherSpec { cpu, ..load })?.finish()?;
    await_all(&mut crowds, published.sent, Duration::from_secs(5))?;
    let all = report(&mut crowds, true)?;
    meter.finish(prefix, all.window_deliveries, outcome)?;

    outcome.exactly(format!("{prefix}published"), published.sent, count);
    outcome.exactly(format!("{prefix}publisher's errors"), published.errors.len() as u64, 0);
    outcome.exactly(format!("{prefix}connections open at the end"), all.healthy.open, n as u64);
    outcome.exactly(format!("{prefix}deliveries"), all.healthy.deliveries, published.sent * n as u64);
    outcome.exactly(
        format!("{prefix}missing at the worst member"),
        published.sent - all.healthy.least.min(published.sent),
        0,
    );
    outcome.exactly(format!("{prefix}missing in between"), all.healthy.holes, 0);
    outcome.count(format!("{prefix}announced gaps"), all.healthy.announced);
    add_faults(outcome, prefix, &all.healthy);
    outcome.figure(
        format!("{prefix}deliveries per second"),
        all.window_deliveries as f64 / (published.ns as f64 / 1e9),
        "1/s",
    );
    outcome.figure(
        format!("{prefix}messages per receive"),
        all.window_deliveries as f64 / all.window_receives.max(1) as f64,
        "",
    );
    add_latency(outcome, prefix, &all.latency);
    outcome.figure(format!("{prefix}publisher late at most"), published.late_ns_max as f64 / 1e6, "ms");
    outcome.figure(format!("{prefix}server PSS"), server.memory()?.pss as f64 / (1024.0 * 1024.0), "MiB");
    outcome.curve("latency", &format!("{n}"), ("% of deliveries", "ms"), all.latency.curve());
    all.trouble.iter().chain(&published.errors).for_each(|words| outcome.note(words));
    Ok(())
}
