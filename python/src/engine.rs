//! Starting, ending and asking an engine.

use std::os::fd::{AsFd, AsRawFd, IntoRawFd as _};
use std::sync::Arc;
use std::time::Instant;

use fanwire::proto::topic::Pattern;
use fanwire::{Allowed, ConnectionId, Decision, Grants, HandOver, InheritedSocket, Kind, Priority, SysTopic, binding};
use fanwire_access::{Meant, TokenSettings};
use pyo3::exceptions::{PyIndexError, PyResourceWarning, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyMapping};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::HELD_BYTES_MAX;
use crate::body::{Body, KindArgument, PriorityArgument};
use crate::config::{Access, Addresses, Driver, Settings, TopicSettings, apply_options};
use crate::error::{Class, Failure, Outcome, stopped};
use crate::event;
use crate::host::{End, Host};
use crate::stats::{Reconfigured, Stats};
use crate::topic::Topic;
use crate::wait::{self, Patience};

/// Time that clients get to receive everything when a `with` block ends.
const DEADLINE: f64 = 5.0;

/// A running engine. `with fanwire.Engine(...) as engine:` stops it at the end of the block.
#[pyclass(frozen, weakref, module = "fanwire")]
pub struct Engine {
    host: Arc<Host>,
    events: PyOnceLock<Py<PyAny>>,
}

