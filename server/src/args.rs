//! Job: the command line, and its help.
//! Knows: names, defaults and what can be refused without looking at the machine. Must never know: what a
//! command does.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use fanwire::Kind;
use fanwire::proto::subscribe::KEY_BYTES_MAX;
use fanwire::proto::topic::{Pattern, TopicName};

use crate::feed::Form;
use crate::pace::Speed;
use crate::topics::TopicSetting;
use crate::tune::arguments::{DoctorArgs, TuneArgs};
use crate::units::{ByteSize, CpuList, Span};
use crate::url::Url;

const EXAMPLES: &str = "\
Examples:
  fanwire demo                                        watch three simulated rovers in a browser
  fanwire serve --listen 0.0.0.0:9001 --publish loopback      a fan-out server for publishers on this machine
  fanwire sub ws://127.0.0.1:9001 'rover/**'          print what arrives, one message a line
  tail -f app.log | fanwire pub ws://127.0.0.1:9001 logs/app
  fanwire replay flight.ndjson.gz --listen 127.0.0.1:9001 --speed 1
  fanwire doctor --connections 100000                 is this host ready for it?

Exit codes:
  0 all went well            1 not all of it           2 wrong usage
  65 bad input               66 no such input          69 cannot connect
  70 the engine has ended    71 an address is taken    74 reading or writing
  76 not the protocol        77 not permitted          78 this configuration cannot be had on this machine";

/// fanwire: publish a message once, every WebSocket subscriber of its topic gets it.
#[derive(Debug, Parser)]
#[command(name = "fanwire", version, after_help = EXAMPLES, max_term_width = 110, disable_help_subcommand = true)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,

    /// What is logged on stderr: error, warn, info, debug, trace, or a filter such as `warn,fanwire=debug`.
    /// Without it, and without FANWIRE_LOG, RUST_LOG holds, then `info`.
    #[arg(long, global = true, value_name = "LEVEL", env = "FANWIRE_LOG", help_heading = "Logging")]
    pub log: Option<String>,

    /// How it is logged.
    #[arg(long, global = true, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text, help_heading = "Logging")]
    pub log_format: LogFormat,
}

/// Shapes of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the fan-out server
    Serve(ServeArgs),
    /// Publish lines from stdin
    Pub(PubArgs),
    /// Subscribe and print what arrives
    Sub(SubArgs),
    /// Publish a recording with its own timing
    Replay(ReplayArgs),
    /// Simulate three rovers and show them in a browser
    Demo(DemoArgs),
    /// Say what this host has against what it should have
    Doctor(DoctorArgs),
    /// Show, check, apply and revert settings of this host
    Tune(TuneArgs),
}

/// What every command that runs an engine takes.
#[derive(Debug, ClapArgs)]
pub struct EngineArgs {
    /// Threads that fan out, each pinned to a CPU [default: as many as CPU affinity and the cgroup's quota allow]
    #[arg(long, value_name = "N", help_heading = "Engine")]
    pub shards: Option<NonZeroUsize>,

    /// CPUs to pin the shards to, in this order, such as 0,1 or 2-5; `none` pins nothing, better where other programs keep
    /// all CPUs busy [default: those this process may use]
    #[arg(long, value_name = "LIST", help_heading = "Engine")]
    pub cpus: Option<CpuList>,

    /// How to talk to the kernel. `auto` takes io_uring, or epoll (and says so) where io_uring is refused;
    /// `uring` rather exits with 78
    #[arg(long, value_enum, default_value_t = Driver::Auto, value_name = "DRIVER", help_heading = "Engine")]
    pub driver: Driver,

    /// Connections at once; one more is answered with 503 [default: 10000, or what the limit of open files allows]
    #[arg(long, value_name = "N", help_heading = "Limits")]
    pub max_connections: Option<NonZeroU32>,

    /// Subscriptions at once, counted by topic and priority in use, over all connections
    #[arg(long, value_name = "N", default_value = "1000000", help_heading = "Limits")]
    pub max_cursors: NonZeroU32,

    /// Topics at once
    #[arg(long, value_name = "N", default_value = "65536", help_heading = "Limits")]
    pub max_topics: NonZeroU32,

