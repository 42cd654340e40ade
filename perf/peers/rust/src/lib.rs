//! The publisher that the Rust rivals share: on the process's first thread, driven by the lines of `perf/src/host/mod.rs`.
//!
//! # Contract of the unsafe code
//! Two calls of the C library, with arguments that live as long as the call.

use std::fs::File;
use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// A load.
struct Load {
    rate: f64,
    bytes: usize,
    burst: u64,
    topics: u64,
    seconds: f64,
    subscribers: u64,
    ahead: u64,
    progress: Option<File>,
}

impl Load {
    fn parse(words: &[&str]) -> Load {
        let number = |at: usize| words[at].parse::<f64>().expect("a number");
        Load {
            rate: number(0),
            bytes: number(1) as usize,
            burst: number(2).max(1.0) as u64,
            topics: number(3).max(1.0) as u64,
            seconds: number(4),
            subscribers: number(6) as u64,
            ahead: number(7) as u64,
            progress: (words[8] != "-").then(|| File::open(words[8]).expect("the clients' counters")),
        }
    }

    /// What the clients have checked.
    fn checked(&self) -> u64 {
        let mut bytes = [0; 512];
        let got = self.progress.as_ref().map_or(0, |file| file.read_at(&mut bytes, 0).expect("the clients' counters"));
        bytes[..got].chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("8 bytes"))).sum()
    }
}

pub fn now_ns() -> u64 {
    // std's Instant is CLOCK_MONOTONIC, but does not say its value; the clients need that.
    let mut now = libc_timespec { sec: 0, nsec: 0 };
    // SAFETY: a valid clock and a valid place for the answer.
    unsafe { clock_gettime(1, &mut now) };
    now.sec as u64 * 1_000_000_000 + now.nsec as u64
}

#[repr(C)]
#[allow(non_camel_case_types)]
struct libc_timespec {
    sec: i64,
    nsec: i64,
}

unsafe extern "C" {
    fn clock_gettime(clock: i32, time: *mut libc_timespec) -> i32;
    fn prctl(option: i32, value: u64, ...) -> i32;
}

fn sleep_until(moment_ns: u64) {
    loop {
        let now = now_ns();
        if now >= moment_ns {
            return;
        }
        std::thread::sleep(Duration::from_nanos(moment_ns - now));
    }
}

/// The payload that the clients check: see `perf/src/payload.rs`.
fn payload(seq: u64, intended_ns: u64, bytes: usize) -> String {
    let mut text = format!("FW1 {seq:016x} {intended_ns:016x} ");
    let head = text.len();
    let mut state = seq.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut fill = String::new();
    while head + 9 + fill.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        fill.extend(state.to_le_bytes().iter().map(|byte| char::from(b'A' + (byte & 15))));
    }
    fill.truncate(bytes - head - 9);
    let mut crc = crc32fast::Hasher::new();
    crc.update(text.as_bytes());
    crc.update(fill.as_bytes());
    text += &format!("{:08x} ", crc.finalize());
    text + &fill
}

/// Serves the lines of stdin; `publish` gets the topic's number and the payload.
pub fn run(addr: SocketAddr, mut publish: impl FnMut(usize, String)) {
    // SAFETY: PR_SET_TIMERSLACK takes one number and touches this thread alone.
    unsafe { prctl(29, 1) };
    println!("listening on ws://{addr} publisher-thread");
    let mut sent = 0u64;
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words[0] == "counters" {
            println!("counters {{}}");
        } else {
            let load = Load::parse(&words[1..]);
            let mut one = |intended_ns: u64| {
                publish((sent % load.topics) as usize, payload(sent / load.topics + 1, intended_ns, load.bytes));
                sent += 1;
            };
            let (began, base) = (now_ns(), load.checked());
            let (mut count, mut late) = (0u64, 0);
            if load.rate > 0.0 {
                while count < (load.rate * load.seconds).ceil() as u64 {
                    let intended_ns = began + (count as f64 * 1e9 / load.rate) as u64;
                    sleep_until(intended_ns);
                    late = late.max(now_ns() - intended_ns);
                    one(intended_ns);
                    count += 1;
                }
            } else {
                let end = began + (load.seconds * 1e9) as u64;
                while now_ns() < end {
                    if (count * load.subscribers).saturating_sub(load.checked() - base)
                        > load.ahead * load.burst * load.subscribers
                    {
                        sleep_until(now_ns() + 100_000);
                        continue;
                    }
                    for _ in 0..load.burst {
                        one(now_ns());
                    }
                    count += load.burst;
                }
            }
            println!("published {count} {} {late} 0", now_ns() - began);
        }
        std::io::stdout().flush().expect("stdout");
    }
    std::process::exit(0);
}
