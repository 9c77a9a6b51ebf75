//! `Stream`: encodes a text that arrives in pieces.

use minillm_bpe::{StreamEncoder, TokenId};
use pyo3::prelude::*;

use crate::text::Text;
use crate::work::released;

/// One text on its way; made by `Bpe.stream`.
#[pyclass(module = "minillm._core")]
pub struct Stream(pub StreamEncoder);

#[pymethods]
impl Stream {
    /// Ids that no later piece can change.
    fn push(&mut self, py: Python<'_>, piece: &Bound<'_, PyAny>) -> PyResult<Vec<TokenId>> {
        let piece = Text::new(piece)?;
        released(py, || {
            let mut ids = Vec::new();
            self.0.push(piece.as_bytes(), &mut ids)?;
            Ok(ids)
        })
    }

    /// The ids that were held back.
    fn finish(&mut self, py: Python<'_>) -> PyResult<Vec<TokenId>> {
        released(py, || {
            let mut ids = Vec::new();
            self.0.finish(&mut ids)?;
            Ok(ids)
        })
    }
}
