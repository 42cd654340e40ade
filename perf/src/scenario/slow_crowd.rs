//! Some subscribers stop reading: what it costs the server's memory, the kernel's, and the others' latency; and what the
//! stopped ones are told when they read again.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Bench, CpuMeter, Scenario, add_faults, await_all, crowd_spec, report};
use crate::crowd::Crowd;
use crate::procfs::{self, End};
use crate::publisher::{Publisher, PublisherSpec};
use crate::server::Server;
use crate::table::Outcome;

pub const SCENARIO: Scenario = Scenario {
    name: "slow-crowd",
    about: "20 of 1,000 subscribers stop reading for 30 s at 200 Hz x 4 KiB: memory stays, the others do not notice, each gets its exact gap",
    parameters: &[
        ("n", "1000", "subscribers"),
        ("slow", "20", "of them stop reading"),
        ("rate", "200", "messages a second"),
        ("bytes", "4096", "bytes of a payload"),
        ("warm_s", "15", "seconds until the logs have reached their budgets"),
        ("stall_s", "30", "seconds of each phase, with and without the stop"),
        ("recover_s", "5", "seconds after a stop before the next phase"),
        ("rounds", "2", "how often the two phases alternate"),
        ("shards", "2", "shards of the server"),
        ("cpus", "", "CPUs to pin the shards to"),
        ("driver", "auto", "the server's driver"),
        ("crowd_cpu", "", "CPU to pin crowd and publisher to"),
        ("most_mib", "1", "bound on the growth of the server's memory, in MiB"),
        ("most_p99_ratio", "1.2", "bound on the healthy p99, with by without"),
        ("server_args", "", "further arguments of the server"),
    ],
    run,
};

const MIB: f64 = 1024.0 * 1024.0;

/// Figures of one phase.
struct Phase {
    p50_ms: f64,
    p99_ms: f64,
    /// The server's memory, least and most seen, in bytes.
    pss: (u64, u64),
}

fn run(bench: &Bench, outcome: &mut Outcome) -> Result<()> {
    let parameters = &bench.parameters;
    let n: usize = parameters.parse("n")?;
    let slow: usize = parameters.parse("slow")?;
    let rate: f64 = parameters.parse("rate")?;
    let warm: f64 = parameters.parse("warm_s")?;
    let stall: f64 = parameters.parse("stall_s")?;
    let recover: f64 = parameters.parse("recover_s")?;
    let rounds: usize = parameters.parse("rounds")?;
    let cpu = parameters.optional("crowd_cpu")?;
    let server = bench.serve(&[
        ("max-connections", (n + 16).to_string()),
        ("shards", parameters.text("shards").into()),
        ("cpus", parameters.text("cpus").into()),
        ("driver", parameters.text("driver").into()),
    ])?;
    let mut crowds =
        vec![Crowd::start(&crate::crowd::Spec { apart: slow, cpu, ..crowd_spec(&server, "json", "slow", n) })?];
    crowds[0].ready()?;

    let seconds = warm + rounds as f64 * (2.0 * stall + recover) + 5.0;
    let count = (seconds * rate) as u64;
    let publisher = Publisher::start(&PublisherSpec {
        server: server.addr(),
        topic: "slow".into(),
        priority: "normal".into(),
        rate,
        bytes: parameters.parse("bytes")?,
        count,
        after_seq: 0,
        cpu,
    })?;
    std::thread::sleep(Duration::from_secs_f64(warm));

    let mut without: Vec<Phase> = Vec::new();
    let mut with: Vec<Phase> = Vec::new();
    let mut kernel_each = 0.0f64;
    report(&mut crowds, true)?;
    let meter = CpuMeter::start(&server)?;
    let mut deliveries = 0;
    for _ in 0..rounds {
        without.push(phase(&server, &mut crowds, stall, &mut deliveries)?);
        let tcp_before = procfs::tcp_memory()?;
        crowds[0].stall()?;
        with.push(phase(&server, &mut crowds, stall, &mut deliveries)?);
        let tcp_after = procfs::tcp_memory()?;
        kernel_each = kernel_each.max(kernel_memory(&server, slow, tcp_before, tcp_after, outcome));
        crowds[0].wake()?;
        std::thread::sleep(Duration::from_secs_f64(recover));
        deliveries += report(&mut crowds, true)?.window_deliveries;
    }
    meter.finish("", deliveries, outcome)?;
    let published = publisher.finish()?;
    let end = await_all(&mut crowds, published.sent, Duration::from_secs(10))?;
    let after = server.memory()?;
    let pss_after = after.pss;

    outcome.exactly("published", published.sent, count);
    outcome.exactly("publisher's errors", published.errors.len() as u64, 0);
    let least = |phases: &[Phase]| phases.iter().map(|phase| phase.pss.0).min().unwrap_or(0);
    let most = |phases: &[Phase]| phases.iter().map(|phase| phase.pss.1).max().unwrap_or(0);
    outcome.figure("server PSS without", least(&without) as f64 / MIB, "MiB");
    outcome.figure("server PSS with, at most", most(&with) as f64 / MIB, "MiB");
    outcome.figure("server PSS after", pss_after as f64 / MIB, "MiB");
    outcome.figure("server RSS after", after.rss as f64 / MIB, "MiB");
    // Compared with the first phase alone: a later phase without has the stop of the one before it behind it.
    let before = without.first().map_or(0, |phase| phase.pss.1);
    let most_mib: f64 = parameters.parse("most_mib")?;
    outcome.at_most("memory with, above without", (most(&with) as f64 - before as f64) / MIB, most_mib, "MiB");
    outcome.at_most("memory after, above before", (pss_after as f64 - before as f64) / MIB, most_mib, "MiB");
    outcome.at_most("kernel TCP memory of each stopped one, server's end", kernel_each / 1e6, 0.3, "MB");
    for (name, pick) in [("p50", (|p: &Phase| p.p50_ms) as fn(&Phase) -> f64), ("p99", |p| p.p99_ms)] {
        outcome.figure(format!("healthy {name} without"), median(without.iter().map(pick).collect()), "ms");
        outcome.figure(format!("healthy {name} with"), median(with.iter().map(pick).collect()), "ms");
    }
    let ratios = without.iter().zip(&with).map(|(without, with)| with.p99_ms / without.p99_ms).collect();
    outcome.at_most(
        "healthy p99, with by without (median of pairs)",
        median(ratios),
        parameters.parse("most_p99_ratio")?,
        "",
    );

    outcome.exactly("healthy: deliveries", end.healthy.deliveries, published.sent * (n - slow) as u64);
    outcome.exactly("healthy: announced gaps", end.healthy.announced, 0);
    outcome.exactly("stopped: still connected", end.apart.open, slow as u64);
    outcome.count("stopped: delivered", end.apart.deliveries);
    outcome.count("stopped: announced as gaps", end.apart.announced);
    outcome.count("stopped: gap notices", end.apart.gap_notices);
    outcome.exactly("stopped: delivered + announced, least", end.apart.least, published.sent);
    outcome.exactly("stopped: delivered + announced, most", end.apart.most, published.sent);
    for (prefix, group) in [("healthy: ", &end.healthy), ("stopped: ", &end.apart)] {
        outcome.exactly(format!("{prefix}missing unannounced"), group.holes, 0);
        add_faults(outcome, prefix, group);
    }
    outcome.figure("publisher late at most", published.late_ns_max as f64 / 1e6, "ms");
    end.trouble.iter().chain(&published.errors).for_each(|words| outcome.note(words));
    Ok(())
}

