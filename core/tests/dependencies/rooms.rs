//! The shard's rooms: what each may name, and how large what is in them may be.
//!
//! Read from the sources, test items left out. Knows the rooms' names and their order; knows nothing of what they do.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    is_below, is_test_module, module_of, named_paths, read, repository, rust_files, tokens, without_test_items,
};

/// From the lowest to the highest: each names only those before it. The turn, and the shard itself, name all.
const ORDER: [&str; 21] = [
    "table",
    "pieces",
    "budget",
    "options",
    "message",
    "request",
    "dialect",
    "rest",
    "waiters",
    "admission",
    "clients",
    "closes",
    "topics",
    "lanes",
    "subscriptions",
    "sender",
    "census",
    "readmission",
    "host",
    "footprint",
    "turn",
];
/// Words that several parts share, and no parts.
const WORDS: [&str; 8] = ["table", "pieces", "budget", "options", "message", "request", "dialect", "rest"];
/// What only tests have.
const FOR_TESTS: [&str; 1] = ["trace"];
/// Other parts that one may name.
const PARTS_MAX: usize = 3;
/// Lines of a function, from its head to its brace.
const FUNCTION_LINES_MAX: usize = 80;
/// Lines of the file in the middle.
const MEDIAN_LINES_MAX: usize = 170;
/// Fields of a struct that are no parts of the shard.
const FIELDS_MAX: usize = 15;

/// The sources below the shard: the room of each, its name and its text.
fn rooms() -> Vec<(String, String, String)> {
    let root = repository().join("core/src/shard");
    let mut sources = Vec::new();
    for file in rust_files(&root) {
        let module = module_of(file.strip_prefix(&root).expect("listed below the root"));
        let room = module.split("::").next().unwrap_or_default().to_owned();
        if !is_test_module(&module) && !FOR_TESTS.contains(&room.as_str()) {
            sources.push((room, format!("shard::{module}").trim_end_matches(':').to_owned(), read(&file)));
        }
    }
    assert!(sources.len() > 40, "{} files: the rooms have moved, and nothing is checked", sources.len());
    sources
}

/// Which rooms each room names.
fn edges(sources: &[(String, String, String)]) -> BTreeMap<String, BTreeSet<String>> {
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (room, module, text) in sources {
        for (_, path) in named_paths(module, text) {
            let other = ORDER.iter().find(|other| is_below(&path, &format!("crate::shard::{other}")));
            if let Some(other) = other.filter(|other| *other != room) {
                edges.entry(room.clone()).or_default().insert((*other).to_owned());
            }
        }
    }
    edges
}

/// What is wrong with these edges.
fn faults(edges: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let place = |room: &str| ORDER.iter().position(|other| *other == room);
    let mut faults = Vec::new();
    for (room, named) in edges.iter().filter(|(room, _)| !room.is_empty()) {
        let own = place(room);
        faults.extend(named.iter().filter(|other| place(other) > own).map(|other| format!("{room} names {other}")));
        let parts = named.iter().filter(|other| !WORDS.contains(&other.as_str())).count();
        if room != "turn" && parts > PARTS_MAX {
            faults.push(format!("{room} names {parts} parts: {named:?}"));
        }
    }
    faults
}

#[test]
fn rooms_name_only_those_below_them_and_only_the_turn_more_than_three_parts() {
    let sources = rooms();
    for (room, ..) in sources.iter().filter(|(room, ..)| !room.is_empty()) {
        assert!(ORDER.contains(&room.as_str()), "{room} has no place in the order of rooms");
    }
    for room in ORDER {
        assert!(sources.iter().any(|(other, ..)| other == room), "there is no room {room}");
    }
    let edges = edges(&sources);
    assert!(edges.values().map(BTreeSet::len).sum::<usize>() > 20, "too few edges to be true: {edges:?}");
    assert_eq!(faults(&edges), Vec::<String>::new());
}

#[test]
fn planted_edges_are_found() {
    let planted = |room: &str, named: &[&str]| {
        let named = named.iter().map(|&other| other.to_owned()).collect();
        faults(&BTreeMap::from([(room.to_owned(), named)])).len()
    };
    assert_eq!(planted("lanes", &["topics", "table"]), 0);
    assert_eq!(planted("topics", &["lanes"]), 1);
    assert_eq!(planted("clients", &["turn"]), 1);
    assert_eq!(planted("host", &["clients", "lanes", "topics"]), 0);
    assert_eq!(planted("host", &["clients", "lanes", "topics", "sender"]), 1);
    assert_eq!(planted("turn", &["clients", "lanes", "topics", "sender", "host"]), 0);
    let source = |module: &str, text: &str| (module.to_owned(), format!("shard::{module}"), text.to_owned());
    let found = edges(&[
        source("topics", "use super::lanes::Lane; #[cfg(test)] mod tests { use crate::shard::turn::X; }"),
        source("clients", "fn f() { crate::shard::host::g() }"),
    ]);
    assert_eq!(found["topics"], BTreeSet::from(["lanes".to_owned()]));
    assert_eq!(found["clients"], BTreeSet::from(["host".to_owned()]));
}

