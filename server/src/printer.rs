//! Job: what `sub` prints: messages and gaps as lines of stdout, counted, and noted in the state once they are written.
//! Knows: stdout, lines. Must never know: how messages travel.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use fanwire::proto::json::{self, Body, JsonCheck};
use fanwire::proto::server_message::Gap;

use crate::args::SubArgs;
use crate::client::Watched;
use crate::clock;
use crate::exit::{Exit, Failure, OrExit};
use crate::feed::{Delivery, Topic};
use crate::follow::{Sink, Written, tell_gap};
use crate::ledger::{Ledger, Numbering};
use crate::output::Output;
use crate::plain;
use crate::state::{Change, Recorder, WriteError};
use crate::stats::Stats;
use crate::stderr;

/// What may wait for the reader of stdout before nothing more is read from the server.
pub const QUEUE_BYTES_MAX: usize = 8 << 20;

/// Stdout, what is noted of it, and what is counted.
pub struct Printer<'a> {
    args: &'a SubArgs,
    out: Output,
    recorder: Option<Recorder>,
    is_terminal: bool,
    /// An object for `--json` that did not come as JSON.
    rendered: Vec<u8>,
    check: JsonCheck,
    /// Counts.
    pub stats: Stats,
}

impl<'a> Printer<'a> {
    /// Opens stdout and the state.
    ///
    /// # Errors
    /// As [`Recorder::open`].
    pub fn open(args: &'a SubArgs) -> Result<(Self, Ledger), Failure> {
        let out = Output::stdout().or_exit(Exit::Io, || "cannot write to stdout".into())?;
        let (recorder, ledger) = match &args.state {
            Some(path) => {
                let (recorder, ledger) = Recorder::open(path, &out)?;
                (Some(recorder), ledger)
            }
            None => (None, Ledger::default()),
        };
        let printer = Printer {
            args,
            out,
            recorder,
            is_terminal: io::IsTerminal::is_terminal(&io::stdout()),
            rendered: Vec::new(),
            check: JsonCheck::new(),
            stats: Stats::new(clock::now()),
        };
        Ok((printer, ledger))
    }

    fn note(&mut self, topic: &str, change: Change) {
        let end = self.out.end();
        if let Some(recorder) = &mut self.recorder {
            recorder.note(topic, change, end);
        }
    }

    /// Leaves the state in order.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn leave_state(&mut self) -> Result<(), Failure> {
        match &mut self.recorder {
            Some(recorder) => recorder.snapshot(&self.out),
            None => Ok(()),
        }
    }
}

impl Sink for Printer<'_> {
    fn has_room(&self) -> bool {
        self.out.queued_bytes() < QUEUE_BYTES_MAX
    }

    fn on_message(&mut self, message: &Delivery<'_>) {
        match (self.args.json, message.object) {
            (true, Some(object)) => self.out.push(&plain::json(object.as_bytes(), self.is_terminal)),
            (true, None) => {
                self.rendered.clear();
                let body = Body::of(message.kind, message.payload, &mut self.check);
                let mut topic = Vec::with_capacity(message.topic.len());
                json::escape_topic(message.topic, &mut topic);
                let time_us = message.time_us.unwrap_or_default();
                json::message(&mut self.rendered, &topic, message.priority, message.seq, time_us, &body);
                self.out.push(&plain::json(&self.rendered, self.is_terminal));
            }
            (false, _) if self.is_terminal => self.out.push(plain::payload(message.payload).as_bytes()),
            (false, _) => self.out.push(message.payload),
        }
        self.out.push(b"\n");
        self.note(message.topic, Change::Advance(message.priority, message.seq));
        let age_us = message.time_us.filter(|_| self.args.stats).map(|time| clock::unix_us() as i64 - time as i64);
        self.stats.on_message(message.payload.len(), age_us);
    }

    fn on_gap(&mut self, gap: &Gap<'_>) {
        tell_gap(&mut self.stats, gap);
        if self.args.json {
            self.rendered.clear();
            json::gap(&mut self.rendered, gap);
            self.out.push(&plain::json(&self.rendered, self.is_terminal));
            self.out.push(b"\n");
        }
        self.note(&gap.topic, Change::Advance(gap.priority, gap.to));
    }

    fn on_topic(&mut self, topic: &Topic<'_>) {
        match topic.numbering {
            Numbering::Goes => return,
            Numbering::Begins => {}
            Numbering::BeganAnew => {
                tracing::warn!("{} is numbered anew: what was published meanwhile may be missing", topic.name);
            }
        }
        self.note(topic.name, Change::Set(topic.numbers));
    }

    fn on_in_force(&mut self) -> Result<(), Failure> {
        match &mut self.recorder {
            Some(recorder) => recorder.on_in_force(&self.args.topics, &self.out),
            None => Ok(()),
        }
    }

    fn write(&mut self) -> Result<Written, Failure> {
        let written = match &mut self.recorder {
            Some(recorder) => recorder.write(&mut self.out),
            None => self.out.write_some().map_err(WriteError::Output),
        };
        match written {
            Ok(true) => Ok(Written::All),
            Ok(false) => Ok(Written::Some),
            // A reader that went away, such as `head`, is no failure.
            Err(WriteError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Written::Unread),
            Err(WriteError::Output(error)) => {
                Err(Failure::new(Exit::Io, anyhow::Error::new(error).context("cannot write to stdout")))
            }
            Err(WriteError::State(failure)) => Err(failure),
        }
    }

    fn messages(&self) -> u64 {
        self.stats.messages()
    }

    fn watched(&self) -> Option<Watched<'_>> {
        self.out.watched()
    }

    fn reader(&self) -> Option<BorrowedFd<'_>> {
        self.out.reader()
    }

    fn next_line(&self) -> Option<Instant> {
        self.args.stats.then(|| self.stats.next_line())
    }

    fn say(&mut self, now: Instant) {
        stderr::say("INFO", &self.stats.line(now));
    }
}
