//! The quiet ones: on each shard a subscriber and a publisher of a few small messages a second, and what they notice.
//!
//! A message's latency counts from the moment in its publisher's schedule, and belongs to the time in which that moment lies.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::client::{Client, Field, Wish};
use crate::clock;
use crate::envelope::payload_of;
use crate::latency::Latency;
use crate::payload::{Checker, Look, Stamp, Writer};
use crate::publisher;

/// How long a publisher looks whether the server says anything, between two messages.
const BRIEF: Duration = Duration::from_millis(1);

/// What the quiet publishers send.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Shards: one publisher and one subscriber on each.
    pub shards: u8,
    /// Messages a second of each publisher.
    pub rate: f64,
    /// Bytes of a payload.
    pub bytes: usize,
    /// Their priority.
    pub priority: &'static str,
}

/// Moments that all threads know; `u64::MAX` while they are still to come.
struct Moments {
    quiet_ns: AtomicU64,
    quiet_until_ns: AtomicU64,
    attack_ns: AtomicU64,
    publishers_end: AtomicBool,
    subscribers_end: AtomicBool,
}

/// What one subscriber has noticed.
#[derive(Default)]
pub struct Heard {
    /// Latencies before the attack.
    pub quiet: Latency,
    /// Latencies from its beginning on.
    pub attack: Latency,
    /// Messages.
    pub messages: u64,
    /// Messages that gap notices said would not come.
    pub announced: u64,
    /// Payloads that are not what was sent.
    pub corrupt: u64,
    /// The server ended the connection.
    pub is_closed: bool,
}

/// What all have noticed.
pub struct Noticed {
    /// Each shard's subscriber.
    pub shards: Vec<Heard>,
    /// Messages that the publishers handed to the kernel.
    pub published: u64,
    /// Publishers that the server ended, or answered with an error.
    pub publishers_refused: u64,
}

/// A subscriber's thread, and how much it has.
struct Subscriber {
    thread: JoinHandle<Result<Heard>>,
    accounted: Arc<AtomicU64>,
}

/// The quiet ones at work.
pub struct Quiet {
    moments: Arc<Moments>,
    load: Load,
    field: Arc<Field>,
    subscribers: Vec<Subscriber>,
    ready: Vec<Client>,
    publishers: Vec<JoinHandle<(u64, bool)>>,
}

