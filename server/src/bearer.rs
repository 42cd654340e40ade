//! Job: the token that a client says who it is with (RFC 6750).
//! Knows: how it stands in a header. Must never know: what is in it.

use std::fmt;
use std::str::FromStr;

use crate::exit::{Exit, Failure};

/// What a person is told where a connection was closed with 4401.
pub const IS_OVER: &str = "the token has expired, or was taken back: start again with a new one";

/// A token, never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// The value of an `Authorization` header.
    ///
    /// # Errors
    /// Where it is none that could stand there (`b64token` of RFC 6750 section 2.1). It is not shown.
    pub fn authorization(&self) -> Result<String, Failure> {
        let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
        match !self.0.is_empty() && self.0.bytes().all(is_allowed) {
            true => Ok(format!("Bearer {}", self.0)),
            false => Err(Failure::message(Exit::Usage, "--token: a token has letters, digits and -._~+/= only")),
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Any text: what is refused on the command line is shown there. But for none at all, as of a file that is not there.
impl FromStr for Token {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim() {
            "" => Err("the token is empty: give one, or leave out --token and unset FANWIRE_TOKEN"),
            token => Ok(Token(token.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_fits_a_header_and_is_not_shown() {
        let token: Token = "eyJh.eyJz-_.c2ln\n".parse().unwrap();
        assert_eq!(token.authorization().unwrap(), "Bearer eyJh.eyJz-_.c2ln");
        assert!(!format!("{token:?}").contains("eyJ"));
        assert!(" \n".parse::<Token>().unwrap_err().contains("unset FANWIRE_TOKEN"));
        for wrong in ["a b", "a\r\nX: y", "é", "a\0"] {
            let refused = wrong.parse::<Token>().unwrap().authorization().unwrap_err();
            assert!(wrong.len() < 3 || !refused.error.to_string().contains(wrong), "{wrong:?}");
        }
    }
}
