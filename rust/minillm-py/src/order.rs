//! `Rows` and `Order`: which row of which source is sample `i` of a run.

use std::path::PathBuf;
use std::sync::Arc;

use minillm_bpe::order::{Order as CoreOrder, Rows as CoreRows, Samples};
use minillm_bpe::shard::ShardReader;
use numpy::{IntoPyArray, PyArray1};
use pyo3::prelude::*;

use crate::work::released;

/// The rows of one source.
#[pyclass(frozen, module = "minillm._core")]
pub struct Rows(CoreRows);

#[pymethods]
impl Rows {
    /// Rows that begin every `stride` of the `places` at which one fits.
    #[staticmethod]
    fn windows(py: Python<'_>, places: u64, stride: u64) -> PyResult<Self> {
        released(py, || CoreRows::windows(places, stride).map(Self))
    }

    /// Rows of `seq_len` inputs that begin with the documents of a token file.
    #[staticmethod]
    fn at_documents(py: Python<'_>, path: PathBuf, seq_len: u64) -> PyResult<Self> {
        released(py, || CoreRows::at_documents(&ShardReader::open(&path)?, seq_len).map(Self))
    }

    /// How many rows an epoch has.
    #[getter]
    fn number(&self) -> u64 {
        self.0.number()
    }
}

/// Sources and starts of some rows.
type Found<'py> = (Bound<'py, PyArray1<usize>>, Bound<'py, PyArray1<u64>>);

/// The samples of a run, of one source or of several in proportion to their weights.
#[pyclass(frozen, module = "minillm._core")]
pub struct Order(pub Arc<CoreOrder>);

#[pymethods]
impl Order {
    #[new]
    fn new(
        py: Python<'_>,
        sources: Vec<PyRef<'_, Rows>>,
        weights: Vec<f64>,
        seed: u64,
    ) -> PyResult<Self> {
        let sources = sources.iter().map(|rows| rows.0.clone()).collect();
        released(py, || Ok(Self(Arc::new(CoreOrder::new(sources, &weights, seed)?))))
    }

    /// Of batch `index` of `count` samples, as process `rank` of `ranks` takes it: the sources, and
    /// where each row begins.
    fn rows<'py>(
        &self,
        py: Python<'py>,
        index: u64,
        count: u64,
        rank: u64,
        ranks: u64,
    ) -> PyResult<Found<'py>> {
        let (sources, starts): (Vec<usize>, Vec<u64>) = released(py, || {
            let rows = self.0.rows(Samples::batch(index, count, rank, ranks)?)?;
            Ok(rows.into_iter().map(|row| (row.source, row.start)).unzip())
        })?;
        Ok((sources.into_pyarray(py), starts.into_pyarray(py)))
    }

    /// What the first `samples` have taken of each source: whole epochs, and rows of the next one.
    fn epochs(&self, samples: u64) -> Vec<(u64, u64)> {
        self.0.epochs(samples)
    }
}
