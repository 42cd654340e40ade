//! Job: the table of the settings below `token`, for every program that decides by tokens, and values that were given to them.
//! Knows: names, which values are allowed, what they have to do with each other. Must never know: where a value comes from.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use fanwire::SettingError;
use fanwire::proto::topic::Pattern;
use fanwire::settings::{Span, Unit};
use fanwire_token::{PATTERNS_MAX, Rules};

use crate::door::{DoorConfig, KeysFrom};
use crate::key_url::{KeySource, KeyUrl};
use crate::revocations::RevocationsConfig;

const KEYS_FILE: &str = "token.keys_file";
const JWKS_URL: &str = "token.jwks_url";
const JWKS_EVERY: &str = "token.jwks_every";
const ISSUER: &str = "token.issuer";
const AUDIENCE: &str = "token.audience";
const GRANTS_CLAIM: &str = "token.grants_claim";
const SUBSCRIBE: &str = "token.subscribe";
const PUBLISH: &str = "token.publish";
pub(crate) const ANONYMOUS_SUBSCRIBE: &str = "token.anonymous_subscribe";
pub(crate) const ANONYMOUS_PUBLISH: &str = "token.anonymous_publish";
const REVOCATIONS_FILE: &str = "token.revocations_file";
const REVOCATIONS_MAX: &str = "token.revocations_max";
const LIFETIME_MAX: &str = "token.lifetime_max";

/// What all their names begin with.
pub const SECTION: &str = "token.";
/// What is less like a name than this is no misspelling of it, by Jaro and Winkler.
const LEAST_LIKENESS: f64 = 0.8;

/// A row of the table.
#[derive(Debug)]
pub struct TokenSetting {
    /// Its name, such as `token.keys_file`.
    pub name: &'static str,
    /// What it does, for a person.
    pub help: &'static str,
    /// The values that are allowed, in a few words.
    pub values: &'static str,
    /// What its value is counted in, or how it is written.
    pub unit: Unit,
    /// What holds where nothing is said; empty: nothing does.
    pub default: &'static str,
    /// What stands between the values of a list; `None`: it is no list.
    pub separator: Option<char>,
    /// Whether it can be changed while connections are here.
    pub is_reloadable: bool,
    /// Whether a text is one of its values: else what is wrong with it.
    pub check: fn(&str) -> Result<(), String>,
}

impl TokenSetting {
    const fn text(name: &'static str, values: &'static str, help: &'static str) -> Self {
        TokenSetting {
            name,
            help,
            values,
            unit: Unit::Text,
            default: "",
            separator: None,
            is_reloadable: true,
            check: check_text,
        }
    }

    const fn patterns(name: &'static str, help: &'static str, check: fn(&str) -> Result<(), String>) -> Self {
        let values = "patterns of topics, several with commas";
        TokenSetting { unit: Unit::List, separator: Some(','), check, ..Self::text(name, values, help) }
    }

    /// The setting of this name.
    ///
    /// # Errors
    /// [`SettingError::Unknown`], with the nearest name there is.
    pub fn find(name: &str) -> Result<&'static TokenSetting, SettingError> {
        let found = TABLE.iter().find(|setting| setting.name == name);
        found.ok_or_else(|| SettingError::Unknown { name: name.to_owned(), nearest: nearest(name) })
    }
}

/// All of them, in the order in which a person would read them.
pub fn token_settings() -> impl ExactSizeIterator<Item = &'static TokenSetting> + Clone {
    TABLE.iter()
}

