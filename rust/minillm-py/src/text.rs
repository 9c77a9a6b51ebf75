//! What callers pass: text and patterns.

use minillm_bpe::pretokenize::Pattern;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use pyo3::types::PyString;

use crate::errors::to_py;

/// UTF-8 of a `str`, or any `bytes`; not copied, and readable without the GIL.
pub enum Text {
    /// From `str`.
    Str(PyBackedStr),
    /// From `bytes` or `bytearray`.
    Bytes(PyBackedBytes),
}

impl Text {
    /// Takes a `str`, `bytes` or `bytearray`.
    ///
    /// Not by `FromPyObject`: `PyO3` would add the parameter's name to what this raises, and a
    /// command would print that as a hint.
    pub fn new(obj: &Bound<'_, PyAny>) -> PyResult<Self> {
        Self::named(obj, || "text".to_owned())
    }

    /// Takes each of `texts`; messages say which one they mean.
    pub fn all(texts: &[Bound<'_, PyAny>]) -> PyResult<Vec<Self>> {
        let one = |(index, text)| Self::named(text, || format!("texts[{index}]"));
        texts.iter().enumerate().map(one).collect()
    }

    fn named(obj: &Bound<'_, PyAny>, name: impl Fn() -> String) -> PyResult<Self> {
        let Ok(text) = obj.cast::<PyString>() else {
            let bytes = obj.extract().map_err(|_| not(&name(), obj, "str or bytes"));
            return Ok(Self::Bytes(bytes?));
        };
        let utf8 = PyBackedStr::try_from(text.clone());
        Ok(Self::Str(utf8.map_err(|err| lone_surrogate(obj.py(), &name(), err))?))
    }

    /// The bytes to encode.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Str(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// Rewords `UnicodeEncodeError`, which speaks of codecs, for someone who wrote no codec.
fn lone_surrogate(py: Python<'_>, name: &str, err: PyErr) -> PyErr {
    match err.value(py).getattr("start").and_then(|start| start.extract::<usize>()) {
        Ok(start) => PyValueError::new_err(format!(
            "{name} holds a lone surrogate at character {start}, which has no UTF-8 form"
        )),
        Err(_) => err,
    }
}

/// The error for an argument of another type than `expected`.
pub fn not(what: &str, obj: &Bound<'_, PyAny>, expected: &str) -> PyErr {
    let kind = obj.get_type().name().map_or_else(|_| "object".to_owned(), |name| name.to_string());
    PyTypeError::new_err(format!("{what} is of type {kind}, expected {expected}"))
}

/// A pattern as Python spells it: a name, a regex, or `None` for no split.
pub fn parse_pattern(text: Option<&str>) -> PyResult<Pattern> {
    text.map_or(Ok(Pattern::None), |text| Pattern::parse(text).map_err(to_py))
}

/// The name if the pattern has one, else its regex; `None` for no split.
pub fn pattern_text(pattern: &Pattern) -> Option<&str> {
    pattern.name().or(pattern.regex())
}
