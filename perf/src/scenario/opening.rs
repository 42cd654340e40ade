//! How scenarios begin and end: a server with the settings that a scenario lists, its clients in as many processes as it wants, its end.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use crate::cgroup::MemoryCap;
use crate::crowd::{Crowd, Spec};
use crate::host::HostSpec;
use crate::identity::{self, Identity};
use crate::parameters::{Parameter, Parameters};
use crate::server::{Server, ServerSpec};
use crate::table::Outcome;

/// What most scenarios let a person say about their server.
pub const SERVER: &[Parameter] = &[
    ("shards", "2", "shards of the server"),
    ("driver", "auto", "the server's driver"),
    ("server_args", "", "further arguments of the server"),
];

/// The same where its CPUs matter.
pub const PINNED: &[Parameter] = &[SERVER[0], ("cpus", "", "CPUs to pin the shards to"), SERVER[1], SERVER[2]];

/// A parameter of scenarios whose subscribers may speak TLS.
pub const TLS: Parameter = ("tls", "0", "1: subscribers come over TLS; publishers without");

/// Places for connections that are not a scenario's own clients: publishers, and whoever is still leaving.
const MORE_CONNECTIONS: usize = 16;

/// A server in a memory cgroup of its own, and the sum that it states, in bytes.
pub struct Capped {
    /// Gone before its group.
    pub server: Server,
    /// The group.
    pub cap: MemoryCap,
    /// See above.
    pub sum: f64,
}

/// What a scenario runs with.
pub struct Bench {
    /// The server's binary.
    pub binary: PathBuf,
    /// Its parameters.
    pub parameters: Parameters,
}

impl Bench {
    /// Starts the server on a free port of this host, for so many clients: see [`Bench::arguments`].
    pub fn serve(&self, clients: usize, more: &[(&str, String)]) -> Result<Server> {
        self.serve_at(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0), clients, more)
    }

    /// The same on this address.
    pub fn serve_at(&self, listen: SocketAddrV4, clients: usize, more: &[(&str, String)]) -> Result<Server> {
        Server::start(&ServerSpec { listen, ..self.spec(clients, more)? })
    }

    /// What [`Bench::serve`] starts.
    pub fn spec(&self, clients: usize, more: &[(&str, String)]) -> Result<ServerSpec> {
        Ok(ServerSpec {
            binary: self.binary.clone(),
            arguments: self.arguments(clients, more),
            listen: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0),
            tls: self.identity()?,
            tls_listeners: 1,
            within: Vec::new(),
        })
    }

    /// The same in a memory cgroup. How large that is follows from the sum that the server states: it is asked for that before.
    pub fn serve_capped(
        &self,
        clients: usize,
        more: &[(&str, String)],
        cap: impl FnOnce(f64) -> f64,
    ) -> Result<Capped> {
        let spec = self.spec(clients, more)?;
        let sum = Server::start(&spec)?.stated_bytes()?;
        let cap = MemoryCap::new(cap(sum) as u64)?;
        let server = Server::start(&ServerSpec { within: cap.words(), ..spec })?;
        Ok(Capped { server, cap, sum })
    }

    /// The same in place of the server that takes requests at the control socket among `more`.
    pub fn take_over(&self, listen: SocketAddrV4, clients: usize, more: &[(&str, String)]) -> Result<Server> {
        let mut arguments = self.arguments(clients, more);
        arguments.push("--takeover".into());
        let spec = ServerSpec {
            binary: self.binary.clone(),
            arguments,
            listen,
            tls: None,
            tls_listeners: 0,
            within: Vec::new(),
        };
        Server::start(&spec)
    }

    /// A server's arguments: `--NAME VALUE` for each of these that is not empty, for what the scenario's parameters say of a server,
    /// and for so many clients, where these do not say it themselves.
    pub fn arguments(&self, clients: usize, more: &[(&str, String)]) -> Vec<String> {
        let own = |name| self.parameters.given(name).unwrap_or_default().to_string();
        let usual = [
            ("max-connections", (clients + MORE_CONNECTIONS).to_string()),
            ("shards", own("shards")),
            ("cpus", own("cpus")),
            ("driver", own("driver")),
        ];
        let usual = usual.iter().filter(|(name, _)| more.iter().all(|(other, _)| other != name));
        let said = usual.chain(more).filter(|(_, value)| !value.is_empty());
        let mut all: Vec<String> = said.flat_map(|(name, value)| [format!("--{name}"), value.clone()]).collect();
        if self.parameters.given("server_args").is_some() {
            all.extend(self.parameters.words("server_args"));
        }
        all
    }

    /// What servers show, where the scenario's subscribers speak TLS.
    fn identity(&self) -> Result<Option<Identity>> {
        match self.parameters.given(TLS.0) {
            None | Some("0") => Ok(None),
            Some("1") => identity::of_this_run().map(Some),
            Some(other) => anyhow::bail!("tls={other}: 0 or 1"),
        }
    }

    /// A host for so many clients, as the scenario's parameters `shards`, `cpus` and `driver` say.
    pub fn host(&self, kind: &str, clients: usize) -> Result<HostSpec> {
        Ok(HostSpec {
            kind: kind.into(),
            cpus: self.parameters.list("cpus").iter().map(|cpu| Ok(cpu.parse()?)).collect::<Result<_>>()?,
            shards: self.parameters.given("shards").map_or(Ok(1), str::parse)?,
            driver: self.parameters.text("driver").into(),
            connections_max: clients + MORE_CONNECTIONS,
            lane_bytes: 8 << 20,
            tls: self.identity()?,
        })
    }
}

