//! One encode from its first byte to its last, over as many processes as it takes.
//!
//! Whatever moment a process ends at, the state that was saved last tells the next one which prefix
//! of the files is to be relied upon, and what was read for it. What follows depends on nothing
//! else: states are saved at the ends of blocks, where no encoder remembers anything. What the
//! document that is open there needs, its length and its first id, is in the state. Not so where some
//! documents are for validation, which all of the bytes decide: there, states are saved between them.

use std::path::Path;

use super::document::{DocumentSink, Job};
use super::lock::Lock;
use super::recipe::Recipe;
use super::skip::{Kind, Tracker};
use super::state::{self, SavedState};
use super::writer::{SealedShard, ShardProgress, publish_files};
use super::{
    EncodeOptions, EncodeReport, PartFacts, ShardFacts, ShardReader, ShardReport, ShardWriter,
    SourceFacts,
};
use crate::corpus::Source;
use crate::ids::Id;
use crate::progress::Progress;
use crate::special::SpecialTokens;
use crate::{Error, Result};

/// A source, and its number among all that were given.
pub(super) type Numbered = (usize, Source);

/// The committing end of the pipeline.
pub(super) struct Run<'o, I> {
    options: &'o EncodeOptions,
    recipe: Recipe,
    sink: DocumentSink<I>,
    tracker: Tracker,
    kinds: Vec<Kind>,
    source_bytes: Vec<u64>,
    /// Bytes of output when this process began.
    written_before: u64,
    /// Bytes of output when the state was saved last.
    written_saved: u64,
    /// Last, so that the files above are closed or gone before others may begin.
    _locks: Vec<Lock>,
}

/// What there is to do.
#[expect(clippy::large_enum_variant, reason = "there is one of them")]
pub(super) enum Begun<'o, I> {
    /// Encode these sources.
    Running(Run<'o, I>, Vec<Numbered>),
    /// Nothing: an earlier process had done all but giving the files their names.
    Done(EncodeReport),
}

/// How many bytes of text an unfinished encode to `out` has read; [`None`] if there is none that
/// could be resumed.
///
/// # Errors
///
/// [`Error::Locked`] if it is still running, [`Error::Shard`] if its state is damaged.
pub fn unfinished(out: &Path) -> Result<Option<u64>> {
    let _lock = Lock::acquire(out)?;
    Ok(SavedState::load(out)?.map(|saved| saved.source_bytes.iter().sum()))
}

impl<'o, I: Id> Run<'o, I> {
    /// Begins, or goes on where an earlier process stopped. The first of `tokens` separates
    /// documents.
    pub(super) fn begin(
        sources: Vec<Source>,
        facts: ShardFacts,
        tokens: &SpecialTokens,
        options: &'o EncodeOptions,
        progress: &Progress,
    ) -> Result<Begun<'o, I>> {
        let recipe = Recipe::new(&sources, &facts, options);
        let locks = locks(options)?;
        let kinds: Vec<Kind> = sources.iter().map(Kind::of).collect();
        let mut sources: Vec<Numbered> = sources.into_iter().enumerate().collect();
        if let Some(part) = options.part {
            sources = part.cut(&options.out, sources, &recipe.sources, tokens)?;
        }
        let saved = if options.resume { SavedState::load(&options.out)? } else { None };
        let (sink, tracker, source_bytes) = if let Some(saved) = saved {
            expect(&recipe, &saved.recipe, options)?;
            let Some(shards) = &saved.shards else {
                return publish(&saved, options).map(Begun::Done);
            };
            let mut shards = shards.iter();
            let mut writer = |path: &Path, facts| match shards.next() {
                Some(shard) => ShardWriter::resume(path, facts, shard),
                None => ShardWriter::begin(path, facts),
            };
            let resumed = (saved.n_blank, saved.document_bytes);
            let sink = sink(&recipe, facts, options, resumed, &mut writer)?;
            let (tracker, left) = Tracker::resume(saved.position, sources, &options.out, progress)?;
            sources = left;
            (sink, tracker, saved.source_bytes)
        } else {
            SavedState::remove(&options.out)?;
            let sink = sink(&recipe, facts, options, (0, 0), &mut ShardWriter::begin)?;
            (sink, Tracker::new(), vec![0; kinds.len()])
        };
        let written = sink.written();
        let run = Self {
            options,
            recipe,
            sink,
            tracker,
            kinds,
            source_bytes,
            written_before: written,
            written_saved: written,
            _locks: locks,
        };
        Ok(Begun::Running(run, sources))
    }

    /// Takes the next block, which is of the source of number `source`.
    pub(super) fn commit(&mut self, source: usize, job: &Job<I>) -> Result<()> {
        self.sink.commit(job)?;
        self.source_bytes[source] += job.block.bytes.len() as u64;
        self.tracker.advance(source, self.kinds[source], &job.block);
        let unsaved = self.sink.written() - self.written_saved;
        if unsaved >= self.options.sync_every
            && let Some(document_bytes) = self.sink.written_bytes()
        {
            let shards = self.sink.writers().map(ShardWriter::progress).collect::<Result<_>>()?;
            let saved = self.state(document_bytes, Some(shards)).save(&self.options.out);
            if is_told_of(&saved, &self.options.out) {
                self.sink.writers().for_each(ShardWriter::keep);
            }
            saved?;
            self.written_saved = self.sink.written();
        }
        Ok(())
    }

    fn state(&self, document_bytes: u64, shards: Option<Vec<ShardProgress>>) -> SavedState {
        SavedState {
            recipe: self.recipe.clone(),
            position: self.tracker.position(),
            source_bytes: self.source_bytes.clone(),
            n_blank: self.sink.n_blank,
            document_bytes,
            shards,
        }
    }

    /// Bytes that the files will probably have; [`None`] if the length of a source is not known.
    pub(super) fn bytes_needed(&self, progress: &Progress) -> Option<u64> {
        let (done, total) = progress.done_of_total();
        let written = u128::from(self.sink.written() - self.written_before);
        let all = (written * u128::from(total)).checked_div(u128::from(done))?;
        if total == 0 {
            return None;
        }
        u64::try_from(all).ok()?.checked_add(self.written_before)
    }

    /// Completes the files and gives them their names.
    pub(super) fn finish(self) -> Result<EncodeReport> {
        let out = &self.options.out;
        if self.sink.train.totals().documents == 0 && self.options.part.is_none() {
            SavedState::remove(out)?;
            let DocumentSink { train, val, .. } = self.sink;
            train.discard();
            if let Some((val, _)) = val {
                val.discard();
            }
            let names: Vec<&str> =
                self.recipe.sources.iter().map(|source| &source.path[..]).collect();
            let sources = format!("`{}`", names.join("`, `"));
            return Err(Error::NoDocuments { path: out.clone(), sources });
        }
        let state = self.state(0, None);
        let read = self.recipe.sources.iter().zip(&self.source_bytes);
        let facts: Vec<SourceFacts> =
            read.map(|(source, &bytes)| SourceFacts { path: source.path.clone(), bytes }).collect();
        let DocumentSink { train, val, .. } = self.sink;
        let val = val.map(|(val, _)| val.seal(facts.clone())).transpose()?;
        let mut shards = vec![train.seal(facts)?];
        shards.extend(val);
        let saved = state.save(out);
        if is_told_of(&saved, out) {
            shards.iter_mut().for_each(SealedShard::keep);
        }
        drop(shards);
        saved?;
        publish(&state, self.options)
    }
}

