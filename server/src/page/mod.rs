//! Job: files of pages, embedded in the binary, and those that all pages share.
//! Knows: names and media types. Must never know: who serves them, what a page shows.
//!
//! A page's scripts import what is shared as `../../page/…`: so it stands in this tree, and so it is served, for a browser
//! knows nothing above the root.

use std::borrow::Cow;

/// One file.
#[derive(Clone, Debug)]
pub struct File {
    /// Path it is asked for by.
    pub path: &'static str,
    /// Media type.
    pub media: &'static str,
    /// Content.
    pub content: Cow<'static, str>,
}

impl File {
    /// A file of the binary's; its media type is that of its ending.
    pub const fn embedded(path: &'static str, content: &'static str) -> Self {
        File { path, media: media(path), content: Cow::Borrowed(content) }
    }
}

/// Files of a folder, by the prefix of their paths.
macro_rules! embedded {
    ($served:literal, $folder:literal: $($name:literal)*) => {
        [$($crate::page::File::embedded(concat!($served, $name), include_str!(concat!($folder, $name)))),*]
    };
}
pub(crate) use embedded;

/// What every page has: the client of `fanwire.json.v1`, and parts of the surface.
pub const SHARED: &[File] = &embedded!("/page/", "./":
    "client/client.js" "client/connection.js" "client/decode.js" "client/ledger.js" "client/meters.js" "client/policy.js"
    "ui/address.js" "ui/base.css" "ui/canvas.js" "ui/dom.js" "ui/theme.js");

/// The dashboard's own files, which are served beside [`SHARED`] at the admin port.
pub const DASHBOARD: &[File] = &[
    File::embedded("/", include_str!("../admin/page/index.html")),
    File::embedded("/icon.svg", include_str!("../demo/page/icon.svg")),
];

/// Its scripts and style.
pub const DASHBOARD_PARTS: &[File] = &embedded!("/", "../admin/page/":
    "app.js" "charts.js" "clients.js" "detail.js" "explain.js" "feed.js" "gaps.js" "keys.js" "lanes.js" "link-state.js"
    "model.js" "orders.js" "series.js" "style.css" "tail-view.js" "tail.js" "tooltip.js" "topics.js" "tree.js" "vitals.js");

const fn media(path: &str) -> &'static str {
    let bytes = path.as_bytes();
    match bytes {
        [.., b'.', b'j', b's'] => "text/javascript; charset=utf-8",
        [.., b'.', b'c', b's', b's'] => "text/css; charset=utf-8",
        [.., b'.', b's', b'v', b'g'] => "image/svg+xml",
        _ => "text/html; charset=utf-8",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo;

    #[test]
    fn media_types_are_those_of_the_endings() {
        let media = |path| File::embedded(path, "").media;
        assert_eq!(media("/a.js"), "text/javascript; charset=utf-8");
        assert_eq!(media("/page/ui/base.css"), "text/css; charset=utf-8");
        assert_eq!(media("/icon.svg"), "image/svg+xml");
        assert_eq!(media("/"), "text/html; charset=utf-8");
    }

    #[test]
    fn every_file_of_the_folders_is_served() {
        let own = |folder: &str| (format!("src/{folder}/page"), "/".to_owned());
        let shared = |folder: &str| (format!("src/page/{folder}"), format!("/page/{folder}/"));
        for ((folder, prefix), files) in [
            (shared("client"), SHARED),
            (shared("ui"), SHARED),
            (own("admin"), DASHBOARD_PARTS),
            (own("demo"), demo::FILES),
        ] {
            let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
            for entry in folder.read_dir().unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                let is_served = name == "index.html" || files.iter().any(|file| file.path == format!("{prefix}{name}"));
                assert!(is_served, "{} is not served", folder.join(name).display());
            }
        }
    }
}
