//! One node, told what it may be told.

use super::*;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::wants::LINGER_MS;

struct Rig {
    node: Node,
    counters: Arc<Counters>,
}

fn rig() -> Rig {
    let counters = Arc::new(Counters::default());
    let config = NodeConfig {
        cluster: "lab".into(),
        node: 0xa,
        run: 1,
        keep: vec![Pattern::parse("kept/**").expect("a pattern")],
        foreign: vec![Prefix::parse("plant").expect("a prefix")],
        outward_bytes_max: 2_000,
        inward_bytes_max: 1_000,
    };
    Rig { node: Node::new(config, counters.clone()), counters }
}

fn local(topic: &str, priority: Priority, payload: &str) -> Local<'static> {
    let topic = String::leak(topic.to_owned());
    let payload = Bytes::from(payload.to_owned());
    Local { topic, priority, kind: Kind::Json, key: 7, ttl_ms: 0, missed: 0, payload }
}

fn received<'a>(subject: &'a str, reply: &'a str, payload: &'static str) -> Received<'a> {
    let reply = (!reply.is_empty()).then_some(reply);
    Received { subject, reply, payload: Bytes::from_static(payload.as_bytes()), ..Received::default() }
}

fn changes(node: &mut Node, link: Link) -> Vec<Change> {
    std::iter::from_fn(|| node.next_change(link)).collect()
}

fn subjects(node: &mut Node, link: Link) -> Vec<String> {
    let changes = changes(node, link).into_iter().filter_map(|change| match change {
        Change::Subscribe { subject, .. } => Some(subject.into()),
        _ => None,
    });
    changes.collect()
}

fn taken(node: &mut Node) -> Vec<(String, Priority, Kind, String)> {
    let all = std::iter::from_fn(|| node.next_inbound());
    let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).expect("text");
    all.map(|m| (m.topic.to_string(), m.priority, m.kind, text(m.payload))).collect()
}

impl Rig {
    fn want(&mut self, text: &str, is_wanted: bool, now_ms: u64) {
        self.node.on_interest(&Pattern::parse(text).expect("a pattern"), is_wanted, now_ms);
        self.node.on_time(now_ms);
    }

    fn count(&self, of: impl Fn(&Counters) -> &AtomicU64) -> u64 {
        of(&self.counters).load(Relaxed)
    }
}

#[test]
fn what_is_always_wanted_is_asked_for_at_once_each_by_its_connection() {
    let mut rig = rig();
    assert_eq!(subjects(&mut rig.node, Link::Main), ["fw.lab.1.kept.>", "fw.lab.2.kept.>", "fw.lab.3.kept.>"]);
    assert_eq!(subjects(&mut rig.node, Link::Critical), ["fw.lab.0.kept.>"]);
    assert_eq!(subjects(&mut rig.node, Link::Foreign), ["plant", "plant.>"]);
    // What plain subjects bring anyway, and what is the engine's own, is not asked for.
    for text in ["plant/a", "plant/**", "kept/x", "$sys/clients"] {
        rig.want(text, true, 1);
    }
    assert_eq!(changes(&mut rig.node, Link::Main), []);
}

#[test]
fn who_was_gone_for_a_while_has_lost_nothing_meanwhile() {
    let mut rig = rig();
    rig.want("a", true, 0);
    let reply = |seq: u64| format!("_FW.b.1.0.{seq:x}.t2.0.0");
    rig.node.on_received(Link::Main, received("fw.lab.2.a", &reply(5), "5"));
    rig.want("a", false, 0);
    rig.node.on_received(Link::Main, received("fw.lab.2.a", &reply(7), "7"));
    assert_eq!((rig.count(|c| &c.lost_peer), taken(&mut rig.node).len()), (1, 2), "it lingers");
    assert_eq!(rig.node.due_ms(), Some(LINGER_MS));
    rig.node.on_time(LINGER_MS);
    rig.node.on_received(Link::Main, received("fw.lab.2.a", &reply(8), "8"));
    assert_eq!((rig.count(|c| &c.unwanted), taken(&mut rig.node).len()), (1, 0));
    rig.want("a", true, LINGER_MS + 1);
    rig.node.on_received(Link::Main, received("fw.lab.2.a", &reply(90), "90"));
    assert_eq!((rig.count(|c| &c.lost_peer), taken(&mut rig.node).len()), (1, 1));
}

