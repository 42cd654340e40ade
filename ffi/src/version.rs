//! What this library is.
//!
//! # Contract of the unsafe code
//! Only the exported names need it: they are unique, for all begin with `fw_`.

use std::ffi::{CStr, c_char};

/// The version of the interface that this header describes. A library with another number must not be used with it.
pub const FW_ABI_VERSION: u32 = 1;

/// The text of a version, with its terminator.
const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(text) => text,
    Err(_) => c"",
};

/// The version of the interface that the library has: compare it with FW_ABI_VERSION.
///
/// Threads: any. Blocks: never. Fails: never.
#[unsafe(no_mangle)]
pub extern "C" fn fw_abi_version() -> u32 {
    FW_ABI_VERSION
}

/// The library's version, such as "0.1.0". The text is the library's and never changes.
///
/// Threads: any. Blocks: never. Fails: never.
#[unsafe(no_mangle)]
pub extern "C" fn fw_version() -> *const c_char {
    VERSION.as_ptr()
}
