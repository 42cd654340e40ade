//! A host hears which names and patterns have subscribers.

use fanwire::{DriverChoice, Engine, Interest, InterestError};

use crate::support::{addr, config, send, start, subscribe, wait_until};

on_both_drivers![a_host_hears_who_wants_what_from_the_first_to_the_last];

/// Waits until a change is told, past others.
fn hear(interest: &mut Interest, topics: &str, is_wanted: bool) {
    wait_until("a change is told", || {
        interest.next().is_some_and(|change| (change.topics.as_str(), change.is_wanted) == (topics, is_wanted))
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
    hear(&mut interest, "early", true);
    hear(&mut interest, "all/**", true);
    let second = subscribe(addr(&engine), &["early", "all/**", "late/*"]);
    hear(&mut interest, "late/*", true);
    send(&mut first, r#"{"type":"unsubscribe","id":2,"topics":["early","all/**"]}"#);
    drop(second);
    let mut gone = Vec::new();
    wait_until("all are gone", || {
        gone.extend(interest.next().filter(|change| !change.is_wanted).map(|change| change.topics.to_string()));
        gone.len() >= 3
    });
    gone.sort();
    assert_eq!(gone, ["all/**", "early", "late/*"]);
    drop(interest);
    let mut again = engine.interest().expect("nobody hears any more");
    assert_eq!(again.next(), None);
    let third = subscribe(addr(&engine), &["again/*"]);
    hear(&mut again, "again/*", true);
    drop(third);
    engine.shutdown_now();
}
