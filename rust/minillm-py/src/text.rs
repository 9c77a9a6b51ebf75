//! What callers pass: text, ids, patterns, and the text of a corpus.

use minillm_bpe::TokenId;
use minillm_bpe::pretokenize::Pattern;
use pyo3::buffer::{Element, PyBuffer};
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

/// Token ids from a list, or from an array of 16, 32 or 64 bits.
pub enum Ids {
    /// From an array of `uint16`.
    U16(PyBuffer<u16>),
    /// From an array of `uint32`.
    U32(PyBuffer<u32>),
    /// From an array of `int64`.
    I64(PyBuffer<i64>),
    /// From any sequence of `int`.
    List(Vec<i64>),
}

impl Ids {
    /// Takes an array or any sequence of `int`. Not by `FromPyObject`, for the reason above.
    pub fn new(obj: &Bound<'_, PyAny>) -> PyResult<Self> {
        native(obj)
            .map(Self::U16)
            .or_else(|_| native(obj).map(Self::U32))
            .or_else(|_| native(obj).map(Self::I64))
            .or_else(|_| obj.extract().map(Self::List))
            .map_err(|_| not("ids", obj, "a sequence of integers below 2^63, or an array"))
    }

    /// The ids, copied.
    pub fn to_vec(&self, py: Python<'_>) -> PyResult<Vec<TokenId>> {
        match self {
            Self::U16(ids) => Ok(ids.to_vec(py)?.into_iter().map(TokenId::from).collect()),
            Self::U32(ids) => ids.to_vec(py),
            Self::I64(ids) => narrow(&ids.to_vec(py)?),
            Self::List(ids) => narrow(ids),
        }
    }
}

/// The buffer of an array whose numbers are of this type and of this machine's byte order, which
/// `PyO3` does not look at. Another order is read as a sequence of `int`.
fn native<T: Element>(obj: &Bound<'_, PyAny>) -> PyResult<PyBuffer<T>> {
    let buffer = PyBuffer::get(obj)?;
    match buffer.format().to_bytes() {
        [b'<' | b'>' | b'!', ..] => Err(PyTypeError::new_err("of another byte order, perhaps")),
        _ => Ok(buffer),
    }
}

fn not(what: &str, obj: &Bound<'_, PyAny>, expected: &str) -> PyErr {
    let kind = obj.get_type().name().map_or_else(|_| "object".to_owned(), |name| name.to_string());
    PyTypeError::new_err(format!("{what} is of type {kind}, expected {expected}"))
}

fn narrow(ids: &[i64]) -> PyResult<Vec<TokenId>> {
    let narrow_one = |(position, &id)| {
        TokenId::try_from(id).map_err(|_| {
            PyValueError::new_err(format!("id {id} at position {position} is not in 0..2^32"))
        })
    };
    ids.iter().enumerate().map(narrow_one).collect()
}

/// A pattern as Python spells it: a name, a regex, or `None` for no split.
pub fn parse_pattern(text: Option<&str>) -> PyResult<Pattern> {
    text.map_or(Ok(Pattern::None), |text| Pattern::parse(text).map_err(to_py))
}

/// The name if the pattern has one, else its regex; `None` for no split.
pub fn pattern_text(pattern: &Pattern) -> Option<&str> {
    pattern.name().or(pattern.regex())
}
