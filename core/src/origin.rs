//! Origins of web pages in one normal form (RFC 6454 section 4), so that one in a list and one in a request compare as browsers
//! mean them.
//!
//! Knows how browsers write an origin. Must never know who may connect.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Longest host name of the domain name system.
const HOST_BYTES_MAX: usize = 253;
/// Schemes with a port of their own, which is left out.
const DEFAULT_PORTS: [(&str, u16); 5] = [("http", 80), ("https", 443), ("ws", 80), ("wss", 443), ("ftp", 21)];

/// Why a text is no origin, or one that no page has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// No `scheme://` in front.
    #[error("an origin begins with a scheme: write https://HOST or http://HOST:PORT")]
    Scheme,
    /// A scheme that connections have, and no page.
    #[error("a page's origin is never ws:// or wss://: write http:// or https://, as the page itself is served")]
    Socket,
    /// Something behind host and port.
    #[error("an origin ends with its host or port: leave out the slash and what follows it")]
    Path,
    /// A name or a password.
    #[error("an origin has no user name")]
    User,
    /// A wildcard.
    #[error("there are no wildcards: list each origin, or allow any by listing none")]
    Wildcard,
    /// A host name with other letters than ASCII's.
    #[error("browsers send such a name in punycode: write it as xn--…")]
    NotAscii,
    /// No host name and no address.
    #[error("not a host name, IPv4 address or [IPv6 address]")]
    Host,
    /// No port from 1 to 65535.
    #[error("a port is a number from 1 to 65535")]
    Port,
}

/// The normal form of an origin that is to be allowed: scheme and host in lower case, addresses in their shortest form, a port only
/// if it is not the scheme's own. `null` stands for itself: pages without an origin, such as sandboxed frames.
///
/// # Errors
/// What matches no page whatever it sends.
pub fn allowed(text: &str) -> Result<String, OriginError> {
    let origin = normal(text)?;
    match origin.starts_with("ws://") || origin.starts_with("wss://") {
        true => Err(OriginError::Socket),
        false => Ok(origin),
    }
}

/// Whether a request's origin is one of those allowed, which are in normal form.
pub fn is_allowed(origin: &str, allowed: &[String]) -> bool {
    normal(origin).is_ok_and(|origin| allowed.contains(&origin))
}

/// Whether a request's origin is that of the host that it was sent to, as browsers write both: a port only if it is not the scheme's
/// own.
pub fn is_of_host(origin: &str, host: &str) -> bool {
    !host.is_empty() && origin.split_once("://").is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host))
}

fn normal(text: &str) -> Result<String, OriginError> {
    // A local file has no host.
    if text == "null" || text.eq_ignore_ascii_case("file://") {
        return Ok(text.to_ascii_lowercase());
    }
    if text.contains('*') {
        return Err(OriginError::Wildcard);
    }
    let (scheme, rest) = text.split_once("://").ok_or(OriginError::Scheme)?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    if !is_scheme {
        return Err(OriginError::Scheme);
    }
    if rest.contains(['/', '?', '#', '\\']) {
        return Err(OriginError::Path);
    }
    if rest.contains('@') {
        return Err(OriginError::User);
    }
    let scheme = scheme.to_ascii_lowercase();
    let (host, port) = split_port(rest);
    let host = normal_host(host)?;
    match port.map(number).transpose()? {
        Some(port) if !DEFAULT_PORTS.contains(&(scheme.as_str(), port)) => Ok(format!("{scheme}://{host}:{port}")),
        _ => Ok(format!("{scheme}://{host}")),
    }
}

/// The host, and what stands behind the last colon that is not part of an address in brackets.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rfind([':', ']']) {
        Some(at) if authority.as_bytes()[at] == b':' => (&authority[..at], Some(&authority[at + 1..])),
        _ => (authority, None),
    }
}

fn number(port: &str) -> Result<u16, OriginError> {
    let is_number = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let number = if is_number { port.parse().unwrap_or(0) } else { 0 };
    if number == 0 { Err(OriginError::Port) } else { Ok(number) }
}

