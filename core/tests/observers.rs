//! Observers: who comes by a socket that only the host's own can reach hears everything and says nothing.

use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use crate::support::{Bare, addr, config, start, upgrade_request};
use fanwire::{AskHost, DriverChoice, Engine, InheritedSocket, Kind, Listener, Priority, StartError};
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};

on_both_drivers![an_observer_hears_everything_says_nothing_and_nobody_is_asked, nobody_else_comes_by_that_socket,];

/// Connects, as a page of another origin would.
fn observe(path: &Path) -> WebSocket<UnixStream> {
    let mut request = "ws://fanwire/".into_client_request().expect("a request");
    request.headers_mut().insert("Sec-WebSocket-Protocol", "fanwire.json.v1".parse().expect("a value"));
    request.headers_mut().insert("Origin", "http://elsewhere.example".parse().expect("a value"));
    let stream = UnixStream::connect(path).expect("somebody listens");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time-out");
    tungstenite::client(request, stream).expect("it is let in").0
}

/// Says something, and hears the next object of this type.
fn ask(client: &mut WebSocket<UnixStream>, object: &str, kind: &str) -> serde_json::Value {
    client.send(Message::text(object)).expect("it is taken");
    loop {
        let Message::Text(text) = client.read().expect("a message") else { continue };
        let heard: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        if heard["type"] == kind {
            return heard;
        }
    }
}

fn an_observer_hears_everything_says_nothing_and_nobody_is_asked(driver: DriverChoice) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("observers");
    let sockets = [InheritedSocket::for_observers(UnixListener::bind(&path).expect("a socket"))];
    let mut config = config(driver);
    config.shards = Some(2);
    config.events.capacity = 64;
    config.access.ask_host = Some(AskHost { within: Duration::from_secs(5), headers: Vec::new() });
    config.access.allowed_origins = vec!["https://ops.example".parse().expect("an origin")];
    let engine = Engine::start_with(config, &sockets).expect("the engine starts");
    assert_eq!(engine.listeners().len(), 1, "they are no listener of anybody else's");
    let topic = engine.topic("rover/1/imu").expect("a topic");
    for _ in 0..8 {
        let mut observer = observe(&path);
        let heard = ask(&mut observer, r#"{"type":"subscribe","id":1,"topics":["rover/**"]}"#, "subscribed");
        assert_eq!(heard["topic"], "rover/1/imu", "{heard}");
        topic.publish(Priority::Normal, Kind::Text, b"7").expect("room");
        let heard = ask(&mut observer, r#"{"type":"ping","id":2}"#, "message");
        assert_eq!(heard["topic"], "rover/1/imu", "{heard}");
        let refused = ask(&mut observer, r#"{"type":"publish","id":3,"topic":"rover/1/imu","data":1}"#, "error");
        assert_eq!(refused["id"], 3, "{refused}");
    }
    let mut observer = observe(&path);
    let sys = r#"{"type":"subscribe","id":4,"topics":["$sys/shards","$sys/clients","$sys/topics","$sys/gaps"]}"#;
    assert_eq!(ask(&mut observer, sys, "message")["topic"].as_str().map(|topic| &topic[..5]), Some("$sys/"));
    // Who comes by the front door has that origin refused, and is asked about.
    let mut stranger = Bare::connect(addr(&engine));
    let request = upgrade_request("/t/a", None).replacen("\r\n\r\n", "\r\nOrigin: http://elsewhere.example\r\n\r\n", 1);
    stranger.send(request.as_bytes());
    assert!(stranger.response_head().starts_with("HTTP/1.1 403 "));
    engine.shutdown_now();
}

fn nobody_else_comes_by_that_socket(driver: DriverChoice) {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = || UnixListener::bind(folder.path().join("observers")).expect("a socket");
    let mut config = config(driver);
    config.listen = vec!["systemd".parse().expect("a listener")];
    let sockets = [InheritedSocket::for_observers(socket())];
    let error = Engine::start_with(config.clone(), &sockets).expect_err("there is no other");
    assert!(error.to_string().contains("was started with no sockets"), "{error}");
    // No text and no unit file names it.
    assert!("fd::observers".parse::<Listener>().is_err() && "(observers)".parse::<Listener>().is_err());
    config.listen = vec![Listener::inherited(":observers")];
    let error = Engine::start_with(config.clone(), &sockets).expect_err("it is for observers alone");
    assert!(matches!(error, StartError::Config(_)), "{error}");
    let (connected, _peer) = UnixStream::pair().expect("a pair");
    config.listen = vec![([127, 0, 0, 1], 0).into()];
    let error =
        Engine::start_with(config.clone(), &[InheritedSocket::for_observers(connected)]).expect_err("no listener");
    assert!(error.to_string().contains("no stream socket that listens"), "{error}");
    start(config).shutdown_now();
}
