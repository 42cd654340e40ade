//! The clients over TLS: what passes, whom they trust, what they say where they do not.
#![allow(clippy::disallowed_methods)]

use crate::support;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;

use rustix::process::Signal;

use support::tls::{Authority, Demands, Identity, TlsRelay, self_signed, written};
use support::{Fanwire, run, serve};

/// A server behind a relay whose certificate is for `localhost`, and who vouches for that.
struct Stage {
    _server: Fanwire,
    plain: String,
    authority: Authority,
    folder: tempfile::TempDir,
}

impl Stage {
    fn new(options: &str) -> Self {
        let (server, plain) = serve(options);
        let folder = tempfile::tempdir().unwrap();
        Stage { _server: server, plain, authority: Authority::new("Tests' authority"), folder }
    }

    fn ca(&self) -> String {
        self.authority.file(self.folder.path())
    }

    fn relay(&self) -> TlsRelay {
        self.relay_with(&self.authority.issue(&["localhost"]), &Demands::default())
    }

    fn relay_with(&self, identity: &Identity, demands: &Demands<'_>) -> TlsRelay {
        TlsRelay::to(&self.plain, identity, demands)
    }
}

fn published(arguments: &[&str], lines: &[u8]) {
    let (code, _, log) = run(&[&["pub"], arguments].concat(), lines);
    assert_eq!(code, 0, "{log}");
}

/// What `sub` ends with that wants one message of `relay`'s server.
fn refusal(relay: &TlsRelay, more: &[&str]) -> (i32, String) {
    let (code, out, log) = run(&[&["sub", &relay.url(), "a", "--count", "1"], more].concat(), &[]);
    assert_eq!(out, b"", "{log}");
    (code, log)
}

#[test]
fn messages_of_all_sizes_pass_over_tls_in_every_form() {
    let stage = Stage::new("");
    let (relay, ca) = (stage.relay(), stage.ca());
    let url = relay.url();
    // Together more than a read takes, and than a record holds.
    let lines: String = (0..8u8).map(|n| format!("{}\n", "abcdefgh".repeat(usize::from(n) * 9_000 + 1))).collect();
    for form in ["json", "msgpack", "batch", "batch+lz4", "raw"] {
        let topic = form.replace('+', "-");
        let arguments = ["sub", &url, &topic, "--protocol", form, "--count", "8", "--ca", &ca];
        let mut sub = Fanwire::start_with(&arguments, &[]);
        sub.stderr_line("subscribed to");
        published(&[&url, &topic, "--ca", &ca], lines.as_bytes());
        let (code, out, log) = sub.finish();
        assert_eq!(code, 0, "{form}: {log}");
        assert!(out == lines.as_bytes(), "{form}: {} bytes of {}: {log}", out.len(), lines.len());
    }
    let recording = written(stage.folder.path(), "r.ndjson", "{\"topic\":\"replayed\",\"t_us\":0,\"data\":7}\n");
    let (code, _, log) = run(&["replay", &recording, "--to", &url, "--ca", &ca], &[]);
    assert_eq!(code, 0, "{log}");
    let (code, out, log) = run(&["sub", &url, "replayed", "--count", "1", "--ca", &ca], &[]);
    assert_eq!((code, &out[..]), (0, &b"7\n"[..]), "{log}");
}

#[test]
fn it_speaks_both_versions_and_names_http_behind_them() {
    let stage = Stage::new("");
    let ca = stage.ca();
    for versions in [&[&rustls::version::TLS12][..], &[&rustls::version::TLS13]] {
        let demands = Demands { versions: Some(versions), alpn: &[b"http/1.1"], ..Demands::default() };
        let relay = stage.relay_with(&stage.authority.issue(&["localhost", "127.0.0.1"]), &demands);
        published(&[&format!("wss://127.0.0.1:{}", relay.port), "a", "--ca", &ca], b"one\n");
        let (code, out, log) = run(&["sub", &relay.url(), "a", "--count", "1", "--ca", &ca], &[]);
        assert_eq!((code, &out[..]), (0, &b"one\n"[..]), "{log}");
        assert!(relay.protocols().iter().all(|protocol| protocol.as_deref() == Some(b"http/1.1")));
    }
    let demands = Demands { alpn: &[b"h2"], ..Demands::default() };
    let relay = stage.relay_with(&stage.authority.issue(&["localhost"]), &demands);
    let (code, log) = refusal(&relay, &["--ca", &ca]);
    assert_eq!(code, 76, "{log}");
    assert!(log.contains("does not speak HTTP/1.1"), "{log}");
}

