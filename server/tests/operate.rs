//! What an operator has a running server do: by the control socket, and by SIGHUP.
#![allow(clippy::disallowed_methods)]

use crate::support;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Signal, geteuid};
use tempfile::TempDir;

use support::{Fanwire, PATIENCE, Subscriber, run, skip};

use crate::handover::{Loose, has_ended};

/// A folder with a file of settings, and a server that was started with it.
struct Site {
    folder: TempDir,
    server: Fanwire,
    address: SocketAddr,
}

impl Site {
    fn start(settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let site_of = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(site_of("fanwire.toml"), settings).unwrap();
        let (config, socket) = (site_of("fanwire.toml"), site_of("socket"));
        let arguments = format!("serve --listen 127.0.0.1:0 --config {config} --control-socket {socket}");
        let (server, address) = Fanwire::listening(&arguments);
        Site { folder, server, address }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Runs a command that asks this server: how it ends, and what it prints.
    fn ask(&self, arguments: &[&str]) -> (i32, String, String) {
        let socket = self.path("socket").display().to_string();
        let (code, out, log) = run(&[arguments, &["--socket", &socket]].concat(), &[]);
        let hidden = format!("{}/", self.folder.path().display());
        (code, String::from_utf8(out).unwrap().replace(&hidden, ""), log.replace(&hidden, ""))
    }

    /// Says something to the socket, and hears the answer.
    fn says(&self, bytes: &[u8]) -> String {
        let mut stream = UnixStream::connect(self.path("socket")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    }
}

/// The status that a page of this origin is answered with.
fn status(address: SocketAddr, origin: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!(
        "GET /t/a HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: {origin}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).unwrap();
    String::from_utf8_lossy(&head[9..]).into_owned()
}

#[test]
fn a_reload_says_what_has_changed_and_what_needs_a_restart_and_who_is_connected_stays() {
    let site = Site::start("[access]\nallowed_origins = [\"https://a.example\"]\n");
    let mut client = Subscriber::connect(site.address, "a", None);
    let new = "shutdown_timeout = \"3s\"\n[memory]\nlane_bytes = \"1MiB\"\n[log]\nlevel = \"debug\"\n\
               [access]\nallowed_origins = [\"https://b.example\"]\n";
    site.write("fanwire.toml", new);
    let (code, out, log) = site.ask(&["reload"]);
    assert_eq!(code, 0, "{log}");
    let expected = "changed: access.allowed_origins = https://b.example (fanwire.toml:7:19)\n\
                    changed: shutdown_timeout = 3s (fanwire.toml:1:20)\n\
                    needs a restart: memory.lane_bytes = 1MiB (fanwire.toml:3:14)\n\
                    needs a restart: log.level = debug (fanwire.toml:5:9)\n";
    assert_eq!(out, expected);
    assert_eq!(
        (status(site.address, "https://a.example"), status(site.address, "https://b.example")),
        ("403".into(), "101".into())
    );
    client.send(r#"{"type":"ping","id":9}"#);
    while client.next_object().expect("it is connected")["type"] != "pong" {}
    // The same again is no change; what needs a restart still does.
    let (code, out, _) = site.ask(&["reload"]);
    assert_eq!((code, out.matches("changed:").count(), out.matches("needs a restart:").count()), (0, 0, 2), "{out}");
    // Back to what it was: nothing is left to say.
    site.write("fanwire.toml", "");
    let (_, out, _) = site.ask(&["reload"]);
    assert_eq!(out.lines().count(), 2, "{out}");
    assert_eq!(site.ask(&["reload"]).1, "no setting has changed\n");
}

#[test]
fn a_file_that_is_wrong_changes_nothing_and_ends_with_78() {
    let mut site = Site::start("[access]\nallowed_origins = [\"https://a.example\"]\n");
    for (wrong, said) in [
        ("[limits]\nping_evry = \"3s\"\n", "fanwire.toml:2:1: limits.ping_evry: there is no such setting"),
        ("[access]\nallowed_origins = [\"https://*\"]\n", "fanwire.toml:2:19: access.allowed_origins"),
        ("[memory]\npool_bytes = \"1KiB\"\n[access]\nallowed_origins = []\n", "memory.pool_bytes"),
        ("[", "fanwire.toml:1:"),
    ] {
        site.write("fanwire.toml", wrong);
        let (code, out, log) = site.ask(&["reload"]);
        assert_eq!((code, &out[..]), (78, ""), "{log}");
        assert!(log.contains(said), "{wrong:?}: {log}");
        assert_eq!(status(site.address, "https://b.example"), "403");
    }
    std::fs::remove_file(site.path("fanwire.toml")).unwrap();
    assert_eq!(site.ask(&["reload"]).0, 66);
    site.server.signal(Signal::HUP);
    site.server.stderr_line("everything stays as it was");
    assert_eq!(status(site.address, "https://a.example"), "101");
}

#[test]
fn a_file_that_never_comes_delays_no_reload() {
    let settings = "[access]\nallowed_origins = [\"https://a.example\"]\n";
    let site = Site::start(settings);
    std::fs::remove_file(site.path("fanwire.toml")).unwrap();
    assert!(Command::new("mkfifo").arg(site.path("fanwire.toml")).status().unwrap().success());
    let (code, out, log) = site.ask(&["reload"]);
    assert_eq!((code, &out[..]), (66, ""), "{log}");
    assert!(log.contains("a regular file of at most"), "{log}");
    assert_eq!((site.ask(&["status"]).0, status(site.address, "https://b.example")), (0, "403".into()));
    std::fs::remove_file(site.path("fanwire.toml")).unwrap();
    site.write("fanwire.toml", settings);
    assert_eq!(site.ask(&["reload"]).1, "no setting has changed\n");
}

#[test]
fn settings_that_came_on_stdin_hold_over_a_reload_and_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket").display().to_string();
    let settings = format!(
        "listen = [\"127.0.0.1:0\"]\n[control]\nsocket = \"{socket}\"\n\
         [access]\nallowed_origins = [\"https://a.example\"]\n"
    );
    let mut server = Fanwire::start_with(&["serve", "--config", "-", "--cpus", "none"], settings.as_bytes());
    let address = server.address();
    let ask = |command: &[&str]| run(&[command, &["--socket", &socket]].concat(), &[]);
    let (code, out, log) = ask(&["reload"]);
    assert_eq!((code, String::from_utf8(out).unwrap().as_str()), (0, "no setting has changed\n"), "{log}");
    assert_eq!(status(address, "https://b.example"), "403");
    let (code, out, log) = ask(&["restart", "--within", "1ms"]);
    assert_eq!(code, 0, "{log}");
    let out = String::from_utf8(out).unwrap();
    let _new = Loose(out.split_whitespace().nth(1).and_then(|pid| pid.parse().ok()).expect("the process is named"));
    has_ended(&mut server);
    assert_eq!(status(address, "https://b.example"), "403");
    let (code, out, log) = ask(&["drain", "--within", "1ms"]);
    assert_eq!((code, log.as_str()), (0, ""), "{}", String::from_utf8_lossy(&out));
}

#[test]
fn sighup_does_the_same() {
    let mut site = Site::start("");
    site.write("fanwire.toml", "[access]\nallowed_origins = [\"https://b.example\"]\n");
    site.server.signal(Signal::HUP);
    site.server.stderr_line("changed: access.allowed_origins = https://b.example");
    assert_eq!(status(site.address, "https://a.example"), "403");
}

#[test]
fn a_setting_that_needs_a_restart_blocks_no_new_key() {
    let secrets = ["a-secret-of-the-tests,-long-enough", "another-secret-of-the-tests,-long-enough"];
    let keys = tempfile::tempdir().unwrap();
    let path = keys.path().join("keys");
    std::fs::write(&path, secrets[0]).unwrap();
    let settings = format!("[token]\nkeys_file = {:?}\n", path.display().to_string());
    let site = Site::start(&settings);
    std::fs::write(&path, secrets[1]).unwrap();
    site.write("fanwire.toml", &format!("topics_max = 7\n{settings}"));
    let (code, out, log) = site.ask(&["reload"]);
    assert_eq!(code, 0, "{log}");
    assert!(
        out.contains("1 key (HS256); 0 connections closed") && out.contains("needs a restart: topics_max = 7"),
        "{out}"
    );
    let (code, token, _) = run(&["token", "mint", "--key", &path.display().to_string(), "--subscribe", "a"], &[]);
    assert_eq!(code, 0);
    let target = format!("/?token={}", String::from_utf8(token).unwrap().trim());
    drop(Subscriber::connect_to(site.address, &target, "a", None));
    // That anybody decides at all is settled at the start: else who forgets a line would open the door.
    site.write("fanwire.toml", "");
    let (code, out, _) = site.ask(&["reload"]);
    assert_eq!((code, out.lines().count()), (0, 1), "{out}");
    assert!(out.starts_with("needs a restart: token.keys_file = "), "{out}");
    assert_eq!(status(site.address, "https://a.example"), "401");
}

#[test]
fn the_socket_is_its_owner_s_and_goes_with_the_server() {
    let site = Site::start("");
    let socket = site.path("socket");
    let about = std::fs::symlink_metadata(&socket).unwrap();
    assert!(about.file_type().is_socket());
    assert_eq!(about.permissions().mode() & 0o777, 0o600);
    // A second server has no place there, and takes it from nobody.
    let shown = socket.display().to_string();
    let (code, _, log) = run(&["serve", "--listen", "127.0.0.1:0", "--control-socket", &shown], &[]);
    assert_eq!(code, 71, "{log}");
    assert!(log.contains("another server listens there"), "{log}");
    let (code, out, _) = site.ask(&["status"]);
    assert_eq!(code, 0);
    assert!(out.contains("0 connections") && out.contains(&site.address.to_string()), "{out}");
    let Site { folder, server, .. } = site;
    server.signal(Signal::TERM);
    assert_eq!(server.finish().0, 0);
    assert!(!socket.exists());
    // One that a server has left behind is replaced; another file is not.
    drop(UnixListener::bind(&socket).unwrap());
    let (server, _) = Fanwire::listening(&format!("serve --listen 127.0.0.1:0 --control-socket {shown}"));
    assert_eq!(run(&["status", "--socket", &shown], &[]).0, 0);
    drop(server);
    let file = folder.path().join("file");
    std::fs::write(&file, "of somebody").unwrap();
    let (code, _, log) =
        run(&["serve", "--listen", "127.0.0.1:0", "--control-socket", &file.display().to_string()], &[]);
    assert_eq!(code, 71, "{log}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "of somebody");
    assert_eq!(run(&["status", "--socket", &file.display().to_string()], &[]).0, 69);
    let (code, _, log) = run(&["serve", "--control-socket", &"x".repeat(108)], &[]);
    assert_eq!(code, 2, "{log}");
}

#[test]
fn nobody_else_is_served_whatever_the_mode_of_the_file_says() {
    if !geteuid().is_root() {
        return skip("only root can be somebody else");
    }
    let mut site = Site::start("");
    let socket = site.path("socket");
    for path in [site.folder.path(), &socket] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    let script = "import socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n\
                  s.sendall(b'{\"command\":\"status\"}\\n')\nprint(len(s.recv(1)))";
    let mut command = Command::new("python3");
    command.args(["-c", script]).arg(&socket).uid(65_534).gid(65_534).current_dir(Path::new("/"));
    let (code, out, _) = Fanwire::spawn(&mut command, &[]).finish();
    // Closed, with or without having taken the request.
    assert!(code != 0 || out == b"0\n", "{code} {out:?}");
    site.server.stderr_line("a request of user 65534 is refused");
    assert_eq!(site.ask(&["status"]).0, 0);
}

#[test]
fn what_is_no_request_is_told_so_and_the_next_one_is_served() {
    let site = Site::start("");
    for wrong in [&b"reload\n"[..], b"{}\n", b"{\"command\":\"reboot\"}\n", b"", &[b'x'; 200_000], b"\0\xff\n"] {
        let answer = site.says(wrong);
        // Who sends too much may be cut off before the answer is there.
        assert!(
            answer.starts_with("{\"exit\":65,\"error\":\"this is no request: ") || wrong.len() > 100_000,
            "{answer}"
        );
    }
    assert!(site.says(b"{\"command\":\"status\"}\n").starts_with("{\"exit\":0,\"status\":{"));
    assert_eq!(site.ask(&["status"]).0, 0);
}

#[test]
fn a_drain_closes_everybody_with_1012_and_says_how_it_went() {
    let site = Site::start("");
    let mut clients: Vec<_> = (0..5).map(|_| Subscriber::connect(site.address, "a", None)).collect();
    let reader = std::thread::spawn(move || clients.iter_mut().map(Subscriber::close_code).collect::<Vec<_>>());
    let (code, out, log) = site.ask(&["drain", "--within", "1ms"]);
    assert_eq!((code, &out[..]), (0, "the server has ended: 5 connections closed\n"), "{log}");
    assert_eq!(reader.join().unwrap(), [1012; 5]);
    let (code, _, log) = site.server.finish();
    assert_eq!(code, 0, "{log}");
    assert!(log.contains("fanwire drain: sending what is queued"), "{log}");
}

#[test]
fn where_no_server_is_the_commands_end_with_69() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("none").display().to_string();
    for command in ["reload", "status", "drain"] {
        let (code, _, log) = run(&[command, "--socket", &socket], &[]);
        assert_eq!(code, 69, "{log}");
        assert!(log.contains("--control-socket"), "{log}");
    }
}

/// A subscriber that is told to come anew is there when a new server is, without the pause that others make.
#[test]
fn a_subscriber_comes_anew_when_it_was_told_to() {
    let mut site = Site::start("");
    let url = format!("ws://{}", site.address);
    let mut sub = support::sub(&url, &["a", "--reconnect"]);
    let (code, _, log) = site.ask(&["drain", "--within", "1ms"]);
    assert_eq!(code, 0, "{log}");
    sub.stderr_line("the server wants this client to connect anew");
    sub.stderr_line("connecting again in 0.0 s");
    let (socket, config) = (site.path("socket").display().to_string(), site.path("fanwire.toml").display().to_string());
    let listen = site.address.to_string();
    site.server =
        Fanwire::start_with(&["serve", "--listen", &listen, "--config", &config, "--control-socket", &socket], &[]);
    sub.stderr_line("subscribed to");
    support::publish(&url, &["a"], "news\n");
    assert_eq!(sub.stdout_line("news"), "news\n");
}

/// The status that a client with this token is answered with.
fn status_with(address: SocketAddr, token: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!(
        "GET /t/a?token={token} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).unwrap();
    String::from_utf8_lossy(&head[9..]).into_owned()
}

#[test]
fn who_is_revoked_is_closed_with_4401_and_stays_out_over_a_restart() {
    let outside = tempfile::tempdir().unwrap();
    let at = |name: &str| outside.path().join(name).display().to_string();
    std::fs::write(at("keys"), "a-secret-of-the-tests,-long-enough").unwrap();
    let minted = |more: &[&str]| {
        let (keys, mint) = (at("keys"), ["token", "mint", "--subscribe", "a", "--key"]);
        let (code, out, log) = run(&[&mint[..], &[&keys], more].concat(), &[]);
        assert_eq!(code, 0, "{log}");
        String::from_utf8(out).unwrap().trim().to_owned()
    };
    let (u1, u2) = (minted(&["--sub", "u1", "--jti", "t1"]), minted(&["--sub", "u2", "--jti", "t2"]));
    let settings = format!(
        "[token]\nkeys_file = {:?}\nrevocations_file = {:?}\nrevocations_max = 2\nlifetime_max = \"2h\"\n",
        at("keys"),
        at("revoked.json")
    );
    let mut site = Site::start(&settings);
    let mut first = Subscriber::connect_to(site.address, &format!("/?token={u1}"), "a", None);
    let mut second = Subscriber::connect_to(site.address, &format!("/?token={u2}"), "a", None);
    let (code, out, log) = site.ask(&["revoke", "--sub", "u1"]);
    assert_eq!((code, &out[..]), (0, "1 connection closed; 1 revocation\n"), "{log}");
    assert_eq!(first.close_code(), 4401);
    assert_eq!((status_with(site.address, &u1), status_with(site.address, &u2)), ("401".into(), "101".into()));
    second.send(r#"{"type":"ping","id":9}"#);
    while second.next_object().expect("it is connected")["type"] != "pong" {}
    // Those of u2 that are there, and none that is made later.
    assert_eq!(site.ask(&["revoke", "--sub", "u2", "--before", "now"]).1, "1 connection closed; 2 revocations\n");
    assert_eq!(second.close_code(), 4401);
    assert_eq!(status_with(site.address, &u2), "401");
    let (code, _, log) = site.ask(&["revoke", "--jti", "t3"]);
    assert!(code == 1 && log.contains("token.revocations_max"), "{code}: {log}");
    // A token that would outlive its revocation.
    assert_eq!(status_with(site.address, &minted(&["--sub", "u3", "--expires-in", "3h"])), "401");
    let fine = minted(&["--sub", "u3", "--expires-in", "1h"]);
    assert_eq!(status_with(site.address, &fine), "101");
    for wrong in [&["revoke"][..], &["revoke", "--before", "tomorrow"]] {
        assert_eq!(site.ask(wrong).0, 2);
    }
    site.server.signal(Signal::TERM);
    let socket = site.path("socket").display().to_string();
    let config = site.path("fanwire.toml").display().to_string();
    let serve = ["serve", "--listen", "127.0.0.1:0", "--config", &config, "--control-socket", &socket];
    let old = std::mem::replace(&mut site.server, Fanwire::start_with(&["config", "check", "--config", &config], &[]));
    assert_eq!(old.finish().0, 0);
    let check = std::mem::replace(&mut site.server, Fanwire::start_with(&serve, &[]));
    assert_eq!(check.finish().0, 0);
    site.address = site.server.address();
    assert_eq!((status_with(site.address, &u1), status_with(site.address, &fine)), ("401".into(), "101".into()));
    // What is broken is told, and nobody comes in by it.
    std::fs::write(at("revoked.json"), "{").unwrap();
    let (code, _, log) = run(&["serve", "--listen", "127.0.0.1:0", "--config", &config], &[]);
    assert!(code == 78 && log.contains("token.revocations_file"), "{code}: {log}");
}

#[test]
fn a_server_without_tokens_has_none_to_revoke() {
    let site = Site::start("");
    let (code, _, log) = site.ask(&["revoke", "--sub", "u1"]);
    assert!(code == 2 && log.contains("token.keys_file"), "{code}: {log}");
}

#[test]
fn who_is_connected_and_says_nothing_delays_no_end() {
    let site = Site::start("");
    let mut silent: Vec<_> = (0..3).map(|_| UnixStream::connect(site.path("socket")).unwrap()).collect();
    // The first one's turn has come when the second is not accepted; that cannot be seen. Either way nobody is waited for.
    site.server.signal(Signal::TERM);
    let (code, _, log) = site.server.finish();
    assert_eq!(code, 0, "{log}");
    for stream in &mut silent {
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        // Its time was not over when the process ended.
        assert!(!answer.contains("timed out") && !answer.contains("unavailable"), "{answer}");
    }
}

#[test]
fn where_there_are_no_descriptors_requests_wait_until_there_are() {
    use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let arguments = format!("--log debug serve --listen 127.0.0.1:0 --control-socket {}", socket.display());
    let (mut server, _) = Fanwire::listening(&arguments);
    let pid = Pid::from_raw(server.id() as i32);
    let some = getrlimit(Resource::Nofile);
    prlimit(pid, Resource::Nofile, Rlimit { current: Some(1), ..some }).unwrap();
    let mut asks = UnixStream::connect(&socket).unwrap();
    asks.write_all(b"{\"command\":\"status\"}\n").unwrap();
    // It says so, and again after a while: it does not spin.
    server.stderr_line("control: nobody is accepted just now");
    prlimit(pid, Resource::Nofile, some).unwrap();
    let mut answer = String::new();
    asks.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("\"status\""), "{answer}");
    server.signal(Signal::TERM);
    assert_eq!(server.finish().0, 0);
}
