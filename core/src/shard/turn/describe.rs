//! One client of those that are highest, written down: where it lags, why, what it has lost.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::driver::{Driver, Slot, SocketState};
use crate::proto::topic::TopicName;
use crate::shard::Shard;
use crate::shard::budget::Budget;
use crate::shard::census::{Chosen, FULL, Ranked, Stage};
use crate::shard::lanes::Form;
use crate::shard::subscriptions::Lost;
use crate::telemetry::json::{OrNull, Quoted, Tenths};
use crate::types::Priority;

/// Links looked at of one client.
const LINKS_MAX: usize = 256;
/// Lanes told of one client.
const LANES_TOLD: usize = 4;
/// Losses told of one client.
const LOSSES_TOLD: usize = 4;
/// What one client counts for, beside its links.
const STEPS: u32 = 60;
/// The share of a lane's budget beyond which its oldest messages are dropped.
const DROPS_AT: f64 = 0.9;

/// One lane that a client is behind in.
struct Lag {
    used: u32,
    /// What its log has forgotten: lost, though nobody has looked at a client that takes nothing.
    lost: Option<Lost>,
    messages: u64,
    bytes: u64,
    topic: Arc<str>,
    priority: Priority,
    is_lossless: bool,
}

impl<D: Driver> Shard<D> {
    /// The next of the clients that were chosen.
    pub(super) fn describe_client(&mut self, next: usize, budget: &mut Budget) {
        let Some(&(chosen, is_for_lag, is_for_work)) = self.census.round.chosen.get(next) else {
            self.census.round.stage = Stage::Topics(0);
            return;
        };
        self.census.round.stage = Stage::Clients(next + 1);
        let conn = &self.clients[chosen.slot];
        if conn.generation != chosen.generation || !conn.is_live() {
            // It has gone meanwhile.
            budget.spend(1);
            return;
        }
        let text: Arc<str> = self.client_text(&chosen, budget).into();
        let found = &mut self.census.round.found;
        if is_for_lag {
            found.by_lag.push(Ranked { key: chosen.tally.used.into(), text: text.clone() });
        }
        if is_for_work {
            found.by_work.push(Ranked { key: chosen.tally.steps.into(), text });
        }
    }

    fn client_text(&mut self, chosen: &Chosen, budget: &mut Budget) -> String {
        let (slot, tally) = (chosen.slot, chosen.tally);
        let id = self.clients.id(slot);
        let (lags, untold) = self.lags_of(slot, budget);
        budget.spend(STEPS);
        let state = self.ears.driver.socket_state(Slot(slot));
        let interval_s = self.census.round.interval_s();
        let before = self.census.lag_before(id, tally.used);
        let drops_in_s = drops_in(&lags, untold > 0, (tally.used, before), interval_s);
        let per_s = |count: u32| Tenths(interval_s.map_or(0.0, |interval| f64::from(count) / interval));
        let conn = &self.clients[slot];
        let cause = cause(tally.used, conn.flags.is_blocked, state.as_ref());
        let connected_s = self.connected_s(slot);
        let subscriber = self.subscriptions.of(slot);
        let subject = self.admission.granted.of(slot).and_then(|grants| grants.subject.as_deref());
        let mut text = String::with_capacity(512);
        let peer = state.as_ref().and_then(|state| state.peer).map(|peer| peer.to_string());
        let _ = write!(
            text,
            "{{\"id\":\"{id}\",\"connection\":\"{}\",\"peer\":{},\"subject\":{},\"form\":\"{}\",\
             \"connected_s\":{connected_s},\"subscriptions\":{},\"behind_messages\":{},\"behind_bytes\":{},\
             \"used\":{},\"drops_in_s\":{},\"cause\":{},\"work_per_s\":{},\"sent_bytes_per_s\":{},\"lanes\":[",
            id.to_u64(),
            OrNull(peer.as_deref().map(Quoted)),
            OrNull(subject.map(Quoted)),
            form_name(subscriber.form),
            subscriber.memberships,
            tally.behind_messages,
            tally.behind_bytes,
            share(tally.used),
            OrNull(drops_in_s.map(Tenths)),
            OrNull(cause.map(Quoted)),
            per_s(tally.steps),
            per_s(tally.sent),
        );
        for (place, lag) in lags.iter().enumerate() {
            let _ = write!(
                text,
                "{}{{\"topic\":{},\"priority\":\"{}\",\"behind_messages\":{},\"behind_bytes\":{},\"used\":{}}}",
                comma(place),
                Quoted(&lag.topic),
                lag.priority,
                lag.messages,
                lag.bytes,
                share(lag.used)
            );
        }
        self.write_losses(&mut text, chosen.slot, (&lags, untold));
        budget.spend(text.len() as u32 / 16);
        text
    }

