//! Why the ring refuses: to be made, or to take a record.

/// Why a record was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The slowest reader is a whole ring behind, or the table of shared payloads is full.
    #[error("the ingest ring is full")]
    Full,
    /// Larger than [`INLINE_MAX`](super::INLINE_MAX).
    #[error("the payload is too large to be copied into the ring")]
    TooLarge,
    /// The ring was closed, or all its readers are gone.
    #[error("the ingest ring is closed")]
    Stopped,
}

/// Why a ring cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    /// Not a power of two from [`RING_BYTES_MIN`](super::RING_BYTES_MIN) to
    /// [`RING_BYTES_MAX`](super::RING_BYTES_MAX).
    #[error("ring size {0} is not a power of two from 65536 to 4294967296")]
    Size(usize),
    /// Not 1 to `READERS_MAX`.
    #[error("a ring has 1 to 64 readers, not {0}")]
    Readers(usize),
    /// The system has no memory of this size.
    #[error("no memory for a ring of {0} bytes")]
    NoMemory(usize),
}
