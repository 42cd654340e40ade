//! Everybody is gone at once and comes back at once, over TLS, into a server that has no more memory than it says; some stay.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{
    Bench, Capped, Scenario, add_faults, add_latency, await_all, end_with_refusals, gather, in_shares, report, settle,
};
use crate::cgroup::MemoryCap;
use crate::crowd::{Crowd, Spec};
use crate::publisher::{Publisher, PublisherSpec};
use crate::server::Server;
use crate::table::Outcome;

pub const SCENARIO: Scenario = Scenario {
    name: "herd",
    about: "10,000 TLS clients go away and come back at once, and again where they are refused, while others stay: all come in and \
            miss nothing, the latency of those that stay is recorded, and the server is not killed in a memory cgroup of the sum that it \
            states, and the program itself (needs root, unless cap=0)",
    parameters: &[
        ("n", "10000", "clients that go and come back"),
        ("crowds", "4", "client processes that share them: each connects as fast as it can"),
        ("form", "json", "what all speak"),
        ("stay", "200", "subscribers that stay"),
        ("rate", "100", "messages a second that those get"),
        ("bytes", "512", "bytes of a payload"),
        ("quiet_s", "5", "seconds before the herd: what latencies are compared with"),
        ("storm_s", "20", "seconds of messages from then on"),
        ("cap", "1", "1: in a memory cgroup"),
        (
            "program_mib",
            "8",
            "what the cap has besides the sum: the program itself, before it has taken anything of that",
        ),
        ("tls_mib", "32", "the server's `--tls-bytes`"),
        ("handshakes", "", "the server's `--handshakes-max`; empty: its default, an eighth of its connections"),
        ("tls", "1", "0: without TLS, for comparison"),
    ],
    common: super::SERVER,
    run,
};

const MIB: f64 = (1 << 20) as f64;

fn run(bench: &Bench, outcome: &mut Outcome) -> Result<()> {
    let parameters = &bench.parameters;
    let (n, stay): (usize, usize) = (parameters.parse("n")?, parameters.parse("stay")?);
    let (mut server, cap) = serve(bench, n + stay, outcome)?;
    let form = parameters.text("form");
    let staying = settle(&server.door(super::crowd_spec(server.addr(), form, "stay", stay)))?;
    let forms = vec![form.to_string(); parameters.parse("crowds")?];
    let specs = in_shares(server.addr(), &forms, "herd", n);
    // At first they come a few at a time.
    let herd = |spec: Spec| Spec { first_member: stay + spec.first_member, connecting_max: 32, is_herd: true, ..spec };
    let specs = specs.map(|spec| server.door(herd(spec)));
    let (mut herd, _) = gather(specs)?;
    let mut staying = [staying];

    let (to_stay, to_herd) = (load(bench, &server, "stay")?, load(bench, &server, "herd")?);
    let publishers = [Publisher::start(&to_stay)?, Publisher::start(&to_herd)?];
    report(&mut staying, true)?;
    std::thread::sleep(Duration::from_secs_f64(parameters.parse("quiet_s")?));
    add_latency(outcome, "those that stay, before: ", &report(&mut staying, true)?.latency);
    let cpu_ns = server.cpu_ns()?;
    let took = come_back(&mut herd)?;
    let cpu_us = (server.cpu_ns()? - cpu_ns) as f64 / n as f64 / 1e3;
    add_latency(outcome, "those that stay, beside the herd: ", &report(&mut staying, true)?.latency);
    outcome.figure("all are back after", took.as_secs_f64() * 1e3, "ms");
    outcome.figure("server CPU per client, all messages of that time included", cpu_us, "us");

    let mut sent = Vec::new();
    for publisher in publishers {
        let done = publisher.finish()?;
        outcome.note_all(&done.errors);
        sent.push(done.sent);
    }
    outcome.must("published", sent == [to_stay.count, to_herd.count], format!("{sent:?}"));
    add_group(outcome, "those that stay: ", &mut staying, sent[0])?;
    add_group(outcome, "herd: ", &mut herd, sent[1])?;
    let lives = server.is_running()?;
    outcome.must("the server lives", lives, if lives { "yes".into() } else { server.log() });
    if let Some((cap, bytes)) = &cap {
        outcome.at_most("of the cgroup, most", cap.peak()? as f64 / MIB, bytes / MIB, "MiB");
        outcome.exactly("killed for want of memory", cap.kills()?, 0);
    }
    end_with_refusals(&mut server, outcome)?;
    add_counters(&mut server, parameters.parse("tls_mib")?, outcome)
}

