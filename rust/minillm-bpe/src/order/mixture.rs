//! Which source sample `i` of a mixture is from, and which of that source's samples it is.
//!
//! Weights become whole-numbered shares: of each round of `sum` samples, a source has exactly its
//! share. Within a round, each sample goes to the source whose next one is due first, among those
//! whose next one is not too early; this keeps every source within one sample of its part in every
//! prefix (proportionate fairness: Baruah, Cohen, Plaxton and Varvel, "Proportionate Progress: A
//! Notion of Fairness in Resource Allocation", Algorithmica 15, 1996). One round of that is held,
//! so any sample is found at once. Drawing each sample's source at random, as is common, is off by
//! the root of their number.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::{Error, Result};

/// Samples in a round, about, where the weights themselves ask for more.
const MOST_SHARES: u32 = 1 << 20;

/// The source of a sample of a round, and which of the source's samples in that round it is.
pub(crate) type Turn = (u32, u32);

/// Sources in proportion to their weights.
///
/// # Examples
///
/// ```
/// use minillm_bpe::order::Mixture;
///
/// let mixture = Mixture::new(&[0.5, 0.25])?;
/// let first: Vec<(usize, u64)> = (0..6).map(|i| mixture.at(i)).collect();
/// assert_eq!(first, [(0, 0), (1, 0), (0, 1), (0, 2), (1, 1), (0, 3)]);
/// # Ok::<(), minillm_bpe::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Mixture {
    shares: Vec<u32>,
    round: Vec<Turn>,
}

impl Mixture {
    /// Plans a round, in O(`sum` log `weights.len()`) time and O(`sum`) space.
    ///
    /// Weights count as they are written: 0.7 and 0.3 are 7 and 3 of ten samples. Where that takes
    /// a round of more than a million samples, each share is rounded to a millionth part.
    ///
    /// # Errors
    ///
    /// [`Error::Weights`] if there is none, or more than a million, or one is not above 0 and
    /// finite.
    pub fn new(weights: &[f64]) -> Result<Self> {
        let shares = whole_shares(weights)?;
        let round = round_of(&shares);
        Ok(Self { shares, round })
    }

    /// The source of sample `i`, and the number of that sample among the source's own.
    pub fn at(&self, i: u64) -> (usize, u64) {
        let (rounds, place) = self.rounds(i);
        let (source, before) = self.round[place];
        let source = source as usize;
        (source, rounds * u64::from(self.shares[source]) + u64::from(before))
    }

    /// How many of the samples before `i` are of each source.
    pub fn taken(&self, i: u64) -> Vec<u64> {
        let (rounds, place) = self.rounds(i);
        let mut taken: Vec<u64> =
            self.shares.iter().map(|&share| rounds * u64::from(share)).collect();
        for &(source, _) in &self.round[..place] {
            taken[source as usize] += 1;
        }
        taken
    }

    /// Whole rounds before sample `i`, and its place in the next one.
    fn rounds(&self, i: u64) -> (u64, usize) {
        let n = self.round.len() as u64;
        (i / n, usize::try_from(i % n).unwrap_or(0))
    }
}

/// The turns of one round: always the source that is due first, among those it is not too early for.
///
/// The `n`-th sample of a source may come from `n sum / share` on and is due by `(n + 1) sum /
/// share`. Some source always may: if all had more than their part, their sum would be above the
/// number of turns. [`reference::order::turns`](crate::reference::order::turns) looks at every source each time.
fn round_of(shares: &[u32]) -> Vec<Turn> {
    let sum: u64 = shares.iter().copied().map(u64::from).sum();
    let by = |n: u32, share: u32| (u64::from(n) * sum).div_ceil(u64::from(share));
    let mut too_early: BinaryHeap<Reverse<(u64, u32, u32)>> =
        (0..).zip(shares).map(|(source, _)| Reverse((0, source, 0))).collect();
    let mut ready = BinaryHeap::new();
    let mut round = Vec::new();
    for place in 0..sum {
        while let Some(&Reverse((from, source, n))) = too_early.peek()
            && from <= place
        {
            too_early.pop();
            ready.push(Reverse((by(n + 1, shares[source as usize]), source, n)));
        }
        if let Some(Reverse((_, source, n))) = ready.pop() {
            round.push((source, n));
            too_early.push(Reverse((by(n + 1, shares[source as usize]), source, n + 1)));
        }
    }
    round
}

/// Whole numbers above 0 in the proportion of the weights.
///
/// # Errors
///
/// As [`Mixture::new`].
pub(crate) fn whole_shares(weights: &[f64]) -> Result<Vec<u32>> {
    let bad = |reason: String| Err(Error::Weights { reason });
    if weights.is_empty() || weights.len() > MOST_SHARES as usize {
        return bad(format!("there are {}, expected 1 to {MOST_SHARES}", weights.len()));
    }
    let is_weight = |weight: f64| weight > 0.0 && weight.is_finite();
    if let Some(index) = weights.iter().position(|&weight| !is_weight(weight)) {
        let weight = weights[index];
        return bad(format!("[{index}] is {weight}, expected a finite number above 0"));
    }
    Ok(exact_shares(weights).unwrap_or_else(|| rounded_shares(weights)))
}

