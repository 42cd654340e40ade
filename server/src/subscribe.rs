//! Job: `fanwire sub`: what arrives goes to stdout, a message a line.
//! Knows: stdout, counting. Must never know: how messages travel.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;
use std::time::Duration;

use fanwire::proto::close::CloseCode;

use crate::args::SubArgs;
use crate::client::{Client, Closed, Incoming};
use crate::clock;
use crate::envelope::{self, Envelope};
use crate::exit::{Exit, Failure, OrExit, Outcome};
use crate::signals::StopRequests;
use crate::stats::Stats;

/// Output is gathered to this size while more is there to be printed.
const OUTPUT_BYTES: usize = 128 << 10;
const LOOK_UP: Duration = Duration::from_millis(200);
/// The request's number, and that of the ping that tells when it is done.
const SUBSCRIBE_ID: u64 = 1;
/// Time the server gets to answer our close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs the command.
///
/// # Errors
/// Where it cannot connect, stdout cannot be written, the server refuses, or the connection breaks.
pub fn run(args: &SubArgs) -> Outcome {
    let stop = StopRequests::listen().or_exit(Exit::Software, || "cannot wait for signals".into())?;
    let mut client = Client::connect(&args.url, envelope::PROTOCOL, args.timeout.0)?;
    let mut request = Vec::new();
    envelope::write_subscribe(&mut request, SUBSCRIBE_ID, &args.topics);
    client.send_text(&request);
    // A pattern is confirmed only when a topic matches it; a pong comes after all that was asked before.
    envelope::write_ping(&mut request, SUBSCRIBE_ID);
    client.send_text(&request);
    let mut printer = Printer {
        args,
        out: BufWriter::with_capacity(OUTPUT_BYTES, io::stdout().lock()),
        stats: Stats::new(clock::now()),
        subscribed: 0,
        refused: 0,
    };
    let end = printer.follow(&mut client, &stop);
    let end = printer.flushed(end);
    if args.stats {
        eprintln!("{}", printer.stats.summary(clock::now()));
    }
    match end? {
        End::Counted | End::Unread => {
            leave(client);
            Ok(ExitCode::SUCCESS)
        }
        End::Stopped => {
            leave(client);
            Ok(ExitCode::from(stop.exit_code()))
        }
        End::Refused => Err(Failure::message(Exit::Failed, "the server accepted none of the subscriptions")),
        End::Closed(closed) => {
            let missing = args.count.filter(|count| printer.stats.messages() < *count);
            match missing {
                Some(count) => Err(Failure::message(
                    Exit::Failed,
                    format!("{}: {closed}, after {} of {count} messages", args.url, printer.stats.messages()),
                )),
                None if closed.is_orderly() => {
                    tracing::info!("{}: {closed}", args.url);
                    Ok(ExitCode::SUCCESS)
                }
                None if closed.code == CloseCode::ABNORMAL.to_u16() => Err(Failure::message(Exit::Io, format!("{}: {closed}", args.url))),
                None => Err(Failure::message(Exit::Failed, format!("{}: {closed}", args.url))),
            }
        }
    }
}

/// Why it ends.
enum End {
    /// As many messages as were asked for.
    Counted,
    /// Whoever read our output does no longer.
    Unread,
    /// A signal.
    Stopped,
    /// No subscription came to be.
    Refused,
    /// The server closed, or the connection broke.
    Closed(Closed),
}

/// Why printing did not go on.
enum Stop {
    End(End),
    Write(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Stop::Write(error)
    }
}

struct Printer<'a, W: Write> {
    args: &'a SubArgs,
    out: W,
    stats: Stats,
    subscribed: u64,
    refused: u64,
}

