//! Job: the connections that came in by a token, each with what it can be told by when its key is taken away or it is revoked.
//! Knows: connections by number, fingerprints. Must never know: the engine, tokens, what a fingerprint is of.

use std::collections::{BTreeMap, VecDeque};

use fanwire::ConnectionId;
use fanwire_token::{Claims, Fingerprint};

/// Connections that are let in and whose upgrade is not told yet: that is a matter of milliseconds, so beyond so many the oldest has
/// gone (the engine tells nothing of those).
const ADMITTED_MAX: usize = 4_096;
/// Connections beyond the engine's most: an end may be told after the beginning of who took its place.
const SPARE: usize = 4_096;
/// What they are closed with whose right to be here is gone: as where a token is over.
const UNAUTHORIZED: u16 = 4401;
/// There is no place (RFC 6455 section 7.4.2 and its registry).
const TRY_AGAIN_LATER: u16 = 1013;

/// By what somebody came in. Texts are kept as fingerprints: a subject is as long as it likes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bearer {
    /// The key that signed the token.
    pub key: Fingerprint,
    /// `iss`.
    pub issuer: Option<Fingerprint>,
    /// `sub`.
    pub subject: Option<Fingerprint>,
    /// `jti`.
    pub id: Option<Fingerprint>,
    /// `iat`, in seconds since 1970.
    pub issued_at: Option<u64>,
}

impl Bearer {
    /// What is kept of these claims.
    pub fn of(claims: &Claims) -> Self {
        let of = |text: &Option<String>| text.as_ref().map(|text| Fingerprint::of(text.as_bytes()));
        let (issuer, subject, id) = (of(&claims.issuer), of(&claims.subject), of(&claims.id));
        Bearer { key: claims.key, issuer, subject, id, issued_at: claims.issued_at }
    }

    /// Whether both tokens are of one issuer, and speak of the same.
    pub fn is_same_party(&self, other: &Bearer) -> bool {
        (self.issuer, self.subject) == (other.issuer, other.subject)
    }
}

#[derive(Debug)]
struct Entry {
    bearer: Bearer,
    is_open: bool,
}

/// What is to be done with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    pub connection: ConnectionId,
    pub code: u16,
    pub reason: &'static str,
}

/// See the module's head.
#[derive(Debug)]
pub struct Live {
    /// A tree: what a table of hashes takes depends on the order in which its entries came and went.
    entries: BTreeMap<ConnectionId, Entry>,
    /// Those whose upgrade was told.
    open: usize,
    open_max: usize,
    /// In the order in which they were let in; those that are open or gone are passed over.
    admitted: VecDeque<ConnectionId>,
    /// To be closed, as soon as the engine takes it.
    endings: VecDeque<Ending>,
}

impl Live {
    /// Room for so many connections.
    pub fn new(connections_max: u32) -> Self {
        let open_max = connections_max as usize + SPARE;
        Live {
            entries: BTreeMap::new(),
            open: 0,
            open_max,
            admitted: VecDeque::with_capacity(ADMITTED_MAX + 1),
            endings: VecDeque::new(),
        }
    }

    /// Bytes that all of it takes at most.
    pub fn bytes(connections_max: u32) -> usize {
        let most = connections_max as usize + SPARE + ADMITTED_MAX;
        // A node of std's tree has eleven places, of which at least five are taken, and up to twelve ways to others.
        let nodes = most / 5 + 1;
        nodes * (11 * size_of::<(ConnectionId, Entry)>() + 14 * size_of::<usize>())
            + (ADMITTED_MAX + 1).next_power_of_two() * size_of::<ConnectionId>()
            + most.next_power_of_two() * size_of::<Ending>()
    }

    /// Somebody is let in.
    pub fn admit(&mut self, connection: ConnectionId, bearer: Bearer) {
        while self.admitted.front().is_some_and(|first| !self.is_admitted(*first)) {
            self.admitted.pop_front();
        }
        self.entries.insert(connection, Entry { bearer, is_open: false });
        self.admitted.push_back(connection);
        if self.admitted.len() > ADMITTED_MAX
            && let Some(oldest) = self.admitted.pop_front()
            && self.is_admitted(oldest)
        {
            // Should it be there yet, it is not to go on unknown.
            self.end(oldest, TRY_AGAIN_LATER, "too many come in at once");
        }
    }

    fn is_admitted(&self, connection: ConnectionId) -> bool {
        self.entries.get(&connection).is_some_and(|entry| !entry.is_open)
    }

    /// Its upgrade is complete.
    pub fn open(&mut self, connection: ConnectionId) {
        if !self.is_admitted(connection) {
            // It came in without a token, or is to be closed.
            return;
        }
        if self.open >= self.open_max {
            self.end(connection, TRY_AGAIN_LATER, "too many are here");
        } else if let Some(entry) = self.entries.get_mut(&connection) {
            entry.is_open = true;
            self.open += 1;
        }
    }

    /// By what somebody is here; `None`: without a token, or to be closed.
    pub fn bearer(&self, connection: ConnectionId) -> Option<Bearer> {
        self.entries.get(&connection).map(|entry| entry.bearer)
    }

