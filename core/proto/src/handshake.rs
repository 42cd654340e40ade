//! The WebSocket handshake's server side: checks the upgrade, writes the 101 or the refusal.
//!
//! Knows RFC 6455 section 4.2 and the few HTTP responses that a WebSocket server gives. Must never know which topics,
//! connections or limits there are: who refuses for those reasons picks the [`Refusal`].

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

use super::request::{Request, RequestError};
pub use super::token::{is_token, tokens};

/// The only version of the protocol there is (RFC 6455 section 4.1).
pub const VERSION: &str = "13";

/// RFC 6455 section 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key`: base64 of SHA-1 of the key and a fixed id (RFC 6455 section
/// 4.2.2).
pub fn accept_key(key: &str) -> [u8; 28] {
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    let mut accept = [b'='; 28];
    // 20 bytes make exactly 28 characters, so there is no error to come.
    let written = STANDARD.encode_slice(digest, &mut accept);
    debug_assert!(matches!(written, Ok(28)));
    accept
}

/// An upgrade that RFC 6455 section 4.2.1 has nothing against. Borrows the request.
#[derive(Debug)]
pub struct Upgrade<'r, 'a> {
    request: &'r Request<'a>,
    key: &'a str,
}

impl<'r, 'a> Upgrade<'r, 'a> {
    /// Checks the request: method, body, Upgrade, Connection, version, key, lists, in this order.
    ///
    /// # Errors
    /// The response to give: 405 for another method than GET; 426 without `Upgrade: websocket` or with another version;
    /// else 400.
    pub fn check(request: &'r Request<'a>) -> Result<Self, Refusal> {
        if request.method() != "GET" {
            return Err(Refusal::method_not_allowed(request.method()));
        }
        if request.has_body() {
            return Err(Refusal::bad_request("an upgrade request has no body"));
        }
        if !request.has_token("Upgrade", "websocket") {
            return Err(Refusal::upgrade_required("this is a WebSocket endpoint: connect with ws:// or wss://"));
        }
        if !request.has_token("Connection", "upgrade") {
            return Err(Refusal::bad_request("no Connection: Upgrade header (a proxy may have dropped it)"));
        }
        match request.header("Sec-WebSocket-Version") {
            Some(VERSION) => {}
            Some(_) => return Err(Refusal::upgrade_required("Sec-WebSocket-Version must be 13")),
            None => return Err(Refusal::bad_request("no Sec-WebSocket-Version header")),
        }
        let Some(key) = request.header("Sec-WebSocket-Key") else {
            return Err(Refusal::bad_request("no Sec-WebSocket-Key header"));
        };
        if !is_key(key) {
            return Err(Refusal::bad_request("Sec-WebSocket-Key is not base64 of 16 bytes"));
        }
        let mut protocols = request.lines("Sec-WebSocket-Protocol").flat_map(tokens);
        if !protocols.all(is_token) {
            return Err(Refusal::bad_request("malformed Sec-WebSocket-Protocol header"));
        }
        Ok(Self { request, key })
    }

