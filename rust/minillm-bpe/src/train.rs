//! Counts -> merges: byte-pair encoding learned exactly, without ever counting twice.
//!
//! The textbook counts all pairs of neighbours, merges the most frequent one everywhere, and
//! begins again ([`crate::reference::train`]). Here the same merges come from touching only what
//! a merge changes:
//!
//! - *What is counted.* Only the distinct pre-tokens matter, each weighted by its count
//!   ([`Counts`]): no merge reaches across two, and equal ones are always merged alike.
//! - *What is stored.* The distinct pre-tokens as one array of symbols (`words.rs`); for each pair
//!   of neighbours that is frequent enough, its weighted count and the places where it stands,
//!   its postings (`index.rs`); and a queue of these pairs by count (`queue.rs`).
//! - *A merge* visits the postings of its pair and no other place. Only there do pairs vanish and
//!   new ones appear, so adjusting the counts of the neighbours keeps all counts exact
//!   (`occurrences.rs`, `merge.rs`). Postings that no longer fit are recognized and skipped.
//! - *The queue* may be out of date, but never too low: a pair can only lose occurrences after the
//!   step that made it, because one half of it is that step's new token. So its front, if its
//!   count is still true, is the most frequent pair; if not, it goes back with the true count.
//! - *The floor.* A pair too rare to be merged soon is neither counted nor listed when it is made,
//!   for it cannot rise. When the queue has nothing above the floor any more, the pairs are counted
//!   anew from the symbols, with a lower floor. The same is done when the index would outgrow
//!   [`TrainOptions::max_memory`], with a higher one.
//! - *Threads* lay out the symbols, count the first pairs, and share lists of postings that are long
//!   enough, of which only a large corpus has many. They divide the corpus between pre-tokens, where
//!   no merge reaches across, and what they find is added up.
//!
//! Which pair wins among equal counts is a documented total order ([`TieBreak`]). Nothing depends
//! on threads, block size, memory, file order or hash seeds: counts are sums, and sums have no
//! order. They have 64 bits; a corpus of more bytes is refused.
//!
//! Learned from the bytes up, no two merges yield the same bytes: merges happen everywhere at once
//! and tokens only grow, so wherever some bytes have become one token, the same merges inside of
//! them made it. A merge that would yield a special token's bytes is never made.
//!
//! Training goes on from a given tokenizer as if it had made that one's merges itself: they are
//! made first, in their order and whatever their counts, and then the next ones are learned
//! (`learner.rs`). So the steps of one long run are those of several short ones, and every smaller
//! vocabulary is a prefix of the larger ([`Vocab::truncated`]). A tokenizer made elsewhere may list
//! merges that training would never make, and then a learned merge can yield bytes that are a token
//! already. It is listed and gets that token's id; a pair that so occurs again after it was merged
//! is merged again and not listed twice.

mod index;
mod learner;
mod merge;
mod occurrences;
mod pairs;
mod queue;
mod sketch;
mod symbol;
mod words;

use std::{borrow::Borrow, path::PathBuf, sync::Arc};

use crate::{
    Encoder, Error, Result, TrainedTable, at_work,
    corpus::Source,
    count::{CountOptions, Counts, CountsFiles, Spilled, count},
    format::byte_alphabet,
    freed,
    pretokenize::Pattern,
    progress::Progress,
    vocab::{MAX_RANKED_BYTES, Vocab},
};
use index::Limits;
use learner::Learner;
use merge::Merger;
use symbol::Symbol;
use words::Words;

/// Which of the most frequent pairs is merged first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TieBreak {
    /// The greatest pair of byte strings, compared left half first (as in Stanford's CS336).
    #[default]
    Lex,
    /// The smallest pair of ids, where the bytes are 0 to 255 (as rustbpe and minbpe).
    Id,
    /// The smallest pair of ids, where the bytes are in the order of the characters that stand for
    /// them in `tokenizer.json` (as Hugging Face tokenizers).
    Hf,
}

