//! Runs every seed and every corpus file of `core/fuzz` through its target, without libFuzzer.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::input::Cuts;

/// The target's files, each with what it holds.
fn files(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for folder in ["seeds", "corpus"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz").join(folder).join(target);
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.expect("a readable folder").path();
            let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            files.push((path, bytes));
        }
    }
    files.sort();
    files
}

fn replay(target: &str, function: fn(&[u8])) {
    let files = files(target);
    assert!(files.len() >= 10, "only {} files for {target}: this would prove nothing", files.len());
    let mut failed = Vec::new();
    for (path, bytes) in &files {
        if catch_unwind(AssertUnwindSafe(|| function(bytes))).is_err() {
            failed.push(path.display().to_string());
        }
    }
    assert!(failed.is_empty(), "of {} files failed:\n{}", files.len(), failed.join("\n"));
    println!("{target}: {} files", files.len());
}

#[test]
fn frames() {
    replay("frame", super::frame);
}

#[test]
fn http_requests() {
    replay("http", super::http);
}

#[test]
fn negotiations() {
    replay("negotiation", super::negotiation);
}

#[test]
fn compressed_messages() {
    replay("inflate", super::inflate);
}

#[test]
fn payloads_to_compress() {
    replay("deflate", super::deflate);
}

#[test]
fn json_texts() {
    replay("json", super::json);
}

#[test]
fn messagepack() {
    replay("msgpack", super::msgpack);
}

#[test]
fn batches() {
    replay("batch", super::batch);
}

#[test]
fn dictionaries() {
    replay("dictionary", super::dictionary);
}

#[test]
fn proxy_headers() {
    replay("proxy", super::proxy);
}

#[test]
fn forwarded_lists() {
    replay("forwarded", super::forwarded);
}

#[test]
fn no_target_minds_an_empty_input() {
    let targets = [
        super::frame,
        super::http,
        super::negotiation,
        super::inflate,
        super::deflate,
        super::json,
        super::msgpack,
        super::batch,
        super::dictionary,
        super::proxy,
        super::forwarded,
    ];
    for target in targets {
        target(&[]);
        target(&[0]);
        target(&[255; 3]);
    }
}

#[test]
fn cuts_leave_out_nothing() {
    let bytes: Vec<u8> = (0..200).collect();
    for choice in 0..=255 {
        let pieces: Vec<&[u8]> = Cuts::new(choice).of(&bytes).collect();
        assert_eq!(pieces.concat(), bytes);
        assert_eq!(pieces.len() == 1, choice == 255, "{choice}");
        assert_eq!(pieces.len() == 200, choice < 4, "{choice}");
    }
}
