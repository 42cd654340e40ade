//! A search for what costs a shard most: clients' inputs are bred by the steps that a byte of them takes.
//!
//! Seeded, and bounded: `FANWIRE_GENERATIONS` makes it longer. The worst plays that were found are kept below, and played each time.

use super::*;
use crate::config::PublishAccess;
use crate::shard::turn_steps_max;

/// One thing that one of three clients does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    /// Subscribes to so many names, from one on.
    Names(u16, u16),
    /// Subscribes to a pattern.
    Pattern(u8),
    /// Subscribes to so many patterns of a number each.
    Patterns(u16, u16),
    /// Gives the same back.
    GiveBack(u8),
    /// Gives back so many names, or patterns, that it never had.
    GiveBackUnknown(u16, bool),
    /// So many pings, of the protocol below.
    Pings(u16),
    /// So many messages of a byte.
    Tiny(u16),
    /// A message that begins, of so many bytes, and does not end.
    Half(u16),
    /// Publishes so many messages of so many bytes.
    Publishes(u16, u16),
    /// Goes without a word.
    Leaves,
    /// So many turns pass; it reads after each, or not.
    Turns(u8, bool),
}

type Play = Vec<(u8, Act)>;

const PATTERNS: [&str; 8] = ["**", "*/*", "d/*", "d/**", "d/1/**", "*/1", "*/**", "d/100"];
const PLAYERS: usize = 3;
const ACTS_MAX: usize = 24;

/// What a play cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cost {
    steps: u64,
    longest: u64,
    bytes: u64,
}

impl Cost {
    /// Thousandths of a step for each byte, and what the longest turn adds to that.
    fn score(&self) -> u64 {
        self.steps * 1_000 / self.bytes.max(1_000) + self.longest
    }
}

fn random_act(rng: &mut Rng) -> Act {
    let count = rng.skewed(1_024) as u16;
    match rng.below(11) {
        0 => Act::Names(rng.below(500) as u16, count % 500 + 1),
        1 => Act::Pattern(rng.below(8) as u8),
        2 => Act::Patterns(rng.below(500) as u16, count % 500 + 1),
        3 => Act::GiveBack(rng.below(8) as u8),
        4 => Act::GiveBackUnknown(count, rng.chance(500)),
        5 => Act::Pings(count),
        6 => Act::Tiny(count),
        7 => Act::Half(count),
        8 => Act::Publishes(count % 64 + 1, rng.skewed(4_000) as u16),
        9 => Act::Leaves,
        _ => Act::Turns(rng.between(1, 6) as u8, rng.chance(500)),
    }
}

fn perform(player: &mut Player, act: Act) {
    let names = |prefix: &str, from: u16, count: u16, end: &str| -> Vec<String> {
        (from..from + count).map(|number| format!("{prefix}{number}{end}")).collect()
    };
    match act {
        Act::Names(from, count) => {
            player.asks(&json!({"type": "subscribe", "topics": names("d/", from, count, "")}));
        }
        Act::Pattern(which) => player.asks(&topics(&[PATTERNS[which as usize]])),
        Act::Patterns(from, count) => {
            player.asks(&json!({"type": "subscribe", "topics": names("*/", from, count, "/**")}));
        }
        Act::GiveBack(which) => {
            player.asks(&json!({"type": "unsubscribe", "topics": [PATTERNS[which as usize]]}));
        }
        Act::GiveBackUnknown(count, is_pattern) => {
            let end = if is_pattern { "/**" } else { "" };
            player.asks(&json!({"type": "unsubscribe", "topics": names("none/", 0, count.max(1), end)}));
        }
        Act::Pings(count) => (0..count).for_each(|_| player.pings("")),
        Act::Tiny(count) => (0..count).for_each(|_| player.says("1")),
        Act::Half(bytes) => {
            player.wire.send_frame(Opcode::Text, false, &vec![b' '; bytes.into()], &mut player.rng);
        }
        Act::Publishes(count, bytes) => {
            for number in 0..count {
                let topic = format!("d/{}", number % 7);
                player.asks(&json!({"type": "publish", "topic": topic, "data": "x".repeat(bytes.into())}));
            }
        }
        Act::Leaves => player.wire.close(),
        Act::Turns(..) => {}
    }
}

