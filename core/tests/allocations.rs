//! Steady state allocates nothing: a counting allocator watches the shard threads over 10^5 turns with 100 connections.
//!
//! # Contract
//! The allocator hands every call to the system's unchanged; it only counts, and only on threads whose name says that they are
//! shards. Counting itself never allocates: a thread's name is asked of the kernel, once a thread.
#![allow(unsafe_code)]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use fanwire::{DriverChoice, Kind, Priority};
use rustix::event::epoll as poll;
use support::{Bare, JSON, addr, config, masked, start};

on_both_drivers![a_shard_allocates_nothing_in_a_hundred_thousand_turns];

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

const CONNECTIONS: usize = 100;
const TURNS: u64 = 100_000;

fn a_shard_allocates_nothing_in_a_hundred_thousand_turns(driver: DriverChoice) {
    let mut config = config(driver);
    // Small budgets, so that warming up fills them: a log at its budget is the steady state.
    config.memory.lane_bytes = 1 << 20;
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
    let stop = AtomicBool::new(false);
    let received = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| drain(&clients, &stop, &received));
        // Ends the reader also when an assertion below fails.
        let _stop = StopOnDrop(&stop);
        let turns = || engine.stats().shards.iter().map(|shard| shard.turns).sum::<u64>();
        let publish = |bytes: usize| {
            topic
                .publish_timeout(Priority::Normal, Kind::Json, &JSON_TEXT[..bytes], support::PATIENCE)
                .expect("room in the ring");
        };
        // Warm-up: more than the budgets of both logs, and every kind of thing once.
        let warm = turns() + 5_000;
        while turns() < warm {
            publish(JSON_TEXT.len());
        }
        assert!(
            SHARDS_SEEN.load(Ordering::Relaxed) > 0,
            "no thread is named {}: nothing would be counted",
            SHARD.escape_ascii()
        );
        assert!(ALLOCATIONS.load(Ordering::Relaxed) > 0, "starting a shard allocates: the counter is broken");

        let (turns_before, received_before) = (turns(), received.load(Ordering::Relaxed));
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        let mut published = 0u64;
        while turns() < turns_before + TURNS {
            publish(JSON_TEXT.len());
            published += 1;
        }
        let after = ALLOCATIONS.load(Ordering::Relaxed);
        let deliveries = received.load(Ordering::Relaxed) - received_before;
        assert!(
            published >= TURNS / 10 && deliveries > published,
            "{published} published, {deliveries} bytes received"
        );
        assert_eq!(after - before, 0, "allocations on the shard in {TURNS} turns ({published} messages)");
    });
    engine.shutdown_now();
}

/// One JSON value of 300 bytes.
const JSON_TEXT: &[u8; 300] = &{
    let mut text = [b'x'; 300];
    text[0] = b'"';
    text[299] = b'"';
    text
};

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Reads what comes to all clients, and has one of them in turn say something, so that receiving is at work too.
fn drain(clients: &[TcpStream], stop: &AtomicBool, received: &AtomicU64) {
    let set = poll::create(poll::CreateFlags::CLOEXEC).expect("epoll");
    for (i, client) in clients.iter().enumerate() {
        client.set_nonblocking(true).expect("a live socket");
        poll::add(&set, client.as_fd(), poll::EventData::new_u64(i as u64), poll::EventFlags::IN).expect("epoll");
    }
    let mut buffer = vec![0; 1 << 20];
    let mut events = [poll::Event { flags: poll::EventFlags::empty(), data: poll::EventData::new_u64(0) }; CONNECTIONS];
    let timeout = rustix::time::Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
    let pong = masked(0x8a, b"unasked");
    for speaker in clients.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let _ = rustix::net::send(speaker, &pong, rustix::net::SendFlags::NOSIGNAL | rustix::net::SendFlags::DONTWAIT);
        let count = poll::wait(&set, &mut events[..], Some(&timeout)).unwrap_or(0);
        for event in &events[..count] {
            let client = &clients[event.data.u64() as usize];
            if let Ok((got, _)) = rustix::net::recv(client, &mut buffer[..], rustix::net::RecvFlags::empty()) {
                received.fetch_add(got as u64, Ordering::Relaxed);
            }
        }
    }
}
