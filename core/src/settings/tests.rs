//! What holds for every row of the table.

use std::collections::BTreeSet;
use std::time::Duration;

use super::kind::Kind;
use super::*;
use crate::access::{ASKED_HEADERS_MAX, AskHost};

/// The public fields of the structs in `config.rs`, as dotted names, without those of tests.
fn fields_of_config() -> BTreeSet<String> {
    let source = include_str!("../config.rs");
    let sections = [
        ("Config", ""),
        ("MemoryConfig", "memory."),
        ("LimitsConfig", "limits."),
        ("CompressionConfig", "compression."),
        ("EventsConfig", "events."),
        ("SysConfig", "sys."),
        ("AccessConfig", "access."),
        ("TlsConfig", "tls."),
    ];
    let mut names = BTreeSet::new();
    for (name, section) in sections {
        let from = source.find(&format!("pub struct {name} {{")).unwrap_or_else(|| panic!("no struct {name}"));
        let body = source[from..].split("\n}").next().unwrap();
        let mut is_of_tests = false;
        for line in body.lines().skip(1).map(str::trim) {
            if let Some(field) = line.strip_prefix("pub ") {
                let (field, kind) = field.split_once(": ").unwrap();
                // A section is no setting, its fields are.
                if kind == "Option<AskHost>," {
                    names.extend(["within", "headers"].map(|part| format!("{section}{field}_{part}")));
                } else if !kind.ends_with("Config,") && !is_of_tests {
                    names.insert(format!("{section}{field}"));
                }
                assert!(
                    !kind.ends_with("Config,") || sections.iter().any(|(name, _)| kind == format!("{name},")),
                    "{kind}"
                );
            }
            is_of_tests = line.starts_with("#[cfg(");
        }
    }
    names
}

#[test]
fn every_field_of_the_configuration_is_a_row_and_every_row_a_field() {
    let rows: BTreeSet<String> = settings().map(|setting| setting.name.to_owned()).collect();
    assert_eq!(rows, fields_of_config());
}

#[test]
fn names_and_keywords_are_unique_and_helps_are_one_line() {
    let names: BTreeSet<_> = settings().map(|setting| setting.name).collect();
    let keywords: BTreeSet<_> = settings().map(|setting| setting.keyword).collect();
    assert_eq!((names.len(), keywords.len()), (settings().len(), settings().len()));
    for setting in settings() {
        assert!(
            !setting.help.contains('\n') && !setting.help.contains("  ") && !setting.help.ends_with('.'),
            "{setting:?}"
        );
        assert!(setting.keyword.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{setting:?}");
    }
}

/// A value that is not the default.
fn another(setting: &Setting) -> &'static str {
    match setting.name {
        "listen" => "127.0.0.1:0,[::1]:9002",
        "cpus" => "0,1",
        "driver" => "epoll",
        "server_name" => "unit",
        "topics" => "a/*=latest,keep-nothing\n**=disconnect,keep-messages=5",
        "access.publish" => "everyone",
        "access.trusted_proxies" => "10.0.0.0/8,2001:db8::1,unix",
        "access.allowed_origins" => "https://a.example,https://b.example",
        "access.ask_host_headers" => "cookie,x-key",
        "memory.tls_bytes" => "1MiB",
        "tls.certificate_files" => "a.pem,b.pem",
        "tls.key_files" => "a.key,b.key",
        "tls.client_ca_file" => "ca.pem",
        "tls.client_certificates" => "required",
        "tls.version_min" => "1.3",
        _ => match setting.unit() {
            Unit::Bytes => "64KiB",
            Unit::Count => "7",
            Unit::Time => "1500us",
            Unit::Flag if setting.default() == "true" => "false",
            Unit::Flag => "true",
            other => panic!("{setting:?}: {other:?}"),
        },
    }
}

