//! Numbers of threads.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// How many threads may work; 0 is one for each core.
pub struct Threads(pub usize);

impl Threads {
    /// One for each core.
    pub const ALL: Self = Self(0);
}

impl<'py> FromPyObject<'_, 'py> for Threads {
    type Error = PyErr;

    fn extract(threads: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let threads = &*threads;
        let number: u32 = threads.extract().map_err(|_| {
            PyValueError::new_err(format!("threads is {threads}, expected 0 to {}", u32::MAX))
        })?;
        Ok(Self(usize::try_from(number)?))
    }
}
