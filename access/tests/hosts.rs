//! Who decides on tokens beside an engine of a host: over real sockets, with clients that are not ours.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use fanwire::{AskHost, Config, Decision, DriverChoice, Engine, Event, Grants, Kind, Priority};
use fanwire_access::{ErrorKind, HostEvents, Meant, Prepared, TokenSettings, Verifier};
use fanwire_token::SigningKey;
use serde_json::json;
use tungstenite::client::IntoClientRequest;
use tungstenite::{HandshakeError, Message, WebSocket};

const KEY: &[u8] = include_bytes!("../../core/token/testdata/p256.pem");
const ED25519: &[u8] = include_bytes!("../../core/token/testdata/ed25519.pem");
/// The public one of [`ED25519`].
const SET: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"h9zSLdSBP5YQYBdkyi8MyqITB6ZiBVhIyLYk1FZwhQA"}]}"#;
const PUBLIC: &[u8] = include_bytes!("../../core/token/testdata/p256.pub.pem");
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// The year 2100.
const LATER: u64 = 4_102_444_800;

type Client = WebSocket<TcpStream>;

fn config() -> Config {
    Config {
        listen: vec![([127, 0, 0, 1], 0).into()],
        shards: Some(1),
        driver: DriverChoice::Epoll,
        connections_max: 100,
        ..Config::default()
    }
}

fn settings(given: &[(&str, &str)]) -> TokenSettings {
    let mut settings = TokenSettings::default();
    given.iter().for_each(|(name, text)| settings.set(name, text).expect("one of its values"));
    settings
}

fn token(sub: &str, jti: &str) -> String {
    token_by(KEY, sub, jti)
}

fn token_by(key: &[u8], sub: &str, jti: &str) -> String {
    let grants = json!({"subscribe": ["news/**"], "publish": ["chat"]});
    let claims = json!({"sub": sub, "jti": jti, "iat": 1_700_000_000, "exp": LATER, "fanwire": grants});
    let key = SigningKey::from_pem(key).expect("a key");
    key.sign(claims.as_object().expect("an object"), None).expect("it signs")
}

/// An engine of a host's, and who decides there.
struct Rig {
    // Before the engine: who decides ends first.
    verifier: Verifier,
    events: Option<HostEvents>,
    engine: Engine,
}

impl Rig {
    fn start(settings: &TokenSettings, mut config: Config) -> Rig {
        let prepared = Prepared::new(settings, &mut config).expect("good settings").expect("somebody decides");
        let mut engine = Engine::start(config).expect("it starts");
        let events = engine.events();
        let (verifier, events) = prepared.start(&engine, events).expect("threads");
        Rig { verifier, events, engine }
    }

