//! The client half: upgrade request, response, masked frames. For tools and tests.
//!
//! Knows RFC 6455 section 4.1 and 5.3. Frames from the server are read by a [`super::decoder::Decoder`] in the role of
//! a client. Randomness is an argument: who calls picks keys. Must never know a socket.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::handshake::{VERSION, accept_key};
use super::header::{HEADER_BYTES_MAX, Header, Opcode};
use super::mask;
use super::request::{HEADERS_CAP, RequestError, RequestLimits, RequestScanner};
use super::token::{is_token, tokens};

/// An upgrade request to be written.
#[derive(Clone, Copy, Debug)]
pub struct UpgradeRequest<'a> {
    /// Host, and port if it is not the default, as in the URL.
    pub host: &'a str,
    /// Path and query, encoded; begins with `/`.
    pub target: &'a str,
    /// 16 random bytes.
    pub key: [u8; 16],
    /// Subprotocols to offer, the dearest first.
    pub protocols: &'a [&'a str],
    /// Further headers, such as Origin or Authorization.
    pub headers: &'a [(&'a str, &'a str)],
}

/// A part of an [`UpgradeRequest`] would break the request apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} cannot stand in an upgrade request")]
pub struct InvalidPart(&'static str);

/// Why there is no WebSocket after the server's response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// Not HTTP/1.1, or the head is beyond 16 KiB or 128 headers.
    #[error("the server's response is not HTTP/1.1: {0}")]
    Malformed(RequestError),
    /// The server refuses.
    #[error("the server refused with {status} {reason}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The status in words.
        reason: String,
        /// Where the response's body begins in the buffer.
        head_bytes: usize,
    },
    /// 101, but not as RFC 6455 section 4.1 demands.
    #[error("the server's handshake is wrong: {0}")]
    Handshake(&'static str),
}

/// The server's 101.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Length of the head; what is behind it in the buffer is the first frames.
    pub head_bytes: usize,
    /// The subprotocol that the server chose: one of those offered.
    pub protocol: Option<String>,
    /// The `Sec-WebSocket-Extensions` header, if any: to be checked by the caller, who offered extensions.
    pub extensions: Option<String>,
}

impl<'a> UpgradeRequest<'a> {
    /// Appends the request and returns what will check the response.
    ///
    /// # Errors
    /// When a part holds a character that does not belong there, such as a line end.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<Connecting, InvalidPart> {
        self.check()?;
        let key = STANDARD.encode(self.key);
        let mut line = |parts: &[&str]| {
            parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
            out.extend_from_slice(b"\r\n");
        };
        line(&["GET ", self.target, " HTTP/1.1"]);
        line(&["Host: ", self.host]);
        line(&["Upgrade: websocket"]);
        line(&["Connection: Upgrade"]);
        line(&["Sec-WebSocket-Key: ", &key]);
        line(&["Sec-WebSocket-Version: ", VERSION]);
        if !self.protocols.is_empty() {
            line(&["Sec-WebSocket-Protocol: ", &self.protocols.join(", ")]);
        }
        for (name, value) in self.headers {
            line(&[name, ": ", value]);
        }
        line(&[]);
        Ok(Connecting {
            accept: accept_key(&key),
            protocols: self.protocols.iter().map(|p| (*p).to_owned()).collect(),
            scanner: RequestScanner::new(RequestLimits { headers_max: HEADERS_CAP, ..RequestLimits::default() }),
        })
    }

    fn check(&self) -> Result<(), InvalidPart> {
        let is_visible = |text: &str| text.bytes().all(|b| b.is_ascii_graphic());
        let is_value = |text: &str| text.bytes().all(|b| matches!(b, b'\t' | 0x20..=0x7E | 0x80..=0xFF));
        if self.host.is_empty() || !is_visible(self.host) {
            return Err(InvalidPart("the host"));
        }
        if !self.target.starts_with('/') || !is_visible(self.target) {
            return Err(InvalidPart("the path"));
        }
        if !self.protocols.iter().all(|p| is_token(p.as_bytes())) {
            return Err(InvalidPart("a subprotocol"));
        }
        if !self.headers.iter().all(|(name, value)| is_token(name.as_bytes()) && is_value(value)) {
            return Err(InvalidPart("a header"));
        }
        Ok(())
    }
}

