//! The index: which pairs of neighbours occur how often, and where.
//!
//! A pair's *postings* are the places of its left half, ascending, one list behind the other in
//! one array. Most pairs are rare and never come to be merged: those below a *floor* have neither
//! entry nor list. The floor is a guess at the count of the last merge, and higher where the index
//! would else outgrow its bound. Nothing is lost: when no pair reaches the floor any more, it is
//! lowered and the index is made anew from the corpus as it then is.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

use super::pairs::{PairEntry, PairTable};
use super::queue::Candidate;
use super::sketch::Sketch;
use super::symbol::Symbol;
use super::words::{Words, in_parallel, place};
use crate::{Pair, huge_pages};

/// What may become part of the index.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    /// No pair below this count; at least 1.
    pub floor: u64,
    /// No pair that would make a longer token.
    pub max_token_bytes: usize,
    /// None of these pairs.
    pub forbidden: Vec<Pair>,
    /// The bytes that pairs and postings may take, if the most frequent pair alone does not
    /// need more.
    pub bytes: Option<usize>,
}

impl Limits {
    /// Every pair, whatever memory that takes.
    pub(super) fn none() -> Self {
        Self { floor: 1, max_token_bytes: usize::MAX, forbidden: Vec::new(), bytes: None }
    }

    /// The fewest bytes with which the index is not made anew all the time; in tests, it is.
    pub(super) fn least_bytes(n_places: u64) -> u64 {
        if cfg!(any(test, fuzzing)) { 0 } else { n_places + (1 << 20) }
    }
}

/// The least count of the pairs that are wanted.
#[derive(Clone, Copy)]
pub(super) enum Floor {
    /// So many.
    At(u64),
    /// The highest count, divided by this.
    BelowHighest(u64),
}

/// The pairs that reach a floor.
#[derive(Default)]
pub(super) struct Index {
    pub pairs: PairTable,
    pub postings: Vec<u32>,
    /// Every pair that occurs this often is in it.
    pub floor: u64,
}

impl Index {
    /// Finds the pairs of `words` down to `floor`, or to a higher one if there is no room for so
    /// many.
    ///
    /// Each thread works in a part of the corpus. If there is no room for all pairs at once, they
    /// are counted class by class, and once more to keep those that reach the floor.
    pub(super) fn new<S: Symbol>(words: &Words<S>, limits: &Limits, floor: Floor) -> Self {
        let room = limits.bytes.unwrap_or(usize::MAX);
        let sketch = match floor {
            Floor::At(floor) if floor > 1 => Some(Sketch::new(words, room / 3, floor)),
            _ => None,
        };
        let search = Search { words, limits, sketch };
        let (mut found, n_classes) = search.first_class(room / 3 * 2);
        let mut sizes = Sizes::new();
        found.sums.iter_mut().for_each(|entry| sizes.add(entry));
        for number in 1..n_classes {
            // The tables of two classes never exist together.
            drop(found);
            found = search.class(Class { number, of: n_classes });
            found.sums.iter_mut().for_each(|entry| sizes.add(entry));
        }
        let floor = match floor {
            Floor::At(floor) => floor,
            Floor::BelowHighest(divisor) => sizes.highest_count / divisor,
        };
        let floor = floor.max(limits.floor).max(sizes.least_floor_within(room / 4 * 3));
        found.retain(floor);
        for number in 0..n_classes - 1 {
            let mut more = search.class(Class { number, of: n_classes });
            more.retain(floor);
            found.absorb(&mut more);
        }
        drop(search);
        let (pairs, postings) = found.list(words, limits.bytes);
        Self { pairs, postings, floor }
    }

    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        self.pairs.bytes() + self.postings.len() * size_of::<u32>()
    }
}

/// One of a power of two of classes, into which pairs fall by hash.
#[derive(Clone, Copy)]
struct Class {
    number: u64,
    of: u64,
}

