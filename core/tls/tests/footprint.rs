//! What an idle connection holds on the heap once its handshake is done: counted by the allocator, byte by byte.

#[path = "../../tests/support/held.rs"]
mod held;

use std::sync::Arc;

use fanwire_tls::{Acceptor, AcceptorConfig, Connection, Handshake, Identity, Progress};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};

const N: usize = 50;
/// Secrets of both directions, and what rustls keeps for changes of key: most of it for QUIC, and empty.
const IDLE_BYTES_MAX: i64 = 1_000;
const KEY_BYTES_MAX: i64 = 600;

/// One test, because the counter is the whole process's.
#[test]
fn an_idle_connection_holds_little_and_a_forgotten_key_nothing() {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let identity = Identity { chain_pem: cert.pem().into(), key_pem: signing_key.serialize_pem().into() };
    let acceptor = Acceptor::new(&AcceptorConfig { identities: vec![identity], ..AcceptorConfig::default() }).unwrap();
    for version in [&TLS13, &TLS12] {
        let config = client_config(cert.der(), version);
        let mut connections = Vec::with_capacity(N);
        drop(established(&acceptor, &config));
        let before = held::by_all();
        let each = || (held::by_all() - before) / N as i64;
        connections.extend((0..N).map(|_| Box::new(established(&acceptor, &config))));
        let idle = each();
        connections.iter_mut().for_each(|connection| connection.keep_key());
        let sending = each();
        connections.iter_mut().for_each(|connection| connection.forget_key());
        let idle_again = each();
        println!("{:?}: {idle} bytes, while it sends {sending}", version.version);
        assert!(idle > size_of::<Connection>() as i64, "the counter is broken");
        assert!(idle <= IDLE_BYTES_MAX, "{idle} bytes for each idle connection");
        assert!(sending <= idle + KEY_BYTES_MAX, "{} bytes for an expanded key", sending - idle);
        assert_eq!(idle_again, idle, "a key that is forgotten leaves nothing");
    }
}

fn client_config(
    certificate: &CertificateDer<'static>,
    version: &'static SupportedProtocolVersion,
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_protocol_versions(&[version]).unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

fn established(acceptor: &Acceptor, config: &Arc<ClientConfig>) -> Connection {
    let mut client = ClientConnection::new(config.clone(), ServerName::try_from("localhost").unwrap()).unwrap();
    let mut handshake = Handshake::new(acceptor).unwrap();
    loop {
        let mut said = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut said).unwrap();
        }
        handshake.receive(&said).unwrap();
        let mut out = Vec::new();
        let progress = handshake.advance(&mut out);
        let mut heard = &out[..];
        while !heard.is_empty() {
            client.read_tls(&mut heard).unwrap();
            client.process_new_packets().unwrap();
        }
        match progress {
            Progress::Waits(waits) => handshake = waits,
            Progress::Failed(error) => panic!("{error}"),
            Progress::Done(established) => return established.connection,
        }
    }
}
