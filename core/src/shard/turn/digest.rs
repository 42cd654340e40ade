//! What all shards have found, told by the first of them: collected, written piece by piece, published like any message.

use std::fmt::Write as _;

use crate::counters::total;
use crate::driver::Driver;
use crate::ingest::{Head, INLINE_MAX};
use crate::shard::budget::Budget;
use crate::shard::census::{FULL, TopicRow, Writing};
use crate::shard::table::NONE;
use crate::shard::turn::describe::{comma, share};
use crate::shard::{Shard, ShardStats};
use crate::telemetry::json::{Quoted, Tenths};
use crate::telemetry::{Histogram, Instruments, Reading, SysTopic, Wanted};
use crate::types::{Kind, Priority};
use std::sync::atomic::Ordering::Relaxed;

/// Bytes of text that are written, or copied, in one step.
const BYTES_A_STEP: usize = 16;

/// A latency's name, and where it is measured.
type Latency = (&'static str, fn(&Instruments) -> &Histogram);
static LATENCIES: [Latency; 3] = [
    ("publish_to_first_send_us", |instruments| &instruments.first_send_us),
    ("publish_to_last_send_us", |instruments| &instruments.last_send_us),
    ("turn_us", |instruments| &instruments.turn_us),
];

impl<D: Driver> Shard<D> {
    /// Goes on with what is to be told.
    pub(super) fn digest(&mut self, wanted: Wanted) {
        let told: Vec<SysTopic> =
            [SysTopic::Clients, SysTopic::Topics, SysTopic::Shards].into_iter().filter(|&t| wanted.has(t)).collect();
        if told.is_empty() {
            return;
        }
        let (now_ns, most) = (self.pace.now_ns, self.rules.sys.top as usize);
        self.census.digest.begin_if_due(now_ns);
        let needs_rounds = wanted.has(SysTopic::Clients) || wanted.has(SysTopic::Topics);
        if self.census.digest.is_open() {
            let mut awaited = 0;
            for (shard, mailbox) in self.shared.mailboxes.iter().enumerate() {
                if needs_rounds && !mailbox.is_stopped.load(Relaxed) {
                    awaited |= 1 << shard;
                }
                if self.census.digest.lacks(shard)
                    && !self.pace.work.census.is_spent()
                    && let Some(found) = mailbox.found.pop()
                {
                    self.pace.work.census.spend(2 + 2 * most as u32);
                    self.census.digest.merge(shard, *found, most);
                }
            }
            if self.census.digest.close(awaited, now_ns, most) {
                self.census.digest.to_write = told;
            }
        }
        let mut budget = self.pace.work.census;
        while !budget.is_spent() && self.census.digest.is_busy() {
            self.write_some(&mut budget);
        }
        self.pace.work.census = budget;
    }

    /// One part of the message in hand; the whole of it is published.
    fn write_some(&mut self, budget: &mut Budget) {
        let mut writing = match self.census.digest.writing.take() {
            Some(writing) => writing,
            None => match self.census.digest.to_write.pop() {
                Some(topic) => Writing { topic, text: String::with_capacity(4 << 10), next: 0 },
                None => return,
            },
        };
        let before = writing.text.len();
        let is_whole = match writing.topic {
            SysTopic::Shards => self.write_shards(&mut writing),
            SysTopic::Topics => self.write_topics(&mut writing),
            SysTopic::Clients | SysTopic::Gaps => self.write_clients(&mut writing),
        };
        budget.spend(1 + ((writing.text.len() - before) / BYTES_A_STEP) as u32);
        if !is_whole {
            self.census.digest.writing = Some(writing);
            return;
        }
        budget.spend((writing.text.len() >> 10) as u32);
        self.shared.telemetry.watchers.say(writing.topic, self.census.digest.began_ns, self.pace.now_ns, &writing.text);
        self.publish_sys(writing.topic, &writing.text);
    }

    /// Publishes what the engine says of itself. Where the ring is full, it is left out: the next one says more.
    pub(super) fn publish_sys(&mut self, topic: SysTopic, text: &str) {
        let place = self.census.places[topic as usize];
        let Some(id) = self.topics.get(place).filter(|_| place != NONE).map(|topic| topic.id) else { return };
        let time_ns = (self.shared.wall_ns)();
        let head = Head { time_ns, ..Head::message(id, Priority::Normal, Kind::Json) };
        if text.len() <= INLINE_MAX {
            let _ = self.shared.ring.try_publish(&head, text.as_bytes());
        } else if let Some(payload) = self.shared.payloads.copy_from(text.as_bytes()) {
            let _ = self.shared.ring.try_publish_shared(&head, payload);
        }
    }

    /// Milliseconds since the Unix epoch.
    pub(super) fn wall_ms(&self) -> u64 {
        (self.shared.wall_ns)() / 1_000_000
    }

    fn interval_s(&self) -> f64 {
        let digest = &self.census.digest;
        if digest.before_ns == 0 { 0.0 } else { (digest.began_ns - digest.before_ns) as f64 / 1e9 }
    }

    /// `$sys/shards`: its head, a shard a part, its end.
    fn write_shards(&mut self, writing: &mut Writing) -> bool {
        let shards = self.shared.mailboxes.len();
        let interval_s = self.interval_s();
        let Writing { text, next, .. } = writing;
        if *next == 0 {
            self.write_shards_head(text, interval_s);
        } else if *next <= shards {
            let number = *next - 1;
            let stats = self.shared.mailboxes[number].counters.read();
            let before = &mut self.census.digest.busy_before_ns;
            before.resize(shards, stats.busy_ns);
            let busy_ns = stats.busy_ns - std::mem::replace(&mut before[number], stats.busy_ns).min(stats.busy_ns);
            let utilisation = if interval_s > 0.0 { (busy_ns as f64 / 1e9 / interval_s).min(1.0) } else { 0.0 };
            let _ = write!(text, "{}{{\"shard\":{number},\"utilisation\":{utilisation:.3}", comma(number));
            write_counters(text, &stats);
            text.push('}');
        } else {
            self.write_latencies(text);
            return true;
        }
        *next += 1;
        false
    }

    fn write_shards_head(&self, text: &mut String, interval_s: f64) {
        let shared = &self.shared;
        let stats: Vec<ShardStats> = shared.mailboxes.iter().map(|mailbox| mailbox.counters.read()).collect();
        let memory = &shared.config.memory;
        let uptime_s = (self.wall_ms() as f64 / 1e3 - shared.telemetry.started.as_secs_f64()).max(0.0);
        let _ = write!(
            text,
            "{{\"at_ms\":{},\"interval_s\":{interval_s:.3},\"version\":\"{}\",\"driver\":\"{}\",\"uptime_s\":{},\
             \"ring_bytes\":{},\"ring_capacity_bytes\":{},\"payload_bytes\":{},\"payload_capacity_bytes\":{},\
             \"pool_capacity_bytes\":{},\"connections_max\":{},\"total\":{{\"shards\":{}",
            self.wall_ms(),
            env!("CARGO_PKG_VERSION"),
            self.ears.driver.name(),
            Tenths(uptime_s),
            shared.ring.used_bytes(),
            memory.ring_bytes,
            shared.payloads.used_bytes(),
            memory.payload_bytes,
            memory.pool_bytes,
            shared.config.connections_max,
            stats.len(),
        );
        write_counters(text, &total(&stats));
        text.push_str("},\"shards\":[");
    }

    fn write_latencies(&mut self, text: &mut String) {
        text.push_str("],\"latency\":{");
        for (place, &(name, of)) in LATENCIES.iter().enumerate() {
            let mut now = Reading::default();
            self.shared.mailboxes.iter().for_each(|mailbox| of(&mailbox.instruments).read_into(&mut now));
            let latest = now.since(&self.census.digest.latencies_before[place]);
            self.census.digest.latencies_before[place] = now;
            let _ = write!(
                text,
                "{}\"{name}\":{{\"count\":{},\"p50\":{},\"p95\":{},\"p99\":{},\"max\":{}}}",
                comma(place),
                latest.count(),
                latest.quantile(0.5),
                latest.quantile(0.95),
                latest.quantile(0.99),
                latest.max
            );
        }
        text.push_str("}}");
    }

    /// `$sys/topics`: its head, then a topic a part.
    fn write_topics(&self, writing: &mut Writing) -> bool {
        let found = &self.census.digest.found;
        let interval_s = found.interval_ns as f64 / 1e9;
        let Writing { text, next, .. } = writing;
        if *next == 0 {
            let _ = write!(
                text,
                "{{\"at_ms\":{},\"interval_s\":{interval_s:.3},\"total\":{},\"topics\":[",
                self.wall_ms(),
                found.topics_total
            );
        } else if let Some(row) = found.topics.get(*next - 1) {
            text.push_str(comma(*next - 1));
            write_topic(text, row, interval_s);
        } else {
            text.push_str("]}");
            return true;
        }
        *next += 1;
        false
    }

    /// `$sys/clients`: its head, then one client a part, which is written already.
    fn write_clients(&self, writing: &mut Writing) -> bool {
        let found = &self.census.digest.found;
        let Writing { text, next, .. } = writing;
        let (lag, work) = (&found.by_lag, &found.by_work);
        if *next == 0 {
            let _ = write!(
                text,
                "{{\"at_ms\":{},\"interval_s\":{:.3},\"total\":{},\"behind\":{},\"by_lag\":[",
                self.wall_ms(),
                found.interval_ns as f64 / 1e9,
                found.clients,
                found.behind
            );
        } else if let Some(one) = lag.get(*next - 1) {
            text.push_str(comma(*next - 1));
            text.push_str(&one.text);
        } else if *next == lag.len() + 1 {
            text.push_str("],\"by_work\":[");
        } else if let Some(one) = work.get(*next - lag.len() - 2) {
            text.push_str(comma(*next - lag.len() - 2));
            text.push_str(&one.text);
        } else {
            text.push_str("]}");
            return true;
        }
        *next += 1;
        false
    }
}

fn write_counters(text: &mut String, stats: &ShardStats) {
    for (counter, value) in stats.values() {
        let _ = write!(text, ",\"{}\":{value}", counter.name);
    }
}

fn write_topic(text: &mut String, row: &TopicRow, interval_s: f64) {
    let per_s = |count: u64| Tenths(if interval_s > 0.0 { count as f64 / interval_s } else { 0.0 });
    let _ = write!(
        text,
        "{{\"topic\":{},\"subscribers\":{},\"published\":{},\"published_per_s\":{},\"bytes_per_s\":{},\"dropped\":{},\
         \"lanes\":[",
        Quoted(&row.name),
        row.subscribers,
        row.busy.published,
        per_s(row.busy.messages),
        per_s(row.busy.bytes),
        row.dropped
    );
    let lanes = Priority::ALL.into_iter().zip(row.lanes).filter_map(|(priority, lane)| Some((priority, lane?)));
    for (place, (priority, lane)) in lanes.enumerate() {
        let used = lane.bytes.saturating_mul(FULL) / lane.capacity.max(1);
        let _ = write!(
            text,
            "{}{{\"priority\":\"{priority}\",\"messages\":{},\"bytes\":{},\"capacity_bytes\":{},\"used\":{},\
             \"behind\":{}}}",
            comma(place),
            lane.messages,
            lane.bytes,
            lane.capacity,
            share(used.min(FULL) as u32),
            share(lane.behind)
        );
    }
    text.push_str("]}");
}
