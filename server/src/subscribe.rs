//! Job: `fanwire sub`: what arrives goes to stdout, a message a line.
//! Knows: stdout, counting. Must never know: how messages travel.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Duration;

use fanwire::proto::close::CloseCode;
use fanwire::proto::json::{self, Body, JsonCheck};
use fanwire::proto::server_message::Gap;

use crate::args::{ProtocolArg, SubArgs};
use crate::client::Closed;
use crate::clock;
use crate::console::tell;
use crate::exit::{Exit, Failure, OrExit, Outcome};
use crate::feed::{Delivery, Feed, Item, Wanted};
use crate::ledger::Ledger;
use crate::signals::StopRequests;
use crate::stats::Stats;

/// Output is gathered to this size while more is there to be printed.
const OUTPUT_BYTES: usize = 128 << 10;
const LOOK_UP: Duration = Duration::from_millis(200);
/// Time the server gets to answer our close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Pauses between attempts to connect again: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Runs the command.
///
/// # Errors
/// Where it cannot connect, stdout cannot be written, the server refuses, or the connection breaks.
pub fn run(args: &SubArgs) -> Outcome {
    let without_numbers =
        [("--json", args.json), ("--state", args.state.is_some()), ("--max-hz", args.max_hz.is_some())];
    if let (ProtocolArg::Raw, Some((option, _))) = (args.protocol, without_numbers.iter().find(|(_, given)| *given)) {
        let what = format!("{option} cannot be had with --protocol raw: messages are bare there");
        return Err(Failure { code: 2, error: anyhow::Error::msg(what) });
    }
    let stop = StopRequests::listen().or_exit(Exit::Software, || "cannot wait for signals".into())?;
    let mut ledger = match &args.state {
        Some(path) => Ledger::read(path)?,
        None => Ledger::default(),
    };
    let mut printer = Printer {
        args,
        out: BufWriter::with_capacity(OUTPUT_BYTES, io::stdout().lock()),
        rendered: Vec::new(),
        check: JsonCheck::new(),
        stats: Stats::new(clock::now()),
        is_in_force: false,
    };
    let end = printer.follow_through(&mut ledger, &stop);
    let end = printer.flushed(end);
    if args.stats {
        tell!("{}", printer.stats.summary(clock::now()));
    }
    if let Some(path) = &args.state {
        ledger.write(path)?;
    }
    match end? {
        End::Counted | End::Unread => Ok(ExitCode::SUCCESS),
        End::Stopped => Ok(ExitCode::from(stop.exit_code())),
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

/// Whether it makes sense to come back after this end: not where one side meant it, nor where we are in the wrong.
fn is_passing(closed: &Closed) -> bool {
    !matches!(closed.code, 1000 | 1002 | 1003 | 1007..=1010)
}

/// The pause before attempt number `attempt` (from 0) to connect again: it doubles, and chance keeps many clients apart.
fn pause_before(attempt: u32, chance: u64) -> Duration {
    let most = PAUSES.0.saturating_mul(1 << attempt.min(16)).min(PAUSES.1);
    most / 2 + most.mul_f64((chance % 1_000) as f64 / 2_000.0)
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

struct Printer<'a, W: Write> {
    args: &'a SubArgs,
    out: W,
    /// An object for `--json` that did not come as JSON.
    rendered: Vec<u8>,
    check: JsonCheck,
    stats: Stats,
    /// The server took the subscription on this connection.
    is_in_force: bool,
}

impl<W: Write> Printer<'_, W> {
    /// Follows the feed; where it breaks and `--reconnect` is given, a new one from where it ended.
    fn follow_through(&mut self, ledger: &mut Ledger, stop: &StopRequests) -> Result<End, Failure> {
        let args = self.args;
        let wanted = Wanted {
            url: &args.url,
            topics: &args.topics,
            form: args.protocol.into(),
            deflate: args.deflate,
            max_hz: args.max_hz,
            timeout: args.timeout.0,
        };
        let chance = RandomState::new();
        let mut attempt = 0;
        loop {
            self.is_in_force = false;
            let broken = match Feed::open(&wanted, ledger) {
                Ok(mut feed) => {
                    let end = self.follow(&mut feed, ledger, stop);
                    match end? {
                        End::Closed(closed) if args.reconnect && is_passing(&closed) => closed.to_string(),
                        End::Closed(closed) => return Ok(End::Closed(closed)),
                        end => {
                            leave(feed, ledger);
                            return Ok(end);
                        }
                    }
                }
                Err(failure) if args.reconnect && failure.code == Exit::Unavailable as i32 => {
                    format!("{:#}", failure.error)
                }
                Err(failure) => return Err(failure),
            };
            if self.is_in_force {
                attempt = 0;
            }
            let pause = pause_before(attempt, chance.hash_one(attempt));
            attempt += 1;
            tracing::warn!("{}: {broken}; connecting again in {:.1} s", args.url, pause.as_secs_f64());
            if let Err(error) = self.out.flush() {
                return unwritable(error);
            }
            if stop.wait_until(clock::now() + pause) {
                return Ok(End::Stopped);
            }
        }
    }

    fn follow(&mut self, feed: &mut Feed, ledger: &mut Ledger, stop: &StopRequests) -> Result<End, Failure> {
        if self.args.count.is_some_and(|count| self.stats.messages() >= count) {
            return Ok(End::Counted);
        }
        loop {
            let drained = feed.drain(ledger, |item| match self.take(item) {
                Ok(()) => ControlFlow::Continue(()),
                Err(stop) => ControlFlow::Break(stop),
            });
            match drained {
                ControlFlow::Continue(None) => {}
                ControlFlow::Continue(Some(closed)) => return Ok(End::Closed(closed)),
                ControlFlow::Break(Stop::End(end)) => return Ok(end),
                ControlFlow::Break(Stop::Write(error)) => return unwritable(error),
            }
            if let Err(error) = self.out.flush() {
                return unwritable(error);
            }
            let now = clock::now();
            if self.args.stats && now >= self.stats.next_line() {
                tell!("{}", self.stats.line(now));
            }
            if stop.is_asked() {
                return Ok(End::Stopped);
            }
            let look_up = now + LOOK_UP;
            feed.step(if self.args.stats { look_up.min(self.stats.next_line()) } else { look_up })?;
        }
    }

    fn flushed(&mut self, end: Result<End, Failure>) -> Result<End, Failure> {
        match self.out.flush() {
            Ok(()) => end,
            Err(error) => end.and_then(|_| unwritable(error)),
        }
    }

    fn take(&mut self, item: Item<'_>) -> Result<(), Stop> {
        match item {
            Item::Message(message) => return self.print(&message),
            Item::Gap(gap) => return self.report_gap(&gap),
            Item::BeganAnew(topic) => {
                tracing::warn!("{topic} is numbered anew: what was published meanwhile may be missing");
            }
            Item::InForce => {
                self.is_in_force = true;
                tracing::info!("subscribed to {} at {}", self.args.topics.join(", "), self.args.url);
            }
            Item::Refused(why) => return Err(Stop::End(End::Refused(why))),
            Item::Unreadable(what) => tracing::warn!("the server sent what cannot be read: {what}"),
        }
        Ok(())
    }

    fn print(&mut self, message: &Delivery<'_>) -> Result<(), Stop> {
        let line = match (self.args.json, message.object) {
            (false, _) => message.payload,
            (true, Some(object)) => object.as_bytes(),
            (true, None) => {
                self.rendered.clear();
                let body = Body::of(message.kind, message.payload, &mut self.check);
                let mut topic = Vec::with_capacity(message.topic.len());
                json::escape_topic(message.topic, &mut topic);
                let time_us = message.time_us.unwrap_or_default();
                json::message(&mut self.rendered, &topic, message.priority, message.seq, time_us, &body);
                &self.rendered
            }
        };
        self.out.write_all(line).and_then(|()| self.out.write_all(b"\n")).map_err(Stop::Write)?;
        let age_us = message.time_us.filter(|_| self.args.stats).map(|time| clock::unix_us() as i64 - time as i64);
        self.stats.on_message(message.payload.len(), age_us);
        if self.args.count.is_some_and(|count| self.stats.messages() >= count) {
            return Err(Stop::End(End::Counted));
        }
        Ok(())
    }

    fn report_gap(&mut self, gap: &Gap<'_>) -> Result<(), Stop> {
        let lost = gap.to.saturating_sub(gap.from).saturating_add(1);
        self.stats.on_gap(lost);
        let (from, to, reason) = (gap.from, gap.to, gap.reason.name());
        tracing::warn!("gap: {lost} messages of {} ({}) were lost: {from} to {to}, {reason}", gap.topic, gap.priority);
        if self.args.json {
            self.rendered.clear();
            json::gap(&mut self.rendered, gap);
            self.rendered.push(b'\n');
            self.out.write_all(&self.rendered).map_err(Stop::Write)?;
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

/// Closes in order, without insisting. What still arrives is not printed, hence not noted either.
fn leave(mut feed: Feed, ledger: &Ledger) {
    feed.close();
    let mut aside = ledger.clone();
    let deadline = clock::now() + CLOSE_TIMEOUT;
    while clock::now() < deadline {
        if feed.step(deadline).is_err() {
            return;
        }
        let drained = feed.drain::<()>(&mut aside, |_| ControlFlow::Continue(()));
        if !matches!(drained, ControlFlow::Continue(None)) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_differ_by_chance() {
        let ms = |attempt, chance| pause_before(attempt, chance).as_millis();
        assert_eq!([ms(0, 0), ms(0, 999)], [250, 499]);
        assert_eq!([ms(1, 0), ms(2, 0), ms(3, 500)], [500, 1_000, 3_000]);
        assert_eq!([ms(20, 0), ms(u32::MAX, 0)], [15_000, 15_000]);
    }

    #[test]
    fn only_ends_that_pass_are_come_back_from() {
        let passing = |code| is_passing(&Closed { code, reason: String::new() });
        assert!([1001, 1005, 1006, 1011, 1012, 1013].into_iter().all(passing));
        assert!(![1000, 1002, 1007, 1008, 1009].into_iter().any(passing));
    }
}
