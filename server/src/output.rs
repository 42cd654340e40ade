//! Job: stdout that nobody is made to wait for: what is printed is queued, and written as far as its reader takes it.
//! Knows: files, pipes, sockets, terminals. Must never know: what is printed.
//!
//! A pipe or a terminal is opened anew where that is allowed, so that it does not block for this process and stays as it is for
//! others who share it; where it is not, each write is asked for and small enough to find room. A file's writes wait.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags, SeekFrom};
use rustix::io::Errno;
use rustix::net::SendFlags;
use serde::{Deserialize, Serialize};

use crate::client::Watched;

/// Bytes that a pipe which can be written to takes without waiting (`PIPE_BUF`, and Linux' least free room).
const PIPE_BYTES: usize = 4_096;
/// Written bytes that may lie in front of the queue before it is moved.
const SENT_BYTES: usize = 256 << 10;

/// How it is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A regular file: writes end when they are done.
    File,
    /// Does not block, by itself.
    Own,
    /// May block: asked before each write.
    Shared,
    /// Told with each call not to block.
    Socket,
}

/// Stdout and what is queued for it.
#[derive(Debug)]
pub struct Output {
    fd: OwnedFd,
    kind: Kind,
    /// `queue[sent..]` has still to be written.
    queue: Vec<u8>,
    sent: usize,
    written: u64,
}

impl Output {
    /// Stdout.
    ///
    /// # Errors
    /// Where it cannot be asked what it is.
    pub fn stdout() -> io::Result<Self> {
        let fd = io::stdout().as_fd().try_clone_to_owned()?;
        let kind = match FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) {
            FileType::RegularFile | FileType::BlockDevice => Kind::File,
            FileType::Socket => Kind::Socket,
            _ => Kind::Shared,
        };
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        match rustix::fs::open("/proc/self/fd/1", flags, Mode::empty()) {
            Ok(own) if kind == Kind::Shared => Ok(Self::of(own, Kind::Own)),
            _ => Ok(Self::of(fd, kind)),
        }
    }

    /// A file in stdout's place.
    #[cfg(test)]
    pub fn file(file: std::fs::File) -> Self {
        Self::of(file.into(), Kind::File)
    }

    fn of(fd: OwnedFd, kind: Kind) -> Self {
        Output { fd, kind, queue: Vec::new(), sent: 0, written: 0 }
    }

    /// Queues bytes. Nothing bounds the queue but the caller: see [`Output::queued_bytes`].
    pub fn push(&mut self, bytes: &[u8]) {
        self.queue.extend_from_slice(bytes);
    }

    /// Bytes that are queued and not written yet.
    pub fn queued_bytes(&self) -> usize {
        self.queue.len() - self.sent
    }

    /// Bytes written since the start.
    pub fn written_bytes(&self) -> u64 {
        self.written
    }

    /// Where the queue ends, counted as [`Output::written_bytes`] is.
    pub fn end(&self) -> u64 {
        self.written + self.queued_bytes() as u64
    }

    /// Writes what is taken now. True: all of it.
    ///
    /// # Errors
    /// `BrokenPipe` where nobody reads any more; a full disk and whatever else there is. What was taken before that is counted.
    pub fn write_some(&mut self) -> io::Result<bool> {
        while self.queued_bytes() > 0 {
            match self.write_once() {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    self.sent += n;
                    self.written += n as u64;
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(errno) => return Err(errno.into()),
            }
        }
        if self.queued_bytes() == 0 {
            self.queue.clear();
            self.sent = 0;
        } else if self.sent > SENT_BYTES {
            self.queue.drain(..self.sent);
            self.sent = 0;
        }
        Ok(self.queued_bytes() == 0)
    }

    fn write_once(&self) -> Result<usize, Errno> {
        let bytes = &self.queue[self.sent..];
        match self.kind {
            Kind::File | Kind::Own => rustix::io::write(&self.fd, bytes),
            Kind::Socket => rustix::net::send(&self.fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
            Kind::Shared => {
                let mut polled = [PollFd::new(&self.fd, PollFlags::OUT)];
                let now = Timespec { tv_sec: 0, tv_nsec: 0 };
                if poll(&mut polled, Some(&now))? == 0 {
                    return Err(Errno::AGAIN);
                }
                rustix::io::write(&self.fd, &bytes[..bytes.len().min(PIPE_BYTES)])
            }
        }
    }

    /// What to wait for: room, if something is queued, and whether its reader goes away. A file has neither.
    pub fn watched(&self) -> Option<Watched<'_>> {
        let wanted = if self.queued_bytes() > 0 { PollFlags::OUT } else { PollFlags::empty() };
        (self.kind != Kind::File).then(|| Watched::new(self.fd.as_fd(), wanted))
    }

    /// The descriptor that tells when its reader goes away; `None` for a file.
    pub fn reader(&self) -> Option<BorrowedFd<'_>> {
        (self.kind != Kind::File).then(|| self.fd.as_fd())
    }

    /// A regular file that is written at its end: which one, and where that is. `None` for everything else.
    ///
    /// # Errors
    /// Where it cannot be asked.
    pub fn file_end(&self) -> io::Result<Option<FileEnd>> {
        let stat = rustix::fs::fstat(&self.fd)?;
        let length = u64::try_from(stat.st_size).unwrap_or_default();
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(None);
        }
        let is_appended = rustix::fs::fcntl_getfl(&self.fd)?.contains(OFlags::APPEND);
        if !is_appended && rustix::fs::tell(&self.fd)? != length {
            return Ok(None);
        }
        Ok(Some(FileEnd { device: stat.st_dev, inode: stat.st_ino, length }))
    }

    /// Cuts the file off behind `length` bytes, and goes on there.
    ///
    /// # Errors
    /// Where it cannot be cut.
    pub fn cut(&self, length: u64) -> io::Result<()> {
        rustix::fs::ftruncate(&self.fd, length)?;
        rustix::fs::seek(&self.fd, SeekFrom::Start(length))?;
        Ok(())
    }

    /// Lets what was written reach the disk.
    ///
    /// # Errors
    /// Where it does not.
    pub fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fdatasync(&self.fd)?)
    }
}

/// A regular file and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct FileEnd {
    /// The device it lies on.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
    /// Its length.
    pub length: u64,
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_pipe_that_may_block_is_filled_and_no_further() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut out = Output::of(writer.into(), Kind::Shared);
        let bytes: Vec<u8> = (0..1_000_000u32).map(|n| n as u8).collect();
        out.push(&bytes);
        assert!(!out.write_some().unwrap(), "a pipe does not hold that much");
        let held = out.written_bytes() as usize;
        assert!(held > 0 && held + out.queued_bytes() == bytes.len());
        let mut came = vec![0; held];
        reader.read_exact(&mut came).unwrap();
        while !out.write_some().unwrap() {
            let mut more = vec![0; PIPE_BYTES];
            reader.read_exact(&mut more).unwrap();
            came.extend_from_slice(&more);
        }
        drop(out);
        reader.read_to_end(&mut came).unwrap();
        assert!(came == bytes);
    }
}
