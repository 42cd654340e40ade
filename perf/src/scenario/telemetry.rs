//! The rovers of the first plan: one publisher, N subscribers, telemetry of 1,200 B as JSON; every form in turn, what each costs
//! on the wire, and that nothing is lost.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{Bench, Scenario, add_faults, await_all, crowd_spec, gather, report};
use crate::crowd::Spec;
use crate::payload::Look;
use crate::publisher::{Publisher, PublisherSpec};
use crate::table::{Outcome, markdown};

pub const SCENARIO: Scenario = Scenario {
    name: "telemetry",
    about: "one publisher at R Hz to N subscribers, 1,200 B of JSON, in every form: latency, losses, bytes on the wire",
    parameters: &[
        (
            "cells",
            "5x10,10x20,20x20,50x10,10x100,500x10,1000x20,2000x20,5000x10,1000x100",
            "N x R, one after the other",
        ),
        (
            "forms",
            "json,json+deflate,batch+lz4,batch,msgpack,batch+deflate",
            "forms, one after the other; the first is compared with",
        ),
        ("seconds", "5", "how long each"),
        ("bytes", "1200", "bytes of a payload"),
        ("crowd_cpu", "", "CPU to pin crowd and publisher to"),
        ("most_p95_ms", "50", "bound on p95"),
        ("least_saving", "30", "bound in percent on what +deflate and +lz4 save against the first form"),
    ],
    common: super::PINNED,
    run,
};

/// One form in one cell.
struct Cell {
    n: usize,
    rate: f64,
    form: String,
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    lost: u64,
    bytes_each: f64,
    cpu_ns: f64,
}

fn run(bench: &Bench, outcome: &mut Outcome) -> Result<()> {
    let parameters = &bench.parameters;
    let forms = parameters.list("forms");
    let mut cells: Vec<Cell> = Vec::new();
    let wanted = parameters.list("cells");
    for cell in &wanted {
        let (n, rate) = cell.split_once('x').with_context(|| format!("`{cell}` is not NxR"))?;
        let (n, rate): (usize, f64) = (n.parse()?, rate.parse()?);
        for form in &forms {
            crate::progress::show(&format!("telemetry {cell} {form}"), cells.len(), wanted.len() * forms.len());
            cells.push(measure(bench, outcome, n, rate, form)?);
        }
    }

    let most_p95: f64 = parameters.parse("most_p95_ms")?;
    let least_saving: f64 = parameters.parse("least_saving")?;
    let plain = |cell: &Cell| -> f64 {
        cells.iter().find(|c| (c.n, c.rate) == (cell.n, cell.rate)).map_or(f64::NAN, |c| c.bytes_each)
    };
    let saving = |cell: &Cell| 100.0 * (1.0 - cell.bytes_each / plain(cell));
    for cell in &cells {
        let name = |what: &str| format!("{} x {} Hz, {}: {what}", cell.n, cell.rate, cell.form);
        outcome.exactly(name("lost"), cell.lost, 0);
        outcome.at_most(name("p95"), cell.p95_ms, most_p95, "ms");
        if cell.form.ends_with("+deflate") || cell.form.ends_with("+lz4") {
            outcome.at_least(name("saved"), saving(cell), least_saving, "%");
        }
    }
    outcome.table(markdown(
        &[
            "subscribers × Hz",
            "form",
            "p50 ms",
            "p95 ms",
            "p99 ms",
            "lost",
            "bytes each",
            "against plain",
            "server CPU each",
        ],
        cells.iter().map(|cell| {
            vec![
                format!("{} × {}", cell.n, cell.rate),
                cell.form.clone(),
                format!("{:.2}", cell.p50_ms),
                format!("{:.2}", cell.p95_ms),
                format!("{:.2}", cell.p99_ms),
                cell.lost.to_string(),
                format!("{:.0}", cell.bytes_each),
                format!("{:+.1} %", 0.0 - saving(cell)),
                format!("{:.0} ns", cell.cpu_ns),
            ]
        }),
    ));
    outcome.table(markdown(
        &["form", "bytes on the wire each, over all cells", "against plain"],
        forms.iter().map(|form| {
            let of = |form: &str| {
                let same: Vec<&Cell> = cells.iter().filter(|cell| cell.form == form).collect();
                same.iter().map(|cell| cell.bytes_each).sum::<f64>() / same.len().max(1) as f64
            };
            vec![
                form.clone(),
                format!("{:.0}", of(form)),
                format!("{:+.1} %", 100.0 * (of(form) / of(&forms[0]) - 1.0)),
            ]
        }),
    ));
    Ok(())
}

fn measure(bench: &Bench, outcome: &mut Outcome, n: usize, rate: f64, form: &str) -> Result<Cell> {
    let parameters = &bench.parameters;
    let cpu = parameters.optional("crowd_cpu")?;
    let server = bench.serve(n, &[])?;
    let spec = Spec { cpu, ..crowd_spec(server.addr(), form, "rover/telemetry", n) };
    let (mut crowds, _) = gather([spec])?;
    // What connecting has left to do shall not be booked on the deliveries.
    std::thread::sleep(Duration::from_millis(300));
    report(&mut crowds, true)?;
    let cpu_before = server.cpu_ns()?;
    let count = (rate * parameters.parse::<f64>("seconds")?).ceil() as u64;
    let usual = PublisherSpec::new(server.addr(), "rover/telemetry", rate, parameters.parse("bytes")?, count);
    let published = Publisher::start(&PublisherSpec { look: Look::Telemetry, cpu, ..usual })?.finish()?;
    if published.sent != count {
        bail!("the publisher sent {} of {count}: {:?}", published.sent, published.errors);
    }
    await_all(&mut crowds, count, Duration::from_secs(5))?;
    let all = report(&mut crowds, true)?;
    let cpu_ns = (server.cpu_ns()? - cpu_before) as f64 / all.window_deliveries.max(1) as f64;
    let name = format!("{n} x {rate} Hz, {form}: ");
    add_faults(outcome, &name, &all.healthy);
    all.trouble.iter().chain(&published.errors).for_each(|words| outcome.note(format!("{name}{words}")));
    Ok(Cell {
        n,
        rate,
        form: form.to_string(),
        p50_ms: all.latency.ms(0.5),
        p95_ms: all.latency.ms(0.95),
        p99_ms: all.latency.ms(0.99),
        // By the payloads' own numbers and by the lanes': both must add up.
        lost: (count * n as u64).saturating_sub(all.healthy.deliveries) + all.healthy.announced + all.healthy.holes,
        bytes_each: all.window_bytes as f64 / all.window_deliveries.max(1) as f64,
        cpu_ns,
    })
}
