//! A server goes on in another process, and that one drains, while others connect all the time.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::net::{AddressFamily, SocketType};

use super::{Bench, Scenario, own_port};
use crate::table::Outcome;

pub const SCENARIO: Scenario = Scenario {
    name: "handover",
    about: "a new process with other shards takes the sockets over while others connect, then drains: nobody is refused, nobody is closed \
            without 1012, and closes are even over the window",
    parameters: &[
        ("n", "5000", "connections that move, and then are drained"),
        ("connects", "1000", "connects a second meanwhile"),
        ("window_s", "10", "seconds over which closes are spread"),
        ("shards_after", "3", "shards of the new process"),
        ("most_chi2", "36.19", "most chi-squared of the closes in 20 parts of the window: 1 in 100 by chance has more"),
    ],
    common: super::SERVER,
    run,
};

/// Parts of the window in which closes are counted.
const BINS: usize = 20;
/// Threads that connect.
const CONNECTORS: u32 = 4;
/// How long after the window everybody is gone.
const LATE: Duration = Duration::from_secs(30);

fn run(bench: &Bench, outcome: &mut Outcome) -> Result<()> {
    let n: usize = bench.parameters.parse("n")?;
    let window = Duration::from_secs_f64(bench.parameters.parse("window_s")?);
    let most_chi2: f64 = bench.parameters.parse("most_chi2")?;
    let addr = own_port()?;
    let socket = std::env::temp_dir().join(format!("fanwire-perf-{}.sock", std::process::id()));
    let control = [("control-socket", socket.display().to_string())];
    // Room for those that move, on either side, and for who comes and goes.
    let room = 2 * n + 1_000;
    let mut old = bench.serve_at(addr, room, &control)?;
    let moving = gather(addr, n, 0)?;
    let connectors = Connectors::start(addr, bench.parameters.parse("connects")?);
    std::thread::sleep(Duration::from_millis(500));

    let shards = [("shards", bench.parameters.text("shards_after").to_string())];
    let within = [("takeover-within", format!("{}ms", window.as_millis()))];
    let mut new = bench.take_over(addr, room, &[&control[..], &shards, &within].concat())?;
    let moved = watch(moving, window + LATE)?;
    let status = old.wait(LATE)?;
    outcome.must("the old process's exit status", status.code() == Some(0), format!("{status}"));
    outcome.figure("start to ready line of the new process", new.started_in().as_secs_f64() * 1e3, "ms");
    // None of them publishes: their part of the window begins at its first quarter.
    say(&moved, (window / 4, window), "moved: ", outcome, most_chi2);

    let refusals = connectors.ends()?;
    outcome.exactly("refused meanwhile", refusals.refused.len() as u64, 0);
    outcome.note_all(&refusals.refused);
    outcome.figure("served meanwhile", refusals.served as f64, "");
    outcome.figure("slowest connect and upgrade meanwhile", refusals.slowest.as_secs_f64() * 1e3, "ms");

    let drained = gather(addr, n, n)?;
    let mut answer = ask(&socket, &format!(r#"{{"command":"drain","within_ms":{}}}"#, window.as_millis()))?;
    let drained = watch(drained, window + LATE)?;
    say(&drained, (Duration::ZERO, window), "drained: ", outcome, most_chi2);
    let mut said = String::new();
    answer.read_to_string(&mut said)?;
    let expected = format!(r#"{{"exit":0,"drained":{{"closed":{n},"cut_off":0}}}}"#);
    outcome.must("the drain's answer", said.trim_end() == expected, said.trim_end());
    outcome.must("the port is closed", TcpStream::connect(addr).is_err(), "");
    outcome.note_all(&[old.warnings(), new.warnings()].concat());
    let status = new.wait(LATE)?;
    outcome.must("the new process's exit status", status.code() == Some(0), format!("{status}"));
    Ok(())
}

/// What became of connections: when each was closed, and with which code.
struct Closes {
    after: Vec<Duration>,
    codes: BTreeMap<u16, u64>,
}

/// Says whether all were closed with 1012, evenly from `from` to `to`.
fn say(closes: &Closes, (from, to): (Duration, Duration), of: &str, outcome: &mut Outcome, most_chi2: f64) {
    let all = closes.after.len() as u64;
    outcome.exactly(format!("{of}closed with 1012"), closes.codes.get(&1012).copied().unwrap_or(0), all);
    let mut bins = [0u32; BINS];
    for after in &closes.after {
        let part = after.saturating_sub(from).as_secs_f64() / (to - from).as_secs_f64();
        bins[((part * BINS as f64) as usize).min(BINS - 1)] += 1;
    }
    let expected = all as f64 / BINS as f64;
    let chi2: f64 = bins.iter().map(|&count| (f64::from(count) - expected).powi(2) / expected).sum();
    outcome.at_most(format!("{of}chi-squared of the closes"), chi2, most_chi2, "");
    let last = closes.after.iter().max().copied().unwrap_or_default();
    outcome.figure(format!("{of}last close"), last.as_secs_f64(), "s");
}

/// Connects, upgraded, of addresses of their own.
fn gather(server: SocketAddrV4, count: usize, first: usize) -> Result<Vec<TcpStream>> {
    let connect = |i| upgraded(server, i, Duration::from_secs(60)).with_context(|| format!("client {i}"));
    (first..first + count).map(connect).collect()
}

fn upgraded(server: SocketAddrV4, i: usize, patience: Duration) -> Result<TcpStream> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::new(127, 252, (i / 4_000 % 250) as u8, 1), 0))?;
    rustix::net::connect(&socket, &server)?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(patience))?;
    let request = "GET /t/handover HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request.as_bytes())?;
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    ensure!(head.starts_with(b"HTTP/1.1 101 "), "refused: {}", String::from_utf8_lossy(&head));
    Ok(stream)
}

