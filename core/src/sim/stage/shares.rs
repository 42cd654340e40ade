//! What is everybody's has a share that strangers cannot use up.

use std::net::SocketAddr;

use super::*;
use crate::config::LimitsConfig;
use crate::registry::TopicError;
use crate::shard::FEW_CURSORS;

/// A stage with so many cursors, where so many topics are there, each with a message or each without.
fn stage_of_topics(cursors_max: u32, count: u32, has_messages: bool) -> Stage {
    let mut config = Config { shards: Some(1), cursors_max, topics_max: 8_000, ..Config::default() };
    config.memory.ring_bytes = 1 << 20;
    let mut stage = Stage::new(config, 4 << 20);
    stage.topics((0..count).map(name));
    for number in 0..if has_messages { count } else { 0 } {
        stage.says(&name(number), "1", |_| {});
        if number % 100 == 0 {
            stage.turn_of(&mut []);
        }
    }
    (0..20).for_each(|_| _ = stage.turn_of(&mut []));
    stage
}

fn name(number: u32) -> String {
    format!("d/{number}")
}

/// One more topic comes to be, with a message or without: what this client is told.
fn comes(stage: &mut Stage, number: u32, has_message: bool, player: &mut Player) -> Vec<String> {
    stage.topic(&name(number));
    if has_message {
        stage.says(&name(number), "1", |_| {});
    }
    stage.plays(4, player)
}

fn is_refused(said: &[String]) -> bool {
    said.iter().any(|text| text.contains("too_many_subscriptions"))
}

fn is_sent_away(said: &[String]) -> bool {
    said.iter().any(|text| text == "Close(Some(1013))")
}

#[test]
fn the_last_eighth_of_the_cursors_is_not_for_a_connection_with_many() {
    // 1,400 and 200.
    for has_messages in [true, false] {
        let mut stage = stage_of_topics(1_600, 1_399, has_messages);
        let mut reader = stage.player(Protocol::JsonV1, &topics(&["**"]));
        let said = stage.plays(200, &mut reader);
        assert_eq!(
            (said.iter().filter(|text| text.starts_with("subscribed")).count(), is_refused(&said)),
            (1_399, false)
        );
        let said = comes(&mut stage, 1_399, has_messages, &mut reader);
        assert!(!is_sent_away(&said), "the last one that it may have: {said:?}");
        let said = comes(&mut stage, 1_400, has_messages, &mut reader);
        assert!(is_sent_away(&said), "one past it: {said:?}");
        reader.wire.reset();
        stage.turns(4, &mut reader);
        assert_eq!(stage.stats().cursors, 0);
    }
}

#[test]
fn a_request_that_would_take_of_the_last_eighth_is_refused_and_those_with_few_have_it_to_the_last() {
    for has_messages in [true, false] {
        let mut stage = stage_of_topics(1_600, 1_401, has_messages);
        let mut reader = stage.player(Protocol::JsonV1, &topics(&["**"]));
        assert!(is_refused(&stage.plays(200, &mut reader)), "one past the limit");
        let names: Vec<String> = (0..201).map(name).collect();
        let mut honest = stage.player(Protocol::JsonV1, &json!({"type": "subscribe", "topics": names[..200]}));
        let said = stage.plays(10, &mut honest);
        let subscribed = said.iter().filter(|text| text.starts_with("subscribed")).count();
        assert_eq!((subscribed, is_refused(&said)), (200, false));
        honest.asks(&topics(&[&names[200]]));
        assert!(is_refused(&stage.plays(4, &mut honest)), "none is left at all");
        honest.asks(&json!({"type": "unsubscribe", "topics": [names[0]]}));
        honest.asks(&topics(&[&names[200]]));
        assert!(!is_refused(&stage.plays(4, &mut honest)));
    }
}

#[test]
fn a_connection_has_few_cursors_up_to_its_last_but_one_of_so_many() {
    // 1,015 and 145: the last nine are of the last eighth.
    for has_messages in [true, false] {
        let mut stage = stage_of_topics(1_160, FEW_CURSORS - 1, has_messages);
        let mut reader = stage.player(Protocol::JsonV1, &topics(&["**"]));
        assert!(!is_refused(&stage.plays(200, &mut reader)));
        let said = comes(&mut stage, FEW_CURSORS - 1, has_messages, &mut reader);
        assert!(!is_sent_away(&said), "it had one less than many: {said:?}");
        let said = comes(&mut stage, FEW_CURSORS, has_messages, &mut reader);
        assert!(is_sent_away(&said), "it has many: {said:?}");
    }
}

