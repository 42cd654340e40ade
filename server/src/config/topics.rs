//! Job: one entry of `topics` in a file: a text as on the command line, or a table.
//! Knows: the words. Must never know: what the engine makes of them.

use fanwire::TopicConfig;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::file::scalar;

/// A key of such a table, and how it is written in a text.
const WORDS: [(&str, &str); 8] = [
    ("slow", ""),
    ("keep", "keep-"),
    ("keep_messages", "keep-messages="),
    ("keep_bytes", "keep-bytes="),
    ("keep_for", "keep-for="),
    ("lane_bytes", "lane-bytes="),
    ("batch_window", "batch-window="),
    ("deliver_within", "deliver-within="),
];

const SLOW: [&str; 3] = ["drop-oldest", "latest", "disconnect"];
const KEEP: [&str; 2] = ["nothing", "last"];

/// The entry as a line of text.
///
/// # Errors
/// Everything that is wrong, each with its offset in the file.
pub fn read(entry: &Spanned<DeValue<'_>>) -> Result<String, Vec<(usize, String)>> {
    let at = entry.span().start;
    let text = match entry.get_ref() {
        DeValue::String(text) => text.to_string(),
        DeValue::Table(table) => from_table(at, table)?,
        other => {
            let problem = scalar(other).err().unwrap_or_else(|| "a text or a table is needed here".into());
            return Err(vec![(at, problem)]);
        }
    };
    let config: TopicConfig = text.parse().map_err(|problem| vec![(at, problem)])?;
    if config.pattern.starts_with('#') {
        return Err(vec![(at, "a pattern that begins with # cannot be set here".into())]);
    }
    Ok(config.to_string())
}

fn from_table(at: usize, table: &DeTable<'_>) -> Result<String, Vec<(usize, String)>> {
    let (mut faults, mut words, mut pattern) = (Vec::new(), Vec::new(), None);
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    for (key, value) in entries {
        let text = match scalar(value.get_ref()) {
            Ok(text) => text,
            Err(problem) => {
                faults.push((value.span().start, format!("{}: {problem}", key.get_ref())));
                continue;
            }
        };
        let allowed: Option<&[&str]> = match &**key.get_ref() {
            "slow" => Some(&SLOW),
            "keep" => Some(&KEEP),
            _ => None,
        };
        if let Some(allowed) = allowed.filter(|allowed| !allowed.contains(&&*text)) {
            let problem = format!("{} = {text}: must be one of {}", key.get_ref(), allowed.join(", "));
            faults.push((value.span().start, problem));
            continue;
        }
        match WORDS.iter().find(|(name, _)| name == key.get_ref()) {
            Some((_, word)) => words.push((value.span().start, format!("{word}{text}"))),
            None if key.get_ref() == "pattern" => pattern = Some(text),
            None => {
                let names: Vec<_> = WORDS.iter().map(|(name, _)| *name).collect();
                let problem =
                    format!("{}: there is no such key; there are pattern, {}", key.get_ref(), names.join(", "));
                faults.push((key.span().start, problem));
            }
        }
    }
    let Some(pattern) = pattern else {
        faults.push((at, "an entry needs a pattern".into()));
        return Err(faults);
    };
    // One by one, so that what is wrong is told where it stands.
    for (at, word) in &words {
        if word.contains(',') {
            faults.push((*at, format!("`{word}` is more than one word")));
        } else if let Err(problem) = format!("x={word}").parse::<TopicConfig>() {
            faults.push((*at, problem));
        }
    }
    let has = |name: &str| table.iter().any(|(key, _)| key.get_ref() == name);
    if has("keep") && ["keep_messages", "keep_bytes", "keep_for"].into_iter().any(has) {
        faults.push((at, "keep says the same as keep_messages, keep_bytes, keep_for: write one of them".into()));
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let words: Vec<String> = words.into_iter().map(|(_, word)| word).collect();
    let words = if words.is_empty() { SLOW[0].to_owned() } else { words.join(",") };
    Ok(format!("{pattern}={words}"))
}
