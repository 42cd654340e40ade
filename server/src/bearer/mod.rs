//! Job: the token that a client says who it is with (RFC 6750).
//! Knows: how it stands in a header, and in a file. Must never know: what is in it.

mod arguments;

use std::cell::RefCell;
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::exit::{Exit, Failure};
use fanwire_access::read_text;

pub use arguments::BearerArgs;

/// What a person is told where a connection was closed with 4401.
pub const IS_OVER: &str = "the token has expired, or was taken back: start again with a new one";

/// Who a client says it is, for as many connections as it makes.
#[derive(Clone, Debug)]
pub struct Bearer {
    /// `None`: it is always the token that `last` has.
    file: Option<PathBuf>,
    /// The one of the last connection.
    last: RefCell<Option<Token>>,
}

impl Bearer {
    /// One with this token.
    pub fn of(token: Token) -> Self {
        Bearer { file: None, last: RefCell::new(Some(token)) }
    }

    /// One whose token stands in a file. Says so where others can read that, too.
    ///
    /// # Errors
    /// 66 where it cannot be read, 65 where it has no token.
    pub fn of_file(path: PathBuf) -> Result<Self, Failure> {
        let token = read(&path)?;
        warn_of_others(&path);
        Ok(Bearer { file: Some(path), last: RefCell::new(Some(token)) })
    }

    /// The token for one more connection.
    ///
    /// # Errors
    /// 69: the file could be read at the start, and cannot now. Whoever writes it may be in the middle of that.
    pub fn token(&self) -> Result<Token, Failure> {
        if let Some(path) = &self.file {
            let token = read(path).map_err(|Failure { error, .. }| Failure::new(Exit::Unavailable, error))?;
            self.last.replace(Some(token));
        }
        self.last.borrow().clone().ok_or_else(|| Failure::message(Exit::Usage, "there is no token"))
    }

    /// Whether the file has another token by now: then it makes sense to come back where the last one is over.
    pub fn has_another(&self) -> bool {
        let of_file = self.file.as_deref().and_then(|path| read(path).ok());
        of_file.is_some_and(|token| self.last.borrow().as_ref() != Some(&token))
    }
}

/// The token in the first line of a file.
fn read(path: &Path) -> Result<Token, Failure> {
    let bytes = read_text(path)?;
    let wrong = |what: &str| Failure::message(Exit::Data, format!("{} (--token-file): {what}", path.display()));
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let text = std::str::from_utf8(line).map_err(|_| wrong("its first line is no text"))?;
    let token: Token = text.parse().map_err(|_| wrong("there is no token in it"))?;
    // Said here, with the file's name.
    token.authorization().map_err(|_| wrong(&format!("its first line is no token: {ALLOWED}")))?;
    Ok(token)
}

fn warn_of_others(path: &Path) {
    let Ok(about) = fs::metadata(path) else { return };
    if about.mode() & 0o044 != 0 {
        let mode = about.mode() & 0o777;
        let name = path.display();
        tracing::warn!(
            "{name} (--token-file): other users of this machine can read it (mode {mode:03o}): chmod 600 {name}"
        );
    }
}

/// What a token is made of (`b64token` of RFC 6750 section 2.1).
const ALLOWED: &str = "a token has letters, digits and -._~+/= only";

/// A token, never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// The value of an `Authorization` header.
    ///
    /// # Errors
    /// Where it is none that could stand there. It is not shown.
    pub fn authorization(&self) -> Result<String, Failure> {
        let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
        match !self.0.is_empty() && self.0.bytes().all(is_allowed) {
            true => Ok(format!("Bearer {}", self.0)),
            false => Err(Failure::message(Exit::Usage, format!("--token: {ALLOWED}"))),
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

    #[test]
    fn a_file_s_first_line_is_the_token_and_what_is_none_is_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        for (text, token) in [("a.b.c", "a.b.c"), ("a.b.c\n", "a.b.c"), ("\n  a.b.c \r\nnotes\n", "a.b.c")] {
            fs::write(&path, text).unwrap();
            assert_eq!(read(&path).unwrap(), Token(token.into()), "{text:?}");
        }
        for (text, expected) in [
            (&b""[..], "no token in it"),
            (b" \n \n", "no token in it"),
            (b"a secret\nb", "letters, digits"),
            (b"secret\xff", "no text"),
            (b"secret\0", "letters, digits"),
        ] {
            fs::write(&path, text).unwrap();
            let failure = read(&path).unwrap_err();
            let said = failure.error.to_string();
            assert!(failure.code == 65 && said.contains(expected) && !said.contains("secret"), "{said}");
        }
        let missing = Bearer::of_file(folder.path().join("missing")).unwrap_err();
        assert_eq!((missing.code, Bearer::of_file(folder.path().into()).unwrap_err().code), (66, 66));
    }

    #[test]
    fn each_connection_has_the_token_that_the_file_has_then() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "one").unwrap();
        let bearer = Bearer::of_file(path.clone()).unwrap();
        assert_eq!(bearer.token().unwrap(), Token("one".into()));
        assert!(!bearer.has_another(), "it is the same");
        fs::write(&path, "two").unwrap();
        assert!(bearer.has_another());
        assert_eq!(bearer.token().unwrap(), Token("two".into()));
        assert!(!bearer.has_another());
        fs::write(&path, "").unwrap();
        assert!(!bearer.has_another(), "there is none to come back with");
        assert_eq!(bearer.token().unwrap_err().code, 69);
        let given = Bearer::of(Token("three".into()));
        assert!(given.token().unwrap() == Token("three".into()) && !given.has_another());
    }
}
