//! Counts -> merges: byte-pair encoding learned exactly, without ever counting twice.
//!
//! The textbook counts all pairs of neighbours, merges the most frequent one everywhere, and
//! begins again ([`crate::reference::train`]). Here the same merges come from touching only what
//! a merge changes:
//!
//! 1. Only the distinct pre-tokens matter, each weighted by its count ([`Counts`]).
//! 2. An inverted index tells where each pair occurs, so a merge visits those places alone and
//!    adjusts the counts of the neighbours (`merge.rs`).
//! 3. A queue holds the pairs by count. A pair can only lose occurrences after the step that made
//!    it, because one half of it is that step's new token; so what the queue holds is an upper
//!    bound, and an entry that proves stale goes back with its true count (`queue.rs`).
//!
//! Which pair wins among equal counts is a documented total order ([`TieBreak`]). Nothing depends
//! on threads, block size, file order or hash seeds: counts are sums, and sums have no order.
//!
//! Learned from bytes, no two merges yield the same bytes. A token's bytes were never shared with
//! a token beyond them, for tokens only grow; so what happened inside is what happens to these
//! bytes alone, and merges happen everywhere at once. Equal tokens came to be in the same way.
//! A merge that would yield a special token's bytes is never made.
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
mod symbol;
mod words;

use std::{borrow::Borrow, path::PathBuf, sync::Arc};

use crate::{
    Error, Result, at_work,
    corpus::Source,
    count::{CountOptions, Counts, CountsFiles, Spilled, count},
    format::byte_alphabet,
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
    if options.vocab_size as usize <= u16::N_IDS {
        learn::<u16>(counts, options, progress)
    } else {
        learn::<u32>(counts, options, progress)
    }
}

/// What a report says of the counts, which are gone by then.
struct Totals {
    bytes: u64,
    text_bytes: u64,
    pre_tokens: u64,
    single_bytes: u64,
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
            single_bytes: counts.total_single_bytes(),
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
    let words = Words::<S>::new(counts.borrow(), at_work(options.threads))?;
    let limits = Limits {
        floor: options.min_frequency.max(1),
        max_token_bytes: options.longest().unwrap_or(usize::MAX),
        forbidden: Vec::new(),
        bytes: room_for_index(options.max_memory, &words, counts.borrow())?,
    };
    drop(counts);
    let mut merger = Merger::new(words);
    learner.replay(&mut merger, progress)?;
    let stopped_early = learner.learn(&mut merger, limits, progress)?;
    let single_bytes = totals.single_bytes;
    let smaller = learner.smaller.iter().map(|&(size, tokens)| (size, tokens + single_bytes));
    Ok(Trained {
        smaller: smaller.collect(),
        vocab: learner.into_vocab()?,
        bytes: totals.bytes,
        text_bytes: totals.text_bytes,
        pre_tokens: totals.pre_tokens,
        distinct_pre_tokens: totals.distinct_pre_tokens,
        spilled: Spilled::default(),
        corpus_tokens: merger.total_tokens() + single_bytes,
        stopped_early,
    })
}

/// The bytes of `max_memory` that are left beside `words`: for the index, and before that for
/// `counts`.
///
/// # Errors
///
/// [`Error::MemoryTooSmall`] if these are too few to merge in reasonable time.
fn room_for_index<S: Symbol>(
    max_memory: Option<u64>,
    words: &Words<S>,
    counts: &Counts,
) -> Result<Option<usize>> {
    let Some(max_memory) = max_memory else { return Ok(None) };
    let words_bytes = words.bytes() as u64;
    let least = words_bytes + counts.bytes().max(Limits::least_bytes(words) as u64);
    if max_memory < least {
        let what = format!("merging {} distinct pre-tokens", counts.len());
        return Err(Error::MemoryTooSmall { max_memory, least, what });
    }
    Ok(usize::try_from(max_memory - words_bytes).ok())
}

