use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use super::*;

const KEY: &str = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

/// A server that answers each of its requests with the next of these.
fn answering(answers: Vec<Vec<u8>>) -> KeySource {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap()).parse().unwrap();
    std::thread::spawn(move || {
        for answer in answers {
            let (mut client, _) = listener.accept().unwrap();
            let mut head = [0; 2_048];
            let _ = client.read(&mut head);
            // Who has heard enough closes.
            let _ = client.write_all(&answer);
            if answer.is_empty() {
                // It says nothing, and stays.
                let _ = client.read(&mut head);
            }
        }
    });
    KeySource { url, every: Duration::from_secs(60) }
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn set(keys: &str) -> Vec<u8> {
    format!(r#"{{"keys":[{keys}]}}"#).into_bytes()
}

#[test]
fn only_a_url_that_nobody_can_come_between_is_taken() {
    for good in [
        "https://id.example/keys",
        "https://id.example:8443/a?b=c",
        "http://127.0.0.1:1/",
        "http://[::1]/k",
        "http://localhost:80/",
    ] {
        assert!(good.parse::<KeyUrl>().is_ok(), "{good}");
    }
    for (wrong, expected) in [
        ("http://id.example/keys", "https://"),
        ("http://127.0.0.1.example/keys", "https://"),
        ("http://localhost.example/keys", "https://"),
        ("ftp://id.example/keys", "https://"),
        ("file:///etc/keys", "URL"),
        ("/etc/keys", "https://"),
        ("id.example", "https://"),
        ("https://u:p@id.example/", "no password"),
        ("http://127.0.0.1@id.example/", "no password"),
        ("", "URL"),
        ("https://", "URL"),
    ] {
        let problem = wrong.parse::<KeyUrl>().unwrap_err();
        assert!(problem.contains(expected), "{wrong}: {problem}");
    }
}

#[test]
fn what_is_no_set_of_public_keys_is_refused_and_said_so() {
    let secret = r#"{"kty":"oct","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#;
    let elsewhere = answering(vec![answer("200 OK", "", &set(KEY))]);
    let answers = vec![
        answer("500 Internal Server Error", "", &set(KEY)),
        answer("404 Not Found", "", b""),
        answer("204 No Content", "", b""),
        answer("302 Found", &format!("Location: {}\r\n", elsewhere.url), &set(KEY)),
        answer("301 Moved Permanently", "Location: https://id.example/\r\n", b""),
        answer("200 OK", "", b"<html>garbage</html>"),
        answer("200 OK", "", &set("")),
        answer("200 OK", "", &set(secret)),
        answer("200 OK", "", &vec![b' '; 10 << 20]),
        answer("200 OK", "", &vec![b' '; JWKS_BYTES_MAX + 1]),
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"keys\":[".to_vec(),
        b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(),
    ];
    let expected = [
        ("500", Reason::Status),
        ("404", Reason::Status),
        ("204", Reason::Status),
        ("302", Reason::Status),
        ("301", Reason::Status),
        ("no JSON", Reason::NotKeys),
        ("no key that can be used", Reason::NotKeys),
        ("secrets", Reason::NotKeys),
        ("bytes", Reason::TooLarge),
        ("bytes", Reason::TooLarge),
        ("", Reason::Connection),
        ("", Reason::Connection),
    ];
    assert_eq!(answers.len(), expected.len());
    let source = answering(answers);
    for (expected, reason) in expected {
        let problem = source.fetch(|| false).err().unwrap();
        assert!(problem.text.contains(expected), "{expected}: {problem}");
        assert_eq!(problem.reason, reason, "{problem}");
    }
}

#[test]
fn a_set_at_the_limit_is_taken_and_who_does_not_answer_is_not_waited_for() {
    let mut longest = set(KEY);
    longest.resize(JWKS_BYTES_MAX, b' ');
    let source = answering(vec![answer("200 OK", "", &longest), answer("200 OK", "", &set(KEY)), Vec::new()]);
    assert_eq!(source.fetch(|| false).unwrap().keys.len(), 1);
    let again = source.fetch(|| false).unwrap();
    assert_eq!(again.fingerprint, source_of(&set(KEY)));
    let problem = source.fetch_within(Duration::from_millis(50)).err().unwrap();
    assert!(problem.text.contains("timeout") && problem.reason == Reason::Timeout, "{problem}");
    // Nobody is there any more.
    assert!(source.fetch(|| false).is_err());
}

fn source_of(bytes: &[u8]) -> Fingerprint {
    Fingerprint::of(bytes)
}

#[test]
fn after_failures_it_is_tried_sooner_and_never_later_than_usual() {
    let every = Duration::from_secs(300);
    let seconds = |failures| pause(every, failures, 500).as_secs_f64().round();
    assert_eq!([0, 1, 2, 3, 4].map(seconds), [300.0, 5.0, 10.0, 20.0, 40.0]);
    assert_eq!([7, 40, u32::MAX].map(seconds), [300.0; 3]);
    assert_eq!(pause(every, 0, 0).as_secs(), 270);
    assert!(pause(every, 0, 999).as_secs() == 329);
    assert_eq!(pause(Duration::from_secs(1), 9, 500).as_secs_f64().round(), 1.0, "never later than usual");
}
