//! `RowReader`: rows of token files, read ahead of training; `read_rows`: just read.

use std::path::PathBuf;
use std::time::Duration;

use minillm_bpe::order::{Row, Samples};
use minillm_bpe::rows::{Piece, RowFiles, RowReader as CoreReader};
use minillm_bpe::shard::Dtype;
use minillm_bpe::{Id, Result};
use numpy::PyUntypedArray;
use pyo3::prelude::*;

use crate::batch::IdVec;
use crate::errors::to_py;
use crate::order::Order;
use crate::work::released;

/// How often a waiting thread looks for signals.
const POLL: Duration = Duration::from_millis(50);

/// Path, offset in bytes, bytes of an id, number of ids.
type PyPiece = (PathBuf, u64, usize, u64);

/// Rows of `row_tokens` ids of one source, from each of `starts` on, one behind the other.
#[pyfunction]
pub fn read_rows(
    py: Python<'_>,
    pieces: Vec<PyPiece>,
    starts: Vec<u64>,
    row_tokens: usize,
) -> PyResult<Bound<'_, PyUntypedArray>> {
    let ids = released(py, || {
        let files = files(vec![pieces])?;
        let rows: Vec<Row> = starts.into_iter().map(|start| Row { source: 0, start }).collect();
        match files.dtype() {
            Dtype::Uint16 => files.read(&rows, row_tokens).map(IdVec::Two),
            Dtype::Uint32 => files.read(&rows, row_tokens).map(IdVec::Four),
        }
    })?;
    Ok(ids.into_array(py))
}

/// In the widest type of all files.
enum Reader {
    Two(CoreReader<u16>),
    Four(CoreReader<u32>),
}

/// Reads the samples of an order, ahead of whoever takes them.
#[pyclass(frozen, module = "minillm._core")]
pub struct RowReader(Reader);

#[pymethods]
impl RowReader {
    #[new]
    fn new(
        py: Python<'_>,
        sources: Vec<Vec<PyPiece>>,
        order: &Order,
        row_tokens: usize,
    ) -> PyResult<Self> {
        released(py, || {
            let (files, order) = (files(sources)?, order.0.clone());
            Ok(Self(match files.dtype() {
                Dtype::Uint16 => Reader::Two(CoreReader::new(files, order, row_tokens)),
                Dtype::Uint32 => Reader::Four(CoreReader::new(files, order, row_tokens)),
            }))
        })
    }

    /// The rows of batch `index` of `count` samples, as process `rank` of `ranks` takes it, one
    /// behind the other.
    fn read<'py>(
        &self,
        py: Python<'py>,
        index: u64,
        count: u64,
        rank: u64,
        ranks: u64,
    ) -> PyResult<Bound<'py, PyUntypedArray>> {
        let samples = Samples::batch(index, count, rank, ranks).map_err(to_py)?;
        let ids = match &self.0 {
            Reader::Two(reader) => IdVec::Two(wait(py, reader, samples)?),
            Reader::Four(reader) => IdVec::Four(wait(py, reader, samples)?),
        };
        Ok(ids.into_array(py))
    }
}

fn wait<I: Id>(py: Python<'_>, reader: &CoreReader<I>, samples: Samples) -> PyResult<Vec<I>> {
    loop {
        if let Some(ids) = released(py, || reader.read(samples, POLL))? {
            return Ok(ids);
        }
        py.check_signals()?;
    }
}

fn files(sources: Vec<Vec<PyPiece>>) -> Result<RowFiles> {
    let piece = |(path, offset, width, tokens)| {
        Ok(Piece { path, offset, dtype: Dtype::from_width(width)?, tokens })
    };
    let source = |pieces: Vec<PyPiece>| pieces.into_iter().map(piece).collect::<Result<_>>();
    RowFiles::new(sources.into_iter().map(source).collect::<Result<_>>()?)
}
