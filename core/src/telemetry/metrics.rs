//! The one table of metrics: names after Prometheus' conventions, kinds, labels, help, and where each comes from.
//!
//! The counters of [`crate::counters`] are in it by themselves. Labels have few values: shards, patterns of the configuration, priorities,
//! reasons, limits, certificates; never a topic's or a client's name.

use super::drops::{Drops, each_drop};
use super::histogram::{Histogram, Reading};
use super::openmetrics::{Samples, Scale, family};
use super::{Instruments, Telemetry};
use crate::counters::{Counter, CounterKind, ShardStats, counters};
use crate::plan::MemoryPlan;

/// What a metric is, as OpenMetrics calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// It goes up and down.
    Gauge,
    /// It only grows, from the start of the engine on; its samples are called `…_total`.
    Counter,
    /// Counts by size; its samples are called `…_bucket`, `…_count` and `…_sum`.
    Histogram,
    /// Texts, in labels; its sample is called `…_info`.
    Info,
}

impl MetricKind {
    /// As the text format and the documentation write it.
    pub const fn name(self) -> &'static str {
        match self {
            MetricKind::Gauge => "gauge",
            MetricKind::Counter => "counter",
            MetricKind::Histogram => "histogram",
            MetricKind::Info => "info",
        }
    }

    /// What stands behind the family's name in a sample's.
    pub const fn suffix(self) -> &'static str {
        match self {
            MetricKind::Counter => "_total",
            MetricKind::Info => "_info",
            MetricKind::Gauge | MetricKind::Histogram => "",
        }
    }
}

/// One family of metrics: a row of the table.
#[derive(Debug)]
#[non_exhaustive]
pub struct Metric {
    /// The family's name.
    pub name: String,
    /// What it is.
    pub kind: MetricKind,
    /// `seconds`, `bytes` or nothing.
    pub unit: &'static str,
    /// The labels of its samples.
    pub labels: &'static [&'static str],
    /// What it says, for a person.
    pub help: &'static str,
    source: Source,
}

#[derive(Clone, Copy, Debug)]
enum Source {
    Counter(&'static Counter),
    Written(fn(&Sources<'_>, &mut Samples<'_>)),
    Histogram(fn(&Instruments) -> &Histogram, Scale),
}

/// What metrics are read from.
pub struct Sources<'a> {
    /// Each shard's counters.
    pub shards: &'a [ShardStats],
    /// Each shard's instruments.
    pub instruments: &'a [&'a Instruments],
    /// What shards share.
    pub telemetry: &'a Telemetry,
    /// The memory sum.
    pub plan: &'a MemoryPlan,
    /// Numbers of the engine: what [`Counter::is_of_engine`] says, by name.
    pub of_engine: &'a [(&'static str, u64)],
    /// What may be at most, by the name that follows `fanwire_`.
    pub most: &'a [(&'static str, u64)],
    /// Which driver runs.
    pub driver: &'a str,
    /// Every shard runs.
    pub is_running: bool,
    /// Certificates: the file, and the Unix time at which it ends.
    pub certificates: &'a [(String, u64)],
}

/// The whole table, in the order of the text.
pub fn metrics() -> Vec<Metric> {
    OWN.iter().map(Row::metric).chain(counters().map(of_counter)).collect()
}

/// All metrics in the text format of OpenMetrics.
pub fn render(sources: &Sources<'_>) -> String {
    let mut out = String::with_capacity(64 << 10);
    for metric in metrics() {
        let Metric { name, kind, unit, help, source, .. } = &metric;
        family(&mut out, name, kind.name(), unit, help);
        let mut samples = Samples::new(&mut out, name, kind.suffix());
        match source {
            Source::Counter(counter) => write_counter(counter, sources, &mut samples),
            Source::Written(write) => write(sources, &mut samples),
            Source::Histogram(of, scale) => {
                let mut reading = Reading::default();
                sources.instruments.iter().for_each(|shard| of(shard).read_into(&mut reading));
                samples.histogram(&reading, *scale);
            }
        }
    }
    out.push_str("# EOF\n");
    out
}

/// A row of the table but for those of counters.
struct Row {
    name: &'static str,
    kind: MetricKind,
    unit: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    source: Source,
}

impl Row {
    fn metric(&self) -> Metric {
        let &Row { name, kind, unit, labels, help, source } = self;
        Metric { name: name.to_owned(), kind, unit, labels, help, source }
    }
}

const fn timing(name: &'static str, help: &'static str, of: fn(&Instruments) -> &Histogram) -> Row {
    let source = Source::Histogram(of, Scale::Microseconds);
    Row { name, kind: MetricKind::Histogram, unit: "seconds", labels: &[], help, source }
}