static TABLE: [TokenSetting; 13] = [
    TokenSetting::text(
        KEYS_FILE,
        "a path",
        "Keys that tokens (JWT) are verified with: a JWK set, a public key in PEM, or a secret; with it, who has no token is let \
         in only as token.anonymous_subscribe says",
    ),
    TokenSetting {
        check: |text| text.parse::<KeyUrl>().map(|_| ()),
        ..TokenSetting::text(
            JWKS_URL,
            "https://..., or http:// on this machine",
            "Where the keys are instead, as a JWK set of public keys: read at the start, now and then, and at a reload; the last \
             good set stays where it cannot be read",
        )
    },
    TokenSetting {
        unit: Unit::Time,
        default: "5m",
        check: check_jwks_every,
        ..TokenSetting::text(
            JWKS_EVERY,
            "1s to 24h",
            "How often token.jwks_url is read, a tenth less or more; after a failure sooner",
        )
    },
    TokenSetting::text(ISSUER, "any text", "What tokens have to name as their issuer (iss); not set: any"),
    TokenSetting::text(
        AUDIENCE,
        "any text",
        "What tokens have to name as their audience (aud), alone or among others; not set: tokens that name any are refused",
    ),
    TokenSetting {
        default: "fanwire",
        ..TokenSetting::text(
            GRANTS_CLAIM,
            "any text",
            "The claim with the lists subscribe and publish; dots lead into other claims",
        )
    },
    TokenSetting::patterns(
        SUBSCRIBE,
        "What tokens without that claim may subscribe to; {sub} stands for the token's subject",
        check_templates,
    ),
    TokenSetting::patterns(
        PUBLISH,
        "What tokens without that claim may publish on; {sub} stands for the token's subject",
        check_templates,
    ),
    TokenSetting::patterns(
        ANONYMOUS_SUBSCRIBE,
        "What everybody without a token may subscribe to; not set: they are refused",
        check_anonymous,
    ),
    TokenSetting::patterns(ANONYMOUS_PUBLISH, "What everybody without a token may publish on", check_anonymous),
    TokenSetting {
        is_reloadable: false,
        ..TokenSetting::text(
            REVOCATIONS_FILE,
            "a path",
            "Where revoked tokens (fanwire revoke) are kept over a restart; its folder has to be writable",
        )
    },
    TokenSetting {
        unit: Unit::Count,
        default: "1000",
        is_reloadable: false,
        check: check_revocations,
        ..TokenSetting::text(REVOCATIONS_MAX, "1 to 100000", "Revocations at once; one more is refused")
    },
    TokenSetting {
        unit: Unit::Time,
        is_reloadable: false,
        check: check_lifetime,
        ..TokenSetting::text(
            LIFETIME_MAX,
            "more than 0",
            "Longest time that a token may still have; who brings a longer one is refused, and a revocation is forgotten after it; \
             not set: any time, and revocations stay",
        )
    },
];

/// A variable that is empty by mistake must not open the door.
fn check_text(text: &str) -> Result<(), String> {
    if text.trim().is_empty() { Err("must not be empty; leave it out instead".into()) } else { Ok(()) }
}

fn check_revocations(text: &str) -> Result<(), String> {
    match text.parse() {
        Ok(1..=100_000u32) => Ok(()),
        _ => Err("must be from 1 to 100000".into()),
    }
}

fn check_jwks_every(text: &str) -> Result<(), String> {
    match text.parse::<Span>()? {
        Span(time) if (Duration::from_secs(1)..=Duration::from_secs(86_400)).contains(&time) => Ok(()),
        _ => Err("must be from 1s to 24h".into()),
    }
}

fn check_lifetime(text: &str) -> Result<(), String> {
    match text.parse::<Span>()? {
        Span(time) if time.is_zero() => Err("must be more than 0; leave it out for any time".into()),
        _ => Ok(()),
    }
}

fn check_patterns(text: &str) -> Result<(), String> {
    if patterns(text).count() > PATTERNS_MAX {
        return Err(format!("must be at most {PATTERNS_MAX} patterns"));
    }
    patterns(text).try_for_each(|text| Pattern::check(text).map_err(|error| format!("`{text}`: {error}")))
}

/// Nobody has no subject.
fn check_anonymous(text: &str) -> Result<(), String> {
    match patterns(text).find(|text| text.contains("{sub}")) {
        Some(pattern) => {
            Err(format!("`{pattern}`: who has no token has no subject, so there is nothing to put for {{sub}}"))
        }
        None => check_patterns(text),
    }
}

/// The subject stands for a level.
fn check_templates(text: &str) -> Result<(), String> {
    check_patterns(&text.replace("{sub}", "x"))
}

