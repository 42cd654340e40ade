//! What a fuzzer does with its bytes where the whole engine is the target; those of the protocol are in `fanwire_proto::fuzz`.
//!
//! Knows the simulator. Never knows libFuzzer, and never reads a clock or a random number: a failing input fails again.

#[cfg(test)]
mod corpora_replay;
mod engine;

pub use engine::engine;
