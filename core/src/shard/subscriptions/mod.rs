//! Who gets what: subscriptions, the memberships of topics that come from them, and the links from those to cursors.
//!
//! Knows slots, topics and streams by number. Never knows a socket, a frame or a request. What takes long takes a [`Budget`] and goes
//! on from where it stopped.

mod asked;
mod clock;
mod matching;
mod membership;
mod pairs;
mod rings;
mod spread;
mod start;
mod walk;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

pub use asked::{Asked, List};
pub use clock::Clock;
pub use membership::{Link, Membership, Terms};
pub use spread::{Spread, SpreadTo};
pub use start::{Has, Lost, Start, start};
pub use walk::AskedFor;

use self::pairs::{LISTED_MAX, PAIR_BYTES, Pairs};
use self::walk::Places;
use super::budget::{Budget, Progress};
use super::lanes::{Form, Lanes};
use super::options::Options;
use super::table::{NONE, Table};
use crate::types::Priority;

/// What one cursor costs beyond itself, in the tables of this module: with its numbers, its places in two lists of free ones, and the
/// pair by which a connection with many finds its membership.
pub const CURSOR_BYTES: usize =
    size_of::<Link>() + size_of::<Membership>() + 8 + clock::NODE_BYTES + 2 * 8 + PAIR_BYTES;
/// A connection with fewer cursors than this has room as long as there is any; one that has as many leaves the last
/// eighth to others.
pub const FEW_CURSORS: u32 = 1_024;
/// What the subscriber's record of one connection costs.
pub const SUBSCRIBER_BYTES: usize = size_of::<Subscriber>();

/// One connection's subscriptions, by slot.
#[derive(Clone, Copy, Debug)]
pub struct Subscriber {
    /// First membership; the others follow in the order in which they were made, or announced again.
    pub first: u32,
    /// The first whose `subscribed` is still to be sent: all behind it are, too.
    pub announce_from: u32,
    /// Memberships.
    pub memberships: u32,
    /// The last link of each priority's ring.
    pub rings: [u32; 4],
    /// Number of links.
    pub links: u32,
    /// What it asked for that memberships cannot tell.
    pub asked: List,
    /// What it is sent.
    pub form: Form,
    /// What some of its cursors do.
    pub doing: Doing,
    /// The upper half of the second of its upgrade.
    pub opened_s: u16,
    /// Topics that are there for it alone.
    pub made: u32,
}

/// What some cursors of a connection do, in one byte.
#[derive(Clone, Copy, Debug, Default)]
pub struct Doing(u8);

impl Doing {
    const PICK: u8 = 1;
    const WAIT: u8 = 2;

    /// They look at each frame: the hot pass must leave the connection alone.
    pub fn pick(self) -> bool {
        self.0 & Self::PICK != 0
    }

    /// From now on.
    pub fn set_pick(&mut self) {
        self.0 |= Self::PICK;
    }

    /// They wait for the moment of their latency budget: whatever is sent before takes along what they have.
    pub fn wait(self) -> bool {
        self.0 & Self::WAIT != 0
    }

    /// They do, or not any more.
    pub fn set_wait(&mut self, wait: bool) {
        self.0 = self.0 & !Self::WAIT | if wait { Self::WAIT } else { 0 };
    }
}

/// Memberships of one topic.
#[derive(Debug, Default)]
pub struct Members {
    list: Vec<u32>,
    /// Those that asked for it by its name.
    literal: u32,
    /// It stands in [`Subscriptions::unsettled`].
    is_queued: bool,
}

impl Subscriber {
    /// A connection that has subscribed to nothing.
    pub fn new(form: Form) -> Self {
        Self {
            first: NONE,
            announce_from: NONE,
            memberships: 0,
            rings: [NONE; 4],
            links: 0,
            asked: List::default(),
            form,
            doing: Doing::default(),
            opened_s: 0,
            made: 0,
        }
    }

    /// True if its only cursor may be served by the hot pass, as far as its subscriptions are concerned.
    pub fn is_plain(&self) -> bool {
        self.links == 1 && !self.doing.pick() && self.announce_from == NONE
    }

