//! Job: recordings and message files, one JSON object a line, plain or gzip.
//! Knows: `{"topic":…,"t_us":…,"data":…,"priority":…}`, line numbers. Must never know: where messages go.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fanwire::proto::topic::TopicName;
use flate2::bufread::MultiGzDecoder;
use rustix::fs::{Mode, OFlags};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::exit::{Exit, Failure};

/// Longest line read: the largest message and room for its topic around it.
pub const LINE_BYTES_MAX: usize = (64 << 20) + (64 << 10);
const BUFFER_BYTES: usize = 256 << 10;

/// One line's content. `data` is the text of the JSON value exactly as it stands in the line.
#[derive(Debug, Deserialize)]
pub struct Record<'a> {
    /// Where it belongs; a line of `pub --ndjson` may leave it out.
    pub topic: Option<String>,
    /// Microseconds since any origin.
    pub t_us: Option<u64>,
    /// The value, verbatim.
    #[serde(borrow)]
    pub data: &'a RawValue,
    /// `critical`, `high`, `normal` or `low`.
    pub priority: Option<PriorityName>,
    /// What it replaces (`pub --ndjson` only).
    pub key: Option<String>,
    /// Milliseconds for which it is worth something (`pub --ndjson` only).
    pub ttl_ms: Option<u64>,
}

/// A priority as it is written in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PriorityName {
    /// See [`fanwire::Priority::Critical`].
    Critical,
    /// See [`fanwire::Priority::High`].
    High,
    /// See [`fanwire::Priority::Normal`].
    Normal,
    /// See [`fanwire::Priority::Low`].
    Low,
}

impl From<PriorityName> for fanwire::Priority {
    fn from(name: PriorityName) -> Self {
        match name {
            PriorityName::Critical => fanwire::Priority::Critical,
            PriorityName::High => fanwire::Priority::High,
            PriorityName::Normal => fanwire::Priority::Normal,
            PriorityName::Low => fanwire::Priority::Low,
        }
    }
}

/// Reads one line's object.
///
/// # Errors
/// What is wrong, and in which column (counted from 1).
pub fn parse(line: &[u8]) -> Result<Record<'_>, String> {
    serde_json::from_slice(line).map_err(|error| {
        if line.trim_ascii_start().first() != Some(&b'{') {
            return "is not a JSON object".to_owned();
        }
        let text = error.to_string();
        // serde_json counts lines within what it was given, which is always one.
        match text.rsplit_once(" at line ") {
            Some((what, _)) => format!("{what}, at column {}", error.column()),
            None => text,
        }
    })
}

/// Where in which file something is wrong.
#[derive(Clone, Debug)]
pub struct Place {
    /// The file's name.
    pub name: Arc<str>,
    /// Line, counted from 1.
    pub line: u64,
}

impl Place {
    /// A failure of the input there.
    pub fn wrong(&self, what: impl std::fmt::Display) -> Failure {
        Failure::message(Exit::Data, format!("{}:{}: {what}", self.name, self.line))
    }
}

/// Says which line was to be published, where that itself is at fault.
pub fn at(failure: Failure, place: &Place) -> Failure {
    if failure.code == Exit::Data as i32 { place.wrong(failure.error) } else { failure }
}

/// Checks a topic that is to be published to.
///
/// # Errors
/// Where it is no topic name, or one of the engine's own.
pub fn check_topic(topic: &str, place: &Place) -> Result<(), Failure> {
    let name = TopicName::new(topic).map_err(|error| place.wrong(error))?;
    match name.is_engine_owned() {
        true => Err(place.wrong(format!("`{topic}`: topics that begin with $ are the engine's own"))),
        false => Ok(()),
    }
}

