//! Job: the page's files, as the admin port answers with them.
//! Knows: paths. Must never know: what they show.

use axum::body::Bytes;
use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};

use super::answer::Refused;
use crate::page::{DASHBOARD, DASHBOARD_PARTS, File, SHARED};

/// All of them: by exactly its path each is found, and nothing else is.
fn files() -> impl Iterator<Item = &'static File> {
    DASHBOARD.iter().chain(DASHBOARD_PARTS).chain(SHARED)
}

/// Answers what no route does.
pub async fn file(method: Method, uri: Uri) -> Response {
    let Some(file) = files().find(|file| file.path == uri.path()) else {
        return Refused::new(StatusCode::NOT_FOUND, "there is nothing here").into_response();
    };
    if method != Method::GET && method != Method::HEAD {
        let refused = Refused::new(StatusCode::METHOD_NOT_ALLOWED, "this can be read alone").into_response();
        return ([(ALLOW, "GET, HEAD")], refused).into_response();
    }
    // A newer server may have another page.
    let headers = [(CONTENT_TYPE, file.media), (CACHE_CONTROL, "no-cache")];
    (headers, Bytes::from_static(file.content.as_bytes())).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_file_has_a_path_of_its_own() {
        let paths: BTreeSet<_> = files().map(|file| file.path).collect();
        assert_eq!(paths.len(), files().count());
        assert!(paths.contains("/") && paths.contains("/page/client/client.js"));
    }
}
