//! The scenarios, and what they share: waiting for deliveries, booking CPU time.

mod bystander;
mod certificate_swap;
mod churn;
mod connect;
mod fanout;
mod half_handshakes;
mod herd;
mod kill;
mod memory;
mod memory_cap;
mod opening;
mod partition;
mod peers;
mod px4;
mod restart;
mod resume;
mod scrape;
mod shards;
mod slow_crowd;
mod telemetry;
mod thin_link;
mod versus;

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::crowd::{Crowd, Group, Report};
use crate::latency::Latency;
use crate::parameters::Parameter;
use crate::procfs;
use crate::server::Server;
use crate::table::Outcome;

pub use opening::Bench;
use opening::{
    Capped, PINNED, SERVER, TLS, crowd_spec, end_in_order, end_with_refusals, end_without_warnings, gather, in_shares,
    own_port, settle,
};

/// One scenario.
pub struct Scenario {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What it shows.
    pub about: &'static str,
    /// Its own parameters.
    pub parameters: &'static [Parameter],
    /// Those that others have too; its own stand before them.
    pub common: &'static [Parameter],
    /// Runs it; figures and verdicts go to the outcome, what keeps it from running is an error.
    pub run: fn(&Bench, &mut Outcome) -> Result<()>,
}

impl Scenario {
    /// All that can be set.
    pub fn parameters(&self) -> Vec<Parameter> {
        let is_own = |name: &str| self.parameters.iter().any(|(own, _, _)| *own == name);
        let common = self.common.iter().filter(|(name, _, _)| !is_own(name));
        self.parameters.iter().chain(common).copied().collect()
    }
}

/// All scenarios.
pub const ALL: &[Scenario] = &[
    memory::SCENARIO,
    fanout::SCENARIO,
    connect::SCENARIO,
    px4::SCENARIO,
    slow_crowd::SCENARIO,
    restart::SCENARIO,
    telemetry::SCENARIO,
    resume::SCENARIO,
    versus::SCENARIO,
    shards::SCENARIO,
    kill::SCENARIO,
    half_handshakes::SCENARIO,
    certificate_swap::SCENARIO,
    herd::SCENARIO,
    memory_cap::SCENARIO,
    partition::SCENARIO,
    thin_link::SCENARIO,
    churn::SCENARIO,
    bystander::SCENARIO,
    scrape::SCENARIO,
];

/// The subprotocol that tells of gaps.
pub const JSON: &str = "fanwire.json.v1";

/// Several crowds seen as one.
#[derive(Default)]
pub struct Sum {
    /// Healthy members.
    pub healthy: Group,
    /// Members apart.
    pub apart: Group,
    /// Latencies of the window.
    pub latency: Latency,
    /// Latencies of each message's first delivery.
    pub first: Latency,
    /// Deliveries of the window.
    pub window_deliveries: u64,
    /// Bytes of the window.
    pub window_bytes: u64,
    /// Receive calls of the window.
    pub window_receives: u64,
    /// Times that somebody was refused and tried again.
    pub retries: u64,
    /// First troubles.
    pub trouble: Vec<String>,
}

impl Sum {
    fn add(&mut self, report: Report) {
        self.healthy.add(&report.healthy);
        self.apart.add(&report.apart);
        self.latency.add(&report.latency);
        self.first.add(&report.first);
        self.window_deliveries += report.window_deliveries;
        self.window_bytes += report.window_bytes;
        self.window_receives += report.window_receives;
        self.retries += report.retries;
        self.trouble.extend(report.trouble);
    }
}

/// Asks all crowds.
pub fn report(crowds: &mut [Crowd], new_window: bool) -> Result<Sum> {
    let mut sum = Sum::default();
    for crowd in crowds {
        sum.add(crowd.report(new_window)?);
    }
    Ok(sum)
}

