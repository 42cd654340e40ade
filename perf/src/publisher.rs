//! A publisher of its own process: stamped payloads at a fixed rate over one `fanwire.json.v1` connection.
//!
//! The schedule is fixed before the first message, and the stamp is the moment in the schedule: a publisher that comes late
//! does not make the latency look better. It never subscribes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::payload::{self, Look, Stamp};
use crate::upgrade::Asked;
use crate::{clock, envelope::Envelope, frames, procfs, upgrade};

/// What a publisher does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PublisherSpec {
    /// Where the server is.
    pub server: SocketAddrV4,
    /// The topic.
    pub topic: String,
    /// Priority by name.
    pub priority: String,
    /// Messages a second; 0 is as fast as the server takes them.
    pub rate: f64,
    /// Bytes of a payload.
    pub bytes: usize,
    /// What payloads look like: telemetry is published as JSON.
    pub look: Look,
    /// Messages to publish.
    pub count: u64,
    /// Number of the first message less one.
    pub after_seq: u64,
    /// CPU to run on.
    pub cpu: Option<usize>,
}

impl PublisherSpec {
    /// The usual: text, normal priority, on whatever CPU.
    pub fn new(server: SocketAddrV4, topic: &str, rate: f64, bytes: usize, count: u64) -> Self {
        PublisherSpec {
            server,
            topic: topic.into(),
            priority: "normal".into(),
            rate,
            bytes,
            look: Look::Text,
            count,
            after_seq: 0,
            cpu: None,
        }
    }
}

/// What it did.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Published {
    /// Messages handed to the kernel.
    pub sent: u64,
    /// `error` answers, and the end of the connection, in words.
    pub errors: Vec<String>,
    /// From the first message to the answer that says that the server has taken all of them.
    pub ns: u64,
    /// Furthest behind its schedule, in nanoseconds.
    pub late_ns_max: u64,
}

/// The process: spec on stdin, [`Published`] on stdout.
///
/// # Errors
/// When it cannot begin.
pub fn run() -> Result<()> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    let spec: PublisherSpec = serde_json::from_str(&line)?;
    if let Some(cpu) = spec.cpu {
        procfs::pin_to(cpu)?;
    }
    let published = publish(&spec)?;
    println!("{}", serde_json::to_string(&published)?);
    Ok(())
}

/// A publisher process as the scenario sees it. Dropping it ends it.
pub struct Publisher {
    child: Child,
    began: Instant,
}

