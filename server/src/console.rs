//! Job: lines for people on stderr, which go through a queue to a thread of their own.
//! Knows: that whoever reads them may be gone, full, slow or stopped; then lines are dropped and counted, and the command goes on.
//! Must never know: what is said.

use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

/// Lines that may wait for stderr.
const LINES_MAX: usize = 1_024;
/// Bytes that may wait for stderr.
const BYTES_MAX: usize = 1 << 20;
/// How long the end of the process waits for lines that stderr has not taken.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Shows a line on stderr, whatever the log level.
macro_rules! tell {
    ($($part:tt)*) => { $crate::console::show(format_args!($($part)*)) };
}
pub(crate) use tell;

/// stderr's queue, once [`start`] has made it.
static STDERR: OnceLock<Lines> = OnceLock::new();

/// Starts the thread that writes to stderr.
///
/// # Errors
/// Where the thread cannot be had.
pub fn start() -> io::Result<()> {
    let lines = Lines::start(PatientStderr)?;
    // A panic is told like anything else: the usual hook waits where nobody reads.
    std::panic::set_hook(Box::new(|panic| {
        let trace = std::backtrace::Backtrace::capture();
        let at = thread::current().name().unwrap_or("a thread").to_owned();
        tell!("fanwire: a bug, in {at}: {panic}");
        if trace.status() == std::backtrace::BacktraceStatus::Captured {
            tell!("{trace}");
        }
    }));
    let _ = STDERR.set(lines);
    Ok(())
}

/// See [`tell!`].
pub fn show(line: fmt::Arguments<'_>) {
    match STDERR.get() {
        Some(lines) => lines.put(format!("{line}\n").into_bytes()),
        // Before the start, and in unit tests.
        None => _ = writeln!(io::stderr(), "{line}"),
    }
}

/// Puts whole lines into the queue as they are.
pub fn put(lines: Vec<u8>) {
    match STDERR.get() {
        Some(queue) => queue.put(lines),
        None => _ = io::stderr().write_all(&lines),
    }
}

/// Waits until stderr has taken what was told, or half a second: who does not read by then is not waited for.
pub fn flush() {
    if let Some(lines) = STDERR.get() {
        lines.flush(LAST_WORDS);
    }
}

enum Item {
    Line(Vec<u8>),
    /// Answered once all lines before it are written or given up.
    Flush(SyncSender<()>),
}

/// What the queue's two ends share.
#[derive(Default)]
struct Counts {
    /// Bytes of lines that wait.
    waiting: AtomicUsize,
    /// Lines dropped since this was last told.
    dropped: AtomicU64,
}

/// A queue of lines that nobody ever waits for.
struct Lines {
    queue: SyncSender<Item>,
    counts: Arc<Counts>,
}

impl Lines {
    fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, items) = sync_channel(LINES_MAX);
        let counts = Arc::new(Counts::default());
        let shared = counts.clone();
        thread::Builder::new().name("stderr".into()).spawn(move || write_out(&items, out, &shared))?;
        Ok(Lines { queue, counts })
    }

    fn put(&self, line: Vec<u8>) {
        let length = line.len();
        let has_room = self.counts.waiting.fetch_add(length, Relaxed) + length <= BYTES_MAX;
        if !has_room || self.queue.try_send(Item::Line(line)).is_err() {
            self.counts.waiting.fetch_sub(length, Relaxed);
            self.counts.dropped.fetch_add(1, Relaxed);
        }
    }

    fn flush(&self, patience: Duration) -> bool {
        let (done, is_done) = sync_channel(1);
        self.queue.try_send(Item::Flush(done)).is_ok() && is_done.recv_timeout(patience).is_ok()
    }
}

fn write_out(items: &Receiver<Item>, mut out: impl Write, counts: &Counts) {
    for item in items {
        match item {
            Item::Line(line) => {
                let written = out.write_all(&line).and_then(|()| out.flush());
                counts.waiting.fetch_sub(line.len(), Relaxed);
                if written.is_err() {
                    counts.dropped.fetch_add(1, Relaxed);
                    continue;
                }
                let dropped = counts.dropped.swap(0, Relaxed);
                if dropped > 0 {
                    tracing::warn!("{dropped} lines were dropped here: stderr did not take them");
                }
            }
            Item::Flush(done) => _ = done.try_send(()),
        }
    }
}

/// stderr, also where somebody has made it non-blocking.
struct PatientStderr;

impl Write for PatientStderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let stderr = io::stderr();
        loop {
            match rustix::io::write(&stderr, bytes) {
                Err(rustix::io::Errno::AGAIN) => {
                    let _ = poll(&mut [PollFd::new(&stderr, PollFlags::OUT)], None);
                }
                Err(rustix::io::Errno::INTR) => {}
                written => return Ok(written?),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::channel;

    use super::*;

    /// Keeps what is written, or fails, or waits for leave.
    #[derive(Clone, Default)]
    struct Paper {
        text: Arc<Mutex<Vec<u8>>>,
        fails: Arc<AtomicU64>,
        leave: Option<Arc<Mutex<Receiver<()>>>>,
    }

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if let Some(leave) = &self.leave {
                let _ = leave.lock().unwrap().recv();
            }
            if self.fails.load(Relaxed) > 0 {
                self.fails.fetch_sub(1, Relaxed);
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            self.text.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn lines_come_in_order_and_a_broken_stderr_costs_only_lines() {
        let paper = Paper::default();
        let lines = Lines::start(paper.clone()).unwrap();
        lines.put(b"one\n".to_vec());
        assert!(lines.flush(LONG));
        paper.fails.store(2, Relaxed);
        lines.put(b"lost\n".to_vec());
        lines.put(b"lost too\n".to_vec());
        assert!(lines.flush(LONG));
        assert_eq!(lines.counts.dropped.load(Relaxed), 2);
        lines.put(b"two\n".to_vec());
        assert!(lines.flush(LONG));
        assert_eq!(*paper.text.lock().unwrap(), b"one\ntwo\n");
        assert_eq!((lines.counts.dropped.load(Relaxed), lines.counts.waiting.load(Relaxed)), (0, 0));
    }

    #[test]
    fn who_reads_no_more_is_not_waited_for_and_holds_no_more_than_the_limits() {
        for (length, kept) in [(1, LINES_MAX), (BYTES_MAX / 4, 4)] {
            let (go, leave) = channel();
            let paper = Paper { leave: Some(Arc::new(Mutex::new(leave))), ..Paper::default() };
            let lines = Lines::start(paper.clone()).unwrap();
            let count = 2 * LINES_MAX;
            for _ in 0..count {
                lines.put(vec![b'x'; length]);
            }
            assert!(!lines.flush(Duration::ZERO), "nothing is written");
            let dropped = lines.counts.dropped.load(Relaxed) as usize;
            // The thread may have taken one out of the queue, and waits with it.
            assert!((count - kept - 1..=count - kept).contains(&dropped), "{dropped} of {count}");
            assert!(lines.counts.waiting.load(Relaxed) <= BYTES_MAX);
            drop(go);
        }
    }
}
