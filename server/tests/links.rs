//! Links that fall silent, servers that have no room, signals while nothing moves: `sub` and `pub` notice, and come back.
#![allow(clippy::disallowed_methods)]

use crate::support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rustix::process::Signal;

use support::{Fanwire, run, serve};

fn start(arguments: &[&str]) -> Fanwire {
    Fanwire::start_with(arguments, b"")
}

/// A way to the server that can be cut, or held: nothing more passes on the connections that there are, and none of them ends.
struct Bridge {
    url: String,
    held: Arc<Mutex<Arc<AtomicBool>>>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Bridge {
    /// `refusals`: answers to the first connections, which are not led on.
    fn to(server: &str, refusals: &[&str]) -> Bridge {
        let server: SocketAddr = server.trim_start_matches("ws://").parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let bridge = Bridge { url, held: Arc::default(), streams: Arc::default() };
        let (held, streams) = (bridge.held.clone(), bridge.streams.clone());
        let mut refusals: Vec<String> = refusals.iter().rev().map(|status| (*status).to_owned()).collect();
        std::thread::spawn(move || {
            for near in listener.incoming() {
                let near = near.unwrap();
                if let Some(status) = refusals.pop() {
                    refuse(near, &status);
                    continue;
                }
                let far = TcpStream::connect(server).unwrap();
                let is_held = held.lock().unwrap().clone();
                lead(near.try_clone().unwrap(), far.try_clone().unwrap(), is_held.clone());
                lead(far.try_clone().unwrap(), near.try_clone().unwrap(), is_held);
                streams.lock().unwrap().extend([near, far]);
            }
        });
        bridge
    }

    /// Holds the connections that there are; later ones pass.
    fn hold(&self) {
        std::mem::take(&mut *self.held.lock().unwrap()).store(true, Ordering::SeqCst);
    }

    fn cut(&self) {
        for stream in self.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn lead(mut from: TcpStream, mut to: TcpStream, is_held: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        let mut piece = [0; 4_096];
        while let Ok(n @ 1..) = from.read(&mut piece) {
            if !is_held.load(Ordering::SeqCst) && to.write_all(&piece[..n]).is_err() {
                break;
            }
        }
        if !is_held.load(Ordering::SeqCst) {
            let _ = to.shutdown(Shutdown::Both);
        }
    });
}

fn refuse(mut near: TcpStream, status: &str) {
    let mut request = Vec::new();
    let mut piece = [0; 1_024];
    while !request.ends_with(b"\r\n\r\n") {
        let Ok(n @ 1..) = near.read(&mut piece) else { return };
        request.extend_from_slice(&piece[..n]);
    }
    let _ = write!(near, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
}

#[test]
fn a_silent_link_is_noticed_and_another_one_taken() {
    let (_server, url) = serve("");
    let bridge = Bridge::to(&url, &[]);
    for form in ["json", "raw"] {
        let arguments = ["sub", &*bridge.url, form, "--protocol", form, "--ping-every", "150ms"];
        let mut coming_back = start(&[&arguments[..], &["--reconnect", "--count", "1"]].concat());
        let mut leaving = start(&arguments);
        coming_back.stderr_line("subscribed to");
        leaving.stderr_line("subscribed to");
        bridge.hold();
        let (code, _, log) = leaving.finish();
        assert!(code == 74 && log.contains("no answer to a ping"), "{code}: {log}");
        coming_back.stderr_line("no answer to a ping");
        coming_back.stderr_line("subscribed to");
        assert_eq!(run(&["pub", &url, form], b"here\n").0, 0);
        let (code, out, log) = coming_back.finish();
        assert!(code == 0 && out.ends_with(b"here\n"), "{code}: {log}");
    }
}

#[test]
fn a_publisher_notices_a_silent_link_while_it_waits_for_input() {
    let (_server, url) = serve("");
    let bridge = Bridge::to(&url, &[]);
    let arguments = ["pub", &*bridge.url, "a", "--ping-every", "150ms"];
    // Stdin stays open without a line: `sleep` ends with the test's own patience, or when nobody is there to be written to.
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_fanwire"))
        .args(arguments)
        .stdin(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"one\n").unwrap();
    let (code, out, log) = run(&["sub", &url, "a", "--count", "1"], b"");
    assert!(code == 0 && out == b"one\n", "{log}");
    bridge.hold();
    let output = child.wait_with_output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(74) && log.contains("no answer to a ping"), "{:?}: {log}", output.status);
    drop(stdin);
}

#[test]
fn refusals_that_pass_are_come_back_from() {
    let (_server, url) = serve("");
    let passing = [
        "408 Request Timeout",
        "429 Too Many Requests",
        "500 Internal Server Error",
        "502 Bad Gateway",
        "503 Service Unavailable",
        "504 Gateway Timeout",
    ];
    let bridge = Bridge::to(&url, &passing[..3]);
    let mut subscriber = start(&["sub", &bridge.url, "a", "--reconnect", "--count", "1"]);
    for status in &passing[..3] {
        subscriber.stderr_line(status);
    }
    subscriber.stderr_line("subscribed to");
    let bridge = Bridge::to(&url, &passing[3..]);
    let (code, _, log) = run(&["pub", &bridge.url, "a", "--reconnect"], b"here\n");
    assert!(code == 0 && passing[3..].iter().all(|status| log.contains(status)), "{code}: {log}");
    assert_eq!(subscriber.finish().1, b"here\n");
    for status in passing {
        let bridge = Bridge::to(&url, &[status, status]);
        for arguments in [&["sub", &*bridge.url, "a"][..], &["pub", &*bridge.url, "a"]] {
            let (code, _, log) = run(arguments, b"");
            assert!(code == 69 && log.contains(status), "{code}: {log}");
        }
    }
    for status in ["400 Bad Request", "403 Forbidden", "404 Not Found", "426 Upgrade Required"] {
        let bridge = Bridge::to(&url, &[status, status]);
        for arguments in [&["sub", &*bridge.url, "a", "--reconnect"][..], &["pub", &*bridge.url, "a", "--reconnect"]] {
            let (code, _, log) = run(arguments, b"");
            let expected = if status.starts_with("403") { 77 } else { 76 };
            assert!(code == expected && log.contains(status), "{code}: {log}");
        }
    }
}

#[test]
fn errors_that_pass_are_come_back_from() {
    let (_server, url) = serve("--max-topics 1");
    assert_eq!(run(&["pub", &url, "only"], b"one\n").0, 0);
    let (code, _, log) = run(&["sub", &url, "another"], b"");
    assert!(code == 1 && log.contains("too_many_topics"), "{code}: {log}");
    let (code, _, log) = run(&["pub", &url, "another"], b"x\n");
    assert!(code == 1 && log.contains("stdin:1:") && log.contains("too_many_topics"), "{code}: {log}");
    for arguments in [&["sub", &*url, "another", "--reconnect"][..], &["pub", &*url, "another", "--reconnect"]] {
        let mut waiting = Fanwire::start_with(arguments, b"x\n");
        for _round in 0..2 {
            waiting.stderr_line("too_many_");
            waiting.stderr_line("connecting again");
        }
        waiting.signal(Signal::TERM);
        let (code, _, log) = waiting.finish();
        assert_eq!(code, 128 + 15, "{log}");
    }
}

#[test]
fn a_publisher_that_comes_back_loses_nothing_and_keeps_the_order() {
    let (_server, url) = serve("--lane-bytes 64MiB");
    let bridge = Bridge::to(&url, &[]);
    let (parts, lines) = (4, 15_000);
    let mut subscriber = start(&["sub", &url, "a"]);
    subscriber.stderr_line("subscribed to");
    let mut publisher = std::process::Command::new(env!("CARGO_BIN_EXE_fanwire"))
        .args(["pub", &bridge.url, "a", "--reconnect"])
        .stdin(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = publisher.stdin.take().unwrap();
    let mut log = BufReader::new(publisher.stderr.take().unwrap()).lines();
    let mut next = 0;
    let mut come_up_to = |wanted: usize| {
        while next < wanted {
            let line = subscriber.stdout_line(" ");
            let n: usize = line.split(' ').next().unwrap().parse().unwrap();
            // What comes twice comes in order, and every line comes.
            assert!(n <= next, "{n} came before {next}");
            next += usize::from(n == next);
        }
    };
    for part in 0..parts {
        let text: String = (0..lines).map(|n| format!("{} {}\n", part * lines + n, "x".repeat(n % 200))).collect();
        stdin.write_all(text.as_bytes()).unwrap();
        if part + 1 < parts {
            // In the middle of it, or behind its end: it has to come back either way, for its input goes on.
            come_up_to(part * lines + 5_000);
            bridge.cut();
            assert!(log.any(|line| line.unwrap().contains("connecting again")));
        }
    }
    drop(stdin);
    come_up_to(parts * lines);
    log.for_each(drop);
    assert_eq!(publisher.wait().unwrap().code(), Some(0));
}

#[test]
fn a_signal_ends_what_waits_for_an_answer() {
    // It accepts and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}", silent.local_addr().unwrap());
    let recording = tempfile::NamedTempFile::new().unwrap();
    let path = recording.path().to_str().unwrap();
    for arguments in [
        &["sub", &*url, "a", "--timeout", "1h"][..],
        &["sub", &*url, "a", "--timeout", "1h", "--reconnect"],
        &["pub", &*url, "a", "--timeout", "1h"],
        &["replay", path, "--to", &*url, "--timeout", "5000000000000h"],
    ] {
        let waiting = start(arguments);
        let (mut connection, _) = silent.accept().unwrap();
        let _ = connection.read(&mut [0; 16]);
        waiting.signal(Signal::TERM);
        let (code, _, log) = waiting.finish();
        assert_eq!(code, 128 + 15, "{arguments:?}: {log}");
    }
    let (code, _, log) = run(&["sub", &url, "a", "--timeout", "50ms"], b"");
    assert!(code == 69 && log.contains("no answer within 50ms"), "{code}: {log}");
}

#[test]
fn a_signal_ends_what_waits_for_input() {
    let (_server, url) = serve("");
    for (topic, arguments) in [
        ("one", &["pub", &*url, "one"][..]),
        ("two", &["replay", "-", "--to", &*url]),
        ("three", &["replay", "-", "--listen", "127.0.0.1:0"]),
    ] {
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_fanwire"))
            .args(arguments)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        writeln!(stdin, r#"{{"topic":"{topic}","t_us":0,"data":"here"}}"#).unwrap();
        // It is at work once something of it can be seen.
        if arguments.contains(&"--listen") {
            child.stdout.take().unwrap().read_exact(&mut [0; 9]).unwrap();
        } else {
            let (code, _, log) = run(&["sub", &url, topic, "--count", "1"], b"");
            assert_eq!(code, 0, "{log}");
        }
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::TERM).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(128 + 15), "{arguments:?}");
        drop(stdin);
    }
}
