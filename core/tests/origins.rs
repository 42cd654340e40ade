//! Which web pages may connect: the origins of the list, letter for letter; and no page ever publishes unless everybody may.

use crate::support;

use fanwire::{DriverChoice, PublishAccess};
use support::{Bare, addr, config, masked, start, upgrade_request, wait_until};

on_both_drivers![only_the_listed_origins_may_connect, without_a_list_every_origin_may_connect_and_none_may_publish,];

const LIST: [&str; 4] =
    ["https://app.example.com", "http://localhost:3000", "https://xn--mnchen-3ya.example", "http://[::1]:8080"];

/// An origin as a browser or an attacker sends it, and the status of the answer.
#[rustfmt::skip]
const TABLE: &[(&str, u16)] = &[
    ("https://app.example.com", 101),
    ("http://localhost:3000", 101),
    ("https://xn--mnchen-3ya.example", 101),
    ("http://[::1]:8080", 101),
    // Another scheme, host or port.
    ("http://app.example.com", 403),
    ("wss://app.example.com", 403),
    ("https://app.example.com:443", 403),
    ("https://app.example.com:8443", 403),
    ("https://app.example.com:", 403),
    ("http://localhost", 403),
    ("http://localhost:3001", 403),
    ("http://localhost:30000", 403),
    ("http://127.0.0.1:3000", 403),
    ("http://[::1]", 403),
    // Before it, behind it, in it.
    ("https://example.com", 403),
    ("https://evil-app.example.com", 403),
    ("https://evil.app.example.com", 403),
    ("https://app.example.com.evil.com", 403),
    ("https://app.example.comevil.com", 403),
    ("https://app-example.com", 403),
    ("https://appXexample.com", 403),
    ("https://app.example.com@evil.com", 403),
    ("https://evil.com#https://app.example.com", 403),
    ("https://evil.com/https://app.example.com", 403),
    ("https://evil.com, https://app.example.com", 403),
    ("https://app.example.com https://evil.com", 403),
    ("https://app.example.com/", 403),
    ("https://app.example.com/path", 403),
    ("https://app.example.com?", 403),
    ("https://app.example.com.", 403),
    ("https://*.example.com", 403),
    ("app.example.com", 403),
    ("//app.example.com", 403),
    // Browsers send lower case and punycode; nothing else is the same.
    ("https://APP.example.com", 403),
    ("HTTPS://app.example.com", 403),
    ("https://xn--MNCHEN-3ya.example", 403),
    ("https://m%C3%BCnchen.example", 403),
    // A sandboxed frame, a file, an extension.
    ("null", 403),
    ("file://", 403),
    ("chrome-extension://abcdefghijklmnop", 403),
    ("*", 403),
    ("", 403),
    // Not what a header may be.
    ("https://münchen.example", 400),
    ("https://app.example.com\r\nOrigin: https://evil.com", 400),
    ("https://evil.com\r\nOrigin: https://app.example.com", 400),
];

fn request(origin: Option<&str>) -> String {
    let line = origin.map(|origin| format!("Origin: {origin}\r\n")).unwrap_or_default();
    upgrade_request("/t/news", None).replace("Upgrade: ", &format!("{line}Upgrade: "))
}

fn status(client: &mut Bare, origin: Option<&str>) -> u16 {
    client.send(request(origin).as_bytes());
    let head = client.response_head();
    head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{head:?}"))
}

fn only_the_listed_origins_may_connect(driver: DriverChoice) {
    let mut config = config(driver);
    config.access.allowed_origins = LIST.map(str::to_owned).to_vec();
    let engine = start(config);
    for (origin, expected) in TABLE {
        let mut client = Bare::connect(addr(&engine));
        assert_eq!(status(&mut client, Some(origin)), *expected, "{origin:?}");
        if *expected != 101 {
            client.read_to_end();
        }
    }
    // Not a browser's: programs send none.
    assert_eq!(status(&mut Bare::connect(addr(&engine)), None), 101);
    let taken = TABLE.iter().filter(|row| row.1 == 101).count() as u64;
    wait_until("all are counted", || {
        let total = engine.stats().total;
        (total.upgraded, total.upgrades_refused) == (taken + 1, TABLE.len() as u64 - taken)
    });
    engine.shutdown_now();
}

fn without_a_list_every_origin_may_connect_and_none_may_publish(driver: DriverChoice) {
    for (publish, may_page, may_program) in [
        (PublishAccess::Loopback, false, true),
        (PublishAccess::Everyone, true, true),
        (PublishAccess::Nobody, false, false),
    ] {
        let mut config = config(driver);
        config.access.publish = publish;
        let engine = start(config);
        for origin in ["https://evil.com", "null", "", "http://localhost:3000", "http://127.0.0.1"] {
            publishes(&engine, Some(origin), may_page);
        }
        publishes(&engine, None, may_program);
        engine.shutdown_now();
    }
}

/// It may connect; its message comes back to it, or it is closed with 1008.
fn publishes(engine: &fanwire::Engine, origin: Option<&str>, may: bool) {
    let mut client = Bare::connect(addr(engine));
    assert_eq!(status(&mut client, origin), 101, "{origin:?}");
    let text = format!("from {origin:?}");
    client.send(&masked(0x81, text.as_bytes()));
    if !may {
        return assert_eq!(client.close_code(), 1008, "{origin:?}");
    }
    // What others have published may come first.
    while client.frame().expect("its own message").payload != text.as_bytes() {}
}