#[pymethods]
impl Engine {
    #[new]
    #[pyo3(signature = (
        *,
        listen=None,
        shards=None,
        cpus=None,
        driver=None,
        connections_max=None,
        cursors_max=None,
        topics_max=None,
        subscriptions_per_connection_max=None,
        ring_bytes=None,
        pool_bytes=None,
        lane_bytes=None,
        payload_bytes=None,
        remainder_bytes=None,
        client_bytes=None,
        lock_memory=false,
        message_bytes_max=None,
        request_bytes_max=None,
        handshakes_max=None,
        connections_per_address_max=None,
        upgrades_per_address_per_minute_max=None,
        failures_per_address_per_minute_max=None,
        inbound_messages_per_second_max=None,
        inbound_bytes_per_second_max=None,
        message_timeout=None,
        connection_lifetime=None,
        connections_per_subject_max=None,
        subscriptions_per_subject_max=None,
        patterns_per_subject_max=None,
        topics_per_subject_max=None,
        topics_per_connection_max=None,
        unsent_bytes_max=None,
        handshake_timeout=None,
        ping_every=None,
        idle_timeout=None,
        close_timeout=None,
        close_window=None,
        topics=None,
        deflate=None,
        compression_threshold_bytes=None,
        publish_access=None,
        allowed_origins=None,
        tls_bytes=None,
        tls_certificate_files=None,
        tls_key_files=None,
        tls_client_ca_file=None,
        tls_client_certificates=None,
        tls_version_min=None,
        trusted_proxies=None,
        sys_top=None,
        sys_public=None,
        ask_host_within=None,
        ask_host_headers=None,
        server_name=None,
        events=None,
        messages=false,
        options=None,
        sockets=None,
    ))]
    #[allow(clippy::too_many_arguments, reason = "keywords, each by its name")]
    fn new(
        py: Python<'_>,
        listen: Option<Addresses>,
        shards: Option<usize>,
        cpus: Option<Vec<usize>>,
        driver: Option<Driver>,
        connections_max: Option<u32>,
        cursors_max: Option<u32>,
        topics_max: Option<u32>,
        subscriptions_per_connection_max: Option<u32>,
        ring_bytes: Option<usize>,
        pool_bytes: Option<usize>,
        lane_bytes: Option<usize>,
        payload_bytes: Option<usize>,
        remainder_bytes: Option<usize>,
        client_bytes: Option<usize>,
        lock_memory: bool,
        message_bytes_max: Option<usize>,
        request_bytes_max: Option<usize>,
        handshakes_max: Option<u32>,
        connections_per_address_max: Option<u32>,
        upgrades_per_address_per_minute_max: Option<u32>,
        failures_per_address_per_minute_max: Option<u32>,
        inbound_messages_per_second_max: Option<u32>,
        inbound_bytes_per_second_max: Option<usize>,
        message_timeout: Option<f64>,
        connection_lifetime: Option<f64>,
        connections_per_subject_max: Option<u32>,
        subscriptions_per_subject_max: Option<u32>,
        patterns_per_subject_max: Option<u32>,
        topics_per_subject_max: Option<u32>,
        topics_per_connection_max: Option<u32>,
        unsent_bytes_max: Option<usize>,
        handshake_timeout: Option<f64>,
        ping_every: Option<f64>,
        idle_timeout: Option<f64>,
        close_timeout: Option<f64>,
        close_window: Option<f64>,
        topics: Option<Vec<TopicSettings>>,
        deflate: Option<bool>,
        compression_threshold_bytes: Option<usize>,
        publish_access: Option<Access>,
        allowed_origins: Option<Vec<String>>,
        tls_bytes: Option<usize>,
        tls_certificate_files: Option<Vec<std::path::PathBuf>>,
        tls_key_files: Option<Vec<std::path::PathBuf>>,
        tls_client_ca_file: Option<std::path::PathBuf>,
        tls_client_certificates: Option<crate::config::ClientCertificatesName>,
        tls_version_min: Option<crate::config::TlsVersionName>,
        trusted_proxies: Option<Vec<String>>,
        sys_top: Option<u32>,
        sys_public: Option<bool>,
        ask_host_within: Option<f64>,
        ask_host_headers: Option<Vec<String>>,
        server_name: Option<String>,
        events: Option<usize>,
        messages: bool,
        options: Option<Bound<'_, PyMapping>>,
        sockets: Option<Vec<(String, Bound<'_, PyAny>)>>,
    ) -> PyResult<Self> {
        let settings = Settings {
            listen,
            shards,
            cpus,
            driver,
            connections_max,
            cursors_max,
            topics_max,
            subscriptions_per_connection_max,
            ring_bytes,
            pool_bytes,
            lane_bytes,
            payload_bytes,
            remainder_bytes,
            client_bytes,
            lock_memory,
            message_bytes_max,
            request_bytes_max,
            handshakes_max,
            connections_per_address_max,
            upgrades_per_address_per_minute_max,
            failures_per_address_per_minute_max,
            inbound_messages_per_second_max,
            inbound_bytes_per_second_max,
            message_timeout,
            connection_lifetime,
            connections_per_subject_max,
            subscriptions_per_subject_max,
            patterns_per_subject_max,
            topics_per_subject_max,
            topics_per_connection_max,
            unsent_bytes_max,
            handshake_timeout,
            ping_every,
            idle_timeout,
            close_timeout,
            close_window,
            topics,
            deflate,
            compression_threshold_bytes,
            publish_access,
            allowed_origins,
            tls_bytes,
            tls_certificate_files,
            tls_key_files,
            tls_client_ca_file,
            tls_client_certificates,
            tls_version_min,
            trusted_proxies,
            sys_top,
            sys_public,
            ask_host_within,
            ask_host_headers,
            server_name,
            events,
            messages,
        };
        let mut config = settings.read()?;
        let mut tokens = TokenSettings::default();
        if let Some(options) = options {
            apply_options(&mut config, &mut tokens, &options)?;
        }
        let sockets = sockets.unwrap_or_default().into_iter().map(inherited).collect::<PyResult<Vec<_>>>()?;
        stop_at_exit(py)?;
        let host = py.detach(|| Host::start((config, tokens), &sockets))?;
        drop(sockets);
        let engine = Self { host, events: PyOnceLock::new() };
        if let Some(notice) = engine.driver_notice()? {
            let logger = py.import("logging")?.call_method1("getLogger", ("fanwire",))?;
            logger.call_method1("warning", ("%s", notice))?;
        }
        Ok(engine)
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (exception_type, exception, traceback, /))]
    fn __exit__(
        &self,
        py: Python<'_>,
        exception_type: &Bound<'_, PyAny>,
        exception: &Bound<'_, PyAny>,
        traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let _ = (exception_type, exception, traceback);
        if self.host.is_ours() {
            self.shutdown(py, DEADLINE, None)?;
        }
        Ok(())
    }

    /// The topic of this name, made if need be.
    #[pyo3(signature = (name, *, priority=None, kind=None))]
    fn topic(
        &self,
        py: Python<'_>,
        name: &str,
        priority: Option<PriorityArgument>,
        kind: Option<KindArgument>,
    ) -> PyResult<Topic> {
        // It may wait for room.
        let topic = py.detach(|| self.host.with(|engine| Ok(engine.topic(name)?)))?;
        let priority = priority.map_or(Priority::Normal, |priority| priority.0);
        Ok(Topic::new(topic, self.host.clone(), priority, kind.map(|kind| kind.0)))
    }

    /// Remove a topic. Return whether there was one.
    fn remove_topic(&self, name: &str) -> PyResult<bool> {
        Ok(self.host.with(|engine| Ok(engine.remove_topic(name)?))?)
    }

    /// Send a message to one connection, past all topics.
    #[pyo3(signature = (connection, data, *, kind=None))]
    fn send_to(&self, connection: u64, data: &Bound<'_, PyAny>, kind: Option<KindArgument>) -> PyResult<()> {
        self.host.check()?;
        let (body, kind) = Body::of(data, kind.map(|kind| kind.0))?;
        let bytes = body.bytes();
        let to = ConnectionId::from_u64(connection);
        let send = || self.host.with(|engine| Ok(engine.send_copy_to(to, kind, bytes)?));
        // Text that somebody may change while it is checked is copied with the GIL held.
        let may_detach = bytes.len() > HELD_BYTES_MAX && (body.is_fixed() || kind == Kind::Binary);
        if may_detach {
            data.py().detach(send)?
        } else {
            send()?
        }
        Ok(())
    }

    /// Close one connection.
    #[pyo3(signature = (connection, code=1000, reason=""))]
    fn close(&self, connection: u64, code: u16, reason: &str) -> PyResult<()> {
        if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
            return Err(PyValueError::new_err(format!("{code} is no close code that may be sent")));
        }
        let connection = ConnectionId::from_u64(connection);
        Ok(self.host.with(|engine| Ok(engine.close(connection, code, reason)?))?)
    }

    /// Let in a client that asks: the `connection` of an `Authorize` event.
    #[pyo3(signature = (connection, *, subscribe=None, publish=None, lifetime=None, subject=None))]
    fn allow(
        &self,
        connection: u64,
        subscribe: Option<Vec<String>>,
        publish: Option<Vec<String>>,
        lifetime: Option<f64>,
        subject: Option<String>,
    ) -> PyResult<()> {
        let lifetime = lifetime.map(|seconds| wait::duration("lifetime", seconds)).transpose()?;
        let grants = Grants { subscribe: allowed(subscribe)?, publish: allowed(publish)?, lifetime, subject };
        self.decide(connection, Decision::Allow(grants))
    }

    /// Refuse a client that asks, with this HTTP status.
    #[pyo3(signature = (connection, status=403))]
    fn refuse(&self, connection: u64, status: u16) -> PyResult<()> {
        let decision = match status {
            401 => Decision::Unauthorized,
            403 => Decision::Forbidden,
            503 => Decision::Unavailable,
            _ => return Err(PyValueError::new_err(format!("status = {status}: 401, 403 or 503 is needed"))),
        };
        self.decide(connection, decision)
    }

    /// What happens to the engine's connections, to iterate over.
    #[getter]
    fn events<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        // A weak reference in it, or the two would keep each other.
        static EVENTS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let events = slf.get().events.get_or_try_init(py, || {
            PyResult::Ok(EVENTS.import(py, "fanwire._events", "Events")?.call1((slf,))?.unbind())
        })?;
        Ok(events.bind(py).clone())
    }

    /// Take up to `capacity` events, waiting for the first one.
    #[pyo3(signature = (capacity=256, timeout=Some(0.0)))]
    #[pyo3(text_signature = "($self, capacity=256, timeout=0.0)")]
    fn poll_events<'py>(
        &self,
        py: Python<'py>,
        capacity: usize,
        timeout: Option<f64>,
    ) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let patience = Patience::from_seconds(timeout)?;
        Ok(self.poll(py, capacity, patience)?)
    }

    /// Give back what was published by reference and is not needed any more. Return how many messages.
    fn reclaim(&self, py: Python<'_>) -> PyResult<usize> {
        self.host.check()?;
        Ok(self.host.reclaim(py))
    }

    /// What was counted by the engine, or by one of its shards.
    #[pyo3(signature = (shard=None))]
    fn stats(&self, shard: Option<usize>) -> PyResult<Stats> {
        let now = self.host.with(|engine| Ok(engine.stats()))?;
        let base = Stats {
            shards: now.shards.len() as u64,
            ring_bytes: now.ring_bytes,
            payload_bytes: now.payload_bytes,
            ..Stats::default()
        };
        match shard {
            None => Ok(base.with_shard(&now.total)),
            Some(number) => match now.shards.get(number) {
                Some(shard) => Ok(base.with_shard(shard)),
                None => Err(PyIndexError::new_err(format!("there are {} shards", now.shards.len()))),
            },
        }
    }

    /// Counters, limits and histograms in the text format of OpenMetrics 1.0.
    fn metrics(&self, py: Python<'_>) -> PyResult<String> {
        Ok(py.detach(|| self.host.metrics())?)
    }

    /// What the engine says of itself on one of its topics, as JSON.
    #[pyo3(signature = (topic, *, timeout=3.0))]
    fn snapshot(&self, py: Python<'_>, topic: &str, timeout: f64) -> PyResult<String> {
        let within = wait::duration("timeout", timeout)?;
        let topic = SysTopic::from_name(topic)
            .ok_or_else(|| PyValueError::new_err(format!("{topic:?} is no topic of the engine's")))?;
        let said = py.detach(|| self.host.with(|engine| Ok(engine.snapshot(topic, within)?)))?;
        Ok(said.to_string())
    }

    /// Read certificates and keys anew, from the same files: connections that come from now on get them.
    fn reload_certificates(&self, py: Python<'_>) -> PyResult<usize> {
        let read = || self.host.with(|engine| Ok(engine.reload_certificates().map_err(fanwire::StartError::Config)?));
        Ok(py.detach(read)?)
    }

    /// Change settings, by their names, while the engine runs.
    fn reconfigure(&self, py: Python<'_>, options: &Bound<'_, PyMapping>) -> PyResult<Reconfigured> {
        let (mut config, mut tokens) = self.host.settings()?;
        apply_options(&mut config, &mut tokens, options)?;
        Ok(Reconfigured::from(py.detach(|| self.host.reconfigure((config, tokens)))?))
    }

    /// Refuse tokens from now on, and close who came in by them. Return how many connections that are.
    #[pyo3(signature = (*, sub=None, jti=None, before=None))]
    fn revoke(&self, py: Python<'_>, sub: Option<String>, jti: Option<String>, before: Option<u64>) -> PyResult<usize> {
        let meant = Meant { sub, jti, before };
        meant.check().map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok(py.detach(|| self.host.revoke(meant))?.closed)
    }

    /// What is listened on, for another process to take over: sockets, with their names.
    fn listening_sockets<'py>(&self, py: Python<'py>) -> PyResult<Vec<(String, Bound<'py, PyAny>)>> {
        let cannot = |error: std::io::Error| Failure::new(Class::StartError, error.to_string());
        let held = self.host.with(|engine| engine.listening_sockets().map_err(cannot))?;
        let class = py.import("socket")?.getattr("socket")?;
        let object = |InheritedSocket { name, socket }: InheritedSocket| {
            let named = PyDict::new(py);
            named.set_item("fileno", socket.as_raw_fd())?;
            let object = class.call((), Some(&named))?;
            // It is the object's from here on.
            let _ = socket.into_raw_fd();
            Ok((name, object))
        };
        held.into_iter().map(object).collect()
    }

    /// Names of the sockets that were handed over and are listened on.
    #[getter]
    fn taken_over(&self) -> PyResult<Vec<String>> {
        Ok(self.host.with(|engine| Ok(engine.taken_over().to_vec()))?)
    }

    /// End in favour of another process that listens on the sockets with these names. Return whether all was done in time.
    #[pyo3(signature = (names, window=30.0, deadline=35.0))]
    fn hand_over(&self, py: Python<'_>, names: Vec<String>, window: f64, deadline: f64) -> PyResult<bool> {
        let (window, deadline) = (wait::duration("window", window)?, wait::duration("deadline", deadline)?);
        self.end(py, &End::HandOver(HandOver { window, deadline, sockets: names }))
    }

    /// End in good order: deliver what was published, then close everybody with 1001. Return whether all was done in time.
    #[pyo3(signature = (deadline=DEADLINE, window=None))]
    #[pyo3(text_signature = "($self, deadline=5.0, window=None)")]
    fn shutdown(&self, py: Python<'_>, deadline: f64, window: Option<f64>) -> PyResult<bool> {
        let within = wait::duration("deadline", deadline)?;
        match window {
            Some(window) => self.end(py, &End::Over(wait::duration("window", window)?, within)),
            None => self.end(py, &End::Within(within)),
        }
    }

    /// End at once: what was not delivered is lost.
    fn stop(&self, py: Python<'_>) -> PyResult<()> {
        self.end(py, &End::AtOnce).map(drop)
    }

    /// True while every shard runs.
    #[getter]
    fn is_running(&self) -> PyResult<bool> {
        match self.host.with(|engine| Ok(engine.is_running())) {
            Err(failure) if failure.is(Class::Stopped) => Ok(false),
            other => Ok(other?),
        }
    }

    /// Which shard has failed and why.
    #[getter]
    fn failure(&self) -> PyResult<Option<String>> {
        Ok(self.host.with(|engine| Ok(engine.failure().map(ToString::to_string)))?)
    }

    /// The addresses listened on.
    #[getter]
    fn addresses(&self) -> PyResult<Vec<(String, u16)>> {
        Ok(self.host.with(|engine| {
            Ok(engine.local_addrs().iter().map(|address| (address.ip().to_string(), address.port())).collect())
        })?)
    }

    /// The port of the first address.
    #[getter]
    fn port(&self) -> PyResult<u16> {
        Ok(self.host.with(|engine| Ok(engine.local_addrs().first().map_or(0, std::net::SocketAddr::port)))?)
    }

    /// Where a client on this machine connects to: `ws://127.0.0.1:9001`.
    #[getter]
    fn url(&self) -> PyResult<String> {
        Ok(self.host.with(|engine| {
            let mut listener = engine.listeners().first().ok_or_else(stopped)?.clone();
            if let fanwire::Place::Address(address) = &mut listener.place
                && address.ip().is_unspecified()
            {
                address.set_ip(match address {
                    std::net::SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                    std::net::SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
                });
            }
            Ok(listener.url())
        })?)
    }

    /// The kernel interface that runs: `uring` or `epoll`.
    #[getter]
    fn driver(&self) -> PyResult<String> {
        Ok(self.host.with(|engine| Ok(engine.driver().to_owned()))?)
    }

    /// Why it is not io_uring, where it might have been.
    #[getter]
    fn driver_notice(&self) -> PyResult<Option<String>> {
        Ok(self.host.with(|engine| Ok(engine.driver_notice().map(str::to_owned)))?)
    }

    /// The sum of all memory that the engine may use, as a table for a log.
    #[getter]
    fn memory_plan(&self) -> PyResult<String> {
        Ok(self.host.memory()?)
    }

    /// The descriptor that is readable whenever `poll_events` has something to do.
    fn fileno(&self) -> PyResult<i32> {
        self.host.check()?;
        Ok(self.host.bell().as_raw_fd())
    }

    fn __repr__(&self) -> String {
        match (self.host.is_ours(), self.host.is_stopped(), self.url()) {
            (false, _, _) => "<fanwire.Engine of another process>".to_owned(),
            (_, false, Ok(url)) => format!("<fanwire.Engine at {url}>"),
            _ => "<fanwire.Engine, stopped>".to_owned(),
        }
    }
}

