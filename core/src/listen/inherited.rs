//! Sockets that a process was started with, as systemd's socket activation hands them over, or a predecessor.
//!
//! Knows names and sockets. Must never know how they came into the process: that is the host's.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::{Listener, Place};
use crate::plan::ConfigError;
use crate::sys::socket;

/// A socket that listens already, for [`crate::Engine::start_with`]. It goes on listening when the engine has ended, if somebody
/// else holds it, too: so no connection is refused while a service restarts.
#[derive(Debug)]
pub struct InheritedSocket {
    /// What a listener `fd:NAME` calls it; several may have one name.
    pub name: String,
    /// The socket: a stream socket that listens.
    pub socket: OwnedFd,
}

/// What the observers' socket is called: no listener's text and no unit file can say it, for neither has a colon in a name.
const OBSERVERS: &str = ":observers";

impl InheritedSocket {
    /// The socket by which observers come: whoever connects to it may subscribe to every topic, those that begin with `$`
    /// included, and publish on none; neither is the host asked about them, nor are they counted by address. So it has to be one
    /// that only those can reach who may do that, such as a Unix socket in a directory of mode 0700.
    pub fn for_observers(socket: impl Into<OwnedFd>) -> Self {
        InheritedSocket { name: OBSERVERS.to_owned(), socket: socket.into() }
    }

    fn is_for_observers(&self) -> bool {
        self.name == OBSERVERS
    }
}

/// A listener, and its socket where it is inherited.
pub type Resolved = (Listener, Option<OwnedFd>);

/// Puts sockets in the place of the listeners that name them.
///
/// # Errors
/// A name that no socket has, a socket that does not listen; a descriptor that cannot be had.
pub fn resolve(wanted: &[Listener], sockets: &[InheritedSocket]) -> Result<Vec<Resolved>, ConfigError> {
    let fault =
        |listener: &Listener, problem: String| ConfigError { field: "listen", value: listener.to_string(), problem };
    let named = |name: &str| wanted.iter().any(|other| other.place == Place::Inherited(Some(name.to_owned())));
    let mut all = Vec::new();
    for listener in wanted {
        let Place::Inherited(name) = &listener.place else {
            all.push((listener.clone(), None));
            continue;
        };
        let is_meant = |socket: &&InheritedSocket| match name {
            _ if socket.is_for_observers() => false,
            Some(name) => socket.name == *name,
            None => !named(&socket.name),
        };
        let before = all.len();
        for InheritedSocket { socket, .. } in sockets.iter().filter(is_meant) {
            let place = place_of(socket).map_err(|error| fault(listener, error.to_string()))?;
            let socket = socket.try_clone().map_err(|error| fault(listener, error.to_string()))?;
            all.push((Listener { place, ..listener.clone() }, Some(socket)));
        }
        if all.len() == before {
            let names: Vec<_> =
                sockets.iter().filter(|socket| !socket.is_for_observers()).map(|socket| &*socket.name).collect();
            let problem = match names[..] {
                [] => "this process was started with no sockets: let systemd start it by its .socket unit".to_owned(),
                _ => format!("no socket of this name was handed over, but {}", names.join(", ")),
            };
            return Err(fault(listener, problem));
        }
    }
    // Behind those that the configuration names: a reload compares them by their places.
    for InheritedSocket { socket, .. } in sockets.iter().filter(|socket| socket.is_for_observers()) {
        let listener = Listener::observers();
        place_of(socket).map_err(|error| fault(&listener, error.to_string()))?;
        let socket = socket.try_clone().map_err(|error| fault(&listener, error.to_string()))?;
        all.push((listener, Some(socket)));
    }
    Ok(all)
}

fn place_of(socket: impl AsFd) -> io::Result<Place> {
    if !socket::is_listening(&socket)? {
        return Err(io::Error::other("the socket that was handed over is no stream socket that listens"));
    }
    match socket::local_addr(&socket) {
        Ok(address) => Ok(Place::Address(address)),
        Err(_) => Ok(Place::Path(socket::local_path(&socket)?)),
    }
}
