//! Behind a proxy, on both drivers: the PROXY protocol and X-Forwarded-For on real sockets.

use crate::support::{Bare, addr, config, from_elsewhere, start, upgrade_request, wait_until};
use fanwire::{Config, DriverChoice, Event, Events};

on_both_drivers![
    a_proxied_listener_takes_headers_from_trusted_proxies_alone,
    a_header_in_two_packets_and_one_with_the_request_are_the_same,
    x_forwarded_for_gives_each_client_behind_a_proxy_its_own_share,
];

/// Of clients on this machine, whoever is at 127.0.0.1 is a proxy.
fn proxied_config(driver: DriverChoice, listener: &str) -> Config {
    let mut config = config(driver);
    config.listen = vec![listener.parse().expect("a listener")];
    config.access.trusted_proxies = vec!["127.0.0.1".parse().expect("an address")];
    config.limits.connections_per_address_max = 1;
    config.events.capacity = 100;
    config.shards = Some(1);
    config
}

fn header(client: [u8; 4]) -> Vec<u8> {
    [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".as_slice(), &client, &[10, 0, 0, 9, 0x12, 0x34, 0x23, 0x29]].concat()
}

fn opened(events: &mut Events, count: usize) -> Vec<String> {
    let mut peers = Vec::new();
    wait_until("they are told of", || {
        while let Some(event) = events.next() {
            if let Event::Opened { peer, .. } = event {
                peers.push(peer.expect("an address").to_string());
            }
        }
        peers.len() >= count
    });
    peers
}

fn a_proxied_listener_takes_headers_from_trusted_proxies_alone(driver: DriverChoice) {
    let mut engine = start(proxied_config(driver, "127.0.0.1:0?proxy"));
    let mut events = engine.events().expect("there is a capacity");
    let mut stranger = from_elsewhere(addr(&engine));
    stranger.send(&header([203, 0, 113, 1]));
    stranger.send(upgrade_request("/t/news", None).as_bytes());
    assert_eq!(stranger.response_head(), "", "not a word");
    let mut past = Bare::connect(addr(&engine));
    past.send(upgrade_request("/t/news", None).as_bytes());
    assert_eq!(past.response_head(), "", "not a word");
    wait_until("both are counted", || engine.stats().total.proxy_refused == 2);
    assert_eq!(engine.stats().total.accepted, 0);
    let mut clients = Vec::new();
    for (last, status) in [(1, "101"), (1, "429"), (2, "101")] {
        let mut client = Bare::connect(addr(&engine));
        client.send(&[&header([203, 0, 113, last])[..], upgrade_request("/t/news", None).as_bytes()].concat());
        let head = client.response_head();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        clients.push(client);
    }
    assert_eq!(opened(&mut events, 2), ["203.0.113.1:4660", "203.0.113.2:4660"]);
    engine.shutdown_now();
}

fn a_header_in_two_packets_and_one_with_the_request_are_the_same(driver: DriverChoice) {
    let engine = start(proxied_config(driver, "127.0.0.1:0?proxy"));
    let request = upgrade_request("/t/news", None);
    for (last, cut) in [(1, 1), (2, 16), (3, 27), (4, 28), (5, 40)] {
        let bytes = [&header([203, 0, 113, last])[..], request.as_bytes()].concat();
        let mut client = Bare::connect(addr(&engine));
        client.send(&bytes[..cut]);
        // The engine has seen the first part when it has served another one since.
        let mut other = Bare::connect(addr(&engine));
        other.send(&[&header([203, 0, 114, last])[..], request.as_bytes()].concat());
        assert!(other.response_head().starts_with("HTTP/1.1 101 "));
        client.send(&bytes[cut..]);
        assert!(client.response_head().starts_with("HTTP/1.1 101 "), "{cut}");
    }
    engine.shutdown_now();
}

fn x_forwarded_for_gives_each_client_behind_a_proxy_its_own_share(driver: DriverChoice) {
    let mut engine = start(proxied_config(driver, "127.0.0.1:0"));
    let mut events = engine.events().expect("there is a capacity");
    let mut clients = Vec::new();
    for (list, status) in [
        ("198.51.100.1, 203.0.113.1", "101"),
        ("198.51.100.2, 203.0.113.1", "429"),
        ("203.0.113.2", "101"),
        ("203.0.113.2, 127.0.0.1", "429"),
    ] {
        let mut client = Bare::connect(addr(&engine));
        let line = format!("X-Forwarded-For: {list}\r\nUpgrade: ");
        client.send(upgrade_request("/t/news", None).replacen("Upgrade: ", &line, 1).as_bytes());
        let head = client.response_head();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{list}: {head}");
        clients.push(client);
    }
    assert_eq!(opened(&mut events, 2), ["203.0.113.1:0", "203.0.113.2:0"]);
    // Somebody else's word is not believed.
    let mut stranger = from_elsewhere(addr(&engine));
    stranger.send(
        upgrade_request("/t/news", None).replacen("Upgrade: ", "X-Forwarded-For: 1.2.3.4\r\nUpgrade: ", 1).as_bytes(),
    );
    assert!(stranger.response_head().starts_with("HTTP/1.1 101 "));
    assert!(opened(&mut events, 1)[0].starts_with("127.0.0.2:"));
    engine.shutdown_now();
}
