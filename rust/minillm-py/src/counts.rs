//! `Counts`: a counted corpus, in memory; `CountsFiles`: several, on disk; and what makes them.

use std::path::PathBuf;

use minillm_bpe::count::{self, CountOptions, CountsFile};
use pyo3::prelude::*;

use crate::corpus::Corpus;
use crate::errors::to_py;
use crate::progress::Progress;
use crate::text::{parse_pattern, pattern_text};
use crate::work::{interruptible, released, watched};

/// Counts in memory, and how their text was cut.
#[pyclass(frozen, module = "minillm._core")]
pub struct Counts(pub CountsFile);

/// Counts files that fit each other.
#[pyclass(frozen, module = "minillm._core")]
pub struct CountsFiles(pub count::CountsFiles);

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
    /// Counts `corpus`.
    #[staticmethod]
    #[pyo3(signature = (
    corpus, *, special_tokens, pattern, weights, threads, max_memory, temp_dir, progress
))]
    #[expect(clippy::too_many_arguments, reason = "options with names, as Python passes them")]
    fn of(
        py: Python<'_>,
        corpus: Corpus<'_>,
        special_tokens: Vec<String>,
        pattern: Option<&str>,
        weights: Vec<u64>,
        threads: usize,
        max_memory: Option<u64>,
        temp_dir: Option<PathBuf>,
        progress: &Progress,
    ) -> PyResult<Self> {
        let pattern = parse_pattern(pattern)?;
        let options =
            CountOptions { special_tokens, pattern, weights, threads, max_memory, temp_dir };
        let (sources, feeder) = corpus.into_sources();
        let work = || {
            let counted = count::count(sources, &options, &progress.0)?;
            counted.into_counts(options.max_memory, &progress.0)
        };
        let counts = watched(py, &progress.0, work, || feeder.run(py))?;
        let CountOptions { pattern, special_tokens, .. } = options;
        Ok(Self(CountsFile { counts, pattern, special_tokens }))
    }

    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        interruptible(py, |progress| self.0.save_watched(&path, progress))
    }

    fn plus(&self, py: Python<'_>, other: &Self) -> PyResult<Self> {
        interruptible(py, |progress| self.0.plus(&other.0, progress)).map(Self)
    }

    fn __len__(&self) -> usize {
        self.0.counts.len()
    }

    /// Number of pre-tokens, each as often as it occurs.
    fn total(&self) -> u64 {
        self.0.counts.total()
    }

    #[getter]
    fn corpus_bytes(&self) -> u64 {
        self.0.counts.corpus_bytes
    }

    #[getter]
    fn pattern(&self) -> Option<&str> {
        pattern_text(&self.0.pattern)
    }

    #[getter]
    fn special_tokens(&self) -> Vec<String> {
        self.0.special_tokens.clone()
    }
}

#[pymethods]
impl CountsFiles {
    /// Opens the files at `paths`; no weights count each once.
    #[new]
    fn open(py: Python<'_>, paths: Vec<PathBuf>, weights: Vec<u64>) -> PyResult<Self> {
        released(py, || count::CountsFiles::open(&paths, &weights)).map(Self)
    }

    /// Adds them up.
    fn load(&self, py: Python<'_>, progress: &Progress) -> PyResult<Counts> {
        let work = || self.0.load(None, &progress.0);
        watched(py, &progress.0, work, || Ok(())).map(Counts)
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

/// Counts `corpus` into the file `out`; with `max_memory`, the counts are never all in memory.
#[pyfunction]
#[pyo3(signature = (
    corpus, out, *, special_tokens, pattern, weights, threads, max_memory, temp_dir, progress
))]
#[expect(clippy::too_many_arguments, reason = "options with names, as Python passes them")]
pub fn count_to_file(
    py: Python<'_>,
    corpus: Corpus<'_>,
    out: PathBuf,
    special_tokens: Vec<String>,
    pattern: Option<&str>,
    weights: Vec<u64>,
    threads: usize,
    max_memory: Option<u64>,
    temp_dir: Option<PathBuf>,
    progress: &Progress,
) -> PyResult<CountReport> {
    let pattern = parse_pattern(pattern)?;
    let options = CountOptions { special_tokens, pattern, weights, threads, max_memory, temp_dir };
    let (sources, feeder) = corpus.into_sources();
    let work = || {
        let counted = count::count(sources, &options, &progress.0)?;
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