/// The shares in lowest terms, if they sum to no more than a round holds.
fn exact_shares(weights: &[f64]) -> Option<Vec<u32>> {
    let decimals: Vec<(u128, i32)> =
        weights.iter().map(|&weight| decimal(weight)).collect::<Option<_>>()?;
    let least = decimals.iter().map(|&(_, exponent)| exponent).min()?;
    let scaled = decimals.iter().map(|&(digits, exponent)| {
        digits.checked_mul(10_u128.checked_pow(exponent.abs_diff(least))?)
    });
    let scaled: Vec<u128> = scaled.collect::<Option<_>>()?;
    let divisor = scaled.iter().copied().fold(0, gcd);
    let shares = scaled.iter().map(|&share| u32::try_from(share / divisor).ok());
    let shares: Vec<u32> = shares.collect::<Option<_>>()?;
    let sum = shares.iter().try_fold(0_u32, |sum, &share| sum.checked_add(share))?;
    (sum <= MOST_SHARES).then_some(shares)
}

/// The shares to within half a millionth of the sum, none of them zero.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 2^20")]
fn rounded_shares(weights: &[f64]) -> Vec<u32> {
    let largest = weights.iter().copied().fold(0.0, f64::max); // their sum may be infinite
    let sum: f64 = weights.iter().map(|weight| weight / largest).sum();
    let share = |weight: &f64| (weight / largest / sum * f64::from(MOST_SHARES)).round() as u32;
    weights.iter().map(|weight| share(weight).max(1)).collect()
}

/// `digits` times ten to the power of `exponent`: the shortest that reads back as `weight`.
fn decimal(weight: f64) -> Option<(u128, i32)> {
    let text = format!("{weight:e}");
    let (digits, exponent) = text.split_once('e')?;
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let exponent: i32 = exponent.parse().ok()?;
    let places = i32::try_from(fraction.len()).ok()?;
    Some((format!("{whole}{fraction}").parse().ok()?, exponent - places))
}

fn gcd(mut a: u128, mut b: u128) -> u128 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::reference::order::turns;

    #[test]
    fn order_is_frozen() {
        let mixture = Mixture::new(&[4.0, 4.0, 2.0]).unwrap();
        let sources: Vec<usize> = (0..10).map(|i| mixture.at(i).0).collect();
        assert_eq!(
            sources,
            [0, 1, 2, 0, 1, 0, 1, 2, 0, 1],
            "a new order would change every run that resumes"
        );
    }

    #[test]
    fn weights_count_as_they_are_written() {
        let cases: &[(&[f64], &[u32])] = &[
            (&[4.0, 4.0, 2.0], &[2, 2, 1]),
            (&[0.7, 0.3], &[7, 3]),
            (&[0.1], &[1]),
            (&[1e300, 3e300], &[1, 3]),
            (&[2.5e-308, 5e-308], &[1, 2]),
            (&[1.0 / 3.0, 2.0 / 3.0], &[1, 2]),
        ];
        for (weights, shares) in cases {
            assert_eq!(whole_shares(weights).unwrap(), *shares, "{weights:?}");
        }
    }

    #[test]
    fn weights_that_need_too_long_a_round_are_rounded_and_none_to_zero() {
        assert_eq!(whole_shares(&[1e-300, 1.0]).unwrap(), [1, MOST_SHARES]);
        assert_eq!(whole_shares(&[f64::MAX, f64::MAX, 1.0]).unwrap(), [1 << 19, 1 << 19, 1]);
        assert_eq!(whole_shares(&[0.123_456_789, 0.876_543_211]).unwrap(), [129_454, 919_122]);
    }

    #[test]
    fn weights_that_are_none_are_refused_by_place_and_value() {
        for (weights, message) in [
            (&[][..], "weights: there are 0, expected 1 to 1048576"),
            (&[1.0, 0.0], "weights: [1] is 0, expected a finite number above 0"),
            (&[-1.0], "weights: [0] is -1, expected"),
            (&[f64::NAN], "weights: [0] is NaN, expected"),
            (&[2.0, f64::INFINITY], "weights: [1] is inf, expected"),
        ] {
            let error = Mixture::new(weights).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }

    #[test]
    fn the_last_sample_of_all_and_many_sources_have_their_place() {
        assert_eq!(Mixture::new(&[3.0]).unwrap().at(u64::MAX), (0, u64::MAX));
        let many = Mixture::new(&vec![1.0; 100_000]).unwrap();
        assert_eq!(many.at(1_599_999), (99_999, 15));
    }

    proptest! {
        #[test]
        fn prop_every_prefix_has_its_shares_to_within_one_sample(
            shares in prop::collection::vec(1_u32..40, 1..8),
            rounds in 1_u64..4,
        ) {
            let sum: u64 = shares.iter().map(|&share| u64::from(share)).sum();
            let weights: Vec<f64> = shares.iter().copied().map(f64::from).collect();
            let mixture = Mixture::new(&weights).unwrap();
            let mut counts = vec![0_u64; shares.len()];
            for i in 0..rounds * sum {
                prop_assert_eq!(&mixture.taken(i), &counts);
                let (source, sample) = mixture.at(i);
                prop_assert_eq!(sample, counts[source]);
                counts[source] += 1;
                for (&count, &share) in counts.iter().zip(&shares) {
                    let part = (i + 1) * u64::from(share);
                    prop_assert!(count >= part / sum && count <= part.div_ceil(sum));
                }
            }
        }

        #[test]
        fn prop_turns_match_the_reference(shares in prop::collection::vec(1_u32..200, 1..12)) {
            prop_assert_eq!(round_of(&shares), turns(&shares));
        }
    }
}
