//! The engine as a producer links it: publisher and shards in one process, the publisher on a thread of its own.
//!
//! The only file here that names the engine, and only its public interface.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use fanwire::{Config, DriverChoice, Engine, Kind, LimitsConfig, MemoryConfig, Priority, Publisher, TlsConfig};

use super::{HostSpec, Load, Loaded, Order, Schedule, Source, lines, order, pin, say, say_published};
use crate::clock;
use crate::identity::Identity;
use crate::payload::Look;

/// How long a publish may wait for room in the ring before the run is given up.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the publisher looks whether a burst is sent.
const LOOK_NS: u64 = 200_000;

/// How often a saturating publisher looks whether a turn's messages are sent: a good tenth of a turn, so that it is never late and
/// seldom in the way of the shard, whose CPU it shares.
fn look_ns(load: &Load) -> u64 {
    (load.subscribers as u64 * 300).clamp(50_000, 500_000)
}

pub fn run(spec: &HostSpec) -> Result<()> {
    pin(spec)?;
    let engine = Engine::start(Config {
        listen: vec![if spec.tls.is_some() { "wss://127.0.0.1:0" } else { "127.0.0.1:0" }.parse()?],
        tls: spec.tls.as_ref().map(tls_config).unwrap_or_default(),
        shards: Some(spec.shards),
        cpus: if spec.cpus.is_empty() { None } else { Some(spec.cpus.clone()) },
        driver: match spec.driver.as_str() {
            "auto" => DriverChoice::Auto,
            "uring" => DriverChoice::Uring,
            "epoll" => DriverChoice::Epoll,
            other => bail!("no driver `{other}`"),
        },
        connections_max: spec.connections_max as u32,
        memory: MemoryConfig { lane_bytes: spec.lane_bytes, ..MemoryConfig::default() },
        limits: LimitsConfig { ping_every: Duration::ZERO, ..LimitsConfig::default() },
        ..Config::default()
    })?;
    say(&format!("listening on {}", engine.listeners().first().context("no listener")?.url()))?;
    let mut source = Source::new();
    for line in lines() {
        match order(&line)? {
            Order::Publish(load) => say_published(publish(&engine, &mut source, &load)?)?,
            Order::Burst(count, bytes, subscribers) => {
                say_published(burst(&engine, &mut source, count, bytes, subscribers)?)?
            }
            Order::Counters => say(&format!("counters {}", counters(&engine)))?,
        }
    }
    engine.shutdown(Duration::from_millis(100));
    Ok(())
}

fn tls_config(identity: &Identity) -> TlsConfig {
    TlsConfig {
        certificate_files: vec![identity.certificate.clone()],
        key_files: vec![identity.key.clone()],
        ..TlsConfig::default()
    }
}

fn publish(engine: &Engine, source: &mut Source, load: &Load) -> Result<Loaded> {
    let kind = match load.look {
        Look::Text => Kind::Text,
        Look::Telemetry => Kind::Json,
    };
    source.begin(load);
    let topics: Vec<Publisher> = (0..load.topics)
        .map(|i| Ok(engine.topic(&format!("t{i}"))?.publisher(Priority::Normal, kind)))
        .collect::<Result<_>>()?;
    let began = clock::now_ns();
    let mut loaded =
        if load.rate > 0.0 { at_rate(&topics, source, load)? } else { saturate(engine, &topics, source, load)? };
    loaded.ns = clock::now_ns() - began;
    Ok(loaded)
}

fn at_rate(topics: &[Publisher], source: &mut Source, load: &Load) -> Result<Loaded> {
    let mut schedule = Schedule::new(load);
    let mut loaded = Loaded::default();
    while let Some((intended_ns, late_ns)) = schedule.wait() {
        let (topic, message) = source.next(intended_ns, load.bytes);
        topics[topic].publish_timeout(message, PATIENCE)?;
        loaded.late_ns = loaded.late_ns.max(late_ns);
        loaded.sent += 1;
    }
    Ok(loaded)
}

/// Two turns' messages are on their way at any time: while the shard sends one turn's, the next turn's wait in the ring. So it never
/// waits for the publisher, and never finds more than one turn's messages: after each turn's messages the publisher sleeps for
/// long enough that the shard has begun with them, and much shorter than a turn takes.
fn saturate(engine: &Engine, topics: &[Publisher], source: &mut Source, load: &Load) -> Result<Loaded> {
    let mut loaded = Loaded::default();
    let end = clock::now_ns() + (load.seconds * 1e9) as u64;
    let per_turn = load.per_turn();
    let window = load.window()?;
    let look_ns = look_ns(load);
    let base = engine.stats().total.deliveries;
    let mut messages: Vec<Vec<u8>> = vec![Vec::new(); load.burst];
    let mut turns = 0;
    while clock::now_ns() < end {
        let done = (engine.stats().total.deliveries - base).checked_div(per_turn).unwrap_or(turns);
        if turns >= done + 2 || !window.is_open(turns * per_turn) {
            clock::sleep_until(clock::now_ns() + look_ns);
            continue;
        }
        let now = clock::now_ns();
        if load.topics == 1 {
            // In one step, so that a turn finds all of them or none.
            for message in &mut messages {
                message.clear();
                message.extend_from_slice(source.next(now, load.bytes).1);
            }
            let all: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
            let mut taken = 0;
            while taken < all.len() {
                taken += topics[0].topic().publish_many_timeout(
                    Priority::Normal,
                    if load.look == Look::Telemetry { Kind::Json } else { Kind::Text },
                    &all[taken..],
                    PATIENCE,
                )?;
            }
        } else {
            for _ in 0..load.burst {
                let (topic, message) = source.next(now, load.bytes);
                topics[topic].publish_timeout(message, PATIENCE)?;
            }
        }
        loaded.sent += load.burst as u64;
        turns += 1;
        clock::sleep_until(clock::now_ns() + look_ns);
    }
    Ok(loaded)
}

/// Publishes all at once and waits until the kernel has taken all of it for every subscriber.
fn burst(engine: &Engine, source: &mut Source, count: usize, bytes: usize, subscribers: usize) -> Result<Loaded> {
    let topic = engine.topic("t0")?;
    let wanted = engine.stats().total.deliveries + (count * subscribers) as u64;
    let began = clock::now_ns();
    let messages: Vec<Vec<u8>> = (0..count).map(|_| source.next(began, bytes).1.to_vec()).collect();
    let all: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
    let began = clock::now_ns();
    let taken = topic.publish_many_timeout(Priority::Normal, Kind::Text, &all, PATIENCE)?;
    anyhow::ensure!(taken == count, "the ring took {taken} of {count}");
    while engine.stats().total.deliveries < wanted {
        anyhow::ensure!(clock::now_ns() - began < PATIENCE.as_nanos() as u64, "the burst is not delivered");
        clock::sleep_until(clock::now_ns() + LOOK_NS);
    }
    Ok(Loaded { sent: count as u64, ns: clock::now_ns() - began, ..Loaded::default() })
}

fn counters(engine: &Engine) -> serde_json::Value {
    let total = engine.stats().total;
    serde_json::json!({
        "connections": total.connections,
        "deliveries": total.deliveries,
        "sends": total.sends,
        "sends_short": total.sends_short,
        "syscalls": total.syscalls,
        "turns": total.turns,
        "sleeps": total.sleeps,
        "encoded": total.encoded,
        "compressed": total.compressed,
        "rebuilt": total.rebuilt,
        "gaps": total.gaps,
    })
}
