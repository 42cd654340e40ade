//! A shard that the ring has passed over comes back, and lets others come back: [`readmission`](crate::shard::readmission), turn by turn.

use crate::driver::Driver;
use crate::ingest::Reader;
use crate::log::Edge;
use crate::shard::readmission::{ASK_AGAIN_NS, Absence, Notes, TOPICS_PER_TURN, TopicNotes};
use crate::shard::table::NONE;
use crate::shard::{Command, Shard};
use crate::types::{Priority, TopicId};

impl<D: Driver> Shard<D> {
    /// What is to be done before the ring is read. False: it is not to be read in this turn.
    pub(super) fn may_read(&mut self, reader: &mut Reader) -> bool {
        if reader.is_passed_over() {
            self.come_back(reader);
        }
        self.find_notes();
        self.catch_up();
        self.take_down_for_another(reader);
        !self.readmission.holds_reader() && !reader.is_passed_over()
    }

    /// Asks to be let in again, or sees that it is.
    fn come_back(&mut self, reader: &mut Reader) {
        if let Some(at) = reader.rejoin() {
            tracing::warn!("shard {} had stood still: it goes on, its clients have lost messages", self.number);
            self.readmission.asked = 0;
            self.readmission.absence = Absence::Awaits { at };
            return;
        }
        let now_ns = self.pace.now_ns;
        if self.readmission.due_ns().is_some_and(|at_ns| now_ns < at_ns) || reader.is_finished() {
            return;
        }
        self.readmission.absence = Absence::Asks { at_ns: now_ns + ASK_AGAIN_NS };
        let shards = self.shared.mailboxes.len();
        if shards == 1 {
            return;
        }
        let other = (self.number as usize + 1 + self.readmission.asked % (shards - 1)) % shards;
        self.readmission.asked += 1;
        // A full mailbox is one of a shard that does not answer either: the next one is asked.
        let _ = self.shared.mailboxes[other].commands.push(Command::LetIn { shard: self.number });
        self.shared.ring.wake_reader(other);
    }

    /// Another shard asks to be let in.
    pub(super) fn on_let_in(&mut self, shard: u8) {
        let Some(reader) = &self.ears.reader else { return };
        if self.readmission.helps.is_none() && !self.shared.ring.awaits(shard.into()) && !reader.is_passed_over() {
            let notes = Notes::new(reader.standing(), self.topics.created());
            self.readmission.helps = Some((shard, notes, 0));
        }
    }

    /// Another shard has taken down what it knows.
    pub(super) fn on_notes(&mut self, notes: Notes) {
        if matches!(self.readmission.absence, Absence::Asks { .. } | Absence::Awaits { .. }) {
            self.readmission.received.push(notes);
        }
    }

    /// Whoever lets a shard in has put the notes into its mailbox before; of several, those hold that were taken at its place.
    fn find_notes(&mut self) {
        let Absence::Awaits { at } = self.readmission.absence else { return };
        let received = std::mem::take(&mut self.readmission.received);
        if let Some(notes) = received.into_iter().find(|notes| notes.at == at) {
            self.readmission.absence = Absence::CatchesUp { notes, gone: 0, known: 0 };
        }
    }

    fn take_down_for_another(&mut self, reader: &mut Reader) {
        let Some((shard, mut notes, from)) = self.readmission.helps.take() else { return };
        if reader.is_passed_over() {
            return;
        }
        self.pace.work.requests.spend(TOPICS_PER_TURN);
        let to = (from + TOPICS_PER_TURN).min(self.topics.places());
        notes.take(from..to, &self.topics, &self.lanes);
        if to < self.topics.places() {
            self.readmission.helps = Some((shard, notes, to));
            return;
        }
        // First the notes, then the entry: whoever is in finds them. A full mailbox is asked for again.
        let mailbox = &self.shared.mailboxes[shard as usize];
        if mailbox.commands.push(Command::Notes(Box::new(notes))).is_ok() {
            reader.readmit(shard.into());
        }
        self.shared.ring.wake_reader(shard.into());
    }

    /// Compares a piece of what this shard knows with what was taken down.
    fn catch_up(&mut self) {
        if !matches!(self.readmission.absence, Absence::CatchesUp { .. }) {
            return;
        }
        let Absence::CatchesUp { notes, mut gone, mut known } = std::mem::take(&mut self.readmission.absence) else {
            return;
        };
        let mut left = TOPICS_PER_TURN;
        self.pace.work.requests.spend(2 * left);
        while left > 0 && gone < self.topics.places() {
            if let Some(topic) = self.topics.get(gone)
                && !notes.has(topic.id)
            {
                self.on_topic_removed(topic.id);
            }
            (gone, left) = (gone + 1, left - 1);
        }
        // Another topic may have the place of one that is gone.
        while left > 0 && self.topics.leaving().is_empty() && (known as usize) < notes.topics.len() {
            self.learn(&notes.topics[known as usize]);
            (known, left) = (known + 1, left - 1);
        }
        if (known as usize) < notes.topics.len() || gone < self.topics.places() {
            self.readmission.absence = Absence::CatchesUp { notes, gone, known };
        } else {
            self.topics.set_created(notes.created);
        }
    }

    /// Brings one topic to where it is: makes it, if it is new, and gives up what was published on it meanwhile.
    fn learn(&mut self, noted: &TopicNotes) {
        if self.topics.find(noted.id).is_none() {
            self.topics.set_created(noted.number);
            self.on_topic_created(noted.id, noted.name.as_bytes(), noted.epoch);
        }
        for priority in Priority::ALL {
            let end = noted.ends[priority as usize];
            if end != Edge::START {
                self.skip_to(noted.id, priority, end);
            }
        }
    }

    fn skip_to(&mut self, id: TopicId, priority: Priority, end: Edge) {
        let Some(topic) = self.topics.by_id(id) else { return };
        let mut lane = topic.lanes[priority as usize];
        if lane == NONE {
            let Some(made) = self.make_lane(id, priority) else { return };
            lane = made;
        }
        self.lanes.skip_to(lane, end);
        self.apply_effects();
    }
}

#[cfg(test)]
impl<D: Driver> Shard<D> {
    /// The last number of a lane.
    pub fn last_number(&self, topic: &str, priority: Priority) -> u64 {
        let topic = self.topics.names().find(topic).and_then(|index| self.topics.get(index)).expect("a topic");
        self.lanes.source(topic.lanes[priority as usize]).log.last_seq().0
    }

    /// How many topics there are.
    pub fn topics_known(&self) -> usize {
        self.topics.names().len()
    }
}
