//! Job: `fanwire pub`: lines of stdin become messages.
//! Knows: stdin, lines, pacing. Must never know: the protocol.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::fd::AsFd;
use std::process::ExitCode;

use fanwire::proto::json::JsonCheck;
use fanwire::proto::subscribe::KEY_BYTES_MAX;
use fanwire::{Kind, Priority};

use crate::args::PubArgs;
use crate::clock;
use crate::exit::{Exit, Failure, OrExit, Outcome};
use crate::ndjson::{self, LINE_BYTES_MAX, Place};
use crate::pace::Rate;
use crate::requests::Outgoing;
use crate::signals::StopRequests;
use crate::tls::Trust;
use crate::units::{grouped, some};
use crate::uplink::{Target, Uplink};

/// Runs the command.
///
/// # Errors
/// Where it cannot connect, stdin cannot be read, a line is wrong, or the server ended the connection.
pub fn run(args: &PubArgs) -> Outcome {
    let stop = StopRequests::listen_on_terminal().or_exit(Exit::Software, || "cannot wait for signals".into())?;
    let trust = Trust::for_url(&args.url, &args.tls)?;
    let target = Target {
        url: args.url.clone(),
        timeout: args.timeout.0,
        ping_every: args.ping_every.0,
        bearer: args.bearer.bearer()?,
        trust,
        reconnects: args.reconnect,
        source: "stdin".into(),
    };
    let Some(mut uplink) = Uplink::connect(target, stop.clone())? else {
        return Ok(ExitCode::from(stop.exit_code()));
    };
    // A descriptor of our own, without std's buffer in front of it: poll then tells the truth.
    let stdin = io::stdin().as_fd().try_clone_to_owned().or_exit(Exit::Io, || "cannot read stdin".into())?;
    let mut lines = LineBuffer::new(File::from(stdin));
    let mut rate = args.rate.map(|per_second| Rate::new(per_second, clock::now()));
    let sent = send_lines(args, &mut uplink, &mut lines, &mut rate);
    // A wrong line ends the input, not the messages before it.
    let (wrong, is_whole) = match sent {
        Ok(is_whole) => (None, is_whole),
        Err(failure) if failure.code == Exit::Data as i32 => (Some(failure), false),
        Err(failure) => return Err(failure),
    };
    let published = uplink.finish()?;
    if published.refused == 0 {
        tracing::info!("published {}, {}", some(published.messages, "message"), some(published.bytes, "byte"));
    } else {
        let taken = published.messages.saturating_sub(published.refused);
        tracing::info!("published {} of {} messages", grouped(taken), grouped(published.messages));
    }
    match wrong {
        Some(failure) => Err(failure),
        None if published.refused > 0 => Err(Failure::message(Exit::Failed, published.refusals())),
        None if !is_whole => {
            tracing::warn!("{}: stopped before the end of the input", stop.name());
            Ok(ExitCode::from(stop.exit_code()))
        }
        None => Ok(ExitCode::SUCCESS),
    }
}

/// Publishes the lines. False: the process was asked to stop before the last one.
fn send_lines(
    args: &PubArgs,
    uplink: &mut Uplink,
    lines: &mut LineBuffer,
    rate: &mut Option<Rate>,
) -> Result<bool, Failure> {
    let mut place = Place { name: "stdin".into(), line: 0 };
    let mut check = JsonCheck::new();
    loop {
        let Some(line) = lines.next_line() else {
            if lines.is_ended() {
                return Ok(true);
            }
            if !uplink.wait_readable(lines.source.as_fd())? {
                return Ok(false);
            }
            if !lines.read()? {
                place.line += 1;
                return Err(place.wrong(format!("the line is longer than {LINE_BYTES_MAX} bytes")));
            }
            continue;
        };
        let line = &lines.buffer[line];
        place.line += 1;
        if args.ndjson && line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        if let Some(rate) = rate
            && !uplink.wait_until(rate.next_due())?
        {
            return Ok(false);
        }
        if !publish_line(args, uplink, &mut check, line, &place)? {
            return Ok(false);
        }
        if let Some(rate) = rate {
            rate.on_sent(clock::now());
        }
    }
}

