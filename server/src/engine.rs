//! Job: an engine for a command: configured from arguments, started, stopped, with what its operator has to read.
//! Knows: the engine's public API, the process's limits. Must never know: which command it is for.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use fanwire::{Config, ConfigError, Engine, HandOver, InheritedSocket, Listener, ShutdownReport, StartError};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::console::{self, tell};
use crate::exit::{Exit, Failure};
use crate::settings::{EngineArgs, option_of};
use crate::signals::StopRequests;
use crate::slow_turns::SlowTurns;
use crate::strangers::{self, Strangers};
use crate::units::grouped;
use crate::{clock, notices};

/// How long after the deadline of a shutdown the process still waits for its shards.
pub const HANG_PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked whether its shards have ended.
const LOOK_FOR_END: Duration = Duration::from_millis(5);

/// The configuration that the arguments ask for.
///
/// # Errors
/// Where a file that they name cannot be read, or is wrong.
pub fn config(args: &EngineArgs, listen: Vec<Listener>) -> Result<Config, Failure> {
    Ok(Config { listen, ..args.config()? })
}

/// Starts an engine: raises the limit of open files, logs the memory sum and what is served, refuses what cannot fit.
///
/// # Errors
/// 78 for a configuration that cannot be had here, with every reason on its own line; what the engine says otherwise.
pub fn start(config: Config) -> Result<Engine, Failure> {
    start_named(config, option_of)
}

/// [`start`], where `place_of` says how a person finds a setting that is refused.
///
/// # Errors
/// As [`start`].
pub fn start_named(config: Config, place_of: impl Fn(&str) -> String) -> Result<Engine, Failure> {
    start_with(config, &[], place_of)
}

/// [`start_named`], with sockets that the process was started with.
///
/// # Errors
/// As [`start`].
pub fn start_with(
    config: Config,
    sockets: &[InheritedSocket],
    place_of: impl Fn(&str) -> String,
) -> Result<Engine, Failure> {
    raise_file_limit();
    let engine = Engine::start_with(config, sockets)
        .map_err(|error| Failure { code: error.exit_code(), error: in_words(error, place_of) })?;
    engine.plan().to_string().lines().for_each(|line| tracing::info!("{line}"));
    tracing::info!(event = "server.serving", "{}", notices::summary(&engine));
    notices::warn(&engine);
    Ok(engine)
}

fn in_words(error: StartError, place_of: impl Fn(&str) -> String) -> anyhow::Error {
    match &error {
        StartError::Config(errors) => refused(errors, place_of).error,
        _ => anyhow::Error::new(error),
    }
}

/// What is wrong with a configuration, with every reason on its own line.
pub fn refused(errors: &[ConfigError], place_of: impl Fn(&str) -> String) -> Failure {
    let mut text = "this configuration cannot be had here:".to_owned();
    for error in errors {
        let place = place_of(error.field);
        text.push_str(&format!("\n  - {place} {}: {}", error.value, error.problem));
    }
    Failure::message(Exit::Config, text)
}

/// Says on stdout where the engine can be connected to.
pub fn announce(engine: &Engine) {
    for listener in engine.listeners() {
        say(&format!("listening on {}", listener.url()));
    }
}

/// What became of the first line that could not be printed.
static UNSAID: OnceLock<io::Error> = OnceLock::new();

/// Prints a line on stdout at once. Whoever started the process may have closed it: that is no failure. Whatever else keeps a line
/// from being printed is told by [`unsaid`].
pub fn say(line: &str) {
    let mut out = io::stdout().lock();
    if let Err(error) = writeln!(out, "{line}").and_then(|()| out.flush())
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        let _ = UNSAID.set(error);
    }
}

/// The failure of a command whose output is what it was asked for, if some of that could not be printed.
///
/// # Errors
/// 74 in that case.
pub fn unsaid() -> Result<(), Failure> {
    match UNSAID.get() {
        Some(error) => Err(Failure::message(Exit::Io, format!("cannot write to stdout: {error}"))),
        None => Ok(()),
    }
}