/// One phase: samples memory each half second, ends with a window's latencies.
fn phase(server: &Server, crowds: &mut [Crowd], seconds: f64, deliveries: &mut u64) -> Result<Phase> {
    let mut pss = (u64::MAX, 0);
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    while Instant::now() < end {
        let now = server.memory()?.pss;
        pss = (pss.0.min(now), pss.1.max(now));
        std::thread::sleep(Duration::from_millis(500).min(end.saturating_duration_since(Instant::now())));
    }
    let window = report(crowds, true)?;
    *deliveries += window.window_deliveries;
    Ok(Phase { p50_ms: window.latency.ms(0.5), p99_ms: window.latency.ms(0.99), pss })
}

/// Bytes of kernel memory for each stopped subscriber at the server's end. The client's end is on this host too, but it is the
/// client's: its receive buffer grows to what its kernel allows (4 MiB here) once it has had to catch up.
fn kernel_memory(server: &Server, slow: usize, before: u64, after: u64, outcome: &mut Outcome) -> f64 {
    let port = server.addr().port();
    let by_sockstat = after.saturating_sub(before) as f64 / slow as f64;
    match (procfs::socket_memory(End::Server, port, slow), procfs::socket_memory(End::Client, port, slow)) {
        (Some(ours), Some(theirs)) if ours.sockets > 0 => {
            let each = |bytes: u64| bytes as f64 / slow as f64;
            outcome.figure("kernel, server's end, each (ss)", each(ours.send + ours.receive) / 1e6, "MB");
            outcome.figure("kernel, client's end, each (ss)", each(theirs.send + theirs.receive) / 1e6, "MB");
            outcome.figure("kernel, all TCP, growth by stopped (sockstat)", by_sockstat / 1e6, "MB");
            each(ours.send + ours.receive)
        }
        _ => {
            outcome
                .note("`ss` (iproute2) is missing: kernel memory is the growth of all TCP memory, reserves included");
            by_sockstat
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}
