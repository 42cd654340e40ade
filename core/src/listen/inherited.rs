//! Sockets that a process was started with, as systemd's socket activation hands them over, or a predecessor.
//!
//! Knows names and sockets. Must never know how they came into the process: that is the host's.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::{Listener, Place};
use crate::plan::ConfigError;
use crate::sys::socket;

/// A socket that listens already, for [`crate::Engine::start_with`]. It goes on listening when the engine has ended, if somebody
/// else holds it, too: so no connection is refused while a service restarts.
#[derive(Debug)]
pub struct InheritedSocket {
    /// What a listener `fd:NAME` calls it; several may have one name. One that [`crate::Engine::listening_sockets`] has given to be
    /// handed over is called as the listener is that it belongs to.
    pub name: String,
    /// The socket: a stream socket that listens.
    pub socket: OwnedFd,
}

/// What the observers' socket is called: no listener's text and no unit file can say it, for neither has a colon in a name; and no
/// place of a listener begins so.
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

/// Before the name that systemd knows a socket by, in the name of one that is handed over.
pub const BY_NAME: &str = "fd:";

/// A listener, and what it listens with.
#[derive(Debug)]
pub struct Resolved {
    /// Where, for each of its sockets.
    pub listener: Listener,
    /// What it is called where its sockets are handed over.
    pub name: String,
    /// Its sockets.
    pub source: Source,
}

/// Where a listener's sockets are from.
#[derive(Debug)]
pub enum Source {
    /// They are still to be made.
    New,
    /// The process was started with it.
    Inherited(OwnedFd),
    /// A predecessor has listened on them; `name` is what they are called there.
    HandedOver {
        /// One for each of its shards, or one for all.
        sockets: Vec<OwnedFd>,
        /// Its name.
        name: String,
    },
}

/// Sockets of one predecessor's listener.
struct Group {
    name: String,
    place: Place,
    sockets: Vec<OwnedFd>,
    is_taken: bool,
}

impl Group {
    /// The name that systemd knows it by.
    fn inherited_name(&self) -> Option<&str> {
        let name = self.name.strip_prefix(BY_NAME)?;
        Some(match name.rsplit_once('#') {
            Some((before, number)) if number.parse::<u16>().is_ok() => before,
            _ => name,
        })
    }

    fn take(&mut self, listener: &Listener, name: String) -> Resolved {
        self.is_taken = true;
        let sockets = std::mem::take(&mut self.sockets);
        let listener = Listener { place: self.place.clone(), ..listener.clone() };
        Resolved { listener, name, source: Source::HandedOver { sockets, name: self.name.clone() } }
    }
}

/// Gives each listener a name of its own: the second at one place is called `PLACE#2`.
#[derive(Default)]
struct Names(HashMap<String, u32>);

impl Names {
    fn next(&mut self, text: String) -> String {
        let count = self.0.entry(text.clone()).or_default();
        *count += 1;
        if *count == 1 { text } else { format!("{text}#{count}") }
    }
}

fn fault(listener: &Listener, problem: impl ToString) -> ConfigError {
    ConfigError { field: "listen", value: listener.to_string(), problem: problem.to_string() }
}

/// Puts sockets in the place of the listeners that name them, and gives those of a predecessor to the listeners that they were
/// handed over for.
///
/// # Errors
/// A name that no socket has, a socket that does not listen; a descriptor that cannot be had.
pub fn resolve(wanted: &[Listener], sockets: &[InheritedSocket]) -> Result<Vec<Resolved>, ConfigError> {
    let (observing, sockets): (Vec<_>, Vec<_>) = sockets.iter().partition(|socket| socket.is_for_observers());
    let (handed, started): (Vec<_>, Vec<_>) = sockets.iter().partition(|socket| socket.name.contains(':'));
    let mut groups = groups(&handed)?;
    let mut names = Names::default();
    let mut all = Vec::new();
    for listener in wanted {
        if let Place::Inherited(name) = &listener.place {
            let is_other = |other: &str| {
                let is_named = |l: &Listener| matches!(&l.place, Place::Inherited(Some(name)) if name == other);
                name.is_none() && wanted.iter().any(is_named)
            };
            let is_meant = |other: &str| name.as_ref().is_none_or(|name| name == other) && !is_other(other);
            let before = all.len();
            all.extend(inherited(listener, &started, is_meant, &mut names)?);
            for group in groups.iter_mut().filter(|group| !group.is_taken) {
                if let Some(known) = group.inherited_name().filter(|known| is_meant(known)) {
                    let name = names.next(format!("{BY_NAME}{known}"));
                    all.push(group.take(listener, name));
                }
            }
            if all.len() == before {
                return Err(fault(listener, nothing_for_it(&sockets)));
            }
            continue;
        }
        let name = names.next(listener.place.to_string());
        let is_its = |group: &&mut Group| !group.is_taken && (group.name == name || group.place == listener.place);
        all.push(match groups.iter_mut().find(is_its) {
            Some(group) => group.take(listener, name),
            None => Resolved { listener: listener.clone(), name, source: Source::New },
        });
    }
    // Behind those that the configuration names: they are nobody else's affair.
    for InheritedSocket { name, socket } in observing {
        let listener = Listener::observers();
        place_of(socket).map_err(|error| fault(&listener, error))?;
        let socket = socket.try_clone().map_err(|error| fault(&listener, error))?;
        all.push(Resolved { listener, name: name.clone(), source: Source::Inherited(socket) });
    }
    Ok(all)
}

