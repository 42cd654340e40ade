//! A plain NATS client, as small as one can be: it publishes and subscribes, and knows nothing of fanwire.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

use super::PATIENCE;
use super::server::Server;

/// See the module's head.
pub struct Plain {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

/// A message that came: its subject, its reply subject, its payload.
#[derive(Debug, PartialEq, Eq)]
pub struct Came {
    pub subject: String,
    pub reply: String,
    pub payload: Vec<u8>,
}

impl Plain {
    /// Connects, and waits until the server has seen it.
    pub fn connect(server: &Server) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", server.port)).expect("a server");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        let reader = BufReader::new(stream.try_clone().expect("a descriptor"));
        let mut plain = Self { stream, reader };
        plain.say("CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\n");
        plain.settle();
        plain
    }

    fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).expect("the server listens");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("the server speaks");
        assert!(!line.is_empty() && !line.starts_with("-ERR"), "the server says {line:?}");
        line.trim_end().to_owned()
    }

    /// Waits until the server has seen all that was said.
    pub fn settle(&mut self) {
        self.say("PING\r\n");
        while self.line() != "PONG" {}
    }

    /// Subscribes; the server has seen it.
    pub fn subscribe(&mut self, subject: &str) {
        self.say(&format!("SUB {subject} 1\r\n"));
        self.settle();
    }

    /// Publishes.
    pub fn publish(&mut self, subject: &str, payload: &str) {
        self.say(&format!("PUB {subject} {}\r\n{payload}\r\n", payload.len()));
    }

    /// Publishes with headers: lines `Name: value`, each with its end.
    pub fn publish_with(&mut self, subject: &str, headers: &str, payload: &str) {
        let head = format!("NATS/1.0\r\n{headers}\r\n");
        let (of_head, of_all) = (head.len(), head.len() + payload.len());
        self.say(&format!("HPUB {subject} {of_head} {of_all}\r\n{head}{payload}\r\n"));
    }

    /// The next message.
    pub fn next(&mut self) -> Came {
        let line = loop {
            let line = self.line();
            match line.as_str() {
                "PING" => self.say("PONG\r\n"),
                _ if line.starts_with("MSG ") => break line,
                _ => {}
            }
        };
        let parts: Vec<&str> = line.split(' ').collect();
        let reply = if parts.len() == 5 { parts[3].to_owned() } else { String::new() };
        let len: usize = parts[parts.len() - 1].parse().expect("a length");
        let mut payload = vec![0; len + 2];
        self.reader.read_exact(&mut payload).expect("a payload");
        payload.truncate(len);
        Came { subject: parts[1].to_owned(), reply, payload }
    }
}
