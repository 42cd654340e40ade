//! Somebody scrapes the admin port far more often than anybody should: what that costs the shards, for each delivery.

use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{Bench, Scenario, add_faults, await_deliveries, crowd_spec, gather, report};
use crate::crowd::{Crowd, Spec};
use crate::procfs;
use crate::publisher::{Publisher, PublisherSpec};
use crate::scraper::Scraper;
use crate::server::Server;
use crate::table::Outcome;

pub const SCENARIO: Scenario = Scenario {
    name: "scrape",
    about: "a scraper that wants 1,000 scrapes of /metrics a second beside 200 Hz to 1,000 subscribers: the shards' CPU per delivery, with by without",
    parameters: &[
        ("n", "1000", "subscribers"),
        ("rate", "200", "messages a second"),
        ("bytes", "512", "bytes of a payload"),
        ("scrapes", "1000", "scrapes a second"),
        ("seconds", "3", "how long each phase lasts"),
        ("rounds", "9", "rounds, each with and without: 6 and more give 95 % bounds"),
        ("crowd_cpu", "", "CPU to pin crowd and publisher to"),
        ("most_ratio", "1.02", "bound on the shards' CPU per delivery, with by without"),
    ],
    common: super::PINNED,
    run,
};

/// How a shard's thread is called.
const SHARD: &str = "fw-shard-";
/// New texts a second, at most.
const TEXTS: f64 = 10.0;

fn run(bench: &Bench, outcome: &mut Outcome) -> Result<()> {
    let parameters = &bench.parameters;
    let n: usize = parameters.parse("n")?;
    let mut server = bench.serve(n, &[("admin-listen", "127.0.0.1:0".into())])?;
    let admin = admin_of(&server)?;
    let cpu = parameters.optional("crowd_cpu")?;
    let (mut crowds, _) = gather([Spec { cpu, ..crowd_spec(server.addr(), "json", "scraped", n) }])?;
    let (mut without, mut with) = (Vec::new(), Vec::new());
    let mut phases = Phases { bench, server: &server, crowds: &mut crowds, deliveries: 0 };
    phases.run()?;
    let (mut scrapes, mut texts, mut scraped_s) = (0, 0, 0.0);
    for round in 0..parameters.parse::<usize>("rounds")? {
        for is_scraped in [round % 2 == 0, round % 2 == 1] {
            if !is_scraped {
                without.push(phases.run()?);
                continue;
            }
            let began = Instant::now();
            let scraper = Scraper::start(admin, parameters.parse("scrapes")?);
            with.push(phases.run()?);
            let scraped = scraper.finish()?;
            scraped_s += began.elapsed().as_secs_f64();
            scrapes += scraped.scrapes;
            texts += scraped.texts.len();
        }
    }
    let deliveries = phases.deliveries;
    outcome.repeated("shards' CPU per delivery, without", &without, "ns", true);
    outcome.repeated("shards' CPU per delivery, with", &with, "ns", true);
    outcome.ratio(
        "shards' CPU per delivery, with by without",
        &with,
        &without,
        parameters.optional("most_ratio")?,
        None,
    );
    outcome.figure("scrapes", scrapes as f64 / scraped_s, "1/s");
    // One more at each beginning.
    let most = TEXTS + with.len() as f64 / scraped_s;
    outcome.at_most("texts", texts as f64 / scraped_s, most, "1/s");
    let all = report(&mut crowds, false)?;
    outcome.exactly("connected", all.healthy.open, n as u64);
    outcome.exactly("delivered", all.healthy.deliveries, deliveries);
    add_faults(outcome, "", &all.healthy);
    super::end_without_warnings(&mut server, outcome)
}

/// Where the admin port is, as the server's log says.
fn admin_of(server: &Server) -> Result<SocketAddrV4> {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let log = server.log();
        let said = log.lines().find_map(|line| line.split_once("admin: http://")?.1.split_whitespace().next());
        if let Some(text) = said {
            return text.parse().context("where the admin port is");
        }
        anyhow::ensure!(Instant::now() < until, "the server does not say where its admin port is:\n{log}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

struct Phases<'a> {
    bench: &'a Bench,
    server: &'a Server,
    crowds: &'a mut Vec<Crowd>,
    deliveries: u64,
}

impl Phases<'_> {
    /// Publishes for a while: nanoseconds of the shards for each delivery.
    fn run(&mut self) -> Result<f64> {
        let parameters = &self.bench.parameters;
        let (n, rate): (u64, f64) = (parameters.parse("n")?, parameters.parse("rate")?);
        let count = (rate * parameters.parse::<f64>("seconds")?) as u64;
        let cpu_ns = procfs::named_cpu_ns(self.server.pid(), SHARD)?;
        let load = PublisherSpec::new(self.server.addr(), "scraped", rate, parameters.parse("bytes")?, count);
        let load = PublisherSpec { cpu: parameters.optional("crowd_cpu")?, ..load };
        let sent = Publisher::start(&load)?.finish()?.sent;
        self.deliveries += sent * n;
        await_deliveries(self.crowds, self.deliveries, Duration::from_secs(10))?;
        let used = procfs::named_cpu_ns(self.server.pid(), SHARD)? - cpu_ns;
        Ok(used as f64 / (sent * n).max(1) as f64)
    }
}
