//! The crowd's process: connects its members, then one loop of epoll, receive, check.
//!
//! Reads its commands from stdin, which is one more descriptor in the same epoll. No allocation per message: a frame that is cut
//! off at the end of a receive waits in its member's own buffer, everything else is checked where it lies.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, ipproto};
use rustls::ClientConfig;

use super::member::{Counts, Ledger, Member, Stage};
use super::resume::Resumption;
use super::tls::{self, Tls};
use super::{Command, Event, Group, Report, Spec};
use crate::ahead::Counter;
use crate::form::{Encoding, Form};
use crate::upgrade::Asked;
use crate::{clock, frames, msgpack, rivals, upgrade};

/// Received at once at most. Large, so that a burst costs few calls; a longer frame makes it grow.
const BUFFER_BYTES: usize = 512 * 1024;
/// Marks stdin among the members.
const STDIN: u64 = u64::MAX;
/// Members that share one source address: few of the 28,232 ports that there are by default, for the kernel looks for a free one by
/// trying.
const MEMBERS_PER_SOURCE: usize = 4_000;

/// Runs a crowd until stdin ends.
///
/// # Errors
/// When the process itself cannot go on; members' trouble is counted instead.
pub fn run() -> Result<()> {
    let mut lines = Lines::default();
    let spec = loop {
        if let Some(line) = lines.next() {
            break serde_json::from_str::<Spec>(&line).context("the first line is no spec")?;
        }
        if !lines.fill()? {
            return Ok(());
        }
    };
    let outcome = CrowdLoop::new(spec).and_then(|mut crowd| {
        crowd.connect_all()?;
        crowd.serve(&mut lines)
    });
    if let Err(error) = &outcome {
        say(&Event::Failed(format!("{error:#}")))?;
    }
    outcome
}

pub(super) fn say(event: &Event) -> Result<()> {
    let mut line = serde_json::to_string(event)?;
    line.push('\n');
    std::io::stdout().write_all(line.as_bytes())?;
    Ok(std::io::stdout().flush()?)
}

/// Lines of stdin, read without blocking anything else: only after epoll says that there is something.
#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
}

impl Lines {
    /// One read. False at the end.
    fn fill(&mut self) -> Result<bool> {
        let mut chunk = [0; 4096];
        // Not through std's buffered stdin: what that holds back, epoll does not see.
        let got = rustix::io::read(std::io::stdin(), &mut chunk)?;
        self.bytes.extend_from_slice(&chunk[..got]);
        Ok(got > 0)
    }

    fn next(&mut self) -> Option<String> {
        let end = self.bytes.iter().position(|byte| *byte == b'\n')?;
        let line = String::from_utf8_lossy(&self.bytes[..end]).into_owned();
        self.bytes.drain(..=end);
        Some(line)
    }
}

pub(super) struct CrowdLoop {
    pub(super) spec: Spec,
    form: Form,
    pub(super) resumption: Option<Resumption>,
    progress: Option<Counter>,
    epoll: OwnedFd,
    pub(super) members: Vec<Member>,
    pub(super) ledger: Ledger,
    buffer: Vec<u8>,
    spare_tails: Vec<Vec<u8>>,
    pub(super) pending: usize,
    stalled: bool,
    /// A member that is lost since all were to be there.
    pub(super) dead: Option<usize>,
    window_bytes: u64,
    window_receives: u64,
    /// See [`Report::retries`].
    pub(super) retries: u64,
    /// How TLS is spoken, where it is.
    tls: Option<Arc<ClientConfig>>,
    /// Records, on their way to be opened.
    records: Vec<u8>,
}

impl CrowdLoop {
    fn new(spec: Spec) -> Result<Self> {
        if let Some(cpu) = spec.cpu {
            crate::procfs::pin_to(cpu)?;
        }
        let form = Form::parse(&spec.form)?;
        Ok(CrowdLoop {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            members: Vec::with_capacity(spec.members),
            ledger: Ledger::new(form, spec.stamped),
            buffer: vec![0; BUFFER_BYTES],
            spare_tails: Vec::new(),
            pending: 0,
            stalled: false,
            dead: None,
            window_bytes: 0,
            window_receives: 0,
            retries: 0,
            tls: spec.trusted.as_deref().map(tls::config).transpose()?,
            records: vec![0; if spec.trusted.is_some() { tls::RECORDS_BYTES } else { 0 }],
            form,
            resumption: None,
            progress: spec.progress.as_ref().map(|(path, number)| Counter::open(path, *number)).transpose()?,
            spec,
        })
    }

