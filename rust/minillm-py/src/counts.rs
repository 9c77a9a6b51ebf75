//! `Counts`: a counted corpus, in memory; `CountsFiles`: several, on disk; and what makes them.

use std::path::PathBuf;
use std::sync::Arc;

use minillm_bpe::count::{self as counting, CountOptions, CountsFile};
use pyo3::prelude::*;

use crate::corpus::Corpus;
use crate::errors::to_py;
use crate::progress::Progress;
use crate::text::{parse_pattern, pattern_text};
use crate::threads::Threads;
use crate::work::{interruptible, released, watched};

/// Counts in memory, and how their text was cut.
#[pyclass(frozen, subclass, module = "minillm._core")]
pub struct Counts(pub Arc<CountsFile>);

/// Counts files that fit each other.
#[pyclass(frozen, module = "minillm._core")]
pub struct CountsFiles(pub counting::CountsFiles);

/// What was counted into a file.
#[pyclass(frozen, get_all, module = "minillm._core")]
pub struct CountReport {
    corpus_bytes: u64,
    distinct_pre_tokens: u64,
    spills: usize,
    spilled_bytes: u64,
}

#[pymethods]
impl Counts {
    /// The same counts once more: how a subclass is made of some.
    #[new]
    fn new(counts: &Self) -> Self {
        Self(Arc::clone(&counts.0))
    }

    /// Writes a counts file. Equal counts make equal files, whoever counted.
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        interruptible(py, |progress| self.0.save_watched(&path, progress))
    }

    /// The counts of both, whose text must have been cut in the same way.
    fn plus(&self, py: Python<'_>, other: &Self) -> PyResult<Self> {
        interruptible(py, |progress| self.0.plus(&other.0, progress)).map(Self::of)
    }

    fn __len__(&self) -> usize {
        self.0.counts.len()
    }

    /// Number of pre-tokens, each as often as it occurs; `len` counts different ones.
    #[getter]
    fn total(&self) -> u64 {
        self.0.counts.total()
    }

    /// Bytes of the counted text, special tokens included.
    #[getter]
    fn corpus_bytes(&self) -> u64 {
        self.0.counts.corpus_bytes
    }

    /// What cut the text.
    #[getter]
    fn pattern(&self) -> Option<&str> {
        pattern_text(&self.0.pattern)
    }

    /// What was left out of it.
    #[getter]
    fn special_tokens(&self) -> Vec<String> {
        self.0.special_tokens.clone()
    }

    fn __repr__(&self) -> String {
        format!("Counts({} pre-tokens of {} bytes)", self.__len__(), self.corpus_bytes())
    }
}

impl Counts {
    fn of(counts: CountsFile) -> Self {
        Self(Arc::new(counts))
    }
}

#[pymethods]
impl CountsFiles {
    /// Opens the files at `paths`; no weights count each once.
    #[new]
    fn open(py: Python<'_>, paths: Vec<PathBuf>, weights: Vec<u64>) -> PyResult<Self> {
        released(py, || counting::CountsFiles::open(&paths, &weights)).map(Self)
    }

    /// Adds them up.
    #[pyo3(signature = (progress=Progress::default()))]
    fn load(&self, py: Python<'_>, progress: Progress) -> PyResult<Counts> {
        let work = || self.0.load(None, &progress.0);
        watched(py, &progress.0, work, || Ok(())).map(Counts::of)
    }

    /// Raises if the text was not cut by `pattern`.
    fn expect_pattern(&self, pattern: Option<&str>) -> PyResult<()> {
        self.0.expect(Some(&parse_pattern(pattern)?), None).map_err(to_py)
    }

    /// Raises if these are not the special tokens that were left out.
    fn expect_special_tokens(&self, special_tokens: Vec<String>) -> PyResult<()> {
        self.0.expect(None, Some(&special_tokens)).map_err(to_py)
    }

    #[getter]
    fn pattern(&self) -> Option<&str> {
        pattern_text(self.0.pattern())
    }

    #[getter]
    fn special_tokens(&self) -> Vec<String> {
        self.0.special_tokens().to_vec()
    }
}

/// Counts `corpus`.
#[pyfunction]
#[pyo3(signature = (
    corpus, *, special_tokens, pattern, weights, threads, max_memory, temp_dir,
    progress=Progress::default()
))]
#[expect(clippy::too_many_arguments, reason = "options with names, as Python passes them")]
pub fn count(
    py: Python<'_>,
    corpus: Corpus<'_>,
    special_tokens: Vec<String>,
    pattern: Option<&str>,
    weights: Vec<u64>,
    threads: Threads,
    max_memory: Option<u64>,
    temp_dir: Option<PathBuf>,
    progress: Progress,
) -> PyResult<Counts> {
    let (pattern, threads) = (parse_pattern(pattern)?, threads.0);
    let options = CountOptions { special_tokens, pattern, weights, threads, max_memory, temp_dir };
    let (sources, feeder) = corpus.into_sources();
    let work = || {
        let counted = counting::count(sources, &options, &progress.0)?;
        counted.into_counts(options.max_memory, &progress.0)
    };
    let counts = watched(py, &progress.0, work, || feeder.run(py))?;
    let CountOptions { pattern, special_tokens, .. } = options;
    Ok(Counts::of(CountsFile { counts, pattern, special_tokens }))
}

/// Counts `corpus` into the file `out`; with `max_memory`, the counts are never all in memory.
#[pyfunction]
#[pyo3(signature = (
    corpus, out, *, special_tokens, pattern, weights, threads, max_memory, temp_dir,
    progress=Progress::default()
))]
#[expect(clippy::too_many_arguments, reason = "options with names, as Python passes them")]
pub fn count_to_file(
    py: Python<'_>,
    corpus: Corpus<'_>,
    out: PathBuf,
    special_tokens: Vec<String>,
    pattern: Option<&str>,
    weights: Vec<u64>,
    threads: Threads,
    max_memory: Option<u64>,
    temp_dir: Option<PathBuf>,
    progress: Progress,
) -> PyResult<CountReport> {
    let (pattern, threads) = (parse_pattern(pattern)?, threads.0);
    let options = CountOptions { special_tokens, pattern, weights, threads, max_memory, temp_dir };
    let (sources, feeder) = corpus.into_sources();
    let work = || {
        let counted = counting::count(sources, &options, &progress.0)?;
        let report = CountReport {
            corpus_bytes: counted.corpus_bytes,
            distinct_pre_tokens: counted.len(),
            spills: counted.spilled.runs,
            spilled_bytes: counted.spilled.bytes,
        };
        counted.save(&out, &options, &progress.0)?;
        Ok(report)
    };
    watched(py, &progress.0, work, || feeder.run(py))
}