/// A client that waits for the server's response.
#[derive(Clone, Debug)]
pub struct Connecting {
    accept: [u8; 28],
    protocols: Vec<String>,
    scanner: RequestScanner,
}

impl Connecting {
    /// Looks for the response in `buffer`, which holds all that the server has sent; `None` while it is not whole.
    ///
    /// # Errors
    /// The server refused, or did not answer as RFC 6455 section 4.1 demands.
    pub fn response(&mut self, buffer: &[u8]) -> Result<Option<Response>, ResponseError> {
        let Some(head_bytes) = self.scanner.scan(buffer).map_err(ResponseError::Malformed)? else {
            return Ok(None);
        };
        let mut space = [httparse::EMPTY_HEADER; HEADERS_CAP];
        let mut parsed = httparse::Response::new(&mut space);
        let malformed = ResponseError::Malformed(RequestError::Malformed("status line or header"));
        let (Ok(httparse::Status::Complete(_)), Some(1), Some(status)) =
            (parsed.parse(&buffer[..head_bytes]), parsed.version, parsed.code)
        else {
            return Err(malformed);
        };
        if status != 101 {
            let reason = parsed.reason.unwrap_or_default().to_owned();
            return Err(ResponseError::Refused { status, reason, head_bytes });
        }
        let lines = |name: &'static str| {
            parsed.headers.iter().filter(move |h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value.trim_ascii())
        };
        let has_token = |name, token: &[u8]| lines(name).flat_map(tokens).any(|t| t.eq_ignore_ascii_case(token));
        if !has_token("Upgrade", b"websocket") {
            return Err(ResponseError::Handshake("no Upgrade: websocket"));
        }
        if !has_token("Connection", b"upgrade") {
            return Err(ResponseError::Handshake("no Connection: Upgrade"));
        }
        if !lines("Sec-WebSocket-Accept").eq([&self.accept[..]]) {
            return Err(ResponseError::Handshake("Sec-WebSocket-Accept does not fit the key"));
        }
        let text = |name| lines(name).next().map(|value| String::from_utf8_lossy(value).into_owned());
        let protocol = text("Sec-WebSocket-Protocol");
        if protocol.as_ref().is_some_and(|p| !self.protocols.contains(p)) {
            return Err(ResponseError::Handshake("a subprotocol that was not offered"));
        }
        Ok(Some(Response { head_bytes, protocol, extensions: text("Sec-WebSocket-Extensions") }))
    }
}

