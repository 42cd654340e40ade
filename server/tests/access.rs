//! Tokens, from the key's file to the closed connection.
#![allow(clippy::disallowed_methods)]

use crate::support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};

use support::{Fanwire, PATIENCE, run};

const SECRET: &str = "a-secret-of-the-tests,-long-enough";

pub fn written(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// A token out of the tool.
pub fn minted(key: &str, more: &[&str]) -> String {
    let arguments: Vec<&str> = ["token", "mint", "--key", key].into_iter().chain(more.iter().copied()).collect();
    let (code, out, log) = run(&arguments, &[]);
    assert_eq!(code, 0, "{log}");
    String::from_utf8(out).unwrap().trim().to_owned()
}

/// A tool that says who it is.
fn with_token(token: &str, arguments: &[&str], stdin: &[u8]) -> (i32, Vec<u8>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanwire"));
    command.args(arguments).env("FANWIRE_TOKEN", token);
    Fanwire::spawn(&mut command, stdin).finish()
}

/// What a server answers to a request with these headers and this target.
pub fn answer(address: SocketAddr, target: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
        head.push(byte[0]);
    }
    if !head.starts_with(b"HTTP/1.1 101 ") {
        stream.read_to_end(&mut head).unwrap();
    }
    String::from_utf8(head).unwrap()
}

/// A raw client that says who it is in the list of subprotocols, as a page has to.
pub fn page(address: SocketAddr, target: &str, token: &str) -> WebSocket<TcpStream> {
    try_page(address, target, token).expect("it is let in")
}

fn try_page(address: SocketAddr, target: &str, token: &str) -> Option<WebSocket<TcpStream>> {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut request = format!("ws://{address}{target}").into_client_request().unwrap();
    let offer = format!("fanwire.raw.v1, fanwire.token.{token}");
    request.headers_mut().insert("Sec-WebSocket-Protocol", offer.parse().unwrap());
    tungstenite::client(request, stream).ok().map(|(client, _)| client)
}

#[test]
fn a_token_opens_what_it_names_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let secret = written(folder.path(), "secret", &format!("{SECRET}\n"));
    let (server, address) = Fanwire::listening(&format!("serve --listen 127.0.0.1:0 --token-keys-file {secret}"));
    let url = format!("ws://{address}");
    let token = minted(&secret, &["--sub", "u1", "--subscribe", "rover/*/imu", "--publish", "rover/{sub}/imu"]);
    let (code, _, log) = with_token(&token, &["pub", &url, "rover/u1/imu"], b"one\n");
    assert_eq!(code, 0, "{log}");
    let (code, out, log) = with_token(&token, &["sub", &url, "rover/*/imu", "--count", "1"], &[]);
    assert_eq!((code, &out[..]), (0, &b"one\n"[..]), "{log}");
    let (code, _, log) = with_token(&token, &["pub", &url, "rover/u2/imu"], b"one\n");
    assert_eq!(code, 1, "{log}");
    assert!(log.contains("not_allowed") || log.contains("not allowed"), "{log}");
    assert!(log.contains("a server with tokens allows what the token says"), "{log}");
    let (code, _, log) = with_token(&token, &["sub", &url, "rover/**", "--count", "1"], &[]);
    assert_eq!(code, 1, "{log}");
    // Nobody without a token, and with another's.
    for token in ["", "eyJhbGciOiJub25lIn0.e30."] {
        let (code, _, log) = match token {
            "" => run(&["sub", &url, "rover/1/imu"], &[]),
            _ => with_token(token, &["sub", &url, "rover/1/imu"], &[]),
        };
        assert_eq!(code, 77, "{log}");
        assert!(log.contains("401") && log.contains("FANWIRE_TOKEN"), "{log}");
    }
    server.signal(Signal::TERM);
    let (code, _, log) = server.finish();
    assert_eq!(code, 0, "{log}");
    assert!(
        log.contains("clients may do what their tokens say") && log.contains("refused ") && log.contains("no_token 1"),
        "{log}"
    );
    assert!(!log.contains(&token) && !log.contains(SECRET), "{log}");
}

