//! Bad input against a live engine: the right answer, and a healthy subscriber on the same shard notices nothing.

use crate::support;

use std::net::SocketAddr;
use std::thread::JoinHandle;

use fanwire::{DriverChoice, Engine, Kind, Priority, Topic};
use support::{
    Bare, JSON, addr, config, connect, masked, next_object, next_payload, send, settle, start, upgrade_request,
};

on_both_drivers![
    broken_framing_is_closed_with_its_code,
    lengths_beyond_reason_are_refused_before_a_byte_of_payload,
    invalid_utf8_cut_anywhere_is_closed_with_1007,
    sound_utf8_cut_anywhere_arrives,
    wrong_requests_get_their_status,
    ten_thousand_headers_are_refused,
    a_request_may_come_one_byte_at_a_time,
    an_endless_request_one_byte_at_a_time_is_refused,
    wrong_json_is_answered_with_an_error_and_no_close,
    half_a_request_is_given_up,
    connections_that_say_nothing_or_vanish_disturb_nobody,
];

/// An engine of one shard with a subscriber that must get every message, whatever others do.
struct Scene {
    engine: Engine,
    topic: Topic,
    witness: Option<JoinHandle<u64>>,
    published: u64,
}

impl Scene {
    fn new(driver: DriverChoice) -> Scene {
        Scene::with(config(driver))
    }

    fn with(config: fanwire::Config) -> Scene {
        let engine = start(config);
        let topic = engine.topic("witness").expect("a sound topic");
        let mut client = connect(addr(&engine), "/t/witness", None);
        let witness = std::thread::spawn(move || {
            let mut seen = 0;
            while next_payload(&mut client) == format!("message {}", seen + 1).into_bytes() {
                seen += 1;
            }
            seen
        });
        let mut scene = Scene { engine, topic, witness: Some(witness), published: 0 };
        scene.publish(1);
        scene
    }

    fn addr(&self) -> SocketAddr {
        addr(&self.engine)
    }

    /// Gives the witness something to get.
    fn publish(&mut self, count: u64) {
        for _ in 0..count {
            self.published += 1;
            let text = format!("message {}", self.published);
            self.topic
                .publish_timeout(Priority::Normal, Kind::Text, text.as_bytes(), support::PATIENCE)
                .expect("room in the ring");
        }
    }

    /// The witness has got everything, in order, and nothing else.
    fn end(mut self) {
        self.publish(3);
        let end = self.topic.publish_timeout(Priority::Normal, Kind::Text, b"the end", support::PATIENCE);
        end.expect("room in the ring");
        let seen = self.witness.take().expect("one end").join().expect("the witness is well");
        assert_eq!(seen, self.published, "the witness was disturbed");
        self.engine.shutdown_now();
    }
}

fn broken_framing_is_closed_with_its_code(driver: DriverChoice) {
    let mut scene = Scene::new(driver);
    let unmasked = |first: u8, payload: &[u8]| [&[first, payload.len() as u8], payload].concat();
    let mut rows: Vec<(String, Vec<u8>, u16)> = vec![
        ("unmasked text".into(), unmasked(0x81, b"hello"), 1002),
        ("unmasked empty binary".into(), unmasked(0x82, b""), 1002),
        ("unmasked ping".into(), unmasked(0x89, b"x"), 1002),
        ("unmasked close".into(), unmasked(0x88, &[3, 232]), 1002),
        ("fragmented ping".into(), masked(0x09, b"x"), 1002),
        ("continuation of nothing".into(), masked(0x80, b"x"), 1002),
        ("text inside a fragmented text".into(), [masked(0x01, b"a"), masked(0x81, b"b")].concat(), 1002),
        ("binary inside a fragmented text".into(), [masked(0x01, b"a"), masked(0x02, b"b")].concat(), 1002),
        ("close of one byte".into(), masked(0x88, &[3]), 1002),
        ("close reason that is not UTF-8".into(), masked(0x88, &[3, 232, 0xc3, 0x28]), 1007),
    ];
    for bit in [0x40, 0x20, 0x10] {
        for opcode in [0x1, 0x2, 0x8, 0x9] {
            rows.push((format!("reserved bit {bit:#x} on opcode {opcode}"), masked(0x80 | bit | opcode, b""), 1002));
        }
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        rows.push((format!("reserved opcode {opcode}"), masked(0x80 | opcode, b"x"), 1002));
    }
    for opcode in [8, 9, 10] {
        for length in [126, 127, 500, 70_000] {
            rows.push((
                format!("control frame {opcode} of {length}"),
                masked(0x80 | opcode, &vec![b'x'; length]),
                1002,
            ));
        }
    }
    for code in [0u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535] {
        rows.push((format!("close code {code}"), masked(0x88, &code.to_be_bytes()), 1002));
    }
    for (name, bytes, code) in rows {
        let mut bad = Bare::upgraded(scene.addr(), "/t/bad", None);
        bad.send(&bytes);
        assert_eq!(bad.close_code(), code, "{name}");
        scene.publish(1);
        // The same after a good message, in one segment with it.
        let mut bad = Bare::upgraded(scene.addr(), "/t/bad", None);
        bad.send(&[masked(0x82, b"good"), bytes].concat());
        assert_eq!(bad.close_code(), code, "{name}, behind a good message");
    }
    scene.end();
}

