//! An area's bytes: not initialised, touched when first written.
//!
//! # Unsafe contract
//! It is only an allocation, which is freed with its `Memory`; what is shared in it is governed by the contract of `area`.

#![allow(unsafe_code)]

use std::ptr::NonNull;

/// What records are aligned to: a cache line.
pub(crate) const UNIT: u64 = 64;

pub(crate) struct Memory {
    pub(crate) start: NonNull<u8>,
    /// Owns the bytes; its length stays 0.
    _units: Vec<Unit>,
}

#[repr(C, align(64))]
struct Unit([u8; UNIT as usize]);

// SAFETY: it is only an allocation; what is shared in it is governed by the contract of `area`.
unsafe impl Send for Memory {}
// SAFETY: as for Send.
unsafe impl Sync for Memory {}

impl Memory {
    pub(crate) fn new(bytes: usize) -> Option<Self> {
        let mut units = Vec::new();
        units.try_reserve_exact(bytes / size_of::<Unit>()).ok()?;
        Some(Self { start: NonNull::new(units.as_mut_ptr())?.cast(), _units: units })
    }
}
