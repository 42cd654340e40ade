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
            let problem = match sockets {
                [] => "this process was started with no sockets: let systemd start it by its .socket unit".to_owned(),
                _ => {
                    let names: Vec<_> = sockets.iter().map(|socket| &*socket.name).collect();
                    format!("no socket of this name was handed over, but {}", names.join(", "))
                }
            };
            return Err(fault(listener, problem));
        }
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
