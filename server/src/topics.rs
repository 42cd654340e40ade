//! Job: how topics are to be treated, out of a file.
//! Knows: the file. Must never know: what the engine makes of it.

use std::path::Path;

use fanwire::TopicConfig;
use fanwire::settings::parse_lines;
use fanwire_access::read_regular;

use crate::exit::{Exit, Failure, OrExit};

/// Longest file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Settings out of a file, one a line; empty lines and those that begin with `#` say nothing.
///
/// # Errors
/// 66 where the file cannot be read, is no regular file or too long, 65 with the line that is wrong.
pub fn read(path: &Path) -> Result<Vec<TopicConfig>, Failure> {
    let cannot = || format!("cannot read {}", path.display());
    let bytes = read_regular(path, FILE_BYTES_MAX).or_exit(Exit::NoInput, cannot)?;
    let text = String::from_utf8(bytes).or_exit(Exit::NoInput, cannot)?;
    parse_lines(&text).map_err(|(n, what)| Failure::message(Exit::Data, format!("{}:{n}: {what}", path.display())))
}
