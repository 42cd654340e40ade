//! Job: what an operator is told of shards that were busy for long at a stretch: whoever they serve has heard nothing meanwhile.
//! Knows: the longest turn so far of each shard. Must never know: what a turn does.

use std::time::Duration;

use fanwire::ShardStats;

/// A turn that takes longer is told; one that takes less is work as usual.
const SLOW: Duration = Duration::from_millis(50);

/// What was told of each shard.
#[derive(Debug, Default)]
pub struct SlowTurns {
    told_ns: Vec<u64>,
}

impl SlowTurns {
    /// Says which shards have had a longer turn than was told before.
    pub fn tell(&mut self, shards: &[ShardStats]) {
        for (shard, turn_ms) in self.slower(shards) {
            tracing::warn!(
                event = "shard.slow_turn",
                shard,
                turn_ms,
                "shard {shard}: a turn has taken {turn_ms} ms of CPU time, the longest so far: its clients heard nothing meanwhile"
            );
        }
    }

    fn slower(&mut self, shards: &[ShardStats]) -> Vec<(usize, u64)> {
        self.told_ns.resize(shards.len(), SLOW.as_nanos() as u64);
        let mut slower = Vec::new();
        for (shard, (stats, told_ns)) in shards.iter().zip(&mut self.told_ns).enumerate() {
            if stats.turn_ns_max > *told_ns {
                *told_ns = stats.turn_ns_max;
                slower.push((shard, stats.turn_ns_max / 1_000_000));
            }
        }
        slower
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shards_slowest_turn_is_told_once_and_a_slower_one_again() {
        let shards = |of: [u64; 2]| {
            of.map(|ms| {
                let mut stats = ShardStats::default();
                stats.turn_ns_max = ms * 1_000_000;
                stats
            })
        };
        let mut slow = SlowTurns::default();
        assert_eq!(slow.slower(&shards([50, 3])), []);
        assert_eq!(slow.slower(&shards([50, 51])), [(1, 51)]);
        assert_eq!(slow.slower(&shards([50, 51])), []);
        assert_eq!(slow.slower(&shards([60, 70])), [(0, 60), (1, 70)]);
    }
}
