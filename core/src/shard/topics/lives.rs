//! What this shard has said of topics to the registry, and for whose sake.

use std::collections::HashMap;

use crate::types::{ConnectionId, TopicId};

/// What the registry knows from this shard of a topic that is there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Life {
    /// The registry keeps it for subscribers of this shard.
    pub is_held: bool,
    /// The registry knows that it is published to.
    pub is_published: bool,
    /// The connection that it was made for, while it is there for that one alone.
    pub made_for: Option<ConnectionId>,
    /// The connection that named it last: while that waits for its upgrade, for the sake of other topics, the topic is kept.
    pub opened_for: Option<ConnectionId>,
}

/// Topics that were opened here, and whose records are still to be read.
#[derive(Debug, Default)]
pub struct Opening(HashMap<TopicId, Life>);

impl Opening {
    /// What is known of one of them.
    pub fn get_mut(&mut self, id: TopicId) -> &mut Life {
        self.0.entry(id).or_default()
    }

    /// What is known of one of them, if it is.
    pub fn get(&self, id: TopicId) -> Option<&Life> {
        self.0.get(&id)
    }

    /// Its record is read.
    pub fn take(&mut self, id: TopicId) -> Life {
        self.0.remove(&id).unwrap_or_default()
    }
}
