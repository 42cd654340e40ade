//! Job: why something of this crate cannot be had, for a program and for a person.
//! Knows: kinds of trouble. Must never know: who asks, how a process ends.

use std::fmt::Display;

/// What kind of trouble it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A file cannot be read.
    NotReadable,
    /// What was read cannot be used.
    NotUsable,
    /// There are as many as there may be.
    TooMany,
    /// No token is meant that could be.
    NotMeant,
    /// The engine has ended.
    Ended,
    /// A file cannot be written; what was asked for holds until the process ends.
    NotKept,
}

/// Why something cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct AccessError {
    /// What kind of trouble it is.
    pub kind: ErrorKind,
    text: String,
}

impl AccessError {
    /// One of this kind.
    pub fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        AccessError { kind, text: text.into() }
    }
}

/// Says what was being done when an error came.
pub trait Doing<T> {
    /// Turns the error into one of this kind.
    ///
    /// # Errors
    /// The error that it was called on, behind `what`.
    fn doing(self, kind: ErrorKind, what: impl FnOnce() -> String) -> Result<T, AccessError>;
}

impl<T, E: Display> Doing<T> for Result<T, E> {
    fn doing(self, kind: ErrorKind, what: impl FnOnce() -> String) -> Result<T, AccessError> {
        self.map_err(|error| AccessError::new(kind, format!("{}: {error}", what())))
    }
}
