//! Job: how long a message takes through this server as it is now: measured, and held against the times before.
//! Knows: what a run gives, which one is out of the ordinary. Must never know: who asks for it.

mod history;
mod measure;

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use serde::Serialize;

use self::history::History;
pub use self::measure::{Measured, measure};
use super::answer::Refused;
use super::desk::Inbox;
use crate::clock;
use crate::exit::Failure;

/// See the module's head.
pub struct Benchmark {
    desk: Inbox,
    /// Where the engine is connected to.
    path: Option<String>,
    turn: Turn,
    history: Mutex<History>,
}

/// Whose turn it is: one run at a time.
#[derive(Default)]
struct Turn(Arc<AtomicBool>);

/// A turn, until it is dropped.
struct Taken(Arc<AtomicBool>);

impl Turn {
    fn take(&self) -> Option<Taken> {
        let is_taken = self.0.swap(true, Ordering::AcqRel);
        (!is_taken).then(|| Taken(self.0.clone()))
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// What a run has come to.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub at_ms: u64,
    #[serde(flatten)]
    pub measured: Measured,
    /// The usual `p99`, where there were enough runs before.
    pub usual_p99_us: Option<u64>,
    /// It took far longer than usual, or messages were lost.
    pub is_regression: bool,
}

impl Benchmark {
    /// `desk`: one of its own, for a run takes its time. `path`: where observers connect.
    pub fn new(desk: Inbox, path: Option<String>) -> Self {
        Benchmark { desk, path, turn: Turn::default(), history: Mutex::default() }
    }

    /// Measures.
    ///
    /// # Errors
    /// 409: somebody measures already; 503: the server ends, or there is no way to the engine.
    pub async fn run(&self) -> Result<Report, Refused> {
        let Some(path) = self.path.clone() else {
            return Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, "there is no way to the engine (see the log)"));
        };
        let taken = self.turn.take();
        let taken = taken.ok_or_else(|| Refused::new(StatusCode::CONFLICT, "somebody measures already"))?;
        let measuring = self.desk.ask(move |server| {
            // Whoever has asked may be gone before the end: it is still their turn.
            let _taken = taken;
            measure(server, &path)
        });
        let measured: Result<Measured, Failure> = measuring.await?;
        let measured = measured
            .map_err(|failure| Refused::new(StatusCode::SERVICE_UNAVAILABLE, format!("{:#}", failure.error)))?;
        let report = self.history().take(measured, clock::unix_us() / 1_000);
        let (p99, usual) = (report.measured.latency_us.p99, report.usual_p99_us.unwrap_or_default());
        let (delivered, expected) = (report.measured.delivered, report.measured.expected);
        match report.is_regression {
            true => tracing::warn!(
                event = "benchmark.regression",
                p99_us = p99,
                usual_p99_us = usual,
                delivered,
                expected,
                "benchmark: {delivered} of {expected} messages, 99 % within {p99} us; {usual} us are usual"
            ),
            false => tracing::info!(
                event = "benchmark.run",
                p99_us = p99,
                delivered,
                expected,
                "benchmark: {delivered} of {expected} messages, 99 % within {p99} us"
            ),
        }
        Ok(report)
    }

    /// Measures again and again, as long as it is asked for.
    pub async fn run_every(&self, every: Duration) {
        loop {
            tokio::time::sleep(every).await;
            // Told where it is run; somebody else who measures has done what was to be done.
            let _ = self.run().await;
        }
    }

    /// As OpenMetrics has it.
    pub fn write(&self, text: &mut String) {
        let history = self.history();
        let mut counter = |name: &str, help: &str, value: u64| {
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} counter\n{name}_total {value}\n");
        };
        counter("fanwire_benchmark_runs", "Measurements of this server by itself.", history.runs);
        counter("fanwire_benchmark_regressions", "Of them far slower than usual, or with losses.", history.regressions);
        let Some(newest) = history.newest() else { return };
        for (name, us) in
            [("p50", newest.latency_us.p50), ("p95", newest.latency_us.p95), ("p99", newest.latency_us.p99)]
        {
            let name = format!("fanwire_benchmark_{name}_seconds");
            let help = "How long messages took from publisher to subscriber, in the newest measurement.";
            let seconds = us as f64 / 1e6;
            let _ =
                write!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n# UNIT {name} seconds\n{name} {seconds}\n");
        }
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
