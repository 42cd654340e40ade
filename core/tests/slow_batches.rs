//! A slow client of `fanwire.batch.v1`: each message comes, or a gap notice says that it does not; never both.

use crate::support;

use std::collections::BTreeMap;

use fanwire::proto::batch::{self, Frame};
use fanwire::proto::json;
use fanwire::proto::server_message::ServerMessage;
use fanwire::{DriverChoice, Kind, Priority};
use support::{Bare, PATIENCE, addr, config, pause, start};

on_both_drivers![
    each_message_comes_or_is_announced_as_lost_never_both,
    a_frame_that_was_half_sent_is_finished_and_not_sent_again,
];

const MESSAGES: u64 = 6_000;

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Came,
    Lost,
}

fn each_message_comes_or_is_announced_as_lost_never_both(driver: DriverChoice) {
    // A few frames of 50 messages each: half-sent ones are overtaken all the time.
    for fates in fates_of_slow_clients(driver, 64 << 10) {
        assert!(fates.values().any(|fate| *fate == Fate::Lost), "nothing was lost, so nothing was tried");
        assert!(fates.keys().copied().eq(1..=MESSAGES), "{} of {MESSAGES} accounted for", fates.len());
    }
}

fn a_frame_that_was_half_sent_is_finished_and_not_sent_again(driver: DriverChoice) {
    // Room for everything: half-sent frames stay where they are.
    for fates in fates_of_slow_clients(driver, 16 << 20) {
        assert!(fates.values().all(|fate| *fate == Fate::Came), "something was lost");
        assert!(fates.keys().copied().eq(1..=MESSAGES), "{} of {MESSAGES} accounted for", fates.len());
    }
}

/// Publishes while two clients read in bites: a plain one, and one whose cursor looks at each frame (`echo=0`).
fn fates_of_slow_clients(driver: DriverChoice, lane_bytes: usize) -> Vec<BTreeMap<u64, Fate>> {
    let mut config = config(driver);
    config.memory.lane_bytes = lane_bytes;
    let engine = start(config);
    let topic = engine.topic("scan").expect("a sound name");
    let mut clients =
        ["/t/scan", "/t/scan?echo=0"].map(|path| Bare::upgraded(addr(&engine), path, Some(batch::PROTOCOL)));
    let let_in = |bare: &Bare, bytes| {
        rustix::net::sockopt::set_socket_recv_buffer_size(&bare.stream, bytes).expect("a live socket");
    };
    clients.iter().for_each(|bare| let_in(bare, 8 << 10));
    for n in 1..=MESSAGES {
        let payload = [n.to_le_bytes(); 25].concat();
        topic.publish_timeout(Priority::Low, Kind::Binary, &payload, PATIENCE).expect("room");
        if n % 100 == 0 {
            // Bites that end anywhere, and time for the log to run over now and then.
            clients.iter_mut().for_each(|bare| bare.bite(1_500));
            pause(u64::from(n % 1_000 == 0));
        }
    }
    clients.iter().for_each(|bare| let_in(bare, 1 << 20));
    clients.iter_mut().map(fates).collect()
}

/// Reads until everything up to the last message is accounted for. What is not due any more is discarded as a client should.
fn fates(bare: &mut Bare) -> BTreeMap<u64, Fate> {
    let mut fates = BTreeMap::new();
    let mut scratch = Vec::new();
    let mut highest = 0;
    while highest < MESSAGES {
        let frame = bare.frame().expect("the server is there");
        if frame.first & 15 != 2 {
            continue;
        }
        match batch::decode(&frame.payload, 1 << 20, &mut scratch, |_, _, _| false).expect("a sound frame") {
            Frame::Data(batch) if batch.head.priority == Priority::Low => {
                assert!(batch.head.first_seq > highest, "frame from {} after {highest}", batch.head.first_seq);
                for message in batch.messages() {
                    assert_eq!(message.payload[..8], message.seq.to_le_bytes());
                    assert_eq!(fates.insert(message.seq, Fate::Came), None, "{} twice", message.seq);
                    highest = message.seq;
                }
            }
            Frame::Control(object) => {
                if let ServerMessage::Gap(gap) = json::server::parse(object).expect("a sound object") {
                    assert_eq!(gap.from, highest + 1, "a gap begins where the messages ended");
                    for seq in gap.from..=gap.to {
                        assert_eq!(fates.insert(seq, Fate::Lost), None, "{seq} came, and is said to be lost");
                    }
                    highest = gap.to;
                }
            }
            Frame::Data(_) | Frame::Unknown => {}
        }
    }
    fates
}
