//! A host hears which names and patterns have subscribers.

use std::collections::BTreeSet;

use fanwire::{DriverChoice, Engine, Interest, InterestError};

use crate::support::{addr, config, send, start, subscribe, wait_until};

on_both_drivers![a_host_hears_who_wants_what_from_the_first_to_the_last];

/// Waits until somebody is said to want all of these; the order among them is not told.
fn hear(interest: &mut Interest, wanted: &[&str]) {
    let mut left = wanted.to_vec();
    wait_until("changes are told", || {
        if let Some(change) = interest.next().filter(|change| change.is_wanted) {
            left.retain(|topics| *topics != change.topics.as_str());
        }
        left.is_empty()
    });
}

/// One who wants the name `early` and the pattern `all/**`, before anybody hears of it.
fn early(engine: &Engine) -> crate::support::Client {
    subscribe(addr(engine), &["early", "all/**"])
}

fn a_host_hears_who_wants_what_from_the_first_to_the_last(driver: DriverChoice) {
    let engine = start(config(driver));
    let mut first = early(&engine);
    let mut interest = engine.interest().expect("nobody hears");
    assert_eq!(engine.interest().err(), Some(InterestError::Taken));
    hear(&mut interest, &["early", "all/**"]);
    let second = subscribe(addr(&engine), &["early", "all/**", "late/*"]);
    hear(&mut interest, &["late/*"]);
    send(&mut first, r#"{"type":"unsubscribe","id":2,"topics":["early","all/**"]}"#);
    drop(second);
    let mut gone = BTreeSet::new();
    wait_until("all are gone", || {
        gone.extend(interest.next().filter(|change| !change.is_wanted).map(|change| change.topics.to_string()));
        gone.len() >= 3
    });
    assert!(gone.iter().map(String::as_str).eq(["all/**", "early", "late/*"]), "{gone:?}");
    drop(interest);
    let mut again = engine.interest().expect("nobody hears any more");
    assert_eq!(again.next(), None);
    let third = subscribe(addr(&engine), &["again/*"]);
    hear(&mut again, &["again/*"]);
    drop(third);
    engine.shutdown_now();
}
