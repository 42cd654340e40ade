//! Job: the successor as a child of this process: started as this one was, with the program that is there now.
//! Knows: this process's own arguments. Must never know: how it takes over.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Child as Process, Command};
use std::time::Duration;

use fanwire::settings::Span;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::config;
use crate::exit::{Exit, Failure, OrExit};

/// The options that say from whom; everything else of this process's own is handed on.
const OPTIONS: [&str; 2] = ["--takeover", "--takeover-within"];

/// A successor that is to take over.
pub struct Child {
    process: Process,
    /// Readable when it has ended.
    ended: OwnedFd,
}

impl Child {
    /// Starts it, to take over from the control socket at `path`.
    ///
    /// # Errors
    /// 71: the program cannot be started.
    pub fn start(path: &Path, window: Duration) -> Result<Self, Failure> {
        let mut own = std::env::args_os();
        let program = own.next().unwrap_or_else(|| "fanwire".into());
        let cannot = || format!("cannot start {}", program.display());
        let mut command = Command::new(&program);
        command.args(arguments(own, path, window));
        if let Some(settings) = config::on_stdin() {
            command.stdin(file_of(settings).or_exit(Exit::Address, cannot)?);
        }
        let process = command.spawn().or_exit(Exit::Address, cannot)?;
        let ended = pidfd_open(Pid::from_child(&process), PidfdFlags::empty()).or_exit(Exit::Address, cannot)?;
        tracing::info!("process {} is started, to take over", process.id());
        Ok(Child { process, ended })
    }

    /// Why it has ended, if it has.
    pub fn failure(&mut self) -> Option<Failure> {
        let status = self.process.try_wait().ok()??;
        let what = format!("the new process has ended before it served ({status}); its log says why. This one goes on");
        let code = status.code().filter(|code| *code != 0).unwrap_or(Exit::Software as i32);
        Some(Failure { code, error: anyhow::Error::msg(what) })
    }
}

impl Child {
    /// Its number.
    pub fn pid(&self) -> i32 {
        Pid::from_child(&self.process).as_raw_nonzero().get()
    }

    /// Has it end: it is to take over no more.
    pub fn end(&mut self) {
        let _ = pidfd_send_signal(&self.ended, Signal::TERM);
    }
}

impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ended.as_fd()
    }
}

/// A file in memory, to be read from its beginning.
fn file_of(bytes: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create("settings", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

/// This process's own arguments, and from whom to take over.
fn arguments(own: impl Iterator<Item = OsString>, path: &Path, window: Duration) -> Vec<OsString> {
    let mut arguments = Vec::new();
    let mut own = own.peekable();
    while let Some(argument) = own.next() {
        let name = argument.as_bytes().split(|byte| *byte == b'=').next().unwrap_or_default();
        match OPTIONS.iter().find(|option| option.as_bytes() == name) {
            None => arguments.push(argument),
            // Its value may be the next word.
            Some(&"--takeover-within") if !argument.as_bytes().contains(&b'=') => _ = own.next(),
            Some(_) => {}
        }
    }
    let mut from_whom = OsString::from("--takeover=");
    from_whom.push(path);
    arguments.push(from_whom);
    arguments.push(format!("--takeover-within={}", Span(window)).into());
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_successor_is_started_as_this_process_was() {
        let from = |own: &[&str]| {
            let own = own.iter().map(OsString::from);
            let all = arguments(own, Path::new("/run/a b"), Duration::from_millis(1_500));
            all.into_iter().map(|argument| argument.into_string().unwrap()).collect::<Vec<_>>()
        };
        let expected = ["serve", "--listen", "127.0.0.1:1", "--takeover=/run/a b", "--takeover-within=1500ms"];
        assert_eq!(from(&["serve", "--listen", "127.0.0.1:1"]), expected);
        let before = ["serve", "--takeover", "--takeover-within", "3s", "--listen", "127.0.0.1:1"];
        assert_eq!(from(&before), expected);
        let before = ["serve", "--takeover=/run/b", "--takeover-within=3s", "--listen", "127.0.0.1:1"];
        assert_eq!(from(&before), expected);
    }
}
