//! Which pair comes next: a total order over pairs, and a queue that yields them by it.

use std::cmp::Ordering;

use super::TieBreak;
use crate::{Pair, TokenId};

/// The tokens and how their pairs compare.
pub(super) struct Order {
    mode: TieBreak,
    /// Those of all tokens, one behind the other.
    bytes: Vec<u8>,
    /// Where each token's end.
    ends: Vec<usize>,
}

impl Order {
    /// The 256 bytes.
    pub(super) fn new(mode: TieBreak) -> Self {
        Self { mode, bytes: (0..=u8::MAX).collect(), ends: (1..=256).collect() }
    }

    /// Adds a token and returns its id.
    pub(super) fn push(&mut self, bytes: &[u8]) -> TokenId {
        self.bytes.extend_from_slice(bytes);
        self.ends.push(self.bytes.len());
        // A vocabulary size is a u32, so the number of tokens fits.
        TokenId::try_from(self.ends.len() - 1).unwrap_or(TokenId::MAX)
    }

    pub(super) fn bytes(&self, id: TokenId) -> &[u8] {
        let start = if id == 0 { 0 } else { self.ends[id as usize - 1] };
        &self.bytes[start..self.ends[id as usize]]
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

/// The candidates: those of high counts in a heap, the others, by far the most, in one bucket for
/// each count, where nothing is compared. When the heap is empty, the next bucket becomes the heap.
///
/// The heap has four children a node: half the levels of a binary one, and a node's children
/// share a cache line.
pub(super) struct Queue {
    heap: Vec<Candidate>,
    /// The pairs of each count below [`level`](Self::level); empty from there on.
    buckets: Vec<Vec<Pair>>,
    n_in_buckets: usize,
    /// The heap holds every candidate of this count and above.
    level: usize,
}

const CHILDREN: usize = 4;

/// Counts from here on go to the heap at once.
const N_BUCKETS: usize = 1 << 14;

impl Default for Queue {
    fn default() -> Self {
        let buckets = vec![Vec::new(); N_BUCKETS];
        Self { heap: Vec::new(), buckets, n_in_buckets: 0, level: N_BUCKETS }
    }
}

impl Queue {
    /// Bytes that the candidates take, about: a bucket has room for at most twice what is in it.
    pub(super) fn bytes(&self) -> usize {
        self.heap.capacity() * size_of::<Candidate>() + self.n_in_buckets * 2 * size_of::<Pair>()
    }

    pub(super) fn push(&mut self, candidate: Candidate, order: &Order) {
        match usize::try_from(candidate.count).ok().filter(|&count| count < self.level) {
            Some(count) => {
                self.buckets[count].push(candidate.pair);
                self.n_in_buckets += 1;
            }
            None => self.push_to_heap(candidate, order),
        }
    }

    /// Removes the candidate that comes first.
    pub(super) fn pop(&mut self, order: &Order) -> Option<Candidate> {
        while self.heap.is_empty() && self.n_in_buckets > 0 {
            self.level -= 1;
            let pairs = std::mem::take(&mut self.buckets[self.level]);
            self.n_in_buckets -= pairs.len();
            for pair in pairs {
                self.push_to_heap(Candidate { count: self.level as u64, pair }, order);
            }
        }
        self.pop_from_heap(order)
    }

    fn push_to_heap(&mut self, candidate: Candidate, order: &Order) {
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

    fn pop_from_heap(&mut self, order: &Order) -> Option<Candidate> {
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
    use std::cmp::Reverse;

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
            counts in proptest::collection::vec((0_u64..9, any::<bool>(), 0_u32..9, 0_u32..9), 0..200),
            mode in 0_usize..3,
        ) {
            let order = Order::new(TieBreak::ALL[mode]);
            let mut queue = Queue::default();
            for &(count, is_high, left, right) in &counts {
                let count = count + if is_high { N_BUCKETS as u64 - 5 } else { 0 };
                queue.push(Candidate { count, pair: (left, right) }, &order);
            }
            let found: Vec<Candidate> = std::iter::from_fn(|| queue.pop(&order)).collect();
            prop_assert_eq!(found.len(), counts.len());
            prop_assert!(found.windows(2).all(|w| !before(w[1], w[0], &order)));
        }

        #[test]
        fn prop_candidates_that_come_late_find_their_place(
            steps in proptest::collection::vec((0_u64..40, 0_u32..9, any::<bool>()), 0..200),
        ) {
            let order = Order::new(TieBreak::Id);
            let mut queue = Queue::default();
            let mut held: Vec<(u64, Pair)> = Vec::new();
            for (count, id, is_push) in steps {
                if is_push {
                    queue.push(Candidate { count, pair: (id, id) }, &order);
                    held.push((count, (id, id)));
                } else {
                    let expected = held.iter().copied().max_by_key(|(n, pair)| (*n, Reverse(*pair)));
                    let found = queue.pop(&order).map(|found| (found.count, found.pair));
                    prop_assert_eq!(found, expected);
                    held.extract_if(.., |held| Some(*held) == found).next();
                }
            }
        }
    }
}
