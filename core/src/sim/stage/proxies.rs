//! Behind a proxy: whose a connection is, and what is counted for whom.

use super::*;
use crate::config::{EventsConfig, LimitsConfig};
use crate::listen::Listener;

const PROXY: &str = "10.0.0.1:4000";

/// A stage whose listener is proxied or not, with trusted proxies and a limit for each address.
fn stage(is_proxied: bool, each_max: u32) -> Stage {
    let limits = LimitsConfig { connections_per_address_max: each_max, ..LimitsConfig::default() };
    let listener = Listener::plain(([127, 0, 0, 1], 1));
    let access = AccessConfig {
        trusted_proxies: ["10.0.0.0/8", "127.0.0.1"].iter().map(|text| text.parse().expect("a proxy")).collect(),
        ..AccessConfig::default()
    };
    let config = Config {
        listen: vec![if is_proxied { listener.proxied() } else { listener }],
        shards: Some(1),
        limits,
        access,
        events: EventsConfig { capacity: 100, messages: false },
        ..Config::default()
    };
    Stage::new(config, 4 << 20)
}

/// A header of the PROXY protocol.
fn header(client: &str) -> Vec<u8> {
    let SocketAddr::V4(client) = client.parse().expect("an address") else { panic!("IPv4 alone") };
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
    bytes.extend(client.ip().octets());
    bytes.extend([10, 0, 0, 9]);
    bytes.extend(client.port().to_be_bytes());
    bytes.extend([0x23, 0x29]);
    bytes
}

/// A request from `peer`, with the bytes of a proxy in front and these lines of `X-Forwarded-For`: what it is answered, `None`: not
/// a word.
fn asks(stage: &mut Stage, peer: &str, first: &[u8], forwarded: &[&str]) -> (Wire, Option<Incoming>) {
    let mut rng = Rng::new(5);
    let socket = stage.net.connect_from(0, peer.parse().expect("an address"));
    let headers: Vec<_> = forwarded.iter().map(|line| ("X-Forwarded-For", *line)).collect();
    let mut wire = Wire::new(socket, "/t/t", &[], &headers, &mut rng);
    wire.begins_with(first);
    for _ in 0..4 {
        while wire.queued() > 0 {
            wire.write_some(&mut rng);
        }
        stage.turn_of(&mut []);
    }
    let answer = wire.read_some(usize::MAX).into_iter().next();
    (wire, answer)
}

/// Whom the host was told of.
fn opened(stage: &Stage) -> Vec<Option<SocketAddr>> {
    stage
        .events()
        .into_iter()
        .filter_map(|event| if let Event::Opened { peer, .. } = event { Some(peer) } else { None })
        .collect()
}

fn is_upgraded(answer: &Option<Incoming>) -> bool {
    matches!(answer, Some(Incoming::Upgraded(..)))
}

fn is_429(answer: &Option<Incoming>) -> bool {
    matches!(answer, Some(Incoming::Refused(429)))
}

#[test]
fn two_clients_behind_one_proxy_have_two_shares_by_the_proxy_protocol() {
    let mut stage = stage(true, 2);
    let mut kept = Vec::new();
    for (client, expected) in
        [("203.0.113.1:1", true), ("203.0.113.1:2", true), ("203.0.113.1:3", false), ("203.0.113.2:1", true)]
    {
        let (wire, answer) = asks(&mut stage, PROXY, &header(client), &[]);
        assert_eq!((is_upgraded(&answer), is_429(&answer)), (expected, !expected), "{client}: {answer:?}");
        kept.push(wire);
    }
    let told: Vec<_> = opened(&stage).into_iter().flatten().map(|peer| peer.to_string()).collect();
    assert_eq!(told, ["203.0.113.1:1", "203.0.113.1:2", "203.0.113.2:1"]);
    // Who leaves makes room for its own.
    kept[0].reset();
    (0..4).for_each(|_| _ = stage.turn_of(&mut []));
    assert!(is_upgraded(&asks(&mut stage, PROXY, &header("203.0.113.1:4"), &[]).1));
}

