//! Job: the messages of an MCAP file, one after the other, as what they are published as.
//! Knows: MCAP <https://mcap.dev/spec>. Must never know: clocks, where messages go.
//!
//! Read from its start, in the order of the file, so that one without an index or an end can be read as well. A chunk of
//! it is in memory.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fanwire::proto::json::{Body, JsonCheck};
use fanwire::proto::topic::{Pattern, TopicName};
use fanwire::{Kind, Priority};
use mcap::McapError;
use mcap::records::{Channel, MessageHeader, Record};
use mcap::sans_io::linear_reader::{LinearReadEvent, LinearReader, LinearReaderOptions};

use crate::exit::{Exit, Failure};
use crate::units::some;

/// Largest record that is read, in bytes: a chunk, or a message in one.
const RECORD_BYTES_MAX: usize = 256 << 20;
/// What is read of the file at once, where no more is needed.
const READ_BYTES: usize = 64 << 10;

/// What is replayed of a file, and as what.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Topics that are left out match none of these; without any, all are replayed.
    pub only: Vec<Pattern>,
    /// Goes before each topic.
    pub prefix: String,
    /// Counted from the recording's first message.
    pub start: Duration,
    /// The same; `None`: to its end.
    pub end: Option<Duration>,
    /// Of channels that say none.
    pub priority: Priority,
}

/// What is read.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// What is wanted of it.
    pub selection: Selection,
}

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its priority.
    pub priority: Priority,
    /// What the payload is.
    pub kind: Kind,
    /// The payload.
    pub payload: &'a [u8],
    /// When it was recorded, in microseconds since 1970.
    pub log_us: u64,
    /// Which message of the file it is, counted from 1.
    pub number: u64,
}

/// What a channel's messages become.
struct Target {
    topic: String,
    priority: Priority,
    /// What the channel says that they are.
    kind: Kind,
}

/// The messages.
pub struct Messages {
    source: Source,
    file: File,
    reader: LinearReader,
    schemas: HashMap<u16, String>,
    /// `None`: its messages are left out.
    channels: HashMap<u16, Option<Target>>,
    first_ns: Option<u64>,
    payload: Vec<u8>,
    check: JsonCheck,
    number: u64,
    is_at_end: bool,
}

/// Whether a file is MCAP, by its first bytes.
pub fn is_mcap(path: &Path) -> bool {
    let mut magic = [0; 8];
    // A pipe is not looked at: what was read of it would be gone.
    path.is_file() && File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic == *mcap::MAGIC
}

impl Source {
    /// What it is called.
    pub fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// Its topics, as they will be published.
    ///
    /// # Errors
    /// As [`Messages::next`].
    pub fn topics(&self) -> Result<Vec<String>, Failure> {
        let mut messages = Messages::open(self)?;
        while messages.next()?.is_some() {}
        Ok(messages.channels.into_values().flatten().map(|target| target.topic).collect())
    }
}

impl Messages {
    /// Opens the file.
    ///
    /// # Errors
    /// Where it cannot be opened.
    pub fn open(source: &Source) -> Result<Self, Failure> {
        let file = File::open(&source.path).map_err(|error| {
            let what = format!("cannot open {}", source.name());
            Failure::new(Exit::NoInput, anyhow::Error::new(error).context(what))
        })?;
        let options = LinearReaderOptions::default().with_record_length_limit(RECORD_BYTES_MAX);
        Ok(Messages {
            source: source.clone(),
            file,
            reader: LinearReader::new_with_options(options.with_validate_chunk_crcs(true)),
            schemas: HashMap::new(),
            channels: HashMap::new(),
            first_ns: None,
            payload: Vec::new(),
            check: JsonCheck::new(),
            number: 0,
            is_at_end: false,
        })
    }

