//! The engine beside the bare kernel, itself in another form, or a rival: the same load, alternating, in one run.
//!
//! Every target is a process with its publisher inside and has its own subscribers, connected from the beginning to the end. Rounds
//! go through the targets forwards and backwards by turns, so that a slow drift of the machine falls on all alike; ratios are of
//! pairs of one round.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Bench, Scenario, add_faults, await_deliveries, gather, in_shares, report};
use crate::ahead::Progress;
use crate::crowd::{Crowd, Spec};
use crate::form::Form;
use crate::host::{Host, HostSpec, Load};
use crate::identity;
use crate::latency::Latency;
use crate::payload::Look;
use crate::table::{Outcome, markdown};

pub const SCENARIO: Scenario = Scenario {
    name: "versus",
    about: "the engine beside the bare kernel, another form of itself, or rivals: the same load in alternating rounds",
    parameters: &[
        (
            "targets",
            "engine,send,ring",
            "engine, send (a plain loop), ring (a bare io_uring) or a rival of perf/peers; engine/FORM for a form, engine@MS for a latency budget, NAME+tls for TLS",
        ),
        ("n", "1000", "subscribers of each target"),
        ("topics", "1", "topics, over which they are spread"),
        ("rate", "0", "messages a second; 0 saturates"),
        ("bursts", "1", "messages to a turn when saturating: one run of rounds for each of these"),
        ("bytes", "512", "bytes of a payload"),
        ("look", "text", "text or telemetry (JSON)"),
        ("seconds", "2", "how long each target has in a round"),
        ("rounds", "9", "rounds: 6 and more give 95 % bounds"),
        ("ahead", "4", "turns that a saturating publisher may be ahead of what the clients have checked"),
        ("warm_s", "0.5", "unmeasured load at the beginning"),
        ("cpus", "0", "CPUs of the servers, the first one also of their publishers; empty: not pinned"),
        ("crowd_cpu", "1", "CPU of the subscribers; empty: not pinned"),
        ("crowds", "1", "client processes for each target"),
        ("shards", "1", "shards of the engine"),
        ("driver", "auto", "the engine's driver"),
        ("lane_bytes", "8388608", "budget of a lane of the engine"),
        ("most_cpu_ratio", "", "bound on CPU per delivery, first target by second"),
        ("most_cpu_bound", "", "bound on the upper bound of the same"),
        ("most_p50_ratio", "", "bound on p50, first target by second"),
        ("most_p99_ratio", "", "bound on p99, first target by second"),
        ("peers_dir", "perf/peers", "where rivals are built and started"),
    ],
    common: &[],
    run,
};

/// A target at work.
struct Rig {
    name: String,
    host: Host,
    crowds: Vec<Crowd>,
    progress: Progress,
    deliveries: u64,
    is_rival: bool,
    /// Memory of the server for each subscriber, right after they came.
    memory_each: f64,
    /// CPUs of the server.
    cpus: Vec<usize>,
    samples: Samples,
}

/// What its rounds gave.
#[derive(Default)]
struct Samples {
    cpu_ns: Vec<f64>,
    cpu_percent: Vec<f64>,
    rate: Vec<f64>,
    p50_ms: Vec<f64>,
    p99_ms: Vec<f64>,
    p999_ms: Vec<f64>,
    first_p50_ms: Vec<f64>,
    first_p99_ms: Vec<f64>,
    per_send: Vec<f64>,
    bytes_each: Vec<f64>,
    late_ms: f64,
    latency: Latency,
}

fn run(bench: &Bench, outcome: &mut Outcome) -> Result<()> {
    let parameters = &bench.parameters;
    let targets = parameters.list("targets");
    let mut rigs: Vec<Rig> =
        targets.iter().enumerate().map(|(at, name)| Rig::start(bench, at, name)).collect::<Result<_>>()?;
    ensure!(!rigs.is_empty(), "no targets");
    let rounds: usize = parameters.parse("rounds")?;
    let n: usize = parameters.parse("n")?;
    let topics: usize = parameters.parse("topics")?;
    let look = match parameters.text("look") {
        "text" => Look::Text,
        "telemetry" => Look::Telemetry,
        other => anyhow::bail!("no look `{other}`"),
    };
    let bursts = parameters.list("bursts");
    for burst in &bursts {
        let load = Load {
            rate: parameters.parse("rate")?,
            bytes: parameters.parse("bytes")?,
            burst: burst.parse().context("bursts")?,
            topics,
            seconds: parameters.parse("seconds")?,
            look,
            subscribers: n / topics,
            ahead: parameters.parse("ahead")?,
            progress: None,
        };
        for rig in &mut rigs {
            rig.samples = Samples::default();
            rig.round(&Load { seconds: parameters.parse("warm_s")?, ..load.clone() }, false)?;
        }
        for round in 0..rounds {
            crate::progress::show("rounds", round, rounds);
            let forwards: Vec<usize> = (0..rigs.len()).collect();
            let order: Vec<usize> = if round % 2 == 0 { forwards } else { forwards.into_iter().rev().collect() };
            for at in order {
                rigs[at].round(&load, true)?;
            }
        }
        let prefix = if bursts.len() > 1 { format!("k={burst} ") } else { String::new() };
        show(&rigs, &prefix, bench, outcome)?;
    }
    for rig in &mut rigs {
        let all = report(&mut rig.crowds, false)?;
        let name = format!("{}: ", rig.name);
        if rig.is_rival {
            outcome.count(format!("{name}missing"), all.healthy.holes);
            outcome.count(format!("{name}out of order or twice"), all.healthy.misordered);
            outcome.exactly(format!("{name}corrupt"), all.healthy.corrupt, 0);
        } else {
            outcome.exactly(format!("{name}missing"), all.healthy.holes + all.healthy.announced, 0);
            outcome.exactly(format!("{name}connected"), all.healthy.open, n as u64);
            add_faults(outcome, &name, &all.healthy);
        }
        all.trouble.iter().for_each(|words| outcome.note(format!("{name}{words}")));
    }
    Ok(())
}

