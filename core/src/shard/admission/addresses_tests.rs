//! What each address has done, and what comes of it.

use super::*;
use crate::config::LimitsConfig;

const SECOND_NS: u64 = 1_000_000_000;

/// With room for so many connections, and for so many of one address.
fn with_room(connections_per_address_max: u32, slots: u32) -> Addresses {
    Addresses::new(&LimitsConfig { connections_per_address_max, ..LimitsConfig::default() }, slots)
}

/// With so many upgrades of one address in a minute, and so many that may fail.
fn rates(upgrades: u32, failures: u32) -> Addresses {
    let limits = LimitsConfig {
        upgrades_per_address_per_minute_max: upgrades,
        failures_per_address_per_minute_max: failures,
        ..LimitsConfig::default()
    };
    Addresses::new(&limits, 4)
}

fn site(text: &str) -> Site {
    Site::of(Some(text.parse().unwrap()))
}

#[test]
fn an_address_has_so_many_connections_and_not_one_more() {
    for each_max in [1, 2, 7] {
        let addresses = with_room(each_max, 100);
        let places: Vec<_> = (0..each_max).map(|_| addresses.enter(site("192.0.2.1:1"), 0).unwrap()).collect();
        assert_eq!(addresses.enter(site("192.0.2.1:2"), 0), Err(TurnedAway::Full));
        assert!(addresses.enter(site("192.0.2.2:1"), 0).is_ok());
        addresses.leave(places[0], 0);
        assert!(addresses.enter(site("192.0.2.1:3"), 0).is_ok());
        assert_eq!(addresses.enter(site("192.0.2.1:4"), 0), Err(TurnedAway::Full));
    }
}

#[test]
fn the_same_site_is_the_same_address() {
    let addresses = with_room(1, 100);
    for (first, same) in [
        ("[2001:db8:0:1::1]:1", "[2001:db8:0:1:ffff::2]:2"),
        ("192.0.2.1:1", "[::ffff:192.0.2.1]:2"),
        ("127.0.0.1:1", "127.0.0.1:2"),
    ] {
        assert!(addresses.enter(site(first), 0).is_ok());
        assert_eq!(addresses.enter(site(same), 0), Err(TurnedAway::Full), "{same}");
    }
    for other in ["[2001:db8:0:2::1]:1", "[::ffff:192.0.2.2]:1", "127.0.0.2:1"] {
        assert!(addresses.enter(site(other), 0).is_ok(), "{other}");
    }
}

#[test]
fn who_has_no_address_and_who_has_no_limit_is_not_counted() {
    let addresses = with_room(1, 4);
    for _ in 0..10 {
        assert_eq!(addresses.enter(Site::of(None), 0), Ok(Place::NOT_COUNTED));
    }
    let unlimited = with_room(0, 4);
    for _ in 0..10 {
        assert_eq!(unlimited.enter(site("192.0.2.1:1"), 0), Ok(Place::NOT_COUNTED));
    }
    unlimited.leave(Place::NOT_COUNTED, 0);
    assert_eq!((addresses.len(), unlimited.len()), (0, 0));
}

/// Against a plain list, with few chains for many addresses.
#[test]
fn a_plain_list_says_the_same() {
    let mut chance = 1u64;
    let mut draw = |below: u64| {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (chance >> 33) % below
    };
    for (each_max, sites) in [(1, 60), (3, 20), (50, 3)] {
        let addresses = with_room(each_max, 64);
        let mut list: Vec<(u64, Place)> = Vec::new();
        for _ in 0..5_000 {
            if list.len() < 64 && draw(2) == 0 {
                let from = draw(sites);
                let has = list.iter().filter(|(other, _)| *other == from).count();
                let entered = addresses.enter(site(&format!("192.0.2.{from}:1")), 0);
                assert_eq!(entered.is_ok(), has < each_max as usize, "{has} of {each_max}");
                list.extend(entered.map(|place| (from, place)));
            } else if !list.is_empty() {
                let (_, place) = list.swap_remove(draw(list.len() as u64) as usize);
                addresses.leave(place, 0);
            }
            let distinct: std::collections::BTreeSet<_> = list.iter().map(|(from, _)| from).collect();
            assert_eq!(addresses.len(), distinct.len());
        }
        list.drain(..).for_each(|(_, place)| addresses.leave(place, 0));
        assert_eq!(addresses.len(), 0);
    }
}

