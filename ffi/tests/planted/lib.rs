//! The library, with a panic behind every entry that the environment names (see `guard::planted`).
//!
//! # Contract of the unsafe code
//! That of `src/lib.rs`: these are its modules.

#![allow(unsafe_code)]
#![allow(non_camel_case_types, reason = "names as C has them")]
#![allow(clippy::missing_safety_doc, reason = "as in src/lib.rs")]

const HAS_PLANTED_PANICS: bool = true;

#[path = "../../src/buffer.rs"]
mod buffer;
#[path = "../../src/config.rs"]
mod config;
#[path = "../../src/connection.rs"]
mod connection;
#[path = "../../src/engine.rs"]
mod engine;
#[path = "../../src/event.rs"]
mod event;
#[path = "../../src/guard.rs"]
mod guard;
#[path = "../../src/host.rs"]
mod host;
#[path = "../../src/life.rs"]
mod life;
#[path = "../../src/publish.rs"]
mod publish;
#[path = "../../src/reference.rs"]
mod reference;
#[path = "../../src/registry/mod.rs"]
mod registry;
#[path = "../../src/stats.rs"]
mod stats;
#[path = "../../src/status.rs"]
mod status;
#[path = "../../src/text.rs"]
mod text;
#[path = "../../src/topic.rs"]
mod topic;
#[path = "../../src/version.rs"]
mod version;

pub use config::{
    fw_config, fw_driver, fw_pinning, fw_publish_access, fw_retention, fw_setting, fw_slow_policy, fw_topic_config,
};
pub use event::{FW_FOREVER, fw_event, fw_event_type};
pub use publish::{fw_kind, fw_message, fw_priority, fw_slice};
pub use stats::fw_stats;
pub use status::fw_status;
pub use version::FW_ABI_VERSION;
