//! Which pair comes next: a total order over pairs, and a queue that yields them by it.

use std::cmp::Ordering;

use super::TieBreak;
use crate::{Pair, TokenId};

/// The tokens and how their pairs compare.
pub(super) struct Order {
    mode: TieBreak,
    tokens: Vec<Vec<u8>>,
}

impl Order {
    /// The 256 bytes.
    pub(super) fn new(mode: TieBreak) -> Self {
        Self { mode, tokens: (0..=u8::MAX).map(|byte| vec![byte]).collect() }
    }

    /// Adds a token and returns its id.
    pub(super) fn push(&mut self, bytes: Vec<u8>) -> TokenId {
        self.tokens.push(bytes);
        // A vocabulary size is a u32, so the number of tokens fits.
        TokenId::try_from(self.tokens.len() - 1).unwrap_or(TokenId::MAX)
    }

    pub(super) fn bytes(&self, id: TokenId) -> &[u8] {
        &self.tokens[id as usize]
    }

    /// [`Ordering::Less`] if, at equal counts, `a` is merged before `b`.
    pub(super) fn compare(&self, a: Pair, b: Pair) -> Ordering {
        match self.mode {
            TieBreak::Lex => {
                let bytes = |pair: Pair| (self.bytes(pair.0), self.bytes(pair.1));
                bytes(b).cmp(&bytes(a))
            }
            TieBreak::Id => a.cmp(&b),
            TieBreak::Hf => {
                let ranks = |pair: Pair| (hf_rank(pair.0), hf_rank(pair.1));
                ranks(a).cmp(&ranks(b))
            }
        }
    }
}

/// The place of a token in Hugging Face's order: bytes by the character that stands for them.
///
/// Printable bytes stand for themselves (`!` to `~`, U+00A1 to U+00AC, U+00AE to U+00FF), the
/// others for U+0100 and up, in order; so these sort last.
fn hf_rank(id: TokenId) -> TokenId {
    match id {
        0x21..=0x7E => id - 0x21,
        0xA1..=0xAC => id - 0xA1 + 94,
        0xAE..=0xFF => id - 0xAE + 106,
        0x00..=0x20 => id + 188,
        0x7F..=0xA0 => id - 0x7F + 221,
        0xAD => 255,
        _ => id,
    }
}

/// A pair and how often it occurs, as far as was known when it was queued.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub count: u64,
    pub pair: Pair,
}

/// A heap with four children a node: half the levels of a binary one, and a node's children share
/// a cache line.
#[derive(Default)]
pub(super) struct Queue {
    heap: Vec<Candidate>,
}

const CHILDREN: usize = 4;

impl Queue {
    pub(super) fn clear(&mut self) {
        self.heap.clear();
    }

    pub(super) fn push(&mut self, candidate: Candidate, order: &Order) {
        let mut at = self.heap.len();
        self.heap.push(candidate);
        while at > 0 {
            let parent = (at - 1) / CHILDREN;
            if !before(candidate, self.heap[parent], order) {
                break;
            }
            self.heap[at] = self.heap[parent];
            at = parent;
        }
        self.heap[at] = candidate;
    }

    /// Removes the candidate that comes first.
    pub(super) fn pop(&mut self, order: &Order) -> Option<Candidate> {
        let last = self.heap.pop()?;
        let Some(&first) = self.heap.first() else {
            return Some(last);
        };
        let mut at = 0;
        loop {
            let children = at * CHILDREN + 1..(at * CHILDREN + 1 + CHILDREN).min(self.heap.len());
            let best = children
                .reduce(|a, b| if before(self.heap[b], self.heap[a], order) { b } else { a });
            match best {
                Some(child) if before(self.heap[child], last, order) => {
                    self.heap[at] = self.heap[child];
                    at = child;
                }
                _ => break,
            }
        }
        self.heap[at] = last;
        Some(first)
    }
}

fn before(a: Candidate, b: Candidate, order: &Order) -> bool {
    a.count > b.count || (a.count == b.count && order.compare(a.pair, b.pair).is_lt())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hf_ranks_follow_the_characters_that_stand_for_bytes() {
        let mut shown: Vec<(char, TokenId)> = Vec::new();
        let mut stand_in = 0x100;
        for byte in 0..=255_u32 {
            let printable = matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
            let point = if printable { byte } else { stand_in };
            stand_in += u32::from(!printable);
            shown.push((char::from_u32(point).unwrap(), byte));
        }
        shown.sort_unstable();
        for (rank, (_, byte)) in (0..).zip(shown) {
            assert_eq!(hf_rank(byte), rank, "byte {byte}");
        }
    }

    proptest! {
        #[test]
        fn prop_candidates_come_out_in_order(
            counts in proptest::collection::vec((0_u64..9, 0_u32..9, 0_u32..9), 0..200),
            mode in 0_usize..3,
        ) {
            let order = Order::new(TieBreak::ALL[mode]);
            let mut queue = Queue::default();
            for &(count, left, right) in &counts {
                queue.push(Candidate { count, pair: (left, right) }, &order);
            }
            let found: Vec<Candidate> = std::iter::from_fn(|| queue.pop(&order)).collect();
            prop_assert_eq!(found.len(), counts.len());
            prop_assert!(found.windows(2).all(|w| !before(w[1], w[0], &order)));
        }
    }
}