/// Waits for the close of each.
fn watch(streams: Vec<TcpStream>, patience: Duration) -> Result<Closes> {
    let began = Instant::now();
    let mut closes = Closes { after: Vec::new(), codes: BTreeMap::new() };
    let mut open: Vec<(TcpStream, Vec<u8>)> = streams.into_iter().map(|stream| (stream, Vec::new())).collect();
    open.iter().try_for_each(|(stream, _)| stream.set_nonblocking(true))?;
    while !open.is_empty() {
        ensure!(began.elapsed() < patience, "{} are not closed", open.len());
        open.retain_mut(|(stream, said)| match close_code(stream, said) {
            None => true,
            Some(code) => {
                *closes.codes.entry(code).or_default() += 1;
                closes.after.push(began.elapsed());
                false
            }
        });
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(closes)
}

/// The code that the server has closed with, if it has; 1006: without a close frame. Pings before it are passed over.
fn close_code(stream: &mut TcpStream, said: &mut Vec<u8>) -> Option<u16> {
    let mut chunk = [0; 512];
    let has_ended = loop {
        match stream.read(&mut chunk) {
            Ok(0) => break true,
            Ok(count) => said.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break false,
            Err(_) => break true,
        }
    };
    let mut rest = &said[..];
    while let [opcode, len, after @ ..] = rest {
        let (opcode, len) = (opcode & 0x0f, usize::from(*len));
        match after {
            [high, low, ..] if opcode == 8 && len >= 2 => return Some(u16::from_be_bytes([*high, *low])),
            _ if opcode == 8 || after.len() < len => break,
            _ => rest = &after[len..],
        }
    }
    has_ended.then_some(1006)
}

/// Clients that come and go.
struct Connectors {
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Met>>,
}

/// What they have met with.
#[derive(Default)]
struct Met {
    served: u64,
    refused: Vec<String>,
    slowest: Duration,
}

impl Connectors {
    fn start(server: SocketAddrV4, a_second: f64) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let every = Duration::from_secs_f64(f64::from(CONNECTORS) / a_second);
        let connector = |number: u32| {
            let is_over = is_over.clone();
            std::thread::spawn(move || connect_and_go(server, every, number as usize, &is_over))
        };
        let threads = (0..CONNECTORS).map(connector).collect();
        Connectors { is_over, threads }
    }

    fn ends(self) -> Result<Met> {
        self.is_over.store(true, Relaxed);
        let mut all = Met::default();
        for thread in self.threads {
            let met = thread.join().map_err(|_| anyhow::Error::msg("a thread that connects has failed"))?;
            all.served += met.served;
            all.refused.extend(met.refused);
            all.slowest = all.slowest.max(met.slowest);
        }
        Ok(all)
    }
}

fn connect_and_go(server: SocketAddrV4, every: Duration, number: usize, is_over: &AtomicBool) -> Met {
    let mut met = Met::default();
    let began = Instant::now();
    for turn in 0.. {
        if is_over.load(Relaxed) {
            break;
        }
        std::thread::sleep((every * turn).saturating_sub(began.elapsed()));
        let comes = Instant::now();
        match upgraded(server, 400_000 + 4_000 * number, Duration::from_secs(30)) {
            Ok(_) => met.served += 1,
            Err(error) => met.refused.push(format!("{error:#}")),
        }
        met.slowest = met.slowest.max(comes.elapsed());
    }
    met
}

/// Asks the server for something; the answer comes on what this returns.
fn ask(socket: &Path, line: &str) -> Result<UnixStream> {
    let mut stream = UnixStream::connect(socket).context("the control socket")?;
    stream.write_all(format!("{line}\n").as_bytes())?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_close_is_found_behind_pings_and_in_pieces() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut theirs, _) = listener.accept().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut said = Vec::new();
        let mut waits = |bytes: &[u8], wanted: Option<u16>| {
            theirs.write_all(bytes).unwrap();
            let len = said.len() + bytes.len();
            while said.len() < len {
                let code = close_code(&mut ours, &mut said);
                assert!(said.len() < len || code == wanted, "{code:?}");
            }
        };
        waits(&[0x89, 1, b'p', 0x88], None);
        waits(&[4, 0x03], None);
        waits(&[0xf4, b'a', b'b'], Some(1012));
    }

    #[test]
    fn even_closes_are_told_from_others() {
        let even = Closes { after: (0..1_000).map(Duration::from_millis).collect(), codes: [(1012, 1_000)].into() };
        let mut outcome = Outcome::new("handover", serde_json::Value::Null);
        say(&even, (Duration::ZERO, Duration::from_secs(1)), "", &mut outcome, 1.0);
        assert!(outcome.passed());
        let early = Closes { after: (0..1_000).map(|ms| Duration::from_millis(ms / 2)).collect(), ..even };
        say(&early, (Duration::ZERO, Duration::from_secs(1)), "", &mut outcome, 1.0);
        assert!(!outcome.passed());
    }
}