    /// Largest message, published or received (at most 64MiB)
    #[arg(long, value_name = "SIZE", default_value = "64MiB", help_heading = "Limits")]
    pub max_message_bytes: ByteSize,

    /// Bytes that the kernel may hold unsent for one subscriber: what a critical message may have to wait behind. Less is
    /// better for thin links (4KiB), more for fast ones over long distances
    #[arg(long, value_name = "SIZE", default_value = "16KiB", help_heading = "Limits")]
    pub max_unsent_bytes: ByteSize,

    /// Time that a connection gets to send its whole upgrade request
    #[arg(long, value_name = "TIME", default_value = "10s", help_heading = "Limits")]
    pub handshake_timeout: Span,

    /// Silence after which a client is pinged; without an answer for as long again it is closed. 0 never pings
    #[arg(long, value_name = "TIME", default_value = "30s", help_heading = "Limits")]
    pub ping_every: Span,

    /// Time without a message from a client after which it is closed. 0 never does
    #[arg(long, value_name = "TIME", default_value = "0", help_heading = "Limits")]
    pub idle_timeout: Span,

    /// Time over which a shutdown spreads its closes (with 1012), so that clients do not all come back at once; at most half
    /// of the time that the shutdown has. 0 closes each (with 1001) as soon as it has everything
    #[arg(long, value_name = "TIME", default_value = "0", help_heading = "Limits")]
    pub close_window: Span,

    /// How far behind a subscriber may be in one topic and priority before it skips, and is told the gap
    #[arg(long, value_name = "SIZE", default_value = "8MiB", help_heading = "Memory")]
    pub lane_bytes: ByteSize,

    /// Messages kept for all subscribers together, over all shards
    #[arg(long, value_name = "SIZE", default_value = "256MiB", help_heading = "Memory")]
    pub pool_bytes: ByteSize,

    /// Messages published and not yet taken by every shard (a power of two)
    #[arg(long, value_name = "SIZE", default_value = "16MiB", help_heading = "Memory")]
    pub ring_bytes: ByteSize,

    /// Large messages, and messages being received
    #[arg(long, value_name = "SIZE", default_value = "256MiB", help_heading = "Memory")]
    pub payload_bytes: ByteSize,

    /// Lock all memory, so that nothing is ever paged out
    #[arg(long, help_heading = "Memory")]
    pub lock_memory: bool,

    /// How topics that match a pattern are treated: PATTERN=WORD[,WORD…]. The first match holds; may be repeated. Words: for
    /// slow subscribers drop-oldest, latest (only the newest of each key), disconnect; for those who come later keep-nothing,
    /// keep-last, keep-messages=N, keep-bytes=SIZE, keep-for=TIME; lane-bytes=SIZE; batch-window=TIME
    #[arg(long = "topic", value_name = "SETTING", help_heading = "Topics")]
    pub topic_settings: Vec<TopicSetting>,

    /// More of the same out of a file, one a line, after those of the command line; # begins a comment line
    #[arg(long, value_name = "FILE", help_heading = "Topics")]
    pub topics_file: Option<PathBuf>,

    /// Do not compress WebSocket messages, whatever clients offer
    #[arg(long, help_heading = "Compression")]
    pub no_deflate: bool,

    /// Messages from this size on are compressed for clients that agreed to it
    #[arg(long, value_name = "SIZE", default_value = "1KiB", help_heading = "Compression")]
    pub deflate_from: ByteSize,

    /// Who may publish over the socket. `loopback`: programs on this machine that are no browser and no proxy, and whoever comes
    /// through a TLS terminator or tunnel on this machine that adds no forwarding header
    #[arg(long, value_enum, default_value_t = Publish::Nobody, value_name = "WHO", help_heading = "Access")]
    pub publish: Publish,

    /// Origin of pages that may connect, such as https://example.org or http://localhost:3000; may be repeated [default: any]
    #[arg(long, value_name = "ORIGIN", help_heading = "Access")]
    pub allow_origin: Vec<String>,
}

/// Kernel interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Driver {
    /// io_uring, else epoll
    Auto,
    /// io_uring or nothing
    Uring,
    /// epoll
    Epoll,
}

