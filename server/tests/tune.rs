//! `fanwire tune` on made-up hosts: what is written, what is noted, and that all of it can be taken back.

use crate::support;
use crate::tree;

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use support::{Fanwire, PATIENCE, run};
use tree::Tree;

const SOMAXCONN: &str = "/proc/sys/net/core/somaxconn";
const TCP_MEM: &str = "/proc/sys/net/ipv4/tcp_mem";
const STATE: &str = "/var/lib/fanwire/tune.json";
const KEPT: &str = "/etc/sysctl.d/60-fanwire.conf";

fn tune(tree: &Tree, command: &str) -> (i32, String, String) {
    let root = tree.root().to_str().unwrap();
    let words: Vec<&str> = command.split_whitespace().collect();
    let (code, out, log) = run(&[&["tune", words[0], "--root", root][..], &words[1..]].concat(), b"");
    (code, String::from_utf8(out).unwrap(), log)
}

/// Runs it and wants this exit code.
fn tune_ends(tree: &Tree, command: &str, wanted: i32) -> String {
    let (code, out, log) = tune(tree, command);
    assert_eq!(code, wanted, "tune {command}\n{out}\n{log}");
    out + &log
}

/// The made-up host's own files: without our notes.
fn host_files(tree: &Tree) -> Vec<(PathBuf, String)> {
    let ours = tree.path("/var/lib/fanwire");
    tree.all_files()
        .into_iter()
        .filter(|(path, _)| !path.starts_with(&ours))
        .map(|(path, text)| (path, text.split_whitespace().collect::<Vec<_>>().join(" ")))
        .collect()
}

fn state(tree: &Tree) -> serde_json::Value {
    serde_json::from_str(&tree.read(STATE)).expect("JSON")
}

#[test]
fn check_tells_what_differs_by_its_exit_code() {
    let out = tune_ends(&Tree::good(), "check", 0);
    assert!(out.contains("net.core.somaxconn") && out.contains("0 of"), "{out}");
    let out = tune_ends(&Tree::bad(), "check", 1);
    assert!(out.contains("differs") && out.contains("nofile"), "{out}");
    tune_ends(&Tree::bad(), "check net.core.busy_poll", 0);
    tune_ends(&Tree::bad(), "check thp", 1);
    tune_ends(&Tree::empty(), "check --all", 0);
    tune_ends(&Tree::good(), "check --connections 9000000", 1);
}

#[test]
fn what_was_applied_is_taken_back_to_the_letter() {
    let tree = Tree::bad();
    let before = host_files(&tree);
    tune_ends(&tree, "apply", 0);
    assert_eq!(tree.read(SOMAXCONN), "4096");
    assert_eq!(tree.read("/proc/sys/net/ipv4/tcp_slow_start_after_idle"), "0");
    assert_eq!(tree.read("/sys/devices/system/cpu/cpu7/cpufreq/scaling_governor"), "performance");
    // Higher than wanted stays: of the three numbers, the first.
    assert_eq!(tree.read(TCP_MEM), "1000 120000 160000");
    // What only sometimes pays is not touched, what gains nothing never.
    assert_eq!(tree.read("/sys/kernel/mm/transparent_hugepage/enabled"), "[always] madvise never");
    assert_eq!(tree.read("/proc/sys/kernel/io_uring_disabled"), "2");
    let out = tune_ends(&tree, "apply", 0);
    assert!(out.contains("nothing to do"), "{out}");
    tune_ends(&tree, "revert", 0);
    assert_eq!(host_files(&tree), before);
    assert!(!tree.has(STATE));
    assert!(tune_ends(&tree, "revert", 0).contains("nothing to revert"));
}

