//! The corpus under training: its distinct pre-tokens as symbols in one array.
//!
//! A pre-token has one place for each of its bytes and one for the [`Symbol::BOUNDARY`] behind it.
//! A token of n bytes takes n places: its first *and* its last hold its id. So from a token's
//! first place the next token is found by adding its length, the one before by looking one place
//! back, and nothing ever moves.
//!
//! Pre-tokens are laid out by falling count, so their counts are a step function of the place: a
//! few thousand [`Run`]s instead of a number for each, and those that are merged most lie together.

use std::{ops::Range, thread};

use foldhash::HashSet;

use super::symbol::Symbol;
use crate::{Error, Pair, Result, TokenId, count::Counts, huge_pages};

/// Pre-tokens of the same count.
#[derive(Debug)]
struct Run {
    /// One behind their last place.
    end: u32,
    count: u64,
}

/// Places have 32 bits, and postings are numbered with 32 bits too. An index has one for each place
/// at most, is made anew when it has more than three, and one merge adds no more than two.
const MAX_PLACES: usize = u32::MAX as usize / 5;

/// Counts below this have a bucket each, whether they occur or not: most pre-tokens have one of
/// them, and its bucket is found without a search.
const FEW: usize = 1 << 12;

/// Pre-tokens for which it is worth to start one more thread; in tests, a few.
const WORDS_PER_THREAD: usize = if cfg!(any(test, fuzzing)) { 2 } else { 1 << 15 };

/// What one place holds, and how often and how long that is.
pub(super) struct Words<S> {
    pub symbols: Vec<S>,
    pub facts: Facts,
    /// Where the parts end into which threads may divide it; each at a boundary.
    pub parts: Vec<Range<usize>>,
}

/// What is known of places and tokens, apart from the symbols themselves.
pub(super) struct Facts {
    runs: Vec<Run>,
    /// The run of every 64th place.
    hints: Vec<u32>,
    /// Bytes of each token.
    lens: Vec<u32>,
}

const PLACES_PER_HINT: usize = 64;

