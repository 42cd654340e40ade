//! Job: `fanwire config`: a file to begin with, a check, what holds and why.
//! Knows: how a value is written in TOML. Must never know: what a setting does.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use fanwire::settings::Unit;
use fanwire_access as access;
use fanwire_access::{Door, Revocations};

use super::key::{Key, all};
use super::{Loaded, load, load_checked};
use crate::args::{ConfigArgs, ConfigCommand, LogFormat};
use crate::engine::{say, unsaid};
use crate::exit::{Exit, Failure, OrExit, Outcome};
use crate::units::wrapped;

/// Characters of a comment: with what stands before it, it fits a screen.
const COMMENT_WIDTH: usize = 116;

/// Runs the command.
///
/// # Errors
/// 78 for a configuration that is wrong; 66, 74 for a file that cannot be read or written.
pub fn run(args: &ConfigArgs, log: Option<&str>, log_format: Option<LogFormat>) -> Outcome {
    match &args.command {
        ConfigCommand::Init { file } => init(file.as_deref())?,
        ConfigCommand::Check(serve) => {
            let loaded = load_checked(serve)?;
            loaded.check_tokens()?;
            let door = loaded.door();
            if door.is_wanted() {
                if let Err(problem) = Door::open(door, || false)?.said {
                    // Somebody else's fault, and perhaps a passing one.
                    say(&format!("token.jwks_url: {}", access::not_read(&problem, false)));
                }
                Revocations::open(loaded.revocations())?;
            }
            let what = serve.config.as_deref().map_or("the configuration".into(), Path::to_string_lossy);
            say(&format!("{what}: nothing is wrong"));
        }
        ConfigCommand::Show(serve) => {
            let mut loaded = load(serve)?;
            loaded.take_log(log, log_format);
            say(shown(&loaded).trim_end());
        }
    }
    unsaid().map(|()| ExitCode::SUCCESS)
}

/// Writes a file to begin with, or prints it: as elsewhere, `-` is no file.
fn init(file: Option<&Path>) -> Result<(), Failure> {
    let Some(path) = file.filter(|path| *path != Path::new("-")) else {
        say(initial().trim_end());
        return Ok(());
    };
    let new = std::fs::File::options().write(true).create_new(true).open(path);
    let written = new.and_then(|mut file| file.write_all(initial().as_bytes()));
    written.or_exit(Exit::Io, || format!("cannot write {}", path.display()))?;
    say(&format!("{}: written; every setting is there, with its default, behind a #", path.display()));
    Ok(())
}

/// A file with every setting as a comment.
pub fn initial() -> String {
    let mut text = String::from(
        "# Settings of `fanwire serve --config FILE`. What stands behind a # holds anyway: take the # away to change it.\n\
         # An option goes before a variable of the environment (FANWIRE__MEMORY__POOL_BYTES=64MiB), which goes before this\n\
         # file. `fanwire config check --config FILE` says what is wrong, `fanwire config show --config FILE` what holds.\n",
    );
    in_sections(&mut text, |text, key, name| {
        text.push('\n');
        for line in wrapped(&format!("{}. Allowed: {}.", key.help(), key.values()), COMMENT_WIDTH) {
            text.push_str(&format!("# {line}\n"));
        }
        text.push_str(&format!("#{name} = {}\n", toml_value(key, &key.default())));
    });
    // At the end: what stands below a table belongs to it.
    text.push_str(
        "\n# An entry of topics can have a table of its own, instead of a text in the list above.\n\
         # [[topics]]\n# pattern = \"rover/*/pose\"\n# slow = \"latest\"\n# keep_messages = 100\n# keep_for = \"1m\"\n",
    );
    text
}

/// What holds, each value with where it came from; as TOML.
pub fn shown(loaded: &Loaded) -> String {
    let mut text = String::new();
    in_sections(&mut text, |text, key, name| {
        let value = toml_value(key, &loaded.text(key.name()));
        let origin = loaded.told_by(key.name());
        let is_unset = matches!(key.unit(), Unit::Text | Unit::Time)
            && loaded.text(key.name()).is_empty()
            && key.default().is_empty();
        text.push_str(&format!("{}{name} = {value}  # {origin}\n", if is_unset { "#" } else { "" }));
    });
    text
}

/// Calls `line` with each setting and its name in its section; the heads of sections are written between.
fn in_sections(text: &mut String, line: impl Fn(&mut String, Key, &str)) {
    let section = |key: &Key| key.name().rsplit_once('.').map_or("", |(section, _)| section);
    let mut keys: Vec<Key> = all().collect();
    let mut order: Vec<&str> = Vec::new();
    keys.iter().map(section).for_each(|name| {
        if !order.contains(&name) {
            order.push(name)
        }
    });
    // What belongs to no section has to stand first in TOML.
    let place = |key: &Key| {
        let name = section(key);
        (!name.is_empty(), order.iter().position(|known| *known == name))
    };
    keys.sort_by_key(place);
    let mut current = "";
    for key in keys {
        if section(&key) != current {
            current = section(&key);
            text.push_str(&format!("\n[{current}]\n"));
        }
        line(text, key, key.name().rsplit('.').next().unwrap_or_default());
    }
}

/// A value as TOML writes it.
pub fn toml_value(key: Key, text: &str) -> String {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<i64>().is_ok();
    match key.unit() {
        Unit::Flag => text.to_owned(),
        Unit::Bytes | Unit::Count if is_number => text.to_owned(),
        Unit::List if key.name() == "cpus" => quoted(text),
        Unit::List => {
            let parts: Vec<String> =
                text.split(key.separator().unwrap_or(',')).filter(|part| !part.is_empty()).map(quoted).collect();
            format!("[{}]", parts.join(", "))
        }
        _ => quoted(text),
    }
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    // JSON escapes the same, but for DEL.
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}
