//! What the integration tests share: engines on either driver, and clients that are not the engine's own code.
//!
//! Tests drive the public API and sockets only. Waiting always has an end, but no test asserts a time.
#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests live in real time and read their environment"
)]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use fanwire::{Config, DriverChoice, Engine, PublishAccess, StartError};
use tungstenite::client::IntoClientRequest;
use tungstenite::http::HeaderValue;
use tungstenite::{Message, WebSocket};

/// Longest wait for anything. Long, because a loaded machine is no failure.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// The JSON subprotocol.
pub const JSON: &str = "fanwire.json.v1";

/// Makes `uring::NAME` and `epoll::NAME` of functions that take a driver.
#[macro_export]
macro_rules! on_both_drivers {
    ($($name:ident),* $(,)?) => {
        mod uring {
            $(#[test] fn $name() {
                if $crate::support::has(fanwire::DriverChoice::Uring) { super::$name(fanwire::DriverChoice::Uring) }
            })*
        }
        mod epoll {
            $(#[test] fn $name() { super::$name(fanwire::DriverChoice::Epoll) })*
        }
    };
}

/// Whether this host has the driver; says so if not. In CI it must.
pub fn has(driver: DriverChoice) -> bool {
    match Engine::start(config(driver)) {
        Ok(engine) => {
            engine.shutdown_now();
            true
        }
        Err(error @ StartError::Uring(_)) => {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "CI must have every driver: {error}");
            skip(&format!("driver not available: {error}"));
            false
        }
        Err(error) => panic!("the engine does not start: {error}"),
    }
}

/// Says that the current test cannot run here; `./test` counts it as skipped.
pub fn skip(reason: &str) {
    let name = std::thread::current().name().unwrap_or("a test").to_string();
    let line = format!("{name}: {}", reason.lines().next().unwrap_or_default());
    println!("SKIPPED {line}");
    if let Some(path) = std::env::var_os("FANWIRE_TEST_SKIPS") {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
        file.and_then(|mut file| file.write_all((line + "\n").as_bytes())).expect("the list of skipped tests");
    }
}

/// A small engine on a free port: one shard, not pinned.
pub fn config(driver: DriverChoice) -> Config {
    let mut config = Config {
        listen: vec![([127, 0, 0, 1], 0).into()],
        shards: Some(1),
        cpus: Some(Vec::new()),
        driver,
        connections_max: 1_000,
        ..Config::default()
    };
    config.access.publish = PublishAccess::Loopback;
    config.memory.pool_bytes = 64 << 20;
    config.memory.payload_bytes = 160 << 20;
    config
}

/// Starts an engine that must start.
pub fn start(config: Config) -> Engine {
    Engine::start(config).unwrap_or_else(|error| panic!("the engine does not start: {error}"))
}

/// The engine's first address.
pub fn addr(engine: &Engine) -> SocketAddr {
    engine.local_addrs()[0]
}

/// A tungstenite client.
pub type Client = WebSocket<TcpStream>;

/// Connects tungstenite to a path, raw or with a subprotocol.
pub fn try_connect(addr: SocketAddr, path: &str, protocol: Option<&'static str>) -> Result<Client, String> {
    let mut request = format!("ws://{addr}{path}").into_client_request().map_err(|e| e.to_string())?;
    if let Some(protocol) = protocol {
        request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static(protocol));
    }
    let stream = TcpStream::connect(addr).map_err(|e| e.to_string())?;
    stream.set_nodelay(true).map_err(|e| e.to_string())?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(|e| e.to_string())?;
    tungstenite::client::client(request, stream).map(|(client, _)| client).map_err(|e| e.to_string())
}

/// The same where it must work.
pub fn connect(addr: SocketAddr, path: &str, protocol: Option<&'static str>) -> Client {
    try_connect(addr, path, protocol).unwrap_or_else(|error| panic!("connecting to {path}: {error}"))
}

