//! A panic behind an entry is a status: with a library in which one is planted behind each.

use crate::kit;

use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use kit::{c_test, compile_with, has, installed, pass};

#[test]
fn a_panic_behind_any_entry_is_a_status_and_the_host_lives() {
    if !has("gcc") {
        return;
    }
    let profile = kit::built().parent().expect("the tests' folder is in the profile's").to_owned();
    let library = profile.join("examples/libplanted.so");
    // Whoever runs all tests has built it, with the examples.
    if changed(&library) < newest(&kit::package().join("src")) {
        let mut command = Command::new(env!("CARGO"));
        command.args(["build", "--package", "fanwire-ffi", "--example", "planted"]).current_dir(kit::package());
        let output = kit::finish(&mut command, std::time::Duration::from_secs(3_600));
        assert!(output.status.success(), "{}", kit::text(&output));
    }
    let program = compile_with(installed(), &c_test("panics.c"), &[library.as_os_str()], &[]);
    for driver in ["epoll", "uring"] {
        pass(Command::new(&program.path).arg(driver));
    }
}

fn changed(file: &Path) -> SystemTime {
    file.metadata().and_then(|file| file.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}

fn newest(folder: &Path) -> SystemTime {
    let entries = folder.read_dir().expect("the sources are here").map(|entry| entry.expect("readable").path());
    entries.map(|path| if path.is_dir() { newest(&path) } else { changed(&path) }).max().expect("there are sources")
}
