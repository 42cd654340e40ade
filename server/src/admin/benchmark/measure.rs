//! Job: one run: a second of messages from a publisher inside the server to subscribers that come by the observers' socket.
//! Knows: the engine's public interface, the little of RFC 6455 that bare messages need. Must never know: other runs.
//!
//! Bounded: [`SUBSCRIBERS`] connections, [`MESSAGES`] messages of [`BYTES`] bytes, and [`PATIENCE`] for what is missing.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use fanwire::{Kind, Priority};
use serde::Serialize;

use crate::clock;
use crate::exit::{Exit, Failure, OrExit};
use crate::operate::Server;

const SUBSCRIBERS: usize = 8;
const MESSAGES: u64 = 1_000;
const EVERY: Duration = Duration::from_millis(1);
const BYTES: usize = 256;
const PATIENCE: Duration = Duration::from_secs(2);
/// No pattern that begins with a wildcard matches it.
const TOPIC: &str = "$benchmark/self";

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    pub seconds: f64,
    pub subscribers: u64,
    pub messages: u64,
    /// Messages that should have arrived, over all subscribers.
    pub expected: u64,
    pub delivered: u64,
    pub latency_us: Latency,
}

/// From before a message is published until its subscriber has read it; 0 where none arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Latency {
    pub p50: u64,
    pub p95: u64,
    pub p99: u64,
    pub max: u64,
}

impl Latency {
    fn of(mut all: Vec<u64>) -> Self {
        all.sort_unstable();
        let at = |share: f64| {
            all.get(((all.len() as f64 * share) as usize).min(all.len().saturating_sub(1))).copied().unwrap_or_default()
        };
        Latency { p50: at(0.5), p95: at(0.95), p99: at(0.99), max: at(1.0) }
    }
}

/// Measures. Ends early where the server ends.
///
/// # Errors
/// 69: a topic or a connection cannot be had.
pub fn measure(server: &Server<'_>, path: &str) -> Result<Measured, Failure> {
    let cannot = || "cannot measure".to_owned();
    let topic = server.engine().topic(TOPIC).or_exit(Exit::Unavailable, cannot)?;
    let start = clock::now();
    // Whatever is left of an earlier run is no part of this one.
    let run = clock::unix_us();
    let subscribers: io::Result<Vec<Subscriber>> = (0..SUBSCRIBERS).map(|_| Subscriber::connect(path, run)).collect();
    let subscribers = subscribers.or_exit(Exit::Unavailable, cannot)?;
    let latencies = thread::scope(|scope| {
        let read = |subscriber: Subscriber| scope.spawn(move || subscriber.read(start));
        let readers: Vec<_> = subscribers.into_iter().map(read).collect();
        let mut payload = [0; BYTES];
        for number in 0..MESSAGES {
            if server.is_over() {
                break;
            }
            clock::sleep(clock::after(start, EVERY * number as u32).saturating_duration_since(clock::now()));
            payload[..8].copy_from_slice(&run.to_le_bytes());
            payload[8..16].copy_from_slice(&nanoseconds_since(start).to_le_bytes());
            // What finds no room is missing, and counted so.
            let _ = topic.publish(Priority::Normal, Kind::Binary, &payload);
        }
        readers.into_iter().flat_map(|reader| reader.join().unwrap_or_default()).collect::<Vec<u64>>()
    });
    let _ = server.engine().remove_topic(TOPIC);
    Ok(Measured {
        seconds: clock::now().saturating_duration_since(start).as_secs_f64(),
        subscribers: SUBSCRIBERS as u64,
        messages: MESSAGES,
        expected: SUBSCRIBERS as u64 * MESSAGES,
        delivered: latencies.len() as u64,
        latency_us: Latency::of(latencies),
    })
}

fn nanoseconds_since(start: Instant) -> u64 {
    clock::now().saturating_duration_since(start).as_nanos() as u64
}

/// A connection that gets the bare messages.
struct Subscriber {
    stream: UnixStream,
    run: u64,
    bytes: Vec<u8>,
}

impl Subscriber {
    fn connect(path: &str, run: u64) -> io::Result<Self> {
        let mut stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let request = format!(
            "GET /t/{TOPIC} HTTP/1.1\r\nHost: admin\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        );
        stream.write_all(request.as_bytes())?;
        let mut subscriber = Subscriber { stream, run, bytes: Vec::new() };
        loop {
            let head = subscriber.bytes.windows(4).position(|four| four == b"\r\n\r\n");
            match head {
                Some(end) if subscriber.bytes.starts_with(b"HTTP/1.1 101") => {
                    subscriber.bytes.drain(..end + 4);
                    return Ok(subscriber);
                }
                Some(_) => return Err(io::Error::other("the engine has refused a connection")),
                None => subscriber.more()?,
            }
        }
    }

    fn more(&mut self) -> io::Result<()> {
        let mut chunk = [0; 16 << 10];
        match self.stream.read(&mut chunk)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.bytes.extend_from_slice(&chunk[..count]);
                Ok(())
            }
        }
    }

    /// How long each message took, in microseconds.
    fn read(mut self, start: Instant) -> Vec<u64> {
        let mut latencies = Vec::with_capacity(MESSAGES as usize);
        while latencies.len() < MESSAGES as usize && self.more().is_ok() {
            let now = nanoseconds_since(start);
            let mut taken = 0;
            while let Some((payload, length)) = frame(&self.bytes[taken..]) {
                let words =
                    [payload.get(..8), payload.get(8..16)].map(|word| word.and_then(|word| word.try_into().ok()));
                if let [Some(run), Some(sent)] = words
                    && u64::from_le_bytes(run) == self.run
                {
                    latencies.push(now.saturating_sub(u64::from_le_bytes(sent)) / 1_000);
                }
                taken += length;
            }
            self.bytes.drain(..taken);
        }
        latencies
    }
}

/// The first whole frame's payload, and the frame's length. A server masks nothing, and these are short.
fn frame(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let (head, length) = match bytes.get(1)? & 0x7f {
        126 => (4, usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]))),
        short => (2, usize::from(short)),
    };
    Some((bytes.get(head..head + length)?, head + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_wherever_they_are_cut() {
        let mut bytes = vec![0x82, 3, 1, 2, 3, 0x82, 126, 1, 0];
        bytes.extend_from_slice(&[7; 256]);
        assert_eq!(frame(&bytes), Some((&[1, 2, 3][..], 5)));
        assert_eq!(frame(&bytes[5..]), Some((&[7; 256][..], 260)));
        for end in 0..5 {
            assert_eq!(frame(&bytes[..end]), None);
        }
        for end in 5..bytes.len() {
            assert_eq!(frame(&bytes[5..end]), None);
        }
    }

    #[test]
    fn a_part_of_all_is_the_one_at_its_place() {
        let latency = Latency::of((1..=100).rev().collect());
        assert_eq!(latency, Latency { p50: 51, p95: 96, p99: 100, max: 100 });
        assert_eq!(Latency::of(Vec::new()), Latency::default());
    }
}