/// Waits until a descriptor can be read. False: nothing more is to be read.
pub type Wait<'a> = &'a mut dyn FnMut(BorrowedFd<'_>) -> io::Result<bool>;

/// Lines of a file, without their line feeds; empty ones are left out, but counted.
pub struct Lines<R> {
    source: R,
    place: Place,
    line: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    /// Lines of `source`, which is called `name` where something is wrong with it.
    pub fn new(source: R, name: &str) -> Self {
        Lines { source, place: Place { name: name.into(), line: 0 }, line: Vec::new() }
    }

    /// The next line, `None` at the end.
    ///
    /// # Errors
    /// Where reading fails, gzip data are damaged, or a line is longer than [`LINE_BYTES_MAX`].
    pub fn next_line(&mut self) -> Result<Option<(&[u8], &Place)>, Failure> {
        loop {
            self.line.clear();
            self.place.line += 1;
            let mut bounded = (&mut self.source).take(LINE_BYTES_MAX as u64 + 1);
            let read = bounded.read_until(b'\n', &mut self.line).map_err(|error| {
                let what = match error.kind() {
                    io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => format!("damaged gzip data: {error}"),
                    io::ErrorKind::UnexpectedEof => "the gzip data end too early".to_owned(),
                    _ => {
                        return Failure::new(
                            Exit::Io,
                            anyhow::Error::new(error).context(format!("cannot read {}", self.place.name)),
                        );
                    }
                };
                self.place.wrong(what)
            })?;
            if read == 0 {
                return Ok(None);
            }
            if self.line.len() > LINE_BYTES_MAX {
                return Err(self.place.wrong(format!("the line is longer than {LINE_BYTES_MAX} bytes")));
            }
            if self.line.last() == Some(&b'\n') {
                self.line.pop();
            }
            if self.line.iter().any(|b| !b.is_ascii_whitespace()) {
                break;
            }
        }
        Ok(Some((&self.line, &self.place)))
    }
}

/// A recording that can be opened more than once.
#[derive(Clone, Debug)]
pub struct Recording {
    path: PathBuf,
    name: String,
    /// Bytes of the file as it lies there; `None` for stdin and what else has no size.
    pub size: Option<u64>,
}

impl Recording {
    /// The recording at `path`; `-` is stdin.
    ///
    /// # Errors
    /// Where there is no such file.
    pub fn at(path: &Path) -> Result<Self, Failure> {
        if path == Path::new("-") {
            return Ok(Recording { path: path.to_owned(), name: "stdin".into(), size: None });
        }
        let name = path.display().to_string();
        let metadata = path.metadata().map_err(|error| {
            Failure::new(Exit::NoInput, anyhow::Error::new(error).context(format!("cannot open {name}")))
        })?;
        if metadata.is_dir() {
            return Err(Failure::message(Exit::NoInput, format!("{name} is a directory")));
        }
        Ok(Recording { path: path.to_owned(), name, size: metadata.is_file().then_some(metadata.len()) })
    }

    /// True where it can be read from its start again.
    pub fn is_repeatable(&self) -> bool {
        self.size.is_some()
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Opens it. `progress` is set to the bytes of the file read so far, as it lies there; `wait` is asked before each read.
    ///
    /// # Errors
    /// Where it cannot be opened or its first bytes cannot be read.
    pub fn open<'a>(&self, progress: Arc<AtomicU64>, wait: Wait<'a>) -> Result<Lines<Box<dyn BufRead + 'a>>, Failure> {
        let failed = |error: io::Error| {
            Failure::new(Exit::NoInput, anyhow::Error::new(error).context(format!("cannot open {}", self.name)))
        };
        progress.store(0, Ordering::Relaxed);
        let file = if self.path == Path::new("-") {
            File::from(io::stdin().as_fd().try_clone_to_owned().map_err(failed)?)
        } else {
            // A pipe whose other end nobody has opened yet is no reason to be stuck.
            let flags = OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::RDONLY;
            let fd = rustix::fs::open(&self.path, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
            File::from(fd)
        };
        let source = Waiting { file, wait };
        let mut counted = BufReader::with_capacity(BUFFER_BYTES, Counted { source, bytes: progress });
        // Known by its first two bytes (RFC 1952 section 2.3.1), not by the name: a pipe has none.
        let is_gzip = counted.fill_buf().map_err(failed)?.starts_with(&[0x1f, 0x8b]);
        let source: Box<dyn BufRead + 'a> = if is_gzip {
            Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(counted)))
        } else {
            Box::new(counted)
        };
        Ok(Lines::new(source, &self.name))
    }
}

/// A file that is read only when there is something to read.
struct Waiting<'a> {
    file: File,
    wait: Wait<'a>,
}

impl Read for Waiting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if !(self.wait)(self.file.as_fd())? {
                return Ok(0);
            }
            match self.file.read(buffer) {
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                other => return other,
            }
        }
    }
}

struct Counted<R> {
    source: R,
    bytes: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.source.read(buffer)?;
        self.bytes.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn lines_of(bytes: &[u8]) -> Vec<(u64, String)> {
        let mut lines = Lines::new(bytes, "test");
        let mut out = Vec::new();
        while let Some((line, place)) = lines.next_line().unwrap() {
            out.push((place.line, String::from_utf8(line.to_vec()).unwrap()));
        }
        out
    }

