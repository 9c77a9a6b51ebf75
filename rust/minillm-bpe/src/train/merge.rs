//! The corpus under training, and one merge applied to it.
//!
//! All distinct pre-tokens lie in one array, one place a byte, separated by [`BOUNDARY`]. A token
//! of n bytes takes n places: its first *and* its last hold its id. So from a token's first place
//! the next token is found by adding its length, the one before by looking one place back, and
//! nothing ever moves. Pre-tokens are laid out by falling count, so their counts are a step
//! function of the position: a few thousand [`Run`]s instead of a number for each.
//!
//! A pair's *postings* are the positions of its left half, ascending. They are written once, in
//! the step that creates the pair, and never edited: an occurrence that another merge has taken
//! since is recognized because the symbols no longer fit. (A stale place cannot fit by chance.
//! The first place of a right half is overwritten by [`STALE`] or by the merged token's id, and
//! the last place of a left half could only be taken for the one-byte token that it once was.)
//!
//! Most pairs are rare and never come to be merged. Those below a *floor* have no entry at all:
//! they cannot rise, as each contains the newest token of the step that made it. When no pair
//! reaches the floor any more, it is lowered and the index is made anew. One thing can make a
//! pair rise: a merge whose result is a token already. Then, too, the index is made anew.

use super::pairs::PairTable;
use super::queue::{Candidate, Order, Queue};
use crate::{Error, Pair, Result, TokenId, count::Counts};

/// Separates pre-tokens.
const BOUNDARY: TokenId = TokenId::MAX;
/// Was the first place of a token that is now the right half of another.
const STALE: TokenId = TokenId::MAX - 1;

/// The first floor, as a part of the highest count: high enough that a few ten thousand merges
/// later the table is still small, low enough that the index is made anew only once or twice.
const FIRST_FLOOR_PART: u64 = 4096;
/// By how much the floor is lowered each time.
const FLOOR_STEP: u64 = 64;

/// Pre-tokens of the same count.
struct Run {
    /// One behind their last place.
    end: u32,
    count: u64,
}

/// Sum over the occurrences of one neighbour within one merge.
#[derive(Clone, Copy, Default)]
struct Neighbour {
    count: u64,
    n_postings: u32,
    /// Where its next posting goes; [`NO_LIST`] if the pair is too rare to be kept.
    cursor: u32,
}

const NO_LIST: u32 = u32::MAX;

/// Postings have 32 bits too. An index has one for each place at most, and until it is made anew,
/// each merged occurrence adds two and takes a place away: never more than three for each place.
const MAX_PLACES: usize = NO_LIST as usize / 3;

/// One occurrence of the merged pair with its neighbours.
struct Occurrence {
    at: u32,
    before: TokenId,
    after: TokenId,
}

/// The corpus, its pairs, and the queue of pairs.
pub(super) struct Merger {
    symbols: Vec<TokenId>,
    runs: Vec<Run>,
    /// Bytes of each token.
    lens: Vec<u32>,
    max_token_bytes: usize,
    pairs: PairTable,
    postings: Vec<u32>,
    queue: Queue,
    floor: Option<u64>,
    // What one merge needs, kept to be used again.
    before: Vec<Neighbour>,
    after: Vec<Neighbour>,
    touched_before: Vec<TokenId>,
    touched_after: Vec<TokenId>,
    occurrences: Vec<Occurrence>,
}

