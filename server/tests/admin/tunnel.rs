//! Topics by way of the admin port.

use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};

use super::http::{Site, TOKEN};
use crate::support::{self, Subscriber};

type Socket = WebSocket<std::net::TcpStream>;

/// Connects by the admin port.
pub fn observe(site: &Site, target: &str, headers: &[(&'static str, &str)]) -> Result<Socket, u16> {
    let mut request = format!("ws://{}{target}", site.admin).into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    match tungstenite::client(request, site.connect()) {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(answer))) => Err(answer.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

pub const JSON: (&str, &str) = ("Sec-WebSocket-Protocol", "fanwire.json.v1");

fn next(socket: &mut Socket, kind: &str) -> serde_json::Value {
    loop {
        let Message::Text(text) = socket.read().expect("a message") else { continue };
        let object: serde_json::Value = serde_json::from_str(&text).unwrap();
        if object["type"] == kind {
            return object;
        }
    }
}

#[test]
fn who_comes_by_the_admin_port_hears_every_topic_and_says_nothing() {
    let site = Site::start(&[]);
    let mut observer = observe(&site, "/ws", &[JSON]).unwrap();
    observer.send(Message::text(r#"{"type":"subscribe","id":1,"topics":["rover/**"]}"#)).unwrap();
    observer.send(Message::text(r#"{"type":"ping","id":2}"#)).unwrap();
    next(&mut observer, "pong");
    let mut client = Subscriber::connect(site.clients, "other", None);
    client.send(r#"{"type":"publish","topic":"rover/1/imu","data":{"x":1}}"#);
    let heard = next(&mut observer, "message");
    assert_eq!((heard["topic"].as_str(), &heard["data"]["x"]), (Some("rover/1/imu"), &1.into()), "{heard}");
    observer.send(Message::text(r#"{"type":"publish","id":3,"topic":"rover/1/imu","data":1}"#)).unwrap();
    assert_eq!(next(&mut observer, "error")["id"], 3);
    // Bare messages of one topic, as everywhere: the target is the engine's.
    let mut raw = observe(&site, "/ws/t/rover/1/imu", &[]).unwrap();
    client.send(r#"{"type":"publish","topic":"rover/1/imu","data":{"x":2}}"#);
    // The last value first, then what is new.
    assert_eq!(raw.read().unwrap(), Message::text(r#"{"x":1}"#));
    assert_eq!(raw.read().unwrap(), Message::text(r#"{"x":2}"#));
    let (code, reason) = (4000, "enough");
    let frame = tungstenite::protocol::CloseFrame { code: code.into(), reason: reason.into() };
    raw.close(Some(frame)).unwrap();
    while !matches!(raw.read(), Err(tungstenite::Error::ConnectionClosed)) {}
    assert_eq!(observe(&site, "/ws/no/such/path", &[JSON]).unwrap_err(), 404);
    let large = "x".repeat(70_000);
    observer.send(Message::text(format!(r#"{{"type":"ping","id":"{large}"}}"#))).unwrap();
    assert!(matches!(next(&mut observer, "error")["type"].as_str(), Some("error")));
}

#[test]
fn where_clients_need_tokens_topics_are_heard_with_a_token_of_the_admin_port_alone() {
    let anonymous = ["--token-anonymous-subscribe", "public/**"];
    let site = Site::start(&anonymous);
    assert_eq!(observe(&site, "/ws", &[JSON]).unwrap_err(), 403);
    let (code, _, said) = support::run(&["top", &format!("ws://{}/ws", site.admin), "--once"], b"");
    assert!(code == 77 && said.contains("admin.token_file"), "{code}: {said}");
    assert_eq!(site.get("/health").status, 200);
    let site = Site::with_token(&anonymous);
    assert_eq!(observe(&site, "/ws", &[JSON]).unwrap_err(), 401);
    let bearer = format!("Bearer {TOKEN}");
    let mut observer = observe(&site, "/ws", &[JSON, ("Authorization", &bearer)]).unwrap();
    observer.send(Message::text(r#"{"type":"subscribe","id":1,"topics":["secret/**"]}"#)).unwrap();
    observer.send(Message::text(r#"{"type":"ping","id":2}"#)).unwrap();
    assert_eq!(next(&mut observer, "pong")["id"], 2, "the front door would have refused that");
}

#[test]
fn a_page_of_another_site_hears_nothing() {
    let site = Site::start(&[]);
    let own = format!("http://{}", site.admin);
    assert!(observe(&site, "/ws", &[JSON, ("Origin", &own)]).is_ok());
    for origin in ["http://evil.example", "null", "https://127.0.0.1", "http://localhost:1"] {
        assert_eq!(observe(&site, "/ws", &[JSON, ("Origin", origin)]).unwrap_err(), 403, "{origin}");
    }
}

#[test]
fn observers_are_told_of_the_end_like_anybody() {
    let site = Site::start(&[]);
    let mut observer = observe(&site, "/ws", &[JSON]).unwrap();
    next(&mut observer, "welcome");
    site.server.signal(rustix::process::Signal::TERM);
    let code = loop {
        if let Message::Close(frame) = observer.read().expect("a close frame") {
            break frame.map(|frame| u16::from(frame.code));
        }
    };
    assert_eq!(code, Some(1001));
    let _ = observer.flush();
    assert_eq!(site.server.finish().0, 0);
}
