//! The alerts and the dashboard below `tuning` against a real scrape: every metric that they ask for is there.

use std::collections::BTreeSet;

use serde_json::Value;

use super::http::Site;

const RULES: &str = include_str!("../../../tuning/prometheus/fanwire.rules.yml");
const BOARD: &str = include_str!("../../../tuning/grafana/fanwire.json");

/// Names in a query that can be ours.
fn names(query: &str) -> impl Iterator<Item = &str> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    query.split(move |c| !is_of_name(c)).filter(|word| word.starts_with("fanwire_") || word.starts_with("process_"))
}

fn queries(board: &Value, found: &mut Vec<String>) {
    match board {
        Value::Object(members) => members.iter().for_each(|(name, member)| match member.as_str() {
            Some(text) if name == "expr" || name == "query" => found.push(text.to_owned()),
            _ => queries(member, found),
        }),
        Value::Array(items) => items.iter().for_each(|item| queries(item, found)),
        _ => {}
    }
}

#[test]
fn what_alerts_and_boards_ask_for_is_in_a_scrape() {
    let site = Site::start(&[]);
    // So that there is a figure of it.
    assert_eq!(site.ask("POST", "/api/performance/benchmark", &[], "").status, 200);
    let scrape = site.get("/metrics").body;
    assert!(scrape.ends_with("# EOF\n") && scrape.matches("# EOF").count() == 1, "{scrape}");
    let samples: BTreeSet<&str> =
        scrape.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split(['{', ' ']).next()).collect();
    let families: BTreeSet<&str> =
        scrape.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    // They have samples where TLS is spoken, something was dropped, keys come from a URL.
    let without_samples =
        ["fanwire_certificate_expiry_seconds", "fanwire_dropped_messages_total", "fanwire_jwks_failures_in_a_row"];
    let mut asked = Vec::new();
    queries(&serde_json::from_str(BOARD).unwrap(), &mut asked);
    assert!(asked.len() > 30, "{asked:?}");
    for query in asked.iter().map(String::as_str).chain(RULES.lines().filter(|line| !line.contains("summary:"))) {
        for name in names(query) {
            let family = name.strip_suffix("_total").unwrap_or(name);
            let is_there = samples.contains(name) || without_samples.contains(&name) && families.contains(family);
            assert!(is_there, "{name} of `{query}` is in no scrape");
        }
    }
}

#[test]
fn every_alert_has_a_test_and_stands_in_the_page() {
    let tests = include_str!("../../../tuning/prometheus/fanwire.rules.test.yml");
    let page = include_str!("../../../docs/how-to/observe.md");
    let alerts: Vec<&str> = RULES.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() >= 14, "{alerts:?}");
    for alert in alerts {
        assert!(tests.matches(&format!("alertname: {alert}\n")).count() >= 1, "{alert} fires in no test");
        assert!(page.contains(alert) || alert.ends_with("EndsSoon"), "{alert} is not in docs/how-to/observe.md");
    }
}
