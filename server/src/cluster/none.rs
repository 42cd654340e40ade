//! Job: a binary without NATS says so where NATS is asked for.
//! Knows: whether it is. Must never know: what for.

use std::convert::Infallible;
use std::thread::Scope;

use fanwire::Engine;

use crate::config::Loaded;
use crate::exit::{Exit, Failure};

/// There is never one.
pub struct Cluster(Infallible);
/// Nor does it count anything.
pub struct ClusterCounters(Infallible);
/// Nor is there anything to be ended.
pub struct Stop(Infallible);

impl Cluster {
    /// `None`, where this node is to be alone.
    ///
    /// # Errors
    /// 78: it is not to be alone.
    pub fn open(_: &Engine, loaded: &Loaded) -> Result<Option<Self>, Failure> {
        let without = "cluster.nats: this binary was built without NATS (cargo build --release --features nats has it)";
        match loaded.cluster()? {
            Some(_) => Err(Failure::message(Exit::Config, without)),
            None => Ok(None),
        }
    }

    pub fn counters(&self) -> ClusterCounters {
        match self.0 {}
    }

    pub fn run<'scope>(self, _: &'scope Scope<'scope, '_>, _: &'scope Engine) -> Stop {
        match self.0 {}
    }
}

impl ClusterCounters {
    pub fn write(&self, _: &mut String) {
        match self.0 {}
    }
}

impl Stop {
    pub fn stop(&self) {
        match self.0 {}
    }
}
