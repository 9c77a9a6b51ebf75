//! Where a token stands in the corpus, and beside what: found while the merge that makes it is
//! carried out.
//!
//! What stands before and behind is summed up for each neighbour, in arrays with one place for
//! each token: no hashing for an occurrence.

use super::symbol::Symbol;
use super::words::{Facts, Words};
use crate::{Pair, TokenId, prefetch::prefetch};

/// How many postings ahead the symbols are fetched.
const AHEAD: usize = 16;

/// Occurrences of one token, in ascending order.
pub(super) struct Occurrences<S> {
    pub before: Neighbours<S>,
    pub after: Neighbours<S>,
    list: Vec<Occurrence<S>>,
}

/// The place of a token and its neighbours; they may be boundaries.
struct Occurrence<S> {
    at: u32,
    before: S,
    after: S,
}

impl<S: Symbol> Occurrences<S> {
    pub(super) fn new() -> Self {
        Self { before: Neighbours::new(), after: Neighbours::new(), list: Vec::new() }
    }

    /// Writes `result` over each occurrence of `pair` that `postings` tells of, left to right.
    ///
    /// `symbols` are the places from `start` on; before them is a boundary.
    pub(super) fn rewrite(
        &mut self,
        (symbols, start): (&mut [S], u32),
        postings: &[u32],
        (pair, result): (Pair, TokenId),
        facts: &Facts,
    ) {
        let (left, right) = (S::of(pair.0), S::of(pair.1));
        let (left_len, right_len) = (facts.len_of(pair.0) as usize, facts.len_of(pair.1) as usize);
        for (i, &at) in postings.iter().enumerate() {
            if let Some(later) =
                postings.get(i + AHEAD).and_then(|&later| symbols.get((later - start) as usize))
            {
                prefetch(later);
            }
            let first = (at - start) as usize;
            let (middle, end) = (first + left_len, first + left_len + right_len);
            if symbols[first] != left || symbols[middle] != right {
                continue;
            }
            let before = symbols.get(first.wrapping_sub(1)).copied().unwrap_or(S::BOUNDARY);
            let after = symbols[end];
            symbols[first] = S::of(result);
            symbols[middle] = S::STALE;
            symbols[end - 1] = S::of(result);
            self.add(Occurrence { at, before, after }, facts.count_at(at));
        }
    }

    /// Finds every occurrence of a token that is there.
    pub(super) fn find_all(&mut self, words: &Words<S>, id: TokenId) {
        let token = S::of(id);
        words.for_each_token(|found, at, count| {
            if found == id {
                let end = (at + words.facts.len_of(id)) as usize;
                let before = words.symbols[at as usize - 1];
                // Of two that touch, the right one knows of the left.
                let after = Some(words.symbols[end]).filter(|after| *after != token);
                self.add(Occurrence { at, before, after: after.unwrap_or(S::BOUNDARY) }, count);
            }
        });
    }

    #[inline]
    fn add(&mut self, occurrence: Occurrence<S>, count: u64) {
        self.before.add(occurrence.before, count, 1);
        self.after.add(occurrence.after, count, 1);
        self.list.push(occurrence);
    }

    /// Adds up the sums of several threads in the first.
    pub(super) fn add_up(found: &mut [Self]) {
        if let [first, others @ ..] = found {
            for other in others {
                first.before.absorb(&other.before);
                first.after.absorb(&other.after);
            }
        }
    }

    /// Writes each occurrence into the lists that the first one's sums tell of: its own place into
    /// that of the pair with the neighbour behind, the place of the neighbour before into the
    /// other.
    pub(super) fn write(found: &mut [Self], facts: &Facts, postings: &mut [u32]) {
        let [Self { before, after, list }, others @ ..] = found else { return };
        for occurrence in list.iter().chain(others.iter().flat_map(|other| &other.list)) {
            if let Some(posting) = before.next_posting(occurrence.before) {
                postings[posting] = occurrence.at - facts.len_of(occurrence.before.id());
            }
            if let Some(posting) = after.next_posting(occurrence.after) {
                postings[posting] = occurrence.at;
            }
        }
    }

    /// Makes room for the ids below `n_tokens`.
    pub(super) fn reserve(&mut self, n_tokens: usize) {
        self.before.sums.resize(n_tokens + 1, Sum::default());
        self.after.sums.resize(n_tokens + 1, Sum::default());
    }

    pub(super) fn clear(&mut self) {
        self.before.clear();
        self.after.clear();
        self.list.clear();
    }
}

/// Sums over the occurrences, by the neighbour on one side.
pub(super) struct Neighbours<S> {
    /// By [`Symbol::slot`].
    sums: Vec<Sum>,
    /// Those whose sums are not zero.
    touched: Vec<S>,
}

/// What the occurrences beside one neighbour add up to.
#[derive(Clone, Copy, Default)]
pub(super) struct Sum {
    /// How many, weighted by the counts of their pre-tokens.
    pub count: u64,
    /// How many.
    pub n_postings: u32,
    /// One more than where the next posting goes; 0 if the pair has no list.
    cursor: u32,
}

impl Sum {
    /// The pair's postings are kept, from `start` on.
    pub(super) fn keep(&mut self, start: u32) {
        self.cursor = start + 1;
    }
}

impl<S: Symbol> Neighbours<S> {
    fn new() -> Self {
        Self { sums: vec![Sum::default(); 256 + 1], touched: Vec::new() }
    }

    #[inline]
    fn add(&mut self, neighbour: S, count: u64, n_postings: u32) {
        let sum = &mut self.sums[neighbour.slot()];
        if sum.n_postings == 0 {
            self.touched.push(neighbour);
        }
        sum.count += count;
        sum.n_postings += n_postings;
    }

    fn absorb(&mut self, other: &Self) {
        for &neighbour in &other.touched {
            let sum = other.sums[neighbour.slot()];
            self.add(neighbour, sum.count, sum.n_postings);
        }
    }

    /// Calls `visit` with each token that is a neighbour, and its sum.
    pub(super) fn for_each(&mut self, mut visit: impl FnMut(TokenId, &mut Sum)) {
        for neighbour in self.touched.iter().filter(|neighbour| **neighbour != S::BOUNDARY) {
            visit(neighbour.id(), &mut self.sums[neighbour.slot()]);
        }
    }

    /// The sum of all counts, those beside a boundary included.
    pub(super) fn total(&self) -> u64 {
        self.touched.iter().map(|neighbour| self.sums[neighbour.slot()].count).sum()
    }

    /// The sum of the token `id`.
    pub(super) fn sum_mut(&mut self, id: TokenId) -> &mut Sum {
        &mut self.sums[S::of(id).slot()]
    }

    #[inline]
    fn next_posting(&mut self, neighbour: S) -> Option<usize> {
        let sum = &mut self.sums[neighbour.slot()];
        let posting = sum.cursor.checked_sub(1)?;
        sum.cursor += 1;
        Some(posting as usize)
    }

    fn clear(&mut self) {
        for neighbour in self.touched.drain(..) {
            self.sums[neighbour.slot()] = Sum::default();
        }
    }
}