#[test]
fn what_comes_is_taken_by_what_its_subject_and_reply_say() {
    let mut rig = rig();
    rig.want("**", true, 0);
    for (link, subject, reply, payload) in [
        (Link::Critical, "fw.lab.0.a", "_FW.b.1.0.1.j0.0.0", "{}"),
        (Link::Main, "fw.lab.3.a.b%2Ec", "", "by hand"),
        (Link::Foreign, "plant.x", "_INBOX.1.2", "plain"),
        // Its own, a copy, a priority that is not its lane's, and what is no topic.
        (Link::Main, "fw.lab.2.a", "_FW.a.2.0.1.j2.0.0", "own"),
        (Link::Critical, "fw.lab.0.a", "_FW.b.1.0.1.j0.0.0", "copy"),
        (Link::Main, "fw.lab.2.a", "_FW.b.1.0.1.j1.0.0", "wrong"),
        (Link::Main, "fw.lab.2.%24sys%2fx", "", "wrong"),
        (Link::Main, "fw.lab.2.$sys.x", "", "the engine's"),
        (Link::Foreign, "plant.a/b", "", "wrong"),
    ] {
        rig.node.on_received(link, received(subject, reply, payload));
    }
    let expected = [
        ("a".into(), Priority::Critical, Kind::Json, "{}".into()),
        ("plant/x".into(), Priority::Normal, Kind::Text, "plain".into()),
        ("a/b.c".into(), Priority::Low, Kind::Text, "by hand".into()),
    ];
    assert_eq!(taken(&mut rig.node), expected);
    assert_eq!((rig.count(|c| &c.echoes), rig.count(|c| &c.copies), rig.count(|c| &c.passed_over)), (1, 1, 4));
}

#[test]
fn what_goes_is_numbered_by_lane_and_goes_by_its_connection() {
    let mut rig = rig();
    for (topic, priority) in
        [("a", Priority::Low), ("a", Priority::Critical), ("plant/x", Priority::Low), ("$a", Priority::Low)]
    {
        rig.node.on_local(local(topic, priority, "1"), 0);
    }
    rig.node.on_local(Local { missed: 3, ..local("a", Priority::Low, "2") }, 0);
    let mut sent = |link| {
        let all = std::iter::from_fn(|| rig.node.next_outbound(link, 0));
        all.map(|m| (m.subject.to_string(), m.envelope.to_string())).collect::<Vec<_>>()
    };
    let pair = |subject: &str, reply: &str| (subject.to_owned(), reply.to_owned());
    assert_eq!(sent(Link::Critical), [pair("fw.lab.0.a", "_FW.a.1.0.1.j0.0.7")]);
    assert_eq!(sent(Link::Main), [pair("fw.lab.3.a", "_FW.a.1.0.1.j3.0.7"), pair("fw.lab.3.a", "_FW.a.1.0.5.j3.0.7")]);
    assert_eq!(sent(Link::Foreign), [pair("plant.x", "_FW.a.1.0.1.j3.0.7")]);
    assert_eq!(rig.count(|c| &c.lost_outlet), 3);
}

#[test]
fn what_waits_too_long_or_is_too_large_does_not_go_and_leaves_a_hole_in_the_numbers() {
    let mut rig = rig();
    rig.node.on_payload_max(PAYLOAD_MARGIN + 10);
    for (payload, ttl_ms) in [("0123456789", 100), ("0123456789a", 0), ("last", 300)] {
        rig.node.on_local(Local { ttl_ms, ..local("a", Priority::Normal, payload) }, 1_000);
    }
    let sent = rig.node.next_outbound(Link::Main, 1_100).expect("the last");
    assert_eq!((sent.envelope.seq, sent.envelope.ttl_ms, &*sent.payload), (3, 200, b"last".as_slice()));
    assert_eq!((rig.count(|c| &c.lost_expired), rig.count(|c| &c.lost_too_large)), (1, 1));
    // Half of the room is for plain subjects.
    let bytes = outbound_bytes("fw.lab.2.a", &Bytes::from_static(b"1"));
    for _ in 0..=1_000 / bytes {
        rig.node.on_local(local("a", Priority::Normal, "1"), 0);
    }
    assert_eq!(rig.count(|c| &c.lost_outward), 1);
    assert_eq!(rig.count(|c| &c.outward_bytes), (1_000 / bytes * bytes) as u64);
}

#[test]
fn where_the_engine_has_no_room_the_least_important_goes_first() {
    let mut rig = rig();
    rig.want("**", true, 0);
    for subject in ["fw.lab.3.a", "fw.lab.2.a"].into_iter().chain(std::iter::repeat_n("fw.lab.0.a", 6)) {
        rig.node.on_received(Link::Main, received(subject, "", "123456789"));
    }
    assert_eq!(rig.count(|c| &c.lost_inward), 1);
    let first = rig.node.next_inbound().expect("a critical one");
    rig.node.put_back(first);
    let left: Vec<Priority> = taken(&mut rig.node).into_iter().map(|m| m.1).collect();
    assert_eq!(left, [[Priority::Critical; 6].as_slice(), &[Priority::Normal]].concat());
    assert_eq!(rig.count(|c| &c.inward_bytes), 0);
}
