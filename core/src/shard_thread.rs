//! A shard's thread: pins itself, makes its driver, turns until the shard has ended, and never ends unnoticed.
//!
//! Knows the drivers and how a shard fails. Must never know what a turn does.

use std::any::Any;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, mpsc};

use crate::config::nanoseconds;
use crate::driver::epoll::{EpollDriver, EpollOptions};
use crate::driver::probe::DriverChoice;
use crate::driver::proxied::Proxied;
use crate::driver::uring::{UringDriver, UringOptions};
use crate::driver::{Driver, DriverLimits};
use crate::ingest::Reader;
use crate::plan::{RECV_BUFFERS, RECV_BYTES};
use crate::shard::{Command, REFUSAL_SLOTS, Shard, Shared, Turned};
use crate::sys::{cpu, limits};

/// What a shard's thread needs to begin.
pub struct ShardThread {
    pub number: usize,
    pub choice: DriverChoice,
    pub cpu: Option<usize>,
    pub listeners: Vec<OwnedFd>,
    pub shared: Arc<Shared>,
    /// Told the driver's name once the shard runs, or why it does not.
    pub ready: mpsc::Sender<io::Result<&'static str>>,
}

impl ShardThread {
    /// The thread's whole life.
    pub fn run(self, reader: Reader) {
        let shared = self.shared.clone();
        let number = self.number;
        if let Some(cpu) = self.cpu
            && let Err(error) = cpu::pin_this_thread(cpu)
        {
            tracing::warn!(
                "shard {number} is not pinned to CPU {cpu}: {error} (an empty list of CPUs, `--cpus none`, pins nothing)"
            );
        }
        // A bug of ours ends the engine, not the host.
        let ended = catch_unwind(AssertUnwindSafe(|| self.serve(reader))).unwrap_or_else(|panic| Err(bug(panic)));
        if let Err(reason) = ended {
            fail(&shared, number, reason);
        }
        shared.mailboxes[number].is_stopped.store(true, Relaxed);
        // Whoever waits for the engine's end looks again.
        (shared.bell)();
    }

    fn serve(self, reader: Reader) -> Result<(), String> {
        let connections = self.shared.config.connections_max;
        // Any shard may get most of the connections: each has room for all, as far as descriptors go.
        let (open_files, _) = limits::open_files();
        let is_proxied = self.shared.listening.iter().any(|listener| listener.is_proxied);
        let limits = DriverLimits {
            slots: (connections + REFUSAL_SLOTS).min(open_files.try_into().unwrap_or(u32::MAX)),
            recv_buffers: RECV_BUFFERS,
            recv_bytes: RECV_BYTES,
            // A header makes two events of one.
            events_per_turn: if is_proxied { 512 } else { 1_024 },
        };
        let (epoll, uring) = (EpollOptions::default(), UringOptions::default());
        #[cfg(feature = "test-knobs")]
        let (limits, epoll, uring) = tiny(&self.shared.config, limits, epoll, uring);
        let Self { number, choice, listeners, shared, ready, .. } = self;
        match choice {
            DriverChoice::Epoll => match EpollDriver::new(&limits, listeners, &epoll) {
                Ok(driver) => drive_wrapped(driver, number, shared, reader, &limits, &ready),
                Err(error) => refuse(error, &ready),
            },
            DriverChoice::Auto | DriverChoice::Uring => match UringDriver::new(&limits, listeners, &uring) {
                Ok(driver) => drive_wrapped(driver, number, shared, reader, &limits, &ready),
                Err(error) => refuse(error, &ready),
            },
        }
    }
}

