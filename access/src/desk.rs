//! Job: in which order tokens are judged: what costs little at once, signatures one by one, in turns.
//! Knows: what the engine asks, the door, who is here. Must never know: the engine, the clock.

use fanwire::{ConnectionId, Event};
use fanwire_token::Cost;

use crate::door::{Decided, Door};
use crate::live::Live;
use crate::placement::{self, Carried};
use crate::refusals::What;
use crate::revocations::Revocations;
use crate::waiting::{Source, Waiting};

/// A token that a connection brings.
#[derive(Debug)]
struct Question {
    connection: ConnectionId,
    what: What,
    token: String,
}

/// What has come of a question.
#[derive(Debug)]
pub struct Made {
    pub connection: ConnectionId,
    pub what: What,
    pub decided: Decided,
}

/// See the module's head.
pub struct Desk {
    pub door: Door,
    pub revocations: Revocations,
    waiting: Waiting<Question>,
}

impl Desk {
    /// Nobody has asked yet.
    pub fn new(door: Door, revocations: Revocations) -> Self {
        Desk { door, revocations, waiting: Waiting::default() }
    }

    /// True if signatures are to be looked at.
    pub fn has_work(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Hears a question of the engine, at a time in seconds since 1970. What comes back is decided: this one, or one that has to go
    /// for it; `None`: it waits, or is no question.
    pub fn hear(&mut self, event: Event, live: &Live, now: u64) -> Option<Made> {
        let (source, question) = match event {
            Event::Authorize { connection, peer, target, headers, .. } => {
                let token = match placement::find(&target, &headers) {
                    Carried::Token(token) => token.into_owned(),
                    other => {
                        let decided = self.door.decide_without(&other);
                        return Some(Made { connection, what: What::Upgrade, decided });
                    }
                };
                (Source::of(peer), Question { connection, what: What::Upgrade, token })
            }
            Event::Reauthorize { connection, token } => {
                let subject = live.bearer(connection).and_then(|bearer| bearer.subject);
                let source = subject.map_or(Source::Unknown, Source::Subject);
                (source, Question { connection, what: What::Renewal, token })
            }
            _ => return None,
        };
        match self.door.examine(&question.token, now) {
            Ok(Cost::Signature) => {
                let goes = self.waiting.push(source, question)?;
                Some(Made {
                    connection: goes.connection,
                    what: goes.what,
                    decided: Decided::unavailable("too_many_wait"),
                })
            }
            Ok(Cost::Little) => Some(self.judge(question, live, now)),
            Err(decided) => {
                let Question { connection, what, .. } = question;
                Some(Made { connection, what, decided: *decided })
            }
        }
    }

    /// Looks at one signature, if one is to be looked at.
    pub fn next(&mut self, live: &Live, now: u64) -> Option<Made> {
        let question = self.waiting.pop()?;
        Some(self.judge(question, live, now))
    }

    fn judge(&self, question: Question, live: &Live, now: u64) -> Made {
        let Question { connection, what, token } = question;
        let decided = match what {
            What::Upgrade => self.door.decide(&token, now),
            What::Renewal => self.door.renew(&token, live.bearer(connection), now),
        };
        Made { connection, what, decided: decided.unless_revoked(&self.revocations) }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use fanwire::Decision;
    use fanwire_token::{Keys, Rules, SigningKey};
    use serde_json::json;

    use super::*;
    use crate::door::{DoorConfig, KeysFrom};
    use crate::revocations::RevocationsConfig;

    const KEY: &[u8] = include_bytes!("../../core/token/testdata/p256.pem");
    const PUBLIC: &[u8] = include_bytes!("../../core/token/testdata/p256.pub.pem");
    const NOW: u64 = 1_800_000_000;

    fn desk() -> Desk {
        let keys = Keys::from_pem(PUBLIC).unwrap();
        let config =
            DoorConfig { keys: Some(KeysFrom::File("keys".into())), rules: Rules::default(), ..DoorConfig::default() };
        let revocations =
            Revocations::open(RevocationsConfig { entries_max: 1, ..RevocationsConfig::default() }).unwrap();
        Desk::new(Door::with_keys(config, keys), revocations)
    }

    fn token(expires: u64) -> String {
        let claims = json!({"sub": "u1", "exp": expires, "fanwire": {"subscribe": ["a"]}});
        SigningKey::from_pem(KEY).unwrap().sign(claims.as_object().unwrap(), None).unwrap()
    }

    /// Everything but its signature is good.
    fn forged() -> String {
        let (good, other) = (token(NOW + 60), token(NOW + 61));
        format!("{}.{}", good.rsplit_once('.').unwrap().0, other.rsplit_once('.').unwrap().1)
    }

    fn asks(n: u32, address: [u8; 4], token: &str) -> Event {
        let headers = vec![("authorization".to_owned(), format!("Bearer {token}").into_bytes())];
        let peer = Some(SocketAddr::from((address, 1)));
        Event::Authorize {
            connection: ConnectionId::new(0, 0, n),
            peer,
            listener: 0,
            target: "/".into(),
            headers,
            certificate: None,
        }
    }

    #[test]
    fn a_flood_of_forged_tokens_from_one_address_holds_others_up_by_one_signature() {
        let (mut desk, live, forged) = (desk(), Live::new(10), forged());
        for n in 0..5_000 {
            // Beyond what may wait, its own go, unlooked at.
            let made = desk.hear(asks(n, [10, 0, 0, 1], &forged), &live, NOW);
            assert!(made.is_none_or(|made| matches!(made.decided.decision, Decision::Unavailable)));
        }
        let good = ConnectionId::new(0, 0, 9_000);
        assert_eq!(
            desk.hear(asks(9_000, [10, 0, 0, 2], &token(NOW + 60)), &live, NOW).unwrap().connection.slot(),
            1_023
        );
        let mut signatures = 0;
        let made = loop {
            let made = desk.next(&live, NOW).unwrap();
            signatures += 1;
            if made.connection == good {
                break made;
            }
            assert_eq!(made.decided.refused, Some("signature"));
            // The flood goes on.
            desk.hear(asks(signatures, [10, 0, 0, 1], &forged), &live, NOW);
        };
        assert!(matches!(made.decided.decision, Decision::Allow(_)));
        assert_eq!(signatures, 2);
        let rest = std::iter::from_fn(|| desk.next(&live, NOW)).count();
        assert!(rest <= 1_024 && !desk.has_work(), "{rest}");
    }

    #[test]
    fn what_needs_no_signature_to_be_refused_waits_for_none() {
        let (mut desk, live) = (desk(), Live::new(10));
        let hs = "eyJhbGciOiJIUzI1NiJ9.e30.AAAA";
        for (token, reason) in [(&token(NOW - 60)[..], "expired"), ("x", "shape"), (hs, "algorithm"), ("", "placement")]
        {
            let made = desk.hear(asks(1, [10, 0, 0, 1], token), &live, NOW).unwrap();
            assert_eq!(made.decided.refused, Some(reason), "{token}");
        }
        assert!(!desk.has_work() && desk.next(&live, NOW).is_none());
    }
}
