//! The engine through its public interface, with an independent client (tungstenite), on both drivers.

use std::net::TcpStream;
use std::time::Duration;

use fanwire::{Config, DriverChoice, Engine, Kind, Priority};
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};

const PATIENCE: Duration = Duration::from_secs(20);

fn config(driver: DriverChoice, shards: usize) -> Config {
    Config {
        listen: vec![([127, 0, 0, 1], 0).into()],
        shards: Some(shards),
        driver,
        connections_max: 1_000,
        ..Config::default()
    }
}

fn connect(engine: &Engine, path: &str, protocol: Option<&str>) -> WebSocket<TcpStream> {
    let address = engine.local_addrs()[0];
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
    if let Some(protocol) = protocol {
        request.headers_mut().insert("Sec-WebSocket-Protocol", protocol.parse().unwrap());
    }
    tungstenite::client(request, stream).unwrap().0
}

fn text(socket: &mut WebSocket<TcpStream>) -> String {
    match socket.read().unwrap() {
        Message::Text(text) => text.to_string(),
        other => panic!("expected text, got {other:?}"),
    }
}

fn on_both(test: impl Fn(DriverChoice)) {
    test(DriverChoice::Epoll);
    test(DriverChoice::Uring);
}

#[test]
fn a_raw_subscriber_gets_messages_verbatim_and_the_last_value_first() {
    on_both(|driver| {
        let engine = Engine::start(config(driver, 2)).unwrap();
        let topic = engine.topic("a/b").unwrap();
        topic.publish(Priority::Normal, Kind::Text, b"before").unwrap();
        let mut socket = connect(&engine, "/t/a/b", None);
        assert_eq!(text(&mut socket), "before");
        for i in 0..1_000 {
            topic.publish(Priority::Normal, Kind::Text, format!("message {i}").as_bytes()).unwrap();
        }
        for i in 0..1_000 {
            assert_eq!(text(&mut socket), format!("message {i}"));
        }
        let big: Vec<u8> = (0..5_000_000u32).map(|i| (i * 7) as u8).collect();
        topic.publish(Priority::Normal, Kind::Binary, &big).unwrap();
        assert_eq!(socket.read().unwrap(), Message::Binary(big.into()));
    });
}

/// A client that offers names takes no answer without one of them.
#[test]
fn raw_can_be_asked_for_by_name_and_what_else_is_offered_is_not_repeated() {
    on_both(|driver| {
        let engine = Engine::start(config(driver, 1)).unwrap();
        let topic = engine.topic("a").unwrap();
        topic.publish(Priority::Normal, Kind::Text, b"as it is").unwrap();
        for offer in
            ["fanwire.raw.v1", "fanwire.token.eyJh.eyJz.c2ln, fanwire.raw.v1", "x, fanwire.raw.v1, fanwire.json.v1"]
        {
            let mut socket = connect(&engine, "/t/a", Some(offer));
            assert_eq!(text(&mut socket), "as it is", "{offer}");
        }
    });
}

#[test]
fn a_json_subscriber_is_welcomed_and_told_what_it_subscribed() {
    on_both(|driver| {
        let mut config = config(driver, 1);
        config.access.publish = fanwire::PublishAccess::Loopback;
        let engine = Engine::start(config).unwrap();
        let mut socket = connect(&engine, "/", Some("fanwire.json.v1"));
        assert!(text(&mut socket).contains(r#""type":"welcome""#));
        socket.send(Message::text(r#"{"type":"subscribe","id":7,"topics":["x/*","y"]}"#)).unwrap();
        let subscribed = text(&mut socket);
        assert!(subscribed.contains(r#""topic":"y""#) && subscribed.contains(r#""id":7"#), "{subscribed}");
        let topic = engine.topic("x/1").unwrap();
        topic.publish(Priority::Critical, Kind::Json, br#"{"v": 1}"#).unwrap();
        assert!(text(&mut socket).contains(r#""topic":"x/1""#));
        let message = text(&mut socket);
        assert!(message.contains(r#""data":{"v": 1}"#) && message.contains(r#""priority":"critical""#), "{message}");
        socket.send(Message::text(r#"{"type":"publish","topic":"y","data":[1,  2]}"#)).unwrap();
        assert!(text(&mut socket).contains(r#""data":[1,  2]"#));
        socket.send(Message::text("{")).unwrap();
        assert!(text(&mut socket).contains(r#""type":"error""#));
        socket.send(Message::text(r#"{"type":"ping","id":"p"}"#)).unwrap();
        assert_eq!(text(&mut socket), r#"{"type":"pong","id":"p"}"#);
        let report = std::thread::spawn(move || engine.shutdown(PATIENCE));
        match socket.read().unwrap() {
            Message::Close(Some(frame)) => assert_eq!(u16::from(frame.code), 1001),
            other => panic!("expected close, got {other:?}"),
        }
        while socket.read().is_ok() {}
        drop(socket);
        assert!(report.join().unwrap().is_clean);
    });
}

#[test]
fn a_message_with_a_key_waits_for_room() {
    on_both(|driver| {
        let policy = fanwire::SlowPolicy::Latest;
        let topics = vec![fanwire::TopicConfig { policy, ..fanwire::TopicConfig::default() }];
        let mut config = Config { topics, ..config(driver, 1) };
        config.limits.message_bytes_max = 1 << 20;
        config.memory.payload_bytes = 2 << 20;
        let engine = Engine::start(config).unwrap();
        let topic = engine.topic("t").unwrap();
        let mut socket = connect(&engine, "/t/t", None);
        let full: Vec<_> = std::iter::from_fn(|| topic.claim(400_000).ok()).collect();
        let big = vec![b'x'; 1 << 20];
        let message = fanwire::Message { key: Some("k"), payload: &big, kind: Kind::Text, ..Default::default() };
        let refused = topic.publish_message_timeout(&message, Duration::from_millis(20));
        assert_eq!(refused, Err(fanwire::PublishError::WouldBlock));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| topic.publish_message_timeout(&message, PATIENCE));
            drop(full);
            waiting.join().unwrap().unwrap();
        });
        assert_eq!(text(&mut socket).len(), big.len());
        let small = fanwire::Message { payload: b"small", ..message };
        topic.publish_message_timeout(&small, Duration::ZERO).unwrap();
        assert_eq!(text(&mut socket), "small");
    });
}
