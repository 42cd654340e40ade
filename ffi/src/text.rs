//! Text and bytes across the boundary.
//!
//! # Contract of the unsafe code
//! The host's pointers are used as it promises in the header: text ends with a NUL, `data` has `len` bytes, an `out`
//! pointer may be written. NULL is checked here, once for all.

use std::ffi::{CStr, c_char, c_void};
use std::slice;

use crate::status::{Failure, Outcome, fw_status};

/// The host's text, which must be UTF-8.
pub fn text<'a>(what: &str, text: *const c_char) -> Outcome<&'a str> {
    if text.is_null() {
        return Err(Failure::new(fw_status::FW_NULL, format!("{what} is NULL")));
    }
    // SAFETY: terminated, as the host promises.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map_err(|_| Failure::new(fw_status::FW_NOT_UTF8, format!("{what} is not UTF-8")))
}

/// The host's bytes; NULL may stand for none of them.
#[inline]
pub fn bytes<'a>(data: *const c_void, len: usize) -> Outcome<&'a [u8]> {
    if len == 0 {
        return Ok(&[]);
    }
    if data.is_null() {
        return Err(fw_status::FW_NULL.into());
    }
    if len > isize::MAX as usize {
        return Err(fw_status::FW_BAD_ARGUMENT.into());
    }
    // SAFETY: `len` bytes that nobody writes during the call, as the host promises.
    Ok(unsafe { slice::from_raw_parts(data.cast(), len) })
}

/// The host's array; NULL may stand for an empty one.
pub fn array<'a, T>(items: *const T, count: usize) -> Outcome<&'a [T]> {
    if count == 0 {
        return Ok(&[]);
    }
    if items.is_null() {
        return Err(fw_status::FW_NULL.into());
    }
    if !items.is_aligned() || count > isize::MAX as usize / size_of::<T>().max(1) {
        return Err(fw_status::FW_BAD_ARGUMENT.into());
    }
    // SAFETY: `count` items, as the host promises; aligned.
    Ok(unsafe { slice::from_raw_parts(items, count) })
}

/// Checks a pointer to write a result to.
#[inline]
pub fn out<T>(to: *mut T) -> Outcome<Out<T>> {
    if to.is_null() {
        return Err(fw_status::FW_NULL.into());
    }
    Ok(Out(to))
}

/// Where a result goes.
pub struct Out<T>(*mut T);

impl<T> Out<T> {
    #[inline]
    pub fn put(&self, value: T) {
        // SAFETY: not NULL, and the host promises that it may be written.
        unsafe { self.0.write_unaligned(value) };
    }
}

/// Writes a result that the host may not want.
#[inline]
pub fn put<T>(to: *mut T, value: T) {
    if !to.is_null() {
        Out(to).put(value);
    }
}

/// Copies `text` and a NUL into the host's buffer, cut off at a character where it does not fit, and tells its whole length.
pub fn copy_text(text: &str, buffer: *mut c_char, size: usize, length: *mut usize) -> Outcome {
    put(length, text.len());
    if size == 0 {
        return Ok(());
    }
    if buffer.is_null() {
        return Err(fw_status::FW_NULL.into());
    }
    let fitting = text.floor_char_boundary(size - 1);
    let to = buffer.cast::<u8>();
    // SAFETY: `fitting` is less than `size`, so many bytes the buffer has, as the host promises.
    unsafe { to.copy_from_nonoverlapping(text.as_ptr(), fitting) };
    // SAFETY: as above.
    let end = unsafe { to.add(fitting) };
    // SAFETY: as above.
    unsafe { end.write(0) };
    Ok(())
}
