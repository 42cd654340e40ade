//! The server dies and comes again, hard and in order.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Bench, Scenario, add_faults, crowd_spec, gather, own_port, report};
use crate::publisher::{Publisher, PublisherSpec};
use crate::server::Server;
use crate::table::Outcome;

pub const SCENARIO: Scenario = Scenario {
    name: "restart",
    about: "kill -9 and restart: the port is free at once; SIGTERM under load: all that is queued arrives before close 1001",
    parameters: &[
        ("n", "500", "subscribers"),
        ("kills", "5", "how often it is killed"),
        ("rate", "2000", "messages a second under which it is ended"),
        ("bytes", "1024", "bytes of a payload"),
    ],
    common: super::SERVER,
    run,
};

fn run(bench: &Bench, outcome: &mut Outcome) -> Result<()> {
    let n: usize = bench.parameters.parse("n")?;
    let addr = own_port()?;

    let mut server = bench.serve_at(addr, n, &[])?;
    let kills: u32 = bench.parameters.parse("kills")?;
    let (mut slowest_start, mut slowest_crowd) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..kills {
        let (crowds, took) = gather([crowd_spec(server.addr(), "json", "restart", n)])?;
        slowest_crowd = slowest_crowd.max(took);
        let load = Publisher::start(&load(bench, &server, 100_000)?)?;
        std::thread::sleep(Duration::from_millis(300));
        server.kill()?;
        // The connections of the dead one are still there: that must not keep the port.
        server = bench.serve_at(addr, n, &[])?;
        slowest_start = slowest_start.max(server.started_in());
        drop((crowds, load));
    }
    outcome.exactly("kill -9: restarts on the same port, at once", kills as u64, kills as u64);
    outcome.figure("kill -9: slowest start to ready line", slowest_start.as_secs_f64() * 1e3, "ms");
    outcome.figure("kill -9: slowest return of all subscribers", slowest_crowd.as_secs_f64() * 1e3, "ms");

    let (mut crowds, _) = gather([crowd_spec(server.addr(), "json", "restart", n)])?;
    let publisher = Publisher::start(&load(bench, &server, 1_000_000)?)?;
    std::thread::sleep(Duration::from_secs(2));
    let began = Instant::now();
    server.terminate()?;
    let status = server.wait(Duration::from_secs(15))?;
    let took = began.elapsed();
    drop(publisher);
    // The last bytes may still be on their way through the crowd.
    let mut end = report(&mut crowds, false)?;
    let deadline = Instant::now() + Duration::from_secs(5);
    while end.healthy.open > 0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
        end = report(&mut crowds, false)?;
    }
    outcome.must("SIGTERM: exit status", status.code() == Some(0), format!("{status}"));
    outcome.figure("SIGTERM: to the end of the process", took.as_secs_f64() * 1e3, "ms");
    outcome.exactly("SIGTERM: closed with 1001", end.healthy.closes.get(&1001).copied().unwrap_or(0), n as u64);
    outcome.must("SIGTERM: messages had arrived", end.healthy.least > 0, end.healthy.deliveries.to_string());
    // Whatever the server had taken before it stopped went to everybody: all have the same last message and nothing less.
    outcome.exactly("SIGTERM: last message, lowest of all", end.healthy.last_least, end.healthy.last_most);
    outcome.exactly("SIGTERM: messages, lowest of all", end.healthy.least, end.healthy.last_most);
    outcome.exactly("SIGTERM: announced gaps", end.healthy.announced, 0);
    outcome.exactly("SIGTERM: missing", end.healthy.holes, 0);
    add_faults(outcome, "SIGTERM: ", &end.healthy);
    end.trouble.iter().for_each(|words| outcome.note(words));
    Ok(())
}

fn load(bench: &Bench, server: &Server, count: u64) -> Result<PublisherSpec> {
    let (rate, bytes) = (bench.parameters.parse("rate")?, bench.parameters.parse("bytes")?);
    Ok(PublisherSpec::new(server.addr(), "restart", rate, bytes, count))
}
