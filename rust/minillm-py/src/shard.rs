//! Token files: writes them from text, and reads them for `minillm-bpe decode`.

use std::path::PathBuf;

use minillm_bpe::shard::{
    Dtype, EncodeOptions, Eot, JoinedManifest, Layout, Part, Placed, ShardReader,
    ShardReport as Report, convert, encode_files as encode, join, unfinished,
};
use minillm_bpe::{AllowedSpecial, Id, Result};
use numpy::PyUntypedArray;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::batch::IdVec;
use crate::bpe::Bpe;
use crate::corpus::Corpus;
use crate::errors::to_py;
use crate::progress::Progress;
use crate::threads::Threads;
use crate::work::{interruptible, released, watched};

/// What was written into one token file.
#[pyclass(frozen, get_all, module = "minillm._core")]
pub struct ShardReport {
    path: PathBuf,
    dtype: &'static str,
    tokens: u64,
    documents: u64,
    bytes: u64,
}

/// What was written, and what was read for it.
#[pyclass(frozen, get_all, module = "minillm._core")]
pub struct Encoded {
    train: Py<ShardReport>,
    val: Option<Py<ShardReport>>,
    blank_documents: u64,
    corpus_bytes: u64,
}

/// The crate's report as a Python object.
pub fn report_to_py(py: Python<'_>, report: Report) -> PyResult<Py<ShardReport>> {
    let Report { path, dtype, tokens, documents, bytes } = report;
    Py::new(py, ShardReport { path, dtype: dtype.name(), tokens, documents, bytes })
}

fn parse_dtype(name: &str) -> PyResult<Dtype> {
    let known = [Dtype::Uint16, Dtype::Uint32].into_iter().find(|dtype| dtype.name() == name);
    known.ok_or_else(|| {
        PyValueError::new_err(format!("unknown dtype `{name}`; known are uint16, uint32"))
    })
}

fn parse_eot(name: &str) -> PyResult<Eot> {
    let known = [Eot::Append, Eot::Prepend, Eot::None].into_iter().find(|eot| eot.name() == name);
    known.ok_or_else(|| {
        PyValueError::new_err(format!("unknown eot `{name}`; known are append, prepend, none"))
    })
}

/// Encodes the documents of `corpus` into token files.
#[pyfunction]
#[pyo3(signature = (
    corpus, bpe, out, *, val_out, val_fraction, dtype, threads, eot, separator, sync_every, resume,
    part=None, progress=Progress::default()
))]
#[expect(clippy::too_many_arguments, reason = "options with names, as Python passes them")]
pub fn encode_files(
    py: Python<'_>,
    corpus: Corpus<'_>,
    bpe: &Bpe,
    out: PathBuf,
    val_out: Option<PathBuf>,
    val_fraction: f64,
    dtype: Option<&str>,
    threads: Threads,
    eot: &str,
    separator: String,
    sync_every: u64,
    resume: bool,
    part: Option<(u32, u32)>,
    progress: Progress,
) -> PyResult<Encoded> {
    let field = match &corpus {
        Corpus::Files { field, .. } => Some(field.clone()),
        Corpus::Texts(_) => None,
    };
    let options = EncodeOptions {
        out,
        val_out,
        val_fraction,
        dtype: dtype.map(parse_dtype).transpose()?,
        threads: threads.0,
        eot: parse_eot(eot)?,
        separator,
        field,
        allowed: AllowedSpecial::None,
        sync_every,
        resume,
        part: part.map(|(index, of)| Part { index, of }),
    };
    let (sources, feeder) = corpus.into_sources();
    let work = || encode(sources, bpe.encoder()?, &options, &progress.0);
    let report = watched(py, &progress.0, work, || feeder.run(py))?;
    Ok(Encoded {
        train: report_to_py(py, report.train)?,
        val: report.val.map(|val| report_to_py(py, val)).transpose()?,
        blank_documents: report.n_blank,
        corpus_bytes: report.bytes,
    })
}

