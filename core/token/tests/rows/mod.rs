//! Tokens that are wrong in one thing each, for the verifier and for the running server: a name, the token, and what it has to be
//! refused for. A row that fails elsewhere proves nothing. Beside them stand some that are right, so that what is refused is seen to be
//! refused for its fault.

mod claims;
mod making;
mod public;
mod shapes;

use fanwire_token::{Refusal, Rules};
use serde_json::json;

use making::*;

pub const SECRET: &[u8] = b"hush: thirty-two bytes and some more";
const OTHER_SECRET: &[u8] = b"one more secret of thirty-two bytes";
pub const ISSUER: &str = "https://id.example";
pub const AUDIENCE: &str = "fanwire";
/// What the tables have together: none shall get lost by a slip.
pub const ROWS_MIN: usize = 260;

pub struct Row {
    pub name: String,
    pub token: String,
    /// `None`: it is taken.
    pub refusal: Option<Refusal>,
    /// It is right or wrong by a second: nothing for a clock that goes on.
    pub is_of_this_second: bool,
}

impl Row {
    fn now_only(self) -> Self {
        Row { is_of_this_second: true, ..self }
    }
}

fn row(name: impl Into<String>, token: String, refusal: Refusal) -> Row {
    Row { name: name.into(), token, refusal: Some(refusal), is_of_this_second: false }
}

fn good(name: impl Into<String>, token: String) -> Row {
    Row { name: name.into(), token, refusal: None, is_of_this_second: false }
}

/// Rows for one set of keys.
pub struct Table {
    /// A JWK set.
    pub keys: String,
    pub rows: Vec<Row>,
}

pub fn rules() -> Rules {
    Rules { issuer: Some(ISSUER.to_owned()), audience: Some(AUDIENCE.to_owned()), ..Rules::default() }
}

/// All tables, made at a time in seconds since 1970.
pub fn tables(now: u64) -> Vec<Table> {
    let make = Make { now };
    let secret = json!({"keys": [secret_jwk("k1", SECRET)]}).to_string();
    let of_the_secret = [
        shapes::parts(&make),
        shapes::encodings(&make),
        shapes::headers(&make),
        shapes::algorithms(&make),
        shapes::signatures(&make),
        claims::objects(&make),
        claims::times(&make),
        claims::parties(&make),
        claims::grants(&make),
    ];
    vec![
        Table { keys: secret, rows: of_the_secret.into_iter().flatten().collect() },
        Table { keys: public::keys(), rows: public::rows(&make) },
        Table {
            keys: json!({"keys": [secret_jwk("k1", SECRET), secret_jwk("k2", OTHER_SECRET)]}).to_string(),
            rows: tenants(&make),
        },
    ]
}

/// Two who may sign, and neither for the other.
fn tenants(make: &Make) -> Vec<Row> {
    let claimed = |header: &Object, secret: &[u8]| signed_with(secret, header.text(), make.claims().text());
    let nameless = header().without("kid");
    vec![
        good("the first", claimed(&header(), SECRET)),
        good("the second", claimed(&header().with("kid", "\"k2\""), OTHER_SECRET)),
        row("one tenant signs for the other", claimed(&header(), OTHER_SECRET), Refusal::Signature),
        row("the other for the one", claimed(&header().with("kid", "\"k2\""), SECRET), Refusal::Signature),
        row("which of them is meant?", claimed(&nameless, SECRET), Refusal::Key),
        row("a third", claimed(&header().with("kid", "\"k3\""), SECRET), Refusal::Key),
    ]
}