fn patterns(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

fn nearest(name: &str) -> Option<&'static str> {
    let written = name.trim().to_ascii_lowercase().replace('-', "_");
    let likeness = |setting: &TokenSetting| {
        // All names begin alike: what is behind that counts.
        let last = |name: &str| name.strip_prefix(SECTION).unwrap_or(name).to_owned();
        strsim::jaro_winkler(&last(setting.name), &last(&written))
    };
    let most_like = TABLE.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(most_like) >= LEAST_LIKENESS).then_some(most_like.name)
}

/// Values that were given to settings below `token`, each known to be one of its setting's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenSettings {
    given: BTreeMap<&'static str, String>,
}

impl TokenSettings {
    /// Gives a setting the value that `text` says.
    ///
    /// # Errors
    /// There is no such setting, or it cannot have that value; everything is then as it was.
    pub fn set(&mut self, name: &str, text: &str) -> Result<(), SettingError> {
        let setting = TokenSetting::find(name)?;
        (setting.check)(text).map_err(|problem| {
            let value = text.to_owned();
            SettingError::Refused { name: setting.name, value, problem }
        })?;
        self.given.insert(setting.name, text.to_owned());
        Ok(())
    }

    /// The value of a setting; empty where none was given and there is no default.
    pub fn text(&self, name: &str) -> &str {
        let default = || TABLE.iter().find(|setting| setting.name == name).map_or("", |setting| setting.default);
        self.given.get(name).map_or_else(default, String::as_str)
    }

    /// Gives one setting the value that it has in other settings.
    pub(crate) fn take(&mut self, name: &'static str, other: &TokenSettings) {
        match other.given.get(name) {
            Some(text) => self.given.insert(name, text.clone()),
            None => self.given.remove(name),
        };
    }

    /// Whether somebody has given this setting a value that is not its default.
    fn says(&self, name: &str) -> bool {
        let is_default = |text: &String| TABLE.iter().any(|setting| setting.name == name && setting.default == text);
        self.given.get(name).is_some_and(|text| !is_default(text))
    }

    fn given(&self, name: &str) -> Option<String> {
        Some(self.text(name)).filter(|text| !text.is_empty()).map(str::to_owned)
    }

    fn list(&self, name: &str) -> Vec<String> {
        patterns(self.text(name)).map(str::to_owned).collect()
    }

    /// What they say of keys, tokens and those who have none.
    pub fn door(&self) -> DoorConfig {
        let every = self.text(JWKS_EVERY).parse().map_or(Duration::from_secs(300), |Span(time)| time);
        let url = self.given(JWKS_URL).and_then(|text| text.parse().ok());
        let keys = match (self.given(KEYS_FILE), url) {
            (Some(path), _) => Some(KeysFrom::File(PathBuf::from(path))),
            (None, url) => url.map(|url| KeysFrom::Url(KeySource { url, every })),
        };
        let parsed = |name: &str| self.list(name).iter().filter_map(|text| Pattern::parse(text).ok()).collect();
        DoorConfig {
            keys,
            rules: Rules {
                issuer: self.given(ISSUER),
                audience: self.given(AUDIENCE),
                grants_claim: self.text(GRANTS_CLAIM).to_owned(),
                subscribe: self.list(SUBSCRIBE),
                publish: self.list(PUBLISH),
                ..Rules::default()
            },
            anonymous_subscribe: parsed(ANONYMOUS_SUBSCRIBE),
            anonymous_publish: parsed(ANONYMOUS_PUBLISH),
        }
    }

    /// What they say of revoked tokens.
    pub fn revocations(&self) -> RevocationsConfig {
        RevocationsConfig {
            file: self.given(REVOCATIONS_FILE).map(PathBuf::from),
            entries_max: self.text(REVOCATIONS_MAX).parse().unwrap_or(1),
            lifetime_max: self.given(LIFETIME_MAX).and_then(|text| text.parse().ok()).map(|Span(time)| time),
        }
    }

