//! What the server states at its start is the most that it takes, whoever holds on to whatever; and what was held is given back.

use std::net::Ipv4Addr;

use serde_json::json;

use super::served::{Client, NAMES, Served, Wish, frame, head_of, topics};

#[test]
fn answers_that_nobody_reads_stay_within_the_stated_sum() {
    let mut server = Served::start(
        "--ring-bytes 1MiB --pool-bytes 16MiB --payload-bytes 16MiB --max-message-bytes 4MiB --lane-bytes 1MiB \
         --max-connections 1000 --max-cursors 10000",
    );
    let stated = server.stated_bytes();
    // Quotes are escaped twice: once for people, once for JSON.
    let names = frame(&topics("unsubscribe", (0..NAMES).map(|i| format!("{}{i:04}", "\"".repeat(240)))).to_string());
    let wish = Wish { is_stranger: true, ..Wish::default() };
    let mut witness = server.client();
    let mut held = Vec::new();
    for _ in 0..100 {
        let mut client = Client::connect(server.address, &wish).expect("a stranger is let in");
        // The server may end it instead.
        let _ = client.try_raw(&names);
        held.push(client);
        witness.settle();
    }
    let resident = server.resident_bytes();
    assert!(resident <= stated, "{resident} bytes in memory, {stated} stated");
}

#[test]
fn half_messages_do_not_take_the_room_that_publishing_needs() {
    let server = Served::start("--payload-bytes 32MiB --max-message-bytes 8MiB --max-connections 2000");
    let mut subscriber = server.client();
    subscriber.ask(json!({"type": "subscribe", "topics": ["camera"]}));
    subscriber.settle();
    let mut held = Vec::new();
    for (bytes, clients) in [(7 << 20, 8), (500 << 10, 100), (60 << 10, 300), (20 << 10, 300)] {
        for _ in 0..clients {
            let mut stranger = server.stranger();
            // One byte of it never comes. What the server does not take is its right.
            let mut begun = head_of(0x81, bytes as u64 + 1);
            begun.resize(begun.len() + bytes, b'x');
            let _ = stranger.try_raw(&begun);
            held.push(stranger);
        }
    }
    let mut publisher = server.client();
    publisher.ask(json!({"type": "publish", "topic": "camera", "data": "x".repeat(30_000)}));
    assert!(publisher.settle().is_empty());
    while subscriber.next().expect("it stays connected")["type"] != "message" {}
}

#[test]
fn topics_that_only_subscribers_named_are_given_back() {
    let server = Served::start("--max-topics 3000");
    for client in 0..8 {
        let mut stranger = server.stranger();
        stranger.ask(topics("subscribe", (0..NAMES).map(|i| format!("junk/{client}/{i}"))));
        stranger.settle();
    }
    let mut publisher = server.client();
    // They are all on their way out: then there is room again.
    let is_taken = (0..5_000).any(|_| {
        publisher.ask(json!({"type": "publish", "topic": "rover/1/imu", "data": 1}));
        publisher.settle().is_empty()
    });
    assert!(is_taken, "strangers have named so many topics that nobody can publish");
}

#[test]
fn silent_sockets_of_one_address_keep_nobody_out() {
    const CONNECTIONS: usize = 100;
    let server = Served::start(&format!("--max-connections {CONNECTIONS}"));
    let silent: Vec<_> =
        (0..CONNECTIONS + 50).filter_map(|_| std::net::TcpStream::connect(server.address).ok()).collect();
    assert!(silent.len() >= CONNECTIONS);
    for newcomer in 0..10 {
        let wish = Wish { from: Some(Ipv4Addr::new(127, 0, 0, 2 + newcomer)), ..Wish::default() };
        let came = Client::connect(server.address, &wish);
        assert!(came.is_ok(), "newcomer {newcomer}: {:?}", came.err().map(|error| error.to_string()));
    }
}

#[test]
fn patterns_of_strangers_take_no_room_from_what_others_send() {
    let server = Served::start("--client-bytes 1MiB");
    let mut held = Vec::new();
    // Large ones first, then what fills the last gap.
    for (count, bytes, clients) in [(250, 200, 8), (1, 20, 40)] {
        for client in 0..clients {
            let mut stranger = server.stranger();
            let name = |i| format!("{client}/{bytes}/{i}/{}/*", "x".repeat(bytes));
            // It may be refused, or sent away: that is the server's right.
            let _ = stranger.try_raw(&frame(&topics("subscribe", (0..count).map(name)).to_string()));
            held.push(stranger);
        }
    }
    let request = frame(r#"{"type":"ping","id":"halves"}"#);
    for _ in 0..20 {
        let mut client = server.client();
        for half in request.chunks(request.len() / 2 + 1) {
            client.raw(half);
            // The server has looked at the first one when it answers somebody else.
            server.client().settle();
        }
        assert_eq!(client.next().expect("it is not sent away")["id"], "halves");
    }
}