impl Merger {
    /// Lays out the pre-tokens of `counts`.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyPreTokens`] if they have more bytes than a posting can number.
    pub(super) fn new(counts: &Counts, max_token_bytes: Option<usize>) -> Result<Self> {
        let n_places = counts.distinct_bytes() + counts.len() + 1;
        if n_places > MAX_PLACES {
            return Err(Error::TooManyPreTokens { places: n_places, most: MAX_PLACES });
        }
        let mut order: Vec<(u64, usize)> =
            (0..counts.len()).map(|index| (counts.get(index).1, index)).collect();
        order.sort_unstable_by(|a, b| b.cmp(a));
        let mut symbols = Vec::with_capacity(n_places);
        symbols.push(BOUNDARY);
        let mut runs: Vec<Run> = Vec::new();
        for (count, index) in order {
            let (text, _) = counts.get(index);
            // A single byte has no pairs.
            if text.len() < 2 {
                continue;
            }
            symbols.extend(text.iter().map(|&byte| TokenId::from(byte)));
            symbols.push(BOUNDARY);
            let end = place(symbols.len());
            match runs.last_mut() {
                Some(run) if run.count == count => run.end = end,
                _ => runs.push(Run { end, count }),
            }
        }
        Ok(Self {
            symbols,
            runs,
            lens: vec![1; 256],
            max_token_bytes: max_token_bytes.unwrap_or(usize::MAX),
            pairs: PairTable::default(),
            postings: Vec::new(),
            queue: Queue::default(),
            floor: None,
            before: vec![Neighbour::default(); 256],
            after: vec![Neighbour::default(); 256],
            touched_before: Vec::new(),
            touched_after: Vec::new(),
            occurrences: Vec::new(),
        })
    }

    /// Enters every pair, however rare or long, so that any may be merged next.
    pub(super) fn index_all(&mut self, order: &Order) {
        self.max_token_bytes = usize::MAX;
        self.floor = Some(1);
        self.index(order, 1);
    }

    /// How often `pair` occurs; known of every pair after [`index_all`](Self::index_all).
    pub(super) fn count_of(&mut self, pair: Pair) -> u64 {
        self.pairs.get_mut(pair).map_or(0, |entry| entry.count)
    }

    /// Drops what [`index_all`](Self::index_all) entered; the corpus stays as it is.
    pub(super) fn start_over(&mut self, max_token_bytes: Option<usize>) {
        self.max_token_bytes = max_token_bytes.unwrap_or(usize::MAX);
        self.floor = None;
    }

    /// Tokens that the corpus takes now, pre-tokens of a single byte not counted.
    pub(super) fn total_tokens(&self) -> u64 {
        let mut total = 0;
        self.for_each_token(|_, _, count| total += count);
        total
    }

    /// The pair that comes first among the most frequent ones; [`None`] if there is no pair that
    /// occurs at least `min_frequency` times and may be merged.
    pub(super) fn most_frequent(
        &mut self,
        order: &Order,
        min_frequency: u64,
    ) -> Option<(Pair, u64)> {
        let lowest = min_frequency.max(1);
        loop {
            if let Some(floor) = self.floor {
                while let Some(candidate) = self.queue.pop(order) {
                    let count = self.pairs.get_mut(candidate.pair).map_or(0, |entry| entry.count);
                    if count == candidate.count {
                        return Some((candidate.pair, count));
                    }
                    if count >= floor {
                        self.queue.push(Candidate { count, ..candidate }, order);
                    }
                }
                if floor <= lowest {
                    return None;
                }
                self.floor = Some((floor / FLOOR_STEP).max(lowest));
            }
            self.index(order, lowest);
        }
    }

    /// Never to be returned by [`most_frequent`](Self::most_frequent) again, though it occurs.
    pub(super) fn forget(&mut self, pair: Pair) {
        if let Some(entry) = self.pairs.get_mut(pair) {
            entry.count = 0;
        }
    }

    /// Replaces `pair` by `result` wherever it occurs, and keeps counts and postings up to date.
    pub(super) fn merge(&mut self, pair: Pair, result: TokenId, order: &Order) {
        let is_new = result as usize == self.lens.len();
        if is_new {
            self.lens.push(self.len_of(pair.0) + self.len_of(pair.1));
            self.before.push(Neighbour::default());
            self.after.push(Neighbour::default());
        }
        self.rewrite(pair, result);
        if is_new {
            self.adjust_old_pairs(pair, result);
            self.add_new_pairs(result, order);
        } else {
            // Pairs of a known token may exist already, below the floor or above it.
            let floor = self.floor.unwrap_or(1);
            self.index(order, floor);
        }
        for id in self.touched_before.drain(..) {
            self.before[id as usize] = Neighbour::default();
        }
        for id in self.touched_after.drain(..) {
            self.after[id as usize] = Neighbour::default();
        }
        self.occurrences.clear();
    }

