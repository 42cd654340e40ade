//! Who decides on an engine's upgrades by tokens (RFC 7519), for every program that has an engine: the server, and hosts in C, C++,
//! Python and Rust.
//!
//! `attendant` is the thread that decides, and what it can be told meanwhile. It asks a `desk`, in which order tokens are judged;
//! that one asks the `door`, which has keys and rules. `placement` finds a request's token, `live` knows by what connections came
//! in, `revocations` which tokens are refused although they are good. Keys come from `key_file` and `key_url`.
//! `settings` is the table of what can be set; `verifier` is all of it beside a host's engine, whose other events go by the `relay`.
//!
//! ```no_run
//! use fanwire::{Config, Engine};
//! use fanwire_access::{Meant, Prepared, TokenSettings};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut tokens = TokenSettings::default();
//! tokens.set("token.keys_file", "secret")?;
//! let mut config = Config::default();
//! let prepared = Prepared::new(&tokens, &mut config)?.ok_or("nobody would decide")?; // reads keys; the engine will ask
//! let mut engine = Engine::start(config)?;
//! let events = engine.events();
//! let (verifier, events) = prepared.start(&engine, events)?; // events: what is left of them for you
//! verifier.revoke(Meant { sub: Some("u1".into()), ..Meant::default() })?;
//! # drop(events);
//! # Ok(())
//! # }
//! ```
//!
//! Knows the engine's public interface, tokens, files, a clock, HTTPS. Must never know a shard, HTTP servers, a command line.
#![forbid(unsafe_code)]

mod attendant;
mod clock;
mod desk;
mod door;
mod error;
mod key_file;
mod key_health;
mod key_url;
mod live;
mod placement;
mod refusals;
mod relay;
mod revocations;
mod settings;
mod verifier;
mod waiting;
pub mod web;

pub use attendant::{Attendant, Beside, Order, Revoked, attend, configure, memory};
pub use door::{Door, DoorConfig, KeysFrom, Opened};
pub use error::{AccessError, ErrorKind};
pub use key_file::{read_keys, read_regular, read_text, secret};
pub use key_health::KeyHealth;
pub use key_url::{KeySource, KeyUrl, Moved, keep, not_read};
pub use relay::{HostEvents, Left};
pub use revocations::{Meant, NAME_BYTES_MAX, Revocations, RevocationsConfig};
pub use settings::{SECTION, TokenSetting, TokenSettings, token_settings};
pub use verifier::{Anew, Changed, Prepared, Verifier, is_token_setting};
