//! Job: waiting that a signal or a reader gone ends: for names, for TCP, for the answer to an upgrade request.
//! Knows: sockets, poll, deadlines. Must never know: what is said over the connection.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};

use crate::clock;
use crate::signals::StopRequests;

/// What ends a wait before its time.
#[derive(Clone, Copy, Debug)]
pub struct Interrupts<'a> {
    /// Signals.
    pub stop: &'a StopRequests,
    /// Where output goes: who reads it may have gone.
    pub output: Option<BorrowedFd<'a>>,
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// With what was waited for.
    Ready,
    /// It did not come in time.
    TimedOut,
    /// A signal, or nobody reads the output any more.
    Interrupted,
}

/// Why there is no connection.
#[derive(Debug)]
pub enum DialError {
    /// A signal, or nobody reads the output any more.
    Interrupted,
    /// What the system says.
    Io(io::Error),
}

impl From<io::Error> for DialError {
    fn from(error: io::Error) -> Self {
        DialError::Io(error)
    }
}

impl From<Errno> for DialError {
    fn from(errno: Errno) -> Self {
        DialError::Io(errno.into())
    }
}

impl Interrupts<'_> {
    /// Waits until `fd` is as wanted.
    ///
    /// # Errors
    /// Only where polling itself fails.
    pub fn wait(&self, fd: BorrowedFd<'_>, wanted: PollFlags, deadline: Instant) -> io::Result<Waited> {
        loop {
            if self.stop.is_asked() {
                return Ok(Waited::Interrupted);
            }
            let left = deadline.saturating_duration_since(clock::now());
            let stop = self.stop.as_fd();
            let mut polled = vec![PollFd::from_borrowed_fd(fd, wanted), PollFd::from_borrowed_fd(stop, PollFlags::IN)];
            // Without a wish, poll still tells that it is broken.
            polled.extend(self.output.map(|output| PollFd::from_borrowed_fd(output, PollFlags::empty())));
            match poll(&mut polled, Some(&timespec(left))) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno.into()),
            }
            if !polled[0].revents().is_empty() {
                return Ok(Waited::Ready);
            }
            if polled.get(2).is_some_and(|output| is_broken(output.revents())) {
                return Ok(Waited::Interrupted);
            }
            if left.is_zero() {
                return Ok(Waited::TimedOut);
            }
        }
    }

    /// The same, where what does not come in time is an error.
    ///
    /// # Errors
    /// Interrupted, timed out, or what the system says.
    pub fn wait_for(&self, fd: BorrowedFd<'_>, wanted: PollFlags, deadline: Instant) -> Result<(), DialError> {
        match self.wait(fd, wanted, deadline)? {
            Waited::Ready => Ok(()),
            Waited::TimedOut => Err(DialError::Io(io::ErrorKind::TimedOut.into())),
            Waited::Interrupted => Err(DialError::Interrupted),
        }
    }
}

/// True where nobody will ever read what is written to a descriptor that polls like this.
pub fn is_broken(events: PollFlags) -> bool {
    events.intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL)
}

/// A span as poll takes it.
pub fn timespec(span: Duration) -> Timespec {
    Timespec { tv_sec: i64::try_from(span.as_secs()).unwrap_or(i64::MAX), tv_nsec: i64::from(span.subsec_nanos()) }
}

/// A TCP connection that does not block. Each address of the host gets its share of the time that is left.
///
/// # Errors
/// Interrupted, or what the last address said.
pub fn dial(host: &str, port: u16, deadline: Instant, interrupts: &Interrupts<'_>) -> Result<TcpStream, DialError> {
    let addresses = resolve(host, port, deadline, interrupts)?;
    let mut last = DialError::Io(io::Error::other("the name has no address"));
    for (n, address) in addresses.iter().enumerate() {
        let now = clock::now();
        let left = deadline.saturating_duration_since(now);
        let share = left / u32::try_from(addresses.len() - n).unwrap_or(1);
        match dial_address(*address, clock::after(now, share), interrupts) {
            Ok(stream) => return Ok(stream),
            Err(DialError::Interrupted) => return Err(DialError::Interrupted),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn dial_address(address: SocketAddr, deadline: Instant, interrupts: &Interrupts<'_>) -> Result<TcpStream, DialError> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)?;
    match connect(&socket, &address) {
        Ok(()) => {}
        // Interrupted or not, the kernel goes on connecting.
        Err(Errno::INPROGRESS | Errno::INTR) => {
            interrupts.wait_for(socket.as_fd(), PollFlags::OUT, deadline)?;
            sockopt::socket_error(&socket)??;
        }
        Err(errno) => return Err(errno.into()),
    }
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The host's addresses. Names are looked up by a thread of their own: nothing else can be done about a look-up that hangs.
fn resolve(
    host: &str,
    port: u16,
    deadline: Instant,
    interrupts: &Interrupts<'_>,
) -> Result<Vec<SocketAddr>, DialError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let done = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
    let found = look_up(host.to_owned(), port, done.clone())?;
    interrupts.wait_for(done.as_fd(), PollFlags::IN, deadline)?;
    let addresses = found.recv().map_err(io::Error::other)??;
    Ok(addresses)
}

fn look_up(
    host: String,
    port: u16,
    done: Arc<std::os::fd::OwnedFd>,
) -> io::Result<Receiver<io::Result<Vec<SocketAddr>>>> {
    let (sender, receiver) = channel();
    std::thread::Builder::new().name("look-up".into()).spawn(move || {
        let addresses = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
        // Whoever asked may have gone.
        let _ = sender.send(addresses);
        let _ = rustix::io::write(&done, &1u64.to_ne_bytes());
    })?;
    Ok(receiver)
}
