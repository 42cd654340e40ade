//! The whole way from bytes to 101 or a refusal, over a table of what attackers and broken clients send.

use super::*;
use crate::handshake::{Refusal, Upgrade};

/// A request with nothing wrong with it; the rows of the table edit it.
const GOOD: &str = "GET /t/a HTTP/1.1\r\n\
    Host: example.com\r\n\
    Upgrade: websocket\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\
    \r\n";

/// The status that `bytes` get, cut as given: 101, a refusal's, or 0 while the head is not whole.
fn status<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> u16 {
    let mut scanner = RequestScanner::new(RequestLimits::default());
    let mut buffer = Vec::new();
    for chunk in chunks {
        buffer.extend_from_slice(chunk);
        let scanned = scanner.scan(&buffer);
        assert!(scanner.examined_bytes() <= buffer.len());
        match scanned {
            Ok(None) => {}
            Ok(Some(head_bytes)) => return parsed_status(&buffer[..head_bytes]),
            Err(error) => return Refusal::from(error).status,
        }
    }
    0
}

fn parsed_status(head: &[u8]) -> u16 {
    let request = match Request::parse(head) {
        Ok(request) => request,
        Err(error) => return Refusal::from(error).status,
    };
    match Upgrade::check(&request) {
        Ok(_) => 101,
        Err(refusal) => refusal.status,
    }
}

