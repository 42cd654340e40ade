//! Keeps the dependency directions of ARCHITECTURE.md and the list of files that may contain `unsafe`.
//!
//! Reads the sources themselves: every path that is named, in a `use` tree or in the code, is resolved to where
//! it starts (`super::super::driver` is `crate::driver`) and held against the rules of the module it stands in. Comments,
//! strings and `#[cfg(test)]` items do not count. Knows Rust's tokens as far as that needs; knows nothing of the engine.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "dependencies/programs.rs"]
mod programs;
#[path = "dependencies/rooms.rs"]
mod rooms;
#[path = "dependencies/tools.rs"]
mod tools;

/// What the modules below `module` must not name, and why.
struct Rule {
    module: &'static str,
    forbidden: &'static [&'static str],
    /// Exceptions, each of which needs a reason here.
    allowed: &'static [&'static str],
    why: &'static str,
}

const SANS_IO: &[&str] = &[
    "std::net",
    "std::os",
    "std::thread",
    "std::env",
    "std::fs",
    "std::process",
    "std::time::Instant",
    "std::time::SystemTime",
    "rustix",
    "libc",
    "io_uring",
    "crate::driver",
    "crate::shard",
    "crate::sys",
    "crate::bench",
];

/// What a bridge's node must not name.
const NODE: &[&str] = &[
    "std::net",
    "std::os",
    "std::thread",
    "std::env",
    "std::fs",
    "std::process",
    "std::time::Instant",
    "std::time::SystemTime",
    "rustix",
    "libc",
    "tokio",
    "async_nats",
    "futures_util",
    "fanwire::Engine",
    "fanwire::Outlet",
    "fanwire::Interest",
    "crate::shell",
];

/// Where the sources lie that the rules are about, and the module that a crate's root stands for.
const ROOTS: &[(&str, &str)] = &[
    ("core/src", ""),
    ("core/proto/src", "proto"),
    ("core/token/src", "token"),
    ("core/tls/src", "sealed"),
    ("bridge/src/node", "node"),
];

/// Crates of ours that may hold no unsafe code at all, and what they must not depend on, as [`SANS_IO`] says it of modules.
const SANS_IO_CRATES: &[&str] = &["core/proto", "core/tls", "core/token", "core/types"];
const SANS_IO_DEPENDENCIES: &[&str] = &["fanwire", "fanwire-ring", "rustix", "libc", "io-uring", "mio", "tokio"];

const RULES: &[Rule] = &[
    Rule {
        module: "proto",
        forbidden: SANS_IO,
        // Addresses are numbers that proxies write; `core` has them, too.
        allowed: &["std::net::IpAddr", "std::net::Ipv4Addr", "std::net::Ipv6Addr", "std::net::SocketAddr"],
        why: "the protocol is bytes in, actions out: no socket, descriptor, thread or clock",
    },
    Rule {
        module: "token",
        forbidden: SANS_IO,
        allowed: &[],
        why: "a token is bytes, and so is a key; the time is an argument",
    },
    Rule {
        module: "sealed",
        forbidden: SANS_IO,
        allowed: &[],
        why: "a record is bytes, and so is a certificate: no socket, file or thread",
    },
    Rule {
        module: "node",
        forbidden: NODE,
        allowed: &[],
        why: "a node of a cluster must run in the simulator: messages and the time go in, what is to be done comes out",
    },
    Rule {
        module: "log",
        forbidden: SANS_IO,
        allowed: &[],
        why: "a log is memory and positions: no socket, descriptor, thread or clock",
    },
    Rule {
        module: "driver",
        forbidden: &[
            "crate::proto",
            "fanwire_proto",
            "crate::log",
            "crate::shard",
            "crate::ingest",
            "fanwire_ring",
            "crate::bench",
        ],
        // What stands before a connection's first byte says whose it is: part of the accept.
        allowed: &["crate::proto::proxy"],
        why: "a driver knows no frames, no topics and no policies",
    },
    Rule {
        module: "shard",
        forbidden: &[
            "io_uring",
            "libc",
            "rustix",
            "crate::sys",
            "crate::driver::uring",
            "crate::driver::epoll",
            "crate::driver::sim",
            "crate::driver::null",
            "crate::bench",
            "std::thread",
            "std::time::Instant",
            "std::time::SystemTime",
        ],
        allowed: &[],
        why: "a shard is generic over its driver and must run in the simulator",
    },
    Rule {
        module: "settings",
        forbidden: &[
            "crate::driver",
            "crate::shard",
            "crate::log",
            "crate::sys",
            "crate::engine",
            "crate::bench",
            "rustix",
            "libc",
        ],
        allowed: &[],
        why: "a setting is a name, a range and a place in the configuration",
    },
    Rule {
        module: "counters",
        forbidden: &["crate", "rustix", "libc"],
        allowed: &[],
        why: "a counter is a name and a number",
    },
    Rule { module: "sys", forbidden: &["crate"], allowed: &["crate::sys"], why: "sys depends on nothing of ours" },
];

