//! What an operator is told at start: what is served to whom, and every warning with the way to silence it.
#![allow(clippy::disallowed_methods)]

use std::process::Command;

use crate::support::{Fanwire, run};
use rustix::process::Signal;

/// The log of a server that starts with these arguments alone, and is stopped.
fn log_of(arguments: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanwire"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--shards", "1", "--cpus", "none", "--driver", "epoll"]);
    let mut server = Fanwire::spawn(command.args(arguments.split_whitespace()), b"");
    let _ = server.address();
    server.signal(Signal::TERM);
    let (code, _, log) = server.finish();
    assert_eq!(code, 0, "{log}");
    log
}

#[test]
fn one_line_says_what_is_served_to_whom_and_what_it_may_cost() {
    let log = log_of("--allow-origin HTTPS://Ops.example:443");
    let line = log.lines().find(|line| line.contains("serving ws://127.0.0.1:")).unwrap_or_else(|| panic!("{log}"));
    for part in
        ["clients may not publish", "pages of https://ops.example may connect", " MiB;", "driver epoll, 1 shard"]
    {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(!log.contains("WARN"), "nothing to warn of: {log}");
}

#[test]
fn whoever_lets_others_publish_is_warned_loudly_and_can_silence_it() {
    for who in ["loopback", "everyone"] {
        let log = log_of(&format!("--publish {who}"));
        let line = log.lines().find(|line| line.contains("WARN")).unwrap_or_else(|| panic!("{log}"));
        assert!(line.contains(&format!("--publish {who}")) && line.contains("EVERYBODY"), "{line}");
        // Its own words.
        assert!(line.contains("`--log info,publish=off` silences this"), "{line}");
        assert!(!log_of(&format!("--publish {who} --log info,publish=off")).contains("WARN"));
    }
    let log = log_of("--allow-origin null");
    assert!(log.contains("WARN") && log.contains("`--log info,origin=off` silences this"), "{log}");
    assert!(!log_of("--allow-origin null --log info,origin=off").contains("WARN"));
}

#[test]
fn an_origin_that_no_page_can_have_is_refused_at_start() {
    for (origin, what) in [
        ("https://example.org/", "leave out the slash"),
        ("*", "no wildcards"),
        ("http://localhost:", "1 to 65535"),
        ("example.org", "begins with a scheme"),
        ("http://::1", "[IPv6 address]"),
    ] {
        let (code, out, log) = run(&["serve", "--listen", "127.0.0.1:0", "--allow-origin", origin], b"");
        assert_eq!(code, 78, "{log}");
        assert!(out.is_empty());
        assert!(log.contains("--allowed-origins") && log.contains(origin) && log.contains(what), "{origin}: {log}");
    }
}
