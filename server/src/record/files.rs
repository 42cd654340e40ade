//! Job: the files of a recording: when the next one begins, what they are called, when what is pending is flushed.
//! Knows: sizes, times, names. Must never know: connections, MCAP.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mcap::{Compression, McapError};

use super::batch::{Batch, Entry, Stamp};
use super::file::{Place, Recording, Topic};
use crate::clock;
use crate::exit::{Exit, Failure};
use crate::units::grouped;

/// Files of one recording at most.
const FILES_MAX: u32 = 99_999;

/// How it is recorded.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The file, or what the names of files are made of.
    pub path: PathBuf,
    /// A file is at most so large, in bytes.
    pub max_bytes: Option<u64>,
    /// A file is at most so old.
    pub every: Option<Duration>,
    /// What came is in the file after this time.
    pub flush_every: Duration,
    /// How chunks are compressed.
    pub compression: Option<Compression>,
    /// What is recorded, for people.
    pub about: BTreeMap<String, String>,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Files that are complete.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Messages in them.
    pub messages: u64,
}

struct Current {
    path: PathBuf,
    file: Recording,
    /// The file ends then.
    ends: Option<Instant>,
    /// What is pending is flushed then.
    flushes: Option<Instant>,
    messages: u64,
}

/// The files.
pub struct Files {
    wanted: Wanted,
    open: fn(&Path) -> io::Result<Box<dyn Place>>,
    number: u32,
    topics: Vec<Topic>,
    current: Option<Current>,
    totals: Totals,
}

impl Files {
    /// No file yet.
    ///
    /// # Errors
    /// Where a file would be written over.
    pub fn new(wanted: Wanted, open: fn(&Path) -> io::Result<Box<dyn Place>>) -> Result<Self, Failure> {
        if !wanted.is_cut() && wanted.path.exists() {
            let what = format!("{} is there already: name another file, or remove it", wanted.path.display());
            return Err(Failure::message(Exit::Usage, what));
        }
        Ok(Files { wanted, open, number: 0, topics: Vec::new(), current: None, totals: Totals::default() })
    }

    /// Writes what arrived.
    ///
    /// # Errors
    /// Where a file cannot be written. What is whole of it is left.
    pub fn write(&mut self, batch: &Batch) -> Result<(), Failure> {
        for (entry, bytes) in batch.iter() {
            match entry {
                Entry::InForce => {
                    self.current()?;
                }
                Entry::Topic { name, epoch, .. } => self.topics.push(Topic { name: name.clone(), epoch: *epoch }),
                Entry::Message(stamp) => self.message(stamp, bytes)?,
                Entry::Notice { log_ns, .. } => {
                    let written = self.current()?.file.notice(*log_ns, bytes);
                    self.told(written)?;
                }
            }
            self.set_flush();
        }
        Ok(())
    }

    fn message(&mut self, stamp: &Stamp, payload: &[u8]) -> Result<(), Failure> {
        let Some(topic) = self.topics.get(stamp.topic as usize).cloned() else {
            return Err(Failure::message(Exit::Software, format!("topic {} has no name", stamp.topic)));
        };
        let limit = self.wanted.max_bytes.unwrap_or(u64::MAX);
        let current = self.current()?;
        let is_over = current.file.bytes_at_end() + Recording::bytes_of(&topic, payload.len()) > limit;
        if current.file.is_full_for(stamp) || is_over && current.messages > 0 {
            self.end_file()?;
        }
        let current = self.current()?;
        current.messages += 1;
        let written = current.file.message(&topic, stamp, payload);
        self.told(written)
    }

    /// The file that is written, which begins if there is none.
    fn current(&mut self) -> Result<&mut Current, Failure> {
        if self.current.is_none() {
            let (path, place) = self.next_place()?;
            let file = Recording::begin(place, self.wanted.compression, &self.wanted.about)
                .map_err(|error| wrong(&path, &error))?;
            tracing::info!("recording to {}", path.display());
            let ends = self.wanted.every.map(|every| clock::after(clock::now(), every));
            self.current = Some(Current { path, file, ends, flushes: None, messages: 0 });
        }
        self.current.as_mut().ok_or_else(|| Failure::message(Exit::Software, "no file is open"))
    }