/// Files (or directories, with a slash at the end) that may contain `unsafe`, relative to the repository.
const UNSAFE_ALLOWED: &[&str] = &[
    "core/ring/src/area.rs",
    "core/ring/src/cursor.rs",
    "core/ring/src/memory.rs",
    "core/ring/src/payload.rs",
    "core/ring/src/ring.rs",
    "core/ring/src/shared.rs",
    "core/ring/src/usdt.rs",
    "core/src/driver/uring/",
    "core/src/driver/epoll/",
    "core/src/sys/",
    "core/tests/allocations.rs",
    "core/tests/support/held.rs",
    "ffi/src/",
    "python/src/process.rs",
    "python/src/view.rs",
    "python/src/claim.rs",
    "perf/src/host/ring.rs",
    "perf/peers/rust/src/lib.rs",
];

/// Longest source file: a second noun is the moment to split.
const LINES_MAX: usize = 1_000;

/// The word itself, spelled so that this file does not contain it as a token.
const UNSAFE: &str = concat!("un", "safe");

#[test]
fn modules_name_only_what_lies_below_them() {
    let mut faults = Vec::new();
    for (root, above) in ROOTS {
        let root = repository().join(root);
        for file in rust_files(&root) {
            let inside = module_of(file.strip_prefix(&root).expect("listed below the root"));
            let module = [*above, &inside].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("::");
            if is_test_module(&module) {
                continue;
            }
            let name = file.strip_prefix(repository()).expect("in the repository").display().to_string();
            faults.extend(dependency_faults(&module, &read(&file)).into_iter().map(|fault| format!("{name}:{fault}")));
        }
    }
    assert!(faults.is_empty(), "dependency directions:\n{}", faults.join("\n"));
}

#[test]
fn a_crate_without_io_depends_on_none_and_forbids_unsafe_code() {
    for folder in SANS_IO_CRATES {
        let root = read(&repository().join(folder).join("src/lib.rs"));
        assert!(root.contains(&format!("#![forbid({UNSAFE}_code)]")), "{folder} must forbid {UNSAFE} code");
        let manifest = read(&repository().join(folder).join("Cargo.toml"));
        let dependencies = manifest.split_once("\n[dependencies]").map_or("", |(_, lines)| lines);
        // Tests may look at the process that they run in.
        let dependencies = dependencies.split("\n[dev-dependencies]").next().unwrap_or_default();
        for line in dependencies.lines() {
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            assert!(!SANS_IO_DEPENDENCIES.contains(&name), "{folder} must not depend on {name}");
        }
    }
}

#[test]
fn the_unsafe_keyword_stands_only_in_named_files_that_open_with_their_contract() {
    let mut faults = Vec::new();
    for (name, text) in all_sources() {
        faults.extend(unsafe_fault(&name, &text));
    }
    assert!(faults.is_empty(), "{UNSAFE} code:\n{}", faults.join("\n"));
}