    fn connect_all(&mut self) -> Result<()> {
        let began = clock::now_ns();
        let mut next = 0;
        self.members.resize_with(self.spec.members, Member::default);
        while next < self.members.len() || self.pending > 0 {
            while next < self.members.len() && self.pending < self.spec.connecting_max {
                self.connect_one(next).with_context(|| format!("member {next}"))?;
                next += 1;
            }
            self.turn(5_000)?;
            if clock::now_ns() - began > 120_000_000_000 {
                bail!("{} members are not connected after 120 s; {:?}", self.pending, self.ledger.trouble);
            }
            self.all_are_alive()?;
        }
        say(&Event::Ready { ns: clock::now_ns() - began })
    }

    pub(super) fn all_are_alive(&self) -> Result<()> {
        if let Some(dead) = self.dead {
            let close = self.members[dead].close;
            bail!("member {dead} was refused or closed ({close:?}): {:?}", self.ledger.trouble);
        }
        Ok(())
    }

    pub(super) fn connect_one(&mut self, index: usize) -> Result<()> {
        let number = self.spec.first_member + index;
        let socket =
            rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, Some(ipproto::TCP))
                .context("no more sockets (is `ulimit -n` too low?)")?;
        if self.spec.server.ip().is_loopback() {
            // Addresses of this process's own: what an earlier crowd left in TIME_WAIT takes no port from it.
            let own = 1 + (std::process::id() % 250) as u8;
            let source = Ipv4Addr::new(127, own, (number / MEMBERS_PER_SOURCE) as u8, 1);
            rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
            rustix::net::bind(&socket, &SocketAddrV4::new(source, 0))?;
        }
        rustix::net::connect(&socket, &self.spec.server)?;
        rustix::net::sockopt::set_tcp_nodelay(&socket, true)?;
        let mut request = Vec::new();
        let target = self.spec.target.replace("{i}", &(number % self.spec.spread.max(1)).to_string());
        upgrade::write_request(&mut request, &self.spec.server.to_string(), &target, asked(self.form));
        rustix::io::ioctl_fionbio(&socket, true)?;
        epoll::add(&self.epoll, &socket, epoll::EventData::new_u64(index as u64), epoll::EventFlags::IN)?;
        let member = &mut self.members[index];
        member.socket = Some(socket);
        member.tls = self.tls.clone().map(|config| Tls::new(config).map(Box::new)).transpose()?;
        member.send(&request);
        self.pending += 1;
        Ok(())
    }

    fn serve(&mut self, lines: &mut Lines) -> Result<()> {
        epoll::add(&self.epoll, std::io::stdin(), epoll::EventData::new_u64(STDIN), epoll::EventFlags::IN)?;
        loop {
            while let Some(line) = lines.next() {
                self.obey(serde_json::from_str(&line).with_context(|| format!("no command: {line}"))?)?;
            }
            if self.turn(1_000)? && !lines.fill()? {
                return Ok(());
            }
        }
    }

    fn obey(&mut self, command: Command) -> Result<()> {
        match command {
            Command::Report { new_window } => {
                let report = self.report(new_window);
                say(&Event::Report(Box::new(report)))?;
            }
            Command::Stall if !self.stalled => {
                self.stalled = true;
                for member in &self.members[..self.spec.apart] {
                    if let Some(socket) = &member.socket {
                        epoll::delete(&self.epoll, socket)?;
                    }
                }
            }
            Command::Wake if self.stalled => {
                self.stalled = false;
                for (index, member) in self.members[..self.spec.apart].iter().enumerate() {
                    if let Some(socket) = &member.socket {
                        epoll::add(
                            &self.epoll,
                            socket,
                            epoll::EventData::new_u64(index as u64),
                            epoll::EventFlags::IN,
                        )?;
                    }
                }
            }
            Command::Stall | Command::Wake => {}
            Command::Leave => self.leave()?,
            Command::Resume { target } => self.resume(target)?,
        }
        Ok(())
    }

    /// One round of events. True if stdin has something.
    pub(super) fn turn(&mut self, wait_ms: i64) -> Result<bool> {
        let mut events = [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }; 512];
        let timeout = rustix::time::Timespec { tv_sec: wait_ms / 1000, tv_nsec: wait_ms % 1000 * 1_000_000 };
        let ready = match epoll::wait(&self.epoll, &mut events[..], Some(&timeout)) {
            Ok(ready) => ready,
            Err(Errno::INTR) => 0,
            Err(error) => return Err(error).context("epoll_wait"),
        };
        let mut stdin = false;
        for event in &events[..ready] {
            let index = event.data.u64();
            if index == STDIN {
                stdin = true;
            } else {
                self.receive(index as usize);
            }
        }
        if let Some(progress) = &mut self.progress {
            progress.set(self.ledger.deliveries);
        }
        Ok(stdin)
    }

    fn receive(&mut self, index: usize) {
        let member = &mut self.members[index];
        let Some(socket) = &member.socket else { return };
        let kept = member.tail.len();
        if kept > 0 {
            self.buffer[..kept].copy_from_slice(&member.tail);
            member.tail.clear();
            self.spare_tails.push(std::mem::take(&mut member.tail));
        }
        let room = &mut self.buffer[kept..];
        let received = match &mut member.tls {
            None => receive(socket, room),
            Some(tls) => tls.receive(socket, &mut self.records, room),
        };
        let end = match received {
            Ok(Some(got)) => kept + got,
            Ok(None) => return self.lose(index, None),
            Err(words) => return self.lose(index, Some(words)),
        };
        self.window_bytes += (end - kept) as u64;
        self.window_receives += 1;
        let now_ns = clock::now_ns();
        let group = usize::from(index < self.spec.apart);
        let mut at = 0;
        if member.stage == Stage::Upgrading {
            match upgrade::check_response(&self.buffer[..end], asked(self.form)) {
                Ok(Some(head)) => {
                    at = head;
                    if self.form.encoding == Encoding::Raw {
                        member.stage = Stage::Open;
                        self.pending -= 1;
                    } else if let Encoding::Nats | Encoding::Foxglove = self.form.encoding {
                        member.stage = Stage::Subscribing(1);
                        let number = (self.spec.first_member + index) % self.spec.spread.max(1);
                        self.ledger.topic = format!("t{number}");
                        if self.form.encoding == Encoding::Nats {
                            let subscribe = rivals::nats_subscribe(&self.ledger.topic);
                            frames::write_masked(&mut self.ledger.reply, frames::BINARY, subscribe.as_bytes());
                        }
                    } else {
                        // A pattern is answered when its first topic comes to be; plain topics can be waited for, and the answer
                        // to a ping says that the subscription before it was seen.
                        let plain = self.spec.topics.iter().filter(|topic| !topic.contains('*')).count();
                        member.stage = Stage::Subscribing(plain + 1);
                        let mut subscribe =
                            serde_json::json!({"type": "subscribe", "id": 1, "topics": self.spec.topics});
                        if self.resumption.is_some() {
                            subscribe["since"] = member.since(&self.ledger);
                        }
                        ask(&mut self.ledger.reply, self.form, &subscribe);
                        ask(&mut self.ledger.reply, self.form, &serde_json::json!({"type": "ping", "id": 2}));
                    }
                }
                Ok(None) => return self.keep(index, 0, end),
                Err(words) => {
                    self.ledger.trouble(|| words);
                    return self.lose(index, None);
                }
            }
        }
        let was_subscribing = matches!(member.stage, Stage::Subscribing(_));
        loop {
            match frames::split(&self.buffer[at..end]) {
                Ok(Some((frame, taken))) => {
                    member.on_frame(frame, now_ns, group, &mut self.ledger);
                    at += taken;
                }
                Ok(None) => break,
                Err(words) => {
                    self.ledger.counts[group].corrupt += 1;
                    self.ledger.trouble(|| words.into());
                    return self.lose(index, None);
                }
            }
        }
        if was_subscribing && member.stage == Stage::Open {
            self.pending -= 1;
        }
        if let Some(resumption) = &mut self.resumption
            && member.stage == Stage::Open
            && let Some(took_ns) = resumption.on_progress(index, member.deliveries + member.announced, now_ns)
        {
            self.ledger.latency.record(took_ns);
        }
        if !self.ledger.reply.is_empty() {
            member.send(&self.ledger.reply);
            self.ledger.reply.clear();
        }
        self.keep(index, at, end);
    }

    /// Keeps the unfinished frame `buffer[at..end]` for the member's next receive.
    fn keep(&mut self, index: usize, at: usize, end: usize) {
        if at == end {
            return;
        }
        let mut tail = self.spare_tails.pop().unwrap_or_default();
        tail.extend_from_slice(&self.buffer[at..end]);
        let wanted = frames::first_frame_bytes(&tail).unwrap_or(0) + BUFFER_BYTES / 4;
        if self.buffer.len() < wanted.max(tail.len() + BUFFER_BYTES / 4) {
            self.buffer.resize(wanted.max(tail.len() + BUFFER_BYTES / 4), 0);
        }
        self.members[index].tail = tail;
    }

    pub(super) fn lose(&mut self, index: usize, why: Option<String>) {
        let member = &mut self.members[index];
        let was_pending = matches!(member.stage, Stage::Upgrading | Stage::Subscribing(_));
        if was_pending {
            self.pending -= 1;
        }
        if member.close.is_none() {
            member.close = Some(1006);
            let words = why.unwrap_or("end of stream".into());
            self.ledger.trouble(|| format!("member {index} ended without a close frame: {words}"));
        }
        member.stage = Stage::Closed;
        member.socket = None;
        member.tls = None;
        if !was_pending || !self.resumption.as_mut().is_some_and(|resumption| resumption.tries_again(index)) {
            self.dead.get_or_insert(index);
        }
    }

    fn report(&mut self, new_window: bool) -> Report {
        let apart = self.spec.apart;
        let mut report = Report {
            window_deliveries: self.ledger.window_deliveries,
            window_bytes: self.window_bytes,
            window_receives: self.window_receives,
            healthy: group(&self.members[apart..], self.ledger.counts[0], &self.ledger),
            apart: group(&self.members[..apart], self.ledger.counts[1], &self.ledger),
            trouble: self.ledger.trouble.clone(),
            retries: self.retries,
            ..Report::default()
        };
        if new_window {
            report.latency = self.ledger.latency.take();
            report.first = self.ledger.first.take();
            self.ledger.is_live = true;
            self.ledger.window_deliveries = 0;
            self.window_bytes = 0;
            self.window_receives = 0;
        }
        report
    }
}

