//! A recorded flight at full speed to independent clients (tungstenite): what is delivered and what is announced as lost is
//! what was published, in order, byte for byte.

use std::collections::HashMap;
use std::io::Read;
use std::net::{SocketAddrV4, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::epoll;
use tungstenite::client::IntoClientRequest;
use tungstenite::http::HeaderValue;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Message, WebSocket};

use super::{Bench, CpuMeter, JSON, Scenario};
use crate::envelope::Envelope;
use crate::table::Outcome;

pub const SCENARIO: Scenario = Scenario {
    name: "px4",
    about: "the recorded PX4 flight at full speed to tungstenite subscribers of px4/** on 2 shards; run a: default budgets, run b: 64 MiB, no gaps",
    parameters: &[
        ("file", "../shared/data/px4-flight.ndjson.gz", "the recording, lines of {topic, t_us, data}"),
        ("clients", "1000", "subscribers"),
        ("threads", "2", "threads that share them"),
        ("drivers", "uring,epoll", "the server's drivers, one after the other"),
        ("runs", "a,b", "budgets: a the default, b 64 MiB a lane"),
        ("b_args", "--lane-bytes 64MiB --pool-bytes 2GiB", "the server's budgets of run b"),
        ("shards", "2", "shards of the server"),
        ("patience_s", "60", "seconds without progress before giving up"),
        ("server_args", "", "further arguments of the server"),
    ],
    common: &[],
    run,
};

/// A recording by topic: the data of each message, verbatim.
struct Recording {
    topics: HashMap<Vec<u8>, usize>,
    messages: Vec<Vec<Vec<u8>>>,
}

/// What one client has seen.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    delivered: u64,
    announced: u64,
    gap_notices: u64,
    out_of_order: u64,
    unequal: u64,
    alien: u64,
    complete: bool,
}

fn run(bench: &Bench, outcome: &mut Outcome) -> Result<()> {
    let recording = Recording::open(Path::new(bench.parameters.text("file")))?;
    let published: u64 = recording.messages.iter().map(|lane| lane.len() as u64).sum();
    outcome.count("messages in the recording", published);
    outcome.count("topics in the recording", recording.messages.len() as u64);
    for driver in bench.parameters.list("drivers") {
        for budgets in bench.parameters.list("runs") {
            one_run(bench, outcome, &recording, published, &driver, &budgets)?;
        }
    }
    Ok(())
}

