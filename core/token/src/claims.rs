//! What a token says of its bearer (RFC 7519 section 4).

use std::time::Duration;

use fanwire_proto::topic::Pattern;
use serde_json::{Map, Value};

use crate::fingerprint::Fingerprint;
use crate::refusal::Refusal;

/// Patterns of one list.
pub const PATTERNS_MAX: usize = 256;
/// Bytes of one.
pub const PATTERN_BYTES_MAX: usize = 255;
/// What stands for the subject in a pattern.
const SUBJECT: &str = "{sub}";

/// What a token has to say, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// `iss` has to be this.
    pub issuer: Option<String>,
    /// `aud` has to be this, or have it. `None`: there must be none (RFC 7519 section 4.1.3).
    pub audience: Option<String>,
    /// How far clocks may differ: added to `exp`, taken from `nbf` and `iat`.
    pub skew: Duration,
    /// The claim with the lists `subscribe` and `publish`: a name, or names with dots between, one within the other.
    pub grants_claim: String,
    /// Patterns for tokens without that claim; `{sub}` stands for the subject.
    pub subscribe: Vec<String>,
    /// The same, to publish on.
    pub publish: Vec<String>,
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            issuer: None,
            audience: None,
            skew: Duration::from_secs(5),
            grants_claim: "fanwire".into(),
            subscribe: Vec::new(),
            publish: Vec::new(),
        }
    }
}

/// What a token says, and which key says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The key that has signed it.
    pub key: Fingerprint,
    /// Who made it.
    pub issuer: Option<String>,
    /// Of whom it speaks.
    pub subject: Option<String>,
    /// Its own name (`jti`).
    pub id: Option<String>,
    /// When it was made, in seconds since 1970.
    pub issued_at: Option<u64>,
    /// Until when it holds, in seconds since 1970, the allowed difference of clocks included.
    pub expires: u64,
    /// Patterns to subscribe to; none: nothing.
    pub subscribe: Vec<Pattern>,
    /// Patterns to publish on; none: nothing.
    pub publish: Vec<Pattern>,
}

/// Who it is of, and how long it holds.
#[derive(Debug)]
pub struct Stated {
    issuer: Option<String>,
    subject: Option<String>,
    id: Option<String>,
    issued_at: Option<u64>,
    expires: u64,
}

/// What is cheap to see of claims that nobody may have signed: types, times, for whom they are.
pub fn check(claims: &Map<String, Value>, rules: &Rules, now: u64) -> Result<Stated, Refusal> {
    let text = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Refusal::Claims),
    };
    // A whole number: a float may be rounded, and "1" is what a careless issuer writes.
    let moment = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(value) => value.as_u64().map(Some).ok_or(Refusal::Claims),
    };
    let skew = rules.skew.as_secs();
    let (issuer, subject, id) = (text("iss")?, text("sub")?, text("jti")?);
    let (expires, from, issued_at) = (moment("exp")?, moment("nbf")?, moment("iat")?);
    let expires = expires.ok_or(Refusal::NoExpiry)?.saturating_add(skew);
    if now >= expires {
        return Err(Refusal::Expired);
    }
    if [from, issued_at].into_iter().flatten().any(|moment| moment > now.saturating_add(skew)) {
        return Err(Refusal::NotYet);
    }
    if rules.issuer.is_some() && rules.issuer != issuer {
        return Err(Refusal::Issuer);
    }
    check_audience(claims.get("aud"), rules.audience.as_deref())?;
    Ok(Stated { issuer, subject, id, issued_at, expires })
}

/// One text, or several of which one is meant. A token that is for somebody is not for a server that has no name (RFC 7519 section
/// 4.1.3: who does not find himself there must not take it).
fn check_audience(claim: Option<&Value>, wanted: Option<&str>) -> Result<(), Refusal> {
    let named: Vec<&str> = match claim {
        None => Vec::new(),
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => {
            several.iter().map(|one| one.as_str().ok_or(Refusal::Claims)).collect::<Result<_, _>>()?
        }
        Some(_) => return Err(Refusal::Claims),
    };
    match (wanted, claim) {
        (None, None) => Ok(()),
        (Some(wanted), _) if named.contains(&wanted) => Ok(()),
        _ => Err(Refusal::Audience),
    }
}

/// What claims allow that this key has signed.
pub fn grant(stated: Stated, claims: &Map<String, Value>, key: Fingerprint, rules: &Rules) -> Result<Claims, Refusal> {
    let lists = match at(claims, &rules.grants_claim) {
        None => [rules.subscribe.clone(), rules.publish.clone()],
        Some(Value::Object(grants)) => [list(grants.get("subscribe"))?, list(grants.get("publish"))?],
        Some(_) => return Err(Refusal::Claims),
    };
    let Stated { issuer, subject, id, issued_at, expires } = stated;
    let [subscribe, publish] = lists.map(|list| patterns(list, subject.as_deref()));
    Ok(Claims { key, issuer, subject, id, issued_at, expires, subscribe: subscribe?, publish: publish? })
}

/// The claim of this name; else the one at the end of the names between its dots.
fn at<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(name) {
        return Some(value);
    }
    let mut names = name.split('.');
    let first = claims.get(names.next()?)?;
    names.try_fold(first, |value, name| value.as_object()?.get(name))
}

fn list(claim: Option<&Value>) -> Result<Vec<String>, Refusal> {
    match claim {
        None => Ok(Vec::new()),
        Some(Value::Array(values)) if values.len() <= PATTERNS_MAX => {
            values.iter().map(|value| value.as_str().map(str::to_owned).ok_or(Refusal::Claims)).collect()
        }
        Some(Value::Array(_)) => Err(Refusal::Patterns),
        Some(_) => Err(Refusal::Claims),
    }
}

fn patterns(list: Vec<String>, subject: Option<&str>) -> Result<Vec<Pattern>, Refusal> {
    let filled = |text: String| {
        if !text.contains(SUBJECT) {
            return Ok(text);
        }
        // With these in it, it would be more than one level of a name, or all of them.
        let sound = |subject: &&str| !subject.is_empty() && !subject.contains(['/', '*', '$', '{', '}']);
        Ok(text.replace(SUBJECT, subject.filter(sound).ok_or(Refusal::Subject)?))
    };
    let parsed = |text: String| match filled(text)? {
        text if text.len() > PATTERN_BYTES_MAX => Err(Refusal::Patterns),
        text => Pattern::parse(&text).map_err(|_| Refusal::Patterns),
    };
    if list.len() > PATTERNS_MAX {
        return Err(Refusal::Patterns);
    }
    list.into_iter().map(parsed).collect()
}
