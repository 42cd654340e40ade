//! Job: what a running server says of itself to machines.
//! Knows: the engine. Must never know: who asks.

use std::time::Duration;

use fanwire::SysTopic;

use super::Server;
use crate::exit::{Exit, Failure};

/// How long the shards may take to say something.
const PATIENCE: Duration = Duration::from_secs(3);

impl Server<'_> {
    /// The engine's numbers, as OpenMetrics has them.
    pub fn metrics(&self) -> String {
        self.engine.metrics()
    }

    /// What the engine would say on that topic now.
    ///
    /// # Errors
    /// 69: the shards say nothing, or nothing is gathered (`sys.top`).
    pub fn snapshot(&self, topic: SysTopic) -> Result<String, Failure> {
        let said = self.engine.snapshot(topic, PATIENCE);
        said.map(|said| said.to_string()).map_err(|error| Failure::new(Exit::Unavailable, error))
    }
}
