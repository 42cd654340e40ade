//! Job: what an operator has the server do.
//! Knows: the form of each order. Must never know: how it is done.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State as Of};
use axum::http::StatusCode;
use fanwire::ConnectionId;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::super::answer::Refused;
use super::super::benchmark::Report;
use super::super::state::Shared;

/// How one connection is closed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Close {
    code: u16,
    reason: String,
}

impl Default for Close {
    fn default() -> Self {
        // Its client may come back: who is not to has its token revoked.
        Close { code: 1012, reason: "closed by an operator".to_owned() }
    }
}

/// Longest reason: what a close frame has room for.
const REASON_BYTES_MAX: usize = 123;

/// Closes a connection.
///
/// # Errors
/// 400: there can be none of this name, or no such close; 404: there never was one; 503: its shard is busy.
pub async fn close(
    Of(state): Of<Shared>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), Refused> {
    let connection = connection(&id).ok_or_else(|| {
        Refused::bad_request(format!(
            "`{id}` is no connection: SHARD.SLOT.GENERATION or one number, as $sys/clients has them"
        ))
    })?;
    let Close { code, reason } = parse(&body)?;
    if !matches!(code, 1000 | 1001 | 1008 | 1011..=1013 | 3000..=4999) {
        return Err(Refused::bad_request(format!("a server does not close with {code}")));
    }
    if reason.len() > REASON_BYTES_MAX {
        return Err(Refused::bad_request(format!("a reason has at most {REASON_BYTES_MAX} bytes")));
    }
    tracing::info!(event = "admin.close", connection = %connection, code, "admin: connection {connection} is to be closed");
    state.desk.ask(move |server| server.close(connection, code, &reason)).await??;
    Ok((StatusCode::ACCEPTED, Json(json!({"closing": connection.to_string()}))))
}

/// How the server ends.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Drain {
    within_ms: u64,
}

impl Default for Drain {
    fn default() -> Self {
        Drain { within_ms: 30_000 }
    }
}

/// Has the server end.
///
/// # Errors
/// 400: no such order; 409: it ends already.
pub async fn drain(Of(state): Of<Shared>, body: Bytes) -> Result<(StatusCode, Json<Value>), Refused> {
    let Drain { within_ms } = parse(&body)?;
    tracing::info!(event = "admin.drain", within_ms, "admin: drain within {within_ms} ms");
    state.desk.ask(move |server| server.drain(Duration::from_millis(within_ms))).await??;
    Ok((StatusCode::ACCEPTED, Json(json!({"draining": true, "within_ms": within_ms}))))
}

/// Has the server measure itself.
///
/// # Errors
/// 409: somebody does already; 503: the server ends.
pub async fn benchmark(Of(state): Of<Shared>) -> Result<Json<Report>, Refused> {
    state.benchmark.run().await.map(Json)
}

/// What a body says; nothing: what holds by itself.
fn parse<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, Refused> {
    match body.trim_ascii() {
        [] => Ok(T::default()),
        text if !text.starts_with(b"{") => Err(Refused::bad_request("an object is needed")),
        text => serde_json::from_slice(text).map_err(|error| Refused::bad_request(error.to_string())),
    }
}

/// A connection by either of its names.
fn connection(id: &str) -> Option<ConnectionId> {
    if let Ok(number) = id.parse() {
        return Some(ConnectionId::from_u64(number));
    }
    let mut parts = id.split('.');
    let (shard, slot, generation) =
        (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let connection = ConnectionId::new(shard, generation, slot);
    // One that is written in another way is no name of it.
    (parts.next().is_none() && connection.to_string() == id).then_some(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_has_two_names() {
        let one = ConnectionId::new(1, 7, 4_000_000_000);
        assert_eq!(connection(&one.to_string()), Some(one));
        assert_eq!(connection(&one.to_u64().to_string()), Some(one));
        for wrong in
            ["", "1", "1.2", "1.2.3.4", "01.2.3", "256.0.0", "0.0.16777216", "-1", "1.2.x", "18446744073709551616"]
        {
            assert!(wrong == "1" || connection(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn an_order_without_a_body_means_the_usual() {
        assert_eq!(parse::<Drain>(b"").unwrap().within_ms, 30_000);
        assert_eq!(parse::<Drain>(b" {\"within_ms\": 5} ").unwrap().within_ms, 5);
        for wrong in
            [&b"{\"within\":5}"[..], b"5", b"null", b"[]", b"[5]", b"{\"within_ms\":-1}", b"{\"within_ms\":1.5}", b"{"]
        {
            assert!(parse::<Drain>(wrong).is_err(), "{wrong:?}");
        }
    }
}