#[test]
fn a_token_is_taken_in_each_of_its_places_and_not_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let secret = written(folder.path(), "secret", SECRET);
    let (server, address) = Fanwire::listening(&format!("serve --listen 127.0.0.1:0 --token-keys-file {secret}"));
    let token = minted(&secret, &["--subscribe", "a", "--publish", "a"]);
    for (target, headers, protocol) in [
        ("/t/a".to_owned(), format!("Authorization: Bearer {token}\r\n"), None),
        (format!("/t/a?token={token}"), String::new(), None),
        ("/t/a".into(), format!("Sec-WebSocket-Protocol: fanwire.token.{token}, fanwire.raw.v1\r\n"), Some("raw")),
        ("/".into(), format!("Sec-WebSocket-Protocol: fanwire.json.v1, fanwire.token.{token}\r\n"), Some("json")),
    ] {
        let head = answer(address, &target, &headers);
        assert!(head.starts_with("HTTP/1.1 101 "), "{target} {headers}: {head}");
        let chosen = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Protocol: "));
        assert_eq!(chosen.map(str::to_owned), protocol.map(|name| format!("fanwire.{name}.v1")));
        assert!(!head.contains(&token), "{head}");
    }
    let mut client = page(address, "/t/a", &token);
    client.send(Message::text("hello")).unwrap();
    assert_eq!(client.read().unwrap(), Message::text("hello"));
    // A topic that is not granted is 403: who it is was said.
    assert!(answer(address, &format!("/t/b?token={token}"), "").starts_with("HTTP/1.1 403 "));
    drop(server);
}

/// A stranger learns from an answer that he is not let in, and nothing else.
#[test]
fn whatever_is_wrong_with_a_token_the_answer_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let secret = written(folder.path(), "secret", SECRET);
    let other = written(folder.path(), "other", "another-secret,-which-is-long-enough,-too");
    let (server, address) = Fanwire::listening(&format!(
        "serve --listen 127.0.0.1:0 --token-keys-file {secret} --token-audience here --token-issuer we"
    ));
    let of = |key: &str, more: &[&str]| minted(key, &[&["--subscribe", "a", "--audience", "here"], more].concat());
    let good = of(&secret, &["--issuer", "we"]);
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let none = "eyJhbGciOiJub25lIn0";
    let claims = signed.split_once('.').unwrap().1;
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let refused = [
        answer(address, "/t/a", ""),
        answer(address, "/t/a", "Authorization: Basic dTpw\r\n"),
        answer(address, "/t/a", "Authorization: Bearer\r\n"),
        answer(address, "/t/a?token=", ""),
        answer(address, "/t/a", &bearer("x")),
        answer(address, "/t/a", &bearer("..")),
        answer(address, "/t/a", &bearer(&format!("{good}x"))),
        answer(address, "/t/a", &bearer(&format!("{signed}."))),
        answer(address, "/t/a", &bearer(&format!("{signed}.{}", signature.to_ascii_uppercase()))),
        answer(address, "/t/a", &bearer(&format!("{none}.{claims}."))),
        answer(address, "/t/a", &bearer(&format!("{none}.{claims}.{signature}"))),
        answer(address, "/t/a", &bearer(&"x".repeat(9_000))),
        answer(address, "/t/a", &bearer(&of(&other, &["--issuer", "we"]))),
        answer(address, "/t/a", &bearer(&of(&secret, &["--issuer", "they"]))),
        answer(address, "/t/a", &bearer(&of(&secret, &[]))),
        answer(address, "/t/a", &bearer(&minted(&secret, &["--issuer", "we", "--audience", "there"]))),
        answer(address, &format!("/t/a?token={good}"), &bearer(&good)),
        answer(address, &format!("/t/a?token={good}&token={good}"), ""),
        answer(address, "/t/nowhere", &bearer("x")),
    ];
    for head in &refused {
        assert!(head.starts_with("HTTP/1.1 401 ") && head.contains("\r\nWWW-Authenticate: Bearer\r\n"), "{head}");
        assert_eq!(head, &refused[0]);
    }
    assert!(answer(address, "/t/a", &(bearer(&good) + &bearer(&good))).starts_with("HTTP/1.1 400 "));
    assert!(answer(address, "/t/a", &bearer(&good)).starts_with("HTTP/1.1 101 "));
    server.signal(Signal::TERM);
    let (code, _, log) = server.finish();
    assert_eq!(code, 0, "{log}");
    assert!(!log.contains(&good) && !log.contains(signature) && !log.contains(SECRET), "{log}");
}

