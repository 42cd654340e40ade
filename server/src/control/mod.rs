//! Job: the control socket: an operator's requests by a Unix socket, one at a time, and SIGHUP.
//! Knows: lines of JSON, who may ask. Must never know: how what is asked for is done.
//!
//! Whoever connects is served in turn: a request is there within [`PATIENCE`], or its connection is closed. So there is one of them
//! at a time, and those that the kernel has queued ([`socket::BACKLOG`]); and who waits for the end of a drain.

mod command;
mod message;
mod socket;

use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

pub use self::command::{ask, run};
use self::message::Answer;
pub use self::message::{Asked, Drained, Said};
use self::socket::ControlSocket;
pub use self::socket::PATH_BYTES_MAX;
use crate::exit::{Exit, Failure, OrExit};
use crate::operate::Server;
use crate::signals::StopRequests;

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

    /// Serves whoever asks, until the process is to end. Who waits for that comes back.
    pub fn attend(self, server: &Server<'_>, stop: &StopRequests, is_over: impl Fn() -> bool) -> Waiting {
        let mut waiting = Waiting::default();
        while !stop.is_asked() && !is_over() {
            let mut fds = vec![PollFd::new(stop, PollFlags::IN), PollFd::new(&self.hangups, PollFlags::IN)];
            fds.extend(self.socket.iter().map(|socket| PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN)));
            // Interrupted, it is looked at all of it again.
            let _ = poll(&mut fds, None);
            if self.has_hung_up() {
                server.reload_and_tell();
            }
            if let Some(stream) = self.socket.as_ref().and_then(ControlSocket::accept)
                && let Some(stream) = serve(stream, server)
            {
                waiting.0.push(stream);
            }
        }
        waiting
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

/// Answers one request. Who has to wait for the end comes back.
fn serve(mut stream: UnixStream, server: &Server<'_>) -> Option<UnixStream> {
    let asked = match message::read(&mut stream, PATIENCE) {
        Ok(asked) => asked,
        Err(failure) => {
            message::write(&mut stream, &Answer::refused(&failure), PATIENCE);
            return None;
        }
    };
    tracing::info!(event = "control.request", "control: {asked}");
    let answer = match asked {
        Asked::Reload => server.reload().map(Said::Reloaded),
        Asked::Revoke(meant) => server.revoke(meant).map(Said::Revoked),
        Asked::Status => Ok(Said::Status(server.status())),
        Asked::Report => Ok(Said::Report(Box::new(server.report()))),
        Asked::Drain { within_ms } => match server.drain(Duration::from_millis(within_ms)) {
            Ok(()) => return Some(stream),
            Err(failure) => Err(failure),
        },
    };
    let answer = answer.map_or_else(|failure| Answer::refused(&failure), Answer::done);
    message::write(&mut stream, &answer, PATIENCE);
    None
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
