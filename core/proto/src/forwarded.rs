//! `X-Forwarded-For`: which address a request came from, as the proxies say that it went through.
//!
//! Each proxy appends the address that it was spoken to from. So the list is read from its right end: what a trusted proxy
//! wrote there is true, and whatever stands left of the first address that is not a trusted proxy's may be anybody's
//! invention. A number of hops to skip is no substitute: it is wrong for whoever came another way.
//!
//! Knows addresses in text. Must never know who is trusted, nor who speaks to us.

use core::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Proxies that one request is followed through. It bounds what reading a list costs; a chain has three or four.
pub const PROXIES_MAX: usize = 32;

/// The client that a trusted proxy's request came from; `None`: the proxy has not said, so that it is the peer itself.
///
/// `lines` are the header's lines in their order, which are one list. The client is the last address that is not trusted.
/// Where all are, it is the first; where one cannot be read, the one right of it: nothing left of it can be believed.
pub fn client<'a>(
    lines: impl DoubleEndedIterator<Item = &'a [u8]>,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> Option<IpAddr> {
    let entries = lines.rev().flat_map(|line| line.rsplit(|&b| b == b',')).map(<[u8]>::trim_ascii);
    let mut client = None;
    // RFC 9110 section 5.6.1: empty elements do not count.
    for entry in entries.filter(|entry| !entry.is_empty()).take(PROXIES_MAX) {
        let Some(address) = address(entry) else { break };
        client = Some(address);
        if !is_trusted(address) {
            break;
        }
    }
    client
}

