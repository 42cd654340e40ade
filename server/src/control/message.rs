//! Job: what is said on the control socket: a line of JSON each way.
//! Knows: its form and its bounds. Must never know: what comes of a request.

use std::fmt;
use std::io;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use fanwire::settings::Span;
use fanwire_access::{Meant, Revoked};
use serde::{Deserialize, Serialize};

use crate::exit::{Exit, Failure};
use crate::operate::{Reloaded, ServersReport, Status};
use crate::patience::Patience;

/// Longest request.
const REQUEST_BYTES_MAX: usize = 64 << 10;
/// Longest answer that a command takes.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// A request. Each variant has braces: of one without them serde ignores fields that there are not.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Asked {
    /// Read the settings again.
    Reload {},
    /// End, with the closes spread over so much time. It is answered at the end.
    Drain { within_ms: u64 },
    /// Say how it is.
    Status {},
    /// Say all that a report needs.
    Report {},
    /// Refuse some tokens from now on.
    Revoke(Meant),
    /// Start another process in place of this one, and end when it serves, with the closes spread over so much time.
    Restart { within_ms: u64 },
    /// Hand the sockets to the process that asks: see [`crate::takeover`].
    Takeover { version: u32, within_ms: u64 },
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Asked::Reload {} => f.write_str("reload"),
            Asked::Drain { within_ms } => write!(f, "drain within {}", Span(Duration::from_millis(*within_ms))),
            Asked::Status {} => f.write_str("status"),
            Asked::Report {} => f.write_str("report"),
            Asked::Restart { within_ms } => write!(f, "restart within {}", Span(Duration::from_millis(*within_ms))),
            Asked::Takeover { within_ms, .. } => {
                write!(f, "takeover within {}", Span(Duration::from_millis(*within_ms)))
            }
            Asked::Revoke(Meant { sub, jti, before }) => {
                let named = |what: &str, of: &Option<String>| of.as_ref().map(|of| format!(" {what} {of:?}"));
                let (sub, jti) = (named("sub", sub).unwrap_or_default(), named("jti", jti).unwrap_or_default());
                let before = before.map(|before| format!(" before {before}")).unwrap_or_default();
                write!(f, "revoke{sub}{jti}{before}")
            }
        }
    }
}

/// An answer.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// What the command ends with, as docs/reference/exit-status.md has it.
    pub exit: i32,
    #[serde(flatten)]
    pub said: Said,
}

/// What is answered.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    Reloaded(Reloaded),
    Drained(Drained),
    Status(Status),
    Report(Box<ServersReport>),
    Revoked(Revoked),
    /// Another process serves: its number.
    Restarted {
        pid: i32,
    },
    /// Names of the sockets that follow.
    Sockets(Vec<String>),
    /// They are the other process's from now on. `settle`: it is to say that it has heard this, and goes on.
    HandedOver {
        #[serde(default)]
        settle: bool,
    },
    /// Why nothing was done.
    Error(String),
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drained {
    /// Connections that were closed in good order. Those that had gone by themselves are not among them.
    pub closed: u64,
    /// Connections that had not taken everything in time.
    pub cut_off: u64,
}

impl Answer {
    /// It was done.
    pub fn done(said: Said) -> Self {
        Answer { exit: 0, said }
    }

    /// Nothing was done.
    pub fn refused(failure: &Failure) -> Self {
        Answer { exit: failure.code, said: Said::Error(format!("{:#}", failure.error)) }
    }
}

/// The request of whoever has connected.
///
/// # Errors
/// 65: it is none, or none in time.
pub fn read(stream: &UnixStream, patience: Patience<'_>) -> Result<Asked, Failure> {
    let line = read_line(stream, REQUEST_BYTES_MAX, patience);
    let wrong = |why: String| Failure::message(Exit::Data, format!("this is no request: {why}"));
    let line = line.map_err(|error| wrong(error.to_string()))?;
    if !line.trim_ascii_start().starts_with(b"{") {
        return Err(wrong("an object is needed".into()));
    }
    serde_json::from_slice(&line).map_err(|error| wrong(error.to_string()))
}

/// An answer, however long it takes.
///
/// # Errors
/// The server has ended, or what came is none.
pub fn read_answer(stream: &UnixStream) -> io::Result<Answer> {
    let line = read_line(stream, ANSWER_BYTES_MAX, Patience::ENDLESS)?;
    serde_json::from_slice(&line).map_err(io::Error::from)
}

