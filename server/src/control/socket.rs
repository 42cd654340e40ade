//! Job: the Unix socket of one owner: who may connect, and that no second server takes its place.
//! Knows: unix(7). Must never know: what is said there.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, fchmod};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with, sockopt};
use rustix::process::geteuid;

use crate::exit::{Exit, Failure, OrExit};

/// Connections that the kernel may hold until it is their turn.
pub const BACKLOG: i32 = 16;
/// Longest path that a socket can have, one byte being its end (`sun_path`).
pub const PATH_BYTES_MAX: usize = 107;

/// Stands for no file.
const NONE: (u64, u64) = (0, 0);

/// A socket that listens. Its file goes with it.
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Which file it is, so that nobody else's is removed.
    file: (u64, u64),
}

impl ControlSocket {
    /// Listens there. A file that an earlier server has left is replaced.
    ///
    /// # Errors
    /// 71: somebody listens there, or something that is no socket stands there, or the kernel refuses it.
    pub fn bind(path: PathBuf) -> Result<Self, Failure> {
        let cannot = || format!("cannot listen on {} (control.socket)", path.display());
        remove_left_over(&path).or_exit(Exit::Address, cannot)?;
        let listener = bound(&path).or_exit(Exit::Address, cannot)?;
        let file = file_of(&path).or_exit(Exit::Address, cannot)?;
        tracing::info!(event = "control.listening", "control: {} takes requests of this user and root", path.display());
        Ok(ControlSocket { listener, path, file })
    }

    /// The one at `path` that another server has handed over, which listens already.
    ///
    /// # Errors
    /// 71: its file has gone.
    pub fn adopt(listener: OwnedFd, path: PathBuf) -> Result<Self, Failure> {
        let file = file_of(&path).or_exit(Exit::Address, || format!("{} has gone (control.socket)", path.display()))?;
        tracing::info!("control: {} takes requests of this user and root", path.display());
        Ok(ControlSocket { listener: UnixListener::from(listener), path, file })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves it, and its file, to another server.
    pub fn leave(mut self) {
        self.file = NONE;
    }

    /// Who is next, if anybody is, and may ask.
    ///
    /// # Errors
    /// Somebody is there, and cannot be accepted now: there is no descriptor.
    pub fn accept(&self) -> io::Result<Option<UnixStream>> {
        let (stream, _) = match self.listener.accept() {
            Ok(accepted) => accepted,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionAborted) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let peer = sockopt::socket_peercred(&stream)?;
        if !peer.uid.is_root() && peer.uid != geteuid() {
            tracing::warn!(event = "control.refused", "control: a request of user {} is refused", peer.uid.as_raw());
            return Ok(None);
        }
        // Not inherited from the listener everywhere.
        stream.set_nonblocking(false)?;
        Ok(Some(stream))
    }
}

impl AsFd for ControlSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        if file_of(&self.path).is_ok_and(|file| file == self.file) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn file_of(path: &Path) -> io::Result<(u64, u64)> {
    let about = std::fs::symlink_metadata(path)?;
    Ok((about.dev(), about.ino()))
}

/// Removes a socket that nobody listens on any more.
fn remove_left_over(path: &Path) -> io::Result<()> {
    let about = match std::fs::symlink_metadata(path) {
        Ok(about) => about,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !about.file_type().is_socket() {
        return Err(io::Error::other("a file that is no socket stands there"));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(io::Error::other("another server listens there")),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        Err(error) => Err(error),
    }
}

/// The mode is set before there is a file: nobody else can connect for even a moment.
fn bound(path: &Path) -> io::Result<UnixListener> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket: OwnedFd = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    listen(&socket, BACKLOG)?;
    Ok(UnixListener::from(socket))
}
