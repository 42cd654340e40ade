//! A server under attack, clients that send it what they like, and what the server has counted at its end.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};

use rustix::net::{AddressFamily, SocketType, sockopt};
use rustix::process::Signal;
use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};

use super::support::{Fanwire, PATIENCE, skip};

/// The most names that one request may have.
pub const NAMES: usize = 1_024;

/// A running server.
pub struct Served {
    pub process: Fanwire,
    pub address: SocketAddr,
}

impl Served {
    /// A server of one shard, where clients from this host may publish.
    pub fn start(more: &str) -> Served {
        let line = format!("--log debug serve --listen 127.0.0.1:0 --shards 1 --cpus none --publish loopback {more}");
        let (process, address) = Fanwire::listening(&line);
        Served { process, address }
    }

    /// A client that may publish.
    pub fn client(&self) -> Client {
        Client::connect(self.address, &Wish::default()).expect("a client is let in")
    }

    /// A client that may not.
    pub fn stranger(&self) -> Client {
        Client::connect(self.address, &Wish { is_stranger: true, ..Wish::default() }).expect("a stranger is let in")
    }

    /// Bytes that it has in memory now.
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process has memory");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of KiB") * 1024
    }

    /// Bytes of the sum that it has stated at its start.
    pub fn stated_bytes(&mut self) -> u64 {
        let line = self.process.stderr_line(" in all");
        let mib = line.split(" MiB").next().and_then(|head| head.split_whitespace().next_back());
        (mib.and_then(|mib| mib.parse::<f64>().ok()).expect("a number of MiB") * f64::from(1 << 20)) as u64
    }

    /// Ends it in good order; what its one shard has counted, by name.
    pub fn end(self) -> BTreeMap<String, u64> {
        self.process.signal(Signal::TERM);
        let (code, _, log) = self.process.finish();
        assert_eq!(code, 0, "{log}");
        let line = log.lines().find_map(|line| line.split_once("ShardStats { ")?.1.split_once(" }"));
        let (numbers, _) = line.unwrap_or_else(|| panic!("it does not say what it has counted:\n{log}"));
        numbers
            .split(", ")
            .map(|one| one.split_once(": ").expect("a name and a number"))
            .map(|(name, value)| (name.into(), value.parse().expect("a number")))
            .collect()
    }

    /// Ends it, and holds its longest turn against the bound of any turn.
    pub fn end_with_short_turns(self) {
        // What core/src/shard/budget.rs promises: its budgets, and the largest piece of work that begins within one of them.
        const TURN_STEPS_MAX: u64 = 250_000;
        match self.end().get("turn_steps_max") {
            Some(steps) => assert!(*steps <= TURN_STEPS_MAX, "a turn of {steps} steps"),
            None => skip("the server does not count the steps of its turns"),
        }
    }
}

/// How a client connects.
#[derive(Clone, Copy, Default)]
pub struct Wish<'a> {
    /// It has the origin of a foreign page, which takes the right to publish from it.
    pub is_stranger: bool,
    /// It asks for permessage-deflate.
    pub deflate: bool,
    /// A target without a subprotocol.
    pub raw: Option<&'a str>,
    /// Bytes of its buffers, where they should be soon full.
    pub buffers: Option<usize>,
    /// Its address.
    pub from: Option<Ipv4Addr>,
}

/// One connection.
pub struct Client {
    pub socket: WebSocket<TcpStream>,
}

impl Client {
    /// Connects; the `welcome` is taken.
    pub fn connect(server: SocketAddr, wish: &Wish<'_>) -> Result<Client, Box<dyn std::error::Error>> {
        let stream = socket_to(server, wish)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let mut request = format!("ws://{server}{}", wish.raw.unwrap_or("/")).into_client_request()?;
        let headers = request.headers_mut();
        if wish.raw.is_none() {
            headers.insert("Sec-WebSocket-Protocol", "fanwire.json.v1".parse()?);
        }
        if wish.is_stranger {
            headers.insert("Origin", "http://stranger.example".parse()?);
        }
        if wish.deflate {
            // The library knows no compression, and passes over what it did not ask for; so answers have to be short.
            headers.insert("Sec-WebSocket-Extensions", "permessage-deflate; server_no_context_takeover".parse()?);
        }
        let (socket, _) = tungstenite::client(request, stream).map_err(|error| error.to_string())?;
        let mut client = Client { socket };
        if wish.raw.is_none() {
            let welcome = client.next().ok_or("closed instead of welcomed")?;
            assert_eq!(welcome["type"], "welcome");
        }
        Ok(client)
    }