const fn sizes(name: &'static str, help: &'static str, of: fn(&Instruments) -> &Histogram) -> Row {
    let source = Source::Histogram(of, Scale::Count);
    Row { name, kind: MetricKind::Histogram, unit: "", labels: &[], help, source }
}

const fn gauge(
    name: &'static str,
    unit: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    write: fn(&Sources<'_>, &mut Samples<'_>),
) -> Row {
    Row { name, kind: MetricKind::Gauge, unit, labels, help, source: Source::Written(write) }
}

const fn total(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    write: fn(&Sources<'_>, &mut Samples<'_>),
) -> Row {
    Row { name, kind: MetricKind::Counter, unit: "", labels, help, source: Source::Written(write) }
}

static OWN: &[Row] = &[
    Row {
        name: "fanwire_build",
        kind: MetricKind::Info,
        unit: "",
        labels: &["version", "driver"],
        help: "Version of the engine, and the kernel interface that it runs on.",
        source: Source::Written(|sources, samples| {
            samples.number(&[("version", env!("CARGO_PKG_VERSION")), ("driver", sources.driver)], 1);
        }),
    },
    gauge("fanwire_running", "", &[], "1 while every shard runs, 0 once one has ended.", |sources, samples| {
        samples.number(&[], sources.is_running.into());
    }),
    gauge("fanwire_start_time_seconds", "seconds", &[], "When the engine was started, as Unix time.", |s, samples| {
        samples.seconds(&[], s.telemetry.started.as_nanos());
    }),
    gauge("fanwire_connections_limit", "", &[], "Connections that may be open: connections_max.", |s, samples| {
        most(s, "connections_limit", samples);
    }),
    gauge("fanwire_topics_limit", "", &[], "Topics that may be known: topics_max.", |s, samples| {
        most(s, "topics_limit", samples);
    }),
    gauge("fanwire_cursors_limit", "", &[], "Cursors that there may be: cursors_max.", |s, samples| {
        most(s, "cursors_limit", samples);
    }),
    gauge("fanwire_ring_limit_bytes", "bytes", &[], "Size of the ingest ring: memory.ring_bytes.", |s, samples| {
        most(s, "ring_limit_bytes", samples);
    }),
    gauge(
        "fanwire_payload_limit_bytes",
        "bytes",
        &[],
        "Payload memory at most: memory.payload_bytes.",
        |s, samples| {
            most(s, "payload_limit_bytes", samples);
        },
    ),
    gauge("fanwire_log_limit_bytes", "bytes", &[], "Log memory at most: memory.pool_bytes.", |s, samples| {
        most(s, "log_limit_bytes", samples);
    }),
    gauge(
        "fanwire_memory_planned_bytes",
        "bytes",
        &["part"],
        "The memory sum: most bytes of each part.",
        |s, samples| {
            s.plan.lines.iter().for_each(|line| samples.number(&[("part", line.what)], line.bytes));
        },
    ),
    gauge(
        "fanwire_certificate_expiry_seconds",
        "seconds",
        &["file"],
        "When a certificate ends that listeners show, as Unix time.",
        |sources, samples| {
            sources.certificates.iter().for_each(|(file, ends_s)| samples.number(&[("file", file)], *ends_s));
        },
    ),
    timing(
        "fanwire_publish_to_first_send_seconds",
        "Age of a turn's first message when the shard begins to send: one sample a turn that sends messages.",
        |instruments| &instruments.first_send_us,
    ),
    timing(
        "fanwire_publish_to_last_send_seconds",
        "Age of the same message at the end of the turn in which everything was sent that sockets took.",
        |instruments| &instruments.last_send_us,
    ),
    timing("fanwire_turn_duration_seconds", "Turns of the shards' loops, without waiting.", |instruments| {
        &instruments.turn_us
    }),
    sizes("fanwire_sends_per_turn", "Sends of a turn that sends.", |instruments| &instruments.turn_sends),
    sizes("fanwire_send_batch_size", "Sends given to the kernel together.", |instruments| &instruments.batch_sends),
    total(
        "fanwire_dropped_messages",
        &["pattern", "priority", "reason"],
        "Messages that subscribers did not get, by the pattern of the topics setting that matches their topic (empty: none), \
         one for each subscriber.",
        write_drops,
    ),
    total("fanwire_refusals", &["limit"], "What was refused because of a limit, by the limit.", |s, samples| {
        for (limit, of) in LIMITS {
            samples.number(&[("limit", limit)], s.shards.iter().map(of).sum());
        }
    }),
];

