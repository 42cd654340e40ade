//! CPUs: which the process may use, how much of them its control groups grant, and pinning.

use std::io;
use std::path::{Path, PathBuf};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// CPUs the calling thread may run on, in order.
///
/// # Errors
/// What `sched_getaffinity` answers (machines with more than 1,024 CPUs: `EINVAL`).
pub fn affinity() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect())
}

/// Pins the calling thread to one CPU.
///
/// # Errors
/// `EINVAL` where the process may not use that CPU or there is none with this number.
pub fn pin_this_thread(cpu: usize) -> io::Result<()> {
    if cpu >= CpuSet::MAX_CPU {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(sched_setaffinity(None, &set)?)
}

/// How many CPUs' worth of time the control groups above the process grant: the tightest quota, v2 or v1. `None` where
/// there is none.
pub fn cgroup_quota() -> Option<f64> {
    cgroup_directories("cpu").iter().filter_map(|dir| quota_of(dir)).min_by(f64::total_cmp)
}

/// Shards to start where the configuration says nothing: one a usable CPU, no more than the quota (rounded up) can
/// keep busy, at least one.
pub fn shards_by_default() -> usize {
    let cpus = affinity().map_or(1, |cpus| cpus.len());
    shards_for(cpus, cgroup_quota())
}

fn shards_for(cpus: usize, quota: Option<f64>) -> usize {
    let granted = quota.map_or(usize::MAX, |quota| quota.ceil() as usize);
    cpus.min(granted).max(1)
}

/// Quota over period of one group: v2's `cpu.max`, else v1's two files.
fn quota_of(dir: &Path) -> Option<f64> {
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).ok();
    let (quota, period) = match read("cpu.max") {
        Some(both) => {
            let (quota, period) = both.trim().split_once(' ')?;
            (quota.to_owned(), period.to_owned())
        }
        None => (read("cpu.cfs_quota_us")?, read("cpu.cfs_period_us")?),
    };
    // "max" (v2) and "-1" (v1) are no limit.
    let quota: f64 = quota.trim().parse().ok()?;
    let period: f64 = period.trim().parse().ok()?;
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

/// The directories of the control groups that hold the process, its own first, then each parent's, for the v1
/// controller `controller` and for v2. Inside a container the paths are relative to the mount, so that missing ones are
/// tried at the mount's root too.
pub(super) fn cgroup_directories(controller: &str) -> Vec<PathBuf> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut found = Vec::new();
    for (controllers, path) in groups.lines().filter_map(cgroup_line) {
        let mount = if controllers.is_empty() {
            // v2 alone is mounted at the top, beside v1 ("hybrid") one below.
            let unified = Path::new("/sys/fs/cgroup/unified");
            if unified.is_dir() { unified.to_owned() } else { PathBuf::from("/sys/fs/cgroup") }
        } else if controllers.split(',').any(|c| c == controller) {
            let joint = Path::new("/sys/fs/cgroup").join(controllers);
            if joint.is_dir() { joint } else { Path::new("/sys/fs/cgroup").join(controller) }
        } else {
            continue;
        };
        found.extend(path_and_parents(path).map(|path| mount.join(path)).filter(|dir| dir.is_dir()));
    }
    found
}

/// `hierarchy:controllers:/path` of `/proc/self/cgroup`.
fn cgroup_line(line: &str) -> Option<(&str, &str)> {
    let (_, rest) = line.split_once(':')?;
    rest.split_once(':')
}

fn path_and_parents(path: &str) -> impl Iterator<Item = &Path> {
    Path::new(path.trim_start_matches('/')).ancestors()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_follow_affinity_and_quota() {
        assert_eq!(shards_for(8, None), 8);
        assert_eq!(shards_for(8, Some(2.0)), 2);
        assert_eq!(shards_for(8, Some(1.5)), 2);
        assert_eq!(shards_for(8, Some(0.1)), 1);
        assert_eq!(shards_for(2, Some(64.0)), 2);
        assert_eq!(shards_for(0, None), 1);
        assert!(shards_by_default() >= 1);
    }

    #[test]
    fn quotas_of_both_versions_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        assert_eq!(quota_of(dir.path()), None);
        write("cpu.cfs_period_us", "100000\n");
        write("cpu.cfs_quota_us", "-1\n");
        assert_eq!(quota_of(dir.path()), None);
        write("cpu.cfs_quota_us", "250000\n");
        assert_eq!(quota_of(dir.path()), Some(2.5));
        write("cpu.max", "max 100000\n");
        assert_eq!(quota_of(dir.path()), None);
        write("cpu.max", "50000 100000\n");
        assert_eq!(quota_of(dir.path()), Some(0.5));
    }

    #[test]
    fn group_lines_are_split_and_climbed() {
        assert_eq!(cgroup_line("0::/a/b"), Some(("", "/a/b")));
        assert_eq!(cgroup_line("4:cpu,cpuacct:/x"), Some(("cpu,cpuacct", "/x")));
        let climbed: Vec<_> = path_and_parents("/a/b").map(|p| p.to_str().unwrap().to_owned()).collect();
        assert_eq!(climbed, ["a/b", "a", ""]);
    }

    #[test]
    fn a_pinned_thread_has_one_cpu() {
        let cpu = *affinity().unwrap().last().unwrap();
        std::thread::spawn(move || {
            pin_this_thread(cpu).unwrap();
            assert_eq!(affinity().unwrap(), [cpu]);
        })
        .join()
        .unwrap();
        assert!(pin_this_thread(1 << 20).is_err());
    }
}
