//! Job: what a service manager hands to this process, and what it is told: sockets, and how far the service is.
//! Knows: systemd's environment variables (`LISTEN_FDS`, `NOTIFY_SOCKET`; sd_listen_fds(3), sd_notify(3)). Must never know: what sockets
//! are for.

use std::io;
use std::os::fd::OwnedFd;

use fanwire::InheritedSocket;
use listenfd::ListenFd;
use sd_notify::NotifyState;

use crate::exit::{Exit, Failure, OrExit};

/// What a socket is called that its unit gives no name (FileDescriptorName=).
const UNNAMED: &str = "unknown";

/// The sockets that this process was started with, by their names; none where it was not.
///
/// # Errors
/// 78: one is neither TCP nor a Unix stream socket.
pub fn sockets() -> Result<Vec<InheritedSocket>, Failure> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':').filter(|name| !name.is_empty());
    // Forgets the variables, so that no child takes them for its own.
    let mut handed = ListenFd::from_env();
    (0..handed.len())
        .map(|number| {
            let name = names.next().unwrap_or(UNNAMED).to_owned();
            let socket = take(&mut handed, number).or_exit(Exit::Config, || {
                format!("the socket `{name}` that systemd has handed over is of no use here")
            })?;
            Ok(InheritedSocket { name, socket })
        })
        .collect()
}

fn take(handed: &mut ListenFd, number: usize) -> io::Result<OwnedFd> {
    if let Ok(Some(socket)) = handed.take_tcp_listener(number) {
        return Ok(socket.into());
    }
    let socket = handed.take_unix_listener(number)?;
    socket.map(OwnedFd::from).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
}

/// Clients can connect.
pub fn tell_ready() {
    tell(&[NotifyState::Ready]);
}

/// Another process is the service from now on.
pub fn tell_main_pid(pid: u32) {
    tell(&[NotifyState::MainPid(pid)]);
}

/// The end has begun.
pub fn tell_stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Settings are being taken anew; [`tell_ready`] says that this is over.
pub fn tell_reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// Nothing happens where nobody wants to know.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("the service manager cannot be told how far the service is: {error}");
    }
}
