//! Job: the command line, and its help.
//! Knows: names, defaults and what can be refused without looking at the machine. Must never know: what a
//! command does.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use fanwire::Kind;
use fanwire::Listener;
use fanwire::TopicConfig;
use fanwire::proto::subscribe::{KEY_BYTES_MAX, RATE_HZ_MAX};
use fanwire::proto::topic::{Pattern, TopicName};
use fanwire::settings::Span;

use crate::bearer::BearerArgs;
use crate::clock;
use crate::config::OwnArgs;
use crate::feed::Form;
use crate::manual::{CompletionsArgs, ManualArgs};
use crate::pace::rate;
#[cfg(feature = "mcap")]
use crate::record::RecordArgs;
use crate::replay::ReplayArgs;
use crate::settings::EngineArgs;
use crate::takeover;
use crate::tls::TlsArgs;
use crate::tune::arguments::{DoctorArgs, PlanArgs, TuneArgs};
use crate::url::Url;

const EXAMPLES: &str = "\
Examples:
  fanwire demo                                        watch three simulated rovers in a browser
  fanwire serve --listen 0.0.0.0:9001 --publish loopback      a fan-out server for publishers on this machine
  fanwire sub ws://127.0.0.1:9001 'rover/**'          print what arrives, one message a line
  fanwire top                                         which clients are slow, and what they lose
  tail -f app.log | fanwire pub ws://127.0.0.1:9001 logs/app
  fanwire replay flight.ndjson.gz --listen 127.0.0.1:9001 --speed 1
  fanwire doctor --connections 100000                 is this host ready for it?
  fanwire config init fanwire.toml                    a file of settings to begin with

Exit codes:
  0 all went well            1 not all of it           2 wrong usage
  65 bad input               66 no such input          69 cannot connect
  70 the engine has ended     71 an address is taken    74 reading or writing
  76 not the protocol        77 not permitted          78 cannot be had on this machine
  128 + N: signal N ended it half-way
docs/reference/exit-status.md says more.";

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

    /// How it is logged [default: text]
    #[arg(long, global = true, value_name = "FORMAT", value_enum, help_heading = "Logging")]
    pub log_format: Option<LogFormat>,
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
    /// Record what arrives in MCAP files
    #[cfg(feature = "mcap")]
    Record(RecordArgs),
    /// Publish a recording with its own timing
    Replay(ReplayArgs),
    /// Simulate three rovers and show them in a browser
    Demo(DemoArgs),
    /// Show which clients are slow, and what they lose
    Top(TopArgs),
    /// Say what this host has against what it should have
    Doctor(DoctorArgs),
    /// Gather what somebody needs to look into a problem, in one file without secrets
    Report(ReportArgs),
    /// Show, check, apply and revert settings of this host
    Tune(TuneArgs),
    /// Write, check and show the configuration of the fan-out server
    Config(ConfigArgs),
    /// Make and inspect the tokens that clients say who they are with
    Token(TokenArgs),
    /// Have a running server read its settings and keys again
    Reload(ReloadArgs),
    /// Have a running server end, its connections closed one by one
    Drain(DrainArgs),
    /// Have a running server go on in a new process, with the program that is there now
    Restart(RestartArgs),
    /// Have a running server refuse some tokens, and close who came in by them
    Revoke(RevokeArgs),
    /// Ask a running server how it is
    Status(StatusArgs),
    /// Print what a shell needs to complete commands and options
    Completions(CompletionsArgs),
    /// Write the manual's pages, one for each command
    Manual(ManualArgs),
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
SIGHUP: reads its settings and keys again.

Clients: ws://ADDR/t/TOPIC carries bare messages of one topic; ws://ADDR/ with the subprotocol
fanwire.json.v1, fanwire.msgpack.v1 or fanwire.batch.v1 any topics. PROTOCOL.md describes them.")]
pub struct ServeArgs {
    /// Settings out of a TOML file (`fanwire config init` writes one to begin with). Options, and variables such as
    /// FANWIRE__MEMORY__POOL_BYTES=64MiB, go before it
    #[arg(long, value_name = "FILE", env = "FANWIRE_CONFIG")]
    pub config: Option<PathBuf>,

