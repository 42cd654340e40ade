//! Job: the bridge over NATS, on a thread of its own; what it counts, as metrics.
//! Knows: the bridge. Must never know: what it does with messages.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, Scope};

use fanwire::Engine;
use fanwire_bridge::node::Prefix;
use fanwire_bridge::{Bridge, BridgeConfig, BridgeError, Counters, METRICS, MetricKind};

use super::ClusterConfig;
use crate::config::Loaded;
use crate::exit::{Exit, Failure};

pub use fanwire_bridge::Stop;

/// Tells this start of the machine from any other, and from any other machine.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A bridge that does not run yet.
pub struct Cluster(Bridge);

/// What it counts.
#[derive(Clone, Debug)]
pub struct ClusterCounters(Arc<Counters>);

impl Cluster {
    /// The bridge that the settings ask for; `None`: this node is to be alone. No server needs to be there.
    ///
    /// # Errors
    /// 78: something that is asked for cannot be; 71: the engine or the system does not give what it needs.
    pub fn open(engine: &Engine, loaded: &Loaded) -> Result<Option<Self>, Failure> {
        let Some(asked) = loaded.cluster()? else { return Ok(None) };
        let config = config(asked, loaded.control_socket().as_deref())?;
        let bridge = Bridge::open(engine, config).map_err(|error| match error {
            BridgeError::Config(error) => Failure::message(Exit::Config, format!("cluster: {error}")),
            error => Failure::new(Exit::Address, error),
        })?;
        Ok(Some(Cluster(bridge)))
    }

    /// What it counts.
    pub fn counters(&self) -> ClusterCounters {
        ClusterCounters(self.0.counters())
    }

    /// Runs it on a thread of its own. What comes back ends it.
    pub fn run<'scope>(self, scope: &'scope Scope<'scope, '_>, engine: &'scope Engine) -> Stop {
        let stop = self.0.stop();
        let run = move || {
            if let Err(error) = self.0.run(engine) {
                tracing::error!(event = "bridge.failed", "this node is alone: {error}");
            }
        };
        if let Err(error) = thread::Builder::new().name("bridge".into()).spawn_scoped(scope, run) {
            tracing::error!(event = "bridge.failed", "this node is alone, for it gets no thread: {error}");
        }
        stop
    }
}

fn config(asked: ClusterConfig, control_socket: Option<&Path>) -> Result<BridgeConfig, Failure> {
    let ClusterConfig { urls, name, credentials_file, ca_file, certificate_file, key_file, keep, foreign } = asked;
    let wrong = |problem: String| Failure::message(Exit::Config, problem);
    let certificate = match (certificate_file, key_file) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some((certificate, key)),
        _ => return Err(wrong("cluster.certificate_file and cluster.key_file: one needs the other".into())),
    };
    let prefix = |text: &String| Prefix::parse(text).map_err(|error| wrong(format!("cluster.foreign: {error}")));
    Ok(BridgeConfig {
        urls,
        cluster: name,
        node: control_socket.and_then(node),
        credentials_file,
        ca_file,
        certificate,
        keep,
        foreign: foreign.iter().map(prefix).collect::<Result<_, _>>()?,
        ..BridgeConfig::default()
    })
}

/// The same number for two processes of which one takes over from the other: they have one control socket. No other process has it.
fn node(control_socket: &Path) -> Option<u64> {
    let (boot, file) = (fs::read_to_string(BOOT_ID).ok()?, fs::metadata(control_socket).ok()?);
    // The same in every build.
    Some(fanwire::key_number(&format!("{} {} {}", boot.trim(), file.dev(), file.ino())))
}

impl ClusterCounters {
    /// Adds them to a text of metrics.
    pub fn write(&self, text: &mut String) {
        let mut last = "";
        for (metric, number) in METRICS.iter().zip(self.0.read()) {
            let (kind, suffix) = match metric.kind {
                MetricKind::Counter => ("counter", "_total"),
                MetricKind::Gauge => ("gauge", ""),
            };
            // Writing to a text does not fail.
            if metric.name != last {
                let _ = writeln!(text, "# TYPE {} {kind}\n# HELP {} {}.", metric.name, metric.name, metric.help);
                last = metric.name;
            }
            let labels = if metric.label.is_empty() { String::new() } else { format!("{{{}}}", metric.label) };
            let _ = writeln!(text, "{}{suffix}{labels} {number}", metric.name);
        }
    }
}