#[test]
fn two_clients_behind_one_proxy_have_two_shares_by_x_forwarded_for() {
    let mut stage = stage(false, 2);
    let mut kept = Vec::new();
    for (lines, expected) in [
        (&["203.0.113.1"][..], true),
        // What the client has made up stands left of what the proxy says.
        (&["198.51.100.77, 203.0.113.1"], true),
        (&["198.51.100.78, 203.0.113.1"], false),
        (&["198.51.100.79", "203.0.113.1, 10.0.0.2"], false),
        (&["127.0.0.1, 203.0.113.1"], false),
        (&["203.0.113.2"], true),
        (&["203.0.113.2:443, 10.0.0.7"], true),
        (&["[::ffff:203.0.113.2]:443"], false),
    ] {
        let (wire, answer) = asks(&mut stage, PROXY, b"", lines);
        assert_eq!((is_upgraded(&answer), is_429(&answer)), (expected, !expected), "{lines:?}: {answer:?}");
        kept.push(wire);
    }
    let told: Vec<_> = opened(&stage).into_iter().flatten().map(|peer| peer.to_string()).collect();
    assert_eq!(told, ["203.0.113.1:0", "203.0.113.1:0", "203.0.113.2:0", "203.0.113.2:0"]);
    // The proxy itself has had nothing counted: its own two are there yet.
    for expected in [true, true, false] {
        let (wire, answer) = asks(&mut stage, PROXY, b"", &[]);
        assert_eq!(is_upgraded(&answer), expected, "{answer:?}");
        kept.push(wire);
    }
    kept.iter_mut().for_each(Wire::reset);
    (0..8).for_each(|_| _ = stage.turn_of(&mut []));
    assert_eq!((stage.stats().connections, stage.shared.counted.addresses.len()), (0, 0));
}

#[test]
fn who_is_a_proxy_may_change_while_requests_are_on_their_way() {
    for is_proxied in [false, true] {
        let mut stage = stage(is_proxied, 0);
        let changes = |stage: &Stage, proxies: &[&str]| {
            let access = AccessConfig {
                trusted_proxies: proxies.iter().map(|text| text.parse().expect("a proxy")).collect(),
                ..stage.shared.config.access.clone()
            };
            let config = Config { access, ..stage.shared.config.clone() };
            let told = stage.shared.rules.replace(&config, 1).expect("a legal configuration");
            assert_eq!(told.changed, ["access.trusted_proxies"]);
        };
        let client = |stage: &mut Stage, peer: &str| {
            let (first, lines) = (header("203.0.113.1:1"), ["203.0.113.1"]);
            let (first, lines) = if is_proxied { (&first[..], &[][..]) } else { (&b""[..], &lines[..]) };
            let (_wire, answer) = asks(stage, peer, first, lines);
            (is_upgraded(&answer), opened(stage).into_iter().flatten().next().map(|peer| peer.ip().to_string()))
        };
        let believed = (true, Some("203.0.113.1".to_owned()));
        let doubted = |peer: &str| if is_proxied { (false, None) } else { (true, Some(peer.to_owned())) };
        assert_eq!(client(&mut stage, PROXY), believed);
        changes(&stage, &["192.0.2.0/24"]);
        assert_eq!(
            (client(&mut stage, PROXY), client(&mut stage, "192.0.2.7:1")),
            (doubted("10.0.0.1"), believed.clone())
        );
        // One that came before is what it was then.
        let socket = stage.net.connect_from(0, "192.0.2.7:2".parse().expect("an address"));
        stage.turn_of(&mut []);
        changes(&stage, &["10.0.0.0/8"]);
        let mut rng = Rng::new(5);
        let headers: &[(&str, &str)] = if is_proxied { &[] } else { &[("X-Forwarded-For", "203.0.113.1")] };
        let mut wire = Wire::new(socket, "/t/t", &[], headers, &mut rng);
        let first = if is_proxied { header("203.0.113.1:1") } else { Vec::new() };
        wire.begins_with(&first);
        for _ in 0..8 {
            wire.write_some(&mut rng);
            stage.turn_of(&mut []);
        }
        assert!(is_upgraded(&wire.read_some(usize::MAX).into_iter().next()));
        assert_eq!(opened(&stage).into_iter().flatten().next().map(|peer| peer.ip().to_string()), believed.1);
    }
}

