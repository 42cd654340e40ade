//! A server with an admin port, and a client that says exactly what a test wants said.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Fanwire, PATIENCE};

/// Long enough to be one.
pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A server, and where its admin port is.
pub struct Site {
    pub server: Fanwire,
    pub clients: SocketAddr,
    pub admin: SocketAddr,
    pub folder: TempDir,
}

impl Site {
    /// Starts one on free ports.
    pub fn start(more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let usual: &[&str] = match more.contains(&"--admin-listen") {
            true => &["serve", "--listen", "127.0.0.1:0"],
            false => &["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"],
        };
        let mut server = Fanwire::start_with(&[usual, more].concat(), b"");
        let line = server.stderr_line("admin: http");
        let admin = line.trim().rsplit("://").next().unwrap().parse().unwrap_or_else(|_| panic!("{line}"));
        let clients = server.address();
        Site { server, clients, admin, folder }
    }

    /// One that needs [`TOKEN`].
    pub fn with_token(more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        std::fs::write(&path, format!("{TOKEN}\n")).unwrap();
        let path = path.display().to_string();
        Site { folder, ..Self::start(&[&["--admin-token-file", &path], more].concat()) }
    }

    /// Its admin port.
    pub fn port(&self) -> Port {
        Port(self.admin)
    }

    /// Asks for a path, as a program on this machine does.
    pub fn get(&self, path: &str) -> Answer {
        self.port().ask("GET", path, &[], "")
    }

    /// See [`Port::ask`].
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.port().ask(method, path, headers, body)
    }

    /// See [`Port::say`].
    pub fn say(&self, bytes: &str) -> Answer {
        self.port().say(bytes)
    }

    /// A connection to the admin port.
    pub fn connect(&self) -> TcpStream {
        self.port().connect()
    }
}

/// An admin port.
#[derive(Clone, Copy)]
pub struct Port(pub SocketAddr);

impl Port {
    /// Asks, with these headers and this body.
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            request.push_str(&format!("Host: {}\r\n", self.0));
        }
        headers.iter().for_each(|(name, value)| request.push_str(&format!("{name}: {value}\r\n")));
        if !body.is_empty() {
            request.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        self.say(&format!("{request}\r\n{body}"))
    }

    /// Says exactly this, and hears everything.
    pub fn say(&self, bytes: &str) -> Answer {
        let mut stream = self.connect();
        // Who is refused is not heard out.
        let _ = stream.write_all(bytes.as_bytes());
        Answer::read(&mut stream)
    }

    /// A connection to it.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.0).expect("the admin port listens");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    /// 0: nothing.
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    /// Reads to the end.
    pub fn read(stream: &mut impl Read) -> Self {
        let mut bytes = Vec::new();
        // Where a part of a request was not read, its connection is reset behind the answer.
        let _ = stream.read_to_end(&mut bytes);
        Self::of(&bytes)
    }

    fn of(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or_default();
        let head = head.to_ascii_lowercase();
        let body = match head.contains("transfer-encoding: chunked") {
            true => unchunked(body),
            false => body.to_owned(),
        };
        Answer { status, head, body }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn has(&self, header: &str) -> bool {
        self.head.lines().any(|line| line == header)
    }
}

fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let Ok(size @ 1..) = usize::from_str_radix(size, 16) else { break };
        whole.push_str(&rest[..size]);
        body = &rest[size + 2..];
    }
    whole
}