fn one_run(
    bench: &Bench,
    outcome: &mut Outcome,
    recording: &Recording,
    published: u64,
    driver: &str,
    budgets: &str,
) -> Result<()> {
    let clients: usize = bench.parameters.parse("clients")?;
    let threads: usize = bench.parameters.parse("threads")?;
    let patience = Duration::from_secs_f64(bench.parameters.parse("patience_s")?);
    let mut arguments: Vec<(&str, String)> = vec![("driver", driver.into())];
    let extra = if budgets == "b" { bench.parameters.words("b_args") } else { Vec::new() };
    for pair in extra.chunks(2) {
        let [name, value] = pair else { bail!("b_args are pairs of --NAME VALUE") };
        arguments.push((name.trim_start_matches("--"), value.clone()));
    }
    let server = bench.serve(clients, &arguments)?;
    let meter = CpuMeter::start(&server)?;
    let stop = AtomicBool::new(false);
    let progress = AtomicU64::new(0);
    let (ready_sender, ready) = channel();
    let (seen, took) = std::thread::scope(|scope| -> Result<(Vec<Seen>, Duration)> {
        let workers: Vec<_> = (0..threads)
            .map(|i| {
                let share = clients * (i + 1) / threads - clients * i / threads;
                let (sender, stop, progress, addr) = (ready_sender.clone(), &stop, &progress, server.addr());
                scope.spawn(move || subscribe(addr, share, recording, &sender, stop, progress))
            })
            .collect();
        for _ in 0..threads {
            if let Err(words) = ready.recv_timeout(Duration::from_secs(120)).context("the clients do not get ready")? {
                stop.store(true, Ordering::Relaxed);
                bail!("{words}");
            }
        }
        let began = Instant::now();
        let mut replay = Command::new(&bench.binary)
            .arg("replay")
            .arg(bench.parameters.text("file"))
            .args(["--to", &format!("ws://{}", server.addr()), "--speed", "max"])
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .context("starting the replay")?;
        let mut last = (0, Instant::now());
        while !workers.iter().all(|worker| worker.is_finished()) {
            std::thread::sleep(Duration::from_millis(20));
            let now = progress.load(Ordering::Relaxed);
            if now != last.0 {
                last = (now, Instant::now());
            } else if last.1.elapsed() > patience {
                stop.store(true, Ordering::Relaxed);
            }
        }
        let took = began.elapsed();
        if stop.load(Ordering::Relaxed) {
            let _ = replay.kill();
        }
        let status = replay.wait()?;
        if !status.success() && !stop.load(Ordering::Relaxed) {
            outcome.must(format!("{driver} {budgets}: replay"), false, format!("{status}"));
        }
        let mut seen = Vec::new();
        for worker in workers {
            seen.extend(worker.join().map_err(|_| anyhow::anyhow!("a client thread panicked"))??);
        }
        Ok((seen, took))
    })?;

    let name = |what: &str| format!("{driver} {budgets}: {what}");
    let sum = |pick: fn(&Seen) -> u64| seen.iter().map(pick).sum::<u64>();
    let deliveries = sum(|s| s.delivered);
    meter.finish(&name(""), deliveries, outcome)?;
    outcome.figure(name("seconds"), took.as_secs_f64(), "s");
    outcome.figure(name("deliveries per second"), deliveries as f64 / took.as_secs_f64(), "1/s");
    outcome.count(name("delivered"), deliveries);
    outcome.count(name("announced as gaps"), sum(|s| s.announced));
    outcome.count(name("gap notices"), sum(|s| s.gap_notices));
    outcome.exactly(
        name("clients that account for every message of every lane"),
        sum(|s| u64::from(s.complete)),
        clients as u64,
    );
    outcome.exactly(name("delivered + announced"), deliveries + sum(|s| s.announced), published * clients as u64);
    outcome.exactly(name("out of order"), sum(|s| s.out_of_order), 0);
    outcome.exactly(name("not byte-equal"), sum(|s| s.unequal), 0);
    outcome.exactly(name("neither message nor gap nor control"), sum(|s| s.alien), 0);
    if budgets == "b" {
        outcome.exactly(name("gaps with 64 MiB"), sum(|s| s.announced), 0);
    }
    outcome.figure(name("server PSS"), server.memory()?.pss as f64 / (1024.0 * 1024.0), "MiB");
    Ok(())
}

impl Recording {
    fn open(path: &Path) -> Result<Self> {
        let packed = std::fs::read(path).with_context(|| format!("{} (--set file=PATH)", path.display()))?;
        let mut text = Vec::new();
        if packed.starts_with(&[0x1f, 0x8b]) {
            flate2::read::MultiGzDecoder::new(&packed[..]).read_to_end(&mut text)?;
        } else {
            text = packed;
        }
        let mut recording = Recording { topics: HashMap::new(), messages: Vec::new() };
        for (number, line) in text.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
            let object = Envelope::read(line).with_context(|| format!("line {} is no JSON object", number + 1))?;
            let lanes = recording.topics.len();
            let lane = *recording.topics.entry(object.topic.to_vec()).or_insert(lanes);
            if lane == lanes {
                recording.messages.push(Vec::new());
            }
            recording.messages[lane].push(object.data.to_vec());
        }
        Ok(recording)
    }
}

/// One independent client.
struct Client {
    socket: WebSocket<TcpStream>,
    /// The next sequence number of each lane.
    next: Vec<u64>,
    seen: Seen,
    open: bool,
}