#[test]
fn no_source_file_is_too_long() {
    let long: Vec<String> = all_sources()
        .into_iter()
        .map(|(name, text)| (text.lines().count(), name))
        .filter(|(lines, _)| *lines > LINES_MAX)
        .map(|(lines, name)| format!("{name}: {lines} lines, at most {LINES_MAX}"))
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

/// Where no file may need one that needs it: each can be read without the others in its circle.
const WITHOUT_CIRCLES: [&str; 3] = ["ffi/src", "python/src", "core/src/settings"];

#[test]
fn files_of_the_bindings_do_not_need_each_other_in_circles() {
    for folder in WITHOUT_CIRCLES {
        let root = repository().join(folder);
        let sources: Vec<(String, String)> = rust_files(&root)
            .into_iter()
            .map(|file| (module_of(file.strip_prefix(&root).expect("listed below the root")), read(&file)))
            .filter(|(module, _)| !module.is_empty() && !is_test_module(module))
            .collect();
        assert_eq!(circles(&sources), Vec::<String>::new(), "import circles in {folder}");
    }
}

#[test]
fn every_rule_has_a_module_to_hold() {
    for rule in RULES {
        let root = repository().join("core/src");
        let present = ROOTS.iter().any(|(_, module)| *module == rule.module)
            || root.join(rule.module).is_dir()
            || root.join(format!("{}.rs", rule.module)).is_file();
        assert!(present, "no module {} any more: the rule about it checks nothing", rule.module);
    }
}

#[test]
fn the_feature_that_opens_the_engine_is_nobodys_but_the_benches() {
    let mut faults = Vec::new();
    for folder in fs::read_dir(repository()).expect("a readable repository") {
        let manifest = folder.expect("a readable folder").path().join("Cargo.toml");
        if manifest.is_file() {
            let name = manifest.strip_prefix(repository()).expect("in the repository").to_string_lossy().into_owned();
            faults.extend(bench_feature_faults(&name, &read(&manifest)));
        }
    }
    faults.extend(bench_feature_faults("Cargo.toml", &read(&repository().join("Cargo.toml"))));
    assert!(faults.is_empty(), "the feature `bench` of fanwire is for benches/ alone:\n{}", faults.join("\n"));
}

#[test]
fn the_ring_is_below_everything_of_ours() {
    let faults = own_dependencies(&read(&repository().join("core/ring/Cargo.toml")));
    assert!(faults.is_empty(), "the ring knows neither connections nor frames: {faults:?}");
}

/// Hosts have it inside themselves: what it needs, each of them carries.
#[test]
fn who_decides_on_tokens_is_no_server() {
    let manifest = read(&repository().join("access/Cargo.toml"));
    let wrong = names_of_dependencies(&manifest, &["axum", "hyper", "tokio", "clap", "fanwire-server", "fanwire-ffi"]);
    assert!(wrong.is_empty(), "access must not depend on {wrong:?}");
    assert_eq!(names_of_dependencies("a = 1\ntokio.workspace = true\ntoml = 2", &["tokio", "b"]), ["tokio"]);
}

/// Which of these a manifest names.
fn names_of_dependencies<'a>(manifest: &str, names: &[&'a str]) -> Vec<&'a str> {
    let is_named = |name: &&&str| manifest.lines().any(|line| line.split(['.', ' ', '=']).next() == Some(**name));
    names.iter().filter(is_named).copied().collect()
}

mod the_checker_itself {
    use super::*;

    #[test]
    fn finds_a_planted_dependency() {
        for line in ["fanwire.workspace = true", "fanwire-proto = { path = \"../proto\" }"] {
            let manifest = format!("[package]\nname = \"fanwire-ring\"\n[dependencies]\n{line}\n");
            assert_eq!(own_dependencies(&manifest), [line]);
        }
        for line in ["bytes.workspace = true", "# fanwire of course", "description = \"fanwire's way in\""] {
            assert_eq!(own_dependencies(line), Vec::<String>::new());
        }
    }

