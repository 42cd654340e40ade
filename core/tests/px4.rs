//! A recorded PX4 flight at full speed to 100 independent tungstenite subscribers over 2 shards.
//!
//! Run A, small budgets: for every client and lane, what is delivered and what is announced as lost is what was published, in
//! order, byte for byte. Run B, 64 MiB budgets: nothing is lost.
#![allow(clippy::disallowed_methods, reason = "a test that must end reads the clock, and its environment")]
#![allow(clippy::disallowed_types, reason = "the tests of this file take turns")]

mod support;

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use fanwire::{DriverChoice, Engine, Kind, Priority};
use rustix::event::{PollFd, PollFlags, poll};
use serde::Deserialize;
use serde_json::value::RawValue;
use support::{Client, addr, config, start, subscribe};
use tungstenite::Message;

on_both_drivers![run_a_default_budgets_deliver_or_announce_everything, run_b_large_budgets_lose_nothing];

/// Each of these loads the whole machine: one at a time.
static ALONE: Mutex<()> = Mutex::new(());

const CLIENTS: usize = 100;
const THREADS: usize = 2;

fn run_a_default_budgets_deliver_or_announce_everything(driver: DriverChoice) {
    let Some(recording) = Recording::open() else { return };
    let seen = replay(&recording, two_shards(driver));
    let delivered: u64 = seen.iter().map(|seen| seen.delivered).sum();
    let announced: u64 = seen.iter().map(|seen| seen.announced).sum();
    assert_eq!(delivered + announced, recording.published() * CLIENTS as u64);
    assert!(delivered > 0);
    println!("delivered {delivered}, announced {announced}");
}

fn run_b_large_budgets_lose_nothing(driver: DriverChoice) {
    let Some(recording) = Recording::open() else { return };
    let mut config = two_shards(driver);
    config.memory.lane_bytes = 64 << 20;
    config.memory.pool_bytes = 2 << 30;
    // Room for all of it: a shard that gets no time for a moment is not passed over.
    config.memory.ring_bytes = 64 << 20;
    let seen = replay(&recording, config);
    assert_eq!(seen.iter().map(|seen| seen.announced).sum::<u64>(), 0);
    assert_eq!(seen.iter().map(|seen| seen.delivered).sum::<u64>(), recording.published() * CLIENTS as u64);
}

fn two_shards(driver: DriverChoice) -> fanwire::Config {
    let memory = fanwire::Config::default().memory;
    fanwire::Config { shards: Some(2), memory, ..config(driver) }
}

/// Publishes the whole recording to all clients; fails if any of them sees anything that is not right.
fn replay(recording: &Recording, config: fanwire::Config) -> Vec<Seen> {
    let _turn = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let engine = start(config);
    let mut clients: Vec<Subscriber> = (0..CLIENTS).map(|_| Subscriber::connect(&engine, recording)).collect();
    std::thread::scope(|scope| {
        let readers: Vec<_> = clients
            .chunks_mut(CLIENTS / THREADS)
            .map(|share| scope.spawn(move || read_all(share, recording)))
            .collect();
        let topics: Vec<_> = recording.topics.iter().map(|name| engine.topic(name).expect("a sound topic")).collect();
        for (lane, data) in &recording.messages {
            topics[*lane]
                .publish_timeout(Priority::Normal, Kind::Json, data.get().as_bytes(), support::PATIENCE)
                .expect("the shards read the ring");
        }
        readers
            .into_iter()
            .for_each(|reader| reader.join().expect("every message arrives or is announced, as it was published"));
    });
    engine.shutdown_now();
    clients.iter().map(|client| client.seen).collect()
}

/// Reads until every client of the share accounts for every message of every lane.
fn read_all(share: &mut [Subscriber<'_>], recording: &Recording) {
    let mut last = Instant::now();
    let mut open: Vec<&mut Subscriber<'_>> = share.iter_mut().collect();
    while !open.is_empty() {
        let ready: Vec<bool> = {
            let mut fds: Vec<PollFd<'_>> = open
                .iter()
                .map(|client| PollFd::from_borrowed_fd(client.socket.get_ref().as_fd(), PollFlags::IN))
                .collect();
            let timeout = rustix::time::Timespec { tv_sec: 1, tv_nsec: 0 };
            let count = poll(&mut fds, Some(&timeout)).expect("poll");
            if count > 0 {
                last = Instant::now();
            }
            fds.iter().map(|fd| !fd.revents().is_empty()).collect()
        };
        let left = open.len();
        assert!(
            last.elapsed() < Duration::from_secs(60),
            "{left} clients still wait: {:?} at {:?}",
            open[0].seen,
            open[0].next
        );
        for (client, ready) in open.iter_mut().zip(ready) {
            if ready {
                client.read(recording);
            }
        }
        open.retain(|client| !client.is_complete(recording));
    }
}

/// What a client has got.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    delivered: u64,
    announced: u64,
}

