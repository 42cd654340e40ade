//! Hosts: servers with their publisher inside, driven by lines of words: the engine, and the bare kernel to compare it with.
//!
//! `fanwire-perf host` is the engine in a process of its own, or a floor: prebuilt frames, one send per subscriber and turn, nothing else.
//! Rivals under `perf/peers` speak the same lines, so that every server gets the same load in the same way:
//!
//! - stdout, once: `listening on ws://ADDR`, or `wss://ADDR` with the certificate and the key in the files that the variables
//!   `PEER_CERTIFICATE` and `PEER_KEY` name
//! - stdin: `publish RATE BYTES BURST TOPICS SECONDS LOOK SUBSCRIBERS AHEAD FILE`; stdout, when all is handed over: `published SENT NS LATE_NS WAITING_NS`
//! - stdin (engine and plain loop): `burst COUNT BYTES SUBSCRIBERS`; stdout as above, once the kernel has taken everything for everybody
//! - stdin: `counters`; stdout: `counters {…}` (a JSON object of numbers, `{}` where there are none)
//! - the end of stdin ends it
//!
//! Message i goes to topic `t{i mod TOPICS}` (`ws://ADDR/t/t0` and so on). RATE 0 saturates: BURST messages a turn, the next turn's being
//! ready before the last one's are sent, but never more than AHEAD turns ahead of what the clients say in FILE (`-`: none; see
//! [`crate::ahead`]) that they have checked. WAITING_NS is CPU time that went into asking.

mod engine;
mod floor;
mod process;
mod ring;

use std::io::{BufRead, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::ahead::Window;
use crate::clock;
use crate::identity::Identity;
use crate::payload::{Look, Stamp, Writer};
use crate::procfs;

pub use process::Host;

/// What a host is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HostSpec {
    /// `engine`, `send` (a plain loop of sends) or `ring` (a bare io_uring).
    pub kind: String,
    /// CPUs of the shards; the publisher runs on the first. Empty: not pinned.
    pub cpus: Vec<usize>,
    /// Shards of the engine; threads of the plain loop, for bursts.
    pub shards: usize,
    /// The engine's driver.
    pub driver: String,
    /// Connections to make room for.
    pub connections_max: usize,
    /// A lane's budget, in bytes.
    pub lane_bytes: usize,
    /// What the engine shows, where subscribers speak TLS.
    pub tls: Option<Identity>,
}

/// What to publish.
#[derive(Clone, Debug)]
pub struct Load {
    /// Messages a second; 0: as fast as possible.
    pub rate: f64,
    /// Bytes of a payload.
    pub bytes: usize,
    /// Messages to a turn, when saturating.
    pub burst: usize,
    /// Topics.
    pub topics: usize,
    /// For how long.
    pub seconds: f64,
    /// What payloads look like.
    pub look: Look,
    /// Subscribers of each topic: to know when a turn's messages are sent.
    pub subscribers: usize,
    /// Turns that a saturating publisher may be ahead of the clients.
    pub ahead: usize,
    /// What the clients say.
    pub progress: Option<PathBuf>,
}

impl Load {
    /// The command.
    pub fn line(&self) -> String {
        let look = match self.look {
            Look::Text => "text",
            Look::Telemetry => "telemetry",
        };
        let Load { rate, bytes, burst, topics, seconds, subscribers, ahead, .. } = self;
        let file = self.progress.as_ref().map_or("-".into(), |path| path.display().to_string());
        format!("publish {rate} {bytes} {burst} {topics} {seconds} {look} {subscribers} {ahead} {file}")
    }

    fn parse(words: &[&str]) -> Result<Load> {
        let &[rate, bytes, burst, topics, seconds, look, subscribers, ahead, file] = words else {
            bail!("nine words after publish")
        };
        let look = match look {
            "text" => Look::Text,
            "telemetry" => Look::Telemetry,
            other => bail!("no look `{other}`"),
        };
        Ok(Load {
            rate: rate.parse()?,
            bytes: bytes.parse()?,
            burst: burst.parse::<usize>()?.max(1),
            topics: topics.parse::<usize>()?.max(1),
            seconds: seconds.parse()?,
            look,
            subscribers: subscribers.parse()?,
            ahead: ahead.parse()?,
            progress: (file != "-").then(|| file.into()),
        })
    }
}

/// What was published.
#[derive(Clone, Copy, Debug, Default)]
pub struct Loaded {
    /// Messages handed over.
    pub sent: u64,
    /// From the first message to the end.
    pub ns: u64,
    /// Furthest behind the schedule.
    pub late_ns: u64,
    /// CPU time of asking whether more may be sent, where the publisher has no thread of its own.
    pub waiting_ns: u64,
}

