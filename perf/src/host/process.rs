//! A host as a scenario sees it: a child process with a pipe each way. Rivals are started by their own command line.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddrV4;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::{HostSpec, Load, Loaded};
use crate::crowd::Spec;
use crate::identity::Identity;
use crate::procfs;

/// A running host. Dropping it ends it.
pub struct Host {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
    addr: SocketAddrV4,
    /// What it shows, where it speaks TLS.
    tls: Option<Identity>,
    /// The server's process: the child, or one that the child has started.
    pid: u32,
    /// Whether the publisher is the process's first thread and has it to itself.
    has_publisher_thread: bool,
}

impl Host {
    /// Starts one of this program's own.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn start(spec: &HostSpec) -> Result<Host> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("host").arg(serde_json::to_string(spec)?);
        let tls = spec.tls.as_ref();
        Self::start_command(command, spec.kind == "engine", tls).with_context(|| format!("the host {}", spec.kind))
    }

    /// Starts any that speaks the same lines; over TLS, with this certificate, where there is one.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn start_command(mut command: Command, has_publisher_thread: bool, tls: Option<&Identity>) -> Result<Host> {
        if let Some(identity) = tls {
            command.env("PEER_CERTIFICATE", &identity.certificate).env("PEER_KEY", &identity.key);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {:?}", command.get_program()))?;
        let stdin = child.stdin.take().context("a host's stdin")?;
        let stdout = child.stdout.take().context("a host's stdout")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(std::io::Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut host = Host {
            pid: child.id(),
            child,
            stdin,
            lines,
            addr: SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 0),
            tls: tls.cloned(),
            has_publisher_thread,
        };
        // A rival may have to be built first.
        let ready = host.answer("listening on ", Duration::from_secs(900))?;
        let (scheme, ready) = ready.split_once("://").with_context(|| format!("no URL: {ready}"))?;
        ensure!(scheme == if tls.is_some() { "wss" } else { "ws" }, "it listens on {scheme}://{ready}");
        let (ready, rest) = ready.split_once(' ').unwrap_or((ready, ""));
        host.has_publisher_thread |= rest == "publisher-thread";
        if let Some(pid) = rest.strip_prefix("server=") {
            host.pid = pid.parse().with_context(|| format!("no process: {rest}"))?;
        }
        host.addr = ready.trim_end_matches('/').parse().with_context(|| format!("no address: {ready}"))?;
        Ok(host)
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddrV4 {
        self.addr
    }

    /// A crowd as it has to be to come in.
    pub fn door(&self, spec: Spec) -> Spec {
        Spec { trusted: self.tls.as_ref().map(|identity| identity.certificate.clone()), ..spec }
    }

    /// Publishes, and waits until all is handed over.
    ///
    /// # Errors
    /// When it fails.
    pub fn publish(&mut self, load: &Load) -> Result<Loaded> {
        self.ordered(&load.line(), Duration::from_secs_f64(load.seconds + 60.0))
    }

    /// Publishes at once, and waits until the kernel has everything.
    ///
    /// # Errors
    /// When it fails.
    pub fn burst(&mut self, count: usize, bytes: usize, subscribers: usize) -> Result<Loaded> {
        self.ordered(&format!("burst {count} {bytes} {subscribers}"), Duration::from_secs(60))
    }

    fn ordered(&mut self, line: &str, patience: Duration) -> Result<Loaded> {
        writeln!(self.stdin, "{line}").context("a host is gone")?;
        let words = self.answer("published ", patience)?;
        let mut numbers = words.split_whitespace().map(|word| word.parse::<u64>().unwrap_or(0));
        let mut next = || numbers.next().unwrap_or(0);
        Ok(Loaded { sent: next(), ns: next(), late_ns: next(), waiting_ns: next() })
    }

    /// What it counts.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn counters(&mut self) -> Result<serde_json::Value> {
        writeln!(self.stdin, "counters").context("a host is gone")?;
        let text = self.answer("counters ", Duration::from_secs(30))?;
        serde_json::from_str(&text).with_context(|| format!("no JSON: {text}"))
    }

    /// The server's memory now.
    ///
    /// # Errors
    /// When it is gone.
    pub fn memory(&self) -> Result<procfs::Memory> {
        procfs::memory(self.pid)
    }

    /// CPU time of the whole process and its kernel workers, less the publisher's own thread.
    ///
    /// # Errors
    /// When it is gone.
    pub fn cpu_ns(&self) -> Result<u64> {
        let all = procfs::cpu_ns(self.pid)?;
        let own = if self.has_publisher_thread { procfs::thread_cpu_ns(self.pid, self.pid)? } else { 0 };
        Ok(all.saturating_sub(own))
    }

    fn answer(&mut self, begins: &str, patience: Duration) -> Result<String> {
        loop {
            match self.lines.recv_timeout(patience) {
                Ok(line) => {
                    if let Some(rest) = line.strip_prefix(begins) {
                        return Ok(rest.to_string());
                    }
                    eprintln!("{line}");
                }
                Err(RecvTimeoutError::Timeout) => bail!("a host did not say `{begins}…` within {patience:?}"),
                Err(RecvTimeoutError::Disconnected) => bail!("a host ended: {:?}", self.child.wait()),
            }
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
