//! Job: topics shared with other nodes, where that is asked for: what is asked, and who does it.
//! Knows: settings below `cluster`. Must never know: how nodes speak with each other.

#[cfg(feature = "nats")]
mod nats;
#[cfg(not(feature = "nats"))]
mod none;

use std::path::PathBuf;

use fanwire::proto::topic::Pattern;

#[cfg(feature = "nats")]
pub use nats::{Cluster, ClusterCounters, Stop};
#[cfg(not(feature = "nats"))]
pub use none::{Cluster, ClusterCounters, Stop};

/// What the settings below `cluster` say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterConfig {
    pub urls: Vec<String>,
    pub name: String,
    pub credentials_file: Option<PathBuf>,
    pub ca_file: Option<PathBuf>,
    pub certificate_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    pub keep: Vec<Pattern>,
    pub foreign: Vec<String>,
}
