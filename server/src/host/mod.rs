//! Job: what a host is like, read from its files (`/proc`, `/sys`) below a root directory.
//! Knows: those files' formats. Must never know: what is good or bad for fanwire. Every file may be missing, unreadable or strange:
//! then the answer is `None`, or the error.

mod cgroup;
mod nic;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use nic::Nic;

use fanwire::settings::CpuList;

/// A host: the running one, or a tree that looks like one.
#[derive(Clone, Debug)]
pub struct Host {
    root: PathBuf,
}

/// `/proc/net/softnet_stat` over all CPUs, since the host was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Softnet {
    /// Packets taken.
    pub processed: u64,
    /// Packets dropped because a CPU's backlog was full (`net.core.netdev_max_backlog`).
    pub dropped: u64,
    /// Times that a CPU had more to take than one round allows (`net.core.netdev_budget`).
    pub squeezed: u64,
}

impl Host {
    /// The host whose files are below `root`: `/` for the running one.
    pub fn at(root: &Path) -> Self {
        Host { root: root.to_owned() }
    }

    /// Whether it is the running one.
    pub fn is_this_one(&self) -> bool {
        self.root == Path::new("/")
    }

    /// Where a path of the host is for us.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The text of a file. Bytes that are not UTF-8 are replaced.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn read(&self, path: &str) -> io::Result<String> {
        fs::read(self.path(path)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The same without surrounding blanks, where it can be read.
    pub fn text(&self, path: &str) -> Option<String> {
        self.read(path).ok().map(|text| text.trim().to_owned())
    }

    /// A file that is one number.
    pub fn number(&self, path: &str) -> Option<u64> {
        self.text(path)?.parse().ok()
    }

    /// Whether a file or directory is there.
    pub fn has(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// The names in a directory, sorted (numbers by value); none where there is no such directory.
    pub fn names(&self, directory: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path(directory)) else { return Vec::new() };
        let mut names: Vec<String> = entries.flatten().filter_map(|e| e.file_name().into_string().ok()).collect();
        names.sort_by_key(|name| {
            let digits = name.trim_start_matches(|c: char| !c.is_ascii_digit());
            (name[..name.len() - digits.len()].to_owned(), digits.parse::<u64>().unwrap_or(u64::MAX), name.clone())
        });
        names
    }

    /// A sysctl's value by its dotted name.
    pub fn sysctl(&self, name: &str) -> Option<String> {
        self.text(&sysctl_path(name))
    }

    /// The kernel's release, such as `6.18.4-generic`.
    pub fn kernel(&self) -> Option<String> {
        self.sysctl("kernel.osrelease")
    }

    /// The CPUs that are online.
    pub fn cpus(&self) -> Vec<usize> {
        let list = self.text("/sys/devices/system/cpu/online").and_then(|text| text.parse::<CpuList>().ok());
        list.map_or(Vec::new(), |list| list.0)
    }

    /// The CPUs that this process may use.
    pub fn usable_cpus(&self) -> Vec<usize> {
        let list = self.status("Cpus_allowed_list").and_then(|text| text.parse::<CpuList>().ok());
        list.map_or_else(|| self.cpus(), |list| list.0)
    }

    /// A line of `/proc/self/status`.
    pub fn status(&self, name: &str) -> Option<String> {
        field(&self.text("/proc/self/status")?, name).map(str::to_owned)
    }

    /// A line of `/proc/meminfo`, in bytes.
    pub fn meminfo(&self, name: &str) -> Option<u64> {
        let kib: u64 = field(&self.text("/proc/meminfo")?, name)?.strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib.saturating_mul(1024))
    }

    /// Bytes that a process may still take: what the machine has available, or less where a control group grants less.
    pub fn memory_available(&self) -> Option<u64> {
        cgroup::memory_left(self).into_iter().chain(self.meminfo("MemAvailable")).min()
    }

    /// How many CPUs' worth of time the control groups grant; `None` where they do not limit it.
    pub fn cpu_quota(&self) -> Option<f64> {
        cgroup::cpu_quota(self)
    }

    /// Periods in which the control group was out of CPU time, since it was made.
    pub fn throttled_periods(&self) -> Option<u64> {
        cgroup::throttled_periods(self)
    }