    /// Address to listen on; port 0 takes a free one; may be repeated. [::]:PORT takes IPv6 and IPv4 clients, or IPv6 alone beside
    /// an IPv4 address with that port. wss://IP:PORT speaks TLS [default: 127.0.0.1:9001]
    #[arg(long, value_name = "ADDR")]
    pub listen: Vec<Listener>,

    /// Time that subscribers get, after a request to stop, to take what is queued for them [default: 10s]
    #[arg(long, value_name = "TIME")]
    pub shutdown_timeout: Option<Span>,

    /// Take the listening sockets of the server that takes requests at its control socket (PATH; without one: where this server's
    /// own is), which then ends; no client is refused. Where there is none, start as usual
    #[arg(long, value_name = "PATH", require_equals = true)]
    pub takeover: Option<Option<PathBuf>>,

    /// Time over which connections move from that server to this one
    #[arg(long, value_name = "TIME", default_value = takeover::WINDOW)]
    pub takeover_within: Span,

    /// Who comes in.
    #[command(flatten)]
    pub own: OwnArgs,

    /// The engine's options.
    #[command(flatten)]
    pub engine: EngineArgs,
}

/// Which running server is asked.
#[derive(Debug, ClapArgs)]
pub struct ControlArgs {
    /// The server's control socket [default: fanwire.sock in $RUNTIME_DIRECTORY, or in /run/fanwire]
    #[arg(long, value_name = "PATH", env = "FANWIRE__CONTROL__SOCKET")]
    pub socket: Option<PathBuf>,
}

/// `fanwire reload`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  fanwire serve --config fanwire.toml --control-socket /run/fanwire/fanwire.sock
  fanwire reload --socket /run/fanwire/fanwire.sock

Reads the same file, environment and options as at the start. Prints what has changed, and what needs a
restart. Where something is wrong it says so, ends with 78, and everything stays as it was. SIGHUP does the
same, and the server logs what this command prints.")]
pub struct ReloadArgs {
    /// The server.
    #[command(flatten)]
    pub control: ControlArgs,
}

/// `fanwire drain`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Example:
  fanwire drain --within 2m

The server accepts nobody any more, and closes its connections (1012) one by one, evenly over that time, each
when it has everything that was published; clients that speak a subprotocol are told before when to connect
anew. Waits until the server has ended. Who has not taken everything --shutdown-timeout later is cut off.")]
pub struct DrainArgs {
    /// Time over which the closes are spread
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub within: Span,

    /// The server.
    #[command(flatten)]
    pub control: ControlArgs,
}

/// `fanwire restart`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Example:
  fanwire restart && fanwire status

The server starts its program once more, with the arguments and the environment that it has itself. The new
process takes its listening sockets over and serves; no client is refused meanwhile. Then the old one closes its
connections (1012) over that time, those that publish first, each when it has everything that was published, and
ends. What is published on either of the two reaches both. Where the new process cannot start, for instance
because its configuration is wrong, nothing has changed. Waits until the new process serves.")]
pub struct RestartArgs {
    /// Time over which connections move to the new process
    #[arg(long, value_name = "TIME", default_value = takeover::WINDOW)]
    pub within: Span,

    /// The server.
    #[command(flatten)]
    pub control: ControlArgs,
}

/// `fanwire revoke`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  fanwire revoke --jti 7f3a
  fanwire revoke --sub u1                  all tokens of u1, also new ones
  fanwire revoke --sub u1 --before now     those that u1 has; new ones are taken
  fanwire revoke --before 1796000000       all that were made before, in seconds since 1970, or do not say when

Connections that came in by such a token are closed with 4401.")]
#[group(id = "meant", required = true, multiple = true, args = ["sub", "jti", "before"])]
pub struct RevokeArgs {
    /// Tokens of whom
    #[arg(long, value_name = "TEXT")]
    pub sub: Option<String>,

    /// The token of this name
    #[arg(long, value_name = "TEXT")]
    pub jti: Option<String>,

    /// Tokens that were made before: seconds since 1970, or `now`
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub before: Option<u64>,

    /// The server.
    #[command(flatten)]
    pub control: ControlArgs,
}

/// `fanwire status`.
#[derive(Debug, ClapArgs)]
pub struct StatusArgs {
    /// The server.
    #[command(flatten)]
    pub control: ControlArgs,
}