impl<S: Symbol> Words<S> {
    /// Lays out the pre-tokens of `counts`.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyPreTokens`] if they have more bytes than a posting can number.
    pub(super) fn new(counts: &Counts, threads: usize) -> Result<Self> {
        let n_places = counts.distinct_bytes() + counts.len() + 1;
        if n_places > MAX_PLACES {
            return Err(Error::TooManyPreTokens { places: n_places, most: MAX_PLACES });
        }
        let buckets = Buckets::new(counts);
        let n_parts = threads.min(counts.len() / WORDS_PER_THREAD).max(1);
        let parts = buckets.parts(counts, n_parts);
        let mut symbols = huge_pages::vec(S::BOUNDARY, buckets.end as usize);
        let mut rest = &mut symbols[1..];
        let shares = parts
            .iter()
            .map(|part| (rest.split_off_mut(..part.len()).unwrap_or_default(), part.clone()));
        in_parallel(shares.collect::<Vec<_>>(), |(share, part)| {
            buckets.lay_out(counts, share, &part);
        });
        let runs = buckets.runs();
        let hints = hints(&runs, symbols.len());
        Ok(Self { symbols, facts: Facts { runs, hints, lens: vec![1; 256] }, parts })
    }

    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        self.symbols.len() * size_of::<S>()
            + self.facts.hints.len() * size_of::<u32>()
            + self.facts.runs.len() * size_of::<Run>()
    }

    /// Bytes that so many places take, without the few runs.
    pub(super) fn memory(n_places: u64) -> u64 {
        let hints = n_places / PLACES_PER_HINT as u64 * size_of::<u32>() as u64;
        n_places.saturating_mul(size_of::<S>() as u64).saturating_add(hints)
    }

    /// Calls `visit` with the tokens of each pre-token, the most frequent ones first, until it
    /// returns false.
    pub(super) fn for_each_pre_token(&self, mut visit: impl FnMut(&[TokenId]) -> bool) {
        let mut tokens = Vec::new();
        let mut at = 1;
        while let Some(&symbol) = self.symbols.get(at) {
            if symbol == S::BOUNDARY {
                if !visit(&tokens) {
                    return;
                }
                tokens.clear();
                at += 1;
            } else {
                tokens.push(symbol.id());
                at += self.facts.len_of(symbol.id()) as usize;
            }
        }
    }

    /// Calls `visit` with id, place and count of each token.
    pub(super) fn for_each_token(&self, visit: impl FnMut(TokenId, u32, u64)) {
        self.for_each_token_in(1..self.symbols.len(), visit);
    }

    /// Calls `visit` with each pair of neighbours in one of the [`parts`](Self::parts), the place of
    /// its left half, and its count.
    pub(super) fn for_each_pair_in(
        &self,
        part: Range<usize>,
        mut visit: impl FnMut(Pair, u32, u64),
    ) {
        if self.facts.are_bytes() {
            return self.for_each_byte_pair_in(part, visit);
        }
        self.for_each_token_in(part, |id, at, count| {
            let next = self.symbols[(at + self.facts.len_of(id)) as usize];
            if next != S::BOUNDARY {
                visit((id, next.id()), at, count);
            }
        });
    }

    /// [`for_each_pair_in`](Self::for_each_pair_in) as long as every token is a byte: no place waits
    /// for the length of the token before.
    fn for_each_byte_pair_in(&self, part: Range<usize>, mut visit: impl FnMut(Pair, u32, u64)) {
        let first_run = self.facts.runs.partition_point(|run| run.end as usize <= part.start);
        let mut start = part.start;
        for run in &self.facts.runs[first_run..] {
            let end = (run.end as usize).min(part.end);
            if start >= end {
                break;
            }
            // The last place of a run is a boundary.
            for (at, pair) in (place(start)..).zip(self.symbols[start..end].windows(2)) {
                if pair[0] != S::BOUNDARY && pair[1] != S::BOUNDARY {
                    visit((pair[0].id(), pair[1].id()), at, run.count);
                }
            }
            start = end;
        }
    }

    fn for_each_token_in(&self, part: Range<usize>, mut visit: impl FnMut(TokenId, u32, u64)) {
        let (mut at, end) = (place(part.start), place(part.end));
        let first_run = self.facts.runs.partition_point(|run| run.end <= at);
        for run in &self.facts.runs[first_run..] {
            let end = run.end.min(end);
            while at < end {
                let symbol = self.symbols[at as usize];
                if symbol == S::BOUNDARY {
                    at += 1;
                } else {
                    visit(symbol.id(), at, run.count);
                    at += self.facts.len_of(symbol.id());
                }
            }
        }
    }
}

impl Facts {
    /// Makes room for a token that joins `pair`.
    pub(super) fn add_token(&mut self, pair: Pair) {
        self.lens.push(self.len_of(pair.0) + self.len_of(pair.1));
    }

    /// Whether every token is still a byte.
    pub(super) fn are_bytes(&self) -> bool {
        self.lens.len() == 256
    }

    /// Number of tokens.
    pub(super) fn n_tokens(&self) -> usize {
        self.lens.len()
    }

    /// Bytes of the token `id`.
    #[inline]
    pub(super) fn len_of(&self, id: TokenId) -> u32 {
        self.lens[id as usize]
    }

    /// How often the pre-token at `at` occurs.
    #[inline]
    pub(super) fn count_at(&self, at: u32) -> u64 {
        let mut run = self.hints[at as usize / PLACES_PER_HINT] as usize;
        while self.runs[run].end <= at {
            run += 1;
        }
        self.runs[run].count
    }
}

/// Where the pre-tokens of each count are laid out: one bucket behind the other, by falling count.
/// In its bucket, each lies behind those that come before it in [`Counts`]: so who walks through
/// all of them knows the place of each, and no list of them is needed.
struct Buckets {
    /// The counts from [`FEW`] on, falling; one bucket each. All below have one, too.
    frequent: Vec<u64>,
    /// The first place of each bucket.
    starts: Vec<u32>,
    /// One behind the last place of the last.
    end: u32,
}

impl Buckets {
    fn new(counts: &Counts) -> Self {
        let is_frequent = |count: &u64| *count >= FEW as u64;
        let frequent: HashSet<u64> = counts.iter().map(|(_, n)| n).filter(is_frequent).collect();
        let mut frequent: Vec<u64> = frequent.into_iter().collect();
        frequent.sort_unstable_by(|a, b| b.cmp(a));
        let starts = vec![0; frequent.len() + FEW];
        let mut buckets = Self { frequent, starts, end: 1 };
        for (text, count) in counts.iter() {
            let bucket = buckets.of(count);
            buckets.starts[bucket] += n_places(text);
        }
        for start in &mut buckets.starts {
            (*start, buckets.end) = (buckets.end, buckets.end + *start);
        }
        buckets
    }

