//! The demo: its page over HTTP, its streams over WebSocket.
#![allow(clippy::disallowed_methods)]

mod support;

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use rustix::process::Signal;

use support::{Fanwire, PATIENCE, Subscriber};

fn demo(more: &str) -> (Fanwire, SocketAddr, SocketAddr) {
    let (mut demo, address) = Fanwire::listening(&format!("demo --listen 127.0.0.1:0 --http 127.0.0.1:0 {more}"));
    let line = demo.stdout_line("page at http://");
    let page = line.trim().trim_start_matches("page at http://").trim_end_matches('/').parse().unwrap();
    (demo, address, page)
}

fn fetch(page: SocketAddr, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(page).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {page}\r\n\r\n").unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}

#[test]
fn the_page_and_all_that_it_names_is_served_from_the_binary() {
    let (demo, address, page) = demo("");
    let (head, html) = fetch(page, "/");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains("default-src 'self'"), "{head}");
    assert!(head.contains(&format!("ws://*:{}", address.port())), "{head}");
    assert!(html.contains("<canvas"), "{html}");
    let (_, script) = fetch(page, "/app.js");
    let mut named = 0;
    for text in [&html, &script] {
        assert!(!text.contains("https://"), "nothing comes from elsewhere");
        for quote in ['"', '\''] {
            for path in
                text.split(quote).filter(|p| p.starts_with('/') && p.contains('.') && !p.contains(char::is_whitespace))
            {
                let (head, body) = fetch(page, path);
                assert!(head.starts_with("HTTP/1.1 200") && !body.is_empty(), "{path}: {head}");
                named += 1;
            }
        }
    }
    assert!(named >= 5, "{named}");
    let (_, settings) = fetch(page, "/settings.json");
    let settings: serde_json::Value = serde_json::from_str(&settings).unwrap();
    assert_eq!(settings["port"], address.port());
    assert!(fetch(page, "/nothing").0.starts_with("HTTP/1.1 404"));
    demo.signal(Signal::TERM);
    let (code, _, log) = demo.finish();
    assert_eq!(code, 0, "{log}");
}

#[test]
fn a_browser_s_client_gets_every_stream_and_alarms() {
    let (_demo, address, page) = demo("");
    let mut subscriber = Subscriber::connect(address, "rover/**", Some(&format!("http://{page}")));
    let mut missing: HashSet<String> =
        (1..=3).flat_map(|n| ["imu", "motors", "gps", "battery"].map(|what| format!("rover/{n}/{what}"))).collect();
    missing.insert("critical".into());
    // Bounded by the reader's own time-out; an alarm takes a few seconds to come.
    while !missing.is_empty() {
        let object = subscriber.next_object().expect("the demo goes on");
        if object["type"] != "message" {
            continue;
        }
        assert!(object["data"]["t_us"].is_u64(), "{object}");
        missing.remove(object["topic"].as_str().unwrap());
        if object["priority"] == "critical" {
            assert!(object["data"]["text"].is_string(), "{object}");
            missing.remove("critical");
        }
    }
}

#[test]
fn taken_ports_give_the_next_free_ones() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    if port > 65_000 {
        return;
    }
    let (mut demo, address) = Fanwire::listening(&format!("demo --listen 127.0.0.1:{port} --http 127.0.0.1:{port}"));
    let line = demo.stdout_line("page at http://127.0.0.1:");
    assert!(address.port() > port, "{address}");
    assert!(!line.contains(&format!(":{port}/")), "{line}");
}
