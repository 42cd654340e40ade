//! Job: an engine for a command: configured from arguments, started, stopped, with what its operator has to read.
//! Knows: the engine's public API, the process's limits. Must never know: which command it is for.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::thread;
use std::time::Duration;

use fanwire::{
    AccessConfig, CompressionConfig, Config, DriverChoice, Engine, LimitsConfig, MemoryConfig, PublishAccess,
    StartError, TopicConfig,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::args::{Driver, EngineArgs, Publish};
use crate::console::{self, tell};
use crate::exit::{Exit, Failure};
use crate::signals::StopRequests;
use crate::units::grouped;
use crate::{clock, notices, topics};

/// How long after the deadline of a shutdown the process still waits for its shards.
const HANG_PATIENCE: Duration = Duration::from_secs(5);

/// The configuration that the arguments ask for.
///
/// # Errors
/// Where a file that they name cannot be read, or is wrong.
pub fn config(args: &EngineArgs, listen: Vec<SocketAddr>) -> Result<Config, Failure> {
    let usual = Config::default();
    let mut topics: Vec<TopicConfig> = args.topic_settings.iter().map(|setting| setting.0.clone()).collect();
    if let Some(path) = &args.topics_file {
        topics.extend(topics::read(path)?);
    }
    Ok(Config {
        listen,
        shards: args.shards.map(Into::into),
        cpus: args.cpus.as_ref().map(|list| list.0.clone()),
        driver: match args.driver {
            Driver::Auto => DriverChoice::Auto,
            Driver::Uring => DriverChoice::Uring,
            Driver::Epoll => DriverChoice::Epoll,
        },
        connections_max: args.max_connections.map_or(usual.connections_max, NonZeroU32::get),
        cursors_max: args.max_cursors.get(),
        topics_max: args.max_topics.get(),
        memory: MemoryConfig {
            ring_bytes: args.ring_bytes.to_usize(),
            pool_bytes: args.pool_bytes.to_usize(),
            lane_bytes: args.lane_bytes.to_usize(),
            payload_bytes: args.payload_bytes.to_usize(),
            lock_memory: args.lock_memory,
            ..usual.memory
        },
        limits: LimitsConfig {
            message_bytes_max: args.max_message_bytes.to_usize(),
            handshake_timeout: args.handshake_timeout.0,
            ping_every: args.ping_every.0,
            idle_timeout: args.idle_timeout.0,
            close_window: args.close_window.0,
            unsent_bytes_max: args.max_unsent_bytes.to_usize(),
            ..usual.limits
        },
        access: AccessConfig {
            publish: match args.publish {
                Publish::Loopback => PublishAccess::Loopback,
                Publish::Everyone => PublishAccess::Everyone,
                Publish::Nobody => PublishAccess::Nobody,
            },
            allowed_origins: args.allow_origin.clone(),
        },
        topics,
        compression: CompressionConfig { deflate: !args.no_deflate, threshold_bytes: args.deflate_from.to_usize() },
        ..usual
    })
}

/// Starts an engine: raises the limit of open files, logs the memory sum and what is served, refuses what cannot fit.
///
/// # Errors
/// 78 for a configuration that cannot be had here, with every reason on its own line; what the engine says otherwise.
pub fn start(config: Config) -> Result<Engine, Failure> {
    raise_file_limit();
    let engine = Engine::start(config).map_err(|error| Failure { code: error.exit_code(), error: in_words(error) })?;
    engine.plan().to_string().lines().for_each(|line| tracing::info!("{line}"));
    tracing::info!("{}", notices::summary(&engine));
    notices::warn(&engine);
    Ok(engine)
}

fn in_words(error: StartError) -> anyhow::Error {
    let StartError::Config(errors) = &error else { return anyhow::Error::new(error) };
    let mut text = "this configuration cannot be had here:".to_owned();
    for error in errors {
        let option = option_of(error.field);
        text.push_str(&format!("\n  - {option} {}: {}", error.value, error.problem));
    }
    anyhow::Error::msg(text)
}

/// The option that sets a field of the configuration; the field itself where there is none.
fn option_of(field: &'static str) -> &'static str {
    match field {
        "shards" => "--shards",
        "listen" => "--listen",
        "connections_max" => "--max-connections",
        "cursors_max" => "--max-cursors",
        "topics_max" => "--max-topics",
        "memory.ring_bytes" => "--ring-bytes",
        "memory.pool_bytes" => "--pool-bytes",
        "memory.lane_bytes" => "--lane-bytes",
        "memory.payload_bytes" => "--payload-bytes",
        "limits.message_bytes_max" => "--max-message-bytes",
        "limits.handshake_timeout" => "--handshake-timeout",
        "memory.lock_memory" => "--lock-memory",
        "topics.pattern" => "--topic",
        "topics.lane_bytes" => "--topic lane-bytes",
        "limits.unsent_bytes_max" => "--max-unsent-bytes",
        "access.allowed_origins" => "--allow-origin",
        other => other,
    }
}

/// Says on stdout where the engine can be connected to.
pub fn announce(engine: &Engine) {
    for address in engine.local_addrs() {
        console::say(&format!("listening on ws://{address}"));
    }
}

/// Waits until the process is asked to stop, or the engine has ended by itself.
pub fn wait(engine: &Engine, stop: &StopRequests) {
    let waiting = thread::current();
    engine.set_failure_bell(move || waiting.unpark());
    stop.wait_or(|| engine.failure().is_some());
}

/// Stops the engine: nobody is accepted any more, what is queued is sent, everybody is closed with 1001. The process ends with 70 if
/// that takes much longer than it may: a shard hangs.
///
/// # Errors
/// 70 if the engine had ended by itself: who started the process starts it again.
pub fn stop(mut engine: Engine, deadline: Duration) -> Result<(), Failure> {
    end_at_last(deadline);
    let report = engine.drain(deadline);
    if let Some(failure) = engine.failure() {
        return Err(Failure::message(
            Exit::Software,
            format!("{failure}; the engine has ended, and so does the process"),
        ));
    }
    if report.is_clean {
        tracing::info!("stopped: everything queued was delivered");
    } else {
        tracing::warn!(
            "stopped at the deadline: some subscribers had not taken everything (--shutdown-timeout gives them more time)"
        );
    }
    Ok(())
}

/// Ends the process some time after the deadline, whatever it waits for.
fn end_at_last(deadline: Duration) {
    let last = deadline.saturating_add(HANG_PATIENCE);
    let watch = thread::Builder::new().name("deadline".into()).spawn(move || {
        clock::sleep(last);
        tell!("fanwire: a shard hangs: it has not ended {} s after the deadline", HANG_PATIENCE.as_secs());
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
