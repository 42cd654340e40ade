//! What simulated publishers publish: payloads that say themselves what they are, down to the last byte.

use crate::driver::sim::Rng;
use crate::ingest::ATTRIBUTES_MAX;
use crate::types::{Kind, Priority};

/// The topic of payloads too short to say what they are: they follow from their number alone.
pub const TINY: &str = "tiny";

/// Whole payload lengths at which headers and blocks change.
const EDGES: [u32; 17] =
    [125, 126, 127, 511, 512, 513, 1_023, 1_024, 4_095, 4_096, 4_097, 16_383, 16_384, 16_385, 65_535, 65_536, 65_537];

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
    /// Conflation key; 0: none.
    pub key: u16,
    /// Time to live in milliseconds; 0: for ever.
    pub ttl_ms: u32,
    /// It says that it is JSON and is none.
    pub is_broken: bool,
}

/// [`Kind`], ordered.
pub type StampKind = u8;

impl Stamp {
    /// A stamp without key, time to live or flaw.
    pub fn new(topic: &str, priority: Priority, publisher: u32, number: u64, kind: StampKind, filling: u32) -> Self {
        let topic = topic.to_owned();
        Stamp { topic, priority, publisher, number, kind, filling, key: 0, ttl_ms: 0, is_broken: false }
    }

    /// Message `number` of [`TINY`]: none to 60 bytes.
    pub fn tiny(number: u64) -> Self {
        Self::new(TINY, Priority::Normal, 0, number, (number % 2) as u8, (number * 7 % 61) as u32)
    }

    /// The kind.
    pub fn kind(&self) -> Kind {
        Kind::from_u8(self.kind).expect("a stamp holds a kind")
    }

    /// What `fanwire.json.v1` and `fanwire.msgpack.v1` deliver it as.
    pub fn shown_kind(&self) -> Kind {
        if self.is_broken { Kind::Text } else { self.kind() }
    }

    /// The key's name; `None` for no key.
    pub fn key_name(&self) -> Option<String> {
        (self.key > 0).then(|| format!("key {}", self.key))
    }

    /// Chooses the filling so that the payload's length is one of those where something changes.
    pub fn fill_to_an_edge(&mut self, rng: &mut Rng, max: u32) {
        let wanted = *rng.pick(&EDGES);
        self.filling = 0;
        for _ in 0..3 {
            let len = (self.render_head().len() + self.tail().len() + 2) as u32;
            self.filling = wanted.saturating_sub(len);
        }
        if self.filling > max {
            self.filling = max;
        }
    }

    /// Perhaps gives it one of so many keys, and a time to live.
    pub fn season(&mut self, keys: u16, rng: &mut Rng) {
        if self.topic.len() % 2 == 1 && rng.chance(600) {
            self.key = rng.between(1, keys.into()) as u16;
        }
        if rng.chance(100) {
            self.ttl_ms = rng.skewed(5_000) as u32;
        }
    }

    fn render_head(&self) -> Vec<u8> {
        let Stamp { topic, priority, publisher, number, kind, filling, key, ttl_ms, is_broken } = self;
        let (priority, is_broken) = (*priority as u8, u8::from(*is_broken));
        let text = format!(
            r#"{{"t":"{topic}","p":{priority},"w":{publisher},"n":{number},"k":{kind},"l":{filling},"q":{key},"x":{ttl_ms},"b":{is_broken},"z":""#
        );
        text.into_bytes()
    }

    fn tail(&self) -> Vec<u8> {
        match self.kind() {
            Kind::Json if self.is_broken => b",".to_vec(),
            Kind::Json => Vec::new(),
            Kind::Text => "\n\"\\\u{1}\u{7f}äß€\u{1F6F0}".as_bytes().to_vec(),
            Kind::Binary => (0..=if self.number.is_multiple_of(2) { 255u8 } else { 3 }).collect(),
        }
    }

