//! What the vocabulary decides about merging: the id of each byte and the merge of each pair.

use super::filter::Filter;
use crate::{Error, Result, TokenId, Vocab, huge_pages, key};

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

/// A pair and its merge.
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// Left id in the high half, right id in the low half.
    pair: u64,
    merge: PairMerge,
}

impl Slot {
    /// No id is `u32::MAX`, so no pair is this.
    const FREE: Self = Self { pair: u64::MAX, merge: PairMerge::NONE };
}

/// Immutable merge tables.
///
/// Pairs lie in an open-addressed table with linear probing, at most half full. A filter in front
/// of it answers most look-ups that find nothing, and those are the most. The pairs that each
/// pre-token begins with, those of bytes, have a table of their own.
#[derive(Debug)]
pub(super) struct Tables {
    byte_ids: [Option<TokenId>; 256],
    /// The merge of bytes `left`, `right` at `left * 256 + right`.
    byte_pairs: Vec<PairMerge>,
    /// Bit `right` of row `left` is set if some merge joins a token that ends with byte `left` and one
    /// that begins with `right`: between two other bytes, a pre-token falls apart.
    joints: Box<[[u64; 4]; 256]>,
    pairs: Vec<Slot>,
    /// `64 - log2(pairs.len())`.
    shift: u32,
    pair_filter: Filter,
    whole: Option<Whole>,
}

/// The tokens of a vocabulary whose pre-tokens that are tokens are taken whole.
#[derive(Debug)]
struct Whole {
    max_bytes: usize,
    /// The keys among them.
    filter: Filter,
}

impl Whole {
    fn new(vocab: &Vocab) -> Self {
        let mut whole = Self { max_bytes: 0, filter: Filter::new(vocab.len()) };
        for (_, token) in vocab.tokens() {
            whole.max_bytes = whole.max_bytes.max(token.len());
            if let Some(key) = key::of(token) {
                whole.filter.insert(key::hash(key));
            }
        }
        whole
    }
}

impl Tables {
    pub(super) fn new(vocab: &Vocab) -> Self {
        let mut byte_ids = [None; 256];
        for (byte, id) in (0..=u8::MAX).zip(&mut byte_ids) {
            *id = vocab.byte_id(byte);
        }
        let capacity = (2 * vocab.merges().len()).next_power_of_two().max(2);
        let mut tables = Self {
            byte_ids,
            byte_pairs: vec![PairMerge::NONE; 1 << 16],
            joints: Box::new([[0; 4]; 256]),
            pairs: huge_pages::vec(Slot::FREE, capacity),
            shift: 64 - capacity.trailing_zeros(),
            pair_filter: Filter::new(vocab.merges().len()),
            whole: vocab.whole_pretoken_lookup().then(|| Whole::new(vocab)),
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

    /// Whether a pre-token might have to be taken whole.
    pub(super) fn may_be_whole(&self, pre_token: &[u8]) -> bool {
        self.whole.as_ref().is_some_and(|whole| match key::of(pre_token) {
            Some(key) => whole.filter.may_hold(key::hash(key)),
            None => pre_token.len() <= whole.max_bytes,
        })
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
        let hash = hash(pair);
        if !self.pair_filter.may_hold(hash) {
            return PairMerge::NONE;
        }
        let mut index = self.home(hash);
        loop {
            let slot = &self.pairs[index];
            // What is free has no merge.
            if slot.pair == pair || slot.pair == Slot::FREE.pair {
                return slot.merge;
            }
            index = (index + 1) & (self.pairs.len() - 1);
        }
    }

    fn insert(&mut self, pair: u64, merge: PairMerge) {
        let hash = hash(pair);
        self.pair_filter.insert(hash);
        let mut index = self.home(hash);
        while self.pairs[index].pair != Slot::FREE.pair {
            index = (index + 1) & (self.pairs.len() - 1);
        }
        self.pairs[index] = Slot { pair, merge };
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the shift leaves log2(slots) bits")]
    fn home(&self, hash: u64) -> usize {
        (hash >> self.shift) as usize
    }
}

/// Fibonacci hashing; the fold lets the left id, in the high half, reach the product's top.
#[inline]
fn hash(pair: u64) -> u64 {
    (pair ^ (pair >> 29)).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[inline]
fn pack(left: TokenId, right: TokenId) -> u64 {
    u64::from(left) << 32 | u64::from(right)
}

#[inline]
fn byte_pair(left: u8, right: u8) -> usize {
    usize::from(left) << 8 | usize::from(right)
}
