//! Integration tests are few programs with many modules: a file that none of them names would never run.

use super::{read, repository, rust_files};

#[test]
fn every_file_of_tests_is_in_a_program() {
    let mut faults = Vec::new();
    for package in ["core", "bridge", "server", "ffi", "perf"] {
        let folder = repository().join(package);
        let manifest = read(&folder.join("Cargo.toml"));
        let is_automatic = !manifest.lines().any(|line| line.trim() == "autotests = false");
        let suite = folder.join("tests/suite.rs");
        let modules = if suite.is_file() { read(&suite) } else { String::new() };
        for file in rust_files(&folder.join("tests")) {
            if file.parent() != Some(&folder.join("tests")) {
                continue;
            }
            let name = file.file_stem().expect("a file has a name").to_string_lossy().into_owned();
            if !is_automatic && !is_named(&name, &manifest, &modules) {
                faults.push(format!("{package}/tests/{name}.rs: `mod {name};` in suite.rs, or [[test]] in Cargo.toml"));
            }
        }
    }
    assert!(faults.is_empty(), "tests that never run:\n{}", faults.join("\n"));
}

/// The fuzzer of settings is the server's program with another entry, in a workspace of its own.
#[test]
fn the_fuzzer_is_made_of_what_the_server_is_made_of() {
    let lines = |path: &str| read(&repository().join(path)).lines().map(str::to_owned).collect::<Vec<_>>();
    let (workspace, fuzzer) = (lines("Cargo.toml"), lines("core/fuzz/Cargo.toml"));
    let server = read(&repository().join("server/Cargo.toml"));
    let (_, wanted) = server.split_once("\n[dependencies]\n").expect("dependencies");
    let (wanted, _) = wanted.split_once("\n[").expect("a table behind them");
    let mut missing = Vec::new();
    for name in wanted.lines().filter_map(|line| line.strip_suffix(".workspace = true")) {
        let begin = format!("{name} = ");
        let is_ours = name.starts_with("fanwire");
        let line = workspace.iter().find(|line| line.starts_with(&begin)).expect("the workspace names it");
        let is_there = |other: &String| if is_ours { other.starts_with(&begin) } else { other == line };
        if !fuzzer.iter().any(is_there) {
            missing.push(line.clone());
        }
    }
    assert!(missing.is_empty(), "core/fuzz/Cargo.toml lacks, or has otherwise:\n{}", missing.join("\n"));
}

#[test]
fn a_file_that_was_left_out_is_found() {
    let manifest = "autotests = false\n[[test]]\nname = \"suite\"\n[[bin]]\nname = \"tool\"\n";
    assert!(is_named("all", "[[test]]\nname = \"suite\"\npath = \"tests/all.rs\"\n", ""));
    assert!(is_named("suite", manifest, "") && is_named("limits", manifest, "mod support;\nmod limits;\n"));
    assert!(
        !is_named("limits", manifest, "mod limits_of_others;\n// mod limits;\n") && !is_named("tool", manifest, "")
    );
}

/// Whether the file is a program of its own, or a module of the suite.
fn is_named(name: &str, manifest: &str, suite: &str) -> bool {
    let programs = manifest.split("[[").filter_map(|table| table.strip_prefix("test]]"));
    let wanted = [format!("name = \"{name}\""), format!("path = \"tests/{name}.rs\"")];
    let is_program = |table: &str| table.lines().any(|line| wanted.iter().any(|wanted| line.trim() == wanted));
    programs.into_iter().any(is_program) || suite.lines().any(|line| line == format!("mod {name};"))
}
