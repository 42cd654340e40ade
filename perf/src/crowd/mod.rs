//! A crowd: one process, one thread, one epoll, many subscribers that check everything they get.
//!
//! `fanwire-perf crowd` is driven by lines of JSON: the [`Spec`] first, then [`Command`]s on stdin, [`Event`]s on stdout. A
//! process, not a thread, so that several crowds share no lock and no descriptor limit, and so that the cost of
//! checking is never mixed up with the cost of what is measured.

mod lane;
mod member;
mod process;
mod resume;
mod run;
mod tls;

use serde::{Deserialize, Serialize};

pub use process::{Crowd, deliveries};
pub use run::run;
pub use tls::client_hello;

use crate::latency::Recorded;

/// What a crowd is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    /// Where the server is: `ADDR:PORT`, IPv4.
    pub server: std::net::SocketAddrV4,
    /// The certificate that it has to show, in PEM, where its members speak TLS.
    pub trusted: Option<std::path::PathBuf>,
    /// Path and query of the upgrade request. `{i}` stands for the member's number modulo `spread`.
    pub target: String,
    /// See `target`.
    pub spread: usize,
    /// What its members speak: see [`crate::form::Form::parse`].
    pub form: String,
    /// What every member subscribes to, where there is a subprotocol.
    pub topics: Vec<String>,
    /// How many members.
    pub members: usize,
    /// Number of the first member: source addresses and `{i}` follow it.
    pub first_member: usize,
    /// Upgrades under way at once.
    pub connecting_max: usize,
    /// Members `0..apart` are reported apart, and leave no latencies: those that will stop reading.
    pub apart: usize,
    /// Where it says how many messages it has checked: file and number of its counter (see [`crate::ahead`]).
    pub progress: Option<(std::path::PathBuf, usize)>,
    /// Members that come back do so all at once, whatever `connecting_max` says, and try again where they are refused.
    pub is_herd: bool,
    /// CPU to run on.
    pub cpu: Option<usize>,
    /// Whether payloads are this tool's own ([`crate::payload`]): checked, and their latency recorded.
    pub stamped: bool,
}

/// What a crowd can be told.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Answer with [`Event::Report`]; `new_window` begins latencies and window counts anew.
    Report {
        /// Begin a new window.
        new_window: bool,
    },
    /// The members apart stop reading.
    Stall,
    /// They read again.
    Wake,
    /// All members go away, and remember what they had. Answered with [`Event::Left`].
    Leave,
    /// All come back with `since`; answered with [`Event::CaughtUp`] once each accounts for so many messages.
    Resume {
        /// Messages delivered or announced, since ever.
        target: u64,
    },
}

/// What a crowd says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// All are connected (and subscribed, where that can be told).
    Ready {
        /// From the first connect to the last answer.
        ns: u64,
    },
    /// All have gone.
    Left,
    /// All are back and have everything.
    CaughtUp {
        /// From the first connect to the last message of the last member.
        ns: u64,
    },
    /// The answer to [`Command::Report`].
    Report(Box<Report>),
    /// The crowd cannot go on.
    Failed(String),
}

/// What a crowd has seen.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Messages that arrived since the window began.
    pub window_deliveries: u64,
    /// Bytes received since the window began.
    pub window_bytes: u64,
    /// Receive calls since the window began.
    pub window_receives: u64,
    /// Latencies of the window, from the intended send time.
    pub latency: Recorded,
    /// Of each message, the first delivery's, since the last window; messages of one moment count as one.
    pub first: Recorded,
    /// The members that read all the time.
    pub healthy: Group,
    /// The members apart.
    pub apart: Group,
    /// Times that a member was refused when it came back, and tried again.
    pub retries: u64,
    /// First words of trouble: what was wrong with the first few bad things.
    pub trouble: Vec<String>,
}

/// Totals over a group of members, over all time.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Group {
    /// Members of the group.
    pub members: u64,
    /// Still connected.
    pub open: u64,
    /// Messages that arrived.
    pub deliveries: u64,
    /// Messages that gap notices said would not come.
    pub announced: u64,
    /// Gap notices.
    pub gap_notices: u64,
    /// Messages that did not come and were not announced: a fault for `fanwire.json.v1`, the only sign of a loss for raw members.
    pub holes: u64,
    /// Messages out of order or seen twice.
    pub misordered: u64,
    /// Payloads or frames that are not what was sent.
    pub corrupt: u64,
    /// Least delivered + announced of any member.
    pub least: u64,
    /// Most delivered + announced of any member.
    pub most: u64,
    /// Lowest last payload number of any member (stamped payloads).
    pub last_least: u64,
    /// Highest last payload number of any member.
    pub last_most: u64,
    /// Lowest last sequence number of any member's first lane.
    pub numbered_least: u64,
    /// Highest last sequence number of any member's first lane.
    pub numbered_most: u64,
    /// Least messages that any member that is still connected got in its critical lanes.
    pub critical_least: u64,
    /// Close codes received, and how often; 1006 stands for an end without a close frame.
    pub closes: std::collections::BTreeMap<u16, u64>,
}

impl Group {
    /// Adds another crowd's group.
    pub fn add(&mut self, other: &Group) {
        if other.members == 0 {
            return;
        }
        let first = self.members == 0;
        self.critical_least = if self.open == 0 {
            other.critical_least
        } else if other.open == 0 {
            self.critical_least
        } else {
            self.critical_least.min(other.critical_least)
        };
        let least = |a: u64, b: u64| if first { b } else { a.min(b) };
        self.least = least(self.least, other.least);
        self.last_least = least(self.last_least, other.last_least);
        self.numbered_least = least(self.numbered_least, other.numbered_least);
        self.numbered_most = self.numbered_most.max(other.numbered_most);
        self.most = self.most.max(other.most);
        self.last_most = self.last_most.max(other.last_most);
        self.members += other.members;
        self.open += other.open;
        self.deliveries += other.deliveries;
        self.announced += other.announced;
        self.gap_notices += other.gap_notices;
        self.holes += other.holes;
        self.misordered += other.misordered;
        self.corrupt += other.corrupt;
        for (&code, &count) in &other.closes {
            *self.closes.entry(code).or_default() += count;
        }
    }
}
