//! An hour (or less) of coming and going, in good order and in bad: what the server holds at the end is what it held at the beginning.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::{Bench, Scenario, add_faults, await_so, crowd_spec, end_without_warnings, report, settle};
use crate::crowd::{Crowd, Spec};
use crate::procfs::{self, Held};
use crate::progress;
use crate::publisher::{Publisher, PublisherSpec};
use crate::server::Server;
use crate::table::Outcome;

pub const SCENARIO: Scenario = Scenario {
    name: "churn",
    about: "clients of every form come, stop reading, leave, come back, are killed, break off in handshakes and frames, for an hour: \
            those that stay miss nothing, and memory, descriptors, threads and sockets end where they began",
    parameters: &[
        ("minutes", "60", "how long"),
        ("stay", "100", "clients that stay"),
        ("come", "150", "clients that come and go in each round, of each form"),
        ("forms", "json,msgpack,batch+lz4,json+deflate,raw", "what those speak, one form a round"),
        (
            "halves",
            "200",
            "connections of each round that break off before their request is whole, and as many in a frame",
        ),
        ("rate", "100", "messages a second for those that stay"),
        ("bytes", "400", "bytes of a payload"),
        ("warm", "150", "rounds (10 minutes) before what the server holds is looked at for the first time"),
        (
            "rounds",
            "25",
            "resident memory is the middle of so many rounds, those after the warm ones and the last ones: the allocator gives \
             memory back when it likes",
        ),
        ("most_growth", "1", "bound on the growth of resident memory since then, in percent …"),
        ("most_kib", "1024", "… and KiB"),
        (
            "server_args",
            // Pools that have all their memory after the first minutes: what grows then is a leak.
            "--lane-bytes 128KiB --ping-every 5s --handshake-timeout 2s --ring-bytes 1MiB --pool-bytes 24MiB --payload-bytes 4MiB \
             --max-message-bytes 256KiB",
            "further arguments of the server",
        ),
    ],
    common: super::SERVER,
    run,
};

const MIB: f64 = 1024.0 * 1024.0;

struct Scene<'a> {
    bench: &'a Bench,
    server: Server,
    staying: Vec<Crowd>,
    /// Messages for those that stay, and for those that come.
    published: u64,
    flooded: u64,
    came: u64,
}

fn run(bench: &Bench, outcome: &mut Outcome) -> Result<()> {
    let parameters = &bench.parameters;
    let stay: usize = parameters.parse("stay")?;
    let come: usize = parameters.parse("come")?;
    let halves: usize = parameters.parse("halves")?;
    let length = Duration::from_secs_f64(parameters.parse::<f64>("minutes")? * 60.0);
    let server = bench.serve(stay + 3 * come + 3 * halves + 48, &[])?;
    let staying = settle(&crowd_spec(server.addr(), "json", "stay", stay))?;
    let mut scene = Scene { bench, server, staying: vec![staying], published: 0, flooded: 0, came: 0 };
    let warm: u64 = parameters.parse("warm")?;
    let forms = parameters.list("forms");
    let began = Instant::now();
    let mut round = 0;
    let mut rss = Vec::new();
    let of: usize = parameters.parse("rounds")?;
    if of == 0 {
        bail!("rounds: at least one");
    }
    let mut first: Option<Held> = None;
    while began.elapsed() < length || round < warm + 2 * of as u64 {
        progress::show("seconds", began.elapsed().as_secs().min(length.as_secs()) as usize, length.as_secs() as usize);
        scene.round(&forms[round as usize % forms.len()], round)?;
        round += 1;
        let now = scene.quiet(stay)?;
        rss.push((began.elapsed().as_secs_f64(), now.1 as f64 / MIB));
        if round == warm {
            first = Some(now.0);
        }
    }
    let Some(held) = first else { bail!("no round was warm") };
    let (after, _) = scene.quiet(stay)?;
    let middle = |rounds: &[(f64, f64)]| {
        let mut mib: Vec<f64> = rounds.iter().map(|round| round.1).collect();
        mib.sort_by(f64::total_cmp);
        mib.get(mib.len() / 2).copied().unwrap_or_default()
    };
    let mib_first = middle(&rss[warm as usize..][..of]);
    let mib_after = middle(&rss[rss.len() - of..]);
    let end = report(&mut scene.staying, false)?;

    outcome.curve("resident memory", "after each round", ("s", "MiB"), rss.clone());
    outcome.count("rounds", round);
    outcome.figure("time", began.elapsed().as_secs_f64() / 60.0, "min");
    outcome.count("clients that came and went", scene.came);
    outcome.figure("resident memory, warm", mib_first, "MiB");
    outcome.figure("resident memory, most", rss.iter().fold(0.0, |most: f64, point| most.max(point.1)), "MiB");
    let growth: f64 = parameters.parse("most_growth")?;
    let kib: f64 = parameters.parse("most_kib")?;
    let bound = mib_first * (1.0 + growth / 100.0) + kib / 1024.0;
    outcome.at_most("resident memory, at the end", mib_after, bound, "MiB");
    outcome.exactly("descriptors", after.descriptors, held.descriptors);
    outcome.exactly("threads", after.threads, held.threads);
    outcome.exactly("those that stay: connected", end.healthy.open, stay as u64);
    outcome.exactly("those that stay: delivered, least", end.healthy.least, scene.published);
    outcome.exactly("those that stay: delivered, most", end.healthy.most, scene.published);
    outcome.exactly("those that stay: announced gaps", end.healthy.announced, 0);
    outcome.exactly("those that stay: missing", end.healthy.holes, 0);
    add_faults(outcome, "those that stay: ", &end.healthy);
    end_without_warnings(&mut scene.server, outcome)
}

