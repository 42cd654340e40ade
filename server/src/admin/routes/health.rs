//! Job: whether the server lives, whether it takes clients, how it is.
//! Knows: that an orchestrator restarts what does not live. Must never know: who asks.

use axum::Json;
use axum::extract::State as Of;
use axum::http::StatusCode;
use serde::Serialize;

use super::super::answer::Refused;
use super::super::state::Shared;
use crate::clock;
use crate::operate::Status;

/// It lives: this thread answers. An engine that has failed ends the process by itself.
pub async fn live() -> &'static str {
    "live\n"
}

/// Whether new clients are wanted.
pub async fn ready(Of(state): Of<Shared>) -> (StatusCode, &'static str) {
    match state.stop.is_asked() {
        true => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        false => (StatusCode::OK, "ready\n"),
    }
}

/// How it is.
#[derive(Serialize)]
pub struct Health {
    status: &'static str,
    uptime_s: u64,
    #[serde(flatten)]
    figures: Option<Status>,
}

/// See [`Health`].
pub async fn health(Of(state): Of<Shared>) -> Result<(StatusCode, Json<Health>), Refused> {
    let uptime_s = clock::now().saturating_duration_since(state.started).as_secs();
    if state.stop.is_asked() {
        let health = Health { status: "draining", uptime_s, figures: None };
        return Ok((StatusCode::SERVICE_UNAVAILABLE, Json(health)));
    }
    let figures = state.desk.ask(|server| server.status()).await?;
    Ok((StatusCode::OK, Json(Health { status: "ok", uptime_s, figures: Some(figures) })))
}
