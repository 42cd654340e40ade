//! Job: answers: JSON, text, refusals.
//! Knows: status codes, media types. Must never know: what was asked.

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::access::Denied;
use super::desk::NoAnswer;
use crate::exit::{Exit, Failure};

/// Why there is no answer to a request.
#[derive(Debug)]
pub struct Refused {
    status: StatusCode,
    why: String,
}

impl Refused {
    pub fn new(status: StatusCode, why: impl Into<String>) -> Self {
        Refused { status, why: why.into() }
    }

    pub fn bad_request(why: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, why)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut answer = (self.status, Json(json!({"error": self.why}))).into_response();
        let headers = answer.headers_mut();
        match self.status {
            StatusCode::UNAUTHORIZED => {
                // Browsers ask their user for a password then.
                let challenge = "Basic realm=\"fanwire admin\", charset=\"UTF-8\"";
                headers.insert(WWW_AUTHENTICATE, axum::http::HeaderValue::from_static(challenge));
            }
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                headers.insert(RETRY_AFTER, axum::http::HeaderValue::from_static("1"));
            }
            _ => {}
        }
        answer
    }
}

impl From<Denied> for Refused {
    fn from(denied: Denied) -> Self {
        Refused::new(denied.status, denied.why)
    }
}

impl From<NoAnswer> for Refused {
    fn from(none: NoAnswer) -> Self {
        let why = match none {
            NoAnswer::Busy => "too many questions wait: ask again",
            NoAnswer::Ending => "the server ends",
        };
        Refused::new(StatusCode::SERVICE_UNAVAILABLE, why)
    }
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        let status = match failure.code {
            code if code == Exit::Unavailable as i32 => StatusCode::CONFLICT,
            code if code == Exit::Data as i32 || code == Exit::Config as i32 => StatusCode::UNPROCESSABLE_ENTITY,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Refused::new(status, format!("{:#}", failure.error))
    }
}

/// A text that is JSON already.
pub fn json_text(text: impl Into<axum::body::Body>) -> Response {
    ([(CONTENT_TYPE, "application/json")], text.into()).into_response()
}
