//! The shard's end of outlets: which topics each is for, and which message of a lane it was given last.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::ingest::{Body, PayloadPool, Record};
use crate::log::{Position, Seq};
use crate::outlet::{FLAG_FORWARDED, OUTLETS_MAX, Outflow, OutletMessage};
use crate::proto::topic::Pattern;
use crate::types::{Priority, TopicId};

/// An outlet that the host has asked for.
#[derive(Debug)]
pub struct Wanted {
    /// Its topics.
    pub topics: Vec<Pattern>,
    /// The queue.
    pub outflow: Arc<Outflow>,
    /// What came from another engine is not for it.
    pub leaves_out_forwarded: bool,
}

/// How far an outlet is in a lane.
#[derive(Clone, Copy, Debug)]
struct Last {
    /// The last message that it was given.
    position: Position,
    /// Those behind it that were not for it.
    left_out: u64,
}

#[derive(Debug)]
struct Open {
    wanted: Wanted,
    /// Of topics that had a message: of each lane that had one, how far it is; `None` where it is not for this outlet.
    topics: HashMap<TopicId, Option<[Option<Last>; Priority::ALL.len()]>>,
    rang: bool,
}

/// See the module's head.
#[derive(Debug, Default)]
pub struct Outlets {
    open: Vec<Open>,
}

/// A topic, as outlets see it.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a> {
    /// Its name.
    pub name: &'a Arc<str>,
    /// The epoch of its numbering.
    pub epoch: u64,
}

impl Outlets {
    /// True if there are none: nothing is to be done for a message.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// One more, for what is read from now on. Beyond [`OUTLETS_MAX`] it is dropped: the engine allows no more.
    pub fn add(&mut self, wanted: Wanted) {
        self.open.retain(|open| !open.wanted.outflow.is_closed());
        if self.open.len() < OUTLETS_MAX {
            self.open.push(Open { wanted, topics: HashMap::new(), rang: false });
        }
    }

    /// A message was read. Returns how many patterns were looked at.
    pub fn hand_over(
        &mut self,
        topic: Named<'_>,
        (position, seq): (Position, Seq),
        record: &Record<'_>,
        payloads: &PayloadPool,
    ) -> usize {
        let Record { head, body, attributes, .. } = record;
        let is_forwarded = head.flags & FLAG_FORWARDED != 0;
        let mut looks = 0;
        for open in &mut self.open {
            let Open { wanted, topics, rang } = open;
            let lasts = topics.entry(head.topic).or_insert_with(|| {
                looks += wanted.topics.len();
                wanted.topics.iter().any(|pattern| pattern.matches(topic.name)).then_some([None; 4])
            });
            let Some(lasts) = lasts else { continue };
            let last = &mut lasts[head.priority as usize];
            // The first that this outlet sees of the lane: what was before it is not missing.
            let previous = position.back(1);
            let before = *last.get_or_insert(Last { position: previous, left_out: 0 });
            if is_forwarded && wanted.leaves_out_forwarded {
                *last = Some(Last { left_out: before.left_out + 1, ..before });
                continue;
            }
            if !wanted.outflow.has_room(body.bytes().len() + attributes.len()) {
                wanted.outflow.lose();
                continue;
            }
            let payload = match body {
                Body::Shared(payload) => Some((*payload).clone()),
                Body::Inline(bytes) => payloads.copy_from(bytes),
            };
            // Where nothing was said, nothing is taken.
            let said = if attributes.is_empty() { Some(None) } else { payloads.copy_from(attributes).map(Some) };
            let (Some(payload), Some(attributes)) = (payload, said) else {
                wanted.outflow.lose();
                continue;
            };
            wanted.outflow.push(OutletMessage {
                topic: topic.name.clone(),
                epoch: topic.epoch,
                priority: head.priority,
                seq: seq.0,
                missed: previous - before.position - before.left_out,
                kind: head.payload_kind,
                time_ns: head.time_ns,
                key: head.key,
                ttl: (head.ttl_ms != 0).then(|| Duration::from_millis(head.ttl_ms.into())),
                is_forwarded,
                attributes,
                payload,
            });
            *last = Some(Last { position, left_out: 0 });
            *rang = true;
        }
        looks
    }

