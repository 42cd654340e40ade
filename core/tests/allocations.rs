//! Steady state allocates nothing: a counting allocator watches the shard threads over 10^5 turns with 24 connections.
//!
//! # Contract
//! The allocator hands every call to the system's unchanged; it only counts, and only on threads whose name says that they are
//! shards. Counting itself never allocates: a thread's name is asked of the kernel, once a thread.
#![allow(unsafe_code)]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use fanwire::{DriverChoice, Kind, Priority};
use rustix::event::epoll as poll;
use rustix::net::{RecvFlags, SendFlags};
use support::{Bare, JSON, addr, config, masked, start};

/// One test, because the counter is the whole process's.
#[test]
fn a_shard_allocates_nothing_in_a_hundred_thousand_turns() {
    for driver in [DriverChoice::Epoll, DriverChoice::Uring] {
        if support::has(driver) {
            allocates_nothing(driver);
        }
    }
}

/// Beginning of every shard thread's name.
const SHARD: &[u8] = b"fw-shard";

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static SHARDS_SEEN: AtomicU64 = AtomicU64::new(0);

struct Counting;

thread_local! {
    static IS_SHARD: Cell<bool> = const { Cell::new(false) };
}

/// Counts if this is a shard's thread. A thread that is none (yet) is asked again: its name comes after its first allocations.
fn count() {
    let is_shard = IS_SHARD.with(|is_shard| {
        if !is_shard.get() {
            let mut name = [0u8; 16];
            // SAFETY: PR_GET_NAME writes at most 16 bytes, terminator included, to the given place.
            let got = unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
            if got == 0 && name.starts_with(SHARD) {
                is_shard.set(true);
                SHARDS_SEEN.fetch_add(1, Ordering::Relaxed);
            }
        }
        is_shard.get()
    });
    if is_shard {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every method passes its arguments to `System` unchanged and returns what it returns.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CONNECTIONS: usize = 24;
const TURNS: u64 = 100_000;

fn allocates_nothing(driver: DriverChoice) {
    let mut config = config(driver);
    // Small budgets, so that warming up fills them: a log at its budget is the steady state.
    config.memory.lane_bytes = 1 << 20;
    // Pings belong to silence, not to messages; what a ping borrows comes from a stock that silence fills.
    config.limits.ping_every = std::time::Duration::ZERO;
    // Falls due while warming up: connecting is not the steady state.
    config.limits.handshake_timeout = std::time::Duration::from_millis(500);
    let engine = start(config);
    let topic = engine.topic("steady").expect("a sound topic");
    let clients: Vec<TcpStream> = (0..CONNECTIONS)
        .map(|i| {
            // Both encodings: every third is JSON, so that a derived log is at work too.
            if i % 3 == 0 {
                let mut json = Bare::upgraded(addr(&engine), "/", Some(JSON));
                json.send(&masked(0x81, br#"{"type":"subscribe","id":1,"topics":["steady"]}"#));
                json.stream
            } else {
                Bare::upgraded(addr(&engine), "/t/steady", None).stream
            }
        })
        .collect();
    let mut audience = Audience::new(&clients);
    let turns = || engine.stats().total.turns;
    // In step with the audience, so that each message is a turn of its own: more than the shard's own pace would give.
    let mut deliver = || {
        topic.publish_timeout(Priority::Normal, Kind::Json, JSON_TEXT, support::PATIENCE).expect("room in the ring");
        audience.drain(CONNECTIONS * JSON_TEXT.len());
    };
    // Warm-up: more than the budgets of both logs.
    (0..10_000).for_each(|_| deliver());
    assert!(
        SHARDS_SEEN.load(Ordering::Relaxed) > 0,
        "no thread is named {}: nothing would be counted",
        SHARD.escape_ascii()
    );
    assert!(ALLOCATIONS.load(Ordering::Relaxed) > 0, "starting a shard allocates: the counter is broken");

    let turns_before = turns();
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let mut published = 0u64;
    while turns() < turns_before + TURNS {
        deliver();
        published += 1;
    }
    let after = ALLOCATIONS.load(Ordering::Relaxed);
    let open = engine.stats().total.connections;
    assert_eq!(open, CONNECTIONS as u64, "connections at the end");
    assert!(published >= TURNS / 10, "{published} messages made {TURNS} turns");
    assert_eq!(after - before, 0, "allocations on the shard ({driver:?}) in {TURNS} turns with {published} messages");
    engine.shutdown_now();
}

/// One JSON value of 300 bytes.
const JSON_TEXT: &[u8; 300] = &{
    let mut text = [b'x'; 300];
    text[0] = b'"';
    text[299] = b'"';
    text
};

/// The clients' side: reads what comes, as cheaply as can be.
struct Audience<'a> {
    clients: &'a [TcpStream],
    set: OwnedFd,
    buffer: Vec<u8>,
    speaker: usize,
}

impl<'a> Audience<'a> {
    fn new(clients: &'a [TcpStream]) -> Self {
        let set = poll::create(poll::CreateFlags::CLOEXEC).expect("epoll");
        for (i, client) in clients.iter().enumerate() {
            client.set_nonblocking(true).expect("a live socket");
            poll::add(&set, client, poll::EventData::new_u64(i as u64), poll::EventFlags::IN).expect("epoll");
        }
        Audience { clients, set, buffer: vec![0; 1 << 20], speaker: 0 }
    }

    /// Reads at least so many bytes, if they come soon; one client in turn says something, so that receiving is at work too.
    fn drain(&mut self, bytes: usize) {
        self.speaker = (self.speaker + 1) % self.clients.len();
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let _ = rustix::net::send(&self.clients[self.speaker], &masked(0x8a, b"unasked"), flags);
        let mut events =
            [poll::Event { flags: poll::EventFlags::empty(), data: poll::EventData::new_u64(0) }; CONNECTIONS];
        let timeout = rustix::time::Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        let mut received = 0;
        while received < bytes {
            let count = poll::wait(&self.set, &mut events[..], Some(&timeout)).unwrap_or(0);
            if count == 0 {
                return;
            }
            for event in &events[..count] {
                let client = &self.clients[event.data.u64() as usize];
                if let Ok((got, _)) = rustix::net::recv(client, &mut self.buffer[..], RecvFlags::empty()) {
                    received += got;
                }
            }
        }
    }
}
