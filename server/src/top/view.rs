//! Job: draws the state: head, list, what is chosen, foot.
//! Knows: ratatui, figures. Must never know: sockets, keys.
//!
//! Everything that comes from others passes [`plain::text`]: a topic's name moves no cursor.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Clear, Paragraph, Wrap};

use super::figures::{bar, micros, percent, seconds, short};
use super::said::Spread;
use super::state::{Focus, Link, Sort, State, View};
use super::{detail, lists};
use crate::plain;

/// Rows for what is chosen, where there is room.
const DETAIL_ROWS: u16 = 7;
/// Below this height the list has all of it.
const DETAIL_FROM: u16 = 22;

/// From this width on the head has what can be done without.
const WIDE: u16 = 100;

pub const DIM: Style = Style::new().fg(Color::DarkGray);
pub const BAD: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
pub const STRONG: Style = Style::new().add_modifier(Modifier::BOLD);

/// Green, yellow from 70 %, red from 90 % on.
pub fn level(share: f64) -> Style {
    Style::new().fg(match share {
        share if share >= 0.9 => Color::Red,
        share if share >= 0.7 => Color::Yellow,
        _ => Color::Green,
    })
}

pub fn of_priority(priority: &str) -> Style {
    match priority {
        "critical" => Style::new().fg(Color::Red),
        "high" => Style::new().fg(Color::Yellow),
        "low" => DIM,
        _ => Style::new(),
    }
}

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, state: &State, url: &str) {
    let area = frame.area();
    let has_detail = state.view == View::Clients && area.height >= DETAIL_FROM && state.client().is_some();
    let detail_rows = if has_detail { DETAIL_ROWS } else { 0 };
    let [head, tabs, list, detail, foot] = Layout::vertical([
        Constraint::Length(3),
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(detail_rows),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(Paragraph::new(head_lines(state, url, area.width)), head);
    frame.render_widget(Paragraph::new(tab_line(state)), tabs);
    lists::draw(frame, state, list);
    if has_detail && let Some(client) = state.client() {
        detail::draw(frame, client, detail);
    }
    frame.render_widget(Paragraph::new(foot_line(state)), foot);
    match &state.focus {
        Focus::Ask(id) => ask(frame, id),
        Focus::Help => help(frame),
        Focus::List | Focus::Filter => {}
    }
}

fn head_lines(state: &State, url: &str, width: u16) -> Vec<Line<'static>> {
    let link = match &state.link {
        Link::Live => Span::styled("live", Style::new().fg(Color::Green)),
        Link::Connecting => Span::styled("connecting", Style::new().fg(Color::Yellow)),
        Link::Broken(why) => Span::styled(why.clone(), BAD),
    };
    let Some(shards) = &state.shards else {
        return vec![Line::from(vec![Span::styled("fanwire ", STRONG), Span::raw(format!("{url}  ")), link])];
    };
    let about =
        format!("{} {}  up {}  ", plain::text(&shards.version), plain::text(&shards.driver), seconds(shards.uptime_s));
    let mut first = vec![Span::styled("fanwire ", STRONG), Span::raw(about), link];
    if width >= WIDE {
        first.push(Span::styled(format!("  {url}"), DIM));
    }
    vec![Line::from(first), counts(state, width), latencies(state, width)]
}

fn counts(state: &State, width: u16) -> Line<'static> {
    let Some(shards) = &state.shards else { return Line::default() };
    let rates = state.rates.unwrap_or_default();
    let lost = format!("{}/s ({})", short(rates.lost), short(shards.lost()));
    let mut spans = Vec::new();
    let mut pair = |name: &'static str, value: String, style: Style| {
        spans.extend([Span::styled(name, DIM), Span::styled(value, style), Span::raw("  ")]);
    };
    let connections = state.clients.total.max(shards.total("connections") as u64);
    let of = if width >= WIDE { format!(" of {}", short(shards.connections_max as f64)) } else { String::new() };
    pair("clients ", format!("{connections}{of}"), STRONG);
    let behind = state.clients.behind;
    pair("behind ", behind.to_string(), if behind > 0 { Style::new().fg(Color::Yellow) } else { STRONG });
    pair("lost ", lost, if rates.lost > 0.0 { BAD } else { STRONG });
    pair(if width >= WIDE { "deliveries " } else { "out " }, format!("{}/s", short(rates.deliveries)), STRONG);
    pair("sent ", format!("{}B/s", short(rates.sent_bytes)), STRONG);
    Line::from(spans)
}

