//! Text -> shards: one thread reads, many encode, one writes in order.
//!
//! A fixed number of blocks goes round, from the reader through an encoder to the writer and back.
//! That bounds memory whatever the corpus, and whichever of the three is slow. What comes out does
//! not depend on the number of threads, nor on the size of a block.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::document::{Cutter, DocumentSink, Job};
use super::{Dtype, SealedShard, ShardFacts, ShardWriter, SourceFacts, beside, misfit};
use crate::corpus::{CorpusReader, Source};
use crate::encode::State;
use crate::format::tokenizer_json;
use crate::progress::{Phase, Progress};
use crate::special::SpecialTokens;
use crate::{AllowedSpecial, Encoder, Error, Result, TokenId, at_work, ids::Id};

/// Text in a block. (Tests have short texts.)
const BLOCK_BYTES: usize = if cfg!(test) { 32 } else { 1 << 20 };

/// Caches of all threads together.
const CACHE_BYTES: usize = 96 << 20;

/// How often to look whether the caller wants to stop.
const PATIENCE: Duration = Duration::from_millis(100);

/// What to write, and where.
#[derive(Clone, Debug)]
pub struct EncodeOptions {
    /// The `.bin` file; index and manifest stand beside it.
    pub out: PathBuf,
    /// The `.bin` file of the documents for validation.
    pub val_out: Option<PathBuf>,
    /// Which part of the documents goes to `val_out`, from 0 to 1.
    pub val_fraction: f64,
    /// Type of the ids; [`None`] for the narrowest that fits.
    pub dtype: Option<Dtype>,
    /// Number of encoding threads.
    pub threads: usize,
    /// Whether the id of the separator follows each document.
    pub append_eot: bool,
    /// The string between documents.
    pub separator: String,
    /// Other special tokens to recognize inside documents.
    pub allowed: AllowedSpecial,
}

/// What was written.
#[derive(Clone, Debug)]
pub struct EncodeReport {
    /// The shard for training.
    pub train: ShardReport,
    /// The shard for validation.
    pub val: Option<ShardReport>,
    /// Pieces between separators that were skipped, being empty or only white space.
    pub n_blank: u64,
    /// Bytes read.
    pub bytes: u64,
}

/// One shard that was written.
#[derive(Clone, Debug)]
pub struct ShardReport {
    /// The `.bin` file.
    pub path: PathBuf,
    /// Type of its ids.
    pub dtype: Dtype,
    /// Number of ids.
    pub tokens: u64,
    /// Number of documents.
    pub documents: u64,
    /// Bytes of text in them.
    pub bytes: u64,
}

/// Encodes the documents of `sources` into one shard, or into one for training and one for
/// validation.
///
/// A document is what stands between two separators, byte for byte; pieces of nothing but ASCII
/// white space are skipped. It is for validation if a hash of its bytes is low enough, whatever
/// its place and neighbours. Holds a few blocks in memory, and where there is a validation part,
/// the ids of one document. Files get their names only when all of them are complete.
///
/// # Errors
///
/// [`Error::Io`] if a source cannot be read or a disk is full; [`Error::DtypeTooNarrow`];
/// [`Error::NoSeparator`] if there is no id to append; [`Error::NoDocuments`] if the sources have
/// none for `out`; [`Error::Interrupted`]; those of [`Encoder::encode_ordinary`]. After any, no
/// file has changed.
pub fn encode_files(
    sources: Vec<Source>,
    encoder: &Encoder,
    options: &EncodeOptions,
    progress: &Progress,
) -> Result<EncodeReport> {
    let dtype = options.dtype.unwrap_or(Dtype::for_vocab(encoder.vocab().size()));
    match dtype {
        Dtype::Uint16 => encode_files_as::<u16>(sources, encoder, options, progress),
        Dtype::Uint32 => encode_files_as::<u32>(sources, encoder, options, progress),
    }
}

