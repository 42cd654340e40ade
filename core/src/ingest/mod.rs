//! The ingest ring.
