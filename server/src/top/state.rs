//! Job: what `top` shows: the latest figures, what is chosen, and what a key does to that.
//! Knows: figures, keys. Must never know: sockets, screens.

use std::collections::VecDeque;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::said::{Client, Clients, Gap, Gaps, Shards, Topic, Topics};

/// Gaps kept, the newest first.
const GAPS_MAX: usize = 500;
/// Characters of a filter.
const FILTER_MAX: usize = 60;

/// What comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// Who is nearest to losing something.
    #[default]
    Lag,
    /// Who costs most.
    Work,
}

/// What is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    #[default]
    Clients,
    Topics,
    Gaps,
    Shards,
}

/// Where keys go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Focus {
    #[default]
    List,
    /// The filter is being typed.
    Filter,
    /// Whether this client is to be closed.
    Ask(String),
    Help,
}

/// What a key asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    None,
    Quit,
    Close(String),
}

/// How the connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    Connecting,
    Live,
    /// Why there is none; another one is made in a moment.
    Broken(String),
}

/// Rates between the last two messages.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rates {
    pub deliveries: f64,
    pub sent_bytes: f64,
    pub lost: f64,
}

/// See the module's head.
#[derive(Debug)]
pub struct State {
    pub link: Link,
    pub shards: Option<Shards>,
    pub rates: Option<Rates>,
    pub topics: Topics,
    pub clients: Clients,
    pub gaps: VecDeque<Gap>,
    pub gaps_left_out: u64,
    pub sort: Sort,
    pub view: View,
    pub focus: Focus,
    pub filter: String,
    /// The chosen row of each view.
    pub at: [usize; 4],
    /// The chosen client: it stays chosen where it moves.
    chosen: Option<String>,
    /// A line for the person, and whether it is bad news.
    pub notice: Option<(String, bool)>,
}

impl State {
    pub fn new(sort: Sort) -> Self {
        State {
            link: Link::Connecting,
            shards: None,
            rates: None,
            topics: Topics::default(),
            clients: Clients::default(),
            gaps: VecDeque::new(),
            gaps_left_out: 0,
            sort,
            view: View::default(),
            focus: Focus::default(),
            filter: String::new(),
            at: [0; 4],
            chosen: None,
            notice: None,
        }
    }

    /// Takes a message of a `$sys` topic. What cannot be read is passed over.
    pub fn take(&mut self, topic: &str, payload: &[u8]) {
        match topic {
            "$sys/shards" => parsed(payload, |shards| self.take_shards(shards)),
            "$sys/topics" => parsed(payload, |topics| self.topics = topics),
            "$sys/clients" => parsed(payload, |clients| self.clients = clients),
            "$sys/gaps" => parsed(payload, |gaps| self.take_gaps(gaps)),
            _ => {}
        }
        self.settle();
    }

    fn take_shards(&mut self, now: Shards) {
        self.rates = self.shards.as_ref().and_then(|before| {
            let seconds = now.at_ms.checked_sub(before.at_ms).filter(|ms| *ms > 0)? as f64 / 1e3;
            // Totals that shrink are those of another run.
            let per_s = |now: f64, before: f64| ((now - before) / seconds).max(0.0);
            let rate = |name| per_s(now.total(name), before.total(name));
            let (deliveries, sent_bytes) = (rate("deliveries"), rate("sent_bytes"));
            Some(Rates { deliveries, sent_bytes, lost: per_s(now.lost(), before.lost()) })
        });
        self.shards = Some(now);
    }

    fn take_gaps(&mut self, said: Gaps) {
        self.gaps_left_out += said.left_out;
        for gap in said.gaps {
            self.gaps.push_front(gap);
        }
        self.gaps.truncate(GAPS_MAX);
    }

    /// Clients as they are shown.
    pub fn clients(&self) -> Vec<&Client> {
        let clients = match self.sort {
            Sort::Lag => &self.clients.by_lag,
            Sort::Work => &self.clients.by_work,
        };
        let texts = |client: &Client| {
            let lanes = client.lanes.iter().map(|lane| lane.topic.as_str());
            let own =
                [Some(client.id.as_str()), client.peer.as_deref(), client.subject.as_deref(), client.cause.as_deref()];
            own.into_iter().flatten().chain(lanes).any(|text| self.is_meant(text))
        };
        clients.iter().filter(|client| texts(client)).collect()
    }

    /// Topics as they are shown.
    pub fn topics(&self) -> Vec<&Topic> {
        self.topics.topics.iter().filter(|topic| self.is_meant(&topic.topic)).collect()
    }

