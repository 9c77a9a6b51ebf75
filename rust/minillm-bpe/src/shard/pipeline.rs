//! Text -> shards: one thread reads, many encode, one writes in order.
//!
//! A fixed number of blocks goes round, from the reader through an encoder to the writer and back.
//! That bounds memory whatever the corpus, and whichever of the three is slow. What comes out does
//! not depend on the number of threads, nor on the size of a block.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::document::{Cutter, Job};
use super::run::{Begun, Run};
use super::{Dtype, EncodeOptions, EncodeReport, Eot, ShardFacts, beside, misfit};
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

/// Encodes the documents of `sources` into one shard, or into one for training and one for
/// validation.
///
/// A document is what stands between two separators, byte for byte; pieces of nothing but ASCII
/// white space are skipped. It is for validation if a hash of its bytes is low enough, whatever
/// its place and neighbours. Files get their names only when all of them are complete.
///
/// Holds a few blocks in memory, and 8 MB of the ids of a document that may be for validation: what
/// is more waits on the disk. A block is a megabyte, and ends where no pre-token does otherwise
/// ([`safe_cut`](crate::pretokenize::PreTokenizer::safe_cut)). A stretch without such a place, of
/// one letter perhaps or under a pattern that has none, is held whole: at most twice in bytes, and
/// once in ids, so 3 to 5 bytes of memory for one of text where ids have 16 bits.
///
/// Every [`EncodeOptions::sync_every`] bytes, what is written is made to last and the state is
/// saved, be it in the middle of a document; with a validation part, at the next end of one. With
/// [`EncodeOptions::resume`], a run that was stopped later goes on from there, and the files are
/// the same, byte for byte.
///
/// # Errors
///
/// [`Error::Io`] if a source cannot be read; [`Error::DiskFull`]; [`Error::Locked`] if another
/// process writes the same files; [`Error::CannotResume`]; [`Error::DtypeTooNarrow`];
/// [`Error::NoSeparator`] if there is no id for the ends of documents; [`Error::NoDocuments`] if the
/// sources have none for `out`; [`Error::Interrupted`]; those of [`Encoder::encode_ordinary`].
/// After any, `out` and the files beside it are what they were.
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
    let cutter = cutter(encoder, options)?;
    let facts = facts(encoder, I::DTYPE, options)?;
    let (mut run, sources) =
        match Run::<I>::begin(sources, facts, &cutter.tokens, options, progress)? {
            Begun::Running(run, sources) => (run, sources),
            Begun::Done(report) => return Ok(report),
        };
    let (numbers, sources): (Vec<usize>, Vec<Source>) = sources.into_iter().unzip();
    let lists: Vec<bool> =
        sources.iter().map(|source| matches!(source, Source::Documents(..))).collect();
    let pre_tokenizer = encoder.pre_tokenizer().clone();
    let reader = CorpusReader::new(sources, BLOCK_BYTES, cutter.tokens.clone(), pre_tokenizer);
    progress.begin(Phase::Encode, reader.total_bytes());

    let threads = at_work(options.threads);
    let encode = |state: &mut State<I>, job: &mut Job<I>| {
        cutter.encode(encoder, state, lists[job.block.source], job)
    };
    let new_state = || encoder.new_state(CACHE_BYTES / threads, progress.stop());
    let done = in_order(reader, threads, new_state, encode, progress, |job| {
        run.commit(numbers[job.block.source], job)
    });
    let needed = run.bytes_needed(progress);
    done.and_then(|()| run.finish()).map_err(|error| error.or_disk_full(needed))
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

/// What the ids will be, if `options` can be meant.
fn facts(encoder: &Encoder, dtype: Dtype, options: &EncodeOptions) -> Result<ShardFacts> {
    let vocab = encoder.vocab();
    let eot_id = vocab.special_id(&options.separator);
    if options.eot != Eot::None && eot_id.is_none() {
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
    Ok(ShardFacts {
        dtype,
        vocab_size: vocab.size(),
        eot_id,
        eot: options.eot,
        tokenizer_sha256: tokenizer_json::sha256(vocab)?,
        part: None,
    })
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
                    let encoded = catch_unwind(AssertUnwindSafe(|| encode(&mut state, &mut job)));
                    let encoded = encoded.unwrap_or_else(|panic| {
                        // Else the writer would wait for this block for ever.
                        let _ = to_commit.send((index, Err(Error::Interrupted)));
                        resume_unwind(panic)
                    });
                    let encoded = encoded.map(|()| job);
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
            // A block that could not be cut was long; its memory is not for all that come. When the
            // sources are at their end, nobody takes it any more.
            let _ = free.send(if job.is_large(BLOCK_BYTES) { Job::default() } else { job });
        }
    }
}

#[cfg(test)]
mod tests;
