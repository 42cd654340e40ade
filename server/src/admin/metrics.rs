//! Job: the text that a scraper gets: rendered at most ten times a second, whoever asks how often.
//! Knows: the engine's text, the process's, the admin port's own counters. Must never know: who asks.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use tokio::sync::Mutex;

use super::answer::Refused;
use super::process::Process;
use super::state::State;
use crate::clock;
use crate::operate::before_end;

/// How long a text holds.
const EVERY: Duration = Duration::from_millis(100);
/// Longest text.
pub const BYTES_MAX: usize = 4 << 20;

/// The newest text.
#[derive(Default)]
pub struct Metrics(Mutex<Option<(Instant, Bytes)>>);

impl Metrics {
    /// A text that is at most [`EVERY`] old. Those who ask while one is rendered get that one.
    ///
    /// # Errors
    /// The server ends.
    pub async fn text(&self, state: &State) -> Result<Bytes, Refused> {
        let mut newest = self.0.lock().await;
        if let Some((at, text)) = &*newest
            && clock::now().saturating_duration_since(*at) < EVERY
        {
            return Ok(text.clone());
        }
        let of_engine = state.desk.ask(|server| server.metrics()).await?;
        let at = clock::now();
        let text = Bytes::from(state.render(of_engine));
        *newest = Some((at, text.clone()));
        Ok(text)
    }
}

impl State {
    fn render(&self, of_engine: String) -> String {
        before_end(of_engine, |text| self.write(text))
    }

    fn write(&self, text: &mut String) {
        let uptime = clock::now().saturating_duration_since(self.started);
        Process::read().write(text, clock::unix_us() as f64 / 1e6 - uptime.as_secs_f64());
        self.benchmark.write(text);
        let mut counter = |name: &str, help: &str, value: u64| {
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} counter\n{name}_total {value}\n");
        };
        counter(
            "fanwire_admin_refused_requests",
            "Requests that the admin port has refused for who made them.",
            self.refused.count(),
        );
    }
}
