//! The pages of `docs/reference` that are generated from the tables, and the Python stubs, against the tables.
//!
//! `FANWIRE_WRITE_REFERENCE=1 cargo test -p fanwire --test suite reference` writes the pages anew.

#![allow(clippy::disallowed_methods, reason = "tests may ask the environment")]

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use fanwire::{CounterKind, Setting, counters, metrics, settings};

/// Longest line of a page.
const COLUMNS: usize = 120;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn is_generated(page: &str, text: &str) {
    let path = repository().join("docs/reference").join(page);
    if std::env::var_os("FANWIRE_WRITE_REFERENCE").is_some() {
        fs::write(&path, text).expect("docs/reference is writable");
    }
    assert!(
        fs::read_to_string(&path).unwrap_or_default() == text,
        "docs/reference/{page} is not what the table says; write it anew with\n  \
         FANWIRE_WRITE_REFERENCE=1 cargo test -p fanwire --test suite reference"
    );
    for line in text.lines() {
        assert!(line.chars().count() <= COLUMNS, "{page}: too long: {line}");
    }
}

/// A text in lines that fit.
fn folded(text: &str) -> String {
    folded_to(text, COLUMNS)
}

fn folded_to(text: &str, columns: usize) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("one at least");
        match last.chars().count() {
            0 => last.push_str(word),
            used if used + 1 + word.chars().count() <= columns => *last += &format!(" {word}"),
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

/// A cell of a table: `|` would end it.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// The default, but not the version that it may contain.
fn default_of(setting: &Setting) -> String {
    match setting.default() {
        text if text.is_empty() => "none".into(),
        text => text.replace(env!("CARGO_PKG_VERSION"), "VERSION"),
    }
}

const SECTIONS: [(&str, &str); 8] = [
    ("", "The engine"),
    ("memory", "Memory"),
    ("limits", "Limits and time-outs"),
    ("compression", "Compression"),
    ("access", "Access"),
    ("tls", "TLS"),
    ("sys", "What the engine says of itself"),
    ("events", "Events"),
];

fn section_of(setting: &Setting) -> &'static str {
    setting.name.split_once('.').map_or("", |(section, _)| section)
}

fn where_it_is_set(setting: &Setting) -> String {
    let field = setting.field().map_or("by its name".into(), |field| format!("`{field}`"));
    let bindings = format!("in C {field}, in Python `{}`", setting.keyword);
    match setting.is_for_hosts {
        true => format!("For programs that have the engine inside themselves: {bindings}."),
        false => format!("On the command line `--{}`, {bindings}.", setting.keyword.replace('_', "-")),
    }
}

#[test]
fn the_page_of_settings_is_the_table_s() {
    let mut page = "\
# Settings

What can be set, to which values, and what holds where nothing is said. Generated from the engine's table of settings.

| where | how |
| --- | --- |
| command line | an option: `fanwire serve --ring-bytes 64MiB` (`fanwire serve --help`) |
| environment of `serve` | a variable: `FANWIRE__MEMORY__RING_BYTES=64MiB` |
| file of `serve` | a key: [how to configure a server](../how-to/configure.md) |
| Rust | a field of `Config`, or `config.set(\"memory.ring_bytes\", \"64MiB\")?` |
| C | a field of `fw_config`, or `settings` with any names and values |
| C++ | a field of `fanwire::Config::base`, or `config.set(\"memory.ring_bytes\", \"64MiB\")` |
| Python | a keyword of `fanwire.Engine`, or `options={\"memory.ring_bytes\": \"64MiB\"}` |

Bytes are written `65536`, `64KiB`, `8MiB`, `1GiB` (powers of 1024) or `500kB`, `2MB` (powers of 1000). Times are
written `500us`, `250ms`, `10s`, `2m`, `1h`; `0` stands alone. A value that is not allowed, and a name that is none,
are refused with what is allowed, or the nearest name. *Reload* says which settings a running engine takes anew
(`fanwire reload`, `Engine::reconfigure` in Rust); the others keep their values until there is a new engine. `topics`
holds for topics that are made later; who is connected keeps what was decided when it came. *If on*: from one value to
another, but it is turned neither on nor off.
"
    .to_owned();
    for (section, title) in SECTIONS {
        let rows = || settings().filter(|setting| section_of(setting) == section);
        assert!(rows().count() > 0, "no setting of {section}");
        write!(page, "\n## {title}\n\n| setting | values | default | reload |\n| --- | --- | --- | --- |\n").unwrap();
        for setting in rows() {
            let reload = match (setting.is_reloadable, setting.is_sized) {
                (true, true) => "if on",
                (true, false) => "yes",
                (false, _) => "no",
            };
            let (values, default) = (cell(&setting.range()), cell(&default_of(setting)));
            writeln!(page, "| `{}` | {values} | {default} | {reload} |", setting.name).unwrap();
        }
        for setting in rows() {
            let secret = if setting.is_secret { " Never shown." } else { "" };
            let text = format!("{}.{secret} {}", setting.help, where_it_is_set(setting));
            write!(page, "\n### {}\n\n{}\n", setting.name, folded(&text)).unwrap();
        }
    }
    assert!(settings().all(|setting| SECTIONS.iter().any(|(name, _)| *name == section_of(setting))), "a new section");
    is_generated("settings.md", &page);
}

