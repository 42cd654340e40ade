//! Keeps the documents short, narrow and true to the tree: lengths, links, and the files, scenarios and steps they name.
//!
//! Reads every `*.md` of the project as text. Knows Markdown's headings, links, fences and inline code; knows nothing of
//! the engine. What the documents say is held by other tests: `protocol.rs`, and the tests of the tools.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

/// Longest README, in lines.
const README_LINES_MAX: usize = 200;
/// Longest line, in characters: of tables, examples and code as well.
const LINE_MAX: usize = 120;

/// What an absolute path in a document may begin with: the kernel's trees, what an administrator installs, and targets
/// of requests. Everything else would be somebody's own folder.
const ABSOLUTE_ALLOWED: &[&str] = &[
    "/api",
    "/dev",
    "/etc",
    "/health",
    "/livez",
    "/metrics",
    "/openapi.json",
    "/proc",
    "/readyz",
    "/run/fanwire",
    "/run/fanwire-web",
    "/run/fanwire-web.sock",
    "/sys",
    "/t",
    "/var/lib/fanwire",
    "/ws",
];

/// Folders of the project that a path in inline code may begin with; what it names must then be there.
const FOLDERS: &[&str] =
    &["access", "benches", "clients", "core", "docs", "ffi", "include", "perf", "python", "server", "tuning"];

/// One document: where it is below the project's root, and its text.
struct Document {
    path: PathBuf,
    text: String,
}

