//! Runs the crate's work without the GIL, so that other Python threads go on and Ctrl-C is heard.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use minillm_bpe::Result;
use minillm_bpe::progress::Progress;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::errors::to_py;

/// How often a waiting thread looks for signals.
const POLL: Duration = Duration::from_millis(50);

/// Runs `work` on this thread with the GIL released: for calls that end soon.
pub fn released<T: Send>(py: Python<'_>, work: impl FnOnce() -> Result<T> + Send) -> PyResult<T> {
    let outcome = py.detach(|| catch_unwind(AssertUnwindSafe(work)));
    outcome.map_err(|panic| internal(&*panic))?.map_err(to_py)
}

/// Runs `work` on a thread of its own, for calls that may take long.
///
/// Meanwhile this thread first calls `feed` with the GIL held, which may hand data to the worker,
/// and then waits without it and runs Python's signal handlers twenty times a second. If either
/// raises, `progress` is cancelled, and the exception is raised once the worker has ended.
pub fn watched<T: Send>(
    py: Python<'_>,
    progress: &Progress,
    work: impl FnOnce() -> Result<T> + Send,
    feed: impl FnOnce() -> PyResult<()>,
) -> PyResult<T> {
    thread::scope(|scope| {
        let (finished, ended) = channel::<()>();
        let worker = scope.spawn(move || {
            let _finished = finished; // dropped at the end of the work, even by a panic
            work()
        });
        let mut raised = feed().err();
        let (raised, outcome) = py.detach(move || {
            loop {
                if raised.is_some() {
                    progress.cancel();
                }
                if ended.recv_timeout(POLL) != Err(RecvTimeoutError::Timeout) {
                    return (raised, worker.join());
                }
                raised = raised.or_else(|| Python::attach(|py| py.check_signals().err()));
            }
        });
        match raised {
            Some(exception) => Err(exception),
            None => outcome.map_err(|panic| internal(&*panic))?.map_err(to_py),
        }
    })
}

/// [`watched`], for work whose progress nobody looks at.
pub fn interruptible<T: Send>(
    py: Python<'_>,
    work: impl FnOnce(&Progress) -> Result<T> + Send,
) -> PyResult<T> {
    let progress = Progress::default();
    watched(py, &progress, || work(&progress), || Ok(()))
}

/// A panic is our own bug: an ordinary exception, unlike the one that `PyO3` would raise.
fn internal(panic: &(dyn Any + Send)) -> PyErr {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    PyRuntimeError::new_err(format!("internal error, please report it: {text}"))
}
