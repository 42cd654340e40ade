//! What `[::]` covers: both kinds of addresses, or IPv6 alone where an IPv4 address with the same port is listened on besides.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use crate::support::{config, connect, read_to_close, skip, start};
use fanwire::{DriverChoice, Engine, StartError};

on_both_drivers![the_address_of_all_takes_both_kinds, the_two_addresses_of_all_stand_side_by_side,];

fn has_ipv6() -> bool {
    let has = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    if !has {
        skip("no IPv6 here");
    }
    has
}

fn serves(engine: Engine, addresses: &[SocketAddr]) {
    let mut clients: Vec<_> = addresses.iter().map(|address| connect(*address, "/t/news", None)).collect();
    let closer = std::thread::spawn(move || engine.shutdown(crate::support::PATIENCE));
    for (client, address) in clients.iter_mut().zip(addresses) {
        assert_eq!(read_to_close(client).1, 1001, "{address}");
    }
    assert!(closer.join().expect("it ends").is_clean);
}

fn the_address_of_all_takes_both_kinds(driver: DriverChoice) {
    if !has_ipv6() {
        return;
    }
    for shards in [1, 2] {
        let mut config = config(driver);
        config.shards = Some(shards);
        config.listen = vec![(Ipv6Addr::UNSPECIFIED, 0).into()];
        let engine = start(config);
        let [address] = *engine.local_addrs() else { panic!("one address") };
        assert!(engine.is_dual_stack(address));
        let port = address.port();
        serves(engine, &[(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]);
    }
}

fn the_two_addresses_of_all_stand_side_by_side(driver: DriverChoice) {
    if !has_ipv6() {
        return;
    }
    // A port that is free for both kinds; somebody may be quicker.
    let engine = (0..20).find_map(|_| {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?.local_addr().ok()?.port();
        let mut config = config(driver);
        config.listen = vec![(Ipv6Addr::UNSPECIFIED, port).into(), (Ipv4Addr::UNSPECIFIED, port).into()];
        match Engine::start(config) {
            Err(StartError::Listen { .. }) => None,
            other => Some(other.expect("it starts")),
        }
    });
    let engine = engine.expect("a free port");
    let [six, four] = *engine.local_addrs() else { panic!("two addresses") };
    assert!(!engine.is_dual_stack(six) && !engine.is_dual_stack(four));
    let port = six.port();
    serves(engine, &[(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]);
}
