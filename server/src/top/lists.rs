//! Job: draws the list of a view as a table.
//! Knows: ratatui, figures. Must never know: sockets, keys.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Cell, Paragraph, Row, Table, TableState};

use super::figures::{bar, drops_in, percent, short};
use super::said::{Client, Gap, Shard, Topic};
use super::state::{Sort, State, View};
use super::view::{BAD, DIM, STRONG, level, of_priority};
use crate::plain;

/// From this width on a client's address, and the latest range that it lost, have columns of their own.
const WIDE: u16 = 110;

/// A column: its name, its width, and how it stands.
type Column = (&'static str, Constraint, Alignment);

const LEFT: Alignment = Alignment::Left;
const RIGHT: Alignment = Alignment::Right;

/// Draws the list of the chosen view.
pub fn draw(frame: &mut Frame<'_>, state: &State, area: Rect) {
    let is_wide = area.width >= WIDE;
    let (columns, rows, empty) = match state.view {
        View::Clients => {
            let rows = state.clients().into_iter().map(|client| client_row(client, is_wide)).collect();
            let empty = if state.sort == Sort::Lag { "Nobody is behind" } else { "Nobody costs anything" };
            (client_columns(is_wide), rows, empty)
        }
        View::Topics => (topic_columns(), state.topics().into_iter().map(topic_row).collect(), "No topic yet"),
        View::Gaps => (
            gap_columns(),
            state.gaps().into_iter().map(gap_row).collect(),
            "No client was told of a gap since this was started",
        ),
        View::Shards => {
            let shards = state.shards.as_ref().map_or(&[][..], |shards| &shards.shards[..]);
            (shard_columns(), shards.iter().map(shard_row).collect::<Vec<_>>(), "Nothing is known yet")
        }
    };
    if rows.is_empty() {
        let text = match (&state.shards, state.filter.is_empty()) {
            (None, _) => "Waiting for the first figures",
            (_, false) => "Nothing that the filter lets through",
            _ => empty,
        };
        frame.render_widget(Paragraph::new(Line::styled(text, DIM)), area);
        return;
    }
    let names = columns.iter().map(|(name, _, alignment)| Cell::new(Text::from(*name).alignment(*alignment)));
    let header = Row::new(names).style(DIM.add_modifier(Modifier::UNDERLINED));
    let table = Table::new(rows, columns.iter().map(|(_, width, _)| *width))
        .header(header)
        .column_spacing(1)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut chosen = TableState::new().with_selected(Some(state.at[state.view as usize]));
    frame.render_stateful_widget(table, area, &mut chosen);
}

fn right(text: impl Into<String>, style: Style) -> Cell<'static> {
    Cell::new(Text::from(Line::styled(text.into(), style)).alignment(RIGHT))
}

fn client_columns(is_wide: bool) -> Vec<Column> {
    let mut columns = vec![("CLIENT", Constraint::Length(12), LEFT)];
    if is_wide {
        columns.push(("WHO", Constraint::Length(26), LEFT));
    }
    columns.extend([
        ("WORST LANE", Constraint::Fill(1), LEFT),
        ("BEHIND", Constraint::Length(15), LEFT),
        ("BYTES", Constraint::Length(6), RIGHT),
        ("DROPS", Constraint::Length(5), RIGHT),
        ("CAUSE", Constraint::Length(6), LEFT),
        ("LOST", Constraint::Length(6), RIGHT),
        ("WORK", Constraint::Length(5), RIGHT),
    ]);
    if is_wide {
        columns.push(("LATEST LOST", Constraint::Length(20), LEFT));
    }
    columns
}

