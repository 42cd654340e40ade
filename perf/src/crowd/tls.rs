//! A member's TLS: records between its socket and its bytes. Never knows what the bytes are.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::identity;

/// Bytes of records that are received at once: what they hold, and a record that was not whole before, must find room in what
/// [`Tls::receive`] is given.
pub const RECORDS_BYTES: usize = 64 * 1024;

/// What all members share: whom they trust. Every handshake is a full one.
pub fn config(certificate: &Path) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    let trusted = CertificateDer::from_pem_file(certificate).context("the server's certificate")?;
    roots.add(trusted).context("the server's certificate")?;
    config_of(roots)
}

fn config_of(roots: RootCertStore) -> Result<Arc<ClientConfig>> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The first thing that any client says, as one that comes in would say it.
///
/// # Errors
/// When there is nothing to say it with.
pub fn client_hello() -> Result<Vec<u8>> {
    let mut client = Tls::new(config_of(RootCertStore::empty())?)?;
    let mut hello = Vec::new();
    client.0.write_tls(&mut hello)?;
    Ok(hello)
}

/// One member's.
pub struct Tls(ClientConnection);

impl Tls {
    /// Before its handshake: what is sent waits for it.
    pub fn new(config: Arc<ClientConfig>) -> Result<Self> {
        Ok(Tls(ClientConnection::new(config, ServerName::try_from(identity::NAME)?)?))
    }

    /// One receive. How many bytes it brought into `room`, all that there are; `None` at the end.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub fn receive(&mut self, socket: impl AsFd, records: &mut [u8], room: &mut [u8]) -> Result<Option<usize>, String> {
        let received = match rustix::net::recv(&socket, &mut *records, RecvFlags::empty()) {
            Ok((0, _)) => return Ok(None),
            Ok((received, _)) => received,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(Some(0)),
            Err(error) => return Err(error.to_string()),
        };
        let (mut rest, mut filled) = (&records[..received], 0);
        while !rest.is_empty() {
            self.0.read_tls(&mut rest).map_err(|error| error.to_string())?;
            let opened = self.0.process_new_packets();
            self.flush(&socket);
            let state = opened.map_err(|error| error.to_string())?;
            match self.0.reader().read(&mut room[filled..]) {
                Ok(0) if state.peer_has_closed() => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(Some(filled))
    }

    /// Sends these bytes once there is somebody to send them to. What the socket does not take is lost, and the connection with it.
    pub fn send(&mut self, socket: impl AsFd, bytes: &[u8]) {
        let _ = self.0.writer().write_all(bytes);
        self.flush(socket);
    }

    fn flush(&mut self, socket: impl AsFd) {
        let mut records = Vec::new();
        while self.0.wants_write() && self.0.write_tls(&mut records).is_ok() {}
        if !records.is_empty() {
            let _ = rustix::net::send(socket, &records, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
        }
    }
}