/// Waits until the process is asked to stop, or the engine has ended by itself. Meanwhile it says what becomes of strangers, and
/// which shards were busy for long.
pub fn wait(engine: &Engine, stop: &StopRequests) {
    let waiting = thread::current();
    engine.set_failure_bell(move || waiting.unpark());
    let (mut strangers, mut slow_turns) = (Strangers::new(engine.stats().total), SlowTurns::default());
    while !stop.is_asked() && engine.failure().is_none() {
        thread::park_timeout(strangers::EVERY);
        let stats = engine.stats();
        strangers.tell(&stats.total, clock::now());
        slow_turns.tell(&stats.shards);
    }
}

/// How an engine is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Time over which the closes are spread; 0: each is closed as soon as it has everything.
    pub window: Duration,
    /// When what is not done is cut off.
    pub deadline: Duration,
}

impl Ending {
    /// Within so much time, spread as its settings say.
    pub fn within(engine: &Engine, deadline: Duration) -> Self {
        Ending { window: engine.current_config().limits.close_window.min(deadline / 2), deadline }
    }
}

/// Begins the end: nobody is accepted any more, what is queued is sent, everybody is closed. The process ends with 70 if that takes much
/// longer than it may: something hangs.
pub fn begin_end(engine: &Engine, ending: Ending) {
    end_at_last(ending.deadline);
    engine.begin_drain(ending.window, ending.deadline);
}

/// The same where another process goes on, with these of its sockets.
pub fn begin_hand_over(engine: &Engine, ending: Ending, sockets: Vec<String>) {
    end_at_last(ending.deadline);
    engine.begin_hand_over(&HandOver { window: ending.window, deadline: ending.deadline, sockets });
}

/// Waits until the engine has ended, but not much beyond the deadline.
pub fn wait_for_end(engine: &Engine, ending: Ending) {
    let until = clock::after(clock::now(), ending.deadline.saturating_add(HANG_PATIENCE));
    while !engine.has_ended() && clock::now() < until {
        thread::park_timeout(LOOK_FOR_END);
    }
}

/// [`begin_end`] and [`finish`].
///
/// # Errors
/// As [`finish`].
pub fn stop(engine: Engine, ending: Ending) -> Result<ShutdownReport, Failure> {
    begin_end(&engine, ending);
    finish(engine)
}

/// How an end went that has begun, and is over.
///
/// # Errors
/// 70 if the engine had ended by itself: who started the process starts it again.
pub fn finish(mut engine: Engine) -> Result<ShutdownReport, Failure> {
    let report = engine.finish();
    for (shard, counted) in engine.stats().shards.iter().enumerate() {
        tracing::debug!("shard {shard}: {counted:?}");
    }
    if let Some(failure) = engine.failure() {
        return Err(Failure::message(
            Exit::Software,
            format!("{failure}; the engine has ended, and so does the process"),
        ));
    }
    if report.is_clean {
        tracing::info!(event = "server.stopped", "stopped: everything queued was delivered");
    } else {
        tracing::warn!(
            event = "server.stopped",
            "stopped at the deadline: some subscribers had not taken everything (--shutdown-timeout gives them more time)"
        );
    }
    Ok(report)
}

/// Ends the process some time after the deadline, whatever it waits for.
fn end_at_last(deadline: Duration) {
    let last = deadline.saturating_add(HANG_PATIENCE);
    let watch = thread::Builder::new().name("deadline".into()).spawn(move || {
        clock::sleep(last);
        tell!("fanwire: something hangs: not ended {} s after the deadline", HANG_PATIENCE.as_secs());
        console::flush();
        std::process::exit(Exit::Software as i32);
    });
    if let Err(error) = watch {
        tracing::debug!("nobody watches the deadline: {error}");
    }
}

/// Raises the soft limit of open files to the hard one: a connection may need one.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        Ok(()) => {
            tracing::debug!("limit of open files raised to {}", limit.maximum.map_or("unlimited".to_owned(), grouped))
        }
        Err(errno) => tracing::warn!(
            "cannot raise the limit of open files: {errno} (raise it before the start: ulimit -n, or LimitNOFILE= of systemd)"
        ),
    }
}
