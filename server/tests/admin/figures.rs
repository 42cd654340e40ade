//! What an operator looks at: the slow client is found, with what it has lost, and closed.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::http::Site;
use crate::support::{PATIENCE, Subscriber, publish};

/// Asks until `is_so`: figures are gathered once a second.
fn ask_until(site: &Site, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = site.get(path);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        let said = answer.json();
        if is_so(&said) {
            return said;
        }
        assert!(Instant::now() < deadline, "{path}: {said}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A client that subscribes, and reads nothing of what comes.
fn stuck(site: &Site) -> TcpStream {
    let mut stream = TcpStream::connect(site.clients).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = "GET /t/large HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
    stream
}

#[test]
fn the_slow_client_is_found_with_what_it_has_lost_and_closed() {
    let site = Site::start(&["--publish", "loopback", "--shards", "1", "--lane-bytes", "256KiB"]);
    let mut healthy = Subscriber::connect(site.clients, "other", None);
    let slow = stuck(&site);
    let own = slow.local_addr().unwrap().to_string();
    let lines: String = (0..4_000).map(|_| "x".repeat(8_000) + "\n").collect();
    publish(&format!("ws://{}", site.clients), &["large"], &lines);
    let is_slow = |said: &Value| said["clients"][0]["lost_total"].as_u64().is_some_and(|lost| lost > 0);
    let said = ask_until(&site, "/api/performance/connections?limit=1", is_slow);
    let client = &said["clients"][0];
    assert_eq!((client["peer"].as_str(), &said["by"]), (Some(&*own), &"lag".into()), "{said}");
    assert_eq!((said["clients"].as_array().unwrap().len(), &said["limit"]), (1, &1.into()), "{said}");
    assert_eq!(client["lost"][0]["topic"], "large", "{said}");
    // What it has lost is counted when there is room to tell it; that its lane is full is seen at once.
    let is_full = |said: &Value| said["clients"]["behind"] == 1 && said["lanes"][0]["behind"].as_f64() > Some(0.0);
    let pressure = ask_until(&site, "/api/performance/backpressure", is_full);
    assert_eq!(pressure["lanes"][0]["topic"], "large", "{pressure}");
    let topics = ask_until(&site, "/api/topics", |said| said["total"].as_u64() == Some(2));
    assert!(topics["topics"].as_array().unwrap().iter().any(|topic| topic["published"] == 4_000), "{topics}");
    assert_eq!(site.get("/api/topics?offset=2").json()["topics"], serde_json::json!([]));
    let load = ask_until(&site, "/api/load", |_| true);
    assert!(load["is_accepting"] == true && load["load"].as_f64().is_some_and(|load| load < 1.0), "{load}");
    for id in [client["id"].as_str().unwrap(), client["connection"].as_str().unwrap()] {
        let answer = site.ask("POST", &format!("/api/connections/{id}/close"), &[], r#"{"code":4000}"#);
        assert_eq!(answer.status, 202, "{id}: {answer:?}");
    }
    ask_until(&site, "/api/performance/connections", |said| said["total"] == 1);
    healthy.send(r#"{"type":"ping","id":9}"#);
    while healthy.next_object().expect("it is connected")["type"] != "pong" {}
    for wrong in ["limit=0", "limit=1001", "offset=x", "by=name", "page=1"] {
        assert_eq!(site.get(&format!("/api/performance/connections?{wrong}")).status, 400, "{wrong}");
    }
}
