//! Job: the command line of `fanwire tune` and `fanwire doctor`.
//! Knows: names and defaults. Must never know: what a command does.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use super::plan::Plan;
use crate::args::Driver;
use crate::host::Host;

/// What the host is held against.
#[derive(Debug, ClapArgs)]
pub struct PlanArgs {
    /// Connections planned [default: 10000]
    #[arg(long, value_name = "N", help_heading = "Plan")]
    pub connections: Option<NonZeroU32>,

    /// Shards planned [default: as many as CPU affinity and the cgroup's quota allow]
    #[arg(long, value_name = "N", help_heading = "Plan")]
    pub shards: Option<NonZeroUsize>,

    /// The driver that is to run, as for `fanwire serve`
    #[arg(long, value_enum, default_value_t = Driver::Auto, value_name = "DRIVER", help_heading = "Plan")]
    pub driver: Driver,

    /// `fanwire serve --lock-memory` is planned
    #[arg(long, help_heading = "Plan")]
    pub lock_memory: bool,

    /// A directory with the files of another host, for tests.
    #[arg(long, value_name = "DIR", default_value = "/", hide = true)]
    pub root: PathBuf,
}

impl PlanArgs {
    /// The host that is meant.
    pub fn host(&self) -> Host {
        Host::at(&self.root)
    }

    /// The plan for it.
    pub fn plan(&self, host: &Host) -> Plan {
        Plan::new(host, self.connections, self.shards, self.driver, self.lock_memory)
    }
}

/// `fanwire doctor`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  fanwire doctor
  fanwire doctor --connections 100000 --shards 4
  fanwire doctor --json | jq '.findings[] | select(.level == \"problem\")'

Needs no privileges, changes nothing. Levels: ok; advice (works, could be better); problem (the
plan does not work, or loses); unknown (cannot be told here).

Exit codes: 0 no problem (there may be advice), 1 at least one problem.")]
pub struct DoctorArgs {
    /// Show what is in order as well
    #[arg(long)]
    pub all: bool,

    /// Print one JSON object
    #[arg(long)]
    pub json: bool,

    /// The plan.
    #[command(flatten)]
    pub plan: PlanArgs,
}

/// `fanwire tune`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  fanwire tune list net.core.somaxconn
  fanwire tune check --connections 100000
  sudo fanwire tune apply --connections 100000 --dry-run
  sudo fanwire tune apply --connections 100000 --persist
  sudo fanwire tune revert
  fanwire tune script > tune.sh; less tune.sh; sudo sh tune.sh apply

Knobs are named by their ids or by their group (connections, network, cpu, memory); without names
all that are `needed` or `pay` are meant. What only sometimes pays is for you to name.

Exit codes: 0 done; 1 something differs (check), could not be written, or was left alone because it
was changed by somebody else (revert); 2 no such knob; 65 the state file is damaged; 74 it cannot be
written; 77 not permitted.")]
pub struct TuneArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: TuneCommand,
}

/// The commands below `fanwire tune`.
#[derive(Debug, Subcommand)]
pub enum TuneCommand {
    /// Show the knobs: what, why, gain, danger
    List(ListArgs),
    /// Hold this host against what it should be; changes nothing
    Check(CheckArgs),
    /// Write what differs, and note the former values
    Apply(ApplyArgs),
    /// Write the former values back
    Revert(RevertArgs),
    /// Print a shell script that applies and reverts the same
    Script(ScriptArgs),
}

/// `fanwire tune list`.
#[derive(Debug, ClapArgs)]
pub struct ListArgs {
    /// Knobs or groups, in full [default: a line for each]
    #[arg(value_name = "KNOB")]
    pub knobs: Vec<String>,
}

/// `fanwire tune check`.
#[derive(Debug, ClapArgs)]
pub struct CheckArgs {
    /// Knobs or groups
    #[arg(value_name = "KNOB")]
    pub knobs: Vec<String>,

    /// Every knob, also those that only sometimes pay, or never
    #[arg(long, conflicts_with = "knobs")]
    pub all: bool,

    /// The plan.
    #[command(flatten)]
    pub plan: PlanArgs,
}

/// `fanwire tune apply`.
#[derive(Debug, ClapArgs)]
pub struct ApplyArgs {
    /// Knobs or groups
    #[arg(value_name = "KNOB")]
    pub knobs: Vec<String>,

    /// Say what would be written, and write nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Write /etc/sysctl.d/60-fanwire.conf as well, so that sysctls stay after a reboot
    #[arg(long)]
    pub persist: bool,

    /// Where the former values are noted [default: /var/lib/fanwire/tune.json]
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,

    /// The plan.
    #[command(flatten)]
    pub plan: PlanArgs,
}

/// `fanwire tune revert`.
#[derive(Debug, ClapArgs)]
pub struct RevertArgs {
    /// Knobs or groups [default: all that are noted]
    #[arg(value_name = "KNOB")]
    pub knobs: Vec<String>,

    /// Write the former value back even where somebody else has changed it since
    #[arg(long)]
    pub force: bool,

    /// Where the former values are noted [default: /var/lib/fanwire/tune.json]
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,

    /// A directory with the files of another host, for tests.
    #[arg(long, value_name = "DIR", default_value = "/", hide = true)]
    pub root: PathBuf,
}

/// `fanwire tune script`.
#[derive(Debug, ClapArgs)]
pub struct ScriptArgs {
    /// Knobs or groups
    #[arg(value_name = "KNOB")]
    pub knobs: Vec<String>,

    /// The plan.
    #[command(flatten)]
    pub plan: PlanArgs,
}
