//! Job: what a running server says of itself to machines.
//! Knows: the engine. Must never know: who asks.

use std::time::Duration;

use fanwire::SysTopic;

use super::Server;
use crate::clock;
use crate::exit::{Exit, Failure};

/// The last line of each text of metrics.
const END: &str = "# EOF\n";

/// A text of metrics with more of them in front of its last line.
pub fn before_end(mut text: String, write: impl FnOnce(&mut String)) -> String {
    text.truncate(text.strip_suffix(END).map_or(text.len(), str::len));
    write(&mut text);
    text.push_str(END);
    text
}

/// How long the shards may take to say something.
const PATIENCE: Duration = Duration::from_secs(3);

impl Server<'_> {
    /// The engine's numbers, and those of its keys, as OpenMetrics has them.
    pub fn metrics(&self) -> String {
        let text = self.key_health.add_to(self.engine.metrics(), clock::now());
        match &self.cluster {
            Some(cluster) => before_end(text, |text| cluster.write(text)),
            None => text,
        }
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
