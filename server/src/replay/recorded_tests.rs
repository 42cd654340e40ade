//! What is read of files that others wrote, of parts of files, and of files that lie.

use std::collections::BTreeMap;

use mcap::{Compression, WriteOptions};

use super::*;

const TOPICS: [(&str, &str); 4] = [("/imu", "cdr"), ("status", "json"), ("log", "text"), ("$fanwire/gaps", "json")];

fn source(path: &Path) -> Source {
    let (only, prefix, start, end) = (Vec::new(), String::new(), Duration::ZERO, None);
    let selection = Selection { only, prefix, start, end, priority: Priority::Low };
    Source { path: path.to_owned(), selection }
}

/// A file of four channels; message N, counted from 0, is of channel N mod 4 and N ms behind the first.
fn file(folder: &Path, messages: u64, compression: Option<Compression>) -> PathBuf {
    let path = folder.join("other.mcap");
    let out = File::create(&path).unwrap();
    let mut writer = WriteOptions::new().compression(compression).profile("ros2").create(out).unwrap();
    let schema = writer.add_schema("sensor_msgs/Imu", "ros2msg", b"float64 x").unwrap();
    let metadata = BTreeMap::from([("priority".to_owned(), "high".to_owned())]);
    let channels = TOPICS.map(|(topic, encoding)| {
        let (schema, metadata) = if encoding == "cdr" { (schema, BTreeMap::new()) } else { (0, metadata.clone()) };
        writer.add_channel(schema, topic, encoding, &metadata).unwrap()
    });
    for n in 0..messages {
        let channel_id = channels[n as usize % 4];
        let (log_time, publish_time) = (1_000_000_000 + n * 1_000_000, 0);
        let header = MessageHeader { channel_id, sequence: n as u32, log_time, publish_time };
        writer.write_to_known_channel(&header, format!("{n}").as_bytes()).unwrap();
    }
    writer.finish().unwrap();
    path
}

/// Topic, priority, kind and payload of each message.
fn all(source: &Source) -> Result<Vec<(String, Priority, Kind, String)>, Failure> {
    let mut messages = Messages::open(source)?;
    let mut found = Vec::new();
    while let Some(Found { topic, priority, kind, payload, .. }) = messages.next()? {
        found.push((topic.to_owned(), priority, kind, String::from_utf8(payload.to_vec()).unwrap()));
    }
    Ok(found)
}

#[test]
fn channels_become_topics_and_encodings_kinds() {
    let folder = tempfile::tempdir().unwrap();
    for compression in [None, Some(Compression::Lz4), Some(Compression::Zstd)] {
        let path = file(folder.path(), 8, compression);
        assert!(is_mcap(&path));
        let lane = |topic: &str, priority, kind, n: u64| (topic.to_owned(), priority, kind, n.to_string());
        let four = |n| {
            let imu = lane("imu", Priority::Low, Kind::Binary, n);
            [imu, lane("status", Priority::High, Kind::Json, n + 1), lane("log", Priority::High, Kind::Text, n + 2)]
        };
        assert_eq!(all(&source(&path)).unwrap(), [four(0), four(4)].concat());
    }
}

#[test]
fn what_is_wanted_is_chosen_by_topic_and_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut source = source(&file(folder.path(), 40, None));
    source.selection.only = vec![Pattern::parse("imu").unwrap()];
    source.selection.prefix = "replay/".into();
    let payloads = |source: &Source| all(source).unwrap().into_iter().map(|found| found.3).collect::<Vec<_>>();
    assert_eq!(payloads(&source), (0..40).step_by(4).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(source.topics().unwrap(), ["replay/imu"]);
    // From the moment of the one to that of the other, which is not among them.
    source.selection.start = Duration::from_millis(8);
    source.selection.end = Some(Duration::from_millis(16));
    assert_eq!(payloads(&source), ["8", "12"]);
    source.selection.start += Duration::from_nanos(1);
    source.selection.end = Some(Duration::from_nanos(16_000_001));
    assert_eq!(payloads(&source), ["12", "16"]);
}

#[test]
fn json_that_is_none_is_text_and_text_that_is_none_is_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.mcap");
    let mut writer = mcap::Writer::new(File::create(&path).unwrap()).unwrap();
    let payloads: [&[u8]; 3] = [b"{\"a\":1}", b"{a:1}", b"\xff"];
    for encoding in ["json", "text"] {
        let channel_id = writer.add_channel(0, encoding, encoding, &BTreeMap::new()).unwrap();
        for payload in payloads {
            let header = MessageHeader { channel_id, sequence: 0, log_time: 0, publish_time: 0 };
            writer.write_to_known_channel(&header, payload).unwrap();
        }
    }
    writer.finish().unwrap();
    let mut messages = Messages::open(&source(&path)).unwrap();
    let mut kinds = Vec::new();
    while let Some(found) = messages.next().unwrap() {
        kinds.push(found.kind);
    }
    assert_eq!(kinds, [Kind::Json, Kind::Text, Kind::Binary, Kind::Text, Kind::Text, Kind::Binary]);
}

#[test]
fn a_file_that_is_cut_anywhere_gives_what_was_whole_or_says_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), 12, None);
    let bytes = std::fs::read(&path).unwrap();
    let whole = all(&source(&path)).unwrap();
    let mut of_parts = 0;
    for length in 0..bytes.len() {
        std::fs::write(&path, &bytes[..length]).unwrap();
        match all(&source(&path)) {
            Ok(found) => {
                assert!(whole.starts_with(&found), "{length}");
                of_parts += usize::from(!found.is_empty());
            }
            Err(failure) => assert_eq!(failure.code, Exit::Data as i32, "{length}"),
        }
    }
    assert!(of_parts > 0);
}

#[test]
fn a_record_that_says_it_is_too_long_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.mcap");
    for (length, is_refused) in [(RECORD_BYTES_MAX as u64, false), (RECORD_BYTES_MAX as u64 + 1, true)] {
        let bytes = [mcap::MAGIC, &[1], &length.to_le_bytes()].concat();
        std::fs::write(&path, bytes).unwrap();
        let what = format!("{:#}", all(&source(&path)).unwrap_err().error);
        assert_eq!(what.contains(&length.to_string()), is_refused, "{what}");
    }
}