fn show(rigs: &[Rig], prefix: &str, bench: &Bench, outcome: &mut Outcome) -> Result<()> {
    let parameters = &bench.parameters;
    let is_saturated = parameters.parse::<f64>("rate")? == 0.0;
    for rig in rigs {
        let samples = &rig.samples;
        let name = |what: &str| format!("{prefix}{}: {what}", rig.name);
        outcome.repeated(name("CPU per delivery"), &samples.cpu_ns, "ns", true);
        outcome.repeated(name("deliveries per second"), &samples.rate, "1/s", false);
        outcome.repeated(name("latency p50"), &samples.p50_ms, "ms", true);
        outcome.repeated(name("latency p99"), &samples.p99_ms, "ms", true);
        outcome.repeated(name("latency p99.9"), &samples.p999_ms, "ms", true);
        outcome.repeated(name("first byte at a client, p50"), &samples.first_p50_ms, "ms", true);
        outcome.repeated(name("first byte at a client, p99"), &samples.first_p99_ms, "ms", true);
        if !samples.per_send.is_empty() {
            outcome.repeated(name("deliveries per send"), &samples.per_send, "", false);
        }
        if !is_saturated {
            outcome.figure(name("publisher late at most"), samples.late_ms, "ms");
        }
        outcome.curve(&format!("{prefix}latency"), &rig.name, ("% of deliveries", "ms"), samples.latency.curve());
    }
    let first = &rigs[0];
    for (at, other) in rigs.iter().enumerate().skip(1) {
        let name = |what: &str| format!("{prefix}{} by {}: {what}", first.name, other.name);
        let bound = |bound: &str| if at == 1 { parameters.optional::<f64>(bound) } else { Ok(None) };
        let cpu = (bound("most_cpu_ratio")?, bound("most_cpu_bound")?);
        outcome.ratio(name("CPU per delivery"), &first.samples.cpu_ns, &other.samples.cpu_ns, cpu.0, cpu.1);
        outcome.ratio(name("p50"), &first.samples.p50_ms, &other.samples.p50_ms, bound("most_p50_ratio")?, None);
        outcome.ratio(name("p99"), &first.samples.p99_ms, &other.samples.p99_ms, bound("most_p99_ratio")?, None);
    }
    let of = |values: &[f64]| crate::stats::median(values).value;
    outcome.table(markdown(
        &[
            &format!("{prefix}target"),
            "CPU per delivery",
            "CPU",
            "deliveries/s",
            "p50 ms",
            "p99 ms",
            "p99.9 ms",
            "first p50 ms",
            "first p99 ms",
            "per send",
            "bytes each",
            "memory each",
        ],
        rigs.iter().map(|rig| {
            let samples = &rig.samples;
            vec![
                rig.name.clone(),
                format!("{:.0} ns", of(&samples.cpu_ns)),
                format!("{:.0} %", of(&samples.cpu_percent)),
                format!("{:.0}", of(&samples.rate)),
                format!("{:.2}", of(&samples.p50_ms)),
                format!("{:.2}", of(&samples.p99_ms)),
                format!("{:.2}", of(&samples.p999_ms)),
                format!("{:.3}", of(&samples.first_p50_ms)),
                format!("{:.3}", of(&samples.first_p99_ms)),
                if samples.per_send.is_empty() { String::new() } else { format!("{:.2}", of(&samples.per_send)) },
                format!("{:.0}", of(&samples.bytes_each)),
                format!("{:.0} B", rig.memory_each),
            ]
        }),
    ));
    Ok(())
}

