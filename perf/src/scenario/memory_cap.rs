//! The server may have a little more memory than its sum says, and gets twice the load that it has memory for.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Bench, Capped, Scenario, add_faults, await_so, gather, in_shares, report};
use crate::crowd::{Crowd, Spec};
use crate::publisher::{Publisher, PublisherSpec};
use crate::table::Outcome;

pub const SCENARIO: Scenario = Scenario {
    name: "memory-cap",
    about: "a memory cgroup of 1.2 times the sum that the server states, topics that want twice its pool, clients that stop reading: \
            it sheds by its policies, tells everyone exactly, and is not killed (needs root)",
    parameters: &[
        ("pool_mib", "64", "log memory of the server: `--pool-bytes`"),
        ("lane_mib", "4", "budget of a topic: `--lane-bytes`"),
        ("over", "2", "how many times the pool the topics want, all forms and shards counted"),
        ("seconds", "20", "of load"),
        ("rate", "100", "messages a second, each topic"),
        ("bytes", "8000", "bytes of a payload"),
        ("forms", "json,msgpack", "what the clients speak, in equal shares"),
        ("n", "40", "clients, each subscribed to everything"),
        ("slow", "10", "of each form stop reading for half of the time"),
        ("factor", "1.2", "the cap, times the sum"),
        ("most", "1.1", "bound on the server's resident memory, times the sum"),
    ],
    common: super::SERVER,
    run,
};

const MIB: f64 = 1024.0 * 1024.0;

fn run(bench: &Bench, outcome: &mut Outcome) -> Result<()> {
    let parameters = &bench.parameters;
    let pool: u64 = parameters.parse("pool_mib")?;
    let lane: u64 = parameters.parse("lane_mib")?;
    let over: f64 = parameters.parse("over")?;
    let forms = parameters.list("forms");
    let n: usize = parameters.parse("n")?;
    let slow: usize = parameters.parse("slow")?;
    let seconds: f64 = parameters.parse("seconds")?;
    let shards: u64 = parameters.parse("shards")?;
    let settings = [
        ("max-cursors", "20000".into()),
        ("max-topics", "1000".into()),
        ("max-message-bytes", "1MiB".into()),
        ("payload-bytes", "16MiB".into()),
        ("ring-bytes", "4MiB".into()),
        ("pool-bytes", format!("{pool}MiB")),
        ("lane-bytes", format!("{lane}MiB")),
    ];
    let factor: f64 = parameters.parse("factor")?;
    let Capped { mut server, cap, sum } = bench.serve_capped(n + 48, &settings, |sum| sum * factor)?;
    outcome.figure("stated sum", server.stated_bytes()? / MIB, "MiB");
    outcome.figure("cap", sum * factor / MIB, "MiB");

    let (mut crowds, _) = gather(
        in_shares(server.addr(), &forms, "cap/*", n).map(|spec| Spec { apart: slow.min(spec.members), ..spec }),
    )?;
    // The raw form, from which the others are made, is one more.
    let each = lane * shards * (forms.len() as u64 + 1);
    let topics = ((pool as f64 * over) / each as f64).ceil().max(1.0) as u64;
    outcome.figure("topics want", (topics * each) as f64, "MiB of log memory");
    let rate: f64 = parameters.parse("rate")?;
    let count = (rate * seconds) as u64;
    let publishers: Vec<Publisher> = (0..topics)
        .map(|topic| {
            let (name, bytes) = (format!("cap/{topic}"), parameters.parse("bytes")?);
            let priority = ["normal", "low", "high"][topic as usize % 3].into();
            let usual = PublisherSpec::new(server.addr(), &name, rate, bytes, count);
            Publisher::start(&PublisherSpec { priority, ..usual })
        })
        .collect::<Result<_>>()?;
    let began = Instant::now();
    let mut most = 0;
    let mut stalled = false;
    while began.elapsed().as_secs_f64() < seconds && server.is_running()? {
        most = most.max(server.memory()?.rss);
        let share = began.elapsed().as_secs_f64() / seconds;
        if !stalled && share > 0.2 {
            stalled = true;
            crowds.iter_mut().try_for_each(Crowd::stall)?;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let mut published = 0;
    for publisher in publishers {
        let done = publisher.finish()?;
        published += done.sent;
        outcome.note_all(&done.errors);
    }
    crowds.iter_mut().try_for_each(Crowd::wake)?;
    let end = await_so(&mut crowds, Duration::from_secs(60), |sum| {
        sum.healthy.least >= published && sum.apart.least >= published
    })?;
    outcome.must("the server lives", server.is_running()?, server.log().lines().last().unwrap_or_default());
    most = most.max(server.memory()?.rss);
    outcome.exactly("published", published, topics * count);
    outcome.at_most("resident memory, most", most as f64 / MIB, sum * parameters.parse::<f64>("most")? / MIB, "MiB");
    outcome.at_most("of the cgroup, most (page cache included)", cap.peak()? as f64 / MIB, sum * factor / MIB, "MiB");
    outcome.exactly("killed for want of memory", cap.kills()?, 0);
    outcome.at_least("slow: announced as gaps", end.apart.announced as f64, 1.0, "");
    for (prefix, group) in [("healthy: ", &end.healthy), ("slow: ", &end.apart)] {
        outcome.exactly(format!("{prefix}connected"), group.open, group.members);
        outcome.count(format!("{prefix}delivered"), group.deliveries);
        outcome.count(format!("{prefix}announced"), group.announced);
        outcome.exactly(format!("{prefix}delivered + announced, least"), group.least, published);
        outcome.exactly(format!("{prefix}delivered + announced, most"), group.most, published);
        outcome.exactly(format!("{prefix}missing unannounced"), group.holes, 0);
        add_faults(outcome, prefix, group);
    }
    outcome.note_all(&end.trouble);
    report(&mut crowds, false)?;
    server.terminate()?;
    let status = server.wait(Duration::from_secs(30))?;
    outcome.must("exit status after SIGTERM", status.code() == Some(0), format!("{status}"));
    Ok(())
}
