//! Job: a progress bar on a terminal; nothing elsewhere.
//! Knows: indicatif. Must never know: what progresses.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::units::grouped;

/// Messages between two looks at the bar: looking costs more than a message.
const EVERY: u64 = 256;

/// Progress through a file, in bytes as it lies there.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    read: Arc<AtomicU64>,
    messages: u64,
}

impl Progress {
    /// A bar for a file of `size` bytes (`None`: a spinner), shown only where stderr is a terminal.
    pub fn new(size: Option<u64>) -> Self {
        let target = if io::stderr().is_terminal() {
            ProgressDrawTarget::stderr_with_hz(10)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(size, target);
        let template = match size {
            Some(_) => "{wide_bar:.cyan/238} {percent:>3} %  {msg}  {elapsed_precise}",
            None => "{spinner} {msg}  {elapsed_precise}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("━━─"));
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        Progress { bar, read: Arc::new(AtomicU64::new(0)), messages: 0 }
    }

    /// What counts the bytes read.
    pub fn read_bytes(&self) -> Arc<AtomicU64> {
        self.read.clone()
    }

    /// Counts a message.
    pub fn on_message(&mut self) {
        self.messages += 1;
        if self.messages.is_multiple_of(EVERY) {
            self.show();
        }
    }

    /// Shows where it stands.
    pub fn show(&self) {
        if !self.bar.is_hidden() {
            self.bar.set_position(self.read.load(Ordering::Relaxed));
            self.bar.set_message(format!("{} messages", grouped(self.messages)));
        }
    }

    /// Messages counted.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Takes the bar away.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
