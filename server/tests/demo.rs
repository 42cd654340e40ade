//! The demo: its page over HTTP, its streams over WebSocket.
#![allow(clippy::disallowed_methods)]

use crate::support;

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use rustix::process::Signal;

use support::{Fanwire, PATIENCE, Subscriber};

fn demo(more: &str) -> (Fanwire, SocketAddr, SocketAddr) {
    let elsewhere = "--listen 127.0.0.1:0 --http 127.0.0.1:0 --admin-listen 127.0.0.1:0";
    let (mut demo, address) = Fanwire::listening(&format!("demo {elsewhere} {more}"));
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

/// Paths of files that stand quoted in a page or script, as a browser resolves them.
fn files_named_by(path: &str, text: &str) -> Vec<String> {
    let folder = &path[..=path.rfind('/').unwrap()];
    let is_file = |name: &&str| {
        let is_plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"/.-_".contains(&b));
        is_plain && [".js", ".css", ".svg", ".json"].iter().any(|ending| name.ends_with(ending))
    };
    let quoted = text.split(['"', '\'']).filter(is_file).filter(|name| name.starts_with(['/', '.']));
    quoted.map(|name| resolved(folder, name)).collect()
}

/// Nothing is above the root.
fn resolved(folder: &str, name: &str) -> String {
    let whole = if name.starts_with('/') { name.to_owned() } else { format!("{folder}{name}") };
    let mut levels = Vec::new();
    for level in whole.split('/').filter(|level| !matches!(*level, "" | ".")) {
        match level {
            ".." => drop(levels.pop()),
            level => levels.push(level),
        }
    }
    format!("/{}", levels.join("/"))
}

#[test]
fn the_page_and_all_that_it_names_is_served_from_the_binary() {
    let (demo, address, page) = demo("");
    let (head, html) = fetch(page, "/");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains("default-src 'self'"), "{head}");
    assert!(head.contains(&format!("ws://*:{}", address.port())), "{head}");
    assert!(html.contains("<canvas"), "{html}");
    let mut wanted = vec![("/".to_owned(), html)];
    let mut known = HashSet::from(["/".to_owned()]);
    while let Some((path, text)) = wanted.pop() {
        assert!(!text.contains("https://"), "{path}: nothing comes from elsewhere");
        for named in files_named_by(&path, &text) {
            if known.insert(named.clone()) {
                let (head, body) = fetch(page, &named);
                assert!(head.starts_with("HTTP/1.1 200") && !body.is_empty(), "{path} names {named}: {head}");
                wanted.push((named, body));
            }
        }
    }
    assert!(known.contains("/page/client/ledger.js") && known.contains("/stream.js"), "{known:?}");
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
        if object["priority"] == "critical" && object["topic"].as_str().unwrap().ends_with("/alarm") {
            assert!(object["data"]["text"].is_string(), "{object}");
            missing.remove("critical");
        }
    }
}

/// The address of the page's slow link.
fn slow_link(page: SocketAddr) -> SocketAddr {
    let (_, settings) = fetch(page, "/settings.json");
    let settings: serde_json::Value = serde_json::from_str(&settings).unwrap();
    SocketAddr::new(page.ip(), settings["slow_port"].as_u64().unwrap().try_into().unwrap())
}

#[test]
fn over_the_slow_link_low_is_lost_and_said_to_be_and_every_critical_message_comes() {
    let (_demo, _, page) = demo("");
    let origin = format!("http://{page}");
    let mut subscriber = Subscriber::connect_to(slow_link(page), "/?slow=24", "rover/**", Some(&origin));
    // The next number of each lane, the messages it brought, and those it lost.
    let mut lanes: HashMap<(String, String), (u64, u64, u64)> = HashMap::new();
    let sum = |lanes: &HashMap<(String, String), (u64, u64, u64)>, priority: &str| {
        lanes.iter().filter(|((_, p), _)| p == priority).fold((0, 0), |(got, lost), (_, l)| (got + l.1, lost + l.2))
    };
    let mut objects = 0;
    while sum(&lanes, "low").1 < 1_000 || sum(&lanes, "critical").0 < 20 || sum(&lanes, "high").0 < 10 {
        objects += 1;
        assert!(objects < 20_000, "the link is not slow: {lanes:?}");
        let object = subscriber.next_object().expect("the demo goes on");
        let (topic, priority) = (&object["topic"], &object["priority"]);
        let (Some(topic), Some(priority)) = (topic.as_str(), priority.as_str()) else { continue };
        let lane = lanes.entry((topic.to_owned(), priority.to_owned())).or_default();
        let (from, to) = match object["type"].as_str() {
            Some("message") => (object["seq"].as_u64().unwrap(), object["seq"].as_u64().unwrap()),
            Some("gap") => (object["from"].as_u64().unwrap(), object["to"].as_u64().unwrap()),
            _ => continue,
        };
        assert!(lane.0 == 0 || lane.0 == from, "{topic} {priority}: {from} instead of {}", lane.0);
        lane.0 = to + 1;
        match object["type"] == "gap" {
            true => lane.2 += to - from + 1,
            false => lane.1 += 1,
        }
        assert!(priority != "critical" || lane.2 == 0, "a critical message was dropped: {object}");
    }
    let ((low, low_lost), (_, high_lost)) = (sum(&lanes, "low"), sum(&lanes, "high"));
    assert!(low_lost > low, "{low} came and {low_lost} were lost");
    assert_eq!(high_lost, 0);
}

