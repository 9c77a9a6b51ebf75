//! `RowReader`: rows of token files, read ahead of training.

use std::path::PathBuf;
use std::sync::Mutex;

use minillm_bpe::ids::Id;
use minillm_bpe::rows::{Piece, RowReader as CoreReader, Start};
use minillm_bpe::shard::Dtype;
use numpy::PyUntypedArray;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::batch::IdVec;
use crate::errors::to_py;
use crate::work::released;

/// Path, offset in bytes, bytes of an id, number of ids.
type PyPiece = (PathBuf, u64, usize, u64);

/// In the widest type of all files. (A lock because a channel's end is for one thread at a time.)
enum Reader {
    Two(Mutex<CoreReader<u16>>),
    Four(Mutex<CoreReader<u32>>),
}

/// A thread that reads rows ahead, in the order in which they are asked for.
#[pyclass(frozen, module = "minillm._core")]
pub struct RowReader(Reader);

#[pymethods]
impl RowReader {
    #[new]
    fn new(sources: Vec<Vec<PyPiece>>, row_tokens: usize) -> PyResult<Self> {
        let piece = |(path, offset, width, tokens)| {
            let dtype = if width == 2 { Dtype::Uint16 } else { Dtype::Uint32 };
            Piece { path, offset, dtype, tokens }
        };
        let sources: Vec<Vec<Piece>> =
            sources.into_iter().map(|pieces| pieces.into_iter().map(piece).collect()).collect();
        let is_wide = sources.iter().flatten().any(|piece| piece.dtype == Dtype::Uint32);
        let reader = if is_wide {
            CoreReader::new(sources, row_tokens).map(|reader| Reader::Four(Mutex::new(reader)))
        } else {
            CoreReader::new(sources, row_tokens).map(|reader| Reader::Two(Mutex::new(reader)))
        };
        reader.map(Self).map_err(to_py)
    }

    /// Asks for the rows that begin at these ids of these sources.
    fn want(&self, starts: Vec<Start>) -> PyResult<()> {
        let sent = match &self.0 {
            Reader::Two(reader) => lock(reader)?.want(starts),
            Reader::Four(reader) => lock(reader)?.want(starts),
        };
        if sent { Ok(()) } else { Err(gone()) }
    }

    /// Waits for the rows that were asked for first and not taken yet, one behind the other.
    fn take<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyUntypedArray>> {
        let rows = match &self.0 {
            Reader::Two(reader) => take(py, reader)?.map(IdVec::Two),
            Reader::Four(reader) => take(py, reader)?.map(IdVec::Four),
        };
        rows.map(|rows| rows.into_array(py)).ok_or_else(gone)
    }
}

fn take<I: Id>(py: Python<'_>, reader: &Mutex<CoreReader<I>>) -> PyResult<Option<Vec<I>>> {
    released(py, || reader.lock().map_or(Ok(None), |reader| reader.take()))
}

fn lock<T>(reader: &Mutex<T>) -> PyResult<std::sync::MutexGuard<'_, T>> {
    reader.lock().map_err(|_| gone())
}

fn gone() -> PyErr {
    PyRuntimeError::new_err("the thread that reads token files has ended")
}
