//! Pair -> a number that its count does not exceed, for all pairs in a few megabytes.
//!
//! Late in training nearly all pairs are too rare to be of use, and to count each one exactly only
//! to drop it takes more time and memory than the rest. So all are counted roughly first, many pairs
//! in one cell, and exactly only those whose cell reaches the floor. (A count-min sketch of one
//! row: Cormode & Muthukrishnan, "An improved data stream summary", 2005.)

use std::ops::Range;

use super::symbol::Symbol;
use super::words::{Words, in_parallel};
use crate::{Pair, huge_pages};

/// The most cells that are of use; in tests, so few that pairs meet in them.
const MOST_CELLS: usize = if cfg!(any(test, fuzzing)) { 1 << 3 } else { 1 << 20 };

/// Sums of counts, by the hash of the pair.
pub(super) struct Sketch {
    cells: Vec<u32>,
    floor: u32,
}

impl Sketch {
    /// Counts the pairs of `words`, each thread in a part, within `room` bytes if that is enough
    /// for anything, to tell those that may reach `floor`.
    pub(super) fn new<S: Symbol>(words: &Words<S>, room: usize, floor: u64) -> Self {
        let n_cells = room / size_of::<u32>() / words.parts.len().max(1);
        let n_cells = n_cells.checked_ilog2().map_or(1, |log2| 1 << log2).min(MOST_CELLS);
        let count = |part| count_pairs(words, part, n_cells);
        let mut of_parts = in_parallel(words.parts.iter().cloned(), count);
        let mut cells = of_parts.pop().unwrap_or_else(|| vec![0; n_cells]);
        for own in of_parts {
            for (sum, cell) in cells.iter_mut().zip(own) {
                *sum = sum.saturating_add(cell);
            }
        }
        Self { cells, floor: clamped(floor) }
    }

    /// False only if `pair` occurs more rarely than the floor.
    #[inline]
    pub(super) fn may_reach_floor(&self, pair: Pair) -> bool {
        self.cells[cell_of(pair, self.cells.len())] >= self.floor
    }
}

fn count_pairs<S: Symbol>(words: &Words<S>, part: Range<usize>, n_cells: usize) -> Vec<u32> {
    let mut cells = huge_pages::vec(0_u32, n_cells);
    words.for_each_pair_in(part, |pair, _, count| {
        let cell = &mut cells[cell_of(pair, n_cells)];
        *cell = cell.saturating_add(clamped(count));
    });
    cells
}

/// The cell of a pair among a power of two of them.
#[inline]
fn cell_of(pair: Pair, n_cells: usize) -> usize {
    let hash = (u64::from(pair.0) << 32 | u64::from(pair.1)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    usize::try_from(hash >> 40).unwrap_or(0) & (n_cells - 1)
}

/// A count in 32 bits; what is more, is as good as the most.
fn clamped(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
