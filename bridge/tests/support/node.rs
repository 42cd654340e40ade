//! A node: an engine with a bridge, and subscribers of it.

use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use fanwire::{Config, Engine, Kind, Priority, PublishError};
use fanwire_bridge::{Bridge, BridgeConfig, Counters, METRICS, Stop};
use tungstenite::client::IntoClientRequest as _;
use tungstenite::{Message, WebSocket};

use super::server::Server;
use super::{PATIENCE, wait_until};

/// See the module's head.
pub struct Node {
    pub engine: Arc<Engine>,
    counters: Arc<Counters>,
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

impl Node {
    /// One of the cluster `test`.
    pub fn new(server: &Server) -> Self {
        Self::with(BridgeConfig { urls: vec![server.url()], cluster: "test".into(), ..BridgeConfig::default() })
    }

    /// One with a bridge of its own.
    pub fn with(config: BridgeConfig) -> Self {
        let mut engine = Config {
            listen: vec![([127, 0, 0, 1], 0).into()],
            shards: Some(1),
            cpus: Some(Vec::new()),
            connections_max: 1_000,
            ..Config::default()
        };
        engine.memory.pool_bytes = 64 << 20;
        engine.memory.payload_bytes = 160 << 20;
        let engine = Arc::new(Engine::start(engine).expect("an engine"));
        let bridge = Bridge::open(&engine, config).expect("a bridge");
        let (counters, stop, runs) = (bridge.counters(), bridge.stop(), engine.clone());
        let thread = std::thread::spawn(move || bridge.run(&runs).expect("a runtime"));
        Self { engine, counters, stop, thread: Some(thread) }
    }

    /// Publishes a text here, waiting for room.
    pub fn publish(&self, topic: &str, priority: Priority, text: &str) {
        let topic = self.engine.topic(topic).expect("a topic");
        wait_until("there is room", || match topic.publish(priority, Kind::Text, text.as_bytes()) {
            Ok(_) => true,
            Err(PublishError::WouldBlock) => false,
            Err(error) => panic!("it is not published: {error}"),
        });
    }

    /// A number that the bridge has counted: of this name, with this label.
    pub fn counted(&self, name: &str, label: &str) -> u64 {
        let numbers = METRICS.iter().zip(self.counters.read());
        let found = numbers.filter(|(metric, _)| (metric.name, metric.label) == (name, label)).map(|(_, n)| n).next();
        found.unwrap_or_else(|| panic!("no number {name} {label}"))
    }

    /// Messages lost for this cause.
    pub fn lost(&self, cause: &str) -> u64 {
        self.counted("fanwire_bridge_lost", &format!("cause=\"{cause}\""))
    }

    /// Somebody who reads a topic, from now on.
    pub fn subscribe(&self, topic: &str) -> Subscriber {
        let encoded = topic.bytes().map(|byte| match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'/' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        });
        Subscriber::new(self, &format!("/t/{}", encoded.collect::<String>()), None)
    }

    /// Somebody who reads what a pattern matches, as JSON.
    pub fn subscribe_to_pattern(&self, pattern: &str) -> Subscriber {
        Subscriber::new(self, "/", Some(&format!("{{\"type\":\"subscribe\",\"topics\":[\"{pattern}\"]}}")))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the bridge has failed");
        }
    }
}

/// A raw WebSocket client, read by a thread of its own.
pub struct Subscriber {
    heard: Arc<Mutex<Vec<String>>>,
    stream: TcpStream,
    thread: Option<JoinHandle<()>>,
}

impl Subscriber {
    /// `asks`: the first request, in JSON.
    fn new(node: &Node, path: &str, asks: Option<&str>) -> Self {
        let address = node.engine.local_addrs()[0];
        let mut request = format!("ws://{address}{path}").into_client_request().expect("a request");
        if asks.is_some() {
            request.headers_mut().insert("Sec-WebSocket-Protocol", "fanwire.json.v1".parse().expect("a name"));
        }
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        let kept = stream.try_clone().expect("a descriptor");
        let (mut client, _) = tungstenite::client::client(request, stream).expect("an upgrade");
        if let Some(asks) = asks {
            client.send(Message::text(asks)).expect("the engine listens");
        }
        let heard = Arc::new(Mutex::new(Vec::new()));
        let into = heard.clone();
        let thread = std::thread::spawn(move || read(client, &into));
        Self { heard, stream: kept, thread: Some(thread) }
    }

    /// What has come until now.
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().expect("the reader does not panic").clone()
    }

    /// Those of it that begin so, without that.
    pub fn heard_of(&self, prefix: &str) -> Vec<u64> {
        let heard = self.heard();
        let numbers = heard.iter().filter_map(|text| text.strip_prefix(prefix));
        numbers.map(|number| number.parse().expect("a number")).collect()
    }
}

fn read(mut client: WebSocket<TcpStream>, into: &Mutex<Vec<String>>) {
    while let Ok(message) = client.read() {
        if let Message::Text(text) = message {
            into.lock().expect("nobody panics with it").push(text.to_string());
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