#[test]
fn when_a_token_is_over_its_connection_is_closed_with_4401() {
    let folder = tempfile::tempdir().unwrap();
    let secret = written(folder.path(), "secret", SECRET);
    let (server, address) = Fanwire::listening(&format!("serve --listen 127.0.0.1:0 --token-keys-file {secret}"));
    // With the five seconds that clocks may differ, that is time enough to come in; on a machine that stands still, the next one is.
    let come_in = || {
        let token = minted(&secret, &["--subscribe", "a", "--expires-in", "1s"]);
        try_page(address, "/t/a", &token).map(|client| (client, token))
    };
    let (mut client, token) = (0..10).find_map(|_| come_in()).expect("one comes in");
    let Message::Close(Some(close)) = client.read().unwrap() else { panic!("a close frame is expected") };
    assert_eq!(u16::from(close.code), 4401);
    assert!(answer(address, "/t/a", &format!("Authorization: Bearer {token}\r\n")).starts_with("HTTP/1.1 401 "));
    drop(server);
}

/// A client of `fanwire.json.v1` that is in by this token, and has read its welcome.
fn speaker(address: SocketAddr, token: &str) -> WebSocket<TcpStream> {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut request = format!("ws://{address}/").into_client_request().unwrap();
    let offer = format!("fanwire.json.v1, fanwire.token.{token}");
    request.headers_mut().insert("Sec-WebSocket-Protocol", offer.parse().unwrap());
    let (mut client, _) = tungstenite::client(request, stream).unwrap();
    assert_eq!(read_object(&mut client)["type"], "welcome");
    client
}

fn read_object(client: &mut WebSocket<TcpStream>) -> serde_json::Value {
    let Message::Text(text) = client.read().unwrap() else { panic!("an object is expected") };
    serde_json::from_str(&text).unwrap()
}

