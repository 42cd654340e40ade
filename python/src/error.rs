//! From the engine's errors to the exceptions of `fanwire._errors`.
//!
//! Knows the classes' names. Must never know when an error comes about.

use std::any::Any;
use std::borrow::Cow;

use fanwire::{ConfigError, DecideError, PublishError, SendError, Setting, SnapshotError, StartError, TopicError};
use fanwire_access::{AccessError, ErrorKind};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

macro_rules! classes {
    ($($name:ident),* $(,)?) => {
        /// A class of `fanwire._errors`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Class { $($name),* }

        impl Class {
            fn of_python(self, py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
                match self {
                    $(Class::$name => {
                        static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
                        CLASS.import(py, "fanwire._errors", stringify!($name))
                    })*
                }
            }
        }
    };
}

classes! {
    WouldBlock, TooLarge, NotUtf8, BadName, TooMany, Removed, Gone, Stopped, Busy, ConfigError, UringUnavailable, ListenError,
    StartError, ForkedError, InternalError, ClaimError,
}

/// Why a call failed, before Python sees it.
#[derive(Debug)]
pub enum Failure {
    /// One of ours.
    Ours(Class, Cow<'static, str>),
    /// Python's own: a wrong type, an interrupt.
    Python(PyErr),
}

/// What the inside of a call gives.
pub type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// A failure of this class.
    #[cold]
    pub fn new(class: Class, text: impl Into<Cow<'static, str>>) -> Self {
        Failure::Ours(class, text.into())
    }

    /// True for `class`.
    pub fn is(&self, class: Class) -> bool {
        matches!(self, Failure::Ours(mine, _) if *mine == class)
    }

    /// The exception, for a call that has attributes to set on it.
    #[cold]
    pub fn into_exception(self, py: Python<'_>) -> PyErr {
        match self {
            Failure::Python(error) => error,
            Failure::Ours(class, text) => match class.of_python(py) {
                Ok(class) => PyErr::from_type(class.clone(), text.into_owned()),
                Err(error) => error,
            },
        }
    }
}

impl From<PyErr> for Failure {
    #[cold]
    fn from(error: PyErr) -> Self {
        Failure::Python(error)
    }
}

impl From<Failure> for PyErr {
    #[cold]
    fn from(failure: Failure) -> Self {
        Python::attach(|py| failure.into_exception(py))
    }
}

impl From<PublishError> for Failure {
    #[cold]
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::WouldBlock => Failure::new(
                Class::WouldBlock,
                "the ring or the payload memory is full: try again, or wait with timeout=",
            ),
            PublishError::Stopped => stopped(),
            PublishError::Removed => Failure::new(Class::Removed, "the topic was removed"),
            PublishError::NotUtf8 => Failure::new(Class::NotUtf8, "a text or JSON message must be UTF-8"),
            PublishError::TooLarge { bytes, max } => too_large(bytes, max),
            PublishError::AttributesTooLarge { .. } => Failure::new(Class::TooLarge, error.to_string()),
            other => Failure::new(Class::InternalError, other.to_string()),
        }
    }
}

impl From<SendError> for Failure {
    #[cold]
    fn from(error: SendError) -> Self {
        match error {
            SendError::WouldBlock => {
                Failure::new(Class::WouldBlock, "the shard's queue or the payload memory is full: try again")
            }
            SendError::Stopped => stopped(),
            SendError::Gone => Failure::new(Class::Gone, "no such connection"),
            SendError::NotUtf8 => Failure::new(Class::NotUtf8, "a text or JSON message must be UTF-8"),
            SendError::TooLarge { bytes, max } => too_large(bytes, max),
            other => Failure::new(Class::InternalError, other.to_string()),
        }
    }
}

impl From<AccessError> for Failure {
    #[cold]
    fn from(error: AccessError) -> Self {
        let class = match error.kind {
            ErrorKind::NotReadable | ErrorKind::NotUsable | ErrorKind::NotMeant => Class::ConfigError,
            ErrorKind::TooMany => Class::TooMany,
            ErrorKind::NotKept => Class::StartError,
            ErrorKind::Ended => Class::Stopped,
            _ => Class::InternalError,
        };
        Failure::new(class, error.to_string())
    }
}

impl From<DecideError> for Failure {
    #[cold]
    fn from(error: DecideError) -> Self {
        match error {
            DecideError::TooManyPatterns { .. } => Failure::new(Class::TooMany, error.to_string()),
            DecideError::LongSubject { .. } => Failure::Python(PyValueError::new_err(error.to_string())),
            DecideError::Send(error) => error.into(),
            other => Failure::new(Class::InternalError, other.to_string()),
        }
    }
}

impl From<SnapshotError> for Failure {
    #[cold]
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::NotGathered => Failure::Python(PyValueError::new_err(error.to_string())),
            SnapshotError::TimedOut => Failure::new(Class::WouldBlock, error.to_string()),
            SnapshotError::Stopped => stopped(),
            other => Failure::new(Class::InternalError, other.to_string()),
        }
    }
}

impl From<TopicError> for Failure {
    #[cold]
    fn from(error: TopicError) -> Self {
        match error {
            TopicError::Name(why) => Failure::new(Class::BadName, why.to_string()),
            TopicError::Reserved => Failure::new(Class::BadName, error.to_string()),
            TopicError::TooMany => Failure::new(Class::TooMany, error.to_string()),
            // Nothing of this interface names an epoch.
            TopicError::OtherEpoch(_) | TopicError::NoEpoch(_) => {
                Failure::Python(PyValueError::new_err(error.to_string()))
            }
            TopicError::WouldBlock => Failure::new(Class::WouldBlock, error.to_string()),
            TopicError::Stopped => stopped(),
        }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let (class, text) = match &error {
            StartError::Config(errors) => (Class::ConfigError, lines(errors)),
            StartError::Uring(_) => (Class::UringUnavailable, error.to_string()),
            StartError::Listen { .. } => (Class::ListenError, error.to_string()),
            _ => (Class::StartError, error.to_string()),
        };
        Failure::new(class, text)
    }
}

/// The settings as Python names them: flat, without the part that they belong to.
fn lines(errors: &[ConfigError]) -> String {
    let mut text = "the configuration cannot be used:".to_owned();
    for error in errors {
        let name = Setting::find(error.field).map_or(error.field, |setting| setting.keyword);
        text.push_str(&format!("\n  {name} = {}: {}", error.value, flat(&error.problem)));
    }
    text
}

/// A text that names settings by path, with the names that Python has.
fn flat(text: &str) -> String {
    fanwire::settings().fold(text.to_owned(), |text, setting| match setting.name.contains('.') {
        true => text.replace(setting.name, setting.keyword),
        false => text,
    })
}

#[cold]
fn too_large(bytes: usize, max: usize) -> Failure {
    let text = format!("a message of {bytes} bytes is larger than the {max} allowed (message_bytes_max)");
    Failure::new(Class::TooLarge, text)
}

/// The engine has stopped.
#[cold]
pub fn stopped() -> Failure {
    Failure::new(Class::Stopped, "the engine has stopped")
}

/// What a panic of ours comes to.
#[cold]
pub fn panicked(panic: Box<dyn Any + Send>) -> Failure {
    let what = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    // Dropping it could panic again.
    std::mem::forget(panic);
    Failure::new(Class::InternalError, format!("a bug in fanwire: {what}"))
}
