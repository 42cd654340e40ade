//! A hand-over to another process: who is closed when, what each has by then, and what becomes of those that wait.

use std::time::Duration;

use super::*;
use crate::config::TopicConfig;

const MS: u64 = 1_000_000;
const WINDOW_MS: u64 = 4_000;

fn stage() -> Stage {
    let topic = TopicConfig { batch_window: Some(Duration::ZERO), ..TopicConfig::default() };
    let mut config = Config { shards: Some(1), connections_max: 600, topics: vec![topic], ..Config::default() };
    config.limits.ping_every = Duration::ZERO;
    Stage::new(config, 64 << 10)
}

fn subscribers(stage: &mut Stage, count: usize) -> Vec<Player> {
    let subscribe = json!({"type": "subscribe", "topics": ["t"]});
    let mut players: Vec<Player> = (0..count).map(|_| stage.player(Protocol::JsonV1, &subscribe)).collect();
    players.iter_mut().for_each(|player| _ = player.reads());
    players
}

fn begins(stage: &Stage, left: &[u16]) {
    let (within_ns, window_ns) = (2 * WINDOW_MS * MS, WINDOW_MS * MS);
    stage.commands(Command::HandOver { within_ns, window_ns, left: left.into() });
}

/// What one client has had: messages, when it was told that its end comes, when it came; in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Had {
    messages: u64,
    told_ms: Option<u64>,
    closed_ms: Option<u64>,
}

impl Had {
    fn hears(&mut self, ms: u64, said: &str) {
        if let Some(after) = said.strip_prefix("migrate ") {
            assert!(self.told_ms.is_none() && self.closed_ms.is_none(), "told once, before the close");
            self.told_ms = Some(ms + after.parse::<u64>().expect("milliseconds"));
        } else if let Some(seq) = said.strip_prefix("normal ") {
            self.messages += 1;
            assert_eq!(seq.parse(), Ok(self.messages), "all of them, in order");
        } else if said.starts_with("Close") {
            assert!(said.contains("1012"), "{said}");
            self.closed_ms = Some(ms);
        } else {
            assert_eq!(said, "End");
        }
    }
}

#[test]
fn each_has_all_that_was_published_before_its_close_and_those_that_publish_go_first() {
    let mut stage = stage();
    let mut players = subscribers(&mut stage, 500);
    const PUBLISHERS: usize = 100;
    for player in &mut players[..PUBLISHERS] {
        player.asks(&json!({"type": "publish", "topic": "other", "data": 1}));
        (0..2).for_each(|_| stage.hands_over(player));
    }
    for _ in 0..100 {
        stage.turn_of(&mut players);
    }
    assert_eq!(stage.stats().messages, PUBLISHERS as u64);
    players.iter_mut().for_each(|player| assert_eq!(player.reads(), [""; 0]));
    begins(&stage, &[0]);
    let mut had = vec![Had::default(); players.len()];
    let mut published = 0;
    for ms in 0..WINDOW_MS + 50 {
        if ms < WINDOW_MS {
            stage.says("t", "news", |_| {});
            published += 1;
        }
        stage.turn_of(&mut []);
        for (had, player) in had.iter_mut().zip(&mut players) {
            let was_open = had.closed_ms.is_none();
            player.reads().iter().for_each(|said| had.hears(ms, said));
            // What the close was decided on goes out in the next turn.
            let behind = u64::from(had.closed_ms.is_some() && ms < WINDOW_MS);
            if was_open {
                assert!((published - behind..=published).contains(&had.messages), "{} at {ms} ms", had.messages);
            }
        }
    }
    let first_part = WINDOW_MS / 4 + 20;
    const BINS: usize = 10;
    let mut bins = [0u32; BINS];
    for (number, had) in had.iter().enumerate() {
        let (told, closed) = (had.told_ms.expect("it is told"), had.closed_ms.expect("it is closed"));
        assert!(told.abs_diff(closed) <= 20, "told for {told} ms, closed after {closed} ms");
        if number < PUBLISHERS {
            assert!(closed <= first_part, "a publisher after {closed} ms");
        } else {
            assert!(closed >= WINDOW_MS / 4, "a subscriber after {closed} ms");
            bins[((closed - WINDOW_MS / 4) * BINS as u64 / (WINDOW_MS * 3 / 4 + 20)) as usize] += 1;
        }
    }
    let expected = (players.len() - PUBLISHERS) as f64 / BINS as f64;
    let chi2: f64 = bins.iter().map(|&n| (f64::from(n) - expected).powi(2) / expected).sum();
    // The 99 % point of chi-squared with 9 degrees of freedom.
    assert!(chi2 < 21.67, "chi-squared {chi2}: {bins:?}");
    assert_eq!((stage.stats().drained, stage.stats().cut_off), (500, 0));
}