impl Class {
    fn has(self, pair: Pair) -> bool {
        // Another product than the table's, which else would fill unevenly.
        let hash =
            (u64::from(pair.0) ^ (u64::from(pair.1) << 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        (hash >> 40) & (self.of - 1) == self.number
    }
}

/// Where pairs are counted, and which.
struct Search<'a, S> {
    words: &'a Words<S>,
    limits: &'a Limits,
    /// Those that it rules out are too rare.
    sketch: Option<Sketch>,
}

impl<S: Symbol> Search<'_, S> {
    /// Counts the first of as many classes as `room` asks for, and tells their number.
    fn first_class(&self, room: usize) -> (Found, u64) {
        let parts = &self.words.parts;
        // Added up, they may take as much as one more.
        let n_tables = parts.len() + usize::from(parts.len() > 1);
        let count = |part| self.count_first_class(part, room / n_tables);
        let mut tables = in_parallel(parts.iter().cloned(), count);
        let of = tables.iter().map(|(_, n_classes)| *n_classes).max().unwrap_or(1);
        let class = Class { number: 0, of };
        for (table, n_classes) in &mut tables {
            if *n_classes < of {
                table.retain(|entry| class.has(entry.pair()));
            }
        }
        (self.sum(tables.into_iter().map(|(table, _)| table).collect()), of)
    }

    fn class(&self, class: Class) -> Found {
        let count = |part| {
            let mut pairs = self.empty_table();
            self.words.for_each_pair_in(part, |pair, _, count| {
                if class.has(pair) && self.wants(pair) {
                    pairs.entry(pair, 0).add(count);
                }
            });
            pairs
        };
        self.sum(in_parallel(self.words.parts.iter().cloned(), count))
    }

    /// Counts the pairs of the first of as many classes as `bytes` asks for in one part of the
    /// corpus, and tells their number.
    fn count_first_class(&self, part: Range<usize>, bytes: usize) -> (PairTable, u64) {
        let mut class = Class { number: 0, of: 1 };
        let mut pairs = self.empty_table();
        self.words.for_each_pair_in(part, |pair, _, count| {
            if class.has(pair) && self.wants(pair) {
                let entry = pairs.entry(pair, 0);
                entry.add(count);
                let is_new = entry.len == 1;
                while is_new && pairs.bytes() > bytes && !pairs.is_least() {
                    class.of *= 2;
                    pairs.retain(|entry| class.has(entry.pair()));
                }
            }
        });
        (pairs, class.of)
    }

    /// Pairs of bytes have a slot each, where there is room.
    fn empty_table(&self) -> PairTable {
        let are_bytes = self.limits.bytes.is_none() && self.words.facts.are_bytes();
        if are_bytes { PairTable::of_bytes() } else { PairTable::default() }
    }

    #[inline]
    fn wants(&self, pair: Pair) -> bool {
        self.sketch.as_ref().is_none_or(|sketch| sketch.may_reach_floor(pair))
    }

    /// Adds up what was found in the parts, and leaves out the pairs that make too long a token
    /// or are forbidden.
    fn sum(&self, mut others: Vec<PairTable>) -> Found {
        let mut sums = others.pop().unwrap_or_default();
        for other in &mut others {
            for entry in other.iter_mut() {
                sums.entry(entry.pair(), 0).add_all(entry);
            }
        }
        let facts = &self.words.facts;
        for entry in sums.iter_mut() {
            let (left, right) = entry.pair();
            let len = facts.len_of(left) + facts.len_of(right);
            if len as usize > self.limits.max_token_bytes {
                entry.count = 0;
            }
        }
        for &pair in &self.limits.forbidden {
            if let Some(entry) = sums.get_mut(pair) {
                entry.count = 0;
            }
        }
        Found { others, sums }
    }
}

/// The pairs of a class, counted.
struct Found {
    /// In each part of the corpus but the last.
    others: Vec<PairTable>,
    /// In all parts.
    sums: PairTable,
}

impl Found {
    /// Drops all pairs below `floor`.
    fn retain(&mut self, floor: u64) {
        let Self { others, sums } = self;
        sums.retain(|entry| entry.count >= floor);
        for other in others {
            other.retain(|entry| sums.has(entry.pair()));
        }
    }

