//! The layers, and what each of them refuses.

use clap::Parser;

use super::*;
use crate::args::{Args as Line, Command as Asked, ConfigCommand};

fn args(options: &[&str]) -> ServeArgs {
    let line = Line::try_parse_from(["fanwire", "serve"].iter().chain(options)).unwrap();
    let Asked::Serve(serve) = line.command else { panic!("not serve") };
    serve
}

fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

/// Loads a file of this text, with these variables and options.
fn loaded(text: &str, environment: &[(&str, &str)], options: &[&str]) -> Result<Loaded, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fanwire.toml");
    std::fs::write(&path, text).unwrap();
    let shown = path.display().to_string();
    let options: Vec<&str> = ["--config", &shown].into_iter().chain(options.iter().copied()).collect();
    load_with(&args(&options), variables(environment).into_iter()).map_err(|failure| {
        assert_eq!(failure.code, Exit::Config as i32);
        failure.error.to_string().replace(&format!("{}/", folder.path().display()), "")
    })
}

fn faults(text: &str) -> Vec<String> {
    file::parse("f", text).faults.iter().map(ToString::to_string).collect()
}

#[test]
fn without_a_word_every_setting_has_its_default() {
    let nothing = load_with(&args(&[]), std::iter::empty()).unwrap();
    assert_eq!(format!("{:?}", nothing.config), format!("{:?}", Config::default()));
    assert_eq!(nothing.value(SHUTDOWN_TIMEOUT), "10s");
    assert_eq!((nothing.log_level(), nothing.log_format()), (None, LogFormat::Text));
    for key in key::all() {
        assert!(key.default().is_empty() || key.check(&key.default()).is_ok(), "{}", key.name());
        assert_eq!(nothing.text(key.name()), key.default(), "{}", key.name());
        assert_eq!(nothing.origin(key.name()), None);
    }
}

#[test]
fn an_option_goes_before_the_environment_and_that_before_the_file() {
    let text =
        "shutdown_timeout = \"1s\"\n[limits]\nping_every = \"1s\"\nidle_timeout = \"1s\"\nclose_timeout = \"1s\"\n";
    let environment = [
        ("FANWIRE__LIMITS__IDLE_TIMEOUT", "2s"),
        ("FANWIRE__LIMITS__CLOSE_TIMEOUT", "2s"),
        ("FANWIRE__SHUTDOWN_TIMEOUT", "2s"),
        ("FANWIRE_LOG", "info"),
        ("HOME", "/"),
    ];
    let loaded = loaded(text, &environment, &["--close-timeout", "3s", "--shutdown-timeout", "3s"]).unwrap();
    let place = |name: &str| loaded.origin(name).map(|origin| origin.to_string()).unwrap_or_default();
    for (name, value, origin) in [
        ("limits.ping_every", "1s", "fanwire.toml:3:14"),
        ("limits.idle_timeout", "2s", "FANWIRE__LIMITS__IDLE_TIMEOUT"),
        ("limits.close_timeout", "3s", "--close-timeout"),
        ("shutdown_timeout", "3s", "--shutdown-timeout"),
        ("limits.close_window", "0", ""),
    ] {
        assert_eq!(loaded.text(name), value, "{name}");
        assert!(place(name).ends_with(origin), "{name}: {}", place(name));
    }
    assert_eq!(loaded.value(SHUTDOWN_TIMEOUT), "3s");
}

