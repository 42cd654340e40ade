//! The upgrade request: finds the end of its head in a growing buffer, then parses the head once.
//!
//! Knows as much of RFC 9112 as a server needs that speaks nothing but the WebSocket upgrade, and is strict about it:
//! line ends are CR LF, lines are not folded, names have no space before the colon, targets are in origin form or
//! absolute form. What two parsers could read in two ways is refused. Must never know what a WebSocket is (that is
//! [`super::handshake`]).

use super::token::tokens;

/// Bounds of a request head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLimits {
    /// The longest head, from the method to the empty line, in bytes.
    pub head_bytes_max: usize,
    /// The most header lines; at most [`HEADERS_CAP`].
    pub headers_max: usize,
}

/// The highest `headers_max` that works.
pub const HEADERS_CAP: usize = 128;

impl Default for RequestLimits {
    /// 16 KiB and 64 headers.
    fn default() -> Self {
        Self { head_bytes_max: 16 * 1024, headers_max: 64 }
    }
}

/// Why a head is refused. [`super::handshake::Refusal`] turns it into a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Not HTTP as this server reads it: 400.
    #[error("bad request: {0}")]
    Malformed(&'static str),
    /// The request line alone is beyond the maximum: 414.
    #[error("request target too long")]
    TargetTooLong,
    /// The head is beyond the maximum: 431.
    #[error("request head too large")]
    HeadTooLarge,
    /// More header lines than the maximum: 431.
    #[error("too many request headers")]
    TooManyHeaders,
    /// Not HTTP/1.1: 505.
    #[error("HTTP version not supported")]
    Version,
}

/// Finds the end of a head, and the faults that one byte and its neighbour show, as the bytes arrive.
///
/// Looks at each byte once, however the head is cut; [`Request::parse`] looks a second time.
#[derive(Clone, Copy, Debug)]
pub struct RequestScanner {
    limits: RequestLimits,
    scanned: usize,
    lines: usize,
    place: Place,
}

/// Where in a line the scanner stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Start,
    Inside,
    /// After the CR that ends a line.
    LineCr,
    /// After the CR that ends the head.
    HeadCr,
}

impl RequestScanner {
    /// At the start of a request.
    pub const fn new(limits: RequestLimits) -> Self {
        Self { limits, scanned: 0, lines: 0, place: Place::Start }
    }

    /// Goes on in `buffer`, which holds all bytes of the connection so far; returns the head's length, with the empty
    /// line, once it is whole. What is behind it is the first frames. To be called no more after that or after an
    /// error.
    ///
    /// # Errors
    /// As soon as the byte at fault is there: a control character, a bare CR or LF, a folded line, or a limit passed.
    pub fn scan(&mut self, buffer: &[u8]) -> Result<Option<usize>, RequestError> {
        while let Some(&byte) = buffer.get(self.scanned) {
            if self.scanned >= self.limits.head_bytes_max {
                return Err(if self.lines == 0 { RequestError::TargetTooLong } else { RequestError::HeadTooLarge });
            }
            self.scanned += 1;
            self.place = match (self.place, byte) {
                (Place::Inside, b'\r') => Place::LineCr,
                (Place::Inside, _) => self.inside(byte)?,
                (Place::LineCr, b'\n') => {
                    self.lines += 1;
                    Place::Start
                }
                (Place::HeadCr, b'\n') => return Ok(Some(self.scanned)),
                (Place::LineCr | Place::HeadCr, _) => return Err(RequestError::Malformed("CR without LF")),
                (Place::Start, b'\r') if self.lines == 0 => return Err(RequestError::Malformed("no request line")),
                (Place::Start, b'\r') => Place::HeadCr,
                (Place::Start, _) => self.start(byte)?,
            };
        }
        Ok(None)
    }

    /// Bytes looked at so far: never more than have arrived.
    pub const fn examined_bytes(&self) -> usize {
        self.scanned
    }

    fn start(&mut self, byte: u8) -> Result<Place, RequestError> {
        if byte == b' ' || byte == b'\t' {
            return Err(RequestError::Malformed("a line begins with a space"));
        }
        // The first line is the request's, so the one that begins now is header number `lines`.
        if self.lines > self.limits.headers_max.min(HEADERS_CAP) {
            return Err(RequestError::TooManyHeaders);
        }
        self.inside(byte)
    }

