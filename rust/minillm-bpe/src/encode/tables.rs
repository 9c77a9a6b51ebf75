//! What the vocabulary decides about merging: the id of each byte and the merge of each pair.

use crate::{Error, Result, TokenId, Vocab, huge_pages};

/// What two neighbours become, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct PairMerge {
    pub(super) rank: u32,
    pub(super) result: TokenId,
}

impl PairMerge {
    /// No merge: ranks behind every other.
    pub(super) const NONE: Self = Self { rank: u32::MAX, result: TokenId::MAX };

    pub(super) fn is_none(self) -> bool {
        self.rank == u32::MAX
    }
}

/// No id is `u32::MAX`, so no pair is this.
const FREE: u64 = u64::MAX;

/// Immutable merge tables.
///
/// Pairs lie in an open-addressed table with linear probing, at most half full, their merges in a
/// second one: nearly every look-up that finds nothing, and those are the most, is one cache line
/// of a table half the size. The pairs that each pre-token begins with, those of bytes, have
/// a table of their own.
#[derive(Debug)]
pub(super) struct Tables {
    byte_ids: [Option<TokenId>; 256],
    /// The merge of bytes `left`, `right` at `left * 256 + right`.
    byte_pairs: Vec<PairMerge>,
    /// Bit `right` of row `left` is set if some merge joins a token that ends with byte `left` and one
    /// that begins with `right`: between two other bytes, a pre-token falls apart.
    joints: Box<[[u64; 4]; 256]>,
    /// Left id in the high half, right id in the low half.
    pairs: Vec<u64>,
    merges: Vec<PairMerge>,
    /// `64 - log2(pairs.len())`.
    shift: u32,
    /// Longest ordinary token if pre-tokens that are tokens are taken whole, else 0.
    max_whole_bytes: usize,
}

impl Tables {
    pub(super) fn new(vocab: &Vocab) -> Self {
        let mut byte_ids = [None; 256];
        for (byte, id) in (0..=u8::MAX).zip(&mut byte_ids) {
            *id = vocab.byte_id(byte);
        }
        let capacity = (2 * vocab.merges().len()).next_power_of_two().max(2);
        let longest = || vocab.tokens().map(|(_, token)| token.len()).max().unwrap_or(0);
        let mut tables = Self {
            byte_ids,
            byte_pairs: vec![PairMerge::NONE; 1 << 16],
            joints: Box::new([[0; 4]; 256]),
            pairs: huge_pages::vec(FREE, capacity),
            merges: huge_pages::vec(PairMerge::NONE, capacity),
            shift: 64 - capacity.trailing_zeros(),
            max_whole_bytes: if vocab.whole_pretoken_lookup() { longest() } else { 0 },
        };
        for merge in vocab.merges() {
            let value = PairMerge { rank: merge.rank, result: merge.result };
            tables.insert(pack(merge.left, merge.right), value);
            let ends = vocab.token(merge.left).and_then(<[u8]>::last);
            let begins = vocab.token(merge.right).and_then(<[u8]>::first);
            if let (Some(&left), Some(&right)) = (ends, begins) {
                tables.joints[usize::from(left)][usize::from(right >> 6)] |= 1 << (right & 63);
            }
        }
        for left in 0..=u8::MAX {
            for right in 0..=u8::MAX {
                if let (Some(l), Some(r)) = (tables.byte_id(left), tables.byte_id(right)) {
                    tables.byte_pairs[byte_pair(left, right)] = tables.pair(l, r);
                }
            }
        }
        tables
    }

    fn byte_id(&self, byte: u8) -> Option<TokenId> {
        self.byte_ids[usize::from(byte)]
    }

    /// The id of a byte of a text.
    ///
    /// # Errors
    ///
    /// [`Error::MissingByte`] if there is none.
    #[inline]
    pub(super) fn known_byte_id(&self, byte: u8) -> Result<TokenId> {
        let Some(id) = self.byte_id(byte) else { return Err(Error::MissingByte { byte }) };
        Ok(id)
    }

    /// Whether a pre-token of this length might have to be taken whole.
    pub(super) fn may_be_whole(&self, len: usize) -> bool {
        len <= self.max_whole_bytes
    }

    /// What two bytes become, as [`pair`](Self::pair) of their ids.
    #[inline]
    pub(super) fn byte_pair(&self, left: u8, right: u8) -> PairMerge {
        self.byte_pairs[byte_pair(left, right)]
    }

    /// Whether any merge joins tokens between these two bytes.
    #[inline]
    pub(super) fn may_join(&self, left: u8, right: u8) -> bool {
        self.joints[usize::from(left)][usize::from(right >> 6)] >> (right & 63) & 1 == 1
    }

    /// What `left` and `right` become; [`PairMerge::NONE`] if they stay.
    #[inline]
    pub(super) fn pair(&self, left: TokenId, right: TokenId) -> PairMerge {
        let pair = pack(left, right);
        let mut index = self.home(pair);
        loop {
            let found = self.pairs[index];
            if found == pair {
                return self.merges[index];
            }
            if found == FREE {
                return PairMerge::NONE;
            }
            index = (index + 1) & (self.pairs.len() - 1);
        }
    }

    fn insert(&mut self, pair: u64, merge: PairMerge) {
        let mut index = self.home(pair);
        while self.pairs[index] != FREE {
            index = (index + 1) & (self.pairs.len() - 1);
        }
        (self.pairs[index], self.merges[index]) = (pair, merge);
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the shift leaves log2(slots) bits")]
    fn home(&self, pair: u64) -> usize {
        // Fibonacci hashing; the fold lets the left id, in the high half, reach the product's top.
        ((pair ^ (pair >> 29)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> self.shift) as usize
    }
}

#[inline]
fn pack(left: TokenId, right: TokenId) -> u64 {
    u64::from(left) << 32 | u64::from(right)
}

#[inline]
fn byte_pair(left: u8, right: u8) -> usize {
    usize::from(left) << 8 | usize::from(right)
}