#[test]
fn every_setting_can_be_set_in_the_file_and_in_the_environment() {
    for key in key::all() {
        let value = match key.unit() {
            fanwire::settings::Unit::Bytes if key.name() == "memory.tls_bytes" => "1MiB",
            fanwire::settings::Unit::Bytes if key.name() == "memory.tls_bytes" => "1MiB",
            fanwire::settings::Unit::Bytes => "64KiB",
            fanwire::settings::Unit::Count => "7",
            _ if key.name() == "admin.listen" => "127.0.0.1:0",
            _ if key.name() == "admin.hosts" => "a.example,b",
            _ if key.name() == "benchmark.every" => "1m",
            fanwire::settings::Unit::Time => "1500ms",
            fanwire::settings::Unit::Flag => "false",
            fanwire::settings::Unit::Word => &*String::leak(key.values().split(", ").last().unwrap().to_owned()),
            _ if key.name() == "cluster.nats" => "nats://a.example:4222,tls://b",
            _ if key.name() == "cluster.foreign" => "plant.line1,b",
            fanwire::settings::Unit::List if key.name() == "cluster.keep" => "a/*,b",
            fanwire::settings::Unit::Text if key.name() == "token.jwks_url" => "https://a.example",
            fanwire::settings::Unit::Text if key.name() == "tracing.otlp_endpoint" => "http://localhost:4318",
            fanwire::settings::Unit::Text if key.name() == "tracing.sample" => "0.5",
            fanwire::settings::Unit::Text => "warn",
            fanwire::settings::Unit::List if key.name().starts_with("token.anonymous_") => "a/*,b",
            fanwire::settings::Unit::List if key.name().starts_with("token.") => "a/*,b/{sub}",
            _ => match key.name() {
                "cpus" => "0,1",
                "access.trusted_proxies" => "10.0.0.0/8",
                "topics" => "a/*=latest,keep-last",
                "listen" => "127.0.0.1:0",
                _ => "https://a.example",
            },
        };
        let (section, last) = key.name().rsplit_once('.').unwrap_or(("", key.name()));
        let head = if section.is_empty() { String::new() } else { format!("[{section}]\n") };
        let from_file = loaded(&format!("{head}{last} = \"{value}\""), &[], &[]).unwrap();
        assert_eq!(from_file.text(key.name()), value);
        let from_environment = loaded("", &[(&environment::variable(key.name()), value)], &[]).unwrap();
        assert_eq!(from_environment.text(key.name()), value);
    }
}

