//! Topics come, are needed, and go.

use super::*;
use crate::ingest::Reader;

const SHARD: User = User::Shard { number: 0, may_make: MayMake::WithinShare };
const OTHER: User = User::Shard { number: 1, may_make: MayMake::WithinShare };

struct Rig {
    registry: Registry,
    ring: Arc<Ring>,
    reader: Reader,
}

impl Rig {
    fn new(topics_max: u32) -> Self {
        let (ring, mut readers) = Ring::new(1 << 20, 1).expect("a legal ring");
        Rig { registry: Registry::new(topics_max), ring, reader: readers.remove(0) }
    }

    fn to(&self) -> To<'_> {
        To { ring: &self.ring, time_ns: 1, epochs: Epochs::from_random(5) }
    }

    fn open(&self, name: &str, user: User) -> Result<Opened, TopicError> {
        self.registry.open(name, user, self.to(), true)
    }

    fn id(&self, name: &str, user: User) -> TopicId {
        self.open(name, user).expect("room").id
    }

    /// What the ring tells a shard.
    fn records(&mut self) -> Vec<(RecordKind, TopicId)> {
        let mut records = Vec::new();
        while let Some(record) = self.reader.next() {
            records.push((record.head.kind, record.head.topic));
        }
        self.reader.release();
        records
    }

    fn topics(&self) -> usize {
        self.registry.lock().by_name.len()
    }

    /// Nothing more fits into the ring.
    fn fill(&self) {
        while self.ring.try_publish(&Head::message(TopicId(0), Priority::Normal, Kind::Text), &[0; 8]).is_ok() {}
    }
}

#[test]
fn a_topic_goes_with_the_last_that_needs_it_if_it_has_no_message() {
    let mut rig = Rig::new(4);
    let id = rig.id("a", SHARD);
    assert_eq!((rig.id("a", OTHER), rig.id("a", User::Handle), rig.id("a", User::Handle)), (id, id, id));
    let opened = rig.open("a", SHARD).expect("it is there");
    assert!(rig.registry.give_back("a", id, 0, rig.to()));
    rig.registry.release("a", id, false, rig.to());
    assert!(rig.registry.give_back("a", id, 1, rig.to()));
    assert_eq!((rig.topics(), opened.is_removed.load(Relaxed)), (1, false), "a handle is left");
    rig.registry.release("a", id, false, rig.to());
    assert_eq!((rig.topics(), opened.is_removed.load(Relaxed)), (0, true));
    assert_eq!(rig.records(), [(RecordKind::TopicCreated, id), (RecordKind::TopicRemoved, id)]);
}

#[test]
fn a_topic_stays_once_somebody_has_published_or_is_about_to() {
    let rig = Rig::new(4);
    let by_client = rig.id("client", SHARD);
    rig.id("client", User::Publisher);
    assert!(rig.registry.give_back("client", by_client, 0, rig.to()));
    let by_host = rig.id("host", User::Handle);
    rig.registry.release("host", by_host, true, rig.to());
    assert_eq!(rig.topics(), 2);
    assert_eq!(rig.registry.remove("host", rig.to()), Ok(true));
    assert_eq!(rig.registry.remove("host", rig.to()), Ok(false));
    // What is said of a life that is over does not touch the next.
    rig.id("host", User::Handle);
    rig.registry.release("host", by_host, false, rig.to());
    assert!(rig.registry.give_back("host", by_host, 0, rig.to()));
    assert_eq!(rig.topics(), 2);
}

#[test]
fn a_full_ring_puts_the_end_off_and_who_comes_meanwhile_keeps_the_topic() {
    let mut rig = Rig::new(4);
    let (a, b) = (rig.id("a", SHARD), rig.id("b", SHARD));
    rig.fill();
    for (name, id) in [("a", a), ("b", b), ("a", a)] {
        assert!(rig.registry.give_back(name, id, 0, rig.to()));
    }
    rig.registry.end_idle(rig.to());
    assert_eq!((rig.topics(), rig.registry.has_idle()), (2, true));
    assert_eq!(rig.id("b", OTHER), b);
    rig.records();
    rig.registry.end_idle(rig.to());
    assert_eq!((rig.topics(), rig.registry.has_idle()), (1, false));
    assert_eq!(rig.records(), [(RecordKind::TopicRemoved, a)]);
    assert!(rig.registry.give_back("b", b, 1, rig.to()));
    assert_eq!(rig.records(), [(RecordKind::TopicRemoved, b)]);
}

#[test]
fn there_are_topics_max_and_not_one_more() {
    let mut rig = Rig::new(3);
    let ids: Vec<_> = ["a", "b", "c"].iter().map(|name| rig.id(name, SHARD)).collect();
    assert_eq!(rig.open("d", SHARD).map(drop), Err(TopicError::TooMany));
    let may_not = User::Shard { number: 0, may_make: MayMake::Nothing };
    assert_eq!(rig.open("a", may_not).map(|o| (o.id, o.is_new)), Ok((ids[0], false)));
    assert!(rig.registry.give_back("c", ids[2], 0, rig.to()));
    assert_eq!(rig.open("d", SHARD).map(drop), Err(TopicError::WouldBlock), "its number waits for the shards");
    rig.records();
    assert_eq!(rig.open("e", may_not).map(drop), Err(TopicError::TooMany));
    assert_eq!(rig.id("d", SHARD), TopicId(ids[2].0 + (1 << TOPIC_INDEX_BITS)));
}

