//! Job: who may do what at the admin port: the one place that decides, for every request.
//! Knows: methods, paths, headers. Must never know: what a request comes to.
//!
//! A route says nothing of its own: what is no `GET` acts, and whatever is not listed here as open has to be asked for by a name of
//! ours, with a token where one is configured. A certificate, where one is demanded, has been seen to before there is a request.

use axum::http::header::ORIGIN;
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use tokio::sync::watch;

use super::hosts::Hosts;
use super::secrets::Secrets;

/// What a load balancer or an orchestrator looks at, without a name of ours or a token: one word each.
const OPEN: [&str; 2] = ["/livez", "/readyz"];
/// Below this the engine itself is talked to.
pub const SOCKET: &str = "/ws";

/// See the module's head.
pub struct Access {
    hosts: Hosts,
    secrets: watch::Receiver<Secrets>,
    /// `http` or `https`.
    scheme: &'static str,
    /// Clients of the engine need tokens, and nobody who comes here has shown anything.
    is_lesser: bool,
}

/// What a request wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks {
    /// To see that somebody is there.
    Nothing,
    /// To look at figures.
    ToRead,
    /// To change something, or to hear topics.
    ToAct,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied {
    pub status: StatusCode,
    pub why: &'static str,
}

const fn denied(status: StatusCode, why: &'static str) -> Denied {
    Denied { status, why }
}

impl Access {
    /// `has_door`: clients of the engine need tokens. `has_certificates`: whoever comes here has shown one.
    /// Whether there are tokens, and TLS, is settled at the start; which, is not.
    pub fn new(hosts: Hosts, secrets: watch::Receiver<Secrets>, has_door: bool, has_certificates: bool) -> Self {
        let (has_tokens, is_tls) = (secrets.borrow().tokens.are_needed(), secrets.borrow().acceptor.is_some());
        let is_lesser = has_door && !has_tokens && !has_certificates;
        Access { hosts, secrets, scheme: if is_tls { "https" } else { "http" }, is_lesser }
    }

    /// Whether a request may go on.
    ///
    /// # Errors
    /// Why not.
    pub fn decide(&self, request: &Parts) -> Result<(), Denied> {
        let asks = asks(&request.method, request.uri.path());
        if asks == Asks::Nothing {
            return Ok(());
        }
        let Some(host) = self.hosts.of(request) else {
            return Err(denied(
                StatusCode::MISDIRECTED_REQUEST,
                "this name is not one of the admin port's: ask for it by its address, or list the name in admin.hosts",
            ));
        };
        let tokens = &self.secrets.borrow().tokens;
        if tokens.are_needed() && !tokens.accept(&request.headers) {
            return Err(denied(StatusCode::UNAUTHORIZED, "a token of admin.token_file is needed"));
        }
        if asks == Asks::ToRead {
            return match is_within_another_page(request) {
                true => Err(denied(StatusCode::FORBIDDEN, "a page of another site may not ask for this")),
                false => Ok(()),
            };
        }
        if self.is_lesser {
            return Err(denied(
                StatusCode::FORBIDDEN,
                "clients need tokens here, so this needs one, too: set admin.token_file",
            ));
        }
        if !self.is_of_this_site(request, host) {
            return Err(denied(StatusCode::FORBIDDEN, "a page of another site may not do this"));
        }
        Ok(())
    }

    /// The secrets, for who has to know when they change.
    pub fn secrets(&self) -> watch::Receiver<Secrets> {
        self.secrets.clone()
    }

    /// Whether a request is no browser's, or of a page that came from here. Pages cannot choose these headers.
    fn is_of_this_site(&self, request: &Parts, host: &str) -> bool {
        let lines = |name: &str| request.headers.get_all(name).iter().map(|line| line.as_bytes());
        // A browser leaves the usual port out of both.
        let ours = format!("{}://{host}", self.scheme);
        let is_ours = |origin: &[u8]| origin.eq_ignore_ascii_case(ours.as_bytes());
        lines(ORIGIN.as_str()).all(is_ours)
            && lines("sec-fetch-site").all(|site| matches!(site, b"same-origin" | b"none"))
    }
}

/// Whether a browser asks for a page of another site, and not because its reader goes here. It could not read the answer, but each is
/// work, and an operator waits behind it.
fn is_within_another_page(request: &Parts) -> bool {
    let is =
        |name: &str, said: &[&[u8]]| request.headers.get_all(name).iter().any(|line| said.contains(&line.as_bytes()));
    is("sec-fetch-site", &[b"cross-site", b"same-site"]) && !is("sec-fetch-dest", &[b"document"])
}