/// A JSON client whose subscription the engine has seen. What the engine says meanwhile is thrown away: last values too.
pub fn subscribe(addr: SocketAddr, topics: &[&str]) -> Client {
    let mut client = connect(addr, "/", Some(JSON));
    send(&mut client, &serde_json::json!({"type": "subscribe", "id": 1, "topics": topics}).to_string());
    settle(&mut client);
    client
}

/// Waits for the answer to a ping: everything sent before it has been seen. Returns the objects that came before the answer.
pub fn settle(client: &mut Client) -> Vec<serde_json::Value> {
    send(client, r#"{"type":"ping","id":"settle"}"#);
    let mut before = Vec::new();
    loop {
        let object = next_object(client);
        if object["type"] == "pong" && object["id"] == "settle" {
            return before;
        }
        before.push(object);
    }
}

/// Sends text.
pub fn send(client: &mut Client, text: &str) {
    client.send(Message::text(text)).expect("a client can send");
}

/// The next data message as bytes; pings are answered on the way.
pub fn next_payload(client: &mut Client) -> Vec<u8> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "nothing but pings");
        match client.read() {
            Ok(Message::Text(text)) => return text.as_bytes().to_vec(),
            Ok(Message::Binary(bytes)) => return bytes.to_vec(),
            Ok(Message::Ping(_) | Message::Pong(_)) => {}
            other => panic!("instead of a message: {other:?}"),
        }
    }
}

/// The next message as JSON.
pub fn next_object(client: &mut Client) -> serde_json::Value {
    serde_json::from_slice(&next_payload(client)).expect("the server sends JSON")
}

/// Reads data messages until the server's close, and returns them with its code.
pub fn read_to_close(client: &mut Client) -> (Vec<Vec<u8>>, u16) {
    let mut payloads = Vec::new();
    let mut code = 1006;
    loop {
        match client.read() {
            Ok(Message::Text(text)) => payloads.push(text.as_bytes().to_vec()),
            Ok(Message::Binary(bytes)) => payloads.push(bytes.to_vec()),
            Ok(Message::Close(frame)) => code = frame.map_or(1005, |frame| u16::from(frame.code)),
            Ok(_) => {}
            Err(tungstenite::Error::Io(error))
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
            {
                panic!("no close after {} messages", payloads.len())
            }
            Err(_) => return (payloads, code),
        }
    }
}

/// Waits until something is so.
pub fn wait_until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < deadline, "never came true: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Milliseconds that something took.
pub fn elapsed_ms(what: impl FnOnce()) -> u64 {
    let began = Instant::now();
    what();
    began.elapsed().as_millis() as u64
}

/// Lets others work for some milliseconds.
pub fn pause(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// A client of bare bytes, for what no well-behaved client sends.
pub struct Bare {
    /// The socket.
    pub stream: TcpStream,
    /// Bytes that the server has sent and this client has read.
    pub taken: u64,
    received: Vec<u8>,
}

/// A frame from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// First byte: FIN, reserved bits, opcode.
    pub first: u8,
    /// The payload.
    pub payload: Vec<u8>,
}

