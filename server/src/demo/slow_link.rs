//! Job: a thin link to the engine: a TCP relay that hands on so many bytes a second and no more, for the demo's switch.
//! Knows: sockets, a token bucket, as much HTTP as finding the end of a request's head takes. Must never know: frames, topics.
//!
//! A browser cannot read its own socket slowly, so this does it in its place. What is slow is only the way from the engine to
//! the browser. The relay itself holds next to nothing back (its receive buffer is as small as the kernel makes one), so what
//! the link cannot carry waits, and is dropped by priority, in the engine, as with any thin link.
//!
//! The wanted speed stands in the request's target: `?slow=24` is 24,000 bytes a second. The engine ignores that
//! parameter. The relay adds a `Via` header: a peer behind it is not on this machine only because the relay is.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};

use crate::clock;

/// Bytes a second where the request does not say.
pub const RATE_USUAL: u64 = 64_000;
/// Least and most bytes a second.
const RATES: (u64, u64) = (1_000, 10_000_000);
/// Links at once; more are closed.
const LINKS_MAX: usize = 16;
const HEAD_BYTES_MAX: usize = 16 << 10;
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// What is asked of the kernel for the engine's side; it gives its own least instead.
const RECEIVE_BUFFER_BYTES: usize = 2_048;
/// The bucket holds so much time's worth of bytes.
const BURST: Duration = Duration::from_millis(50);
/// Handed on at once at most, and at least (but for what is there).
const PIECE_BYTES: (usize, usize) = (128, 2_048);

/// Relays from `listener` to the engine at `engine` from threads of its own, for as long as the process lives.
///
/// # Errors
/// Where the thread cannot be started.
pub fn serve(listener: TcpListener, engine: SocketAddr) -> io::Result<()> {
    let engine = reachable(engine);
    let open = Arc::new(AtomicUsize::new(0));
    std::thread::Builder::new().name("slow-links".into()).spawn(move || {
        loop {
            match listener.accept() {
                Ok((browser, _)) => relay_aside(browser, engine, &open),
                Err(error) => {
                    tracing::debug!("the slow link's listener: {error}");
                    clock::sleep(Duration::from_millis(100));
                }
            }
        }
    })?;
    Ok(())
}

/// An address that stands for all of this machine's is reached at its own.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn relay_aside(browser: TcpStream, engine: SocketAddr, open: &Arc<AtomicUsize>) {
    if open.fetch_add(1, Ordering::AcqRel) >= LINKS_MAX {
        open.fetch_sub(1, Ordering::AcqRel);
        return;
    }
    let counted = open.clone();
    let spawned = std::thread::Builder::new().name("slow-link".into()).spawn(move || {
        if let Err(error) = relay(browser, engine) {
            tracing::debug!("a slow link: {error}");
        }
        counted.fetch_sub(1, Ordering::AcqRel);
    });
    if spawned.is_err() {
        open.fetch_sub(1, Ordering::AcqRel);
    }
}

fn relay(mut browser: TcpStream, engine: SocketAddr) -> io::Result<()> {
    let Some(request) = read_head(&mut browser)? else { return Ok(()) };
    let rate = rate_of(&request);
    let mut engine = dial(engine)?;
    engine.write_all(&with_via(&request))?;
    browser.set_nodelay(true)?;
    let (mut from_browser, mut to_engine) = (browser.try_clone()?, engine.try_clone()?);
    let up = std::thread::Builder::new().name("slow-link-up".into()).spawn(move || {
        // However it ends: the engine learns that nothing more comes.
        let _ = io::copy(&mut from_browser, &mut to_engine);
        let _ = to_engine.shutdown(Shutdown::Write);
    })?;
    let down = throttled(&mut engine, &mut browser, rate);
    let _ = browser.shutdown(Shutdown::Both);
    let _ = engine.shutdown(Shutdown::Both);
    let _ = up.join();
    down
}

