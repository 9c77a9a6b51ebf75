//! `arrange`: gathered parts become one text; and what each source has in its token files.

use std::path::PathBuf;

use minillm_bpe::documents::{
    ArrangeOptions, Arranged, Out, SourceOfParts, Taken, Weigh, WhenExhausted,
    arrange as arrange_parts, tokens_by_source as count_by_source,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::bpe::Bpe;
use crate::progress::Progress;
use crate::work::{released, watched};

/// The value of that name of an option.
pub fn one_of<T: Copy>(option: &str, name: &str, known: &[(&str, T)]) -> PyResult<T> {
    let found = known.iter().find(|(known, _)| *known == name);
    found.map(|&(_, value)| value).ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        PyValueError::new_err(format!("unknown {option} `{name}`; known are {}", names.join(", ")))
    })
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
