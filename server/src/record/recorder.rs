//! Job: takes what arrives and has a thread of its own write it, so that a slow disk holds up only the reading.
//! Knows: the queue between both and its limit. Must never know: connections, MCAP.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fanwire::proto::json;
use fanwire::proto::server_message::Gap;
use rustix::event::{EventfdFlags, PollFlags, eventfd};

use super::batch::{Batch, Entry, Stamp};
use super::files::{Files, Totals};
use crate::client::Watched;
use crate::clock;
use crate::exit::{Exit, Failure, OrExit};
use crate::feed::{Delivery, Topic};
use crate::follow::{Sink, Written, tell_gap};
use crate::ledger::Numbering;
use crate::stats::Stats;
use crate::stderr;

/// After so long without room it is said.
const PATIENCE: Duration = Duration::from_secs(5);

/// What both threads see.
struct Shared {
    /// Bytes that were handed over and are not written.
    queued: AtomicUsize,
    has_ended: AtomicBool,
    /// Readable once something was written, or writing has ended.
    wake: OwnedFd,
}

impl Shared {
    fn wake(&self) {
        // Only a counter that is full cannot be added to, and that is readable.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }
}

/// Tells that writing has ended, however that was.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.has_ended.store(true, Ordering::Release);
        self.0.wake();
    }
}

/// The sink.
pub struct Recorder {
    batch: Batch,
    ids: HashMap<String, u32>,
    topics: u32,
    queue: Option<Sender<Batch>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<Totals, Failure>>>,
    queue_bytes_max: usize,
    /// Since when there is no room, and whether that was said.
    full: Option<(Instant, bool)>,
    shows_stats: bool,
    /// Counts.
    pub stats: Stats,
}

impl Recorder {
    /// Begins to write to these files; `queue_bytes_max` may wait for them.
    ///
    /// # Errors
    /// Where there cannot be a thread.
    pub fn start(files: Files, queue_bytes_max: usize, shows_stats: bool) -> Result<Self, Failure> {
        let what = || "cannot start the thread that writes".to_owned();
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).or_exit(Exit::Software, what)?;
        let (queued, has_ended) = (AtomicUsize::new(0), AtomicBool::new(false));
        let shared = Arc::new(Shared { queued, has_ended, wake });
        let (queue, batches) = channel();
        let seen = Arc::clone(&shared);
        let thread = thread::Builder::new().name("recorder".into());
        let thread = thread.spawn(move || write_out(files, &batches, &seen)).or_exit(Exit::Software, what)?;
        Ok(Recorder {
            batch: Batch::default(),
            ids: HashMap::new(),
            topics: 0,
            queue: Some(queue),
            shared,
            thread: Some(thread),
            queue_bytes_max,
            full: None,
            shows_stats,
            stats: Stats::new(clock::now()),
        })
    }

    /// Bytes that arrived and are not written.
    fn waiting_bytes(&self) -> usize {
        self.shared.queued.load(Ordering::Acquire) + self.batch.size()
    }

    fn begin(&mut self, name: &str, epoch: u64) -> u32 {
        let id = self.topics;
        self.topics += 1;
        self.ids.insert(name.to_owned(), id);
        self.batch.push(Entry::Topic { id, name: name.to_owned(), epoch }, &[]);
        id
    }

    fn notice(&mut self, json: &[u8]) {
        self.batch.push(Entry::Notice { log_ns: clock::unix_us() * 1_000, bytes: json.len() }, json);
    }

    fn hand_over(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let batch = std::mem::take(&mut self.batch);
        self.shared.queued.fetch_add(batch.size(), Ordering::AcqRel);
        // Where nobody receives, writing has failed, and that is told.
        let _ = self.queue.as_ref().map(|queue| queue.send(batch));
    }

    fn join(&mut self) -> Result<Totals, Failure> {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(ended)) => ended,
            Some(Err(_)) => Err(Failure::message(Exit::Software, "the thread that writes has panicked")),
            None => Err(Failure::message(Exit::Software, "writing has ended before")),
        }
    }

    /// Writes what is left, and ends the file.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn finish(mut self) -> Result<Totals, Failure> {
        self.hand_over();
        self.queue = None;
        let mut says = clock::after(clock::now(), PATIENCE);
        while !self.shared.has_ended.load(Ordering::Acquire) {
            let mut polled = [rustix::event::PollFd::new(&self.shared.wake, PollFlags::IN)];
            let left = says.saturating_duration_since(clock::now());
            // A wait that fails is a wait that ends: the loop asks again.
            let _ = rustix::event::poll(&mut polled, Some(&crate::dial::timespec(left)));
            self.drain_wake();
            if clock::now() >= says {
                tracing::warn!("still writing {} bytes: the disk is slow", self.waiting_bytes());
                says = clock::after(clock::now(), PATIENCE);
            }
        }
        self.join()
    }

    fn drain_wake(&self) {
        let mut count = [0; 8];
        // Nothing to read is as good.
        let _ = rustix::io::read(&self.shared.wake, &mut count);
    }
}