    /// Its only link.
    pub fn only_link(&self) -> Option<u32> {
        if self.links != 1 {
            return None;
        }
        self.rings.into_iter().find(|&link| link != NONE)
    }
}

/// See the module's head.
pub struct Subscriptions {
    subscribers: Vec<Subscriber>,
    memberships: Table<Membership>,
    /// Memberships by topic.
    members: Vec<Members>,
    /// Topics that may have their first subscriber by name, or none any more, each once.
    unsettled: VecDeque<u32>,
    /// Of connections with many.
    membership_of: Pairs,
    /// What memberships ask for beyond the messages, of those that do.
    options: HashMap<u32, Options>,
    links: Table<Link>,
    /// So many cursors, and memberships, are for connections that have few.
    kept_for_few: u32,
    terms: Table<Terms>,
    /// What memberships cannot tell.
    pub asked: Asked,
    /// Where walks over all memberships of a connection stand.
    places: Places,
    /// Topics and lanes that have just come to be.
    pub spread: Spread,
    /// Cursors that wait for their time: when, connection, generation.
    pub paced: BinaryHeap<Reverse<(u64, u32, u32)>>,
    /// Cursors that wait for the moment of their latency budget.
    pub clock: Clock,
}

impl Subscriptions {
    /// None yet; there may be so many cursors.
    pub fn new(cursors_max: u32) -> Self {
        Self {
            subscribers: Vec::new(),
            memberships: Table::reserved(cursors_max),
            members: Vec::new(),
            unsettled: VecDeque::new(),
            membership_of: Pairs::default(),
            options: HashMap::new(),
            links: Table::reserved(cursors_max),
            kept_for_few: cursors_max / 8,
            terms: Table::new(cursors_max),
            asked: Asked::default(),
            places: Places::default(),
            spread: Spread::default(),
            paced: BinaryHeap::new(),
            clock: Clock::new(),
        }
    }

    /// A connection may subscribe from now on, and gets this form.
    pub fn open(&mut self, slot: u32, form: Form) {
        if self.subscribers.len() <= slot as usize {
            self.subscribers.resize(slot as usize + 1, Subscriber::new(Form::Raw));
        }
        self.subscribers[slot as usize] = Subscriber::new(form);
    }

    /// A connection's subscriptions.
    #[inline]
    pub fn of(&self, slot: u32) -> &Subscriber {
        &self.subscribers[slot as usize]
    }

    /// The same, to be changed.
    #[inline]
    pub fn of_mut(&mut self, slot: u32) -> &mut Subscriber {
        &mut self.subscribers[slot as usize]
    }

    /// A membership.
    #[inline]
    pub fn membership(&self, id: u32) -> &Membership {
        &self.memberships[id]
    }

    /// The same, to be changed.
    pub fn membership_mut(&mut self, id: u32) -> &mut Membership {
        &mut self.memberships[id]
    }

    /// A link.
    #[inline]
    pub fn link(&self, id: u32) -> &Link {
        &self.links[id]
    }

    /// The same, to be changed.
    #[inline]
    pub fn link_mut(&mut self, id: u32) -> &mut Link {
        &mut self.links[id]
    }

    /// The terms of a link, if it has any.
    #[inline]
    pub fn terms(&self, link: u32) -> Option<&Terms> {
        let terms = self.links[link].terms;
        (terms != NONE).then(|| &self.terms[terms])
    }

    /// The same, to be changed.
    #[inline]
    pub fn terms_mut(&mut self, link: u32) -> Option<&mut Terms> {
        let terms = self.links[link].terms;
        (terms != NONE).then(|| &mut self.terms[terms])
    }

    /// Cursors in use.
    pub fn cursors(&self) -> usize {
        self.links.len()
    }

    /// Memberships in use.
    pub fn len(&self) -> usize {
        self.memberships.len()
    }

