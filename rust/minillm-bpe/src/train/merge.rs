//! One merge applied to the corpus: the counts and postings of all pairs kept up to date.
//!
//! Postings are written once, in the step that creates the pair, and never edited: an occurrence
//! that another merge has taken since is recognized because the symbols no longer fit. (A stale
//! place cannot fit by chance. The first place of a right half is overwritten by
//! [`Symbol::STALE`] or by the merged token's id, and the last place of a left half could only be
//! taken for the one-byte token that it once was.)
//!
//! A merge goes over its occurrences twice. First it rewrites the symbols and sums up, for each
//! neighbour, how often it stood there (`occurrences.rs`). With the sums known, the old pairs are
//! lowered, the lists of the new ones get their places in the array of postings, and each
//! occurrence goes into the lists of its two neighbours.

use super::index::{Floor, Index, Limits};
use super::occurrences::{Neighbours, Occurrences};
use super::queue::{Candidate, Order, Queue};
use super::symbol::Symbol;
use super::words::{Words, in_parallel, place};
use crate::{Pair, TokenId, freed};

/// The first floor, as a part of the highest count, is this times the number of merges: by Zipf's
/// law the last merge's pair occurs about that much more rarely, were this 1.
const FLOOR_BELOW_LAST: u64 = 4;
/// By how much the floor is lowered each time.
const FLOOR_STEP: u64 = 64;

/// Postings for which it is worth to start one more thread; in tests, a few. To start one and wait
/// for it takes as long as some ten thousand postings, and on a busy machine many times as long.
const POSTINGS_PER_THREAD: usize = if cfg!(any(test, fuzzing)) { 2 } else { 1 << 16 };

/// The corpus, its pairs, and the queue of pairs.
pub(super) struct Merger<S> {
    words: Words<S>,
    index: Index,
    limits: Limits,
    queue: Queue,
    n_joined: u64,
    /// What one merge finds, by thread; kept to be used again.
    found: Vec<Occurrences<S>>,
}

impl<S: Symbol> Merger<S> {
    /// Nothing is indexed yet.
    pub(super) fn new(words: Words<S>) -> Self {
        let found = (0..words.parts.len().max(1)).map(|_| Occurrences::new()).collect();
        let (index, limits, queue) = (Index::default(), Limits::none(), Queue::default());
        Self { words, index, limits, queue, n_joined: 0, found }
    }

    /// Enters every pair, so that any may be merged next.
    pub(super) fn index_all(&mut self, order: &Order) {
        self.limits = Limits::none();
        self.index_from(Floor::At(1), order);
    }

    /// Prepares to merge the most frequent pairs within `limits`, about `n_merges` times.
    pub(super) fn index_frequent(&mut self, n_merges: u64, limits: Limits, order: &Order) {
        let below = FLOOR_BELOW_LAST * n_merges.max(1);
        self.limits = limits;
        self.index_from(Floor::BelowHighest(below), order);
    }

    /// How often `pair` occurs; known of every pair after [`index_all`](Self::index_all).
    pub(super) fn count_of(&mut self, pair: Pair) -> u64 {
        self.index.pairs.get_mut(pair).map_or(0, |entry| entry.count)
    }

    /// How often a merge has joined two neighbours: by so many tokens the corpus is shorter now
    /// than its bytes.
    pub(super) fn n_joined(&self) -> u64 {
        self.n_joined
    }

    /// Calls `visit` with the tokens of each pre-token of two bytes and more, the most frequent ones
    /// first, until it returns false.
    pub(super) fn for_each_pre_token(&self, visit: impl FnMut(&[TokenId]) -> bool) {
        self.words.for_each_pre_token(visit);
    }

    /// The pair that comes first among the most frequent ones; [`None`] if no pair is left that
    /// occurs often enough and may be merged.
    pub(super) fn most_frequent(&mut self, order: &Order) -> Option<(Pair, u64)> {
        loop {
            while let Some(candidate) = self.queue.pop(order) {
                let count = self.index.pairs.get_mut(candidate.pair).map_or(0, |entry| entry.count);
                if count == candidate.count {
                    return Some((candidate.pair, count));
                }
                if count >= self.index.floor {
                    self.queue.push(Candidate { count, ..candidate }, order);
                }
            }
            if self.index.floor <= self.limits.floor {
                return None;
            }
            let floor = self.index.floor / FLOOR_STEP;
            self.index_from(Floor::At(floor), order);
        }
    }

    /// Never to be returned by [`most_frequent`](Self::most_frequent) again, though it occurs.
    pub(super) fn forget(&mut self, pair: Pair) {
        self.limits.forbidden.push(pair);
        if let Some(entry) = self.index.pairs.get_mut(pair) {
            entry.count = 0;
        }
    }