    /// The next name that is free, and its file.
    fn next_place(&mut self) -> Result<(PathBuf, Box<dyn Place>), Failure> {
        loop {
            self.number += 1;
            let path = match self.number {
                1 if !self.wanted.is_cut() => self.wanted.path.clone(),
                number if number <= FILES_MAX => numbered(&self.wanted.path, number),
                _ => {
                    let what = format!("{}: there are {FILES_MAX} files", self.wanted.path.display());
                    return Err(Failure::message(Exit::Io, what));
                }
            };
            match (self.open)(&path) {
                Ok(place) => return Ok((path, place)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && self.wanted.is_cut() => {}
                Err(error) => return Err(wrong(&path, &McapError::Io(error))),
            }
        }
    }

    fn set_flush(&mut self) {
        if let Some(current) = &mut self.current {
            match (current.file.is_pending(), current.flushes) {
                (false, _) => current.flushes = None,
                (true, None) => current.flushes = Some(clock::after(clock::now(), self.wanted.flush_every)),
                (true, Some(_)) => {}
            }
        }
    }

    /// When [`Files::on_time`] has something to do.
    pub fn next_due(&self) -> Option<Instant> {
        let current = self.current.as_ref()?;
        [current.ends, current.flushes].into_iter().flatten().min()
    }

    /// Flushes and ends what is due.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn on_time(&mut self, now: Instant) -> Result<(), Failure> {
        let Some(current) = &mut self.current else { return Ok(()) };
        if current.ends.is_some_and(|at| now >= at) {
            return self.end_file();
        }
        if current.flushes.is_some_and(|at| now >= at) {
            current.flushes = None;
            let written = current.file.flush();
            self.told(written)?;
        }
        Ok(())
    }

    /// Ends the file that is written, if one is.
    ///
    /// # Errors
    /// Where it cannot be written. What is whole of it is left.
    pub fn end_file(&mut self) -> Result<(), Failure> {
        let Some(current) = &mut self.current else { return Ok(()) };
        let finished = current.file.finish();
        let bytes = self.told(finished)?;
        if let Some(ended) = self.current.take() {
            tracing::info!("{}: {} messages", ended.path.display(), grouped(ended.messages));
            self.totals.files += 1;
            self.totals.bytes += bytes;
            self.totals.messages += ended.messages;
        }
        Ok(())
    }

    /// What was written to files that are complete.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Hands on how writing went; a file that could not be written is cut to what is whole.
    fn told<T>(&mut self, written: Result<T, McapError>) -> Result<T, Failure> {
        written.map_err(|error| {
            let Some(Current { path, file, .. }) = self.current.take() else { return wrong(Path::new("?"), &error) };
            let failure = wrong(&path, &error);
            match file.give_up() {
                Ok(()) => failure,
                Err(cut) => {
                    let error = failure.error.context(format!("what is not whole of it stays at its end: {cut}"));
                    Failure { code: failure.code, error }
                }
            }
        })
    }
}

impl Wanted {
    fn is_cut(&self) -> bool {
        self.max_bytes.is_some() || self.every.is_some()
    }
}

/// A new file.
///
/// # Errors
/// Where there is one, or it cannot be made.
pub fn create(path: &Path) -> io::Result<Box<dyn Place>> {
    Ok(Box::new(OpenOptions::new().write(true).create_new(true).open(path)?))
}

/// `day.mcap` as `day-00001.mcap`.
fn numbered(path: &Path, number: u32) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let end = path.extension().map(|end| format!(".{}", end.to_string_lossy())).unwrap_or_default();
    path.with_file_name(format!("{stem}-{number:05}{end}"))
}

fn wrong(path: &Path, error: &McapError) -> Failure {
    Failure::message(Exit::Io, format!("cannot write {}: {error}", path.display()))
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