    /// True if a connection may have so many more cursors.
    pub fn has_room(&self, slot: u32, cursors: u32) -> bool {
        self.is_within(self.of(slot).links, cursors, self.links.room())
    }

    /// True if who has `has` may have `more`, where there is `room`: the last eighth is for those that have few.
    fn is_within(&self, has: u32, more: u32, room: usize) -> bool {
        let kept = if has + more <= FEW_CURSORS { 0 } else { self.kept_for_few };
        more == 0 || room >= (more + kept) as usize
    }

    /// Memberships of a topic.
    pub fn members(&self, topic: u32) -> &[u32] {
        self.members.get(topic as usize).map_or(&[], |members| &members.list)
    }

    /// A connection's membership of a topic.
    pub fn find(&self, slot: u32, topic: u32) -> Option<u32> {
        let subscriber = self.subscribers.get(slot as usize)?;
        if subscriber.memberships > LISTED_MAX {
            return self.membership_of.find(slot, topic);
        }
        self.memberships_of(slot).find(|&m| self.memberships[m].topic == topic)
    }

    /// A connection's memberships, in order.
    pub fn memberships_of(&self, slot: u32) -> impl Iterator<Item = u32> {
        let first = self.subscribers.get(slot as usize).map_or(NONE, |s| s.first);
        let some = |m: u32| (m != NONE).then_some(m);
        std::iter::successors(some(first), move |&m| some(self.memberships[m].next))
    }

    /// The links of a membership.
    pub fn links_of(&self, membership: u32) -> impl Iterator<Item = u32> {
        let some = |link: u32| (link != NONE).then_some(link);
        std::iter::successors(some(self.memberships[membership].links), move |&l| some(self.links[l].sibling))
    }

    /// Makes a connection a member of a topic, without a cursor yet. `None`: there is no room, or none for this
    /// connection.
    pub fn add(&mut self, slot: u32, topic: u32, must_announce: bool, options: Options) -> Option<u32> {
        if !self.is_within(self.of(slot).memberships, 1, self.memberships.room()) {
            return None;
        }
        let index = self.members_mut(topic).list.len() as u32;
        let membership =
            self.memberships.insert(Membership { must_announce, ..Membership::new(slot, topic, index) })?;
        self.members[topic as usize].list.push(membership);
        self.push_back(membership);
        self.subscribers[slot as usize].memberships += 1;
        let count = self.subscribers[slot as usize].memberships;
        if count == LISTED_MAX + 1 {
            for m in self.memberships_of(slot).collect::<Vec<_>>() {
                self.membership_of.insert(slot, self.memberships[m].topic, m);
            }
        } else if count > LISTED_MAX {
            self.membership_of.insert(slot, topic, membership);
        }
        if options.is_any() {
            self.options.insert(membership, options);
        }
        Some(membership)
    }

    fn members_mut(&mut self, topic: u32) -> &mut Members {
        while self.members.len() <= topic as usize {
            self.members.push(Members::default());
        }
        &mut self.members[topic as usize]
    }

    /// A membership is by the topic's name, or no more. Returns whether it was.
    pub fn set_literal(&mut self, membership: u32, is_literal: bool) -> bool {
        let Membership { topic, is_literal: was_literal, .. } = self.memberships[membership];
        self.memberships[membership].is_literal = is_literal;
        let members = &mut self.members[topic as usize];
        members.literal = members.literal + u32::from(is_literal) - u32::from(was_literal);
        let is_first_or_last = members.literal == u32::from(is_literal);
        if was_literal != is_literal && is_first_or_last {
            self.look_at_use_of(topic);
        }
        was_literal
    }

    /// Members of a topic that asked for it by its name.
    pub fn literal_members(&self, topic: u32) -> u32 {
        self.members.get(topic as usize).map_or(0, |members| members.literal)
    }

    /// A topic may have its first subscriber by name, or none any more.
    pub fn look_at_use_of(&mut self, topic: u32) {
        if !std::mem::replace(&mut self.members_mut(topic).is_queued, true) {
            self.unsettled.push_back(topic);
        }
    }

