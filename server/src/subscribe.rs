//! Job: `fanwire sub`: follows a subscription, and comes back to it, until something ends it.
//! Knows: what ends it, and with which exit code. Must never know: how messages travel, how they are printed.

use std::hash::{BuildHasher, RandomState};
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use fanwire::proto::close::CloseCode;
use fanwire::proto::subscribe::TOPICS_MAX;
use rustix::event::PollFlags;

use crate::args::{ProtocolArg, SubArgs};
use crate::bearer::{self, Bearer};
use crate::client::{Closed, Watched};
use crate::clock;
use crate::dial::{Interrupts, Waited, is_broken};
use crate::exit::{Exit, Failure, OrExit, Outcome};
use crate::feed::{Feed, Item, Taken, Wanted};
use crate::ledger::Ledger;
use crate::printer::{Printer, Written};
use crate::retry;
use crate::signals::StopRequests;
use crate::stderr;
use crate::tls::Trust;
use crate::upgrade::Offer;

/// As good as for ever between two looks at everything.
const LONG: Duration = Duration::from_secs(3600);
/// Time after the moment that a server has named for its close, after which it is not waited for any more.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);
/// Time the server gets to answer our close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs the command.
///
/// # Errors
/// Where it cannot connect, stdout or the state cannot be written, the server refuses, or the connection breaks.
pub fn run(args: &SubArgs) -> Outcome {
    check(args)?;
    let bearer = args.bearer.bearer()?;
    let trust = Trust::for_url(&args.url, &args.tls)?;
    let stop = StopRequests::listen_on_terminal().or_exit(Exit::Software, || "cannot wait for signals".into())?;
    let (mut printer, mut ledger) = Printer::open(args)?;
    ledger.keep_only(&args.topics);
    let mut follower = Follower {
        args,
        bearer: bearer.as_ref(),
        trust: trust.as_ref(),
        stop: &stop,
        is_in_force: false,
        leaves_at: None,
    };
    let end = follower.follow_through(&mut printer, &mut ledger);
    let end = end.and_then(|end| follower.write_rest(&mut printer, end));
    if args.stats {
        stderr::say("INFO", &printer.stats.summary(clock::now()));
    }
    // What was written is noted whatever happened; the first thing that went wrong is the one to be told.
    let left = printer.leave_state();
    let end = end?;
    left?;
    end.outcome(args, &stop, printer.stats.messages())
}

fn check(args: &SubArgs) -> Result<(), Failure> {
    let usage = |what: String| Err(Failure::message(Exit::Usage, what));
    let without_numbers = [
        ("--json", args.json),
        ("--state", args.state.is_some()),
        ("--max-hz", args.max_hz.is_some()),
        ("--max-delay", args.max_delay.is_some()),
    ];
    if let (ProtocolArg::Raw, Some((option, _))) = (args.protocol, without_numbers.iter().find(|(_, given)| *given)) {
        return usage(format!("{option} cannot be had with --protocol raw: messages are bare there"));
    }
    if args.topics.len() > TOPICS_MAX {
        return usage(format!("{} topics and patterns: {TOPICS_MAX} can be subscribed to at most", args.topics.len()));
    }
    Ok(())
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
    /// There are more topics than could be gone on with.
    TooMany(usize),
    /// The server closed, or the connection broke.
    Closed(Closed),
}

impl End {
    fn outcome(self, args: &SubArgs, stop: &StopRequests, messages: u64) -> Outcome {
        let failed = |exit, what: String| Err(Failure::message(exit, what));
        match self {
            End::Counted | End::Unread => Ok(ExitCode::SUCCESS),
            End::Stopped => Ok(ExitCode::from(stop.exit_code())),
            End::Refused(why) => failed(Exit::Failed, format!("the server refused to subscribe: {why}")),
            End::TooMany(topics) => {
                let what = "a request could not say any more where each of them goes on: subscribe to fewer";
                failed(Exit::Failed, format!("{topics} topics: {what}"))
            }
            End::Closed(closed) => {
                let what = format!("{}: {closed}", args.url);
                if closed.is_unauthorized() {
                    return failed(Exit::Permission, format!("{what}; {}", bearer::IS_OVER));
                }
                match args.count.filter(|count| messages < *count) {
                    Some(count) => failed(Exit::Failed, format!("{what}, after {messages} of {count} messages")),
                    None if closed.is_orderly() => {
                        tracing::info!("{what}");
                        Ok(ExitCode::SUCCESS)
                    }
                    None if closed.is_violation => failed(Exit::Protocol, what),
                    None if closed.code == CloseCode::ABNORMAL.to_u16() => failed(Exit::Io, what),
                    None => failed(Exit::Failed, what),
                }
            }
        }
    }
}

/// How one connection ended.
enum Left {
    /// For good.
    End(End),
    /// It may go on with another one.
    Broken(String),
}

