//! Every row of the verifier's attacks, on the running server: a stranger learns from the answer that he is not let in and nothing
//! else, and neither secrets nor tokens stand in anything that the server says.
#![allow(clippy::disallowed_methods)]

#[path = "../../core/token/tests/rows/mod.rs"]
#[expect(dead_code, reason = "the verifier's tests use what is not used here")]
mod rows;

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::Signal;

use crate::access::{answer, written};
use crate::support::Fanwire;

/// Longer ones are refused as requests, whatever they carry.
const REQUEST_BYTES: usize = 12 << 10;

/// Without a topic in the target there has to be a subprotocol.
const OFFER: &str = "Sec-WebSocket-Protocol: fanwire.json.v1\r\n";

/// A request with this token: in a header, where that can hold it, else in the query.
fn tried(address: std::net::SocketAddr, token: &str) -> String {
    let fits_header = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
    if !token.is_empty() && token.bytes().all(fits_header) {
        return answer(address, "/", &format!("{OFFER}Authorization: Bearer {token}\r\n"));
    }
    let encoded: String = token.bytes().map(|b| format!("%{b:02x}")).collect();
    answer(address, &format!("/?token={encoded}"), OFFER)
}

#[test]
fn no_forged_token_is_taken_and_the_answer_is_always_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (mut count, mut said, mut hidden) = (0, String::new(), Vec::new());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    for table in rows::tables(now) {
        let keys = written(folder.path(), "keys.json", &table.keys);
        let line = format!(
            "serve --listen 127.0.0.1:0 --log debug --token-keys-file {keys} --token-issuer {} --token-audience {}",
            rows::ISSUER,
            rows::AUDIENCE
        );
        let (server, address) = Fanwire::listening(&line);
        let refused = answer(address, "/", OFFER);
        assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
        for row in table.rows.iter().filter(|row| !row.is_of_this_second) {
            let head = tried(address, &row.token);
            match row.refusal {
                None => assert!(head.starts_with("HTTP/1.1 101 "), "{}: {head}", row.name),
                Some(_) if row.token.len() > REQUEST_BYTES => {
                    assert!(head.starts_with("HTTP/1.1 431 "), "{}: {head}", row.name);
                }
                Some(_) => assert_eq!(head, refused, "{}", row.name),
            }
            count += usize::from(row.refusal.is_some());
            said.push_str(&head);
            // A shorter part may stand anywhere by chance.
            hidden.extend(row.token.split('.').filter(|part| part.len() >= 16).map(str::to_owned));
        }
        server.signal(Signal::TERM);
        let (code, out, log) = server.finish();
        assert_eq!(code, 0, "{log}");
        // The first line of refusals has those that came before it was written.
        let first = log.lines().find(|line| line.contains(" refused ")).unwrap_or_default();
        assert!(first.contains(" upgrade request") && first.contains("no_token 1"), "{log}");
        said.push_str(&String::from_utf8_lossy(&out));
        said.push_str(&log);
        let set: serde_json::Value = serde_json::from_str(&table.keys).unwrap();
        for key in set["keys"].as_array().unwrap() {
            hidden.extend(["k", "n", "x", "y"].iter().filter_map(|name| key[*name].as_str().map(str::to_owned)));
        }
    }
    assert!(count >= rows::ROWS_MIN, "{count} rows, at least {}", rows::ROWS_MIN);
    hidden.push(String::from_utf8_lossy(rows::SECRET).into_owned());
    for text in hidden {
        assert!(!said.contains(&text), "{text} was said");
    }
}
