//! `train`: text -> vocabulary; `measure`: how well one fits other text.

use std::path::PathBuf;
use std::sync::Arc;

use minillm_bpe::measure::measure as measure_sources;
use minillm_bpe::train::{
    self as learning, TieBreak, TrainOptions, train as train_text, train_counts, train_files,
};
use pyo3::prelude::*;

use crate::bpe::Bpe;
use crate::corpus::Corpus;
use crate::counts::{Counts, CountsFiles};
use crate::errors::to_py;
use crate::progress::Progress;
use crate::table::Table;
use crate::text::parse_pattern;
use crate::threads::Threads;
use crate::work::watched;

/// What was learned, and from how much.
#[pyclass(frozen, get_all, module = "minillm._core")]
pub struct Trained {
    bpe: Py<Bpe>,
    corpus_bytes: u64,
    text_bytes: u64,
    pre_tokens: u64,
    distinct_pre_tokens: usize,
    corpus_tokens: u64,
    smaller: Vec<(u32, u64)>,
    stopped_early: Option<String>,
    spills: usize,
    spilled_bytes: u64,
    table: Option<Py<Table>>,
}

/// What a vocabulary is learned from.
#[derive(FromPyObject)]
pub enum Material<'py> {
    /// Counts in memory.
    Counts(PyRef<'py, Counts>),
    /// Counts on disk.
    CountsFiles(PyRef<'py, CountsFiles>),
    /// Text.
    Text(Corpus<'py>),
}

/// Learns a vocabulary from `corpus`.
#[pyfunction]
#[pyo3(signature = (
    corpus, vocab_size, *, smaller_sizes=Vec::new(), base, special_tokens, specials_first=false,
    pattern, tie_break, min_frequency, max_token_bytes, weights, threads, max_memory, temp_dir,
    table_entries=0, progress=Progress::default()
))]
#[expect(clippy::too_many_arguments, reason = "options with names, as Python passes them")]
pub fn train(
    py: Python<'_>,
    corpus: Material<'_>,
    vocab_size: u32,
    smaller_sizes: Vec<u32>,
    base: Option<&Bpe>,
    special_tokens: Vec<String>,
    specials_first: bool,
    pattern: Option<&str>,
    tie_break: &str,
    min_frequency: u64,
    max_token_bytes: Option<usize>,
    weights: Vec<u64>,
    threads: Threads,
    max_memory: Option<u64>,
    temp_dir: Option<PathBuf>,
    table_entries: usize,
    progress: Progress,
) -> PyResult<Trained> {
    let options = TrainOptions {
        vocab_size,
        smaller_sizes,
        base: base.map(|base| Arc::clone(base.vocabulary())),
        special_tokens,
        specials_first,
        pattern: parse_pattern(pattern)?,
        tie_break: TieBreak::parse(tie_break).map_err(to_py)?,
        min_frequency,
        max_token_bytes,
        weights,
        threads: threads.0,
        max_memory,
        temp_dir,
        table_entries,
    };
    let trained = learn(py, corpus, &options, &progress)?;
    Ok(Trained {
        bpe: Py::new(py, Bpe::build(py, || Ok(trained.vocab))?)?,
        corpus_bytes: trained.bytes,
        text_bytes: trained.text_bytes,
        pre_tokens: trained.pre_tokens,
        distinct_pre_tokens: trained.distinct_pre_tokens,
        corpus_tokens: trained.corpus_tokens,
        smaller: trained.smaller,
        stopped_early: trained.stopped_early,
        spills: trained.spilled.runs,
        spilled_bytes: trained.spilled.bytes,
        table: trained.table.map(|table| Py::new(py, Table(table))).transpose()?,
    })
}

fn learn(
    py: Python<'_>,
    corpus: Material<'_>,
    options: &TrainOptions,
    progress: &Progress,
) -> PyResult<learning::Trained> {
    let progress = &progress.0;
    match corpus {
        Material::Counts(counts) => {
            let counts = &counts.0.counts;
            watched(py, progress, || train_counts(counts, options, progress), || Ok(()))
        }
        Material::CountsFiles(files) => {
            let files = &files.0;
            watched(py, progress, || train_files(files, options, progress), || Ok(()))
        }
        Material::Text(corpus) => {
            let (sources, feeder) = corpus.into_sources();
            let work = || train_text(sources, options, progress);
            watched(py, progress, work, || feeder.run(py))
        }
    }
}

/// Bytes and tokens of `corpus`, special tokens left out.
#[pyfunction]
#[pyo3(signature = (corpus, bpe, *, threads, progress=Progress::default()))]
pub fn measure(
    py: Python<'_>,
    corpus: Corpus<'_>,
    bpe: &Bpe,
    threads: Threads,
    progress: Progress,
) -> PyResult<(u64, u64)> {
    let (sources, feeder) = corpus.into_sources();
    let work = || measure_sources(sources, bpe.encoder()?, threads.0, &progress.0);
    let measured = watched(py, &progress.0, work, || feeder.run(py))?;
    Ok((measured.bytes, measured.tokens))
}
