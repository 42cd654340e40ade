//! Silent sockets of one address shut nobody out: connections before their upgrade have a quota of their own.

use crate::support::{
    Bare, addr, config, from_elsewhere, masked, settle, start, subscribe, upgrade_request, wait_until,
};
use fanwire::{DriverChoice, Engine};

on_both_drivers![
    silent_sockets_of_one_address_push_out_their_own_and_nobody_else,
    a_refused_client_that_lingers_is_counted_until_it_is_gone,
    an_address_has_so_many_connections_over_all_shards_and_one_more_is_told_429,
    an_address_that_comes_too_often_is_told_429_on_every_shard,
    a_client_that_sends_too_fast_is_slowed_down_and_loses_nothing,
];

const QUOTA: u32 = 8;

fn crowded(driver: DriverChoice) -> Engine {
    let mut config = config(driver);
    config.connections_max = 20;
    config.limits.handshakes_max = QUOTA;
    start(config)
}

fn silent_sockets_of_one_address_push_out_their_own_and_nobody_else(driver: DriverChoice) {
    let engine = crowded(driver);
    let mut old = subscribe(addr(&engine), &["news"]);
    let open = |count: u64| {
        let before = engine.stats().total.accepted;
        let sockets: Vec<Bare> = (0..count).map(|_| Bare::connect(addr(&engine))).collect();
        wait_until("all are accepted", || engine.stats().total.accepted == before + count);
        sockets
    };
    // The quota exactly, and nobody goes.
    let full = open(QUOTA.into());
    assert_eq!(engine.stats().total.refused, 0);

    let mut newcomer = from_elsewhere(addr(&engine));
    let request = upgrade_request("/t/news", None);
    let (half, rest) = request.split_at(request.len() / 2);
    newcomer.send(half.as_bytes());
    wait_until("the oldest makes room", || engine.stats().total.refused == 1);
    // Many times more than there is room for.
    let flood = open(60);
    wait_until("each makes room", || engine.stats().total.refused == 61);
    wait_until("so many are left", || engine.stats().total.connections == 1 + u64::from(QUOTA));

    newcomer.send(rest.as_bytes());
    assert!(newcomer.response_head().starts_with("HTTP/1.1 101 "));
    settle(&mut old);
    let mut oldest = full.into_iter().next().expect("it was opened");
    assert!(oldest.response_head().starts_with("HTTP/1.1 503 "));
    oldest.read_to_end();
    drop(flood);
    engine.shutdown_now();
}

fn a_refused_client_that_lingers_is_counted_until_it_is_gone(driver: DriverChoice) {
    let engine = crowded(driver);
    // Answered with 404 and waited for: they close nothing.
    let refused: Vec<Bare> = (0..u64::from(QUOTA) + 3)
        .map(|n| {
            let mut client = Bare::connect(addr(&engine));
            client.send(upgrade_request("/nowhere", None).as_bytes());
            assert!(client.response_head().starts_with("HTTP/1.1 404 "), "number {n}");
            client
        })
        .collect();
    wait_until("three made room", || engine.stats().total.refused == 3);
    wait_until("the others linger", || engine.stats().total.connections == u64::from(QUOTA));
    drop(refused);
    wait_until("they are gone", || engine.stats().total.connections == 0);
    let held: Vec<Bare> = (0..QUOTA).map(|_| Bare::connect(addr(&engine))).collect();
    wait_until("there is room again", || engine.stats().total.connections == u64::from(QUOTA));
    assert_eq!(engine.stats().total.refused, 3);
    drop(held);
    engine.shutdown_now();
}

fn an_address_has_so_many_connections_over_all_shards_and_one_more_is_told_429(driver: DriverChoice) {
    const EACH: usize = 24;
    let mut config = config(driver);
    config.shards = Some(2);
    config.limits.connections_per_address_max = EACH as u32;
    let engine = start(config);
    let mut clients: Vec<Bare> = (0..3 * EACH).map(|_| Bare::connect(addr(&engine))).collect();
    for client in &mut clients {
        client.send(upgrade_request("/t/news", None).as_bytes());
    }
    let mut open = Vec::new();
    for mut client in clients {
        let head = client.response_head();
        if head.starts_with("HTTP/1.1 101 ") {
            open.push(client);
        } else {
            assert!(head.starts_with("HTTP/1.1 429 ") && head.contains("\r\nRetry-After: "), "{head}");
            client.read_to_end();
        }
    }
    assert_eq!(open.len(), EACH);
    wait_until("the others are gone", || engine.stats().total.connections == EACH as u64);
    assert_eq!(engine.stats().total.refused, 2 * EACH as u64);
    // Another address has its own share.
    let mut newcomer = from_elsewhere(addr(&engine));
    newcomer.send(upgrade_request("/t/news", None).as_bytes());
    assert!(newcomer.response_head().starts_with("HTTP/1.1 101 "));
    // Who leaves makes room for one.
    drop(open.pop());
    wait_until("it is gone", || engine.stats().total.connections == EACH as u64);
    let mut next = Bare::connect(addr(&engine));
    next.send(upgrade_request("/t/news", None).as_bytes());
    assert!(next.response_head().starts_with("HTTP/1.1 101 "));
    let mut one_more = Bare::connect(addr(&engine));
    one_more.send(upgrade_request("/t/news", None).as_bytes());
    assert!(one_more.response_head().starts_with("HTTP/1.1 429 "));
    engine.shutdown_now();
}

fn an_address_that_comes_too_often_is_told_429_on_every_shard(driver: DriverChoice) {
    let mut config = config(driver);
    config.shards = Some(2);
    // The next one may come a minute later.
    config.limits.upgrades_per_address_per_minute_max = 1;
    let engine = start(config);
    let answer = |mut client: Bare| {
        client.send(upgrade_request("/t/news", None).as_bytes());
        (client.response_head(), client)
    };
    let (head, _open) = answer(Bare::connect(addr(&engine)));
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    for _ in 0..20 {
        let (head, _) = answer(Bare::connect(addr(&engine)));
        assert!(head.starts_with("HTTP/1.1 429 ") && head.contains("\r\nRetry-After: "), "{head}");
    }
    assert!(answer(from_elsewhere(addr(&engine))).0.starts_with("HTTP/1.1 101 "));
    assert_eq!(engine.stats().total.refused_too_often, 20);
    engine.shutdown_now();
}

fn a_client_that_sends_too_fast_is_slowed_down_and_loses_nothing(driver: DriverChoice) {
    const MESSAGES: usize = 150;
    let mut config = config(driver);
    config.access.publish = fanwire::PublishAccess::Everyone;
    config.limits.inbound_messages_per_second_max = 100;
    let engine = start(config);
    let mut client = Bare::connect(addr(&engine));
    client.send(upgrade_request("/t/news", None).as_bytes());
    assert!(client.response_head().starts_with("HTTP/1.1 101 "));
    // At once: a second's worth, and half of another one's.
    client.send(&masked(0x81, b"x").repeat(MESSAGES));
    wait_until("all are read", || engine.stats().total.received == MESSAGES as u64);
    let stats = engine.stats().total;
    assert!(stats.input_paused > 0 && stats.too_fast == 0, "{stats:?}");
    engine.shutdown_now();
}
