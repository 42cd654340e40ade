//! Thousands of connections that never finish their upgrade request, or their TLS handshake, while others want to come in.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::net::{AddressFamily, SocketType};

use super::{Bench, Scenario, add_faults, await_all, await_so, crowd_spec, end_with_refusals, settle};
use crate::crowd::{Crowd, Spec, client_hello};
use crate::procfs::{self, Held, Memory};
use crate::publisher::{Publisher, PublisherSpec};
use crate::server::Server;
use crate::table::Outcome;

pub const SCENARIO: Scenario = Scenario {
    name: "half-handshakes",
    about: "5,000 connections say nothing, half a request, or a byte of one now and then, while others connect: those are served, and \
            the halves are gone soon after the time that a handshake has. With tls=1: nothing, a ClientHello byte by byte, or one \
            and then nothing",
    parameters: &[
        ("halves", "5000", "connections that never finish"),
        ("n", "500", "clients that connect meanwhile"),
        ("form", "json", "what they speak"),
        ("timeout_s", "5", "seconds that the server gives a handshake"),
        ("late_s", "2", "seconds after which, beyond that, all halves must be gone"),
        ("count", "200", "messages published meanwhile"),
        ("most_growth_mib", "64", "bound on the memory that the server has more of afterwards"),
        super::TLS,
    ],
    common: super::SERVER,
    run,
};

const MIB: f64 = (1 << 20) as f64;

fn run(bench: &Bench, outcome: &mut Outcome) -> Result<()> {
    let parameters = &bench.parameters;
    let count: usize = parameters.parse("halves")?;
    let n: usize = parameters.parse("n")?;
    let timeout: f64 = parameters.parse("timeout_s")?;
    let mut server = bench.serve(count + n, &[("handshake-timeout", format!("{}ms", (timeout * 1e3) as u64))])?;
    let spec = |n| server.door(crowd_spec(server.addr(), parameters.text("form"), "halves", n));
    let first = settle(&spec(1))?;
    let before = Before { held: procfs::held(server.pid())?, memory: server.memory()? };

    let mut halves = Halves::open(server.door_addr(), count, Greeting::new(!server.tls_addrs().is_empty())?)?;
    // In the midst of them, while the first ones are given up and their places are free again.
    let crowd = Crowd::start(&Spec { first_member: 1, ..spec(n) })?;
    let publisher = Publisher::start(&load(bench, &server)?)?;
    let bound = Duration::from_secs_f64(timeout + parameters.parse::<f64>("late_s")?);
    let gone_after = halves.see_out(bound + Duration::from_secs(30));
    outcome.exactly("halves still open", halves.open_count(), 0);
    drop(halves);
    outcome.at_most("halves: the last one gone, after it came", gone_after.as_secs_f64(), bound.as_secs_f64(), "s");
    outcome.figure("all others connected within", crowd.ready()?.as_secs_f64() * 1e3, "ms");
    let published = publisher.finish()?;
    outcome.note_all(&published.errors);
    outcome.exactly("published", published.sent, parameters.parse("count")?);

    let mut crowds = vec![first, crowd];
    let witness = await_all(&mut crowds[..1], published.sent, Duration::from_secs(10))?;
    let end = await_so(&mut crowds, Duration::from_secs(10), |sum| sum.healthy.last_least >= published.sent)?;
    outcome.exactly("others connected", end.healthy.open, n as u64 + 1);
    outcome.exactly("one that was there before: delivered", witness.healthy.least, published.sent);
    outcome.exactly("others: last message, lowest of all", end.healthy.last_least, published.sent);
    outcome.exactly("announced gaps", end.healthy.announced, 0);
    outcome.exactly("missing", end.healthy.holes, 0);
    add_faults(outcome, "", &end.healthy);
    let most_growth = parameters.parse("most_growth_mib")?;
    nothing_is_left(&server, &before, n as u64, most_growth, outcome)?;
    let has_tls = !server.tls_addrs().is_empty();
    end_with_refusals(&mut server, outcome)?;
    if has_tls {
        add_handshakes(&mut server, n as u64 + 1, outcome)?;
    }
    Ok(())
}

/// What the server held before the halves came.
struct Before {
    held: Held,
    memory: Memory,
}

/// Sockets, descriptors, threads and memory are as before, but for the `n` clients that have come in.
fn nothing_is_left(server: &Server, before: &Before, n: u64, most_growth: f64, outcome: &mut Outcome) -> Result<()> {
    // The publisher's own is on its way out.
    let sockets = until(
        || Ok(procfs::sockets(server.door_addr(), Ipv4Addr::LOCALHOST)?.established),
        |established| *established == n + 1,
    )?;
    outcome.exactly("sockets of the server afterwards", sockets, n + 1);
    // Descriptors of connections that stay are the process's own only without io_uring.
    let right = [before.held.descriptors, before.held.descriptors + n];
    let after = until(|| procfs::held(server.pid()), |held| right.contains(&held.descriptors))?;
    outcome.exactly("threads", after.threads, before.held.threads);
    outcome.must(
        "descriptors",
        right.contains(&after.descriptors),
        format!("{} before, {} after", before.held.descriptors, after.descriptors),
    );
    let growth = server.memory()?.rss as f64 - before.memory.rss as f64;
    outcome.at_most("resident memory, more than before", growth / MIB, most_growth, "MiB");
    Ok(())
}

