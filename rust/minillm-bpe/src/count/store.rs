//! Distinct pre-tokens with their counts, as tightly as they can be walked through.

use super::table::Tally;
use crate::{Error, Result, progress::Progress};

/// Distinct pre-tokens with their counts, in no particular order.
#[derive(Debug, Default)]
pub struct Counts {
    text: Vec<u8>,
    ends: Ends,
    occurrences: Vec<u64>,
    /// Bytes of the corpus, special tokens included, each source as often as its weight says.
    pub corpus_bytes: u64,
}

impl Counts {
    /// Takes counts as they are; a pre-token that comes twice counts twice.
    ///
    /// # Errors
    ///
    /// [`Error::EmptyPreToken`]; [`Error::TooManyBytes`] if the sum of [`covered_bytes`] does not fit
    /// 64 bits.
    ///
    /// [`covered_bytes`]: Self::covered_bytes
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a [u8], u64)>) -> Result<Self> {
        Self::from_pairs_watched(pairs, &Progress::default())
    }

    /// [`from_pairs`](Self::from_pairs), unless `progress` is cancelled before it is done.
    pub(super) fn from_pairs_watched<'a>(
        pairs: impl IntoIterator<Item = (&'a [u8], u64)>,
        progress: &Progress,
    ) -> Result<Self> {
        let mut tally = Tally::default();
        let mut covered = 0_u64;
        for (text, count) in pairs {
            if text.is_empty() {
                return Err(Error::EmptyPreToken);
            }
            let bytes = count.checked_mul(text.len() as u64);
            let sum = bytes.and_then(|bytes| covered.checked_add(bytes));
            covered = sum.ok_or(Error::TooManyBytes)?;
            tally.add(text, count);
            progress.advance(0)?;
        }
        Ok(tally.into_counts())
    }

    /// Room for just so many pre-tokens, and bytes of their text.
    pub(super) fn with_capacity(len: usize, text_bytes: usize) -> Self {
        Self {
            text: Vec::with_capacity(text_bytes),
            ends: Ends { low: Vec::with_capacity(len), wraps: Vec::new() },
            occurrences: Vec::with_capacity(len),
            corpus_bytes: 0,
        }
    }

    /// Number of distinct pre-tokens.
    pub fn len(&self) -> usize {
        self.occurrences.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.occurrences.is_empty()
    }

    /// Number of pre-tokens, each as often as it occurs.
    pub fn total(&self) -> u64 {
        self.occurrences.iter().sum()
    }

    /// Bytes of text that are counted: each length times its count. With this sum, every other one
    /// that training makes fits 64 bits too.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyBytes`] if it does not.
    pub fn covered_bytes(&self) -> Result<u64> {
        let bytes = |(text, count): (&[u8], u64)| count.checked_mul(text.len() as u64);
        let sum = self.iter().try_fold(0_u64, |sum, entry| sum.checked_add(bytes(entry)?));
        sum.ok_or(Error::TooManyBytes)
    }

    /// Bytes of the distinct pre-tokens.
    pub fn distinct_bytes(&self) -> usize {
        self.text.len()
    }

    /// Bytes that counts of so many pre-tokens take in memory.
    pub(crate) fn memory(len: u64, text_bytes: u64) -> u64 {
        text_bytes.saturating_add(len.saturating_mul((size_of::<u32>() + size_of::<u64>()) as u64))
    }

    /// The pre-token of this index and its count.
    pub fn get(&self, index: usize) -> (&[u8], u64) {
        let start = if index == 0 { 0 } else { self.ends.get(index - 1) };
        (&self.text[start..self.ends.get(index)], self.occurrences[index])
    }

    /// All pre-tokens with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], u64)> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// Appends a pre-token, which must not be there yet.
    pub(super) fn push(&mut self, text: &[u8], count: u64) {
        self.text.extend_from_slice(text);
        self.ends.push(self.text.len());
        self.occurrences.push(count);
    }
}

/// Ascending positions in four bytes each, though they may pass 2^32.
#[derive(Debug, Default)]
struct Ends {
    /// The lower 32 bits of each.
    low: Vec<u32>,
    /// How many positions are below 2^32, below 2 * 2^32, and so on.
    wraps: Vec<usize>,
}

impl Ends {
    fn push(&mut self, end: usize) {
        while self.wraps.len() < end >> 32 {
            self.wraps.push(self.low.len());
        }
        #[expect(clippy::cast_possible_truncation, reason = "`wraps` keeps the upper bits")]
        self.low.push(end as u32);
    }

    #[inline]
    fn get(&self, index: usize) -> usize {
        let high = self.wraps.iter().take_while(|&&wrap| wrap <= index).count();
        high << 32 | self.low[index] as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_pre_token_is_refused() {
        let error = Counts::from_pairs([(&b"a"[..], 1), (b"", 1)]).unwrap_err();
        assert_eq!(error.to_string(), "a counted pre-token is empty, expected one byte or more");
    }

    #[test]
    fn counts_that_64_bits_do_not_hold_are_refused() {
        let most = u64::MAX / 16;
        let long = &b"sixteen letters."[..];
        assert!(Counts::from_pairs([(long, most)]).is_ok());
        for pairs in [
            [(long, most), (long, 1)],
            [(b"a", u64::MAX), (b"a", 1)],
            [(long, most + 1), (b"a", 0)],
        ] {
            assert!(matches!(Counts::from_pairs(pairs), Err(Error::TooManyBytes)));
        }
    }

    #[test]
    fn ends_pass_32_bits() {
        let positions =
            [7, 0xFFFF_FFFF, 0x1_0000_0000, 0x1_0000_0000, 0x4_0000_0001, 0x4_1234_5678];
        let mut ends = Ends::default();
        for end in positions {
            ends.push(end);
        }
        let read: Vec<usize> = (0..positions.len()).map(|index| ends.get(index)).collect();
        assert_eq!(read, positions);
    }
}
