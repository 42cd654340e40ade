//! Job: what the doctor looks at besides the knobs: kernel, container, CPUs, memory, queues, and traces of past trouble.
//! Knows: hosts and plans. Must never know: how findings are shown.

use super::finding::{Finding, Level};
use crate::host::Host;
use crate::tune::plan::{IoUring, Plan, version};
use crate::units::{bytes_for_people, grouped};

/// The group of findings that are no knobs.
const HOST: &str = "host";
/// The group of traces that past trouble has left.
const TRACES: &str = "traces";
/// Kernel memory of an idle connection's end: socket, inode, file.
const SOCKET_BYTES: u64 = 3_650;

/// All of it, in the order in which it is told.
pub fn all(host: &Host, plan: &Plan) -> Vec<Finding> {
    let mut findings = vec![kernel(host), io_uring(plan), container(host), seccomp(host, plan), cpus(host, plan)];
    findings.extend(quota(host, plan));
    findings.push(memory(host, plan));
    findings.extend(queues(host, plan));
    findings.push(budgets());
    findings.extend(traces(host));
    findings
}

/// Which latency budgets to take: a property of what is sent, which no file of the host tells.
fn budgets() -> Finding {
    let wanted = "16 ms for pages that draw, 100 ms for tables, none for alarms (deliver_within, max_delay_ms)";
    Finding::ok("latency-budget", HOST, "by topic and subscription", wanted)
}

fn unknown(id: &str, group: &'static str, file: &str, wanted: &str) -> Finding {
    Finding::ok(id, group, format!("{file} cannot be read"), wanted).at(Level::Unknown, "", "")
}

fn kernel(host: &Host) -> Finding {
    const WANTED: &str = "6.1 or later";
    let Some(release) = host.kernel() else {
        return unknown("kernel", HOST, "/proc/sys/kernel/osrelease", WANTED);
    };
    let finding = Finding::ok("kernel", HOST, &release, WANTED);
    match version(&release) {
        Some(found) if found >= fanwire::KERNEL_NEEDED => finding,
        Some(_) => finding.at(
            Level::Advice,
            "io_uring; until then the engine runs on epoll",
            "Linux 6.1 or later, for example Debian 12, Ubuntu 24.04, RHEL 10",
        ),
        None => finding.at(Level::Unknown, "", ""),
    }
}

fn io_uring(plan: &Plan) -> Finding {
    let finding = |now: String| Finding::ok("io_uring", HOST, now, "works");
    match &plan.io_uring {
        IoUring::Works => finding("works (tried)".to_owned()),
        IoUring::NotTried if !plan.is_uring() => Finding::ok("io_uring", HOST, "not asked for", "--driver epoll"),
        IoUring::NotTried => finding("not tried".to_owned()).at(Level::Unknown, "", ""),
        IoUring::Refused { cause, fix } => {
            // Who asks for io_uring alone gets no engine at all.
            let is_needed = plan.driver == fanwire::DriverChoice::Uring;
            finding("refused".to_owned()).at(
                if is_needed { Level::Problem } else { Level::Advice },
                format!(
                    "a table of descriptors for each shard, and a few percent of CPU; until then the engine runs on epoll. Cause: {cause}"
                ),
                fix,
            )
        }
    }
}

fn container(host: &Host) -> Finding {
    match host.container() {
        Some(name) => Finding::ok("container", HOST, name, "host-wide settings are to be made outside"),
        None => Finding::ok("container", HOST, "none seen", ""),
    }
}

fn seccomp(host: &Host, plan: &Plan) -> Finding {
    let wanted = "a filter that allows io_uring, or none";
    match host.status("Seccomp").as_deref() {
        Some("0") => Finding::ok("seccomp", HOST, "no filter", wanted),
        Some("2") if plan.io_uring == IoUring::Works => Finding::ok("seccomp", HOST, "a filter that allows it", wanted),
        Some("2") if plan.is_uring() => Finding::ok("seccomp", HOST, "a filter", wanted).at(Level::Unknown, "", ""),
        Some("2") if plan.driver == fanwire::DriverChoice::Epoll => Finding::ok("seccomp", HOST, "a filter", "any"),
        Some("2") => Finding::ok("seccomp", HOST, "a filter", wanted).at(
            Level::Advice,
            "io_uring, where the filter is what refuses it (the default profiles of Docker and containerd do)",
            "tuning/seccomp/fanwire.json: docker run --security-opt seccomp=fanwire.json, or Kubernetes' seccompProfile Localhost",
        ),
        Some(other) => Finding::ok("seccomp", HOST, format!("mode {other}"), wanted).at(Level::Unknown, "", ""),
        None => unknown("seccomp", HOST, "/proc/self/status", wanted),
    }
}

fn cpus(host: &Host, plan: &Plan) -> Finding {
    let (usable, online) = (host.usable_cpus().len(), host.cpus().len());
    if usable == 0 {
        return unknown("cpus", HOST, "/proc/self/status", "one for each shard");
    }
    let now = if usable == online { format!("{usable}") } else { format!("{usable} of {online} may be used") };
    let finding = Finding::ok("cpus", HOST, now, format!("one for each of {} shards", plan.shards));
    if plan.shards <= usable {
        return finding;
    }
    finding.at(
        Level::Advice,
        "shards that share a CPU wait for each other, and spin in each other's time",
        format!("--shards {usable}, or allow this process more CPUs"),
    )
}

