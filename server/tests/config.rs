//! `fanwire serve --config` and `fanwire config`, as an operator uses them.
#![allow(clippy::disallowed_methods)]

use crate::support;

use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use tungstenite::client::IntoClientRequest;

use support::{Fanwire, Subscriber, run};

fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanwire"));
    command.env_remove("FANWIRE_CONFIG");
    command
}

fn written(folder: &Path, text: &str) -> String {
    let path = folder.join("fanwire.toml");
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

const CONFIG: &str = r#"
listen = ["127.0.0.1:0"]
shards = 1
server_name = "from the file"
shutdown_timeout = "0"

[log]
level = "debug"
format = "json"

[access]
publish = "loopback"

[[topics]]
pattern = "a/*"
keep_messages = 10
"#;

#[test]
fn a_server_is_what_its_file_says_and_options_and_environment_go_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path(), CONFIG);
    let mut command = binary();
    command.args(["serve", "--server-name", "from an option"]);
    command.env("FANWIRE_CONFIG", &path).env("FANWIRE__TOPICS", "a/*=keep-messages=2");
    let mut server = Fanwire::spawn(&mut command, &[]);
    let address = server.address();
    // Publishing is allowed by the file.
    let url = format!("ws://{address}");
    let (code, _, log) = run(&["pub", &url, "a/1"], b"one\ntwo\nthree\n");
    assert_eq!(code, 0, "{log}");
    // Two messages are kept, by the environment.
    let mut late = Subscriber::connect(address, "b", None);
    late.send(r#"{"type":"subscribe","topics":["a/1"],"from":"oldest"}"#);
    let told = std::iter::from_fn(|| late.next_object()).filter(|object| object.get("data").is_some());
    let data: Vec<_> = told.take(2).map(|object| object["data"].clone()).collect();
    assert_eq!(data, ["two", "three"]);
    // The server is called so by its option.
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", "fanwire.json.v1".parse().unwrap());
    let (mut client, _) = tungstenite::connect(request).unwrap();
    let welcome: serde_json::Value = serde_json::from_slice(&client.read().unwrap().into_data()).unwrap();
    assert_eq!((&welcome["type"], &welcome["server"]), (&"welcome".into(), &"from an option".into()));
    server.signal(Signal::TERM);
    let (code, _, log) = server.finish();
    assert_eq!(code, 0, "{log}");
    assert!(log.lines().all(|line| line.starts_with('{')), "json, by the file: {log}");
    assert!(log.contains("\"DEBUG\""), "{log}");
}

#[test]
fn everything_that_is_wrong_is_told_at_once_and_nothing_is_started() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path(), "listen = [\"127.0.0.1:0\"]\nchards = 1\n[limits]\nping_every = \"10\"\n");
    for arguments in [&["serve"][..], &["config", "check"], &["config", "show"]] {
        let mut command = binary();
        command.args(arguments).args(["--config", &path]).env("FANWIRE__SHARDS", "many");
        let (code, out, log) = Fanwire::spawn(&mut command, &[]).finish();
        assert_eq!((code, out.len()), (78, 0), "{arguments:?}: {log}");
        for expected in [
            ":2:1: chards: there is no such setting; did you mean shards?",
            ":4:14: limits.ping_every = 10: `10` lacks a unit",
            "FANWIRE__SHARDS: shards = many: ",
        ] {
            assert!(log.contains(expected), "{arguments:?}: {expected}: {log}");
        }
    }
    let (code, _, log) = run(&["serve", "--config", "/nowhere/at/all.toml"], &[]);
    assert_eq!(code, 66, "{log}");
    assert!(log.contains("cannot read /nowhere/at/all.toml"), "{log}");
}

#[test]
fn what_does_not_go_together_is_found_by_the_check_and_by_the_start_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path(), "listen = [\"127.0.0.1:0\"]\nshards = 1\n[memory]\npool_bytes = \"1MiB\"\n");
    for arguments in [&["serve", "--config"][..], &["config", "check", "--config"]] {
        let arguments: Vec<&str> = arguments.iter().copied().chain([&*path]).collect();
        let (code, _, log) = run(&arguments, &[]);
        assert_eq!(code, 78, "{log}");
        assert!(log.contains("fanwire.toml:4:14: memory.pool_bytes"), "{log}");
        assert!(log.contains("must hold at least one lane"), "{log}");
    }
}

#[test]
fn a_first_file_is_written_checked_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new.toml").display().to_string();
    assert_eq!(run(&["config", "init", &path], &[]).0, 0);
    let text = std::fs::read(&path).unwrap();
    let (code, printed, _) = run(&["config", "init"], &[]);
    assert_eq!((code, String::from_utf8_lossy(&printed)), (0, String::from_utf8_lossy(&text)));
    assert_eq!(run(&["config", "init", "-"], &[]).1, printed, "as everywhere that is no file");
    // It is not written over.
    let (code, _, log) = run(&["config", "init", &path], &[]);
    assert_eq!(code, 74, "{log}");
    assert_eq!(std::fs::read(&path).unwrap(), text);
    let (code, out, log) = run(&["config", "check", "--config", &path], &[]);
    assert_eq!(code, 0, "{log}");
    assert!(String::from_utf8_lossy(&out).contains("nothing is wrong"));
    let (code, out, log) = run(&["config", "show", "--config", &path, "--ping-every", "7s"], &[]);
    assert_eq!(code, 0, "{log}");
    let shown = String::from_utf8_lossy(&out);
    assert!(shown.contains("ping_every = \"7s\"  # --ping-every\n") && shown.contains("  # default\n"), "{shown}");
    // What is shown is a file, too.
    std::fs::write(&path, shown.as_bytes()).unwrap();
    assert_eq!(run(&["config", "check", "--config", &path], &[]).0, 0);
}

