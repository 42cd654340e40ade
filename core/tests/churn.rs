//! Clients come and go, in good order and in bad: the heap holds afterwards what it held before.

#[path = "support/held.rs"]
mod held;
mod support;

use std::io::Read;
use std::time::Duration;

use fanwire::proto::batch;
use fanwire::proto::msgpack;
use fanwire::{Config, DriverChoice, Engine, Kind, Priority};
use support::{Bare, JSON, PATIENCE, addr, config, masked, start, wait_until};

/// Every form in turn, this often.
const ROUNDS: usize = 20;
/// Rounds in which tables and lists may still grow to their size.
const WARM: usize = 4;
/// Of each kind of client in a round, for each form.
const EACH: usize = 6;
/// So many rounds together,
const WINDOW: usize = 6;
/// and what each of them may leave behind, where it leaves least: 7 bytes for each of its clients.
const GROWTH_BYTES: i64 = 1 << 10;
/// What may be found all together, by lists and buffers that reach their size late.
const LATE_BYTES: i64 = 1 << 20;

const FORMS: [(Option<&str>, bool); 6] = [
    (None, false),
    (None, true),
    (Some(JSON), false),
    (Some(JSON), true),
    (Some(msgpack::PROTOCOL), false),
    (Some(batch::PROTOCOL_LZ4), false),
];

/// One test, because the counter is the whole process's.
#[test]
fn what_clients_leave_behind_does_not_add_up() {
    for driver in [DriverChoice::Epoll, DriverChoice::Uring].into_iter().filter(|driver| support::has(*driver)) {
        churn(driver);
    }
}

fn churn(driver: DriverChoice) {
    let mut config = Config { connections_max: 256, ..config(driver) };
    config.memory.lane_bytes = 128 << 10;
    config.memory.pool_bytes = 16 << 20;
    let engine = start(config);
    let (mut after, mut lent) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        for form in FORMS {
            come_and_go(&engine, form, round);
        }
        wait_until("everybody is gone", || engine.stats().total.connections == 0);
        // A stop for the shards: what they do at the end of a turn is done.
        let topic = engine.topic("after").expect("a sound name");
        let mut last = Bare::upgraded(addr(&engine), "/t/after", None);
        topic.publish_timeout(Priority::Normal, Kind::Binary, b"x", PATIENCE).expect("room");
        last.frame().expect("the server is there");
        drop(last);
        wait_until("the last one is gone", || engine.stats().total.connections == 0);
        after.push(held::by_all());
        let stats = engine.stats();
        lent.push((stats.total.log_bytes, stats.payload_bytes));
    }
    engine.shutdown_now();
    println!("{driver:?}: bytes of logs and payloads after each round: {lent:?}");
    println!("{driver:?}: bytes after each round: {after:?}");
    assert!(after[0] > 0, "the counter is broken");
    // A list that reaches its size late, or is longer at one moment, is not in every window; what adds up is.
    let least = after[WARM..].windows(WINDOW + 1).map(|window| (window[WINDOW] - window[0]) / WINDOW as i64).min();
    let least = least.expect("a window");
    assert!(least <= GROWTH_BYTES, "{driver:?}: {least} bytes a round: {after:?}");
    // What is lent out of the pools, which have their memory already: a block or two of difference is where a block happens to end.
    let (logs, payloads) = lent[..WARM].iter().fold((0, 0), |most, of| (most.0.max(of.0), most.1.max(of.1)));
    assert!(
        lent[WARM..].iter().all(|of| of.0 <= logs + (16 << 10) && of.1 <= payloads + (16 << 10)),
        "{driver:?}: {lent:?}"
    );
    let late = after[ROUNDS - 1] - after[WARM];
    assert!(late <= LATE_BYTES, "{driver:?}: {late} bytes: {after:?}");
}

/// Clients of one form: some that read everything, some that stop reading and lag, some that break off anywhere.
fn come_and_go(engine: &Engine, form: (Option<&str>, bool), round: usize) {
    let topic = engine.topic("come").expect("a sound name");
    let mut good: Vec<Bare> = (0..EACH).map(|_| subscribed(engine, form)).collect();
    let doomed: Vec<Bare> = (0..EACH).map(|_| subscribed(engine, form)).collect();
    let halves: Vec<Bare> = (0..2 * EACH)
        .map(|n| {
            let mut bare = Bare::connect(addr(engine));
            let request = support::upgrade_request("/t/come", None);
            if n % 2 == 0 {
                bare.send(&request.as_bytes()[..(n + round) * 17 % request.len()]);
            } else {
                bare.send(request.as_bytes());
                // A frame of 60,000 bytes, and a few of them.
                bare.send(&[0x82, 0xfe, 0xea, 0x60, 1, 2, 3, 4, 7, 7, 7, 7]);
            }
            bare
        })
        .collect();
    for n in 0..400usize {
        let payload = format!("[{n:0998}]").into_bytes();
        topic.publish_timeout(Priority::Low, Kind::Text, &payload, PATIENCE).expect("room");
        if n == 100 + round * 13 {
            // In the middle of whatever is under way for them.
            for bare in &doomed {
                rustix::net::sockopt::set_socket_linger(&bare.stream, Some(Duration::ZERO)).expect("a live socket");
            }
        }
    }
    drop(doomed);
    drop(halves);
    // Larger than any budget: a payload of its own.
    topic.publish_timeout(Priority::Low, Kind::Binary, &vec![7; 300_000], PATIENCE).expect("room");
    for (n, bare) in good.iter_mut().enumerate() {
        drain(bare);
        match n % 3 {
            // A close in good order, a message that the host may look at, an end without a word.
            0 => bare.send(&masked(0x88, &1000u16.to_be_bytes())),
            1 => bare.send(&masked(0x82, &vec![9; 70_000])),
            _ => {}
        }
    }
}

/// Takes what comes until nothing does for a moment.
fn drain(bare: &mut Bare) {
    bare.stream.set_read_timeout(Some(Duration::from_millis(10))).expect("a live socket");
    let mut chunk = vec![0; 64 << 10];
    while matches!((&bare.stream).read(&mut chunk), Ok(1..)) {}
}

fn subscribed(engine: &Engine, (protocol, deflate): (Option<&str>, bool)) -> Bare {
    let request = support::upgrade_request("/t/come", protocol);
    let offer = if deflate { "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n" } else { "\r\n" };
    let mut client = Bare::connect_thin(addr(engine));
    client.send((request.trim_end().to_owned() + "\r\n" + offer).as_bytes());
    let head = client.response_head();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    if protocol == Some(JSON) {
        // Everything that is kept, again.
        client.send(&masked(
            0x81,
            br#"{"type":"subscribe","id":1,"topics":["come","c*"],"since":{"come":{"epoch":1,"seq":{"low":1}}}}"#,
        ));
    }
    client
}
