//! The page of the settings below `token` is the table's.
//!
//! `FANWIRE_WRITE_REFERENCE=1 cargo test -p fanwire-access --test reference` writes it anew.

#![allow(clippy::disallowed_methods, reason = "tests may ask the environment")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use fanwire_access::token_settings;

/// Longest line of a page.
const COLUMNS: usize = 120;

/// A text in lines that fit.
fn folded(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("one at least");
        match last.chars().count() {
            0 => last.push_str(word),
            used if used + 1 + word.chars().count() <= COLUMNS => *last += &format!(" {word}"),
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

fn page() -> String {
    let mut page = "\
# Settings of tokens

What can be set of the tokens that clients bring, to which values, and what holds where nothing is said. Generated from
the table of settings. [How to use them](../how-to/tokens.md).

| where | how |
| --- | --- |
| `fanwire serve` | `--token-keys-file FILE`; `FANWIRE__TOKEN__KEYS_FILE`; `keys_file` below `[token]` in its file |
| Rust | `TokenSettings::set(\"token.keys_file\", …)` of the crate `fanwire-access` |
| C | `settings` of `fw_config`: `{\"token.keys_file\", …}` |
| C++ | `config.set(\"token.keys_file\", …)` |
| Python | `options={\"token.keys_file\": …}` |

Times and lists are written as in [settings](settings.md). *Reload*: a running engine takes another value
(`fanwire reload`, `Verifier::take_over` in Rust, `fw_reconfigure` in C, `engine.reconfigure` in Python).

| setting | values | default | reload |
| --- | --- | --- | --- |
"
    .to_owned();
    for setting in token_settings() {
        let default = if setting.default.is_empty() { "none" } else { setting.default };
        let reload = if setting.is_reloadable { "yes" } else { "no" };
        writeln!(page, "| `{}` | {} | {default} | {reload} |", setting.name, setting.values).unwrap();
    }
    for setting in token_settings() {
        write!(page, "\n### {}\n\n{}\n", setting.name, folded(&format!("{}.", setting.help))).unwrap();
    }
    page
}

#[test]
fn the_page_is_the_table_s() {
    let (path, text) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/token-settings.md"), page());
    if std::env::var_os("FANWIRE_WRITE_REFERENCE").is_some() {
        fs::write(&path, &text).expect("docs/reference is writable");
    }
    assert!(
        fs::read_to_string(&path).unwrap_or_default() == text,
        "docs/reference/token-settings.md is not what the table says; write it anew with\n  \
         FANWIRE_WRITE_REFERENCE=1 cargo test -p fanwire-access --test reference"
    );
    let long: Vec<&str> = text.lines().filter(|line| line.chars().count() > COLUMNS).collect();
    assert!(long.is_empty(), "{long:?}");
}
