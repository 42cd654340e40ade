//! What clients asked for that their memberships cannot tell: patterns, names of topics that are not there yet, and the ids of requests
//! whose `subscribed` is still to be sent.
//!
//! Equal texts of all connections share one entry, so a new topic is matched against each text once.

use std::collections::BTreeSet;

use super::matching::{Matched, Matching, Ordered};
use super::pairs::{LISTED_MAX, Pairs};
use super::walk::Places;
use crate::proto::topic::Pattern;
use crate::shard::budget::Budget;
use crate::shard::options::Options;
use crate::shard::pieces::Pieces;
use crate::shard::table::{NONE, Table};
use crate::shard::topics::level_order;

/// One connection's subscription.
#[derive(Debug)]
pub struct Subscription {
    /// The connection.
    pub slot: u32,
    /// Its text's entry; [`NONE`] once no new topic is wanted for it.
    pub entry: u32,
    /// Topics made before it was there, hence found by its own walk; later ones are brought to it.
    pub since_number: u64,
    /// The `id` of the request as it was written, to be echoed in `subscribed`.
    pub id: Option<Box<[u8]>>,
    /// What else the request asked for.
    pub options: Options,
    /// Its own walk ended here, for want of cursors: what lies behind was not joined.
    pub ended_at: Option<Box<[u8]>>,
    /// It counts against the connection's limit.
    pub is_counted: bool,
    /// It was never more than an id to be told.
    pub is_id_only: bool,
    /// The connection's next, and the one before (of the first, the last).
    next: u32,
    prev: u32,
    /// The next of the same text, and the one before.
    next_of_text: u32,
    prev_of_text: u32,
}

#[derive(Debug)]
struct Text {
    text: Box<str>,
    first: u32,
}

/// One connection's subscriptions.
#[derive(Clone, Copy, Debug)]
pub struct List {
    first: u32,
    len: u32,
    /// Those that count against the limit, and memberships by name.
    pub counted: u32,
}

impl Default for List {
    fn default() -> Self {
        Self { first: NONE, len: 0, counted: 0 }
    }
}

impl List {
    /// True if there are none.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.first == NONE
    }

    /// One of them.
    pub fn first(&self) -> Option<u32> {
        (self.first != NONE).then_some(self.first)
    }
}

/// See the module's head.
pub struct Asked {
    records: Table<Subscription>,
    texts: Table<Text>,
    by_text: Pieces<Box<str>, u32>,
    patterns: Ordered,
    of: Pairs,
    /// Where walks over all of a connection's stand.
    pub places: Places,
    bytes: usize,
    /// Somebody hears which patterns there are.
    tells_patterns: bool,
    /// Those that are to be told of, or that are no more.
    changed: BTreeSet<Box<str>>,
}

impl Default for Asked {
    fn default() -> Self {
        Self {
            records: Table::new(NONE - 1),
            texts: Table::new(NONE - 1),
            by_text: Pieces::default(),
            patterns: Ordered::new(),
            of: Pairs::default(),
            places: Places::default(),
            bytes: 0,
            tells_patterns: false,
            changed: BTreeSet::new(),
        }
    }
}

/// What one subscription takes beyond its text and id.
const RECORD_BYTES: usize = size_of::<Subscription>() + 2 * size_of::<(u32, u32, u32)>();
/// What one text takes beyond its own bytes, three times.
const TEXT_BYTES: usize = size_of::<Text>() + 2 * (size_of::<Box<str>>() + 2 * size_of::<u64>());

impl Asked {
    /// Memory of all this.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// A subscription.
    pub fn get(&self, id: u32) -> &Subscription {
        &self.records[id]
    }

    /// A subscription that is to be changed.
    pub fn get_mut(&mut self, id: u32) -> &mut Subscription {
        &mut self.records[id]
    }

    /// What a connection asked for in these words.
    pub fn find(&self, list: &List, slot: u32, text: &str) -> Option<u32> {
        let entry = *self.by_text.get(text)?;
        if list.len > LISTED_MAX {
            return self.of.find(slot, entry);
        }
        self.ids(list).find(|&id| self.records[id].entry == entry)
    }

    fn ids(&self, list: &List) -> impl Iterator<Item = u32> {
        std::iter::successors(list.first(), |&id| Some(self.records[id].next).filter(|&n| n != NONE))
    }

