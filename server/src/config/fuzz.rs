//! What a fuzzer does with its bytes: a file of settings. No text makes the reader panic, nothing of it is passed over in silence,
//! and what was taken can be written down and is taken again.

use toml::Value;

use super::command::toml_value;
use super::file;

/// A file's bytes.
///
/// # Panics
/// Where a promise is broken.
pub fn configuration(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let layer = file::parse("f", text);
    let lines = text.matches('\n').count() + 1;
    for fault in layer.faults.iter().filter(|fault| !fault.problem.is_empty()) {
        let mut place = fault.at.split(':').skip(1).map(|part| part.parse::<usize>().expect("a number"));
        let line = place.next().expect("a line");
        assert!((1..=lines).contains(&line) && place.next().is_some_and(|column| column > 0), "{fault}");
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match text.parse::<toml::Table>() {
        Err(_) => assert!(!layer.faults.is_empty(), "a file that is no TOML is taken"),
        Ok(table) => {
            let leaves = leaves(&table, "");
            let told = layer.given.len() + layer.faults.len();
            assert!(told >= leaves.len(), "of {} settings {told} are told of", leaves.len());
            if layer.faults.is_empty() {
                let mut names: Vec<&str> = layer.given.iter().map(|given| given.key.name()).collect();
                names.sort_unstable();
                assert_eq!(names, leaves);
            }
        }
    }
    for given in &layer.given {
        let written = format!("{} = {}\n", given.key.name(), toml_value(given.key, &given.text));
        let again = file::parse("f", &written);
        assert!(again.faults.is_empty(), "{written}: {:?}", again.faults);
        assert_eq!(again.given.len(), 1, "{written}");
        assert_eq!(shown(&again.given[0].text), shown(&given.text), "{written}");
    }
}

/// Lists are written without the white space around their parts.
fn shown(text: &str) -> String {
    text.split(',').map(str::trim).collect::<Vec<_>>().join(",")
}

/// The names of all values, sorted; a value that is a section by its name counts as one.
fn leaves(table: &toml::Table, prefix: &str) -> Vec<String> {
    let mut all = Vec::new();
    for (key, value) in table {
        let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            Value::Table(table) if super::key::is_section(&name) => all.extend(leaves(table, &name)),
            _ => all.push(name),
        }
    }
    all.sort_unstable();
    all
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    #[test]
    fn no_seed_and_nothing_of_the_corpus_breaks_a_promise() {
        let mut files = 0;
        for folder in ["seeds", "corpus"] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/fuzz").join(folder).join("configuration");
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            for entry in entries {
                let path = entry.expect("a readable folder").path();
                #[allow(clippy::disallowed_macros, reason = "a test says where it has written")]
                {
                    println!("{}", path.display());
                }
                super::configuration(&fs::read(&path).expect("a readable file"));
                files += 1;
            }
        }
        assert!(files >= 10, "only {files} files: this would prove nothing");
    }
}
