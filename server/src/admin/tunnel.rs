//! Job: a WebSocket of the admin port: from its upgrade on it is the engine's, byte by byte.
//! Knows: HTTP/1.1's heads, two streams. Must never know: frames, topics.

use std::io;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State as Of};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::response::Response;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy, split};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::timeout;

use super::access::SOCKET;
use super::answer::Refused;
use super::secrets::Secrets;
use super::state::Shared;
use super::token::{self, Shown};

/// Longest head of the engine's answer, and what comes right behind it.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Headers of it.
const HEADERS_MAX: usize = 32;
/// Time for the engine's answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time for one side to end when the other has.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What is nobody's business but the admin port's.
const KEPT_BACK: [&str; 6] = ["host", "authorization", "cookie", "proxy-authorization", "forwarded", "x-forwarded-for"];

/// Has the engine answer an upgrade request, and passes on what is said from then on.
///
/// # Errors
/// 503: the engine cannot be reached, or too many look already.
pub async fn tunnel(Of(state): Of<Shared>, mut request: Request) -> Result<Response, Refused> {
    let unavailable = |why: &str| Refused::new(StatusCode::SERVICE_UNAVAILABLE, why);
    let seat = state.tunnels.clone().try_acquire_owned();
    let seat = seat.map_err(|_| unavailable("too many look into topics already"))?;
    let observers =
        state.observers.as_ref().ok_or_else(|| unavailable("there is no way to the engine (see the log)"))?;
    let (head, secrets) = (head_of(&request), state.access.secrets());
    let shown = token::shown(request.headers());
    let answered = timeout(PATIENCE, async {
        let mut engine = observers.connect().await?;
        engine.write_all(&head).await?;
        let bytes = read_head(&mut engine).await?;
        io::Result::Ok((engine, bytes))
    });
    let (engine, bytes) = match answered.await {
        Ok(Ok(answered)) => answered,
        Ok(Err(_)) | Err(_) => return Err(unavailable("the engine does not answer")),
    };
    let (mut answer, rest) = parse(&bytes).ok_or_else(|| unavailable("the engine's answer is none"))?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        *answer.body_mut() = Body::from(rest.to_vec());
        return Ok(answer);
    }
    let (upgraded, early) = (hyper::upgrade::on(&mut request), rest.to_vec());
    tokio::spawn(async move {
        let _seat = seat;
        match upgraded.await {
            Ok(client) => tokio::select! {
                () = relay(TokioIo::new(client), engine, early) => {}
                () = taken_back(secrets, shown) => tracing::debug!("admin: a WebSocket is closed: its token is gone"),
            },
            Err(error) => tracing::debug!("admin: a WebSocket has not come to be: {error}"),
        }
    });
    Ok(answer)
}

/// Waits until the token that somebody came in by counts no more; for ever, where none is needed.
async fn taken_back(mut secrets: watch::Receiver<Secrets>, shown: Option<Shown>) {
    let is_gone = |now: &Secrets| now.tokens.are_needed() && !shown.is_some_and(|shown| now.tokens.has(&shown));
    if secrets.wait_for(is_gone).await.is_err() {
        // Nobody changes them any more: the port ends, and takes this with it.
        std::future::pending::<()>().await;
    }
}

