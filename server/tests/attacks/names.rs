//! A topic's number is never mistaken for another's, and a publisher whose topic was made anew is heard, or told.

use fanwire::{AccessConfig, Config, Engine, Kind, Priority, PublishAccess};
use serde_json::json;

use super::served::{Client, Served, Wish, frame_of, kind};

fn engine() -> Engine {
    Engine::start(Config {
        listen: vec!["127.0.0.1:0".parse().expect("an address")],
        shards: Some(1),
        cpus: None,
        access: AccessConfig { publish: PublishAccess::Loopback, ..AccessConfig::default() },
        ..Config::default()
    })
    .expect("an engine")
}

/// A raw publisher that has been heard once.
fn raw_publisher(engine: &Engine, subscriber: &mut Client, topic: &str) -> Client {
    let target = format!("/t/{topic}?echo=0");
    let wish = Wish { raw: Some(&target), ..Wish::default() };
    let mut publisher = Client::connect(engine.local_addrs()[0], &wish).expect("a publisher is let in");
    publisher.raw(&frame_of(0x81, b"first"));
    while subscriber.next().expect("it stays connected")["data"] != "first" {}
    publisher
}

#[test]
fn a_raw_publisher_whose_topic_was_made_anew_is_heard_or_told() {
    let engine = engine();
    let mut subscriber = Client::connect(engine.local_addrs()[0], &Wish::default()).expect("a subscriber is let in");
    subscriber.ask(json!({"type": "subscribe", "topics": ["x"]}));
    let mut publisher = raw_publisher(&engine, &mut subscriber, "x");
    assert!(engine.remove_topic("x").expect("a name"));
    subscriber.settle();
    let anew = engine.topic("x").expect("a topic");
    anew.publish(Priority::Normal, Kind::Text, b"anew").expect("room");
    for _ in 0..3 {
        if publisher.try_raw(&frame_of(0x81, b"after")).is_err() {
            break;
        }
    }
    // A ping behind the messages: either it comes back, and then they were taken, or the connection ends.
    let _ = publisher.try_raw(&frame_of(0x89, b"taken?"));
    let is_told = loop {
        match publisher.socket.read() {
            Ok(tungstenite::Message::Pong(_)) => break false,
            Ok(tungstenite::Message::Close(_)) | Err(_) => break true,
            Ok(_) => {}
        }
    };
    let heard = subscriber.settle();
    let heard = heard.iter().filter(|object| object["data"] == "after").count();
    assert!(is_told || heard == 3, "{heard} of 3 messages arrived, and the publisher was told nothing");
    engine.shutdown_now();
}

#[test]
fn a_topic_s_number_does_not_come_back_to_a_publisher_of_an_earlier_one() {
    // More lives than a number's count of them may have bits for.
    const LIVES: usize = 4_200;
    let engine = engine();
    let mut subscriber = Client::connect(engine.local_addrs()[0], &Wish::default()).expect("a subscriber is let in");
    subscriber.ask(json!({"type": "subscribe", "topics": ["mine", "orders/*"]}));
    let mut publisher = raw_publisher(&engine, &mut subscriber, "mine");
    assert!(engine.remove_topic("mine").expect("a name"));
    for life in 0..LIVES {
        let name = format!("orders/{life}");
        let topic = engine.topic(&name).expect("a topic");
        topic.publish(Priority::Normal, Kind::Text, b"real").expect("room");
        while subscriber.next().expect("it stays connected")["topic"] != name.as_str() {}
        // The stranger's message, if it is taken at all, comes before the answer to its ping.
        if life % 50 == 0 || life > 4_050 {
            let _ = publisher.try_raw(&frame_of(0x81, b"from a stranger"));
            let _ = publisher.try_raw(&frame_of(0x89, b"taken?"));
            while !matches!(publisher.socket.read(), Ok(tungstenite::Message::Pong(_)) | Err(_)) {}
        }
        for object in subscriber.settle() {
            // Its own topic may come to be again.
            let is_own = object["topic"] == "mine";
            assert!(is_own || object["data"] != "from a stranger", "on {} after {life} lives", object["topic"]);
        }
        assert!(engine.remove_topic(&name).expect("a name"));
    }
    engine.shutdown_now();
}

#[test]
fn epochs_are_not_the_clock() {
    let now_us = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_micros();
    for _ in 0..3 {
        let before = now_us();
        let server = Served::start("");
        let mut client = server.client();
        let after = now_us();
        client.ask(json!({"type": "subscribe", "topics": ["a", "b"]}));
        let mut epoch = || loop {
            let object = client.next().expect("it stays connected");
            if kind(&object) == "subscribed" {
                return object["epoch"].as_u64().expect("a number");
            }
        };
        let (a, b) = (epoch(), epoch());
        assert!(!(before..=after).contains(&u128::from(a)), "the epoch is the time of the start");
        assert!(a.abs_diff(b) > 1 && a.max(b) < 1 << 53, "{a} and {b}");
    }
}
