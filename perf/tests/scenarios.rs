//! Every scenario runs through, small, against the real server: what it must show, it shows; figures are not judged.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// Scenarios measure, so they take turns.
static ALONE: Mutex<()> = Mutex::new(());

/// Runs one scenario on one driver; every bound must hold.
fn run(scenario: &str, driver: &str, settings: &[&str]) {
    let perf = PathBuf::from(env!("CARGO_BIN_EXE_fanwire-perf"));
    let server = perf.with_file_name("fanwire");
    if !server.is_file() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{} has not been built", server.display());
        return skip(&format!("{} is missing: `cargo build --workspace`", server.display()));
    }
    let mut command = Command::new(perf);
    command.args(["run", scenario, "--set", &format!("driver={driver}")]);
    for setting in settings {
        command.args(["--set", setting]);
    }
    let turn = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let output = command.output().expect("fanwire-perf starts");
    drop(turn);
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    if driver == "uring" && errors.contains("io_uring") && std::env::var("CI").as_deref() != Ok("true") {
        return skip(&format!("io_uring is refused here: {errors}"));
    }
    assert!(output.status.success(), "{text}\n{errors}");
    assert!(text.contains(&format!("{scenario}: passed")), "{text}");
}

/// Says that the current test cannot run here; `./test` counts it as skipped.
fn skip(reason: &str) {
    let line = format!(
        "{}: {}",
        std::thread::current().name().unwrap_or("a scenario"),
        reason.lines().next().unwrap_or_default()
    );
    println!("SKIPPED {line}");
    if let Some(path) = std::env::var_os("FANWIRE_TEST_SKIPS") {
        use std::io::Write as _;
        let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
        file.and_then(|mut file| file.write_all((line + "\n").as_bytes())).expect("the list of skipped tests");
    }
}