    /// A topic that is to be looked at.
    pub fn next_to_settle(&mut self) -> Option<u32> {
        let topic = self.unsettled.pop_front()?;
        self.members[topic as usize].is_queued = false;
        Some(topic)
    }

    /// How many topics are still to be looked at.
    pub fn unsettled(&self) -> usize {
        self.unsettled.len()
    }

    /// What a membership's cursors are to do beyond the usual.
    pub fn options_of(&self, membership: u32) -> Options {
        // Where nobody has any, as is usual, there is nothing to look for.
        if self.options.is_empty() {
            return Options::default();
        }
        self.options.get(&membership).copied().unwrap_or_default()
    }

    /// `subscribed` is to be sent (again).
    pub fn announce(&mut self, membership: u32) {
        if self.memberships[membership].must_announce {
            return;
        }
        self.unchain(membership);
        self.memberships[membership].must_announce = true;
        self.push_back(membership);
    }

    /// The next membership whose `subscribed` is to be sent; it counts as sent.
    pub fn next_announced(&mut self, slot: u32) -> Option<u32> {
        let membership = self.subscribers[slot as usize].announce_from;
        if membership == NONE {
            return None;
        }
        self.memberships[membership].must_announce = false;
        self.subscribers[slot as usize].announce_from = self.memberships[membership].next;
        Some(membership)
    }

    /// Gives a membership its cursor in a lane, in the stream of its form. False: there is no room for it, or none for
    /// this connection.
    pub fn add_link(&mut self, membership: u32, lanes: &mut Lanes, stream: u32, start: Start) -> bool {
        let Membership { slot, links: sibling, .. } = self.memberships[membership];
        if !self.has_room(slot, 1) {
            return false;
        }
        let options = self.options_of(membership);
        let priority = lanes.lane_of(stream).priority;
        // Critical messages are neither paced nor passed over.
        let is_picking = options.is_picking() && priority != Priority::Critical;
        let mut terms = NONE;
        if is_picking || start.lost.is_some() {
            let record = Terms {
                owed: start.lost,
                interval_ns: if is_picking { u64::from(options.interval_us) * 1_000 } else { 0 },
                next_ns: 0,
                queued_ns: 0,
                skips_own: is_picking && options.skips_own,
            };
            let Some(number) = self.terms.insert(record) else { return false };
            terms = number;
        }
        // Critical messages leave at once.
        let budget_ms = match priority {
            Priority::Critical => 0,
            _ => options.max_delay_ms.max(lanes.lane_of(stream).deliver_within_ms),
        };
        let (index, next, prev) = (0, NONE, NONE);
        let record = Link { stream, index, membership, next, prev, sibling, terms, budget_ms, was_warned: false };
        let Some(link) = self.links.insert(record) else {
            if terms != NONE {
                self.terms.remove(terms);
            }
            return false;
        };
        self.links[link].index = lanes.add_cursor(stream, link, slot, start.floor, budget_ms);
        self.join_ring(slot, priority, link);
        self.memberships[membership].links = link;
        let subscriber = &mut self.subscribers[slot as usize];
        if is_picking {
            subscriber.doing.set_pick();
        }
        subscriber.links += 1;
        if subscriber.links == 2 {
            self.set_all_gathered(slot, lanes);
        }
        true
    }

    fn set_all_gathered(&mut self, slot: u32, lanes: &mut Lanes) {
        let links: Vec<u32> = self.memberships_of(slot).flat_map(|m| self.links_of(m)).collect();
        for link in links {
            let Link { stream, index, .. } = self.links[link];
            lanes.stream_mut(stream).cursors.all[index as usize].set_gathered(true);
        }
    }

    /// The gap notice that a cursor owes is told: its terms go, if that was all.
    pub fn clear_owed(&mut self, link: u32) {
        let terms = self.links[link].terms;
        if terms == NONE {
            return;
        }
        self.terms[terms].owed = None;
        if !self.terms[terms].is_picking() {
            self.terms.remove(terms);
            self.links[link].terms = NONE;
        }
    }

