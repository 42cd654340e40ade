//! Job: the decision on one request.
//! Knows: keys, rules, what everybody gets. Must never know: the engine, the clock.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use fanwire::proto::topic::Pattern;
use fanwire::{Decision, Grants, SUBJECT_BYTES_MAX};
use fanwire_token::{Cost, Fingerprint, Keys, Refusal, Rules, Verifier};

use crate::error::AccessError;
use crate::key_file::read_keys;
use crate::key_url::{Fetched, KeySource, Moved};
use crate::live::Bearer;
use crate::placement::Carried;
use crate::revocations::Revocations;

/// What is said where no keys are wanted.
const NO_KEYS: &str = "no keys: everybody gets the same";

/// Where keys come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeysFrom {
    /// A file.
    File(PathBuf),
    /// A URL, now and then.
    Url(KeySource),
}

/// What the settings below `token` say.
#[derive(Clone, Debug, Default)]
pub struct DoorConfig {
    /// Where the keys are.
    pub keys: Option<KeysFrom>,
    /// What a token has to say.
    pub rules: Rules,
    /// What everybody may subscribe to who has no token.
    pub anonymous_subscribe: Vec<Pattern>,
    /// What they may publish on.
    pub anonymous_publish: Vec<Pattern>,
}

impl DoorConfig {
    /// True if somebody has to decide at all.
    pub fn is_wanted(&self) -> bool {
        self.keys.is_some() || !self.anonymous_subscribe.is_empty() || !self.anonymous_publish.is_empty()
    }

    /// Where keys are read from now and then, if they are.
    pub fn source(&self) -> Option<&KeySource> {
        match &self.keys {
            Some(KeysFrom::Url(source)) => Some(source),
            _ => None,
        }
    }
}

/// What comes of a request.
#[derive(Debug)]
pub struct Decided {
    /// What the engine is told.
    pub decision: Decision,
    /// In a word, why it is refused.
    pub refused: Option<&'static str>,
    /// By what it is let in, if that is a token.
    pub bearer: Option<Bearer>,
}

impl Decided {
    fn unauthorized(reason: &'static str) -> Self {
        Decided { decision: Decision::Unauthorized, refused: Some(reason), bearer: None }
    }

    /// That cannot be told now.
    pub fn unavailable(reason: &'static str) -> Self {
        Decided { decision: Decision::Unavailable, refused: Some(reason), bearer: None }
    }

    /// The same, but that a token that is revoked is refused as a bad one is.
    pub fn unless_revoked(self, revocations: &Revocations) -> Self {
        let left = match &self.decision {
            Decision::Allow(grants) => grants.lifetime,
            _ => None,
        };
        match self.bearer.and_then(|bearer| revocations.refusal(&bearer, left)) {
            Some(reason) => Decided::unauthorized(reason),
            None => self,
        }
    }

    fn allow(grants: Grants, bearer: Option<Bearer>) -> Self {
        Decided { decision: Decision::Allow(grants), refused: None, bearer }
    }
}

/// Decides.
pub struct Door {
    config: DoorConfig,
    /// `None`: no keys are wanted, or those of a URL are not there yet.
    verifier: Option<Verifier>,
}

/// A door, with what there is to say of its keys.
pub struct Opened {
    /// The door.
    pub door: Door,
    /// What they are, or why there are none, for a person.
    pub said: Result<String, String>,
    /// Where keys come from now and then, and which these are.
    pub moved: Moved,
}

impl Door {
    /// Reads the keys. Those of a URL that cannot be read, or that nobody waits for any more, are missing until they can.
    ///
    /// # Errors
    /// Their file cannot be read, or has none that can be used.
    pub fn open(config: DoorConfig, is_over: impl Fn() -> bool) -> Result<Opened, AccessError> {
        let moved = Moved { source: config.source().cloned(), fingerprint: None, problem: None };
        let (keys, said) = match &config.keys {
            None => return Ok(Opened { door: Door::without_keys(config), said: Ok(NO_KEYS.into()), moved }),
            Some(KeysFrom::File(path)) => {
                let keys = read_keys(path)?;
                let said = in_words(&path.display(), &keys);
                (keys, said)
            }
            Some(KeysFrom::Url(source)) => match source.fetch(is_over) {
                Ok(Fetched { keys, fingerprint }) => {
                    let said = in_words(&source.url, &keys);
                    let moved = Moved { fingerprint: Some(fingerprint), ..moved };
                    return Ok(Opened { door: Door::with_keys(config, keys), said: Ok(said), moved });
                }
                Err(problem) => {
                    let moved = Moved { problem: Some(problem.reason), ..moved };
                    let said = Err(format!("{}: {problem}", source.url));
                    return Ok(Opened { door: Door::without_keys(config), said, moved });
                }
            },
        };
        Ok(Opened { door: Door::with_keys(config, keys), said: Ok(said), moved })
    }

