//! Job: what a running server has to say for a report.
//! Knows: its settings, metrics and last log lines. Must never know: where the report goes.

use serde::{Deserialize, Serialize};

use super::{Server, Status};
use crate::config;
use crate::recent;
use crate::redact::redacted;

/// See the module's head.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServersReport {
    pub status: Status,
    /// As its file, environment and options say now; what needs a restart may hold otherwise.
    pub settings: String,
    pub metrics: String,
    /// The oldest first.
    pub log: Vec<String>,
}

impl Server<'_> {
    /// All of it, without secrets.
    pub fn report(&self) -> ServersReport {
        let settings = match config::load(self.args) {
            Ok(loaded) => config::shown(&loaded),
            Err(failure) => format!("{:#}", failure.error),
        };
        ServersReport {
            status: self.status(),
            settings: redacted(&settings),
            metrics: self.metrics(),
            log: recent::lines().iter().map(|line| redacted(line)).collect(),
        }
    }
}
