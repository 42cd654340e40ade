//! Job: what a knob is: a setting of the host that fanwire has an opinion on, with reasons.
//! Knows: hosts, plans. Must never know: any particular knob, or who turns it.

use std::fmt;

use super::plan::Plan;
use super::want::{Want, plain};
use crate::host::{Host, sysctl_path};

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Knob {
    /// Its name: a sysctl's own, else a short word.
    pub id: &'static str,
    /// What it belongs to.
    pub group: Group,
    /// How much it matters.
    pub standing: Standing,
    /// The rule for its value, in words.
    pub rule: &'static str,
    /// Why it matters to fanwire.
    pub why: &'static str,
    /// What to expect.
    pub gain: &'static str,
    /// What may go wrong.
    pub danger: &'static str,
    /// How to see whether it did something.
    pub measure: &'static str,
    /// Where it is.
    pub place: Place,
}

/// What a knob belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// How many may connect, and how fast.
    Connections,
    /// How packets travel.
    Network,
    /// Who interrupts whom.
    Cpu,
    /// Pages.
    Memory,
}

impl Group {
    /// All of them, in the order of printing.
    pub const ALL: [Group; 4] = [Group::Connections, Group::Network, Group::Cpu, Group::Memory];

    /// The name, on the command line too.
    pub const fn name(self) -> &'static str {
        match self {
            Group::Connections => "connections",
            Group::Network => "network",
            Group::Cpu => "cpu",
            Group::Memory => "memory",
        }
    }
}

/// How much a knob matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Without it the planned load is refused or loses packets.
    Needed,
    /// It pays for most.
    Pays,
    /// It pays for some, and costs others: only by name.
    Sometimes,
    /// It gains fanwire nothing; listed so that nobody spends a day on it. Never written.
    Nothing,
}

impl Standing {
    /// One word.
    pub const fn name(self) -> &'static str {
        match self {
            Standing::Needed => "needed",
            Standing::Pays => "pays",
            Standing::Sometimes => "sometimes",
            Standing::Nothing => "nothing",
        }
    }

    /// Whether it is checked and applied when nobody names knobs.
    pub const fn is_usual(self) -> bool {
        matches!(self, Standing::Needed | Standing::Pays)
    }
}

/// Where a knob is, and the rule for its value.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// A sysctl, by its id.
    Sysctl(fn(&Host, &Plan) -> Want),
    /// Files, one for each CPU, queue or interrupt.
    Files {
        /// All paths that it may ever be at; `*` stands for anything but a slash.
        pattern: &'static str,
        /// Those of a host, with what each should be.
        settings: fn(&Host, &Plan) -> Vec<(String, Want)>,
        /// Where there are none, why.
        without: &'static str,
    },
    /// A limit of processes, by its name in `/proc/self/limits`: the hard one counts. Told, not written.
    Limit(&'static str, fn(&Host, &Plan) -> Want),
    /// A parameter of the kernel's command line, by its id. Told, not written.
    Boot(fn(&Host, &Plan) -> Want),
}

/// One file of a knob on one host, or what stands for it.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The knob.
    pub knob: &'static Knob,
    /// The file.
    pub path: String,
    /// What it says; or why that is not known.
    pub now: Result<String, String>,
    /// What it should say.
    pub want: Want,
}

/// How a setting, or a whole knob, stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Nothing to do here.
    Left,
    /// As wanted.
    Holds,
    /// Cannot be told.
    Unknown,
    /// Otherwise than wanted.
    Differs,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Verdict::Left => "leave",
            Verdict::Holds => "ok",
            Verdict::Unknown => "unknown",
            Verdict::Differs => "differs",
        })
    }
}

/// A knob on one host.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The knob.
    pub knob: &'static Knob,
    /// Its files; none where the host has no such thing.
    pub settings: Vec<Setting>,
}

impl Knob {
    /// Whether it is a file that can be written while the host runs.
    pub fn is_live(&self) -> bool {
        matches!(self.place, Place::Sysctl(_) | Place::Files { .. })
    }

    /// The file or files, for people.
    pub fn location(&self) -> String {
        match self.place {
            Place::Sysctl(_) => sysctl_path(self.id),
            Place::Files { pattern, .. } => pattern.to_owned(),
            Place::Limit(name, _) => format!("\"{name}\" of /proc/PID/limits"),
            Place::Boot(_) => format!("{}= in /proc/cmdline", self.id),
        }
    }

