//! `wss://`: tungstenite over rustls against an engine, in both versions, on both drivers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;

use fanwire::{
    AskHost, ClientCertificates, Config, Decision, DriverChoice, Engine, Event, Kind, Listener, Priority, StartError,
    TlsVersion,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use tempfile::TempDir;
use tungstenite::{Message, WebSocket};

use crate::support::{Bare, PATIENCE, addr, config, start, wait_until};

on_both_drivers![
    messages_come_and_go_in_both_versions,
    large_messages_arrive_at_a_client_that_takes_little_at_once,
    plain_and_tls_listeners_serve_the_same_topics,
    a_proxy_speaks_ahead_of_tls,
    whoever_speaks_the_wrong_language_is_cut_off,
    certificates_change_under_connections_and_on_every_listener,
    bad_certificates_change_nothing,
    the_end_of_each_certificate_is_a_metric,
    clients_show_certificates_where_they_must,
    the_host_is_told_whose_certificate_it_is,
    half_greetings_do_not_shut_others_out,
    an_engine_that_ends_says_so_and_ends_tls_in_good_order,
];

type Tls = WebSocket<StreamOwned<ClientConnection, TcpStream>>;

/// Somebody who signs certificates, and a place for files.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Authority { issuer, dir: tempfile::tempdir().unwrap() };
        std::fs::write(authority.path("ca.pem"), authority.issuer.pem()).unwrap();
        authority.issue("server", &["localhost"]);
        authority
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes `NAME.pem` and `NAME.key`; the certificate.
    fn issue(&self, name: &str, names: &[&str]) -> CertificateDer<'static> {
        self.issue_until(name, names, 4000)
    }

    /// The same with the year in which it ends.
    fn issue_until(&self, name: &str, names: &[&str], year: i32) -> CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
        certificate.der().clone()
    }

    /// The same for somebody of this name.
    fn issue_to(&self, name: &str, subject: &[(DnType, &str)]) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        subject.iter().for_each(|(kind, text)| params.distinguished_name.push(kind.clone(), *text));
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    fn config(&self, driver: DriverChoice) -> Config {
        let mut config = config(driver);
        config.listen = vec![Listener::tls(([127, 0, 0, 1], 0))];
        config.tls.certificate_files = vec![self.path("server.pem")];
        config.tls.key_files = vec![self.path("server.key")];
        config
    }

    fn client_config(&self, version: &'static SupportedProtocolVersion, shows: Option<&str>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
        let builder = builder.with_root_certificates(roots);
        match shows {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let chain = CertificateDer::from_pem_file(self.path(&format!("{name}.pem"))).unwrap();
                let key = PrivateKeyDer::from_pem_file(self.path(&format!("{name}.key"))).unwrap();
                builder.with_client_auth_cert(vec![chain], key).unwrap()
            }
        }
    }

    fn try_connect(
        &self,
        to: SocketAddr,
        version: &'static SupportedProtocolVersion,
        shows: Option<&str>,
        path: &str,
    ) -> Result<Tls, String> {
        self.try_connect_by(TcpStream::connect(to).map_err(|error| error.to_string())?, version, shows, path)
    }

    fn try_connect_by(
        &self,
        socket: TcpStream,
        version: &'static SupportedProtocolVersion,
        shows: Option<&str>,
        path: &str,
    ) -> Result<Tls, String> {
        let name = ServerName::try_from("localhost").unwrap();
        let tls = ClientConnection::new(Arc::new(self.client_config(version, shows)), name).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let stream = StreamOwned::new(tls, socket);
        let (client, _) =
            tungstenite::client(format!("wss://localhost{path}"), stream).map_err(|error| error.to_string())?;
        Ok(client)
    }

    fn connect(&self, to: SocketAddr, version: &'static SupportedProtocolVersion, path: &str) -> Tls {
        self.try_connect(to, version, None, path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }
}