    /// The payload. For every kind it begins with one JSON object; text adds what JSON must escape, binary adds all bytes.
    pub fn render(&self) -> Vec<u8> {
        if self.topic == TINY {
            return (0..u64::from(self.filling)).map(|i| b'a' + ((self.number + i) % 26) as u8).collect();
        }
        let mut out = self.render_head();
        out.reserve(self.filling as usize + 300);
        const ALPHABET: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz+-";
        let seed = self.number ^ u64::from(self.publisher) << 32 ^ u64::from(self.priority as u8) << 60;
        let mut rng = Rng::new(seed);
        let end = out.len() + self.filling as usize;
        // Some repeat themselves, some hardly, some not at all: compression has something to decide.
        let repeats = self.number % 3 == 1;
        let is_noise = self.number % 3 == 2 && self.kind() == Kind::Binary;
        let start = out.len();
        while out.len() < end {
            let mut bits = rng.next_u64();
            if repeats && out.len() >= start + 50 {
                let run = (end - out.len()).min(50);
                out.extend_from_within(start..start + run);
                continue;
            }
            for _ in 0..10.min(end - out.len()) {
                out.push(if is_noise { bits as u8 } else { ALPHABET[(bits & 63) as usize] });
                bits >>= 6;
            }
        }
        out.extend_from_slice(b"\"}");
        out.extend_from_slice(&self.tail());
        out
    }

    /// What its publisher says of it beyond the payload: of every third of the host's, something.
    pub fn attributes(&self) -> Vec<u8> {
        if self.publisher != 0 || self.topic == TINY || self.number % 3 != 1 {
            return Vec::new();
        }
        let len = if self.number % 27 == 1 { ATTRIBUTES_MAX as u64 } else { 1 + self.number % 40 };
        (0..len).map(|at| (self.number * 31 + at * 7) as u8).collect()
    }

    /// Reads a payload's own words; it is what they say only if it is equal to what they [`Stamp::render`] to.
    ///
    /// # Errors
    /// There are none.
    pub fn parse_claim(payload: &[u8]) -> Result<Stamp, String> {
        let shown = || String::from_utf8_lossy(&payload[..payload.len().min(200)]).into_owned();
        let end =
            payload.windows(5).position(|w| w == br#""z":""#).ok_or_else(|| format!("no head in {:?}", shown()))?;
        let head = std::str::from_utf8(&payload[..end]).map_err(|_| format!("head is not UTF-8: {:?}", shown()))?;
        Self::parse_head(head).ok_or_else(|| format!("broken head: {:?}", shown()))
    }

    /// Reads a payload back.
    ///
    /// # Errors
    /// What is wrong with it: it is not, byte by byte, what its own head says.
    pub fn parse(payload: &[u8]) -> Result<Stamp, String> {
        let stamp = Self::parse_claim(payload)?;
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
            key: next()?.parse().ok()?,
            ttl_ms: next()?.parse().ok()?,
            is_broken: next()?.parse::<u8>().ok()? == 1,
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
                for number in 99..102 {
                    let stamp =
                        Stamp { key: 3, ttl_ms: 20, ..Stamp::new("a/ü", Priority::Low, 7, number, kind, filling) };
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
    }

    #[test]
    fn json_payloads_are_json_unless_they_are_to_be_broken() {
        let mut stamp = Stamp::new("t", Priority::High, 0, 1, 2, 20);
        serde_json::from_slice::<serde_json::Value>(&stamp.render()).expect("JSON");
        stamp.is_broken = true;
        serde_json::from_slice::<serde_json::Value>(&stamp.render()).expect_err("no JSON");
    }

    #[test]
    fn edges_are_hit() {
        let mut rng = Rng::new(1);
        for number in 1..200 {
            let mut stamp = Stamp::new("a/b", Priority::Normal, 0, number, 2, 0);
            stamp.fill_to_an_edge(&mut rng, 100_000);
            assert!(EDGES.contains(&(stamp.render().len() as u32)), "{}", stamp.render().len());
        }
    }
}
