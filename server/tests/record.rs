//! What is recorded is what was published: message for message, with gaps, over breaks, kills and full disks.
#![allow(clippy::disallowed_methods)]

use crate::support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mcap::read::Options;
use rustix::process::Signal;

use support::{Fanwire, PATIENCE, publish, run, serve};

/// The channel of what is missing.
const GAPS: &str = "$fanwire/gaps";

/// Starts `record URL ARGUMENTS -o FILE`, which is in force when this returns.
fn record(url: &str, file: &Path, arguments: &str) -> Fanwire {
    let arguments = arguments.split_whitespace();
    let arguments: Vec<&str> = ["record", url, "-o", file.to_str().unwrap()].into_iter().chain(arguments).collect();
    let mut running = Fanwire::start_with(&arguments, b"");
    running.stderr_line("subscribed to");
    running
}

/// A message that was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Message {
    topic: String,
    encoding: String,
    priority: String,
    sequence: u32,
    data: String,
}

/// What a file holds, also if it has no end.
fn messages(file: &Path) -> Vec<Message> {
    let bytes = std::fs::read(file).unwrap_or_default();
    let Ok(found) = mcap::MessageStream::new_with_options(&bytes, Options::IgnoreEndMagic.into()) else {
        return Vec::new();
    };
    let found = found.map_while(Result::ok).map(|message| {
        assert!(message.publish_time > 0 && message.log_time > 0);
        Message {
            topic: message.channel.topic.clone(),
            encoding: message.channel.message_encoding.clone(),
            priority: message.channel.metadata.get("priority").cloned().unwrap_or_default(),
            sequence: message.sequence,
            data: String::from_utf8(message.data.to_vec()).unwrap(),
        }
    });
    found.collect()
}

fn wait_for(file: &Path, count: usize) -> Vec<Message> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = messages(file);
        if found.len() >= count {
            return found;
        }
        assert!(Instant::now() < deadline, "{} of {count} messages are in the file", found.len());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn file_in(folder: &tempfile::TempDir, name: &str) -> PathBuf {
    folder.path().join(name)
}

fn lines(count: usize) -> String {
    (1..=count).map(|n| format!("{n}\n")).collect()
}

#[test]
fn kinds_priorities_and_numbers_are_kept_over_every_subprotocol_and_compression() {
    let folder = tempfile::tempdir().unwrap();
    for (protocol, compression) in [("json", "none"), ("msgpack", "lz4"), ("batch", "zstd"), ("batch+lz4", "zstd")] {
        let (_server, url) = serve("");
        let file = file_in(&folder, &format!("{protocol}.mcap"));
        let arguments = format!("** --count 300 --protocol {protocol} --compression {compression}");
        let recorder = record(&url, &file, &arguments);
        for (kind, priority) in [("text", "low"), ("json", "high"), ("binary", "critical")] {
            publish(&url, &["a/b", "--kind", kind, "--priority", priority], &lines(100));
        }
        let (code, _, log) = recorder.finish();
        assert_eq!(code, 0, "{log}");
        let found = messages(&file);
        assert_eq!(found.len(), 300);
        for (encoding, priority) in [("text", "low"), ("json", "high"), ("octets", "critical")] {
            let lane: Vec<_> = found.iter().filter(|message| message.priority == priority).collect();
            assert!(lane.iter().all(|message| message.encoding == encoding && message.topic == "a/b"));
            assert!(lane.iter().zip(1u32..).all(|(message, n)| message.sequence == n && message.data == n.to_string()));
            assert_eq!(lane.len(), 100);
        }
        let summary = mcap::Summary::read(&std::fs::read(&file).unwrap()).unwrap().expect("a complete file");
        assert_eq!(summary.stats.unwrap().message_count, 300);
        assert!(!summary.chunk_indexes.is_empty());
    }
}

#[test]
fn a_file_whose_recorder_was_killed_holds_what_was_flushed() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_in(&folder, "a.mcap");
    let (_server, url) = serve("");
    let recorder = record(&url, &file, "** --flush-every 50ms");
    publish(&url, &["a"], &lines(1_000));
    wait_for(&file, 1_000);
    recorder.signal(Signal::KILL);
    recorder.finish();
    let found = messages(&file);
    assert!(found.iter().zip(1u32..).all(|(message, n)| message.sequence == n && message.data == n.to_string()));
    assert_eq!(found.len(), 1_000);
}

#[test]
fn a_signal_ends_the_file_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_in(&folder, "a.mcap");
    let (_server, url) = serve("");
    let recorder = record(&url, &file, "** --flush-every 20ms");
    publish(&url, &["a"], &lines(10));
    wait_for(&file, 10);
    recorder.signal(Signal::INT);
    let (code, _, log) = recorder.finish();
    assert_eq!(code, 130, "{log}");
    let bytes = std::fs::read(&file).unwrap();
    assert_eq!(mcap::MessageStream::new(&bytes).unwrap().map(Result::unwrap).count(), 10);
}