#[test]
fn nobody_publishes_through_the_slow_link_because_it_is_on_this_machine() {
    let (_demo, address, page) = demo("--publish loopback");
    let allowed = |address: SocketAddr| {
        let mut client = Subscriber::connect_to(address, "/?slow=1000", "answers", None);
        client.send(r#"{"type":"publish","id":"p","topic":"answers","data":1}"#);
        client.send(r#"{"type":"ping","id":"end"}"#);
        loop {
            let object = client.next_object().expect("an answer");
            match (object["type"].as_str(), object["id"].as_str()) {
                (Some("error"), _) => {
                    assert_eq!(object["code"], "not_allowed");
                    return false;
                }
                (Some("pong"), Some("end")) => return true,
                _ => {}
            }
        }
    };
    assert!(allowed(address), "a program on this machine may");
    assert!(!allowed(slow_link(page)));
}

#[test]
fn the_dashboard_is_beside_the_rovers_and_its_drain_ends_the_demo() {
    let (mut demo, _, page) = demo("");
    let line = demo.stdout_line("dashboard at http://");
    let dashboard: SocketAddr =
        line.trim().trim_start_matches("dashboard at http://").trim_end_matches('/').parse().unwrap();
    let (head, html) = fetch(dashboard, "/");
    assert!(head.starts_with("HTTP/1.1 200") && html.contains("fanwire: dashboard"), "{head}");
    let (_, settings) = fetch(page, "/settings.json");
    let settings: serde_json::Value = serde_json::from_str(&settings).unwrap();
    assert_eq!(settings["dashboard"], format!("http://{dashboard}/"), "the page leads there");
    let mut watcher = Subscriber::connect_to(dashboard, "/ws", "$sys/topics", None);
    while !watcher.next_object().expect("it goes on")["data"]["topics"].to_string().contains("rover/1/imu") {}
    let mut stream = TcpStream::connect(dashboard).unwrap();
    write!(stream, "POST /api/drain HTTP/1.1\r\nHost: {dashboard}\r\nContent-Length: 18\r\n\r\n{{\"within_ms\":1000}}")
        .unwrap();
    let mut reply = [0; 12];
    // The end may come before the answer.
    if stream.read_exact(&mut reply).is_ok() {
        assert_eq!(&reply, b"HTTP/1.1 202");
    }
    let (code, _, said) = demo.finish();
    assert_eq!(code, 0, "{said}");
}

#[test]
fn a_port_that_was_asked_for_is_had_or_the_demo_ends() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let options = ["--listen", "--http", "--admin-listen"];
    for option in options {
        let others: Vec<_> =
            options.iter().filter(|other| **other != option).map(|o| format!("{o} 127.0.0.1:0")).collect();
        let demo = Fanwire::start(&format!("demo {option} 127.0.0.1:{port} {}", others.join(" ")));
        let (code, _, said) = demo.finish();
        assert_eq!(code, 71, "{option}: {said}");
    }
}

#[test]
fn taken_ports_give_the_next_free_ones_where_none_was_asked_for() {
    // Whoever has them: they are taken, or were before.
    let _taken = ["127.0.0.1:9001", "127.0.0.1:9002", "127.0.0.1:8080"].map(TcpListener::bind);
    let (mut demo, address) = Fanwire::listening("demo");
    let page = demo.stdout_line("page at http://127.0.0.1:");
    let dashboard = demo.stdout_line("dashboard at http://127.0.0.1:");
    assert!((9_002..9_052).contains(&address.port()), "{address}");
    assert!(!page.contains(":8080/"), "{page}");
    assert!(!dashboard.contains(":9002/"), "{dashboard}");
}
