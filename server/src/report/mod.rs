//! Job: `fanwire report`: what somebody needs to look into a problem, in one file without secrets.
//! Knows: who can say what. Must never know: how anything is found out.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser as _;

use crate::args::{Args, Command, ReportArgs};
use crate::clock;
use crate::config;
use crate::control::{self, Asked, Said};
use crate::doctor;
use crate::engine::{say, unsaid};
use crate::exit::{Exit, Failure, OrExit, Outcome};
use crate::operate::ServersReport;
use crate::redact::redacted;

/// Gathers it.
///
/// # Errors
/// 74 where the file cannot be written, or is there already. A server that does not answer is a part of the report.
pub fn run(args: &ReportArgs) -> Outcome {
    let now = clock::unix_s();
    let text = redacted(&gathered(args, now));
    if args.output.as_deref() == Some(Path::new("-")) {
        say(text.trim_end());
        return unsaid().map(|()| ExitCode::SUCCESS);
    }
    let path = args.output.clone().unwrap_or_else(|| PathBuf::from(format!("fanwire-report-{now}.txt")));
    // It tells of topics and addresses: its owner decides who reads it.
    let file = File::options().write(true).create_new(true).mode(0o600).open(&path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.or_exit(Exit::Io, || format!("cannot write {}", path.display()))?;
    say(&format!("{}: written; look through it before you pass it on", path.display()));
    unsaid().map(|()| ExitCode::SUCCESS)
}

fn gathered(args: &ReportArgs, now: u64) -> String {
    let mut text = format!("# fanwire report, format 1\n# {now} s since 1970\n");
    section(&mut text, "program", &format!("fanwire {}", env!("CARGO_PKG_VERSION")));
    section(&mut text, "host", &host());
    match server(args) {
        Ok(server) => {
            section(&mut text, "server", &server.status.lines().join("\n"));
            section(&mut text, "server's settings", &server.settings);
            section(&mut text, "server's metrics", &server.metrics);
            section(&mut text, "server's last log lines", &server.log.join("\n"));
        }
        Err(failure) => section(&mut text, "server", &format!("{:#}", failure.error)),
    }
    if let Some(path) = &args.config {
        section(&mut text, &format!("settings in {}", path.display()), &settings(path));
    }
    section(&mut text, "doctor", &doctor::lines(&args.plan).join("\n"));
    text
}

/// The kernel and the processor's kind; not whose machine it is.
fn host() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpus = std::thread::available_parallelism().map_or(0, std::num::NonZeroUsize::get);
    format!("Linux {} on {}, {cpus} CPUs for this process", release.trim(), std::env::consts::ARCH)
}

fn section(text: &mut String, title: &str, body: &str) {
    let _ = write!(text, "\n## {title}\n\n{}\n", body.trim_end());
}

fn server(args: &ReportArgs) -> Result<ServersReport, Failure> {
    let answer = control::ask(&args.control, &Asked::Report {})?;
    match answer.said {
        Said::Report(report) => Ok(*report),
        Said::Error(why) => Err(Failure { code: answer.exit, error: anyhow::Error::msg(why) }),
        _ => Err(Failure::message(Exit::Protocol, "the server has answered something else")),
    }
}

/// What the file says as it is now, or what is wrong with it.
fn settings(path: &Path) -> String {
    let serve = Args::try_parse_from([Path::new("fanwire"), Path::new("serve"), Path::new("--config"), path]);
    match serve.map(|args| args.command) {
        Ok(Command::Serve(args)) => {
            config::load(&args).map_or_else(|failure| format!("{:#}", failure.error), |loaded| config::shown(&loaded))
        }
        Ok(_) | Err(_) => "cannot be read".to_owned(),
    }
}