#[test]
fn what_is_no_proxy_is_not_believed() {
    let mut stage = stage(false, 1);
    let (_kept, answer) = asks(&mut stage, "198.51.100.1:1", b"", &["203.0.113.1"]);
    assert!(is_upgraded(&answer));
    assert!(is_429(&asks(&mut stage, "198.51.100.1:2", b"", &["203.0.113.2"]).1));
    assert_eq!(opened(&stage), [Some("198.51.100.1:1".parse().unwrap())]);
    // A header of the PROXY protocol is no request.
    assert!(matches!(asks(&mut stage, PROXY, &header("203.0.113.1:1"), &[]).1, Some(Incoming::Refused(400))));
}

#[test]
fn a_proxied_listener_is_closed_to_everybody_else() {
    let mut stage = stage(true, 0);
    assert!(asks(&mut stage, "198.51.100.1:1", &header("203.0.113.1:1"), &[]).1.is_none_or(is_end));
    assert!(asks(&mut stage, PROXY, b"", &[]).1.is_none_or(is_end));
    stage.turn_of(&mut []);
    assert_eq!((stage.stats().proxy_refused, stage.stats().accepted), (2, 0));
    assert!(is_upgraded(&asks(&mut stage, PROXY, &header("203.0.113.1:1"), &[]).1));
}

fn is_end(answer: Incoming) -> bool {
    matches!(answer, Incoming::End | Incoming::Reset)
}

/// The proxy protocol names a proxy that in turn says whom it speaks for.
#[test]
fn a_chain_of_proxies_is_followed() {
    let mut stage = stage(true, 0);
    let (_kept, answer) = asks(&mut stage, PROXY, &header("10.0.0.5:80"), &["198.51.100.1, 203.0.113.9, 10.0.0.6"]);
    assert!(is_upgraded(&answer));
    let (_kept, answer) = asks(&mut stage, PROXY, &header("198.51.100.7:80"), &["203.0.113.9"]);
    assert!(is_upgraded(&answer));
    assert_eq!(opened(&stage), [Some("203.0.113.9:0".parse().unwrap()), Some("198.51.100.7:80".parse().unwrap())]);
}

/// Whether a client that comes like this may publish, where programs on this machine may.
fn publishes(is_proxied: bool, peer: &str, first: &[u8], forwarded: &[&str]) -> bool {
    let mut stage = stage(is_proxied, 0);
    let (wire, answer) = asks(&mut stage, peer, first, forwarded);
    assert!(is_upgraded(&answer), "{answer:?}");
    let mut player = Player { wire, connection: ConnectionId::HOST, protocol: Protocol::Raw, rng: Rng::new(1) };
    player.says("hello");
    let said = stage.plays(6, &mut player);
    !said.iter().any(|text| text.starts_with("Close"))
}

#[test]
fn who_comes_by_a_proxy_is_not_on_this_machine() {
    const HERE: &str = "127.0.0.1:1";
    assert!(publishes(false, HERE, b"", &[]), "a program on this machine");
    assert!(!publishes(false, HERE, b"", &["203.0.113.1"]));
    assert!(!publishes(false, HERE, b"", &["127.0.0.1"]));
    assert!(!publishes(false, HERE, b"", &[""]));
    assert!(!publishes(true, HERE, &header("203.0.113.1:1"), &[]));
    assert!(!publishes(true, HERE, &header("127.0.0.1:1"), &[]), "another machine's loopback, or somebody's invention");
    assert!(!publishes(true, HERE, b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00", &[]), "the proxy itself");
    assert!(!publishes(true, HERE, b"\r\n\r\n\0\r\nQUIT\n\x21\x00\x00\x00", &[]));
}

#[test]
fn silence_behind_a_proxy_ends_with_the_time_of_a_handshake() {
    let mut stage = stage(true, 0);
    let timeout_ns = LimitsConfig::default().handshake_timeout.as_nanos() as u64;
    let silent = stage.net.connect_from(0, PROXY.parse().expect("an address"));
    stage.turn_of(&mut []);
    let came_ns = stage.net.now_ns();
    stage.net.advance_to(came_ns + timeout_ns - 2_000_000);
    stage.turn_of(&mut []);
    assert_eq!(stage.net.open_slots(0), 1);
    stage.net.advance_to(came_ns + timeout_ns);
    (0..2).for_each(|_| _ = stage.turn_of(&mut []));
    assert_eq!((stage.net.open_slots(0), stage.stats().accepted), (0, 0));
    drop(silent);
}
