//! What simulated publishers publish: payloads that say themselves what they are, down to the last byte.

use crate::driver::sim::Rng;
use crate::types::{Kind, Priority};

/// Everything a payload follows from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// The topic it is published on.
    pub topic: String,
    /// The lane.
    pub priority: Priority,
    /// Who publishes: 0 is the host, others are clients.
    pub publisher: u32,
    /// Counts the publisher's messages of this topic and priority, from 1 on.
    pub number: u64,
    /// What it is published as.
    pub kind: StampKind,
    /// Bytes of filling.
    pub filling: u32,
}

/// [`Kind`], ordered.
pub type StampKind = u8;

impl Stamp {
    /// The kind.
    pub fn kind(&self) -> Kind {
        Kind::from_u8(self.kind).expect("a stamp holds a kind")
    }

    /// The payload. For every kind it begins with one JSON object; text adds what JSON must escape, binary adds all bytes.
    pub fn render(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.filling as usize + self.topic.len() + 400);
        let Stamp { topic, priority, publisher, number, kind, filling } = self;
        let priority = *priority as u8;
        let head =
            format!(r#"{{"t":"{topic}","p":{priority},"w":{publisher},"n":{number},"k":{kind},"l":{filling},"z":""#);
        out.extend_from_slice(head.as_bytes());
        const ALPHABET: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz+-";
        let mut rng = Rng::new(*number ^ u64::from(*publisher) << 32 ^ u64::from(priority) << 60);
        let end = out.len() + *filling as usize;
        while out.len() < end {
            let mut bits = rng.next_u64();
            for _ in 0..10.min(end - out.len()) {
                out.push(ALPHABET[(bits & 63) as usize]);
                bits >>= 6;
            }
        }
        out.extend_from_slice(b"\"}");
        match self.kind() {
            Kind::Json => {}
            Kind::Text => out.extend_from_slice("\n\"\\\u{1}\u{7f}äß€\u{1F6F0}".as_bytes()),
            Kind::Binary => out.extend(0..=255u8),
        }
        out
    }

    /// Reads a payload back.
    ///
    /// # Errors
    /// What is wrong with it: it is not, byte by byte, what its own head says.
    pub fn parse(payload: &[u8]) -> Result<Stamp, String> {
        let shown = || String::from_utf8_lossy(&payload[..payload.len().min(200)]).into_owned();
        let end =
            payload.windows(5).position(|w| w == br#""z":""#).ok_or_else(|| format!("no head in {:?}", shown()))?;
        let head = std::str::from_utf8(&payload[..end]).map_err(|_| format!("head is not UTF-8: {:?}", shown()))?;
        let stamp = Self::parse_head(head).ok_or_else(|| format!("broken head: {:?}", shown()))?;
        let expected = stamp.render();
        if expected == payload {
            return Ok(stamp);
        }
        let at = expected.iter().zip(payload).position(|(a, b)| a != b).unwrap_or(expected.len().min(payload.len()));
        Err(format!("{stamp:?}: {} bytes instead of {}, first difference at {at}", payload.len(), expected.len()))
    }

    fn parse_head(head: &str) -> Option<Stamp> {
        let rest = head.strip_prefix(r#"{"t":""#)?;
        let (topic, rest) = rest.split_once('"')?;
        let mut numbers = rest.trim_matches(',').split(',').map(|field| field.split_once(':').map(|(_, n)| n));
        let mut next = || numbers.next().flatten();
        Some(Stamp {
            topic: topic.to_owned(),
            priority: Priority::from_u8(next()?.parse().ok()?)?,
            publisher: next()?.parse().ok()?,
            number: next()?.parse().ok()?,
            kind: next()?.parse().ok().filter(|k| *k < 3)?,
            filling: next()?.parse().ok().filter(|n| *n <= 1 << 26)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_read_back_and_any_changed_byte_shows() {
        for kind in 0..3 {
            for filling in [0, 1, 63, 1000] {
                let stamp =
                    Stamp { topic: "a/ü".into(), priority: Priority::Low, publisher: 7, number: 99, kind, filling };
                let payload = stamp.render();
                assert_eq!(Stamp::parse(&payload), Ok(stamp.clone()));
                assert!(Stamp::parse(&payload[..payload.len() - 1]).is_err());
                for at in 0..payload.len() {
                    let mut changed = payload.clone();
                    changed[at] ^= 1;
                    // A change in the head may give another stamp, but never the same one.
                    assert_ne!(Stamp::parse(&changed).as_ref(), Ok(&stamp));
                }
            }
        }
    }

    #[test]
    fn json_payloads_are_json() {
        let stamp =
            Stamp { topic: "t".into(), priority: Priority::High, publisher: 0, number: 1, kind: 2, filling: 20 };
        serde_json::from_slice::<serde_json::Value>(&stamp.render()).expect("JSON");
    }
}
