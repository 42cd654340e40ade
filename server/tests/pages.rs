//! The scripts of the demo and the dashboard, in Node's own test runner: server/tests/page.
#![allow(clippy::disallowed_methods)]

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support;

/// The oldest that has the runner and what the scripts are written in.
const NODE_MIN: u32 = 20;

#[test]
fn the_pages_scripts_pass_their_own_tests() {
    let Ok(version) = Command::new("node").arg("--version").output() else {
        assert!(
            std::env::var_os("CI").is_none(),
            "node is missing, which runs the pages' scripts, and CI skips nothing"
        );
        return support::skip("node is missing, which runs the pages' scripts");
    };
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let major = version.trim().trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_none_or(|major| major < NODE_MIN) {
        return support::skip(&format!("node is {}, and the pages' scripts need {NODE_MIN}", version.trim()));
    }
    let output = Command::new("node").args(["--test", "--test-reporter=spec"]).args(tests()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

fn tests() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/page");
    let names = folder.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let tests: Vec<_> = names.filter(|path| path.to_string_lossy().ends_with(".test.mjs")).collect();
    assert!(tests.len() >= 3, "{tests:?}");
    tests
}
