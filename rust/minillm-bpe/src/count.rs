//! Blocks -> the distinct pre-tokens and how often each occurs.
//!
//! All that training needs of a corpus. Each thread takes blocks from the one reader and counts
//! into tables of its own; the tables are added up at the end, so no lock is held while counting
//! and the result does not depend on who counted what. Memory grows with the number of
//! distinct pre-tokens, never with the corpus.

mod file;
mod table;

use std::{
    sync::{Mutex, PoisonError},
    thread,
};

use crate::{
    Result, at_work,
    corpus::{Block, CorpusReader},
    pretokenize::PreTokenizer,
    progress::{Phase, Progress},
    special::SpecialTokens,
};
pub use file::CountsFile;
use table::Tally;

/// Distinct pre-tokens with their counts, in no particular order.
#[derive(Debug, Default)]
pub struct Counts {
    text: Vec<u8>,
    ends: Vec<usize>,
    occurrences: Vec<u64>,
    /// Bytes of the corpus, special tokens included.
    pub corpus_bytes: u64,
}

impl Counts {
    /// Counts the pre-tokens of all that `reader` yields.
    ///
    /// # Errors
    ///
    /// What reading and cutting may return; [`Error::Interrupted`](crate::Error::Interrupted) if
    /// `progress` is cancelled.
    pub fn of_corpus(
        reader: CorpusReader,
        specials: &SpecialTokens,
        pretokenizer: &PreTokenizer,
        threads: usize,
        progress: &Progress,
    ) -> Result<Self> {
        progress.begin(Phase::Count, reader.total_bytes());
        let reader = Mutex::new(reader);
        let count = || -> Result<Tally> {
            let mut tally = Tally::default();
            let mut block = Block::default();
            loop {
                let more = reader
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .next_block_into(&mut block)?;
                if !more {
                    tally.flush();
                    return Ok(tally);
                }
                tally.add_block(&block, specials, pretokenizer)?;
                progress.advance(block.bytes.len() as u64)?;
            }
        };
        let tallies: Vec<Result<Tally>> = thread::scope(|scope| {
            let workers: Vec<_> = (0..at_work(threads)).map(|_| scope.spawn(count)).collect();
            let join = |worker: thread::ScopedJoinHandle<'_, _>| {
                worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            workers.into_iter().map(join).collect()
        });
        let mut total = Tally::default();
        for tally in tallies {
            total.absorb(tally?);
        }
        Ok(total.into_counts())
    }

    /// Takes counts as they are; a pre-token that comes twice counts twice.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a [u8], u64)>) -> Self {
        let mut tally = Tally::default();
        for (text, count) in pairs {
            tally.add(text, count);
        }
        tally.into_counts()
    }

    /// Number of distinct pre-tokens.
    pub fn len(&self) -> usize {
        self.occurrences.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.occurrences.is_empty()
    }

    /// Number of pre-tokens, each as often as it occurs.
    pub fn total(&self) -> u64 {
        self.occurrences.iter().sum()
    }

    /// Number of pre-tokens of a single byte, each as often as it occurs.
    pub fn total_single_bytes(&self) -> u64 {
        self.iter().filter(|(text, _)| text.len() == 1).map(|(_, count)| count).sum()
    }

    /// Bytes of the distinct pre-tokens.
    pub fn distinct_bytes(&self) -> usize {
        self.text.len()
    }

    /// The pre-token of this index and its count.
    pub fn get(&self, index: usize) -> (&[u8], u64) {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        (&self.text[start..self.ends[index]], self.occurrences[index])
    }

    /// All pre-tokens with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], u64)> {
        (0..self.len()).map(|index| self.get(index))
    }

    fn push(&mut self, text: &[u8], count: u64) {
        self.text.extend_from_slice(text);
        self.ends.push(self.text.len());
        self.occurrences.push(count);
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io::Cursor};

    use proptest::prelude::*;

    use super::*;
    use crate::{
        corpus::Source,
        pretokenize::{NamedPattern, Pattern},
    };

    fn sorted(counts: &Counts) -> BTreeMap<Vec<u8>, u64> {
        let map: BTreeMap<_, _> = counts.iter().map(|(t, n)| (t.to_vec(), n)).collect();
        assert_eq!(map.len(), counts.len(), "each pre-token once");
        map
    }

    fn count(text: &[u8], block_bytes: usize, threads: usize) -> Counts {
        let specials = SpecialTokens::new(&["<|endoftext|>".to_owned()]).unwrap();
        let pretokenizer = PreTokenizer::new(&Pattern::Named(NamedPattern::Gpt2)).unwrap();
        let source = Source::Reader("text".to_owned(), Box::new(Cursor::new(text.to_vec())));
        let reader =
            CorpusReader::new(vec![source], block_bytes, specials.clone(), pretokenizer.clone());
        Counts::of_corpus(reader, &specials, &pretokenizer, threads, &Progress::default()).unwrap()
    }

    #[test]
    fn special_tokens_are_not_counted() {
        let counts = count(b"a b<|endoftext|>a", 100, 1);
        assert_eq!(sorted(&counts), BTreeMap::from([(b"a".to_vec(), 2), (b" b".to_vec(), 1)]));
        assert_eq!((counts.total(), counts.corpus_bytes), (3, 17));
    }

    #[test]
    fn counts_above_32_bits_add_up() {
        let big = u64::from(u32::MAX);
        let long = b"a pre-token of more than fifteen bytes".as_slice();
        let counts = Counts::from_pairs([(&b"a"[..], big), (b"a", big), (long, big), (long, 1)]);
        assert_eq!(
            sorted(&counts),
            BTreeMap::from([(b"a".to_vec(), 2 * big), (long.to_vec(), big + 1)])
        );
    }

    #[test]
    fn a_cancelled_count_stops() {
        let specials = SpecialTokens::default();
        let pretokenizer = PreTokenizer::new(&Pattern::None).unwrap();
        let source = Source::Reader("text".to_owned(), Box::new(Cursor::new(b"abc".to_vec())));
        let reader = CorpusReader::new(vec![source], 10, specials.clone(), pretokenizer.clone());
        let progress = Progress::default();
        progress.cancel();
        let result = Counts::of_corpus(reader, &specials, &pretokenizer, 1, &progress);
        assert!(matches!(result, Err(crate::Error::Interrupted)));
    }

    proptest! {
        #[test]
        fn prop_counts_equal_a_plain_map(
            text in "(a{1,20}|b[a-c]{0,3}|[ \\n]|\u{e9}{1,10}|<\\|endoftext\\|>){0,200}",
            block_bytes in 1_usize..300,
            threads in 1_usize..4,
        ) {
            let mut expected = BTreeMap::new();
            let pretokenizer = PreTokenizer::new(&Pattern::Named(NamedPattern::Gpt2)).unwrap();
            for document in text.split("<|endoftext|>") {
                pretokenizer
                    .for_each(document.as_bytes(), |t| *expected.entry(t.to_vec()).or_insert(0) += 1)
                    .unwrap();
            }
            prop_assert_eq!(sorted(&count(text.as_bytes(), block_bytes, threads)), expected);
        }
    }
}