/// Refuses sizes without room for what is there already, and options that contradict the base.
fn check_room(options: &TrainOptions) -> Result<()> {
    let smallest = options.smaller_sizes.iter().copied().chain([options.vocab_size]).min();
    let got = smallest.unwrap_or(options.vocab_size);
    if let Some(base) = &options.base {
        check_same(base, options)?;
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
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;
    use crate::{pretokenize::NamedPattern, reference};

    pub(super) fn options(vocab_size: u32, tie_break: TieBreak) -> TrainOptions {
        TrainOptions {
            vocab_size,
            smaller_sizes: vec![],
            base: None,
            special_tokens: vec!["<|endoftext|>".to_owned()],
            specials_first: false,
            pattern: Pattern::Named(NamedPattern::Gpt2),
            tie_break,
            min_frequency: 0,
            max_token_bytes: None,
            weights: vec![],
            threads: 1,
            max_memory: None,
            temp_dir: None,
        }
    }

    fn train_text(text: &str, options: &TrainOptions) -> Result<Trained> {
        let stream = Box::new(Cursor::new(text.as_bytes().to_vec()));
        train(vec![Source::Reader("text".to_owned(), stream)], options, &Progress::default())
    }

    fn merges(trained: &Trained) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        trained.vocab.merge_bytes().map(|(left, right)| (text(left), text(right))).collect()
    }

    fn merge_counts(trained: &Trained) -> &[u64] {
        trained.vocab.merge_counts().unwrap()
    }

    #[test]
    fn the_course_example_merges_as_published() {
        // Sennrich et al., arXiv:1508.07909, in the form that CS336 gives it.
        let text = "low low low low low lower lower widest widest widest newest newest newest newest newest newest";
        let mut options = options(257 + 6, TieBreak::Lex);
        options.pattern = Pattern::Regex(r"\S+".to_owned());
        let words: Vec<(&[u8], u64)> =
            vec![(b"low", 5), (b"lower", 2), (b"widest", 3), (b"newest", 6)];
        let counts = Counts::from_pairs(words);
        let trained = train_counts(&counts, &options, &Progress::default()).unwrap();
        let found: Vec<String> = merges(&trained).iter().map(|(a, b)| format!("{a} {b}")).collect();
        assert_eq!(found, ["s t", "e st", "o w", "l ow", "w est", "n e"], "{text}");
        assert_eq!(merge_counts(&trained), [9, 9, 7, 7, 6, 6]);
    }

    #[test]
    fn ties_follow_the_chosen_order() {
        let first = |tie_break| merges(&train_text("ab cd ~", &options(258, tie_break)).unwrap());
        assert_eq!(first(TieBreak::Lex), [("c".to_owned(), "d".to_owned())]);
        assert_eq!(first(TieBreak::Id), [(" ".to_owned(), "c".to_owned())]);
        // A space sorts behind all letters there.
        assert_eq!(first(TieBreak::Hf), [("a".to_owned(), "b".to_owned())]);
    }

    #[test]
    fn counts_above_32_bits_decide() {
        let big = u64::from(u32::MAX);
        let counts = Counts::from_pairs([(&b"ab"[..], big * 4), (b"cd", big * 4 + 1), (b"ef", 7)]);
        let trained = train_counts(&counts, &options(259, TieBreak::Lex), &Progress::default());
        let trained = trained.unwrap();
        assert_eq!(merges(&trained)[0], ("c".to_owned(), "d".to_owned()));
        assert_eq!(merge_counts(&trained), [big * 4 + 1, big * 4]);
    }

    #[test]
    fn special_tokens_are_neither_counted_nor_learned() {
        let mut options = options(300, TieBreak::Lex);
        options.special_tokens.push("ab".to_owned());
        let counts = Counts::from_pairs([(&b"ab"[..], 9), (b"abc", 3)]);
        let trained = train_counts(&counts, &options, &Progress::default()).unwrap();
        assert_eq!(merges(&trained)[0], ("b".to_owned(), "c".to_owned()));
        assert!(merges(&trained).iter().all(|(a, b)| format!("{a}{b}") != "ab"));
        assert_eq!(trained.vocab.special_id("ab"), Some(trained.vocab.size() - 1));
    }

    #[test]
    fn training_stops_early_and_says_why() {
        let trained = train_text("ab ab", &options(1000, TieBreak::Lex)).unwrap();
        assert_eq!(trained.vocab.len(), 257 + 2);
        assert_eq!(trained.stopped_early.as_deref(), Some("no two neighbours are left to merge"));
        let rare = TrainOptions { min_frequency: 2, ..options(1000, TieBreak::Lex) };
        let trained = train_text("ab ab", &rare).unwrap();
        assert_eq!(trained.vocab.len(), 257 + 1);
        let reason = "no pair of neighbours occurs 2 times any more (min_frequency)";
        assert_eq!(trained.stopped_early.as_deref(), Some(reason));
    }

    #[test]
    fn tokens_are_no_longer_than_allowed() {
        let short = TrainOptions { max_token_bytes: Some(3), ..options(400, TieBreak::Lex) };
        let trained = train_text(&"abcdefgh ".repeat(50), &short).unwrap();
        assert!(trained.vocab.tokens().all(|(_, token)| token.len() <= 3 || token[0] == b'<'));
        assert!(trained.vocab.tokens().any(|(_, token)| token.len() == 3));
    }

    #[test]
    fn special_tokens_may_come_first() {
        let first = TrainOptions { specials_first: true, ..options(258, TieBreak::Lex) };
        let vocab = train_text("aa", &first).unwrap().vocab;
        assert_eq!(
            (vocab.eot_id(), vocab.byte_id(0), vocab.id(b"aa")),
            (Some(0), Some(1), Some(257))
        );
    }

    #[test]
    fn impossible_requests_are_refused() {
        let message = |result: Result<Trained>| result.unwrap_err().to_string();
        assert_eq!(
            message(train_text("ab", &options(256, TieBreak::Lex))),
            "vocab_size is 256, but bytes and special tokens already take 257 ids"
        );
        for token in ["a", "\u{120}"] {
            let specials = vec![token.to_owned()];
            let options = TrainOptions { special_tokens: specials, ..options(300, TieBreak::Lex) };
            let message = message(train_text("ab", &options));
            assert!(message.contains("is how files write one of the 256 bytes"), "{message}");
        }
        assert_eq!(
            message(train_text("<|endoftext|>", &options(300, TieBreak::Lex))),
            "text: no text to train on"
        );
        assert_eq!(
            message(TieBreak::parse("lexx").map(|_| unreachable!())),
            "unknown tie-break `lexx`; known are lex, id, hf\nhint: did you mean `lex`?"
        );
    }

    #[test]
    fn a_million_equal_bytes_become_one_token_in_few_merges() {
        let trained = train_text(&"a".repeat(1_000_000), &options(1000, TieBreak::Lex)).unwrap();
        let longest = trained.vocab.tokens().map(|(_, token)| token.len()).max();
        assert_eq!((longest, trained.corpus_tokens), (Some(1_000_000), 1));
        assert!(merge_counts(&trained).len() < 40);
    }

    /// Corpora on which many pairs tie and tokens repeat.
    pub(super) fn tied_words() -> impl Strategy<Value = Vec<(Vec<u8>, u64)>> {
        let word = prop_oneof!["[ab]{1,12}", "[abc]{1,6}", "(ab|ba|aab){1,6}", " ?[a-e]{1,4}"];
        let count = prop_oneof![1_u64..4, Just(1 << 33)];
        proptest::collection::vec((word.prop_map(String::into_bytes), count), 1..30)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn prop_merges_equal_the_textbook(
            words in tied_words(),
            vocab_size in 257_u32..330,
            mode in 0_usize..3,
            min_frequency in 0_u64..4,
            max_token_bytes in prop_oneof![Just(None), (2_usize..6).prop_map(Some)],
            (threads, spare) in (1_usize..6, prop_oneof![Just(None), (0_u64..4000).prop_map(Some)]),
        ) {
            let counts = Counts::from_pairs(words.iter().map(|(word, n)| (word.as_slice(), *n)));
            // Room for counts and words, and for an index of a few pairs.
            let laid_out = Words::<u16>::new(&counts, threads).unwrap().bytes() as u64;
            let max_memory = spare.map(|spare| counts.bytes() + laid_out + spare);
            let options = TrainOptions {
                min_frequency,
                max_token_bytes,
                threads,
                max_memory,
                special_tokens: vec!["<|endoftext|>".to_owned(), "aba".to_owned()],
                ..options(vocab_size + 1, TieBreak::ALL[mode])
            };
            let fast = train_counts(&counts, &options, &Progress::default()).unwrap();
            let slow = reference::train::train(&words, &options);
            let fast_merges: Vec<_> = fast
                .vocab
                .merge_bytes()
                .map(|(left, right)| (left.to_vec(), right.to_vec()))
                .zip(merge_counts(&fast).to_vec())
                .collect();
            prop_assert_eq!(fast_merges, slow.merges);
            prop_assert_eq!(fast.corpus_tokens, slow.corpus_tokens);
        }

        #[test]
        fn prop_threads_change_nothing(text in "([a-d]{1,5}[ \\n]){0,200}x", threads in 2_usize..5) {
            let one = train_text(&text, &options(300, TieBreak::Lex)).unwrap();
            let many = TrainOptions { threads, ..options(300, TieBreak::Lex) };
            prop_assert_eq!(one.vocab, train_text(&text, &many).unwrap().vocab);
        }
    }
}
