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
        | Error::Format { .. }
        | Error::Shard { .. }
        | Error::Table { .. }
        | Error::CannotResume { .. }
        | Error::CannotJoin { .. }
        | Error::DtypeTooNarrow { .. }
        | Error::NoDocuments { .. }
        | Error::NoSeparator { .. } => PyValueError::new_err(message),
    }
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
