//! Job: `ws://HOST:PORT[/path]`, and `wss://`, taken apart.
//! Knows: the part of RFC 3986 that RFC 6455 section 3 uses. Must never know: sockets, names being looked up.

use std::fmt;
use std::str::FromStr;

/// Where a WebSocket server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// `wss://`: over TLS.
    pub is_tls: bool,
    /// Name or address, without brackets.
    pub host: String,
    /// 80 where the URL has none, 443 with TLS.
    pub port: u16,
    /// Path and query: never empty, begins with `/`.
    pub target: String,
}

impl Url {
    /// What belongs into the `Host` header: brackets around IPv6, the port unless it is the usual one.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == usual_port(self.is_tls) { host } else { format!("{host}:{}", self.port) }
    }
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (is_tls, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("ws") => (false, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("wss") => (true, rest),
            Some((scheme, _)) => {
                return Err(format!("`{scheme}://` is not a WebSocket URL: write ws://HOST:PORT or wss://HOST:PORT"));
            }
            None => return Err(format!("`{text}` is not a WebSocket URL: write ws://HOST:PORT or wss://HOST:PORT")),
        };
        if let Some(bad) = text.chars().find(|c| c.is_control() || c.is_whitespace()) {
            return Err(format!("{bad:?} cannot stand in a URL"));
        }
        if !text.is_ascii() {
            return Err("a URL is ASCII: percent-encode what is not".into());
        }
        if rest.contains('#') {
            return Err("a WebSocket URL has no #fragment (RFC 6455 section 3)".into());
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return Err("a user name or password in the URL is not supported".into());
        }
        let (host, port) = split_port(authority, usual_port(is_tls))?;
        if host.is_empty() {
            return Err("the URL names no host: write ws://HOST:PORT".into());
        }
        let target = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Url { is_tls, host: host.to_owned(), port, target })
    }
}

fn usual_port(is_tls: bool) -> u16 {
    if is_tls { 443 } else { 80 }
}

fn split_port(authority: &str, usual: u16) -> Result<(&str, u16), String> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or("the IPv6 address lacks its closing bracket")?;
        if !host.contains(':') {
            return Err(format!("`[{host}]` is no IPv6 address"));
        }
        match after.strip_prefix(':') {
            Some(port) => (host, port),
            None if after.is_empty() => (host, ""),
            None => return Err(format!("`{after}` after the address is no port")),
        }
    } else {
        match authority.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err("an IPv6 address stands in brackets: ws://[::1]:9001".into());
            }
            Some(parts) => parts,
            None => (authority, ""),
        }
    };
    if port.is_empty() {
        return Ok((host, usual));
    }
    match port.parse::<u16>() {
        Ok(number) if number > 0 && port.bytes().all(|b| b.is_ascii_digit()) => Ok((host, number)),
        _ => Err(format!("`{port}` is no port: 1 to 65535")),
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.is_tls { "wss" } else { "ws" }, self.authority())?;
        let Some((path, query)) = self.target.split_once('?') else {
            return f.write_str(if self.target == "/" { "" } else { &self.target });
        };
        // Who sees a token has it.
        let shown = |part: &str| match part.split_once('=') {
            Some(("token", _)) => "token=…".to_owned(),
            _ => part.to_owned(),
        };
        write!(f, "{path}?{}", query.split('&').map(shown).collect::<Vec<_>>().join("&"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (String, u16, String) {
        let url: Url = text.parse().unwrap();
        (url.host, url.port, url.target)
    }

    #[test]
    fn hosts_ports_and_paths_are_taken_apart() {
        let own = |h: &str, p, t: &str| (h.to_owned(), p, t.to_owned());
        assert_eq!(parts("ws://127.0.0.1:9001"), own("127.0.0.1", 9001, "/"));
        assert_eq!(parts("ws://localhost:9001/"), own("localhost", 9001, "/"));
        assert_eq!(parts("WS://rover.local/t/a/b?topic=c"), own("rover.local", 80, "/t/a/b?topic=c"));
        assert_eq!(parts("ws://h:1?x=1"), own("h", 1, "/?x=1"));
        assert_eq!(parts("ws://[::1]:9001/x"), own("::1", 9001, "/x"));
        assert_eq!(parts("ws://[::1]"), own("::1", 80, "/"));
        assert_eq!(parts("WSS://rover.local/x"), own("rover.local", 443, "/x"));
        assert_eq!(parts("wss://[::1]:80"), own("::1", 80, "/"));
        let is_tls = |text: &str| text.parse::<Url>().unwrap().is_tls;
        assert!(is_tls("wss://h") && is_tls("WsS://h:80") && !is_tls("ws://h:443"));
    }

    #[test]
    fn it_is_shown_as_it_can_be_typed() {
        for text in
            ["ws://127.0.0.1:9001", "ws://[::1]:9001/x", "wss://rover/t/a?topic=b", "wss://rover:80", "ws://rover:443"]
        {
            assert_eq!(text.parse::<Url>().unwrap().to_string(), text);
        }
        let url: Url = "ws://rover/?token=eyJ.eyJ.c2ln&topic=b".parse().unwrap();
        assert_eq!(url.to_string(), "ws://rover/?token=…&topic=b");
    }

    #[test]
    fn what_is_no_websocket_url_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "ws://HOST:PORT"),
            ("localhost:9001", "ws://HOST:PORT"),
            ("http://h:1", "http://"),
            ("wss://", "no host"),
            ("https://h:1", "wss://HOST:PORT"),
            ("ws://", "no host"),
            ("ws://:9001", "no host"),
            ("ws://h:0", "no port"),
            ("ws://h:65536", "no port"),
            ("ws://h:+1", "no port"),
            ("ws://::1:9001", "brackets"),
            ("ws://[::1", "closing bracket"),
            ("ws://[::1]x", "no port"),
            ("ws://u:p@h:1", "password"),
            ("ws://h:1/a b", "cannot stand"),
            ("ws://h:1/a\r\nX: y", "cannot stand"),
            ("ws://h:1/#x", "fragment"),
            ("ws://h\u{fc}:1/", "ASCII"),
        ] {
            let error = text.parse::<Url>().unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
