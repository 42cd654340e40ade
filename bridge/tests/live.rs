//! What is published on one node reaches the subscribers of all: once, and in order.

use fanwire::Priority;

use crate::support::node::{Node, Subscriber};
use crate::support::server::Server;
use crate::support::wait_until;

const TOPIC: &str = "load/a b.c/\u{3000}x";
const MESSAGES: u64 = 400;

/// Waits until what any of the nodes publishes reaches every subscriber.
pub fn settle(nodes: &[Node], subscribers: &[Subscriber]) {
    let mut probes = 0;
    wait_until("all hear all", || {
        probes += 1;
        for (n, node) in nodes.iter().enumerate() {
            Priority::ALL.into_iter().for_each(|p| node.publish(TOPIC, p, &format!("probe {n} {p} {probes}")));
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
        subscribers.iter().all(|subscriber| {
            let heard = subscriber.heard();
            let has = |n, p| heard.iter().any(|text| text.starts_with(&format!("probe {n} {p}")));
            (0..nodes.len()).all(|n| Priority::ALL.into_iter().all(|p| has(n, p)))
        })
    });
}

fn everything_reaches_all(nodes: usize) {
    let Some(server) = Server::started() else { return };
    let nodes: Vec<Node> = (0..nodes).map(|_| Node::new(&server)).collect();
    let subscribers: Vec<Subscriber> = nodes.iter().map(|node| node.subscribe(TOPIC)).collect();
    settle(&nodes, &subscribers);
    std::thread::scope(|scope| {
        for (n, node) in nodes.iter().enumerate() {
            scope.spawn(move || {
                for number in 1..=MESSAGES {
                    for priority in Priority::ALL {
                        node.publish(TOPIC, priority, &format!("{n} {priority} {number}"));
                    }
                }
            });
        }
    });
    let all: Vec<u64> = (1..=MESSAGES).collect();
    for (at, subscriber) in subscribers.iter().enumerate() {
        for n in 0..nodes.len() {
            for priority in Priority::ALL {
                let prefix = format!("{n} {priority} ");
                wait_until("the last has come", || subscriber.heard_of(&prefix).last() == Some(&MESSAGES));
                assert_eq!(subscriber.heard_of(&prefix), all, "of node {n}, {priority}, at node {at}");
            }
        }
    }
    for node in &nodes {
        for cause in ["outlet", "outward", "expired", "too_large", "cut", "peer", "inward", "refused"] {
            assert_eq!(node.lost(cause), 0, "{cause}");
        }
        assert_eq!(node.counted("fanwire_bridge_copies", ""), 0);
    }
}

#[test]
fn every_message_reaches_both_of_two_nodes_once_and_in_order() {
    everything_reaches_all(2);
}

#[test]
fn every_message_reaches_all_of_three_nodes_once_and_in_order() {
    everything_reaches_all(3);
}

#[test]
fn a_node_without_interest_gets_no_message() {
    let Some(server) = Server::started() else { return };
    let (one, other) = (Node::new(&server), Node::new(&server));
    let wanted = other.subscribe("wanted");
    let mut sent = 0;
    wait_until("the interest has got around", || {
        sent += 1;
        one.publish("wanted", Priority::High, &format!("n {sent}"));
        one.publish("unwanted", Priority::High, "nobody hears this");
        std::thread::sleep(std::time::Duration::from_millis(10));
        !wanted.heard().is_empty()
    });
    for _ in 0..200 {
        one.publish("unwanted", Priority::High, "nobody hears this");
    }
    sent += 1;
    one.publish("wanted", Priority::High, &format!("n {sent}"));
    wait_until("the last has come", || wanted.heard_of("n ").last() == Some(&sent));
    let came = other.counted("fanwire_bridge_messages", "direction=\"in\"");
    assert_eq!((came, wanted.heard().len() as u64), (wanted.heard().len() as u64, came), "nothing else came");
    assert_eq!(other.counted("fanwire_bridge_unwanted", ""), 0);
    assert_eq!(one.counted("fanwire_bridge_messages", "direction=\"in\""), 0, "nor did anything come back");
}

#[test]
fn who_subscribes_to_more_meanwhile_costs_nobody_a_message() {
    let Some(server) = Server::started() else { return };
    let nodes = [Node::new(&server), Node::new(&server)];
    let subscribers = [nodes[0].subscribe(TOPIC), nodes[1].subscribe(TOPIC)];
    settle(&nodes, &subscribers);
    let mut others = Vec::new();
    for number in 1..=2_000u64 {
        nodes[0].publish(TOPIC, Priority::Normal, &format!("n {number}"));
        // Each covers those before it: subscriptions at the server change hands.
        match number {
            500 => others.push(nodes[1].subscribe_to_pattern("load/a b.c/*")),
            1_000 => others.push(nodes[1].subscribe_to_pattern("load/**")),
            1_500 => others.push(nodes[1].subscribe_to_pattern("**")),
            _ => {}
        }
    }
    wait_until("the last has come", || subscribers[1].heard_of("n ").last() == Some(&2_000));
    assert_eq!(subscribers[1].heard_of("n "), (1..=2_000).collect::<Vec<_>>());
    assert_eq!(nodes[1].lost("peer"), 0);
    wait_until("the wider pattern is all there is", || nodes[1].counted("fanwire_bridge_subscriptions", "") == 4);
}