    /// Writes `result` over each occurrence of `pair`, left to right, and sums up what stood
    /// before and behind it.
    fn rewrite(&mut self, pair: Pair, result: TokenId) {
        let (left_len, right_len) = (self.len_of(pair.0), self.len_of(pair.1));
        let Some(entry) = self.pairs.get_mut(pair) else { return };
        let list = entry.start as usize..(entry.start + entry.len) as usize;
        entry.count = 0;
        let mut run = 0;
        for posting in list {
            let at = self.postings[posting];
            let (first, middle) = (at as usize, (at + left_len) as usize);
            if self.symbols[first] != pair.0 || self.symbols[middle] != pair.1 {
                continue;
            }
            let end = middle + right_len as usize;
            if at >= self.runs[run].end {
                run += self.runs[run..].partition_point(|run| run.end <= at);
            }
            let count = self.runs[run].count;
            let (before, after) = (self.symbols[first - 1], self.symbols[end]);
            self.symbols[first] = result;
            self.symbols[middle] = STALE;
            self.symbols[end - 1] = result;
            if before != BOUNDARY {
                tally(&mut self.before[before as usize], before, count, &mut self.touched_before);
            }
            if after != BOUNDARY {
                tally(&mut self.after[after as usize], after, count, &mut self.touched_after);
            }
            self.occurrences.push(Occurrence { at, before, after });
        }
    }

    /// Takes the merged occurrences from the pairs that they were halves of.
    ///
    /// Where two occurrences touch, as in `abab`, the one to the right sees the merged token
    /// before it: its left neighbour is `result`, and the pair that vanishes is `result a`, which
    /// the occurrence to the left has just made with `a` as its right neighbour.
    fn adjust_old_pairs(&mut self, pair: Pair, result: TokenId) {
        for &before in &self.touched_before {
            let count = self.before[before as usize].count;
            if before == result {
                self.after[pair.0 as usize].count -= count;
            } else if let Some(entry) = self.pairs.get_mut((before, pair.0)) {
                entry.count = entry.count.saturating_sub(count);
            }
        }
        for &after in &self.touched_after {
            // Taken before the line above could lower it: all of them stood behind `pair.1`.
            let chained = if after == pair.0 { self.before[result as usize].count } else { 0 };
            let count = self.after[after as usize].count + chained;
            if let Some(entry) = self.pairs.get_mut((pair.1, after)) {
                entry.count = entry.count.saturating_sub(count);
            }
        }
    }

    /// Enters the pairs of `result` with its neighbours, and writes their postings.
    fn add_new_pairs(&mut self, result: TokenId, order: &Order) {
        let mut end = self.postings.len();
        for side in [Side::Before, Side::After] {
            let (neighbours, touched) = match side {
                Side::Before => (&mut self.before, &self.touched_before),
                Side::After => (&mut self.after, &self.touched_after),
            };
            for &id in touched {
                let neighbour = &mut neighbours[id as usize];
                let pair = match side {
                    Side::Before => (id, result),
                    Side::After => (result, id),
                };
                let len = self.lens[id as usize] as usize + self.lens[result as usize] as usize;
                if neighbour.count < self.floor.unwrap_or(1) || len > self.max_token_bytes {
                    neighbour.cursor = NO_LIST;
                    continue;
                }
                neighbour.cursor = place(end);
                end += neighbour.n_postings as usize;
                let entry = self.pairs.entry(pair, self.floor.unwrap_or(1));
                entry.count = neighbour.count;
                entry.start = neighbour.cursor;
                entry.len = neighbour.n_postings;
                self.queue.push(Candidate { count: neighbour.count, pair }, order);
            }
        }
        self.postings.resize(end, 0);
        for occurrence in &self.occurrences {
            if occurrence.before != BOUNDARY {
                let before = &mut self.before[occurrence.before as usize];
                if before.cursor != NO_LIST {
                    self.postings[before.cursor as usize] =
                        occurrence.at - self.lens[occurrence.before as usize];
                    before.cursor += 1;
                }
            }
            if occurrence.after != BOUNDARY {
                let after = &mut self.after[occurrence.after as usize];
                if after.cursor != NO_LIST {
                    self.postings[after.cursor as usize] = occurrence.at;
                    after.cursor += 1;
                }
            }
        }
    }

