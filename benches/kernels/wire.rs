//! Frames: written, read, unmasked, checked to be UTF-8; beside tungstenite, simdutf8 and std.

use std::hint::black_box;
use std::io::{self, Read, Write};

use bytes::Bytes;
use criterion::{Criterion, Throughput};
use fanwire::proto::client::encode_frame;
use fanwire::proto::decoder::{Decoder, Part, Role};
use fanwire::proto::header::{HEADER_BYTES_MAX, Opcode};
use fanwire::proto::utf8::Utf8;
use fanwire::proto::{encoder, mask};
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::frame::{Frame, FrameHeader};
use tungstenite::{Message, WebSocket, protocol};

use crate::payload::payload;

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
/// Frames in one piece of received bytes.
const FRAMES: usize = 64;

pub fn benches(criterion: &mut Criterion) {
    for bytes in [512, 16 << 10] {
        encode(criterion, bytes);
        encode_masked(criterion, bytes);
        decode(criterion, bytes, false);
        unmask(criterion, bytes);
    }
    decode(criterion, 512, true);
    utf8(criterion, "ascii", &payload(16 << 10));
    utf8(criterion, "mixed", "Größe 12 µm, 温度 21 °C, 🚀; ".repeat(400).as_bytes());
}

/// A server's frame: what is appended to a log.
fn encode(criterion: &mut Criterion, bytes: usize) {
    let payload = Bytes::from(payload(bytes));
    let ours = |out: &mut Vec<u8>| {
        out.clear();
        let mut header = [0; HEADER_BYTES_MAX];
        let len = encoder::header(&mut header, Opcode::Text, payload.len() as u64, false);
        out.extend_from_slice(&header[..len]);
        out.extend_from_slice(&payload);
    };
    let theirs = |out: &mut Vec<u8>| {
        out.clear();
        Frame::message(payload.clone(), OpCode::Data(Data::Text), true).format(out).expect("a vector takes all");
    };
    let (mut out, mut other) = (Vec::new(), Vec::new());
    ours(&mut out);
    theirs(&mut other);
    assert_eq!(out, other, "both write the same frame");
    let mut group = criterion.benchmark_group(format!("frame-encode/{bytes}"));
    group.throughput(Throughput::Bytes(bytes as u64));
    group.bench_function("fanwire", |b| b.iter(|| ours(black_box(&mut out))));
    group.bench_function("tungstenite", |b| b.iter(|| theirs(black_box(&mut out))));
    group.finish();
}

/// A client's frame.
fn encode_masked(criterion: &mut Criterion, bytes: usize) {
    let payload = Bytes::from(payload(bytes));
    let ours = |out: &mut Vec<u8>| {
        out.clear();
        encode_frame(out, Opcode::Text, true, false, KEY, &payload);
    };
    let theirs = |out: &mut Vec<u8>| {
        out.clear();
        let header = FrameHeader { opcode: OpCode::Data(Data::Text), mask: Some(KEY), ..FrameHeader::default() };
        Frame::from_payload(header, payload.clone()).format(out).expect("a vector takes all");
    };
    let (mut out, mut other) = (Vec::new(), Vec::new());
    ours(&mut out);
    theirs(&mut other);
    assert_eq!(out, other, "both write the same frame");
    let mut group = criterion.benchmark_group(format!("frame-encode-masked/{bytes}"));
    group.throughput(Throughput::Bytes(bytes as u64));
    group.bench_function("fanwire", |b| b.iter(|| ours(black_box(&mut out))));
    group.bench_function("tungstenite", |b| b.iter(|| theirs(black_box(&mut out))));
    group.finish();
}

/// A stream that says the same for ever.
struct Endless {
    bytes: Vec<u8>,
    at: usize,
}

impl Read for Endless {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = out.len().min(self.bytes.len() - self.at);
        out[..n].copy_from_slice(&self.bytes[self.at..self.at + n]);
        self.at = (self.at + n) % self.bytes.len();
        Ok(n)
    }
}