    #[test]
    fn finds_a_planted_feature() {
        for (manifest, line) in [
            ("server/Cargo.toml", "fanwire = { workspace = true, features = [\"bench\"] }"),
            ("server/Cargo.toml", "fast = [\"fanwire/bench\"]"),
            ("Cargo.toml", "fanwire = { path = \"core\", features = ['bench'] }"),
            ("core/Cargo.toml", "default = [\"bench\"]"),
            ("benches/Cargo.toml", "default = [\"kernels\"]"),
            ("benches/Cargo.toml", "fanwire = { workspace = true, features = [\"bench\"] }"),
        ] {
            assert!(!bench_feature_faults(manifest, line).is_empty(), "in {manifest}: {line}");
        }
        for (manifest, line) in [
            ("core/Cargo.toml", "bench = []"),
            ("benches/Cargo.toml", "kernels = [\"fanwire/bench\", \"dep:rustix\"]"),
            ("benches/Cargo.toml", "required-features = [\"kernels\"]"),
            ("benches/Cargo.toml", "bench = false"),
            ("Cargo.toml", "members = [\"core\", \"benches\"]"),
            ("Cargo.toml", "criterion = { version = \"0.8.2\", features = [\"cargo_bench_support\"] }"),
        ] {
            assert_eq!(bench_feature_faults(manifest, line), Vec::<String>::new(), "in {manifest}: {line}");
        }
    }

    #[test]
    fn finds_planted_use_lines() {
        for (module, line) in [
            ("proto", "use std::net::TcpStream;"),
            ("proto", "use std::{fmt, net::TcpStream};"),
            ("proto::json", "use std::{fmt, time::{Duration, Instant}};"),
            ("proto", "use ::std::thread;"),
            ("proto", "pub(crate) use crate::driver::Slot as S;"),
            ("proto::json", "use super::super::driver::Slot;"),
            ("proto", "use core::net::*;"),
            ("proto", "use std::os::*;"),
            ("log", "use crate::{types::Kind, sys::clock};"),
            ("log", "fn f() { let t = std::time::Instant::now(); }"),
            ("log", "fn f(s: &dyn Fn(std::net::SocketAddr)) {}"),
            ("log", "fn f() { crate::shard::turn() }"),
            ("log", "fn f() { super::shard::turn() }"),
            ("log", "use rustix as r;"),
            ("driver::uring", "use crate::proto::header;"),
            ("driver", "use crate::ingest::{ring, payload};"),
            ("shard::turn", "use crate::driver::uring::Uring;"),
            ("shard", "fn f() { libc::getpid(); }"),
            ("shard", "use crate::{driver::{Driver, epoll}, log};"),
            ("driver", "use fanwire_ring::Ring;"),
            ("sys", "use crate::types::Kind;"),
            ("shard", "use crate::bench::OneShard;"),
            ("shard::send", "use crate::driver::null::NullDriver;"),
            ("sys::clock", "use super::super::types::Kind;"),
            ("proto", "/* a \" in a comment */ use libc::c_int; // \""),
            ("proto", "const A: char = '\"'; use libc::c_int;"),
            ("proto", "const A: &str = r#\"\"\"#; use libc::c_int;"),
            ("proto", "impl<'a> A<'a> {} use libc::c_int;"),
            ("proto", "#[cfg(not(test))] use libc::c_int;"),
            ("proto", "#[cfg(test)] mod tests { use std::net; } use libc::c_int;"),
        ] {
            assert!(!dependency_faults(module, line).is_empty(), "in {module}: {line}");
        }
    }

