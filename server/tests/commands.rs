//! The binary as a person uses it: ready lines, pipes, signals, exit codes.
#![allow(clippy::disallowed_methods)]

use crate::support;

use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use support::{Fanwire, Subscriber, run, serve, sub};

fn text_of(output: &[u8]) -> String {
    String::from_utf8_lossy(output).into_owned()
}

#[test]
fn a_signal_closes_subscribers_with_1001_and_ends_with_0() {
    for (driver, signal) in [("auto", Signal::TERM), ("epoll", Signal::INT)] {
        let (server, address) = Fanwire::listening(&format!("serve --listen 127.0.0.1:0 --driver {driver}"));
        let mut subscriber = Subscriber::connect(address, "a/**", None);
        server.signal(signal);
        assert_eq!(subscriber.close_code(), 1001);
        drop(subscriber);
        let (code, _, log) = server.finish();
        assert_eq!(code, 0, "{log}");
    }
}

#[test]
fn the_memory_sum_is_told_at_start() {
    let (server, _) = serve("");
    server.signal(Signal::TERM);
    let (code, _, log) = server.finish();
    assert_eq!(code, 0, "{log}");
    assert!(log.contains("MiB"), "{log}");
}

#[test]
fn a_second_signal_ends_at_once() {
    let (mut server, address) =
        Fanwire::listening("serve --listen 127.0.0.1:0 --shutdown-timeout 1h --lane-bytes 64MiB");
    // It reads no further: what is published now cannot be flushed.
    let subscriber = Subscriber::connect(address, "a", None);
    let line = "x".repeat(1 << 20);
    let lines = format!("{line}\n").repeat(32);
    let (code, _, log) = run(&["pub", &format!("ws://{address}"), "a"], lines.as_bytes());
    assert_eq!(code, 0, "{log}");
    server.signal(Signal::TERM);
    server.stderr_line("a second signal ends at once");
    assert!(server.is_running());
    server.signal(Signal::TERM);
    let (code, _, log) = server.finish();
    assert_eq!(code, 128 + 15, "{log}");
    drop(subscriber);
}

#[test]
fn a_taken_port_is_named() {
    let (_server, url) = serve("");
    let address = url.trim_start_matches("ws://");
    let (code, out, log) = run(&["serve", "--listen", address], b"");
    assert_eq!(code, 71, "{log}");
    assert!(out.is_empty());
    assert!(log.contains(address) && log.contains("in use"), "{log}");
    let foreign = TcpListener::bind("127.0.0.1:0").unwrap();
    let (code, _, log) = run(&["serve", "--listen", &foreign.local_addr().unwrap().to_string()], b"");
    assert_eq!(code, 71, "{log}");
    assert!(log.contains("in use"), "{log}");
}

#[test]
fn a_configuration_that_cannot_be_had_is_refused_line_by_line() {
    let (code, out, log) =
        run(&["serve", "--listen", "127.0.0.1:0", "--payload-bytes", "1MiB", "--lane-bytes", "2GiB"], b"");
    assert_eq!(code, 78, "{log}");
    assert!(out.is_empty(), "no ready line");
    assert!(log.lines().filter(|l| l.trim_start().starts_with("- ")).count() >= 2, "{log}");
}

#[test]
fn wrong_usage_is_2() {
    for line in
        [&["serve", "--listen", "x"][..], &["sub", "ws://h"], &["pub", "http://h", "a"], &["replay", "x"], &["bogus"]]
    {
        let (code, _, log) = run(line, b"");
        assert_eq!(code, 2, "{log}");
    }
    assert_eq!(run(&["--help"], b"").0, 0);
}

#[test]
fn lines_arrive_as_they_were_published() {
    let (_server, url) = serve("");
    let mut lines = b"first\r\n\nblank before\n\ttabs \"quotes\" \\ back\\slashes\n\xc3\xa4\xf0\x9f\x9a\x80\n\xff\xfe not UTF-8\n\x00\x01\x1f\x7f\n".to_vec();
    lines.extend(std::iter::repeat_n(b'l', 300_000));
    lines.push(b'\n');
    let count = lines.iter().filter(|b| **b == b'\n').count().to_string();
    let subscribers = [sub(&url, &["logs/x", "--count", &count]), sub(&url, &["logs/*", "--count", &count])];
    let (code, _, log) = run(&["pub", &url, "logs/x"], &lines);
    assert_eq!(code, 0, "{log}");
    for subscriber in subscribers {
        let (code, out, log) = subscriber.finish();
        assert_eq!(code, 0, "{log}");
        assert!(out == lines, "{} bytes came of {}; {log}", out.len(), lines.len());
    }
}

