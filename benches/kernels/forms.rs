//! The forms of a message: compressed, in an envelope, in a batch; beside flate2, serde_json and a plain copy.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use fanwire::proto::batch::{self, BatchEncoder, BatchHead, BatchLimits};
use fanwire::proto::compress::{Compressed, Deflater, Effort};
use fanwire::proto::inflate::Inflater;
use fanwire::proto::json::{self, Body, JsonCheck};
use fanwire::proto::lz4::{self, Lz4};
use fanwire::{Kind, Priority, TopicId};
use flate2::{Compress, Compression, FlushCompress, Status};
use serde_json::value::RawValue;

use crate::payload::payload;

/// Messages in a batch.
const BATCH: u64 = 50;

pub fn benches(criterion: &mut Criterion) {
    for bytes in [1_200, 16 << 10] {
        deflate(criterion, bytes);
    }
    for bytes in [512, 16 << 10] {
        check(criterion, bytes);
        envelope(criterion, bytes);
    }
    batches(criterion);
}

/// One compression, to a whole permessage-deflate payload; the twin is zlib-rs through flate2, less the four bytes that RFC 7692
/// leaves out.
fn deflate(criterion: &mut Criterion, bytes: usize) {
    let payload = payload(bytes);
    let mut deflater = Deflater::new();
    let mut ours = |effort: Effort, out: &mut Vec<u8>| {
        out.clear();
        deflater.compress(&payload, effort, 15, out)
    };
    let levels = [1, 6];
    let mut streams = levels.map(|level| Compress::new(Compression::new(level), false));
    let mut theirs = |level: usize, out: &mut Vec<u8>| {
        out.clear();
        let stream = &mut streams[level];
        stream.reset();
        let status = stream.compress_vec(&payload, out, FlushCompress::Sync).expect("zlib compresses");
        assert_eq!((status, stream.total_in()), (Status::Ok, payload.len() as u64), "in one call");
        out.truncate(out.len() - 4);
    };
    let mut out = Vec::with_capacity(Deflater::spare(bytes) + 1_024);
    let mut inflater = Inflater::new();
    let mut is_right = |compressed: &[u8]| {
        let mut inflated = Vec::new();
        inflater.inflate(compressed, 1 << 20, &mut inflated).expect("it inflates");
        inflated == payload
    };
    for effort in [Effort::Fast, Effort::Thorough] {
        assert!(matches!(ours(effort, &mut out), Compressed::Deflated(_)) && is_right(&out), "{effort:?}");
        println!("deflate/{bytes}/fanwire-{effort:?}: {} bytes", out.len());
    }
    for (index, level) in levels.iter().enumerate() {
        theirs(index, &mut out);
        assert!(is_right(&out), "flate2 {level}");
        println!("deflate/{bytes}/flate2-{level}: {} bytes", out.len());
    }
    let mut group = criterion.benchmark_group(format!("deflate/{bytes}"));
    group.throughput(Throughput::Bytes(bytes as u64));
    group.bench_function("fanwire-fast", |b| b.iter(|| ours(Effort::Fast, black_box(&mut out))));
    group.bench_function("flate2-1", |b| b.iter(|| theirs(0, black_box(&mut out))));
    group.bench_function("fanwire-thorough", |b| b.iter(|| ours(Effort::Thorough, black_box(&mut out))));
    group.bench_function("flate2-6", |b| b.iter(|| theirs(1, black_box(&mut out))));
    group.finish();
}

/// Whether a payload is one JSON value.
fn check(criterion: &mut Criterion, bytes: usize) {
    let payload = payload(bytes);
    let mut check = JsonCheck::new();
    let mut ours = |payload: &[u8]| check.is_valid(payload);
    let theirs = |payload: &[u8]| serde_json::from_slice::<serde::de::IgnoredAny>(payload).is_ok();
    let wrong = &payload[..bytes - 1];
    assert!(ours(&payload) && !ours(wrong) && theirs(&payload) && !theirs(wrong), "JSON is told from what is none");
    let mut group = criterion.benchmark_group(format!("json-check/{bytes}"));
    group.throughput(Throughput::Bytes(bytes as u64));
    group.bench_function("fanwire", |b| b.iter(|| ours(black_box(&payload))));
    group.bench_function("serde_json", |b| b.iter(|| theirs(black_box(&payload))));
    group.finish();
}

