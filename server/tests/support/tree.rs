//! Job: hosts made up of files in a temporary directory, to be read, tuned and spoiled.
//! Knows: what `/proc` and `/sys` look like. Must never know: who reads them.
#![allow(dead_code)]

use std::fs;
use std::path::{Path, PathBuf};

/// A directory with a made-up `/proc`, `/sys` and `/etc`. Removed when dropped.
pub struct Tree {
    directory: tempfile::TempDir,
}

/// Columns as the kernel writes them.
const LIMITS: &str = "\
Limit                     Soft Limit           Hard Limit           Units     
Max locked memory         unlimited            unlimited            bytes     
Max open files            1024                 1048576              files     
";

/// Sysctls of a host that has all it needs.
const GOOD: [(&str, &str); 26] = [
    ("kernel/osrelease", "6.18.4-generic"),
    ("kernel/io_uring_disabled", "0"),
    ("kernel/random/boot_id", "11111111-2222-3333-4444-555555555555"),
    ("net/core/somaxconn", "4096"),
    ("net/core/netdev_max_backlog", "16384"),
    ("net/core/netdev_budget", "600"),
    ("net/core/busy_poll", "0"),
    ("net/core/busy_read", "0"),
    ("net/core/rmem_max", "212992"),
    ("net/core/wmem_max", "212992"),
    ("net/core/rps_sock_flow_entries", "0"),
    ("net/ipv4/tcp_max_syn_backlog", "4096"),
    ("net/ipv4/tcp_syncookies", "1"),
    ("net/ipv4/tcp_mem", "381243\t508327\t762486"),
    ("net/ipv4/tcp_wmem", "4096\t16384\t4194304"),
    ("net/ipv4/tcp_rmem", "4096\t131072\t6291456"),
    ("net/ipv4/tcp_slow_start_after_idle", "0"),
    ("net/ipv4/tcp_notsent_lowat", "4294967295"),
    ("net/ipv4/tcp_congestion_control", "cubic"),
    ("net/ipv4/ip_local_port_range", "10240\t65535"),
    ("net/netfilter/nf_conntrack_max", "262144"),
    ("net/netfilter/nf_conntrack_count", "12"),
    ("fs/nr_open", "1048576"),
    ("fs/file-max", "9223372036854775807"),
    ("vm/swappiness", "60"),
    ("vm/nr_hugepages", "0"),
];

impl Tree {
    /// No file at all.
    pub fn empty() -> Self {
        Tree { directory: tempfile::tempdir().expect("a temporary directory") }
    }

