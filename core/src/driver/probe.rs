//! Whether io_uring can be had, and in one line why not.
//!
//! The start-up test runs the real driver once around: set-up, direct descriptors, accept, poll, receive, send, close,
//! over a local socket, so that it needs no network. Takes about a millisecond. Knows where kernels, containers and
//! services forbid io_uring; must never know the engine.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::uring::{UringDriver, UringOptions};
use super::{Driver, DriverLimits, Event, SendBatch, SendResults, Sent, Slot, Wait};
use crate::sys::clock::monotonic_ns;
use crate::sys::limits::{locked_memory, open_files};

/// The oldest kernel whose rings can do what the driver needs (`IORING_SETUP_DEFER_TASKRUN`).
pub const KERNEL_NEEDED: (u32, u32) = (6, 1);

/// How long one step of the start-up test may take on a machine that is busy with something else.
const STEP_NS: u64 = 2_000_000_000;

/// What the configuration asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DriverChoice {
    /// io_uring where it works, else epoll.
    #[default]
    Auto,
    /// io_uring or nothing.
    Uring,
    /// epoll.
    Epoll,
}

impl DriverChoice {
    /// The name in arguments and configuration files.
    pub const fn name(self) -> &'static str {
        match self {
            DriverChoice::Auto => "auto",
            DriverChoice::Uring => "uring",
            DriverChoice::Epoll => "epoll",
        }
    }
}

impl fmt::Display for DriverChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A driver name that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no driver is called {0:?}: use auto, uring or epoll")]
pub struct UnknownDriver(pub String);

impl FromStr for DriverChoice {
    type Err = UnknownDriver;

    fn from_str(name: &str) -> Result<Self, UnknownDriver> {
        [DriverChoice::Auto, DriverChoice::Uring, DriverChoice::Epoll]
            .into_iter()
            .find(|choice| choice.name() == name)
            .ok_or_else(|| UnknownDriver(name.to_owned()))
    }
}

/// Why io_uring does not work here, and what to do about it. [`Display`](fmt::Display) is one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// What the kernel (or who stands in front of it) answered.
    pub errno: i32,
    /// What was tried.
    pub step: &'static str,
    /// The likeliest cause.
    pub cause: String,
    /// The exact remedy.
    pub fix: String,
    /// The running kernel's release.
    pub kernel: String,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Unavailable { errno, step, cause, fix, kernel } = self;
        let error = io::Error::from_raw_os_error(*errno);
        write!(f, "io_uring does not work here: {step}: {error}; kernel {kernel}; likely cause: {cause}; fix: {fix}")
    }
}

impl std::error::Error for Unavailable {}

/// Runs the real io_uring driver once around. About a millisecond.
///
/// # Errors
/// The diagnosis.
pub fn probe() -> Result<(), Unavailable> {
    run_once().map_err(|(step, error)| explain(step, &error))
}

/// The diagnosis for what a step of io_uring's answered.
pub fn explain(step: &'static str, error: &io::Error) -> Unavailable {
    // What no system call answered (bytes changed, a step that never ended) counts as an I/O error.
    let errno = error.raw_os_error().unwrap_or(libc::EIO);
    let surroundings = Surroundings::look();
    let (cause, fix) = surroundings.explain(errno);
    Unavailable { errno, step, cause, fix, kernel: surroundings.kernel }
}