/// The server, and its memory cgroup with its size in bytes.
fn serve(bench: &Bench, clients: usize, outcome: &mut Outcome) -> Result<(Server, Option<(MemoryCap, f64)>)> {
    let parameters = &bench.parameters;
    let settings = [
        ("max-cursors", (2 * clients + 1_000).to_string()),
        ("max-topics", "1000".into()),
        ("max-message-bytes", "64KiB".into()),
        ("payload-bytes", "16MiB".into()),
        ("ring-bytes", "4MiB".into()),
        ("pool-bytes", "64MiB".into()),
        ("lane-bytes", "4MiB".into()),
        ("tls-bytes", format!("{}MiB", parameters.text("tls_mib"))),
        ("handshakes-max", parameters.text("handshakes").into()),
    ];
    if parameters.text("cap") == "0" {
        return Ok((bench.serve(clients, &settings)?, None));
    }
    let program = parameters.parse::<f64>("program_mib")? * MIB;
    let Capped { server, cap, sum } = bench.serve_capped(clients, &settings, |sum| sum + program)?;
    outcome.figure("stated sum", sum / MIB, "MiB");
    Ok((server, Some((cap, sum + program))))
}

/// A few messages a second to the herd, many to those that stay: until the storm is over.
fn load(bench: &Bench, server: &Server, topic: &str) -> Result<PublisherSpec> {
    let parameters = &bench.parameters;
    let seconds = parameters.parse::<f64>("quiet_s")? + parameters.parse::<f64>("storm_s")?;
    let rate: f64 = if topic == "herd" { 1.0 } else { parameters.parse("rate")? };
    let count = (rate * seconds).ceil() as u64;
    Ok(PublisherSpec::new(server.addr(), topic, rate, parameters.parse("bytes")?, count))
}

/// All go, and all come back: in, and with one message more than any of them had. How long that takes.
fn come_back(herd: &mut [Crowd]) -> Result<Duration> {
    let before = report(herd, true)?;
    ensure!(before.healthy.open == before.healthy.members, "not all were there: {:?}", before.trouble);
    for crowd in herd.iter_mut() {
        crowd.leave()?;
    }
    let began = Instant::now();
    for crowd in herd.iter_mut() {
        crowd.resume(before.healthy.most + 1)?;
    }
    herd.iter().try_for_each(|crowd| crowd.caught_up().map(|_| ()))?;
    Ok(began.elapsed())
}

fn add_group(outcome: &mut Outcome, prefix: &str, crowds: &mut [Crowd], published: u64) -> Result<()> {
    let end = await_all(crowds, published, Duration::from_secs(60))?;
    let group = &end.healthy;
    outcome.exactly(format!("{prefix}connected"), group.open, group.members);
    outcome.exactly(format!("{prefix}delivered + announced, least"), group.least, published);
    outcome.exactly(format!("{prefix}delivered + announced, most"), group.most, published);
    outcome.exactly(format!("{prefix}missing unannounced"), group.holes, 0);
    outcome.count(format!("{prefix}announced"), group.announced);
    outcome.count(format!("{prefix}times that one was refused, and tried again"), end.retries);
    add_faults(outcome, prefix, group);
    outcome.note_all(&end.trouble);
    Ok(())
}

/// What the server has counted, once it has ended.
fn add_counters(server: &mut Server, tls_mib: f64, outcome: &mut Outcome) -> Result<()> {
    let counters = server.counters(Duration::from_secs(30))?;
    let each = |name: &str| counters.iter().map(|shard| shard.get(name).copied().unwrap_or(0)).collect::<Vec<_>>();
    let sum = |name: &str| each(name).iter().sum::<u64>();
    outcome.count("TLS handshakes completed", sum("tls_handshakes"));
    outcome.count("TLS connections given up", sum("tls_failed"));
    outcome.figure("longest turn", each("turn_ns_max").into_iter().max().unwrap_or(0) as f64 / 1e6, "ms");
    outcome.at_most("memory that TLS held, at most", sum("tls_bytes_max") as f64 / MIB, tls_mib, "MiB");
    outcome.exactly("memory that TLS holds at the end", sum("tls_bytes"), 0);
    Ok(())
}
