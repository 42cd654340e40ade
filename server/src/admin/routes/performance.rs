//! Job: what the `$sys` topics say at this moment, in the forms that programs ask for.
//! Knows: docs/reference/sys-topics.md. Must never know: how the engine gathers it.

use axum::Json;
use axum::extract::{Query, State as Of};
use axum::http::StatusCode;
use axum::response::Response;
use fanwire::SysTopic;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::answer::{Refused, json_text};
use super::super::state::{Shared, State};

/// Entries of a page.
const LIMIT_MAX: usize = 1_000;
/// Lanes that are told of back-pressure.
const LANES_MAX: usize = 20;
/// From here on a lane, or the ring, is counted as lagging; from there on it loses messages.
const LAGGING: f64 = 0.7;
const DROPPING: f64 = 0.9;

/// Which part of a list is wanted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Page {
    #[serde(default)]
    offset: usize,
    #[serde(default = "usual")]
    limit: usize,
    /// By what clients are sorted.
    #[serde(default)]
    by: Order,
}

fn usual() -> usize {
    100
}

/// By what clients are sorted.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Order {
    /// How near they are to losing something.
    #[default]
    Lag,
    /// What they cost.
    Work,
}

impl Page {
    /// That part of a list.
    fn of(&self, list: &mut Value) -> Value {
        let all = list.as_array_mut().map(std::mem::take).unwrap_or_default();
        all.into_iter().skip(self.offset).take(self.limit).collect()
    }
}

/// A page's place, as the query says it.
type Asked = Result<Query<Page>, axum::extract::rejection::QueryRejection>;

fn page(asked: Asked) -> Result<Page, Refused> {
    let Query(page) = asked.map_err(|error| Refused::bad_request(error.body_text()))?;
    match page.limit {
        1..=LIMIT_MAX => Ok(page),
        _ => Err(Refused::bad_request(format!("limit: must be from 1 to {LIMIT_MAX}"))),
    }
}

impl State {
    /// What a topic says now, as text.
    async fn said(&self, topic: SysTopic) -> Result<String, Refused> {
        let said = self.desk.ask(move |server| server.snapshot(topic)).await?;
        said.map_err(|failure| Refused::new(StatusCode::SERVICE_UNAVAILABLE, format!("{:#}", failure.error)))
    }

    async fn object(&self, topic: SysTopic) -> Result<Value, Refused> {
        let said = self.said(topic).await?;
        // The engine's own text is JSON.
        Ok(serde_json::from_str(&said).unwrap_or_default())
    }
}

/// Counters, utilisation, latencies.
///
/// # Errors
/// 503: the server ends, or a shard says nothing.
pub async fn metrics(Of(state): Of<Shared>) -> Result<Response, Refused> {
    Ok(json_text(state.said(SysTopic::Shards).await?))
}

/// Clients, those first that are worst off.
///
/// # Errors
/// 400: no such page; 503: the server ends, or a shard says nothing.
pub async fn connections(Of(state): Of<Shared>, asked: Asked) -> Result<Json<Value>, Refused> {
    let page = page(asked)?;
    let mut said = state.object(SysTopic::Clients).await?;
    let (by, list) = match page.by {
        Order::Lag => ("lag", "by_lag"),
        Order::Work => ("work", "by_work"),
    };
    let clients = page.of(&mut said[list]);
    Ok(Json(json!({
        "at_ms": said["at_ms"], "interval_s": said["interval_s"], "total": said["total"], "behind": said["behind"],
        "by": by, "offset": page.offset, "limit": page.limit, "clients": clients,
    })))
}

/// Topics, the busiest first.
///
/// # Errors
/// As [`connections`].
pub async fn topics(Of(state): Of<Shared>, asked: Asked) -> Result<Json<Value>, Refused> {
    let page = page(asked)?;
    let mut said = state.object(SysTopic::Topics).await?;
    let topics = page.of(&mut said["topics"]);
    Ok(Json(json!({
        "at_ms": said["at_ms"], "interval_s": said["interval_s"], "total": said["total"],
        "offset": page.offset, "limit": page.limit, "topics": topics,
    })))
}