    /// Replaces `pair` by `result` wherever it occurs, and keeps counts and postings up to date.
    pub(super) fn merge(&mut self, pair: Pair, result: TokenId, order: &Order) {
        let is_new = result as usize == self.words.facts.n_tokens();
        if is_new {
            self.words.facts.add_token(pair);
            self.found.iter_mut().for_each(|found| found.reserve(result as usize + 1));
        }
        self.rewrite(pair, result);
        self.n_joined += self.found[0].before.total();
        self.adjust_old_pairs(pair, result, is_new);
        if !is_new {
            // Its other occurrences have the same pairs.
            self.found.iter_mut().for_each(Occurrences::clear);
            self.found[0].find_all(&self.words, result);
        }
        self.add_new_pairs(result, order);
        self.found.iter_mut().for_each(Occurrences::clear);
        let is_over = |bytes| self.index.bytes() + self.queue.bytes() > bytes;
        // New tokens never get it that far, but those that are found again are listed again.
        let is_long = self.index.postings.len() > 3 * self.words.symbols.len();
        if is_long || self.limits.bytes.is_some_and(is_over) {
            let floor = self.index.floor;
            self.index_from(Floor::At(floor), order);
        }
    }

    /// Makes the index anew, down to `floor`.
    fn index_from(&mut self, floor: Floor, order: &Order) {
        self.index = Index::default();
        self.queue = Queue::default();
        if self.limits.bytes.is_some() {
            freed::give_back();
        }
        self.index = Index::new(&self.words, &self.limits, floor);
        for entry in self.index.pairs.iter_mut() {
            self.queue.push(Candidate { count: entry.count, pair: entry.pair() }, order);
        }
    }

    /// Writes `result` over each occurrence of `pair`, left to right, and finds its neighbours.
    ///
    /// Of a long list, each thread takes a part. The corpus is cut behind a boundary, so that no
    /// occurrence has a neighbour that another thread rewrites.
    fn rewrite(&mut self, pair: Pair, result: TokenId) {
        let Some(entry) = self.index.pairs.get_mut(pair) else { return };
        entry.count = 0;
        let facts = &self.words.facts;
        let mut list = &self.index.postings[entry.list()];
        let (mut symbols, mut start) = (self.words.symbols.as_mut_slice(), 0);
        let n_threads = self.found.len().min(list.len() / POSTINGS_PER_THREAD).max(1);
        if n_threads == 1 {
            self.found[0].rewrite((symbols, 0), list, (pair, result), facts);
            return;
        }
        let mut jobs = Vec::new();
        for (found, n_left) in self.found.iter_mut().zip((1..=n_threads).rev()) {
            if list.is_empty() {
                break;
            }
            let (mut n_places, mut n_postings) = (symbols.len(), list.len());
            if n_left > 1 {
                let middle = (list[list.len() / n_left] - start) as usize;
                let to_boundary = symbols[middle..].iter().position(|s| *s == S::BOUNDARY);
                n_places = middle + to_boundary.map_or(0, |n| n + 1);
                n_postings = list.partition_point(|&at| ((at - start) as usize) < n_places);
            }
            let part = symbols.split_off_mut(..n_places).unwrap_or_default();
            let postings = list.split_off(..n_postings).unwrap_or_default();
            jobs.push((found, (part, start), postings));
            start += place(n_places);
        }
        in_parallel(jobs, |(found, symbols, postings)| {
            found.rewrite(symbols, postings, (pair, result), facts);
        });
        Occurrences::add_up(&mut self.found);
    }

    /// Takes the merged occurrences from the pairs that they were halves of.
    ///
    /// Where two occurrences touch, as in `abab`, the one to the right sees the merged token
    /// before it: its left neighbour is `result`, and the pair that vanishes is `result a`, which
    /// the occurrence to the left has just made with `a` as its right neighbour. Where `result`
    /// is not new, it may as well be an old one; all its pairs are counted again, so `result a` is
    /// struck until then.
    fn adjust_old_pairs(&mut self, pair: Pair, result: TokenId, is_new: bool) {
        let pairs = &mut self.index.pairs;
        let Occurrences { before, after, .. } = &mut self.found[0];
        let mut lower = |pair: Pair, by: u64| {
            if let Some(entry) = pairs.get_mut(pair) {
                entry.count = entry.count.saturating_sub(by);
            }
        };
        after.for_each(|after, sum| lower((pair.1, after), sum.count));
        before.for_each(|before, sum| {
            if before != result {
                lower((before, pair.0), sum.count);
            } else if is_new {
                after.sum_mut(pair.0).count -= sum.count;
            } else {
                lower((result, pair.0), u64::MAX);
            }
        });
    }

    /// Enters the pairs of `result` with its neighbours, and writes their postings.
    fn add_new_pairs(&mut self, result: TokenId, order: &Order) {
        let Index { pairs, postings, floor } = &mut self.index;
        let facts = &self.words.facts;
        let longest = self.limits.max_token_bytes.saturating_sub(facts.len_of(result) as usize);
        let mut end = postings.len();
        let mut enter = |neighbours: &mut Neighbours<S>, pair_with: &dyn Fn(TokenId) -> Pair| {
            neighbours.for_each(|id, sum| {
                if sum.count >= *floor && facts.len_of(id) as usize <= longest {
                    let pair = pair_with(id);
                    let entry = pairs.entry(pair, *floor);
                    (entry.count, entry.start) = (sum.count, place(end));
                    entry.len = sum.n_postings;
                    sum.keep(entry.start);
                    end += sum.n_postings as usize;
                    self.queue.push(Candidate { count: sum.count, pair }, order);
                }
            });
        };
        enter(&mut self.found[0].before, &|before| (before, result));
        enter(&mut self.found[0].after, &|after| (result, after));
        postings.resize(end, 0);
        Occurrences::write(&mut self.found, facts, postings);
    }
}
