//! One connection more over TLS: what it is shown, and whether it is served. Never knows why it comes.

use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::upgrade::{self, Asked};
use crate::{clock, identity};

/// Somebody who comes again and again, in every version of TLS, and trusts a few certificates.
pub struct Visitor {
    configs: Vec<Arc<ClientConfig>>,
}

impl Visitor {
    /// Trusts these.
    ///
    /// # Errors
    /// When one of them is none.
    pub fn new<'c>(trusted: impl IntoIterator<Item = &'c CertificateDer<'static>>) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in trusted {
            roots.add(certificate.clone()).context("a trusted certificate")?;
        }
        let configs = [&TLS13, &TLS12].map(|version| {
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version])?;
            let mut config = builder.with_root_certificates(roots.clone()).with_no_client_auth();
            config.resumption = Resumption::disabled();
            Ok(Arc::new(config))
        });
        Ok(Visitor { configs: configs.into_iter().collect::<Result<_>>()? })
    }

    /// A connection in each version, each upgraded: the certificates that it was shown.
    ///
    /// # Errors
    /// When it is not let in.
    pub fn visit(&self, server: SocketAddrV4) -> Result<Vec<CertificateDer<'static>>> {
        self.configs.iter().map(|config| visit(server, config.clone())).collect()
    }

    /// How many connections a visit is.
    pub fn connections(&self) -> u64 {
        self.configs.len() as u64
    }
}

const PATIENCE: Duration = Duration::from_secs(30);

fn visit(server: SocketAddrV4, config: Arc<ClientConfig>) -> Result<CertificateDer<'static>> {
    let socket = TcpStream::connect(server).with_context(|| format!("connecting to {server}"))?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut stream = StreamOwned::new(ClientConnection::new(config, ServerName::try_from(identity::NAME)?)?, socket);
    let mut request = Vec::new();
    upgrade::write_request(&mut request, &server.to_string(), "/t/visits", Asked::default());
    stream.write_all(&request).with_context(|| format!("the handshake with {server}"))?;
    let began = clock::now_ns();
    let (mut answer, mut chunk) = (Vec::new(), [0; 1024]);
    while upgrade::check_response(&answer, Asked::default()).map_err(anyhow::Error::msg)?.is_none() {
        let got = stream.read(&mut chunk).with_context(|| format!("the answer of {server}"))?;
        if got == 0 || clock::now_ns() - began > PATIENCE.as_nanos() as u64 {
            bail!("{server} ended the upgrade");
        }
        answer.extend_from_slice(&chunk[..got]);
    }
    let shown = stream.conn.peer_certificates().and_then(<[_]>::first).context("no certificate was shown")?;
    let shown = shown.clone().into_owned();
    stream.conn.send_close_notify();
    let _ = stream.flush();
    Ok(shown)
}
