//! What compressing one message costs and saves: libdeflate's levels, ours on top of them, and zlib-rs beside them.
//!
//! `cargo run --release --example deflate_levels [-- ROUNDS [NAME]]`
//!
//! Prints, for each kind of input, compressed size in per cent of the raw size and nanoseconds per message, the best of ROUNDS
//! (60); NAME picks inputs. Real input is taken from `../shared/data` if it is there. This is where the levels of `Effort`, the choice of
//! the bit walker over `Z_SYNC_FLUSH` and the thresholds of `Advisor` come from.

use std::hint::black_box;
use std::io::Read;
use std::time::Instant;

use fanwire::proto::compress::{Advisor, Deflater, Effort};
use fanwire::proto::lz4::Lz4;
use flate2::{Compress, Compression, FlushCompress};
use libdeflater::{CompressionLvl, Compressor, Decompressor};

/// Bytes of each input, or one message. Little, so that a round fits a time slice, and of many rounds the best is undisturbed.
const INPUT_BYTES: usize = 64 << 10;

struct Input {
    name: String,
    messages: Vec<Vec<u8>>,
}

impl Input {
    fn new(name: &str, messages: impl IntoIterator<Item = Vec<u8>>) -> Option<Self> {
        let mut total = 0;
        let messages: Vec<_> = messages
            .into_iter()
            .take_while(|message| {
                let has_room = total < INPUT_BYTES;
                total += message.len();
                has_room
            })
            .collect();
        (!messages.is_empty()).then(|| Input { name: name.into(), messages })
    }

    fn bytes(&self) -> usize {
        self.messages.iter().map(Vec::len).sum()
    }
}

/// A way to compress: appends nothing, tells the compressed length.
type Row = (String, Box<dyn FnMut(&[u8]) -> usize>);

#[allow(clippy::disallowed_methods, reason = "a measurement reads a clock")]
fn main() {
    let rounds = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(60);
    let wanted = std::env::args().nth(2).unwrap_or_default();
    for input in made().into_iter().chain(recorded()).filter(|input| input.name.contains(&wanted)) {
        println!(
            "\n{}: {} messages of {} bytes on average",
            input.name,
            input.messages.len(),
            input.bytes() / input.messages.len()
        );
        let mut rows = rows();
        let mut results = vec![(u128::MAX, 0); rows.len()];
        // Rounds outside, rows inside: a busy moment of the machine then hits one round of each row, not one row.
        for _ in 0..rounds {
            for ((_, compress), (best, bytes)) in rows.iter_mut().zip(&mut results) {
                let began = Instant::now();
                *bytes = input.messages.iter().map(|message| compress(message)).sum();
                *best = began.elapsed().as_nanos().min(*best);
            }
        }
        for ((name, _), (best, bytes)) in rows.iter().zip(results) {
            println!(
                "  {name:34} {:6.1} % {:11.0} ns {:7.2} ns/byte",
                bytes as f64 * 100.0 / input.bytes() as f64,
                best as f64 / input.messages.len() as f64,
                best as f64 / input.bytes() as f64
            );
        }
    }
}

fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for level in [1, 2, 3, 4, 5, 6, 7, 9] {
        let mut compressor = Compressor::new(CompressionLvl::new(level).unwrap_or_default());
        let mut out = Vec::new();
        rows.push((
            format!("libdeflate {level}, BFINAL=1"),
            Box::new(move |message| whole(&mut compressor, message, &mut out)),
        ));
    }
    let mut compressor = Compressor::new(CompressionLvl::new(1).unwrap_or_default());
    let mut decompressor = Decompressor::new();
    let (mut out, mut again) = (Vec::new(), Vec::new());
    rows.push((
        "libdeflate 1 and a decompression".into(),
        Box::new(move |message| {
            let len = whole(&mut compressor, message, &mut out);
            again.resize(message.len(), 0);
            black_box(decompressor.deflate_decompress(&out[..len], &mut again)).ok();
            len
        }),
    ));
    for level in [1, 3, 6] {
        let mut stream = Compress::new(Compression::new(level), false);
        let mut out = Vec::new();
        rows.push((
            format!("zlib-rs {level}, Z_SYNC_FLUSH"),
            Box::new(move |message| {
                stream.reset();
                out.clear();
                // zlib-rs 0.6.8 panics when level 1 runs out of room in the middle of incompressible input.
                out.reserve(message.len() + message.len() / 8 + 1024);
                black_box(stream.compress_vec(message, &mut out, FlushCompress::Sync)).ok();
                out.len().saturating_sub(4)
            }),
        ));
    }
    for effort in [Effort::Fast, Effort::Thorough] {
        let mut deflater = Deflater::new();
        let mut out = Vec::new();
        rows.push((
            format!("ours, {effort:?}"),
            Box::new(move |message| {
                out.clear();
                let _ = deflater.compress(message, effort, 15, &mut out);
                if out.is_empty() { message.len() } else { out.len() }
            }),
        ));
    }
    let (mut deflater, mut advisor, mut out) = (Deflater::new(), Advisor::new(0), Vec::new());
    rows.push((
        "ours, as advised".into(),
        Box::new(move |message| {
            out.clear();
            if let Some(effort) = advisor.advise(message) {
                let outcome = deflater.compress(message, effort, 15, &mut out);
                advisor.record(message.len(), outcome);
            }
            if out.is_empty() { message.len() } else { out.len() }
        }),
    ));
    rows.push((
        "the advice to a new lane".into(),
        Box::new(move |message| if black_box(Advisor::new(0).advise(message)).is_some() { 0 } else { message.len() }),
    ));
    let (mut lz4, mut out) = (Lz4::new(), Vec::new());
    rows.push((
        "lz4".into(),
        Box::new(move |message| {
            out.clear();
            if lz4.compress(message, &mut out) { out.len() } else { message.len() }
        }),
    ));
    rows
}