/// A `message` object as a program with serde_json would write it.
#[derive(serde::Serialize)]
struct Envelope<'a> {
    r#type: &'a str,
    topic: &'a str,
    priority: &'a str,
    seq: u64,
    time_us: u64,
    data: &'a RawValue,
}

/// A JSON payload checked and put into a `message` object.
fn envelope(criterion: &mut Criterion, bytes: usize) {
    let payload = payload(bytes);
    let (topic, seq, time_us) = ("rover/1/imu", 123_456, 1_700_000_000_000_000);
    let mut check = JsonCheck::new();
    let mut ours = |out: &mut Vec<u8>| {
        out.clear();
        let body = Body::of(Kind::Json, &payload, &mut check);
        json::message(out, topic.as_bytes(), Priority::Normal, seq, time_us, &body);
    };
    let theirs = |out: &mut Vec<u8>| {
        out.clear();
        let data = serde_json::from_slice(&payload).expect("JSON");
        let envelope = Envelope { r#type: "message", topic, priority: "normal", seq, time_us, data };
        serde_json::to_writer(out, &envelope).expect("a vector takes all");
    };
    let (mut out, mut other) = (Vec::new(), Vec::new());
    ours(&mut out);
    theirs(&mut other);
    assert_eq!(out, other, "both write the same object");
    let mut group = criterion.benchmark_group(format!("json-envelope/{bytes}"));
    group.throughput(Throughput::Bytes(bytes as u64));
    group.bench_function("fanwire", |b| b.iter(|| ours(black_box(&mut out))));
    group.bench_function("serde_json", |b| b.iter(|| theirs(black_box(&mut out))));
    group.finish();
}

/// A batch of 50 messages, begun, filled and closed; beside copying the payloads one behind the other.
fn batches(criterion: &mut Criterion) {
    let payload = payload(512);
    let head = BatchHead { topic_id: TopicId(1), priority: Priority::Normal, kind: Kind::Json, first_seq: 7 };
    let fill = |out: &mut Vec<u8>| {
        out.clear();
        let mut encoder = BatchEncoder::begin(out, head, BatchLimits::default());
        for n in 0..BATCH {
            encoder.push(out, 7 + n, Kind::Json, 1_700_000_000_000_000_000 + n, &payload).expect("50 messages fit");
        }
        encoder
    };
    let plain = |out: &mut Vec<u8>| fill(out).finish(out);
    let (mut lz4, mut scratch) = (Lz4::new(), Vec::new());
    let mut packed = |out: &mut Vec<u8>| fill(out).finish_lz4(out, &mut scratch, |block, out| lz4.compress(block, out));
    let copied = |out: &mut Vec<u8>| {
        out.clear();
        (0..BATCH).for_each(|_| out.extend_from_slice(&payload));
    };
    let is_right = |frame: &[u8]| {
        let mut scratch = Vec::new();
        let unpack = |block: &[u8], size, out: &mut Vec<u8>| lz4::decompress(block, size, 1 << 20, out).is_ok();
        let Ok(batch::Frame::Data(data)) = batch::decode(frame, 1 << 20, &mut scratch, unpack) else { return false };
        data.messages().count() as u64 == BATCH && data.messages().all(|message| message.payload == payload)
    };
    let mut out = Vec::new();
    plain(&mut out);
    assert!(is_right(&out), "a batch");
    assert!(packed(&mut out) && is_right(&out), "a batch with LZ4");
    copied(&mut out);
    assert_eq!(out.len() as u64, BATCH * payload.len() as u64);
    let mut group = criterion.benchmark_group(format!("batch-close/{BATCH}x{}", payload.len()));
    group.throughput(Throughput::Elements(BATCH));
    group.bench_function("fanwire", |b| b.iter(|| plain(black_box(&mut out))));
    group.bench_function("copy", |b| b.iter(|| copied(black_box(&mut out))));
    group.bench_function("fanwire-lz4", |b| b.iter(|| packed(black_box(&mut out))));
    group.finish();
}