/// `fanwire report`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  fanwire report
  fanwire report --socket /run/fanwire/fanwire.sock --config /etc/fanwire.toml --output report.txt

Version, host, doctor; of a running server its settings, metrics and last log lines. Tokens, passwords and
private keys are left out; names of topics, addresses and subjects are not. It is sent nowhere.")]
pub struct ReportArgs {
    /// Where it is written; `-` is stdout [default: fanwire-report-SECONDS.txt]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Settings that are shown besides, as the file has them
    #[arg(long, value_name = "FILE", env = "FANWIRE_CONFIG")]
    pub config: Option<PathBuf>,

    /// The server.
    #[command(flatten)]
    pub control: ControlArgs,

    /// The plan.
    #[command(flatten)]
    pub plan: PlanArgs,
}

/// `fanwire token`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  openssl rand -hex 32 > secret
  fanwire token mint --key secret --sub u1 --subscribe 'rover/**' --publish chat/u1 > token
  fanwire serve --token-keys-file secret
  fanwire sub ws://127.0.0.1:9001 'rover/**' --token-file token
  fanwire token inspect --keys secret < token")]
pub struct TokenArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: TokenCommand,
}

/// The commands of `fanwire token`.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token
    Mint(MintArgs),
    /// Show what a token says, and whether a server with these keys would take it
    Inspect(InspectArgs),
}

/// `fanwire token mint`.
#[derive(Debug, ClapArgs)]
pub struct MintArgs {
    /// What to sign with: a private key in PEM (PKCS #8: RSA, P-256, Ed25519), or a secret of 32 bytes or more
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,

    /// The key's name in the server's JWK set
    #[arg(long, value_name = "NAME")]
    pub kid: Option<String>,

    /// Of whom it speaks
    #[arg(long, value_name = "TEXT")]
    pub sub: Option<String>,

    /// Who makes it
    #[arg(long, value_name = "TEXT")]
    pub issuer: Option<String>,

    /// For which server it is
    #[arg(long, value_name = "TEXT")]
    pub audience: Option<String>,

    /// The token's own name
    #[arg(long, value_name = "TEXT")]
    pub jti: Option<String>,

    /// How long it holds
    #[arg(long, value_name = "TIME", default_value = "1h")]
    pub expires_in: Span,

    /// Topics to subscribe to; may be repeated
    #[arg(long, value_name = "PATTERN", value_parser = pattern_template)]
    pub subscribe: Vec<String>,

    /// Topics to publish on; may be repeated
    #[arg(long, value_name = "PATTERN", value_parser = pattern_template)]
    pub publish: Vec<String>,

    /// The claim that says so
    #[arg(long, value_name = "NAME", default_value = "fanwire")]
    pub grants_claim: String,
}

/// `fanwire token inspect`.
#[derive(Debug, ClapArgs)]
pub struct InspectArgs {
    /// The token; without it, or with -, stdin
    #[arg(value_name = "TOKEN")]
    pub token: Option<String>,

    /// Keys to verify it with: a JWK set, a public key in PEM, or a secret
    #[arg(long, value_name = "FILE")]
    pub keys: Option<PathBuf>,

    /// Who has to have made it
    #[arg(long, value_name = "TEXT", requires = "keys")]
    pub issuer: Option<String>,

    /// For which server it has to be; without this it has to be for none
    #[arg(long, value_name = "TEXT", requires = "keys")]
    pub audience: Option<String>,
}

/// Seconds since 1970. What is made in this second is meant too.
fn moment(text: &str) -> Result<u64, String> {
    match text {
        "now" => Ok(clock::unix_s() + 1),
        _ => text.parse().map_err(|_| format!("`{text}` is no time: write seconds since 1970 (date +%s), or now")),
    }
}

fn pattern_template(text: &str) -> Result<String, String> {
    Pattern::check(&text.replace("{sub}", "x")).map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}

/// `fanwire config`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  fanwire config init fanwire.toml
  fanwire config check --config fanwire.toml
  fanwire config show --config fanwire.toml --pool-bytes 1GiB
  fanwire serve --config fanwire.toml