/// Who may publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Publish {
    /// Programs on this machine
    Loopback,
    /// Whoever may connect
    Everyone,
    /// Nobody
    Nobody,
}

/// `fanwire serve`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  fanwire serve --publish loopback
  fanwire serve --listen 0.0.0.0:9001 --allow-origin https://ops.example.org
  fanwire serve --listen 127.0.0.1:0 --shards 2 --cpus 0,1 --lane-bytes 64MiB --pool-bytes 1GiB
  fanwire serve --topic 'rover/*/pose=latest' --topic 'logs/**=keep-messages=10000,keep-for=1h'

Prints `listening on ws://ADDR` on stdout once it can be connected to. SIGTERM or SIGINT: accepts
nobody any more, sends what is queued, closes with 1001 and exits 0; a second signal ends at once.

Clients: ws://ADDR/t/TOPIC carries bare messages of one topic; ws://ADDR/ with the subprotocol
fanwire.json.v1, fanwire.msgpack.v1 or fanwire.batch.v1 any topics. PROTOCOL.md describes them.")]
pub struct ServeArgs {
    /// Address to listen on; port 0 takes a free one; may be repeated. [::]:PORT takes IPv6 and IPv4 clients, or IPv6 alone beside
    /// an IPv4 address with that port
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9001")]
    pub listen: Vec<SocketAddr>,

    /// Time that subscribers get, after a request to stop, to take what is queued for them
    #[arg(long, value_name = "TIME", default_value = "10s")]
    pub shutdown_timeout: Span,

    /// The engine's options.
    #[command(flatten)]
    pub engine: EngineArgs,
}

/// `fanwire pub`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  fanwire pub ws://127.0.0.1:9001 logs/ssh < OpenSSH.log
  echo 'battery low' | fanwire pub ws://127.0.0.1:9001 rover/1/alarm --priority critical
  fanwire pub ws://127.0.0.1:9001 --ndjson < messages.ndjson
  yes tick | fanwire pub ws://127.0.0.1:9001 clock --rate 200
  pose-source | fanwire pub ws://127.0.0.1:9001 rover/1/pose --kind json --key arm --ttl 250ms

