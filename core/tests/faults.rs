//! Faults of the host and of peers against a live engine: no descriptors, no room, every way in which a connection ends.
#![allow(clippy::disallowed_methods, reason = "tests live in real time")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use fanwire::{Config, DriverChoice, Engine, Event, Kind, Priority, SlowPolicy, TopicConfig};
use rustix::net::{AddressFamily, SocketType};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::{
    Bare, JSON, PATIENCE, addr, config, connect, elapsed_ms, masked, next_payload, pause, start, try_connect,
    upgrade_request, wait_until,
};

on_both_drivers![
    a_full_table_answers_everybody_and_drops_nobody,
    silent_connections_beyond_the_table_wait_and_are_served_later,
    every_close_is_seen_by_a_peer_that_does_nothing,
    a_storm_of_connects_does_not_keep_a_shutdown_from_ending,
];

fn publish(engine: &Engine, topic: &str, priority: Priority, payload: &[u8]) {
    let topic = engine.topic(topic).expect("a sound topic");
    topic.publish_timeout(priority, Kind::Text, payload, PATIENCE).expect("the engine takes it");
}

/// `table` connections, shared by two shards.
fn small_table(driver: DriverChoice, table: u32) -> Engine {
    let mut config = config(driver);
    config.shards = Some(2);
    config.connections_max = table;
    // The kernel spreads connections as it likes: left to the engine, each shard has room for all of them before their upgrade.
    config.limits.handshakes_max = 0;
    start(config)
}

fn a_full_table_answers_everybody_and_drops_nobody(driver: DriverChoice) {
    let engine = small_table(driver, 64);
    let mut clients: Vec<Bare> = (0..300).map(|_| Bare::connect(addr(&engine))).collect();
    for client in &mut clients {
        client.send(upgrade_request("/t/x", None).as_bytes());
    }
    let mut open = Vec::new();
    let mut refused = 0;
    for (i, mut client) in clients.into_iter().enumerate() {
        // An end of stream without an answer is a head without words: accepted, and then dropped.
        let head = client.response_head();
        if head.starts_with("HTTP/1.1 101 ") {
            open.push(client);
        } else {
            assert!(head.starts_with("HTTP/1.1 503 "), "client {i} was told {head:?}");
            refused += 1;
            client.read_to_end();
        }
    }
    assert_eq!((open.len(), refused), (64, 236));
    wait_until("the counters agree with the clients", || {
        let total = engine.stats().total;
        (total.accepted, total.refused, total.upgraded, total.connections) == (300, 236, 64, 64)
    });
    publish(&engine, "x", Priority::Normal, b"still here");
    for client in &mut open {
        assert_eq!(client.frame().expect("it is connected").payload, b"still here");
    }
    engine.shutdown_now();
}

fn silent_connections_beyond_the_table_wait_and_are_served_later(driver: DriverChoice) {
    let mut config = config(driver);
    config.connections_max = 8;
    config.limits.handshakes_max = 8;
    config.limits.handshake_timeout = PATIENCE * 4;
    let engine = start(config);
    // More than the table and what is kept to say 503 with: the rest stays in the kernel's backlog.
    let mut clients: Vec<Bare> = (0..300).map(|_| Bare::connect(addr(&engine))).collect();
    wait_until("the table is full", || engine.stats().total.connections >= 8);
    for client in &mut clients {
        client.send(upgrade_request("/t/x", None).as_bytes());
    }
    let (mut served, mut refused) = (0, 0);
    for mut client in clients {
        let head = client.response_head();
        if head.starts_with("HTTP/1.1 101 ") {
            served += 1;
        } else {
            assert!(head.starts_with("HTTP/1.1 503 "), "{head:?}");
            refused += 1;
        }
        // Leaving makes room for those that wait.
    }
    assert_eq!(served + refused, 300);
    assert!(served >= 8, "{served} were served");
    engine.shutdown_now();
}

/// A peer that is connected, and how it came to be.
struct Ending {
    name: &'static str,
    tune: fn(&mut Config),
    /// Brings the end about; what comes back is the peer.
    act: fn(Engine, SocketAddr) -> (Option<Engine>, Bare),
    /// What the peer is told at the end: 0 is an end of stream without a close frame.
    codes: &'static [u16],
}

fn open(addr: SocketAddr) -> Bare {
    Bare::upgraded(addr, "/t/x", None)
}

