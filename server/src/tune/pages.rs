//! Job: keeps the files of `tuning/` in step with the table: what is generated from it is compared, what is written by hand is checked.
//! Knows: those files. Must never know: the running host.
//!
//! `FANWIRE_WRITE_TUNING=1 cargo test -p fanwire-server --bins tune::pages` writes the generated ones anew.

use std::fs;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use clap::Parser;

use super::knob::{Group, Knob, Place, Standing};
use super::plan::Plan;
use super::{persist, table};
use crate::args::{Args, Command, Driver};
use crate::host::tree::Tree;

/// The load that the generated files are for.
const CONNECTIONS: u32 = 100_000;
const SHARDS: usize = 4;

/// What the plan asks for is less than most kernels have by default, and a file cannot say "at least".
const LOWER_THAN_DEFAULT: [&str; 2] = ["fs.nr_open", "fs.file-max"];

/// The host that they are for: nothing is set on it, and everything that a rule may ask for is there.
fn reference() -> (Tree, Plan) {
    let tree = Tree::empty();
    tree.write("/proc/sys/net/netfilter/nf_conntrack_max", "1\n");
    tree.write("/proc/net/softnet_stat", "00000001 00000001 00000001\n");
    tree.write("/proc/swaps", "Filename\n/swap\n");
    tree.write("/sys/devices/system/node/node0/cpulist", "0\n");
    tree.write("/sys/devices/system/node/node1/cpulist", "1\n");
    let connections = NonZeroU32::new(CONNECTIONS);
    let plan = Plan::new(&tree.host(), connections, NonZeroUsize::new(SHARDS), Driver::Auto, true);
    (tree, plan)
}

fn tuning(file: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tuning")).join(file)
}

fn text_of(file: &str) -> String {
    fs::read_to_string(tuning(file)).unwrap_or_else(|error| panic!("tuning/{file}: {error}"))
}

fn is_generated(file: &str, text: &str) {
    if std::env::var_os("FANWIRE_WRITE_TUNING").is_some() {
        fs::write(tuning(file), text).expect("a file of tuning/");
    }
    let found = text_of(file);
    assert!(
        found == text,
        "tuning/{file} is not what the table says: FANWIRE_WRITE_TUNING=1 cargo test -p fanwire-server --bins tune::pages"
    );
}

/// A text folded to lines of at most `width` characters. `first` stands before it, `rest` before each further line.
fn folded(first: &str, rest: &str, width: usize, text: &str) -> String {
    let mut lines = String::new();
    let mut line = first.to_owned();
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > width {
            lines += &format!("{line}\n");
            line = rest.to_owned();
        }
        line += &format!(" {word}");
    }
    lines + &line + "\n"
}

/// A text as comment lines.
fn comment(what: &str, text: &str) -> String {
    folded(&format!("# {what}"), "#  ", 118, text)
}

/// A text as an item of a list.
fn item(what: &str, text: &str) -> String {
    folded(&format!("- {what}:"), " ", 120, text)
}

#[test]
fn the_sysctl_file_is_the_table_s() {
    let (tree, plan) = reference();
    let mut text = format!(
        "\
# fanwire: sysctls for {CONNECTIONS} connections on {SHARDS} shards. Generated from the table of `fanwire tune`.
#
# Install as {path}, then `sysctl --system`. This file knows nothing of your host and may LOWER what
# is higher there: look at `fanwire tune check --connections N` first, or better let `fanwire tune apply --persist` write one for
# your host, which lowers nothing. Lines behind `#` pay only sometimes, or are below what a kernel has by default: read why before you
# take them in. What is not here gains fanwire nothing, or depends on the host's memory: tuning/README.md.
#
# Undo: remove the file and reboot; or note the former values first (`sysctl NAME`) and set them again.
",
        path = persist::PATH
    );
    for knob in table::all() {
        let Place::Sysctl(want) = knob.place else { continue };
        let Some(value) = want(&tree.host(), &plan).value("") else { continue };
        let line = persist::line(knob, &value);
        text += "\n";
        text += &comment(&format!("{}:", knob.id), knob.rule);
        text += &comment("Why:", knob.why);
        text += &comment("Gain:", knob.gain);
        text += &comment("Measure:", knob.measure);
        let is_on = knob.standing.is_usual() && !LOWER_THAN_DEFAULT.contains(&knob.id);
        text += &if is_on { format!("{line}\n") } else { format!("#{line}\n") };
    }
    is_generated("sysctl.d/60-fanwire.conf", &text);
}

#[test]
fn the_limits_file_is_the_table_s() {
    let knob = |id| table::find(id).expect("a knob");
    let mut text = "\
# fanwire: limits for a user who starts it from a login. Generated from the table of `fanwire tune`.
#
# Install as /etc/security/limits.d/60-fanwire.conf; holds from the next login. A service has its own (LimitNOFILE=, LimitMEMLOCK= in
# tuning/systemd/fanwire.service). Undo: remove the file. See what holds: `ulimit -Hn; ulimit -Hl`, or `fanwire doctor`.
"
    .to_owned();
    for (id, item, value) in [("nofile", "nofile", "1048576"), ("memlock", "memlock", "unlimited")] {
        text += "\n";
        text += &comment(&format!("{id}:"), knob(id).rule);
        text += &comment("Why:", knob(id).why);
        text += &format!("fanwire  hard  {item}  {value}\n");
        if id == "memlock" {
            text += &format!("fanwire  soft  {item}  {value}\n");
        }
    }
    is_generated("limits.d/60-fanwire.conf", &text);
}

