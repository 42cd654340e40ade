//! Job: keys out of a file.
//! Knows: what keys look like from outside. Must never know: what is verified with them.

use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use fanwire_token::Keys;
use rustix::fs::OFlags;

use crate::error::{AccessError, Doing as _, ErrorKind};

/// A JWK set, a public key in PEM, or a secret: by what the file begins with.
///
/// # Errors
/// It cannot be read, or has none that can be used.
pub fn read_keys(path: &Path) -> Result<Keys, AccessError> {
    let text = read_text(path)?;
    let keys = match &text[..] {
        [b'{', ..] => Keys::from_jwks(&text),
        _ if text.starts_with(b"-----BEGIN") => Keys::from_pem(&text),
        _ => Keys::from_secret(secret(path, &text)?),
    };
    keys.doing(ErrorKind::NotUsable, || path.display().to_string())
}

/// The text of a file, if it can be a secret. Everybody has a public key: one that is taken for a secret, for its file is not as
/// expected, would let everybody in.
///
/// # Errors
/// It looks like something else.
pub fn secret<'a>(path: &Path, text: &'a [u8]) -> Result<&'a [u8], AccessError> {
    let is_one_word = text.iter().all(u8::is_ascii_graphic) && !matches!(text.first(), Some(b'{' | b'[' | b'"' | b'-'));
    if is_one_word {
        return Ok(text);
    }
    let what = "this is no JWK set and no key in PEM, and a secret is one line of printable ASCII without blanks \
                (`openssl rand -hex 32` makes one)";
    Err(AccessError::new(ErrorKind::NotUsable, format!("{}: {what}", path.display())))
}

/// Longest file of keys.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A file without the white space around it: an editor ends it with a line feed, which is no part of a secret. It is read while
/// clients wait: only a file that has all its bytes will do.
///
/// # Errors
/// It cannot be read, is no regular file, or too long.
pub fn read_text(path: &Path) -> Result<Vec<u8>, AccessError> {
    let bytes = read_regular(path, FILE_BYTES_MAX)
        .doing(ErrorKind::NotReadable, || format!("cannot read {}", path.display()))?;
    Ok(bytes.trim_ascii().to_vec())
}

/// All of a file, which has to be a regular one: another may keep its reader waiting for ever, or never end.
///
/// # Errors
/// It cannot be read, is no regular file, or longer.
pub fn read_regular(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let no_waiting = OFlags::NONBLOCK.bits() as i32;
    let file = std::fs::File::options().read(true).custom_flags(no_waiting).open(path)?;
    let about = file.metadata()?;
    if !about.is_file() || about.len() > bytes_max {
        return Err(io::Error::other(format!("a regular file of at most {bytes_max} bytes is needed")));
    }
    let mut bytes = Vec::new();
    file.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_longest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, [7; 100]).unwrap();
        assert_eq!(read_regular(&path, 100).unwrap(), [7; 100]);
        assert!(read_regular(&path, 99).unwrap_err().to_string().contains("at most 99 bytes"));
        fs::write(&path, "").unwrap();
        assert_eq!(read_regular(&path, 0).unwrap(), [0; 0]);
    }

    #[test]
    fn what_may_never_come_or_never_end_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        for path in [&path, Path::new("/dev/zero"), folder.path()] {
            assert!(read_regular(path, 100).unwrap_err().to_string().contains("a regular file"), "{path:?}");
        }
    }
}
