//! `Stream`: encodes a text that arrives in pieces; `StreamDecoder`: decodes ids that do.

use minillm_bpe::{StreamEncoder, TokenId};
use pyo3::prelude::*;

use crate::ids::Ids;
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

/// Ids on their way to text; made by `Bpe.stream_decoder`.
#[pyclass(module = "minillm._core")]
pub struct StreamDecoder(pub minillm_bpe::StreamDecoder);

#[pymethods]
impl StreamDecoder {
    /// The text that no later id can change.
    fn push(&mut self, py: Python<'_>, ids: &Bound<'_, PyAny>) -> PyResult<String> {
        let ids = Ids::new(ids)?;
        released(py, || ids.push_to(&mut self.0))
    }

    /// What becomes of bytes that were held back.
    fn finish(&mut self) -> String {
        let mut text = String::new();
        self.0.finish(&mut text);
        text
    }
}
