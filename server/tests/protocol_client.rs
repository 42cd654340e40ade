//! A client written from `PROTOCOL.md` alone (`core/tests/protocol_client.py`) against the binary, on both drivers.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

use crate::support;

use std::process::Command;

use support::{Fanwire, skip};

const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../core/tests/protocol_client.py");

fn python(arguments: &[&str]) -> Option<(bool, String)> {
    let output = Command::new("python3").args(arguments).output().ok()?;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Some((output.status.success(), said))
}

#[test]
fn a_client_written_from_the_document_alone_finds_what_it_says() {
    let new_enough = python(&["-c", "import sys; sys.exit(sys.version_info < (3, 11))"]);
    if !new_enough.is_some_and(|(success, _)| success) {
        return skip("python3 of 3.11 or later is missing, which runs the client written from PROTOCOL.md");
    }
    let (success, options) = python(&[CLIENT, "--options"]).unwrap();
    assert!(success, "{options}");
    let options = options.split_whitespace().collect::<Vec<_>>().join(" ");
    for driver in ["auto", "epoll"] {
        let (_server, address) =
            Fanwire::listening(&format!("serve --listen 127.0.0.1:0 --shards 2 --driver {driver} {options}"));
        let (success, said) = python(&[CLIENT, &format!("ws://{address}")]).unwrap();
        assert!(success, "--driver {driver}:\n{said}");
        assert!(said.ends_with(" passed, 0 failed\n"), "--driver {driver}:\n{said}");
        println!("--driver {driver}: {}", said.lines().last().unwrap_or_default());
    }
}
