//! The measured server: a child process, its ready line, its cost.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::crowd::Spec;
use crate::identity::Identity;
use crate::procfs;

/// How the server is started.
#[derive(Clone, Debug)]
pub struct ServerSpec {
    /// The binary.
    pub binary: PathBuf,
    /// Its arguments after `serve --listen ADDR`.
    pub arguments: Vec<String>,
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddrV4,
    /// What it shows on free ports more, where it speaks TLS.
    pub tls: Option<Identity>,
    /// How many those are.
    pub tls_listeners: usize,
    /// Words of a command that becomes it; usually none.
    pub within: Vec<String>,
}

/// A command behind the words of another, which becomes it.
pub fn command_within(words: &[String], binary: &Path) -> Command {
    match words {
        [] => Command::new(binary),
        [first, more @ ..] => {
            let mut command = Command::new(first);
            command.args(more).arg(binary);
            command
        }
    }
}

/// A running server. Dropping it kills it.
pub struct Server {
    child: Child,
    addr: SocketAddrV4,
    /// Where it speaks TLS, and what it shows there.
    tls: Option<(Vec<SocketAddrV4>, Identity)>,
    binary: PathBuf,
    started_in: Duration,
    stderr: Arc<Mutex<Log>>,
    reader: Option<JoinHandle<()>>,
}

/// What one shard has counted, by name.
pub type Counters = BTreeMap<String, u64>;

/// What a server has logged.
#[derive(Default)]
struct Log {
    /// The last lines.
    lines: VecDeque<String>,
    /// Warnings and errors among all.
    warnings: Vec<String>,
}

/// Lines of its log that are kept for the report of a failure.
const KEPT_LINES: usize = 60;

impl Server {
    /// Starts it and waits for `listening on ws://ADDR`.
    ///
    /// # Errors
    /// When it ends or says nothing of the kind within 30 s: with its log.
    pub fn start(spec: &ServerSpec) -> Result<Server> {
        let began = Instant::now();
        let mut child = command_within(&spec.within, &spec.binary)
            .arg("serve")
            .args(["--listen", &spec.listen.to_string()])
            // Its own publishers may publish, which is not worth a warning here; at its end it says what it has counted.
            .args(["--publish", "loopback", "--log", "debug,publish=off"])
            .args(spec.tls.iter().flat_map(|tls| tls_arguments(tls, spec.listen, spec.tls_listeners)))
            .args(&spec.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", spec.binary.display()))?;
        let stdout = child.stdout.take().context("the server's stdout")?;
        let (stderr, reader) = keep_lines(child.stderr.take().context("the server's stderr")?);
        let (sender, ready) = channel();
        std::thread::spawn(move || {
            // Read to the end, so that the server never waits for us.
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                for scheme in ["ws", "wss"] {
                    if let Some(addr) = line.split(&format!("listening on {scheme}://")).nth(1) {
                        let addr = addr.trim().trim_end_matches('/').parse::<SocketAddrV4>();
                        let _ = sender.send(addr.map(|addr| (scheme == "wss", addr)));
                    }
                }
            }
        });
        let mut server = Server {
            child,
            addr: spec.listen,
            tls: spec.tls.clone().map(|identity| (Vec::new(), identity)),
            binary: spec.binary.clone(),
            started_in: Duration::ZERO,
            stderr,
            reader: Some(reader),
        };
        for _ in 0..1 + if spec.tls.is_some() { spec.tls_listeners } else { 0 } {
            match (ready.recv_timeout(Duration::from_secs(30)), &mut server.tls) {
                (Ok(Ok((false, addr))), _) => server.addr = addr,
                (Ok(Ok((true, addr))), Some((addrs, _))) => addrs.push(addr),
                _ => {
                    let _ = server.child.kill();
                    let status = server.child.wait();
                    let (binary, arguments) = (spec.binary.display(), spec.arguments.join(" "));
                    bail!("{binary} serve {arguments} did not get ready ({status:?}):\n{}", server.log());
                }
            }
        }
        server.started_in = began.elapsed();
        Ok(server)
    }

    /// A crowd as it has to be to come in: where there is TLS, over that.
    pub fn door(&self, spec: Spec) -> Spec {
        match &self.tls {
            None => spec,
            Some((_, identity)) => {
                Spec { server: self.door_addr(), trusted: Some(identity.certificate.clone()), ..spec }
            }
        }
    }

    /// Where it listens without TLS.
    pub fn addr(&self) -> SocketAddrV4 {
        self.addr
    }

    /// Where it speaks TLS, if it does.
    pub fn tls_addrs(&self) -> &[SocketAddrV4] {
        self.tls.as_ref().map_or(&[], |(addrs, _)| addrs)
    }

    /// Where subscribers come in: see [`Server::door`].
    pub fn door_addr(&self) -> SocketAddrV4 {
        self.tls_addrs().first().copied().unwrap_or(self.addr)
    }

    /// From the start of the process to its ready line.
    pub fn started_in(&self) -> Duration {
        self.started_in
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// When that cannot be found out.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// The warnings and errors that it has logged.
    pub fn warnings(&self) -> Vec<String> {
        self.stderr.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).warnings.clone()
    }

