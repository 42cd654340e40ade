//! What the tests of a bridge need: real NATS servers, nodes, their subscribers, and a plain NATS client.

pub mod node;
pub mod plain;
pub mod server;

use std::time::Duration;

/// How long anything may take on a machine that does much else.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for something that must come to pass.
pub fn wait_until(what: &str, mut so: impl FnMut() -> bool) {
    let until = std::time::Instant::now() + PATIENCE;
    while !so() {
        assert!(std::time::Instant::now() < until, "{what}: not after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
