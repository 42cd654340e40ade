//! A client of `fanwire.json.v1` that sends what it is told, byte by byte: an attacker, or one of the quiet ones beside it.
//!
//! Knows on which shard it has come to be, from the name that the server's `welcome` gives it. Blocks for a moment at most.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::net::{AddressFamily, SocketType, sockopt};

use super::super::JSON;
use crate::envelope::Envelope;
use crate::upgrade::{self, Asked};
use crate::{clock, frames};

/// How often a wish for a shard is tried: each attempt finds one of two with even odds.
const ATTEMPTS: usize = 64;
/// How long a read or a write waits before it looks whether the time is over.
const MOMENT: Duration = Duration::from_millis(50);

/// Where, and until when.
pub struct Field {
    /// The server.
    pub server: SocketAddrV4,
    /// The shard that attackers go to.
    pub shard: u8,
    ends_ns: AtomicU64,
}

impl Field {
    /// A field whose time is up after `seconds`.
    pub fn new(server: SocketAddrV4, shard: u8, seconds: f64) -> Self {
        let field = Field { server, shard, ends_ns: AtomicU64::new(0) };
        field.allow(seconds);
        field
    }

    /// From now on so many seconds are left.
    pub fn allow(&self, seconds: f64) {
        self.ends_ns.store(clock::now_ns() + (seconds * 1e9) as u64, Relaxed);
    }

    /// Whether the time is up.
    pub fn is_over(&self) -> bool {
        clock::now_ns() >= self.ends_ns.load(Relaxed)
    }

    /// An attacker: as a page of somebody else's it may subscribe, and not publish.
    pub fn stranger(&self) -> Result<Client> {
        self.connect(&Wish { is_stranger: true, ..Wish::default() })
    }

    /// One that may publish.
    pub fn publisher(&self) -> Result<Client> {
        self.connect(&Wish::default())
    }

    /// Connects as wished, to the shard under attack.
    pub fn connect(&self, wish: &Wish) -> Result<Client> {
        Client::connect(self.server, self.shard, wish)
    }
}

/// How a client connects.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish {
    /// It sends the origin of a foreign page, which takes the right to publish from it.
    pub is_stranger: bool,
    /// It asks for permessage-deflate.
    pub deflate: bool,
    /// Bytes of its receive buffer, where it should be small.
    pub receive_buffer: Option<usize>,
}

/// One connection.
pub struct Client {
    stream: TcpStream,
    received: Vec<u8>,
    shard: u8,
    pongs: u64,
    pings: u64,
    /// `error` answers.
    pub errors: u64,
}

impl Client {
    /// Connects until it is on this shard.
    ///
    /// # Errors
    /// When it is refused, or the server has no such shard.
    pub fn connect(server: SocketAddrV4, shard: u8, wish: &Wish) -> Result<Client> {
        for _ in 0..ATTEMPTS {
            let client = Self::open(server, wish)?;
            if client.shard == shard {
                return Ok(client);
            }
        }
        bail!("{ATTEMPTS} connections, and none came to shard {shard}")
    }

    fn open(server: SocketAddrV4, wish: &Wish) -> Result<Client> {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
        if let Some(bytes) = wish.receive_buffer {
            sockopt::set_socket_recv_buffer_size(&socket, bytes)?;
        }
        rustix::net::connect(&socket, &server)?;
        let mut stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        let asked = Asked { protocol: Some(JSON), deflate: wish.deflate };
        let mut request = Vec::new();
        upgrade::write_request(&mut request, &server.to_string(), "/", asked);
        if wish.is_stranger {
            request.truncate(request.len() - 2);
            request.extend_from_slice(b"Origin: http://stranger.example\r\n\r\n");
        }
        stream.write_all(&request)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let mut client = Client { stream, received: Vec::new(), shard: 0, pongs: 0, pings: 0, errors: 0 };
        let head = loop {
            ensure!(client.fill()?, "the server ended the handshake");
            if let Some(head) = upgrade::check_response(&client.received, asked).map_err(anyhow::Error::msg)? {
                break head;
            }
        };
        client.received.drain(..head);
        client.shard = client.welcomed()?;
        client.stream.set_read_timeout(Some(MOMENT))?;
        client.stream.set_write_timeout(Some(MOMENT))?;
        Ok(client)
    }