    /// Takes the pairs of another class.
    fn absorb(&mut self, more: &mut Self) {
        let own = self.others.iter_mut().chain([&mut self.sums]);
        for (own, more) in own.zip(more.others.iter_mut().chain([&mut more.sums])) {
            for entry in more.iter_mut() {
                *own.entry(entry.pair(), 0) = *entry;
            }
        }
    }

    /// The pairs, and the lists of their places: in each, those of the first part come first.
    fn list<S: Symbol>(self, words: &Words<S>, room: Option<usize>) -> (PairTable, Vec<u32>) {
        let Self { mut others, sums: mut pairs } = self;
        let n_postings = make_room(&mut pairs);
        // Under a bound the array never moves: while it did, there would be two of it.
        let most = room.map_or(0, |room| room.saturating_sub(pairs.bytes()) / size_of::<u32>());
        let mut postings = huge_pages::vec_with_room(0, n_postings, most.max(n_postings));
        // Until all are listed, an entry's start is where the next place goes: in the sums, behind
        // those of the other parts.
        for other in &mut others {
            for own in other.iter_mut() {
                if let Some(entry) = pairs.get_mut(own.pair()) {
                    own.start = entry.start;
                    entry.start += own.len;
                }
            }
        }
        let shared = shared(&mut postings);
        let tables = others.iter_mut().chain([&mut pairs]);
        in_parallel(words.parts.iter().cloned().zip(tables), |(part, own)| {
            words.for_each_pair_in(part, |pair, at, _| {
                if let Some(own) = own.get_mut(pair) {
                    shared[own.start as usize].store(at, Ordering::Relaxed);
                    own.start += 1;
                }
            });
        });
        for entry in pairs.iter_mut() {
            entry.start -= entry.len;
        }
        (pairs, postings)
    }
}

/// Gives each pair the start of its list, by its length. Returns the length of all lists.
fn make_room(pairs: &mut PairTable) -> usize {
    let mut end = 0;
    for entry in pairs.iter_mut() {
        entry.start = place(end);
        end += entry.len as usize;
    }
    end
}

/// Numbers that several threads write, no two of them the same one.
fn shared(numbers: &mut [u32]) -> &[AtomicU32] {
    let len = numbers.len();
    // SAFETY: an `AtomicU32` has the size and alignment of a `u32`, and the numbers, borrowed
    // mutably for as long as the result lives, are reached through it alone.
    unsafe { std::slice::from_raw_parts(numbers.as_mut_ptr().cast(), len) }
}

/// How large an index is at some floors, four from one power of two to the next.
struct Sizes {
    bytes: [usize; 4 * 64],
    highest_count: u64,
}

/// A pair takes a slot of its table, of which at most three in four are in use and after a growth
/// half as many, and a place in the queue.
const BYTES_PER_PAIR: usize = 2 * size_of::<PairEntry>() + size_of::<Candidate>();

impl Sizes {
    fn new() -> Self {
        Self { bytes: [0; 4 * 64], highest_count: 0 }
    }

    fn add(&mut self, entry: &PairEntry) {
        self.highest_count = self.highest_count.max(entry.count);
        if let Some(log2) = entry.count.checked_ilog2() {
            // The two bits behind the highest.
            let quarter = (entry.count << (63 - log2) >> 61) as usize % 4;
            self.bytes[4 * log2 as usize + quarter] +=
                BYTES_PER_PAIR + entry.len as usize * size_of::<u32>();
        }
    }

    /// The least of these floors at which the index takes at most `bytes`; or that which leaves
    /// the most frequent pairs alone.
    fn least_floor_within(&self, bytes: usize) -> u64 {
        let (mut sum, mut floor) = (0_usize, 1_u64 << 63);
        for (step, part) in self.bytes.iter().enumerate().rev() {
            sum += part;
            if sum > bytes && sum > *part {
                break;
            }
            floor = ((4 + step as u64 % 4) << 61) >> (63 - step / 4);
        }
        floor
    }
}