#[test]
fn what_would_be_silent_is_told() {
    let folder = tempfile::tempdir().unwrap();
    for (text, expected) in [
        ("[token]\naudience = \"a\"\n", ":2:12: token.audience: means nothing without token.keys_file"),
        ("[token]\nanonymous_subscribe = [\"u/{sub}\"]\n", "who has no token has no subject"),
        ("[limits]\nping_every = \"\"\n", ":2:14: limits.ping_every = : is empty: write for example 10s or 250ms"),
    ] {
        let path = written(folder.path(), text);
        for command in [&["config", "check", "--config", &path][..], &["serve", "--config", &path]] {
            let (code, _, log) = run(command, &[]);
            assert_eq!(code, 78, "{text}: {log}");
            assert!(log.contains(expected), "{text}: {log}");
        }
    }
    let (code, _, log) = run(&["serve", "--listen", "127.0.0.1:0", "--token-issuer", "i"], &[]);
    assert_eq!(code, 78, "{log}");
    assert!(log.contains("--token-issuer: means nothing without token.keys_file"), "{log}");
    // Once each.
    for (text, once) in
        [("[[topics]]\npattern = \"a\"\nslow = \"lates\"\n", "= lates"), ("[log]\nlevel = \"inof\"\n", "log.level")]
    {
        let (code, _, log) = run(&["config", "check", "--config", &written(folder.path(), text)], &[]);
        assert_eq!((code, log.matches(once).count()), (78, 1), "{log}");
        assert_eq!(log.lines().count(), 2, "{log}");
    }
}

#[test]
fn a_variable_with_the_wrong_underscores_is_refused() {
    for (variable, meant) in [
        ("FANWIRE_LIMITS__PING_EVERY", "FANWIRE__LIMITS__PING_EVERY"),
        ("FANWIRE_LIMITS_PING_EVERY", "FANWIRE__LIMITS__PING_EVERY"),
        ("FANWIRE_LIMITS__PONG_EVERY", "FANWIRE__LIMITS__…"),
        ("FANWIRE_SHARDS", "FANWIRE__SHARDS"),
        ("FANWIRE_LOG_FORMAT", "FANWIRE__LOG__FORMAT"),
    ] {
        let mut command = binary();
        command.args(["config", "check"]).env(variable, "1s");
        let (code, _, log) = Fanwire::spawn(&mut command, &[]).finish();
        assert_eq!(code, 78, "{log}");
        assert!(log.contains(&format!("{variable}: is no setting; one is written {meant}")), "{log}");
    }
    // What others may have put there.
    let mut command = binary();
    command.args(["config", "check"]).env("FANWIRE_SERVICE_HOST", "x").env("FANWIRE_PORT_9001_TCP", "x");
    assert_eq!(Fanwire::spawn(&mut command, &[]).finish().0, 0);
}

#[test]
fn a_file_on_stdin_is_read_and_what_is_said_of_the_log_is_shown() {
    let text = b"[log]\nlevel = \"warn\"\n";
    let (code, out, log) = run(&["config", "show", "--config", "-"], text);
    assert_eq!(code, 0, "{log}");
    assert!(String::from_utf8_lossy(&out).contains("level = \"warn\"  # stdin:2:9\n"), "{log}");
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path(), &String::from_utf8_lossy(text));
    let mut command = binary();
    let shown = command.args(["config", "show", "--config", &path]).env("FANWIRE_LOG", "debug").output().unwrap();
    assert!(String::from_utf8_lossy(&shown.stdout).contains("level = \"debug\"  # FANWIRE_LOG\n"), "{shown:?}");
    let (_, out, log) = run(&["config", "show", "--config", "-", "--log", "error"], text);
    assert!(String::from_utf8_lossy(&out).contains("level = \"error\"  # --log\n"), "{log}");
    let (code, _, log) = run(&["config", "check", "--config", "-"], b"chards = 1\n");
    assert_eq!(code, 78, "{log}");
    assert!(log.contains("stdin:1:1: chards"), "{log}");
}

#[test]
fn a_file_has_its_most_bytes_and_of_many_faults_some_are_told() {
    let line = |n: usize| format!("unknown{n} = 1\n");
    let text: String = (0..30_000).map(line).collect();
    let (code, _, log) = run(&["config", "check", "--config", "-"], text.as_bytes());
    assert_eq!(code, 78, "{log}");
    assert!(log.contains("stdin:100:1: unknown99") && log.contains("and 29900 more"), "{log}");
    assert!(!log.contains("unknown100:"), "{log}");
    let full = |bytes: usize| format!("#{}", "x".repeat(bytes - 1));
    assert_eq!(run(&["config", "check", "--config", "-"], full(1 << 20).as_bytes()).0, 0);
    let (code, _, log) = run(&["config", "check", "--config", "-"], full((1 << 20) + 1).as_bytes());
    assert_eq!(code, 66, "{log}");
    assert!(log.contains("more than 1048576 bytes"), "{log}");
}
