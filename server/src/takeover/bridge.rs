//! Job: while two processes serve: what is published on one reaches the subscribers of the other.
//! Knows: the engine's outlet and topics. Must never know: which of the two is the older one.
//!
//! What came from the other is not sent back: outlets tell it apart. A subscriber of either misses nothing, however late it moves.

use std::collections::HashMap;
use std::io::{self, Read as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use fanwire::{Engine, Forwarded, Outlet, PublishError, Topic, TopicError};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{SendFlags, send};

use super::frame::{self, LENGTH_BYTES};
use super::{Link, MESSAGES_MAX};
use crate::clock;
use crate::patience::Patience;

/// How often it is looked whether it is over.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long the other side may take nothing at all.
const WRITE_PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take, when it is over, what is still here for it: less than a process gets that does not end in time
/// ([`crate::engine::HANG_PATIENCE`]).
const LAST_WORDS: Duration = Duration::from_secs(3);
/// How long a full ring is waited for at once.
const ROOM_WAIT: Duration = Duration::from_millis(100);
/// Bytes gathered for one write.
const AT_ONCE: usize = 64 << 10;
/// Topics whose handles are kept.
const TOPICS_KEPT: usize = 4_096;

/// See the module's head. Any thread may end it.
pub struct Bridge {
    stream: UnixStream,
    /// Since when it is over.
    over: OnceLock<Instant>,
    sent: AtomicU64,
    received: AtomicU64,
    lost: AtomicU64,
}

impl Bridge {
    /// One over this link, and what the engine has for it.
    pub fn new(link: Link) -> (Self, Outlet) {
        let Link { stream, outlet } = link;
        let count = AtomicU64::default;
        (Bridge { stream, over: OnceLock::new(), sent: count(), received: count(), lost: count() }, outlet)
    }

    /// Carries messages both ways until the other side has gone, or this is over. `whom`: what the other is called.
    pub fn run(&self, engine: &Engine, mut outlet: Outlet, whom: &str) {
        thread::scope(|scope| {
            scope.spawn(|| {
                if let Err(error) = self.receive(engine) {
                    tracing::warn!("messages of {whom} come no more: {error}");
                }
                self.hang_up();
            });
            if let Err(error) = self.send(&mut outlet) {
                tracing::debug!("messages for {whom} are not taken: {error}");
            }
            self.hang_up();
        });
        let untaken = std::iter::from_fn(|| outlet.next()).filter(|message| !message.is_forwarded).count() as u64;
        let (sent, received, lost) = (self.sent.load(Relaxed), self.received.load(Relaxed), self.lost.load(Relaxed));
        let lost = lost + untaken + outlet.lost();
        let what = format!("{sent} messages went to {whom}, {received} came from there");
        match lost {
            0 => tracing::info!("{what}"),
            _ => tracing::warn!("{what}, {lost} found no room on the way (at most {MESSAGES_MAX} wait)"),
        }
    }

    /// Ends it, when everything that this engine has had for the other is sent, or that takes too long.
    pub fn finish(&self) {
        let _ = self.over.set(clock::now());
    }

    fn is_over(&self) -> bool {
        self.over.get().is_some()
    }

    fn hang_up(&self) {
        self.finish();
        // What the other has not read yet stays readable there.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    fn send(&self, outlet: &mut Outlet) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(AT_ONCE);
        loop {
            let is_last = self.is_over();
            let mut next = if is_last { outlet.next() } else { outlet.wait(LOOK_EVERY) };
            if is_last && next.is_none() {
                return Ok(());
            }
            let mut count = 0;
            while let Some(message) = next {
                if !message.is_forwarded {
                    frame::write(&message, &mut bytes);
                    count += 1;
                }
                drop(message);
                if bytes.len() >= AT_ONCE {
                    break;
                }
                next = outlet.next();
            }
            if let Err(error) = self.write(&bytes) {
                // Some of them may have arrived; none is known to.
                self.lost.fetch_add(count, Relaxed);
                return Err(error);
            }
            self.sent.fetch_add(count, Relaxed);
            bytes.clear();
            bytes.shrink_to(AT_ONCE);
        }
    }

    /// Sends all of it, as long as the other side takes anything.
    fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        let mut taken = clock::now();
        while !bytes.is_empty() {
            match send(&self.stream, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(count) => (taken, bytes) = (clock::now(), &bytes[count..]),
                Err(Errno::AGAIN) => _ = Patience::of(LOOK_EVERY).wait(&self.stream, PollFlags::OUT),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let now = clock::now();
            let is_late = self.over.get().is_some_and(|over| now.saturating_duration_since(*over) > LAST_WORDS);
            if !bytes.is_empty() && (is_late || now.saturating_duration_since(taken) > WRITE_PATIENCE) {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        Ok(())
    }

    fn receive(&self, engine: &Engine) -> io::Result<()> {
        let mut topics = HashMap::new();
        let (mut length, mut bytes) = ([0; LENGTH_BYTES], Vec::new());
        loop {
            match (&self.stream).read_exact(&mut length) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof || self.is_over() => {
                    return Ok(());
                }
                other => other?,
            }
            bytes.resize(frame::length(length).map_err(io::Error::other)?, 0);
            (&self.stream).read_exact(&mut bytes)?;
            let (name, message) = frame::read(&bytes).map_err(io::Error::other)?;
            match self.publish(engine, &mut topics, name, &message) {
                true => self.received.fetch_add(1, Relaxed),
                false => self.lost.fetch_add(1, Relaxed),
            };
            bytes.shrink_to(AT_ONCE);
        }
    }

    /// Publishes one here, waiting for room: meanwhile the other side waits.
    fn publish(
        &self,
        engine: &Engine,
        topics: &mut HashMap<String, Topic>,
        name: &str,
        message: &Forwarded<'_>,
    ) -> bool {
        loop {
            let topic = match topics.get(name) {
                Some(topic) => topic,
                None => match engine.topic(name) {
                    Ok(topic) => {
                        if topics.len() >= TOPICS_KEPT {
                            topics.clear();
                        }
                        topics.entry(name.to_owned()).or_insert(topic)
                    }
                    Err(TopicError::WouldBlock) if !self.is_over() => continue,
                    Err(error) => {
                        tracing::debug!("{name}: {error}");
                        return false;
                    }
                },
            };
            match topic.forward(message, ROOM_WAIT) {
                Ok(_) => return true,
                Err(PublishError::WouldBlock) if !self.is_over() => {}
                // It is made again at the next look.
                Err(PublishError::Removed) => _ = topics.remove(name),
                Err(error) => {
                    tracing::debug!("{name}: {error}");
                    return false;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use fanwire::{Config, Kind, OutletConfig, Priority};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn engine() -> Engine {
        let listen = vec!["127.0.0.1:0".parse().unwrap()];
        Engine::start(Config { listen, shards: Some(1), cpus: Some(Vec::new()), ..Config::default() }).unwrap()
    }

    /// What arrives at an engine on a topic.
    fn watched(engine: &Engine, topic: &str) -> Outlet {
        let topics = vec![fanwire::proto::topic::Pattern::parse(topic).unwrap()];
        engine
            .outlet(OutletConfig { topics, messages_max: 1_000, bytes_max: 1 << 20, leaves_out_forwarded: false })
            .unwrap()
    }

    #[test]
    fn what_is_published_on_either_reaches_both_once() {
        let (one, two) = (engine(), engine());
        let (a, b) = UnixStream::pair().unwrap();
        let link = |stream, engine: &Engine| Link { stream, outlet: super::super::outlet(engine).unwrap() };
        let ((here, out_here), (there, out_there)) = (Bridge::new(link(a, &one)), Bridge::new(link(b, &two)));
        let (mut at_one, mut at_two) = (watched(&one, "t"), watched(&two, "t"));
        thread::scope(|scope| {
            scope.spawn(|| here.run(&one, out_here, "the other"));
            scope.spawn(|| there.run(&two, out_there, "the other"));
            const COUNT: u32 = 300;
            for (engine, tag) in [(&one, "1"), (&two, "2")] {
                let topic = engine.topic("t").unwrap();
                for number in 0..COUNT {
                    let text = format!("{tag} {number}");
                    topic.publish_timeout(Priority::Normal, Kind::Text, text.as_bytes(), PATIENCE).unwrap();
                }
            }
            for outlet in [&mut at_one, &mut at_two] {
                let mut seen = [0, 0];
                while seen != [COUNT; 2] {
                    let got = outlet.wait(PATIENCE).expect("all of them arrive");
                    let text = std::str::from_utf8(&got.payload).unwrap();
                    let (tag, number) = text.split_once(' ').unwrap();
                    let of = usize::from(tag == "2");
                    assert_eq!(number.parse(), Ok(seen[of]), "in their order, once");
                    seen[of] += 1;
                }
            }
            here.finish();
        });
        let counts =
            |bridge: &Bridge| (bridge.sent.load(Relaxed), bridge.received.load(Relaxed), bridge.lost.load(Relaxed));
        assert_eq!((counts(&here), counts(&there)), ((300, 300, 0), (300, 300, 0)));
        assert!(at_one.next().is_none() && at_two.next().is_none());
    }

    #[test]
    fn what_is_no_message_ends_it() {
        let (one, (a, mut b)) = (engine(), UnixStream::pair().unwrap());
        let (bridge, outlet) = Bridge::new(Link { stream: a, outlet: super::super::outlet(&one).unwrap() });
        b.write_all(&[0xff; 64]).unwrap();
        bridge.run(&one, outlet, "the other");
        assert_eq!(bridge.received.load(Relaxed), 0);
    }

    #[test]
    fn who_takes_nothing_delays_no_end_and_what_is_lost_is_counted() {
        let (one, (a, b)) = (engine(), UnixStream::pair().unwrap());
        let (bridge, outlet) = Bridge::new(Link { stream: a, outlet: super::super::outlet(&one).unwrap() });
        let topic = one.topic("t").unwrap();
        const COUNT: u64 = 400;
        for _ in 0..COUNT {
            topic.publish_timeout(Priority::Normal, Kind::Binary, &[0; 16 << 10], PATIENCE).unwrap();
        }
        let until = clock::now() + PATIENCE;
        while one.stats().shards.iter().map(|shard| shard.messages).sum::<u64>() < COUNT {
            assert!(clock::now() < until, "they are not taken in");
            clock::sleep(LOOK_EVERY);
        }
        bridge.finish();
        // It comes back, although the other side is there and takes nothing.
        bridge.run(&one, outlet, "the other");
        drop(b);
        assert!(bridge.sent.load(Relaxed) < COUNT && bridge.lost.load(Relaxed) > 0);
    }
}
