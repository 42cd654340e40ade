//! Deciding on an engine's connections from any thread, without the engine.
//!
//! Knows mailboxes. Must never know by what anybody decides.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::access::{Decision, GRANT_PATTERNS_MAX, SUBJECT_BYTES_MAX};
use crate::engine::SendError;
use crate::failure::ShardFailure;
use crate::shard::{Command, Shared};
use crate::types::ConnectionId;

/// Why a decision was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecideError {
    /// A list of patterns is too long.
    #[error("{patterns} patterns are more than the {GRANT_PATTERNS_MAX} that a list may have")]
    TooManyPatterns {
        /// Its length.
        patterns: usize,
    },
    /// The subject's name is too long.
    #[error("a subject of {bytes} bytes is longer than the {SUBJECT_BYTES_MAX} that one may have")]
    LongSubject {
        /// Its length.
        bytes: usize,
    },
    /// It cannot be handed to the connection's shard.
    #[error(transparent)]
    Send(#[from] SendError),
}

/// What decides on an engine's connections: [`crate::Engine::decider`]. Cheap to clone. It keeps neither the engine's threads nor its
/// sockets: once the engine has ended, everything is answered with [`SendError::Stopped`].
#[derive(Clone)]
pub struct Decider {
    shared: Arc<Shared>,
}

impl fmt::Debug for Decider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decider").finish_non_exhaustive()
    }
}

impl Decider {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Decider { shared }
    }

    /// As [`crate::Engine::decide`].
    ///
    /// # Errors
    /// See [`DecideError`].
    pub fn decide(&self, connection: ConnectionId, decision: Decision) -> Result<(), DecideError> {
        decide(&self.shared, connection, decision)
    }

    /// As [`crate::Engine::close`].
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn close(&self, connection: ConnectionId, code: u16, reason: &str) -> Result<(), SendError> {
        close(&self.shared, connection, code, reason)
    }

    /// As [`crate::Engine::has_ended`].
    pub fn has_ended(&self) -> bool {
        self.shared.mailboxes.iter().all(|mailbox| mailbox.is_stopped.load(Relaxed))
    }

    /// As [`crate::Engine::failure`].
    pub fn failure(&self) -> Option<&ShardFailure> {
        self.shared.failure.first()
    }
}

pub(crate) fn decide(shared: &Shared, connection: ConnectionId, decision: Decision) -> Result<(), DecideError> {
    let patterns = decision.patterns();
    if patterns > GRANT_PATTERNS_MAX {
        return Err(DecideError::TooManyPatterns { patterns });
    }
    let bytes = decision.subject_bytes();
    if bytes > SUBJECT_BYTES_MAX {
        return Err(DecideError::LongSubject { bytes });
    }
    let command = Command::Decide { connection, decision: Box::new(decision) };
    Ok(command_shard(shared, connection.shard().into(), command)?)
}

pub(crate) fn close(shared: &Shared, connection: ConnectionId, code: u16, reason: &str) -> Result<(), SendError> {
    let command = Command::Close { connection, code, reason: reason.to_owned() };
    command_shard(shared, connection.shard().into(), command)
}

/// Hands a shard something to do.
///
/// # Errors
/// There is no such shard, it has ended, or its queue is full.
pub(crate) fn command_shard(shared: &Shared, number: usize, command: Command) -> Result<(), SendError> {
    let mailbox = shared.mailboxes.get(number).ok_or(SendError::Gone)?;
    if mailbox.is_stopped.load(Relaxed) {
        return Err(SendError::Stopped);
    }
    mailbox.commands.push(command).map_err(|_| SendError::WouldBlock)?;
    shared.ring.wake_reader(number);
    Ok(())
}