impl Write for Endless {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A client's frames, as they are received: both sides copy them into their receive buffer first, as a kernel would.
fn decode(criterion: &mut Criterion, bytes: usize, text: bool) {
    let payload = payload(bytes);
    let mut wire = Vec::new();
    for _ in 0..FRAMES {
        encode_frame(&mut wire, if text { Opcode::Text } else { Opcode::Binary }, true, false, KEY, &payload);
    }
    let mut received = wire.clone();
    let mut ours = |on_message: &mut dyn FnMut(&[u8])| {
        received.copy_from_slice(&wire);
        let mut decoder = Decoder::new(Role::Server, false);
        let mut input = &mut received[..];
        while !input.is_empty() {
            let step = decoder.next(input, 1 << 20).expect("legal frames");
            let consumed = step.consumed;
            if let Some(Part::Data { bytes, .. }) = step.part {
                on_message(bytes);
            }
            input = &mut input[consumed..];
        }
    };
    let stream = Endless { bytes: wire.clone(), at: 0 };
    let mut socket = WebSocket::from_raw_socket(stream, protocol::Role::Server, None);
    let mut theirs = |on_message: &mut dyn FnMut(&[u8])| {
        for _ in 0..FRAMES {
            match socket.read().expect("legal frames") {
                Message::Text(text) => on_message(text.as_bytes()),
                other => on_message(&other.into_data()),
            }
        }
    };
    for decode in [&mut ours as &mut dyn FnMut(&mut dyn FnMut(&[u8])), &mut theirs] {
        let mut messages = 0;
        decode(&mut |message| {
            assert_eq!(message, payload, "unmasked");
            messages += 1;
        });
        assert_eq!(messages, FRAMES);
    }
    let kind = if text { "frame-decode-text" } else { "frame-decode" };
    let mut group = criterion.benchmark_group(format!("{kind}/{FRAMES}x{bytes}"));
    group.throughput(Throughput::Bytes((FRAMES * bytes) as u64));
    group.bench_function("fanwire", |b| b.iter(|| ours(&mut |message| _ = black_box(message))));
    group.bench_function("tungstenite", |b| b.iter(|| theirs(&mut |message| _ = black_box(message))));
    group.finish();
}

/// In place, beside the RFC's own loop. (tungstenite's masking is in `frame-encode-masked`.)
fn unmask(criterion: &mut Criterion, bytes: usize) {
    let bytewise = |bytes: &mut [u8]| {
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte ^= KEY[i % 4];
        }
    };
    let source = payload(bytes);
    let (mut ours, mut theirs) = (source.clone(), source.clone());
    mask::apply(&mut ours, KEY);
    bytewise(&mut theirs);
    assert!(ours == theirs && ours != source, "both mask alike");
    let mut group = criterion.benchmark_group(format!("unmask/{bytes}"));
    group.throughput(Throughput::Bytes(bytes as u64));
    group.bench_function("fanwire", |b| b.iter(|| mask::apply(black_box(&mut ours), KEY)));
    group.bench_function("bytewise", |b| b.iter(|| bytewise(black_box(&mut theirs))));
    group.finish();
}

fn utf8(criterion: &mut Criterion, name: &str, text: &[u8]) {
    let ours = |text: &[u8]| {
        let mut state = Utf8::new();
        state.push(text).is_ok() && state.is_complete()
    };
    let library = |text: &[u8]| simdutf8::basic::from_utf8(text).is_ok();
    let std = |text: &[u8]| std::str::from_utf8(text).is_ok();
    let mut wrong = text.to_vec();
    wrong[text.len() / 2] = 0xFF;
    for check in [&ours as &dyn Fn(&[u8]) -> bool, &library, &std] {
        assert!(check(text) && !check(&wrong), "UTF-8 is told from what is none");
    }
    let mut group = criterion.benchmark_group(format!("utf8/{name}-{}", text.len()));
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("fanwire", |b| b.iter(|| ours(black_box(text))));
    group.bench_function("simdutf8", |b| b.iter(|| library(black_box(text))));
    group.bench_function("std", |b| b.iter(|| std(black_box(text))));
    group.finish();
}