/// The sockets that the process was started with, for a listener that means those of these names.
fn inherited(
    listener: &Listener,
    started: &[&InheritedSocket],
    is_meant: impl Fn(&str) -> bool,
    names: &mut Names,
) -> Result<Vec<Resolved>, ConfigError> {
    let meant = started.iter().filter(|socket| is_meant(&socket.name));
    meant
        .map(|InheritedSocket { name, socket }| {
            let place = place_of(socket).map_err(|error| fault(listener, error))?;
            let socket = socket.try_clone().map_err(|error| fault(listener, error))?;
            let name = names.next(format!("{BY_NAME}{name}"));
            let listener = Listener { place, ..listener.clone() };
            Ok(Resolved { listener, name, source: Source::Inherited(socket) })
        })
        .collect()
}

/// What a predecessor has handed over, by its listeners.
fn groups(handed: &[&InheritedSocket]) -> Result<Vec<Group>, ConfigError> {
    let mut groups: Vec<Group> = Vec::new();
    for InheritedSocket { name, socket } in handed {
        let wrong = |error: io::Error| ConfigError {
            field: "listen",
            value: name.clone(),
            problem: format!("what was handed over is of no use: {error}"),
        };
        let place = place_of(socket).map_err(wrong)?;
        let socket = socket.try_clone().map_err(wrong)?;
        match groups.iter_mut().find(|group| group.name == *name && group.place == place) {
            Some(group) => group.sockets.push(socket),
            None => groups.push(Group { name: name.clone(), place, sockets: vec![socket], is_taken: false }),
        }
    }
    Ok(groups)
}

fn nothing_for_it(sockets: &[&InheritedSocket]) -> String {
    if sockets.is_empty() {
        return "this process was started with no sockets: let systemd start it by its .socket unit".to_owned();
    }
    let mut names: Vec<_> = sockets.iter().map(|socket| &*socket.name).collect();
    names.dedup();
    format!("no socket of this name was handed over, but {}", names.join(", "))
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

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn socket(name: &str, of: &TcpListener) -> InheritedSocket {
        InheritedSocket { name: name.to_owned(), socket: of.try_clone().expect("a descriptor").into() }
    }

    fn bound() -> (TcpListener, String) {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
        let at = socket.local_addr().expect("an address").to_string();
        (socket, at)
    }

    /// What each listener gets: its name, and the names and numbers of the sockets.
    fn resolved(wanted: &[&str], sockets: &[InheritedSocket]) -> Result<Vec<(String, String)>, String> {
        let wanted: Vec<Listener> = wanted.iter().map(|text| text.parse().expect("a listener")).collect();
        let shown = |Resolved { name, source, .. }| match source {
            Source::New => (name, "new".to_owned()),
            Source::Inherited(_) => (name, "inherited".to_owned()),
            Source::HandedOver { sockets, name: known } => (name, format!("{} of {known}", sockets.len())),
        };
        let all = resolve(&wanted, sockets).map_err(|error| error.problem)?;
        Ok(all.into_iter().map(shown).collect())
    }

    fn is(pairs: &[(&str, &str)]) -> Result<Vec<(String, String)>, String> {
        Ok(pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect())
    }

    #[test]
    fn what_is_handed_over_goes_to_the_listener_of_its_name_or_place() {
        let ((one, at), (two, other)) = (bound(), bound());
        let handed = [socket("127.0.0.1:0", &one), socket("127.0.0.1:0", &one), socket("127.0.0.1:0#2", &two)];
        let zero = "127.0.0.1:0";
        assert_eq!(resolved(&[zero], &handed), is(&[(zero, "2 of 127.0.0.1:0")]));
        let both = is(&[(zero, "2 of 127.0.0.1:0"), ("127.0.0.1:0#2", "1 of 127.0.0.1:0#2")]);
        assert_eq!(resolved(&[zero, zero], &handed), both);
        let third = [both.expect("two"), is(&[("127.0.0.1:0#3", "new")]).expect("one")].concat();
        assert_eq!(resolved(&[zero, zero, zero], &handed), Ok(third));
        assert_eq!(resolved(&[&other], &handed), is(&[(&other, "1 of 127.0.0.1:0#2")]));
        assert_eq!(resolved(&[&format!("wss://{at}")], &handed), is(&[(&at, "2 of 127.0.0.1:0")]));
        assert_eq!(resolved(&["127.0.0.2:1"], &handed), is(&[("127.0.0.2:1", "new")]));
    }

    #[test]
    fn systemds_sockets_keep_their_names_from_process_to_process() {
        let ((one, at), (two, _)) = (bound(), bound());
        let started = [socket("web", &one), socket("web", &two), socket("other", &two)];
        let all = is(&[("fd:web", "inherited"), ("fd:web#2", "inherited"), ("fd:other", "inherited")]);
        assert_eq!(resolved(&["systemd"], &started), all);
        let handed = [socket("fd:web", &one), socket("fd:web#2", &two), socket("fd:other", &two)];
        let web = is(&[("fd:web", "1 of fd:web"), ("fd:web#2", "1 of fd:web#2")]);
        assert_eq!(resolved(&["fd:web"], &handed), web);
        let all = is(&[("fd:other", "1 of fd:other"), ("fd:web", "1 of fd:web"), ("fd:web#2", "1 of fd:web#2")]);
        assert_eq!(resolved(&["fd:other", "systemd"], &handed), all);
        assert_eq!(resolved(&[&at], &handed), is(&[(&at, "1 of fd:web")]));
        // A listener at an address never takes what the process was started with: that is for who names it.
        assert_eq!(resolved(&[&at], &started), is(&[(&at, "new")]));
        let error = resolved(&["fd:none"], &handed).expect_err("nothing is called so");
        assert!(error.contains("fd:web, fd:web#2, fd:other"), "{error}");
    }
}