#[test]
fn subscribers_make_seven_eighths_of_all_topics_and_publishers_the_rest() {
    for (topics_max, for_subscribers) in [(1, 1), (7, 7), (8, 7), (15, 14), (16, 14), (1_000, 875)] {
        let rig = Rig::new(topics_max);
        for number in 0..for_subscribers {
            rig.id(&format!("s{number}"), SHARD);
        }
        assert_eq!(rig.open("one past", SHARD).map(drop), Err(TopicError::TooMany), "of {topics_max}");
        rig.id("s0", OTHER);
        let publishers = [User::Handle, User::Publisher, User::Shard { number: 0, may_make: MayMake::Any }];
        for (number, user) in (for_subscribers..topics_max).zip(publishers.into_iter().cycle()) {
            rig.id(&format!("p{number}"), user);
        }
        for user in publishers {
            assert_eq!(rig.open("one past", user).map(drop), Err(TopicError::TooMany), "of {topics_max}");
        }
    }
}

#[test]
fn topics_of_publishers_count_in_the_share_of_subscribers() {
    let rig = Rig::new(16);
    (0..14).for_each(|number| _ = rig.id(&format!("p{number}"), User::Publisher));
    assert_eq!(rig.open("s", SHARD).map(drop), Err(TopicError::TooMany));
    assert_eq!(rig.registry.remove("p0", rig.to()), Ok(true));
    rig.id("s", SHARD);
}

#[test]
fn a_number_that_somebody_may_hold_never_comes_again() {
    let mut rig = Rig::new(1);
    let mut seen = std::collections::HashSet::new();
    for life in 0..3 * (REUSES_MAX + 1) {
        let id = rig.id("a", User::Handle);
        assert!(seen.insert(id), "{id:?} in life {life}");
        assert_eq!(topic_index(id), life / (REUSES_MAX + 1));
        assert_eq!(rig.registry.remove("a", rig.to()), Ok(true));
        rig.records();
    }
}

#[test]
fn topics_that_end_by_themselves_use_no_number_up() {
    let mut rig = Rig::new(1);
    for _ in 0..2 * (REUSES_MAX + 1) + 5 {
        let id = rig.id("a", SHARD);
        assert_eq!(topic_index(id), 0);
        assert!(rig.registry.give_back("a", id, 0, rig.to()));
        rig.records();
    }
}

#[test]
fn the_last_index_is_the_last() {
    let rig = Rig::new(u32::MAX);
    rig.registry.lock().used = INDEXES_MAX - 1;
    assert_eq!(rig.id("a", SHARD), TopicId(INDEXES_MAX - 1));
    assert_eq!(rig.open("b", SHARD).map(drop), Err(TopicError::TooMany));
}

fn interest(rig: &Rig) -> Vec<(String, bool)> {
    std::iter::from_fn(|| rig.registry.next_interest()).map(|(text, is_wanted)| (text.to_string(), is_wanted)).collect()
}

fn said(changes: &[(&str, bool)]) -> Vec<(String, bool)> {
    changes.iter().map(|&(text, is_wanted)| (text.to_owned(), is_wanted)).collect()
}

#[test]
fn a_host_hears_of_the_first_and_the_last_of_all_shards() {
    let rig = Rig::new(8);
    let before = rig.id("before", SHARD);
    rig.id("published", User::Publisher);
    let bell = Arc::new(EventFd::new().expect("an eventfd"));
    assert!(rig.registry.begin_interest(bell.clone()));
    assert!(!rig.registry.begin_interest(bell.clone()), "one at a time");
    assert!(bell.drain(), "it rings for what is there");
    assert_eq!(interest(&rig), said(&[("before", true)]));
    rig.id("before", OTHER);
    let a = rig.id("a", OTHER);
    assert!(rig.registry.note_pattern("b/*", 0, true) && rig.registry.note_pattern("b/*", 1, true));
    assert!(bell.drain());
    assert_eq!(interest(&rig), said(&[("a", true), ("b/*", true)]));
    assert!(rig.registry.give_back("before", before, 0, rig.to()));
    assert!(rig.registry.note_pattern("b/*", 1, false) && rig.registry.note_pattern("c/**", 1, false));
    assert!(!bell.drain(), "there is somebody left");
    assert_eq!(interest(&rig), said(&[]));
    // What comes and goes is told once, as it is.
    assert!(rig.registry.give_back("a", a, 1, rig.to()));
    assert!(rig.registry.note_pattern("b/*", 0, false) && rig.registry.note_pattern("b/*", 1, true));
    rig.registry.remove("before", rig.to()).expect("room");
    assert_eq!(interest(&rig), said(&[("a", false), ("b/*", true), ("before", false)]));
    rig.registry.end_interest();
    assert!(rig.registry.note_pattern("d/*", 0, true));
    assert_eq!(interest(&rig), said(&[]));
    assert!(rig.registry.begin_interest(bell));
}
