//! Job: draws what is known of the chosen client: facts, its lanes, and the exact ranges that it lost.
//! Knows: ratatui, figures. Must never know: sockets, keys.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph};

use super::figures::{bar, drops_in, percent, seconds, short};
use super::said::Client;
use super::view::{BAD, DIM, STRONG, level, of_priority};
use crate::plain;
use crate::units::grouped;

pub fn draw(frame: &mut Frame<'_>, client: &Client, area: Rect) {
    let title = format!(" {} ", plain::text(&client.id));
    let block = Block::new().borders(Borders::TOP).title(Span::styled(title, STRONG));
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let [facts, below] = Layout::vertical([Constraint::Length(2), Constraint::Min(0)]).areas(inner);
    frame.render_widget(Paragraph::new(fact_lines(client)), facts);
    let [lanes, lost] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).spacing(2).areas(below);
    frame.render_widget(Paragraph::new(lane_lines(client, lanes.width)), lanes);
    frame.render_widget(Paragraph::new(lost_lines(client)), lost);
}

fn fact_lines(client: &Client) -> Vec<Line<'static>> {
    let text = |text: &Option<String>| text.as_deref().map_or_else(|| "–".into(), |t| plain::text(t).into_owned());
    let who = format!(
        "{}  subject {}  {}  since {}  {} topic{}",
        client.peer.as_deref().map_or_else(|| "Unix socket".into(), |peer| plain::text(peer).into_owned()),
        text(&client.subject),
        plain::text(&client.form),
        seconds(client.connected_s),
        client.subscriptions,
        if client.subscriptions == 1 { "" } else { "s" },
    );
    let drops = client.drops_in_s.map_or_else(|| "not as it goes".into(), drops_in);
    let how = format!(
        "behind {} messages, {}B  drops in {drops}  cause {}  work {}",
        grouped(client.behind_messages),
        short(client.behind_bytes as f64),
        text(&client.cause),
        percent(client.work()),
    );
    vec![Line::raw(who), Line::raw(how)]
}

/// Where there is little room, the bar is short, and the end of the topic goes before the figures do.
fn lane_lines(client: &Client, width: u16) -> Vec<Line<'static>> {
    let cells = if width >= 60 { 10 } else { 5 };
    let mut lines = vec![Line::styled("lanes, messages behind", DIM)];
    lines.extend(client.lanes.iter().map(|lane| {
        let (priority, messages) = (plain::text(&lane.priority).into_owned(), short(lane.behind_messages as f64));
        let taken = cells + " 100% ".len() + priority.chars().count() + 1 + 1 + messages.len();
        let topic = clipped(&plain::text(&lane.topic), usize::from(width).saturating_sub(taken));
        Line::from(vec![
            Span::styled(bar(lane.used, cells), level(lane.used)),
            Span::raw(format!(" {:>4} ", percent(lane.used))),
            Span::styled(format!("{priority} "), of_priority(&lane.priority)),
            Span::raw(format!("{topic} {messages}")),
        ])
    }));
    lines
}

/// At most so many characters of a text, with a mark where some are missing.
fn clipped(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => text.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
    }
}

fn lost_lines(client: &Client) -> Vec<Line<'static>> {
    let style = if client.lost_total > 0 { BAD } else { DIM };
    let mut lines = vec![Line::from(vec![
        Span::styled("lost ", DIM),
        Span::styled(format!("{} messages", grouped(client.lost_total)), style),
    ])];
    lines.extend(client.lost.iter().map(|lost| {
        Line::from(vec![
            Span::styled(format!("{} ", plain::text(&lost.priority)), of_priority(&lost.priority)),
            Span::raw(format!("{} ", plain::text(&lost.topic))),
            Span::styled(format!("{}–{}", lost.from, lost.to), Style::new()),
            Span::styled(format!(" −{}", grouped(lost.count())), BAD),
        ])
    }));
    lines
}
