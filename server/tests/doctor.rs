//! `fanwire doctor` on made-up hosts, and on the one that the tests run on.

use crate::support;
use crate::tree;

use serde_json::Value;

use support::run;
use tree::Tree;

fn doctor(tree: &Tree, more: &[&str]) -> (i32, String, String) {
    let root = tree.root().to_str().unwrap();
    let (code, out, log) = run(&[&["doctor", "--root", root][..], more].concat(), b"");
    (code, String::from_utf8(out).unwrap(), log)
}

fn report(tree: &Tree, more: &[&str]) -> (i32, Value) {
    let (code, out, log) = doctor(tree, &[&["--json"][..], more].concat());
    (code, serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}\n{log}")))
}

fn level(report: &Value, id: &str) -> String {
    let findings = report["findings"].as_array().unwrap();
    let finding = findings.iter().find(|finding| finding["id"] == id).unwrap_or_else(|| panic!("no {id}"));
    finding["level"].as_str().unwrap().to_owned()
}

#[test]
fn a_good_host_has_no_problem_and_no_advice() {
    let (code, report) = report(&Tree::good(), &[]);
    assert_eq!(
        (code, &report["counts"]["problem"], &report["counts"]["advice"]),
        (0, &0.into(), &0.into()),
        "{report:#}"
    );
    let (code, out, log) = doctor(&Tree::good(), &[]);
    assert_eq!(code, 0, "{log}");
    assert!(out.contains("10,000 connections on 8 shards") && out.contains("0 problem"), "{out}");
    assert!(!out.contains('\x1b'), "colours in a pipe: {out}");
}

#[test]
fn a_bad_host_s_problems_end_with_1_and_each_has_a_gain_and_a_fix() {
    let (code, report) = report(&Tree::bad(), &[]);
    assert_eq!((code, &report["level"]), (1, &"problem".into()), "{report:#}");
    for id in ["nofile", "net.core.somaxconn", "memory", "conntrack.fill", "fs.file-max"] {
        assert_eq!(level(&report, id), "problem", "{id}");
    }
    for id in [
        "kernel",
        "io_uring",
        "seccomp",
        "cpu.quota",
        "listen.drops",
        "backlog.drops",
        "governor",
        "net.ipv4.tcp_mem",
        "clocksource",
        "thp",
    ] {
        assert_eq!(level(&report, id), "advice", "{id}");
    }
    for finding in report["findings"].as_array().unwrap() {
        let is_bad = finding["level"] == "problem" || finding["level"] == "advice";
        assert_eq!(is_bad, finding["gain"] != "", "{finding}");
        assert_eq!(is_bad, finding["fix"] != "", "{finding}");
    }
    let (_, out, _) = doctor(&Tree::bad(), &[]);
    assert!(out.contains("Kubernetes") && out.contains("fix:"), "{out}");
}

#[test]
fn the_keys_of_json_are_these() {
    let keys = |value: &Value| -> Vec<String> {
        let mut keys: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
        keys.sort();
        keys
    };
    let (_, report) = report(&Tree::bad(), &[]);
    assert_eq!(keys(&report), ["counts", "fanwire", "findings", "level", "plan", "version"]);
    assert_eq!(keys(&report["plan"]), ["connections", "driver", "lock_memory", "shards"]);
    assert_eq!(keys(&report["counts"]), ["advice", "ok", "problem", "unknown"]);
    let findings = report["findings"].as_array().unwrap();
    for finding in findings {
        assert_eq!(keys(finding), ["fix", "gain", "group", "id", "level", "now", "wanted"]);
    }
    let sum: u64 = report["counts"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
    assert_eq!(sum, findings.len() as u64);
    let mut ids: Vec<&str> = findings.iter().map(|finding| finding["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), findings.len(), "an id is there twice");
}

#[test]
fn what_is_planned_decides_what_is_a_problem() {
    let good = Tree::good();
    // Eight tables of descriptors, or one on epoll.
    let (code, of_many) = report(&good, &["--connections", "2000000"]);
    assert_eq!(level(&of_many, "nofile"), "ok", "{code}");
    let (code, on_epoll) = report(&good, &["--connections", "2000000", "--driver", "epoll"]);
    assert_eq!((code, level(&on_epoll, "nofile").as_str()), (1, "problem"));
    let (code, of_shards) = report(&good, &["--shards", "9"]);
    assert_eq!((code, level(&of_shards, "cpus").as_str()), (0, "advice"));
    let (code, too_many) = report(&good, &["--connections", "20000000"]);
    assert_eq!((code, level(&too_many, "memory").as_str()), (1, "problem"));
    good.write("/proc/self/limits", "Max locked memory 65536 65536 bytes\nMax open files 1024 1048576 files\n");
    assert_eq!(level(&report(&good, &[]).1, "memlock"), "ok");
    let (code, locked) = report(&good, &["--lock-memory"]);
    assert_eq!((code, level(&locked, "memlock").as_str()), (1, "problem"));
    let bad = Tree::bad();
    assert_eq!(level(&report(&bad, &["--driver", "uring"]).1, "io_uring"), "problem");
    assert_eq!(level(&report(&bad, &["--driver", "epoll"]).1, "io_uring"), "ok");
}

#[test]
fn missing_and_strange_files_are_unknown_and_nothing_panics() {
    let (code, of_nothing) = report(&Tree::empty(), &[]);
    assert_eq!((code, &of_nothing["counts"]["problem"]), (0, &0.into()), "{of_nothing:#}");
    for id in ["kernel", "cpus", "memory", "nofile", "net.core.somaxconn", "listen.drops"] {
        assert_eq!(level(&of_nothing, id), "unknown", "{id}");
    }
    for strange in
        ["", "\n", "?", "-1", "99999999999999999999999", "0-99999999", "a:b:c\nMax open files x\n", "\u{fffd}["]
    {
        let tree = Tree::bad();
        for (path, _) in tree.all_files() {
            std::fs::write(path, strange).unwrap();
        }
        for options in
            [&["--all"][..], &["--json"][..], &["--connections", "4294967295", "--shards", "64", "--lock-memory"][..]]
        {
            let (code, out, log) = doctor(&tree, options);
            assert!((code == 0 || code == 1) && !out.is_empty(), "{strange:?}: {code}\n{log}");
        }
    }
}

#[test]
fn this_host_can_be_looked_at() {
    let (code, out, log) = run(&["doctor", "--all"], b"");
    let out = String::from_utf8_lossy(&out);
    assert!(code == 0 || code == 1, "{log}");
    assert!(out.contains("io_uring") && out.contains("nofile") && out.contains("memory"), "{out}");
}