#[test]
fn a_server_that_cannot_be_trusted_is_told_with_the_reason() {
    let stage = Stage::new("");
    let (ca, authority) = (stage.ca(), &stage.authority);
    let other = Authority::new("Another authority");
    for (identity, reason) in [
        (
            authority.issue(&["rover.example", "*.rover.example"]),
            "is for rover.example and *.rover.example, not for localhost",
        ),
        (authority.issue(&[]), "names no host (subjectAltName), so not localhost"),
        (authority.issue_for(&["localhost"], (2010, 2020)), "expired at 2020-01-01T00:00:00Z (now it is "),
        (authority.issue_for(&["localhost"], (2110, 2120)), "holds from 2110-01-01T00:00:00Z on (now it is "),
        (other.issue(&["localhost"]), "is issued by `CN=Another authority`, and nothing leads from there to those in "),
        (self_signed(&["localhost"], (2020, 2120)), "is signed by itself, and is not one of those in "),
    ] {
        let relay = stage.relay_with(&identity, &Demands::default());
        let (code, log) = refusal(&relay, &["--ca", &ca, "--reconnect"]);
        assert_eq!(code, 76, "{reason}: {log}");
        assert!(log.contains(reason) && log.contains(&relay.url()), "{reason}: {log}");
    }
    // An address is a name, too.
    let relay = stage.relay();
    let (code, _, log) = run(&["sub", &format!("wss://127.0.0.1:{}", relay.port), "a", "--ca", &ca], &[]);
    assert_eq!(code, 76, "{log}");
    assert!(log.contains("is for localhost, not for 127.0.0.1"), "{log}");
}

