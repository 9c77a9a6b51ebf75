//! Ids of the type that token files have, on their way to Python.

use numpy::{IntoPyArray, PyArrayMethods, PyUntypedArray};
use pyo3::prelude::*;
use pyo3::types::PyList;

/// 16 bits if they hold the vocabulary, else 32.
pub enum IdVec {
    /// 16 bits.
    Two(Vec<u16>),
    /// 32 bits.
    Four(Vec<u32>),
}

impl IdVec {
    /// The same ids in 32 bits.
    pub fn widened(self) -> Self {
        match self {
            Self::Two(ids) => Self::Four(ids.into_iter().map(u32::from).collect()),
            wide @ Self::Four(_) => wide,
        }
    }

    /// The same memory as an array.
    pub fn into_array(self, py: Python<'_>) -> Bound<'_, PyUntypedArray> {
        match self {
            Self::Two(ids) => ids.into_pyarray(py).as_untyped().clone(),
            Self::Four(ids) => ids.into_pyarray(py).as_untyped().clone(),
        }
    }

    /// A list of `int`.
    pub fn into_list(self, py: Python<'_>) -> PyResult<Bound<'_, PyList>> {
        match self {
            Self::Two(ids) => PyList::new(py, ids),
            Self::Four(ids) => PyList::new(py, ids),
        }
    }

    /// A list for each two neighbours of `offsets`.
    pub fn into_lists<'py>(
        self,
        py: Python<'py>,
        offsets: &[u64],
    ) -> PyResult<Vec<Bound<'py, PyList>>> {
        match self {
            Self::Two(ids) => lists(py, &ids, offsets),
            Self::Four(ids) => lists(py, &ids, offsets),
        }
    }
}

fn lists<'py, I: Copy + IntoPyObject<'py>>(
    py: Python<'py>,
    ids: &[I],
    offsets: &[u64],
) -> PyResult<Vec<Bound<'py, PyList>>> {
    let list = |ends: &[u64]| {
        let (start, end) = (usize::try_from(ends[0])?, usize::try_from(ends[1])?);
        PyList::new(py, ids[start..end].iter().copied())
    };
    offsets.windows(2).map(list).collect()
}