impl<W: Write> Printer<'_, W> {
    fn follow(&mut self, client: &mut Client, stop: &StopRequests) -> Result<End, Failure> {
        if self.args.count == Some(0) {
            return Ok(End::Counted);
        }
        loop {
            while let Some(incoming) = client.next() {
                let printed = match incoming {
                    Incoming::Text(text) => self.take(text),
                    Incoming::Binary(_) => Ok(()),
                    Incoming::Closed(closed) => return Ok(End::Closed(closed)),
                };
                match printed {
                    Ok(()) => {}
                    Err(Stop::End(end)) => return Ok(end),
                    Err(Stop::Write(error)) => return unwritable(error),
                }
            }
            if let Err(error) = self.out.flush() {
                return unwritable(error);
            }
            let now = clock::now();
            if self.args.stats && now >= self.stats.next_line() {
                eprintln!("{}", self.stats.line(now));
            }
            if stop.is_asked() {
                return Ok(End::Stopped);
            }
            let look_up = now + LOOK_UP;
            let until = if self.args.stats { look_up.min(self.stats.next_line()) } else { look_up };
            client.step(Some(until), None)?;
        }
    }

    fn flushed(&mut self, end: Result<End, Failure>) -> Result<End, Failure> {
        match self.out.flush() {
            Ok(()) => end,
            Err(error) => end.and_then(|_| unwritable(error)),
        }
    }

    fn take(&mut self, text: &[u8]) -> Result<(), Stop> {
        let envelope = match Envelope::parse(text) {
            Ok(envelope) => envelope,
            Err(error) => {
                tracing::warn!("the server sent what cannot be read: {error}");
                return Ok(());
            }
        };
        match &*envelope.kind {
            "message" => return self.print(text, &envelope),
            "gap" => self.report_gap(text, &envelope)?,
            "subscribed" => {
                self.subscribed += 1;
                tracing::debug!("subscribed to {}", envelope.topic);
            }
            "pong" => {
                if self.refused >= self.args.topics.len() as u64 && self.subscribed == 0 {
                    return Err(Stop::End(End::Refused));
                }
                tracing::info!("subscribed to {} at {}", self.args.topics.join(", "), self.args.url);
            }
            "error" => {
                self.refused += 1;
                tracing::error!("the server refused: {}", envelope.error_text());
            }
            // `welcome`, and what a later server may say.
            _ => {}
        }
        Ok(())
    }

    fn print(&mut self, text: &[u8], envelope: &Envelope<'_>) -> Result<(), Stop> {
        let Some(payload) = envelope.payload() else {
            tracing::warn!("a message of {} has no payload that can be read", envelope.topic);
            return Ok(());
        };
        self.out.write_all(if self.args.json { text } else { &payload })?;
        self.out.write_all(b"\n")?;
        let age_us = envelope.time_us.filter(|_| self.args.stats).map(|then| clock::unix_us() as i64 - then as i64);
        self.stats.on_message(payload.len(), age_us);
        if self.args.count.is_some_and(|count| self.stats.messages() >= count) {
            return Err(Stop::End(End::Counted));
        }
        Ok(())
    }

    fn report_gap(&mut self, text: &[u8], gap: &Envelope<'_>) -> Result<(), Stop> {
        let (from, to) = (gap.from.unwrap_or(0), gap.to.unwrap_or(0));
        let lost = to.saturating_sub(from).saturating_add(1);
        self.stats.on_gap(lost);
        tracing::warn!("gap: {lost} messages of {} ({}) were lost: {from} to {to}, {}", gap.topic, gap.priority, gap.reason);
        if self.args.json {
            self.out.write_all(text)?;
            self.out.write_all(b"\n")?;
        }
        Ok(())
    }
}

/// A reader that went away, such as `head`, is no failure.
fn unwritable(error: io::Error) -> Result<End, Failure> {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Ok(End::Unread);
    }
    Err(Failure::new(Exit::Io, anyhow::Error::new(error).context("cannot write to stdout")))
}

/// Closes in order, without insisting.
fn leave(mut client: Client) {
    client.close(CloseCode::NORMAL, "");
    let deadline = clock::now() + CLOSE_TIMEOUT;
    while clock::now() < deadline {
        if client.step(Some(deadline), None).is_err() {
            return;
        }
        while let Some(incoming) = client.next() {
            if matches!(incoming, Incoming::Closed(_)) {
                return;
            }
        }
    }
}
