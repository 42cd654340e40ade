//! Small inputs that ask for much memory: they get what has arrived, at most the largest message, and a close.
//!
//! Memory is that of this process, clients and all, and what the engine's own account says; so these tests run one at a time.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests live in real time")]

mod support;

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fanwire::{Config, DriverChoice, Engine, Kind, Priority};
use flate2::{Compress, Compression, FlushCompress};
use support::{Bare, addr, config, masked, pause, start, upgrade_request, wait_until};

on_both_drivers![
    fifty_inflate_bombs_at_once_take_no_more_than_a_message_each,
    a_million_fragments_of_a_byte_take_twice_their_payload,
    empty_fragments_are_counted_and_end_with_1008,
    messages_that_never_end_take_twice_what_has_arrived,
    declared_lengths_take_nothing,
    a_head_that_trickles_in_gets_no_more_time,
];

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Resident memory of this process, bytes.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * KIB
}

/// The highest of each while something happened.
struct Peak {
    resident: u64,
    payload: u64,
}

fn watched(engine: &Engine, work: impl FnOnce()) -> Peak {
    let (is_over, most_resident, most_payload) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Relaxed) {
                most_resident.fetch_max(resident(), Relaxed);
                most_payload.fetch_max(engine.stats().payload_bytes, Relaxed);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let end = OnDrop(&is_over);
        work();
        drop(end);
    });
    Peak { resident: most_resident.into_inner(), payload: most_payload.into_inner() }
}

/// Set also when the work fails, so that the watcher ends.
struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

fn with_largest_message(driver: DriverChoice, bytes: u64) -> Config {
    let mut config = config(driver);
    config.limits.message_bytes_max = bytes as usize;
    config
}

/// A client that compresses, and may publish to topic `bomb`.
fn compressing(engine: &Engine) -> Bare {
    let mut client = Bare::connect(addr(engine));
    let extension = "Sec-WebSocket-Extensions: permessage-deflate\r\nUpgrade: ";
    client.send(upgrade_request("/t/bomb", None).replace("Upgrade: ", extension).as_bytes());
    let head = client.response_head();
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("permessage-deflate"), "{head}");
    client
}

/// Somebody else, who gets all that he should meanwhile.
fn is_served(engine: &Engine) {
    let topic = engine.topic("witness").expect("a sound topic");
    let mut client = Bare::upgraded(addr(engine), "/t/witness", None);
    wait_until("the witness is in", || {
        topic.publish(Priority::Normal, Kind::Text, b"?").expect("room");
        topic.pressure().expect("a live topic").subscribers == 1
    });
    topic.publish(Priority::Normal, Kind::Text, b"!").expect("room");
    while client.frame().expect("a message").payload != b"!" {}
}

/// 1 GiB of zeros in a good megabyte.
fn bomb() -> Vec<u8> {
    let mut mebibyte = Vec::with_capacity(64 << 10);
    let mut compress = Compress::new(Compression::best(), false);
    compress.compress_vec(&vec![0; 1 << 20], &mut mebibyte, FlushCompress::Full).expect("room");
    assert!(mebibyte.ends_with(&[0, 0, 0xff, 0xff]) && compress.total_in() == 1 << 20);
    let mut bomb = mebibyte.repeat(1024);
    bomb.truncate(bomb.len() - 4);
    bomb
}

