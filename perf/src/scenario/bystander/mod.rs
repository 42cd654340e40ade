//! What a quiet subscriber notices of attacks on the server: its latency beside each, paired with a quiet time just before.
//!
//! Each attack has a server of its own with two shards. Attackers go to one of them; a quiet publisher and a quiet subscriber are on
//! each. So there are two answers: how those on the attacked shard fare, and those on the other, whom the ring connects with it. The
//! attackers' threads are nice, so that on a small host the quiet ones wait for the server, and not for a CPU.

mod attacks;
mod client;
mod floods;
mod held;
mod quiet;
mod requests;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use self::attacks::{ALL, Attack};
use self::client::Field;
use self::quiet::{Heard, Load, Noticed, Quiet};
use super::{Bench, Scenario};
use crate::latency::Latency;
use crate::server::{Counters, Server};
use crate::table::{Outcome, markdown};

pub const SCENARIO: Scenario = Scenario {
    name: "bystander",
    about: "a quiet subscriber on each of two shards, beside each of eleven attacks on one of them: latency, paired with a quiet time before; \
            nothing may be lost, nobody closed, and no turn of a shard longer than 2 ms of CPU",
    parameters: &[
        ("attacks", "", "which, by name; empty: all"),
        ("rate", "50", "messages a second of each of the quiet publishers"),
        ("quiet_s", "10", "seconds of the quiet time"),
        ("attack_s", "10", "seconds of the attack"),
        ("at", "0", "the shard that is attacked"),
        (
            "most_turn_ms",
            "2",
            "bound on a shard's longest turn by its thread's CPU clock, where the server counts it; empty: none",
        ),
        ("most_ratio", "", "bound on p99.9 beside an attack, by that of the quiet time; empty: none"),
        ("patience_s", "30", "seconds without any progress after which what is missing is lost"),
    ],
    common: super::PINNED,
    run,
};

/// Places that a server has for connections, where an attack does not need another number.
const CONNECTIONS: usize = 2_000;

/// What came of one attack.
struct Session {
    attack: &'static Attack,
    noticed: Noticed,
    /// What it sent, and whether it had to end early.
    sent: Result<u64>,
    /// What each shard counted; empty where the server does not say.
    counters: Vec<Counters>,
}

fn run(bench: &Bench, outcome: &mut Outcome) -> Result<()> {
    let wanted = bench.parameters.list("attacks");
    let known = |name: &String| ALL.iter().any(|attack| attack.name == name);
    if let Some(unknown) = wanted.iter().find(|name| !known(name)) {
        let names: Vec<&str> = ALL.iter().map(|attack| attack.name).collect();
        bail!("no attack `{unknown}`; there are: {}", names.join(", "));
    }
    let chosen: Vec<_> = ALL.iter().filter(|a| wanted.is_empty() || wanted.iter().any(|name| name == a.name)).collect();
    let at: usize = bench.parameters.parse("at")?;
    let mut sessions = Vec::new();
    for (done, &attack) in chosen.iter().enumerate() {
        crate::progress::show(&format!("bystander: {}", attack.name), done, chosen.len());
        let session = session(bench, attack).with_context(|| attack.name)?;
        judge(bench, outcome, &session, at)?;
        sessions.push(session);
    }
    outcome.table(latencies(&sessions, at));
    outcome.table(markdown(
        &["attack", "what it sends"],
        sessions.iter().map(|session| vec![session.attack.name.into(), session.attack.about.into()]),
    ));
    Ok(())
}

/// One attack, from the start of its server to its end.
fn session(bench: &Bench, attack: &'static Attack) -> Result<Session> {
    let parameters = &bench.parameters;
    let mut server = serve(bench, attack)?;
    let patience = Duration::from_secs_f64(parameters.parse("patience_s")?);
    // The quiet ones have all the time in the world.
    let calm = Arc::new(Field::new(server.addr(), 0, 3_600.0));
    let load = Load {
        shards: parameters.parse("shards")?,
        rate: parameters.parse("rate")?,
        bytes: attack.bytes,
        priority: attack.priority,
    };
    let mut quiet = Quiet::join(&calm, load)?;
    let field = Arc::new(Field::new(server.addr(), parameters.parse("at")?, 120.0));
    let assault = (attack.prepare)(&field).context("preparing the attack")?;

    quiet.begin();
    std::thread::sleep(Duration::from_millis(300));
    quiet.count_quiet();
    std::thread::sleep(Duration::from_secs_f64(parameters.parse("quiet_s")?));
    quiet.quiet_is_over();
    // What was sent in the quiet time shall not meet the attack.
    std::thread::sleep(Duration::from_millis(100));
    quiet.count_attack();
    field.allow(parameters.parse("attack_s")?);
    let attacking = std::thread::spawn(move || {
        be_nice();
        assault()
    });
    while !field.is_over() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let sent = attacking.join().ok().context("the attack panicked")?;
    // Their leaving is part of it.
    std::thread::sleep(Duration::from_millis(300));
    let noticed = quiet.finish(patience)?;
    server.terminate()?;
    let counters = server.counters(Duration::from_secs(60))?;
    Ok(Session { attack, noticed, sent, counters })
}