impl Load {
    /// Deliveries of a turn.
    fn per_turn(&self) -> u64 {
        (self.burst * self.subscribers) as u64
    }

    fn window(&self) -> Result<Window> {
        Window::open(self.progress.as_deref(), self.ahead as u64 * self.per_turn())
    }
}

/// Writes the messages of all topics, counting each topic's own.
struct Source {
    writer: Writer,
    /// Messages so far: they number on from load to load.
    sent: u64,
    topics: usize,
    message: Vec<u8>,
}

impl Source {
    fn new() -> Self {
        Source { writer: Writer::new(Look::Text, 1), sent: 0, topics: 1, message: Vec::new() }
    }

    /// Takes up a load. Its topics and look must stay the same over a host's life for the numbers to go on.
    fn begin(&mut self, load: &Load) {
        self.topics = load.topics;
        self.writer.set_look(load.look);
    }

    /// The next message and its topic.
    fn next(&mut self, intended_ns: u64, bytes: usize) -> (usize, &[u8]) {
        let topic = (self.sent % self.topics as u64) as usize;
        let seq = self.sent / self.topics as u64 + 1;
        self.sent += 1;
        self.writer.write(&mut self.message, Stamp { seq, intended_ns }, bytes);
        (topic, &self.message)
    }
}

/// The moments of a fixed schedule, from now on.
struct Schedule {
    began_ns: u64,
    interval_ns: f64,
    count: u64,
    next: u64,
}

impl Schedule {
    fn new(load: &Load) -> Self {
        let count = (load.rate * load.seconds).ceil() as u64;
        Schedule { began_ns: clock::now_ns(), interval_ns: 1e9 / load.rate, count, next: 0 }
    }

    /// Waits for the next moment; returns it and how late it is now.
    fn wait(&mut self) -> Option<(u64, u64)> {
        if self.next == self.count {
            return None;
        }
        let intended_ns = self.began_ns + (self.next as f64 * self.interval_ns) as u64;
        self.next += 1;
        clock::sleep_until(intended_ns);
        Some((intended_ns, clock::now_ns() - intended_ns))
    }
}

/// The process.
///
/// # Errors
/// When it cannot run.
pub fn run(spec: &str) -> Result<()> {
    let spec: HostSpec = serde_json::from_str(spec).context("the host's spec")?;
    // So that a schedule is kept to the microsecond, not to 50 of them.
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
    match spec.kind.as_str() {
        "engine" => engine::run(&spec),
        "send" | "ring" => floor::run(&spec),
        other => bail!("no host `{other}`"),
    }
}

fn pin(spec: &HostSpec) -> Result<()> {
    spec.cpus.first().map_or(Ok(()), |cpu| procfs::pin_to(*cpu))
}

/// One command of stdin; `None` at its end.
enum Order {
    Publish(Load),
    /// Messages, bytes, subscribers.
    Burst(usize, usize, usize),
    Counters,
}

fn order(line: &str) -> Result<Order> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.split_first() {
        Some((&"publish", rest)) => Ok(Order::Publish(Load::parse(rest)?)),
        Some((&"burst", &[count, bytes, subscribers])) => {
            Ok(Order::Burst(count.parse()?, bytes.parse()?, subscribers.parse()?))
        }
        Some((&"counters", _)) => Ok(Order::Counters),
        _ => bail!("no command `{line}`"),
    }
}

fn say(line: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")?;
    Ok(stdout.flush()?)
}

fn say_published(loaded: Loaded) -> Result<()> {
    say(&format!("published {} {} {} {}", loaded.sent, loaded.ns, loaded.late_ns, loaded.waiting_ns))
}

fn lines() -> impl Iterator<Item = String> {
    std::io::stdin().lock().lines().map_while(std::io::Result::ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_survives_its_line() {
        let load = Load {
            rate: 200.0,
            bytes: 512,
            burst: 16,
            topics: 3,
            seconds: 1.5,
            look: Look::Telemetry,
            subscribers: 10,
            ahead: 4,
            progress: Some("/dev/shm/x".into()),
        };
        let Ok(Order::Publish(read)) = order(&load.line()) else { panic!("not a load") };
        assert_eq!(read.line(), load.line());
        assert!(order("publish 1 2").is_err());
        assert!(order("sing").is_err());
    }

    #[test]
    fn every_topic_counts_its_own_messages() {
        let mut source = Source::new();
        source.topics = 2;
        let mut checker = crate::payload::Checker::default();
        let seen: Vec<(usize, u64)> = (0..5)
            .map(|_| {
                let (topic, message) = source.next(7, 100);
                (topic, checker.check(message).unwrap().seq)
            })
            .collect();
        assert_eq!(seen, [(0, 1), (1, 1), (0, 2), (1, 2), (0, 3)]);
    }
}