    /// Adds a subscription to a name (that is no topic yet) or a pattern.
    pub fn insert(
        &mut self,
        list: &mut List,
        slot: u32,
        text: &str,
        since_number: u64,
        id: Option<Box<[u8]>>,
        options: Options,
    ) -> Option<u32> {
        let entry = self.entry(text)?;
        let record = self.add(list, slot, entry, since_number, id, options)?;
        list.counted += 1;
        self.records[record].is_counted = true;
        let first = self.texts[entry].first;
        self.records[record].next_of_text = first;
        if first != NONE {
            self.records[first].prev_of_text = record;
        }
        self.texts[entry].first = record;
        Some(record)
    }

    /// Keeps the id of a request for a topic that is there, until it has been announced.
    pub fn insert_id(&mut self, list: &mut List, slot: u32, id: Box<[u8]>, options: Options) -> Option<u32> {
        self.add(list, slot, NONE, 0, Some(id), options)
    }

    fn add(
        &mut self,
        list: &mut List,
        slot: u32,
        entry: u32,
        since_number: u64,
        id: Option<Box<[u8]>>,
        options: Options,
    ) -> Option<u32> {
        self.bytes += RECORD_BYTES + id.as_ref().map_or(0, |id| id.len());
        let record = self.records.insert(Subscription {
            slot,
            entry,
            since_number,
            id,
            options,
            ended_at: None,
            is_counted: false,
            is_id_only: entry == NONE,
            next: list.first,
            prev: NONE,
            next_of_text: NONE,
            prev_of_text: NONE,
        })?;
        if list.first != NONE {
            self.records[list.first].prev = record;
        }
        list.first = record;
        list.len += 1;
        self.places.on_added_in_front(slot, record);
        // What is kept for its id alone makes a list longer, but has no text to be found by.
        let listed: Vec<u32> = match list.len {
            n if n == LISTED_MAX + 1 => self.ids(list).filter(|&id| self.records[id].entry != NONE).collect(),
            n if n > LISTED_MAX && entry != NONE => vec![record],
            _ => Vec::new(),
        };
        for id in listed {
            self.of.insert(slot, self.records[id].entry, id);
        }
        Some(record)
    }

    fn entry(&mut self, text: &str) -> Option<u32> {
        if let Some(&entry) = self.by_text.get(text) {
            return Some(entry);
        }
        let entry = self.texts.insert(Text { text: text.into(), first: NONE })?;
        self.by_text.insert(text.into(), entry);
        if Pattern::parse(text).is_ok_and(|p| !p.is_literal()) {
            self.patterns.insert(level_order(text), entry);
            self.note_changed(text);
        }
        self.bytes += TEXT_BYTES + self.copies() * text.len();
        Some(entry)
    }

    /// How many times a text is held: three more by what is told of patterns, here and in the names.
    fn copies(&self) -> usize {
        if self.tells_patterns { 6 } else { 3 }
    }

    fn note_changed(&mut self, text: &str) {
        if self.tells_patterns {
            self.changed.insert(text.into());
        }
    }

    /// Patterns are told of from now on, those that are there included, or no more. As many steps as there are texts.
    pub fn tell_patterns(&mut self, tells: bool) {
        let is_pattern = |text: &str| Pattern::parse(text).is_ok_and(|pattern| !pattern.is_literal());
        let texts: usize = self.by_text.keys().map(|text| text.len()).sum();
        self.bytes -= self.copies() * texts;
        self.tells_patterns = tells;
        self.bytes += self.copies() * texts;
        self.changed = match tells {
            true => self.by_text.keys().filter(|text| is_pattern(text)).cloned().collect(),
            false => BTreeSet::new(),
        };
    }

    /// A pattern that is to be told of, and whether anybody here has subscribed to it.
    pub fn next_changed(&mut self) -> Option<(Box<str>, bool)> {
        let text = self.changed.pop_first()?;
        let is_wanted = self.by_text.contains_key(&text);
        Some((text, is_wanted))
    }

    /// It could not be told.
    pub fn tell_again(&mut self, text: Box<str>) {
        self.changed.insert(text);
    }

    /// Whether there are any.
    pub fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Changes the id of a request's answers. Returns the one before.
    pub fn set_id(&mut self, record: u32, id: Option<Box<[u8]>>) -> Option<Box<[u8]>> {
        let len = |id: &Option<Box<[u8]>>| id.as_ref().map_or(0, |id| id.len());
        let now = len(&id);
        let before = std::mem::replace(&mut self.records[record].id, id);
        self.bytes = self.bytes + now - len(&before);
        before
    }

