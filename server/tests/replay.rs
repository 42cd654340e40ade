//! Recordings: from a file to independent subscribers, complete, in order, byte for byte.
#![allow(clippy::disallowed_methods)]

use crate::support;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::process::Signal;

use support::{Fanwire, run, serve, sub};

const MESSAGES: usize = 3_000;
const TOPICS: usize = 3;

/// A recording of [`MESSAGES`] messages within a fifth of a second, with the data of each topic as they have to
/// arrive.
fn recording(directory: &Path, name: &str) -> (PathBuf, Vec<String>) {
    let mut text = String::new();
    let mut expected = vec![String::new(); TOPICS];
    for n in 0..MESSAGES {
        let topic = n % TOPICS;
        let data = format!(r#"{{"n": {n}, "value":{:.3},"text":"\u00e4\/"}}"#, n as f64 / 7.0);
        text.push_str(&format!("{{\"topic\":\"test/{topic}\",\"t_us\":{},\"data\":{data}}}\n", 1_000_000 + n * 60));
        expected[topic].push_str(&data);
        expected[topic].push('\n');
    }
    let path = directory.join(name);
    let file = std::fs::File::create(&path).unwrap();
    if name.ends_with(".gz") {
        GzEncoder::new(file, Compression::fast()).write_all(text.as_bytes()).unwrap();
    } else {
        (&file).write_all(text.as_bytes()).unwrap();
    }
    (path, expected)
}

fn sub_to(url: &str, topic: usize) -> Fanwire {
    sub(url, &[&format!("test/{topic}"), "--count", &(MESSAGES / TOPICS).to_string()])
}

fn assert_all_arrived(subscribers: Vec<Fanwire>, expected: &[String]) {
    for (subscriber, expected) in subscribers.into_iter().zip(expected) {
        let (code, out, log) = subscriber.finish();
        assert_eq!(code, 0, "{log}");
        assert!(out == expected.as_bytes(), "{} bytes came of {}; {log}", out.len(), expected.len());
    }
}

#[test]
fn an_embedded_engine_waits_for_its_subscribers_and_for_their_last_byte() {
    let directory = tempfile::tempdir().unwrap();
    for (name, speed, driver) in [("a.ndjson.gz", "max", "auto"), ("b.ndjson", "10", "epoll")] {
        let (path, expected) = recording(directory.path(), name);
        let (replay, address) = Fanwire::listening(&format!(
            "replay {} --listen 127.0.0.1:0 --speed {speed} --driver {driver} --wait-for-subscribers {TOPICS}",
            path.display()
        ));
        let url = format!("ws://{address}");
        let subscribers: Vec<Fanwire> = (0..TOPICS).map(|topic| sub_to(&url, topic)).collect();
        let (code, _, log) = replay.finish();
        assert_eq!(code, 0, "{log}");
        assert_all_arrived(subscribers, &expected);
    }
}

#[test]
fn a_recording_reaches_the_subscribers_of_another_server() {
    let directory = tempfile::tempdir().unwrap();
    let (path, expected) = recording(directory.path(), "a.ndjson.gz");
    let (_server, url) = serve("");
    let subscribers: Vec<Fanwire> = (0..TOPICS).map(|topic| sub_to(&url, topic)).collect();
    let (code, _, log) = run(&["replay", path.to_str().unwrap(), "--to", &url, "--speed", "1"], b"");
    assert_eq!(code, 0, "{log}");
    assert_all_arrived(subscribers, &expected);
}

#[test]
fn a_loop_goes_on_until_it_is_told_to_stop() {
    let directory = tempfile::tempdir().unwrap();
    let (path, _) = recording(directory.path(), "a.ndjson");
    let (replay, address) =
        Fanwire::listening(&format!("replay {} --listen 127.0.0.1:0 --loop --speed 10", path.display()));
    // More than one round holds.
    let count = (2 * MESSAGES / TOPICS).to_string();
    let (code, out, log) = run(&["sub", &format!("ws://{address}"), "test/0", "--count", &count], b"");
    assert_eq!(code, 0, "{log}");
    assert_eq!(out.iter().filter(|b| **b == b'\n').count(), 2 * MESSAGES / TOPICS);
    replay.signal(Signal::INT);
    let (code, _, log) = replay.finish();
    assert_eq!(code, 128 + 2, "{log}");
}

#[test]
fn wrong_recordings_are_named_with_the_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("wrong.ndjson");
    let file = path.to_str().unwrap();
    for (text, speed, what) in [
        ("{\"topic\":\"a\",\"t_us\":0,\"data\":1}\n{\"topic\":\"a\",\"t_us\":1}\n", "max", ":2: missing field `data`"),
        ("{\"topic\":\"a\",\"data\":1}\n", "1", ":1: missing field `t_us`"),
        ("{\"t_us\":0,\"data\":1}\n", "max", ":1: missing field `topic`"),
        ("\n{\"topic\":\"a//b\",\"t_us\":0,\"data\":1}\n", "max", ":2: a topic name"),
    ] {
        std::fs::write(&path, text).unwrap();
        let (code, _, log) = run(&["replay", file, "--listen", "127.0.0.1:0", "--speed", speed], b"");
        assert_eq!(code, 65, "{log}");
        assert!(log.contains(what), "{log}");
    }
    let (code, _, log) = run(&["replay", "no-such-file", "--listen", "127.0.0.1:0"], b"");
    assert_eq!(code, 66, "{log}");
    assert!(log.contains("no-such-file"), "{log}");
}
