//! What `sub`, `pub` and `serve` can be asked for: subprotocols, compression, resuming, keys, expiry, topic settings.
#![allow(clippy::disallowed_methods)]

use crate::support;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::Signal;

use support::{Fanwire, publish, run, serve, sub};

const FORMS: [&[&str]; 8] = [
    &["--protocol", "json"],
    &["--protocol", "json", "--deflate"],
    &["--protocol", "msgpack"],
    &["--protocol", "msgpack", "--deflate"],
    &["--protocol", "batch"],
    &["--protocol", "batch", "--deflate"],
    &["--protocol", "batch+lz4"],
    &["--protocol", "batch+lz4", "--deflate"],
];

fn ended_well(running: Fanwire) -> String {
    let (code, out, log) = running.finish();
    assert_eq!(code, 0, "{log}");
    String::from_utf8(out).expect("text")
}

#[test]
fn every_form_prints_the_same_messages_byte_for_byte() {
    let (_server, url) = serve("");
    // Above the thresholds of both compressions, and below.
    let large: String = (0..400).map(|n| format!("{{\"n\": {n}, \"x\":[{n},0.5]}},")).collect();
    let json = format!("{{\"a\": 1.50}}\n[{large}null]\n\"\\u00e4\"\n");
    let text = format!("plain\n\tquoted \"{}\"\n\nlast\n", "ä".repeat(900));
    let count = (json.lines().count() + text.lines().count() + 2).to_string();
    let object_of = |form: &[&str]| sub(&url, &[form, &["a/**", "--json", "--count", &count]].concat());
    let payload_of = |form: &[&str]| sub(&url, &[form, &["a/b", "--count", &count]].concat());
    let raw_forms: [&[&str]; 2] = [&["--protocol", "raw"], &["--protocol", "raw", "--deflate"]];
    let objects: Vec<Fanwire> = FORMS.iter().map(|form| object_of(form)).collect();
    let payloads: Vec<Fanwire> = FORMS.iter().chain(&raw_forms).map(|form| payload_of(form)).collect();
    publish(&url, &["a/b", "--kind", "json"], &json);
    publish(&url, &["a/b"], &text);
    publish(&url, &["a/b", "--kind", "binary"], "\u{1}\u{2}\nx\n");
    let objects: Vec<String> = objects.into_iter().map(ended_well).collect();
    assert_eq!(objects[0].lines().count().to_string(), count);
    assert!(
        objects[0].contains(r#""data":{"a": 1.50}}"#) && objects[0].contains(r#""encoding":"base64""#),
        "{}",
        objects[0]
    );
    for (form, printed) in FORMS.iter().zip(&objects) {
        assert_eq!(*printed, objects[0], "{form:?}");
    }
    let expected = format!("{json}{text}\u{1}\u{2}\nx\n");
    for (form, printed) in FORMS.iter().chain(&raw_forms).zip(payloads) {
        assert_eq!(ended_well(printed), expected, "{form:?}");
    }
}

#[test]
fn compression_saves_bytes_where_both_want_it() {
    let line = "the same again and again ".repeat(400);
    let carried = |server: &str, form: &[&str]| {
        let (_server, url) = serve(server);
        let bridge = Bridge::to(&url);
        let mut subscriber = sub(&bridge.url, &[form, &["a", "--count", "1"]].concat());
        publish(&url, &["a"], &format!("{line}\n"));
        subscriber.stdout_line(&line);
        let (code, _, log) = subscriber.finish();
        assert_eq!(code, 0, "{log}");
        (bridge.carried.load(Ordering::SeqCst), log.contains("does not compress"))
    };
    for form in ["json", "msgpack", "batch", "raw"] {
        let form = ["--protocol", form, "--deflate"];
        let (plain, packed) = (carried("", &form[..2]), carried("", &form));
        assert!(plain.0 > line.len() && packed.0 < line.len() / 4, "{form:?}: {plain:?} {packed:?}");
        assert_eq!(carried("--deflate-from 1MiB", &form).0 / line.len(), 1, "{form:?}");
        let declined = carried("--no-deflate", &form);
        assert!(declined.0 > line.len() && declined.1 && !packed.1, "{form:?}: {declined:?}");
    }
    let packed = carried("", &["--protocol", "batch+lz4"]);
    assert!(packed.0 < line.len() / 4, "{packed:?}");
}

#[test]
fn a_second_run_goes_on_exactly_where_the_first_ended() {
    let (_server, url) = serve("");
    let directory = tempfile::tempdir().unwrap();
    for (n, form) in FORMS.iter().enumerate() {
        let state = directory.path().join(format!("state-{n}"));
        let state = state.to_str().unwrap();
        let topic = format!("logs/{n}");
        let with = |count| [form, &[&*topic, "--state", state, "--count", count][..]].concat();
        let first = sub(&url, &with("3"));
        publish(&url, &[&topic], "1\n2\n3\n4\n5\n6\n");
        assert_eq!(ended_well(first), "1\n2\n3\n", "{form:?}");
        assert_eq!(ended_well(sub(&url, &with("2"))), "4\n5\n", "{form:?}");
        publish(&url, &[&topic], "7\n");
        assert_eq!(ended_well(sub(&url, &with("2"))), "6\n7\n", "{form:?}");
    }
}

/// A way to the server that can be cut.
struct Bridge {
    url: String,
    /// Bytes both ways so far.
    carried: Arc<AtomicUsize>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Bridge {
    fn to(server: &str) -> Bridge {
        let server: SocketAddr = server.trim_start_matches("ws://").parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let streams = Arc::new(Mutex::new(Vec::new()));
        let kept = streams.clone();
        let carried = Arc::new(AtomicUsize::new(0));
        let counted = carried.clone();
        std::thread::spawn(move || {
            for near in listener.incoming() {
                let (near, Ok(far)) = (near.unwrap(), TcpStream::connect(server)) else { continue };
                for (mut from, mut to) in [
                    (near.try_clone().unwrap(), far.try_clone().unwrap()),
                    (far.try_clone().unwrap(), near.try_clone().unwrap()),
                ] {
                    let counted = counted.clone();
                    std::thread::spawn(move || {
                        let mut piece = [0; 4_096];
                        while let Ok(n @ 1..) = from.read(&mut piece) {
                            counted.fetch_add(n, Ordering::SeqCst);
                            if to.write_all(&piece[..n]).is_err() {
                                break;
                            }
                        }
                        let _ = to.shutdown(Shutdown::Both);
                    });
                }
                kept.lock().unwrap().extend([near, far]);
            }
        });
        Bridge { url, carried, streams }
    }

    fn cut(&self) {
        for stream in self.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

#[test]
fn a_broken_connection_is_made_again_and_nothing_is_missing_or_twice() {
    let (_server, url) = serve("");
    for form in FORMS {
        let topic = format!("t/{}", form.join("/"));
        let bridge = Bridge::to(&url);
        let mut subscriber = sub(&bridge.url, &[form, &[&topic, "--reconnect", "--count", "30"]].concat());
        for round in 0..3 {
            let lines: String = (0..10).map(|n| format!("{round}{n}\n")).collect();
            let (now, later) = lines.split_at(15);
            publish(&url, &[&topic], now);
            subscriber.stdout_line(&format!("{round}4"));
            bridge.cut();
            publish(&url, &[&topic], later);
            if round < 2 {
                subscriber.stderr_line("subscribed to");
                subscriber.stdout_line(&format!("{round}9"));
            }
        }
        let (code, out, log) = subscriber.finish();
        assert_eq!(code, 0, "{log}");
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "25\n26\n27\n28\n29\n",
            "{form:?}: what came after the last line read"
        );
        assert!(log.contains("connecting again"), "{log}");
        assert!(!log.contains("gap"), "{log}");
    }
}

#[test]
fn a_server_that_was_started_anew_is_found_again_and_its_numbers_are_new() {
    let (server, url) = serve("");
    let mut subscriber = sub(&url, &["a", "--reconnect", "--count", "2"]);
    publish(&url, &["a"], "before\n");
    subscriber.stdout_line("before");
    server.signal(Signal::KILL);
    server.finish();
    subscriber.stderr_line("connecting again");
    let (server, _) = Fanwire::listening(&format!("serve --listen {}", url.trim_start_matches("ws://")));
    subscriber.stderr_line("subscribed to");
    publish(&url, &["a"], "after\n");
    subscriber.stdout_line("after");
    let (code, _, log) = subscriber.finish();
    assert_eq!(code, 0, "{log}");
    assert!(log.contains("numbered anew"), "{log}");
    drop(server);
}

#[test]
fn a_rate_is_kept_and_the_newest_message_comes() {
    let (_server, url) = serve("");
    for protocol in ["json", "msgpack"] {
        let topic = format!("fast/{protocol}");
        let mut subscriber = sub(&url, &[&topic, "--protocol", protocol, "--max-hz", "2", "--stats"]);
        let lines: String = (0..2_000).map(|n| format!("{n}\n")).collect();
        publish(&url, &[&topic], &(lines + "the newest\n"));
        subscriber.stdout_line("the newest");
        subscriber.signal(Signal::INT);
        let (_, _, log) = subscriber.finish();
        let summary = log.lines().last().unwrap();
        let messages: u64 = summary.split(' ').next().unwrap().replace(',', "").parse().unwrap();
        assert!((1..1_000).contains(&messages), "{summary}");
    }
}

#[test]
fn what_expired_and_what_was_replaced_is_passed_over() {
    let (_server, url) = serve("--topic pose=latest");
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let state = state.to_str().unwrap();
    let first = sub(&url, &["pose", "events", "--state", state, "--count", "2"]);
    publish(&url, &["pose", "--key", "arm"], "arm 1\n");
    publish(&url, &["events"], "event 1\n");
    ended_well(first);
    publish(&url, &["pose", "--key", "arm"], "arm 2\narm 3\n");
    publish(&url, &["pose", "--key", "leg"], "leg 1\n");
    publish(&url, &["events", "--ttl", "1ms"], "too late\n");
    publish(&url, &["events", "--ttl", "1h"], "event 2\n");
    // Longer than that message is of use.
    std::thread::sleep(Duration::from_millis(50));
    let out = ended_well(sub(&url, &["pose", "events", "--state", state, "--count", "3"]));
    let mut lines: Vec<&str> = out.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["arm 3", "event 2", "leg 1"]);
    let lines = "{\"topic\":\"pose\",\"data\":1,\"key\":\"arm\"}\n{\"topic\":\"events\",\"data\":2,\"ttl_ms\":60000}\n";
    publish(&url, &["--ndjson"], lines);
}

#[test]
fn what_is_kept_is_set_by_topic_and_more_is_a_gap() {
    let directory = tempfile::tempdir().unwrap();
    let settings = directory.path().join("topics");
    std::fs::write(&settings, "# for those who come back\nlogs/*=keep-messages=2\n\n**=keep-nothing\n").unwrap();
    let (_server, url) = serve(&format!("--topics-file {} --topic logs/all=keep-last", settings.display()));
    for (topic, expected) in [("logs/x", "gap 2\n4\n5\n"), ("logs/all", "2\n3\n4\n5\n"), ("other", "gap 4\n")] {
        let state = directory.path().join(topic.replace('/', "-"));
        let state = state.to_str().unwrap();
        let first = sub(&url, &[topic, "--state", state, "--count", "1"]);
        publish(&url, &[topic], "1\n2\n3\n4\n5\n");
        assert_eq!(ended_well(first), "1\n");
        let again = sub(&url, &[topic, "--state", state, "--json"]);
        publish(&url, &[topic], "end\n");
        assert_eq!(seen_until_the_end(again), expected, "{topic}");
    }
}

/// What a subscriber with `--json` prints up to the message `end`, in short.
fn seen_until_the_end(mut running: Fanwire) -> String {
    let mut seen = String::new();
    loop {
        let object: serde_json::Value = serde_json::from_str(&running.stdout_line("{")).expect("JSON");
        match (object["type"].as_str(), object["data"].as_str()) {
            (Some("gap"), _) => {
                let lost = object["to"].as_u64().unwrap() - object["from"].as_u64().unwrap() + 1;
                seen.push_str(&format!("gap {lost}\n"));
            }
            (_, Some("end")) => return seen,
            (_, data) => seen.push_str(&format!("{}\n", data.expect("text"))),
        }
    }
}

#[test]
fn what_cannot_be_asked_for_is_refused_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let wrong = directory.path().join("wrong");
    std::fs::write(&wrong, "a=latest\nb=sometimes\n").unwrap();
    let wrong = wrong.to_str().unwrap();
    for (arguments, code, reason) in [
        (&["sub", "ws://127.0.0.1:1", "a/*", "--protocol", "raw"][..], 2, "pattern"),
        (&["sub", "ws://127.0.0.1:1", "a", "--protocol", "raw", "--json"], 2, "--json"),
        (&["sub", "ws://127.0.0.1:1", "a", "--protocol", "raw", "--state", "x"], 2, "--state"),
        (&["sub", "ws://127.0.0.1:1", "a", "--protocol", "xml"], 2, "xml"),
        (&["sub", "ws://127.0.0.1:1", "a", "--max-hz", "0"], 2, "rate"),
        (&["sub", "ws://127.0.0.1:1", "a", "--state", wrong], 65, "state"),
        (&["pub", "ws://127.0.0.1:1", "a", "--key", ""], 2, "key"),
        (&["pub", "ws://127.0.0.1:1", "--ndjson", "--kind", "json"], 2, "--kind"),
        (&["serve", "--listen", "127.0.0.1:0", "--topic", "a=sometimes"], 2, "keep-for"),
        (&["serve", "--listen", "127.0.0.1:0", "--topics-file", wrong], 65, ":2:"),
        (&["serve", "--listen", "127.0.0.1:0", "--topics-file", "/nowhere"], 66, "/nowhere"),
        (&["serve", "--listen", "127.0.0.1:0", "--topic", "a=lane-bytes=1"], 78, "lane-bytes"),
        (&["serve", "--listen", "127.0.0.1:0", "--max-unsent-bytes", "1"], 2, "--unsent-bytes-max"),
    ] {
        let (found, _, log) = run(arguments, b"");
        assert!(found == code && log.contains(reason), "{arguments:?}: {found}, {log}");
    }
    let (_server, url) = serve("");
    let (code, _, log) = run(&["pub", &url, "a", "--kind", "json"], b"{\"x\":1}\n{x}\n");
    assert!(code == 65 && log.contains("stdin:2:"), "{code}: {log}");
}