type Step<T> = Result<T, (&'static str, io::Error)>;

fn run_once() -> Step<()> {
    const LISTEN: &str = "local socket";
    let address = unused_address().map_err(|e| (LISTEN, e))?;
    let listener = UnixListener::bind_addr(&address).map_err(|e| (LISTEN, e))?;
    let limits = DriverLimits { slots: 2, recv_buffers: 2, recv_bytes: 64, events_per_turn: 8 };
    let options = UringOptions { sq_entries: 8, cq_entries: 16, ..UringOptions::default() };
    let mut driver =
        UringDriver::new(&limits, vec![OwnedFd::from(listener)], &options).map_err(|e| ("io_uring_setup", e))?;
    driver.accept_while_below(1);

    let mut client = UnixStream::connect_addr(&address).map_err(|e| (LISTEN, e))?;
    client.set_read_timeout(Some(Duration::from_nanos(STEP_NS))).map_err(|e| (LISTEN, e))?;
    let Event::Accepted { slot, .. } = next_event(&mut driver, "accept")? else { return Err(unexpected("accept")) };

    client.write_all(b"ping").map_err(|e| (LISTEN, e))?;
    let Event::Received { buf, .. } = next_event(&mut driver, "receive")? else { return Err(unexpected("receive")) };
    let echoed = buf.filled() == b"ping" && send(&mut driver, slot, buf.filled()) == Some(Sent::Bytes(4));
    driver.give_back(buf);
    let mut echo = [0; 4];
    client.read_exact(&mut echo).map_err(|e| ("send", e))?;
    if !echoed || &echo != b"ping" {
        return Err(unexpected("send"));
    }

    driver.close(slot);
    driver.turn(Wait::No, &mut Vec::new()).map_err(|e| ("close", e))?;
    match client.read(&mut echo) {
        Ok(0) => Ok(()),
        Ok(_) => Err(unexpected("close")),
        Err(error) => Err(("close", error)),
    }
}

fn send(driver: &mut UringDriver, slot: Slot, bytes: &[u8]) -> Option<Sent> {
    let mut batch = SendBatch::new();
    batch.push_one(slot, bytes);
    let mut results = SendResults::new();
    driver.send(&batch, &mut results);
    results.first().copied()
}

fn next_event(driver: &mut UringDriver, step: &'static str) -> Step<Event> {
    let mut events = Vec::new();
    let deadline_ns = monotonic_ns() + STEP_NS;
    while driver.now_ns() < deadline_ns {
        driver.turn(Wait::Until(deadline_ns), &mut events).map_err(|error| (step, error))?;
        if let Some(event) = events.pop() {
            return Ok(event);
        }
    }
    Err((step, io::Error::from_raw_os_error(libc::ETIMEDOUT)))
}

fn unexpected(step: &'static str) -> (&'static str, io::Error) {
    (step, io::Error::from_raw_os_error(libc::EIO))
}

/// A name of the abstract namespace, which no file system and nobody else has.
fn unused_address() -> io::Result<SocketAddr> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    SocketAddr::from_abstract_name(format!("fanwire-probe-{}-{}-{count}", std::process::id(), monotonic_ns()))
}

/// What bears on whether io_uring works.
#[derive(Clone, Debug, Default)]
struct Surroundings {
    kernel: String,
    /// `kernel.io_uring_disabled`, where the kernel has it (6.6).
    disabled: Option<u32>,
    /// `Seccomp:` of this thread in `/proc`: 2 is a filter.
    seccomp: u32,
    container: Option<&'static str>,
    locked_memory: u64,
    open_files: u64,
}

impl Surroundings {
    fn look() -> Self {
        let number = |text: String| text.trim().parse().ok();
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
        Surroundings {
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            disabled: std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok().and_then(number),
            seccomp: status
                .lines()
                .find_map(|line| line.strip_prefix("Seccomp:")?.trim().parse().ok())
                .unwrap_or_default(),
            container: container(),
            locked_memory: locked_memory(),
            open_files: open_files().0,
        }
    }