/// A port of our own choice, as a service has.
pub fn own_port() -> Result<SocketAddrV4> {
    match TcpListener::bind("127.0.0.1:0")?.local_addr()? {
        SocketAddr::V4(addr) => Ok(addr),
        SocketAddr::V6(_) => anyhow::bail!("not IPv4"),
    }
}

/// A crowd's spec with the usual settings. `form`: see [`crate::form::Form::parse`].
pub fn crowd_spec(server: SocketAddrV4, form: &str, topic: &str, members: usize) -> Spec {
    let is_raw = form.starts_with("raw");
    Spec {
        server,
        trusted: None,
        target: if is_raw { format!("/t/{topic}") } else { "/".into() },
        spread: 1,
        progress: None,
        form: form.into(),
        topics: if is_raw { Vec::new() } else { vec![topic.to_string()] },
        members,
        first_member: 0,
        connecting_max: 256,
        apart: 0,
        is_herd: false,
        cpu: None,
        stamped: true,
    }
}

/// So many members in equal shares: a crowd for each form.
pub fn in_shares<'a>(
    server: SocketAddrV4,
    forms: &'a [String],
    topic: &'a str,
    members: usize,
) -> impl Iterator<Item = Spec> + 'a {
    forms.iter().enumerate().map(move |(i, form)| {
        let (first, end) = (members * i / forms.len(), members * (i + 1) / forms.len());
        Spec { first_member: first, ..crowd_spec(server, form, topic, end - first) }
    })
}

/// Starts crowds and waits until all of them are there: how long the slowest took.
pub fn gather(specs: impl IntoIterator<Item = Spec>) -> Result<(Vec<Crowd>, Duration)> {
    let crowds: Vec<Crowd> = specs.into_iter().map(|spec| Crowd::start(&spec)).collect::<Result<_>>()?;
    let mut slowest = Duration::ZERO;
    for crowd in &crowds {
        slowest = slowest.max(crowd.ready()?);
    }
    Ok((crowds, slowest))
}

/// A crowd that is there.
pub fn settle(spec: &Spec) -> Result<Crowd> {
    let crowd = Crowd::start(spec)?;
    crowd.ready()?;
    Ok(crowd)
}

/// A server that has had no reason to warn of anything ends in good order.
pub fn end_without_warnings(server: &mut Server, outcome: &mut Outcome) -> Result<()> {
    end_with_warnings_of(server, outcome, &[])
}

/// A server that has had no reason to warn ends in good order, where some clients had to run into its limits: which ones, and
/// how many of them, depends on how the kernel spreads them over shards.
pub fn end_with_refusals(server: &mut Server, outcome: &mut Outcome) -> Result<()> {
    end_with_warnings_of(server, outcome, &["limits"])
}

/// The same, whatever it said of these subjects.
fn end_with_warnings_of(server: &mut Server, outcome: &mut Outcome, expected: &[&str]) -> Result<()> {
    let warnings = server.warnings();
    let unexpected = warnings.iter().filter(|line| !expected.iter().any(|subject| is_of(line, subject))).count();
    outcome.exactly("warnings in the log", unexpected as u64, 0);
    outcome.note_all(&warnings);
    end_in_order(server, outcome)
}

/// Whether a line of the log (`TIME LEVEL SUBJECT: MESSAGE`) is of this subject.
fn is_of(line: &str, subject: &str) -> bool {
    line.split_whitespace().nth(2).and_then(|word| word.strip_suffix(':')) == Some(subject)
}

/// A server ends in good order.
pub fn end_in_order(server: &mut Server, outcome: &mut Outcome) -> Result<()> {
    server.terminate()?;
    let status = server.wait(Duration::from_secs(30))?;
    outcome.must("exit status after SIGTERM", status.code() == Some(0), format!("{status}"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_shared_out_without_a_rest() {
        let forms = ["json".to_string(), "raw".to_string(), "batch".to_string()];
        let specs: Vec<Spec> = in_shares(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1), &forms, "t", 10).collect();
        let shares: Vec<_> = specs.iter().map(|spec| (spec.first_member, spec.members)).collect();
        assert_eq!(shares, [(0, 3), (3, 3), (6, 4)]);
        assert_eq!((specs[1].target.as_str(), specs[1].topics.len()), ("/t/t", 0));
    }

    #[test]
    fn a_line_of_the_log_is_of_its_subject_alone() {
        let line = "2026-11-30T11:41:35.476632Z  WARN limits: 117 connections refused";
        assert!(is_of(line, "limits"));
        assert!(!is_of(line, "limit"));
        assert!(!is_of("2026-11-30T11:41:35.476632Z  WARN fanwire::shard: limits: none", "limits"));
        assert!(!is_of("limits:", "limits"));
    }

    #[test]
    fn what_a_scenario_says_itself_stands_instead_of_the_usual() {
        let parameters = Parameters::new(SERVER, &["server_args=--lane-bytes 1MiB".into()]).unwrap();
        let bench = Bench { binary: PathBuf::new(), parameters };
        let arguments = bench.arguments(4, &[("driver", "epoll".into()), ("topic", String::new())]).join(" ");
        assert_eq!(arguments, "--max-connections 20 --shards 2 --driver epoll --lane-bytes 1MiB");
    }
}
