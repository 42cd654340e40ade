//! Publishing.

use std::sync::Arc;
use std::time::Duration;

use fanwire::{Kind, Message, Priority};
use pyo3::exceptions::{PyBufferError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};

use crate::HELD_BYTES_MAX;
use crate::body::{Body, KindArgument, PriorityArgument, kind_name};
use crate::claim::Claim;
use crate::error::{Class, Outcome};
use crate::host::Host;
use crate::stats::Pressure;
use crate::view::View;
use crate::wait::{self, Patience};

/// Messages that `publish_many` hands on at a time.
const MANY: usize = 64;

/// A topic to publish on: `engine.topic(name)`. May be used from any thread.
#[pyclass(frozen, module = "fanwire")]
pub struct Topic {
    topic: fanwire::Topic,
    host: Arc<Host>,
    /// Where a call names none.
    priority: Priority,
    /// Where a call names none; `None`: what the object's type says.
    kind: Option<Kind>,
}

impl Topic {
    pub fn new(topic: fanwire::Topic, host: Arc<Host>, priority: Priority, kind: Option<Kind>) -> Self {
        Self { topic, host, priority, kind }
    }

    fn priority(&self, given: Option<PriorityArgument>) -> Priority {
        given.map_or(self.priority, |given| given.0)
    }

    fn kind(&self, given: Option<KindArgument>) -> Option<Kind> {
        given.map(|given| given.0).or(self.kind)
    }

    /// Publishes any object.
    fn publish_object(&self, object: &Bound<'_, PyAny>, say: &Say<'_>) -> Outcome<u64> {
        let (body, kind) = Body::of(object, say.kind)?;
        let is_fixed = body.is_fixed();
        let bytes = body.bytes();
        // Text that somebody may change while it is checked must be copied first.
        if !is_fixed && kind != Kind::Binary && bytes.len() > HELD_BYTES_MAX {
            return self.publish_changing(object.py(), bytes, kind, say);
        }
        let message = Message {
            priority: say.priority,
            kind,
            payload: bytes,
            key: say.key,
            ttl: say.ttl,
            attributes: say.attributes,
            ..Message::default()
        };
        self.publish_message(object.py(), &message, say.patience)
    }

    fn publish_message(&self, py: Python<'_>, message: &Message<'_>, patience: Patience) -> Outcome<u64> {
        let attempt = || self.host.guarded(|| Ok(self.topic.publish_message(message)?.0));
        if patience.is_none() && message.payload.len() > HELD_BYTES_MAX {
            return py.detach(attempt);
        }
        if message.payload.len() <= HELD_BYTES_MAX {
            match attempt() {
                Err(failure) if failure.is(Class::WouldBlock) && !patience.is_none() => {}
                other => return other,
            }
        }
        patience.wait(py, |rest| self.host.guarded(|| Ok(self.topic.publish_message_timeout(message, rest)?.0)))
    }

    fn publish_changing(&self, py: Python<'_>, bytes: &[u8], kind: Kind, say: &Say<'_>) -> Outcome<u64> {
        let copy = PyBytes::new(py, bytes);
        let payload = copy.as_bytes();
        let message = Message {
            priority: say.priority,
            kind,
            payload,
            key: say.key,
            ttl: say.ttl,
            attributes: say.attributes,
            ..Message::default()
        };
        self.publish_message(py, &message, say.patience)
    }

