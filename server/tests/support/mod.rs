//! Job: the built binary as a child process: its lines, its signals, its end.
//! Knows: processes and pipes. Must never know: what is tested.
#![allow(dead_code, clippy::disallowed_methods, clippy::disallowed_macros)]

pub mod tls;

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tungstenite::client::IntoClientRequest;
use tungstenite::stream::MaybeTlsStream;
use tungstenite::{Message, WebSocket};

/// Longer than anything here takes on a busy machine: a hang fails the test instead of hanging it.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Says why a test cannot run here, also where the whole suite counts such tests.
pub fn skip(reason: &str) {
    println!("skipped: {reason}");
    if let Some(path) = std::env::var_os("FANWIRE_TEST_SKIPS")
        && let Ok(mut file) = OpenOptions::new().append(true).create(true).open(path)
    {
        let _ = writeln!(file, "{reason}");
    }
}

/// A running `fanwire`. Killed when dropped.
pub struct Fanwire {
    child: Child,
    stdout: Receiver<Vec<u8>>,
    stderr: Receiver<Vec<u8>>,
    /// What was read of stderr while waiting: shown where a wait fails.
    pub log: String,
}

impl Fanwire {
    /// Starts it with arguments separated by blanks.
    pub fn start(arguments: &str) -> Self {
        Self::start_with(&arguments.split_whitespace().collect::<Vec<_>>(), &[])
    }

    /// Starts it with arguments, and bytes for its stdin. A test's own publishers may publish to `serve`, unless it says who may.
    pub fn start_with(arguments: &[&str], stdin: &[u8]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fanwire"));
        command.args(arguments);
        if arguments.first() == Some(&"serve") && !arguments.contains(&"--publish") {
            command.args(["--publish", "loopback"]);
        }
        Self::spawn(&mut command, stdin)
    }

    /// Starts a command that becomes it.
    pub fn spawn(command: &mut Command, stdin: &[u8]) -> Self {
        let mut running = Self::spawn_as_it_is(command.stdin(Stdio::piped()));
        let mut pipe = running.child.stdin.take().unwrap();
        let input = stdin.to_vec();
        thread::spawn(move || {
            let _ = pipe.write_all(&input);
        });
        running
    }

    /// The same with the command's own stdin.
    pub fn spawn_as_it_is(command: &mut Command) -> Self {
        let mut child = command
            .env_remove("FANWIRE_LOG")
            .env_remove("RUST_LOG")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the built binary starts");
        let (stdout, stderr) = (lines(child.stdout.take().unwrap()), lines(child.stderr.take().unwrap()));
        Fanwire { child, stdout, stderr, log: String::new() }
    }

    /// Starts an engine and hands back its address as well.
    pub fn listening(arguments: &str) -> (Self, SocketAddr) {
        let mut running = Self::start(arguments);
        let address = running.address();
        (running, address)
    }

    /// The address of its ready line.
    pub fn address(&mut self) -> SocketAddr {
        let line = self.stdout_line("listening on ws://");
        line.trim().strip_prefix("listening on ws://").and_then(|a| a.parse().ok()).unwrap_or_else(|| panic!("{line}"))
    }

    /// The next line of stdout that contains `text`.
    pub fn stdout_line(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.stdout.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let line = String::from_utf8_lossy(&line).into_owned();
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(error) => panic!("no `{text}` on stdout ({error}); stderr:\n{}", self.drained_log()),
            }
        }
    }

    /// Waits for a line of stderr that contains `text`.
    pub fn stderr_line(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.stderr.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let line = String::from_utf8_lossy(&line).into_owned();
                    self.log.push_str(&line);
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(error) => panic!("no `{text}` on stderr ({error}); it says:\n{}", self.log),
            }
        }
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the process is there");
    }

    /// Waits for its end. The exit code, and all that was left on stdout and stderr.
    pub fn finish(mut self) -> (i32, Vec<u8>, String) {
        let status = self.wait();
        let stdout: Vec<u8> = self.stdout.iter().flatten().collect();
        let log = self.drained_log();
        (status.code().unwrap_or(-1), stdout, log)
    }

    /// True while it runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_none()
    }

    fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return status;
            }
            if Instant::now() > deadline {
                let _ = self.child.kill();
                panic!("it does not end; stderr:\n{}", self.drained_log());
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn drained_log(&mut self) -> String {
        // After the process has ended its pipe ends too; before, what is there has to do.
        loop {
            match self.stderr.recv_timeout(Duration::from_millis(200)) {
                Ok(line) => self.log.push_str(&String::from_utf8_lossy(&line)),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return self.log.clone(),
            }
        }
    }
}

impl Drop for Fanwire {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(source: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut source = BufReader::new(source);
        loop {
            let mut line = Vec::new();
            match source.read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) if sender.send(line).is_err() => return,
                Ok(_) => {}
            }
        }
    });
    receiver
}

