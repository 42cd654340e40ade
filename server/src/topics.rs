//! Job: how topics are to be treated, out of a file.
//! Knows: the file. Must never know: what the engine makes of it.

use std::path::Path;

use fanwire::TopicConfig;
use fanwire::settings::parse_lines;

use crate::exit::{Exit, Failure, OrExit};

/// Settings out of a file, one a line; empty lines and those that begin with `#` say nothing.
///
/// # Errors
/// 66 where the file cannot be read, 65 with the line that is wrong.
pub fn read(path: &Path) -> Result<Vec<TopicConfig>, Failure> {
    let text = std::fs::read_to_string(path).or_exit(Exit::NoInput, || format!("cannot read {}", path.display()))?;
    parse_lines(&text).map_err(|(n, what)| Failure::message(Exit::Data, format!("{}:{n}: {what}", path.display())))
}
