//! What a bridge counts, in one table: a row is a metric.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How a number behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// It only grows.
    Counter,
    /// It is what it is now.
    Gauge,
}

/// One number of a bridge's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name, as in `fanwire_bridge_lost`.
    pub name: &'static str,
    /// What tells it from others of the same name, as in `cause="outward"`; may be empty.
    pub label: &'static str,
    /// What it counts.
    pub help: &'static str,
    /// How it behaves.
    pub kind: MetricKind,
}

macro_rules! table {
    ($($field:ident $kind:ident $name:literal $label:literal $help:literal;)*) => {
        /// What one bridge has counted.
        #[derive(Debug, Default)]
        pub struct Counters {
            $(#[doc = $help] pub(crate) $field: AtomicU64,)*
        }

        /// All numbers, those of one name next to each other.
        pub const METRICS: &[Metric] = &[
            $(Metric { name: $name, label: $label, help: $help, kind: MetricKind::$kind },)*
        ];

        impl Counters {
            /// The numbers, in the order of [`METRICS`].
            pub fn read(&self) -> Vec<u64> {
                vec![$(self.$field.load(Relaxed),)*]
            }
        }
    };
}

table! {
    received Counter "fanwire_bridge_messages" "direction=\"in\"" "Messages that crossed the bridge";
    sent Counter "fanwire_bridge_messages" "direction=\"out\"" "Messages that crossed the bridge";
    lost_outlet Counter "fanwire_bridge_lost" "cause=\"outlet\"" "Messages that did not cross it";
    lost_outward Counter "fanwire_bridge_lost" "cause=\"outward\"" "Messages that did not cross it";
    lost_expired Counter "fanwire_bridge_lost" "cause=\"expired\"" "Messages that did not cross it";
    lost_too_large Counter "fanwire_bridge_lost" "cause=\"too_large\"" "Messages that did not cross it";
    lost_cut Counter "fanwire_bridge_lost" "cause=\"cut\"" "Messages that did not cross it";
    lost_peer Counter "fanwire_bridge_lost" "cause=\"peer\"" "Messages that did not cross it";
    lost_inward Counter "fanwire_bridge_lost" "cause=\"inward\"" "Messages that did not cross it";
    lost_refused Counter "fanwire_bridge_lost" "cause=\"refused\"" "Messages that did not cross it";
    copies Counter "fanwire_bridge_copies" "" "Messages that had come already, by another subscription";
    echoes Counter "fanwire_bridge_echoes" "" "Messages of this node that came back to it";
    unwanted Counter "fanwire_bridge_unwanted" "" "Messages that nobody here wants any more";
    passed_over Counter "fanwire_bridge_passed_over" "" "Messages on subjects that are no topics (poison)";
    forgotten Counter "fanwire_bridge_forgotten" "" "Times that other nodes' lanes were too many to be known at once";
    slow Counter "fanwire_bridge_slow_consumer" "" "Times that the NATS client could not take what came";
    disconnects Counter "fanwire_bridge_disconnects" "" "Connections to NATS that broke";
    refused_by_server Counter "fanwire_bridge_server_errors" "" "Errors that the NATS server told";
    connected Gauge "fanwire_bridge_connections" "" "Connections to NATS that are open";
    interest Gauge "fanwire_bridge_interest" "" "Names and patterns that somebody here wants, or has wanted lately";
    subscriptions Gauge "fanwire_bridge_subscriptions" "" "Subscriptions at the NATS server";
    outward_bytes Gauge "fanwire_bridge_queued_bytes" "direction=\"out\"" "Bytes that wait in the bridge";
    inward_bytes Gauge "fanwire_bridge_queued_bytes" "direction=\"in\"" "Bytes that wait in the bridge";
}

/// One more.
pub(crate) fn count(counter: &AtomicU64) {
    add(counter, 1);
}

/// So many more.
pub(crate) fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Relaxed);
}

/// So it is now.
pub(crate) fn set(gauge: &AtomicU64, now: usize) {
    gauge.store(now as u64, Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_one_row_and_rows_of_one_name_stand_together() {
        let mut seen: Vec<&Metric> = Vec::new();
        for metric in METRICS {
            let (name, label) = (metric.name, metric.label);
            assert!(seen.iter().all(|other| (other.name, other.label) != (name, label)), "{name} {label} twice");
            if let Some(other) = seen.iter().find(|other| other.name == name) {
                assert_eq!((other.help, other.kind), (metric.help, metric.kind), "{name} is one metric");
                assert_eq!(seen.last().map(|last| last.name), Some(name), "{name} stands together");
                assert!(!label.is_empty() && !other.label.is_empty());
            }
            seen.push(metric);
        }
        let counters = Counters::default();
        add(&counters.lost_outward, 3);
        set(&counters.inward_bytes, 7);
        let read = counters.read();
        let of = |label: &str| METRICS.iter().zip(&read).find(|(m, _)| m.label == label).map(|(_, n)| *n);
        assert_eq!((of("cause=\"outward\""), read.last(), read.len()), (Some(3), Some(&7), METRICS.len()));
    }
}
