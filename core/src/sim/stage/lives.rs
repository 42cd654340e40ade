//! Topics that nobody needs any more are given back, and none that somebody needs.

use serde_json::json;

use super::*;
use crate::config::{LimitsConfig, PublishAccess};
use crate::registry::User;

fn stage(topics_max: u32, per_connection_max: u32) -> Stage {
    let limits = LimitsConfig { topics_per_connection_max: per_connection_max, ..LimitsConfig::default() };
    let mut config = Config { topics_max, limits, ..Config::default() };
    config.access.publish = PublishAccess::Everyone;
    config.memory.ring_bytes = 1 << 20;
    Stage::new(config, 4 << 20)
}

fn subscribe(topics: &[&str]) -> Value {
    json!({"type": "subscribe", "topics": topics})
}

/// Topics, as the shard sees them some turns later.
fn topics(stage: &mut Stage) -> u64 {
    for _ in 0..4 {
        stage.shard.turn(false).expect("the sim driver never fails");
        stage.shard.check_budgets();
        stage.shard.check_nothing_is_forgotten();
    }
    stage.stats().topics
}

#[test]
fn topics_go_with_the_last_that_named_them() {
    let mut stage = stage(64, 64);
    let names: Vec<String> = (0..40).map(|n| format!("junk/{n}")).collect();
    let names: Vec<&str> = names.iter().map(|name| &**name).collect();
    let mut first = stage.player(Protocol::JsonV1, &subscribe(&names));
    let mut second = stage.player(Protocol::JsonV1, &subscribe(&["junk/1", "**"]));
    assert_eq!(topics(&mut stage), 40);
    first.asks(&json!({"type": "unsubscribe", "topics": ["junk/0", "junk/1"]}));
    stage.turns(2, &mut first);
    assert_eq!(topics(&mut stage), 39, "a pattern keeps none");
    first.wire.reset();
    stage.turns(2, &mut second);
    assert_eq!(topics(&mut stage), 1);
    stage.says("junk/1", "here", |_| {});
    assert!(stage.plays(2, &mut second).iter().any(|text| text == "normal 1"));
    second.wire.reset();
    assert_eq!(topics(&mut stage), 1, "it has a message");
}

#[test]
fn names_of_subscribers_do_not_use_topics_up() {
    // Seven eighths, which is all that subscribers may make.
    let mut stage = stage(36, 32);
    for round in 0..20 {
        let names: Vec<String> = (0..32).map(|n| format!("junk/{round}/{n}")).collect();
        let names: Vec<&str> = names.iter().map(|name| &**name).collect();
        let mut player = stage.player(Protocol::JsonV1, &subscribe(&names));
        player.wire.reset();
        stage.turns(1, &mut player);
        assert_eq!(topics(&mut stage), 0);
    }
    stage.says("rover/1/imu", "1", |_| {});
    assert_eq!(topics(&mut stage), 1);
}

#[test]
fn a_handle_keeps_its_topic_and_a_silent_one_gives_it_back() {
    let mut stage = stage(8, 8);
    let shared = stage.shared.clone();
    let open = |name: &str| {
        let opened = shared.registry.open(name, User::Handle, shared.to_ring(), true).expect("room");
        crate::topic::Topic::new(shared.clone(), opened, name)
    };
    let (silent, heard) = (open("silent"), open("heard"));
    let clone = silent.clone();
    heard.publish(Priority::Normal, Kind::Text, b"1").expect("room");
    drop(silent);
    assert_eq!(topics(&mut stage), 2);
    drop((clone, heard));
    assert_eq!(topics(&mut stage), 1);
}

#[test]
fn a_connection_has_so_many_topics_for_itself_alone_and_not_one_more() {
    let mut stage = stage(64, 2);
    let mut first = stage.player(Protocol::JsonV1, &subscribe(&["a", "b"]));
    let refused = |texts: Vec<String>| texts.iter().filter(|text| text.contains("too_many_topics")).count();
    assert_eq!(refused(stage.plays(2, &mut first)), 0);
    first.asks(&subscribe(&["c"]));
    assert_eq!(refused(stage.plays(2, &mut first)), 1, "one past the limit");
    // One of them is not there for it alone any more, …
    let mut second = stage.player(Protocol::JsonV1, &subscribe(&["a"]));
    first.asks(&subscribe(&["c"]));
    assert_eq!(refused(stage.plays(2, &mut first)), 0);
    // …one gets a message, …
    stage.says("b", "1", |_| {});
    stage.turns(2, &mut second);
    first.asks(&subscribe(&["d"]));
    assert_eq!(refused(stage.plays(2, &mut first)), 0);
    first.asks(&subscribe(&["e"]));
    assert_eq!(refused(stage.plays(2, &mut first)), 1);
    // …one is left, and one is somebody else's.
    first.asks(&json!({"type": "unsubscribe", "topics": ["c"]}));
    stage.turns(2, &mut first);
    stage.says("x", "1", |_| {});
    first.asks(&subscribe(&["e", "x"]));
    assert_eq!(refused(stage.plays(3, &mut first)), 0);
    first.asks(&subscribe(&["f"]));
    assert_eq!(refused(stage.plays(2, &mut first)), 1);
}

