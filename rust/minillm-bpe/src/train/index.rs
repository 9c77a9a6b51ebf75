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

/// The pairs that reach a floor.
#[derive(Default)]
pub(super) struct Index {
    pub pairs: PairTable,
    pub postings: Vec<u32>,
    /// Every pair that occurs this often is in it.
    pub floor: u64,
}

impl Index {
    /// Finds the pairs of `words` down to the floor that `choose` returns for the highest count, or
    /// to a higher one if there is no room for so many.
    pub(super) fn new<S: Symbol>(
        words: &Words<S>,
        limits: &Limits,
        choose: impl FnOnce(u64) -> u64,
    ) -> Self {
        let choose = |highest: u64| choose(highest).max(limits.floor);
        match limits.bytes {
            None => Self::in_parallel(words, limits, choose),
            Some(bytes) => Self::within(bytes, words, limits, choose),
        }
    }

    /// Counts and lists the pairs, each thread in a part of the corpus.
    fn in_parallel<S: Symbol>(
        words: &Words<S>,
        limits: &Limits,
        choose: impl FnOnce(u64) -> u64,
    ) -> Self {
        let are_bytes = words.facts.are_bytes();
        let empty = || if are_bytes { PairTable::of_bytes() } else { PairTable::default() };
        let mut of_parts = in_parallel(words.parts.iter().cloned(), |part| {
            count_pairs(words, part, empty(), |_| true)
        });
        let mut pairs = of_parts[0].clone();
        for of_part in &mut of_parts[1..] {
            for entry in of_part.iter_mut() {
                pairs.entry(entry.pair(), 0).add_all(entry);
            }
        }
        leave_out(words, &mut pairs, limits);
        let highest = pairs.iter_mut().map(|entry| entry.count).max().unwrap_or(0);
        let floor = choose(highest);
        pairs.retain(|entry| entry.count >= floor);
        let mut postings = huge_pages::vec(0, make_room(&mut pairs));
        let shared = shared(&mut postings);
        let mut jobs = Vec::new();
        for (part, mut of_part) in words.parts.iter().cloned().zip(of_parts) {
            for own in of_part.iter_mut() {
                own.start = u32::MAX;
                if let Some(entry) = pairs.get_mut(own.pair()) {
                    own.start = entry.start + entry.len;
                    entry.len += own.len;
                }
            }
            jobs.push((part, of_part));
        }
        in_parallel(jobs, |(part, mut of_part)| {
            words.for_each_pair_in(part, |pair, at, _| {
                if let Some(own) = of_part.get_mut(pair).filter(|own| own.start != u32::MAX) {
                    shared[own.start as usize].store(at, Ordering::Relaxed);
                    own.start += 1;
                }
            });
        });
        Self { pairs, postings, floor }
    }

    /// Counts the pairs class by class, so that the rare ones need not all be held at once.
    fn within<S: Symbol>(
        bytes: usize,
        words: &Words<S>,
        limits: &Limits,
        choose: impl FnOnce(u64) -> u64,
    ) -> Self {
        let whole = 1..words.symbols.len();
        let count_class = |class: Class| {
            let mut pairs =
                count_pairs(words, whole.clone(), PairTable::default(), |pair| class.has(pair));
            leave_out(words, &mut pairs, limits);
            pairs
        };
        let (mut pairs, n_classes) = count_first_class(words, bytes);
        leave_out(words, &mut pairs, limits);
        let mut sizes = Sizes { bytes: [0; 64], highest_count: 0 };
        pairs.iter_mut().for_each(|entry| sizes.add(entry));
        for number in 1..n_classes {
            drop(std::mem::take(&mut pairs));
            pairs = count_class(Class { number, of: n_classes });
            pairs.iter_mut().for_each(|entry| sizes.add(entry));
        }
        let floor = sizes.least_floor_within(bytes / 2).max(choose(sizes.highest_count));
        if n_classes == 1 {
            pairs.retain(|entry| entry.count >= floor);
        } else {
            pairs = PairTable::default();
            for number in 0..n_classes {
                for entry in count_class(Class { number, of: n_classes }).iter_mut() {
                    if entry.count >= floor {
                        *pairs.entry(entry.pair(), 0) = *entry;
                    }
                }
            }
        }
        let mut postings = huge_pages::vec(0, make_room(&mut pairs));
        words.for_each_pair(|pair, at, _| {
            if let Some(entry) = pairs.get_mut(pair) {
                postings[(entry.start + entry.len) as usize] = at;
                entry.len += 1;
            }
        });
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

/// Counts in `pairs` those in one part of the corpus that `is_wanted` wants.
fn count_pairs<S: Symbol>(
    words: &Words<S>,
    part: Range<usize>,
    mut pairs: PairTable,
    is_wanted: impl Fn(Pair) -> bool,
) -> PairTable {
    words.for_each_pair_in(part, |pair, _, count| {
        if is_wanted(pair) {
            pairs.entry(pair, 0).add(count);
        }
    });
    pairs
}

/// Counts the pairs of the first of as many classes as `bytes` asks for, and tells their number.
fn count_first_class<S: Symbol>(words: &Words<S>, bytes: usize) -> (PairTable, u64) {
    let mut class = Class { number: 0, of: 1 };
    let mut pairs = PairTable::default();
    words.for_each_pair(|pair, _, count| {
        if class.has(pair) {
            pairs.entry(pair, 0).add(count);
            while pairs.bytes() > bytes && !pairs.is_least() {
                class.of *= 2;
                pairs.retain(|entry| class.has(entry.pair()));
            }
        }
    });
    (pairs, class.of)
}

/// Strikes the pairs that make too long a token, or are forbidden.
fn leave_out<S: Symbol>(words: &Words<S>, pairs: &mut PairTable, limits: &Limits) {
    for entry in pairs.iter_mut() {
        let (left, right) = entry.pair();
        if (words.facts.len_of(left) + words.facts.len_of(right)) as usize > limits.max_token_bytes
        {
            entry.count = 0;
        }
    }
    for &pair in &limits.forbidden {
        if let Some(entry) = pairs.get_mut(pair) {
            entry.count = 0;
        }
    }
}

/// Gives each pair the start of its list, by its length, which then is 0 until the list is filled.
/// Returns the length of all lists.
fn make_room(pairs: &mut PairTable) -> usize {
    let mut end = 0;
    for entry in pairs.iter_mut() {
        entry.start = place(end);
        end += std::mem::take(&mut entry.len) as usize;
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

/// How large an index is at every floor that is a power of two.
struct Sizes {
    bytes: [usize; 64],
    highest_count: u64,
}

/// A pair takes a slot of its table, of which at most three in four are in use and after a growth
/// half as many, and a place in the queue.
const BYTES_PER_PAIR: usize = 2 * size_of::<PairEntry>() + size_of::<Candidate>();

impl Sizes {
    fn add(&mut self, entry: &PairEntry) {
        self.highest_count = self.highest_count.max(entry.count);
        if let Some(log2) = entry.count.checked_ilog2() {
            self.bytes[log2 as usize] += BYTES_PER_PAIR + entry.len as usize * size_of::<u32>();
        }
    }

    /// The least power of two at which the index takes at most `bytes`; or that which leaves
    /// the most frequent pairs alone.
    fn least_floor_within(&self, bytes: usize) -> u64 {
        let (mut sum, mut floor) = (0_usize, 1_u64 << 63);
        for (log2, part) in self.bytes.iter().enumerate().rev() {
            sum += part;
            if sum > bytes && sum > *part {
                break;
            }
            floor = 1 << log2;
        }
        floor
    }
}
