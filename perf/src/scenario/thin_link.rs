//! Some clients are behind a thin link: what that costs the others, and what those behind it are told.
//!
//! `unshare --net fanwire-perf run thin-link`, as root.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use anyhow::Result;

use super::{Bench, Scenario, add_faults, await_all, crowd_spec, end_without_warnings, report};
use crate::crowd::{Crowd, Spec};
use crate::netns::{HERE, Neighbour};
use crate::publisher::{Publisher, PublisherSpec};
use crate::table::Outcome;

pub const SCENARIO: Scenario = Scenario {
    name: "thin-link",
    about: "10 of 100 clients share a link of 1 Mbit/s (tc tbf), on and off in turn: the others miss nothing and hardly notice, the ten \
            are told exactly what they missed (own network namespace)",
    parameters: &[
        ("n", "100", "clients"),
        ("thin", "10", "of them behind the link"),
        ("link", "1mbit", "its rate, in the words of tc"),
        ("rate", "100", "messages a second"),
        ("bytes", "1000", "bytes of a payload"),
        ("phase_s", "20", "seconds of each phase, wide and thin"),
        ("rounds", "3", "how often they alternate"),
        ("most_p99_ratio", "1.2", "bound on the others' p99, thin by wide (median of pairs)"),
        ("server_args", "--lane-bytes 256KiB", "further arguments of the server"),
    ],
    common: super::SERVER,
    run,
};

fn run(bench: &Bench, outcome: &mut Outcome) -> Result<()> {
    let parameters = &bench.parameters;
    let n: usize = parameters.parse("n")?;
    let thin: usize = parameters.parse("thin")?;
    let rounds: usize = parameters.parse("rounds")?;
    let phase: f64 = parameters.parse("phase_s")?;
    let neighbour = Neighbour::join()?;
    let mut server = bench.serve_at(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0), n, &[])?;
    let at = |ip: Ipv4Addr| SocketAddrV4::new(ip, server.addr().port());
    let others = Crowd::start(&crowd_spec(at(Ipv4Addr::LOCALHOST), "json", "thin", n - thin))?;
    let behind = Crowd::start_within(
        &neighbour.words(),
        &Spec { first_member: n - thin, apart: thin, ..crowd_spec(at(HERE), "json", "thin", thin) },
    )?;
    others.ready()?;
    behind.ready()?;
    let mut crowds = [others, behind];
    let rate: f64 = parameters.parse("rate")?;
    let count = (rate * (phase * 2.0 * rounds as f64 + 1.0)) as u64;
    let here = at(Ipv4Addr::LOCALHOST);
    let publisher = Publisher::start(&PublisherSpec::new(here, "thin", rate, parameters.parse("bytes")?, count))?;
    std::thread::sleep(Duration::from_millis(500));
    let (mut wide_p99, mut thin_p99) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        report(&mut crowds[..1], true)?;
        std::thread::sleep(Duration::from_secs_f64(phase));
        wide_p99.push(report(&mut crowds[..1], true)?.latency.ms(0.99));
        neighbour.thin(Some(parameters.text("link")))?;
        std::thread::sleep(Duration::from_secs_f64(phase));
        thin_p99.push(report(&mut crowds[..1], true)?.latency.ms(0.99));
        neighbour.thin(None)?;
    }
    let published = publisher.finish()?;
    outcome.note_all(&published.errors);
    let end = await_all(&mut crowds, published.sent, Duration::from_secs(30))?;
    outcome.exactly("published", published.sent, count);
    outcome.ratio("others: p99, thin by wide", &thin_p99, &wide_p99, Some(parameters.parse("most_p99_ratio")?), None);
    outcome.exactly("others: connected", end.healthy.open, (n - thin) as u64);
    outcome.exactly("others: delivered, least", end.healthy.least, published.sent);
    outcome.exactly("others: announced gaps", end.healthy.announced, 0);
    outcome.exactly("thin: connected", end.apart.open, thin as u64);
    outcome.at_least("thin: announced as gaps", end.apart.announced as f64, 1.0, "");
    outcome.count("thin: delivered", end.apart.deliveries);
    outcome.exactly("thin: delivered + announced, least", end.apart.least, published.sent);
    outcome.exactly("thin: delivered + announced, most", end.apart.most, published.sent);
    for (prefix, group) in [("others: ", &end.healthy), ("thin: ", &end.apart)] {
        outcome.exactly(format!("{prefix}missing unannounced"), group.holes, 0);
        add_faults(outcome, prefix, group);
    }
    outcome.note_all(&end.trouble);
    end_without_warnings(&mut server, outcome)
}
