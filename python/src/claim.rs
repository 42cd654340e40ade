//! Memory of the engine's, written in place by Python.
//!
//! # Contract of the unsafe code
//! A view that is handed out points into a claim that stays where it is, and is neither changed nor given back by us, until
//! the last view is released: whatever would do that asks `exports` first. Each view holds a reference to its `Claim`.

#![allow(unsafe_code)]

use std::ffi::c_int;
use std::ops::DerefMut;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fanwire::{Kind, Payload, Priority, RefusedPayload};
use pyo3::exceptions::{PyBufferError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyMemoryView;

use crate::HELD_BYTES_MAX;
use crate::error::{Class, Failure, Outcome};
use crate::host::Host;
use crate::wait::Patience;

/// Memory to write a message in place: `topic.claim(length)`.
///
/// `with topic.claim(length) as view:` gives a writable memoryview, publishes it at the end, and gives the memory back if an
/// exception ends the block.
#[pyclass(frozen, module = "fanwire")]
pub struct Claim {
    inside: Mutex<Inside>,
    topic: fanwire::Topic,
    host: Arc<Host>,
    priority: Priority,
    kind: Kind,
    patience: Patience,
}

struct Inside {
    stage: Stage,
    /// Views of Python's that are not released yet.
    exports: usize,
    /// What `__enter__` gave.
    view: Option<Py<PyMemoryView>>,
}

enum Stage {
    /// Being written.
    Open(fanwire::Claim),
    /// Committed, but there was no room.
    Refused(Payload),
    /// Given back as soon as the last view is released.
    Aborted(#[allow(dead_code, reason = "kept for its memory")] fanwire::Claim),
    /// Published.
    Committed,
    /// Given back.
    Gone,
}

impl Claim {
    /// Memory for a message of `length` bytes.
    pub fn take(
        py: Python<'_>,
        topic: &fanwire::Topic,
        host: &Host,
        length: usize,
        patience: Patience,
    ) -> Outcome<fanwire::Claim> {
        let attempt = || host.guarded(|| Ok(topic.claim(length)?));
        // Its pages are zeroed.
        let first = if length > HELD_BYTES_MAX { py.detach(attempt) } else { attempt() };
        match first {
            Err(failure) if failure.is(Class::WouldBlock) && !patience.is_none() => retry(py, patience, attempt),
            other => other,
        }
    }

    pub fn new(
        claim: fanwire::Claim,
        topic: fanwire::Topic,
        host: Arc<Host>,
        priority: Priority,
        kind: Kind,
        patience: Patience,
    ) -> Self {
        let inside = Mutex::new(Inside { stage: Stage::Open(claim), exports: 0, view: None });
        Self { inside, topic, host, priority, kind, patience }
    }

    fn inside(&self) -> Outcome<MutexGuard<'_, Inside>> {
        self.host.check()?;
        Ok(self.inside.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes the view that `__enter__` gave back.
    fn release_view(&self, py: Python<'_>) -> PyResult<()> {
        let Some(view) = self.inside()?.view.take() else { return Ok(()) };
        // Outside of the lock: this comes back as __releasebuffer__.
        let released = view.bind(py).call_method0("release");
        if let Err(error) = released {
            self.inside()?.view = Some(view);
            return Err(error);
        }
        Ok(())
    }

    fn publish(&self, py: Python<'_>, length: Option<usize>) -> Outcome<u64> {
        // Without the lock from here on, for the GIL may be released: others find it committed.
        let result = match self.take_stage(length)? {
            Stage::Open(mut claim) => {
                if let Some(length) = length {
                    claim.truncate(length);
                }
                let commit = || self.host.guarded(|| Ok(claim.commit(self.priority, self.kind)));
                // Text is read whole, to check that it is UTF-8.
                if self.kind == Kind::Binary { commit()? } else { py.detach(commit)? }
            }
            Stage::Refused(payload) => self.host.guarded(|| Ok(self.commit_again(payload)))?,
            other => return Err(over(&other)),
        };
        let refused = match result {
            Ok(at) => return Ok(at.0),
            Err(refused) => refused,
        };
        let mut waiting = Some(refused.payload);
        let failure = Failure::from(refused.error);
        let result = if failure.is(Class::WouldBlock) && !self.patience.is_none() {
            retry(py, self.patience, || {
                let Some(payload) = waiting.take() else { return Err(over(&Stage::Gone)) };
                self.host.guarded(|| Ok(self.commit_again(payload)))?.map(|at| at.0).map_err(|refused| {
                    waiting = Some(refused.payload);
                    refused.error.into()
                })
            })
        } else {
            Err(failure)
        };
        if let Some(payload) = waiting {
            self.inside()?.stage = Stage::Refused(payload);
        }
        result
    }

    /// What there is to commit; refused where that cannot be done now.
    fn take_stage(&self, length: Option<usize>) -> Outcome<Stage> {
        let mut inside = self.inside()?;
        if inside.exports > 0 {
            return Err(exported(inside.exports).into());
        }
        let claimed = match &inside.stage {
            Stage::Open(claim) => claim.len(),
            Stage::Refused(payload) => payload.len(),
            other => return Err(over(other)),
        };
        if let Some(length) = length.filter(|length| *length > claimed) {
            let text = format!("length {length} is more than the {claimed} bytes claimed");
            return Err(PyValueError::new_err(text).into());
        }
        if matches!(inside.stage, Stage::Refused(_)) && length.is_some_and(|length| length != claimed) {
            let text = format!("{claimed} bytes were committed before: they can be committed again, or given back");
            return Err(PyValueError::new_err(text).into());
        }
        Ok(std::mem::replace(&mut inside.stage, Stage::Committed))
    }

    fn commit_again(&self, payload: Payload) -> Result<fanwire::Position, RefusedPayload> {
        self.topic.publish_payload(self.priority, self.kind, payload)
    }

    fn give_back(&self) -> Outcome {
        let mut inside = self.inside()?;
        inside.stage = match std::mem::replace(&mut inside.stage, Stage::Gone) {
            Stage::Open(claim) if inside.exports > 0 => Stage::Aborted(claim),
            Stage::Open(_) | Stage::Refused(_) => Stage::Gone,
            other => {
                let failure = over(&other);
                inside.stage = other;
                return Err(failure);
            }
        };
        Ok(())
    }
}

/// Makes `attempt` until it gives something other than `WouldBlock`, or the time is over: for what depends on more than the
/// ring and so cannot wait for that.
fn retry<T: Send>(py: Python<'_>, patience: Patience, mut attempt: impl FnMut() -> Outcome<T> + Send) -> Outcome<T> {
    let mut is_first = true;
    patience.wait(py, |rest| {
        if !std::mem::take(&mut is_first) {
            std::thread::sleep(rest.min(std::time::Duration::from_millis(1)));
        }
        attempt()
    })
}

#[cold]
fn over(stage: &Stage) -> Failure {
    let text = match stage {
        Stage::Committed => "the claim was committed",
        _ => "the claim was given back",
    };
    Failure::new(Class::ClaimError, text)
}

#[cold]
fn exported(exports: usize) -> PyErr {
    PyBufferError::new_err(format!(
        "{exports} view{} of the claim {} still in use: release {} first",
        if exports == 1 { "" } else { "s" },
        if exports == 1 { "is" } else { "are" },
        if exports == 1 { "it" } else { "them" },
    ))
}

#[pymethods]
impl Claim {
    fn __enter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyMemoryView>> {
        let view = PyMemoryView::from(slf.as_any())?;
        slf.get().inside()?.view = Some(view.clone().unbind());
        Ok(view)
    }

    #[pyo3(signature = (exception_type, exception, traceback, /))]
    fn __exit__(
        &self,
        py: Python<'_>,
        exception_type: &Bound<'_, PyAny>,
        exception: &Bound<'_, PyAny>,
        traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let _ = (exception, traceback);
        if exception_type.is_none() {
            self.release_view(py)?;
            // The block may have done either by itself.
            let is_over = !matches!(self.inside()?.stage, Stage::Open(_) | Stage::Refused(_));
            if !is_over {
                self.publish(py, None)?;
            }
            return Ok(());
        }
        // Views that the exception's traceback keeps are released with it.
        let _ = self.release_view(py);
        let _ = self.give_back();
        Ok(())
    }

    /// Publish the first `length` bytes, or all. Return the place in the order of its priority's messages.
    #[pyo3(signature = (length=None))]
    fn commit(&self, py: Python<'_>, length: Option<usize>) -> PyResult<u64> {
        self.release_view(py)?;
        Ok(self.publish(py, length)?)
    }

    /// Give the memory back, unpublished.
    fn abort(&self, py: Python<'_>) -> PyResult<()> {
        // What is still exported keeps its memory until it is released.
        if let Err(error) = self.release_view(py)
            && !error.is_instance_of::<PyBufferError>(py)
        {
            return Err(error);
        }
        Ok(self.give_back()?)
    }

    /// Make the message `length` bytes long if it is shorter, the new bytes zero.
    fn grow(&self, length: usize) -> PyResult<()> {
        let mut inside = self.inside()?;
        if inside.exports > 0 {
            return Err(exported(inside.exports));
        }
        match &mut inside.stage {
            Stage::Open(claim) => {
                if claim.grow(length) {
                    return Ok(());
                }
                let text = format!("no payload memory for {length} bytes, or more than message_bytes_max");
                Err(Failure::new(Class::WouldBlock, text).into())
            }
            Stage::Refused(_) => Err(Failure::new(Class::ClaimError, "the claim was committed, and refused").into()),
            other => Err(over(other).into()),
        }
    }

    /// Shorten the message.
    fn truncate(&self, length: usize) -> PyResult<()> {
        let mut inside = self.inside()?;
        if inside.exports > 0 {
            return Err(exported(inside.exports));
        }
        match &mut inside.stage {
            Stage::Open(claim) => {
                claim.truncate(length);
                Ok(())
            }
            Stage::Refused(_) => Err(Failure::new(Class::ClaimError, "the claim was committed, and refused").into()),
            other => Err(over(other).into()),
        }
    }

    fn __len__(&self) -> PyResult<usize> {
        Ok(match &self.inside()?.stage {
            Stage::Open(claim) => claim.len(),
            Stage::Refused(payload) => payload.len(),
            _ => 0,
        })
    }

    fn __repr__(&self) -> PyResult<String> {
        let inside = self.inside()?;
        let stage = match &inside.stage {
            Stage::Open(claim) => format!("{} bytes", claim.len()),
            Stage::Refused(payload) => format!("{} bytes, refused for now", payload.len()),
            Stage::Committed => "committed".to_owned(),
            Stage::Aborted(_) | Stage::Gone => "given back".to_owned(),
        };
        Ok(format!("<fanwire.Claim on {:?}, {stage}>", self.topic.name()))
    }

    /// # Safety
    /// Python's: `view` is a structure to fill.
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let claim = slf.get();
        let mut inside = claim.inside()?;
        let Stage::Open(memory) = &mut inside.stage else {
            return Err(PyBufferError::new_err("the claim is not open any more: its memory cannot be written"));
        };
        let bytes = memory.deref_mut();
        let (start, len) = (bytes.as_mut_ptr(), bytes.len() as ffi::Py_ssize_t);
        // SAFETY: `start` has `len` bytes that may be written, and stays until the view is released.
        let filled = unsafe { ffi::PyBuffer_FillInfo(view, slf.as_ptr(), start.cast(), len, 0, flags) };
        if filled != 0 {
            return Err(PyErr::fetch(slf.py()));
        }
        inside.exports += 1;
        Ok(())
    }

    /// # Safety
    /// Python's: `view` was filled by `__getbuffer__`.
    unsafe fn __releasebuffer__(&self, _view: *mut ffi::Py_buffer) {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        inside.exports = inside.exports.saturating_sub(1);
        if inside.exports == 0 && matches!(inside.stage, Stage::Aborted(_)) {
            self.discard(std::mem::replace(&mut inside.stage, Stage::Gone));
        }
    }
}

impl Claim {
    /// Gives memory back, to its own process.
    fn discard(&self, stage: Stage) {
        if !self.host.is_ours() {
            std::mem::forget(stage);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let inside = self.inside.get_mut().unwrap_or_else(PoisonError::into_inner);
        let stage = std::mem::replace(&mut inside.stage, Stage::Gone);
        self.discard(stage);
    }
}