struct Follower<'a> {
    args: &'a SubArgs,
    bearer: Option<&'a Bearer>,
    trust: Option<&'a Trust>,
    stop: &'a StopRequests,
    /// The server took the subscription on this connection.
    is_in_force: bool,
    /// When this connection is given up, because the server was to have closed it by then; `None`: it has named no moment.
    leaves_at: Option<Instant>,
}

impl Follower<'_> {
    /// Follows the feed; where it breaks and `--reconnect` is given, a new one from where it ended.
    fn follow_through(&mut self, printer: &mut Printer<'_>, ledger: &mut Ledger) -> Result<End, Failure> {
        let chance = RandomState::new();
        let mut attempt = 0;
        loop {
            (self.is_in_force, self.leaves_at) = (false, None);
            let broken = match self.follow_one(printer, ledger)? {
                Left::End(end) => return Ok(end),
                Left::Broken(why) => why,
            };
            if self.is_in_force {
                attempt = 0;
            }
            // The server has given each of its clients a moment of its own: no pause has to keep them apart.
            let is_awaited = attempt == 0 && self.is_in_force && self.leaves_at.is_some();
            let pause =
                if is_awaited { Duration::ZERO } else { retry::pause_before(attempt, chance.hash_one(attempt)) };
            attempt += 1;
            tracing::warn!("{}: {broken}; connecting again in {:.1} s", self.args.url, pause.as_secs_f64());
            if let Some(end) = self.pause(printer, clock::after(clock::now(), pause))? {
                return Ok(end);
            }
        }
    }

    fn follow_one(&mut self, printer: &mut Printer<'_>, ledger: &mut Ledger) -> Result<Left, Failure> {
        let args = self.args;
        let token = match self.bearer.map(Bearer::token).transpose() {
            Err(failure) if args.reconnect && failure.code == Exit::Unavailable as i32 => {
                return Ok(Left::Broken(format!("{:#}", failure.error)));
            }
            token => token?,
        };
        let wanted = Wanted {
            url: &args.url,
            topics: &args.topics,
            form: args.protocol.into(),
            max_hz: args.max_hz,
            max_delay: args.max_delay.map(|span| span.0),
            offer: Offer {
                protocol: None,
                deflate: args.deflate,
                timeout: args.timeout.0,
                ping_every: args.ping_every.0,
                token: token.as_ref(),
                trust: self.trust,
            },
            is_resumable: args.reconnect || args.state.is_some(),
        };
        let interrupts = Interrupts { stop: self.stop, output: printer.out.reader() };
        let mut feed = match Feed::open(&wanted, ledger, &interrupts) {
            Ok(Some(feed)) => feed,
            Ok(None) if self.stop.is_asked() => return Ok(Left::End(End::Stopped)),
            Ok(None) => return Ok(Left::End(End::Unread)),
            Err(failure) if args.reconnect && failure.code == Exit::Unavailable as i32 => {
                return Ok(Left::Broken(format!("{:#}", failure.error)));
            }
            Err(failure) => return Err(failure),
        };
        match self.follow(printer, &mut feed, ledger)? {
            Left::End(End::Closed(closed)) if args.reconnect && self.may_come_back(&closed) => {
                Ok(Left::Broken(closed.to_string()))
            }
            Left::End(end @ End::Closed(_)) => Ok(Left::End(end)),
            left => {
                leave(feed, ledger);
                Ok(left)
            }
        }
    }

    fn may_come_back(&self, closed: &Closed) -> bool {
        retry::is_passing(closed) || retry::is_renewed(closed, self.bearer)
    }

    fn follow(&mut self, printer: &mut Printer<'_>, feed: &mut Feed, ledger: &mut Ledger) -> Result<Left, Failure> {
        loop {
            if printer.is_complete() {
                return Ok(Left::End(End::Counted));
            }
            while printer.has_room() {
                match feed.take(ledger, |item| self.visit(printer, item)) {
                    ControlFlow::Continue(Taken::Frame) => {}
                    ControlFlow::Continue(Taken::Nothing) => break,
                    ControlFlow::Continue(Taken::Closed(closed)) => return Ok(Left::End(End::Closed(closed))),
                    ControlFlow::Break(Stop::TooMany) => return Ok(Left::End(End::TooMany(ledger.topic_count()))),
                    ControlFlow::Break(Stop::Left(left)) => return Ok(left),
                    ControlFlow::Break(Stop::InForce) => {
                        ledger.on_in_force(&self.args.topics);
                        printer.on_in_force()?;
                        tracing::info!("subscribed to {} at {}", self.args.topics.join(", "), self.args.url);
                    }
                }
            }
            if printer.write()? == Written::Unread {
                return Ok(Left::End(End::Unread));
            }
            let now = clock::now();
            if self.args.stats && now >= printer.stats.next_line() {
                stderr::say("INFO", &printer.stats.line(now));
            }
            if self.stop.is_asked() {
                return Ok(Left::End(End::Stopped));
            }
            if self.args.reconnect && self.leaves_at.is_some_and(|at| now >= at) {
                return Ok(Left::Broken("the server does not close the connection as it has said".into()));
            }
            let until = if self.args.stats { printer.stats.next_line() } else { clock::after(now, LONG) };
            let until = self.leaves_at.filter(|_| self.args.reconnect).map_or(until, |at| at.min(until));
            let is_reading = printer.has_room();
            let mut watched = vec![Watched::new(std::os::fd::AsFd::as_fd(self.stop), PollFlags::IN)];
            watched.extend(printer.out.watched());
            feed.step(until, is_reading, &mut watched)?;
            if watched.get(1).is_some_and(|out| is_broken(out.seen)) {
                return Ok(Left::End(End::Unread));
            }
        }
    }

    /// Takes what the server says.
    fn visit(&mut self, printer: &mut Printer<'_>, item: Item<'_>) -> ControlFlow<Stop> {
        match item {
            Item::Message(message) => {
                printer.print(&message);
                if printer.is_complete() {
                    return ControlFlow::Break(Stop::Left(Left::End(End::Counted)));
                }
            }
            Item::Gap(gap) => printer.report_gap(&gap),
            Item::Subscribed(topic) => {
                printer.begin_topic(&topic);
                if topic.is_too_many {
                    return ControlFlow::Break(Stop::TooMany);
                }
            }
            Item::InForce => {
                self.is_in_force = true;
                return ControlFlow::Break(Stop::InForce);
            }
            Item::Refused(why) if self.args.reconnect && why.is_passing => {
                return ControlFlow::Break(Stop::Left(Left::Broken(why.text)));
            }
            Item::Refused(why) => return ControlFlow::Break(Stop::Left(Left::End(End::Refused(why.text)))),
            Item::Migrate(after) => {
                tracing::info!("the server wants this client to connect anew in {:.1} s", after.as_secs_f64());
                self.leaves_at = Some(clock::after(clock::now(), after.saturating_add(CLOSE_PATIENCE)));
            }
            Item::Unreadable(what) => tracing::warn!("the server sent what cannot be read: {what}"),
        }
        ControlFlow::Continue(())
    }

    /// Waits before it connects again; what is queued is written meanwhile. What ends everything, if that came first.
    fn pause(&self, printer: &mut Printer<'_>, until: Instant) -> Result<Option<End>, Failure> {
        loop {
            if printer.write()? == Written::Unread {
                return Ok(Some(End::Unread));
            }
            match self.wait_for_output(printer, until)? {
                Waited::Ready => {}
                Waited::TimedOut => return Ok(None),
                Waited::Interrupted if self.stop.is_asked() => return Ok(Some(End::Stopped)),
                Waited::Interrupted => return Ok(Some(End::Unread)),
            }
        }
    }

    /// Writes what is left: whole where it was asked for, as far as it is taken at once after a signal.
    fn write_rest(&self, printer: &mut Printer<'_>, end: End) -> Result<End, Failure> {
        if matches!(end, End::Unread) {
            return Ok(end);
        }
        loop {
            match printer.write()? {
                Written::All => return Ok(end),
                Written::Unread => return Ok(End::Unread),
                Written::Some if self.stop.is_asked() => return Ok(End::Stopped),
                Written::Some => {}
            }
            if self.wait_for_output(printer, clock::after(clock::now(), LONG))? == Waited::Interrupted
                && !self.stop.is_asked()
            {
                return Ok(End::Unread);
            }
        }
    }

    /// Waits for room in the output, if something is queued for it, for a signal, its reader's end or a time.
    fn wait_for_output(&self, printer: &Printer<'_>, until: Instant) -> Result<Waited, Failure> {
        let interrupts = Interrupts { stop: self.stop, output: printer.out.reader() };
        let is_wanted = |out: &Watched<'_>| !out.wanted.is_empty();
        let waited = match printer.out.watched().filter(is_wanted) {
            Some(out) => interrupts.wait(out.fd, out.wanted, until),
            None => interrupts.wait(std::os::fd::AsFd::as_fd(self.stop), PollFlags::empty(), until),
        };
        waited.or_exit(Exit::Io, || "cannot wait for stdout".into())
    }
}

/// Why visiting did not go on.
enum Stop {
    Left(Left),
    TooMany,
    InForce,
}

/// Closes in order, without insisting. What still arrives is not printed, hence not noted either.
fn leave(mut feed: Feed, ledger: &Ledger) {
    feed.close();
    let mut aside = ledger.clone();
    let deadline = clock::after(clock::now(), CLOSE_TIMEOUT);
    while clock::now() < deadline {
        if feed.step(deadline, true, &mut []).is_err() {
            return;
        }
        loop {
            match feed.take::<()>(&mut aside, |_| ControlFlow::Continue(())) {
                ControlFlow::Continue(Taken::Frame) => {}
                ControlFlow::Continue(Taken::Nothing) => break,
                ControlFlow::Continue(Taken::Closed(_)) | ControlFlow::Break(()) => return,
            }
        }
    }
}