fn serve(bench: &Bench, attack: &Attack) -> Result<Server> {
    let arguments: Vec<_> = attack.server.iter().map(|(name, value)| (*name, value.to_string())).collect();
    bench.serve(CONNECTIONS, &arguments)
}

/// The calling thread takes a CPU only where nobody else wants it.
fn be_nice() {
    let _ = rustix::process::setpriority_process(None, 19);
}

/// Where a subscriber is, seen from the attack.
fn place(shard: usize, at: usize) -> &'static str {
    if shard == at { "attacked shard" } else { "other shard" }
}

/// The rows and curves of one attack.
fn judge(bench: &Bench, outcome: &mut Outcome, session: &Session, at: usize) -> Result<()> {
    let name = session.attack.name;
    let most_ratio: Option<f64> = bench.parameters.optional("most_ratio")?;
    match &session.sent {
        Ok(sent) => outcome.count(format!("{name}: {} of the attack", session.attack.unit), *sent),
        Err(error) => outcome.note(format!("{name}: the attack was over early: {error:#}")),
    }
    for (shard, heard) in session.noticed.shards.iter().enumerate() {
        let prefix = format!("{name}, {}: ", place(shard, at));
        outcome.figure(format!("{prefix}p99.9 quiet"), heard.quiet.ms(0.999), "ms");
        outcome.figure(format!("{prefix}p99.9 beside it"), heard.attack.ms(0.999), "ms");
        match most_ratio {
            Some(most) => outcome.at_most(format!("{prefix}p99.9 by quiet"), ratio(heard, 0.999), most, "x"),
            None => outcome.figure(format!("{prefix}p99.9 by quiet"), ratio(heard, 0.999), "x"),
        }
        let lost = session.noticed.published.saturating_sub(heard.messages);
        outcome.exactly(format!("{prefix}not delivered"), lost, 0);
        outcome.exactly(format!("{prefix}corrupt"), heard.corrupt, 0);
        outcome.must(format!("{prefix}still connected"), !heard.is_closed, if heard.is_closed { "no" } else { "yes" });
        for (what, latency) in [("quiet", &heard.quiet), ("beside it", &heard.attack)] {
            let curve = format!("{}, {what}", place(shard, at));
            outcome.curve(name, &curve, ("% of deliveries", "ms"), latency.curve());
        }
    }
    outcome.exactly(format!("{name}: quiet publishers refused or ended"), session.noticed.publishers_refused, 0);
    longest_turns(bench, outcome, session, at)
}

/// What the server says of its own turns.
fn longest_turns(bench: &Bench, outcome: &mut Outcome, session: &Session, at: usize) -> Result<()> {
    let most_turn_ms: Option<f64> = bench.parameters.optional("most_turn_ms")?;
    for (shard, counters) in session.counters.iter().enumerate() {
        let prefix = format!("{}, {}: ", session.attack.name, place(shard, at));
        if let Some(steps) = counters.get("turn_steps_max") {
            outcome.count(format!("{prefix}steps of the longest turn"), *steps);
        }
        if let Some(ns) = counters.get("turn_ns_max") {
            let name = format!("{prefix}longest turn");
            match most_turn_ms {
                Some(most) => outcome.at_most(name, *ns as f64 / 1e6, most, "ms"),
                None => outcome.figure(name, *ns as f64 / 1e6, "ms"),
            }
        }
    }
    Ok(())
}

fn ratio(heard: &Heard, share: f64) -> f64 {
    heard.attack.ms(share) / heard.quiet.ms(share)
}

/// All attacks at one view.
fn latencies(sessions: &[Session], at: usize) -> String {
    let four = |latency: &Latency| {
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| latency.ms(share));
        format!("{p50:.2} / {p99:.2} / {p999:.2} / {:.2}", latency.max_ms())
    };
    let row = |session: &Session, shard: usize, heard: &Heard| {
        let turn = session.counters.get(shard).and_then(|counters| counters.get("turn_ns_max"));
        vec![
            session.attack.name.to_string(),
            place(shard, at).to_string(),
            four(&heard.quiet),
            four(&heard.attack),
            format!("{:.1} x", ratio(heard, 0.999)),
            turn.map_or("not counted".into(), |ns| format!("{:.2} ms", *ns as f64 / 1e6)),
        ]
    };
    let rows = sessions.iter().flat_map(|session| {
        session.noticed.shards.iter().enumerate().map(move |(shard, heard)| row(session, shard, heard))
    });
    markdown(
        &[
            "attack",
            "subscriber on",
            "quiet: p50 / p99 / p99.9 / max ms",
            "beside it: p50 / p99 / p99.9 / max ms",
            "p99.9 by quiet",
            "longest turn",
        ],
        rows,
    )
}
