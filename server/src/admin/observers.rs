//! Job: the way by which those come to the engine that look into topics by the admin port: a Unix socket without a name.
//! Knows: unix(7), that a socket's file can be gone and yet be connected to. Must never know: what is said there.
//!
//! The file is made in a directory of mode 0700 and removed at once, with its directory. What is left is a descriptor of it, by
//! which this process alone can connect (`/proc/self/fd`). So there is nothing that others could find, and nothing to tidy up.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use fanwire::InheritedSocket;
use rustix::fs::{Mode, OFlags, fchmod, open};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use tokio::net::UnixStream;

/// Connections that may wait until a shard takes them.
const BACKLOG: i32 = 64;
/// Longest path that a socket can have, one byte being its end (`sun_path`).
const PATH_BYTES_MAX: usize = 107;

/// See the module's head.
pub struct Observers {
    /// Listens; the engine's once it was handed over.
    socket: Option<OwnedFd>,
    /// The file that is gone.
    file: OwnedFd,
}

impl Observers {
    /// Listens.
    ///
    /// # Errors
    /// No place for a socket can be written to, or the kernel refuses it.
    pub fn listen() -> io::Result<Self> {
        let mut first = None;
        for folder in folders() {
            match Self::listen_in(&folder) {
                Ok(observers) => return Ok(observers),
                Err(error) => _ = first.get_or_insert(error),
            }
        }
        Err(first.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
    }

    fn listen_in(folder: &Path) -> io::Result<Self> {
        let own = folder.join(format!("fanwire-{}-{:08x}", std::process::id(), crate::clock::unix_us() as u32));
        let path = own.join("o");
        if path.as_os_str().len() > PATH_BYTES_MAX {
            return Err(io::Error::other(format!("{}: too long for a socket", path.display())));
        }
        fs::DirBuilder::new().mode(0o700).create(&own)?;
        let made = Self::listen_at(&path);
        // The directory goes too, whatever came of it.
        let _ = fs::remove_file(&path);
        let _ = fs::remove_dir(&own);
        made
    }

    fn listen_at(path: &Path) -> io::Result<Self> {
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        bind(&socket, &SocketAddrUnix::new(path)?)?;
        let file = open(path, OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())?;
        listen(&socket, BACKLOG)?;
        Ok(Observers { socket: Some(socket), file })
    }

    /// The socket, once.
    pub fn socket(&mut self) -> Option<InheritedSocket> {
        self.socket.take().map(InheritedSocket::for_observers)
    }

    /// Connects to the engine.
    ///
    /// # Errors
    /// The engine has ended, or has no time for it.
    pub async fn connect(&self) -> io::Result<UnixStream> {
        UnixStream::connect(self.path()).await
    }

    /// Where this process connects to, and no other can.
    pub fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.file.as_raw_fd())
    }
}

/// Where a socket may be made, for as long as it takes.
fn folders() -> impl Iterator<Item = PathBuf> {
    let named = ["RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR", "TMPDIR"].into_iter().filter_map(std::env::var_os);
    let named = named.filter_map(|folders| std::env::split_paths(&folders).next());
    named.chain(["/tmp", "/run", "/dev/shm"].map(PathBuf::from)).filter(|folder| folder.is_absolute())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_the_descriptor_connects_and_there_is_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut observers = Observers::listen_in(folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left");
        let socket = observers.socket().unwrap();
        assert!(observers.socket().is_none());
        let listener = std::os::unix::net::UnixListener::from(socket.socket);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let connected = runtime.block_on(observers.connect()).unwrap();
        let (_accepted, _) = listener.accept().unwrap();
        drop((connected, listener));
        assert!(runtime.block_on(observers.connect()).is_err(), "nobody listens any more");
        let deep = folder.path().join("a".repeat(PATH_BYTES_MAX));
        assert!(Observers::listen_in(&deep).is_err());
        assert!(Observers::listen_in(Path::new("/proc")).is_err(), "nothing can be made there");
    }
}
