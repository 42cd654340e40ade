//! Job: `fanwire reload`, `drain`, `status`: asks a running server and shows its answer.
//! Knows: how answers are shown. Must never know: how what is asked for is done.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;

use super::message::{self, Answer, Asked, Drained, Said};
use super::{FILE_NAME, PATIENCE, default_path};
use crate::args::ControlArgs;
use crate::engine::{say, unsaid};
use crate::exit::{Exit, Failure, OrExit, Outcome};
use crate::patience::Patience;

/// Where packages have the service keep it.
const USUAL_FOLDER: &str = "/run/fanwire";

/// Asks, waits for the answer, shows it.
///
/// # Errors
/// 69 where there is no server, 74 where it ends before it answers; otherwise what it says.
pub fn run(args: &ControlArgs, asked: &Asked) -> Outcome {
    let answer = ask(args, asked)?;
    let lines = match answer.said {
        Said::Reloaded(reloaded) => reloaded.lines(),
        Said::Status(status) => status.lines(),
        Said::Revoked(revoked) => revoked.lines(),
        Said::Drained(drained) => vec![in_words(drained)],
        Said::Restarted { pid } => vec![format!("process {pid} serves; the one before ends when everybody has moved")],
        Said::Report(report) => report.status.lines(),
        Said::Sockets(_) | Said::HandedOver { .. } => Vec::new(),
        Said::Error(why) => return Err(Failure { code: answer.exit, error: anyhow::Error::msg(why) }),
    };
    lines.iter().for_each(|line| say(line));
    unsaid().map(|()| ExitCode::from(u8::try_from(answer.exit).unwrap_or(1)))
}

/// Asks, and waits for the answer.
///
/// # Errors
/// 69 where there is no server, 74 where it ends before it answers.
pub fn ask(args: &ControlArgs, asked: &Asked) -> Result<Answer, Failure> {
    let path = args.socket.clone().or_else(default_path).unwrap_or_else(|| PathBuf::from(USUAL_FOLDER).join(FILE_NAME));
    let stream = UnixStream::connect(&path).or_exit(Exit::Unavailable, || {
        format!(
            "no server takes requests at {} (serve --control-socket, and --socket here, name another place)",
            path.display()
        )
    })?;
    message::try_write(&stream, asked, Patience::of(PATIENCE)).or_exit(Exit::Io, || "cannot ask the server".into())?;
    message::read_answer(&stream).or_exit(Exit::Io, || "the server has not answered".into())
}

fn in_words(Drained { closed, cut_off }: Drained) -> String {
    match cut_off {
        0 => format!("the server has ended: {closed} connections closed"),
        _ => format!("the server has ended: {closed} connections closed, {cut_off} cut off"),
    }
}