fn lengths_beyond_reason_are_refused_before_a_byte_of_payload(driver: DriverChoice) {
    let mut scene = Scene::new(driver);
    let long = |length: u64| [&[0x82, 0xff][..], &length.to_be_bytes(), &[1, 2, 3, 4]].concat();
    let rows: [(&str, Vec<u8>, u16); 8] = [
        ("2^63", long(1 << 63), 1002),
        ("2^64 - 1", long(u64::MAX), 1002),
        ("2^63 - 1", long((1 << 63) - 1), 1009),
        ("2^40", long(1 << 40), 1009),
        ("64 MiB + 1", long((64 << 20) + 1), 1009),
        ("8 bytes for 65535", long(65_535), 1002),
        ("2 bytes for 125", vec![0x82, 0xfe, 0, 125, 1, 2, 3, 4], 1002),
        ("64 MiB in a fragment, then 1 more", [&long(1 << 40)[..1], &long(1 << 40)[1..]].concat(), 1009),
    ];
    for (name, bytes, code) in rows {
        let mut bad = Bare::upgraded(scene.addr(), "/t/bad", None);
        bad.send(&bytes);
        assert_eq!(bad.close_code(), code, "{name}");
        scene.publish(1);
    }
    scene.end();
}

/// No prefix of these makes them sound: RFC 3629 forbids each.
const INVALID_UTF8: [&[u8]; 12] = [
    b"\x80",
    b"\xbf",
    b"a\xc0\xafz",
    b"\xc1\xbf",
    b"\xc3\x28",
    b"\xe0\x80\x80",
    b"\xe2\x28\xa1",
    b"\xed\xa0\x80",
    b"\xf0\x80\x80\x80",
    b"\xf0\x9f\x28\xbc",
    b"\xf4\x90\x80\x80",
    b"plain \xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xff",
];

fn invalid_utf8_cut_anywhere_is_closed_with_1007(driver: DriverChoice) {
    let mut scene = Scene::new(driver);
    for bytes in INVALID_UTF8 {
        for cut in 0..=bytes.len() {
            // As fragments, and as one frame that arrives in two parts.
            let fragments = [masked(0x01, &bytes[..cut]), masked(0x80, &bytes[cut..])].concat();
            let whole = masked(0x81, bytes);
            let in_frame = whole.len() - bytes.len() + cut;
            for (how, parts) in
                [("fragments", [&fragments[..], &[]]), ("segments", [&whole[..in_frame], &whole[in_frame..]])]
            {
                let mut bad = Bare::upgraded(scene.addr(), "/t/bad", None);
                for part in parts {
                    bad.send(part);
                }
                assert_eq!(bad.close_code(), 1007, "{bytes:x?} cut at {cut} into {how}");
            }
        }
        scene.publish(1);
    }
    // A sequence that is sound so far but never finished.
    for bytes in [&b"\xc3"[..], b"\xe2\x82", b"\xf0\x9f\x92"] {
        let mut bad = Bare::upgraded(scene.addr(), "/t/bad", None);
        bad.send(&masked(0x81, bytes));
        assert_eq!(bad.close_code(), 1007, "{bytes:x?} unfinished");
    }
    scene.end();
}

fn sound_utf8_cut_anywhere_arrives(driver: DriverChoice) {
    let mut scene = Scene::new(driver);
    let text = "κόσμε \u{10ffff} ¢ \u{800} 💩".as_bytes();
    let mut good = Bare::upgraded(scene.addr(), "/t/good", None);
    for cut in 0..=text.len() {
        good.send(&masked(0x01, &text[..cut]));
        // A control frame between fragments is answered between fragments.
        good.send(&masked(0x89, b"between"));
        good.send(&masked(0x80, &text[cut..]));
        let mut frames = [good.frame().expect("an answer"), good.frame().expect("an answer")];
        frames.sort_by_key(|frame| frame.first);
        assert_eq!((frames[0].first, &frames[0].payload[..]), (0x81, text), "cut at {cut}");
        assert_eq!((frames[1].first, &frames[1].payload[..]), (0x8a, &b"between"[..]));
        scene.publish(1);
    }
    scene.end();
}

