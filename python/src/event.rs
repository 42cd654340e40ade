//! Events as Python's classes (`fanwire._events`).

use fanwire::{Event, Kind};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyString, PyType};

macro_rules! class {
    ($py:expr, $name:literal) => {{
        static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        CLASS.import($py, "fanwire._events", $name)
    }};
}

/// The event as Python has it; `None` for one that this version does not know.
///
/// # Errors
/// What Python raises, which is a want of memory.
pub fn object<'py>(py: Python<'py>, event: Event) -> PyResult<Option<Bound<'py, PyAny>>> {
    let made = match event {
        Event::Authorize { connection, peer, listener, target, headers, certificate } => {
            let peer = peer.map(|peer| (peer.ip().to_string(), peer.port()));
            let headers: Vec<_> = headers.into_iter().map(|(name, value)| (name, PyBytes::new(py, &value))).collect();
            class!(py, "Authorize")?.call1((connection.to_u64(), peer, listener, target, headers, certificate))
        }
        Event::Reauthorize { connection, token } => class!(py, "Reauthorize")?.call1((connection.to_u64(), token)),
        Event::Opened { connection, peer, protocol, path } => {
            let peer = peer.map(|peer| (peer.ip().to_string(), peer.port()));
            class!(py, "Opened")?.call1((connection.to_u64(), peer, protocol.name(), path))
        }
        Event::Subscribed { connection, topic } => class!(py, "Subscribed")?.call1((connection.to_u64(), topic)),
        Event::Unsubscribed { connection, topic } => class!(py, "Unsubscribed")?.call1((connection.to_u64(), topic)),
        Event::Message { connection, kind, payload } => {
            let data = match (kind, std::str::from_utf8(&payload)) {
                (Kind::Text | Kind::Json, Ok(text)) => PyString::new(py, text).into_any(),
                _ => PyBytes::new(py, &payload).into_any(),
            };
            class!(py, "Message")?.call1((connection.to_u64(), data))
        }
        Event::Lagging { connection, topic, priority } => {
            class!(py, "Lagging")?.call1((connection.to_u64(), topic, priority.name()))
        }
        Event::Evicted { connection, reason } => class!(py, "Evicted")?.call1((connection.to_u64(), reason)),
        Event::Closed { connection, code } => class!(py, "Closed")?.call1((connection.to_u64(), code)),
        Event::Failed { shard, reason } => class!(py, "Failed")?.call1((shard, reason)),
        _ => return Ok(None),
    };
    made.map(Some)
}
