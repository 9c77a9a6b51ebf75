//! `Table`: what training knows of its corpus, for encoding.

use std::path::PathBuf;

use minillm_bpe::TrainedTable;
use pyo3::prelude::*;

use crate::bpe::Bpe;
use crate::work::released;

/// Pre-tokens with their ids; made by `train`, loaded by `Bpe.with_table`.
#[pyclass(frozen, module = "minillm._core")]
pub struct Table(pub TrainedTable);

#[pymethods]
impl Table {
    /// Writes the table, made for `bpe`.
    fn save(&self, py: Python<'_>, path: PathBuf, bpe: &Bpe) -> PyResult<()> {
        released(py, || self.0.save(&path, bpe.vocabulary()))
    }

    /// The same pre-tokens as `bpe` encodes them.
    fn refitted(&self, py: Python<'_>, bpe: &Bpe) -> PyResult<Self> {
        released(py, || self.0.refitted(bpe.encoder()?)).map(Self)
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }
}