/// It brings a token, and is answered.
fn bring(client: &mut WebSocket<TcpStream>, token: &str) -> serde_json::Value {
    let auth = serde_json::json!({"type": "auth", "id": 7, "token": token});
    loop {
        client.send(Message::text(auth.to_string())).unwrap();
        let answer = read_object(client);
        assert_eq!(answer["id"], 7);
        if answer["code"] != "too_often" {
            return answer;
        }
        // A second has to pass between two tokens.
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

#[test]
fn a_token_is_renewed_in_band_by_the_same_party_and_its_grants_are_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let secret = written(folder.path(), "secret", SECRET);
    let other = written(folder.path(), "other", "another-secret,-which-is-long-enough,-too");
    let (server, address) =
        Fanwire::listening(&format!("serve --listen 127.0.0.1:0 --token-keys-file {secret} --token-issuer we"));
    let of = |more: &[&str]| minted(&secret, &[&["--issuer", "we"], more].concat());
    let first = of(&["--sub", "u1", "--subscribe", "a", "--subscribe", "b"]);
    let mut client = speaker(address, &first);
    client.send(Message::text(r#"{"type":"subscribe","topics":["a","b"]}"#)).unwrap();
    assert_eq!(read_object(&mut client)["type"], "subscribed");
    assert_eq!(read_object(&mut client)["type"], "subscribed");
    // Not good, not of this subject, not signed by us, no token at all: one answer for all.
    let refused = bring(&mut client, "x");
    assert_eq!((&refused["type"], &refused["code"]), (&"error".into(), &"not_authorized".into()), "{refused}");
    for token in [
        of(&["--sub", "u2", "--subscribe", "a"]),
        of(&["--subscribe", "a"]),
        minted(&other, &["--issuer", "we", "--sub", "u1", "--subscribe", "a"]),
        minted(&secret, &["--issuer", "they", "--sub", "u1", "--subscribe", "a"]),
    ] {
        assert_eq!(bring(&mut client, &token), refused);
    }
    let second = of(&["--sub", "u1", "--subscribe", "b", "--publish", "b", "--expires-in", "1h"]);
    let told = bring(&mut client, &second);
    assert_eq!((&told["type"], &told["topic"]), (&"unsubscribed".into(), &"a".into()), "{told}");
    let told = read_object(&mut client);
    assert_eq!((&told["type"], &told["id"]), (&"authorized".into(), &7.into()), "{told}");
    let left = told["expires_in_ms"].as_u64().unwrap();
    assert!((1..=3_605_000).contains(&left), "{told}");
    client.send(Message::text(r#"{"type":"publish","topic":"b","data":1}"#)).unwrap();
    assert_eq!(read_object(&mut client)["data"], 1);
    server.signal(Signal::TERM);
    let (code, _, log) = server.finish();
    assert_eq!(code, 0, "{log}");
    assert!(!log.contains(&second) && !log.contains(&first) && !log.contains(SECRET), "{log}");
}

/// A connection is known by the token that it brought last.
#[test]
fn a_connection_that_has_renewed_its_token_stays_when_the_old_key_goes() {
    let folder = tempfile::tempdir().unwrap();
    let key = |kid: &str, byte: char| {
        let k = std::iter::repeat_n(byte, 43).collect::<String>();
        format!(r#"{{"kty":"oct","alg":"HS256","kid":"{kid}","k":"{k}"}}"#)
    };
    let set = |keys: &[String]| format!(r#"{{"keys":[{}]}}"#, keys.join(","));
    let (old, new) = (key("old", 'A'), key("new", 'Q'));
    let path = written(folder.path(), "keys.json", &set(&[old.clone(), new.clone()]));
    let secrets = [
        ("old", [0u8; 32]),
        ("new", *b"A\x04\x10A\x04\x10A\x04\x10A\x04\x10A\x04\x10A\x04\x10A\x04\x10A\x04\x10A\x04\x10A\x04\x10A\x04"),
    ];
    let token = |which: usize| {
        let (kid, secret) = &secrets[which];
        let key = fanwire_token::SigningKey::from_secret(secret).unwrap();
        let until = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 600;
        let claims = serde_json::json!({"sub": "u1", "exp": until, "fanwire": {"subscribe": ["a"]}});
        key.sign(claims.as_object().unwrap(), Some(kid)).unwrap()
    };
    let (mut server, address) = Fanwire::listening(&format!("serve --listen 127.0.0.1:0 --token-keys-file {path}"));
    let mut renewed = speaker(address, &token(0));
    let mut stale = speaker(address, &token(0));
    assert_eq!(bring(&mut renewed, &token(1))["type"], "authorized");
    std::fs::write(&path, set(&[new])).unwrap();
    server.signal(Signal::HUP);
    let said = server.stderr_line(" closed, whose key is gone");
    assert!(said.contains("1 connection closed"), "{said}");
    let Message::Close(Some(close)) = stale.read().unwrap() else { panic!("a close frame is expected") };
    assert_eq!(u16::from(close.code), 4401);
    renewed.send(Message::text(r#"{"type":"ping","id":1}"#)).unwrap();
    assert_eq!(read_object(&mut renewed)["type"], "pong");
    drop(server);
}

/// The same token would be refused: to come back with it helps nobody.
#[test]
fn who_is_closed_with_4401_does_not_come_back_with_the_same_token() {
    let folder = tempfile::tempdir().unwrap();
    let secret = written(folder.path(), "secret", SECRET);
    let other = written(folder.path(), "other", "another-secret,-which-is-long-enough,-too");
    let (mut server, address) =
        Fanwire::listening(&format!("serve --listen 127.0.0.1:0 --topics a=keep-last --token-keys-file {secret}"));
    let url = format!("ws://{address}");
    let token = minted(&secret, &["--subscribe", "a", "--publish", "a"]);
    let (code, _, log) = with_token(&token, &["pub", &url, "a"], b"one\n");
    assert_eq!(code, 0, "{log}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanwire"));
    command.args(["sub", &url, "a", "--reconnect"]).env("FANWIRE_TOKEN", &token);
    let mut sub = Fanwire::spawn(&mut command, &[]);
    sub.stdout_line("one");
    std::fs::copy(&other, &secret).unwrap();
    server.signal(Signal::HUP);
    server.stderr_line("whose key is gone");
    let (code, _, log) = sub.finish();
    assert_eq!(code, 77, "{log}");
    assert!(log.contains("4401") && log.contains("the token has expired, or was taken back"), "{log}");
    assert!(!log.contains("connecting again"), "{log}");
    let (code, _, log) = with_token("", &["sub", &url, "a"], &[]);
    assert_eq!(code, 2, "{log}");
    assert!(log.contains("the token is empty"), "{log}");
}

fn with_mode(path: &str, mode: u32) {
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
}

#[test]
fn a_token_out_of_a_file_is_as_good_and_one_that_others_can_read_is_said_so() {
    let folder = tempfile::tempdir().unwrap();
    let secret = written(folder.path(), "secret", SECRET);
    let (server, address) =
        Fanwire::listening(&format!("serve --listen 127.0.0.1:0 --topics a=keep-last --token-keys-file {secret}"));
    let url = format!("ws://{address}");
    let token = minted(&secret, &["--subscribe", "a", "--publish", "a"]);
    let file = written(folder.path(), "token", &format!("{token}\nof the tests\n"));
    with_mode(&file, 0o600);
    let (code, _, log) = run(&["pub", &url, "a", "--token-file", &file], b"one\n");
    assert!(code == 0 && !log.contains("other users"), "{log}");
    with_mode(&file, 0o640);
    // The option goes before the variable.
    let (code, out, log) = with_token("x", &["sub", &url, "a", "--count", "1", "--token-file", &file], &[]);
    assert_eq!((code, &out[..]), (0, &b"one\n"[..]), "{log}");
    assert!(log.contains(&format!("other users of this machine can read it (mode 640): chmod 600 {file}")), "{log}");
    assert!(!log.contains(&token), "{log}");
    let empty = written(folder.path(), "empty", "\n");
    let missing = folder.path().join("missing").display().to_string();
    for (arguments, expected, said) in [
        (&["--token-file", &file, "--token", "x"][..], 2, "one of the two"),
        (&["--token-file", "-"], 2, "not from stdin"),
        (&["--token-file", &empty], 65, "no token in it"),
        (&["--token-file", &missing], 66, "cannot read"),
    ] {
        for command in
            [&["pub", &url, "a"][..], &["sub", &url, "a"], &["replay", "-", "--to", &url], &["top", &url, "--once"]]
        {
            let (code, _, log) = run(&[command, arguments].concat(), &[]);
            assert!(code == expected && log.contains(said), "{command:?} {arguments:?}: {code} {log}");
        }
    }
    drop(server);
}

#[test]
fn who_reads_its_token_from_a_file_comes_back_with_the_one_that_is_there_then() {
    let folder = tempfile::tempdir().unwrap();
    let secret = written(folder.path(), "secret", SECRET);
    let other = written(folder.path(), "other", "another-secret,-which-is-long-enough,-too");
    let (mut server, address) =
        Fanwire::listening(&format!("serve --listen 127.0.0.1:0 --topics a=keep-last --token-keys-file {secret}"));
    let url = format!("ws://{address}");
    let grants = ["--subscribe", "a", "--publish", "a"];
    let file = written(folder.path(), "token", &minted(&secret, &grants));
    let publish = |line: &[u8]| run(&["pub", &url, "a", "--token-file", &file], line);
    assert_eq!(publish(b"one\n").0, 0);
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanwire"));
    command.args(["sub", &url, "a", "--reconnect", "--token-file", &file]);
    let mut sub = Fanwire::spawn(&mut command, &[]);
    sub.stdout_line("one");
    written(folder.path(), "token", &minted(&other, &grants));
    std::fs::copy(&other, &secret).unwrap();
    server.signal(Signal::HUP);
    server.stderr_line("whose key is gone");
    sub.stderr_line("4401");
    assert_eq!(publish(b"two\n").0, 0);
    sub.stdout_line("two");
    sub.signal(Signal::TERM);
    let (code, _, log) = sub.finish();
    assert_eq!(code, 128 + 15, "{log}");
}

#[test]
fn at_sighup_the_keys_are_read_again_and_what_is_no_key_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let keys = written(folder.path(), "keys", SECRET);
    let new = written(folder.path(), "new", "the-next-secret,-which-is-long-enough,-too");
    let (mut server, address) = Fanwire::listening(&format!("serve --listen 127.0.0.1:0 --token-keys-file {keys}"));
    let (before, after) = (minted(&keys, &["--subscribe", "a"]), minted(&new, &["--subscribe", "a"]));
    let status = |token: &str| answer(address, &format!("/t/a?token={token}"), "")[9..12].to_owned();
    assert_eq!((status(&before), status(&after)), ("101".into(), "401".into()));
    let mut client = page(address, "/t/a", &before);
    std::fs::copy(&new, &keys).unwrap();
    server.signal(Signal::HUP);
    let said = server.stderr_line(" closed, whose key is gone");
    assert!(said.contains("1 key (HS256)") && !said.contains("; 0 connections"), "{said}");
    assert_eq!((status(&before), status(&after)), ("401".into(), "101".into()));
    // Who came in by a key that is gone has to go.
    let Message::Close(Some(close)) = client.read().unwrap() else { panic!("a close frame is expected") };
    assert_eq!((u16::from(close.code), close.reason.as_str()), (4401, "the key of its token is gone"));
    let mut client = page(address, "/t/a", &after);
    std::fs::write(&keys, "short").unwrap();
    server.signal(Signal::HUP);
    server.stderr_line("everything stays as it was");
    assert_eq!((status(&before), status(&after)), ("401".into(), "101".into()));
    // Who is in stays in.
    client.send(Message::Ping(vec![1].into())).unwrap();
    assert_eq!(client.read().unwrap(), Message::Pong(vec![1].into()));
    server.signal(Signal::TERM);
    assert_eq!(server.finish().0, 0);
}

#[test]
fn who_has_no_token_may_do_what_everybody_may() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(
        folder.path(),
        "fanwire.toml",
        "listen = [\"127.0.0.1:0\"]\n[token]\nanonymous_subscribe = [\"public/**\", \"news\"]\n",
    );
    let (server, address) = Fanwire::listening(&format!("serve --config {path}"));
    let status = |target: &str, headers: &str| answer(address, target, headers)[9..12].to_owned();
    assert_eq!(status("/t/public/a", ""), "101");
    assert_eq!(status("/t/news", ""), "101");
    assert_eq!(status("/t/private", ""), "403");
    // A token that nobody can verify is no way in.
    assert_eq!(status("/t/news", "Authorization: Bearer x\r\n"), "401");
    let (code, _, log) = run(&["pub", &format!("ws://{address}"), "news"], b"one\n");
    assert_eq!(code, 1, "{log}");
    drop(server);
}

#[test]
fn keys_that_cannot_be_used_are_refused_at_start() {
    let folder = tempfile::tempdir().unwrap();
    for (text, code, expected) in [
        ("short", 78, "at least 32 bytes"),
        ("{\"keys\":[]}", 78, "no key that can be used"),
        ("-----BEGIN PRIVATE KEY-----\nAA\n-----END PRIVATE KEY-----", 78, "private key"),
        // What everybody has must not become a secret: a public key that is not quite as expected.
        ("ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQC7 user@host", 78, "a secret is one line"),
        ("# ours\n-----BEGIN PUBLIC KEY-----\nAA\n-----END PUBLIC KEY-----", 78, "a secret is one line"),
        ("MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA\nxyz", 78, "a secret is one line"),
        ("[{\"kty\":\"oct\",\"k\":\"AAAAAAAAAAAAAAAAAAAAAA\"}]", 78, "a secret is one line"),
        ("0\u{82}\u{1}\"0\r\u{6}\t*\u{86}H\u{86}........................", 78, "a secret is one line"),
    ] {
        let path = written(folder.path(), "keys", text);
        let (ended, _, log) = run(&["serve", "--listen", "127.0.0.1:0", "--token-keys-file", &path], &[]);
        assert_eq!(ended, code, "{log}");
        assert!(log.contains(expected) && log.contains("/keys"), "{log}");
    }
    // What might keep clients waiting.
    for other in ["/dev/zero", "/dev", "/proc/self/fd/0"] {
        let (ended, _, log) = run(&["serve", "--token-keys-file", other], &[]);
        assert_eq!(ended, 66, "{other}: {log}");
    }
    let (ended, _, log) = run(&["serve", "--token-keys-file", "/nowhere"], &[]);
    assert_eq!(ended, 66, "{log}");
    let (ended, _, _) = run(&["serve", "--token-keys-file", ""], &[]);
    assert_eq!(ended, 2);
    let (ended, _, _) = run(&["serve", "--token-subscribe", "a*"], &[]);
    assert_eq!(ended, 2);
}

#[test]
fn a_token_is_shown_and_judged() {
    let folder = tempfile::tempdir().unwrap();
    let secret = written(folder.path(), "secret", SECRET);
    let other = written(folder.path(), "other", "another-secret,-which-is-long-enough,-too");
    let token = minted(&secret, &["--sub", "u1", "--subscribe", "a/**"]);
    let inspected = |arguments: &[&str], stdin: &str| {
        let (code, out, log) = run(&[&["token", "inspect"], arguments].concat(), stdin.as_bytes());
        (code, serde_json::from_slice::<serde_json::Value>(&out).unwrap_or_default(), log)
    };
    let (code, shown, log) = inspected(&["--keys", &secret], &format!("{token}\n"));
    assert_eq!((code, &shown["claims"]["sub"]), (0, &"u1".into()), "{log}");
    assert_eq!(shown["claims"]["fanwire"]["subscribe"], serde_json::json!(["a/**"]));
    assert!(shown["verdict"].as_str().unwrap().starts_with("verified; holds for "), "{shown}");
    let (code, shown, _) = inspected(&[&token, "--keys", &other], "");
    assert_eq!((code, &shown["verdict"]), (1, &"refused: the signature is wrong".into()));
    let (code, shown, _) = inspected(&[&token], "");
    assert!(code == 0 && shown["verdict"].as_str().unwrap().starts_with("not verified"));
    // What no server takes is not made.
    let refused = |more: &[&str]| run(&[&["token", "mint", "--key", &secret], more].concat(), &[]).0;
    let many: Vec<String> = (0..257).map(|n| format!("--subscribe=p{n}")).collect();
    assert_eq!(refused(&many.iter().map(String::as_str).collect::<Vec<_>>()), 2);
    assert_eq!(refused(&many[1..].iter().map(String::as_str).collect::<Vec<_>>()), 0);
    for claim in ["", "exp", "sub.x", "a..", "iat.x"] {
        assert_eq!(refused(&["--sub", "u", "--grants-claim", claim]), 2, "{claim}");
    }
    let (_, shown, _) = inspected(&[&minted(&secret, &["--grants-claim", "a.b", "--publish", "x"])], "");
    assert_eq!(shown["claims"]["a"]["b"]["publish"], serde_json::json!(["x"]));
    let jwk = written(folder.path(), "jwk", r#"{"kty":"oct","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#);
    assert_eq!(run(&["token", "mint", "--key", &jwk], &[]).0, 78);
    assert_eq!(inspected(&["x"], "").0, 65);
    assert_eq!(inspected(&[], "").0, 65);
}

#[test]
fn a_subject_has_so_many_connections_and_strangers_are_a_line_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let secret = written(folder.path(), "secret", SECRET);
    let (server, address) = Fanwire::listening(&format!(
        "serve --listen 127.0.0.1:0 --token-keys-file {secret} --connections-per-subject-max 1"
    ));
    let [one, other] = ["u1", "u2"].map(|sub| minted(&secret, &["--sub", sub, "--subscribe", "a"]));
    let _open = page(address, "/t/a", &one);
    for _ in 0..5 {
        let head = answer(address, &format!("/t/a?token={one}"), "");
        assert!(head.starts_with("HTTP/1.1 429 ") && head.contains("\r\nRetry-After: "), "{head}");
    }
    assert!(try_page(address, "/t/a", &other).is_some());
    server.signal(Signal::TERM);
    let (code, _, log) = server.finish();
    assert_eq!(code, 0, "{log}");
    assert_eq!(log.matches("limits: 5 times more than a subject may have").count(), 1, "{log}");
}