    #[test]
    fn lets_good_lines_pass() {
        for (module, line) in [
            ("proto", "use std::{fmt, io, time::Duration};"),
            ("proto", "use crate::types::{Kind, Priority};"),
            ("proto", "use super::log;"),
            ("proto", "//! never names std::net::SocketAddr or crate::driver"),
            ("proto", "/// like [`crate::driver::Slot`]\nfn f() {}"),
            ("proto", "const HELP: &str = \"use std::net;\";"),
            ("proto", "#[cfg(test)]\nmod tests {\n use std::thread;\n fn f() { libc::getpid(); }\n}"),
            ("proto", "#[cfg(all(test, not(loom)))]\nuse std::thread;"),
            ("proto", "fn driver() { let sys = 1; self.libc.x(); shard::y(); }"),
            ("log::pool", "use super::driver::x;"),
            ("driver", "use crate::sys::socket;"),
            ("sys::clock", "use crate::sys::socket; use super::socket::x;"),
            ("shard", "use crate::driver::{Driver, Slot};"),
            ("engine", "use crate::driver::uring; use std::thread;"),
        ] {
            assert_eq!(dependency_faults(module, line), Vec::<String>::new(), "in {module}: {line}");
        }
    }

    #[test]
    fn finds_planted_circles() {
        let found = |files: &[(&str, &str)]| {
            let sources: Vec<_> = files.iter().map(|(module, text)| (module.to_string(), text.to_string())).collect();
            circles(&sources)
        };
        assert_eq!(found(&[("a", "use crate::b::B;"), ("b", "use super::a;")]), ["a, b"]);
        assert_eq!(
            found(&[("a", "use crate::b;"), ("b", "fn f() { crate::c::g() }"), ("c", "use crate::a::A;")]),
            ["a, b, c"]
        );
        assert_eq!(found(&[("a", "use crate::b;"), ("b", "use crate::c::B;"), ("c", "")]), [""; 0]);
        assert_eq!(found(&[("a", "use crate::b;"), ("b", "#[cfg(test)] mod tests { use crate::a; }")]), [""; 0]);
        assert_eq!(found(&[("a", "use self::b::B;"), ("a::b", "use super::b::C;")]), [""; 0], "itself");
    }

    #[test]
    fn finds_planted_keywords() {
        let code = format!("{UNSAFE} fn f() {{}}");
        assert!(unsafe_fault("core/src/log/mod.rs", &code).is_some());
        assert!(unsafe_fault("server/src/main.rs", &format!("fn f() {{ {UNSAFE} {{ g() }} }}")).is_some());
        assert!(unsafe_fault("core/src/sys/mod.rs", &code).is_some(), "without a contract");
        assert!(unsafe_fault("core/src/sys/mod.rs", &format!("//! Syscalls.\n//!\n//! # Contract\n{code}")).is_none());
        assert!(unsafe_fault("core/src/sys/mod.rs", &format!("// # Contract\n{code}")).is_some(), "not a doc comment");
        assert!(unsafe_fault("core/src/log/mod.rs", &format!("// {code}\n#![deny({UNSAFE}_code)]")).is_none());
        assert!(unsafe_fault("core/ring/src/ring_test.rs", &code).is_some(), "a file name is no prefix");
    }

    #[test]
    fn resolves_modules_from_file_names() {
        for (file, module) in [
            ("lib.rs", ""),
            ("types.rs", "types"),
            ("proto/mod.rs", "proto"),
            ("proto/json.rs", "proto::json"),
            ("driver/uring/ring.rs", "driver::uring::ring"),
        ] {
            assert_eq!(module_of(Path::new(file)), module);
        }
    }
}

/// `line: fault` for everything in `text` that a file of `module` must not name.
fn dependency_faults(module: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for rule in RULES.iter().filter(|rule| is_below(module, rule.module)) {
        for (line, path) in named_paths(module, text) {
            let hit = |list: &[&str]| list.iter().any(|entry| is_below(&path, entry));
            if hit(rule.forbidden) && !hit(rule.allowed) {
                faults.push(format!("{line}: `{}` names `{path}`: {}", rule.module, rule.why));
            }
        }
    }
    faults
}

/// The lines of a manifest by which it depends on a crate of this repository, but for the vocabulary of all.
fn own_dependencies(manifest: &str) -> Vec<String> {
    manifest
        .lines()
        .filter(|line| line.starts_with("fanwire") && !line.starts_with("fanwire-types"))
        .map(str::to_owned)
        .collect()
}

