//! `Gather` and `cut_files`: the documents of one part of a corpus.

use std::path::PathBuf;

use minillm_bpe::Result;
use minillm_bpe::documents::{
    FileRange, Gather as CoreGather, GatherOptions, GatherStats, InvalidUtf8, OnBadRow, Rows, Text,
    TextDocuments, cut_files as cut, gathered as read_gathered,
};
use minillm_bpe::progress::Progress as CoreProgress;
use numpy::PyReadonlyArray1;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::arrange::one_of;
use crate::progress::Progress;
use crate::work::{released, watched};

fn parse_documents(name: &str) -> PyResult<TextDocuments> {
    use TextDocuments::{File, Line, Separator};
    one_of("documents", name, &[("separator", Separator), ("line", Line), ("file", File)])
}

fn parse_invalid_utf8(name: &str) -> PyResult<InvalidUtf8> {
    use InvalidUtf8::{Keep, Replace, Skip, Stop};
    let known = [("keep", Keep), ("replace", Replace), ("skip", Skip), ("stop", Stop)];
    one_of("invalid_utf8", name, &known)
}

fn parse_on_bad_row(name: &str) -> PyResult<OnBadRow> {
    one_of("on_bad_row", name, &[("stop", OnBadRow::Stop), ("skip", OnBadRow::Skip)])
}

/// A file, or some bytes of one.
#[derive(FromPyObject)]
enum FileOrRange {
    Range(PathBuf, u64, u64),
    Whole(PathBuf),
}

impl From<FileOrRange> for FileRange {
    fn from(file: FileOrRange) -> Self {
        match file {
            FileOrRange::Range(path, start, end) => Self { path, start, end },
            FileOrRange::Whole(path) => Self::whole(path),
        }
    }
}

/// What was gathered.
#[derive(IntoPyObject)]
struct Gathered<'py> {
    rows: u64,
    documents: u64,
    bytes: u64,
    lines: u64,
    dropped: Bound<'py, PyDict>,
    limited: bool,
}

impl<'py> Gathered<'py> {
    fn of(py: Python<'py>, stats: GatherStats) -> PyResult<Self> {
        let GatherStats { rows, documents, bytes, lines, dropped, limited } = stats;
        let reasons = PyDict::new(py);
        for (reason, count) in dropped.by_reason() {
            reasons.set_item(reason, count)?;
        }
        Ok(Self { rows, documents, bytes, lines, dropped: reasons, limited })
    }
}

/// One part of a corpus, while it is gathered.
#[pyclass(module = "minillm._core")]
pub struct Gather {
    out: PathBuf,
    /// In a box: it searches with vectors of 32 bytes, and Python aligns its objects to 16.
    part: Option<Box<CoreGather>>,
    progress: Progress,
}

const _: () = assert!(align_of::<Gather>() <= 16);

fn finished() -> PyErr {
    PyValueError::new_err("the part is finished already, or has failed")
}

impl Gather {
    /// Reads; what fails, or is interrupted, leaves nothing, even if someone keeps the object.
    fn read(
        &mut self,
        py: Python<'_>,
        work: impl FnOnce(&mut CoreGather, &CoreProgress) -> Result<bool> + Send,
    ) -> PyResult<bool> {
        let part = self.part.as_mut().ok_or_else(finished)?;
        let progress = &self.progress.0;
        let read = watched(py, progress, || work(part, progress), || Ok(()));
        if read.is_err() {
            self.part = None;
        }
        read
    }
}

