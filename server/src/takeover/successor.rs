//! Job: the new process's side: it takes the sockets, and says when it serves.
//! Knows: the predecessor's control socket. Must never know: how an engine starts.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use fanwire::{Engine, InheritedSocket, Outlet};

use super::{CONTROL, Link, PATIENCE, Ready, START_PATIENCE, Settled, VERSION, line, outlet, sockets};
use crate::control::{Answer, Asked, Said};
use crate::exit::{Exit, Failure, OrExit};
use crate::patience::Patience;
use crate::signals::StopRequests;

/// What a predecessor has shown.
pub struct Successor {
    stream: UnixStream,
    control: Option<OwnedFd>,
}

/// Takes the sockets of the server that takes requests at `path`. `None`: there is none.
///
/// # Errors
/// 69: that server does not hand over; 74: what came is of no use.
pub fn begin(
    path: &Path,
    window: Duration,
    stop: &StopRequests,
) -> Result<Option<(Successor, Vec<InheritedSocket>)>, Failure> {
    let stream = match UnixStream::connect(path) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            tracing::info!("no server takes requests at {}: starting as usual", path.display());
            return Ok(None);
        }
        Err(error) => {
            return Err(error).or_exit(Exit::Unavailable, || format!("cannot take over from {}", path.display()));
        }
    };
    let cannot = || format!("the server at {} hands nothing over", path.display());
    let within_ms = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
    line::write(&stream, &Asked::Takeover { version: VERSION, within_ms }, Patience::of(PATIENCE))
        .or_exit(Exit::Io, cannot)?;
    // It may have another request in hand.
    let patience = Patience::of(START_PATIENCE).unless(stop);
    let answer: Answer = line::read(&stream, patience).or_exit(Exit::Unavailable, cannot)?;
    let names = match answer.said {
        Said::Sockets(names) => names,
        Said::Error(why) => {
            return Err(Failure { code: answer.exit, error: anyhow::Error::msg(why).context(cannot()) });
        }
        _ => return Err(Failure::message(Exit::Io, cannot())),
    };
    let received = sockets::receive(&stream, names.len(), patience).or_exit(Exit::Io, cannot)?;
    let mut control = None;
    let mut handed = Vec::with_capacity(names.len());
    for (name, socket) in names.into_iter().zip(received) {
        if name == CONTROL {
            control = Some(socket);
        } else {
            handed.push(InheritedSocket { name, socket });
        }
    }
    Ok(Some((Successor { stream, control }, handed)))
}

impl Successor {
    /// The control socket, if it is handed over, too.
    pub fn take_control(&mut self) -> Option<OwnedFd> {
        self.control.take()
    }

    /// What this engine has for the other, from before its first client.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn outlet(engine: &Engine) -> Result<Outlet, Failure> {
        outlet(engine)
    }

    /// Says that this process serves. When it returns, the sockets are its own. `adopt`: what has to go well before that.
    ///
    /// # Errors
    /// 69: the other side has gone, or has other plans; the sockets are its own still. Those of `adopt`: they are again.
    pub fn settle(
        self,
        engine: &Engine,
        outlet: Outlet,
        has_control: bool,
        stop: &StopRequests,
        adopt: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<Link, Failure> {
        let gone = || "the server that was to hand over does not: it ends, or has waited too long".to_owned();
        let control = has_control.then(|| CONTROL.to_owned());
        let sockets = engine.taken_over().iter().cloned().chain(control).collect();
        let ready = Ready { sockets, settles: true };
        line::write(&self.stream, &ready, Patience::of(PATIENCE)).or_exit(Exit::Unavailable, gone)?;
        let patience = Patience::of(START_PATIENCE).unless(stop);
        let answer: Answer = line::read(&self.stream, patience).or_exit(Exit::Unavailable, gone)?;
        let Said::HandedOver { settle } = answer.said else {
            return Err(Failure::message(Exit::Unavailable, gone()));
        };
        adopt()?;
        if settle {
            let settled = Settled { settled: true };
            line::write(&self.stream, &settled, Patience::of(PATIENCE)).or_exit(Exit::Unavailable, gone)?;
        }
        Ok(Link { stream: self.stream, outlet })
    }
}
