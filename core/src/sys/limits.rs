//! What the process may use: descriptors, and memory including the control group's limit.

use std::path::Path;

use rustix::process::{Resource, getrlimit};

use super::cpu::cgroup_directories;

/// `RLIMIT_NOFILE` as (soft, hard); `u64::MAX` is no limit.
pub fn open_files() -> (u64, u64) {
    let limit = getrlimit(Resource::Nofile);
    (limit.current.unwrap_or(u64::MAX), limit.maximum.unwrap_or(u64::MAX))
}

/// `RLIMIT_MEMLOCK`, the soft one, in bytes; `u64::MAX` is no limit.
pub fn locked_memory() -> u64 {
    getrlimit(Resource::Memlock).current.unwrap_or(u64::MAX)
}

/// True if `RLIMIT_MEMLOCK` does not hold for this process (`CAP_IPC_LOCK`).
pub fn may_lock_any() -> bool {
    const CAP_IPC_LOCK: u32 = 14;
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap_or_default();
    u64::from_str_radix(line.trim(), 16).is_ok_and(|caps| caps >> CAP_IPC_LOCK & 1 == 1)
}

/// Bytes the process may still take: the machine's `MemAvailable`, or what is left under the tightest control group
/// limit above us if that is less. `None` where neither can be read.
pub fn memory_available() -> Option<u64> {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| meminfo_available(&text));
    let groups = cgroup_directories("memory").into_iter().filter_map(|dir| cgroup_memory_left(&dir));
    groups.chain(machine).min()
}

fn meminfo_available(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Limit less use of one group, v2 files first, then v1's.
fn cgroup_memory_left(dir: &Path) -> Option<u64> {
    let number = |name: &str| -> Option<u64> { std::fs::read_to_string(dir.join(name)).ok()?.trim().parse().ok() };
    // "max" does not parse, and v1 writes a number near 2^63 for no limit: both fall out of the minimum.
    let (limit, used) = match number("memory.max") {
        Some(limit) => (limit, number("memory.current")?),
        None => (number("memory.limit_in_bytes")?, number("memory.usage_in_bytes")?),
    };
    // Page cache counts as use but goes when memory is wanted.
    let cache = std::fs::read_to_string(dir.join("memory.stat")).ok().map_or(0, |stat| inactive_file(&stat));
    Some(limit.saturating_sub(used.saturating_sub(cache)))
}

fn inactive_file(stat: &str) -> u64 {
    let line = |name: &str| stat.lines().find_map(|l| l.strip_prefix(name)?.trim().parse::<u64>().ok());
    line("total_inactive_file ").or_else(|| line("inactive_file ")).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_within_the_hard_one() {
        let (soft, hard) = open_files();
        assert!(soft > 0 && soft <= hard);
    }

    #[test]
    fn meminfo_is_read_in_kib() {
        assert_eq!(meminfo_available("MemTotal: 9 kB\nMemAvailable:    2048 kB\n"), Some(2 << 20));
        assert_eq!(meminfo_available("MemTotal: 9 kB\n"), None);
    }

    #[test]
    fn this_machine_has_memory() {
        assert!(memory_available().unwrap() > 1 << 20);
    }

    #[test]
    fn a_group_leaves_its_limit_less_what_cannot_be_reclaimed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("memory.max"), "1000\n").unwrap();
        std::fs::write(dir.path().join("memory.current"), "600\n").unwrap();
        assert_eq!(cgroup_memory_left(dir.path()), Some(400));
        std::fs::write(dir.path().join("memory.stat"), "anon 5\ninactive_file 100\n").unwrap();
        assert_eq!(cgroup_memory_left(dir.path()), Some(500));
        std::fs::write(dir.path().join("memory.max"), "max\n").unwrap();
        assert_eq!(cgroup_memory_left(dir.path()), None);
        std::fs::write(dir.path().join("memory.limit_in_bytes"), "1000\n").unwrap();
        std::fs::write(dir.path().join("memory.usage_in_bytes"), "1200\n").unwrap();
        assert_eq!(cgroup_memory_left(dir.path()), Some(0));
    }
}
