//! Job: the demo's page over HTTP/1.1: a few embedded files, one request a connection.
//! Knows: as much of RFC 9112 as a browser's GET needs. Must never know: the engine, anything outside the binary.
//!
//! Bounded: [`CONNECTIONS_MAX`] at once, [`REQUEST_BYTES_MAX`] each, [`REQUEST_TIMEOUT`] to send it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::clock;
use crate::page::File;

/// Connections served at once; more are closed. Browsers open a few ahead without using them.
const CONNECTIONS_MAX: usize = 32;
const REQUEST_BYTES_MAX: usize = 8 << 10;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// What is served.
pub struct Site {
    /// The files.
    pub files: Vec<File>,
    /// Content-Security-Policy of every answer.
    pub policy: String,
}

/// Serves `site` on `listener` from a thread of its own, for as long as the process lives.
///
/// # Errors
/// Where the thread cannot be started.
pub fn serve(listener: TcpListener, site: Site) -> io::Result<()> {
    let site = Arc::new(site);
    let open = Arc::new(AtomicUsize::new(0));
    std::thread::Builder::new().name("http".into()).spawn(move || {
        loop {
            match listener.accept() {
                Ok((stream, _)) => answer_aside(stream, &site, &open),
                Err(error) => {
                    // Out of descriptors, mostly: what can be done is to wait until some are given back.
                    tracing::debug!("the page's listener: {error}");
                    clock::sleep(Duration::from_millis(100));
                }
            }
        }
    })?;
    Ok(())
}

fn answer_aside(stream: TcpStream, site: &Arc<Site>, open: &Arc<AtomicUsize>) {
    if open.fetch_add(1, Ordering::AcqRel) >= CONNECTIONS_MAX {
        open.fetch_sub(1, Ordering::AcqRel);
        return;
    }
    let (site, counted) = (site.clone(), open.clone());
    let spawned = std::thread::Builder::new().name("http-answer".into()).spawn(move || {
        if let Err(error) = answer(stream, &site) {
            tracing::debug!("a page request: {error}");
        }
        counted.fetch_sub(1, Ordering::AcqRel);
    });
    if spawned.is_err() {
        open.fetch_sub(1, Ordering::AcqRel);
    }
}

fn answer(mut stream: TcpStream, site: &Site) -> io::Result<()> {
    let deadline = clock::now() + REQUEST_TIMEOUT;
    let mut request = Vec::with_capacity(1024);
    let mut chunk = [0u8; 1024];
    let reply = loop {
        let left = deadline.saturating_duration_since(clock::now());
        if left.is_zero() {
            return Ok(());
        }
        stream.set_read_timeout(Some(left))?;
        let n = match stream.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(n) => n,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        request.extend_from_slice(&chunk[..n]);
        if request.windows(4).any(|w| w == b"\r\n\r\n") {
            break reply_to(&request, site);
        }
        if request.len() > REQUEST_BYTES_MAX {
            break refusal("431 Request Header Fields Too Large", "");
        }
    };
    stream.set_write_timeout(Some(REQUEST_TIMEOUT))?;
    stream.write_all(&reply)?;
    stream.shutdown(Shutdown::Write)
}

/// The whole answer to a request that is complete up to its empty line.
fn reply_to(request: &[u8], site: &Site) -> Vec<u8> {
    let line = request.split(|b| *b == b'\r').next().unwrap_or_default();
    let mut words = line.split(|b| *b == b' ');
    let (method, target, version) =
        (words.next().unwrap_or_default(), words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if !version.starts_with(b"HTTP/1.") || words.next().is_some() {
        return refusal("400 Bad Request", "");
    }
    if method != b"GET" && method != b"HEAD" {
        return refusal("405 Method Not Allowed", "Allow: GET, HEAD\r\n");
    }
    let path = target.split(|b| *b == b'?').next().unwrap_or_default();
    let Some(file) = site.files.iter().find(|f| f.path.as_bytes() == path) else {
        return refusal("404 Not Found", "");
    };
    let mut reply = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nContent-Length: {}\r\nContent-Security-Policy: {}\r\nX-Content-Type-Options: nosniff\r\n\
         Referrer-Policy: no-referrer\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n",
        file.media,
        file.content.len(),
        site.policy
    )
    .into_bytes();
    if method == b"GET" {
        reply.extend_from_slice(file.content.as_bytes());
    }
    reply
}

fn refusal(status: &str, more: &str) -> Vec<u8> {
    let text = format!("{status}\n");
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n{more}X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n{text}",
        text.len()
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site() -> Site {
        Site {
            files: vec![File { path: "/", media: "text/html; charset=utf-8", content: "<p>hello</p>".into() }],
            policy: "default-src 'self'".into(),
        }
    }

    fn ask(request: &str) -> String {
        String::from_utf8(reply_to(request.as_bytes(), &site())).unwrap()
    }

    #[test]
    fn files_are_served_whole_with_a_policy() {
        let reply = ask("GET /?x=1 HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(reply.starts_with("HTTP/1.1 200 OK\r\n"), "{reply}");
        assert!(reply.contains("Content-Security-Policy: default-src 'self'\r\n"));
        assert!(reply.contains("Content-Length: 12\r\n"));
        assert!(reply.ends_with("\r\n\r\n<p>hello</p>"));
        assert!(ask("HEAD / HTTP/1.1\r\n\r\n").ends_with("\r\n\r\n"));
    }

    #[test]
    fn everything_else_is_refused() {
        for (request, status) in [
            ("GET /../etc/passwd HTTP/1.1\r\n\r\n", "404"),
            ("GET //  HTTP/1.1\r\n\r\n", "400"),
            ("POST / HTTP/1.1\r\n\r\n", "405"),
            ("GET /\r\n\r\n", "400"),
            ("\r\n\r\n", "400"),
            ("GET / SPDY/9\r\n\r\n", "400"),
        ] {
            let reply = ask(request);
            assert!(reply.starts_with(&format!("HTTP/1.1 {status}")), "{request:?}: {reply}");
        }
    }

    #[test]
    fn a_request_may_come_in_pieces_and_an_endless_one_is_cut_off() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        serve(listener, site()).unwrap();
        let mut slow = TcpStream::connect(address).unwrap();
        for piece in ["GE", "T / HT", "TP/1.1\r\n", "\r", "\n"] {
            slow.write_all(piece.as_bytes()).unwrap();
        }
        let mut reply = String::new();
        slow.read_to_string(&mut reply).unwrap();
        assert!(reply.ends_with("<p>hello</p>"), "{reply}");
        let mut endless = TcpStream::connect(address).unwrap();
        let _ = endless.write_all("GET / HTTP/1.1\r\nX: ".as_bytes());
        let _ = endless.write_all(&[b'a'; 2 * REQUEST_BYTES_MAX]);
        let mut status = [0u8; 12];
        // The server may reset what it does not read: the status then depends on who is first.
        if endless.read_exact(&mut status).is_ok() {
            assert_eq!(&status, b"HTTP/1.1 431");
        }
    }
}
