//! Blocks -> the distinct pre-tokens and how often each occurs.
//!
//! All that training needs of a corpus. Each thread takes blocks from the one reader and counts
//! into tables of its own; the tables are added up at the end, so no lock is held while counting
//! and the result does not depend on who counted what. Memory grows with the number of
//! distinct pre-tokens, never with the corpus.
//!
//! If memory is bounded, a thread whose tables are full writes them to disk as a sorted run
//! (`runs.rs`) and begins anew. At the end all runs are folded into one, entry by entry: a count
//! is the sum of what each run has for that pre-token, so the result is the same.

mod bound;
mod entries;
mod file;
mod files;
mod runs;
mod store;
mod table;

use std::{
    env,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};

use crate::{
    Error, Result, at_work,
    corpus::{Block, CorpusReader, Source},
    freed,
    pretokenize::{Pattern, PreTokenizer},
    progress::{Phase, Progress},
    special::SpecialTokens,
};
use bound::Plan;
pub use file::CountsFile;
pub use files::CountsFiles;
use runs::{Run, RunFile, fold_runs};
pub use store::Counts;
use table::{Tally, combine, total_bytes};

/// What is counted, and with which means.
#[derive(Clone, Debug)]
pub struct CountOptions {
    /// They separate documents and are not counted.
    pub special_tokens: Vec<String>,
    /// How text is cut into pre-tokens.
    pub pattern: Pattern,
    /// How often each source counts; empty: once.
    pub weights: Vec<u64>,
    /// Threads that count.
    pub threads: usize,
    /// Bytes that counting may hold; the rest goes to disk.
    pub max_memory: Option<u64>,
    /// Where on disk; [`None`] is the system's folder for temporary files.
    pub temp_dir: Option<PathBuf>,
}

/// What did not find room in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spilled {
    /// How many tables were written to disk.
    pub runs: usize,
    /// Their bytes there.
    pub bytes: u64,
}

/// A counted corpus: in memory or, if that is bounded, on disk.
#[derive(Debug)]
pub struct Counted {
    place: Place,
    /// Bytes of the corpus, special tokens included, each source as often as its weight says.
    pub corpus_bytes: u64,
    /// What was on disk meanwhile.
    pub spilled: Spilled,
}

#[derive(Debug)]
enum Place {
    Memory(Counts),
    Disk(Run),
}

/// Counts the pre-tokens of all `sources`.
///
/// # Errors
///
/// [`Error::Weights`], [`Error::SpecialToken`], [`Error::Pattern`] and [`Error::MemoryTooSmall`]
/// for options that cannot work; [`Error::Io`] for a source that cannot be read, or a folder that
/// runs cannot be written to; [`Error::TooManyBytes`] if weights make the corpus that large;
/// [`Error::Interrupted`] if `progress` is cancelled.
pub fn count(sources: Vec<Source>, options: &CountOptions, progress: &Progress) -> Result<Counted> {
    check_weights(&options.weights, sources.len())?;
    let specials = SpecialTokens::new(&options.special_tokens)?;
    let pretokenizer = PreTokenizer::new(&options.pattern)?;
    let threads = at_work(options.threads);
    let plan = options.max_memory.map(|bytes| Plan::within(bytes, threads)).transpose()?;
    let plan = plan.unwrap_or_else(Plan::unbounded);
    let folder = options.temp_dir.clone().unwrap_or_else(env::temp_dir);
    let reader = CorpusReader::new(sources, plan.block, specials.clone(), pretokenizer.clone())
        .limited(plan.longest_block);
    let weights = &options.weights;
    Counting { specials: &specials, pretokenizer: &pretokenizer, weights, threads, progress }
        .run(reader, &plan, &folder)
}

/// Whether there are as many weights as files, or none, and each is at least 1.
///
/// # Errors
///
/// [`Error::Weights`].
pub(crate) fn check_weights(weights: &[u64], n_files: usize) -> Result<()> {
    let bad = |reason| Err(Error::Weights { reason });
    if !weights.is_empty() && weights.len() != n_files {
        return bad(format!("{} for {n_files} files, expected one each", weights.len()));
    }
    match weights.iter().position(|&weight| weight == 0) {
        Some(index) => bad(format!("number {} is 0, expected 1 or more", index + 1)),
        None => Ok(()),
    }
}

/// What all threads need to count.
struct Counting<'a> {
    specials: &'a SpecialTokens,
    pretokenizer: &'a PreTokenizer,
    weights: &'a [u64],
    threads: usize,
    progress: &'a Progress,
}

