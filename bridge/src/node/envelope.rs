//! What goes with a message in its reply subject: who sent it, its number in its sender's lane, and what the engine knows of it.
//!
//! `_FW.<node>.<run>.<incarnation>.<sequence>.<kind><priority>.<ttl>.<key>`, numbers in lower-case hexadecimal without zeros in
//! front. Headers would cost three times as much. Who answers to it answers into the void.

use std::fmt;

use fanwire::{Kind, Priority};

/// What such replies begin with.
const ROOT: &str = "_FW.";

/// Whose numbers they are: they count from 1 in each lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// The node. Two processes of which one takes over from the other are one node.
    pub node: u64,
    /// A random number of the process.
    pub run: u32,
    /// How often its numbers have begun anew.
    pub incarnation: u32,
}

/// See the module's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Who sent it.
    pub origin: Origin,
    /// Its number among all that this origin has sent in this lane, from 1 on.
    pub seq: u64,
    /// What the payload is.
    pub kind: Kind,
    /// The lane.
    pub priority: Priority,
    /// How long it is worth something, in milliseconds; 0: always.
    pub ttl_ms: u32,
    /// What it replaces, as a number; 0: nothing.
    pub key: u64,
}

impl fmt::Display for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Envelope { origin: Origin { node, run, incarnation }, seq, kind, priority, ttl_ms, key } = *self;
        let kind = match kind {
            Kind::Text => 't',
            Kind::Binary => 'b',
            Kind::Json => 'j',
        };
        let priority = priority as u8;
        write!(f, "{ROOT}{node:x}.{run:x}.{incarnation:x}.{seq:x}.{kind}{priority}.{ttl_ms:x}.{key:x}")
    }
}

impl Envelope {
    /// Reads a reply subject; `None`: it is somebody else's.
    pub fn parse(reply: &str) -> Option<Self> {
        let mut parts = reply.strip_prefix(ROOT)?.split('.');
        let mut next = || parts.next();
        let node = number(next()?)?;
        let origin = Origin { node, run: small(next()?)?, incarnation: small(next()?)? };
        let seq = number(next()?).filter(|&seq| seq > 0)?;
        let &[kind, priority] = next()?.as_bytes() else { return None };
        let kind = match kind {
            b't' => Kind::Text,
            b'b' => Kind::Binary,
            b'j' => Kind::Json,
            _ => return None,
        };
        let priority = Priority::from_u8(priority.checked_sub(b'0')?)?;
        let ttl_ms = small(next()?)?;
        let key = number(next()?)?;
        let envelope = Envelope { origin, seq, kind, priority, ttl_ms, key };
        parts.next().is_none().then_some(envelope)
    }
}

/// A number in the one form that it has.
fn number(text: &str) -> Option<u64> {
    let is_sound = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let is_canonical = text == "0" || !text.starts_with('0');
    (is_canonical && text.bytes().all(is_sound)).then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

fn small(text: &str) -> Option<u32> {
    number(text)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_envelope_is_somebody_elses() {
        let sound = "_FW.1f.9.0.2.j2.3e8.0";
        assert!(Envelope::parse(sound).is_some());
        for wrong in [
            "",
            "_FW.",
            "_INBOX.a.b",
            "_FW.1f.9.0.2.j2.3e8",
            "_FW.1f.9.0.2.j2.3e8.0.0",
            "_FW.1f.9.0.0.j2.3e8.0",
            "_FW.1F.9.0.2.j2.3e8.0",
            "_FW.01f.9.0.2.j2.3e8.0",
            "_FW.1f.9.0.2.j4.3e8.0",
            "_FW.1f.9.0.2.x2.3e8.0",
            "_FW.1f.9.0.2.j.3e8.0",
            "_FW.1f.9.0.2.j2.100000000.0",
            "_FW.10000000000000000.9.0.2.j2.0.0",
            "_FW.1f.100000000.0.2.j2.0.0",
            "_FW..9.0.2.j2.0.0",
            "_FW.+1.9.0.2.j2.0.0",
        ] {
            assert_eq!(Envelope::parse(wrong), None, "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn every_envelope_comes_back(
            (node, seq, key) in (any::<u64>(), 1..u64::MAX, any::<u64>()),
            (run, incarnation) in (any::<u32>(), any::<u32>()),
            (kind, priority, ttl_ms) in (0..3u8, 0..4u8, any::<u32>()),
        ) {
            let envelope = Envelope {
                origin: Origin { node, run, incarnation },
                seq,
                kind: Kind::from_u8(kind).expect("one of three"),
                priority: Priority::from_u8(priority).expect("one of four"),
                ttl_ms,
                key,
            };
            prop_assert_eq!(Envelope::parse(&envelope.to_string()), Some(envelope));
        }

        #[test]
        fn one_envelope_has_one_text(reply in "_FW\\.[0-9a-f.jtb]{0,24}") {
            if let Some(envelope) = Envelope::parse(&reply) {
                prop_assert_eq!(envelope.to_string(), reply);
            }
        }
    }
}
