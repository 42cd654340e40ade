//! What the server tells a subscriber, apart from how it is encoded.
//!
//! Knows the objects of the subscriber protocol and their fields. Never knows bytes: `json` and `msgpack` write and read
//! these, each in its own encoding.

use super::subscribe::{Content, Id};
use crate::Priority;
use std::borrow::Cow;

/// Any object that a server sends.
#[derive(Clone, Debug, PartialEq)]
pub enum ServerMessage<'a> {
    /// The first message of a connection.
    Welcome(Welcome<'a>),
    /// A subscription exists; for a pattern, one for each topic it matches.
    Subscribed(Subscribed<'a>),
    /// A subscription has ended.
    Unsubscribed(Unsubscribed<'a>),
    /// A published message.
    Message(Message<'a>),
    /// Messages that this client will not get.
    Gap(Gap<'a>),
    /// A request was refused.
    Error(ErrorMessage<'a>),
    /// The answer to a ping.
    Pong(Pong<'a>),
    /// The client is asked to connect anew.
    Migrate(Migrate<'a>),
    /// A token was taken.
    Authorized(Authorized<'a>),
    /// A type that this version does not know: to be ignored.
    Unknown,
}

/// `welcome`: who the server is and what it permits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome<'a> {
    /// The connection's name in the server's logs.
    pub session: Cow<'a, str>,
    /// The server's name and version.
    pub server: Cow<'a, str>,
    /// The subprotocol spoken on this connection.
    pub protocol: Cow<'a, str>,
    /// The server's clock, microseconds since 1970.
    pub time_us: u64,
    /// What the server permits.
    pub limits: Limits,
}

/// The limits that a client should know about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Limits {
    /// Largest message that the server takes from a client, in bytes.
    pub message_bytes_max: u64,
    /// Most topics in one `subscribe` or `unsubscribe`.
    pub topics_max: u32,
    /// Most subscriptions of one connection.
    pub subscriptions_max: u32,
    /// Most topics that are there for one connection alone.
    pub topics_per_connection_max: u32,
}

/// Sequence numbers by priority; `None` for a lane that does not exist.
pub type LaneSeqs = [Option<u64>; Priority::ALL.len()];

/// `subscribed`: a topic's number on this connection and where its lanes stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribed<'a> {
    /// The `id` of the request, if it had one.
    pub id: Option<Id<'a>>,
    /// The topic (never a pattern).
    pub topic: Cow<'a, str>,
    /// The topic's number, used by `fanwire.batch.v1`.
    pub topic_id: u32,
    /// Tells one numbering from the next; below 2^53.
    pub epoch: u64,
    /// The newest sequence number of each lane that exists.
    pub seq: LaneSeqs,
}

/// `unsubscribed`: nothing more comes of this topic or pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsubscribed<'a> {
    /// The `id` of the request, if it had one.
    pub id: Option<Id<'a>>,
    /// The topic or pattern, as it was subscribed.
    pub topic: Cow<'a, str>,
}

/// `message`: what somebody published.
#[derive(Clone, Debug, PartialEq)]
pub struct Message<'a> {
    /// The topic.
    pub topic: Cow<'a, str>,
    /// The lane.
    pub priority: Priority,
    /// Its number: above those of all messages of its lane before it.
    pub seq: u64,
    /// When it was published, microseconds since 1970.
    pub time_us: u64,
    /// The payload.
    pub content: Content<'a>,
}

/// `gap`: the messages `from` to `to`, both included, do not come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap<'a> {
    /// The topic.
    pub topic: Cow<'a, str>,
    /// The lane.
    pub priority: Priority,
    /// First missing sequence number.
    pub from: u64,
    /// Last missing sequence number.
    pub to: u64,
    /// How many messages they are.
    pub missing: Missing,
    /// Why.
    pub reason: GapReason,
}

/// How many messages a gap leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Missing {
    /// One for each number.
    All,
    /// So many: the numbers of their lane jump.
    Some(u64),
    /// One for each number at most: nobody can say.
    Unknown,
}

/// Why messages are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GapReason {
    /// The client read too slowly.
    Lag,
    /// A resume reached further back than what is retained.
    Retention,
    /// Numbering began anew since the client was last here.
    Epoch,
    /// The client resumed on another node.
    NodeChanged,
}

impl GapReason {
    /// All of them.
    pub const ALL: [GapReason; 4] = [GapReason::Lag, GapReason::Retention, GapReason::Epoch, GapReason::NodeChanged];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            GapReason::Lag => "lag",
            GapReason::Retention => "retention",
            GapReason::Epoch => "epoch",
            GapReason::NodeChanged => "node_changed",
        }
    }

    /// The reason with this wire name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|r| r.name() == name)
    }
}

/// `error`: a request was refused; the connection goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorMessage<'a> {
    /// For programs; see [`super::subscribe::code`].
    pub code: Cow<'a, str>,
    /// For people.
    pub message: Cow<'a, str>,
    /// The `id` of the request, if it had one.
    pub id: Option<Id<'a>>,
}

/// `pong`: the answer to `ping`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pong<'a> {
    /// The `id` of the ping, if it had one.
    pub id: Option<Id<'a>>,
}

/// `authorized`: the token of an `auth` request holds from now on, and what it does not allow has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorized<'a> {
    /// The `id` of the request, if it had one.
    pub id: Option<Id<'a>>,
    /// In so many milliseconds the connection is closed with 4401; absent: never.
    pub expires_in_ms: Option<u64>,
}

/// `migrate`: connect anew, here or elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migrate<'a> {
    /// When, in milliseconds from now.
    pub after_ms: u64,
    /// Where; absent: the same place.
    pub url: Option<Cow<'a, str>>,
    /// Why, for people.
    pub reason: Cow<'a, str>,
}