/// Reads up to the end of the request's head, and what came with it. `None`: it never came.
fn read_head(browser: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let deadline = clock::now() + HEAD_TIMEOUT;
    let mut request = Vec::with_capacity(1_024);
    let mut chunk = [0; 1_024];
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        let left = deadline.saturating_duration_since(clock::now());
        if left.is_zero() || request.len() > HEAD_BYTES_MAX {
            return Ok(None);
        }
        browser.set_read_timeout(Some(left))?;
        match browser.read(&mut chunk) {
            Ok(0) => return Ok(None),
            Ok(n) => request.extend_from_slice(&chunk[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    browser.set_read_timeout(None)?;
    Ok(Some(request))
}

/// Bytes a second as the request's target has them, in thousands.
fn rate_of(request: &[u8]) -> u64 {
    let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let target = line.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    let wanted = String::from_utf8_lossy(target)
        .split(['?', '&'])
        .find_map(|parameter| parameter.strip_prefix("slow=")?.parse::<u64>().ok());
    wanted.map_or(RATE_USUAL, |thousands| thousands.saturating_mul(1_000).clamp(RATES.0, RATES.1))
}

/// The request with a trace of the relay, which takes away the trust that a peer on this machine has.
fn with_via(request: &[u8]) -> Vec<u8> {
    let line_end = request.windows(2).position(|window| window == b"\r\n").map_or(0, |at| at + 2);
    let (line, rest) = request.split_at(line_end);
    [line, b"Via: 1.1 fanwire-slow-link\r\n", rest].concat()
}

/// Connects with a receive buffer so small that the engine notices at once when nothing is read.
fn dial(engine: SocketAddr) -> io::Result<TcpStream> {
    let family = if engine.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER_BYTES)?;
    connect(&socket, &engine)?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Hands on what comes, `rate` bytes a second, until the source ends.
fn throttled(from: &mut TcpStream, to: &mut TcpStream, rate: u64) -> io::Result<()> {
    let mut bucket = Bucket::new(rate, clock::now());
    let mut piece = [0; PIECE_BYTES.1];
    loop {
        clock::sleep(bucket.wait(clock::now()));
        let most = bucket.take(clock::now()).min(piece.len());
        match from.read(&mut piece[..most]) {
            Ok(0) => return Ok(()),
            Ok(n) => {
                bucket.spend(n);
                to.write_all(&piece[..n])?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A token bucket of bytes.
struct Bucket {
    per_second: f64,
    capacity: f64,
    bytes: f64,
    filled: Instant,
}

impl Bucket {
    fn new(rate: u64, now: Instant) -> Self {
        let per_second = rate as f64;
        let capacity = (per_second * BURST.as_secs_f64()).max(2.0 * PIECE_BYTES.0 as f64);
        Bucket { per_second, capacity, bytes: 0.0, filled: now }
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.bytes = (self.bytes + passed * self.per_second).min(self.capacity);
        self.filled = now;
    }

    /// How long until there is a piece worth handing on.
    fn wait(&mut self, now: Instant) -> Duration {
        self.fill(now);
        let missing = PIECE_BYTES.0 as f64 - self.bytes;
        if missing <= 0.0 { Duration::ZERO } else { Duration::from_secs_f64(missing / self.per_second) }
    }

    /// How many bytes may pass now, at least one.
    fn take(&mut self, now: Instant) -> usize {
        self.fill(now);
        (self.bytes as usize).max(1)
    }

    fn spend(&mut self, bytes: usize) {
        self.bytes -= bytes as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_says_how_fast() {
        for (request, rate) in [
            ("GET /?slow=24 HTTP/1.1\r\n", 24_000),
            ("GET /t/a?echo=0&slow=100 HTTP/1.1\r\n", 100_000),
            ("GET / HTTP/1.1\r\nX: ?slow=3\r\n", RATE_USUAL),
            ("GET /?slow=x HTTP/1.1\r\n", RATE_USUAL),
            ("GET /?slow=0 HTTP/1.1\r\n", RATES.0),
            ("GET /?slow=99999999999999999 HTTP/1.1\r\n", RATES.1),
            ("", RATE_USUAL),
        ] {
            assert_eq!(rate_of(request.as_bytes()), rate, "{request}");
        }
    }

    #[test]
    fn the_relay_leaves_a_trace_and_changes_nothing_else() {
        let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nframes";
        let expected = b"GET / HTTP/1.1\r\nVia: 1.1 fanwire-slow-link\r\nHost: a\r\n\r\nframes";
        assert_eq!(with_via(request), expected);
    }

    #[test]
    fn no_more_passes_than_the_rate_allows() {
        let start = clock::now();
        let mut bucket = Bucket::new(10_000, start);
        let (mut now, mut passed) = (start, 0);
        while now < start + Duration::from_secs(10) {
            now += bucket.wait(now);
            let n = bucket.take(now).min(100);
            bucket.spend(n);
            passed += n;
        }
        assert!((95_000..=101_000).contains(&passed), "{passed} bytes in ten seconds");
        // A pause is made up for by no more than the bucket holds.
        now += Duration::from_secs(60);
        assert_eq!(bucket.take(now), 500);
    }

    #[test]
    fn an_address_for_all_interfaces_is_reached_on_this_machine() {
        for (from, to) in [("0.0.0.0:9", "127.0.0.1:9"), ("[::]:9", "[::1]:9"), ("10.0.0.1:9", "10.0.0.1:9")] {
            assert_eq!(reachable(from.parse().unwrap()), to.parse().unwrap());
        }
    }
}
