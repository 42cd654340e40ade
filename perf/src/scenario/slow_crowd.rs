//! Some subscribers stop reading: what it costs the server's memory, the kernel's, and the others' latency; and what the
//! stopped ones are told when they read again.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustix::process::Signal;

use super::{Bench, CpuMeter, Scenario, add_faults, await_all, crowd_spec, gather, report};
use crate::crowd::{Crowd, Spec};
use crate::procfs::{self, End};
use crate::publisher::{Publisher, PublisherSpec};
use crate::server::Server;
use crate::table::Outcome;

pub const SCENARIO: Scenario = Scenario {
    name: "slow-crowd",
    about: "100 of 1,000 subscribers stop reading for 60 s at 200 Hz x 4 KiB and a critical lane: memory stays, the others do not \
            notice, each gets its exact gap and every critical message (or close 1013)",
    parameters: &[
        ("n", "1000", "subscribers"),
        ("slow", "100", "of them stop reading"),
        ("rate", "200", "messages a second"),
        ("bytes", "4096", "bytes of a payload"),
        ("critical_rate", "2", "critical messages a second, to the same topic; 0 none"),
        ("critical_bytes", "512", "bytes of a critical payload"),
        ("by", "reading", "how they stop: `reading` no more, or as a process that gets SIGSTOP (`signal`)"),
        ("form", "json", "what the subscribers speak, such as batch+lz4"),
        ("warm_s", "15", "seconds until the logs have reached their budgets"),
        ("stall_s", "60", "seconds of each phase, with and without the stop"),
        ("recover_s", "5", "seconds after a stop before the next phase"),
        ("rounds", "2", "how often the two phases alternate"),
        ("crowd_cpu", "", "CPU to pin crowd and publisher to"),
        ("most_mib", "1", "bound on the growth of the server's memory, in MiB"),
        (
            "most_slope",
            "1",
            "bound on the slope of the server's resident memory while they are stopped, in MiB a minute",
        ),
        ("most_p99_ratio", "1.2", "bound on the healthy p99, with by without"),
    ],
    common: super::PINNED,
    run,
};

const MIB: f64 = 1024.0 * 1024.0;

/// Figures of one phase.
struct Phase {
    p50_ms: f64,
    p99_ms: f64,
    /// The server's memory, least and most seen, in bytes.
    pss: (u64, u64),
    /// Its resident memory: seconds and MiB.
    rss: Vec<(f64, f64)>,
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
    let server = bench.serve(n, &[])?;
    let by_signal = match parameters.text("by") {
        "reading" => false,
        "signal" => true,
        other => bail!("`{other}` is no way to stop"),
    };
    let crowd = |first: usize, end: usize, apart: usize| {
        let usual = crowd_spec(server.addr(), parameters.text("form"), "slow", end - first);
        Spec { first_member: first, apart, cpu, ..usual }
    };
    // Only a process of their own can be stopped.
    let (mut crowds, _) =
        gather(if by_signal { vec![crowd(0, slow, slow), crowd(slow, n, 0)] } else { vec![crowd(0, n, slow)] })?;
    let answering = usize::from(by_signal);

