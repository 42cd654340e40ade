//! A part of the clients is on a host that is cut off: in every way, again and again.
//!
//! `unshare --net fanwire-perf run partition`, as root.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::{Bench, Scenario, add_faults, await_so, crowd_spec, end_without_warnings, settle};
use crate::crowd::{Crowd, Spec};
use crate::netns::{Cut, HERE, Neighbour, THERE};
use crate::procfs;
use crate::progress;
use crate::publisher::{Publisher, PublisherSpec};
use crate::server::Server;
use crate::table::Outcome;

pub const SCENARIO: Scenario = Scenario {
    name: "partition",
    about: "clients on another host are cut off: both ways, one way, link down, power off. The server notices within twice its ping \
            interval (with data that wait to be sent: within its limit of 120 s for unacknowledged data), keeps nothing of them, \
            the other clients miss nothing, and those who come back are told exactly what they missed (own network namespace)",
    parameters: &[
        ("n", "20", "clients on the other host"),
        ("others", "20", "clients on this one"),
        ("cycles", "100", "cuts that last until the server has noticed"),
        ("warm", "5", "of them before memory is looked at for the first time"),
        ("longs", "10,30,60", "seconds of further cuts, both ways"),
        ("busy", "1", "cuts under so much load that data wait to be sent: 2 minutes each"),
        ("ping_s", "1", "seconds of the server's ping interval"),
        ("rate", "20", "messages a second"),
        ("bytes", "200", "bytes of a payload"),
        ("late_s", "3", "how much later than that a cut may be noticed: seconds"),
        ("most_mib", "2", "bound on the growth of the server's memory over all cycles, in MiB"),
        (
            "server_args",
            // Pools that have all their memory after the first cuts: what grows then is a leak.
            "--lane-bytes 256KiB --ring-bytes 256KiB --max-message-bytes 64KiB --pool-bytes 8MiB --payload-bytes 8MiB",
            "further arguments of the server",
        ),
    ],
    common: super::SERVER,
    run,
};

/// What the kernel is given for data that nobody acknowledges.
const USER_TIMEOUT: Duration = Duration::from_secs(120);

struct Scene {
    server: Server,
    port: u16,
    n: usize,
    neighbour: Option<Neighbour>,
    /// Those on this host, then those on the other.
    crowds: Vec<Crowd>,
    published: u64,
    slowest: Duration,
}

fn run(bench: &Bench, outcome: &mut Outcome) -> Result<()> {
    let parameters = &bench.parameters;
    let n: usize = parameters.parse("n")?;
    let others: usize = parameters.parse("others")?;
    let cycles: u64 = parameters.parse("cycles")?;
    let warm: u64 = parameters.parse("warm")?;
    let ping: f64 = parameters.parse("ping_s")?;
    let late: f64 = parameters.parse("late_s")?;
    let noticed_within = Duration::from_secs_f64(2.0 * ping + late);
    let neighbour = Neighbour::join()?;
    let server = bench.serve_at(
        SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0),
        4 * n + others,
        &[("ping-every", format!("{}ms", (ping * 1e3) as u64))],
    )?;
    let port = server.addr().port();
    let here = settle(&crowd_spec(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port), "json", "cut", others))?;
    let mut scene = Scene {
        server,
        port,
        n,
        neighbour: Some(neighbour),
        crowds: vec![here],
        published: 0,
        slowest: Duration::ZERO,
    };
    scene.settle_there()?;

    let mut before = None;
    let rate: f64 = parameters.parse("rate")?;
    for cycle in 0..cycles {
        progress::show("cuts", cycle as usize + 1, cycles as usize);
        let how = Cut::ALL[cycle as usize % Cut::ALL.len()];
        scene.cycle(how, rate, parameters.parse("bytes")?, noticed_within, None)?;
        if cycle + 1 == warm.min(cycles) {
            before = Some(scene.held()?);
        }
    }
    outcome.figure("cuts: slowest to be noticed", scene.slowest.as_secs_f64(), "s");
    outcome.exactly("cuts noticed within the bound", cycles, cycles);
    for seconds in parameters.list("longs") {
        let seconds: f64 = seconds.parse()?;
        let cut = Some(Duration::from_secs_f64(seconds));
        scene.cycle(Cut::Both, rate, parameters.parse("bytes")?, noticed_within, cut)?;
    }
    outcome.count("long cuts noticed within the bound", parameters.list("longs").len() as u64);
    let busy: u64 = parameters.parse("busy")?;
    scene.slowest = Duration::ZERO;
    for _ in 0..busy {
        scene.cycle(Cut::Both, 500.0, 2_000, USER_TIMEOUT + Duration::from_secs_f64(late + 10.0), None)?;
    }
    if busy > 0 {
        outcome.figure("cuts with data waiting: slowest to be noticed", scene.slowest.as_secs_f64(), "s");
    }

    // Orphans of the last cuts are tried for a while by the kernel.
    let deadline = Instant::now() + Duration::from_secs(180);
    let sockets = loop {
        let sockets = procfs::sockets(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port), THERE)?;
        if sockets.ending == 0 || Instant::now() > deadline {
            break sockets;
        }
        std::thread::sleep(Duration::from_millis(200));
    };
    outcome.exactly("sockets of the server at the end", sockets.established, (n + others) as u64);
    outcome.exactly("sockets on their way out at the end", sockets.ending, 0);
    let after = scene.held()?;
    if let Some((held, rss)) = before {
        outcome.exactly("descriptors", after.0.descriptors, held.descriptors);
        outcome.exactly("threads", after.0.threads, held.threads);
        let growth = (after.1 as f64 - rss as f64) / f64::from(1 << 20);
        outcome.at_most("resident memory, growth", growth, parameters.parse("most_mib")?, "MiB");
    }
    let end = super::report(&mut scene.crowds, false)?;
    outcome.exactly("published", end.healthy.last_most, scene.published);
    outcome.exactly("all connected at the end", end.healthy.open, (n + others) as u64);
    outcome.exactly("missing unannounced", end.healthy.holes, 0);
    add_faults(outcome, "", &end.healthy);
    end_without_warnings(&mut scene.server, outcome)
}