fn next(client: &mut Tls) -> Vec<u8> {
    loop {
        match client.read().expect("a message") {
            Message::Text(text) => return text.as_bytes().to_vec(),
            Message::Binary(bytes) => return bytes.to_vec(),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

fn subscribed(engine: &Engine, count: u64) {
    wait_until("all are there", || engine.stats().total.upgraded == count);
}

fn messages_come_and_go_in_both_versions(driver: DriverChoice) {
    let authority = Authority::new();
    let engine = start(authority.config(driver));
    for (n, version) in [&TLS12, &TLS13].into_iter().enumerate() {
        let topic = engine.topic(&format!("news/{n}")).unwrap();
        let mut client = authority.connect(addr(&engine), version, &format!("/t/news/{n}"));
        subscribed(&engine, n as u64 + 1);
        for length in [0, 1, 125, 126, 16_383, 16_384, 16_385, 70_000] {
            let payload: Vec<u8> = (0..length).map(|i| i as u8).collect();
            topic.publish(Priority::Normal, Kind::Binary, &payload).unwrap();
            assert!(next(&mut client) == payload, "{length} bytes from the host");
            // And by the client, who hears it, too.
            client.send(Message::binary(payload.clone())).unwrap();
            assert!(next(&mut client) == payload, "{length} bytes from the client");
        }
        client.close(None).unwrap();
        while client.read().is_ok() {}
    }
    engine.shutdown_now();
}

fn large_messages_arrive_at_a_client_that_takes_little_at_once(driver: DriverChoice) {
    let authority = Authority::new();
    let mut config = authority.config(driver);
    config.memory.lane_bytes = 32 << 20;
    let engine = start(config);
    let topic = engine.topic("news").unwrap();
    let mut client = authority.connect(addr(&engine), &TLS13, "/t/news");
    subscribed(&engine, 1);
    let payloads: Vec<Vec<u8>> =
        (0..12u64).map(|n| (0..1_000_000u64).map(|i| (i.wrapping_mul(2 * n + 1) >> 3) as u8).collect()).collect();
    for payload in &payloads {
        topic.publish(Priority::Normal, Kind::Binary, payload).unwrap();
    }
    // Nothing was read until here: records were cut wherever the socket was full.
    wait_until("the socket is full", || engine.stats().total.sends_short > 0);
    for (n, payload) in payloads.iter().enumerate() {
        assert!(next(&mut client) == *payload, "message {n}");
    }
    engine.shutdown_now();
}

fn plain_and_tls_listeners_serve_the_same_topics(driver: DriverChoice) {
    let authority = Authority::new();
    let mut config = authority.config(driver);
    config.listen.push(Listener::plain(([127, 0, 0, 1], 0)));
    let engine = start(config);
    let urls: Vec<String> = engine.listeners().iter().map(Listener::url).collect();
    assert!(urls[0].starts_with("wss://127.0.0.1:") && urls[1].starts_with("ws://127.0.0.1:"), "{urls:?}");
    let topic = engine.topic("news").unwrap();
    let mut sealed = authority.connect(engine.local_addrs()[0], &TLS13, "/t/news");
    let mut plain = crate::support::connect(engine.local_addrs()[1], "/t/news", None);
    subscribed(&engine, 2);
    for n in 0..200u32 {
        topic.publish(Priority::Normal, Kind::Binary, &n.to_be_bytes()).unwrap();
    }
    for n in 0..200u32 {
        assert_eq!(next(&mut sealed), n.to_be_bytes());
        assert_eq!(crate::support::next_payload(&mut plain), n.to_be_bytes());
    }
    engine.shutdown_now();
}

fn a_proxy_speaks_ahead_of_tls(driver: DriverChoice) {
    let authority = Authority::new();
    let mut config = authority.config(driver);
    config.listen = vec![Listener::tls(([127, 0, 0, 1], 0)).proxied()];
    config.access.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    config.events.capacity = 10;
    let mut engine = start(config);
    let mut events = engine.events().unwrap();
    let mut kept = Vec::new();
    for version in [&TLS13, &TLS12] {
        let mut socket = TcpStream::connect(addr(&engine)).unwrap();
        let header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xcb\x00\x71\x01\x0a\x00\x00\x09\x12\x34\x23\x29";
        socket.write_all(header).unwrap();
        kept.push(authority.try_connect_by(socket, version, None, "/t/news").unwrap());
        let mut from = None;
        wait_until("the host is told", || {
            if let Some(Event::Opened { peer, .. }) = events.next() {
                from = peer;
            }
            from.is_some()
        });
        assert_eq!(from, Some("203.0.113.1:4660".parse().unwrap()));
    }
    // The other way round it is no header.
    assert!(authority.try_connect(addr(&engine), &TLS13, None, "/t/news").is_err());
    wait_until("it is counted", || engine.stats().total.proxy_refused == 1);
    engine.shutdown_now();
}

fn whoever_speaks_the_wrong_language_is_cut_off(driver: DriverChoice) {
    let authority = Authority::new();
    let mut config = authority.config(driver);
    config.listen.push(Listener::plain(([127, 0, 0, 1], 0)));
    let engine = start(config);
    // Plain text to the TLS port: an alert at most, and no HTTP.
    let mut socket = TcpStream::connect(engine.local_addrs()[0]).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(b"GET /t/news HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer);
    assert!(answer.is_empty() || answer[0] == 21, "{answer:?}");
    // TLS to the plain port: refused as the request that it is not.
    let refused = authority.try_connect(engine.local_addrs()[1], &TLS13, None, "/t/news");
    assert!(refused.is_err());
    wait_until("both are gone", || engine.stats().total.connections == 0);
    engine.shutdown_now();
}

/// The serial of whoever listens there.
fn shown(authority: &Authority, to: SocketAddr) -> CertificateDer<'static> {
    let client = authority.connect(to, &TLS13, "/t/news");
    client.get_ref().conn.peer_certificates().unwrap()[0].clone().into_owned()
}

fn certificates_change_under_connections_and_on_every_listener(driver: DriverChoice) {
    let authority = Authority::new();
    let mut config = authority.config(driver);
    config.shards = Some(2);
    config.listen.push(Listener::tls(([127, 0, 0, 1], 0)));
    let engine = start(config);
    let topic = engine.topic("news").unwrap();
    let mut old: Vec<Tls> =
        (0..20).map(|n| authority.connect(engine.local_addrs()[n % 2], &TLS13, "/t/news")).collect();
    subscribed(&engine, 20);
    let before = shown(&authority, addr(&engine));
    let next_one = authority.issue("server", &["localhost"]);
    assert_ne!(before, next_one);
    assert_eq!(engine.reload_certificates(), Ok(1));
    for _ in 0..8 {
        for &to in engine.local_addrs() {
            assert_eq!(shown(&authority, to), next_one, "on every listener and shard");
        }
    }
    topic.publish(Priority::Normal, Kind::Text, b"after the change").unwrap();
    for client in &mut old {
        assert_eq!(next(client), b"after the change");
    }
    engine.shutdown_now();
}

fn the_end_of_each_certificate_is_a_metric(driver: DriverChoice) {
    let authority = Authority::new();
    authority.issue_until("old", &["old.example"], 2030);
    let mut config = authority.config(driver);
    config.tls.certificate_files.push(authority.path("old.pem"));
    config.tls.key_files.push(authority.path("old.key"));
    let engine = start(config);
    let ends = |name: &str, unix_s: u64| {
        let line =
            format!("fanwire_certificate_expiry_seconds{{file=\"{}\"}} {unix_s}\n", authority.path(name).display());
        assert!(engine.metrics().contains(&line), "{line}");
    };
    ends("server.pem", 64_060_588_800);
    ends("old.pem", 1_893_456_000);
    authority.issue_until("old", &["old.example"], 2031);
    assert_eq!(engine.reload_certificates(), Ok(2));
    ends("old.pem", 1_924_992_000);
    engine.shutdown_now();
}

fn bad_certificates_change_nothing(driver: DriverChoice) {
    let authority = Authority::new();
    let config = authority.config(driver);
    let engine = start(config.clone());
    let before = shown(&authority, addr(&engine));
    for (name, text) in [("server.key", ""), ("server.key", "garbage"), ("server.pem", "garbage")] {
        let path = authority.path(name);
        let kept = std::fs::read(&path).unwrap();
        std::fs::write(&path, text).unwrap();
        let errors = engine.reload_certificates().unwrap_err();
        assert!(errors[0].value.ends_with(name), "{errors:?}");
        assert_eq!(shown(&authority, addr(&engine)), before);
        // An engine that begins with them does not begin.
        let Err(StartError::Config(_)) = Engine::start(config.clone()) else { panic!("it began") };
        std::fs::write(&path, kept).unwrap();
    }
    std::fs::remove_file(authority.path("server.key")).unwrap();
    let errors = engine.reload_certificates().unwrap_err();
    assert!(errors[0].problem.contains("cannot be read"), "{errors:?}");
    engine.shutdown_now();
}

fn clients_show_certificates_where_they_must(driver: DriverChoice) {
    let authority = Authority::new();
    authority.issue("client", &["client"]);
    let stranger = Authority::new();
    stranger.issue("stranger", &["stranger"]);
    for name in ["stranger.pem", "stranger.key"] {
        std::fs::copy(stranger.path(name), authority.path(name)).unwrap();
    }
    for (wanted, none, stranger, known) in [
        (ClientCertificates::Ignored, true, true, true),
        (ClientCertificates::Optional, true, false, true),
        (ClientCertificates::Required, false, false, true),
    ] {
        for version in [&TLS12, &TLS13] {
            let mut config = authority.config(driver);
            config.tls.client_ca_file = Some(authority.path("ca.pem"));
            config.tls.client_certificates = wanted;
            let engine = start(config);
            for (shows, comes_in) in [(None, none), (Some("stranger"), stranger), (Some("client"), known)] {
                let client = authority.try_connect(addr(&engine), version, shows, "/t/news");
                assert_eq!(client.is_ok(), comes_in, "{wanted:?}, {shows:?}: {:?}", client.err());
            }
            engine.shutdown_now();
        }
    }
    let mut config = authority.config(driver);
    config.tls.version_min = TlsVersion::V13;
    let engine = start(config);
    assert!(authority.try_connect(addr(&engine), &TLS12, None, "/t/news").is_err());
    assert!(authority.try_connect(addr(&engine), &TLS13, None, "/t/news").is_ok());
    engine.shutdown_now();
}

fn the_host_is_told_whose_certificate_it_is(driver: DriverChoice) {
    let authority = Authority::new();
    authority.issue_to("client", &[(DnType::CommonName, "rover-1"), (DnType::OrganizationName, "Example, Inc.")]);
    let longest = "a".repeat(1_024 - "CN=".len());
    authority.issue_to("longest", &[(DnType::CommonName, &longest)]);
    authority.issue_to("longer", &[(DnType::CommonName, &(longest.clone() + "a"))]);
    authority.issue_to("two-lines", &[(DnType::CommonName, "a\nb")]);
    for version in [&TLS12, &TLS13] {
        let mut config = authority.config(driver);
        config.tls.client_ca_file = Some(authority.path("ca.pem"));
        config.tls.client_certificates = ClientCertificates::Optional;
        config.events.capacity = 64;
        config.access.ask_host = Some(AskHost { within: PATIENCE / 4, headers: Vec::new() });
        let mut engine = start(config);
        let mut events = engine.events().unwrap();
        let to = addr(&engine);
        // One that nobody could be told of does not come in, and does not ask.
        assert!(authority.try_connect(to, version, Some("longer"), "/t/news").is_err());
        for (shows, subject) in [
            (Some("client"), Some("O=Example\\, Inc.,CN=rover-1".to_owned())),
            (Some("two-lines"), Some("CN=a\\0ab".to_owned())),
            (Some("longest"), Some(format!("CN={longest}"))),
            (None, None),
        ] {
            let heard = std::thread::scope(|scope| {
                let client = scope.spawn(|| authority.try_connect(to, version, shows, "/t/news"));
                let mut heard = None;
                wait_until("it asks", || {
                    if let Some(Event::Authorize { connection, certificate, .. }) = events.next() {
                        heard = Some(certificate);
                        engine.decide(connection, Decision::Forbidden).unwrap();
                    }
                    heard.is_some()
                });
                assert!(client.join().unwrap().unwrap_err().contains("403"));
                heard.unwrap()
            });
            let is_so = |(heard, subject): (String, String)| heard.eq_ignore_ascii_case(&subject);
            assert!(heard.is_some() == subject.is_some(), "{shows:?}: {heard:?}");
            assert!(heard.clone().zip(subject).is_none_or(is_so), "{shows:?}: {heard:?}");
        }
        wait_until("nothing is left of them", || engine.stats().total.tls_bytes == 0);
        engine.shutdown_now();
    }
}

fn half_greetings_do_not_shut_others_out(driver: DriverChoice) {
    let authority = Authority::new();
    let mut config = authority.config(driver);
    config.limits.handshakes_max = 64;
    let engine = start(config);
    let topic = engine.topic("news").unwrap();
    let mut old = authority.connect(addr(&engine), &TLS13, "/t/news");
    subscribed(&engine, 1);
    // Many more than there is room for: nothing, one byte, the head of a greeting.
    let halves: Vec<Bare> = (0..300usize)
        .map(|n| {
            let mut socket = Bare::connect(addr(&engine));
            let hello = [22u8, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];
            socket.send(&hello[..[0, 1, hello.len()][n % 3]]);
            socket
        })
        .collect();
    for n in 0..20u64 {
        let client = authority.connect(addr(&engine), &TLS13, "/t/news");
        subscribed(&engine, n + 2);
        drop(client);
        topic.publish(Priority::Normal, Kind::Text, b"still here").unwrap();
        assert_eq!(next(&mut old), b"still here");
    }
    drop(halves);
    engine.shutdown_now();
}

fn an_engine_that_ends_says_so_and_ends_tls_in_good_order(driver: DriverChoice) {
    let authority = Authority::new();
    for version in [&TLS12, &TLS13] {
        let engine = start(authority.config(driver));
        let mut client = authority.connect(addr(&engine), version, "/t/news");
        let topic = engine.topic("news").unwrap();
        subscribed(&engine, 1);
        topic.publish(Priority::Normal, Kind::Text, b"last").unwrap();
        let reader = std::thread::spawn(move || {
            assert_eq!(next(&mut client), b"last");
            let Ok(Message::Close(Some(frame))) = client.read() else { panic!("no close frame") };
            assert_eq!(u16::from(frame.code), 1001);
            let _ = client.flush();
            // The end of the stream, said by `close_notify`: without it this were an error.
            assert_eq!(client.get_mut().read(&mut [0; 8]).expect("close_notify"), 0);
        });
        assert!(engine.shutdown(PATIENCE).is_clean);
        reader.join().unwrap();
    }
}
