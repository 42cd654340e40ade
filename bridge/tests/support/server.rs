//! A real NATS server of the tests' own, on a free port of this machine.

use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use super::wait_until;

/// The program, where there is one: `FANWIRE_NATS_SERVER`, else on the PATH.
fn program() -> Option<String> {
    let named = std::env::var("FANWIRE_NATS_SERVER").ok().filter(|path| !path.is_empty());
    let program = named.unwrap_or_else(|| "nats-server".to_owned());
    let answers = Command::new(&program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    answers.is_ok_and(|status| status.success()).then_some(program)
}

/// Says that the current test cannot run here; `./test` counts it as skipped.
fn skip(reason: &str) {
    let name = std::thread::current().name().unwrap_or("a test").to_string();
    println!("SKIPPED {name}: {reason}");
    if let Some(path) = std::env::var_os("FANWIRE_TEST_SKIPS") {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
        let line = format!("{name}: {reason}\n");
        file.and_then(|mut file| std::io::Write::write_all(&mut file, line.as_bytes())).expect("the list of skips");
    }
}

/// A port with a server, or without one yet.
pub struct Server {
    program: String,
    pub port: u16,
    child: Option<Child>,
}

impl Server {
    /// A port that a server may be started on later. `None`: there is no NATS server here, and the test is skipped.
    pub fn to_come() -> Option<Self> {
        let Some(program) = program() else {
            skip("there is no nats-server (FANWIRE_NATS_SERVER names one; ./test installs it)");
            return None;
        };
        let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
        Some(Self { program, port, child: None })
    }

    /// One that runs.
    pub fn started() -> Option<Self> {
        let mut server = Self::to_come()?;
        server.start();
        Some(server)
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Starts it, and waits until it answers.
    pub fn start(&mut self) {
        let port = self.port.to_string();
        let child = Command::new(&self.program)
            .args(["-a", "127.0.0.1", "-p", &port])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(child.expect("a server"));
        wait_until("the server answers", || {
            let greeting = TcpStream::connect(("127.0.0.1", self.port)).and_then(|mut stream| {
                let mut greeting = [0; 5];
                stream.read_exact(&mut greeting).map(|()| greeting)
            });
            greeting.is_ok_and(|greeting| &greeting == b"INFO ")
        });
    }

    /// Kills it as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().and_then(|()| child.wait()).expect("it is ours");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
