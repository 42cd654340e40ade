//! Unix sockets to listen at.
//!
//! Knows files. Must never know what comes in.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::sys::socket;

/// Its owner and its group may connect: a proxy's user is put into that group.
const MODE: u32 = 0o660;

/// The file of a Unix socket, removed when this is dropped; one that somebody has put in its place stays.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    id: (u64, u64),
    is_left: AtomicBool,
}

impl SocketFile {
    /// The file that is at `path`.
    ///
    /// # Errors
    /// There is none, and so no way to a socket that once was there.
    pub fn of(path: &Path) -> io::Result<Self> {
        Ok(SocketFile { path: path.to_owned(), id: id_of(path)?, is_left: AtomicBool::new(false) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// It is ours.
    pub fn keep(&self) {
        self.is_left.store(false, Relaxed);
    }

    /// Leaves it to another process that listens there.
    pub fn leave(&self) {
        self.is_left.store(true, Relaxed);
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if !self.is_left.load(Relaxed) && id_of(&self.path).is_ok_and(|id| id == self.id) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn id_of(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

/// Listens at `path`. A socket that nobody listens at is replaced; anything else that is there is an error.
///
/// # Errors
/// What the kernel says; `AddrInUse` where somebody listens there, `AlreadyExists` where there is another kind of file.
pub fn listen(path: &Path, backlog: i32) -> io::Result<(OwnedFd, SocketFile)> {
    let socket = socket::unix()?;
    match socket::bind_unix(&socket, path) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            remove_if_stale(path)?;
            socket::bind_unix(&socket, path)?;
        }
        bound => bound?,
    }
    let file = SocketFile::of(path)?;
    // Nobody can connect before it listens.
    fs::set_permissions(path, fs::Permissions::from_mode(MODE))?;
    rustix::net::listen(&socket, backlog)?;
    Ok((socket, file))
}

fn remove_if_stale(path: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(io::Error::new(ErrorKind::AlreadyExists, "there is a file that is no socket"));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        _ => Err(io::Error::new(ErrorKind::AddrInUse, "somebody listens there")),
    }
}