/// How many bytes of text an encode to `out` has read that can be resumed, if there is one.
#[pyfunction]
pub fn unfinished_encode(py: Python<'_>, out: PathBuf) -> PyResult<Option<u64>> {
    released(py, || unfinished(&out))
}

/// Joins the token files `parts` under the name `out`: tokens, documents, bytes of text.
#[pyfunction]
pub fn join_parts(py: Python<'_>, parts: Vec<PathBuf>, out: PathBuf) -> PyResult<(u64, u64, u64)> {
    let JoinedManifest { totals, .. } = released(py, || join(&parts, &out))?;
    Ok((totals.tokens, totals.documents, totals.bytes))
}

/// A layout's name, or that of our own files.
fn layout_name(layout: Option<Layout>) -> &'static str {
    layout.map_or("minillm", Layout::name)
}

/// Of a file without a manifest: its layout, type of the ids, bytes before them, and their number.
#[pyfunction]
pub fn read_layout(
    py: Python<'_>,
    path: PathBuf,
) -> PyResult<(&'static str, &'static str, u64, u64)> {
    let Placed { layout, dtype, offset, tokens } = released(py, || Placed::read(&path))?;
    Ok((layout.name(), dtype.name(), offset, tokens))
}

/// Writes the ids of the token file `path` to `out` in the layout `to`: the layout that they were
/// read from, and the type and number of what was written.
#[pyfunction]
pub fn convert_ids(
    py: Python<'_>,
    path: PathBuf,
    to: &str,
    out: PathBuf,
) -> PyResult<(&'static str, &'static str, u64)> {
    let known = Layout::ALL.into_iter().find(|layout| layout.name() == to);
    let to = known.ok_or_else(|| {
        PyValueError::new_err(format!("unknown layout `{to}`; known are nanogpt, llmc, npy"))
    })?;
    let converted = interruptible(py, |progress| convert(&path, to, &out, progress))?;
    Ok((layout_name(converted.from), converted.dtype.name(), converted.tokens))
}

/// A token file that is open for reading; opening checks it against its manifest.
#[pyclass(module = "minillm._core")]
pub struct Shard(ShardReader);

#[pymethods]
impl Shard {
    #[new]
    fn new(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        released(py, || ShardReader::open(&path).map(Self))
    }

    fn __len__(&self) -> usize {
        usize::try_from(self.0.tokens()).unwrap_or(usize::MAX)
    }

    /// Whose file it is.
    #[getter]
    fn layout(&self) -> &'static str {
        layout_name(self.0.layout())
    }

    /// `uint16` or `uint32`.
    #[getter]
    fn dtype(&self) -> &'static str {
        self.0.dtype().name()
    }

    /// Raises if the manifest names another tokenizer than the one of this hash.
    fn check_tokenizer(&self, sha256: &str) -> PyResult<()> {
        self.0.check_tokenizer(sha256).map_err(to_py)
    }

    /// Reads everything and compares it with the checksums of the manifest.
    fn verify(&mut self, py: Python<'_>) -> PyResult<()> {
        interruptible(py, |progress| self.0.verify(progress))
    }

    /// Up to `count` ids from `start` on, of the file's own type.
    fn read<'py>(
        &mut self,
        py: Python<'py>,
        start: u64,
        count: usize,
    ) -> PyResult<Bound<'py, PyUntypedArray>> {
        let ids = released(py, || match self.0.dtype() {
            Dtype::Uint16 => read(&mut self.0, start, count).map(IdVec::Two),
            Dtype::Uint32 => read(&mut self.0, start, count).map(IdVec::Four),
        })?;
        Ok(ids.into_array(py))
    }
}

fn read<I: Id>(shard: &mut ShardReader, start: u64, count: usize) -> Result<Vec<I>> {
    let mut ids = Vec::new();
    shard.read(start, count, &mut ids)?;
    Ok(ids)
}