/// Wraps the driver in what the listeners ask for: a proxy speaks first, then TLS. Where that is nothing, nothing lies between
/// it and the shard. All that is wrapped is one kind of driver to the shard, so that there is one more of it to compile.
fn drive_wrapped<D: Driver + 'static>(
    driver: D,
    number: usize,
    shared: Arc<Shared>,
    reader: Reader,
    limits: &DriverLimits,
    ready: &mpsc::Sender<io::Result<&'static str>>,
) -> Result<(), String> {
    let is_proxied = shared.listening.iter().any(|listener| listener.is_proxied);
    if !is_proxied && shared.tls.is_none() {
        return drive(driver, number, shared, reader, limits.slots, ready);
    }
    let mut wrapped: Box<dyn Driver> = Box::new(driver);
    if is_proxied {
        let options = shared.config.proxy_options(&shared.listening, shared.mailboxes.len());
        wrapped = Box::new(Proxied::new(wrapped, options));
    }
    #[cfg(feature = "tls")]
    if let Some(acceptors) = shared.tls.clone() {
        use crate::driver::tls::{Tls, TlsOptions};

        let options = TlsOptions {
            is_tls: shared.listening.iter().map(|listener| listener.is_tls).collect(),
            acceptors,
            slots: limits.slots,
            events_per_turn: limits.events_per_turn,
            held_bytes_max: shared.config.memory.tls_bytes / shared.mailboxes.len(),
        };
        wrapped = Box::new(Tls::new(wrapped, options));
    }
    drive(wrapped, number, shared, reader, limits.slots, ready)
}

fn refuse(error: io::Error, ready: &mpsc::Sender<io::Result<&'static str>>) -> Result<(), String> {
    let _ = ready.send(Err(error));
    Ok(())
}

fn drive<D: Driver>(
    driver: D,
    number: usize,
    shared: Arc<Shared>,
    reader: Reader,
    slots: u32,
    ready: &mpsc::Sender<io::Result<&'static str>>,
) -> Result<(), String> {
    let name = driver.name();
    let waker = driver.waker();
    reader.set_waker(Arc::new(move || waker.wake()));
    #[cfg(feature = "test-knobs")]
    let planted = shared.config.planted_fault;
    let mut shard = Shard::new(number as u8, driver, shared, reader, slots);
    let _ = ready.send(Ok(name));
    let turned = catch_unwind(AssertUnwindSafe(|| {
        loop {
            #[cfg(feature = "test-knobs")]
            planted.map_or(Ok(()), |fault| fault(number))?;
            if shard.turn(true)? == Turned::Ended {
                return io::Result::Ok(());
            }
        }
    }));
    let ended = match turned {
        Ok(ended) => ended.map_err(|error| format!("its {name} driver has failed: {error}")),
        Err(panic) => Err(bug(panic)),
    };
    // Not while a panic unwinds: a second one would abort the host.
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(shard))).map_err(bug);
    ended.and(dropped)
}

/// Ends the whole engine because one shard cannot go on: an engine without it would serve some clients and starve the rest. The
/// others deliver what was published and close their clients, within the time of a close.
fn fail(shared: &Shared, number: usize, reason: String) {
    tracing::error!(
        event = "shard.failed",
        shard = number,
        "shard {number} has ended, and the engine with it: {reason}"
    );
    shared.failure.note(number, reason);
    shared.mailboxes[number].is_stopped.store(true, Relaxed);
    shared.ring.close();
    let limits = shared.rules.current().limits;
    let within_ns = nanoseconds(limits.close_timeout);
    let window_ns = nanoseconds(limits.close_window).min(within_ns / 2);
    for (other, mailbox) in shared.mailboxes.iter().enumerate().filter(|(other, _)| *other != number) {
        // What a full queue loses is a message to one connection, of an engine that ends.
        mailbox.commands.force_push(Command::Drain { within_ns, window_ns });
        shared.ring.wake_reader(other);
    }
    (shared.bell)();
}

/// The reason of a failure that was a panic.
fn bug(panic: Box<dyn Any + Send>) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let reason = format!("a bug in fanwire: {}", text.unwrap_or("a panic without a message"));
    // Dropping it could panic again.
    std::mem::forget(panic);
    reason
}

/// What [`crate::Config::is_tiny`] and `recv_buffers` mean to the drivers.
#[cfg(feature = "test-knobs")]
fn tiny(
    config: &crate::config::Config,
    limits: DriverLimits,
    epoll: EpollOptions,
    uring: UringOptions,
) -> (DriverLimits, EpollOptions, UringOptions) {
    use crate::driver::SendCut;

    let limits = DriverLimits { recv_buffers: config.recv_buffers.unwrap_or(limits.recv_buffers), ..limits };
    if !config.is_tiny {
        return (limits, epoll, uring);
    }
    let send_cut = SendCut::Ragged;
    (
        DriverLimits { recv_bytes: 1 << 10, ..limits },
        EpollOptions { send_cut },
        UringOptions { sq_entries: 64, cq_entries: 64, send_cut, ..uring },
    )
}
