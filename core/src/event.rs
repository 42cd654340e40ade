//! What the engine tells its host, when the host asks.

use std::net::SocketAddr;

use crate::ingest::Payload;
use crate::types::{ConnectionId, Kind, Priority};

/// Which protocol a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// No subprotocol: each message is one WebSocket message.
    Raw,
    /// `fanwire.json.v1`.
    JsonV1,
    /// `fanwire.msgpack.v1`.
    MsgpackV1,
    /// `fanwire.batch.v1`.
    BatchV1,
    /// `fanwire.batch.v1+lz4`: the same with LZ4 blocks.
    BatchV1Lz4,
}

impl Protocol {
    /// Those with a name, to be negotiated.
    pub const NAMED: [Protocol; 4] = [Protocol::JsonV1, Protocol::MsgpackV1, Protocol::BatchV1, Protocol::BatchV1Lz4];

    /// The name by which [`Protocol::Raw`] can be asked for: by a browser, which gives up where it has offered names and none is chosen.
    pub const RAW_BY_NAME: &str = "fanwire.raw.v1";

    /// The name negotiated as `Sec-WebSocket-Protocol`; empty for raw.
    pub const fn name(self) -> &'static str {
        match self {
            Protocol::Raw => "",
            Protocol::JsonV1 => "fanwire.json.v1",
            Protocol::MsgpackV1 => "fanwire.msgpack.v1",
            Protocol::BatchV1 => "fanwire.batch.v1",
            Protocol::BatchV1Lz4 => "fanwire.batch.v1+lz4",
        }
    }
}

/// Something that happened to a connection, or to the engine.
///
/// For one connection events come in order, beginning with `Opened` (or `Authorize`) and ending with `Closed`. A connection of a shard that has
/// failed gets no more of them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// Somebody asks to be let in: answer with [`crate::Engine::decide`]. Only with [`crate::AccessConfig::ask_host`], and before
    /// `Opened`. Where the connection ends before it is let in, nothing more is told of it.
    Authorize {
        /// The connection.
        connection: ConnectionId,
        /// The client's address, where it is known; with port 0 where a proxy has told it by `X-Forwarded-For`.
        peer: Option<SocketAddr>,
        /// Which of [`crate::Config::listen`] it came by, from 0.
        listener: usize,
        /// The request's target, with its query, as it came.
        target: String,
        /// Those of [`crate::AskHost::headers`] that the request has: names as the configuration has them, values as they came, one for
        /// each line.
        headers: Vec<(String, Vec<u8>)>,
        /// Who the client is by its certificate: the subject as RFC 4514 writes it (`CN=rover-1,O=Example`), at most 1 KiB. It was
        /// verified against [`crate::TlsConfig::client_ca_file`]. `None`: it has shown none, or was not asked for one
        /// ([`crate::TlsConfig::client_certificates`]).
        certificate: Option<String>,
    },
    /// An open connection brings another token (the request `auth` of the subprotocols): answer with [`crate::Engine::decide`]. Allowed, the
    /// new grants take the place of the old ones, whose [`crate::Grants::subject`] they must have; refused, the client is told so and the
    /// old ones hold. A connection is asked about once at a time, and at most once a second.
    Reauthorize {
        /// The connection.
        connection: ConnectionId,
        /// The token: 1 to 8,192 bytes of printable ASCII without blanks.
        token: String,
    },
    /// The upgrade is complete.
    Opened {
        /// The connection.
        connection: ConnectionId,
        /// The client's address, where it is known; with port 0 where a proxy has told it by `X-Forwarded-For`.
        peer: Option<SocketAddr>,
        /// What it speaks.
        protocol: Protocol,
        /// The request's path.
        path: String,
    },
    /// The connection now gets this topic.
    Subscribed {
        /// The connection.
        connection: ConnectionId,
        /// The topic's name.
        topic: String,
    },
    /// The connection no longer gets this topic.
    Unsubscribed {
        /// The connection.
        connection: ConnectionId,
        /// The topic's name.
        topic: String,
    },
    /// A raw connection without a topic sent a message.
    Message {
        /// The connection.
        connection: ConnectionId,
        /// Text or binary.
        kind: Kind,
        /// The whole message, in the engine's memory: drop it soon.
        payload: Payload,
    },
    /// A cursor of this connection is behind by more than 70 % of its lane's budget.
    Lagging {
        /// The connection.
        connection: ConnectionId,
        /// The topic's name.
        topic: String,
        /// The lane.
        priority: Priority,
    },
    /// The engine gave up on a client that was too slow or broke a rule; `Closed` follows.
    Evicted {
        /// The connection.
        connection: ConnectionId,
        /// Why, for a log.
        reason: &'static str,
    },
    /// A shard has failed, and the engine has ended: see [`crate::Engine::failure`]. Comes once, before what else is waiting.
    Failed {
        /// The shard's number, from 0.
        shard: usize,
        /// Why, for a log.
        reason: String,
    },
    /// The connection is gone.
    Closed {
        /// The connection.
        connection: ConnectionId,
        /// The close code that ended it; 1006 where it just broke.
        code: u16,
    },
}
