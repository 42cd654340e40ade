//! Job: one snapshot, as text for people or JSON for scripts.
//! Knows: when figures are whole. Must never know: screens.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;

use serde_json::value::RawValue;

use super::figures::{bar, drops_in, micros, percent, seconds, short};
use super::said::Client;
use super::state::{Sort, State};
use super::{Watch, after, lists, said, take};
use crate::args::{TopFormat, TopSort};
use crate::clock;
use crate::engine;
use crate::exit::{Exit, Failure, Outcome};
use crate::ledger::Ledger;
use crate::plain;
use crate::units::grouped;

/// The first message of a topic may be one of long ago, which the server has kept.
const WANTED: u32 = 2;

/// Places of topics in [`said::TOPICS`].
const SHARDS: usize = 0;
const CLIENTS: usize = 2;

/// Prints a snapshot. It takes a second or two: rates are differences.
///
/// # Errors
/// 69 where figures do not come in time; as the connection.
pub fn run(link: &Watch<'_>) -> Outcome {
    let Some(mut feed) = link.open()? else { return Ok(ExitCode::from(link.stop.exit_code())) };
    let sort = if link.args.sort == TopSort::Work { Sort::Work } else { Sort::Lag };
    let mut state = State::new(sort);
    let mut raw = BTreeMap::new();
    let mut counts = [0; 3];
    let mut ledger = Ledger::default();
    let deadline = clock::after(clock::now(), link.args.timeout.0);
    // All but gaps: there may be none.
    while counts.contains(&0) || counts[SHARDS] < WANTED || counts[CLIENTS] < WANTED || !has_rates(&state) {
        let end = take(&mut feed, &mut ledger, |topic, payload| {
            if let Some(place) = said::TOPICS[..counts.len()].iter().position(|one| *one == topic) {
                counts[place] += 1;
            }
            state.take(topic, payload);
            if let Ok(payload) = serde_json::from_slice::<Box<RawValue>>(payload) {
                raw.insert(topic.to_owned(), payload);
            }
        });
        if let Some(end) = end {
            return Err(Failure::message(Exit::Unavailable, after(end)?));
        }
        if clock::now() >= deadline {
            return Err(Failure::message(
                Exit::Unavailable,
                "the $sys topics say nothing: is it a fanwire server of this version?",
            ));
        }
        feed.step(
            deadline,
            true,
            &mut [crate::client::Watched::new(std::os::fd::AsFd::as_fd(link.stop), rustix::event::PollFlags::IN)],
        )?;
        if link.stop.is_asked() {
            return Ok(ExitCode::from(link.stop.exit_code()));
        }
    }
    feed.close();
    feed.step(clock::now(), true, &mut [])?;
    let text = match link.args.format {
        TopFormat::Text => text(&state),
        TopFormat::Json => json(&raw),
    };
    engine::say(text.trim_end());
    engine::unsaid().map(|()| ExitCode::SUCCESS)
}

/// Whether rates are over some time. The first figures after nobody has asked for a while have none.
fn has_rates(state: &State) -> bool {
    let shards = state.shards.as_ref().and_then(|shards| shards.interval_s);
    // A server that says nothing of it has them.
    [shards, state.clients.interval_s].iter().all(|interval_s| interval_s.is_none_or(|interval_s| interval_s > 0.0))
}

/// The messages as they came, by topic.
fn json(raw: &BTreeMap<String, Box<RawValue>>) -> String {
    serde_json::to_string(raw).unwrap_or_default()
}

/// What the screen shows first, for a page of any width.
pub fn text(state: &State) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = head(&mut out, state);
    for client in state.clients() {
        let _ = row(&mut out, client);
    }
    out
}

fn head(out: &mut String, state: &State) -> std::fmt::Result {
    let Some(shards) = &state.shards else { return Ok(()) };
    let rates = state.rates.unwrap_or_default();
    let (version, driver) = (plain::text(&shards.version), plain::text(&shards.driver));
    writeln!(
        out,
        "fanwire {version} {driver}, up {}, {} UTC",
        seconds(shards.uptime_s),
        lists::time_of_day(shards.at_ms)
    )?;
    writeln!(
        out,
        "clients {} of {}, behind {}, lost {}/s ({}), deliveries {}/s, sent {}B/s",
        state.clients.total,
        shards.connections_max,
        state.clients.behind,
        short(rates.lost),
        grouped(shards.lost() as u64),
        short(rates.deliveries),
        short(rates.sent_bytes)
    )?;
    let last = &shards.latency.publish_to_last_send_us;
    if last.count > 0 {
        writeln!(
            out,
            "publish to last send: median {}, 99 % {}, most {}",
            micros(last.p50),
            micros(last.p99),
            micros(last.max)
        )?;
    }
    for shard in &shards.shards {
        writeln!(out, "shard {}: {} busy, {} connections", shard.shard, percent(shard.utilisation), shard.connections)?;
    }
    let columns = ["CLIENT", "BEHIND", "BYTES", "DROPS", "CAUSE", "LOST", "WORK"];
    let [client, behind, bytes, drops, cause, lost, work] = columns;
    writeln!(
        out,
        "{client:<12} {behind:<15} {bytes:>6} {drops:>6} {cause:<6} {lost:>10} {work:>5}  WORST LANE, WHO, EXACTLY LOST"
    )
}

fn row(out: &mut String, client: &Client) -> std::fmt::Result {
    write!(
        out,
        "{:<12} {} {:>4} {:>6} {:>6} {:<6} {:>10} {:>5}  ",
        plain::text(&client.id),
        bar(client.used, 10),
        percent(client.used),
        short(client.behind_bytes as f64),
        client.drops_in_s.map_or_else(|| "–".into(), drops_in),
        plain::text(client.cause.as_deref().unwrap_or("–")),
        grouped(client.lost_total),
        percent(client.work()),
    )?;
    if let Some(lane) = client.lanes.first() {
        write!(out, "{} {}, ", plain::text(&lane.topic), plain::text(&lane.priority))?;
    }
    write!(out, "{}", lists::who(client))?;
    for lost in &client.lost {
        write!(out, ", {} {} {}–{}", plain::text(&lost.topic), plain::text(&lost.priority), lost.from, lost.to)?;
    }
    writeln!(out)
}
