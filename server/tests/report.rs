//! `fanwire report`: what is in it, and what is not.
#![allow(clippy::disallowed_methods)]

use crate::support;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;

use support::{Fanwire, PATIENCE, run};

/// None of these may be seen.
const KEY: &str = "3f1c0a9be84d47c2a1f0d6b2c7e95a13";
const ADMIN: &str = "9b7e1d2c3f4a5061728394a5b6c7d8e9";

#[test]
fn a_report_has_everything_but_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("key"), KEY).unwrap();
    std::fs::write(path("tokens"), ADMIN).unwrap();
    let settings = format!(
        "server_name = \"report-test\"\n[token]\nkeys_file = \"{}\"\n[admin]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"{}\"\n",
        path("key"),
        path("tokens")
    );
    std::fs::write(path("fanwire.toml"), settings).unwrap();
    let (config, socket) = (path("fanwire.toml"), path("socket"));
    let arguments =
        format!("--log debug serve --listen 127.0.0.1:0 --config {config} --control-socket {socket} --publish nobody");
    let mut server = Fanwire::start(&arguments);
    let line = server.stderr_line("admin: http");
    let admin = line.trim().rsplit("://").next().unwrap().to_owned();
    let address = server.address();
    let (_, token, log) = run(&["token", "mint", "--key", &path("key"), "--sub", "u1", "--subscribe", "rover/**"], b"");
    let token = String::from_utf8(token).unwrap().trim().to_owned();
    assert!(token.starts_with("eyJ"), "{log}");
    // By each way that a secret can come.
    for (to, request) in [
        (address.to_string(), format!("GET /t/rover/1?token={token} HTTP/1.1\r\nHost: x\r\n")),
        (address.to_string(), format!("GET /t/rover/1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n")),
        (address.to_string(), format!("GET /t/other?token={token}x HTTP/1.1\r\nHost: x\r\n")),
        (
            admin.clone(),
            format!("GET /ws?token={ADMIN} HTTP/1.1\r\nHost: {admin}\r\nAuthorization: Bearer {ADMIN}\r\n"),
        ),
        (admin.clone(), format!("GET /health HTTP/1.1\r\nHost: {admin}\r\nAuthorization: Bearer {}\r\n", &ADMIN[1..])),
    ] {
        let mut stream = TcpStream::connect(to).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(format!("{request}{upgrade}").as_bytes()).unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
    }
    let file = path("report.txt");
    let command = ["report", "--socket", &socket, "--config", &config, "--output", &file];
    let (code, out, log) = run(&command, b"");
    assert_eq!(code, 0, "{log}");
    assert!(String::from_utf8(out).unwrap().contains("report.txt: written"));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let report = std::fs::read_to_string(&file).unwrap();
    for section in [
        "\n## program\n",
        "\n## host\n",
        "\n## server\n",
        "\n## server's settings\n",
        "\n## server's metrics\n",
        "\n## server's last log lines\n",
        "\n## settings in ",
        "\n## doctor\n",
        "server_name = \"report-test\"",
        "fanwire_upgraded_total{shard=\"0\"} ",
        "# EOF\n",
        "refused 1 upgrade request",
    ] {
        assert!(report.contains(section), "{section}: {report}");
    }
    let parts: Vec<&str> = token.split('.').collect();
    for secret in [KEY, ADMIN, &ADMIN[1..], parts[1], parts[2]] {
        assert!(!report.contains(secret), "{secret}: {report}");
    }
    let (code, _, log) = run(&command, b"");
    assert!(code == 74 && log.contains("cannot write"), "a file that is there is somebody's: {log}");
}

#[test]
fn without_a_server_a_report_says_so_and_has_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("nobody").display().to_string();
    let (code, out, log) = run(&["report", "--socket", &socket, "--output", "-"], b"");
    let report = String::from_utf8(out).unwrap();
    assert_eq!(code, 0, "{log}");
    assert!(report.contains("no server takes requests at") && report.contains("\n## doctor\n"), "{report}");
}