/// How a row differs from [`GOOD`].
enum Edit {
    /// The first text is replaced by the second.
    Swap(&'static str, &'static str),
    /// These lines are put behind the Host line.
    Add(&'static str),
    /// Something else altogether.
    Whole(&'static [u8]),
}
use Edit::{Add, Swap, Whole};

impl Edit {
    fn apply(&self) -> Vec<u8> {
        match self {
            Swap(from, to) => {
                assert!(GOOD.contains(from), "{from:?} is not in the request");
                GOOD.replacen(from, to, 1).into_bytes()
            }
            Add(lines) => GOOD.replacen("Upgrade: ", &format!("{lines}Upgrade: "), 1).into_bytes(),
            Whole(bytes) => bytes.to_vec(),
        }
    }
}

const VERSION_LINE: &str = "Sec-WebSocket-Version: 13\r\n";
const KEY_LINE: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// What it is, the edit, our status, and whether llhttp 9.3 in its strict mode takes the head.
const TABLE: &[(&str, Edit, u16, bool)] = &[
    ("nothing wrong", Swap("GET", "GET"), 101, true),
    // The request line.
    ("lower-case method", Swap("GET", "get"), 400, false),
    ("mixed-case method", Swap("GET", "Get"), 400, false),
    ("unknown method", Swap("GET", "FETCH"), 405, false),
    ("POST", Swap("GET", "POST"), 405, true),
    ("HEAD", Swap("GET", "HEAD"), 405, true),
    ("OPTIONS *", Swap("GET /t/a", "OPTIONS *"), 400, true),
    ("CONNECT", Swap("GET /t/a", "CONNECT example.com:80"), 400, true),
    ("method with a control character", Swap("GET", "G\x01T"), 400, false),
    ("no method", Swap("GET /t/a", "/t/a"), 400, false),
    ("no target", Swap("/t/a ", ""), 400, false),
    ("two spaces before the target", Swap("GET ", "GET  "), 400, true),
    ("two spaces after the target", Swap(" HTTP", "  HTTP"), 400, true),
    ("tab for a space", Swap("GET ", "GET\t"), 400, false),
    ("space at the line's end", Swap("HTTP/1.1", "HTTP/1.1 "), 400, false),
    ("absolute-form target", Swap("/t/a", "http://example.com/t/a"), 101, true),
    ("absolute form, https", Swap("/t/a", "https://example.com/t/a?b"), 101, true),
    ("absolute form, upper case", Swap("/t/a", "HTTP://EXAMPLE.COM/t/a"), 101, true),
    ("absolute form, port", Swap("/t/a", "http://example.com:9001/t/a"), 101, true),
    ("absolute form, IPv6", Swap("/t/a", "http://[::1]:9001/t/a"), 101, true),
    ("absolute form without a path", Swap("/t/a", "http://example.com"), 101, true),
    ("absolute form with a query alone", Swap("/t/a", "http://example.com?topic=a"), 101, true),
    // RFC 9112 section 3.2.2: Host is then ignored. Nothing here depends on either.
    ("absolute form of another host", Swap("/t/a", "http://example.org/t/a"), 101, true),
    ("absolute form without a host", Swap("/t/a", "http:///t/a"), 400, true),
    ("absolute form with a port alone", Swap("/t/a", "http://:80/t/a"), 400, true),
    ("absolute form with a user", Swap("/t/a", "http://me@example.com/t/a"), 400, true),
    ("absolute form with a word for a port", Swap("/t/a", "http://example.com:http/t/a"), 400, true),
    ("absolute form with a fragment", Swap("/t/a", "http://example.com/t/a#b"), 400, true),
    ("absolute form with a fragment for a path", Swap("/t/a", "http://example.com#b"), 400, false),
    ("absolute form, one slash", Swap("/t/a", "http:/example.com/t/a"), 400, false),
    ("absolute form, no slash", Swap("/t/a", "http:example.com"), 400, false),
    ("absolute form, no scheme", Swap("/t/a", "://example.com/t/a"), 400, false),
    ("absolute form, another scheme", Swap("/t/a", "ftp://example.com/t/a"), 400, true),
    ("absolute form, IPv6 not closed", Swap("/t/a", "http://[::1/t/a"), 400, true),
    (
        "absolute form and no Host",
        Whole(b"GET http://example.com/t/a HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"),
        400,
        true,
    ),
    ("ws:// target", Swap("/t/a", "ws://example.com/t/a"), 400, true),
    ("authority target", Swap("/t/a", "example.com"), 400, false),
    ("target without a slash", Swap("/t/a", "t/a"), 400, false),
    ("target with a fragment", Swap("/t/a", "/t/a#b"), 400, true),
    ("target with a raw byte", Swap("/t/a", "/t/é"), 400, false),
    ("target with DEL", Swap("/t/a", "/t/\x7F"), 400, false),
    ("target with NUL", Swap("/t/a", "/t/\0"), 400, false),
    ("target with every sub-delimiter", Swap("/t/a", "/t/a!$&'()*+,;=:@%20~?topic=a/b?c"), 101, true),
    ("HTTP/1.0", Swap("HTTP/1.1", "HTTP/1.0"), 505, true),
    ("HTTP/0.9", Swap("HTTP/1.1", "HTTP/0.9"), 505, true),
    ("HTTP/2.0", Swap("HTTP/1.1", "HTTP/2.0"), 505, true),
    ("HTTP/1.2", Swap("HTTP/1.1", "HTTP/1.2"), 505, false),
    ("HTTP/1.10", Swap("HTTP/1.1", "HTTP/1.10"), 400, false),
    ("lower-case http", Swap("HTTP/1.1", "http/1.1"), 400, false),
    ("no version", Swap(" HTTP/1.1", ""), 400, true),
    ("the HTTP/2 preface", Whole(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505, false),
    ("a TLS hello", Whole(b"\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03"), 400, false),
    ("an empty line first", Swap("GET", "\r\nGET"), 400, true),
    ("a space first", Swap("GET", " GET"), 400, false),
    // Line ends and white space.
    ("bare LF after the request line", Swap("HTTP/1.1\r\n", "HTTP/1.1\n"), 400, false),
    ("bare LF after a header", Swap("example.com\r\n", "example.com\n"), 400, false),
    ("bare LF in the last line", Swap("13\r\n\r\n", "13\r\n\n"), 400, false),
    ("bare LFs all over", Whole(b"GET / HTTP/1.1\nHost: a\n\n"), 400, false),
    ("bare CR in a value", Add("X: a\rb\r\n"), 400, false),
    ("bare CR as a line end", Swap("example.com\r\n", "example.com\r"), 400, false),
    ("CR CR LF", Swap("example.com\r\n", "example.com\r\r\n"), 400, false),
    ("NUL in a value", Add("X: a\0b\r\n"), 400, false),
    ("NUL in a name", Add("X\0: a\r\n"), 400, false),
    ("control character in a value", Add("X: a\x0Bb\r\n"), 400, false),
    ("DEL in a value", Add("X: a\x7Fb\r\n"), 400, false),
    ("folded line, space", Add("X: a\r\n b\r\n"), 400, false),
    ("folded line, tab", Add("X: a\r\n\tb\r\n"), 400, false),
    ("folded first header", Swap("HTTP/1.1\r\n", "HTTP/1.1\r\n X: a\r\n"), 400, false),
    ("line of a space", Add(" \r\n"), 400, false),
    ("space before the colon", Add("X : a\r\n"), 400, false),
    ("tab before the colon", Add("X\t: a\r\n"), 400, false),
    ("space in a name", Add("X Y: a\r\n"), 400, false),
    ("no name", Add(": a\r\n"), 400, false),
    ("no colon", Add("nonsense\r\n"), 400, false),
    ("raw byte in a name", Add("Xé: a\r\n"), 400, false),
    ("bracket in a name", Add("X[]: a\r\n"), 400, false),
    ("raw byte in a value of no interest", Add("X: é\r\n"), 101, true),
    ("tab in a value", Add("X: a\tb\r\n"), 101, true),
    ("empty value", Add("X:\r\n"), 101, true),
    ("white space around a value", Add("X: \t a \t\r\n"), 101, true),
    ("every character a name may have", Add("a!#$%&'*+-.^_`|~Z9: a\r\n"), 101, true),
    // Bodies.
    ("Content-Length 0", Add("Content-Length: 0\r\n"), 101, true),
    ("Content-Length 5", Add("Content-Length: 5\r\n"), 400, true),
    ("Content-Length 00", Add("Content-Length: 00\r\n"), 400, true),
    ("Content-Length +0", Add("Content-Length: +0\r\n"), 400, false),
    ("Content-Length -0", Add("Content-Length: -0\r\n"), 400, false),
    ("Content-Length 0x0", Add("Content-Length: 0x0\r\n"), 400, false),
    ("Content-Length 0, 0", Add("Content-Length: 0, 0\r\n"), 400, false),
    ("empty Content-Length", Add("Content-Length:\r\n"), 400, false),
    ("Content-Length 0 and a tab", Add("Content-Length: 0\t\r\n"), 400, false),
    ("Content-Length 0 and a space", Add("Content-Length: 0 \r\n"), 101, true),
    ("huge Content-Length", Add("Content-Length: 99999999999999999999\r\n"), 400, false),
    ("two Content-Lengths that agree", Add("Content-Length: 0\r\nContent-Length: 0\r\n"), 400, false),
    ("two Content-Lengths that differ", Add("Content-Length: 0\r\nContent-Length: 5\r\n"), 400, false),
    ("Transfer-Encoding chunked", Add("Transfer-Encoding: chunked\r\n"), 400, true),
    ("Transfer-Encoding identity", Add("Transfer-Encoding: identity\r\n"), 400, true),
    ("Transfer-Encoding of nothing", Add("Transfer-Encoding:\r\n"), 400, true),
    ("Transfer-Encoding, odd case", Add("tRANSFER-eNCODING: xchunked\r\n"), 400, true),
    ("Content-Length and Transfer-Encoding", Add("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n"), 400, false),
    ("Transfer-Encoding and Content-Length", Add("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n"), 400, false),
    // Host.
    ("no Host", Swap("Host: example.com\r\n", ""), 400, true),
    ("two Hosts", Add("Host: example.com\r\n"), 400, true),
    ("two Hosts, odd case", Add("hOST: evil.com\r\n"), 400, true),
    ("empty Host", Swap("example.com", ""), 400, true),
    ("Host with a path", Swap("example.com", "example.com/a"), 400, true),
    ("Host with a user", Swap("example.com", "me@example.com"), 400, true),
    ("Host that is a list", Swap("example.com", "example.com, evil.com"), 400, true),
    ("Host with a space", Swap("example.com", "example .com"), 400, true),
    ("Host with a raw byte", Swap("example.com", "exämple.com"), 400, true),
    ("Host with a word for a port", Swap("example.com", "example.com:http"), 400, true),
    ("Host with a port", Swap("example.com", "example.com:8080"), 101, true),
    ("Host with an empty port", Swap("example.com", "example.com:"), 101, true),
    ("Host that is a bare port", Swap("example.com", ":80"), 400, true),
    ("IPv6 Host", Swap("example.com", "[::1]:9001"), 101, true),
    ("IPv6 Host, not closed", Swap("example.com", "[::1"), 400, true),
    ("IPv6 Host, no brackets", Swap("example.com", "::1"), 400, true),
    // The upgrade.
    ("no Upgrade", Swap("Upgrade: websocket\r\n", ""), 426, true),
    ("Upgrade to h2c", Swap("websocket", "h2c"), 426, true),
    ("Upgrade to websocket2", Swap("websocket", "websocket2"), 426, true),
    ("Upgrade to a list", Swap("websocket", "h2c, WebSocket"), 101, true),
    ("Upgrade in two lines", Swap("websocket", "h2c\r\nUpgrade: websocket"), 101, true),
    ("no Connection", Swap("Connection: Upgrade\r\n", ""), 400, true),
    ("Connection keep-alive", Swap("Connection: Upgrade", "Connection: keep-alive"), 400, true),
    (
        "Connection of both, as Firefox has it",
        Swap("Connection: Upgrade", "Connection: keep-alive, Upgrade"),
        101,
        true,
    ),
    ("Connection in two lines", Swap("Connection: ", "Connection: keep-alive\r\nConnection: "), 101, true),
    ("Connection, odd case and commas", Swap("Connection: Upgrade", "cOnnection:,,uPGRADE ,"), 101, true),
    ("Connection and a tab", Swap("Connection: Upgrade", "Connection: Upgrade\t"), 400, true),
    ("Connection and a tab, in two lines", Swap("Connection: ", "Connection: a \t \r\nConnection: "), 400, true),
    ("Upgrade and a tab", Swap("websocket", "websocket\t"), 400, true),
    ("no version header", Swap(VERSION_LINE, ""), 400, true),
    ("version 8", Swap("13\r\n", "8\r\n"), 426, true),
    ("version 14", Swap("13\r\n", "14\r\n"), 426, true),
    ("version 013", Swap("13\r\n", "013\r\n"), 426, true),
    ("version +13", Swap("13\r\n", "+13\r\n"), 426, true),
    ("version list", Swap("13\r\n", "13, 8\r\n"), 426, true),
    ("two versions", Swap(VERSION_LINE, "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Version: 13\r\n"), 400, true),
    ("no key", Swap(KEY_LINE, ""), 400, true),
    ("empty key", Swap("dGhlIHNhbXBsZSBub25jZQ==", ""), 400, true),
    ("key of 15 bytes", Swap("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25j"), 400, true),
    ("key of 17 bytes", Swap("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZWU="), 400, true),
    ("key of 19 bytes", Swap("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQAAAA=="), 400, true),
    ("key that is not base64", Swap("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25j_-=="), 400, true),
    ("two keys", Add("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"), 400, true),
    ("protocols", Add("Sec-WebSocket-Protocol: a, b\r\n"), 101, true),
    ("protocols with empty elements", Add("Sec-WebSocket-Protocol: ,a, ,b,\r\n"), 101, true),
    ("a protocol that is no token", Add("Sec-WebSocket-Protocol: a/b\r\n"), 400, true),
    ("a protocol with a space", Add("Sec-WebSocket-Protocol: a b\r\n"), 400, true),
    ("extensions", Add("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"), 101, true),
    ("two Origins", Add("Origin: http://a\r\nOrigin: http://b\r\n"), 400, true),
    ("two Authorizations", Add("Authorization: Bearer a\r\nAuthorization: Bearer b\r\n"), 400, true),
];

#[test]
fn the_table_of_hazards_gets_its_verdicts() {
    assert!(TABLE.len() >= 60);
    for (what, edit, expected, llhttp) in TABLE {
        let bytes = edit.apply();
        assert_eq!(status([&bytes[..]]), *expected, "{what}");
        assert!(*llhttp || *expected != 101, "{what}: llhttp is stricter than we are");
    }
    write_table();
}

/// For who asks llhttp itself: `./test smuggling`.
#[allow(clippy::disallowed_methods, reason = "tests take their orders from the environment")]
fn write_table() {
    let Some(path) = std::env::var_os("FANWIRE_HEADS") else { return };
    let row = |(what, edit, expected, llhttp): &(&str, Edit, u16, bool)| {
        let digits: String = edit.apply().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{expected} {llhttp} {digits} {what}\n")
    };
    std::fs::write(path, TABLE.iter().map(row).collect::<String>()).unwrap();
}

#[test]
fn the_table_cut_anywhere_gets_the_same_verdicts() {
    for (what, edit, expected, _) in TABLE {
        let bytes = edit.apply();
        assert_eq!(status(bytes.chunks(1)), *expected, "{what}, byte by byte");
        for at in 0..=bytes.len() {
            assert_eq!(status([&bytes[..at], &bytes[at..]]), *expected, "{what}, cut at {at}");
        }
    }
}

/// The scanner's own rules, though [`Request::parse`] would refuse most of these too: an attacker learns nothing by
/// sending the rest.
#[test]
fn the_scanner_refuses_at_the_byte_that_shows_it() {
    for (front, bad) in [
        ("", "\r"),
        ("", "\n"),
        ("", " "),
        ("", "\t"),
        ("", "\x16"),
        ("GET / HTTP/1.1", "\n"),
        ("GET / HTTP/1.1\r", "\r"),
        ("GET / HTTP/1.1\r", "H"),
        ("GET / HTTP/1.1\r\n", " "),
        ("GET / HTTP/1.1\r\n", "\t"),
        ("GET / HTTP/1.1\r\n", "\n"),
        ("GET / HTTP/1.1\r\nHost: a\r\n", "\t"),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r", "\r"),
        ("GET / HTTP/1.1\r\nHost: a", "\0"),
        ("GET / HTTP/1.1\r\nHost: a", "\x7F"),
    ] {
        let mut scanner = RequestScanner::new(RequestLimits::default());
        assert_eq!(scanner.scan(front.as_bytes()), Ok(None), "{front:?}");
        let refused = scanner.scan(format!("{front}{bad}and more").as_bytes());
        assert!(matches!(refused, Err(RequestError::Malformed(_))), "{front:?} then {bad:?}");
        assert_eq!(scanner.examined_bytes(), front.len() + 1);
    }
}

#[test]
fn no_front_of_a_good_request_gets_an_answer() {
    for len in 0..GOOD.len() {
        assert_eq!(status([&GOOD.as_bytes()[..len]]), 0, "{len} bytes");
    }
}

/// Every byte value at every kind of place: the scanner and httparse together allow what RFC 9112 allows.
#[test]
fn every_byte_in_a_target_a_name_and_a_value() {
    for byte in 0..=255u8 {
        let at = |front: &str, back: &str| {
            let mut bytes = front.as_bytes().to_vec();
            bytes.push(byte);
            bytes.extend_from_slice(back.as_bytes());
            status([&bytes[..]])
        };
        let rest = &GOOD["GET /t/a HTTP/1.1\r\n".len()..];
        let in_target = at("GET /t/", &format!("a HTTP/1.1\r\n{rest}"));
        // httparse leaves out a few that RFC 3986 does not have either.
        let is_target = byte.is_ascii_graphic() && !b"#<>\"\\^`{|}".contains(&byte);
        assert!(in_target == 101 || !is_target, "{byte:#04x} in a target: {in_target}");
        assert!(in_target != 101 || (byte.is_ascii_graphic() && byte != b'#'), "{byte:#04x} in a target");

        let in_name = at("GET / HTTP/1.1\r\nX", &format!("Y: 1\r\n{rest}"));
        let is_name = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:".contains(&byte);
        assert_eq!(in_name == 101, is_name, "{byte:#04x} in a name: {in_name}");

        let in_value = at("GET / HTTP/1.1\r\nX: a", &format!("b\r\n{rest}"));
        let is_value = byte == b'\t' || (byte >= b' ' && byte != 0x7F);
        assert_eq!(in_value == 101, is_value, "{byte:#04x} in a value: {in_value}");
    }
}

fn with_headers(count: usize) -> Vec<u8> {
    // GOOD has five of its own.
    let more: String = (5..count).map(|i| format!("X-{i}: a\r\n")).collect();
    GOOD.replacen("Upgrade: ", &format!("{more}Upgrade: "), 1).into_bytes()
}

fn with_length(length: usize) -> Vec<u8> {
    let filler = "x".repeat(length - GOOD.len() - "X: \r\n".len());
    GOOD.replacen("Upgrade: ", &format!("X: {filler}\r\nUpgrade: "), 1).into_bytes()
}

#[test]
fn limits_hold_at_the_limit_and_one_past_it() {
    assert_eq!(status([&with_headers(64)[..]]), 101);
    assert_eq!(status([&with_headers(65)[..]]), 431);
    assert_eq!(status([&with_length(16 * 1024)[..]]), 101);
    assert_eq!(status([&with_length(16 * 1024 + 1)[..]]), 431);
    let long_target = |length: usize| GOOD.replacen("/t/a", &format!("/{}", "a".repeat(length)), 1).into_bytes();
    assert_eq!(status([&long_target(16_000)[..]]), 101);
    assert_eq!(status([&long_target(17_000)[..]]), 414);

    let mut none = RequestScanner::new(RequestLimits { head_bytes_max: 0, headers_max: 0 });
    assert_eq!(none.scan(b"G"), Err(RequestError::TargetTooLong));
    let mut all = RequestScanner::new(RequestLimits { head_bytes_max: usize::MAX, headers_max: usize::MAX });
    assert_eq!(all.scan(&with_headers(HEADERS_CAP)), Ok(Some(with_headers(HEADERS_CAP).len())));
    assert!(Request::parse(&with_headers(HEADERS_CAP)).is_ok());
    let mut all = RequestScanner::new(RequestLimits { head_bytes_max: usize::MAX, headers_max: usize::MAX });
    assert_eq!(all.scan(&with_headers(HEADERS_CAP + 1)), Err(RequestError::TooManyHeaders));
    assert_eq!(Request::parse(&with_headers(HEADERS_CAP + 1)).err(), Some(RequestError::TooManyHeaders));
}

#[test]
fn ten_thousand_headers_are_refused_early() {
    let bytes = with_headers(10_000);
    let mut scanner = RequestScanner::new(RequestLimits { head_bytes_max: 1 << 20, headers_max: 64 });
    assert_eq!(scanner.scan(&bytes), Err(RequestError::TooManyHeaders));
    assert!(scanner.examined_bytes() < 1000);
}

#[test]
fn a_head_of_20_mb_is_refused_at_its_maximum() {
    let mut scanner = RequestScanner::new(RequestLimits::default());
    let mut buffer = b"GET / HTTP/1.1\r\nX: ".to_vec();
    let mut fed = 0;
    let refused = loop {
        buffer.extend_from_slice(&[b'a'; 1000]);
        fed += 1000;
        match scanner.scan(&buffer) {
            Ok(None) => assert!(fed < 20_000_000),
            other => break other,
        }
    };
    assert_eq!(refused, Err(RequestError::HeadTooLarge));
    assert!(buffer.len() <= 18_000);
}

#[test]
fn a_head_of_64_kib_byte_by_byte_is_looked_at_once() {
    let bytes = with_length(64 * 1024);
    let mut scanner = RequestScanner::new(RequestLimits { head_bytes_max: 64 * 1024, headers_max: 64 });
    for len in 1..bytes.len() {
        assert_eq!(scanner.scan(&bytes[..len]), Ok(None));
        assert_eq!(scanner.examined_bytes(), len);
    }
    assert_eq!(scanner.scan(&bytes), Ok(Some(bytes.len())));
    // The parse looks once more: twice in all.
    assert_eq!(scanner.examined_bytes(), bytes.len());
    assert!(Request::parse(&bytes).is_ok());
}

#[test]
fn pipelined_first_frames_are_kept() {
    for behind in [&b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"[..], b"\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\0"]
    {
        let bytes = [GOOD.as_bytes(), behind].concat();
        let mut scanner = RequestScanner::new(RequestLimits::default());
        let head_bytes = scanner.scan(&bytes).unwrap().unwrap();
        assert_eq!(head_bytes, GOOD.len());
        assert_eq!(scanner.examined_bytes(), GOOD.len(), "not a byte of the frames is looked at");
        assert_eq!(&bytes[head_bytes..], behind);
        assert_eq!(parsed_status(&bytes[..head_bytes]), 101);
    }
}

#[test]
fn what_matters_can_be_asked_for() {
    let head = GOOD.replacen(
        "Upgrade: ",
        "origin: http://localhost:3000 \r\nAUTHORIZATION: Bearer a.b.c\r\nX-Bytes: é\r\nUpgrade: ",
        1,
    );
    let request = Request::parse(head.as_bytes()).unwrap();
    assert_eq!(request.method(), "GET");
    assert_eq!(request.target(), "/t/a");
    assert_eq!(request.host(), Some("example.com"));
    assert_eq!(request.origin(), Some("http://localhost:3000"));
    assert_eq!(request.authorization(), Some("Bearer a.b.c"));
    assert_eq!(request.header("sec-websocket-VERSION"), Some("13"));
    assert_eq!(request.header("Cookie"), None);
    assert!(!request.is_forwarded());
}

#[test]
fn of_an_absolute_target_the_part_from_the_path_on_is_given() {
    for (target, expected) in [
        ("http://example.com/t/a?b=c", "/t/a?b=c"),
        ("HTTPS://[::1]:9001/", "/"),
        ("http://example.com", ""),
        ("http://example.com?topic=a/b", "?topic=a/b"),
        ("/t/http://example.com/a", "/t/http://example.com/a"),
    ] {
        let head = GOOD.replacen("/t/a", target, 1);
        assert_eq!(Request::parse(head.as_bytes()).unwrap().target(), expected, "{target}");
    }
}

#[test]
fn every_trace_of_a_proxy_is_seen() {
    for name in [
        "Forwarded",
        "forwarded",
        "X-Forwarded-For",
        "x-forwarded-proto",
        "X-FORWARDED-HOST",
        "X-Forwarded-Client-Cert",
        "Via",
        "X-Real-IP",
        "CF-Connecting-IP",
        "True-Client-IP",
    ] {
        let head = GOOD.replacen("Upgrade: ", &format!("{name}: x\r\nUpgrade: "), 1);
        assert!(Request::parse(head.as_bytes()).unwrap().is_forwarded(), "{name}");
    }
    for name in ["X-Forward", "Viaduct", "Forwarded2", "X"] {
        let head = GOOD.replacen("Upgrade: ", &format!("{name}: x\r\nUpgrade: "), 1);
        assert!(!Request::parse(head.as_bytes()).unwrap().is_forwarded(), "{name}");
    }
}

#[test]
fn parse_alone_is_safe_on_heads_that_were_not_scanned() {
    for head in
        [&b""[..], b"GET", b"\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\nbehind", b"\xFF\xFF", b"GET / HTTP/1.1\r\n"]
    {
        assert!(Request::parse(head).is_err(), "{head:?}");
    }
}