impl Publisher {
    /// Starts it; it publishes at once.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(spec: &PublisherSpec) -> Result<Publisher> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("publisher")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting a publisher")?;
        let mut stdin = child.stdin.take().context("a publisher's stdin")?;
        writeln!(stdin, "{}", serde_json::to_string(spec)?)?;
        Ok(Publisher { child, began: Instant::now() })
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it failed to begin.
    pub fn finish(mut self) -> Result<Published> {
        let stdout = self.child.stdout.take().context("a publisher's stdout")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let status = self.child.wait()?;
        serde_json::from_str(&line)
            .with_context(|| format!("the publisher ended with {status} after {:?}", self.began.elapsed()))
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Appends a `publish` request of `fanwire.json.v1`: text as it is (without quotes in it), telemetry as JSON.
pub fn write_publish(out: &mut Vec<u8>, topic: &str, priority: &str, look: Look, payload: &[u8]) {
    let (before, after): (&[u8], &[u8]) = match look {
        Look::Text => (br#","encoding":"text","data":""#, b"\"}"),
        Look::Telemetry => (br#","data":"#, b"}"),
    };
    out.extend_from_slice(br#"{"type":"publish","topic":""#);
    out.extend_from_slice(topic.as_bytes());
    out.extend_from_slice(br#"","priority":""#);
    out.extend_from_slice(priority.as_bytes());
    out.push(b'"');
    out.extend_from_slice(before);
    out.extend_from_slice(payload);
    out.extend_from_slice(after);
}

struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    pong: bool,
    open: bool,
    errors: Vec<String>,
    reply: Vec<u8>,
}

fn publish(spec: &PublisherSpec) -> Result<Published> {
    ensure!(spec.bytes >= payload::PAYLOAD_BYTES_MIN, "a payload has at least {} bytes", payload::PAYLOAD_BYTES_MIN);
    let mut connection = Connection::open(spec.server)?;
    let mut published = Published::default();
    let interval_ns = if spec.rate > 0.0 { 1e9 / spec.rate } else { 0.0 };
    let began = clock::now_ns();
    let mut payload = payload::Writer::new(spec.look, 1);
    let (mut text, mut object, mut frame) = (Vec::new(), Vec::new(), Vec::new());
    for i in 0..spec.count {
        let now = clock::now_ns();
        let intended_ns = if interval_ns > 0.0 { began + (i as f64 * interval_ns) as u64 } else { now };
        if intended_ns > now {
            connection.look(false)?;
            clock::sleep_until(intended_ns);
        }
        published.late_ns_max = published.late_ns_max.max(clock::now_ns().saturating_sub(intended_ns));
        payload.write(&mut text, Stamp { seq: spec.after_seq + i + 1, intended_ns }, spec.bytes);
        object.clear();
        write_publish(&mut object, &spec.topic, &spec.priority, spec.look, &text);
        frame.clear();
        frames::write_masked(&mut frame, frames::TEXT, &object);
        if i % 64 == 0 {
            connection.look(false)?;
        }
        if !connection.open || connection.stream.write_all(&frame).is_err() {
            connection.errors.push(format!("the connection ended after {i} messages"));
            break;
        }
        published.sent += 1;
    }
    connection.drain();
    published.ns = clock::now_ns() - began;
    published.errors = connection.errors;
    Ok(published)
}

impl Connection {
    fn open(server: SocketAddrV4) -> Result<Self> {
        let mut stream = TcpStream::connect(server).context("connecting the publisher")?;
        stream.set_nodelay(true)?;
        let mut request = Vec::new();
        let asked = Asked { protocol: Some("fanwire.json.v1"), deflate: false };
        upgrade::write_request(&mut request, &server.to_string(), "/", asked);
        stream.write_all(&request)?;
        let mut received = Vec::new();
        loop {
            let mut chunk = [0; 4096];
            let got = stream.read(&mut chunk)?;
            if got == 0 {
                bail!("the server ended the publisher's handshake");
            }
            received.extend_from_slice(&chunk[..got]);
            if let Some(head) = upgrade::check_response(&received, asked).map_err(anyhow::Error::msg)? {
                received.drain(..head);
                break;
            }
        }
        Ok(Connection { stream, received, pong: false, open: true, errors: Vec::new(), reply: Vec::new() })
    }

    /// Takes what the server has said: pings, errors, the close. Waits only if told so.
    fn look(&mut self, wait: bool) -> Result<()> {
        let mut chunk = [0; 16 * 1024];
        self.stream.set_nonblocking(!wait)?;
        match self.stream.read(&mut chunk) {
            Ok(0) => self.open = false,
            Ok(got) => self.received.extend_from_slice(&chunk[..got]),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::Interrupted) => {}
            Err(_) => self.open = false,
        }
        self.stream.set_nonblocking(false)?;
        let mut at = 0;
        while let Some((frame, taken)) = frames::split(&self.received[at..]).map_err(anyhow::Error::msg)? {
            match frame.opcode {
                frames::PING => frames::write_masked(&mut self.reply, frames::PONG, frame.payload),
                frames::CLOSE => {
                    self.errors.push(format!("closed with {:?}", frame.payload.get(..2)));
                    self.open = false;
                }
                frames::TEXT => match Envelope::read(frame.payload).map(|object| object.kind) {
                    Some(b"pong") => self.pong = true,
                    Some(b"error") if self.errors.len() < 20 => {
                        self.errors.push(String::from_utf8_lossy(frame.payload).into_owned())
                    }
                    _ => {}
                },
                _ => {}
            }
            at += taken;
        }
        self.received.drain(..at);
        if !self.reply.is_empty() {
            self.open &= self.stream.write_all(&self.reply).is_ok();
            self.reply.clear();
        }
        Ok(())
    }

    /// Waits until the server has taken everything: it answers a ping in its order.
    fn drain(&mut self) {
        let mut frame = Vec::new();
        frames::write_masked(&mut frame, frames::TEXT, br#"{"type":"ping","id":1}"#);
        let _ = self.stream.set_read_timeout(Some(Duration::from_millis(200)));
        let deadline = Instant::now() + Duration::from_secs(60);
        self.open &= self.stream.write_all(&frame).is_ok();
        while self.open && !self.pong && Instant::now() < deadline {
            if self.look(true).is_err() {
                break;
            }
        }
        if !self.pong {
            self.errors.push("the server did not confirm that it took everything".into());
        }
    }
}
