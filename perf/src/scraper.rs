//! A scraper: asks an admin port for `/metrics` at a fixed rate on a few connections, and reads what comes.
//!
//! Knows as much of HTTP/1.1 as that takes. Must never know what a metric means.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddrV4, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Connections that it asks on.
const CONNECTIONS: usize = 4;

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Scraped {
    /// Whole texts.
    pub scrapes: u64,
    /// Texts that differ.
    pub texts: HashSet<u64>,
}

/// A scraper at work.
pub struct Scraper {
    ends: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<Scraped>>>,
}

impl Scraper {
    /// Begins, with so many requests a second in all.
    pub fn start(admin: SocketAddrV4, rate: f64) -> Scraper {
        let ends = Arc::new(AtomicBool::new(false));
        let every = Duration::from_secs_f64(CONNECTIONS as f64 / rate);
        let begin = |_| {
            let ends = ends.clone();
            std::thread::spawn(move || scrape(admin, every, &ends))
        };
        let threads = (0..CONNECTIONS).map(begin).collect();
        Scraper { ends, threads }
    }

    /// Ends it.
    ///
    /// # Errors
    /// An answer was none.
    pub fn finish(self) -> Result<Scraped> {
        self.ends.store(true, Ordering::Release);
        let mut all = Scraped::default();
        for thread in self.threads {
            let one = thread.join().map_err(|_| anyhow::anyhow!("a scraper's thread has panicked"))??;
            all.scrapes += one.scrapes;
            all.texts.extend(one.texts);
        }
        Ok(all)
    }
}

fn scrape(admin: SocketAddrV4, every: Duration, ends: &AtomicBool) -> Result<Scraped> {
    let mut scraped = Scraped::default();
    let mut connection = None;
    let mut due = Instant::now();
    while !ends.load(Ordering::Acquire) {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        due += every;
        let stream = match connection.take() {
            Some(stream) => stream,
            None => TcpStream::connect(admin).context("the admin port")?,
        };
        // After a minute the server takes no more on a connection, and closes it: then the next one is new.
        if let Some((stream, body)) = ask(stream, admin)? {
            let mut hasher = DefaultHasher::new();
            body.hash(&mut hasher);
            scraped.texts.insert(hasher.finish());
            scraped.scrapes += 1;
            connection = Some(stream);
        }
    }
    Ok(scraped)
}

/// One request. `None`: the connection had ended before it.
fn ask(mut stream: TcpStream, admin: SocketAddrV4) -> Result<Option<(TcpStream, Vec<u8>)>> {
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\n\r\n");
    if stream.write_all(request.as_bytes()).is_err() {
        return Ok(None);
    }
    let mut bytes = Vec::with_capacity(64 << 10);
    let mut chunk = [0; 64 << 10];
    loop {
        let head = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(end) = head {
            let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            let length = length.context("an answer without a length")?;
            if !head.starts_with("http/1.1 200") {
                bail!("a scrape was answered with: {}", head.lines().next().unwrap_or_default());
            }
            if bytes.len() >= end + 4 + length {
                let body = bytes.split_off(end + 4);
                if !body.ends_with(b"# EOF\n") {
                    bail!("a text without an end");
                }
                return Ok(Some((stream, body)));
            }
        }
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) if bytes.is_empty() => return Ok(None),
            Ok(0) => bail!("an answer was cut off"),
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            Err(error) => return Err(error.into()),
        }
    }
}
