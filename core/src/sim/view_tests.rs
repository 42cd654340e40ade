use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::config::{Retention, TopicConfig};
use crate::ingest::Head;
use crate::log::{Position, Seq};
use crate::shard::trace::{Linked, Lost, Note, Start};
use crate::sim::payload::Stamp;
use crate::topic::key_number;
use crate::types::ConnectionId;

const ID: TopicId = TopicId(3);
const LANE: Lane = (ID, Priority::Normal);
const SOCKET: usize = 0;
const ME: ConnectionId = ConnectionId::new(0, 1, 0);
const NOW: Moment = Moment { now_ns: 1_000, wall_ns: 5_000, turn: 9 };

fn stamp(number: u64) -> Stamp {
    Stamp::new("t", Priority::Normal, 0, number, 0, 0)
}

fn publish(truth: &mut Truth, stamp: &Stamp, time_ns: u64) {
    let key = stamp.key_name().map_or(0, |name| key_number(&name));
    let head = Head { key, ttl_ms: stamp.ttl_ms, time_ns, ..Head::message(ID, stamp.priority, stamp.kind()) };
    truth.on_message(&head, &stamp.attributes(), &stamp.render());
}

/// Topic `t` with `count` messages.
fn truth(count: u64, policy: SlowPolicy) -> Truth {
    let settings = TopicConfig { pattern: "t".into(), policy, ..TopicConfig::default() };
    let mut truth = Truth::new(vec![settings], 1);
    truth.on_created(ID, "t", 1);
    (1..=count).for_each(|number| publish(&mut truth, &stamp(number), number));
    truth
}

fn note(truth: &mut Truth, note: Note) {
    truth.on_notes(0, 1, vec![note], Vec::new());
}

/// A subscriber whose cursor begins at `next`, the last of `next` messages then.
fn subscribed(next: u64, count: u64, policy: SlowPolicy) -> (View, Truth) {
    let mut view = View::new(Subscriber { socket: SOCKET, ..Subscriber::default() });
    let mut truth = truth(count, policy);
    truth.on_notes(0, 0, vec![Note::Accepted(ME)], vec![SOCKET]);
    let start = Start { floor: Position(next), lost: None };
    let linked = Linked { start, head: next + 1, log_floor: 1, last: Some(next), wall_ns: 0, is_first: false };
    note(&mut truth, Note::Linked(ME, ID, Priority::Normal, linked));
    view.asked.insert("*".into());
    view.on_subscribed("t", ID.0, 1, [None, None, Some(next - 1), None], &mut truth);
    (view, truth)
}

fn gets_at(view: &mut View, truth: &mut Truth, seq: u64, now: Moment) {
    let sent = truth.sent(LANE, seq);
    let (number, payload, time) = (sent.seq, sent.payload.clone(), sent.time_ns / 1_000);
    view.on_frame("t", Priority::Normal, &[(number, Kind::Text, time, &payload)], false, now, truth);
}

fn gets(view: &mut View, truth: &mut Truth, seq: u64) {
    gets_at(view, truth, seq, NOW);
}

fn gets_batch(view: &mut View, truth: &mut Truth, seqs: std::ops::RangeInclusive<u64>) {
    let owned: Vec<_> = seqs.map(|s| (s, truth.sent(LANE, s).time_ns, truth.sent(LANE, s).payload.clone())).collect();
    let messages: Vec<_> = owned.iter().map(|(seq, time, payload)| (*seq, Kind::Text, *time, &payload[..])).collect();
    view.on_frame("t", Priority::Normal, &messages, true, NOW, truth);
}

fn loses(truth: &mut Truth, from: u64, to: u64) {
    let lost = Lost { from: Seq(from), to: Seq(to), count: Some(to - from + 1), reason: GapReason::Lag };
    note(truth, Note::Lost(ME, ID, Priority::Normal, lost));
}

fn told(view: &mut View, truth: &mut Truth, from: u64, to: u64) {
    view.on_gap("t", Priority::Normal, (from, to, Missing::All, GapReason::Lag), NOW, truth);
}

fn panics(what: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(what)).is_err()
}

#[test]
fn a_lane_goes_on_one_by_one_from_where_subscribed_says() {
    let (mut view, mut truth) = subscribed(42, 50, SlowPolicy::DropOldest);
    gets(&mut view, &mut truth, 42);
    gets(&mut view, &mut truth, 43);
    assert!(panics(|| gets(&mut view, &mut truth, 43)), "a duplicate");
    assert!(panics(|| gets(&mut view, &mut truth, 45)), "a hole");
    gets(&mut view, &mut truth, 44);
}

