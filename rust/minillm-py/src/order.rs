//! Which sample comes when: the order of an epoch, and the sources of a mixture.

use minillm_bpe::order::{Mixture as CoreMixture, Permutation};
use numpy::{IntoPyArray, PyArray1};
use pyo3::prelude::*;

use crate::errors::to_py;
use crate::work::released;

/// Positions `start..start + count` of epoch `epoch`'s order of `0..n`.
#[pyfunction]
pub fn permuted_index(
    py: Python<'_>,
    seed: u64,
    epoch: u64,
    n: u64,
    start: u64,
    count: u64,
) -> PyResult<Bound<'_, PyArray1<u64>>> {
    let order = Permutation::new(seed, epoch, n);
    let items = released(py, || Ok((start..start + count).map(|i| order.at(i)).collect()))?;
    Ok(Vec::into_pyarray(items, py))
}

/// Sources in proportion to whole-numbered shares.
#[pyclass(frozen, module = "minillm._core")]
pub struct Mixture(CoreMixture);

/// The sources of some samples, and the number of each among its source's own.
type Samples<'py> = (Bound<'py, PyArray1<u16>>, Bound<'py, PyArray1<u64>>);

#[pymethods]
impl Mixture {
    #[new]
    fn new(shares: Vec<u32>) -> PyResult<Self> {
        CoreMixture::new(&shares).map(Self).map_err(to_py)
    }

    /// The source of samples `start..start + count`, and the number of each among its source's own.
    fn samples<'py>(&self, py: Python<'py>, start: u64, count: u64) -> Samples<'py> {
        let samples = (start..start + count).map(|i| self.0.at(i));
        let (sources, numbers): (Vec<u16>, Vec<u64>) = samples.unzip();
        (sources.into_pyarray(py), numbers.into_pyarray(py))
    }
}
