//! A shard that stands still: the ring passes it over, the other one goes on; then it comes back, and its clients are told what they lost.

use super::*;
use crate::config::MemoryConfig;

const MS: u64 = 1_000_000;

/// Two shards, of which the second turns each millisecond.
struct Pair {
    stage: Stage,
    other: StageShard,
}

impl Pair {
    fn new() -> Self {
        let config = Config {
            memory: MemoryConfig { ring_bytes: 64 << 10, lane_bytes: 64 << 10, ..MemoryConfig::default() },
            ..Config::default()
        };
        let (stage, mut others) = Stage::with_shards(config, 4 << 20, 2, wall_of);
        Pair { stage, other: others.remove(0) }
    }

    /// A turn of both.
    fn turn(&mut self, player: &mut Player) {
        self.stage.turns(1, player);
        self.other.turn(false).expect("the sim driver never fails");
    }

    /// The first shard stands still for so many milliseconds, in each of which so many messages are tried on `a`. Gives how many
    /// were taken.
    fn stands(&mut self, ms: usize, tries: usize) -> usize {
        let mut taken = 0;
        for _ in 0..ms {
            taken += (0..tries).filter(|_| self.tries("a", Priority::Normal)).count();
            self.stage.net.advance_to(self.stage.net.now_ns() + MS);
            self.other.turn(false).expect("the sim driver never fails");
        }
        taken
    }

    fn tries(&self, topic: &str, priority: Priority) -> bool {
        let head = Head { time_ns: 1, ..Head::message(self.stage.topic(topic), priority, Kind::Text) };
        self.stage.shared.ring.try_publish(&head, text("m", 400).as_bytes()).is_ok()
    }

    fn plays(&mut self, count: usize, player: &mut Player) -> Vec<String> {
        let mut heard = Vec::new();
        for _ in 0..count {
            self.turn(player);
            heard.append(&mut player.reads());
        }
        heard
    }
}

#[test]
fn others_go_on_and_the_clients_of_one_that_stood_still_are_told_what_they_lost() {
    let mut pair = Pair::new();
    let mut player = pair.stage.player(Protocol::JsonV1, &topics(&["a", "gone", "late/*"]));
    assert!(pair.tries("a", Priority::Normal));
    assert!(pair.tries("gone", Priority::Normal));
    let heard = pair.plays(3, &mut player);
    assert_eq!(heard.iter().filter(|heard| *heard == "normal 1").count(), 2, "{heard:?}");
    // 64 KiB hold 128 of these, and the records of topics before them shift one over the end. 250 ms after it was full it goes on.
    let before = pair.stands(240, 1);
    assert_eq!(before, 127, "the ring waits: {before}");
    assert!(pair.stage.shared.ring.awaits(0));
    pair.stands(200, 1);
    assert!(!pair.stage.shared.ring.awaits(0));
    assert_eq!(pair.stands(500, 2), 1_000, "nobody is refused any more");
    assert_eq!(pair.stage.shared.registry.remove("gone", pair.stage.shared.to_ring()), Ok(true));
    for topic in ["late/1", "late/2"] {
        assert!(pair.tries(topic, Priority::High));
    }
    pair.stands(1, 0);
    let last = pair.other.last_number("a", Priority::Normal);
    let heard = pair.plays(60, &mut player);
    assert!(pair.stage.shared.ring.awaits(0), "it is in again");
    // What it had still claimed when it was passed over may have come before.
    let gap = heard.iter().position(|heard| heard.starts_with("normal lost")).unwrap_or_else(|| panic!("{heard:?}"));
    let first = gap as u64 - heard[..gap].iter().filter(|heard| !heard.starts_with("normal ")).count() as u64 + 2;
    assert_eq!(heard[gap], format!("normal lost {first} to {last}: lag"));
    for topic in ["late/1", "late/2"] {
        assert_eq!(pair.other.last_number(topic, Priority::High), 1, "{topic}");
    }
    assert_eq!(heard.iter().filter(|heard| *heard == "high lost 1 to 1: lag").count(), 2, "{heard:?}");
    // From here on all is as ever, on both.
    assert!(pair.tries("a", Priority::Normal) && pair.tries("late/1", Priority::High));
    let heard = pair.plays(3, &mut player);
    assert_eq!(heard, ["high 2".to_owned(), format!("normal {}", last + 1)]);
    assert_eq!(pair.other.last_number("a", Priority::Normal), last + 1);
    assert_eq!((pair.stage.shard.topics_known(), pair.other.topics_known()), (3, 3));
}

#[test]
fn who_lost_critical_messages_by_a_standstill_is_closed_with_1013() {
    let mut pair = Pair::new();
    let mut player = pair.stage.player(Protocol::JsonV1, &topics(&["c", "a"]));
    assert!(pair.tries("c", Priority::Critical) && pair.tries("a", Priority::Normal));
    assert_eq!(pair.plays(3, &mut player).len(), 4, "subscribed, and a message, of both");
    for _ in 0..1_200 {
        pair.tries("c", Priority::Critical);
        pair.stands(1, 1);
    }
    assert!(!pair.stage.shared.ring.awaits(0));
    let heard = pair.plays(60, &mut player);
    assert_eq!(heard[heard.len() - 2..], ["Close(Some(1013))", "End"], "{heard:?}");
    assert_eq!(pair.stage.stats().evicted, 1);
}

#[test]
fn a_shard_that_was_passed_over_ends_with_the_engine() {
    let mut pair = Pair::new();
    let mut player = pair.stage.player(Protocol::JsonV1, &topics(&["a"]));
    pair.stands(900, 1);
    assert!(!pair.stage.shared.ring.awaits(0));
    pair.stage.shared.ring.close();
    pair.stage.commands(Command::Drain { within_ns: 1_000 * MS, window_ns: 0 });
    let heard = pair.plays(30, &mut player);
    assert!(heard.contains(&"Close(Some(1001))".to_owned()), "{heard:?}");
}