/// One receive: `None` at the end.
fn receive(socket: &OwnedFd, room: &mut [u8]) -> Result<Option<usize>, String> {
    match rustix::net::recv(socket, room, RecvFlags::empty()) {
        Ok((0, _)) => Ok(None),
        Ok((got, _)) => Ok(Some(got)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(Some(0)),
        Err(error) => Err(error.to_string()),
    }
}

/// A raw crowd's lane has no name.
fn is_critical(ledger: &Ledger, lane: u32) -> bool {
    matches!(ledger.form.encoding, Encoding::Json | Encoding::Msgpack | Encoding::Batch)
        && ledger.names.is_critical(lane)
}

fn asked(form: Form) -> Asked<'static> {
    Asked { protocol: form.protocol(), deflate: form.deflate }
}

/// Appends a request in the words of `form`.
fn ask(out: &mut Vec<u8>, form: Form, request: &serde_json::Value) {
    if form.encoding == Encoding::Msgpack {
        let mut bytes = Vec::new();
        msgpack::write(&mut bytes, request);
        frames::write_masked(out, frames::BINARY, &bytes);
    } else {
        frames::write_masked(out, frames::TEXT, request.to_string().as_bytes());
    }
}

fn group(members: &[Member], counts: Counts, ledger: &Ledger) -> Group {
    let critical = |member: &Member| -> u64 {
        member.lanes.iter().filter(|lane| is_critical(ledger, lane.lane)).map(|lane| lane.delivered).sum()
    };
    let numbered = |member: &Member| member.lanes.first().map_or(0, |lane| lane.last);
    let mut group = Group {
        gap_notices: counts.gap_notices,
        holes: counts.holes,
        misordered: counts.misordered,
        corrupt: counts.corrupt,
        members: members.len() as u64,
        least: members.iter().map(|m| m.deliveries + m.announced).min().unwrap_or(0),
        most: members.iter().map(|m| m.deliveries + m.announced).max().unwrap_or(0),
        last_least: members.iter().map(|m| m.last_stamp).min().unwrap_or(0),
        last_most: members.iter().map(|m| m.last_stamp).max().unwrap_or(0),
        numbered_least: members.iter().map(numbered).min().unwrap_or(0),
        numbered_most: members.iter().map(numbered).max().unwrap_or(0),
        critical_least: members.iter().filter(|m| m.socket.is_some()).map(critical).min().unwrap_or(0),
        ..Group::default()
    };
    for member in members {
        group.open += u64::from(member.socket.is_some());
        group.deliveries += member.deliveries;
        group.announced += member.announced;
        if let Some(code) = member.close {
            *group.closes.entry(code).or_default() += 1;
        }
    }
    group
}
