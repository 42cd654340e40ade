//! A shard that ends without being told to: the whole engine ends in good order, and its host is told which shard and why.
//!
//! `cargo test -p fanwire --features test-knobs --test suite shard_end::`

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use crate::support::{Client, PATIENCE, addr, config, connect, read_to_close, start, try_connect, wait_until};
use fanwire::{DriverChoice, Engine, Event, Events, Kind, Priority, PublishError};

on_both_drivers![
    a_driver_that_fails_ends_the_engine_in_good_order,
    a_panic_ends_the_engine_in_good_order,
    a_failure_is_heard_of_without_events,
];

const SHARDS: usize = 3;
const NO_SHARD: usize = usize::MAX;

/// Which shard is to fail, and how. One set for each test: they may run beside each other.
struct Plan {
    shard: AtomicUsize,
}

static DRIVER_URING: Plan = Plan::new();
static DRIVER_EPOLL: Plan = Plan::new();
static PANIC_URING: Plan = Plan::new();
static PANIC_EPOLL: Plan = Plan::new();
static DEAF_URING: Plan = Plan::new();
static DEAF_EPOLL: Plan = Plan::new();

impl Plan {
    const fn new() -> Plan {
        Plan { shard: AtomicUsize::new(NO_SHARD) }
    }

    fn fail(&self, shard: usize) -> io::Result<()> {
        match self.shard.load(SeqCst) == shard {
            true => Err(io::Error::other("planted")),
            false => Ok(()),
        }
    }

    fn panic(&self, shard: usize) -> io::Result<()> {
        assert_ne!(self.shard.load(SeqCst), shard, "planted");
        Ok(())
    }
}

fn hosting(driver: DriverChoice, events: usize, fault: fn(usize) -> io::Result<()>) -> Engine {
    let mut config = config(driver);
    config.shards = Some(SHARDS);
    config.events.capacity = events;
    config.limits.close_timeout = PATIENCE;
    config.planted_fault = Some(fault);
    start(config)
}

fn next(events: &mut Events) -> Event {
    let mut found = None;
    wait_until("an event comes", || {
        found = events.wait(Duration::from_millis(100));
        found.is_some()
    });
    found.expect("it came")
}

/// Subscribers of `news`, at least one on each shard, with their shards. The kernel spreads them.
fn subscribers(engine: &Engine, events: &mut Events) -> Vec<(usize, Client)> {
    let mut clients: Vec<(usize, Client)> = Vec::new();
    while (0..SHARDS).any(|shard| !clients.iter().any(|(on, _)| *on == shard)) {
        assert!(clients.len() < 500, "the kernel never chose one of {SHARDS} shards");
        let client = connect(addr(engine), "/t/news", None);
        let shard = loop {
            match next(events) {
                Event::Subscribed { connection, .. } => break usize::from(connection.shard()),
                Event::Opened { .. } => {}
                other => panic!("unexpected: {other:?}"),
            }
        };
        clients.push((shard, client));
    }
    clients
}

fn a_driver_that_fails_ends_the_engine_in_good_order(driver: DriverChoice) {
    match driver {
        DriverChoice::Epoll => ends_in_good_order(driver, &DRIVER_EPOLL, |shard| DRIVER_EPOLL.fail(shard), "driver"),
        _ => ends_in_good_order(driver, &DRIVER_URING, |shard| DRIVER_URING.fail(shard), "driver"),
    }
}

fn a_panic_ends_the_engine_in_good_order(driver: DriverChoice) {
    match driver {
        DriverChoice::Epoll => ends_in_good_order(driver, &PANIC_EPOLL, |shard| PANIC_EPOLL.panic(shard), "a bug"),
        _ => ends_in_good_order(driver, &PANIC_URING, |shard| PANIC_URING.panic(shard), "a bug"),
    }
}

fn ends_in_good_order(driver: DriverChoice, plan: &Plan, fault: fn(usize) -> io::Result<()>, why: &str) {
    const FAILING: usize = 1;
    let mut engine = hosting(driver, 4_096, fault);
    let mut events = engine.events().expect("the events were asked for");
    let clients = subscribers(&engine, &mut events);
    let news = engine.topic("news").expect("a sound name");
    assert!(engine.is_running() && engine.failure().is_none());
    plan.shard.store(FAILING, SeqCst);
    // Wakes all shards; those that go on deliver it.
    news.publish(Priority::Normal, Kind::Text, b"last").expect("there is room");

    let told = loop {
        if let Event::Failed { shard, reason } = next(&mut events) {
            break (shard, reason);
        }
    };
    assert_eq!(told.0, FAILING);
    assert!(told.1.contains(why) && told.1.contains("planted"), "{told:?}");
    let failure = engine.failure().expect("it was told").clone();
    assert_eq!((failure.shard, &failure.reason), (FAILING, &told.1));
    assert!(!engine.is_running());

    for (shard, mut client) in clients {
        let (got, code) = read_to_close(&mut client);
        if shard == FAILING {
            assert_eq!(code, 1006, "its sockets are cut off");
        } else {
            assert_eq!((got, code), (vec![b"last".to_vec()], 1001), "on shard {shard}");
        }
    }
    assert_eq!(news.publish(Priority::Normal, Kind::Text, b"more"), Err(PublishError::Stopped));
    assert!(engine.topic("other").is_err());
    wait_until("nobody listens any more", || try_connect(addr(&engine), "/t/news", None).is_err());
    assert!(!engine.drain(PATIENCE).is_clean);
    while let Some(event) = events.next() {
        assert!(!matches!(event, Event::Failed { .. }), "told twice");
    }
}

fn a_failure_is_heard_of_without_events(driver: DriverChoice) {
    let (plan, fault): (&Plan, fn(usize) -> io::Result<()>) = match driver {
        DriverChoice::Epoll => (&DEAF_EPOLL, |shard| DEAF_EPOLL.fail(shard)),
        _ => (&DEAF_URING, |shard| DEAF_URING.fail(shard)),
    };
    let engine = hosting(driver, 0, fault);
    let (ring, rung) = std::sync::mpsc::channel();
    engine.set_failure_bell(move || _ = ring.send(()));
    plan.shard.store(2, SeqCst);
    engine.topic("wakes/all").expect("a sound name");
    rung.recv_timeout(PATIENCE).expect("the bell rings");
    assert_eq!(engine.failure().expect("the bell rang").shard, 2);
    engine.shutdown_now();
}