/// Limits by the names of their settings, shortened, with what has been refused because of each.
static LIMITS: &[Limit] = &[
    ("connections", |stats| stats.refused_full),
    ("connections_per_address", |stats| stats.refused_for_address),
    ("upgrades_per_address", |stats| stats.refused_too_often),
    ("failures_per_address", |stats| stats.refused_failing),
    ("handshakes", |stats| stats.refused_waiting),
    ("subject", |stats| stats.refused_for_subject),
    ("subscriptions", |stats| stats.subscriptions_refused),
    ("topics", |stats| stats.topics_refused),
    ("message_bytes", |stats| stats.messages_too_large),
    ("inbound", |stats| stats.input_paused),
    ("handshake_timeout", |stats| stats.handshakes_late),
    ("idle_timeout", |stats| stats.closed_idle),
    ("connection_lifetime", |stats| stats.lifetimes_ended),
];

/// A limit's name, and its count of one shard.
type Limit = (&'static str, fn(&ShardStats) -> u64);

fn most(sources: &Sources<'_>, name: &str, samples: &mut Samples<'_>) {
    let value = sources.most.iter().find(|(other, _)| *other == name).map_or(0, |(_, value)| *value);
    samples.number(&[], value);
}

fn write_drops(sources: &Sources<'_>, samples: &mut Samples<'_>) {
    let drops = sources.instruments.iter().map(|instruments| &instruments.drops);
    let drops: Vec<&Drops> = drops.collect();
    each_drop(&sources.telemetry.patterns, drops.iter().copied(), |pattern, priority, reason, count| {
        let labels = [("pattern", pattern), ("priority", priority.name()), ("reason", reason.name())];
        samples.number(&labels, count);
    });
}

/// The row of a counter: `fanwire_` and its name, nanoseconds as seconds.
fn of_counter(counter: &'static Counter) -> Metric {
    // What it counts in comes last.
    let units = [("_ns_max", "_max_seconds"), ("_ns", "_seconds"), ("_bytes_max", "_max_bytes")];
    let named = units.iter().find_map(|(end, unit)| Some(counter.name.strip_suffix(end)?.to_owned() + unit));
    let name = named.unwrap_or_else(|| counter.name.to_owned());
    let kind = if counter.kind == CounterKind::Total { MetricKind::Counter } else { MetricKind::Gauge };
    let unit = ["seconds", "bytes"].into_iter().find(|unit| name.ends_with(&format!("_{unit}"))).unwrap_or("");
    let labels: &[&str] = if counter.is_of_engine { &[] } else { &["shard"] };
    let source = Source::Counter(counter);
    Metric { name: format!("fanwire_{name}"), kind, unit, labels, help: counter.help, source }
}

fn write_counter(counter: &Counter, sources: &Sources<'_>, samples: &mut Samples<'_>) {
    let mut write = |labels: &[(&str, &str)], value: u64| match counter.unit {
        "nanoseconds" => samples.seconds(labels, value.into()),
        _ => samples.number(labels, value),
    };
    if counter.is_of_engine {
        let value = sources.of_engine.iter().find(|(name, _)| *name == counter.name).map_or(0, |(_, value)| *value);
        return write(&[], value);
    }
    for (number, shard) in sources.shards.iter().enumerate() {
        let value = shard.values().find(|(other, _)| other.name == counter.name).map_or(0, |(_, value)| value);
        write(&[("shard", &number.to_string())], value);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_end_with_their_units() {
        let all = metrics();
        let names: BTreeSet<&str> = all.iter().map(|metric| metric.name.as_str()).collect();
        assert_eq!(names.len(), all.len());
        for Metric { name, unit, help, kind, .. } in &all {
            assert!(name.starts_with("fanwire_") && !name.ends_with("_total"), "{name}");
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
            assert!(unit.is_empty() || name.ends_with(unit), "{name} in {unit}");
            assert!(help.ends_with('.') && !help.contains('"'), "{name}: {help}");
            assert!(!name.ends_with("_ns") && !name.ends_with("_info"), "{name}, a {}", kind.name());
        }
    }

    #[test]
    fn a_counter_has_the_name_of_its_unit() {
        let name = |counter: &str| of_counter(counters().find(|c| c.name == counter).expect("it is in the table")).name;
        assert_eq!(name("turn_ns_max"), "fanwire_turn_max_seconds");
        assert_eq!(name("busy_ns"), "fanwire_busy_seconds");
        assert_eq!(name("tls_bytes_max"), "fanwire_tls_max_bytes");
        assert_eq!(name("sent_bytes"), "fanwire_sent_bytes");
        assert_eq!(name("connections"), "fanwire_connections");
    }
}
