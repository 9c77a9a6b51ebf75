//! Whose document is next, so that each source has its share of what was taken.
//!
//! What a source is due is a queue, its documents are packets, and the text is the line they share:
//! the rule is WF2Q of Bennett and Zhang, "WF2Q: Worst-case Fair Weighted Fair Queueing" (INFOCOM
//! 1996). Of the sources that have no more than their share, the next is the one whose next
//! document would first be due whole. So in every prefix a source has less than one document of its
//! own above its share, and less than the longest document below it. With documents as the unit it
//! is the rule of [`Mixture`](crate::order::Mixture); that needs no documents to plan with.

use crate::Result;
use crate::order::whole_shares;

/// What each source has had, and its share.
pub(super) struct Mix {
    shares: Vec<u64>,
    taken: Vec<u64>,
}

impl Mix {
    /// Shares in proportion to `weights`, as [`Mixture`](crate::order::Mixture) has them.
    ///
    /// # Errors
    ///
    /// [`Error::Weights`](crate::Error::Weights).
    pub(super) fn new(weights: &[f64]) -> Result<Self> {
        let shares: Vec<u64> = whole_shares(weights)?.into_iter().map(u64::from).collect();
        Ok(Self { taken: vec![0; shares.len()], shares })
    }

    /// The source whose turn it is; `units(source)` has its next document. [`None`] if none is left.
    pub(super) fn next(&self, units: impl Fn(usize) -> u64) -> Option<usize> {
        let all: u128 = self.taken.iter().copied().map(u128::from).sum();
        let sum: u128 = self.shares.iter().copied().map(u128::from).sum();
        let may = |&source: &usize| {
            let share = u128::from(self.shares[source]);
            share > 0 && u128::from(self.taken[source]) * sum <= all * share
        };
        // Fractions, compared without dividing: `due / share`.
        let due = |source: usize| u128::from(self.taken[source]) + u128::from(units(source));
        let mut sources = (0..self.shares.len()).filter(may);
        let first = sources.next()?;
        Some(sources.fold(first, |best, other| {
            let by = |due: u128, share: usize| due * u128::from(self.shares[share]);
            if by(due(other), best) < by(due(best), other) { other } else { best }
        }))
    }

    /// Counts what `source` was given.
    pub(super) fn take(&mut self, source: usize, units: u64) {
        self.taken[source] += units;
    }

    /// Leaves out `source`: from here on, the others have what their weights say.
    pub(super) fn drop_source(&mut self, source: usize) {
        self.shares[source] = 0;
        self.taken.fill(0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn prop_every_prefix_has_its_shares_to_within_one_document(
            weights in prop::collection::vec(1_u32..20, 1..7),
            lengths in prop::collection::vec(1_u64..50, 1..80),
        ) {
            let floats: Vec<f64> = weights.iter().copied().map(f64::from).collect();
            let mut mix = Mix::new(&floats).unwrap();
            let sum: u64 = weights.iter().copied().map(u64::from).sum();
            let (mut taken, mut n, mut all) = (vec![0; weights.len()], vec![0; weights.len()], 0);
            let longest = *lengths.iter().max().unwrap();
            for _ in 0..300 {
                let next = |source: usize, n: usize| lengths[(7 * source + n) % lengths.len()];
                let source = mix.next(|source| next(source, n[source])).unwrap();
                let units = next(source, n[source]);
                mix.take(source, units);
                n[source] += 1;
                taken[source] += units;
                all += units;
                for (&taken, &weight) in taken.iter().zip(&weights) {
                    let share = all * u64::from(weight);
                    prop_assert!(taken * sum < share + longest * sum, "above");
                    prop_assert!(taken * sum + longest * sum > share, "below");
                }
            }
        }

        #[test]
        fn prop_documents_alike_have_the_shares_of_a_mixture(
            weights in prop::collection::vec(1_u32..20, 1..7),
        ) {
            let floats: Vec<f64> = weights.iter().copied().map(f64::from).collect();
            let mut mix = Mix::new(&floats).unwrap();
            let sum: u64 = weights.iter().copied().map(u64::from).sum();
            let mut taken = vec![0_u64; weights.len()];
            for i in 1..=2 * sum {
                let source = mix.next(|_| 1).unwrap();
                mix.take(source, 1);
                taken[source] += 1;
                for (&taken, &weight) in taken.iter().zip(&weights) {
                    let share = i * u64::from(weight);
                    prop_assert!(taken >= share / sum && taken <= share.div_ceil(sum));
                }
            }
        }
    }

    #[test]
    fn without_a_source_the_others_keep_their_proportion() {
        let mut mix = Mix::new(&[2.0, 1.0, 1.0]).unwrap();
        mix.take(0, 1);
        mix.drop_source(0);
        let mut order = Vec::new();
        for _ in 0..4 {
            let source = mix.next(|_| 1).unwrap();
            mix.take(source, 1);
            order.push(source);
        }
        assert_eq!(order, [1, 2, 1, 2]);
        mix.drop_source(1);
        mix.drop_source(2);
        assert_eq!(mix.next(|_| 1), None);
    }
}
