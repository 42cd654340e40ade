//! The decoder against an independent implementation, tungstenite, over memory.
//!
//! We may be stricter (lengths in their shortest form, the cap on empty fragments), never laxer: what we take without
//! a violation, tungstenite takes with the same result; what we report before a violation, it reports too.

use std::io::{self, Cursor, Read, Write};

use proptest::prelude::*;
use tungstenite::protocol::{self, WebSocket, WebSocketConfig};
use tungstenite::{Bytes, Message};

use super::cut_tests::any_stream;
use super::tests::{Item, MAX, cut, feed};
use super::*;
use crate::{client, encoder};

/// A stream that reads what it was given and remembers what was written.
struct Memory {
    input: Cursor<Vec<u8>>,
    output: Vec<u8>,
}

impl Read for Memory {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.input.read(buf)
    }
}

impl Write for Memory {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn peer(role: protocol::Role, input: &[u8]) -> WebSocket<Memory> {
    let limits = WebSocketConfig::default().max_message_size(Some(MAX as usize)).max_frame_size(Some(MAX as usize));
    let stream = Memory { input: Cursor::new(input.to_vec()), output: Vec::new() };
    WebSocket::from_raw_socket(stream, role, Some(limits))
}

/// All messages that tungstenite reads, and whether the input was to its liking up to its end.
fn oracle(role: protocol::Role, input: &[u8]) -> (Vec<Message>, bool) {
    use tungstenite::Error;
    use tungstenite::error::ProtocolError::ResetWithoutClosingHandshake;
    let mut socket = peer(role, input);
    let mut messages = Vec::new();
    loop {
        match socket.read() {
            Ok(message) => messages.push(message),
            Err(Error::ConnectionClosed | Error::Protocol(ResetWithoutClosingHandshake)) => return (messages, true),
            Err(_) => return (messages, false),
        }
    }
}

/// Our items as its messages: pieces of a message put together, also around control frames; unfinished ones left out.
fn as_messages(items: &[Item]) -> Vec<Message> {
    let mut messages = Vec::new();
    let mut under_way = Vec::new();
    for item in items {
        match item {
            Item::Data { text, last, bytes, .. } => {
                under_way.extend_from_slice(bytes);
                if *last {
                    let bytes = std::mem::take(&mut under_way);
                    messages.push(match text {
                        true => Message::text(String::from_utf8(bytes).unwrap()),
                        false => Message::binary(bytes),
                    });
                }
            }
            Item::Ping(bytes) => messages.push(Message::Ping(Bytes::copy_from_slice(bytes))),
            Item::Pong(bytes) => messages.push(Message::Pong(Bytes::copy_from_slice(bytes))),
            Item::Close(code, reason) => messages.push(Message::Close(
                code.map(|code| protocol::CloseFrame { code: code.to_u16().into(), reason: reason.as_str().into() }),
            )),
        }
    }
    messages
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn we_are_never_laxer_than_tungstenite_and_read_the_same(bytes in any_stream()) {
        let ours = feed(Decoder::new(Role::Server, false), MAX, [&bytes[..]]);
        let messages = as_messages(&ours.items);
        let (theirs, accepted) = oracle(protocol::Role::Server, &bytes);
        if ours.violation.is_none() {
            prop_assert!(accepted, "we accept, tungstenite refuses");
            prop_assert_eq!(messages, theirs);
        } else {
            prop_assert_eq!(&messages[..], &theirs[..messages.len()]);
        }
    }

    #[test]
    fn what_tungstenite_sends_we_read(
        messages in proptest::collection::vec(any_message(), 1..6),
        places in proptest::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        for (theirs, ours) in [(protocol::Role::Client, Role::Server), (protocol::Role::Server, Role::Client)] {
            let mut socket = peer(theirs, b"");
            for message in &messages {
                socket.send(message.clone()).unwrap();
            }
            let bytes = &socket.get_ref().output;
            let mut cuts: Vec<usize> = places.iter().map(|place| place.index(bytes.len() + 1)).collect();
            cuts.sort_unstable();
            let outcome = feed(Decoder::new(ours, false), MAX, cut(bytes, &cuts));
            prop_assert_eq!(outcome.violation, None);
            prop_assert_eq!(as_messages(&outcome.items), messages.clone());
        }
    }

    #[test]
    fn what_we_send_tungstenite_reads(messages in proptest::collection::vec(any_message(), 1..6), key: [u8; 4]) {
        let (mut from_server, mut from_client) = (Vec::new(), Vec::new());
        for message in &messages {
            let (opcode, payload) = match message {
                Message::Text(text) => (Opcode::Text, text.as_bytes()),
                Message::Binary(bytes) => (Opcode::Binary, &bytes[..]),
                Message::Ping(bytes) => (Opcode::Ping, &bytes[..]),
                Message::Pong(bytes) => (Opcode::Pong, &bytes[..]),
                _ => continue,
            };
            client::encode_frame(&mut from_client, opcode, true, false, key, payload);
            match opcode {
                Opcode::Ping => from_server.extend_from_slice(&encoder::ping(payload)),
                Opcode::Pong => from_server.extend_from_slice(&encoder::pong(payload)),
                _ => {
                    let mut header = [0; HEADER_BYTES_MAX];
                    let len = encoder::header(&mut header, opcode, payload.len() as u64, false);
                    from_server.extend_from_slice(&header[..len]);
                    from_server.extend_from_slice(payload);
                }
            }
        }
        from_server.extend_from_slice(&encoder::close(Some(CloseCode::GOING_AWAY), "bye"));
        let mut expected = messages.clone();
        prop_assert_eq!(oracle(protocol::Role::Server, &from_client), (messages, true));
        let code = protocol::frame::coding::CloseCode::Away;
        expected.push(Message::Close(Some(protocol::CloseFrame { code, reason: "bye".into() })));
        prop_assert_eq!(oracle(protocol::Role::Client, &from_server), (expected, true));
    }
}

fn any_message() -> impl Strategy<Value = Message> {
    let size = prop_oneof![5 => 0usize..200, 1 => 65_530usize..65_540];
    let bytes = size.prop_flat_map(|size| proptest::collection::vec(any::<u8>(), size..=size));
    prop_oneof![
        "\\PC{0,100}".prop_map(Message::text),
        bytes.prop_map(Message::binary),
        proptest::collection::vec(any::<u8>(), 0..=125).prop_map(|bytes| Message::Ping(bytes.into())),
        proptest::collection::vec(any::<u8>(), 0..=125).prop_map(|bytes| Message::Pong(bytes.into())),
    ]
}