    /// A subscription's text, while new topics are wanted for it.
    pub fn text(&self, record: u32) -> &str {
        let entry = self.records[record].entry;
        if entry == NONE { "" } else { &self.texts[entry].text }
    }

    /// The next subscription of the same connection.
    pub fn next_of_list(&self, record: u32) -> u32 {
        self.records[record].next
    }

    /// No new topic is wanted for a subscription any more. Returns the next of the same text.
    pub fn close(&mut self, list: &mut List, record: u32) -> u32 {
        let Subscription { slot, entry, next_of_text, prev_of_text, is_counted, .. } = self.records[record];
        if entry == NONE {
            return NONE;
        }
        if list.len > LISTED_MAX {
            self.of.remove(slot, entry);
        }
        list.counted -= u32::from(is_counted);
        if prev_of_text == NONE {
            self.texts[entry].first = next_of_text;
        } else {
            self.records[prev_of_text].next_of_text = next_of_text;
        }
        if next_of_text != NONE {
            self.records[next_of_text].prev_of_text = prev_of_text;
        }
        let closed = &mut self.records[record];
        (closed.entry, closed.is_counted) = (NONE, false);
        (closed.next_of_text, closed.prev_of_text) = (NONE, NONE);
        if self.texts[entry].first == NONE {
            let text = std::mem::take(&mut self.texts[entry].text);
            self.by_text.remove(&text);
            if self.patterns.remove(&level_order(&text)).is_some() {
                self.note_changed(&text);
            }
            self.texts.remove(entry);
            self.bytes -= TEXT_BYTES + self.copies() * text.len();
        }
        next_of_text
    }

    /// Forgets a subscription. Returns the next of the same text.
    pub fn remove(&mut self, list: &mut List, record: u32) -> u32 {
        let next_of_text = self.close(list, record);
        let Subscription { slot, next, prev, .. } = self.records[record];
        self.places.on_removed(slot, record, next);
        if prev == NONE {
            list.first = next;
        } else {
            self.records[prev].next = next;
        }
        if next != NONE {
            self.records[next].prev = prev;
        }
        list.len -= 1;
        if list.len == LISTED_MAX {
            // The rest is walked again.
            let entries: Vec<u32> = self.ids(list).map(|id| self.records[id].entry).collect();
            entries.into_iter().filter(|&entry| entry != NONE).for_each(|entry| self.of.remove(slot, entry));
        }
        self.bytes -= RECORD_BYTES + self.records[record].id.take().map_or(0, |id| id.len());
        self.records[record].ended_at = None;
        self.records.remove(record);
        next_of_text
    }

    /// The first subscription to a name.
    pub fn first_by_name(&self, name: &str) -> u32 {
        self.by_text.get(name).map_or(NONE, |&entry| self.texts[entry].first)
    }

    /// The first subscription of the next pattern that matches.
    pub fn first_by_pattern(&self, matching: &mut Matching, budget: &mut Budget) -> Option<u32> {
        match matching.next(&self.patterns, budget) {
            Matched::Pattern(entry) => Some(self.texts[entry].first),
            Matched::End => Some(NONE),
            Matched::Spent => None,
        }
    }