/// A thread's share of the clients, from connecting to the last message.
fn subscribe(
    addr: SocketAddrV4,
    share: usize,
    recording: &Recording,
    ready: &Sender<Result<(), String>>,
    stop: &AtomicBool,
    progress: &AtomicU64,
) -> Result<Vec<Seen>> {
    let mut clients = Vec::with_capacity(share);
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for i in 0..share {
        match Client::connect(addr, recording.messages.len()) {
            Ok(client) => {
                epoll::add(&poll, client.socket.get_ref(), epoll::EventData::new_u64(i as u64), epoll::EventFlags::IN)?;
                clients.push(client);
            }
            Err(error) => {
                let _ = ready.send(Err(format!("client {i}: {error:#}")));
                return Err(error);
            }
        }
    }
    let _ = ready.send(Ok(()));
    let mut left = share;
    let mut events = [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }; 256];
    let timeout = rustix::time::Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    while left > 0 && !stop.load(Ordering::Relaxed) {
        let count = match epoll::wait(&poll, &mut events[..], Some(&timeout)) {
            Ok(count) => count,
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        for event in &events[..count] {
            let client = &mut clients[event.data.u64() as usize];
            if !client.open {
                continue;
            }
            let before = client.seen.delivered + client.seen.announced;
            client.read(recording);
            progress.fetch_add(client.seen.delivered + client.seen.announced - before, Ordering::Relaxed);
            let complete =
                client.next.iter().zip(&recording.messages).all(|(next, lane)| *next == lane.len() as u64 + 1);
            if complete || !client.open {
                client.seen.complete = complete;
                client.open = false;
                epoll::delete(&poll, client.socket.get_ref())?;
                left -= 1;
            }
        }
    }
    Ok(clients.into_iter().map(|client| client.seen).collect())
}

impl Client {
    fn connect(addr: SocketAddrV4, lanes: usize) -> Result<Self> {
        let mut request = format!("ws://{addr}/").into_client_request()?;
        request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static(JSON));
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        // A smaller read buffer than its 128 KiB, so that a thousand of them fit a small machine.
        let config = WebSocketConfig::default().read_buffer_size(32 * 1024);
        let (mut socket, _) =
            tungstenite::client::client_with_config(request, stream, Some(config)).context("the handshake")?;
        socket.send(Message::text(r#"{"type":"subscribe","id":1,"topics":["px4/**"]}"#))?;
        socket.send(Message::text(r#"{"type":"ping","id":2}"#))?;
        // The answer to the ping says that the subscription before it has been seen.
        loop {
            let message = socket.read().context("waiting for the subscription")?;
            if Envelope::read(&message.into_data()).is_some_and(|object| object.kind == b"pong") {
                break;
            }
        }
        socket.get_ref().set_nonblocking(true)?;
        Ok(Client { socket, next: vec![1; lanes], seen: Seen::default(), open: true })
    }

    /// Reads until there is nothing more for now.
    fn read(&mut self, recording: &Recording) {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => self.on_object(text.as_bytes(), recording),
                Ok(Message::Ping(_)) => {
                    let _ = self.socket.flush();
                }
                Ok(Message::Close(_)) => self.open = false,
                Ok(_) => self.seen.alien += 1,
                Err(tungstenite::Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.open = false;
                    return;
                }
            }
        }
    }

    fn on_object(&mut self, text: &[u8], recording: &Recording) {
        let Some(object) = Envelope::read(text) else {
            self.seen.alien += 1;
            return;
        };
        match object.kind {
            b"message" => {
                let Some(&lane) = recording.topics.get(object.topic) else {
                    self.seen.alien += 1;
                    return;
                };
                self.seen.out_of_order += u64::from(object.seq != self.next[lane] || object.priority != b"normal");
                self.next[lane] = object.seq + 1;
                self.seen.delivered += 1;
                let right = object.seq.checked_sub(1).and_then(|index| recording.messages[lane].get(index as usize));
                self.seen.unequal += u64::from(right.is_none_or(|right| right != object.data));
            }
            b"gap" => {
                let Some(&lane) = recording.topics.get(object.topic) else {
                    self.seen.alien += 1;
                    return;
                };
                self.seen.out_of_order += u64::from(object.from != self.next[lane] || object.to < object.from);
                self.next[lane] = object.to + 1;
                self.seen.gap_notices += 1;
                self.seen.announced += (object.to + 1).saturating_sub(object.from);
            }
            b"subscribed" | b"pong" | b"welcome" => {}
            _ => self.seen.alien += 1,
        }
    }
}