const ENDINGS: &[Ending] = &[
    Ending {
        name: "nothing was ever sent",
        tune: |config| config.limits.handshake_timeout = Duration::from_millis(100),
        act: |engine, addr| (Some(engine), Bare::connect(addr)),
        codes: &[0],
    },
    Ending {
        name: "half a request",
        tune: |config| config.limits.handshake_timeout = Duration::from_millis(100),
        act: |engine, addr| {
            let mut peer = Bare::connect(addr);
            peer.send(b"GET / HTTP/1.1\r\nHost: ");
            assert!(peer.response_head().starts_with("HTTP/1.1 408 "));
            (Some(engine), peer)
        },
        codes: &[0],
    },
    Ending {
        name: "a wrong request",
        tune: |_| {},
        act: |engine, addr| {
            let mut peer = Bare::connect(addr);
            peer.send(b"NONSENSE\r\n\r\n");
            assert!(peer.response_head().starts_with("HTTP/1.1 400 "));
            (Some(engine), peer)
        },
        codes: &[0],
    },
    Ending {
        name: "one too many",
        tune: |config| config.connections_max = 1,
        act: |engine, addr| {
            std::mem::forget(open(addr));
            let mut peer = Bare::connect(addr);
            assert!(peer.response_head().starts_with("HTTP/1.1 503 "));
            (Some(engine), peer)
        },
        codes: &[0],
    },
    Ending {
        name: "a frame that is not masked",
        tune: |_| {},
        act: |engine, addr| {
            let mut peer = open(addr);
            peer.send(&[0x81, 1, b'x']);
            (Some(engine), peer)
        },
        codes: &[1002],
    },
    Ending {
        name: "text that is not UTF-8",
        tune: |_| {},
        act: |engine, addr| {
            let mut peer = open(addr);
            peer.send(&masked(0x81, &[0xff]));
            (Some(engine), peer)
        },
        codes: &[1007],
    },
    Ending {
        name: "a message that is too large",
        tune: |config| config.limits.message_bytes_max = 1_000,
        act: |engine, addr| {
            let mut peer = open(addr);
            peer.send(&masked(0x82, &[0; 1_001]));
            (Some(engine), peer)
        },
        codes: &[1009],
    },
    Ending {
        name: "the peer's own close",
        tune: |_| {},
        act: |engine, addr| {
            let mut peer = open(addr);
            peer.send(&masked(0x88, &1000u16.to_be_bytes()));
            (Some(engine), peer)
        },
        codes: &[1000],
    },
    Ending {
        name: "the peer's FIN",
        tune: |_| {},
        act: |engine, addr| {
            let peer = open(addr);
            peer.stream.shutdown(Shutdown::Write).expect("a live socket");
            (Some(engine), peer)
        },
        codes: &[0],
    },
    Ending {
        name: "the host's close",
        tune: |config| config.events.capacity = 64,
        act: |mut engine, addr| {
            let mut events = engine.events().expect("events were asked for");
            let peer = open(addr);
            wait_until("the host hears of it", || match events.wait(Duration::from_millis(100)) {
                Some(Event::Opened { connection, .. }) => engine.close(connection, 4001, "enough").is_ok(),
                _ => false,
            });
            (Some(engine), peer)
        },
        codes: &[4001],
    },
    Ending {
        name: "no answer to a ping",
        tune: |config| config.limits.ping_every = Duration::from_millis(100),
        act: |engine, addr| (Some(engine), open(addr)),
        codes: &[1011],
    },
    Ending {
        name: "idle for too long",
        tune: |config| config.limits.idle_timeout = Duration::from_millis(100),
        act: |engine, addr| (Some(engine), open(addr)),
        codes: &[1001],
    },
    Ending {
        name: "too slow for critical messages",
        tune: |config| config.memory.lane_bytes = 64 << 10,
        act: |engine, addr| {
            let peer = Bare::connect_thin(addr).upgrade("/t/x", None);
            flood_until(&engine, Priority::Critical, |engine| engine.stats().total.evicted > 0);
            (Some(engine), peer)
        },
        // A frame that is half sent and cannot be kept leaves no boundary for a close frame.
        codes: &[1013, 0],
    },
    Ending {
        name: "too slow, and the topic's policy is to disconnect",
        tune: |config| {
            config.memory.lane_bytes = 64 << 10;
            config.topics = vec![TopicConfig { policy: SlowPolicy::Disconnect, ..TopicConfig::default() }];
        },
        act: |engine, addr| {
            let peer = Bare::connect_thin(addr).upgrade("/t/x", None);
            flood_until(&engine, Priority::Normal, |engine| {
                let total = engine.stats().total;
                total.evicted + total.closed > 0
            });
            (Some(engine), peer)
        },
        codes: &[1013, 0],
    },
    Ending {
        name: "a shutdown in order",
        tune: |_| {},
        act: |engine, addr| {
            let peer = open(addr);
            engine.shutdown(Duration::from_millis(200));
            (None, peer)
        },
        codes: &[1001],
    },
    Ending {
        name: "a shutdown at once",
        tune: |_| {},
        act: |engine, addr| {
            let peer = open(addr);
            engine.shutdown_now();
            (None, peer)
        },
        codes: &[0, 1001],
    },
    Ending {
        name: "a dropped engine",
        tune: |_| {},
        act: |engine, addr| {
            let peer = open(addr);
            drop(engine);
            (None, peer)
        },
        codes: &[0, 1001],
    },
    Ending {
        name: "a dropped engine in a handshake",
        tune: |_| {},
        act: |engine, addr| {
            let mut peer = Bare::connect(addr);
            peer.send(b"GET / HTTP/1.1\r\nHost: ");
            wait_until("it is accepted", || engine.stats().total.accepted > 0);
            drop(engine);
            (None, peer)
        },
        codes: &[0],
    },
];