    /// Connects with this token.
    ///
    /// # Errors
    /// The status that the request is answered with.
    fn connect(&self, token: Option<&str>) -> Result<Client, u16> {
        let address = self.engine.local_addrs()[0];
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        let mut request = format!("ws://{address}/t/news/a").into_client_request().expect("an address");
        if let Some(token) = token {
            request.headers_mut().insert("Authorization", format!("Bearer {token}").parse().expect("a value"));
        }
        request.headers_mut().insert("X-Mine", "yes".parse().expect("a value"));
        match tungstenite::client(request, stream) {
            Ok((client, _)) => Ok(client),
            Err(HandshakeError::Failure(tungstenite::Error::Http(answer))) => Err(answer.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// The host's next event.
    fn hear(&mut self) -> Event {
        let events = self.events.as_mut().expect("it wants events");
        for _ in 0..PATIENCE.as_millis() {
            if let Some(event) = events.next() {
                return event;
            }
            events.bell().wait(Duration::from_millis(1));
        }
        panic!("no event comes");
    }
}

/// The code that the connection is closed with.
fn closed(client: &mut Client) -> u16 {
    loop {
        match client.read().expect("it goes on until the close") {
            Message::Close(frame) => return frame.expect("with a code").code.into(),
            _ => continue,
        }
    }
}

fn keys(folder: &Path) -> String {
    let path = folder.join("keys.pem");
    std::fs::write(&path, PUBLIC).expect("it is written");
    path.display().to_string()
}

#[test]
fn tokens_decide_and_the_host_hears_the_rest_to_the_last_event() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = config();
    config.events.capacity = 64;
    let mut rig = Rig::start(&settings(&[("token.keys_file", &keys(folder.path()))]), config);
    assert_eq!(rig.connect(None).err(), Some(401));
    assert_eq!(rig.connect(Some("no.to.ken")).err(), Some(401));
    let mut client = rig.connect(Some(&token("u1", "t1"))).expect("its token is good");
    let Event::Opened { connection: opened, .. } = rig.hear() else { panic!("nothing of those who were refused") };
    assert!(matches!(rig.hear(), Event::Subscribed { connection, .. } if connection == opened));
    rig.engine
        .topic("news/a")
        .expect("a topic")
        .publish(Priority::Normal, Kind::Text, b"hello")
        .expect("there is room");
    assert_eq!(client.read().expect("it comes").into_data().as_ref(), b"hello");
    // Nobody is meant, or no name is as long.
    assert_eq!(rig.verifier.revoke(Meant::default()).unwrap_err().kind, ErrorKind::NotMeant);
    let of = |sub: &str| Meant { sub: Some(sub.into()), ..Meant::default() };
    assert_eq!(rig.verifier.revoke(of(&"x".repeat(1_025))).unwrap_err().kind, ErrorKind::NotMeant);
    assert_eq!(rig.verifier.revoke(of(&"x".repeat(1_024))).expect("the longest").closed, 0);
    assert_eq!(rig.verifier.revoke(of("u1")).expect("there is room").closed, 1);
    assert_eq!(closed(&mut client), 4401);
    assert_eq!(rig.connect(Some(&token("u1", "t2"))).err(), Some(401));
    let other = rig.connect(Some(&token("u2", "t3"))).expect("another one");
    rig.engine.drain(Duration::from_secs(5));
    drop(other);
    // All of it, though it has ended.
    let mut last = 0;
    while let Some(event) = rig.events.as_mut().expect("it wants events").next() {
        last += usize::from(matches!(event, Event::Closed { .. }));
    }
    assert_eq!(last, 2);
    assert_eq!(rig.verifier.revoke(of("u3")).unwrap_err().kind, ErrorKind::Ended);
}

#[test]
fn who_brings_no_token_is_the_host_s_where_it_wants_to_be_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = config();
    config.events.capacity = 64;
    config.access.ask_host = AskHost::of(PATIENCE / 12, vec!["x-mine".into()]);
    let mut rig = Rig::start(&settings(&[("token.keys_file", &keys(folder.path()))]), config);
    assert_eq!(rig.connect(Some("no.to.ken")).err(), Some(401), "a bad token is no host's affair");
    std::thread::scope(|scope| {
        let decider = rig.engine.decider();
        let events = rig.events.as_mut().expect("it wants events");
        let decides = scope.spawn(move || {
            loop {
                match events.next() {
                    Some(Event::Authorize { connection, headers, .. }) => {
                        let news = fanwire::proto::topic::Pattern::parse("news/a").expect("a pattern");
                        let grants = Grants {
                            subscribe: vec![news].into(),
                            publish: Vec::new().into(),
                            lifetime: None,
                            subject: None,
                        };
                        decider.decide(connection, Decision::Allow(grants)).expect("it is asked");
                        return headers;
                    }
                    _ => events.bell().wait(Duration::from_millis(5)),
                }
            }
        });
        let address = rig.engine.local_addrs()[0];
        let mut request = format!("ws://{address}/t/news/a").into_client_request().expect("an address");
        request.headers_mut().insert("X-Mine", "yes".parse().expect("a value"));
        let stream = TcpStream::connect(address).expect("it listens");
        tungstenite::client(request, stream).expect("the host lets it in");
        assert_eq!(decides.join().expect("it decides"), [("x-mine".to_owned(), b"yes".to_vec())]);
    });
}

#[test]
fn a_host_that_takes_no_events_has_tokens_all_the_same_and_new_settings_hold() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = keys(folder.path());
    let (settings, mut given) = (settings(&[("token.keys_file", &path)]), config());
    let rig = Rig::start(&settings, config());
    assert!(rig.events.is_none());
    let mut client = rig.connect(Some(&token("u1", "t1"))).expect("its token is good");
    // Another key of another kind in the same file.
    std::fs::write(&path, "a-secret-of-thirty-two-characters-or-more").expect("it is written");
    let mut more = settings.clone();
    more.set("token.issuer", "https://id.example/").expect("a value");
    more.set("token.revocations_max", "7").expect("a value");
    let anew = rig.verifier.prepare_anew(&more, &mut given).expect("it can be used");
    assert!(rig.engine.reconfigure(&given).expect("the same engine").needs_restart.is_empty());
    let told = rig.verifier.take_over(anew).expect("threads");
    assert_eq!((told.changed, told.needs_restart), (vec!["token.issuer"], vec!["token.revocations_max"]));
    assert!(told.said.is_some_and(|said| said.ends_with("1 connection closed, whose key is gone")));
    assert_eq!(closed(&mut client), 4401);
    assert_eq!(rig.connect(Some(&token("u1", "t1"))).err(), Some(401));
    // What is wrong changes nothing.
    std::fs::write(&path, "-----BEGIN nonsense").expect("it is written");
    assert_eq!(rig.verifier.prepare_anew(&more, &mut given).err().map(|e| e.kind), Some(ErrorKind::NotUsable));
    assert_eq!(rig.verifier.settings().text("token.issuer"), "https://id.example/");
}

