//! Job: from a URL to a WebSocket: the upgrade request and what the server answers.
//! Knows: RFC 6455's handshake, which refusals pass. Must never know: frames.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use fanwire::proto::client::{Response, ResponseError, UpgradeRequest};
use rustix::event::PollFlags;

use crate::bearer::Token;
use crate::client::READ_BYTES;
use crate::clock;
use crate::dial::{self, DialError, Interrupts};
use crate::exit::{Exit, Failure};
use crate::plain;
use crate::socket::Socket;
use crate::tls::{Trust, fault};
use crate::url::Url;
use fanwire::settings::Span;

/// What permessage-deflate is offered with: both sides compress each message by itself.
const DEFLATE_OFFER: (&str, &str) =
    ("Sec-WebSocket-Extensions", "permessage-deflate; server_no_context_takeover; client_no_context_takeover");

/// What a connection is asked to be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Offer<'a> {
    /// The subprotocol, which the server then has to choose; `None`: a raw connection.
    pub protocol: Option<&'a str>,
    /// The server may compress what it sends.
    pub deflate: bool,
    /// Time to connect in.
    pub timeout: Duration,
    /// Silence after which the server is pinged, and again as long for its answer. Zero never pings.
    pub ping_every: Duration,
    /// Who this is.
    pub token: Option<&'a Token>,
    /// Whom to trust, for `wss://`.
    pub trust: Option<&'a Trust>,
}

/// A connection that is a WebSocket now.
#[derive(Debug)]
pub struct Upgraded {
    /// The connection.
    pub socket: Socket,
    /// permessage-deflate was agreed.
    pub compresses: bool,
    /// `input[start..end]` has arrived behind the answer.
    pub input: Vec<u8>,
    /// See `input`.
    pub start: usize,
    /// See `input`.
    pub end: usize,
}

/// Connects to `url`. `None`: something interrupted it.
///
/// # Errors
/// Where nobody answers or the server cannot take it now (69), the answer is not the WebSocket asked for, or the server is not to be
/// trusted (76), or it does not let this in (77).
pub fn upgrade(url: &Url, offer: &Offer<'_>, interrupts: &Interrupts<'_>) -> Result<Option<Upgraded>, Failure> {
    let deadline = clock::after(clock::now(), offer.timeout);
    match try_upgrade(url, offer, deadline, interrupts) {
        Ok(upgraded) => Ok(Some(upgraded)),
        Err(ConnectError::Dial(DialError::Interrupted)) => Ok(None),
        Err(ConnectError::Dial(DialError::Io(error))) => {
            if let Some(failure) = fault::failure(url, &error) {
                return Err(failure);
            }
            let error = match error.kind() {
                io::ErrorKind::TimedOut => anyhow::anyhow!("no answer within {}", Span(offer.timeout)),
                _ => anyhow::Error::new(error),
            };
            Err(Failure::new(Exit::Unavailable, error.context(format!("cannot connect to {url}"))))
        }
        Err(ConnectError::Answer(failure)) => Err(failure),
    }
}

fn try_upgrade(
    url: &Url,
    offer: &Offer<'_>,
    deadline: Instant,
    interrupts: &Interrupts<'_>,
) -> Result<Upgraded, ConnectError> {
    let stream = dial::dial(&url.host, url.port, deadline, interrupts)?;
    let mut socket = Socket::open(stream, url, offer.trust, deadline, interrupts)?;
    let keys = RandomState::new();
    let key = (u128::from(keys.hash_one(0u8)) << 64 | u128::from(keys.hash_one(1u8))).to_be_bytes();
    let authority = url.authority();
    let authorization = offer.token.map(Token::authorization).transpose()?;
    let deflate = offer.deflate.then_some(DEFLATE_OFFER);
    let token = authorization.as_deref().map(|value| ("Authorization", value));
    let headers: Vec<(&str, &str)> = deflate.into_iter().chain(token).collect();
    let request = UpgradeRequest {
        host: &authority,
        target: &url.target,
        key,
        protocols: offer.protocol.as_slice(),
        headers: &headers,
    };
    let mut bytes = Vec::new();
    let mut connecting =
        request.write(&mut bytes).map_err(|e| Failure::message(Exit::Unavailable, format!("{url}: {e}")))?;
    send_all(&mut socket, &bytes, deadline, interrupts)?;
    let mut input = vec![0; READ_BYTES];
    let mut end = 0;
    let response = loop {
        end += receive_some(&mut socket, &mut input[end..], deadline, interrupts)?;
        if !url.is_tls && fault::is_record(&input[..end]) {
            return Err(Failure::message(Exit::Protocol, format!("{url} speaks TLS: write wss://")).into());
        }
        match connecting.response(&input[..end]).map_err(|error| refused(url, &error))? {
            Some(response) => break response,
            // The codec bounds a head to far less than the buffer.
            None if end == input.len() => {
                return Err(Failure::message(Exit::Protocol, format!("{url} answers without end")).into());
            }
            None => {}
        }
    };
    let compresses = agreed(url, offer, &response)?;
    Ok(Upgraded { socket, compresses, input, start: response.head_bytes, end })
}

