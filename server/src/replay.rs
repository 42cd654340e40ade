//! Job: `fanwire replay`: a recording becomes messages again, in its own time.
//! Knows: recordings, pacing, both ways to publish. Must never know: the protocol.

mod arguments;
#[cfg(feature = "mcap")]
mod recorded;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fanwire::{Config, ConnectionId, Engine, Event, Events, Kind, PublishError, Topic, TopicError};
use rustix::event::PollFlags;

pub use arguments::ReplayArgs;

use crate::clock;
use crate::dial::{Interrupts, Waited};
use crate::engine::{self, Ending};
use crate::exit::{Exit, Failure, OrExit, Outcome};
use crate::ndjson::{self, Place, Record, Recording};
use crate::pace::{Pace, Speed};
use crate::progress::Progress;
use crate::requests::Outgoing;
use crate::signals::StopRequests;
use crate::tls::Trust;
use crate::units::grouped;
use crate::uplink::{self, Uplink};

/// How long one attempt to publish waits for room in the ring; between two it looks for signals.
const PUBLISH_WAIT: Duration = Duration::from_millis(250);
/// After so long without room it says what it waits for.
const PATIENCE: Duration = Duration::from_secs(5);
/// Events that may wait while subscribers are counted.
const EVENTS: usize = 1 << 16;
/// Messages between two looks at the events while there is no time to wait.
const EVENTS_EVERY: u64 = 1 << 10;

/// Runs the command.
///
/// # Errors
/// Where the recording cannot be read or is wrong, or the target cannot be had.
pub fn run(args: &ReplayArgs) -> Outcome {
    let stop = StopRequests::listen_on_terminal().or_exit(Exit::Software, || "cannot wait for signals".into())?;
    let input = Input::of(args)?;
    if args.repeat && !input.is_repeatable() {
        return Err(Failure::message(Exit::NoInput, format!("{} can be read only once: no --loop", input.name())));
    }
    match (&args.to, &args.listen) {
        (Some(url), _) => {
            let target = uplink::Target {
                url: url.clone(),
                timeout: args.timeout.0,
                ping_every: args.engine.config()?.limits.ping_every,
                bearer: args.bearer.bearer()?,
                trust: Trust::for_url(url, &args.tls)?,
                reconnects: false,
                source: input.name(),
            };
            let Some(mut target) = Uplink::connect(target, stop.clone())? else {
                return Ok(ExitCode::from(stop.exit_code()));
            };
            let played = input.play(args, &mut target, &stop);
            // Also after a wrong line: what was published before it arrives.
            let finished = match &played {
                Err(failure) if failure.code != Exit::Data as i32 => None,
                _ => Some(target.finish()),
            };
            played?;
            interrupted(&stop)?;
            let Some(published) = finished.transpose()? else { return Ok(ExitCode::SUCCESS) };
            if published.refused > 0 {
                return Err(Failure::message(Exit::Failed, published.refusals()));
            }
        }
        (None, Some(address)) => {
            let mut config = engine::config(&args.engine, vec![address.clone()])?;
            if args.wait_for_subscribers > 0 {
                config.events.capacity = EVENTS;
            }
            let mut target = Embedded::start(config, stop.clone())?;
            if args.wait_for_subscribers > 0 {
                // Patterns count once a topic matches them: so the recording's topics are made first.
                input.make_topics(&mut target)?;
                target.wait_for_subscribers(args.wait_for_subscribers)?;
            }
            let played = input.play(args, &mut target, &stop);
            // Also after a wrong line: what was published before it arrives.
            let ending = Ending::within(&target.engine, args.shutdown_timeout.0);
            engine::stop(target.engine, ending)?;
            played?;
            interrupted(&stop)?;
        }
        // clap demands one of the two.
        (None, None) => return Err(Failure::message(Exit::Software, "neither --to nor --listen")),
    }
    Ok(ExitCode::SUCCESS)
}

/// What is replayed.
enum Input {
    Lines(Recording),
    #[cfg(feature = "mcap")]
    Mcap(recorded::Source),
}

impl Input {
    #[cfg(feature = "mcap")]
    fn of(args: &ReplayArgs) -> Result<Self, Failure> {
        use fanwire::proto::topic::Pattern;

        if recorded::is_mcap(&args.file) {
            let wanted = &args.selection;
            let only = wanted.only.iter().filter_map(|only| Pattern::parse(only).ok()).collect();
            let (start, end) = (wanted.start.map_or(Duration::ZERO, |span| span.0), wanted.end.map(|span| span.0));
            let (prefix, priority) = (wanted.prefix.clone().unwrap_or_default(), args.priority.into());
            let selection = recorded::Selection { only, prefix, start, end, priority };
            return Ok(Input::Mcap(recorded::Source { path: args.file.clone(), selection }));
        }
        Self::lines(args)
    }

