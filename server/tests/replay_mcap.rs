//! From an MCAP file to subscribers: what was recorded here, and what other tools wrote.

use crate::support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mcap::records::MessageHeader;

use support::{Fanwire, publish, run, serve, sub};

/// Ten messages on `/imu` in CDR, a second apart, with a schema.
fn other(folder: &Path) -> PathBuf {
    let path = folder.join("other.mcap");
    let mut writer = mcap::Writer::new(std::fs::File::create(&path).unwrap()).unwrap();
    let schema = writer.add_schema("sensor_msgs/Imu", "ros2msg", b"float64 x").unwrap();
    let channel_id = writer.add_channel(schema, "/imu", "cdr", &BTreeMap::new()).unwrap();
    for n in 0..10 {
        let log_time = u64::from(n) * 1_000_000_000;
        let header = MessageHeader { channel_id, sequence: n, log_time, publish_time: log_time };
        writer.write_to_known_channel(&header, format!("\0\x01{n}").as_bytes()).unwrap();
    }
    writer.finish().unwrap();
    path
}

#[test]
fn what_was_recorded_comes_again_with_its_kinds_and_priorities() {
    let folder = tempfile::tempdir().unwrap();
    let lines: String = (0..500).map(|n| format!("{n}\n")).collect();
    let record = |url: &str, name: &str| {
        let path = folder.path().join(name);
        let arguments = ["record", url, "**", "-o", path.to_str().unwrap(), "--count", "1000"];
        let mut recorder = Fanwire::start_with(&arguments, b"");
        recorder.stderr_line("subscribed to");
        (recorder, path)
    };
    let (_server, url) = serve("");
    let (recorder, first) = record(&url, "first.mcap");
    publish(&url, &["a/text", "--priority", "low"], &lines);
    publish(&url, &["a/json", "--kind", "json", "--priority", "high"], &lines);
    assert_eq!(recorder.finish().0, 0);

    let (_other, url) = serve("");
    let (recorder, second) = record(&url, "second.mcap");
    let (code, _, log) = run(&["replay", first.to_str().unwrap(), "--to", &url, "--speed", "max"], b"");
    assert_eq!(code, 0, "{log}");
    assert_eq!(recorder.finish().0, 0);
    let [first, second] = [first, second].map(|path| {
        let bytes = std::fs::read(path).unwrap();
        let messages = mcap::MessageStream::new(&bytes).unwrap().map(Result::unwrap).map(|message| {
            let channel = message.channel;
            let lane = (channel.topic.clone(), channel.message_encoding.clone(), channel.metadata["priority"].clone());
            (lane, message.sequence, message.data.to_vec())
        });
        let mut messages: Vec<_> = messages.collect();
        messages.sort();
        messages
    });
    assert_eq!(first.len(), 1_000);
    assert!(first == second);
}

#[test]
fn another_tools_file_goes_to_subscribers_byte_for_byte_and_its_schema_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = other(folder.path());
    let (replay, address) = Fanwire::listening(&format!(
        "replay {} --listen 127.0.0.1:0 --speed max --wait-for-subscribers 1 --prefix ros/ --start 2s --end 8s",
        path.display()
    ));
    let subscriber = sub(&format!("ws://{address}"), &["ros/**"]);
    let (code, _, log) = replay.finish();
    assert_eq!(code, 0, "{log}");
    assert!(log.contains("/imu: cdr, sensor_msgs/Imu (ros2msg); published as binary on ros/imu"), "{log}");
    let (code, out, log) = subscriber.finish();
    assert_eq!(code, 0, "{log}");
    assert_eq!(out, (2..8).map(|n| format!("\0\x01{n}\n")).collect::<String>().as_bytes());
}

#[test]
fn it_loops_and_says_where_nothing_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let path = other(folder.path());
    let (_server, url) = serve("");
    let subscriber = sub(&url, &["imu", "--count", "25"]);
    let to = ["replay", path.to_str().unwrap(), "--to", &url, "--speed", "1000", "--loop"];
    let looping = Fanwire::start_with(&to, b"");
    assert_eq!(subscriber.finish().0, 0);
    drop(looping);
    let (code, _, log) = run(&[&to[..], &["--only", "gps"]].concat(), b"");
    assert_eq!((code, log.contains("holds no messages that are wanted")), (65, true), "{log}");
    std::fs::write(&path, "{}\n").unwrap();
    let (code, _, log) = run(&["replay", path.to_str().unwrap(), "--to", &url, "--only", "a"], b"");
    assert_eq!((code, log.contains("is no MCAP file")), (2, true), "{log}");
}
