//! What rivals speak that are no plain broadcast: just enough of NATS and of foxglove.sdk.v1 to subscribe and to find payloads.
//!
//! Never knows sockets. Only setting up allocates.

/// What NATS says next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nats<'a> {
    /// A message's payload.
    Message(&'a [u8]),
    /// The server wants a PONG.
    Ping,
    /// The answer to our PING.
    Pong,
    /// Anything else.
    Other,
}

/// To be sent behind the upgrade. A PONG answers when the subscription holds.
pub fn nats_subscribe(topic: &str) -> String {
    format!("CONNECT {{\"verbose\":false,\"pedantic\":false,\"protocol\":1}}\r\nSUB {topic} 1\r\nPING\r\n")
}

/// The next of NATS's operations and the bytes that it takes; `Ok(None)` until it is whole.
///
/// # Errors
/// What is no NATS.
pub fn nats_next(bytes: &[u8]) -> Result<Option<(Nats<'_>, usize)>, &'static str> {
    let Some(end) = bytes.windows(2).take(4096).position(|window| window == b"\r\n") else {
        return if bytes.len() > 4096 { Err("a NATS line that does not end") } else { Ok(None) };
    };
    let line = &bytes[..end];
    let Some(rest) = line.strip_prefix(b"MSG ") else {
        let operation = match line {
            b"PING" => Nats::Ping,
            b"PONG" => Nats::Pong,
            _ => Nats::Other,
        };
        return Ok(Some((operation, end + 2)));
    };
    let size = rest.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    let size: usize =
        std::str::from_utf8(size).ok().and_then(|size| size.parse().ok()).ok_or("a NATS message without size")?;
    let (from, to) = (end + 2, end + 2 + size);
    match bytes.get(to..to + 2) {
        None => Ok(None),
        Some(b"\r\n") => Ok(Some((Nats::Message(&bytes[from..to]), to + 2))),
        Some(_) => Err("a NATS message that is longer than it says"),
    }
}

/// The answer to foxglove's `advertise` of this topic's channel; `None` for any other text.
pub fn foxglove_subscribe(text: &[u8], topic: &str) -> Option<String> {
    let object: serde_json::Value = serde_json::from_slice(text).ok()?;
    if object["op"] != "advertise" {
        return None;
    }
    let channel = object["channels"].as_array()?.iter().find(|channel| channel["topic"] == topic)?;
    let subscription = serde_json::json!({"id": 1, "channelId": channel["id"]});
    Some(serde_json::json!({"op": "subscribe", "subscriptions": [subscription]}).to_string())
}

/// The payload of foxglove's binary message.
pub fn foxglove_payload(message: &[u8]) -> Option<&[u8]> {
    // Operation, subscription, time in nanoseconds.
    message.strip_prefix(&[1])?.get(12..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_of_nats_are_found_and_wait_until_they_are_whole() {
        let bytes = b"INFO {}\r\nMSG t0 1 5\r\na\r\nbc\r\nPING\r\n";
        let mut at = 0;
        let mut seen = Vec::new();
        while let Some((operation, taken)) = nats_next(&bytes[at..]).unwrap() {
            seen.push(operation);
            at += taken;
        }
        assert_eq!(seen, [Nats::Other, Nats::Message(b"a\r\nbc"), Nats::Ping]);
        assert_eq!(at, bytes.len());
        for cut in 0..19 {
            assert_eq!(nats_next(&bytes[9..9 + cut]), Ok(None), "{cut}");
        }
        assert!(nats_next(b"MSG t0 1 1\r\nabc\r\n").is_err());
    }

    #[test]
    fn the_channel_of_a_topic_is_found() {
        let text = br#"{"op":"advertise","channels":[{"id":3,"topic":"x"},{"id":4,"topic":"t0"}]}"#;
        assert!(foxglove_subscribe(text, "t0").unwrap().contains("\"channelId\":4"));
        assert_eq!(foxglove_subscribe(text, "t1"), None);
        assert_eq!(foxglove_payload(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, b'x']), Some(&b"x"[..]));
    }
}
