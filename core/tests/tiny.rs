//! Faults that need a build with knobs: next to no receive buffers, a completion queue that overflows, the smallest send buffer.
//!
//! `./test faults`, or `cargo test -p fanwire --features test-knobs --test suite tiny::`

use crate::support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fanwire::{Config, DriverChoice, Engine, Kind, Priority};
use support::{
    Bare, Client, JSON, PATIENCE, addr, config, connect, masked, next_object, next_payload, start, wait_until,
};

on_both_drivers![
    four_receive_buffers_serve_five_hundred_senders,
    nobody_of_a_thousand_falls_silent_when_completions_overflow,
    cut_sends_into_the_smallest_send_buffer_are_byte_exact,
];

fn tuned(driver: DriverChoice, tune: impl FnOnce(&mut Config)) -> Engine {
    // A thousand clients and, with epoll, their other ends.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).expect("it may be raised to its maximum");
    let mut config = config(driver);
    config.connections_max = 1_100;
    tune(&mut config);
    start(config)
}

/// The text that sender `client` publishes as its number `seq`: no two are alike, and each can be made again.
fn text(client: usize, seq: usize, len: usize) -> String {
    let mut text = format!("{client} {seq} ");
    let mut word = (client as u64) << 32 | seq as u64;
    while text.len() < len {
        word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push_str(&format!("{:016x}", word));
    }
    text.truncate(len);
    text
}

