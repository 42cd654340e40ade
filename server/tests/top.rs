//! `fanwire top`, against a server that plays the `$sys` topics.
#![allow(clippy::disallowed_methods)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use serde_json::{Value, json};
use tungstenite::handshake::server::{Request, Response};
use tungstenite::{Message, WebSocket};

use crate::support;

/// What the server says to who subscribes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plays {
    Figures,
    Refusal,
    Nothing,
}

/// A server that has one client behind. What it is ordered to do comes out of the receiver.
fn server(plays: Plays) -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (orders, ordered) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, orders) = (stream.unwrap(), orders.clone());
            thread::spawn(move || attend(stream, plays, &orders));
        }
    });
    (address, ordered)
}

fn attend(mut stream: TcpStream, plays: Plays, orders: &Sender<String>) {
    let mut first = [0; 4];
    if stream.peek(&mut first).is_ok_and(|n| n == 4) && &first == b"POST" {
        let mut request = vec![0; 4096];
        let n = stream.read(&mut request).unwrap();
        let _ = orders.send(String::from_utf8_lossy(&request[..n]).into_owned());
        let _ = stream.write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}");
        return;
    }
    #[allow(clippy::result_large_err, reason = "that is how this library's callback looks")]
    let with_protocol = |_: &Request, mut response: Response| {
        response.headers_mut().insert("Sec-WebSocket-Protocol", "fanwire.json.v1".parse().unwrap());
        Ok(response)
    };
    let Ok(mut socket) = tungstenite::accept_hdr(stream, with_protocol) else { return };
    let welcome = json!({"type":"welcome","session":"0.0.1","server":"t","protocol":"fanwire.json.v1","time_us":1,
        "limits":{"message_bytes_max":1000,"topics_max":10,"subscriptions_max":10}});
    say(&mut socket, &welcome);
    while let Ok(message) = socket.read() {
        let Ok(object) = serde_json::from_str::<Value>(message.to_text().unwrap_or_default()) else { continue };
        match object["type"].as_str() {
            Some("ping") => say(&mut socket, &json!({"type":"pong","id":object["id"]})),
            Some("subscribe") => play(&mut socket, plays, &object),
            _ => {}
        }
    }
}

fn say(socket: &mut WebSocket<TcpStream>, object: &Value) {
    // Who was told enough may have gone.
    let _ = socket.send(Message::text(object.to_string()));
}

fn play(socket: &mut WebSocket<TcpStream>, plays: Plays, asked: &Value) {
    match plays {
        Plays::Nothing => return,
        Plays::Refusal => {
            let refused =
                json!({"type":"error","code":"not_allowed","message":"not granted\u{1b}[2J","id":asked["id"]});
            return say(socket, &refused);
        }
        Plays::Figures => {}
    }
    for (n, topic) in asked["topics"].as_array().unwrap().iter().enumerate() {
        say(socket, &json!({"type":"subscribed","id":asked["id"],"topic":topic,"topic_id":n,"epoch":1,"seq":{}}));
    }
    let mut message = |topic: &str, seq: u64, data: Value| {
        let object = json!({"type":"message","topic":topic,"priority":"normal","seq":seq,"time_us":seq,"data":data});
        say(socket, &object);
    };
    let shards = |at_ms: u64, interval_s: f64, deliveries: u64| {
        json!({"at_ms":at_ms,"interval_s":interval_s,"version":"0.1.0","driver":"uring","uptime_s":9.0,"connections_max":100,
            "total":{"connections":3,"deliveries":deliveries},"shards":[{"shard":0,"utilisation":0.5,"connections":3}]})
    };
    let client = json!({"id":"0.17.1","connection":"4294967313","peer":"192.0.2.7:50122","subject":"u1","form":"json",
        "used":0.78,"behind_bytes":3276800,"drops_in_s":9.5,"cause":"reader",
        "lanes":[{"topic":"rover/1/imu","priority":"normal","used":0.78}],
        "lost":[{"topic":"rover/1/imu","priority":"normal","from":3001,"to":4200}],"lost_total":9120});
    // As a server says it that nobody has asked for a while: what it kept of then, what has no rates yet, what has.
    for (seq, at_ms, interval_s, deliveries) in [(1, 10, 1.0, 0), (2, 1_000, 0.0, 0), (3, 2_000, 1.0, 500)] {
        message("$sys/shards", seq, shards(at_ms, interval_s, deliveries));
        message("$sys/topics", seq, json!({"at_ms":at_ms,"interval_s":interval_s,"total":0,"topics":[]}));
        let mut client = client.clone();
        if interval_s == 0.0 {
            client["drops_in_s"] = Value::Null;
        }
        let clients =
            json!({"at_ms":at_ms,"interval_s":interval_s,"total":3,"behind":1,"by_lag":[client],"by_work":[]});
        message("$sys/clients", seq, clients);
    }
}

