//! Which item comes `i`-th: a keyed permutation of `0..n` that needs no memory.
//!
//! Training shuffles its windows anew each epoch and must resume anywhere. A shuffled list of a
//! billion windows is 8 GB and has to be made again after each restart; a permutation that can be
//! asked for its `i`-th element has neither cost. Here it is a Feistel network over the smallest
//! even number of bits that holds `n`, and where that lands outside, it is applied again until it
//! lands inside (cycle walking: Black and Rogaway, "Ciphers with Arbitrary Finite Domains",
//! CT-RSA 2002). As the network is a bijection, so is the walk. A window is at most four times
//! `n`, so it takes four rounds of walking at worst on average, and less than two mostly.
//!
//! The order of a run must never change: [`Permutation::at`] is frozen, and a test holds values.

/// Rounds of the network. Four already look random to a statistical test; six leave a margin.
const ROUNDS: usize = 6;

/// A permutation of `0..n`, chosen by seed and epoch.
///
/// # Examples
///
/// ```
/// use minillm_bpe::order::Permutation;
///
/// let order = Permutation::new(1337, 0, 5);
/// let mut items: Vec<u64> = (0..5).map(|i| order.at(i)).collect();
/// items.sort();
/// assert_eq!(items, [0, 1, 2, 3, 4]);
/// ```
#[derive(Clone, Debug)]
pub struct Permutation {
    n: u64,
    /// Bits of each half.
    half_bits: u32,
    keys: [u64; ROUNDS],
}

impl Permutation {
    /// The permutation of `0..n` that belongs to `seed` and `epoch`.
    pub fn new(seed: u64, epoch: u64, n: u64) -> Self {
        let bits = u64::BITS - n.saturating_sub(1).leading_zeros();
        let mut state = mix(seed) ^ mix(epoch ^ 0xA076_1D64_78BD_642F).rotate_left(32);
        let keys = std::array::from_fn(|_| {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            mix(state)
        });
        Self { n, half_bits: bits.div_ceil(2).max(1), keys }
    }

    /// Number of items.
    pub fn len(&self) -> u64 {
        self.n
    }

    /// Whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// The item at position `i`. Takes constant time on average.
    ///
    /// Behind the end it begins again: `i` counts modulo `n`, and nothing at all yields 0.
    pub fn at(&self, i: u64) -> u64 {
        if self.n == 0 {
            return 0;
        }
        let mut item = self.network(i % self.n);
        while item >= self.n {
            item = self.network(item);
        }
        item
    }

    fn network(&self, value: u64) -> u64 {
        let mask = (1 << self.half_bits) - 1;
        let (mut left, mut right) = (value >> self.half_bits, value & mask);
        for key in self.keys {
            (left, right) = (right, left ^ (mix(right ^ key) & mask));
        }
        left << self.half_bits | right
    }
}

/// The finalizer of splitmix64: Steele et al., "Fast Splittable Pseudorandom Number Generators".
fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn order_is_frozen() {
        let order = Permutation::new(1337, 3, 1000);
        let first: Vec<u64> = (0..6).map(|i| order.at(i)).collect();
        assert_eq!(
            first,
            [606, 161, 631, 957, 473, 91],
            "a new order would change every run that resumes"
        );
    }

    #[test]
    fn seeds_and_epochs_differ() {
        let of = |seed, epoch| -> Vec<u64> {
            let order = Permutation::new(seed, epoch, 1 << 20);
            (0..32).map(|i| order.at(i)).collect()
        };
        assert_ne!(of(0, 0), of(0, 1));
        assert_ne!(of(0, 1), of(1, 0));
        assert_ne!(of(0, 0), of(1, 0));
    }

    #[test]
    fn every_position_is_equally_likely() {
        // 16 items, 16,000 epochs: each item is expected 1,000 times at each position, with a
        // standard deviation of 31. Six of those is one failure in 10^6 for a fair shuffle.
        let mut counts = [[0_i64; 16]; 16];
        for epoch in 0..16_000 {
            let order = Permutation::new(7, epoch, 16);
            for (position, counts) in (0..16).zip(&mut counts) {
                counts[usize::try_from(order.at(position)).unwrap()] += 1;
            }
        }
        let worst = counts.iter().flatten().map(|count| (count - 1000).abs()).max();
        assert!(worst < Some(190), "{worst:?} from 1,000");
    }

    #[test]
    fn neighbours_do_not_stay_neighbours() {
        let n = 100_000;
        let order = Permutation::new(11, 0, n);
        let close = (1..n).filter(|&i| order.at(i).abs_diff(order.at(i - 1)) < 100);
        // 200 of n are that close by chance: 200 expected, standard deviation 14.
        let close = close.count();
        assert!((100..300).contains(&close), "{close} pairs are less than 100 apart");
    }

    #[test]
    fn the_largest_domain_works() {
        let order = Permutation::new(1, 0, u64::MAX);
        assert!((0..1000).all(|i| order.at(u64::MAX - 1 - i) < u64::MAX));
        assert_eq!((Permutation::new(1, 0, 0).at(5), Permutation::new(1, 0, 1).at(0)), (0, 0));
    }

    proptest! {
        #[test]
        fn prop_permutation_is_a_bijection(seed in any::<u64>(), epoch in any::<u64>(), n in 1_u64..3000) {
            let order = Permutation::new(seed, epoch, n);
            let mut items: Vec<u64> = (0..n).map(|i| order.at(i)).collect();
            items.sort_unstable();
            prop_assert_eq!(items, (0..n).collect::<Vec<_>>());
        }
    }
}
