//! Job: what the control groups above this process grant, version 2 and version 1.
//! Knows: their files. Must never know: who asks.

use std::path::Path;

use super::Host;

/// The tightest quota of CPU time, in CPUs.
pub fn cpu_quota(host: &Host) -> Option<f64> {
    directories(host, "cpu").iter().filter_map(|dir| quota_of(host, dir)).min_by(f64::total_cmp)
}

/// Periods in which a group ran out of its quota: the highest count.
pub fn throttled_periods(host: &Host) -> Option<u64> {
    let of = |dir: &String| {
        let text = host.text(&format!("{dir}/cpu.stat"))?;
        text.lines().find_map(|line| line.strip_prefix("nr_throttled ")?.trim().parse().ok())
    };
    directories(host, "cpu").iter().filter_map(of).max()
}

/// Bytes left under the limits of memory, one for each group that has one.
pub fn memory_left(host: &Host) -> Vec<u64> {
    directories(host, "memory").iter().filter_map(|dir| left_of(host, dir)).collect()
}

fn quota_of(host: &Host, dir: &str) -> Option<f64> {
    let (quota, period) = match host.text(&format!("{dir}/cpu.max")) {
        Some(both) => both.split_once(' ').map(|(q, p)| (q.to_owned(), p.to_owned()))?,
        None => (host.text(&format!("{dir}/cpu.cfs_quota_us"))?, host.text(&format!("{dir}/cpu.cfs_period_us"))?),
    };
    // "max" (v2) and "-1" (v1) are no limit.
    let (quota, period): (f64, f64) = (quota.trim().parse().ok()?, period.trim().parse().ok()?);
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

fn left_of(host: &Host, dir: &str) -> Option<u64> {
    let number = |name: &str| host.number(&format!("{dir}/{name}"));
    // "max" is no number, and v1's number near 2^63 for no limit falls out of the minimum.
    let (limit, used) = match number("memory.max") {
        Some(limit) => (limit, number("memory.current")?),
        None => (number("memory.limit_in_bytes")?, number("memory.usage_in_bytes")?),
    };
    let stat = host.text(&format!("{dir}/memory.stat")).unwrap_or_default();
    let line = |name: &str| stat.lines().find_map(|l| l.strip_prefix(name)?.trim().parse::<u64>().ok());
    // Page cache counts as use but goes when memory is wanted.
    let cache = line("total_inactive_file ").or_else(|| line("inactive_file ")).unwrap_or(0);
    Some(limit.saturating_sub(used.saturating_sub(cache)))
}

/// The groups' directories, the process's own first, then each parent's. Inside a container the paths are relative to the mount,
/// so that those which are missing fall away and the mount's root remains.
fn directories(host: &Host, controller: &str) -> Vec<String> {
    let groups = host.text("/proc/self/cgroup").unwrap_or_default();
    let mut found = Vec::new();
    for line in groups.lines() {
        let Some((controllers, path)) = line.split_once(':').and_then(|(_, rest)| rest.split_once(':')) else {
            continue;
        };
        let mount = if controllers.is_empty() {
            let unified = "/sys/fs/cgroup/unified";
            if host.has(unified) { unified.to_owned() } else { "/sys/fs/cgroup".to_owned() }
        } else if controllers.split(',').any(|c| c == controller) {
            let joint = format!("/sys/fs/cgroup/{controllers}");
            if host.has(&joint) { joint } else { format!("/sys/fs/cgroup/{controller}") }
        } else {
            continue;
        };
        for part in Path::new(path.trim_start_matches('/')).ancestors() {
            let dir = format!("{mount}/{}", part.to_string_lossy());
            let dir = dir.trim_end_matches('/').to_owned();
            if host.has(&dir) {
                found.push(dir);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use crate::host::tree::Tree;

    #[test]
    fn the_tightest_group_counts() {
        let tree = Tree::empty();
        tree.write("/proc/self/cgroup", "0::/a/b\n");
        tree.write("/sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
        tree.write("/sys/fs/cgroup/a/cpu.max", "150000 100000\n");
        tree.write("/sys/fs/cgroup/a/cpu.stat", "nr_periods 9\nnr_throttled 4\n");
        tree.write("/sys/fs/cgroup/a/memory.max", "1000\n");
        tree.write("/sys/fs/cgroup/a/memory.current", "600\n");
        tree.write("/sys/fs/cgroup/a/memory.stat", "inactive_file 100\n");
        tree.write("/proc/meminfo", "MemAvailable: 4 kB\n");
        let host = tree.host();
        assert_eq!((host.cpu_quota(), host.throttled_periods()), (Some(1.5), Some(4)));
        assert_eq!(host.memory_available(), Some(500));
        tree.write("/sys/fs/cgroup/a/memory.max", "max\n");
        assert_eq!(host.memory_available(), Some(4096));
    }

    #[test]
    fn version_1_is_read_too() {
        let tree = Tree::empty();
        tree.write("/proc/self/cgroup", "4:cpu,cpuacct:/\n");
        tree.write("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "50000\n");
        tree.write("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
        assert_eq!(tree.host().cpu_quota(), Some(0.5));
    }
}
