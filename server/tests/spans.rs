//! OpenTelemetry: what befalls messages and connections comes to a collector as spans.
#![allow(clippy::disallowed_methods)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Fanwire, Subscriber, run};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// A small collector: takes what OTLP's JSON brings, and answers as it is told, at last with 200.
struct Collector {
    address: SocketAddr,
    spans: Receiver<Vec<Value>>,
}

impl Collector {
    fn new(answers: &'static [&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, spans) = channel();
        std::thread::spawn(move || {
            let mut answers = answers.iter();
            while let Ok((mut client, _)) = listener.accept() {
                let Some(body) = read(&mut client) else { continue };
                let answer = answers.next().copied().unwrap_or("200 OK");
                if answer.starts_with("200") && sender.send(spans_of(&body)).is_err() {
                    return;
                }
                let head = format!("HTTP/1.1 {answer}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}");
                let _ = client.write_all(head.as_bytes());
            }
        });
        Collector { address, spans }
    }

    /// A server that tells it, and where that listens.
    fn served(&self, sample: &str) -> (Fanwire, SocketAddr) {
        Fanwire::listening(&format!(
            "serve --listen 127.0.0.1:0 --shards 2 --publish loopback --tracing-otlp-endpoint http://{} --tracing-sample {sample}",
            self.address
        ))
    }

    /// All that has come once the server has ended.
    fn all(&self) -> Vec<Value> {
        self.spans.try_iter().flatten().collect()
    }
}

/// The body of a request to `/v1/traces`.
fn read(client: &mut TcpStream) -> Option<Value> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
    assert!(head.contains("content-type: application/json\r\n"), "{head}");
    let (_, length) = head.split_once("content-length: ")?;
    let mut body = vec![0; length.split("\r\n").next()?.parse().ok()?];
    client.read_exact(&mut body).ok()?;
    Some(serde_json::from_slice(&body).expect("JSON"))
}

fn spans_of(body: &Value) -> Vec<Value> {
    let resource = &body["resourceSpans"][0];
    assert_eq!(resource["resource"]["attributes"][0]["value"]["stringValue"], "fanwire");
    resource["scopeSpans"][0]["spans"].as_array().expect("spans").clone()
}

/// What a span says of itself under a name.
fn said<'a>(span: &'a Value, key: &str) -> &'a str {
    let attributes = span["attributes"].as_array().expect("attributes");
    let value = attributes.iter().find(|attribute| attribute["key"] == key).map(|attribute| &attribute["value"]);
    value.and_then(|value| value["stringValue"].as_str().or(value["intValue"].as_str())).unwrap_or_default()
}

fn ended(server: Fanwire) -> String {
    server.signal(Signal::TERM);
    let (code, _, log) = server.finish();
    assert_eq!(code, 0, "{log}");
    log
}

#[test]
fn a_collector_gets_whole_traces_from_publish_to_delivery() {
    let collector = Collector::new(&[]);
    let (server, address) = collector.served("1");
    let mut subscriber = Subscriber::connect(address, "rover/1/cmd", None);
    let mut publisher = Subscriber::connect_silently(address);
    publisher.send(&format!(
        r#"{{"type":"publish","topic":"rover/1/cmd","data":1,"traceparent":"00-{TRACE}-{PARENT}-01"}}"#
    ));
    publisher.send(r#"{"type":"publish","topic":"rover/1/cmd","data":2}"#);
    let mut seen = 0;
    while seen < 2 {
        seen += u32::from(subscriber.next_object().expect("a message")["type"] == "message");
    }
    ended(server);
    let spans = collector.all();
    let named = |name: &str| spans.iter().filter(|span| span["name"] == name).collect::<Vec<_>>();
    let (sent, delivered) = (named("send rover/1/cmd"), named("deliver rover/1/cmd"));
    assert_eq!((sent.len(), delivered.len(), named("connection").len()), (2, 2, 2), "{spans:#?}");
    // The first goes on with its publisher's trace, the second begins one.
    assert_eq!((&sent[0]["traceId"], &sent[0]["parentSpanId"]), (&TRACE.into(), &PARENT.into()));
    assert!(sent[1]["traceId"] != TRACE && sent[1].get("parentSpanId").is_none());
    for (sent, delivered) in sent.iter().zip(&delivered) {
        assert_eq!((&delivered["traceId"], &delivered["parentSpanId"]), (&sent["traceId"], &sent["spanId"]));
        assert_eq!(said(delivered, "fanwire.subscribers"), "1");
        assert_eq!(said(sent, "messaging.destination.name"), "rover/1/cmd");
    }
    // Who published is the connection that has a span of its own.
    let from = said(sent[0], "fanwire.connection");
    assert!(named("connection").iter().any(|span| said(span, "fanwire.connection") == from), "{from}");
}

#[test]
fn without_chance_what_a_publisher_records_is_traced_alone() {
    let collector = Collector::new(&[]);
    let (server, address) = collector.served("0");
    let mut publisher = Subscriber::connect(address, "a", None);
    for traceparent in [format!("00-{TRACE}-{PARENT}-00"), format!("00-{TRACE}-{PARENT}-01")] {
        publisher.send(&format!(r#"{{"type":"publish","topic":"a","data":1,"traceparent":"{traceparent}"}}"#));
    }
    publisher.send(r#"{"type":"publish","topic":"a","data":"last"}"#);
    while publisher.next_object().expect("a message")["data"] != "last" {}
    ended(server);
    let mut names: Vec<String> =
        collector.all().iter().map(|span| format!("{} {}", span["name"], said(span, "messaging.message.id"))).collect();
    names.sort();
    assert_eq!(names, [r#""deliver a" normal/2"#, r#""send a" normal/2"#]);
}

#[test]
fn a_collector_that_does_not_answer_well_holds_nobody_up() {
    let collector = Collector::new(&["503 Service Unavailable", "200 OK", "400 Bad Request"]);
    let (mut server, address) = collector.served("1");
    let mut client = Subscriber::connect(address, "a", None);
    let mut publish = |data: &str| {
        client.send(&format!(r#"{{"type":"publish","topic":"a","data":"{data}"}}"#));
        while client.next_object().expect("a message")["data"] != data {}
    };
    publish("first");
    server.stderr_line("HTTP 503; it is tried again");
    server.stderr_line("the collector answers again");
    publish("second");
    let said = server.stderr_line("spans: HTTP 400");
    let refused = said.split_once("refuses ").and_then(|(_, rest)| rest.split(' ').next()?.parse::<usize>().ok());
    publish("third");
    ended(server);
    // Three messages sent and delivered, and the connection: however they were gathered, none came twice, and none was lost.
    assert_eq!(collector.all().len() + refused.expect("a number"), 7);
}

#[test]
fn settings_of_tracing_are_checked_at_the_start() {
    for (arguments, expected) in [
        (&["--tracing-otlp-endpoint", "localhost:4318"][..], "must begin with http://"),
        (&["--tracing-otlp-endpoint", "http://u:p@localhost"], "no password"),
        (&["--tracing-sample", "1.001"], "from 0 to 1"),
        (&["--tracing-sample=-0.1"], "from 0 to 1"),
        (&["--tracing-sample", "nan"], "from 0 to 1"),
    ] {
        let (code, _, log) = run(&[&["serve", "--listen", "127.0.0.1:0"], arguments].concat(), &[]);
        assert!(matches!(code, 2 | 78) && log.contains(expected), "{arguments:?}: {code} {log}");
    }
}
