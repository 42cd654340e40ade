//! Job: a line of JSON on a stream that goes on with something else: not a byte behind it is read.
//! Knows: the bound of a line. Must never know: what it says.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest line.
const BYTES_MAX: usize = 1 << 20;

/// Sends a line.
///
/// # Errors
/// The other side does not take it in this time, or has gone.
pub fn write(stream: &mut UnixStream, what: &impl Serialize, patience: Duration) -> io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    stream.set_write_timeout(Some(patience))?;
    stream.write_all(&line)
}

/// Reads a line, whose bytes each may take so long.
///
/// # Errors
/// It does not come, or is not what is wanted.
pub fn read<T: DeserializeOwned>(stream: &mut UnixStream, patience: Duration) -> io::Result<T> {
    stream.set_read_timeout(Some(patience))?;
    let (mut line, mut byte) = (Vec::new(), [0]);
    loop {
        match stream.read(&mut byte) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) if byte[0] == b'\n' => return serde_json::from_slice(&line).map_err(io::Error::from),
            Ok(_) if line.len() == BYTES_MAX => return Err(io::Error::other("the line is too long")),
            Ok(_) => line.push(byte[0]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn what_comes_behind_a_line_is_left_there() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        write(&mut theirs, &["a", "b"], PATIENCE).unwrap();
        theirs.write_all(b"rest").unwrap();
        assert_eq!(read::<Vec<String>>(&mut ours, PATIENCE).unwrap(), ["a", "b"]);
        let mut rest = [0; 4];
        ours.read_exact(&mut rest).unwrap();
        assert_eq!(&rest, b"rest");
    }

    #[test]
    fn a_line_has_a_longest_and_an_end() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        let sends = |theirs: &mut UnixStream, text: String| {
            let mut theirs = theirs.try_clone().unwrap();
            std::thread::spawn(move || theirs.write_all(format!("\"{text}\"\n").as_bytes()))
        };
        let sender = sends(&mut theirs, "x".repeat(BYTES_MAX - 2));
        assert_eq!(read::<String>(&mut ours, PATIENCE).unwrap().len(), BYTES_MAX - 2);
        sender.join().unwrap().unwrap();
        let sender = sends(&mut theirs, "x".repeat(BYTES_MAX - 1));
        assert!(read::<String>(&mut ours, PATIENCE).unwrap_err().to_string().contains("too long"));
        sender.join().unwrap().unwrap();
        theirs.write_all(b"\"half").unwrap();
        drop(theirs);
        assert!(read::<String>(&mut ours, PATIENCE).is_err());
    }
}
