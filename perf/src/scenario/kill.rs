//! The server is killed in the middle of a broadcast, again and again; everybody comes back and has to be told the truth.
//!
//! A server keeps nothing over its death, so what it had not sent is lost with it, and its successor says so by numbering anew:
//! within a numbering nothing is missing from 1 on but what a gap notice names.

use std::time::Duration;

use anyhow::Result;

use super::{Bench, Scenario, add_faults, end_in_order, gather, in_shares, own_port, report};
use crate::crowd::{Crowd, Spec};
use crate::progress;
use crate::publisher::{Publisher, PublisherSpec};
use crate::table::Outcome;

pub const SCENARIO: Scenario = Scenario {
    name: "kill",
    about: "kill -9 in a broadcast, 20 times: the port is free at once, all come back with `since`, and of the new server's \
            messages each is delivered or announced",
    parameters: &[
        ("n", "200", "subscribers"),
        ("forms", "json,batch", "what they speak, in equal shares: a process for each form"),
        ("kills", "20", "how often it is killed"),
        ("rate", "1000", "messages a second at which it is killed"),
        ("bytes", "300", "bytes of a payload"),
        ("before", "20", "messages that each new server gets before the subscribers come back"),
        ("keep", "5", "of which every second server keeps so many; the others keep all"),
        ("connecting", "256", "connections that each process has under way at once"),
    ],
    common: super::SERVER,
    run,
};

fn run(bench: &Bench, outcome: &mut Outcome) -> Result<()> {
    let parameters = &bench.parameters;
    let n: usize = parameters.parse("n")?;
    let kills: u64 = parameters.parse("kills")?;
    let before: u64 = parameters.parse("before")?;
    let keep: u64 = parameters.parse("keep")?;
    let addr = own_port()?;
    let serve = |round: u64| {
        let topic = if round % 2 == 1 { format!("**=keep-messages={keep}") } else { String::new() };
        bench.serve_at(addr, n, &[("topic", topic)])
    };
    let load = |count: u64, rate: f64, after_seq: u64| -> Result<Publisher> {
        let usual = PublisherSpec::new(addr, "kill", rate, parameters.parse("bytes")?, count);
        Publisher::start(&PublisherSpec { after_seq, ..usual })
    };

    let mut server = serve(0)?;
    let forms = parameters.list("forms");
    let connecting_max = parameters.parse("connecting")?;
    let (mut crowds, _) = gather(in_shares(addr, &forms, "kill", n).map(|spec| Spec { connecting_max, ..spec }))?;
    // Who has nothing yet comes back as somebody new, to whom nothing is announced.
    let mut published = load(1, 0.0, 0)?.finish()?.sent;
    wait_for(&mut crowds, |sum| sum.healthy.last_least >= published)?;
    let (mut lost, mut announced) = (0, 0);
    let (mut numbered_right, mut complete) = (0, 0);
    let (mut slowest_start, mut slowest_return) = (Duration::ZERO, Duration::ZERO);
    for round in 1..=kills {
        progress::show("kills", round as usize, kills as usize);
        let publisher = load(100_000_000, parameters.parse("rate")?, published)?;
        // Not at the same place of the broadcast each time.
        std::thread::sleep(Duration::from_millis(150 + 41 * round % 300));
        server.kill()?;
        published += publisher.finish()?.sent;
        // The dead server's last bytes are read before anything else is said.
        let end = wait_for(&mut crowds, |sum| sum.healthy.open == 0)?;
        lost += published.saturating_sub(end.healthy.last_least);
        server = serve(round)?;
        slowest_start = slowest_start.max(server.started_in());

        let publisher = load(before, 0.0, published)?.finish()?;
        outcome.note_all(&publisher.errors);
        published += publisher.sent;
        for crowd in &mut crowds {
            crowd.resume(0)?;
        }
        for crowd in &crowds {
            slowest_return = slowest_return.max(crowd.caught_up()?);
        }
        let back = wait_for(&mut crowds, |sum| sum.healthy.numbered_least >= before)?;
        let all = |least: u64, most: u64, right: u64| u64::from(least == right && most == right);
        numbered_right += all(back.healthy.numbered_least, back.healthy.numbered_most, before);
        complete += all(back.healthy.last_least, back.healthy.last_most, published);
        announced += if round % 2 == 1 { n as u64 * before.saturating_sub(keep) } else { 0 };
    }
    let end = report(&mut crowds, false)?;
    outcome.exactly("restarts on the same port, at once", kills, kills);
    outcome.figure("slowest start to ready line", slowest_start.as_secs_f64() * 1e3, "ms");
    outcome.figure("slowest return of all subscribers", slowest_return.as_secs_f64() * 1e3, "ms");
    outcome.exactly("all back after the last kill", end.healthy.open, n as u64);
    outcome.exactly("kills after which all have each number of the new server", numbered_right, kills);
    outcome.exactly("kills after which all have the last message", complete, kills);
    outcome.exactly("announced as gone", end.healthy.announced, announced);
    outcome.exactly("missing unannounced", end.healthy.holes, 0);
    add_faults(outcome, "", &end.healthy);
    outcome.count("published", published);
    outcome.count("delivered", end.healthy.deliveries);
    outcome.count("lost with a server at most, all kills", lost);
    end_in_order(&mut server, outcome)
}

/// Asks until it is so, or nothing more will come.
fn wait_for(crowds: &mut [Crowd], so: impl Fn(&super::Sum) -> bool) -> Result<super::Sum> {
    super::await_so(crowds, Duration::from_secs(60), so)
}
