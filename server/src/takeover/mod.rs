//! Job: a server goes on in another process, and no client is refused meanwhile: its listening sockets change hands, and what is
//! published on either side reaches both.
//! Knows: the control socket's stream between two processes. Must never know: who operates.
//!
//! ```text
//! successor                                    predecessor
//!   {"command":"takeover", …}            ──▶
//!                                        ◀──   {"exit":0,"sockets":[names]}, then the sockets (SCM_RIGHTS)
//!   starts its engine, accepts
//!   {"sockets":[names of those it uses],
//!    "settles":true}                     ──▶   tells systemd MAINPID
//!                                        ◀──   {"exit":0,"handed_over":{"settle":true}}
//!   has all that it needs
//!   {"settled":true}                     ──▶   accepts no more
//!   messages                            ◀──▶   messages, until it has ended
//! ```
//!
//! Until the last line nothing has changed for the predecessor: a successor that fails closes the stream, and that is all. One that
//! does not say `settles` is of a version that has no such line: it is believed when it says that it serves.

mod bridge;
mod child;
mod frame;
mod line;
mod offer;
mod sockets;
mod successor;

use std::os::unix::net::UnixStream;
use std::time::Duration;

use fanwire::proto::topic::Pattern;
use fanwire::{Engine, Outlet, OutletConfig};
use serde::{Deserialize, Serialize};

use crate::exit::{Exit, Failure, OrExit};

pub use bridge::Bridge;
pub use child::Child;
pub use offer::{Taker, offer};
pub use successor::{Successor, begin};

/// What both sides speak. A successor of another kind is refused, before anything has changed.
pub const VERSION: u32 = 1;
/// What the control socket is called among those that are handed over.
const CONTROL: &str = "control";
/// Time over which connections move, where nothing is said.
pub const WINDOW: &str = "30s";
/// Messages that may wait for the other process.
const MESSAGES_MAX: usize = 16 << 10;
/// How long either side waits for what the other has at hand.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a successor may take to start.
pub const START_PATIENCE: Duration = Duration::from_secs(60);

/// Says which sockets a successor listens on.
#[derive(Debug, Serialize, Deserialize)]
struct Ready {
    sockets: Vec<String>,
    /// Its word that it has heard what is answered can be waited for.
    #[serde(default)]
    settles: bool,
}

/// Says that nothing can go wrong any more.
#[derive(Debug, Serialize, Deserialize)]
struct Settled {
    settled: bool,
}

/// The stream between the two, and what this side's engine has for the other.
pub struct Link {
    stream: UnixStream,
    outlet: Outlet,
}

/// Everything that is published from now on, for the other process; but for what an engine says of itself, which no pattern of
/// all topics matches.
///
/// # Errors
/// 71: there is no descriptor, or no outlet, left for it.
fn outlet(engine: &Engine) -> Result<Outlet, Failure> {
    let all = Pattern::parse("**").or_exit(Exit::Software, || "every topic".into())?;
    let bytes_max = engine.config().memory.payload_bytes / 8;
    engine
        .outlet(OutletConfig { topics: vec![all], messages_max: MESSAGES_MAX, bytes_max, leaves_out_forwarded: false })
        .or_exit(Exit::Address, || "cannot hand messages over".into())
}