The first that says something holds: an option, a variable of the environment, the file, the default.
A variable is named after its setting: FANWIRE__LIMITS__PING_EVERY=5s sets limits.ping_every.")]
pub struct ConfigArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// The commands of `fanwire config`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Write a file with every setting and its default as a comment
    Init {
        /// The file, which must not be there yet; without it, stdout
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Say everything that is wrong with what `fanwire serve` would be told
    Check(ServeArgs),
    /// Show what `fanwire serve` would be told: each value, and where it comes from
    Show(ServeArgs),
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
server has taken everything. What the server refuses is shown on stderr, with its line, and makes
it exit 1. With --reconnect it sends again, in order, what the server has not confirmed.")]
pub struct PubArgs {
    /// Where the server is: ws://HOST:PORT, or wss://HOST:PORT
    #[arg(value_name = "URL")]
    pub url: Url,

    /// Topic to publish to, such as rover/1/imu (with --ndjson: for lines that name none)
    #[arg(value_name = "TOPIC", required_unless_present = "ndjson", value_parser = publish_topic)]
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

    /// Connect again whenever the connection breaks, nobody answers, or the server has no room for it, and send again what was not
    /// confirmed: nothing is missing, but the last messages before a break may come twice
    #[arg(long)]
    pub reconnect: bool,

    /// Silence of the server after which it is pinged; without an answer for as long again the connection counts as broken. 0
    /// never pings
    #[arg(long, value_name = "TIME", default_value = "15s")]
    pub ping_every: Span,

    /// Who this is.
    #[command(flatten)]
    pub bearer: BearerArgs,

    /// Time to connect in, and to wait for the server's close at the end
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = timeout)]
    pub timeout: Span,

    /// Whom to trust.
    #[command(flatten)]
    pub tls: TlsArgs,
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
order, unless --reconnect is given, and when nobody reads its output any more. Payloads are printed
as they are, whatever they hold; --json is one object a line. A terminal gets control characters
as escapes.")]
pub struct SubArgs {
    /// Where the server is: ws://HOST:PORT, or wss://HOST:PORT
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
    #[arg(long, value_name = "N", value_parser = max_hz)]
    pub max_hz: Option<f64>,

    /// Messages may wait so long on the server, a second at most, to be sent together. Critical ones do not
    #[arg(long, value_name = "TIME", value_parser = max_delay)]
    pub max_delay: Option<Span>,

    /// Connect again whenever the connection breaks, nobody answers, or the server has no room for it, and go on where it ended.
    /// With --protocol raw, which has no numbers, it goes on with the last message
    #[arg(long)]
    pub reconnect: bool,

    /// Go on where an earlier run with this file ended, however that was, and note there what is written. Into a regular file
    /// that is appended to, nothing is missing and nothing twice; into a pipe nothing is missing, and what was written in the
    /// moment before a kill may come again
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

    /// Silence of the server after which it is pinged; without an answer for as long again the connection counts as broken. 0
    /// never pings
    #[arg(long, value_name = "TIME", default_value = "15s")]
    pub ping_every: Span,

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

/// `fanwire demo`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  fanwire demo
  fanwire demo --listen 0.0.0.0:9001 --http 0.0.0.0:8080     # to be watched from other machines
  fanwire sub ws://127.0.0.1:9001 'rover/*/alarm' --json     # beside it

Topics, for N = 1, 2, 3: rover/N/imu (200 Hz), rover/N/motors (50 Hz), rover/N/gps (10 Hz),
rover/N/battery (1 Hz), rover/N/heartbeat (critical, 2 Hz), rover/N/alarm (critical and less). The
page's slow link goes through a port of its own. The dashboard shows who is slow, and what they lose.")]
pub struct DemoArgs {
    /// Address of the engine [default: 127.0.0.1:9001, or the next free port]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,

    /// Address of the page [default: 127.0.0.1:8080, or the next free port]
    #[arg(long, value_name = "ADDR")]
    pub http: Option<SocketAddr>,

    /// Address of the dashboard, an admin port as `fanwire serve` has it [default: 127.0.0.1:9002, or the next free port]
    #[arg(long, value_name = "ADDR")]
    pub admin_listen: Option<SocketAddr>,

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

/// `fanwire top`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  fanwire top                                         the server on this machine, by its admin port
  fanwire top wss://ops.example.org:9002/ws --token-file ops.token
  fanwire top ws://127.0.0.1:9001                     where the $sys topics are public, or granted to the token
  fanwire top --once --format json | jq '.[\"$sys/clients\"].by_lag[].id'

Keys: arrows choose, s sorts by lag or by work, / filters, c closes a client (by the admin port),
Tab changes the view, ? says more, q quits. docs/how-to/watch.md says what the figures mean.")]
pub struct TopArgs {
    /// Where the server is: the admin port's /ws, or the engine's own port
    #[arg(value_name = "URL", default_value = "ws://127.0.0.1:9002/ws")]
    pub url: Url,