impl Sink for Recorder {
    fn has_room(&self) -> bool {
        self.waiting_bytes() < self.queue_bytes_max
    }

    fn messages(&self) -> u64 {
        self.stats.messages()
    }

    fn on_message(&mut self, message: &Delivery<'_>) {
        let topic = match self.ids.get(message.topic) {
            Some(id) => *id,
            None => self.begin(message.topic, 0),
        };
        let now_us = clock::unix_us();
        let stamp = Stamp {
            topic,
            priority: message.priority,
            kind: message.kind,
            seq: message.seq,
            log_ns: now_us * 1_000,
            publish_ns: message.time_us.unwrap_or(now_us) * 1_000,
            bytes: message.payload.len(),
        };
        self.batch.push(Entry::Message(stamp), message.payload);
        let age_us = message.time_us.filter(|_| self.shows_stats).map(|time| now_us as i64 - time as i64);
        self.stats.on_message(message.payload.len(), age_us);
    }

    fn on_gap(&mut self, gap: &Gap<'_>) {
        tell_gap(&mut self.stats, gap);
        let mut rendered = Vec::new();
        json::gap(&mut rendered, gap);
        self.notice(&rendered);
    }

    fn on_topic(&mut self, topic: &Topic<'_>) {
        let (name, epoch) = (topic.name, topic.numbers.epoch);
        match topic.numbering {
            Numbering::Goes => {}
            Numbering::Begins => {
                self.begin(name, epoch);
            }
            Numbering::BeganAnew => {
                tracing::warn!("{name} is numbered anew: what was published meanwhile may be missing");
                self.begin(name, epoch);
                let mut rendered = br#"{"type":"renumbered","topic":"#.to_vec();
                json::string(&mut rendered, name);
                rendered.extend_from_slice(format!(",\"epoch\":{epoch}}}").as_bytes());
                self.notice(&rendered);
            }
        }
    }

    fn on_in_force(&mut self) -> Result<(), Failure> {
        self.batch.push(Entry::InForce, &[]);
        Ok(())
    }

    fn write(&mut self) -> Result<Written, Failure> {
        self.drain_wake();
        if self.shared.has_ended.load(Ordering::Acquire) {
            self.join()?;
            return Err(Failure::message(Exit::Software, "writing has ended before its time"));
        }
        self.hand_over();
        match (self.has_room(), self.full) {
            (true, _) => self.full = None,
            (false, None) => self.full = Some((clock::now(), false)),
            (false, Some(_)) => {}
        }
        Ok(if self.waiting_bytes() == 0 { Written::All } else { Written::Some })
    }

    fn watched(&self) -> Option<Watched<'_>> {
        Some(Watched::new(self.shared.wake.as_fd(), PollFlags::IN))
    }

    fn reader(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn next_line(&self) -> Option<Instant> {
        let full = self.full.filter(|(_, is_said)| !is_said).map(|(since, _)| clock::after(since, PATIENCE));
        [full, self.shows_stats.then(|| self.stats.next_line())].into_iter().flatten().min()
    }

    fn say(&mut self, now: Instant) {
        if let Some((since, is_said @ false)) = &mut self.full
            && now >= clock::after(*since, PATIENCE)
        {
            *is_said = true;
            tracing::warn!("the disk does not keep up: nothing more is read, and the server leaves out what it must");
        }
        if self.shows_stats && now >= self.stats.next_line() {
            stderr::say("INFO", &self.stats.line(now));
        }
    }
}

fn write_out(mut files: Files, batches: &Receiver<Batch>, shared: &Arc<Shared>) -> Result<Totals, Failure> {
    let _ending = Ending(Arc::clone(shared));
    loop {
        let got = match files.next_due() {
            Some(due) => batches.recv_timeout(due.saturating_duration_since(clock::now())),
            None => batches.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match got {
            Ok(batch) => {
                files.write(&batch)?;
                shared.queued.fetch_sub(batch.size(), Ordering::AcqRel);
                shared.wake();
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        files.on_time(clock::now())?;
    }
    files.end_file()?;
    Ok(files.totals())
}

#[cfg(test)]
#[path = "recorder_tests.rs"]
mod tests;