    #[test]
    fn lines_are_numbered_and_blank_ones_left_out() {
        let own = |n, s: &str| (n, s.to_owned());
        assert_eq!(lines_of(b"a\n\n  \r\nb\nc"), vec![own(1, "a"), own(4, "b"), own(5, "c")]);
        assert_eq!(lines_of(b""), vec![]);
    }

    #[test]
    fn data_are_kept_as_they_are_written() {
        let line = br#"{"topic":"a/b","t_us":12,"data": {"x" : 1.50, "y":"\u00e4\/" } ,"more":[1]}"#;
        let record = parse(line).unwrap();
        assert_eq!(record.topic.as_deref(), Some("a/b"));
        assert_eq!(record.t_us, Some(12));
        assert_eq!(record.data.get(), r#"{"x" : 1.50, "y":"\u00e4\/" }"#);
        assert_eq!(record.priority, None);
        for data in ["1e3", "null", "\"text\"", "[1, 2]", "-0.0", "123456789012345678901234567890"] {
            let line = format!(r#"{{"data":{data}}}"#);
            assert_eq!(parse(line.as_bytes()).unwrap().data.get(), data);
        }
    }

    #[test]
    fn a_wrong_line_is_named_with_what_is_wrong() {
        for (line, what) in [
            (r#"{"topic":"a"}"#, "missing field `data`"),
            (r#"{"topic":1,"data":1}"#, "invalid type"),
            (r#"{"topic":"a","t_us":-1,"data":1}"#, "invalid value"),
            (r#"{"topic":"a","data":1"#, "column"),
            (r#"{"topic":"a","data":1,"priority":"urgent"}"#, "unknown variant"),
            ("hello", "is not a JSON object"),
            (r#"["a"]"#, "is not a JSON object"),
            (r#"{"data":{"a":1,}}"#, "key must be a string"),
        ] {
            let error = parse(line.as_bytes()).unwrap_err();
            assert!(error.contains(what), "{line}: {error}");
            assert!(!error.contains("line"), "{error}");
        }
        let place = Place { name: "flight.ndjson".into(), line: 17 };
        assert_eq!(place.wrong("no topic").error.to_string(), "flight.ndjson:17: no topic");
    }

    #[test]
    fn plain_and_gzip_are_told_apart_by_their_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let text = b"{\"data\":1}\n{\"data\":2}\n";
        let plain = directory.path().join("plain.gz");
        std::fs::write(&plain, text).unwrap();
        let packed = directory.path().join("packed.ndjson");
        let mut file = File::create(&packed).unwrap();
        // Two members one after the other, as `cat a.gz b.gz` makes them.
        for half in text.chunks(11) {
            let mut encoder = GzEncoder::new(&mut file, Compression::default());
            encoder.write_all(half).unwrap();
            encoder.finish().unwrap();
        }
        drop(file);
        for path in [plain, packed] {
            let recording = Recording::at(&path).unwrap();
            let read = Arc::new(AtomicU64::new(0));
            for _round in 0..2 {
                let mut at_once = |_: BorrowedFd<'_>| Ok(true);
                let mut lines = recording.open(read.clone(), &mut at_once).unwrap();
                let mut n = 0;
                while let Some((line, _)) = lines.next_line().unwrap() {
                    n += 1;
                    assert_eq!(parse(line).unwrap().data.get(), n.to_string());
                }
                assert_eq!(n, 2);
                assert_eq!(Some(read.load(Ordering::Relaxed)), recording.size);
            }
        }
    }

    #[test]
    fn damaged_gzip_and_missing_files_are_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cut.gz");
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&b"{\"data\":1}\n".repeat(1_000)).unwrap();
        let packed = encoder.finish().unwrap();
        std::fs::write(&path, &packed[..packed.len() / 2]).unwrap();
        let mut at_once = |_: BorrowedFd<'_>| Ok(true);
        let mut lines = Recording::at(&path).unwrap().open(Arc::default(), &mut at_once).unwrap();
        let failure = loop {
            match lines.next_line() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("half a gzip file was read without an error"),
                Err(failure) => break failure,
            }
        };
        assert_eq!(failure.code, Exit::Data as i32);
        assert!(failure.error.to_string().contains("gzip"), "{}", failure.error);
        let failure = Recording::at(&directory.path().join("none")).unwrap_err();
        assert_eq!(failure.code, Exit::NoInput as i32);
    }
}