    /// How long a read waits.
    ///
    /// # Errors
    /// When the socket refuses it.
    pub fn wait_for_reads(&self, moment: Duration) -> Result<()> {
        Ok(self.stream.set_read_timeout(Some(moment))?)
    }

    /// Takes the `welcome`; the shard's number is the first part of the connection's name.
    fn welcomed(&mut self) -> Result<u8> {
        loop {
            if let Some((frame, taken)) = frames::split(&self.received).map_err(anyhow::Error::msg)? {
                let welcome: serde_json::Value = serde_json::from_slice(frame.payload)?;
                self.received.drain(..taken);
                let session = welcome["session"].as_str().context("a welcome without a session")?;
                return session.split('.').next().and_then(|shard| shard.parse().ok()).context("no shard in a session");
            }
            ensure!(self.fill()?, "the server ended before its welcome");
        }
    }

    /// One read. False at the end of the stream; true where nothing has come for a moment, too.
    fn fill(&mut self) -> Result<bool> {
        let held = self.received.len();
        self.received.resize(held + 256 * 1024, 0);
        let got = self.stream.read(&mut self.received[held..]);
        self.received.truncate(held + *got.as_ref().unwrap_or(&0));
        match got {
            Ok(got) => Ok(got > 0),
            Err(error) if is_moment(&error) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads once and hands over what has come; pings are answered. False once the server has ended the connection.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn read(&mut self, mut on: impl FnMut(&Envelope<'_>)) -> Result<bool> {
        if !self.fill()? {
            return Ok(false);
        }
        let mut reply = Vec::new();
        let (mut at, mut is_open) = (0, true);
        while let Some((frame, taken)) = frames::split(&self.received[at..]).map_err(anyhow::Error::msg)? {
            at += taken;
            match frame.opcode {
                frames::PING => frames::write_masked(&mut reply, frames::PONG, frame.payload),
                frames::CLOSE => is_open = false,
                frames::TEXT if !frame.is_compressed => {
                    let object = Envelope::read(frame.payload).context("no object")?;
                    self.pongs += u64::from(object.kind == b"pong");
                    self.errors += u64::from(object.kind == b"error");
                    on(&object);
                }
                _ => {}
            }
        }
        self.received.drain(..at);
        if !reply.is_empty() {
            self.stream.write_all(&reply)?;
        }
        Ok(is_open)
    }

    /// Writes bytes as they are. False where the time was up before all were written.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn write(&mut self, mut bytes: &[u8], field: &Field) -> Result<bool> {
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if is_moment(&error) && !field.is_over() => {}
                Err(error) if is_moment(&error) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    /// Sends one request.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn send(&mut self, request: &str, field: &Field) -> Result<bool> {
        self.write(&framed(request), field)
    }

    /// Asks for a `pong` and reads everything until it has come: all that was sent before is done then. False where the time was up
    /// or the server ended the connection.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn settle(&mut self, field: &Field) -> Result<bool> {
        self.pings += 1;
        if !self.send(r#"{"type":"ping","id":1}"#, field)? {
            return Ok(false);
        }
        while self.pongs < self.pings {
            if field.is_over() || !self.read(|_| ())? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn is_moment(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// A request as a frame.
pub fn framed(request: &str) -> Vec<u8> {
    let mut frame = Vec::with_capacity(request.len() + 14);
    frames::write_masked(&mut frame, frames::TEXT, request.as_bytes());
    frame
}

/// A request of this type for topics.
pub fn request(kind: &str, topics: impl Iterator<Item = String>) -> String {
    let topics: Vec<String> = topics.collect();
    serde_json::json!({"type": kind, "topics": topics}).to_string()
}
