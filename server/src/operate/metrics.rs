//! Job: what a running server says of itself to machines.
//! Knows: the engine. Must never know: who asks.

use super::Server;

impl Server<'_> {
    /// The engine's numbers, as OpenMetrics has them.
    pub fn metrics(&self) -> String {
        self.engine.metrics()
    }
}
