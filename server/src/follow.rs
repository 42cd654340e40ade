//! Job: follows a subscription, and comes back to it, until something ends it; hands what arrives to a sink.
//! Knows: what ends it, and with which exit code. Must never know: how messages travel, what becomes of them.

use std::hash::{BuildHasher, RandomState};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use fanwire::proto::close::CloseCode;
use fanwire::proto::server_message::{Gap, Missing};
use fanwire::proto::subscribe::TOPICS_MAX;
use rustix::event::PollFlags;

use crate::bearer::{self, Bearer};
use crate::client::{Closed, Watched};
use crate::clock;
use crate::dial::{Interrupts, Waited, is_broken};
use crate::exit::{Exit, Failure, OrExit, Outcome};
use crate::feed::{Delivery, Feed, Item, Taken, Topic, Wanted};
use crate::ledger::Ledger;
use crate::retry;
use crate::signals::StopRequests;
use crate::stats::Stats;

/// As good as for ever between two looks at everything.
const LONG: Duration = Duration::from_secs(3600);
/// Time after the moment that a server has named for its close, after which it is not waited for any more.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);
/// Time the server gets to answer our close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// How writing went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// Nothing is queued any more.
    All,
    /// What takes it has no room now.
    Some,
    /// Nobody takes it any more.
    Unread,
}