    fn inside(&self, byte: u8) -> Result<Place, RequestError> {
        match byte {
            b'\n' => Err(RequestError::Malformed("LF without CR")),
            b'\t' | 0x20..=0x7E | 0x80..=0xFF => Ok(Place::Inside),
            _ => Err(RequestError::Malformed("control character")),
        }
    }
}

/// A parsed request head. Borrows the buffer it came in.
#[derive(Debug)]
pub struct Request<'a> {
    method: &'a str,
    target: &'a str,
    headers: Vec<httparse::Header<'a>>,
}

/// Headers that must not come twice, and whose value must be visible ASCII.
const SINGLE: [&str; 6] =
    ["Host", "Origin", "Authorization", "Content-Length", "Sec-WebSocket-Key", "Sec-WebSocket-Version"];

/// Headers behind whose value no tab may stand: RFC 9110 allows it, but another parser (llhttp) reads it as part of the value.
const WITHOUT_TAB: [&str; 3] = ["Content-Length", "Connection", "Upgrade"];

/// Headers that a proxy adds: the peer's address is then not the client's. `X-Forwarded-*` comes on top.
const FORWARDING: [&str; 9] = [
    "Forwarded",
    "Via",
    "X-Real-IP",
    "X-Client-IP",
    "X-Cluster-Client-IP",
    "X-Original-Forwarded-For",
    "CF-Connecting-IP",
    "True-Client-IP",
    "Forwarded-For",
];

impl<'a> Request<'a> {
    /// Parses a whole head: exactly the bytes that [`RequestScanner::scan`] measured (it relies on its checks).
    /// One pass; allocates one list of the headers.
    ///
    /// # Errors
    /// A request line or header that is not as RFC 9112 has it; another version than HTTP/1.1; a target that is in
    /// neither origin form nor absolute form; a header twice that must not be; no or a malformed Host.
    pub fn parse(head: &'a [u8]) -> Result<Self, RequestError> {
        let mut space = [httparse::EMPTY_HEADER; HEADERS_CAP];
        let mut parsed = httparse::Request::new(&mut space);
        match parsed.parse(head) {
            Ok(httparse::Status::Complete(len)) if len == head.len() => {}
            Ok(_) => return Err(RequestError::Malformed("the head ends early or late")),
            Err(error) => return Err(malformed(error, head)),
        }
        let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
            return Err(RequestError::Malformed("request line"));
        };
        if !method.bytes().all(|b| b.is_ascii_uppercase() || b == b'-') {
            return Err(RequestError::Malformed("method"));
        }
        if version != 1 {
            return Err(RequestError::Version);
        }
        let target = match from_path_on(target) {
            Some(target) if target.bytes().all(|b| b.is_ascii_graphic() && b != b'#') => target,
            _ => return Err(RequestError::Malformed("request target: a path that begins with / is wanted")),
        };
        let request = Request { method, target, headers: parsed.headers.to_vec() };
        request.check_singles()?;
        request.check_tabs(head)?;
        match request.host() {
            Some(host) if is_host(host) => Ok(request),
            Some(_) => Err(RequestError::Malformed("malformed Host header")),
            None => Err(RequestError::Malformed("no Host header")),
        }
    }

    fn check_singles(&self) -> Result<(), RequestError> {
        for name in SINGLE {
            let mut lines = self.lines(name);
            if let Some(value) = lines.next()
                && !value.iter().all(|&b| b == b' ' || b.is_ascii_graphic())
            {
                return Err(RequestError::Malformed("a header that matters is not plain ASCII"));
            }
            if lines.next().is_some() {
                return Err(RequestError::Malformed("a header came twice that must not"));
            }
        }
        Ok(())
    }

    fn check_tabs(&self, head: &[u8]) -> Result<(), RequestError> {
        let start = head.as_ptr().addr();
        for header in self.headers.iter().filter(|h| WITHOUT_TAB.iter().any(|name| h.name.eq_ignore_ascii_case(name))) {
            // The value lies in the head, which goes on to the end of its line; an empty one may lie nowhere.
            let end = header.value.as_ptr().addr().wrapping_sub(start).wrapping_add(header.value.len());
            let mut behind = head.get(end..).unwrap_or_default().iter().take_while(|&&b| b != b'\r');
            if header.value.ends_with(b"\t") || behind.any(|&b| b == b'\t') {
                return Err(RequestError::Malformed("a tab behind a header that matters"));
            }
        }
        Ok(())
    }

    /// The method: upper-case letters.
    pub fn method(&self) -> &'a str {
        self.method
    }

    /// The target from its path on, as it came; see [`super::target::Target`]. In absolute form a target may have no path: then this
    /// is empty, or begins with `?`.
    pub fn target(&self) -> &'a str {
        self.target
    }

    /// The values of all header lines of this name, in order, without the white space around them.
    pub fn lines(&self, name: &str) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        self.headers.iter().filter(move |h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value.trim_ascii())
    }

    /// The value of the first header line of this name, if there is one and it is UTF-8.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.lines(name).next().and_then(|value| std::str::from_utf8(value).ok())
    }

    /// The Host header: host and perhaps port.
    pub fn host(&self) -> Option<&'a str> {
        self.header("Host")
    }

    /// The Origin header: who wrote the page that connects, in a browser.
    pub fn origin(&self) -> Option<&'a str> {
        self.header("Origin")
    }

    /// The Authorization header.
    pub fn authorization(&self) -> Option<&'a str> {
        self.header("Authorization")
    }

    /// Whether a proxy has left a trace: then the peer's address says nothing about the client.
    pub fn is_forwarded(&self) -> bool {
        self.headers.iter().any(|h| {
            FORWARDING.iter().any(|name| h.name.eq_ignore_ascii_case(name))
                || h.name.as_bytes().get(..11).is_some_and(|start| start.eq_ignore_ascii_case(b"X-Forwarded"))
        })
    }

    /// Whether a comma-separated header (in one line or several) has this token, in any case.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.lines(name).flat_map(tokens).any(|t| t.eq_ignore_ascii_case(token.as_bytes()))
    }

    /// Whether a body is announced: a Content-Length other than `0`, or any Transfer-Encoding.
    pub fn has_body(&self) -> bool {
        self.lines("Transfer-Encoding").next().is_some() || self.lines("Content-Length").any(|value| value != b"0")
    }
}