/// Every set of modules that need each other, by the order of their names. A module's own parts count as it.
fn circles(sources: &[(String, String)]) -> Vec<String> {
    let top = |module: &str| module.split("::").next().unwrap_or_default().to_owned();
    let needs: BTreeSet<(String, String)> = sources
        .iter()
        .flat_map(|(module, text)| named_paths(module, text).into_iter().map(move |(_, path)| (top(module), path)))
        .filter_map(|(from, path)| Some((from, top(path.strip_prefix("crate::")?))))
        .filter(|(from, to)| from != to && sources.iter().any(|(module, _)| top(module) == *to))
        .collect();
    let reached = |from: &str| {
        let mut seen = BTreeSet::new();
        let mut next = vec![from.to_owned()];
        while let Some(module) = next.pop() {
            for (_, to) in needs.iter().filter(|(from, _)| *from == module) {
                if seen.insert(to.clone()) {
                    next.push(to.clone());
                }
            }
        }
        seen
    };
    let modules: BTreeSet<String> = sources.iter().map(|(module, _)| top(module)).collect();
    let circle_of = |module: &String| -> Vec<String> {
        reached(module).into_iter().filter(|other| reached(other).contains(module)).collect()
    };
    let found: BTreeSet<String> =
        modules.iter().map(circle_of).filter(|circle| !circle.is_empty()).map(|circle| circle.join(", ")).collect();
    found.into_iter().collect()
}

/// `file:line: text` for each line of a manifest that switches on `fanwire::bench` for a build that might ship.
fn bench_feature_faults(name: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let code = line.split('#').next().unwrap_or_default();
        let names = |feature: &str| code.contains(&format!("\"{feature}\"")) || code.contains(&format!("'{feature}'"));
        let is_default = code.trim_start().starts_with("default ");
        // In `benches/` a feature that is off by default may name it.
        let is_opt_in = name == "benches/Cargo.toml" && !is_default;
        if names("bench") || (names("fanwire/bench") && !is_opt_in) || (names("kernels") && is_default) {
            faults.push(format!("{name}:{}: {}", number + 1, line.trim()));
        }
    }
    faults
}

/// The fault of a file (named relative to the repository) as to unsafe code, if it has one.
fn unsafe_fault(name: &str, text: &str) -> Option<String> {
    let line = tokens(text).into_iter().find(|token| token.text == UNSAFE)?.line;
    let listed =
        UNSAFE_ALLOWED.iter().any(|entry| if entry.ends_with('/') { name.starts_with(entry) } else { name == *entry });
    if !listed {
        return Some(format!("{name}:{line}: not one of the files that may contain {UNSAFE} code"));
    }
    let head: String = text.lines().take_while(|line| line.starts_with("//!")).collect::<Vec<_>>().join("\n");
    let head = head.to_lowercase();
    if ["contract", "safety", UNSAFE].iter().any(|word| head.contains(word)) {
        return None;
    }
    Some(format!("{name}: contains {UNSAFE} code but its module documentation does not open with the contract"))
}

/// `#[cfg(test)] mod tests;` in a file of its own: `tests.rs`, `json_tests.rs`.
fn is_test_module(module: &str) -> bool {
    module.split("::").any(|part| part == "tests" || part.ends_with("_tests") || part == "corpora_replay")
}

/// True where `path` is `prefix` or lies below it.
fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Every path of two or more segments in the code, and every `use`d path, with its line, made absolute where it is relative.
fn named_paths(module: &str, text: &str) -> Vec<(usize, String)> {
    let tokens = without_test_items(tokens(text));
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        // `impl Trait + use<'a>` imports nothing.
        if tokens[at].text == "use" && tokens.get(at + 1).is_none_or(|next| next.text != "<") {
            at = use_tree(&tokens, at + 1, &mut Vec::new(), &mut |line, path| found.push((line, path.to_vec())));
            continue;
        }
        if !tokens[at].is_word() {
            at += 1;
            continue;
        }
        let line = tokens[at].line;
        let mut path = vec![tokens[at].text.clone()];
        at += 1;
        while at + 1 < tokens.len() && tokens[at].text == "::" && tokens[at + 1].is_word() {
            path.push(tokens[at + 1].text.clone());
            at += 2;
        }
        if path.len() > 1 {
            found.push((line, path));
        }
    }
    found.into_iter().map(|(line, path)| (line, absolute(module, &path))).collect()
}

