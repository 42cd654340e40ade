//! Under a service manager: sockets that it hands over, and what it is told.
#![allow(clippy::disallowed_methods)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::{Command, Stdio};

use crate::support::{Fanwire, PATIENCE, run};
use rustix::process::Signal;

const REQUEST: &str = "GET /t/news HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA==\r\n\r\n";

/// What a service manager does: descriptor 3 is a socket (which comes as stdin), and the variables say so.
fn activated(socket: impl Into<Stdio>, name: &str, listen: &str) -> Command {
    let mut command = Command::new("sh");
    let serve = format!(
        "exec 3<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES={name}; exec {} serve --listen {listen} \
         --shards 2 --cpus none",
        env!("CARGO_BIN_EXE_fanwire")
    );
    command.args(["-c", &serve]).stdin(socket);
    command
}

fn is_upgraded(mut stream: impl Read + Write) -> bool {
    stream.write_all(REQUEST.as_bytes()).expect("the server takes it");
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).expect("an answer");
    line.starts_with("HTTP/1.1 101 ")
}

#[test]
fn a_socket_that_is_handed_over_is_served_and_outlives_the_server() {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let to = socket.local_addr().expect("an address");
    // Somebody comes before anybody serves.
    let early = TcpStream::connect(to).expect("the socket listens");
    for listen in ["systemd", "fd:web"] {
        let handed = socket.try_clone().expect("a descriptor");
        let mut server = Fanwire::spawn_as_it_is(&mut activated(std::os::fd::OwnedFd::from(handed), "web", listen));
        assert_eq!(server.address(), to);
        assert!(is_upgraded(TcpStream::connect(to).expect("it listens")));
        server.signal(Signal::TERM);
        let (code, _, log) = server.finish();
        assert_eq!(code, 0, "{log}");
        drop(TcpStream::connect(to).expect("the socket listens still"));
    }
    drop(early);
}

#[test]
fn a_unix_socket_is_handed_over_or_made() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("fanwire.sock");
    let ready = format!("listening on unix:{}", path.display());
    let made = UnixListener::bind(&path).expect("a socket");
    let mut server = Fanwire::spawn_as_it_is(&mut activated(std::os::fd::OwnedFd::from(made), "web", "systemd"));
    assert_eq!(server.stdout_line("listening").trim_end(), ready);
    assert!(is_upgraded(UnixStream::connect(&path).expect("it listens")));
    server.signal(Signal::TERM);
    assert_eq!(server.finish().0, 0);
    assert!(path.exists(), "whoever made it removes it");

    // Nobody listens there any more: the server makes its own, and removes it.
    let mut server = Fanwire::start(&format!("serve --listen unix:{} --shards 1 --cpus none", path.display()));
    assert_eq!(server.stdout_line("listening").trim_end(), ready);
    assert!(is_upgraded(UnixStream::connect(&path).expect("it listens")));
    server.signal(Signal::TERM);
    assert_eq!(server.finish().0, 0);
    assert!(!path.exists());
}

#[test]
fn the_service_manager_is_told_when_it_begins_and_when_it_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("notify.sock");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    manager.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    let hears = || {
        let mut text = [0; 512];
        let len = manager.recv(&mut text).expect("something is told");
        String::from_utf8_lossy(&text[..len]).into_owned()
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanwire"));
    command.args("serve --listen 127.0.0.1:0 --shards 1 --cpus none".split(' ')).env("NOTIFY_SOCKET", &path);
    let mut server = Fanwire::spawn(&mut command, b"");
    assert_eq!(hears().trim_end(), "READY=1");
    let to = server.address();
    assert!(is_upgraded(TcpStream::connect(to).expect("it is ready")));
    server.signal(Signal::HUP);
    let reloading = hears();
    assert!(reloading.contains("RELOADING=1") && reloading.contains("MONOTONIC_USEC="), "{reloading}");
    assert_eq!(hears().trim_end(), "READY=1");
    server.signal(Signal::TERM);
    assert_eq!(hears().trim_end(), "STOPPING=1");
    assert_eq!(server.finish().0, 0);
}

#[test]
fn a_socket_that_is_not_there_or_of_no_use_is_an_error() {
    let (code, _, log) = run(&["serve", "--listen", "systemd"], b"");
    assert!(code == 78 && log.contains("was started with no sockets"), "{code}: {log}");
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let handed = std::os::fd::OwnedFd::from(socket);
    let server = Fanwire::spawn_as_it_is(&mut activated(handed, "web", "fd:other"));
    let (code, _, log) = server.finish();
    assert!(code == 78 && log.contains("fd:other") && log.contains("web"), "{code}: {log}");
    let (one, _other) = UnixDatagram::pair().expect("a pair");
    let server = Fanwire::spawn_as_it_is(&mut activated(std::os::fd::OwnedFd::from(one), "web", "systemd"));
    let (code, _, log) = server.finish();
    assert!(code == 78 && log.contains("`web`") && log.contains("of no use here"), "{code}: {log}");
}