fn latencies(state: &State, width: u16) -> Line<'static> {
    let Some(shards) = &state.shards else { return Line::default() };
    let spread = |spread: &Spread| match spread.count {
        0 => "–".to_owned(),
        _ => format!("{}/{}", micros(spread.p50), micros(spread.p99)),
    };
    let latency = &shards.latency;
    let mut spans = Vec::new();
    for (name, of) in [
        ("first send ", &latency.publish_to_first_send_us),
        ("last ", &latency.publish_to_last_send_us),
        ("turn ", &latency.turn_us),
    ] {
        spans.extend([Span::styled(name, DIM), Span::raw(spread(of)), Span::raw("  ")]);
    }
    let busiest = shards.shards.iter().map(|shard| shard.utilisation).fold(0.0, f64::max);
    if width >= WIDE {
        spans.extend([
            Span::styled("busiest shard ", DIM),
            Span::styled(bar(busiest, 8), level(busiest)),
            Span::raw(" "),
        ]);
    } else {
        spans.push(Span::styled("busy ", DIM));
    }
    spans.push(Span::styled(percent(busiest), level(busiest).add_modifier(Modifier::BOLD)));
    Line::from(spans)
}

fn tab_line(state: &State) -> Line<'static> {
    let mut spans = Vec::new();
    for (view, name) in
        [(View::Clients, "1 clients"), (View::Topics, "2 topics"), (View::Gaps, "3 gaps"), (View::Shards, "4 shards")]
    {
        let style = if view == state.view { Style::new().add_modifier(Modifier::REVERSED) } else { DIM };
        spans.extend([Span::styled(format!(" {name} "), style), Span::raw(" ")]);
    }
    if state.view == View::Clients {
        let sort = if state.sort == Sort::Lag { " by lag" } else { " by work" };
        spans.push(Span::styled(sort, STRONG));
    }
    if !state.filter.is_empty() || state.focus == Focus::Filter {
        let cursor = if state.focus == Focus::Filter { "▏" } else { "" };
        spans.push(Span::styled(format!("  /{}{cursor}", plain::text(&state.filter)), Style::new().fg(Color::Yellow)));
    }
    Line::from(spans)
}

fn foot_line(state: &State) -> Line<'static> {
    if let Some((notice, is_bad)) = &state.notice {
        let style = if *is_bad { BAD } else { Style::new().fg(Color::Green) };
        return Line::styled(notice.clone(), style);
    }
    let keys = match state.focus {
        Focus::Filter => "type to filter   Enter keep   Esc clear",
        _ if state.view == View::Clients => "↑↓ choose   s sort   / filter   c close   Tab view   ? help   q quit",
        _ => "↑↓ choose   / filter   Tab view   ? help   q quit",
    };
    Line::styled(keys, DIM)
}

fn ask(frame: &mut Frame<'_>, id: &str) {
    let text = vec![
        Line::styled(format!("Close client {}?", plain::text(id)), STRONG),
        Line::raw("1012: a well-made client comes back and goes on."),
        Line::default(),
        Line::from(vec![Span::styled("y", BAD), Span::raw(" close it    any other key leaves it")]),
    ];
    window(frame, text, 54);
}

fn help(frame: &mut Frame<'_>) {
    let keys = [
        ("1 2 3 4 Tab", "clients, topics, gaps, shards"),
        ("↑ ↓ j k g G", "choose; PgUp, PgDn by ten"),
        ("s", "clients by lag, or by work"),
        ("/ Esc", "filter, no filter"),
        ("c", "close the client, after a question"),
        ("q Ctrl-C", "quit"),
    ];
    let mut text: Vec<Line<'_>> = keys
        .iter()
        .map(|(key, what)| Line::from(vec![Span::styled(format!("{key:<13}"), STRONG), Span::raw(*what)]))
        .collect();
    text.push(Line::default());
    text.push(Line::raw("BEHIND: share of its worst lane; at 70 % (│) it counts as"));
    text.push(Line::raw("lagging, at 90 % (┃) it loses the oldest. CAUSE: link (the"));
    text.push(Line::raw("network), reader (its program), burst (it catches up)."));
    text.push(Line::raw("WORK: share of one shard's time that it costs."));
    window(frame, text, 62);
}

/// A window in the middle, as large as there is room.
fn window(frame: &mut Frame<'_>, text: Vec<Line<'_>>, width: u16) {
    let area = frame.area();
    let (width, height) = (width.min(area.width), (text.len() as u16 + 2).min(area.height));
    let (x, y) = (area.x + (area.width - width) / 2, area.y + (area.height - height) / 2);
    let place = Rect { x, y, width, height };
    frame.render_widget(Clear, place);
    let block = Block::new().borders(Borders::ALL);
    frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: false }).block(block), place);
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