/// Whether the server's extensions are those offered.
fn is_deflate_agreed(extensions: Option<&str>, was_offered: bool) -> Result<bool, &'static str> {
    let Some(extensions) = extensions else { return Ok(false) };
    let mut parts = extensions.split(';').map(str::trim);
    if !was_offered || parts.next() != Some("permessage-deflate") {
        return Err("the server answers with an extension that was not offered");
    }
    if !parts.any(|part| part == "server_no_context_takeover") {
        return Err("the server does not agree to compress each message by itself");
    }
    Ok(true)
}

/// Why there is no WebSocket.
enum ConnectError {
    Dial(DialError),
    Answer(Failure),
}

impl From<DialError> for ConnectError {
    fn from(error: DialError) -> Self {
        ConnectError::Dial(error)
    }
}

impl From<io::Error> for ConnectError {
    fn from(error: io::Error) -> Self {
        ConnectError::Dial(DialError::Io(error))
    }
}

impl From<Failure> for ConnectError {
    fn from(failure: Failure) -> Self {
        ConnectError::Answer(failure)
    }
}

/// A refusal that may be another one in a minute is 69: this server, or what stands in front of it, has no time or no room.
fn refused(url: &Url, error: &ResponseError) -> Failure {
    let what = plain::text(&error.to_string()).into_owned();
    match error {
        ResponseError::Refused { status: 408 | 429 | 500 | 502 | 503 | 504, .. } => {
            Failure::message(Exit::Unavailable, format!("cannot connect to {url}: {what}"))
        }
        ResponseError::Refused { status: 401 | 403, .. } => {
            let hint = "a token says who this is: --token-file, or FANWIRE_TOKEN";
            Failure::message(Exit::Permission, format!("{url} does not let this in: {what} ({hint})"))
        }
        _ => Failure::message(Exit::Protocol, format!("{url} is no such WebSocket: {what}")),
    }
}

/// Whether the connection compresses, if the server has agreed to what was asked for at all.
fn agreed(url: &Url, offer: &Offer<'_>, response: &Response) -> Result<bool, Failure> {
    if let Some(protocol) = offer.protocol
        && response.protocol.as_deref() != Some(protocol)
    {
        let what = format!("{url} is a WebSocket, but does not speak {protocol}: is it fanwire?");
        return Err(Failure::message(Exit::Protocol, what));
    }
    let compresses = is_deflate_agreed(response.extensions.as_deref(), offer.deflate)
        .map_err(|what| Failure::message(Exit::Protocol, format!("{url}: {what}")))?;
    if offer.deflate && !compresses {
        tracing::warn!("{url} does not compress");
    }
    Ok(compresses)
}

fn send_all(
    socket: &mut Socket,
    mut bytes: &[u8],
    deadline: Instant,
    interrupts: &Interrupts<'_>,
) -> Result<(), DialError> {
    while !bytes.is_empty() || socket.held_back() > 0 {
        match socket.write(bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                interrupts.wait_for(socket.as_fd(), PollFlags::OUT, deadline)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn receive_some(
    socket: &mut Socket,
    room: &mut [u8],
    deadline: Instant,
    interrupts: &Interrupts<'_>,
) -> Result<usize, DialError> {
    loop {
        if !socket.has_input() {
            interrupts.wait_for(socket.as_fd(), PollFlags::IN, deadline)?;
        }
        match socket.read(room) {
            Ok(0) => {
                let what = "the server closed the connection instead of answering";
                return Err(DialError::Io(io::Error::other(what)));
            }
            Ok(n) => return Ok(n),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
}
