//! Job: the driver of tungstenite for the tests of interoperability: the conversation that `../peers.py` describes.
//! Knows stdin, stdout and tungstenite, which has no compression. Must never know what is published.
//!
//! Not for people: `./test interop` runs it.

use std::error::Error;
use std::io::{BufRead, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use tungstenite::client::{IntoClientRequest, client_with_config};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tungstenite::{Message, WebSocket};

/// How long a read waits before commands are looked at again.
const READ_WAIT: Duration = Duration::from_millis(5);

type Command = (Value, Vec<u8>);
type Fallible<T> = Result<T, Box<dyn Error>>;

fn main() -> Fallible<()> {
    let (sender, commands) = channel();
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        while let Some(command) = read_command(&mut input) {
            if sender.send(command).is_err() {
                return;
            }
        }
    });
    while let Ok((command, _)) = commands.recv() {
        if command["do"] != "open" {
            return Err(format!("{command} without a connection").into());
        }
        serve(&command, &commands)?;
    }
    Ok(())
}

fn read_command(input: &mut impl BufRead) -> Option<Command> {
    let mut line = String::new();
    if input.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let command: Value = serde_json::from_str(&line).ok()?;
    let mut body = vec![0; command["len"].as_u64().unwrap_or(0).try_into().ok()?];
    input.read_exact(&mut body).ok()?;
    Some((command, body))
}

/// One connection, until it is closed.
fn serve(open: &Value, commands: &Receiver<Command>) -> Fallible<()> {
    let mut socket = connect(open)?;
    loop {
        match commands.try_recv() {
            Ok((command, body)) if command["do"] == "send" => {
                let is_text = command["kind"] == "text";
                socket.send(if is_text { Message::text(String::from_utf8(body)?) } else { Message::binary(body) })?;
            }
            Ok((command, _)) if command["do"] == "close" => {
                socket.close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }))?;
            }
            Ok((command, _)) => return Err(format!("what is {command}?").into()),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return Ok(()),
        }
        let code = loop {
            match socket.read() {
                Ok(Message::Text(text)) => say_message("text", text.as_bytes())?,
                Ok(Message::Binary(bytes)) => say_message("binary", &bytes)?,
                Ok(Message::Close(frame)) => break Some(frame.map_or(1005, |frame| frame.code.into())),
                Ok(_) => {}
                Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => break None,
                Err(error) => return Err(error.into()),
            }
        };
        if let Some(code) = code {
            // Lets the reply go out.
            while socket.read().is_ok() {}
            return say(&json!({"event": "closed", "code": code}), b"");
        }
    }
}

/// Plain, or behind TLS.
trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

fn connect(open: &Value) -> Fallible<WebSocket<Box<dyn Stream>>> {
    let mut request = open["url"].as_str().unwrap_or_default().into_client_request()?;
    let uri = request.uri().clone();
    let (Some(authority), Some(host)) = (uri.authority(), uri.host()) else { return Err("no host".into()) };
    let offers = open["offers"].as_array().into_iter().flatten();
    let offered: Vec<&str> = [&open["protocol"]].into_iter().chain(offers).filter_map(Value::as_str).collect();
    if !offered.is_empty() {
        request.headers_mut().insert("Sec-WebSocket-Protocol", offered.join(", ").parse()?);
    }
    if let Some(token) = open["headers"]["Authorization"].as_str() {
        request.headers_mut().insert("Authorization", token.parse()?);
    }
    let tcp = TcpStream::connect(authority.as_str())?;
    tcp.set_nodelay(true)?;
    let waits = tcp.try_clone()?;
    let stream: Box<dyn Stream> = match uri.scheme_str() {
        Some("wss") => Box::new(StreamOwned::new(tls(host)?, tcp)),
        _ => Box::new(tcp),
    };
    let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
    let (socket, response) = client_with_config(request, stream, Some(config)).map_err(|error| error.to_string())?;
    waits.set_read_timeout(Some(READ_WAIT))?;
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let agreed = json!({
        "event": "open",
        "protocol": header("Sec-WebSocket-Protocol"),
        "extensions": header("Sec-WebSocket-Extensions"),
    });
    say(&agreed, b"")?;
    Ok(socket)
}

/// Trusts the authority of the tests, whose certificate the environment names.
fn tls(host: &str) -> Fallible<ClientConnection> {
    let mut trusted = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(std::env::var("INTEROP_CA")?)? {
        trusted.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(trusted)
        .with_no_client_auth();
    Ok(ClientConnection::new(Arc::new(config), ServerName::try_from(host.to_owned())?)?)
}

fn say_message(kind: &str, body: &[u8]) -> Fallible<()> {
    say(&json!({"event": "message", "kind": kind, "len": body.len()}), body)
}

fn say(event: &Value, body: &[u8]) -> Fallible<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{event}")?;
    out.write_all(body)?;
    out.flush()?;
    Ok(())
}