    /// Settings that say what tokens have to be, where none is looked at, and others that do not go together, each with what is wrong:
    /// whoever wrote them believes that they do something.
    pub fn faults(&self) -> Vec<(&'static str, String)> {
        let names = [ISSUER, AUDIENCE, GRANTS_CLAIM, SUBSCRIBE, PUBLISH];
        let (has_file, has_url) = (self.given.contains_key(KEYS_FILE), self.given.contains_key(JWKS_URL));
        let no_keys = format!("means nothing without {KEYS_FILE} or {JWKS_URL}: no token is looked at");
        let idle = names.into_iter().filter(|name| !has_file && !has_url && self.says(name));
        let mut faults: Vec<_> = idle.map(|name| (name, no_keys.clone())).collect();
        if has_file && has_url {
            faults.push((JWKS_URL, format!("keys are read from {KEYS_FILE} already: one of the two")));
        }
        if self.says(JWKS_EVERY) && !has_url {
            faults.push((JWKS_EVERY, format!("means nothing without {JWKS_URL}")));
        }
        faults
    }

    /// Names of the settings that have another value in `other`.
    pub fn differing<'a>(&'a self, other: &'a TokenSettings) -> impl Iterator<Item = &'static TokenSetting> + 'a {
        TABLE.iter().filter(|setting| self.text(setting.name) != other.text(setting.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_none_and_a_value_that_is_not_allowed_are_told() {
        let mut settings = TokenSettings::default();
        for (name, value, expected) in [
            ("token.isuer", "a", "token.isuer: there is no such setting; did you mean token.issuer?"),
            ("token.zzzz", "a", "token.zzzz: there is no such setting"),
            ("token.issuer", " ", "token.issuer =  : must not be empty; leave it out instead"),
            ("token.jwks_every", "999ms", "token.jwks_every = 999ms: must be from 1s to 24h"),
            ("token.jwks_every", "25h", "token.jwks_every = 25h: must be from 1s to 24h"),
            ("token.revocations_max", "100001", "token.revocations_max = 100001: must be from 1 to 100000"),
        ] {
            assert_eq!(settings.set(name, value).unwrap_err().to_string(), expected);
        }
        for (name, value) in
            [("token.jwks_every", "1s"), ("token.jwks_every", "24h"), ("token.revocations_max", "100000")]
        {
            settings.set(name, value).unwrap();
        }
        assert!(settings.set("token.anonymous_subscribe", "a/{sub}").is_err() && !settings.door().is_wanted());
        let longest = vec!["a"; PATTERNS_MAX].join(",");
        assert!(settings.set("token.subscribe", &longest).is_ok());
        assert!(settings.set("token.subscribe", &format!("{longest},a")).is_err());
    }

    #[test]
    fn what_would_do_nothing_is_a_fault() {
        let of = |given: &[(&str, &str)]| {
            let mut settings = TokenSettings::default();
            given.iter().for_each(|(name, text)| settings.set(name, text).unwrap());
            settings.faults().into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert!(of(&[]).is_empty() && of(&[("token.grants_claim", "fanwire"), ("token.jwks_every", "5m")]).is_empty());
        assert_eq!(of(&[("token.issuer", "a"), ("token.anonymous_subscribe", "a")]), ["token.issuer"]);
        assert_eq!(of(&[("token.issuer", "a"), ("token.keys_file", "k")]), [""; 0]);
        assert_eq!(of(&[("token.jwks_every", "1m"), ("token.keys_file", "k")]), ["token.jwks_every"]);
        assert_eq!(of(&[("token.jwks_url", "https://a/"), ("token.keys_file", "k")]), ["token.jwks_url"]);
    }

    #[test]
    fn names_are_unique_and_defaults_are_values() {
        for setting in token_settings() {
            assert!(setting.name.starts_with(SECTION));
            assert_eq!(token_settings().filter(|other| other.name == setting.name).count(), 1, "{}", setting.name);
            assert!(setting.default.is_empty() || (setting.check)(setting.default).is_ok(), "{}", setting.name);
        }
        let mut other = TokenSettings::default();
        other.set("token.issuer", "a").unwrap();
        other.set("token.jwks_every", "5m").unwrap();
        let names: Vec<_> = TokenSettings::default().differing(&other).map(|setting| setting.name).collect();
        assert_eq!(names, ["token.issuer"]);
    }
}