/// Starts `serve` on a free port; hands back its URL as well.
pub fn serve(more: &str) -> (Fanwire, String) {
    let (server, address) = Fanwire::listening(&format!("serve --listen 127.0.0.1:0 {more}"));
    (server, format!("ws://{address}"))
}

/// Starts `sub URL ARGUMENTS`, which is in force when this returns.
pub fn sub(url: &str, arguments: &[&str]) -> Fanwire {
    let mut running = Fanwire::start_with(&[&["sub", url], arguments].concat(), b"");
    running.stderr_line("subscribed to");
    running
}

/// Runs `pub URL ARGUMENTS` with these lines; all of them are taken.
pub fn publish(url: &str, arguments: &[&str], lines: &str) {
    let (code, _, log) = run(&[&["pub", url], arguments].concat(), lines.as_bytes());
    assert_eq!(code, 0, "{log}");
}

/// Runs `fanwire` to its end.
pub fn run(arguments: &[&str], stdin: &[u8]) -> (i32, Vec<u8>, String) {
    Fanwire::start_with(arguments, stdin).finish()
}

/// Starts the binary where io_uring's system calls give this error.
pub fn without_io_uring(errno: i32, arguments: &str) -> Fanwire {
    let wrapper = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/refuse_io_uring.py");
    let mut command = Command::new("python3");
    command.arg(wrapper).arg(errno.to_string()).arg(env!("CARGO_BIN_EXE_fanwire")).args(arguments.split_whitespace());
    Fanwire::spawn(&mut command, &[])
}

/// Starts the binary where a process may lock 64 KiB of memory, even if root runs this. `None` if that cannot be had.
pub fn with_little_lockable_memory(arguments: &str) -> Option<Fanwire> {
    let script = r#"ulimit -l 64 || exit 99
        if [ "$(id -u)" -eq 0 ]; then
            command -v setpriv >/dev/null || exit 99
            exec setpriv --inh-caps=-ipc_lock --bounding-set=-ipc_lock -- "$0" "$@"
        fi
        exec "$0" "$@""#;
    let probe = Command::new("sh").args(["-c", script, "true"]).status();
    if !probe.is_ok_and(|status| status.success()) {
        return None;
    }
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_fanwire")]).args(arguments.split_whitespace());
    Some(Fanwire::spawn(&mut command, &[]))
}

/// An independent client of `fanwire.json.v1`.
pub struct Subscriber {
    socket: WebSocket<MaybeTlsStream<TcpStream>>,
}

impl Subscriber {
    /// Connects and subscribes; comes back when the subscription is in force.
    pub fn connect(address: SocketAddr, topics: &str, origin: Option<&str>) -> Self {
        Self::connect_to(address, "/", topics, origin)
    }

    /// Connects, and asks for nothing.
    pub fn connect_silently(address: SocketAddr) -> Self {
        Self::open(address, "/", None)
    }

    /// The same with another target.
    pub fn connect_to(address: SocketAddr, target: &str, topics: &str, origin: Option<&str>) -> Self {
        let mut subscriber = Self::open(address, target, origin);
        subscriber.send(&format!(r#"{{"type":"subscribe","id":1,"topics":["{topics}"]}}"#));
        subscriber.send(r#"{"type":"ping","id":2}"#);
        while subscriber.next_object().is_some_and(|o| o["type"] != "pong") {}
        subscriber
    }

    fn open(address: SocketAddr, target: &str, origin: Option<&str>) -> Self {
        let mut request = format!("ws://{address}{target}").into_client_request().unwrap();
        request.headers_mut().insert("Sec-WebSocket-Protocol", "fanwire.json.v1".parse().unwrap());
        if let Some(origin) = origin {
            request.headers_mut().insert("Origin", origin.parse().unwrap());
        }
        let (socket, _) = tungstenite::connect(request).expect("a connection");
        let MaybeTlsStream::Plain(stream) = socket.get_ref() else { panic!("not TCP") };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Subscriber { socket }
    }

    /// Sends a request.
    pub fn send(&mut self, object: &str) {
        self.socket.send(Message::text(object)).unwrap();
    }

    /// The next object; `None` once the server has closed.
    pub fn next_object(&mut self) -> Option<serde_json::Value> {
        loop {
            match self.socket.read().expect("a message") {
                Message::Text(text) => return Some(serde_json::from_str(&text).expect("JSON")),
                Message::Close(_) => return None,
                _ => {}
            }
        }
    }

    /// The code that the server closes with; messages before it are thrown away.
    pub fn close_code(&mut self) -> u16 {
        loop {
            if let Message::Close(frame) = self.socket.read().expect("a close frame") {
                // Lets the reply go out: the server waits for it.
                let _ = self.socket.flush();
                return frame.map_or(1005, |f| f.code.into());
            }
        }
    }
}