#[test]
fn settings_that_do_not_go_together_are_refused_before_anything_starts() {
    let refused = |given: &[(&str, &str)], mut config: Config| {
        let problem = Prepared::new(&settings(given), &mut config).err().expect("it is refused");
        (problem.kind, problem.to_string())
    };
    let (kind, text) = refused(&[("token.issuer", "a")], config());
    assert!(kind == ErrorKind::NotUsable && text.starts_with("token.issuer: means nothing without"), "{text}");
    let mut asks = config();
    asks.access.ask_host = AskHost::of(PATIENCE / 12, Vec::new());
    asks.events.capacity = 1;
    let (_, text) = refused(&[("token.keys_file", "none"), ("token.anonymous_subscribe", "a")], asks);
    assert!(text.starts_with("token.anonymous_subscribe: "), "{text}");
    assert_eq!(refused(&[("token.keys_file", "/nowhere/keys")], config()).0, ErrorKind::NotReadable);
    assert!(Prepared::new(&TokenSettings::default(), &mut config()).expect("nothing is wrong").is_none());
    // The engine says in its own words that there is no room for what the host wants to be asked.
    let mut asks = config();
    asks.access.ask_host = AskHost::of(PATIENCE / 12, Vec::new());
    let anonymous =
        settings(&[("token.keys_file", concat!(env!("CARGO_MANIFEST_DIR"), "/../core/token/testdata/p256.pub.pem"))]);
    Prepared::new(&anonymous, &mut asks).expect("good settings");
    assert!(asks.validate().is_err());
}

/// A server of key sets, and its URL; it has nothing to say as long as `sets` is empty.
fn key_server(sets: Vec<&'static str>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/keys", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for set in sets {
            let Ok((mut client, _)) = listener.accept() else { return };
            let _ = client.read(&mut [0; 2_048]);
            let _ = write!(client, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{set}", set.len());
        }
    });
    url
}

#[test]
fn keys_by_url_are_a_host_s_too_and_stay_where_they_cannot_be_read_again() {
    let url = key_server(vec![SET]);
    let settings = settings(&[("token.jwks_url", &url)]);
    let mut given = config();
    let rig = Rig::start(&settings, config());
    assert!(rig.connect(Some(&token_by(ED25519, "u1", "t1"))).is_ok());
    assert_eq!(rig.connect(Some(&token("u1", "t1"))).err(), Some(401), "another key");
    // The thread that reads them now and then has been told by now, or is soon.
    let tries = (0..PATIENCE.as_millis()).map(|_| {
        std::thread::park_timeout(Duration::from_millis(1));
        rig.verifier.metrics("# EOF\n".into())
    });
    let told = tries.into_iter().find(|told| told.contains("\nfanwire_jwks_age_seconds ")).expect("it is told");
    assert!(told.ends_with("# EOF\n") && told.matches("# EOF").count() == 1, "{told}");
    // Nobody answers there any more: those that are there stay.
    let anew = rig.verifier.prepare_anew(&settings, &mut given).expect("the same URL");
    let told = rig.verifier.take_over(anew).expect("threads");
    assert!(told.said.is_some_and(|said| said.contains("the keys that were read last stay")));
    assert!(rig.connect(Some(&token_by(ED25519, "u1", "t2"))).is_ok());
    // One that was never read is refused.
    let mut other = settings.clone();
    other.set("token.jwks_url", &key_server(Vec::new())).expect("a URL");
    let refused = rig.verifier.prepare_anew(&other, &mut given).err().map(|error| error.kind);
    assert_eq!(refused, Some(ErrorKind::NotReadable));
    assert!(rig.connect(Some(&token_by(ED25519, "u1", "t3"))).is_ok());
}
