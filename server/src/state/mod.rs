//! Job: what a subscription has written, kept in a file that outlives the process however it ends.
//! Knows: the ledger's numbers, the output's length. Must never know: connections.
//!
//! The file's first line is a snapshot: what was subscribed to, every topic's numbers, and which file the output was and how
//! long. It is only ever replaced as a whole. Further lines are appended, one for each write of the output:
//!
//! - Output that is a regular file: *before* each write, which messages it holds and how many bytes each takes. How long the
//!   file is tells afterwards which of them are in it, to the byte; half a message at its end is cut off and comes again.
//! - Any other output: *after* each write, the numbers of what was taken. What a pipe took between that and the line is printed
//!   again by the next run, should the process be killed just there.

mod file;
mod line;
mod recover;

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use fanwire::Priority;

use self::file::StateFile;
use self::line::{Entry, Snapshot};
use crate::clock;
use crate::exit::{Exit, Failure, OrExit};
use crate::ledger::{Ledger, Numbers};
use crate::output::{FileEnd, Output};

/// Lines behind the snapshot before it is written anew, in bytes.
const JOURNAL_BYTES_MAX: usize = 1 << 20;
/// Longest time that output and lines are left to the kernel.
const SYNC_EVERY: Duration = Duration::from_secs(5);

/// What happened to a topic's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// They were set.
    Set(Numbers),
    /// A message of this lane came, or was said to be lost.
    Advance(Priority, u64),
}

/// Why writing did not go on.
#[derive(Debug)]
pub enum WriteError {
    /// The output.
    Output(io::Error),
    /// The state.
    State(Failure),
}

impl From<Failure> for WriteError {
    fn from(failure: Failure) -> Self {
        WriteError::State(failure)
    }
}

/// What is queued for the output and noted of it.
#[derive(Debug)]
pub struct Recorder {
    state: StateFile,
    /// The output as it was left, where it is a regular file.
    output: Option<FileEnd>,
    /// What has been written.
    topics: BTreeMap<Rc<str>, Numbers>,
    asked: BTreeSet<String>,
    names: HashSet<Rc<str>>,
    /// What is queued: where in the output it ends, and what it changes.
    pending: VecDeque<(u64, Rc<str>, Change)>,
    line: Vec<u8>,
    synced: Instant,
}

impl Recorder {
    /// Takes up the state in a file, or begins one, for output that goes on now. What an earlier run left half-written in the output
    /// is taken away.
    ///
    /// # Errors
    /// Where the file cannot be read (66), holds something else (65), cannot be written or is in use (74).
    pub fn open(path: &Path, out: &Output) -> Result<(Self, Ledger), Failure> {
        let (state, text) = StateFile::open(path)?;
        let output = out.file_end().or_exit(Exit::Io, || "cannot ask how long stdout is".into())?;
        if output.is_some_and(|output| state.is(output)) {
            return Err(Failure::message(Exit::Usage, format!("{} is stdout: it cannot be the state", path.display())));
        }
        let recovered = recover::recover(&text, output).map_err(|what| {
            Failure::message(Exit::Data, format!("{} holds no state of a subscription: {what}", path.display()))
        })?;
        if let Some(length) = recovered.cut {
            out.cut(length).or_exit(Exit::Io, || "cannot cut off the half message at the end of stdout".into())?;
        }
        let ledger = Ledger::resumed(recovered.topics.clone(), recovered.asked.clone());
        let mut recorder = Recorder {
            state,
            output: None,
            topics: recovered.topics.into_iter().map(|(name, numbers)| (name.into(), numbers)).collect(),
            asked: recovered.asked,
            names: HashSet::new(),
            pending: VecDeque::new(),
            line: Vec::new(),
            synced: clock::now(),
        };
        recorder.rebase(out)?;
        Ok((recorder, ledger))
    }

    /// Notes a change that holds once the output is written up to `end`.
    pub fn note(&mut self, topic: &str, change: Change, end: u64) {
        let name = match self.names.get(topic) {
            Some(name) => name.clone(),
            None => {
                let name: Rc<str> = topic.into();
                self.names.insert(name.clone());
                name
            }
        };
        self.pending.push_back((end, name, change));
    }

    /// Notes what is subscribed to.
    ///
    /// # Errors
    /// Where the state cannot be written.
    pub fn on_in_force(&mut self, topics: &[String], out: &Output) -> Result<(), Failure> {
        let count = self.asked.len();
        self.asked.extend(topics.iter().cloned());
        if self.asked.len() > count { self.append_asked(out) } else { Ok(()) }
    }

    fn append_asked(&mut self, out: &Output) -> Result<(), Failure> {
        self.line.clear();
        line::asked(&mut self.line, &self.asked);
        self.append(out)
    }