fn encode_files_as<I: Id>(
    sources: Vec<Source>,
    encoder: &Encoder,
    options: &EncodeOptions,
    progress: &Progress,
) -> Result<EncodeReport> {
    let mut facts: Vec<SourceFacts> = sources
        .iter()
        .map(|source| SourceFacts { path: source.name().display().to_string(), bytes: 0 })
        .collect();
    let lists: Vec<bool> =
        sources.iter().map(|source| matches!(source, Source::Documents(..))).collect();
    let cutter = cutter(encoder, options)?;
    let mut sink = sink::<I>(encoder, options)?;
    let pre_tokenizer = encoder.pre_tokenizer().clone();
    let reader = CorpusReader::new(sources, BLOCK_BYTES, cutter.tokens.clone(), pre_tokenizer);
    progress.begin(Phase::Encode, reader.total_bytes());

    let threads = at_work(options.threads);
    let encode = |state: &mut State<I>, job: &mut Job<I>| {
        cutter.encode(encoder, state, lists[job.block.source], job)
    };
    let new_state = || encoder.new_state(CACHE_BYTES / threads);
    in_order(reader, threads, new_state, encode, progress, |job| {
        facts[job.block.source].bytes += job.block.bytes.len() as u64;
        sink.commit(job)
    })?;
    finish(sink, facts, options)
}

fn cutter(encoder: &Encoder, options: &EncodeOptions) -> Result<Cutter> {
    let is_allowed = |text: &String| match &options.allowed {
        AllowedSpecial::None => false,
        AllowedSpecial::All => true,
        AllowedSpecial::Only(texts) => texts.contains(text),
    };
    let specials = encoder.vocab().specials().iter();
    let allowed = specials.filter(|(text, _)| is_allowed(text) && *text != options.separator);
    let (mut texts, ids): (Vec<String>, Vec<TokenId>) = allowed.cloned().unzip();
    texts.insert(0, options.separator.clone());
    Ok(Cutter { tokens: SpecialTokens::new(&texts)?, ids })
}

fn sink<I: Id>(encoder: &Encoder, options: &EncodeOptions) -> Result<DocumentSink<I>> {
    let vocab = encoder.vocab();
    let eot_id = vocab.special_id(&options.separator);
    if options.append_eot && eot_id.is_none() {
        return Err(Error::NoSeparator { token: options.separator.clone() });
    }
    if !(0.0..=1.0).contains(&options.val_fraction) {
        let reason = format!("is {}, expected 0 to 1", options.val_fraction);
        return Err(misfit(&options.out, "val_fraction", reason));
    }
    if options.val_out.as_ref().is_some_and(|val_out| beside(val_out) == beside(&options.out)) {
        let reason = "has the same index and manifest as `out`; expected another name";
        return Err(misfit(&options.out, "val_out", reason));
    }
    let facts = ShardFacts {
        dtype: I::DTYPE,
        vocab_size: vocab.size(),
        eot_id,
        tokenizer_sha256: tokenizer_json::sha256(vocab)?,
    };
    let val = options.val_out.as_ref().map(|path| ShardWriter::create(path, facts.clone()));
    let val = val.transpose()?.map(|writer| (writer, options.val_fraction));
    let train = ShardWriter::create(&options.out, facts)?;
    Ok(DocumentSink::new(train, val, eot_id.filter(|_| options.append_eot)))
}

fn finish<I: Id>(
    sink: DocumentSink<I>,
    sources: Vec<SourceFacts>,
    options: &EncodeOptions,
) -> Result<EncodeReport> {
    let DocumentSink { train, val, n_blank, .. } = sink;
    if train.documents() == 0 {
        let names: Vec<&str> = sources.iter().map(|source| &source.path[..]).collect();
        let sources = format!("`{}`", names.join("`, `"));
        return Err(Error::NoDocuments { path: options.out.clone(), sources });
    }
    let bytes = sources.iter().map(|source| source.bytes).sum();
    let train = train.seal(sources.clone())?;
    let val = val.map(|(val, _)| val.seal(sources)).transpose()?;
    let report = EncodeReport {
        train: shard_report(&options.out, &train),
        val: options.val_out.as_ref().zip(val.as_ref()).map(|(out, val)| shard_report(out, val)),
        n_blank,
        bytes,
    };
    SealedShard::publish(std::iter::once(train).chain(val).collect())?;
    Ok(report)
}