/// Nothing where there is no quota.
fn quota(host: &Host, plan: &Plan) -> Option<Finding> {
    let quota = host.cpu_quota()?;
    let throttled = host.throttled_periods().unwrap_or(0);
    let now = format!("{quota:.1} CPUs, throttled {} times", grouped(throttled));
    let finding = Finding::ok("cpu.quota", HOST, now, format!("at least {} CPUs, never throttled", plan.shards));
    if quota >= plan.shards as f64 && throttled == 0 {
        return Some(finding);
    }
    Some(finding.at(
        Level::Advice,
        "a throttled shard stands still for up to 100 ms, and everybody's messages with it",
        "raise or remove the limit of CPU (Kubernetes: limits.cpu; systemd: CPUQuota=), or plan fewer shards",
    ))
}

fn memory(host: &Host, plan: &Plan) -> Finding {
    let people = |bytes: u64| bytes_for_people(bytes as f64);
    let Some(engine) = plan.engine_bytes() else {
        return Finding::ok(
            "memory",
            HOST,
            "-",
            "a plan that an engine can have (shards 1 to 64, connections to 16 million)",
        )
        .at(Level::Problem, "an engine that starts", "plan fewer shards, or fewer connections");
    };
    let sockets = u64::from(plan.connections) * SOCKET_BYTES;
    let wanted =
        format!("{} for the engine at most, and {} for sockets in the kernel", people(engine), people(sockets));
    let Some(available) = host.memory_available() else {
        return unknown("memory", HOST, "/proc/meminfo", &wanted);
    };
    let finding = Finding::ok("memory", HOST, format!("{} available", people(available)), wanted);
    match (engine > available, engine.saturating_add(sockets) > available) {
        (true, _) => finding.at(
            Level::Problem,
            "an engine that starts: it refuses a sum that does not fit, with exit code 78",
            "more memory, a higher limit of the control group, or smaller --pool-bytes, --payload-bytes, --max-cursors",
        ),
        (false, true) => finding.at(
            Level::Advice,
            "room for the kernel's part when all have connected",
            "more memory, fewer connections, or smaller --pool-bytes and --payload-bytes",
        ),
        (false, false) => finding,
    }
}

/// One finding for each NIC.
fn queues(host: &Host, plan: &Plan) -> Vec<Finding> {
    let of = |nic: &crate::host::Nic| {
        let (id, queues) = (format!("queues.{}", nic.name), nic.rx_queues.len());
        let now = format!("{queues} receive queue{}", if queues == 1 { "" } else { "s" });
        let finding = Finding::ok(id, HOST, now, format!("one for each of {} shards", plan.shards));
        if queues >= plan.shards {
            return finding;
        }
        finding.at(
            Level::Advice,
            "received packets on more CPUs than one, where many clients are on other hosts; none for clients on this one",
            format!(
                "ethtool -L {} combined {} where the NIC has as many (ethtool -l); else try, and measure: sudo fanwire tune apply {}",
                nic.name,
                plan.shards,
                super::FOR_QUEUES.join(" ")
            ),
        )
    };
    host.nics().iter().map(of).collect()
}

/// What counters say has already gone wrong since the host was started.
fn traces(host: &Host) -> Vec<Finding> {
    let trace = |id: &str, count: Option<u64>, file: &str, gain: &str, fix: &str| match count {
        None => unknown(id, TRACES, file, "0"),
        Some(0) => Finding::ok(id, TRACES, "0", "0"),
        Some(count) => {
            Finding::ok(id, TRACES, format!("{} since start-up", grouped(count)), "0").at(Level::Advice, gain, fix)
        }
    };
    let softnet = host.softnet();
    let mut findings = vec![
        trace(
            "listen.drops",
            host.netstat("TcpExt", "ListenDrops"),
            "/proc/net/netstat",
            "connections (to any program of this host) that did not have to try again",
            "net.core.somaxconn; more shards accept faster",
        ),
        trace(
            "backlog.drops",
            softnet.map(|softnet| softnet.dropped),
            "/proc/net/softnet_stat",
            "packets that did not have to be sent again after 200 ms or more",
            "sudo fanwire tune apply net.core.netdev_max_backlog",
        ),
        trace(
            "tcp.memory_pressure",
            host.netstat("TcpExt", "TCPMemoryPressures"),
            "/proc/net/netstat",
            "TCP that sends as fast as it can",
            "net.ipv4.tcp_mem; smaller --max-unsent-bytes",
        ),
    ];
    if let Some(most) = host.number("/proc/sys/net/netfilter/nf_conntrack_max") {
        let used = host.number("/proc/sys/net/netfilter/nf_conntrack_count");
        let now = used.map_or("unknown".to_owned(), |used| format!("{} of {}", grouped(used), grouped(most)));
        let finding = Finding::ok("conntrack.fill", TRACES, now, "below 80 %");
        findings.push(match used {
            None => finding.at(Level::Unknown, "", ""),
            Some(used) if used.saturating_mul(5) > most.saturating_mul(4) => finding.at(
                Level::Problem,
                "packets of new connections that are not dropped",
                "raise net.netfilter.nf_conntrack_max, or do not track the port (nft: notrack)",
            ),
            Some(_) => finding,
        });
    }
    findings
}