fn fifty_inflate_bombs_at_once_take_no_more_than_a_message_each(driver: DriverChoice) {
    const CLIENTS: u64 = 50;
    let _alone = alone();
    let largest = 2 * MIB;
    let engine = start(with_largest_message(driver, largest));
    let bomb = bomb();
    assert!(bomb.len() < 1_300_000, "{} bytes are no small bomb", bomb.len());
    let whole = masked(0xC2, &bomb);
    let pieces: Vec<_> = bomb.chunks(10_000).collect();
    let fragments: Vec<u8> = (0..pieces.len())
        .flat_map(|i| {
            let first = if i == 0 { 0x42 } else { 0 };
            masked(first | if i + 1 == pieces.len() { 0x80 } else { 0 }, pieces[i])
        })
        .collect();
    is_served(&engine);
    let before = resident();
    // Too big; or the oldest of more unfinished messages than there is room for.
    let too_big = AtomicU64::new(0);
    let peak = watched(&engine, || {
        std::thread::scope(|scope| {
            for i in 0..CLIENTS {
                let (engine, too_big, bytes) = (&engine, &too_big, if i % 2 == 0 { &whole } else { &fragments });
                scope.spawn(move || {
                    let mut client = compressing(engine);
                    client.send(bytes);
                    match client.close_code() {
                        1009 => _ = too_big.fetch_add(1, Relaxed),
                        code => assert_eq!(code, 1013),
                    }
                });
            }
        });
    });
    let too_big = too_big.into_inner();
    assert!(too_big > 0);
    let grown = peak.resident.saturating_sub(before);
    println!("{} MiB more, {} MiB of payloads at most", grown / MIB, peak.payload / MIB);
    let allowed = CLIENTS * largest + 16 * MIB;
    assert!(grown <= allowed, "{grown} bytes more, {allowed} allowed");
    wait_until("all are counted", || engine.stats().total.violations == too_big);
    is_served(&engine);
    engine.shutdown_now();
}

fn a_million_fragments_of_a_byte_take_twice_their_payload(driver: DriverChoice) {
    const COUNT: usize = 1_000_000;
    let _alone = alone();
    let engine = start(config(driver));
    let mut subscriber = Bare::upgraded(addr(&engine), "/t/small", None);
    let mut publisher = Bare::upgraded(addr(&engine), "/t/small?echo=false", None);
    let mut frames = Vec::with_capacity(COUNT * 7);
    for i in 0..COUNT {
        let first = if i == 0 { 0x02 } else { 0 } | if i + 1 == COUNT { 0x80 } else { 0 };
        frames.extend_from_slice(&masked(first, &[i as u8]));
    }
    let none = engine.stats().payload_bytes;
    let before = resident();
    let peak = watched(&engine, || {
        let mut sent = 0;
        for piece in frames.chunks(7 * COUNT / 100) {
            publisher.stream.write_all(piece).expect("the server takes it");
            sent += piece.len() as u64 / 7;
            let held = engine.stats().payload_bytes - none;
            assert!(held <= 2 * sent + 64 * KIB, "{held} bytes for {sent}");
        }
        let message = subscriber.frame().expect("the message");
        assert!(message.first == 0x82 && message.payload.iter().enumerate().all(|(i, byte)| *byte == i as u8));
        assert_eq!(message.payload.len(), COUNT);
    });
    // Put together, it is there twice for a moment, each time in a block of a power of two.
    let most = 2 * COUNT.next_power_of_two() as u64 + 64 * KIB;
    assert!(peak.payload - none <= most, "{} bytes of payloads", peak.payload);
    // The subscriber's own copies are in this process, too.
    let grown = peak.resident.saturating_sub(before);
    assert!(grown <= 16 * MIB, "{grown} bytes more");
    engine.shutdown_now();
}

fn empty_fragments_are_counted_and_end_with_1008(driver: DriverChoice) {
    const MAX: usize = fanwire::proto::decoder::EMPTY_FRAGMENTS_MAX as usize;
    let _alone = alone();
    let engine = start(config(driver));
    let mut subscriber = Bare::upgraded(addr(&engine), "/t/empty", None);
    let mut publisher = Bare::upgraded(addr(&engine), "/t/empty?echo=false", None);
    publisher.send(&[masked(0x01, b"a"), masked(0, b"").repeat(MAX), masked(0x80, b"b")].concat());
    assert_eq!(subscriber.frame().expect("the message").payload, b"ab");
    let before = resident();
    let million = [masked(0x01, b"a"), masked(0, b"").repeat(1_000_000)].concat();
    let peak = watched(&engine, || {
        let mut client = Bare::upgraded(addr(&engine), "/t/empty", None);
        client.send(&million);
        assert_eq!(client.close_code(), 1008);
    });
    let grown = peak.resident.saturating_sub(before);
    assert!(grown <= million.len() as u64 + 8 * MIB, "{grown} bytes more, {} of them the test's", million.len());
    assert!(peak.payload <= 64 * KIB, "{} bytes of payloads", peak.payload);
    engine.shutdown_now();
}