    /// The bucket of a count.
    #[inline]
    fn of(&self, count: u64) -> usize {
        match usize::try_from(count).ok().filter(|&count| count < FEW) {
            Some(count) => self.frequent.len() + FEW - 1 - count,
            None => self.frequent.partition_point(|&other| other > count),
        }
    }

    /// Calls `visit` with the text of each pre-token and its first place.
    fn for_each(&self, counts: &Counts, mut visit: impl FnMut(&[u8], u32)) {
        let mut ends = self.starts.clone();
        for (text, count) in counts.iter().filter(|(text, _)| text.len() > 1) {
            let end = &mut ends[self.of(count)];
            visit(text, *end);
            *end += n_places(text);
        }
    }

    /// Divides the places into parts of about the same size, each the end of a pre-token.
    fn parts(&self, counts: &Counts, n_parts: usize) -> Vec<Range<usize>> {
        let size = (self.end as usize).div_ceil(n_parts);
        let mut ends: Vec<usize> = (1..=n_parts).map(|part| part * size).collect();
        if n_parts > 1 {
            // Whoever reaches across an end moves it.
            self.for_each(counts, |text, start| {
                let (start, end) = (start as usize, (start + n_places(text)) as usize);
                let part = start / size;
                if end > (part + 1) * size {
                    ends[part] = end;
                }
            });
        }
        let mut start = 1;
        let part = |end: usize| {
            let end = end.clamp(start, self.end as usize);
            std::mem::replace(&mut start, end)..end
        };
        ends.into_iter().map(part).collect()
    }

    /// Writes the pre-tokens of one part into its symbols. The boundaries are there already.
    fn lay_out<S: Symbol>(&self, counts: &Counts, symbols: &mut [S], part: &Range<usize>) {
        self.for_each(counts, |text, start| {
            let at = (start as usize).checked_sub(part.start);
            let share = at.and_then(|at| symbols.get_mut(at..at + text.len()));
            for (symbol, &byte) in share.into_iter().flatten().zip(text) {
                *symbol = S::of(TokenId::from(byte));
            }
        });
    }

    /// The buckets that are not empty.
    fn runs(&self) -> Vec<Run> {
        let few = (0..FEW as u64).rev();
        let counts = self.frequent.iter().copied().chain(few);
        let ends = self.starts[1..].iter().copied().chain([self.end]);
        let filled =
            self.starts.iter().zip(ends).zip(counts).filter(|((start, end), _)| *start < end);
        filled.map(|((_, end), count)| Run { end, count }).collect()
    }
}

/// Places that a pre-token takes; one of a single byte has no pairs, and is left out.
#[inline]
fn n_places(text: &[u8]) -> u32 {
    if text.len() > 1 { place(text.len() + 1) } else { 0 }
}

fn hints(runs: &[Run], n_places: usize) -> Vec<u32> {
    let mut run = 0;
    let run_at = |at: usize| {
        while run + 1 < runs.len() && runs[run].end as usize <= at {
            run += 1;
        }
        place(run)
    };
    (0..n_places).step_by(PLACES_PER_HINT).map(run_at).collect()
}

/// Does one job a thread; the results in the order of the jobs.
pub(super) fn in_parallel<J: Send, R: Send>(
    jobs: impl IntoIterator<Item = J>,
    work: impl Fn(J) -> R + Sync,
) -> Vec<R> {
    let work = &work;
    thread::scope(|scope| {
        let mut jobs = jobs.into_iter();
        let first = jobs.next();
        let others: Vec<_> = jobs.map(|job| scope.spawn(move || work(job))).collect();
        let first = first.map(work);
        let join = |other: thread::ScopedJoinHandle<'_, R>| {
            other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        first.into_iter().chain(others.into_iter().map(join)).collect()
    })
}

/// A place, or the number of a run, as it is stored; [`MAX_PLACES`] makes sure that it fits.
pub(super) fn place(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
