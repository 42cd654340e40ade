//! Job: the state file: read, locked, and replaced as a whole.
//! Knows: files that must survive a crash. Must never know: what a record means.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::record::{Records, VERSION};
use crate::exit::{Exit, Failure, OrExit};

/// The state file, held by this process alone.
#[derive(Debug)]
pub struct State {
    path: PathBuf,
    /// What it says.
    pub records: Records,
    /// Locked as long as it is open.
    _lock: File,
}

impl State {
    /// Reads the file, an empty one where there is none, and keeps others out until it is dropped. Makes the directory.
    ///
    /// # Errors
    /// 77 where that is not permitted, 74 for what else goes wrong, 65 for a file that is not one of ours, 1 where another process
    /// holds it.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
            fs::create_dir_all(directory).map_err(|error| refused(error, directory))?;
        }
        let lock_path = beside(path, ".lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.map_err(|error| refused(error, &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let text = format!("another `fanwire tune` is at work on {}", path.display());
                return Err(Failure::message(Exit::Failed, text));
            }
            Err(TryLockError::Error(error)) => return Err(refused(error, &lock_path)),
        }
        Ok(State { records: read(path)?, path: path.to_owned(), _lock: lock })
    }

    /// Puts the records into the file, all or nothing, and comes back when they are on the disk. Without records the file goes.
    ///
    /// # Errors
    /// As [`State::open`].
    pub fn save(&self) -> Result<(), Failure> {
        if self.records.is_empty() {
            return match fs::remove_file(&self.path) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(refused(error, &self.path)),
                _ => Ok(()),
            };
        }
        let mut text =
            serde_json::to_string_pretty(&self.records).or_exit(Exit::Software, || "the state".to_owned())?;
        text.push('\n');
        replace(&self.path, &text).map_err(|error| refused(error, &self.path))
    }
}

/// The records of a file; none where there is no file.
///
/// # Errors
/// As [`State::open`].
pub fn read(path: &Path) -> Result<Records, Failure> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Ok(Records { version: VERSION, ..Records::default() });
        }
        Err(error) => return Err(refused(error, path)),
    };
    let records: Records = serde_json::from_str(&text)
        .or_exit(Exit::Data, || format!("{} is no state of `fanwire tune`", path.display()))?;
    if records.version != VERSION {
        let text = format!("{} has version {}, this program knows {VERSION}", path.display(), records.version);
        return Err(Failure::message(Exit::Data, text));
    }
    Ok(records)
}

/// Replaces a file's text as a whole: whoever reads it, after a crash too, finds the former text or this one.
///
/// # Errors
/// What the file system says.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    let new = beside(path, ".new");
    let mut file = File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

/// An error of a file as the process ends with it.
pub fn refused(error: io::Error, path: &Path) -> Failure {
    let path = path.display();
    match error.kind() {
        ErrorKind::PermissionDenied => Failure::new(
            Exit::Permission,
            anyhow::Error::new(error).context(format!("{path}: only root may do this (sudo)")),
        ),
        ErrorKind::ReadOnlyFilesystem => {
            let text = format!("{path} cannot be written: inside a container, tune the host instead");
            Failure::new(Exit::Permission, anyhow::Error::new(error).context(text))
        }
        _ => Failure::new(Exit::Io, anyhow::Error::new(error).context(path.to_string())),
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}
