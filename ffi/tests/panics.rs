//! A panic behind an entry is a status: with a library in which one is planted behind each.

mod kit;

use std::process::Command;

use kit::{Link, c_test, compile_against, has, pass};

#[test]
fn a_panic_behind_any_entry_is_a_status_and_the_host_lives() {
    if !has("gcc") {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    // A folder of its own beside the profile's: the libraries of the other tests must not change under them.
    let target = kit::built().join("planted");
    let output = kit::finish(
        Command::new(env!("CARGO"))
            .args(["build", "--package", "fanwire-ffi", "--lib", "--features", "planted-panics", "--target-dir"])
            .arg(&target)
            .current_dir(kit::package()),
        std::time::Duration::from_secs(3_600),
    );
    assert!(output.status.success(), "{}", kit::text(&output));
    let prefix = folder.path().join("planted");
    kit::install(&target.join("debug"), &prefix);
    let program = compile_against(&prefix, &c_test("panics.c"), Link::Shared, &[]);
    for driver in ["epoll", "uring"] {
        pass(Command::new(&program.path).arg(driver));
    }
}
