//! What callers pass and get: text, patterns, tokens with their ids.

use std::collections::HashMap;

use minillm_bpe::TokenId;
use minillm_bpe::format::foreign_json;
use minillm_bpe::pretokenize::Pattern;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use pyo3::types::{PyBytes, PyDict, PyString};

use crate::errors::to_py;
use crate::work::released;

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

    /// [`new`](Self::new); with `errors` "replace", lone surrogates become U+FFFD, and two that make
    /// a character become it.
    pub fn encodable(obj: &Bound<'_, PyAny>, errors: &str) -> PyResult<Self> {
        Self::new(&without_surrogates(obj, errors)?)
    }

    /// Takes each of `texts`, as [`encodable`](Self::encodable); messages say which one they mean.
    pub fn all(texts: &Bound<'_, PyAny>, errors: &str) -> PyResult<Vec<Self>> {
        if texts.is_instance_of::<PyString>() || texts.is_instance_of::<PyBytes>() {
            let given = texts.repr()?.to_string();
            let message = format!("texts is {given:.60}, expected a list of texts");
            return Err(PyValueError::new_err(message));
        }
        let one = |(index, text): (usize, &Bound<'_, PyAny>)| {
            Self::named(&without_surrogates(text, errors)?, || format!("texts[{index}]"))
        };
        texts.extract::<Vec<_>>()?.iter().enumerate().map(one).collect()
    }

    /// Where `at_byte` is, as its owner counts.
    pub fn place(&self, at_byte: usize) -> String {
        match self {
            Self::Str(text) => format!("character {}", text[..at_byte].chars().count()),
            Self::Bytes(_) => format!("byte {at_byte}"),
        }
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

fn without_surrogates<'py>(obj: &Bound<'py, PyAny>, errors: &str) -> PyResult<Bound<'py, PyAny>> {
    let is_encodable = |text: &Bound<'_, PyString>| PyBackedStr::try_from(text.clone()).is_ok();
    match (errors, obj.cast::<PyString>()) {
        ("strict", _) | ("replace", Err(_)) => Ok(obj.clone()),
        ("replace", Ok(text)) if is_encodable(text) => Ok(obj.clone()),
        ("replace", Ok(text)) => text
            .call_method1("encode", ("utf-16", "surrogatepass"))?
            .call_method1("decode", ("utf-16", "replace")),
        _ => {
            let message = format!("errors is '{errors}', expected 'strict' or 'replace'");
            Err(PyValueError::new_err(message))
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

/// Bytes by id.
pub fn tokens_by_id<'py, 't>(
    py: Python<'py>,
    tokens: impl Iterator<Item = (TokenId, &'t [u8])>,
) -> PyResult<Bound<'py, PyDict>> {
    let by_id = PyDict::new(py);
    for (id, token) in tokens {
        by_id.set_item(id, PyBytes::new(py, token))?;
    }
    Ok(by_id)
}

/// Ids by text.
pub fn ids_by_text<'py>(
    py: Python<'py>,
    tokens: &[(String, TokenId)],
) -> PyResult<Bound<'py, PyDict>> {
    let by_text = PyDict::new(py);
    for (text, id) in tokens {
        by_text.set_item(text, id)?;
    }
    Ok(by_text)
}

/// Of a tokenizer of `tokenizers`, serialized, whose tokens have the ids in `vocab`: the bytes of
/// each id, and the ids of the special tokens.
#[pyfunction]
pub fn foreign_vocab(
    py: Python<'_>,
    serialized: PyBackedStr,
    vocab: HashMap<String, TokenId>,
) -> PyResult<(Bound<'_, PyDict>, Bound<'_, PyDict>)> {
    let found = released(py, || foreign_json::read(&serialized, vocab.into_iter().collect()))?;
    let tokens = found.tokens.iter().map(|(id, token)| (*id, &token[..]));
    Ok((tokens_by_id(py, tokens)?, ids_by_text(py, &found.specials)?))
}
