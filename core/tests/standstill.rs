//! A shard's thread is stopped in the middle of a record, by a bell that does not return. What a host must never do shows here what a
//! debugger, or a processor given to somebody else, would do.

use crate::support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fanwire::{Config, DriverChoice, Engine, Kind, Priority};
use support::{Client, JSON, PATIENCE, addr, config, connect, next_object, send, settle, start, wait_until};

on_both_drivers![
    a_shard_that_stands_still_stops_neither_publishers_nor_the_other_shard,
    a_shutdown_ends_although_a_shard_stands_still,
];

/// More than the ring holds, many times over.
const MESSAGES: u64 = 5_000;

/// An engine of two shards, one of which can be made to stand.
struct Stand {
    engine: Engine,
    stands: Arc<AtomicBool>,
    goes_on: Arc<AtomicBool>,
}

/// The shard goes on when the test ends, however it ends.
impl Drop for Stand {
    fn drop(&mut self) {
        self.goes_on.store(true, Ordering::Release);
    }
}

impl Stand {
    fn new(driver: DriverChoice) -> Self {
        let mut config = Config { shards: Some(2), ..config(driver) };
        config.memory.ring_bytes = 64 << 10;
        config.memory.lane_bytes = 16 << 10;
        let engine = start(config);
        let (stands, goes_on) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (first, until) = (Arc::clone(&stands), Arc::clone(&goes_on));
        engine.set_reclaim_bell(move || {
            if !first.swap(true, Ordering::AcqRel) {
                while !until.load(Ordering::Acquire) {
                    std::thread::park_timeout(Duration::from_millis(1));
                }
            }
        });
        Stand { engine, stands, goes_on }
    }

    /// Makes the shard stand that is the last to forget a message which is kept by reference.
    fn stop_one(&self) {
        let topic = self.engine.topic("kept").expect("a topic");
        wait_until("a shard stands still", || {
            let _ = topic.publish_bytes(Priority::Normal, Kind::Binary, Bytes::from(vec![0; 20_000]));
            self.stands.load(Ordering::Acquire)
        });
    }

    /// A subscriber of `a` on each shard.
    fn subscribers(&self) -> [Client; 2] {
        let mut of: [Option<Client>; 2] = [None, None];
        for _ in 0..200 {
            let mut client = connect(addr(&self.engine), "/", Some(JSON));
            let welcome = next_object(&mut client);
            let session = welcome["session"].as_str().expect("a session").to_owned();
            let shard: usize = session.split('.').next().and_then(|n| n.parse().ok()).expect("a shard's number");
            if of[shard].is_none() {
                send(&mut client, r#"{"type":"subscribe","topics":["a"]}"#);
                settle(&mut client);
                of[shard] = Some(client);
            }
            if let [Some(_), Some(_)] = &of {
                break;
            }
        }
        of.map(|client| client.expect("the kernel gives each shard some of 200 connections"))
    }
}

/// What a client was told of `a`: all of it, in order.
#[derive(Default)]
struct Account {
    /// Messages heard of, received or lost.
    told: u64,
    received: u64,
    lost: u64,
    /// Received since the last gap.
    since_gap: u64,
}

impl Account {
    fn hear(&mut self, object: &serde_json::Value) {
        let number = |field: &str| object[field].as_u64().expect("a number");
        match object["type"].as_str() {
            Some("message") => {
                assert_eq!(number("seq"), self.told + 1);
                (self.told, self.received, self.since_gap) = (self.told + 1, self.received + 1, self.since_gap + 1);
            }
            Some("gap") => {
                assert_eq!(number("from"), self.told + 1);
                self.lost += number("to") - self.told;
                (self.told, self.since_gap) = (number("to"), 0);
            }
            _ => {}
        }
    }
}

fn a_shard_that_stands_still_stops_neither_publishers_nor_the_other_shard(driver: DriverChoice) {
    let stand = Stand::new(driver);
    let [mut first, mut second] = stand.subscribers();
    let topic = stand.engine.topic("a").expect("a topic");
    stand.stop_one();
    for number in 0..MESSAGES {
        let text = format!("{number:0>400}");
        topic.publish_timeout(Priority::Normal, Kind::Text, text.as_bytes(), PATIENCE).expect("the others go on");
    }
    let read = |shard: usize| stand.engine.stats().shards[shard].messages;
    let is_first = read(0) < read(1);
    let (standing, going) = if is_first { (&mut first, &mut second) } else { (&mut second, &mut first) };
    let mut account = Account::default();
    while account.told < MESSAGES {
        account.hear(&next_object(going));
    }
    stand.goes_on.store(true, Ordering::Release);
    // It finds out when it reads on; from some message on it gets everything again.
    let mut account = Account::default();
    wait_until("it is in again", || {
        topic.publish_timeout(Priority::Normal, Kind::Text, b"after", PATIENCE).expect("the engine takes it");
        settle(standing).iter().for_each(|object| account.hear(object));
        account.lost > 0 && account.since_gap > 3
    });
    assert!(account.lost > MESSAGES / 2, "{} lost", account.lost);
    assert!(stand.engine.is_running());
}

fn a_shutdown_ends_although_a_shard_stands_still(driver: DriverChoice) {
    let mut stand = Stand::new(driver);
    let [mut first, mut second] = stand.subscribers();
    stand.stop_one();
    let report = stand.engine.drain(Duration::from_millis(100));
    assert!(!report.is_clean);
    // The other one has said good-bye; that one has been left behind.
    let codes = [&mut first, &mut second].map(|client| {
        client.get_mut().set_read_timeout(Some(Duration::from_millis(500))).expect("a socket");
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| support::read_to_close(client).1)).ok()
    });
    assert!(codes.contains(&Some(1001)), "{codes:?}");
}