    #[cfg(not(feature = "mcap"))]
    fn of(args: &ReplayArgs) -> Result<Self, Failure> {
        Self::lines(args)
    }

    fn lines(args: &ReplayArgs) -> Result<Self, Failure> {
        if !args.selection.is_empty() {
            let what = format!("{} is no MCAP file: no --only, --prefix, --start, --end", args.file.display());
            return Err(Failure::message(Exit::Usage, what));
        }
        Recording::at(&args.file).map(Input::Lines)
    }

    fn name(&self) -> String {
        match self {
            Input::Lines(recording) => recording.name().to_owned(),
            #[cfg(feature = "mcap")]
            Input::Mcap(source) => source.name(),
        }
    }

    fn is_repeatable(&self) -> bool {
        match self {
            Input::Lines(recording) => recording.is_repeatable(),
            #[cfg(feature = "mcap")]
            Input::Mcap(_) => true,
        }
    }

    fn make_topics(&self, target: &mut Embedded) -> Result<(), Failure> {
        match self {
            Input::Lines(recording) if recording.is_repeatable() => target.make_topics(recording),
            Input::Lines(_) => Ok(()),
            #[cfg(feature = "mcap")]
            Input::Mcap(source) => source.topics()?.iter().try_for_each(|name| target.topic(name).map(drop)),
        }
    }

    fn play(&self, args: &ReplayArgs, target: &mut impl Target, stop: &StopRequests) -> Result<(), Failure> {
        match self {
            Input::Lines(recording) => play(args, recording, target, stop),
            #[cfg(feature = "mcap")]
            Input::Mcap(source) => play_recorded(args, source, target, stop),
        }
    }
}

/// Where messages go. All calls answer false once the process was asked to stop.
trait Target {
    fn publish(&mut self, message: &Outgoing<'_>, line: u64) -> Result<bool, Failure>;
    fn wait_until(&mut self, due: Instant) -> Result<bool, Failure>;
    fn wait_readable(&mut self, source: BorrowedFd<'_>) -> Result<bool, Failure>;
}

/// Fails where the recording was not played to its end because the process was asked to stop.
fn interrupted(stop: &StopRequests) -> Result<(), Failure> {
    match stop.is_asked() {
        true => Err(Failure {
            code: stop.exit_code().into(),
            error: anyhow::anyhow!("{}: stopped before the end", stop.name()),
        }),
        false => Ok(()),
    }
}

/// How far it has been played, and when the next message is due.
struct Playing<'a> {
    args: &'a ReplayArgs,
    stop: &'a StopRequests,
    progress: Progress,
    pace: Pace,
    start: Instant,
    bytes: u64,
}

impl<'a> Playing<'a> {
    fn new(args: &'a ReplayArgs, stop: &'a StopRequests, size: Option<u64>) -> Self {
        let start = clock::now();
        let pace = Pace::new(args.speed, args.max_silence.0, start);
        Playing { args, stop, progress: Progress::new(size), pace, start, bytes: 0 }
    }

    /// Plays rounds until the last one, or until it is stopped. A round answers false once it is; `nothing` says that none has a message.
    fn rounds(
        mut self,
        nothing: &str,
        mut round: impl FnMut(&mut Self) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        loop {
            let before = self.progress.messages();
            if !round(&mut self)? || !self.args.repeat || self.stop.is_asked() {
                break;
            }
            if self.progress.messages() == before {
                return Err(Failure::message(Exit::Data, nothing.to_owned()));
            }
            self.pace.restart();
        }
        self.progress.clear();
        let seconds = clock::now().saturating_duration_since(self.start).as_secs_f64();
        tracing::info!(
            "published {} messages, {} bytes in {seconds:.2} s ({} a second)",
            grouped(self.progress.messages()),
            grouped(self.bytes),
            grouped((self.progress.messages() as f64 / seconds.max(1e-6)) as u64)
        );
        Ok(())
    }

