//! The USDT probes of the built binary: its ELF notes name each, with as many arguments as `perf/PROFILING.md` lists.
#![cfg(all(feature = "usdt", target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

use crate::support;

use std::collections::BTreeMap;
use std::process::Command;

use support::skip;

#[test]
fn the_binary_has_every_probe_with_its_arguments() {
    let Ok(output) = Command::new("readelf").args(["-n", env!("CARGO_BIN_EXE_fanwire")]).output() else {
        return skip("readelf is missing (Debian package binutils)");
    };
    let notes = String::from_utf8_lossy(&output.stdout);
    let mut found: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for probe in notes.split("Provider: fanwire").skip(1) {
        let field = |name: &str| {
            let line = probe.lines().find_map(|line| line.trim().strip_prefix(name));
            line.unwrap_or_else(|| panic!("no {name} in a note:\n{probe}")).trim()
        };
        found.entry(field("Name:")).or_default().push(field("Arguments:").split('@').count() - 1);
    }
    let wanted = documented();
    assert_eq!(wanted.len(), 6, "{wanted:?}");
    assert_eq!(
        found.keys().collect::<Vec<_>>(),
        wanted.keys().collect::<Vec<_>>(),
        "probes in the binary, and documented"
    );
    for (name, counts) in &found {
        // A probe has a note for each place where it was compiled in.
        assert!(counts.iter().all(|count| *count == wanted[name]), "{name}: {counts:?} arguments");
    }
}

/// The probes and how many arguments each has, from the lines ``| `name` | `argument, …` | …`` of the page.
fn documented() -> BTreeMap<&'static str, usize> {
    include_str!("../../perf/PROFILING.md")
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | `"))
        .filter_map(|(name, rest)| Some((name, rest.split_once('`')?.0.split(',').count())))
        .collect()
}