impl TieBreak {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Lex, Self::Id, Self::Hf];

    /// The name by which a user chooses it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lex => "lex",
            Self::Id => "id",
            Self::Hf => "hf",
        }
    }

    /// The mode of that name.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownTieBreak`] if there is none.
    pub fn parse(name: &str) -> Result<Self> {
        let known = Self::ALL.into_iter().find(|mode| mode.name() == name);
        let names = || Self::ALL.map(Self::name).to_vec();
        known.ok_or_else(|| Error::UnknownTieBreak { name: name.to_owned(), known: names() })
    }
}

/// What to learn.
#[derive(Clone, Debug)]
pub struct TrainOptions {
    /// Number of tokens, the 256 bytes and the special tokens included.
    pub vocab_size: u32,
    /// Sizes on the way there for which [`Trained::smaller`] tells what the corpus took.
    pub smaller_sizes: Vec<u32>,
    /// The tokenizer to continue from, with its pattern and special tokens. All of its ids stay
    /// what they are; new tokens have the ids above them.
    pub base: Option<Arc<Vocab>>,
    /// They separate documents, are not counted, and get the last ids.
    pub special_tokens: Vec<String>,
    /// Gives the special tokens the first ids instead, before the bytes.
    pub specials_first: bool,
    /// How text is cut into pre-tokens.
    pub pattern: Pattern,
    /// What decides between pairs that occur equally often.
    pub tie_break: TieBreak,
    /// A pair that occurs less often is not merged; 0 and 1 allow every pair.
    pub min_frequency: u64,
    /// No token gets longer than this many bytes.
    pub max_token_bytes: Option<usize>,
    /// How often each source counts; empty: once.
    pub weights: Vec<u64>,
    /// Threads that count.
    pub threads: usize,
    /// Bytes that training may hold; what it counts goes to disk when they are used up.
    pub max_memory: Option<u64>,
    /// Where on disk; [`None`] is the system's folder for temporary files.
    pub temp_dir: Option<PathBuf>,
    /// How many pre-tokens [`Trained::table`] may hold, the most frequent ones; 0 for no table.
    pub table_entries: usize,
}

impl TrainOptions {
    /// How a corpus is counted for it.
    fn counting(&self) -> CountOptions {
        CountOptions {
            special_tokens: self.special_tokens.clone(),
            pattern: self.pattern.clone(),
            weights: self.weights.clone(),
            threads: self.threads,
            max_memory: self.max_memory,
            temp_dir: self.temp_dir.clone(),
        }
    }

    /// The limit on the length of learned tokens; ranked ones have one of their own.
    fn longest(&self) -> Option<usize> {
        let is_ranked = self.base.as_ref().is_some_and(|base| base.is_ranked());
        let ranked = is_ranked.then_some(MAX_RANKED_BYTES);
        self.max_token_bytes.into_iter().chain(ranked).min()
    }
}

/// What was learned, and from how much.
#[derive(Debug)]
pub struct Trained {
    /// The tokenizer, which knows how often each of its merges occurred.
    pub vocab: Vocab,
    /// Each of [`TrainOptions::smaller_sizes`], ascending, with the tokens that the corpus took
    /// when there were so many ids.
    pub smaller: Vec<(u32, u64)>,
    /// Bytes of the corpus, special tokens included.
    pub bytes: u64,
    /// Bytes of its text, special tokens left out.
    pub text_bytes: u64,
    /// Pre-tokens in the corpus.
    pub pre_tokens: u64,
    /// Different ones among them.
    pub distinct_pre_tokens: usize,
    /// Tokens that the corpus now takes, special tokens not counted.
    pub corpus_tokens: u64,
    /// What was on disk while the corpus was counted.
    pub spilled: Spilled,
    /// Why there are fewer tokens than were asked for, if so.
    pub stopped_early: Option<String>,
    /// The most frequent pre-tokens with their ids, with which encoding begins warm.
    pub table: Option<TrainedTable>,
}