#[test]
fn an_address_comes_so_often_in_a_minute_and_not_once_more() {
    for upgrades in [1, 6, 60] {
        let addresses = rates(upgrades, 0);
        let comes =
            |from: &str, now_ns| addresses.enter(site(from), now_ns).map(|place| addresses.leave(place, now_ns));
        for _ in 0..upgrades {
            assert_eq!(comes("192.0.2.1:1", 5), Ok(()));
        }
        let wait_ns = 60 * SECOND_NS / u64::from(upgrades);
        for _ in 0..3 {
            assert_eq!(comes("192.0.2.1:1", 5), Err(TurnedAway::TooOften { wait_ns }), "and it is not counted");
        }
        assert_eq!(comes("192.0.2.2:1", 5), Ok(()), "another address");
        assert_eq!(comes("192.0.2.1:1", 5 + wait_ns), Ok(()));
        assert!(comes("192.0.2.1:1", 5 + wait_ns).is_err());
    }
}

#[test]
fn an_address_fails_so_often_in_a_minute_and_after_once_more_one_may_try() {
    let addresses = rates(0, 2);
    let place = addresses.enter(site("192.0.2.1:1"), 0).unwrap();
    let other = addresses.enter(site("192.0.2.2:1"), 0).unwrap();
    assert!(!addresses.on_failure(place, By::Client, 0) && !addresses.on_failure(place, By::Client, 0), "at the limit");
    assert!(!addresses.on_failure(other, By::Client, 0), "another address");
    assert!(addresses.enter(site("192.0.2.1:2"), 0).is_ok());
    assert!(addresses.on_failure(place, By::Client, 0), "one past it");
    let failing = |wait_s| Err(TurnedAway::Failing { wait_ns: wait_s * SECOND_NS });
    assert_eq!(addresses.enter(site("192.0.2.1:3"), 0), failing(30));
    assert!(addresses.enter(site("192.0.2.2:3"), 0).is_ok());
    let tries = addresses.enter(site("192.0.2.1:4"), 30 * SECOND_NS).unwrap();
    assert_eq!(addresses.enter(site("192.0.2.1:5"), 30 * SECOND_NS), failing(15), "one tries at a time");
    assert!(addresses.on_failure(tries, By::Client, 30 * SECOND_NS));
    assert_eq!(addresses.enter(site("192.0.2.1:6"), 30 * SECOND_NS), failing(60));
    let tries = addresses.enter(site("192.0.2.1:7"), 90 * SECOND_NS).unwrap();
    addresses.on_success(tries, By::Client);
    assert!(addresses.enter(site("192.0.2.1:8"), 90 * SECOND_NS).is_ok());
}