#[test]
fn a_wrong_number_time_kind_or_byte_shows() {
    let (mut view, mut truth) = subscribed(2, 5, SlowPolicy::DropOldest);
    let (right, other) = (truth.sent(LANE, 2).payload.clone(), truth.sent(LANE, 3).payload.clone());
    let mut comes = |seq, kind, time, payload: &[u8]| {
        panics(|| view.on_frame("t", Priority::Normal, &[(seq, kind, time, payload)], false, NOW, &mut truth))
    };
    assert!(comes(2, Kind::Text, 0, &other), "another message's payload");
    assert!(comes(2, Kind::Binary, 0, &right));
    assert!(comes(2, Kind::Text, 7, &right), "another time");
    assert!(comes(6, Kind::Text, 0, &right), "never published");
}

#[test]
fn a_subscription_begins_where_the_topic_says() {
    let mut view = View::new(Subscriber::default());
    view.asked.insert("t".into());
    let mut truth = truth(9, SlowPolicy::DropOldest);
    truth.on_notes(0, 0, vec![Note::Accepted(ME)], vec![SOCKET]);
    let start = Start { floor: Position(8), lost: None };
    let linked = Linked { start, head: 10, log_floor: 1, last: Some(9), wall_ns: 0, is_first: false };
    note(&mut truth, Note::Linked(ME, ID, Priority::Normal, linked));
    let mut tells = |seq| panics(|| view.on_subscribed("t", ID.0, 1, [None, None, Some(seq), None], &mut truth));
    assert!(tells(10), "beyond what there is");
    assert!(tells(3), "no cursor began there");
    assert!(tells(7), "a cursor that does not begin with the last value");
}

#[test]
fn a_resume_begins_right_after_what_the_client_has_or_with_the_gap() {
    let linked = |log_floor| {
        let start = Start { floor: Position(0), lost: None };
        Linked { start, head: 10, log_floor, last: Some(9), wall_ns: 1_000, is_first: false }
    };
    let mut truth = truth(9, SlowPolicy::DropOldest);
    let at = |truth: &Truth, floor, since| {
        let (first, floor, _) = truth.expected_start(LANE, &linked(floor), since);
        (first, floor)
    };
    assert_eq!(at(&truth, 1, None), (9, 9));
    assert_eq!(at(&truth, 1, Some((true, 4))), (5, 5));
    assert_eq!(at(&truth, 7, Some((true, 4))), (5, 7));
    assert_eq!(at(&truth, 7, Some((true, u64::MAX))), (10, 10));
    assert_eq!(at(&truth, 7, Some((false, 4))), (1, 7));
    truth.settings[0].retention = Retention::Last { messages: Some(2), bytes: None, age: None };
    truth.on_removed(ID);
    truth.on_created(TopicId(4), "t", 2);
    let settings = truth.settings_of(TopicId(4)).clone();
    assert_eq!(settings.retention, truth.settings[0].retention);
}

#[test]
fn a_gap_is_told_before_what_follows_once_and_as_it_was_accounted_for() {
    let (mut view, mut truth) = subscribed(1, 20, SlowPolicy::DropOldest);
    gets(&mut view, &mut truth, 1);
    assert!(panics(|| told(&mut view, &mut truth, 2, 9)), "nothing was accounted for");
    let (mut view, mut truth) = subscribed(1, 20, SlowPolicy::DropOldest);
    gets(&mut view, &mut truth, 1);
    loses(&mut truth, 2, 9);
    assert!(panics(|| gets(&mut view, &mut truth, 10)), "before its gap");
    let (mut view, mut truth) = subscribed(1, 20, SlowPolicy::DropOldest);
    gets(&mut view, &mut truth, 1);
    loses(&mut truth, 2, 9);
    assert!(panics(|| loses(&mut truth, 9, 9)), "accounted for twice");
    assert!(panics(|| gets(&mut view, &mut truth, 2)), "lost, and comes all the same");
    let (mut view, mut truth) = subscribed(1, 20, SlowPolicy::DropOldest);
    gets(&mut view, &mut truth, 1);
    loses(&mut truth, 2, 9);
    told(&mut view, &mut truth, 2, 9);
    gets(&mut view, &mut truth, 10);
    assert_eq!(truth.announced, [0, 0, 8, 0]);
    loses(&mut truth, 11, 12);
    assert!(panics(|| view.check_complete(&truth, 0)), "a gap that was never told");
}