#[test]
fn without_a_file_of_its_own_it_trusts_whom_the_system_trusts() {
    let stage = Stage::new("");
    let relay = stage.relay();
    let others = tempfile::tempdir().unwrap();
    let other = Authority::new("Another authority").file(others.path());
    for (system, wanted, reason) in [
        (&*stage.ca(), 0, ""),
        (&other, 76, "nothing leads from there to those whom this machine trusts: --ca FILE"),
        ("/nowhere", 78, "this machine trusts nobody"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fanwire"));
        command.args(["pub", &relay.url(), "a"]).env("SSL_CERT_FILE", system).env_remove("SSL_CERT_DIR");
        let (code, _, log) = Fanwire::spawn(&mut command, b"one\n").finish();
        assert_eq!(code, wanted, "{log}");
        assert!(log.contains(reason), "{log}");
    }
}

#[test]
fn who_is_told_to_trust_everybody_does_and_says_so() {
    let stage = Stage::new("");
    let relay = stage.relay_with(&self_signed(&["rover.example"], (2010, 2020)), &Demands::default());
    let (code, _, log) = run(&["pub", &relay.url(), "a", "--insecure", "--log", "error"], b"one\n");
    assert_eq!(code, 0, "{log}");
    assert_eq!(log.matches("--insecure: anybody can pretend to be this server").count(), 1, "{log}");
    let (code, out, log) = run(&["sub", &stage.plain, "a", "--count", "1", "--insecure"], &[]);
    assert_eq!((code, &out[..]), (0, &b"one\n"[..]), "{log}");
    assert!(!log.contains("--insecure"), "there is nothing to be trusted: {log}");
}

#[test]
fn a_server_s_own_certificate_can_be_trusted_but_for_its_name_and_its_dates() {
    let stage = Stage::new("");
    for (names, years, reason) in [
        (&["localhost"], (2020, 2120), None),
        (&["rover.example"], (2020, 2120), Some("is for rover.example, not for localhost")),
        (&["localhost"], (2010, 2020), Some("expired at 2020-01-01T00:00:00Z")),
        (&["localhost"], (2110, 2120), Some("holds from 2110-01-01T00:00:00Z on")),
    ] {
        let identity = self_signed(names, years);
        let ca = written(stage.folder.path(), "own.pem", &identity.chain);
        let relay = stage.relay_with(&identity, &Demands::default());
        let (code, _, log) = run(&["pub", &relay.url(), "a", "--ca", &ca], b"one\n");
        assert_eq!(code, if reason.is_some() { 76 } else { 0 }, "{log}");
        assert!(log.contains(reason.unwrap_or_default()), "{log}");
    }
}

#[test]
fn a_server_that_wants_a_certificate_of_its_clients_gets_one() {
    let stage = Stage::new("");
    let (ca, folder) = (stage.ca(), stage.folder.path());
    let clients = Authority::new("Clients' authority");
    let demands = Demands { client: Some(&clients), ..Demands::default() };
    let relay = stage.relay_with(&stage.authority.issue(&["localhost"]), &demands);
    let Identity { chain, key } = clients.issue(&["u1"]);
    let certificate = written(folder, "u1.pem", &chain);
    let both = written(folder, "u1-both.pem", &format!("{key}{chain}"));
    let key = written(folder, "u1.key", &key);
    let url = relay.url();
    published(&[&url, "a", "--ca", &ca, "--client-cert", &certificate, "--client-key", &key], b"one\n");
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanwire"));
    command.args(["sub", &url, "a", "--count", "1"]).env("FANWIRE_CA", &ca).env("FANWIRE_CLIENT_CERT", &both);
    let (code, out, log) = Fanwire::spawn(&mut command, &[]).finish();
    assert_eq!((code, &out[..]), (0, &b"one\n"[..]), "{log}");
    let stranger = self_signed(&["u2"], (2020, 2120));
    let stranger = written(folder, "u2.pem", &format!("{}{}", stranger.key, stranger.chain));
    for (more, reason) in [
        (&[][..], "the server wants a client certificate: --client-cert"),
        (&["--client-cert", &stranger], "the server does not take the client certificate"),
    ] {
        let (code, log) = refusal(&relay, &[&["--ca", &ca, "--reconnect"], more].concat());
        assert_eq!(code, 77, "{reason}: {log}");
        assert!(log.contains(reason), "{reason}: {log}");
    }
}

#[test]
fn files_that_are_not_what_they_should_be_are_told_before_anything_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let Identity { chain, key } = self_signed(&["u1"], (2020, 2120));
    let file = |name: &str, text: &str| written(folder.path(), name, text);
    let (certificate, key) = (file("c.pem", &chain), file("c.key", &key));
    let (empty, half) = (file("empty", ""), file("half", &chain[..chain.len() / 2]));
    let others = file("o.key", &self_signed(&["u2"], (2020, 2120)).key);
    let gone = folder.path().join("gone").display().to_string();
    let broken = file("broken", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    for (arguments, wanted, reason) in [
        (&["--ca", &*gone][..], 66, "gone"),
        (&["--ca", &empty], 78, "holds no certificate"),
        (&["--ca", &half], 78, "is not PEM"),
        (&["--ca", &key], 78, "holds no certificate"),
        (&["--ca", &broken], 78, "nobody can be trusted"),
        (&["--ca", "/dev/zero"], 66, "/dev/zero"),
        (&["--insecure", "--client-cert", &certificate], 78, "holds no private key"),
        (&["--insecure", "--client-cert", &certificate, "--client-key", &others], 78, "o.key"),
        (&["--client-key", &key], 2, "--client-cert"),
    ] {
        // Nobody listens there: who gets as far as that ends with 69.
        let (code, _, log) = run(&[&["sub", "wss://127.0.0.1:1", "a"], arguments].concat(), &[]);
        assert_eq!(code, wanted, "{arguments:?}: {log}");
        assert!(log.contains(reason), "{arguments:?}: {log}");
    }
}

#[test]
fn the_other_scheme_is_named_where_it_would_be_right() {
    let stage = Stage::new("");
    let relay = stage.relay();
    let (code, _, log) = run(&["sub", &format!("ws://127.0.0.1:{}", relay.port), "a"], &[]);
    assert_eq!(code, 76, "{log}");
    assert!(log.contains("speaks TLS: write wss://"), "{log}");
    let (code, _, log) = run(&["sub", &stage.plain.replace("ws://", "wss://"), "a", "--insecure"], &[]);
    assert_eq!(code, 76, "{log}");
    assert!(log.contains("does not speak TLS: write ws://"), "{log}");
}

#[test]
fn a_handshake_that_gets_no_answer_ends_in_time_and_at_a_signal() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("wss://{}", silent.local_addr().unwrap());
    let (code, _, log) = run(&["sub", &url, "a", "--insecure", "--timeout", "100ms"], &[]);
    assert_eq!(code, 69, "{log}");
    assert!(log.contains("no answer within 100ms"), "{log}");
    let _ = silent.accept().unwrap();
    let mut waiting = Fanwire::start_with(&["sub", &url, "a", "--insecure", "--timeout", "1h"], &[]);
    waiting.stderr_line("--insecure");
    let (mut stream, _) = silent.accept().unwrap();
    // It is in the handshake now.
    stream.read_exact(&mut [0; 5]).unwrap();
    waiting.signal(Signal::TERM);
    let (code, _, log) = waiting.finish();
    assert_eq!(code, 128 + 15, "{log}");
    // One that is cut off may be answered later.
    let ends = std::thread::spawn(move || drop(silent.accept().unwrap()));
    let (code, _, log) = run(&["sub", &url, "a", "--insecure"], &[]);
    ends.join().unwrap();
    assert_eq!(code, 69, "{log}");
    assert!(log.contains("in the middle of the TLS handshake"), "{log}");
}

