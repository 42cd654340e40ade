//! Job: the state's file: read once, locked, appended to, replaced as a whole.
//! Knows: paths, locks, what has to be on disk before what. Must never know: what its lines say.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::exit::{Exit, Failure, OrExit};
use crate::output::FileEnd;

/// Largest file taken: far beyond what the snapshot and its lines grow to.
const BYTES_MAX: u64 = 64 << 20;

/// An open state file. Locked: no second process goes on from the same state.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    file: File,
    snapshot_bytes: usize,
    journal_bytes: usize,
}

impl StateFile {
    /// Opens the file, which is made if there is none, and reads it.
    ///
    /// # Errors
    /// 66 where it cannot be read, 65 where it is too large, 74 where it cannot be written or another process has it.
    pub fn open(path: &Path) -> Result<(Self, Vec<u8>), Failure> {
        // A link stays one: what it points to is replaced.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if path.exists() && !path.is_file() {
            return Err(Failure::message(Exit::Io, format!("cannot write {}: it is no regular file", path.display())));
        }
        let mut file = match open_locked(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let what = format!("{} is in use by another process", path.display());
                return Err(Failure::message(Exit::Io, what));
            }
            Err(error) => {
                let exit = if File::open(&path).is_err() && path.exists() { Exit::NoInput } else { Exit::Io };
                let what = if exit == Exit::Io { "write" } else { "read" };
                return Err(error).or_exit(exit, || format!("cannot {what} {}", path.display()));
            }
        };
        let mut text = Vec::new();
        let read = (&mut file).take(BYTES_MAX + 1).read_to_end(&mut text);
        read.or_exit(Exit::NoInput, || format!("cannot read {}", path.display()))?;
        if text.len() as u64 > BYTES_MAX {
            return Err(Failure::message(Exit::Data, format!("{} is no state of a subscription", path.display())));
        }
        Ok((StateFile { path, file, snapshot_bytes: text.len(), journal_bytes: 0 }, text))
    }

    /// True where it is that file.
    pub fn is(&self, other: FileEnd) -> bool {
        self.file.metadata().is_ok_and(|own| (own.dev(), own.ino()) == (other.device, other.inode))
    }

    /// Bytes of the first line.
    pub fn snapshot_bytes(&self) -> usize {
        self.snapshot_bytes
    }

    /// Bytes of the lines behind it.
    pub fn journal_bytes(&self) -> usize {
        self.journal_bytes
    }

    /// Appends a line, with its line feed.
    ///
    /// # Errors
    /// Where it cannot be written; half a line counts as none.
    pub fn append(&mut self, line: &[u8]) -> Result<(), Failure> {
        self.file.write_all(line).or_exit(Exit::Io, || format!("cannot write {}", self.path.display()))?;
        self.journal_bytes += line.len();
        Ok(())
    }

    /// Puts one line in the place of everything: the old file stands until the new one is on disk.
    ///
    /// # Errors
    /// Where it cannot be written; the old one is then still there.
    pub fn replace(&mut self, line: &[u8]) -> Result<(), Failure> {
        let written = self.try_replace(line);
        written.or_exit(Exit::Io, || format!("cannot write {}", self.path.display()))?;
        (self.snapshot_bytes, self.journal_bytes) = (line.len(), 0);
        Ok(())
    }

    fn try_replace(&mut self, line: &[u8]) -> io::Result<()> {
        let mut beside: OsString = self.path.clone().into_os_string();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&beside)?;
        let result = self.fill(&mut file, line).and_then(|()| fs::rename(&beside, &self.path));
        if let Err(error) = result {
            let _ = fs::remove_file(&beside);
            return Err(error);
        }
        self.file = file;
        // The new name has to be on disk as well.
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }

    fn fill(&self, file: &mut File, line: &[u8]) -> io::Result<()> {
        file.set_permissions(self.file.metadata()?.permissions())?;
        flock(&*file, FlockOperation::NonBlockingLockExclusive)?;
        file.write_all(line)?;
        file.sync_all()
    }
}

/// Opens and locks what stands at the path: again, if it was replaced in between.
fn open_locked(path: &Path) -> io::Result<File> {
    loop {
        let file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(io::ErrorKind::WouldBlock.into()),
            Err(errno) => return Err(errno.into()),
        }
        if fs::metadata(path).is_ok_and(|there| file.metadata().is_ok_and(|here| here.ino() == there.ino())) {
            return Ok(file);
        }
    }
}