    fn without_keys(config: DoorConfig) -> Self {
        Door { config, verifier: None }
    }

    /// One with these keys.
    pub fn with_keys(config: DoorConfig, keys: Keys) -> Self {
        let verifier = Some(Verifier::new(keys, config.rules.clone()));
        Door { config, verifier }
    }

    /// These keys count from now on.
    pub fn set_keys(&mut self, keys: Keys) {
        self.verifier = Some(Verifier::new(keys, self.config.rules.clone()));
    }

    /// Takes the place of another one: its keys stay where they come from the same URL, which could not be read anew.
    pub fn take_over(&mut self, old: Door) {
        let is_same = self.config.source().map(|s| &s.url) == old.config.source().map(|s| &s.url);
        if self.verifier.is_none()
            && is_same
            && self.config.source().is_some()
            && let Some(verifier) = old.verifier
        {
            self.set_keys(verifier.into_keys());
        }
    }

    /// Whether the key of this fingerprint is one of those that count.
    pub fn has_key(&self, key: Fingerprint) -> bool {
        self.verifier.as_ref().is_some_and(|verifier| verifier.has_key(key))
    }

    /// The decision on who carries no token, or none that can be made out.
    pub fn decide_without(&self, carried: &Carried<'_>) -> Decided {
        match carried {
            Carried::Nothing => self.decide_on_anonymous(),
            Carried::Token(_) | Carried::Unclear => Decided::unauthorized("placement"),
        }
    }

    /// What the rest of a decision on a token costs.
    ///
    /// # Errors
    /// What is decided already: the token is refused.
    pub fn examine(&self, token: &str, now: u64) -> Result<Cost, Box<Decided>> {
        let Some(verifier) = &self.verifier else { return Err(Box::new(self.without_verifier())) };
        verifier.examine(token, now).map_err(|refusal| Box::new(Decided::unauthorized(refusal.name())))
    }

    /// The decision on a token that an open connection brings, which came in by another one.
    pub fn renew(&self, token: &str, before: Option<Bearer>, now: u64) -> Decided {
        // Who came in without one is not counted for anybody, and cannot become somebody.
        let Some(before) = before else { return Decided::unauthorized("no_token_before") };
        let decided = self.decide(token, now);
        match decided.bearer {
            Some(bearer) if !bearer.is_same_party(&before) => Decided::unauthorized("another_subject"),
            _ => decided,
        }
    }

    /// The decision on a token.
    pub fn decide(&self, token: &str, now: u64) -> Decided {
        let Some(verifier) = &self.verifier else { return self.without_verifier() };
        match verifier.verify(token, now) {
            Err(refusal) => Decided::unauthorized(refusal.name()),
            Ok(claims) if claims.subject.as_ref().is_some_and(|subject| subject.len() > SUBJECT_BYTES_MAX) => {
                Decided::unauthorized(Refusal::Subject.name())
            }
            Ok(claims) => {
                let bearer = Bearer::of(&claims);
                // A clock that is a little behind has let it in: it is closed at once.
                let left = Duration::from_secs(claims.expires.saturating_sub(now));
                let grants = grants(claims.subscribe, claims.publish, Some(left));
                Decided::allow(Grants { subject: claims.subject, ..grants }, Some(bearer))
            }
        }
    }

    fn without_verifier(&self) -> Decided {
        match self.config.source() {
            Some(_) => Decided::unavailable("no_keys_yet"),
            None => Decided::unauthorized("no_keys"),
        }
    }

    fn decide_on_anonymous(&self) -> Decided {
        let DoorConfig { anonymous_subscribe, anonymous_publish, .. } = &self.config;
        if anonymous_subscribe.is_empty() && anonymous_publish.is_empty() {
            return Decided::unauthorized("no_token");
        }
        Decided::allow(grants(anonymous_subscribe.clone(), anonymous_publish.clone(), None), None)
    }
}

fn grants(subscribe: Vec<Pattern>, publish: Vec<Pattern>, lifetime: Option<Duration>) -> Grants {
    Grants { subscribe: subscribe.into(), publish: publish.into(), lifetime, subject: None }
}

/// Keys, and where they come from, for a person.
pub fn in_words(place: &dyn fmt::Display, keys: &Keys) -> String {
    let s = if keys.len() == 1 { "" } else { "s" };
    format!("{place}: {} key{s} ({})", keys.len(), keys.algorithms())
}
