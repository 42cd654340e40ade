//! `/metrics` of the real binary, against what its clients did: the same to the last message. And how often it is rendered.

use std::collections::{BTreeMap, BTreeSet};

use super::http::Site;
use crate::support::{Subscriber, publish};

/// Samples by name, summed over their labels.
fn sums(text: &str) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        let name = name.split('{').next().unwrap();
        *sums.entry(name.to_owned()).or_default() += value.parse::<f64>().unwrap_or_else(|_| panic!("{line}"));
    }
    sums
}

/// Whatever a server says stands in the reference, with what it means.
#[test]
fn every_metric_stands_in_the_reference() {
    let page = include_str!("../../../docs/reference/metrics.md");
    let site = Site::start(&[]);
    assert_eq!(site.ask("POST", "/api/performance/benchmark", &[], "").status, 200);
    let text = site.get("/metrics").body;
    let missing: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .filter(|name| !page.contains(&format!("`{name}`")))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// Scrapes until `is_so`: counters of a shard that sleeps are up to a second old.
pub fn scrape_until(site: &Site, what: &str, is_so: impl Fn(&BTreeMap<String, f64>) -> bool) -> BTreeMap<String, f64> {
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    loop {
        let sums = sums(&site.get("/metrics").body);
        if is_so(&sums) {
            return sums;
        }
        assert!(std::time::Instant::now() < deadline, "{what}: {sums:?}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn figures_are_what_clients_have_seen() {
    let site = Site::start(&["--publish", "loopback", "--shards", "1"]);
    let mut subscribers: Vec<Subscriber> = (0..3).map(|_| Subscriber::connect(site.clients, "a/**", None)).collect();
    let lines: String = (0..100).map(|number| format!("{number}\n")).collect();
    publish(&format!("ws://{}", site.clients), &["a/b"], &lines);
    for subscriber in &mut subscribers {
        let mut heard = 0;
        while heard < 100 {
            heard += u32::from(subscriber.next_object().expect("it is connected")["type"] == "message");
        }
    }
    drop(subscribers.pop());
    let sums = scrape_until(&site, "everything is counted", |sums| {
        sums["fanwire_closed_total"] == 2.0 && sums["fanwire_deliveries_total"] == 300.0
    });
    for (name, expected) in [
        ("fanwire_connections", 2.0),
        ("fanwire_accepted_total", 4.0),
        ("fanwire_upgraded_total", 4.0),
        ("fanwire_messages_total", 100.0),
        ("fanwire_deliveries_total", 300.0),
        ("fanwire_gaps_total", 0.0),
        ("fanwire_running", 1.0),
        ("fanwire_admin_refused_requests_total", 0.0),
    ] {
        assert_eq!(sums[name], expected, "{name}");
    }
    assert!(sums["process_resident_memory_bytes"] > 0.0 && sums["process_cpu_seconds_total"] > 0.0);
    // Who comes by the admin port is a connection like any other.
    assert_eq!(site.ask("GET", "/api/load", &[("Host", "evil.example")], "").status, 421);
    scrape_until(&site, "a refusal is counted", |sums| sums["fanwire_admin_refused_requests_total"] == 1.0);
}

#[test]
fn whoever_asks_without_end_gets_the_same_text_for_a_while() {
    let site = Site::start(&[]);
    let began = std::time::Instant::now();
    let mut texts = BTreeSet::new();
    for _ in 0..60 {
        texts.insert(site.get("/metrics").body);
    }
    // Ten a second, and one.
    let most = began.elapsed().as_millis() as usize / 100 + 1;
    assert!(texts.len() <= most, "{} texts, at most {most}", texts.len());
}