    /// A topic is gone.
    pub fn forget(&mut self, topic: TopicId) {
        self.open.iter_mut().for_each(|open| _ = open.topics.remove(&topic));
    }

    /// Rings where there is something new, and forgets outlets that the host has dropped.
    pub fn flush(&mut self) {
        self.open.retain(|open| !open.wanted.outflow.is_closed());
        for open in &mut self.open {
            if std::mem::take(&mut open.rang) {
                open.wanted.outflow.ring();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::Head;
    use crate::outlet::Outlet;
    use crate::types::Kind;

    struct Rig {
        outlets: Outlets,
        outlet: Outlet,
        payloads: PayloadPool,
    }

    impl Rig {
        fn new(patterns: &[&str], messages_max: usize, bytes_max: usize) -> Self {
            let outflow = Arc::new(Outflow::new(messages_max, bytes_max).expect("an eventfd"));
            let topics = patterns.iter().map(|text| Pattern::parse(text).expect("a pattern")).collect();
            let mut outlets = Outlets::default();
            outlets.add(Wanted { topics, outflow: outflow.clone(), leaves_out_forwarded: true });
            Rig {
                outlets,
                outlet: Outlet::new(outflow, &Arc::default()).expect("the first"),
                payloads: PayloadPool::new(1 << 20),
            }
        }

        fn says(&mut self, id: u32, name: &str, priority: Priority, seq: u64, bytes: usize) {
            self.says_numbered(id, name, priority, (seq, seq), bytes);
        }

        /// The message at a position, with a number of its own.
        fn says_numbered(
            &mut self,
            id: u32,
            name: &str,
            priority: Priority,
            (position, seq): (u64, u64),
            bytes: usize,
        ) {
            let head = Head::message(TopicId(id), priority, Kind::Text);
            self.hand_over(head, name, (position, seq), bytes);
        }

        /// One that came from another engine.
        fn forwards(&mut self, seq: u64) {
            let head = Head { flags: FLAG_FORWARDED, ..Head::message(TopicId(1), Priority::Normal, Kind::Text) };
            self.hand_over(head, "a", (seq, seq), 10);
        }

        fn hand_over(&mut self, head: Head, name: &str, (position, seq): (u64, u64), bytes: usize) {
            let at = (Position(position), Seq(seq));
            let named = Named { name: &name.into(), epoch: 5 };
            let payload = vec![b'x'; bytes];
            let record = Record { position: Default::default(), head, body: Body::Inline(&payload), attributes: b"" };
            self.outlets.hand_over(named, at, &record, &self.payloads);
        }

        /// A message of topic `a` with attributes.
        fn says_with(&mut self, seq: u64, attributes: &[u8], bytes: usize) {
            let head = Head::message(TopicId(1), Priority::Low, Kind::Text);
            let at = (Position(seq), Seq(seq));
            let payload = vec![b'x'; bytes];
            let record = Record { position: Default::default(), head, body: Body::Inline(&payload), attributes };
            self.outlets.hand_over(Named { name: &"a".into(), epoch: 5 }, at, &record, &self.payloads);
        }

        /// Number, and how many are missing before it.
        fn heard(&mut self) -> Vec<(u64, u64)> {
            std::iter::from_fn(|| self.outlet.next()).map(|m| (m.seq, m.missed)).collect()
        }
    }

    #[test]
    fn what_finds_no_room_is_missing_before_the_next_of_its_lane() {
        let mut rig = Rig::new(&["a/*"], 2, 1_000);
        for seq in 7..=11 {
            rig.says(1, "a/b", Priority::Normal, seq, 10);
        }
        rig.says(1, "a/b", Priority::High, 1, 10);
        rig.says(2, "other", Priority::Normal, 1, 10);
        assert_eq!((rig.heard(), rig.outlet.lost()), (vec![(7, 0), (8, 0)], 4));
        rig.says(1, "a/b", Priority::Normal, 12, 10);
        // The ring has passed the shard over for 13 and 14.
        rig.says(1, "a/b", Priority::Normal, 15, 10);
        assert_eq!(rig.heard(), [(12, 3), (15, 2)]);
        rig.says(1, "a/b", Priority::High, 2, 10);
        assert_eq!(rig.heard(), [(2, 1)]);
    }

    #[test]
    fn what_is_left_out_is_neither_handed_over_nor_missing() {
        let mut rig = Rig::new(&["a"], 2, 1_000);
        rig.forwards(1);
        rig.says(1, "a", Priority::Normal, 2, 10);
        rig.forwards(3);
        rig.forwards(4);
        rig.says(1, "a", Priority::Normal, 5, 10);
        // No room for one between two that are left out.
        rig.forwards(6);
        rig.says(1, "a", Priority::Normal, 7, 10);
        rig.forwards(8);
        assert_eq!((rig.heard(), rig.outlet.lost()), (vec![(2, 0), (5, 0)], 1));
        rig.says(1, "a", Priority::Normal, 9, 10);
        assert_eq!(rig.heard(), [(9, 1)]);
    }

    #[test]
    fn what_is_missed_are_messages_and_not_numbers() {
        let mut rig = Rig::new(&["a"], 2, 1_000);
        for (position, seq) in [(1, 100), (2, 200), (3, 201), (4, 7_000)] {
            rig.says_numbered(1, "a", Priority::Normal, (position, seq), 10);
        }
        assert_eq!(rig.heard(), [(100, 0), (200, 0)]);
        rig.says_numbered(1, "a", Priority::Normal, (5, 7_001), 10);
        assert_eq!(rig.heard(), [(7_001, 2)]);
    }

    #[test]
    fn bytes_have_a_limit_and_come_back_when_they_are_taken() {
        let mut rig = Rig::new(&["a"], 100, 100);
        rig.says(1, "a", Priority::Low, 1, 100);
        rig.says(1, "a", Priority::Low, 2, 1);
        assert_eq!((rig.heard(), rig.outlet.lost()), (vec![(1, 0)], 1));
        rig.says(1, "a", Priority::Low, 3, 101);
        rig.says(1, "a", Priority::Low, 4, 100);
        assert_eq!((rig.heard(), rig.outlet.lost()), (vec![(4, 2)], 2));
        assert_eq!(rig.payloads.used_bytes(), 0);
    }

    #[test]
    fn attributes_come_with_their_message_and_count_as_bytes() {
        let mut rig = Rig::new(&["a"], 100, 100);
        rig.says_with(1, &[7; 60], 40);
        rig.says_with(2, &[], 1);
        rig.says_with(3, &[8; 1], 0);
        let said = |rig: &mut Rig| rig.outlet.next().map(|m| (m.seq, m.attributes.map(|bytes| bytes.to_vec())));
        assert_eq!(said(&mut rig), Some((1, Some(vec![7; 60]))));
        assert_eq!((said(&mut rig), rig.outlet.lost()), (None, 2));
        rig.says_with(4, &[7; 61], 40);
        rig.says_with(5, &[7; 1], 0);
        rig.says_with(6, &[], 0);
        assert_eq!([said(&mut rig), said(&mut rig)], [Some((5, Some(vec![7]))), Some((6, None))]);
        assert_eq!((rig.outlet.lost(), rig.payloads.used_bytes()), (3, 0));
    }

    #[test]
    fn an_outlet_that_is_dropped_ends() {
        let mut rig = Rig::new(&["**"], 4, 1_000);
        rig.says(1, "a", Priority::Low, 1, 1);
        rig.outlets.forget(TopicId(1));
        let Rig { mut outlets, outlet, payloads } = rig;
        outlets.flush();
        assert!(!outlets.is_empty());
        drop(outlet);
        outlets.flush();
        assert!(outlets.is_empty());
        assert_eq!(payloads.used_bytes(), 0);
    }
}
