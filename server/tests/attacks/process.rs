//! The process stands by its word whatever is done to its surroundings.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::served::{Client, Wish};
use super::support::Fanwire;

#[test]
fn an_end_is_in_good_order_though_nobody_reads_the_log() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_fanwire"))
        .args(["serve", "--listen", "127.0.0.1:0", "--shards", "1", "--cpus", "none"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the built binary starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a ready line");
    let address: SocketAddr = line.trim().trim_start_matches("listening on ws://").parse().expect("an address");
    let mut subscriber = Client::connect(address, &Wish::default()).expect("a subscriber is let in");
    drop(child.stderr.take());
    kill_process(Pid::from_child(&child), Signal::TERM).expect("it runs");
    assert_eq!(subscriber.close_code(), 1001);
    let _ = subscriber.socket.flush();
    drop(subscriber);
    let status = child.wait().expect("a child can be waited for");
    assert_eq!(status.code(), Some(0), "{status}");
}

#[test]
fn strangers_through_a_terminator_on_this_host_may_not_publish_unless_that_was_asked_for() {
    // With nothing said of who may publish.
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanwire"));
    let mut server =
        Fanwire::spawn(command.args(["serve", "--listen", "127.0.0.1:0", "--shards", "1", "--cpus", "none"]), b"");
    let address = server.address();
    let terminator = TcpListener::bind("127.0.0.1:0").expect("a port");
    let public = terminator.local_addr().expect("an address");
    std::thread::spawn(move || {
        for client in terminator.incoming().map_while(Result::ok).take(1) {
            relay(client, TcpStream::connect(address).expect("the server is there"));
        }
    });
    let mut stranger = Client::connect(public, &Wish::default()).expect("a stranger is let in");
    stranger.ask(json!({"type": "publish", "topic": "rover/1/command", "data": 99, "priority": "critical"}));
    let codes: Vec<_> = stranger.settle().iter().map(|answer| answer["code"].clone()).collect();
    assert_eq!(codes, ["not_allowed"]);
    drop(server);
}

/// Bytes as they are, both ways, with no header added: as a TLS terminator in TCP mode, or a tunnel.
fn relay(one: TcpStream, other: TcpStream) {
    for (mut from, mut to) in [(one.try_clone().expect("a socket"), other.try_clone().expect("a socket")), (other, one)]
    {
        std::thread::spawn(move || {
            let mut bytes = [0; 16 * 1024];
            loop {
                match from.read(&mut bytes) {
                    Ok(got) if got > 0 && to.write_all(&bytes[..got]).is_ok() => {}
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    _ => return drop(to.shutdown(Shutdown::Both)),
                }
            }
        });
    }
}