    /// Major and minor number of the kernel.
    fn version(&self) -> Option<(u32, u32)> {
        let mut numbers = self.kernel.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().ok());
        Some((numbers.next()??, numbers.next()??))
    }

    /// Cause and fix for `errno`, likeliest first.
    fn explain(&self, errno: i32) -> (String, String) {
        let said = |cause: &str, fix: &str| (cause.to_owned(), fix.to_owned());
        let is_old = self.version().is_some_and(|version| version < KERNEL_NEEDED);
        match errno {
            libc::EINVAL | libc::ENOSYS | libc::EOPNOTSUPP if is_old => (
                format!("kernel {} is older than {}.{}", self.kernel, KERNEL_NEEDED.0, KERNEL_NEEDED.1),
                "use Linux 6.1 or later, or --driver epoll".to_owned(),
            ),
            libc::EPERM if self.disabled == Some(2) => said(
                "sysctl kernel.io_uring_disabled is 2 (nobody may use io_uring)",
                "sysctl -w kernel.io_uring_disabled=0",
            ),
            libc::EPERM if self.disabled == Some(1) && self.seccomp != 2 => said(
                "sysctl kernel.io_uring_disabled is 1 (only the group kernel.io_uring_group and CAP_SYS_ADMIN may)",
                "sysctl -w kernel.io_uring_disabled=0, or put this user's group id in kernel.io_uring_group",
            ),
            libc::EPERM | libc::EACCES | libc::ENOSYS if self.seccomp == 2 => (
                match self.container {
                    Some(container) => format!(
                        "the seccomp profile of {container} (Seccomp: 2 in /proc/self/status) forbids io_uring, as \
                         Docker's and containerd's default profiles do"
                    ),
                    None => "a seccomp filter (Seccomp: 2 in /proc/self/status) forbids io_uring".to_owned(),
                },
                match self.container {
                    Some("Kubernetes") => {
                        "set securityContext.seccompProfile to type Localhost with a profile that allows \
                         io_uring_setup, io_uring_enter and io_uring_register, such as tuning/seccomp/fanwire.json"
                    }
                    Some(_) => {
                        "start the container with --security-opt seccomp=PROFILE.json, a profile that also allows \
                         io_uring_setup, io_uring_enter and io_uring_register, such as tuning/seccomp/fanwire.json"
                    }
                    None => {
                        "let whoever starts this process allow io_uring_setup, io_uring_enter and \
                         io_uring_register (systemd: SystemCallFilter=io_uring_setup io_uring_enter io_uring_register)"
                    }
                }
                .to_owned(),
            ),
            libc::EPERM | libc::EACCES => said(
                "a security module (SELinux, AppArmor) or a sandbox forbids io_uring",
                "allow io_uring for this process in that module's policy, or use --driver epoll",
            ),
            libc::ENOSYS => said(
                "the kernel was built without CONFIG_IO_URING, or is an emulation (gVisor) that has none",
                "use a kernel with CONFIG_IO_URING=y, or --driver epoll",
            ),
            libc::ENOMEM => (
                format!("no memory for the ring; RLIMIT_MEMLOCK is {}", bytes(self.locked_memory)),
                "raise RLIMIT_MEMLOCK (ulimit -l unlimited; systemd: LimitMEMLOCK=infinity) or the memory limit of the \
                 control group"
                    .to_owned(),
            ),
            libc::EMFILE | libc::ENFILE => (
                format!("no descriptors left; RLIMIT_NOFILE is {}", self.open_files),
                "raise RLIMIT_NOFILE (ulimit -n; systemd: LimitNOFILE=)".to_owned(),
            ),
            libc::EINVAL | libc::EOPNOTSUPP => said(
                "this kernel's io_uring lacks SINGLE_ISSUER, DEFER_TASKRUN or direct descriptors",
                "use an unmodified Linux 6.1 or later, or --driver epoll",
            ),
            _ => said("unknown", "use --driver epoll, and report this line"),
        }
    }
}

fn bytes(count: u64) -> String {
    if count == u64::MAX { "unlimited".to_owned() } else { format!("{count} bytes") }
}

