//! What holds for every row of the table on the command line.

use std::collections::BTreeSet;

use clap::{CommandFactory, Parser};

use super::*;
use crate::args::{Args as Line, Command as Asked};

fn parse(line: &str) -> Result<Line, clap::Error> {
    Line::try_parse_from(line.split_whitespace())
}

/// The configuration that `fanwire serve` with these options asks for.
fn served(options: &[&str]) -> Result<Config, clap::Error> {
    let line = Line::try_parse_from(["fanwire", "serve"].iter().chain(options))?;
    let Asked::Serve(serve) = line.command else { panic!("not serve") };
    Ok(crate::config::load_with(&serve, std::iter::empty()).unwrap().config)
}

/// The long options of a command, its own and its aliases.
fn options_of(command: &str) -> BTreeSet<String> {
    let line = Line::command();
    let command = line.find_subcommand(command).unwrap();
    let names = command.get_arguments().flat_map(|arg| arg.get_long_and_visible_aliases().unwrap_or_default());
    names.map(str::to_owned).collect()
}

#[test]
fn every_default_is_the_engine_s_own() {
    assert_eq!(format!("{:?}", served(&[]).unwrap()), format!("{:?}", Config::default()));
}

#[test]
fn every_setting_that_is_not_for_hosts_alone_is_an_option() {
    for command in ["serve", "replay", "demo"] {
        let options = options_of(command);
        for setting in settings() {
            assert!(options.contains(&long(setting)) != setting.is_for_hosts, "{command}: {setting:?}");
        }
    }
    let names: BTreeSet<_> = settings().map(|setting| setting.name).collect();
    assert!(ALIASES.iter().all(|(name, _)| names.contains(name)), "an alias of no setting");
}

#[test]
fn what_options_were_called_before_is_still_there() {
    let options = options_of("serve");
    for old in [
        "shards",
        "cpus",
        "driver",
        "max-connections",
        "max-cursors",
        "max-topics",
        "max-message-bytes",
        "max-unsent-bytes",
        "handshake-timeout",
        "ping-every",
        "idle-timeout",
        "close-window",
        "lane-bytes",
        "pool-bytes",
        "ring-bytes",
        "payload-bytes",
        "lock-memory",
        "topic",
        "topics-file",
        "no-deflate",
        "deflate-from",
        "publish",
        "allow-origin",
        "listen",
        "shutdown-timeout",
    ] {
        assert!(options.contains(old), "--{old}");
    }
}

#[test]
fn an_option_sets_what_it_is_named_after() {
    for setting in options() {
        let value = match setting.unit() {
            Unit::Bytes => "64KiB",
            Unit::Count => "7",
            Unit::Time => "1500ms",
            Unit::Flag => "false",
            Unit::Text => "unit",
            Unit::Word => setting.range().split(", ").last().map(|word| &*String::leak(word.to_owned())).unwrap(),
            _ if setting.name == "cpus" => "0,1",
            _ if setting.name == "access.trusted_proxies" => "10.0.0.0/8",
            _ if setting.name == "topics" => "a/*=latest,keep-last",
            _ => "https://a.example",
        };
        let config = served(&[&format!("--{}={value}", long(setting))]).unwrap();
        assert_eq!(setting.show(&config), value, "{setting:?}");
    }
}

#[test]
fn flags_lists_and_old_names_are_spelled_as_people_expect() {
    let shown = |options: &[&str], name: &str| served(options).unwrap().show(name).unwrap();
    assert_eq!(shown(&["--lock-memory"], "memory.lock_memory"), "true");
    assert_eq!(shown(&["--lock-memory=false"], "memory.lock_memory"), "false");
    assert_eq!(shown(&["--no-deflate"], "compression.deflate"), "false");
    assert_eq!(shown(&["--deflate"], "compression.deflate"), "true");
    assert_eq!(shown(&["--shards", "auto"], "shards"), "auto");
    assert_eq!(shown(&["--max-connections", "5"], "connections_max"), "5");
    assert_eq!(shown(&["--publish", "everyone"], "access.publish"), "everyone");
    let origins = ["--allow-origin", "https://a", "--allowed-origins", "https://b,https://c"];
    assert_eq!(shown(&origins, "access.allowed_origins"), "https://a,https://b,https://c");
    let topics = ["--topic", "a=latest,keep-last", "--topic", "b=disconnect,keep-nothing"];
    assert_eq!(shown(&topics, "topics"), "a=latest,keep-last\nb=disconnect,keep-nothing");
    for wrong in [
        &["--no-deflate", "--deflate"][..],
        &["--cpus", "0", "--cpus", "none"],
        &["--cpus", "0", "--cpus", "0"],
        &["--allow-origin", ""],
        &["--topic", ""],
        &["--lock-memory=2"],
        &["--shards", "1", "--shards", "2"],
    ] {
        let error = served(wrong).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{wrong:?}: {error}");
    }
    let error = served(&["--max-unsent-bytes", "1"]).unwrap_err().to_string();
    assert!(error.contains("--unsent-bytes-max") && error.contains("must be from 1KiB to 64MiB"), "{error}");
}

