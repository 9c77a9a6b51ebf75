//! Which source sample `i` of a mixture is from, and which of that source's samples it is.
//!
//! Shares are whole numbers: of each `sum` samples in a row, beginning at a multiple of it, a source
//! has exactly its share. Within, each sample goes to the source whose next one is due first, among
//! those whose next one is not too early; this keeps every source within one sample of its part
//! in every prefix (proportionate fairness: Baruah, Cohen, Plaxton and Varvel, "Proportionate
//! Progress: A Notion of Fairness in Resource Allocation", Algorithmica 15, 1996). One round of
//! that is held, so any sample is found at once.

use crate::{Error, Result};

/// Samples in a round at most.
pub const MAX_SHARES: u64 = 1 << 20;

/// Sources in proportion to whole-numbered shares.
///
/// # Examples
///
/// ```
/// use minillm_bpe::order::Mixture;
///
/// let mixture = Mixture::new(&[2, 1])?;
/// let first: Vec<(u16, u64)> = (0..6).map(|i| mixture.at(i)).collect();
/// assert_eq!(first, [(0, 0), (1, 0), (0, 1), (0, 2), (1, 1), (0, 3)]);
/// # Ok::<(), minillm_bpe::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Mixture {
    shares: Vec<u32>,
    /// The source of each sample of a round, and which of the source's samples in that round it is.
    round: Vec<(u16, u32)>,
}

impl Mixture {
    /// Plans a round.
    ///
    /// # Errors
    ///
    /// [`Error::BadShares`] if there is none, all are zero, or their sum is above [`MAX_SHARES`].
    pub fn new(shares: &[u32]) -> Result<Self> {
        let bad = |reason: &str| Error::BadShares { reason: reason.to_owned() };
        let sum: u64 = shares.iter().map(|&share| u64::from(share)).sum();
        if u16::try_from(shares.len()).is_err() {
            return Err(bad("there are more than 65,535"));
        }
        if sum == 0 {
            return Err(bad("they sum to nothing"));
        }
        if sum > MAX_SHARES {
            return Err(bad("their sum is above 1,048,576; divide them by something"));
        }
        let mut taken = vec![0_u32; shares.len()];
        let mut round = Vec::new();
        for place in 0..sum {
            // The `n`-th sample of a source has its time from `n sum / share` on, and is due by
            // `(n + 1) sum / share`; compared without division.
            let open = (0_u16..).zip(shares).filter(|&(source, &share)| {
                share > 0 && u64::from(taken[usize::from(source)]) * sum <= place * u64::from(share)
            });
            let due = |source: u16, share: u32| {
                ((u64::from(taken[usize::from(source)]) + 1) * sum).div_ceil(u64::from(share))
            };
            let next = open.min_by_key(|&(source, &share)| (due(source, share), source));
            let Some((source, _)) = next else { return Err(bad("no source is due")) };
            let n = &mut taken[usize::from(source)];
            round.push((source, *n));
            *n += 1;
        }
        Ok(Self { shares: shares.to_vec(), round })
    }

    /// The source of sample `i`, and the number of that sample among the source's own.
    pub fn at(&self, i: u64) -> (u16, u64) {
        let n = self.round.len() as u64;
        let (source, before) = self.round[usize::try_from(i % n).unwrap_or(0)];
        (source, (i / n) * u64::from(self.shares[usize::from(source)]) + u64::from(before))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn order_is_frozen() {
        let mixture = Mixture::new(&[4, 4, 2]).unwrap();
        let sources: Vec<u16> = (0..10).map(|i| mixture.at(i).0).collect();
        assert_eq!(
            sources,
            [0, 1, 2, 0, 1, 0, 1, 2, 0, 1],
            "a new order would change every run that resumes"
        );
    }

    #[test]
    fn shares_of_nothing_and_too_many_are_refused() {
        for shares in [&[][..], &[0, 0], &[u32::MAX, 1], &[1 << 20, 1]] {
            assert!(matches!(Mixture::new(shares), Err(Error::BadShares { .. })), "{shares:?}");
        }
        assert_eq!(Mixture::new(&[0, 3]).unwrap().at(u64::MAX), (1, u64::MAX));
    }

    proptest! {
        #[test]
        fn prop_every_prefix_has_its_shares_to_within_one_sample(
            shares in prop::collection::vec(0_u32..40, 1..8),
            rounds in 1_u64..4,
        ) {
            let sum: u64 = shares.iter().map(|&share| u64::from(share)).sum();
            prop_assume!(sum > 0);
            let mixture = Mixture::new(&shares).unwrap();
            let mut counts = vec![0_u64; shares.len()];
            for i in 0..rounds * sum {
                let (source, sample) = mixture.at(i);
                prop_assert_eq!(sample, counts[usize::from(source)]);
                counts[usize::from(source)] += 1;
                for (&count, &share) in counts.iter().zip(&shares) {
                    let part = (i + 1) * u64::from(share);
                    prop_assert!(count >= part / sum && count <= part.div_ceil(sum));
                }
            }
        }
    }
}
