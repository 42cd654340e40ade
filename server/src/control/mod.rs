//! Job: the control socket: an operator's requests by a Unix socket, one at a time, and SIGHUP.
//! Knows: lines of JSON, who may ask. Must never know: how what is asked for is done.
//!
//! Whoever connects is served in turn: a request is there within [`PATIENCE`], or its connection is closed. So there is one of them
//! at a time, and those that the kernel has queued ([`socket::BACKLOG`]); and who waits for the end of a drain.

mod command;
mod message;
mod socket;

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

pub use self::command::{ask, run};
pub use self::message::{Answer, Asked, Drained, Said};
use self::socket::ControlSocket;
pub use self::socket::PATH_BYTES_MAX;
use crate::exit::{Exit, Failure, OrExit};
use crate::operate::Server;
use crate::signals::StopRequests;
use crate::takeover::Child;

/// How long a request may take to arrive, and an answer to be taken.
const PATIENCE: Duration = Duration::from_secs(5);
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
            // Interrupted, it is looked at all of it again.
            let _ = poll(&mut fds, None);
            if self.has_hung_up() {
                server.reload_and_tell();
            }
            if let Some(failure) = restart.as_mut().and_then(|restart| restart.child.failure()) {
                tracing::error!("{:#}", failure.error);
                restart.take().into_iter().for_each(|restart| restart.tell(&Answer::refused(&failure)));
            }
            if let Some(stream) = self.socket.as_ref().and_then(ControlSocket::accept) {
                self.serve(stream, server, &mut waiting, &mut restart);
            }
        }
        self.end(server, restart);
        waiting
    }

    /// Answers one request, or keeps who has to wait.
    fn serve(&self, mut stream: UnixStream, server: &Server<'_>, waiting: &mut Waiting, restart: &mut Option<Restart>) {
        let asked = match message::read(&mut stream, PATIENCE) {
            Ok(asked) => asked,
            Err(failure) => return message::write(&mut stream, &Answer::refused(&failure), PATIENCE),
        };
        tracing::info!(event = "control.request", "control: {asked}");
        let time = Duration::from_millis;
        let answer = match asked {
            Asked::Reload => server.reload().map(Said::Reloaded),
            Asked::Revoke(meant) => server.revoke(meant).map(Said::Revoked),
            Asked::Status => Ok(Said::Status(server.status())),
            Asked::Report => Ok(Said::Report(Box::new(server.report()))),
            Asked::Drain { within_ms } => match server.drain(time(within_ms)) {
                Ok(()) => return waiting.0.push(stream),
                Err(failure) => Err(failure),
            },
            Asked::Restart { within_ms } => match self.start_child(restart.is_some(), time(within_ms)) {
                Ok(child) => return *restart = Some(Restart { child, stream }),
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
        message::write(&mut stream, &answer, PATIENCE);
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
        restart.into_iter().for_each(|restart| restart.tell(&answer));
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
}

impl Restart {
    fn tell(mut self, answer: &Answer) {
        message::write(&mut self.stream, answer, PATIENCE);
    }
}

/// Those who wait for the end of a drain.
#[derive(Default)]
pub struct Waiting(Vec<UnixStream>);

impl Waiting {
    /// Tells them.
    pub fn tell(self, drained: Drained) {
        for mut stream in self.0 {
            message::write(&mut stream, &Answer::done(Said::Drained(drained)), PATIENCE);
        }
    }
}