    fn publish_all(&self, items: &Bound<'_, PyTuple>, say: &Say<'_>, done: &mut usize) -> Outcome {
        let py = items.py();
        let count = items.len();
        let mut chunk = [&[][..]; MANY];
        while *done < count {
            let (mut ready, mut total, mut kind) = (0, 0, say.kind);
            for at in *done..count.min(*done + MANY) {
                let item = items.get_borrowed_item(at)?;
                let (bytes, natural) = if item.is_instance_of::<PyBytes>() {
                    (<&[u8]>::extract(item).map_err(PyErr::from)?, Kind::Binary)
                } else if item.is_instance_of::<PyString>()
                    && let Ok(text) = <&str>::extract(item)
                {
                    (text.as_bytes(), Kind::Text)
                } else {
                    break;
                };
                if bytes.len() > HELD_BYTES_MAX || *kind.get_or_insert(natural) != say.kind.unwrap_or(natural) {
                    break;
                }
                chunk[ready] = bytes;
                ready += 1;
                total += bytes.len();
            }
            if ready == 0 {
                self.publish_object(&items.get_item(*done)?, say)?;
                *done += 1;
                continue;
            }
            *done += self.publish_chunk(py, &chunk[..ready], total, kind.unwrap_or_default(), say)?;
        }
        Ok(())
    }

    fn publish_chunk(
        &self,
        py: Python<'_>,
        chunk: &[&[u8]],
        total: usize,
        kind: Kind,
        say: &Say<'_>,
    ) -> Outcome<usize> {
        let attempt = || self.host.guarded(|| Ok(self.topic.publish_many(say.priority, kind, chunk)?));
        let first = if total > HELD_BYTES_MAX { py.detach(attempt) } else { attempt() };
        match first {
            Err(failure) if failure.is(Class::WouldBlock) && !say.patience.is_none() => say.patience.wait(py, |rest| {
                self.host.guarded(|| Ok(self.topic.publish_many_timeout(say.priority, kind, chunk, rest)?))
            }),
            other => other,
        }
    }
}

/// What a call says of its messages.
struct Say<'a> {
    priority: Priority,
    kind: Option<Kind>,
    key: Option<&'a str>,
    ttl: Option<Duration>,
    attributes: &'a [u8],
    patience: Patience,
}

