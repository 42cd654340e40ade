//! Plain NATS publishers and subscribers need no change.

use fanwire::Priority;
use fanwire_bridge::BridgeConfig;
use fanwire_bridge::node::Prefix;

use crate::support::node::Node;
use crate::support::plain::Plain;
use crate::support::server::Server;
use crate::support::wait_until;

fn node(server: &Server) -> Node {
    Node::with(BridgeConfig {
        urls: vec![server.url()],
        foreign: vec![Prefix::parse("plant.line1").expect("a prefix")],
        ..BridgeConfig::default()
    })
}

#[test]
fn plain_publishers_and_subscribers_are_heard_and_hear() {
    let Some(server) = Server::started() else { return };
    let nodes = [node(&server), node(&server)];
    let mut plain = Plain::connect(&server);
    plain.subscribe("plant.>");
    let subscribers = [nodes[0].subscribe("plant/line1/temp"), nodes[1].subscribe("plant/line1/temp")];
    let mut probes = 0;
    wait_until("both nodes hear plain publishers", || {
        probes += 1;
        plain.publish("plant.line1.temp", &format!("probe {probes}"));
        std::thread::sleep(std::time::Duration::from_millis(20));
        subscribers.iter().all(|subscriber| !subscriber.heard().is_empty())
    });
    for number in 1..=100 {
        plain.publish("plant.line1.temp", &format!("plain {number}"));
    }
    // Poison: subjects that are no topics, and one that breaks the client's own parser.
    for subject in ["plant.line1.a/b", "plant.line1.%41", "plant.line1.\u{fffd}"] {
        plain.publish(subject, "no topic");
    }
    for subscriber in &subscribers {
        wait_until("the last has come", || subscriber.heard_of("plain ").last() == Some(&100));
        assert_eq!(subscriber.heard_of("plain "), (1..=100).collect::<Vec<_>>());
    }
    for number in 1..=100 {
        nodes[0].publish("plant/line1/temp", Priority::High, &format!("node {number}"));
    }
    wait_until("the last has come", || subscribers[1].heard_of("node ").last() == Some(&100));
    assert_eq!(subscribers[1].heard_of("node "), (1..=100).collect::<Vec<_>>(), "once, though it is plain, too");
    assert_eq!(subscribers[0].heard_of("node "), (1..=100).collect::<Vec<_>>(), "and does not come back");
    let mut heard = Vec::new();
    while heard.len() < 100 {
        let came = plain.next();
        let text = String::from_utf8(came.payload).expect("text");
        if let Some(number) = text.strip_prefix("node ") {
            assert!(came.subject == "plant.line1.temp" && came.reply.starts_with("_FW."), "{}", came.subject);
            heard.push(number.parse::<u32>().expect("a number"));
        }
    }
    assert_eq!(heard, (1..=100).collect::<Vec<_>>());
    assert_eq!(nodes[1].lost("peer"), 0);
    wait_until("what is no topic is counted", || nodes[0].counted("fanwire_bridge_passed_over", "") >= 2);
}

#[test]
fn a_plain_publisher_says_priority_and_key_by_headers() {
    let Some(server) = Server::started() else { return };
    let node = node(&server);
    let outlet = fanwire::OutletConfig {
        topics: vec![fanwire::proto::topic::Pattern::parse("**").expect("a pattern")],
        messages_max: 1_000,
        bytes_max: 1 << 20,
        leaves_out_forwarded: false,
    };
    let mut outlet = node.engine.outlet(outlet).expect("a second outlet");
    let mut plain = Plain::connect(&server);
    let mut found = None;
    wait_until("it comes", || {
        let headers = "Fanwire-Priority: critical\r\nFanwire-Key: valve-7\r\n";
        plain.publish_with("plant.line1.valve", headers, "open");
        std::thread::sleep(std::time::Duration::from_millis(20));
        found = outlet.next();
        found.is_some()
    });
    let found = found.expect("just now");
    assert_eq!((&*found.topic, &*found.payload), ("plant/line1/valve", b"open".as_slice()));
    assert_eq!((found.priority, found.key), (Priority::Critical, fanwire::key_number("valve-7")));
    assert!(found.is_forwarded);
}