impl Scene {
    /// Clients settle on the other host: they begin with what is published from now on.
    fn settle_there(&mut self) -> Result<()> {
        let Some(neighbour) = &self.neighbour else { bail!("nobody is there") };
        let spec = Spec { ..crowd_spec(SocketAddrV4::new(HERE, self.port), "json", "cut", self.n) };
        let there = Crowd::start_within(&neighbour.words(), &spec)?;
        there.ready()?;
        self.crowds.push(there);
        Ok(())
    }

    /// One cut, from a quiet moment to a quiet moment.
    fn cycle(&mut self, how: Cut, rate: f64, bytes: usize, within: Duration, at_least: Option<Duration>) -> Result<()> {
        // The publisher goes on over the cut.
        let cut_s = at_least.unwrap_or(within.min(Duration::from_secs(4))).as_secs_f64();
        let (server, count) = (SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.port), ((cut_s + 0.5) * rate) as u64);
        let usual = PublisherSpec::new(server, "cut", rate, bytes, count);
        let publisher = Publisher::start(&PublisherSpec { after_seq: self.published, ..usual })?;
        std::thread::sleep(Duration::from_millis(300));
        let Some(mut neighbour) = self.neighbour.take() else { bail!("nobody is there") };
        neighbour.cut(how)?;
        let began = Instant::now();
        if how == Cut::Gone {
            // Killed behind the cut: no word of it gets out.
            drop(self.crowds.pop());
            neighbour.leave()?;
        } else {
            self.neighbour = Some(neighbour);
        }
        while procfs::sockets(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, self.port), THERE)?.from_peer > 0 {
            if began.elapsed() > within {
                bail!("{how:?}: {within:?} later the server still has connections that nobody answers");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.slowest = self.slowest.max(began.elapsed());
        std::thread::sleep(at_least.unwrap_or_default().saturating_sub(began.elapsed()));
        let done = publisher.finish()?;
        if !done.errors.is_empty() {
            bail!("{how:?}: the publisher was disturbed: {:?}", done.errors);
        }
        self.published += done.sent;
        if how == Cut::Gone {
            self.neighbour = Some(Neighbour::join()?);
            self.settle_there()?;
        } else {
            if let Some(neighbour) = &self.neighbour {
                neighbour.heal()?;
            }
            let there = &mut self.crowds[1];
            there.resume(0)?;
            there.caught_up()?;
        }
        self.all_have_it(how)
    }

    /// Both crowds have everything up to the last message: those here without a gap, those there with exact ones.
    fn all_have_it(&mut self, how: Cut) -> Result<()> {
        let (published, others) = (self.published, self.crowds.len() - 1);
        for (i, size) in [(0, None), (others, Some(self.n))] {
            let crowd = std::slice::from_mut(&mut self.crowds[i]);
            let seen = await_so(crowd, Duration::from_secs(60), |sum| sum.healthy.numbered_least >= published)?;
            let group = &seen.healthy;
            let is_right = (group.numbered_least, group.numbered_most) == (published, published)
                && group.last_least == published
                && (group.holes, group.misordered, group.corrupt) == (0, 0, 0)
                && group.open == group.members
                && (size.is_some() || (group.announced == 0 && group.least == published));
            if !is_right {
                let who = if size.is_some() { "there" } else { "here" };
                bail!("{how:?}: after {published} messages those {who} say {group:?}, {:?}", seen.trouble);
            }
        }
        Ok(())
    }

    fn held(&self) -> Result<(procfs::Held, u64)> {
        // Who was given up is waited for until the close time-out (5 s), with a descriptor where the driver has any.
        let began = Instant::now();
        let (mut held, mut since) = (procfs::held(self.server.pid())?, Instant::now());
        while since.elapsed() < Duration::from_secs(7) && began.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(200));
            let now = procfs::held(self.server.pid())?;
            if now != held {
                (held, since) = (now, Instant::now());
            }
        }
        Ok((held, self.server.memory()?.rss))
    }
}
