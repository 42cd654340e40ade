//! Job: the page's files, which are a part of the binary.
//! Knows: their names and media types. Must never know: what they show.

use axum::body::Bytes;
use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};

use super::answer::Refused;

/// One file.
struct File {
    /// Path it is asked for by: this and nothing else is found by it.
    path: &'static str,
    media: &'static str,
    content: &'static [u8],
}

macro_rules! file {
    ($path:literal, $name:literal, $media:literal) => {
        File { path: $path, media: $media, content: include_bytes!(concat!("page/", $name)) }
    };
}

static FILES: &[File] = &[file!("/", "index.html", "text/html; charset=utf-8")];

/// Answers what no route does.
pub async fn file(method: Method, uri: Uri) -> Response {
    let Some(file) = FILES.iter().find(|file| file.path == uri.path()) else {
        return Refused::new(StatusCode::NOT_FOUND, "there is nothing here").into_response();
    };
    if method != Method::GET && method != Method::HEAD {
        let refused = Refused::new(StatusCode::METHOD_NOT_ALLOWED, "this can be read alone").into_response();
        return ([(ALLOW, "GET, HEAD")], refused).into_response();
    }
    // A newer server may have another page.
    let headers = [(CONTENT_TYPE, file.media), (CACHE_CONTROL, "no-cache")];
    (headers, Bytes::from_static(file.content)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_page_is_in_the_table_once() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admin/page");
        let mut contents: Vec<Vec<u8>> = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                contents.push(std::fs::read(path).unwrap());
            }
        }
        assert_eq!(contents.len(), FILES.len());
        assert!(contents.iter().all(|content| FILES.iter().any(|file| file.content == content.as_slice())));
        let paths: std::collections::BTreeSet<_> = FILES.iter().map(|file| file.path).collect();
        assert_eq!(paths.len(), FILES.len());
    }
}
