//! The handshake's choices: permessage-deflate among a client's offers, a subprotocol, and the 101 that says so.

use super::http::check_refusal;
use super::input::Input;
use super::negotiation_plain::choose;
use crate::batch;
use crate::deflate::{Agreement, RESPONSE_BYTES_MAX, negotiate};
use crate::handshake::{Upgrade, accept_key};
use crate::request::{Request, RequestLimits, RequestScanner};
use crate::{json, msgpack};

const SUPPORTED: [&str; 4] = [json::PROTOCOL, msgpack::PROTOCOL, batch::PROTOCOL_LZ4, batch::PROTOCOL];

/// One byte: which subprotocols the server supports. Then lines: `E` with a Sec-WebSocket-Extensions value behind it, `P`
/// Sec-WebSocket-Protocol, `K` Sec-WebSocket-Key, `V` Sec-WebSocket-Version, `C` Connection, `U` Upgrade.
pub fn negotiation(data: &[u8]) {
    let mut input = Input::new(data);
    let choice = input.byte();
    let supported: Vec<&str> =
        SUPPORTED.iter().enumerate().filter(|(n, _)| choice >> n & 1 == 0).map(|(_, name)| *name).collect();
    let lines: Vec<&[u8]> = input.rest().split(|&b| b == b'\n').collect();
    let values = |kind: u8| lines.iter().filter(move |line| line.first() == Some(&kind)).map(|line| &line[1..]);

    // The offers by themselves, whatever bytes they are.
    let expected = choose(values(b'E'));
    let agreement = negotiate(values(b'E')).map_err(|_| ());
    assert_eq!(
        agreement.map(|agreement| agreement.map(|a| check_agreement(&a))),
        expected.map(|chosen| chosen.map(|c| (c.server_bits, c.client_bits, c.response()))),
        "left: ours, right: the plain reading of {:?}",
        values(b'E').map(String::from_utf8_lossy).collect::<Vec<_>>()
    );

    // The whole handshake.
    let head = request(values);
    let Ok(Some(len)) = RequestScanner::new(RequestLimits::default()).scan(&head) else { return };
    let Ok(request) = Request::parse(&head[..len]) else { return };
    let upgrade = match Upgrade::check(&request) {
        Ok(upgrade) => upgrade,
        Err(refusal) => return check_refusal(&refusal),
    };
    assert_eq!(negotiate(upgrade.extensions()).map_err(|_| ()), agreement, "through a request");
    let Ok(agreement) = agreement else { return };
    let offered: Vec<&str> = upgrade.protocols().collect();
    let chosen = upgrade.select_protocol(&supported);
    assert_eq!(chosen, offered.iter().copied().find(|name| supported.contains(name)), "of {offered:?}");

    let extensions = agreement.map(|agreement| agreement.response());
    let mut response = Vec::new();
    upgrade.write_response(&mut response, chosen, extensions.as_deref());
    check_response(&response, upgrade.key(), chosen, extensions.as_deref());
}

/// What the client is told, which the server can keep.
fn check_agreement(agreement: &Agreement) -> (u8, u8, String) {
    let response = agreement.response();
    assert!(response.len() <= RESPONSE_BYTES_MAX && *response == *agreement.to_string());
    // Read as an offer it is one, to the same terms.
    let again = negotiate([response.as_bytes()]).ok().flatten().expect("our own words");
    assert_eq!(again.server_window_bits, agreement.server_window_bits);
    (agreement.server_window_bits, agreement.client_window_bits, response.to_string())
}

/// A request with the lines of each kind, and what a client must say where there are none.
fn request<'a, V: Iterator<Item = &'a [u8]>>(values: impl Fn(u8) -> V) -> Vec<u8> {
    let mut head = b"GET /t/a HTTP/1.1\r\nHost: a\r\n".to_vec();
    let mut add = |name: &str, kind: u8, default: &[u8]| {
        let mut count = 0;
        let mut line = |value: &[u8]| {
            head.extend_from_slice(name.as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value);
            head.extend_from_slice(b"\r\n");
        };
        for value in values(kind) {
            line(value);
            count += 1;
        }
        if count == 0 && !default.is_empty() {
            line(default);
        }
    };
    add("Upgrade", b'U', b"websocket");
    add("Connection", b'C', b"keep-alive, Upgrade");
    add("Sec-WebSocket-Key", b'K', b"dGhlIHNhbXBsZSBub25jZQ==");
    add("Sec-WebSocket-Version", b'V', b"13");
    add("Sec-WebSocket-Protocol", b'P', b"");
    add("Sec-WebSocket-Extensions", b'E', b"");
    head.extend_from_slice(b"\r\n");
    head
}

/// RFC 6455 section 4.2.2: exactly these headers, and nothing of the client's slips in.
fn check_response(response: &[u8], key: &str, protocol: Option<&str>, extensions: Option<&str>) {
    let mut space = [httparse::EMPTY_HEADER; 8];
    let mut parsed = httparse::Response::new(&mut space);
    assert_eq!(parsed.parse(response), Ok(httparse::Status::Complete(response.len())), "nothing behind the head");
    assert_eq!(parsed.code, Some(101));
    let accept = accept_key(key);
    let headers: Vec<(&str, &[u8])> = parsed.headers.iter().map(|h| (h.name, h.value)).collect();
    let expected: Vec<(&str, &[u8])> = [
        Some(("Upgrade", &b"websocket"[..])),
        Some(("Connection", b"Upgrade")),
        Some(("Sec-WebSocket-Accept", &accept)),
        protocol.map(|protocol| ("Sec-WebSocket-Protocol", protocol.as_bytes())),
        extensions.map(|extensions| ("Sec-WebSocket-Extensions", extensions.as_bytes())),
    ]
    .into_iter()
    .flatten()
    .collect();
    assert_eq!(headers, expected);
}
