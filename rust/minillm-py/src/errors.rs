//! Turns the crate's errors into Python's.

use std::path::Path;

use minillm_bpe::Error;
use pyo3::exceptions::{PyKeyboardInterrupt, PyOSError, PyValueError};
use pyo3::prelude::*;

/// The Python exception for `err`, with the crate's message.
pub fn to_py(err: Error) -> PyErr {
    let message = err.to_string();
    match err {
        Error::Io { path, source } | Error::DiskFull { path, source, .. } => {
            os_error(&path, &source, message)
        }
        Error::Locked { .. } => PyOSError::new_err(message),
        Error::NoInput { .. } => {
            let mut lines = message.split("\nhint: ").map(str::to_owned);
            let fact = lines.next().unwrap_or_default();
            with_hints(PyValueError::new_err(fact), lines)
        }
        Error::Interrupted => PyKeyboardInterrupt::new_err(message),
        Error::VocabTooSmall { .. }
        | Error::VocabBelowBase { .. }
        | Error::BaseDiffers { .. }
        | Error::CannotTruncate { .. }
        | Error::Pattern { .. }
        | Error::UnknownPattern { .. }
        | Error::UnknownTieBreak { .. }
        | Error::SpecialToken { .. }
        | Error::EmptyCorpus { .. }
        | Error::TooManyPreTokens { .. }
        | Error::PreTokenTooLong { .. }
        | Error::BadVocab { .. }
        | Error::BadMerge { .. }
        | Error::ForeignOption { .. }
        | Error::ForeignDecoder { .. }
        | Error::NotRanked
        | Error::MissingByte { .. }
        | Error::UnknownId { .. }
        | Error::IdOutOfRange { .. }
        | Error::IdsChanged
        | Error::InvalidUtf8 { .. }
        | Error::BadCounts { .. }
        | Error::Weights { .. }
        | Error::Rows { .. }
        | Error::EmptyPreToken
        | Error::TooManyBytes
        | Error::MemoryTooSmall { .. }
        | Error::UnboundedBase
        | Error::NoPlaceToCut { .. }
        | Error::JsonLine { .. }
        | Error::Document { .. }
        | Error::Template { .. }
        | Error::Arrange { .. }
        | Error::Format { .. }
        | Error::Shard { .. }
        | Error::TokenFile { .. }
        | Error::IdTooWide { .. }
        | Error::TooManyForLlmc { .. }
        | Error::Table { .. }
        | Error::CannotResume { .. }
        | Error::CannotJoin { .. }
        | Error::DtypeTooNarrow { .. }
        | Error::NoDocuments { .. }
        | Error::NoSeparator { .. } => PyValueError::new_err(message),
    }
}

/// `error` with what to do about it, a note for each of `hints`.
pub fn with_hints(error: PyErr, hints: impl IntoIterator<Item = String>) -> PyErr {
    Python::attach(|py| {
        for hint in hints {
            // Where a note cannot be added, the error itself is still the one to raise.
            let _ = error.value(py).call_method1("add_note", (hint,));
        }
    });
    error
}

/// `OSError` with its number, from which Python picks the subclass, such as `FileNotFoundError`.
fn os_error(path: &Path, source: &std::io::Error, message: String) -> PyErr {
    let Some(number) = source.raw_os_error() else {
        return PyOSError::new_err(message);
    };
    // The message without the path, which Python puts there, and without the number.
    let reason = message.strip_prefix(&format!("{}: ", path.display())).unwrap_or(&message);
    let reason = reason.replace(&format!(" (os error {number})"), "");
    PyOSError::new_err((number, reason, path.as_os_str().to_owned()))
}
