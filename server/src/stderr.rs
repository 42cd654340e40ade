//! Job: lines on stderr, which may be gone, full or told not to block: what cannot be said is not said, and nothing ends for it.
//! Knows: stderr, the shape of log lines. Must never know: what is said.

use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use crate::args::LogFormat;
use crate::{console, plain, recent};

/// How lines are written; text before anybody has said so.
static FORMAT: OnceLock<LogFormat> = OnceLock::new();

/// Sets how lines are written. The first time holds.
pub fn set_format(format: LogFormat) {
    let _ = FORMAT.set(format);
}

fn is_json() -> bool {
    FORMAT.get() == Some(&LogFormat::Json)
}

/// Says something whatever the log level: a line of its own, as a JSON object where log lines are. Line feeds in it stay in text.
pub fn say(level: &str, text: &str) {
    let line = match is_json() {
        true => {
            let mut timestamp = String::new();
            let _ = SystemTime.format_time(&mut tracing_subscriber::fmt::format::Writer::new(&mut timestamp));
            serde_json::json!({"timestamp": timestamp, "level": level, "fields": {"message": text}}).to_string()
        }
        false => plain::lines(text),
    };
    let _ = Stderr.write_all(format!("{line}\n").as_bytes());
}

/// Stderr that takes everything.
#[derive(Clone, Copy, Debug)]
pub struct Stderr;

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        recent::keep(line);
        console::put(match line.strip_suffix(b"\n").filter(|_| is_json() && io::stderr().is_terminal()) {
            Some(object) => [&*plain::json(object, true), b"\n"].concat(),
            None => line.to_vec(),
        });
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Stderr {
    type Writer = Stderr;

    fn make_writer(&self) -> Stderr {
        Stderr
    }
}