    /// The next message that is wanted; `None` at the end.
    ///
    /// # Errors
    /// Where the file cannot be read, or is not as MCAP has to be.
    pub fn next(&mut self) -> Result<Option<Found<'_>>, Failure> {
        let header = loop {
            match self.step()? {
                Step::Message(header) => {
                    self.number += 1;
                    if self.is_wanted(&header) {
                        break header;
                    }
                }
                Step::Other => {}
                Step::End => return Ok(None),
            }
        };
        // What is wanted has a target.
        let Some(Some(target)) = self.channels.get(&header.channel_id) else { return Ok(None) };
        let kind = Body::of(target.kind, &self.payload, &mut self.check).kind();
        let (topic, priority) = (target.topic.as_str(), target.priority);
        let (log_us, number) = (header.log_time / 1_000, self.number);
        Ok(Some(Found { topic, priority, kind, payload: &self.payload, log_us, number }))
    }

    fn is_wanted(&mut self, header: &MessageHeader) -> bool {
        let first = *self.first_ns.get_or_insert(header.log_time);
        let since = Duration::from_nanos(header.log_time.saturating_sub(first));
        let selection = &self.source.selection;
        let is_in_time = since >= selection.start && selection.end.is_none_or(|end| since < end);
        is_in_time && matches!(self.channels.get(&header.channel_id), Some(Some(_)))
    }

    /// One record; a message's payload is kept.
    fn step(&mut self) -> Result<Step, Failure> {
        let event = match self.reader.next_event() {
            None => return Ok(Step::End),
            Some(Ok(event)) => event,
            Some(Err(McapError::UnexpectedEof | McapError::UnexpectedEoc | McapError::BadMagic))
                if self.is_at_end && self.number > 0 =>
            {
                tracing::warn!("{} has no end: what was whole of it was read", self.source.name());
                return Ok(Step::End);
            }
            Some(Err(error)) => return Err(self.wrong(&error)),
        };
        let (opcode, data) = match event {
            LinearReadEvent::ReadRequest(need) => {
                let read = read_some(&mut self.file, self.reader.insert(need.clamp(READ_BYTES, RECORD_BYTES_MAX)));
                let read = read.map_err(|error| self.wrong(&McapError::Io(error)))?;
                self.is_at_end = read == 0;
                self.reader.notify_read(read);
                return Ok(Step::Other);
            }
            LinearReadEvent::Record { opcode, data } => (opcode, data),
        };
        match mcap::parse_record(opcode, data) {
            Ok(Record::Message { header, data }) => {
                self.payload.clear();
                self.payload.extend_from_slice(&data);
                if !self.channels.contains_key(&header.channel_id) {
                    let what = format!("message {} of a channel {} that is not there", self.number, header.channel_id);
                    return Err(Failure::message(Exit::Data, format!("{}: {what}", self.source.name())));
                }
                return Ok(Step::Message(header));
            }
            Ok(Record::Schema { header, .. }) => {
                let schema = format!("{} ({})", header.name, header.encoding);
                self.schemas.insert(header.id, schema);
            }
            Ok(Record::Channel(channel)) if !self.channels.contains_key(&channel.id) => {
                let target = self.target_of(&channel);
                self.channels.insert(channel.id, target);
            }
            Ok(_) => {}
            Err(error) => return Err(self.wrong(&error)),
        }
        Ok(Step::Other)
    }

    /// What becomes of a channel, which is told; `None`: nothing.
    fn target_of(&self, channel: &Channel) -> Option<Target> {
        // ROS begins its names with a slash, which would be an empty level here.
        let name = channel.topic.trim_start_matches('/');
        let selection = &self.source.selection;
        if name.starts_with('$') || !selection.only.is_empty() && !selection.only.iter().any(|p| p.matches(name)) {
            tracing::debug!("{} is left out", channel.topic);
            return None;
        }
        let topic = format!("{}{name}", selection.prefix);
        if let Err(error) = TopicName::check(&topic) {
            tracing::warn!("{} is left out: `{topic}` is no topic: {error}", channel.topic);
            return None;
        }
        let (kind, kind_name) = match channel.message_encoding.as_str() {
            "json" => (Kind::Json, "json"),
            "text" => (Kind::Text, "text"),
            _ => (Kind::Binary, "binary"),
        };
        let schema = self.schemas.get(&channel.schema_id).map_or("no schema", String::as_str);
        tracing::info!(
            "{}: {}, {schema}; published as {kind_name} on {topic}",
            channel.topic,
            channel.message_encoding
        );
        let priority = channel.metadata.get("priority").and_then(|name| Priority::from_name(name));
        Some(Target { topic, priority: priority.unwrap_or(selection.priority), kind })
    }

    fn wrong(&self, error: &McapError) -> Failure {
        let what = format!("{}: behind {}: {error}", self.source.name(), some(self.number, "message"));
        Failure::message(Exit::Data, what)
    }
}

enum Step {
    Message(MessageHeader),
    Other,
    End,
}

fn read_some(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

#[cfg(test)]
#[path = "recorded_tests.rs"]
mod tests;