    /// Writes what is queued, as far as it is taken now, and notes it. True: all of it.
    ///
    /// # Errors
    /// Where the output or the state cannot be written; what was written before that is noted.
    pub fn write(&mut self, out: &mut Output) -> Result<bool, WriteError> {
        if self.pending.is_empty() && out.queued_bytes() == 0 {
            return Ok(true);
        }
        let result = match self.output {
            Some(_) => self.write_to_file(out),
            None => self.write_to_stream(out),
        };
        if self.is_snapshot_due() && result.is_ok() {
            self.snapshot(out)?;
        }
        result
    }

    fn is_snapshot_due(&self) -> bool {
        self.state.journal_bytes() > JOURNAL_BYTES_MAX.max(2 * self.state.snapshot_bytes())
            || self.state.journal_bytes() > 0 && clock::now().saturating_duration_since(self.synced) > SYNC_EVERY
    }

    /// Says what will be written, and writes it.
    fn write_to_file(&mut self, out: &mut Output) -> Result<bool, WriteError> {
        let found = out.file_end().map_err(WriteError::Output)?;
        if found != self.output {
            // Somebody else writes there too, or has cut or replaced it: from here on it is counted anew.
            self.rebase(out)?;
        }
        let Some(end) = self.output else { return self.write_to_stream(out) };
        let written = out.written_bytes();
        let entries = self.pending.iter().map(|(end, topic, change)| Entry { end: end - written, topic, change });
        self.line.clear();
        line::intent(&mut self.line, end.length, entries);
        self.state.append(&self.line)?;
        let result = out.write_some();
        if let Some(end) = &mut self.output {
            end.length += out.written_bytes() - written;
        }
        let half = out.written_bytes() - self.take_written(out.written_bytes()).unwrap_or(written);
        match result {
            Ok(is_all) => Ok(is_all),
            Err(error) => {
                // What is there of a message that will not be finished would stand in front of the same one later.
                if let Some(end) = self.output.as_mut().filter(|_| half > 0)
                    && out.cut(end.length - half).is_ok()
                {
                    end.length -= half;
                }
                Err(WriteError::Output(error))
            }
        }
    }

    /// Writes, and says what was taken.
    fn write_to_stream(&mut self, out: &mut Output) -> Result<bool, WriteError> {
        let result = out.write_some();
        let written = out.written_bytes();
        let touched: BTreeSet<Rc<str>> =
            self.pending.iter().take_while(|(end, ..)| *end <= written).map(|(_, topic, _)| topic.clone()).collect();
        self.take_written(written);
        if !touched.is_empty() {
            let topics = touched.iter().filter_map(|topic| Some((&**topic, self.topics.get(topic)?)));
            self.line.clear();
            line::wrote(&mut self.line, topics);
            self.state.append(&self.line)?;
        }
        result.map_err(WriteError::Output)
    }

    /// Makes the changes of what has been written. Where the last of it ended.
    fn take_written(&mut self, written: u64) -> Option<u64> {
        let mut last = None;
        while let Some((end, topic, change)) = self.pending.pop_front_if(|(end, ..)| *end <= written) {
            last = Some(end);
            apply(&mut self.topics, topic, change);
        }
        last
    }

    fn append(&mut self, out: &Output) -> Result<(), Failure> {
        self.state.append(&self.line)?;
        if self.is_snapshot_due() { self.snapshot(out) } else { Ok(()) }
    }

    /// Takes the output as it is now for what has been written.
    fn rebase(&mut self, out: &Output) -> Result<(), Failure> {
        self.output = out.file_end().or_exit(Exit::Io, || "cannot ask how long stdout is".into())?;
        self.snapshot(out)
    }

    /// Leaves everything that has been written in one snapshot, after the output itself is on disk.
    ///
    /// # Errors
    /// Where either cannot be written.
    pub fn snapshot(&mut self, out: &Output) -> Result<(), Failure> {
        if self.output.is_some() {
            out.sync().or_exit(Exit::Io, || "cannot write to stdout".into())?;
        }
        let topics = self.topics.iter().map(|(name, numbers)| (name.to_string(), *numbers)).collect();
        let snapshot = Snapshot { version: line::VERSION, asked: self.asked.clone(), output: self.output, topics };
        self.synced = clock::now();
        self.state.replace(&snapshot.to_line())
    }
}

/// Makes a change.
fn apply<K: Ord>(topics: &mut BTreeMap<K, Numbers>, topic: K, change: Change) {
    match change {
        Change::Set(numbers) => {
            topics.insert(topic, numbers);
        }
        Change::Advance(priority, seq) => {
            topics.entry(topic).or_default().advance(priority, seq);
        }
    }
}