Each line, without its line feed, is one message: text (what is not UTF-8 is sent as binary) unless
--kind says otherwise. With --ndjson a line is {\"topic\":\"a/b\",\"data\":{\"x\":1}}, and its data are
published as JSON; \"priority\", \"key\" and \"ttl_ms\" in a line take precedence over the options.
It waits where the server is busy and loses nothing; it ends, with a close handshake, once the
server has taken everything. What the server refuses is shown on stderr and makes it exit 1.")]
pub struct PubArgs {
    /// Where the server is: ws://HOST:PORT
    #[arg(value_name = "URL")]
    pub url: Url,

    /// Topic to publish to, such as rover/1/imu (with --ndjson: for lines that name none)
    #[arg(value_name = "TOPIC", required_unless_present = "ndjson", value_parser = topic_name)]
    pub topic: Option<String>,

    /// Lines are {"topic":…,"data":…[,"priority":…,"key":…,"ttl_ms":…]}; data, any JSON value, is published verbatim
    #[arg(long)]
    pub ndjson: bool,

    /// What a line is
    #[arg(long, value_enum, default_value_t = KindArg::Text, value_name = "KIND", conflicts_with = "ndjson")]
    pub kind: KindArg,

    /// What the messages replace, where a topic's policy is `latest` (1 to 255 bytes)
    #[arg(long, value_name = "KEY", value_parser = key)]
    pub key: Option<String>,

    /// Time for which a message is worth something: a subscriber that lags more does not get it
    #[arg(long, value_name = "TIME")]
    pub ttl: Option<Span>,

    /// Messages a second at most
    #[arg(long, value_name = "N", value_parser = rate)]
    pub rate: Option<f64>,

    /// Priority of the messages
    #[arg(long, value_enum, default_value_t = PriorityArg::Normal, value_name = "PRIORITY")]
    pub priority: PriorityArg,

    /// Time to connect in, and to wait for the server's close at the end
    #[arg(long, value_name = "TIME", default_value = "10s")]
    pub timeout: Span,
}

/// `fanwire sub`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  fanwire sub ws://127.0.0.1:9001 rover/1/imu
  fanwire sub ws://127.0.0.1:9001 'rover/*/gps' 'rover/*/alarm' --json
  fanwire sub ws://127.0.0.1:9001 '**' --stats > /dev/null
  fanwire sub ws://127.0.0.1:9001 logs/ssh --count 2000 > copy.log
  fanwire sub ws://127.0.0.1:9001 'logs/**' --reconnect --state logs.state >> logs.txt
  fanwire sub ws://127.0.0.1:9001 'rover/**' --protocol batch+lz4 --json

* stands for one level of a topic, a final ** for all that follow. A topic's last message comes
first, if it has one. Messages that were lost on the way (this side was too slow, or away for longer
than the server keeps messages) are reported on stderr. Ends with 0 when the server goes away in
order, unless --reconnect is given.")]
pub struct SubArgs {
    /// Where the server is: ws://HOST:PORT
    #[arg(value_name = "URL")]
    pub url: Url,

    /// Topics or patterns
    #[arg(value_name = "TOPIC", required = true, value_parser = topic_pattern)]
    pub topics: Vec<String>,

    /// What is spoken with the server; what is printed is the same
    #[arg(long, value_enum, default_value_t = ProtocolArg::Json, value_name = "PROTOCOL")]
    pub protocol: ProtocolArg,

    /// Let the server compress (permessage-deflate)
    #[arg(long)]
    pub deflate: bool,

    /// Messages (of batches: frames) a second at most of each topic and priority: the newest at the time. Critical ones are
    /// not held back
    #[arg(long, value_name = "N", value_parser = rate)]
    pub max_hz: Option<f64>,

    /// Connect again whenever the connection breaks or nobody answers, and go on where it ended
    #[arg(long)]
    pub reconnect: bool,

    /// Go on where an earlier run with this file ended, and note there where this one ends
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,

    /// Print whole messages (topic, sequence number, time, data) and gap notices as JSON, one a line
    #[arg(long)]
    pub json: bool,

    /// End after this many messages
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,

    /// Print rates each second and a summary at the end, on stderr
    #[arg(long)]
    pub stats: bool,

    /// Time to connect in
    #[arg(long, value_name = "TIME", default_value = "10s")]
    pub timeout: Span,
}

/// `fanwire replay`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  fanwire replay flight.ndjson.gz --to ws://127.0.0.1:9001
  fanwire replay flight.ndjson.gz --listen 127.0.0.1:9001 --speed 10 --loop
  fanwire replay flight.ndjson.gz --listen 127.0.0.1:0 --speed max --wait-for-subscribers 100

Lines are {\"topic\":\"a/b\",\"t_us\":123,\"data\":…}: microseconds, and any JSON value, which is
published verbatim; gzip is recognised by itself. At every speed it waits rather than loses a
message. With --listen it prints `listening on ws://ADDR` on stdout, and at the end stays until
every subscriber has got everything (or --shutdown-timeout is over).")]
#[command(group(clap::ArgGroup::new("target").required(true).args(["to", "listen"])))]
pub struct ReplayArgs {
    /// Recording, plain or gzip; - is stdin
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Publish to the server there
    #[arg(long, value_name = "URL")]
    pub to: Option<Url>,

    /// Be the server, on this address; port 0 takes a free one
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,

    /// How fast: 1 as recorded, 10 ten times as fast, max as fast as it goes
    #[arg(long, value_name = "SPEED", default_value = "1")]
    pub speed: Speed,

    /// Silences of the recording longer than this are cut to it; 0 keeps them
    #[arg(long, value_name = "TIME", default_value = "5s")]
    pub max_silence: Span,

    /// Begin anew at the end, until told to stop
    #[arg(long = "loop")]
    pub repeat: bool,

    /// Priority of the messages whose line names none
    #[arg(long, value_enum, default_value_t = PriorityArg::Normal, value_name = "PRIORITY")]
    pub priority: PriorityArg,

    /// Wait for so many subscribed connections before the first message (with --listen)
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "to")]
    pub wait_for_subscribers: usize,

    /// Time to connect in, and to wait for the server's close at the end (with --to)
    #[arg(long, value_name = "TIME", default_value = "10s")]
    pub timeout: Span,

    /// Time that subscribers get at the end to take what is queued for them (with --listen)
    #[arg(long, value_name = "TIME", default_value = "60s")]
    pub shutdown_timeout: Span,

    /// The engine's options (with --listen).
    #[command(flatten)]
    pub engine: EngineArgs,
}