    /// Waits until a message that was recorded at `at_us` is due (`None`: at once). False once it is stopped.
    fn wait(
        &mut self,
        target: &mut impl Target,
        at_us: Option<u64>,
        place: fmt::Arguments<'_>,
    ) -> Result<bool, Failure> {
        let Some(at_us) = at_us else { return Ok(true) };
        let (due, shortened) = self.pace.due(at_us);
        if let Some(shortened) = shortened {
            let seconds = Duration::from_micros(shortened.silence_us).as_secs_f64();
            tracing::info!("{place}a silence of {seconds:.1} s is shortened (--max-silence 0 keeps it)");
        }
        let Some(due) = due else { return Ok(true) };
        if due.saturating_duration_since(clock::now()) > Duration::from_millis(100) {
            self.progress.show();
        }
        target.wait_until(due)
    }

    /// Counts a message that was published.
    fn on_message(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        self.progress.on_message();
    }
}

fn play(
    args: &ReplayArgs,
    recording: &Recording,
    target: &mut impl Target,
    stop: &StopRequests,
) -> Result<(), Failure> {
    // Reading waits at the target, which has other things to do meanwhile; what goes wrong with it there is kept aside.
    let target = RefCell::new(target);
    let broken = Cell::new(None);
    let nothing = format!("{} holds no messages", recording.name());
    Playing::new(args, stop, recording.size).rounds(&nothing, |playing| {
        let mut wait = |source: BorrowedFd<'_>| {
            let waited = target.borrow_mut().wait_readable(source);
            waited.map_err(|failure| {
                broken.set(Some(failure));
                io::Error::other("the target is gone")
            })
        };
        let mut lines = recording.open(playing.progress.read_bytes(), &mut wait)?;
        loop {
            let line = lines.next_line();
            if let Some(failure) = broken.take() {
                return Err(failure);
            }
            // Asked to stop, what is read ends in the middle of whatever it is.
            if stop.is_asked() {
                return Ok(false);
            }
            let Some((line, place)) = line? else { return Ok(true) };
            let record = ndjson::parse(line).map_err(|what| place.wrong(what))?;
            let topic = topic_of(&record, place)?;
            let at_us = time_of(&record, place, args.speed)?;
            if !playing.wait(*target.borrow_mut(), at_us, format_args!("line {}: ", place.line))? {
                return Ok(false);
            }
            let payload = record.data.get().as_bytes();
            let priority = record.priority.map_or(args.priority.into(), Into::into);
            let message = Outgoing { topic, priority, kind: Kind::Json, payload, key: None, ttl_ms: None };
            let published = target.borrow_mut().publish(&message, place.line);
            if !published.map_err(|failure| ndjson::at(failure, place))? {
                return Ok(false);
            }
            playing.on_message(payload.len());
        }
    })
}

#[cfg(feature = "mcap")]
fn play_recorded(
    args: &ReplayArgs,
    source: &recorded::Source,
    target: &mut impl Target,
    stop: &StopRequests,
) -> Result<(), Failure> {
    let nothing = format!("{} holds no messages that are wanted", source.name());
    Playing::new(args, stop, None).rounds(&nothing, |playing| {
        let mut messages = recorded::Messages::open(source)?;
        while let Some(found) = messages.next()? {
            if stop.is_asked() || !playing.wait(target, Some(found.log_us), format_args!(""))? {
                return Ok(false);
            }
            let recorded::Found { topic, priority, kind, payload, number, .. } = found;
            let message = Outgoing { topic, priority, kind, payload, key: None, ttl_ms: None };
            let published = target.publish(&message, number).map_err(|failure| {
                let what = format!("{}: message {number}, of {topic}", source.name());
                Failure { code: failure.code, error: failure.error.context(what) }
            });
            if !published? {
                return Ok(false);
            }
            playing.on_message(payload.len());
        }
        Ok(true)
    })
}

fn topic_of<'r>(record: &'r Record<'_>, place: &Place) -> Result<&'r str, Failure> {
    let topic = record.topic.as_deref().ok_or_else(|| place.wrong("missing field `topic`"))?;
    ndjson::check_topic(topic, place)?;
    Ok(topic)
}

/// When a line was recorded; `None` where nobody wants to know.
fn time_of(record: &Record<'_>, place: &Place, speed: Speed) -> Result<Option<u64>, Failure> {
    match (speed, record.t_us) {
        (Speed::Max, _) => Ok(None),
        (_, Some(t_us)) => Ok(Some(t_us)),
        (_, None) => Err(place.wrong("missing field `t_us`: only --speed max does without")),
    }
}

impl Target for Uplink {
    fn publish(&mut self, message: &Outgoing<'_>, line: u64) -> Result<bool, Failure> {
        Uplink::publish(self, message, line)
    }

    fn wait_until(&mut self, due: Instant) -> Result<bool, Failure> {
        Uplink::wait_until(self, due)
    }

