//! What /proc says about a process and the host's TCP memory.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Context, Result, bail};

/// Memory of a process, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Proportional set size.
    pub pss: u64,
    /// Resident set size.
    pub rss: u64,
    /// The anonymous part of the proportional set size: heap, stacks, pools.
    pub pss_anon: u64,
}

/// Memory of `pid` from `smaps_rollup`.
///
/// # Errors
/// When the process is gone or not ours.
pub fn memory(pid: u32) -> Result<Memory> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).context(path)?;
    let bytes = |key: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(':')?.trim().strip_suffix(" kB")?.parse::<u64>().ok())
            .map_or(0, |kib| kib * 1024)
    };
    Ok(Memory { pss: bytes("Pss"), rss: bytes("Rss"), pss_anon: bytes("Pss_Anon") })
}

/// What a process holds besides memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Open descriptors (those in an io_uring's own table are none of the process).
    pub descriptors: u64,
    /// Threads, without the kernel's own workers for its rings, of which some stay.
    pub threads: u64,
}

/// What `pid` holds.
///
/// # Errors
/// When the process is gone or not ours.
pub fn held(pid: u32) -> Result<Held> {
    let entries = |name: &str| {
        let folder = format!("/proc/{pid}/{name}");
        Ok::<_, anyhow::Error>(fs::read_dir(&folder).context(folder)?.flatten())
    };
    let is_own = |task: &fs::DirEntry| {
        let name = fs::read_to_string(task.path().join("comm"));
        name.is_ok_and(|name| !name.starts_with("iou-"))
    };
    let threads = entries("task")?.filter(is_own).count() as u64;
    Ok(Held { descriptors: entries("fd")?.count() as u64, threads })
}

/// TCP sockets (IPv4) of this network namespace whose own address is a server's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sockets {
    /// Established, from anywhere.
    pub established: u64,
    /// Established, from the address that was asked for.
    pub from_peer: u64,
    /// On their way out: what the kernel still tries to get rid of. (TIME_WAIT, which holds nothing, is not counted.)
    pub ending: u64,
}

/// Counts the sockets of the server at `own`, at any address of this host where that names none, and those that are connected with
/// `peer`. (At another address of this host the same port may be any client's.)
///
/// # Errors
/// When `/proc/net/tcp` is not as it should be.
pub fn sockets(own: SocketAddrV4, peer: Ipv4Addr) -> Result<Sockets> {
    count_sockets(&fs::read_to_string("/proc/self/net/tcp")?, own, peer)
}

fn count_sockets(table: &str, server: SocketAddrV4, peer: Ipv4Addr) -> Result<Sockets> {
    let mut sockets = Sockets::default();
    for line in table.lines().skip(1) {
        let Some((own, other, state)) = tcp_line(line) else { bail!("no line of /proc/net/tcp: {line}") };
        match state {
            _ if own.1 != server.port() => {}
            _ if !server.ip().is_unspecified() && own.0 != *server.ip() => {}
            1 => {
                sockets.established += 1;
                sockets.from_peer += u64::from(other.0 == peer);
            }
            // All but TIME_WAIT, CLOSE and LISTEN.
            2..=5 | 8 | 9 | 11 => sockets.ending += 1,
            _ => {}
        }
    }
    Ok(sockets)
}

type Address = (Ipv4Addr, u16);

/// `sl: ADDRESS:PORT ADDRESS:PORT STATE …`, all hexadecimal, the addresses as they lie in memory.
fn tcp_line(line: &str) -> Option<(Address, Address, u8)> {
    let mut words = line.split_whitespace().skip(1);
    let mut address = || {
        let (ip, port) = words.next()?.split_once(':')?;
        let ip = u32::from_str_radix(ip, 16).ok()?.to_ne_bytes();
        Some((Ipv4Addr::from(ip), u16::from_str_radix(port, 16).ok()?))
    };
    let (own, other) = (address()?, address()?);
    Some((own, other, u8::from_str_radix(words.next()?, 16).ok()?))
}

/// Nanoseconds that all living threads of `pid` have been on a CPU, kernel workers of its rings included.
///
/// # Errors
/// When the process is gone.
pub fn cpu_ns(pid: u32) -> Result<u64> {
    let folder = format!("/proc/{pid}/task");
    let mut sum = 0;
    for task in fs::read_dir(&folder).with_context(|| folder.clone())? {
        // A thread may end meanwhile.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        sum += text.split_whitespace().next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(sum)
}

/// Nanoseconds that the threads of `pid` whose names begin so have been on a CPU.
///
/// # Errors
/// When the process is gone, or has no such thread.
pub fn named_cpu_ns(pid: u32, name: &str) -> Result<u64> {
    let folder = format!("/proc/{pid}/task");
    let mut found = None;
    for task in fs::read_dir(&folder).with_context(|| folder.clone())?.flatten() {
        let is_meant = fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.starts_with(name));
        if let Some(tid) = task.file_name().to_str().and_then(|tid| tid.parse().ok()).filter(|_| is_meant) {
            found = Some(found.unwrap_or(0) + thread_cpu_ns(pid, tid)?);
        }
    }
    found.with_context(|| format!("process {pid} has no thread {name}…"))
}

