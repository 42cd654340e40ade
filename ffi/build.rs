//! Gives the shared library its SONAME, `libfanwire.so.0.MINOR`: before 1.0 each minor version is its own ABI.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let major = std::env::var("CARGO_PKG_VERSION_MAJOR").expect("set by cargo");
    let minor = std::env::var("CARGO_PKG_VERSION_MINOR").expect("set by cargo");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libfanwire.so.{major}.{minor}");
    // Never unloaded: a host that calls dlclose while an engine runs would take the code away from under its threads.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