    /// A client's upgrade is done.
    pub(super) fn note_opened(&mut self, slot: u32) {
        let second = seconds(self.pace.now_ns);
        self.clients[slot].opened_s = second as u16;
        self.subscriptions.of_mut(slot).opened_s = (second >> 16) as u16;
    }

    /// Seconds since a client's upgrade.
    fn connected_s(&self, slot: u32) -> u32 {
        let (low, high) = (self.clients[slot].opened_s, self.subscriptions.of(slot).opened_s);
        seconds(self.pace.now_ns).wrapping_sub(u32::from(high) << 16 | u32::from(low))
    }

    /// What a client has lost: what is still to be told to it, then what was, the newest first.
    fn write_losses(&self, text: &mut String, slot: u32, (lags, untold): (&[Lag], u64)) {
        let told = self.census.losses.of(self.clients.id(slot), LOSSES_TOLD);
        let told = told.map(|loss| (&loss.topic, loss.priority, loss.from, loss.to));
        let forgotten =
            lags.iter().filter_map(|lag| lag.lost.map(|lost| (&lag.topic, lag.priority, lost.from.0, lost.to.0)));
        text.push_str("],\"lost\":[");
        for (place, (topic, priority, from, to)) in forgotten.chain(told).take(LOSSES_TOLD).enumerate() {
            let _ = write!(
                text,
                "{}{{\"topic\":{},\"priority\":\"{priority}\",\"from\":{from},\"to\":{to}}}",
                comma(place),
                Quoted(topic),
            );
        }
        let total = self.census.losses.total(slot) + untold;
        let _ = write!(text, "],\"lost_total\":{total},\"lost_untold\":{untold}}}");
    }

    /// The lanes that a client is furthest behind in, and how many messages of all its lanes it has lost without being told.
    fn lags_of(&self, slot: u32, budget: &mut Budget) -> (Vec<Lag>, u64) {
        let links = self.subscriptions.memberships_of(slot).flat_map(|m| self.subscriptions.links_of(m));
        let (mut lags, mut untold): (Vec<Lag>, u64) = (Vec::new(), 0);
        for link in links.take(LINKS_MAX) {
            budget.spend(1);
            let id = self.subscriptions.link(link).stream;
            let stream = self.lanes.stream(id);
            let cursor = stream.cursors.all[self.subscriptions.link(link).index as usize];
            let lane = self.lanes.lane(stream.lane);
            if cursor.position >= stream.log.next() {
                continue;
            }
            let Some(topic) = self.topics.get(lane.topic) else { continue };
            debug_assert!(TopicName::check(&topic.name).is_ok());
            let bytes = stream.log.lag_bytes(cursor.position).saturating_sub(cursor.sent_bytes().into());
            let floor = stream.log.floor();
            let has_lost = cursor.position < floor && cursor.sent_bytes() == 0;
            let lost = has_lost.then(|| self.lost_by_lag(id, cursor.position, floor));
            untold += lost.map_or(0, |lost| lost.count_at_most());
            let capacity = (stream.log.budget_bytes() as u64).max(1);
            lags.push(Lag {
                used: (bytes.saturating_mul(FULL) / capacity).min(FULL) as u32,
                lost,
                messages: stream.log.next() - cursor.position.max(floor),
                bytes,
                topic: topic.name.clone(),
                priority: lane.priority,
                is_lossless: lane.is_lossless,
            });
        }
        lags.sort_by_key(|lag| std::cmp::Reverse((lag.used, lag.messages)));
        lags.truncate(LANES_TOLD);
        (lags, untold)
    }
}

