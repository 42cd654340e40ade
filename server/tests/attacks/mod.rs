//! Attacks of strangers on the built server, one for each kind of fault that was ever found: kept, so that none comes back.
//!
//! None asserts a time. What an attack may cost is counted: steps of a shard's turns (as `serve --log debug` tells them at its end), bytes
//! of the process, answers, messages. What only time could tell is measured by `fanwire-perf run bystander`, and what is promised in
//! seconds (pings, time-outs) is tested by the simulator in virtual time. Every attack is bounded in what it sends.

#![allow(clippy::disallowed_methods)]

use crate::support;

mod fairness;
mod memory;
mod names;
mod process;
mod served;
mod work;