/// What counts of a target. Origin form does as it is. Of the absolute form, which a server must take though only proxies are sent
/// it (RFC 9112 section 3.2.2), scheme and authority must be sound and are passed over, as is Host: there is one site here.
fn from_path_on(target: &str) -> Option<&str> {
    if target.starts_with('/') {
        return Some(target);
    }
    let (scheme, rest) = target.split_once("://")?;
    let is_http = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    (is_http && is_host(authority)).then_some(rest)
}

fn malformed(error: httparse::Error, head: &[u8]) -> RequestError {
    match error {
        httparse::Error::Version if names_other_version(head) => RequestError::Version,
        httparse::Error::TooManyHeaders => RequestError::TooManyHeaders,
        httparse::Error::HeaderName => RequestError::Malformed("header name"),
        httparse::Error::HeaderValue => RequestError::Malformed("header value"),
        _ => RequestError::Malformed("request line"),
    }
}

/// Whether the request line ends in a well-formed version that is not 1.1; else it is not HTTP at all.
fn names_other_version(head: &[u8]) -> bool {
    let line = head.split(|&b| b == b'\r').next().unwrap_or_default();
    match line.rsplit(|&b| b == b' ').next() {
        Some(&[b'H', b'T', b'T', b'P', b'/', major, b'.', minor]) => {
            major.is_ascii_digit() && minor.is_ascii_digit() && (major, minor) != (b'1', b'1')
        }
        _ => false,
    }
}

/// `uri-host [":" port]` of RFC 9110 section 7.2, by its characters; never empty, never a list.
fn is_host(host: &str) -> bool {
    let (name, port) = match host.rfind([':', ']']) {
        Some(at) if host.as_bytes()[at] == b':' => (&host[..at], &host[at + 1..]),
        _ => (host, ""),
    };
    let is_name = match name.strip_prefix('[') {
        Some(address) => match address.strip_suffix(']') {
            Some(address) => {
                !address.is_empty() && address.bytes().all(|b| b.is_ascii_hexdigit() || b".:v".contains(&b))
            }
            None => false,
        },
        None => !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~!$&'()*+;=%".contains(&b)),
    };
    is_name && port.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