#[test]
fn the_page_of_counters_is_the_table_s() {
    let mut page = "\
# Counters

What an engine counts of itself: `Engine::stats()` in Rust, `fw_read_stats` in C, `engine.stats()` in Python. Generated
from the engine's table. A *gauge* says what is now; a *total* only grows, from the start of the engine on. Numbers are
at most a second old while a shard sleeps.
"
    .to_owned();
    for (title, is_of_engine) in [("Of the whole engine", true), ("Of each shard, and their sum", false)] {
        write!(page, "\n## {title}\n\n| name | kind | unit | what it says |\n| --- | --- | --- | --- |\n").unwrap();
        for counter in counters().filter(|counter| counter.is_of_engine == is_of_engine) {
            let kind = match counter.kind {
                CounterKind::Gauge => "gauge",
                CounterKind::Total => "total",
                CounterKind::Peak => "peak",
            };
            let (name, unit, help) = (counter.name, counter.unit, cell(counter.help));
            let line = format!("| `{name}` | {kind} | {unit} | {help} |");
            writeln!(page, "{line}").unwrap();
        }
    }
    is_generated("counters.md", &page);
}

#[test]
fn the_page_of_metrics_is_the_table_s() {
    let mut page = "\
# Metrics

What an engine tells a monitoring system: `Engine::metrics()` in Rust, `fw_metrics` in C, `engine.metrics()` in C++ and
Python give one text in the format of OpenMetrics 1.0. Generated from the engine's table.

- Serve it as `application/openmetrics-text; version=1.0.0; charset=utf-8`.
- A counter's samples end in `_total`, those of an info in `_info`, those of a histogram in `_bucket`, `_count`, `_sum`.
- Every shard reads every message: of `fanwire_messages_total`, `fanwire_message_bytes_total` and `fanwire_topics` take
  the maximum over shards, never the sum.
- Labels have few values. `pattern` is one of the first 32 patterns below `topics`; what falls under none, or under one
  more, has an empty one. `reason` is `lag`, `retention`, `epoch`, `passed_over` or `no_memory`.
- Numbers are at most a second old while a shard sleeps. Nothing is asked of the shards for a scrape.

## Latencies

Nothing is measured for each delivery. Each shard takes one sample a turn:

| histogram | from | to |
| --- | --- | --- |
| `fanwire_publish_to_first_send_seconds` | a turn's first message was published | the turn begins to send |
| `fanwire_publish_to_last_send_seconds` | the same | the end of the turn in which all was sent |
| `fanwire_turn_duration_seconds` | the kernel has told what there is | the turn has ended |

- A message that came first was published first, but for critical ones, which come before others. So the sample is, as
  a rule, the oldest of its turn, and the others fare better.
- \"All\" is what sockets took: of who does not read, or whose link is full, `fanwire_sends_short_total` and the lag tell.
- A turn that reads no message, or whose messages nobody subscribes to, gives no sample of the first two. Where sending
  takes several turns, the oldest message stays the sample.
- Publishing is stamped with the wall clock; a shard compares it with its own clock once a second. After a step of the
  wall clock, samples are wrong for a second at most; none is negative.
- Buckets end at powers of two, from 1 µs to 16.8 s.

## Table

"
    .to_owned();
    for metric in metrics() {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let by = if labels.is_empty() { String::new() } else { format!(" by {}", labels.join(", ")) };
        let (name, kind, help) = (&metric.name, metric.kind.name(), metric.help);
        let text = folded_to(&format!("- `{name}`, {kind}{by}: {help}"), COLUMNS - 2);
        writeln!(page, "{}", text.replace('\n', "\n  ")).unwrap();
    }
    page.push_str(OF_THE_SERVER);
    is_generated("metrics.md", &page);
}