/// What becomes of an option's value.
#[derive(Debug, PartialEq)]
enum Verdict {
    /// The engine would start, or lacks nothing but memory.
    Taken,
    /// The parser refuses it.
    Usage,
    /// The engine refuses it, and names its setting.
    Names(&'static str),
}
use Verdict::{Names, Taken, Usage};

fn verdict(options: &str) -> Verdict {
    let Ok(args) = parse(&format!("fanwire serve {options}")) else { return Usage };
    let Asked::Serve(serve) = args.command else { panic!("not serve") };
    match crate::config::load_with(&serve, std::iter::empty()).unwrap().config.plan() {
        Err(errors) if errors.iter().all(|error| error.problem.contains("do not fit")) => Taken,
        Err(errors) => Names(errors[0].field),
        Ok(_) => Taken,
    }
}

#[test]
fn every_limit_holds_at_it_one_past_it_at_zero_and_at_the_maximum() {
    const MAX_64: &str = "18446744073709551615";
    const PAST_64: &str = "18446744073709551616";
    for (option, values) in [
        ("--shards", &[("1", Taken), ("0", Usage), (MAX_64, Usage), (PAST_64, Usage), ("-1", Usage)][..]),
        ("--lane-bytes 16KiB --shards", &[("64", Taken), ("65", Usage)]),
        ("--cpus", &[("none", Taken), ("0", Taken), ("8191", Taken), ("8192", Usage), ("", Usage), ("1-0", Usage)]),
        ("--max-connections", &[("1", Taken), ("0", Usage), ("16000000", Taken), ("16000001", Usage)]),
        ("--max-connections", &[("4294967295", Usage), ("4294967296", Usage)]),
        ("--max-cursors", &[("1", Taken), ("0", Usage), ("1073741824", Taken), ("1073741825", Usage)]),
        ("--max-cursors", &[("4294967295", Usage), ("4294967296", Usage)]),
        ("--max-topics", &[("1", Taken), ("0", Usage), ("1000000", Taken), ("1000001", Usage)]),
        ("--max-topics", &[("4294967295", Usage), ("4294967296", Usage)]),
        ("--max-message-bytes", &[("1", Taken), ("64MiB", Taken), ("0", Usage), (PAST_64, Usage)]),
        ("--max-message-bytes", &[("67108865", Usage), (MAX_64, Usage)]),
        ("--max-unsent-bytes", &[("1024", Taken), ("64MiB", Taken), ("0", Usage), (PAST_64, Usage)]),
        ("--max-unsent-bytes", &[("1023", Usage), ("67108865", Usage), (MAX_64, Usage)]),
        ("--handshake-timeout", &[("1ms", Taken), ("0", Usage), ("5000000000000h", Taken), ("-1s", Usage)]),
        ("--ping-every", &[("0", Taken), ("1ms", Taken), ("5000000000000h", Taken), ("6e15h", Usage), ("NaNs", Usage)]),
        ("--idle-timeout", &[("0", Taken), ("1ms", Taken), ("5000000000000h", Taken), ("infs", Usage)]),
        ("--close-window", &[("0", Taken), ("1ms", Taken), ("5000000000000h", Taken), ("-1s", Usage)]),
        ("--shutdown-timeout", &[("0", Taken), ("5000000000000h", Taken), ("1", Usage)]),
        ("--lane-bytes", &[("16KiB", Taken), ("16383", Usage), ("0", Usage)]),
        ("--shards 1 --lane-bytes", &[("256MiB", Taken), ("257MiB", Names("memory.pool_bytes"))]),
        ("--lane-bytes", &[(MAX_64, Usage), (PAST_64, Usage), ("16777216TiB", Usage)]),
        ("--shards 1 --pool-bytes", &[("8MiB", Taken), ("8388607", Names("memory.pool_bytes")), (PAST_64, Usage)]),
        ("--pool-bytes", &[("0", Names("memory.pool_bytes")), (MAX_64, Usage)]),
        ("--ring-bytes", &[("64KiB", Taken), ("4GiB", Taken), ("0", Usage), ("32KiB", Usage)]),
        ("--ring-bytes", &[("65537", Usage), ("8GiB", Usage), (MAX_64, Usage)]),
        (
            "--max-message-bytes 1MiB --payload-bytes",
            &[("2MiB", Taken), ("2097151", Names("memory.payload_bytes")), ("0", Names("memory.payload_bytes"))],
        ),
        ("--payload-bytes", &[(MAX_64, Usage), (PAST_64, Usage)]),
        ("--deflate-from", &[("0", Taken), (MAX_64, Taken), (PAST_64, Usage), ("-1", Usage)]),
        ("--topic", &[("a=lane-bytes=16KiB", Taken), ("a=lane-bytes=16383", Names("topics.lane_bytes"))]),
        ("--topic", &[("a=keep-messages=0", Taken), ("a=keep-messages=18446744073709551616", Usage)]),
        ("--topic", &[("a=keep-for=0", Taken), ("a=keep-bytes=0", Taken), ("a=batch-window=0", Taken), ("", Usage)]),
    ] {
        for (value, expected) in values {
            let options = format!("{option} {value}");
            // An empty value has to be given as such.
            let options = if value.is_empty() { format!("{option}=") } else { options };
            assert_eq!(verdict(&options), *expected, "{options}");
        }
    }
}