#[test]
fn only_what_the_rules_name_is_passed_over() {
    let (mut view, mut truth) = subscribed(1, 1, SlowPolicy::Latest);
    publish(&mut truth, &Stamp { key: 1, ..stamp(2) }, 2);
    publish(&mut truth, &Stamp { key: 2, ..stamp(3) }, 3);
    publish(&mut truth, &Stamp { key: 1, ..stamp(4) }, 4);
    gets(&mut view, &mut truth, 1);
    assert!(panics(|| gets(&mut view, &mut truth, 4)), "the newest of key 2 is missing");
    let (mut view, mut truth) = subscribed(1, 1, SlowPolicy::Latest);
    publish(&mut truth, &Stamp { key: 1, ..stamp(2) }, 2);
    publish(&mut truth, &Stamp { key: 2, ..stamp(3) }, 3);
    publish(&mut truth, &Stamp { key: 1, ..stamp(4) }, 4);
    gets(&mut view, &mut truth, 1);
    gets(&mut view, &mut truth, 3);
    assert!(panics(|| view.check_complete(&truth, 0)), "the newest of key 1 is missing");
    gets(&mut view, &mut truth, 4);
    view.check_complete(&truth, 0);
}

#[test]
fn what_is_over_may_be_left_out_and_must_not_come_late() {
    let (mut view, mut truth) = subscribed(1, 1, SlowPolicy::DropOldest);
    publish(&mut truth, &Stamp { ttl_ms: 1, ..stamp(2) }, 0);
    publish(&mut truth, &stamp(3), 0);
    note(&mut truth, Note::ReadExpiring(ID, Priority::Normal, 2));
    gets(&mut view, &mut truth, 1);
    assert!(panics(|| gets(&mut view, &mut truth, 3)), "its time is not over");
    let late = Moment { wall_ns: 1_000_000, ..NOW };
    assert!(panics(|| gets_at(&mut view, &mut truth, 2, late)));
    let (mut view, mut truth) = subscribed(1, 1, SlowPolicy::DropOldest);
    publish(&mut truth, &Stamp { ttl_ms: 1, ..stamp(2) }, 0);
    publish(&mut truth, &stamp(3), 0);
    gets(&mut view, &mut truth, 1);
    gets_at(&mut view, &mut truth, 3, late);
}

#[test]
fn its_own_messages_do_not_come_to_who_does_not_want_them() {
    let (mut view, mut truth) = subscribed(1, 1, SlowPolicy::DropOldest);
    view.subscriber.wishes.not_from = Some(7);
    publish(&mut truth, &Stamp { publisher: 7, ..stamp(1) }, 0);
    publish(&mut truth, &Stamp { publisher: 8, ..stamp(1) }, 0);
    gets(&mut view, &mut truth, 1);
    assert!(panics(|| gets(&mut view, &mut truth, 2)));
    let (mut view, mut truth) = subscribed(1, 1, SlowPolicy::DropOldest);
    view.subscriber.wishes.not_from = Some(7);
    publish(&mut truth, &Stamp { publisher: 7, ..stamp(1) }, 0);
    publish(&mut truth, &Stamp { publisher: 8, ..stamp(1) }, 0);
    gets(&mut view, &mut truth, 1);
    gets(&mut view, &mut truth, 3);
    assert!(panics(|| told(&mut view, &mut truth, 4, 4)), "beyond what there is");
}

#[test]
fn a_paced_lane_is_never_faster_than_asked_and_ends_with_the_newest() {
    let (mut view, mut truth) = subscribed(1, 9, SlowPolicy::DropOldest);
    view.subscriber.wishes.interval_ns = 500;
    let at = |now_ns| Moment { now_ns, ..NOW };
    gets_at(&mut view, &mut truth, 1, at(100));
    gets_at(&mut view, &mut truth, 5, at(600));
    assert!(panics(|| view.check_complete(&truth, 0)), "the newest is missing");
    assert!(panics(|| gets_at(&mut view, &mut truth, 9, at(1_099))));
    let (mut view, mut truth) = subscribed(1, 9, SlowPolicy::DropOldest);
    view.subscriber.wishes.interval_ns = 500;
    gets_at(&mut view, &mut truth, 1, at(100));
    gets_at(&mut view, &mut truth, 9, at(600));
    view.check_complete(&truth, 0);
}

#[test]
fn batches_overlap_only_where_a_subscription_or_a_rebuilt_log_begins() {
    let (mut view, mut truth) = subscribed(4, 20, SlowPolicy::DropOldest);
    gets_batch(&mut view, &mut truth, 2..=6);
    assert!(panics(|| gets_batch(&mut view, &mut truth, 6..=8)));
    truth.rebuilt[0] = 1;
    gets_batch(&mut view, &mut truth, 6..=8);
    assert!(panics(|| gets_batch(&mut view, &mut truth, 7..=8)), "nothing new in it");
    assert!(panics(|| gets_batch(&mut view, &mut truth, 10..=12)), "a jump");
}

