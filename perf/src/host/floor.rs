//! The floor: what the kernel alone costs for the same pattern. A frame is built once, then one send per subscriber, in a loop
//! (`send`) or 64 to a system call through a bare io_uring (`ring`). BURST frames lie behind each other and go in one send.
//!
//! Accepts, answers the upgrade and never reads again. No server could do less: no subscription, no back-pressure, no
//! protocol. Its sockets block, so a client that does not keep up holds everybody up, and nothing is lost.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::net::SendFlags;

use super::ring::SendRing;
use super::{HostSpec, Load, Loaded, Order, Schedule, Source, lines, order, pin, say, say_published};
use crate::{clock, procfs, upgrade};

/// Who sends.
enum Sender {
    Loop,
    Ring(Box<SendRing>),
}

struct Floor {
    sender: Sender,
    /// Subscribers by topic.
    topics: Vec<Vec<TcpStream>>,
    source: Source,
    frames: Vec<u8>,
    sends: u64,
    deliveries: u64,
}

pub fn run(spec: &HostSpec) -> Result<()> {
    pin(spec)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    rustix::net::listen(&listener, 4096)?;
    listener.set_nonblocking(true)?;
    say(&format!("listening on ws://{}", listener.local_addr()?))?;
    let (sender, orders) = channel();
    // Commands come by a thread that sleeps while anything is measured.
    std::thread::spawn(move || {
        for line in lines() {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let mut floor = Floor {
        sender: if spec.kind == "ring" { Sender::Ring(Box::new(SendRing::new()?)) } else { Sender::Loop },
        topics: Vec::new(),
        source: Source::new(),
        frames: Vec::new(),
        sends: 0,
        deliveries: 0,
    };
    floor.serve(spec, &listener, &orders)
}

impl Floor {
    fn serve(&mut self, spec: &HostSpec, listener: &TcpListener, orders: &Receiver<String>) -> Result<()> {
        loop {
            match orders.try_recv() {
                Ok(line) => match order(&line)? {
                    Order::Publish(load) => say_published(self.publish(&load)?)?,
                    Order::Burst(count, bytes, _) => say_published(self.burst(spec, count, bytes)?)?,
                    Order::Counters => {
                        let counters = serde_json::json!({"sends": self.sends, "deliveries": self.deliveries});
                        say(&format!("counters {counters}"))?;
                    }
                },
                Err(TryRecvError::Disconnected) => return Ok(()),
                Err(TryRecvError::Empty) => match listener.accept() {
                    Ok((stream, _)) => self.accept(stream)?,
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                        std::thread::sleep(Duration::from_millis(2));
                    }
                    Err(error) => return Err(error.into()),
                },
            }
        }
    }

    fn accept(&mut self, mut stream: TcpStream) -> Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        let mut request = Vec::new();
        while !request.windows(4).any(|window| window == b"\r\n\r\n") {
            let mut chunk = [0; 1024];
            let got = stream.read(&mut chunk)?;
            anyhow::ensure!(got > 0 && request.len() < 16_384, "no upgrade request");
            request.extend_from_slice(&chunk[..got]);
        }
        let text = String::from_utf8_lossy(&request);
        let topic: usize = text
            .strip_prefix("GET /t/t")
            .and_then(|rest| rest.split(' ').next())
            .and_then(|number| number.parse().ok())
            .context("the floor has topics t0, t1 and so on")?;
        stream.write_all(upgrade::response().as_bytes())?;
        if self.topics.len() <= topic {
            self.topics.resize_with(topic + 1, Vec::new);
        }
        self.topics[topic].push(stream);
        Ok(())
    }

    fn publish(&mut self, load: &Load) -> Result<Loaded> {
        self.source.begin(load);
        if let Sender::Ring(ring) = &mut self.sender {
            ring.register(self.topics.iter().flatten().map(AsRawFd::as_raw_fd))?;
        }
        let numbers: HashMap<RawFd, u32> =
            self.topics.iter().flatten().enumerate().map(|(at, stream)| (stream.as_raw_fd(), at as u32)).collect();
        let began = clock::now_ns();
        let mut loaded = Loaded::default();
        if load.rate > 0.0 {
            let mut schedule = Schedule::new(load);
            while let Some((intended_ns, late_ns)) = schedule.wait() {
                let topic = self.frames(intended_ns, load.bytes, 1);
                self.send(topic, 1, &numbers)?;
                loaded.late_ns = loaded.late_ns.max(late_ns);
                loaded.sent += 1;
            }
        } else {
            let end = began + (load.seconds * 1e9) as u64;
            let window = load.window()?;
            while clock::now_ns() < end {
                // What a server would not do is not booked on it.
                let asking = clock::thread_cpu_ns();
                while !window.is_open(loaded.sent * load.subscribers as u64) && clock::now_ns() < end {
                    clock::sleep_until(clock::now_ns() + 50_000);
                }
                loaded.waiting_ns += clock::thread_cpu_ns() - asking;
                // Frames of several topics would not be contiguous: a burst there is as many turns.
                let together = if load.topics == 1 { load.burst } else { 1 };
                for _ in 0..load.burst / together {
                    let topic = self.frames(clock::now_ns(), load.bytes, together);
                    self.send(topic, together, &numbers)?;
                }
                loaded.sent += load.burst as u64;
            }
        }
        loaded.ns = clock::now_ns() - began;
        Ok(loaded)
    }

    /// Everything at once to everybody, by as many threads as the engine would have shards, each with its part of the sockets.
    fn burst(&mut self, spec: &HostSpec, count: usize, bytes: usize) -> Result<Loaded> {
        anyhow::ensure!(matches!(self.sender, Sender::Loop), "only the plain loop sends bursts");
        let topic = self.frames(clock::now_ns(), bytes, count);
        let streams = self.topics.get(topic).map_or(&[][..], Vec::as_slice);
        let frames = &self.frames[..];
        let began = clock::now_ns();
        let part = streams.len().div_ceil(spec.shards.max(1)).max(1);
        std::thread::scope(|scope| {
            let threads: Vec<_> = streams
                .chunks(part)
                .enumerate()
                .map(|(at, streams)| {
                    scope.spawn(move || {
                        spec.cpus.get(at).map_or(Ok(()), |cpu| procfs::pin_to(*cpu))?;
                        send_to_all(streams, frames)
                    })
                })
                .collect();
            threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| anyhow::bail!("a sender died")))
        })?;
        self.sends += streams.len() as u64;
        self.deliveries += (streams.len() * count) as u64;
        Ok(Loaded { sent: count as u64, ns: clock::now_ns() - began, ..Loaded::default() })
    }

    /// Builds the next frames, all of one topic.
    fn frames(&mut self, intended_ns: u64, bytes: usize, count: usize) -> usize {
        self.frames.clear();
        let mut topic = 0;
        for _ in 0..count {
            let (of, message) = self.source.next(intended_ns, bytes);
            topic = of;
            crate::frames::write_plain(&mut self.frames, crate::frames::TEXT, message);
        }
        topic
    }

    fn send(&mut self, topic: usize, count: usize, numbers: &HashMap<RawFd, u32>) -> Result<()> {
        let Some(streams) = self.topics.get(topic) else { return Ok(()) };
        match &mut self.sender {
            Sender::Loop => send_to_all(streams, &self.frames)?,
            Sender::Ring(ring) => {
                let first = streams.first().map_or(0, |stream| numbers[&stream.as_raw_fd()]);
                ring.send_to_all(first..first + streams.len() as u32, &self.frames)?;
            }
        }
        self.sends += streams.len() as u64;
        self.deliveries += (streams.len() * count) as u64;
        Ok(())
    }
}

/// The plain loop.
fn send_to_all(streams: &[TcpStream], frames: &[u8]) -> Result<()> {
    for stream in streams {
        let mut rest = frames;
        while !rest.is_empty() {
            rest = &rest[rustix::net::send(stream, rest, SendFlags::NOSIGNAL)?..];
        }
    }
    Ok(())
}
