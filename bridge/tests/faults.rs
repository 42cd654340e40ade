//! Servers that come late, die and come back.

use fanwire::Priority;

use crate::support::node::Node;
use crate::support::server::Server;
use crate::support::wait_until;

const TOPIC: &str = "fault/topic";

/// Publishes numbers from `next` on until the other node has heard one of them. Returns the next number.
fn publish_until_heard(node: &Node, heard: impl Fn() -> Option<u64>, mut next: u64) -> u64 {
    let first = next;
    wait_until("the other node hears it", || {
        node.publish(TOPIC, Priority::Normal, &format!("n {next}"));
        next += 1;
        std::thread::sleep(std::time::Duration::from_millis(5));
        heard().is_some_and(|last| last >= first)
    });
    next
}

#[test]
fn a_server_that_comes_after_the_node_is_joined_and_meanwhile_the_node_serves() {
    let Some(mut server) = Server::to_come() else { return };
    let nodes = [Node::new(&server), Node::new(&server)];
    let (here, there) = (nodes[0].subscribe(TOPIC), nodes[1].subscribe(TOPIC));
    nodes[0].publish(TOPIC, Priority::Normal, "n 1");
    wait_until("it is heard here", || here.heard_of("n ") == [1]);
    assert_eq!((there.heard(), nodes[0].counted("fanwire_bridge_connections", "")), (Vec::new(), 0));
    server.start();
    let next = publish_until_heard(&nodes[0], || there.heard_of("n ").last().copied(), 2);
    wait_until("all is heard here", || here.heard_of("n ").len() as u64 == next - 1);
    assert_eq!(here.heard_of("n "), (1..next).collect::<Vec<_>>());
}

#[test]
fn a_server_that_is_killed_and_comes_back_costs_only_what_is_told_to_the_message() {
    let Some(mut server) = Server::started() else { return };
    let nodes = [Node::new(&server), Node::new(&server)];
    let (here, there) = (nodes[0].subscribe(TOPIC), nodes[1].subscribe(TOPIC));
    let last = || there.heard_of("n ").last().copied();
    let mut next = publish_until_heard(&nodes[0], last, 1);
    for _ in 0..3 {
        for _ in 0..500 {
            nodes[0].publish(TOPIC, Priority::Normal, &format!("n {next}"));
            next += 1;
        }
        server.kill();
        for _ in 0..500 {
            nodes[0].publish(TOPIC, Priority::Normal, &format!("n {next}"));
            next += 1;
        }
        server.start();
        next = publish_until_heard(&nodes[0], last, next);
    }
    // What is under way comes.
    let next = publish_until_heard(&nodes[0], last, next);
    wait_until("the last has come", || last() == Some(next - 1));
    let heard = there.heard_of("n ");
    assert!(heard.windows(2).all(|two| two[0] < two[1]), "once, and in order");
    let missing = heard[heard.len() - 1] - heard[0] + 1 - heard.len() as u64;
    assert_eq!(nodes[1].lost("peer"), missing, "what is missing is counted to the message");
    wait_until("all is heard here", || here.heard_of("n ").len() as u64 == next - 1);
    assert!(nodes[0].counted("fanwire_bridge_disconnects", "") >= 3);
    assert_eq!(nodes[1].lost("inward") + nodes[1].lost("refused"), 0);
}