/// One independent client that believes nothing.
struct Subscriber<'a> {
    socket: Client,
    lanes: &'a HashMap<String, usize>,
    /// The next sequence number of each lane.
    next: Vec<u64>,
    seen: Seen,
}

/// The objects of `fanwire.json.v1` that matter here.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Control {
    Gap { topic: String, priority: String, from: u64, to: u64, reason: String },
    Subscribed { topic: String },
}

/// A message, its data left as it came.
#[derive(Deserialize)]
struct Envelope<'a> {
    r#type: &'a str,
    topic: Option<&'a str>,
    priority: Option<&'a str>,
    #[serde(default, borrow)]
    seq: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

impl<'a> Subscriber<'a> {
    fn connect(engine: &Engine, recording: &'a Recording) -> Self {
        let socket = subscribe(addr(engine), &["px4/**"]);
        socket.get_ref().set_nonblocking(true).expect("a live socket");
        Subscriber { socket, lanes: &recording.lanes, next: vec![1; recording.topics.len()], seen: Seen::default() }
    }

    fn is_complete(&self, recording: &Recording) -> bool {
        self.next.iter().zip(&recording.by_lane).all(|(next, lane)| *next == lane.len() as u64 + 1)
    }

    fn read(&mut self, recording: &Recording) {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => self.on_text(&text, recording),
                Ok(Message::Ping(_)) => {}
                Err(tungstenite::Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                other => panic!("instead of a message: {other:?}"),
            }
        }
    }

    fn on_text(&mut self, text: &str, recording: &Recording) {
        let envelope: Envelope<'_> = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        if envelope.r#type == "message" {
            let lane = self.lanes[envelope.topic.expect("a topic")];
            assert_eq!(envelope.priority, Some("normal"));
            assert_eq!(envelope.seq.expect("a number").get(), self.next[lane].to_string(), "of {:?}", envelope.topic);
            let right = recording.messages[recording.by_lane[lane][self.next[lane] as usize - 1]].1.get();
            assert_eq!(envelope.data.expect("data").get(), right, "byte for byte");
            self.next[lane] += 1;
            self.seen.delivered += 1;
            return;
        }
        match serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}")) {
            Control::Gap { topic, priority, from, to, reason } => {
                let lane = self.lanes[&topic];
                assert_eq!((from, &priority[..], &reason[..]), (self.next[lane], "normal", "lag"), "of {topic}");
                assert!(to >= from, "{text}");
                self.next[lane] = to + 1;
                self.seen.announced += to + 1 - from;
            }
            Control::Subscribed { topic } => {
                assert_eq!(self.next[self.lanes[&topic]], 1, "told of {topic} after its first message");
            }
        }
    }
}

/// The recorded flight.
struct Recording {
    topics: Vec<String>,
    lanes: HashMap<String, usize>,
    messages: Vec<(usize, Box<RawValue>)>,
    by_lane: Vec<Vec<usize>>,
}

impl Recording {
    /// `None`, and the test counts as skipped, where the recording is not beside the checkout.
    fn open() -> Option<Recording> {
        #[derive(Deserialize)]
        struct Line {
            topic: String,
            data: Box<RawValue>,
        }
        let beside = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared"));
        let path = std::env::var_os("FANWIRE_SHARED").map_or(beside, PathBuf::from).join("data/px4-flight.ndjson.gz");
        let Ok(file) = std::fs::File::open(&path) else {
            support::skip(&format!("no recording at {}", path.display()));
            return None;
        };
        let mut recording =
            Recording { topics: Vec::new(), lanes: HashMap::new(), messages: Vec::new(), by_lane: Vec::new() };
        for line in BufReader::new(flate2::read::MultiGzDecoder::new(file)).lines() {
            let line: Line = serde_json::from_str(&line.expect("a readable recording")).expect("lines of JSON");
            let lane = *recording.lanes.entry(line.topic.clone()).or_insert_with(|| {
                recording.topics.push(line.topic);
                recording.by_lane.push(Vec::new());
                recording.topics.len() - 1
            });
            recording.by_lane[lane].push(recording.messages.len());
            recording.messages.push((lane, line.data));
        }
        assert_eq!((recording.messages.len(), recording.topics.len()), (64_542, 15));
        Some(recording)
    }

    fn published(&self) -> u64 {
        self.messages.len() as u64
    }
}
