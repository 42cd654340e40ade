//! Each limit of the adapter: what is let in at it, and what one past it.

use fanwire_tls::{HEADER_BYTES, PLAINTEXT_BYTES_MAX, RECORD_BYTES_MAX};

use super::*;
use crate::driver::RECV_HEADROOM;

/// A network with room for long sends and receives.
fn wide() -> SimNet {
    let limits = DriverLimits { recv_bytes: 16 << 10, ..SimOptions::calm().limits };
    SimNet::new(1, SimOptions { limits, send_capacity: 4 << 20, recv_capacity: 4 << 20, ..SimOptions::calm() })
}

/// A connection after its handshake, in slot 0.
fn established(net: &SimNet, authority: &Authority) -> (Echo, Peer) {
    let mut echo = Echo::new(authority.over(net, HELD));
    let mut peer = Peer::new(net.connect(0), authority.client(ALL_CIPHER_SUITES));
    echo.settle(net, || peer.step(usize::MAX));
    assert!(!peer.tls.is_handshaking());
    (echo, peer)
}

fn send(driver: &mut Tls<SimDriver>, content: &[u8]) -> Sent {
    let mut batch = SendBatch::new();
    batch.push_one(Slot(0), content);
    let mut results = SendResults::new();
    driver.send(&batch, &mut results);
    results[0]
}

/// Turns without a shard that echoes; what each has told.
fn turn(driver: &mut Tls<SimDriver>) -> Vec<Event> {
    let mut events = Vec::new();
    driver.turn(Wait::No, &mut events).expect("the sim driver never fails");
    events
}

#[test]
fn a_turn_answers_so_many_greetings_and_no_more() {
    let authority = Authority::new();
    let net = SimNet::new(1, SimOptions::calm());
    let mut driver = authority.over(&net, HELD);
    driver.accept_while_below(u32::MAX);
    let mut peers: Vec<_> = (0..7).map(|_| Peer::new(net.connect(0), authority.client(ALL_CIPHER_SUITES))).collect();
    peers.iter_mut().for_each(|peer| _ = peer.step(usize::MAX));
    while driver.greeting.len() < peers.len() {
        turn(&mut driver);
        assert!(peers.iter().all(|peer| peer.socket.readable() == 0), "none before all wait");
    }
    let mut answered = Vec::new();
    for _ in 0..5 {
        turn(&mut driver);
        answered.push(peers.iter().filter(|peer| peer.socket.readable() > 0).count());
    }
    assert_eq!(answered, [1, 2, 3, 4, 5].map(|turns| (turns * HANDSHAKES_PER_TURN).min(7)));
}

/// The beginnings of five greetings, and how many of those connections are kept where there may be `most` bytes.
fn kept_of_five(authority: &Authority, most: usize) -> (usize, usize, u64) {
    let net = SimNet::new(1, SimOptions::calm());
    let mut echo = Echo::new(authority.over(&net, most));
    let peers: Vec<_> = (0..5).map(|_| net.connect(0)).collect();
    let mut client = authority.client(ALL_CIPHER_SUITES);
    let mut hello = Vec::new();
    client.write_tls(&mut hello).expect("memory takes all");
    peers.iter().for_each(|peer| _ = peer.write(&hello[..50]));
    echo.settle(&net, || false);
    (echo.queued.iter().flatten().count(), echo.driver.held.bytes(), echo.driver.counters().tls_failed)
}

#[test]
fn handshakes_hold_what_they_may_and_not_a_byte_more() {
    let authority = Authority::new();
    let (all, held, failed) = kept_of_five(&authority, HELD);
    assert_eq!((all, failed), (5, 0));
    let each = held / 5;
    assert_eq!(kept_of_five(&authority, 4 * each), (4, 4 * each, 1));
    assert_eq!(kept_of_five(&authority, 4 * each - 1), (3, 3 * each, 2));
}

#[test]
fn who_says_nothing_holds_nothing() {
    let authority = Authority::new();
    let net = SimNet::new(1, SimOptions::calm());
    let mut echo = Echo::new(authority.over(&net, HELD));
    let _silent: Vec<_> = (0..5).map(|_| net.connect(0)).collect();
    echo.settle(&net, || false);
    assert_eq!(echo.queued.iter().flatten().count(), 5);
    let counters = echo.driver.counters();
    assert_eq!((counters.tls_bytes, counters.tls_bytes_max, counters.tls_handshakes), (0, 0, 0));
}

