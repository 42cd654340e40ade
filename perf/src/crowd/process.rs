//! A crowd as the scenario sees it: a child process with a pipe each way.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{Command, Event, Report, Spec};

/// What all crowds of this process have reported.
static DELIVERIES: AtomicU64 = AtomicU64::new(0);

/// Messages that crowds have got and checked since this process began, as far as they have reported.
pub fn deliveries() -> u64 {
    DELIVERIES.load(Relaxed)
}

/// A running crowd. Dropping it ends it.
pub struct Crowd {
    child: Child,
    stdin: ChildStdin,
    events: Receiver<Event>,
    /// What it has reported.
    deliveries: u64,
}

impl Crowd {
    /// Starts the process; [`Crowd::ready`] waits for it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(spec: &Spec) -> Result<Crowd> {
        Self::start_within(&[], spec)
    }

    /// The same behind the words of another command, which becomes it: `nsenter …`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_within(words: &[String], spec: &Spec) -> Result<Crowd> {
        let mut child = crate::server::command_within(words, &std::env::current_exe()?)
            .arg("crowd")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting a crowd")?;
        let mut stdin = child.stdin.take().context("a crowd's stdin")?;
        let stdout = child.stdout.take().context("a crowd's stdout")?;
        let (sender, events) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or_else(|_| Event::Failed(format!("said: {line}")));
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        writeln!(stdin, "{}", serde_json::to_string(spec)?)?;
        Ok(Crowd { child, stdin, events, deliveries: 0 })
    }

    /// Waits until all members are connected; returns how long they took.
    ///
    /// # Errors
    /// When they are not.
    pub fn ready(&self) -> Result<Duration> {
        match self.next(Duration::from_secs(150))? {
            Event::Ready { ns } => Ok(Duration::from_nanos(ns)),
            other => bail!("a crowd said {other:?} instead of ready"),
        }
    }

    /// What it has seen; `new_window` begins the next window.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn report(&mut self, new_window: bool) -> Result<Report> {
        self.tell(&Command::Report { new_window })?;
        match self.next(Duration::from_secs(60))? {
            Event::Report(report) => {
                let now = report.healthy.deliveries + report.apart.deliveries;
                DELIVERIES.fetch_add(now.saturating_sub(self.deliveries), Relaxed);
                self.deliveries = now;
                Ok(*report)
            }
            other => bail!("a crowd said {other:?} instead of a report"),
        }
    }

    /// The members apart stop reading.
    ///
    /// # Errors
    /// When the crowd is gone.
    pub fn stall(&mut self) -> Result<()> {
        self.tell(&Command::Stall)
    }

    /// They read again.
    ///
    /// # Errors
    /// When the crowd is gone.
    pub fn wake(&mut self) -> Result<()> {
        self.tell(&Command::Wake)
    }

    /// Sends the process a signal: STOP and CONT make all its members stand still, whatever they were doing.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: rustix::process::Signal) -> Result<()> {
        Ok(rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal)?)
    }

    /// All members go away, remembering what they had.
    ///
    /// # Errors
    /// When the crowd is gone.
    pub fn leave(&mut self) -> Result<()> {
        self.tell(&Command::Leave)?;
        match self.next(Duration::from_secs(60))? {
            Event::Left => Ok(()),
            other => bail!("a crowd said {other:?} instead of left"),
        }
    }

    /// All come back with `since`; [`Crowd::caught_up`] waits for them.
    ///
    /// # Errors
    /// When the crowd is gone.
    pub fn resume(&mut self, target: u64) -> Result<()> {
        self.tell(&Command::Resume { target })
    }

    /// Waits until all that came back have everything; returns how long they took.
    ///
    /// # Errors
    /// When they do not.
    pub fn caught_up(&self) -> Result<Duration> {
        match self.next(Duration::from_secs(150))? {
            Event::CaughtUp { ns } => Ok(Duration::from_nanos(ns)),
            other => bail!("a crowd said {other:?} instead of caught up"),
        }
    }

    fn tell(&mut self, command: &Command) -> Result<()> {
        writeln!(self.stdin, "{}", serde_json::to_string(command)?).context("a crowd is gone")
    }

    fn next(&self, patience: Duration) -> Result<Event> {
        match self.events.recv_timeout(patience) {
            Ok(Event::Failed(words)) => bail!("a crowd failed: {words}"),
            Ok(event) => Ok(event),
            Err(RecvTimeoutError::Timeout) => bail!("a crowd did not answer within {patience:?}"),
            Err(RecvTimeoutError::Disconnected) => bail!("a crowd ended"),
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