#[test]
fn the_readme_is_short_and_no_line_is_wide() {
    let faults: Vec<String> = documents().iter().flat_map(length_faults).collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn links_lead_to_files_and_headings_of_this_project() {
    let documents = documents();
    let headings: BTreeMap<PathBuf, BTreeSet<String>> =
        documents.iter().map(|document| (document.path.clone(), anchors(&document.text))).collect();
    let faults: Vec<String> = documents.iter().flat_map(|document| link_faults(document, &headings)).collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn paths_are_of_this_project_and_exist() {
    let faults: Vec<String> = documents().iter().flat_map(path_faults).collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn scenarios_that_are_named_exist() {
    let is_there = |name: &str| root().join(format!("perf/scenarios/{name}.toml")).is_file();
    let kinds = ["versus", "fanout", "NAME"];
    for document in documents() {
        for command in ["fanwire-perf run ", "fanwire-perf peers "] {
            for name in words_after(&document.text, command) {
                let is_known = is_there(&name) || kinds.contains(&&*name);
                assert!(is_known, "{}: there is no scenario `{command}{name}`", document.path.display());
            }
        }
    }
}

#[test]
fn steps_that_are_named_exist() {
    let mut steps = BTreeSet::from(["NAME".to_owned()]);
    for arguments in [&["--list"][..], &["--nightly", "--list"]] {
        let out = Command::new(root().join("test")).args(arguments).output().expect("./test runs");
        steps.extend(String::from_utf8_lossy(&out.stdout).lines().map(str::to_owned));
    }
    assert!(steps.len() > 10, "./test --list names its steps: {steps:?}");
    for document in documents() {
        for command in ["`./test ", "`./test --nightly "] {
            for name in words_after(&document.text, command) {
                let is_family = steps.iter().any(|step| name == "fuzz-TARGET" && step.starts_with("fuzz-"));
                let is_known = steps.contains(&name) || is_family;
                assert!(is_known, "{}: ./test has no step `{name}`", document.path.display());
            }
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every document of the project.
fn documents() -> Vec<Document> {
    let mut found = Vec::new();
    collect(&root(), Path::new(""), &mut found);
    found.sort();
    assert!(found.len() >= 10 && found.contains(&PathBuf::from("README.md")), "the documents were found: {found:?}");
    let read = |path: PathBuf| {
        let text = fs::read_to_string(root().join(&path)).expect("a readable document");
        Document { path, text }
    };
    found.into_iter().map(read).collect()
}

/// Adds the `*.md` below a folder; what is built, installed or hidden is passed over.
fn collect(root: &Path, folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(root.join(folder)).expect("a readable folder") {
        let name = entry.expect("an entry").file_name();
        let path = folder.join(&name);
        let full = root.join(&path);
        let name = name.to_string_lossy();
        let is_foreign = name.starts_with('.')
            || name == "node_modules"
            || name == "target"
            || full.join("CACHEDIR.TAG").exists()
            || full.join("pyvenv.cfg").exists();
        if full.is_dir() && !full.is_symlink() && !is_foreign {
            collect(root, &path, found);
        } else if name.ends_with(".md") {
            found.push(path);
        }
    }
}

fn length_faults(document: &Document) -> Vec<String> {
    let mut faults = Vec::new();
    let name = document.path.display();
    let lines = document.text.lines().count();
    if document.path == Path::new("README.md") && lines > README_LINES_MAX {
        faults.push(format!("{name}: {lines} lines, at most {README_LINES_MAX}"));
    }
    for (line, number) in document.text.lines().zip(1..) {
        let width = line.chars().count();
        if width > LINE_MAX {
            faults.push(format!("{name}:{number}: {width} characters, at most {LINE_MAX}"));
        }
    }
    faults
}

fn link_faults(document: &Document, headings: &BTreeMap<PathBuf, BTreeSet<String>>) -> Vec<String> {
    let mut faults = Vec::new();
    for (target, number) in links(&document.text) {
        let place = format!("{}:{number}: ({target})", document.path.display());
        if target.starts_with("https://") || target.starts_with("http://") {
            continue;
        }
        let (file, anchor) = target.split_once('#').map_or((&*target, None), |(file, anchor)| (file, Some(anchor)));
        let folder = document.path.parent().unwrap_or(Path::new(""));
        let wanted = if file.is_empty() { Some(document.path.clone()) } else { normal(&folder.join(file)) };
        match wanted {
            None => faults.push(format!("{place} leads out of the project")),
            Some(path) if !root().join(&path).exists() => faults.push(format!("{place} leads nowhere")),
            Some(path) => {
                if anchor.is_some_and(|anchor| !headings.get(&path).is_some_and(|there| there.contains(anchor))) {
                    faults.push(format!("{place}: there is no such heading"));
                }
            }
        }
    }
    faults
}

/// A path without `.` and `..`; none if it leaves the project.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => normal.push(name),
            Component::CurDir => {}
            Component::ParentDir if normal.pop() => {}
            _ => return None,
        }
    }
    Some(normal)
}

/// Lines outside of fenced blocks, with their numbers.
fn prose(text: &str) -> Vec<(&str, usize)> {
    let mut is_fenced = false;
    let mut lines = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        if line.trim_start().starts_with("```") {
            is_fenced = !is_fenced;
        } else if !is_fenced {
            lines.push((line, number));
        }
    }
    lines
}

/// A line cut at its backticks: what is outside and what is inside of inline code.
fn outside_and_inside(line: &str) -> (String, Vec<&str>) {
    let parts: Vec<&str> = line.split('`').collect();
    let outside = parts.iter().step_by(2).copied().collect::<Vec<_>>().join("`");
    (outside, parts.iter().skip(1).step_by(2).copied().collect())
}

/// Targets of the links outside of code, with their lines.
fn links(text: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for (line, number) in prose(text) {
        let (outside, _) = outside_and_inside(line);
        for rest in outside.split("](").skip(1) {
            let target = rest.split(')').next().unwrap_or_default();
            found.push((target.to_owned(), number));
        }
    }
    found
}

/// The anchors of a document's headings, as code hosts make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (line, _) in prose(text) {
        let title = line.trim_start_matches('#');
        if !line.starts_with('#') || !title.starts_with(' ') {
            continue;
        }
        let kept = title.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        let slug: String = kept.collect::<String>().to_lowercase().replace(' ', "-");
        let again = (1..).map(|n| format!("{slug}-{n}")).find(|slug| !found.contains(slug));
        let is_new = found.insert(slug);
        if !is_new {
            found.extend(again);
        }
    }
    found
}

fn path_faults(document: &Document) -> Vec<String> {
    let name = document.path.display();
    let mut faults = Vec::new();
    for (line, number) in document.text.lines().zip(1..) {
        for path in absolute_paths(line) {
            let is_allowed = ABSOLUTE_ALLOWED.iter().any(|root| path == *root || path.starts_with(&format!("{root}/")));
            if !is_allowed {
                faults.push(format!("{name}:{number}: {path} is a path outside of the project"));
            }
        }
    }
    for (line, number) in prose(&document.text) {
        for code in outside_and_inside(line).1 {
            if let Some(path) = named_file(code).filter(|path| !root().join(path).exists()) {
                faults.push(format!("{name}:{number}: there is no {path}"));
            }
        }
    }
    faults
}

