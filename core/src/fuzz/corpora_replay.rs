//! Runs every seed and every corpus file of the target `engine` in `core/fuzz`, without libFuzzer.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

#[test]
fn whole_engines() {
    let mut files = 0;
    let mut failed = Vec::new();
    for folder in ["seeds", "corpus"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(folder).join("engine");
        for entry in fs::read_dir(&folder).expect("seeds and a corpus") {
            let path = entry.expect("a readable folder").path();
            let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            files += 1;
            if catch_unwind(AssertUnwindSafe(|| super::engine(&bytes))).is_err() {
                failed.push(path.display().to_string());
            }
        }
    }
    assert!(files >= 10, "only {files} files: this would prove nothing");
    assert!(failed.is_empty(), "of {files} files failed:\n{}", failed.join("\n"));
}

#[test]
fn the_target_does_not_mind_an_empty_input() {
    for input in [&[][..], &[0], &[255; 3]] {
        super::engine(input);
    }
}