/// Walks one `use` tree from `at`, calls `leaf` for each full path, and returns the position after it.
fn use_tree(
    tokens: &[Token],
    mut at: usize,
    prefix: &mut Vec<String>,
    leaf: &mut dyn FnMut(usize, &[String]),
) -> usize {
    let depth = prefix.len();
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            "::" => at += 1,
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|token| token.text != "}") {
                    at = use_tree(tokens, at, prefix, leaf);
                    if tokens.get(at).is_some_and(|token| token.text == ",") {
                        at += 1;
                    }
                }
                at += 1;
                prefix.truncate(depth);
                return at;
            }
            "as" => at += 2,
            "," | "}" | ";" => {
                leaf(token.line, prefix);
                prefix.truncate(depth);
                return at;
            }
            word => {
                prefix.push(word.to_string());
                at += 1;
            }
        }
    }
    prefix.truncate(depth);
    at
}

/// `self`, `super` and `core` resolved; everything else as it is.
fn absolute(module: &str, path: &[String]) -> String {
    let mut base: Vec<&str> = module.split("::").filter(|part| !part.is_empty()).collect();
    let mut rest = path;
    match path[0].as_str() {
        "self" => rest = &path[1..],
        "super" => {
            while rest.first().is_some_and(|part| part == "super") {
                base.pop();
                rest = &rest[1..];
            }
        }
        "core" | "alloc" => return format!("std::{}", path[1..].join("::")),
        _ => return path.join("::"),
    }
    base.insert(0, "crate");
    base.extend(rest.iter().map(String::as_str));
    base.join("::")
}

#[derive(Clone, Debug)]
struct Token {
    line: usize,
    text: String,
}

impl Token {
    fn is_word(&self) -> bool {
        self.text.starts_with(|c: char| c.is_alphabetic() || c == '_')
    }
}

/// Words, `::` and single marks of Rust source; comments, strings, characters and lifetimes are left out.
fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let mut found = Vec::new();
    let mut line = 1;
    let mut at = 0;
    let peek = |at: usize| chars.get(at).copied().unwrap_or('\0');
    while at < chars.len() {
        let c = chars[at];
        let begin = at;
        match c {
            '/' if peek(at + 1) == '/' => {
                while at < chars.len() && chars[at] != '\n' {
                    at += 1;
                }
            }
            '/' if peek(at + 1) == '*' => {
                let mut depth = 0;
                while at < chars.len() {
                    match (chars[at], peek(at + 1)) {
                        ('/', '*') => (depth, at) = (depth + 1, at + 2),
                        ('*', '/') => (depth, at) = (depth - 1, at + 2),
                        _ => at += 1,
                    }
                    if depth == 0 {
                        break;
                    }
                }
            }
            '"' => at = after_string(&chars, at),
            // A character, or a lifetime: only a character closes with a second quote.
            '\'' => {
                if peek(at + 1) == '\\' {
                    at += 3;
                    while at < chars.len() && chars[at] != '\'' {
                        at += 1;
                    }
                    at += 1;
                } else if peek(at + 2) == '\'' {
                    at += 3;
                } else {
                    at += 1;
                    while peek(at).is_alphanumeric() || peek(at) == '_' {
                        at += 1;
                    }
                }
            }
            c if c.is_alphanumeric() || c == '_' => {
                while peek(at).is_alphanumeric() || peek(at) == '_' {
                    at += 1;
                }
                let word: String = chars[begin..at].iter().collect();
                let hashes = chars[at..].iter().take_while(|c| **c == '#').count();
                match word.as_str() {
                    "r" | "br" | "cr" if peek(at + hashes) == '"' => at = after_raw_string(&chars, at, hashes),
                    "b" | "c" if peek(at) == '"' => at = after_string(&chars, at),
                    // A raw identifier: the word follows.
                    "r" if hashes == 1 => at += 1,
                    _ => found.push(Token { line, text: word }),
                }
            }
            ':' if peek(at + 1) == ':' => {
                found.push(Token { line, text: "::".into() });
                at += 2;
            }
            c => {
                if !c.is_whitespace() {
                    found.push(Token { line, text: c.into() });
                }
                at += 1;
            }
        }
        at = at.min(chars.len());
        line += chars[begin..at].iter().filter(|c| **c == '\n').count();
    }
    found
}

