//! Job: has the admin port close a connection.
//! Knows: as much of RFC 9112 as one POST takes. Must never know: figures, screens.

use std::io;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use crate::bearer::Bearer;
use crate::clock;
use crate::dial::{self, DialError, Interrupts};
use crate::plain;
use crate::socket::Socket;
use crate::tls::Trust;
use crate::url::Url;

/// Time for the whole of it.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Where the admin port lets the engine be talked to.
const SOCKET: &str = "/ws";

/// Who is asked, and who asks.
#[derive(Clone, Copy)]
pub struct Desk<'a> {
    pub url: &'a Url,
    pub trust: Option<&'a Trust>,
    pub bearer: Option<&'a Bearer>,
    pub interrupts: Interrupts<'a>,
}

impl Desk<'_> {
    /// Has a client's connection closed.
    ///
    /// # Errors
    /// Why it is not, for a person.
    pub fn close(&self, id: &str) -> Result<(), String> {
        if !is_admin(&self.url.target) {
            return Err("closing needs the admin port: start with its URL, such as ws://127.0.0.1:9002/ws".into());
        }
        if id.is_empty() || !id.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            return Err(format!("`{}` is no client's name", plain::text(id)));
        }
        let answer = self.ask(&self.request(id)?).map_err(|error| match error {
            DialError::Interrupted => "interrupted".to_owned(),
            DialError::Io(error) if error.kind() == io::ErrorKind::TimedOut => "no answer within 5 s".to_owned(),
            DialError::Io(error) => error.to_string(),
        })?;
        verdict(&answer)
    }

    fn request(&self, id: &str) -> Result<Vec<u8>, String> {
        let mut head = format!(
            "POST /api/connections/{id}/close HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Content-Length: 2\r\nConnection: close\r\n",
            self.url.authority()
        );
        if let Some(bearer) = self.bearer {
            let value = bearer.token().and_then(|token| token.authorization());
            let value = value.map_err(|failure| failure.error.to_string())?;
            head.push_str(&format!("Authorization: {value}\r\n"));
        }
        head.push_str("\r\n{}");
        Ok(head.into_bytes())
    }

    fn ask(&self, request: &[u8]) -> Result<Vec<u8>, DialError> {
        let deadline = clock::after(clock::now(), TIMEOUT);
        let stream = dial::dial(&self.url.host, self.url.port, deadline, &self.interrupts)?;
        let mut socket = Socket::open(stream, self.url, self.trust, deadline, &self.interrupts)?;
        let mut sent = 0;
        while sent < request.len() || socket.held_back() > 0 {
            match socket.write(&request[sent..]) {
                Ok(n) => sent += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.interrupts.wait_for(socket.as_fd(), PollFlags::OUT, deadline)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.read(&mut socket, deadline)
    }

    fn read(&self, socket: &mut Socket, deadline: Instant) -> Result<Vec<u8>, DialError> {
        let mut answer = Vec::new();
        let mut room = [0; 4 << 10];
        while answer.len() < ANSWER_BYTES_MAX {
            match socket.read(&mut room) {
                Ok(0) => break,
                Ok(n) => answer.extend_from_slice(&room[..n]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !socket.has_input() {
                        self.interrupts.wait_for(socket.as_fd(), PollFlags::IN, deadline)?;
                    }
                }
                Err(_) if !answer.is_empty() => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(answer)
    }
}

fn is_admin(target: &str) -> bool {
    let path = target.split('?').next().unwrap_or_default();
    path.strip_prefix(SOCKET).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What the answer says.
fn verdict(answer: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)).unwrap_or_default();
    match status.as_bytes() {
        [b'2', _, _] => Ok(()),
        [b'1'..=b'5', _, _] => {
            let said: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
            let why = said["error"].as_str().unwrap_or("the server does not say why");
            Err(format!("refused with {status}: {}", plain::text(why)))
        }
        _ => Err("what answers there does not speak HTTP".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_admin_port_closes() {
        for (target, is_its) in [("/ws", true), ("/ws?token=x", true), ("/ws/t/a", true), ("/", false), ("/wsx", false)]
        {
            assert_eq!(is_admin(target), is_its, "{target}");
        }
    }

    #[test]
    fn a_refusal_is_told_and_made_harmless() {
        assert_eq!(verdict(b"HTTP/1.1 202 Accepted\r\n\r\n{}"), Ok(()));
        let refused = verdict(b"HTTP/1.1 403 Forbidden\r\n\r\n{\"error\":\"no \\u001b[2J\"}").unwrap_err();
        assert_eq!(refused, "refused with 403: no \\x1b[2J");
        assert!(verdict(b"HTTP/1.0 500 \r\n\r\n<html>").unwrap_err().contains("does not say why"));
        for wrong in [&b""[..], b"SSH-2.0", b"HTTP/1.1", b"HTTP/1.1 abc\r\n\r\n"] {
            assert!(verdict(wrong).unwrap_err().contains("does not speak HTTP"), "{wrong:?}");
        }
    }
}
