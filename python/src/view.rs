//! The bytes of any object with the buffer protocol.
//!
//! # Contract of the unsafe code
//! A filled `Py_buffer` is released once, with the GIL held, and not moved in between: its `internal` and `shape` are the
//! exporter's and may point into it. While it is filled the exporter keeps `len` readable bytes at `buf`.

#![allow(unsafe_code)]

use std::mem::ManuallyDrop;

use pyo3::ffi;
use pyo3::prelude::*;

/// A view of an exporter's bytes: contiguous, in its order. Whoever writes to them meanwhile gets a message that is partly
/// the one and partly the other.
pub struct View {
    /// In a box: it must not move.
    buffer: ManuallyDrop<Box<ffi::Py_buffer>>,
}

// SAFETY: dropped only with the GIL held (its users see to that, see `reference`); the bytes may be read from any thread.
unsafe impl Send for View {}
// SAFETY: as above.
unsafe impl Sync for View {}

impl View {
    /// The bytes of `object`.
    ///
    /// # Errors
    /// `TypeError` where it has none, `BufferError` or `ValueError` (the exporter's) where they are not contiguous.
    pub fn of(object: &Bound<'_, PyAny>) -> PyResult<View> {
        let mut buffer = Box::new(ffi::Py_buffer::new());
        // SAFETY: the GIL is held, and the structure is ours.
        let result = unsafe { ffi::PyObject_GetBuffer(object.as_ptr(), &raw mut *buffer, ffi::PyBUF_SIMPLE) };
        if result != 0 {
            return Err(PyErr::fetch(object.py()));
        }
        Ok(View { buffer: ManuallyDrop::new(buffer) })
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        let len = self.buffer.len as usize;
        if len == 0 {
            return &[];
        }
        // SAFETY: the exporter keeps them while the view is there.
        unsafe { std::slice::from_raw_parts(self.buffer.buf.cast::<u8>().cast_const(), len) }
    }

    /// The exporter does not let anybody write through such views.
    pub fn is_readonly(&self) -> bool {
        self.buffer.readonly != 0
    }

    /// Forgets it, for a process that does not own it.
    pub fn forget(self) {
        std::mem::forget(self);
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // SAFETY: taken once.
        let mut buffer = unsafe { ManuallyDrop::take(&mut self.buffer) };
        // SAFETY: filled in `of`, and the GIL is held.
        unsafe { ffi::PyBuffer_Release(&raw mut *buffer) };
    }
}
