//! Job: the admin port's socket, and who may be let come to it at all.
//! Knows: addresses, which of them other machines reach. Must never know: HTTP.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use tokio::time::sleep;

use super::config::{AdminConfig, Wanted};
use super::secrets::Secrets;
use crate::clock;
use crate::exit::{Exit, Failure};

/// How long a predecessor may take to leave its place.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// An address that is listened at.
pub struct Bound {
    /// `None`: it is still a predecessor's place.
    pub listener: Option<TcpListener>,
    pub address: SocketAddr,
    pub secrets: Secrets,
}

impl Bound {
    /// Listens where the settings say; `None`: nowhere, because that is so wanted, or because the default place is taken.
    ///
    /// # Errors
    /// 78: other machines reach it, and nobody is kept out; or a file of it is wrong. 71: the address cannot be had.
    pub fn listen(config: &AdminConfig, has_predecessor: bool) -> Result<Option<Self>, Failure> {
        let Some(address) = config.listen else { return Ok(None) };
        if !address.ip().is_loopback() && config.is_open() {
            return Err(Failure::message(
                Exit::Config,
                format!(
                    "admin.listen {address}: other machines reach this, and everybody there could end the server: set \
                     admin.token_file, or admin.client_ca_file with admin.certificate_file and admin.key_file; or listen on \
                     127.0.0.1"
                ),
            ));
        }
        let secrets = Secrets::read(config)?;
        if !address.ip().is_loopback() && secrets.acceptor.is_none() {
            tracing::warn!(
                "admin: {address} does not speak TLS: whoever listens in on the way there can take the token"
            );
        }
        if has_predecessor {
            return Ok(Some(Bound { listener: None, address, secrets }));
        }
        let listener = match listen(address) {
            Ok(listener) => Some(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && config.wanted == Wanted::ByDefault => {
                tracing::info!(
                    event = "admin.taken",
                    "admin: {address} is taken, so there is no admin port (admin.listen names another place, or none)"
                );
                return Ok(None);
            }
            Err(error) => {
                let what = format!("cannot listen on {address} (admin.listen)");
                return Err(Failure::new(Exit::Address, anyhow::Error::new(error).context(what)));
            }
        };
        Ok(Some(Bound { listener, address, secrets }))
    }

    /// How it is asked for.
    pub fn scheme(&self) -> &'static str {
        if self.secrets.acceptor.is_some() { "https" } else { "http" }
    }
}

/// Listens as soon as a predecessor has left the place.
///
/// # Errors
/// It has not in time, or the kernel says something else.
pub async fn when_free(address: SocketAddr) -> io::Result<TcpListener> {
    let until = clock::after(clock::now(), PATIENCE);
    loop {
        match listen(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && clock::now() < until => sleep(LOOK_EVERY).await,
            other => return other,
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