fn client_row(client: &Client, is_wide: bool) -> Row<'static> {
    let mut cells = vec![Cell::new(Span::styled(plain::text(&client.id).into_owned(), STRONG))];
    if is_wide {
        cells.push(Cell::new(who(client)));
    }
    let worst = client.lanes.first();
    let lane = worst.map_or_else(
        || Line::styled("–", DIM),
        |lane| Line::styled(plain::text(&lane.topic).into_owned(), of_priority(&lane.priority)),
    );
    let drops = client.drops_in_s;
    let is_soon = drops.is_some_and(|s| s < 10.0);
    let cause = client.cause.as_deref().unwrap_or("–");
    let lost_style = if client.lost_total > 0 { BAD } else { Style::new() };
    cells.extend([
        Cell::new(lane),
        Cell::new(Line::from(vec![
            Span::styled(bar(client.used, 10), level(client.used)),
            Span::raw(format!(" {:>4}", percent(client.used))),
        ])),
        right(short(client.behind_bytes as f64), Style::new()),
        right(drops.map_or("–".into(), drops_in), if is_soon { BAD } else { Style::new() }),
        Cell::new(plain::text(cause).into_owned()),
        right(short(client.lost_total as f64), lost_style),
        right(percent(client.work()), Style::new()),
    ]);
    if is_wide {
        cells
            .push(Cell::new(client.lost.first().map_or_else(String::new, |lost| format!("{}–{}", lost.from, lost.to))));
    }
    Row::new(cells)
}

/// Its subject, or else its address.
pub fn who(client: &Client) -> String {
    let known = client.subject.as_deref().or(client.peer.as_deref());
    known.map_or_else(|| "Unix socket".to_owned(), |text| plain::text(text).into_owned())
}

fn topic_columns() -> Vec<Column> {
    vec![
        ("TOPIC", Constraint::Fill(1), LEFT),
        ("MSG/S", Constraint::Length(7), RIGHT),
        ("B/S", Constraint::Length(6), RIGHT),
        ("SUBS", Constraint::Length(6), RIGHT),
        ("LOST", Constraint::Length(6), RIGHT),
        ("SLOWEST SUBSCRIBER", Constraint::Length(24), LEFT),
    ]
}

fn topic_row(topic: &Topic) -> Row<'static> {
    let worst = topic.worst().cloned().unwrap_or_default();
    let priority = Span::styled(format!(" {}", plain::text(&worst.priority)), of_priority(&worst.priority));
    Row::new(vec![
        Cell::new(plain::text(&topic.topic).into_owned()),
        right(short(topic.published_per_s), STRONG),
        right(short(topic.bytes_per_s), Style::new()),
        right(short(topic.subscribers as f64), Style::new()),
        right(short(topic.dropped as f64), if topic.dropped > 0 { BAD } else { Style::new() }),
        Cell::new(Line::from(vec![
            Span::styled(bar(worst.behind, 10), level(worst.behind)),
            Span::raw(format!(" {:>4}", percent(worst.behind))),
            priority,
        ])),
    ])
}

fn gap_columns() -> Vec<Column> {
    vec![
        ("UTC", Constraint::Length(12), LEFT),
        ("CLIENT", Constraint::Length(12), LEFT),
        ("TOPIC", Constraint::Fill(1), LEFT),
        ("NUMBERS", Constraint::Length(19), RIGHT),
        ("LOST", Constraint::Length(6), RIGHT),
        ("REASON", Constraint::Length(9), LEFT),
    ]
}

fn gap_row(gap: &Gap) -> Row<'static> {
    let lost = &gap.lost;
    Row::new(vec![
        Cell::new(time_of_day(gap.at_ms)),
        Cell::new(plain::text(&gap.client).into_owned()),
        Cell::new(Span::styled(plain::text(&lost.topic).into_owned(), of_priority(&lost.priority))),
        right(format!("{}–{}", lost.from, lost.to), Style::new()),
        right(short(lost.count() as f64), BAD),
        Cell::new(plain::text(&gap.reason).into_owned()),
    ])
}

/// `17:04:09.250`, UTC.
pub fn time_of_day(at_ms: u64) -> String {
    let (s, ms) = (at_ms / 1_000 % 86_400, at_ms % 1_000);
    format!("{:02}:{:02}:{:02}.{ms:03}", s / 3_600, s / 60 % 60, s % 60)
}

fn shard_columns() -> Vec<Column> {
    vec![
        ("SHARD", Constraint::Length(6), LEFT),
        ("BUSY", Constraint::Length(28), LEFT),
        ("CONNECTIONS", Constraint::Length(12), RIGHT),
    ]
}

fn shard_row(shard: &Shard) -> Row<'static> {
    Row::new(vec![
        Cell::new(shard.shard.to_string()),
        Cell::new(Line::from(vec![
            Span::styled(bar(shard.utilisation, 20), level(shard.utilisation)),
            Span::raw(format!(" {:>4}", percent(shard.utilisation))),
        ])),
        right(short(shard.connections as f64), Style::new()),
    ])
}
