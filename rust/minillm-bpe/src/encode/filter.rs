//! What is certainly not in a table, told by one bit.
//!
//! Most of what merging asks for does not exist: pairs that never merge, words that are no token.
//! The tables that know are larger than the second-level cache; a bit for each hash fits into it.

/// Bits for each thing that is held: of others, about one in ten passes.
const BITS_EACH: usize = 8;

/// Hashes that were inserted, and some that were not.
#[derive(Debug)]
pub(super) struct Filter {
    /// As many as a power of two.
    bits: Vec<u64>,
    /// `64 - log2` of the number of bits.
    shift: u32,
}

impl Filter {
    /// A filter for `n` hashes.
    pub(super) fn new(n: usize) -> Self {
        let n_bits = (BITS_EACH * n).next_power_of_two().max(64);
        Self { bits: vec![0; n_bits / 64], shift: 64 - n_bits.trailing_zeros() }
    }

    /// Inserts a hash; its highest bits count.
    pub(super) fn insert(&mut self, hash: u64) {
        let (word, bit) = self.place(hash);
        self.bits[word] |= bit;
    }

    /// Whether `hash` may have been inserted; always, if it was.
    #[inline]
    pub(super) fn may_hold(&self, hash: u64) -> bool {
        let (word, bit) = self.place(hash);
        self.bits[word] & bit != 0
    }

    #[inline]
    fn place(&self, hash: u64) -> (usize, u64) {
        let at = hash >> self.shift;
        ((at / 64) as usize, 1 << (at % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(n: u64) -> u64 {
        xxhash_rust::xxh3::xxh3_64(&n.to_le_bytes())
    }

    #[test]
    fn what_was_inserted_passes_and_little_else() {
        for n in [0, 1, 1000] {
            let mut filter = Filter::new(usize::try_from(n).unwrap());
            (0..n).for_each(|i| filter.insert(hash(i)));
            assert!((0..n).all(|i| filter.may_hold(hash(i))));
            let passed = (n..n + 10_000).filter(|&i| filter.may_hold(hash(i))).count();
            assert!(passed < 1500, "{passed} of 10,000");
        }
    }
}
