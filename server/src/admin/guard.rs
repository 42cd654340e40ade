//! Job: what every request passes, and every answer gets: access, time, sizes, headers.
//! Knows: the order of these. Must never know: any route.

use std::time::Duration;

use axum::extract::{Request, State as Of};
use axum::http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, TRANSFER_ENCODING,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::answer::Refused;
use super::state::Shared;
use crate::clock;

/// Longest body of a request.
pub const BODY_BYTES_MAX: usize = 16 << 10;
/// Longest time from a request's head to its answer's.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Nothing but our own files and our own port, nothing inline, in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      font-src 'self'; manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 7] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (CACHE_CONTROL, "no-store"),
];

/// Stands before every route, and before what is none.
pub async fn guard(Of(state): Of<Shared>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let mut answer = match state.access.decide(&parts) {
        // Orders are short. What has two lengths is read in one way here, and in another by a proxy before it.
        Ok(()) if parts.headers.contains_key(TRANSFER_ENCODING) => {
            closing(Refused::new(StatusCode::LENGTH_REQUIRED, "a body has to have a length"))
        }
        Ok(()) => match state.pace.wait(parts.uri.path(), clock::now()) {
            None => Refused::new(StatusCode::TOO_MANY_REQUESTS, "too much is asked: come back later").into_response(),
            Some(wait) => {
                // A timer's least is a millisecond.
                if !wait.is_zero() {
                    tokio::time::sleep(wait).await;
                }
                answer(Request::from_parts(parts, body), next).await
            }
        },
        Err(denied) => {
            state.refused.note(denied.why);
            // What else it sends is not looked at.
            closing(denied.into())
        }
    };
    let headers = answer.headers_mut();
    for (name, value) in HEADERS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    answer
}

async fn answer(request: Request, next: Next) -> Response {
    match tokio::time::timeout(ANSWER_TIMEOUT, next.run(request)).await {
        Ok(answer) => answer,
        Err(_) => closing(Refused::new(StatusCode::REQUEST_TIMEOUT, "this took too long")),
    }
}

fn closing(refused: Refused) -> Response {
    let mut answer = refused.into_response();
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}