/// Learns a tokenizer from text.
///
/// # Errors
///
/// [`Error::VocabTooSmall`], [`Error::VocabBelowBase`], [`Error::BaseDiffers`],
/// [`Error::SpecialToken`], [`Error::Pattern`] for options that cannot work;
/// [`Error::BadVocab`] for a tokenizer to continue from that lacks a byte; [`Error::Io`] for a
/// source that cannot be read; [`Error::EmptyCorpus`] if there is no text; [`Error::Interrupted`]
/// if `progress` is cancelled.
pub fn train(sources: Vec<Source>, options: &TrainOptions, progress: &Progress) -> Result<Trained> {
    check_room(options)?;
    refuse_bytes(&options.special_tokens)?;
    let names: Vec<String> = sources.iter().map(|s| s.name().display().to_string()).collect();
    let counted = count(sources, &options.counting(), progress)?;
    if counted.is_empty() {
        return Err(Error::EmptyCorpus { sources: names.join(", ") });
    }
    check_memory(options, counted.len(), counted.text_bytes())?;
    let spilled = counted.spilled;
    let counts = counted.into_counts(options.max_memory, progress)?;
    Ok(Trained { spilled, ..train_counts(counts, options, progress)? })
}

/// Learns a tokenizer from counts files.
///
/// # Errors
///
/// As [`train`], but for those of counting, and those of [`CountsFiles::load`].
pub fn train_files(
    files: &CountsFiles,
    options: &TrainOptions,
    progress: &Progress,
) -> Result<Trained> {
    check_room(options)?;
    refuse_bytes(&options.special_tokens)?;
    train_counts(files.load(options.max_memory, progress)?.counts, options, progress)
}

/// Learns a tokenizer from counted pre-tokens. Given by value, they are freed as soon as they are
/// laid out.
///
/// # Errors
///
/// As [`train`], but for those of reading; [`Error::TooManyBytes`] for counts that no corpus has.
pub fn train_counts(
    counts: impl Borrow<Counts>,
    options: &TrainOptions,
    progress: &Progress,
) -> Result<Trained> {
    check_room(options)?;
    match SymbolSize::of(options) {
        SymbolSize::Two => learn::<u16>(counts, options, progress),
        SymbolSize::Four => learn::<u32>(counts, options, progress),
    }
}

/// What a report says of the counts, which are gone by then.
struct Totals {
    bytes: u64,
    text_bytes: u64,
    pre_tokens: u64,
    distinct_pre_tokens: usize,
}

impl Totals {
    fn of(counts: &Counts) -> Result<Self> {
        if counts.is_empty() {
            return Err(Error::EmptyCorpus { sources: "counts".to_owned() });
        }
        Ok(Self {
            bytes: counts.corpus_bytes,
            text_bytes: counts.covered_bytes()?,
            pre_tokens: counts.total(),
            distinct_pre_tokens: counts.len(),
        })
    }
}

fn learn<S: Symbol>(
    counts: impl Borrow<Counts>,
    options: &TrainOptions,
    progress: &Progress,
) -> Result<Trained> {
    let totals = Totals::of(counts.borrow())?;
    let mut learner = Learner::new(options)?;
    let (len, text_bytes) = (counts.borrow().len(), counts.borrow().distinct_bytes());
    check_memory(options, len as u64, text_bytes as u64)?;
    let words = Words::<S>::new(counts.borrow(), at_work(options.threads))?;
    let most = options.max_memory.and_then(|bytes| usize::try_from(bytes).ok());
    let limits = Limits {
        floor: options.min_frequency.max(1),
        max_token_bytes: options.longest().unwrap_or(usize::MAX),
        forbidden: Vec::new(),
        bytes: most.map(|most| most.saturating_sub(words.bytes())),
    };
    drop(counts);
    if options.max_memory.is_some() {
        freed::give_back();
    }
    let mut merger = Merger::new(words);
    learner.replay(&mut merger, progress)?;
    let stopped_early = learner.learn(&mut merger, limits, progress)?;
    // Before the first merge, a token is a byte.
    let tokens = |n_joined| totals.text_bytes - n_joined;
    let corpus_tokens = tokens(merger.n_joined());
    let table = learner.table(&merger, totals.distinct_pre_tokens);
    // The vocabulary is built in the place of what it was learned from.
    drop(merger);
    let smaller = learner.smaller.iter().map(|&(size, n_joined)| (size, tokens(n_joined)));
    let smaller = smaller.collect();
    let vocab = learner.into_vocab()?;
    Ok(Trained {
        smaller,
        table: table.map(|table| fitted(table, &vocab, options)).transpose()?,
        vocab,
        bytes: totals.bytes,
        text_bytes: totals.text_bytes,
        pre_tokens: totals.pre_tokens,
        distinct_pre_tokens: totals.distinct_pre_tokens,
        spilled: Spilled::default(),
        corpus_tokens,
        stopped_early,
    })
}

