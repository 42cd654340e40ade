//! Job: OpenTelemetry: what befell a sample of messages and connections goes to a collector as spans.
//! Knows: the engine's traces, when to send. Must never know: how a shard works.
//!
//! `span` makes spans of events, `otlp` writes them down, `collector` sends them. One thread, apart from the shards; nobody waits for
//! it. What it holds is bounded: a queue of events, and one batch of spans. What comes while the collector does not answer is lost, and
//! said.

mod collector;
mod otlp;
mod span;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use fanwire::{Engine, TraceEvent, Traces, TracesConfig};

pub use self::collector::CollectorUrl;
use self::collector::{Collector, Sent};
use self::span::{Ids, Span};
use crate::clock;

/// Events that may wait.
const EVENTS_MAX: usize = 8_192;
/// Spans of one request…
const BATCH_MAX: usize = 512;
/// …which is sent this long after the first of them at the latest.
const BATCH_WITHIN: Duration = Duration::from_secs(1);
/// How often it is looked whether all is over.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long the end of the process waits for what was told last.
const END_WITHIN: Duration = Duration::from_secs(5);
/// The first pause after a failure; it doubles, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What the settings below `tracing` say.
#[derive(Clone, Debug, PartialEq)]
pub struct SpansConfig {
    /// Where the collector is.
    pub url: CollectorUrl,
    /// The part of messages and connections that is chosen by chance.
    pub sample: f64,
}

/// The thread.
pub struct Running {
    is_over: Arc<AtomicBool>,
    /// Closed when it has ended.
    ended: Receiver<()>,
}

impl Running {
    /// The engine has ended: what it has told is sent, and that is all. Waits for that, but for no collector that is slow.
    pub fn end(self) {
        self.is_over.store(true, Relaxed);
        if self.ended.recv_timeout(END_WITHIN) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!(event = "tracing.lost", "tracing: the collector is slow: what was told last is lost");
        }
    }
}

/// Has what befalls a sample sent, from now on. `None`: it cannot be, which is said; a server works without.
pub fn start(engine: &Engine, config: SpansConfig) -> Option<Running> {
    let SpansConfig { url, sample } = config;
    let begun = || -> Result<_, String> {
        let collector = Collector::new(&url)?;
        let traces =
            engine.traces(TracesConfig { sample, events_max: EVENTS_MAX }).map_err(|error| error.to_string())?;
        let is_over = Arc::new(AtomicBool::new(false));
        let mut sender = Sender::new(traces, collector, is_over.clone());
        let (ends, ended) = channel::<()>();
        let run = move || {
            sender.run();
            drop(ends);
        };
        thread::Builder::new().name("spans".into()).spawn(run).map_err(|error| error.to_string())?;
        Ok(Running { is_over, ended })
    };
    match begun() {
        Ok(running) => {
            let (percent, kib) = (100.0 * sample, (EVENTS_MAX * size_of::<TraceEvent>()) >> 10);
            tracing::info!(
                event = "tracing.started",
                "tracing: {percent} % of the messages and connections, to {url}; {kib} KiB of events may wait"
            );
            Some(running)
        }
        Err(problem) => {
            tracing::error!(event = "tracing.not_started", "tracing: {problem}");
            None
        }
    }
}

/// Gathers spans and sends them.
struct Sender {
    traces: Traces,
    collector: Collector,
    ids: Ids,
    is_over: Arc<AtomicBool>,
    batch: Vec<Span>,
    /// When the batch is to be sent.
    due: Option<Instant>,
    failures: u32,
    lost_told: u64,
}

impl Sender {
    fn new(traces: Traces, collector: Collector, is_over: Arc<AtomicBool>) -> Self {
        let (batch, ids) = (Vec::with_capacity(BATCH_MAX), Ids::default());
        Self { traces, collector, ids, is_over, batch, due: None, failures: 0, lost_told: 0 }
    }

    fn run(&mut self) {
        // What comes after that is looked at once more.
        while !self.is_over.load(Relaxed) {
            self.gather(LOOK_EVERY);
            let is_full = self.batch.len() >= BATCH_MAX && self.failures == 0;
            if is_full || self.due.is_some_and(|due| due <= clock::now()) {
                self.send();
            }
        }
        loop {
            self.gather(Duration::ZERO);
            if self.batch.is_empty() {
                return;
            }
            self.send();
            if self.failures > 0 {
                tracing::warn!(event = "tracing.lost", "tracing: {} spans were not sent", self.batch.len());
                return;
            }
        }
    }

    /// Takes events, as many as the batch has room for; waits up to `patience` for the first.
    fn gather(&mut self, patience: Duration) {
        if self.batch.len() >= BATCH_MAX {
            // The collector does not answer.
            return clock::sleep(patience);
        }
        let mut next = self.traces.wait(patience);
        while let Some(event) = next {
            self.due.get_or_insert_with(|| clock::now() + BATCH_WITHIN);
            self.batch.push(self.ids.span_of(&event));
            next = if self.batch.len() < BATCH_MAX { self.traces.next() } else { None };
        }
    }

    fn send(&mut self) {
        match self.collector.send(&otlp::request(&self.batch, self.ids.instance())) {
            Sent::Taken => {
                if std::mem::take(&mut self.failures) > 0 {
                    tracing::info!(event = "tracing.goes_on", "tracing: the collector answers again");
                }
            }
            Sent::Refused(why) => {
                let spans = self.batch.len();
                tracing::warn!(event = "tracing.refused", spans, "tracing: the collector refuses {spans} spans: {why}");
                self.failures = 0;
            }
            Sent::Later(why) => {
                if self.failures == 0 {
                    tracing::warn!(event = "tracing.failed", "tracing: {why}; it is tried again");
                }
                self.due = Some(clock::now() + pause(self.failures));
                self.failures += 1;
                return;
            }
        }
        self.batch.clear();
        self.due = None;
        self.tell_lost();
    }

    fn tell_lost(&mut self) {
        let lost = self.traces.lost() - self.lost_told;
        if lost > 0 {
            self.lost_told += lost;
            tracing::warn!(
                event = "tracing.lost",
                lost,
                "tracing: {lost} events found no room: a smaller tracing.sample"
            );
        }
    }
}

/// The pause after so many failures in a row before.
fn pause(failures: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << failures.min(16)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute() {
        let pauses = [0, 1, 5, 6, 99].map(|failures| pause(failures).as_secs());
        assert_eq!(pauses, [1, 2, 32, 60, 60]);
    }
}