/// An address as proxies write it: bare, with a port, in brackets; IPv4 mapped into IPv6 is IPv4.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(entry).ok()?;
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    // Before a zone's number would be taken.
    if text.contains('%') {
        return None;
    }
    let address = text.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|a| a.ip())).or_else(bracketed);
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cidr::Cidr;

    fn trusted() -> Vec<Cidr> {
        ["10.0.0.0/8", "2001:db8:ffff::/48"].iter().map(|text| text.parse().unwrap()).collect()
    }

    fn client_of(lines: &[&str]) -> Option<String> {
        let trusted = trusted();
        let lines = lines.iter().map(|line| line.as_bytes());
        client(lines, |address| trusted.iter().any(|block| block.contains(address))).map(|address| address.to_string())
    }

    #[test]
    fn lists_of_one_line() {
        for (line, expected) in [
            ("203.0.113.7", Some("203.0.113.7")),
            // What stands left of the first that is not trusted is not looked at.
            ("127.0.0.1, 203.0.113.7", Some("203.0.113.7")),
            ("198.51.100.1, 203.0.113.7, 10.0.0.2", Some("203.0.113.7")),
            ("garbage, \u{7f}, 203.0.113.7, 10.0.0.2, 10.0.0.1", Some("203.0.113.7")),
            ("10.9.9.9, 203.0.113.7", Some("203.0.113.7")),
            // All are ours: the first is the client.
            ("10.0.0.3, 10.0.0.2, 10.0.0.1", Some("10.0.0.3")),
            ("10.0.0.3", Some("10.0.0.3")),
            // One that cannot be read ends it.
            ("203.0.113.7, unknown, 10.0.0.2", Some("10.0.0.2")),
            ("203.0.113.7, unknown", None),
            ("203.0.113.7, _hidden, 10.0.0.2, 10.0.0.1", Some("10.0.0.2")),
            ("unix:", None),
            ("", None),
            (" , ,", None),
            // Empty elements do not count.
            ("203.0.113.7,,10.0.0.2, ", Some("203.0.113.7")),
            (",203.0.113.7", Some("203.0.113.7")),
            // White space, tabs too.
            ("203.0.113.7\t,\t 10.0.0.2", Some("203.0.113.7")),
            ("  203.0.113.7  ", Some("203.0.113.7")),
            // Ports and brackets.
            ("203.0.113.7:51234", Some("203.0.113.7")),
            ("203.0.113.7:51234, 10.0.0.2:80", Some("203.0.113.7")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("[2001:db8::1]", Some("2001:db8::1")),
            ("[2001:db8::1]:443", Some("2001:db8::1")),
            ("2001:DB8:0:0::1, [2001:db8:ffff::2]:80", Some("2001:db8::1")),
            // IPv4 mapped into IPv6 is IPv4.
            ("::ffff:203.0.113.7", Some("203.0.113.7")),
            ("[::ffff:203.0.113.7]:80", Some("203.0.113.7")),
            ("203.0.113.7, ::ffff:10.0.0.2", Some("203.0.113.7")),
            // Loopback is an address like others: who may do what there is another's question.
            ("127.0.0.1", Some("127.0.0.1")),
            ("::1", Some("::1")),
        ] {
            assert_eq!(client_of(&[line]).as_deref(), expected, "{line:?}");
        }
    }

    #[test]
    fn what_is_no_address_is_none() {
        for entry in [
            "1.2.3",
            "1.2.3.4.5",
            "256.1.1.1",
            "1.2.3.4:",
            "1.2.3.4:65536",
            "1.2.3.4:x",
            "01.2.3.4",
            "0x7f.1",
            "2130706433",
            "[1.2.3.4]",
            "[1.2.3.4]:80",
            "[2001:db8::1",
            "2001:db8::1]",
            "[2001:db8::1]x",
            "[2001:db8::1]:",
            "[]",
            "[]:80",
            "2001:db8::1::2",
            "fe80::1%eth0",
            "fe80::1%1",
            "[fe80::1%1]:80",
            "[fe80::1%1]",
            "\"1.2.3.4\"",
            "for=1.2.3.4",
            "1.2.3.4 5.6.7.8",
            "1.2.3.4;5.6.7.8",
            "localhost",
            "example.org",
            "-",
            "*",
            "1.2.3.4/32",
        ] {
            assert_eq!(client_of(&[entry]), None, "{entry:?}");
            assert_eq!(
                client_of(&[&format!("203.0.113.7, {entry}, 10.0.0.1")]).as_deref(),
                Some("10.0.0.1"),
                "{entry:?}"
            );
        }
        assert_eq!(client([&b"\xff"[..]].into_iter(), |_| true), None);
    }

    #[test]
    fn several_lines_are_one_list() {
        for (lines, expected) in [
            (&["203.0.113.7", "10.0.0.2"][..], Some("203.0.113.7")),
            (&["198.51.100.1", "203.0.113.7, 10.0.0.2", "10.0.0.1"], Some("203.0.113.7")),
            (&["203.0.113.7", "198.51.100.1"], Some("198.51.100.1")),
            (&["203.0.113.7", "", "10.0.0.1"], Some("203.0.113.7")),
            (&["203.0.113.7", "unknown", "10.0.0.1"], Some("10.0.0.1")),
            (&["203.0.113.7", "unknown"], None),
            (&[], None),
        ] {
            assert_eq!(client_of(lines).as_deref(), expected, "{lines:?}");
        }
        // Wherever the list is cut into lines, it is the same one.
        let list = ["198.51.100.1", "203.0.113.7", "10.0.0.3", "10.0.0.2", "10.0.0.1"];
        for cuts in 0..1 << (list.len() - 1) {
            let mut lines = vec![list[0].to_owned()];
            for (at, entry) in list.iter().enumerate().skip(1) {
                if cuts >> (at - 1) & 1 == 1 {
                    lines.push((*entry).to_owned());
                } else if let Some(line) = lines.last_mut() {
                    *line += ", ";
                    *line += entry;
                }
            }
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            assert_eq!(client_of(&lines).as_deref(), Some("203.0.113.7"), "{lines:?}");
        }
    }

    #[test]
    fn a_list_is_followed_through_so_many_proxies_and_no_further() {
        let list = |proxies: usize| format!("203.0.113.7{}", ", 10.0.0.1".repeat(proxies));
        assert_eq!(client_of(&[&list(PROXIES_MAX - 1)]).as_deref(), Some("203.0.113.7"));
        assert_eq!(client_of(&[&list(PROXIES_MAX)]).as_deref(), Some("10.0.0.1"));
    }
}