impl Scene<'_> {
    fn publisher(&self, topic: &str, rate: f64, bytes: usize, count: u64, after_seq: u64) -> Result<Publisher> {
        let usual = PublisherSpec::new(self.server.addr(), topic, rate, bytes, count);
        Publisher::start(&PublisherSpec { after_seq, ..usual })
    }

    /// Everything once.
    fn round(&mut self, form: &str, round: u64) -> Result<()> {
        let parameters = &self.bench.parameters;
        let come: usize = parameters.parse("come")?;
        let halves: usize = parameters.parse("halves")?;
        let rate: f64 = parameters.parse("rate")?;
        let bytes: usize = parameters.parse("bytes")?;
        let is_raw = form.starts_with("raw");
        // As long as the rest of the round takes, more or less.
        let steady = self.publisher("stay", rate, bytes, (rate * 4.0) as u64, self.published)?;
        let topic = format!("come/{}", round % 7);
        let spec = Spec { apart: come / 5, ..crowd_spec(self.server.addr(), form, &topic, come) };
        let mut coming = Crowd::start(&spec)?;
        // One that is killed in the middle of whatever it does, at another place each time.
        let doomed = Crowd::start(&Spec { first_member: come, ..spec.clone() })?;
        let broken = break_off(self.server.addr(), halves)?;
        coming.ready()?;
        std::thread::sleep(Duration::from_millis(round * 13 % 100));
        drop(doomed);
        // Enough for those that do not read to lose some: 400 KiB against a budget of 128.
        coming.stall()?;
        let flood = self.publisher(&topic, 0.0, 1_000, 400, self.flooded)?.finish()?;
        if !flood.errors.is_empty() {
            bail!("a publisher was disturbed: {:?}", flood.errors);
        }
        self.flooded += flood.sent;
        coming.wake()?;
        drop(broken);
        let mut coming = vec![coming];
        let seen = await_so(&mut coming, Duration::from_secs(30), |sum| {
            sum.healthy.last_least >= self.flooded && sum.apart.last_least >= self.flooded
        })?;
        let groups = [&seen.healthy, &seen.apart];
        let is_right = |g: &crate::crowd::Group| {
            // Of a raw client's losses nobody tells.
            (g.misordered, g.corrupt) == (0, 0) && (is_raw || g.holes == 0) && g.last_least == self.flooded
        };
        if !groups.into_iter().all(is_right) {
            bail!("round {round}, {form}: {:?} {:?} {:?}", seen.healthy, seen.apart, seen.trouble);
        }
        if !is_raw {
            let coming = &mut coming[0];
            coming.leave()?;
            coming.resume(0)?;
            coming.caught_up()?;
        }
        if round.is_multiple_of(2) {
            coming[0].leave()?;
        }
        drop(coming);
        // A publisher that is killed in the middle of a message.
        let killed = self.publisher("come/killed", 0.0, 100_000, 1_000, 0)?;
        std::thread::sleep(Duration::from_millis(20 + round * 7 % 50));
        drop(killed);
        let done = steady.finish()?;
        if !done.errors.is_empty() {
            bail!("the steady publisher was disturbed: {:?}", done.errors);
        }
        self.published += done.sent;
        self.came += 2 * (come + halves) as u64;
        Ok(())
    }

    /// Waits until only those are there that stay, and have everything; then looks at what the server holds.
    fn quiet(&mut self, stay: usize) -> Result<(Held, u64)> {
        let deadline = Instant::now() + Duration::from_secs(60);
        let addr = self.server.addr();
        let alone = procfs::Sockets { established: stay as u64, from_peer: 0, ending: 0 };
        let nowhere = Ipv4Addr::UNSPECIFIED;
        while procfs::sockets(addr, nowhere)? != alone {
            if Instant::now() > deadline {
                bail!("sockets are left: {:?} of {stay}", procfs::sockets(addr, nowhere)?);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let published = self.published;
        let seen = await_so(&mut self.staying, Duration::from_secs(60), |sum| sum.healthy.least >= published)?;
        let group = &seen.healthy;
        if (group.open, group.least, group.most, group.holes) != (stay as u64, published, published, 0) {
            bail!("those that stay, after {published} messages: {group:?} {:?}", seen.trouble);
        }
        Ok((procfs::held(self.server.pid())?, self.server.memory()?.rss))
    }
}

/// Connections that break off in their request, and others that break off in a frame.
fn break_off(server: SocketAddrV4, each: usize) -> Result<Vec<TcpStream>> {
    let mut kept = Vec::new();
    for i in 0..2 * each {
        let mut stream = TcpStream::connect(server)?;
        let mut request = Vec::new();
        let asked = crate::upgrade::Asked { protocol: None, deflate: false };
        crate::upgrade::write_request(&mut request, &server.to_string(), "/t/come/broken", asked);
        if i < each {
            request.truncate(i % request.len());
        } else {
            // The head of a frame of 60,000 bytes, and a few of them.
            request.extend_from_slice(&[0x82, 0xfe, 0xea, 0x60, 1, 2, 3, 4]);
            request.resize(request.len() + i % 50, 7);
        }
        // The server may have refused it already.
        let _ = stream.write_all(&request);
        if i % 2 == 0 {
            kept.push(stream);
        }
    }
    Ok(kept)
}