#[pymethods]
impl Gather {
    #[new]
    #[pyo3(signature = (
        out, *, seed, documents, separator=minillm_bpe::END_OF_TEXT, min_length=0,
        max_repetition=None, invalid_utf8, on_bad_row, max_documents=None, max_bytes=None,
        progress=Progress::default()
    ))]
    #[expect(clippy::too_many_arguments, reason = "options with names, as Python passes them")]
    fn new(
        py: Python<'_>,
        out: PathBuf,
        seed: Option<u64>,
        documents: &str,
        separator: &str,
        min_length: u64,
        max_repetition: Option<f64>,
        invalid_utf8: &str,
        on_bad_row: &str,
        max_documents: Option<u64>,
        max_bytes: Option<u64>,
        progress: Progress,
    ) -> PyResult<Self> {
        let options = GatherOptions {
            seed,
            documents: parse_documents(documents)?,
            separator: separator.to_owned(),
            min_length,
            max_repetition,
            invalid_utf8: parse_invalid_utf8(invalid_utf8)?,
            on_bad_row: parse_on_bad_row(on_bad_row)?,
            max_documents,
            max_bytes,
        };
        let gather = released(py, || CoreGather::create(&out, options))?;
        Ok(Self { out, part: Some(Box::new(gather)), progress })
    }

    /// Reads files. False once the limit of the part is reached.
    #[pyo3(signature = (paths, *, field="text", template=None))]
    fn files(
        &mut self,
        py: Python<'_>,
        paths: Vec<FileOrRange>,
        field: &str,
        template: Option<&str>,
    ) -> PyResult<bool> {
        let files: Vec<FileRange> = paths.into_iter().map(FileRange::from).collect();
        let text =
            released(py, || template.map_or_else(|| Ok(Text::of_field(field)), Text::of_template))?;
        self.read(py, |part, progress| part.files(&files, &text, progress))
    }

    /// Reads rows of a table. False once the limit of the part is reached.
    #[expect(clippy::too_many_arguments, reason = "an array of Arrow's, as it lies in memory")]
    fn rows(
        &mut self,
        py: Python<'_>,
        offsets: PyReadonlyArray1<'_, i64>,
        data: PyReadonlyArray1<'_, u8>,
        first: usize,
        n: usize,
        name: &str,
        first_row: u64,
    ) -> PyResult<bool> {
        let (offsets, data) = (offsets.as_slice()?, data.as_slice()?);
        let rows = Rows { offsets, data, first, n, name, first_row };
        self.read(py, |part, progress| part.rows(rows, progress))
    }

    /// Completes the part.
    fn finish<'py>(&mut self, py: Python<'py>) -> PyResult<Gathered<'py>> {
        let gather = self.part.take().ok_or_else(finished)?;
        let (out, progress) = (&self.out, &self.progress.0);
        let stats = watched(py, progress, || gather.finish(out, progress), || Ok(()))?;
        Gathered::of(py, stats)
    }
}

/// What the part `out` holds; `None` if there is none.
#[pyfunction]
#[pyo3(signature = (
    out, *, seed, documents, separator=minillm_bpe::END_OF_TEXT, min_length=0, max_repetition=None,
    invalid_utf8, on_bad_row, max_documents=None, max_bytes=None
))]
#[expect(clippy::too_many_arguments, reason = "options with names, as Python passes them")]
pub fn gathered<'py>(
    py: Python<'py>,
    out: PathBuf,
    seed: Option<u64>,
    documents: &str,
    separator: &str,
    min_length: u64,
    max_repetition: Option<f64>,
    invalid_utf8: &str,
    on_bad_row: &str,
    max_documents: Option<u64>,
    max_bytes: Option<u64>,
) -> PyResult<Option<Bound<'py, PyDict>>> {
    let options = GatherOptions {
        seed,
        documents: parse_documents(documents)?,
        separator: separator.to_owned(),
        min_length,
        max_repetition,
        invalid_utf8: parse_invalid_utf8(invalid_utf8)?,
        on_bad_row: parse_on_bad_row(on_bad_row)?,
        max_documents,
        max_bytes,
    };
    let stats = released(py, || read_gathered(&out, Some(&options)))?;
    stats.map(|stats| Gathered::of(py, stats)?.into_pyobject(py)).transpose()
}

/// Cuts files into parts, each some ranges of them.
#[pyfunction]
#[pyo3(signature = (paths, part_bytes, *, documents, separator=minillm_bpe::END_OF_TEXT))]
pub fn cut_files(
    py: Python<'_>,
    paths: Vec<PathBuf>,
    part_bytes: u64,
    documents: &str,
    separator: &str,
) -> PyResult<Vec<Vec<(PathBuf, u64, u64)>>> {
    let documents = parse_documents(documents)?;
    let parts = released(py, || cut(&paths, part_bytes, documents, separator))?;
    let ranges = |part: Vec<FileRange>| {
        part.into_iter().map(|range| (range.path, range.start, range.end)).collect()
    };
    Ok(parts.into_iter().map(ranges).collect())
}