#[pymethods]
impl Topic {
    /// Publish one message. Return its place in the order of its priority's messages.
    #[pyo3(signature = (data, *, priority=None, kind=None, key=None, ttl=None, timeout=Some(0.0), attributes=None))]
    #[pyo3(
        text_signature = "($self, data, *, priority=None, kind=None, key=None, ttl=None, timeout=0.0, attributes=None)"
    )]
    #[allow(clippy::too_many_arguments, reason = "keywords, each by its name")]
    fn publish(
        &self,
        data: &Bound<'_, PyAny>,
        priority: Option<PriorityArgument>,
        kind: Option<KindArgument>,
        key: Option<&str>,
        ttl: Option<f64>,
        timeout: Option<f64>,
        attributes: Option<&[u8]>,
    ) -> PyResult<u64> {
        self.host.check()?;
        let say = Say {
            priority: self.priority(priority),
            kind: self.kind(kind),
            key,
            ttl: ttl.map(|ttl| wait::duration("ttl", ttl)).transpose()?,
            attributes: attributes.unwrap_or_default(),
            patience: Patience::from_seconds(timeout)?,
        };
        Ok(self.publish_object(data, &say)?)
    }

    /// Publish messages in their order. Return how many, which is all of them.
    #[pyo3(signature = (messages, *, priority=None, kind=None, timeout=Some(0.0)))]
    #[pyo3(text_signature = "($self, messages, *, priority=None, kind=None, timeout=0.0)")]
    fn publish_many(
        &self,
        messages: &Bound<'_, PyAny>,
        priority: Option<PriorityArgument>,
        kind: Option<KindArgument>,
        timeout: Option<f64>,
    ) -> PyResult<usize> {
        self.host.check()?;
        let py = messages.py();
        // A tuple of our own: nobody takes an item away meanwhile.
        let items = if let Ok(list) = messages.cast::<PyList>() {
            list.to_tuple()
        } else if let Ok(tuple) = messages.cast::<PyTuple>() {
            tuple.clone()
        } else if messages.is_instance_of::<PyBytes>() || messages.is_instance_of::<PyString>() {
            return Err(PyTypeError::new_err("publish_many needs several messages: publish takes one"));
        } else {
            messages.try_iter()?.collect::<PyResult<Vec<_>>>().and_then(|items| PyTuple::new(py, items))?
        };
        let say = Say {
            priority: self.priority(priority),
            kind: self.kind(kind),
            key: None,
            ttl: None,
            attributes: b"",
            patience: Patience::from_seconds(timeout)?,
        };
        let mut done = 0;
        match self.publish_all(&items, &say, &mut done) {
            Ok(()) => Ok(done),
            Err(failure) => {
                let error = failure.into_exception(py);
                // How many were, for whoever wants to go on from there.
                error.value(py).setattr("published", done)?;
                Err(error)
            }
        }
    }

    /// Publish immutable bytes without a copy.
    #[pyo3(signature = (data, *, priority=None, kind=None))]
    fn publish_ref(
        &self,
        data: &Bound<'_, PyAny>,
        priority: Option<PriorityArgument>,
        kind: Option<KindArgument>,
    ) -> PyResult<u64> {
        self.host.check()?;
        let view = View::of(data)?;
        if !view.is_readonly() {
            return Err(PyBufferError::new_err(
                "publish_ref keeps the bytes, so they must be read-only: bytes, or numpy with flags.writeable = False",
            ));
        }
        let kind = self.kind(kind).unwrap_or(Kind::Binary);
        let priority = self.priority(priority);
        let bytes = self.host.releases.lend(view);
        let is_checked = kind != Kind::Binary && bytes.len() > HELD_BYTES_MAX;
        let attempt = || self.host.guarded(|| Ok(self.topic.publish_bytes(priority, kind, bytes)?.0));
        let published = if is_checked { data.py().detach(attempt) } else { attempt() };
        self.host.releases.run(data.py());
        Ok(published?)
    }

    /// Memory of the engine's, to write a message of `length` bytes in place.
    #[pyo3(signature = (length, *, priority=None, kind=None, timeout=Some(0.0)))]
    #[pyo3(text_signature = "($self, length, *, priority=None, kind=None, timeout=0.0)")]
    fn claim(
        &self,
        py: Python<'_>,
        length: usize,
        priority: Option<PriorityArgument>,
        kind: Option<KindArgument>,
        timeout: Option<f64>,
    ) -> PyResult<Claim> {
        self.host.check()?;
        let patience = Patience::from_seconds(timeout)?;
        let claim = Claim::take(py, &self.topic, &self.host, length, patience)?;
        let kind = self.kind(kind).unwrap_or(Kind::Binary);
        Ok(Claim::new(claim, self.topic.clone(), self.host.clone(), self.priority(priority), kind, patience))
    }

    /// How the subscribers of this topic stand.
    fn pressure(&self, py: Python<'_>) -> PyResult<Pressure> {
        self.host.check()?;
        // The first call waits for the shards.
        let now = py.detach(|| self.host.guarded(|| Ok(self.topic.pressure()?)))?;
        let [critical, high, normal, low] = now.dropped;
        Ok(Pressure {
            subscribers: now.subscribers,
            fullest: now.fullest,
            oldest: now.oldest.as_secs_f64(),
            dropped_critical: critical,
            dropped_high: high,
            dropped_normal: normal,
            dropped_low: low,
        })
    }

    /// The topic's name.
    #[getter]
    fn name(&self) -> &str {
        self.topic.name()
    }

    /// The engine's number for it, as subscribers are told.
    #[getter]
    fn id(&self) -> u32 {
        self.topic.id().0
    }

    /// The epoch in which its sequence numbers count.
    #[getter]
    fn epoch(&self) -> u64 {
        self.topic.epoch()
    }

    fn __repr__(&self) -> String {
        let kind = self.kind.map_or(String::new(), |kind| format!(", kind='{}'", kind_name(kind)));
        format!("<fanwire.Topic {:?}, priority='{}'{kind}>", self.topic.name(), self.priority)
    }
}