/// What `fanwire serve` says besides. A test of the server holds its `/metrics` against the page.
const OF_THE_SERVER: &str = "
## Of the server

`/metrics` of `fanwire serve` has all of the table, and these. Those of `fanwire_jwks_…` have samples where keys come
from `token.jwks_url`, those of `fanwire_benchmark_p…` after the first measurement.

- `fanwire_jwks_age_seconds`, gauge: Age of the keys: since a good set was read, or, before the first one, since it was
  first asked for. It is never far above `token.jwks_every` while all is well.
- `fanwire_jwks_failures`, counter by `reason`: Times that the URL could not be read, or gave no set of public keys:
  `connection`, `tls`, `timeout`, `status` (not 200), `too_large`, `not_keys`.
- `fanwire_jwks_failures_in_a_row`, gauge: Such times since the last good set; 0 while all is well.
- `fanwire_admin_refused_requests`, counter: Requests that the admin port has refused for who made them.
- `fanwire_benchmark_runs`, counter: Measurements of this server by itself.
- `fanwire_benchmark_regressions`, counter: Of them far slower than usual, or with losses.
- `fanwire_benchmark_p50_seconds`, `fanwire_benchmark_p95_seconds`, `fanwire_benchmark_p99_seconds`, gauges: How long
  messages took from publisher to subscriber, in the newest measurement.
- `fanwire_process_cpus`, gauge: CPUs that this process may use: its control group's quota, else those that it may run
  on.
- `fanwire_process_memory_limit_bytes`, gauge: Memory that this process may have: its control group's limit, else the
  machine's.
- `process_cpu_seconds`, counter: CPU time that this process has used.
- `process_resident_memory_bytes`, `process_virtual_memory_bytes`, gauges: Its memory in RAM, its address space.
- `process_threads`, `process_open_fds`, `process_max_fds`, gauges: Its threads, its descriptors, those that it may
  have.
- `process_start_time_seconds`, gauge: When it was started, in Unix time.
";

/// The text of a class of the stubs.
fn class(stubs: &str, name: &str) -> String {
    let from = stubs.find(&format!("\nclass {name}:")).unwrap_or_else(|| panic!("no class {name}"));
    let rest = &stubs[from + 1..];
    let end = ["\n@final", "\ndef "].into_iter().filter_map(|next| rest.find(next)).min();
    rest[..end.unwrap_or(rest.len())].to_owned()
}

#[test]
fn the_python_stubs_have_every_setting_and_no_other() {
    let stubs = fs::read_to_string(repository().join("python/fanwire/_fanwire.pyi")).expect("the stubs");
    let engine = class(&stubs, "Engine");
    let signature =
        engine.split("def __new__(").nth(1).and_then(|rest| rest.split(") -> Self").next()).expect("a signature");
    let mut keywords: Vec<&str> = signature
        .lines()
        .filter_map(|line| Some(line.trim().split_once(": ")?.0))
        .filter(|name| !["options", "sockets"].contains(name))
        .collect();
    let mut expected: Vec<&str> = settings().map(|setting| setting.keyword).collect();
    keywords.sort_unstable();
    expected.sort_unstable();
    assert_eq!(keywords, expected);
    for keyword in keywords {
        assert!(engine.contains(&format!("\n        {keyword}: ")), "the stubs' text says nothing about {keyword}");
    }
}

#[test]
fn the_python_stubs_have_every_counter_and_no_other() {
    let stubs = fs::read_to_string(repository().join("python/fanwire/_fanwire.pyi")).expect("the stubs");
    let stats = class(&stubs, "Stats");
    let names: Vec<&str> = stats.split("def ").skip(1).filter_map(|part| part.split('(').next()).collect();
    let names: Vec<&str> = names.into_iter().filter(|name| *name != "as_dict").collect();
    let expected: Vec<&str> = counters().map(|counter| counter.name).collect();
    assert_eq!(names, expected);
}
