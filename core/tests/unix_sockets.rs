//! Unix sockets to listen at, and sockets that a process was started with, on both drivers.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use crate::support::{addr, config, start, upgrade_request, wait_until};
use fanwire::{Config, DriverChoice, Engine, Event, InheritedSocket, Kind, Listener, Place, Priority, StartError};

on_both_drivers![
    a_unix_socket_serves_several_shards_and_is_gone_at_the_end,
    a_socket_that_is_left_over_is_replaced_and_one_that_is_in_use_is_not,
    a_proxy_at_a_unix_socket_is_believed_where_that_is_said,
    inherited_sockets_are_served_and_go_on_listening,
];

fn unix_config(driver: DriverChoice, path: &Path) -> Config {
    Config { listen: vec![Listener::unix(path)], ..config(driver) }
}

/// What is answered to a request.
fn answer(mut stream: impl Read + Write, request: &str) -> (String, impl Read + Write) {
    stream.write_all(request.as_bytes()).expect("the server takes it");
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).expect("an answer") == 1 {
        head.push(byte[0]);
    }
    (String::from_utf8(head).expect("text"), stream)
}

fn connect(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).expect("somebody listens");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time-out");
    stream
}

fn a_unix_socket_serves_several_shards_and_is_gone_at_the_end(driver: DriverChoice) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("fanwire.sock");
    let mut config = unix_config(driver, &path);
    config.shards = Some(2);
    config.limits.connections_per_address_max = 1;
    let engine = start(config);
    assert_eq!(engine.listeners(), [Listener::unix(&path)]);
    assert!(engine.local_addrs().is_empty());
    assert_eq!(std::fs::metadata(&path).expect("a socket").permissions().mode() & 0o777, 0o660);
    let request = upgrade_request("/t/news", None);
    let mut clients: Vec<_> = (0..50)
        .map(|_| {
            // Who has no address is not counted for one.
            let (head, stream) = answer(connect(&path), &request);
            assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
            stream
        })
        .collect();
    let topic = engine.topic("news").expect("a topic");
    let payload = vec![b'x'; 60_000];
    topic.publish(Priority::Normal, Kind::Binary, &payload).expect("room");
    for client in &mut clients {
        let mut frame = vec![0; 4 + payload.len()];
        client.read_exact(&mut frame).expect("the message");
        assert_eq!(frame[4..], payload);
    }
    drop(clients.pop());
    wait_until("it is gone", || engine.stats().total.connections == 49);
    let report = engine.shutdown(Duration::from_secs(30));
    assert!(report.is_clean || report.cut_off > 0);
    assert!(!path.exists());
}

fn a_socket_that_is_left_over_is_replaced_and_one_that_is_in_use_is_not(driver: DriverChoice) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("fanwire.sock");
    drop(UnixListener::bind(&path).expect("a socket"));
    assert!(path.exists(), "left over");
    let engine = start(unix_config(driver, &path));
    let second = Engine::start(unix_config(driver, &path)).expect_err("the first one is there");
    assert!(
        matches!(second, StartError::Listen { .. }) && second.to_string().contains("somebody listens there"),
        "{second}"
    );
    assert!(
        answer(connect(&path), &upgrade_request("/t/a", None)).0.starts_with("HTTP/1.1 101 "),
        "still the first one's"
    );
    // Somebody else has taken the path meanwhile: that one's file stays.
    std::fs::remove_file(&path).expect("a file");
    let others = UnixListener::bind(&path).expect("the path is free");
    let inode = std::fs::metadata(&path).expect("a file").ino();
    engine.shutdown_now();
    assert_eq!(std::fs::metadata(&path).expect("a file").ino(), inode);
    drop(others);

    std::fs::remove_file(&path).expect("a file");
    std::fs::write(&path, "important").expect("a file");
    let error = Engine::start(unix_config(driver, &path)).expect_err("that is no socket");
    assert!(error.to_string().contains("a file that is no socket"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).expect("a file"), "important");
    let nowhere = folder.path().join("no/such/folder.sock");
    assert!(matches!(Engine::start(unix_config(driver, &nowhere)), Err(StartError::Listen { .. })));
}

fn a_proxy_at_a_unix_socket_is_believed_where_that_is_said(driver: DriverChoice) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("fanwire.sock");
    for (trusted, expected) in [(&["unix"][..], Some("203.0.113.1:0")), (&["127.0.0.0/8"], None)] {
        let mut config = unix_config(driver, &path);
        config.access.trusted_proxies = trusted.iter().map(|text| text.parse().expect("a proxy")).collect();
        config.events.capacity = 10;
        let mut engine = start(config);
        let mut events = engine.events().expect("there is a capacity");
        let line = "X-Forwarded-For: 198.51.100.1, 203.0.113.1\r\nUpgrade: ";
        let request = upgrade_request("/t/news", None).replacen("Upgrade: ", line, 1);
        let (head, _kept) = answer(connect(&path), &request);
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let mut opened = None;
        wait_until("the host is told", || {
            opened = opened.take().or_else(|| events.next());
            opened.is_some()
        });
        let Some(Event::Opened { peer, .. }) = opened else { panic!("{opened:?}") };
        assert_eq!(peer.map(|peer| peer.to_string()).as_deref(), expected);
        engine.shutdown_now();
    }
}

fn inherited_sockets_are_served_and_go_on_listening(driver: DriverChoice) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("fanwire.sock");
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
    let to = tcp.local_addr().expect("an address");
    let unix = UnixListener::bind(&path).expect("a socket");
    let sockets = [
        InheritedSocket { name: "web".into(), socket: tcp.into() },
        InheritedSocket { name: "local".into(), socket: unix.into() },
    ];
    let mut config = config(driver);
    config.shards = Some(2);
    config.listen = vec![Listener::inherited("local"), "systemd".parse().expect("a listener")];
    let request = upgrade_request("/t/news", None);
    for _ in 0..2 {
        let engine = Engine::start_with(config.clone(), &sockets).expect("the engine starts");
        assert_eq!(
            engine.listeners().iter().map(|l| l.place.clone()).collect::<Vec<_>>(),
            [Place::Path(path.clone()), Place::Address(to)]
        );
        assert_eq!(addr(&engine), to);
        for _ in 0..10 {
            let stream = TcpStream::connect(to).expect("somebody listens");
            assert!(answer(stream, &request).0.starts_with("HTTP/1.1 101 "));
            assert!(answer(connect(&path), &request).0.starts_with("HTTP/1.1 101 "));
        }
        engine.shutdown_now();
        assert!(path.exists(), "whoever has made it removes it");
    }
    // Nobody serves now, and nobody is refused: it waits for the next one.
    let early = TcpStream::connect(to).expect("the socket listens");
    let engine = Engine::start_with(config.clone(), &sockets).expect("the engine starts");
    assert!(answer(early, &request).0.starts_with("HTTP/1.1 101 "));
    engine.shutdown_now();

    config.listen = vec![Listener::inherited("other")];
    let error = Engine::start_with(config.clone(), &sockets).expect_err("no such name").to_string();
    assert!(error.contains("fd:other") && error.contains("web, local"), "{error}");
    let error = Engine::start(config.clone()).expect_err("none at all").to_string();
    assert!(error.contains("was started with no sockets"), "{error}");
    let (connected, _peer) = UnixStream::pair().expect("a pair");
    let wrong = [InheritedSocket { name: "other".into(), socket: connected.into() }];
    let error = Engine::start_with(config, &wrong).expect_err("it does not listen").to_string();
    assert!(error.contains("no stream socket that listens"), "{error}");
}