#[test]
fn a_system_log_arrives_unchanged() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/OpenSSH.log");
    let Ok(mut log_file) = std::fs::read(&path) else {
        support::skip(&format!("a system log: there is no {}", path.display()));
        return;
    };
    let input = log_file.clone();
    if log_file.last() != Some(&b'\n') {
        log_file.push(b'\n');
    }
    let count = log_file.iter().filter(|b| **b == b'\n').count().to_string();
    for driver in ["auto", "epoll"] {
        let (_server, url) = serve(&format!("--driver {driver}"));
        let subscriber = sub(&url, &["logs/ssh", "--count", &count]);
        let (code, _, log) = run(&["pub", &url, "logs/ssh"], &input);
        assert_eq!(code, 0, "{log}");
        let (code, out, log) = subscriber.finish();
        assert_eq!(code, 0, "{log}");
        assert!(out == log_file, "{} bytes came of {}; {log}", out.len(), log_file.len());
    }
}

#[test]
fn ndjson_is_published_verbatim_to_the_topics_it_names() {
    let (_server, url) = serve("");
    let subscriber = sub(&url, &["a/**", "--json", "--count", "3"]);
    let lines = concat!(
        r#"{"topic":"a/1","data": {"x": 1.50} }"#,
        "\n\n",
        r#"{"data":"text","priority":"critical"}"#,
        "\n",
        r#"{"topic":"a/1","data":null}"#,
        "\n"
    );
    let (code, _, log) = run(&["pub", &url, "a/0", "--ndjson"], lines.as_bytes());
    assert_eq!(code, 0, "{log}");
    let (code, out, log) = subscriber.finish();
    assert_eq!(code, 0, "{log}");
    let out = text_of(&out);
    assert!(out.contains(r#""data":{"x": 1.50}"#), "{out}");
    let objects: Vec<serde_json::Value> = out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let of = |topic: &str| objects.iter().filter(|o| o["topic"] == topic).collect::<Vec<_>>();
    assert_eq!(of("a/1").len(), 2);
    assert_eq!(of("a/1")[1]["data"], serde_json::Value::Null);
    assert_eq!((&of("a/0")[0]["data"], &of("a/0")[0]["priority"]), (&"text".into(), &"critical".into()));
}

#[test]
fn a_wrong_line_is_named_and_those_before_it_arrive() {
    let (_server, url) = serve("");
    let subscriber = sub(&url, &["a", "--count", "1"]);
    let (code, _, log) =
        run(&["pub", &url, "--ndjson"], b"{\"topic\":\"a\",\"data\":1}\n{\"topic\":\"a\",\"data\":}\n");
    assert_eq!(code, 65, "{log}");
    assert!(log.contains("stdin:2:"), "{log}");
    let (code, out, _) = subscriber.finish();
    assert_eq!((code, &*text_of(&out)), (0, "1\n"));
}

#[test]
fn what_the_server_refuses_is_shown_and_ends_with_1() {
    let (_server, url) = serve("--publish nobody");
    let (code, _, log) = run(&["pub", &url, "a"], b"x\ny\n");
    assert_eq!(code, 1, "{log}");
    assert!(log.contains("refused"), "{log}");
}

#[test]
fn nobody_there_is_69_and_somebody_else_76() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (code, _, log) = run(&["sub", &format!("ws://{closed}"), "a"], b"");
    assert_eq!(code, 69, "{log}");
    assert!(log.contains("refused"), "{log}");
    let web = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}", web.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = web.accept().unwrap();
        let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    });
    let (code, _, log) = run(&["sub", &url, "a"], b"");
    assert_eq!(code, 76, "{log}");
    assert!(log.contains("404"), "{log}");
}

#[test]
fn a_subscriber_ends_in_order_with_its_server_but_not_short_of_its_count() {
    let (server, url) = serve("");
    let mut calm = sub(&url, &["a", "--stats"]);
    let mut counting = sub(&url, &["a", "--count", "2"]);
    let (code, _, log) = run(&["pub", &url, "a"], b"only one\n");
    assert_eq!(code, 0, "{log}");
    for subscriber in [&mut calm, &mut counting] {
        subscriber.stdout_line("only one");
    }
    server.signal(Signal::TERM);
    assert_eq!(server.finish().0, 0);
    let (code, _, log) = calm.finish();
    assert_eq!(code, 0, "{log}");
    assert!(log.contains("1 messages"), "{log}");
    let (code, _, log) = counting.finish();
    assert_eq!(code, 1, "{log}");
    assert!(log.contains("1 of 2"), "{log}");
}

