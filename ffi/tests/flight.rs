//! The recorded PX4 flight replayed by a C host at full speed: for every client and lane, what is delivered and what is announced as
//! lost is what was published, in order, byte for byte.

use crate::kit;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use kit::{Link, PATIENCE, Server, c_test, compile, has, skip};
use serde_json::Value;
use serde_json::value::RawValue;
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};

const CLIENTS: usize = 20;

/// Messages of each topic, in order; and the lines for the C host.
struct Recording {
    by_topic: HashMap<String, Vec<String>>,
    lines: Vec<u8>,
    messages: u64,
}

impl Recording {
    /// `None`, and the test counts as skipped, where the recording is not beside the checkout.
    fn open() -> Option<Recording> {
        #[derive(serde::Deserialize)]
        struct Line {
            topic: String,
            data: Box<RawValue>,
        }
        let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/px4-flight.ndjson.gz"));
        let Ok(file) = std::fs::File::open(&path) else {
            skip(&format!("no recording at {}", path.display()));
            return None;
        };
        let mut recording = Recording { by_topic: HashMap::new(), lines: Vec::new(), messages: 0 };
        for line in BufReader::new(flate2::read::MultiGzDecoder::new(file)).lines() {
            let line: Line = serde_json::from_str(&line.expect("a readable recording")).expect("lines of JSON");
            recording.lines.extend_from_slice(format!("{}\t{}\n", line.topic, line.data.get()).as_bytes());
            recording.by_topic.entry(line.topic).or_default().push(line.data.get().to_owned());
            recording.messages += 1;
        }
        assert_eq!((recording.messages, recording.by_topic.len()), (64_542, 15));
        Some(recording)
    }
}

fn subscribe(port: u16) -> WebSocket<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("the host listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out can be set");
    let mut request = format!("ws://127.0.0.1:{port}/").into_client_request().expect("a good address");
    request.headers_mut().insert("Sec-WebSocket-Protocol", "fanwire.json.v1".parse().expect("a good value"));
    let mut socket = tungstenite::client(request, stream).expect("the host speaks WebSocket").0;
    socket.send(Message::text(r#"{"type":"subscribe","id":1,"topics":["px4/**"]}"#)).expect("sent");
    socket
}

/// Reads to the close; the messages delivered, and those announced as lost.
fn account(mut socket: WebSocket<TcpStream>, recording: &Recording) -> (u64, u64) {
    let mut next: HashMap<&str, u64> = recording.by_topic.keys().map(|topic| (topic.as_str(), 1)).collect();
    let (mut delivered, mut announced) = (0, 0);
    loop {
        let text = match socket.read().expect("messages, and then a close frame") {
            Message::Text(text) => text,
            Message::Close(frame) => {
                assert_eq!(frame.map(|frame| u16::from(frame.code)), Some(1001));
                break;
            }
            _ => continue,
        };
        let raw: HashMap<&str, &RawValue> = serde_json::from_str(&text).expect("an object");
        let field = |name: &str| serde_json::from_str::<Value>(raw[name].get()).expect("JSON");
        match field("type").as_str() {
            Some("message") => {
                let topic = field("topic");
                let (topic, messages) =
                    recording.by_topic.get_key_value(topic.as_str().expect("a name")).expect("a topic of the flight");
                let place = next.get_mut(topic.as_str()).expect("a topic of the flight");
                assert_eq!(field("seq"), *place, "of {topic}");
                assert_eq!(raw["data"].get(), messages[*place as usize - 1], "byte for byte");
                *place += 1;
                delivered += 1;
            }
            Some("gap") => {
                let topic = field("topic");
                let place = next.get_mut(topic.as_str().expect("a name")).expect("a topic of the flight");
                assert_eq!((field("from"), field("reason")), ((*place).into(), "lag".into()), "of {topic}");
                let to = field("to").as_u64().expect("a number");
                announced += to + 1 - *place;
                *place = to + 1;
            }
            _ => {}
        }
    }
    for (topic, messages) in &recording.by_topic {
        assert_eq!(next[topic.as_str()], messages.len() as u64 + 1, "of {topic}");
    }
    (delivered, announced)
}

/// Delivered and announced, over all clients.
fn replay(driver: &str, lane_bytes: usize, recording: &Recording) -> Option<(u64, u64)> {
    if !has("gcc") {
        return None;
    }
    let program = compile(&c_test("flight.c"), Link::Shared, &[]);
    let mut command = Command::new(&program.path);
    command.args([driver, &lane_bytes.to_string(), &CLIENTS.to_string()]).stdin(Stdio::piped());
    let mut server = Server::start(&mut command);
    let clients: Vec<_> = (0..CLIENTS).map(|_| subscribe(server.port)).collect();
    let mut stdin = server.stdin().expect("stdin is a pipe");
    let sum = std::thread::scope(|scope| {
        let readers: Vec<_> =
            clients.into_iter().map(|socket| scope.spawn(move || account(socket, recording))).collect();
        stdin.write_all(&recording.lines).expect("the host reads");
        drop(stdin);
        readers.into_iter().fold((0, 0), |sum, reader| {
            let (delivered, announced) = reader.join().expect("a client that got everything");
            (sum.0 + delivered, sum.1 + announced)
        })
    });
    assert_eq!(server.finish(), "published 64542 on 15 topics\n");
    Some(sum)
}

fn small_budgets_deliver_or_announce_everything(driver: &str) {
    let Some(recording) = Recording::open() else { return };
    let Some((delivered, announced)) = replay(driver, 256 << 10, &recording) else { return };
    assert_eq!(delivered + announced, recording.messages * CLIENTS as u64);
    assert!(delivered > 0);
}

fn large_budgets_lose_nothing(driver: &str) {
    let Some(recording) = Recording::open() else { return };
    let Some(sum) = replay(driver, 64 << 20, &recording) else { return };
    assert_eq!(sum, (recording.messages * CLIENTS as u64, 0));
}

#[test]
fn small_budgets_deliver_or_announce_everything_on_uring() {
    small_budgets_deliver_or_announce_everything("uring");
}

#[test]
fn small_budgets_deliver_or_announce_everything_on_epoll() {
    small_budgets_deliver_or_announce_everything("epoll");
}

#[test]
fn large_budgets_lose_nothing_on_uring() {
    large_budgets_lose_nothing("uring");
}

#[test]
fn large_budgets_lose_nothing_on_epoll() {
    large_budgets_lose_nothing("epoll");
}
