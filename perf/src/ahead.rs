//! How far a publisher is ahead of what the clients have checked: a file of one counter per client process.
//!
//! Clients that fall behind make sends cheaper (nobody is woken) and then dearer (sockets fill up), each server in its own way. So a
//! saturated publisher stays within a few turns of what the clients have seen: the server is as busy as can be, and no further
//! ahead than any other. A file (in memory, if the scenario finds /dev/shm), so that a publisher in any language can read it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The counters' file. Dropping it removes it.
pub struct Progress {
    path: PathBuf,
}

impl Progress {
    /// An empty file for one target of this run.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(number: usize) -> Result<Progress> {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
        let path = folder.join(format!("fanwire-perf-{}-{number}", std::process::id()));
        File::create(&path).with_context(|| path.display().to_string())?;
        Ok(Progress { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A client process's counter.
pub struct Counter {
    file: File,
    offset: u64,
    written: u64,
}

impl Counter {
    /// Counter `number` of the file.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path, number: usize) -> Result<Counter> {
        let file = File::options().write(true).open(path).with_context(|| path.display().to_string())?;
        let mut counter = Counter { file, offset: 8 * number as u64, written: u64::MAX };
        counter.set(0);
        Ok(counter)
    }

    /// Says how many messages were checked. One system call if it has changed.
    pub fn set(&mut self, deliveries: u64) {
        if deliveries != self.written {
            self.written = deliveries;
            // A publisher that hears nothing more stops, and the scenario reports what is missing.
            let _ = self.file.write_all_at(&deliveries.to_le_bytes(), self.offset);
        }
    }
}

/// A publisher's view of all counters.
pub struct Window {
    file: Option<File>,
    base: u64,
    most: u64,
}

impl Window {
    /// From now on at most `most` deliveries ahead; without a file, without limit.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(path: Option<&Path>, most: u64) -> Result<Window> {
        let file = path.map(|path| File::open(path).with_context(|| path.display().to_string())).transpose()?;
        let mut window = Window { file, base: 0, most };
        window.base = window.sum();
        Ok(window)
    }

    /// Whether one who has sent so many deliveries since [`Window::open`] may send more.
    pub fn is_open(&self, sent: u64) -> bool {
        self.file.is_none() || sent.saturating_sub(self.sum() - self.base) <= self.most
    }

    fn sum(&self) -> u64 {
        let mut bytes = [0; 8 * 64];
        let got = self.file.as_ref().and_then(|file| file.read_at(&mut bytes, 0).ok()).unwrap_or(0);
        bytes[..got].chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes"))).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_opens_as_the_counters_grow() {
        let progress = Progress::create(usize::MAX).unwrap();
        let (mut one, mut two) =
            (Counter::open(progress.path(), 0).unwrap(), Counter::open(progress.path(), 1).unwrap());
        one.set(5);
        let window = Window::open(Some(progress.path()), 10).unwrap();
        assert!(window.is_open(10));
        assert!(!window.is_open(11));
        one.set(6);
        two.set(4);
        assert!(window.is_open(15));
        assert!(!window.is_open(16));
        assert!(Window::open(None, 0).unwrap().is_open(u64::MAX));
    }
}