/// Nanoseconds that one thread of `pid` has been on a CPU.
///
/// # Errors
/// When it is gone.
pub fn thread_cpu_ns(pid: u32, tid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/task/{tid}/schedstat");
    let text = fs::read_to_string(&path).context(path)?;
    text.split_whitespace().next().and_then(|ns| ns.parse().ok()).context("an empty schedstat")
}

/// Nanoseconds that the kernel's own threads for postponed network work have been on these CPUs: on a busy CPU a part of what sending
/// costs is done there. 0 where they cannot be seen.
pub fn softirq_threads_ns(cpus: &[usize]) -> u64 {
    static PIDS: std::sync::OnceLock<Vec<(usize, u32)>> = std::sync::OnceLock::new();
    let pids = PIDS.get_or_init(|| {
        let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.filter_map(|pid| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
            Some((name.trim().strip_prefix("ksoftirqd/")?.parse().ok()?, pid))
        })
        .collect()
    });
    let of = |pid: &u32| thread_cpu_ns(*pid, *pid).unwrap_or(0);
    pids.iter().filter(|(cpu, _)| cpus.contains(cpu)).map(|(_, pid)| of(pid)).sum()
}

/// Nanoseconds of CPU time of this process and its children, those included that have ended and been waited for.
///
/// # Errors
/// When /proc is not as it should be.
pub fn own_cpu_ns() -> Result<u64> {
    let mut sum = cpu_ns(std::process::id())?;
    for task in fs::read_dir("/proc/self/task")? {
        let children = fs::read_to_string(task?.path().join("children")).unwrap_or_default();
        for pid in children.split_whitespace().filter_map(|pid| pid.parse().ok()) {
            sum += cpu_ns(pid).unwrap_or(0);
        }
    }
    let stat = fs::read_to_string("/proc/self/stat")?;
    // After the name in brackets: state is field 3, cutime and cstime are 16 and 17, in hundredths of a second.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ended: u64 = fields.skip(13).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Ok(sum + ended * 10_000_000)
}

/// Nanoseconds of CPU time that everything on the host has used, what a hypervisor took away included.
///
/// # Errors
/// When `/proc/stat` is not as it should be.
pub fn host_cpu_ns() -> Result<u64> {
    let text = fs::read_to_string("/proc/stat")?;
    let line = text.lines().next().and_then(|line| line.strip_prefix("cpu ")).context("no cpu line in /proc/stat")?;
    let ticks: Vec<u64> = line.split_whitespace().filter_map(|ticks| ticks.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guest time is part of user.
    let busy: u64 = ticks.iter().take(8).enumerate().filter(|(i, _)| ![3, 4].contains(i)).map(|(_, ticks)| ticks).sum();
    Ok(busy * 10_000_000)
}

/// This host in words: processor, how many of them, kernel.
pub fn host() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1)).unwrap_or("?");
    let count = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{count} x {model}, Linux {}, fanwire-perf {}", kernel.trim(), env!("CARGO_PKG_VERSION"))
}

/// Bytes of kernel memory that all TCP sockets of the host hold (accounted in pages, per-CPU reserves included).
///
/// # Errors
/// When `/proc/net/sockstat` is not as it should be.
pub fn tcp_memory() -> Result<u64> {
    let text = fs::read_to_string("/proc/net/sockstat")?;
    let line = text.lines().find(|line| line.starts_with("TCP:")).context("no TCP line in sockstat")?;
    let mut words = line.split_whitespace();
    words.find(|word| *word == "mem").context("no mem in sockstat")?;
    let pages: u64 = words.next().context("no number in sockstat")?.parse()?;
    Ok(pages * page_bytes()?)
}

fn page_bytes() -> Result<u64> {
    let text = fs::read_to_string("/proc/self/smaps")?;
    let line = text.lines().find_map(|line| line.strip_prefix("KernelPageSize:")).context("no page size in smaps")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

/// Kernel memory of some sockets.
#[derive(Clone, Copy, Debug, Default)]
pub struct SocketMemory {
    /// Sockets seen.
    pub sockets: u64,
    /// Bytes of receive queues, overhead included.
    pub receive: u64,
    /// Bytes of send queues, overhead included.
    pub send: u64,
}

/// One end of the connections to a server on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The sockets whose own port is the server's.
    Server,
    /// The sockets whose peer's port is the server's.
    Client,
}