    /// Its memory now.
    ///
    /// # Errors
    /// When it is gone.
    pub fn memory(&self) -> Result<procfs::Memory> {
        procfs::memory(self.child.id())
    }

    /// CPU time of all its threads so far.
    ///
    /// # Errors
    /// When it is gone.
    pub fn cpu_ns(&self) -> Result<u64> {
        procfs::cpu_ns(self.child.id())
    }

    /// Sends SIGTERM.
    ///
    /// # Errors
    /// When it is gone.
    pub fn terminate(&self) -> Result<()> {
        self.signal(rustix::process::Signal::TERM)
    }

    /// Sends SIGHUP: it reads its settings and certificates anew.
    ///
    /// # Errors
    /// When it is gone.
    pub fn hang_up(&self) -> Result<()> {
        self.signal(rustix::process::Signal::HUP)
    }

    fn signal(&self, signal: rustix::process::Signal) -> Result<()> {
        Ok(rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal)?)
    }

    /// The same by `fanwire reload` at its control socket, which waits; what that prints.
    ///
    /// # Errors
    /// When it refuses: with its words.
    pub fn reload(&self, control: &Path) -> Result<String> {
        let output = Command::new(&self.binary).arg("reload").arg("--socket").arg(control).output()?;
        let words = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "fanwire reload: {words}{}", String::from_utf8_lossy(&output.stderr));
        Ok(words)
    }

    /// The memory sum that it has logged, in bytes: `  123.4 MiB  in all`.
    ///
    /// # Errors
    /// When there is none.
    pub fn stated_bytes(&self) -> Result<f64> {
        let mut log = self.log();
        // Its two streams are read apart: the ready line may be here first.
        for _ in 0..200 {
            if log.contains("MiB  in all") {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
            log = self.log();
        }
        let line =
            log.lines().find(|line| line.contains("MiB  in all")).context("no memory sum in the server's log")?;
        let before = line.split("MiB  in all").next().unwrap_or_default();
        let number = before.split_whitespace().last().context("no number in the memory sum")?;
        Ok(number.parse::<f64>().with_context(|| line.to_string())? * f64::from(1 << 20))
    }

    /// Sends SIGKILL and collects it.
    ///
    /// # Errors
    /// When it is gone.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it is still there after `patience`.
    pub fn wait(&mut self, patience: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("the server is still there after {patience:?}:\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits for its end; then what each shard has counted, as its log says. Empty where it says nothing.
    ///
    /// # Errors
    /// When it is still there after `patience`.
    pub fn counters(&mut self, patience: Duration) -> Result<Vec<Counters>> {
        self.wait(patience)?;
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        Ok(self.log().lines().filter_map(counters_of).collect())
    }

    /// The last lines of its log.
    pub fn log(&self) -> String {
        let log = self.stderr.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        log.lines.iter().fold(String::new(), |text, line| text + line + "\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tls_arguments(tls: &Identity, listen: SocketAddrV4, listeners: usize) -> Vec<String> {
    let files = [("--tls-certificate-files", &tls.certificate), ("--tls-key-files", &tls.key)];
    let files = files.into_iter().flat_map(|(name, path)| [name.to_owned(), path.display().to_string()]);
    let listens = (0..listeners).flat_map(|_| ["--listen".to_owned(), format!("wss://{}:0", listen.ip())]);
    listens.chain(files).collect()
}

/// The numbers of a line `… shard 0: ShardStats { connections: 1, … }`.
fn counters_of(line: &str) -> Option<Counters> {
    let numbers = line.split_once("ShardStats { ")?.1.split_once(" }")?.0;
    numbers.split(", ").map(|one| one.split_once(": ").and_then(|(n, v)| Some((n.into(), v.parse().ok()?)))).collect()
}

/// Reads a log to its end, keeping the last lines.
fn keep_lines(stream: impl Read + Send + 'static) -> (Arc<Mutex<Log>>, JoinHandle<()>) {
    let kept = Arc::new(Mutex::new(Log::default()));
    let shared = kept.clone();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let mut log = shared.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            if log.lines.len() == KEPT_LINES {
                log.lines.pop_front();
            }
            if log.warnings.len() < KEPT_LINES && (line.contains(" WARN ") || line.contains("ERROR ")) {
                log.warnings.push(line.clone());
            }
            log.lines.push_back(line);
        }
    });
    (kept, reader)
}

/// The server's binary: as given, else `fanwire` beside this one (or one folder up, where tests live).
///
/// # Errors
/// When there is none, saying how to get one.
pub fn find_binary(given: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = given {
        return Ok(path.to_path_buf());
    }
    let own = std::env::current_exe()?;
    own.ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join("fanwire"))
        .find(|path| path.is_file())
        .context("no `fanwire` beside this binary: `cargo build --release --workspace`, or --server PATH")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_from_a_line_of_the_log() {
        let line = "2026-01-01T00:00:00Z DEBUG shard 1: ShardStats { connections: 3, turn_ns_max: 1200 }";
        let counters = counters_of(line).unwrap();
        assert_eq!((counters["connections"], counters["turn_ns_max"]), (3, 1_200));
        assert_eq!(counters_of("shard 1: ShardStats { connections: x }"), None);
        assert_eq!(counters_of("INFO driver io_uring, 2 shards"), None);
    }
}