#[test]
fn a_setting_sets_itself_alone_and_what_is_shown_reads_back() {
    let all = |config: &Config| settings().map(|setting| setting.show(config)).collect::<Vec<_>>();
    let default = all(&Config::default());
    for (i, setting) in settings().enumerate() {
        let mut config = Config::default();
        let set =
            |config: &mut Config, text: &str| config.set(setting.name, text).unwrap_or_else(|error| panic!("{error}"));
        set(&mut config, another(setting));
        let mut expected = default.clone();
        expected[i] = config.show(setting.name).unwrap();
        assert_ne!(expected[i], default[i], "{setting:?}");
        assert_eq!(all(&config), expected, "{setting:?}");
        let mut again = Config::default();
        set(&mut again, &expected[i]);
        assert_eq!(format!("{again:?}"), format!("{config:?}"), "{setting:?}");
        set(&mut again, &setting.default());
        assert_eq!(format!("{again:?}"), format!("{:?}", Config::default()), "{setting:?}");
    }
}

#[test]
fn numbers_hold_at_their_limits_and_not_one_past_them() {
    for setting in settings() {
        let (Kind::Bytes(number) | Kind::Count(number)) = &setting.kind else { continue };
        let mut config = Config::default();
        let past = [number.least.checked_sub(1), number.most.checked_add(1)].into_iter().flatten();
        let between = number.is_power_of_two.then_some(number.least + 1);
        for value in [number.least, number.most] {
            setting.set(&mut config, &value.to_string()).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(((number.get)(&config), setting.kind.fault(&config)), (value, None), "{setting:?}");
        }
        for value in past.chain(between) {
            let mut config = Config::default();
            let before = format!("{config:?}");
            let error = setting.set(&mut config, &value.to_string()).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{} = {value}: must be ", setting.name)), "{error}");
            assert_eq!(format!("{config:?}"), before, "{setting:?}");
            (number.set)(&mut config, value);
            // What the field cannot even hold needs no check; 0 may be `auto`.
            if (number.get)(&config) == value && !(number.has_auto && value == 0) {
                assert!(setting.kind.fault(&config).is_some_and(|problem| error.ends_with(&problem)), "{setting:?}");
                // The number of shards is an argument there.
                if setting.name != "shards" {
                    let errors = config.validate_for(1).unwrap_err();
                    assert!(errors.iter().any(|fault| fault.field == setting.name), "{errors:?}");
                }
            }
        }
    }
}

#[test]
fn what_is_none_of_its_values_is_refused_with_name_value_and_range() {
    for (name, text, said) in [
        ("memory.ring_bytes", "100KiB", "memory.ring_bytes = 100KiB: must be a power of two from 64KiB to 4GiB"),
        ("limits.message_bytes_max", "65MiB", "limits.message_bytes_max = 65MiB: must be from 1 to 64MiB"),
        ("limits.message_bytes_max", "1 parsec", "limits.message_bytes_max = 1 parsec: `parsec` is no unit of bytes"),
        ("limits.handshake_timeout", "0", "limits.handshake_timeout = 0: must be more than 0"),
        ("limits.ping_every", "30", "limits.ping_every = 30: `30` lacks a unit"),
        ("limits.ping_every", "", "limits.ping_every = : is empty: write for example 10s or 250ms"),
        ("memory.pool_bytes", "", "memory.pool_bytes = : is empty: write for example 8MiB or 65536"),
        ("events.capacity", "1048577", "events.capacity = 1048577: must be at most 1048576"),
        ("shards", "0", "shards = 0: must be from 1 to 64, or auto"),
        (
            "connections_max",
            "ten",
            "connections_max = ten: `ten` is no such number: it must be from 1 to 16000000, or auto",
        ),
        ("driver", "kqueue", "driver = kqueue: must be one of auto, uring, epoll"),
        ("compression.deflate", "yes", "compression.deflate = yes: must be true or false"),
        ("listen", "localhost:1", "listen = localhost:1: `localhost:1` is no address: an IP address and a port"),
        ("listen", "", "listen = : at least one address is needed"),
        ("cpus", "1-0", "cpus = 1-0: `1-0` runs backwards"),
        ("topics", "a=fast", "topics = a=fast: `fast` is no setting of a topic"),
    ] {
        let mut config = Config::default();
        let error = config.set(name, text).unwrap_err().to_string();
        assert!(error.starts_with(said), "{error}");
        assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()), "{name}");
    }
    let mut config = Config::default();
    assert_eq!(config.set("server_name", &"x".repeat(255)), Ok(()));
    let error = config.set("server_name", &"x".repeat(256)).unwrap_err().to_string();
    assert!(error.ends_with(": must have at most 255 bytes"), "{error}");
}