macro_rules! on_both_drivers {
    ($($name:ident: $scenario:literal, $settings:expr;)*) => {
        mod uring { $(#[test] fn $name() { super::run($scenario, "uring", &$settings) })* }
        mod epoll { $(#[test] fn $name() { super::run($scenario, "epoll", &$settings) })* }
    };
}

on_both_drivers! {
    // The bound on memory is for many connections: fixed costs count fully against few.
    memory: "memory", ["n=200", "settle_s=0.2", "most_bytes=1000000"];
    fanout_raw: "fanout-10k", ["n=200", "rate=100", "seconds=1"];
    fanout_json: "fanout-10k", ["n=200", "rate=100", "seconds=1", "protocol=json", "crowds=2"];
    slow_crowd: "slow-crowd", [
        "n=40", "slow=10", "warm_s=1", "stall_s=2", "recover_s=0.5", "rounds=1", "most_p99_ratio=1000", "most_mib=100", "most_slope=10000",
        "server_args=--lane-bytes 1MiB",
    ];
    // A critical lane beyond its budget: the stopped ones are closed with 1013.
    slow_crowd_critical: "slow-crowd", [
        "n=40", "slow=10", "warm_s=1", "stall_s=2", "recover_s=0.5", "rounds=1", "most_p99_ratio=1000", "most_mib=100",
        "most_slope=10000", "critical_rate=300", "critical_bytes=8192", "form=batch+lz4", "server_args=--lane-bytes 1MiB",
    ];
    restart: "restart", ["n=50", "kills=2"];
    kill: "kill", ["n=60", "kills=20"];
    stopped: "slow-crowd", [
        "n=1000", "slow=100", "by=signal", "rate=100", "bytes=2048", "warm_s=1", "stall_s=8", "recover_s=1", "rounds=1",
        "most_p99_ratio=100000", "most_mib=100", "most_slope=100000", "server_args=--lane-bytes 256KiB",
    ];
    half_handshakes: "half-handshakes", ["halves=600", "n=60", "timeout_s=1", "late_s=100", "count=50"];
    half_tls_handshakes: "half-handshakes", ["tls=1", "halves=600", "n=60", "timeout_s=1", "late_s=100", "count=50"];
    certificate_swap: "certificate-swap", ["n=60", "swaps=4", "every_ms=100", "rate=50"];
    herd: "herd", ["n=200", "stay=10", "crowds=2", "quiet_s=0.5", "storm_s=4", "rate=50", "cap=0"];
    churn: "churn", [
        "minutes=0", "rounds=1", "warm=3", "stay=10", "come=20", "halves=20", "most_growth=1000",
    ];
    bystander: "bystander", [
        "attacks=topic-names,floods,non-readers,unread,silent", "quiet_s=0.3", "attack_s=0.3", "most_turn_ms=",
    ];
    scrape: "scrape", ["n=20", "rate=50", "seconds=0.5", "rounds=2", "scrapes=200", "most_ratio="];
    resume_storm: "resume-storm", ["n=60", "missed=50", "before=3", "forms=json,json+deflate,msgpack,batch,batch+lz4"];
    versus: "versus", [
        "targets=engine,send,engine/json+deflate", "n=20", "bursts=1,4", "seconds=0.2", "rounds=2", "warm_s=0.1", "cpus=", "crowd_cpu=",
    ];
    versus_topics: "versus", [
        "targets=engine,send", "n=40", "topics=20", "rate=500", "bytes=128", "seconds=0.3", "rounds=2", "cpus=", "crowd_cpu=",
    ];
    connect_storm: "connect-storm", ["n=50", "rounds=2", "cpus=", "crowd_cpu=", "form=json"];
    fanout_steps: "fanout", ["n=20,40", "rate=50", "seconds=0.5"];
    shards: "shards", ["n=50", "rounds=2", "bursts=3", "cpus=", "least_speedup=0", "most_cpu_ratio="];
    telemetry: "telemetry", ["cells=5x20,20x50", "seconds=0.5", "most_p95_ms=100000"];
}

#[test]
fn results_are_recorded_reported_and_compared() {
    let perf = PathBuf::from(env!("CARGO_BIN_EXE_fanwire-perf"));
    if !perf.with_file_name("fanwire").is_file() {
        return skip("the server has not been built");
    }
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("recorded");
    std::fs::create_dir_all(&folder).expect("a folder for results");
    let (json, html) = (folder.join("a.json"), folder.join("a.html"));
    let turn = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let output = Command::new(&perf)
        .args(["run", "shards", "--set", "n=20", "--set", "rounds=3", "--set", "bursts=2", "--set", "cpus="])
        .args(["--set", "least_speedup=0", "--set", "most_cpu_ratio=", "--json"])
        .arg(&json)
        .arg("--html")
        .arg(&html)
        .output()
        .expect("fanwire-perf starts");
    drop(turn);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(std::fs::read_to_string(&html).expect("a report").contains("<svg"));

    let compare = |new: &PathBuf| {
        Command::new(&perf).arg("compare").args([&json, new]).output().expect("fanwire-perf starts").status.code()
    };
    assert_eq!(compare(&json), Some(0));
    let text = std::fs::read_to_string(&json).expect("results");
    let mut run: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    for value in run["outcomes"][0]["samples"][0]["values"].as_array_mut().expect("samples") {
        *value = (value.as_f64().expect("a number") * 1_000.0).into();
    }
    let slower = folder.join("b.json");
    std::fs::write(&slower, run.to_string()).expect("results");
    assert_eq!(compare(&slower), Some(1));
    std::fs::write(&slower, "no JSON").expect("results");
    assert_eq!(compare(&slower), Some(2));
}

#[test]
fn a_broken_bound_fails_the_run() {
    let perf = PathBuf::from(env!("CARGO_BIN_EXE_fanwire-perf"));
    if !perf.with_file_name("fanwire").is_file() {
        return skip("the server has not been built");
    }
    let arguments = ["run", "memory", "--set", "n=10", "--set", "settle_s=0", "--set", "most_bytes=-1000000000"];
    let output = Command::new(perf).args(arguments).output().expect("fanwire-perf starts");
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn unknown_names_are_refused_with_2() {
    let perf = PathBuf::from(env!("CARGO_BIN_EXE_fanwire-perf"));
    for arguments in [&["run", "nothing"][..], &["run", "memory", "--set", "m=1"], &["walk"]] {
        let output = Command::new(&perf).args(arguments).output().expect("fanwire-perf starts");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}
