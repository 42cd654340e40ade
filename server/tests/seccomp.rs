//! The seccomp profile of `tuning/`: the server, a publisher and a subscriber live under it, on io_uring and on epoll.

use crate::support;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use rustix::process::Signal;

use support::{Fanwire, PATIENCE, skip};

const WRAPPER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/under_profile.py");
const PROFILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tuning/seccomp/fanwire.json");

/// Why the profile cannot be put into force here.
fn hindrance() -> Option<String> {
    let tried = std::process::Command::new("python3").args([WRAPPER, PROFILE, "true"]).output();
    match tried {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => Some(format!("python3: {error}")),
    }
}

fn under_profile(arguments: &str) -> Fanwire {
    let all: Vec<&str> = arguments.split_whitespace().collect();
    let mut command = std::process::Command::new("python3");
    command.arg(WRAPPER).arg(PROFILE).arg(env!("CARGO_BIN_EXE_fanwire")).args(all);
    Fanwire::spawn(&mut command, b"one\ntwo\n")
}

#[test]
fn everything_works_under_the_profile() {
    if let Some(why) = hindrance() {
        return skip(&format!("the seccomp profile cannot be tried: {}", why.trim()));
    }
    // Where io_uring does not work without the profile either, there is only epoll to be tried.
    let mut drivers = vec!["epoll"];
    match fanwire::try_io_uring() {
        Ok(()) => drivers.push("uring"),
        Err(why) => skip(&format!("the seccomp profile is not tried with io_uring: {why}")),
    }
    for driver in drivers {
        let listen = "--listen 127.0.0.1:0 --admin-listen 127.0.0.1:0";
        let mut server = under_profile(&format!("serve {listen} --publish loopback --driver {driver}"));
        let admin = server.stderr_line("admin: http");
        let address = server.address();
        // The admin port, and by it a way to the engine.
        let admin = admin.trim().rsplit("://").next().unwrap().to_owned();
        let mut stream = TcpStream::connect(&admin).expect("the admin port listens");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = "POST /api/performance/benchmark HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"delivered\":8000"), "{driver}: {answer}");
        let mut subscriber = under_profile(&format!("sub ws://{address} a --count 2 --stats"));
        subscriber.stderr_line("subscribed to");
        let (code, _, log) = under_profile(&format!("pub ws://{address} a")).finish();
        assert_eq!(code, 0, "{driver}: {log}");
        let (code, out, log) = subscriber.finish();
        assert_eq!((code, String::from_utf8_lossy(&out).as_ref()), (0, "one\ntwo\n"), "{driver}: {log}");
        server.signal(Signal::TERM);
        let (code, _, log) = server.finish();
        assert_eq!(code, 0, "{driver}: {log}");
        assert!(log.contains(&format!("driver {driver}")), "{log}");
    }
}