fn shard_report(path: &Path, shard: &SealedShard) -> ShardReport {
    let manifest = shard.manifest();
    ShardReport {
        path: path.to_owned(),
        dtype: manifest.dtype,
        tokens: manifest.tokens,
        documents: manifest.documents,
        bytes: manifest.bytes,
    }
}

/// A block by its running number, encoded, or what went wrong.
type Numbered<I> = (u64, Result<Job<I>>);

/// Passes each block of `reader` through `encode` on `threads` threads, and to `commit` in order.
fn in_order<I: Id>(
    reader: CorpusReader,
    threads: usize,
    new_state: impl Fn() -> State<I> + Sync,
    encode: impl Fn(&mut State<I>, &mut Job<I>) -> Result<()> + Sync,
    progress: &Progress,
    commit: impl FnMut(&Job<I>) -> Result<()>,
) -> Result<()> {
    // All three channels together hold the jobs of `free`, so none needs a bound of its own.
    let (free, next_free) = channel();
    let (to_encode, next_to_encode) = channel();
    let (to_commit, next_to_commit) = channel();
    for _ in 0..2 * threads + 2 {
        let _ = free.send(Job::default());
    }
    let next_to_encode = Mutex::new(next_to_encode);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let to_commit = to_commit.clone();
            scope.spawn(|| {
                let to_commit = to_commit;
                let mut state = new_state();
                while let Some(mut job) = take(&next_to_encode) {
                    let index = job.block.index;
                    let encoded = encode(&mut state, &mut job).map(|()| job);
                    if to_commit.send((index, encoded)).is_err() {
                        break;
                    }
                }
            });
        }
        scope.spawn(move || read(reader, &next_free, &to_encode, &to_commit));
        commit_in_order(next_to_commit, free, progress, commit)
    })
}

/// The next job, when there is one. Who waits holds the lock: others would wait just the same.
fn take<I>(jobs: &Mutex<Receiver<Job<I>>>) -> Option<Job<I>> {
    jobs.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

/// Reads until the sources end, a source fails, or the writer has gone.
fn read<I>(
    mut reader: CorpusReader,
    free: &Receiver<Job<I>>,
    to_encode: &Sender<Job<I>>,
    failed: &Sender<Numbered<I>>,
) {
    let mut next = 0;
    while let Ok(mut job) = free.recv() {
        match reader.next_block_into(&mut job.block) {
            Ok(true) => next = job.block.index + 1,
            Ok(false) => return,
            Err(error) => {
                let _ = failed.send((next, Err(error)));
                return;
            }
        }
        if to_encode.send(job).is_err() {
            return;
        }
    }
}

/// Puts jobs into order, until there are no more or something fails. Returning closes the
/// channels, and that ends the other threads.
#[expect(clippy::needless_pass_by_value, reason = "both channels close with the function")]
fn commit_in_order<I>(
    encoded: Receiver<Numbered<I>>,
    free: Sender<Job<I>>,
    progress: &Progress,
    mut commit: impl FnMut(&Job<I>) -> Result<()>,
) -> Result<()> {
    let mut early: BTreeMap<u64, Result<Job<I>>> = BTreeMap::new();
    let mut next = 0;
    loop {
        match encoded.recv_timeout(PATIENCE) {
            Ok((index, job)) => early.insert(index, job),
            Err(RecvTimeoutError::Timeout) => {
                progress.advance(0)?;
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        while let Some(job) = early.remove(&next) {
            let job = job?;
            commit(&job)?;
            progress.advance(job.block.bytes.len() as u64)?;
            next += 1;
            // When the sources are at their end, nobody takes it any more.
            let _ = free.send(job);
        }
    }
}

#[cfg(test)]
mod tests;
