//! Special tokens as callers name them, and the error for those that must not be in a text.

use minillm_bpe::AllowedSpecial;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::bpe::Bpe;
use crate::errors::with_hints;
use crate::text::Text;
use crate::work::released;

/// "all", or a set of special tokens.
pub struct Special(pub AllowedSpecial);

impl Special {
    /// An empty set.
    pub const NONE: Self = Self(AllowedSpecial::None);
    /// "all".
    pub const ALL: Self = Self(AllowedSpecial::All);
}

impl<'py> FromPyObject<'_, 'py> for Special {
    type Error = PyErr;

    fn extract(which: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if which.cast::<PyString>().is_err() {
            let names = which.try_iter()?.map(|name| name?.extract()).collect::<PyResult<_>>()?;
            return Ok(Self(AllowedSpecial::Only(names)));
        }
        if which.eq("all")? {
            return Ok(Self::ALL);
        }
        let given = which.repr()?;
        Err(PyValueError::new_err(format!(
            "special tokens are given as {given}, expected 'all' or a set of them"
        )))
    }
}

/// Raises if one of `texts`, which `name` tells apart, holds a special token that is disallowed.
pub fn check(
    py: Python<'_>,
    bpe: &Bpe,
    texts: &[Text],
    name: impl Fn(usize) -> String,
    (allowed, disallowed): (&Special, &Special),
) -> PyResult<()> {
    let found = released(py, || {
        let texts = texts.iter().map(Text::as_bytes);
        bpe.encoder()?.find_disallowed(texts, &allowed.0, &disallowed.0)
    })?;
    let Some(found) = found else { return Ok(()) };
    let place = texts[found.text].place(found.at_byte);
    let (name, token) = (name(found.text), PyString::new(py, &found.token).repr()?);
    let error = PyValueError::new_err(format!(
        "{name} holds the special token {token} at {place}, which is neither allowed nor declared \
         ordinary text"
    ));
    let hints = [
        format!("to encode it as its id, pass allowed_special={{{token}}} or 'all'"),
        "to encode it as ordinary text, pass disallowed_special=()".to_owned(),
    ];
    Err(with_hints(error, hints))
}