/// The table with the ids that `vocab` gives.
///
/// The corpus as it is merged now has them already, unless a tokenizer was continued: that one may
/// list its merges in an order in which training would not have made them, or take whole what is a
/// token.
fn fitted(table: TrainedTable, vocab: &Vocab, options: &TrainOptions) -> Result<TrainedTable> {
    match &options.base {
        None => Ok(table),
        Some(_) => table.refitted(&Encoder::new(Arc::new(vocab.clone()))?),
    }
}

/// Whether the bound leaves room to train on so many distinct pre-tokens of so many bytes.
fn check_memory(options: &TrainOptions, len: u64, text_bytes: u64) -> Result<()> {
    let least = least_memory(options, len, text_bytes);
    match options.max_memory {
        Some(max_memory) if max_memory < least => {
            let what = format!("training on {len} distinct pre-tokens");
            Err(Error::MemoryTooSmall { max_memory, least, what })
        }
        _ => Ok(()),
    }
}

/// The pre-tokens as counts and as symbols while one becomes the other, and the symbols with the
/// smallest index that is of use.
fn least_memory(options: &TrainOptions, len: u64, text_bytes: u64) -> u64 {
    let n_places = text_bytes.saturating_add(len).saturating_add(1);
    let words = match SymbolSize::of(options) {
        SymbolSize::Two => Words::<u16>::memory(n_places),
        SymbolSize::Four => Words::<u32>::memory(n_places),
    };
    let counts = Counts::memory(len, text_bytes);
    words.saturating_add(counts.max(Limits::least_bytes(n_places)))
}

/// Bytes of a symbol.
enum SymbolSize {
    Two,
    Four,
}

impl SymbolSize {
    fn of(options: &TrainOptions) -> Self {
        if options.vocab_size as usize <= u16::N_IDS { Self::Two } else { Self::Four }
    }
}

/// Refuses sizes without room for what is there already, and options that contradict the base.
fn check_room(options: &TrainOptions) -> Result<()> {
    let smallest = options.smaller_sizes.iter().copied().chain([options.vocab_size]).min();
    let got = smallest.unwrap_or(options.vocab_size);
    if let Some(base) = &options.base {
        check_same(base, options)?;
        if options.max_memory.is_some() {
            return Err(Error::UnboundedBase);
        }
        let base = base.size();
        return if got < base { Err(Error::VocabBelowBase { got, base }) } else { Ok(()) };
    }
    let n_specials = u32::try_from(options.special_tokens.len()).unwrap_or(u32::MAX);
    let taken = n_specials.saturating_add(256);
    if got < taken { Err(Error::VocabTooSmall { got, taken }) } else { Ok(()) }
}

/// What the base has settled can only be repeated.
fn check_same(base: &Vocab, options: &TrainOptions) -> Result<()> {
    let differs = |option, got: String, base| Err(Error::BaseDiffers { option, got, base });
    if *base.pattern() != options.pattern {
        let show = |pattern: &Pattern| match pattern.name().or(pattern.regex()) {
            Some(text) => format!("`{text}`"),
            None => "none".to_owned(),
        };
        return differs("pattern", show(&options.pattern), show(base.pattern()));
    }
    let mut got = options.special_tokens.clone();
    let mut specials: Vec<String> = base.specials().iter().map(|(text, _)| text.clone()).collect();
    got.sort_unstable();
    specials.sort_unstable();
    if got != specials {
        return differs("special_tokens", format!("{got:?}"), format!("{specials:?}"));
    }
    Ok(())
}

/// Refuses special tokens that a file could not tell from one of the 256 bytes, before any work.
fn refuse_bytes(special_tokens: &[String]) -> Result<()> {
    let is_byte =
        |token: &&String| byte_alphabet::decode(token).is_ok_and(|bytes| bytes.len() == 1);
    match special_tokens.iter().find(is_byte) {
        None => Ok(()),
        Some(token) => Err(Error::SpecialToken {
            token: token.clone(),
            reason: "is how files write one of the 256 bytes; use more than one character".into(),
        }),
    }
}

#[cfg(test)]
mod tests;