#[test]
fn names_and_groups_say_which_knobs_are_meant() {
    let tree = Tree::bad();
    tune_ends(&tree, "apply memory kernel.io_uring_disabled", 0);
    assert_eq!(tree.read("/sys/kernel/mm/transparent_hugepage/enabled"), "madvise");
    assert_eq!(tree.read("/proc/sys/kernel/io_uring_disabled"), "0");
    assert_eq!(tree.read(SOMAXCONN), "128");
    tune_ends(&tree, "revert memory", 0);
    assert_eq!(tree.read("/sys/kernel/mm/transparent_hugepage/enabled"), "always");
    assert_eq!(tree.read("/proc/sys/kernel/io_uring_disabled"), "0");
    let out = tune_ends(&tree, "apply somaxconn", 2);
    assert!(out.contains("did you mean net.core.somaxconn"), "{out}");
    let out = tune_ends(&tree, "apply nofile", 2);
    assert!(out.contains("fanwire.service"), "{out}");
    assert!(run(&["tune", "list", "net.core.somaxconn"], b"").1.starts_with(b"net.core.somaxconn\n"));
    assert_eq!(run(&["tune", "list"], b"").0, 0);
}

#[test]
fn a_dry_run_writes_nothing_at_all() {
    let tree = Tree::bad();
    let before = tree.all_files();
    let out = tune_ends(&tree, "apply --persist --dry-run", 0);
    assert!(out.contains("net.core.somaxconn: 128 -> 4096"), "{out}");
    assert_eq!(tree.all_files(), before);
}

#[test]
fn the_first_former_value_is_kept_however_often_it_is_applied() {
    let tree = Tree::bad();
    tune_ends(&tree, "apply net.ipv4.tcp_mem", 0);
    tune_ends(&tree, "apply net.ipv4.tcp_mem --connections 50000", 0);
    assert_eq!(tree.read(TCP_MEM), "1000 600000 800000");
    assert_eq!(state(&tree)["changes"][0]["former"], "1000 2000 3000");
    tune_ends(&tree, "revert", 0);
    assert_eq!(tree.read(TCP_MEM), "1000 2000 3000");
}

#[test]
fn after_a_reboot_the_former_value_is_that_of_the_new_boot() {
    let tree = Tree::bad();
    tune_ends(&tree, "apply net.core.somaxconn", 0);
    tree.write("/proc/sys/kernel/random/boot_id", "another\n");
    tree.write(SOMAXCONN, "256\n");
    tune_ends(&tree, "apply net.core.somaxconn", 0);
    tune_ends(&tree, "revert", 0);
    assert_eq!(tree.read(SOMAXCONN), "256");
}

#[test]
fn what_somebody_else_has_changed_since_is_left_and_named() {
    let tree = Tree::bad();
    tune_ends(&tree, "apply", 0);
    tree.write(SOMAXCONN, "2048\n");
    let out = tune_ends(&tree, "revert", 1);
    assert!(out.contains("somebody else"), "{out}");
    assert_eq!((tree.read(SOMAXCONN).as_str(), tree.read(TCP_MEM).as_str()), ("2048", "1000 2000 3000"));
    // It stays in the notes, alone, until it is settled.
    assert_eq!(state(&tree)["changes"].as_array().unwrap().len(), 1);
    tune_ends(&tree, "revert --force", 0);
    assert_eq!(tree.read(SOMAXCONN), "128");
    assert!(!tree.has(STATE));
}

#[test]
fn what_cannot_be_written_is_told_and_the_rest_is_written() {
    let tree = Tree::bad();
    tree.make_unwritable(SOMAXCONN);
    let out = tune_ends(&tree, "apply", 1);
    assert!(out.contains("somaxconn cannot be written"), "{out}");
    assert_eq!(tree.read("/proc/sys/net/ipv4/tcp_slow_start_after_idle"), "0");
    let state = state(&tree);
    let changes = state["changes"].as_array().unwrap();
    let of = |knob: &str| changes.iter().find(|change| change["knob"] == knob).unwrap()["outcome"].clone();
    assert!(of("net.core.somaxconn")["failed"].is_string(), "{state:#}");
    assert_eq!(of("net.ipv4.tcp_mem"), "done");
    tune_ends(&tree, "revert", 0);
    assert_eq!(tree.read(TCP_MEM), "1000 2000 3000");
    // Nothing at all could be written: not permitted.
    tune_ends(&tree, "apply net.core.somaxconn", 77);
}

