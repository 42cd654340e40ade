//! Memory of an idle subscribed connection, so that no slab hides: the server sized for N and holding N, less the server sized
//! for 16 and holding none, by N. Or what some more cost, where the smaller one holds connections, too: then what is paid once
//! (TLS: its code, memory to seal in, what handshakes at one time have used) is in both.

use std::time::Duration;

use anyhow::Result;

use super::{Bench, Scenario, crowd_spec, settle};
use crate::crowd::Spec;
use crate::procfs::Memory;
use crate::publisher::{Publisher, PublisherSpec};
use crate::server::Server;
use crate::table::Outcome;

pub const SCENARIO: Scenario = Scenario {
    name: "memory",
    about: "user-space memory per idle subscribed connection: (PSS sized for and holding N - PSS sized for 16) / N",
    parameters: &[
        ("n", "10000", "connections"),
        (
            "from",
            "0",
            "connections of the smaller server, which holds all of them; 0: it is sized for 16 and holds none",
        ),
        ("protocols", "raw,json", "how they subscribe"),
        ("connecting", "256", "upgrades under way at once while connecting"),
        ("settle_s", "3", "seconds of idleness before a measurement"),
        ("most_bytes", "1024", "bound on bytes per connection"),
        super::TLS,
    ],
    common: super::SERVER,
    run,
};

fn run(bench: &Bench, outcome: &mut Outcome) -> Result<()> {
    let n: usize = bench.parameters.parse("n")?;
    let from: usize = bench.parameters.parse("from")?;
    let most: f64 = bench.parameters.parse("most_bytes")?;
    let (small, few) = if from == 0 { (16, 0) } else { (from, from) };
    for protocol in bench.parameters.list("protocols") {
        let (empty, _) = measure(bench, &protocol, small, few)?;
        let (full, held) = measure(bench, &protocol, n, n)?;
        let each = |full: u64, empty: u64| (full as f64 - empty as f64) / (n - few) as f64;
        outcome.exactly(format!("{protocol}: connections held"), held, n as u64);
        outcome.figure(format!("{protocol}: PSS sized for {small}, idle"), empty.pss as f64 / 1024.0, "KiB");
        outcome.figure(format!("{protocol}: PSS sized for and holding n, idle"), full.pss as f64 / 1024.0, "KiB");
        outcome.figure(
            format!("{protocol}: anonymous part per connection"),
            each(full.pss_anon, empty.pss_anon),
            "bytes",
        );
        outcome.at_most(format!("{protocol}: memory per connection"), each(full.pss, empty.pss), most, "bytes");
    }
    Ok(())
}

/// Memory of a server sized for `size` connections and holding `holding` of them, after one message went to all; and how many
/// of them got it.
fn measure(bench: &Bench, protocol: &str, size: usize, holding: usize) -> Result<(Memory, u64)> {
    // The publisher needs a place too.
    let server = bench.serve(size, &[("max-connections", (size + 1).to_string())])?;
    let spec = Spec {
        connecting_max: bench.parameters.parse("connecting")?,
        ..crowd_spec(server.addr(), protocol, "idle", holding)
    };
    let mut crowd = settle(&server.door(spec))?;
    // A lane comes to be with its first message, and cursors with the lane: an idle connection has had one.
    publish_one(&server)?;
    std::thread::sleep(Duration::from_secs_f64(bench.parameters.parse("settle_s")?));
    let memory = server.memory()?;
    let report = crowd.report(false)?;
    Ok((memory, if report.healthy.least >= 1 { report.healthy.open } else { 0 }))
}

fn publish_one(server: &Server) -> Result<()> {
    let published = Publisher::start(&PublisherSpec::new(server.addr(), "idle", 0.0, 128, 1))?.finish()?;
    anyhow::ensure!(published.errors.is_empty(), "the publisher: {:?}", published.errors);
    Ok(())
}