#[test]
fn an_interrupted_subscriber_says_which_signal() {
    let (_server, url) = serve("");
    let subscriber = sub(&url, &["a"]);
    subscriber.signal(Signal::INT);
    assert_eq!(subscriber.finish().0, 128 + 2);
}

#[test]
fn without_io_uring_auto_falls_back_loudly_and_uring_is_78() {
    if Command::new("python3").arg("--version").output().is_err() {
        return support::skip("python3 is missing, which refuses io_uring for the binary");
    }
    for (errno, name) in [(1, "Operation not permitted"), (38, "Function not implemented")] {
        let (code, out, log) = support::without_io_uring(errno, "serve --listen 127.0.0.1:0 --driver uring").finish();
        assert_eq!(code, 78, "{log}");
        assert!(out.is_empty(), "no ready line");
        assert!(log.contains(name) && log.contains("likely cause") && log.contains("fix:"), "{log}");

        let mut server = support::without_io_uring(errno, "serve --listen 127.0.0.1:0");
        let address = server.address();
        let mut subscriber = Subscriber::connect(address, "a/**", None);
        server.signal(Signal::TERM);
        assert_eq!(subscriber.close_code(), 1001);
        let (code, _, log) = server.finish();
        assert_eq!(code, 0, "{log}");
        let loud: Vec<&str> = log.lines().filter(|l| l.contains("WARN")).collect();
        assert!(loud.len() == 1 && loud[0].contains(name) && loud[0].contains("fix:"), "{log}");
        assert!(log.contains("driver epoll"), "{log}");
    }
}

#[test]
fn with_little_lockable_memory_it_runs_and_locks_none() {
    let Some(mut server) = support::with_little_lockable_memory("serve --listen 127.0.0.1:0 --shards 2") else {
        return support::skip("the limit on locked memory cannot be lowered here (setpriv is missing)");
    };
    let mut subscriber = Subscriber::connect(server.address(), "a/**", None);
    server.signal(Signal::TERM);
    assert_eq!(subscriber.close_code(), 1001);
    let (code, _, log) = server.finish();
    assert_eq!(code, 0, "{log}");
    // Where the kernel counts a ring's memory against the limit, the limit is named.
    let is_named = |log: &str| log.contains("RLIMIT_MEMLOCK is 65536 bytes") && log.contains("fix: ");
    assert!(log.contains("driver uring") != (is_named(&log) && log.contains("driver epoll")), "{log}");
    let insisting = "serve --listen 127.0.0.1:0 --shards 2 --driver uring";
    if !log.contains("driver uring") {
        let server = support::with_little_lockable_memory(insisting).expect("as before");
        let (code, _, log) = server.finish();
        assert!(code == 78 && is_named(&log), "{code}: {log}");
    }

    let locking = support::with_little_lockable_memory("serve --listen 127.0.0.1:0 --lock-memory");
    let (code, out, log) = locking.expect("as before").finish();
    assert_eq!(code, 78, "{log}");
    assert!(out.is_empty(), "no ready line");
    assert!(log.contains("--lock-memory") && log.contains("RLIMIT_MEMLOCK is 65536 bytes"), "{log}");
}

#[test]
fn each_command_has_a_page_of_the_manual_and_each_shell_its_completions() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man/man1");
    let (code, _, log) = run(&["manual", pages.to_str().unwrap()], b"");
    assert_eq!(code, 0, "{log}");
    let (_, help, _) = run(&["--help"], b"");
    let help = text_of(&help);
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(commands.len() > 15 && commands.contains(&"completions"), "{commands:?}");
    let scripts = ["bash", "zsh", "fish", "elvish", "powershell"].map(|shell| {
        let (code, out, log) = run(&["completions", shell], b"");
        assert_eq!(code, 0, "{shell}: {log}");
        text_of(&out)
    });
    for command in commands {
        let page = std::fs::read_to_string(pages.join(format!("fanwire-{command}.1"))).unwrap();
        assert!(page.contains(".SH NAME") && page.contains(".SH SYNOPSIS"), "{command}: {page}");
        for script in &scripts {
            assert!(script.contains(command), "{command}: {script}");
        }
    }
    assert!(pages.join("fanwire-config-init.1").is_file() && pages.join("fanwire.1").is_file());
    // A file stands where the folder is to be.
    let file = pages.join("fanwire.1");
    let (code, _, log) = run(&["manual", file.to_str().unwrap()], b"");
    assert!(code == 74 && log.contains("cannot write"), "{log}");
    let (code, _, _) = run(&["completions", "tcsh"], b"");
    assert_eq!(code, 2);
}
