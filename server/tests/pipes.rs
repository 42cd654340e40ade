//! Where output goes: readers that leave, pause or never wait, disks that are full, terminals.
#![allow(clippy::disallowed_methods)]

use crate::support;

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process};
use tungstenite::handshake::server::{Request, Response};
use tungstenite::{Message, WebSocket};

use support::{run, serve};

fn fanwire(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanwire"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).env_remove("RUST_LOG");
    command
}

fn in_force(child: &mut Child) {
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("subscribed to") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "it ended");
    }
    // Read to its end, so that nobody writes into a pipe without a reader.
    std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
}

fn signalled(child: &mut Child, signal: Signal) -> Option<i32> {
    kill_process(Pid::from_child(child), signal).unwrap();
    child.wait().unwrap().code()
}

#[test]
fn it_ends_with_its_reader_also_when_nothing_comes() {
    let (_server, url) = serve("");
    for more in [&[][..], &["--json"], &["--reconnect"]] {
        let mut subscriber = fanwire(&[&["sub", &*url, "quiet"], more].concat()).spawn().unwrap();
        in_force(&mut subscriber);
        drop(subscriber.stdout.take());
        assert_eq!(subscriber.wait().unwrap().code(), Some(0));
    }
    // Nor does it go on connecting for nobody.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut waiting = fanwire(&["sub", &format!("ws://{closed}"), "a", "--reconnect"]).spawn().unwrap();
    drop(waiting.stdout.take());
    assert_eq!(waiting.wait().unwrap().code(), Some(0));
}

/// A server of its own, which does as it is told.
fn told(listener: &TcpListener) -> WebSocket<std::net::TcpStream> {
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
    #[allow(clippy::result_large_err, reason = "the type is tungstenite's")]
    let choose = |_: &Request, mut response: Response| {
        response.headers_mut().insert("Sec-WebSocket-Protocol", "fanwire.json.v1".parse().unwrap());
        Ok(response)
    };
    let mut socket = tungstenite::accept_hdr(stream, choose).unwrap();
    socket.read().unwrap();
    let Message::Text(_) = socket.read().unwrap() else { panic!("no ping behind the request") };
    socket.send(Message::text(r#"{"type":"pong","id":1}"#)).unwrap();
    socket.send(Message::text(r#"{"type":"subscribed","id":1,"topic":"a","topic_id":0,"epoch":7,"seq":{}}"#)).unwrap();
    socket
}

fn message(seq: usize, bytes: usize) -> Message {
    let data = "x".repeat(bytes);
    Message::text(format!(
        r#"{{"type":"message","topic":"a","priority":"low","seq":{seq},"time_us":1,"data":"{data}","encoding":"text"}}"#
    ))
}

#[test]
fn a_reader_that_pauses_keeps_nobody_from_answering_pings_or_signals() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let mut subscriber = fanwire(&["sub", &url, "a", "--ping-every", "100ms"]).spawn().unwrap();
    let mut socket = told(&listener);
    in_force(&mut subscriber);
    // More than a pipe holds, and nobody reads.
    (1..=40).for_each(|seq| socket.send(message(seq, 50_000)).unwrap());
    socket.send(Message::Ping("still there?".into())).unwrap();
    loop {
        match socket.read().unwrap() {
            Message::Pong(payload) if payload == "still there?".as_bytes() => break,
            _ => {}
        }
    }
    // So much that it does not even read: then it says by itself that it lives. What it does not take waits in a thread.
    let stream = socket.get_ref().try_clone().unwrap();
    let mut writing = WebSocket::from_raw_socket(stream, tungstenite::protocol::Role::Server, None);
    std::thread::spawn(move || {
        for seq in 41..2_000 {
            if writing.send(message(seq, 50_000)).is_err() {
                return;
            }
        }
    });
    let mut pongs = 0;
    while pongs < 5 {
        pongs += usize::from(matches!(socket.read().unwrap(), Message::Pong(payload) if payload.is_empty()));
    }
    assert_eq!(signalled(&mut subscriber, Signal::TERM), Some(128 + 15));
}

#[test]
fn a_stdout_that_does_not_block_gets_every_byte() {
    let (_server, url) = serve("--lane-bytes 64MiB");
    let lines: String = (0..3_000).map(|n| format!("{n} {}\n", "y".repeat(1_000))).collect();
    let (mut reader, writer) = std::io::pipe().unwrap();
    fcntl_setfl(&writer, fcntl_getfl(&writer).unwrap() | OFlags::NONBLOCK).unwrap();
    let mut subscriber = fanwire(&["sub", &url, "a", "--count", "3000"]).stdout(writer).spawn().unwrap();
    in_force(&mut subscriber);
    assert_eq!(run(&["pub", &url, "a"], lines.as_bytes()).0, 0);
    let mut out = Vec::new();
    // In small pieces, so that it finds the pipe full again and again.
    let mut piece = [0; 1_000];
    while let Ok(n @ 1..) = reader.read(&mut piece) {
        out.extend_from_slice(&piece[..n]);
    }
    assert_eq!(subscriber.wait().unwrap().code(), Some(0));
    assert!(out == lines.as_bytes(), "{} of {} bytes", out.len(), lines.len());
}

#[test]
fn a_full_disk_is_74_and_a_reader_gone_is_not_101() {
    let (_server, url) = serve("");
    assert_eq!(run(&["pub", &url, "a"], b"kept\n").0, 0);
    let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
    for arguments in [&["sub", &*url, "a"][..], &["sub", &*url, "a", "--json", "--reconnect"]] {
        let output = fanwire(arguments).stdout(full()).output().unwrap();
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(74) && log.contains("stdout"), "{:?}: {log}", output.status);
    }
    for arguments in [
        &["doctor"][..],
        &["doctor", "--json"],
        &["tune", "list"],
        &["tune", "check"],
        &["tune", "script"],
        &["--help"],
    ] {
        let code = fanwire(arguments).stdout(full()).output().unwrap().status.code();
        let log = fanwire(arguments).stdout(full()).output().unwrap().stderr;
        assert_eq!(code, Some(74), "{arguments:?}: {}", String::from_utf8_lossy(&log));
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = fanwire(arguments).stdout(writer).output().unwrap();
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(!log.contains("panicked") && output.status.code() != Some(101), "{arguments:?}: {log}");
    }
}

#[test]
fn a_stderr_that_is_full_or_gone_changes_nothing() {
    let (server, url) = serve("");
    let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
    for is_gone in [false, true] {
        let stderr = || {
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            if is_gone { Stdio::from(writer) } else { Stdio::from(full()) }
        };
        let mut publisher = fanwire(&["pub", &url, "a"]).stdin(Stdio::piped()).stderr(stderr()).spawn().unwrap();
        publisher.stdin.take().unwrap().write_all(b"here\n").unwrap();
        assert_eq!(publisher.wait().unwrap().code(), Some(0));
        let subscriber = fanwire(&["sub", &url, "a", "--stats", "--count", "1"]).stderr(stderr()).spawn().unwrap();
        let output = subscriber.wait_with_output().unwrap();
        assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b"here\n"[..]));
        assert_eq!(fanwire(&["pub", &url, "$a"]).stderr(stderr()).spawn().unwrap().wait().unwrap().code(), Some(2));
        let refused = fanwire(&["sub", "ws://127.0.0.1:1", "a"]).stderr(stderr()).spawn().unwrap().wait().unwrap();
        assert_eq!(refused.code(), Some(69));
    }
    drop(server);
}