fn asks(method: &Method, path: &str) -> Asks {
    let is_get = *method == Method::GET || *method == Method::HEAD;
    let is_socket = path.strip_prefix(SOCKET).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    match is_get {
        true if OPEN.contains(&path) => Asks::Nothing,
        true if !is_socket => Asks::ToRead,
        _ => Asks::ToAct,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::super::token::Tokens;
    use super::*;

    fn access(token: Option<&str>, is_tls: bool, has_door: bool, has_certificates: bool) -> Access {
        let tokens = token.map_or_else(Tokens::default, |token| Tokens::parse(token.as_bytes()).unwrap());
        let secrets = watch::Sender::new(Secrets { tokens, acceptor: None }).subscribe();
        let access = Access::new(Hosts::new(&[]), secrets, has_door, has_certificates);
        Access { scheme: if is_tls { "https" } else { access.scheme }, ..access }
    }

    /// What a request is answered with; 200 where it may go on.
    fn status(access: &Access, request: &str, headers: &[(&str, &str)]) -> u16 {
        let (method, target) = request.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        access.decide(&parts).err().map_or(200, |denied| denied.status.as_u16())
    }

    const US: (&str, &str) = ("host", "127.0.0.1:9002");
    const TOKEN: (&str, &str) = ("authorization", "Bearer 0123456789abcdef");

    #[test]
    fn only_that_somebody_is_there_can_be_seen_by_everybody() {
        let access = access(Some("0123456789abcdef"), false, false, false);
        for (request, open) in [
            ("GET /livez", true),
            ("HEAD /readyz", true),
            ("POST /livez", false),
            ("GET /livez/", false),
            ("GET //livez", false),
            ("GET /%6civez", false),
            ("GET /health", false),
            ("GET /metrics", false),
            ("GET /", false),
            ("GET /no/such/path", false),
            ("DELETE /metrics", false),
            ("OPTIONS /metrics", false),
        ] {
            assert_eq!(status(&access, request, &[]), if open { 200 } else { 421 }, "{request}");
            assert_eq!(status(&access, request, &[US]), if open { 200 } else { 401 }, "{request}");
            assert_eq!(status(&access, request, &[US, TOKEN]), 200, "{request}");
        }
    }

    #[test]
    fn who_acts_is_no_page_of_another_site() {
        for (is_tls, ours) in [(false, "http://127.0.0.1:9002"), (true, "https://127.0.0.1:9002")] {
            let access = access(None, is_tls, false, false);
            for (headers, expected) in [
                (&[][..], 200),
                (&[("origin", ours)], 200),
                (&[("origin", ours), ("sec-fetch-site", "same-origin")], 200),
                (&[("sec-fetch-site", "none")], 200),
                (&[("sec-fetch-site", "same-site")], 403),
                (&[("sec-fetch-site", "cross-site")], 403),
                (&[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")], 403),
                (&[("origin", "null")], 403),
                (&[("origin", "")], 403),
                (&[("origin", "http://127.0.0.1:9001")], 403),
                (&[("origin", "http://127.0.0.1")], 403),
                (&[("origin", "http://evil.example")], 403),
                (&[("origin", "ftp://127.0.0.1:9002")], 403),
                (&[("origin", ours), ("origin", "http://evil.example")], 403),
            ] {
                for request in ["POST /api/drain", "PUT /metrics", "GET /ws", "GET /ws/t/a?x=1", "OPTIONS /"] {
                    let all = [&[US], headers].concat();
                    assert_eq!(status(&access, request, &all), expected, "{request} {headers:?}");
                }
                let is_fetched =
                    headers.iter().any(|(name, said)| *name == "sec-fetch-site" && said.ends_with("-site"));
                let expected = if is_fetched { 403 } else { 200 };
                assert_eq!(status(&access, "GET /metrics", &[&[US], headers].concat()), expected, "{headers:?}");
                // Who follows a link comes here.
                let follows = [&[US, ("sec-fetch-dest", "document")], headers].concat();
                assert_eq!(status(&access, "GET /", &follows), 200, "{headers:?}");
            }
        }
        assert_eq!(
            status(&access(None, true, false, false), "POST /", &[US, ("origin", "http://127.0.0.1:9002")]),
            403
        );
    }

    #[test]
    fn where_clients_need_tokens_only_who_has_shown_something_hears_topics() {
        for (token, has_door, has_certificates, expected) in [
            (None, true, false, 403),
            (None, true, true, 200),
            (None, false, false, 200),
            (Some("0123456789abcdef"), true, false, 200),
        ] {
            let access = access(token, false, has_door, has_certificates);
            for request in ["GET /ws", "POST /api/drain"] {
                assert_eq!(status(&access, request, &[US, TOKEN]), expected, "{request} {token:?}");
            }
            assert_eq!(status(&access, "GET /metrics", &[US, TOKEN]), 200);
        }
    }
}
