//! Thousands of connections that never finish their upgrade request, while others want to come in.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::net::{AddressFamily, SocketType};

use super::{Bench, Scenario, add_faults, await_all, await_so, crowd_spec, end_with_refusals, settle};
use crate::crowd::{Crowd, Spec};
use crate::procfs;
use crate::publisher::{Publisher, PublisherSpec};
use crate::server::Server;
use crate::table::Outcome;

pub const SCENARIO: Scenario = Scenario {
    name: "half-handshakes",
    about: "5,000 connections say nothing, half a request, or a byte of one now and then, while others connect: those are served, and \
            the halves are gone soon after the time that a handshake has",
    parameters: &[
        ("halves", "5000", "connections that never finish"),
        ("n", "500", "clients that connect meanwhile"),
        ("form", "json", "what they speak"),
        ("timeout_s", "5", "seconds that the server gives a handshake"),
        ("late_s", "2", "seconds after which, beyond that, all halves must be gone"),
        ("count", "200", "messages published meanwhile"),
    ],
    common: super::SERVER,
    run,
};

/// A connection that never finishes, and whether it is still there.
struct Half {
    stream: TcpStream,
    is_gone: bool,
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nX-Slow: ";

fn run(bench: &Bench, outcome: &mut Outcome) -> Result<()> {
    let parameters = &bench.parameters;
    let count: usize = parameters.parse("halves")?;
    let n: usize = parameters.parse("n")?;
    let timeout: f64 = parameters.parse("timeout_s")?;
    let late: f64 = parameters.parse("late_s")?;
    let mut server = bench.serve(count + n, &[("handshake-timeout", format!("{}ms", (timeout * 1e3) as u64))])?;
    let first = vec![settle(&crowd_spec(server.addr(), parameters.text("form"), "halves", 1))?];
    let held = procfs::held(server.pid())?;

    let mut halves = Vec::with_capacity(count);
    for i in 0..count {
        let stream = connect(server.addr(), i).with_context(|| format!("half {i} (is `ulimit -n` too low?)"))?;
        stream.set_nonblocking(true)?;
        let mut half = Half { stream, is_gone: false };
        // A third says nothing at all.
        if i % 3 > 0 {
            let _ = half.stream.write(&REQUEST[..20 + i % (REQUEST.len() - 20)]);
        }
        halves.push(half);
    }
    let last_began = Instant::now();
    // In the midst of them, while the first ones are given up and their places are free again.
    let crowd =
        Crowd::start(&Spec { first_member: 1, ..crowd_spec(server.addr(), parameters.text("form"), "halves", n) })?;
    let publisher = Publisher::start(&load(bench, &server)?)?;
    let mut open = count;
    let mut tick = Instant::now();
    let bound = Duration::from_secs_f64(timeout + late);
    while open > 0 && last_began.elapsed() < bound + Duration::from_secs(30) {
        let drips = tick.elapsed() > Duration::from_millis(500);
        if drips {
            tick = Instant::now();
        }
        for (i, half) in halves.iter_mut().enumerate().filter(|(_, half)| !half.is_gone) {
            // A third of them goes on, a byte at a time.
            if drips && i % 3 == 1 {
                let _ = half.stream.write(b"x");
            }
            half.is_gone = has_ended(&mut half.stream);
            open -= usize::from(half.is_gone);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let gone_after = last_began.elapsed();
    drop(halves);
    let connected_in = crowd.ready()?;
    let published = publisher.finish()?;
    outcome.note_all(&published.errors);
    let mut crowds = first;
    crowds.push(crowd);
    // The publisher's own is on its way out.
    let settling = Instant::now();
    let sockets = loop {
        let sockets = procfs::sockets(server.addr().port(), Ipv4Addr::LOCALHOST)?;
        if sockets.established == n as u64 + 1 || settling.elapsed() > Duration::from_secs(30) {
            break sockets;
        }
        std::thread::sleep(Duration::from_millis(20));
    };

    outcome.exactly("halves still open", open as u64, 0);
    outcome.at_most("halves: the last one gone, after it came", gone_after.as_secs_f64(), bound.as_secs_f64(), "s");
    outcome.exactly("sockets of the server afterwards", sockets.established, n as u64 + 1);
    outcome.figure("all others connected within", connected_in.as_secs_f64() * 1e3, "ms");
    let witness = await_all(&mut crowds[..1], published.sent, Duration::from_secs(10))?;
    let end = await_so(&mut crowds, Duration::from_secs(10), |sum| sum.healthy.last_least >= published.sent)?;
    outcome.exactly("others connected", end.healthy.open, n as u64 + 1);
    outcome.exactly("published", published.sent, parameters.parse("count")?);
    outcome.exactly("one that was there before: delivered", witness.healthy.least, published.sent);
    outcome.exactly("others: last message, lowest of all", end.healthy.last_least, published.sent);
    outcome.exactly("announced gaps", end.healthy.announced, 0);
    outcome.exactly("missing", end.healthy.holes, 0);
    add_faults(outcome, "", &end.healthy);
    // Descriptors of connections that stay are the process's own only without io_uring.
    let right = [held.descriptors, held.descriptors + n as u64];
    let mut after = procfs::held(server.pid())?;
    for _ in 0..1_500 {
        if right.contains(&after.descriptors) {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
        after = procfs::held(server.pid())?;
    }
    outcome.exactly("threads", after.threads, held.threads);
    outcome.must(
        "descriptors",
        right.contains(&after.descriptors),
        format!("{} before, {} after", held.descriptors, after.descriptors),
    );
    end_with_refusals(&mut server, outcome)
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
