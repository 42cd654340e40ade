//! What an operator asks and orders.

use tungstenite::Message;
use tungstenite::client::IntoClientRequest as _;

use super::http::Site;
use crate::support::Subscriber;

#[test]
fn one_connection_is_closed_and_the_others_stay() {
    let site = Site::start(&[]);
    let mut other = Subscriber::connect(site.clients, "a", None);
    let mut request = format!("ws://{}/", site.clients).into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", "fanwire.json.v1".parse().unwrap());
    let (mut one, _) = tungstenite::connect(request).expect("a connection");
    let welcome: serde_json::Value = serde_json::from_str(one.read().unwrap().to_text().unwrap()).unwrap();
    // A connection has its name from its own welcome, too.
    let session = welcome["session"].as_str().unwrap().to_owned();
    let answer =
        site.ask("POST", &format!("/api/connections/{session}/close"), &[], r#"{"code":4000,"reason":"test"}"#);
    assert_eq!((answer.status, answer.json()["closing"].as_str()), (202, Some(&*session)), "{answer:?}");
    let Message::Close(Some(frame)) = one.read().unwrap() else { panic!("no close") };
    assert_eq!((u16::from(frame.code), frame.reason.as_str()), (4000, "test"));
    other.send(r#"{"type":"ping","id":9}"#);
    while other.next_object().expect("it is connected")["type"] != "pong" {}
    for (body, why) in [
        (r#"{"code":1005}"#, "does not close with 1005"),
        (r#"{"code":999}"#, "does not close"),
        (r#"{"code":65536}"#, "65536"),
        (&format!(r#"{{"reason":"{}"}}"#, "x".repeat(124)), "at most 123 bytes"),
        ("[]", "an object is needed"),
        ("nonsense", "an object is needed"),
    ] {
        let answer = site.ask("POST", "/api/connections/0.0.1/close", &[], body);
        assert!(answer.status == 400 && answer.body.contains(why), "{body}: {answer:?}");
    }
    let answer =
        site.ask("POST", "/api/connections/0.0.1/close", &[], &format!(r#"{{"reason":"{}"}}"#, "x".repeat(123)));
    assert_eq!(answer.status, 202, "{answer:?}");
}

#[test]
fn a_drain_ends_the_server_and_is_seen_meanwhile() {
    let site = Site::start(&[]);
    let mut client = Subscriber::connect(site.clients, "a", None);
    assert_eq!((site.get("/readyz").status, site.get("/readyz").body.as_str()), (200, "ready\n"));
    let answer = site.ask("POST", "/api/drain", &[], r#"{"within_ms":2000}"#);
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(answer.json()["within_ms"], 2000);
    let ready = site.get("/readyz");
    assert_eq!((ready.status, ready.body.as_str()), (503, "draining\n"));
    assert_eq!(site.get("/livez").status, 200);
    let health = site.get("/health");
    assert_eq!((health.status, health.json()["status"].as_str()), (503, Some("draining")), "{health:?}");
    assert!(matches!(site.ask("POST", "/api/drain", &[], "").status, 409 | 503));
    assert_eq!(client.close_code(), 1012);
    let (code, _, log) = site.server.finish();
    assert_eq!(code, 0, "{log}");
}

#[test]
fn the_server_measures_itself_one_time_after_the_other() {
    let site = Site::start(&[]);
    let port = site.port();
    let ask = move || port.ask("POST", "/api/performance/benchmark", &[], "");
    let (first, second) = std::thread::scope(|scope| {
        let (first, second) = (scope.spawn(ask), scope.spawn(ask));
        (first.join().unwrap(), second.join().unwrap())
    });
    let mut statuses = [first.status, second.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409], "{first:?} {second:?}");
    let report = if first.status == 200 { first.json() } else { second.json() };
    assert_eq!((&report["expected"], &report["delivered"]), (&8_000.into(), &8_000.into()), "{report}");
    assert!(report["latency_us"]["p99"].as_u64() <= report["latency_us"]["max"].as_u64(), "{report}");
    let again = ask().json();
    assert_eq!(again["delivered"], 8_000, "{again}");
    let figures = site.get("/metrics").body;
    assert!(
        figures.contains("\nfanwire_benchmark_runs_total 2\n") && figures.contains("\nfanwire_benchmark_p99_seconds "),
        "{figures}"
    );
    assert!(!site.get("/api/performance/benchmark").body.contains("delivered"), "nobody measures by looking");
}
