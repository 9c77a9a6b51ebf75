//! What the vocabulary decides about merging: the id of each byte and the merge of each pair.

use crate::{TokenId, Vocab};

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

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// Left id in the high half, right id in the low half.
    pair: u64,
    merge: PairMerge,
}

/// No id is `u32::MAX`, so no pair is this.
const EMPTY: Slot = Slot { pair: u64::MAX, merge: PairMerge::NONE };

/// Immutable merge tables.
///
/// Pairs lie in an open-addressed table with linear probing, 16 bytes a slot and at most half
/// full, so that a look-up is one cache line nearly always, whether it finds something or not.
#[derive(Debug)]
pub(super) struct Tables {
    byte_ids: [Option<TokenId>; 256],
    slots: Vec<Slot>,
    /// `64 - log2(slots.len())`.
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
            slots: vec![EMPTY; capacity],
            shift: 64 - capacity.trailing_zeros(),
            max_whole_bytes: if vocab.whole_pretoken_lookup() { longest() } else { 0 },
        };
        for merge in vocab.merges() {
            let value = PairMerge { rank: merge.rank, result: merge.result };
            tables.insert(pack(merge.left, merge.right), value);
        }
        tables
    }

    pub(super) fn byte_id(&self, byte: u8) -> Option<TokenId> {
        self.byte_ids[usize::from(byte)]
    }

    /// Whether a pre-token of this length might have to be taken whole.
    pub(super) fn may_be_whole(&self, len: usize) -> bool {
        len <= self.max_whole_bytes
    }

    /// What `left` and `right` become; [`PairMerge::NONE`] if they stay.
    #[inline]
    pub(super) fn pair(&self, left: TokenId, right: TokenId) -> PairMerge {
        let pair = pack(left, right);
        let mut index = self.home(pair);
        loop {
            let slot = &self.slots[index];
            // An empty slot holds `PairMerge::NONE`, so both ends of the search return alike.
            if slot.pair == pair || slot.pair == EMPTY.pair {
                return slot.merge;
            }
            index = (index + 1) & (self.slots.len() - 1);
        }
    }

    fn insert(&mut self, pair: u64, merge: PairMerge) {
        let mut index = self.home(pair);
        while self.slots[index].pair != EMPTY.pair {
            index = (index + 1) & (self.slots.len() - 1);
        }
        self.slots[index] = Slot { pair, merge };
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
