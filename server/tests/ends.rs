//! How the process ends where something around it, or in it, has ended before: its engine, or whoever read its stderr.
#![allow(clippy::disallowed_methods)]

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write as _};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use crate::support::{Fanwire, Subscriber, skip};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process};

const FANWIRE: &str = env!("CARGO_BIN_EXE_fanwire");

#[test]
fn serve_ends_with_70_when_a_shard_has_failed() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/fail_a_shard.py");
    let serve = ["serve", "--listen", "127.0.0.1:0", "--driver", "epoll", "--shards", "1", "--cpus", "none"];
    let mut server = Fanwire::spawn(Command::new("python3").arg(script).arg(FANWIRE).args(serve), b"now\n");
    let _ = server.address();
    let (code, _, log) = server.finish();
    if code == 77 {
        return skip("a process may not trace its own child here");
    }
    assert_eq!(code, 70, "{log}");
    assert!(log.contains("shard 0 has ended: its epoll driver has failed"), "{log}");
}

/// A stderr that does not take what is written to it.
enum Stderr {
    /// Its reader is gone.
    Gone,
    /// The disk is full.
    DiskFull,
    /// Its reader reads no more, and it is full.
    Full { is_nonblocking: bool },
}

impl Stderr {
    const ALL: [Stderr; 4] =
        [Stderr::Gone, Stderr::DiskFull, Stderr::Full { is_nonblocking: false }, Stderr::Full { is_nonblocking: true }];

    /// The descriptor for the process, and what must stay open meanwhile.
    fn make(&self) -> (OwnedFd, Option<OwnedFd>) {
        if let Stderr::DiskFull = self {
            return (OpenOptions::new().write(true).open("/dev/full").expect("/dev/full").into(), None);
        }
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let (reader, writer) = (OwnedFd::from(reader), OwnedFd::from(writer));
        let Stderr::Full { is_nonblocking } = self else { return (writer, None) };
        let flags = fcntl_getfl(&writer).expect("an open pipe");
        fcntl_setfl(&writer, flags | OFlags::NONBLOCK).expect("an open pipe");
        let mut writer = File::from(writer);
        for piece in [4_096, 1] {
            while writer.write(&vec![b'.'; piece]).is_ok() {}
        }
        if !is_nonblocking {
            fcntl_setfl(&writer, flags).expect("an open pipe");
        }
        (writer.into(), Some(reader))
    }

    fn name(&self) -> &'static str {
        match self {
            Stderr::Gone => "gone",
            Stderr::DiskFull => "on a full disk",
            Stderr::Full { is_nonblocking: false } => "full",
            Stderr::Full { is_nonblocking: true } => "full and non-blocking",
        }
    }
}

/// Killed when dropped, so that a failed test leaves nothing.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(arguments: &[&str], stderr: OwnedFd) -> Running {
    let mut command = Command::new(FANWIRE);
    command.args(arguments).env_remove("FANWIRE_LOG").env_remove("RUST_LOG");
    Running(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr).spawn().expect("the binary starts"))
}

fn listening(running: &mut Running) -> SocketAddr {
    let mut line = String::new();
    BufReader::new(running.0.stdout.as_mut().expect("piped")).read_line(&mut line).expect("a ready line");
    line.trim().strip_prefix("listening on ws://").and_then(|a| a.parse().ok()).unwrap_or_else(|| panic!("{line:?}"))
}

fn code(mut running: Running) -> Option<i32> {
    running.0.wait().expect("a child can be waited for").code()
}

#[test]
fn serve_ends_in_good_order_whatever_became_of_its_stderr() {
    for stderr in Stderr::ALL {
        let (writer, _reader) = stderr.make();
        let serve = ["serve", "--listen", "127.0.0.1:0", "--shards", "1", "--cpus", "none", "--log", "trace"];
        let mut server = start(&serve, writer);
        let address = listening(&mut server);
        let mut subscriber = Subscriber::connect(address, "a", None);
        kill_process(Pid::from_child(&server.0), Signal::TERM).expect("it runs");
        assert_eq!(subscriber.close_code(), 1001, "stderr is {}", stderr.name());
        drop(subscriber);
        assert_eq!(code(server), Some(0), "stderr is {}", stderr.name());
    }
}

#[test]
fn pub_sub_and_what_is_refused_end_with_their_codes_whatever_became_of_stderr() {
    let (_server, address) = Fanwire::listening("serve --listen 127.0.0.1:0");
    let url = format!("ws://{address}");
    for stderr in Stderr::ALL {
        let run = |arguments: &[&str], input: &[u8]| {
            let (writer, _reader) = stderr.make();
            let mut running = start(arguments, writer);
            running.0.stdin.take().expect("piped").write_all(input).expect("it reads");
            code(running)
        };
        let what = format!("stderr is {}", stderr.name());
        assert_eq!(run(&["pub", &url, "kept", "--log", "trace"], b"one\n"), Some(0), "{what}");
        let sub = ["sub", &url, "kept", "--stats", "--count", "1", "--log", "trace"];
        assert_eq!(run(&sub, b""), Some(0), "{what}");
        assert_eq!(run(&["pub", "ws://127.0.0.1:1", "a"], b""), Some(69), "{what}");
        assert_eq!(run(&["serve", "--listen", "127.0.0.1:0", "--lane-bytes", "2GiB"], b""), Some(78), "{what}");
        assert_eq!(run(&["serve", "--bogus"], b""), Some(2), "{what}");
    }
}