/// Words that are absolute paths. A lone `/`, and a slash within a word, are none.
fn absolute_paths(line: &str) -> Vec<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "/._-*~".contains(c);
    line.split(|c: char| !is_part(c) && c != ':')
        .map(|word| word.trim_end_matches(['.', ':', '/']))
        .filter(|word| word.starts_with('/') && word[1..].starts_with(|c: char| c.is_ascii_alphabetic() || c == '~'))
        .map(str::to_owned)
        .collect()
}

/// The file of the project that inline code names, if its first word names one: below a known folder, without wildcards.
fn named_file(code: &str) -> Option<&str> {
    let code = code.split_whitespace().next()?;
    let (folder, rest) = code.split_once('/')?;
    let is_plain = rest.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    (FOLDERS.contains(&folder) && is_plain && !rest.is_empty()).then_some(code)
}

/// The words that follow a command: names of lower case, figures and hyphens, several where blanks part them.
fn words_after(text: &str, command: &str) -> Vec<String> {
    let mut found = Vec::new();
    for rest in text.split(command).skip(1) {
        let line = rest.split(['\n', '`', '|', '#', '(', ')', ',', ';', ':', '&']).next().unwrap_or_default();
        let is_name = |word: &&str| !word.starts_with('-') && !word.contains(['…', '=', '[']);
        found.extend(line.split_whitespace().take_while(is_name).map(|word| word.trim_end_matches('.').to_owned()));
    }
    found
}

mod the_checker_itself {
    //! Each rule finds what it is for, and lets pass what is right.

    use super::*;

    fn document(path: &str, text: &str) -> Document {
        Document { path: path.into(), text: text.to_owned() }
    }

    #[test]
    fn lengths_at_the_limit_pass_and_one_more_does_not() {
        let readme = |lines: usize| document("README.md", &"line\n".repeat(lines));
        assert!(length_faults(&readme(README_LINES_MAX)).is_empty());
        assert_eq!(length_faults(&readme(README_LINES_MAX + 1)).len(), 1);
        // Characters are counted, not bytes.
        assert!(length_faults(&document("a.md", &"ä".repeat(LINE_MAX))).is_empty());
        assert_eq!(length_faults(&document("a.md", &"a".repeat(LINE_MAX + 1))).len(), 1);
    }

    #[test]
    fn broken_links_are_found() {
        let headings = BTreeMap::from([(PathBuf::from("README.md"), anchors("# One two\n## C\n## C++\n"))]);
        for (text, faults) in [
            ("[a](README.md) [b](README.md#one-two) [c](README.md#c-1) [d](https://example.org/x)", 0),
            ("`[a](nowhere.md)`\n```\n[a](nowhere.md)\n```\n", 0),
            ("[a](nowhere.md)", 1),
            ("[a](README.md#three)", 1),
            ("[a](../outside.md) [b](core/../../outside.md)", 2),
            ("[a](#here)", 1),
        ] {
            assert_eq!(link_faults(&document("a.md", text), &headings).len(), faults, "{text}");
        }
    }

    #[test]
    fn foreign_paths_and_missing_files_are_found() {
        for (text, faults) in [
            ("`/proc/PID/limits`, /etc/sysctl.d/, `GET /t/TOPIC`, 10 GB/s, a/b, `ws://host/t/a`, `/`, TCP/IP", 0),
            ("`core/tests/documents.rs` and `core/src` and `core/src/*.rs` and `node/core.rs`", 0),
            ("put it into /home/somebody/x or `/tmp/x`", 2),
            ("`core/tests/nothing.rs`", 1),
        ] {
            assert_eq!(path_faults(&document("a.md", text)).len(), faults, "{text}");
        }
    }

    #[test]
    fn names_of_scenarios_and_steps_are_taken_from_commands() {
        let text =
            "`fanwire-perf run memory --set n=1`, fanwire-perf run steady; fanwire-perf run a b\nfanwire-perf run c.";
        assert_eq!(words_after(text, "fanwire-perf run "), ["memory", "steady", "a", "b", "c"]);
        assert_eq!(words_after("`./test loom shuttle`; `./test --quick`", "`./test "), ["loom", "shuttle"]);
    }
}