fn publish_frame(client: usize, seq: usize, len: usize) -> Vec<u8> {
    let object = format!(r#"{{"type":"publish","topic":"in","encoding":"text","data":"{}"}}"#, text(client, seq, len));
    masked(0x81, object.as_bytes())
}

/// Reads what many senders publish.
struct Witness {
    thread: std::thread::JoinHandle<()>,
    seen: Arc<AtomicU64>,
}

impl Witness {
    /// Reads `count` messages of each of `clients` senders: each sender's own are whole and in order.
    fn start(mut reader: Client, clients: usize, count: usize, len: usize) -> Witness {
        let seen = Arc::new(AtomicU64::new(0));
        let sum = seen.clone();
        let thread = std::thread::spawn(move || {
            let mut seen = vec![0; clients];
            for _ in 0..clients * count {
                let payload = next_payload(&mut reader);
                let got = std::str::from_utf8(&payload).expect("text");
                let client: usize = got.split(' ').next().and_then(|word| word.parse().ok()).expect("a number");
                assert_eq!(got, text(client, seen[client], len), "of sender {client}");
                seen[client] += 1;
                sum.fetch_add(1, Ordering::Relaxed);
            }
            assert!(seen.iter().all(|&each| each == count));
        });
        Witness { thread, seen }
    }

    /// It reads as fast as it can; nobody is to run away from it, for then it would lose messages by right.
    fn follow(&self, sent: usize) {
        wait_until("the witness has read what was sent", || {
            self.thread.is_finished() || self.seen.load(Ordering::Relaxed) as usize + 20_000 >= sent
        });
    }

    fn end(self) {
        self.thread.join().expect("every message of every sender is whole and in order");
    }
}

fn speaker(engine: &Engine) -> Bare {
    let mut client = Bare::upgraded(addr(engine), "/", Some(JSON));
    assert!(client.frame().expect("a welcome").payload.starts_with(b"{\"type\":\"welcome\""));
    client
}

/// Every one of them still speaks and is heard.
fn all_answer(clients: &mut [Bare]) {
    for client in clients.iter_mut() {
        client.send(&masked(0x81, br#"{"type":"ping","id":7}"#));
    }
    for (i, client) in clients.iter_mut().enumerate() {
        let answer = client.frame().unwrap_or_else(|| panic!("client {i} was closed"));
        assert!(answer.payload.starts_with(b"{\"type\":\"pong\""), "client {i}: {answer:?}");
    }
}

fn four_receive_buffers_serve_five_hundred_senders(driver: DriverChoice) {
    const CLIENTS: usize = 500;
    const EACH: usize = 20;
    const LEN: usize = 1_500;
    let engine = tuned(driver, |config| config.recv_buffers = Some(4));
    let witness = Witness::start(connect(addr(&engine), "/t/in", None), CLIENTS, EACH, LEN);
    let mut clients: Vec<Bare> = (0..CLIENTS).map(|_| speaker(&engine)).collect();
    for seq in 0..EACH {
        for (i, client) in clients.iter_mut().enumerate() {
            client.send(&publish_frame(i, seq, LEN));
        }
    }
    witness.end();
    all_answer(&mut clients);
    wait_until("the lack of buffers was counted", || engine.stats().total.recv_buffers_exhausted > 0);
    engine.shutdown_now();
}

fn nobody_of_a_thousand_falls_silent_when_completions_overflow(driver: DriverChoice) {
    const CLIENTS: usize = 1_000;
    const EACH: usize = 100;
    const LEN: usize = 60;
    let engine = tuned(driver, |config| config.is_tiny = true);
    let witness = Witness::start(connect(addr(&engine), "/t/in", None), CLIENTS, EACH, LEN);
    let mut clients: Vec<Bare> = (0..CLIENTS).map(|_| speaker(&engine)).collect();
    for seq in 0..EACH {
        for (i, client) in clients.iter_mut().enumerate() {
            client.send(&publish_frame(i, seq, LEN));
        }
        witness.follow((seq + 1) * CLIENTS);
        if seq % 25 == 24 {
            all_answer(&mut clients);
        }
    }
    witness.end();
    all_answer(&mut clients);
    if driver == DriverChoice::Uring {
        wait_until("overflows were counted", || engine.stats().total.cq_overflows > 0);
    }
    engine.shutdown_now();
}

fn cut_sends_into_the_smallest_send_buffer_are_byte_exact(driver: DriverChoice) {
    const COUNT: u64 = 50_000;
    let engine = tuned(driver, |config| {
        config.is_tiny = true;
        config.send_buffer = Some(1);
    });
    let topic = engine.topic("out").expect("a sound topic");
    // How far each reader has come.
    let mut progress: Vec<Arc<AtomicU64>> = Vec::new();
    let mut readers = Vec::new();
    for protocol in [None, None, Some(JSON), Some(JSON)] {
        let seen = Arc::new(AtomicU64::new(0));
        progress.push(seen.clone());
        let mut client = match protocol {
            None => connect(addr(&engine), "/t/out", None),
            Some(_) => support::subscribe(addr(&engine), &["out"]),
        };
        readers.push(std::thread::spawn(move || {
            for seq in 1..=COUNT {
                let wanted = text(0, seq as usize, size(seq));
                if protocol.is_none() {
                    assert!(next_payload(&mut client) == wanted.as_bytes(), "message {seq} of a raw client");
                } else {
                    let mut object = next_object(&mut client);
                    while object["type"] == "subscribed" {
                        object = next_object(&mut client);
                    }
                    assert_eq!((&object["type"], &object["seq"]), (&"message".into(), &seq.into()), "{object}");
                    assert!(object["data"] == wanted, "message {seq} of a JSON client");
                }
                seen.store(seq, Ordering::Relaxed);
            }
        }));
    }
    for seq in 1..=COUNT {
        // Within the lane's budget, so that nothing may be lost.
        if seq.is_multiple_of(1_000) {
            wait_until("the readers follow", || {
                let is_over = readers.iter().any(|reader| reader.is_finished());
                is_over || progress.iter().all(|seen| seen.load(Ordering::Relaxed) + 4_000 > seq)
            });
        }
        let text = text(0, seq as usize, size(seq));
        topic.publish_timeout(Priority::Normal, Kind::Text, text.as_bytes(), PATIENCE).expect("room in the ring");
    }
    for reader in readers {
        reader.join().expect("every byte is right");
    }
    wait_until("the short sends were counted", || engine.stats().total.sends_short > COUNT);
    assert_eq!(engine.stats().total.gaps, 0);
    engine.shutdown_now();
}

/// Mostly small, now and then larger than the send buffer.
fn size(seq: u64) -> usize {
    if seq.is_multiple_of(500) { 9_000 } else { 20 + (seq % 180) as usize }
}
