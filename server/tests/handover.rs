//! A server that goes on in another process: no client is refused, nothing that is published is lost, and a process that cannot
//! start changes nothing.
#![allow(clippy::disallowed_methods)]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Fanwire, PATIENCE, Subscriber, publish, run};

const TOKEN_KEY: &str = "a-secret-of-the-tests,-long-enough";

/// A folder with what processes of one service have in common.
struct Site(TempDir);

impl Site {
    fn new() -> Self {
        Site(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn socket(&self) -> String {
        self.path("control").display().to_string()
    }

    /// Starts a process of the service.
    fn start(&self, more: &str) -> Fanwire {
        let socket = self.socket();
        Fanwire::start(&format!("serve --listen 127.0.0.1:0 --cpus none --control-socket {socket} {more}"))
    }

    /// Starts one that takes over; it serves when this returns.
    fn takes_over(&self, at: SocketAddr, more: &str) -> Fanwire {
        let mut new = self.start(&format!("--takeover {more}"));
        assert_eq!(new.address(), at);
        new
    }

    fn ask(&self, command: &[&str]) -> (i32, String, String) {
        let (code, out, log) = run(&[command, &["--socket", &self.socket()]].concat(), &[]);
        (code, String::from_utf8(out).unwrap(), log)
    }

    /// The number of the process that takes requests.
    fn pid(&self) -> u32 {
        let (code, out, log) = self.ask(&["status"]);
        assert_eq!(code, 0, "{log}");
        let (_, rest) = out.split_once("process ").unwrap();
        rest.split_once(',').unwrap().0.parse().unwrap()
    }
}

/// Waits until a process has ended that others may share the output of.
pub fn has_ended(server: &mut Fanwire) {
    let until = Instant::now() + PATIENCE;
    while server.is_running() {
        assert!(Instant::now() < until, "it does not end");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Clients that come and go, some thousand a second at most.
struct Herd {
    is_over: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Vec<String>>>,
}

impl Herd {
    fn start(at: SocketAddr, target: &str) -> Self {
        let (is_over, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA==\r\n\r\n"
        );
        let client = |_| {
            let (is_over, served, request) = (is_over.clone(), served.clone(), request.clone());
            thread::spawn(move || {
                let mut refused = Vec::new();
                while !is_over.load(Relaxed) {
                    match upgrade(at, &request) {
                        Ok(()) => _ = served.fetch_add(1, Relaxed),
                        Err(why) => refused.push(why),
                    }
                    // Four of them make 1,000 a second.
                    thread::sleep(Duration::from_millis(4));
                }
                refused
            })
        };
        let threads = (0..4).map(client).collect();
        Herd { is_over, served, threads }
    }

    /// Waits until so many more are served.
    fn grows(&self, count: u64) {
        let until = Instant::now() + PATIENCE;
        let enough = self.served.load(Relaxed) + count;
        while self.served.load(Relaxed) < enough {
            assert!(Instant::now() < until, "nobody is served any more");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Those that were refused, and how many were not.
    fn ends(self) -> (Vec<String>, u64) {
        self.is_over.store(true, Relaxed);
        let refused = self.threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        (refused, self.served.load(Relaxed))
    }
}

fn upgrade(at: SocketAddr, request: &str) -> Result<(), String> {
    let mut stream = TcpStream::connect(at).map_err(|error| format!("connect: {error}"))?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).map_err(|error| format!("write: {error}"))?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).map_err(|error| format!("read: {error}"))?;
    if &head == b"HTTP/1.1 101" { Ok(()) } else { Err(String::from_utf8_lossy(&head).into_owned()) }
}

/// A chain of processes with these numbers of shards under a thousand connects a second.
fn nobody_is_refused(driver: &str, shards: &[u32], more: &str, target: &str) {
    let site = Site::new();
    let options = |count: &u32| format!("--driver {driver} --shards {count} --takeover-within 300ms {more}");
    let mut server = site.start(&options(&shards[0]));
    let at = server.address();
    let herd = Herd::start(at, target);
    herd.grows(200);
    for count in &shards[1..] {
        let mut old = std::mem::replace(&mut server, site.takes_over(at, &options(count)));
        herd.grows(100);
        has_ended(&mut old);
        let (code, _, log) = old.finish();
        assert!(code == 0 && log.contains("another process goes on"), "{code}: {log}");
        herd.grows(100);
        assert_eq!(site.pid(), server.id());
    }
    let (refused, served) = herd.ends();
    assert!(refused.is_empty(), "{} refused beside {served}: {:?}", refused.len(), refused[0]);
    server.signal(Signal::TERM);
    assert_eq!(server.finish().0, 0);
    assert!(!site.path("control").exists(), "the last one removes it");
}

#[test]
fn nobody_is_refused_on_epoll_whatever_the_number_of_shards() {
    nobody_is_refused("epoll", &[2, 1, 3, 3, 2], "", "/t/a");
}

#[test]
fn nobody_is_refused_on_uring_whatever_the_number_of_shards() {
    if let Err(error) = fanwire::try_io_uring() {
        return crate::support::skip(&error.to_string());
    }
    nobody_is_refused("uring", &[2, 1, 3, 3, 2], "", "/t/a");
}

#[test]
fn who_comes_with_a_token_is_decided_on_by_either() {
    let keys = tempfile::tempdir().unwrap();
    let path = keys.path().join("key").display().to_string();
    std::fs::write(&path, TOKEN_KEY).unwrap();
    let (code, token, _) = run(&["token", "mint", "--key", &path, "--subscribe", "a"], &[]);
    assert_eq!(code, 0);
    let target = format!("/t/a?token={}", String::from_utf8(token).unwrap().trim());
    nobody_is_refused("epoll", &[1, 2], &format!("--token-keys-file {path}"), &target);
}

/// Reads until an object of this type.
fn until(subscriber: &mut Subscriber, kind: &str) -> Value {
    loop {
        let object = subscriber.next_object().expect("it is connected");
        if object["type"] == kind {
            return object;
        }
    }
}

#[test]
fn what_is_published_on_either_process_reaches_both() {
    let site = Site::new();
    let mut old = site.start("--shards 1");
    let at = old.address();
    let (mut stays, mut talks) = (Subscriber::connect(at, "a", None), Subscriber::connect(at, "none", None));
    publish(&format!("ws://{at}"), &["a"], "before\n");
    assert_eq!(until(&mut stays, "message")["data"], "before");
    // Nobody's moment comes while this test looks.
    let new = site.takes_over(at, "--shards 2 --takeover-within 1h");
    let mut comes = Subscriber::connect(at, "a", None);
    publish(&format!("ws://{at}"), &["a"], "by the new one\n");
    // What was being taken in when the other came is handed on, too.
    let first =
        std::iter::repeat_with(|| until(&mut comes, "message")).find(|message| message["data"] != "before").unwrap();
    assert_eq!(first["data"], "by the new one");
    let next = first["seq"].as_u64().unwrap() + 1;
    let told = until(&mut stays, "migrate");
    assert!(told["after_ms"].as_u64().is_some_and(|ms| ms <= 3_600_000), "{told}");
    assert_eq!(until(&mut stays, "message")["data"], "by the new one");
    talks.send(r#"{"type":"publish","topic":"a","data":"by the old one"}"#);
    for (reader, seq) in [(&mut stays, 3), (&mut comes, next)] {
        let message = until(reader, "message");
        assert_eq!((&message["data"], &message["seq"]), (&json!("by the old one"), &json!(seq)));
    }
    drop((old, new));
}

#[test]
fn a_client_has_everything_before_its_close_and_resumes_with_nothing_lost() {
    let site = Site::new();
    let mut old = site.start("--shards 1");
    let at = old.address();
    let mut moves = Subscriber::connect(at, "a", None);
    publish(&format!("ws://{at}"), &["a"], "0\n1\n2\n");
    let subscribed_epoch = {
        for expected in 0..3 {
            assert_eq!(until(&mut moves, "message")["data"], expected.to_string());
        }
        // It says so once more to who asks again.
        let mut again = Subscriber::connect_silently(at);
        again.send(r#"{"type":"subscribe","id":1,"topics":["a"]}"#);
        until(&mut again, "subscribed")["epoch"].as_u64().unwrap()
    };
    let mut new = site.takes_over(at, "--shards 2 --takeover-within 1s");
    publish(&format!("ws://{at}"), &["a"], "3\n4\n");
    let mut last = 2;
    let mut was_told = false;
    while let Some(object) = moves.next_object() {
        match object["type"].as_str() {
            Some("message") => {
                last += 1;
                assert_eq!((&object["data"], &object["seq"]), (&json!(last.to_string()), &json!(last + 1)));
            }
            Some("migrate") => was_told = true,
            other => panic!("{other:?}"),
        }
    }
    assert!(was_told);
    has_ended(&mut old);
    assert_eq!(old.finish().0, 0);
    publish(&format!("ws://{at}"), &["a"], "5\n");
    let mut back = Subscriber::connect_silently(at);
    let since = json!({"a": {"epoch": subscribed_epoch, "seq": {"normal": last + 1}}});
    back.send(&json!({"type": "subscribe", "id": 1, "topics": ["a"], "since": since}).to_string());
    let subscribed = until(&mut back, "subscribed");
    assert_ne!(subscribed["epoch"], subscribed_epoch);
    // All that was published since the new process has begun is there, in its own numbering: nothing is lost.
    for (seq, data) in [(1, "3"), (2, "4"), (3, "5")] {
        let message = until(&mut back, "message");
        assert_eq!((&message["seq"], &message["data"]), (&json!(seq), &json!(data)));
    }
    new.signal(Signal::TERM);
    assert!(new.is_running() || new.finish().0 == 0);
}

#[test]
fn what_is_not_kept_is_a_gap_of_the_epoch() {
    let site = Site::new();
    let mut old = site.start("--shards 1 --topic a=keep-messages=1");
    let at = old.address();
    let mut moves = Subscriber::connect(at, "a", None);
    publish(&format!("ws://{at}"), &["a"], "0\n");
    until(&mut moves, "message");
    let _new = site.takes_over(at, "--shards 1 --topic a=keep-messages=1 --takeover-within 1ms");
    assert_eq!(moves.close_code(), 1012);
    has_ended(&mut old);
    publish(&format!("ws://{at}"), &["a"], "1\n2\n3\n");
    let mut back = Subscriber::connect_silently(at);
    let since = json!({"a": {"epoch": 1, "seq": {"normal": 1}}});
    back.send(&json!({"type": "subscribe", "id": 1, "topics": ["a"], "since": since}).to_string());
    let gap = until(&mut back, "gap");
    assert_eq!((&gap["from"], &gap["to"], &gap["reason"]), (&json!(1), &json!(2), &json!("epoch")));
    assert_eq!(until(&mut back, "message")["data"], "3");
}

#[test]
fn a_process_that_cannot_start_changes_nothing() {
    let site = Site::new();
    let mut old = site.start("--shards 1");
    let at = old.address();
    let mut stays = Subscriber::connect(at, "a", None);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let busy = format!("--listen {}", taken.local_addr().unwrap());
    for (more, code, said) in [
        ("--pool-bytes 1KiB".to_owned(), 78, "pool"),
        (busy, 71, "cannot listen on"),
        ("--config /none.toml".to_owned(), 66, "none.toml"),
    ] {
        let arguments = format!("serve --listen 127.0.0.1:0 --cpus none --takeover={} {more}", site.socket());
        let (ended, _, log) = run(&arguments.split_whitespace().collect::<Vec<_>>(), &[]);
        assert!(ended == code && log.contains(said), "{more}: {ended} {log}");
        assert_eq!(site.pid(), old.id());
        assert!(upgrade(at, REQUEST).is_ok());
        assert!(site.path("control").exists());
    }
    // One that is of another kind, one that says nothing, one that asks for too much.
    let says = |bytes: &[u8]| {
        let mut stream = UnixStream::connect(site.path("control")).unwrap();
        stream.write_all(bytes).unwrap();
        let mut answer = [0; 400];
        let len = stream.read(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[..len]).into_owned()
    };
    assert!(says(b"{\"command\":\"takeover\",\"version\":2,\"within_ms\":1}\n").contains("version 1, not 2"));
    assert!(says(b"{\"command\":\"takeover\",\"version\":1,\"within_ms\":1}\n").contains("127.0.0.1:0"));
    old.stderr_line("everything stays as it was");
    assert_eq!(site.pid(), old.id());
    publish(&format!("ws://{at}"), &["a"], "still here\n");
    assert_eq!(until(&mut stays, "message")["data"], "still here");
    let new = site.takes_over(at, "--shards 1 --takeover-within 1ms");
    assert_eq!(stays.close_code(), 1012);
    has_ended(&mut old);
    assert_eq!(site.pid(), new.id());
}

const REQUEST: &str = "GET /t/news HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA==\r\n\r\n";

#[test]
fn without_a_server_to_take_over_from_it_starts_as_usual() {
    let site = Site::new();
    let mut server = site.start("--takeover");
    server.address();
    assert!(server.log.is_empty());
    server.stderr_line("starting as usual");
    let (code, _, log) = run(&["serve", "--listen", "127.0.0.1:0", "--takeover"], &[]);
    assert!(code == 2 && log.contains("no control socket to take over by"), "{code}: {log}");
}

/// A process that nobody holds.
pub struct Loose(pub u32);

impl Drop for Loose {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_raw(self.0 as i32).unwrap(), Signal::KILL);
    }
}

#[test]
fn restart_starts_the_program_again_and_says_so_where_that_fails() {
    let site = Site::new();
    let config = site.path("fanwire.toml").display().to_string();
    std::fs::write(&config, "").unwrap();
    let mut old = site.start(&format!("--shards 1 --config {config}"));
    let at = old.address();
    std::fs::write(&config, "[memory]\npool_bytes = \"1KiB\"\n").unwrap();
    let (code, out, log) = site.ask(&["restart", "--within", "1ms"]);
    assert!(code == 78 && out.is_empty() && log.contains("This one goes on"), "{code}: {out} {log}");
    assert_eq!(site.pid(), old.id());
    assert!(upgrade(at, REQUEST).is_ok());
    std::fs::write(&config, "topics_max = 77\n").unwrap();
    let mut clients: Vec<_> = (0..3).map(|_| Subscriber::connect(at, "a", None)).collect();
    let (code, out, log) = site.ask(&["restart", "--within", "1ms"]);
    assert_eq!(code, 0, "{log}");
    let pid = site.pid();
    let _new = Loose(pid);
    assert!(out.starts_with(&format!("process {pid} serves")), "{out}");
    assert_ne!(pid, old.id());
    has_ended(&mut old);
    assert!(clients.iter_mut().all(|client| client.close_code() == 1012));
    assert!(upgrade(at, REQUEST).is_ok());
    // And once more, from the new one.
    assert_eq!(site.ask(&["restart", "--within", "1ms"]).0, 0);
    let third = site.pid();
    let _third = Loose(third);
    assert_ne!(third, pid);
    assert!(upgrade(at, REQUEST).is_ok());
}

#[test]
fn the_service_manager_learns_who_goes_on_and_its_sockets_keep_their_names() {
    let site = Site::new();
    let path = site.path("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let hears = || {
        let mut text = [0; 512];
        let len = manager.recv(&mut text).expect("something is told");
        String::from_utf8_lossy(&text[..len]).trim_end().to_owned()
    };
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = socket.local_addr().unwrap();
    let program = env!("CARGO_BIN_EXE_fanwire");
    let serve = format!("{program} serve --listen fd:web --shards 2 --cpus none --control-socket {}", site.socket());
    let activated = format!(
        "exec 3<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web; exec {serve} --publish loopback"
    );
    let handed: Stdio = std::os::fd::OwnedFd::from(socket).into();
    let mut command = Command::new("sh");
    command.args(["-c", &activated]).stdin(handed).env("NOTIFY_SOCKET", &path);
    let mut old = Fanwire::spawn_as_it_is(&mut command);
    assert_eq!(old.address(), at);
    assert_eq!(hears(), "READY=1");
    let mut arguments = serve.split(' ');
    let mut command = Command::new(arguments.next().unwrap());
    command.args(arguments).args(["--takeover", "--takeover-within", "1ms"]).env("NOTIFY_SOCKET", &path);
    let mut new = Fanwire::spawn(&mut command, b"");
    assert_eq!(new.address(), at);
    assert_eq!([hears(), hears()], [format!("MAINPID={}", new.id()), "READY=1".to_owned()]);
    has_ended(&mut old);
    assert!(upgrade(at, REQUEST).is_ok());
    new.signal(Signal::TERM);
    assert_eq!(hears(), "STOPPING=1", "the one before has told nothing of its end");
}

#[test]
fn a_unix_socket_is_handed_over_with_its_file() {
    let site = Site::new();
    let path = site.path("proxy");
    let listen = format!("--listen unix:{} --shards 2", path.display());
    let is_served = || {
        let mut stream = UnixStream::connect(&path).expect("it listens");
        stream.write_all(REQUEST.as_bytes()).unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).is_ok() && &head == b"HTTP/1.1 101"
    };
    let mut old = site.start(&listen);
    let at = old.address();
    assert!(is_served());
    let new = site.takes_over(at, &format!("{listen} --takeover-within 1ms"));
    has_ended(&mut old);
    assert_eq!(old.finish().0, 0);
    assert!(path.exists() && is_served());
    new.signal(Signal::TERM);
    assert_eq!(new.finish().0, 0);
    assert!(!path.exists(), "the last one removes it");
}

#[test]
fn a_listener_that_is_wanted_no_more_is_closed_when_those_who_wait_there_are_served() {
    let site = Site::new();
    let mut old = site.start("--listen 127.0.0.1:0 --shards 1");
    let (kept, given_up) = (old.address(), old.address());
    let mut moves = Subscriber::connect(given_up, "a", None);
    let _new = site.takes_over(kept, "--shards 1 --takeover-within 100ms");
    assert_eq!(moves.close_code(), 1012);
    has_ended(&mut old);
    assert!(TcpStream::connect(given_up).is_err());
    assert!(upgrade(kept, REQUEST).is_ok());
}

#[test]
fn an_admin_port_whose_place_another_program_keeps_delays_no_end() {
    let site = Site::new();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap();
    let mut old = site.start("--shards 1 --admin-listen none");
    let new = site.takes_over(old.address(), &format!("--shards 1 --admin-listen {taken} --takeover-within 1ms"));
    has_ended(&mut old);
    new.signal(Signal::TERM);
    let (code, _, log) = new.finish();
    assert_eq!(code, 0, "{log}");
}

/// Asks for the sockets as a successor does, and takes what it is shown.
fn asks_for_sockets(site: &Site) -> (UnixStream, Value) {
    let mut stream = UnixStream::connect(site.path("control")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"{\"command\":\"takeover\",\"version\":1,\"within_ms\":100}\n").unwrap();
    let shown = line_of(&mut stream);
    // The descriptors come with a byte, and are closed where nobody asks for them.
    stream.read_exact(&mut [0]).unwrap();
    (stream, shown)
}

#[test]
fn a_successor_that_says_a_byte_now_and_then_delays_no_end() {
    let site = Site::new();
    let mut server = site.start("");
    let _ = server.address();
    let (mut stream, _) = asks_for_sockets(&site);
    let drips = thread::spawn(move || {
        while stream.write_all(b" ").is_ok() {
            thread::sleep(Duration::from_millis(5));
        }
    });
    server.signal(Signal::TERM);
    let (code, _, log) = server.finish();
    assert!(code == 0 && log.contains("stopped"), "{log}");
    drips.join().unwrap();
}

#[test]
fn a_successor_that_takes_no_messages_delays_no_end() {
    let site = Site::new();
    let mut server = site.start("");
    let at = server.address();
    let (mut stream, shown) = asks_for_sockets(&site);
    let lines: String = (0..64).map(|_| format!("{}\n", "x".repeat(64 << 10))).collect();
    publish(&format!("ws://{at}"), &["a"], &lines);
    stream.write_all(format!("{}\n", json!({"sockets": shown["sockets"]})).as_bytes()).unwrap();
    let (code, _, log) = server.finish();
    assert!(code == 0 && log.contains("found no room on the way"), "{code} {log}");
}

/// A line of JSON, and not a byte behind it.
fn line_of(stream: &mut UnixStream) -> Value {
    let (mut line, mut byte) = (Vec::new(), [0]);
    while byte != *b"\n" {
        stream.read_exact(&mut byte).unwrap();
        line.push(byte[0]);
    }
    serde_json::from_slice(&line).unwrap()
}

#[test]
fn a_successor_that_ends_right_after_it_serves_leaves_its_predecessor_serving() {
    let site = Site::new();
    let mut server = site.start("--shards 1");
    let at = server.address();
    let mut client = Subscriber::connect(at, "a", None);
    for _ in 0..3 {
        let (mut stream, shown) = asks_for_sockets(&site);
        let ready = json!({"sockets": shown["sockets"], "settles": true});
        stream.write_all(format!("{ready}\n").as_bytes()).unwrap();
        assert_eq!(line_of(&mut stream), json!({"exit": 0, "handed_over": {"settle": true}}));
        drop(stream);
        server.stderr_line("everything stays as it was");
        assert!(upgrade(at, REQUEST).is_ok());
        assert_eq!(site.pid(), server.id());
    }
    client.send(r#"{"type":"ping","id":9}"#);
    until(&mut client, "pong");
    // One that says its last word has them.
    let (mut stream, shown) = asks_for_sockets(&site);
    let ready = json!({"sockets": shown["sockets"], "settles": true});
    stream.write_all(format!("{ready}\n").as_bytes()).unwrap();
    line_of(&mut stream);
    stream.write_all(b"{\"settled\":true}\n").unwrap();
    let (code, _, log) = server.finish();
    assert!(code == 0 && log.contains("takes over"), "{code} {log}");
    assert_eq!(client.close_code(), 1012);
}

#[test]
fn a_successor_that_has_not_taken_over_ends_with_its_predecessor() {
    let site = Site::new();
    // The program is another one by the time that it is started again: one that does nothing for long.
    let (program, started) = (site.path("fanwire"), site.path("started"));
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_fanwire"), &program).unwrap();
    let mut command = Command::new(&program);
    command.args(["serve", "--listen", "127.0.0.1:0", "--cpus", "none", "--control-socket", &site.socket()]);
    let mut server = Fanwire::spawn(&mut command, &[]);
    let _ = server.address();
    std::fs::remove_file(&program).unwrap();
    let script = format!("#!/bin/sh\necho $$ > {0}.new && mv {0}.new {0}\nexec sleep 600\n", started.display());
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut asks = UnixStream::connect(site.path("control")).unwrap();
    asks.write_all(b"{\"command\":\"restart\",\"within_ms\":1}\n").unwrap();
    let until = Instant::now() + PATIENCE;
    while !started.exists() {
        assert!(Instant::now() < until, "the new process is not started");
        thread::sleep(Duration::from_millis(5));
    }
    let child: u32 = std::fs::read_to_string(&started).unwrap().trim().parse().unwrap();
    server.signal(Signal::TERM);
    let (code, _, log) = server.finish();
    assert_eq!(code, 0, "{log}");
    let sleeps =
        || std::fs::read_to_string(format!("/proc/{child}/cmdline")).is_ok_and(|line| line.starts_with("sleep"));
    while sleeps() {
        assert!(Instant::now() < until, "it is there yet");
        thread::sleep(Duration::from_millis(5));
    }
    let mut answer = String::new();
    asks.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("the server ends"), "{answer}");
}
