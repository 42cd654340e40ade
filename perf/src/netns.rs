//! A network namespace beside our own, joined by a pair of virtual Ethernet devices that can be cut, slowed and torn away.
//!
//! Nothing of it has a name on the host: this process must have been started in a namespace of its own (`unshare --net`), the other
//! one belongs to a process that ends with us, and the kernel removes both, with all that is in them, when their last process
//! is gone, however that comes about.

use std::fs;
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// Our end's address.
pub const HERE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The other end's.
pub const THERE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

/// Ways to part two hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Packets are dropped in both directions.
    Both,
    /// Nothing comes from there any more.
    FromThere,
    /// Nothing gets there any more.
    ToThere,
    /// The device is down.
    LinkDown,
    /// The device is down, and the other namespace with all its processes goes away: power-off.
    Gone,
}

impl Cut {
    /// All of them, in turn.
    pub const ALL: [Cut; 5] = [Cut::Both, Cut::FromThere, Cut::ToThere, Cut::LinkDown, Cut::Gone];
}

/// The other namespace.
pub struct Neighbour {
    holder: Child,
}

impl Neighbour {
    /// Makes it, and the way to it.
    ///
    /// # Errors
    /// When this process has no namespace of its own, is not allowed to, or a tool is missing.
    pub fn join() -> Result<Neighbour> {
        let ours = fs::read_link("/proc/self/ns/net")?;
        let devices = fs::read_to_string("/proc/self/net/dev")?;
        let names = devices.lines().filter_map(|line| Some(line.split_once(':')?.0.trim()));
        let is_ours = names.into_iter().all(|name| ["lo", "fw0"].contains(&name));
        ensure!(is_ours, "start it in a network namespace of its own, as root: unshare --net fanwire-perf …");
        // It ends when its stdin does, hence when we do.
        let holder = Command::new("unshare")
            .args(["--net", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("starting `unshare` (util-linux)")?;
        let neighbour = Neighbour { holder };
        let theirs = format!("/proc/{}/ns/net", neighbour.holder.id());
        await_so("the other namespace", || Ok(fs::read_link(&theirs)? != ours))?;
        ip("link set lo up")?;
        ip(&format!("link add fw0 type veth peer name fw1 netns {}", neighbour.holder.id()))?;
        ip(&format!("addr add {HERE}/24 dev fw0"))?;
        ip("link set fw0 up")?;
        neighbour.ip("link set lo up")?;
        neighbour.ip(&format!("addr add {THERE}/24 dev fw1"))?;
        neighbour.ip("link set fw1 up")?;
        nft("add table inet cut")?;
        nft("add chain inet cut in { type filter hook input priority 0 ; }")?;
        nft("add chain inet cut out { type filter hook output priority 0 ; }")?;
        Ok(neighbour)
    }

    /// Words of a command that starts another one there.
    pub fn words(&self) -> Vec<String> {
        ["nsenter", "--net", "--target"].map(str::to_string).into_iter().chain([self.holder.id().to_string()]).collect()
    }

    /// Parts us. For [`Cut::Gone`] whoever runs there has to be killed first, and this is the last that can be done with it.
    ///
    /// # Errors
    /// When a tool fails.
    pub fn cut(&mut self, how: Cut) -> Result<()> {
        if matches!(how, Cut::Both | Cut::FromThere) {
            nft("add rule inet cut in iifname fw0 drop")?;
        }
        if matches!(how, Cut::Both | Cut::ToThere) {
            nft("add rule inet cut out oifname fw0 drop")?;
        }
        if matches!(how, Cut::LinkDown | Cut::Gone) {
            ip("link set fw0 down")?;
        }
        Ok(())
    }

    /// Undoes every cut but [`Cut::Gone`].
    ///
    /// # Errors
    /// When a tool fails.
    pub fn heal(&self) -> Result<()> {
        nft("flush chain inet cut in")?;
        nft("flush chain inet cut out")?;
        ip("link set fw0 up")
    }

    /// Ends the namespace and the way to it; whatever ran there must be gone. (The kernel keeps what is left of it until it has given up
    /// the connections that its processes left behind.)
    ///
    /// # Errors
    /// When a tool fails.
    pub fn leave(mut self) -> Result<()> {
        self.holder.kill()?;
        self.holder.wait()?;
        ip("link del fw0")
    }

    /// What we send there gets a rate, as on a thin link; `None` ends that.
    ///
    /// # Errors
    /// When `tc` fails.
    pub fn thin(&self, rate: Option<&str>) -> Result<()> {
        match rate {
            Some(rate) => run("tc", &format!("qdisc add dev fw0 root tbf rate {rate} burst 8kb latency 300ms")),
            None => run("tc", "qdisc del dev fw0 root"),
        }
    }

    fn ip(&self, words: &str) -> Result<()> {
        let pid = self.holder.id();
        run("nsenter", &format!("--net --target {pid} ip {words}"))
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn ip(words: &str) -> Result<()> {
    run("ip", words)
}

fn nft(words: &str) -> Result<()> {
    run("nft", words)
}

fn run(program: &str, words: &str) -> Result<()> {
    let output = Command::new(program)
        .args(words.split_whitespace())
        .output()
        .with_context(|| format!("starting `{program}` (Debian packages: iproute2, nftables, util-linux)"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {words}: {} {}", output.status, said.trim());
    Ok(())
}

fn await_so(what: &str, mut so: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !so()? {
        if Instant::now() > deadline {
            bail!("never came about: {what}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
