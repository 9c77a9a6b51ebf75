//! Pair -> a number that its count does not exceed, for all pairs in a few megabytes.
//!
//! Late in training nearly all pairs are too rare to be of use, and to count each one exactly only
//! to drop it takes more time and memory than the rest. So all are counted roughly first, many pairs
//! in one cell, and exactly only those whose cell reaches the floor. (A count-min sketch of one
//! row: Cormode & Muthukrishnan, "An improved data stream summary", 2005.)

use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

use super::symbol::Symbol;
use super::words::{Words, in_parallel};
use crate::Pair;

/// The most cells that are of use; in tests, so few that pairs meet in them.
const MOST_CELLS: usize = if cfg!(any(test, fuzzing)) { 1 << 3 } else { 1 << 20 };

/// No cell need tell of more: pairs that occur so often are few.
const MOST: u16 = 1 << 10;

/// Sums of counts, by the hash of the pair.
pub(super) struct Sketch {
    cells: Vec<AtomicU16>,
    /// Cells count up to here.
    floor: u16,
}

impl Sketch {
    /// Counts the pairs of `words`, each thread in a part, within `room` bytes if that is enough
    /// for anything, to tell those that may reach `floor`.
    pub(super) fn new<S: Symbol>(words: &Words<S>, room: usize, floor: u64) -> Self {
        let n_cells = (room / size_of::<AtomicU16>()).checked_ilog2().map_or(1, |log2| 1 << log2);
        let cells = (0..n_cells.min(MOST_CELLS)).map(|_| AtomicU16::new(0)).collect();
        let floor = u16::try_from(floor).unwrap_or(MOST).min(MOST);
        let sketch = Self { cells, floor };
        in_parallel(words.parts.iter().cloned(), |part| {
            words.for_each_pair_in(part, |pair, _, count| sketch.add(pair, count));
        });
        sketch
    }

    /// False only if `pair` occurs more rarely than the floor.
    #[inline]
    pub(super) fn may_reach_floor(&self, pair: Pair) -> bool {
        self.cell(pair).load(Relaxed) >= self.floor
    }

    #[inline]
    fn add(&self, pair: Pair, count: u64) {
        let cell = self.cell(pair);
        let mut sum = cell.load(Relaxed);
        // Most of the time, only the pairs that are rare have anything to add.
        while sum < self.floor {
            let count = u16::try_from(count).unwrap_or(MOST).min(MOST);
            match cell.compare_exchange_weak(sum, (sum + count).min(self.floor), Relaxed, Relaxed) {
                Ok(_) => break,
                Err(now) => sum = now,
            }
        }
    }

    /// The cell of a pair; there is a power of two of them.
    #[inline]
    fn cell(&self, pair: Pair) -> &AtomicU16 {
        let hash =
            (u64::from(pair.0) << 32 | u64::from(pair.1)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        &self.cells[usize::try_from(hash >> 40).unwrap_or(0) & (self.cells.len() - 1)]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::count::Counts;

    proptest! {
        #[test]
        fn prop_no_pair_that_reaches_the_floor_is_ruled_out(
            texts in proptest::collection::btree_map("[a-d]{1,6}", 1_u64..3000, 1..20),
            floor in 2_u64..3000,
            room in 0_usize..64,
            threads in 1_usize..4,
        ) {
            let counts = texts.iter().map(|(text, count)| (text.as_bytes(), *count));
            let words = Words::<u16>::new(&Counts::from_pairs(counts).unwrap(), threads).unwrap();
            let mut exact = BTreeMap::new();
            for part in words.parts.iter().cloned() {
                words.for_each_pair_in(part, |pair, _, n| *exact.entry(pair).or_insert(0) += n);
            }
            let sketch = Sketch::new(&words, room, floor);
            for (pair, count) in exact {
                prop_assert!(count < floor || sketch.may_reach_floor(pair));
            }
        }
    }
}