#[test]
fn every_part_has_tests_of_its_own() {
    let sources = rooms();
    for part in ORDER.iter().filter(|part| !WORDS.contains(part) && **part != "turn") {
        let mut texts = sources.iter().filter(|(room, ..)| room == part).map(|(_, _, text)| text);
        assert!(texts.any(|text| text.contains("#[test]") || text.contains("mod tests;")), "{part} has no tests");
    }
}

/// Functions of a source with their lines.
fn functions(text: &str) -> Vec<(String, usize)> {
    let tokens = without_test_items(tokens(text));
    let mut found = Vec::new();
    for at in 0..tokens.len().saturating_sub(1) {
        if tokens[at].text != "fn" || !tokens[at + 1].is_word() {
            continue;
        }
        let (mut depth, mut end) = (0, at);
        for (place, token) in tokens.iter().enumerate().skip(at) {
            match token.text.as_str() {
                "{" => depth += 1,
                "}" => depth -= 1,
                ";" if depth == 0 => break,
                _ => {}
            }
            if token.text == "}" && depth == 0 {
                end = place;
                break;
            }
        }
        if end > at {
            found.push((tokens[at + 1].text.clone(), tokens[end].line - tokens[at].line + 1));
        }
    }
    found
}

#[test]
fn no_function_of_the_engine_is_too_long() {
    assert_eq!(functions("fn a() {\n 1;\n}\ntrait T { fn b(); }\nfn c() { { } }"), [("a".into(), 3), ("c".into(), 1)]);
    let (mut long, mut count) = (Vec::new(), 0);
    for folder in ["access/src", "core/src", "core/ring/src", "core/proto/src", "core/token/src", "core/types/src"] {
        let root = repository().join(folder);
        for file in rust_files(&root) {
            let module = module_of(file.strip_prefix(&root).expect("listed below the root"));
            if is_test_module(&module) || module.starts_with("sim") || module.starts_with("fuzz") {
                continue;
            }
            for (name, lines) in functions(&read(&file)) {
                count += 1;
                if lines > FUNCTION_LINES_MAX {
                    long.push(format!("{module}::{name}: {lines} lines, at most {FUNCTION_LINES_MAX}"));
                }
            }
        }
    }
    assert!(count > 1_000, "{count} functions: too few to be all");
    assert!(long.is_empty(), "{}", long.join("\n"));
}

/// Structs of a source with the number of their fields whose types are not among `parts`.
fn structs(text: &str, parts: &[&str]) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some((_, rest)) =
            line.split_once("struct ").filter(|(before, _)| before.trim_start_matches("pub ").is_empty())
        else {
            continue;
        };
        if !line.ends_with('{') {
            continue;
        }
        let name: String = rest.chars().take_while(|c| c.is_alphanumeric()).collect();
        let is_field =
            |line: &str| line.starts_with("    ") && !line.trim_start().starts_with(['/', '#']) && line.contains(": ");
        let is_part = |line: &str| {
            let kind = line.rsplit(": ").next().unwrap_or_default();
            parts.contains(&kind.split(['<', ',']).next().unwrap_or_default())
        };
        let fields =
            lines.by_ref().take_while(|line| *line != "}").filter(|line| is_field(line) && !is_part(line)).count();
        found.push((name, fields));
    }
    found
}

#[test]
fn no_struct_of_the_shard_holds_too_much_and_files_are_short() {
    assert_eq!(
        structs("pub struct A {\n    /// x: y\n    a: u8,\n    b: Clients,\n}\n", &["Clients"]),
        [("A".into(), 1)]
    );
    let sources = rooms();
    let parts = [
        "Clients",
        "Admission",
        "Topics",
        "Lanes",
        "Subscriptions",
        "Sender",
        "Waiters",
        "Closes",
        "Host",
        "Readmission",
        "Census",
        "Desk",
        "Pace",
        "Ears",
    ];
    let all: Vec<(String, usize)> = sources.iter().flat_map(|(_, _, text)| structs(text, &parts)).collect();
    assert!(all.len() > 50, "{} structs: too few to be all", all.len());
    // A connection's bits are independent of each other; `shard/footprint.rs` counts them.
    let large: Vec<_> = all.iter().filter(|(name, fields)| *fields > FIELDS_MAX && name != "Flags").collect();
    assert!(large.is_empty(), "{large:?}, at most {FIELDS_MAX} fields");
    let shard = all.iter().find(|(name, _)| name == "Shard").expect("the shard is a struct");
    assert!(shard.1 <= 5, "{} fields of the shard are no parts", shard.1);
    let mut lines: Vec<usize> = sources.iter().map(|(_, _, text)| text.lines().count()).collect();
    lines.sort_unstable();
    let median = lines[lines.len() / 2];
    assert!(median <= MEDIAN_LINES_MAX, "the file in the middle has {median} lines, at most {MEDIAN_LINES_MAX}");
}
