//! Job: `fanwire sub`: what arrives goes to stdout, a message a line.
//! Knows: stdout, counting. Must never know: how messages travel.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;
use std::time::Duration;

use fanwire::proto::close::CloseCode;
use fanwire::proto::json::{self, server};
use fanwire::proto::server_message::{Gap, Message, ServerMessage};

use crate::args::SubArgs;
use crate::client::{Client, Closed, Incoming};
use crate::clock;
use crate::exit::{Exit, Failure, OrExit, Outcome};
use crate::requests;
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
    let mut client = Client::connect(&args.url, json::PROTOCOL, args.timeout.0)?;
    let mut request = Vec::new();
    requests::write_subscribe(&mut request, SUBSCRIBE_ID, &args.topics);
    client.send_text(&request);
    // A pattern is confirmed only when a topic matches it; a pong comes after all that was asked before.
    requests::write_ping(&mut request, SUBSCRIBE_ID);
    client.send_text(&request);
    let mut printer = Printer {
        args,
        out: BufWriter::with_capacity(OUTPUT_BYTES, io::stdout().lock()),
        payload: Vec::new(),
        stats: Stats::new(clock::now()),
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
        End::Refused(why) => Err(Failure::message(Exit::Failed, format!("the server refused to subscribe: {why}"))),
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
                None if closed.code == CloseCode::ABNORMAL.to_u16() => {
                    Err(Failure::message(Exit::Io, format!("{}: {closed}", args.url)))
                }
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
    /// The server does not want to subscribe.
    Refused(String),
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
    /// A payload that had to be decoded.
    payload: Vec<u8>,
    stats: Stats,
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

    fn take(&mut self, text: &str) -> Result<(), Stop> {
        match server::parse(text) {
            Ok(ServerMessage::Message(message)) => return self.print(text, &message),
            Ok(ServerMessage::Gap(gap)) => return self.report_gap(text, &gap),
            Ok(ServerMessage::Subscribed(subscribed)) => tracing::debug!("subscribed to {}", subscribed.topic),
            Ok(ServerMessage::Pong(_)) => {
                tracing::info!("subscribed to {} at {}", self.args.topics.join(", "), self.args.url)
            }
            Ok(ServerMessage::Error(error)) => {
                return Err(Stop::End(End::Refused(format!("{} ({})", error.message, error.code))));
            }
            Ok(_) => {}
            Err(error) => tracing::warn!("the server sent what cannot be read: {error}"),
        }
        Ok(())
    }

    fn print(&mut self, text: &str, message: &Message<'_>) -> Result<(), Stop> {
        let payload = match message.content.as_plain() {
            Some(payload) => payload,
            None => {
                self.payload.clear();
                if let Err(error) = message.content.decode(&mut self.payload) {
                    tracing::warn!("message {} of {} cannot be read: {error}", message.seq, message.topic);
                    return Ok(());
                }
                &self.payload
            }
        };
        self.out.write_all(if self.args.json { text.as_bytes() } else { payload })?;
        self.out.write_all(b"\n")?;
        let age_us = self.args.stats.then(|| clock::unix_us() as i64 - message.time_us as i64);
        self.stats.on_message(payload.len(), age_us);
        if self.args.count.is_some_and(|count| self.stats.messages() >= count) {
            return Err(Stop::End(End::Counted));
        }
        Ok(())
    }

    fn report_gap(&mut self, text: &str, gap: &Gap<'_>) -> Result<(), Stop> {
        let lost = gap.to.saturating_sub(gap.from).saturating_add(1);
        self.stats.on_gap(lost);
        let (from, to, reason) = (gap.from, gap.to, gap.reason.name());
        tracing::warn!("gap: {lost} messages of {} ({}) were lost: {from} to {to}, {reason}", gap.topic, gap.priority);
        if self.args.json {
            self.out.write_all(text.as_bytes())?;
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
