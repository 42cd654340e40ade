//! How many bytes recordings take on the wire with dictionaries: `fanwire.dict.v1` beside the payloads as they are.
//!
//! `cargo run --release -p fanwire-benches --example dictionary_bytes -- FILE…` reads recordings (`.gz` or not): lines
//! `{"topic":…,"t_us":…,"data":…}`, each a message of its topic, or else lines of text, all of one topic, 10 ms apart.
//! For each codec and number of messages a frame it prints, as parts of the payloads' bytes: blocks alone, with heads, and
//! with WebSocket headers; the head's bytes a message; what a newcomer is sent; microseconds a message to encode.
//! A reader checks every message; another one joins every 500 messages of a lane, with the history.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Read;
use std::time::{Duration, Instant};

use fanwire::proto::dictionary::{Codec, Decoder, Frame, Lane, LaneEncoder, Limits, Message, Packer};
use fanwire::{Kind, Priority, TopicId};

const LIMITS: Limits = Limits { block_bytes_max: 1 << 20, lanes_max: 1_000 };
/// Messages from one newcomer to the next.
const JOINS: usize = 500;

/// Messages of a topic: time and payload.
type Topic = Vec<(u64, Vec<u8>)>;

fn read(path: &str) -> Result<BTreeMap<String, Topic>, Box<dyn Error>> {
    let mut bytes = std::fs::read(path)?;
    if path.ends_with(".gz") {
        let mut plain = Vec::new();
        flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut plain)?;
        bytes = plain;
    }
    let mut topics: BTreeMap<String, Topic> = BTreeMap::new();
    for (n, line) in String::from_utf8_lossy(&bytes).lines().enumerate() {
        let recorded = line.strip_prefix(r#"{"topic":""#).and_then(|rest| {
            let (topic, rest) = rest.split_once(r#"","t_us":"#)?;
            let (time, data) = rest.split_once(r#","data":"#)?;
            Some((topic, time.parse().ok()?, data.strip_suffix('}')?))
        });
        let (topic, time_us, data) = recorded.unwrap_or(("lines", 10_000 * n as u64, line));
        topics.entry(topic.to_owned()).or_default().push((1_700_000_000_000_000 + time_us, data.into()));
    }
    Ok(topics)
}

#[derive(Default)]
struct Sums {
    messages: usize,
    plain: usize,
    blocks: usize,
    heads: usize,
    frames: usize,
    websocket: usize,
    joins: usize,
    join_bytes: usize,
    encoding: Duration,
}

/// Bytes of a WebSocket header in front of so many.
fn header_bytes(bytes: usize) -> usize {
    match bytes {
        0..126 => 2,
        126..65_536 => 4,
        _ => 10,
    }
}

/// Bytes in front of the block: numbers end with a byte below 128.
fn head_bytes(frame: &[u8]) -> usize {
    let mut at = 1;
    let number = |at: &mut usize| {
        let (start, mut number) = (*at, 0);
        while frame[*at] > 127 {
            *at += 1;
        }
        *at += 1;
        for &byte in frame[start..*at].iter().rev() {
            number = number << 7 | usize::from(byte & 127);
        }
        number
    };
    number(&mut at);
    if frame[0] & 0x10 != 0 {
        at += 1;
    }
    if frame[0] & 0x80 != 0 {
        number(&mut at);
        for _ in 0..2 * number(&mut at) {
            number(&mut at);
        }
        at += 4;
    }
    number(&mut at);
    number(&mut at);
    at
}

fn is_same(frame: &Frame<'_>, sent: &[Message<'_>]) -> bool {
    matches!(frame, Frame::Data { messages, .. } if messages == sent)
}

fn measure(topics: &BTreeMap<String, Topic>, codec: Codec, gathered: usize) -> Result<Sums, Box<dyn Error>> {
    let mut packer = Packer::new(codec);
    let mut sums = Sums::default();
    for (id, topic) in topics.values().enumerate() {
        let mut lane = LaneEncoder::new(Lane { topic_id: TopicId(id as u32 + 1), priority: Priority::Normal });
        let (mut first, mut newest) = (Decoder::new(codec, LIMITS), Decoder::new(codec, LIMITS));
        let mut joined = 0;
        for (n, group) in topic.chunks(gathered).enumerate() {
            let messages: Vec<Message<'_>> = group
                .iter()
                .enumerate()
                .map(|(k, (time_us, payload))| Message {
                    seq: (n * gathered + k) as u64 + 1,
                    time_us: *time_us,
                    payload,
                })
                .collect();
            if n * gathered >= joined + JOINS {
                joined = n * gathered;
                newest = Decoder::new(codec, LIMITS);
                let mut frames = Vec::new();
                lane.history(&mut packer, &mut Vec::new(), |out, start| frames.push(out.split_off(start)));
                for frame in &frames {
                    newest.frame(frame)?;
                    sums.join_bytes += frame.len() + header_bytes(frame.len());
                }
                sums.joins += 1;
            }
            let mut frame = Vec::with_capacity(4_096);
            let begun = Instant::now();
            lane.data(&mut packer, Kind::Json, &messages, &mut frame)?;
            sums.encoding += begun.elapsed();
            if !is_same(&first.frame(&frame)?, &messages) || !is_same(&newest.frame(&frame)?, &messages) {
                return Err("what was read is not what was written".into());
            }
            let head = head_bytes(&frame);
            sums.messages += messages.len();
            sums.plain += messages.iter().map(|message| message.payload.len()).sum::<usize>();
            sums.heads += head;
            sums.blocks += frame.len() - head;
            sums.frames += frame.len();
            sums.websocket += frame.len() + header_bytes(frame.len());
        }
    }
    Ok(sums)
}

fn main() -> Result<(), Box<dyn Error>> {
    println!(
        "{:<24} {:>7} {:>4} {:>6} {:>6} {:>6} {:>6} {:>5} {:>6} {:>5}",
        "recording", "codec", "each", "mean", "block", "frame", "wire", "head", "join", "us"
    );
    for path in std::env::args().skip(1) {
        let topics = read(&path)?;
        for codec in [Codec::Lz4, Codec::Deflate] {
            for gathered in [1, 4, 16] {
                let sums = measure(&topics, codec, gathered)?;
                let (messages, plain) = (sums.messages.max(1) as f64, sums.plain.max(1) as f64);
                println!(
                    "{:<24} {:>7} {:>4} {:>6.1} {:>6.3} {:>6.3} {:>6.3} {:>5.1} {:>6.0} {:>5.1}",
                    path.rsplit('/').next().unwrap_or(&path),
                    format!("{codec:?}"),
                    gathered,
                    plain / messages,
                    sums.blocks as f64 / plain,
                    sums.frames as f64 / plain,
                    sums.websocket as f64 / plain,
                    sums.heads as f64 / messages,
                    sums.join_bytes as f64 / sums.joins.max(1) as f64,
                    sums.encoding.as_secs_f64() * 1e6 / messages,
                );
            }
        }
    }
    Ok(())
}
