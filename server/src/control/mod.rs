//! Job: the control socket: an operator's requests by a Unix socket, one at a time, and SIGHUP.
//! Knows: lines of JSON, who may ask. Must never know: how what is asked for is done.
//!
//! Whoever connects is served in turn: a request is there within [`PATIENCE`], or its connection is closed. So there is one of them
//! at a time, and those that the kernel has queued ([`socket::BACKLOG`]); and who waits for the end of a drain. When the process is
//! to stop, nobody is waited for any more: whoever is connected, and however slow, the end begins at once.

mod command;
mod message;
mod socket;

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

pub use self::command::{ask, run};
pub use self::message::{Answer, Asked, Drained, Said};
use self::socket::ControlSocket;
pub use self::socket::PATH_BYTES_MAX;
use crate::clock;
use crate::exit::{Exit, Failure, OrExit};
use crate::operate::Server;
use crate::patience::Patience;
use crate::signals::StopRequests;
use crate::takeover::{self, Child};

/// How long a request may take to arrive, and an answer to be taken.
const PATIENCE: Duration = Duration::from_secs(5);
/// Where there are no descriptors, it is waited until some are given back.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// The file in a service's runtime directory.
const FILE_NAME: &str = "fanwire.sock";

/// The socket that there is where nothing is said: in the directory that systemd has made for the service (`RuntimeDirectory=`).
pub fn default_path() -> Option<PathBuf> {
    let folders = std::env::var("RUNTIME_DIRECTORY").ok()?;
    let first = folders.split(':').next().filter(|folder| !folder.is_empty())?;
    Some(PathBuf::from(first).join(FILE_NAME))
}

/// What the control thread listens to.
pub struct Control {
    socket: Option<ControlSocket>,
    /// Has a byte for each SIGHUP.
    hangups: UnixStream,
}

impl Control {
    /// Listens: from now on SIGHUP ends the process no more.
    ///
    /// # Errors
    /// 71 where the socket cannot be had: another process listens there, or the path is no place for one.
    pub fn listen(path: Option<PathBuf>) -> Result<Self, Failure> {
        let cannot = || "cannot wait for SIGHUP".to_owned();
        let (hangups, of_signal) = UnixStream::pair().or_exit(Exit::Software, cannot)?;
        hangups.set_nonblocking(true).or_exit(Exit::Software, cannot)?;
        signal_hook::low_level::pipe::register(signal_hook::consts::SIGHUP, of_signal)
            .or_exit(Exit::Software, cannot)?;
        let socket = path.map(ControlSocket::bind).transpose()?;
        Ok(Control { socket, hangups })
    }

    /// Takes requests at a socket that another server has handed over.
    ///
    /// # Errors
    /// 71: its file has gone.
    pub fn adopt(&mut self, listener: OwnedFd, path: PathBuf) -> Result<(), Failure> {
        self.socket = Some(ControlSocket::adopt(listener, path)?);
        Ok(())
    }