impl Quiet {
    /// Connects all of them; nothing is published yet.
    ///
    /// # Errors
    /// When one is refused.
    pub fn join(field: &Arc<Field>, load: Load) -> Result<Quiet> {
        let later = || AtomicU64::new(u64::MAX);
        let moments = Arc::new(Moments {
            quiet_ns: later(),
            quiet_until_ns: later(),
            attack_ns: later(),
            publishers_end: AtomicBool::new(false),
            subscribers_end: AtomicBool::new(false),
        });
        let mut quiet = Quiet {
            moments,
            load,
            field: field.clone(),
            subscribers: Vec::new(),
            ready: Vec::new(),
            publishers: Vec::new(),
        };
        for shard in 0..load.shards {
            let mut client = Client::connect(field.server, shard, &Wish::default())?;
            client.send(r#"{"type":"subscribe","topics":["quiet/*"]}"#, field)?;
            anyhow::ensure!(client.settle(field)?, "a quiet subscriber is not answered");
            let (moments, accounted) = (quiet.moments.clone(), Arc::new(AtomicU64::new(0)));
            let told = accounted.clone();
            let thread = std::thread::spawn(move || subscribe(client, &moments, &told));
            quiet.subscribers.push(Subscriber { thread, accounted });
            let publisher = Client::connect(field.server, shard, &Wish::default())?;
            publisher.wait_for_reads(BRIEF)?;
            quiet.ready.push(publisher);
        }
        Ok(quiet)
    }

    /// The publishers begin.
    pub fn begin(&mut self) {
        for (shard, client) in self.ready.drain(..).enumerate() {
            let (moments, load, field) = (self.moments.clone(), self.load, self.field.clone());
            self.publishers.push(std::thread::spawn(move || publish(client, shard, load, &field, &moments)));
        }
    }

    /// From now on latencies count as quiet ones.
    pub fn count_quiet(&self) {
        self.moments.quiet_ns.store(clock::now_ns(), Relaxed);
    }

    /// They no longer do.
    pub fn quiet_is_over(&self) {
        self.moments.quiet_until_ns.store(clock::now_ns(), Relaxed);
    }

    /// From now on they count as the attack's.
    pub fn count_attack(&self) {
        self.moments.attack_ns.store(clock::now_ns(), Relaxed);
    }

    /// The publishers end, and the subscribers once they have everything, or nothing has come for `patience`.
    ///
    /// # Errors
    /// When a thread has failed.
    pub fn finish(self, patience: Duration) -> Result<Noticed> {
        self.moments.publishers_end.store(true, Relaxed);
        let (mut published, mut publishers_refused) = (0, 0);
        for publisher in self.publishers {
            let (sent, is_refused) = publisher.join().ok().context("a publisher panicked")?;
            published += sent;
            publishers_refused += u64::from(is_refused);
        }
        let mut last = (0, Instant::now());
        loop {
            let accounted: Vec<u64> = self.subscribers.iter().map(|one| one.accounted.load(Relaxed)).collect();
            let sum: u64 = accounted.iter().sum();
            if sum != last.0 {
                last = (sum, Instant::now());
            }
            if accounted.iter().all(|one| *one >= published) || last.1.elapsed() > patience {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.moments.subscribers_end.store(true, Relaxed);
        let joined = self.subscribers.into_iter().map(|one| one.thread.join().ok().context("a subscriber panicked")?);
        Ok(Noticed { shards: joined.collect::<Result<_>>()?, published, publishers_refused })
    }
}

/// One subscriber: reads until it is told that there is no more.
fn subscribe(mut client: Client, moments: &Moments, accounted: &AtomicU64) -> Result<Heard> {
    let mut heard = Heard::default();
    let mut checker = Checker::default();
    while !moments.subscribers_end.load(Relaxed) {
        let is_open = client.read(|object| match object.kind {
            b"message" => {
                let now_ns = clock::now_ns();
                heard.messages += 1;
                match checker.check(payload_of(object.data)) {
                    Some(stamp) => heard.record(stamp, now_ns, moments),
                    None => heard.corrupt += 1,
                }
            }
            b"gap" => heard.announced += object.to - object.from + 1,
            _ => {}
        });
        accounted.store(heard.messages + heard.announced, Relaxed);
        if !is_open.unwrap_or(false) {
            heard.is_closed = true;
            break;
        }
    }
    Ok(heard)
}

impl Heard {
    fn record(&mut self, stamp: Stamp, now_ns: u64, moments: &Moments) {
        let at = stamp.intended_ns;
        let ns = now_ns.saturating_sub(at);
        if at >= moments.attack_ns.load(Relaxed) {
            self.attack.record(ns);
        } else if (moments.quiet_ns.load(Relaxed)..moments.quiet_until_ns.load(Relaxed)).contains(&at) {
            self.quiet.record(ns);
        }
    }
}

/// One publisher, until it is told to end: how many messages, and whether the server refused any.
fn publish(mut client: Client, shard: usize, load: Load, field: &Field, moments: &Moments) -> (u64, bool) {
    let topic = format!("quiet/{shard}");
    let interval_ns = 1e9 / load.rate;
    // Not in step with the other one.
    let began = clock::now_ns() + (interval_ns * shard as f64 / f64::from(load.shards)) as u64;
    let mut writer = Writer::new(Look::Text, 1);
    let (mut payload, mut object) = (Vec::new(), Vec::new());
    let (mut sent, mut is_open) = (0u64, true);
    while is_open && !moments.publishers_end.load(Relaxed) {
        let intended_ns = began + (sent as f64 * interval_ns) as u64;
        // What the server says is read meanwhile: its pings, and errors.
        if clock::now_ns() + 2 * (BRIEF.as_nanos() as u64) < intended_ns {
            is_open = client.read(|_| ()).unwrap_or(false);
        }
        clock::sleep_until(intended_ns);
        writer.write(&mut payload, Stamp { seq: sent + 1, intended_ns }, load.bytes);
        object.clear();
        publisher::write_publish(&mut object, &topic, load.priority, Look::Text, &payload);
        let text = String::from_utf8_lossy(&object);
        is_open &= client.send(&text, field).unwrap_or(false);
        sent += u64::from(is_open);
    }
    // Until the server has taken all of it.
    is_open &= client.settle(field).unwrap_or(false);
    (sent, !is_open || client.errors > 0)
}
