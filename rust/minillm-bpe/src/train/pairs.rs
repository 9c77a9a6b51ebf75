//! Pair -> how often it occurs, and where its list of occurrences lies.
//!
//! Open addressing with linear probing, at most three quarters full. Nothing is ever removed: a pair that
//! is merged or has become rare keeps its place with a small count until the table grows.

use std::ops::Range;

use crate::{Pair, TokenId, huge_pages};

/// What is known of one pair.
#[derive(Clone, Copy, Debug)]
pub(super) struct PairEntry {
    key: u64,
    /// Occurrences, weighted by the counts of their pre-tokens.
    pub count: u64,
    /// Where its list of positions begins.
    pub start: u32,
    /// Length of the list.
    pub len: u32,
}

impl PairEntry {
    /// Counts one occurrence in a pre-token that itself occurs `count` times.
    pub(super) fn add(&mut self, count: u64) {
        self.count += count;
        self.len += 1;
    }

    /// Adds what another table has counted of the same pair.
    pub(super) fn add_all(&mut self, other: &Self) {
        self.count += other.count;
        self.len += other.len;
    }

    /// Its postings, as a part of the array of all postings.
    pub(super) fn list(&self) -> Range<usize> {
        self.start as usize..(self.start + self.len) as usize
    }

    /// The pair itself.
    pub(super) fn pair(&self) -> Pair {
        #[expect(clippy::cast_possible_truncation, reason = "the halves of 64 bits")]
        let pair = ((self.key >> 32) as TokenId, self.key as TokenId);
        pair
    }
}

/// No pair has this key: ids stay below `u32::MAX`.
const FREE: u64 = u64::MAX;
/// The size of a small table; in tests, a very small one.
const LEAST_SLOTS: usize = if cfg!(any(test, fuzzing)) { 1 << 2 } else { 1 << 10 };
const FREE_ENTRY: PairEntry = PairEntry { key: FREE, count: 0, start: 0, len: 0 };

#[derive(Clone, Default)]
pub(super) struct PairTable {
    slots: Vec<PairEntry>,
    n_used: usize,
    /// Whether the slots are numbered by the two bytes of a pair.
    is_direct: bool,
}

impl PairTable {
    /// An empty table for pairs of bytes, with a slot for each of them. Only when nearly all occur
    /// does it grow, and becomes one like any other.
    pub(super) fn of_bytes() -> Self {
        Self { slots: vec![FREE_ENTRY; 1 << 16], n_used: 0, is_direct: true }
    }

    /// Whether it is as small as it can be.
    pub(super) fn is_least(&self) -> bool {
        self.slots.len() <= LEAST_SLOTS
    }

    /// Bytes that it takes; while it grows, which is soon when it is five eighths full, both the
    /// old and the new slots.
    pub(super) fn bytes(&self) -> usize {
        let is_soon_full = self.n_used >= self.slots.len() / 8 * 5;
        self.slots.len() * size_of::<PairEntry>() * if is_soon_full { 3 } else { 1 }
    }

    /// Whether `pair` has an entry.
    pub(super) fn has(&self, pair: Pair) -> bool {
        !self.slots.is_empty() && self.slots[self.find(key_of(pair))].key != FREE
    }

    /// The entry of `pair`, if it has one.
    #[inline]
    pub(super) fn get_mut(&mut self, pair: Pair) -> Option<&mut PairEntry> {
        if self.slots.is_empty() {
            return None;
        }
        let at = self.find(key_of(pair));
        let entry = &mut self.slots[at];
        (entry.key != FREE).then_some(entry)
    }

    /// The entry of `pair`, made if there is none. When the table must grow for it, entries with
    /// a count below `keep` are dropped.
    #[inline]
    pub(super) fn entry(&mut self, pair: Pair, keep: u64) -> &mut PairEntry {
        if self.n_used >= self.slots.len() / 4 * 3 {
            self.retain(|entry| entry.count >= keep);
        }
        let key = key_of(pair);
        let at = self.find(key);
        let entry = &mut self.slots[at];
        if entry.key == FREE {
            entry.key = key;
            self.n_used += 1;
        }
        entry
    }

    /// Every entry, in no particular order.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut PairEntry> {
        self.slots.iter_mut().filter(|entry| entry.key != FREE)
    }

    /// Drops all other entries.
    pub(super) fn retain(&mut self, is_kept: impl Fn(&PairEntry) -> bool) {
        let n_kept = self.iter_mut().filter(|entry| is_kept(entry)).count();
        // Half full at most, so that there is room for as many again, and half that.
        let size = (n_kept * 2).next_power_of_two().max(LEAST_SLOTS);
        let old = std::mem::replace(&mut self.slots, huge_pages::vec(FREE_ENTRY, size));
        (self.n_used, self.is_direct) = (n_kept, false);
        for entry in old.into_iter().filter(|entry| entry.key != FREE && is_kept(entry)) {
            let at = self.find(entry.key);
            self.slots[at] = entry;
        }
    }

    /// The slot that holds `key`, or the free one where it belongs.
    #[inline]
    fn find(&self, key: u64) -> usize {
        let mask = self.slots.len() - 1;
        let home = if self.is_direct {
            key >> 24 | key
        } else {
            // Fibonacci hashing: the product's high bits depend on all bits of the key.
            key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32
        };
        let mut at = usize::try_from(home).unwrap_or(0) & mask;
        while self.slots[at].key != key && self.slots[at].key != FREE {
            at = (at + 1) & mask;
        }
        at
    }
}

fn key_of((left, right): Pair) -> u64 {
    (u64::from(left) << 32) | u64::from(right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_bytes_grows_into_one_of_any_pairs() {
        let mut pairs = PairTable::of_bytes();
        let all = || (0..=255).flat_map(|left| (0..=255).map(move |right| (left, right)));
        let count_of = |(left, right): Pair| u64::from(left) * 1000 + u64::from(right);
        for pair in all().chain([(256, 0), (0, 70_000)]) {
            pairs.entry(pair, 0).add(count_of(pair));
        }
        for pair in all().chain([(256, 0), (0, 70_000)]) {
            assert_eq!(pairs.get_mut(pair).map(|entry| entry.count), Some(count_of(pair)));
        }
        assert!(pairs.get_mut((256, 1)).is_none());
    }
}
