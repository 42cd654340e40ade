//! Where there is an admin port, and where there is none.

use std::net::TcpListener;

use super::http::{Site, TOKEN};
use crate::support::{Fanwire, run};

#[test]
fn a_default_place_that_is_taken_is_done_without_and_one_that_was_named_is_not() {
    // Whoever has it already: another test's server, or this.
    let taken = TcpListener::bind("127.0.0.1:9002");
    let mut server = Fanwire::start("serve --listen 127.0.0.1:0");
    server.address();
    server.stderr_line("admin: 127.0.0.1:9002 is taken");
    drop(server);
    drop(taken);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = taken.local_addr().unwrap().to_string();
    let (code, _, log) = run(&["serve", "--listen", "127.0.0.1:0", "--admin-listen", &place], b"");
    assert!(code == 71 && log.contains(&format!("cannot listen on {place} (admin.listen)")), "{code}: {log}");
}

#[test]
fn none_is_none() {
    for nowhere in ["none", ""] {
        let mut server = Fanwire::start_with(&["serve", "--listen", "127.0.0.1:0", "--admin-listen", nowhere], b"");
        server.address();
        server.signal(rustix::process::Signal::TERM);
        let (code, _, log) = server.finish();
        assert!(code == 0 && !log.contains("admin:"), "{log}");
    }
}

#[test]
fn other_machines_come_in_with_a_token_alone() {
    let (code, _, log) = run(&["serve", "--listen", "127.0.0.1:0", "--admin-listen", "0.0.0.0:0"], b"");
    assert!(code == 78 && log.contains("admin.token_file"), "{code}: {log}");
    let (code, _, log) = run(&["serve", "--listen", "127.0.0.1:0", "--admin-listen", "[::]:0"], b"");
    assert!(code == 78 && log.contains("admin.listen [::]:0"), "{code}: {log}");
    let site = Site::with_token(&["--admin-listen", "0.0.0.0:0", "--admin-hosts", "fanwire.example"]);
    let port = site.admin.port();
    let bearer = format!("Bearer {TOKEN}");
    let own = format!("fanwire.example:{port}");
    for (host, expected) in [(&*own, 200), ("10.1.2.3", 200), ("other.example", 421)] {
        let answer = site.ask("GET", "/health", &[("Host", host), ("Authorization", &bearer)], "");
        assert_eq!(answer.status, expected, "{host}: {answer:?}");
        assert!(!answer.head.contains(TOKEN) && !answer.body.contains(TOKEN));
    }
    let (_, _, log) = end(site);
    assert!(log.contains("does not speak TLS") && !log.contains(TOKEN), "{log}");
}

fn end(site: Site) -> (i32, Vec<u8>, String) {
    site.server.signal(rustix::process::Signal::TERM);
    site.server.finish()
}

#[test]
fn files_that_are_wrong_are_told_by_name_and_their_content_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("short"), "tooshort").unwrap();
    std::fs::write(path("none"), "\n").unwrap();
    for (arguments, exit, said) in [
        (&["--admin-token-file", &path("missing")][..], 66, "missing"),
        (&["--admin-token-file", &path("short")], 78, "16 to 1024 printable"),
        (&["--admin-token-file", &path("none")], 78, "1 to 16 tokens"),
        (&["--admin-certificate-file", &path("none")], 78, "go together"),
        (&["--admin-client-ca-file", &path("none")], 78, "needs admin.certificate_file"),
        (&["--admin-certificate-file", &path("none"), "--admin-key-file", &path("none")], 78, "none"),
        (&["--admin-listen", "localhost:1"], 2, "must be an IP address and a port"),
        (&["--admin-hosts", "http://a"], 2, "is no host name"),
        (&["--benchmark-every", "59s"], 2, "at least 1m"),
    ] {
        let usual = ["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        let usual = if arguments[0] == "--admin-listen" { &usual[..3] } else { &usual[..] };
        let (code, _, log) = run(&[usual, arguments].concat(), b"");
        assert!(code == exit && log.contains(said) && !log.contains("tooshort"), "{arguments:?}: {code}: {log}");
    }
}
