//! Job: the predecessor's side: it shows its sockets, and lets go once the other says that it serves.
//! Knows: the engine's sockets, the stop request. Must never know: how it then ends.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use fanwire::Engine;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt;

use super::{CONTROL, Link, PATIENCE, Ready, START_PATIENCE, VERSION, line, outlet, sockets};
use crate::clock;
use crate::control::{Answer, Said};
use crate::exit::{Exit, Failure, OrExit};
use crate::signals::StopRequests;
use crate::systemd;

const HAS_ENDED: &str = "the new process has ended before it served; everything stays as it was";

/// The process that takes over.
pub struct Taker {
    /// Its number.
    pub pid: i32,
    /// Sockets that it listens on: their names.
    pub sockets: Vec<String>,
    /// It takes requests at the control socket, too.
    pub has_control: bool,
    /// Time over which connections move.
    pub window: Duration,
    /// The way to it.
    pub link: Link,
}

/// Offers the sockets to whoever has asked for them, and waits until it serves. Nothing has changed before that.
///
/// # Errors
/// It does not come so far, or speaks otherwise; or the server is to end.
pub fn offer(
    mut stream: UnixStream,
    (version, window): (u32, Duration),
    engine: &Engine,
    control: Option<BorrowedFd<'_>>,
    stop: &StopRequests,
) -> Result<Taker, Failure> {
    let shown = show(&mut stream, version, engine, control);
    let outlet = match shown {
        Ok(outlet) => outlet,
        Err(failure) => {
            let _ = line::write(&mut stream, &Answer::refused(&failure), PATIENCE);
            return Err(failure);
        }
    };
    let until = clock::after(clock::now(), START_PATIENCE);
    let has_ended = || HAS_ENDED.to_owned();
    wait_for(&stream, stop, until).or_exit(Exit::Unavailable, has_ended)?;
    let Ready { sockets } = line::read(&mut stream, PATIENCE).or_exit(Exit::Unavailable, has_ended)?;
    let peer = sockopt::socket_peercred(&stream).or_exit(Exit::Unavailable, has_ended)?;
    let pid = peer.pid.as_raw_nonzero().get();
    let has_control = sockets.iter().any(|name| name == CONTROL);
    Ok(Taker { pid, sockets, has_control, window, link: Link { stream, outlet } })
}

impl Taker {
    /// Says that the sockets are the other's from now on: this process accepts no more.
    ///
    /// # Errors
    /// 69: it has gone in this moment. Everything stays as it was.
    pub fn let_go(&mut self) -> Result<(), Failure> {
        // Before it says a word itself: what is no main process is not heard.
        systemd::tell_main_pid(self.pid.unsigned_abs());
        let told = line::write(&mut self.link.stream, &Answer::done(Said::HandedOver {}), PATIENCE);
        if told.is_err() {
            systemd::tell_main_pid(std::process::id());
        }
        told.or_exit(Exit::Unavailable, || HAS_ENDED.to_owned())
    }
}

/// Messages are kept for the other from before its first client.
fn show(
    stream: &mut UnixStream,
    version: u32,
    engine: &Engine,
    control: Option<BorrowedFd<'_>>,
) -> Result<fanwire::Outlet, Failure> {
    if version != VERSION {
        let what =
            format!("this server hands over as version {VERSION}, not {version}: drain it, and start the new one");
        return Err(Failure::message(Exit::Unavailable, what));
    }
    let cannot = || "cannot hand the sockets over".to_owned();
    let held = engine.listening_sockets().or_exit(Exit::Address, cannot)?;
    let outlet = outlet(engine)?;
    let names = held.iter().map(|held| held.name.clone()).chain(control.map(|_| CONTROL.to_owned())).collect();
    let lent: Vec<_> = held.iter().map(|held| held.socket.as_fd()).chain(control).collect();
    line::write(stream, &Answer::done(Said::Sockets(names)), PATIENCE).or_exit(Exit::Io, cannot)?;
    sockets::send(stream, &lent).or_exit(Exit::Io, cannot)?;
    Ok(outlet)
}

/// Waits until the stream has something, or its end.
fn wait_for(stream: &UnixStream, stop: &StopRequests, until: Instant) -> io::Result<()> {
    loop {
        let left = until.saturating_duration_since(clock::now());
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        let mut fds = [PollFd::new(stream, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) if !fds[1].revents().is_empty() => return Err(io::Error::other("the server ends already")),
            Ok(_) => return Ok(()),
        }
    }
}
