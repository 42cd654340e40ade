//! What the engine says of itself on `$sys` topics: what it costs, who sees it, and that it is true.

use std::time::Duration;

use super::*;
use crate::access::{Allowed, AskHost, Decision, Grants};
use crate::config::{MemoryConfig, SysConfig};
use crate::proto::topic::Pattern;

const CLIENTS: &str = "$sys/clients";
const MS_NS: u64 = 1_000_000;

fn config(top: u32) -> Config {
    Config {
        memory: MemoryConfig { ring_bytes: 1 << 20, lane_bytes: 1 << 20, ..MemoryConfig::default() },
        sys: SysConfig { top, public: true },
        ..Config::default()
    }
}

/// The JSON messages that a raw client has got.
fn told(player: &mut Player) -> Vec<Value> {
    let heard = player.wire.read_some(usize::MAX).into_iter();
    heard
        .filter_map(|incoming| match incoming {
            Incoming::Message { bytes, .. } => Some(serde_json::from_slice(&bytes).expect("JSON")),
            _ => None,
        })
        .collect()
}

/// Turns of a millisecond for so long, in which nobody does anything.
fn passes(stage: &mut Stage, ms: u64) {
    (0..ms).for_each(|_| _ = stage.turn_of(&mut []));
}

fn names(list: &Value) -> Vec<String> {
    list.as_array().expect("a list").iter().map(|one| one["id"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn ten_thousand_clients_cost_no_turn_above_its_bound_and_all_are_counted() {
    const COUNT: usize = 10_000;
    let mut config = config(128);
    (config.connections_max, config.cursors_max, config.limits.handshakes_max) = (11_000, 40_000, 4_000);
    let mut stage = Stage::new(config, 4 << 20);
    let mut rng = Rng::new(5);
    let mut players = Vec::new();
    for _ in 0..COUNT / 100 {
        let mut some: Vec<Player> = (0..100)
            .map(|_| {
                let peer = SocketAddr::from(([127, 0, 0, 1], 1_024));
                let wire = Wire::new(stage.net.connect_from(0, peer), "/t/a", &[], &[], &mut rng);
                Player { wire, connection: ConnectionId::HOST, protocol: Protocol::Raw, rng: Rng::new(5) }
            })
            .collect();
        for _ in 0..200 {
            stage.turn_of(&mut some);
            if stage.stats().upgraded == (players.len() + some.len()) as u64 {
                break;
            }
        }
        players.append(&mut some);
    }
    assert_eq!(stage.stats().upgraded, COUNT as u64);
    let mut watcher = stage.raw("/t/$sys/clients?topic=$sys/topics&topic=$sys/shards&topic=$sys/gaps");
    // Nobody's socket takes anything, and everybody is behind.
    stage.net.with_options(|options| options.blocked_send = 1_000);
    for n in 0..20 {
        stage.says("a", &text(&n.to_string(), 1_000), |_| {});
        passes(&mut stage, 200);
    }
    stage.net.with_options(|options| options.blocked_send = 0);
    passes(&mut stage, 50);
    let told = told(&mut watcher);
    let of = |member: &str| told.iter().filter(|message| message.get(member).is_some()).collect::<Vec<_>>();
    let clients = of("by_lag");
    let most = clients.iter().max_by_key(|message| message["behind"].as_u64()).expect("it was told");
    assert_eq!((&most["total"], most["behind"].as_u64() >= Some(COUNT as u64)), (&json!(COUNT + 1), true));
    for list in ["by_lag", "by_work"] {
        assert_eq!(most[list].as_array().map(Vec::len), Some(128), "{list}");
    }
    let topics = of("topics");
    assert_eq!(topics.last().expect("it was told")["topics"][0]["subscribers"], COUNT);
    assert!(of("latency").len() >= 3, "once a second");
    assert!(players.iter().all(|player| player.protocol == Protocol::Raw));
}

#[test]
fn the_client_furthest_behind_is_at_the_top_with_what_it_has_lost() {
    let mut stage = Stage::new(config(8), 4 << 20);
    let mut watcher = stage.raw("/t/$sys/clients");
    let mut gaps = stage.raw("/t/$sys/gaps");
    let quick = stage.raw("/t/a");
    let slow = stage.player(Protocol::JsonV1, &topics(&["a"]));
    let (slow_id, quick_id) = (slow.connection.to_string(), quick.connection.to_string());
    let mut slow = slow;
    let mut quick = quick;
    stage.turns(3, &mut slow);
    slow.reads();
    // What the kernel holds towards the slow one is full soon; the others read.
    stage.send_capacity(50_000);
    let mut heard = Vec::new();
    for n in 0..200 {
        stage.says("a", &text(&n.to_string(), 10_000), |_| {});
        passes(&mut stage, 20);
        quick.wire.read_some(usize::MAX);
        heard.append(&mut told(&mut watcher));
    }
    let last = heard.last().expect("it is told every second");
    assert_eq!(names(&last["by_lag"]), std::slice::from_ref(&slow_id));
    assert!(names(&last["by_work"]).contains(&quick_id), "who reads costs as well");
    let client = &last["by_lag"][0];
    assert_eq!(
        (&client["form"], &client["cause"], &client["subscriptions"]),
        (&json!("json"), &json!("reader"), &json!(1))
    );
    assert_eq!(client["connection"], slow.connection.to_u64().to_string());
    assert_eq!((&client["lanes"][0]["topic"], &client["lanes"][0]["priority"]), (&json!("a"), &json!("normal")));
    let used = client["used"].as_f64().expect("a share");
    assert!(used > 0.3 && used <= 1.0, "{client}");
    let (untold, total) = (client["lost_untold"].as_u64(), client["lost_total"].as_u64());
    assert!(untold > Some(0) && untold <= total, "who reads nothing cannot be told: {client}");
    // Messages of 10,000 bytes and an envelope: what it lacks is behind it, or lost.
    let lost: u64 = stage.losses().iter().map(|&(from, to, _)| to - from + 1).sum();
    let behind = client["behind_messages"].as_u64().expect("a number");
    assert!(behind > 30 && behind < 200, "{client}");
    stage.send_capacity(4 << 20);
    let mut after = Vec::new();
    for _ in 0..30 {
        passes(&mut stage, 100);
        slow.wire.read_some(usize::MAX);
        quick.wire.read_some(usize::MAX);
        after.append(&mut told(&mut watcher));
    }
    let lost = lost + stage.losses().iter().map(|&(from, to, _)| to - from + 1).sum::<u64>();
    assert!(lost > 0);
    let last = after.last().expect("it is told every second");
    assert_eq!(last["behind"], 0, "everybody has caught up");
    let told_of: u64 = told(&mut gaps)
        .iter()
        .flat_map(|message| message["gaps"].as_array().expect("a list").clone())
        .map(|gap| {
            assert_eq!((&gap["client"], &gap["topic"], &gap["reason"]), (&json!(slow_id), &json!("a"), &json!("lag")));
            gap["to"].as_u64().expect("a number") - gap["from"].as_u64().expect("a number") + 1
        })
        .sum();
    assert_eq!(told_of, lost, "each lost message is told of once");
    let all = after.iter().flat_map(|message| message["by_work"].as_array().expect("a list"));
    let totals = all.filter(|one| one["id"] == slow_id).map(|one| one["lost_total"].as_u64().expect("a number"));
    assert_eq!(totals.max(), Some(lost));
    let latest = after.iter().rev().flat_map(|message| message["by_work"].as_array().expect("a list"));
    assert_eq!(
        latest.clone().find(|one| one["id"] == slow_id).expect("it reads")["lost_untold"],
        0,
        "it was told of all"
    );
}

#[test]
fn a_client_that_asks_much_costs_much_though_it_does_not_lag() {
    let mut stage = Stage::new(config(4), 4 << 20);
    let mut watcher = stage.raw("/t/$sys/clients");
    let mut hostile = stage.player(Protocol::JsonV1, &topics(&["a"]));
    let quiet: Vec<Player> = (0..6).map(|_| stage.raw("/t/a")).collect();
    let mut heard = Vec::new();
    for _ in 0..40 {
        (0..20).for_each(|n| hostile.asks(&json!({"type": "ping", "id": n})));
        stage.turns(100, &mut hostile);
        hostile.reads();
        heard.append(&mut told(&mut watcher));
    }
    let last = heard.last().expect("it is told every second");
    assert_eq!(names(&last["by_work"])[0], hostile.connection.to_string());
    assert_eq!((&last["behind"], last["total"].as_u64()), (&json!(0), Some(2 + quiet.len() as u64)));
    assert!(last["by_work"][0]["work_per_s"].as_f64() > Some(1_000.0), "{last}");
}

#[test]
fn nothing_is_gathered_or_published_while_nobody_wants_to_know() {
    let mut stage = Stage::new(config(8), 4 << 20);
    let mut player = stage.player(Protocol::JsonV1, &topics(&["a"]));
    let before = stage.stats().messages;
    passes(&mut stage, 3_000);
    assert_eq!((stage.stats().messages, stage.shard.is_surveying()), (before, false));
    player.asks(&topics(&[CLIENTS]));
    stage.turns(2_500, &mut player);
    let gathered = stage.stats().messages;
    assert!((2..=4).contains(&(gathered - before)), "{} messages", gathered - before);
    assert!(stage.shard.is_surveying());
    player.asks(&json!({"type": "unsubscribe", "topics": [CLIENTS]}));
    stage.turns(10, &mut player);
    let after = stage.stats().messages;
    passes(&mut stage, 3_000);
    assert_eq!((stage.stats().messages, stage.shard.is_surveying()), (after, false));
    // With a subscriber and nothing to do the shard sleeps until the next round.
    player.asks(&topics(&[CLIENTS]));
    stage.turns(50, &mut player);
    let slept = (0..50).find_map(|_| stage.sleeps()).expect("it sleeps between two rounds");
    assert!(slept > stage.net.now_ns() && slept <= stage.net.now_ns() + 1_000 * MS_NS);
}

#[test]
fn two_shards_are_told_of_together_and_one_that_stands_still_is_not_waited_for() {
    let (mut stage, mut others) = Stage::with_shards(config(8), 4 << 20, 2, wall_of);
    let mut watcher = stage.raw("/t/$sys/shards?topic=$sys/clients");
    let mut told_with = |stage: &mut Stage, other_turns: bool| {
        for _ in 0..if other_turns { 2_600 } else { 7_000 } {
            stage.turn_of(&mut []);
            if other_turns {
                others[0].turn(false).expect("the sim driver never fails");
            }
        }
        told(&mut watcher)
    };
    let shards = |heard: &[Value]| {
        let last = heard.iter().rfind(|message| message.get("shards").is_some()).expect("it was told");
        last["shards"].as_array().expect("a list").len()
    };
    let heard = told_with(&mut stage, true);
    assert_eq!(shards(&heard), 2);
    assert!(heard.iter().filter(|message| message.get("by_lag").is_some()).count() >= 2);
    let heard = told_with(&mut stage, false);
    assert!(heard.iter().filter(|message| message.get("by_lag").is_some()).count() >= 1, "the first one goes on");
}

#[test]
fn a_shard_that_answers_twice_while_another_is_waited_for_is_counted_once() {
    let (mut stage, mut others) = Stage::with_shards(config(8), 4 << 20, 3, wall_of);
    let mut watcher = stage.raw("/t/$sys/clients?topic=$sys/topics");
    let mut quick = stage.raw("/t/a");
    stage.says("a", &text("1", 10), |_| {});
    for _ in 0..14_000 {
        // The third one stands still, and three seconds are given to it: what the others find meanwhile is of the same clients.
        stage.turn_of(&mut []);
        others[0].turn(false).expect("the sim driver never fails");
    }
    quick.wire.read_some(usize::MAX);
    let heard = told(&mut watcher);
    // The first one may be of when there was one client.
    let totals = heard.iter().filter(|one| one.get("by_lag").is_some()).map(|one| one["total"].clone()).skip(1);
    let totals: Vec<_> = totals.collect();
    assert!(totals.len() >= 3 && totals.iter().all(|total| *total == json!(2)), "{totals:?}");
    let of_a = heard.iter().filter_map(|one| one["topics"].as_array()).flatten().filter(|one| one["topic"] == "a");
    let subscribers: Vec<_> = of_a.map(|one| one["subscribers"].clone()).skip(1).collect();
    assert!(subscribers.len() >= 3 && subscribers.iter().all(|count| *count == json!(1)), "{subscribers:?}");
}

/// A stage on which the host decides what each may do.
fn asking() -> Stage {
    let mut config = config(8);
    config.sys.public = false;
    config.events.capacity = 64;
    config.access.ask_host = Some(AskHost { within: Duration::from_secs(2), headers: Vec::new() });
    Stage::new(config, 4 << 20)
}

fn let_in(stage: &mut Stage, target: &str, protocol: Protocol, subscribe: Allowed, publish: Allowed) -> (Player, bool) {
    let mut player = stage.knocks(target, protocol);
    let decision = Decision::Allow(Grants { subscribe, publish, lifetime: None, subject: None });
    stage.commands(Command::Decide { connection: player.connection, decision: Box::new(decision) });
    stage.turns(3, &mut player);
    let heard = player.wire.read_some(usize::MAX);
    (player, matches!(heard.first(), Some(Incoming::Upgraded(..))))
}

fn only(patterns: &[&str]) -> Allowed {
    Allowed::Only(patterns.iter().map(|text| Pattern::parse(text).expect("a pattern")).collect())
}

#[test]
fn no_stranger_sees_what_the_engine_says_of_itself() {
    let mut stage = asking();
    let names = ["$sys/shards", "$sys/topics", CLIENTS, "$sys/gaps"];
    for subscribe in [Allowed::Everything, only(&["**"]), only(&["*/*", "*"]), only(&["$sys"]), Allowed::Nothing] {
        let (mut player, _) = let_in(&mut stage, "/", Protocol::JsonV1, subscribe.clone(), Allowed::Everything);
        for name in names {
            player.asks(&topics(&[name]));
            let heard = stage.plays(3, &mut player).concat();
            assert!(heard.contains("not_allowed"), "{subscribe:?}, {name}: {heard}");
            let (_, is_in) =
                let_in(&mut stage, &format!("/t/{name}"), Protocol::Raw, subscribe.clone(), Allowed::Nothing);
            assert!(!is_in, "{subscribe:?}, {name}");
        }
        // Whatever a wildcard brings, it brings nothing of this.
        player.asks(&topics(&["**"]));
        let heard = stage.plays(2_000, &mut player).concat();
        assert!(!heard.contains("normal"), "{subscribe:?}: {heard}");
    }
    assert_eq!(stage.shard.topics_known(), 0, "nobody has even made them");
    // Who was granted one by name gets that one, and no other.
    let (mut player, _) = let_in(&mut stage, "/", Protocol::JsonV1, only(&[CLIENTS, "a"]), Allowed::Everything);
    player.asks(&topics(&[CLIENTS]));
    let heard = stage.plays(1_500, &mut player).concat();
    assert!(heard.contains("subscribed") && heard.contains("normal 1"), "{heard}");
    player.asks(&topics(&["$sys/shards"]));
    assert!(stage.plays(3, &mut player).concat().contains("not_allowed"));
    let (_, is_in) = let_in(&mut stage, "/t/$sys/clients", Protocol::Raw, only(&[CLIENTS]), Allowed::Nothing);
    assert!(is_in);
}

#[test]
fn nobody_publishes_there_but_the_engine() {
    let mut stage = asking();
    let (mut player, _) = let_in(&mut stage, "/", Protocol::JsonV1, only(&[CLIENTS]), Allowed::Everything);
    player.asks(&json!({"type": "publish", "topic": CLIENTS, "data": "a lie"}));
    assert!(stage.plays(3, &mut player).concat().contains("not_allowed"));
    let target = "/t/$sys/clients";
    let (mut raw, is_in) = let_in(&mut stage, target, Protocol::Raw, only(&[CLIENTS]), Allowed::Everything);
    assert!(is_in);
    raw.says("a lie");
    let heard = stage.plays(10, &mut raw).concat();
    assert!(heard.contains("Close(Some(1008))"), "{heard}");
}

#[test]
fn where_nothing_is_gathered_nobody_may_subscribe() {
    let mut config = config(0);
    config.sys.public = true;
    let mut stage = Stage::new(config, 4 << 20);
    let mut player = stage.player(Protocol::JsonV1, &topics(&[CLIENTS]));
    assert!(stage.plays(3, &mut player).concat().contains("not_allowed"));
}