/// One knob as a section of the page.
fn section(knob: &Knob) -> String {
    let standing = match knob.standing {
        Standing::Needed => "Needed",
        Standing::Pays => "Pays",
        Standing::Sometimes => "Pays sometimes",
        Standing::Nothing => "Gains nothing; never written",
    };
    let mut text = format!("#### `{}`\n\n{standing}. `{}`\n\n", knob.id, knob.location());
    text += &item("Wanted", &format!("{}.", knob.rule));
    text += &item("Why", knob.why);
    text += &item("Gain", knob.gain);
    text += &item("Danger", knob.danger);
    text += &item("Measure", &format!("{}.", knob.measure));
    if knob.standing != Standing::Nothing {
        text += &item("Undo", &format!("{}. To last: {}.", knob.undo(), knob.lasting()));
    }
    text + "\n"
}

const BEGIN: &str = "<!-- From here on generated from the table of `fanwire tune`. -->\n";
const END: &str = "<!-- To here. -->\n";

#[test]
fn the_page_tells_every_knob_as_the_table_does() {
    let mut knobs = String::from("\n");
    for group in Group::ALL {
        knobs += &format!("### {}\n\n", group.name());
        table::all().filter(|knob| knob.group == group).for_each(|knob| knobs += &section(knob));
    }
    let page = text_of("README.md");
    let (before, rest) = page.split_once(BEGIN).expect("the mark of the beginning");
    let (_, after) = rest.split_once(END).expect("the mark of the end");
    is_generated("README.md", &format!("{before}{BEGIN}{knobs}{END}{after}"));
}

/// The value of a setting of a unit file.
fn unit_value<'a>(unit: &'a str, key: &str) -> Option<&'a str> {
    unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
}

#[test]
fn the_service_has_the_limits_that_the_table_asks_for() {
    let unit = text_of("systemd/fanwire.service");
    let files: u64 = unit_value(&unit, "LimitNOFILE").and_then(|value| value.parse().ok()).expect("LimitNOFILE");
    let (_, plan) = reference();
    // Enough with epoll as well, and not above what the kernel's default of fs.nr_open allows.
    assert!(files >= u64::from(plan.connections) + 128 && files >= plan.open_files() && files <= 1 << 20);
    assert_eq!(unit_value(&unit, "LimitMEMLOCK"), Some("infinity"));
    let filter: Vec<&str> = unit.lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")).collect();
    for call in ["io_uring_setup", "io_uring_enter", "io_uring_register"] {
        assert!(filter.iter().any(|line| line.split_whitespace().any(|word| word == call)), "{call}");
    }
}

#[test]
fn the_services_start_what_there_is() {
    let command = |file: &str, key: &str| {
        let unit = text_of(file);
        let line = unit_value(&unit, key).unwrap_or_else(|| panic!("{file}: {key}")).to_owned();
        Args::try_parse_from(line.split_whitespace()).unwrap_or_else(|error| panic!("{line}: {error}")).command
    };
    assert!(matches!(command("systemd/fanwire.service", "ExecStart"), Command::Serve(_)));
    assert!(matches!(command("systemd/fanwire-tune.service", "ExecStart"), Command::Tune(_)));
    assert!(matches!(command("systemd/fanwire-tune.service", "ExecStop"), Command::Tune(_)));
}

#[test]
fn the_seccomp_profile_allows_io_uring_and_little_else() {
    let profile: serde_json::Value = serde_json::from_str(&text_of("seccomp/fanwire.json")).expect("JSON");
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
    let rules = profile["syscalls"].as_array().expect("rules");
    let allowed: Vec<&str> = rules
        .iter()
        .filter(|rule| rule["action"] == "SCMP_ACT_ALLOW")
        .flat_map(|rule| rule["names"].as_array().expect("names"))
        .filter_map(|name| name.as_str())
        .collect();
    for call in ["io_uring_setup", "io_uring_enter", "io_uring_register", "accept4", "execve", "exit_group"] {
        assert!(allowed.contains(&call), "{call}");
    }
    for call in ["ptrace", "mount", "bpf", "kexec_load", "init_module", "process_vm_writev", "unshare", "setns"] {
        assert!(!allowed.contains(&call), "{call}");
    }
    let mut sorted = allowed.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted.len(), allowed.len(), "a call is named twice");
}

#[test]
fn what_the_page_tells_to_run_exists() {
    let page = text_of("README.md");
    let scenarios = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../perf/scenarios"));
    for words in page.split("fanwire-perf run ").skip(1) {
        let name: String = words.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
        assert!(name == "NAME" || scenarios.join(format!("{name}.toml")).is_file(), "fanwire-perf run {name}");
    }
    for file in ["sysctl.d", "limits.d", "systemd", "seccomp", "kubernetes"] {
        assert!(page.contains(&format!("{file}/")) && tuning(file).is_dir(), "{file}");
    }
}
