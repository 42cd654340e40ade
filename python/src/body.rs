//! What may be published: which objects, as which bytes of which kind.
//!
//! Knows Python's types. Must never know where messages go.

use fanwire::{Kind, Priority};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyInt, PyList, PyString, PyTuple};

use crate::error::{Class, Failure, Outcome};
use crate::view::View;

/// The bytes of one object.
pub enum Body<'a, 'py> {
    /// Of a `bytes` or `str`, which nobody can change.
    Fixed(&'a [u8]),
    /// Encoded here.
    Encoded(Bound<'py, PyBytes>),
    /// Of anything else.
    Viewed(View),
}

impl<'a, 'py> Body<'a, 'py> {
    /// The bytes of `object` and what they are: as `kind` says, or else as the object's type does.
    ///
    /// # Errors
    /// `TypeError` where the object is nothing that can be sent, or what its encoder or exporter raises.
    pub fn of(object: &'a Bound<'py, PyAny>, kind: Option<Kind>) -> Outcome<(Self, Kind)> {
        if let Ok(bytes) = object.cast::<PyBytes>() {
            return Ok((Body::Fixed(bytes.as_bytes()), kind.unwrap_or(Kind::Binary)));
        }
        if let Ok(text) = object.cast::<PyString>() {
            return Ok((Body::Fixed(utf8(text)?), kind.unwrap_or(Kind::Text)));
        }
        let is_json = object.is_instance_of::<PyDict>()
            || object.is_instance_of::<PyList>()
            || object.is_instance_of::<PyTuple>();
        if is_json && kind.is_none_or(|kind| kind == Kind::Json) {
            return Ok((Body::Encoded(encode(object)?), Kind::Json));
        }
        if is_json {
            return Err(PyTypeError::new_err("a dict, list or tuple can only be published as JSON").into());
        }
        match View::of(object) {
            Ok(view) => Ok((Body::Viewed(view), kind.unwrap_or(Kind::Binary))),
            // A number, None, a dataclass: JSON to who says so.
            Err(error) if error.is_instance_of::<PyTypeError>(object.py()) => match kind {
                Some(Kind::Json) => Ok((Body::Encoded(encode(object)?), Kind::Json)),
                _ => Err(unfit(object).into()),
            },
            Err(error) => Err(error.into()),
        }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Body::Fixed(bytes) => bytes,
            Body::Encoded(bytes) => bytes.as_bytes(),
            Body::Viewed(view) => view.bytes(),
        }
    }

    /// Nobody can change the bytes while they are read.
    pub fn is_fixed(&self) -> bool {
        !matches!(self, Body::Viewed(_))
    }
}

/// The text's own UTF-8, which it keeps.
fn utf8<'a>(text: &'a Bound<'_, PyString>) -> Outcome<&'a [u8]> {
    match text.to_str() {
        Ok(text) => Ok(text.as_bytes()),
        Err(_) => Err(Failure::new(Class::NotUtf8, "the text has surrogates, which UTF-8 cannot say")),
    }
}

fn encode<'py>(object: &Bound<'py, PyAny>) -> Outcome<Bound<'py, PyBytes>> {
    static ENCODE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let encode = ENCODE.import(object.py(), "fanwire._json", "encode")?;
    Ok(encode.call1((object,))?.cast_into::<PyBytes>().map_err(PyErr::from)?)
}

#[cold]
fn unfit(object: &Bound<'_, PyAny>) -> PyErr {
    let name = object.get_type().name().map_or_else(|_| "object".to_owned(), |name| name.to_string());
    PyTypeError::new_err(format!(
        "cannot publish {name}: bytes, str, dict, list, tuple, or anything with the buffer protocol is needed \
         (or kind=\"json\", for what the JSON encoder takes)"
    ))
}

/// A [`Priority`], from its number or its name.
#[derive(Clone, Copy)]
pub struct PriorityArgument(pub Priority);

impl<'a, 'py> FromPyObject<'a, 'py> for PriorityArgument {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        const WHAT: &str = "a Priority, or \"critical\", \"high\", \"normal\" or \"low\"";
        let found = match named(&object, Priority::from_u8, Priority::from_name) {
            Ok(found) => found,
            Err(()) => return Err(PyTypeError::new_err(format!("{WHAT} is needed, not {}", type_name(&object)))),
        };
        let wrong = || PyValueError::new_err(format!("{WHAT} is needed, not {}", shown(&object)));
        found.map(PriorityArgument).ok_or_else(wrong)
    }
}

/// A [`Kind`], from its number or its name.
#[derive(Clone, Copy)]
pub struct KindArgument(pub Kind);

impl<'a, 'py> FromPyObject<'a, 'py> for KindArgument {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        const WHAT: &str = "a Kind, or \"text\", \"binary\" or \"json\"";
        let by_name = |name: &str| match name {
            "text" => Some(Kind::Text),
            "binary" => Some(Kind::Binary),
            "json" => Some(Kind::Json),
            _ => None,
        };
        let found = match named(&object, Kind::from_u8, by_name) {
            Ok(found) => found,
            Err(()) => return Err(PyTypeError::new_err(format!("{WHAT} is needed, not {}", type_name(&object)))),
        };
        let wrong = || PyValueError::new_err(format!("{WHAT} is needed, not {}", shown(&object)));
        found.map(KindArgument).ok_or_else(wrong)
    }
}

/// What an int or a str names; `Err` for any other type.
fn named<T>(
    object: &Bound<'_, PyAny>,
    by_number: impl Fn(u8) -> Option<T>,
    by_name: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, ()> {
    if object.is_instance_of::<PyInt>() {
        return Ok(object.extract::<u8>().ok().and_then(by_number));
    }
    match object.cast::<PyString>() {
        Ok(name) => Ok(name.to_str().ok().and_then(by_name)),
        Err(_) => Err(()),
    }
}

fn type_name(object: &Bound<'_, PyAny>) -> String {
    object.get_type().name().map_or_else(|_| "object".to_owned(), |name| name.to_string())
}

fn shown(object: &Bound<'_, PyAny>) -> String {
    object.repr().map_or_else(|_| type_name(object), |shown| shown.to_string())
}

/// The name of a kind, as Python says it.
pub const fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "text",
        Kind::Binary => "binary",
        Kind::Json => "json",
    }
}
