//! Waiting for room, without the GIL, and awake to signals.

use std::time::{Duration, Instant};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::error::{Class, Outcome};

/// How long a signal may go unnoticed.
const SLICE: Duration = Duration::from_millis(100);
/// A year and "for ever" are the same to whoever waits.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3_600);

/// How long a call may wait: as Python says it, in seconds, `None` for as long as it takes.
#[derive(Clone, Copy, Debug)]
pub struct Patience(Duration);

impl Patience {
    /// Not at all.
    pub const NONE: Patience = Patience(Duration::ZERO);

    /// True where it may not wait.
    pub fn is_none(self) -> bool {
        self.0.is_zero()
    }

    /// The time.
    pub fn duration(self) -> Duration {
        self.0
    }

    /// From seconds.
    ///
    /// # Errors
    /// `ValueError` for a negative number or none at all.
    pub fn from_seconds(seconds: Option<f64>) -> PyResult<Self> {
        seconds.map_or(Ok(Patience(LONGEST)), |seconds| duration("timeout", seconds).map(Patience))
    }

    /// Makes `attempt`, which gets the time that it may wait, until it gives something other than `WouldBlock` or the time is
    /// over. Releases the GIL meanwhile.
    ///
    /// # Errors
    /// Those of `attempt`; what a signal's handler raises.
    pub fn wait<T: Send>(self, py: Python<'_>, mut attempt: impl FnMut(Duration) -> Outcome<T> + Send) -> Outcome<T> {
        let until = Instant::now() + self.0;
        loop {
            let rest = until.saturating_duration_since(Instant::now());
            let slice = rest.min(SLICE);
            match py.detach(|| attempt(slice)) {
                Err(failure) if failure.is(Class::WouldBlock) && rest > slice => py.check_signals()?,
                other => return other,
            }
        }
    }
}

/// A span of time in seconds, as Python says it.
///
/// # Errors
/// `ValueError` for a negative number or none at all.
pub fn duration(name: &str, seconds: f64) -> PyResult<Duration> {
    if seconds.is_nan() || seconds < 0.0 {
        return Err(PyValueError::new_err(format!("{name} = {seconds}: a number of seconds from 0 on is needed")));
    }
    Ok(Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST).min(LONGEST))
}