#[test]
fn what_pages_ask_for_is_counted_by_itself() {
    let addresses = rates(0, 2);
    let place = addresses.enter(site("192.0.2.1:1"), 0).unwrap();
    for _ in 0..2 {
        assert!(!addresses.on_failure(place, By::Page, 0), "at the limit");
        assert_eq!(addresses.enter_page(place, 0), Ok(()));
    }
    assert!(addresses.on_failure(place, By::Page, 0), "one past it");
    assert_eq!(addresses.enter_page(place, 0), Err(30 * SECOND_NS));
    let own = addresses.enter(site("192.0.2.1:2"), 0).unwrap();
    assert!(!addresses.on_failure(own, By::Client, 0), "nothing was counted for the client itself");
    assert_eq!(addresses.enter_page(place, 30 * SECOND_NS), Ok(()), "one tries");
    assert_eq!(addresses.enter_page(place, 30 * SECOND_NS), Err(15 * SECOND_NS));
    addresses.on_success(place, By::Page);
    assert_eq!(addresses.enter_page(place, 30 * SECOND_NS), Ok(()));
    // And the other way round; what is to be remembered of pages keeps the address.
    assert!(!addresses.on_failure(own, By::Client, 0) && addresses.on_failure(own, By::Client, 0));
    assert_eq!(addresses.enter_page(place, 30 * SECOND_NS), Ok(()));
    addresses.on_failure(place, By::Page, 30 * SECOND_NS);
    let other = addresses.enter(site("192.0.2.2:1"), 0).unwrap();
    addresses.on_failure(other, By::Page, 0);
    addresses.leave(other, 0);
    assert_eq!(addresses.len(), 2);
    assert_eq!(addresses.enter_page(Place::NOT_COUNTED, 0), Ok(()));
}

#[test]
fn what_is_over_is_forgotten_and_where_there_is_no_room_what_was_left_first() {
    let addresses = rates(1, 0);
    let room = 4 + REMEMBERED_MAX;
    let from = |number: u32| site(&format!("[2001:db8:{:x}:{:x}::1]:1", number >> 16, number & 0xffff));
    let comes = |number, now_ns| addresses.enter(from(number), now_ns).map(|place| addresses.leave(place, now_ns));
    for number in 0..room {
        assert_eq!(comes(number, 0), Ok(()));
    }
    assert_eq!(addresses.len(), room as usize);
    assert!(comes(0, 0).is_err() && comes(1, 0).is_err(), "all are remembered");
    assert_eq!(comes(room, 0), Ok(()));
    assert_eq!((addresses.len(), addresses.connected()), (room as usize, 0));
    assert_eq!(comes(0, 0), Ok(()), "it was left first: the one past the last took its place");
    assert!(comes(2, 0).is_err());
    // Who has a connection stays, whoever comes.
    let stays = addresses.enter(from(2), 60 * SECOND_NS).unwrap();
    for number in room..3 * room {
        assert_eq!(comes(number, 60 * SECOND_NS), Ok(()));
    }
    assert!(addresses.enter(from(2), 60 * SECOND_NS).is_err());
    addresses.leave(stays, 120 * SECOND_NS);
    assert!(addresses.enter(from(2), 120 * SECOND_NS).is_ok());
}

#[test]
fn an_address_that_is_over_goes_before_one_that_is_refused() {
    let addresses = rates(0, 1);
    let failing = addresses.enter(site("192.0.2.1:1"), 0).unwrap();
    assert!(!addresses.on_failure(failing, By::Client, 0) && addresses.on_failure(failing, By::Client, 0));
    addresses.leave(failing, 0);
    // One failure each, which is over a minute later.
    for number in 0..3 + REMEMBERED_MAX {
        let place = addresses.enter(site(&format!("[2001:db8:0:{number:x}::1]:1")), 0).unwrap();
        addresses.on_failure(place, By::Client, 0);
        addresses.leave(place, 0);
    }
    assert_eq!(addresses.len(), 4 + REMEMBERED_MAX as usize);
    let now_ns = 300 * SECOND_NS;
    let tries = addresses.enter(site("192.0.2.1:1"), now_ns).unwrap();
    addresses.on_failure(tries, By::Client, now_ns);
    addresses.leave(tries, now_ns);
    for number in 0..100 {
        let place = addresses.enter(site(&format!("[2001:db8:1:{number:x}::1]:1")), now_ns).unwrap();
        addresses.on_failure(place, By::Client, now_ns);
        addresses.leave(place, now_ns);
    }
    assert!(matches!(addresses.enter(site("192.0.2.1:1"), now_ns), Err(TurnedAway::Failing { .. })));
}