impl Counting<'_> {
    fn run(&self, reader: CorpusReader, plan: &Plan, folder: &Path) -> Result<Counted> {
        self.progress.begin(Phase::Count, reader.total_bytes());
        let tally = |_| match plan.tally {
            None => Ok(Tally::default()),
            Some(bytes) => Ok(Tally::bounded(bytes, RunFile::create(folder)?)),
        };
        // Made before there is work, so that a folder that takes no file is told at once.
        let tallies = (0..self.threads).map(tally).collect::<Result<Vec<_>>>()?;
        let tallies = self.count_all(reader, tallies)?;
        let corpus_bytes = total_bytes(&tallies)?;
        if plan.tally.is_none() {
            let mut counts = combine(tallies);
            counts.corpus_bytes = corpus_bytes;
            let (place, spilled) = (Place::Memory(counts), Spilled::default());
            return Ok(Counted { place, corpus_bytes, spilled });
        }
        let mut runs = Vec::new();
        for tally in tallies {
            runs.extend(tally.into_runs()?.map_or_else(Vec::new, RunFile::into_runs));
        }
        let spilled = Spilled { runs: runs.len(), bytes: runs.iter().map(Run::n_bytes).sum() };
        freed::give_back();
        let run = fold_runs(runs, plan.fold, folder, self.progress)?;
        Ok(Counted { place: Place::Disk(run), corpus_bytes, spilled })
    }

    /// Counts on a thread for each tally. The first error ends them all.
    fn count_all(&self, reader: CorpusReader, tallies: Vec<Tally>) -> Result<Vec<Tally>> {
        let reader = Mutex::new(reader);
        let stop = AtomicBool::new(false);
        let count = |tally| {
            let result = self.count_blocks(&reader, &stop, tally);
            stop.fetch_or(result.is_err(), Relaxed);
            result
        };
        thread::scope(|scope| {
            let workers: Vec<_> =
                tallies.into_iter().map(|tally| scope.spawn(move || count(tally))).collect();
            let join = |worker: thread::ScopedJoinHandle<'_, _>| {
                worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            workers.into_iter().map(join).collect()
        })
    }

    fn count_blocks(
        &self,
        reader: &Mutex<CorpusReader>,
        stop: &AtomicBool,
        mut tally: Tally,
    ) -> Result<Tally> {
        let mut block = Block::default();
        while !stop.load(Relaxed) {
            let more = reader
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .next_block_into(&mut block)?;
            if !more {
                break;
            }
            let weight = self.weights.get(block.source).copied().unwrap_or(1);
            tally.add_block(&block, weight, self.specials, self.pretokenizer)?;
            self.progress.advance(block.bytes.len() as u64)?;
        }
        tally.flush();
        Ok(tally)
    }
}

