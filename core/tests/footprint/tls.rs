//! The same over TLS 1.3, once connections have sent nothing for a while and have given their expanded keys back.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use fanwire::{Config, DriverChoice, Kind, Listener, Priority};
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject as _;
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::held;
use crate::support::{self, addr, config, start, wait_until};

/// Connections.
const N: u32 = 200;
/// Bytes on the heap for each: keys and what rustls keeps with them about 950, the adapter's session about 200, and what a connection
/// without TLS costs.
const BYTES_MAX: i64 = 1_500;

type Client = StreamOwned<ClientConnection, TcpStream>;

pub fn an_idle_connection_costs_little(driver: DriverChoice) {
    let dir = tempfile::tempdir().expect("a folder");
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    std::fs::write(dir.path().join("tls.pem"), made.cert.pem()).expect("a file");
    std::fs::write(dir.path().join("tls.key"), made.signing_key.serialize_pem()).expect("a file");
    let few = shard_bytes(driver, dir.path(), 16, 1, i64::MAX);
    let many = shard_bytes(driver, dir.path(), N, N, few + i64::from(N) * BYTES_MAX);
    let each = (many - few) / i64::from(N);
    println!("{driver:?}, TLS 1.3: {each} bytes");
    assert!(each > 900, "{driver:?}: {each} bytes: the counter is broken");
}

/// Bytes that the shard of an engine sized for `size` connections holds with `holding` of them; waits until they are `most` or fewer.
fn shard_bytes(driver: DriverChoice, files: &Path, size: u32, holding: u32, most: i64) -> i64 {
    let before = held::by_shards();
    let mut settings = Config { connections_max: size, cursors_max: size, ..config(driver) };
    settings.listen = vec![Listener::tls(([127, 0, 0, 1], 0))];
    settings.tls.certificate_files = vec![files.join("tls.pem")];
    settings.tls.key_files = vec![files.join("tls.key")];
    let engine = start(settings);
    let topic = engine.topic("idle").expect("a sound topic");
    let tls = trusting(&files.join("tls.pem"));
    let clients: Vec<Client> = (0..holding).map(|_| subscribed(addr(&engine), &tls)).collect();
    topic.publish_timeout(Priority::Normal, Kind::Json, b"1", support::PATIENCE).expect("room in the ring");
    wait_until("everybody has the message", || engine.stats().total.deliveries >= u64::from(holding));
    wait_until("they are idle, and hold little", || held::by_shards() - before <= most);
    let bytes = held::by_shards() - before;
    drop(clients);
    engine.shutdown_now();
    bytes
}

fn trusting(certificate: &Path) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let certificate = rustls::pki_types::CertificateDer::from_pem_file(certificate).expect("a certificate");
    roots.add(certificate).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13]).expect("a version");
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

fn subscribed(to: SocketAddr, tls: &Arc<ClientConfig>) -> Client {
    let socket = TcpStream::connect(to).expect("the port is open");
    socket.set_read_timeout(Some(support::PATIENCE)).expect("a live socket");
    let name = ServerName::try_from("localhost").expect("a name");
    let mut client = StreamOwned::new(ClientConnection::new(tls.clone(), name).expect("a client"), socket);
    client.write_all(support::upgrade_request("/t/idle", None).as_bytes()).expect("the server is there");
    let (mut head, mut chunk) = (Vec::new(), [0; 512]);
    while !head.ends_with(b"\r\n\r\n") {
        let got = client.read(&mut chunk).expect("the server answers");
        assert!(got > 0, "the server ended it");
        head.extend_from_slice(&chunk[..got]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    client
}
