//! `sub --state`: nothing missing and nothing twice, however it ends.
#![allow(clippy::disallowed_methods)]

use crate::support;

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use support::{Fanwire, PATIENCE, publish, run, serve};

const FORMS: [&str; 4] = ["json", "msgpack", "batch", "batch+lz4"];

fn publish_lines(url: &str, topic: &str, lines: std::ops::Range<usize>) {
    let text: String = lines.map(|n| format!("{topic} {n}\n")).collect();
    publish(url, &[topic], &text);
}

fn lines_of(topic: &str, lines: std::ops::Range<usize>) -> Vec<String> {
    lines.map(|n| format!("{topic} {n}")).collect()
}

/// A subscriber that is in force when this returns.
fn sub(arguments: &[&str]) -> Fanwire {
    let mut running = Fanwire::start_with(&[&["sub"], arguments].concat(), b"");
    running.stderr_line("subscribed to");
    running
}

fn ended_with(running: Fanwire, expected: i32) -> Vec<String> {
    let (code, out, log) = running.finish();
    assert_eq!(code, expected, "{log}");
    String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_topic_born_while_it_was_away_comes_whole() {
    let (_server, url) = serve("");
    let folder = tempfile::tempdir().unwrap();
    for form in FORMS {
        let state = folder.path().join(form);
        let with = |more: &[&str]| {
            let pattern = format!("{form}/**");
            let state = state.to_str().unwrap().to_owned();
            sub(&[&[&url, &*pattern, "--state", &state, "--protocol", form], more].concat())
        };
        // The first run sees no topic at all.
        let first = with(&[]);
        first.signal(Signal::TERM);
        assert_eq!(ended_with(first, 128 + 15), Vec::<String>::new());
        let (one, two) = (format!("{form}/one"), format!("{form}/two"));
        publish_lines(&url, &one, 0..5);
        assert_eq!(ended_with(with(&["--count", "3"]), 0), lines_of(&one, 0..3), "{form}");
        publish_lines(&url, &two, 0..4);
        let mut came = ended_with(with(&["--count", "6"]), 0);
        came.sort();
        assert_eq!(came, [lines_of(&one, 3..5), lines_of(&two, 0..4)].concat(), "{form}");
    }
}

#[test]
fn what_is_not_kept_of_a_topic_born_meanwhile_is_a_gap() {
    let (_server, url) = serve("--topic **=keep-messages=2");
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let arguments = [&url, "**", "--state", state.to_str().unwrap(), "--json"];
    let first = sub(&arguments);
    first.signal(Signal::INT);
    ended_with(first, 128 + 2);
    publish_lines(&url, "a", 0..5);
    let came = ended_with(sub(&[&arguments[..], &["--count", "2"]].concat()), 0);
    assert!(came[0].contains(r#""from":1,"to":3,"reason":"retention""#), "{came:?}");
    assert!(came[1].contains("\"a 3\"") && came[2].contains("\"a 4\"") && came.len() == 3, "{came:?}");
}

#[test]
fn a_pattern_that_was_not_asked_for_before_begins_with_the_last_value() {
    let (_server, url) = serve("");
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    publish_lines(&url, "old/a", 0..3);
    publish_lines(&url, "more/a", 0..3);
    let state = state.to_str().unwrap();
    assert_eq!(ended_with(sub(&[&url, "old/*", "--state", state, "--count", "1"]), 0), ["old/a 2"]);
    publish_lines(&url, "old/b", 0..2);
    let mut came = ended_with(sub(&[&url, "old/*", "more/*", "--state", state, "--count", "3"]), 0);
    came.sort();
    assert_eq!(came, ["more/a 2", "old/b 0", "old/b 1"]);
}

#[test]
fn fifteen_hundred_topics_go_on_in_one_request() {
    let (_server, url) = serve("");
    let folder = tempfile::tempdir().unwrap();
    for form in ["json", "msgpack"] {
        let line = |n: usize, round: usize| format!("{{\"topic\":\"{form}/{n}\",\"data\":\"{n} {round}\"}}\n");
        let all = |rounds: std::ops::Range<usize>| -> String {
            rounds.flat_map(|round| (0..1_500).map(move |n| line(n, round))).collect()
        };
        let pattern = format!("{form}/*");
        let state = folder.path().join(form);
        let with = |count: &str| {
            sub(&[&url, &pattern, "--state", state.to_str().unwrap(), "--protocol", form, "--count", count])
        };
        let first = with("1500");
        assert_eq!(run(&["pub", &url, "--ndjson"], all(0..1).as_bytes()).0, 0);
        ended_with(first, 0);
        assert_eq!(run(&["pub", &url, "--ndjson"], all(1..4).as_bytes()).0, 0);
        let mut came = ended_with(with("4500"), 0);
        came.sort();
        let mut expected: Vec<String> =
            (1..4).flat_map(|round| (0..1_500).map(move |n| format!("\"{n} {round}\""))).collect();
        expected.sort();
        assert!(came == expected, "{form}: {} of {}", came.len(), expected.len());
    }
}

#[test]
fn more_topics_than_a_request_can_name_are_an_error_before_anything_is_lost() {
    let (_server, url) = serve("");
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let long = "x".repeat(240);
    let lines: String = (0..2_500).map(|n| format!("{{\"topic\":\"{long}/{n}\",\"data\":{n}}}\n")).collect();
    let subscriber = sub(&[&url, "**", "--state", state.to_str().unwrap()]);
    assert_eq!(run(&["pub", &url, "--ndjson"], lines.as_bytes()).0, 0);
    let (code, out, log) = subscriber.finish();
    assert!(code == 1 && log.contains("subscribe to fewer"), "{code}: {log}");
    // What was printed is in the state, and what is in the state is enough to go on with.
    let out = String::from_utf8(out).unwrap();
    let printed = out.lines().count();
    let state = fs::read_to_string(&state).unwrap();
    assert_eq!(state.matches(r#""normal":1"#).count(), printed);
    assert!(state.len() < 512 << 10 && state.matches(r#""epoch""#).count() > 1_000, "{printed}");
    // A part of it goes on with a copy.
    let part = folder.path().join("part");
    fs::copy(folder.path().join("state"), &part).unwrap();
    let first = format!("{long}/0");
    publish_lines(&url, &first, 0..2);
    let is_printed = out.lines().any(|line| line == "0");
    let expected = [if is_printed { vec![] } else { vec!["0".to_owned()] }, lines_of(&first, 0..2)].concat();
    let count = expected.len().to_string();
    let came = ended_with(sub(&[&url, &first, "--state", part.to_str().unwrap(), "--count", &count]), 0);
    assert_eq!(came, expected);
    // Without anything to go on with, there is no bound.
    let came = ended_with(sub(&[&url, "**", "--count", "2500"]), 0);
    assert_eq!(came.len(), 2_500);
}

#[test]
fn what_could_not_be_written_comes_again() {
    let (_server, url) = serve("");
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let arguments = ["sub", &*url, "a", "--state", state.to_str().unwrap()];
    fs::write(&state, "").unwrap();
    let first = sub(&[&arguments[1..], &["--count", "2"]].concat());
    publish_lines(&url, "a", 0..2);
    assert_eq!(ended_with(first, 0), lines_of("a", 0..2), "an empty file is a state that begins");
    publish_lines(&url, "a", 2..2_000);
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_fanwire")).args(arguments).stdout(full).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(74) && log.contains("stdout"), "{:?}: {log}", output.status);
    assert_eq!(ended_with(sub(&[&arguments[1..], &["--count", "1998"]].concat()), 0), lines_of("a", 2..2_000));
}

#[test]
fn a_hangup_leaves_the_state_and_an_unwritable_one_is_found_at_once() {
    let (_server, url) = serve("");
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let arguments = [&*url, "a", "--state", state.to_str().unwrap()];
    let mut first = sub(&arguments);
    publish_lines(&url, "a", 0..3);
    first.stdout_line("a 2");
    // While it runs, nobody else goes on from there.
    let (code, _, log) = run(&[&["sub"], &arguments[..]].concat(), b"");
    assert!(code == 74 && log.contains("in use"), "{code}: {log}");
    first.signal(Signal::HUP);
    ended_with(first, 128 + 1);
    publish_lines(&url, "a", 3..5);
    assert_eq!(ended_with(sub(&[&arguments[..], &["--count", "2"]].concat()), 0), lines_of("a", 3..5));
    // Nobody listens there: it does not come so far.
    for nowhere in [folder.path().join("no/state"), folder.path().to_owned()] {
        let (code, _, log) = run(&["sub", "ws://127.0.0.1:1", "a", "--state", nowhere.to_str().unwrap()], b"");
        assert!(code == 74 && log.contains("cannot write"), "{code}: {log}");
    }
}

/// A subscriber whose output is appended to a file.
struct Appending {
    child: Child,
    out: PathBuf,
}

impl Appending {
    fn start(url: &str, folder: &Path, form: &str, pattern: &str, wrapper: Option<&str>) -> Self {
        let out = folder.join("out");
        let file = OpenOptions::new().append(true).create(true).open(&out).unwrap();
        let state = folder.join("state");
        let mut command = match wrapper {
            Some(script) => {
                let mut command = Command::new("sh");
                command.args(["-c", script, env!("CARGO_BIN_EXE_fanwire")]);
                command
            }
            None => Command::new(env!("CARGO_BIN_EXE_fanwire")),
        };
        command.args(["sub", url, pattern, "--protocol", form, "--reconnect", "--state"]).arg(state);
        let child = command.stdout(file).stderr(Stdio::null()).stdin(Stdio::null()).spawn().unwrap();
        Appending { child, out }
    }

    fn lines(&self) -> usize {
        fs::read(&self.out).unwrap().iter().filter(|b| **b == b'\n').count()
    }

    /// Waits for so many lines, or for its end.
    fn wait_for(&mut self, lines: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.lines() < lines && self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "{} of {lines} lines", self.lines());
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn end_by(mut self, signal: Signal) {
        let _ = kill_process(Pid::from_child(&self.child), signal);
        self.child.wait().unwrap();
    }
}

fn assert_each_once(folder: &Path, topic: &str, count: usize) {
    let out = fs::read_to_string(folder.join("out")).unwrap();
    let came: Vec<&str> = out.lines().filter(|line| !line.starts_with('-')).collect();
    let expected = lines_of(topic, 0..count);
    let wrong = came.iter().zip(&expected).position(|(came, expected)| came != expected);
    assert!(came == expected, "{topic}: {} of {count} lines, wrong from {wrong:?}", came.len());
}

/// Leaves a state that has seen nothing yet of a topic.
fn begin(url: &str, folder: &Path, topic: &str) {
    let first = sub(&[url, topic, "--state", folder.join("state").to_str().unwrap()]);
    first.signal(Signal::TERM);
    ended_with(first, 128 + 15);
}

#[test]
fn killed_at_any_moment_a_file_has_every_line_once() {
    let (_server, url) = serve("");
    for form in ["json", "batch"] {
        let folder = tempfile::tempdir().unwrap();
        let topic = format!("logs/{form}");
        begin(&url, folder.path(), &topic);
        let mut published = 0;
        for round in 0..25 {
            let mut subscriber = Appending::start(&url, folder.path(), form, &topic, None);
            publish_lines(&url, &topic, published..published + 400);
            published += 400;
            // Another number of lines each time, and now and then none of the new ones.
            subscriber.wait_for(published - (round * 97) % 401);
            subscriber.end_by(if round % 5 == 4 { Signal::TERM } else { Signal::KILL });
        }
        let mut last = Appending::start(&url, folder.path(), form, &topic, None);
        last.wait_for(published);
        last.end_by(Signal::TERM);
        assert_each_once(folder.path(), &topic, published);
    }
}

#[test]
fn cut_off_at_any_byte_of_its_output_a_file_has_every_line_once() {
    // A limit of a file's size ends it in the middle of a write, by a signal or, as a full disk does, with an error.
    let (_server, url) = serve("");
    for (n, how) in ["", "trap '' XFSZ; "].iter().enumerate() {
        let wrapper = format!("{how}ulimit -f 4; exec \"$0\" \"$@\"");
        for start in (1..40).step_by(3) {
            let folder = tempfile::tempdir().unwrap();
            let topic = format!("logs/{n}/{start}");
            begin(&url, folder.path(), &topic);
            publish_lines(&url, &topic, 0..500);
            fs::write(folder.path().join("out"), format!("{}\n", "-".repeat(start))).unwrap();
            let mut limited = Appending::start(&url, folder.path(), "json", &topic, Some(&wrapper));
            limited.wait_for(usize::MAX);
            assert!((1..400).contains(&limited.lines()));
            let mut last = Appending::start(&url, folder.path(), "json", &topic, None);
            last.wait_for(1 + 500);
            last.end_by(Signal::TERM);
            assert_each_once(folder.path(), &topic, 500);
        }
    }
}