fn top(address: SocketAddr, more: &[&str]) -> (i32, String, String) {
    let url = format!("ws://{address}/ws");
    let (code, out, log) = support::run(&[&["top", &url], more].concat(), b"");
    (code, String::from_utf8(out).unwrap(), log)
}

#[test]
fn a_snapshot_says_who_is_slow_and_what_it_lost() {
    let (address, _orders) = server(Plays::Figures);
    let (code, text, log) = top(address, &["--once"]);
    assert_eq!(code, 0, "{log}");
    for shown in [
        "clients 3 of 100, behind 1",
        "deliveries 500/s",
        "0.17.1",
        " 9.5s ",
        "9,120",
        "rover/1/imu normal 3001–4200",
        "u1",
    ] {
        assert!(text.contains(shown), "{shown} is not in\n{text}");
    }
    let (code, text, log) = top(address, &["--once", "--format", "json"]);
    assert_eq!(code, 0, "{log}");
    let snapshot: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(snapshot["$sys/clients"]["by_lag"][0]["lost"][0]["to"], 4200);
    assert_eq!(snapshot["$sys/shards"]["at_ms"], 2000);
}

#[test]
fn what_cannot_be_had_is_told_with_its_exit_code() {
    let (address, _orders) = server(Plays::Refusal);
    let (code, _, log) = top(address, &["--once"]);
    assert_eq!(code, 77, "{log}");
    assert!(log.contains("not granted\\x1b[2J") && log.contains("sys.public"), "{log}");
    let (address, _orders) = server(Plays::Nothing);
    let (code, _, log) = top(address, &["--once", "--timeout", "300ms"]);
    assert_eq!(code, 69, "{log}");
    let (code, _, log) = top(address, &[]);
    assert_eq!(code, 2, "{log}");
    assert!(log.contains("--once"), "{log}");
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(top(free, &["--once"]).0, 69);
}

/// Runs `top` in a terminal.
fn in_terminal(address: SocketAddr, steps: &Value) -> Value {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/terminal.py");
    let mut command = Command::new("python3");
    command.args([script, &steps.to_string(), env!("CARGO_BIN_EXE_fanwire"), "top", &format!("ws://{address}/ws")]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_client_is_closed_by_key_and_the_terminal_given_back() {
    let (address, orders) = server(Plays::Figures);
    let ended = in_terminal(
        address,
        &json!([{"until":"0.17.1"}, {"keys":"c"}, {"until":"Close client"}, {"keys":"y"}, {"until":"is being closed"},
            {"keys":"q"}]),
    );
    assert_eq!(
        (&ended["code"], &ended["restored"], &ended["left"]),
        (&json!(0), &json!(true), &json!(true)),
        "{ended}"
    );
    let order = orders.recv_timeout(support::PATIENCE).unwrap();
    assert!(order.starts_with("POST /api/connections/0.17.1/close HTTP/1.1\r\n"), "{order}");
    assert!(order.ends_with("\r\n\r\n{}"), "{order}");
}

#[test]
fn a_signal_gives_the_terminal_back_as_well() {
    let (address, _orders) = server(Plays::Figures);
    let ended = in_terminal(address, &json!([{"until":"0.17.1"},{"signal":15}]));
    assert_eq!(
        (&ended["code"], &ended["restored"], &ended["left"]),
        (&json!(143), &json!(true), &json!(true)),
        "{ended}"
    );
}

#[test]
fn it_ends_where_its_terminal_goes_and_no_signal_says_so() {
    let (address, _orders) = server(Plays::Figures);
    let ended = in_terminal(address, &json!([{"until":"0.17.1"},{"gone":true}]));
    assert_eq!(ended["code"], 74, "{ended}");
}
