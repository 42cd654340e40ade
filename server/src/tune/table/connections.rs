//! Job: knobs of how many may connect, and how fast.
//! Knows: what the engine asks of the kernel for a connection. Must never know: how a knob is turned.

use crate::host::Host;
use crate::tune::knob::{Group, Knob, Place, Standing};
use crate::tune::plan::Plan;
use crate::tune::want::Want;

/// What the engine passes to `listen`, for each shard and address.
const BACKLOG: u64 = 4096;
/// Descriptors that a host keeps for everything else.
const OTHER_FILES: u64 = 65_536;
/// Kernel memory that a subscriber who stops reading takes: both ends of the bound that the engine sets, with overhead.
const STALLED_BYTES: u64 = 64 << 10;

pub const KNOBS: [Knob; 11] = [
    Knob {
        id: "nofile",
        group: Group::Connections,
        standing: Standing::Needed,
        rule: "hard limit at least what `fanwire serve --max-connections N` needs: N / shards + 64 with io_uring, N + 128 with epoll",
        why: "Every connection is an open file; io_uring's table of direct descriptors is bounded by the same limit, for each shard. \
              The binary raises its soft limit to the hard one by itself.",
        gain: "The planned number of connections; fewer are refused at start with exit code 78.",
        danger: "None worth naming: a table of a million costs memory only as it fills.",
        measure: "fanwire-perf run connections-38k",
        place: Place::Limit("Max open files", |_, plan| Want::AtLeast(vec![plan.open_files()])),
    },
    Knob {
        id: "memlock",
        group: Group::Connections,
        standing: Standing::Needed,
        rule: "with --lock-memory, and without CAP_IPC_LOCK, at least the memory sum; else left",
        why: "`fanwire serve --lock-memory` locks all memory, so that nothing is ever paged out.",
        gain: "--lock-memory starts at all.",
        danger: "Locked memory is taken from everybody else for good.",
        measure: "fanwire doctor --lock-memory",
        place: Place::Limit("Max locked memory", |host, plan| match (plan.lock_memory, plan.engine_bytes()) {
            (true, _) if may_lock(host) => Want::Leave("CAP_IPC_LOCK is above the limit".to_owned()),
            (true, Some(bytes)) => Want::AtLeast(vec![bytes]),
            _ => Want::Leave("only --lock-memory needs it".to_owned()),
        }),
    },
    Knob {
        id: "fs.nr_open",
        group: Group::Connections,
        standing: Standing::Needed,
        rule: "at least the open files needed (see nofile)",
        why: "No process's limit of open files can be raised above it.",
        gain: "Limits above 1,048,576; below that the kernel's default is enough.",
        danger: "None worth naming.",
        measure: "fanwire doctor --connections N",
        place: Place::Sysctl(|_, plan| Want::AtLeast(vec![plan.open_files()])),
    },
    Knob {
        id: "fs.file-max",
        group: Group::Connections,
        standing: Standing::Needed,
        rule: "at least the planned connections and 65,536 more",
        why: "The bound on open files of the whole host; direct descriptors count as well.",
        gain: "Accepts do not fail with ENFILE. Current kernels size it by memory, and systemd lifts it: rarely in the way.",
        danger: "An open file is kernel memory: about 3.7 KB for an idle connection.",
        measure: "cat /proc/sys/fs/file-nr",
        place: Place::Sysctl(|_, plan| Want::AtLeast(vec![u64::from(plan.connections) + OTHER_FILES])),
    },
    Knob {
        id: "net.core.somaxconn",
        group: Group::Connections,
        standing: Standing::Needed,
        rule: "at least 4,096, which is the backlog that the engine asks for; more gains nothing",
        why: "Bounds the connections that wait to be accepted, for each listening socket (one a shard and address). What does not fit is \
              dropped, and that client tries again after a second, then after more.",
        gain: "A crowd that comes back at once is accepted at once: of 10,000 that did, on loopback, with 128 four were dropped in one storm of two, which took \
               4.3 s instead of 0.2 s. 4,096 has been the default since Linux 5.4.",
        danger: "None worth naming: a waiting connection is memory only while it waits.",
        measure: "fanwire-perf run connect-storm --set connecting=8000; nstat -az TcpExtListenOverflows",
        place: Place::Sysctl(|_, _| Want::AtLeast(vec![BACKLOG])),
    },
    Knob {
        id: "net.ipv4.tcp_max_syn_backlog",
        group: Group::Connections,
        standing: Standing::Sometimes,
        rule: "where net.ipv4.tcp_syncookies is 0, at least 4,096; else left",
        why: "Bounds half-open connections only where SYN cookies are off; with them the listener's backlog (net.core.somaxconn) is the bound.",
        gain: "Nothing with SYN cookies, which are on by default; without them, no SYN of a storm is dropped before the backlog is full.",
        danger: "Without SYN cookies a larger queue is a larger target.",
        measure: "fanwire-perf run connect-storm --set connecting=8000; nstat -az TcpExtTCPReqQFullDrop",
        place: Place::Sysctl(|host, _| match host.sysctl("net.ipv4.tcp_syncookies").as_deref() {
            Some("1" | "2") => Want::Leave("SYN cookies are on, so it decides nothing".to_owned()),
            _ => Want::AtLeast(vec![BACKLOG]),
        }),
    },
    Knob {
        id: "net.netfilter.nf_conntrack_max",
        group: Group::Connections,
        standing: Standing::Needed,
        rule: "where connections are tracked, at least twice the planned connections and never below 262,144",
        why: "A full table of tracked connections drops packets of new ones; ended ones stay in it for two minutes.",
        gain: "No drops with `nf_conntrack: table full` in the kernel's log. Not tracking the port at all (nft: `notrack`) also saves the \
               look-up for each packet.",
        danger: "About 300 bytes of kernel memory an entry.",
        measure: "cat /proc/sys/net/netfilter/nf_conntrack_count, while the crowd is connected",
        place: Place::Sysctl(|host, plan| match host.has("/proc/sys/net/netfilter/nf_conntrack_max") {
            true => Want::AtLeast(vec![(2 * u64::from(plan.connections)).max(262_144)]),
            false => Want::Leave("connections are not tracked here".to_owned()),
        }),
    },
    Knob {
        id: "net.ipv4.tcp_mem",
        group: Group::Connections,
        standing: Standing::Pays,
        rule: "third number (pages) at least 64 KiB for each planned connection, or a quarter of all memory if that is less; second at \
               least three quarters of it",
        why: "Above it TCP drops what arrives and sends small, for everybody. With the engine's bound on unsent bytes (--max-unsent-bytes) \
              a subscriber who stops reading holds about 60 KB at the server's end.",
        gain: "A crowd that stalls together does not slow the healthy. The default, about a tenth of memory, is enough for most.",
        danger: "Kernel memory that nothing else can have while subscribers stall.",
        measure: "fanwire-perf run slow-crowd; cat /proc/net/sockstat (mem, in pages); nstat -az TcpExtTCPMemoryPressures",
        place: Place::Sysctl(tcp_mem),
    },
    Knob {
        id: "net.ipv4.ip_local_port_range",
        group: Group::Connections,
        standing: Standing::Sometimes,
        rule: "on hosts that load is made from: 10240 to 65535 or more, where the planned connections exceed the present range; else left",
        why: "A client's ports: so many connections from one source address to one server's address and port. A server needs none, so this is \
              for the hosts of clients and load generators.",
        gain: "55,296 connections from one address instead of 28,232. Further source addresses give as many each: `fanwire-perf` uses those.",
        danger: "Servers on ports from 10240 on may find theirs taken at start: list them in net.ipv4.ip_local_reserved_ports.",
        measure: "fanwire-perf run connections-38k",
        place: Place::Sysctl(|host, plan| {
            let range = host.sysctl("net.ipv4.ip_local_port_range").unwrap_or_default();
            let bounds: Vec<u32> = range.split_whitespace().filter_map(|word| word.parse().ok()).collect();
            match bounds[..] {
                [low, high] if high.saturating_sub(low) >= plan.connections => {
                    Want::Leave("enough ports for so many connections from one address".to_owned())
                }
                _ => Want::Spanning(10_240, 65_535),
            }
        }),
    },
    Knob {
        id: "kernel.io_uring_disabled",
        group: Group::Connections,
        standing: Standing::Sometimes,
        rule: "0; written only where it is named, because it is a matter of the host's security policy",
        why: "1 allows io_uring to one group and to administrators, 2 to nobody: the engine then runs on epoll.",
        gain: "With io_uring each shard has its own table of descriptors, so that N shards hold N times the limit of open files; a delivery \
               costs a few percent less CPU.",
        danger: "io_uring is a large interface of the kernel, which is why some hosts forbid it.",
        measure: "fanwire-perf run px4 --set driver=uring, and with driver=epoll",
        place: Place::Sysctl(|_, _| Want::AtMost(0)),
    },
    Knob {
        id: "net.ipv4.tcp_notsent_lowat",
        group: Group::Connections,
        standing: Standing::Nothing,
        rule: "left",
        why: "The engine sets TCP_NOTSENT_LOWAT on its own sockets (--max-unsent-bytes, 16 KiB), which goes before the host's value.",
        gain: "Nothing for fanwire.",
        danger: "Programs that do not expect it may send slower.",
        measure: "ss -tnm 'sport = :9001', while a subscriber is stopped",
        place: Place::Sysctl(|_, _| Want::Leave("the engine sets its own for each socket".to_owned())),
    },
];

fn tcp_mem(host: &Host, plan: &Plan) -> Want {
    let page = host.page_bytes();
    let wanted = u64::from(plan.connections) * STALLED_BYTES / page;
    let Some(total) = host.meminfo("MemTotal") else {
        return Want::Leave("the host's memory is not known".to_owned());
    };
    let pages = wanted.min(total / 4 / page);
    Want::AtLeast(vec![0, pages / 4 * 3, pages])
}

/// Whether this process has CAP_IPC_LOCK.
fn may_lock(host: &Host) -> bool {
    const CAP_IPC_LOCK: u64 = 1 << 14;
    let capabilities = host.status("CapEff").and_then(|text| u64::from_str_radix(&text, 16).ok());
    capabilities.is_some_and(|capabilities| capabilities & CAP_IPC_LOCK != 0)
}