#[test]
fn what_is_counted_is_what_was_held() {
    let authority = Authority::new();
    let net = SimNet::new(1, SimOptions::calm());
    let (echo, _peer) = established(&net, &authority);
    let counters = echo.driver.counters();
    assert_eq!((counters.tls_handshakes, counters.tls_failed, counters.tls_bytes), (1, 0, 0));
    assert!(counters.tls_bytes_max > 8 << 10, "a handshake: {}", counters.tls_bytes_max);
}

/// The head of a record with so many bytes in all.
fn head(record: usize) -> [u8; HEADER_BYTES] {
    let [high, low] = ((record - HEADER_BYTES) as u16).to_be_bytes();
    [23, 3, 3, high, low]
}

#[test]
fn a_half_record_holds_a_short_or_the_longest_buffer() {
    let authority = Authority::new();
    // TLS 1.3 allows 16,384 bytes of content and 256 more.
    let longest = HEADER_BYTES + (16 << 10) + 256;
    for (record, held) in [(4 << 10, 4 << 10), ((4 << 10) + 1, RECORD_BYTES_MAX), (longest, RECORD_BYTES_MAX)] {
        let net = wide();
        let (mut echo, peer) = established(&net, &authority);
        peer.socket.write(&head(record));
        echo.settle(&net, || false);
        assert_eq!(echo.driver.held.bytes(), RECV_HEADROOM + held, "{record}");
        assert_eq!(echo.ended[0], None, "{record}");
    }
    let net = wide();
    let (mut echo, peer) = established(&net, &authority);
    peer.socket.write(&head(longest + 1));
    echo.settle(&net, || false);
    assert_eq!((echo.ended[0], echo.driver.held.bytes()), (Some(Some(EPROTO)), 0), "one past it");
    assert_eq!(echo.driver.counters().tls_failed, 1);
}

#[test]
fn a_send_takes_so_much_content_and_no_more() {
    let authority = Authority::new();
    let most = send::CONTENT_PER_SEND;
    for (asked, taken) in [(most, most), (most + 1, most), (1, 1)] {
        let net = wide();
        let (mut echo, mut peer) = established(&net, &authority);
        assert_eq!(send(&mut echo.driver, &vec![7; asked]), Sent::Bytes(taken), "{asked}");
        echo.settle(&net, || peer.step(usize::MAX));
        assert_eq!(peer.heard, vec![7; taken]);
    }
}

#[test]
fn who_takes_little_is_sealed_little() {
    let authority = Authority::new();
    let net = SimNet::new(1, SimOptions { send_capacity: 96 << 10, ..SimOptions::calm() });
    let (mut echo, mut peer) = established(&net, &authority);
    // More than the socket takes: the record that it has begun to take is kept to its end.
    let content = vec![7; 200 << 10];
    let Sent::Bytes(first) = send(&mut echo.driver, &content) else { panic!("some are taken") };
    assert!(first < content.len() && first.is_multiple_of(PLAINTEXT_BYTES_MAX), "{first}");
    let rest = echo.driver.held.bytes();
    assert!(rest > 0 && rest <= PLAINTEXT_BYTES_MAX + 22, "{rest}");
    echo.settle(&net, || peer.step(usize::MAX));
    assert_eq!((peer.heard.len(), echo.driver.held.bytes()), (first, 0));
    // It is slow now: its next send is cut, in records of which little can be left.
    assert_eq!(send(&mut echo.driver, &content), Sent::Bytes(send::SLOW_CONTENT));
    let records = send::SLOW_CONTENT / send::SLOW_RECORD;
    let overhead = echo.driver.session(Slot(0)).and_then(Session::connection).map_or(0, |tls| tls.overhead());
    assert_eq!(peer.socket.readable(), send::SLOW_CONTENT + records * overhead);
    echo.settle(&net, || peer.step(usize::MAX));
    // One that is taken whole makes it quick again.
    assert_eq!(send(&mut echo.driver, &content[..1_000]), Sent::Bytes(1_000));
    echo.settle(&net, || peer.step(usize::MAX));
    assert_eq!(send(&mut echo.driver, &content[..64 << 10]), Sent::Bytes(64 << 10));
    assert_eq!(peer.socket.readable(), (64 << 10) + 4 * overhead, "records of the longest content");
}