/// `fanwire demo`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  fanwire demo
  fanwire demo --listen 0.0.0.0:9001 --http 0.0.0.0:8080     # to be watched from other machines
  fanwire sub ws://127.0.0.1:9001 'rover/*/alarm' --json     # beside it

Topics, for N = 1, 2, 3: rover/N/imu (200 Hz), rover/N/motors (50 Hz), rover/N/gps (10 Hz),
rover/N/battery (1 Hz), rover/N/heartbeat (critical, 2 Hz), rover/N/alarm (critical and less). Where a
usual port is taken, the next free one is. The page's slow link goes through the port after the
engine's.")]
pub struct DemoArgs {
    /// Address of the engine
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9001")]
    pub listen: SocketAddr,

    /// Address of the page
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub http: SocketAddr,

    /// Seed of the simulation
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,

    /// Time that subscribers get, after a request to stop, to take what is queued for them
    #[arg(long, value_name = "TIME", default_value = "3s")]
    pub shutdown_timeout: Span,

    /// The engine's options.
    #[command(flatten)]
    pub engine: EngineArgs,
}

/// What `sub` speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProtocolArg {
    /// fanwire.json.v1
    Json,
    /// fanwire.msgpack.v1
    Msgpack,
    /// fanwire.batch.v1: many messages in one frame
    Batch,
    /// The same with LZ4
    #[value(name = "batch+lz4")]
    BatchLz4,
    /// No subprotocol: names only, no numbers, no notice of what is lost
    Raw,
}

impl From<ProtocolArg> for Form {
    fn from(arg: ProtocolArg) -> Form {
        match arg {
            ProtocolArg::Json => Form::Json,
            ProtocolArg::Msgpack => Form::Msgpack,
            ProtocolArg::Batch => Form::Batch,
            ProtocolArg::BatchLz4 => Form::BatchLz4,
            ProtocolArg::Raw => Form::Raw,
        }
    }
}

/// What a line of `pub` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KindArg {
    /// Text
    Text,
    /// One JSON value, which is checked
    Json,
    /// Bytes
    Binary,
}

impl From<KindArg> for Kind {
    fn from(arg: KindArg) -> Kind {
        match arg {
            KindArg::Text => Kind::Text,
            KindArg::Json => Kind::Json,
            KindArg::Binary => Kind::Binary,
        }
    }
}

/// Priorities by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PriorityArg {
    /// Never dropped
    Critical,
    /// Dropped last
    High,
    /// The usual
    Normal,
    /// Dropped first
    Low,
}

impl From<PriorityArg> for fanwire::Priority {
    fn from(priority: PriorityArg) -> Self {
        match priority {
            PriorityArg::Critical => fanwire::Priority::Critical,
            PriorityArg::High => fanwire::Priority::High,
            PriorityArg::Normal => fanwire::Priority::Normal,
            PriorityArg::Low => fanwire::Priority::Low,
        }
    }
}

fn topic_name(text: &str) -> Result<String, String> {
    TopicName::check(text).map(|()| text.to_owned()).map_err(|error| error.to_string())
}

fn topic_pattern(text: &str) -> Result<String, String> {
    Pattern::check(text).map(|()| text.to_owned()).map_err(|error| error.to_string())
}