#[test]
fn what_is_no_tls_behind_the_handshake_ends_the_connection() {
    // The first bytes look like a record; what follows does not.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("wss://{}", listener.local_addr().unwrap());
    let answers = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 5]).unwrap();
        stream.write_all(&[0x16, 3, 3, 0, 4, 2, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff]).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let (code, _, log) = run(&["sub", &url, "a", "--insecure"], &[]);
    answers.join().unwrap();
    assert_eq!(code, 76, "{log}");
    assert!(log.contains("the TLS handshake failed"), "{log}");
}

#[test]
fn a_connection_that_breaks_is_come_back_from_over_tls() {
    let stage = Stage::new("");
    let (relay, ca) = (stage.relay(), stage.ca());
    let mut sub = Fanwire::start_with(&["sub", &relay.url(), "a", "--reconnect", "--ca", &ca, "--count", "2"], &[]);
    sub.stderr_line("subscribed to");
    published(&[&relay.url(), "a", "--ca", &ca], b"one\n");
    sub.stdout_line("one");
    relay.cut();
    sub.stderr_line("connecting again");
    published(&[&relay.url(), "a", "--ca", &ca], b"two\n");
    let (code, out, log) = sub.finish();
    assert_eq!((code, &out[..]), (0, &b"two\n"[..]), "{log}");
}

#[test]
fn this_server_and_these_clients_understand_each_other_over_tls() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("Tests' authority"));
    let identity = authority.issue(&["localhost"]);
    let (ca, certificate) = (authority.file(folder.path()), written(folder.path(), "c.pem", &identity.chain));
    let key = written(folder.path(), "c.key", &identity.key);
    let options = format!("--tls-certificate-files {certificate} --tls-key-files {key}");
    let mut server = Fanwire::start(&format!("serve --listen wss://127.0.0.1:0 {options}"));
    let line = server.stdout_line("listening on wss://127.0.0.1:");
    let url = format!("wss://localhost:{}", line.trim().rsplit_once(':').unwrap().1);
    let lines: String = (0..40u32).map(|n| format!("{n} {}\n", "x".repeat(n as usize * 1_000))).collect();
    for form in ["json", "msgpack", "batch+lz4", "raw"] {
        let topic = form.replace('+', "-");
        let arguments = ["sub", &url, &topic, "--protocol", form, "--count", "40", "--ca", &ca];
        let mut sub = Fanwire::start_with(&arguments, &[]);
        sub.stderr_line("subscribed to");
        published(&[&url, &topic, "--ca", &ca, "--reconnect"], lines.as_bytes());
        let (code, out, log) = sub.finish();
        assert_eq!(code, 0, "{form}: {log}");
        assert!(out == lines.as_bytes(), "{form}: {} bytes of {}: {log}", out.len(), lines.len());
    }
    let (code, _, log) = run(&["sub", &url.replace("wss://", "ws://"), "a"], &[]);
    assert_eq!(code, 76, "{log}");
    assert!(log.contains("speaks TLS: write wss://"), "{log}");
    server.signal(Signal::TERM);
    let (code, _, log) = server.finish();
    assert_eq!(code, 0, "{log}");
}