#[test]
fn it_goes_on_behind_a_server_that_was_killed_and_says_that_numbers_began_anew() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_in(&folder, "a.mcap");
    let (server, url) = serve("");
    let mut recorder = record(&url, &file, "** --reconnect --count 20 --flush-every 20ms");
    publish(&url, &["a"], &lines(10));
    // What the server has taken, and not sent, dies with it.
    wait_for(&file, 10);
    server.signal(Signal::KILL);
    server.finish();
    let address = url.trim_start_matches("ws://");
    let (_server, _) = Fanwire::listening(&format!("serve --listen {address}"));
    recorder.stderr_line("subscribed to");
    publish(&url, &["a"], &lines(10));
    let (code, _, log) = recorder.finish();
    assert_eq!(code, 0, "{log}");
    let (notices, found): (Vec<_>, Vec<_>) = messages(&file).into_iter().partition(|message| message.topic == GAPS);
    let numbers: Vec<u32> = found.iter().map(|message| message.sequence).collect();
    assert_eq!(numbers, (1..=10).chain(1..=10).collect::<Vec<_>>());
    assert_eq!(notices.len(), 1);
    assert!(notices[0].data.contains(r#""type":"renumbered","topic":"a""#), "{}", notices[0].data);
}

#[test]
fn what_a_recorder_that_stood_still_has_lost_stands_in_the_file() {
    const MESSAGES: usize = 6_000;
    let folder = tempfile::tempdir().unwrap();
    let file = file_in(&folder, "a.mcap");
    let (_server, url) = serve("--lane-bytes 256KiB");
    let mut recorder = record(&url, &file, "** --flush-every 50ms");
    recorder.signal(Signal::STOP);
    let text: String = (0..MESSAGES).map(|n| format!("{n:05}{}\n", "x".repeat(4_000))).collect();
    publish(&url, &["a"], &text);
    recorder.signal(Signal::CONT);
    recorder.stderr_line("gap:");
    publish(&url, &["a"], "the last one\n");
    let deadline = Instant::now() + PATIENCE;
    let all = loop {
        let all = messages(&file);
        if all.iter().any(|message| message.data == "the last one") {
            break all;
        }
        assert!(Instant::now() < deadline, "the last message does not come");
        std::thread::sleep(Duration::from_millis(20));
    };
    let (notices, found): (Vec<_>, Vec<_>) = all.into_iter().partition(|message| message.topic == GAPS);
    let mut lost = 0;
    for notice in &notices {
        let notice: serde_json::Value = serde_json::from_str(&notice.data).unwrap();
        assert_eq!((&notice["type"], &notice["topic"]), (&"gap".into(), &"a".into()));
        lost += notice["to"].as_u64().unwrap() - notice["from"].as_u64().unwrap() + 1;
    }
    assert!(lost > 0);
    assert_eq!(found.len() as u64 + lost, MESSAGES as u64 + 1);
}

#[test]
fn on_a_full_disk_it_ends_with_74_and_leaves_a_file_that_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_in(&folder, "a.mcap");
    let (_server, url) = serve("");
    let mut command = Command::new("sh");
    let binary = env!("CARGO_BIN_EXE_fanwire");
    // Blocks of 512 bytes: a limit of 3 MiB on every file, which is met as an error.
    let script = format!("trap '' XFSZ; ulimit -f 6144; exec {binary} record {url} '**' -o \"$0\" --compression none");
    command.args(["-c", &script]).arg(&file).stdin(Stdio::null());
    let mut recorder = Fanwire::spawn_as_it_is(&mut command);
    recorder.stderr_line("subscribed to");
    let text: String = (0..2_000).map(|n| format!("{n:05}{}\n", "x".repeat(4_000))).collect();
    publish(&url, &["a"], &text);
    let (code, _, log) = recorder.finish();
    assert_eq!(code, 74, "{log}");
    assert!(log.contains("cannot write") && log.contains("a.mcap"), "{log}");
    let found = messages(&file);
    assert!(found.len() > 100, "{}", found.len());
    assert!(found.iter().zip(1u32..).all(|(message, n)| message.sequence == n));
}

#[test]
fn it_refuses_what_cannot_be_recorded_and_files_that_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_in(&folder, "a.mcap");
    let name = file.to_str().unwrap();
    let (code, _, log) = run(&["record", "ws://127.0.0.1:1", "a", "-o", name, "--protocol", "raw"], b"");
    assert_eq!((code, log.contains("raw")), (2, true), "{log}");
    let (code, _, _) = run(&["record", "ws://127.0.0.1:1", "a", "-o", name], b"");
    assert_eq!((code, file.exists()), (69, false), "nothing is left where nobody was met");
    std::fs::write(&file, "mine").unwrap();
    let (code, _, log) = run(&["record", "ws://127.0.0.1:1", "a", "-o", name], b"");
    assert_eq!((code, log.contains("is there already")), (2, true), "{log}");
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");
}