/// The position after a string that opens at `at`.
fn after_string(chars: &[char], mut at: usize) -> usize {
    at += 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// The position after a raw string whose `hashes` marks begin at `at`.
fn after_raw_string(chars: &[char], at: usize, hashes: usize) -> usize {
    let mut at = at + hashes + 1;
    while at < chars.len() {
        let closes = chars[at] == '"' && chars[at + 1..].iter().take_while(|c| **c == '#').count() >= hashes;
        at += 1;
        if closes {
            return at + hashes;
        }
    }
    at
}

/// Drops what stands behind `#[cfg(test)]`, `#[cfg(all(test, …))]` and the like.
fn without_test_items(tokens: Vec<Token>) -> Vec<Token> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at].text == "#" && tokens.get(at + 1).is_some_and(|token| token.text == "[") {
            let end = after_group(&tokens, at + 1);
            if is_test_condition(&tokens[at + 2..end]) {
                at = after_item(&tokens, end);
            } else {
                kept.extend_from_slice(&tokens[at..end]);
                at = end;
            }
            continue;
        }
        kept.push(tokens[at].clone());
        at += 1;
    }
    kept
}

fn is_test_condition(attribute: &[Token]) -> bool {
    let word = |i: usize| attribute.get(i).map_or("", |token| token.text.as_str());
    match word(0) {
        "test" => true,
        "cfg" => word(2) == "test" || (word(2) == "all" && (4..8).any(|i| word(i) == "test" && word(i - 2) != "not")),
        _ => false,
    }
}

/// The position after the bracket group that opens at `at`.
fn after_group(tokens: &[Token], mut at: usize) -> usize {
    let mut depth = 0;
    while at < tokens.len() {
        match tokens[at].text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            break;
        }
    }
    at
}

/// The position after the item at `at`: its first block, or a semicolon before any.
fn after_item(tokens: &[Token], mut at: usize) -> usize {
    while at < tokens.len() {
        match tokens[at].text.as_str() {
            "{" => {
                let end = after_group(tokens, at);
                // `use a::{b, c};` has its semicolon still to come.
                return if tokens.get(end).is_some_and(|token| token.text == ";") { end + 1 } else { end };
            }
            ";" => return at + 1,
            "(" | "[" => at = after_group(tokens, at),
            _ => at += 1,
        }
    }
    at
}

/// `proto::json` for `proto/json.rs`, the empty string for `lib.rs`.
fn module_of(file: &Path) -> String {
    let mut parts: Vec<String> =
        file.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if parts.last().is_some_and(|last| last == "mod" || last == "lib") {
        parts.pop();
    }
    parts.join("::")
}

/// All Rust sources of the workspace with their names relative to the repository.
fn all_sources() -> Vec<(String, String)> {
    let mut sources = Vec::new();
    for part in ["access", "bridge", "core", "server", "perf", "ffi", "python", "benches"] {
        for file in rust_files(&repository().join(part)) {
            let name = file.strip_prefix(repository()).expect("in the repository").to_string_lossy().into_owned();
            sources.push((name, read(&file)));
        }
    }
    assert!(sources.len() > 3, "no sources found: this test would prove nothing");
    sources
}

/// Rust files below `folder` (none where it is missing), build output and test modules of the library left out.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return files };
    for entry in entries {
        let path = entry.expect("a readable folder").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("core lies in the repository")
}
