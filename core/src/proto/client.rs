//! The client half: upgrade request, response, masked frames. For tools and tests.
//!
//! Knows RFC 6455 section 4.1 and 5.3. Frames from the server are read by a [`super::decoder::Decoder`] in the role of
//! a client. Randomness is an argument: who calls picks keys. Must never know a socket.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::handshake::{VERSION, accept_key, is_token, tokens};
use super::header::{HEADER_BYTES_MAX, Header, Opcode};
use super::mask;
use super::request::{HEADERS_CAP, RequestError, RequestLimits, RequestScanner};

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
            scanner: RequestScanner::new(RequestLimits {
                headers_max: HEADERS_CAP,
                ..RequestLimits::default()
            }),
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
        if !self
            .headers
            .iter()
            .all(|(name, value)| is_token(name.as_bytes()) && is_value(value))
        {
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
            return Err(ResponseError::Refused {
                status,
                reason,
                head_bytes,
            });
        }
        let lines = |name: &'static str| {
            parsed
                .headers
                .iter()
                .filter(move |h| h.name.eq_ignore_ascii_case(name))
                .map(|h| h.value.trim_ascii())
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
        let text = |name| {
            lines(name)
                .next()
                .map(|value| String::from_utf8_lossy(value).into_owned())
        };
        let protocol = text("Sec-WebSocket-Protocol");
        if protocol.as_ref().is_some_and(|p| !self.protocols.contains(p)) {
            return Err(ResponseError::Handshake("a subprotocol that was not offered"));
        }
        Ok(Some(Response {
            head_bytes,
            protocol,
            extensions: text("Sec-WebSocket-Extensions"),
        }))
    }
}

/// Appends one masked frame (RFC 6455 section 5.3). Writes what it is told, also frames that break the rules: tests
/// need those.
pub fn encode_frame(out: &mut Vec<u8>, opcode: Opcode, fin: bool, rsv1: bool, mask_key: [u8; 4], payload: &[u8]) {
    let mut header = [0; HEADER_BYTES_MAX];
    let header_len = Header {
        fin,
        rsv1,
        opcode,
        mask: Some(mask_key),
        payload_bytes: payload.len() as u64,
    }
    .encode(&mut header);
    out.reserve(header_len + payload.len());
    out.extend_from_slice(&header[..header_len]);
    let start = out.len();
    out.extend_from_slice(payload);
    mask::apply(&mut out[start..], mask_key);
}