/// Plays on a stage with some hundreds of topics. Panics if a turn is longer than it may be.
fn play(play: &[(u8, Act)]) -> Cost {
    let mut config = Config { shards: Some(1), ..Config::default() };
    config.access.publish = PublishAccess::Everyone;
    let mut stage = Stage::new(config, 64 << 10);
    stage.topics((0..300).map(|number| format!("d/{number}")));
    let mut players: Vec<Player> = (0..PLAYERS).map(|_| stage.player(Protocol::JsonV1, &topics(&["mine"]))).collect();
    let mut cost = Cost::default();
    let mut turn = |stage: &mut Stage, players: &mut [Player]| {
        let before: usize = players.iter().map(|player| player.wire.queued()).sum();
        let steps = stage.turn_of(players);
        let after: usize = players.iter().map(|player| player.wire.queued()).sum();
        cost.bytes += (before - after) as u64;
        cost.steps += steps;
        cost.longest = cost.longest.max(steps);
        assert!(steps <= turn_steps_max(64 << 10), "a turn of {steps} steps");
    };
    for &(who, act) in play {
        let who = who as usize % PLAYERS;
        perform(&mut players[who], act);
        if let Act::Turns(count, reads) = act {
            for _ in 0..count {
                turn(&mut stage, &mut players);
                if reads {
                    players[who].wire.read_some(usize::MAX);
                }
            }
        }
    }
    for _ in 0..40 {
        turn(&mut stage, &mut players);
        players.iter_mut().for_each(|player| _ = player.wire.read_some(usize::MAX));
    }
    cost
}

fn mutated(parent: &[(u8, Act)], rng: &mut Rng) -> Play {
    let mut child = parent.to_vec();
    for _ in 0..rng.between(1, 4) {
        let gene = (rng.below(PLAYERS as u64) as u8, random_act(rng));
        match rng.below(4) {
            0 if child.len() > 1 => {
                let at = rng.index(child.len());
                child.remove(at);
            }
            1 if !child.is_empty() => {
                let at = rng.index(child.len());
                child[at] = gene;
            }
            2 if !child.is_empty() && child.len() < ACTS_MAX => {
                let (from, to) = (rng.index(child.len()), rng.index(child.len()));
                let copied = child[from];
                child.insert(to, copied);
            }
            _ if child.len() < ACTS_MAX => {
                let at = rng.index(child.len() + 1);
                child.insert(at, gene);
            }
            _ => {}
        }
    }
    child
}

#[allow(clippy::disallowed_methods, reason = "how long the search goes on is taken from the environment")]
fn generations() -> u64 {
    std::env::var("FANWIRE_GENERATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(60)
}

#[test]
fn nothing_that_is_bred_for_cost_makes_a_turn_too_long() {
    let mut rng = Rng::new(11);
    let mut best: Vec<(u64, Play, Cost)> = Vec::new();
    for _ in 0..4 {
        let play_of_one: Play = (0..6).map(|_| (rng.below(PLAYERS as u64) as u8, random_act(&mut rng))).collect();
        let cost = play(&play_of_one);
        best.push((cost.score(), play_of_one, cost));
    }
    for _ in 0..generations() {
        let parent = rng.index(best.len());
        let child = mutated(&best[parent].1, &mut rng);
        let cost = play(&child);
        best.push((cost.score(), child, cost));
        best.sort_by_key(|(score, ..)| std::cmp::Reverse(*score));
        best.truncate(8);
    }
    let (_, worst, cost) = &best[0];
    println!("{cost:?}: {worst:?}");
}

/// The worst that was found: the steps that its longest turn may take, and all of it; some more than half of that was measured.
fn kept() -> Vec<(u64, u64, Play)> {
    use Act::{GiveBack, Leaves, Names, Pattern, Turns};
    vec![
        // 1,500 generations. 1,174 bytes: patterns over 300 topics, again and again.
        (
            12_000,
            80_000,
            vec![
                (2, Pattern(6)),
                (1, Pattern(0)),
                (0, Turns(6, false)),
                (0, Pattern(2)),
                (2, Pattern(0)),
                (0, Pattern(6)),
                (2, Pattern(0)),
                (2, Pattern(0)),
                (2, Turns(3, false)),
                (2, Pattern(0)),
                (0, Leaves),
                (2, Pattern(0)),
                (1, Names(412, 51)),
                (2, Pattern(0)),
                (0, GiveBack(3)),
                (0, GiveBack(0)),
                (1, Pattern(3)),
                (0, Turns(6, false)),
                (1, Pattern(3)),
                (1, Pattern(0)),
                (1, Pattern(3)),
                (1, Pattern(3)),
                (2, Pattern(0)),
                (1, Pattern(0)),
            ],
        ),
    ]
}

#[test]
fn the_worst_that_was_found_stays_within_its_bound() {
    for (longest, all, worst) in kept() {
        let cost = play(&worst);
        assert!(cost.longest <= longest && cost.steps <= all, "{cost:?}, allowed {longest} and {all}: {worst:?}");
        assert!(cost.steps > all / 2, "it is the worst no more: {cost:?}");
    }
}