/// What becomes of what arrives. While it has no room, nothing more is read from the server.
pub trait Sink {
    /// True while there is room for more.
    fn has_room(&self) -> bool;
    /// Messages taken so far.
    fn messages(&self) -> u64;
    /// Takes a message.
    fn on_message(&mut self, message: &Delivery<'_>);
    /// Takes a notice of messages that do not come.
    fn on_gap(&mut self, gap: &Gap<'_>);
    /// A topic's messages follow.
    fn on_topic(&mut self, topic: &Topic<'_>);
    /// The subscription is in force.
    ///
    /// # Errors
    /// Where that cannot be noted.
    fn on_in_force(&mut self) -> Result<(), Failure>;
    /// Writes what is queued, as far as it is taken now.
    ///
    /// # Errors
    /// Where it cannot be written.
    fn write(&mut self) -> Result<Written, Failure>;
    /// What tells that there is room again, if anything does.
    fn watched(&self) -> Option<Watched<'_>>;
    /// What tells that nobody takes anything any more.
    fn reader(&self) -> Option<BorrowedFd<'_>>;
    /// When it wants to say something by itself.
    fn next_line(&self) -> Option<Instant>;
    /// Says what is due.
    fn say(&mut self, now: Instant);
}

/// What is followed, and how long.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// What is asked for. Its token is taken anew for each connection.
    pub wanted: Wanted<'a>,
    /// Who this is.
    pub bearer: Option<&'a Bearer>,
    /// Connect again where that may help.
    pub reconnects: bool,
    /// End after so many messages.
    pub count: Option<u64>,
}

/// Follows until something ends it, and writes what is left.
///
/// # Errors
/// Where it cannot connect, the sink cannot be written to, or waiting fails.
pub fn follow(plan: &Plan<'_>, stop: &StopRequests, sink: &mut impl Sink, ledger: &mut Ledger) -> Result<End, Failure> {
    let mut follower = Follower { plan, stop, is_in_force: false, leaves_at: None };
    let end = follower.follow_through(sink, ledger)?;
    follower.write_rest(sink, end)
}

/// Counts a gap, and says what it means.
pub fn tell_gap(stats: &mut Stats, gap: &Gap<'_>) {
    let Gap { topic, priority, from, to, reason, missing } = gap;
    let numbers = to.saturating_sub(*from).saturating_add(1);
    let (lost, at_most) = match missing {
        Missing::All => (numbers, ""),
        Missing::Some(count) => (*count, ""),
        Missing::Unknown => (numbers, "at most "),
    };
    stats.on_gap(lost);
    let reason = reason.name();
    tracing::warn!("gap: {at_most}{lost} messages of {topic} ({priority}) were lost: {from} to {to}, {reason}");
}

/// Fails where more is named than one request can ask for.
///
/// # Errors
/// Wrong usage.
pub fn check_topics(topics: &[String]) -> Result<(), Failure> {
    if topics.len() > TOPICS_MAX {
        let what = format!("{} topics and patterns: {TOPICS_MAX} can be subscribed to at most", topics.len());
        return Err(Failure::message(Exit::Usage, what));
    }
    Ok(())
}

/// Why it ends.
pub enum End {
    /// As many messages as were asked for.
    Counted,
    /// Nobody takes what arrives any more.
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
    /// How the process ends for it.
    ///
    /// # Errors
    /// Where it is not as it was meant to end.
    pub fn outcome(self, plan: &Plan<'_>, stop: &StopRequests, messages: u64) -> Outcome {
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
                let what = format!("{}: {closed}", plan.wanted.url);
                if closed.is_unauthorized() {
                    return failed(Exit::Permission, format!("{what}; {}", bearer::IS_OVER));
                }
                match plan.count.filter(|count| messages < *count) {
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
    plan: &'a Plan<'a>,
    stop: &'a StopRequests,
    /// The server took the subscription on this connection.
    is_in_force: bool,
    /// When this connection is given up, because the server was to have closed it by then; `None`: it has named no
    /// moment.
    leaves_at: Option<Instant>,
}

impl Follower<'_> {
    /// Follows the feed; where it breaks and the plan says so, a new one from where it ended.
    fn follow_through(&mut self, sink: &mut impl Sink, ledger: &mut Ledger) -> Result<End, Failure> {
        let chance = RandomState::new();
        let mut attempt = 0;
        loop {
            (self.is_in_force, self.leaves_at) = (false, None);
            let broken = match self.follow_one(sink, ledger)? {
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
            tracing::warn!("{}: {broken}; connecting again in {:.1} s", self.plan.wanted.url, pause.as_secs_f64());
            if let Some(end) = self.pause(sink, clock::after(clock::now(), pause))? {
                return Ok(end);
            }
        }
    }

    fn follow_one(&mut self, sink: &mut impl Sink, ledger: &mut Ledger) -> Result<Left, Failure> {
        let plan = self.plan;
        let token = match plan.bearer.map(Bearer::token).transpose() {
            Err(failure) if plan.reconnects && failure.code == Exit::Unavailable as i32 => {
                return Ok(Left::Broken(format!("{:#}", failure.error)));
            }
            token => token?,
        };
        let mut wanted = plan.wanted;
        wanted.offer.token = token.as_ref();
        let interrupts = Interrupts { stop: self.stop, output: sink.reader() };
        let mut feed = match Feed::open(&wanted, ledger, &interrupts) {
            Ok(Some(feed)) => feed,
            Ok(None) if self.stop.is_asked() => return Ok(Left::End(End::Stopped)),
            Ok(None) => return Ok(Left::End(End::Unread)),
            Err(failure) if plan.reconnects && failure.code == Exit::Unavailable as i32 => {
                return Ok(Left::Broken(format!("{:#}", failure.error)));
            }
            Err(failure) => return Err(failure),
        };
        match self.follow(sink, &mut feed, ledger)? {
            Left::End(End::Closed(closed)) if plan.reconnects && self.may_come_back(&closed) => {
                Ok(Left::Broken(closed.to_string()))
            }
            Left::End(end @ End::Closed(_)) => Ok(Left::End(end)),
            left => {
                leave(feed, ledger);
                Ok(left)
            }
        }
    }

    fn is_complete(&self, sink: &impl Sink) -> bool {
        self.plan.count.is_some_and(|count| sink.messages() >= count)
    }

    fn may_come_back(&self, closed: &Closed) -> bool {
        retry::is_passing(closed) || retry::is_renewed(closed, self.plan.bearer)
    }

    fn follow(&mut self, sink: &mut impl Sink, feed: &mut Feed, ledger: &mut Ledger) -> Result<Left, Failure> {
        let topics = self.plan.wanted.topics;
        loop {
            if self.is_complete(sink) {
                return Ok(Left::End(End::Counted));
            }
            while sink.has_room() {
                match feed.take(ledger, |item| self.visit(sink, item)) {
                    ControlFlow::Continue(Taken::Frame) => {}
                    ControlFlow::Continue(Taken::Nothing) => break,
                    ControlFlow::Continue(Taken::Closed(closed)) => return Ok(Left::End(End::Closed(closed))),
                    ControlFlow::Break(Stop::TooMany) => return Ok(Left::End(End::TooMany(ledger.topic_count()))),
                    ControlFlow::Break(Stop::Left(left)) => return Ok(left),
                    ControlFlow::Break(Stop::InForce) => {
                        ledger.on_in_force(topics);
                        sink.on_in_force()?;
                        tracing::info!("subscribed to {} at {}", topics.join(", "), self.plan.wanted.url);
                    }
                }
            }
            if sink.write()? == Written::Unread {
                return Ok(Left::End(End::Unread));
            }
            let now = clock::now();
            if sink.next_line().is_some_and(|due| now >= due) {
                sink.say(now);
            }
            if self.stop.is_asked() {
                return Ok(Left::End(End::Stopped));
            }
            if self.plan.reconnects && self.leaves_at.is_some_and(|at| now >= at) {
                return Ok(Left::Broken("the server does not close the connection as it has said".into()));
            }
            let until = sink.next_line().unwrap_or_else(|| clock::after(now, LONG));
            let until = self.leaves_at.filter(|_| self.plan.reconnects).map_or(until, |at| at.min(until));
            let is_reading = sink.has_room();
            let mut watched = vec![Watched::new(self.stop.as_fd(), PollFlags::IN)];
            watched.extend(sink.watched());
            feed.step(until, is_reading, &mut watched)?;
            if watched.get(1).is_some_and(|out| is_broken(out.seen)) {
                return Ok(Left::End(End::Unread));
            }
        }
    }

    /// Takes what the server says.
    fn visit(&mut self, sink: &mut impl Sink, item: Item<'_>) -> ControlFlow<Stop> {
        match item {
            Item::Message(message) => {
                sink.on_message(&message);
                if self.is_complete(sink) {
                    return ControlFlow::Break(Stop::Left(Left::End(End::Counted)));
                }
            }
            Item::Gap(gap) => sink.on_gap(&gap),
            Item::Subscribed(topic) => {
                sink.on_topic(&topic);
                if topic.is_too_many {
                    return ControlFlow::Break(Stop::TooMany);
                }
            }
            Item::InForce => {
                self.is_in_force = true;
                return ControlFlow::Break(Stop::InForce);
            }
            Item::Refused(why) if self.plan.reconnects && why.is_passing => {
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
    fn pause(&self, sink: &mut impl Sink, until: Instant) -> Result<Option<End>, Failure> {
        loop {
            if sink.write()? == Written::Unread {
                return Ok(Some(End::Unread));
            }
            match self.wait_for_output(sink, until)? {
                Waited::Ready => {}
                Waited::TimedOut => return Ok(None),
                Waited::Interrupted if self.stop.is_asked() => return Ok(Some(End::Stopped)),
                Waited::Interrupted => return Ok(Some(End::Unread)),
            }
        }
    }

    /// Writes what is left: whole where it was asked for, as far as it is taken at once after a signal.
    fn write_rest(&self, sink: &mut impl Sink, end: End) -> Result<End, Failure> {
        if matches!(end, End::Unread) {
            return Ok(end);
        }
        loop {
            match sink.write()? {
                Written::All => return Ok(end),
                Written::Unread => return Ok(End::Unread),
                Written::Some if self.stop.is_asked() => return Ok(End::Stopped),
                Written::Some => {}
            }
            if self.wait_for_output(sink, clock::after(clock::now(), LONG))? == Waited::Interrupted
                && !self.stop.is_asked()
            {
                return Ok(End::Unread);
            }
        }
    }

    /// Waits for room in the output, if something is queued for it, for a signal, its reader's end or a time.
    fn wait_for_output(&self, sink: &impl Sink, until: Instant) -> Result<Waited, Failure> {
        let interrupts = Interrupts { stop: self.stop, output: sink.reader() };
        let is_wanted = |out: &Watched<'_>| !out.wanted.is_empty();
        let waited = match sink.watched().filter(is_wanted) {
            Some(out) => interrupts.wait(out.fd, out.wanted, until),
            None => interrupts.wait(self.stop.as_fd(), PollFlags::empty(), until),
        };
        waited.or_exit(Exit::Io, || "cannot wait for the output".into())
    }
}

/// Why visiting did not go on.
enum Stop {
    Left(Left),
    TooMany,
    InForce,
}

/// Closes in order, without insisting. What still arrives is not taken, hence not noted either.
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