    /// Makes the index anew from the corpus as it is: all pairs that reach the floor.
    ///
    /// Without a floor, chooses one: a part of the highest count, at least `lowest`.
    fn index(&mut self, order: &Order, lowest: u64) {
        let mut pairs = PairTable::default();
        self.for_each_pair(|pair, _, count| {
            let entry = pairs.entry(pair, 0);
            entry.count += count;
            entry.len += 1;
        });
        let floor = self.floor.unwrap_or_else(|| {
            let highest = pairs.iter_mut().map(|entry| entry.count).max().unwrap_or(0);
            (highest / FIRST_FLOOR_PART).max(lowest)
        });
        self.floor = Some(floor);
        for entry in pairs.iter_mut() {
            let (left, right) = entry.pair();
            if (self.len_of(left) + self.len_of(right)) as usize > self.max_token_bytes {
                entry.count = 0;
            }
        }
        pairs.retain(floor);
        self.queue.clear();
        let mut end = 0;
        for entry in pairs.iter_mut() {
            self.queue.push(Candidate { count: entry.count, pair: entry.pair() }, order);
            entry.start = place(end);
            end += entry.len as usize;
            // Grows again below, as the list is filled.
            entry.len = 0;
        }
        let mut postings = vec![0; end];
        self.for_each_pair(|pair, at, _| {
            if let Some(entry) = pairs.get_mut(pair) {
                postings[(entry.start + entry.len) as usize] = at;
                entry.len += 1;
            }
        });
        (self.pairs, self.postings) = (pairs, postings);
    }

    /// Calls `visit` with id, place and count of each token.
    fn for_each_token(&self, mut visit: impl FnMut(TokenId, u32, u64)) {
        let mut at = 1;
        for run in &self.runs {
            while at < run.end {
                let id = self.symbols[at as usize];
                if id == BOUNDARY {
                    at += 1;
                } else {
                    visit(id, at, run.count);
                    at += self.len_of(id);
                }
            }
        }
    }

    /// Calls `visit` with each pair of neighbours, the place of its left half, and its count.
    fn for_each_pair(&self, mut visit: impl FnMut(Pair, u32, u64)) {
        self.for_each_token(|id, at, count| {
            let next = self.symbols[(at + self.len_of(id)) as usize];
            if next != BOUNDARY {
                visit((id, next), at, count);
            }
        });
    }

    fn len_of(&self, id: TokenId) -> u32 {
        self.lens[id as usize]
    }
}

/// On which side of the merged token a neighbour stands.
#[derive(Clone, Copy)]
enum Side {
    Before,
    After,
}

#[inline]
fn tally(neighbour: &mut Neighbour, id: TokenId, count: u64, touched: &mut Vec<TokenId>) {
    if neighbour.n_postings == 0 {
        touched.push(id);
    }
    neighbour.count += count;
    neighbour.n_postings += 1;
}

/// A place or the index of a posting, as it is stored; [`MAX_PLACES`] makes sure that it fits.
fn place(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(NO_LIST)
}
