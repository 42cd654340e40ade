//! What the tests of the C interface share: an installed tree, compilers, and programs that cannot hang.

#![allow(dead_code, reason = "each test uses a part")]

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Longer than anything takes, sanitizers and a busy machine included.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// The package's folder.
pub fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where cargo has put the libraries of the profile under test.
pub fn built() -> PathBuf {
    let test = std::env::current_exe().expect("tests know where they are");
    test.parent().expect("a test is in a folder").to_owned()
}

/// fanwire, installed by `install.sh` into a folder of this build's own. Other test processes may use it too.
pub fn installed() -> &'static Path {
    static INSTALLED: OnceLock<PathBuf> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let built = built();
        let library = fs::metadata(built.join("libfanwire_c.so")).expect("cargo has built the shared library");
        let changed = library.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        let to = built.join(format!("ffi installed {}", changed.unwrap_or_default().as_nanos()));
        if to.is_dir() {
            return to;
        }
        // Whoever is first to rename has installed it for all; and whoever builds anew clears away what was before.
        let mine = built.join(format!("ffi being installed {}", std::process::id()));
        let before = built.read_dir().expect("a folder can be read").flatten().map(|entry| entry.path());
        let before: Vec<_> = before.filter(|path| path.display().to_string().contains("/ffi installed ")).collect();
        install(&built, &mine);
        if fs::rename(&mine, &to).is_err() {
            let _ = fs::remove_dir_all(&mine);
        }
        for old in before.iter().filter(|old| **old != to) {
            let _ = fs::remove_dir_all(old);
        }
        to
    })
}

/// Runs `install.sh`.
pub fn install(from: &Path, to: &Path) {
    let output = finish(
        Command::new("sh").arg(package().join("install.sh")).arg(to).arg("--from").arg(from),
        Duration::from_secs(120),
    );
    assert!(output.status.success(), "install.sh failed:\n{}", text(&output));
}

/// True if the tool is here. Else the test is skipped: a failure where everything must run (CI=true).
pub fn has(tool: &str) -> bool {
    let probe = Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if probe.is_ok_and(|status| status.success()) {
        return true;
    }
    skip(&format!("{tool} is not installed"));
    false
}

/// Says why a test cannot run here.
pub fn skip(reason: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "cannot run here, and CI skips nothing: {reason}");
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    println!("skipped {name}: {reason}");
    if let Some(list) = std::env::var_os("FANWIRE_TEST_SKIPS") {
        let line = format!("{name}: {reason}\n");
        let list = fs::OpenOptions::new().append(true).create(true).open(list);
        let _ = list.and_then(|mut list| list.write_all(line.as_bytes()));
    }
}

/// What is linked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Link {
    Shared,
    Static,
}

/// A program compiled from the installed tree alone, with all warnings as errors.
pub struct Program {
    _folder: tempfile::TempDir,
    pub path: PathBuf,
}

pub fn compile(source: &Path, link: Link, flags: &[&str]) -> Program {
    let lib = installed().join("lib");
    let (archive, folder, run_path) =
        (lib.join("libfanwire.a"), lib.as_os_str(), format!("-Wl,-rpath,{}", lib.display()));
    let libraries: Vec<&OsStr> = match link {
        Link::Shared => vec!["-L".as_ref(), folder, "-lfanwire".as_ref(), run_path.as_ref()],
        Link::Static => {
            let system = ["-lgcc_s", "-lutil", "-lrt", "-lpthread", "-lm", "-ldl"];
            [archive.as_os_str()].into_iter().chain(system.into_iter().map(OsStr::new)).collect()
        }
    };
    compile_with(installed(), source, &libraries, flags)
}

/// As [`compile`], with the headers of `prefix` and these arguments for the linker.
pub fn compile_with(prefix: &Path, source: &Path, libraries: &[&OsStr], flags: &[&str]) -> Program {
    let is_cpp = source.extension() == Some(OsStr::new("cpp"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join(source.file_stem().expect("a source has a name"));
    let mut command = Command::new(if is_cpp { "g++" } else { "gcc" });
    command
        .arg(if is_cpp { "-std=c++17" } else { "-std=c11" })
        .args(["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror", "-g", "-O1", "-pthread"])
        .args(flags)
        .arg("-I")
        .arg(prefix.join("include"))
        .arg("-o")
        .arg(&path)
        .arg(source);
    command.args(libraries).arg("-lm");
    let output = finish(&mut command, PATIENCE);
    assert!(output.status.success(), "{} does not compile:\n{}", source.display(), text(&output));
    Program { _folder: folder, path }
}

/// The C test of this name.
pub fn c_test(name: &str) -> PathBuf {
    package().join("tests/c").join(name)
}

/// The example of this name.
pub fn example(name: &str) -> PathBuf {
    package().join("examples").join(name)
}

/// Runs a program to its end and checks that it is pleased; `false` if it says that it cannot run here.
pub fn pass(command: &mut Command) -> bool {
    let output = finish(command, PATIENCE);
    if output.status.code() == Some(77) {
        skip(text(&output).lines().next().unwrap_or_default());
        return false;
    }
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, text(&output));
    true
}

/// Runs a command to its end, or kills it and fails.
pub fn finish(command: &mut Command, within: Duration) -> Output {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let read = |from: Option<Box<dyn Read + Send>>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut from) = from {
                let _ = from.read_to_end(&mut bytes);
            }
            bytes
        })
    };
    let stdout = read(child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>));
    let stderr = read(child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>));
    let until = Instant::now() + within;
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            break status;
        }
        if Instant::now() > until {
            let _ = child.kill();
            let _ = child.wait();
            let said = String::from_utf8_lossy(&stderr.join().unwrap_or_default()).into_owned();
            panic!("{command:?} was not done within {within:?}:\n{said}");
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    Output { status, stdout: stdout.join().unwrap_or_default(), stderr: stderr.join().unwrap_or_default() }
}

pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A program that serves, until it is dropped.
pub struct Server {
    child: Child,
    pub port: u16,
    pub output: BufReader<std::process::ChildStdout>,
}

impl Server {
    /// Starts it and reads the port from its first line.
    pub fn start(command: &mut Command) -> Server {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut output = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        let mut line = String::new();
        output.read_line(&mut line).expect("the server says something");
        let port = line.trim().rsplit(' ').next().and_then(|port| port.parse().ok());
        Server { child, port: port.unwrap_or_else(|| panic!("no port in {line:?}")), output }
    }

    pub fn stdin(&mut self) -> Option<std::process::ChildStdin> {
        self.child.stdin.take()
    }

    /// Asks it to end (SIGTERM).
    pub fn terminate(&self) {
        let killed = Command::new("kill").arg(self.child.id().to_string()).status();
        assert!(killed.is_ok_and(|status| status.success()));
    }

    /// Waits for its end, which must be a good one, and gives what it said.
    pub fn finish(mut self) -> String {
        let mut said = String::new();
        self.output.read_to_string(&mut said).expect("the server's words are text");
        let status = self.child.wait().expect("a child can be waited for");
        assert!(status.success(), "{status}: {said}");
        said
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