    /// The next subscription of the same text.
    pub fn next_of_text(&self, record: u32) -> u32 {
        self.records[record].next_of_text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_forgotten_leaves_nothing_behind() {
        let mut asked = Asked::default();
        let mut lists = [List::default(); 3];
        let texts: Vec<String> = (0..40).map(|n| format!("level{n}/*")).chain(["name".into()]).collect();
        for (slot, list) in (0..).zip(&mut lists) {
            for text in &texts {
                let id = Some(b"1".as_slice().into());
                asked.insert(list, slot, text, 0, id, Options::default()).expect("room");
            }
        }
        assert_eq!(lists[1].counted, 41);
        for text in &texts {
            let found = asked.find(&lists[1], 1, text).expect("it is there");
            assert_eq!((asked.get(found).slot, asked.text(found)), (1, &**text));
        }
        assert_eq!(asked.find(&lists[1], 1, "else"), None);
        for (slot, list) in (0..).zip(&mut lists) {
            for (n, text) in texts.iter().enumerate() {
                let found = asked.find(list, slot, text).unwrap_or_else(|| panic!("{text} of {slot}"));
                if n % 2 == 0 {
                    asked.close(list, found);
                    assert_eq!((asked.find(list, slot, text), asked.text(found)), (None, ""));
                }
                asked.remove(list, found);
                assert_eq!(asked.find(list, slot, text), None);
            }
            assert!(list.is_empty() && list.counted == 0);
        }
        assert_eq!((asked.bytes(), asked.by_text.len(), asked.patterns.len()), (0, 0, 0));
        assert_eq!((asked.records.len(), asked.texts.len()), (0, 0));
    }

    #[test]
    fn texts_are_found_whatever_is_kept_beside_them_for_its_id_alone() {
        for others in 0..3 * LISTED_MAX {
            let (mut asked, mut list) = (Asked::default(), List::default());
            let texts: Vec<String> = (0..LISTED_MAX).map(|n| format!("level{n}/*")).collect();
            let (before, after) = texts.split_at(texts.len() / 2);
            let insert = |asked: &mut Asked, list: &mut List, texts: &[String]| {
                texts.iter().for_each(|text| _ = asked.insert(list, 7, text, 0, None, Options::default()));
            };
            insert(&mut asked, &mut list, before);
            let id = || -> Box<[u8]> { b"1".as_slice().into() };
            let ids: Vec<Option<u32>> =
                (0..others).map(|_| asked.insert_id(&mut list, 7, id(), Options::default())).collect();
            insert(&mut asked, &mut list, after);
            let are_found = |asked: &Asked, list: &List| texts.iter().all(|text| asked.find(list, 7, text).is_some());
            assert!(are_found(&asked, &list), "beside {others}");
            for record in ids.into_iter().flatten() {
                asked.remove(&mut list, record);
                assert!(are_found(&asked, &list), "beside fewer than {others}");
            }
            for text in &texts {
                let record = asked.find(&list, 7, text).expect("it is there");
                asked.remove(&mut list, record);
            }
            assert_eq!((asked.bytes(), asked.records.len()), (0, 0));
        }
    }

    #[test]
    fn all_subscriptions_to_a_text_are_found_from_its_first() {
        let (mut asked, mut lists) = (Asked::default(), [List::default(); 5]);
        for (slot, list) in (0..).zip(&mut lists) {
            asked.insert(list, slot, "a/*", 0, None, Options::default());
        }
        let slots = |asked: &Asked| {
            let mut budget = Budget::new(1_000);
            let first = asked.first_by_pattern(&mut Matching::new("a/b"), &mut budget).expect("budget");
            let some = |record: u32| (record != NONE).then_some(record);
            let all = std::iter::successors(some(first), |&r| some(asked.next_of_text(r)));
            all.map(|r| asked.get(r).slot).collect::<Vec<_>>()
        };
        assert_eq!(slots(&asked), [4, 3, 2, 1, 0]);
        for slot in [2usize, 4, 0] {
            let record = asked.find(&lists[slot], slot as u32, "a/*").expect("it is there");
            asked.remove(&mut lists[slot], record);
        }
        assert_eq!(slots(&asked), [3, 1]);
    }

    #[test]
    fn patterns_are_told_of_when_they_come_and_go_while_somebody_hears() {
        let (mut asked, mut lists) = (Asked::default(), [List::default(); 2]);
        let none = Options::default();
        asked.insert(&mut lists[0], 0, "a/*", 0, None, none).expect("room");
        asked.insert(&mut lists[0], 0, "name", 0, None, none).expect("room");
        assert!(!asked.has_changed(), "nobody hears");
        asked.tell_patterns(true);
        asked.insert(&mut lists[1], 1, "a/*", 0, None, none).expect("room");
        let b = asked.insert(&mut lists[1], 1, "b/**", 0, None, none).expect("room");
        let said = |asked: &mut Asked| std::iter::from_fn(|| asked.next_changed()).collect::<Vec<_>>();
        assert_eq!(said(&mut asked), [("a/*".into(), true), ("b/**".into(), true)]);
        asked.remove(&mut lists[1], b);
        let a = asked.find(&lists[1], 1, "a/*").expect("it is there");
        asked.remove(&mut lists[1], a);
        assert_eq!(said(&mut asked), [("b/**".into(), false)]);
        asked.tell_again("b/**".into());
        assert!(asked.has_changed());
        asked.tell_patterns(false);
        assert!(!asked.has_changed());
        for text in ["a/*", "name"] {
            let record = asked.find(&lists[0], 0, text).expect("it is there");
            asked.remove(&mut lists[0], record);
        }
        assert_eq!(asked.bytes(), 0);
    }
}
