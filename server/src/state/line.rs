//! Job: the lines of a state file, written and read.
//! Knows: their JSON. Must never know: files, what is made of them.

use std::collections::{BTreeMap, BTreeSet};

use fanwire::Priority;
use fanwire::proto::json;
use serde::{Deserialize, Serialize};

use super::Change;
use crate::ledger::Numbers;
use crate::output::FileEnd;

/// The version of these lines.
pub const VERSION: u32 = 1;

/// The first line.
#[derive(Debug, Deserialize, Serialize)]
pub struct Snapshot {
    /// [`VERSION`].
    #[serde(rename = "fanwire_state")]
    pub version: u32,
    /// Names and patterns that were subscribed to.
    pub asked: BTreeSet<String>,
    /// What the output was, and how long, if it was a regular file.
    pub output: Option<FileEnd>,
    /// The numbers of what has been written.
    pub topics: BTreeMap<String, Numbers>,
}

impl Snapshot {
    /// As a line, with its line feed.
    pub fn to_line(&self) -> Vec<u8> {
        // Maps with text keys and numbers: nothing of it can fail.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

/// Any further line.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Further {
    /// The numbers of what has been written.
    pub wrote: Option<BTreeMap<String, Numbers>>,
    /// What is subscribed to.
    pub asked: Option<BTreeSet<String>>,
    /// What was going to be written at a place.
    pub at: Option<u64>,
    /// See `at`.
    #[serde(default)]
    pub intent: Vec<Run>,
}

/// Messages of a lane, one after the other, or a topic's numbers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// The topic.
    pub topic: String,
    /// Its numbers are set; no message.
    pub set: Option<Numbers>,
    /// The lane.
    pub lane: Option<String>,
    /// The first message's number; the others count on.
    #[serde(default)]
    pub seq: u64,
    /// Bytes of each.
    #[serde(default)]
    pub bytes: Vec<u64>,
}

/// A change and where in what is going to be written it ends.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Bytes up to its end.
    pub end: u64,
    /// The topic.
    pub topic: &'a str,
    /// The change.
    pub change: &'a Change,
}

/// `{"asked":[…]}`
pub fn asked(out: &mut Vec<u8>, topics: &BTreeSet<String>) {
    out.extend_from_slice(br#"{"asked":["#);
    for (n, topic) in topics.iter().enumerate() {
        comma(out, n > 0);
        json::string(out, topic);
    }
    out.extend_from_slice(b"]}\n");
}

/// `{"wrote":{…}}`
pub fn wrote<'a>(out: &mut Vec<u8>, topics: impl Iterator<Item = (&'a str, &'a Numbers)>) {
    out.extend_from_slice(br#"{"wrote":{"#);
    for (n, (topic, numbers)) in topics.enumerate() {
        comma(out, n > 0);
        json::string(out, topic);
        out.push(b':');
        write_numbers(out, numbers);
    }
    out.extend_from_slice(b"}}\n");
}

/// `{"at":…,"intent":[…]}`
pub fn intent<'a>(out: &mut Vec<u8>, at: u64, entries: impl Iterator<Item = Entry<'a>>) {
    out.extend_from_slice(br#"{"at":"#);
    json::decimal(out, at);
    out.extend_from_slice(br#","intent":["#);
    let mut end = 0;
    // The run that is open: its topic, its lane, and the number that would continue it.
    let mut open: Option<(&str, Priority, u64)> = None;
    for (n, entry) in entries.enumerate() {
        let bytes = entry.end - end;
        end = entry.end;
        match entry.change {
            Change::Advance(priority, seq) if open == Some((entry.topic, *priority, *seq)) => {
                out.push(b',');
                json::decimal(out, bytes);
                open = Some((entry.topic, *priority, seq.saturating_add(1)));
            }
            change => {
                if open.take().is_some() {
                    out.extend_from_slice(b"]}");
                }
                comma(out, n > 0);
                out.extend_from_slice(br#"{"topic":"#);
                json::string(out, entry.topic);
                open = begin_run(out, entry.topic, change, bytes);
            }
        }
    }
    out.extend_from_slice(if open.is_some() { b"]}]}\n" } else { b"]}\n" });
}

fn begin_run<'a>(out: &mut Vec<u8>, topic: &'a str, change: &Change, bytes: u64) -> Option<(&'a str, Priority, u64)> {
    match change {
        Change::Set(numbers) => {
            out.extend_from_slice(br#","set":"#);
            write_numbers(out, numbers);
            out.push(b'}');
            None
        }
        Change::Advance(priority, seq) => {
            out.extend_from_slice(br#","lane":""#);
            out.extend_from_slice(priority.name().as_bytes());
            out.extend_from_slice(br#"","seq":"#);
            json::decimal(out, *seq);
            out.extend_from_slice(br#","bytes":["#);
            json::decimal(out, bytes);
            Some((topic, *priority, seq.saturating_add(1)))
        }
    }
}

fn write_numbers(out: &mut Vec<u8>, numbers: &Numbers) {
    // Numbers and text keys: nothing of it can fail.
    out.extend_from_slice(&serde_json::to_vec(numbers).unwrap_or_default());
}

fn comma(out: &mut Vec<u8>, is_wanted: bool) {
    if is_wanted {
        out.push(b',');
    }
}
