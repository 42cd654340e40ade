//! Reads what a subscriber was sent, frame by frame.
//!
//! Knows the wire of each form; never knows the engine.

use fanwire::proto::batch::{self, Frame};
use fanwire::proto::decoder::{Decoder, Part, Role};
use fanwire::proto::inflate::Inflater;
use fanwire::proto::json::server;
use fanwire::proto::server_message::ServerMessage;
use fanwire::proto::subscribe::Content;

use crate::figures::{Form, TOPIC};

/// The number of messages in `heard`, whole frames in `form`.
///
/// # Panics
/// If one of them is not `payload`, or anything else stands there.
pub fn messages(form: Form, heard: &[u8], payload: &[u8]) -> u32 {
    let mut decoder = Decoder::new(Role::Client, form == Form::RawDeflate);
    let mut inflater = Inflater::new();
    let mut heard = heard.to_vec();
    let mut input = &mut heard[..];
    let mut messages = 0;
    while !input.is_empty() {
        let step = decoder.next(input, 1 << 20).expect("a legal frame");
        let Some(Part::Data { compressed, first: true, last: true, bytes, .. }) = step.part else {
            panic!("not a whole message: {:?}", step.part);
        };
        let consumed = step.consumed;
        messages += match form {
            Form::Raw => {
                assert_eq!(bytes, payload, "verbatim");
                1
            }
            Form::RawDeflate => {
                assert!(compressed, "RSV1");
                let mut inflated = Vec::new();
                inflater.inflate(bytes, 1 << 20, &mut inflated).expect("what is compressed inflates");
                assert_eq!(inflated, payload, "inflated");
                1
            }
            Form::Json => {
                let text = std::str::from_utf8(bytes).expect("UTF-8");
                let Ok(ServerMessage::Message(message)) = server::parse(text) else { panic!("not a message: {text}") };
                assert_eq!(message.topic, TOPIC);
                assert_eq!(message.content, Content::Json(std::str::from_utf8(payload).expect("UTF-8")));
                1
            }
            Form::Batch => {
                let mut scratch = Vec::new();
                let frame = batch::decode(bytes, 1 << 20, &mut scratch, |_, _, _| false).expect("a batch");
                let Frame::Data(data) = frame else { panic!("not a batch of messages") };
                assert!(data.messages().all(|message| message.payload == payload), "payloads in a batch");
                data.message_count()
            }
        };
        input = &mut input[consumed..];
    }
    messages
}
