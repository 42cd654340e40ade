//! Everybody goes away, messages are published, everybody comes back at once and asks for what was missed.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use super::{Bench, Scenario, add_faults, await_all, gather, in_shares, report};
use crate::host::{Host, HostSpec, Load};
use crate::payload::Look;
use crate::table::Outcome;

pub const SCENARIO: Scenario = Scenario {
    name: "resume-storm",
    about: "10,000 clients come back with `since` at once: each goes on exactly where it was, each derived log is built once",
    parameters: &[
        ("n", "10000", "clients"),
        ("forms", "json,json+deflate,batch+lz4", "what they speak, in equal shares: a process for each form"),
        ("before", "10", "messages that they get before they go"),
        ("before_rate", "5", "a second"),
        ("missed", "300", "messages that are published while they are away"),
        ("bytes", "1200", "bytes of a payload"),
        ("connecting", "1000", "connections that each process has under way at once"),
        ("shards", "2", "shards of the engine"),
        ("cpus", "", "CPUs to pin the shards to"),
        ("driver", "auto", "the engine's driver"),
        super::TLS,
        ("lane_bytes", "8388608", "budget of a lane: what was missed must fit"),
    ],
    common: &[],
    run,
};

fn run(bench: &Bench, outcome: &mut Outcome) -> Result<()> {
    let parameters = &bench.parameters;
    let n: usize = parameters.parse("n")?;
    let forms = parameters.list("forms");
    ensure!(!forms.iter().any(|form| form.starts_with("raw")), "raw clients cannot resume");
    let shards: usize = parameters.parse("shards")?;
    let missed: u64 = parameters.parse("missed")?;
    let before: u64 = parameters.parse("before")?;
    let bytes: usize = parameters.parse("bytes")?;
    let lane_bytes = parameters.parse("lane_bytes")?;
    let mut host = Host::start(&HostSpec { lane_bytes, ..bench.host("engine", n)? })?;
    let (mut crowds, _) = gather(in_shares(host.addr(), &forms, "t0", n).map(|spec| host.door(spec)))?;
    let rate: f64 = parameters.parse("before_rate")?;
    let load = |rate: f64, count: u64| Load {
        rate,
        bytes,
        burst: 1,
        topics: 1,
        // Half a message less, so that rounding up gives the count.
        seconds: (count as f64 - 0.5) / rate,
        look: Look::Telemetry,
        subscribers: n,
        ahead: 0,
        progress: None,
    };
    let mut sent = host.publish(&load(rate, before))?.sent;
    await_all(&mut crowds, sent, Duration::from_secs(10))?;

    for crowd in &mut crowds {
        crowd.leave()?;
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    while host.counters()?["connections"].as_u64() != Some(0) {
        if Instant::now() > deadline {
            bail!("connections are left: {}", host.counters()?);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    sent += host.publish(&load(5_000.0, missed))?.sent;
    report(&mut crowds, true)?;

    let (counted, cpu) = (host.counters()?, host.cpu_ns()?);
    let began = Instant::now();
    for crowd in &mut crowds {
        crowd.resume(sent)?;
    }
    let mut slowest = Duration::ZERO;
    for crowd in &crowds {
        slowest = slowest.max(crowd.caught_up()?);
    }
    outcome.figure("all are up to date after", began.elapsed().as_secs_f64() * 1e3, "ms");
    outcome.figure("slowest process of clients", slowest.as_secs_f64() * 1e3, "ms");
    let cpu = host.cpu_ns()? - cpu;
    // Counters come with a shard's turn.
    std::thread::sleep(Duration::from_millis(1_200));
    let counters = host.counters()?;
    let storm = |name: &str| counters[name].as_u64().unwrap_or(0) - counted[name].as_u64().unwrap_or(0);

    let all = report(&mut crowds, true)?;
    for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
        outcome.figure(format!("from a client's connect to its last message, {name}"), all.latency.ms(share), "ms");
    }
    outcome.figure("server CPU per client", cpu as f64 / n as f64 / 1e3, "us");
    outcome.exactly("clients back", all.healthy.open, n as u64);
    outcome.exactly("delivered, least", all.healthy.least, sent);
    outcome.exactly("delivered, most", all.healthy.most, sent);
    outcome.exactly("announced gaps", all.healthy.announced, 0);
    outcome.exactly("missing", all.healthy.holes, 0);
    add_faults(outcome, "", &all.healthy);

    // A derived log is a form at a shard. It begins at its source's newest message and is built again from the source's oldest:
    // all there is, and that one message twice.
    let derived =
        |is_counted: fn(&str) -> bool| forms.iter().filter(|form| is_counted(form)).count() as u64 * shards as u64;
    let logs = derived(|_| true);
    let deflated = derived(|form| form.ends_with("+deflate"));
    outcome.count("derived logs", logs);
    outcome.at_most("derived logs built again", storm("rebuilt") as f64, logs as f64, "");
    outcome.at_most("messages encoded", storm("encoded") as f64, (logs * (sent + 1)) as f64, "");
    outcome.at_most("messages compressed", storm("compressed") as f64, (deflated * (sent + 1)) as f64, "");
    outcome.count("deliveries of the storm", storm("deliveries"));
    outcome.count("sends of the storm", storm("sends"));
    all.trouble.iter().for_each(|words| outcome.note(words));
    Ok(())
}