    fn wait_readable(&mut self, source: BorrowedFd<'_>) -> Result<bool, Failure> {
        Uplink::wait_readable(self, source)
    }
}

/// An engine of our own.
struct Embedded {
    engine: Engine,
    topics: HashMap<String, Topic>,
    /// Taken out now and then: events that nobody takes hold up their connections.
    events: Option<Events>,
    published: u64,
    stop: StopRequests,
}

impl Embedded {
    fn start(config: Config, stop: StopRequests) -> Result<Self, Failure> {
        let mut engine = engine::start(config)?;
        engine::announce(&engine);
        let events = engine.events();
        Ok(Embedded { engine, topics: HashMap::new(), events, published: 0, stop })
    }

    fn topic(&mut self, name: &str) -> Result<Topic, Failure> {
        if let Some(topic) = self.topics.get(name) {
            return Ok(topic.clone());
        }
        let topic = loop {
            match self.engine.topic(name) {
                Ok(topic) => break topic,
                Err(TopicError::WouldBlock) if !self.stop.is_asked() => {}
                Err(error) => return Err(Failure::new(Exit::Data, anyhow::Error::new(error))),
            }
        };
        self.topics.insert(name.to_owned(), topic.clone());
        Ok(topic)
    }

    /// Waits until `wanted` connections are subscribed to anything.
    fn wait_for_subscribers(&mut self, wanted: usize) -> Result<(), Failure> {
        let Some(events) = &mut self.events else {
            return Err(Failure::message(Exit::Software, "the engine has no events"));
        };
        let mut subscribed: HashSet<ConnectionId> = HashSet::new();
        tracing::info!("waiting for {wanted} subscribers");
        while subscribed.len() < wanted && !self.stop.is_asked() && self.engine.is_running() {
            match events.wait(PUBLISH_WAIT) {
                Some(Event::Subscribed { connection, .. }) => {
                    subscribed.insert(connection);
                }
                Some(Event::Closed { connection, .. }) => {
                    subscribed.remove(&connection);
                }
                _ => {}
            }
        }
        tracing::info!("{} subscribers: beginning", subscribed.len());
        Ok(())
    }

    fn forget_events(&mut self) {
        if let Some(events) = &mut self.events {
            while events.next().is_some() {}
        }
    }

    fn make_topics(&mut self, recording: &Recording) -> Result<(), Failure> {
        let mut at_once = |_: BorrowedFd<'_>| Ok(true);
        let mut lines = recording.open(Arc::default(), &mut at_once)?;
        while let Some((line, place)) = lines.next_line()? {
            let record = ndjson::parse(line).map_err(|what| place.wrong(what))?;
            let name = topic_of(&record, place)?;
            if !self.topics.contains_key(name) {
                self.topic(name).map_err(|failure| ndjson::at(failure, place))?;
            }
        }
        Ok(())
    }
}

impl Target for Embedded {
    fn publish(&mut self, message: &Outgoing<'_>, _line: u64) -> Result<bool, Failure> {
        let topic = self.topic(message.topic)?;
        self.published += 1;
        if self.published.is_multiple_of(EVENTS_EVERY) {
            self.forget_events();
        }
        let begin = clock::now();
        let mut is_told = false;
        loop {
            match topic.publish_timeout(message.priority, message.kind, message.payload, PUBLISH_WAIT) {
                Ok(_) => return Ok(true),
                Err(PublishError::WouldBlock) if self.stop.is_asked() => return Ok(false),
                Err(PublishError::WouldBlock) => {
                    if !is_told && clock::now().saturating_duration_since(begin) > PATIENCE {
                        is_told = true;
                        tracing::warn!("the engine has taken nothing for {} s: still waiting", PATIENCE.as_secs());
                    }
                }
                Err(error @ PublishError::TooLarge { .. }) => {
                    return Err(Failure::new(Exit::Data, anyhow::Error::new(error)));
                }
                Err(error) => return Err(Failure::new(Exit::Software, anyhow::Error::new(error))),
            }
        }
    }

    fn wait_until(&mut self, due: Instant) -> Result<bool, Failure> {
        self.forget_events();
        Ok(!self.stop.wait_until(due))
    }

    fn wait_readable(&mut self, source: BorrowedFd<'_>) -> Result<bool, Failure> {
        self.forget_events();
        let interrupts = Interrupts { stop: &self.stop, output: None };
        let for_ever = clock::after(clock::now(), Duration::MAX);
        let waited = interrupts.wait(source, PollFlags::IN, for_ever);
        Ok(waited.or_exit(Exit::Io, || "cannot wait for the recording".into())? == Waited::Ready)
    }
}