#[test]
fn an_unknown_name_gets_the_nearest() {
    for (name, nearest) in [
        ("memory.ring_byte", Some("memory.ring_bytes")),
        ("ring_bytes", Some("memory.ring_bytes")),
        ("ping-every", Some("limits.ping_every")),
        ("limit.ping_every", Some("limits.ping_every")),
        ("publish_access", Some("access.publish")),
        ("compression.treshold_bytes", Some("compression.threshold_bytes")),
        ("zzz", None),
        ("", None),
    ] {
        let error = Config::default().set(name, "1").unwrap_err();
        assert_eq!(error, SettingError::Unknown { name: name.to_owned(), nearest });
    }
    let error = Config::default().show("driverr").unwrap_err().to_string();
    assert_eq!(error, "driverr: there is no such setting; did you mean driver?");
}

#[test]
fn a_secret_is_not_shown() {
    let name =
        Kind::Text { get: |config| &config.server_name, set: |config, text| config.server_name = text, bytes_max: 3 };
    let setting = Setting {
        name: "access.key",
        keyword: "key",
        help: "",
        is_reloadable: true,
        is_sized: false,
        is_secret: true,
        is_for_hosts: false,
        has_field: false,
        kind: name,
    };
    let mut config = Config::default();
    setting.set(&mut config, "abc").unwrap();
    assert_eq!((&*config.server_name, &*setting.show(&config)), ("abc", "(secret)"));
    let error = setting.set(&mut config, "hunter2").unwrap_err().to_string();
    assert_eq!(error, "access.key = (secret): must have at most 3 bytes");
}

#[test]
fn times_longer_than_the_engine_lives_are_taken() {
    let mut config = Config::default();
    for name in ["limits.ping_every", "limits.handshake_timeout", "limits.close_window"] {
        config.set(name, "5000000000000h").unwrap();
        config.set(name, &Span(Duration::MAX).to_string()).unwrap();
    }
    assert_eq!(config.limits.ping_every, Duration::MAX);
    assert_eq!(config.validate_for(1), Ok(()));
}

#[test]
fn a_host_that_is_asked_must_be_able_to_hear_and_have_time_within_the_handshake_s() {
    let asks = |within: Duration, headers: usize| AskHost { within, headers: vec!["cookie".into(); headers] };
    let problems = |capacity: usize, asks: AskHost| {
        let mut config = Config::default();
        config.events.capacity = capacity;
        config.access.ask_host = Some(asks);
        config.validate_for(1).err().map_or(0, |errors| {
            assert!(errors.iter().all(|error| error.field.starts_with("access.ask_host_")), "{errors:?}");
            errors.len()
        })
    };
    let handshake = Config::default().limits.handshake_timeout;
    let just_below = handshake - Duration::from_nanos(1);
    assert_eq!(problems(1, asks(just_below, ASKED_HEADERS_MAX)), 0);
    assert_eq!(problems(1, asks(Duration::from_nanos(1), 0)), 0);
    assert_eq!(problems(1, asks(Duration::ZERO, 0)), 1);
    assert_eq!(problems(1, asks(handshake, 0)), 1);
    assert_eq!(problems(1, asks(just_below, ASKED_HEADERS_MAX + 1)), 1);
    assert_eq!(problems(0, asks(just_below, 0)), 1);
}