    /// The client's key: 24 characters of base64.
    pub fn key(&self) -> &'a str {
        self.key
    }

    /// The subprotocols the client offers, in its order.
    pub fn protocols(&self) -> impl Iterator<Item = &'a str> {
        let lists = self.request.lines("Sec-WebSocket-Protocol").flat_map(tokens);
        // Tokens are ASCII: `check` saw to it.
        lists.filter_map(|token| std::str::from_utf8(token).ok())
    }

    /// The first of the client's subprotocols that is among `supported` (names are case-sensitive).
    pub fn select_protocol<'s>(&self, supported: &[&'s str]) -> Option<&'s str> {
        self.protocols().find_map(|offered| supported.iter().copied().find(|s| *s == offered))
    }

    /// The values of the `Sec-WebSocket-Extensions` lines, as they came.
    pub fn extensions(&self) -> impl Iterator<Item = &'a [u8]> {
        self.request.lines("Sec-WebSocket-Extensions")
    }

    /// Appends the 101 response (RFC 6455 section 4.2.2). `protocol` and `extensions` are what the server chose, as
    /// they are to stand in their headers.
    pub fn write_response(&self, out: &mut Vec<u8>, protocol: Option<&str>, extensions: Option<&str>) {
        out.extend_from_slice(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
        );
        out.extend_from_slice(&accept_key(self.key));
        out.extend_from_slice(b"\r\n");
        if let Some(protocol) = protocol {
            write_header(out, "Sec-WebSocket-Protocol", protocol);
        }
        if let Some(extensions) = extensions {
            write_header(out, "Sec-WebSocket-Extensions", extensions);
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// A complete HTTP response in place of the 101, after which the connection is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status, such as 404.
    pub status: u16,
    /// The status in words, such as `Not Found`.
    pub reason: &'static str,
    /// Headers beyond Content-Type, Content-Length and Connection.
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
    /// One line that tells a person what to do. Never anything out of the request.
    pub body: Cow<'static, str>,
}

impl Refusal {
    fn new(status: u16, reason: &'static str, body: impl Into<Cow<'static, str>>) -> Self {
        Self { status, reason, headers: Vec::new(), body: body.into() }
    }

    fn with(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// 400: the request is malformed.
    pub fn bad_request(why: &'static str) -> Self {
        Self::new(400, "Bad Request", why)
    }

    /// 401 with `WWW-Authenticate: Bearer`: credentials are missing or wrong.
    pub fn unauthorized(why: &'static str) -> Self {
        Self::new(401, "Unauthorized", why).with("WWW-Authenticate", "Bearer")
    }

    /// 403: this client may not, such as an origin that is not on the list.
    pub fn forbidden(why: &'static str) -> Self {
        Self::new(403, "Forbidden", why)
    }

    /// 404: nothing is served at this path.
    pub fn not_found(why: &'static str) -> Self {
        Self::new(404, "Not Found", why)
    }

    /// 405 with `Allow: GET`. A HEAD request gets no body.
    pub fn method_not_allowed(method: &str) -> Self {
        let body = if method == "HEAD" { "" } else { "only GET, to upgrade to WebSocket" };
        Self::new(405, "Method Not Allowed", body).with("Allow", "GET")
    }

    /// 408: the request did not arrive in time.
    pub fn timeout() -> Self {
        Self::new(408, "Request Timeout", "the upgrade request did not arrive in time")
    }

    /// 426 with the Upgrade header and the version: the request is not a WebSocket upgrade, or one of another version.
    pub fn upgrade_required(why: &'static str) -> Self {
        Self::new(426, "Upgrade Required", why).with("Upgrade", "websocket").with("Sec-WebSocket-Version", VERSION)
    }

    /// 429 with Retry-After (RFC 6585 section 4): this address has all that it may have.
    pub fn too_many(why: &'static str, retry_after_s: u32) -> Self {
        Self::new(429, "Too Many Requests", why).with("Retry-After", retry_after_s.to_string())
    }

    /// 503 with Retry-After: no room now.
    pub fn unavailable(why: &'static str, retry_after_s: u32) -> Self {
        Self::new(503, "Service Unavailable", why).with("Retry-After", retry_after_s.to_string())
    }

    /// Appends the whole response.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(self.status.to_string().as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.reason.as_bytes());
        out.extend_from_slice(b"\r\n");
        // RFC 9110 section 7.8: who sends Upgrade sends the connection option too.
        let upgrades = self.headers.iter().any(|(name, _)| *name == "Upgrade");
        write_header(out, "Connection", if upgrades { "close, Upgrade" } else { "close" });
        for (name, value) in &self.headers {
            write_header(out, name, value);
        }
        let line_end = if self.body.is_empty() { "" } else { "\n" };
        write_header(out, "Content-Type", "text/plain; charset=utf-8");
        write_header(out, "Content-Length", &(self.body.len() + line_end.len()).to_string());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(self.body.as_bytes());
        out.extend_from_slice(line_end.as_bytes());
    }

    /// The whole response as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        self.write(&mut out);
        out
    }
}

impl From<RequestError> for Refusal {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Malformed(why) => Self::bad_request(why),
            RequestError::TargetTooLong => Self::new(414, "URI Too Long", "the request line is too long"),
            RequestError::HeadTooLarge => {
                Self::new(431, "Request Header Fields Too Large", "the request head is too large")
            }
            RequestError::TooManyHeaders => Self::new(431, "Request Header Fields Too Large", "too many headers"),
            RequestError::Version => Self::new(505, "HTTP Version Not Supported", "this server speaks HTTP/1.1"),
        }
    }
}

/// Base64 of 16 bytes: 22 characters and `==`. Lenient about the unused bits of the last character.
fn is_key(key: &str) -> bool {
    let is_digit = |b: u8| b.is_ascii_alphanumeric() || b == b'+' || b == b'/';
    key.strip_suffix("==").is_some_and(|digits| digits.len() == 22 && digits.bytes().all(is_digit))
}

fn write_header(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
#[path = "handshake_tests.rs"]
mod tests;
