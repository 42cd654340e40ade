//! Job: the command line of `fanwire record`.
//! Knows: names and defaults. Must never know: files, what arrives.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use fanwire::settings::{ByteSize, Span};

use crate::args::{ProtocolArg, timeout, topic_pattern};
use crate::bearer::BearerArgs;
use crate::tls::TlsArgs;
use crate::url::Url;

/// Smallest file that `--max-bytes` takes: what stands in every file has room in it.
pub const FILE_BYTES_MIN: u64 = 64 << 10;

/// `fanwire record`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fanwire record ws://127.0.0.1:9001 'rover/**' -o flight.mcap
  fanwire record wss://ops.example.org '**' -o day.mcap --max-bytes 1GiB --every 1h --reconnect --token-file token

Writes MCAP, which Foxglove and others read. A file that is there is never written over. Where it is cut by
size or time, files are day-00001.mcap, day-00002.mcap and so on. While the disk does not keep up, nothing
more is read: the server leaves out what has no room, and the gaps are in the file. Ctrl-C ends it.")]
pub struct RecordArgs {
    /// Where the server is: ws://HOST:PORT, or wss://HOST:PORT
    #[arg(value_name = "URL")]
    pub url: Url,

    /// Topics or patterns
    #[arg(value_name = "TOPIC", required = true, value_parser = topic_pattern)]
    pub topics: Vec<String>,

    /// The file
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,

    /// Begin another file before this one is larger than this. A message that is larger has a file of its own
    #[arg(long, value_name = "SIZE", value_parser = file_bytes)]
    pub max_bytes: Option<ByteSize>,

    /// Begin another file after this time
    #[arg(long, value_name = "TIME", value_parser = timeout)]
    pub every: Option<Span>,

    /// How chunks are compressed
    #[arg(long, value_enum, default_value_t = CompressionArg::Zstd, value_name = "NAME")]
    pub compression: CompressionArg,

    /// What has arrived is in the file after this time at most, also if fanwire is killed
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = timeout)]
    pub flush_every: Span,

    /// What may wait for the disk before nothing more is read from the server
    #[arg(long, value_name = "SIZE", default_value = "64MiB")]
    pub queue_bytes: ByteSize,

    /// Connect again whenever the connection breaks, and go on where it ended
    #[arg(long)]
    pub reconnect: bool,

    /// End after this many messages
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,

    /// Print rates each second on stderr
    #[arg(long)]
    pub stats: bool,

    /// What is spoken with the server; what is recorded is the same
    #[arg(long, value_enum, default_value_t = ProtocolArg::Batch, value_name = "PROTOCOL")]
    pub protocol: ProtocolArg,

    /// Who this is.
    #[command(flatten)]
    pub bearer: BearerArgs,

    /// Time to connect in
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = timeout)]
    pub timeout: Span,

    /// Whom to trust.
    #[command(flatten)]
    pub tls: TlsArgs,
}

/// Compressions of chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CompressionArg {
    /// Zstandard
    Zstd,
    /// LZ4: less work, larger files
    Lz4,
    /// As they are
    None,
}

impl From<CompressionArg> for Option<mcap::Compression> {
    fn from(arg: CompressionArg) -> Self {
        match arg {
            CompressionArg::Zstd => Some(mcap::Compression::Zstd),
            CompressionArg::Lz4 => Some(mcap::Compression::Lz4),
            CompressionArg::None => None,
        }
    }
}

fn file_bytes(text: &str) -> Result<ByteSize, String> {
    match text.parse::<ByteSize>()? {
        size if size.0 >= FILE_BYTES_MIN => Ok(size),
        _ => Err(format!("`{text}` is too small for a file: 64KiB at least")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_room_for_what_stands_in_every_file() {
        assert_eq!(file_bytes("64KiB").unwrap().0, FILE_BYTES_MIN);
        assert!(file_bytes("65535").unwrap_err().contains("64KiB"));
    }
}
