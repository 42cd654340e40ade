//! Logs of finished frames.