#[test]
fn a_topic_of_several_priorities_is_joined_with_all_its_cursors_or_not_at_all() {
    for (more, is_joined) in [(2, true), (3, false)] {
        // One cursor of each topic, and two more are left to who has many.
        let mut stage = stage_of_topics(1_600, 1_398, true);
        let mut reader = stage.player(Protocol::JsonV1, &topics(&["d/*"]));
        assert!(!is_refused(&stage.plays(200, &mut reader)));
        for priority in &Priority::ALL[..more] {
            stage.says("rich", "1", |head| head.priority = *priority);
        }
        stage.plays(4, &mut reader);
        reader.asks(&topics(&["rich"]));
        let said = stage.plays(4, &mut reader);
        assert_eq!(is_refused(&said), !is_joined, "{said:?}");
        assert_eq!(stage.stats().cursors, 1_398 + if is_joined { more as u64 } else { 0 });
    }
}

#[test]
fn a_lane_that_comes_to_be_takes_nothing_of_the_last_eighth_for_who_has_many() {
    let mut stage = stage_of_topics(1_600, 1_399, true);
    let mut reader = stage.player(Protocol::JsonV1, &topics(&["**"]));
    assert!(!is_refused(&stage.plays(200, &mut reader)));
    stage.says(&name(0), "2", |head| head.priority = Priority::High);
    let said = stage.plays(4, &mut reader);
    assert_eq!(said, ["high 1"], "the last one that it may have");
    stage.says(&name(1), "2", |head| head.priority = Priority::High);
    let said = stage.plays(4, &mut reader);
    assert!(is_sent_away(&said), "one past it: {said:?}");
}

fn stage_with_room_for_topics(topics_max: u32) -> Stage {
    Stage::new(Config { shards: Some(1), topics_max, ..Config::default() }, 4 << 20)
}

fn has_no_topic(said: &[String]) -> bool {
    said.iter().any(|text| text.contains("too_many_topics"))
}

/// What a raw client from elsewhere, or from this machine, is answered.
fn answer(stage: &mut Stage, target: &str, from: &str) -> Incoming {
    let peer: SocketAddr = from.parse().expect("an address");
    let mut player = stage.knocks_from(peer, target, Protocol::Raw);
    let answer = player.wire.read_some(usize::MAX).into_iter().next().expect("an answer");
    player.wire.reset();
    stage.turns(4, &mut player);
    answer
}

#[test]
fn the_last_eighth_of_the_topics_is_for_those_that_publish() {
    let mut stage = stage_with_room_for_topics(16);
    let names: Vec<String> = (0..14).map(name).collect();
    let mut idle = stage.player(Protocol::JsonV1, &json!({"type": "subscribe", "topics": names}));
    assert!(!has_no_topic(&stage.plays(4, &mut idle)), "seven eighths exactly");
    idle.asks(&topics(&["one/past", "d/3"]));
    let said = stage.plays(4, &mut idle);
    assert!(has_no_topic(&said), "{said:?}");
    idle.asks(&topics(&["d/3"]));
    assert!(!has_no_topic(&stage.plays(4, &mut idle)), "what is there is subscribed to as before");
    // A raw client that may not publish is a subscriber, and so is one that may, to all but its first topic.
    assert!(matches!(answer(&mut stage, "/t/new", "192.0.2.1:9"), Incoming::Refused(503)));
    assert!(matches!(answer(&mut stage, "/t/d/3", "192.0.2.1:9"), Incoming::Upgraded(..)));
    assert!(matches!(answer(&mut stage, "/t/d/3?topic=new", "127.0.0.1:9"), Incoming::Refused(503)));
    assert!(matches!(answer(&mut stage, "/t/new", "127.0.0.1:9"), Incoming::Upgraded(..)));
    // A client that publishes, and the host.
    idle.asks(&json!({"type": "publish", "topic": "by/client", "data": 1}));
    assert!(!has_no_topic(&stage.plays(4, &mut idle)));
    let opens = |stage: &Stage, name: &str| {
        stage.shared.registry.open(name, User::Handle, stage.shared.to_ring(), true).map(drop)
    };
    assert_eq!(opens(&stage, "by/host"), Ok(()));
    assert_eq!(opens(&stage, "one/past"), Err(TopicError::TooMany));
    idle.asks(&json!({"type": "publish", "topic": "one/past", "data": 1}));
    assert!(has_no_topic(&stage.plays(4, &mut idle)));
    assert_eq!(stage.stats().topics, 16);
}