/// libdeflate's own stream.
fn whole(compressor: &mut Compressor, message: &[u8], out: &mut Vec<u8>) -> usize {
    out.resize(compressor.deflate_compress_bound(message.len()), 0);
    compressor.deflate_compress(message, out).unwrap_or(message.len())
}

/// Numbers that look random and are the same at every run (xorshift64*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| (self.next() >> 56) as u8).collect()
    }
}

/// Telemetry: names that repeat, numbers that do not.
fn telemetry(random: &mut Random, len: usize) -> Vec<u8> {
    let mut text = String::from(r#"{"robot":"rover-1","imu":["#);
    while text.len() < len {
        let n = random.next();
        let [x, y, z] = [n % 40_001, (n >> 20) % 40_001, (n >> 40) % 40_001].map(|n| n as f64 / 1e3 - 20.0);
        text += &format!(r#"{{"t":{},"accel":{{"x":{x:.3},"y":{y:.3},"z":{z:.3}}},"ok":true}},"#, n >> 44);
    }
    text.truncate(len);
    text.into_bytes()
}

fn made() -> Vec<Input> {
    let mut random = Random(1);
    let mut samples = move |name: &str, count: usize, make: &dyn Fn(&mut Random) -> Vec<u8>| {
        Input::new(name, (0..count).map(|_| make(&mut random)))
    };
    let all = [
        samples("JSON 1,200 B", 500, &|random| telemetry(random, 1200)),
        samples("JSON 4 KiB", 200, &|random| telemetry(random, 4 << 10)),
        samples("JSON 64 KiB", 20, &|random| telemetry(random, 64 << 10)),
        samples("JSON 1 MiB", 1, &|random| telemetry(random, 1 << 20)),
        samples("one value 300 times, JSON 4 KiB", 200, &|random| {
            format!(r#"{{"v":{}}}"#, random.next() % 100).repeat(300).into_bytes()
        }),
        samples("f32 points 12 KiB, smooth", 50, &|random| {
            let from = (random.next() % 1000) as f32;
            (0..3072).flat_map(|i| ((from + i as f32 / 100.0).sin() * 10.0).to_le_bytes()).collect()
        }),
        samples("i16 audio 4 KiB, noisy", 200, &|random| {
            (0..2048)
                .map(|i| ((f64::from(i) / 20.0).sin() * 8000.0) as i16 + (random.next() % 512) as i16)
                .flat_map(i16::to_le_bytes)
                .collect()
        }),
        samples("base64 of noise 4 KiB", 200, &|random| {
            const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
            random.bytes(4096).iter().map(|byte| LETTERS[usize::from(byte % 64)]).collect()
        }),
        samples("noise 4 KiB", 200, &|random| random.bytes(4096)),
        samples("noise 64 KiB", 20, &|random| random.bytes(64 << 10)),
        samples("zeros 64 KiB", 20, &|_| vec![0; 64 << 10]),
    ];
    all.into_iter().flatten().collect()
}

fn recorded() -> Vec<Input> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let mut inputs = Vec::new();
    let mut flight = Vec::new();
    if let Ok(file) = std::fs::File::open(folder.join("px4-flight.ndjson.gz")) {
        flate2::read::GzDecoder::new(file).read_to_end(&mut flight).ok();
    }
    let lines = || flight.split(|&byte| byte == b'\n').skip(5000);
    inputs.extend(Input::new("PX4, lines of 1 KiB or more", lines().filter(|l| l.len() >= 1024).map(<[u8]>::to_vec)));
    inputs.extend(Input::new("PX4, lines of less", lines().filter(|l| l.len() < 1024).map(<[u8]>::to_vec)));
    inputs.extend(Input::new("PX4, 16 KiB of lines", flight.chunks(16 << 10).skip(100).map(<[u8]>::to_vec)));
    inputs.extend(Input::new("PX4, 64 KiB of lines", flight.chunks(64 << 10).skip(10).map(<[u8]>::to_vec)));
    inputs.extend(Input::new("PX4, 300 KB of lines", flight.chunks(300_000).skip(10).map(<[u8]>::to_vec)));
    for name in ["OpenSSH.log", "Zookeeper.log"] {
        if let Ok(log) = std::fs::read(folder.join(name)) {
            inputs.extend(Input::new(&format!("{name}, 1,200 B"), log.chunks(1200).map(<[u8]>::to_vec)));
            inputs.extend(Input::new(&format!("{name}, 16 KiB"), log.chunks(16 << 10).map(<[u8]>::to_vec)));
        }
    }
    let gzip = std::fs::read(folder.join("px4-flight.ndjson.gz")).unwrap_or_default();
    inputs.extend(Input::new("a gzip file, 4 KiB", gzip.chunks(4 << 10).skip(100).map(<[u8]>::to_vec)));
    if inputs.is_empty() {
        println!("no recordings in {}", folder.display());
    }
    inputs
}