#[test]
fn values_have_the_types_that_people_would_write() {
    let text = "
listen = [\"127.0.0.1:0\", \"[::1]:0\"]
shards = 0x2
cpus = [0, 1]
topics = [\"a=latest,keep-last\", { pattern = \"b/**\", slow = \"disconnect\", keep_messages = 1_000, keep_for = \"1m\" }]
memory.pool_bytes = 16_777_216
[compression]
deflate = false
[limits]
ping_every = 0
[access]
allowed_origins = []
";
    let loaded = loaded(text, &[], &[]).unwrap();
    for (name, value) in [
        ("listen", "127.0.0.1:0,[::1]:0"),
        ("shards", "2"),
        ("cpus", "0,1"),
        ("topics", "a=latest,keep-last\nb/**=disconnect,keep-messages=1000,keep-for=1m"),
        ("memory.pool_bytes", "16MiB"),
        ("compression.deflate", "false"),
        ("limits.ping_every", "0"),
        ("access.allowed_origins", ""),
    ] {
        assert_eq!(loaded.text(name), value, "{name}");
    }
    let tables =
        "[[topics]]\npattern = \"a\"\nkeep = \"nothing\"\n\n[[topics]]\npattern = \"b\"\nlane_bytes = \"64KiB\"\n";
    let loaded = self::loaded(tables, &[], &[]).unwrap();
    assert_eq!(loaded.text("topics"), "a=drop-oldest,keep-nothing\nb=drop-oldest,keep-last,lane-bytes=64KiB");
    assert!(self::loaded("\u{feff}shards = 1\r\n", &[], &[]).is_ok());
}

#[test]
fn what_is_wrong_is_told_all_at_once_with_line_and_column() {
    let text = "shards = 1\nchards = 2\n[limits]\nping_evry = \"1s\"\nidle_timeout = \"5\"\n\
                handshakes_max = 1.5\n[memory]\nlane_bytes = [1]\nlock_memory = 1\n[acess]\npublish = \"me\"\n[access]\n\
                publish = \"me\"\n";
    let expected = [
        "f:2:1: chards: there is no such setting; did you mean shards?",
        "f:4:1: limits.ping_evry: there is no such setting; did you mean limits.ping_every?",
        "f:5:16: limits.idle_timeout = 5: `5` lacks a unit: write for example 5s or 5ms",
        "f:6:18: limits.handshakes_max: `1.5` is no whole number; allowed: 0 to 16000000",
        "f:8:14: memory.lane_bytes: one value is needed here, no list; allowed: 16KiB to 1024TiB",
        "f:9:15: memory.lock_memory = 1: must be true or false",
        "f:10:2: acess: there is no such section; did you mean [access]?",
        "f:13:11: access.publish = me: must be one of loopback, everyone, nobody",
    ];
    assert_eq!(faults(text), expected);
    let all = loaded(text, &[("FANWIRE__SHARD", "1")], &[]).unwrap_err();
    assert!(all.contains("\n  fanwire.toml:2:1: chards") && all.contains("\n  FANWIRE__SHARD: shard: there"), "{all}");
}

#[test]
fn what_is_no_toml_is_told_with_its_place() {
    for (text, expected) in [
        ("shards = \n", "f:1:"),
        ("shards = 1\nshards = 2\n", "f:2:1: "),
        ("\n[limits\n", "f:2:"),
        ("a = 1\n\u{e4} = \"x\n", "f:2:"),
        ("memory = 1\n", "f:1:1: memory is a section: write [memory], and its settings below"),
        ("[events]\ncapacity = 7\n", "f:2:1: events.capacity is for programs that have the engine inside themselves"),
        ("[shards]\n", "f:1:1: shards: one value is needed here, no section; allowed: 1 to 64, or auto"),
        ("listen = \"\"\n", "f:1:10: listen: is empty; for a list without values write []"),
        ("listen = [\"127.0.0.1:1,127.0.0.1:2\"]\n", "f:1:11: listen: one value is needed here"),
        ("[access]\nallowed_origins = [\"\"]\n", "f:2:20: access.allowed_origins: one value is needed here"),
        ("shards = 1979-05-27\n", "f:1:10: shards: a date is none of its values"),
        ("[memory]\nlock_memory = \"yes\"\n", "f:2:15: memory.lock_memory = yes: must be true or false"),
        ("shards = 99999999999999999999999999999999999999999\n", "f:1:"),
    ] {
        let faults = faults(text);
        assert!(!faults.is_empty() && faults.iter().any(|fault| fault.starts_with(expected)), "{text:?}: {faults:?}");
    }
}

#[test]
fn what_is_wrong_in_an_entry_of_topics_is_told_where_it_stands() {
    let at = |text: &str, expected: &str| {
        let faults = faults(text);
        assert!(faults.iter().any(|fault| fault.starts_with(expected)), "{text:?}: {faults:?}");
    };
    at("topics = [\"a=latest\",\n \"b=fast\"]\n", "f:2:2: topics: `fast` is no setting of a topic");
    at("topics = [1]\n", "f:1:11: topics: ");
    at("topics = [\"#a=latest\"]\n", "f:1:11: topics: a pattern that begins with #");
    at("[[topics]]\nslow = \"latest\"\n", "f:1:1: topics: an entry needs a pattern");
    at(
        "[[topics]]\npattern = \"a\"\nslow = \"fast\"\n",
        "f:3:8: topics: slow = fast: must be one of drop-oldest, latest",
    );
    at("[[topics]]\npattern = \"a\"\nkeep_for = \"1\"\n", "f:3:12: topics: `1` lacks a unit");
    at("[[topics]]\npattern = \"a\"\nkeep_fore = \"1s\"\n", "f:3:1: topics: keep_fore: there is no such key");
    at("[[topics]]\npattern = \"a*\"\n", "f:1:1: topics: ");
    at("[[topics]]\npattern = \"a\"\nkeep = \"last\"\nkeep_for = \"1s\"\n", "f:1:1: topics: keep says the same as");
    at("[[topics]]\npattern = \"a\"\nkeep_for = \"1s,latest\"\n", "f:3:12: topics: `keep-for=1s,latest` is more than");
}

#[test]
fn a_variable_with_our_prefix_that_is_none_is_refused() {
    let problem = |name: &str, value: &str| {
        let layer = environment::read(variables(&[(name, value)]).into_iter());
        layer.faults.first().map(ToString::to_string).unwrap_or_default()
    };
    assert_eq!(problem("FANWIRE__SHARDS", "2"), "");
    assert!(problem("FANWIRE__LIMITS__PING_EVRY", "2s").contains("did you mean limits.ping_every?"));
    assert!(problem("FANWIRE__limits__ping_every", "2s").ends_with("it is written FANWIRE__LIMITS__PING_EVERY"));
    assert!(problem("FANWIRE__", "2s").contains("there is no such setting"));
    assert!(problem("FANWIRE__LISTEN", "").contains("is empty"));
    assert!(problem("FANWIRE__TOKEN__KEYS_FILE", "").contains("must not be empty"));
    assert!(problem("FANWIRE__TOKEN__SUBSCRIBE", "").contains("is empty"));
    assert!(problem("FANWIRE__TOKEN__SUBSCRIBE", "a,b*").contains("`b*`"));
    assert!(problem("FANWIRE__ACCESS__ALLOWED_ORIGINS", "").contains("is empty"));
    assert!(problem("FANWIRE__EVENTS__CAPACITY", "1").contains("inside themselves"));
    assert!(problem("FANWIRE__SHARDS", "x").contains("FANWIRE__SHARDS: shards = x: "));
    use std::os::unix::ffi::OsStringExt;
    let layer = environment::read([("FANWIRE__SHARDS".into(), OsString::from_vec(vec![0xff]))].into_iter());
    assert_eq!(layer.faults[0].to_string(), "FANWIRE__SHARDS: its value is not UTF-8");
}

#[test]
fn the_initial_file_is_taken_as_it_is_and_with_every_comment_taken_away() {
    let initial = command::initial();
    assert!(initial.lines().all(|line| line.chars().count() <= 120), "{initial}");
    assert_eq!(format!("{:?}", loaded(&initial, &[], &[]).unwrap().config), format!("{:?}", Config::default()));
    // A setting is a # without a space behind it.
    let is_setting = |line: &str| line.starts_with('#') && !line.starts_with("# ");
    let bare: String = initial
        .lines()
        .filter(|line| !line.ends_with(" = \"\""))
        .map(|line| format!("{}\n", if is_setting(line) { &line[1..] } else { line }))
        .collect();
    let all = loaded(&bare, &[], &[]).unwrap();
    assert_eq!(format!("{:?}", all.config), format!("{:?}", Config::default()));
    let unset =
        key::all().filter(|key| key.unit() != fanwire::settings::Unit::List && key.default().is_empty()).count();
    assert_eq!(
        all.given.len() + unset,
        key::all().count(),
        "every setting is there once, but for those that are not set"
    );
}

#[test]
fn what_is_shown_reads_back_as_the_same() {
    let text = "server_name = 'a \"b\" \\ \u{e9}'\ntopics = [\"a=latest\", \"b=disconnect,keep-for=1h\"]\n[limits]\nping_every = \"7s\"";
    let first = loaded(text, &[("FANWIRE__LOG__LEVEL", "warn")], &["--shards", "2", "--listen", "[::1]:1"]).unwrap();
    let shown = command::shown(&first);
    let again = loaded(&shown, &[], &[]).unwrap();
    assert_eq!(format!("{:?}", again.config), format!("{:?}", first.config));
    for key in key::all() {
        assert_eq!(again.text(key.name()), first.text(key.name()), "{}", key.name());
    }
    for expected in [
        "shards = 2  # --shards\n",
        "ping_every = \"7s\"  # ",
        "fanwire.toml:4:14\n",
        "level = \"warn\"  # FANWIRE__LOG",
    ] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    assert!(shown.contains("idle_timeout = \"0\"  # default\n"), "{shown}");
}

#[test]
fn settings_that_do_not_go_together_are_told_with_their_places() {
    let text = "[memory]\npool_bytes = \"1MiB\"\n";
    let loaded = loaded(text, &[], &["--shards", "1"]).unwrap();
    let [fault] = &validate(&loaded)[..] else { panic!("one fault is expected") };
    let fault = fault.to_string();
    assert!(fault.contains("fanwire.toml:2:14: memory.pool_bytes: 1MiB: one shard's part"), "{fault}");
    assert_eq!(loaded.place_of("shards"), "--shards");
    assert_eq!(loaded.place_of("memory.lane_bytes"), "--lane-bytes");
    let loaded = self::loaded("topics = [\"a=lane-bytes=1\"]\n", &[], &[]).unwrap();
    assert!(loaded.place_of("topics.lane_bytes").ends_with("fanwire.toml:1:10: topics.lane_bytes"));
}

#[test]
fn a_file_that_cannot_be_read_is_66_and_one_that_is_not_utf_8_is_told() {
    let failure = load_with(&args(&["--config", "/nowhere/fanwire.toml"]), std::iter::empty()).unwrap_err();
    assert_eq!(failure.code, Exit::NoInput as i32);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    std::fs::write(&path, b"shards = 1\nserver_name = \"\xff\"\n").unwrap();
    let layer = file::read(&path).unwrap();
    assert!(layer.faults[0].to_string().ends_with("x:2:16: this is not UTF-8"), "{:?}", layer.faults);
}

#[test]
fn no_text_makes_it_panic() {
    use proptest::prelude::*;
    let words = prop_oneof![
        Just("[".to_owned()),
        Just("]".to_owned()),
        Just("=".to_owned()),
        Just("\"".to_owned()),
        Just("\n".to_owned()),
        Just("topics".to_owned()),
        Just("pattern".to_owned()),
        Just("limits".to_owned()),
        Just("{".to_owned()),
        Just("}".to_owned()),
        Just("é".to_owned()),
        Just("1".to_owned()),
        Just("listen".to_owned()),
        Just(".".to_owned()),
        "\\PC{0,3}",
    ];
    proptest!(|(text in proptest::collection::vec(words, 0..40))| {
        let text = text.concat();
        for fault in file::parse("f", &text).faults {
            prop_assert!(!fault.problem.is_empty() && fault.at.starts_with("f:"));
        }
    });
}

#[test]
fn check_and_show_take_what_serve_takes() {
    for command in ["check", "show"] {
        let line =
            Line::try_parse_from(["fanwire", "config", command, "--config", "f", "--pool-bytes", "1GiB"]).unwrap();
        let Asked::Config(config) = line.command else { panic!("not config") };
        let (ConfigCommand::Check(serve) | ConfigCommand::Show(serve)) = config.command else { panic!("{command}") };
        assert_eq!(serve.config.as_deref(), Some(Path::new("f")));
        assert_eq!(options(&serve).len(), 1);
    }
}

#[test]
fn what_the_page_shows_is_taken() {
    let page = include_str!("../../../docs/how-to/configure.md");
    let blocks: Vec<&str> = page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(blocks.len(), 2);
    for block in blocks {
        assert_eq!(faults(block), [""; 0], "{block}");
    }
    let (_, example) =
        command::initial().split_once("# [[topics]]").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let example = format!("[[topics]]{}", example.replace("\n# ", "\n"));
    assert_eq!(faults(&example), [""; 0], "{example}");
}