/// Sends a line. Who does not take it has gone, or does not want it.
pub fn write(stream: &UnixStream, what: &impl Serialize, patience: Patience<'_>) {
    let sent = try_write(stream, what, patience);
    if let Err(error) = sent {
        tracing::debug!("control: an answer was not taken: {error}");
    }
}

/// [`write`], for who wants to know.
///
/// # Errors
/// The other side does not take it.
pub fn try_write(stream: &UnixStream, what: &impl Serialize, patience: Patience<'_>) -> io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    patience.write(stream, &line)
}

/// A line without its end; what comes behind it is not looked at.
fn read_line(stream: &UnixStream, bytes_max: usize, patience: Patience<'_>) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut chunk = [0; 4_096];
    loop {
        let count = match patience.read(stream, &mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => count,
        };
        let end = chunk[..count].iter().position(|byte| *byte == b'\n');
        line.extend_from_slice(&chunk[..end.unwrap_or(count)]);
        if line.len() > bytes_max {
            return Err(io::Error::other(format!("a line has at most {bytes_max} bytes")));
        }
        if end.is_some() {
            return Ok(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// What is made of these bytes, the other side then being gone.
    fn asked(bytes: &[u8]) -> Result<Asked, String> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let bytes = bytes.to_vec();
        let sender = std::thread::spawn(move || theirs.write_all(&bytes));
        let asked = read(&ours, Patience::of(LONG)).map_err(|failure| failure.error.to_string());
        drop(ours);
        let _ = sender.join();
        asked
    }

    #[test]
    fn a_request_is_a_line_of_a_known_form() {
        assert_eq!(asked(b"{\"command\":\"reload\"}\n"), Ok(Asked::Reload {}));
        assert_eq!(asked(b"{\"command\":\"drain\",\"within_ms\":5}\nmore"), Ok(Asked::Drain { within_ms: 5 }));
        for wrong in [
            &b""[..],
            b"{\"command\":\"reload\"}",
            b"\n",
            b"reload\n",
            b"{\"command\":\"reboot\"}\n",
            b"{\"command\":\"drain\"}\n",
            b"{\"command\":\"drain\",\"within_ms\":-1}\n",
            b"{\"command\":\"drain\",\"within_ms\":1,\"at_once\":true}\n",
            b"{\"command\":\"drain\",\"within_ms\":1,\"within_ms\":2}\n",
            b"{\"command\":\"reload\",\"dry_run\":true}\n",
            b"{\"command\":\"status\",\"of\":\"all\"}\n",
            b"{\"command\":\"report\",\"within_ms\":1}\n",
            b"{\"command\":\"reload\",\"command\":\"reload\"}\n",
            b"{\"command\":\"revoke\",\"jti\":\"a\",\"subject\":\"b\"}\n",
            b"{\"command\":\"revoke\",\"jti\":\"a\",\"jti\":\"b\"}\n",
            b"{\"command\":\"restart\",\"within_ms\":1,\"now\":true}\n",
            b"{\"command\":\"takeover\",\"version\":1,\"within_ms\":1,\"force\":true}\n",
            b"[\"reload\"]\n",
            b"\xff\n",
        ] {
            assert!(asked(wrong).unwrap_err().starts_with("this is no request: "), "{wrong:?}");
        }
    }

    #[test]
    fn a_request_has_a_longest() {
        let padded = |len: usize| {
            let mut line = b"{\"command\":\"reload\"}".to_vec();
            line.resize(len, b' ');
            line.push(b'\n');
            line
        };
        assert_eq!(asked(&padded(REQUEST_BYTES_MAX)), Ok(Asked::Reload {}));
        assert!(asked(&padded(REQUEST_BYTES_MAX + 1)).unwrap_err().contains("at most 65536 bytes"));
        // One that never ends is not read on.
        assert!(asked(&vec![b' '; 4 * REQUEST_BYTES_MAX]).unwrap_err().contains("at most 65536 bytes"));
    }

    #[test]
    fn who_says_nothing_is_not_waited_for() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        assert!(read(&ours, Patience::of(Duration::from_millis(1))).is_err());
    }

    #[test]
    fn an_answer_is_understood() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let answer = Answer::done(Said::Drained(Drained { closed: 3, cut_off: 1 }));
        try_write(&ours, &answer, Patience::of(LONG)).unwrap();
        assert_eq!(serde_json::to_string(&answer).unwrap(), r#"{"exit":0,"drained":{"closed":3,"cut_off":1}}"#);
        assert_eq!(read_answer(&theirs).unwrap(), answer);
        drop(ours);
        assert!(read_answer(&theirs).is_err());
    }
}
