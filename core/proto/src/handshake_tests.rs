//! Accept keys, subprotocols, and responses byte for byte.

use super::*;

fn head(lines: &str) -> String {
    format!(
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{lines}\r\n"
    )
}

#[test]
fn the_accept_key_is_that_of_the_rfc() {
    // RFC 6455 section 1.3.
    assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), *b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

#[test]
fn accept_keys_agree_with_tungstenite() {
    for i in 0..200u8 {
        let key = STANDARD.encode([i.wrapping_mul(37); 16]);
        let theirs = tungstenite::handshake::derive_accept_key(key.as_bytes());
        assert_eq!(accept_key(&key), theirs.as_bytes());
    }
}

#[test]
fn the_101_carries_what_was_chosen_and_nothing_else() {
    let head = head("Sec-WebSocket-Protocol: other, fanwire.json.v1\r\nSec-WebSocket-Extensions: x; y\r\n");
    let request = Request::parse(head.as_bytes()).unwrap();
    let upgrade = Upgrade::check(&request).unwrap();
    assert_eq!(upgrade.key(), "dGhlIHNhbXBsZSBub25jZQ==");
    assert_eq!(upgrade.extensions().collect::<Vec<_>>(), [b"x; y"]);
    let mut out = Vec::new();
    upgrade.write_response(&mut out, None, None);
    let plain = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
    assert_eq!(String::from_utf8(out).unwrap(), format!("{plain}\r\n"));

    let mut out = b"before".to_vec();
    upgrade.write_response(&mut out, Some("fanwire.json.v1"), Some("permessage-deflate"));
    let more = "Sec-WebSocket-Protocol: fanwire.json.v1\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
    assert_eq!(String::from_utf8(out).unwrap(), format!("before{plain}{more}"));
}

#[test]
fn the_first_subprotocol_of_the_client_that_is_supported_is_chosen() {
    for (lines, supported, chosen) in [
        ("", &["a", "b"][..], None),
        ("Sec-WebSocket-Protocol: b, a\r\n", &["a", "b"], Some("b")),
        ("Sec-WebSocket-Protocol: c,a\r\nSec-WebSocket-Protocol: b\r\n", &["b", "a"], Some("a")),
        ("Sec-WebSocket-Protocol: c\r\nsec-websocket-protocol: b\r\n", &["b", "a"], Some("b")),
        ("Sec-WebSocket-Protocol: A, B\r\n", &["a", "b"], None),
        ("Sec-WebSocket-Protocol: ,, b ,\r\n", &["a", "b"], Some("b")),
        ("Sec-WebSocket-Protocol:\r\n", &["a"], None),
        ("Sec-WebSocket-Protocol: a\r\n", &[], None),
    ] {
        let head = head(lines);
        let request = Request::parse(head.as_bytes()).unwrap();
        assert_eq!(Upgrade::check(&request).unwrap().select_protocol(supported), chosen, "{lines}");
    }
    let head = head("Sec-WebSocket-Protocol: c, a\r\nSec-WebSocket-Protocol: b\r\n");
    let request = Request::parse(head.as_bytes()).unwrap();
    assert_eq!(Upgrade::check(&request).unwrap().protocols().collect::<Vec<_>>(), ["c", "a", "b"]);
}

#[test]
fn a_refusal_is_a_complete_response() {
    assert_eq!(
        String::from_utf8(Refusal::not_found("no such path").to_bytes()).unwrap(),
        "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: 13\r\n\r\nno such path\n"
    );
}

#[test]
fn every_refusal_says_how_long_it_is_and_carries_its_headers() {
    for (refusal, status, header) in [
        (Refusal::bad_request("x"), 400, ""),
        (Refusal::unauthorized("x"), 401, "WWW-Authenticate: Bearer"),
        (Refusal::forbidden("x"), 403, ""),
        (Refusal::not_found("x"), 404, ""),
        (Refusal::method_not_allowed("POST"), 405, "Allow: GET"),
        (Refusal::timeout(), 408, ""),
        (Refusal::from(RequestError::TargetTooLong), 414, ""),
        (Refusal::upgrade_required("x"), 426, "Upgrade: websocket\r\nSec-WebSocket-Version: 13"),
        (Refusal::from(RequestError::HeadTooLarge), 431, ""),
        (Refusal::from(RequestError::TooManyHeaders), 431, ""),
        (Refusal::unavailable("full", 7), 503, "Retry-After: 7"),
        (Refusal::from(RequestError::Version), 505, ""),
        (Refusal::from(RequestError::Malformed("why")), 400, ""),
    ] {
        let bytes = refusal.to_bytes();
        let mut space = [httparse::EMPTY_HEADER; 16];
        let mut parsed = httparse::Response::new(&mut space);
        let head_bytes = parsed.parse(&bytes).unwrap().unwrap();
        assert_eq!(parsed.code, Some(status));
        let text = std::str::from_utf8(&bytes).unwrap();
        assert!(text.contains(&format!("{header}\r\n")), "{text}");
        assert!(text.contains("\r\nConnection: close"), "{text}");
        let length = format!("Content-Length: {}\r\n", bytes.len() - head_bytes);
        assert!(text.contains(&length), "{text}");
        assert!(text.ends_with('\n') && bytes.len() > head_bytes + 1, "a line for a person: {text}");
    }
}

#[test]
fn a_426_names_the_upgrade_option_and_a_head_gets_no_body() {
    let text = String::from_utf8(Refusal::upgrade_required("x").to_bytes()).unwrap();
    assert!(text.contains("Connection: close, Upgrade\r\n"), "{text}");
    let text = String::from_utf8(Refusal::method_not_allowed("HEAD").to_bytes()).unwrap();
    assert!(text.ends_with("Content-Length: 0\r\n\r\n"), "{text}");
}