fn flood_until(engine: &Engine, priority: Priority, mut over: impl FnMut(&Engine) -> bool) {
    wait_until("it is too slow", || {
        for _ in 0..50 {
            publish(engine, "x", priority, &[b'x'; 2_000]);
        }
        over(engine)
    });
}

/// The peer neither answers a close frame nor ends its own side: the engine has to come to an end alone, and to show it.
fn every_close_is_seen_by_a_peer_that_does_nothing(driver: DriverChoice) {
    for ending in ENDINGS {
        let mut config = config(driver);
        config.limits.close_timeout = Duration::from_millis(200);
        (ending.tune)(&mut config);
        let engine = start(config);
        let at = addr(&engine);
        let (engine, mut peer) = (ending.act)(engine, at);
        let mut told = 0;
        // Every wait has an end, which is a panic: a connection that is closed in silence would reach it.
        while let Some(frame) = peer.frame() {
            if frame.first & 15 == 8 {
                told = frame.payload.get(..2).map_or(1005, |code| u16::from_be_bytes([code[0], code[1]]));
                break;
            }
        }
        assert!(ending.codes.contains(&told), "{}: told {told}", ending.name);
        peer.read_to_end();
        if let Some(engine) = engine {
            // The engine has forgotten it as well: nothing is left but what "one too many" keeps open.
            let left = u64::from(engine.config().connections_max == 1);
            wait_until(ending.name, || engine.stats().total.connections == left);
            engine.shutdown_now();
        }
    }
}

fn a_storm_of_connects_does_not_keep_a_shutdown_from_ending(driver: DriverChoice) {
    let engine = small_table(driver, 400);
    let at = addr(&engine);
    let mut kept: Vec<_> = (0..50).map(|_| connect(at, "/t/x", None)).collect();
    let over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let storm: Vec<_> = (0..4)
        .map(|_| {
            let over = over.clone();
            std::thread::spawn(move || {
                let mut halves = Vec::new();
                for round in 0.. {
                    if over.load(std::sync::atomic::Ordering::SeqCst) {
                        break;
                    }
                    match TcpStream::connect(at) {
                        Ok(mut stream) if round % 3 == 0 => {
                            let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: x");
                            halves.push(stream);
                        }
                        Ok(stream) => drop(stream),
                        Err(_) => pause(1),
                    }
                    let _ = (round % 7 == 0).then(|| try_connect(at, "/", Some(JSON)));
                    halves.truncate(100);
                }
                halves
            })
        })
        .collect();
    wait_until("the storm is on", || engine.stats().total.accepted > 300);
    publish(&engine, "x", Priority::Normal, b"the last words");
    let stopping = std::thread::spawn(move || engine.shutdown(PATIENCE));
    for client in &mut kept {
        assert_eq!(next_payload(client), b"the last words");
    }
    for client in &mut kept {
        let (more, code) = support::read_to_close(client);
        assert_eq!((more.len(), code), (0, 1001));
    }
    let report = stopping.join().expect("a shutdown returns");
    over.store(true, std::sync::atomic::Ordering::SeqCst);
    assert!(report.is_clean, "{report:?}");
    for mut half in storm.into_iter().flat_map(|thread| thread.join().expect("no panic")) {
        half.set_read_timeout(Some(PATIENCE)).expect("a live socket");
        let mut rest = Vec::new();
        if let Err(error) = half.read_to_end(&mut rest) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "a half is left open: {error}");
        }
    }
}