#[test]
fn who_publishes_does_so_until_its_close_and_who_subscribes_gets_it() {
    let mut stage = stage();
    let mut players = subscribers(&mut stage, 40);
    players[0].asks(&json!({"type": "publish", "topic": "t", "data": 0}));
    stage.turn_of(&mut players);
    stage.turn_of(&mut players);
    let mut had = vec![Had::default(); players.len()];
    had.iter_mut()
        .zip(&mut players)
        .for_each(|(had, player)| player.reads().iter().for_each(|said| had.hears(0, said)));
    assert!(had.iter().all(|had| had.messages == 1));
    begins(&stage, &[0]);
    let mut sent = 1;
    for ms in 0..WINDOW_MS + 50 {
        if had[0].closed_ms.is_none() {
            players[0].asks(&json!({"type": "publish", "topic": "t", "data": ms}));
            stage.hands_over(&mut players[0]);
            sent += 1;
        }
        stage.turn_of(&mut []);
        for (had, player) in had.iter_mut().zip(&mut players) {
            player.reads().iter().for_each(|said| had.hears(ms, said));
        }
    }
    assert!(had[0].closed_ms.is_some_and(|ms| ms <= WINDOW_MS / 4 + 20), "{:?}", had[0]);
    let least = had[1..].iter().map(|had| had.messages).min().expect("subscribers");
    assert!(sent > 1 && least + 3 >= sent, "{least} of {sent}: what was sent when the close was under way");
}

#[test]
fn what_waits_at_a_listener_is_left_there_and_who_is_being_upgraded_comes_in() {
    let mut stage = stage();
    let mut players = subscribers(&mut stage, 3);
    let peer = SocketAddr::from(([127, 0, 0, 1], 7));
    let half = stage.net.connect_from(0, peer);
    stage.turn_of(&mut players);
    begins(&stage, &[0]);
    (0..3).for_each(|_| _ = stage.turn_of(&mut []));
    let mut wire = Wire::new(half, "/", &["fanwire.json.v1"], &[], &mut Rng::new(5));
    let later = stage.net.connect_from(0, peer);
    let accepted = stage.stats().accepted;
    for _ in 0..50 {
        wire.write_some(&mut Rng::new(6));
        stage.turn_of(&mut []);
    }
    let answered = wire.read_some(usize::MAX);
    assert!(matches!(answered[..], [Incoming::Upgraded(..), ..]), "{answered:?}");
    let is_told =
        |said: &Incoming| matches!(said, Incoming::Message { bytes, .. } if bytes.windows(7).any(|w| w == b"migrate"));
    assert!(answered.iter().any(is_told), "{answered:?}");
    assert_eq!(stage.stats().accepted, accepted, "what comes now is for somebody else");
    assert!(!later.is_closed());
    for _ in 0..WINDOW_MS + 50 {
        stage.turn_of(&mut []);
        players.iter_mut().for_each(|player| _ = player.reads());
        wire.read_some(usize::MAX);
    }
    assert_eq!((stage.stats().drained, stage.stats().cut_off), (4, 0));
    assert!(!later.is_closed());
}

#[test]
fn who_lags_at_the_end_of_the_window_still_gets_everything() {
    let mut stage = stage();
    let mut players = subscribers(&mut stage, 2);
    // One of them does not read: the kernel takes 64 KiB for it.
    begins(&stage, &[0]);
    let mut published = 0;
    let mut had = vec![Had::default(); players.len()];
    for ms in 0..WINDOW_MS + 20 {
        if ms < WINDOW_MS {
            stage.says("t", &"news ".repeat(20), |_| {});
            published += 1;
        }
        stage.turn_of(&mut []);
        players[0].reads().iter().for_each(|said| had[0].hears(ms, said));
    }
    assert_eq!(stage.stats().drained, 1);
    for ms in 0..200 {
        stage.turn_of(&mut []);
        players[1].reads().iter().for_each(|said| had[1].hears(ms, said));
    }
    assert_eq!((had[1].messages, stage.stats().drained, stage.stats().cut_off), (published, 2, 0));
}
