//! Job: settings out of a TOML file, each with its line and column.
//! Knows: TOML (<https://toml.io/en/v1.0.0>). Must never know: what else says something.

use std::io::{self, Read};
use std::path::Path;
use std::sync::OnceLock;

use fanwire_access::read_regular;
use toml::Spanned;
use toml::de::{DeArray, DeInteger, DeTable, DeValue};

use super::key::{Key, is_section, no_section};
use super::place::Places;
use super::{FAULTS_SHOWN, Fault, Layer, Origin, topics};
use crate::exit::{Exit, Failure, OrExit};

/// The name that stands for what comes in on stdin.
const STDIN: &str = "-";
/// Longest file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What the file says.
///
/// # Errors
/// 66 where it cannot be read, is no regular file, or too long.
pub fn read(path: &Path) -> Result<Layer, Failure> {
    let name = if path == Path::new(STDIN) { "stdin".to_owned() } else { path.display().to_string() };
    let text = bytes(path).or_exit(Exit::NoInput, || format!("cannot read {name}"))?;
    Ok(match String::from_utf8(text) {
        Ok(text) => parse(&name, &text),
        Err(error) => {
            let before = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]).into_owned();
            let mut layer = Layer::default();
            layer.fault(Places::new(&name, &before).of(before.len()), "this is not UTF-8".into());
            layer
        }
    })
}

fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    if path != Path::new(STDIN) {
        return read_regular(path, FILE_BYTES_MAX);
    }
    if let Some(bytes) = ON_STDIN.get() {
        return Ok(bytes.clone());
    }
    let bytes = to_end(io::stdin().lock())?;
    Ok(ON_STDIN.get_or_init(|| bytes).clone())
}

fn to_end(input: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    input.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > FILE_BYTES_MAX {
        true => Err(io::Error::other(format!("it has more than {FILE_BYTES_MAX} bytes"))),
        false => Ok(bytes),
    }
}

/// What stdin said, if settings came from there: it says so once, and there is nothing at a reload, or for another process.
static ON_STDIN: OnceLock<Vec<u8>> = OnceLock::new();

/// See [`ON_STDIN`].
pub fn on_stdin() -> Option<&'static [u8]> {
    ON_STDIN.get().map(Vec::as_slice)
}

/// What a text of TOML says; `name` is the file's.
pub fn parse(name: &str, text: &str) -> Layer {
    // An editor on Windows may begin it with a mark of its encoding.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader { places: Places::new(name, text), layer: Layer::default() };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        reader.fault(error.span().map_or(text.len(), |span| span.start), error.message().replace('\n', ", "));
    }
    if errors.is_empty() {
        reader.section("", table.get_ref());
    }
    reader.layer
}

struct Reader<'a> {
    places: Places<'a>,
    layer: Layer,
}

impl Reader<'_> {
    fn fault(&mut self, offset: usize, problem: String) {
        let at = self.places.of(offset);
        self.layer.fault(at, problem);
    }

    /// A name that there is not. The nearest one is looked for as long as somebody will read it.
    fn unknown(&mut self, offset: usize, problem: impl FnOnce() -> String) {
        match self.layer.faults.len() < FAULTS_SHOWN {
            true => self.fault(offset, problem()),
            false => self.layer.faults.push(Fault::default()),
        }
    }

    /// All of a table, in the order of the file.
    fn section(&mut self, prefix: &str, table: &DeTable<'_>) {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            let at = key.span().start;
            let name =
                if prefix.is_empty() { key.get_ref().to_string() } else { format!("{prefix}.{}", key.get_ref()) };
            match (Key::named(&name), value.get_ref()) {
                (Some(found), _) => self.setting(found, value),
                (None, DeValue::Table(table)) if is_section(&name) => self.section(&name, table),
                (None, _) if is_section(&name) => {
                    self.fault(at, format!("{name} is a section: write [{name}], and its settings below"));
                }
                (None, DeValue::Table(_)) => self.unknown(at, || no_section(&name)),
                (None, _) => self.unknown(at, || Key::unknown(&name)),
            }
        }
    }

    fn setting(&mut self, key: Key, value: &Spanned<DeValue<'_>>) {
        let origin = Origin::File(self.places.of(value.span().start));
        let text = match value.get_ref() {
            DeValue::Array(array) if key.name() == "topics" => match self.topics(array) {
                Some(text) => Ok(text),
                // What is wrong was said element by element.
                None => return,
            },
            DeValue::Array(array) if key.separator().is_some() => self.list(key, array),
            DeValue::String(text) if text.is_empty() && key.separator().is_some() => {
                Err((value.span().start, "is empty; for a list without values write []".to_owned()))
            }
            other => scalar(other).map_err(|problem| (value.span().start, problem)),
        };
        match text {
            Ok(text) => self.layer.give(key, text, origin),
            Err((offset, problem)) => {
                self.fault(offset, format!("{}: {problem}; allowed: {}", key.name(), key.values()));
            }
        }
    }

    fn list(&mut self, key: Key, array: &DeArray<'_>) -> Result<String, (usize, String)> {
        let separator = key.separator().unwrap_or(',');
        let mut parts = Vec::new();
        for element in array.iter() {
            let at = element.span().start;
            let part = scalar(element.get_ref()).map_err(|problem| (at, problem))?;
            if part.trim().is_empty() || part.contains(separator) {
                return Err((at, "one value is needed here".into()));
            }
            parts.push(part);
        }
        Ok(parts.join(&separator.to_string()))
    }

    /// `None`: some of it is wrong, which is said.
    fn topics(&mut self, array: &DeArray<'_>) -> Option<String> {
        let before = self.layer.faults.len();
        let mut lines = Vec::new();
        for element in array.iter() {
            match topics::read(element) {
                Ok(line) => lines.push(line),
                Err(faults) => {
                    faults.into_iter().for_each(|(at, problem)| self.fault(at, format!("topics: {problem}")))
                }
            }
        }
        (self.layer.faults.len() == before).then(|| lines.join("\n"))
    }
}

/// A single value as text.
///
/// # Errors
/// What it is instead.
pub fn scalar(value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(number) => integer(number),
        DeValue::Boolean(is_so) => Ok(is_so.to_string()),
        DeValue::Float(number) => Err(format!("`{}` is no whole number", number.as_str())),
        DeValue::Datetime(_) => Err("a date is none of its values".into()),
        DeValue::Array(_) => Err("one value is needed here, no list".into()),
        DeValue::Table(_) => Err("one value is needed here, no section".into()),
    }
}

fn integer(number: &DeInteger<'_>) -> Result<String, String> {
    // 64 bits, as TOML has them.
    let value = i64::from_str_radix(number.as_str(), number.radix());
    value.map(|value| value.to_string()).map_err(|_| format!("`{}` is more than a number can hold", number.as_str()))
}
