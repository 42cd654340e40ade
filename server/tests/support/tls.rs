//! Job: certificates, and a relay that ends TLS in front of a server that speaks none: another implementation of the server's side.
//! Knows: rustls's server, poll. Must never know: what passes through.
#![allow(dead_code)]

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustix::event::{PollFd, PollFlags, poll};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, SupportedProtocolVersion};

/// Who vouches for others.
pub struct Authority {
    params: CertificateParams,
    key: KeyPair,
    pem: String,
}

/// A certificate and its key, in PEM.
pub struct Identity {
    pub chain: String,
    pub key: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { params, key, pem }
    }

    /// Its own certificate, written to a file.
    pub fn file(&self, folder: &Path) -> String {
        written(folder, "ca.pem", &self.pem)
    }

    /// A certificate for these names that holds now.
    pub fn issue(&self, names: &[&str]) -> Identity {
        self.issue_for(names, (2020, 2120))
    }

    /// A certificate for these names, from the first day of one year to that of another.
    pub fn issue_for(&self, names: &[&str], years: (i32, i32)) -> Identity {
        let (key, issuer) = (KeyPair::generate().unwrap(), Issuer::from_params(&self.params, &self.key));
        let certificate = params(names, years).signed_by(&key, &issuer).unwrap();
        Identity { chain: certificate.pem(), key: key.serialize_pem() }
    }
}

/// A certificate that its own key signs, and that may sign others: what `openssl req -x509` makes.
pub fn self_signed(names: &[&str], years: (i32, i32)) -> Identity {
    let (key, mut params) = (KeyPair::generate().unwrap(), params(names, years));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Identity { chain: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

fn params(names: &[&str], years: (i32, i32)) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(years.0, 1, 1), date_time_ymd(years.1, 1, 1));
    params
}

/// A file in `folder`; its path.
pub fn written(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// What a server wants of its clients.
#[derive(Default)]
pub struct Demands<'a> {
    /// A certificate that this one vouches for.
    pub client: Option<&'a Authority>,
    /// These versions of TLS, not all.
    pub versions: Option<&'a [&'static SupportedProtocolVersion]>,
    /// One of these protocols behind TLS.
    pub alpn: &'a [&'a [u8]],
}

/// A relay in front of a server. Connections that there are can be cut.
pub struct TlsRelay {
    pub port: u16,
    streams: Arc<Mutex<Vec<TcpStream>>>,
    protocols: Arc<Mutex<Vec<Option<Vec<u8>>>>>,
}

impl TlsRelay {
    /// In front of `ws://` server.
    pub fn to(server: &str, identity: &Identity, demands: &Demands<'_>) -> Self {
        let server: SocketAddr = server.trim_start_matches("ws://").parse().unwrap();
        let config = Arc::new(config(identity, demands));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let relay = TlsRelay { port, streams: Arc::default(), protocols: Arc::default() };
        let (streams, protocols) = (relay.streams.clone(), relay.protocols.clone());
        std::thread::spawn(move || {
            for near in listener.incoming() {
                let (near, far) = (near.unwrap(), TcpStream::connect(server).unwrap());
                streams.lock().unwrap().extend([near.try_clone().unwrap(), far.try_clone().unwrap()]);
                let (tls, protocols) = (ServerConnection::new(config.clone()).unwrap(), protocols.clone());
                std::thread::spawn(move || {
                    let mut passage = Passage { tls, near: &near, far: &far };
                    let _ = passage.relay();
                    protocols.lock().unwrap().push(passage.tls.alpn_protocol().map(<[u8]>::to_vec));
                    let _ = (near.shutdown(Shutdown::Both), far.shutdown(Shutdown::Both));
                });
            }
        });
        relay
    }

    /// Where it is, for who trusts a certificate for `localhost`.
    pub fn url(&self) -> String {
        format!("wss://localhost:{}", self.port)
    }

    pub fn cut(&self) {
        for stream in self.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// What was agreed to speak behind TLS, of connections that have ended.
    pub fn protocols(&self) -> Vec<Option<Vec<u8>>> {
        self.protocols.lock().unwrap().clone()
    }
}

fn config(identity: &Identity, demands: &Demands<'_>) -> ServerConfig {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone());
    let builder = match demands.versions {
        Some(versions) => builder.with_protocol_versions(versions).unwrap(),
        None => builder.with_safe_default_protocol_versions().unwrap(),
    };
    let builder = match demands.client {
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let chain = CertificateDer::pem_slice_iter(identity.chain.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
    let mut config = builder.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = demands.alpn.iter().map(|name| name.to_vec()).collect();
    config
}

/// One connection. Sockets block; poll says which of them to read.
struct Passage<'a> {
    tls: ServerConnection,
    near: &'a TcpStream,
    far: &'a TcpStream,
}

impl Passage<'_> {
    fn relay(&mut self) -> io::Result<()> {
        loop {
            let mut polled = [PollFd::new(self.near, PollFlags::IN), PollFd::new(self.far, PollFlags::IN)];
            poll(&mut polled, None)?;
            let [near, far] = polled.map(|fd| !fd.revents().is_empty());
            if near && !self.pass_in()? {
                return Ok(());
            }
            if far && !self.pass_out()? {
                self.tls.send_close_notify();
                return self.flush();
            }
        }
    }

    /// False at the end.
    fn pass_in(&mut self) -> io::Result<bool> {
        let is_ended = self.tls.read_tls(&mut self.near)? == 0;
        let opened = self.tls.process_new_packets();
        // Also an alert.
        self.flush()?;
        let state = opened.map_err(io::Error::other)?;
        let mut plain = vec![0; state.plaintext_bytes_to_read()];
        self.tls.reader().read_exact(&mut plain)?;
        self.far.write_all(&plain)?;
        Ok(!is_ended && !state.peer_has_closed())
    }

    /// As much as there is becomes one run of records: the client has to find several frames in one.
    fn pass_out(&mut self) -> io::Result<bool> {
        let mut piece = [0; 32 << 10];
        let n = self.far.read(&mut piece)?;
        self.tls.writer().write_all(&piece[..n])?;
        self.flush()?;
        Ok(n > 0)
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.near)?;
        }
        Ok(())
    }
}