/// A socket that listens already, by its name: an object with a descriptor, or a descriptor. It stays Python's.
fn inherited((name, socket): (String, Bound<'_, PyAny>)) -> PyResult<InheritedSocket> {
    let fd = match socket.extract::<i32>() {
        Ok(fd) => fd,
        Err(_) => socket.call_method0("fileno")?.extract()?,
    };
    let wrong = |error| PyValueError::new_err(format!("sockets: {name:?}: descriptor {fd}: {error}"));
    let socket = binding::duplicate(fd).map_err(wrong)?;
    Ok(InheritedSocket { name, socket })
}

/// Topics by their patterns; none: nothing.
fn allowed(patterns: Option<Vec<String>>) -> PyResult<Allowed> {
    let parse = |text: String| {
        let wrong = |error| Failure::new(Class::BadName, format!("{text:?}: {error}"));
        Pattern::parse(&text).map_err(wrong)
    };
    Ok(patterns.unwrap_or_default().into_iter().map(parse).collect::<Outcome<Vec<Pattern>>>()?.into())
}

impl Engine {
    fn decide(&self, connection: u64, decision: Decision) -> PyResult<()> {
        let connection = ConnectionId::from_u64(connection);
        Ok(self.host.with(|engine| Ok(engine.decide(connection, decision)?))?)
    }

    fn end(&self, py: Python<'_>, how: &End) -> PyResult<bool> {
        let ended = py.detach(|| self.host.end(how));
        self.host.releases.run(py);
        // That it had ended before is fine, as with a file.
        Ok(ended?.unwrap_or(true))
    }

    fn poll<'py>(&self, py: Python<'py>, capacity: usize, patience: Patience) -> Outcome<Vec<Bound<'py, PyAny>>> {
        let until = Instant::now() + patience.duration();
        loop {
            // Read first: what came before the end is taken before the end is told.
            let is_stopped = self.host.is_stopped();
            let events = self.take(py, capacity)?;
            self.host.reclaim(py);
            if !events.is_empty() || capacity == 0 {
                return Ok(events);
            }
            if is_stopped {
                return Err(stopped());
            }
            // While somebody ends it, nobody gets in to look.
            let is_ended = self.host.with(|engine| Ok(!engine.is_running())).unwrap_or(false);
            if is_ended && !self.host.is_stopped() {
                return Err(Failure::new(Class::InternalError, self.host.failure_text()));
            }
            let rest = until.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return Ok(events);
            }
            let rest = Timespec { tv_sec: rest.as_secs() as i64, tv_nsec: rest.subsec_nanos().into() };
            let bell = self.host.bell().as_fd();
            // That a signal ended it is seen next.
            let _ = py.detach(|| poll(&mut [PollFd::from_borrowed_fd(bell, PollFlags::IN)], Some(&rest)));
            py.check_signals()?;
        }
    }

    fn take<'py>(&self, py: Python<'py>, capacity: usize) -> Outcome<Vec<Bound<'py, PyAny>>> {
        let mut inbox = self.host.inbox()?;
        let Some(queue) = inbox.as_mut() else {
            self.host.bell().silence();
            return Ok(Vec::new());
        };
        let mut taken = Vec::new();
        while taken.len() < capacity
            && let Some(event) = queue.next()
        {
            taken.extend(event::object(py, event)?);
        }
        Ok(taken)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if !self.host.is_ours() || self.host.is_stopped() {
            return;
        }
        let _ = self.host.end(&End::AtOnce);
        let _ = Python::try_attach(|py| {
            self.host.releases.run(py);
            let warning = py.get_type::<PyResourceWarning>();
            let text = c"an engine was forgotten while it ran: it has been stopped at once (use `with`, or shutdown)";
            if let Err(error) = PyErr::warn(py, &warning, text, 1) {
                error.write_unraisable(py, None);
            }
        });
    }
}

/// Once for all engines.
fn stop_at_exit(py: Python<'_>) -> PyResult<()> {
    static REGISTERED: PyOnceLock<()> = PyOnceLock::new();
    REGISTERED.get_or_try_init(py, || {
        let stop = py.import("fanwire._fanwire")?.getattr("_stop_all")?;
        py.import("atexit")?.call_method1("register", (stop,)).map(drop)
    })?;
    Ok(())
}
