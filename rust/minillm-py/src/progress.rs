//! `Progress`: what Python polls while the crate works.

use std::sync::Arc;

use minillm_bpe::progress::{Phase, Progress as CoreProgress};
use pyo3::prelude::*;

/// Shared by one long call and whoever watches it.
#[pyclass(frozen, from_py_object, module = "minillm._core")]
#[derive(Clone, Default)]
pub struct Progress(pub Arc<CoreProgress>);

#[pymethods]
impl Progress {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    #[getter]
    fn phase(&self) -> &'static str {
        match self.0.phase() {
            Phase::Idle => "idle",
            Phase::Count => "count",
            Phase::Merge => "merge",
            Phase::Encode => "encode",
            Phase::Fold => "fold",
            Phase::Gather => "gather",
            Phase::Arrange => "arrange",
        }
    }

    #[getter]
    fn done(&self) -> u64 {
        self.0.done_of_total().0
    }

    /// 0 while unknown.
    #[getter]
    fn total(&self) -> u64 {
        self.0.done_of_total().1
    }

    /// Makes the call that is being watched end with `KeyboardInterrupt`.
    fn cancel(&self) {
        self.0.cancel();
    }
}
