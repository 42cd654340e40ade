//! Job: the manual's pages and the shells' completions, made of what `--help` is made of.
//! Knows: the table of commands and options. Must never know: what they do.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args as ClapArgs, CommandFactory};

use crate::args::Args;
use crate::engine;
use crate::exit::{Exit, Failure, Outcome};

/// `fanwire completions`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  fanwire completions bash > /etc/bash_completion.d/fanwire
  fanwire completions zsh > /usr/local/share/zsh/site-functions/_fanwire
  fanwire completions fish > ~/.config/fish/completions/fanwire.fish")]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

/// `fanwire manual`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  fanwire manual /usr/local/share/man/man1 && man fanwire-serve")]
pub struct ManualArgs {
    /// The folder for fanwire.1, fanwire-serve.1 and so on; it is made if it is not there
    folder: PathBuf,
}

/// Prints what a shell reads.
///
/// # Errors
/// Stdout takes nothing.
pub fn completions(args: &CompletionsArgs) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "fanwire", &mut script);
    engine::say(String::from_utf8_lossy(&script).trim_end());
    engine::unsaid().map(|()| ExitCode::SUCCESS)
}

/// Writes the pages.
///
/// # Errors
/// The folder or a file in it cannot be written.
pub fn run(args: &ManualArgs) -> Outcome {
    let folder = &args.folder;
    let mut command = Args::command();
    command.build();
    fs::create_dir_all(folder)
        .and_then(|()| write_pages(&command, folder))
        .map_err(|error| Failure::message(Exit::Io, format!("{}: cannot write: {error}", folder.display())))?;
    Ok(ExitCode::SUCCESS)
}

/// A page for a command, and for each below it.
fn write_pages(command: &clap::Command, folder: &Path) -> std::io::Result<()> {
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).manual("fanwire").render(&mut page)?;
    fs::write(folder.join(format!("{name}.1")), page)?;
    command.get_subcommands().filter(|below| !below.is_hide_set()).try_for_each(|below| write_pages(below, folder))
}