fn normal_host(host: &str) -> Result<String, OriginError> {
    if !host.is_ascii() {
        return Err(OriginError::NotAscii);
    }
    if let Some(address) = host.strip_prefix('[') {
        let address = address.strip_suffix(']').and_then(|address| address.parse::<Ipv6Addr>().ok());
        return address.map(|address| format!("[{address}]")).ok_or(OriginError::Host);
    }
    // A dot at the end makes it another name, to browsers too.
    let labels = host.strip_suffix('.').unwrap_or(host);
    let is_label =
        |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if host.len() > HOST_BYTES_MAX || !labels.split('.').all(is_label) {
        return Err(OriginError::Host);
    }
    // What ends in a number is an address to browsers, and they send it as four numbers.
    let last = labels.rsplit('.').next().unwrap_or_default();
    let hexadecimal = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    let ends_in_number = last.bytes().all(|b| b.is_ascii_digit())
        || hexadecimal.is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
    if ends_in_number && host.parse::<Ipv4Addr>().is_err() {
        return Err(OriginError::Host);
    }
    Ok(host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::OriginError::{Host, NotAscii, Path, Port, Scheme, Socket, User, Wildcard};
    use super::*;

    #[test]
    fn a_page_of_the_host_itself_is_known_by_its_host_and_port() {
        for (origin, host, is_so) in [
            ("https://a.example", "a.example", true),
            ("http://A.example:9001", "a.EXAMPLE:9001", true),
            ("http://[::1]:9001", "[::1]:9001", true),
            ("https://a.example", "b.example", false),
            ("https://a.example", "a.example:9001", false),
            ("https://a.example.evil.example", "a.example", false),
            ("https://evil.example", "", false),
            ("https://", "", false),
            ("null", "null", false),
            ("file://", "file:", false),
        ] {
            assert_eq!(is_of_host(origin, host), is_so, "{origin} {host}");
        }
    }

    #[test]
    fn what_may_be_listed_has_one_normal_form() {
        for (text, form) in [
            ("https://example.org", "https://example.org"),
            ("HTTPS://Example.ORG", "https://example.org"),
            ("https://example.org:443", "https://example.org"),
            ("https://example.org:0443", "https://example.org"),
            ("http://example.org:80", "http://example.org"),
            ("https://example.org:80", "https://example.org:80"),
            ("http://example.org:443", "http://example.org:443"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://localhost:65535", "http://localhost:65535"),
            ("http://127.0.0.1:1", "http://127.0.0.1:1"),
            ("https://xn--MNCHEN-3ya.example", "https://xn--mnchen-3ya.example"),
            ("https://example.org.", "https://example.org."),
            ("https://a_b.example", "https://a_b.example"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("http://[0:0:0:0:0:0:0:1]:80", "http://[::1]"),
            ("http://[2001:DB8::A]", "http://[2001:db8::a]"),
            ("chrome-extension://abcdefghijklmnop", "chrome-extension://abcdefghijklmnop"),
            (
                "moz-extension://6f2b0c0e-7a3a-4b3f-9c63-000000000000",
                "moz-extension://6f2b0c0e-7a3a-4b3f-9c63-000000000000",
            ),
            ("capacitor://localhost", "capacitor://localhost"),
            ("null", "null"),
            ("file://", "file://"),
        ] {
            assert_eq!(allowed(text).as_deref(), Ok(form), "{text}");
            assert_eq!(allowed(form).as_deref(), Ok(form), "the form of {form} is itself");
            assert!(is_allowed(text, &[form.to_owned()]), "{text}");
        }
    }

    #[test]
    fn what_no_page_ever_sends_is_refused_with_its_reason() {
        for (text, error) in [
            ("", Scheme),
            ("example.org", Scheme),
            ("//example.org", Scheme),
            ("://example.org", Scheme),
            ("https:/example.org", Scheme),
            ("https:example.org", Scheme),
            ("localhost:3000", Scheme),
            ("1http://example.org", Scheme),
            ("ht tp://example.org", Scheme),
            ("NULL", Scheme),
            ("ws://example.org", Socket),
            ("WSS://example.org:9001", Socket),
            ("https://example.org/", Path),
            ("https://example.org/app", Path),
            ("https://example.org?", Path),
            ("https://example.org#", Path),
            ("https://example.org:443/", Path),
            ("https://example.org\\", Path),
            ("file:///", Path),
            ("https://me@example.org", User),
            ("*", Wildcard),
            ("https://*", Wildcard),
            ("https://*.example.org", Wildcard),
            ("http://localhost:*", Wildcard),
            ("https://münchen.example", NotAscii),
            ("https://", Host),
            ("https://:443", Host),
            ("https://.example.org", Host),
            ("https://a..b", Host),
            ("https://.", Host),
            ("https://exa mple.org", Host),
            (" https://example.org", Scheme),
            ("https://example.org ", Host),
            ("https://a.example, https://b.example", Path),
            ("https://a.example,b.example", Host),
            ("https://ex%61mple.org", Host),
            ("http://127.1", Host),
            ("http://0x7f.1", Host),
            ("http://2130706433", Host),
            ("http://127.0.0.1.", Host),
            ("http://0x7f000001", Host),
            ("http://127.0.0.256", Host),
            ("http://127.0.0.01", Host),
            ("http://::1", Host),
            ("http://[::1", Host),
            ("http://[::1]x", Host),
            ("http://[fe80::1%25eth0]", Host),
            ("http://[]", Host),
            ("http://localhost:", Port),
            ("http://localhost:0", Port),
            ("http://localhost:65536", Port),
            ("http://localhost:3000x", Port),
            ("http://localhost:+80", Port),
            ("http://localhost:http", Port),
            ("http://[::1]:", Port),
        ] {
            assert_eq!(allowed(text), Err(error), "{text:?}");
            assert!(error == Socket || !is_allowed(text, &[text.to_owned()]), "{text:?}");
        }
        let long = |length: usize| format!("http://{}", "a".repeat(length));
        assert!(allowed(&long(HOST_BYTES_MAX)).is_ok());
        assert_eq!(allowed(&long(HOST_BYTES_MAX + 1)), Err(Host));
    }
}