#[test]
fn below_eight_topics_nothing_is_kept_for_those_that_publish() {
    let mut stage = stage_with_room_for_topics(7);
    let names: Vec<String> = (0..7).map(name).collect();
    let mut idle = stage.player(Protocol::JsonV1, &json!({"type": "subscribe", "topics": names}));
    assert!(!has_no_topic(&stage.plays(4, &mut idle)));
    idle.asks(&topics(&["one/past"]));
    assert!(has_no_topic(&stage.plays(4, &mut idle)));
}

/// Two shards with room for so many connections of one address, and for 40 in all.
fn stage_with_room_for_addresses(each_max: u32) -> (Stage, StageShard) {
    let limits = LimitsConfig { connections_per_address_max: each_max, ..LimitsConfig::default() };
    let config = Config { shards: Some(2), connections_max: 40, limits, ..Config::default() };
    let (stage, mut others) = Stage::with_shards(config, 4 << 20, 2, wall_of);
    (stage, others.remove(0))
}

/// A client on this shard: its wire, and what it is answered.
fn comes_from(stage: &mut Stage, other: &mut StageShard, number: usize, from: &str) -> (Wire, Incoming) {
    let mut rng = Rng::new(5);
    let socket = stage.net.connect_from(number, from.parse().expect("an address"));
    let mut wire = Wire::new(socket, "/t/t", &[], &[], &mut rng);
    for _ in 0..4 {
        while wire.queued() > 0 {
            wire.write_some(&mut rng);
        }
        both_turn(stage, other);
    }
    let answer = wire.read_some(usize::MAX).into_iter().next().expect("an answer");
    (wire, answer)
}

fn both_turn(stage: &mut Stage, other: &mut StageShard) {
    stage.turn_of(&mut []);
    other.turn(false).expect("the sim driver never fails");
    other.check_budgets();
}

#[test]
fn an_address_has_so_many_connections_on_all_shards_together_and_not_one_more() {
    for each_max in [1, 2, 5] {
        let (mut stage, mut other) = stage_with_room_for_addresses(each_max);
        let mut wires: Vec<Wire> = (0..each_max as usize)
            .map(|n| {
                let (wire, answer) = comes_from(&mut stage, &mut other, n % 2, &format!("192.0.2.1:{}", 1_000 + n));
                assert!(matches!(answer, Incoming::Upgraded(..)), "{n} of {each_max}: {answer:?}");
                wire
            })
            .collect();
        for number in [0, 1] {
            let (_, answer) = comes_from(&mut stage, &mut other, number, "192.0.2.1:9");
            assert!(matches!(answer, Incoming::Refused(429)), "one past {each_max}: {answer:?}");
            let (_, answer) = comes_from(&mut stage, &mut other, number, "[::ffff:192.0.2.1]:9");
            assert!(matches!(answer, Incoming::Refused(429)), "the same address: {answer:?}");
            let (mut wire, answer) = comes_from(&mut stage, &mut other, number, &format!("192.0.2.{}:9", 2 + number));
            assert!(matches!(answer, Incoming::Upgraded(..)), "another address: {answer:?}");
            wire.reset();
        }
        // One goes, on whichever shard, and one may come, on whichever shard.
        wires[0].reset();
        (0..4).for_each(|_| both_turn(&mut stage, &mut other));
        let (_kept, answer) = comes_from(&mut stage, &mut other, 1, "192.0.2.1:9");
        assert!(matches!(answer, Incoming::Upgraded(..)), "{answer:?}");
        let (_, answer) = comes_from(&mut stage, &mut other, 0, "192.0.2.1:9");
        assert!(matches!(answer, Incoming::Refused(429)), "{answer:?}");
    }
}

#[test]
fn an_address_is_the_64_bits_that_a_site_has_and_this_machine_is_one_as_well() {
    let (mut stage, mut other) = stage_with_room_for_addresses(1);
    for (first, same) in [("[2001:db8:0:1::1]:1", "[2001:db8:0:1:ffff::2]:1"), ("127.0.0.1:1", "127.0.0.1:2")] {
        let (_kept, answer) = comes_from(&mut stage, &mut other, 0, first);
        assert!(matches!(answer, Incoming::Upgraded(..)), "{first}: {answer:?}");
        let (_, answer) = comes_from(&mut stage, &mut other, 1, same);
        assert!(matches!(answer, Incoming::Refused(429)), "{same}: {answer:?}");
    }
    let (_, answer) = comes_from(&mut stage, &mut other, 1, "[2001:db8:0:2::1]:1");
    assert!(matches!(answer, Incoming::Upgraded(..)), "{answer:?}");
}

