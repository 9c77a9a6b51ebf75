//! `Progress`: what Python polls while the crate works.

use std::sync::Arc;

use minillm_bpe::progress::Progress as CoreProgress;
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

    /// What is being done, in one word; empty before it begins.
    #[getter]
    fn phase(&self) -> &'static str {
        self.0.phase().name()
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

    /// One line for people: what is done of the phase, how fast, and the time left.
    fn describe(&self) -> String {
        self.0.describe()
    }

    /// Makes the call that is being watched end with `KeyboardInterrupt`.
    fn cancel(&self) {
        self.0.cancel();
    }
}
