//! Job: what has been written, told from a state file and from how long the output is.
//! Knows: the lines. Must never know: files.

use std::collections::{BTreeMap, BTreeSet};

use fanwire::Priority;

use super::line::{Further, Run, Snapshot, VERSION};
use super::{Change, apply};
use crate::ledger::Numbers;
use crate::output::FileEnd;

/// What an earlier run has left.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Names and patterns that it was subscribed to.
    pub asked: BTreeSet<String>,
    /// The numbers of what it has written.
    pub topics: BTreeMap<String, Numbers>,
    /// Where the output is to be cut off: behind it there is half a message.
    pub cut: Option<u64>,
}

/// How far the output tells what has been written.
#[derive(Clone, Copy)]
enum Witness {
    /// It is the file of that time: what is in it was written.
    Length(u64),
    /// It is another one, or somebody has cut it: every write was done but perhaps the last.
    None,
}

/// Reads a state file's text. `output`: what the output is now.
///
/// # Errors
/// What is wrong with it.
pub fn recover(text: &[u8], output: Option<FileEnd>) -> Result<Recovered, String> {
    if text.iter().all(u8::is_ascii_whitespace) {
        return Ok(Recovered::default());
    }
    // What follows the last line feed is a line that was being written when the process ended.
    let end = text.iter().rposition(|b| *b == b'\n').unwrap_or(text.len());
    let mut lines = text[..end].split(|b| *b == b'\n').filter(|line| !line.is_empty());
    let snapshot = read_snapshot(lines.next().unwrap_or_default())?;
    let witness = match (snapshot.output, output) {
        (Some(then), Some(now))
            if (then.device, then.inode) == (now.device, now.inode) && now.length >= then.length =>
        {
            Witness::Length(now.length)
        }
        _ => Witness::None,
    };
    let mut recovered = Recovered { asked: snapshot.asked, topics: snapshot.topics, cut: None };
    let mut lines = lines.peekable();
    while let Some(line) = lines.next() {
        let further: Further = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        recovered.topics.extend(further.wrote.unwrap_or_default());
        recovered.asked.extend(further.asked.unwrap_or_default());
        if let Some(at) = further.at {
            let is_last = lines.peek().is_none();
            let must_go_on = recovered.take_intent(at, &further.intent, witness, is_last)?;
            if !must_go_on {
                break;
            }
        }
    }
    Ok(recovered)
}

impl Recovered {
    /// Takes of what was going to be written what was. False: nothing behind that was.
    fn take_intent(&mut self, at: u64, runs: &[Run], witness: Witness, is_last: bool) -> Result<bool, String> {
        if let (Witness::None, true) = (witness, is_last) {
            return Ok(false);
        }
        let mut end = at;
        for run in runs {
            if let Some(numbers) = run.set {
                apply(&mut self.topics, run.topic.clone(), Change::Set(numbers));
                continue;
            }
            let lane = run.lane.as_deref().and_then(Priority::from_name).ok_or("a lane without a priority")?;
            for (n, bytes) in (0u64..).zip(&run.bytes) {
                let seq = run.seq.saturating_add(n);
                let start = end;
                end = end.checked_add(*bytes).ok_or("more bytes than a file can have")?;
                if let Witness::Length(length) = witness
                    && end > length
                {
                    self.cut = (start < length).then_some(start);
                    return Ok(false);
                }
                apply(&mut self.topics, run.topic.clone(), Change::Advance(lane, seq));
            }
        }
        Ok(true)
    }
}

/// The first line; before there were snapshots it was the topics alone.
fn read_snapshot(line: &[u8]) -> Result<Snapshot, String> {
    match serde_json::from_slice::<Snapshot>(line) {
        Ok(snapshot) if snapshot.version > VERSION => Err(format!("version {} of it is not known", snapshot.version)),
        Ok(snapshot) => Ok(snapshot),
        Err(error) => {
            let topics: BTreeMap<String, Numbers> = serde_json::from_slice(line).map_err(|_| error.to_string())?;
            Ok(Snapshot { version: VERSION, asked: BTreeSet::new(), output: None, topics })
        }
    }
}

#[cfg(test)]
#[path = "recover_tests.rs"]
mod tests;
