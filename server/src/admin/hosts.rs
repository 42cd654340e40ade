//! Job: whether a request is meant for this server: what its `Host` says, so that no page can come by way of a name that it has
//! made stand for this machine (DNS rebinding).
//! Knows: RFC 9110 section 7.2. Must never know: who asks.

use std::net::{Ipv4Addr, Ipv6Addr};

use axum::http::header::HOST;
use axum::http::request::Parts;

/// Names that the admin port is asked for by.
pub struct Hosts(Vec<String>);

impl Hosts {
    /// Besides addresses and `localhost`.
    pub fn new(names: &[String]) -> Self {
        Hosts(names.iter().map(|name| name.to_ascii_lowercase()).collect())
    }

    /// The host and port that a request is for, if that is this server. Whoever has a page under an address, or under `localhost`, is on
    /// that machine; nobody can make those stand for another one.
    pub fn of<'a>(&self, request: &'a Parts) -> Option<&'a str> {
        let mut lines = request.headers.get_all(HOST).iter();
        let (Some(line), None) = (lines.next(), lines.next()) else { return None };
        let host = line.to_str().ok()?;
        // A request can name its server twice: then both times the same.
        let is_one = request.uri.authority().is_none_or(|authority| authority.as_str() == host);
        (is_one && self.has(name_of(host)?)).then_some(host)
    }

    fn has(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        name == "localhost"
            || name.parse::<Ipv4Addr>().is_ok()
            || name
                .strip_prefix('[')
                .and_then(|name| name.strip_suffix(']'))
                .is_some_and(|name| name.parse::<Ipv6Addr>().is_ok())
            || self.0.contains(&name)
    }
}

/// What stands before the port.
fn name_of(host: &str) -> Option<&str> {
    let end = match host.rfind(']') {
        Some(end) => end + 1,
        None => host.find(':').unwrap_or(host.len()),
    };
    let (name, port) = host.split_at(end);
    let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    (is_port && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn is_for_us(target: &str, hosts: &[&str]) -> bool {
        let mut request = Request::builder().uri(target);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        Hosts::new(&["Fanwire.Example".to_owned()]).of(&request.body(()).unwrap().into_parts().0).is_some()
    }

    #[test]
    fn only_what_nobody_else_can_have_is_us() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:9002",
            "10.1.2.3:9002",
            "[::1]:9002",
            "[2001:db8::1]",
            "localhost",
            "LocalHost:9002",
            "fanwire.example",
            "FANWIRE.example:443",
        ] {
            assert!(is_for_us("/", &[host]), "{host}");
        }
        for hosts in [
            &[][..],
            &[""],
            &["evil.example"],
            &["localhost.evil.example"],
            &["127.0.0.1.evil.example"],
            &["127.0.0.1@evil.example"],
            &["evil.example:9002"],
            &["127.0.0.1:99999"],
            &["127.0.0.1:x"],
            &["127.1"],
            &["2130706433"],
            &["::1"],
            &["[::1"],
            &["[evil.example]"],
            &["[::1]x"],
            &["127.0.0.1", "127.0.0.1"],
            &["127.0.0.1", "evil.example"],
        ] {
            assert!(!is_for_us("/", hosts), "{hosts:?}");
        }
        assert!(is_for_us("http://127.0.0.1:9002/", &["127.0.0.1:9002"]));
        assert!(!is_for_us("http://evil.example/", &["127.0.0.1:9002"]));
    }
}
