//! Job: the options that say whom a client trusts, and as who it comes.
//! Knows: names and defaults. Must never know: what is in the files.

use std::path::PathBuf;

use clap::Args;

/// Options of the clients, for `wss://`.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "TLS (with wss://)")]
pub struct TlsArgs {
    /// Certificates in PEM of those who may vouch for the server, or the server's own. They take the place of the system's
    #[arg(long, value_name = "FILE", env = "FANWIRE_CA", hide_env_values = true)]
    pub ca: Option<PathBuf>,

    /// Take any certificate: whoever is on the way can then read and change everything
    #[arg(long)]
    pub insecure: bool,

    /// Certificate in PEM to say who this is with, and what leads up to one that the server trusts
    #[arg(long, value_name = "FILE", env = "FANWIRE_CLIENT_CERT", hide_env_values = true)]
    pub client_cert: Option<PathBuf>,

    /// Its private key in PEM [default: the file of --client-cert]
    #[arg(long, value_name = "FILE", env = "FANWIRE_CLIENT_KEY", hide_env_values = true, requires = "client_cert")]
    pub client_key: Option<PathBuf>,
}