#[test]
fn a_raw_publisher_is_heard_in_its_topic_s_next_life() {
    let mut stage = stage(8, 8);
    let mut publisher = stage.raw("/t/a?topic=b&echo=0");
    let mut subscriber = stage.player(Protocol::JsonV1, &subscribe(&["a"]));
    stage.plays(1, &mut subscriber);
    for life in 0..3 {
        publisher.says(&format!("life{life}"));
        stage.turns(2, &mut publisher);
        let heard = stage.plays(2, &mut subscriber);
        assert_eq!(heard.iter().filter(|text| *text == "normal 1").count(), 1, "{heard:?}");
        // Whichever of its topics is made anew first, it publishes to the first that it named.
        for name in ["a", "b"] {
            stage.shared.registry.remove(name, stage.shared.to_ring()).expect("room");
        }
        stage.turns(1, &mut publisher);
        stage.says("b", "made anew", |_| {});
        stage.turns(2, &mut publisher);
    }
    let heard = publisher.reads();
    assert!(!heard.iter().any(|text| text.contains("Close")), "{heard:?}");
}

#[test]
fn a_request_is_answered_by_its_id_though_the_topic_begins_another_life_before() {
    let mut stage = stage(8, 8);
    let mut player = stage.player(Protocol::JsonV1, &subscribe(&["a"]));
    stage.plays(2, &mut player);
    let request = |id: u64| json!({"type": "subscribe", "id": id, "topics": ["a"]});
    for id in 0..3 {
        // The shard hears of the end in the turn in which it takes the request.
        player.asks(&request(id));
        stage.hands_over(&mut player);
        stage.shared.registry.remove("a", stage.shared.to_ring()).expect("room");
        assert_eq!(stage.plays(2, &mut player), [""; 0], "there is no such topic now");
        stage.says("a", "made anew", |_| {});
        let heard = stage.plays(2, &mut player);
        assert_eq!(heard.iter().filter(|text| text.ends_with(&format!(", request {id}"))).count(), 1, "{heard:?}");
        // And once only.
        stage.shared.registry.remove("a", stage.shared.to_ring()).expect("room");
        stage.turns(1, &mut player);
        stage.says("a", "made anew", |_| {});
        let heard = stage.plays(2, &mut player);
        assert!(heard.iter().any(|text| text.starts_with("subscribed")), "{heard:?}");
        assert!(!heard.iter().any(|text| text.contains("request")), "{heard:?}");
    }
}

#[test]
fn a_target_may_name_as_many_topics_as_there_are_numbers() {
    for before in 1..=7 {
        let mut stage = stage(7, 7);
        let target = |name: &str, count: u32| {
            let others = (1..count).map(|n| format!("&topic={name}/{n}")).collect::<String>();
            format!("/t/{name}/0?echo=1{others}")
        };
        let mut player = stage.raw(&target("before", before));
        player.wire.reset();
        // The numbers of those before are free again only when their ends have been read: some are there at once, others later.
        let mut player = stage.raw(&target("after", 7));
        assert_eq!(topics(&mut stage), 7);
        player.wire.reset();
        stage.turns(1, &mut player);
        assert_eq!(topics(&mut stage), 0);
    }
}

#[test]
fn who_publishes_to_a_topic_that_cannot_be_made_is_told_so_and_stays() {
    let mut stage = stage(4, 4);
    let mut publisher = stage.player(Protocol::JsonV1, &subscribe(&["mine"]));
    let mut before = stage.player(Protocol::JsonV1, &subscribe(&["a", "b", "c"]));
    assert_eq!(topics(&mut stage), 4);
    // Their numbers come free only when their ends have been read: until then the message waits, and then others have them.
    before.asks(&json!({"type": "unsubscribe", "topics": ["a", "b", "c"]}));
    stage.turns(1, &mut before);
    publisher.asks(&json!({"type": "publish", "id": 7, "topic": "new", "data": 1}));
    stage.hands_over(&mut publisher);
    before.asks(&subscribe(&["d", "e", "f"]));
    stage.hands_over(&mut before);
    let heard: Vec<String> = (0..6).flat_map(|_| stage.plays(1, &mut publisher)).collect();
    assert!(!heard.iter().any(|text| text.contains("Close")), "{heard:?}");
    assert_eq!(heard.iter().filter(|text| text.contains("too_many_topics")).count(), 1, "{heard:?}");
    publisher.asks(&json!({"type": "ping", "id": 8}));
    let heard = stage.plays(3, &mut publisher);
    assert!(heard.iter().any(|text| text.contains("Pong")), "{heard:?}");
}
