//! fanwire: publish a message once, every WebSocket subscriber of its topic gets it.
//!
//! ```no_run
//! use fanwire::{Config, Engine, Kind, Priority};
//!
//! let engine = Engine::start(Config::default())?;
//! let imu = engine.topic("rover/1/imu")?;
//! imu.publish(Priority::Normal, Kind::Json, br#"{"ax":0.1}"#)?;
//! engine.shutdown(std::time::Duration::from_secs(5));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Subscribers connect to `ws://host/t/rover/1/imu`, or to `ws://host/` with the subprotocol `fanwire.json.v1`.

mod access;
#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench;
#[doc(hidden)]
pub mod binding;
mod config;
mod counters;
mod decider;
mod driver;
mod engine;
mod epoch;
mod event;
mod events;
mod failure;
mod flow;
#[cfg(fuzzing)]
pub mod fuzz;
#[cfg(all(test, not(fuzzing)))]
mod fuzz;
mod interest;
mod listen;
mod log;
mod numbering;
mod origin;
mod outlet;
mod plan;
mod registry;
mod rules;
pub mod settings;
mod shard;
mod shard_thread;
#[cfg(fuzzing)]
pub mod sim;
#[cfg(all(test, not(fuzzing)))]
mod sim;
mod sys;
mod telemetry;
mod tls;
mod topic;
mod traces;

#[cfg(feature = "guard-pages")]
#[global_allocator]
static ALLOCATOR: sys::guard::GuardAllocator = sys::guard::GuardAllocator::new();

// The crates below, under the names that the engine calls them by.
pub use fanwire_proto as proto;
use fanwire_ring as ingest;
use fanwire_ring::usdt;
use fanwire_types as types;

pub use access::{ASKED_HEADERS_MAX, Allowed, AskHost, Decision, GRANT_PATTERNS_MAX, Grants, SUBJECT_BYTES_MAX};
pub use config::{
    AccessConfig, ClientCertificates, CompressionConfig, Config, DriverChoice, EventsConfig, LimitsConfig,
    MemoryConfig, PublishAccess, Retention, SlowPolicy, SysConfig, TlsConfig, TlsVersion, TopicConfig,
};
pub use counters::{Counter, CounterKind, ShardStats, counters};
pub use decider::{DecideError, Decider};
pub use driver::probe::{KERNEL_NEEDED, Unavailable as IoUringUnavailable};
pub use engine::{
    Engine, HandOver, SendError, ShutdownReport, SnapshotError, StartError, Stats, TracesError, try_io_uring,
};
pub use event::{Event, Protocol};
pub use events::Events;
pub use failure::ShardFailure;
pub use ingest::{ATTRIBUTES_MAX, Payload, Position};
pub use interest::{Interest, InterestChange, InterestError};
pub use listen::{InheritedSocket, Listener, ListenerError, Place, TrustedProxy, TrustedProxyError};
pub use numbering::SEQ_MAX;
pub use outlet::{
    OUTLET_MESSAGES_MAX, OUTLET_PATTERNS_MAX, OUTLETS_MAX, Outlet, OutletConfig, OutletError, OutletMessage,
};
pub use plan::{ConfigError, MESSAGE_BYTES_MAX, MemoryPlan, PlanLine};
pub use registry::TopicError;
pub use rules::Reconfigured;
pub use settings::{Setting, SettingError, settings};
pub use telemetry::{Metric, MetricKind, SysTopic, metrics};
pub use topic::{Claim, Forwarded, Message, Pressure, PublishError, Publisher, RefusedPayload, Topic, key_number};
pub use traces::{TRACE_EVENTS_MAX, TraceEvent, Traced, TracedConnection, TracedMessage, Traces, TracesConfig};
pub use types::{ConnectionId, Kind, Priority, TopicId};
