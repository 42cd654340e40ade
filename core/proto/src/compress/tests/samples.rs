//! What the tests compress: made here, the same at every run, and the real recordings where they lie beside the repository.

use std::path::PathBuf;

/// Numbers that look random and are the same at every run (xorshift64*).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| (self.next() >> 56) as u8).collect()
    }
}

/// Telemetry: repetitive in its names, not in its numbers.
pub fn json(len: usize, seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut text = String::new();
    while text.len() < len {
        let n = random.next();
        text += &format!(
            r#"{{"t":{},"imu":{{"ax":{:.6},"ay":{:.6},"gz":{}}},"state":"{}"}},"#,
            1_700_000_000_000u64 + n % 100_000,
            (n % 2_000_003) as f64 / 1e5,
            (n >> 20) as u16 as f64 / 3e3,
            n >> 50,
            if n & 1 == 0 { "ok" } else { "degraded" }
        );
    }
    text.truncate(len);
    text.into_bytes()
}

/// (name, bytes) of this length: JSON, random bytes, zeros, and a mixture whose statistics change on the way, so that a
/// compressor has reason to begin new blocks.
pub fn made(len: usize) -> Vec<(&'static str, Vec<u8>)> {
    let mut random = Random::new(len as u64);
    let mut mixed = Vec::new();
    while mixed.len() < len {
        let part = 1 + random.next() as usize % 30_000;
        match random.next() % 4 {
            0 => mixed.extend(json(part, random.next())),
            1 => mixed.extend(random.bytes(part)),
            2 => mixed.extend(std::iter::repeat_n(b'x', part)),
            _ => mixed.extend((0..part).map(|i| (i / 3) as u8)),
        }
    }
    mixed.truncate(len);
    vec![("json", json(len, 7)), ("random", random.bytes(len)), ("zeros", vec![0; len]), ("mixed", mixed)]
}

/// The recordings, if they are there: (name, bytes).
pub fn recorded() -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let files: Vec<_> = ["OpenSSH.log", "Zookeeper.log"]
        .iter()
        .filter_map(|name| Some((name.to_string(), std::fs::read(folder.join(name)).ok()?)))
        .collect();
    if files.is_empty() {
        println!("no recordings in {}: only made-up input", folder.display());
    }
    files
}
