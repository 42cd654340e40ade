//! Which lane goes first.

use super::*;

fn config() -> Config {
    let mut config = Config::default();
    config.memory.ring_bytes = 1 << 20;
    config
}

#[test]
fn what_is_published_in_one_turn_goes_by_its_importance() {
    for protocol in [Protocol::Raw, Protocol::JsonV1] {
        let mut stage = Stage::new(config(), 1 << 20);
        let mut player = match protocol {
            Protocol::Raw => stage.raw("/t/t"),
            _ => stage.player(protocol, &topics(&["t"])),
        };
        for round in ["first", "second"] {
            for priority in [Priority::Low, Priority::Normal, Priority::High, Priority::Critical] {
                stage.says("t", &format!("{priority} {round}"), |head| head.priority = priority);
            }
            let number = if round == "first" { 1 } else { 2 };
            let expected = Priority::ALL.map(|priority| match protocol {
                Protocol::Raw => format!("{priority} {round}"),
                _ => format!("{priority} {number}"),
            });
            let heard = stage.plays(3, &mut player);
            assert_eq!(heard[heard.len() - 4..], expected);
        }
    }
}

#[test]
fn topics_of_one_importance_go_in_the_order_of_their_news() {
    let mut stage = Stage::new(config(), 1 << 20);
    let mut player = stage.raw("/t/a?topic=b&topic=c");
    for (round, order) in [["a", "b", "c"], ["c", "a", "b"], ["b", "c", "a"], ["c", "b", "a"]].into_iter().enumerate() {
        order.into_iter().for_each(|topic| stage.says(topic, &format!("{topic}{round}"), |_| {}));
        let expected = order.map(|topic| format!("{topic}{round}"));
        assert_eq!(stage.plays(1, &mut player), expected);
    }
}

#[test]
fn topics_without_news_are_served_too_where_something_was_left_over() {
    let mut stage = Stage::new(config(), 1 << 20);
    let mut player = stage.raw("/t/a?topic=b&topic=c");
    stage.send_capacity(50);
    for topic in ["a", "b", "c"] {
        stage.says(topic, &text(topic, 98), |_| {});
    }
    stage.turns(1, &mut player);
    player.reads();
    stage.send_capacity(1 << 20);
    // News of one topic alone, in the turn in which there is room again.
    stage.says("b", "b late", |_| {});
    assert_eq!(stage.plays(1, &mut player), ["a", "b", "b late", "c"]);
}

/// A kernel with room for two frames: the topics share it.
#[test]
fn topics_of_one_importance_take_turns_in_being_first() {
    let mut stage = Stage::new(config(), 200);
    let mut player = stage.raw("/t/a?topic=b&topic=c");
    for topic in ["a", "b", "c"] {
        (0..6).for_each(|number| stage.says(topic, &text(&format!("{topic}{number}"), 98), |_| {}));
    }
    let mut firsts = Vec::new();
    let mut heard = Vec::new();
    for _ in 0..9 {
        let now = stage.plays(1, &mut player);
        assert_eq!(now.len(), 2, "{now:?}");
        firsts.push(now[0][..1].to_owned());
        heard.extend(now);
    }
    assert_eq!(firsts.concat(), "abcabcabc", "{heard:?}");
    heard.sort();
    let all = ["a", "b", "c"].into_iter().flat_map(|topic| (0..6).map(move |number| format!("{topic}{number}")));
    assert_eq!(heard, all.collect::<Vec<_>>());
}

/// The same where the frames of one send are what is scarce, not the kernel's room.
#[test]
fn a_topic_with_a_long_backlog_does_not_keep_others_of_its_importance_waiting() {
    let mut stage = Stage::new(config(), 1 << 20);
    let mut player = stage.raw("/t/a?topic=b");
    (0..100).for_each(|number| stage.says("a", &text(&format!("a{number}"), 5_000), |_| {}));
    stage.says("b", "b", |_| {});
    let heard = stage.plays(12, &mut player);
    let at = heard.iter().position(|said| said == "b").unwrap();
    assert!((13..40).contains(&at), "behind what two sends bring: {heard:?}");
    assert_eq!(heard.len(), 101);
}

#[test]
fn what_is_more_important_goes_first_however_much_else_was_there_before() {
    let mut stage = Stage::new(config(), 300);
    let mut player = stage.raw("/t/n?topic=c");
    (0..20).for_each(|number| stage.says("n", &text(&format!("n{number}"), 98), |_| {}));
    assert_eq!(stage.plays(1, &mut player), ["n0", "n1", "n2"]);
    stage.says("c", &text("critical", 98), |head| head.priority = Priority::Critical);
    assert_eq!(stage.plays(1, &mut player), ["critical", "n3", "n4"]);
    stage.says("c", &text("high", 98), |head| head.priority = Priority::High);
    assert_eq!(stage.plays(1, &mut player), ["high", "n5", "n6"]);
    assert_eq!(stage.plays(9, &mut player).len(), 13);
}

#[test]
fn more_topics_than_one_send_has_parts_all_come_and_in_order() {
    let mut stage = Stage::new(config(), 1 << 20);
    let names: Vec<_> = (10..50).map(|number| format!("t{number}")).collect();
    let target = names[1..].iter().fold(format!("/t/{}", names[0]), |target, name| format!("{target}&topic={name}"));
    let mut player = stage.raw(&target.replacen('&', "?", 1));
    for _ in 0..2 {
        names.iter().for_each(|name| stage.says(name, name, |_| {}));
        let first = stage.plays(1, &mut player);
        assert!(first.len() > 5, "{first:?}");
        let all: Vec<_> = first.into_iter().chain(stage.plays(3, &mut player)).collect();
        let mut sorted = all.clone();
        sorted.sort();
        assert_eq!(sorted, names, "{all:?}");
    }
}

#[test]
fn no_message_comes_before_its_topic_is_announced() {
    let mut stage = Stage::new(config(), 1 << 20);
    for name in ["a", "b"] {
        stage.says(name, "before", |_| {});
    }
    let mut player = stage.player(Protocol::JsonV1, &topics(&["a"]));
    assert_eq!(stage.plays(2, &mut player), ["subscribed normal 0", "normal 1"]);
    player.asks(&topics(&["b"]));
    stage.says("a", "now", |_| {});
    stage.says("b", "now", |_| {});
    // News of the first topic, and all of the second.
    assert_eq!(stage.plays(3, &mut player), ["subscribed normal 0", "normal 2", "normal 1", "normal 2"]);
}

/// Each topic's last value waits to be announced: hundreds of announcements do not fit the control queue at once.
#[test]
fn hundreds_of_topics_are_announced_and_begin_with_their_last_value() {
    let mut stage = Stage::new(config(), 1 << 20);
    let names: Vec<_> = (100..400).map(|number| format!("t{number}")).collect();
    names.iter().for_each(|name| stage.says(name, "before", |_| {}));
    let mut player = stage.player(Protocol::JsonV1, &json!({"type": "subscribe", "topics": ["**"]}));
    let heard = stage.plays(60, &mut player);
    assert_eq!(heard.iter().filter(|said| *said == "subscribed normal 0").count(), 300);
    assert_eq!(heard.iter().filter(|said| *said == "normal 1").count(), 300);
    assert!(stage.sleeps().is_some());
}