    /// Serves whoever asks, until the process is to end. Who waits for that comes back.
    pub fn attend(self, server: &Server<'_>, stop: &StopRequests, is_over: impl Fn() -> bool) -> Waiting {
        let mut waiting = Waiting::default();
        let mut restart: Option<Restart> = None;
        while !stop.is_asked() && !is_over() {
            let mut fds = vec![PollFd::new(stop, PollFlags::IN), PollFd::new(&self.hangups, PollFlags::IN)];
            fds.extend(self.socket.iter().map(|socket| PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN)));
            fds.extend(restart.iter().map(|restart| PollFd::from_borrowed_fd(restart.child.as_fd(), PollFlags::IN)));
            let left = restart.as_ref().map(|restart| restart.until.saturating_duration_since(clock::now()));
            let timeout = left.and_then(|left| Timespec::try_from(left).ok());
            // Interrupted, it is looked at all of it again.
            let _ = poll(&mut fds, timeout.as_ref());
            if self.has_hung_up() {
                server.reload_and_tell();
            }
            if let Some(failure) = restart.as_mut().and_then(Restart::failure) {
                tracing::error!("{:#}", failure.error);
                restart.take().into_iter().for_each(|restart| restart.tell(&Answer::refused(&failure)));
            }
            match self.socket.as_ref().map_or(Ok(None), ControlSocket::accept) {
                Ok(None) => {}
                Ok(Some(stream)) => self.serve((stream, stop), server, &mut waiting, &mut restart),
                Err(error) => {
                    tracing::debug!("control: nobody is accepted just now: {error}");
                    let _ = Patience::of(ACCEPT_AGAIN).wait(stop, PollFlags::IN);
                }
            }
        }
        self.end(server, restart);
        waiting
    }

    /// Answers one request, or keeps who has to wait.
    fn serve(
        &self,
        (stream, stop): (UnixStream, &StopRequests),
        server: &Server<'_>,
        waiting: &mut Waiting,
        restart: &mut Option<Restart>,
    ) {
        let patience = || Patience::of(PATIENCE).unless(stop);
        let asked = match message::read(&stream, patience()) {
            Ok(asked) => asked,
            Err(failure) => return message::write(&stream, &Answer::refused(&failure), patience()),
        };
        tracing::info!(event = "control.request", "control: {asked}");
        let time = Duration::from_millis;
        let answer = match asked {
            Asked::Reload {} => server.reload().map(Said::Reloaded),
            Asked::Revoke(meant) => server.revoke(meant).map(Said::Revoked),
            Asked::Status {} => Ok(Said::Status(server.status())),
            Asked::Report {} => Ok(Said::Report(Box::new(server.report()))),
            Asked::Drain { within_ms } => match server.drain(time(within_ms)) {
                Ok(()) => return waiting.0.push(stream),
                Err(failure) => Err(failure),
            },
            Asked::Restart { within_ms } => match self.start_child(restart.is_some(), time(within_ms)) {
                Ok(child) => return *restart = Some(Restart::of(child, stream)),
                Err(failure) => Err(failure),
            },
            Asked::Takeover { version, within_ms } => {
                let control = self.socket.as_ref().map(|socket| socket.as_fd());
                if let Err(failure) = server.hand_over(stream, version, time(within_ms), control) {
                    tracing::error!("takeover: {:#}", failure.error);
                }
                return;
            }
        };
        let answer = answer.map_or_else(|failure| Answer::refused(&failure), Answer::done);
        message::write(&stream, &answer, patience());
    }

    fn start_child(&self, is_under_way: bool, window: Duration) -> Result<Child, Failure> {
        let refused = |why: &str| Err(Failure::message(Exit::Unavailable, why));
        match &self.socket {
            _ if is_under_way => refused("a restart is under way already"),
            None => refused("there is no control socket to take over by"),
            Some(socket) => Child::start(socket.path(), window),
        }
    }

    /// The process ends: what has become of a restart is told, and the socket left to who goes on.
    fn end(self, server: &Server<'_>, restart: Option<Restart>) {
        let taker = server.taker();
        let answer = match &taker {
            Some(taker) => Answer::done(Said::Restarted { pid: taker.pid }),
            None => Answer::refused(&Failure::message(Exit::Unavailable, "the server ends")),
        };
        if let Some(mut restart) = restart {
            // One that has not taken over is nobody's successor any more. Left alone it would find no server, and start as one.
            if taker.is_none_or(|taker| taker.pid != restart.child.pid()) {
                restart.child.end();
            }
            restart.tell(&answer);
        }
        if taker.is_some_and(|taker| taker.has_control) {
            self.socket.into_iter().for_each(ControlSocket::leave);
        }
    }

    /// Whether there was a SIGHUP. Several at once are one.
    fn has_hung_up(&self) -> bool {
        let mut bytes = [0; 64];
        let mut has = false;
        while matches!(rustix::io::read(&self.hangups, &mut bytes), Ok(1..)) {
            has = true;
        }
        has
    }
}

/// A restart that is under way, and who has asked for it.
struct Restart {
    child: Child,
    stream: UnixStream,
    /// When it is given up.
    until: Instant,
}

impl Restart {
    fn of(child: Child, stream: UnixStream) -> Self {
        Restart { child, stream, until: clock::after(clock::now(), takeover::START_PATIENCE) }
    }

    /// Why nothing comes of it, if so: the process has ended, or has taken too long and is ended.
    fn failure(&mut self) -> Option<Failure> {
        if clock::now() >= self.until {
            self.child.end();
            return Some(Failure::message(
                Exit::Unavailable,
                "the new process has not served in time. This one goes on",
            ));
        }
        self.child.failure()
    }

    fn tell(self, answer: &Answer) {
        message::write(&self.stream, answer, Patience::of(PATIENCE));
    }
}

/// Those who wait for the end of a drain.
#[derive(Default)]
pub struct Waiting(Vec<UnixStream>);

impl Waiting {
    /// Tells them.
    pub fn tell(self, drained: Drained) {
        for stream in self.0 {
            message::write(&stream, &Answer::done(Said::Drained(drained)), Patience::of(PATIENCE));
        }
    }
}