#[test]
fn without_a_place_for_the_notes_nothing_is_written() {
    let tree = Tree::bad();
    let before = tree.all_files();
    let out = tune_ends(&tree, "apply --state /sys/fanwire-tune.json", 77);
    assert!(out.contains("/sys/fanwire-tune.json"), "{out}");
    tree.write(STATE, "{\"version\": 9}");
    tune_ends(&tree, "apply", 65);
    tune_ends(&tree, "revert", 65);
    fs::remove_dir_all(tree.path("/var")).unwrap();
    assert_eq!(tree.all_files(), before);
}

#[test]
fn two_at_once_are_one_too_many() {
    let tree = Tree::bad();
    tree.write(&format!("{STATE}.lock"), "");
    let lock = File::open(tree.path(&format!("{STATE}.lock"))).unwrap();
    lock.try_lock().unwrap();
    let out = tune_ends(&tree, "apply", 1);
    assert!(out.contains("another"), "{out}");
    assert_eq!(tree.read(SOMAXCONN), "128");
    drop(lock);
    tune_ends(&tree, "apply", 0);
}

#[test]
fn killed_between_note_and_change_it_can_be_taken_back() {
    let tree = Tree::bad();
    let file = tree.path(SOMAXCONN);
    tree.remove(SOMAXCONN);
    assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
    let root = tree.root().to_str().unwrap();
    let running = Fanwire::start_with(&["tune", "apply", "net.core.somaxconn", "--root", root], b"");
    // It reads the value here, notes it, and then waits for a reader of what it writes, who never comes.
    let deadline = Instant::now() + PATIENCE;
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    // Without a reader the open is refused.
    let mut value = loop {
        match File::options().write(true).custom_flags(nonblocking).open(&file) {
            Ok(value) => break value,
            Err(error) => assert!(Instant::now() < deadline, "it reads nothing: {error}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    value.write_all(b"128\n").unwrap();
    drop(value);
    while !tree.has(STATE) {
        assert!(Instant::now() < deadline, "it notes nothing");
        std::thread::sleep(Duration::from_millis(10));
    }
    running.signal(Signal::KILL);
    running.finish();
    let noted = state(&tree);
    assert_eq!((&noted["changes"][0]["former"], &noted["changes"][0]["outcome"]), (&"128".into(), &"intended".into()));

    // The value is the former one still, or, had it been killed a moment later, ours: both end well.
    for found in ["128", "4096"] {
        tree.remove(SOMAXCONN);
        tree.write(SOMAXCONN, found);
        tree.write(STATE, &noted.to_string());
        tune_ends(&tree, "revert", 0);
        assert_eq!(tree.read(SOMAXCONN), "128");
        assert!(!tree.has(STATE));
    }
    // And it can be begun anew.
    tree.write(STATE, &noted.to_string());
    tune_ends(&tree, "apply net.core.somaxconn", 0);
    tune_ends(&tree, "revert", 0);
    assert_eq!(tree.read(SOMAXCONN), "128");
}

#[test]
fn notes_that_were_tampered_with_reach_no_other_file() {
    let tree = Tree::bad();
    tune_ends(&tree, "apply net.core.somaxconn", 0);
    tree.write("/etc/passwd", "4096\n");
    for (knob, path) in [
        ("net.core.somaxconn", "/etc/passwd"),
        ("net.core.somaxconn", "/proc/sys/net/core/../../../../etc/passwd"),
        ("rps", "/sys/class/net/../../../etc/passwd"),
        ("no such knob", "/etc/passwd"),
    ] {
        let text = format!(
            r#"{{"version":1,"changes":[{{"knob":"{knob}","path":"{path}","former":"evil","ours":"4096","outcome":"done"}}]}}"#
        );
        tree.write(STATE, &text);
        tune_ends(&tree, "revert --force", 1);
        assert_eq!(tree.read("/etc/passwd"), "4096");
    }
    tree.write(
        STATE,
        r#"{"version":1,"changes":[],"persisted":{"path":"/etc/passwd","former":"evil","ours":"4096\n"}}"#,
    );
    tune_ends(&tree, "revert --force", 1);
    assert_eq!(tree.read("/etc/passwd"), "4096");
}

#[test]
fn persisted_sysctls_are_a_file_that_goes_again() {
    let tree = Tree::bad();
    let out = tune_ends(&tree, "apply --persist", 0);
    assert!(out.contains("governor does not last"), "{out}");
    let text = tree.read(KEPT);
    assert!(
        text.contains("\nnet.core.somaxconn = 4096\n") && text.contains("\n-net.netfilter.nf_conntrack_max = 262144\n"),
        "{text}"
    );
    assert!(!text.contains("scaling_governor") && !text.contains("io_uring_disabled"), "{text}");
    // Part of it goes with its knob, the file with the last.
    tune_ends(&tree, "revert net.core.somaxconn", 0);
    assert!(!tree.read(KEPT).contains("somaxconn") && tree.read(KEPT).contains("tcp_mem"));
    tune_ends(&tree, "revert", 0);
    assert!(!tree.has(KEPT));
    // A file that was there before comes back.
    tree.write(KEPT, "vm.swappiness = 1\n");
    tune_ends(&tree, "apply --persist", 0);
    tune_ends(&tree, "apply --persist --connections 60000", 0);
    tune_ends(&tree, "revert", 0);
    assert_eq!(tree.read(KEPT), "vm.swappiness = 1");
    // One that somebody has edited stays.
    tree.remove(KEPT);
    tune_ends(&tree, "apply --persist", 0);
    tree.write(KEPT, "# mine\n");
    tune_ends(&tree, "revert", 1);
    assert_eq!(tree.read(KEPT), "# mine");
    tune_ends(&tree, "revert --force", 0);
    assert!(!tree.has(KEPT));
}

/// Runs a script with `sh` against a tree.
fn sh(script: &Tree, tree: &Tree, arguments: &str) -> (i32, String) {
    let output = Command::new("sh")
        .arg(script.path("/tune.sh"))
        .args(arguments.split_whitespace())
        .env("FANWIRE_TUNE_ROOT", tree.root())
        .output()
        .expect("sh");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), text)
}

#[test]
fn the_script_does_what_the_command_does() {
    let (by_command, by_script, script) = (Tree::bad(), Tree::bad(), Tree::empty());
    let before = host_files(&by_script);
    let (code, text, log) = tune(&by_script, "script");
    assert_eq!(code, 0, "{log}");
    assert_eq!(host_files(&by_script), before, "making the script changed something");
    script.write("/tune.sh", &text);
    tune_ends(&by_command, "apply --persist", 0);
    let (code, out) = sh(&script, &by_script, "apply --persist");
    assert_eq!(code, 0, "{out}");
    let values = |tree: &Tree| -> Vec<(PathBuf, String)> {
        let files = host_files(tree).into_iter();
        files
            .map(|(path, text)| (path.strip_prefix(tree.root()).unwrap().to_owned(), text))
            .filter(|(p, _)| !p.starts_with("etc"))
            .collect()
    };
    assert_eq!(values(&by_script), values(&by_command));
    for line in by_command.read(KEPT).lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let line = line.trim_start_matches('-');
        assert!(by_script.read(KEPT).lines().any(|ours| ours.trim_start_matches('-') == line), "{line}");
    }
    // Again: the first former values stay. Somebody else's value stays, unless forced.
    assert_eq!(sh(&script, &by_script, "apply").0, 0);
    by_script.write(SOMAXCONN, "2048\n");
    let (code, out) = sh(&script, &by_script, "revert");
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("left alone"), "{out}");
    assert_eq!(by_script.read(SOMAXCONN), "2048");
    let (code, out) = sh(&script, &by_script, "revert --force");
    assert_eq!(code, 0, "{out}");
    assert_eq!(host_files(&by_script), before);
    assert_eq!(sh(&script, &by_script, "nonsense").0, 2);
}

#[test]
fn the_script_goes_on_where_one_file_cannot_be_written() {
    let (tree, script) = (Tree::bad(), Tree::empty());
    tree.make_unwritable(SOMAXCONN);
    script.write("/tune.sh", &tune(&tree, "script").1);
    let (code, out) = sh(&script, &tree, "apply");
    assert_eq!(code, 1, "{out}");
    assert_eq!(tree.read("/proc/sys/net/ipv4/tcp_slow_start_after_idle"), "0");
    let (code, out) = sh(&script, &tree, "revert");
    assert_eq!(code, 0, "{out}");
    assert_eq!(tree.read(TCP_MEM), "1000 2000 3000");
}