impl Bare {
    /// Only a TCP connection.
    pub fn connect(addr: SocketAddr) -> Bare {
        let stream = TcpStream::connect(addr).expect("the port is open");
        stream.set_nodelay(true).expect("a live socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("a live socket");
        Bare { stream, taken: 0, received: Vec::new() }
    }

    /// A connection that was made elsewhere.
    pub fn over(stream: TcpStream) -> Bare {
        stream.set_read_timeout(Some(PATIENCE)).expect("a live socket");
        Bare { stream, taken: 0, received: Vec::new() }
    }

    /// Only a TCP connection, with a receive buffer as small as the kernel makes one: what is not read soon stays with the
    /// server.
    pub fn connect_thin(addr: SocketAddr) -> Bare {
        use rustix::net::{AddressFamily, SocketType, connect, socket, sockopt};
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        sockopt::set_socket_recv_buffer_size(&socket, 2_048).expect("a live socket");
        connect(&socket, &addr).expect("the port is open");
        Bare::over(TcpStream::from(socket))
    }

    /// Connected and upgraded.
    pub fn upgraded(addr: SocketAddr, path: &str, protocol: Option<&str>) -> Bare {
        Bare::connect(addr).upgrade(path, protocol)
    }

    /// Asks for the upgrade, which must be granted.
    pub fn upgrade(self, path: &str, protocol: Option<&str>) -> Bare {
        let mut bare = self;
        bare.send(upgrade_request(path, protocol).as_bytes());
        let head = bare.response_head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        bare
    }

    /// Sends what the server will take; it may have closed already.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Takes at most so many bytes from the socket, to be looked at later: a client that reads in bites.
    pub fn bite(&mut self, bytes: usize) {
        let mut piece = vec![0; bytes];
        let got = self.stream.read(&mut piece).expect("the server is there");
        self.taken += got as u64;
        self.received.extend_from_slice(&piece[..got]);
    }

    /// The head of the response, without its blank line; an end of stream gives what there was.
    pub fn response_head(&mut self) -> String {
        loop {
            if let Some(end) = self.received.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&self.received[..end]).into_owned();
                self.received.drain(..end + 4);
                return head;
            }
            if !self.fill() {
                return String::from_utf8_lossy(&self.received).into_owned();
            }
        }
    }

    /// The next frame, `None` at the end of the stream.
    pub fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.bitten_frame() {
                return Some(frame);
            }
            if !self.fill() {
                return None;
            }
        }
    }

    /// The next frame of what has been read already, if that holds a whole one.
    pub fn bitten_frame(&mut self) -> Option<Frame> {
        if let [first, second, ..] = self.received[..] {
            let digits = |from: usize, to: usize| {
                self.received.get(from..to).map(|d| d.iter().fold(0usize, |n, byte| n << 8 | *byte as usize))
            };
            let (length, head) = match second {
                126 => (digits(2, 4), 4),
                127 => (digits(2, 10), 10),
                short => (Some(short as usize), 2),
            };
            assert!(second < 128, "a server never masks");
            if let Some(end) = length.map(|length| head + length)
                && self.received.len() >= end
            {
                let payload = self.received[head..end].to_vec();
                self.received.drain(..end);
                return Some(Frame { first, payload });
            }
        }
        None
    }

    /// Reads frames until the close frame, answers it, reads to the end of the stream, and returns the close code: 1006
    /// if the stream ended without one.
    pub fn close_code(&mut self) -> u16 {
        while let Some(frame) = self.frame() {
            if frame.first & 15 == 8 {
                let code = frame.payload.get(..2).map_or(1005, |code| u16::from_be_bytes([code[0], code[1]]));
                self.send(&masked(0x88, &frame.payload));
                self.read_to_end();
                return code;
            }
        }
        1006
    }

    /// Reads until the server has closed the connection, one way or the other.
    pub fn read_to_end(&mut self) {
        while self.fill() {}
    }

    /// False at the end of the stream (orderly or not).
    fn fill(&mut self) -> bool {
        let mut chunk = [0; 64 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => false,
            Ok(got) => {
                self.taken += got as u64;
                self.received.extend_from_slice(&chunk[..got]);
                true
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("the server says nothing more, and does not close")
            }
            Err(_) => false,
        }
    }
}

/// A connection from another address of this machine.
pub fn from_elsewhere(to: SocketAddr) -> Bare {
    let socket =
        rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).expect("a socket");
    rustix::net::bind(&socket, &SocketAddr::from(([127, 0, 0, 2], 0))).expect("127.0.0.2 is this machine");
    rustix::net::connect(&socket, &to).expect("the port is open");
    Bare::over(TcpStream::from(socket))
}

/// A right upgrade request.
pub fn upgrade_request(path: &str, protocol: Option<&str>) -> String {
    let protocol = protocol.map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n")).unwrap_or_default();
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{protocol}\r\n"
    )
}

/// A client's frame: any first byte, right length, masked.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        length @ 0..126 => out.push(0x80 | length as u8),
        length @ 126..65_536 => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    let key = [0x12, 0x34, 0x56, 0x78];
    out.extend_from_slice(&key);
    out.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]));
    out
}
