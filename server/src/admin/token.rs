//! Job: the admin port's tokens: read, and compared in a time that does not tell how much of one is right.
//! Knows: `Authorization` (RFC 6750, RFC 7617). Must never know: what a token allows.

use std::path::Path;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};

use crate::exit::{Exit, Failure};
use fanwire_access::read_text;

/// Shortest token: shorter ones can be guessed.
const BYTES_MIN: usize = 16;
/// Longest one.
const BYTES_MAX: usize = 1 << 10;
/// Most tokens: an old and a new one are enough while they are changed.
const TOKENS_MAX: usize = 16;

type Digest = [u8; SHA256_OUTPUT_LEN];

/// What is accepted; nothing of it: nobody needs one.
#[derive(Clone, Default)]
pub struct Tokens(Vec<Digest>);

/// A token that somebody came in by, which may be taken back. Nothing of the token itself.
#[derive(Clone, Copy)]
pub struct Shown(Digest);

impl Tokens {
    /// Reads a file with a token on each line.
    ///
    /// # Errors
    /// 66 where it cannot be read, 78 where it has no token, or one that is none.
    pub fn read(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else { return Ok(Tokens::default()) };
        let text = read_text(path)?;
        Self::parse(&text)
            .map_err(|what| Failure::message(Exit::Config, format!("{} (admin.token_file): {what}", path.display())))
    }

    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
        let tokens: Vec<&[u8]> = lines.collect();
        if tokens.is_empty() || tokens.len() > TOKENS_MAX {
            return Err(format!("1 to {TOKENS_MAX} tokens are needed, one a line (`openssl rand -hex 32` makes one)"));
        }
        for (number, token) in tokens.iter().enumerate() {
            if !(BYTES_MIN..=BYTES_MAX).contains(&token.len()) || !token.iter().all(u8::is_ascii_graphic) {
                return Err(format!(
                    "token {} has to be {BYTES_MIN} to {BYTES_MAX} printable ASCII characters (`openssl rand -hex 32`)",
                    number + 1
                ));
            }
        }
        Ok(Tokens(tokens.into_iter().map(of).collect()))
    }

    /// Whether one is needed.
    pub fn are_needed(&self) -> bool {
        !self.0.is_empty()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Whether a request carries one of them: as a bearer's, or as the password of anybody, which is what browsers ask for.
    pub fn accept(&self, headers: &HeaderMap) -> bool {
        shown(headers).is_some_and(|shown| self.has(&shown))
    }

    /// Whether it is one of them still. All of them are compared, and all of each.
    pub fn has(&self, Shown(asked): &Shown) -> bool {
        let differs = |known: &Digest| known.iter().zip(asked).fold(0, |differs, (a, b)| differs | (a ^ b));
        self.0.iter().fold(false, |has, known| has | (differs(known) == 0))
    }
}

/// What a request shows, if that is one token.
pub fn shown(headers: &HeaderMap) -> Option<Shown> {
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return None };
    carried(line.as_bytes()).map(|token| Shown(of(&token)))
}

fn of(token: &[u8]) -> Digest {
    let mut bytes = [0; SHA256_OUTPUT_LEN];
    bytes.copy_from_slice(digest(&SHA256, token).as_ref());
    bytes
}

fn carried(line: &[u8]) -> Option<Vec<u8>> {
    let (scheme, rest) = line.split_at_checked(line.iter().position(|byte| *byte == b' ')?)?;
    let rest = rest.trim_ascii();
    match scheme {
        scheme if scheme.eq_ignore_ascii_case(b"Bearer") => Some(rest.to_vec()),
        scheme if scheme.eq_ignore_ascii_case(b"Basic") => {
            let text = BASE64_STANDARD.decode(rest).ok()?;
            let colon = text.iter().position(|byte| *byte == b':')?;
            Some(text[colon + 1..].to_vec())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(tokens: &Tokens, lines: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        lines.iter().for_each(|line| _ = headers.append(AUTHORIZATION, line.parse().unwrap()));
        tokens.accept(&headers)
    }

    #[test]
    fn a_token_comes_as_a_bearers_or_as_a_password() {
        let tokens = Tokens::parse(b"0123456789abcdef\nfedcba9876543210\n").unwrap();
        let basic = |text: &str| format!("Basic {}", BASE64_STANDARD.encode(text));
        for line in [
            "Bearer 0123456789abcdef",
            "bearer  fedcba9876543210 ",
            &basic(":0123456789abcdef"),
            &basic("me:fedcba9876543210"),
        ] {
            assert!(accepts(&tokens, &[line]), "{line}");
        }
        for lines in [
            &[][..],
            &["Bearer 0123456789abcdeF"],
            &["Bearer 0123456789abcde"],
            &["Bearer 0123456789abcdef0"],
            &["Bearer"],
            &["Bearer "],
            &["0123456789abcdef"],
            &["Digest 0123456789abcdef"],
            &[&basic("0123456789abcdef")],
            &[&basic("0123456789abcdef:")],
            &["Basic !"],
            &["Bearer 0123456789abcdef", "Bearer 0123456789abcdef"],
        ] {
            assert!(!accepts(&tokens, lines), "{lines:?}");
        }
        assert!(!Tokens::default().are_needed() && !accepts(&Tokens::default(), &["Bearer "]));
    }

    #[test]
    fn tokens_have_lengths_and_a_number() {
        let lines = |count: usize, bytes: usize| vec!["t".repeat(bytes); count].join("\n").into_bytes();
        for (count, bytes, is_taken) in [
            (1, BYTES_MIN, true),
            (1, BYTES_MIN - 1, false),
            (1, BYTES_MAX, true),
            (1, BYTES_MAX + 1, false),
            (TOKENS_MAX, BYTES_MIN, true),
            (TOKENS_MAX + 1, BYTES_MIN, false),
            (0, 0, false),
        ] {
            assert_eq!(Tokens::parse(&lines(count, bytes)).is_ok(), is_taken, "{count} of {bytes}");
        }
        let wrong = Tokens::parse("a token with blanks".as_bytes()).err().unwrap();
        assert!(wrong.contains("token 1") && !wrong.contains("blanks"), "{wrong}");
    }
}
