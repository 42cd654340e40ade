//! Keys that are read from a URL: rotation, and everything that a URL can give instead of keys.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustix::process::Signal;
use tungstenite::Message;

use crate::access::{answer, minted, page, written};
use crate::admin::{Site, scrape_until};
use crate::support::{Fanwire, run};

/// What a URL answers to everybody, until it is told something else.
#[derive(Clone)]
struct Url {
    address: SocketAddr,
    answer: Arc<Mutex<Vec<u8>>>,
}

impl Url {
    fn new(status: &str, body: &[u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = Url { address: listener.local_addr().unwrap(), answer: Arc::default() };
        url.says(status, body);
        let answer = url.answer.clone();
        std::thread::spawn(move || {
            while let Ok((mut client, _)) = listener.accept() {
                let mut head = [0; 4_096];
                let _ = client.read(&mut head);
                let answer = answer.lock().unwrap().clone();
                // Who has heard enough closes.
                let _ = client.write_all(&answer);
            }
        });
        url
    }

    fn says(&self, status: &str, body: &[u8]) {
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        *self.answer.lock().unwrap() = [head.as_bytes(), body].concat();
    }
}

fn der(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/token/testdata").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    STANDARD.decode(text.lines().filter(|line| !line.starts_with('-')).collect::<String>()).unwrap()
}

/// The private key's file, its name in the set, and how it stands there.
fn ed25519() -> (String, &'static str, String) {
    let x = URL_SAFE_NO_PAD.encode(&der("ed25519.pub.pem")[12..]);
    (key_file("ed25519.pem"), "one", format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"one","x":"{x}"}}"#))
}