fn wrong_requests_get_their_status(driver: DriverChoice) {
    let mut scene = Scene::new(driver);
    let right = upgrade_request("/t/x", None);
    let without = |line: &str| {
        let wrong = right.replace(&format!("{line}\r\n"), "");
        assert_ne!(wrong, right);
        wrong
    };
    const VERSION_13: &str = "sec-websocket-version: 13";
    let rows: Vec<(&str, String, &[&str])> = vec![
        ("no Upgrade", without("Upgrade: websocket"), &["426", "upgrade: websocket", VERSION_13]),
        ("another upgrade", right.replace("Upgrade: websocket", "Upgrade: h2c"), &["426", VERSION_13]),
        ("version 8", right.replace("Version: 13", "Version: 8"), &["426", VERSION_13]),
        ("version 14", right.replace("Version: 13", "Version: 14"), &["426", VERSION_13]),
        ("POST", right.replace("GET ", "POST "), &["405", "allow: get"]),
        ("HEAD", right.replace("GET ", "HEAD "), &["405"]),
        ("unknown path", right.replace("/t/x", "/nowhere"), &["404"]),
        ("raw without a topic", right.replace("/t/x", "/"), &["404"]),
        ("no key", without("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), &["400"]),
        ("a short key", right.replace("dGhlIHNhbXBsZSBub25jZQ==", "dGhl"), &["400"]),
        ("no version", without("Sec-WebSocket-Version: 13"), &["4"]),
        ("no Connection: Upgrade", without("Connection: Upgrade"), &["400"]),
        ("a body", right.replace("Host: ", "Content-Length: 5\r\nHost: "), &["400"]),
        ("chunked", right.replace("Host: ", "Transfer-Encoding: chunked\r\nHost: "), &["400"]),
        ("HTTP/1.0", right.replace("HTTP/1.1", "HTTP/1.0"), &[""]),
        ("no HTTP", "hello there\r\n\r\n".into(), &["400"]),
        ("TLS", "\x16\x03\x01\x02\0\x01\0\x01\u{7c}\x03\x03\r\n\r\n".into(), &["400"]),
        ("a space before a colon", right.replace("Host:", "Host :"), &["400"]),
        ("a folded line", right.replace("Host: localhost", "Host: localhost\r\n folded"), &["400"]),
        ("NUL in a header", right.replace("localhost", "local\0host"), &["400"]),
        ("a target of 20 KiB", right.replace("/t/x", &format!("/t/{}", "x".repeat(20 << 10))), &["4"]),
        ("a header of 20 KiB", right.replace("localhost", &"x".repeat(20 << 10)), &["431"]),
        ("a topic that is none", right.replace("/t/x", "/t/a//b"), &["4"]),
        ("a topic that is not UTF-8", right.replace("/t/x", "/t/%ff%fe"), &["4"]),
    ];
    for (name, request, answers) in rows {
        let mut bad = Bare::connect(scene.addr());
        bad.send(request.as_bytes());
        let head = bad.response_head().to_lowercase();
        let status = head.strip_prefix("http/1.1 ").unwrap_or_else(|| panic!("{name}: {head:?}"));
        assert!(!status.starts_with('1') && !status.starts_with('2'), "{name}: {head}");
        assert!(status.starts_with(answers[0]), "{name}: {head}");
        for header in &answers[1..] {
            assert!(head.contains(header), "{name}: {head}");
        }
        // And the connection is over.
        bad.read_to_end();
        scene.publish(1);
    }
    scene.end();
}

fn ten_thousand_headers_are_refused(driver: DriverChoice) {
    let mut scene = Scene::new(driver);
    // Small ones, so that their number is the trouble as well as their sum; and few large ones.
    for line in ["a:b\r\n".to_string(), format!("X-Header: {}\r\n", "y".repeat(1000))] {
        let mut bad = Bare::connect(scene.addr());
        let right = upgrade_request("/t/x", None);
        bad.send(right.replace("Host: ", &format!("{}Host: ", line.repeat(10_000))).as_bytes());
        let head = bad.response_head();
        assert!(head.starts_with("HTTP/1.1 431 "), "{head}");
        bad.read_to_end();
        scene.publish(1);
    }
    scene.end();
}

fn a_request_may_come_one_byte_at_a_time(driver: DriverChoice) {
    let mut scene = Scene::new(driver);
    let mut slow = Bare::connect(scene.addr());
    // The first frame comes on the heels of the request.
    let bytes = [upgrade_request("/t/slow", None).into_bytes(), masked(0x81, b"first")].concat();
    for byte in &bytes {
        slow.send(std::slice::from_ref(byte));
        std::thread::yield_now();
    }
    let head = slow.response_head();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(slow.frame().expect("its own message").payload, b"first");
    scene.publish(1);
    scene.end();
}

fn an_endless_request_one_byte_at_a_time_is_refused(driver: DriverChoice) {
    let mut scene = Scene::new(driver);
    let mut slow = Bare::connect(scene.addr());
    slow.send(b"GET /t/x HTTP/1.1\r\nHost: ");
    for _ in 0..(40 << 10) {
        slow.send(b"x");
    }
    let head = slow.response_head();
    assert!(head.starts_with("HTTP/1.1 431 "), "{head}");
    slow.read_to_end();
    scene.publish(1);
    scene.end();
}

fn wrong_json_is_answered_with_an_error_and_no_close(driver: DriverChoice) {
    let mut scene = Scene::new(driver);
    let mut client = connect(scene.addr(), "/", Some(JSON));
    let deep = "[".repeat(100_000);
    let many = serde_json::json!({"type": "subscribe", "topics": vec!["x"; 100_000]}).to_string();
    for text in [
        "",
        "{",
        "nonsense",
        "[]",
        "\"text\"",
        "{\"type\":5}",
        "{}",
        "{\"type\":\"subscribe\"}",
        "{\"type\":\"subscribe\",\"topics\":\"a\"}",
        "{\"type\":\"subscribe\",\"topics\":[1]}",
        "{\"type\":\"subscribe\",\"topics\":[\"a//b\"]}",
        "{\"type\":\"subscribe\",\"topics\":[\"a/**/b\"]}",
        "{\"type\":\"publish\",\"data\":1}",
        "{\"type\":\"publish\",\"topic\":\"a/*\",\"data\":1}",
        "{\"type\":\"publish\",\"topic\":\"a\",\"data\":1,\"priority\":\"urgent\"}",
        "{\"type\":\"publish\",\"topic\":\"a\",\"data\":\"not base64!\",\"encoding\":\"base64\"}",
        &deep,
        &many,
    ] {
        send(&mut client, text);
        let answers = settle(&mut client);
        let errors = answers.iter().filter(|answer| answer["type"] == "error").count();
        assert!(errors >= 1, "to {}: {answers:?}", &text[..text.len().min(80)]);
        scene.publish(1);
    }
    // Unknown types are ignored, by the protocol's own rule.
    send(&mut client, "{\"type\":\"from the future\",\"id\":1}");
    assert!(settle(&mut client).iter().all(|answer| answer["type"] != "error"));
    // After all that it still works.
    send(&mut client, "{\"type\":\"subscribe\",\"id\":9,\"topics\":[\"witness\"]}");
    while next_object(&mut client)["type"] != "subscribed" {}
    scene.end();
}

fn half_a_request_is_given_up(driver: DriverChoice) {
    let mut short = config(driver);
    short.limits.handshake_timeout = std::time::Duration::from_millis(200);
    let mut scene = Scene::with(short);
    for half in ["", "GET /t/x HTTP/1.1\r\nHost: "] {
        let mut bad = Bare::connect(scene.addr());
        bad.send(half.as_bytes());
        let head = bad.response_head();
        assert!(head.is_empty() || head.starts_with("HTTP/1.1 408 "), "{head}");
        bad.read_to_end();
        scene.publish(1);
    }
    scene.end();
}

fn connections_that_say_nothing_or_vanish_disturb_nobody(driver: DriverChoice) {
    let mut scene = Scene::new(driver);
    let mut kept = Vec::new();
    for i in 0..200 {
        let mut bad = Bare::connect(scene.addr());
        match i % 4 {
            0 => kept.push(bad),
            1 => drop(bad),
            2 => {
                bad.send(upgrade_request("/t/witness", None).as_bytes());
                drop(bad);
            }
            // Half a frame, and gone.
            _ => {
                bad.send(upgrade_request("/t/bad", None).as_bytes());
                bad.response_head();
                bad.send(&masked(0x82, &[7; 5000])[..100]);
                drop(bad);
            }
        }
        scene.publish(1);
    }
    scene.end();
}