    /// What makes it last.
    pub fn lasting(&self) -> &'static str {
        match self.place {
            Place::Sysctl(_) => "`fanwire tune apply --persist` (/etc/sysctl.d/60-fanwire.conf)",
            Place::Files { .. } if self.standing.is_usual() => {
                "tuning/systemd/fanwire-tune.service, which applies it at each boot"
            }
            Place::Files { .. } => "tuning/systemd/fanwire-tune.service, with its name added to ExecStart",
            Place::Limit(..) => "tuning/systemd/fanwire.service, or tuning/limits.d/60-fanwire.conf for logins",
            Place::Boot(_) => {
                "the boot loader's configuration (GRUB: GRUB_CMDLINE_LINUX, then update-grub), and a reboot"
            }
        }
    }

    /// How to undo it.
    pub fn undo(&self) -> String {
        match self.place {
            Place::Sysctl(_) | Place::Files { .. } => format!("`fanwire tune revert {}`", self.id),
            Place::Limit(..) => "take the lines out again; a process keeps the limits it was started with".to_owned(),
            Place::Boot(_) => "take the parameter out again, and reboot".to_owned(),
        }
    }

    /// Whether a path is one of this knob's: what a state file names must be, before it is written.
    pub fn owns(&self, path: &str) -> bool {
        match self.place {
            Place::Sysctl(_) => path == sysctl_path(self.id),
            Place::Files { pattern, .. } => {
                let (pattern, path): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), path.split('/').collect());
                pattern.len() == path.len() && pattern.iter().zip(&path).all(|(p, part)| part_matches(p, part))
            }
            Place::Limit(..) | Place::Boot(_) => false,
        }
    }

    /// How it stands on a host.
    pub fn read(&'static self, host: &Host, plan: &Plan) -> Reading {
        let from_file = |path: String, want: Want| {
            let now = host.read(&path).map(|text| plain(&text)).map_err(|error| reason(&error));
            Setting { knob: self, path, now, want }
        };
        let settings = match self.place {
            Place::Sysctl(want) => vec![from_file(sysctl_path(self.id), want(host, plan))],
            Place::Files { settings, .. } => {
                settings(host, plan).into_iter().map(|(path, want)| from_file(path, want)).collect()
            }
            Place::Limit(name, want) => {
                let shown = |n: u64| if n == u64::MAX { "unlimited".to_owned() } else { n.to_string() };
                let now = host.hard_limit(name).map(shown);
                let now = now.ok_or_else(|| "/proc/self/limits cannot be read".to_owned());
                vec![Setting { knob: self, path: "/proc/self/limits".to_owned(), now, want: want(host, plan) }]
            }
            Place::Boot(want) => {
                let now = match host.text("/proc/cmdline") {
                    Some(_) => Ok(host.boot_parameter(self.id).unwrap_or_else(|| "not given".to_owned())),
                    None => Err("/proc/cmdline cannot be read".to_owned()),
                };
                vec![Setting { knob: self, path: "/proc/cmdline".to_owned(), now, want: want(host, plan) }]
            }
        };
        Reading { knob: self, settings }
    }
}

fn part_matches(pattern: &str, part: &str) -> bool {
    match pattern.split_once('*') {
        Some((before, after)) => {
            part.len() > before.len() + after.len()
                && part.starts_with(before)
                && part.ends_with(after)
                && part != "."
                && part != ".."
        }
        None => pattern == part,
    }
}

fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file here".to_owned(),
        _ => error.to_string(),
    }
}

impl Setting {
    /// How it stands.
    pub fn verdict(&self) -> Verdict {
        match (&self.now, &self.want) {
            (_, Want::Leave(_)) => Verdict::Left,
            (Err(_), _) => Verdict::Unknown,
            (Ok(now), want) => match want.holds(now) {
                Some(true) => Verdict::Holds,
                Some(false) => Verdict::Differs,
                None => Verdict::Unknown,
            },
        }
    }
}

impl Reading {
    /// The worst of its files; nothing to do where there are none.
    pub fn verdict(&self) -> Verdict {
        self.settings.iter().map(Setting::verdict).max().unwrap_or(Verdict::Left)
    }

    /// What its files say: each value once, of many the first few.
    pub fn now(&self) -> String {
        let of = |setting: &Setting| match &setting.now {
            Ok(now) => now.clone(),
            Err(why) => why.clone(),
        };
        if self.settings.is_empty() { "-".to_owned() } else { each_once(self.settings.iter().map(of)) }
    }

    /// What they should say.
    pub fn wanted(&self) -> String {
        match (&self.settings[..], self.knob.place) {
            ([], Place::Files { without, .. }) => format!("as it is: {without}"),
            ([], _) => "-".to_owned(),
            (settings, _) => each_once(settings.iter().map(|setting| setting.want.to_string())),
        }
    }
}

fn each_once(values: impl Iterator<Item = String>) -> String {
    const SHOWN: usize = 3;
    let mut seen: Vec<String> = Vec::new();
    values.for_each(|value| {
        if !seen.contains(&value) {
            seen.push(value);
        }
    });
    let more = seen.len().saturating_sub(SHOWN);
    seen.truncate(SHOWN);
    let shown = seen.join(" | ");
    if more == 0 { shown } else { format!("{shown} | … {more} more") }
}