/// Asks until every member, healthy and apart, accounts for `published` messages (delivered or announced), or `patience` is over
/// without any progress.
pub fn await_all(crowds: &mut [Crowd], published: u64, patience: Duration) -> Result<Sum> {
    let mut last = (0, Instant::now());
    loop {
        let sum = report(crowds, false)?;
        let complete = |group: &Group| group.members == 0 || group.least >= published;
        let seen = sum.healthy.deliveries + sum.apart.deliveries + sum.healthy.announced + sum.apart.announced;
        if seen != last.0 {
            last = (seen, Instant::now());
        }
        if (complete(&sum.healthy) && complete(&sum.apart)) || last.1.elapsed() > patience {
            return Ok(sum);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Asks until it is so, or `patience` is over.
pub fn await_so(crowds: &mut [Crowd], patience: Duration, so: impl Fn(&Sum) -> bool) -> Result<Sum> {
    let deadline = Instant::now() + patience;
    loop {
        let sum = report(crowds, false)?;
        if so(&sum) || Instant::now() > deadline {
            return Ok(sum);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Asks until so many messages have been delivered in all, or `patience` is over without any progress.
pub fn await_deliveries(crowds: &mut [Crowd], deliveries: u64, patience: Duration) -> Result<Sum> {
    let mut last = (0, Instant::now());
    loop {
        let sum = report(crowds, false)?;
        let seen = sum.healthy.deliveries + sum.apart.deliveries;
        if seen != last.0 {
            last = (seen, Instant::now());
        }
        if seen >= deliveries || last.1.elapsed() > patience {
            return Ok(sum);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// CPU time of the server over an interval, and of what else ran on the host.
pub struct CpuMeter<'a> {
    server: &'a Server,
    server_ns: u64,
    own_ns: u64,
    host_ns: u64,
    began: Instant,
}

/// Percent of one CPU, used by other programs, from which on latencies are theirs as much as the server's.
const DISTURBED_PERCENT: f64 = 10.0;

impl<'a> CpuMeter<'a> {
    /// Begins.
    pub fn start(server: &'a Server) -> Result<Self> {
        Ok(CpuMeter {
            server,
            server_ns: server.cpu_ns()?,
            own_ns: procfs::own_cpu_ns()?,
            host_ns: procfs::host_cpu_ns()?,
            began: Instant::now(),
        })
    }

    /// Ends, and adds the rows: share of one CPU, time per delivery, and how much others disturbed.
    pub fn finish(self, prefix: &str, deliveries: u64, outcome: &mut Outcome) -> Result<()> {
        let passed = self.began.elapsed().as_nanos() as f64;
        let server = (self.server.cpu_ns()? - self.server_ns) as f64;
        let own = procfs::own_cpu_ns()?.saturating_sub(self.own_ns) as f64;
        let host = procfs::host_cpu_ns()?.saturating_sub(self.host_ns) as f64;
        // The host's clock ticks in hundredths of a second, so a quiet host may come out below zero.
        let others = ((host - own) / passed * 100.0).max(0.0);
        outcome.figure(format!("{prefix}server CPU"), server / passed * 100.0, "% of one");
        outcome.figure(format!("{prefix}server CPU per delivery"), server / deliveries.max(1) as f64, "ns");
        outcome.figure(format!("{prefix}other programs' CPU"), others, "% of one");
        if others > DISTURBED_PERCENT {
            outcome.note("other programs were busy on this host: latencies, and ratios of them, are not to be trusted");
        }
        Ok(())
    }
}

/// Rows that every group of checked members gets: faults must be none.
pub fn add_faults(outcome: &mut Outcome, prefix: &str, group: &Group) {
    outcome.exactly(format!("{prefix}out of order or twice"), group.misordered, 0);
    outcome.exactly(format!("{prefix}corrupt"), group.corrupt, 0);
}

/// The rows of a latency.
pub fn add_latency(outcome: &mut Outcome, prefix: &str, latency: &Latency) {
    outcome.count(format!("{prefix}latencies recorded"), latency.count());
    for (name, share) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
        outcome.figure(format!("{prefix}latency {name}"), latency.ms(share), "ms");
    }
    outcome.figure(format!("{prefix}latency max"), latency.max_ms(), "ms");
}
