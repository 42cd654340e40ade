//! Certificates are replaced and read anew, again and again, under many connections: nobody notices but who comes.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::{Bench, Scenario, add_faults, add_latency, await_all, end_without_warnings, gather, in_shares, report};
use crate::crowd::Spec;
use crate::identity::{self, Identity};
use crate::publisher::{Publisher, PublisherSpec};
use crate::server::{Server, ServerSpec};
use crate::table::Outcome;
use crate::visitor::Visitor;

pub const SCENARIO: Scenario = Scenario {
    name: "certificate-swap",
    about: "1,000 TLS connections at 200 Hz on three listeners; every second there is another certificate, read by SIGHUP and by \
            `fanwire reload` in turn: none is dropped, nothing is missing, and who comes is shown the new one, on every listener",
    parameters: &[
        ("n", "1000", "subscribers, in equal shares over the listeners"),
        ("listeners", "3", "TLS listeners"),
        ("form", "json", "what subscribers speak"),
        ("swaps", "20", "certificates"),
        ("every_ms", "1000", "milliseconds from one to the next"),
        ("rate", "200", "messages a second"),
        ("bytes", "512", "bytes of a payload"),
    ],
    common: super::SERVER,
    run,
};

fn run(bench: &Bench, outcome: &mut Outcome) -> Result<()> {
    let parameters = &bench.parameters;
    let n: usize = parameters.parse("n")?;
    let listeners: usize = parameters.parse("listeners")?;
    let every = Duration::from_millis(parameters.parse("every_ms")?);
    let mut swaps = Swaps::new(identity::of_this_run()?)?;
    let more = [("control-socket", swaps.control.display().to_string())];
    let tls = Some(swaps.identity.clone());
    let mut server = Server::start(&ServerSpec { tls, tls_listeners: listeners, ..bench.spec(n + 64, &more)? })?;

    let forms = vec![parameters.text("form").to_string(); listeners];
    let specs = in_shares(server.addr(), &forms, "swap", n).zip(server.tls_addrs());
    let specs = specs.map(|(spec, addr)| Spec { server: *addr, ..server.door(spec) });
    let (mut crowds, _) = gather(specs)?;
    let publisher = Publisher::start(&load(bench, &server)?)?;
    report(&mut crowds, true)?;
    for _ in 0..parameters.parse::<usize>("swaps")? {
        let began = Instant::now();
        swaps.swap(&server)?;
        std::thread::sleep(every.saturating_sub(began.elapsed()));
    }
    let published = publisher.finish()?;
    outcome.note_all(&published.errors);
    let end = await_all(&mut crowds, published.sent, Duration::from_secs(60))?;

    outcome.exactly("published", published.sent, load(bench, &server)?.count);
    outcome.count("certificates", swaps.count);
    outcome.exactly("who came after `fanwire reload`: shown another one", swaps.wrong, 0);
    outcome.figure("SIGHUP: longest until all listeners showed it", swaps.slowest.as_secs_f64() * 1e3, "ms");
    outcome.exactly("connected", end.healthy.open, n as u64);
    outcome.exactly("delivered, least", end.healthy.least, published.sent);
    outcome.exactly("announced gaps", end.healthy.announced, 0);
    outcome.exactly("missing", end.healthy.holes, 0);
    add_faults(outcome, "", &end.healthy);
    add_latency(outcome, "", &report(&mut crowds, true)?.latency);
    outcome.note_all(&end.trouble);
    end_without_warnings(&mut server, outcome)?;
    let counters = server.counters(Duration::from_secs(30))?;
    let sum = |name: &str| counters.iter().map(|shard| shard.get(name).copied().unwrap_or(0)).sum::<u64>();
    outcome.exactly("TLS handshakes completed", sum("tls_handshakes"), n as u64 + swaps.connections);
    outcome.exactly("connections given up", sum("tls_failed"), 0);
    Ok(())
}

/// Messages for as long as certificates are swapped.
fn load(bench: &Bench, server: &Server) -> Result<PublisherSpec> {
    let parameters = &bench.parameters;
    let (rate, swaps, every_ms): (f64, f64, f64) =
        (parameters.parse("rate")?, parameters.parse("swaps")?, parameters.parse("every_ms")?);
    let count = (rate * swaps * every_ms / 1e3) as u64;
    Ok(PublisherSpec::new(server.addr(), "swap", rate, parameters.parse("bytes")?, count))
}

/// The certificates so far, and what came of them.
struct Swaps {
    identity: Identity,
    control: PathBuf,
    all: Vec<CertificateDer<'static>>,
    count: u64,
    connections: u64,
    wrong: u64,
    slowest: Duration,
}

impl Swaps {
    fn new(identity: Identity) -> Result<Self> {
        let first = CertificateDer::from_pem_file(&identity.certificate).context("the first certificate")?;
        let control = identity.key.with_file_name("control.sock");
        Ok(Swaps { identity, control, all: vec![first], count: 0, connections: 0, wrong: 0, slowest: Duration::ZERO })
    }

    /// Another certificate, in turn by `fanwire reload`, which has done it when it ends, and by SIGHUP, which says nothing.
    fn swap(&mut self, server: &Server) -> Result<()> {
        self.all.push(self.identity.renew()?);
        // One that is older would be shown only by mistake.
        let trusted = &self.all[self.all.len() - 2..];
        let visitor = Visitor::new(trusted)?;
        self.count += 1;
        if self.count % 2 == 1 {
            server.reload(&self.control)?;
            for addr in server.tls_addrs() {
                let shown = visitor.visit(*addr)?;
                self.connections += visitor.connections();
                self.wrong += shown.iter().filter(|shown| **shown != trusted[1]).count() as u64;
            }
            return Ok(());
        }
        server.hang_up()?;
        let began = Instant::now();
        for addr in server.tls_addrs() {
            loop {
                let shown = visitor.visit(*addr)?;
                self.connections += visitor.connections();
                if shown.iter().all(|shown| *shown == trusted[1]) {
                    break;
                }
                if began.elapsed() > Duration::from_secs(30) {
                    bail!("{addr} shows an old certificate 30 s after SIGHUP");
                }
            }
        }
        self.slowest = self.slowest.max(began.elapsed());
        Ok(())
    }
}
