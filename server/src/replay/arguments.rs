//! Job: the command line of `fanwire replay`.
//! Knows: names and defaults. Must never know: files, where messages go.

use std::path::PathBuf;

use clap::Args;
use fanwire::Listener;
use fanwire::settings::Span;

use crate::args::{PriorityArg, publish_topic, timeout, topic_pattern};
use crate::bearer::BearerArgs;
use crate::pace::Speed;
use crate::settings::EngineArgs;
use crate::tls::TlsArgs;
use crate::url::Url;

/// `fanwire replay`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fanwire replay flight.ndjson.gz --to ws://127.0.0.1:9001
  fanwire replay flight.ndjson.gz --listen 127.0.0.1:9001 --speed 10 --loop
  fanwire replay flight.ndjson.gz --listen 127.0.0.1:0 --speed max --wait-for-subscribers 100

Lines are {\"topic\":\"a/b\",\"t_us\":123,\"data\":…}: microseconds, and any JSON value, which is
published verbatim; gzip and MCAP are recognised by themselves. At every speed it waits rather than loses a
message. With --listen it prints `listening on ws://ADDR` on stdout, and at the end stays until
every subscriber has got everything (or --shutdown-timeout is over).")]
#[command(group(clap::ArgGroup::new("target").required(true).args(["to", "listen"])))]
pub struct ReplayArgs {
    /// Recording: lines, plain or gzip, or MCAP; - is stdin
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Publish to the server there
    #[arg(long, value_name = "URL")]
    pub to: Option<Url>,

    /// Be the server, on this address; port 0 takes a free one
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<Listener>,

    /// How fast: 1 as recorded, 10 ten times as fast, max as fast as it goes
    #[arg(long, value_name = "SPEED", default_value = "1")]
    pub speed: Speed,

    /// Silences of the recording longer than this are cut to it; 0 keeps them
    #[arg(long, value_name = "TIME", default_value = "5s")]
    pub max_silence: Span,

    /// Begin anew at the end, until told to stop
    #[arg(long = "loop")]
    pub repeat: bool,

    /// What is replayed of an MCAP file.
    #[command(flatten)]
    pub selection: SelectionArgs,

    /// Priority of the messages whose line or channel names none
    #[arg(long, value_enum, default_value_t = PriorityArg::Normal, value_name = "PRIORITY")]
    pub priority: PriorityArg,

    /// Wait for so many subscribed connections before the first message (with --listen)
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "to")]
    pub wait_for_subscribers: usize,

    /// Who this is.
    #[command(flatten)]
    pub bearer: BearerArgs,

    /// Time to connect in, and to wait for the server's close at the end (with --to)
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = timeout)]
    pub timeout: Span,

    /// Time that subscribers get at the end to take what is queued for them (with --listen)
    #[arg(long, value_name = "TIME", default_value = "60s")]
    pub shutdown_timeout: Span,

    /// Whom to trust (with --to).
    #[command(flatten)]
    pub tls: TlsArgs,

    /// The engine's options (with --listen).
    #[command(flatten)]
    pub engine: EngineArgs,
}

/// What is replayed of an MCAP file.
#[derive(Debug, Args)]
pub struct SelectionArgs {
    /// Only these topics and patterns of an MCAP file; may be repeated
    #[arg(long, value_name = "TOPIC", value_parser = topic_pattern)]
    pub only: Vec<String>,

    /// What goes before each topic of an MCAP file, for example replay/
    #[arg(long, value_name = "TEXT", value_parser = prefix)]
    pub prefix: Option<String>,

    /// Begin so long after an MCAP file's first message
    #[arg(long, value_name = "TIME")]
    pub start: Option<Span>,

    /// End so long after an MCAP file's first message
    #[arg(long, value_name = "TIME", value_parser = timeout)]
    pub end: Option<Span>,
}

impl SelectionArgs {
    /// True where none of it is given.
    pub fn is_empty(&self) -> bool {
        self.only.is_empty() && self.prefix.is_none() && self.start.is_none() && self.end.is_none()
    }
}

fn prefix(text: &str) -> Result<String, String> {
    publish_topic(&format!("{text}x")).map(|_| text.to_owned())
}