/// Appends one masked frame (RFC 6455 section 5.3). Writes what it is told, also frames that break the rules: tests
/// need those.
pub fn encode_frame(out: &mut Vec<u8>, opcode: Opcode, fin: bool, rsv1: bool, mask_key: [u8; 4], payload: &[u8]) {
    let mut header = [0; HEADER_BYTES_MAX];
    let header_len =
        Header { fin, rsv1, opcode, mask: Some(mask_key), payload_bytes: payload.len() as u64 }.encode(&mut header);
    out.reserve(header_len + payload.len());
    out.extend_from_slice(&header[..header_len]);
    let start = out.len();
    out.extend_from_slice(payload);
    mask::apply(&mut out[start..], mask_key);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handshake::{Refusal, Upgrade};
    use crate::request::Request;

    const REQUEST: UpgradeRequest<'_> = UpgradeRequest {
        host: "localhost:9001",
        target: "/t/a?topic=b",
        key: *b"the sample nonce",
        protocols: &["fanwire.json.v1", "other"],
        headers: &[("Origin", "http://localhost"), ("X-Name", "€")],
    };

    fn connecting() -> Connecting {
        REQUEST.write(&mut Vec::new()).unwrap()
    }

    fn good_response() -> String {
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
            .to_owned()
    }

    #[test]
    fn the_request_is_what_our_own_server_and_tungstenite_accept() {
        let mut bytes = Vec::new();
        let mut connecting = REQUEST.write(&mut bytes).unwrap();
        let request = Request::parse(&bytes).unwrap();
        assert_eq!((request.target(), request.host()), ("/t/a?topic=b", Some("localhost:9001")));
        assert_eq!(request.header("X-Name"), Some("€"));
        let upgrade = Upgrade::check(&request).unwrap();
        let mut response = Vec::new();
        upgrade.write_response(&mut response, upgrade.select_protocol(&["other"]), Some("x"));
        let head_bytes = response.len();
        response.extend_from_slice(b"\x81\x00");
        let expected = Response { head_bytes, protocol: Some("other".to_owned()), extensions: Some("x".to_owned()) };
        assert_eq!(connecting.response(&response), Ok(Some(expected)));

        let mut stream = Duplex { input: std::io::Cursor::new(bytes), output: Vec::new() };
        assert!(tungstenite::accept(&mut stream).is_ok());
        let response = self::connecting().response(&stream.output).unwrap().unwrap();
        assert_eq!(response.head_bytes, stream.output.len());
    }

    struct Duplex {
        input: std::io::Cursor<Vec<u8>>,
        output: Vec<u8>,
    }

    impl std::io::Read for Duplex {
        fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
            self.input.read(buf)
        }
    }

    impl std::io::Write for Duplex {
        fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
            self.output.write(buf)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_response_may_arrive_byte_by_byte() {
        let response = good_response();
        let mut connecting = connecting();
        for len in 0..response.len() {
            assert_eq!(connecting.response(&response.as_bytes()[..len]), Ok(None));
        }
        let whole = connecting.response(response.as_bytes()).unwrap().unwrap();
        assert_eq!(whole, Response { head_bytes: response.len(), protocol: None, extensions: None });
    }

    #[test]
    fn wrong_responses_are_told_apart() {
        let handshake = |from: &str, to: &str| {
            let response = good_response().replacen(from, to, 1);
            assert_ne!(response, good_response());
            connecting().response(response.as_bytes())
        };
        let is_handshake = |result| matches!(result, Err(ResponseError::Handshake(_)));
        assert!(is_handshake(handshake("xOo=", "xOo")));
        assert!(is_handshake(handshake("s3pP", "S3pP")));
        assert!(is_handshake(handshake("Upgrade: websocket\r\n", "")));
        assert!(is_handshake(handshake("Connection: Upgrade\r\n", "")));
        assert!(is_handshake(handshake("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", "")));
        assert!(is_handshake(handshake("\r\n\r\n", "\r\nSec-WebSocket-Protocol: unasked\r\n\r\n")));
        assert!(handshake("websocket", "WebSocket").is_ok());
        assert!(matches!(handshake("HTTP/1.1", "HTTP/1.0"), Err(ResponseError::Malformed(_))));
        assert!(matches!(handshake("HTTP/1.1 101", "HTTP/1.1 1x1"), Err(ResponseError::Malformed(_))));
        assert!(matches!(handshake("HTTP", "\0"), Err(ResponseError::Malformed(_))));

        let refusal = Refusal::unavailable("full", 1).to_bytes();
        let Err(ResponseError::Refused { status: 503, reason, head_bytes }) = connecting().response(&refusal) else {
            panic!("not refused")
        };
        assert_eq!((&reason[..], &refusal[head_bytes..]), ("Service Unavailable", &b"full\n"[..]));
    }

    #[test]
    fn parts_that_would_break_the_request_apart_are_refused() {
        for request in [
            UpgradeRequest { host: "a\r\nX: b", ..REQUEST },
            UpgradeRequest { host: "", ..REQUEST },
            UpgradeRequest { target: "/a b", ..REQUEST },
            UpgradeRequest { target: "a", ..REQUEST },
            UpgradeRequest { target: "/é", ..REQUEST },
            UpgradeRequest { protocols: &["a b"], ..REQUEST },
            UpgradeRequest { protocols: &[""], ..REQUEST },
            UpgradeRequest { headers: &[("X:", "a")], ..REQUEST },
            UpgradeRequest { headers: &[("X", "a\nb")], ..REQUEST },
        ] {
            let mut out = Vec::new();
            assert!(request.write(&mut out).is_err(), "{request:?}");
            assert_eq!(out, b"", "nothing was written");
        }
    }

    #[test]
    fn frames_are_masked_as_in_the_rfc() {
        let mut out = b"before".to_vec();
        encode_frame(&mut out, Opcode::Text, true, false, [0x37, 0xfa, 0x21, 0x3d], b"Hello");
        assert_eq!(out, b"before\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
        let mut out = Vec::new();
        encode_frame(&mut out, Opcode::Binary, false, true, [0; 4], &[1; 70_000]);
        assert_eq!(out[..10], [0x42, 0xFF, 0, 0, 0, 0, 0, 1, 0x11, 0x70]);
        assert_eq!(out.len(), 14 + 70_000);
    }
}