fn publish_line(
    args: &PubArgs,
    uplink: &mut Uplink,
    check: &mut JsonCheck,
    line: &[u8],
    place: &Place,
) -> Result<bool, Failure> {
    let usual = Priority::from(args.priority);
    let ttl_ms = args.ttl.map(|ttl| u64::try_from(ttl.0.as_millis()).unwrap_or(u64::MAX));
    let publish = |uplink: &mut Uplink, message: Outgoing<'_>| {
        uplink.publish(&message, place.line).map_err(|failure| ndjson::at(failure, place))
    };
    if !args.ndjson {
        let kind = Kind::from(args.kind);
        if kind == Kind::Json && !check.is_valid(line) {
            return Err(place.wrong("is not one JSON value"));
        }
        // The parser makes sure that there is a topic without --ndjson.
        let topic = args.topic.as_deref().unwrap_or_default();
        let key = args.key.as_deref();
        return publish(uplink, Outgoing { topic, priority: usual, kind, payload: line, key, ttl_ms });
    }
    let record = ndjson::parse(line).map_err(|what| place.wrong(what))?;
    let topic = record.topic.as_deref().or(args.topic.as_deref());
    let topic = topic.ok_or_else(|| place.wrong("names no topic, and none was given on the command line"))?;
    ndjson::check_topic(topic, place)?;
    let payload = record.data.get().as_bytes();
    if !check.is_valid(payload) {
        return Err(place.wrong("`data` has a number that no double holds, half a surrogate pair, or too many levels"));
    }
    if record.key.as_ref().is_some_and(|key| !(1..=KEY_BYTES_MAX).contains(&key.len())) {
        return Err(place.wrong("a key has 1 to 255 bytes"));
    }
    let message = Outgoing {
        topic,
        priority: record.priority.map_or(usual, Into::into),
        kind: Kind::Json,
        payload,
        key: record.key.as_deref().or(args.key.as_deref()),
        ttl_ms: record.ttl_ms.or(ttl_ms),
    };
    publish(uplink, message)
}

/// Lines out of reads of any size.
struct LineBuffer<R = File> {
    source: R,
    buffer: Vec<u8>,
    /// `buffer[start..]` has not been handed out; `buffer[start..searched]` holds no line feed.
    start: usize,
    searched: usize,
    has_ended: bool,
}

impl<R: Read> LineBuffer<R> {
    fn new(source: R) -> Self {
        LineBuffer { source, buffer: Vec::new(), start: 0, searched: 0, has_ended: false }
    }

    /// Where in the buffer the next line is, without its line feed. After the end, what is left without a line
    /// feed is a line too.
    fn next_line(&mut self) -> Option<Range<usize>> {
        let found = self.buffer[self.searched..].iter().position(|b| *b == b'\n');
        let (end, next) = match found {
            Some(at) => (self.searched + at, self.searched + at + 1),
            None if self.has_ended && self.start < self.buffer.len() => (self.buffer.len(), self.buffer.len()),
            None => {
                self.searched = self.buffer.len();
                return None;
            }
        };
        let line = self.start..end;
        self.start = next;
        self.searched = next;
        Some(line)
    }

    fn is_ended(&self) -> bool {
        self.has_ended
    }

    /// Reads once. False: the line that has begun is too long.
    fn read(&mut self) -> Result<bool, Failure> {
        const READ_BYTES: usize = 64 << 10;
        self.buffer.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        let filled = self.buffer.len();
        if filled > LINE_BYTES_MAX {
            return Ok(false);
        }
        // A long line is read in ever larger pieces, so that it is not moved and searched over and over.
        self.buffer.resize(filled + READ_BYTES.max(filled), 0);
        let read = loop {
            match self.source.read(&mut self.buffer[filled..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        let n = *read.as_ref().unwrap_or(&0);
        self.buffer.truncate(filled + n);
        match read {
            Ok(0) => self.has_ended = true,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(Failure::new(Exit::Io, anyhow::Error::new(error).context("cannot read stdin"))),
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands out what it holds in pieces of a given size.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let n = self.1.min(self.0.len()).min(out.len());
            out[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    #[test]
    fn lines_are_the_same_however_they_are_cut() {
        let text = b"a\r\n\nlonger line\nx\n\xff\xfe\nno line feed at the end\r";
        let expected: Vec<&[u8]> = text.split(|b| *b == b'\n').collect();
        for size in 1..=text.len() {
            let mut lines = LineBuffer::new(Pieces(text, size));
            let mut found = Vec::new();
            while !lines.is_ended() {
                lines.read().unwrap();
                while let Some(line) = lines.next_line() {
                    found.push(lines.buffer[line].to_vec());
                }
            }
            assert_eq!(found, expected, "pieces of {size}");
        }
    }

    #[test]
    fn a_line_feed_at_the_end_makes_no_further_line() {
        let mut lines = LineBuffer::new(Pieces(b"a\n", 9));
        lines.read().unwrap();
        assert!(lines.next_line().is_some());
        assert!(lines.next_line().is_none());
        lines.read().unwrap();
        assert!(lines.is_ended() && lines.next_line().is_none());
    }
}
