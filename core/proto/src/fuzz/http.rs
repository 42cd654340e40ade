//! The upgrade request: the scanner cut anywhere, the parser against a plain reading of RFC 9112, what becomes of the target, and
//! the responses to what is refused.

use super::input::{Cuts, Input};
use crate::handshake::{Refusal, Upgrade, is_token};
use crate::request::{HEADERS_CAP, Request, RequestError, RequestLimits, RequestScanner};
use crate::target::{Endpoint, TOPICS_MAX, Target};

const HEAD_MAXIMA: [usize; 6] = [16 * 1024, 0, 1, 64, 200, 1024];
const HEADERS_MAXIMA: [usize; 6] = [64, 0, 1, 4, HEADERS_CAP, usize::MAX];

/// Headers behind whose value no tab is taken. (Where there is no value at all, it is no matter.)
const WITHOUT_TAB: [&str; 3] = ["content-length", "connection", "upgrade"];

/// One byte each: longest head, most headers, the cuts. Then a client's bytes.
pub fn http(data: &[u8]) {
    let mut input = Input::new(data);
    let limits = RequestLimits { head_bytes_max: input.pick(&HEAD_MAXIMA), headers_max: input.pick(&HEADERS_MAXIMA) };
    let cuts = input.byte();
    let wire = input.rest();

    let scanned = scan(wire, limits, Cuts::none());
    assert_eq!(scanned, scan(wire, limits, Cuts::new(cuts)), "the cuts matter");
    let plain = read_plainly(wire, limits);
    let parsed = match scanned {
        Ok(None) => {
            assert!(find(wire, b"\r\n\r\n").is_none(), "the head's end is overlooked");
            return;
        }
        Ok(Some(len)) => {
            assert_eq!(find(wire, b"\r\n\r\n"), Some(len - 4), "the head ends elsewhere");
            Request::parse(&wire[..len])
        }
        Err(error) => Err(error),
    };
    let request = match parsed {
        Ok(request) => request,
        Err(error) => {
            assert!(
                plain.is_none_or(|plain| !plain.is_simple()),
                "refused, though nothing is wrong with it: {error}: {:?}",
                String::from_utf8_lossy(wire)
            );
            return check_refusal(&Refusal::from(error));
        }
    };
    let plain = plain.unwrap_or_else(|| panic!("taken, but not HTTP/1.1: {:?}", String::from_utf8_lossy(wire)));
    assert_eq!((request.method(), request.target()), (plain.method, plain.target));
    for (name, _) in &plain.headers {
        let expected = plain.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| *value);
        assert!(request.lines(name).eq(expected), "other values of {name}");
    }
    assert_eq!(request.host().map(str::as_bytes), plain.value("host"));
    check_written_again(&request, &plain);
    check_target(request.target());
    match Upgrade::check(&request) {
        Ok(upgrade) => check_upgrade(&upgrade, &plain),
        Err(refusal) => check_refusal(&refusal),
    }
}

/// The scanner over a growing buffer. It is not asked again once it has answered.
fn scan(wire: &[u8], limits: RequestLimits, cuts: Cuts) -> Result<Option<usize>, RequestError> {
    let mut scanner = RequestScanner::new(limits);
    let mut end = 0;
    for piece in cuts.of(wire) {
        end += piece.len();
        let scanned = scanner.scan(&wire[..end])?;
        assert!(scanner.examined_bytes() <= end);
        if let Some(len) = scanned {
            assert!(len <= end && len <= limits.head_bytes_max && len == scanner.examined_bytes());
            return Ok(scanned);
        }
        assert_eq!(scanner.examined_bytes(), end, "what has arrived is not looked at");
    }
    Ok(None)
}

/// A head, taken apart.
struct Plain<'a> {
    method: &'a str,
    target: &'a str,
    /// Values without the white space around them.
    headers: Vec<(&'a str, &'a [u8])>,
}

