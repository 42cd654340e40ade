//! The examples do what they say, compiled from the installed tree, against a client that is not ours.

use crate::kit;

use std::io::{BufRead, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use fanwire_token::SigningKey;
use kit::{Link, PATIENCE, Program, Server, compile, example, has};
use serde_json::json;
use tungstenite::client::IntoClientRequest;
use tungstenite::{HandshakeError, Message, WebSocket};

type Client = WebSocket<TcpStream>;

fn connect(port: u16, path: &str) -> Client {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("the example listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out can be set");
    let request = format!("ws://127.0.0.1:{port}{path}").into_client_request().expect("a good address");
    tungstenite::client(request, stream).expect("the example speaks WebSocket").0
}

/// Connects with this key; at `/` to speak `fanwire.json.v1`.
///
/// # Errors
/// The status that the request is answered with.
fn connect_with(port: u16, path: &str, key: Option<&str>) -> Result<Client, u16> {
    connect_by(port, path, key.map(|key| ("X-Api-Key", key)))
}

/// The same with this header.
///
/// # Errors
/// As [`connect_with`].
fn connect_by(port: u16, path: &str, header: Option<(&'static str, &str)>) -> Result<Client, u16> {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("the example listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out can be set");
    let mut request = format!("ws://127.0.0.1:{port}{path}").into_client_request().expect("a good address");
    if let Some((name, value)) = header {
        request.headers_mut().insert(name, value.parse().expect("a header's value"));
    }
    if path == "/" {
        request.headers_mut().insert("Sec-WebSocket-Protocol", "fanwire.json.v1".parse().expect("a header's value"));
    }
    match tungstenite::client(request, stream) {
        Ok((client, _)) => Ok(client),
        Err(HandshakeError::Failure(tungstenite::Error::Http(answer))) => Err(answer.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

/// The next data message.
fn next(client: &mut Client) -> Message {
    loop {
        match client.read().expect("a message comes") {
            Message::Ping(_) | Message::Pong(_) => {}
            message => return message,
        }
    }
}

fn program(name: &str) -> Option<Program> {
    let compiler = if name.ends_with(".cpp") { "g++" } else { "gcc" };
    has(compiler).then(|| compile(&example(name), Link::Shared, &[]))
}

#[test]
fn the_rover_publishes_pose_imu_and_camera_and_gets_its_frames_back() {
    let Some(program) = program("rover.c") else { return };
    let server = Server::start(Command::new(&program.path).args(["--listen", "127.0.0.1:0", "--seconds", "600"]));
    let mut pose = connect(server.port, "/t/rover/1/pose");
    let mut imu = connect(server.port, "/t/rover/1/imu");
    let mut camera = connect(server.port, "/t/rover/1/camera");
    for _ in 0..3 {
        let Message::Text(text) = next(&mut pose) else { panic!("a pose is text") };
        assert!(text.starts_with("{\"x\":") && text.ends_with('}'), "{text}");
    }
    let mut last = 0;
    for _ in 0..50 {
        let Message::Binary(sample) = next(&mut imu) else { panic!("a sample is binary") };
        assert_eq!(sample.len(), 32);
        let time = u64::from_le_bytes(sample[..8].try_into().expect("8 bytes"));
        assert!(time > last);
        last = time;
    }
    let mut numbers = Vec::new();
    for _ in 0..20 {
        let Message::Binary(frame) = next(&mut camera) else { panic!("a frame is binary") };
        assert_eq!(frame.len(), 256 * 1024);
        let number = u64::from_le_bytes(frame[..8].try_into().expect("8 bytes"));
        assert!(frame[8..].iter().all(|&byte| byte == number as u8), "frame {number} was changed while it was sent");
        numbers.push(number);
    }
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    server.terminate();
    drop((pose, imu, camera));
    let said = server.finish();
    assert!(said.contains("8 of 8 buffers are back"), "{said}");
}

#[test]
fn the_log_shipper_ships_every_line_in_order() {
    let Some(program) = program("logship.c") else { return };
    let mut command = Command::new(&program.path);
    command.args(["--listen", "127.0.0.1:0", "--topic", "logs/test", "--wait-for-reader"]);
    let mut server = Server::start(command.stdin(Stdio::piped()).stderr(Stdio::null()));
    let mut reader = connect(server.port, "/t/logs/test");
    let mut stdin = server.stdin().expect("stdin is a pipe");
    const LINES: usize = 20_000;
    let writer = std::thread::spawn(move || {
        let mut block = Vec::new();
        for number in 0..LINES {
            match number % 1_000 {
                7 => block.extend_from_slice(b"a line \xff that is none\n"),
                _ => block.extend_from_slice(format!("line {number}\n").as_bytes()),
            }
            // In blocks that end in the middle of lines.
            if block.len() > 3_000 {
                let whole = block.len() - 5;
                stdin.write_all(&block[..whole]).expect("the shipper reads");
                block.drain(..whole);
            }
        }
        stdin.write_all(&block).expect("the shipper reads");
        stdin.write_all(b"the last one, without an end").expect("the shipper reads");
    });
    for number in 0..LINES {
        let Message::Text(line) = next(&mut reader) else { panic!("a line is text") };
        match number % 1_000 {
            7 => assert_eq!(line, "(a line that is not UTF-8)"),
            _ => assert_eq!(line, format!("line {number}")),
        }
    }
    assert_eq!(next(&mut reader), Message::text("the last one, without an end"));
    writer.join().expect("the writer is done");
    assert!(matches!(next(&mut reader), Message::Close(Some(frame)) if u16::from(frame.code) == 1001));
    while reader.read().is_ok() {}
    drop(reader);
    server.finish();
}

#[test]
fn the_echo_server_echoes_and_says_who_came_and_went() {
    let Some(program) = program("echo.c") else { return };
    let mut server = Server::start(Command::new(&program.path).args(["--listen", "127.0.0.1:0"]));
    let mut clients: Vec<Client> = (0..3).map(|_| connect(server.port, "/")).collect();
    for size in [0usize, 1, 125, 126, 1_000, 65_535, 65_536, 300_000] {
        for (number, client) in clients.iter_mut().enumerate() {
            let bytes: Vec<u8> = (0..size).map(|i| (i * 7 + number) as u8).collect();
            client.send(Message::Binary(bytes.into())).expect("the server reads");
            client.send(Message::text("t".repeat(size))).expect("the server reads");
        }
        for (number, client) in clients.iter_mut().enumerate() {
            let bytes: Vec<u8> = (0..size).map(|i| (i * 7 + number) as u8).collect();
            assert_eq!(next(client), Message::Binary(bytes.into()));
            assert_eq!(next(client), Message::text("t".repeat(size)));
        }
    }
    clients[0].send(Message::text("bye")).expect("the server reads");
    let Message::Close(Some(frame)) = next(&mut clients[0]) else { panic!("a close frame was asked for") };
    assert_eq!((u16::from(frame.code), frame.reason.as_str()), (1000, "as you wish"));
    while clients[0].read().is_ok() {}
    let mut seen = String::new();
    while !seen.contains("closed with 1000") {
        let mut line = String::new();
        assert_ne!(server.output.read_line(&mut line).expect("text"), 0, "{seen}");
        seen += &line;
    }
    server.terminate();
    for client in &mut clients[1..] {
        assert!(matches!(next(client), Message::Close(Some(frame)) if u16::from(frame.code) == 1001));
        while client.read().is_ok() {}
    }
    drop(clients);
    seen += &server.finish();
    assert_eq!(seen.matches("opened /").count(), 3, "{seen}");
    assert_eq!(seen.matches("closed with").count(), 3, "{seen}");
}

#[test]
fn the_chat_room_of_the_cpp_example_brings_words_and_pictures() {
    let Some(program) = program("chat.cpp") else { return };
    let server = Server::start(Command::new(&program.path).arg("127.0.0.1:0"));
    let mut reader = connect(server.port, "/t/room");
    let mut speaker = connect(server.port, "/");
    speaker.send(Message::text("hello")).expect("the server reads");
    speaker.send(Message::text("picture")).expect("the server reads");
    let (mut hello, mut picture, mut tick) = (false, false, false);
    while !(hello && picture && tick) {
        match next(&mut reader) {
            Message::Text(text) if text == "hello" => hello = true,
            Message::Text(text) => tick |= text == "tick",
            Message::Binary(pixels) => {
                assert_eq!(pixels.len(), 512 * 1024);
                assert!(pixels.iter().enumerate().all(|(i, &byte)| byte == (i * 31) as u8));
                picture = true;
            }
            other => panic!("unexpected: {other:?}"),
        }
    }
    server.terminate();
    while reader.read().is_ok() {}
    while speaker.read().is_ok() {}
    drop((reader, speaker));
    server.finish();
}

#[test]
fn the_table_of_keys_says_who_comes_in_and_what_each_may_do() {
    let Some(program) = program("keys.c") else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let table = folder.path().join("table");
    let lines = "# key who subscribe publish\none-long-key ann news/*,chat chat\n\n\
                 another-key ann news/* -\nbobs bob - chat\n";
    std::fs::write(&table, lines).expect("the table is written");
    let mut command = Command::new(&program.path);
    let server = Server::start(command.args(["--listen", "127.0.0.1:0", "--table"]).arg(&table));
    let status =
        |path: &str, key: Option<&str>| connect_with(server.port, path, key).map_or_else(|status| status, |_| 101);
    for wrong in [None, Some(""), Some("one-long-keys"), Some("one-long-ke"), Some("One-long-key"), Some("#")] {
        assert_eq!(status("/t/news/a", wrong), 401, "{wrong:?}");
    }
    assert_eq!([status("/t/news/a", Some("one-long-key")), status("/t/other", Some("one-long-key"))], [101, 403]);
    assert_eq!(status("/t/chat", Some("bobs")), 403);
    let mut chat = connect_with(server.port, "/t/chat", Some("one-long-key")).expect("she is let in");
    chat.send(Message::text("hello")).expect("the server reads");
    assert_eq!(next(&mut chat), Message::text("hello"));
    // Another key of hers, on the open connection; somebody else's is refused.
    let mut client = connect_with(server.port, "/", Some("one-long-key")).expect("she is let in");
    let mut ask = |text: &str, expected: &str| {
        client.send(Message::text(text)).expect("the server reads");
        loop {
            let Message::Text(answer) = next(&mut client) else { panic!("an object is expected") };
            if answer.contains(expected) {
                break answer.to_string();
            }
        }
    };
    ask(r#"{"type":"subscribe","topics":["chat","news/a"]}"#, r#""topic":"news/a""#);
    let told = ask(r#"{"type":"auth","id":7,"token":"another-key"}"#, "unsubscribed");
    assert!(told.contains(r#""topic":"chat""#), "{told}");
    ask(r#"{"type":"ping","id":8}"#, "pong");
    server.terminate();
    drop((chat, client));
    let said = server.finish();
    assert!(said.contains("let in ann") && said.contains("refused 127.0.0.1:"), "{said}");
    assert!(!said.contains("one-long-key"), "{said}");
}

#[test]
fn the_host_that_takes_tokens_lets_in_who_has_one_until_it_is_revoked_or_its_key_is_gone() {
    let Some(program) = program("tokens.c") else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (file, secret) = (folder.path().join("secret"), "0123456789abcdef0123456789abcdef");
    std::fs::write(&file, format!("{secret}\n")).expect("the secret is written");
    let token = |sub: &str| {
        let claims = json!({"sub": sub, "exp": 4_102_444_800_u64, "fanwire": {"subscribe": ["news/**"]}});
        let key = SigningKey::from_secret(secret.as_bytes()).expect("it is long enough");
        format!("Bearer {}", key.sign(claims.as_object().expect("an object"), None).expect("it signs"))
    };
    let mut command = Command::new(&program.path);
    command.args(["--listen", "127.0.0.1:0", "--keys"]).arg(&file);
    let mut server = Server::start(command.stdin(Stdio::piped()));
    let mut stdin = server.stdin().expect("stdin is a pipe");
    let port = server.port;
    let enter = |path: &str, token: Option<&str>| connect_by(port, path, token.map(|token| ("Authorization", token)));
    let status = |path: &str, token: Option<&str>| enter(path, token).map_or_else(|status| status, |_| 101);
    for wrong in ["Bearer no.to.ken", "Basic dTpw", "Bearer", &token("ann")[..60]] {
        assert_eq!(status("/t/news/a", Some(wrong)), 401, "{wrong}");
    }
    assert_eq!([status("/t/public/a", None), status("/t/news/a", None)], [101, 403]);
    assert_eq!(status("/t/other", Some(&token("cid"))), 403);
    let mut ann = enter("/t/news/a", Some(&token("ann"))).expect("she is let in");
    let mut bob = enter("/t/news/a", Some(&token("bob"))).expect("he is let in");
    let mut tell = |line: &str| {
        stdin.write_all(line.as_bytes()).expect("it reads");
        let mut answer = String::new();
        server.output.read_line(&mut answer).expect("it answers");
        answer
    };
    assert_eq!(tell("revoke ann\n"), "revoked ann: 1 closed\n");
    assert!(matches!(next(&mut ann), Message::Close(Some(frame)) if u16::from(frame.code) == 4401));
    assert_eq!([status("/t/news/a", Some(&token("ann"))), status("/t/news/a", Some(&token("bob")))], [401, 101]);
    std::fs::write(&file, "another-secret-that-is-long-enough\n").expect("the secret is written");
    let answer = tell("reload\n");
    // He, and who has just looked in, if that one is not gone yet.
    assert!(answer.starts_with("reloaded: tokens: ") && answer.contains(" closed, whose key is gone"), "{answer}");
    assert!(matches!(next(&mut bob), Message::Close(Some(frame)) if u16::from(frame.code) == 4401));
    assert_eq!(status("/t/news/a", Some(&token("bob"))), 401);
    drop((stdin, ann, bob));
    server.finish();
}