/// Whole seconds of the driver's time, which begins with the machine.
fn seconds(now_ns: u64) -> u32 {
    (now_ns / 1_000_000_000) as u32
}

/// What stands before a list's element in this place.
pub(super) fn comma(place: usize) -> &'static str {
    if place == 0 { "" } else { "," }
}

/// Parts of [`FULL`] as a share.
pub(super) fn share(used: u32) -> String {
    format!("{:.3}", f64::from(used) / FULL as f64)
}

/// Seconds until a client loses something, if its lag (now, and in the round before) goes on growing as it did. One that takes nothing
/// and has lost something (`is_losing`) loses more with the messages that come: that its lag has shrunk is what it lost.
fn drops_in(lags: &[Lag], is_losing: bool, (used, before): (u32, Option<u32>), interval_s: Option<f64>) -> Option<f64> {
    let (before, interval_s) = (before?, interval_s?);
    if used != before && is_losing {
        return Some(0.0);
    }
    let growth = (f64::from(used) - f64::from(before)) / FULL as f64 / interval_s;
    // Of a lane that loses nothing it is closed, where the budget ends.
    let end = if lags.first().is_some_and(|lag| lag.is_lossless) { 1.0 } else { DROPS_AT };
    let left = (end - f64::from(used) / FULL as f64).max(0.0);
    (growth > 0.0).then(|| left / growth)
}

/// Why a client is behind, as far as that can be told.
fn cause(used: u32, is_blocked: bool, state: Option<&SocketState>) -> Option<&'static str> {
    match (used, is_blocked, state.and_then(|state| state.is_window_shut)) {
        (0, ..) => None,
        (_, false, _) => Some("burst"),
        (_, true, Some(true)) => Some("reader"),
        (_, true, Some(false)) => Some("link"),
        (_, true, None) => None,
    }
}

fn form_name(form: Form) -> &'static str {
    match form {
        Form::Raw => "raw",
        Form::Json => "json",
        Form::Msgpack => "msgpack",
        Form::Batch => "batch",
        Form::RawDeflate => "raw+deflate",
        Form::JsonDeflate => "json+deflate",
        Form::MsgpackDeflate => "msgpack+deflate",
        Form::BatchDeflate => "batch+deflate",
        Form::BatchLz4 => "batch+lz4",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_told_from_the_socket_and_the_window() {
        let state = |is_window_shut| SocketState { peer: None, is_window_shut };
        assert_eq!(cause(0, true, Some(&state(Some(true)))), None);
        assert_eq!(cause(1, false, None), Some("burst"));
        assert_eq!(cause(1, true, Some(&state(Some(true)))), Some("reader"));
        assert_eq!(cause(1, true, Some(&state(Some(false)))), Some("link"));
        assert_eq!(cause(1, true, Some(&state(None))), None);
    }

    #[test]
    fn a_lag_that_grows_has_an_end_and_one_that_does_not_has_none() {
        let part = |share: f64| (share * FULL as f64) as u32;
        let lag = |is_lossless| {
            [Lag {
                used: 1,
                lost: None,
                messages: 1,
                bytes: 1,
                topic: "t".into(),
                priority: Priority::Low,
                is_lossless,
            }]
        };
        let of =
            |used, before, is_lossless| drops_in(&lag(is_lossless), false, (part(used), Some(part(before))), Some(2.0));
        let near = |told: Option<f64>, expected: f64| assert!((told.unwrap() - expected).abs() < 0.01, "{told:?}");
        near(of(0.5, 0.3, false), 4.0);
        near(of(0.5, 0.3, true), 5.0);
        near(of(0.95, 0.3, false), 0.0);
        assert_eq!(of(0.3, 0.3, false), None);
        assert_eq!(of(0.3, 0.5, false), None);
        let losing = |used, before| drops_in(&lag(false), true, (part(used), Some(part(before))), Some(1.0));
        assert_eq!(losing(0.84, 0.89), Some(0.0), "it loses some just now");
        assert_eq!(losing(0.84, 0.84), None, "nothing comes any more");
        assert_eq!(drops_in(&lag(false), false, (5, None), Some(1.0)), None, "nothing to compare with");
    }
}
