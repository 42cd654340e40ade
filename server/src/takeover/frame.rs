//! Job: a message on its way to the other process, in bytes.
//! Knows: its form and its bounds. Must never know: a stream.
//!
//! All numbers little-endian: length of the rest (4 bytes), priority, kind, length of the topic's name (2), key (8), time to live in
//! milliseconds (4; 0: none), time of publication (8), length of the attributes (2), the name, the attributes, the payload.

use std::time::Duration;

use fanwire::proto::topic::NAME_BYTES_MAX;
use fanwire::{ATTRIBUTES_MAX, Forwarded, Kind, MESSAGE_BYTES_MAX, OutletMessage, Priority};

/// What stands before each.
pub const LENGTH_BYTES: usize = 4;
/// What stands before the name.
const HEAD_BYTES: usize = 26;
/// Longest, without its length.
const BYTES_MAX: usize = HEAD_BYTES + NAME_BYTES_MAX + ATTRIBUTES_MAX + MESSAGE_BYTES_MAX;

/// Appends a message.
pub fn write(message: &OutletMessage, to: &mut Vec<u8>) {
    let topic = message.topic.as_bytes();
    let attributes = message.attributes.as_deref().unwrap_or_default();
    let len = HEAD_BYTES + topic.len() + attributes.len() + message.payload.len();
    let ttl_ms = message.ttl.map_or(0, |ttl| u32::try_from(ttl.as_millis()).unwrap_or(u32::MAX));
    to.extend_from_slice(&(len as u32).to_le_bytes());
    to.extend_from_slice(&[message.priority as u8, message.kind as u8]);
    to.extend_from_slice(&(topic.len() as u16).to_le_bytes());
    to.extend_from_slice(&message.key.to_le_bytes());
    to.extend_from_slice(&ttl_ms.to_le_bytes());
    to.extend_from_slice(&message.time_ns.to_le_bytes());
    to.extend_from_slice(&(attributes.len() as u16).to_le_bytes());
    to.extend_from_slice(topic);
    to.extend_from_slice(attributes);
    to.extend_from_slice(&message.payload);
}

/// How long the rest of a frame is.
///
/// # Errors
/// Longer than any.
pub fn length(bytes: [u8; LENGTH_BYTES]) -> Result<usize, &'static str> {
    let len = u32::from_le_bytes(bytes) as usize;
    if (HEAD_BYTES..=BYTES_MAX).contains(&len) { Ok(len) } else { Err("a frame has an impossible length") }
}

/// The topic and the message in a frame, without its length.
///
/// # Errors
/// What is wrong with it.
pub fn read(frame: &[u8]) -> Result<(&str, Forwarded<'_>), &'static str> {
    let (head, rest) = frame.split_first_chunk::<HEAD_BYTES>().ok_or("a frame is too short")?;
    let len_at = |at| usize::from(u16::from_le_bytes(part(head, at)));
    let (name, rest) = rest.split_at_checked(len_at(2)).ok_or("no whole name")?;
    let (attributes, payload) = rest.split_at_checked(len_at(24)).ok_or("no whole attributes")?;
    let ttl_ms = u32::from_le_bytes(part(head, 12));
    let message = Forwarded {
        priority: Priority::ALL.into_iter().find(|p| *p as u8 == head[0]).ok_or("an unknown priority")?,
        kind: Kind::from_u8(head[1]).ok_or("an unknown kind")?,
        payload,
        attributes,
        key: u64::from_le_bytes(part(head, 4)),
        ttl: (ttl_ms != 0).then(|| Duration::from_millis(ttl_ms.into())),
        time_ns: u64::from_le_bytes(part(head, 16)),
    };
    Ok((std::str::from_utf8(name).map_err(|_| "a name is not UTF-8")?, message))
}

fn part<const N: usize>(head: &[u8; HEAD_BYTES], from: usize) -> [u8; N] {
    std::array::from_fn(|at| head[from + at])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fanwire::{Config, Engine, Message};

    use super::*;

    #[test]
    fn a_message_arrives_as_it_was() {
        let config = Config {
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            shards: Some(1),
            cpus: Some(Vec::new()),
            ..Config::default()
        };
        let engine = Engine::start(config).unwrap();
        let mut outlet = super::super::outlet(&engine).unwrap();
        let topic = engine.topic("a/b").unwrap();
        let ttl = Some(Duration::from_millis(77));
        for (priority, kind, payload, attributes) in [
            (Priority::Critical, Kind::Json, &b"{}"[..], &b"a=1"[..]),
            (Priority::Low, Kind::Text, b"", b""),
            (Priority::Normal, Kind::Binary, &[7; 100_000], &[9; ATTRIBUTES_MAX]),
        ] {
            let message = Message { priority, kind, payload, key: Some("k"), ttl, attributes, ..Message::default() };
            topic.publish_message_timeout(&message, Duration::from_secs(60)).unwrap();
            let got = outlet.wait(Duration::from_secs(60)).unwrap();
            let mut bytes = Vec::new();
            write(&got, &mut bytes);
            let (len, rest) = bytes.split_first_chunk().unwrap();
            assert_eq!(length(*len), Ok(rest.len()));
            let expected = Forwarded { priority, kind, payload, attributes, key: got.key, ttl, time_ns: got.time_ns };
            assert_eq!(read(rest), Ok(("a/b", expected)));
            assert!(got.key != 0 && got.time_ns != 0 && !got.is_forwarded);
            for cut in 0..rest.len().min(HEAD_BYTES + 3) {
                assert!(read(&rest[..cut]).is_err(), "{cut}");
            }
        }
        engine.shutdown_now();
    }

    #[test]
    fn what_is_none_is_refused() {
        let max = BYTES_MAX as u32;
        assert_eq!((length(max.to_le_bytes()), length((max + 1).to_le_bytes()).is_err()), (Ok(BYTES_MAX), true));
        assert!(length(((HEAD_BYTES - 1) as u32).to_le_bytes()).is_err() && length([0; 4]).is_err());
        let mut frame = [0; HEAD_BYTES + 1];
        frame[2] = 1;
        frame[HEAD_BYTES] = b'a';
        assert!(read(&frame).is_ok());
        for (at, byte) in [(0, 9), (1, 3), (2, 2), (24, 1), (HEAD_BYTES, 0xff)] {
            let mut wrong = frame;
            wrong[at] = byte;
            assert!(read(&wrong).is_err(), "{at}");
        }
    }
}