impl<'a> Plain<'a> {
    fn value(&self, name: &str) -> Option<&'a [u8]> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }

    /// Whether the Host header is beyond doubt, too: a name or address, perhaps a port.
    fn is_simple(&self) -> bool {
        let Some(host) = self.value("host") else { return false };
        if WITHOUT_TAB.iter().any(|name| self.headers.iter().any(|(n, v)| n.eq_ignore_ascii_case(name) && v.is_empty()))
        {
            return false;
        }
        let mut parts = host.split(|&b| b == b':');
        let name = parts.next().unwrap_or_default();
        let port = parts.next();
        !name.is_empty()
            && name.iter().all(|&b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-')
            && port.is_none_or(|port| !port.is_empty() && port.iter().all(u8::is_ascii_digit))
            && parts.next().is_none()
    }
}

/// A head that no parser reads in two ways; `None` for everything else, incomplete heads included.
fn read_plainly(wire: &[u8], limits: RequestLimits) -> Option<Plain<'_>> {
    let end = find(wire, b"\r\n\r\n")?;
    if end + 4 > limits.head_bytes_max {
        return None;
    }
    let head = &wire[..end];
    let mut lines = Vec::new();
    let mut rest = head;
    while let Some(at) = find(rest, b"\r\n") {
        lines.push(&rest[..at]);
        rest = &rest[at + 2..];
    }
    lines.push(rest);
    if !lines.iter().all(|line| line.iter().all(|&b| matches!(b, b'\t' | 0x20..=0x7E | 0x80..=0xFF))) {
        return None;
    }
    let (request_line, headers) = lines.split_first()?;
    if headers.len() > limits.headers_max.min(HEADERS_CAP) {
        return None;
    }
    let request_line = std::str::from_utf8(request_line).ok()?;
    let parts: Vec<&str> = request_line.split(' ').collect();
    let [method, target, "HTTP/1.1"] = parts[..] else { return None };
    let is_method = !method.is_empty() && method.bytes().all(|b| b.is_ascii_uppercase() || b == b'-');
    let is_target = target.starts_with('/') && target.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
    if !is_method || !is_target {
        return None;
    }
    let headers = headers.iter().map(|line| {
        let colon = line.iter().position(|&b| b == b':')?;
        let name = std::str::from_utf8(&line[..colon]).ok().filter(|name| is_token(name.as_bytes()))?;
        let is_space = |b: &u8| *b == b' ' || *b == b'\t';
        let mut value = &line[colon + 1..];
        let is_without_tab = WITHOUT_TAB.iter().any(|without| without.eq_ignore_ascii_case(name));
        if is_without_tab
            && !value.iter().all(is_space)
            && value.iter().rev().take_while(|b| is_space(b)).any(|&b| b == b'\t')
        {
            return None;
        }
        while let Some((_, rest)) = value.split_first().filter(|(first, _)| is_space(first)) {
            value = rest;
        }
        while let Some((_, rest)) = value.split_last().filter(|(last, _)| is_space(last)) {
            value = rest;
        }
        Some((name, value))
    });
    let plain = Plain { method, target, headers: headers.collect::<Option<_>>()? };
    for name in ["host", "origin", "authorization", "content-length", "sec-websocket-key", "sec-websocket-version"] {
        let mut values = plain.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        let is_plain = |value: &&[u8]| value.iter().all(|&b| (0x20..=0x7E).contains(&b));
        if values.next().is_some_and(|value| !is_plain(value)) || values.next().is_some() {
            return None;
        }
    }
    let host = plain.value("host")?;
    let is_host = !host.is_empty() && !host.iter().any(|b| b" ,/?#@\\\"<>^`{|}".contains(b));
    is_host.then_some(plain)
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// What was understood, written down in the plainest way, is understood as the same.
fn check_written_again(request: &Request<'_>, plain: &Plain<'_>) {
    let mut head = format!("{} {} HTTP/1.1\r\n", plain.method, plain.target).into_bytes();
    for (name, value) in &plain.headers {
        head.extend_from_slice(name.as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value);
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    let again = Request::parse(&head).unwrap_or_else(|error| panic!("{error}: {:?}", String::from_utf8_lossy(&head)));
    assert_eq!((again.method(), again.target()), (request.method(), request.target()));
    for (name, _) in &plain.headers {
        assert!(again.lines(name).eq(request.lines(name)), "other values of {name}");
    }
    assert_eq!((again.has_body(), again.is_forwarded()), (request.has_body(), request.is_forwarded()));
}

fn check_target(text: &str) {
    let Ok(target) = Target::parse(text) else { return };
    assert!(target.topics.len() <= TOPICS_MAX);
    assert!(target.topics.iter().all(|topic| !topic.is_empty()), "an empty topic");
    assert_eq!(target.endpoint == Endpoint::Topic, target.path.starts_with("/t/"));
    assert!(text.starts_with(target.path) && text.ends_with(target.query));
    let _ = target.parameter("token");
    // Encoded in full, the topics come back; so they do as parameters.
    let encoded = |topic: &str| topic.bytes().map(|b| format!("%{b:02X}")).collect::<String>();
    let mut again = String::from("/");
    for (n, topic) in target.topics.iter().enumerate() {
        again.push_str(if n == 0 { "?topic=" } else { "&topic=" });
        again.push_str(&encoded(topic));
    }
    if !target.echo {
        again.push_str(if target.topics.is_empty() { "?echo=0" } else { "&echo=0" });
    }
    let again = Target::parse(&again).unwrap_or_else(|error| panic!("{error}: {again}"));
    assert_eq!((&again.topics, again.echo, again.endpoint), (&target.topics, target.echo, Endpoint::Root));
}

/// RFC 6455 section 4.2.1, by the headers' own words.
fn check_upgrade(upgrade: &Upgrade<'_, '_>, plain: &Plain<'_>) {
    let has = |name: &str, token: &str| {
        plain.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).any(|(_, value)| {
            value.split(|&b| b == b',').any(|t| t.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
        })
    };
    assert_eq!(plain.method, "GET");
    assert!(has("upgrade", "websocket") && has("connection", "upgrade"));
    assert_eq!(plain.value("sec-websocket-version"), Some(&b"13"[..]));
    assert!(plain.value("transfer-encoding").is_none() && plain.value("content-length").is_none_or(|v| v == b"0"));
    assert_eq!(plain.value("sec-websocket-key"), Some(upgrade.key().as_bytes()));
    assert!(upgrade.key().len() == 24 && upgrade.key().ends_with("=="));
    let mut response = Vec::new();
    upgrade.write_response(&mut response, None, None);
    let mut space = [httparse::EMPTY_HEADER; 8];
    let mut parsed = httparse::Response::new(&mut space);
    assert_eq!(parsed.parse(&response), Ok(httparse::Status::Complete(response.len())));
    assert_eq!((parsed.code, parsed.headers.len()), (Some(101), 3));
}

/// A whole response that ends the connection, of the length that it says.
pub(super) fn check_refusal(refusal: &Refusal) {
    let response = refusal.to_bytes();
    let mut space = [httparse::EMPTY_HEADER; 16];
    let mut parsed = httparse::Response::new(&mut space);
    let Ok(httparse::Status::Complete(len)) = parsed.parse(&response) else { panic!("{refusal:?}") };
    assert_eq!(parsed.code, Some(refusal.status));
    assert!((400..600).contains(&refusal.status));
    let value = |name: &str| parsed.headers.iter().find(|h| h.name == name).map(|h| h.value);
    assert_eq!(value("Content-Length"), Some((response.len() - len).to_string().as_bytes()));
    assert!(value("Connection").is_some_and(|value| value.starts_with(b"close")));
}