impl Rig {
    fn start(bench: &Bench, number: usize, name: &str) -> Result<Rig> {
        let parameters = &bench.parameters;
        let (kind_and_form, delay) = match name.split_once('@') {
            Some((rest, ms)) => (rest, Some(ms.parse::<u16>().with_context(|| format!("{name}: milliseconds"))?)),
            None => (name, None),
        };
        let (kind, form) = kind_and_form.split_once('/').unwrap_or(match kind_and_form.trim_end_matches("+tls") {
            rival @ ("nats" | "foxglove") => (kind_and_form, rival),
            _ => (kind_and_form, "raw"),
        });
        let (kind, is_tls) = kind.strip_suffix("+tls").map_or((kind, false), |kind| (kind, true));
        ensure!(!is_tls || !matches!(kind, "send" | "ring"), "{name}: the bare kernel speaks no TLS");
        let n: usize = parameters.parse("n")?;
        let is_own = matches!(kind, "engine" | "send" | "ring");
        let is_plain = !name.contains(['/', '@']);
        ensure!(kind == "engine" || is_plain, "{name}: only the engine has forms and latency budgets");
        ensure!(delay.is_none() || form.starts_with("raw"), "{name}: a latency budget is asked for in the target");
        Form::parse(form)?;
        let lane_bytes = parameters.parse("lane_bytes")?;
        let tls = is_tls.then(identity::of_this_run).transpose()?;
        let spec = HostSpec { lane_bytes, tls, ..bench.host(kind, n)? };
        let host = if is_own {
            Host::start(&spec)?
        } else {
            let folder = std::path::Path::new(parameters.text("peers_dir"));
            super::peers::start(folder, kind, spec.cpus.first().copied(), spec.tls.as_ref())?
        };
        let progress = Progress::create(number)?;
        let topics: usize = parameters.parse("topics")?;
        ensure!(n.is_multiple_of(topics), "as many subscribers for each topic: {n} is no multiple of {topics}");
        let forms = vec![form.to_string(); parameters.parse("crowds")?];
        let cpu = parameters.optional("crowd_cpu")?;
        let specs = in_shares(host.addr(), &forms, "t0", n).enumerate().map(|(i, spec)| Spec {
            spread: topics,
            progress: Some((progress.path().into(), i)),
            target: match (form.starts_with("raw"), delay) {
                (true, Some(ms)) => format!("/t/t{{i}}?max_delay_ms={ms}"),
                (true, None) => "/t/t{i}".into(),
                (false, _) => "/".into(),
            },
            cpu,
            ..host.door(spec)
        });
        let before = host.memory()?;
        let (crowds, _) = gather(specs).with_context(|| name.to_string())?;
        let memory_each = (host.memory()?.pss as f64 - before.pss as f64) / n as f64;
        Ok(Rig {
            name: name.into(),
            host,
            crowds,
            progress,
            deliveries: 0,
            is_rival: !is_own,
            memory_each,
            cpus: spec.cpus,
            samples: Samples::default(),
        })
    }

    /// CPU time of the server, and of the kernel's threads that do a part of its sending. (Only one target works at a time.)
    fn cpu_ns(&self) -> Result<u64> {
        Ok(self.host.cpu_ns()? + crate::procfs::softirq_threads_ns(&self.cpus))
    }

    /// One share of a round.
    fn round(&mut self, load: &Load, is_counted: bool) -> Result<()> {
        report(&mut self.crowds, true)?;
        let counters = self.host.counters()?;
        let cpu = self.cpu_ns()?;
        let began = std::time::Instant::now();
        let load = Load { progress: Some(self.progress.path().into()), ..load.clone() };
        let loaded = self.host.publish(&load).with_context(|| self.name.clone())?;
        let wanted = loaded.sent * load.subscribers as u64;
        await_deliveries(&mut self.crowds, self.deliveries + wanted, Duration::from_secs(3))?;
        let seconds = began.elapsed().as_secs_f64();
        let cpu = (self.cpu_ns()? - cpu).saturating_sub(loaded.waiting_ns) as f64;
        // A shard's counters come with its next turn.
        std::thread::sleep(Duration::from_millis(20));
        let after = self.host.counters()?;
        let all = report(&mut self.crowds, true)?;
        self.deliveries += all.window_deliveries;
        if !is_counted {
            return Ok(());
        }
        let samples = &mut self.samples;
        let deliveries = all.window_deliveries.max(1) as f64;
        samples.cpu_ns.push(cpu / deliveries);
        samples.cpu_percent.push(cpu / seconds / 1e7);
        samples.rate.push(deliveries / (loaded.ns as f64 / 1e9));
        samples.p50_ms.push(all.latency.ms(0.5));
        samples.p99_ms.push(all.latency.ms(0.99));
        samples.p999_ms.push(all.latency.ms(0.999));
        samples.first_p50_ms.push(all.first.ms(0.5));
        samples.first_p99_ms.push(all.first.ms(0.99));
        samples.bytes_each.push(all.window_bytes as f64 / deliveries);
        samples.late_ms = samples.late_ms.max(loaded.late_ns as f64 / 1e6);
        samples.latency.merge(&all.latency);
        let count = |counters: &serde_json::Value, name: &str| counters[name].as_f64();
        if let (Some(before), Some(after)) = (count(&counters, "sends"), count(&after, "sends")) {
            samples.per_send.push(deliveries / (after - before).max(1.0));
        }
        Ok(())
    }
}
