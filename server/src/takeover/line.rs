//! Job: a line of JSON on a stream that goes on with something else: not a byte behind it is read.
//! Knows: the bound of a line. Must never know: what it says.

use std::io;
use std::os::unix::net::UnixStream;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::patience::Patience;

/// Longest line.
const BYTES_MAX: usize = 1 << 20;

/// Sends a line.
///
/// # Errors
/// The other side does not take it in time, or has gone.
pub fn write(stream: &UnixStream, what: &impl Serialize, patience: Patience<'_>) -> io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    patience.write(stream, &line)
}

/// Reads a line.
///
/// # Errors
/// It does not come in time, or is not what is wanted.
pub fn read<T: DeserializeOwned>(stream: &UnixStream, patience: Patience<'_>) -> io::Result<T> {
    let (mut line, mut byte) = (Vec::new(), [0]);
    loop {
        match patience.read(stream, &mut byte)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ if byte[0] == b'\n' => return serde_json::from_slice(&line).map_err(io::Error::from),
            _ if line.len() == BYTES_MAX => return Err(io::Error::other("the line is too long")),
            _ => line.push(byte[0]),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::time::Duration;

    use super::*;

    fn patience() -> Patience<'static> {
        Patience::of(Duration::from_secs(60))
    }

    #[test]
    fn what_comes_behind_a_line_is_left_there() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        write(&theirs, &["a", "b"], patience()).unwrap();
        theirs.write_all(b"rest").unwrap();
        assert_eq!(read::<Vec<String>>(&ours, patience()).unwrap(), ["a", "b"]);
        let mut rest = [0; 4];
        ours.read_exact(&mut rest).unwrap();
        assert_eq!(&rest, b"rest");
    }

    #[test]
    fn a_line_has_a_longest_and_an_end() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let sends = |theirs: &UnixStream, text: String| {
            let mut theirs = theirs.try_clone().unwrap();
            std::thread::spawn(move || theirs.write_all(format!("\"{text}\"\n").as_bytes()))
        };
        let sender = sends(&theirs, "x".repeat(BYTES_MAX - 2));
        assert_eq!(read::<String>(&ours, patience()).unwrap().len(), BYTES_MAX - 2);
        sender.join().unwrap().unwrap();
        let sender = sends(&theirs, "x".repeat(BYTES_MAX - 1));
        assert!(read::<String>(&ours, patience()).unwrap_err().to_string().contains("too long"));
        sender.join().unwrap().unwrap();
        theirs.write_all(b"\"half").unwrap();
        drop(theirs);
        assert!(read::<String>(&ours, patience()).is_err());
    }
}
