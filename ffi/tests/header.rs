//! `include/fanwire.h` is what cbindgen makes of the sources.

use std::fs;
use std::path::Path;

#[test]
fn the_committed_header_is_the_generated_one() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(here.join("cbindgen.toml")).expect("cbindgen.toml is readable");
    let mut builder = cbindgen::Builder::new().with_config(config);
    // In the order in which they read best.
    for source in [
        "version",
        "status",
        "config",
        "engine",
        "life",
        "connection",
        "topic",
        "publish",
        "buffer",
        "reference",
        "event",
        "stats",
    ] {
        builder = builder.with_src(here.join("src").join(source).with_extension("rs"));
    }
    let mut generated = Vec::new();
    builder.generate().expect("the sources are readable").write(&mut generated);
    let generated = String::from_utf8(generated).expect("the header is UTF-8");
    let path = here.join("../include/fanwire.h");
    if std::env::var_os("FANWIRE_BLESS").is_some() {
        fs::write(&path, &generated).expect("include/ is writable");
        return;
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == generated,
        "include/fanwire.h is not what the sources say; make it anew with\n  \
         FANWIRE_BLESS=1 cargo test -p fanwire-ffi --test ffi-suite header"
    );
}