#[test]
fn one_object_is_one_line_whatever_was_published() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let subscriber = fanwire(&["sub", &url, "a", "--json", "--log-format", "json"]).spawn().unwrap();
    let mut socket = told(&listener);
    let text = "{\"type\":\"message\",\r\n\"topic\":\"a\",\"priority\":\"low\",\"seq\":1,\"time_us\":1,\"data\":{\n\"x\":\n1}}";
    socket.send(Message::text(text)).unwrap();
    let frame = tungstenite::protocol::CloseFrame { code: 1011.into(), reason: "first\nsecond\u{1b}[2J".into() };
    socket.close(Some(frame)).unwrap();
    while socket.read().is_ok() {}
    let output = subscriber.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let lines = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (out, log) = (lines(&output.stdout), lines(&output.stderr));
    assert_eq!(out.lines().count(), 1, "{out}");
    for line in out.lines().chain(log.lines()) {
        let object: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(object.is_object(), "{line}");
    }
    assert!(log.contains("first") && !log.contains('\u{1b}'), "{log}");
}

#[test]
fn a_terminal_is_moved_by_nobody_else_s_text() {
    let script = "import os, pty, sys\nsys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";
    if Command::new("python3").arg("--version").output().is_err() {
        return crate::support::skip("python3 is missing, which opens a terminal for the binary");
    }
    let (_server, url) = serve("");
    let payload = "red \u{1b}[31m\u{7f}\u{9b}2J bell \u{7} back\r";
    assert_eq!(run(&["pub", &url, "a"], format!("{payload}\n").as_bytes()).0, 0);
    let binary = env!("CARGO_BIN_EXE_fanwire");
    for more in [&[][..], &["--json"]] {
        let mut command = Command::new("python3");
        command.args(["-c", script, binary, "sub", &url, "a", "--count", "1"]).args(more);
        let output = command.stdin(Stdio::null()).output().unwrap();
        let shown = String::from_utf8_lossy(&output.stdout).replace("\r\n", "\n");
        let line = shown.lines().find(|line| line.contains("red")).unwrap_or_else(|| panic!("{shown}"));
        assert!(!line.contains(|c: char| c.is_control()), "{line:?}");
        assert!(
            line.contains("bell") && line.contains(if more.is_empty() { "\\x1b[31m" } else { "\\u001b[31m" }),
            "{line:?}"
        );
    }
}