fn messages_that_never_end_take_twice_what_has_arrived(driver: DriverChoice) {
    const CLIENTS: u64 = 100;
    let _alone = alone();
    let engine = start(with_largest_message(driver, MIB));
    let none = engine.stats().payload_bytes;
    let peak = watched(&engine, || {
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| Bare::upgraded(addr(&engine), "/t/endless", None)).collect();
        for round in 1..=40 {
            for client in &mut clients {
                client.send(&masked(if round == 1 { 0x02 } else { 0 }, &[7; 2_000]));
            }
            let arrived = CLIENTS * round * 2_000;
            let held = engine.stats().payload_bytes - none;
            assert!(held <= 2 * arrived + CLIENTS * 4 * KIB, "{held} bytes for {arrived}");
        }
        // One goes on and on.
        let (mut endless, mut sent) = (Bare::upgraded(addr(&engine), "/t/endless", None), 0);
        while sent <= MIB {
            endless.send(&masked(if sent == 0 { 0x02 } else { 0 }, &[7; 10_000]));
            sent += 10_000;
        }
        assert_eq!(endless.close_code(), 1009);
        is_served(&engine);
    });
    println!("{} KiB of payloads at most", (peak.payload - none) / KIB);
    assert!(peak.payload - none <= 2 * (CLIENTS * 80_000 + MIB) + CLIENTS * 4 * KIB, "{} bytes", peak.payload);
    wait_until("they are gone, and so is what they had", || engine.stats().payload_bytes <= none + 64 * KIB);
    engine.shutdown_now();
}

fn declared_lengths_take_nothing(driver: DriverChoice) {
    const CLIENTS: u64 = 200;
    let _alone = alone();
    let engine = start(config(driver));
    let none = engine.stats().payload_bytes;
    is_served(&engine);
    let before = resident();
    let mut clients = Vec::new();
    let peak = watched(&engine, || {
        for i in 0..CLIENTS {
            let mut client = Bare::upgraded(addr(&engine), "/t/large", None);
            // 64 MiB of which one byte comes: as large as is allowed. Every other is the beginning of a fragmented message.
            let first = if i % 2 == 0 { 0x82 } else { 0x02 };
            client.send(&[&[first, 0xff, 0, 0, 0, 0, 4, 0, 0, 0], &[1, 2, 3, 4, 5][..]].concat());
            clients.push(client);
        }
        // Every one of these has been read once the last one's pong is there.
        for client in &mut clients {
            client.send(&[7; 1_000]);
        }
        is_served(&engine);
        pause(50);
    });
    println!("{} KiB of payloads at most", (peak.payload - none) / KIB);
    assert!(peak.payload - none <= CLIENTS * 8 * KIB, "{} bytes of payloads", peak.payload - none);
    let grown = peak.resident.saturating_sub(before);
    assert!(grown <= 16 * MIB, "{grown} bytes more");
    engine.shutdown_now();
}

fn a_head_that_trickles_in_gets_no_more_time(driver: DriverChoice) {
    let _alone = alone();
    let mut config = config(driver);
    config.limits.handshake_timeout = Duration::from_millis(300);
    let engine = start(config);
    let mut slow = Bare::connect(addr(&engine));
    slow.send(b"GET /t/x HTTP/1.1\r\nHost: ");
    slow.stream.set_nonblocking(true).expect("a live socket");
    // At this pace the longest head would take minutes.
    let end = std::time::Instant::now() + support::PATIENCE;
    let mut byte = [0];
    while slow.stream.peek(&mut byte).is_err() {
        assert!(std::time::Instant::now() < end, "each byte buys more time");
        if slow.stream.write_all(b"x").is_err() {
            break;
        }
        pause(5);
    }
    slow.stream.set_nonblocking(false).expect("a live socket");
    let head = slow.response_head();
    assert!(head.starts_with("HTTP/1.1 408 "), "{head:?}");
    slow.read_to_end();
    wait_until("it is counted", || engine.stats().total.upgrades_refused == 1);
    assert_eq!(engine.stats().total.upgraded, 0);
    is_served(&engine);
    engine.shutdown_now();
}