    /// Print one snapshot, and end
    #[arg(long)]
    pub once: bool,

    /// How a snapshot is printed: json has the $sys messages as they came, by topic
    #[arg(long, value_enum, default_value_t = TopFormat::Text, value_name = "FORMAT", requires = "once")]
    pub format: TopFormat,

    /// Which clients come first: who is nearest to losing something, or who costs most
    #[arg(long, value_enum, default_value_t = TopSort::Lag, value_name = "ORDER")]
    pub sort: TopSort,

    /// Who this is.
    #[command(flatten)]
    pub bearer: BearerArgs,

    /// Time to connect in; with --once also for the figures to come
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = timeout)]
    pub timeout: Span,

    /// Whom to trust.
    #[command(flatten)]
    pub tls: TlsArgs,
}

/// How `top --once` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TopFormat {
    /// A table
    Text,
    /// One JSON object
    Json,
}

/// What `top` shows first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TopSort {
    /// Who is nearest to losing something
    Lag,
    /// Who costs most
    Work,
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

/// A topic that can be published to.
///
/// # Errors
/// Where it is none.
pub fn publish_topic(text: &str) -> Result<String, String> {
    match TopicName::new(text).map_err(|error| error.to_string())?.is_engine_owned() {
        true => Err("topics that begin with $ are the engine's own".into()),
        false => Ok(text.to_owned()),
    }
}

/// A topic or pattern.
///
/// # Errors
/// Where it is neither.
pub fn topic_pattern(text: &str) -> Result<String, String> {
    Pattern::check(text).map(|()| text.to_owned()).map_err(|error| error.to_string())
}

fn key(text: &str) -> Result<String, String> {
    match text.len() {
        1..=KEY_BYTES_MAX => Ok(text.to_owned()),
        _ => Err("a key has 1 to 255 bytes".into()),
    }
}

/// A rate that a server takes for a subscription.
fn max_hz(text: &str) -> Result<f64, String> {
    match rate(text)? {
        hz if hz <= RATE_HZ_MAX => Ok(hz),
        _ => Err(format!("`{text}` is more than the {RATE_HZ_MAX} a second that a subscription can be held to")),
    }
}

/// How long messages of a subscription may wait.
fn max_delay(text: &str) -> Result<Span, String> {
    match text.parse::<Span>()? {
        span if span.0 <= TopicConfig::DELIVER_WITHIN_MAX => Ok(span),
        _ => Err(format!("`{text}` is more than a second: no server lets messages wait longer")),
    }
}

/// A time in which something has to happen.
///
/// # Errors
/// Where it is no time, or none passes in it.
pub fn timeout(text: &str) -> Result<Span, String> {
    match text.parse::<Span>()? {
        span if span.0.is_zero() => Err("nothing happens in no time: write for example 10s".into()),
        span => Ok(span),
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
        for wrong in
            ["$a", "a --rate 1e-20", "a --rate inf", "a --rate nan", "a --rate -1", "a --rate 1e300", "a --timeout 0"]
        {
            assert!(parse(&format!("fanwire pub ws://h:1 {wrong}")).is_err(), "{wrong}");
        }
        for wrong in [
            "--max-hz 1000001",
            "--max-hz 1e-7",
            "--max-hz nan",
            "--max-delay 1001ms",
            "--count -1",
            "--timeout 0",
            "--ping-every -1s",
        ] {
            assert!(parse(&format!("fanwire sub ws://h:1 a {wrong}")).is_err(), "{wrong}");
        }
        for right in [
            "--max-hz 1000000",
            "--max-hz 0.000001",
            "--max-delay 1s",
            "--count 0",
            "--ping-every 0",
            "--timeout 5000000000000h",
        ] {
            assert!(parse(&format!("fanwire sub ws://h:1 a {right}")).is_ok(), "{right}");
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
