//! Job: one MCAP file: channels, messages, notices of gaps, chunks that are whole on the disk after each flush.
//! Knows: MCAP <https://mcap.dev/spec>. Must never know: when a file begins or ends, connections.
//!
//! A channel is a topic's priority, kind and numbering, so that a message's `sequence` is its number in that lane. MCAP
//! has 32 bits for it: the rest is the channel's `seq_base`. What is missing stands in a channel of its own, [`GAPS`].

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fanwire::Kind;
use mcap::records::{MessageHeader, Metadata};
use mcap::{Compression, McapResult, WriteOptions, Writer};

use super::batch::Stamp;

/// The channel of what is missing.
pub const GAPS: &str = "$fanwire/gaps";
/// Channels in a file at most; MCAP has 16 bits for their numbers.
pub const CHANNELS_MAX: usize = 65_000;
/// A chunk is closed when it holds this much before compression.
const CHUNK_BYTES: u64 = 1 << 20;
/// A message's header, and its place in its chunk's index.
const MESSAGE_BYTES: u64 = 31 + 16;
/// What a chunk takes beside its messages, also in the summary; and for each of the file's channels in both.
const CHUNK_REST_BYTES: u64 = 256;
const CHUNK_CHANNEL_BYTES: u64 = 32;
/// Header, metadata, the rest of the summary, footer.
const FILE_REST_BYTES: u64 = 4 << 10;

/// What a notice holds.
const GAPS_SCHEMA: &str = r#"{"type":"object","properties":{"type":{"type":"string"},"topic":{"type":"string"},
"priority":{"type":"string"},"from":{"type":"integer"},"to":{"type":"integer"},"reason":{"type":"string"},
"count":{"type":"integer"},"epoch":{"type":"integer"}}}"#;

/// A topic whose messages are recorded.
#[derive(Clone, Debug)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its numbering.
    pub epoch: u64,
}

/// A file, and how far it has been written.
#[derive(Debug)]
struct Counted {
    out: BufWriter<Box<dyn Place>>,
    written: Arc<AtomicU64>,
}

/// Where a file is written: a file; in tests what fails or waits.
pub trait Place: Write + Send + std::fmt::Debug {
    /// Cuts it to this length.
    ///
    /// # Errors
    /// What the system says.
    fn cut(&self, length: u64) -> io::Result<()>;
    /// Has it written to the disk.
    ///
    /// # Errors
    /// What the system says.
    fn sync(&self) -> io::Result<()>;
    /// The same place, for [`Place::cut`] and [`Place::sync`].
    ///
    /// # Errors
    /// What the system says.
    fn again(&self) -> io::Result<Box<dyn Place>>;
}

