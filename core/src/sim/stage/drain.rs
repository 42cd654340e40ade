//! A drain over a window: who is told what before, and when each is closed.

use std::time::Duration;

use super::*;

const WINDOW_NS: u64 = 10_000_000_000;
const CLIENTS: usize = 600;

/// One client's end: when it was told that it comes, and when it came, in milliseconds after the drain began.
#[derive(Clone, Copy, Debug, Default)]
struct End {
    told_ms: Option<u64>,
    closed_ms: Option<u64>,
}

fn stage() -> Stage {
    stage_of(1_000)
}

fn stage_of(connections_max: u32) -> Stage {
    let mut config = Config { shards: Some(1), connections_max, ..Config::default() };
    config.limits.ping_every = Duration::ZERO;
    Stage::new(config, 64 << 10)
}

/// Drains these clients, of whom each has everything; how each ended.
fn drained(stage: &mut Stage, players: &mut [Player]) -> Vec<End> {
    stage.commands(Command::Drain { within_ns: 2 * WINDOW_NS, window_ns: WINDOW_NS });
    let mut ends = vec![End::default(); players.len()];
    for ms in 0..2 * WINDOW_NS / 1_000_000 {
        stage.turn_of(&mut []);
        for (end, player) in ends.iter_mut().zip(&mut *players) {
            for said in player.reads() {
                if let Some(after) = said.strip_prefix("migrate ") {
                    assert!(end.told_ms.is_none() && end.closed_ms.is_none(), "told once, before the close");
                    end.told_ms = Some(ms + after.parse::<u64>().expect("milliseconds"));
                } else if said.starts_with("Close") {
                    assert!(said.contains("1012"), "{said}");
                    end.closed_ms = Some(ms);
                }
            }
        }
        if ends.iter().all(|end| end.closed_ms.is_some()) {
            break;
        }
    }
    ends
}

#[test]
fn closes_are_even_over_the_window_and_each_was_told_when() {
    let mut stage = stage();
    let mut players: Vec<Player> =
        (0..CLIENTS).map(|_| stage.player(Protocol::JsonV1, &json!({"type": "subscribe", "topics": ["t"]}))).collect();
    players.iter_mut().for_each(|player| _ = player.reads());
    let ends = drained(&mut stage, &mut players);
    const BINS: usize = 20;
    let mut bins = [0u32; BINS];
    for end in &ends {
        let (told, closed) = (end.told_ms.expect("it is told"), end.closed_ms.expect("it is closed"));
        // Looked at each 5 ms; the first turns tell one after another.
        assert!(told.abs_diff(closed) <= 10, "told for {told} ms, closed after {closed} ms");
        bins[(closed * BINS as u64 / (WINDOW_NS / 1_000_000 + 10)) as usize] += 1;
    }
    let expected = CLIENTS as f64 / BINS as f64;
    let chi2: f64 = bins.iter().map(|&n| (f64::from(n) - expected).powi(2) / expected).sum();
    // The 99 % point of chi-squared with 19 degrees of freedom.
    assert!(chi2 < 36.19, "chi-squared {chi2}: {bins:?}");
    assert_eq!(stage.stats().drained, CLIENTS as u64);
}

#[test]
fn closes_of_five_thousand_are_even_over_the_window() {
    const COUNT: u32 = 5_000;
    const BINS: usize = 20;
    const STEP_MS: u64 = 100;
    let mut stage = stage_of(COUNT + 10);
    let mut players: Vec<Player> = (0..COUNT).map(|_| stage.raw("/t/t")).collect();
    stage.commands(Command::Drain { within_ns: 2 * WINDOW_NS, window_ns: WINDOW_NS });
    let window_ms = WINDOW_NS / 1_000_000;
    let mut bins = [0u32; BINS];
    for ms in 0..window_ms + STEP_MS {
        stage.turn_of(&mut []);
        if ms % STEP_MS != STEP_MS - 1 {
            continue;
        }
        // Closes are looked for each 5 ms: the last ones come a little after the window.
        let bin = ((ms * BINS as u64 / window_ms) as usize).min(BINS - 1);
        players.retain_mut(|player| {
            let said = player.reads();
            let is_closed = said.iter().any(|said| said.contains("1012"));
            bins[bin] += u32::from(is_closed);
            !is_closed
        });
    }
    assert_eq!((bins.iter().sum::<u32>(), players.len()), (COUNT, 0));
    let expected = f64::from(COUNT) / BINS as f64;
    let chi2: f64 = bins.iter().map(|&n| (f64::from(n) - expected).powi(2) / expected).sum();
    // The 99 % point of chi-squared with 19 degrees of freedom: nothing of this is drawn anew from run to run.
    assert!(chi2 < 36.19, "chi-squared {chi2}: {bins:?}");
    assert_eq!(stage.stats().drained, u64::from(COUNT));
}

#[test]
fn the_listener_is_closed_first_and_who_waits_there_is_answered() {
    let mut stage = stage();
    let mut players = vec![stage.player(Protocol::MsgpackV1, &json!({"type": "subscribe", "topics": ["t"]}))];
    players.push(stage.raw("/t/t"));
    players.iter_mut().for_each(|player| _ = player.reads());
    // In the kernel's queue when the drain begins.
    let peer = SocketAddr::from(([127, 0, 0, 1], 7));
    let waits = stage.net.connect_from(0, peer);
    stage.commands(Command::Drain { within_ns: 2 * WINDOW_NS, window_ns: WINDOW_NS });
    (0..3).for_each(|_| _ = stage.turn_of(&mut []));
    assert!(!stage.net.is_listening(0), "the listener goes before any connection");
    assert_eq!(stage.stats().drained, 0);
    let mut wire = Wire::new(waits, "/", &["fanwire.json.v1"], &[], &mut Rng::new(5));
    let answered = wire.read_some(usize::MAX);
    assert!(matches!(answered[..], [Incoming::Refused(503), ..]), "{answered:?}");
    let ends = drained_on(&mut stage, &mut players);
    assert!(ends[0].told_ms.is_some() && ends[1].told_ms.is_none(), "a raw client has no words for it: {ends:?}");
    assert!(ends.iter().all(|end| end.closed_ms.is_some()), "{ends:?}");
}

/// The rest of a drain that has begun.
fn drained_on(stage: &mut Stage, players: &mut [Player]) -> Vec<End> {
    drained(stage, players)
}

#[test]
fn who_has_gone_by_itself_is_not_counted_and_who_has_not_everything_is_not_closed() {
    let mut stage = stage();
    let subscribe = json!({"type": "subscribe", "topics": ["t"]});
    let mut players: Vec<Player> = (0..3).map(|_| stage.player(Protocol::JsonV1, &subscribe)).collect();
    players.iter_mut().for_each(|player| _ = player.reads());
    players.pop().expect("there are three").wire.close();
    // One is blocked: it has its message, and its end, later.
    stage.holds(&mut players[1]);
    stage.says("t", "last words", |_| {});
    stage.commands(Command::Drain { within_ns: 4 * WINDOW_NS, window_ns: WINDOW_NS });
    (0..WINDOW_NS / 1_000_000 + 20).for_each(|_| _ = stage.turn_of(&mut []));
    assert_eq!(stage.stats().drained, 0, "nobody has everything");
    stage.send_capacity(64 << 10);
    for player in &mut players {
        player.reads();
    }
    (0..50).for_each(|_| {
        stage.turn_of(&mut []);
        players.iter_mut().for_each(|player| _ = player.reads());
    });
    assert_eq!((stage.stats().drained, stage.stats().cut_off), (2, 0));
}
