//! Job: what an operator is told when an engine starts: one line that says what is served to whom, and every warning with the way to
//! silence it.
//! Knows: what an engine says of itself. Must never know: how lines are shown.

use std::fmt::Write as _;
use std::net::SocketAddr;

use fanwire::{Config, Engine, Listener, PublishAccess};

use crate::console::tell;

/// What is served where, who may publish, who may connect, and what it may cost.
pub fn summary(engine: &Engine) -> String {
    let mut line = String::from("serving ");
    for (n, listener) in engine.listeners().iter().enumerate() {
        let comma = if n == 0 { "" } else { ", " };
        let _ = write!(
            line,
            "{comma}{}",
            place(listener, listener.address().is_some_and(|address| engine.is_dual_stack(address)))
        );
    }
    let plan = engine.plan();
    let _ = write!(
        line,
        "; {}; {}; at most {:.1} MiB; driver {}, {} shard{}",
        publishers(engine.config()),
        pages(&engine.config().access.allowed_origins),
        plan.total_bytes() as f64 / f64::from(1 << 20),
        engine.driver(),
        plan.shards,
        if plan.shards == 1 { "" } else { "s" }
    );
    line
}

fn place(listener: &Listener, is_dual_stack: bool) -> String {
    let covers = match listener.address() {
        _ if is_dual_stack => " (all addresses, IPv6 and IPv4)",
        Some(SocketAddr::V6(v6)) if v6.ip().is_unspecified() => " (all IPv6 addresses)",
        Some(SocketAddr::V4(v4)) if v4.ip().is_unspecified() => " (all IPv4 addresses)",
        _ => "",
    };
    let proxied = if listener.is_proxied { " (PROXY protocol)" } else { "" };
    format!("{}{covers}{proxied}", listener.url())
}

fn publishers(config: &Config) -> &'static str {
    if config.access.ask_host.is_some() {
        return "clients may do what their tokens say";
    }
    match config.access.publish {
        PublishAccess::Nobody => "clients may not publish",
        PublishAccess::Loopback => "clients on this machine may publish",
        PublishAccess::Everyone => "every client may publish",
    }
}

fn pages(origins: &[String]) -> String {
    match origins {
        [] => "pages of any origin may connect".into(),
        [one] => format!("pages of {one} may connect"),
        [first, more @ ..] => format!("pages of {first} and {} more may connect", more.len()),
    }
}

/// Warns of what an operator has to know.
pub fn warn(engine: &Engine) {
    // The library says it through tracing too, at WARN: an operator who silenced that still has to know.
    if let Some(notice) = engine.driver_notice()
        && !tracing::enabled!(tracing::Level::WARN)
    {
        tell!("fanwire: {notice}");
    }
    warn_of(engine.config());
}

/// Warns of what a configuration lets others do.
pub fn warn_of(config: &Config) {
    if let Some(risk) = publish_risk(config) {
        tracing::warn!(target: "publish", "{risk}");
    }
    if config.access.allowed_origins.iter().any(|origin| origin == "null") {
        tracing::warn!(
            target: "origin",
            "--allow-origin null lets in every page without an origin: local files, and any sandboxed frame of any site. \
             `--log info,origin=off` silences this"
        );
    }
}

/// What follows from the choice of who may publish, where it is not nobody.
fn publish_risk(config: &Config) -> Option<&'static str> {
    if config.access.ask_host.is_some() {
        return None;
    }
    match config.access.publish {
        PublishAccess::Nobody => None,
        PublishAccess::Loopback => Some(
            "--publish loopback: programs on this machine may publish to any topic at any priority, and so may EVERYBODY who comes \
             through a TLS terminator, proxy or tunnel on this machine that adds no forwarding header (stunnel, HAProxy in TCP mode, \
             ssh -R). `--publish nobody` refuses them; `--log info,publish=off` silences this",
        ),
        PublishAccess::Everyone => Some(
            "--publish everyone: EVERYBODY who can connect may publish to any topic at any priority. `--publish nobody` refuses them; \
             `--log info,publish=off` silences this",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_say_what_they_cover() {
        for (address, is_dual_stack, expected) in [
            ("127.0.0.1:9001", false, "ws://127.0.0.1:9001"),
            ("0.0.0.0:9001", false, "ws://0.0.0.0:9001 (all IPv4 addresses)"),
            ("[::]:9001", false, "ws://[::]:9001 (all IPv6 addresses)"),
            ("[::]:9001", true, "ws://[::]:9001 (all addresses, IPv6 and IPv4)"),
            ("[::1]:9001", false, "ws://[::1]:9001"),
        ] {
            assert_eq!(place(&address.parse().unwrap(), is_dual_stack), expected);
        }
    }

    #[test]
    fn whoever_may_publish_but_the_host_is_worth_a_warning() {
        let mut config = Config::default();
        assert_eq!(publish_risk(&config), None, "nobody is the default");
        for access in [PublishAccess::Loopback, PublishAccess::Everyone] {
            config.access.publish = access;
            assert!(publish_risk(&config).is_some_and(|text| text.contains("silences this")));
        }
    }

    #[test]
    fn origins_are_counted_beyond_the_first() {
        let origins = |count: usize| pages(&vec!["https://a".to_owned(); count]);
        assert_eq!(origins(0), "pages of any origin may connect");
        assert_eq!(origins(1), "pages of https://a may connect");
        assert_eq!(origins(3), "pages of https://a and 2 more may connect");
    }
}