    /// Bytes of a page of memory.
    pub fn page_bytes(&self) -> u64 {
        let kib = self.read("/proc/self/smaps").ok().and_then(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix("KernelPageSize:"))?;
            line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
        });
        kib.filter(|kib| (4..=1024).contains(kib)).unwrap_or(4) * 1024
    }

    /// The hard limit of a line of `/proc/self/limits`, such as `Max open files`; `u64::MAX` is none.
    pub fn hard_limit(&self, name: &str) -> Option<u64> {
        let text = self.text("/proc/self/limits")?;
        let hard = text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().nth(1)?;
        if hard == "unlimited" { Some(u64::MAX) } else { hard.parse().ok() }
    }

    /// The value of a parameter of the kernel's command line; empty for one without a value.
    pub fn boot_parameter(&self, name: &str) -> Option<String> {
        self.text("/proc/cmdline")?.split_whitespace().find_map(|word| match word.split_once('=') {
            Some((key, value)) => (key == name).then(|| value.to_owned()),
            None => (word == name).then(String::new),
        })
    }

    /// Interfaces with a device behind them: those that interrupts and queues are a matter of.
    pub fn nics(&self) -> Vec<Nic> {
        nic::all(self)
    }

    /// What happened to received packets before TCP saw them.
    pub fn softnet(&self) -> Option<Softnet> {
        let text = self.text("/proc/net/softnet_stat")?;
        let mut sum = Softnet::default();
        for line in text.lines() {
            let mut columns = line.split_whitespace().map(|word| u64::from_str_radix(word, 16).ok());
            sum.processed = sum.processed.saturating_add(columns.next()??);
            sum.dropped = sum.dropped.saturating_add(columns.next()??);
            sum.squeezed = sum.squeezed.saturating_add(columns.next()??);
        }
        Some(sum)
    }

    /// A counter of `/proc/net/netstat`, such as `TcpExt` `ListenOverflows`.
    pub fn netstat(&self, section: &str, counter: &str) -> Option<u64> {
        let text = self.text("/proc/net/netstat")?;
        let prefix = format!("{section}:");
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(&prefix));
        let at = lines.next()?.split_whitespace().position(|name| name == counter)?;
        lines.next()?.split_whitespace().nth(at)?.parse().ok()
    }

    /// Whether there is swap space.
    pub fn has_swap(&self) -> bool {
        self.text("/proc/swaps").is_some_and(|text| text.lines().count() > 1)
    }

    /// Nodes of memory.
    pub fn memory_nodes(&self) -> usize {
        let is_node = |name: &String| name.strip_prefix("node").is_some_and(|n| n.parse::<u32>().is_ok());
        self.names("/sys/devices/system/node").iter().filter(|name| is_node(name)).count()
    }

    /// Whether a process of that name runs.
    pub fn runs(&self, program: &str) -> bool {
        let is_pid = |name: &String| name.bytes().all(|b| b.is_ascii_digit());
        let comm = |pid: &String| self.text(&format!("/proc/{pid}/comm"));
        self.names("/proc").iter().filter(|name| is_pid(name)).any(|pid| comm(pid).as_deref() == Some(program))
    }

    /// The container runtime around us, where its marks are there.
    pub fn container(&self) -> Option<&'static str> {
        let groups = self.text("/proc/1/cgroup").unwrap_or_default();
        if self.has("/var/run/secrets/kubernetes.io") || groups.contains("kubepods") {
            Some("Kubernetes")
        } else if self.has("/run/.containerenv") || groups.contains("libpod") {
            Some("Podman")
        } else if self.has("/.dockerenv") || groups.contains("docker") {
            Some("Docker")
        } else if groups.contains("containerd") || groups.contains("lxc") {
            Some("a container")
        } else {
            None
        }
    }
}

/// The file of a sysctl.
pub fn sysctl_path(name: &str) -> String {
    format!("/proc/sys/{}", name.replace('.', "/"))
}

/// What follows `name:` at the beginning of a line.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// Made-up hosts, shared with the tests of the binary.
#[cfg(test)]
#[path = "../../tests/support/tree.rs"]
pub mod tree;

#[cfg(test)]
impl tree::Tree {
    /// The tree as a host.
    pub fn host(&self) -> Host {
        Host::at(self.root())
    }
}

#[cfg(test)]
mod tests {
    use super::tree::Tree;
    use super::*;

    #[test]
    fn a_host_without_files_answers_nothing_and_does_not_panic() {
        let tree = Tree::empty();
        let host = tree.host();
        assert_eq!((host.kernel(), host.hard_limit("Max open files"), host.memory_available()), (None, None, None));
        assert_eq!((host.softnet(), host.netstat("TcpExt", "ListenDrops"), host.container()), (None, None, None));
        assert!(host.cpus().is_empty() && host.nics().is_empty() && !host.runs("irqbalance") && !host.has_swap());
        assert_eq!((host.page_bytes(), host.memory_nodes(), host.cpu_quota()), (4096, 0, None));
    }

    #[test]
    fn strange_files_answer_nothing() {
        let tree = Tree::empty();
        for file in [
            "/proc/self/limits",
            "/proc/meminfo",
            "/proc/net/softnet_stat",
            "/proc/net/netstat",
            "/sys/devices/system/cpu/online",
            "/proc/self/status",
        ] {
            tree.write(file, "Max open files\nMemAvailable: many\nTcpExt: ListenDrops\nzz\n\u{0}\n");
        }
        let host = tree.host();
        assert_eq!((host.hard_limit("Max open files"), host.memory_available(), host.softnet()), (None, None, None));
        assert_eq!(host.netstat("TcpExt", "ListenDrops"), None);
        assert!(host.cpus().is_empty());
    }

    #[test]
    fn limits_counters_and_parameters_are_read() {
        let tree = Tree::good();
        tree.write("/proc/cmdline", "quiet isolcpus=2-3 nohz");
        tree.write("/proc/net/softnet_stat", "0a 01 02 00\n01 01 00 00\n");
        tree.write("/proc/net/netstat", "TcpExt: A ListenDrops B\nTcpExt: 1 7 3\nIpExt: A\nIpExt: 9\n");
        let host = tree.host();
        assert_eq!(host.hard_limit("Max open files"), Some(1 << 20));
        assert_eq!(host.hard_limit("Max locked memory"), Some(u64::MAX));
        assert_eq!(host.boot_parameter("isolcpus").as_deref(), Some("2-3"));
        assert_eq!(host.boot_parameter("nohz").as_deref(), Some(""));
        assert_eq!(host.boot_parameter("nohz_full"), None);
        assert_eq!(host.softnet(), Some(Softnet { processed: 11, dropped: 2, squeezed: 2 }));
        assert_eq!(host.netstat("TcpExt", "ListenDrops"), Some(7));
        assert_eq!(host.netstat("IpExt", "A"), Some(9));
    }
}