impl Counted {
    /// Number of distinct pre-tokens.
    pub fn len(&self) -> u64 {
        match &self.place {
            Place::Memory(counts) => counts.len() as u64,
            Place::Disk(run) => run.n_entries(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the distinct pre-tokens.
    pub fn text_bytes(&self) -> u64 {
        match &self.place {
            Place::Memory(counts) => counts.distinct_bytes() as u64,
            Place::Disk(run) => run.text_bytes(),
        }
    }

    /// The counts, read into memory if they are not there.
    ///
    /// # Errors
    ///
    /// [`Error::MemoryTooSmall`] if they do not find room in `max_memory` bytes; [`Error::Io`];
    /// [`Error::Interrupted`].
    pub fn into_counts(self, max_memory: Option<u64>, progress: &Progress) -> Result<Counts> {
        match self.place {
            Place::Memory(counts) => Ok(counts),
            Place::Disk(run) => {
                check_memory(max_memory, run.n_entries(), run.text_bytes())?;
                run.into_counts(self.corpus_bytes, progress)
            }
        }
    }

    /// Writes a counts file ([`CountsFile`]) without reading them into memory.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], [`Error::Interrupted`] if `progress` is cancelled; and nothing is changed then.
    pub fn save(self, path: &Path, options: &CountOptions, progress: &Progress) -> Result<()> {
        let (pattern, special_tokens) = (options.pattern.clone(), options.special_tokens.clone());
        match self.place {
            Place::Memory(counts) => {
                CountsFile { counts, pattern, special_tokens }.save_watched(path, progress)
            }
            Place::Disk(run) => file::save_run(path, &run, self.corpus_bytes, options, progress),
        }
    }
}

/// Whether so many pre-tokens, and bytes of their text, find room in `max_memory` as counts.
///
/// # Errors
///
/// [`Error::MemoryTooSmall`].
fn check_memory(max_memory: Option<u64>, len: u64, text_bytes: u64) -> Result<()> {
    let least = Counts::memory(len, text_bytes);
    match max_memory {
        Some(max_memory) if max_memory < least => {
            let what = format!("holding {len} distinct pre-tokens");
            Err(Error::MemoryTooSmall { max_memory, least, what })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io::Cursor};

    use proptest::prelude::*;

    use super::*;
    use crate::{END_OF_TEXT, pretokenize::NamedPattern};

    fn options(threads: usize) -> CountOptions {
        CountOptions {
            special_tokens: vec![END_OF_TEXT.to_owned()],
            pattern: Pattern::Named(NamedPattern::Gpt2),
            weights: vec![],
            threads,
            max_memory: None,
            temp_dir: None,
        }
    }

    fn source(text: &[u8]) -> Source {
        Source::Reader("text".to_owned(), Box::new(Cursor::new(text.to_vec())))
    }

    fn count_text(text: &[u8], options: &CountOptions) -> Result<Counted> {
        count(vec![source(text)], options, &Progress::default())
    }

    fn sorted(counts: &Counts) -> BTreeMap<Vec<u8>, u64> {
        let map: BTreeMap<_, _> = counts.iter().map(|(t, n)| (t.to_vec(), n)).collect();
        assert_eq!(map.len(), counts.len(), "each pre-token once");
        map
    }

    #[test]
    fn special_tokens_are_not_counted() {
        let counted = count_text(b"a b<|endoftext|>a", &options(1)).unwrap();
        let counts = counted.into_counts(None, &Progress::default()).unwrap();
        assert_eq!(sorted(&counts), BTreeMap::from([(b"a".to_vec(), 2), (b" b".to_vec(), 1)]));
        assert_eq!((counts.total(), counts.corpus_bytes), (3, 17));
    }

    #[test]
    fn counts_above_32_bits_add_up() {
        let big = u64::from(u32::MAX);
        let long = b"a pre-token of more than fifteen bytes".as_slice();
        let counts =
            Counts::from_pairs([(&b"a"[..], big), (b"a", big), (long, big), (long, 1)]).unwrap();
        assert_eq!(
            sorted(&counts),
            BTreeMap::from([(b"a".to_vec(), 2 * big), (long.to_vec(), big + 1)])
        );
    }

    #[test]
    fn a_cancelled_count_stops() {
        let progress = Progress::default();
        progress.cancel();
        let result = count(vec![source(b"abc")], &options(1), &progress);
        assert!(matches!(result, Err(Error::Interrupted)));
    }

    #[test]
    fn an_error_stops_the_other_threads() {
        // Documents without end, of which one makes the regular expression give up.
        let mut documents =
            std::iter::once("a".repeat(40) + "!").chain(std::iter::repeat("b".to_owned()));
        let endless = std::iter::from_fn(move || documents.next().map(|d| Ok(d.into_bytes())));
        let source = Source::Documents("endless".to_owned(), Box::new(endless));
        let pattern = Pattern::Regex(r"(?:(?=(a+))a+)+$|\1x".to_owned());
        let options = CountOptions { pattern, ..options(3) };
        let result = count(vec![source], &options, &Progress::default());
        assert!(matches!(result, Err(Error::Pattern { .. })), "{result:?}");
    }

    /// Counts with tables so small that they are full every few words.
    fn count_tiny(
        texts: &[(&[u8], u64)],
        block_bytes: usize,
        threads: usize,
        fold_bytes: usize,
    ) -> Counted {
        let specials = SpecialTokens::new(&[END_OF_TEXT.to_owned()]).unwrap();
        let pretokenizer = PreTokenizer::new(&Pattern::Named(NamedPattern::Gpt2)).unwrap();
        let sources = texts.iter().map(|(text, _)| source(text)).collect();
        let weights: Vec<u64> = texts.iter().map(|(_, weight)| *weight).collect();
        let reader =
            CorpusReader::new(sources, block_bytes, specials.clone(), pretokenizer.clone());
        let progress = Progress::default();
        let plan = Plan { tally: Some(0), fold: fold_bytes, ..Plan::unbounded() };
        Counting {
            specials: &specials,
            pretokenizer: &pretokenizer,
            weights: &weights,
            threads,
            progress: &progress,
        }
        .run(reader, &plan, &env::temp_dir())
        .unwrap()
    }

    fn saved(counted: Counted) -> Vec<u8> {
        let file = tempfile::NamedTempFile::new().unwrap();
        counted.save(file.path(), &options(1), &Progress::default()).unwrap();
        std::fs::read(file.path()).unwrap()
    }

    #[test]
    fn tables_that_are_full_go_to_disk() {
        let words: Vec<String> =
            (0..5000).map(|i| format!("word{i} {}", "long ".repeat(i % 7))).collect();
        let text = words.join(" ") + &" ".repeat(100_000) + &"x".repeat(100_000);
        let expected = count_text(text.as_bytes(), &options(1)).unwrap();
        let expected = sorted(&expected.into_counts(None, &Progress::default()).unwrap());
        for fold_bytes in [0, 1 << 20] {
            let counted = count_tiny(&[(text.as_bytes(), 1)], 1000, 2, fold_bytes);
            assert!(counted.spilled.runs > 50, "{:?}", counted.spilled);
            assert_eq!(sorted(&counted.into_counts(None, &Progress::default()).unwrap()), expected);
        }
    }

    #[test]
    fn a_bound_that_is_too_small_says_the_least_that_works() {
        let words: Vec<String> = (0..200_000).map(|i| format!("w{i}")).collect();
        let text = words.join(" ") + " ";
        let bounded = |bytes| CountOptions { max_memory: Some(bytes), ..options(2) };
        let message = |bytes| {
            let counted = count_text(text.as_bytes(), &bounded(bytes));
            counted
                .and_then(|c| c.into_counts(Some(bytes), &Progress::default()))
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            message(100_000),
            "max_memory is 100000 bytes, but counting on 2 threads takes at least 786432"
        );
        assert_eq!(
            message(786_432),
            "max_memory is 786432 bytes, but holding 200003 distinct pre-tokens takes at least 3488930"
        );
        let counted = count_text(text.as_bytes(), &bounded(3_488_930)).unwrap();
        assert_eq!(
            counted.into_counts(Some(3_488_930), &Progress::default()).unwrap().len(),
            200_003
        );
    }

    #[test]
    fn a_document_that_cannot_be_cut_is_refused_under_a_bound() {
        let options = CountOptions { max_memory: Some(1 << 20), ..options(1) };
        let message = count_text(&b"x".repeat(200_000), &options).unwrap_err().to_string();
        assert!(
            message.starts_with("text: more than 131072 bytes of text offer no place"),
            "{message}"
        );
        assert!(count_text(&b"x".repeat(131_071), &options).is_ok());
    }

    #[test]
    fn a_folder_for_runs_that_takes_no_file_is_named() {
        let temp_dir = Some(PathBuf::from("no/such/folder"));
        let options = CountOptions { max_memory: Some(1 << 20), temp_dir, ..options(1) };
        let message = count_text(b"a", &options).unwrap_err().to_string();
        assert!(message.starts_with("no/such/folder: "), "{message}");
    }

    #[test]
    fn weights_that_do_not_fit_are_refused() {
        let message = |weights: &[u64]| {
            let options = CountOptions { weights: weights.to_vec(), ..options(1) };
            let sources = vec![source(b"abc"), source(b"abc")];
            count(sources, &options, &Progress::default()).unwrap_err().to_string()
        };
        assert_eq!(message(&[1]), "weights: 1 for 2 files, expected one each");
        assert_eq!(message(&[1, 0]), "weights: number 2 is 0, expected 1 or more");
        let too_many = "with its weights, the corpus has more bytes than 64 bits can tell";
        assert_eq!(message(&[u64::MAX / 3, 1]), too_many);
        assert_eq!(message(&[1, u64::MAX]), too_many);
    }

    proptest! {
        // Each case writes and syncs files.
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn prop_counts_equal_a_plain_map(
            texts in proptest::collection::vec(
                (
                    "(a{1,20}|b[a-c]{0,3}|[ \\n]|\u{e9}{1,10}|[a-z]{1,9} |<\\|endoftext\\|>){0,200}",
                    prop_oneof![Just(1_u64), 1_u64..1 << 40],
                ),
                0..4,
            ),
            block_bytes in 1_usize..300,
            threads in prop_oneof![Just(1_usize), Just(2), Just(5)],
            fold_bytes in 0_usize..100_000,
        ) {
            let mut expected = BTreeMap::new();
            let pretokenizer = PreTokenizer::new(&Pattern::Named(NamedPattern::Gpt2)).unwrap();
            for (text, weight) in &texts {
                for document in text.split(END_OF_TEXT) {
                    let count = |t: &[u8]| *expected.entry(t.to_vec()).or_insert(0) += weight;
                    pretokenizer.for_each(document.as_bytes(), count).unwrap();
                }
            }
            let texts: Vec<(&[u8], u64)> = texts.iter().map(|(t, w)| (t.as_bytes(), *w)).collect();
            let weights = texts.iter().map(|(_, weight)| *weight).collect();
            let sources = || texts.iter().map(|(text, _)| source(text)).collect();
            let options = CountOptions { weights, ..options(threads) };
            let unbounded = || count(sources(), &options, &Progress::default()).unwrap();
            prop_assert_eq!(&sorted(&unbounded().into_counts(None, &Progress::default()).unwrap()), &expected);
            let file = saved(unbounded());
            let reversed: Vec<_> = texts.iter().rev().copied().collect();
            let bounded = count_tiny(&reversed, block_bytes, threads, fold_bytes);
            prop_assert_eq!(bounded.corpus_bytes, unbounded().corpus_bytes);
            prop_assert_eq!(saved(bounded), file);
            let bounded = count_tiny(&texts, block_bytes, threads, fold_bytes);
            prop_assert_eq!(sorted(&bounded.into_counts(None, &Progress::default()).unwrap()), expected);
        }
    }
}
