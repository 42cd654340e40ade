//! Job: the load that a host is held against.
//! Knows: the engine's own arithmetic of descriptors and memory. Must never know: any knob.

use std::num::{NonZeroU32, NonZeroUsize};

use fanwire::{Config, DriverChoice, KERNEL_NEEDED, StartError, try_io_uring};

use crate::args::Driver;
use crate::host::Host;

/// Connections where nobody says how many: as `fanwire serve` has it.
const CONNECTIONS_USUAL: u32 = 10_000;
/// As many shards as an engine takes.
const SHARDS_MAX: usize = 64;

/// What is planned.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Connections at once.
    pub connections: u32,
    /// Threads that fan out.
    pub shards: usize,
    /// Whether memory is to be locked.
    pub lock_memory: bool,
    /// Which driver is asked for.
    pub driver: DriverChoice,
    /// Whether io_uring works.
    pub io_uring: IoUring,
}

/// Whether io_uring works on a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IoUring {
    /// It was tried.
    Works,
    /// It was tried, or the host's files say so.
    Refused {
        /// Why.
        cause: String,
        /// What to do.
        fix: String,
    },
    /// Nothing speaks against it, but it was not tried.
    NotTried,
}

impl Plan {
    /// What is planned for a host; what is not said is as `fanwire serve` would do there.
    pub fn new(
        host: &Host,
        connections: Option<NonZeroU32>,
        shards: Option<NonZeroUsize>,
        driver: Driver,
        lock_memory: bool,
    ) -> Self {
        let driver = match driver {
            Driver::Auto => DriverChoice::Auto,
            Driver::Uring => DriverChoice::Uring,
            Driver::Epoll => DriverChoice::Epoll,
        };
        Plan {
            connections: connections.map_or(CONNECTIONS_USUAL, NonZeroU32::get),
            shards: shards.map_or_else(|| shards_by_default(host), NonZeroUsize::get),
            lock_memory,
            driver,
            io_uring: if driver == DriverChoice::Epoll { IoUring::NotTried } else { io_uring(host) },
        }
    }

    /// Whether the engine would run on io_uring.
    pub fn is_uring(&self) -> bool {
        self.driver != DriverChoice::Epoll && !matches!(self.io_uring, IoUring::Refused { .. })
    }

    /// Open files that the process needs.
    pub fn open_files(&self) -> u64 {
        self.config().open_files_needed(self.shards, self.is_uring())
    }

    /// Bytes that the engine uses at most, its other settings being the usual ones; `None` where there can be no such engine.
    pub fn engine_bytes(&self) -> Option<u64> {
        self.config().plan_for(self.shards, None).ok().map(|sum| sum.total_bytes())
    }

    fn config(&self) -> Config {
        Config { connections_max: self.connections, ..Config::default() }
    }
}

/// One shard for each CPU that may be used, no more than the quota can keep busy.
fn shards_by_default(host: &Host) -> usize {
    let quota = host.cpu_quota().map_or(usize::MAX, |quota| quota.ceil() as usize);
    host.usable_cpus().len().min(quota).clamp(1, SHARDS_MAX)
}

fn io_uring(host: &Host) -> IoUring {
    if host.is_this_one() {
        return match try_io_uring() {
            Ok(()) => IoUring::Works,
            Err(StartError::Uring(why)) => IoUring::Refused { cause: why.cause, fix: why.fix },
            Err(other) => IoUring::Refused { cause: other.to_string(), fix: "see the cause".to_owned() },
        };
    }
    let refused = |cause: &str, fix: &str| IoUring::Refused { cause: cause.to_owned(), fix: fix.to_owned() };
    if let Some(version) = host.kernel().as_deref().and_then(version)
        && version < KERNEL_NEEDED
    {
        return refused("the kernel is older than 6.1", "use Linux 6.1 or later, or --driver epoll");
    }
    match host.sysctl("kernel.io_uring_disabled").as_deref() {
        Some("2") => refused("kernel.io_uring_disabled is 2", "sysctl -w kernel.io_uring_disabled=0"),
        _ => IoUring::NotTried,
    }
}

/// Major and minor number of a kernel's release.
pub fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::tree::Tree;

    fn plan(tree: &Tree, connections: u32) -> Plan {
        Plan::new(&tree.host(), NonZeroU32::new(connections), None, Driver::Auto, false)
    }

    #[test]
    fn shards_follow_cpus_and_quota() {
        assert_eq!(plan(&Tree::good(), 1).shards, 8);
        assert_eq!(plan(&Tree::bad(), 1).shards, 2);
        assert_eq!(plan(&Tree::empty(), 1).shards, 1);
    }

    #[test]
    fn descriptors_are_counted_as_the_engine_counts_them() {
        // io_uring: each of 8 shards has a table, with room for those who are refused. epoll: one each, and some more.
        assert_eq!(plan(&Tree::good(), 80_000).open_files(), 10_064);
        assert_eq!(plan(&Tree::bad(), 80_000).open_files(), 80_128);
    }

    #[test]
    fn files_tell_of_io_uring_where_it_cannot_be_tried() {
        assert_eq!(plan(&Tree::good(), 1).io_uring, IoUring::NotTried);
        let IoUring::Refused { cause, .. } = plan(&Tree::bad(), 1).io_uring else { panic!("allowed") };
        assert!(cause.contains("older"), "{cause}");
    }
}