#[test]
fn a_turn_opens_so_many_records_and_leaves_the_others_for_the_next() {
    const RECORDS: usize = 700;
    let authority = Authority::new();
    let net = wide();
    let mut echo = Echo::new(authority.over(&net, HELD));
    let mut peers: Vec<_> = (0..5).map(|_| Peer::new(net.connect(0), authority.client(ALL_CIPHER_SUITES))).collect();
    echo.settle(&net, || peers.iter_mut().fold(false, |moved, peer| moved | peer.step(usize::MAX)));
    let mut bytes = 0;
    for peer in &mut peers {
        (0..RECORDS).for_each(|_| {
            peer.say(b"x");
            while peer.tls.wants_write() {
                peer.tls.write_tls(&mut peer.unsent).expect("memory takes all");
            }
        });
        bytes = peer.unsent.len();
        assert_eq!(peer.socket.write(&peer.unsent), Some(bytes));
    }
    assert!(bytes <= 16 << 10, "one receive each");
    // A receive costs 4 and 2 for each KiB, a record 4.
    let each = 4 + 2 * (bytes >> 10) + 4 * RECORDS;
    let a_turn = OPENING_PER_TURN.div_ceil(each);
    let mut heard = Vec::new();
    while heard.iter().sum::<usize>() < peers.len() {
        let events = turn(&mut echo.driver);
        heard.push(events.iter().filter(|event| matches!(event, Event::Received { .. })).count());
        for event in events {
            let Event::Received { buf, .. } = event else { continue };
            assert_eq!(buf.filled(), [b'x'; RECORDS]);
            echo.driver.give_back(buf);
        }
    }
    assert_eq!(heard, [a_turn, a_turn, peers.len() - 2 * a_turn]);
}

#[test]
fn a_connection_lingers_to_the_nanosecond() {
    let authority = Authority::new();
    let net = SimNet::new(1, SimOptions { send_capacity: 3_000, ..SimOptions::calm() });
    let (mut echo, _peer) = established(&net, &authority);
    assert!(matches!(send(&mut echo.driver, &[9; 10_000]), Sent::Bytes(_)));
    let begin_ns = net.now_ns();
    echo.close(0);
    net.advance_to(begin_ns + LINGER_NS - 1);
    turn(&mut echo.driver);
    assert_eq!(net.open_slots(0), 1);
    net.advance_to(begin_ns + LINGER_NS);
    turn(&mut echo.driver);
    assert_eq!((net.open_slots(0), echo.driver.held.bytes()), (0, 0));
}

#[test]
fn so_many_buffers_are_kept_for_the_next_record() {
    let most = session::SPARE_BUFFERS;
    let mut held = Held::new(HELD);
    let longest = vec![0; RECORD_BYTES_MAX];
    let lent: Vec<_> = (0..=most).map(|_| held.lend(&longest).expect("there is room")).collect();
    for (n, buffer) in lent.into_iter().enumerate() {
        held.give_back(buffer.bytes);
        assert_eq!(held.spare_count(), (n + 1).min(most));
    }
    assert_eq!(held.bytes(), 0);
    // Those for short records are not kept.
    let short = held.lend(&[1]).expect("there is room");
    held.give_back(short.bytes);
    assert_eq!((held.bytes(), held.spare_count()), (0, most));
}

#[test]
fn a_turn_looks_at_so_many_kept_keys() {
    let mut keys = HotKeys::default();
    let per_turn = hot_keys::LOOKED_AT_PER_TURN;
    keys.wait_for(1, per_turn + 1);
    keys.forget_idle(&mut [], 0);
    assert_eq!(keys.len(), per_turn + 1, "none is due");
    keys.forget_idle(&mut [], 1);
    assert_eq!(keys.len(), 1);
    keys.forget_idle(&mut [], 1);
    assert_eq!((keys.len(), keys.next_ns()), (0, None));
}