/// Memory of the `top` fullest established sockets at one end of the connections to `port`, from `ss -tmn`.
/// `None` where `ss` (iproute2) is missing.
pub fn socket_memory(end: End, port: u16, top: usize) -> Option<SocketMemory> {
    let port = match end {
        End::Server => format!("sport = :{port}"),
        End::Client => format!("dport = :{port}"),
    };
    let output = std::process::Command::new("ss").args(["-tmnH", "state", "established", &port]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut sizes: Vec<(u64, u64)> = text.split("skmem:(").skip(1).map(skmem).collect();
    sizes.sort_by_key(|(receive, send)| std::cmp::Reverse(receive + send));
    sizes.truncate(top);
    Some(SocketMemory {
        sockets: sizes.len() as u64,
        receive: sizes.iter().map(|(receive, _)| receive).sum(),
        send: sizes.iter().map(|(_, send)| send).sum(),
    })
}

/// `r123,rb…,t45,tb…,f…,w678,o…,bl…,d…)`: allocated for receiving, and queued for sending.
fn skmem(text: &str) -> (u64, u64) {
    let fields = text.split(')').next().unwrap_or_default();
    let value =
        |name: &str| fields.split(',').find_map(|field| field.strip_prefix(name)?.parse::<u64>().ok()).unwrap_or(0);
    (value("r"), value("w"))
}

/// Pins the calling thread, and what it starts, to one CPU.
///
/// # Errors
/// When the CPU is not ours.
pub fn pin_to(cpu: usize) -> Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    rustix::thread::sched_setaffinity(None, &set).with_context(|| format!("pinning to CPU {cpu}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skmem_reads_what_ss_prints() {
        assert_eq!(skmem("r2304,rb131072,t0,tb2626560,f1792,w6656,o0,bl0,d0)\n"), (2304, 6656));
    }

    #[test]
    fn sockets_are_counted_by_port_state_and_peer() {
        let line = |own: &str, other: &str, state: &str| {
            format!("   1: {own} {other} {state} 00000000:00000000 00:00000000 00000000     0        0 1 1\n")
        };
        let (own, peer) = ("0100007F:2329", "02004D0A:D431");
        let at = tcp_line(&line(own, peer, "01"));
        let other = Ipv4Addr::new(10, 77, 0, 2);
        assert_eq!(at, Some(((Ipv4Addr::LOCALHOST, 0x2329), (other, 0xd431), 1)));
        let table = [
            "  sl  local_address rem_address   st\n".to_owned(),
            line(own, "00000000:0000", "0A"),
            line(own, peer, "01"),
            line(own, "0100007F:D431", "01"),
            line("0100007F:232A", peer, "01"),
            line("0101FA7F:2329", peer, "01"),
            line(own, peer, "05"),
            line(own, peer, "06"),
        ];
        let count = |own: Ipv4Addr| {
            let sockets = count_sockets(&table.concat(), SocketAddrV4::new(own, 0x2329), other).unwrap();
            (sockets.established, sockets.from_peer, sockets.ending)
        };
        assert_eq!(count(Ipv4Addr::LOCALHOST), (2, 1, 1));
        assert_eq!(count(Ipv4Addr::UNSPECIFIED), (3, 2, 1));
        assert!(count_sockets("head\nno line", SocketAddrV4::new(other, 0x2329), other).is_err());
    }

    /// Another socket may have the same port: one of an earlier listener, or at another address.
    #[test]
    fn an_open_socket_is_among_those_that_are_counted() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let _client = std::net::TcpStream::connect(addr).unwrap();
        let own = SocketAddrV4::new(Ipv4Addr::LOCALHOST, addr.port());
        let sockets = sockets(own, Ipv4Addr::LOCALHOST).unwrap();
        assert!(sockets.established >= 1 && sockets.from_peer >= 1);
        assert!(held(std::process::id()).unwrap().descriptors >= 3);
    }

    #[test]
    fn this_process_has_memory_and_has_used_a_cpu() {
        let memory = memory(std::process::id()).unwrap();
        assert!(memory.pss > 0 && memory.rss >= memory.pss);
        assert!(cpu_ns(std::process::id()).unwrap() > 0);
        assert!(own_cpu_ns().unwrap() > 0);
        assert!(host_cpu_ns().unwrap() > own_cpu_ns().unwrap());
        tcp_memory().unwrap();
    }
}