/// Whether a state on the disk speaks of the files, which then stay: this one, be it that saving
/// it failed behind its rename, or one before it.
fn is_told_of(saved: &Result<()>, out: &Path) -> bool {
    saved.is_ok() || state::path(out).try_exists().unwrap_or(true)
}

fn locks(options: &EncodeOptions) -> Result<Vec<Lock>> {
    std::iter::once(&options.out).chain(&options.val_out).map(|out| Lock::acquire(out)).collect()
}

/// Refuses to go on with what was begun otherwise.
fn expect(recipe: &Recipe, saved: &Recipe, options: &EncodeOptions) -> Result<()> {
    let Some(difference) = saved.difference(recipe) else { return Ok(()) };
    let super::recipe::Difference { field, one, other } = difference;
    let reason = format!("{field} was {one}, and is {other}");
    Err(Error::CannotResume { path: options.out.clone(), reason })
}

fn sink<I: Id>(
    recipe: &Recipe,
    facts: ShardFacts,
    options: &EncodeOptions,
    (n_blank, document_bytes): (u64, u64),
    writer: &mut dyn FnMut(&Path, ShardFacts) -> Result<ShardWriter>,
) -> Result<DocumentSink<I>> {
    let part = |is_val| options.part.map(|_| PartFacts { is_val, recipe: recipe.clone() });
    let eot = (options.eot, facts.eot_id);
    let train = writer(&options.out, ShardFacts { part: part(false), ..facts.clone() })?;
    let val = options.val_out.as_ref().map(|path| {
        let val = writer(path, ShardFacts { part: part(true), ..facts })?;
        Ok::<_, Error>((val, options.val_fraction))
    });
    Ok(DocumentSink::new(train, val.transpose()?, eot, n_blank, document_bytes))
}

/// Gives the complete files their names, if they have not got them yet, and ends the run.
fn publish(state: &SavedState, options: &EncodeOptions) -> Result<EncodeReport> {
    for bin in std::iter::once(&options.out).chain(&options.val_out) {
        publish_files(bin)?;
    }
    let report = EncodeReport {
        train: shard_report(&options.out)?,
        val: options.val_out.as_deref().map(shard_report).transpose()?,
        n_blank: state.n_blank,
        bytes: state.source_bytes.iter().sum(),
    };
    SavedState::remove(&options.out)?;
    Ok(report)
}

fn shard_report(path: &Path) -> Result<ShardReport> {
    let shard = ShardReader::open(path)?;
    let totals = shard.totals();
    Ok(ShardReport {
        path: path.to_owned(),
        dtype: shard.dtype(),
        tokens: totals.tokens,
        documents: totals.documents,
        bytes: totals.bytes,
    })
}
