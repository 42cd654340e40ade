//! Job: what the settings below `admin` say.
//! Knows: their types. Must never know: where a value came from.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Whether there has to be an admin port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Somebody has said where.
    ByName,
    /// It is the default: where its place is taken, the server goes on without.
    ByDefault,
}

/// See the module's head.
#[derive(Clone, Debug)]
pub struct AdminConfig {
    /// Where to listen; `None`: nowhere.
    pub listen: Option<SocketAddr>,
    pub wanted: Wanted,
    /// Names that it is asked for by, besides addresses and `localhost`.
    pub hosts: Vec<String>,
    /// Where the tokens are.
    pub token_file: Option<PathBuf>,
    /// With both it speaks TLS.
    pub certificate_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    /// Whoever has a certificate of one of these may come in.
    pub client_ca_file: Option<PathBuf>,
    /// How often the server measures itself.
    pub benchmark_every: Option<Duration>,
    /// Clients of the engine need tokens: then so does who looks into topics, or gives orders.
    pub has_door: bool,
}

impl AdminConfig {
    /// Nobody is kept out.
    pub fn is_open(&self) -> bool {
        self.token_file.is_none() && self.client_ca_file.is_none()
    }
}
