//! Every program that a test or the product starts is one that any Debian has, or one that `./test` installs: on a fresh
//! machine nothing else is there.

use super::{all_sources, read, repository};

/// Of Debian's essential packages: they cannot be missing.
const ESSENTIAL: &[&str] = &["mkfifo", "sh", "test", "unshare"];

/// How sources start programs by name, and how the C interface's tests ask for one.
const STARTERS: &[&str] = &["Command::new(", "if !has(", "|| !has("];

#[test]
fn every_program_that_is_started_is_essential_or_installed() {
    let script = read(&repository().join("test"));
    let installed = installed(&script);
    let mut faults = Vec::new();
    for (name, text) in all_sources().into_iter().filter(|(name, _)| !name.starts_with("core/tests/dependencies")) {
        for program in started(&text) {
            if !ESSENTIAL.contains(&program.as_str()) && !installed.contains(&program) {
                faults.push(format!("{name} starts {program}: `tools` in ./test must install it"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_planted_program_is_found() {
    assert_eq!(started("let a = std::process::Command::new(\"jq\").arg(\"-n\");"), ["jq"]);
    assert_eq!(started("Command::new(if is_cpp { \"g++\" } else { \"gcc\" });"), ["g++", "gcc"]);
    assert_eq!(started("if !has(\"curl\") || !has(\"xxd\") {"), ["curl", "xxd"]);
    assert_eq!(started("Command::new(env!(\"CARGO\")); Command::new(program); map.has(key)"), Vec::<String>::new());
    assert_eq!(installed("tools=(a:b\n    c++:d)\nmore=(e:f)"), ["b", "d"]);
}

/// What the list `tools` of the script makes available.
fn installed(script: &str) -> Vec<String> {
    let list =
        script.split_once("\ntools=(").or_else(|| script.split_once("tools=(")).expect("./test has such a list").1;
    let list = list.split_once(')').expect("the list ends").0;
    list.split_whitespace().filter_map(|pair| pair.split_once(':')).map(|(_, command)| command.to_owned()).collect()
}

/// The programs that a source names where it starts one, or asks for one.
fn started(text: &str) -> Vec<String> {
    let mut programs = Vec::new();
    for starter in STARTERS {
        for (at, _) in text.match_indices(starter) {
            let argument = argument(&text[at + starter.len()..]);
            if !argument.contains("env!") {
                let words = argument.split('"').skip(1).step_by(2).filter(|word| is_program(word));
                programs.extend(words.map(str::to_owned));
            }
        }
    }
    programs
}

/// Not a path, a file or a sentence.
fn is_program(word: &str) -> bool {
    word.chars().all(|c| c.is_ascii_alphanumeric() || "+-_".contains(c))
}

/// What stands before the bracket that closes.
fn argument(text: &str) -> &str {
    let mut open = 1;
    for (at, c) in text.char_indices() {
        match c {
            '(' => open += 1,
            ')' => open -= 1,
            _ => {}
        }
        if open == 0 {
            return &text[..at];
        }
    }
    text
}