/// The request as the engine gets it.
fn head_of(request: &Request) -> Vec<u8> {
    let target = request.uri().path_and_query().map_or("", |target| target.as_str());
    let target = target.strip_prefix(SOCKET).unwrap_or(target);
    let slash = if target.starts_with('/') { "" } else { "/" };
    let mut head = format!("{} {slash}{target} HTTP/1.1\r\nHost: admin\r\n", Method::GET).into_bytes();
    for (name, value) in request.headers() {
        if !KEPT_BACK.contains(&name.as_str()) {
            head.extend_from_slice(name.as_str().as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// Reads up to a whole head, and what has come with it; of a refusal, up to its end.
async fn read_head(engine: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(4 << 10);
    loop {
        let count = engine.read_buf(&mut bytes).await?;
        let is_whole = bytes.windows(4).any(|four| four == b"\r\n\r\n");
        let is_upgraded = bytes.starts_with(b"HTTP/1.1 101");
        if is_whole && (is_upgraded || count == 0) {
            return Ok(bytes);
        }
        if count == 0 || bytes.len() > ANSWER_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}

/// The answer without its body, and what stands behind its head.
fn parse(bytes: &[u8]) -> Option<(Response, &[u8])> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = parsed.parse(bytes).ok()? else { return None };
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::from_u16(parsed.code?).ok()?;
    for header in parsed.headers {
        // Where there is a body, it is framed anew.
        if !header.name.eq_ignore_ascii_case("content-length") {
            let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
            answer.headers_mut().append(name, HeaderValue::from_bytes(header.value).ok()?);
        }
    }
    Some((answer, &bytes[length..]))
}

/// Passes on what both say, until both have ended, or one has and the other does not follow.
async fn relay(client: impl AsyncRead + AsyncWrite, engine: UnixStream, early: Vec<u8>) {
    let (mut from_client, mut to_client) = split(client);
    let (mut from_engine, mut to_engine) = engine.into_split();
    let down = async {
        to_client.write_all(&early).await?;
        copy(&mut from_engine, &mut to_client).await?;
        to_client.shutdown().await
    };
    let up = async {
        copy(&mut from_client, &mut to_engine).await?;
        to_engine.shutdown().await
    };
    let (mut down, mut up) = (std::pin::pin!(down), std::pin::pin!(up));
    // How it ended is the engine's affair: it has counted it.
    let is_engines = tokio::select! {
        _ = &mut down => true,
        _ = &mut up => false,
    };
    let _ = if is_engines { timeout(LAST_WORDS, up).await } else { timeout(LAST_WORDS, down).await };
}

#[cfg(test)]
mod tests {
    use axum::http::header::{AUTHORIZATION, COOKIE, HOST};

    use super::*;

    #[test]
    fn the_engine_gets_the_request_without_what_is_ours() {
        let request = Request::builder()
            .uri("/ws/t/rover/1?since=7")
            .header(HOST, "127.0.0.1:9002")
            .header(AUTHORIZATION, "Bearer secret")
            .header(COOKIE, "a=b")
            .header("x-forwarded-for", "192.0.2.1")
            .header("upgrade", "websocket")
            .header("sec-websocket-protocol", "fanwire.json.v1")
            .body(Body::empty())
            .unwrap();
        let expected = "GET /t/rover/1?since=7 HTTP/1.1\r\nHost: admin\r\nupgrade: websocket\r\n\
                        sec-websocket-protocol: fanwire.json.v1\r\n\r\n";
        assert_eq!(String::from_utf8(head_of(&request)).unwrap(), expected);
        for (target, expected) in [("/ws", "GET / HTTP"), ("/ws?a=1", "GET /?a=1 HTTP"), ("/ws/", "GET / HTTP")] {
            let request = Request::builder().uri(target).body(Body::empty()).unwrap();
            assert!(String::from_utf8(head_of(&request)).unwrap().starts_with(expected), "{target}");
        }
    }

    #[test]
    fn an_answer_is_taken_apart_and_what_is_none_is_not() {
        let (answer, rest) =
            parse(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x02hi").unwrap();
        assert_eq!((answer.status().as_u16(), rest), (101, &b"\x81\x02hi"[..]));
        assert_eq!(answer.headers()["upgrade"], "websocket");
        let (answer, rest) = parse(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno").unwrap();
        assert_eq!((answer.status().as_u16(), rest, answer.headers().len()), (404, &b"no"[..], 0));
        for wrong in [&b""[..], b"HTTP/1.1 101", b"SSH-2.0\r\n\r\n", b"HTTP/1.1 101 x\r\nA"] {
            assert!(parse(wrong).is_none());
        }
    }
}