/// Runs an ignored test of this file in a process of its own: for what changes the whole process.
fn in_own_process(test: &str) {
    let output = std::process::Command::new(std::env::current_exe().expect("this test is a file"))
        .args(["--exact", "--ignored", "--nocapture", "--test-threads=1", test])
        .output()
        .expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{test}: {}\n{text}{errors}", output.status);
}

#[test]
fn a_lack_of_descriptors_is_waited_out_uring() {
    in_own_process("descriptors_uring");
}

#[test]
fn a_lack_of_descriptors_is_waited_out_epoll() {
    in_own_process("descriptors_epoll");
}

#[test]
#[ignore = "changes the process's limits: run by a test of its own"]
fn descriptors_uring() {
    if support::has(DriverChoice::Uring) {
        descriptors(DriverChoice::Uring);
    }
}

#[test]
#[ignore = "changes the process's limits: run by a test of its own"]
fn descriptors_epoll() {
    descriptors(DriverChoice::Epoll);
}

/// Sockets that need no more descriptors to connect.
fn sockets(count: usize) -> Vec<std::os::fd::OwnedFd> {
    let make = |_| rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    (0..count).map(make).collect()
}

fn connect_all(addr: SocketAddr, sockets: Vec<std::os::fd::OwnedFd>) -> Vec<Bare> {
    let connected = sockets.into_iter().map(|socket| {
        rustix::net::connect(&socket, &addr).expect("the backlog has room");
        let mut client = Bare::over(TcpStream::from(socket));
        client.send(upgrade_request("/t/x", None).as_bytes());
        client
    });
    connected.collect()
}

fn descriptors(driver: DriverChoice) {
    const CLIENTS: usize = 500;
    let old = getrlimit(Resource::Nofile);
    let allow = |most: Option<u64>| {
        setrlimit(Resource::Nofile, Rlimit { current: most, maximum: old.maximum }).expect("it may be lowered");
    };
    allow(old.maximum);
    let engine = start(config(driver));
    let (at, is_epoll) = (addr(&engine), driver == DriverChoice::Epoll);
    let mut witness = connect(at, "/t/x", None);
    let waiting = sockets(CLIENTS);

    // No descriptor at all can be had.
    allow(Some(3));
    let mut clients = connect_all(at, waiting);
    if is_epoll {
        wait_until("the lack is noticed", || engine.stats().total.accept_exhausted > 0);
        let before = engine.stats().total;
        let elapsed_ms = elapsed_ms(|| pause(500));
        let after = engine.stats().total;
        assert_eq!(after.accepted, 1, "descriptors out of nothing");
        // It looks again each 100 ms; a loop that spins turns tens of thousands of times a second, however slow the machine.
        let most = 50 + elapsed_ms / 5;
        assert!(after.turns - before.turns < most, "{} turns in {elapsed_ms} ms", after.turns - before.turns);
        assert!(after.accept_exhausted - before.accept_exhausted < most);
    } else {
        // Its own table takes them: they are no descriptors of the process.
        wait_until("all are served", || engine.stats().total.upgraded as usize == CLIENTS + 1);
    }
    // Those who are connected go on.
    publish(&engine, "x", Priority::Normal, b"meanwhile");
    assert_eq!(next_payload(&mut witness), b"meanwhile");

    // Nobody leaves: that descriptors can be had again has to be found out.
    allow(old.maximum);
    for (i, client) in clients.iter_mut().enumerate() {
        let head = client.response_head();
        assert!(head.starts_with("HTTP/1.1 101 "), "client {i} of the backlog was told {head:?}");
    }

    // Ten more can be had, a hundred come, and then others leave.
    let exhausted = engine.stats().total.accept_exhausted;
    let waiting = sockets(100);
    let highest = std::fs::read_dir("/proc/self/fd")
        .expect("/proc")
        .filter_map(|entry| entry.expect("an entry").file_name().to_str().and_then(|name| name.parse::<u64>().ok()));
    allow(Some(highest.max().expect("a descriptor") + 11));
    let mut later = connect_all(at, waiting);
    if is_epoll {
        wait_until("the lack is noticed", || engine.stats().total.accept_exhausted > exhausted);
    }
    clients.drain(..200);
    for (i, client) in later.iter_mut().enumerate() {
        let head = client.response_head();
        assert!(head.starts_with("HTTP/1.1 101 "), "client {i} of the second backlog was told {head:?}");
    }
    publish(&engine, "x", Priority::Normal, b"to all");
    for client in clients.iter_mut().chain(&mut later) {
        while client.frame().expect("it is connected").payload != b"to all" {}
    }
    engine.shutdown_now();
}
