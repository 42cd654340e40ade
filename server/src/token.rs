//! Job: `fanwire token`: makes tokens, and shows what is in them.
//! Knows: files, claims. Must never know: the server.

use std::io::Read as _;
use std::process::ExitCode;

use fanwire_access::{read_keys, read_text, secret};
use fanwire_token::{PATTERNS_MAX, Rules, SigningKey, TOKEN_BYTES_MAX, Verifier, peek};
use serde_json::{Map, Value, json};

use crate::args::{InspectArgs, MintArgs, TokenArgs, TokenCommand};
use crate::clock;
use crate::engine::{say, unsaid};
use crate::exit::{Exit, Failure, OrExit, Outcome};

/// Longest input that is looked at.
const INPUT_BYTES_MAX: u64 = 64 << 10;

/// Runs the command.
///
/// # Errors
/// 66 where a file cannot be read, 65 for a token that is none, 78 for a key that is none.
pub fn run(args: &TokenArgs) -> Outcome {
    match &args.command {
        TokenCommand::Mint(args) => say(&mint(args)?),
        TokenCommand::Inspect(args) => return inspect(args),
    }
    unsaid().map(|()| ExitCode::SUCCESS)
}

fn mint(args: &MintArgs) -> Result<String, Failure> {
    let bytes = read_text(&args.key)?;
    let key = match bytes.starts_with(b"-----BEGIN") {
        true => SigningKey::from_pem(&bytes),
        false => SigningKey::from_secret(secret(&args.key, &bytes)?),
    };
    let key = key.or_exit(Exit::Config, || args.key.display().to_string())?;
    let now = clock::unix_s();
    let mut claims = Map::new();
    for (name, text) in [("iss", &args.issuer), ("aud", &args.audience), ("sub", &args.sub), ("jti", &args.jti)] {
        claims.extend(text.iter().map(|text| (name.to_owned(), Value::from(text.as_str()))));
    }
    claims.insert("iat".into(), now.into());
    claims.insert("exp".into(), now.saturating_add(args.expires_in.0.as_secs()).into());
    let grants = json!({"subscribe": args.subscribe, "publish": args.publish});
    put(&mut claims, &args.grants_claim, grants)?;
    let token = key.sign(&claims, args.kid.as_deref()).or_exit(Exit::Software, || "cannot sign".into())?;
    if token.len() > TOKEN_BYTES_MAX || args.subscribe.len().max(args.publish.len()) > PATTERNS_MAX {
        let most = format!("at most {TOKEN_BYTES_MAX} bytes, and {PATTERNS_MAX} patterns in a list");
        return Err(Failure::message(Exit::Usage, format!("no server would take this token: it has {most}")));
    }
    Ok(token)
}

/// Puts the grants where a server that has the same setting looks for them.
fn put(claims: &mut Map<String, Value>, path: &str, grants: Value) -> Result<(), Failure> {
    let mut names: Vec<&str> = path.split('.').collect();
    let last = names.pop().unwrap_or_default();
    let wrong = || Failure::message(Exit::Usage, format!("--grants-claim {path}: this cannot be the name of a claim"));
    let mut place = claims;
    for name in names {
        let entry = place.entry(name).or_insert_with(|| Value::Object(Map::new()));
        place = entry.as_object_mut().ok_or_else(wrong)?;
    }
    match last.is_empty() || place.insert(last.to_owned(), grants).is_some() {
        true => Err(wrong()),
        false => Ok(()),
    }
}

fn inspect(args: &InspectArgs) -> Outcome {
    let token = match &args.token {
        Some(token) if token != "-" => token.clone(),
        _ => {
            let mut text = String::new();
            let read = std::io::stdin().lock().take(INPUT_BYTES_MAX).read_to_string(&mut text);
            read.or_exit(Exit::Data, || "cannot read a token from stdin".into())?;
            text
        }
    };
    let token = token.trim();
    let now = clock::unix_s();
    let told = peek(token).or_exit(Exit::Data, || "this is no token".into())?;
    let verdict = match &args.keys {
        None => Ok("not verified: --keys FILE does that".to_owned()),
        Some(path) => {
            let (issuer, audience) = (args.issuer.clone(), args.audience.clone());
            let verifier = Verifier::new(read_keys(path)?, Rules { issuer, audience, ..Rules::default() });
            verifier.verify(token, now).map(|claims| format!("verified; holds for {} s", claims.expires - now))
        }
    };
    let (word, is_fine) = match verdict {
        Ok(word) => (word, true),
        Err(refusal) => (format!("refused: {refusal}"), false),
    };
    let shown = json!({"header": told.header, "claims": told.claims, "verdict": word});
    say(&serde_json::to_string_pretty(&shown).or_exit(Exit::Software, || "cannot show it".into())?);
    unsaid().map(|()| if is_fine { ExitCode::SUCCESS } else { ExitCode::from(Exit::Failed as u8) })
}
