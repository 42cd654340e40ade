//! Starting rivals: small servers of their own under `perf/peers`, never part of this program or of the product.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, anyhow, ensure};

use crate::host::Host;
use crate::identity::Identity;

/// Starts a rival on one CPU, by `PEERS_DIR/start NAME`, which builds what it needs before the first time.
pub fn start(peers_dir: &Path, name: &str, cpu: Option<usize>, tls: Option<&Identity>) -> Result<Host> {
    let script = peers_dir.join("start");
    ensure!(
        script.is_file(),
        "no target `{name}`: engine, send, ring, or a rival by {} (run this in the repository, or set peers_dir)",
        script.display()
    );
    let mut command = Command::new(script);
    command.arg(name);
    // A child inherits the affinity of the thread that starts it.
    std::thread::scope(|scope| {
        scope
            .spawn(move || {
                if let Some(cpu) = cpu {
                    crate::procfs::pin_to(cpu)?;
                }
                Host::start_command(command, false, tls).with_context(|| format!("the rival {name}"))
            })
            .join()
            .map_err(|_| anyhow!("starting {name} panicked"))?
    })
}