#[test]
fn nothing_comes_without_a_subscription() {
    let (mut view, mut truth) = subscribed(1, 5, SlowPolicy::DropOldest);
    view.on_unsubscribed("*", &truth);
    assert!(panics(|| gets(&mut view, &mut truth, 1)));
    assert!(panics(|| view.on_subscribed("t", ID.0, 1, [None; 4], &mut truth)));
}

#[test]
fn a_topic_stays_while_another_pattern_covers_it() {
    let (mut view, mut truth) = subscribed(1, 5, SlowPolicy::DropOldest);
    view.asked.insert("t".into());
    view.on_unsubscribed("*", &truth);
    gets(&mut view, &mut truth, 1);
}

#[test]
fn a_topic_that_began_anew_has_a_new_epoch() {
    let (mut view, mut truth) = subscribed(1, 5, SlowPolicy::DropOldest);
    truth.on_removed(ID);
    truth.on_created(TopicId(4), "t", 2);
    assert!(panics(|| view.on_subscribed("t", 4, 1, [None; 4], &mut truth)));
    view.on_subscribed("t", 4, 2, [None; 4], &mut truth);
}

#[test]
fn an_incomplete_lane_shows_at_the_end() {
    let (mut view, mut truth) = subscribed(1, 2, SlowPolicy::DropOldest);
    gets(&mut view, &mut truth, 1);
    assert!(panics(|| view.check_complete(&truth, 0)));
    gets(&mut view, &mut truth, 2);
    view.check_complete(&truth, 0);
    truth.on_created(TopicId(9), "u", 2);
    assert!(panics(|| view.check_complete(&truth, 0)), "a topic it should have");
}

/// Topic `t` whose messages have the numbers 10, 20 and so on.
fn jumping(count: u64) -> (View, Truth) {
    let mut view = View::new(Subscriber { socket: SOCKET, ..Subscriber::default() });
    let mut truth = truth(0, SlowPolicy::DropOldest);
    for number in 1..=count {
        let head = Head { seq: 10 * number, time_ns: number, ..Head::message(ID, Priority::Normal, stamp(1).kind()) };
        truth.on_message(&head, &stamp(number).attributes(), &stamp(number).render());
    }
    truth.on_notes(0, 0, vec![Note::Accepted(ME)], vec![SOCKET]);
    let start = Start { floor: Position(1), lost: None };
    let linked = Linked { start, head: 2, log_floor: 1, last: Some(1), wall_ns: 0, is_first: false };
    note(&mut truth, Note::Linked(ME, ID, Priority::Normal, linked));
    view.asked.insert("t".into());
    view.on_subscribed("t", ID.0, 1, [None, None, Some(0), None], &mut truth);
    (view, truth)
}

#[test]
fn numbers_that_jump_are_no_loss_and_a_gap_counts_messages() {
    let gap = |view: &mut View, truth: &mut Truth, from, to, missing| {
        view.on_gap("t", Priority::Normal, (from, to, missing, GapReason::Lag), NOW, truth);
    };
    let begin = || {
        let (mut view, mut truth) = jumping(9);
        gets(&mut view, &mut truth, 1);
        gets(&mut view, &mut truth, 2);
        let lost = Lost { from: Seq(30), to: Seq(50), count: Some(3), reason: GapReason::Lag };
        note(&mut truth, Note::Lost(ME, ID, Priority::Normal, lost));
        (view, truth)
    };
    let (mut view, mut truth) = begin();
    gap(&mut view, &mut truth, 30, 50, Missing::Some(3));
    gets(&mut view, &mut truth, 6);
    assert_eq!(view.legacy(&truth)["t"].1[Priority::Normal as usize], Some(60));
    for (from, to, missing) in [
        (30, 50, Missing::All),
        (30, 50, Missing::Some(4)),
        (30, 50, Missing::Unknown),
        (31, 50, Missing::Some(2)),
        (30, 60, Missing::Some(4)),
        (20, 50, Missing::Some(4)),
    ] {
        let (mut view, mut truth) = begin();
        assert!(panics(|| gap(&mut view, &mut truth, from, to, missing)), "{from} to {to}, {missing:?}");
    }
    let (mut view, mut truth) = begin();
    assert!(panics(|| gets(&mut view, &mut truth, 6)), "before its gap");
    assert_eq!((truth.jumps, truth.out_of_order), (9 * 9, 0));
    let head = Head { seq: 90, ..Head::message(ID, Priority::Normal, stamp(1).kind()) };
    truth.on_message(&head, &stamp(10).attributes(), &stamp(10).render());
    assert_eq!((truth.count(LANE), truth.out_of_order), (9, 1));
}