impl Place for File {
    fn cut(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn again(&self) -> io::Result<Box<dyn Place>> {
        Ok(Box::new(self.try_clone()?))
    }
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.written.fetch_add(written as u64, Ordering::Relaxed);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Seek for Counted {
    /// Only where it is: nothing is written twice.
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match to {
            SeekFrom::Current(0) => Ok(self.written.load(Ordering::Relaxed)),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

/// What makes a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    topic: u32,
    priority: u8,
    kind: u8,
    seq_base: u64,
}

/// The file.
pub struct Recording {
    writer: Writer<Counted>,
    place: Box<dyn Place>,
    written: Arc<AtomicU64>,
    /// Up to here it is whole.
    whole: u64,
    channels: HashMap<Key, u16>,
    gaps: Option<u16>,
    notices: u32,
    /// Bytes in the open chunk.
    pending: u64,
    /// What its summary will take at most.
    summary: u64,
}

impl Recording {
    /// Begins a file; `about` says what is recorded.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn begin(
        place: Box<dyn Place>,
        compression: Option<Compression>,
        about: &BTreeMap<String, String>,
    ) -> McapResult<Self> {
        let written = Arc::new(AtomicU64::new(0));
        let kept = place.again()?;
        let out = Counted { out: BufWriter::with_capacity(64 << 10, place), written: Arc::clone(&written) };
        let options = WriteOptions::new()
            .compression(compression)
            .library(concat!("fanwire ", env!("CARGO_PKG_VERSION")))
            .compression_threads(0)
            .chunk_size(None)
            .disable_seeking(true);
        let mut writer = options.create(out)?;
        writer.write_metadata(&Metadata { name: "fanwire".into(), metadata: about.clone() })?;
        let summary = FILE_REST_BYTES + about.values().map(|text| text.len() as u64).sum::<u64>();
        let (channels, gaps, notices) = (HashMap::new(), None, 0);
        let mut file =
            Recording { writer, place: kept, written, whole: 0, channels, gaps, notices, pending: 0, summary };
        file.flush()?;
        Ok(file)
    }

    /// Bytes that the file has at most when it ends now.
    pub fn bytes_at_end(&self) -> u64 {
        let chunk = CHUNK_REST_BYTES + CHUNK_CHANNEL_BYTES * (self.channels.len() as u64 + 1);
        // What cannot be compressed grows a little.
        self.written.load(Ordering::Relaxed) + self.pending + self.pending / 128 + self.summary + chunk
    }

    /// Bytes that a message of this length adds at most, on a new channel of this topic.
    pub fn bytes_of(topic: &Topic, payload: usize) -> u64 {
        let payload = payload as u64;
        payload + payload / 128 + MESSAGE_BYTES + 2 * (256 + topic.name.len() as u64)
    }

    /// True where something is not in the file yet.
    pub fn is_pending(&self) -> bool {
        self.pending > 0
    }

    /// True where this message would need one channel too many.
    pub fn is_full_for(&self, stamp: &Stamp) -> bool {
        self.channels.len() >= CHANNELS_MAX && !self.channels.contains_key(&key_of(stamp))
    }

    /// Writes a message.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn message(&mut self, topic: &Topic, stamp: &Stamp, payload: &[u8]) -> McapResult<()> {
        let key = key_of(stamp);
        let channel_id = match self.channels.get(&key) {
            Some(id) => *id,
            None => {
                let metadata = BTreeMap::from([
                    ("priority".to_owned(), stamp.priority.name().to_owned()),
                    ("epoch".to_owned(), topic.epoch.to_string()),
                    ("seq_base".to_owned(), key.seq_base.to_string()),
                ]);
                let id = self.writer.add_channel(0, &topic.name, encoding_of(stamp.kind), &metadata)?;
                self.on_channel(topic.name.len());
                self.channels.insert(key, id);
                id
            }
        };
        let (log_time, publish_time) = (stamp.log_ns, stamp.publish_ns);
        let sequence = stamp.seq as u32;
        self.write(MessageHeader { channel_id, sequence, log_time, publish_time }, payload)
    }

    /// Writes a notice of what is missing.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn notice(&mut self, log_ns: u64, json: &[u8]) -> McapResult<()> {
        let channel_id = match self.gaps {
            Some(id) => id,
            None => {
                let schema = self.writer.add_schema("fanwire.Gap", "jsonschema", GAPS_SCHEMA.as_bytes())?;
                let id = self.writer.add_channel(schema, GAPS, "json", &BTreeMap::new())?;
                self.on_channel(GAPS.len() + GAPS_SCHEMA.len());
                *self.gaps.insert(id)
            }
        };
        self.notices += 1;
        let (log_time, publish_time, sequence) = (log_ns, log_ns, self.notices);
        self.write(MessageHeader { channel_id, sequence, log_time, publish_time }, json)
    }

    fn on_channel(&mut self, text: usize) {
        self.pending += 256 + text as u64;
        self.summary += 256 + text as u64;
    }

    fn write(&mut self, header: MessageHeader, bytes: &[u8]) -> McapResult<()> {
        self.writer.write_to_known_channel(&header, bytes)?;
        self.pending += MESSAGE_BYTES + bytes.len() as u64;
        if self.pending >= CHUNK_BYTES { self.flush() } else { Ok(()) }
    }

    /// Closes the chunk: what came until now can be read, whatever happens to this process.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn flush(&mut self) -> McapResult<()> {
        self.writer.flush()?;
        self.whole = self.written.load(Ordering::Relaxed);
        self.summary += CHUNK_REST_BYTES + CHUNK_CHANNEL_BYTES * self.channels.len() as u64;
        self.pending = 0;
        Ok(())
    }

    /// Ends the file with its index, and has it on the disk. Its length in bytes.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn finish(&mut self) -> McapResult<u64> {
        self.flush()?;
        self.writer.finish()?;
        self.place.sync()?;
        Ok(self.written.load(Ordering::Relaxed))
    }

    /// Leaves of a file that could not be written what is whole of it.
    ///
    /// # Errors
    /// Where it cannot be cut.
    pub fn give_up(self) -> io::Result<()> {
        let Recording { writer, place, whole, .. } = self;
        drop(writer);
        place.cut(whole)
    }
}

fn key_of(stamp: &Stamp) -> Key {
    let (priority, kind) = (stamp.priority as u8, stamp.kind as u8);
    Key { topic: stamp.topic, priority, kind, seq_base: stamp.seq & !u64::from(u32::MAX) }
}

/// How MCAP names what a payload is.
pub fn encoding_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Json => "json",
        Kind::Text => "text",
        Kind::Binary => "octets",
    }
}
