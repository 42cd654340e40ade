//! Job: which path is answered by what.
//! Knows: every route. Must never know: who may ask (`access`).

mod health;
mod orders;
mod performance;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State as Of};
use axum::http::header::CONTENT_TYPE;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};

use super::answer::{Refused, json_text};
use super::guard::{BODY_BYTES_MAX, guard};
use super::state::Shared;
use super::{page, tunnel};

/// What can be asked, for programs.
const DOCUMENT: &str = include_str!("../openapi.json");
/// What scrapers want to be told.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Every route, behind the guard.
pub fn router(state: Shared) -> Router {
    Router::new()
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/health", get(health::health))
        .route("/metrics", get(metrics))
        .route("/openapi.json", get(|| async { json_text(DOCUMENT) }))
        .route("/api/connections/{id}/close", post(orders::close))
        .route("/api/performance/metrics", get(performance::metrics))
        .route("/api/performance/connections", get(performance::connections))
        .route("/api/performance/backpressure", get(performance::backpressure))
        .route("/api/load", get(performance::load))
        .route("/api/topics", get(performance::topics))
        .route("/api/performance/benchmark", post(orders::benchmark))
        .route("/api/drain", post(orders::drain))
        .route("/ws", get(tunnel::tunnel))
        .route("/ws/{*target}", get(tunnel::tunnel))
        .fallback(page::file)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn_with_state(state.clone(), guard))
        .with_state(state)
}

async fn metrics(Of(state): Of<Shared>) -> Result<Response, Refused> {
    let text = state.metrics.text(&state).await?;
    Ok(([(CONTENT_TYPE, OPEN_METRICS)], text).into_response())
}