    /// Somebody who is here has brought another token.
    pub fn renew(&mut self, connection: ConnectionId, bearer: Bearer) {
        if let Some(entry) = self.entries.get_mut(&connection) {
            entry.bearer = bearer;
        }
    }

    /// It is gone.
    pub fn close(&mut self, connection: ConnectionId) {
        if self.entries.remove(&connection).is_some_and(|entry| entry.is_open) {
            self.open -= 1;
        }
    }

    /// Has all of these closed with 4401, as [`Live::next_ending`] says; how many that are.
    pub fn end_where(&mut self, reason: &'static str, is_meant: impl Fn(&Bearer) -> bool) -> usize {
        let of = |(connection, entry): (&ConnectionId, &Entry)| is_meant(&entry.bearer).then_some(*connection);
        let meant: Vec<ConnectionId> = self.entries.iter().filter_map(of).collect();
        meant.iter().for_each(|connection| self.end(*connection, UNAUTHORIZED, reason));
        meant.len()
    }

    fn end(&mut self, connection: ConnectionId, code: u16, reason: &'static str) {
        self.close(connection);
        self.endings.push_back(Ending { connection, code, reason });
    }

    /// The next one to be closed; it stays the next until [`Live::ended`].
    pub fn next_ending(&self) -> Option<Ending> {
        self.endings.front().copied()
    }

    /// The engine has taken it.
    pub fn ended(&mut self) {
        self.endings.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(key: &[u8], subject: &str) -> Bearer {
        let subject = Some(Fingerprint::of(subject.as_bytes()));
        Bearer { key: Fingerprint::of(key), issuer: None, subject, id: None, issued_at: Some(1) }
    }

    fn id(n: u32) -> ConnectionId {
        ConnectionId::new(0, 0, n)
    }

    fn endings(live: &mut Live) -> Vec<(u32, u16)> {
        std::iter::from_fn(|| {
            let ending = live.next_ending()?;
            live.ended();
            Some((ending.connection.slot(), ending.code))
        })
        .collect()
    }

    #[test]
    fn those_that_are_meant_are_closed_once_and_the_others_stay() {
        let mut live = Live::new(10);
        live.admit(id(1), bearer(b"a", "u1"));
        live.admit(id(2), bearer(b"b", "u1"));
        live.admit(id(3), bearer(b"b", "u2"));
        live.admit(id(4), bearer(b"b", "u3"));
        [1, 3, 4, 9].into_iter().for_each(|n| live.open(id(n)));
        live.close(id(4));
        // Also who is on the way in.
        assert_eq!(live.end_where("gone", |bearer| bearer.key == Fingerprint::of(b"b")), 2);
        let mut ended = endings(&mut live);
        ended.sort_unstable();
        assert_eq!(ended, [(2, 4401), (3, 4401)]);
        assert_eq!(live.end_where("gone", |bearer| bearer.key == Fingerprint::of(b"b")), 0);
        // Told late, it changes nothing.
        live.open(id(2));
        live.close(id(3));
        assert_eq!((live.entries.len(), live.open), (1, 1));
        assert_eq!(live.end_where("gone", |bearer| bearer.subject == Some(Fingerprint::of(b"u1"))), 1);
        assert_eq!((live.entries.len(), live.open), (0, 0));
    }

    #[test]
    fn who_has_brought_another_token_is_known_by_that_one() {
        let mut live = Live::new(10);
        live.admit(id(1), bearer(b"a", "u1"));
        live.open(id(1));
        live.renew(id(1), bearer(b"b", "u1"));
        live.renew(id(2), bearer(b"b", "u2"));
        assert_eq!((live.bearer(id(1)), live.bearer(id(2))), (Some(bearer(b"b", "u1")), None));
        assert_eq!(live.end_where("gone", |bearer| bearer.key == Fingerprint::of(b"a")), 0);
        assert_eq!(live.end_where("gone", |bearer| bearer.key == Fingerprint::of(b"b")), 1);
        assert_eq!(live.bearer(id(1)), None, "it is to be closed");
    }

    #[test]
    fn it_has_as_many_places_as_it_says_and_not_one_more() {
        let mut live = Live::new(0);
        for n in 0..SPARE as u32 {
            live.admit(id(n), bearer(b"a", "u"));
            live.open(id(n));
        }
        assert_eq!((live.open, live.next_ending()), (SPARE, None));
        live.admit(id(SPARE as u32), bearer(b"a", "u"));
        live.open(id(SPARE as u32));
        assert_eq!(endings(&mut live), [(SPARE as u32, 1013)]);
        // Those whose end before the upgrade nobody tells.
        let first = 1 << 20;
        for n in 0..ADMITTED_MAX as u32 {
            live.admit(id(first + n), bearer(b"a", "u"));
        }
        assert_eq!(live.next_ending(), None);
        live.admit(id(first - 1), bearer(b"a", "u"));
        assert_eq!(endings(&mut live), [(first, 1013)]);
        assert_eq!(live.entries.len(), SPARE + ADMITTED_MAX);
    }
}
