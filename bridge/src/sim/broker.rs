//! A NATS server and its clients, as far as they were seen to behave: what is written may be lost when a connection breaks, what a
//! subscription has no room for is lost, and nobody is told.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::Chance;

/// What a client has said and the server has not read.
#[derive(Clone, Debug)]
pub enum Said {
    Subscribe { number: u64, subject: String },
    Unsubscribe { number: u64 },
    Publish { subject: String, reply: String, payload: Bytes },
    Confirm { number: u64 },
}

/// What the server has said and the client has not read.
#[derive(Clone, Debug)]
pub enum Told {
    Message { number: u64, message: Message },
    Confirmed { number: u64 },
}

#[derive(Clone, Debug)]
pub struct Message {
    pub subject: String,
    pub reply: String,
    pub payload: Bytes,
}

/// A subscription, as the client knows it: what has come and nobody has taken.
#[derive(Debug, Default)]
pub struct Channel {
    pub subject: String,
    pub came: VecDeque<Message>,
    /// The client has forgotten it: what has come is all.
    pub is_closed: bool,
}

/// An answer to what was asked.
#[derive(Debug)]
struct Answer {
    number: u64,
    has_come: bool,
    /// What had come before it and is not heard yet, by subscription.
    unheard: BTreeMap<u64, usize>,
}

/// One connection, both its ends.
#[derive(Debug, Default)]
pub struct Connection {
    pub is_open: bool,
    pub said: VecDeque<Said>,
    told: VecDeque<Told>,
    /// The server's.
    subscriptions: BTreeMap<u64, String>,
    /// The client's.
    pub channels: BTreeMap<u64, Channel>,
    answers: VecDeque<Answer>,
    asked: Vec<u64>,
    room: usize,
}

impl Connection {
    /// One whose subscriptions have room for so many messages each.
    pub fn open(room: usize) -> Self {
        Self { is_open: true, room, ..Self::default() }
    }

    /// The client does something.
    pub fn say(&mut self, said: Said) {
        match &said {
            Said::Subscribe { number, subject } => {
                self.channels.insert(*number, Channel { subject: subject.clone(), ..Channel::default() });
            }
            Said::Unsubscribe { number } => {
                self.channels.entry(*number).and_modify(|channel| channel.is_closed = true);
            }
            Said::Confirm { number } => self.asked.push(*number),
            Said::Publish { .. } => {}
        }
        self.said.push_back(said);
    }

    /// What the server knows.
    pub fn known(&self) -> Vec<&str> {
        self.subscriptions.values().map(String::as_str).collect()
    }

    /// The client reads something; what a subscription has no room for is lost.
    pub fn read(&mut self) {
        match self.told.pop_front() {
            Some(Told::Message { number, message }) => {
                let channel = self.channels.get_mut(&number).filter(|channel| !channel.is_closed);
                if let Some(channel) = channel.filter(|channel| channel.came.len() < self.room) {
                    channel.came.push_back(message);
                }
            }
            Some(Told::Confirmed { number }) => {
                self.asked.retain(|asked| *asked != number);
                let unheard = self.channels.iter().map(|(number, channel)| (*number, channel.came.len())).collect();
                self.answers.push_back(Answer { number, has_come: true, unheard });
            }
            None => {}
        }
    }

    /// The next message that a subscription has brought.
    pub fn next_of(&mut self, number: u64) -> Option<Message> {
        let message = self.channels.get_mut(&number)?.came.pop_front()?;
        for answer in &mut self.answers {
            answer.unheard.entry(number).and_modify(|unheard| *unheard = unheard.saturating_sub(1));
        }
        Some(message)
    }

    /// An answer to which question, once all that came before it is heard; false: there will be none.
    pub fn next_answer(&mut self) -> Option<(u64, bool)> {
        let is_due = self.answers.front()?.unheard.values().all(|unheard| *unheard == 0);
        if is_due { self.answers.pop_front().map(|answer| (answer.number, answer.has_come)) } else { None }
    }

    pub fn has_told(&self) -> bool {
        !self.told.is_empty()
    }

    /// It breaks: of what was written a part has come through, in the middle something may be lost.
    fn cut(&mut self) {
        self.is_open = false;
        self.told.clear();
        self.subscriptions.clear();
        // Subscriptions are known to the client, and made again; requests get no answer.
        self.said.clear();
        for number in std::mem::take(&mut self.asked) {
            self.answers.push_back(Answer { number, has_come: false, unheard: BTreeMap::new() });
        }
    }

    /// It is there again: the client subscribes anew.
    fn join(&mut self) {
        self.is_open = true;
        let channels = self.channels.iter().filter(|(_, channel)| !channel.is_closed);
        self.subscriptions = channels.map(|(number, channel)| (*number, channel.subject.clone())).collect();
    }
}

/// All connections to one server.
#[derive(Debug, Default)]
pub struct Broker {
    pub connections: Vec<Connection>,
    /// A client's own messages come back to it, whatever it says.
    pub echoes: bool,
}

impl Broker {
    /// The server reads something of a connection.
    pub fn hear(&mut self, at: usize) {
        let Some(said) = self.connections[at].said.pop_front() else { return };
        match said {
            Said::Subscribe { number, subject } => _ = self.connections[at].subscriptions.insert(number, subject),
            Said::Unsubscribe { number } => _ = self.connections[at].subscriptions.remove(&number),
            Said::Confirm { number } => self.connections[at].told.push_back(Told::Confirmed { number }),
            Said::Publish { subject, reply, payload } => {
                let message = Message { subject, reply, payload };
                for (other, connection) in self.connections.iter_mut().enumerate() {
                    if other == at && !self.echoes || !connection.is_open {
                        continue;
                    }
                    let numbers = connection.subscriptions.iter().filter(|(_, by)| matches(by, &message.subject));
                    let told = numbers.map(|(number, _)| Told::Message { number: *number, message: message.clone() });
                    connection.told.extend(told);
                }
            }
        }
    }

    pub fn cut(&mut self, at: usize, chance: &mut Chance) {
        // Some of what is in the write buffer has come through.
        for _ in 0..chance.below(8) {
            self.hear(at);
        }
        self.connections[at].cut();
    }

    pub fn join(&mut self, at: usize) {
        self.connections[at].join();
    }
}

/// Whether a subject is one of a subscription's.
fn matches(by: &str, subject: &str) -> bool {
    let (mut by, mut subject) = (by.split('.'), subject.split('.'));
    loop {
        match (by.next(), subject.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(a), Some(b)) if a == b => {}
            _ => return false,
        }
    }
}