/// The marks that container runtimes leave.
fn container() -> Option<&'static str> {
    let groups = std::fs::read_to_string("/proc/1/cgroup").unwrap_or_default();
    let exists = |path: &str| Path::new(path).exists();
    if exists("/var/run/secrets/kubernetes.io") || groups.contains("kubepods") {
        Some("Kubernetes")
    } else if exists("/run/.containerenv") || groups.contains("libpod") {
        Some("Podman")
    } else if exists("/.dockerenv") || groups.contains("docker") {
        Some("Docker")
    } else if groups.contains("containerd") || groups.contains("lxc") {
        Some("this container")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::conformance::in_own_process;
    use super::*;
    use crate::sys::seccomp::refuse_in_this_thread;

    #[test]
    fn names_round_trip() {
        for choice in [DriverChoice::Auto, DriverChoice::Uring, DriverChoice::Epoll] {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        let error = "kqueue".parse::<DriverChoice>().unwrap_err();
        assert_eq!(error.to_string(), "no driver is called \"kqueue\": use auto, uring or epoll");
    }

    #[test]
    fn a_probe_says_yes_or_why_not() {
        if let Err(why) = probe() {
            eprintln!("io_uring is not tested: {why}");
            assert!(why.errno > 0 && !why.fix.is_empty());
        }
    }

    #[test]
    fn each_cause_is_told_with_its_fix() {
        let modern = Surroundings { kernel: "6.18.4-generic".to_owned(), locked_memory: 65536, ..Default::default() };
        let check = |surroundings: &Surroundings, errno, cause: &str, fix: &str| {
            let (said_cause, said_fix) = surroundings.explain(errno);
            assert!(said_cause.contains(cause), "{said_cause}");
            assert!(said_fix.contains(fix), "{said_fix}");
            assert!(!said_cause.contains('\n') && !said_fix.contains('\n'));
        };
        let old = Surroundings { kernel: "5.15.0-91".to_owned(), ..modern.clone() };
        check(&old, libc::EINVAL, "older than 6.1", "Linux 6.1");
        check(&old, libc::ENOSYS, "older than 6.1", "Linux 6.1");
        let off = Surroundings { disabled: Some(2), seccomp: 2, ..modern.clone() };
        check(&off, libc::EPERM, "io_uring_disabled is 2", "sysctl -w kernel.io_uring_disabled=0");
        let group = Surroundings { disabled: Some(1), ..modern.clone() };
        check(&group, libc::EPERM, "io_uring_disabled is 1", "io_uring_group");
        let filtered = Surroundings { disabled: Some(0), seccomp: 2, ..modern.clone() };
        check(&filtered, libc::EPERM, "seccomp filter", "SystemCallFilter=io_uring_setup");
        check(&filtered, libc::ENOSYS, "seccomp filter", "SystemCallFilter");
        let docker = Surroundings { container: Some("Docker"), ..filtered.clone() };
        check(&docker, libc::EPERM, "profile of Docker", "--security-opt seccomp=");
        let kubernetes = Surroundings { container: Some("Kubernetes"), ..filtered };
        check(&kubernetes, libc::ENOSYS, "profile of Kubernetes", "type Localhost");
        check(&modern, libc::EPERM, "security module", "policy");
        check(&modern, libc::ENOSYS, "CONFIG_IO_URING", "CONFIG_IO_URING=y");
        check(&modern, libc::ENOMEM, "RLIMIT_MEMLOCK is 65536 bytes", "ulimit -l");
        check(&modern, libc::EMFILE, "RLIMIT_NOFILE", "ulimit -n");
        check(&modern, libc::EINVAL, "lacks", "6.1");
        check(&modern, libc::EIO, "unknown", "epoll");
    }

    #[test]
    fn kernel_versions_are_read() {
        let version = |kernel: &str| Surroundings { kernel: kernel.to_owned(), ..Default::default() }.version();
        assert_eq!(version("6.1.0-13-amd64"), Some((6, 1)));
        assert_eq!(version("5.4"), Some((5, 4)));
        assert_eq!(version("10.20-rc3+"), Some((10, 20)));
        assert_eq!(version("unknown"), None);
        assert!(Surroundings::look().version().is_some());
    }

    const IO_URING_CALLS: [i64; 3] = [libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];

    #[test]
    #[ignore = "puts the thread under a filter: run by a_filter_is_recognised"]
    fn own_process_eperm() {
        refuse_in_this_thread(&IO_URING_CALLS, libc::EPERM).unwrap();
        let why = probe().unwrap_err();
        assert_eq!((why.errno, why.step), (libc::EPERM, "io_uring_setup"));
        let line = why.to_string();
        assert!(line.contains("os error 1") && line.contains("seccomp") && line.contains("fix: "), "{line}");
        assert!(!line.contains('\n'), "{line}");
    }

    #[test]
    #[ignore = "puts the thread under a filter: run by a_filter_is_recognised"]
    fn own_process_enosys() {
        refuse_in_this_thread(&IO_URING_CALLS, libc::ENOSYS).unwrap();
        let why = probe().unwrap_err();
        assert_eq!(why.errno, libc::ENOSYS);
        assert!(why.cause.contains("seccomp"), "{why}");
    }

    #[test]
    #[ignore = "puts the thread under a filter: run by a_filter_is_recognised"]
    fn own_process_enter_alone() {
        // Set-up works, use does not: only a real test finds out.
        refuse_in_this_thread(&[libc::SYS_io_uring_enter], libc::EPERM).unwrap();
        let why = probe().unwrap_err();
        assert_eq!((why.errno, why.step), (libc::EPERM, "accept"));
    }

    #[test]
    fn a_filter_is_recognised() {
        let path = module_path!().split_once("::").map_or("", |(_, path)| path);
        for test in ["own_process_eperm", "own_process_enosys", "own_process_enter_alone"] {
            in_own_process(&format!("{path}::{test}"));
        }
    }
}