    /// Gaps as they are shown.
    pub fn gaps(&self) -> Vec<&Gap> {
        let is_meant = |gap: &&Gap| self.is_meant(&gap.client) || self.is_meant(&gap.lost.topic);
        self.gaps.iter().filter(is_meant).collect()
    }

    fn is_meant(&self, text: &str) -> bool {
        self.filter.is_empty() || text.to_lowercase().contains(&self.filter.to_lowercase())
    }

    /// The chosen client.
    pub fn client(&self) -> Option<&Client> {
        self.clients().get(self.at[View::Clients as usize]).copied()
    }

    fn rows(&self) -> usize {
        match self.view {
            View::Clients => self.clients().len(),
            View::Topics => self.topics().len(),
            View::Gaps => self.gaps().len(),
            View::Shards => self.shards.as_ref().map_or(0, |shards| shards.shards.len()),
        }
    }

    /// The chosen client stays chosen where it moves; else its place does.
    fn settle(&mut self) {
        if let Some(id) = &self.chosen
            && let Some(at) = self.clients().iter().position(|client| client.id == *id)
        {
            self.at[View::Clients as usize] = at;
        }
        let last = self.rows().saturating_sub(1);
        let at = &mut self.at[self.view as usize];
        *at = (*at).min(last);
    }

    fn choose(&mut self, at: usize) {
        self.at[self.view as usize] = at.min(self.rows().saturating_sub(1));
        self.chosen = self.client().map(|client| client.id.clone());
    }

    /// Does what a key asks for.
    pub fn on_key(&mut self, key: KeyEvent) -> Action {
        if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
            return Action::Quit;
        }
        self.notice = None;
        match std::mem::take(&mut self.focus) {
            Focus::Filter => self.on_filter_key(key.code),
            Focus::Ask(id) if matches!(key.code, KeyCode::Char('y' | 'Y')) => return Action::Close(id),
            // Whatever it was that was pressed: it was no yes.
            Focus::Ask(_) | Focus::Help => {}
            Focus::List => return self.on_list_key(key.code),
        }
        Action::None
    }

    fn on_filter_key(&mut self, code: KeyCode) {
        self.focus = Focus::Filter;
        match code {
            KeyCode::Enter => self.focus = Focus::List,
            KeyCode::Esc => {
                self.filter.clear();
                self.focus = Focus::List;
            }
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char(c) if self.filter.chars().count() < FILTER_MAX => self.filter.push(c),
            _ => {}
        }
        self.settle();
    }

    fn on_list_key(&mut self, code: KeyCode) -> Action {
        const PAGE: usize = 10;
        let at = self.at[self.view as usize];
        match code {
            KeyCode::Char('q') => return Action::Quit,
            KeyCode::Char('?' | 'h') => self.focus = Focus::Help,
            KeyCode::Char('/') => self.focus = Focus::Filter,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Char('s') => self.sort = if self.sort == Sort::Lag { Sort::Work } else { Sort::Lag },
            KeyCode::Char('1') => self.view = View::Clients,
            KeyCode::Char('2') => self.view = View::Topics,
            KeyCode::Char('3') => self.view = View::Gaps,
            KeyCode::Char('4') => self.view = View::Shards,
            KeyCode::Tab => self.view = next(self.view),
            KeyCode::Down | KeyCode::Char('j') => self.choose(at + 1),
            KeyCode::Up | KeyCode::Char('k') => self.choose(at.saturating_sub(1)),
            KeyCode::PageDown => self.choose(at + PAGE),
            KeyCode::PageUp => self.choose(at.saturating_sub(PAGE)),
            KeyCode::Home | KeyCode::Char('g') => self.choose(0),
            KeyCode::End | KeyCode::Char('G') => self.choose(usize::MAX),
            KeyCode::Char('c') if self.view == View::Clients => {
                if let Some(client) = self.client() {
                    self.focus = Focus::Ask(client.id.clone());
                }
            }
            _ => {}
        }
        self.settle();
        Action::None
    }
}

fn next(view: View) -> View {
    match view {
        View::Clients => View::Topics,
        View::Topics => View::Gaps,
        View::Gaps => View::Shards,
        View::Shards => View::Clients,
    }
}

fn parsed<T: serde::de::DeserializeOwned>(payload: &[u8], take: impl FnOnce(T)) {
    match serde_json::from_slice(payload) {
        Ok(said) => take(said),
        Err(error) => tracing::debug!("a $sys message that cannot be read: {error}"),
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