/// What is full, and who loses.
///
/// # Errors
/// 503: the server ends, or a shard says nothing.
pub async fn backpressure(Of(state): Of<Shared>) -> Result<Json<Value>, Refused> {
    let shards = state.object(SysTopic::Shards).await?;
    let topics = state.object(SysTopic::Topics).await?;
    let clients = state.object(SysTopic::Clients).await?;
    let total = &shards["total"];
    let of = |bytes: &Value, capacity: &Value| json!({"bytes": bytes, "capacity_bytes": capacity, "used": share(bytes, capacity)});
    let ring = of(&shards["ring_bytes"], &shards["ring_capacity_bytes"]);
    let lanes = fullest(&topics);
    let worst = lanes.first().and_then(|lane| lane["behind"].as_f64()).unwrap_or_default();
    let dropped =
        ["critical", "high", "normal", "low"].map(|name| (name.to_owned(), total[format!("dropped_{name}")].clone()));
    Ok(Json(json!({
        "at_ms": shards["at_ms"],
        "level": level(worst.max(ring["used"].as_f64().unwrap_or_default())),
        "ring": ring,
        "payloads": of(&shards["payload_bytes"], &shards["payload_capacity_bytes"]),
        "logs": of(&total["log_bytes"], &shards["pool_capacity_bytes"]),
        "clients": {"total": clients["total"], "behind": clients["behind"]},
        "gaps": total["gaps"], "lagging": total["lagging"], "evicted": total["evicted"],
        "dropped": serde_json::Map::from_iter(dropped),
        "lanes": lanes,
    })))
}

fn level(used: f64) -> &'static str {
    match used {
        used if used >= DROPPING => "dropping",
        used if used >= LAGGING => "lagging",
        _ => "ok",
    }
}

fn share(part: &Value, whole: &Value) -> f64 {
    match (part.as_f64(), whole.as_f64()) {
        (Some(part), Some(whole)) if whole > 0.0 => part / whole,
        _ => 0.0,
    }
}

/// The lanes whose slowest subscriber is furthest behind.
fn fullest(topics: &Value) -> Vec<Value> {
    let mut lanes = Vec::new();
    for topic in topics["topics"].as_array().into_iter().flatten() {
        for lane in topic["lanes"].as_array().into_iter().flatten() {
            lanes.push(json!({
                "topic": topic["topic"], "priority": lane["priority"], "behind": lane["behind"],
                "bytes": lane["bytes"], "capacity_bytes": lane["capacity_bytes"],
            }));
        }
    }
    let behind = |lane: &Value| lane["behind"].as_f64().unwrap_or_default();
    lanes.sort_by(|a, b| behind(b).total_cmp(&behind(a)));
    lanes.truncate(LANES_MAX);
    lanes
}

/// How much more a balancer may send here: 0 is nothing to do, 1 is as much as there may be.
///
/// # Errors
/// 503: a shard says nothing.
pub async fn load(Of(state): Of<Shared>) -> Result<Json<Value>, Refused> {
    if state.stop.is_asked() {
        return Ok(Json(json!({"load": 1.0, "is_accepting": false})));
    }
    let shards = state.object(SysTopic::Shards).await?;
    let (connections, most) = (&shards["total"]["connections"], &shards["connections_max"]);
    let utilisations =
        shards["shards"].as_array().into_iter().flatten().filter_map(|shard| shard["utilisation"].as_f64());
    let busiest = utilisations.fold(0.0, f64::max);
    let ring = share(&shards["ring_bytes"], &shards["ring_capacity_bytes"]);
    let load = share(connections, most).max(busiest).max(ring).min(1.0);
    Ok(Json(json!({
        "load": load, "is_accepting": true, "connections": connections, "connections_max": most,
        "utilisation": busiest, "ring_used": ring,
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_a_part_of_a_list() {
        let of = |offset: usize, limit: usize| Page { offset, limit, by: Order::Lag }.of(&mut json!([1, 2, 3]));
        assert_eq!((of(0, 2), of(2, 2), of(3, 2)), (json!([1, 2]), json!([3]), json!([])));
        assert_eq!(of(usize::MAX, usize::MAX), json!([]));
        let asked = |query: &str| page(Query::try_from_uri(&format!("/?{query}").parse().unwrap()));
        for right in ["", "limit=1", "limit=1000", "offset=7&limit=3&by=work"] {
            assert!(asked(right).is_ok(), "{right}");
        }
        for wrong in ["limit=0", "limit=1001", "limit=x", "offset=-1", "by=name", "page=2"] {
            assert!(asked(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn lanes_that_are_furthest_behind_come_first_and_only_some() {
        let lane = |behind: f64| json!({"priority": "normal", "behind": behind, "bytes": 1, "capacity_bytes": 2});
        let lanes: Vec<Value> = (0..30).map(|number| lane(f64::from(number) / 30.0)).collect();
        let found =
            fullest(&json!({"topics": [{"topic": "a", "lanes": lanes}, {"topic": "b", "lanes": [lane(0.99)]}]}));
        assert_eq!(
            (found.len(), &found[0]["topic"], &found[1]["behind"]),
            (LANES_MAX, &json!("b"), &json!(29.0 / 30.0))
        );
        assert_eq!((level(0.69), level(0.7), level(0.9)), ("ok", "lagging", "dropping"));
        assert_eq!(
            (share(&json!(1), &json!(4)), share(&json!(1), &json!(0)), share(&json!(null), &json!(1))),
            (0.25, 0.0, 0.0)
        );
    }
}