fn p256() -> (String, &'static str, String) {
    let point = der("p256.pub.pem").split_off(27);
    let (x, y) = (URL_SAFE_NO_PAD.encode(&point[..32]), URL_SAFE_NO_PAD.encode(&point[32..]));
    (key_file("p256.pem"), "two", format!(r#"{{"kty":"EC","crv":"P-256","kid":"two","x":"{x}","y":"{y}"}}"#))
}

fn key_file(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/token/testdata").join(name).display().to_string()
}

fn set(keys: &[&str]) -> Vec<u8> {
    format!(r#"{{"keys":[{}]}}"#, keys.join(",")).into_bytes()
}

fn serving(url: &Url) -> (Fanwire, SocketAddr) {
    Fanwire::listening(&format!(
        "serve --listen 127.0.0.1:0 --token-jwks-url http://{}/keys --token-jwks-every 1s",
        url.address
    ))
}

#[test]
fn keys_are_changed_with_an_overlap_and_what_is_no_set_changes_nothing() {
    let ((first, first_kid, first_key), (second, second_kid, second_key)) = (ed25519(), p256());
    let url = Url::new("200 OK", &set(&[&first_key]));
    let (mut server, address) = serving(&url);
    let old = minted(&first, &["--kid", first_kid, "--subscribe", "a"]);
    let new = minted(&second, &["--kid", second_kid, "--subscribe", "a"]);
    let status = |token: &str| answer(address, &format!("/t/a?token={token}"), "")[9..12].to_owned();
    // A kid that is not in the set has nobody look for it.
    assert_eq!((status(&old), status(&new)), ("101".into(), "401".into()));
    let mut client = page(address, "/t/a", &old);
    url.says("200 OK", &set(&[&first_key, &second_key]));
    let said = server.stderr_line("2 keys (ES256, EdDSA)");
    assert!(said.contains("0 connections closed"), "{said}");
    assert_eq!((status(&old), status(&new)), ("101".into(), "101".into()));
    for (answer, expected) in [
        (("500 Internal Server Error", &b"oops"[..]), "HTTP 500"),
        (("200 OK", b"<html>garbage</html>"), "no JSON"),
        (("200 OK", &vec![b' '; 10 << 20]), "bytes that a set may have"),
        (("302 Found\r\nLocation: https://id.example/keys", b""), "HTTP 302"),
    ] {
        url.says(answer.0, answer.1);
        let said = server.stderr_line(expected);
        assert!(said.contains("the keys that were read last stay"), "{said}");
        assert_eq!((status(&old), status(&new)), ("101".into(), "101".into()), "{expected}");
    }
    // A reload is not held up by it.
    server.signal(Signal::HUP);
    server.stderr_line("no setting has changed");
    assert_eq!((status(&old), status(&new)), ("101".into(), "101".into()));
    client.send(Message::Ping(vec![1].into())).unwrap();
    assert_eq!(client.read().unwrap(), Message::Pong(vec![1].into()));
    // The overlap is over: who came in by the old key has to go.
    url.says("200 OK", &set(&[&second_key]));
    server.signal(Signal::HUP);
    server.stderr_line(" closed, whose key is gone");
    let Message::Close(Some(close)) = client.read().unwrap() else { panic!("a close frame is expected") };
    assert_eq!((u16::from(close.code), close.reason.as_str()), (4401, "the key of its token is gone"));
    assert_eq!((status(&old), status(&new)), ("401".into(), "101".into()));
    server.signal(Signal::TERM);
    let (code, _, log) = server.finish();
    assert!(code == 0 && !log.contains(&old) && !log.contains(&new), "{log}");
}

#[test]
fn an_operator_sees_that_the_keys_cannot_be_read_and_for_how_long() {
    let (_, _, key) = ed25519();
    let url = Url::new("200 OK", &set(&[&key]));
    let from = format!("http://{}/keys", url.address);
    let site = Site::start(&["--token-jwks-url", &from, "--token-jwks-every", "1s"]);
    let figure = |sums: &BTreeMap<String, f64>, name: &str| sums.get(name).copied().unwrap_or(-1.0);
    let (failures, in_a_row) = ("fanwire_jwks_failures_total", "fanwire_jwks_failures_in_a_row");
    let age = "fanwire_jwks_age_seconds";
    let sums = scrape_until(&site, "the set is read", |sums| figure(sums, age) >= 0.0);
    assert_eq!((figure(&sums, failures), figure(&sums, in_a_row)), (0.0, 0.0));
    url.says("500 Internal Server Error", b"");
    scrape_until(&site, "failures are counted", |sums| figure(sums, failures) >= 2.0 && figure(sums, in_a_row) >= 2.0);
    let text = site.get("/metrics").body;
    let sample = |reason: &str| text.contains(&format!("\n{failures}{{reason=\"{reason}\"}} 0\n"));
    assert!(!sample("status") && sample("timeout") && sample("not_keys"), "{text}");
    url.says("200 OK", &set(&[&key]));
    let sums = scrape_until(&site, "it is read again", |sums| figure(sums, in_a_row) == 0.0);
    assert!(figure(&sums, failures) >= 2.0 && figure(&sums, age) >= 0.0, "{sums:?}");
}

#[test]
fn without_keys_yet_every_token_is_503_until_there_are_some() {
    let (key, kid, public) = ed25519();
    let url = Url::new("503 Service Unavailable", b"");
    let (mut server, address) = serving(&url);
    server.stderr_line("every token is answered with 503");
    let token = minted(&key, &["--kid", kid, "--subscribe", "a"]);
    let status = |token: &str| answer(address, &format!("/t/a?token={token}"), "")[9..12].to_owned();
    assert_eq!((status(&token), status("x")), ("503".into(), "503".into()));
    url.says("200 OK", &set(&[&public]));
    server.stderr_line("1 key (EdDSA)");
    assert_eq!((status(&token), status("x")), ("101".into(), "401".into()));
    server.signal(Signal::TERM);
    assert_eq!(server.finish().0, 0);
}

#[test]
fn a_url_that_somebody_could_come_between_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let secret = written(folder.path(), "secret", "a-secret-of-the-tests,-long-enough");
    for (arguments, expected) in [
        (&["--token-jwks-url", "http://id.example/keys"][..], "must be https://"),
        (&["--token-jwks-url", "https://u:p@id.example/keys"], "no password"),
        (&["--token-jwks-url", "http://127.0.0.1:1/", "--token-jwks-every", "999ms"], "1s to 24h"),
        (&["--token-jwks-url", "http://127.0.0.1:1/", "--token-jwks-every", "25h"], "1s to 24h"),
        (&["--token-jwks-url", "http://127.0.0.1:1/", "--token-keys-file", &secret], "one of the two"),
        (&["--token-keys-file", &secret, "--token-jwks-every", "2s"], "means nothing without token.jwks_url"),
    ] {
        let (code, _, log) = run(&[&["serve", "--listen", "127.0.0.1:0"], arguments].concat(), &[]);
        assert!(matches!(code, 2 | 78) && log.contains(expected), "{arguments:?}: {code} {log}");
    }
}

/// A URL that answers the first so many, and holds the others without a word.
fn silent_after(answered: usize, body: Vec<u8>) -> (SocketAddr, std::sync::mpsc::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, (held, is_held)) = (listener.local_addr().unwrap(), std::sync::mpsc::channel());
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for number in 0.. {
            let Ok((mut client, _)) = listener.accept() else { return };
            if number < answered {
                let _ = client.read(&mut [0; 4_096]);
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                let _ = client.write_all(&[head.as_bytes(), &body].concat());
            } else {
                kept.push(client);
                let _ = held.send(());
            }
        }
    });
    (address, is_held)
}

#[test]
fn a_set_that_does_not_come_delays_no_end() {
    let (_, _, key) = ed25519();
    for (answered, every, reloads) in [(0, "1h", false), (1, "1s", false), (1, "1h", true)] {
        let (address, is_held) = silent_after(answered, set(&[&key]));
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("control").display().to_string();
        let mut server = Fanwire::start(&format!(
            "serve --listen 127.0.0.1:0 --token-jwks-url http://{address}/keys --token-jwks-every {every} \
             --control-socket {socket}"
        ));
        let asker = reloads.then(|| {
            let _ = server.address();
            std::thread::spawn(move || run(&["reload", "--socket", &socket], &[]))
        });
        is_held.recv().unwrap();
        server.signal(Signal::TERM);
        let (code, _, log) = server.finish();
        assert!(code == 0 && log.contains("stopped"), "{log}");
        // It was not waited for until its own time was over.
        assert!(!log.contains("timeout"), "{log}");
        if let Some(asker) = asker {
            asker.join().unwrap();
        }
    }
}
