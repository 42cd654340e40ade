//! Job: what the kernel says of this process and of what it may have, as metrics.
//! Knows: `/proc/self`, cgroups. Must never know: the engine.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// Figures at one moment; what cannot be read is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Process {
    pub cpu_seconds: f64,
    pub resident_bytes: u64,
    pub virtual_bytes: u64,
    pub threads: u64,
    pub open_files: u64,
    pub open_files_max: u64,
    pub memory_limit_bytes: u64,
    pub cpus: f64,
}

impl Process {
    /// Reads them.
    pub fn read() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let used = clock_gettime(ClockId::ProcessCPUTime);
        Process {
            cpu_seconds: used.tv_sec as f64 + used.tv_nsec as f64 / 1e9,
            resident_bytes: number(&status, "VmRSS:") * 1_024,
            virtual_bytes: number(&status, "VmSize:") * 1_024,
            threads: number(&status, "Threads:"),
            open_files: open_files(),
            open_files_max: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
            memory_limit_bytes: memory_limit(),
            cpus: cpus(),
        }
    }

    /// As OpenMetrics has them. `started`: Unix time of the process's start.
    pub fn write(&self, text: &mut String, started: f64) {
        let mut gauge = |name: &str, unit: &str, help: &str, value: String| {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
            if !unit.is_empty() {
                let _ = writeln!(text, "# UNIT {name} {unit}");
            }
            let _ = writeln!(text, "{name} {value}");
        };
        gauge(
            "process_resident_memory_bytes",
            "bytes",
            "Memory of this process in RAM.",
            self.resident_bytes.to_string(),
        );
        gauge(
            "process_virtual_memory_bytes",
            "bytes",
            "Address space of this process.",
            self.virtual_bytes.to_string(),
        );
        gauge("process_threads", "", "Threads of this process.", self.threads.to_string());
        gauge("process_open_fds", "", "Descriptors of this process.", self.open_files.to_string());
        gauge("process_max_fds", "", "Descriptors that it may have.", self.open_files_max.to_string());
        gauge(
            "process_start_time_seconds",
            "seconds",
            "When this process was started, in Unix time.",
            format!("{started:.3}"),
        );
        let help = "Memory that this process may have: its control group's limit, else the machine's.";
        gauge("fanwire_process_memory_limit_bytes", "bytes", help, self.memory_limit_bytes.to_string());
        let help = "CPUs that this process may use: its control group's quota, else those that it may run on.";
        gauge("fanwire_process_cpus", "", help, self.cpus.to_string());
        let help = "CPU time that this process has used.";
        let _ = writeln!(text, "# HELP process_cpu_seconds {help}\n# TYPE process_cpu_seconds counter");
        let _ = writeln!(text, "# UNIT process_cpu_seconds seconds\nprocess_cpu_seconds_total {:.3}", self.cpu_seconds);
    }
}

/// The number behind a word.
fn number(text: &str, word: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(word));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

/// Since Linux 6.2 the directory says how many it has.
fn open_files() -> u64 {
    match fs::metadata("/proc/self/fd").map_or(0, |about| about.size()) {
        0 => fs::read_dir("/proc/self/fd").map_or(0, |all| all.count() as u64),
        count => count,
    }
}

/// A file of this process's control group (version 2), or of one above it: the first that says a number.
fn of_cgroup<T>(name: &str, read: impl Fn(&str) -> Option<T>) -> Option<T> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let root = Path::new("/sys/fs/cgroup");
    let folder = root.join(own.trim_start_matches('/'));
    folder.ancestors().take_while(|folder| folder.starts_with(root)).find_map(|folder| {
        let text = fs::read_to_string(folder.join(name)).ok()?;
        read(text.trim())
    })
}

fn memory_limit() -> u64 {
    let machine = number(&fs::read_to_string("/proc/meminfo").unwrap_or_default(), "MemTotal:") * 1_024;
    of_cgroup("memory.max", |text| text.parse().ok()).map_or(machine, |limit: u64| limit.min(machine))
}

fn cpus() -> f64 {
    let allowed = std::thread::available_parallelism().map_or(1.0, |count| count.get() as f64);
    // `available_parallelism` rounds a quota down.
    of_cgroup("cpu.max", quota).unwrap_or(allowed)
}

fn quota(text: &str) -> Option<f64> {
    let (quota, period) = text.split_once(' ')?;
    let (quota, period): (f64, f64) = (quota.parse().ok()?, period.parse().ok()?);
    (period > 0.0).then_some(quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_what_every_process_has() {
        let now = Process::read();
        assert!(now.resident_bytes > 0 && now.virtual_bytes >= now.resident_bytes, "{now:?}");
        assert!(now.threads >= 1 && now.open_files >= 1 && now.open_files_max >= now.open_files, "{now:?}");
        assert!(now.memory_limit_bytes > 0 && now.cpus > 0.0, "{now:?}");
        let mut text = String::new();
        now.write(&mut text, 1_796_040_000.5);
        assert!(text.contains("\nprocess_start_time_seconds 1796040000.500\n"), "{text}");
        assert_eq!(text.matches("# TYPE").count(), text.lines().filter(|line| !line.starts_with('#')).count());
    }

    #[test]
    fn a_quota_is_a_part_of_a_period() {
        assert_eq!(quota("150000 100000"), Some(1.5));
        assert_eq!(quota("max 100000"), None);
        assert_eq!(quota("1 0"), None);
        assert_eq!(number("VmRSS:\t  12 kB\n", "VmRSS:"), 12);
        assert_eq!(number("", "VmRSS:"), 0);
    }
}