/// Asks until it is right, 30 s at most; the last answer.
fn until<T>(ask: impl Fn() -> Result<T>, is_right: impl Fn(&T) -> bool) -> Result<T> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = ask()?;
        if is_right(&answer) || Instant::now() > deadline {
            return Ok(answer);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What the server has counted of TLS, once it has ended.
fn add_handshakes(server: &mut Server, right: u64, outcome: &mut Outcome) -> Result<()> {
    let counters = server.counters(Duration::from_secs(30))?;
    let each = |name: &str| counters.iter().map(|shard| shard.get(name).copied().unwrap_or(0)).collect::<Vec<_>>();
    outcome.exactly("TLS handshakes completed", each("tls_handshakes").iter().sum(), right);
    outcome.exactly("memory that TLS holds at the end", each("tls_bytes").iter().sum(), 0);
    let most = each("tls_bytes_max").iter().sum::<u64>() as f64;
    outcome.at_most("… and at most, of 32 MiB", most / MIB, 32.0, "MiB");
    Ok(())
}

/// What halves say.
struct Greeting {
    text: Vec<u8>,
    is_tls: bool,
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nX-Slow: ";

impl Greeting {
    fn new(is_tls: bool) -> Result<Self> {
        let text = if is_tls { client_hello()? } else { REQUEST.to_vec() };
        Ok(Greeting { text, is_tls })
    }

    /// How much of it half `i` says at once: a third says nothing at all.
    fn at_once(&self, i: usize) -> usize {
        match (i % 3, self.is_tls) {
            (0, _) | (1, true) => 0,
            (_, true) => self.text.len(),
            (_, false) => 20 + i % (self.text.len() - 20),
        }
    }

    /// What half `i` goes on with after so much: a third of them does, a byte at a time.
    fn next(&self, i: usize, said: usize) -> Option<u8> {
        match (i % 3, self.is_tls) {
            (1, true) => self.text.get(said).copied(),
            (1, false) => Some(b'x'),
            _ => None,
        }
    }
}

/// A connection that never finishes, and whether it is still there.
struct Half {
    stream: TcpStream,
    said: usize,
    is_gone: bool,
}

struct Halves {
    all: Vec<Half>,
    greeting: Greeting,
    last_began: Instant,
}

/// Between two bytes of those that go on.
const DRIP: Duration = Duration::from_millis(500);

impl Halves {
    fn open(server: SocketAddrV4, count: usize, greeting: Greeting) -> Result<Self> {
        let mut all = Vec::with_capacity(count);
        for i in 0..count {
            let stream = connect(server, i).with_context(|| format!("half {i} (is `ulimit -n` too low?)"))?;
            stream.set_nonblocking(true)?;
            let mut half = Half { stream, said: greeting.at_once(i), is_gone: false };
            let _ = half.stream.write(&greeting.text[..half.said]);
            all.push(half);
        }
        Ok(Halves { all, greeting, last_began: Instant::now() })
    }

    fn open_count(&self) -> u64 {
        self.all.iter().filter(|half| !half.is_gone).count() as u64
    }

    /// Until all are gone, or the time is over: how long after the last one came.
    fn see_out(&mut self, patience: Duration) -> Duration {
        let mut dripped = Instant::now();
        while self.open_count() > 0 && self.last_began.elapsed() < patience {
            let drips = dripped.elapsed() > DRIP;
            if drips {
                dripped = Instant::now();
            }
            for (i, half) in self.all.iter_mut().enumerate().filter(|(_, half)| !half.is_gone) {
                if drips && let Some(byte) = self.greeting.next(i, half.said) {
                    half.said += half.stream.write(&[byte]).unwrap_or(0);
                }
                half.is_gone = has_ended(&mut half.stream);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.last_began.elapsed()
    }
}

/// From addresses of the halves' own, so that no ports are short.
fn connect(server: SocketAddrV4, i: usize) -> Result<TcpStream> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::new(127, 251, (i / 4_000) as u8, 1), 0))?;
    rustix::net::connect(&socket, &server)?;
    Ok(TcpStream::from(socket))
}

/// Whether the server has closed it; what it says before that is read.
fn has_ended(stream: &mut TcpStream) -> bool {
    let mut chunk = [0; 1024];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(_) => return true,
        }
    }
}

fn load(bench: &Bench, server: &Server) -> Result<PublisherSpec> {
    let count: u64 = bench.parameters.parse("count")?;
    let seconds: f64 = bench.parameters.parse("timeout_s")?;
    Ok(PublisherSpec::new(server.addr(), "halves", count as f64 / seconds, 200, count))
}
