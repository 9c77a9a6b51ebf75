//! `Gather`, `arrange` and what belongs to them: documents before they are encoded.

use std::path::PathBuf;

use minillm_bpe::documents::{
    ArrangeOptions, Arranged, FileRange, Gather as CoreGather, GatherOptions, GatherStats,
    InvalidUtf8, OnBadRow, Out, Rows, SourceOfParts, Taken, Text, TextDocuments, Weigh,
    WhenExhausted, arrange as arrange_parts, cut_files as cut, gathered as read_gathered,
    tokens_by_source as count_by_source,
};
use numpy::PyReadonlyArray1;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::bpe::Bpe;
use crate::progress::Progress;
use crate::work::{released, watched};

/// The value of that name.
fn one_of<T: Copy>(option: &str, name: &str, known: &[(&str, T)]) -> PyResult<T> {
    let found = known.iter().find(|(known, _)| *known == name);
    found.map(|&(_, value)| value).ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        PyValueError::new_err(format!("unknown {option} `{name}`; known are {}", names.join(", ")))
    })
}

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
    gather: Option<CoreGather>,
    progress: Progress,
}

impl Gather {
    fn gather(&mut self) -> PyResult<&mut CoreGather> {
        self.gather.as_mut().ok_or_else(|| PyValueError::new_err("the part is finished already"))
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
        Ok(Self { out, gather: Some(gather), progress })
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
        let text = released(py, || {
            template.map_or_else(|| Ok(Text::of_field(field)), Text::of_template)
        })?;
        let progress = self.progress.clone();
        let gather = self.gather()?;
        watched(py, &progress.0, || gather.files(&files, &text, &progress.0), || Ok(()))
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
        let progress = self.progress.clone();
        let gather = self.gather()?;
        watched(py, &progress.0, || gather.rows(rows, &progress.0), || Ok(()))
    }

    /// Completes the part.
    fn finish<'py>(&mut self, py: Python<'py>) -> PyResult<Gathered<'py>> {
        self.gather()?;
        let Some(gather) = self.gather.take() else { return Err(PyValueError::new_err("")) };
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

/// A source, as Python's dictionary describes it.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Source {
    name: String,
    parts: Vec<PathBuf>,
    #[pyo3(default)]
    weight: Option<f64>,
    #[pyo3(default)]
    max_documents: Option<u64>,
    #[pyo3(default)]
    max_bytes: Option<u64>,
    #[pyo3(default)]
    max_tokens: Option<u64>,
}

/// What was taken of a source.
#[derive(IntoPyObject)]
struct SourceStats {
    name: String,
    documents: u64,
    bytes: u64,
    lines: u64,
    tokens: u64,
    duplicates: u64,
    epochs: f64,
    ran_out_at: Option<u64>,
}

/// What was arranged.
#[derive(IntoPyObject)]
pub struct Report {
    sources: Vec<SourceStats>,
    documents: u64,
    bytes: u64,
    lines: u64,
    tokens: u64,
    duplicates: u64,
}

impl From<Arranged> for Report {
    fn from(arranged: Arranged) -> Self {
        let Taken { documents, bytes, lines, tokens } = arranged.taken;
        let duplicates = arranged.sources.iter().map(|source| source.duplicates).sum();
        let sources = arranged.sources.into_iter().map(|source| {
            let Taken { documents, bytes, lines, tokens } = source.taken;
            let (duplicates, epochs) = (source.duplicates, source.epochs);
            let (name, ran_out_at) = (source.name, source.ran_out_at);
            SourceStats { name, documents, bytes, lines, tokens, duplicates, epochs, ran_out_at }
        });
        Self { sources: sources.collect(), documents, bytes, lines, tokens, duplicates }
    }
}

/// One file, or one for each source.
#[derive(FromPyObject)]
pub enum Outs {
    /// For each source.
    Each(Vec<PathBuf>),
    /// For all.
    One(PathBuf),
}

/// Arranges the parts of `sources` into a text, or into one for each.
#[pyfunction]
#[pyo3(signature = (
    sources, *, out, deduplicate, weigh, when_exhausted, max_documents=None, max_bytes=None,
    max_tokens=None, encoder=None, separator=minillm_bpe::END_OF_TEXT, val_fraction=0.0,
    progress=Progress::default()
))]
#[expect(clippy::too_many_arguments, reason = "options with names, as Python passes them")]
pub fn arrange(
    py: Python<'_>,
    sources: Vec<Source>,
    out: Outs,
    deduplicate: bool,
    weigh: &str,
    when_exhausted: &str,
    max_documents: Option<u64>,
    max_bytes: Option<u64>,
    max_tokens: Option<u64>,
    encoder: Option<&Bpe>,
    separator: &str,
    val_fraction: f64,
    progress: Progress,
) -> PyResult<Report> {
    use WhenExhausted::{Repeat, Reweight, Stop};
    let sources: Vec<SourceOfParts> = sources
        .into_iter()
        .map(|source| {
            let Source { name, parts, weight, max_documents, max_bytes, max_tokens } = source;
            SourceOfParts { name, parts, weight, max_documents, max_bytes, max_tokens }
        })
        .collect();
    let units =
        [("documents", Weigh::Documents), ("bytes", Weigh::Bytes), ("tokens", Weigh::Tokens)];
    let ends = [("stop", Stop), ("repeat", Repeat), ("reweight", Reweight)];
    let options = ArrangeOptions {
        out: match out {
            Outs::One(path) => Out::One(path),
            Outs::Each(paths) => Out::Each(paths),
        },
        deduplicate,
        weigh: one_of("weigh", weigh, &units)?,
        when_exhausted: one_of("when_exhausted", when_exhausted, &ends)?,
        max_documents,
        max_bytes,
        max_tokens,
        encoder: encoder.map(|bpe| released(py, || bpe.encoder().cloned())).transpose()?,
        separator: separator.to_owned(),
        val_fraction,
    };
    let work = || arrange_parts(&sources, &options, &progress.0);
    watched(py, &progress.0, work, || Ok(())).map(Report::from)
}

/// What one source has in one token file.
#[derive(IntoPyObject)]
struct InShard {
    documents: u64,
    bytes: u64,
    tokens: u64,
}

/// What one source has in the token files.
#[derive(IntoPyObject)]
pub struct BySource {
    train: InShard,
    val: InShard,
}

/// What each source has in the token files of an arranged text.
#[pyfunction]
pub fn tokens_by_source(
    py: Python<'_>,
    sources: PathBuf,
    train: PathBuf,
    val: Option<PathBuf>,
    n_sources: usize,
) -> PyResult<Vec<BySource>> {
    let found = released(py, || count_by_source(&sources, &train, val.as_deref(), n_sources))?;
    let of = found.into_iter().map(|counts| {
        let [train, val] = counts.map(|it| InShard {
            documents: it.documents,
            bytes: it.bytes,
            tokens: it.tokens,
        });
        BySource { train, val }
    });
    Ok(of.collect())
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