#[test]
fn those_that_are_refused_for_their_address_take_no_place_from_others() {
    let (mut stage, mut other) = stage_with_room_for_addresses(2);
    let mut kept = Vec::new();
    // Nobody of them ends its side: each lingers.
    for number in 0..60 {
        let (wire, answer) = comes_from(&mut stage, &mut other, 0, &format!("192.0.2.1:{}", 1_000 + number));
        assert_eq!(matches!(answer, Incoming::Upgraded(..)), number < 2, "{number}: {answer:?}");
        kept.push(wire);
    }
    for number in 0..30 {
        let (wire, answer) = comes_from(&mut stage, &mut other, 0, &format!("198.51.100.{number}:1"));
        assert!(matches!(answer, Incoming::Upgraded(..)), "{number}: {answer:?}");
        kept.push(wire);
    }
    assert!(stage.stats().refused >= 58);
    kept.iter_mut().for_each(Wire::reset);
    (0..8).for_each(|_| both_turn(&mut stage, &mut other));
    assert_eq!((stage.stats().connections, stage.shared.counted.addresses.len()), (0, 0));
}

/// A stage where clients have so many bytes for what waits.
fn stage_of_clients(client_bytes: usize) -> Stage {
    let mut config = Config { shards: Some(1), ..Config::default() };
    config.memory.client_bytes = client_bytes;
    Stage::new(config, 4 << 20)
}

/// What a client is told that asks for a pattern of 200 bytes which nobody else has.
fn asks_for_pattern(stage: &mut Stage, player: &mut Player, number: usize) -> Vec<String> {
    player.asks(&json!({"type": "subscribe", "id": 1, "topics": [text(&format!("p{number}/*/"), 200)]}));
    stage.plays(3, player)
}

#[test]
fn patterns_take_half_of_what_waits_and_the_last_eighth_of_that_is_for_who_has_few() {
    const BYTES: usize = 512 << 10;
    let mut stage = stage_of_clients(BYTES);
    let mut greedy = stage.player(Protocol::JsonV1, &topics(&["x"]));
    greedy.reads();
    let count = (0..1_000).find(|&number| is_refused(&asks_for_pattern(&mut stage, &mut greedy, number)));
    let taken = stage.stats().client_bytes as usize;
    let most = BYTES / 2 * 7 / 8;
    assert!(count.is_some() && (most..most + 2_048).contains(&taken), "{taken}");
    // Others have the last eighth, 63 each, and then nobody has more.
    let mut others: Vec<Player> = Vec::new();
    let is_full = |stage: &Stage| stage.stats().client_bytes as usize >= BYTES / 2;
    for number in 1_000..2_000 {
        if number % 60 == 40 || others.is_empty() {
            let mut other = stage.player(Protocol::JsonV1, &topics(&["x"]));
            other.reads();
            others.push(other);
        }
        let other = others.last_mut().expect("one at least");
        if is_refused(&asks_for_pattern(&mut stage, other, number)) {
            break;
        }
        assert!(number < 1_999, "there is an end");
    }
    assert!(is_full(&stage));
    let mut last = stage.player(Protocol::JsonV1, &topics(&["x"]));
    assert!(is_refused(&asks_for_pattern(&mut stage, &mut last, 9_999)), "one past it");
    // Nobody pays for that whose frame comes byte by byte.
    let mut bystander = stage.player(Protocol::JsonV1, &topics(&["x"]));
    bystander.reads();
    bystander.asks(&json!({"type": "ping", "id": text("long", 60)}));
    while bystander.wire.queued() > 0 {
        bystander.wire.write_some(&mut bystander.rng);
        stage.turn_of(&mut []);
    }
    let said = stage.plays(3, &mut bystander);
    assert!(said.iter().any(|text| text.contains("Pong")) && !is_sent_away(&said), "{said:?}");
    // What is given up is there for others.
    greedy.wire.reset();
    stage.plays(20, &mut last);
    assert!(!is_refused(&asks_for_pattern(&mut stage, &mut last, 9_999)));
    assert_eq!(stage.stats().evicted, 0);
}