    /// Sends a request.
    pub fn ask(&mut self, request: Value) {
        self.raw(&frame(&request.to_string()));
    }

    /// Writes bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.try_raw(bytes).expect("the server reads");
    }

    /// The same, for bytes that the server may refuse.
    pub fn try_raw(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.socket.get_mut().write_all(bytes)
    }

    /// The next object; `None` once the server has closed.
    pub fn next(&mut self) -> Option<Value> {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => return Some(serde_json::from_str(&text).expect("JSON")),
                Ok(Message::Close(_)) => return None,
                Ok(_) => {}
                Err(error) => panic!("no answer: {error}"),
            }
        }
    }

    /// Everything up to the `pong` of a ping that is sent now: all that was asked for before is done then.
    pub fn settle(&mut self) -> Vec<Value> {
        self.ask(json!({"type": "ping", "id": "settled"}));
        let mut seen = Vec::new();
        while let Some(object) = self.next() {
            if object["type"] == "pong" && object["id"] == "settled" {
                return seen;
            }
            seen.push(object);
        }
        panic!(
            "closed instead of answered, after {} objects, the last of type {:?}",
            seen.len(),
            seen.last().map(kind)
        );
    }

    /// Subscribes, and waits until all of these names are subscribed to.
    pub fn subscribe(&mut self, names: impl Iterator<Item = String>) {
        let names: Vec<String> = names.collect();
        let mut missing = names.len();
        self.ask(json!({"type": "subscribe", "topics": names}));
        while missing > 0 {
            let object = self.next().expect("it stays connected");
            assert_ne!(kind(&object), "error", "{}", object["code"]);
            missing -= usize::from(kind(&object) == "subscribed");
        }
    }

    /// The code that the server closes with; 1006 where it ends without one.
    ///
    /// # Panics
    /// Where it answers a ping instead: then it does not mean to close.
    pub fn close_code_instead_of_an_answer(&mut self) -> u16 {
        // It may have closed already.
        let _ = self.try_raw(&frame(r#"{"type":"ping","id":"answered"}"#));
        self.close_code()
    }

    /// The same without a ping.
    pub fn close_code(&mut self) -> u16 {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => assert!(!text.contains("\"answered\""), "it goes on as if nothing were"),
                Ok(Message::Close(close)) => return close.map_or(1005, |close| close.code.into()),
                Ok(_) => {}
                Err(_) => return 1006,
            }
        }
    }
}

fn socket_to(server: SocketAddr, wish: &Wish<'_>) -> std::io::Result<TcpStream> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    if let Some(bytes) = wish.buffers {
        sockopt::set_socket_recv_buffer_size(&socket, bytes)?;
        sockopt::set_socket_send_buffer_size(&socket, bytes)?;
    }
    if let Some(address) = wish.from {
        rustix::net::bind(&socket, &SocketAddrV4::new(address, 0))?;
    }
    rustix::net::connect(&socket, &server)?;
    Ok(TcpStream::from(socket))
}

/// A client's frame with these first bits and this payload. Its mask is zero, which leaves the bytes as they are.
pub fn frame_of(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = head_of(first, payload.len() as u64);
    frame.extend_from_slice(payload);
    frame
}

/// The head of a frame.
pub fn head_of(first: u8, length: u64) -> Vec<u8> {
    let mut head = vec![first];
    match length {
        0..126 => head.push(0x80 | length as u8),
        126..65_536 => {
            head.push(0x80 | 126);
            head.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            head.push(0x80 | 127);
            head.extend_from_slice(&length.to_be_bytes());
        }
    }
    head.extend_from_slice(&[0; 4]);
    head
}

/// A text frame.
pub fn frame(text: &str) -> Vec<u8> {
    frame_of(0x81, text.as_bytes())
}

/// The type of an object.
pub fn kind(object: &Value) -> &str {
    object["type"].as_str().unwrap_or_default()
}

/// A request of this type for topics.
pub fn topics(kind: &str, names: impl Iterator<Item = String>) -> Value {
    json!({"type": kind, "topics": names.collect::<Vec<_>>()})
}