    /// Ends one membership: its cursors go. `keeps_rest`: a frame that one of them is in the middle of goes to the connection first.
    pub fn remove(&mut self, membership: u32, lanes: &mut Lanes, keeps_rest: bool) {
        let Membership { slot, topic, index, subscription, is_literal, mut links, .. } = self.memberships[membership];
        while links != NONE {
            let sibling = self.links[links].sibling;
            self.remove_link(slot, links, lanes, keeps_rest);
            links = sibling;
        }
        if !self.options.is_empty() {
            self.options.remove(&membership);
        }
        self.unchain(membership);
        let subscriber = &mut self.subscribers[slot as usize];
        subscriber.asked.counted -= u32::from(is_literal);
        subscriber.memberships -= 1;
        if subscriber.memberships >= LISTED_MAX {
            self.membership_of.remove(slot, topic);
        }
        if subscriber.memberships == LISTED_MAX {
            for m in self.memberships_of(slot).collect::<Vec<_>>() {
                self.membership_of.remove(slot, self.memberships[m].topic);
            }
        }
        self.set_literal(membership, false);
        let members = &mut self.members[topic as usize].list;
        members.swap_remove(index as usize);
        if let Some(&moved) = members.get(index as usize) {
            self.memberships[moved].index = index;
        }
        self.memberships.remove(membership);
        if subscription != NONE {
            self.drop_told(slot, subscription);
        }
    }

    /// The id of the request for this membership by its name, if no `subscribed` has carried it yet.
    pub fn take_untold_id(&mut self, membership: u32) -> Option<Box<[u8]>> {
        let subscription = self.memberships[membership].subscription;
        if subscription == NONE || !self.asked.get(subscription).is_id_only {
            return None;
        }
        self.asked.set_id(subscription, None)
    }

    /// Forgets a subscription that was kept for its id alone.
    pub fn drop_told(&mut self, slot: u32, subscription: u32) {
        let asked = self.asked.get(subscription);
        if asked.slot == slot && asked.is_id_only {
            let mut list = self.subscribers[slot as usize].asked;
            self.asked.remove(&mut list, subscription);
            self.subscribers[slot as usize].asked = list;
        }
    }

    fn remove_link(&mut self, slot: u32, link: u32, lanes: &mut Lanes, keeps_rest: bool) {
        let Link { stream, index, terms, .. } = self.links[link];
        let priority = lanes.lane_of(stream).priority;
        if let Some(moved) = lanes.remove_cursor(stream, index as usize, keeps_rest) {
            self.links[moved].index = index;
        }
        self.clock.cancel(link);
        self.leave_ring(slot, priority, link);
        self.subscribers[slot as usize].links -= 1;
        if terms != NONE {
            self.terms.remove(terms);
        }
        self.links.remove(link);
    }

    /// Takes down a connection's subscriptions, as far as the budget goes. `on_left` is told the place of each topic.
    pub fn leave(
        &mut self,
        slot: u32,
        lanes: &mut Lanes,
        keeps_rest: bool,
        budget: &mut Budget,
        mut on_left: impl FnMut(u32),
    ) -> Progress {
        self.end_walk(slot);
        let Some(subscriber) = self.subscribers.get(slot as usize) else { return Progress::Done };
        let mut list = subscriber.asked;
        while let Some(first) = list.first() {
            if budget.is_spent() {
                self.subscribers[slot as usize].asked = list;
                return Progress::More;
            }
            budget.spend(3);
            let next_of_text = self.asked.remove(&mut list, first);
            self.spread.on_removed(first, next_of_text);
        }
        self.subscribers[slot as usize].asked = list;
        while self.subscribers[slot as usize].first != NONE {
            if budget.is_spent() {
                return Progress::More;
            }
            budget.spend(3);
            let first = self.subscribers[slot as usize].first;
            // Its subscription is gone already.
            self.memberships[first].subscription = NONE;
            on_left(self.memberships[first].topic);
            self.remove(first, lanes, keeps_rest);
        }
        Progress::Done
    }
}