    let seconds = warm + rounds as f64 * (2.0 * stall + recover) + 5.0;
    let count = (seconds * rate) as u64;
    let load = PublisherSpec::new(server.addr(), "slow", rate, parameters.parse("bytes")?, count);
    let load = PublisherSpec { cpu, ..load };
    let publisher = Publisher::start(&load)?;
    let critical_rate: f64 = parameters.parse("critical_rate")?;
    let critical_count = (seconds * critical_rate) as u64;
    let critical_publisher = (critical_count > 0)
        .then(|| {
            Publisher::start(&PublisherSpec {
                priority: "critical".into(),
                rate: critical_rate,
                bytes: parameters.parse("critical_bytes")?,
                count: critical_count,
                ..load.clone()
            })
        })
        .transpose()?;
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
        if by_signal {
            crowds[0].signal(Signal::STOP)?
        } else {
            crowds[0].stall()?
        }
        with.push(phase(&server, &mut crowds[answering..], stall, &mut deliveries)?);
        let tcp_after = procfs::tcp_memory()?;
        kernel_each = kernel_each.max(kernel_memory(&server, slow, tcp_before, tcp_after, outcome));
        if by_signal {
            crowds[0].signal(Signal::CONT)?
        } else {
            crowds[0].wake()?
        }
        std::thread::sleep(Duration::from_secs_f64(recover));
        deliveries += report(&mut crowds, true)?.window_deliveries;
    }
    meter.finish("", deliveries, outcome)?;
    let mut published = publisher.finish()?;
    outcome.exactly("published", published.sent, count);
    let mut critical = 0;
    if let Some(publisher) = critical_publisher {
        let more = publisher.finish()?;
        critical = more.sent;
        outcome.exactly("published, critical", critical, critical_count);
        published.sent += critical;
        published.errors.extend(more.errors);
    }
    let end = await_all(&mut crowds, published.sent, Duration::from_secs(10))?;
    let after = server.memory()?;
    let pss_after = after.pss;

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
    for (name, phases) in [("without", &without), ("with", &with)] {
        for (round, phase) in phases.iter().enumerate() {
            let name = format!("{name}, round {}", round + 1);
            outcome.curve("resident memory", &name, ("s", "MiB"), phase.rss.clone());
        }
    }
    let slopes: Vec<f64> = with.iter().map(|phase| slope(&phase.rss) * 60.0).collect();
    let most_slope = slopes.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    outcome.at_most("resident memory while stopped, slope", most_slope, parameters.parse("most_slope")?, "MiB/min");
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
    let evicted = end.apart.closes.get(&1013).copied().unwrap_or(0);
    outcome.exactly("healthy: critical messages, least", end.healthy.critical_least, critical);
    outcome.count("stopped: still connected", end.apart.open);
    outcome.exactly("stopped: connected or closed with 1013", end.apart.open + evicted, slow as u64);
    if end.apart.open > 0 {
        outcome.exactly("stopped: critical messages, least of those connected", end.apart.critical_least, critical);
    }
    outcome.count("stopped: delivered", end.apart.deliveries);
    outcome.count("stopped: announced as gaps", end.apart.announced);
    outcome.count("stopped: gap notices", end.apart.gap_notices);
    if evicted == 0 {
        outcome.exactly("stopped: delivered + announced, least", end.apart.least, published.sent);
        outcome.exactly("stopped: delivered + announced, most", end.apart.most, published.sent);
    }
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
    let mut rss = Vec::new();
    let began = Instant::now();
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    while Instant::now() < end {
        let now = server.memory()?;
        pss = (pss.0.min(now.pss), pss.1.max(now.pss));
        rss.push((began.elapsed().as_secs_f64(), now.rss as f64 / MIB));
        std::thread::sleep(Duration::from_millis(500).min(end.saturating_duration_since(Instant::now())));
    }
    let window = report(crowds, true)?;
    *deliveries += window.window_deliveries;
    Ok(Phase { p50_ms: window.latency.ms(0.5), p99_ms: window.latency.ms(0.99), pss, rss })
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

/// The slope of the line of least squares; 0 for less than two points.
fn slope(points: &[(f64, f64)]) -> f64 {
    let n = points.len().max(1) as f64;
    let (x, y) = points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0 / n, y + point.1 / n));
    let (up, down) = points.iter().fold((0.0, 0.0), |(up, down), point| {
        (up + (point.0 - x) * (point.1 - y), down + (point.0 - x) * (point.0 - x))
    });
    if down > 0.0 { up / down } else { 0.0 }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_slope_of_a_line_is_its_slope() {
        let line: Vec<(f64, f64)> = (0..20).map(|x| (f64::from(x), 3.0 - 0.5 * f64::from(x))).collect();
        assert!((super::slope(&line) + 0.5).abs() < 1e-9);
        assert_eq!(super::slope(&line[..1]), 0.0);
    }
}
