//! A memory cgroup of our own around one process, of version 1 or 2, removed when it is dropped.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// A group with a limit on memory.
pub struct MemoryCap {
    path: PathBuf,
    is_v1: bool,
}

impl MemoryCap {
    /// Makes it. Swap, where there is any, is of no use to it.
    ///
    /// # Errors
    /// When this host lets us make none.
    pub fn new(bytes: u64) -> Result<MemoryCap> {
        let v1 = Path::new("/sys/fs/cgroup/memory");
        let v2 = Path::new("/sys/fs/cgroup");
        let name = format!("fanwire-perf-{}", std::process::id());
        let (parent, is_v1) = if v1.join("memory.limit_in_bytes").exists() {
            (v1, true)
        } else if v2.join("cgroup.controllers").exists() {
            // Children get what the parent hands on.
            let _ = fs::write(v2.join("cgroup.subtree_control"), "+memory");
            (v2, false)
        } else {
            bail!("no memory cgroup here, of either version");
        };
        let cap = MemoryCap { path: parent.join(name), is_v1 };
        fs::create_dir(&cap.path).with_context(|| format!("making {}: this needs root", cap.path.display()))?;
        let limit = if is_v1 { "memory.limit_in_bytes" } else { "memory.max" };
        fs::write(cap.path.join(limit), bytes.to_string()).with_context(|| format!("setting {limit}"))?;
        if !is_v1 {
            let _ = fs::write(cap.path.join("memory.swap.max"), "0");
        }
        Ok(cap)
    }

    /// Words of a command that joins the group and becomes another.
    pub fn words(&self) -> Vec<String> {
        let join = r#"echo $$ >"$0/cgroup.procs" && exec "$@""#;
        ["sh", "-c", join].map(str::to_string).into_iter().chain([self.path.display().to_string()]).collect()
    }

    /// The most memory that it ever held, in bytes.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn peak(&self) -> Result<u64> {
        let name = if self.is_v1 { "memory.max_usage_in_bytes" } else { "memory.peak" };
        let text = fs::read_to_string(self.path.join(name)).context(name)?;
        text.trim().parse().with_context(|| format!("{name}: {text}"))
    }

    /// Processes of it that the kernel has killed for want of memory.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn kills(&self) -> Result<u64> {
        let name = if self.is_v1 { "memory.oom_control" } else { "memory.events" };
        let text = fs::read_to_string(self.path.join(name)).context(name)?;
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        line.and_then(|count| count.trim().parse().ok()).with_context(|| format!("{name}: {text}"))
    }
}

impl Drop for MemoryCap {
    fn drop(&mut self) {
        // A process that has been waited for may still be counted for a moment.
        for _ in 0..100 {
            if fs::remove_dir(&self.path).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}
