//! The C interface: what `include/fanwire.h` declares, in terms of the Rust interface alone.
//!
//! # How it is made
//! - Every function goes through `guard`: a panic becomes `FW_INTERNAL`, an error leaves its text for `fw_last_error`.
//! - A handle is a number that looks like a pointer. It is looked up in the `registry`, never dereferenced, so `NULL`,
//!   freed, foreign and invented handles are errors. The memory of the registry is zeroed in a forked child by
//!   the kernel, so there every handle is unknown, at no cost.
//! - The host's code (release callbacks) runs only inside calls that say so.
//!
//! # Contract of the unsafe code
//! Pointers that come from the host are read and written as each function's comment in the header allows, and for no longer
//! than the call, unless the comment says that something is retained. What the host promises is stated there,
//! once, instead of in a `# Safety` section of each function.

#![allow(unsafe_code)]
#![allow(non_camel_case_types, reason = "names as C has them")]
#![allow(clippy::missing_safety_doc, reason = "the comments are the header's: each says what the caller owes")]

/// See `guard::planted`.
const HAS_PLANTED_PANICS: bool = false;

mod buffer;
mod config;
mod connection;
mod engine;
mod event;
#[cfg(test)]
mod fields;
mod guard;
mod host;
mod life;
mod publish;
mod reference;
mod registry;
mod stats;
mod status;
mod text;
mod topic;
mod version;

// Constants and types that only the header's readers use.
pub use config::{
    fw_config, fw_driver, fw_pinning, fw_publish_access, fw_retention, fw_setting, fw_slow_policy, fw_topic_config,
};
pub use event::{FW_FOREVER, fw_event, fw_event_type};
pub use publish::{fw_kind, fw_message, fw_priority, fw_slice};
pub use stats::fw_stats;
pub use status::fw_status;
pub use version::FW_ABI_VERSION;
