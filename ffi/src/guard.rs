//! The one boundary that every call passes: no panic gets out.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::status::{Failure, Outcome, fw_status};

/// Runs the inside of the call `name`.
#[inline]
pub fn guard(name: &'static str, inside: impl FnOnce() -> Outcome) -> fw_status {
    let result = catch_unwind(AssertUnwindSafe(|| {
        planted(name);
        inside()
    }));
    match result {
        Ok(Ok(())) => fw_status::FW_OK,
        Ok(Err(failure)) => tell(failure),
        Err(panic) => caught(name, panic),
    }
}

/// [`guard`] for a call that answers with a value; `refusal` stands for every failure.
pub fn guard_value<T>(name: &'static str, refusal: T, inside: impl FnOnce() -> Outcome<T>) -> T {
    let mut value = refusal;
    guard(name, || {
        value = inside()?;
        Ok(())
    });
    value
}

#[cold]
fn tell(failure: Failure) -> fw_status {
    // Formatting is ours, but so were all bugs.
    let status = failure.status;
    catch_unwind(AssertUnwindSafe(|| failure.tell())).unwrap_or(status)
}

#[cold]
fn caught(name: &'static str, panic: Box<dyn std::any::Any + Send>) -> fw_status {
    let what = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    // Dropping it could panic again.
    std::mem::forget(panic);
    tell(Failure::new(fw_status::FW_INTERNAL, format!("a bug in fanwire, in {name}: {what}")))
}

/// Nothing, in the library. In the one that is made for the test (`tests/planted`), panics if the environment names this
/// place: `FANWIRE_PLANTED_PANIC=fw_publish`, or `all`.
#[inline(always)]
pub fn planted(name: &'static str) {
    if crate::HAS_PLANTED_PANICS {
        let planted = std::env::var("FANWIRE_PLANTED_PANIC").unwrap_or_default();
        assert!(planted != name && (planted != "all" || name.contains('.')), "planted in {name}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_status() {
        assert_eq!(guard("test", || Ok(())), fw_status::FW_OK);
        assert_eq!(guard("test", || Err(fw_status::FW_GONE.into())), fw_status::FW_GONE);
        assert_eq!(guard("test", || panic!("{}", 1)), fw_status::FW_INTERNAL);
        assert_eq!(guard_value("test", -1, || std::panic::panic_any(7u8)), -1);
        assert_eq!(guard_value("test", -1, || Ok(3)), 3);
    }
}
