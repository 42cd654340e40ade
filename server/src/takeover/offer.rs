//! Job: the predecessor's side: it shows its sockets, and lets go once the other says that it serves.
//! Knows: the engine's sockets, the stop request. Must never know: how it then ends.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use fanwire::Engine;
use rustix::net::sockopt;

use super::{CONTROL, Link, PATIENCE, Ready, START_PATIENCE, Settled, VERSION, line, outlet, sockets};
use crate::control::{Answer, Said};
use crate::exit::{Exit, Failure, OrExit};
use crate::patience::Patience;
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
    /// It says so when it has heard that the sockets are its own.
    settles: bool,
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
    stream: UnixStream,
    (version, window): (u32, Duration),
    engine: &Engine,
    control: Option<BorrowedFd<'_>>,
    stop: &StopRequests,
) -> Result<Taker, Failure> {
    let patience = || Patience::of(PATIENCE).unless(stop);
    let shown = show(&stream, version, engine, (control, patience()));
    let outlet = match shown {
        Ok(outlet) => outlet,
        Err(failure) => {
            let _ = line::write(&stream, &Answer::refused(&failure), patience());
            return Err(failure);
        }
    };
    let has_ended = || HAS_ENDED.to_owned();
    let starts = Patience::of(START_PATIENCE).unless(stop);
    let Ready { sockets, settles } = line::read(&stream, starts).or_exit(Exit::Unavailable, has_ended)?;
    let peer = sockopt::socket_peercred(&stream).or_exit(Exit::Unavailable, has_ended)?;
    let pid = peer.pid.as_raw_nonzero().get();
    let has_control = sockets.iter().any(|name| name == CONTROL);
    Ok(Taker { pid, sockets, has_control, settles, window, link: Link { stream, outlet } })
}

impl Taker {
    /// Says that the sockets are the other's from now on, and hears that it goes on: this process accepts no more.
    ///
    /// # Errors
    /// 69: it has gone in this moment. Everything stays as it was.
    pub fn let_go(&mut self, stop: &StopRequests) -> Result<(), Failure> {
        // Before it says a word itself: what is no main process is not heard.
        systemd::tell_main_pid(self.pid.unsigned_abs());
        let told = self.tell(stop);
        if told.is_err() {
            systemd::tell_main_pid(std::process::id());
        }
        told.or_exit(Exit::Unavailable, || HAS_ENDED.to_owned())
    }

    fn tell(&self, stop: &StopRequests) -> io::Result<()> {
        let stream = &self.link.stream;
        let answer = Answer::done(Said::HandedOver { settle: self.settles });
        line::write(stream, &answer, Patience::of(PATIENCE))?;
        if !self.settles {
            return Ok(());
        }
        match line::read(stream, Patience::of(START_PATIENCE).unless(stop))? {
            Settled { settled: true } => Ok(()),
            Settled { settled: false } => Err(io::Error::other("it gives them back")),
        }
    }
}

/// Messages are kept for the other from before its first client.
fn show(
    stream: &UnixStream,
    version: u32,
    engine: &Engine,
    (control, patience): (Option<BorrowedFd<'_>>, Patience<'_>),
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
    line::write(stream, &Answer::done(Said::Sockets(names)), patience).or_exit(Exit::Io, cannot)?;
    sockets::send(stream, &lent, patience).or_exit(Exit::Io, cannot)?;
    Ok(outlet)
}