    /// Eight CPUs, 32 GiB, one interface of eight queues: nothing is wrong with it.
    pub fn good() -> Self {
        let tree = Self::empty();
        for (path, value) in GOOD {
            tree.write(&format!("/proc/sys/{path}"), &format!("{value}\n"));
        }
        tree.write("/proc/self/limits", LIMITS);
        tree.write("/proc/self/status", "Name:\tfanwire\nSeccomp:\t0\nCpus_allowed_list:\t0-7\n");
        tree.write("/proc/self/cgroup", "0::/\n");
        tree.write("/proc/1/cgroup", "0::/init.scope\n");
        tree.write("/proc/meminfo", "MemTotal:       33554432 kB\nMemAvailable:   31457280 kB\n");
        tree.write("/proc/cmdline", "quiet\n");
        tree.write("/proc/swaps", "Filename Type Size Used Priority\n");
        tree.write("/proc/net/softnet_stat", &"0000ffff 00000000 00000000 00000000\n".repeat(8));
        tree.write(
            "/proc/net/netstat",
            "TcpExt: ListenOverflows ListenDrops TCPMemoryPressures\nTcpExt: 0 0 0\nIpExt: InNoRoutes\nIpExt: 0\n",
        );
        tree.write("/sys/devices/system/cpu/online", "0-7\n");
        tree.write("/sys/devices/system/node/node0/cpulist", "0-7\n");
        for cpu in 0..8 {
            let at = format!("/sys/devices/system/cpu/cpu{cpu}/cpufreq");
            tree.write(&format!("{at}/scaling_governor"), "performance\n");
            tree.write(&format!("{at}/scaling_available_governors"), "performance powersave\n");
        }
        tree.write("/sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n");
        tree.write("/sys/devices/system/clocksource/clocksource0/available_clocksource", "tsc hpet acpi_pm\n");
        tree.write("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
        tree.write("/sys/class/net/lo/queues/rx-0/rps_cpus", "00\n");
        let mut interrupts = "           CPU0       CPU1\n".to_owned();
        for queue in 0..8 {
            let irq = 40 + queue;
            tree.write(&format!("/sys/class/net/eth0/queues/rx-{queue}/rps_cpus"), "00\n");
            tree.write(&format!("/sys/class/net/eth0/queues/rx-{queue}/rps_flow_cnt"), "0\n");
            tree.write(&format!("/sys/class/net/eth0/queues/tx-{queue}/xps_cpus"), &format!("{:02x}\n", 1 << queue));
            tree.write(&format!("/sys/class/net/eth0/device/msi_irqs/{irq}"), "msix\n");
            tree.write(&format!("/proc/irq/{irq}/smp_affinity_list"), &format!("{queue}\n"));
            interrupts += &format!(" {irq}:          1          0  PCI-MSIX  {queue}-edge      eth0-TxRx-{queue}\n");
        }
        tree.write("/sys/class/net/eth0/device/msi_irqs/39", "msix\n");
        tree.write("/proc/irq/39/smp_affinity_list", "0-7\n");
        interrupts += "  39:          1          0  PCI-MSIX  8-edge      eth0-config\n";
        tree.write("/proc/interrupts", &interrupts);
        tree
    }

    /// The same, badly set up: small tables, few descriptors, an old kernel that drops packets.
    pub fn bad() -> Self {
        let tree = Self::good();
        for (path, value) in [
            ("kernel/osrelease", "5.15.0-91-generic"),
            ("kernel/io_uring_disabled", "2"),
            ("net/core/somaxconn", "128"),
            ("net/core/netdev_max_backlog", "1000"),
            ("net/ipv4/tcp_syncookies", "0"),
            ("net/ipv4/tcp_max_syn_backlog", "512"),
            ("net/ipv4/tcp_slow_start_after_idle", "1"),
            ("net/ipv4/tcp_mem", "1000\t2000\t3000"),
            ("net/netfilter/nf_conntrack_max", "16384"),
            ("net/netfilter/nf_conntrack_count", "16000"),
            ("fs/file-max", "20000"),
            ("fs/nr_open", "20000"),
        ] {
            tree.write(&format!("/proc/sys/{path}"), &format!("{value}\n"));
        }
        tree.write(
            "/proc/self/limits",
            &LIMITS
                .replace("1048576", "1024   ")
                .replace("unlimited            unlimited", "65536                65536    "),
        );
        tree.write("/proc/self/status", "Seccomp:\t2\nCpus_allowed_list:\t0-7\n");
        tree.write("/proc/self/cgroup", "0::/kubepods/pod1\n");
        tree.write("/proc/1/cgroup", "0::/kubepods/pod1\n");
        tree.write("/sys/fs/cgroup/kubepods/pod1/cpu.max", "200000 100000\n");
        tree.write("/sys/fs/cgroup/kubepods/pod1/cpu.stat", "nr_throttled 77\n");
        tree.write("/sys/fs/cgroup/kubepods/pod1/memory.max", "104857600\n");
        tree.write("/sys/fs/cgroup/kubepods/pod1/memory.current", "1048576\n");
        tree.write("/proc/net/softnet_stat", &"0000ffff 00000010 00000020 00000000\n".repeat(8));
        tree.write(
            "/proc/net/netstat",
            "TcpExt: ListenOverflows ListenDrops TCPMemoryPressures\nTcpExt: 5 6 7\nIpExt: InNoRoutes\nIpExt: 0\n",
        );
        for cpu in 0..8 {
            tree.write(&format!("/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor"), "powersave\n");
        }
        tree.write("/sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet\n");
        tree.write("/sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n");
        tree
    }

    /// The directory that stands for `/`.
    pub fn root(&self) -> &Path {
        self.directory.path()
    }

    /// Where a path of the host is.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root().join(path.trim_start_matches('/'))
    }

    /// Writes a file, and the directories above it.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, text).expect("a file");
    }

    /// A file's text without surrounding blanks.
    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|e| panic!("{path}: {e}")).trim().to_owned()
    }

    /// Whether there is such a file.
    pub fn has(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// Removes a file.
    pub fn remove(&self, path: &str) {
        fs::remove_file(self.path(path)).expect("a file that was there");
    }

    /// Puts a file in the place of another that can be read (it says a small number), but that nobody may write, root neither.
    pub fn make_unwritable(&self, path: &str) {
        self.remove(path);
        std::os::unix::fs::symlink("/sys/class/net/lo/ifindex", self.path(path)).expect("a link");
    }

    /// Every file and what it says, for comparisons.
    pub fn all_files(&self) -> Vec<(PathBuf, String)> {
        let (mut files, mut directories) = (Vec::new(), vec![self.root().to_owned()]);
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).expect("a directory").flatten() {
                let path = entry.path();
                if path.is_dir() {
                    directories.push(path);
                } else {
                    let text = fs::read_to_string(&path).expect("text");
                    files.push((path, text));
                }
            }
        }
        files.sort();
        files
    }
}