fn key(text: &str) -> Result<String, String> {
    match text.len() {
        1..=KEY_BYTES_MAX => Ok(text.to_owned()),
        _ => Err("a key has 1 to 255 bytes".into()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(rate),
        _ => Err(format!("`{text}` is no rate: write messages a second, more than 0")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definition_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn every_default_is_the_engine_s_own() {
        let Command::Serve(serve) = parse("fanwire serve").unwrap().command else { panic!("not serve") };
        let from_arguments = crate::engine::config(&serve.engine, serve.listen.clone()).unwrap();
        assert_eq!(format!("{from_arguments:?}"), format!("{:?}", fanwire::Config::default()));
    }

    #[test]
    fn replay_wants_exactly_one_target() {
        assert!(parse("fanwire replay x.gz").is_err());
        assert!(parse("fanwire replay x.gz --to ws://h:1 --listen 127.0.0.1:1").is_err());
        assert!(parse("fanwire replay x.gz --to ws://h:1 --wait-for-subscribers 2").is_err());
        assert!(parse("fanwire replay x.gz --to ws://h:1").is_ok());
        assert!(parse("fanwire replay x.gz --listen 127.0.0.1:0 --wait-for-subscribers 2 --speed max").is_ok());
    }

    #[test]
    fn pub_wants_a_topic_unless_lines_name_theirs() {
        assert!(parse("fanwire pub ws://h:1").is_err());
        assert!(parse("fanwire pub ws://h:1 a/b --rate 0").is_err());
        assert!(parse("fanwire pub ws://h:1 --ndjson").is_ok());
        assert!(parse("fanwire pub ws://h:1 a/b --rate 200 --priority critical").is_ok());
    }

    /// What becomes of an option's value.
    #[derive(Debug, PartialEq)]
    enum Verdict {
        /// The engine would start, or lacks nothing but memory.
        Taken,
        /// The parser refuses it.
        Usage,
        /// The engine refuses it, and names its setting.
        Names(&'static str),
    }
    use Verdict::{Names, Taken, Usage};

    fn verdict(options: &str) -> Verdict {
        let Ok(args) = parse(&format!("fanwire serve {options}")) else { return Usage };
        let Command::Serve(serve) = args.command else { panic!("not serve") };
        match crate::engine::config(&serve.engine, serve.listen.clone()).unwrap().plan() {
            Err(errors) if errors.iter().all(|error| error.problem.contains("do not fit")) => Taken,
            Err(errors) => Names(errors[0].field),
            Ok(_) => Taken,
        }
    }

    #[test]
    fn every_limit_holds_at_it_one_past_it_at_zero_and_at_the_maximum() {
        const MAX_64: &str = "18446744073709551615";
        const PAST_64: &str = "18446744073709551616";
        for (option, values) in [
            ("--shards", &[("1", Taken), ("0", Usage), (MAX_64, Names("shards")), (PAST_64, Usage), ("-1", Usage)][..]),
            ("--lane-bytes 16KiB --shards", &[("64", Taken), ("65", Names("shards"))]),
            ("--cpus", &[("none", Taken), ("0", Taken), ("8191", Taken), ("8192", Usage), ("", Usage), ("1-0", Usage)]),
            (
                "--max-connections",
                &[("1", Taken), ("0", Usage), ("16000000", Taken), ("16000001", Names("connections_max"))],
            ),
            ("--max-connections", &[("4294967295", Names("connections_max")), ("4294967296", Usage)]),
            (
                "--max-cursors",
                &[("1", Taken), ("0", Usage), ("1073741824", Taken), ("1073741825", Names("cursors_max"))],
            ),
            ("--max-cursors", &[("4294967295", Names("cursors_max")), ("4294967296", Usage)]),
            ("--max-topics", &[("1", Taken), ("0", Usage), ("1000000", Taken), ("1000001", Names("topics_max"))]),
            ("--max-topics", &[("4294967295", Names("topics_max")), ("4294967296", Usage)]),
            (
                "--max-message-bytes",
                &[("1", Taken), ("64MiB", Taken), ("0", Names("limits.message_bytes_max")), (PAST_64, Usage)],
            ),
            (
                "--max-message-bytes",
                &[("67108865", Names("limits.message_bytes_max")), (MAX_64, Names("limits.message_bytes_max"))],
            ),
            (
                "--max-unsent-bytes",
                &[("1024", Taken), ("64MiB", Taken), ("0", Names("limits.unsent_bytes_max")), (PAST_64, Usage)],
            ),
            (
                "--max-unsent-bytes",
                &[
                    ("1023", Names("limits.unsent_bytes_max")),
                    ("67108865", Names("limits.unsent_bytes_max")),
                    (MAX_64, Names("limits.unsent_bytes_max")),
                ],
            ),
            (
                "--handshake-timeout",
                &[("1ms", Taken), ("0", Names("limits.handshake_timeout")), ("5000000000000h", Taken), ("-1s", Usage)],
            ),
            (
                "--ping-every",
                &[("0", Taken), ("1ms", Taken), ("5000000000000h", Taken), ("6e15h", Usage), ("NaNs", Usage)],
            ),
            ("--idle-timeout", &[("0", Taken), ("1ms", Taken), ("5000000000000h", Taken), ("infs", Usage)]),
            ("--close-window", &[("0", Taken), ("1ms", Taken), ("5000000000000h", Taken), ("-1s", Usage)]),
            ("--shutdown-timeout", &[("0", Taken), ("5000000000000h", Taken), ("1", Usage)]),
            (
                "--lane-bytes",
                &[("16KiB", Taken), ("16383", Names("memory.lane_bytes")), ("0", Names("memory.lane_bytes"))],
            ),
            ("--shards 1 --lane-bytes", &[("256MiB", Taken), ("257MiB", Names("memory.pool_bytes"))]),
            ("--lane-bytes", &[(MAX_64, Names("memory.lane_bytes")), (PAST_64, Usage), ("16777216TiB", Usage)]),
            ("--shards 1 --pool-bytes", &[("8MiB", Taken), ("8388607", Names("memory.pool_bytes")), (PAST_64, Usage)]),
            ("--pool-bytes", &[("0", Names("memory.pool_bytes")), (MAX_64, Names("memory.pool_bytes"))]),
            (
                "--ring-bytes",
                &[
                    ("64KiB", Taken),
                    ("4GiB", Taken),
                    ("0", Names("memory.ring_bytes")),
                    ("32KiB", Names("memory.ring_bytes")),
                ],
            ),
            (
                "--ring-bytes",
                &[
                    ("65537", Names("memory.ring_bytes")),
                    ("8GiB", Names("memory.ring_bytes")),
                    (MAX_64, Names("memory.ring_bytes")),
                ],
            ),
            (
                "--max-message-bytes 1MiB --payload-bytes",
                &[("2MiB", Taken), ("2097151", Names("memory.payload_bytes")), ("0", Names("memory.payload_bytes"))],
            ),
            ("--payload-bytes", &[(MAX_64, Names("memory.payload_bytes")), (PAST_64, Usage)]),
            ("--deflate-from", &[("0", Taken), (MAX_64, Taken), (PAST_64, Usage), ("-1", Usage)]),
            ("--topic", &[("a=lane-bytes=16KiB", Taken), ("a=lane-bytes=16383", Names("topics.lane_bytes"))]),
            ("--topic", &[("a=keep-messages=0", Taken), ("a=keep-messages=18446744073709551616", Usage)]),
            (
                "--topic",
                &[("a=keep-for=0", Taken), ("a=keep-bytes=0", Taken), ("a=batch-window=0", Taken), ("", Usage)],
            ),
        ] {
            for (value, expected) in values {
                let options = format!("{option} {value}");
                // An empty value has to be given as such.
                let options = if value.is_empty() { format!("{option}=") } else { options };
                assert_eq!(verdict(&options), *expected, "{options}");
            }
        }
    }

    #[test]
    fn what_cannot_be_is_refused_by_the_parser() {
        for line in [
            "fanwire",
            "fanwire serve --listen nowhere",
            "fanwire serve --shards 0",
            "fanwire serve --max-connections 0",
            "fanwire serve --driver magic",
            "fanwire serve --lane-bytes 8XB",
            "fanwire serve --ping-every 30",
            "fanwire sub ws://h:1",
            "fanwire sub http://h:1 a",
            "fanwire sub ws://h:1 a/**/b",
            "fanwire pub ws://h:1 a/*",
            "fanwire pub ws://h:1 a//b",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
